//! How the multilingual pool treats each language: rank distances, first passages.

use super::rank::Ranks;
use super::record::LanguageBias;
use crate::corpus::Dataset;

/// Lengths of the beginning of a ranking whose languages are counted, where as many passages were kept.
const HISTOGRAM: [usize; 3] = [1, 10, 100];

/// How often one language stands among the first passages of the questions in another.
#[derive(Clone, Debug, PartialEq)]
pub struct TopShare {
    /// The first k passages.
    pub k: usize,
    /// Index into the evaluation's languages.
    pub query_language: usize,
    /// Index into the evaluation's languages.
    pub passage_language: usize,
    /// Passages of that language, over all questions in the other.
    pub count: usize,
    /// Their share of all.
    pub share: f64,
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { f64::NAN } else { part as f64 / whole as f64 }
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { f64::NAN } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Mean difference between two of these ascending ranks.
fn mean_difference(ranks: &[u32]) -> f64 {
    let m = ranks.len() as f64;
    let sum: f64 =
        ranks.iter().enumerate().map(|(i, rank)| f64::from(*rank) * (2.0 * i as f64 - m + 1.0)).sum();
    sum / (m * (m - 1.0) / 2.0)
}

/// One row a language.
pub(super) fn bias(dataset: &Dataset, ranks: &Ranks) -> Vec<LanguageBias> {
    let languages = dataset.languages.len();
    let mut distances: Vec<Vec<f64>> = vec![Vec::new(); languages];
    let mut excess: Vec<Vec<f64>> = vec![Vec::new(); languages];
    let mut differences: Vec<Vec<f64>> = vec![Vec::new(); languages];
    let (mut rank_sum, mut rank_n) = (vec![0f64; languages], vec![0usize; languages]);
    let (mut wrong, mut wrong_own) = (vec![0usize; languages], vec![0usize; languages]);
    let mut top10 = vec![0usize; languages];
    for (row, pool) in ranks.rows.iter().zip(&ranks.pool) {
        let question = &dataset.questions[row.question as usize];
        let a = usize::from(question.language);
        if row.rank_distance.is_finite() {
            distances[a].push(row.rank_distance);
            excess[a].push(row.rank_distance - (pool.len() - 1) as f64);
            differences[a].push(mean_difference(pool));
        }
        for (b, rank) in row.multi_rank_by_language.iter().enumerate().filter(|(_, r)| **r > 0) {
            rank_sum[b] += f64::from(*rank);
            rank_n[b] += 1;
        }
        for passage in row.top.iter().take(10) {
            top10[usize::from(dataset.passages[*passage as usize].language)] += 1;
        }
        let relevant = &dataset.groups[question.group as usize].relevant;
        if let Some(first) = row.top.first().filter(|f| !relevant.contains(f)) {
            wrong[a] += 1;
            wrong_own[a] += usize::from(usize::from(dataset.passages[*first as usize].language) == a);
        }
    }
    let total: usize = top10.iter().sum();
    let most = (dataset.passages.len().max(2) - 1) as f64;
    (0..languages)
        .map(|l| {
            distances[l].sort_by(f64::total_cmp);
            let n = distances[l].len();
            let middle = |at: usize| distances[l].get(at).copied().unwrap_or(f64::NAN);
            let pool_share = share(dataset.passages_in(l as u16).count(), dataset.passages.len());
            let own = share(wrong_own[l], wrong[l]);
            LanguageBias {
                language: l,
                rank_distance: mean(&distances[l]),
                rank_distance_median: f64::midpoint(middle(n.saturating_sub(1) / 2), middle(n / 2)),
                questions: n,
                rank_distance_excess: mean(&excess[l]),
                rank_distance_share: mean(&distances[l]) / most,
                rank_difference: mean(&differences[l]),
                passage_rank: if rank_n[l] == 0 { f64::NAN } else { rank_sum[l] / rank_n[l] as f64 },
                top10_share: share(top10[l], total),
                pool_share,
                wrong_top1_own: own,
                wrong_top1: wrong[l],
                own_preference: if pool_share > 0.0 { own / pool_share } else { f64::NAN },
            }
        })
        .collect()
}

/// The languages of the first 1, 10 and 100 passages, as far as so many were kept.
pub(super) fn histogram(dataset: &Dataset, ranks: &Ranks) -> Vec<TopShare> {
    let languages = dataset.languages.len();
    let kept = ranks.rows.iter().map(|row| row.top.len()).min().unwrap_or(0);
    let mut shares = Vec::new();
    for k in HISTOGRAM.into_iter().filter(|k| *k <= kept) {
        let mut counts = vec![0usize; languages * languages];
        for row in &ranks.rows {
            let a = usize::from(dataset.questions[row.question as usize].language);
            for passage in &row.top[..k] {
                counts[a * languages + usize::from(dataset.passages[*passage as usize].language)] += 1;
            }
        }
        for query_language in 0..languages {
            let row = &counts[query_language * languages..(query_language + 1) * languages];
            let total: usize = row.iter().sum();
            for (passage_language, count) in row.iter().enumerate().filter(|_| total > 0) {
                let (count, share) = (*count, share(*count, total));
                shares.push(TopShare { k, query_language, passage_language, count, share });
            }
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_difference_is_over_all_pairs() {
        // 1, 4, 11: differences 3, 10 and 7.
        assert!((mean_difference(&[1, 4, 11]) - 20.0 / 3.0).abs() < 1e-12);
        assert_eq!(mean_difference(&[5, 6]), 1.0);
    }
}
