//! Launches of `kernels/optimiser.cuh`: all parameters in one.

use candle_core::{DType, Device, Result, Tensor};

use super::super::adamw::Rates;
use super::{Arg, Launch, empty, launch};

/// Numbers a block works on, as in the kernels.
const CHUNK: usize = 16384;

/// How parameters of these sizes are cut for the kernels.
#[derive(Clone, Debug)]
struct Chunks {
    /// (parameter, chunk) of each block, u32 `[blocks, 2]`.
    table: Tensor,
    /// Numbers of each parameter, u32.
    counts: Tensor,
    blocks: usize,
}

impl Chunks {
    fn new(counts: &[usize], device: &Device) -> Result<Self> {
        let chunks: Vec<u32> = counts
            .iter()
            .enumerate()
            .flat_map(|(slot, &n)| (0..n.div_ceil(CHUNK)).flat_map(move |chunk| [slot as u32, chunk as u32]))
            .collect();
        let blocks = chunks.len() / 2;
        let counts: Vec<u32> = counts.iter().map(|&n| n as u32).collect();
        Ok(Self {
            table: Tensor::from_vec(chunks, (blocks, 2), device)?,
            counts: Tensor::from_slice(&counts, counts.len(), device)?,
            blocks,
        })
    }
}

/// Euclidean norm over all tensors (f32, contiguous, on one device); the blocks' sums are added in f64.
pub fn global_norm(tensors: &[&Tensor]) -> Result<f64> {
    let Some(first) = tensors.first() else { return Ok(0.0) };
    let counts: Vec<usize> = tensors.iter().map(|t| t.elem_count()).collect();
    let chunks = Chunks::new(&counts, first.device())?;
    let partial = empty(chunks.blocks, DType::F64, first.device())?;
    let args = [
        Arg::Pointers(tensors.to_vec()),
        Arg::Read(&chunks.table),
        Arg::Read(&chunks.counts),
        Arg::Write(&partial),
    ];
    let (grid, shared) = ((chunks.blocks, 1), 256 * 8);
    launch(first.device(), &Launch { kernel: "squares", grid, threads: 256, shared, args: &args })?;
    Ok(partial.to_vec1::<f64>()?.iter().sum::<f64>().sqrt())
}

/// One update of parameters and moments, in place. `keeps[i]`: 1 - learning rate * decay of parameter `i`.
pub fn adamw(
    parameters: &[&Tensor],
    firsts: &[&Tensor],
    seconds: &[&Tensor],
    gradients: &[&Tensor],
    keeps: &[f32],
    rates: Rates,
) -> Result<()> {
    let Some(first) = parameters.first() else { return Ok(()) };
    let device = first.device();
    let counts: Vec<usize> = parameters.iter().map(|t| t.elem_count()).collect();
    let chunks = Chunks::new(&counts, device)?;
    let keeps = Tensor::from_slice(keeps, keeps.len(), device)?;
    let args = [
        Arg::WritePointers(parameters.to_vec()),
        Arg::WritePointers(firsts.to_vec()),
        Arg::WritePointers(seconds.to_vec()),
        Arg::Pointers(gradients.to_vec()),
        Arg::Read(&chunks.table),
        Arg::Read(&chunks.counts),
        Arg::Read(&keeps),
        Arg::F32(rates.b1),
        Arg::F32(rates.b2),
        Arg::F32(rates.rate),
        Arg::F32(rates.root),
        Arg::F32(rates.scale),
        Arg::F32(rates.epsilon),
    ];
    launch(
        device,
        &Launch { kernel: "adamw", grid: (chunks.blocks, 1), threads: 256, shared: 0, args: &args },
    )
}

#[cfg(test)]
mod tests {
    use super::super::emulator::skipped;
    use super::super::testing::close;
    use super::*;
    use crate::ops::testing::random;
    use crate::ops::{AdamW, global_norm as host_norm};

    #[test]
    fn optimiser_kernels_equal_the_host_form() {
        if skipped("optimiser_kernels_equal_the_host_form") {
            return;
        }
        // The first parameter takes two chunks.
        let shapes: [&[usize]; 3] = [&[CHUNK + 5], &[7, 9], &[3]];
        let make = |name: &str| shapes.map(|shape| random(&format!("{name}{shape:?}"), shape));
        let mut host = make("p");
        let parameters = make("p");
        let zeros = || shapes.map(|shape| Tensor::zeros(shape, DType::F32, &Device::Cpu).expect("zeros"));
        let (firsts, seconds) = (zeros(), zeros());
        let mut optimiser = AdamW::new(&host, [0.9, 0.98], 1e-8, 0.1).expect("state");
        for step in 1..=3 {
            let gradients = make(&format!("g{step}"));
            let list: Vec<&Tensor> = gradients.iter().collect();
            let norm = global_norm(&list).expect("kernel");
            assert!((norm - host_norm(list.clone()).expect("host")).abs() < 1e-3, "{norm}");
            let options: Vec<_> = gradients.iter().cloned().map(Some).collect();
            optimiser.update(&mut host, &options, &[true, true, false], 0.01, 0.5).expect("host");
            let correct = |beta: f64| 1.0 - beta.powi(step);
            let rates = Rates {
                b1: 0.9,
                b2: 0.98,
                rate: (0.01 / correct(0.9)) as f32,
                root: correct(0.98).sqrt() as f32,
                scale: 0.5,
                epsilon: 1e-8,
            };
            let [p, m, v] = [&parameters, &firsts, &seconds].map(<[Tensor; 3]>::each_ref);
            adamw(&p, &m, &v, &list, &[1.0 - 0.001, 1.0 - 0.001, 1.0], rates).expect("kernel");
            for (kernel, host) in parameters.iter().zip(&host) {
                close("parameter", kernel, host, 1e-6);
            }
        }
    }
}
