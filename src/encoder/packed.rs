//! Token sequences of a batch, one after another without padding.

use crate::ops::Segments;
use crate::stream::{key, mix};

/// A packed batch of texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Token ids of all texts, `[T]`.
    pub ids: Vec<u32>,
    /// Position of each token in its text, from 0, `[T]`.
    pub positions: Vec<u32>,
    /// The texts' bounds, and what dropout is keyed by: the text's own key and the position.
    pub segments: Segments,
}

/// Dropout of one training step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropoutRates {
    pub hidden: f64,
    pub attention: f64,
    pub seed: u64,
    pub step: u64,
}

impl DropoutRates {
    /// Key of the `place`-th dropout of the network.
    pub(super) fn key(&self, place: usize) -> u64 {
        mix(key(self.seed, "dropout", self.step) ^ (place as u64))
    }
}

impl Packed {
    /// Packs texts; each comes with the key that its dropout depends on (its place in the batch, say).
    pub fn new<'a>(texts: impl IntoIterator<Item = (u64, &'a [u32])>) -> Self {
        let (mut packed, mut offsets, mut keys) = (Self::default(), vec![0], Vec::new());
        for (text, ids) in texts {
            packed.ids.extend_from_slice(ids);
            packed.positions.extend(0..ids.len() as u32);
            let text = mix(text.wrapping_add(1));
            keys.extend((0..ids.len() as u64).map(|position| mix(text ^ position)));
            offsets.push(packed.ids.len());
        }
        packed.segments = Segments::new(offsets, keys);
        packed
    }

    /// Number of texts.
    #[must_use]
    pub fn texts(&self) -> usize {
        self.segments.texts()
    }

    /// Number of tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }
}
