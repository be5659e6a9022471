//! Launches of `kernels/norm.cuh`.

use candle_core::{DType, Result, Tensor};

use super::super::dropout::Dropout;
use super::super::norm::{NormGradients, Normed};
use super::{Arg, Launch, WARP, drop_args, drop_keys, empty, launch, typed};

/// Rows that a block of `column_sums` adds up, as in the kernel.
const CHUNK_ROWS: usize = 256;

/// Blocks of the backward pass at most: two for each of the 132 processors of an H100 or H200, whatever the GPU, so that sums are added in
/// the same order on all.
const BLOCKS: usize = 264;

/// The name of the kernel whose warps hold a row in registers, where sixteen bytes divide rows and addresses and rows are short enough.
fn in_registers(name: &str, width: usize, rows: &[&Tensor], vectors: &[&Tensor]) -> Result<Option<String>> {
    let is_packed = |t: &&Tensor| {
        let size = t.dtype().size_in_bytes();
        (t.layout().start_offset() * size).is_multiple_of(16) && (width * size).is_multiple_of(16)
    };
    if !rows.iter().chain(vectors).all(is_packed) {
        return Ok(None);
    }
    match width {
        0..=768 => typed(&format!("{name}_24"), rows[0]).map(Some),
        769..=1024 => typed(&format!("{name}_32"), rows[0]).map(Some),
        _ => Ok(None),
    }
}

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
    let wide: Vec<&Tensor> = [x].into_iter().chain(residual).collect();
    let vectors: Vec<&Tensor> = [scale, shift].into_iter().chain(bias).collect();
    let (kernel, warps, shared) = match in_registers("add_norm", width, &wide, &vectors)? {
        Some(kernel) => (kernel, 8, 0),
        None => (typed("add_norm", x)?, warps(width), warps(width) * width * 4),
    };
    let grid = (rows.div_ceil(warps), 1);
    launch(device, &Launch { kernel: &kernel, grid, threads: warps * WARP, shared, args: &args })?;
    Ok(Normed { output, standard, inverse_deviation })
}

pub fn add_norm_backward(
    normed: &Normed,
    scale: &Tensor,
    dropped: Option<Dropout<'_>>,
    dy: &Tensor,
    beside: Option<&Tensor>,
) -> Result<NormGradients> {
    let (dy, beside) = (&dy.contiguous()?, beside.map(Tensor::contiguous).transpose()?);
    let (rows, width) = dy.dims2()?;
    let (device, dtype) = (dy.device(), dy.dtype());
    let wide: Vec<&Tensor> = [dy, &normed.standard].into_iter().chain(&beside).collect();
    let Some(kernel) = in_registers("add_norm_backward", width, &wide, &[scale])? else {
        let dy = match &beside {
            Some(beside) => &(dy + beside)?,
            None => dy,
        };
        return row_by_row(normed, scale, dropped, dy);
    };
    let sum = empty((rows, width), dtype, device)?;
    let keys = drop_keys(dropped, dy)?;
    let x = if keys.is_some() { empty((rows, width), dtype, device)? } else { sum.clone() };
    let blocks = rows.div_ceil(8).min(BLOCKS);
    let partial = empty((2, blocks, width), DType::F32, device)?;
    let mut args = vec![
        Arg::Read(dy),
        Arg::or_null(beside.as_ref()),
        Arg::Read(&normed.standard),
        Arg::Read(scale),
        Arg::Read(&normed.inverse_deviation),
        Arg::Write(&sum),
        if keys.is_some() { Arg::Write(&x) } else { Arg::Null },
        Arg::Write(&partial),
        Arg::count(rows),
        Arg::count(width),
    ];
    args.extend(drop_args(dropped, keys.as_ref()));
    let (grid, shared) = ((blocks, 1), 8 * width * 4);
    launch(device, &Launch { kernel: &kernel, grid, threads: 8 * WARP, shared, args: &args })?;
    let sums = sum_parts(&partial)?;
    Ok(NormGradients { sum, x, scale: sums.get(1)?, shift: sums.get(0)? })
}

/// The same for rows of any length and at any place: two passes.
fn row_by_row(
    normed: &Normed,
    scale: &Tensor,
    dropped: Option<Dropout<'_>>,
    dy: &Tensor,
) -> Result<NormGradients> {
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
    let (kernel, grid) = (typed("add_norm_backward", dy)?, (rows.div_ceil(8), 1));
    launch(device, &Launch { kernel: &kernel, grid, threads: 8 * WARP, shared: 0, args: &args })?;
    let (shift, scale) = column_sums(dy, Some(&normed.standard))?;
    let scale = scale.ok_or_else(|| candle_core::Error::Msg("no weighted sums".into()))?;
    Ok(NormGradients { sum, x, scale, shift })
}

/// Sums over the parts of each plane: f32 `[planes, parts, width]` to `[planes, width]`.
fn sum_parts(partial: &Tensor) -> Result<Tensor> {
    let (planes, parts, width) = partial.dims3()?;
    let sums = empty((planes, width), DType::F32, partial.device())?;
    let args = [Arg::Read(partial), Arg::Write(&sums), Arg::count(parts), Arg::count(width)];
    let (grid, shared) = ((width.div_ceil(WARP), planes), 8 * WARP * 4);
    let launched = Launch { kernel: "sum_parts", grid, threads: 8 * WARP, shared, args: &args };
    launch(partial.device(), &launched)?;
    Ok(sums)
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
    let sums = sum_parts(&partial)?;
    let weighted = if planes == 2 { Some(sums.get(1)?) } else { None };
    Ok((sums.get(0)?, weighted))
}

pub fn column_sum(x: &Tensor) -> Result<Tensor> {
    Ok(column_sums(x, None)?.0)
}

#[cfg(test)]
mod tests {
    use super::super::emulator::skipped;
    use super::super::testing::{TYPES, both, close, shifted};
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
        // More than one chunk of rows, and a width that no power of two divides; more rows than a turn of all blocks, and two packs a lane
        // or more; rows that sixteen bytes do not divide, that begin elsewhere, and that are too long for registers.
        for (rows, width, shift) in
            [(301, 72, 0), (2200, 24, 0), (9, 776, 0), (21, 37, 0), (20, 40, 1), (3, 1032, 0)]
        {
            norm_kernels(rows, width, shift);
        }
    }

    fn norm_kernels(rows: usize, width: usize, offset: usize) {
        let segments = Segments::new(vec![0, rows], (0..rows as u64).map(|k| k * 31).collect());
        let dropped = Some(Dropout { rate: 0.3, key: 9, tokens: &segments });
        let vectors = ["scale", "shift", "bias"].map(|name| random(name, &[width]));
        let [scale, shift, bias] = &vectors;
        for (dtype, allowed) in TYPES {
            let [(x, xw), (r, rw), (dy, dyw), (more, morew)] = ["x", "r", "dy", "more"].map(|name| {
                let (x, wide) = both(&random(name, &[rows, width]), dtype);
                (shifted(&x, offset), wide)
            });
            for (bias, dropped, residual) in
                [(Some(bias), dropped, true), (None, None, false), (Some(bias), None, true)]
            {
                let (residual, wide) = if residual { (Some(&r), Some(&rw)) } else { (None, None) };
                let kernel = add_norm(&x, bias, dropped, residual, (scale, shift), 1e-5).expect("kernel");
                let host =
                    norm::add_norm(xw.copy().expect("copy"), bias, dropped, wide, (scale, shift), 1e-5)
                        .expect("host");
                close("output", &kernel.output, &host.output, allowed);
                close("deviation", &kernel.inverse_deviation, &host.inverse_deviation, 2e-6);
                let (beside, wide) = match (bias, dropped) {
                    (Some(_), Some(_)) => (None, None),
                    _ => (Some(&more), Some(&morew)),
                };
                let back = add_norm_backward(&kernel, scale, dropped, &dy, beside).expect("kernel");
                let other = norm::add_norm_backward(&host, scale, dropped, &dyw, wide).expect("host");
                close("sum", &back.sum, &other.sum, allowed);
                close("x", &back.x, &other.x, allowed);
                close("scale", &back.scale, &other.scale, allowed);
                close("shift", &back.shift, &other.shift, if wide.is_some() { allowed } else { 2e-6 });
            }
            close("columns", &column_sum(&x).expect("kernel"), &linear::column_sum(&xw).expect("host"), 2e-6);
        }
    }
}
