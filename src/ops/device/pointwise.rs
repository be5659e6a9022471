//! Launches of `kernels/pointwise.cuh`.

use candle_core::{Result, Tensor};

use super::super::dropout::Dropout;
use super::{Arg, Launch, WARP, drop_args, drop_keys, empty, launch, typed};

const THREADS: usize = 256;

/// Rows that a thread walks over.
const ROWS: usize = 4;

fn pointwise(kernel: &str, like: &Tensor, args: Vec<Arg<'_>>) -> Result<()> {
    pointwise_with(kernel, like, args, [])
}

/// Launches a kernel with these arguments, the matrix's rows and columns, how its blocks lie on it, and further ones.
fn pointwise_with<'a, const N: usize>(
    kernel: &str,
    like: &Tensor,
    mut args: Vec<Arg<'a>>,
    further: [Arg<'a>; N],
) -> Result<()> {
    let (rows, width) = like.dims2()?;
    // As many lanes along a row, up to half a block, as leave the fewest without a column.
    let along = width.div_ceil(16 / like.dtype().size_in_bytes()).next_multiple_of(WARP).max(WARP);
    let log = along.trailing_zeros().min(7);
    let below = (THREADS >> log) * ROWS;
    let grid = (along >> log, rows.div_ceil(below).clamp(1, 65535));
    args.extend([Arg::count(rows), Arg::count(width), Arg::U32(log)]);
    args.extend(further);
    let kernel = typed(kernel, like)?;
    launch(like.device(), &Launch { kernel: &kernel, grid, threads: THREADS, shared: 0, args: &args })
}

/// In place.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<()> {
    pointwise("add_bias", x, vec![Arg::Write(x), Arg::Read(bias)])
}

/// `x` becomes `x + bias` in place; the result is its GELU.
pub fn bias_gelu(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let out = empty(x.shape(), x.dtype(), x.device())?;
    pointwise("bias_gelu", x, vec![Arg::Write(x), Arg::Read(bias), Arg::Write(&out)])?;
    Ok(out)
}

pub fn gelu_backward(x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let out = empty(x.shape(), x.dtype(), x.device())?;
    pointwise("gelu_backward", x, vec![Arg::Read(x), Arg::Read(dy), Arg::Write(&out)])?;
    Ok(out)
}

pub fn dropout(x: &Tensor, at: Dropout<'_>) -> Result<Tensor> {
    let out = empty(x.shape(), x.dtype(), x.device())?;
    let keys = drop_keys(Some(at), x)?;
    let dropped = drop_args(Some(at), keys.as_ref());
    pointwise_with("dropout", x, vec![Arg::Read(x), Arg::Write(&out)], dropped)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::emulator::skipped;
    use super::super::testing::{TYPES, both, close, shifted};
    use super::*;
    use crate::ops;
    use crate::ops::segments::Segments;
    use crate::ops::testing::random;

    #[test]
    fn pointwise_kernels_equal_the_host_form() {
        if skipped("pointwise_kernels_equal_the_host_form") {
            return;
        }
        // Rows that sixteen bytes divide, rows that they do not, and rows that begin elsewhere; more of them than a block works on.
        for (rows, width, shift) in [(19, 72, 0), (19, 70, 0), (41, 264, 0), (90, 24, 1)] {
            let segments = Segments::new(vec![0, rows], (0..rows as u64).collect());
            let at = Dropout { rate: 0.25, key: 4, tokens: &segments };
            let bias = random("bias", &[width]);
            for (dtype, allowed) in TYPES {
                let [(x, xw), (dy, dyw)] = ["x", "dy"].map(|name| {
                    let (x, wide) = both(&(random(name, &[rows, width]) * 3.0).expect("larger"), dtype);
                    (shifted(&x, shift), wide)
                });
                let host = ops::dropout(xw.copy().expect("copy"), Some(at)).expect("host");
                close("dropout", &dropout(&x, at).expect("kernel"), &host, allowed);
                let (up, activated) = ops::bias_gelu(xw.copy().expect("copy"), &bias).expect("host");
                let summed = shifted(&x, shift);
                add_bias(&summed, &bias).expect("kernel");
                close("bias", &summed, &up, allowed);
                let kernel_up = shifted(&x, shift);
                close("gelu", &bias_gelu(&kernel_up, &bias).expect("kernel"), &activated, allowed);
                close("up", &kernel_up, &up, allowed);
                let back = ops::gelu_backward(&xw, &dyw).expect("host");
                close("gelu backward", &gelu_backward(&x, &dy).expect("kernel"), &back, allowed);
            }
        }
    }
}
