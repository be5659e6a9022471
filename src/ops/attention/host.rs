//! Attention in main memory: a task a text; its heads one after another, in blocks of queries.
//!
//! A block's scores stay in a core's cache, and the backward pass computes the probabilities again from the softmax's
//! denominators, as on the device: no matrix of a text's length squared is ever kept.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::super::dropout::{Dropout, hash};
use super::super::fresh::Fresh;
use super::super::matrix::{Matrix, multiply};
use super::super::simd::{Kernel, exp, sum_by, wide};
use super::super::{Number, read_as};

/// Queries of a block.
const BLOCK: usize = 64;

/// One text of the batch.
#[derive(Clone, Copy)]
struct Text {
    start: usize,
    length: usize,
}

fn texts(offsets: &[usize]) -> Vec<Text> {
    offsets.windows(2).map(|bounds| Text { start: bounds[0], length: bounds[1] - bounds[0] }).collect()
}

/// Where the numbers of one head of a text lie in rows that several heads and parts share.
#[derive(Clone, Copy)]
struct Columns {
    /// Numbers of a row.
    stride: usize,
    first: usize,
    /// Width of a head.
    d: usize,
}

struct Take;

impl<E: Number> Kernel<(&[E], Columns, &mut [f32])> for Take {
    type Out = ();

    /// Copies a head's columns of all rows into `[rows, d]`.
    #[inline(always)]
    fn run((rows, at, out): (&[E], Columns, &mut [f32])) {
        for (row, out) in rows.chunks_exact(at.stride).zip(out.chunks_exact_mut(at.d)) {
            for (out, x) in out.iter_mut().zip(&row[at.first..at.first + at.d]) {
                *out = x.wide();
            }
        }
    }
}

struct Put;

impl<E: Number> Kernel<(&[f32], Columns, &mut [E])> for Put {
    type Out = ();

    /// The other way.
    #[inline(always)]
    fn run((from, at, rows): (&[f32], Columns, &mut [E])) {
        for (row, from) in rows.chunks_exact_mut(at.stride).zip(from.chunks_exact(at.d)) {
            for (x, from) in row[at.first..at.first + at.d].iter_mut().zip(from) {
                *x = E::near(*from);
            }
        }
    }
}

/// Rows of attention of one head: the first one's token, the head, dropout.
#[derive(Clone, Copy)]
struct Rows<'a> {
    token: usize,
    head: usize,
    dropped: Option<Dropout<'a>>,
}

impl Rows<'_> {
    /// What dropout multiplies row `row` by.
    #[inline(always)]
    fn mask(&self, row: usize, out: &mut [f32]) {
        let Some(at) = &self.dropped else { return };
        let (key, threshold, scale) = (at.row(self.token + row), at.threshold(), at.scale());
        for (j, out) in out.iter_mut().enumerate() {
            let feature = ((self.head as u32) << 16) ^ j as u32;
            *out = if hash(key, feature) < threshold { 0.0 } else { scale };
        }
    }
}

struct Softmax;

impl Kernel<(&mut [f32], &mut [f32], Rows<'_>)> for Softmax {
    type Out = ();

    /// Scores `[rows, n]` become probabilities, after dropout; `denominators` gets the logarithm of each row's.
    #[inline(always)]
    fn run((scores, denominators, rows): (&mut [f32], &mut [f32], Rows<'_>)) {
        let n = scores.len() / denominators.len();
        let mut mask = vec![1f32; n];
        for (row, (p, denominator)) in scores.chunks_exact_mut(n).zip(denominators).enumerate() {
            let highest = p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for p in p.iter_mut() {
                *p = exp(*p - highest);
            }
            let sum = sum_by(n, |j| p[j]);
            *denominator = highest + sum.ln();
            rows.mask(row, &mut mask);
            let inverse = 1.0 / sum;
            for (p, mask) in p.iter_mut().zip(&mask) {
                *p *= inverse * mask;
            }
        }
    }
}

struct SoftmaxBackward;

impl Kernel<(&mut [f32], &mut [f32], &[f32], Rows<'_>)> for SoftmaxBackward {
    type Out = ();

    /// Scores `[rows, n]` become probabilities, after dropout; the gradient of these becomes that of the scores.
    #[inline(always)]
    fn run((scores, gradient, denominators, rows): (&mut [f32], &mut [f32], &[f32], Rows<'_>)) {
        let n = scores.len() / denominators.len();
        let (mut mask, mut p) = (vec![1f32; n], vec![0f32; n]);
        let each = scores.chunks_exact_mut(n).zip(gradient.chunks_exact_mut(n)).zip(denominators);
        for (row, ((kept, d), denominator)) in each.enumerate() {
            for (p, score) in p.iter_mut().zip(&*kept) {
                *p = exp(score - denominator);
            }
            rows.mask(row, &mut mask);
            for j in 0..n {
                kept[j] = p[j] * mask[j];
            }
            let along = sum_by(n, |j| kept[j] * d[j]);
            for j in 0..n {
                d[j] = kept[j] * d[j] - p[j] * along;
            }
        }
    }
}

/// What a task works in.
#[derive(Default)]
struct Scratch {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    outer: Vec<f32>,
    dqueries: Vec<f32>,
    dkeys: Vec<f32>,
    dvalues: Vec<f32>,
    scores: Vec<f32>,
    dscores: Vec<f32>,
}

fn room(vector: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if vector.len() < length {
        vector.resize(length, 0.0);
    }
    &mut vector[..length]
}

/// Context `[T, H]`, and the logarithm of each softmax's denominator, f32 `[A, n]` for each text after another; see
/// [`super::attention`].
pub fn forward<E: Number>(
    qkv: &Tensor,
    offsets: &[usize],
    heads: usize,
    dropped: Option<Dropout<'_>>,
) -> Result<(Tensor, Tensor)> {
    let (tokens, triple) = qkv.dims2()?;
    let (width, texts) = (triple / 3, texts(offsets));
    let (mut context, mut denominators) =
        (Fresh::<E>::new(tokens * width), Fresh::<f32>::new(tokens * heads));
    let dropped = dropped.filter(|d| d.rate > 0.0);
    read_as(qkv, |qkv: &[E]| {
        let contexts = context.parts(texts.iter().map(|t| t.length * width));
        let logs = denominators.parts(texts.iter().map(|t| t.length * heads));
        texts.par_iter().zip(contexts).zip(logs).for_each_init(
            Scratch::default,
            |scratch, ((text, context), logs)| {
                let rows = &qkv[text.start * triple..][..text.length * triple];
                text_forward(rows, heads, *text, dropped, scratch, (context.zeros(), logs.zeros()));
            },
        );
    })?;
    Ok((
        Tensor::from_vec(context.done(), (tokens, width), qkv.device())?,
        Tensor::from_vec(denominators.done(), tokens * heads, qkv.device())?,
    ))
}

fn text_forward<E: Number>(
    rows: &[E],
    heads: usize,
    text: Text,
    dropped: Option<Dropout<'_>>,
    scratch: &mut Scratch,
    (context, denominators): (&mut [E], &mut [f32]),
) {
    let n = text.length;
    if n == 0 {
        return;
    }
    let (width, d) = (context.len() / n, context.len() / n / heads);
    let scale = 1.0 / (d as f32).sqrt();
    let [queries, keys, values, outer] =
        [&mut scratch.queries, &mut scratch.keys, &mut scratch.values, &mut scratch.outer]
            .map(|v| room(v, n * d));
    for (head, logs) in denominators.chunks_exact_mut(n).enumerate() {
        let columns = |part| Columns { stride: 3 * width, first: part * width + head * d, d };
        wide::<Take, _>((rows, columns(0), &mut *queries));
        wide::<Take, _>((rows, columns(1), &mut *keys));
        wide::<Take, _>((rows, columns(2), &mut *values));
        let blocks = queries.chunks(BLOCK * d).zip(outer.chunks_mut(BLOCK * d)).zip(logs.chunks_mut(BLOCK));
        for (block, ((queries, outer), logs)) in blocks.enumerate() {
            let scores = room(&mut scratch.scores, logs.len() * n);
            multiply(scores, Matrix::rows(queries, d), Matrix::rows(keys, d).t(), scale, false);
            let token = text.start + block * BLOCK;
            wide::<Softmax, _>((&mut *scores, logs, Rows { token, head, dropped }));
            multiply(outer, Matrix::rows(scores, n), Matrix::rows(values, d), 1.0, false);
        }
        wide::<Put, _>((&*outer, Columns { stride: width, first: head * d, d }, &mut *context));
    }
}

/// The gradient of `qkv`; see [`super::attention_backward`].
pub fn backward<E: Number>(
    denominators: &Tensor,
    qkv: &Tensor,
    offsets: &[usize],
    heads: usize,
    dropped: Option<Dropout<'_>>,
    dcontext: &Tensor,
) -> Result<Tensor> {
    let (tokens, triple) = qkv.dims2()?;
    let texts = texts(offsets);
    let mut dqkv = Fresh::<E>::new(tokens * triple);
    let dropped = dropped.filter(|d| d.rate > 0.0);
    read_as(qkv, |qkv: &[E]| {
        read_as(dcontext, |dcontext: &[E]| {
            read_as(denominators, |logs: &[f32]| {
                let parts = dqkv.parts(texts.iter().map(|t| t.length * triple));
                texts.par_iter().zip(parts).for_each_init(Scratch::default, |scratch, (text, dqkv)| {
                    let of = |width: usize| text.start * width..(text.start + text.length) * width;
                    let inputs = (&qkv[of(triple)], &dcontext[of(triple / 3)], &logs[of(heads)]);
                    text_backward(inputs, heads, *text, dropped, scratch, dqkv.zeros());
                });
            })
        })
    })???;
    Tensor::from_vec(dqkv.done(), (tokens, triple), qkv.device())
}

fn text_backward<E: Number>(
    (rows, dcontext, denominators): (&[E], &[E], &[f32]),
    heads: usize,
    text: Text,
    dropped: Option<Dropout<'_>>,
    scratch: &mut Scratch,
    dqkv: &mut [E],
) {
    let n = text.length;
    if n == 0 {
        return;
    }
    let (width, d) = (dcontext.len() / n, dcontext.len() / n / heads);
    let scale = 1.0 / (d as f32).sqrt();
    let Scratch { queries, keys, values, outer, dqueries, dkeys, dvalues, scores, dscores } = scratch;
    let [queries, keys, values, outer, dqueries, dkeys, dvalues] =
        [queries, keys, values, outer, dqueries, dkeys, dvalues].map(|v| room(v, n * d));
    for (head, logs) in denominators.chunks_exact(n).enumerate() {
        let columns = |part| Columns { stride: 3 * width, first: part * width + head * d, d };
        wide::<Take, _>((rows, columns(0), &mut *queries));
        wide::<Take, _>((rows, columns(1), &mut *keys));
        wide::<Take, _>((rows, columns(2), &mut *values));
        wide::<Take, _>((dcontext, Columns { stride: width, first: head * d, d }, &mut *outer));
        let blocks = queries.chunks(BLOCK * d).zip(outer.chunks(BLOCK * d));
        let blocks = blocks.zip(dqueries.chunks_mut(BLOCK * d)).zip(logs.chunks(BLOCK)).enumerate();
        for (block, (((queries, outer), dqueries), logs)) in blocks {
            let [scores, dscores] = [&mut *scores, &mut *dscores].map(|v| room(v, logs.len() * n));
            let [queries, outer] = [queries, outer].map(|x| Matrix::rows(x, d));
            multiply(scores, queries, Matrix::rows(keys, d).t(), scale, false);
            multiply(dscores, outer, Matrix::rows(values, d).t(), 1.0, false);
            let token = text.start + block * BLOCK;
            wide::<SoftmaxBackward, _>((&mut *scores, &mut *dscores, logs, Rows { token, head, dropped }));
            let [scores, dscores] = [&*scores, &*dscores].map(|x| Matrix::rows(x, n));
            multiply(dvalues, scores.t(), outer, 1.0, block > 0);
            multiply(dqueries, dscores, Matrix::rows(keys, d), scale, false);
            multiply(dkeys, dscores.t(), queries, scale, block > 0);
        }
        for (part, from) in [&*dqueries, &*dkeys, &*dvalues].into_iter().enumerate() {
            wide::<Put, _>((from, columns(part), &mut *dqkv));
        }
    }
}
