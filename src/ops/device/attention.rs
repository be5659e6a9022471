//! Launches of `kernels/attention.cuh` and `kernels/flash.cuh`.

mod form;

use candle_core::{DType, Result, Tensor};

use super::super::dropout::Dropout;
use super::super::segments::{Segments, TILE, Uploaded, WIDE_TILE};
use super::{Arg, Launch, WARP, drop_args, drop_keys, empty, launch};
pub use form::{Form, Forms, forms};

/// Threads of a block, as in the kernels.
const THREADS: usize = 128;

/// Rows of a tile that the backward kernels of `flash.cuh` walk over.
const WALK: usize = 32;

/// Whether there are kernels for heads of width `d`.
pub fn has_kernel(d: usize, dtype: DType) -> bool {
    matches!((dtype, d), (DType::F32, 32 | 64) | (DType::BF16, 32 | 64 | 128))
}

impl Form {
    /// Bytes of shared memory of the forward and the backward kernels (`Shape` and `Flash` in the kernels).
    fn shared(self, d: usize, dtype: DType) -> (usize, usize) {
        let size = dtype.size_in_bytes();
        if self == Self::Flash {
            let keys = if d == 128 { 32 } else { 64 };
            // Of each query in the two tiles also its lse, delta and dropout key.
            return (
                (WIDE_TILE + 4 * keys) * d * size,
                (2 * WIDE_TILE + 4 * WALK) * d * size + 2 * WALK * 12,
            );
        }
        let rows = TILE * (d + 8) * size;
        let weights = TILE * (TILE + 8) * size;
        let scores = TILE * (TILE + 4) * 4;
        let result = TILE * (d + 4) * 4;
        (2 * rows + weights + scores + result, 4 * rows + 2 * weights + 2 * scores)
    }

    fn kernel(self, part: &str, d: usize, dtype: DType) -> String {
        let name = if self == Self::Flash { "flash" } else { "attention" };
        format!("{name}_{part}_{d}_{}", if dtype == DType::BF16 { "bf16" } else { "f32" })
    }

    fn tiles(self, uploaded: &Uploaded) -> &Tensor {
        if self == Self::Flash { &uploaded.wide_tiles } else { &uploaded.tiles }
    }
}

/// The context `[T, H]`, and the natural logarithm of each softmax's denominator, f32 `[heads, T]`.
pub fn attention(
    qkv: &Tensor,
    segments: &Segments,
    heads: usize,
    dropped: Option<Dropout<'_>>,
) -> Result<(Tensor, Tensor)> {
    forward(Form::of(&[qkv], heads)?, qkv, segments, heads, dropped)
}

fn forward(
    form: Form,
    qkv: &Tensor,
    segments: &Segments,
    heads: usize,
    dropped: Option<Dropout<'_>>,
) -> Result<(Tensor, Tensor)> {
    let (tokens, triple) = qkv.dims2()?;
    let (width, device, dtype) = (triple / 3, qkv.device(), qkv.dtype());
    let d = width / heads;
    let uploaded = segments.on(device)?;
    let keys = drop_keys(dropped, qkv)?;
    let context = empty((tokens, width), dtype, device)?;
    let lse = empty((heads, tokens), DType::F32, device)?;
    let tiles = form.tiles(&uploaded);
    let mut args = vec![
        Arg::Read(qkv),
        Arg::Read(&uploaded.offsets),
        Arg::Read(tiles),
        Arg::Write(&context),
        Arg::Write(&lse),
        Arg::count(tokens),
        Arg::count(width),
        Arg::F32(1.0 / (d as f32).sqrt()),
    ];
    args.extend(drop_args(dropped, keys.as_ref()));
    let grid = (tiles.elem_count() / 2, heads);
    let (kernel, shared) = (form.kernel("forward", d, dtype), form.shared(d, dtype).0);
    launch(device, &Launch { kernel: &kernel, grid, threads: THREADS, shared, args: &args })?;
    Ok((context, lse))
}

/// The gradient of `qkv`; `context` and `lse` are the results of [`attention`].
pub fn attention_backward(
    (context, lse): (&Tensor, &Tensor),
    qkv: &Tensor,
    segments: &Segments,
    heads: usize,
    dropped: Option<Dropout<'_>>,
    dcontext: &Tensor,
) -> Result<Tensor> {
    let dcontext = &dcontext.contiguous()?;
    let form = Form::of(&[qkv, context, dcontext], heads)?;
    backward(form, (context, lse), qkv, segments, heads, dropped, dcontext)
}

fn backward(
    form: Form,
    (context, lse): (&Tensor, &Tensor),
    qkv: &Tensor,
    segments: &Segments,
    heads: usize,
    dropped: Option<Dropout<'_>>,
    dcontext: &Tensor,
) -> Result<Tensor> {
    let (tokens, triple) = qkv.dims2()?;
    let (width, device, dtype) = (triple / 3, qkv.device(), qkv.dtype());
    let d = width / heads;
    let delta = empty((heads, tokens), DType::F32, device)?;
    if form == Form::Tiles {
        let args = [
            Arg::Read(dcontext),
            Arg::Read(context),
            Arg::Write(&delta),
            Arg::count(tokens),
            Arg::count(heads),
            Arg::count(d),
        ];
        let (kernel, grid) = (super::typed("attention_delta", qkv)?, ((tokens * heads).div_ceil(8), 1));
        launch(device, &Launch { kernel: &kernel, grid, threads: 8 * WARP, shared: 0, args: &args })?;
    }
    let uploaded = segments.on(device)?;
    let keys = drop_keys(dropped, qkv)?;
    let dqkv = empty((tokens, triple), dtype, device)?;
    let tiles = form.tiles(&uploaded);
    let grid = (tiles.elem_count() / 2, heads);
    let shared = form.shared(d, dtype).1;
    for part in ["queries", "keys"] {
        let mut args = vec![
            Arg::Read(qkv),
            Arg::Read(&uploaded.offsets),
            Arg::Read(tiles),
            Arg::Read(dcontext),
            Arg::Read(lse),
            Arg::Read(&delta),
            Arg::Write(&dqkv),
            Arg::count(tokens),
            Arg::count(width),
            Arg::F32(1.0 / (d as f32).sqrt()),
        ];
        if form == Form::Flash && part == "queries" {
            // It computes delta on its way.
            args[5] = Arg::Write(&delta);
            args.insert(4, Arg::Read(context));
        }
        args.extend(drop_args(dropped, keys.as_ref()));
        let kernel = form.kernel(part, d, dtype);
        launch(device, &Launch { kernel: &kernel, grid, threads: THREADS, shared, args: &args })?;
    }
    Ok(dqkv)
}

#[cfg(test)]
mod tests {
    use super::super::emulator::skipped;
    use super::super::testing::{TYPES, both, close, shifted};
    use super::*;
    use crate::ops;
    use crate::ops::testing::random;

    /// Context and gradient by these kernels and by the host, with dropout and without.
    fn check(form: Form, lengths: &[usize], d: usize, (dtype, allowed): (DType, f32)) {
        let offsets: Vec<usize> = std::iter::once(0)
            .chain(lengths.iter().scan(0, |end, length| {
                *end += length;
                Some(*end)
            }))
            .collect();
        let tokens = lengths.iter().sum();
        let segments = Segments::new(offsets, (0..tokens as u64).map(|k| k * 7).collect());
        let (heads, width) = (2, 2 * d);
        let (qkv, qkvw) = both(&random("qkv", &[tokens, 3 * width]), dtype);
        let (dy, dyw) = both(&random("dy", &[tokens, width]), dtype);
        for dropped in [None, Some(Dropout { rate: 0.2, key: 6, tokens: &segments })] {
            let (context, lse) = forward(form, &qkv, &segments, heads, dropped).expect("kernel");
            let host = ops::attention(&qkvw, &segments, heads, dropped).expect("host");
            close("context", &context, &host.context, allowed);
            if form == Form::Flash {
                // A column too many or too few hides behind bf16's rounding, but not here.
                let (_, other) = forward(Form::Tiles, &qkv, &segments, heads, dropped).expect("kernel");
                close("lse", &lse, &other, 1e-5);
            }
            let saved = (&context, &lse);
            let back = backward(form, saved, &qkv, &segments, heads, dropped, &dy).expect("kernel");
            let other = ops::attention_backward(&host, &qkvw, &segments, heads, dropped, &dyw);
            close("gradient", &back, &other.expect("host"), allowed);
        }
    }

    #[test]
    fn attention_kernels_equal_the_host_form() {
        if skipped("attention_kernels_equal_the_host_form") {
            return;
        }
        // A text of one token, one of exactly a tile, and one of two tiles and a bit.
        for kind in TYPES {
            for d in [32, 64, 128].into_iter().filter(|&d| has_kernel(d, kind.0)) {
                check(Form::Tiles, &[5, 1, 32, 70], d, kind);
            }
        }
    }

    /// Texts of one token, a part of a warp, a warp, a token less and more than that, a token more than a block, two blocks and a bit; one without
    /// tokens.
    #[test]
    fn attention_in_registers_equals_the_host_form() {
        if skipped("attention_in_registers_equals_the_host_form") {
            return;
        }
        for d in [32, 64, 128] {
            check(Form::Flash, &[5, 1, 0, 16, 31, 65], d, TYPES[1]);
        }
        check(Form::Flash, &[130, 64, 33], 32, TYPES[1]);
    }

    #[test]
    fn what_begins_between_sixteen_bytes_goes_through_shared_memory() {
        let qkv = random("qkv", &[4, 3 * 64]).to_dtype(DType::BF16).expect("bf16");
        let of = |x: &Tensor| Form::of(&[&qkv, x], 2).expect("form");
        assert_eq!(of(&shifted(&qkv, 8)), Form::Flash);
        assert_eq!(of(&shifted(&qkv, 4)), Form::Tiles);
        assert_eq!(Form::of(&[&random("qkv", &[4, 192])], 2).expect("form"), Form::Tiles);
    }
}
