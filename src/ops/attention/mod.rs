//! Multi-head self-attention within each text of a packed batch (Vaswani et al. 2017): no padding is computed.

mod host;
mod portable;

use candle_core::{Result, Tensor};

use super::dropout::{Dropout, hash};
use super::segments::Segments;
use super::{device, halved, is_half, is_host, widened};

/// The result of [`attention`] and what its backward pass needs.
#[derive(Clone, Debug)]
pub struct Attention {
    /// `[T, H]`.
    pub context: Tensor,
    saved: Saved,
}

#[derive(Clone, Debug)]
enum Saved {
    /// Probabilities before dropout. Host form: for each text and head a `[length, length]` block, one after another;
    /// portable form: `[N, A, longest, longest]`.
    Probabilities(Tensor),
    /// Logarithm of each softmax's denominator, f32 `[A, T]`: the device computes the probabilities again.
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
    if is_half(qkv) {
        let wide = attention(&widened(qkv)?, segments, heads, dropped)?;
        return Ok(Attention { context: halved(&wide.context)?, ..wide });
    }
    let form = if is_host(qkv) { host::forward } else { portable::forward };
    let (context, probabilities) = form(qkv, &segments.offsets, heads, dropped)?;
    Ok(Attention { context, saved: Saved::Probabilities(probabilities) })
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
    if is_half(qkv) {
        let wide =
            attention_backward(attention, &widened(qkv)?, segments, heads, dropped, &widened(dcontext)?)?;
        return halved(&wide);
    }
    match &attention.saved {
        Saved::Denominators(lse) => {
            let forward = (&attention.context, lse);
            device::attention_backward(forward, qkv, segments, heads, dropped, dcontext)
        }
        Saved::Probabilities(p) => {
            let form = if is_host(qkv) { host::backward } else { portable::backward };
            form(p, qkv, &segments.offsets, heads, dropped, dcontext)
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

    #[test]
    fn texts_do_not_see_each_other() {
        let qkv = random("qkv", &[20, 24]);
        let whole = attention(&qkv, &segments(), 2, None).expect("whole").context;
        let alone = qkv.narrow(0, 8, 12).expect("last").contiguous().expect("rows");
        let alone = attention(&alone, &Segments::new(vec![0, 12], vec![]), 2, None).expect("alone").context;
        assert!(distance(&whole.narrow(0, 8, 12).expect("last"), &alone) == 0.0);
    }
}
