//! What the setup screen shows before a run: the first batches, and how often each language pair is drawn.

use anyhow::Result;

use super::Plan;
use crate::corpus::{self, LanguageId};
use crate::spec::ExperimentSpec;

/// The beginning of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    pub languages: Vec<String>,
    /// Question ids that the plan draws from.
    pub groups: usize,
    pub batches: Vec<PreviewBatch>,
    /// Pairs by `[question language, passage language]` over the first `drawn_over` batches.
    pub counts: Vec<u64>,
    pub drawn_over: usize,
    /// Mean characters of a question and of a passage over those batches.
    pub question_characters: f64,
    pub passage_characters: f64,
}

/// One batch of a preview.
#[derive(Clone, Debug, PartialEq)]
pub struct PreviewBatch {
    /// From 1.
    pub step: usize,
    /// `X-X-mono`, `X-Y`, `X-X` or `multi`.
    pub kind: String,
    /// Question and passage language of each pair.
    pub pairs: Vec<(LanguageId, LanguageId)>,
}

/// Opens the training data and lays out the first batches.
///
/// # Errors
/// Every reason why the run could not start.
pub fn preview(spec: &ExperimentSpec, batches: usize) -> Result<Preview> {
    spec.check()?;
    let datasets = spec
        .data
        .train
        .iter()
        .map(|d| corpus::open(d, spec.evaluate.candidate))
        .collect::<Result<Vec<_>>>()?;
    let plan = Plan::new(spec, &datasets)?;
    let n = plan.languages.len();
    let drawn_over = batches.min(spec.train.steps * spec.train.accumulate);
    let mut counts = vec![0u64; n * n];
    let mut shown = Vec::new();
    let (mut questions, mut passages) = (0usize, 0usize);
    for step in 0..drawn_over {
        let batch = plan.batch(step)?;
        for pair in &batch.pairs {
            counts[usize::from(pair.query_language) * n + usize::from(pair.passage_language)] += 1;
            let data = &datasets[batch.source];
            questions += data.questions[pair.question as usize].text.chars().count();
            passages += data.passages[pair.passage as usize].text.chars().count();
        }
        let pairs = batch.pairs.iter().map(|p| (p.query_language, p.passage_language)).collect();
        shown.push(PreviewBatch { step: step + 1, kind: batch.kind.label().into(), pairs });
    }
    let total = (drawn_over * spec.train.batch).max(1) as f64;
    Ok(Preview {
        groups: plan.groups(),
        languages: plan.languages,
        batches: shown,
        counts,
        drawn_over,
        question_characters: questions as f64 / total,
        passage_characters: passages as f64 / total,
    })
}
