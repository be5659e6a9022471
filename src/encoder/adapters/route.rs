//! Each language's rows through its own modules, forward and back.

use std::ops::Range;

use anyhow::Result;
use candle_core::Tensor;

use super::super::layout::Gradients;
use super::super::packed::Packed;
use super::super::transformer::Transformer;
use super::Adapters;
use crate::ops::{
    BottleneckWeights, Coupling, LowRank, SavedBottleneck, SavedCoupling, bottleneck, bottleneck_backward,
};
use crate::spec::AdapterKind;

/// What the modules of one layer keep for the backward pass, in the order of the batch's routes.
#[derive(Default)]
pub struct SavedModules {
    bottlenecks: Vec<SavedBottleneck>,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

/// What the invertible maps keep.
pub type SavedCouplings = Vec<SavedCoupling>;

/// `x` with `f(place, adapter, rows)` instead of the rows of every language that has an adapter; the others pass as they
/// are. `place` counts the batch's routes.
fn routed(
    x: Tensor,
    routes: &[(usize, Range<usize>)],
    mut f: impl FnMut(usize, usize, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    if routes.is_empty() {
        return Ok(x);
    }
    let (mut parts, mut at) = (Vec::new(), 0);
    for (place, (adapter, range)) in routes.iter().enumerate() {
        if at < range.start {
            parts.push(x.narrow(0, at, range.start - at)?);
        }
        parts.push(f(place, *adapter, &rows(&x, range)?)?);
        at = range.end;
    }
    let end = x.dim(0)?;
    if at < end {
        parts.push(x.narrow(0, at, end - at)?);
    }
    Ok(if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(&parts, 0)? })
}

fn rows(x: &Tensor, range: &Range<usize>) -> Result<Tensor> {
    Ok(x.narrow(0, range.start, range.len())?)
}

/// Adds gradients to the parameters from `first` on.
fn add_all(gradients: &mut Gradients, first: usize, all: &[Tensor]) -> Result<()> {
    all.iter().enumerate().try_for_each(|(offset, gradient)| gradients.add(first + offset, gradient))
}

impl Transformer<'_> {
    /// The adapters, where they are of this kind.
    fn adapters_of(&self, kind: AdapterKind) -> Option<&Adapters> {
        self.adapters.filter(|a| a.spec.kind == kind)
    }

    fn bottleneck_at(&self, index: usize) -> Result<BottleneckWeights> {
        Ok(BottleneckWeights {
            down: self.weight(index)?,
            down_bias: self.vector(index + 1).clone(),
            up: self.weight(index + 2)?,
            up_bias: self.vector(index + 3).clone(),
        })
    }

    fn low_rank_at(&self, adapters: &Adapters, index: usize) -> Result<LowRank> {
        Ok(LowRank { a: self.weight(index)?, b: self.weight(index + 1)?, scale: adapters.scale() })
    }

    fn coupling_at(&self, index: usize) -> Result<Coupling> {
        Ok(Coupling { f: self.bottleneck_at(index)?, g: self.bottleneck_at(index + 4)? })
    }

    /// After the embeddings: the invertible maps.
    pub(crate) fn couple(&self, x: Tensor, packed: &Packed) -> Result<(Tensor, SavedCouplings)> {
        let mut saved = Vec::new();
        let Some(adapters) = self.adapters.filter(|a| a.spec.invertible) else { return Ok((x, saved)) };
        let x = routed(x, &packed.routes, |_, adapter, rows| {
            let (y, kept) = self.coupling_at(adapters.coupling(adapter))?.forward(rows)?;
            saved.push(kept);
            Ok(y)
        })?;
        Ok((x, saved))
    }

    /// The gradient before [`Transformer::couple`], from the one after it.
    pub(crate) fn couple_backward(
        &self,
        packed: &Packed,
        saved: &SavedCouplings,
        dy: Tensor,
        gradients: &mut Gradients,
    ) -> Result<Tensor> {
        let Some(adapters) = self.adapters.filter(|a| a.spec.invertible) else { return Ok(dy) };
        routed(dy, &packed.routes, |place, adapter, dy| {
            let first = adapters.coupling(adapter);
            let back = self.coupling_at(first)?.backward(&saved[place], dy)?;
            add_all(gradients, first, &back.f)?;
            add_all(gradients, first + 4, &back.g)?;
            Ok(back.x)
        })
    }

    /// After a layer's second norm: the bottlenecks.
    pub(crate) fn adapt(
        &self,
        layer: usize,
        x: Tensor,
        packed: &Packed,
        saved: &mut SavedModules,
    ) -> Result<Tensor> {
        let Some(adapters) = self.adapters_of(AdapterKind::Bottleneck) else { return Ok(x) };
        routed(x, &packed.routes, |_, adapter, rows| {
            let (moved, kept) = bottleneck(rows, &self.bottleneck_at(adapters.module(adapter, layer))?)?;
            saved.bottlenecks.push(kept);
            Ok((rows + moved)?)
        })
    }

    /// The gradient before [`Transformer::adapt`], from the one after it; `x` as it went in.
    pub(crate) fn adapt_backward(
        &self,
        layer: usize,
        packed: &Packed,
        saved: &SavedModules,
        x: &Tensor,
        dy: Tensor,
        gradients: &mut Gradients,
    ) -> Result<Tensor> {
        let Some(adapters) = self.adapters_of(AdapterKind::Bottleneck) else { return Ok(dy) };
        routed(dy, &packed.routes, |place, adapter, dy| {
            let first = adapters.module(adapter, layer);
            let weights = self.bottleneck_at(first)?;
            let x = rows(x, &packed.routes[place].1)?;
            let back = bottleneck_backward(&x, &weights, &saved.bottlenecks[place], dy)?;
            add_all(gradients, first, &back.weights)?;
            Ok((dy + back.x)?)
        })
    }

    /// Attention's queries, keys and values, or its output, with the low-rank changes; `x` is what the map was given.
    pub(crate) fn shift(
        &self,
        layer: usize,
        map: Projection,
        x: &Tensor,
        y: Tensor,
        packed: &Packed,
        saved: &mut SavedModules,
    ) -> Result<Tensor> {
        let Some(adapters) = self.adapters_of(AdapterKind::Lora) else { return Ok(y) };
        let kept = map.kept(saved);
        routed(y, &packed.routes, |place, adapter, y| {
            let change = self.low_rank_at(adapters, adapters.module(adapter, layer) + map.offset())?;
            let (moved, inner) = change.forward(&rows(x, &packed.routes[place].1)?)?;
            kept.push(inner);
            Ok((y + moved)?)
        })
    }

    /// `dx`, the gradient of what a projection was given, with the low-rank changes' part; `dy` is that of its result.
    #[allow(clippy::too_many_arguments, reason = "what a backward pass needs")]
    pub(crate) fn shift_backward(
        &self,
        layer: usize,
        map: Projection,
        packed: &Packed,
        saved: &mut SavedModules,
        (x, dy): (&Tensor, &Tensor),
        dx: Tensor,
        gradients: &mut Gradients,
    ) -> Result<Tensor> {
        let Some(adapters) = self.adapters_of(AdapterKind::Lora) else { return Ok(dx) };
        let kept = map.kept(saved);
        routed(dx, &packed.routes, |place, adapter, dx| {
            let range = &packed.routes[place].1;
            let first = adapters.module(adapter, layer) + map.offset();
            let change = self.low_rank_at(adapters, first)?;
            let back = change.backward(&rows(x, range)?, &kept[place], &rows(dy, range)?)?;
            add_all(gradients, first, &[back.a, back.b])?;
            Ok((dx + back.x)?)
        })
    }
}

/// One of attention's two maps that `LoRA` changes.
#[derive(Clone, Copy, Debug)]
pub enum Projection {
    /// Query, key and value.
    Input,
    Output,
}

impl Projection {
    const fn offset(self) -> usize {
        match self {
            Self::Input => 0,
            Self::Output => 2,
        }
    }

    const fn kept(self, saved: &mut SavedModules) -> &mut Vec<Tensor> {
        match self {
            Self::Input => &mut saved.inputs,
            Self::Output => &mut saved.outputs,
        }
    }
}
