//! Multi-head self-attention within each text of a packed batch (Vaswani et al. 2017): no padding is computed.

use candle_core::{D, DType, Result, Tensor};
use rayon::prelude::*;

use super::dropout::{Dropout, hash};
use super::simd::{axpy, exp, sum_by, wide};
use super::{is_host, read};

/// The result of [`attention`] and what its backward pass needs.
#[derive(Clone, Debug)]
pub struct Attention {
    /// `[T, H]`.
    pub context: Tensor,
    /// Probabilities before dropout: for each text and head a `[length, length]` block, one after another
    /// (portable form: `[N, A, longest, longest]`).
    probabilities: Tensor,
}

/// What one text's task reads and where its probabilities lie.
#[derive(Clone, Copy)]
struct Text {
    start: usize,
    length: usize,
    /// Offset of its first head's block.
    block: usize,
}

fn texts(offsets: &[usize], heads: usize) -> (Vec<Text>, usize) {
    let mut block = 0;
    let texts = offsets
        .windows(2)
        .map(|bounds| {
            let text = Text { start: bounds[0], length: bounds[1] - bounds[0], block };
            block += heads * text.length * text.length;
            text
        })
        .collect();
    (texts, block)
}

/// Splits `data` at the texts' bounds, so that each task owns its own part.
fn split(mut data: &mut [f32], lengths: impl Iterator<Item = usize>) -> Vec<&mut [f32]> {
    let mut parts = Vec::new();
    for length in lengths {
        let (part, rest) = std::mem::take(&mut data).split_at_mut(length);
        parts.push(part);
        data = rest;
    }
    parts
}

/// Softmax attention. `qkv` is `[T, 3H]`: queries, keys and values side by side. Dropout falls on the probabilities.
///
/// # Errors
/// Where shapes, types or devices do not fit.
pub fn attention(
    qkv: &Tensor,
    offsets: &[usize],
    heads: usize,
    dropped: Option<Dropout<'_>>,
) -> Result<Attention> {
    if !is_host(qkv) {
        return portable::forward(qkv, offsets, heads, dropped);
    }
    let (tokens, triple) = qkv.dims2()?;
    let width = triple / 3;
    let (texts, total) = texts(offsets, heads);
    let mut context = vec![0f32; tokens * width];
    let mut probabilities = vec![0f32; total];
    read(qkv, |qkv| {
        let contexts = split(&mut context, texts.iter().map(|t| t.length * width));
        let blocks = split(&mut probabilities, texts.iter().map(|t| heads * t.length * t.length));
        texts.par_iter().zip(contexts).zip(blocks).for_each(|((text, context), blocks)| {
            wide((qkv, width, heads, *text, dropped, context, blocks), forward_text);
        });
    })?;
    Ok(Attention {
        context: Tensor::from_vec(context, (tokens, width), qkv.device())?,
        probabilities: Tensor::from_vec(probabilities, total, qkv.device())?,
    })
}

/// Copies one head's `part` (0 queries, 1 keys, 2 values) of a text, as `[length, d]` or transposed.
#[inline(always)]
fn head(
    qkv: &[f32],
    width: usize,
    d: usize,
    text: Text,
    part: usize,
    head: usize,
    transposed: bool,
    out: &mut [f32],
) {
    for i in 0..text.length {
        let row = &qkv[(text.start + i) * 3 * width + part * width + head * d..][..d];
        if transposed {
            for (c, value) in row.iter().enumerate() {
                out[c * text.length + i] = *value;
            }
        } else {
            out[i * d..(i + 1) * d].copy_from_slice(row);
        }
    }
}

/// Input, width, heads, the text, dropout; then context and probabilities.
type ForwardText<'a> = (&'a [f32], usize, usize, Text, Option<Dropout<'a>>, &'a mut [f32], &'a mut [f32]);

#[inline(always)]
fn forward_text((qkv, width, heads, text, dropped, context, blocks): ForwardText<'_>) {
    let (n, d) = (text.length, width / heads);
    let scale = 1.0 / (d as f32).sqrt();
    let mut keys = vec![0f32; n * d];
    let mut weights = vec![0f32; n];
    for h in 0..heads {
        head(qkv, width, d, text, 1, h, true, &mut keys);
        for i in 0..n {
            let p = &mut blocks[(h * n + i) * n..][..n];
            let query = &qkv[(text.start + i) * 3 * width + h * d..][..d];
            for (c, q) in query.iter().enumerate() {
                axpy(q * scale, &keys[c * n..(c + 1) * n], p);
            }
            let highest = p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for p in p.iter_mut() {
                *p = exp(*p - highest);
            }
            let inverse = 1.0 / sum_by(n, |j| p[j]);
            for p in p.iter_mut() {
                *p *= inverse;
            }
            weights.copy_from_slice(p);
            drop_row(dropped, text.start + i, h, n, &mut weights);
            let out = &mut context[i * width + h * d..][..d];
            for (j, weight) in weights.iter().enumerate() {
                axpy(*weight, &qkv[(text.start + j) * 3 * width + 2 * width + h * d..][..d], out);
            }
        }
    }
}

/// Multiplies a row of probabilities (or of their gradient) by its dropout mask.
#[inline(always)]
fn drop_row(dropped: Option<Dropout<'_>>, token: usize, head: usize, n: usize, row: &mut [f32]) {
    if let Some(at) = dropped.filter(|d| d.rate > 0.0) {
        let (key, threshold, scale) = (at.row(token), at.threshold(), at.scale());
        for (j, value) in row.iter_mut().enumerate().take(n) {
            let feature = ((head as u32) << 16) ^ j as u32;
            *value *= if hash(key, feature) < threshold { 0.0 } else { scale };
        }
    }
}

/// The gradient with respect to `qkv`, `[T, 3H]`, from that of the context, `[T, H]`.
///
/// # Errors
/// Where shapes, types or devices do not fit.
pub fn attention_backward(
    saved: &Attention,
    qkv: &Tensor,
    offsets: &[usize],
    heads: usize,
    dropped: Option<Dropout<'_>>,
    dcontext: &Tensor,
) -> Result<Tensor> {
    if !is_host(qkv) {
        return portable::backward(saved, qkv, offsets, heads, dropped, dcontext);
    }
    let (tokens, triple) = qkv.dims2()?;
    let (texts, _) = texts(offsets, heads);
    let mut dqkv = vec![0f32; tokens * triple];
    read(qkv, |qkv| {
        read(dcontext, |dcontext| {
            read(&saved.probabilities, |probabilities| {
                let parts = split(&mut dqkv, texts.iter().map(|t| t.length * triple));
                texts.par_iter().zip(parts).for_each(|(text, dqkv)| {
                    wide(
                        (qkv, probabilities, dcontext, triple / 3, heads, *text, dropped, dqkv),
                        backward_text,
                    );
                });
            })
        })
    })???;
    Tensor::from_vec(dqkv, (tokens, triple), qkv.device())
}

/// Input, probabilities, gradient of the context, width, heads, the text, dropout; then the gradient of the input.
type BackwardText<'a> =
    (&'a [f32], &'a [f32], &'a [f32], usize, usize, Text, Option<Dropout<'a>>, &'a mut [f32]);

#[inline(always)]
fn backward_text((qkv, probabilities, dcontext, width, heads, text, dropped, dqkv): BackwardText<'_>) {
    let (n, d, row) = (text.length, width / heads, 3 * width);
    let scale = 1.0 / (d as f32).sqrt();
    let mut values = vec![0f32; n * d];
    let mut keys = vec![0f32; n * d];
    let mut queries = vec![0f32; n * d];
    let (mut dkeys, mut dvalues) = (vec![0f32; n * d], vec![0f32; n * d]);
    let (mut weights, mut dp) = (vec![0f32; n], vec![0f32; n]);
    for h in 0..heads {
        head(qkv, width, d, text, 2, h, true, &mut values);
        head(qkv, width, d, text, 1, h, false, &mut keys);
        head(qkv, width, d, text, 0, h, false, &mut queries);
        dkeys.fill(0.0);
        dvalues.fill(0.0);
        for i in 0..n {
            let p = &probabilities[text.block + (h * n + i) * n..][..n];
            let dout = &dcontext[(text.start + i) * width + h * d..][..d];
            weights.copy_from_slice(p);
            drop_row(dropped, text.start + i, h, n, &mut weights);
            dp.fill(0.0);
            for (c, g) in dout.iter().enumerate() {
                axpy(*g, &values[c * n..(c + 1) * n], &mut dp);
            }
            for (j, weight) in weights.iter().enumerate() {
                axpy(*weight, dout, &mut dvalues[j * d..(j + 1) * d]);
            }
            drop_row(dropped, text.start + i, h, n, &mut dp);
            let along = sum_by(n, |j| dp[j] * p[j]);
            let dquery = &mut dqkv[i * row + h * d..][..d];
            for j in 0..n {
                let ds = p[j] * (dp[j] - along) * scale;
                axpy(ds, &keys[j * d..(j + 1) * d], dquery);
                axpy(ds, &queries[i * d..(i + 1) * d], &mut dkeys[j * d..(j + 1) * d]);
            }
        }
        for j in 0..n {
            dqkv[j * row + width + h * d..][..d].copy_from_slice(&dkeys[j * d..(j + 1) * d]);
            dqkv[j * row + 2 * width + h * d..][..d].copy_from_slice(&dvalues[j * d..(j + 1) * d]);
        }
    }
}

mod portable {
    //! The same from candle's primitives, on padded texts: for devices without a form of their own.

    use super::{Attention, D, DType, Dropout, Result, Tensor, hash};

    struct Padded {
        texts: usize,
        longest: usize,
        /// For each padded place the packed token, `[N * longest]`; padding points at token 0.
        gather: Tensor,
        /// For each packed token its padded place, `[T]`.
        scatter: Tensor,
        /// 0 for tokens, minus infinity for padding, `[N, 1, 1, longest]`.
        bias: Tensor,
        /// 1 for tokens, 0 for padding, `[N * longest, 1]`.
        real: Tensor,
    }

    fn padded(offsets: &[usize], like: &Tensor) -> Result<Padded> {
        let texts = offsets.len() - 1;
        let longest = offsets.windows(2).map(|b| b[1] - b[0]).max().unwrap_or(0);
        let mut gather = vec![0u32; texts * longest];
        let (mut bias, mut real) = (vec![f32::NEG_INFINITY; texts * longest], vec![0f32; texts * longest]);
        let mut scatter = Vec::new();
        for (text, bounds) in offsets.windows(2).enumerate() {
            for (position, token) in (bounds[0]..bounds[1]).enumerate() {
                let place = text * longest + position;
                gather[place] = token as u32;
                (bias[place], real[place]) = (0.0, 1.0);
                scatter.push(place as u32);
            }
        }
        let (device, dtype, tokens) = (like.device(), like.dtype(), scatter.len());
        Ok(Padded {
            texts,
            longest,
            gather: Tensor::from_vec(gather, texts * longest, device)?,
            scatter: Tensor::from_vec(scatter, tokens, device)?,
            bias: Tensor::from_vec(bias, (texts, 1, 1, longest), device)?.to_dtype(dtype)?,
            real: Tensor::from_vec(real, (texts * longest, 1), device)?.to_dtype(dtype)?,
        })
    }

    impl Padded {
        /// `[T, heads * d]` to `[N, heads, longest, d]`.
        fn pad(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
            let d = x.dim(1)? / heads;
            let rows = x.contiguous()?.index_select(&self.gather, 0)?.broadcast_mul(&self.real)?;
            rows.reshape((self.texts, self.longest, heads, d))?.transpose(1, 2)?.contiguous()
        }

        /// Back to `[T, heads * d]`.
        fn pack(&self, x: &Tensor) -> Result<Tensor> {
            let (texts, heads, longest, d) = x.dims4()?;
            let rows = x.transpose(1, 2)?.contiguous()?.reshape((texts * longest, heads * d))?;
            rows.index_select(&self.scatter, 0)
        }

        /// The dropout mask of the probabilities, `[N, heads, longest, longest]`.
        fn mask(&self, offsets: &[usize], heads: usize, at: Dropout<'_>, like: &Tensor) -> Result<Tensor> {
            let longest = self.longest;
            let mut mask = vec![0f32; self.texts * heads * longest * longest];
            for (text, bounds) in offsets.windows(2).enumerate() {
                for head in 0..heads {
                    for (i, token) in (bounds[0]..bounds[1]).enumerate() {
                        let row = &mut mask[((text * heads + head) * longest + i) * longest..][..longest];
                        for (j, m) in row.iter_mut().enumerate().take(bounds[1] - bounds[0]) {
                            let feature = ((head as u32) << 16) ^ j as u32;
                            *m = if hash(at.row(token), feature) < at.threshold() { 0.0 } else { at.scale() };
                        }
                    }
                }
            }
            Tensor::from_vec(mask, (self.texts, heads, longest, longest), like.device())?
                .to_dtype(like.dtype())
        }
    }

    fn parts(qkv: &Tensor, padded: &Padded, heads: usize) -> Result<[Tensor; 3]> {
        let width = qkv.dim(1)? / 3;
        let part = |index: usize| padded.pad(&qkv.narrow(1, index * width, width)?, heads);
        Ok([part(0)?, part(1)?, part(2)?])
    }

    fn scale(q: &Tensor) -> Result<f64> {
        Ok(1.0 / (q.dim(D::Minus1)? as f64).sqrt())
    }

    pub fn forward(
        qkv: &Tensor,
        offsets: &[usize],
        heads: usize,
        dropped: Option<Dropout<'_>>,
    ) -> Result<Attention> {
        let padded = padded(offsets, qkv)?;
        let [q, k, v] = parts(qkv, &padded, heads)?;
        let scores = (q.matmul(&k.t()?)? * scale(&q)?)?.broadcast_add(&padded.bias)?;
        let shifted = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        let probabilities = shifted.broadcast_div(&shifted.sum_keepdim(D::Minus1)?)?;
        let weights = match dropped.filter(|d| d.rate > 0.0) {
            Some(at) => (&probabilities * padded.mask(offsets, heads, at, qkv)?)?,
            None => probabilities.clone(),
        };
        Ok(Attention { context: padded.pack(&weights.matmul(&v)?)?, probabilities })
    }

    pub fn backward(
        saved: &Attention,
        qkv: &Tensor,
        offsets: &[usize],
        heads: usize,
        dropped: Option<Dropout<'_>>,
        dcontext: &Tensor,
    ) -> Result<Tensor> {
        let padded = padded(offsets, qkv)?;
        let [q, k, v] = parts(qkv, &padded, heads)?;
        let dout = padded.pad(dcontext, heads)?;
        let p = &saved.probabilities;
        let mask = match dropped.filter(|d| d.rate > 0.0) {
            Some(at) => Some(padded.mask(offsets, heads, at, qkv)?),
            None => None,
        };
        let (weights, mut dp) = (p.clone(), dout.matmul(&v.t()?)?);
        let weights = match &mask {
            Some(mask) => {
                dp = (dp * mask)?;
                (weights * mask)?
            }
            None => weights,
        };
        let dv = weights.t()?.matmul(&dout)?;
        let along = (&dp * p)?.sum_keepdim(D::Minus1)?;
        let ds = ((p * dp.broadcast_sub(&along)?)? * scale(&q)?)?;
        let (dq, dk) = (ds.matmul(&k)?, ds.t()?.matmul(&q)?);
        let dtype: DType = qkv.dtype();
        Tensor::cat(&[padded.pack(&dq)?, padded.pack(&dk)?, padded.pack(&dv)?], 1)?.to_dtype(dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{distance, finite_differences, random};
    use super::*;

    const OFFSETS: [usize; 4] = [0, 7, 8, 20];

    fn check(dropped: Option<Dropout<'_>>) {
        let (qkv, dy) = (random("qkv", &[20, 24]), random("dy", &[20, 8]));
        let f64 = |t: &Tensor| t.to_dtype(DType::F64).expect("f64");
        let f32 = |t: &Tensor| t.to_dtype(DType::F32).expect("f32");
        let host = attention(&qkv, &OFFSETS, 2, dropped).expect("host");
        let other = attention(&f64(&qkv), &OFFSETS, 2, dropped).expect("portable");
        assert!(distance(&host.context, &f32(&other.context)) < 1e-5);
        let gradient = attention_backward(&host, &qkv, &OFFSETS, 2, dropped, &dy).expect("host");
        let portable =
            attention_backward(&other, &f64(&qkv), &OFFSETS, 2, dropped, &f64(&dy)).expect("portable");
        assert!(distance(&gradient, &f32(&portable)) < 1e-5);
        finite_differences(&qkv, &gradient, &dy, |x| Ok(attention(x, &OFFSETS, 2, dropped)?.context));
    }

    #[test]
    fn host_equals_portable_and_gradients_fit() {
        check(None);
        let tokens: Vec<u64> = (0..20).map(|t| t * 77).collect();
        check(Some(Dropout { rate: 0.2, key: 3, tokens: &tokens }));
    }

    #[test]
    fn texts_do_not_see_each_other() {
        let qkv = random("qkv", &[20, 24]);
        let whole = attention(&qkv, &OFFSETS, 2, None).expect("whole").context;
        let alone = qkv.narrow(0, 8, 12).expect("last").contiguous().expect("rows");
        let alone = attention(&alone, &[0, 12], 2, None).expect("alone").context;
        assert!(distance(&whole.narrow(0, 8, 12).expect("last"), &alone) == 0.0);
    }
}
