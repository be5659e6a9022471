//! Kinds of batch, and which kind each step has.

use std::fmt;

use crate::spec::{PlanSchedule, Weights};
use crate::stream::Stream;

/// How the languages of a batch's pairs are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// X-X-mono: every question and passage of the batch in one language.
    Mono,
    /// X-Y: each pair has its question and its passage in different languages.
    Cross,
    /// X-X: each pair in one language, the languages mixed within the batch.
    Same,
    /// X-X and X-Y pairs in one batch: both languages drawn freely.
    Multi,
}

impl Kind {
    /// In the order of [`Weights::to_array`].
    pub const ALL: [Self; 4] = [Self::Mono, Self::Cross, Self::Same, Self::Multi];

    /// The field's name.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Mono => "X-X-mono",
            Self::Cross => "X-Y",
            Self::Same => "X-X",
            Self::Multi => "multi",
        }
    }

    /// The kind of the batch at `step` (from 0), and how many batches of this kind came before it.
    ///
    /// `Exact`: in any first n steps X-X-mono stands `weight * n` times, off by less than one, and so does X-Y in a
    /// hybrid; with three or four kinds the later ones are off by less than two. `Bernoulli`: independent draws; the
    /// second number is then the step itself.
    #[must_use]
    pub fn at(weights: Weights, schedule: PlanSchedule, seed: u64, step: usize) -> (Self, usize) {
        let weights = weights.to_array();
        if schedule == PlanSchedule::Bernoulli {
            let drawn = Stream::new(seed, "kind", step as u64).weighted(&weights).unwrap_or(0);
            return (Self::ALL[drawn], step);
        }
        let phase = Stream::new(seed, "kind", 0).unit();
        let (mut index, mut rest) = (step, 1.0);
        for (kind, weight) in Self::ALL.into_iter().zip(weights) {
            let share = if rest > 0.0 { (weight / rest).clamp(0.0, 1.0) } else { 0.0 };
            let before = count(share, phase, index);
            if count(share, phase, index + 1) > before {
                return (kind, before);
            }
            index -= before;
            rest -= weight;
        }
        // Rounding left a crumb after the last kind: it belongs to the last kind that is drawn at all.
        let last = weights.iter().rposition(|w| *w > 0.0).unwrap_or(0);
        (Self::ALL[last], index)
    }
}

/// How many of the first `n` places a share takes: a Beatty sequence with a phase.
fn count(share: f64, phase: f64, n: usize) -> usize {
    if share >= 1.0 {
        return n;
    }
    (share * n as f64 + phase).floor() as usize
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::SamplingSpec;

    #[test]
    fn exact_shares_are_off_by_less_than_one() {
        for alpha in [0.0, 0.1, 0.25, 1.0 / 3.0, 0.5, 0.77, 1.0] {
            let weights = SamplingSpec::hybrid(alpha).weights().expect("weights");
            let mut mono = 0;
            for step in 0..2000 {
                let (kind, before) = Kind::at(weights, PlanSchedule::Exact, 3, step);
                let earlier = if kind == Kind::Mono { mono } else { step - mono };
                assert_eq!(before, earlier, "alpha {alpha}, step {step}");
                mono += usize::from(kind == Kind::Mono);
                let wanted = alpha * (step + 1) as f64;
                assert!((mono as f64 - wanted).abs() < 1.0 + 1e-9, "alpha {alpha}, step {step}: {mono}");
            }
        }
    }

    #[test]
    fn four_kinds_keep_their_shares() {
        let weights = Weights { mono: 0.4, cross: 0.3, same: 0.2, multi: 0.1 };
        let mut counts = [0usize; 4];
        for step in 0..1000 {
            let (kind, before) = Kind::at(weights, PlanSchedule::Exact, 9, step);
            let index = Kind::ALL.iter().position(|k| *k == kind).expect("kind");
            assert_eq!(before, counts[index]);
            counts[index] += 1;
            for (count, weight) in counts.iter().zip(weights.to_array()) {
                assert!((*count as f64 - weight * (step + 1) as f64).abs() < 2.0, "{counts:?}");
            }
        }
    }

    #[test]
    fn bernoulli_shares_lie_within_binomial_bounds() {
        let weights = SamplingSpec::hybrid(0.3).weights().expect("weights");
        let n = 10_000;
        let mono =
            (0..n).filter(|&s| Kind::at(weights, PlanSchedule::Bernoulli, 5, s).0 == Kind::Mono).count();
        let deviation = (n as f64 * 0.3 * 0.7).sqrt();
        assert!((mono as f64 - 0.3 * n as f64).abs() < 4.0 * deviation, "{mono}");
    }
}
