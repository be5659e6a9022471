//! The parameters' order, their shapes, and their names in checkpoints.
//!
//! Query, key and value weights are kept as one `[3H, H]` matrix, so that one product computes all three; a
//! checkpoint holds them apart.

use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};

use super::config::EncoderConfig;
use super::sentence::Head;
use crate::ops::{add_to, scatter_add, scatter_add_to};

/// One parameter: where it stands in checkpoints, its shape, and whether weight decay applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Tensor names in the transformer's checkpoint, stacked along the first dimension; empty for head parameters.
    pub names: Vec<String>,
    pub shape: Vec<usize>,
    pub decayed: bool,
}

/// Index of the word embeddings.
pub const WORD: usize = 0;
pub const POSITION: usize = 1;
pub const TYPE: usize = 2;
pub const EMBEDDING_SCALE: usize = 3;
pub const EMBEDDING_SHIFT: usize = 4;
const FIRST_LAYER: usize = 5;
const PER_LAYER: usize = 12;

/// Indices of one layer's parameters.
#[derive(Clone, Copy, Debug)]
pub struct LayerSlots {
    pub qkv: usize,
    pub attention_out: usize,
    pub attention_norm: usize,
    pub up: usize,
    pub down: usize,
    pub output_norm: usize,
}

/// Weight at the index, bias right after it.
pub const fn layer(index: usize) -> LayerSlots {
    let base = FIRST_LAYER + PER_LAYER * index;
    LayerSlots {
        qkv: base,
        attention_out: base + 2,
        attention_norm: base + 4,
        up: base + 6,
        down: base + 8,
        output_norm: base + 10,
    }
}

/// Index of the head's first parameter.
pub const fn head(config: &EncoderConfig) -> usize {
    FIRST_LAYER + PER_LAYER * config.layers
}

/// Index of the first parameter after the head's: adapters begin there.
pub fn adapters(config: &EncoderConfig, own: &Head) -> usize {
    head(config) + 2 * own.dense.len()
}

/// Every parameter of the base in order.
pub fn slots(config: &EncoderConfig, head: &Head) -> Vec<Slot> {
    let (h, i) = (config.hidden_size, config.intermediate_size);
    let slot = |names: &[String], shape: &[usize]| Slot {
        names: names.to_vec(),
        shape: shape.to_vec(),
        decayed: shape.len() > 1,
    };
    let mut all = Vec::new();
    for (name, rows) in
        [("word", config.vocab_size), ("position", config.positions), ("token_type", config.types)]
    {
        all.push(slot(&[format!("embeddings.{name}_embeddings.weight")], &[rows, h]));
    }
    let affine = |all: &mut Vec<Slot>, modules: &[String], weight: &[usize]| {
        for (part, shape) in [("weight", weight), ("bias", &weight[..1])] {
            let names: Vec<String> = modules.iter().map(|m| format!("{m}.{part}")).collect();
            all.push(slot(&names, shape));
        }
    };
    affine(&mut all, &["embeddings.LayerNorm".into()], &[h]);
    for index in 0..config.layers {
        let at = |module: &str| format!("encoder.layer.{index}.{module}");
        let qkv = ["query", "key", "value"].map(|p| at(&format!("attention.self.{p}")));
        affine(&mut all, &qkv, &[3 * h, h]);
        affine(&mut all, &[at("attention.output.dense")], &[h, h]);
        affine(&mut all, &[at("attention.output.LayerNorm")], &[h]);
        affine(&mut all, &[at("intermediate.dense")], &[i, h]);
        affine(&mut all, &[at("output.dense")], &[h, i]);
        affine(&mut all, &[at("output.LayerNorm")], &[h]);
    }
    for dense in &head.dense {
        all.push(slot(&[], &[dense.output, dense.input]));
        all.push(slot(&[], &[dense.output]));
    }
    all
}

/// The encoder's weights, f32, in the order of the layout.
#[derive(Clone, Debug)]
pub struct Parameters {
    pub tensors: Vec<Tensor>,
    pub decayed: Vec<bool>,
    /// Which are trained; the others have no gradients and no place in the optimiser or in checkpoints.
    pub trainable: Vec<bool>,
}

impl Parameters {
    /// Parameters that are all trained.
    #[must_use]
    pub fn trained(tensors: Vec<Tensor>, decayed: Vec<bool>) -> Self {
        Self { trainable: vec![true; tensors.len()], tensors, decayed }
    }

    /// Adds parameters behind those that are there: whether decay applies, and the weights. They are trained.
    pub fn append(&mut self, more: impl IntoIterator<Item = (bool, Tensor)>) {
        for (decayed, tensor) in more {
            self.tensors.push(tensor);
            self.decayed.push(decayed);
            self.trainable.push(true);
        }
    }

    /// How many numbers.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tensors.iter().map(Tensor::elem_count).sum()
    }

    /// How many numbers are trained.
    #[must_use]
    pub fn trainable_count(&self) -> usize {
        self.tensors.iter().zip(&self.trainable).filter(|(_, t)| **t).map(|(p, _)| p.elem_count()).sum()
    }

    /// No gradients yet, and none ever for what is not trained.
    #[must_use]
    pub fn gradients(&self) -> Gradients {
        Gradients::of(self.trainable.clone())
    }

    /// A copy that later updates leave alone.
    ///
    /// # Errors
    /// Where memory runs out.
    pub fn snapshot(&self) -> Result<Self> {
        let tensors = self.tensors.iter().map(Tensor::copy).collect::<candle_core::Result<_>>()?;
        Ok(Self { tensors, decayed: self.decayed.clone(), trainable: self.trainable.clone() })
    }
}

/// One gradient a parameter, f32, `None` where the parameter took no part.
#[derive(Debug, Default)]
pub struct Gradients {
    pub tensors: Vec<Option<Tensor>>,
    /// Whether a gradient's memory is its own, so that it can be added to in place.
    is_own: Vec<bool>,
    trainable: Vec<bool>,
}

impl Gradients {
    /// None yet, for `parameters` parameters.
    #[must_use]
    pub fn new(parameters: usize) -> Self {
        Self::of(vec![true; parameters])
    }

    fn of(trainable: Vec<bool>) -> Self {
        Self { tensors: vec![None; trainable.len()], is_own: vec![false; trainable.len()], trainable }
    }

    /// True where the gradient of parameter `index` is wanted.
    #[must_use]
    pub fn wants(&self, index: usize) -> bool {
        self.trainable[index]
    }

    /// Adds to the gradient of parameter `index`, if it is wanted.
    ///
    /// # Errors
    /// Where shapes differ.
    pub fn add(&mut self, index: usize, gradient: &Tensor) -> Result<()> {
        if !self.wants(index) {
            return Ok(());
        }
        let gradient = crate::ops::cast(gradient, DType::F32)?;
        let slot = &mut self.tensors[index];
        *slot = Some(match slot.take() {
            Some(sum) => {
                ensure!(sum.dims() == gradient.dims(), "gradient {index} changed its shape");
                // The first one may be a view of what others use: it is not changed.
                if std::mem::replace(&mut self.is_own[index], true) {
                    add_to(sum, &gradient)?
                } else {
                    (sum + gradient)?
                }
            }
            None => gradient,
        });
        Ok(())
    }

    /// Adds the gradient of a look-up of rows `ids` in parameter `index`, a table of `rows` rows; `dy` is `[ids, H]`.
    ///
    /// # Errors
    /// Where an id lies outside the table.
    pub fn add_rows(&mut self, index: usize, rows: usize, ids: &[u32], dy: &Tensor) -> Result<()> {
        if !self.wants(index) {
            return Ok(());
        }
        let slot = &mut self.tensors[index];
        *slot = Some(match slot.take() {
            Some(sum) => scatter_add_to(sum, ids, dy)?,
            None => scatter_add(rows, ids, dy)?,
        });
        self.is_own[index] = true;
        Ok(())
    }
}
