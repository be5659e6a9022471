//! From ranks to the numbers that are reported.

use anyhow::Result;

use super::Embeddings;
use super::bias::{bias, histogram};
use super::fairness::fairness;
use super::metrics::{METRICS, of_ranks};
use super::rank::{Extremes, Passages, RankOptions, Ranks, rank};
use super::record::{Cell, Evaluation, Protocol, Setting};
use crate::corpus::Dataset;
use crate::spec::Missing;

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
    let (cells, without) = cells(dataset, &ranks, protocol.missing);
    notes.extend(tie_notes(&cells, &protocol));
    if without > 0 {
        notes.push(format!(
            "{without} questions have no relevant passage in a pool they belong to: {}",
            match protocol.missing {
                Missing::Zero => "they count 0 there (missing = zero)",
                Missing::Skip => "they are left out there (missing = skip)",
            }
        ));
    }
    if protocol.truncated_questions + protocol.truncated_passages > 0 {
        notes.push(format!(
            "cut to the length limit: {} questions and {} passages",
            protocol.truncated_questions, protocol.truncated_passages
        ));
    }
    Ok(Evaluation {
        cells,
        bias: bias(dataset, &ranks),
        fairness: fairness(dataset, &ranks),
        histogram: histogram(dataset, &ranks),
        languages: dataset.languages.clone(),
        queries: ranks.rows,
        protocol,
        notes,
    })
}

/// A remark for each setting whose macro mean average precision would differ with another order of equal scores.
fn tie_notes(cells: &[Cell], protocol: &Protocol) -> Vec<String> {
    let mean = |setting: Setting, metric: &str| {
        let values: Vec<f64> =
            cells.iter().filter(|c| c.setting == setting && c.metric == metric).map(|c| c.value).collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    Setting::ALL
        .into_iter()
        .filter_map(|setting| {
            let (worst, best) = (mean(setting, "map_worst"), mean(setting, "map_best"));
            (best - worst > WIDE_BAND).then(|| {
                format!(
                    "equal scores: {} map lies between {worst:.4} and {best:.4}, depending on their order ({})",
                    setting.name(),
                    protocol.tie_rule
                )
            })
        })
        .collect()
}

/// Sums of the metrics over questions.
#[derive(Clone, Default)]
struct Mean {
    sums: [f64; METRICS.len()],
    best: f64,
    worst: f64,
    n: usize,
    distance: f64,
    distances: usize,
}

impl Mean {
    /// Adds a question; false where it has nothing to find.
    fn add(&mut self, ranks: &[u32], extremes: Extremes, missing: Missing) -> bool {
        if let Some(values) = of_ranks(ranks) {
            self.n += 1;
            self.sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            self.best += extremes.best;
            self.worst += extremes.worst;
            return true;
        }
        self.n += usize::from(missing == Missing::Zero);
        false
    }
}

/// Every cell of every setting, and how many questions have nothing to find in a pool they belong to. A cell without a
/// question does not exist.
///
/// A question belongs to its own language's pool and to the multilingual one; to that of another language where its id
/// exists there, as a question or by a relevant passage; and to the strict pool where it exists in any other language.
fn cells(dataset: &Dataset, ranks: &Ranks, missing: Missing) -> (Vec<Cell>, usize) {
    let languages = dataset.languages.len();
    let mut pairs = vec![Mean::default(); languages * languages];
    let mut multi = vec![Mean::default(); languages];
    let mut strict = vec![Mean::default(); languages];
    let mut without = 0;
    for (index, row) in ranks.rows.iter().enumerate() {
        let (own, extremes) = (&ranks.own[index], &ranks.extremes[index]);
        let question = &dataset.questions[row.question as usize];
        let group = &dataset.groups[question.group as usize];
        let a = usize::from(question.language);
        let exists = |b: usize| !own[b].is_empty() || group.questions.get(b).is_some_and(Option::is_some);
        let mut found = true;
        for b in (0..languages).filter(|b| *b == a || exists(*b)) {
            found &= pairs[a * languages + b].add(&own[b], extremes.own[b], missing);
        }
        found &= multi[a].add(&ranks.pool[index], extremes.pool, missing);
        if (0..languages).any(|b| b != a && exists(b)) {
            found &= strict[a].add(&ranks.strict[index], extremes.strict, missing);
        }
        without += usize::from(!found);
        if row.rank_distance.is_finite() {
            multi[a].distance += row.rank_distance;
            multi[a].distances += 1;
        }
    }
    let mut cells = Vec::new();
    let mut push = |setting, query_language, passage_language, mean: &Mean| {
        let extra = [("map_best", mean.best), ("map_worst", mean.worst)];
        for (metric, sum) in METRICS.into_iter().zip(mean.sums).chain(extra) {
            if mean.n > 0 {
                let (metric, value) = (metric.to_owned(), sum / mean.n as f64);
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
    for (a, mean) in strict.iter().enumerate() {
        push(Setting::Strict, a, None, mean);
    }
    (cells, without)
}
