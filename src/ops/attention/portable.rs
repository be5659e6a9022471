//! The same from candle's primitives, on padded texts: for devices without a form of their own.

use candle_core::{D, DType, Result, Tensor};

use super::{Dropout, hash};

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
        Tensor::from_vec(mask, (self.texts, heads, longest, longest), like.device())?.to_dtype(like.dtype())
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
) -> Result<(Tensor, Tensor)> {
    let padded = padded(offsets, qkv)?;
    let [q, k, v] = parts(qkv, &padded, heads)?;
    let scores = (q.matmul(&k.t()?)? * scale(&q)?)?.broadcast_add(&padded.bias)?;
    let shifted = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    let probabilities = shifted.broadcast_div(&shifted.sum_keepdim(D::Minus1)?)?;
    let weights = match dropped.filter(|d| d.rate > 0.0) {
        Some(at) => (&probabilities * padded.mask(offsets, heads, at, qkv)?)?,
        None => probabilities.clone(),
    };
    Ok((padded.pack(&weights.matmul(&v)?)?, probabilities))
}

pub fn backward(
    p: &Tensor,
    qkv: &Tensor,
    offsets: &[usize],
    heads: usize,
    dropped: Option<Dropout<'_>>,
    dcontext: &Tensor,
) -> Result<Tensor> {
    let padded = padded(offsets, qkv)?;
    let [q, k, v] = parts(qkv, &padded, heads)?;
    let dout = padded.pad(dcontext, heads)?;
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
