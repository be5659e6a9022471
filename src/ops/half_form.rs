//! bf16 in main memory: widened to f32 for the host forms, and rounded again.

use candle_core::{CpuStorage, DType, Result, Storage, Tensor};
use half::bf16;
use rayon::prelude::*;

use super::simd::{Kernel, wide};

const TASK: usize = 32 * 1024;

/// True for bf16 in main memory: to be widened to f32 for the host form.
pub(crate) fn is_half(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::BF16
}

pub(super) struct Widen;

impl Kernel<(&mut [f32], &[bf16])> for Widen {
    type Out = ();

    #[inline(always)]
    fn run((to, from): (&mut [f32], &[bf16])) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = f32::from_bits(u32::from(from.to_bits()) << 16);
        }
    }
}

pub(super) struct Halve;

impl Kernel<(&mut [bf16], &[f32])> for Halve {
    type Out = ();

    /// To the nearest, ties to even; what is not a number stays so.
    #[inline(always)]
    fn run((to, from): (&mut [bf16], &[f32])) {
        for (to, from) in to.iter_mut().zip(from) {
            let bits = from.to_bits();
            let near = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
            let kept = (bits >> 16) as u16 | 0x40;
            *to = bf16::from_bits(if from.is_nan() { kept } else { near });
        }
    }
}

/// The tensor in f32.
pub(crate) fn widened(tensor: &Tensor) -> Result<Tensor> {
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(CpuStorage::BF16(data)), Some((start, end))) = (&*storage, layout.contiguous_offsets())
    else {
        return tensor.to_dtype(DType::F32);
    };
    let data = &data[start..end];
    let mut wider = vec![0f32; data.len()];
    wider.par_chunks_mut(TASK).zip(data.par_chunks(TASK)).for_each(wide::<Widen, _>);
    Tensor::from_vec(wider, tensor.shape(), tensor.device())
}

/// The tensor rounded to bf16.
pub(crate) fn halved(tensor: &Tensor) -> Result<Tensor> {
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(CpuStorage::F32(data)), Some((start, end))) = (&*storage, layout.contiguous_offsets())
    else {
        return tensor.to_dtype(DType::BF16);
    };
    let data = &data[start..end];
    let mut rounded = vec![bf16::ZERO; data.len()];
    rounded.par_chunks_mut(TASK).zip(data.par_chunks(TASK)).for_each(wide::<Halve, _>);
    Tensor::from_vec(rounded, tensor.shape(), tensor.device())
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
