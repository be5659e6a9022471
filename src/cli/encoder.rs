//! The arguments that say which encoder is meant and how it reads texts; what `evaluate`, `encode` and `search` share.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::run::Store;
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
    /// Text put before each question [default: the model's own, else "Query: "]
    #[arg(long, value_name = "TEXT")]
    pub query_prefix: Option<String>,
    /// Longest question in tokens
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub max_query_tokens: usize,
}

/// How passages are read.
#[derive(Debug, clap::Args)]
pub struct PassageArgs {
    /// Text put before each passage [default: the model's own, else "Passage: "]
    #[arg(long, value_name = "TEXT")]
    pub passage_prefix: Option<String>,
    /// Longest passage in tokens
    #[arg(long, default_value_t = 512, value_name = "N")]
    pub max_passage_tokens: usize,
}

/// A spec of this model, for encoding only. A run brings its own prefixes, pooling and lengths.
pub fn spec(
    model: &str,
    encoder: &EncoderArgs,
    questions: Option<&QuestionArgs>,
    passages: Option<&PassageArgs>,
    store: &Store,
) -> Result<ExperimentSpec> {
    let mut spec = ExperimentSpec::default();
    let is_model_dir = Path::new(model).join("config.json").is_file();
    if model == "demo" || is_model_dir {
        model.clone_into(&mut spec.model.base);
        if let Some(questions) = questions {
            spec.model.max_query_tokens = questions.max_query_tokens;
        }
        if let Some(passages) = passages {
            spec.model.max_passage_tokens = passages.max_passage_tokens;
        }
    } else {
        let run = store.find(model).with_context(|| {
            format!("--model {model}: neither a model directory (with config.json) nor a run")
        })?;
        let dir = run.model_dir();
        ensure!(dir.is_dir(), "run '{}' has no final model yet; is it done?", run.id());
        spec = run.spec()?;
        spec.model.base = dir.display().to_string();
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
