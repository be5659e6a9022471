//! Fresh models: weights from the seed alone.

use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use super::checkpoint::{ModelFiles, check_vocabulary, count};
use super::config::EncoderConfig;
use super::layout::{self, Parameters};
use super::sentence::{Head, SentenceLayout};
use super::tokenizer::TextTokenizer;
use crate::ops::Pool;
use crate::spec::Pooling;
use crate::stream::Stream;

/// Normal weights with the configuration's range, zero biases, `LayerNorm` scales of one; the padding row of the
/// word embeddings is zero.
pub fn initialise(config: &EncoderConfig, head: &Head, seed: u64) -> Result<Parameters> {
    let slots = layout::slots(config, head);
    let mut tensors = Vec::with_capacity(slots.len());
    for (index, slot) in slots.iter().enumerate() {
        let count = slot.shape.iter().product();
        let is_scale = slot.names.iter().any(|n| n.ends_with("LayerNorm.weight"));
        let mut data: Vec<f32> = if slot.decayed {
            let mut stream = Stream::new(seed, "init", index as u64);
            (0..count).map(|_| (stream.normal() * config.initializer_range) as f32).collect()
        } else {
            vec![if is_scale { 1.0 } else { 0.0 }; count]
        };
        if index == layout::WORD {
            let width = config.hidden_size;
            data[config.pad_token_id * width..(config.pad_token_id + 1) * width].fill(0.0);
        }
        tensors.push(Tensor::from_vec(data, slot.shape.as_slice(), &Device::Cpu)?);
    }
    Ok(Parameters::trained(tensors, slots.into_iter().map(|s| s.decayed).collect()))
}

impl ModelFiles {
    /// Trainable parameters of a fresh model.
    ///
    /// # Errors
    /// Where the configuration is not one.
    pub fn fresh_parameter_count(config: &str) -> Result<usize> {
        let head = Head { pool: Pool::Mean, dense: Vec::new() };
        Ok(count(&EncoderConfig::parse(config)?, &head))
    }

    /// A fresh model: this configuration and tokenizer, weights from the seed.
    ///
    /// # Errors
    /// Where configuration and tokenizer do not fit.
    pub fn fresh(config: &str, tokenizer: &[u8], pooling: Pooling, seed: u64) -> Result<Self> {
        let config = EncoderConfig::parse(config)?;
        let pool = if pooling == Pooling::Cls { Pool::First } else { Pool::Mean };
        let layout = SentenceLayout::plain(Path::new(""), pool);
        let parameters = initialise(&config, &layout.head, seed)?;
        let files = Self::made(config, layout, parameters, tokenizer)?;
        check_vocabulary(&files.tokenizer, &files.config)?;
        Ok(files)
    }

    /// A model that lies in no directory.
    pub(super) fn made(
        config: EncoderConfig,
        layout: SentenceLayout,
        parameters: Parameters,
        tokenizer: &[u8],
    ) -> Result<Self> {
        Ok(Self {
            config,
            layout,
            parameters,
            tokenizer: TextTokenizer::from_bytes(tokenizer)?,
            tokenizer_bytes: tokenizer.to_vec(),
            extra: Vec::new(),
            stored: DType::F32,
            adapters: None,
        })
    }
}
