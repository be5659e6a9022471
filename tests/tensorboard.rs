//! Event files, read by TensorBoard itself where a Python has it.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{root, small_program, wait_for};
use polymix::run::RunDir;
use polymix::train::Event;

type Scalars = BTreeMap<String, Vec<(usize, f64)>>;

/// Python with tensorboard, or `None` with a loud line.
fn python(test: &str) -> Option<PathBuf> {
    let python = std::env::var_os("POLYMIX_PYTHON").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/polymix/py/bin/python"),
        PathBuf::from,
    );
    let probe = "import importlib.util as u; exit(u.find_spec('tensorboard') is None)";
    if Command::new(&python).args(["-c", probe]).output().is_ok_and(|o| o.status.success()) {
        return Some(python);
    }
    eprintln!(
        "SKIPPED {test}: {} has no tensorboard; set POLYMIX_PYTHON to a python with it (pip install tensorboard)",
        python.display()
    );
    None
}

fn read(python: &Path, logs: &Path) -> Scalars {
    let script = root().join("scripts/check-tensorboard.py");
    let output = Command::new(python).arg(script).arg(logs).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the event log says, by TensorBoard's names.
fn logged(run: &RunDir) -> Scalars {
    let mut all = Scalars::new();
    let mut add = |tag: String, step, value| all.entry(tag).or_default().push((step, value));
    for record in run.events().unwrap() {
        match record.event {
            Event::Step { step, kind, loss: Some(loss), learning_rate, grad_norm: Some(norm), .. } => {
                add("train/loss".into(), step, loss);
                add(format!("train/loss of {kind}"), step, loss);
                add("train/learning_rate".into(), step, learning_rate);
                add("train/grad_norm".into(), step, norm);
            }
            Event::Validation { step, loss: Some(loss), .. } => add("validation/loss".into(), step, loss),
            Event::Evaluation { step, dataset, scores, .. } => {
                for s in scores {
                    add(format!("{dataset}/{}/{}", s.setting, s.metric), step, s.value);
                }
            }
            _ => {}
        }
    }
    all
}

fn same(found: &Scalars, wanted: &Scalars) {
    assert!(wanted.len() > 20, "{wanted:?}");
    for (tag, values) in wanted {
        let other = found.get(tag).unwrap_or_else(|| panic!("no {tag}"));
        assert_eq!(other.len(), values.len(), "{tag}: {other:?} {values:?}");
        for ((a, x), (b, y)) in other.iter().zip(values) {
            assert!(a == b && (x - y).abs() <= 1e-6 * y.abs(), "{tag}: {a} {x}, not {b} {y}");
        }
    }
    let rest: Vec<&String> =
        found.keys().filter(|t| !wanted.contains_key(*t) && !t.starts_with("speed/")).collect();
    assert!(rest.is_empty(), "{rest:?}");
}

#[test]
fn tensorboard_reads_what_the_run_logged() {
    let Some(python) = python("tensorboard_reads_what_the_run_logged") else { return };
    let program = small_program();
    program.ok(&[
        "train",
        "small.toml",
        "--set",
        "train.tensorboard=true",
        "--set",
        "train.evaluate_every=5",
    ]);
    let run = RunDir::new(program.runs().join("small-001"));
    let wanted = logged(&run);
    same(&read(&python, &run.path.join("tensorboard")), &wanted);
    let written = program.ok(&["export", "small", "--format", "tensorboard", "--out", "logs"]);
    assert!(written.starts_with("logs/events.out.tfevents."), "{written}");
    same(&read(&python, &program.dir.path().join("logs")), &wanted);
}

#[test]
fn a_resumed_run_writes_no_step_twice() {
    let program = small_program();
    let sets = [
        "--set",
        "train.tensorboard=true",
        "--set",
        "train.steps=3000",
        "--set",
        "train.checkpoint_every=40",
    ];
    let run = RunDir::new(program.dir.path().join("run"));
    let mut child =
        program.command(&[&["train", "small.toml", "--run-dir", "run"][..], &sets].concat()).spawn().unwrap();
    wait_for("steps after a checkpoint", || {
        run.events().unwrap_or_default().iter().any(|r| matches!(r.event, Event::Step { step: 47.., .. }))
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let files = || polymix::files::children(&run.path.join("tensorboard"));
    let before = files();
    program.ok(&["train", "--run-dir", "run", "--resume"]);
    let after = files();
    assert!(after.len() == 1 && after > before, "{before:?} {after:?}");
    // Both hold the same records: sizes agree to the byte with what the log makes of itself, times apart.
    let whole = polymix::run::tensorboard::bytes(&run.events().unwrap());
    assert_eq!(std::fs::read(&after[0]).unwrap().len(), whole.len());
    if let Some(python) = python("a_resumed_run_writes_no_step_twice") {
        let found = read(&python, &run.path.join("tensorboard"));
        same(&found, &logged(&run));
        let steps: Vec<usize> = found["train/loss"].iter().map(|s| s.0).collect();
        assert_eq!(steps, (1..=3000).collect::<Vec<_>>());
    }
}

#[test]
fn what_is_no_run_has_no_training_to_show() {
    let program = small_program();
    program.ok(&["evaluate", "--model", "model", "--data", "xquad-r[15..20]=data", "--out", "results"]);
    program.fails(&["export", "results", "--format", "tensorboard", "--out", "logs"], &["is no run"]);
    program.ok(&["train", "small.toml"]);
    program.ok(&["export", "small", "--format", "tensorboard", "--out", "logs"]);
    program.fails(&["export", "small", "--format", "tensorboard", "--out", "logs"], &["exists already"]);
    assert!(!program.runs().join("small-001/tensorboard").exists(), "only where the spec asks for it");
    program.fails(&["train", "small.toml", "--set", "train.tensorboard=2"], &["train.tensorboard"]);
}
