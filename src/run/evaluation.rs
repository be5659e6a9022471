//! Evaluating an encoder on a dataset: one encode, all settings.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::corpus::Dataset;
use crate::encoder::Encoder;
use crate::evaluate::{Embeddings, Evaluation, Protocol, RankOptions, measure};
use crate::spec::{Candidate, ExperimentSpec};
use crate::train::{Event, Stage, Tokens};

/// Reports progress at most four times a second, and at the end.
pub struct Progressing<F> {
    stage: Stage,
    tell: F,
    last: Option<Instant>,
}

impl<F: FnMut(Event) -> Result<()>> Progressing<F> {
    pub fn new(stage: Stage, tell: F) -> Self {
        Self { stage, tell, last: None }
    }

    /// `done` of `total` are done.
    ///
    /// # Errors
    /// What the listener returns.
    pub fn at(&mut self, done: usize, total: usize) -> Result<()> {
        let recent = self.last.is_some_and(|l| l.elapsed() < Duration::from_millis(250));
        if recent && done < total {
            return Ok(());
        }
        self.last = Some(Instant::now());
        (self.tell)(Event::Progress { stage: self.stage, done, total })
    }
}

/// Embeds the dataset's questions and passages once and measures every setting. `model` is what results are filed under.
///
/// # Errors
/// Where a text cannot be embedded, an embedding is not finite, or `tell` fails.
pub fn evaluate_dataset(
    encoder: &Encoder,
    dataset: &Dataset,
    model: &str,
    spec: &ExperimentSpec,
    tell: &mut dyn FnMut(Event) -> Result<()>,
) -> Result<Evaluation> {
    let tokens = {
        let mut progress = Progressing::new(Stage::Tokenising, &mut *tell);
        Tokens::new(dataset, encoder, &spec.model, &mut |done, total| progress.at(done, total))?
    };
    let mut embed = |texts: &[Vec<u32>], stage: Stage| -> Result<Embeddings> {
        let mut progress = Progressing::new(stage, &mut *tell);
        let total = texts.len();
        let data = encoder.encode(texts, spec.evaluate.batch_tokens, &mut |done| progress.at(done, total))?;
        Ok(Embeddings { width: encoder.width(), data })
    };
    let questions = embed(&tokens.questions, Stage::EncodingQuestions)?;
    let passages = embed(&tokens.passages, Stage::EncodingPassages)?;
    let protocol = Protocol {
        version: 1,
        polymix: crate::VERSION.into(),
        model: model.into(),
        dataset: dataset.name.clone(),
        dataset_hash: dataset.hash.clone(),
        questions: dataset.questions.len(),
        passages: dataset.passages.len(),
        candidate: match spec.evaluate.candidate {
            Candidate::Sentence => "sentence".into(),
            Candidate::SentenceContext => "sentence+context".into(),
        },
        pooling: encoder.pooling().into(),
        query_prefix: encoder.query_prefix.clone(),
        passage_prefix: encoder.passage_prefix.clone(),
        max_query_tokens: spec.model.max_query_tokens.min(encoder.config.longest()),
        max_passage_tokens: spec.model.max_passage_tokens.min(encoder.config.longest()),
        truncated_questions: tokens.truncated_questions,
        truncated_passages: tokens.truncated_passages,
        tie_rule: "score descending, then passage id descending (trec_eval)".into(),
        missing: spec.evaluate.missing,
    };
    let mut progress = Progressing::new(Stage::Ranking, &mut *tell);
    let options = RankOptions { top: spec.evaluate.trec_depth.max(10), ..RankOptions::default() };
    measure(dataset, &questions, &passages, protocol, &options, &mut |done, total| progress.at(done, total))
}
