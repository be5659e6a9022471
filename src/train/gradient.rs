//! Loss and gradients of one batch, at once or in chunks.
//!
//! In chunks, gradients are cached at the vectors (Gao et al. 2021): every chunk is embedded without keeping its
//! activations, the loss of the whole batch gives the gradient of every vector, and each chunk is embedded again and
//! gone back with its part. Dropout is keyed by the pair's place in the batch, so both embeddings of a chunk, and
//! every choice of chunk, drop the same elements: loss and gradients are those of the whole batch.

use anyhow::Result;
use candle_core::Tensor;

use crate::encoder::{DropoutRates, Encoder, Gradients, Packed};
use crate::ops::info_nce;

use super::lengths::{TextLengths, spans};

/// Token ids of a batch's pairs.
#[derive(Clone, Copy, Debug)]
pub struct PairTokens<'a> {
    pub questions: &'a [&'a [u32]],
    /// The passages that answer the questions, in their order, then hard negatives: passages that answer none.
    pub passages: &'a [&'a [u32]],
}

impl PairTokens<'_> {
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

/// What a batch gave.
#[derive(Debug)]
pub struct BatchGradient {
    pub loss: f64,
    pub gradients: Gradients,
    /// Real tokens of the batch; padding does not exist.
    pub tokens: usize,
}

/// `InfoNCE` and its gradients with respect to every parameter. `chunk` pairs a pass; 0: all at once.
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
    let mut gradients = Gradients::new(encoder.parameters.tensors.len());
    let (loss, tokens) = add_gradient(encoder, pairs, temperature, chunk, dropout, 1.0, &mut gradients)?;
    Ok(BatchGradient { loss, gradients, tokens })
}

/// Adds `weight` times the gradients of a batch's loss, so that several batches can share a step; gives the loss (not
/// weighted) and the real tokens.
///
/// # Errors
/// As [`batch_gradient`].
pub fn add_gradient(
    encoder: &Encoder,
    pairs: PairTokens<'_>,
    temperature: f64,
    chunk: usize,
    dropout: Option<DropoutRates>,
    weight: f64,
    gradients: &mut Gradients,
) -> Result<(f64, usize)> {
    let n = pairs.questions.len();
    let packed = parts(pairs, chunk);
    let tokens = packed.iter().map(|p| p.texts.tokens()).sum();
    let weighted = |vectors: Tensor| if weight == 1.0 { Ok(vectors) } else { vectors * weight };
    if let [whole] = packed.as_slice() {
        let forward = encoder.forward(&whole.texts, dropout, true)?;
        let m = pairs.passages.len();
        let (questions, passages) = (forward.vectors.narrow(0, 0, n)?, forward.vectors.narrow(0, n, m)?);
        let contrast = info_nce(&questions, &passages, temperature)?;
        let dvectors = weighted(Tensor::cat(&[&contrast.questions, &contrast.passages], 0)?)?;
        encoder.backward(&whole.texts, dropout, forward, &dvectors, gradients)?;
        return Ok((contrast.loss, tokens));
    }
    let vectors = packed
        .iter()
        .map(|part| Ok(encoder.forward(&part.texts, dropout, false)?.vectors))
        .collect::<Result<Vec<_>>>()?;
    let (questions, passages) = gather(&packed, &vectors)?;
    let contrast = info_nce(&questions, &passages, temperature)?;
    for part in &packed {
        let forward = encoder.forward(&part.texts, dropout, true)?;
        let mut rows = vec![
            contrast.questions.narrow(0, part.start, part.pairs)?,
            contrast.passages.narrow(0, part.start, part.pairs)?,
        ];
        if part.negatives > 0 {
            rows.push(contrast.passages.narrow(0, n + part.first_negative, part.negatives)?);
        }
        let dvectors = weighted(Tensor::cat(&rows, 0)?)?;
        encoder.backward(&part.texts, dropout, forward, &dvectors, gradients)?;
    }
    Ok((contrast.loss, tokens))
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
    let (answers, negatives) = pairs.passages.split_at(n);
    spans(n, negatives.len(), chunk)
        .map(|(own, hard)| {
            let questions = own.clone().map(|i| (2 * i as u64, pairs.questions[i]));
            let answers = own.clone().map(|i| (2 * i as u64 + 1, answers[i]));
            let negatives = hard.clone().map(|i| ((2 * n + i) as u64, negatives[i]));
            Part {
                texts: Packed::new(questions.chain(answers).chain(negatives)),
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

/// Loss of a batch without gradients or dropout.
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
    Ok(info_nce(&questions, &passages, temperature)?.loss)
}
