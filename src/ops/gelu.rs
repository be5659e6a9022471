//! GELU in its exact form: `x Φ(x)` (Hendrycks and Gimpel 2016).

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::linear::add_bias;
use super::simd::{Kernel, erf_and_gauss, wide};
use super::{device, halved, is_half, is_host, read, widened};

const TASK: usize = 16 * 1024;

const DENSITY: f32 = 0.398_942_3; // 1 / sqrt(2 pi)

struct Gelu;

impl Kernel<(&mut [f32], &[f32])> for Gelu {
    type Out = ();

    #[inline(always)]
    fn run((out, x): (&mut [f32], &[f32])) {
        for (out, &x) in out.iter_mut().zip(x) {
            let (erf, _) = erf_and_gauss(x * std::f32::consts::FRAC_1_SQRT_2);
            *out = 0.5 * x * (1.0 + erf);
        }
    }
}

struct GeluBackward;

impl Kernel<(&mut [f32], (&[f32], &[f32]))> for GeluBackward {
    type Out = ();

    #[inline(always)]
    fn run((out, (x, dy)): (&mut [f32], (&[f32], &[f32]))) {
        for ((out, &x), &dy) in out.iter_mut().zip(x).zip(dy) {
            let (erf, gauss) = erf_and_gauss(x * std::f32::consts::FRAC_1_SQRT_2);
            *out = dy * (0.5 + 0.5 * erf + x * DENSITY * gauss);
        }
    }
}

/// (`x + bias`, which the backward pass needs; its GELU): `x` is `[T, width]`, `bias` f32 `[width]`.
///
/// # Errors
/// Where shapes do not fit or the device fails.
pub fn bias_gelu(x: Tensor, bias: &Tensor) -> Result<(Tensor, Tensor)> {
    if device::fits(&x) {
        let out = device::bias_gelu(&x, bias)?;
        return Ok((x, out));
    }
    let up = add_bias(x, bias)?;
    let out = gelu(&up)?;
    Ok((up, out))
}

/// `x Φ(x)`, any shape.
fn gelu(x: &Tensor) -> Result<Tensor> {
    if is_half(x) {
        return halved(&gelu(&widened(x)?)?);
    }
    if !is_host(x) {
        return x.gelu_erf();
    }
    let out = read(x, |x| {
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(TASK).zip(x.par_chunks(TASK)).for_each(wide::<Gelu, _>);
        out
    })?;
    Tensor::from_vec(out, x.dims(), x.device())
}

/// The gradient with respect to `x`: `dy (Φ(x) + x φ(x))`.
///
/// # Errors
/// Where shapes differ or the device fails.
pub fn gelu_backward(x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    if device::fits(x) {
        return device::gelu_backward(x, dy);
    }
    if is_half(x) {
        return halved(&gelu_backward(&widened(x)?, &widened(dy)?)?);
    }
    if !is_host(x) {
        let phi = ((x.sqr()? * -0.5)?.exp()? * f64::from(DENSITY))?;
        let cdf = ((x * std::f64::consts::FRAC_1_SQRT_2)?.erf()? * 0.5)?.affine(1.0, 0.5)?;
        return dy * (cdf + (x * phi)?)?;
    }
    let out = read(x, |x| {
        read(dy, |dy| {
            let mut out = vec![0f32; x.len()];
            let inputs = x.par_chunks(TASK).zip(dy.par_chunks(TASK));
            out.par_chunks_mut(TASK).zip(inputs).for_each(wide::<GeluBackward, _>);
            out
        })
    })??;
    Tensor::from_vec(out, x.dims(), x.device())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{distance, finite_differences, random};
    use super::*;

    #[test]
    fn host_form_equals_candle_and_its_gradient_fits() {
        let (x, dy) = (random("x", &[40, 33]), random("dy", &[40, 33]));
        assert!(distance(&gelu(&x).expect("gelu"), &x.gelu_erf().expect("candle")) < 1e-6);
        finite_differences(&x, &gelu_backward(&x, &dy).expect("backward"), &dy, gelu);
        let wide = (
            x.to_dtype(candle_core::DType::F64).expect("f64"),
            dy.to_dtype(candle_core::DType::F64).expect("f64"),
        );
        let portable = gelu_backward(&wide.0, &wide.1)
            .expect("portable")
            .to_dtype(candle_core::DType::F32)
            .expect("f32");
        assert!(distance(&gelu_backward(&x, &dy).expect("host"), &portable) < 1e-5);
    }
}
