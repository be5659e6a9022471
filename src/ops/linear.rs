//! Affine maps: `y = x W^T + b`, with `W` as `[out, in]`, the layout of checkpoints.

use candle_core::{CpuStorage, DType, Result, Storage, Tensor};
use half::bf16;
use rayon::prelude::*;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx;
use super::matrix::{self, Matrix};
use super::simd::{Kernel, axpy, wide};
use super::{Number, change_as, device, halved, is_half, read_as, rows_per_task, widened};

/// The product of two matrices; in bf16, sums are f32 and the result is rounded.
///
/// # Errors
/// Where shapes, types or devices do not fit.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if let Some(product) = on_host(a, b)? {
        return Ok(product);
    }
    if is_half(a) && is_half(b) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if let Some(product) = on_tiles(a, b)? {
            return Ok(product);
        }
        return halved(&widened(a)?.matmul(&widened(b)?)?);
    }
    a.matmul(b)
}

/// The product of f32 matrices that lie in rows or columns in main memory.
fn on_host(a: &Tensor, b: &Tensor) -> Result<Option<Tensor>> {
    let ((left, at_left), (right, at_right)) = (a.storage_and_layout(), b.storage_and_layout());
    let (Storage::Cpu(CpuStorage::F32(left)), Storage::Cpu(CpuStorage::F32(right))) = (&*left, &*right)
    else {
        return Ok(None);
    };
    let (Some(left), Some(right)) = (Matrix::of(left, at_left), Matrix::of(right, at_right)) else {
        return Ok(None);
    };
    if left.columns != right.rows {
        return Ok(None);
    }
    Tensor::from_vec(matrix::product(left, right), (left.rows, right.columns), a.device()).map(Some)
}

/// The product of bf16 matrices on the processor's tile units, where it has them and the matrices lie in rows or columns.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn on_tiles(a: &Tensor, b: &Tensor) -> Result<Option<Tensor>> {
    let ((left, at_left), (right, at_right)) = (a.storage_and_layout(), b.storage_and_layout());
    let (Storage::Cpu(CpuStorage::BF16(left)), Storage::Cpu(CpuStorage::BF16(right))) = (&*left, &*right)
    else {
        return Ok(None);
    };
    let (Some(left), Some(right)) = (Matrix::of(left, at_left), Matrix::of(right, at_right)) else {
        return Ok(None);
    };
    if !amx::is_here() || left.columns != right.rows {
        return Ok(None);
    }
    Ok(Some(Tensor::from_vec(amx::product(left, right), (left.rows, right.columns), a.device())?))
}

/// `x W^T + b`: `x` is `[T, in]`, `weight` `[out, in]`, `bias` `[out]`; the result is `[T, out]`.
///
/// # Errors
/// Where shapes, types or devices do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    add_bias(matmul(x, &weight.t()?)?, bias)
}

/// Adds `bias` (f32 `[out]`) to every row of `x` `[T, out]`, in place where it can.
///
/// # Errors
/// Where shapes, types or devices do not fit.
pub fn add_bias(x: Tensor, bias: &Tensor) -> Result<Tensor> {
    if device::fits(&x) {
        device::add_bias(&x, bias)?;
        return Ok(x);
    }
    match x.dtype() {
        DType::F32 if x.device().is_cpu() => host_bias::<f32>(&x, bias)?,
        DType::BF16 if x.device().is_cpu() => host_bias::<bf16>(&x, bias)?,
        dtype => return x.broadcast_add(&bias.to_dtype(dtype)?),
    }
    Ok(x)
}

fn host_bias<E: Number>(x: &Tensor, bias: &Tensor) -> Result<()> {
    let width = bias.dims1()?;
    let bias = bias.to_vec1::<f32>()?;
    let task = rows_per_task(x.dim(0)?) * width;
    change_as(x, |x: &mut [E]| {
        x.par_chunks_mut(task).for_each(|rows| wide::<AddToRows, _>((rows, bias.as_slice())));
    })
}

struct AddToRows;

impl<E: Number> Kernel<(&mut [E], &[f32])> for AddToRows {
    type Out = ();

    #[inline(always)]
    fn run((rows, bias): (&mut [E], &[f32])) {
        for row in rows.chunks_exact_mut(bias.len()) {
            for (x, b) in row.iter_mut().zip(bias) {
                *x = E::near(x.wide() + b);
            }
        }
    }
}

struct SumRows;

impl<E: Number> Kernel<(&[E], usize)> for SumRows {
    type Out = Vec<f32>;

    #[inline(always)]
    fn run((rows, width): (&[E], usize)) -> Vec<f32> {
        let mut sum = vec![0f32; width];
        for row in rows.chunks_exact(width) {
            for (sum, x) in sum.iter_mut().zip(row) {
                *sum += x.wide();
            }
        }
        sum
    }
}

/// From the gradient `dy` `[T, out]`: (dx `[T, in]`, dW `[out, in]`, db f32 `[out]`).
///
/// # Errors
/// Where shapes, types or devices do not fit.
pub fn linear_backward(x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
    Ok((matmul(dy, weight)?, matmul(&dy.t()?, x)?, column_sum(dy)?))
}

/// Sum over rows: `[T, width]` to `[width]`.
pub(super) fn column_sum(x: &Tensor) -> Result<Tensor> {
    if device::fits(x) {
        return device::column_sum(x);
    }
    match x.dtype() {
        DType::F32 if x.device().is_cpu() => host_sum::<f32>(x),
        DType::BF16 if x.device().is_cpu() => host_sum::<bf16>(x),
        _ => x.sum(0),
    }
}

/// Rows that a task adds up: a fixed split keeps the order of additions, and so the result, the same for any number of threads.
pub(super) const SUMMED: usize = 128;

fn host_sum<E: Number>(x: &Tensor) -> Result<Tensor> {
    let width = x.dim(1)?;
    let parts: Vec<Vec<f32>> = read_as(x, |x: &[E]| {
        x.par_chunks(SUMMED * width).map(|rows| wide::<SumRows, _>((rows, width))).collect()
    })?;
    Tensor::from_vec(total(parts, width), width, x.device())
}

/// The sum of the tasks' sums, in their order.
pub(super) fn total(parts: impl IntoIterator<Item = Vec<f32>>, width: usize) -> Vec<f32> {
    parts.into_iter().fold(vec![0f32; width], |mut total, part| {
        axpy(1.0, &part, &mut total);
        total
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{distance, finite_differences, random};
    use super::*;

    #[test]
    fn gradients_fit_finite_differences() {
        let (x, w, b) = (random("x", &[300, 6]), random("w", &[5, 6]), random("b", &[5]));
        let dy = random("dy", &[300, 5]);
        let (dx, dw, db) = linear_backward(&x, &w, &dy).expect("backward");
        finite_differences(&x, &dx, &dy, |x| linear(x, &w, &b));
        finite_differences(&w, &dw, &dy, |w| linear(&x, w, &b));
        finite_differences(&b, &db, &dy, |b| linear(&x, &w, b));
        assert!(distance(&db, &dy.sum(0).expect("sum")) < 1e-4);
    }
}
