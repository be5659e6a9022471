//! The smallest run that has everything: checkpoints, validations, evaluations, early stopping.

use std::path::Path;

use crate::common::Program;
pub use crate::common::small_program as program;
use polymix::run::{Phase, RunDir};
use polymix::train::Event;

/// A run whose model is that of the last step.
pub const PLAIN: &[&str] = &["train.evaluate_every=5", "train.keep_checkpoints=2"];
/// A run that stops early and takes an earlier checkpoint's model.
pub const EARLY: &[&str] = &[
    "train.learning_rate=0.3",
    "train.clip_norm=0",
    "train.validate_every=2",
    "train.evaluate_every=3",
    "train.keep_checkpoints=1",
    "train.early_stopping.patience=2",
];

/// `train small.toml --run-dir DIR` with these settings.
pub fn train<'a>(dir: &'a str, sets: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["train", "small.toml", "--run-dir", dir];
    for set in sets {
        args.extend(["--set", set]);
    }
    args
}

/// Trains a whole run in `dir` below the program's directory.
pub fn whole(program: &Program, dir: &str, sets: &[&str]) -> RunDir {
    program.ok(&train(dir, sets));
    RunDir::new(program.dir.path().join(dir))
}

/// All that must be the same however often a run was interrupted.
#[derive(PartialEq)]
pub struct Result {
    pub history: Vec<String>,
    /// What the log says of itself: nothing where it is whole.
    pub lost: Option<String>,
    model: Vec<u8>,
    pairs: Vec<Vec<u8>>,
}

/// What a run came to.
pub fn result(run: &RunDir) -> Result {
    assert_eq!(run.state().unwrap().phase, Phase::Done, "{}", run.path.display());
    let mut pairs = Vec::new();
    for (_, _, dir) in run.evaluations() {
        polymix::evaluate::read(&dir).unwrap();
        polymix::evaluate::read_queries(&dir).unwrap();
        pairs.push(std::fs::read(dir.join("pairs.parquet")).unwrap());
        pairs.push(std::fs::read(dir.join("queries.parquet")).unwrap());
    }
    let model = std::fs::read(run.final_model().unwrap().join("model.safetensors")).unwrap();
    let (history, lost) = told(run);
    Result { history, lost, model, pairs }
}

/// Every event that does not depend on the clock, bit for bit.
pub fn history(run: &RunDir) -> Vec<String> {
    let (history, lost) = told(run);
    assert_eq!(lost, None);
    history
}

/// The same of a log that may not be whole, and what is said of that.
fn told(run: &RunDir) -> (Vec<String>, Option<String>) {
    let bits = |x: Option<f64>| x.map(f64::to_bits);
    let (records, lost) = run.history().unwrap();
    let history = records
        .into_iter()
        .filter_map(|record| match record.event {
            Event::Step { step, kind, language, loss, grad_norm, learning_rate, pairs, tokens, .. } => {
                let (loss, norm) = (bits(loss), bits(grad_norm));
                Some(format!(
                    "step {step} {kind} {language:?} {loss:?} {norm:?} {learning_rate} {pairs} {tokens}"
                ))
            }
            Event::Validation { step, loss, best } => {
                Some(format!("validation {step} {:?} {best}", bits(loss)))
            }
            Event::Evaluation { step, dataset, scores, .. } => {
                Some(format!("evaluation {step} {dataset} {scores:?}"))
            }
            Event::Drawn(drawn) => Some(format!("{drawn:?}")),
            Event::Checkpoint { step, best } => Some(format!("checkpoint {step} {best}")),
            Event::Finished { step, reason, best, .. } => Some(format!("finished {step} {reason} {best:?}")),
            _ => None,
        })
        .collect();
    (history, lost)
}

/// Asserts that two results are the same, and says where they part.
pub fn same(found: &Result, wanted: &Result, what: &str) {
    for (index, line) in wanted.history.iter().enumerate() {
        let other = found.history.get(index).map_or("nothing", String::as_str);
        assert!(other == line, "{what}: event {index} is\n  {other}\ninstead of\n  {line}");
    }
    assert_eq!(found.history.len(), wanted.history.len(), "{what}: {:?}", found.history.last());
    assert_eq!(found.lost, wanted.lost, "{what}");
    assert!(found.model == wanted.model, "{what}: the weights differ");
    assert!(found.pairs == wanted.pairs, "{what}: the evaluations differ");
}

/// Nothing that killed processes left lies below a directory.
pub fn is_tidy(dir: &Path) -> bool {
    std::fs::read_dir(dir).into_iter().flatten().flatten().all(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        !name.starts_with('.') && (!entry.path().is_dir() || is_tidy(&entry.path()))
    })
}

impl Result {
    /// True where every number that is there is right; lines of the log may be missing.
    pub fn same_numbers(&self, wanted: &Self) -> bool {
        self.history.iter().all(|line| wanted.history.contains(line))
            && self.model == wanted.model
            && self.pairs.iter().all(|table| wanted.pairs.contains(table))
    }
}
