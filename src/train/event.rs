//! What training and evaluation report. One record is one line of a run's `events.jsonl`.

use serde::{Deserialize, Serialize};

use crate::machine::GpuState;

/// Version of the event log's records. 1 had no checksums; it is still read.
pub const EVENTS_VERSION: u32 = 2;

/// One line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of the format.
    pub v: u32,
    /// Seconds since 1970.
    pub time: f64,
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The worker has read model and data and begins (or resumes) at `step`.
    Started {
        step: usize,
        steps: usize,
        batch: usize,
        device: String,
        languages: Vec<String>,
        /// Trainable parameters.
        parameters: usize,
        /// Training groups that the plan draws from.
        groups: usize,
        /// Those of `languages` that no batch is drawn in.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        undrawn: Vec<String>,
        /// Hard negatives that a question brings into its batch, at most; 0: none.
        #[serde(default)]
        hard_negatives: usize,
    },
    /// One optimiser step is done. `step` counts from 1.
    Step {
        step: usize,
        /// `X-X-mono`, `X-Y`, `X-X` or `multi`.
        kind: String,
        /// The batch's language where it has only one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        language: Option<String>,
        /// Not finite values are written as null.
        loss: Option<f64>,
        learning_rate: f64,
        /// Norm of the whole gradient before clipping.
        grad_norm: Option<f64>,
        pairs: usize,
        /// Tokens that are not padding.
        tokens: usize,
        /// Seconds of this step.
        seconds: f64,
    },
    /// How often each (question language, passage language) was drawn since the run began.
    Drawn(DrawnPairs),
    /// How fast it goes and what it takes, every few seconds.
    Sample(Sample),
    /// Bytes of main memory that the worker holds where no step was taken, and the most it held: after an evaluation, and at the end.
    Memory {
        step: usize,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        memory: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peak_memory: Option<u64>,
    },
    /// Validation loss after `step` steps.
    Validation { step: usize, loss: Option<f64>, best: bool },
    /// Progress inside something long.
    Progress { stage: Stage, done: usize, total: usize },
    /// An evaluation was written to `evaluation/step-N/<dataset>`.
    Evaluation { step: usize, dataset: String, scores: Vec<Score>, seconds: f64 },
    /// A checkpoint was written.
    Checkpoint { step: usize, best: bool },
    /// A remark for the log pane.
    Note { message: String },
    /// Training ended as planned, or early (`reason` says why).
    Finished { step: usize, reason: String, best: Option<Best>, seconds: f64 },
    /// Stopped on request; where steps are done, the checkpoint of this one is there.
    Stopped { step: usize },
    /// Training cannot go on.
    Failed { step: usize, message: String },
}

/// Pair counts over `Started`'s languages, row-major `[question language, passage language]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawnPairs {
    pub step: usize,
    pub counts: Vec<u64>,
}

/// Speed and resources at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub step: usize,
    /// Pairs and real tokens a second of training since the last sample.
    pub pairs_per_second: f64,
    pub tokens_per_second: f64,
    /// Share of the tokens that a padded batch would have computed and that were not: each batch's questions padded to
    /// the longest, and its passages.
    pub padding_avoided: f64,
    /// Floating point operations of the model a second.
    pub flops_per_second: f64,
    /// Bytes of main memory that the worker holds, and the most it held; absent where the system does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// Seconds until the run is done, evaluations included.
    pub left: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuState>,
}

/// What a [`Event::Progress`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Loading model and data.
    Loading,
    Tokenising,
    EncodingQuestions,
    EncodingPassages,
    Ranking,
}

/// A headline number of an evaluation: macro mean over languages or language pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// `mono`, `cross` or `multi`.
    pub setting: String,
    /// `map`, `recall@10`, `rank_distance`, ...
    pub metric: String,
    pub value: f64,
}

/// The best validation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub step: usize,
    pub loss: f64,
}

impl Event {
    /// Bytes that the worker held and the most it held, where the event tells them.
    #[must_use]
    pub const fn memory(&self) -> Option<(Option<u64>, Option<u64>)> {
        match self {
            Self::Sample(sample) => Some((sample.memory, sample.peak_memory)),
            Self::Memory { memory, peak_memory, .. } => Some((*memory, *peak_memory)),
            _ => None,
        }
    }
}

impl Record {
    /// The event, stamped with the present time.
    #[must_use]
    pub fn now(event: Event) -> Self {
        let time = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0.0, |d| d.as_secs_f64());
        Self { v: EVENTS_VERSION, time, event }
    }
}
