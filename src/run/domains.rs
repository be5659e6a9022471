//! The same model over domains: does what it learnt in some carry over to others?
//!
//! A domain is a tag of the dataset's question ids, or a whole dataset. Questions of a tag are ranked against the pool of
//! their whole dataset, so that the tags of one dataset have pools of the same size.

use anyhow::Result;

use super::embed::Embedder;
use super::evaluation::Progressing;
use crate::corpus::Dataset;
use crate::evaluate::alignment::{self, Parallel, Side};
use crate::evaluate::robustness::{Case, cases};
use crate::evaluate::{METRICS, RankOptions, Setting, rank};
use crate::train::{Event, Stage};

/// The numbers of a model on a domain. What is undefined is NaN.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainRow {
    pub dataset: String,
    /// The tag; `None`: the whole dataset.
    pub domain: Option<String>,
    /// Question ids, and questions in all languages.
    pub ids: usize,
    pub questions: usize,
    /// The values of [`MEASURES`].
    pub values: [f64; MEASURES.len()],
}

/// What is measured by domain: mean average precision (macro over languages, for `cross_map` over question languages), and by
/// side of the dataset the mean over language pairs of unbiased CKA, distance of translations, and accuracy of the
/// margin-based search in both directions; uniformity over all languages.
pub const MEASURES: [&str; 11] = [
    "mono_map",
    "cross_map",
    "multi_map",
    "question_cka",
    "question_alignment",
    "question_uniformity",
    "question_accuracy",
    "passage_cka",
    "passage_alignment",
    "passage_uniformity",
    "passage_accuracy",
];

/// Measures a model on every domain of a dataset: a row a tag where `by_tag` and there are several, then one for the whole
/// dataset.
///
/// # Errors
/// Where a text cannot be embedded, or what `tell` returns.
pub fn domains(
    embedder: Embedder,
    dataset: &Dataset,
    by_tag: bool,
    options: &alignment::Options,
    tell: &mut dyn FnMut(Event) -> Result<()>,
) -> Result<Vec<DomainRow>> {
    let texts: Vec<&str> = dataset.questions.iter().map(|q| q.text.as_str()).collect();
    let language = |l: u16| dataset.languages[usize::from(l)].as_str();
    let languages: Vec<&str> = dataset.questions.iter().map(|q| language(q.language)).collect();
    let questions = embedder.embed(Side::Questions, &texts, &languages, tell)?;
    let texts: Vec<&str> = dataset.passages.iter().map(|p| p.text.as_str()).collect();
    let languages: Vec<&str> = dataset.passages.iter().map(|p| language(p.language)).collect();
    let passages = embedder.embed(Side::Passages, &texts, &languages, tell)?;
    let mut progress = Progressing::new(Stage::Ranking, tell);
    let rank_options = RankOptions { top: 0, ..RankOptions::default() };
    let ranks =
        rank(dataset, &questions, &passages, &rank_options, &mut |done, total| progress.at(done, total))?;
    let map = METRICS.iter().position(|m| *m == "map").unwrap_or(0);
    let cases = cases(dataset, &ranks, map);
    let sides = [(Side::Questions, &questions), (Side::Passages, &passages)].map(|(side, vectors)| {
        let parallel = Parallel::new(dataset, side);
        let vectors = parallel.pick(vectors);
        (parallel, vectors)
    });
    // Neither shuffles nor a probe: both are for a closer look at one model.
    let options = alignment::Options { shuffles: 0, held_out: 0.0, ..options.clone() };
    let row = |domain: Option<u16>| -> Result<DomainRow> {
        let items: Vec<usize> = (0..dataset.groups.len())
            .filter(|g| domain.is_none_or(|d| dataset.groups[*g].domain == d))
            .collect();
        let mut is_own = vec![false; dataset.groups.len()];
        for item in &items {
            is_own[*item] = true;
        }
        let asked = |question: u32| is_own[dataset.questions[question as usize].group as usize];
        let mut values = vec![
            macro_mean(dataset, &cases, Setting::Mono, &asked),
            macro_mean(dataset, &cases, Setting::Cross, &asked),
            macro_mean(dataset, &cases, Setting::Multi, &asked),
        ];
        for (parallel, vectors) in &sides {
            let found = alignment::measure(parallel, vectors, &items, &options, &mut |_, _| Ok(()))?;
            let mean = |of: fn(&alignment::PairAlignment) -> f64| {
                let finite: Vec<f64> = found.pairs.iter().map(of).filter(|v| v.is_finite()).collect();
                finite.iter().sum::<f64>() / finite.len() as f64
            };
            values.extend([
                mean(|p| p.cka.unbiased),
                mean(|p| p.alignment),
                found.all.1.uniformity,
                mean(|p| f64::midpoint(p.accuracy[0], p.accuracy[1])),
            ]);
        }
        let mut row = DomainRow {
            dataset: dataset.name.clone(),
            domain: domain.map(|d| dataset.domains[usize::from(d)].clone()),
            ids: items.len(),
            questions: (0..dataset.questions.len() as u32).filter(|q| asked(*q)).count(),
            values: [f64::NAN; MEASURES.len()],
        };
        row.values.copy_from_slice(&values);
        Ok(row)
    };
    let tags = if by_tag && dataset.domains.len() > 1 { dataset.domains.len() } else { 0 };
    let mut used: Vec<Option<u16>> =
        (0..tags as u16).filter(|d| dataset.groups.iter().any(|g| g.domain == *d)).map(Some).collect();
    used.push(None);
    used.into_iter().map(row).collect()
}

/// Mean over question languages of the mean over their cases.
fn macro_mean(dataset: &Dataset, cases: &[Case], setting: Setting, asked: &dyn Fn(u32) -> bool) -> f64 {
    let mut sums = vec![(0.0, 0usize); dataset.languages.len()];
    for case in cases.iter().filter(|c| c.setting == setting && asked(c.question)) {
        let sum = &mut sums[usize::from(dataset.questions[case.question as usize].language)];
        *sum = (sum.0 + case.value, sum.1 + 1);
    }
    let means: Vec<f64> = sums.iter().filter(|s| s.1 > 0).map(|(sum, n)| sum / *n as f64).collect();
    means.iter().sum::<f64>() / means.len() as f64
}
