//! Scores on the CPU. Every core takes a block of rows for itself: it maps them, checks their checksum and multiplies them
//! while they lie in its cache. Cores never wait for each other, and the disk reads the next rows beside them.

// Kernels must be inlined into the code that was compiled for wider vectors; see `ops::simd::wide`.
#![allow(clippy::inline_always)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, anyhow};
use candle_core::{Device, Tensor};
use rayon::ThreadPoolBuilder;

use super::half::{ShardDtype, widen_half};
use super::index::Index;
use super::shard::{Checksum, Shard};
use super::stream::{Block, each_block};
use super::tile::{Tile, chunks};
use super::{Hit, merge, tie};
use crate::evaluate::Embeddings;
use crate::evaluate::top::TopK;
use crate::ops::{Kernel, wide};

/// Rows that are checked and multiplied together: in f32 they and a block of scores stay in a core's own cache.
const ROWS: usize = 1024;
/// Questions that are multiplied together.
const QUESTIONS: usize = 512;
/// Up to so many questions are multiplied row by row, which needs no matrix of f32 at all.
const FEW: usize = 2;
/// Partial sums of such a product.
const LANES: usize = 16;

/// The first `k` passages for each question. `progress` hears (done, total) passages.
///
/// # Errors
/// Where a shard is missing or damaged, memory runs out, or `progress` fails.
pub fn top_k(
    index: &Index,
    questions: &Embeddings,
    k: usize,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<Vec<Hit>>> {
    let threads = rayon::current_num_threads();
    let stop = AtomicBool::new(false);
    let (send, blocks) = sync_channel(2 * threads);
    // Its last owner is the last worker: when all have ended, however early, the reader ends too.
    let blocks = Arc::new(Mutex::new(blocks));
    let (done, told) = channel();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let send = send;
            each_block(index, |block| send.send(block).is_ok() && !stop.load(Ordering::Relaxed))
        });
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (done, blocks, stop) = (done.clone(), Arc::clone(&blocks), &stop);
                scope.spawn(move || {
                    // A pool of one thread: a product does not wait for the other cores.
                    let pool = ThreadPoolBuilder::new().num_threads(1).build()?;
                    let found = pool.install(|| Core::new(questions, k)?.work(&blocks, &done, stop));
                    stop.fetch_or(found.is_err(), Ordering::Relaxed);
                    found
                })
            })
            .collect();
        drop((done, blocks));
        let (total, mut rows, mut result) = (index.manifest.rows as usize, 0, Ok(()));
        for more in told {
            rows += more;
            if result.is_ok() {
                result = progress(rows, total);
                stop.fetch_or(result.is_err(), Ordering::Relaxed);
            }
        }
        let lost = |_| anyhow!("a thread of the search has failed");
        let found: Vec<Result<Vec<Vec<Hit>>>> =
            workers.into_iter().map(|worker| worker.join().map_err(lost)?).collect();
        reader.join().map_err(lost)??;
        result?;
        let mut best: Vec<Vec<Hit>> = vec![Vec::new(); questions.rows()];
        for found in found {
            for (best, found) in best.iter_mut().zip(found?) {
                merge(best, found, k);
            }
        }
        Ok(best)
    })
}

/// What one core has found so far.
struct Core<'a> {
    questions: &'a Embeddings,
    matrices: Vec<Tensor>,
    tile: Option<Tile>,
    scores: Vec<f32>,
    k: usize,
    /// Of the shard in work.
    tops: Vec<TopK>,
    shard: Option<Arc<Shard>>,
    best: Vec<Vec<Hit>>,
}

impl<'a> Core<'a> {
    fn new(questions: &'a Embeddings, k: usize) -> Result<Self> {
        Ok(Self {
            questions,
            matrices: chunks(questions, QUESTIONS, &Device::Cpu)?,
            tile: None,
            scores: Vec::new(),
            k,
            tops: vec![TopK::new(k, f32::NEG_INFINITY); questions.rows()],
            shard: None,
            best: vec![Vec::new(); questions.rows()],
        })
    }

    /// Takes blocks until there are no more, or `stop` is set.
    fn work(
        mut self,
        blocks: &Mutex<Receiver<Block>>,
        done: &Sender<usize>,
        stop: &AtomicBool,
    ) -> Result<Vec<Vec<Hit>>> {
        while !stop.load(Ordering::Relaxed) {
            let next = blocks.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(block) = next else { break };
            self.take(&block)?;
            let _ = done.send(block.rows.len());
        }
        self.end_shard();
        Ok(self.best)
    }

    fn take(&mut self, block: &Block) -> Result<()> {
        if self.shard.as_ref().is_none_or(|shard| !Arc::ptr_eq(shard, &block.shard)) {
            self.end_shard();
            self.shard = Some(Arc::clone(&block.shard));
        }
        let (dtype, each) = (block.shard.dtype, block.shard.row_bytes());
        let mut checksum = Checksum::new(&block.shard, block.rows.start);
        for (part, bytes) in
            block.shard.unchecked_window(block.rows.clone())?.bytes().chunks((ROWS * each).max(1)).enumerate()
        {
            checksum.add(bytes);
            let first = block.rows.start + part * ROWS;
            if dtype == ShardDtype::F16 && self.questions.rows() <= FEW {
                self.rows(first, bytes);
            } else {
                self.matrix(first, dtype, bytes)?;
            }
        }
        checksum.check()
    }

    /// Row by row.
    fn rows(&mut self, first: usize, bytes: &[u8]) {
        let Some(shard) = &self.shard else { return };
        let rows = bytes.len() / shard.row_bytes();
        self.scores.resize(rows * self.questions.rows(), 0.0);
        wide::<Products, _>((bytes, self.questions, self.scores.as_mut_slice()));
        for (scores, top) in self.scores.chunks(rows).zip(&mut self.tops) {
            top.add(scores, |at| (first + at) as u32, tie(shard));
        }
    }

    /// As a matrix of f32.
    fn matrix(&mut self, first: usize, dtype: ShardDtype, bytes: &[u8]) -> Result<()> {
        let Some(shard) = &self.shard else { return Ok(()) };
        let tile = match &mut self.tile {
            Some(tile) => tile,
            empty => empty.insert(Tile::new(ROWS, shard.width)?),
        };
        let rows: Vec<u32> = (0..(bytes.len() / shard.row_bytes()) as u32).collect();
        tile.fill(dtype, bytes, &rows)?;
        for (questions, tops) in self.matrices.iter().zip(self.tops.chunks_mut(QUESTIONS)) {
            let scores = tile.scores(questions)?;
            crate::ops::read(&scores, |scores| {
                for (scores, top) in scores.chunks(tile.stride()).zip(tops) {
                    top.add(&scores[..rows.len()], |at| (first + at) as u32, tie(shard));
                }
            })?;
        }
        Ok(())
    }

    /// Takes the first k of the shard in work into those of all.
    fn end_shard(&mut self) {
        let Some(shard) = self.shard.take() else { return };
        for (best, top) in self.best.iter_mut().zip(&mut self.tops) {
            super::merge_shard(best, &shard, top, self.k);
        }
    }
}

/// Scores `[questions, rows]` of rows of f16.
struct Products;

impl Kernel<(&[u8], &Embeddings, &mut [f32])> for Products {
    type Out = ();

    #[inline(always)]
    fn run((bytes, questions, scores): (&[u8], &Embeddings, &mut [f32])) {
        let width = questions.width;
        for (question, scores) in
            questions.data.chunks_exact(width).zip(scores.chunks_mut(bytes.len() / (2 * width)))
        {
            for (score, row) in scores.iter_mut().zip(bytes.chunks_exact(2 * width)) {
                *score = product(row, question);
            }
        }
    }
}

/// One accumulator a lane, which the compiler keeps in registers; with more of them it did not.
#[inline(always)]
fn product(row: &[u8], question: &[f32]) -> f32 {
    let (row, row_rest) = row.as_chunks::<2>().0.as_chunks::<LANES>();
    let (question, question_rest) = question.as_chunks::<LANES>();
    let mut partial = [0f32; LANES];
    for (row, question) in row.iter().zip(question) {
        for lane in 0..LANES {
            partial[lane] += widen_half(row[lane]) * question[lane];
        }
    }
    let rest: f32 = row_rest.iter().zip(question_rest).map(|(a, b)| widen_half(*a) * b).sum();
    partial.iter().sum::<f32>() + rest
}
