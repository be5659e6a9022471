//! Evaluating an encoder on a dataset: one encode, all settings.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::embed::adapter_note;
use crate::corpus::Dataset;
use crate::encoder::{Encoder, Route};
use crate::evaluate::search::{Filled, Index, Manifest, ShardDtype, fill};
use crate::evaluate::{Embeddings, Evaluation, Passages, Protocol, RankOptions, measure};
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

    /// `done` of `total` are done; 0 of 0: waiting for another process.
    ///
    /// # Errors
    /// What the listener returns.
    pub fn at(&mut self, done: usize, total: usize) -> Result<()> {
        let recent = self.last.is_some_and(|l| l.elapsed() < Duration::from_millis(250));
        if recent && (done < total || total == 0) {
            return Ok(());
        }
        self.last = Some(Instant::now());
        (self.tell)(Event::Progress { stage: self.stage, done, total })
    }
}

/// Passages a shard where nothing else is said: eight blocks, 24 MiB at 384 numbers in f16.
pub const SHARD_ROWS: usize = 32_768;

/// Where and how passages' vectors are kept on disk.
#[derive(Clone, Debug)]
pub struct Shards {
    /// The index: made, or gone on with.
    pub dir: PathBuf,
    pub dtype: ShardDtype,
    /// Passages a shard.
    pub rows: usize,
}

impl Shards {
    /// The manifest of an index of these passages by this encoder.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn manifest(
        &self,
        encoder: &Encoder,
        model: &str,
        max_passage_tokens: usize,
        (data, data_hash, rows): (&str, &str, u64),
    ) -> Result<Manifest> {
        Ok(Manifest {
            v: Manifest::VERSION,
            polymix: crate::VERSION.into(),
            model: model.into(),
            model_hash: encoder.fingerprint()?,
            pooling: encoder.pooling().into(),
            data: data.into(),
            data_hash: data_hash.into(),
            passage_prefix: encoder.passage_prefix.clone(),
            max_passage_tokens: max_passage_tokens.min(encoder.config.longest()),
            dtype: self.dtype,
            width: encoder.width(),
            rows,
            shard_rows: self.rows,
        })
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
    evaluate_with(encoder, dataset, model, spec, None, tell)
}

/// The same with the passages' vectors on disk: they are embedded shard by shard, what is there already is kept, and the
/// ranking reads them from there.
///
/// # Errors
/// As [`evaluate_dataset`]; where the directory holds an index of another model, other passages or settings, or a shard
/// cannot be written or read.
pub fn evaluate_with(
    encoder: &Encoder,
    dataset: &Dataset,
    model: &str,
    spec: &ExperimentSpec,
    shards: Option<&Shards>,
    tell: &mut dyn FnMut(Event) -> Result<()>,
) -> Result<Evaluation> {
    let tokens = {
        let mut progress = Progressing::new(Stage::Tokenising, &mut *tell);
        Tokens::new(dataset, encoder, &spec.model, &mut |done, total| progress.at(done, total))?
    };
    let route = |language: u16| encoder.route(&dataset.languages[usize::from(language)]);
    let routes: Vec<Route> = dataset.passages.iter().map(|p| route(p.language)).collect();
    let mut embed = |texts: &[Vec<u32>], routes: &[Route], stage: Stage| -> Result<Embeddings> {
        let mut progress = Progressing::new(stage, &mut *tell);
        let total = texts.len();
        let mut at = |done| progress.at(done, total);
        let data = encoder.encode_routed(texts, routes, spec.evaluate.batch_tokens, &mut at)?;
        Ok(Embeddings { width: encoder.width(), data })
    };
    let of_questions: Vec<Route> = dataset.questions.iter().map(|q| route(q.language)).collect();
    let questions = embed(&tokens.questions, &of_questions, Stage::EncodingQuestions)?;
    let (in_memory, on_disk);
    let passages: Passages = match shards {
        None => {
            in_memory = embed(&tokens.passages, &routes, Stage::EncodingPassages)?;
            (&in_memory).into()
        }
        Some(shards) => {
            let tokens = (tokens.passages.as_slice(), routes.as_slice());
            on_disk = fill_index(encoder, dataset, tokens, model, spec, shards, &mut *tell)?;
            (&on_disk).into()
        }
    };
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
        lost_answers: tokens.lost_answers,
        tie_rule: "score descending, then passage id descending (trec_eval)".into(),
        missing: spec.evaluate.missing,
        graded_labels: 0,
        without_itself: 0,
    };
    let mut progress = Progressing::new(Stage::Ranking, &mut *tell);
    let options = RankOptions { top: spec.evaluate.trec_depth.max(10), ..RankOptions::default() };
    let mut at = |done, total| progress.at(done, total);
    let mut evaluation = measure(dataset, &questions, passages, protocol, &options, &mut at)?;
    evaluation.notes.extend(adapter_note(encoder, &dataset.languages));
    Ok(evaluation)
}

/// Embeds the passages that an index lacks.
fn fill_index(
    encoder: &Encoder,
    dataset: &Dataset,
    (tokens, routes): (&[Vec<u32>], &[Route]),
    model: &str,
    spec: &ExperimentSpec,
    shards: &Shards,
    tell: &mut dyn FnMut(Event) -> Result<()>,
) -> Result<Index> {
    let total = dataset.passages.len();
    let data = (dataset.name.as_str(), dataset.hash.as_str(), total as u64);
    let manifest = shards.manifest(encoder, model, spec.model.max_passage_tokens, data)?;
    let (index, lock) = Index::make(&shards.dir, manifest)?;
    let passages = dataset.passages.iter().map(|p| Ok((p.id.clone(), p.text.clone())));
    let mut notes = Vec::new();
    let mut progress = Progressing::new(Stage::EncodingPassages, &mut *tell);
    let embed = |shard: usize, _: &[String]| {
        let rows = index.rows_of(shard);
        let mut progress = |done| progress.at(rows.start + done, total);
        let (tokens, routes) = (&tokens[rows.clone()], &routes[rows.clone()]);
        let data = encoder.encode_routed(tokens, routes, spec.evaluate.batch_tokens, &mut progress)?;
        Ok(Embeddings { width: encoder.width(), data })
    };
    fill(&index, &lock, passages, embed, |filled| {
        if let Filled::Damaged { reason, .. } = filled {
            notes.push(format!("{reason}; embedded again"));
        }
        Ok(())
    })?;
    notes.into_iter().try_for_each(|message| tell(Event::Note { message }))?;
    Ok(index)
}
