//! Processes that end at any moment.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{Program, signal, wait_for};
use crate::shim::{Random, compiled, faulty, operations};
use crate::small::{EARLY, PLAIN, is_tidy, program, result, same, train, whole};
use crate::terminal::{Terminal, has_terminals};
use polymix::run::{Phase, RunDir};
use polymix::train::Event;

/// Kills in all; half of them by the clock, half in the middle of a random operation on a file.
const KILLS: usize = 200;

/// What everybody may count on while nobody is at a run: all that is there can be read.
fn is_sound(run: &RunDir) {
    let (_, lost) = run.history().unwrap();
    assert_eq!(lost, None);
    for (_, _, dir) in run.evaluations() {
        polymix::evaluate::read(&dir).unwrap();
        polymix::evaluate::read_queries(&dir).unwrap();
    }
    if run.exists() {
        run.spec().unwrap();
        assert!(!run.state().unwrap().phase_now().is_active());
    }
}

/// The command that begins a run or goes on with it.
fn next<'a>(run: &RunDir, dir: &'a str, sets: &[&'a str]) -> Vec<&'a str> {
    if run.exists() { vec!["train", "--run-dir", dir, "--resume"] } else { train(dir, sets) }
}

/// Kills the workers of runs again and again, by `kill` (false where the worker was done before), until `kills` kills have
/// happened; each run then is what it would have been.
fn kill_often(sets: &[&str], kills: usize, mut kill: impl FnMut(&Program, &[&str]) -> bool) {
    let program = program();
    let wanted = result(&whole(&program, "whole", sets));
    let (mut killed, mut runs) = (0, 0);
    while killed < kills {
        runs += 1;
        let dir = format!("run {runs}");
        let run = RunDir::new(program.dir.path().join(&dir));
        let mut here = 0;
        while here < 12 && run.state().map_or(true, |s| s.phase != Phase::Done) {
            if kill(&program, &next(&run, &dir, sets)) {
                here += 1;
            }
            is_sound(&run);
        }
        if run.state().map_or(true, |s| s.phase != Phase::Done) {
            program.ok(&next(&run, &dir, sets));
        }
        same(&result(&run), &wanted, &format!("{dir}, killed {here} times"));
        assert!(is_tidy(&run.path), "{dir}: something was left behind");
        killed += here;
    }
    eprintln!("{killed} kills, {runs} runs");
}

fn kill_by_the_clock(sets: &[&str], seed: u64) {
    let mut random = Random(seed);
    let mut longest = Duration::from_millis(100);
    kill_often(sets, KILLS / 4, |program, args| {
        let start = Instant::now();
        let mut child = program
            .command(args)
            .stderr(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let moment = longest.mul_f64(random.below(10_000) as f64 / 10_000.0);
        while start.elapsed() < moment && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        child.kill().unwrap();
        let status = child.wait().unwrap();
        if status.code() == Some(0) {
            longest = start.elapsed();
        } else {
            assert_eq!(status.code(), None, "the worker failed by itself");
            // As slow as the machine is now.
            longest = longest.mul_f64(1.05).min(Duration::from_secs(2));
        }
        status.code().is_none()
    });
}

fn kill_in_operations(test: &str, sets: &[&str], seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = compiled(dir.path(), test) else { return };
    let counting = program();
    let all = operations(&counting, &library, "run 0", "write", &train("run 0", sets));
    assert!(all > 100, "{all} operations");
    let mut random = Random(seed);
    kill_often(sets, KILLS / 4, |program, args| {
        let at = (1 + random.below(all)).to_string();
        let output = faulty(program, &library, &[("UNDER", "run "), ("DO", "kill"), ("AT", &at)], args);
        assert!(matches!(output.code, None | Some(0)), "{output:?}");
        output.code.is_none()
    });
}

#[test]
fn a_worker_killed_at_random_moments() {
    kill_by_the_clock(PLAIN, 1);
}

#[test]
fn a_worker_of_an_early_stopping_run_killed_at_random_moments() {
    kill_by_the_clock(EARLY, 2);
}

#[test]
fn a_worker_killed_in_random_operations_on_files() {
    kill_in_operations("a_worker_killed_in_random_operations_on_files", PLAIN, 3);
}

#[test]
fn a_worker_of_an_early_stopping_run_killed_in_random_operations_on_files() {
    kill_in_operations("a_worker_of_an_early_stopping_run_killed_in_random_operations_on_files", EARLY, 4);
}

#[test]
fn a_removal_killed_in_any_operation_leaves_all_or_nothing() {
    let test = "a_removal_killed_in_any_operation_leaves_all_or_nothing";
    let program = program();
    let Some(library) = compiled(program.dir.path(), test) else { return };
    let finished = whole(&program, "runs/finished", &[]);
    let wanted = result(&finished);
    let copy = |name: &str| {
        let run = RunDir::new(program.runs().join(name));
        let _ = std::fs::remove_dir_all(&run.path);
        crate::common::copy_dir(&finished.path, &run.path);
        run
    };
    copy("copy");
    let remove = ["runs", "remove", "copy", "--yes"];
    let all = operations(&program, &library, "copy", "write", &remove);
    for at in (1..=all).step_by(all / 12 + 1) {
        let run = copy("copy");
        let at = at.to_string();
        let output = faulty(&program, &library, &[("UNDER", "copy"), ("DO", "kill"), ("AT", &at)], &remove);
        assert_eq!(output.code, None, "{output:?}");
        let list = program.ok(&["runs", "list"]);
        if run.exists() {
            same(&result(&run), &wanted, "a run that was to be removed");
        } else {
            assert!(!run.path.exists() && !list.contains("copy"), "{list}");
        }
    }
    copy("copy");
    program.ok(&remove);
    assert!(is_tidy(&program.runs()), "the next removal takes away what was left");
}

#[test]
fn a_killed_workbench_leaves_its_run_training() {
    if !has_terminals("a_killed_workbench_leaves_its_run_training") {
        return;
    }
    let program = program();
    std::fs::create_dir(program.dir.path().join("specs")).unwrap();
    // Some seconds of training, so that there is something to kill the workbench in.
    let text = std::fs::read_to_string(program.dir.path().join("small.toml")).unwrap();
    let text =
        text.replace("steps = 12", "steps = 1500").replace("checkpoint_every = 3", "checkpoint_every = 100");
    std::fs::write(program.dir.path().join("specs/demo.toml"), &text).unwrap();
    std::fs::write(program.dir.path().join("small.toml"), &text).unwrap();
    let mut terminal = Terminal::open(&program, (100, 30), &["--specs", "specs"]);
    terminal.wait(&["ready to start"]);
    terminal.press("s");
    terminal.wait(&["tokens/s"]);
    signal("-KILL", terminal.child.id());
    terminal.child.wait().unwrap();
    let run = RunDir::new(program.runs().join("small-001"));
    let now = run.state().unwrap().phase_now();
    assert!(now.is_active() || now == Phase::Done, "{now:?}");
    wait_for("the end of the run", || run.state().is_ok_and(|s| s.phase == Phase::Done));
    same(&result(&run), &result(&whole(&program, "whole", &[])), "the run of a killed workbench");
}

#[test]
fn two_workbenches_on_one_store_see_and_stop_the_same_run() {
    if !has_terminals("two_workbenches_on_one_store_see_and_stop_the_same_run") {
        return;
    }
    let program = program();
    std::fs::create_dir(program.dir.path().join("specs")).unwrap();
    let text = std::fs::read_to_string(program.dir.path().join("small.toml")).unwrap();
    std::fs::write(program.dir.path().join("specs/demo.toml"), text.replace("steps = 12", "steps = 1000000"))
        .unwrap();
    let mut first = Terminal::open(&program, (100, 30), &["--specs", "specs"]);
    let mut second = Terminal::open(&program, (100, 30), &["--specs", "specs"]);
    first.wait(&["ready to start"]);
    second.wait(&["ready to start"]);
    first.press("s");
    first.wait(&["tokens/s"]);
    second.press("6");
    second.wait(&["Runs: 1", "small-001", "running"]);
    second.press("2");
    second.wait(&["small-001 running", "tokens/s"]);
    second.press("xy");
    second.wait(&["small-001 stopped"]);
    first.wait(&["small-001 stopped"]);
    let run = RunDir::new(program.runs().join("small-001"));
    let state = run.state().unwrap();
    assert_eq!(polymix::run::checkpoints(&run).last().map(|c| c.0), Some(state.step));
    // Each may start a run of its own; none takes the other's name.
    first.press("1");
    first.wait(&["ready to start"]);
    first.press("s");
    second.press("1");
    second.wait(&["ready to start"]);
    second.press("s");
    wait_for("two more runs", || {
        ["small-002", "small-003"].iter().all(|id| {
            let run = RunDir::new(program.runs().join(id));
            run.events().unwrap_or_default().iter().any(|r| matches!(r.event, Event::Step { .. }))
        })
    });
    for id in ["small-002", "small-003"] {
        program.ok(&["runs", "stop", id]);
    }
    wait_for("their end", || {
        ["small-002", "small-003"]
            .iter()
            .all(|id| RunDir::new(program.runs().join(id)).state().is_ok_and(|s| s.phase == Phase::Stopped))
    });
    for terminal in [&mut first, &mut second] {
        terminal.press("6");
        wait_for("the list to know of it", || {
            let text = terminal.text();
            text.contains("Runs: 3") && !text.contains("running") && !text.contains("stopping")
        });
        terminal.press("q");
        assert!(terminal.ended());
    }
}

#[test]
fn a_worker_without_its_memory_ends_with_a_reason_and_goes_on_with_more() {
    let program = program();
    let wanted = result(&whole(&program, "whole", PLAIN));
    let run = RunDir::new(program.dir.path().join("run"));
    // POLYMIX_MEMORY: told before the first step. `ulimit -v`: the system itself refuses.
    let mut bounded = program.command(&train("run", PLAIN));
    let output = bounded.env(polymix::machine::LIMIT, "8MiB").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("POLYMIX_MEMORY") && !said.contains("panicked"), "{said}");
    is_sound(&run);
    for kib in [60_000, 90_000, 120_000, 200_000, 400_000] {
        let line = format!("ulimit -v {kib}; exec \"$0\" train --run-dir run --resume");
        let output = std::process::Command::new("sh")
            .args(["-c", &line, env!("CARGO_BIN_EXE_polymix")])
            .current_dir(program.dir.path())
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            break;
        }
        assert!(!said.is_empty(), "with {kib} KiB: it ends with a word");
        if said.contains("memory allocation of") {
            assert!(said.contains(polymix::machine::NO_MEMORY), "with {kib} KiB: no remedy in {said}");
        }
        is_sound(&run);
    }
    if run.state().unwrap().phase != Phase::Done {
        program.ok(&["train", "--run-dir", "run", "--resume"]);
    }
    same(&result(&run), &wanted, "a run that ran out of memory");
    assert!(is_tidy(Path::new(&run.path)));
}
