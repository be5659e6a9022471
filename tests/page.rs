//! The report of a run and of a sweep, as a user writes it.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;
#[allow(dead_code)]
#[path = "common/terminal.rs"]
mod terminal;

use common::{Program, small_program};
use terminal::{Terminal, has_terminals};

fn read(program: &Program, file: &str) -> String {
    std::fs::read_to_string(program.dir.path().join(file)).unwrap()
}

/// Asserts that a text has these parts.
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no '{part}' in {text}");
    }
}

/// Elements are closed, and nothing is fetched or run.
fn is_self_contained(html: &str) {
    for tag in [
        "html", "body", "main", "section", "table", "tr", "td", "th", "figure", "svg", "pre", "p", "div",
        "style",
    ] {
        let opened = html.matches(&format!("<{tag} ")).count() + html.matches(&format!("<{tag}>")).count();
        assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "<{tag}>");
    }
    for part in ["<script", "src=", "href=", "@import", "url(", "<link", "<iframe"] {
        assert!(!html.contains(part), "{part}");
    }
    let fetched: Vec<&str> =
        html.split("http").skip(1).filter(|rest| !rest.starts_with("://www.w3.org/2000/svg")).collect();
    assert!(fetched.is_empty(), "{:?}", fetched.iter().map(|r| &r[..40.min(r.len())]).collect::<Vec<_>>());
}

#[test]
fn the_report_of_a_run_holds_results_figures_settings_and_how_to_repeat_it() {
    let program = small_program();
    program.ok(&["train", "small.toml", "--set", "name=my run <1>"]);
    assert_eq!(program.ok(&["report", "my"]), "my-run--1--001.html\n");
    let html = read(&program, "my-run--1--001.html");
    is_self_contained(&html);
    assert_eq!(html.matches("<svg ").count(), 3, "curves, heatmap, bias");
    let map = program.ok(&["export", "my", "--table", "summary"]);
    let line = map.lines().find(|l| l.contains(",mono,map,")).unwrap();
    let value = line
        .split(',')
        .find_map(|v| v.parse::<f64>().ok().filter(|v| v.fract() != 0.0 && *v < 1.0 && *v != 0.5))
        .unwrap();
    let data = std::fs::read(program.dir.path().join("data/de.json")).unwrap();
    let hash = {
        use sha2::Digest;
        format!("{:x}", sha2::Sha256::digest(&data))
    };
    has(
        &html,
        &[
            &format!("<td class=\"n\">{value:.4}</td>"),
            &hash,
            polymix::VERSION,
            "polymix train my-run--1--001.toml",
            "seed = 7",
            "train.learning_rate",
            "friedman",
            "Published for XLM-R trained with hybrid batches",
            "viewport",
        ],
    );
    // The spec in it is one that trains: the same run again.
    let spec = html.rsplit("<pre>").next().unwrap().split("</pre>").next().unwrap();
    let spec = spec.replace("&quot;", "\"").replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">");
    std::fs::write(program.dir.path().join("again.toml"), spec.replace("&amp;", "&")).unwrap();
    let again = program.ok(&["train", "again.toml", "--run-dir", "again"]);
    assert!(again.contains(&format!("{value:.4}")), "{again}");

    program.ok(&["report", "my", "--out", "r.md"]);
    let text = read(&program, "r.md");
    has(&text, &["# Run my-run", "| metric | mono | cross |", "---:", "](<r.figures/heatmap-1.svg>)", &hash]);
    for figure in ["curves", "heatmap-1", "bias-1"] {
        assert!(read(&program, &format!("r.figures/{figure}.svg")).starts_with("<svg "), "{figure}");
    }
}

#[test]
fn a_report_says_what_it_cannot_do() {
    let program = small_program();
    program.ok(&["train", "small.toml", "--set", "data.evaluation=[]"]);
    program.ok(&["report", "small"]);
    has(&read(&program, "small-001.html"), &["No evaluation yet", "Training"]);
    program.fails(&["report", "small"], &["exists already", "--force"]);
    program.ok(&["report", "small", "--force"]);
    program.fails(&["report", "small", "--out", "x.pdf"], &["x.pdf", ".html or .md"]);
    program.fails(&["report", "small", "--out", "nowhere/x.html"], &["nowhere/x.html", "cannot write"]);
    program.fails(&["report", "unknown"], &["no such run", "no such sweep"]);
    let log = program.runs().join("small-001/events.jsonl");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, text.replacen("\"step\":2", "\"step\":3", 1)).unwrap();
    program.ok(&["report", "small", "--force"]);
    has(&read(&program, "small-001.html"), &["1 damaged line was skipped"]);
}

#[test]
fn the_report_of_a_sweep_has_means_over_seeds_and_the_ratio_curve() {
    let program = small_program();
    program.ok(&["sweep", "small.toml", "--grid", "sampling.alpha=0,1", "--seeds", "2", "--name", "ratio"]);
    assert_eq!(program.ok(&["report", "ratio", "--out", "s.html"]), "s.html\n");
    let html = read(&program, "s.html");
    is_self_contained(&html);
    has(
        &html,
        &[
            "4 of 4 runs are done",
            "multi_map_mean",
            "against alpha",
            "polymix sweep small.toml --grid sampling.alpha=0,1 --seeds 2",
        ],
    );
    // Ratio, curves, and bias and heatmap of both ratios.
    assert_eq!(html.matches("<svg ").count(), 6);
    program.ok(&["report", "ratio", "--out", "s.md"]);
    has(&read(&program, "s.md"), &["](<s.figures/ratio.svg>)", "| sampling.alpha |"]);
}

#[test]
fn the_workbench_writes_a_report() {
    if !has_terminals("the_workbench_writes_a_report") {
        return;
    }
    let program = small_program();
    program.ok(&["train", "small.toml"]);
    let mut terminal = Terminal::open(&program, (120, 40), &[]);
    terminal.wait(&["Setup"]);
    terminal.press("6");
    terminal.wait(&["Runs: 1", "small-001"]);
    terminal.press("p");
    terminal.wait(&["write the report to (.html or .md)"]);
    terminal.press("\r");
    terminal.wait(&["report written to small-001.html"]);
    is_self_contained(&read(&program, "small-001.html"));
    terminal.press("p\r");
    terminal.wait(&["exists already"]);
    terminal.press("q");
    assert!(terminal.ended());
}
