//! From token vectors to the text's vector: pooling, dense layers where the model has them, unit length.

use anyhow::Result;
use candle_core::{DType, Tensor};

use super::layout::{Gradients, Parameters};
use super::sentence::Head;
use crate::ops::{Segments, linear, linear_backward, normalise, normalise_backward, pool, pool_backward};

/// What the backward pass needs.
pub struct SavedHead {
    /// Input and output of each dense layer.
    dense: Vec<(Tensor, Tensor)>,
    unit: Tensor,
    length: Tensor,
    dtype: DType,
}

impl Head {
    /// Token vectors `[T, H]` to unit vectors `[N, width]`, f32. Dense parameters start at index `first`.
    pub fn forward(
        &self,
        parameters: &Parameters,
        first: usize,
        x: &Tensor,
        segments: &Segments,
    ) -> Result<(Tensor, SavedHead)> {
        let mut y = pool(self.pool, x, segments)?;
        let mut saved = Vec::new();
        for (index, dense) in self.dense.iter().enumerate() {
            let at = first + 2 * index;
            let out = linear(&y, &parameters.tensors[at], &parameters.tensors[at + 1])?;
            let out = if dense.tanh { out.tanh()? } else { out };
            saved.push((y, out.clone()));
            y = out;
        }
        let (unit, length) = normalise(&y)?;
        Ok((unit.clone(), SavedHead { dense: saved, unit, length, dtype: x.dtype() }))
    }

    /// The gradient of the token vectors, from that of the text vectors.
    pub fn backward(
        &self,
        parameters: &Parameters,
        first: usize,
        saved: SavedHead,
        segments: &Segments,
        dy: &Tensor,
        gradients: &mut Gradients,
    ) -> Result<Tensor> {
        let mut dy = normalise_backward(&saved.unit, &saved.length, dy)?;
        for (index, (dense, (input, output))) in self.dense.iter().zip(saved.dense).enumerate().rev() {
            if dense.tanh {
                dy = (dy * output.sqr()?.affine(-1.0, 1.0)?)?;
            }
            let at = first + 2 * index;
            let (dx, dw, db) = linear_backward(&input, &parameters.tensors[at], &dy)?;
            gradients.add(at, &dw)?;
            if dense.bias {
                gradients.add(at + 1, &db)?;
            }
            dy = dx;
        }
        Ok(pool_backward(self.pool, &dy, segments, saved.dtype)?)
    }
}
