//! Scores on any device of candle's: CUDA through cuBLAS, Metal, and the CPU, where the tests hold it to the host's own form.
//!
//! The rows go to the device as they are on disk and are widened there. Of each 64 scores only the highest comes back;
//! the others follow where it reaches the question's first k, which after the first rows is rare.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::half::{ShardDtype, widen};
use super::index::Index;
use super::stream::{Piece, stream};
use super::tile::chunks;
use super::{Hit, merge_shard, tie};
use crate::evaluate::Embeddings;
use crate::evaluate::top::TopK;

/// Scores that are judged by their highest.
const GROUP: usize = 64;
/// Rows and questions of one product: its scores take 64 MiB on the device.
const ROWS: usize = 16_384;
const QUESTIONS: usize = 1024;

/// The first `k` passages for each question. `progress` hears (done, total) passages.
///
/// # Errors
/// Where a shard is missing or damaged, the device fails, or `progress` does.
pub fn top_k(
    index: &Index,
    questions: &Embeddings,
    k: usize,
    device: &Device,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<Vec<Hit>>> {
    let scorer = Scorer::new(questions, device)?;
    let mut best: Vec<Vec<Hit>> = vec![Vec::new(); questions.rows()];
    let mut tops: Vec<TopK> = vec![TopK::new(k, f32::NEG_INFINITY); questions.rows()];
    let total = index.manifest.rows as usize;
    stream(index, |piece| {
        scorer.offer(piece, &mut tops)?;
        if piece.ends_shard() {
            for (best, top) in best.iter_mut().zip(&mut tops) {
                merge_shard(best, &piece.shard, top, k);
            }
        }
        progress(piece.shard.first as usize + piece.window.rows.end, total)
    })?;
    Ok(best)
}

/// Multiplies on a device.
#[derive(Debug)]
struct Scorer {
    questions: Vec<Tensor>,
    device: Device,
}

impl Scorer {
    fn new(questions: &Embeddings, device: &Device) -> Result<Self> {
        Ok(Self { questions: chunks(questions, QUESTIONS, device)?, device: device.clone() })
    }

    /// Rows as an f32 matrix `[rows, width]` on the device, with rows of zeros up to a multiple of [`GROUP`].
    fn rows(&self, dtype: ShardDtype, bytes: &[u8], rows: usize, width: usize) -> Result<Tensor> {
        let padded = (rows.next_multiple_of(GROUP), width);
        Ok(match dtype {
            ShardDtype::F16 => {
                let halves = bytes.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b));
                let mut halves: Vec<half::f16> = halves.collect();
                halves.resize(padded.0 * width, half::f16::ZERO);
                Tensor::from_vec(halves, padded, &self.device)?.to_dtype(DType::F32)?
            }
            ShardDtype::F32 => {
                let mut numbers = vec![0f32; padded.0 * width];
                widen(dtype, bytes, &mut numbers[..rows * width]);
                Tensor::from_vec(numbers, padded, &self.device)?
            }
        })
    }

    /// Offers every row of the piece, by its number in the shard; one [`TopK`] a question, in order.
    fn offer(&self, piece: &Piece, tops: &mut [TopK]) -> Result<()> {
        let (shard, window) = (&piece.shard, &piece.window);
        let each = shard.row_bytes();
        for (tile, bytes) in window.bytes().chunks((ROWS * each).max(1)).enumerate() {
            let n = bytes.len() / each;
            let first = window.rows.start + tile * ROWS;
            let matrix = self.rows(shard.dtype, bytes, n, shard.width)?.t()?;
            let groups = n.div_ceil(GROUP);
            for (questions, tops) in self.questions.iter().zip(tops.chunks_mut(QUESTIONS)) {
                let scores = questions.matmul(&matrix)?.reshape((questions.dim(0)? * groups, GROUP))?;
                let highest = scores.max(1)?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
                let reaches = |at: usize| highest[at] >= tops[at / groups].floor();
                let wanted: Vec<u32> =
                    (0..highest.len()).filter(|at| reaches(*at)).map(|at| at as u32).collect();
                if wanted.is_empty() {
                    continue;
                }
                let chosen = Tensor::from_slice(&wanted, wanted.len(), &self.device)?;
                let chosen = scores.index_select(&chosen, 0)?.to_device(&Device::Cpu)?;
                let bounds: Vec<usize> = (0..=tops.len())
                    .map(|question| wanted.partition_point(|at| *at as usize / groups < question))
                    .collect();
                crate::ops::read(&chosen, |chosen| {
                    tops.par_iter_mut().zip(bounds.par_windows(2)).for_each(|(top, range)| {
                        for place in range[0]..range[1] {
                            let start = wanted[place] as usize % groups * GROUP;
                            // What lies behind the last row are the zeros of the padding.
                            let real = GROUP.min(n - start);
                            let scores = &chosen[place * GROUP..][..real];
                            top.add(scores, |at| (first + start + at) as u32, tie(shard));
                        }
                    });
                })?;
            }
        }
        Ok(())
    }
}
