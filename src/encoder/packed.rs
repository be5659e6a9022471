//! Token sequences of a batch, one after another without padding.

use std::ops::Range;

use super::adapters::Route;
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
    /// Adapters and the tokens that go through them, in the order of the tokens; the others go through the base alone.
    pub(super) routes: Vec<(usize, Range<usize>)>,
    /// Where texts stand in another order than they were given in.
    pub(super) order: Option<Order>,
}

/// Texts put in order by their adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// By place in the pass: which of the given texts.
    pub given: Vec<u32>,
    /// By given text: its place in the pass.
    pub place: Vec<u32>,
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

    /// The same for texts that go through adapters: key, tokens, adapter. They are put in order by adapter (texts of one keep
    /// their order), so that each adapter has one range of rows; vectors come back in the order given.
    pub fn routed<'a>(texts: impl IntoIterator<Item = (u64, &'a [u32], Route)>) -> Self {
        let texts: Vec<(u64, &[u32], Route)> = texts.into_iter().collect();
        let mut given: Vec<u32> = (0..texts.len() as u32).collect();
        given.sort_by_key(|&i| texts[i as usize].2);
        let sorted = || given.iter().map(|&i| texts[i as usize]);
        let mut packed = Self::new(sorted().map(|(key, ids, _)| (key, ids)));
        for (bounds, (_, _, route)) in packed.segments.offsets.windows(2).zip(sorted()) {
            let Some(adapter) = route.map(usize::from) else { continue };
            match packed.routes.last_mut() {
                Some((last, range)) if *last == adapter => range.end = bounds[1],
                _ => packed.routes.push((adapter, bounds[0]..bounds[1])),
            }
        }
        if !given.is_sorted() {
            let mut place = vec![0; given.len()];
            (0u32..).zip(&given).for_each(|(at, i)| place[*i as usize] = at);
            packed.order = Some(Order { given, place });
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_adapter_has_one_range_and_texts_keep_their_order_in_it() {
        let texts: [(&[u32], Route); 5] =
            [(&[1, 1], Some(1)), (&[2], None), (&[3, 3, 3], Some(0)), (&[4], Some(1)), (&[5], None)];
        let packed =
            Packed::routed(texts.iter().enumerate().map(|(i, (ids, route))| (i as u64, *ids, *route)));
        assert_eq!(packed.ids, [2, 5, 3, 3, 3, 1, 1, 4]);
        assert_eq!(packed.routes, [(0, 2..5), (1, 5..8)]);
        let order = packed.order.expect("another order");
        assert_eq!((order.given, order.place), (vec![1, 4, 2, 0, 3], vec![3, 0, 2, 4, 1]));
        let plain = Packed::new(texts.iter().enumerate().map(|(i, (ids, _))| (i as u64, *ids)));
        let none = texts.iter().enumerate().map(|(i, (ids, _))| (i as u64, *ids, None));
        assert_eq!(Packed::routed(none), plain);
    }
}
