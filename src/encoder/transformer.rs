//! The stack of transformer layers: forward, and backward in reverse order.

use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};

use super::config::EncoderConfig;
use super::layout::{self, Gradients, Parameters};
use super::packed::{DropoutRates, Packed};
use crate::ops::{
    Attention, Dropout, Normed, attention, attention_backward, dropout, gather, gelu, gelu_backward,
    layer_norm, layer_norm_backward, linear, linear_backward, scatter_add,
};

/// What the backward pass of one layer needs.
struct SavedLayer {
    input: Tensor,
    qkv: Tensor,
    attention: Attention,
    attention_norm: Normed,
    up: Tensor,
    activated: Tensor,
    output_norm: Normed,
}

/// What the backward pass needs.
pub struct Saved {
    embedding_norm: Normed,
    layers: Vec<SavedLayer>,
}

/// The network with its weights, for one pass.
pub struct Transformer<'a> {
    pub config: &'a EncoderConfig,
    pub parameters: &'a Parameters,
    pub dtype: DType,
    pub dropout: Option<DropoutRates>,
}

/// Dropout places of a layer.
const PLACES: usize = 3;

impl Transformer<'_> {
    fn weight(&self, index: usize) -> Result<Tensor> {
        Ok(self.parameters.tensors[index].to_dtype(self.dtype)?)
    }

    /// Weight and bias.
    fn affine(&self, index: usize) -> Result<(Tensor, Tensor)> {
        Ok((self.weight(index)?, self.weight(index + 1)?))
    }

    fn hidden_dropout<'p>(&self, packed: &'p Packed, place: usize) -> Option<Dropout<'p>> {
        self.dropout.map(|d| Dropout { rate: d.hidden, key: d.key(place), tokens: &packed.keys })
    }

    fn attention_dropout<'p>(&self, packed: &'p Packed, place: usize) -> Option<Dropout<'p>> {
        self.dropout.map(|d| Dropout { rate: d.attention, key: d.key(place), tokens: &packed.keys })
    }

    /// Token vectors `[T, H]`, and what the backward pass needs if `save`.
    ///
    /// # Errors
    /// A text longer than the position table, a token outside the vocabulary, or a failing device.
    pub fn forward(&self, packed: &Packed, save: bool) -> Result<(Tensor, Option<Saved>)> {
        self.forward_seen(packed, save, &mut |_| Ok(()))
    }

    /// The same; `see` gets the token vectors after the embeddings and after every layer.
    pub fn forward_seen(
        &self,
        packed: &Packed,
        save: bool,
        see: &mut dyn FnMut(&Tensor) -> Result<()>,
    ) -> Result<(Tensor, Option<Saved>)> {
        let config = self.config;
        if let Some(bounds) =
            packed.offsets.windows(2).find(|b| b[1] - b[0] > config.longest() || b[1] == b[0])
        {
            let length = bounds[1] - bounds[0];
            ensure!(length > 0, "a text has no tokens at all");
            anyhow::bail!(
                "a text of {length} tokens is longer than the model's {}; lower model.max_query_tokens or \
                 model.max_passage_tokens",
                config.longest()
            );
        }
        if let Some(id) = packed.ids.iter().find(|&&id| id as usize >= config.vocab_size) {
            anyhow::bail!(
                "token id {id} lies outside the embedding table of {} rows: tokenizer and model do not belong together",
                config.vocab_size
            );
        }
        let positions: Vec<u32> =
            packed.positions.iter().map(|p| p + config.first_position() as u32).collect();
        let word = gather(&self.parameters.tensors[layout::WORD], &packed.ids)?;
        let position = gather(&self.parameters.tensors[layout::POSITION], &positions)?;
        let kind = self.parameters.tensors[layout::TYPE].narrow(0, 0, 1)?;
        let sum = ((word + position)?.broadcast_add(&kind))?.to_dtype(self.dtype)?;
        let (scale, shift) = self.affine(layout::EMBEDDING_SCALE)?;
        let embedding_norm = layer_norm(&sum, None, &scale, &shift, config.layer_norm_eps)?;
        let mut x = dropout(embedding_norm.output.copy()?, self.hidden_dropout(packed, 0))?;
        see(&x)?;
        let mut layers = Vec::new();
        for index in 0..config.layers {
            let (output, saved) = self.layer_forward(index, x, packed)?;
            x = output;
            see(&x)?;
            if save {
                layers.push(saved);
            }
        }
        Ok((x, save.then_some(Saved { embedding_norm, layers })))
    }

    fn layer_forward(&self, index: usize, input: Tensor, packed: &Packed) -> Result<(Tensor, SavedLayer)> {
        let (slots, place) = (layout::layer(index), 1 + PLACES * index);
        let epsilon = self.config.layer_norm_eps;
        let (weight, bias) = self.affine(slots.qkv)?;
        let qkv = linear(&input, &weight, &bias)?;
        let dropped = self.attention_dropout(packed, place);
        let attended = attention(&qkv, &packed.offsets, self.config.heads, dropped)?;
        let (weight, bias) = self.affine(slots.attention_out)?;
        let out = linear(&attended.context, &weight, &bias)?;
        let out = dropout(out, self.hidden_dropout(packed, place + 1))?;
        let (scale, shift) = self.affine(slots.attention_norm)?;
        let attention_norm = layer_norm(&out, Some(&input), &scale, &shift, epsilon)?;
        let (weight, bias) = self.affine(slots.up)?;
        let up = linear(&attention_norm.output, &weight, &bias)?;
        let activated = gelu(&up)?;
        let (weight, bias) = self.affine(slots.down)?;
        let out = linear(&activated, &weight, &bias)?;
        let out = dropout(out, self.hidden_dropout(packed, place + 2))?;
        let (scale, shift) = self.affine(slots.output_norm)?;
        let output_norm = layer_norm(&out, Some(&attention_norm.output), &scale, &shift, epsilon)?;
        let output = output_norm.output.clone();
        Ok((
            output,
            SavedLayer { input, qkv, attention: attended, attention_norm, up, activated, output_norm },
        ))
    }

    /// Adds the gradient of every parameter, given that of the token vectors, `[T, H]`.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn backward(
        &self,
        packed: &Packed,
        saved: Saved,
        dx: Tensor,
        gradients: &mut Gradients,
    ) -> Result<()> {
        let Saved { embedding_norm, mut layers } = saved;
        let mut dx = dx;
        // Taken from the end: each layer's memory is free again as soon as its gradients are known.
        while let Some(layer) = layers.pop() {
            dx = self.layer_backward(layers.len(), &layer, &dx, packed, gradients)?;
        }
        let dx = dropout(dx, self.hidden_dropout(packed, 0))?;
        let scale = self.weight(layout::EMBEDDING_SCALE)?;
        let (dsum, dscale, dshift) = layer_norm_backward(&embedding_norm, &scale, &dx)?;
        gradients.add(layout::EMBEDDING_SCALE, &dscale)?;
        gradients.add(layout::EMBEDDING_SHIFT, &dshift)?;
        let config = self.config;
        gradients.add(layout::WORD, &scatter_add(config.vocab_size, &packed.ids, &dsum)?)?;
        let positions: Vec<u32> =
            packed.positions.iter().map(|p| p + config.first_position() as u32).collect();
        gradients.add(layout::POSITION, &scatter_add(config.positions, &positions, &dsum)?)?;
        gradients.add(layout::TYPE, &scatter_add(config.types, &vec![0; packed.tokens()], &dsum)?)
    }

    fn layer_backward(
        &self,
        index: usize,
        saved: &SavedLayer,
        dy: &Tensor,
        packed: &Packed,
        gradients: &mut Gradients,
    ) -> Result<Tensor> {
        let (slots, place) = (layout::layer(index), 1 + PLACES * index);
        let mut affine = |index: usize, x: &Tensor, dy: &Tensor| -> Result<Tensor> {
            let (dx, dw, db) = linear_backward(x, &self.weight(index)?, dy)?;
            gradients.add(index, &dw)?;
            gradients.add(index + 1, &db)?;
            Ok(dx)
        };
        let (dsum, dscale, dshift) =
            layer_norm_backward(&saved.output_norm, &self.weight(slots.output_norm)?, dy)?;
        let dout = dropout(dsum.copy()?, self.hidden_dropout(packed, place + 2))?;
        let dactivated = affine(slots.down, &saved.activated, &dout)?;
        let dup = gelu_backward(&saved.up, &dactivated)?;
        let dnorm = (affine(slots.up, &saved.attention_norm.output, &dup)? + dsum)?;
        let (dsum, dscale2, dshift2) =
            layer_norm_backward(&saved.attention_norm, &self.weight(slots.attention_norm)?, &dnorm)?;
        let dout = dropout(dsum.copy()?, self.hidden_dropout(packed, place + 1))?;
        let dcontext = affine(slots.attention_out, &saved.attention.context, &dout)?;
        let dropped = self.attention_dropout(packed, place);
        let heads = self.config.heads;
        let dqkv =
            attention_backward(&saved.attention, &saved.qkv, &packed.offsets, heads, dropped, &dcontext)?;
        let dx = (affine(slots.qkv, &saved.input, &dqkv)? + dsum)?;
        gradients.add(slots.output_norm, &dscale)?;
        gradients.add(slots.output_norm + 1, &dshift)?;
        gradients.add(slots.attention_norm, &dscale2)?;
        gradients.add(slots.attention_norm + 1, &dshift2)?;
        Ok(dx)
    }
}
