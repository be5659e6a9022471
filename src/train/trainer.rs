//! Training, one step at a time. What to do between steps is the run's business ([`crate::run`]).

use anyhow::{Context, Result, ensure};

use super::gradient::{BatchGradient, PairTokens, batch_gradient};
use super::schedule::learning_rate;
use super::tokens::{Cuts, Tokens, TrainingSet};
use crate::batch::{Batch, Plan};
use crate::corpus::Dataset;
use crate::encoder::{DropoutRates, Encoder};
use crate::ops::{AdamW, global_norm};
use crate::spec::ExperimentSpec;

/// A model in training.
#[derive(Debug)]
pub struct Trainer {
    pub encoder: Encoder,
    pub plan: Plan,
    pub(super) optimiser: AdamW,
    /// Steps done.
    pub step: usize,
    spec: ExperimentSpec,
    pub sets: Vec<TrainingSet>,
}

/// What one step gave.
#[derive(Clone, Debug)]
pub struct StepReport {
    pub batch: Batch,
    pub loss: f64,
    pub learning_rate: f64,
    /// Norm of the whole gradient before clipping.
    pub grad_norm: f64,
    /// Real tokens.
    pub tokens: usize,
}

impl Trainer {
    /// Prepares training; `progress` hears of tokenised texts (done, total).
    ///
    /// # Errors
    /// Where the plan cannot be made from the data, or a text cannot be tokenised.
    pub fn new(
        spec: &ExperimentSpec,
        encoder: Encoder,
        datasets: &[Dataset],
        progress: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<Self> {
        let sets = datasets
            .iter()
            .map(|d| Ok(TrainingSet::in_memory(d, Tokens::new(d, &encoder, &spec.model, progress)?)))
            .collect::<Result<Vec<_>>>()?;
        Self::with_sets(spec, encoder, sets)
    }

    /// Prepares training on what is tokenised already.
    ///
    /// # Errors
    /// Where the plan cannot be made from the data.
    pub fn with_sets(spec: &ExperimentSpec, encoder: Encoder, sets: Vec<TrainingSet>) -> Result<Self> {
        let plan = Plan::from_layouts(spec, sets.iter().map(|s| s.layout.clone()).collect())?;
        let train = &spec.train;
        let optimiser =
            AdamW::new(&encoder.parameters.tensors, train.betas, train.epsilon, train.weight_decay)?;
        Ok(Self { encoder, plan, optimiser, step: 0, spec: spec.clone(), sets })
    }

    /// What was cut at the length limits.
    #[must_use]
    pub fn cuts(&self) -> Cuts {
        self.sets.iter().map(TrainingSet::cuts).fold(Cuts::default(), |a, b| Cuts {
            questions: a.questions + b.questions,
            passages: a.passages + b.passages,
            answers: a.answers + b.answers,
        })
    }

    /// Dropout of this training step, if the model or the spec has any.
    fn dropout(&self) -> Option<DropoutRates> {
        let config = &self.encoder.config;
        let rates = DropoutRates {
            hidden: self.spec.model.dropout.unwrap_or(config.hidden_dropout),
            attention: self.spec.model.dropout.unwrap_or(config.attention_dropout),
            seed: self.spec.seed,
            step: self.step as u64,
        };
        (rates.hidden > 0.0 || rates.attention > 0.0).then_some(rates)
    }

    /// One optimiser step.
    ///
    /// # Errors
    /// A loss or gradient that is not finite (the weights are then as before the step), or a failing device.
    pub fn step(&mut self) -> Result<StepReport> {
        let train = &self.spec.train;
        let batch = self.plan.batch(self.step)?;
        let set = &self.sets[batch.source];
        let questions: Vec<&[u32]> = batch.pairs.iter().map(|p| set.question(p.question)).collect();
        let answers = batch.pairs.iter().map(|p| p.passage);
        let passages: Vec<&[u32]> =
            answers.chain(batch.negatives.iter().copied()).map(|p| set.passage(p)).collect();
        let pairs = PairTokens { questions: &questions, passages: &passages };
        let BatchGradient { loss, gradients, tokens } =
            batch_gradient(&self.encoder, pairs, train.temperature, train.chunk, self.dropout())
                .with_context(|| format!("step {}", self.step + 1))?;
        let grad_norm = global_norm(gradients.tensors.iter().flatten())?;
        ensure!(
            loss.is_finite() && grad_norm.is_finite(),
            "step {}: the loss is {loss} and the gradient's norm {grad_norm} ({} batch{}); the weights were not \
             changed. Lower train.learning_rate or raise train.temperature, then resume",
            self.step + 1,
            batch.kind,
            batch.language.map_or(String::new(), |l| format!(", {}", self.plan.languages[usize::from(l)]))
        );
        let scale = if train.clip_norm > 0.0 { (train.clip_norm / (grad_norm + 1e-6)).min(1.0) } else { 1.0 };
        let rate = learning_rate(train, self.step);
        let parameters = &mut self.encoder.parameters;
        self.optimiser.update(
            &mut parameters.tensors,
            &gradients.tensors,
            &parameters.decayed,
            rate,
            scale,
        )?;
        self.step += 1;
        Ok(StepReport { batch, loss, learning_rate: rate, grad_norm, tokens })
    }
}
