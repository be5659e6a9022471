//! Ranks of the relevant passages, for every question, in every pool, from one pass over the score matrix.
//!
//! Nothing is sorted: a passage's rank is one more than the number of passages that stand before it, and counting
//! those language by language gives the rank within each language and, summed, the rank in the multilingual pool.
//! Ties are broken as `trec_eval` does, score descending, then passage id descending, in every metric alike.
//! `stream` does the same where the passages' vectors are read from disk.

use std::fmt;

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::metrics::{Extremes, average_precision, extremes};
use super::search::{COLUMNS, Index, padded_chunks};
use super::stream::rank_index;
use super::tally::{Count, Tally, Target, Tile};
use super::{Embeddings, QueryRow, QuestionGrades, QuestionRanks};
use crate::corpus::Dataset;

/// How to rank.
#[derive(Clone, Debug)]
pub struct RankOptions {
    /// First passages of the multilingual ranking that are kept a question.
    pub top: usize,
    /// Questions a block of the score matrix.
    pub block: usize,
}

impl Default for RankOptions {
    fn default() -> Self {
        Self { top: 100, block: 256 }
    }
}

/// The ranks of all questions.
#[derive(Clone, Debug)]
pub struct Ranks {
    pub rows: Vec<QueryRow>,
    /// For each question and language the ranks of its relevant passages within that language, ascending.
    pub own: Vec<Vec<Vec<u32>>>,
    /// For each question the ranks of its relevant passages in the multilingual pool, ascending.
    pub pool: Vec<Vec<u32>>,
    /// The languages of those passages, in that order.
    pub pool_languages: Vec<Vec<u16>>,
    /// For each question the ranks of its relevant passages of other languages in the pool without its own language,
    /// ascending.
    pub strict: Vec<Vec<u32>>,
    /// For each question the grades of those passages, in each of these orders; empty where all are 1.
    pub grades: Vec<QuestionGrades>,
    /// For each question what another order of equal scores would make of its average precision.
    pub extremes: Vec<QuestionExtremes>,
    /// Mean over questions of the highest minus the lowest average precision that another order of ties would give.
    pub tie_band: f64,
}

/// The [`Extremes`] of one question in each pool.
#[derive(Clone, Debug, PartialEq)]
pub struct QuestionExtremes {
    /// By language: in its own pool.
    pub own: Vec<Extremes>,
    pub pool: Extremes,
    pub strict: Extremes,
}

/// The passages in the order of ranking: by language, and within one by id descending.
pub(super) struct Pool {
    /// Passage indices, languages one after another.
    pub order: Vec<u32>,
    /// Language `l` takes `bounds[l]..bounds[l + 1]` of `order`.
    pub bounds: Vec<usize>,
    /// Place of a passage in `order`.
    pub place: Vec<u32>,
    /// By place: how many ids of the whole pool are greater. Lower stands first among equal scores.
    pub precedence: Vec<u32>,
}

impl Pool {
    pub fn new(dataset: &Dataset) -> Self {
        let mut by_id: Vec<u32> = (0..dataset.passages.len() as u32).collect();
        by_id.sort_by(|a, b| dataset.passages[*b as usize].id.cmp(&dataset.passages[*a as usize].id));
        let mut rank_of_id = vec![0u32; by_id.len()];
        for (rank, passage) in by_id.iter().enumerate() {
            rank_of_id[*passage as usize] = rank as u32;
        }
        let mut order = by_id;
        order.sort_by_key(|p| dataset.passages[*p as usize].language);
        let bounds = (0..=dataset.languages.len())
            .map(|l| order.partition_point(|p| usize::from(dataset.passages[*p as usize].language) < l))
            .collect();
        let mut place = vec![0u32; order.len()];
        for (at, passage) in order.iter().enumerate() {
            place[*passage as usize] = at as u32;
        }
        let precedence = order.iter().map(|p| rank_of_id[*p as usize]).collect();
        Self { order, bounds, place, precedence }
    }

    /// The relevant passages of a question, in the order of its group; `score` gives the score at a place.
    pub fn targets(&self, dataset: &Dataset, question: usize, score: impl Fn(u32) -> f32) -> Vec<Target> {
        let relevant = &dataset.groups[dataset.questions[question].group as usize].relevant;
        let target = |passage: &u32| {
            let place = self.place[*passage as usize];
            Target { place, score: score(place), precedence: self.precedence[place as usize] }
        };
        relevant.iter().map(target).collect()
    }

    /// The places of the passages that are the question itself and not relevant, ascending.
    pub fn itself(&self, dataset: &Dataset, question: usize) -> Vec<u32> {
        let group = dataset.questions[question].group;
        let Some(passages) = dataset.itself.get(&group) else { return Vec::new() };
        let relevant = &dataset.groups[group as usize].relevant;
        let others = passages.iter().filter(|p| !relevant.contains(p));
        let mut places: Vec<u32> = others.map(|p| self.place[*p as usize]).collect();
        places.sort_unstable();
        places
    }
}

/// The passages' vectors.
#[derive(Clone, Copy, Debug)]
pub enum Passages<'a> {
    /// Row i is passage i.
    Memory(&'a Embeddings),
    /// The same on disk.
    Index(&'a Index),
}

impl<'a> From<&'a Embeddings> for Passages<'a> {
    fn from(passages: &'a Embeddings) -> Self {
        Self::Memory(passages)
    }
}

impl<'a> From<&'a Index> for Passages<'a> {
    fn from(passages: &'a Index) -> Self {
        Self::Index(passages)
    }
}

/// Ranks every question; `progress` hears (done, total) questions, or passages where they are on disk.
///
/// # Errors
/// Where an embedding is not finite (names the text), sizes do not fit, a shard is missing or damaged, or `progress`
/// fails.
pub fn rank<'a>(
    dataset: &Dataset,
    questions: &Embeddings,
    passages: impl Into<Passages<'a>>,
    options: &RankOptions,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Ranks> {
    match passages.into() {
        Passages::Memory(passages) => rank_memory(dataset, questions, passages, options, progress),
        Passages::Index(index) => rank_index(dataset, questions, index, options, progress),
    }
}

fn rank_memory(
    dataset: &Dataset,
    questions: &Embeddings,
    passages: &Embeddings,
    options: &RankOptions,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Ranks> {
    check(dataset, questions, passages)?;
    let (total, width) = (questions.rows(), questions.width);
    let pool = Pool::new(dataset);
    let mut sorted = Vec::with_capacity(passages.data.len());
    for passage in &pool.order {
        sorted.extend_from_slice(passages.row(*passage as usize));
    }
    let columns = pool.order.len().next_multiple_of(COLUMNS);
    sorted.resize(columns * width, 0.0);
    let matrix = Tensor::from_vec(sorted, (columns, width), &Device::Cpu)?.t()?;
    let tile = Tile {
        places: (0..pool.order.len() as u32).collect(),
        precedence: pool.precedence.clone(),
        runs: pool.bounds.windows(2).map(|bounds| bounds[0]..bounds[1]).collect(),
    };
    let mut all: Vec<One> = Vec::with_capacity(total);
    for block in padded_chunks(questions, options.block.max(1))? {
        let start = all.len();
        let scores = block.matmul(&matrix)?;
        let found: Vec<One> = crate::ops::read(&scores, |scores| {
            scores
                .par_chunks(columns)
                .take(total - start)
                .take(options.block.max(1))
                .enumerate()
                .map(|(row, scores)| {
                    let index = start + row;
                    let targets = pool.targets(dataset, index, |place| scores[place as usize]);
                    let mut tally = Tally::new(targets, dataset.languages.len(), options.top)
                        .without(pool.itself(dataset, index));
                    tally.add(&tile, scores, &pool.precedence);
                    one(dataset, &pool, index, tally)
                })
                .collect()
        })?;
        all.extend(found);
        progress(all.len(), total)?;
    }
    Ok(collect(all))
}

/// The questions' results as one.
pub(super) fn collect(all: Vec<One>) -> Ranks {
    let band: f64 = all.iter().map(|o| o.band).sum::<f64>() / all.len().max(1) as f64;
    let mut ranks = Ranks {
        rows: Vec::new(),
        own: Vec::new(),
        pool: Vec::new(),
        pool_languages: Vec::new(),
        strict: Vec::new(),
        grades: Vec::new(),
        extremes: Vec::new(),
        tie_band: band,
    };
    for one in all {
        ranks.rows.push(one.row);
        ranks.own.push(one.own);
        ranks.pool.push(one.pool);
        ranks.pool_languages.push(one.pool_languages);
        ranks.strict.push(one.strict);
        ranks.grades.extend(one.grades);
        ranks.extremes.push(one.extremes);
    }
    ranks
}

fn check(dataset: &Dataset, questions: &Embeddings, passages: &Embeddings) -> Result<()> {
    check_questions(dataset, questions, passages.rows(), passages.width)?;
    if let Some(index) = broken(passages) {
        return Err(NotFinite(format!("passage '{}'", dataset.passages[index].id)).into());
    }
    Ok(())
}

/// A text whose embedding is not finite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFinite(String);

impl fmt::Display for NotFinite {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "the embedding of {} is not finite: the model is broken, or the training diverged",
            self.0
        )
    }
}

impl std::error::Error for NotFinite {}

/// The row of a number that is not finite.
fn broken(embeddings: &Embeddings) -> Option<usize> {
    embeddings.data.iter().position(|x| !x.is_finite()).map(|at| at / embeddings.width)
}

/// Checks what can be without the passages' vectors: their number and width, and the questions.
pub(super) fn check_questions(
    dataset: &Dataset,
    questions: &Embeddings,
    passages: usize,
    width: usize,
) -> Result<()> {
    ensure!(
        questions.rows() == dataset.questions.len() && passages == dataset.passages.len(),
        "{} question and {passages} passage embeddings for {} questions and {} passages",
        questions.rows(),
        dataset.questions.len(),
        dataset.passages.len()
    );
    ensure!(
        !dataset.passages.is_empty() && !dataset.questions.is_empty(),
        "dataset '{}' is empty",
        dataset.name
    );
    ensure!(questions.width == width, "questions and passages have vectors of different width");
    if let Some(index) = broken(questions) {
        let question = &dataset.questions[index];
        return Err(NotFinite(format!(
            "question '{}' ({})",
            dataset.groups[question.group as usize].id,
            dataset.languages[usize::from(question.language)]
        ))
        .into());
    }
    Ok(())
}

/// One question's ranks.
pub(super) struct One {
    row: QueryRow,
    own: Vec<Vec<u32>>,
    pool: Vec<u32>,
    pool_languages: Vec<u16>,
    strict: Vec<u32>,
    /// `None`: all are 1.
    grades: Option<QuestionGrades>,
    extremes: QuestionExtremes,
    band: f64,
}

/// Ranks of relevant passages in one pool, with the first and last place that each could have among its equals.
#[derive(Clone, Default)]
struct Placed {
    ranks: Vec<u32>,
    grades: Vec<u32>,
    best: Vec<u32>,
    worst: Vec<u32>,
}

impl Placed {
    /// A passage with `before` others before it, `above` that score higher, and `equal` that score the same, itself
    /// included.
    fn push(&mut self, grade: u32, before: u32, above: u32, equal: u32) {
        self.grades.push(grade);
        self.ranks.push(before + 1);
        self.best.push(above + 1);
        self.worst.push(above + equal);
    }

    /// The ranks in ascending order, the grades in that order, and what another order of ties would give.
    fn finish(mut self) -> (Vec<u32>, Vec<u32>, Extremes) {
        let mut order: Vec<usize> = (0..self.ranks.len()).collect();
        order.sort_unstable_by_key(|at| self.ranks[*at]);
        let grades = order.into_iter().map(|at| self.grades[at]).collect();
        self.ranks.sort_unstable();
        let extremes = if self.ranks.is_empty() {
            Extremes { best: f64::NAN, worst: f64::NAN }
        } else {
            extremes(&mut self.best, &mut self.worst)
        };
        (self.ranks, grades, extremes)
    }
}

/// One question, from what was counted over the whole pool.
pub(super) fn one(dataset: &Dataset, pool: &Pool, index: usize, tally: Tally) -> One {
    let number = dataset.questions[index].group;
    let group = &dataset.groups[number as usize];
    let languages = dataset.languages.len();
    let asked = usize::from(dataset.questions[index].language);
    let mut own = vec![Placed::default(); languages];
    let (mut all, mut strict) = (Placed::default(), Placed::default());
    let mut first_in_pool = vec![0u32; languages];
    let mut languages_of = Vec::with_capacity(group.relevant.len());
    for (target, &passage) in group.relevant.iter().enumerate() {
        let language = usize::from(dataset.passages[passage as usize].language);
        let grade = dataset.grade(number, passage);
        let (mut before, mut above, mut equal) = (0u32, 0u32, 0u32);
        let mut of_asked = (0u32, 0u32, 0u32);
        for (l, &Count { greater, ties, won }) in tally.counts(target).iter().enumerate() {
            if l == language {
                own[l].push(grade, greater + won, greater, ties);
            }
            if l == asked {
                of_asked = (greater + won, greater, ties);
            }
            before += greater + won;
            above += greater;
            equal += ties;
        }
        all.push(grade, before, above, equal);
        languages_of.push((before + 1, language as u16));
        if language != asked {
            strict.push(grade, before - of_asked.0, above - of_asked.1, equal - of_asked.2);
        }
        let slot = &mut first_in_pool[language];
        *slot = if *slot == 0 { before + 1 } else { (*slot).min(before + 1) };
    }
    let mut own_extremes = Vec::with_capacity(languages);
    let (own, own_grades): (Vec<_>, Vec<_>) = own
        .into_iter()
        .map(|placed| {
            let (ranks, grades, extremes) = placed.finish();
            own_extremes.push(extremes);
            (ranks, grades)
        })
        .unzip();
    let (ranks, multi_grades, pool_extremes) = all.finish();
    let (strict, strict_grades, strict_extremes) = strict.finish();
    let grades = (!dataset.grades.is_empty()).then_some(QuestionGrades {
        own: own_grades,
        multi: multi_grades,
        strict: strict_grades,
    });
    languages_of.sort_unstable();
    let distance = match ranks.as_slice() {
        [first, .., last] => f64::from(last - first),
        _ => f64::NAN,
    };
    let band = if ranks.is_empty() { 0.0 } else { pool_extremes.best - pool_extremes.worst };
    let tie = |a: u32, b: u32| pool.precedence[a as usize].cmp(&pool.precedence[b as usize]);
    let first = tally.top.finish(tie);
    let (top_scores, top) =
        first.into_iter().map(|(score, place)| (score, pool.order[place as usize])).unzip();
    let row = QueryRow {
        question: index as u32,
        ranks: QuestionRanks::default(),
        rank_by_language: own.iter().map(|r| r.first().copied().unwrap_or(0)).collect(),
        multi_rank_by_language: first_in_pool,
        multi_ap: if ranks.is_empty() { f64::NAN } else { average_precision(&ranks) },
        strict_ap: if strict.is_empty() { f64::NAN } else { average_precision(&strict) },
        rank_distance: distance,
        top,
        top_scores,
    };
    let extremes = QuestionExtremes { own: own_extremes, pool: pool_extremes, strict: strict_extremes };
    let pool_languages = languages_of.into_iter().map(|(_, language)| language).collect();
    One { row, own, pool: ranks, pool_languages, strict, grades, extremes, band }
}
