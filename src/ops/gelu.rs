//! GELU in its exact form: `x Φ(x)` (Hendrycks and Gimpel 2016).

use candle_core::{Result, Tensor, bail};
use half::bf16;
use rayon::prelude::*;

use super::fresh::Fresh;
use super::linear::add_bias;
use super::simd::{Kernel, erf_and_gauss, wide};
use super::{Number, change_as, device, is_half, is_host, read_as, rows_per_task};

const TASK: usize = 16 * 1024;

const DENSITY: f32 = 0.398_942_3; // 1 / sqrt(2 pi)

/// Rows of `x`, which become `x + bias`; their GELU; the bias.
type BiasRows<'a, E> = (&'a mut [E], &'a mut [E], &'a [f32]);

struct BiasGelu;

impl<E: Number> Kernel<BiasRows<'_, E>> for BiasGelu {
    type Out = ();

    #[inline(always)]
    fn run((rows, out, bias): BiasRows<'_, E>) {
        let width = bias.len();
        for (row, out) in rows.chunks_exact_mut(width).zip(out.chunks_exact_mut(width)) {
            for ((x, out), bias) in row.iter_mut().zip(out).zip(bias) {
                *x = E::near(x.wide() + bias);
                let x = x.wide();
                let (erf, _) = erf_and_gauss(x * std::f32::consts::FRAC_1_SQRT_2);
                *out = E::near(0.5 * x * (1.0 + erf));
            }
        }
    }
}

struct GeluBackward;

impl<E: Number> Kernel<(&mut [E], (&[E], &[E]))> for GeluBackward {
    type Out = ();

    #[inline(always)]
    fn run((out, (x, dy)): (&mut [E], (&[E], &[E]))) {
        for ((out, x), dy) in out.iter_mut().zip(x).zip(dy) {
            let x = x.wide();
            let (erf, gauss) = erf_and_gauss(x * std::f32::consts::FRAC_1_SQRT_2);
            *out = E::near(dy.wide() * (0.5 + 0.5 * erf + x * DENSITY * gauss));
        }
    }
}

/// (`x + bias`, which the backward pass needs; its GELU, `(x + bias) Φ(x + bias)`): `x` is `[T, width]`, `bias` f32 `[width]`.
///
/// # Errors
/// Where shapes do not fit or the device fails.
pub fn bias_gelu(x: Tensor, bias: &Tensor) -> Result<(Tensor, Tensor)> {
    let out = if device::fits(&x) {
        device::bias_gelu(&x, bias)?
    } else if is_host(&x) {
        host::<f32>(&x, bias)?
    } else if is_half(&x) {
        host::<bf16>(&x, bias)?
    } else {
        let x = add_bias(x, bias)?;
        let out = x.gelu_erf()?;
        return Ok((x, out));
    };
    Ok((x, out))
}

fn host<E: Number>(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    let bias = bias.to_vec1::<f32>()?;
    let (mut out, task) = (Fresh::<E>::new(rows * width), rows_per_task(rows) * width);
    change_as(x, |x: &mut [E]| {
        out.chunks(task).zip(x.par_chunks_mut(task)).for_each(|(out, x)| {
            wide::<BiasGelu, _>((x, out.zeros(), bias.as_slice()));
        });
    })?;
    Tensor::from_vec(out.done(), (rows, width), x.device())
}

/// The gradient with respect to `x`: `dy (Φ(x) + x φ(x))`.
///
/// # Errors
/// Where shapes differ or the device fails.
pub fn gelu_backward(x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    if device::fits(x) {
        return device::gelu_backward(x, dy);
    }
    if is_host(x) {
        return host_backward::<f32>(x, dy);
    }
    if is_half(x) {
        return host_backward::<bf16>(x, dy);
    }
    let phi = ((x.sqr()? * -0.5)?.exp()? * f64::from(DENSITY))?;
    let cdf = ((x * std::f64::consts::FRAC_1_SQRT_2)?.erf()? * 0.5)?.affine(1.0, 0.5)?;
    dy * (cdf + (x * phi)?)?
}

fn host_backward<E: Number>(x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    if x.dims() != dy.dims() {
        bail!("the gradient has shape {:?}, not {:?}", dy.shape(), x.shape());
    }
    let mut out = Fresh::<E>::new(x.elem_count());
    read_as(x, |x: &[E]| {
        read_as(dy, |dy: &[E]| {
            let inputs = x.par_chunks(TASK).zip(dy.par_chunks(TASK));
            out.chunks(TASK)
                .zip(inputs)
                .for_each(|(out, inputs)| wide::<GeluBackward, _>((out.zeros(), inputs)));
        })
    })??;
    Tensor::from_vec(out.done(), x.dims(), x.device())
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::testing::{distance, finite_differences, random};
    use super::*;

    #[test]
    fn host_form_equals_candle_and_its_gradient_fits() {
        let (x, dy, bias) = (random("x", &[40, 33]), random("dy", &[40, 33]), random("b", &[33]));
        let gelu = |x: &Tensor| Ok(bias_gelu(x.copy()?, &bias)?.1);
        let up = x.broadcast_add(&bias).expect("sum");
        let (found, out) = bias_gelu(x.copy().expect("copy"), &bias).expect("host");
        assert_eq!(distance(&found, &up), 0.0);
        assert!(distance(&out, &up.gelu_erf().expect("candle")) < 1e-6);
        finite_differences(&x, &gelu_backward(&up, &dy).expect("backward"), &dy, gelu);
        let to = |t: &Tensor, dtype| t.to_dtype(dtype).expect("type");
        let portable = gelu_backward(&to(&up, DType::F64), &to(&dy, DType::F64)).expect("portable");
        assert!(distance(&gelu_backward(&up, &dy).expect("host"), &to(&portable, DType::F32)) < 1e-5);
        // In bf16 what f32 gives, rounded; the backward pass sees the rounded sum.
        let rounded = |t: &Tensor| to(&to(t, DType::BF16), DType::F32);
        let (half, out) = bias_gelu(to(&x, DType::BF16), &bias).expect("bf16");
        let up = to(&half, DType::F32);
        assert_eq!(distance(&up, &rounded(&rounded(&x).broadcast_add(&bias).expect("sum"))), 0.0);
        let none = Tensor::zeros(33, DType::F32, x.device()).expect("zeros");
        let exact = bias_gelu(up.copy().expect("copy"), &none).expect("host").1;
        assert_eq!(distance(&to(&out, DType::F32), &rounded(&exact)), 0.0);
        let halves = gelu_backward(&half, &to(&dy, DType::BF16)).expect("bf16");
        let exact = gelu_backward(&up, &rounded(&dy)).expect("host");
        assert_eq!(distance(&to(&halves, DType::F32), &rounded(&exact)), 0.0);
        assert!(gelu_backward(&up, &random("dy", &[33, 40])).is_err());
    }
}
