//! The running first k of a ranking, fed with scores block by block.
//!
//! Most blocks hold nothing that could still enter: they are dismissed by one vectorised comparison with the lowest kept
//! score. What may enter is collected, and cut back to k whenever twice as many have come together, so that a score
//! costs constant time whatever k is.

// Kernels must be inlined into the code that was compiled for wider vectors; see `ops::simd::wide`.
#![allow(clippy::inline_always)]

use std::cmp::Ordering;

use crate::ops::{Kernel, wide};

/// Scores that one comparison dismisses together.
const GROUP: usize = 64;
/// Scores between two looks at the floor.
const SEGMENT: usize = 1024;

/// The first k rows by score, equal scores in an order that the caller gives.
#[derive(Clone, Debug)]
pub struct TopK {
    k: usize,
    items: Vec<(f32, u32)>,
    /// Rows that score less cannot enter.
    floor: f32,
}

impl TopK {
    /// None yet. Rows that score less than `floor` are known not to be among the first k.
    #[must_use]
    pub fn new(k: usize, floor: f32) -> Self {
        Self { k, items: Vec::new(), floor: if k == 0 { f32::INFINITY } else { floor } }
    }

    /// The lowest score that may still enter.
    #[must_use]
    pub const fn floor(&self) -> f32 {
        self.floor
    }

    /// Takes a block of scores, of which NaN never enters; `row` names a score's row. `tie` says which of two rows with equal
    /// scores stands first: `Less` for the former.
    pub fn add(&mut self, scores: &[f32], row: impl Fn(usize) -> u32, tie: impl Fn(u32, u32) -> Ordering) {
        for (segment, scores) in scores.chunks(SEGMENT).enumerate() {
            let groups = wide::<Reaching, _>((scores, self.floor));
            if groups == 0 {
                continue;
            }
            for (group, scores) in scores.chunks(GROUP).enumerate().filter(|(g, _)| groups >> g & 1 == 1) {
                let start = segment * SEGMENT + group * GROUP;
                for (at, score) in scores.iter().enumerate().filter(|(_, s)| **s >= self.floor) {
                    self.items.push((*score, row(start + at)));
                }
                if self.items.len() >= (2 * self.k).max(self.k.saturating_add(GROUP)) {
                    self.cut(&tie);
                }
            }
        }
    }

    fn cut(&mut self, tie: impl Fn(u32, u32) -> Ordering) {
        if self.k > 0 && self.items.len() > self.k {
            self.items.select_nth_unstable_by(self.k - 1, |a, b| before(*a, *b, &tie));
            self.items.truncate(self.k);
            self.floor = self.items[self.k - 1].0;
        }
    }

    /// The first k as (score, row), in the order of the ranking.
    #[must_use]
    pub fn finish(mut self, tie: impl Fn(u32, u32) -> Ordering) -> Vec<(f32, u32)> {
        self.cut(&tie);
        self.items.sort_unstable_by(|a, b| before(*a, *b, &tie));
        self.items
    }
}

fn before(a: (f32, u32), b: (f32, u32), tie: &impl Fn(u32, u32) -> Ordering) -> Ordering {
    // Not `total_cmp`: 0 and -0 are equal scores.
    b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal).then_with(|| tie(a.1, b.1))
}

/// A bit for each group of at most [`SEGMENT`] scores in which one reaches the floor.
struct Reaching;

impl Kernel<(&[f32], f32)> for Reaching {
    type Out = u16;

    #[inline(always)]
    fn run((scores, floor): (&[f32], f32)) -> u16 {
        let mut bits = 0;
        for (group, scores) in scores.chunks(GROUP).enumerate() {
            let mut any = 0u32;
            for score in scores {
                any |= u32::from(*score >= floor);
            }
            bits |= (any as u16) << group;
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Stream;

    /// Ties by row, descending.
    fn tie(a: u32, b: u32) -> Ordering {
        b.cmp(&a)
    }

    #[test]
    fn equals_sorting_everything_whatever_the_blocks_and_ties() {
        let mut stream = Stream::new(5, "top", 0);
        for round in 0..200 {
            let (n, k) = (stream.below(5000), stream.below(40) * stream.below(40));
            let levels = 1 + stream.below([2, 50, 1 << 20][round % 3]);
            let scores: Vec<f32> = (0..n).map(|_| stream.below(levels) as f32 - 3.0).collect();
            let mut top = TopK::new(k, f32::NEG_INFINITY);
            let mut start = 0;
            while start < n {
                let end = (start + 1 + stream.below(3000)).min(n);
                top.add(&scores[start..end], |i| (start + i) as u32, tie);
                start = end;
            }
            let mut all: Vec<(f32, u32)> = scores.iter().copied().zip(0..).collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
            all.truncate(k);
            assert_eq!(top.finish(tie), all, "n {n}, k {k}, levels {levels}");
        }
    }

    #[test]
    fn a_floor_keeps_equal_scores() {
        let mut top = TopK::new(2, 1.0);
        top.add(&[0.5, 1.0, 1.0, 1.0], |i| i as u32, tie);
        assert_eq!(top.finish(tie), [(1.0, 3), (1.0, 2)]);
    }

    #[test]
    fn zero_and_minus_zero_are_a_tie() {
        let mut top = TopK::new(2, f32::NEG_INFINITY);
        top.add(&[0.0, -0.0], |i| i as u32, tie);
        assert_eq!(top.finish(tie).iter().map(|t| t.1).collect::<Vec<_>>(), [1, 0]);
    }
}
