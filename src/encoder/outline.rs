//! A model without its weights: enough to tokenise, and to know what training will take.

use std::path::Path;

use anyhow::{Context, Result};

use super::adapters;
use super::checkpoint::ModelFiles;
use super::config::EncoderConfig;
use super::prefix::DEFAULT;
use super::tokenizer::TextTokenizer;
use crate::corpus::catalogue::Prefixes;
use crate::spec::{AdapterSpec, Pooling};

/// Configuration, tokenizer and prefixes of a model.
#[derive(Debug)]
pub struct Outline {
    pub config: EncoderConfig,
    /// Trainable numbers, those of adapters not counted.
    pub parameters: usize,
    pub tokenizer: TextTokenizer,
    /// Size of `tokenizer.json`.
    pub tokenizer_bytes: usize,
    pub query_prefix: String,
    pub passage_prefix: String,
    /// Kind, shape and languages of the adapters that it has.
    pub adapters: Option<AdapterSpec>,
}

impl Outline {
    /// Of a model directory, and what the catalogue says of the model's prefixes.
    ///
    /// # Errors
    /// As [`ModelFiles::read`], without the weights; adapters whose description is damaged.
    pub fn read(dir: &Path, pooling: Pooling, catalogued: Prefixes) -> Result<Self> {
        let parts = ModelFiles::without_weights(dir, pooling, catalogued)?;
        let [query, passage] = parts.prefixes;
        Ok(Self {
            parameters: parts.parameters,
            tokenizer_bytes: parts.tokenizer_bytes,
            tokenizer: parts.tokenizer,
            query_prefix: query.text,
            passage_prefix: passage.text,
            config: parts.config,
            adapters: adapters::stored(dir)?.map(|stored| stored.adapters),
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
            query_prefix: DEFAULT[0].into(),
            passage_prefix: DEFAULT[1].into(),
            adapters: None,
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
