//! Scores on the CPU: a block of rows at a time, so that vectors and scores stay in the cache.

use anyhow::Result;
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::shard::BLOCK;
use super::stream::Piece;
use super::tile::{Tile, chunks};
use super::{Scorer, tie};
use crate::evaluate::Embeddings;
use crate::evaluate::top::TopK;

/// Questions that are multiplied together: with a block's 4096 rows their scores take 8 MiB.
const QUESTIONS: usize = 512;

/// Widens and multiplies in main memory.
#[derive(Debug)]
pub struct HostScorer {
    questions: Vec<Tensor>,
    tile: Option<Tile>,
}

impl HostScorer {
    /// For these questions.
    ///
    /// # Errors
    /// Where memory runs out.
    pub fn new(questions: &Embeddings) -> Result<Self> {
        Ok(Self { questions: chunks(questions, QUESTIONS, &Device::Cpu)?, tile: None })
    }
}

impl Scorer for HostScorer {
    fn offer(&mut self, piece: &Piece, tops: &mut [TopK]) -> Result<()> {
        let (shard, window) = (&piece.shard, &piece.window);
        let tile = match &mut self.tile {
            Some(tile) => tile,
            empty => empty.insert(Tile::new(BLOCK, shard.width)?),
        };
        for start in (0..window.rows.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(window.rows.len());
            let rows: Vec<u32> = (start as u32..end as u32).collect();
            tile.fill(shard.dtype, window.bytes(), &rows)?;
            let first = (window.rows.start + start) as u32;
            for (questions, tops) in self.questions.iter().zip(tops.chunks_mut(QUESTIONS)) {
                let scores = tile.scores(questions)?;
                crate::ops::read(&scores, |scores| {
                    scores.par_chunks(tile.stride()).zip(tops).for_each(|(scores, top)| {
                        top.add(&scores[..rows.len()], |at| first + at as u32, tie(piece));
                    });
                })?;
            }
        }
        Ok(())
    }
}
