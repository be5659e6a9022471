//! From ranks to the numbers that are reported.

use anyhow::Result;

use super::Embeddings;
use super::bias::{bias, histogram};
use super::fairness::fairness;
use super::metrics::{Extremes, METRICS, of_graded};
use super::rank::{Passages, QuestionExtremes, RankOptions, Ranks, rank};
use super::record::{
    Cell, Evaluation, PoolRanks, Protocol, QueryRow, QuestionGrades, QuestionRanks, Setting,
};
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
    let (graded_labels, without_itself) = (dataset.grades.len(), dataset.without_itself());
    let protocol = Protocol { graded_labels, without_itself, ..protocol };
    let ranks = rank(dataset, questions, passages, options, progress)?;
    let mut notes = Vec::new();
    if graded_labels > 0 {
        notes.push(format!(
            "{graded_labels} labels have a grade above 1: nDCG's gain is the grade (linear, as in trec_eval); for all other \
             metrics a grade from 1 is relevant"
        ));
    }
    if without_itself > 0 {
        notes.push(format!(
            "{without_itself} questions are documents too and are not ranked against themselves (self=keep does)"
        ));
    }
    let (bias, fairness, histogram) =
        (bias(dataset, &ranks), fairness(dataset, &ranks), histogram(dataset, &ranks));
    let Ranks { mut rows, own, pool, strict, grades, extremes, .. } = ranks;
    for (row, (own, (pool, strict))) in rows.iter_mut().zip(own.into_iter().zip(pool.into_iter().zip(strict)))
    {
        row.ranks = belonging(dataset, row.question, own, pool, strict);
    }
    rows.iter_mut().zip(grades).for_each(|(row, grades)| row.ranks.grades = grades);
    let (cells, without) = cells(dataset, &rows, &extremes, protocol.missing);
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
        let lost = match dataset.answers.len() {
            0 => String::new(),
            all => format!("; {} of {all} answers lie behind the cut", protocol.lost_answers),
        };
        notes.push(format!(
            "cut to the length limit: {} questions and {} passages{lost}",
            protocol.truncated_questions, protocol.truncated_passages
        ));
    }
    Ok(Evaluation {
        cells,
        bias,
        fairness,
        histogram,
        languages: dataset.languages.clone(),
        queries: rows,
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
    fn add(&mut self, ranks: &[u32], grades: &[u32], extremes: Extremes, missing: Missing) -> bool {
        if let Some(values) = of_graded(ranks, grades) {
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

/// A question's ranks in the pools that it belongs to: its own language's and the multilingual one; that of another
/// language where its id exists there, as a question or by a relevant passage; and the strict one where it exists in any
/// other language.
fn belonging(
    dataset: &Dataset,
    question: u32,
    own: Vec<Vec<u32>>,
    multi: Vec<u32>,
    strict: Vec<u32>,
) -> QuestionRanks {
    let question = &dataset.questions[question as usize];
    let (group, asked) = (&dataset.groups[question.group as usize], usize::from(question.language));
    let is_asked_in = |b: usize| b == asked || group.questions.get(b).is_some_and(Option::is_some);
    let own: Vec<PoolRanks> = own
        .into_iter()
        .enumerate()
        .map(|(b, ranks)| (!ranks.is_empty() || is_asked_in(b)).then_some(ranks))
        .collect();
    let in_strict = own.iter().enumerate().any(|(b, ranks)| b != asked && ranks.is_some());
    let (multi, strict) = (Some(multi), in_strict.then_some(strict));
    QuestionRanks { own, multi, strict, grades: QuestionGrades::default() }
}

/// Every cell of every setting, and how many questions have nothing to find in a pool they belong to. A cell without a
/// question does not exist.
fn cells(
    dataset: &Dataset,
    rows: &[QueryRow],
    extremes: &[QuestionExtremes],
    missing: Missing,
) -> (Vec<Cell>, usize) {
    let languages = dataset.languages.len();
    let mut pairs = vec![Mean::default(); languages * languages];
    let mut multi = vec![Mean::default(); languages];
    let mut strict = vec![Mean::default(); languages];
    let mut without = 0;
    for (row, extremes) in rows.iter().zip(extremes) {
        let a = usize::from(dataset.questions[row.question as usize].language);
        let mut found = true;
        let own = pairs[a * languages..][..languages].iter_mut().zip(&row.ranks.own).zip(&extremes.own);
        let grades = &row.ranks.grades;
        let pools = own
            .enumerate()
            .map(|(b, ((mean, ranks), extremes))| (mean, ranks, grades.own(b), extremes))
            .chain([(&mut multi[a], &row.ranks.multi, grades.multi.as_slice(), &extremes.pool)])
            .chain([(&mut strict[a], &row.ranks.strict, grades.strict.as_slice(), &extremes.strict)]);
        for (mean, ranks, grades, extremes) in pools {
            if let Some(ranks) = ranks {
                found &= mean.add(ranks, grades, *extremes, missing);
            }
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
