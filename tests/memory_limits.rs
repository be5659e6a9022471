//! What is said of memory where it is short, and whether it is true: evaluation's height, limits of the address space, the bench.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::process::{Command, Output};

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

/// The program with so many KiB of address space.
fn bounded(program: &Program, kib: usize, args: &[&str]) -> Output {
    let line = format!("ulimit -v {kib}; exec \"$0\" \"$@\"");
    Command::new("sh")
        .args(["-c", &line, env!("CARGO_BIN_EXE_polymix")])
        .args(args)
        .current_dir(program.dir.path())
        .env("RAYON_NUM_THREADS", "2")
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Half a chunk was named three times, and refused by the system each time.
#[test]
#[cfg(target_os = "linux")]
fn under_a_limit_of_the_address_space_the_chunk_that_is_named_fits() {
    let program = Program::new();
    let sets = [
        "train.steps=2",
        "train.batch=400",
        "train.hard_negatives=0",
        "data.evaluation=[]",
        "data.validation=[]",
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
    let args = [&["train", "demo", "--device", "cpu", "--run-dir", "r"][..], &sets].concat();
    let output = bounded(&program, 450_000, &args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "refused before the first step: {said}");
    assert!(said.contains("(ulimit -v)"), "{said}");
    let chunk = said.split("--set train.chunk=").nth(1).unwrap();
    let chunk: String = chunk.chars().take_while(char::is_ascii_digit).collect();
    let chunk = format!("train.chunk={chunk}");
    let again = bounded(&program, 450_000, &["train", "--run-dir", "r", "--resume", "--set", &chunk]);
    assert!(again.status.success(), "{chunk}: {}", String::from_utf8_lossy(&again.stderr));
}

/// Where the system refuses memory before there is a step, no chunk helps, and the run says why it ended.
#[test]
#[cfg(target_os = "linux")]
fn a_run_that_the_system_refused_memory_keeps_the_reason() {
    let program = Program::new();
    let small = ["train", "demo", "--device", "cpu", "--run-dir", "r", "--set", "data.validation=[]"];
    let output = bounded(&program, 330_000, &small);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    if !said.contains(polymix::machine::NO_MEMORY) {
        eprintln!(
            "SKIPPED: a_run_that_the_system_refused_memory_keeps_the_reason: it was refused otherwise: {said}"
        );
        return;
    }
    assert!(said.contains("less data, a smaller model") && !said.contains("chunk"), "{said}");
    let shown = program.ok(&["runs", "show", "r"]);
    assert!(shown.contains("no memory was left") && !shown.contains("--set train.chunk"), "{shown}");
}

#[test]
fn the_bench_refuses_what_memory_cannot_hold_and_names_its_own_options() {
    let program = Program::new();
    let base = ["bench", "train", "--batches", "1", "--lengths", "32/128", "--steps", "1", "--warmup", "0"];
    let limited = |more: &[&str]| {
        let mut command = program.command(&[&base[..], &["--device", "cpu"], more].concat());
        let output = command.env(polymix::machine::LIMIT, "300MiB").output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (is_done, said) = limited(&["--batch", "1024"]);
    assert!(!is_done && said.contains("300 MiB by POLYMIX_MEMORY") && !said.contains("train."), "{said}");
    let chunk = said.split("--chunk ").nth(1).unwrap_or_else(|| panic!("no chunk: {said}"));
    let chunk: String = chunk.chars().take_while(char::is_ascii_digit).collect();
    let (is_done, said) = limited(&["--batch", "1024", "--chunk", &chunk]);
    assert!(is_done, "--chunk {chunk}: {said}");
    for batch in ["100000000", "18446744073709551615"] {
        let (is_done, said) = limited(&["--batch", batch]);
        assert!(!is_done && said.contains(batch) && said.contains("Lower --batch"), "{said}");
    }
}
