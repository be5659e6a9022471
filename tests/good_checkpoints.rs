//! The last checkpoint whose weights gave finite numbers stays until a newer one has done so too.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use common::small_program;
use polymix::run::{Phase, RunDir, checkpoints};
use polymix::train::Event;

const BARE: [&str; 6] = [
    "train.checkpoint_every=1",
    "train.keep_checkpoints=1",
    "train.warmup_ratio=0",
    "data.evaluation=[]",
    "data.validation=[]",
    "model.dropout=0",
];

fn with<'a>(args: &[&'a str], sets: &[&'a str]) -> Vec<&'a str> {
    args.iter().copied().chain(sets.iter().flat_map(|set| ["--set", *set])).collect()
}

fn steps(run: &RunDir) -> Vec<usize> {
    checkpoints(run).into_iter().map(|(step, _)| step).collect()
}

#[test]
fn a_run_that_diverges_keeps_its_last_good_checkpoint_and_goes_on_from_it() {
    let program = small_program();
    let args = with(&["train", "small.toml", "--run-dir", "r", "--set", "train.learning_rate=1e5"], &BARE);
    let output = program.run(&args);
    assert_eq!(output.code, Some(1), "{output:?}");
    let run = RunDir::new(program.dir.path().join("r"));
    assert_eq!(run.state().unwrap().phase, Phase::Failed);
    let last = run.state().unwrap().step;
    assert!(last > 1, "it diverges at its first step: {output:?}");
    // Of step `last` only the step after it would have shown that its weights are good.
    assert_eq!(steps(&run), [last - 1], "{output:?}");
    let aside = format!("diverged-step-{last:06}");
    assert!(run.checkpoints_dir().join(&aside).is_dir());
    let told = [
        format!("the checkpoint after step {last} is set aside as {aside}"),
        format!(
            "what was saved before is kept, and a resume goes on from the checkpoint after step {}",
            last - 1
        ),
        "in a new run: `polymix train r/spec.toml --set train.learning_rate=...`".to_owned(),
    ];
    assert!(told.iter().all(|part| output.err.contains(part)), "{output:?}");
    let is_noted = |e: &Event| matches!(e, Event::Note { message } if message.contains(&aside));
    assert!(run.events().unwrap().iter().any(|r| is_noted(&r.event)));
    // It can go on, and with the same settings comes to the same, without losing what is good.
    let output = program.run(&["train", "--resume", "--run-dir", "r"]);
    assert!(output.code == Some(1) && output.err.contains(&told[0]), "{output:?}");
    assert_eq!(steps(&run), [last - 1], "{output:?}");
    let resumed = format!("resumed from the checkpoint after step {}", last - 1);
    assert!(output.err.contains(&resumed) || output.out.contains(&resumed), "{output:?}");
}

#[test]
fn nothing_is_said_to_be_kept_where_nothing_was_saved() {
    let program = small_program();
    let args = with(&["train", "small.toml", "--run-dir", "r", "--set", "train.learning_rate=1e39"], &BARE);
    let output = program.run(&args);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.err.contains("the weights are not finite any more"), "{output:?}");
    assert!(!output.err.contains("is kept"), "{output:?}");
    assert!(steps(&RunDir::new(program.dir.path().join("r"))).is_empty());
}

/// Weights that no further step, validation or evaluation looks at do not end as a model.
#[test]
fn the_last_step_of_a_run_that_measures_nothing_is_looked_at() {
    let program = small_program();
    let args = |rate: &'static str, dir: &'static str| {
        with(&["train", "small.toml", "--run-dir", dir, "--set", "train.steps=1", "--set", rate], &BARE)
    };
    let output = program.run(&args("train.learning_rate=1e17", "r"));
    let run = RunDir::new(program.dir.path().join("r"));
    assert_eq!((output.code, run.state().unwrap().phase), (Some(1), Phase::Failed), "{output:?}");
    assert!(output.err.contains("the loss of its own batch is NaN"), "{output:?}");
    assert!(!run.model_dir().exists() && steps(&run).is_empty());
    program.ok(&args("train.learning_rate=1e-3", "fine"));
    assert_eq!(steps(&RunDir::new(program.dir.path().join("fine"))), [1]);
}
