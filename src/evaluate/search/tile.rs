//! Rows of a shard as an f32 matrix that is filled again and again.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::half::{ShardDtype, widen};
use crate::evaluate::Embeddings;
use crate::ops::change;

/// Columns are a multiple of this, and questions at least two, so that a product never takes `gemm`'s paths for single
/// vectors or small results, which add up in another order: scores are then the same bits however the passages are cut
/// into tiles.
pub const COLUMNS: usize = 256;

/// Passage vectors in main memory, one a column, ready to be multiplied by questions.
#[derive(Debug)]
pub struct Tile {
    rows: Tensor,
    width: usize,
    filled: usize,
}

impl Tile {
    /// Room for `rows` vectors.
    ///
    /// # Errors
    /// Where memory runs out.
    pub fn new(rows: usize, width: usize) -> Result<Self> {
        let rows = Tensor::zeros((rows.next_multiple_of(COLUMNS), width), DType::F32, &Device::Cpu)?;
        Ok(Self { rows, width, filled: 0 })
    }

    /// Takes vector `rows[c]` of `bytes` as column c, exactly.
    ///
    /// # Errors
    /// Never in practice: the matrix lies in main memory.
    pub fn fill(&mut self, dtype: ShardDtype, bytes: &[u8], rows: &[u32]) -> Result<()> {
        let (width, each) = (self.width, self.width * dtype.size());
        change(&self.rows, |numbers| {
            numbers.par_chunks_mut(width).with_min_len(64).zip(rows).for_each(|(numbers, row)| {
                widen(dtype, &bytes[*row as usize * each..][..each], numbers);
            });
        })?;
        self.filled = rows.len();
        Ok(())
    }

    /// Numbers a line of [`Tile::scores`]: at least one for each vector that was filled in; the rest mean nothing.
    #[must_use]
    pub const fn stride(&self) -> usize {
        self.filled.next_multiple_of(COLUMNS)
    }

    /// Scores `[questions, stride]`, accumulated in f32.
    ///
    /// # Errors
    /// Where the questions have another width.
    pub fn scores(&self, questions: &Tensor) -> Result<Tensor> {
        Ok(questions.matmul(&self.rows.narrow(0, 0, self.stride())?.t()?)?)
    }
}

/// Questions as matrices of at most `rows` rows on a device.
///
/// # Errors
/// Where the device is out of memory.
pub fn chunks(questions: &Embeddings, rows: usize, device: &Device) -> Result<Vec<Tensor>> {
    let width = questions.width;
    questions
        .data
        .chunks((rows * width).max(1))
        .map(|chunk| Ok(Tensor::from_slice(chunk, (chunk.len() / width, width), device)?))
        .collect()
}

/// The same for full rankings, where scores must not depend on how the passages are cut (see [`COLUMNS`]): a row of zeros is
/// put after a question that is alone.
///
/// # Errors
/// As [`chunks`].
pub fn padded_chunks(questions: &Embeddings, rows: usize) -> Result<Vec<Tensor>> {
    let chunks = chunks(questions, rows, &Device::Cpu)?;
    let pad = |chunk: Tensor| match chunk.dim(0)? {
        1 => Ok(chunk.pad_with_zeros(0, 0, 1)?),
        _ => Ok(chunk),
    };
    chunks.into_iter().map(pad).collect()
}
