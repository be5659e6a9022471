//! Low-rank changes written into the weights that they change: exact, up to rounding, for one language at a time.

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;

use super::{Adapters, Route};
use crate::encoder::layout;
use crate::ops::LowRank;
use crate::spec::AdapterKind;

/// The base's weights with the `LoRA` of one language added to them; `tensors` are all parameters of the encoder.
///
/// # Errors
/// Where the adapters are bottlenecks, or the language has none.
pub fn merge(adapters: &Adapters, tensors: &[Tensor], language: &str) -> Result<Vec<Tensor>> {
    ensure!(
        adapters.spec.kind == AdapterKind::Lora,
        "bottleneck adapters cannot be merged into the weights (there is a GELU in them): write the base alone with \
         --adapter none, or use the model as it is with `polymix evaluate` and `polymix model embed`"
    );
    let route: Route = adapters.route(language);
    let adapter = route.map(usize::from).with_context(|| {
        format!("no adapter for '{language}'; there are {}", adapters.languages.join(", "))
    })?;
    let mut merged = tensors[..adapters.first].to_vec();
    for index in 0..adapters.layers {
        let slots = layout::layer(index);
        for (slot, offset) in [(slots.qkv, 0), (slots.attention_out, 2)] {
            let at = adapters.module(adapter, index) + offset;
            let change =
                LowRank { a: tensors[at].clone(), b: tensors[at + 1].clone(), scale: adapters.scale() };
            merged[slot] = (&merged[slot] + change.change()?)?;
        }
    }
    Ok(merged)
}
