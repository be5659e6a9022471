//! Multi-head self-attention within each text of a packed batch (Vaswani et al. 2017): no padding is computed.

mod host;
mod portable;

use candle_core::{Result, Tensor};
use half::bf16;

use super::dropout::{Dropout, hash};
use super::segments::Segments;
use super::{device, is_half, is_host};

/// The result of [`attention`] and what its backward pass needs.
#[derive(Clone, Debug)]
pub struct Attention {
    /// `[T, H]`.
    pub context: Tensor,
    saved: Saved,
}

#[derive(Clone, Debug)]
enum Saved {
    /// Of the portable form: probabilities before dropout, `[N, A, longest, longest]`.
    Probabilities(Tensor),
    /// Logarithm of each softmax's denominator, from which the probabilities are computed again: f32, of the device form
    /// `[A, T]`, of the host form `[A, length]` for each text after another.
    Denominators(Tensor),
}

/// Whether the device's kernels fit this tensor and width of a head.
fn on_device(qkv: &Tensor, heads: usize) -> Result<bool> {
    let (_, triple) = qkv.dims2()?;
    Ok(device::fits(qkv) && device::has_kernel(triple / 3 / heads, qkv.dtype()))
}

/// Softmax attention. `qkv` is `[T, 3H]`: queries, keys and values side by side. Dropout falls on the probabilities.
///
/// # Errors
/// Where shapes, types or devices do not fit.
pub fn attention(
    qkv: &Tensor,
    segments: &Segments,
    heads: usize,
    dropped: Option<Dropout<'_>>,
) -> Result<Attention> {
    if on_device(qkv, heads)? {
        let (context, lse) = device::attention(qkv, segments, heads, dropped)?;
        return Ok(Attention { context, saved: Saved::Denominators(lse) });
    }
    let (context, lse) = if is_host(qkv) {
        host::forward::<f32>(qkv, &segments.offsets, heads, dropped)?
    } else if is_half(qkv) {
        host::forward::<bf16>(qkv, &segments.offsets, heads, dropped)?
    } else {
        let (context, probabilities) = portable::forward(qkv, &segments.offsets, heads, dropped)?;
        return Ok(Attention { context, saved: Saved::Probabilities(probabilities) });
    };
    Ok(Attention { context, saved: Saved::Denominators(lse) })
}

/// The gradient with respect to `qkv`, `[T, 3H]`, from that of the context, `[T, H]`.
///
/// # Errors
/// Where shapes, types or devices do not fit.
pub fn attention_backward(
    attention: &Attention,
    qkv: &Tensor,
    segments: &Segments,
    heads: usize,
    dropped: Option<Dropout<'_>>,
    dcontext: &Tensor,
) -> Result<Tensor> {
    let offsets = &segments.offsets;
    match &attention.saved {
        Saved::Probabilities(p) => portable::backward(p, qkv, offsets, heads, dropped, dcontext),
        Saved::Denominators(lse) if is_host(qkv) => {
            host::backward::<f32>(lse, qkv, offsets, heads, dropped, dcontext)
        }
        Saved::Denominators(lse) if is_half(qkv) => {
            host::backward::<bf16>(lse, qkv, offsets, heads, dropped, dcontext)
        }
        Saved::Denominators(lse) => {
            device::attention_backward((&attention.context, lse), qkv, segments, heads, dropped, dcontext)
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::testing::{distance, finite_differences, random};
    use super::*;

    fn segments() -> Segments {
        Segments::new(vec![0, 7, 8, 20], (0..20).map(|t| t * 77).collect())
    }

    fn check(dropped: Option<Dropout<'_>>) {
        let (qkv, dy) = (random("qkv", &[20, 24]), random("dy", &[20, 8]));
        let f64 = |t: &Tensor| t.to_dtype(DType::F64).expect("f64");
        let f32 = |t: &Tensor| t.to_dtype(DType::F32).expect("f32");
        let host = attention(&qkv, &segments(), 2, dropped).expect("host");
        let other = attention(&f64(&qkv), &segments(), 2, dropped).expect("portable");
        assert!(distance(&host.context, &f32(&other.context)) < 1e-5);
        let gradient = attention_backward(&host, &qkv, &segments(), 2, dropped, &dy).expect("host");
        let portable =
            attention_backward(&other, &f64(&qkv), &segments(), 2, dropped, &f64(&dy)).expect("portable");
        assert!(distance(&gradient, &f32(&portable)) < 1e-5);
        finite_differences(&qkv, &gradient, &dy, |x| Ok(attention(x, &segments(), 2, dropped)?.context));
    }

    #[test]
    fn host_equals_portable_and_gradients_fit() {
        check(None);
        check(Some(Dropout { rate: 0.2, key: 3, tokens: &segments() }));
    }

    /// Several blocks of queries, the last of one; a text without tokens; in bf16 what f32 gives, rounded.
    #[test]
    fn long_texts_and_bf16_equal_the_portable_form() {
        let offsets = vec![0, 129, 129, 200];
        let segments = Segments::new(offsets, (0..200).map(|t| t * 13).collect());
        let dropped = Some(Dropout { rate: 0.1, key: 8, tokens: &segments });
        let (qkv, dy) = (random("qkv", &[200, 96]), random("dy", &[200, 32]));
        let run = |qkv: &Tensor, dy: &Tensor| {
            let found = attention(qkv, &segments, 2, dropped).expect("forward");
            let gradient = attention_backward(&found, qkv, &segments, 2, dropped, dy).expect("backward");
            [found.context, gradient].map(|t| t.to_dtype(DType::F32).expect("f32"))
        };
        let to = |t: &Tensor, dtype| t.to_dtype(dtype).expect("type");
        let single = run(&qkv, &dy);
        let packed = Segments::new(vec![0, 129, 200], segments.keys.clone());
        let dropped = Some(Dropout { rate: 0.1, key: 8, tokens: &packed });
        let double = attention(&to(&qkv, DType::F64), &packed, 2, dropped).expect("portable");
        assert!(distance(&single[0], &to(&double.context, DType::F32)) < 1e-5);
        let gradient =
            attention_backward(&double, &to(&qkv, DType::F64), &packed, 2, dropped, &to(&dy, DType::F64));
        assert!(distance(&single[1], &to(&gradient.expect("portable"), DType::F32)) < 1e-5);
        // Of the rounded input, so that only the results are rounded.
        let (qkv, dy) = (to(&qkv, DType::BF16), to(&dy, DType::BF16));
        let halves = run(&qkv, &dy);
        for (half, exact) in halves.iter().zip(run(&to(&qkv, DType::F32), &to(&dy, DType::F32))) {
            let rounded = to(&to(&exact, DType::BF16), DType::F32);
            assert_eq!(distance(half, &rounded), 0.0);
        }
    }

    #[test]
    fn texts_do_not_see_each_other() {
        let qkv = random("qkv", &[20, 24]);
        let whole = attention(&qkv, &segments(), 2, None).expect("whole").context;
        let alone = qkv.narrow(0, 8, 12).expect("last").contiguous().expect("rows");
        let alone = attention(&alone, &Segments::new(vec![0, 12], vec![]), 2, None).expect("alone").context;
        assert!(distance(&whole.narrow(0, 8, 12).expect("last"), &alone) == 0.0);
    }
}
