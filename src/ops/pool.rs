//! From token vectors to one vector a text: mean or first token, then unit length.

use candle_core::{D, DType, Result, Tensor};
use half::bf16;
use rayon::prelude::*;

use super::fresh::Fresh;
use super::segments::Segments;
use super::simd::{Kernel, sum_by, wide};
use super::{Number, change, device, is_half, is_host, read, read_as, rows_per_task};

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
    if is_host(x) {
        return host_pool::<f32>(kind, x, segments);
    }
    if is_half(x) {
        return host_pool::<bf16>(kind, x, segments);
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

fn host_pool<E: Number>(kind: Pool, x: &Tensor, segments: &Segments) -> Result<Tensor> {
    let (offsets, width) = (&segments.offsets, x.dim(1)?);
    let mut out = vec![0f32; segments.texts() * width];
    read_as(x, |x: &[E]| {
        out.par_chunks_mut(width).enumerate().for_each(|(text, out)| {
            let tokens = &x[offsets[text] * width..offsets[text + 1] * width];
            wide::<PoolText, _>((kind, tokens, out));
        });
    })?;
    Tensor::from_vec(out, (segments.texts(), width), x.device())
}

/// The gradient with respect to the token vectors: `[N, H]` to `[tokens, H]`, in `dtype`.
///
/// # Errors
/// Where the device fails.
pub fn pool_backward(kind: Pool, dy: &Tensor, segments: &Segments, dtype: DType) -> Result<Tensor> {
    if device::fits(dy) {
        return device::pool_backward(kind, dy, segments, dtype);
    }
    match dtype {
        DType::F32 if is_host(dy) => host_spread::<f32>(kind, dy, segments),
        DType::BF16 if is_host(dy) => host_spread::<bf16>(kind, dy, segments),
        _ => spread(kind, dy, segments, dtype),
    }
}

fn host_spread<E: Number>(kind: Pool, dy: &Tensor, segments: &Segments) -> Result<Tensor> {
    let (tokens, width) = (segments.tokens(), dy.dim(1)?);
    let mut dx = Fresh::<E>::new(tokens * width);
    let parts = dx.parts(segments.offsets.windows(2).map(|bounds| (bounds[1] - bounds[0]) * width));
    read(dy, |dy| {
        let texts = parts.into_par_iter().zip(dy.par_chunks(width));
        texts.for_each(|(dx, dy)| wide::<SpreadText, _>((kind, dx.zeros(), dy)));
    })?;
    Tensor::from_vec(dx.done(), (tokens, width), dy.device())
}

/// [`pool_backward`] through candle's operations.
fn spread(kind: Pool, dy: &Tensor, segments: &Segments, dtype: DType) -> Result<Tensor> {
    let (offsets, tokens) = (&segments.offsets, segments.tokens());
    let (mut rows, mut weights) = (vec![0u32; tokens], vec![0f32; tokens]);
    for (text, token, weight) in entries(kind, offsets) {
        rows[token] = text as u32;
        weights[token] = weight;
    }
    let spread = dy.index_select(&Tensor::from_vec(rows, tokens, dy.device())?, 0)?;
    spread.broadcast_mul(&Tensor::from_vec(weights, (tokens, 1), dy.device())?)?.to_dtype(dtype)
}

struct PoolText;

impl<E: Number> Kernel<(Pool, &[E], &mut [f32])> for PoolText {
    type Out = ();

    #[inline(always)]
    fn run((kind, tokens, out): (Pool, &[E], &mut [f32])) {
        let width = out.len();
        let (tokens, weight) = match kind {
            Pool::First => (&tokens[..width], 1.0),
            Pool::Mean => (tokens, width as f32 / tokens.len() as f32),
        };
        for token in tokens.chunks_exact(width) {
            for (out, x) in out.iter_mut().zip(token) {
                *out += weight * x.wide();
            }
        }
    }
}

struct SpreadText;

impl<E: Number> Kernel<(Pool, &mut [E], &[f32])> for SpreadText {
    type Out = ();

    #[inline(always)]
    fn run((kind, dx, dy): (Pool, &mut [E], &[f32])) {
        let width = dy.len();
        let (dx, weight) = match kind {
            Pool::First => (&mut dx[..width], 1.0),
            Pool::Mean => {
                let weight = width as f32 / dx.len() as f32;
                (dx, weight)
            }
        };
        for dx in dx.chunks_exact_mut(width) {
            for (dx, dy) in dx.iter_mut().zip(dy) {
                *dx = E::near(weight * dy);
            }
        }
    }
}

/// Rows to bring to unit length, their width, and their lengths to fill.
type Rows<'a> = (&'a mut [f32], usize, &'a mut [f32]);

struct Normalise;

impl Kernel<Rows<'_>> for Normalise {
    type Out = ();

    #[inline(always)]
    fn run((rows, width, lengths): Rows<'_>) {
        for (row, length) in rows.chunks_exact_mut(width).zip(lengths) {
            let norm = sum_by(width, |i| row[i] * row[i]).sqrt();
            // What is not a number stays so.
            *length = if norm < LEAST { LEAST } else { norm };
            for x in row.iter_mut() {
                *x /= *length;
            }
        }
    }
}

/// The gradient, which comes as that of the unit vectors; then unit vectors, width and lengths.
type RowsBack<'a> = (&'a mut [f32], &'a [f32], usize, &'a [f32]);

struct NormaliseBack;

impl Kernel<RowsBack<'_>> for NormaliseBack {
    type Out = ();

    #[inline(always)]
    fn run((rows, unit, width, lengths): RowsBack<'_>) {
        for ((row, unit), length) in rows.chunks_exact_mut(width).zip(unit.chunks_exact(width)).zip(lengths) {
            let along = sum_by(width, |i| row[i] * unit[i]);
            for (x, u) in row.iter_mut().zip(unit) {
                *x = (*x - u * along) / length;
            }
        }
    }
}

/// The least length that a row is divided by.
const LEAST: f32 = 1e-12;

/// Rows of `[N, H]` to unit length; also the lengths `[N, 1]`. A zero row stays zero.
///
/// # Errors
/// Where the device fails.
pub fn normalise(x: &Tensor) -> Result<(Tensor, Tensor)> {
    if is_host(x) && x.is_contiguous() {
        let (rows, width) = x.dims2()?;
        let (unit, mut lengths) = (x.copy()?, vec![0f32; rows]);
        let task = rows_per_task(rows);
        change(&unit, |unit| {
            let tasks = unit.par_chunks_mut(task * width).zip(lengths.par_chunks_mut(task));
            tasks.for_each(|(rows, lengths)| wide::<Normalise, _>((rows, width, lengths)));
        })?;
        return Ok((unit, Tensor::from_vec(lengths, (rows, 1), x.device())?));
    }
    let length = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(f64::from(LEAST))?;
    Ok((x.broadcast_div(&length)?, length))
}

/// The gradient with respect to the input of [`normalise`], from its result `unit` and `length`.
///
/// # Errors
/// Where the device fails.
pub fn normalise_backward(unit: &Tensor, length: &Tensor, dy: &Tensor) -> Result<Tensor> {
    if [unit, length, dy].into_iter().all(|t| is_host(t) && t.is_contiguous()) {
        let (rows, width) = dy.dims2()?;
        let (dx, task) = (dy.copy()?, rows_per_task(rows));
        read(unit, |unit| {
            read(length, |lengths| {
                change(&dx, |dx| {
                    let tasks = dx.par_chunks_mut(task * width).zip(unit.par_chunks(task * width));
                    tasks.zip(lengths.par_chunks(task)).for_each(|((rows, unit), lengths)| {
                        wide::<NormaliseBack, _>((rows, unit, width, lengths));
                    });
                })
            })
        })???;
        return Ok(dx);
    }
    let along = (dy * unit)?.sum_keepdim(D::Minus1)?;
    (dy - unit.broadcast_mul(&along)?)?.broadcast_div(length)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{distance, finite_differences, flat, random};
    use super::*;

    #[test]
    fn the_host_forms_equal_the_portable_ones() {
        // Doubles have no form of their own.
        let both = |name: &str, shape: &[usize]| {
            let x = random(name, shape);
            (x.to_dtype(DType::F64).expect("f64"), x)
        };
        let close = |what: &str, a: &Tensor, b: &Tensor| {
            let off = distance(&a.to_dtype(DType::F32).expect("f32"), b);
            assert!(off < 2e-6, "{what}: {off}");
        };
        let segments = Segments::new(vec![0, 1, 18, 30, 31], vec![]);
        let ((wide, x), dy) = (both("x", &[31, 37]), random("dy", &[4, 37]));
        for kind in [Pool::Mean, Pool::First] {
            let host = pool(kind, &x, &segments).expect("host");
            close("pool", &pool(kind, &wide, &segments).expect("portable"), &host);
            let host = pool_backward(kind, &dy, &segments, DType::F32).expect("host");
            close("back", &spread(kind, &dy, &segments, DType::F32).expect("portable"), &host);
        }
        let ((unit_wide, length_wide), (unit, length)) =
            (normalise(&wide).expect("portable"), normalise(&x).expect("host"));
        close("unit", &unit_wide, &unit);
        close("length", &length_wide, &length);
        let (wide, d) = both("d", &[31, 37]);
        let host = normalise_backward(&unit, &length, &d).expect("host");
        close("unit back", &normalise_backward(&unit_wide, &length_wide, &wide).expect("portable"), &host);
        let zero =
            normalise(&Tensor::zeros((1, 4), DType::F32, x.device()).expect("zero")).expect("zero row");
        assert_eq!(distance(&zero.0, &zero.0.zeros_like().expect("zeros")), 0.0, "a zero row stays zero");
        let odd = Tensor::new(&[[0.1f32, f32::NAN, 0.1]], x.device()).expect("row");
        let (unit, length) = normalise(&odd).expect("row");
        assert!(flat(&unit).into_iter().chain(flat(&length)).all(f32::is_nan), "{unit} {length}");
    }

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
