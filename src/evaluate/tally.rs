//! How many passages stand before each relevant one, counted language by language, tile by tile.
//!
//! A tile is any set of passages with the languages one after another: the whole pool where its vectors are in memory, a
//! block of rows where they are read from disk.

// Kernels must be inlined into the code that was compiled for wider vectors; see `ops::simd::wide`.
#![allow(clippy::inline_always)]

use std::ops::Range;

use super::top::TopK;
use crate::ops::{Kernel, wide};

/// Passages of one language against one relevant passage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Those that score higher.
    pub greater: u32,
    /// Those that score the same, the relevant passage itself included.
    pub ties: u32,
    /// Those of the latter that stand before it by their ids.
    pub won: u32,
}

/// A relevant passage of one question.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its place in the pool.
    pub place: u32,
    pub score: f32,
    /// How many ids of the whole pool are greater: lower stands first among equal scores.
    pub precedence: u32,
}

/// Some passages of the pool, languages one after another.
#[derive(Clone, Debug, Default)]
pub struct Tile {
    /// Place in the pool, by column, ascending.
    pub places: Vec<u32>,
    /// Precedence, by column.
    pub precedence: Vec<u32>,
    /// Columns of each language.
    pub runs: Vec<Range<usize>>,
}

/// What is counted for one question.
#[derive(Clone, Debug)]
pub struct Tally {
    targets: Vec<Target>,
    /// `[targets, languages]`.
    counts: Vec<Count>,
    languages: usize,
    /// Places of passages that are no candidates.
    without: Vec<u32>,
    pub top: TopK,
}

impl Tally {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(targets: Vec<Target>, languages: usize, top: usize) -> Self {
        let counts = vec![Count::default(); targets.len() * languages];
        Self { targets, counts, languages, without: Vec::new(), top: TopK::new(top, f32::NEG_INFINITY) }
    }

    /// The same over a pool without these places, none of which is a relevant passage's.
    #[must_use]
    pub fn without(self, places: Vec<u32>) -> Self {
        Self { without: places, ..self }
    }

    /// Counts a tile by its scores, one a column. `precedence` is the pool's, by place.
    pub fn add(&mut self, tile: &Tile, scores: &[f32], precedence: &[u32]) {
        let scores = &scores[..tile.places.len()];
        let columns = self.without.iter().filter_map(|place| tile.places.binary_search(place).ok());
        let mut others = Vec::new();
        for column in columns {
            if others.is_empty() {
                others = scores.to_vec();
            }
            // Neither greater than a score nor equal to one: it is not counted, and enters no first k.
            others[column] = f32::NAN;
        }
        let scores = if others.is_empty() { scores } else { &others };
        for (target, counts) in self.targets.iter().zip(self.counts.chunks_mut(self.languages)) {
            for (run, count) in tile.runs.iter().zip(counts).filter(|(run, _)| !run.is_empty()) {
                let scores = &scores[run.clone()];
                let (greater, ties) = wide::<GreaterAndEqual, _>((scores, target.score));
                count.greater += greater;
                if ties > 0 {
                    let precedence = &tile.precedence[run.clone()];
                    count.ties += ties;
                    count.won += wide::<Won, _>((scores, precedence, *target));
                }
            }
        }
        let tie = |a: u32, b: u32| precedence[a as usize].cmp(&precedence[b as usize]);
        self.top.add(scores, |at| tile.places[at], tie);
    }

    /// Counts of the relevant passage number `target`, by language.
    #[must_use]
    pub fn counts(&self, target: usize) -> &[Count] {
        &self.counts[target * self.languages..(target + 1) * self.languages]
    }
}

struct GreaterAndEqual;

impl Kernel<(&[f32], f32)> for GreaterAndEqual {
    type Out = (u32, u32);

    #[inline(always)]
    fn run((scores, score): (&[f32], f32)) -> (u32, u32) {
        let (mut greater, mut ties) = (0u32, 0u32);
        for s in scores {
            greater += u32::from(*s > score);
            ties += u32::from(*s == score);
        }
        (greater, ties)
    }
}

struct Won;

impl Kernel<(&[f32], &[u32], Target)> for Won {
    type Out = u32;

    #[inline(always)]
    fn run((scores, precedence, target): (&[f32], &[u32], Target)) -> u32 {
        let mut won = 0u32;
        for (s, p) in scores.iter().zip(precedence) {
            won += u32::from(*s == target.score) & u32::from(*p < target.precedence);
        }
        won
    }
}
