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
//!   model/                the result; model.json has the checksums of its files
//!   tensorboard/          the same numbers for TensorBoard, where train.tensorboard asks for it
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
mod finish;
mod heights;
mod log;
mod lost;
mod overlap;
mod preview;
mod pulse;
mod replacing;
pub mod robustness;
mod save;
mod silence;
mod source;
mod state;
mod store;
pub mod sweep;
pub mod tensorboard;
mod training;
mod worker;

pub use crate::files::{replace, replace_with};
pub use embed::{Embedder, adapter_note};
pub use environment::{facts, hub_id, read as environment, trained};
pub use estimate::{Estimate, estimate, estimate_of};
pub use evaluation::{Progressing, SHARD_ROWS, Shards, evaluate_dataset, evaluate_with};
pub use execute::{Outcome, execute, open_model};
pub use log::{EventLog, Rewound, Tail};
pub use lost::Lost;
pub use preview::{Preview, PreviewBatch, preview};
pub use save::checkpoints;
pub use silence::silent_end;
pub use source::{Source, Sources};
pub use state::{Phase, State, now};
pub use store::{RunSummary, Store};
pub use worker::{Heartbeat, start, stop};

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::seal;
use crate::spec::ExperimentSpec;
use crate::train::{Event, Record, Score};

/// Keys of the spec that change how a run computes, not what. (Chunks sum gradients in another order: equal but for
/// rounding.)
const FREE: [&str; 7] = [
    "train.chunk",
    "train.device",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.keep_best",
    "train.tensorboard",
    "evaluate.batch_tokens",
];

/// Keys that may change in the place alone: what lies there is held to the hashes of what the run began with.
const PLACES: [&str; 5] =
    ["data.train", "data.validation", "data.evaluation", "robust.lexicons", "model.base"];

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
    /// Where `spec.toml` is missing, damaged or of a later version.
    pub fn spec(&self) -> Result<ExperimentSpec> {
        self.spec_with(&[])
    }

    fn spec_with(&self, sets: &[String]) -> Result<ExperimentSpec> {
        let (path, shown) = (self.spec_file(), shown(&self.spec_file()));
        let text = std::fs::read(&path).with_context(|| format!("{shown}: cannot read the run's spec"))?;
        let text = String::from_utf8(text).map_err(|_| seal::damaged(&shown, "no text"))?;
        if let Some(is_whole) = seal::is_whole(&text) {
            if !is_whole {
                return Err(seal::damaged(
                    &shown,
                    "its checksum is wrong, and its results would not be those of this spec; put back what it held. If you \
                     changed it on purpose, remove its first line",
                ));
            }
        } else if !text.lines().any(|line| line.trim() == "[evaluate]") {
            // Every version writes all sections out, this one last: without it the end is missing.
            return Err(seal::damaged(&shown, "its end is missing; put back what it held"));
        }
        crate::spec::parse(&text, sets).context(shown)
    }

    /// Writes the spec, every default written out, with a checksum in its first line.
    pub(crate) fn write_spec(&self, spec: &ExperimentSpec) -> Result<()> {
        replace(&self.spec_file(), seal::headed(&spec.to_toml()?, SPEC_REMARK).as_bytes())
    }

    /// Changes the spec of a run that is to go on, in keys that no result depends on, or in where its data and its model lie.
    /// Nothing is written where the run could not go on with it: it is done, or the device is not there.
    ///
    /// # Errors
    /// Names a key that results do depend on, what [`crate::spec::load`] refuses, or why the run cannot go on.
    pub fn change(&self, sets: &[String]) -> Result<()> {
        if sets.is_empty() {
            return Ok(());
        }
        let refused = |key: &str| {
            format!(
                "--set {key}: a run that goes on keeps what its results depend on; only these may change: {}, and the \
                 place in {}",
                FREE.join(", "),
                PLACES.join(", ")
            )
        };
        for key in crate::spec::override_keys(sets) {
            ensure!(FREE.contains(&key) || PLACES.contains(&key), refused(key));
        }
        self.check_not_done()?;
        let active = self.state().is_ok_and(|s| s.phase_now().is_active());
        ensure!(!active, "run '{}' is running; stop it first", self.id());
        let (before, spec) = (self.spec()?, self.spec_with(sets)?.placed()?);
        let names = |list: &[crate::spec::DatasetRef]| -> Vec<String> {
            list.iter().map(|d| format!("{}[{:?}] {}", d.name, d.part, d.path.is_some())).collect()
        };
        let pair = |text: &String| text.split('=').next().unwrap_or_default().to_owned();
        let lists = |spec: &ExperimentSpec| {
            let data = [&spec.data.train, &spec.data.validation, &spec.data.evaluation];
            let lexicons: Vec<String> = spec.robust.lexicons.iter().map(pair).collect();
            data.map(|list| names(list)).into_iter().chain([lexicons]).collect::<Vec<_>>()
        };
        for (key, (before, now)) in PLACES.iter().zip(lists(&before).into_iter().zip(lists(&spec))) {
            ensure!(before == now, refused(key));
        }
        crate::train::device::open(&spec.train.device)
            .with_context(|| format!("run '{}' cannot go on so; nothing was changed", self.id()))?;
        self.write_spec(&spec)
    }

    /// Refuses a run that is done.
    pub(crate) fn check_not_done(&self) -> Result<()> {
        let is_done = self.state_or_lost()?.is_some_and(|s| s.phase == Phase::Done);
        ensure!(
            !is_done,
            "run '{}' is done; repeat it with `polymix train {}`",
            self.id(),
            shown(&self.spec_file())
        );
        Ok(())
    }

    /// The state as last written.
    ///
    /// # Errors
    /// Where `state.json` is missing or broken.
    pub fn state(&self) -> Result<State> {
        State::read(&self.path)
    }

    /// The state; `None` where it is lost and the checkpoints alone say how far the run is.
    ///
    /// # Errors
    /// Where a later version wrote it: then nothing is known of what else it wrote.
    pub fn state_or_lost(&self) -> Result<Option<State>> {
        match self.state() {
            Ok(state) => Ok(Some(state)),
            Err(error) if seal::is_newer(&error) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// True where the directory looks like a run, even one that has lost its spec or its state.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.spec_file().is_file() || self.path.join("state.json").is_file()
    }

    /// The last scores of each dataset, with the step they were measured after; a finished run's are its model's.
    #[must_use]
    pub fn scores(&self) -> Vec<(usize, String, Vec<Score>)> {
        last_scores(self.events().unwrap_or_default())
    }

    /// Reads the whole event log.
    ///
    /// # Errors
    /// Where the file cannot be read, or a later version wrote it; lines that are damaged are skipped.
    pub fn events(&self) -> Result<Vec<Record>> {
        Tail::new(self.events_file()).poll()
    }

    /// Reads the whole event log, with a remark where some of it is lost.
    ///
    /// # Errors
    /// As [`Self::events`].
    pub fn history(&self) -> Result<(Vec<Record>, Option<String>)> {
        let mut tail = Tail::new(self.events_file());
        let records = tail.poll()?;
        let ends = |phase| match phase {
            Phase::Done => records.iter().any(|r| matches!(r.event, Event::Finished { .. })),
            _ => true,
        };
        let phase = self.state().ok().map(|s| s.phase_now());
        let gone =
            Lost { damaged: tail.damaged, missing: lost::missing_steps(&records, lost::last_step(&records)) };
        let mut lost: Vec<String> = gone.damaged_lines("skipped").into_iter().chain(gone.gap()).collect();
        if tail.is_torn() && phase == Some(Phase::Done) || !phase.is_none_or(ends) {
            lost.push("its end is missing".to_owned());
        }
        let remark = (!lost.is_empty()).then(|| {
            format!(
                "{}: {}; what it still says is right, but some steps or the newest evaluations may be missing (the tables \
                 under evaluation/ have their own files)",
                shown(&self.events_file()),
                lost.join(", and ")
            )
        });
        Ok((records, remark))
    }

    /// The result's directory, if it is there and as it was written.
    ///
    /// # Errors
    /// Where there is none yet, or it is damaged.
    pub fn final_model(&self) -> Result<PathBuf> {
        let dir = self.model_dir();
        let id = self.id();
        ensure!(dir.is_dir(), "run '{id}' has no final model yet; is it done? (`polymix runs show {id}`)");
        let sums = self.path.join(MODEL_SUMS);
        if sums.exists() {
            let ModelSums { files, .. } = seal::read_file(&sums, 1, MODEL_VERSION)?;
            seal::check(&dir, &files).with_context(|| {
                format!(
                    "run '{id}': its model is damaged; copy it from a backup, or repeat the run (polymix train {})",
                    shown(&self.spec_file())
                )
            })?;
        }
        Ok(dir)
    }

    /// Writes down the checksums of the result's files.
    pub(crate) fn seal_model(&self) -> Result<()> {
        let sums = ModelSums { v: MODEL_VERSION, files: seal::sums(&self.model_dir())? };
        replace(&self.path.join(MODEL_SUMS), &seal::pretty(&sums)?)
    }
}

/// Checksums of the result, beside its directory: that is in a format of others.
const MODEL_SUMS: &str = "model.json";
/// Version of `model.json`.
const MODEL_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct ModelSums {
    v: u32,
    files: seal::Sums,
}

/// What stands behind the checksum in the first line of a run's `spec.toml`.
const SPEC_REMARK: &str = "of the lines below; they belong to this run's results";

/// The last scores of each dataset.
#[must_use]
pub fn last_scores(records: Vec<Record>) -> Vec<(usize, String, Vec<Score>)> {
    let mut found: Vec<(usize, String, Vec<Score>)> = Vec::new();
    for record in records {
        if let Event::Evaluation { step, dataset, scores, .. } = record.event {
            found.retain(|(_, d, _)| *d != dataset);
            found.push((step, dataset, scores));
        }
    }
    found
}

/// The directory as text for messages.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}
