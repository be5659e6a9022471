//! Ranks of the relevant passages, for every question, in every pool, from one pass over the score matrix.
//!
//! Nothing is sorted: a passage's rank is one more than the number of passages that stand before it, and counting
//! those language by language gives the rank within each language and, summed, the rank in the multilingual pool.
//! Ties are broken as `trec_eval` does, score descending, then passage id descending, in every metric alike.

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::metrics::average_precision;
use super::{Embeddings, QueryRow};
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
    /// For each question what another order of equal scores would make of its average precision.
    pub extremes: Vec<QuestionExtremes>,
    /// Mean over questions of the highest minus the lowest average precision that another order of ties would give.
    pub tie_band: f64,
}

/// Average precision under the friendliest and the unfriendliest order of equal scores; NaN without a relevant passage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extremes {
    pub best: f64,
    pub worst: f64,
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
struct Pool {
    /// Passage indices, languages one after another.
    order: Vec<u32>,
    /// Language `l` takes `bounds[l]..bounds[l + 1]` of `order`.
    bounds: Vec<usize>,
    /// Place of a passage in `order`.
    place: Vec<u32>,
    /// By place: how many ids of the whole pool are greater. Lower stands first among equal scores.
    precedence: Vec<u32>,
}

impl Pool {
    fn new(dataset: &Dataset) -> Self {
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
}

/// Ranks every question; `progress` hears (done, total) questions.
///
/// # Errors
/// Where an embedding is not finite (names the text), sizes do not fit, or `progress` fails.
pub fn rank(
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
    let matrix = Tensor::from_vec(sorted, (pool.order.len(), width), &Device::Cpu)?.t()?;
    let mut all: Vec<One> = Vec::with_capacity(total);
    while all.len() < total {
        let start = all.len();
        let end = (start + options.block.max(1)).min(total);
        let block = &questions.data[start * width..end * width];
        let block = Tensor::from_slice(block, (end - start, width), &Device::Cpu)?;
        let scores = block.matmul(&matrix)?;
        let found: Vec<One> = crate::ops::read(&scores, |scores| {
            scores
                .par_chunks(pool.order.len())
                .enumerate()
                .map(|(row, scores)| one(dataset, &pool, start + row, scores, options.top))
                .collect()
        })?;
        all.extend(found);
        progress(all.len(), total)?;
    }
    let band: f64 = all.iter().map(|o| o.band).sum::<f64>() / total.max(1) as f64;
    let mut ranks = Ranks {
        rows: Vec::new(),
        own: Vec::new(),
        pool: Vec::new(),
        pool_languages: Vec::new(),
        strict: Vec::new(),
        extremes: Vec::new(),
        tie_band: band,
    };
    for one in all {
        ranks.rows.push(one.row);
        ranks.own.push(one.own);
        ranks.pool.push(one.pool);
        ranks.pool_languages.push(one.pool_languages);
        ranks.strict.push(one.strict);
        ranks.extremes.push(one.extremes);
    }
    Ok(ranks)
}

fn check(dataset: &Dataset, questions: &Embeddings, passages: &Embeddings) -> Result<()> {
    ensure!(
        questions.rows() == dataset.questions.len() && passages.rows() == dataset.passages.len(),
        "{} question and {} passage embeddings for {} questions and {} passages",
        questions.rows(),
        passages.rows(),
        dataset.questions.len(),
        dataset.passages.len()
    );
    ensure!(
        !dataset.passages.is_empty() && !dataset.questions.is_empty(),
        "dataset '{}' is empty",
        dataset.name
    );
    ensure!(questions.width == passages.width, "questions and passages have vectors of different width");
    let broken = |e: &Embeddings| e.data.iter().position(|x| !x.is_finite()).map(|at| at / e.width);
    if let Some(index) = broken(questions) {
        let question = &dataset.questions[index];
        anyhow::bail!(
            "the embedding of question '{}' ({}) is not finite: the model is broken, or the training diverged",
            dataset.groups[question.group as usize].id,
            dataset.languages[usize::from(question.language)]
        );
    }
    if let Some(index) = broken(passages) {
        anyhow::bail!(
            "the embedding of passage '{}' is not finite: the model is broken, or the training diverged",
            dataset.passages[index].id
        );
    }
    Ok(())
}

/// One question's ranks.
struct One {
    row: QueryRow,
    own: Vec<Vec<u32>>,
    pool: Vec<u32>,
    pool_languages: Vec<u16>,
    strict: Vec<u32>,
    extremes: QuestionExtremes,
    band: f64,
}

/// Ranks of relevant passages in one pool, with the first and last place that each could have among its equals.
#[derive(Clone, Default)]
struct Placed {
    ranks: Vec<u32>,
    best: Vec<u32>,
    worst: Vec<u32>,
}

impl Placed {
    /// A passage with `before` others before it, `above` that score higher, and `equal` that score the same, itself
    /// included.
    fn push(&mut self, before: u32, above: u32, equal: u32) {
        self.ranks.push(before + 1);
        self.best.push(above + 1);
        self.worst.push(above + equal);
    }

    /// The ranks in ascending order, and what another order of ties would give.
    fn finish(mut self) -> (Vec<u32>, Extremes) {
        self.ranks.sort_unstable();
        let extremes = if self.ranks.is_empty() {
            Extremes { best: f64::NAN, worst: f64::NAN }
        } else {
            extremes(&mut self.best, &mut self.worst)
        };
        (self.ranks, extremes)
    }
}

fn one(dataset: &Dataset, pool: &Pool, index: usize, scores: &[f32], top: usize) -> One {
    let group = &dataset.groups[dataset.questions[index].group as usize];
    let languages = dataset.languages.len();
    let asked = usize::from(dataset.questions[index].language);
    let mut own = vec![Placed::default(); languages];
    let (mut all, mut strict) = (Placed::default(), Placed::default());
    let mut first_in_pool = vec![0u32; languages];
    let mut languages_of = Vec::with_capacity(group.relevant.len());
    for &passage in &group.relevant {
        let place = pool.place[passage as usize] as usize;
        let language = usize::from(dataset.passages[passage as usize].language);
        let (score, precedence) = (scores[place], pool.precedence[place]);
        let (mut before, mut above, mut equal) = (0u32, 0u32, 0u32);
        let mut of_asked = (0u32, 0u32, 0u32);
        for (l, bounds) in pool.bounds.windows(2).enumerate() {
            let range = bounds[0]..bounds[1];
            let (greater, ties, won) =
                count(&scores[range.clone()], &pool.precedence[range], score, precedence);
            if l == language {
                own[l].push(greater + won, greater, ties);
            }
            if l == asked {
                of_asked = (greater + won, greater, ties);
            }
            before += greater + won;
            above += greater;
            equal += ties;
        }
        all.push(before, above, equal);
        languages_of.push((before + 1, language as u16));
        if language != asked {
            strict.push(before - of_asked.0, above - of_asked.1, equal - of_asked.2);
        }
        let slot = &mut first_in_pool[language];
        *slot = if *slot == 0 { before + 1 } else { (*slot).min(before + 1) };
    }
    let (own, own_extremes): (Vec<_>, Vec<_>) = own.into_iter().map(Placed::finish).unzip();
    let (ranks, pool_extremes) = all.finish();
    let (strict, strict_extremes) = strict.finish();
    languages_of.sort_unstable();
    let distance = match ranks.as_slice() {
        [first, .., last] => f64::from(last - first),
        _ => f64::NAN,
    };
    let band = if ranks.is_empty() { 0.0 } else { pool_extremes.best - pool_extremes.worst };
    let (top, top_scores) = first(pool, scores, top);
    let row = QueryRow {
        question: index as u32,
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
    One { row, own, pool: ranks, pool_languages, strict, extremes, band }
}

/// Of these passages: how many score higher, how many the same, and how many of the latter stand before `precedence`.
fn count(scores: &[f32], precedence: &[u32], score: f32, own: u32) -> (u32, u32, u32) {
    let (mut greater, mut ties) = (0u32, 0u32);
    for s in scores {
        greater += u32::from(*s > score);
        ties += u32::from(*s == score);
    }
    if ties == 0 {
        return (greater, 0, 0);
    }
    let tied = scores.iter().zip(precedence).filter(|(s, _)| **s == score);
    let won = tied.filter(|(_, p)| **p < own).count() as u32;
    (greater, ties, won)
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

/// The first passages of the multilingual ranking with their scores.
fn first(pool: &Pool, scores: &[f32], top: usize) -> (Vec<u32>, Vec<f32>) {
    let top = top.min(scores.len());
    if top == 0 {
        return (Vec::new(), Vec::new());
    }
    let before = |a: &u32, b: &u32| {
        let (a, b) = (*a as usize, *b as usize);
        scores[b].total_cmp(&scores[a]).then(pool.precedence[a].cmp(&pool.precedence[b]))
    };
    let mut places: Vec<u32> = (0..scores.len() as u32).collect();
    if top < places.len() {
        places.select_nth_unstable_by(top - 1, before);
        places.truncate(top);
    }
    places.sort_unstable_by(before);
    let values = places.iter().map(|p| scores[*p as usize]).collect();
    (places.iter().map(|p| pool.order[*p as usize]).collect(), values)
}
