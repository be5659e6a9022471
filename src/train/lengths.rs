//! How long the texts of a batch are, and how it is cut into passes.

use std::ops::Range;

use super::switch::Switched;
use crate::encoder::Load;

/// Tokens of a batch's texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextLengths {
    /// Question and passage of each pair.
    pub pairs: Vec<(usize, usize)>,
    /// Hard negatives.
    pub negatives: Vec<usize>,
}

impl TextLengths {
    /// The load of the whole batch.
    #[must_use]
    pub fn load(&self) -> Load {
        Load::of(self.pairs.iter().flat_map(|&(q, p)| [q, p]).chain(self.negatives.iter().copied()))
    }

    /// Loads of the passes of `chunk` pairs; 0: one pass.
    #[must_use]
    pub fn passes(&self, chunk: usize) -> Vec<Load> {
        spans(self.pairs.len(), self.negatives.len(), chunk)
            .map(|(pairs, negatives)| {
                let pairs = self.pairs[pairs].iter().flat_map(|&(q, p)| [q, p]);
                Load::of(pairs.chain(self.negatives[negatives].iter().copied()))
            })
            .collect()
    }

    /// The same with the texts that are replaced.
    #[must_use]
    pub fn replaced(&self, switched: &Switched) -> Self {
        let of = |texts: &[Option<Vec<u32>>], at: usize, length: usize| {
            texts.get(at).and_then(Option::as_ref).map_or(length, Vec::len)
        };
        let (questions, passages) = (&switched.questions, &switched.passages);
        let pair = |(at, &(q, p)): (usize, &(usize, usize))| (of(questions, at, q), of(passages, at, p));
        let negative = |(at, &n): (usize, &usize)| of(passages, self.pairs.len() + at, n);
        Self {
            pairs: self.pairs.iter().enumerate().map(pair).collect(),
            negatives: self.negatives.iter().enumerate().map(negative).collect(),
        }
    }

    /// Tokens with each question padded to the longest, and each passage (hard negatives too).
    #[must_use]
    pub fn padded(&self) -> usize {
        let question = self.pairs.iter().map(|l| l.0).max().unwrap_or(0);
        let passages = self.pairs.iter().map(|l| l.1).chain(self.negatives.iter().copied());
        let passage = passages.max().unwrap_or(0);
        self.pairs.len() * question + (self.pairs.len() + self.negatives.len()) * passage
    }
}

/// The passes of a batch: which pairs and which hard negatives each takes. Passes are of `chunk` pairs (0: all of
/// them), and hard negatives are dealt out evenly.
pub(super) fn spans(
    pairs: usize,
    negatives: usize,
    chunk: usize,
) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let chunk = if chunk == 0 { pairs } else { chunk.min(pairs) }.max(1);
    let passes = pairs.div_ceil(chunk);
    (0..passes).map(move |pass| {
        let own = pass * chunk..((pass + 1) * chunk).min(pairs);
        (own, pass * negatives / passes..(pass + 1) * negatives / passes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths() -> TextLengths {
        TextLengths { pairs: vec![(3, 10), (5, 20), (4, 1)], negatives: vec![30, 7] }
    }

    #[test]
    fn each_side_is_padded_to_its_own_longest() {
        let without = TextLengths { negatives: Vec::new(), ..lengths() };
        assert_eq!(without.padded(), 3 * 5 + 3 * 20);
        assert_eq!(lengths().padded(), 3 * 5 + 5 * 30);
    }

    #[test]
    fn passes_hold_every_text_once() {
        assert_eq!(lengths().load(), Load::of([3, 10, 5, 20, 4, 1, 30, 7]));
        assert_eq!(lengths().passes(0), [lengths().load()]);
        assert_eq!(lengths().passes(2), [Load::of([3, 10, 5, 20, 30]), Load::of([4, 1, 7])]);
        assert_eq!(lengths().passes(9), [lengths().load()]);
        assert!(TextLengths::default().passes(0).is_empty());
    }

    #[test]
    fn texts_that_are_replaced_have_their_own_lengths() {
        let text = |tokens: usize| Some(vec![0; tokens]);
        let switched = Switched {
            questions: vec![None, text(9), None],
            passages: vec![text(11), None, None, None, text(8)],
        };
        let expected = TextLengths { pairs: vec![(3, 11), (9, 20), (4, 1)], negatives: vec![30, 8] };
        assert_eq!(lengths().replaced(&switched), expected);
        assert_eq!(lengths().replaced(&Switched::default()), lengths());
    }
}
