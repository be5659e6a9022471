//! Named random streams: every random draw is a pure function of (seed, name, index, position).
//!
//! A stream holds no state that a checkpoint would have to save: training step 317 draws the same numbers
//! whether steps 0 to 316 ran in this process, in another one, or not at all. Separate names keep the
//! purposes apart, so that a change of the batch plan leaves the initial weights as they were.

/// One stream of draws: `Stream::new(seed, "plan", step)`.
#[derive(Clone, Debug)]
pub struct Stream {
    key: u64,
    counter: u64,
}

/// The `SplitMix64` finaliser (Steele, Lea and Flood 2014): a bijection with full avalanche.
#[inline]
#[must_use]
pub const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A 64-bit key for (seed, name, index).
#[must_use]
pub fn key(seed: u64, name: &str, index: u64) -> u64 {
    let mut k = mix(seed.wrapping_add(GOLDEN));
    for byte in name.bytes() {
        k = mix(k ^ u64::from(byte).wrapping_mul(GOLDEN));
    }
    mix(k ^ index.wrapping_add(1).wrapping_mul(GOLDEN))
}

impl Stream {
    /// The stream called `name` at `index` (a training step, an epoch, a parameter's number).
    #[must_use]
    pub fn new(seed: u64, name: &str, index: u64) -> Self {
        Self { key: key(seed, name, index), counter: 0 }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        mix(self.key.wrapping_add(self.counter.wrapping_mul(GOLDEN)))
    }

    /// A float drawn evenly from `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// An integer drawn evenly from `0..bound`; 0 where `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // Multiply-shift: the bias is below 2^-40 for every bound that fits memory.
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// A normal deviate with mean 0 and variance 1 (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Shuffles in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// An index drawn in proportion to `weights`; `None` where none is positive.
    pub fn weighted(&mut self, weights: &[f64]) -> Option<usize> {
        let total: f64 = weights.iter().sum();
        let mut point = self.unit() * total;
        let mut last = None;
        for (index, &weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
            last = Some(index);
            if point < weight {
                break;
            }
            point -= weight;
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_name_and_index_and_repeat_themselves() {
        let draw = |seed, name, index| Stream::new(seed, name, index).next_u64();
        assert_eq!(draw(1, "plan", 0), draw(1, "plan", 0));
        let all = [draw(1, "plan", 0), draw(2, "plan", 0), draw(1, "init", 0), draw(1, "plan", 1)];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
    }

    #[test]
    fn draws_are_even_and_shuffles_are_permutations() {
        let mut stream = Stream::new(7, "test", 0);
        let mut counts = [0usize; 10];
        for _ in 0..100_000 {
            counts[stream.below(10)] += 1;
        }
        assert!(counts.iter().all(|&c| (9_500..10_500).contains(&c)), "{counts:?}");
        let mean: f64 = (0..100_000).map(|_| stream.normal()).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.02, "{mean}");
        let mut items: Vec<usize> = (0..100).collect();
        stream.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
        assert_eq!(stream.weighted(&[0.0, 0.0]), None);
        assert_eq!(stream.weighted(&[0.0, 3.0]), Some(1));
    }
}
