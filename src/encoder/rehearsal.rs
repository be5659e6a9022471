//! A model of another one's shape with few layers and made-up weights: what a step costs can be measured on it before
//! the model itself is read.

use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use super::checkpoint::ModelFiles;
use super::config::EncoderConfig;
use super::layout::{self, Parameters};
use super::model::Encoder;
use super::sentence::SentenceLayout;
use crate::ops::Pool;

impl Encoder {
    /// Rows of the word embeddings that are enough for made-up tokens.
    pub const REHEARSED_ROWS: usize = 2048;

    /// An encoder of this shape with at most `layers` layers and a small vocabulary, without adapters. Its vectors mean
    /// nothing; its steps take the time that they take.
    ///
    /// # Errors
    /// Where the device is out of memory.
    pub fn rehearsal(config: &EncoderConfig, layers: usize, device: &Device, dtype: DType) -> Result<Self> {
        let config = EncoderConfig {
            layers: config.layers.min(layers),
            vocab_size: config.vocab_size.min(Self::REHEARSED_ROWS.max(config.pad_token_id + 1)),
            ..config.clone()
        };
        let layout = SentenceLayout::plain(Path::new(""), Pool::Mean);
        let slots = layout::slots(&config, &layout.head);
        let mut state = 1u32;
        let mut weight = || {
            // A linear congruential generator (Numerical Recipes): any small numbers do.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 24) as f32 - 0.5) * 0.1
        };
        let tensors = slots.iter().map(|slot| {
            let is_scale = slot.names.iter().any(|n| n.ends_with("LayerNorm.weight"));
            let count = slot.shape.iter().product();
            let data: Vec<f32> = (0..count).map(|_| if is_scale { 1.0 } else { weight() }).collect();
            Ok(Tensor::from_vec(data, slot.shape.as_slice(), &Device::Cpu)?)
        });
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        let parameters = Parameters::trained(tensors, slots.iter().map(|s| s.decayed).collect());
        Self::new(
            ModelFiles::made(config, layout, parameters, crate::corpus::demo::TOKENIZER)?,
            device,
            dtype,
            None,
            None,
        )
    }
}
