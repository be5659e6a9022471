//! The stack of transformer layers: forward, and backward in reverse order.

use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};

use super::adapters::{Adapters, Projection, SavedCouplings, SavedModules};
use super::config::EncoderConfig;
use super::layout::{self, Gradients, Parameters};
use super::packed::{DropoutRates, Packed};
use crate::ops::{
    Attention, Dropout, Normed, add_norm, add_norm_backward, add_to, attention, attention_backward,
    bias_gelu, cast, dropout, embed, first_row, gelu_backward, linear, linear_backward, matmul,
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
    modules: SavedModules,
}

/// What the backward pass needs.
pub struct Saved {
    embedding_norm: Normed,
    couplings: SavedCouplings,
    layers: Vec<SavedLayer>,
}

/// The network with its weights, for one pass.
pub struct Transformer<'a> {
    pub config: &'a EncoderConfig,
    pub parameters: &'a Parameters,
    pub dtype: DType,
    pub dropout: Option<DropoutRates>,
    pub adapters: Option<&'a Adapters>,
    /// Added to the word embeddings, `[T, H]`.
    pub moved: Option<&'a Tensor>,
}

/// Dropout places of a layer.
const PLACES: usize = 3;

impl Transformer<'_> {
    /// A matrix, in the type of the computation.
    pub(super) fn weight(&self, index: usize) -> Result<Tensor> {
        Ok(cast(&self.parameters.tensors[index], self.dtype)?)
    }

    /// A bias, or a norm's scale or shift: f32.
    pub(super) fn vector(&self, index: usize) -> &Tensor {
        &self.parameters.tensors[index]
    }

    /// Scale and shift of the norm at `index`.
    fn norm(&self, index: usize) -> (&Tensor, &Tensor) {
        (self.vector(index), self.vector(index + 1))
    }

    /// `x W^T` with the matrix at `index`; its bias is left to what follows.
    fn product(&self, x: &Tensor, index: usize) -> Result<Tensor> {
        Ok(matmul(x, &self.weight(index)?.t()?)?)
    }

    fn hidden_dropout<'p>(&self, packed: &'p Packed, place: usize) -> Option<Dropout<'p>> {
        self.dropout.map(|d| Dropout { rate: d.hidden, key: d.key(place), tokens: &packed.segments })
    }

    fn attention_dropout<'p>(&self, packed: &'p Packed, place: usize) -> Option<Dropout<'p>> {
        self.dropout.map(|d| Dropout { rate: d.attention, key: d.key(place), tokens: &packed.segments })
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
            packed.segments.offsets.windows(2).find(|b| b[1] - b[0] > config.longest() || b[1] == b[0])
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
        let tables = [layout::WORD, layout::POSITION, layout::TYPE].map(|slot| self.vector(slot));
        let sum = embed(tables[0], tables[1], tables[2], &packed.ids, &positions, self.dtype)?;
        let sum = match self.moved {
            Some(moved) => (sum + moved.to_dtype(self.dtype)?)?,
            None => sum,
        };
        let norm = self.norm(layout::EMBEDDING_SCALE);
        let embedding_norm = add_norm(sum, None, None, None, norm, config.layer_norm_eps)?;
        let x = dropout(embedding_norm.output.copy()?, self.hidden_dropout(packed, 0))?;
        let (mut x, couplings) = self.couple(x, packed)?;
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
        Ok((x, save.then_some(Saved { embedding_norm, couplings, layers })))
    }

    fn layer_forward(&self, index: usize, input: Tensor, packed: &Packed) -> Result<(Tensor, SavedLayer)> {
        let (slots, place) = (layout::layer(index), 1 + PLACES * index);
        let epsilon = self.config.layer_norm_eps;
        let mut modules = SavedModules::default();
        let qkv = linear(&input, &self.weight(slots.qkv)?, self.vector(slots.qkv + 1))?;
        let qkv = self.shift(index, Projection::Input, &input, qkv, packed, &mut modules)?;
        let dropped = self.attention_dropout(packed, place);
        let attended = attention(&qkv, &packed.segments, self.config.heads, dropped)?;
        let out = self.product(&attended.context, slots.attention_out)?;
        let out = self.shift(index, Projection::Output, &attended.context, out, packed, &mut modules)?;
        let (bias, norm) = (self.vector(slots.attention_out + 1), self.norm(slots.attention_norm));
        let dropped = self.hidden_dropout(packed, place + 1);
        let attention_norm = add_norm(out, Some(bias), dropped, Some(&input), norm, epsilon)?;
        let up = self.product(&attention_norm.output, slots.up)?;
        let (up, activated) = bias_gelu(up, self.vector(slots.up + 1))?;
        let out = self.product(&activated, slots.down)?;
        let (bias, norm) = (self.vector(slots.down + 1), self.norm(slots.output_norm));
        let dropped = self.hidden_dropout(packed, place + 2);
        let output_norm = add_norm(out, Some(bias), dropped, Some(&attention_norm.output), norm, epsilon)?;
        let output = self.adapt(index, output_norm.output.clone(), packed, &mut modules)?;
        let attention = attended;
        Ok((
            output,
            SavedLayer { input, qkv, attention, attention_norm, up, activated, output_norm, modules },
        ))
    }

    /// Adds the gradient of every parameter that is trained, given that of the token vectors, `[T, H]`; gives that of the word
    /// embeddings as they were looked up, `[T, H]`.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn backward(
        &self,
        packed: &Packed,
        saved: Saved,
        dx: Tensor,
        gradients: &mut Gradients,
    ) -> Result<Tensor> {
        let Saved { embedding_norm, couplings, mut layers } = saved;
        let mut dx = dx;
        // Taken from the end: each layer's memory is free again as soon as its gradients are known.
        while let Some(layer) = layers.pop() {
            dx = self.layer_backward(layers.len(), layer, dx, packed, gradients)?;
        }
        let dx = self.couple_backward(packed, &couplings, dx, gradients)?;
        let dx = dropout(dx, self.hidden_dropout(packed, 0))?;
        let d = add_norm_backward(&embedding_norm, self.vector(layout::EMBEDDING_SCALE), None, &dx, None)?;
        gradients.add(layout::EMBEDDING_SCALE, &d.scale)?;
        gradients.add(layout::EMBEDDING_SHIFT, &d.shift)?;
        let config = self.config;
        if gradients.wants(layout::WORD) {
            gradients.add_rows(layout::WORD, config.vocab_size, &packed.ids, &d.sum)?;
            let positions: Vec<u32> =
                packed.positions.iter().map(|p| p + config.first_position() as u32).collect();
            gradients.add_rows(layout::POSITION, config.positions, &positions, &d.sum)?;
            gradients.add(layout::TYPE, &first_row(config.types, &d.sum)?)?;
        }
        Ok(d.sum)
    }

    /// The gradient of `x`, from that of `x W^T + b` with the weights at `index`, whose own gradients are added.
    fn affine_backward(
        &self,
        index: usize,
        x: &Tensor,
        dy: &Tensor,
        gradients: &mut Gradients,
    ) -> Result<Tensor> {
        let weight = self.weight(index)?;
        if !gradients.wants(index) {
            return Ok(matmul(dy, &weight)?);
        }
        let (dx, dw, db) = linear_backward(x, &weight, dy)?;
        gradients.add(index, &dw)?;
        gradients.add(index + 1, &db)?;
        Ok(dx)
    }

    fn layer_backward(
        &self,
        index: usize,
        saved: SavedLayer,
        dy: Tensor,
        packed: &Packed,
        gradients: &mut Gradients,
    ) -> Result<Tensor> {
        let (slots, place) = (layout::layer(index), 1 + PLACES * index);
        let SavedLayer { input, qkv, attention, attention_norm, up, activated, output_norm, mut modules } =
            saved;
        let dy = self.adapt_backward(index, packed, &modules, &output_norm.output, dy, gradients)?;
        let dropped = self.hidden_dropout(packed, place + 2);
        let after = add_norm_backward(&output_norm, self.vector(slots.output_norm), dropped, &dy, None)?;
        let dactivated = self.affine_backward(slots.down, &activated, &after.x, gradients)?;
        let dup = gelu_backward(&up, &dactivated)?;
        let dnorm = self.affine_backward(slots.up, &attention_norm.output, &dup, gradients)?;
        let dropped = self.hidden_dropout(packed, place + 1);
        let scale = self.vector(slots.attention_norm);
        let before = add_norm_backward(&attention_norm, scale, dropped, &dnorm, Some(&after.sum))?;
        let dcontext = self.affine_backward(slots.attention_out, &attention.context, &before.x, gradients)?;
        let maps = (&attention.context, &before.x);
        let dcontext =
            self.shift_backward(index, Projection::Output, packed, &mut modules, maps, dcontext, gradients)?;
        let dropped = self.attention_dropout(packed, place);
        let (heads, segments) = (self.config.heads, &packed.segments);
        let dqkv = attention_backward(&attention, &qkv, segments, heads, dropped, &dcontext)?;
        let dx = add_to(self.affine_backward(slots.qkv, &input, &dqkv, gradients)?, &before.sum)?;
        let maps = (&input, &dqkv);
        let dx = self.shift_backward(index, Projection::Input, packed, &mut modules, maps, dx, gradients)?;
        for (slot, d) in [(slots.output_norm, after), (slots.attention_norm, before)] {
            gradients.add(slot, &d.scale)?;
            gradients.add(slot + 1, &d.shift)?;
        }
        Ok(dx)
    }
}
