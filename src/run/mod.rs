//! A run is a directory, and the directory is the truth.
//!
//! ```text
//! <runs>/<id>/
//!   spec.toml             the resolved spec, every default written out
//!   environment.json      versions, dataset hashes, command
//!   state.json            phase, pid, host, heartbeat; replaced by rename
//!   events.jsonl          append-only, one record a line; a torn last line is skipped
//!   lock                  locked while a worker lives
//!   stop                  exists: the worker saves a checkpoint and stops
//!   checkpoints/step-N/   model.safetensors optimizer.safetensors trainer.json
//!   evaluation/step-N/<dataset>/
//!   model/                the result
//!   log.txt               the worker's standard error
//! ```
//!
//! A worker is a child process of the same binary. The workbench starts it and reads what it writes; either can
//! die without hurting the other.

pub mod domains;
mod embed;
mod environment;
mod estimate;
mod evaluation;
mod execute;
mod log;
mod pulse;
pub mod robustness;
mod state;
mod store;
pub mod sweep;
mod worker;

pub use crate::files::{replace, replace_with};
pub use embed::{Embedder, adapter_note};
pub use estimate::{Estimate, estimate};
pub use evaluation::{Progressing, SHARD_ROWS, Shards, evaluate_dataset, evaluate_with};
pub use execute::{Outcome, checkpoints, execute, open_model};
pub use log::{EventLog, Tail};
pub use state::{Phase, State, now};
pub use store::{RunSummary, Store};
pub use worker::{Heartbeat, start, stop};

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::files;
use crate::spec::ExperimentSpec;
use crate::train::{Event, Score};

/// Keys of the spec that change how a run computes, not what. (Chunks sum gradients in another order: equal but for
/// rounding.)
const FREE: [&str; 5] = [
    "train.chunk",
    "train.device",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "evaluate.batch_tokens",
];

/// The directory of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    pub path: PathBuf,
}

impl RunDir {
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The directory's own name.
    #[must_use]
    pub fn id(&self) -> String {
        self.path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
    }

    #[must_use]
    pub fn spec_file(&self) -> PathBuf {
        self.path.join("spec.toml")
    }

    #[must_use]
    pub fn events_file(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.path.join("log.txt")
    }

    #[must_use]
    pub fn stop_file(&self) -> PathBuf {
        self.path.join("stop")
    }

    #[must_use]
    pub fn model_dir(&self) -> PathBuf {
        self.path.join("model")
    }

    #[must_use]
    pub fn checkpoints_dir(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// `evaluation/step-N/<dataset>`, with the dataset's label as a file name.
    #[must_use]
    pub fn evaluation_dir(&self, step: usize, dataset: &str) -> PathBuf {
        self.path.join("evaluation").join(format!("step-{step:06}")).join(dataset)
    }

    /// Every evaluation of this run as (step, dataset, directory), by step, then by dataset.
    #[must_use]
    pub fn evaluations(&self) -> Vec<(usize, String, PathBuf)> {
        let mut found = Vec::new();
        for step_dir in files::children(&self.path.join("evaluation")) {
            let name = step_dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let Some(step) = name.strip_prefix("step-").and_then(|n| n.parse().ok()) else { continue };
            for dir in files::children(&step_dir) {
                if dir.join("summary.json").is_file() {
                    let dataset = dir.file_name().map(|n| n.to_string_lossy().into_owned());
                    found.push((step, dataset.unwrap_or_default(), dir));
                }
            }
        }
        found.sort();
        found
    }

    /// The resolved spec.
    ///
    /// # Errors
    /// Where `spec.toml` is missing or broken.
    pub fn spec(&self) -> Result<ExperimentSpec> {
        crate::spec::load(&self.spec_file(), &[])
    }

    /// Changes the spec of a run that is to go on, in keys that no result depends on.
    ///
    /// # Errors
    /// Names a key that results do depend on, or what [`crate::spec::load`] refuses.
    pub fn change(&self, sets: &[String]) -> Result<()> {
        if sets.is_empty() {
            return Ok(());
        }
        for key in crate::spec::override_keys(sets) {
            ensure!(
                FREE.contains(&key),
                "--set {key}: a run that goes on keeps what its results depend on; only these may change: {}",
                FREE.join(", ")
            );
        }
        let active = self.state().is_ok_and(|s| s.phase_now().is_active());
        ensure!(!active, "run '{}' is running; stop it first", self.id());
        let spec = crate::spec::load(&self.spec_file(), sets)?;
        replace(&self.spec_file(), spec.to_toml()?.as_bytes())
    }

    /// The state as last written.
    ///
    /// # Errors
    /// Where `state.json` is missing or broken.
    pub fn state(&self) -> Result<State> {
        State::read(&self.path)
    }

    /// True where the directory looks like a run.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.spec_file().is_file()
    }

    /// The last scores of each dataset, with the step they were measured after; a finished run's are its model's.
    #[must_use]
    pub fn scores(&self) -> Vec<(usize, String, Vec<Score>)> {
        let mut found: Vec<(usize, String, Vec<Score>)> = Vec::new();
        for record in self.events().unwrap_or_default() {
            if let Event::Evaluation { step, dataset, scores, .. } = record.event {
                found.retain(|(_, d, _)| *d != dataset);
                found.push((step, dataset, scores));
            }
        }
        found
    }

    /// Reads the whole event log.
    ///
    /// # Errors
    /// Where the file cannot be read; lines that are no records are skipped.
    pub fn events(&self) -> Result<Vec<crate::train::Record>> {
        Tail::new(self.events_file()).poll()
    }
}

/// The directory as text for messages.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}
