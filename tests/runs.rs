//! Runs, as a user makes them: train, stop, kill, resume, evaluate, remove, with the real binary.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Program, in_time, signal, wait_for, write_spec};
use polymix::evaluate::METRICS;
use polymix::run::{Outcome, Phase, RunDir};
use polymix::train::{Event, Record, Stage};

/// Everything a run recorded that does not depend on the clock.
fn history(run: &RunDir) -> Vec<String> {
    run.events()
        .unwrap()
        .into_iter()
        .filter_map(|Record { event, .. }| match event {
            Event::Step { step, kind, language, loss, grad_norm, .. } => Some(format!(
                "{step} {kind} {language:?} {:?} {:?}",
                loss.map(f64::to_bits),
                grad_norm.map(f64::to_bits)
            )),
            Event::Validation { step, loss, best } => {
                Some(format!("{step} {:?} {best}", loss.map(f64::to_bits)))
            }
            Event::Evaluation { step, scores, .. } => Some(format!("{step} {scores:?}")),
            Event::Drawn(drawn) => Some(format!("{drawn:?}")),
            _ => None,
        })
        .collect()
}

#[test]
fn training_leaves_a_whole_run() {
    let program = Program::new();
    let spec = write_spec(program.dir.path(), 30);
    let out = program.ok(&["train", spec.to_str().unwrap()]);
    assert!(out.contains("metric") && out.contains("rank_distance") && out.contains("multi"), "{out}");
    let run = RunDir::new(program.runs().join("small-001"));
    assert_eq!(run.state().unwrap().phase, Phase::Done);
    for file in
        ["spec.toml", "environment.json", "events.jsonl", "model/model.safetensors", "model/modules.json"]
    {
        assert!(run.path.join(file).is_file(), "{file}");
    }
    let evaluations = run.evaluations();
    assert_eq!((evaluations.len(), evaluations[0].0), (1, 30));
    assert_eq!(evaluations[0].1, "xquad-r[30..40]");
    let evaluation = polymix::evaluate::read(&evaluations[0].2).unwrap();
    assert_eq!(evaluation.languages, ["de", "en", "zh"]);
    // 3 mono and 6 cross pairs with the band of ties; 3 multilingual rows with the rank distance too; 3 without the own
    // language.
    let own = METRICS.len() + 2;
    assert_eq!(evaluation.cells.len(), 9 * own + 3 * (own + 1) + 3 * own);
    assert!(evaluation.cells.iter().all(|c| c.n == 20));
    let queries = polymix::evaluate::read_queries(&evaluations[0].2).unwrap();
    assert_eq!(queries.len(), 60);
    assert!(queries.iter().all(|q| q.top.len() == 10 && q.ranks.iter().all(|r| *r > 0)));
    // The resolved spec alone repeats the run.
    let again = program.ok(&["train", run.spec_file().to_str().unwrap(), "--run-dir", "again"]);
    assert_eq!(again, out);
    assert_eq!(history(&run), history(&RunDir::new(program.dir.path().join("again"))));
    let list = program.ok(&["runs", "list"]);
    assert!(list.contains("small-001") && list.contains("done") && list.contains("hybrid"), "{list}");
    let shown: serde_json::Value =
        serde_json::from_str(&program.ok(&["runs", "show", "small", "--json"])).unwrap();
    assert_eq!((shown["state"].as_str(), shown["step"].as_u64()), (Some("done"), Some(30)));
    program.fails(&["train", "--run-dir", run.path.to_str().unwrap(), "--resume"], &["is done"]);
    program.fails(&["runs", "remove", "small"], &["--yes"]);
    program.ok(&["runs", "remove", "small", "--yes"]);
    assert!(!run.path.exists());
}

#[test]
fn a_killed_run_goes_on_and_ends_as_if_nothing_had_happened() {
    let program = Program::new();
    let spec = write_spec(program.dir.path(), 40);
    let spec = spec.to_str().unwrap();
    program.ok(&["train", spec, "--run-dir", "whole"]);
    let whole = RunDir::new(program.dir.path().join("whole"));
    let killed = RunDir::new(program.dir.path().join("killed"));
    in_time("the kill", || {
        let _ = std::fs::remove_dir_all(&killed.path);
        let mut child = program.command(&["train", spec, "--run-dir", "killed"]).spawn().unwrap();
        wait_for("step 17", || {
            let events = killed.events().unwrap_or_default();
            events.iter().any(|r| matches!(r.event, Event::Step { step: 17, .. }))
        });
        child.kill().unwrap();
        child.wait().unwrap();
        (killed.state().unwrap().phase != Phase::Done).then_some(())
    });
    assert_eq!(killed.state().unwrap().phase_now(), Phase::Stale);
    program.ok(&["runs", "resume", "killed"]);
    assert_eq!(killed.state().unwrap().phase, Phase::Done);
    assert_eq!(history(&whole), history(&killed));
    let model = |run: &RunDir| std::fs::read(run.model_dir().join("model.safetensors")).unwrap();
    assert!(model(&whole) == model(&killed), "the models differ");
}

#[test]
fn a_stopped_run_saves_a_checkpoint_and_can_be_resumed() {
    let program = Program::new();
    let spec = write_spec(program.dir.path(), 100_000);
    let mut child = program.command(&["train", spec.to_str().unwrap(), "--run-dir", "r"]).spawn().unwrap();
    let run = RunDir::new(program.dir.path().join("r"));
    wait_for("a step", || {
        run.events().unwrap_or_default().iter().any(|r| matches!(r.event, Event::Step { .. }))
    });
    program.fails(&["train", "--run-dir", "r", "--resume"], &["already running"]);
    program.fails(&["runs", "remove", "r", "--yes"], &["stop it first"]);
    program.ok(&["runs", "stop", "r"]);
    assert!(child.wait().unwrap().success());
    let state = run.state().unwrap();
    assert_eq!(state.phase, Phase::Stopped);
    let steps: Vec<usize> = polymix::run::checkpoints(&run).into_iter().map(|(step, _)| step).collect();
    assert_eq!(steps.last(), Some(&state.step), "the last checkpoint is where it stopped");
    assert!(steps.len() <= 3, "older checkpoints are removed: {steps:?}");
    program.fails(&["runs", "stop", "r"], &["nothing to stop"]);
    // The last numbers are those of where it stopped.
    let events: Vec<Event> = run.events().unwrap().into_iter().map(|r| r.event).collect();
    let sample = events.iter().rev().find_map(|e| if let Event::Sample(s) = e { Some(s.step) } else { None });
    assert_eq!(sample, Some(state.step));
    let drawn =
        events.iter().rev().find_map(|e| if let Event::Drawn(d) = e { Some(d) } else { None }).unwrap();
    assert_eq!((drawn.step, drawn.counts.iter().sum::<u64>()), (state.step, 8 * state.step as u64));
}

#[test]
fn ctrl_c_stops_cleanly() {
    let program = Program::new();
    let spec = write_spec(program.dir.path(), 100_000);
    let mut child = program.command(&["train", spec.to_str().unwrap(), "--run-dir", "r"]).spawn().unwrap();
    let run = RunDir::new(program.dir.path().join("r"));
    wait_for("a step", || {
        run.events().unwrap_or_default().iter().any(|r| matches!(r.event, Event::Step { .. }))
    });
    signal("-INT", child.id());
    assert!(child.wait().unwrap().success());
    assert_eq!(run.state().unwrap().phase, Phase::Stopped);
}

/// Asked to stop while it evaluates, in the middle and at the end: nothing is lost, and it ends as if it had never stopped.
#[test]
fn a_stop_is_heard_while_a_run_evaluates() {
    let dir = tempfile::tempdir().unwrap();
    let spec = polymix::spec::load(&write_spec(dir.path(), 12), &["train.evaluate_every=5".into()]).unwrap();
    let train = |name: &str, stops: &[usize]| {
        let run = polymix::run::Store::create_at(&dir.path().join(name), &spec).unwrap();
        for at in stops.iter().copied().chain([usize::MAX]) {
            let (flag, mut step) = (Arc::new(AtomicBool::new(false)), 0);
            let outcome = polymix::run::execute(&run, &flag, &mut |event| {
                match event {
                    Event::Step { step: now, .. } | Event::Checkpoint { step: now, .. } => step = *now,
                    _ => {}
                }
                let is_evaluating = matches!(event, Event::Progress { stage: Stage::EncodingPassages, .. });
                flag.fetch_or(is_evaluating && step == at, Ordering::Relaxed);
            });
            assert_eq!(outcome.unwrap() == Outcome::Stopped, at != usize::MAX, "stop at {at}");
            assert_eq!(run.state().unwrap().phase == Phase::Stopped, at != usize::MAX, "stop at {at}");
        }
        run
    };
    let (whole, stopped) = (train("whole", &[]), train("stopped", &[5, 12]));
    for (a, b) in history(&whole).iter().zip(&history(&stopped)) {
        assert!(a == b, "{a:.60} and {b:.60}");
    }
    assert_eq!(history(&whole).len(), history(&stopped).len());
    let model = |run: &RunDir| std::fs::read(run.model_dir().join("model.safetensors")).unwrap();
    assert!(model(&whole) == model(&stopped), "the models differ");
}

/// Asked to stop before the first step: nothing is saved, and it ends as if it had never stopped.
#[test]
fn a_stop_is_heard_while_data_are_read_and_tokenised() {
    let dir = tempfile::tempdir().unwrap();
    let spec = polymix::spec::load(&write_spec(dir.path(), 6), &[]).unwrap();
    let make = |name: &str| polymix::run::Store::create_at(&dir.path().join(name), &spec).unwrap();
    let (whole, stopped) = (make("whole"), make("stopped"));
    let train = |run: &RunDir, at: Option<Stage>, by_file: bool| {
        let flag = Arc::new(AtomicBool::new(false));
        let outcome = polymix::run::execute(run, &flag, &mut |event| {
            let is_there = matches!(event, Event::Progress { stage, .. } if Some(*stage) == at);
            if is_there && by_file {
                polymix::run::stop(run).unwrap();
            } else if is_there {
                flag.store(true, Ordering::Relaxed);
            }
        });
        outcome.unwrap()
    };
    for (at, by_file) in [(Stage::Loading, false), (Stage::Tokenising, false), (Stage::Tokenising, true)] {
        assert_eq!(train(&stopped, Some(at), by_file), Outcome::Stopped, "{at:?}");
        let state = stopped.state().unwrap();
        assert_eq!((state.phase, state.step), (Phase::Stopped, 0), "{at:?}");
        assert!(state.message.unwrap().contains("before the first step"), "{at:?}");
        assert!(polymix::run::checkpoints(&stopped).is_empty(), "{at:?}");
        let has_begun = |r: &Record| matches!(r.event, Event::Started { .. } | Event::Validation { .. });
        assert!(!stopped.events().unwrap().iter().any(has_begun), "{at:?}");
    }
    for run in [&whole, &stopped] {
        assert_eq!(train(run, None, false), Outcome::Done);
    }
    assert_eq!(history(&whole), history(&stopped));
}

/// Stopped behind each of its datasets: what is evaluated is not evaluated again.
#[test]
fn a_last_evaluation_that_is_stopped_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let spec = write_spec(dir.path(), 6);
    let data = dir.path().join("data");
    let parts = [30, 33, 36].map(|n| format!("'xquad-r[{n}..{}]={}'", n + 3, data.display())).join(",");
    // Once the model is that of the last step, once that of an earlier one, with the lowest validation loss.
    for early in [false, true] {
        let mut sets = vec![format!("data.evaluation=[{parts}]")];
        if early {
            sets.extend(["patience=1", "min_delta=9"].map(|set| format!("train.early_stopping.{set}")));
            sets.extend(["validate", "evaluate"].map(|what| format!("train.{what}_every=2")));
        }
        let spec = polymix::spec::load(&spec, &sets).unwrap();
        let train = |name: &str, patient: bool| {
            let run =
                polymix::run::Store::create_at(&dir.path().join(format!("{name}-{early}")), &spec).unwrap();
            let (mut told, mut stops) = (0, 0);
            loop {
                // Stops as soon as one dataset more is evaluated, in the middle of the next.
                let (flag, mut done) = (Arc::new(AtomicBool::new(false)), 0);
                let outcome = polymix::run::execute(&run, &flag, &mut |event| {
                    done += usize::from(matches!(event, Event::Evaluation { .. }));
                    let is_next = matches!(event, Event::Progress { stage: Stage::EncodingQuestions, .. });
                    flag.fetch_or(!patient && is_next && done == 1, Ordering::Relaxed);
                });
                told += done;
                match outcome.unwrap() {
                    Outcome::Done => return (run, told, stops),
                    Outcome::Stopped => stops += 1,
                }
                assert!(stops < 9, "{early}: it does not come to an end");
            }
        };
        let (whole, all, _) = train("whole", true);
        let (stopped, again, stops) = train("stopped", false);
        assert_eq!((stops, again), (2, all), "{early}: evaluated again");
        assert!(history(&whole) == history(&stopped), "{early}: other events");
    }
}

/// Without a checkpoint a run begins again, and says so.
#[test]
fn a_run_that_begins_again_says_what_is_gone() {
    let program = Program::new();
    let spec = write_spec(program.dir.path(), 100_000);
    let args = ["train", spec.to_str().unwrap(), "--run-dir", "r", "--set", "train.checkpoint_every=0"];
    let mut child = program.command(&args).spawn().unwrap();
    let run = RunDir::new(program.dir.path().join("r"));
    let steps = |run: &RunDir| {
        let events = run.events().unwrap_or_default();
        events.iter().filter(|r| matches!(r.event, Event::Step { .. })).count()
    };
    wait_for("some steps", || steps(&run) > 3);
    child.kill().unwrap();
    child.wait().unwrap();
    let done = steps(&run);
    let mut child = program.command(&["train", "--run-dir", "r", "--resume"]).spawn().unwrap();
    let note = || {
        let events = run.events().unwrap_or_default();
        events.into_iter().find_map(|r| match r.event {
            Event::Note { message } if message.contains("begins again") => Some(message),
            _ => None,
        })
    };
    wait_for("the note", || note().is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    let note = note().unwrap();
    assert!(note.contains(&format!("the {done} steps")) && note.contains("train.checkpoint_every"), "{note}");
}

#[test]
fn a_trained_run_is_evaluated_like_any_model() {
    let program = Program::new();
    let spec = write_spec(program.dir.path(), 10);
    program.ok(&["train", spec.to_str().unwrap()]);
    let data = format!("xquad-r[30..40]={}", program.dir.path().join("data").display());
    let printed =
        program.ok(&["evaluate", "--model", "small-001", "--data", &data, "--json", "--out", "results"]);
    let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed["protocol"]["query_prefix"], "Query: ");
    let run = RunDir::new(program.runs().join("small-001"));
    let scores = run.events().unwrap().into_iter().find_map(|r| match r.event {
        Event::Evaluation { scores, .. } => Some(serde_json::to_value(scores).unwrap()),
        _ => None,
    });
    let (found, own) = (printed["scores"].as_array().unwrap(), scores.unwrap());
    for (a, b) in found.iter().zip(own.as_array().unwrap()) {
        assert!((a["value"].as_f64().unwrap() - b["value"].as_f64().unwrap()).abs() < 1e-6, "{a} {b}");
    }
    program.fails(
        &["evaluate", "--model", "small-001", "--data", &data, "--out", "results"],
        &["exists already"],
    );
    program.ok(&["evaluate", "--model", "small-001", "--data", &data, "--languages", "en"]);
    program.fails(
        &["evaluate", "--model", "small-001", "--data", &data, "--languages", "en,fr"],
        &["no language 'fr'", "de, en, zh"],
    );
}

#[test]
fn bad_input_gives_one_error_and_leaves_nothing() {
    let program = Program::new();
    let spec = write_spec(program.dir.path(), 10);
    let spec = spec.to_str().unwrap();
    program.fails(&["train", "nowhere.toml"], &["nowhere.toml", "no such file", "demo.toml"]);
    program.fails(&["train", spec, "--set", "sampling.alpha=2"], &["sampling.alpha = 2", "between 0"]);
    program.fails(&["train", spec, "--set", "train.stepz=2"], &["stepz", "steps"]);
    program.fails(&["train", spec, "--set", "train.steps"], &["key=value"]);
    program.fails(&["train"], &["SPEC"]);
    assert!(!program.runs().exists(), "a wrong spec makes no run");
    program.fails(&["train", spec, "--set", "languages=[\"en\",\"fr\"]"], &["'fr'", "de, en, zh"]);
    program.fails(
        &["train", spec, "--set", "data.train=[\"xquad-r=missing\"]"],
        &["missing", "no such directory"],
    );
    program.fails(
        &["train", spec, "--set", "data.train=[\"xquad-r[0..35]=data\"]"],
        &["data.validation", "overlap"],
    );
    program.fails(&["train", spec, "--set", "model.base=missing"], &["missing", "no such model"]);
    program.fails(&["train", spec, "--set", "train.batch=200"], &["train.batch", "at most"]);
    if !cfg!(any(feature = "cuda", feature = "metal")) {
        program.fails(&["train", spec, "--device", "cuda"], &["'cuda'", "--device cpu"]);
    }
    program.fails(&["train", "--run-dir", "nowhere", "--resume"], &["nowhere", "not a run directory"]);
    program.fails(&["train", spec, "--run-dir", "data"], &["data", "not empty"]);
    program.fails(&["runs", "show", "nothing"], &["'nothing'", "no such run"]);
    program.fails(&["evaluate", "--model", "nothing", "--data", "demo"], &["nothing", "neither"]);
    program.fails(&["evaluate", "--model", "model", "--data", "unknown"], &["unknown", "demo, xquad-r"]);
    let failed = program.ok(&["runs", "list"]);
    assert!(failed.lines().skip(1).all(|l| l.contains("failed")), "{failed}");
}

#[test]
fn a_full_disk_fails_the_run_and_keeps_what_was_written() {
    let program = Program::new();
    let spec = write_spec(program.dir.path(), 100_000);
    // A small file system of its own; without the right to mount one there is nothing to fill.
    let small = program.dir.path().join("small-disk");
    std::fs::create_dir(&small).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=600k", "tmpfs"])
        .arg(&small)
        .output()
        .is_ok_and(|o| o.status.success());
    if !mounted {
        eprintln!("SKIPPED a_full_disk_fails_the_run_and_keeps_what_was_written: cannot mount a tmpfs here");
        return;
    }
    let run = RunDir::new(small.join("r"));
    let output = program.run(&["train", spec.to_str().unwrap(), "--run-dir", run.path.to_str().unwrap()]);
    let leftovers: Vec<String> = std::fs::read_dir(run.checkpoints_dir())
        .map(|d| d.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    let unmounted = std::process::Command::new("umount").arg(&small).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.err.contains("disk full") && !output.err.contains("panicked"), "{}", output.err);
    assert!(leftovers.iter().all(|name| !name.starts_with('.')), "half-written: {leftovers:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let program = Program::new();
    let mut child = program
        .command(&["completions", "bash"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_worker_whose_directory_is_taken_away_ends() {
    let program = Program::new();
    let spec = write_spec(program.dir.path(), 100_000);
    let run = program.dir.path().join("gone");
    let mut child = program
        .command(&["train", spec.to_str().unwrap(), "--run-dir", run.to_str().unwrap()])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_for("steps", || !RunDir::new(&run).events().unwrap_or_default().is_empty());
    std::fs::rename(&run, program.dir.path().join("elsewhere")).unwrap();
    let mut status = None;
    wait_for("the end", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert!(!status.unwrap().success());
}

#[test]
fn a_path_that_is_missing_is_told_before_a_run_is_made() {
    let program = Program::new();
    for (set, part) in [
        ("data.evaluation=[\"xquad-r=/nowhere\"]", "data.evaluation"),
        ("data.train=[\"xquad-r=/nowhere\"]", "data.train"),
        ("model.base=\"/nowhere\"", "model.base"),
    ] {
        program.fails(&["train", "demo", "--run-dir", "r", "--set", set], &[part, "/nowhere"]);
        assert!(!program.dir.path().join("r").exists(), "{set}: nothing is left behind");
    }
}

#[test]
fn the_hint_after_a_stop_names_a_run_that_is_found() {
    let program = Program::new();
    let spec = write_spec(program.dir.path(), 100_000);
    let run = RunDir::new(program.dir.path().join("beside/r"));
    std::fs::create_dir(program.dir.path().join("beside")).unwrap();
    let child = program
        .command(&["train", spec.to_str().unwrap(), "--run-dir", run.path.to_str().unwrap()])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("a step", || {
        run.events().unwrap_or_default().iter().any(|r| matches!(r.event, Event::Step { .. }))
    });
    signal("-INT", child.id());
    let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    let name = said.lines().find_map(|l| l.strip_prefix("resume with: polymix runs resume ")).unwrap();
    assert!(program.ok(&["runs", "show", name]).contains("stopped"), "{name}");
}
