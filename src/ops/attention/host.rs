//! Attention on f32 in main memory: a task a text.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::super::dropout::{Dropout, hash};
use super::super::simd::{Kernel, axpy, exp, sum_by, wide};
use super::super::{read, split};

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

/// Context `[T, H]` and probabilities; see [`super::attention`].
pub fn forward(
    qkv: &Tensor,
    offsets: &[usize],
    heads: usize,
    dropped: Option<Dropout<'_>>,
) -> Result<(Tensor, Tensor)> {
    let (tokens, triple) = qkv.dims2()?;
    let width = triple / 3;
    let (texts, total) = texts(offsets, heads);
    let mut context = vec![0f32; tokens * width];
    let mut probabilities = vec![0f32; total];
    read(qkv, |qkv| {
        let contexts = split(&mut context, texts.iter().map(|t| t.length * width));
        let blocks = split(&mut probabilities, texts.iter().map(|t| heads * t.length * t.length));
        texts.par_iter().zip(contexts).zip(blocks).for_each(|((text, context), blocks)| {
            wide::<TextForward, _>((qkv, width, heads, *text, dropped, context, blocks));
        });
    })?;
    Ok((
        Tensor::from_vec(context, (tokens, width), qkv.device())?,
        Tensor::from_vec(probabilities, total, qkv.device())?,
    ))
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

struct TextForward;

impl Kernel<ForwardText<'_>> for TextForward {
    type Out = ();

    #[inline(always)]
    fn run((qkv, width, heads, text, dropped, context, blocks): ForwardText<'_>) {
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

/// The gradient of `qkv`; see [`super::attention_backward`].
pub fn backward(
    probabilities: &Tensor,
    qkv: &Tensor,
    offsets: &[usize],
    heads: usize,
    dropped: Option<Dropout<'_>>,
    dcontext: &Tensor,
) -> Result<Tensor> {
    let (tokens, triple) = qkv.dims2()?;
    let (texts, _) = texts(offsets, heads);
    let mut dqkv = vec![0f32; tokens * triple];
    read(qkv, |qkv| {
        read(dcontext, |dcontext| {
            read(probabilities, |probabilities| {
                let parts = split(&mut dqkv, texts.iter().map(|t| t.length * triple));
                texts.par_iter().zip(parts).for_each(|(text, dqkv)| {
                    wide::<TextBackward, _>((
                        qkv,
                        probabilities,
                        dcontext,
                        triple / 3,
                        heads,
                        *text,
                        dropped,
                        dqkv,
                    ));
                });
            })
        })
    })???;
    Tensor::from_vec(dqkv, (tokens, triple), qkv.device())
}

/// Input, probabilities, gradient of the context, width, heads, the text, dropout; then the gradient of the input.
type BackwardText<'a> =
    (&'a [f32], &'a [f32], &'a [f32], usize, usize, Text, Option<Dropout<'a>>, &'a mut [f32]);

struct TextBackward;

impl Kernel<BackwardText<'_>> for TextBackward {
    type Out = ();

    #[inline(always)]
    fn run((qkv, probabilities, dcontext, width, heads, text, dropped, dqkv): BackwardText<'_>) {
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
}
