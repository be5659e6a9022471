//! The arguments that say which encoder is meant and how it reads texts; what all commands share
//! that embed texts.

use std::path::Path;

use anyhow::{Context, Result};

use super::progress::Progress;
use crate::corpus;
use crate::encoder::Encoder;
use crate::run::{Store, adapter_note};
use crate::spec::{ExperimentSpec, Pooling};

/// How the encoder runs.
#[derive(Debug, clap::Args)]
pub struct EncoderArgs {
    /// auto (what the model says), mean or cls
    #[arg(long, default_value = "auto", value_name = "POOLING")]
    pub pooling: String,
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
}

/// How questions are read.
#[derive(Debug, clap::Args)]
pub struct QuestionArgs {
    /// Text put before each question [default: the model's own, else the catalogue's, else "Query: "]
    #[arg(long, value_name = "TEXT")]
    pub query_prefix: Option<String>,
    /// Longest question in tokens [default: the run's own, else 128]
    #[arg(long, value_name = "N", value_parser = tokens())]
    pub max_query_tokens: Option<u64>,
}

/// How passages are read.
#[derive(Debug, clap::Args)]
pub struct PassageArgs {
    /// Text put before each passage [default: the model's own, else the catalogue's, else "Passage: "]
    #[arg(long, value_name = "TEXT")]
    pub passage_prefix: Option<String>,
    /// Longest passage in tokens [default: the run's own, else 512]
    #[arg(long, value_name = "N", value_parser = tokens())]
    pub max_passage_tokens: Option<u64>,
}

/// A limit on texts, as specs have it.
pub fn tokens() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(4..=8192)
}

/// A spec of this model, for encoding only: a directory, a run, a model of the hub on disk (owner/name), or `demo`. A run
/// brings its own prefixes, pooling and lengths.
///
/// # Errors
/// Where there is no such model, a run has no final one yet, or the arguments do not fit.
pub fn spec(
    model: &str,
    encoder: &EncoderArgs,
    questions: Option<&QuestionArgs>,
    passages: Option<&PassageArgs>,
    store: &Store,
) -> Result<ExperimentSpec> {
    let mut spec = ExperimentSpec::default();
    let is_dir = ["config.json", "modules.json"].iter().any(|f| Path::new(model).join(f).is_file());
    let is_hub_id = || model.contains('/') && store.find(model).is_err() && !Path::new(model).exists();
    if model == "demo" || is_dir || is_hub_id() {
        tell_doubt(model);
        model.clone_into(&mut spec.model.base);
        (spec.model.max_query_tokens, spec.model.max_passage_tokens) = (128, 512);
    } else {
        let run = store.find(model).with_context(|| {
            format!("--model {model}: neither a model directory (with config.json) nor a run")
        })?;
        let dir = run.final_model()?;
        spec = run.spec()?;
        spec.model.base = dir.display().to_string();
    }
    if let Some(tokens) = questions.and_then(|q| q.max_query_tokens) {
        spec.model.max_query_tokens = tokens as usize;
    }
    if let Some(tokens) = passages.and_then(|p| p.max_passage_tokens) {
        spec.model.max_passage_tokens = tokens as usize;
    }
    spec.model.pooling = match encoder.pooling.as_str() {
        "auto" => spec.model.pooling,
        "mean" => Pooling::Mean,
        "cls" => Pooling::Cls,
        other => anyhow::bail!("--pooling {other}: must be auto, mean or cls"),
    };
    if let Some(prefix) = questions.and_then(|q| q.query_prefix.as_ref()) {
        spec.model.query_prefix = Some(prefix.clone());
    }
    if let Some(prefix) = passages.and_then(|p| p.passage_prefix.as_ref()) {
        spec.model.passage_prefix = Some(prefix.clone());
    }
    spec.train.device.clone_from(&encoder.device);
    spec.check()?;
    Ok(spec)
}

/// Says what is not known of a model of the hub that another program brought.
pub fn tell_doubt(model: &str) {
    if let Some(doubt) = crate::corpus::catalogue::model_doubt(model) {
        Progress::new().line(&format!("note: {doubt}"));
    }
}

/// Says what is put before texts, as nobody sees it in the results: a wrong prefix costs much, without an error.
pub fn tell_prefixes(encoder: &Encoder, progress: &mut Progress) {
    if let Some(line) = encoder.prefix_line() {
        progress.line(&format!("note: {line}"));
    }
}

/// A language's code as an option gives it: today's.
///
/// # Errors
/// Where it is empty.
pub fn language(code: &str) -> std::result::Result<String, String> {
    match code.trim() {
        "" => Err("an empty code; write languages as en,de".into()),
        code => Ok(corpus::language::normalise(code)),
    }
}

/// What to say of a model's adapters before it embeds texts in these languages; none are given where they are not known.
pub fn adapter_notes(encoder: &Encoder, languages: &[String]) -> Vec<String> {
    if encoder.adapters.is_some() && languages.is_empty() {
        return vec![
            "the model has language adapters, and the texts' language is not known: they go through the base alone (say it \
             with --language CODE)"
                .to_owned(),
        ];
    }
    adapter_note(encoder, languages).into_iter().collect()
}
