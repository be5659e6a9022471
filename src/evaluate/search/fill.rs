//! Filling an index: the shards that are missing or damaged are embedded and written, one after another.

use anyhow::{Context, Result, ensure};

use super::index::{Index, IndexLock, ShardState};
use crate::evaluate::Embeddings;

/// What [`fill`] tells while it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filled {
    /// A shard was there already.
    Found { shard: usize },
    /// A shard is damaged, and will be written again.
    Damaged { shard: usize, reason: String },
    /// A shard was written.
    Wrote { shard: usize },
}

/// Writes what is missing of an index. `passages` yields (id, text) of every passage from the first; `embed` makes
/// unit vectors of a shard's texts.
///
/// # Errors
/// Where there are fewer or more passages than the manifest says, `embed`, `passages` or `tell` fail, or the disk is full;
/// shards that were written stay.
pub fn fill(
    index: &Index,
    lock: &IndexLock,
    mut passages: impl Iterator<Item = Result<(String, String)>>,
    mut embed: impl FnMut(usize, &[String]) -> Result<Embeddings>,
    mut tell: impl FnMut(Filled) -> Result<()>,
) -> Result<()> {
    for shard in 0..index.shards() {
        let rows = index.rows_of(shard);
        let mut next = || passages.next().context("the passages have become fewer while they were read")?;
        match index.state(shard) {
            ShardState::Whole => {
                tell(Filled::Found { shard })?;
                for _ in rows {
                    next()?;
                }
                continue;
            }
            ShardState::Missing => {}
            ShardState::Damaged(reason) => tell(Filled::Damaged { shard, reason })?,
        }
        let (mut ids, mut texts) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for _ in rows {
            let (id, text) = next()?;
            ids.push(id);
            texts.push(text);
        }
        index.write(lock, shard, &ids, &embed(shard, &texts)?)?;
        tell(Filled::Wrote { shard })?;
    }
    ensure!(passages.next().is_none(), "the passages have become more while they were read");
    Ok(())
}
