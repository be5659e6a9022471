//! What is said of memory where it is short, and whether it is true: evaluation's height, limits of the address space, the bench.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use common::Program;
use polymix::run::RunDir;
use polymix::train::Event;

/// The most that a run's worker held, before its first evaluation and in all; `None` where the system keeps no peak.
fn most(run: &RunDir) -> Option<(u64, u64)> {
    let events: Vec<Event> = run.events().unwrap().into_iter().map(|r| r.event).collect();
    let peaks = |events: &[Event]| events.iter().filter_map(|e| e.memory()?.1).max();
    let first = events
        .iter()
        .position(|e| matches!(e, Event::Memory { .. }))
        .expect("an evaluation tells its memory");
    Some((peaks(&events[..first])?, peaks(&events)?))
}

/// Evaluation once took up to twice what the estimate and the samples of the steps said.
#[test]
fn evaluations_height_is_estimated_and_told() {
    let program = Program::new();
    let sets = ["train.batch=8", "train.steps=2", "data.validation=[]"];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
    let call = |last: &[&str]| {
        let args = [&["train", "demo", "--device", "cpu"][..], &sets, last].concat();
        let output = program.command(&args).env("RAYON_NUM_THREADS", "2").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let said = call(&["--dry-run"]);
    assert!(said.contains("at its height in evaluation") && said.contains("a training step takes"), "{said}");
    let told: serde_json::Value = serde_json::from_str(&call(&["--dry-run", "--json"])).unwrap();
    let part = |key: &str| told["estimate"][key].as_u64().unwrap();
    let sum: u64 = ["weights", "optimiser", "evaluating", "program"].map(part).iter().sum();
    assert_eq!(part("peak"), sum, "the parts that are told make up the total");
    call(&["--run-dir", "r"]);
    let Some((before, most)) = most(&RunDir::new(program.dir.path().join("r"))) else {
        eprintln!("SKIPPED: evaluations_height_is_estimated_and_told: this system keeps no peak of memory");
        return;
    };
    assert!(most > before + (20 << 20), "evaluation is the height: {before} before it, {most} in all");
    let ratio = part("peak") as f64 / most as f64;
    assert!((0.8..1.25).contains(&ratio), "{} estimated, {most} taken", part("peak"));
    let shown = program.ok(&["runs", "show", "r"]);
    let line = format!("at most {}", polymix::machine::bytes(most));
    assert!(shown.contains(&line), "no '{line}' in {shown}");
}
