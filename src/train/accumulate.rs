//! The gradient of one optimiser step: the mean over `train.accumulate` batches of the plan.
//!
//! Step `n` takes the plan's batches `n k .. (n + 1) k`. Each question still sees only its own batch's negatives: for
//! more of them, raise `train.batch` and bound the memory with `train.chunk`.

use anyhow::{Context, Result, ensure};

use super::diverged::Diverged;
use super::footprint::{self, Footprint};
use super::gradient::{Objective, PairTokens, batch_loss, start_gradient};
use super::lengths::TextLengths;
use super::perturbation::Perturbation;
use super::switch::{Reading, Switched};
use super::trainer::Trainer;
use crate::batch::Batch;
use crate::encoder::{Gradients, Load};
use crate::ops::Loss;

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

/// The same while the device may still be computing it.
#[derive(Debug)]
pub(super) struct StartedGradient {
    pub batches: Vec<Batch>,
    pub losses: Vec<Loss>,
    pub gradients: Gradients,
    pub load: Load,
    pub padded: usize,
}

impl Trainer {
    /// Loss and gradients of the step that comes next; nothing is changed by it.
    ///
    /// # Errors
    /// Where a device's memory does not suffice (the error says which `train.chunk` to try), it fails, or a loss is
    /// not finite.
    pub fn gradient(&self) -> Result<StepGradient> {
        let StartedGradient { batches, losses, gradients, load, padded } = self.start_gradient()?;
        Ok(StepGradient { batches: self.reports(batches, &losses)?, gradients, load, padded })
    }

    /// The batches with the values of their losses, for which the device is waited for.
    ///
    /// # Errors
    /// Where a loss is not finite, or the device fails.
    pub(super) fn reports(&self, batches: Vec<Batch>, losses: &[Loss]) -> Result<Vec<BatchReport>> {
        let report = |(batch, loss): (Batch, &Loss)| {
            let loss = loss.value()?;
            ensure!(
                loss.is_finite(),
                Diverged::new(format!(
                    "step {}: the loss of {} is {loss}; the weights were not changed",
                    self.step + 1,
                    self.described(&batch)
                ))
            );
            Ok(BatchReport { batch, loss })
        };
        batches.into_iter().zip(losses).map(report).collect()
    }

    /// [`Trainer::gradient`] without waiting for the device, and so without a look at the losses.
    pub(super) fn start_gradient(&self) -> Result<StartedGradient> {
        let train = &self.spec.train;
        let count = train.accumulate.max(1);
        let mut gradient = StartedGradient {
            batches: Vec::with_capacity(count),
            losses: Vec::with_capacity(count),
            gradients: self.encoder.parameters.gradients(),
            load: Load::default(),
            padded: 0,
        };
        let weight = 1.0 / count as f64;
        for index in self.step * count..(self.step + 1) * count {
            let batch = self.plan.batch(index)?;
            let texts = self.texts(&batch, index)?;
            let (of_questions, of_passages) = self.routes(&batch);
            let (questions, passages) = texts.borrowed();
            let pairs = PairTokens::new(&questions, &passages).routed(&of_questions, &of_passages);
            let lengths = pairs.lengths();
            let size = Footprint::of(&self.encoder).perturbed(self.spec.robust.perturbation);
            let objective = Objective {
                temperature: train.temperature,
                chunk: train.chunk,
                dropout: self.dropout(index),
                perturbation: Perturbation::new(&self.spec.robust, self.spec.seed, index),
            };
            let (loss, _) = start_gradient(&self.encoder, pairs, &objective, weight, &mut gradient.gradients)
                .map_err(|error| footprint::explain(error, &size, &lengths, train.chunk))
                .with_context(|| format!("step {}", self.step + 1))?;
            gradient.load += lengths.load();
            gradient.padded += lengths.padded();
            gradient.batches.push(batch);
            gradient.losses.push(loss);
        }
        Ok(gradient)
    }

    /// Refuses weights with which the loss of the last step's own batch is not finite: what neither a further step nor a
    /// validation or evaluation has shown.
    ///
    /// # Errors
    /// As [`Trainer::diverged`], or where the device fails.
    pub fn check_loss(&self) -> Result<()> {
        let index = self.step.saturating_sub(1) * self.spec.train.accumulate.max(1);
        let batch = self.plan.batch(index)?;
        let texts = self.texts(&batch, index)?;
        let (of_questions, of_passages) = self.routes(&batch);
        let (questions, passages) = texts.borrowed();
        let pairs = PairTokens::new(&questions, &passages).routed(&of_questions, &of_passages);
        let train = &self.spec.train;
        let loss = batch_loss(&self.encoder, pairs, train.temperature, train.chunk)?;
        if loss.is_finite() {
            return Ok(());
        }
        Err(self.diverged(&format!("the loss of its own batch is {loss} with the weights that it left")))
    }

    /// The tokens of a batch's texts, with words replaced where the spec asks for it; `index` is its place in the plan.
    fn texts(&self, batch: &Batch, index: usize) -> Result<Texts<'_>> {
        let set = &self.sets[batch.source];
        let switched = match &self.switcher {
            Some(switcher) => {
                let reading = Reading::of(&self.encoder, &self.spec.model);
                switcher.switch(reading, set.texts()?, batch, index)?
            }
            None => Switched::default(),
        };
        Ok(Texts {
            questions: batch.pairs.iter().map(|p| set.question(p.question)).collect(),
            passages: batch.passages().map(|p| set.passage(p)).collect(),
            switched,
        })
    }

    /// Refuses to begin where main memory cannot hold the heaviest of the next `batches` batches.
    ///
    /// # Errors
    /// As [`Footprint::check`].
    pub fn check_memory(&self, batches: usize) -> Result<()> {
        if !self.encoder.device.is_cpu() {
            return Ok(());
        }
        let train = &self.spec.train;
        let size = Footprint::of(&self.encoder).perturbed(self.spec.robust.perturbation);
        let is_summed = train.accumulate > 1;
        let (first, end) = (self.step * train.accumulate, train.steps * train.accumulate);
        let mut heaviest = (0, TextLengths::default(), first);
        for index in (first..end).take(batches) {
            let batch = self.plan.batch(index)?;
            let lengths = self.sets[batch.source].lengths(&batch);
            let bytes = size.step(&lengths, train.chunk, is_summed);
            if bytes > heaviest.0 {
                heaviest = (bytes, lengths, index);
            }
        }
        // Translations may be longer than the words that they stand for.
        let lengths = if self.switcher.is_some() && heaviest.0 > 0 {
            let batch = self.plan.batch(heaviest.2)?;
            let texts = self.texts(&batch, heaviest.2)?;
            let (questions, passages) = texts.borrowed();
            PairTokens::new(&questions, &passages).lengths()
        } else {
            heaviest.1
        };
        size.check(&lengths, train.chunk, is_summed)
    }
}

/// Tokens of a batch: the training set's, and those of texts that were rewritten.
struct Texts<'a> {
    questions: Vec<&'a [u32]>,
    passages: Vec<&'a [u32]>,
    switched: Switched,
}

impl Texts<'_> {
    /// Of questions and of passages.
    fn borrowed(&self) -> (Vec<&[u32]>, Vec<&[u32]>) {
        (side_of(&self.questions, &self.switched.questions), side_of(&self.passages, &self.switched.passages))
    }
}

/// The rewritten tokens where there are some, else the text's own.
fn side_of<'a>(own: &[&'a [u32]], written: &'a [Option<Vec<u32>>]) -> Vec<&'a [u32]> {
    let rewritten = |place: usize| written.get(place).and_then(|w| w.as_deref());
    own.iter().enumerate().map(|(place, ids)| rewritten(place).unwrap_or(ids)).collect()
}
