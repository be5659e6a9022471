//! A keyed permutation of `0..n` that can be asked at any place without walking there.
//!
//! A balanced Feistel network over the next power of four, with cycle walking back into `0..n` (Black and Rogaway
//! 2002). It orders the questions of an epoch: each comes once, in an order that depends on seed and epoch.

use crate::stream::mix;

/// A permutation of `0..n`.
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    key: u64,
    n: u64,
    half: u32,
}

impl Permutation {
    /// The permutation with this key.
    pub fn new(key: u64, n: usize) -> Self {
        let bits = usize::BITS - n.saturating_sub(1).leading_zeros();
        Self { key, n: n as u64, half: bits.div_ceil(2).max(1) }
    }

    /// The image of `index < n`.
    pub fn at(self, index: usize) -> usize {
        let mut value = self.once(index as u64);
        while value >= self.n {
            value = self.once(value);
        }
        value as usize
    }

    /// The images of `start..start + count`, in order. Their walks go side by side: none waits for another's.
    pub fn run(self, start: usize, count: usize) -> impl Iterator<Item = usize> {
        let mut images = vec![0usize; count];
        let mut places: Vec<usize> = (0..count).collect();
        let mut values: Vec<u64> = (start..start + count).map(|i| i as u64).collect();
        while !values.is_empty() {
            for value in &mut values {
                *value = self.once(*value);
            }
            let mut left = 0;
            for at in 0..values.len() {
                if values[at] < self.n {
                    images[places[at]] = values[at] as usize;
                } else {
                    (places[left], values[left]) = (places[at], values[at]);
                    left += 1;
                }
            }
            values.truncate(left);
        }
        images.into_iter()
    }

    /// One walk through the network.
    #[inline]
    fn once(self, value: u64) -> u64 {
        let mask = (1u64 << self.half) - 1;
        let (mut left, mut right) = (value >> self.half, value & mask);
        for round in 0..6u64 {
            let mixed = mix(self.key ^ mix(right.wrapping_add(round << 56)));
            (left, right) = (right, left ^ (mixed & mask));
        }
        (left << self.half) | right
    }
}

/// The image of `index` under the permutation of `0..n` with this key; `index < n`.
pub fn permute(key: u64, n: usize, index: usize) -> usize {
    Permutation::new(key, n).at(index)
}

/// For the places `start..start + count` of endless rounds of `0..n`, each round permuted by its own key: the images.
pub fn rounds(start: usize, count: usize, n: usize, key: impl Fn(u64) -> u64) -> Vec<usize> {
    let mut images = Vec::with_capacity(count);
    while images.len() < count {
        let place = start + images.len();
        let most = (n - place % n).min(count - images.len());
        images.extend(Permutation::new(key((place / n) as u64), n).run(place % n, most));
    }
    images
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_comes_once_and_keys_differ() {
        for n in [1usize, 2, 3, 10, 100, 1000, 1025] {
            let mut seen: Vec<usize> = (0..n).map(|i| permute(42, n, i)).collect();
            let other: Vec<usize> = (0..n).map(|i| permute(43, n, i)).collect();
            assert!(n < 10 || seen != other);
            seen.sort_unstable();
            assert_eq!(seen, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn rounds_at_once_are_what_single_places_give() {
        for n in [1usize, 2, 7, 72, 1000] {
            let one = |place: usize| permute(place as u64 / n as u64, n, place % n);
            for (start, count) in [(0, 0), (0, 1), (5, 100), (999, 3), (143, 2500)] {
                let expected: Vec<usize> = (start..start + count).map(one).collect();
                assert_eq!(rounds(start, count, n, |round| round), expected, "{n} {start} {count}");
            }
        }
    }
}
