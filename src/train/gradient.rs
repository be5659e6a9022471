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

/// Token ids of a batch's pairs.
#[derive(Clone, Copy, Debug)]
pub struct PairTokens<'a> {
    pub questions: &'a [&'a [u32]],
    pub passages: &'a [&'a [u32]],
}

impl PairTokens<'_> {
    /// Tokens of question and passage of each pair.
    #[must_use]
    pub fn lengths(&self) -> Vec<(usize, usize)> {
        self.questions.iter().zip(self.passages).map(|(q, p)| (q.len(), p.len())).collect()
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
    let chunk = if chunk == 0 { n } else { chunk.min(n) };
    let packed: Vec<Packed> = (0..n).step_by(chunk).map(|start| pack(pairs, start, chunk)).collect();
    let tokens = packed.iter().map(Packed::tokens).sum();
    let weighted = |vectors: Tensor| if weight == 1.0 { Ok(vectors) } else { vectors * weight };
    if let [whole] = packed.as_slice() {
        let forward = encoder.forward(whole, dropout, true)?;
        let (questions, passages) = (forward.vectors.narrow(0, 0, n)?, forward.vectors.narrow(0, n, n)?);
        let contrast = info_nce(&questions, &passages, temperature)?;
        let dvectors = weighted(Tensor::cat(&[&contrast.questions, &contrast.passages], 0)?)?;
        encoder.backward(whole, dropout, forward, &dvectors, gradients)?;
        return Ok((contrast.loss, tokens));
    }
    let (mut questions, mut passages) = (Vec::new(), Vec::new());
    for part in &packed {
        let vectors = encoder.forward(part, dropout, false)?.vectors;
        let size = part.texts() / 2;
        questions.push(vectors.narrow(0, 0, size)?);
        passages.push(vectors.narrow(0, size, size)?);
    }
    let contrast = info_nce(&Tensor::cat(&questions, 0)?, &Tensor::cat(&passages, 0)?, temperature)?;
    for (index, part) in packed.iter().enumerate() {
        let (start, size) = (index * chunk, part.texts() / 2);
        let forward = encoder.forward(part, dropout, true)?;
        let dvectors = weighted(Tensor::cat(
            &[&contrast.questions.narrow(0, start, size)?, &contrast.passages.narrow(0, start, size)?],
            0,
        )?)?;
        encoder.backward(part, dropout, forward, &dvectors, gradients)?;
    }
    Ok((contrast.loss, tokens))
}

/// Pairs `start..start + chunk`: their questions, then their passages. A question's key is its place in the batch.
fn pack(pairs: PairTokens<'_>, start: usize, chunk: usize) -> Packed {
    let end = (start + chunk).min(pairs.questions.len());
    let side = |texts: &'_ [&'_ [u32]], offset: u64| -> Vec<(u64, Vec<u32>)> {
        (start..end).map(|i| (2 * i as u64 + offset, texts[i].to_vec())).collect()
    };
    let (questions, passages) = (side(pairs.questions, 0), side(pairs.passages, 1));
    Packed::new(questions.iter().chain(&passages).map(|(key, ids)| (*key, ids.as_slice())))
}

/// Loss of a batch without gradients or dropout.
///
/// # Errors
/// As [`batch_gradient`].
pub fn batch_loss(encoder: &Encoder, pairs: PairTokens<'_>, temperature: f64, chunk: usize) -> Result<f64> {
    let n = pairs.questions.len();
    let chunk = if chunk == 0 { n } else { chunk.min(n) };
    let (mut questions, mut passages) = (Vec::new(), Vec::new());
    for start in (0..n).step_by(chunk) {
        let part = pack(pairs, start, chunk);
        let vectors = encoder.forward(&part, None, false)?.vectors;
        let size = part.texts() / 2;
        questions.push(vectors.narrow(0, 0, size)?);
        passages.push(vectors.narrow(0, size, size)?);
    }
    Ok(info_nce(&Tensor::cat(&questions, 0)?, &Tensor::cat(&passages, 0)?, temperature)?.loss)
}
