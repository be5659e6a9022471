//! Launches of `kernels/norm.cuh`.

use candle_core::{DType, Result, Tensor};

use super::super::dropout::Dropout;
use super::super::norm::{NormGradients, Normed};
use super::{Arg, Launch, WARP, drop_args, drop_keys, empty, launch, typed};

/// Rows that a block of `column_sums` adds up, as in the kernel.
const CHUNK_ROWS: usize = 256;

/// Warps a block, so that their rows fit into shared memory.
fn warps(width: usize) -> usize {
    (32 * 1024 / (4 * width)).clamp(1, 8)
}

pub fn add_norm(
    x: &Tensor,
    bias: Option<&Tensor>,
    dropped: Option<Dropout<'_>>,
    residual: Option<&Tensor>,
    (scale, shift): (&Tensor, &Tensor),
    epsilon: f64,
) -> Result<Normed> {
    let (rows, width) = x.dims2()?;
    let (device, dtype) = (x.device(), x.dtype());
    let output = empty((rows, width), dtype, device)?;
    let standard = empty((rows, width), dtype, device)?;
    let inverse_deviation = empty((rows, 1), DType::F32, device)?;
    let keys = drop_keys(dropped, x)?;
    let mut args = vec![
        Arg::Read(x),
        Arg::or_null(bias),
        Arg::or_null(residual),
        Arg::Read(scale),
        Arg::Read(shift),
        Arg::Write(&output),
        Arg::Write(&standard),
        Arg::Write(&inverse_deviation),
        Arg::count(rows),
        Arg::count(width),
        Arg::F32(epsilon as f32),
    ];
    args.extend(drop_args(dropped, keys.as_ref()));
    let warps = warps(width);
    launch(
        device,
        &Launch {
            kernel: &typed("add_norm", x)?,
            grid: (rows.div_ceil(warps), 1),
            threads: warps * WARP,
            shared: warps * width * 4,
            args: &args,
        },
    )?;
    Ok(Normed { output, standard, inverse_deviation })
}

pub fn add_norm_backward(
    normed: &Normed,
    scale: &Tensor,
    dropped: Option<Dropout<'_>>,
    dy: &Tensor,
) -> Result<NormGradients> {
    let dy = &dy.contiguous()?;
    let (rows, width) = dy.dims2()?;
    let (device, dtype) = (dy.device(), dy.dtype());
    let sum = empty((rows, width), dtype, device)?;
    let keys = drop_keys(dropped, dy)?;
    let x = if keys.is_some() { empty((rows, width), dtype, device)? } else { sum.clone() };
    let mut args = vec![
        Arg::Read(dy),
        Arg::Read(&normed.standard),
        Arg::Read(scale),
        Arg::Read(&normed.inverse_deviation),
        Arg::Write(&sum),
        if keys.is_some() { Arg::Write(&x) } else { Arg::Null },
        Arg::count(rows),
        Arg::count(width),
    ];
    args.extend(drop_args(dropped, keys.as_ref()));
    let kernel = typed("add_norm_backward", dy)?;
    launch(
        device,
        &Launch { kernel: &kernel, grid: (rows.div_ceil(8), 1), threads: 8 * WARP, shared: 0, args: &args },
    )?;
    let (shift, scale) = column_sums(dy, Some(&normed.standard))?;
    let scale = scale.ok_or_else(|| candle_core::Error::Msg("no weighted sums".into()))?;
    Ok(NormGradients { sum, x, scale, shift })
}

/// Sums over rows, f32 `[width]`: of `x`, and of `x * factor` where that is given.
pub fn column_sums(x: &Tensor, factor: Option<&Tensor>) -> Result<(Tensor, Option<Tensor>)> {
    let x = &x.contiguous()?;
    let (rows, width) = x.dims2()?;
    let (device, planes) = (x.device(), 1 + usize::from(factor.is_some()));
    let chunks = rows.div_ceil(CHUNK_ROWS);
    let partial = empty((planes, chunks, width), DType::F32, device)?;
    let args =
        [Arg::Read(x), Arg::or_null(factor), Arg::Write(&partial), Arg::count(rows), Arg::count(width)];
    let kernel = typed("column_sums", x)?;
    let grid = (width.div_ceil(WARP), chunks);
    launch(device, &Launch { kernel: &kernel, grid, threads: 256, shared: 2 * 8 * WARP * 4, args: &args })?;
    let sums = empty((planes, width), DType::F32, device)?;
    let args =
        [Arg::Read(&partial), Arg::Write(&sums), Arg::count(planes), Arg::count(chunks), Arg::count(width)];
    let grid = ((planes * width).div_ceil(256), 1);
    launch(device, &Launch { kernel: "sum_chunks", grid, threads: 256, shared: 0, args: &args })?;
    let weighted = if planes == 2 { Some(sums.get(1)?) } else { None };
    Ok((sums.get(0)?, weighted))
}

pub fn column_sum(x: &Tensor) -> Result<Tensor> {
    Ok(column_sums(x, None)?.0)
}

#[cfg(test)]
mod tests {
    use super::super::emulator::skipped;
    use super::super::testing::{TYPES, both, close};
    use super::*;
    use crate::ops::linear;
    use crate::ops::norm;
    use crate::ops::segments::Segments;
    use crate::ops::testing::random;

    #[test]
    fn norm_kernels_equal_the_host_form() {
        if skipped("norm_kernels_equal_the_host_form") {
            return;
        }
        // More than one chunk of rows, and a width that no power of two divides.
        let (rows, width) = (301, 72);
        let segments = Segments::new(vec![0, rows], (0..rows as u64).map(|k| k * 31).collect());
        let dropped = Some(Dropout { rate: 0.3, key: 9, tokens: &segments });
        let vectors = ["scale", "shift", "bias"].map(|name| random(name, &[width]));
        let [scale, shift, bias] = &vectors;
        for (dtype, allowed) in TYPES {
            let [(x, xw), (r, rw), (dy, dyw)] =
                ["x", "r", "dy"].map(|name| both(&random(name, &[rows, width]), dtype));
            for (bias, dropped, residual) in
                [(Some(bias), dropped, true), (None, None, false), (Some(bias), None, true)]
            {
                let (residual, wide) = if residual { (Some(&r), Some(&rw)) } else { (None, None) };
                let kernel = add_norm(&x, bias, dropped, residual, (scale, shift), 1e-5).expect("kernel");
                let host =
                    norm::add_norm(xw.copy().expect("copy"), bias, dropped, wide, (scale, shift), 1e-5)
                        .expect("host");
                close("output", &kernel.output, &host.output, allowed);
                let back = add_norm_backward(&kernel, scale, dropped, &dy).expect("kernel");
                let other = norm::add_norm_backward(&host, scale, dropped, &dyw).expect("host");
                close("sum", &back.sum, &other.sum, allowed);
                close("x", &back.x, &other.x, allowed);
                close("scale", &back.scale, &other.scale, allowed);
                close("shift", &back.shift, &other.shift, 2e-6);
            }
            close("columns", &column_sum(&x).expect("kernel"), &linear::column_sum(&xw).expect("host"), 2e-6);
        }
    }
}
