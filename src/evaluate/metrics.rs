//! Ranking metrics of one question, from the ranks and grades of its relevant passages.
//!
//! Ranks count from 1 over the full ranking, in which equal scores stand by document id, descending, as in
//! `trec_eval`; `R` is the number of relevant passages, found or not. A grade is a label above 0; without graded labels
//! it is 1. Every value equals that of `trec_eval` but for `map_norm_k`, which it does not have.

use std::fmt;

/// A metric of one ranking.
///
/// | name | value |
/// | --- | --- |
/// | `map` | average precision, `1/R * sum_i i / rank_i`, over the full ranking |
/// | `map_cut_k` | the same sum over `rank_i <= k`, divided by `R` (`trec_eval`, MTEB) |
/// | `map_norm_k` | that sum divided by `min(R, k)` (XTREME-R, sentence-transformers) |
/// | `mrr` | `1 / rank_1` |
/// | `ndcg@k` | `sum grade / log2(rank + 1)` over `rank <= k`, divided by its largest possible value (linear gain; Järvelin and Kekäläinen 2002) |
/// | `recall@k` | share of the relevant passages among the first k |
/// | `success@k` | 1 where there is any among the first k, else 0 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    Map,
    MapCut(u32),
    MapNorm(u32),
    Mrr,
    Ndcg(u32),
    Recall(u32),
    Success(u32),
}

/// The metrics that are measured, in the order of [`METRICS`].
pub const REPORTED: [Metric; 20] = [
    Metric::Map,
    Metric::Mrr,
    Metric::Ndcg(10),
    Metric::Ndcg(100),
    Metric::Recall(1),
    Metric::Recall(5),
    Metric::Recall(10),
    Metric::Recall(20),
    Metric::Recall(100),
    Metric::Success(1),
    Metric::Success(5),
    Metric::Success(10),
    Metric::Success(20),
    Metric::Success(100),
    Metric::MapCut(10),
    Metric::MapCut(20),
    Metric::MapCut(100),
    Metric::MapNorm(10),
    Metric::MapNorm(20),
    Metric::MapNorm(100),
];

/// The names of [`REPORTED`].
pub const METRICS: [&str; REPORTED.len()] = [
    "map",
    "mrr",
    "ndcg@10",
    "ndcg@100",
    "recall@1",
    "recall@5",
    "recall@10",
    "recall@20",
    "recall@100",
    "success@1",
    "success@5",
    "success@10",
    "success@20",
    "success@100",
    "map_cut_10",
    "map_cut_20",
    "map_cut_100",
    "map_norm_10",
    "map_norm_20",
    "map_norm_100",
];

impl fmt::Display for Metric {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map => out.write_str("map"),
            Self::Mrr => out.write_str("mrr"),
            Self::MapCut(k) => write!(out, "map_cut_{k}"),
            Self::MapNorm(k) => write!(out, "map_norm_{k}"),
            Self::Ndcg(k) => write!(out, "ndcg@{k}"),
            Self::Recall(k) => write!(out, "recall@{k}"),
            Self::Success(k) => write!(out, "success@{k}"),
        }
    }
}

/// What is known of one question: the relevant passages in its ranking, and all that there are.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// Rank and grade of each relevant passage that was ranked, ranks ascending.
    pub found: &'a [(u32, u32)],
    /// The grades of all relevant passages, descending; at least one.
    pub grades: &'a [u32],
}

impl Metric {
    /// The metric of this name, for any k from 1.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let cut = |prefix: &str| -> Option<u32> {
            name.strip_prefix(prefix)?.parse().ok().filter(|k| *k > 0 && !name.contains('+'))
        };
        match name {
            "map" => Some(Self::Map),
            "mrr" => Some(Self::Mrr),
            _ => cut("map_cut_")
                .map(Self::MapCut)
                .or_else(|| cut("map_norm_").map(Self::MapNorm))
                .or_else(|| cut("ndcg@").map(Self::Ndcg))
                .or_else(|| cut("recall@").map(Self::Recall))
                .or_else(|| cut("success@").map(Self::Success)),
        }
    }

    /// The value for one question, between 0 and 1.
    #[must_use]
    pub fn of(self, judged: &Judged) -> f64 {
        let Judged { found, grades } = *judged;
        let total = grades.len();
        let within = |k: u32| found.iter().take_while(move |(rank, _)| *rank <= k);
        let precisions = |k: u32| -> f64 {
            within(k).enumerate().map(|(i, (rank, _))| (i + 1) as f64 / f64::from(*rank)).sum()
        };
        match self {
            Self::Map => precisions(u32::MAX) / total as f64,
            Self::MapCut(k) => precisions(k) / total as f64,
            Self::MapNorm(k) => precisions(k) / total.min(k as usize) as f64,
            Self::Mrr => found.first().map_or(0.0, |(rank, _)| 1.0 / f64::from(*rank)),
            Self::Recall(k) => within(k).count() as f64 / total as f64,
            Self::Success(k) => f64::from(u8::from(within(k).next().is_some())),
            Self::Ndcg(k) => {
                let gain = |rank: u32, grade: u32| f64::from(grade) / (f64::from(rank) + 1.0).log2();
                let got: f64 = within(k).map(|(rank, grade)| gain(*rank, *grade)).sum();
                let best: f64 = (1..=k).zip(grades).map(|(rank, grade)| gain(rank, *grade)).sum();
                got / best
            }
        }
    }
}

/// The values of [`METRICS`] for ranks in ascending order and the grades of the passages there, in that order; without
/// grades all are 1. `None` without a relevant passage. Only nDCG goes by the grades: every other metric takes a grade from
/// 1 for relevant.
#[must_use]
pub fn of_graded(ranks: &[u32], grades: &[u32]) -> Option<[f64; METRICS.len()]> {
    if grades.is_empty() || ranks.is_empty() {
        return of_ranks(ranks);
    }
    let found: Vec<(u32, u32)> = ranks.iter().copied().zip(grades.iter().copied()).collect();
    let mut grades = grades.to_vec();
    grades.sort_unstable_by(|a, b| b.cmp(a));
    let judged = Judged { found: &found, grades: &grades };
    Some(REPORTED.map(|metric| metric.of(&judged)))
}

/// The values of [`METRICS`] for ranks in ascending order, all of grade 1; `None` without a relevant passage.
#[must_use]
pub fn of_ranks(ranks: &[u32]) -> Option<[f64; METRICS.len()]> {
    if ranks.is_empty() {
        return None;
    }
    let found: Vec<(u32, u32)> = ranks.iter().map(|rank| (*rank, 1)).collect();
    let judged = Judged { found: &found, grades: &vec![1; ranks.len()] };
    Some(REPORTED.map(|metric| metric.of(&judged)))
}

/// `1/R * sum_i i / rank_i` for ranks in ascending order.
#[must_use]
pub fn average_precision(ranks: &[u32]) -> f64 {
    let sum: f64 = ranks.iter().enumerate().map(|(i, r)| (i + 1) as f64 / f64::from(*r)).sum();
    sum / ranks.len() as f64
}

/// Average precision under the friendliest and the unfriendliest order of equal scores; NaN without a relevant passage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extremes {
    pub best: f64,
    pub worst: f64,
}

/// The best and the worst average precision over the orders of ties. Relevant passages within one tie group take its
/// first, or its last, places.
pub(super) fn extremes(best: &mut [u32], worst: &mut [u32]) -> Extremes {
    best.sort_unstable();
    worst.sort_unstable();
    for i in 1..best.len() {
        best[i] = best[i].max(best[i - 1] + 1);
    }
    for i in (1..worst.len()).rev() {
        worst[i - 1] = worst[i - 1].min(worst[i] - 1);
    }
    Extremes { best: average_precision(best), worst: average_precision(worst) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(ranks: &[u32], metric: &str) -> f64 {
        let index = METRICS.iter().position(|m| *m == metric).expect(metric);
        of_ranks(ranks).expect("ranks")[index]
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }

    #[test]
    fn hand_computed_values() {
        close(value(&[1, 3, 6], "map"), (1.0 + 2.0 / 3.0 + 3.0 / 6.0) / 3.0);
        close(value(&[2, 30], "mrr"), 0.5);
        close(value(&[1, 2, 30], "recall@1"), 1.0 / 3.0);
        close(value(&[1, 2, 30], "recall@5"), 2.0 / 3.0);
        close(value(&[6], "success@5"), 0.0);
        close(value(&[5], "success@5"), 1.0);
        let ideal = 1.0 + 1.0 / 3f64.log2();
        close(value(&[1, 3], "ndcg@10"), (1.0 + 0.5) / ideal);
        close(value(&[11], "ndcg@10"), 0.0);
        assert_eq!(of_ranks(&[]), None);
    }

    /// Eleven relevant passages, all in front: at 10 the two divisors differ, at 20 they do not.
    #[test]
    fn the_two_cut_average_precisions_differ_by_their_divisor() {
        let perfect: Vec<u32> = (1..=11).collect();
        close(value(&perfect, "map_cut_10"), 10.0 / 11.0);
        close(value(&perfect, "map_norm_10"), 1.0);
        close(value(&perfect, "map_cut_20"), 1.0);
        close(value(&perfect, "recall@1"), 1.0 / 11.0);
        close(value(&perfect, "success@1"), 1.0);
        close(value(&[2, 12], "map_cut_10"), 0.25);
        close(value(&[2, 12], "map_norm_10"), 0.25);
        close(value(&[2, 12], "map_cut_20"), f64::midpoint(0.5, 2.0 / 12.0));
    }

    /// Labels 3, 2, 1 and one of 2 that was not ranked; the best order has 3 and 2 first.
    #[test]
    fn graded_labels_gain_linearly_and_count_where_they_were_not_ranked() {
        let judged = Judged { found: &[(1, 1), (2, 3), (4, 2)], grades: &[3, 2, 2, 1] };
        let log = |rank: f64| (rank + 1.0).log2();
        close(
            Metric::Ndcg(2).of(&judged),
            (1.0 / log(1.0) + 3.0 / log(2.0)) / (3.0 / log(1.0) + 2.0 / log(2.0)),
        );
        close(Metric::Map.of(&judged), (1.0 + 1.0 + 3.0 / 4.0) / 4.0);
        close(Metric::Recall(100).of(&judged), 0.75);
        let nothing = Judged { found: &[], grades: &[1] };
        for metric in REPORTED {
            close(metric.of(&nothing), 0.0);
        }
    }

    #[test]
    fn one_relevant_passage_makes_map_and_mrr_the_same() {
        for rank in [1, 2, 7, 1000] {
            assert_eq!(value(&[rank], "map"), value(&[rank], "mrr"));
        }
    }

    #[test]
    fn names_are_read_back() {
        for (metric, name) in REPORTED.into_iter().zip(METRICS) {
            assert_eq!((metric.to_string().as_str(), Metric::parse(name)), (name, Some(metric)));
        }
        assert_eq!(Metric::parse("recall@37"), Some(Metric::Recall(37)));
        for wrong in ["recall@0", "recall@", "map@10", "ndcg@x", "recall@+5", "map_cut_-1"] {
            assert_eq!(Metric::parse(wrong), None, "{wrong}");
        }
    }
}
