//! Parameters and gradients by name: checkpoints, parity tests, files for other programs.

use std::collections::HashMap;

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::checkpoint::{named, one, stacked};
use super::layout::{self, Gradients, Slot};
use super::model::Encoder;

impl Encoder {
    /// Every parameter that is trained under its checkpoint name (the head's as `dense.N.weight`, an adapter's as
    /// `adapters.LANGUAGE.NAME`), in main memory: what [`Encoder::restore`] takes.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn state(&self) -> Result<HashMap<String, Tensor>> {
        let (head, first) = self.bounds();
        let mut all = HashMap::new();
        if self.parameters.trainable[0] {
            all = self.named()?;
            for (index, tensor) in self.parameters.tensors[head..first].iter().enumerate() {
                all.insert(dense_name(index), tensor.to_device(&Device::Cpu)?);
            }
        }
        for ((language, slot), tensor) in self.adapter_slots().zip(&self.parameters.tensors[first..]) {
            let tensor = tensor.to_device(&Device::Cpu)?;
            for (name, part) in parts(&slot, &tensor)? {
                all.insert(format!("{}{name}", prefix(&language)), part);
            }
        }
        Ok(all)
    }

    /// Replaces every parameter that is trained; a frozen base stays as it is.
    ///
    /// # Errors
    /// Names the tensor that is missing or has another shape: the state is of another architecture.
    pub fn restore(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        let (head, first) = self.bounds();
        let mut tensors = Vec::with_capacity(self.parameters.tensors.len());
        if self.parameters.trainable[0] {
            for (index, slot) in layout::slots(&self.config, &self.layout.head).iter().enumerate() {
                let tensor = if slot.names.is_empty() {
                    one(state, &dense_name(index - head), &slot.shape)?
                } else {
                    stacked(state, "", slot)?
                };
                tensors.push(tensor.to_device(&self.device)?);
            }
        } else {
            tensors.extend_from_slice(&self.parameters.tensors[..first]);
        }
        for (language, slot) in self.adapter_slots() {
            tensors.push(stacked(state, &prefix(&language), &slot)?.to_device(&self.device)?);
        }
        self.parameters.tensors = tensors;
        Ok(())
    }

    /// The transformer's parameters under their checkpoint names, in main memory.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn named(&self) -> Result<HashMap<String, Tensor>> {
        named(&self.config, &self.layout, &self.parameters.tensors)
    }

    /// Gradients under the names of [`Encoder::state`]; a parameter without one is left out.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn named_gradients(&self, gradients: &Gradients) -> Result<HashMap<String, Tensor>> {
        let (head, first) = self.bounds();
        let mut all = HashMap::new();
        for (slot, gradient) in layout::slots(&self.config, &self.layout.head).iter().zip(&gradients.tensors)
        {
            if let Some(gradient) = gradient {
                all.extend(parts(slot, gradient)?);
            }
        }
        for (index, gradient) in gradients.tensors[head..first].iter().enumerate() {
            if let Some(gradient) = gradient {
                all.insert(dense_name(index), gradient.clone());
            }
        }
        for ((language, slot), gradient) in self.adapter_slots().zip(&gradients.tensors[first..]) {
            let Some(gradient) = gradient else { continue };
            for (name, part) in parts(&slot, gradient)? {
                all.insert(format!("{}{name}", prefix(&language)), part);
            }
        }
        Ok(all)
    }

    /// Indices of the head's first parameter and of the adapters'.
    fn bounds(&self) -> (usize, usize) {
        (layout::head(&self.config), layout::adapters(&self.config, &self.layout.head))
    }

    fn adapter_slots(&self) -> impl Iterator<Item = (String, Slot)> {
        let slots: Vec<(String, Slot)> = self.adapters.as_ref().map_or_else(Vec::new, |adapters| {
            adapters.slots(&self.config).map(|(language, slot)| (language.to_owned(), slot)).collect()
        });
        slots.into_iter()
    }
}

/// A parameter's tensors as checkpoints name them.
fn parts(slot: &Slot, tensor: &Tensor) -> Result<Vec<(String, Tensor)>> {
    let rows = slot.shape[0] / slot.names.len().max(1);
    let of = |(index, name): (usize, &String)| -> Result<_> {
        Ok((name.clone(), tensor.narrow(0, index * rows, rows)?.contiguous()?))
    };
    slot.names.iter().enumerate().map(of).collect()
}

fn prefix(language: &str) -> String {
    format!("adapters.{language}.")
}

/// Name of the head's `index`-th parameter in a state.
fn dense_name(index: usize) -> String {
    format!("dense.{}.{}", index / 2, if index.is_multiple_of(2) { "weight" } else { "bias" })
}
