//! Fresh weights, from the seed alone.

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::config::EncoderConfig;
use super::layout::{self, Parameters};
use super::sentence::Head;
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
