//! Layer normalisation over the last dimension (Ba, Kiros and Hinton 2016), with what comes before it in a
//! transformer: bias, dropout, residual.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::dropout::{Dropout, dropout};
use super::linear::{add_bias, column_sum, column_sum_of_product};
use super::simd::{Kernel, sum_by, wide};
use super::{device, halved, is_half, is_host, read, rows_per_task, widened};

/// The result of [`add_norm`] and what its backward pass needs.
#[derive(Clone, Debug)]
pub struct Normed {
    /// `[T, H]`.
    pub output: Tensor,
    /// The normalised input before scale and shift, `[T, H]`.
    pub(super) standard: Tensor,
    /// One over the standard deviation, `[T, 1]`.
    pub(super) inverse_deviation: Tensor,
}

/// What [`add_norm_backward`] gives.
#[derive(Clone, Debug)]
pub struct NormGradients {
    /// With respect to the sum that was normalised, and so to the residual: `[T, H]`.
    pub sum: Tensor,
    /// With respect to `x` before dropout, and so to `x` without its bias: `[T, H]`.
    pub x: Tensor,
    /// f32 `[H]`.
    pub scale: Tensor,
    /// f32 `[H]`.
    pub shift: Tensor,
}

/// `LayerNorm(dropout(x + bias) + residual) * scale + shift`, rows of `[T, H]`; bias, scale and shift are f32 `[H]`.
///
/// # Errors
/// Where shapes, types or devices do not fit.
pub fn add_norm(
    x: Tensor,
    bias: Option<&Tensor>,
    dropped: Option<Dropout<'_>>,
    residual: Option<&Tensor>,
    (scale, shift): (&Tensor, &Tensor),
    epsilon: f64,
) -> Result<Normed> {
    if device::fits(&x) {
        return device::add_norm(&x, bias, dropped, residual, (scale, shift), epsilon);
    }
    if is_half(&x) {
        let residual = residual.map(widened).transpose()?;
        let normed = add_norm(widened(&x)?, bias, dropped, residual.as_ref(), (scale, shift), epsilon)?;
        let (output, standard) = (halved(&normed.output)?, halved(&normed.standard)?);
        return Ok(Normed { output, standard, inverse_deviation: normed.inverse_deviation });
    }
    let x = match bias {
        Some(bias) => add_bias(x, bias)?,
        None => x,
    };
    layer_norm(&dropout(x, dropped)?, residual, scale, shift, epsilon)
}

/// `LayerNorm(x + residual) * scale + shift`, rows of `[T, H]`.
fn layer_norm(
    x: &Tensor,
    residual: Option<&Tensor>,
    scale: &Tensor,
    shift: &Tensor,
    epsilon: f64,
) -> Result<Normed> {
    if !is_host(x) {
        let x = match residual {
            Some(residual) => (x + residual)?,
            None => x.clone(),
        };
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        let inverse_deviation = (variance + epsilon)?.sqrt()?.recip()?;
        let standard = centred.broadcast_mul(&inverse_deviation)?;
        let (scale, shift) = (scale.to_dtype(x.dtype())?, shift.to_dtype(x.dtype())?);
        let output = standard.broadcast_mul(&scale)?.broadcast_add(&shift)?;
        return Ok(Normed { output, standard, inverse_deviation });
    }
    let (rows, width) = x.dims2()?;
    let (scale, shift) = (scale.to_vec1::<f32>()?, shift.to_vec1::<f32>()?);
    let mut output = vec![0f32; rows * width];
    let mut standard = vec![0f32; rows * width];
    let mut inverse = vec![0f32; rows];
    let task = rows_per_task(rows);
    let mut run = |x: &[f32], residual: Option<&[f32]>| {
        output
            .par_chunks_mut(task * width)
            .zip(standard.par_chunks_mut(task * width))
            .zip(inverse.par_chunks_mut(task))
            .enumerate()
            .for_each(|(index, ((output, standard), inverse))| {
                let start = index * task * width;
                let x = &x[start..start + output.len()];
                let residual = residual.map(|r| &r[start..start + output.len()]);
                let norm = (scale.as_slice(), shift.as_slice(), epsilon as f32);
                wide::<RowsForward, _>((x, residual, norm, output, standard, inverse));
            });
    };
    match residual {
        Some(residual) => read(x, |x| read(residual, |r| run(x, Some(r))))??,
        None => read(x, |x| run(x, None))?,
    }
    let device = x.device();
    Ok(Normed {
        output: Tensor::from_vec(output, (rows, width), device)?,
        standard: Tensor::from_vec(standard, (rows, width), device)?,
        inverse_deviation: Tensor::from_vec(inverse, (rows, 1), device)?,
    })
}

/// Input, residual, (scale, shift, epsilon); then output, standard, inverse deviation.
type ForwardRows<'a> =
    (&'a [f32], Option<&'a [f32]>, (&'a [f32], &'a [f32], f32), &'a mut [f32], &'a mut [f32], &'a mut [f32]);

struct RowsForward;

impl Kernel<ForwardRows<'_>> for RowsForward {
    type Out = ();

    #[inline(always)]
    fn run((x, residual, (scale, shift, epsilon), output, standard, inverse): ForwardRows<'_>) {
        let width = scale.len();
        for (row, inverse) in inverse.iter_mut().enumerate() {
            let at = row * width..(row + 1) * width;
            let (out, standard) = (&mut output[at.clone()], &mut standard[at.clone()]);
            standard.copy_from_slice(&x[at.clone()]);
            if let Some(residual) = residual {
                for (s, r) in standard.iter_mut().zip(&residual[at]) {
                    *s += r;
                }
            }
            let mean = sum_by(width, |i| standard[i]) / width as f32;
            for s in standard.iter_mut() {
                *s -= mean;
            }
            let variance = sum_by(width, |i| standard[i] * standard[i]) / width as f32;
            *inverse = 1.0 / (variance + epsilon).sqrt();
            for (((out, s), scale), shift) in out.iter_mut().zip(standard.iter_mut()).zip(scale).zip(shift) {
                *s *= *inverse;
                *out = *s * scale + shift;
            }
        }
    }
}

/// The gradient's rows to fill; then `dy`, standard, scale, inverse deviation, and the number of the first row.
type BackwardRows<'a> = (&'a mut [f32], &'a [f32], &'a [f32], &'a [f32], &'a [f32], usize);

struct RowsBackward;

impl Kernel<BackwardRows<'_>> for RowsBackward {
    type Out = ();

    #[inline(always)]
    fn run((dx, dy, standard, scale, inverse, first): BackwardRows<'_>) {
        let width = scale.len();
        for (offset, dx) in dx.chunks_exact_mut(width).enumerate() {
            let row = first + offset;
            let (dy, s) = (&dy[row * width..][..width], &standard[row * width..][..width]);
            let mean = sum_by(width, |i| dy[i] * scale[i]) / width as f32;
            let along = sum_by(width, |i| dy[i] * scale[i] * s[i]) / width as f32;
            for i in 0..width {
                dx[i] = inverse[row] * (dy[i] * scale[i] - mean - s[i] * along);
            }
        }
    }
}

/// The gradients of [`add_norm`], from `dy` `[T, H]`; `dropped` as there.
///
/// # Errors
/// Where shapes, types or devices do not fit.
pub fn add_norm_backward(
    normed: &Normed,
    scale: &Tensor,
    dropped: Option<Dropout<'_>>,
    dy: &Tensor,
) -> Result<NormGradients> {
    if device::fits(dy) {
        return device::add_norm_backward(normed, scale, dropped, dy);
    }
    if is_half(dy) {
        let normed = Normed { standard: widened(&normed.standard)?, ..normed.clone() };
        let wide = add_norm_backward(&normed, scale, dropped, &widened(dy)?)?;
        return Ok(NormGradients { sum: halved(&wide.sum)?, x: halved(&wide.x)?, ..wide });
    }
    let (sum, dscale, shift) = layer_norm_backward(normed, scale, dy)?;
    let x = match dropped.filter(|d| d.rate > 0.0) {
        Some(at) => dropout(sum.copy()?, Some(at))?,
        None => sum.clone(),
    };
    Ok(NormGradients { sum, x, scale: dscale, shift })
}

/// (dx, which is the residual's gradient too, `[T, H]`; dscale `[H]`; dshift `[H]`).
fn layer_norm_backward(normed: &Normed, scale: &Tensor, dy: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
    let dscale = column_sum_of_product(dy, &normed.standard)?;
    let dshift = column_sum(dy)?;
    if !is_host(dy) {
        let g = dy.broadcast_mul(&scale.to_dtype(dy.dtype())?)?;
        let mean = g.mean_keepdim(D::Minus1)?;
        let along = (&g * &normed.standard)?.mean_keepdim(D::Minus1)?;
        let dx = (g.broadcast_sub(&mean)? - normed.standard.broadcast_mul(&along)?)?;
        return Ok((dx.broadcast_mul(&normed.inverse_deviation)?, dscale, dshift));
    }
    let (rows, width) = dy.dims2()?;
    let scale = scale.to_vec1::<f32>()?;
    let inverse = normed.inverse_deviation.flatten_all()?.to_vec1::<f32>()?;
    let mut dx = vec![0f32; rows * width];
    let task = rows_per_task(rows);
    read(dy, |dy| {
        read(&normed.standard, |standard| {
            dx.par_chunks_mut(task * width).enumerate().for_each(|(index, dx)| {
                let first = index * task;
                wide::<RowsBackward, _>((dx, dy, standard, scale.as_slice(), inverse.as_slice(), first));
            });
        })
    })??;
    Ok((Tensor::from_vec(dx, (rows, width), dy.device())?, dscale, dshift))
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::testing::{distance, finite_differences, random};
    use super::*;

    #[test]
    fn host_equals_portable_and_gradients_fit() {
        let (x, r) = (random("x", &[21, 37]), random("r", &[21, 37]));
        let (scale, shift, dy) = (random("s", &[37]), random("b", &[37]), random("dy", &[21, 37]));
        let normed = layer_norm(&x, Some(&r), &scale, &shift, 1e-5).expect("host");
        let wide = |t: &Tensor| t.to_dtype(DType::F64).expect("f64");
        let portable = layer_norm(&wide(&x), Some(&wide(&r)), &scale, &shift, 1e-5).expect("portable");
        let narrow = |t: &Tensor| t.to_dtype(DType::F32).expect("f32");
        assert!(distance(&normed.output, &narrow(&portable.output)) < 1e-5);
        let (dx, dscale, dshift) = layer_norm_backward(&normed, &scale, &dy).expect("backward");
        let other = layer_norm_backward(&portable, &scale, &wide(&dy)).expect("portable backward");
        assert!(distance(&dx, &narrow(&other.0)) < 1e-5);
        assert!(distance(&dscale, &narrow(&other.1)) < 1e-4);
        finite_differences(&x, &dx, &dy, |x| Ok(layer_norm(x, Some(&r), &scale, &shift, 1e-5)?.output));
        finite_differences(&scale, &dscale, &dy, |s| Ok(layer_norm(&x, Some(&r), s, &shift, 1e-5)?.output));
        finite_differences(&shift, &dshift, &dy, |b| Ok(layer_norm(&x, Some(&r), &scale, b, 1e-5)?.output));
    }
}
