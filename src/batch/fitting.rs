//! Which groups have a pair of a kind, where many have none.
//!
//! A plan draws groups at random and leaves those that have nothing to give. Where nearly all have, that is the fastest; a bit
//! for each group says it without a look at its languages; and where so few have that most draws are in vain, there is a list
//! of them. Bits change no batch: who is left out is left out sooner.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use super::clusters::Plain;
use super::permute::Permutation;

/// Clusters, or passages, of a batch.
pub type Taken = HashSet<u32, BuildHasherDefault<Plain>>;

/// Groups that are looked at to know whether nearly all fit.
const SAMPLE: usize = 1024;
/// One group in so many fits, or fewer do: they are drawn from a list.
const FEW: usize = 128;

/// The groups that fit.
#[derive(Clone, Debug, Default)]
pub struct Fitting {
    /// Bit g % 64 of word g / 64; absent where nearly all fit.
    bits: Option<Vec<u64>>,
    few: Option<Vec<u32>>,
}

impl Fitting {
    /// Those of `0..groups` that fit. A sample is looked at where nearly all do, else every group.
    pub fn of(groups: usize, fits: impl Fn(u32) -> bool) -> Self {
        let sample = SAMPLE.min(groups);
        let order = Permutation::new(0, groups);
        let found = (0..sample).filter(|index| fits(order.at(*index) as u32)).count();
        if found >= sample - sample / 8 {
            return Self::default();
        }
        let mut bits = vec![0u64; groups.div_ceil(64)];
        let mut count = 0;
        for group in (0..groups).filter(|group| fits(*group as u32)) {
            bits[group / 64] |= 1 << (group % 64);
            count += 1;
        }
        let mut all = Self { bits: Some(bits), few: None };
        if count <= groups / FEW {
            let few = (0..groups).filter(|group| all.may(*group)).map(|group| group as u32).collect();
            all.few = Some(few);
        }
        all
    }

    /// False where a group is known not to fit.
    #[inline]
    pub fn may(&self, group: usize) -> bool {
        self.bits.as_ref().is_none_or(|bits| bits[group / 64] >> (group % 64) & 1 == 1)
    }

    /// All that fit, in order, where they are few.
    pub fn few(&self) -> Option<&[u32]> {
        self.few.as_deref()
    }

    /// How many clusters have a group that fits; stops at `enough`.
    pub fn distinct(&self, enough: usize, clusters: &[u32], fits: impl Fn(u32) -> bool) -> usize {
        let mut found = Taken::default();
        let mut is_enough = |group: u32| {
            if fits(group) {
                found.insert(clusters[group as usize]);
            }
            found.len() >= enough
        };
        // Stops where the last one that is needed was found.
        match &self.few {
            Some(few) => few.iter().any(|group| is_enough(*group)),
            None => (0..clusters.len()).any(|group| self.may(group) && is_enough(group as u32)),
        };
        found.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_some_and_few_are_told_apart_and_hold_the_same_groups() {
        let clusters: Vec<u32> = (0..10_000).collect();
        for (every, has_bits, is_few) in
            [(1, false, false), (3, true, false), (127, true, false), (129, true, true), (9999, true, true)]
        {
            let fits = |group: u32| group.is_multiple_of(every);
            let fitting = Fitting::of(clusters.len(), fits);
            assert_eq!((fitting.bits.is_some(), fitting.few.is_some()), (has_bits, is_few), "{every}");
            if has_bits {
                assert!((0..10_000).all(|group| fitting.may(group) == fits(group as u32)), "{every}");
            }
            let all = clusters.iter().filter(|group| fits(**group)).count();
            assert_eq!(fitting.distinct(usize::MAX, &clusters, fits), all, "{every}");
            assert_eq!(fitting.distinct(2, &clusters, fits), all.min(2), "{every}");
        }
        assert!(Fitting::of(0, |_| true).may(0));
    }
}
