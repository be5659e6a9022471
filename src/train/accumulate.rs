//! The gradient of one optimiser step: the mean over `train.accumulate` batches of the plan.
//!
//! Step `n` takes the plan's batches `n k .. (n + 1) k`. Each question still sees only its own batch's negatives: for
//! more of them, raise `train.batch` and bound the memory with `train.chunk`.

use anyhow::{Context, Result, ensure};

use super::footprint::{self, Footprint};
use super::gradient::{PairTokens, add_gradient};
use super::lengths::TextLengths;
use super::trainer::Trainer;
use crate::batch::Batch;
use crate::encoder::{Gradients, Load};

/// One batch of a step.
#[derive(Clone, Debug)]
pub struct BatchReport {
    pub batch: Batch,
    pub loss: f64,
}

/// What the batches of a step gave.
#[derive(Debug)]
pub struct StepGradient {
    pub batches: Vec<BatchReport>,
    /// Mean of the batches' gradients.
    pub gradients: Gradients,
    /// Tokens and texts, for rates and costs.
    pub load: Load,
    /// Tokens that would have been computed with each batch's questions padded to the longest, and its passages (with hard
    /// negatives) too.
    pub padded: usize,
}

impl StepGradient {
    /// Mean of the batches' losses.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.batches.iter().map(|b| b.loss).sum::<f64>() / self.batches.len() as f64
    }
}

impl Trainer {
    /// Loss and gradients of the step that comes next; nothing is changed by it.
    ///
    /// # Errors
    /// Where a device's memory does not suffice (the error says which `train.chunk` to try), it fails, or a loss is
    /// not finite.
    pub fn gradient(&self) -> Result<StepGradient> {
        let train = &self.spec.train;
        let count = train.accumulate.max(1);
        let mut gradient = StepGradient {
            batches: Vec::with_capacity(count),
            gradients: Gradients::new(self.encoder.parameters.tensors.len()),
            load: Load::default(),
            padded: 0,
        };
        let weight = 1.0 / count as f64;
        for index in self.step * count..(self.step + 1) * count {
            let batch = self.plan.batch(index)?;
            let set = &self.sets[batch.source];
            let questions: Vec<&[u32]> = batch.pairs.iter().map(|p| set.question(p.question)).collect();
            let passages: Vec<&[u32]> = batch.passages().map(|p| set.passage(p)).collect();
            let pairs = PairTokens { questions: &questions, passages: &passages };
            let lengths = pairs.lengths();
            let size = Footprint::of(&self.encoder);
            let (chunk, dropout) = (train.chunk, self.dropout(index));
            let sum = &mut gradient.gradients;
            let (loss, _) =
                add_gradient(&self.encoder, pairs, train.temperature, chunk, dropout, weight, sum)
                    .map_err(|error| footprint::explain(error, &size, &lengths, chunk))
                    .with_context(|| format!("step {}", self.step + 1))?;
            ensure!(
                loss.is_finite(),
                "step {}: the loss of {} is {loss}; the weights were not changed. {REMEDY}",
                self.step + 1,
                self.described(&batch)
            );
            gradient.load += lengths.load();
            gradient.padded += lengths.padded();
            gradient.batches.push(BatchReport { batch, loss });
        }
        Ok(gradient)
    }

    /// Refuses to begin where main memory cannot hold the heaviest of the next `batches` batches.
    ///
    /// # Errors
    /// As [`Footprint::check`].
    pub fn check_memory(&self, batches: usize) -> Result<()> {
        if !self.encoder.device.is_cpu() {
            return Ok(());
        }
        let (train, size) = (&self.spec.train, Footprint::of(&self.encoder));
        let is_summed = train.accumulate > 1;
        let (first, end) = (self.step * train.accumulate, train.steps * train.accumulate);
        let mut heaviest = (0, TextLengths::default());
        for index in (first..end).take(batches) {
            let batch = self.plan.batch(index)?;
            let lengths = self.sets[batch.source].lengths(&batch);
            let bytes = size.step(&lengths, train.chunk, is_summed);
            if bytes > heaviest.0 {
                heaviest = (bytes, lengths);
            }
        }
        size.check(&heaviest.1, train.chunk, is_summed)
    }

    /// A batch for messages: its place in the plan, its kind and language, and its first question.
    pub(super) fn described(&self, batch: &Batch) -> String {
        let language =
            batch.language.map_or(String::new(), |l| format!(", {}", self.plan.languages[usize::from(l)]));
        let first = batch.pairs.first().map_or(String::new(), |p| format!(", first question {}", p.question));
        format!("plan batch {} ({}{language}{first})", batch.step + 1, batch.kind)
    }
}

/// What to do about numbers that are not finite.
pub(super) const REMEDY: &str = "Lower train.learning_rate or raise train.temperature, then start again from the \
                                 last checkpoint";
