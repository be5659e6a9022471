//! Exact search over more passages than memory holds: embeddings in shards on disk, multiplied piece by piece, with a
//! running first k for each question.
//!
//! Equal scores are ordered as `trec_eval` does, by passage id descending. Scores accumulate in f32 whatever the shards
//! hold. On the CPU a block of rows is widened to f32 and multiplied while it lies in the cache; on another device the
//! same is done with candle's operations there, and only scores that can enter the first k come back.

mod device;
mod fill;
mod half;
mod host;
mod index;
mod shard;
mod stream;
mod texts;
mod tile;

pub use device::DeviceScorer;
pub use fill::{Filled, fill};
pub use half::{ShardDtype, narrow, widen};
pub use host::HostScorer;
pub use index::{Index, IndexLock, Manifest, ShardState};
pub use shard::{BLOCK, Shard, Window, write_shard};
pub use stream::{Piece, stream};
pub use texts::{Texts, TextsSummary};
pub(super) use tile::{COLUMNS, Tile, padded_chunks};

use std::cmp::Ordering;

use anyhow::{Result, ensure};
use candle_core::Device;

use super::Embeddings;
use super::top::TopK;

/// A passage that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub id: String,
    pub score: f32,
}

/// Scores rows of a shard for all questions and offers them to each question's first k.
pub trait Scorer {
    /// Offers every row of the piece, by its number in the shard; one [`TopK`] a question, in order.
    ///
    /// # Errors
    /// Where the device fails.
    fn offer(&mut self, piece: &Piece, tops: &mut [TopK]) -> Result<()>;
}

/// The first `k` passages for each question, or all where there are fewer. `progress` hears (done, total) passages.
///
/// # Errors
/// Where a shard is missing or damaged, a question's vector is not finite or of another width, the device fails, or
/// `progress` does.
pub fn top_k(
    index: &Index,
    questions: &Embeddings,
    k: usize,
    device: &Device,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<Vec<Hit>>> {
    let width = index.manifest.width;
    ensure!(
        questions.data.is_empty() || questions.width == width,
        "the questions' vectors have {} numbers, the index's {width}: it was made by another model",
        questions.width
    );
    if let Some(at) = questions.data.iter().position(|x| !x.is_finite()) {
        anyhow::bail!("the vector of question {} is not finite: the model is broken", at / width + 1);
    }
    let mut scorer: Box<dyn Scorer> = if device.is_cpu() {
        Box::new(HostScorer::new(questions)?)
    } else {
        Box::new(DeviceScorer::new(questions, device)?)
    };
    top_k_with(scorer.as_mut(), index, questions.rows(), k, progress)
}

/// The same with a scorer of one's own choice.
///
/// # Errors
/// As [`top_k`].
pub fn top_k_with(
    scorer: &mut dyn Scorer,
    index: &Index,
    questions: usize,
    k: usize,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<Vec<Hit>>> {
    let mut best: Vec<Vec<Hit>> = vec![Vec::new(); questions];
    let mut tops: Vec<TopK> = vec![TopK::new(k, f32::NEG_INFINITY); questions];
    let total = index.manifest.rows as usize;
    stream(index, |piece| {
        scorer.offer(piece, &mut tops)?;
        if piece.ends_shard() {
            for (best, top) in best.iter_mut().zip(&mut tops) {
                merge(best, piece, top, k);
            }
        }
        progress(piece.shard.first as usize + piece.window.rows.end, total)
    })?;
    Ok(best)
}

/// The order of two rows of one shard with equal scores.
pub(super) fn tie(piece: &Piece) -> impl Fn(u32, u32) -> Ordering {
    |a, b| piece.shard.id(b as usize).cmp(piece.shard.id(a as usize))
}

/// Takes a shard's first k into the index's, and starts anew for the next shard.
fn merge(best: &mut Vec<Hit>, piece: &Piece, top: &mut TopK, k: usize) {
    let found = std::mem::replace(top, TopK::new(k, f32::NEG_INFINITY)).finish(tie(piece));
    let hits =
        found.into_iter().map(|(score, row)| Hit { id: piece.shard.id(row as usize).to_owned(), score });
    best.extend(hits);
    // `+ 0.0` makes 0 of -0, which is an equal score.
    best.sort_by(|a, b| (b.score + 0.0).total_cmp(&(a.score + 0.0)).then_with(|| b.id.cmp(&a.id)));
    best.truncate(k);
    if let Some(last) = best.get(k.wrapping_sub(1)) {
        *top = TopK::new(k, last.score);
    }
}
