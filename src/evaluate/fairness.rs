//! Tests of whether the multilingual pool treats languages alike.
//!
//! **Friedman** asks whether, over questions, the passages of some language stand before those of another: each block
//! ranks the languages by where their passage stands in the pool. It fits parallel data, one passage a language.
//! **PEER** (Yang, Jänich, Mayfield and Lawrie, SIGIR 2024) asks the same within one question by a Kruskal-Wallis test,
//! and needs several relevant passages a language: with one each, its H is N - 1 for every ranking, so its value says
//! nothing and is not given.

use serde::{Deserialize, Serialize};

use super::distribution::chi_square_above;
use super::rank::Ranks;
use crate::corpus::Dataset;

/// Ranks beyond this count as not retrieved in PEER's cut form.
const PEER_CUT: u32 = 100;

/// The tests of one evaluation. Languages are codes, so that the record reads by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fairness {
    /// One for each question language, and one over question ids.
    pub friedman: Vec<Friedman>,
    pub peer: Vec<Peer>,
    /// Rank distance by the number of relevant passages: it grows with that number.
    pub strata: Vec<Stratum>,
}

/// Friedman's test over questions (blocks) and passage languages (treatments).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Friedman {
    /// Question language; `None`: over question ids, each with the mean over its translations, which are not
    /// independent of each other.
    pub query_language: Option<String>,
    /// Questions, or ids, with a relevant passage in every language.
    pub blocks: usize,
    pub treatments: usize,
    pub chi_square: Option<f64>,
    /// Probability of a larger chi-square without bias; 0 where it is below 1e-308.
    pub p: Option<f64>,
    /// Kendall's W: 0 where languages change places freely, 1 where all questions order them alike.
    pub kendall_w: Option<f64>,
    /// By language, in the evaluation's order: its mean place among the languages, from 1.
    pub mean_places: Vec<f64>,
    /// Why there is no value.
    pub undefined: Option<String>,
}

/// PEER in one form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// `peer_reference`: on positions in the ranking, as the published code has it. `peer_reranked`: on ranks among the
    /// relevant passages, which is the Kruskal-Wallis test.
    pub name: String,
    /// Ranks beyond it count as not retrieved; `None`: the full ranking.
    pub cutoff: Option<u32>,
    /// Questions with two or more relevant passages in some language: those behind the mean.
    pub questions: usize,
    pub value: Option<f64>,
    pub undefined: Option<String>,
}

/// Rank distance of the questions with the same number of relevant passages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stratum {
    /// Relevant passages of a question.
    pub relevant: usize,
    pub questions: usize,
    pub mean: f64,
    pub median: f64,
    /// Mean above the least value, `relevant - 1`.
    pub excess: f64,
    /// Mean over the largest, the size of the pool minus 1.
    pub share: f64,
}

/// Chi-square, p and Kendall's W.
#[derive(Clone, Debug, PartialEq)]
pub struct FriedmanValues {
    pub chi_square: f64,
    pub p: f64,
    pub kendall_w: f64,
    /// By treatment: mean place within a block, from 1.
    pub mean_places: Vec<f64>,
}

/// Friedman's test with the correction for ties, of `[blocks][treatments]` values where smaller is better; `None` below
/// two treatments or one block, or where every block is one tie.
#[must_use]
pub fn friedman(blocks: &[Vec<f64>]) -> Option<FriedmanValues> {
    let (n, k) = (blocks.len(), blocks.first()?.len());
    if k < 2 {
        return None;
    }
    let mut sums = vec![0.0; k];
    let mut ties = 0.0;
    for block in blocks {
        let (places, own) = places(block);
        sums.iter_mut().zip(places).for_each(|(sum, place)| *sum += place);
        ties += own;
    }
    let (blocks, treatments) = (n as f64, k as f64);
    let squares: f64 = sums.iter().map(|s| s * s).sum();
    let plain =
        12.0 / (blocks * treatments * (treatments + 1.0)) * squares - 3.0 * blocks * (treatments + 1.0);
    let correction = 1.0 - ties / (blocks * treatments * (treatments * treatments - 1.0));
    if correction <= 0.0 {
        return None;
    }
    let chi_square = (plain / correction).max(0.0);
    Some(FriedmanValues {
        chi_square,
        p: chi_square_above(chi_square, k - 1),
        kendall_w: chi_square / (blocks * (treatments - 1.0)),
        mean_places: sums.iter().map(|s| s / blocks).collect(),
    })
}

/// Places from 1, equal values sharing their mean place; and the sum of t^3 - t over groups of t equals.
fn places(values: &[f64]) -> (Vec<f64>, f64) {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let (mut places, mut ties, mut start) = (vec![0.0; values.len()], 0.0, 0);
    while start < order.len() {
        let same = order[start..].iter().take_while(|i| values[**i] == values[order[start]]).count();
        let place = start as f64 + f64::midpoint(same as f64, 1.0);
        order[start..start + same].iter().for_each(|i| places[*i] = place);
        ties += (same as f64).powi(3) - same as f64;
        start += same;
    }
    (places, ties)
}

/// PEER of one question, (reference, reranked), from the ranks of its relevant passages by language; `None` where no
/// language has two: the value would be the same for every ranking.
///
/// Passages beyond `cutoff` were not retrieved and share one place behind the others. In the reference form that place
/// is `(2N + u + 1) / 2` for N relevant passages of which u were not retrieved, as in the published code, whatever the
/// positions of the others are. Fewer than two languages, or nothing retrieved, give 1.
#[must_use]
pub fn peer(ranks: &[Vec<u32>], cutoff: Option<u32>) -> Option<(f64, f64)> {
    if ranks.iter().all(|own| own.len() < 2) {
        return None;
    }
    let groups: Vec<&Vec<u32>> = ranks.iter().filter(|own| !own.is_empty()).collect();
    let total: usize = groups.iter().map(|own| own.len()).sum();
    let is_found = |rank: u32| cutoff.is_none_or(|k| rank <= k);
    let mut found: Vec<u32> =
        groups.iter().flat_map(|own| own.iter().copied()).filter(|r| is_found(*r)).collect();
    if groups.len() < 2 || found.is_empty() {
        return Some((1.0, 1.0));
    }
    found.sort_unstable();
    let missing = (total - found.len()) as f64;
    let tail = |last: f64| (2.0 * last + missing + 1.0) / 2.0;
    let probability = |place: &dyn Fn(u32) -> f64| {
        let values: Vec<Vec<f64>> =
            groups.iter().map(|own| own.iter().map(|r| place(*r)).collect()).collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let all: Vec<f64> = values.concat();
        let middle = mean(&all);
        let within: f64 = all.iter().map(|v| (v - middle).powi(2)).sum();
        let between: f64 = values.iter().map(|own| own.len() as f64 * (mean(own) - middle).powi(2)).sum();
        if within == 0.0 {
            return 1.0;
        }
        chi_square_above((total as f64 - 1.0) * between / within, groups.len() - 1)
    };
    let reference = probability(&|r| if is_found(r) { f64::from(r) } else { tail(total as f64) });
    let reranked = probability(&|r| match found.binary_search(&r) {
        Ok(at) => at as f64 + 1.0,
        Err(_) => tail(found.len() as f64),
    });
    Some((reference, reranked))
}

/// All tests of an evaluation.
pub(super) fn fairness(dataset: &Dataset, ranks: &Ranks) -> Fairness {
    Fairness {
        friedman: all_friedman(dataset, ranks),
        peer: all_peer(dataset, ranks),
        strata: strata(dataset, ranks),
    }
}

fn all_friedman(dataset: &Dataset, ranks: &Ranks) -> Vec<Friedman> {
    let languages = dataset.languages.len();
    let mut by_language: Vec<Vec<Vec<f64>>> = vec![Vec::new(); languages];
    // By question id: the sum of its translations' ranks, and their number.
    let mut by_group: Vec<(Vec<f64>, f64)> = vec![(vec![0.0; languages], 0.0); dataset.groups.len()];
    for row in &ranks.rows {
        if row.multi_rank_by_language.contains(&0) {
            continue;
        }
        let block: Vec<f64> = row.multi_rank_by_language.iter().map(|r| f64::from(*r)).collect();
        let question = &dataset.questions[row.question as usize];
        let (sums, count) = &mut by_group[question.group as usize];
        sums.iter_mut().zip(&block).for_each(|(sum, rank)| *sum += rank);
        *count += 1.0;
        by_language[usize::from(question.language)].push(block);
    }
    let ids: Vec<Vec<f64>> = by_group
        .into_iter()
        .filter(|(_, count)| *count > 0.0)
        .map(|(sums, count)| sums.into_iter().map(|sum| sum / count).collect())
        .collect();
    let one = |query_language: Option<String>, blocks: &[Vec<f64>]| {
        let found = friedman(blocks);
        let undefined = found.is_none().then(|| {
            if languages < 2 {
                "there is one language only".to_owned()
            } else if blocks.is_empty() {
                "no question has a relevant passage in every language".to_owned()
            } else {
                "every question ranks all languages alike".to_owned()
            }
        });
        Friedman {
            query_language,
            blocks: blocks.len(),
            treatments: languages,
            chi_square: found.as_ref().map(|f| f.chi_square),
            p: found.as_ref().map(|f| f.p),
            kendall_w: found.as_ref().map(|f| f.kendall_w),
            mean_places: found.map(|f| f.mean_places).unwrap_or_default(),
            undefined,
        }
    };
    let named =
        dataset.languages.iter().zip(&by_language).map(|(code, blocks)| one(Some(code.clone()), blocks));
    std::iter::once(one(None, &ids)).chain(named).collect()
}

fn all_peer(dataset: &Dataset, ranks: &Ranks) -> Vec<Peer> {
    let languages = dataset.languages.len();
    let mut all = Vec::new();
    for cutoff in [None, Some(PEER_CUT)] {
        let (mut reference, mut reranked, mut questions) = (0.0, 0.0, 0usize);
        for (pool, of) in ranks.pool.iter().zip(&ranks.pool_languages) {
            let mut groups = vec![Vec::new(); languages];
            for (rank, language) in pool.iter().zip(of) {
                groups[usize::from(*language)].push(*rank);
            }
            if let Some((first, second)) = peer(&groups, cutoff) {
                reference += first;
                reranked += second;
                questions += 1;
            }
        }
        for (name, sum) in [("peer_reference", reference), ("peer_reranked", reranked)] {
            let undefined = (questions == 0).then(|| {
                "no question has two relevant passages in one language: the value would be the same for every ranking"
                    .to_owned()
            });
            let value = (questions > 0).then(|| sum / questions as f64);
            all.push(Peer { name: name.to_owned(), cutoff, questions, value, undefined });
        }
    }
    all
}

fn strata(dataset: &Dataset, ranks: &Ranks) -> Vec<Stratum> {
    let mut by_number: std::collections::BTreeMap<usize, Vec<f64>> = std::collections::BTreeMap::new();
    for (row, pool) in ranks.rows.iter().zip(&ranks.pool) {
        if row.rank_distance.is_finite() {
            by_number.entry(pool.len()).or_default().push(row.rank_distance);
        }
    }
    let most = (dataset.passages.len().max(2) - 1) as f64;
    by_number
        .into_iter()
        .map(|(relevant, mut distances)| {
            distances.sort_by(f64::total_cmp);
            let n = distances.len();
            let mean = distances.iter().sum::<f64>() / n as f64;
            Stratum {
                relevant,
                questions: n,
                mean,
                median: f64::midpoint(distances[(n - 1) / 2], distances[n / 2]),
                excess: mean - (relevant - 1) as f64,
                share: mean / most,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Conover's textbook form by hand: three blocks that all order three treatments alike.
    #[test]
    fn blocks_that_agree_give_a_w_of_one() {
        let block = vec![3.0, 1.0, 2.0];
        let found = friedman(&[block.clone(), block.clone(), block]).expect("values");
        assert!((found.chi_square - 6.0).abs() < 1e-12 && (found.kendall_w - 1.0).abs() < 1e-12, "{found:?}");
        assert!((found.p - (-3.0f64).exp()).abs() < 1e-12);
        assert_eq!(found.mean_places, [3.0, 1.0, 2.0]);
        let balanced = friedman(&[vec![1.0, 2.0], vec![2.0, 1.0]]).expect("values");
        assert_eq!((balanced.chi_square, balanced.p, balanced.kendall_w), (0.0, 1.0, 0.0));
        assert_eq!(friedman(&[vec![1.0, 1.0]]), None, "nothing but ties");
        assert_eq!((friedman(&[]), friedman(&[vec![1.0]])), (None, None));
    }

    #[test]
    fn peer_has_no_value_with_one_passage_a_language() {
        assert_eq!(peer(&[vec![1], vec![70], vec![9]], None), None);
        // Two and two, alternating: rank sums 1 + 3 and 2 + 4; H = 3 * 1 / 5.
        let (reference, reranked) = peer(&[vec![1, 3], vec![2, 4]], None).expect("values");
        let expected = chi_square_above(0.6, 1);
        assert!((reference - expected).abs() < 1e-12 && (reranked - expected).abs() < 1e-12);
        // Far apart in the ranking, but the same order.
        let (reference, reranked) = peer(&[vec![1, 300], vec![2, 9000]], None).expect("values");
        assert!((reranked - expected).abs() < 1e-12 && (reference - expected).abs() > 1e-3);
        assert_eq!(peer(&[vec![1, 2], vec![]], None), Some((1.0, 1.0)), "one language only");
        assert_eq!(peer(&[vec![11, 12], vec![13]], Some(10)), Some((1.0, 1.0)), "nothing retrieved");
    }
}
