//! Files of a run that are cut off or overwritten: every reader says so or leaves the damaged part out; none takes it for
//! a number.

use std::path::{Path, PathBuf};

use crate::common::{Output, Program, copy_dir};
use crate::disk::killed_late;
use crate::shim::compiled;
use crate::small::{PLAIN, program, result, whole};
use crate::terminal::{Terminal, has_terminals};
use polymix::run::RunDir;

/// What happens to a file.
const DAMAGES: [&str; 4] = ["empty", "cut in half", "garbage in the middle", "one bit"];

fn damage(path: &Path, how: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    match how {
        "empty" => bytes.clear(),
        "cut in half" => bytes.truncate(middle),
        "garbage in the middle" => {
            let end = (middle + 40).min(bytes.len());
            for (index, byte) in bytes[middle..end].iter_mut().enumerate() {
                *byte = (index * 37 + 129) as u8;
            }
        }
        // The first digit after the middle becomes its neighbour, so that text stays text.
        _ => {
            let at = (middle..bytes.len()).find(|i| bytes[*i].is_ascii_digit()).unwrap_or(middle);
            bytes[at] ^= 1;
        }
    }
    std::fs::write(path, bytes).unwrap();
}

/// All files of a run by their path in it, with something in them.
fn files(run: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in polymix::files::children(run) {
        if path.is_dir() {
            found.extend(files(&path));
        } else if std::fs::metadata(&path).unwrap().len() > 0 {
            found.push(path);
        }
    }
    found
}

/// The readers that look at a file.
fn readers(file: &str) -> Vec<Vec<&'static str>> {
    let mut all = vec![vec!["runs", "list"], vec!["runs", "show", "x"], vec!["runs", "show", "x", "--json"]];
    if file.starts_with("evaluation") || file == "spec.toml" {
        all.extend([
            vec!["export", "x", "--table", "pairs"],
            vec!["export", "x", "--table", "languages"],
            vec!["export", "x", "--table", "histogram"],
            vec!["export", "x", "--table", "queries"],
            vec!["export", "x", "--format", "trec"],
            vec!["export", "x", "--format", "qrels"],
            vec!["compare", "x", "whole"],
            vec!["figure", "x", "--kind", "heatmap", "--force", "--out", "map.svg"],
        ]);
    }
    if !file.starts_with("model") {
        all.push(vec!["report", "x", "--force", "--out", "x.html"]);
    }
    if file == "events.jsonl" {
        all.push(vec!["export", "x", "--table", "history"]);
        all.push(vec!["figure", "x", "--kind", "curves", "--force", "--out", "curves.svg"]);
    }
    if file.starts_with("model") || file == "spec.toml" {
        all.push(vec!["evaluate", "--model", "x", "--data", "xquad-r[15..20]=data"]);
        all.push(vec!["model", "convert", "x", "converted"]);
    }
    if file == "environment.json" {
        all.push(vec!["model", "convert", "x", "converted"]);
    }
    all
}

fn read(program: &Program, args: &[&str]) -> Output {
    for written in ["map.svg", "curves.svg", "x.html", "converted"] {
        let path = program.dir.path().join(written);
        let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
    }
    let mut output = program.run(args);
    for written in ["map.svg", "curves.svg", "converted/model.safetensors", "converted/README.md"] {
        if let Ok(bytes) = std::fs::read(program.dir.path().join(written)) {
            output.out += &String::from_utf8_lossy(&bytes);
        }
    }
    if let Ok(page) = std::fs::read_to_string(program.dir.path().join("x.html")) {
        // Its remarks stand on the page itself.
        let remarks = page.split("<p class=\"note\">").skip(1).filter_map(|rest| rest.split("</p>").next());
        remarks.for_each(|remark| output.err += &format!("note: {remark}\n"));
        output.out += &page;
    }
    output
}

#[test]
fn no_reader_takes_a_damaged_file_for_numbers() {
    let program = program();
    let whole = whole(&program, "runs/whole", PLAIN);
    let copy = program.runs().join("x");
    let fresh = || {
        let _ = std::fs::remove_dir_all(&copy);
        copy_dir(&whole.path, &copy);
    };
    fresh();
    let mut baseline = std::collections::BTreeMap::new();
    let mut damaged = 0;
    for file in files(&whole.path) {
        let name = file.strip_prefix(&whole.path).unwrap().to_str().unwrap();
        // Checkpoints are read by a run that goes on: below. An earlier evaluation is like the last.
        if name.starts_with("checkpoints") || name.contains("step-000005") {
            continue;
        }
        for how in DAMAGES {
            for args in readers(name) {
                let wanted = baseline.entry(args.clone()).or_insert_with(|| {
                    fresh();
                    let output = read(&program, &args);
                    assert_eq!(output.code, Some(0), "{args:?}: {output:?}");
                    output
                });
                fresh();
                damage(&copy.join(name), how);
                let found = read(&program, &args);
                let what = format!("{name}, {how}, {args:?}: {found:?}");
                assert!(!found.err.contains("panicked"), "{what}");
                let file_name = file.file_name().unwrap().to_str().unwrap();
                match found.code {
                    Some(0) => assert!(
                        found.out == wanted.out
                            || found.err.contains("note:") && found.err.contains(file_name),
                        "{what}\ninstead of {wanted:?}"
                    ),
                    Some(1) => assert!(found.err.contains(file_name), "{what}"),
                    _ => panic!("{what}"),
                }
                damaged += 1;
            }
        }
    }
    eprintln!("{damaged} readings of damaged files");
}

#[test]
fn a_run_with_a_damaged_file_goes_on_or_says_why_not() {
    let test = "a_run_with_a_damaged_file_goes_on_or_says_why_not";
    let program = program();
    let Some(library) = compiled(program.dir.path(), test) else { return };
    let wanted = result(&whole(&program, "whole", PLAIN));
    let killed = killed_late(&program, &library, "killed");
    let (mut resumed, mut refused) = (0, 0);
    for file in files(&killed.path) {
        let name = file.strip_prefix(&killed.path).unwrap().to_str().unwrap();
        for how in DAMAGES {
            let copy = RunDir::new(program.dir.path().join("copy"));
            let _ = std::fs::remove_dir_all(&copy.path);
            copy_dir(&killed.path, &copy.path);
            damage(&copy.path.join(name), how);
            let output = program.run(&["train", "--run-dir", "copy", "--resume"]);
            let what = format!("{name}, {how}: {output:?}");
            assert!(!output.err.contains("panicked"), "{what}");
            if output.code == Some(0) {
                resumed += 1;
                // What was measured before the checkpoint is not measured again; it stays refused.
                for (_, _, dir) in copy.evaluations() {
                    if polymix::evaluate::read(&dir).and(polymix::evaluate::read_queries(&dir)).is_err() {
                        assert!(name.starts_with("evaluation"), "{}: {what}", dir.display());
                        std::fs::remove_dir_all(dir).unwrap();
                    }
                }
                let found = result(&copy);
                assert!(found.same_numbers(&wanted), "{what}");
                // Nothing is missing without a word, then and for good.
                if found.history.len() < wanted.history.len() {
                    assert!(
                        name == "events.jsonl" && output.err.contains("(events.jsonl) is not whole"),
                        "{what}"
                    );
                }
                assert_eq!(found.lost.is_some(), output.err.contains(" missing"), "{:?}: {what}", found.lost);
                if name.starts_with("checkpoints") && name.contains("000012") {
                    assert!(
                        output.err.contains("left out") && output.err.contains("damaged-step-000012"),
                        "{what}"
                    );
                }
            } else {
                refused += 1;
                assert_eq!(output.code, Some(1), "{what}");
                let file_name = file.file_name().unwrap().to_str().unwrap();
                assert!(output.err.contains(file_name) && name == "spec.toml", "{what}");
            }
        }
    }
    assert!(resumed > 20 && refused == DAMAGES.len(), "{resumed} resumed, {refused} refused");
}

#[test]
fn a_run_without_a_whole_checkpoint_says_how_to_begin_again() {
    let test = "a_run_without_a_whole_checkpoint_says_how_to_begin_again";
    let program = program();
    let Some(library) = compiled(program.dir.path(), test) else { return };
    let wanted = result(&whole(&program, "whole", PLAIN));
    let killed = killed_late(&program, &library, "killed");
    for (_, dir) in polymix::run::checkpoints(&killed) {
        damage(&dir.join("optimizer.safetensors"), "one bit");
    }
    program.fails(
        &["train", "--run-dir", "killed", "--resume"],
        &["optimizer.safetensors: damaged (its checksum is wrong)", "remove", "checkpoints to begin again"],
    );
    std::fs::remove_dir_all(killed.checkpoints_dir()).unwrap();
    program.ok(&["train", "--run-dir", "killed", "--resume"]);
    assert!(result(&killed) == wanted);
}

#[test]
fn a_damaged_sweep_is_never_read_as_another_one() {
    let program = program();
    program.ok(&["sweep", "small.toml", "--grid", "sampling.alpha=0,1", "--name", "s"]);
    let file = program.runs().with_file_name("sweeps").join("s/sweep.toml");
    let whole = std::fs::read_to_string(&file).unwrap();
    let shown = program.ok(&["sweep", "show", "s"]);
    // As versions without a checksum wrote it, whole and cut off.
    let earlier = whole.split_once('\n').unwrap().1;
    std::fs::write(&file, earlier).unwrap();
    assert_eq!(program.ok(&["sweep", "show", "s"]), shown);
    std::fs::write(&file, &earlier[..earlier.find("[spec.evaluate]").unwrap()]).unwrap();
    program.fails(&["sweep", "show", "s"], &["sweep.toml: damaged (its end is missing"]);
    for how in DAMAGES {
        std::fs::write(&file, &whole).unwrap();
        damage(&file, how);
        for args in [
            &["sweep", "show", "s"][..],
            &["sweep", "show", "s", "--json"],
            &["sweep", "--resume", "--name", "s"],
            &["report", "s", "--force", "--out", "s.html"],
            &["scripts", "--sweep", "s"],
            &["robustness", "--sweep", "s", "--data", "xquad-r[15..20]=data"],
        ] {
            program.fails(args, &["sweep.toml: damaged"]);
        }
        let list = program.run(&["sweep", "list"]);
        assert!(list.code == Some(0) && list.err.contains("sweep.toml: damaged"), "{how}: {list:?}");
    }
    std::fs::write(&file, whole).unwrap();
    assert_eq!(program.ok(&["sweep", "show", "s"]), shown);
}

#[test]
fn the_workbench_shows_damaged_runs_and_goes_on() {
    if !has_terminals("the_workbench_shows_damaged_runs_and_goes_on") {
        return;
    }
    let program = program();
    let whole = whole(&program, "runs/whole", PLAIN);
    let mut names = Vec::new();
    for (index, file) in files(&whole.path).iter().enumerate() {
        let name = file.strip_prefix(&whole.path).unwrap();
        if name.starts_with("checkpoints") || name.starts_with("model") {
            continue;
        }
        let copy = program.runs().join(format!("hurt-{index:02}"));
        copy_dir(&whole.path, &copy);
        damage(&copy.join(name), DAMAGES[index % DAMAGES.len()]);
        names.push(copy);
    }
    let mut terminal = Terminal::open(&program, (120, 40), &[]);
    terminal.wait(&["Setup"]);
    terminal.press("6");
    terminal.wait(&[&format!("Runs: {}", names.len() + 1), "hurt-"]);
    for _ in 0..=names.len() {
        for key in ["2", "3", "4", "5", "6", "j"] {
            terminal.press(key);
            assert!(terminal.child.try_wait().unwrap().is_none(), "it ended:\n{}", terminal.text());
        }
    }
    terminal.press("q");
    assert!(terminal.ended(), "{}", terminal.text());
}
