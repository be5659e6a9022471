//! Operations of the encoder, each with its forward and its hand-written backward pass.
//!
//! Every operation takes and returns candle tensors and has three forms. The *host* form works in main
//! memory: one fused pass, vectorised through `pulp`'s run-time dispatch, threaded with rayon. The *device* form
//! launches a fused kernel on an NVIDIA GPU, in f32 or bf16 (`device/`). The *portable* form is composed from candle's own
//! primitives and runs on every device and type. Tests hold one against the other, and all against finite
//! differences. There is no autograd graph: the encoder calls backward passes in reverse order itself, which saves
//! the graph, its transposes and its copies.
//!
//! bf16 in main memory: the host forms read and write it, compute in f32 and round their results, as the device's do.
//!
//! Shapes: `T` tokens of all texts of a batch packed one after another without padding, `H` hidden width,
//! `A` heads. Text `i` holds the tokens `offsets[i]..offsets[i + 1]`.

// Kernels must be inlined into the code that was compiled for wider vectors; see `simd::wide`.
#![allow(clippy::inline_always, clippy::type_complexity)]

mod adamw;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
mod attention;
mod ball;
mod bottleneck;
pub mod check;
mod contrast;
mod coupling;
// The program without CUDA only type-checks it; the tests run it on the emulator.
#[cfg_attr(not(any(feature = "cuda", test)), allow(dead_code))]
mod device;
mod dropout;
mod embed;
mod fresh;
mod gelu;
mod half_form;
mod linear;
mod lowrank;
mod matrix;
mod norm;
mod number;
mod pool;
mod segments;
pub(crate) mod simd;
mod sum;

pub use adamw::{AdamW, global_norm};
pub use attention::{Attention, attention, attention_backward};
pub use ball::{text_norms, to_radius, token_noise};
pub use bottleneck::{
    BottleneckGradients, BottleneckWeights, SavedBottleneck, bottleneck, bottleneck_backward,
};
pub use contrast::{Contrast, Loss, info_nce};
pub use coupling::{Coupling, CouplingGradients, SavedCoupling};
pub use device::{open_gpu, usable};
pub use dropout::{Dropout, dropout};
pub use embed::{embed, first_row, gather, scatter_add, scatter_add_to};
pub use gelu::{bias_gelu, gelu_backward};
pub use half_form::cast;
pub(crate) use half_form::{halved, is_half, widened};
pub use linear::{add_bias, linear, linear_backward, matmul};
pub use lowrank::{LowRank, LowRankGradients};
pub use norm::{NormGradients, Normed, add_norm, add_norm_backward};
pub(crate) use number::{Number, change, change_as, read, read_as};
pub use pool::{Pool, normalise, normalise_backward, pool, pool_backward};
pub use segments::Segments;
pub(crate) use simd::{Kernel, wide};
pub use sum::add_to;

use candle_core::{DType, Tensor};

/// True where the host form may be used.
pub(crate) fn is_host(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// Rows a task handles, so that each task has enough to do and every core has some.
pub(crate) fn rows_per_task(rows: usize) -> usize {
    rows.div_ceil(4 * rayon::current_num_threads()).max(8)
}

#[cfg(test)]
pub(crate) mod testing {
    //! What the tests of the operations share.

    use candle_core::{Device, Result, Tensor};

    use crate::stream::Stream;

    /// A tensor of normal deviates.
    pub fn random(name: &str, shape: &[usize]) -> Tensor {
        let mut stream = Stream::new(11, name, 0);
        let data: Vec<f32> = (0..shape.iter().product()).map(|_| stream.normal() as f32).collect();
        Tensor::from_vec(data, shape, &Device::Cpu).expect("tensor")
    }

    /// Largest absolute difference.
    pub fn distance(a: &Tensor, b: &Tensor) -> f32 {
        assert_eq!(a.dims(), b.dims());
        let (a, b) = (flat(a), flat(b));
        a.iter().zip(&b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
    }

    pub fn flat(a: &Tensor) -> Vec<f32> {
        a.flatten_all().expect("flat").to_vec1().expect("f32")
    }

    /// Checks `gradient` (of `sum(weights * f(x))`) against central differences at some places.
    pub fn finite_differences(
        x: &Tensor,
        gradient: &Tensor,
        weights: &Tensor,
        f: impl Fn(&Tensor) -> Result<Tensor>,
    ) {
        let (base, gradient, weights) = (flat(x), flat(gradient), flat(weights));
        let value = |data: Vec<f32>| -> f64 {
            let x = Tensor::from_vec(data, x.dims(), &Device::Cpu).expect("x");
            flat(&f(&x).expect("f")).iter().zip(&weights).map(|(y, w)| f64::from(*y) * f64::from(*w)).sum()
        };
        let step = 1e-2f32;
        let stride = (base.len() / 40).max(1);
        for index in (0..base.len()).step_by(stride) {
            let moved = |by: f32| {
                let mut data = base.clone();
                data[index] += by;
                data
            };
            let slope = (value(moved(step)) - value(moved(-step))) / f64::from(2.0 * step);
            let given = f64::from(gradient[index]);
            let allowed = 2e-3 * (1.0 + slope.abs().max(given.abs()));
            assert!((slope - given).abs() < allowed, "at {index}: slope {slope}, gradient {given}");
        }
    }
}
