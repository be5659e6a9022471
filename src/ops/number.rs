//! The numbers that host forms work on: f32, or bf16 that is computed with in f32 and rounded once, when it is stored.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Storage, Tensor, WithDType, bail};
use half::bf16;

/// A number of a tensor in main memory.
pub(crate) trait Number: WithDType + Default {
    fn wide(self) -> f32;

    /// The nearest number of this type; ties go to the even one, and what is not a number stays so.
    fn near(x: f32) -> Self;

    /// The storage's numbers, if they are of this type.
    fn numbers(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

impl Number for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }

    #[inline(always)]
    fn near(x: f32) -> Self {
        x
    }

    fn numbers(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::F32(data) => Some(data),
            _ => None,
        }
    }
}

impl Number for bf16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn near(x: f32) -> Self {
        let bits = x.to_bits();
        let near = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
        let kept = (bits >> 16) as u16 | 0x40;
        Self::from_bits(if x.is_nan() { kept } else { near })
    }

    fn numbers(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::BF16(data) => Some(data),
            _ => None,
        }
    }
}

/// Calls `f` with the tensor's elements; the tensor must be of this type, in main memory, and contiguous.
pub(crate) fn read_as<E: Number, R>(tensor: &Tensor, f: impl FnOnce(&[E]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(host) = &*storage else { bail!("the tensor is not in main memory") };
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("the tensor is not contiguous") };
    Ok(f(&host.as_slice::<E>()?[start..end]))
}

/// The same of f32.
pub(crate) fn read<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    read_as(tensor, f)
}

/// Calls `f` with the tensor's elements to change; the tensor must be as for [`read_as`].
///
/// Every view of the same storage sees the change.
pub(crate) fn change_as<E: Number>(tensor: &Tensor, f: impl FnMut(&mut [E]) + Send) -> Result<()> {
    tensor.inplace_op1(&Change(std::sync::Mutex::new(f), std::marker::PhantomData))
}

/// The same of f32.
pub(crate) fn change(tensor: &Tensor, f: impl FnMut(&mut [f32]) + Send) -> Result<()> {
    change_as(tensor, f)
}

struct Change<F, E>(std::sync::Mutex<F>, std::marker::PhantomData<E>);

impl<E: Number, F: FnMut(&mut [E]) + Send> InplaceOp1 for Change<F, E> {
    fn name(&self) -> &'static str {
        "change"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("the tensor is not contiguous") };
        let Some(data) = E::numbers(storage) else { bail!("the tensor is not {:?}", E::DTYPE) };
        let mut f = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        f(&mut data[start..end]);
        Ok(())
    }
}
