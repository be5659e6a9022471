//! The bundled demo teaches what the README says it teaches: trained for real, start to finish.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::time::Instant;

use common::Program;

/// Trains the demo and returns mAP mono, cross, multi and the rank distance.
fn train(program: &Program, name: &str, more: &[&str]) -> [f64; 4] {
    let set = format!("name={name}");
    let start = Instant::now();
    let args: Vec<&str> =
        ["train", "demo", "--device", "cpu", "--set", &set].into_iter().chain(more.iter().copied()).collect();
    program.ok(&args);
    let summary = program.ok(&["export", &format!("{name}-001"), "--table", "summary"]);
    let value = |setting: &str, metric: &str| -> f64 {
        let line = summary.lines().find(|l| l.contains(&format!(",{setting},{metric},")));
        line.and_then(|l| l.rsplit(',').nth(1))
            .unwrap_or_else(|| panic!("{setting} {metric}: {summary}"))
            .parse()
            .unwrap()
    };
    let found =
        [value("mono", "map"), value("cross", "map"), value("multi", "map"), value("multi", "rank_distance")];
    eprintln!("{name}: {found:?} in {:.0} s", start.elapsed().as_secs_f64());
    found
}

#[test]
fn the_demo_teaches_its_lesson() {
    let program = Program::new();
    let [mono, cross, multi, distance] = train(&program, "hybrid", &[]);
    assert!(mono > 0.9 && cross > 0.5 && multi >= 0.5, "{mono} {cross} {multi}");
    // A third of the steps is enough to see what monolingual batches alone cannot learn.
    let short = ["--set", "train.steps=300", "--set", "sampling.alpha=1"];
    let [diagonal, off_diagonal, _, far] = train(&program, "mono", &short);
    assert!(
        diagonal > 0.8 && off_diagonal < 0.25,
        "a strong diagonal, weak beside it: {diagonal} {off_diagonal}"
    );
    assert!(far > 4.0 * distance, "rank distance {far} against {distance}");
}
