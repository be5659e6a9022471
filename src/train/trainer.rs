//! Training, one step at a time. What to do between steps is the run's business ([`crate::run`]).

use anyhow::{Result, ensure};

use super::accumulate::{BatchReport, REMEDY, StepGradient};
use super::schedule::learning_rate;
use super::tokens::{Cuts, Tokens, TrainingSet};
use crate::batch::Plan;
use crate::corpus::Dataset;
use crate::encoder::{DropoutRates, Encoder, Load};
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
    pub(super) spec: ExperimentSpec,
    pub sets: Vec<TrainingSet>,
}

/// What one step gave.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Its batches of the plan, `train.accumulate` of them.
    pub batches: Vec<BatchReport>,
    /// Mean of their losses.
    pub loss: f64,
    pub learning_rate: f64,
    /// Norm of the whole gradient before clipping.
    pub grad_norm: f64,
    /// Real tokens and texts.
    pub load: Load,
    /// Tokens with padding; see [`StepGradient::padded`].
    pub padded: usize,
}

impl StepReport {
    /// Pairs of all its batches.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.batches.iter().map(|b| b.batch.pairs.len()).sum()
    }
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

    /// Dropout of the plan's batch `index`, if the model or the spec has any.
    pub(super) fn dropout(&self, index: usize) -> Option<DropoutRates> {
        let config = &self.encoder.config;
        let rates = DropoutRates {
            hidden: self.spec.model.dropout.unwrap_or(config.hidden_dropout),
            attention: self.spec.model.dropout.unwrap_or(config.attention_dropout),
            seed: self.spec.seed,
            step: index as u64,
        };
        (rates.hidden > 0.0 || rates.attention > 0.0).then_some(rates)
    }

    /// One optimiser step.
    ///
    /// # Errors
    /// A loss or gradient that is not finite (the weights are then as before the step), or a failing device.
    pub fn step(&mut self) -> Result<StepReport> {
        let gradient = self.gradient()?;
        let (loss, train) = (gradient.loss(), &self.spec.train);
        let StepGradient { batches, gradients, load, padded } = gradient;
        let grad_norm = global_norm(gradients.tensors.iter().flatten())?;
        ensure!(
            grad_norm.is_finite(),
            "step {}: the gradient's norm is {grad_norm} with a loss of {loss} ({}); the weights were not changed. {REMEDY}",
            self.step + 1,
            batches.iter().map(|b| self.described(&b.batch)).collect::<Vec<_>>().join("; ")
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
        Ok(StepReport { batches, loss, learning_rate: rate, grad_norm, load, padded })
    }
}
