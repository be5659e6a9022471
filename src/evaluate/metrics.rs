//! Ranking metrics of one question, from the ranks of its relevant passages.
//!
//! Binary relevance; ranks count from 1 over the full ranking; `R` relevant passages.

/// Metrics of one question in one pool.
pub const METRICS: [&str; 12] = [
    "map",
    "mrr",
    "ndcg@10",
    "recall@1",
    "recall@5",
    "recall@10",
    "recall@20",
    "recall@100",
    "success@1",
    "success@5",
    "success@10",
    "success@100",
];

/// The values of [`METRICS`] for ranks in ascending order, or `None` without a relevant passage.
///
/// - `map`: average precision, `1/R * sum_i i / rank_i`.
/// - `mrr`: reciprocal of the first rank.
/// - `ndcg@10`: gain 1, discount `log2(rank + 1)`, ideal over `min(R, 10)` (Järvelin and Kekäläinen 2002).
/// - `recall@k`: share of the relevant passages within the first k. `success@k`: whether there is any.
#[must_use]
pub fn of_ranks(ranks: &[u32]) -> Option<[f64; 12]> {
    if ranks.is_empty() {
        return None;
    }
    let total = ranks.len() as f64;
    let within = |k: u32| ranks.iter().take_while(|r| **r <= k).count() as f64;
    let discount = |rank: u32| 1.0 / (f64::from(rank) + 1.0).log2();
    let gain: f64 = ranks.iter().take_while(|r| **r <= 10).map(|r| discount(*r)).sum();
    let ideal: f64 = (1..=ranks.len().min(10) as u32).map(discount).sum();
    let any = |k: u32| f64::from(u8::from(ranks[0] <= k));
    Some([
        average_precision(ranks),
        1.0 / f64::from(ranks[0]),
        gain / ideal,
        within(1) / total,
        within(5) / total,
        within(10) / total,
        within(20) / total,
        within(100) / total,
        any(1),
        any(5),
        any(10),
        any(100),
    ])
}

/// `1/R * sum_i i / rank_i` for ranks in ascending order.
#[must_use]
pub fn average_precision(ranks: &[u32]) -> f64 {
    let sum: f64 = ranks.iter().enumerate().map(|(i, r)| (i + 1) as f64 / f64::from(*r)).sum();
    sum / ranks.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(ranks: &[u32], metric: &str) -> f64 {
        let index = METRICS.iter().position(|m| *m == metric).expect(metric);
        of_ranks(ranks).expect("ranks")[index]
    }

    #[test]
    fn hand_computed_values() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
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

    #[test]
    fn one_relevant_passage_makes_map_and_mrr_the_same() {
        for rank in [1, 2, 7, 1000] {
            assert_eq!(value(&[rank], "map"), value(&[rank], "mrr"));
        }
    }
}
