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

/// The program with so many KiB of address space and so many threads.
fn bounded(program: &Program, kib: usize, threads: usize, args: &[&str]) -> Output {
    command(program, kib, threads, args).output().unwrap()
}

fn command(program: &Program, kib: usize, threads: usize, args: &[&str]) -> Command {
    let line = format!("ulimit -v {kib}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command
        .args(["-c", &line, env!("CARGO_BIN_EXE_polymix")])
        .args(args)
        .current_dir(program.dir.path())
        .env("RAYON_NUM_THREADS", threads.to_string())
        // The system's own allocator otherwise takes 64 MiB of address space for a thread, or not, as it comes.
        .env("MALLOC_ARENA_MAX", "1")
        .env_remove("RUST_BACKTRACE");
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Half a chunk was named three times, and refused by the system each time; a tenth that was left alone was too little where
/// little was left.
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
    let mut named = Vec::new();
    for kib in (380_000..700_000).step_by(40_000) {
        let dir = format!("r{kib}");
        let args = [&["train", "demo", "--device", "cpu", "--run-dir", &dir][..], &sets].concat();
        let output = bounded(&program, kib, 2, &args);
        let told = said(&output);
        let Some(chunk) = told.split("resume with --set train.chunk=").nth(1) else { continue };
        assert_eq!(output.status.code(), Some(1), "refused before the first step: {told}");
        assert!(told.contains("(ulimit -v)"), "{told}");
        let chunk: String = chunk.chars().take_while(char::is_ascii_digit).collect();
        let chunk = format!("train.chunk={chunk}");
        let again = bounded(&program, kib, 2, &["train", "--run-dir", &dir, "--resume", "--set", &chunk]);
        assert!(again.status.success(), "{kib} KiB, {chunk}: {}", said(&again));
        named.push((kib, chunk));
        if named.len() == 3 {
            return;
        }
    }
    panic!("of these limits hardly any is one under which a chunk is named: {named:?}");
}

/// Where the system refuses memory before there is a step, no chunk helps, and the run says why it ended.
#[test]
#[cfg(target_os = "linux")]
fn a_run_that_the_system_refused_memory_keeps_the_reason() {
    let program = Program::new();
    let mut others = Vec::new();
    for kib in (240_000..400_000).step_by(20_000) {
        let dir = format!("r{kib}");
        let small = ["train", "demo", "--device", "cpu", "--run-dir", &dir, "--set", "data.validation=[]"];
        let output = bounded(&program, kib, 2, &small);
        let told = said(&output);
        assert!(!told.contains("panicked"), "{kib} KiB: {told}");
        let is_begun = program.dir.path().join(&dir).join("state.json").exists();
        if output.status.success() || !is_begun || !told.contains(polymix::machine::NO_MEMORY) {
            others.push((kib, told));
            continue;
        }
        assert!(told.contains("less data, a smaller model") && !told.contains("chunk"), "{told}");
        let shown = program.ok(&["runs", "show", &dir]);
        assert!(shown.contains("no memory was left") && !shown.contains("--set train.chunk"), "{shown}");
        return;
    }
    panic!("under none of these limits the system refuses memory before the first step: {others:?}");
}

/// The steps that a dry run takes to time them were those that memory cannot hold, and ended it.
#[test]
#[cfg(target_os = "linux")]
fn a_dry_run_says_what_does_not_fit_instead_of_trying_it() {
    let program = Program::new();
    for kib in [500_000, 600_000, 700_000] {
        let args = ["train", "demo", "--device", "cpu", "--dry-run", "--set", "train.batch=1024"];
        let output = bounded(&program, kib, 2, &args);
        let told = said(&output);
        assert_eq!(output.status.code(), Some(1), "{kib} KiB: {told}");
        assert_eq!(told.lines().count(), 1, "{kib} KiB: {told}");
        assert!(told.contains("ulimit -v") && told.contains("train.chunk = "), "{kib} KiB: {told}");
    }
}

/// A program whose threads are refused once ended in a panic, and its run was taken for one that had been killed.
#[test]
#[cfg(target_os = "linux")]
fn where_no_thread_can_be_started_it_is_said_before_there_is_a_run() {
    let program = Program::new();
    // Stacks of 64 MiB each, four times as much as there is.
    let refused = |args: &[&str]| {
        command(&program, 1_000_000, 64, args).env("RUST_MIN_STACK", (64 << 20).to_string()).output().unwrap()
    };
    let bench = ["bench", "train", "--device", "cpu", "--steps", "1"];
    let train = ["train", "demo", "--device", "cpu", "--run-dir", "r"];
    for args in [&train[..], &bench, &["train", "demo", "--device", "cpu", "--dry-run"]] {
        let output = refused(args);
        let told = said(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        for part in ["polymix: ", "threads", "ulimit -v", "ulimit -u", "RAYON_NUM_THREADS"] {
            assert!(told.contains(part), "no '{part}' in {told}");
        }
    }
    assert!(!program.dir.path().join("r").exists(), "nothing was begun");
    assert!(refused(&["runs", "list"]).status.success(), "what computes nothing needs none");
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

/// The scores of 9,000 pairs take 309 MiB; once 2.4 GiB were counted, and refused.
#[test]
fn the_bench_takes_a_large_batch_of_short_texts() {
    let program = Program::new();
    let args = ["bench", "train", "--device", "cpu", "--batch", "9000", "--lengths", "4/4", "--chunk", "64"];
    let short = ["--batches", "1", "--steps", "1", "--warmup", "0", "--json"];
    let limited = |limit: &str| {
        let mut command = program.command(&[&args[..], &short].concat());
        command.env(polymix::machine::LIMIT, limit).output().unwrap()
    };
    let output = limited("1GiB");
    assert!(output.status.success(), "{}", said(&output));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let most = told["host_bytes"].as_u64().unwrap();
    assert!(most < 1 << 30, "{most}");
    let output = limited("300MiB");
    assert!(!output.status.success() && said(&output).contains("a batch of 9000 pairs"), "{}", said(&output));
}

/// What does not fit is the ids of so many batches: no chunk helps.
#[test]
fn the_bench_names_the_number_of_batches_where_that_is_too_large() {
    let program = Program::new();
    let args = ["bench", "train", "--device", "cpu", "--batch", "512", "--lengths", "4/4", "--chunk", "8"];
    let run = |batches: &str| {
        let args = [&args[..], &["--batches", batches, "--steps", "1", "--warmup", "0"]].concat();
        program.command(&args).env(polymix::machine::LIMIT, "400MiB").output().unwrap()
    };
    let told = said(&run("1000"));
    assert!(told.contains("1000 batches") && !told.contains("--chunk"), "{told}");
    let fitting = told.split("Lower --batches: ").nth(1).unwrap_or_else(|| panic!("{told}"));
    let fitting: String = fitting.chars().take_while(char::is_ascii_digit).collect();
    let output = run(&fitting);
    assert!(output.status.success(), "--batches {fitting}: {}", said(&output));
}
