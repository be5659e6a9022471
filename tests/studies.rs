//! Questions asked of a whole sweep: `robustness`, `domains`, `align` and `scripts` over its runs, driven as a user would; and
//! the presets that ask them.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;

use common::{Program, root, small_program};
use polymix::corpus::catalogue::{Entries, Form};
use polymix::run::estimate;
use polymix::spec::{Axis, DatasetRef, ExperimentSpec, parse, presets};
use serde_json::Value;

const DATA: &str = "xquad-r[15..20]=data";

/// Two ratios with two seeds each.
fn swept() -> Program {
    let program = small_program();
    program.ok(&["sweep", "small.toml", "--grid", "sampling.alpha=0,1", "--seeds", "2", "--name", "s"]);
    program
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn rows(found: &Value, table: &str) -> Vec<Value> {
    found["tables"][table].as_array().unwrap_or_else(|| panic!("no {table} in {found}")).clone()
}

fn real(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("no {key} in {row}"))
}

#[test]
fn robustness_of_a_sweep_is_one_table_by_ratio_with_means_over_seeds() {
    let program = swept();
    let args =
        ["robustness", "--sweep", "s", "--data", DATA, "--changes", "upper,word-swap", "--device", "cpu"];
    let found = json(&program.ok(&[&args[..], &["--json", "--out", "tables"]].concat()));
    assert_eq!(found["models"].as_array().unwrap().len(), 4);
    let compared = rows(&found, "comparison");
    // Three settings, two changes and all together, two ratios.
    assert_eq!(compared.len(), 3 * 3 * 2);
    for pair in compared.chunks(2) {
        for key in ["setting", "change", "dataset", "metric"] {
            assert_eq!(pair[0][key], pair[1][key], "what is compared stands one under the other");
        }
        assert_eq!((real(&pair[0], "sampling.alpha"), real(&pair[1], "sampling.alpha")), (0.0, 1.0));
    }
    let single = rows(&found, "robustness");
    for row in &compared {
        let alpha = if real(row, "sampling.alpha") == 0.0 { "alpha-0-" } else { "alpha-1-" };
        let own: Vec<&Value> = single
            .iter()
            .filter(|r| ["setting", "change"].iter().all(|k| r[*k] == row[*k]) && r["language"] == "*")
            .filter(|r| r["model"].as_str().unwrap().contains(alpha))
            .collect();
        assert_eq!((own.len(), row["runs"].as_u64()), (2, Some(2)), "{alpha}: {row}");
        for key in ["before", "after", "drop"] {
            let (a, b) = (real(own[0], key), real(own[1], key));
            assert!((real(row, key) - f64::midpoint(a, b)).abs() < 1e-12, "{key}: {row}");
            let sd = (a - b).abs() / 2f64.sqrt();
            assert!((real(row, &format!("{key}_sd")) - sd).abs() < 1e-12, "{key}: {row}");
        }
    }
    assert!(program.dir.path().join("tables/comparison.csv").is_file());
    let page = program.ok(&args);
    for part in ["sampling.alpha", "before_sd", "drop", "word-swap"] {
        assert!(page.contains(part), "no {part} in {page}");
    }
    // Two models by name, without a sweep.
    let named = ["robustness", "--model", "s-01-alpha-0-seed-7", "--model", "model", "--data", DATA];
    let page = program.ok(&[&named[..], &["--changes", "upper", "--device", "cpu"]].concat());
    assert!(page.contains("s-01-alpha-0-seed-7") && page.contains("relative_drop"), "{page}");
}

#[test]
fn domains_align_and_scripts_take_a_sweep_too() {
    let program = swept();
    let common = ["--sweep", "s", "--data", DATA, "--device", "cpu", "--json"];
    let domains = json(&program.ok(&[&["domains"][..], &common].concat()));
    let models: Vec<Value> = rows(&domains, "domains").iter().map(|r| r["model"].clone()).collect();
    assert!(models.contains(&"sampling.alpha=0".into()) && models.contains(&"sampling.alpha=1".into()));
    assert!(models.iter().all(|m| m.as_str().unwrap().starts_with("sampling.alpha=")), "{models:?}");
    let align = json(&program.ok(&[&["align", "--side", "questions"][..], &common].concat()));
    assert_eq!(rows(&align, "summary").len(), 4);

    let table = json(&program.ok(&["scripts", "--sweep", "s", "--format", "json"]));
    let ids = json(&program.ok(&["sweep", "show", "s", "--json"]))["cells"].clone();
    let ids: Vec<&str> = ids.as_array().unwrap().iter().map(|c| c["run"].as_str().unwrap()).collect();
    for row in table["rows"].as_array().unwrap() {
        for (column, cells) in [("sampling.alpha=0", [0, 2]), ("sampling.alpha=1", [1, 3])] {
            let single: f64 = cells
                .iter()
                .map(|cell| {
                    let one = json(&program.ok(&["scripts", ids[*cell], "--format", "json"]));
                    let keys = ["dataset", "setting", "query_script", "passage_script"];
                    let own = one["rows"].as_array().unwrap().clone();
                    let own = own.iter().find(|r| keys.iter().all(|k| r[*k] == row[*k])).unwrap();
                    real(own, "macro")
                })
                .sum();
            assert!((real(row, column) - single / 2.0).abs() < 1e-12, "{column}: {row}");
        }
    }
    let page = program.ok(&["scripts", ids[0], ids[1], "--low-resource", "none"]);
    assert!(page.contains(ids[0]) && page.contains("low-resource") && page.contains("cells"), "{page}");
}

#[test]
fn what_cannot_be_compared_is_refused_with_the_remedy() {
    let program = swept();
    let robustness = ["robustness", "--data", DATA, "--device", "cpu"];
    let fails = |more: &[&str], parts: &[&str]| program.fails(&[&robustness[..], more].concat(), parts);
    fails(&[], &["--model", "--sweep"]);
    fails(&["--model", "model", "--sweep", "s"], &["--sweep", "cannot be used with"]);
    fails(&["--model", "model", "--model", "model"], &["--model model: given twice"]);
    fails(&["--sweep", "x"], &["sweep 'x'", "polymix sweep list"]);
    program.fails(&["scripts", "--sweep", "s", "--metric", "all"], &["--metric all", "such as map"]);
    program.fails(&["scripts", "--sweep", "s", "--metric", "maps"], &["'maps'", "there are map"]);
    program.fails(&["scripts", "s-01", "s-01"], &["s-01: given twice"]);
    program.fails(&["scripts", "--sweep", "s", "s-01"], &["cannot be used with"]);
    for run in polymix::files::children(&program.runs()) {
        std::fs::remove_dir_all(run).unwrap();
    }
    fails(&["--sweep", "s"], &["no run is done yet", "polymix sweep --resume --name s"]);
}

/// The presets that run on the bundled corpus and on its encoder.
fn bundled() -> Vec<(&'static str, ExperimentSpec)> {
    let all = presets().iter().map(|(name, text)| (*name, parse(text, &[]).unwrap()));
    let is_demo = |data: &[DatasetRef]| data.iter().all(|d| d.name == "demo");
    all.filter(|(_, s)| s.model.base == "demo" && is_demo(&s.data.train) && is_demo(&s.data.evaluation))
        .collect()
}

/// Floating point operations of training and evaluating once.
fn work(spec: &ExperimentSpec) -> f64 {
    let mut spec = spec.clone();
    spec.train.device = "cpu".into();
    let found = estimate(&spec, 20).unwrap_or_else(|e| panic!("{}: {e:#}", spec.name));
    assert_eq!(found.problem, None, "{}", spec.name);
    let evaluations = 1 + spec.train.steps.checked_div(spec.train.evaluate_every).unwrap_or(0);
    found.step_flops * spec.train.steps as f64 + found.evaluation_flops * evaluations as f64
}

/// The cells of the first `polymix sweep` in a preset's comment; one without it.
fn cells(text: &str) -> usize {
    let Some(line) = text.lines().find(|l| l.starts_with("#   polymix sweep ")) else { return 1 };
    let words: Vec<&str> = line.split_whitespace().collect();
    let grids =
        words.windows(2).filter(|w| w[0] == "--grid").map(|w| Axis::parse(w[1]).unwrap().values.len());
    let seeds = words.windows(2).find(|w| w[0] == "--seeds").map_or(1, |w| w[1].parse().unwrap());
    grids.product::<usize>() * seeds
}

#[test]
fn no_bundled_preset_is_larger_than_what_was_timed() {
    let specs = bundled();
    let names: Vec<&str> = specs.iter().map(|(name, _)| *name).collect();
    for name in
        ["demo.toml", "demo-grid.toml", "adapters.toml", "robust.toml", "attacks.toml", "scripts.toml"]
    {
        assert!(names.contains(&name), "{name}: not among {names:?}");
    }
    let demo = work(&specs.iter().find(|(name, _)| *name == "demo.toml").unwrap().1);
    for (name, spec) in &specs {
        let text = presets().iter().find(|(n, _)| n == name).unwrap().1;
        let (one, cells) = (work(spec), cells(text));
        println!("{name}: {cells} cells of {:.2} demos", one / demo);
        // Timed: the demo, about a minute, and the five cells of demo-grid (benches/results/sweep.md).
        assert!(one <= 1.05 * demo, "{name}: {:.2} times the demo, which was timed", one / demo);
        assert!(
            cells as f64 * one <= 3.5 * demo,
            "{name}: {cells} cells, {:.2} demos",
            cells as f64 * one / demo
        );
    }
}

#[test]
fn the_comments_of_presets_name_what_can_be_fetched_and_read() {
    let entries = Entries::load().unwrap();
    let mut fetched = 0;
    for (name, text) in presets() {
        for line in text.lines().filter(|l| l.starts_with('#')) {
            for (command, form) in
                [("polymix data fetch ", Form::Data), ("polymix model fetch ", Form::Model)]
            {
                for rest in line.split(command).skip(1) {
                    let what = rest.split([' ', ';']).next().unwrap();
                    assert!(entries.find(form, what).is_some(), "{name}: '{what}' is not in the catalogue");
                    fetched += 1;
                }
            }
            for quoted in line.split('"').skip(1).step_by(2).filter(|q| q.contains('[')) {
                let data: DatasetRef = quoted.parse().unwrap_or_else(|e| panic!("{name}: {quoted}: {e}"));
                assert!(
                    entries.find(Form::Data, &data.name).is_some() || data.name == "demo",
                    "{name}: {quoted}"
                );
            }
        }
    }
    assert!(fetched > 10, "{fetched}");
}

#[test]
fn the_readme_lists_every_preset_and_no_other() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = readme.split_once("## Presets\n").expect("a section '## Presets'");
    let section = section.split("\n## ").next().unwrap();
    let mut listed: Vec<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name))
        .collect();
    let mut known: Vec<&str> =
        presets().iter().map(|(name, _)| name.strip_suffix(".toml").unwrap()).collect();
    listed.sort_unstable();
    known.sort_unstable();
    assert_eq!(listed, known, "README.md, 'Presets': a row for each preset, `name` first");
}
