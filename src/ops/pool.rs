//! From token vectors to one vector a text: mean or first token, then unit length.

use candle_core::{D, DType, Result, Tensor};

use super::device;
use super::segments::Segments;

/// Which token vectors make a text's vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Their mean.
    Mean,
    /// The first one.
    First,
}

/// The pooling matrix's non-zero entries: (row of the result, token, weight).
fn entries(kind: Pool, offsets: &[usize]) -> impl Iterator<Item = (usize, usize, f32)> + '_ {
    offsets.windows(2).enumerate().flat_map(move |(text, bounds)| {
        let (start, end) = (bounds[0], bounds[1]);
        let (end, weight) = match kind {
            Pool::Mean => (end, 1.0 / (end - start) as f32),
            Pool::First => (start + 1, 1.0),
        };
        (start..end).map(move |token| (text, token, weight))
    })
}

/// `[T, H]` to `[N, H]`: one vector a text. The result is f32.
///
/// # Errors
/// Where the device fails.
pub fn pool(kind: Pool, x: &Tensor, segments: &Segments) -> Result<Tensor> {
    if device::fits(x) {
        return device::pool(kind, x, segments);
    }
    let (offsets, texts) = (&segments.offsets, segments.texts());
    let (tokens, width) = x.dims2()?;
    let zeros = Tensor::zeros((texts, width), DType::F32, x.device())?;
    let (mut from, mut to, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    for (text, token, weight) in entries(kind, offsets) {
        from.push(token as u32);
        to.push(text as u32);
        weights.push(weight);
    }
    debug_assert!(from.iter().all(|&t| (t as usize) < tokens));
    let n = from.len();
    let picked = x.index_select(&Tensor::from_vec(from, n, x.device())?, 0)?.to_dtype(DType::F32)?;
    let weighted = picked.broadcast_mul(&Tensor::from_vec(weights, (n, 1), x.device())?)?;
    zeros.index_add(&Tensor::from_vec(to, n, x.device())?, &weighted, 0)
}

/// The gradient with respect to the token vectors: `[N, H]` to `[tokens, H]`, in `dtype`.
///
/// # Errors
/// Where the device fails.
pub fn pool_backward(kind: Pool, dy: &Tensor, segments: &Segments, dtype: DType) -> Result<Tensor> {
    if device::fits(dy) {
        return device::pool_backward(kind, dy, segments, dtype);
    }
    let (offsets, tokens) = (&segments.offsets, segments.tokens());
    let (mut rows, mut weights) = (vec![0u32; tokens], vec![0f32; tokens]);
    for (text, token, weight) in entries(kind, offsets) {
        rows[token] = text as u32;
        weights[token] = weight;
    }
    let spread = dy.index_select(&Tensor::from_vec(rows, tokens, dy.device())?, 0)?;
    spread.broadcast_mul(&Tensor::from_vec(weights, (tokens, 1), dy.device())?)?.to_dtype(dtype)
}

/// Rows of `[N, H]` to unit length; also the lengths `[N, 1]`. A zero row stays zero.
///
/// # Errors
/// Where the device fails.
pub fn normalise(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let length = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(1e-12)?;
    Ok((x.broadcast_div(&length)?, length))
}

/// The gradient with respect to the input of [`normalise`], from its result `unit` and `length`.
///
/// # Errors
/// Where the device fails.
pub fn normalise_backward(unit: &Tensor, length: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let along = (dy * unit)?.sum_keepdim(D::Minus1)?;
    (dy - unit.broadcast_mul(&along)?)?.broadcast_div(length)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{finite_differences, random};
    use super::*;

    #[test]
    fn gradients_fit_finite_differences() {
        let (x, dy, offsets) =
            (random("x", &[10, 5]), random("dy", &[3, 5]), Segments::new(vec![0, 4, 5, 10], vec![]));
        for kind in [Pool::Mean, Pool::First] {
            let dx = pool_backward(kind, &dy, &offsets, DType::F32).expect("backward");
            finite_differences(&x, &dx, &dy, |x| pool(kind, x, &offsets));
        }
        let x = random("x", &[3, 5]);
        let (unit, length) = normalise(&x).expect("normalise");
        let dx = normalise_backward(&unit, &length, &dy).expect("backward");
        finite_differences(&x, &dx, &dy, |x| Ok(normalise(x)?.0));
    }
}
