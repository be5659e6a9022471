//! Reading an index from its first to its last row, a little ahead of whoever uses it.
//!
//! A thread of its own maps the next rows, which brings them into memory, while the rows before them are multiplied; the
//! system is asked for the windows after those. A few windows are mapped at a time, so memory does not grow with the index.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use anyhow::{Result, anyhow};

use super::index::Index;
use super::shard::{BLOCK, Shard, Window};

/// Bytes of a window, about.
const WINDOW: usize = 32 << 20;
/// Windows that the system is asked for ahead of their use: a disk is fastest with several requests at a time.
const AHEAD: usize = 6;

/// Rows of one shard in memory.
#[derive(Debug)]
pub struct Piece {
    pub shard: Arc<Shard>,
    pub window: Window,
}

impl Piece {
    /// True for the last rows of a shard.
    #[must_use]
    pub fn ends_shard(&self) -> bool {
        self.window.rows.end == self.shard.rows
    }
}

/// Rows that share a checksum.
#[derive(Debug)]
pub struct Block {
    pub shard: Arc<Shard>,
    /// Rows of the shard.
    pub rows: Range<usize>,
}

/// Hands every piece of the index to `consume`, checked and in order.
///
/// # Errors
/// Where a shard is missing or damaged, or what `consume` returns.
pub fn stream(index: &Index, mut consume: impl FnMut(&Piece) -> Result<()>) -> Result<()> {
    std::thread::scope(|scope| {
        let (send, receive) = sync_channel(1);
        let reader = scope.spawn(move || {
            // The receiver is gone where the consumer failed: its error counts, not ours.
            let read = each_window(index, |shard, rows| {
                let window = shard.window(rows)?;
                Ok(send.send(Ok(Piece { shard, window })).is_ok())
            });
            if let Err(error) = read {
                let _ = send.send(Err(error));
            }
        });
        let result = receive.iter().try_for_each(|piece| consume(&piece?));
        drop(receive);
        let joined = reader.join().map_err(|_| anyhow!("the thread that reads the index has failed"));
        result.and(joined)
    })
}

/// Hands every block of the index to `take`, in order, until it returns false; the system has been asked for its rows and
/// some of those after it.
///
/// # Errors
/// Where a shard is missing, or anything but its vectors is damaged.
pub fn each_block(index: &Index, mut take: impl FnMut(Block) -> bool) -> Result<()> {
    each_window(index, |shard, rows| {
        let end = rows.end.min(shard.rows);
        Ok((rows.start..end)
            .step_by(BLOCK)
            .all(|start| take(Block { shard: Arc::clone(&shard), rows: start..(start + BLOCK).min(end) })))
    })
}

/// Until `take` returns false.
fn each_window(index: &Index, mut take: impl FnMut(Arc<Shard>, Range<usize>) -> Result<bool>) -> Result<()> {
    let mut windows = (0..index.shards()).flat_map(|shard| match windows(index, shard) {
        Ok(windows) => windows.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    });
    let mut queue: VecDeque<(Arc<Shard>, Range<usize>)> = VecDeque::new();
    loop {
        while queue.len() < AHEAD
            && let Some(next) = windows.next()
        {
            let (shard, rows) = next?;
            shard.hint(rows.clone());
            queue.push_back((shard, rows));
        }
        let Some((shard, rows)) = queue.pop_front() else { return Ok(()) };
        if !take(shard, rows)? {
            return Ok(());
        }
    }
}

fn windows(index: &Index, shard: usize) -> Result<Vec<(Arc<Shard>, Range<usize>)>> {
    let shard = Arc::new(index.shard(shard)?);
    let step = (WINDOW / shard.row_bytes().max(1)).next_multiple_of(BLOCK);
    Ok((0..shard.rows).step_by(step).map(|row| (Arc::clone(&shard), row..row + step)).collect())
}
