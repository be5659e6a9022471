//! Exact search over more passages than memory holds: embeddings in shards on disk, multiplied piece by piece, with a
//! running first k for each question.
//!
//! Equal scores are ordered as `trec_eval` does, by passage id descending. Scores accumulate in f32 whatever the shards
//! hold. On the CPU every core takes rows for itself and multiplies them while they lie in its cache; on another device
//! the same is done with candle's operations there, and only scores that can enter the first k come back.

mod device;
mod fill;
mod half;
mod host;
mod index;
mod shard;
mod stream;
mod texts;
mod tile;

pub use device::top_k as top_k_on_device;
pub use fill::{Filled, fill};
pub use half::{ShardDtype, narrow, widen};
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
    if device.is_cpu() {
        host::top_k(index, questions, k, progress)
    } else {
        top_k_on_device(index, questions, k, device, progress)
    }
}

/// As [`top_k`], with passages that are no candidates: for each question the ids in `without`.
///
/// # Errors
/// As [`top_k`].
pub fn top_k_without(
    index: &Index,
    questions: &Embeddings,
    without: &[Vec<String>],
    k: usize,
    device: &Device,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<Vec<Hit>>> {
    let most = without.iter().map(Vec::len).max().unwrap_or(0);
    let mut found = top_k(index, questions, k.saturating_add(most), device, progress)?;
    for (hits, without) in found.iter_mut().zip(without) {
        hits.retain(|hit| !without.contains(&hit.id));
    }
    for hits in &mut found {
        hits.truncate(k);
    }
    Ok(found)
}

/// The order of two rows of one shard with equal scores.
fn tie(shard: &Shard) -> impl Fn(u32, u32) -> Ordering {
    |a, b| shard.id(b as usize).cmp(shard.id(a as usize))
}

/// Takes a shard's first k into the best so far, and starts anew for the next shard.
fn merge_shard(best: &mut Vec<Hit>, shard: &Shard, top: &mut TopK, k: usize) {
    let found = std::mem::replace(top, TopK::new(k, f32::NEG_INFINITY)).finish(tie(shard));
    let hit = |(score, row): (f32, u32)| Hit { id: shard.id(row as usize).to_owned(), score };
    merge(best, found.into_iter().map(hit), k);
    if let Some(last) = best.get(k.wrapping_sub(1)) {
        *top = TopK::new(k, last.score);
    }
}

/// Takes hits into the best so far, of which k stay.
fn merge(best: &mut Vec<Hit>, hits: impl IntoIterator<Item = Hit>, k: usize) {
    best.extend(hits);
    // `+ 0.0` makes 0 of -0, which is an equal score.
    best.sort_by(|a, b| (b.score + 0.0).total_cmp(&(a.score + 0.0)).then_with(|| b.id.cmp(&a.id)));
    best.truncate(k);
}
