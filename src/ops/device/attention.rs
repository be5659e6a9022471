//! Launches of `kernels/attention.cuh`.

use candle_core::{DType, Result, Tensor};

use super::super::dropout::Dropout;
use super::super::segments::{Segments, TILE};
use super::{Arg, Launch, WARP, drop_args, drop_keys, empty, launch};

/// Threads of a block, as in the kernels.
const THREADS: usize = 128;

/// Bytes of shared memory of the forward and the backward kernels (`Shape` in the kernels).
fn shared(d: usize, dtype: DType) -> (usize, usize) {
    let size = dtype.size_in_bytes();
    let rows = TILE * (d + 8) * size;
    let weights = TILE * (TILE + 8) * size;
    let scores = TILE * (TILE + 4) * 4;
    let result = TILE * (d + 4) * 4;
    (2 * rows + weights + scores + result, 4 * rows + 2 * weights + 2 * scores)
}

/// Whether there are kernels for heads of width `d`.
pub fn has_kernel(d: usize, dtype: DType) -> bool {
    matches!((dtype, d), (DType::F32, 32 | 64) | (DType::BF16, 32 | 64 | 128))
}

fn name(part: &str, d: usize, dtype: DType) -> String {
    format!("attention_{part}_{d}_{}", if dtype == DType::BF16 { "bf16" } else { "f32" })
}

/// The context `[T, H]`, and the logarithm of each softmax's denominator, f32 `[heads, T]`.
pub fn attention(
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
    let mut args = vec![
        Arg::Read(qkv),
        Arg::Read(&uploaded.offsets),
        Arg::Read(&uploaded.tiles),
        Arg::Write(&context),
        Arg::Write(&lse),
        Arg::count(tokens),
        Arg::count(width),
        Arg::F32(1.0 / (d as f32).sqrt()),
    ];
    args.extend(drop_args(dropped, keys.as_ref()));
    let grid = (uploaded.tiles.elem_count() / 2, heads);
    let (kernel, shared) = (name("forward", d, dtype), shared(d, dtype).0);
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
    let (tokens, triple) = qkv.dims2()?;
    let (width, device, dtype) = (triple / 3, qkv.device(), qkv.dtype());
    let d = width / heads;
    let delta = empty((heads, tokens), DType::F32, device)?;
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
    let uploaded = segments.on(device)?;
    let keys = drop_keys(dropped, qkv)?;
    let dqkv = empty((tokens, triple), dtype, device)?;
    let grid = (uploaded.tiles.elem_count() / 2, heads);
    let shared = shared(d, dtype).1;
    for part in ["queries", "keys"] {
        let mut args = vec![
            Arg::Read(qkv),
            Arg::Read(&uploaded.offsets),
            Arg::Read(&uploaded.tiles),
            Arg::Read(dcontext),
            Arg::Read(lse),
            Arg::Read(&delta),
            Arg::Write(&dqkv),
            Arg::count(tokens),
            Arg::count(width),
            Arg::F32(1.0 / (d as f32).sqrt()),
        ];
        args.extend(drop_args(dropped, keys.as_ref()));
        launch(
            device,
            &Launch { kernel: &name(part, d, dtype), grid, threads: THREADS, shared, args: &args },
        )?;
    }
    Ok(dqkv)
}

#[cfg(test)]
mod tests {
    use super::super::emulator::skipped;
    use super::super::testing::{TYPES, both, close};
    use super::*;
    use crate::ops;
    use crate::ops::testing::random;

    #[test]
    fn attention_kernels_equal_the_host_form() {
        if skipped("attention_kernels_equal_the_host_form") {
            return;
        }
        // A text of one token, one of exactly a tile, and one of two tiles and a bit.
        let offsets = vec![0, 5, 6, 38, 108];
        let tokens = 108;
        let segments = Segments::new(offsets, (0..tokens as u64).map(|k| k * 7).collect());
        let dropped = Some(Dropout { rate: 0.2, key: 6, tokens: &segments });
        for (dtype, allowed) in TYPES {
            for d in [32, 64, 128].into_iter().filter(|&d| has_kernel(d, dtype)) {
                let (heads, width) = (2, 2 * d);
                let (qkv, qkvw) = both(&random("qkv", &[tokens, 3 * width]), dtype);
                let (dy, dyw) = both(&random("dy", &[tokens, width]), dtype);
                for dropped in [None, dropped] {
                    let (context, lse) = attention(&qkv, &segments, heads, dropped).expect("kernel");
                    let host = ops::attention(&qkvw, &segments, heads, dropped).expect("host");
                    close("context", &context, &host.context, allowed);
                    let saved = (&context, &lse);
                    let back =
                        attention_backward(saved, &qkv, &segments, heads, dropped, &dy).expect("kernel");
                    let other = ops::attention_backward(&host, &qkvw, &segments, heads, dropped, &dyw);
                    close("gradient", &back, &other.expect("host"), allowed);
                }
            }
        }
    }
}
