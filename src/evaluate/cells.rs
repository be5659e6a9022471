//! From ranks to the numbers that are reported.

use anyhow::Result;

use super::Embeddings;
use super::metrics::{METRICS, of_ranks};
use super::rank::{Passages, RankOptions, Ranks, rank};
use super::record::{Cell, Evaluation, LanguageBias, Protocol, Setting};
use crate::corpus::Dataset;

/// A tie band above this is worth a remark.
const WIDE_BAND: f64 = 1e-4;

/// Ranks and measures; `progress` hears (done, total) questions.
///
/// # Errors
/// As [`rank`].
pub fn measure<'a>(
    dataset: &Dataset,
    questions: &Embeddings,
    passages: impl Into<Passages<'a>>,
    protocol: Protocol,
    options: &RankOptions,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Evaluation> {
    let ranks = rank(dataset, questions, passages, options, progress)?;
    let mut notes = Vec::new();
    if ranks.tie_band > WIDE_BAND {
        notes.push(format!(
            "equal scores: average precision in the multilingual pool could differ by {:.1e} in the mean, depending on \
             their order ({})",
            ranks.tie_band, protocol.tie_rule
        ));
    }
    if protocol.truncated_questions + protocol.truncated_passages > 0 {
        notes.push(format!(
            "cut to the length limit: {} questions and {} passages",
            protocol.truncated_questions, protocol.truncated_passages
        ));
    }
    Ok(Evaluation {
        cells: cells(dataset, &ranks),
        bias: bias(dataset, &ranks),
        languages: dataset.languages.clone(),
        queries: ranks.rows,
        protocol,
        notes,
    })
}

/// Sums of the metrics over questions.
#[derive(Clone, Default)]
struct Mean {
    sums: [f64; METRICS.len()],
    n: usize,
    distance: f64,
    distances: usize,
}

impl Mean {
    fn add(&mut self, ranks: &[u32]) {
        if let Some(values) = of_ranks(ranks) {
            self.n += 1;
            self.sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }
}

/// Every cell of every setting. A cell without a question does not exist.
fn cells(dataset: &Dataset, ranks: &Ranks) -> Vec<Cell> {
    let languages = dataset.languages.len();
    let mut pairs = vec![Mean::default(); languages * languages];
    let mut multi = vec![Mean::default(); languages];
    for ((row, own), pool) in ranks.rows.iter().zip(&ranks.own).zip(&ranks.pool) {
        let a = usize::from(dataset.questions[row.question as usize].language);
        for (b, own) in own.iter().enumerate() {
            pairs[a * languages + b].add(own);
        }
        multi[a].add(pool);
        if row.rank_distance.is_finite() {
            multi[a].distance += row.rank_distance;
            multi[a].distances += 1;
        }
    }
    let mut cells = Vec::new();
    let mut push = |setting, query_language, passage_language, mean: &Mean| {
        for (metric, sum) in METRICS.iter().zip(mean.sums) {
            if mean.n > 0 {
                let (metric, value) = ((*metric).to_owned(), sum / mean.n as f64);
                cells.push(Cell { setting, metric, query_language, passage_language, n: mean.n, value });
            }
        }
        if mean.distances > 0 {
            let (metric, value) = ("rank_distance".to_owned(), mean.distance / mean.distances as f64);
            cells.push(Cell { setting, metric, query_language, passage_language, n: mean.distances, value });
        }
    };
    for a in 0..languages {
        push(Setting::Mono, a, Some(a), &pairs[a * languages + a]);
    }
    for a in 0..languages {
        for b in (0..languages).filter(|b| *b != a) {
            push(Setting::Cross, a, Some(b), &pairs[a * languages + b]);
        }
    }
    for (a, mean) in multi.iter().enumerate() {
        push(Setting::Multi, a, None, mean);
    }
    cells
}

/// How the multilingual pool treats each language.
fn bias(dataset: &Dataset, ranks: &Ranks) -> Vec<LanguageBias> {
    let languages = dataset.languages.len();
    let mut distances: Vec<Vec<f64>> = vec![Vec::new(); languages];
    let (mut rank_sum, mut rank_n) = (vec![0f64; languages], vec![0usize; languages]);
    let (mut wrong, mut wrong_own) = (vec![0usize; languages], vec![0usize; languages]);
    let mut top10 = vec![0usize; languages];
    for row in &ranks.rows {
        let question = &dataset.questions[row.question as usize];
        let a = usize::from(question.language);
        if row.rank_distance.is_finite() {
            distances[a].push(row.rank_distance);
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
    let share = |part: usize, whole: usize| if whole == 0 { f64::NAN } else { part as f64 / whole as f64 };
    (0..languages)
        .map(|l| {
            distances[l].sort_by(f64::total_cmp);
            let n = distances[l].len();
            let middle = |at: usize| distances[l].get(at).copied().unwrap_or(f64::NAN);
            LanguageBias {
                language: l,
                rank_distance: if n == 0 { f64::NAN } else { distances[l].iter().sum::<f64>() / n as f64 },
                rank_distance_median: f64::midpoint(middle(n.saturating_sub(1) / 2), middle(n / 2)),
                passage_rank: if rank_n[l] == 0 { f64::NAN } else { rank_sum[l] / rank_n[l] as f64 },
                top10_share: share(top10[l], total),
                pool_share: share(dataset.passages_in(l as u16).count(), dataset.passages.len()),
                wrong_top1_own: share(wrong_own[l], wrong[l]),
            }
        })
        .collect()
}
