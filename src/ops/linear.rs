//! Affine maps: `y = x W^T + b`, with `W` as `[out, in]`, the layout of checkpoints.

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx;
use super::simd::{Kernel, axpy, wide};
use super::{change, device, halved, is_half, is_host, read, rows_per_task, widened};

/// The product of two matrices; in bf16, sums are f32 and the result is rounded.
///
/// # Errors
/// Where shapes, types or devices do not fit.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if is_half(a) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if let Some(product) = on_tiles(a, b)? {
            return Ok(product);
        }
        return halved(&widened(a)?.matmul(&widened(b)?)?);
    }
    a.matmul(b)
}

/// The product of bf16 matrices on the processor's tile units, where it has them and the matrices lie in rows or columns.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn on_tiles(a: &Tensor, b: &Tensor) -> Result<Option<Tensor>> {
    use candle_core::{CpuStorage, Storage};
    let ((left, at_left), (right, at_right)) = (a.storage_and_layout(), b.storage_and_layout());
    let (Storage::Cpu(CpuStorage::BF16(left)), Storage::Cpu(CpuStorage::BF16(right))) = (&*left, &*right)
    else {
        return Ok(None);
    };
    let (Some(left), Some(right)) = (amx::Matrix::of(left, at_left), amx::Matrix::of(right, at_right)) else {
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
    if is_half(&x) {
        return halved(&add_bias(widened(&x)?, bias)?);
    }
    if !is_host(&x) {
        return x.broadcast_add(&bias.to_dtype(x.dtype())?);
    }
    let width = bias.dims1()?;
    let bias = bias.to_vec1::<f32>()?;
    let task = rows_per_task(x.dim(0)?) * width;
    change(&x, |x| {
        x.par_chunks_mut(task).for_each(|rows| wide::<AddToRows, _>((rows, bias.as_slice())));
    })?;
    Ok(x)
}

struct AddToRows;

impl Kernel<(&mut [f32], &[f32])> for AddToRows {
    type Out = ();

    #[inline(always)]
    fn run((rows, bias): (&mut [f32], &[f32])) {
        for row in rows.chunks_exact_mut(bias.len()) {
            axpy(1.0, bias, row);
        }
    }
}

struct SumRows;

impl Kernel<(&[f32], Option<&[f32]>, usize)> for SumRows {
    type Out = Vec<f32>;

    #[inline(always)]
    fn run((rows, factor, width): (&[f32], Option<&[f32]>, usize)) -> Vec<f32> {
        let mut sum = vec![0f32; width];
        match factor {
            None => rows.chunks_exact(width).for_each(|row| axpy(1.0, row, &mut sum)),
            Some(factor) => {
                for (row, factor) in rows.chunks_exact(width).zip(factor.chunks_exact(width)) {
                    for ((sum, x), y) in sum.iter_mut().zip(row).zip(factor) {
                        *sum += x * y;
                    }
                }
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
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if is_half(dy) && amx::is_here() {
        return Ok((matmul(dy, weight)?, matmul(&dy.t()?, x)?, column_sum(dy)?));
    }
    if is_half(dy) {
        let (dx, dw, db) = linear_backward(&widened(x)?, &widened(weight)?, &widened(dy)?)?;
        return Ok((halved(&dx)?, halved(&dw)?, db));
    }
    let dx = dy.matmul(weight)?;
    let dw = dy.t()?.matmul(x)?;
    Ok((dx, dw, column_sum(dy)?))
}

/// Sum over rows: `[T, width]` to `[width]`.
pub(super) fn column_sum(x: &Tensor) -> Result<Tensor> {
    if device::fits(x) {
        return device::column_sum(x);
    }
    if is_half(x) {
        return column_sum(&widened(x)?);
    }
    if !is_host(x) {
        return x.sum(0);
    }
    read(x, |data| host_sum(data, None, x.dim(1)?, x.device()))?
}

/// Sum over rows of `x * factor`, element by element: `[T, width]` to `[width]`.
pub(super) fn column_sum_of_product(x: &Tensor, factor: &Tensor) -> Result<Tensor> {
    if is_host(x) && is_host(factor) && x.dims() == factor.dims() {
        return read(x, |data| read(factor, |by| host_sum(data, Some(by), x.dim(1)?, x.device())))??;
    }
    column_sum(&(x * factor)?)
}

fn host_sum(x: &[f32], factor: Option<&[f32]>, width: usize, device: &Device) -> Result<Tensor> {
    // A fixed split keeps the order of additions, and so the result, the same for any number of threads.
    let task = 256 * width;
    let part = |(index, rows): (usize, &[f32])| {
        let factor = factor.map(|f| &f[index * task..index * task + rows.len()]);
        wide::<SumRows, _>((rows, factor, width))
    };
    let parts: Vec<Vec<f32>> = x.par_chunks(task).enumerate().map(part).collect();
    let total = parts.into_iter().fold(vec![0f32; width], |mut total, part| {
        axpy(1.0, &part, &mut total);
        total
    });
    Tensor::from_vec(total, width, device)
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
