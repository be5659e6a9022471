//! Speed of the matrix products of training at the shapes of the encoders, for comparison with a BLAS.
//!
//! `cargo bench --bench matmul -- [TOKENS] [TIMES]` (2,832 tokens, 15 times): for each shape of a layer's weight the product
//! of the forward pass (`x W^T`) and both of the backward pass (`dy W`, `dy^T x`), f32, through the calls that training
//! makes. Prints GFLOP/s, best and median; `benches/pytorch/matmul.py` measures the same in `NumPy` and `PyTorch`.
#![allow(clippy::print_stdout, clippy::expect_used)]

use std::time::Instant;

use candle_core::{Device, Result, Tensor};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Output and input width: attention and feed-forward weights of the 384 wide and of the base encoders.
const SHAPES: [(usize, usize); 6] =
    [(384, 384), (1536, 384), (384, 1536), (768, 768), (3072, 768), (768, 3072)];

fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse::<usize>().ok());
    let tokens = numbers.next().unwrap_or(2832);
    let times = numbers.next().unwrap_or(15).max(1);
    let random = |rows, columns| Tensor::randn(0f32, 1.0, (rows, columns), &Device::Cpu);
    println!("{tokens} tokens, {times} times; GFLOP/s best (median)");
    for (out, input) in SHAPES {
        let (x, weight, dy) = (random(tokens, input)?, random(out, input)?, random(tokens, out)?);
        let products: [(&str, &dyn Fn() -> Result<Tensor>); 3] = [
            ("x W^T", &|| x.matmul(&weight.t()?)),
            ("dy W", &|| dy.matmul(&weight)),
            ("dy^T x", &|| dy.t()?.matmul(&x)),
        ];
        let mut line = format!("{out:>5} x {input:<5}");
        for (name, product) in products {
            product()?;
            let mut rates = Vec::with_capacity(times);
            for _ in 0..times {
                let start = Instant::now();
                let made = product()?;
                rates.push(2e-9 * (tokens * out * input) as f64 / start.elapsed().as_secs_f64());
                drop(made);
            }
            rates.sort_by(f64::total_cmp);
            let best = rates.last().copied().unwrap_or_default();
            line += &format!("  {name} {best:6.1} ({:6.1})", rates[times / 2]);
        }
        println!("{line}");
    }
    Ok(())
}
