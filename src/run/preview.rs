//! What the setup screen shows before a run: the first batches, and how often each language pair is drawn.

use anyhow::Result;

use super::source::Sources;
use crate::batch::Plan;
use crate::corpus::LanguageId;
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
    /// Mean length of a question and of a passage over those batches, in `unit`.
    pub question_length: f64,
    pub passage_length: f64,
    /// `characters`; `tokens` where all data lie in token caches.
    pub unit: &'static str,
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

/// Lays out the first batches.
///
/// # Errors
/// Every reason why the plan could not run.
pub fn preview(spec: &ExperimentSpec, sources: &Sources, batches: usize) -> Result<Preview> {
    let train = &sources.train;
    let plan = Plan::from_layouts(spec, train.iter().map(super::source::Source::layout).collect())?;
    let n = plan.languages.len();
    let drawn_over = batches.min(spec.train.steps * spec.train.accumulate);
    let mut counts = vec![0u64; n * n];
    let mut shown = Vec::new();
    let (mut characters, mut tokens) = (Mean::default(), Mean::default());
    for step in 0..drawn_over {
        let batch = plan.batch(step)?;
        for pair in &batch.pairs {
            counts[usize::from(pair.query_language) * n + usize::from(pair.passage_language)] += 1;
            let source = &train[batch.source];
            characters.add(source.characters(pair.question, pair.passage));
            tokens.add(source.tokens(pair.question, pair.passage));
        }
        let pairs = batch.pairs.iter().map(|p| (p.query_language, p.passage_language)).collect();
        shown.push(PreviewBatch { step: step + 1, kind: batch.kind.label().into(), pairs });
    }
    let (unit, mean) = if characters.count > 0 { ("characters", characters) } else { ("tokens", tokens) };
    Ok(Preview {
        groups: plan.groups(),
        languages: plan.languages,
        batches: shown,
        counts,
        drawn_over,
        question_length: mean.of(mean.questions),
        passage_length: mean.of(mean.passages),
        unit,
    })
}

/// Lengths of pairs, as far as they are known.
#[derive(Clone, Copy, Default)]
struct Mean {
    count: usize,
    questions: usize,
    passages: usize,
}

impl Mean {
    fn add(&mut self, lengths: Option<(usize, usize)>) {
        if let Some((question, passage)) = lengths {
            self.count += 1;
            self.questions += question;
            self.passages += passage;
        }
    }

    fn of(self, sum: usize) -> f64 {
        sum as f64 / self.count.max(1) as f64
    }
}
