//! Loss and gradients of one batch, at once or in chunks.
//!
//! In chunks, gradients are cached at the vectors (Gao et al. 2021): every chunk is embedded without keeping its
//! activations, the loss of the whole batch gives the gradient of every vector, and each chunk is embedded again and
//! gone back with its part. Dropout is keyed by the pair's place in the batch, so both embeddings of a chunk, and
//! every choice of chunk, drop the same elements: loss and gradients are those of the whole batch.
//!
//! Word embeddings can be moved ([`Perturbation`]). An adversarial move goes the way of the whole batch's gradient, so it too
//! is the same in every chunk.

use anyhow::Result;
use candle_core::Tensor;

use crate::encoder::{DropoutRates, Encoder, Gradients, Packed, Route};
use crate::ops::{Loss, info_nce};

use super::lengths::{TextLengths, spans};
use super::perturbation::{Moved, Perturbation};

/// Token ids of a batch's pairs.
#[derive(Clone, Copy, Debug)]
pub struct PairTokens<'a> {
    pub questions: &'a [&'a [u32]],
    /// The passages that answer the questions, in their order, then hard negatives: passages that answer none.
    pub passages: &'a [&'a [u32]],
    /// Adapters of the questions and of all passages; empty: the base alone.
    routes: (&'a [Route], &'a [Route]),
}

impl<'a> PairTokens<'a> {
    /// Texts that go through the base alone.
    #[must_use]
    pub const fn new(questions: &'a [&'a [u32]], passages: &'a [&'a [u32]]) -> Self {
        Self { questions, passages, routes: (&[], &[]) }
    }

    /// The same through adapters: one a question, one a passage.
    #[must_use]
    pub const fn routed(self, questions: &'a [Route], passages: &'a [Route]) -> Self {
        Self { routes: (questions, passages), ..self }
    }

    /// Tokens of every text.
    #[must_use]
    pub fn lengths(&self) -> TextLengths {
        let (answers, negatives) = self.passages.split_at(self.questions.len());
        TextLengths {
            pairs: self.questions.iter().zip(answers).map(|(q, p)| (q.len(), p.len())).collect(),
            negatives: negatives.iter().map(|p| p.len()).collect(),
        }
    }
}

/// What is minimised, and in which pieces it is computed.
#[derive(Clone, Copy, Debug)]
pub struct Objective {
    /// Of `InfoNCE`.
    pub temperature: f64,
    /// Pairs a pass; 0: all at once.
    pub chunk: usize,
    pub dropout: Option<DropoutRates>,
    pub perturbation: Option<Perturbation>,
}

/// What a batch gave.
#[derive(Debug)]
pub struct BatchGradient {
    pub loss: f64,
    pub gradients: Gradients,
    /// Real tokens of the batch; padding does not exist.
    pub tokens: usize,
}

/// `InfoNCE` and its gradients with respect to every parameter that is trained. `chunk` pairs a pass; 0: all at once.
///
/// # Errors
/// Where the device fails or a text does not fit the model.
pub fn batch_gradient(
    encoder: &Encoder,
    pairs: PairTokens<'_>,
    temperature: f64,
    chunk: usize,
    dropout: Option<DropoutRates>,
) -> Result<BatchGradient> {
    let mut gradients = encoder.parameters.gradients();
    let objective = Objective { temperature, chunk, dropout, perturbation: None };
    let (loss, tokens) = add_gradient(encoder, pairs, &objective, 1.0, &mut gradients)?;
    Ok(BatchGradient { loss, gradients, tokens })
}

/// Adds `weight` times the gradients of a batch's objective, so that several batches can share a step; gives the objective
/// (not weighted) and the real tokens. With an adversarial perturbation the objective is the mean of the loss without and with
/// it.
///
/// # Errors
/// As [`batch_gradient`].
pub fn add_gradient(
    encoder: &Encoder,
    pairs: PairTokens<'_>,
    objective: &Objective,
    weight: f64,
    gradients: &mut Gradients,
) -> Result<(f64, usize)> {
    let (loss, tokens) = start_gradient(encoder, pairs, objective, weight, gradients)?;
    Ok((loss.value()?, tokens))
}

/// [`add_gradient`] without waiting for the device.
pub(super) fn start_gradient(
    encoder: &Encoder,
    pairs: PairTokens<'_>,
    objective: &Objective,
    weight: f64,
    gradients: &mut Gradients,
) -> Result<(Loss, usize)> {
    let parts = parts(pairs, objective.chunk);
    let tokens = parts.iter().map(|p| p.texts.tokens()).sum();
    let batch = Passes { encoder, pairs, objective, parts: &parts };
    let loss = match objective.perturbation {
        None => batch.go(&[], weight, gradients, &mut |_, _| Ok(()))?,
        Some(moved) if moved.is_adversarial() => {
            let mut shifts = Vec::with_capacity(parts.len());
            let clean = batch.go(&[], weight / 2.0, gradients, &mut |part, slope| {
                shifts.push(moved.along(encoder, &part.texts, slope)?);
                Ok(())
            })?;
            let worse = batch.go(&shifts, weight / 2.0, gradients, &mut |_, _| Ok(()))?;
            clean.midpoint(&worse)?
        }
        Some(moved) => {
            let shifts: Vec<Moved> =
                parts.iter().map(|part| moved.random(encoder, &part.texts)).collect::<Result<_>>()?;
            batch.go(&shifts, weight, gradients, &mut |_, _| Ok(()))?
        }
    };
    Ok((loss, tokens))
}

/// A batch in its passes.
struct Passes<'a> {
    encoder: &'a Encoder,
    pairs: PairTokens<'a>,
    objective: &'a Objective,
    parts: &'a [Part],
}

impl Passes<'_> {
    /// Forward and back once, with word embeddings moved by `shifts` (one a part, or none at all). `see` gets the gradient of
    /// each part's word embeddings.
    fn go(
        &self,
        shifts: &[Moved],
        weight: f64,
        gradients: &mut Gradients,
        see: &mut dyn FnMut(&Part, &Tensor) -> Result<()>,
    ) -> Result<Loss> {
        let (n, m) = (self.pairs.questions.len(), self.pairs.passages.len());
        let Objective { temperature, dropout, .. } = *self.objective;
        let weighted = |vectors: Tensor| if weight == 1.0 { Ok(vectors) } else { vectors * weight };
        let forward = |index: usize, save: bool| {
            let part = &self.parts[index];
            self.encoder.forward_moved(&part.texts, dropout, save, shifts.get(index))
        };
        if let [whole] = self.parts {
            let forward = forward(0, true)?;
            let (questions, passages) = (forward.vectors.narrow(0, 0, n)?, forward.vectors.narrow(0, n, m)?);
            let contrast = info_nce(&questions, &passages, temperature)?;
            let dvectors = weighted(Tensor::cat(&[&contrast.questions, &contrast.passages], 0)?)?;
            let slope = self.encoder.backward(&whole.texts, dropout, forward, &dvectors, gradients)?;
            see(whole, &slope)?;
            return Ok(contrast.loss);
        }
        let vectors = (0..self.parts.len())
            .map(|index| Ok(forward(index, false)?.vectors))
            .collect::<Result<Vec<_>>>()?;
        let (questions, passages) = gather(self.parts, &vectors)?;
        let contrast = info_nce(&questions, &passages, temperature)?;
        for (index, part) in self.parts.iter().enumerate() {
            let forward = forward(index, true)?;
            let mut rows = vec![
                contrast.questions.narrow(0, part.start, part.pairs)?,
                contrast.passages.narrow(0, part.start, part.pairs)?,
            ];
            if part.negatives > 0 {
                rows.push(contrast.passages.narrow(0, n + part.first_negative, part.negatives)?);
            }
            let dvectors = weighted(Tensor::cat(&rows, 0)?)?;
            let slope = self.encoder.backward(&part.texts, dropout, forward, &dvectors, gradients)?;
            see(part, &slope)?;
        }
        Ok(contrast.loss)
    }
}

/// What one pass embeds: questions, their passages, then some of the hard negatives.
struct Part {
    texts: Packed,
    /// First pair and how many.
    start: usize,
    pairs: usize,
    /// First hard negative and how many.
    first_negative: usize,
    negatives: usize,
}

/// The batch in passes of `chunk` pairs; 0: in one. A text's key is its place in the batch.
fn parts(pairs: PairTokens<'_>, chunk: usize) -> Vec<Part> {
    let n = pairs.questions.len();
    let (of_questions, of_passages) = pairs.routes;
    let question = |i: usize| (2 * i as u64, pairs.questions[i], of_questions.get(i).copied().flatten());
    let passage =
        |key: usize, i: usize| (key as u64, pairs.passages[i], of_passages.get(i).copied().flatten());
    spans(n, pairs.passages.len() - n, chunk)
        .map(|(own, hard)| {
            let questions = own.clone().map(question);
            let answers = own.clone().map(|i| passage(2 * i + 1, i));
            let negatives = hard.clone().map(|i| passage(2 * n + i, n + i));
            Part {
                texts: Packed::routed(questions.chain(answers).chain(negatives)),
                start: own.start,
                pairs: own.len(),
                first_negative: hard.start,
                negatives: hard.len(),
            }
        })
        .collect()
}

/// The vectors of all questions, and of all passages with the hard negatives last.
fn gather(parts: &[Part], vectors: &[Tensor]) -> Result<(Tensor, Tensor)> {
    let (mut questions, mut answers, mut negatives) = (Vec::new(), Vec::new(), Vec::new());
    for (part, vectors) in parts.iter().zip(vectors) {
        questions.push(vectors.narrow(0, 0, part.pairs)?);
        answers.push(vectors.narrow(0, part.pairs, part.pairs)?);
        if part.negatives > 0 {
            negatives.push(vectors.narrow(0, 2 * part.pairs, part.negatives)?);
        }
    }
    answers.append(&mut negatives);
    Ok((Tensor::cat(&questions, 0)?, Tensor::cat(&answers, 0)?))
}

/// Loss of a batch without gradients, dropout or perturbation.
///
/// # Errors
/// As [`batch_gradient`].
pub fn batch_loss(encoder: &Encoder, pairs: PairTokens<'_>, temperature: f64, chunk: usize) -> Result<f64> {
    let parts = parts(pairs, chunk);
    let vectors = parts
        .iter()
        .map(|part| Ok(encoder.forward(&part.texts, None, false)?.vectors))
        .collect::<Result<Vec<_>>>()?;
    let (questions, passages) = gather(&parts, &vectors)?;
    Ok(info_nce(&questions, &passages, temperature)?.loss.value()?)
}
