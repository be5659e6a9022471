//! Launches of `kernels/pointwise.cuh`.

use candle_core::{Result, Tensor};

use super::super::dropout::Dropout;
use super::{Arg, Launch, blocks, drop_args, drop_keys, empty, launch, typed};

fn pointwise(kernel: &str, like: &Tensor, args: &[Arg<'_>]) -> Result<()> {
    let (kernel, grid) = (typed(kernel, like)?, blocks(like.elem_count()));
    launch(like.device(), &Launch { kernel: &kernel, grid, threads: 256, shared: 0, args })
}

/// In place.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<()> {
    let (_, width) = x.dims2()?;
    let count = x.elem_count() as u64;
    pointwise("add_bias", x, &[Arg::Write(x), Arg::Read(bias), Arg::U64(count), Arg::count(width)])
}

/// `x` becomes `x + bias` in place; the result is its GELU.
pub fn bias_gelu(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (_, width) = x.dims2()?;
    let out = empty(x.shape(), x.dtype(), x.device())?;
    let count = Arg::U64(x.elem_count() as u64);
    pointwise("bias_gelu", x, &[Arg::Write(x), Arg::Read(bias), Arg::Write(&out), count, Arg::count(width)])?;
    Ok(out)
}

pub fn gelu_backward(x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (_, width) = x.dims2()?;
    let out = empty(x.shape(), x.dtype(), x.device())?;
    let count = Arg::U64(x.elem_count() as u64);
    let args = [Arg::Read(x), Arg::Read(dy), Arg::Write(&out), count, Arg::count(width)];
    pointwise("gelu_backward", x, &args)?;
    Ok(out)
}

pub fn dropout(x: &Tensor, at: Dropout<'_>) -> Result<Tensor> {
    let (_, width) = x.dims2()?;
    let out = empty(x.shape(), x.dtype(), x.device())?;
    let keys = drop_keys(Some(at), x)?;
    let mut args = vec![Arg::Read(x), Arg::Write(&out), Arg::U64(x.elem_count() as u64), Arg::count(width)];
    args.extend(drop_args(Some(at), keys.as_ref()));
    pointwise("dropout", x, &args)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::emulator::skipped;
    use super::super::testing::{TYPES, both, close};
    use super::*;
    use crate::ops;
    use crate::ops::segments::Segments;
    use crate::ops::testing::random;

    #[test]
    fn pointwise_kernels_equal_the_host_form() {
        if skipped("pointwise_kernels_equal_the_host_form") {
            return;
        }
        // Rows that sixteen bytes divide, and rows that they do not.
        for (rows, width) in [(19, 72), (19, 70)] {
            let segments = Segments::new(vec![0, rows], (0..rows as u64).collect());
            let at = Dropout { rate: 0.25, key: 4, tokens: &segments };
            let bias = random("bias", &[width]);
            for (dtype, allowed) in TYPES {
                let [(x, xw), (dy, dyw)] = ["x", "dy"].map(|name| both(&random(name, &[rows, width]), dtype));
                let host = ops::dropout(xw.copy().expect("copy"), Some(at)).expect("host");
                close("dropout", &dropout(&x, at).expect("kernel"), &host, allowed);
                let (up, activated) = ops::bias_gelu(xw.copy().expect("copy"), &bias).expect("host");
                let summed = x.copy().expect("copy");
                add_bias(&summed, &bias).expect("kernel");
                close("bias", &summed, &up, allowed);
                let kernel_up = x.copy().expect("copy");
                close("gelu", &bias_gelu(&kernel_up, &bias).expect("kernel"), &activated, allowed);
                close("up", &kernel_up, &up, allowed);
                let back = ops::gelu_backward(&xw, &dyw).expect("host");
                close("gelu backward", &gelu_backward(&x, &dy).expect("kernel"), &back, allowed);
            }
        }
    }
}
