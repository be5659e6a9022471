//! Clocks that jump, and heartbeats that lie.

use crate::common::{Program, wait_for};
use crate::shim::{compiled, faulty};
use crate::small::{PLAIN, program, result, same, train, whole};
use polymix::run::{Phase, RunDir, State, now};

const DAY: i64 = 86_400;

/// A run whose state says that a worker of process `pid` on `host` was heard `ago` seconds ago.
fn heard(run: &RunDir, ago: f64, pid: u32, host: Option<&str>) {
    let mut state = State::queued(12);
    state.phase = Phase::Running;
    state.pid = pid;
    state.heartbeat = now() - ago;
    if let Some(host) = host {
        host.clone_into(&mut state.host);
    }
    state.write(&run.path).unwrap();
}

#[test]
fn a_clock_that_jumps_while_a_run_trains_changes_no_number() {
    let test = "a_clock_that_jumps_while_a_run_trains_changes_no_number";
    let program = program();
    let Some(library) = compiled(program.dir.path(), test) else { return };
    let wanted = result(&whole(&program, "whole", PLAIN));
    for (jump, at) in [(DAY, 1), (-DAY, 1), (DAY, 20), (-DAY, 20), (-50 * 365 * DAY, 10)] {
        let dir = format!("run {jump} {at}");
        let (jump, at) = (jump.to_string(), at.to_string());
        let variables = [("CLOCK", jump.as_str()), ("CLOCK_AT", &at)];
        let output = faulty(&program, &library, &variables, &train(&dir, PLAIN));
        assert_eq!(output.code, Some(0), "{output:?}");
        let run = RunDir::new(program.dir.path().join(&dir));
        same(&result(&run), &wanted, &dir);
        let shown = program.ok(&["runs", "show", &dir]);
        assert!(shown.contains("done, step 12 of 12"), "{shown}");
    }
}

#[test]
fn a_worker_that_lives_is_never_taken_for_dead_by_its_clock() {
    let program = program();
    let mut child = program.command(&train("run", &["train.steps=1000000"])).spawn().unwrap();
    let run = RunDir::new(program.dir.path().join("run"));
    wait_for("a checkpoint", || !polymix::run::checkpoints(&run).is_empty());
    for ago in [1e6, -1e6, 3600.0, -3600.0, 0.0] {
        // Until the worker's next beat, two seconds at most, the state says what is written here.
        heard(&run, ago, child.id(), None);
        assert_eq!(run.state().unwrap().phase_now(), Phase::Running, "heard {ago} seconds ago");
        program.fails(&["train", "--run-dir", "run", "--resume"], &["already"]);
        program.fails(&["--runs-dir", ".", "runs", "remove", "run", "--yes"], &["stop it first"]);
    }
    // Even a state that says nothing of a worker does not let a second one in, nor take its files away. The worker may put
    // its own words there before they are read.
    wait_for("a state that is read as it is written here", || {
        State::queued(12).write(&run.path).unwrap();
        let refused = program.run(&["train", "--run-dir", "run", "--resume"]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        let is_of_worker = refused.err.contains("already running");
        assert!(is_of_worker || refused.err.contains("another worker"), "{refused:?}");
        !is_of_worker
    });
    State::queued(12).write(&run.path).unwrap();
    program.fails(&["--runs-dir", ".", "runs", "remove", "run", "--yes"], &["stop it first"]);
    std::fs::write(run.stop_file(), "stop\n").unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_worker_that_died_is_found_out_whatever_its_heartbeat_says() {
    let program = Program::new();
    std::fs::create_dir_all(program.runs()).unwrap();
    let spec = polymix::spec::parse("", &[]).unwrap();
    let store = polymix::run::Store::open(Some(&program.runs())).unwrap();
    let run = store.create(&spec).unwrap();
    let dead = {
        let mut child =
            program.command(&["completions", "bash"]).stdout(std::process::Stdio::null()).spawn().unwrap();
        child.wait().unwrap();
        child.id()
    };
    // Here: the process is gone. Elsewhere, and with a process of that number here: nobody holds the lock.
    for ago in [0.0, 1e6, -1e6] {
        heard(&run, ago, dead, None);
        assert_eq!(run.state().unwrap().phase_now(), Phase::Stale, "heard {ago} seconds ago");
    }
    for ago in [1e6, -1e6] {
        for (pid, host) in [(1, Some("elsewhere")), (std::process::id(), None)] {
            heard(&run, ago, pid, host);
            assert_eq!(run.state().unwrap().phase_now(), Phase::Stale, "heard {ago} seconds ago, {host:?}");
        }
    }
    // Elsewhere, and heard just now: it is believed.
    heard(&run, 5.0, 1, Some("elsewhere"));
    assert_eq!(run.state().unwrap().phase_now(), Phase::Running);
    assert!(program.ok(&["runs", "list"]).contains("running"));
    program.fails(&["runs", "remove", &run.id(), "--yes"], &["stop it first"]);
}
