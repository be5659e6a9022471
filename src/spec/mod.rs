//! What to run: [`ExperimentSpec`], written as TOML, with every default stated here and nowhere else.
//!
//! A spec is read (`load`), overridden (`--set key=value`), then checked (`check`). Training never sees one that
//! was not checked. What depends on the data (which languages exist) is resolved when a run starts, and the
//! resolved spec, with every default written out, is the run's own `spec.toml`.

mod adapters;
mod check;
mod dataset;
mod grid;
mod load;
mod mixture;
mod presets;
mod robust;
mod sampling;
mod simplex;

pub use adapters::{AdapterKind, AdapterSpec, BaseWeights, is_code};
pub use dataset::DatasetRef;
pub use grid::{Axis, Cell, cells, file_name};
pub use load::{load, override_keys, parse};
pub use mixture::Mixture;
pub use presets::presets;
pub use robust::{PerturbationKind, RobustSpec, SwitchedSides};
pub use sampling::{PlanSchedule, SamplingSpec, Weights};
pub use simplex::{KINDS, SAMPLING};

use serde::{Deserialize, Serialize};

/// Version of a spec. Specs that state none are of version 1.
const VERSION: u32 = 1;

/// One experiment: a model, a sampling ratio, datasets, and how to train and evaluate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExperimentSpec {
    /// Version of the format.
    pub v: u32,
    /// Short name; the run's directory name starts with it.
    pub name: String,
    /// One line on what the experiment asks.
    pub description: String,
    /// Seed of every random stream (init, plan, dropout).
    pub seed: u64,
    /// Languages to train on, as the datasets name them; empty: all that the training data have.
    pub languages: Vec<String>,
    pub model: ModelSpec,
    pub adapters: AdapterSpec,
    pub sampling: SamplingSpec,
    pub data: DataSpec,
    pub train: TrainSpec,
    pub robust: RobustSpec,
    pub evaluate: EvaluateSpec,
}

/// The encoder to start from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSpec {
    /// `demo` (a small XLM-R-shaped encoder, initialised from the seed) or a model directory.
    pub base: String,
    /// How token vectors become one vector.
    pub pooling: Pooling,
    /// Text put before each question; absent: what the model directory states, else the catalogue,
    /// else `Query: `.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_prefix: Option<String>,
    /// Text put before each passage; absent: what the model directory states, else the
    /// catalogue, else `Passage: `.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passage_prefix: Option<String>,
    /// Longest question, in tokens with the prefix and the special tokens.
    pub max_query_tokens: usize,
    /// Longest passage, in tokens with the prefix and the special tokens.
    pub max_passage_tokens: usize,
    /// Hidden and attention dropout while training; absent: what the model's `config.json` states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
}

/// How token vectors become one vector for a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// What the model directory states, else mean.
    Auto,
    /// Mean over the text's tokens.
    Mean,
    /// The first token's vector.
    Cls,
}

/// What to train, validate and evaluate on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSpec {
    pub train: Vec<DatasetRef>,
    /// Early stopping looks at the loss on these only.
    pub validation: Vec<DatasetRef>,
    pub evaluation: Vec<DatasetRef>,
    /// How often each training dataset is drawn.
    pub mixture: Mixture,
    /// Which training data are tokenised into a cache on disk instead of memory.
    pub cache: CachePolicy,
}

/// Which training data are tokenised into a cache on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CachePolicy {
    /// Those whose files have more than 64 MiB.
    #[default]
    Auto,
    /// All that are not bundled.
    Always,
    Never,
}

/// Optimisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSpec {
    /// Optimiser steps.
    pub steps: usize,
    /// Pairs a batch; each question sees `batch - 1` in-batch negatives.
    pub batch: usize,
    /// Most hard negatives a question, where the data have some; each is one more negative for the whole batch.
    pub hard_negatives: usize,
    /// Pairs a forward-backward pass; 0: the whole batch. The loss and its gradients do not depend on it.
    pub chunk: usize,
    /// Batches of the plan whose gradients are averaged into one optimiser step. Negatives stay those of one batch.
    pub accumulate: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Shape of the learning rate after warm-up.
    pub schedule: Schedule,
    /// Share of the steps over which the learning rate rises from 0.
    pub warmup_ratio: f64,
    /// Decoupled weight decay; biases and `LayerNorm` are never decayed.
    pub weight_decay: f64,
    /// `AdamW`'s decay rates of the two moments.
    pub betas: [f64; 2],
    /// `AdamW`'s epsilon.
    pub epsilon: f64,
    /// Largest norm of the whole gradient; 0: no clipping.
    pub clip_norm: f64,
    /// `InfoNCE` temperature; similarities are divided by it.
    pub temperature: f64,
    /// Type of the computation; weights and optimiser state are always f32.
    pub dtype: Dtype,
    /// `auto`, `cpu`, `cuda`, `cuda:N` or `metal`.
    pub device: String,
    /// Steps between two validations; 0: only at the end.
    pub validate_every: usize,
    /// Steps between two evaluations; 0: only at the end.
    pub evaluate_every: usize,
    /// Steps between two checkpoints; 0: only at the end.
    pub checkpoint_every: usize,
    /// Newest checkpoints kept, and one more while none of them is known to give finite numbers; 0 counts as 1.
    pub keep_checkpoints: usize,
    /// Keep the checkpoint of the step with the lowest validation loss as well. With early stopping every such step gets
    /// one; without, only where a validation and a checkpoint (`checkpoint_every`) fall on the same step.
    pub keep_best: bool,
    /// Write event files for TensorBoard too, into `tensorboard/` of the run.
    pub tensorboard: bool,
    pub early_stopping: EarlyStopping,
}

/// Stop when the validation loss no longer falls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EarlyStopping {
    /// Validations in a row without improvement before training stops; 0: never stop early.
    pub patience: usize,
    /// Least fall of the validation loss that counts as improvement.
    pub min_delta: f64,
}

/// Shape of the learning rate after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    Linear,
    Cosine,
    Constant,
}

/// Type of the computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    F32,
    Bf16,
}

/// How evaluation data become candidates, and what is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateSpec {
    /// Text of a candidate.
    pub candidate: Candidate,
    /// Most tokens that are encoded in one forward pass.
    pub batch_tokens: usize,
    /// Ranks a question that go into the TREC run file; 0: no run file.
    pub trec_depth: usize,
    /// What a question without an answer in the pool counts.
    pub missing: Missing,
}

/// What a question counts for which there is nothing to find: no relevant passage in the pool, or no ranking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// 0 in every metric, as `trec_eval -c` has it
    #[default]
    Zero,
    /// Nothing: it is left out of the mean
    Skip,
}

impl Missing {
    /// `zero` or `skip`, as in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Skip => "skip",
        }
    }
}

/// Text of a candidate passage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Candidate {
    /// The sentence alone.
    #[default]
    #[serde(rename = "sentence")]
    Sentence,
    /// The sentence, then the paragraph it stands in.
    #[serde(rename = "sentence+context")]
    SentenceContext,
}

impl TrainSpec {
    /// Pairs that one optimiser step looks at.
    #[must_use]
    pub const fn pairs_a_step(&self) -> usize {
        self.batch * self.accumulate
    }

    /// In-batch negatives that each question is told from; accumulation adds none, hard negatives come on top.
    #[must_use]
    pub const fn negatives(&self) -> usize {
        self.batch.saturating_sub(1)
    }

    /// Steps over which the learning rate rises from 0.
    #[must_use]
    pub fn warmup_steps(&self) -> usize {
        (self.warmup_ratio * self.steps as f64).round() as usize
    }
}

impl Default for ExperimentSpec {
    fn default() -> Self {
        Self {
            v: VERSION,
            name: "experiment".into(),
            description: String::new(),
            seed: 42,
            languages: Vec::new(),
            model: ModelSpec::default(),
            adapters: AdapterSpec::default(),
            sampling: SamplingSpec::default(),
            data: DataSpec::default(),
            train: TrainSpec::default(),
            robust: RobustSpec::default(),
            evaluate: EvaluateSpec::default(),
        }
    }
}

impl Default for ModelSpec {
    fn default() -> Self {
        Self {
            base: "demo".into(),
            pooling: Pooling::Auto,
            query_prefix: None,
            passage_prefix: None,
            max_query_tokens: 64,
            max_passage_tokens: 192,
            dropout: None,
        }
    }
}

impl Default for DataSpec {
    fn default() -> Self {
        let part = |part: &str| vec![DatasetRef { name: "demo".into(), part: Some(part.into()), path: None }];
        Self {
            train: part("train"),
            validation: part("validation"),
            evaluation: part("evaluation"),
            mixture: Mixture::default(),
            cache: CachePolicy::Auto,
        }
    }
}

impl Default for TrainSpec {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch: 100,
            hard_negatives: 1,
            chunk: 0,
            accumulate: 1,
            learning_rate: 3e-5,
            schedule: Schedule::Linear,
            warmup_ratio: 0.1,
            weight_decay: 0.01,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            clip_norm: 1.0,
            temperature: 0.05,
            dtype: Dtype::F32,
            device: "auto".into(),
            validate_every: 0,
            evaluate_every: 0,
            checkpoint_every: 0,
            keep_checkpoints: 2,
            keep_best: true,
            tensorboard: false,
            early_stopping: EarlyStopping::default(),
        }
    }
}

impl Default for EvaluateSpec {
    fn default() -> Self {
        Self { candidate: Candidate::Sentence, batch_tokens: 8192, trec_depth: 100, missing: Missing::Zero }
    }
}
