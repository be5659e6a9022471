//! A keyed permutation of `0..n` that can be asked at any place without walking there.
//!
//! A balanced Feistel network over the next power of four, with cycle walking back into `0..n` (Black and Rogaway
//! 2002). It orders the questions of an epoch: each comes once, in an order that depends on seed and epoch.

use crate::stream::mix;

/// The image of `index` under the permutation of `0..n` with this key; `index < n`.
pub fn permute(key: u64, n: usize, index: usize) -> usize {
    let bits = usize::BITS - n.saturating_sub(1).leading_zeros();
    let half = bits.div_ceil(2).max(1);
    let mask = (1u64 << half) - 1;
    let mut value = index as u64;
    loop {
        let (mut left, mut right) = (value >> half, value & mask);
        for round in 0..6u64 {
            let mixed = mix(key ^ mix(right.wrapping_add(round << 56)));
            (left, right) = (right, left ^ (mixed & mask));
        }
        value = (left << half) | right;
        if value < n as u64 {
            return value as usize;
        }
    }
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
}
