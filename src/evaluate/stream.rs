//! Full rankings of a pool whose vectors are read from an index, block by block, with the numbers of [`rank`].
//!
//! Two passes: the first finds the scores of the relevant passages, the second counts what stands before them. Memory
//! holds the questions, a few counters for each of their relevant passages, and the blocks in work.
//!
//! [`rank`]: super::rank

use anyhow::{Result, ensure};
use candle_core::Tensor;
use rayon::prelude::*;

use super::Embeddings;
use super::rank::{Pool, RankOptions, Ranks, check_questions, collect, one};
use super::search::{BLOCK, Index, Piece, Tile as Matrix, padded_chunks, stream};
use super::tally::{Tally, Target, Tile};
use crate::corpus::Dataset;

/// No column of a tile.
const NONE: u32 = u32::MAX;

/// Ranks every question against the passages of an index whose row i is the dataset's passage i. `progress` hears (done,
/// total), in rows of both passes.
///
/// # Errors
/// Where a question's embedding is not finite, the index holds other passages, is incomplete or damaged, or `progress`
/// fails.
pub fn rank_index(
    dataset: &Dataset,
    questions: &Embeddings,
    index: &Index,
    options: &RankOptions,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Ranks> {
    let (rows, width) = (index.manifest.rows as usize, index.manifest.width);
    check_questions(dataset, questions, rows, width)?;
    let pool = Pool::new(dataset);
    let block = options.block.max(1);
    let chunks = padded_chunks(questions, block)?;
    let mut work = Work { dataset, pool: &pool, matrix: Matrix::new(BLOCK, width)?, block, chunks };

    let mut targets: Vec<Vec<Target>> =
        (0..questions.rows()).map(|question| pool.targets(dataset, question, |_| f32::NAN)).collect();
    let mut is_relevant = vec![false; rows];
    dataset.groups.iter().flat_map(|g| &g.relevant).for_each(|p| is_relevant[*p as usize] = true);
    let mut column = vec![NONE; rows];
    stream(index, |piece| {
        work.each_tile(
            piece,
            |passage| is_relevant[passage],
            |tile, first, scores, stride| {
                tile.places.iter().zip(0..).for_each(|(place, at)| column[*place as usize] = at);
                let end = (first + block).min(targets.len());
                targets[first..end].par_iter_mut().zip(scores.par_chunks(stride)).for_each(
                    |(targets, scores)| {
                        for target in targets {
                            if let Some(score) = scores.get(column[target.place as usize] as usize) {
                                target.score = *score;
                            }
                        }
                    },
                );
                tile.places.iter().for_each(|place| column[*place as usize] = NONE);
            },
        )?;
        progress(piece.shard.first as usize + piece.window.rows.end, 2 * rows)
    })?;
    ensure!(targets.iter().flatten().all(|t| !t.score.is_nan()), "the index lacks relevant passages");

    let languages = dataset.languages.len();
    let new = |(question, targets)| {
        Tally::new(targets, languages, options.top).without(pool.itself(dataset, question))
    };
    let mut tallies: Vec<Tally> = targets.into_iter().enumerate().map(new).collect();
    stream(index, |piece| {
        work.each_tile(
            piece,
            |_| true,
            |tile, first, scores, stride| {
                let end = (first + block).min(tallies.len());
                tallies[first..end]
                    .par_iter_mut()
                    .zip(scores.par_chunks(stride))
                    .for_each(|(tally, scores)| tally.add(tile, scores, &pool.precedence));
            },
        )?;
        progress(rows + piece.shard.first as usize + piece.window.rows.end, 2 * rows)
    })?;
    let all = tallies.into_par_iter().enumerate().map(|(index, tally)| one(dataset, &pool, index, tally));
    Ok(collect(all.collect()))
}

/// What both passes need.
struct Work<'a> {
    dataset: &'a Dataset,
    pool: &'a Pool,
    matrix: Matrix,
    /// Questions a chunk.
    block: usize,
    chunks: Vec<Tensor>,
}

impl Work<'_> {
    /// Multiplies the chosen passages of a piece by all questions, and hands on the tile, the number of the first question,
    /// and the scores `[questions, stride]`.
    fn each_tile(
        &mut self,
        piece: &Piece,
        is_chosen: impl Fn(usize) -> bool,
        mut take: impl FnMut(&Tile, usize, &[f32], usize),
    ) -> Result<()> {
        let (shard, window) = (&piece.shard, &piece.window);
        let base = shard.first as usize + window.rows.start;
        for start in (0..window.rows.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(window.rows.len());
            let mut rows: Vec<u32> =
                (start as u32..end as u32).filter(|row| is_chosen(base + *row as usize)).collect();
            if rows.is_empty() {
                continue;
            }
            for row in &rows {
                let passage = base + *row as usize;
                let expected = &self.dataset.passages[passage].id;
                let found = shard.id(window.rows.start + *row as usize);
                ensure!(found == expected, "the index holds '{found}' where the dataset has '{expected}'");
            }
            let place = |row: u32| self.pool.place[base + row as usize];
            rows.sort_unstable_by_key(|row| place(*row));
            let places: Vec<u32> = rows.iter().map(|row| place(*row)).collect();
            let precedence = places.iter().map(|place| self.pool.precedence[*place as usize]).collect();
            let bound = |bound: usize| places.partition_point(|place| (*place as usize) < bound);
            let runs = self.pool.bounds.windows(2).map(|b| bound(b[0])..bound(b[1])).collect();
            let tile = Tile { places, precedence, runs };
            self.matrix.fill(shard.dtype, window.bytes(), &rows)?;
            for (chunk, questions) in self.chunks.iter().enumerate() {
                let (first, scores) = (chunk * self.block, self.matrix.scores(questions)?);
                crate::ops::read(&scores, |scores| take(&tile, first, scores, self.matrix.stride()))?;
            }
        }
        Ok(())
    }
}
