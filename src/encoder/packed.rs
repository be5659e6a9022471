//! Token sequences of a batch, one after another without padding.

use crate::stream::{key, mix};

/// A packed batch of texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Token ids of all texts, `[T]`.
    pub ids: Vec<u32>,
    /// Position of each token in its text, from 0, `[T]`.
    pub positions: Vec<u32>,
    /// Text `i` holds the tokens `offsets[i]..offsets[i + 1]`; `[N + 1]`.
    pub offsets: Vec<usize>,
    /// What dropout is keyed by, `[T]`: the text's own key and the position.
    pub(super) keys: Vec<u64>,
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
        let mut packed = Self { offsets: vec![0], ..Self::default() };
        for (text, ids) in texts {
            packed.ids.extend_from_slice(ids);
            packed.positions.extend(0..ids.len() as u32);
            let text = mix(text.wrapping_add(1));
            packed.keys.extend((0..ids.len() as u64).map(|position| mix(text ^ position)));
            packed.offsets.push(packed.ids.len());
        }
        packed
    }

    /// Number of texts.
    #[must_use]
    pub fn texts(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Number of tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }
}
