//! Layer normalisation over the last dimension (Ba, Kiros and Hinton 2016), with what comes before it in a
//! transformer: bias, dropout, residual.

use candle_core::{D, Result, Tensor, bail};
use half::bf16;
use rayon::prelude::*;

use super::dropout::{Dropout, dropout};
use super::fresh::Fresh;
use super::linear::{SUMMED, add_bias, column_sum, total};
use super::simd::{Kernel, axpy, sum_by, wide};
use super::{Number, device, is_half, is_host, read_as, rows_per_task};

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
    let norm = (scale, shift, epsilon);
    if is_host(&x) {
        return host::<f32>(&x, bias, dropped, residual, norm);
    }
    if is_half(&x) {
        return host::<bf16>(&x, bias, dropped, residual, norm);
    }
    let x = match bias {
        Some(bias) => add_bias(x, bias)?,
        None => x,
    };
    portable(&dropout(x, dropped)?, residual, norm)
}

type Norm<'a> = (&'a Tensor, &'a Tensor, f64);

/// `LayerNorm(x + residual) * scale + shift`, rows of `[T, H]`, through candle's operations.
fn portable(x: &Tensor, residual: Option<&Tensor>, (scale, shift, epsilon): Norm<'_>) -> Result<Normed> {
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
    Ok(Normed { output, standard, inverse_deviation })
}

fn host<E: Number>(
    x: &Tensor,
    bias: Option<&Tensor>,
    dropped: Option<Dropout<'_>>,
    residual: Option<&Tensor>,
    (scale, shift, epsilon): Norm<'_>,
) -> Result<Normed> {
    let (rows, width) = x.dims2()?;
    let [scale, shift] = [scale, shift].map(Tensor::to_vec1::<f32>);
    let (scale, shift) = (scale?, shift?);
    let bias = bias.map(Tensor::to_vec1::<f32>).transpose()?;
    let vectors = [&scale, &shift].into_iter().chain(&bias);
    if vectors.into_iter().any(|v| v.len() != width) || residual.is_some_and(|r| r.dims() != x.dims()) {
        bail!("rows of {width} numbers need scale, shift and bias as long, and a residual of the same shape");
    }
    let norm = Vectors { bias: bias.as_deref(), scale: &scale, shift: &shift, epsilon: epsilon as f32 };
    let dropped = dropped.filter(|d| d.rate > 0.0);
    let (mut output, mut standard) = (Fresh::<E>::new(rows * width), Fresh::<E>::new(rows * width));
    let mut inverse = vec![0f32; rows];
    let task = rows_per_task(rows);
    let mut run = |x: &[E], residual: Option<&[E]>| {
        let outputs = output.chunks(task * width).zip(standard.chunks(task * width));
        outputs.zip(inverse.par_chunks_mut(task)).enumerate().for_each(
            |(index, ((output, standard), inverse))| {
                let first = index * task;
                let at = first * width..(first + inverse.len()) * width;
                let residual = residual.map(|r| &r[at.clone()]);
                let dropped = dropped.map(|d| (d, first));
                let outputs = (output.zeros(), standard.zeros(), inverse);
                wide::<RowsForward, _>((&x[at], residual, dropped, norm, outputs));
            },
        );
    };
    match residual {
        Some(residual) => read_as(x, |x| read_as(residual, |r| run(x, Some(r))))??,
        None => read_as(x, |x| run(x, None))?,
    }
    let device = x.device();
    Ok(Normed {
        output: Tensor::from_vec(output.done(), (rows, width), device)?,
        standard: Tensor::from_vec(standard.done(), (rows, width), device)?,
        inverse_deviation: Tensor::from_vec(inverse, (rows, 1), device)?,
    })
}

/// The vectors that every row meets.
#[derive(Clone, Copy)]
struct Vectors<'a> {
    bias: Option<&'a [f32]>,
    scale: &'a [f32],
    shift: &'a [f32],
    epsilon: f32,
}

/// Input, residual, dropout and the first row's token; then output, standard, inverse deviation.
type ForwardRows<'a, E> = (
    &'a [E],
    Option<&'a [E]>,
    Option<(Dropout<'a>, usize)>,
    Vectors<'a>,
    (&'a mut [E], &'a mut [E], &'a mut [f32]),
);

struct RowsForward;

impl<E: Number> Kernel<ForwardRows<'_, E>> for RowsForward {
    type Out = ();

    #[inline(always)]
    fn run((x, residual, dropped, norm, (output, standard, inverse)): ForwardRows<'_, E>) {
        let Vectors { bias, scale, shift, epsilon } = norm;
        let width = scale.len();
        let mut sum = vec![0f32; width];
        for (row, inverse) in inverse.iter_mut().enumerate() {
            let at = row * width..(row + 1) * width;
            for (sum, x) in sum.iter_mut().zip(&x[at.clone()]) {
                *sum = x.wide();
            }
            if let Some(bias) = bias {
                axpy(1.0, bias, &mut sum);
            }
            if let Some((dropout, first)) = &dropped {
                dropout.drop_row(first + row, 0, &mut sum);
            }
            if let Some(residual) = residual {
                for (sum, r) in sum.iter_mut().zip(&residual[at.clone()]) {
                    *sum += r.wide();
                }
            }
            let mean = sum_by(width, |i| sum[i]) / width as f32;
            for s in &mut sum {
                *s -= mean;
            }
            let variance = sum_by(width, |i| sum[i] * sum[i]) / width as f32;
            *inverse = 1.0 / (variance + epsilon).sqrt();
            let (out, standard) = (&mut output[at.clone()], &mut standard[at]);
            for i in 0..width {
                let s = sum[i] * *inverse;
                standard[i] = E::near(s);
                out[i] = E::near(s * scale[i] + shift[i]);
            }
        }
    }
}

/// The gradients of [`add_norm`], from `dy` `[T, H]`, to which `beside` of the same shape and type is added where it is given: what flows
/// back to the output on another way, as through a residual. `dropped` as in [`add_norm`].
///
/// # Errors
/// Where shapes, types or devices do not fit.
pub fn add_norm_backward(
    normed: &Normed,
    scale: &Tensor,
    dropped: Option<Dropout<'_>>,
    dy: &Tensor,
    beside: Option<&Tensor>,
) -> Result<NormGradients> {
    if beside.is_some_and(|b| b.dims() != dy.dims() || b.dtype() != dy.dtype()) {
        bail!("the gradients have shapes and types that differ");
    }
    if device::fits(dy) {
        return device::add_norm_backward(normed, scale, dropped, dy, beside);
    }
    if is_host(dy) {
        return host_backward::<f32>(normed, scale, dropped, dy, beside);
    }
    if is_half(dy) {
        return host_backward::<bf16>(normed, scale, dropped, dy, beside);
    }
    let dy = match beside {
        Some(beside) => &(dy + beside)?,
        None => dy,
    };
    let (shift, dscale) = (column_sum(dy)?, column_sum(&(dy * &normed.standard)?)?);
    let g = dy.broadcast_mul(&scale.to_dtype(dy.dtype())?)?;
    let mean = g.mean_keepdim(D::Minus1)?;
    let along = (&g * &normed.standard)?.mean_keepdim(D::Minus1)?;
    let sum = (g.broadcast_sub(&mean)? - normed.standard.broadcast_mul(&along)?)?;
    let sum = sum.broadcast_mul(&normed.inverse_deviation)?;
    let x = match dropped.filter(|d| d.rate > 0.0) {
        Some(at) => dropout(sum.copy()?, Some(at))?,
        None => sum.clone(),
    };
    Ok(NormGradients { sum, x, scale: dscale, shift })
}

fn host_backward<E: Number>(
    normed: &Normed,
    scale: &Tensor,
    dropped: Option<Dropout<'_>>,
    dy: &Tensor,
    beside: Option<&Tensor>,
) -> Result<NormGradients> {
    let (rows, width) = dy.dims2()?;
    if normed.standard.dims() != dy.dims() || scale.dims() != [width] {
        bail!("the gradient has shape {:?}, not {:?}", dy.shape(), normed.standard.shape());
    }
    let scale = scale.to_vec1::<f32>()?;
    let inverse = normed.inverse_deviation.flatten_all()?.to_vec1::<f32>()?;
    let dropped = dropped.filter(|d| d.rate > 0.0);
    let mut sum = Fresh::<E>::new(rows * width);
    // Without dropout it is the same tensor, and here nothing.
    let xs = if dropped.is_some() { rows } else { 0 };
    let mut x = Fresh::<E>::new(xs * width);
    let lengths = (0..rows).step_by(SUMMED).map(|first| xs.saturating_sub(first).min(SUMMED) * width);
    let run = |dy: &[E], beside: Option<&[E]>, standard: &[E]| -> Vec<(Vec<f32>, Vec<f32>)> {
        sum.chunks(SUMMED * width)
            .zip(x.parts(lengths))
            .enumerate()
            .map(|(index, (sum, x))| {
                let (sum, first) = (sum.zeros(), index * SUMMED);
                let at = first * width..first * width + sum.len();
                let beside = beside.map(|b| &b[at.clone()]);
                let inputs = (&dy[at.clone()], beside, &standard[at], &inverse[first..], scale.as_slice());
                wide::<RowsBackward, _>((inputs, sum, x.zeros(), dropped.map(|d| (d, first))))
            })
            .collect()
    };
    let standard = &normed.standard;
    let parts = match beside {
        Some(beside) => read_as(dy, |dy| {
            read_as(beside, |beside| read_as(standard, |standard| run(dy, Some(beside), standard)))
        })???,
        None => read_as(dy, |dy| read_as(standard, |standard| run(dy, None, standard)))??,
    };
    let (scales, shifts): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let device = dy.device();
    let sum = Tensor::from_vec(sum.done(), (rows, width), device)?;
    let x = match dropped {
        Some(_) => Tensor::from_vec(x.done(), (rows, width), device)?,
        None => sum.clone(),
    };
    let [scale, shift] = [scales, shifts].map(|parts| Tensor::from_vec(total(parts, width), width, device));
    Ok(NormGradients { sum, x, scale: scale?, shift: shift? })
}

/// `dy`, what comes beside it, standard, inverse deviations from the first row on, scale.
type Inputs<'a, E> = (&'a [E], Option<&'a [E]>, &'a [E], &'a [f32], &'a [f32]);
/// The inputs; the gradient's rows; those before dropout, where there is some; it, and the first row's token.
type BackwardRows<'a, E> = (Inputs<'a, E>, &'a mut [E], &'a mut [E], Option<(Dropout<'a>, usize)>);

struct RowsBackward;

impl<E: Number> Kernel<BackwardRows<'_, E>> for RowsBackward {
    /// The rows' part of the gradients of scale and shift.
    type Out = (Vec<f32>, Vec<f32>);

    #[inline(always)]
    fn run(((dy, beside, standard, inverse, scale), sum, x, dropped): BackwardRows<'_, E>) -> Self::Out {
        let width = scale.len();
        let (mut dscale, mut dshift) = (vec![0f32; width], vec![0f32; width]);
        let (mut d, mut s) = (vec![0f32; width], vec![0f32; width]);
        for (row, (sum, inverse)) in sum.chunks_exact_mut(width).zip(inverse).enumerate() {
            let at = row * width..(row + 1) * width;
            for (d, dy) in d.iter_mut().zip(&dy[at.clone()]) {
                *d = dy.wide();
            }
            if let Some(beside) = beside {
                for (d, beside) in d.iter_mut().zip(&beside[at.clone()]) {
                    *d = E::near(*d + beside.wide()).wide();
                }
            }
            for (i, standard) in standard[at.clone()].iter().enumerate() {
                s[i] = standard.wide();
                dscale[i] += d[i] * s[i];
                dshift[i] += d[i];
                d[i] *= scale[i];
            }
            let mean = sum_by(width, |i| d[i]) / width as f32;
            let along = sum_by(width, |i| d[i] * s[i]) / width as f32;
            for i in 0..width {
                d[i] = inverse * (d[i] - mean - s[i] * along);
                sum[i] = E::near(d[i]);
            }
            if let Some((dropout, first)) = &dropped {
                dropout.drop_row(first + row, 0, &mut d);
                for (x, d) in x[at].iter_mut().zip(&d) {
                    *x = E::near(*d);
                }
            }
        }
        (dscale, dshift)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::segments::Segments;
    use super::super::testing::{distance, finite_differences, random};
    use super::*;

    #[test]
    fn host_equals_portable_and_gradients_fit() {
        let (x, r) = (random("x", &[210, 37]), random("r", &[210, 37]));
        let [scale, shift, bias] = ["s", "t", "b"].map(|name| random(name, &[37]));
        let dy = random("dy", &[210, 37]);
        let tokens = Segments::new(vec![0, 210], (0..210).map(|t| t * 31).collect());
        for dropped in [None, Some(Dropout { rate: 0.2, key: 9, tokens: &tokens })] {
            let run = |x: &Tensor, r: &Tensor, scale: &Tensor, shift: &Tensor| {
                add_norm(x.copy()?, Some(&bias), dropped, Some(r), (scale, shift), 1e-5)
            };
            let normed = run(&x, &r, &scale, &shift).expect("host");
            let wide = |t: &Tensor| t.to_dtype(DType::F64).expect("f64");
            let portable = run(&wide(&x), &wide(&r), &scale, &shift).expect("portable");
            let narrow = |t: &Tensor| t.to_dtype(DType::F32).expect("f32");
            assert!(distance(&normed.output, &narrow(&portable.output)) < 1e-5);
            let d = add_norm_backward(&normed, &scale, dropped, &dy, None).expect("backward");
            let other =
                add_norm_backward(&portable, &scale, dropped, &wide(&dy), None).expect("portable backward");
            // In two parts it is the same, and in the portable form too.
            let beside = random("beside", &[210, 37]);
            let part = (&dy - &beside).expect("part");
            let whole = (&part + &beside).expect("whole");
            let whole = add_norm_backward(&normed, &scale, dropped, &whole, None).expect("whole");
            let parts = add_norm_backward(&normed, &scale, dropped, &part, Some(&beside)).expect("parts");
            let apart = add_norm_backward(&portable, &scale, dropped, &wide(&part), Some(&wide(&beside)))
                .expect("parts");
            for (own, same, other) in [
                (&parts.sum, &whole.sum, &apart.sum),
                (&parts.x, &whole.x, &apart.x),
                (&parts.scale, &whole.scale, &apart.scale),
                (&parts.shift, &whole.shift, &apart.shift),
            ] {
                assert_eq!(distance(own, same), 0.0);
                assert!(distance(own, &narrow(other)) < 1e-4);
            }
            assert!(add_norm_backward(&normed, &scale, dropped, &dy, Some(&wide(&beside))).is_err());
            assert!(distance(&d.sum, &narrow(&other.sum)) < 1e-5);
            assert!(distance(&d.x, &narrow(&other.x)) < 1e-5);
            assert!(distance(&d.scale, &narrow(&other.scale)) < 1e-4);
            assert!(distance(&d.shift, &narrow(&other.shift)) < 1e-4);
            // In bf16 what f32 gives, rounded.
            let to = |t: &Tensor, dtype| t.to_dtype(dtype).expect("type");
            let rounded = |t: &Tensor| to(&to(t, DType::BF16), DType::F32);
            let half = run(&to(&x, DType::BF16), &to(&r, DType::BF16), &scale, &shift).expect("bf16");
            let exact = run(&rounded(&x), &rounded(&r), &scale, &shift).expect("host");
            assert_eq!(distance(&to(&half.output, DType::F32), &rounded(&exact.output)), 0.0);
            let halves = add_norm_backward(&half, &scale, dropped, &to(&dy, DType::BF16), None)
                .expect("bf16 backward");
            let exact = Normed { standard: to(&half.standard, DType::F32), ..half };
            let exact = add_norm_backward(&exact, &scale, dropped, &rounded(&dy), None).expect("backward");
            assert_eq!(distance(&to(&halves.sum, DType::F32), &rounded(&exact.sum)), 0.0);
            assert_eq!(distance(&to(&halves.x, DType::F32), &rounded(&exact.x)), 0.0);
            assert_eq!(distance(&halves.scale, &exact.scale) + distance(&halves.shift, &exact.shift), 0.0);
            finite_differences(&x, &d.x, &dy, |x| Ok(run(x, &r, &scale, &shift)?.output));
            finite_differences(&r, &d.sum, &dy, |r| Ok(run(&x, r, &scale, &shift)?.output));
            finite_differences(&scale, &d.scale, &dy, |s| Ok(run(&x, &r, s, &shift)?.output));
            finite_differences(&shift, &d.shift, &dy, |s| Ok(run(&x, &r, &scale, s)?.output));
        }
        assert!(
            add_norm(x.copy().expect("copy"), Some(&random("b", &[36])), None, None, (&scale, &shift), 1e-5)
                .is_err()
        );
    }
}
