//! Between f32 and bf16 in main memory.

use candle_core::{DType, Result, Tensor};
use half::bf16;
use rayon::prelude::*;

use super::fresh::Fresh;
use super::is_host;
use super::number::{Number, read_as};
use super::simd::{Kernel, wide};

const TASK: usize = 32 * 1024;

/// True for bf16 in main memory.
pub(crate) fn is_half(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::BF16
}

/// Stores numbers in another type.
pub(super) struct Convert;

impl<A: Number, B: Number> Kernel<(&mut [A], &[B])> for Convert {
    type Out = ();

    #[inline(always)]
    fn run((to, from): (&mut [A], &[B])) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = A::near(from.wide());
        }
    }
}

fn converted<A: Number, B: Number>(tensor: &Tensor) -> Result<Tensor> {
    let converted = read_as(tensor, |data: &[B]| {
        let mut to = Fresh::<A>::new(data.len());
        to.chunks(TASK)
            .zip(data.par_chunks(TASK))
            .for_each(|(to, from)| wide::<Convert, _>((to.zeros(), from)));
        to.done()
    })?;
    Tensor::from_vec(converted, tensor.shape(), tensor.device())
}

/// The tensor in f32.
pub(crate) fn widened(tensor: &Tensor) -> Result<Tensor> {
    if is_half(tensor) && tensor.is_contiguous() {
        return converted::<f32, bf16>(tensor);
    }
    tensor.to_dtype(DType::F32)
}

/// The tensor rounded to bf16.
pub(crate) fn halved(tensor: &Tensor) -> Result<Tensor> {
    if is_host(tensor) && tensor.is_contiguous() {
        return converted::<bf16, f32>(tensor);
    }
    tensor.to_dtype(DType::BF16)
}

/// The tensor in this type; between f32 and bf16 in main memory on all cores.
///
/// # Errors
/// Where the device fails.
pub fn cast(tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    match (tensor.dtype(), dtype) {
        (DType::BF16, DType::F32) => widened(tensor),
        (DType::F32, DType::BF16) => halved(tensor),
        _ => tensor.to_dtype(dtype),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_equal_candles_own() {
        let mut values: Vec<f32> =
            (0..70_000u32).map(|n| f32::from_bits(n.wrapping_mul(2_654_435_761))).collect();
        values.extend([
            f32::NAN,
            f32::INFINITY,
            -f32::INFINITY,
            0.0,
            -0.0,
            f32::MAX,
            257.0 / 256.0,
            259.0 / 256.0,
        ]);
        values.retain(|x| !x.is_nan());
        let count = values.len();
        let exact = Tensor::from_vec(values, count, &candle_core::Device::Cpu).expect("tensor");
        let bits = |t: &Tensor| -> Vec<u16> {
            t.to_vec1::<bf16>().expect("bf16").into_iter().map(bf16::to_bits).collect()
        };
        let rounded = halved(&exact).expect("rounded");
        assert_eq!(bits(&rounded), bits(&exact.to_dtype(DType::BF16).expect("bf16")));
        let (own, other) = (widened(&rounded).expect("f32"), rounded.to_dtype(DType::F32).expect("f32"));
        assert_eq!(own.to_vec1::<f32>().expect("f32"), other.to_vec1::<f32>().expect("f32"));
        let nan = Tensor::full(f32::NAN, 3, &candle_core::Device::Cpu).expect("NaN");
        assert!(halved(&nan).expect("rounded").to_vec1::<bf16>().expect("bf16").iter().all(|x| x.is_nan()));
        // A view that is not contiguous.
        let view = Tensor::arange(0f32, 12.0, &candle_core::Device::Cpu)
            .expect("tensor")
            .reshape((3, 4))
            .expect("shape")
            .t()
            .expect("view");
        assert_eq!(halved(&view).expect("rounded").dims(), [4, 3]);
    }
}
