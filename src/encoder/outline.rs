//! A model without its weights: enough to tokenise, and to know what training will take.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::adapters;
use super::checkpoint::ModelFiles;
use super::config::EncoderConfig;
use super::tokenizer::TextTokenizer;
use crate::spec::Pooling;

/// Configuration, tokenizer and prefixes of a model.
#[derive(Debug)]
pub struct Outline {
    pub config: EncoderConfig,
    /// Trainable numbers.
    pub parameters: usize,
    pub tokenizer: TextTokenizer,
    /// Size of `tokenizer.json`.
    pub tokenizer_bytes: usize,
    pub query_prefix: String,
    pub passage_prefix: String,
}

impl Outline {
    /// Of a model directory.
    ///
    /// # Errors
    /// As [`ModelFiles::read`], without the weights; a model with adapters, which training does not start from.
    pub fn read(dir: &Path, pooling: Pooling) -> Result<Self> {
        if adapters::stored(dir)?.is_some() {
            bail!(
                "model.base = {:?} has language adapters: start from the base that it was trained from, or write its base alone \
                 with `polymix model convert {} OUT --adapter none`",
                dir.display(),
                dir.display()
            );
        }
        let parts = ModelFiles::without_weights(dir, pooling)?;
        Ok(Self {
            parameters: parts.parameters,
            tokenizer_bytes: parts.tokenizer_bytes,
            tokenizer: parts.tokenizer,
            query_prefix: parts.prefixes.0.unwrap_or_else(|| "Query: ".into()),
            passage_prefix: parts.prefixes.1.unwrap_or_else(|| "Passage: ".into()),
            config: parts.config,
        })
    }

    /// Of a fresh model.
    ///
    /// # Errors
    /// Where configuration or tokenizer is not one.
    pub fn fresh(config: &str, tokenizer: &[u8]) -> Result<Self> {
        Ok(Self {
            config: EncoderConfig::parse(config).context("the model's configuration")?,
            parameters: ModelFiles::fresh_parameter_count(config)?,
            tokenizer: TextTokenizer::from_bytes(tokenizer)?,
            tokenizer_bytes: tokenizer.len(),
            query_prefix: "Query: ".into(),
            passage_prefix: "Passage: ".into(),
        })
    }

    /// With these prefixes, where they are given.
    #[must_use]
    pub fn with_prefixes(mut self, query: Option<&str>, passage: Option<&str>) -> Self {
        if let Some(query) = query {
            query.clone_into(&mut self.query_prefix);
        }
        if let Some(passage) = passage {
            passage.clone_into(&mut self.passage_prefix);
        }
        self
    }
}
