//! Dropout without state: whether an element is kept is a hash of (key, text, position, feature).
//!
//! The same element of the same text is dropped in the forward and the backward pass, in whatever chunk of the
//! batch it is computed, and again after a resume; nothing is saved.

use candle_core::{DType, Device, Result, Tensor};
use half::bf16;
use rayon::prelude::*;

use super::segments::Segments;
use super::simd::{Kernel, wide};
use super::{Number, change_as, device, is_half, is_host, rows_per_task};
use crate::stream::mix;

/// One place in the network where elements are dropped, at one training step.
#[derive(Clone, Copy, Debug)]
pub struct Dropout<'a> {
    /// Probability of being dropped, in `[0, 1)`.
    pub rate: f64,
    /// Key of (seed, step, layer, place).
    pub key: u64,
    /// The batch, with one key a token.
    pub tokens: &'a Segments,
}

impl Dropout<'_> {
    /// Key of one token at this place.
    #[inline(always)]
    pub(super) fn row(&self, token: usize) -> u32 {
        (mix(self.key ^ self.tokens.keys[token]) >> 32) as u32
    }

    /// Hashes below this are dropped.
    pub(super) fn threshold(&self) -> u32 {
        (self.rate * f64::from(u32::MAX)) as u32
    }

    pub(super) fn scale(&self) -> f32 {
        (1.0 / (1.0 - self.rate)) as f32
    }

    /// Drops elements of one token's row, whose features count from `first` on.
    #[inline(always)]
    pub(super) fn drop_row<E: Number>(&self, token: usize, first: u32, row: &mut [E]) {
        let (key, threshold, scale) = (self.row(token), self.threshold(), self.scale());
        for (feature, x) in row.iter_mut().enumerate() {
            let factor = if hash(key, first ^ feature as u32) < threshold { 0.0 } else { scale };
            *x = E::near(x.wide() * factor);
        }
    }
}

/// A 32-bit hash of an element (the `lowbias32` finaliser), cheap enough for the inner loop.
#[inline(always)]
pub(super) fn hash(row: u32, feature: u32) -> u32 {
    let mut x = row ^ feature.wrapping_mul(0x9e37_79b9);
    x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// Drops elements of `x` `[T, width]` and scales the rest by `1 / (1 - rate)`, in place where it can. The backward
/// pass is the same call on the gradient.
///
/// # Errors
/// Where shapes do not fit.
pub fn dropout(x: Tensor, at: Option<Dropout<'_>>) -> Result<Tensor> {
    let Some(at) = at.filter(|d| d.rate > 0.0) else { return Ok(x) };
    if device::fits(&x) {
        return device::dropout(&x, at);
    }
    if is_host(&x) {
        host::<f32>(&x, at)?;
    } else if is_half(&x) {
        host::<bf16>(&x, at)?;
    } else {
        let mask = Tensor::ones(x.shape(), DType::F32, &Device::Cpu)?;
        host::<f32>(&mask, at)?;
        return x.mul(&mask.to_device(x.device())?.to_dtype(x.dtype())?);
    }
    Ok(x)
}

fn host<E: Number>(x: &Tensor, at: Dropout<'_>) -> Result<()> {
    let (rows, width) = x.dims2()?;
    let task = rows_per_task(rows);
    change_as(x, |x: &mut [E]| {
        x.par_chunks_mut(task * width).enumerate().for_each(|(index, x)| {
            wide::<DropRows, _>((x, at, index * task, width));
        });
    })
}

struct DropRows;

impl<E: Number> Kernel<(&mut [E], Dropout<'_>, usize, usize)> for DropRows {
    type Out = ();

    #[inline(always)]
    fn run((x, at, first, width): (&mut [E], Dropout<'_>, usize, usize)) {
        for (offset, x) in x.chunks_exact_mut(width).enumerate() {
            at.drop_row(first + offset, 0, x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{distance, flat};
    use super::*;

    #[test]
    fn keeps_the_mean_and_depends_on_the_token_only() {
        let tokens = Segments::new(vec![0, 200], (0..200).collect());
        let tail = Segments::new(vec![0, 100], (100..200).collect());
        let at = |tokens| Some(Dropout { rate: 0.1, key: 5, tokens });
        let ones = || Tensor::ones((200, 100), DType::F32, &Device::Cpu).expect("ones");
        let dropped = dropout(ones(), at(&tokens)).expect("dropout");
        let values = flat(&dropped);
        let zeros = values.iter().filter(|v| **v == 0.0).count() as f64 / values.len() as f64;
        assert!((zeros - 0.1).abs() < 0.01, "{zeros}");
        // The last hundred tokens alone are dropped as they were in the whole.
        let tail = dropout(ones().narrow(0, 0, 100).expect("half").copy().expect("copy"), at(&tail));
        assert!(distance(&tail.expect("tail"), &dropped.narrow(0, 100, 100).expect("half")) == 0.0);
        let portable = dropout(ones().to_dtype(DType::F64).expect("f64"), at(&tokens)).expect("portable");
        assert!(distance(&portable.to_dtype(DType::F32).expect("f32"), &dropped) < 1e-6);
    }
}
