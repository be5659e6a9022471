//! Fused kernels for NVIDIA GPUs, in f32 and bf16: the third form of the operations.
//!
//! The kernels' source lies in `kernels/`; `build.rs` compiles it to PTX where the feature `cuda` is on. The code
//! here, which prepares arguments and grids, knows nothing of CUDA: [`launch`] does. In tests it hands the same request to
//! a program that runs the same kernels on the CPU (`emulator.rs`), so that both are tested on machines without a GPU.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod emulator;

mod attention;
mod norm;
mod optimiser;
mod pointwise;
mod target;
mod texts;

pub use attention::{Form, Forms, forms};
pub(super) use attention::{attention, attention_backward, has_kernel};
pub(super) use norm::{add_norm, add_norm_backward, column_sum};
pub(super) use optimiser::{Step, Tables, adamw, global_norm};
pub(super) use pointwise::{add_bias, bias_gelu, dropout, gelu_backward};
pub(super) use texts::{cross_entropy, embed, pool, pool_backward, scatter_rows};

use candle_core::{DType, Device, Result, Shape, Tensor};

use super::dropout::Dropout;

const WARP: usize = 32;

/// True where the kernels may be used: the tensor lies on an NVIDIA GPU, as f32 or bf16.
pub(super) fn fits(tensor: &Tensor) -> bool {
    tensor.device().is_cuda() && matches!(tensor.dtype(), DType::F32 | DType::BF16)
}

/// An argument of a kernel, in the kernel's order.
enum Arg<'a> {
    /// A contiguous tensor's elements, read only.
    Read(&'a Tensor),
    /// A contiguous tensor's elements, which the kernel fills or changes.
    Write(&'a Tensor),
    /// An array of pointers, one a tensor.
    Pointers(&'a Addresses),
    /// The same, and the kernel changes the tensors.
    WritePointers(&'a Addresses),
    Null,
    U32(u32),
    U64(u64),
    F32(f32),
}

impl<'a> Arg<'a> {
    fn or_null(tensor: Option<&'a Tensor>) -> Self {
        tensor.map_or(Arg::Null, Arg::Read)
    }

    fn count(number: usize) -> Self {
        Arg::U32(number as u32)
    }
}

/// Contiguous tensors of one device, and an array of their addresses there, for as many launches as it is kept.
#[derive(Clone, Debug)]
struct Addresses {
    /// I64, one a tensor, on a GPU.
    #[cfg(feature = "cuda")]
    table: Option<Tensor>,
    tensors: Vec<Tensor>,
}

impl Addresses {
    fn new(tensors: Vec<Tensor>) -> Result<Self> {
        if tensors.iter().any(|t| !t.is_contiguous()) {
            candle_core::bail!("a kernel's argument is not contiguous");
        }
        #[cfg(feature = "cuda")]
        let table = match tensors.first().map(Tensor::device) {
            Some(device) if device.is_cuda() => Some(cuda::addresses(&tensors, device)?),
            _ => None,
        };
        Ok(Self {
            #[cfg(feature = "cuda")]
            table,
            tensors,
        })
    }
}

/// One launch: `grid` blocks of `threads` threads with `shared` bytes of shared memory.
struct Launch<'a> {
    kernel: &'a str,
    grid: (usize, usize),
    threads: usize,
    shared: usize,
    args: &'a [Arg<'a>],
}

/// Opens the NVIDIA GPU with this number.
///
/// # Errors
/// Where there is none, or this binary was built without CUDA.
pub fn open_gpu(index: usize) -> Result<Device> {
    #[cfg(feature = "cuda")]
    return cuda::open(index);
    #[cfg(not(feature = "cuda"))]
    Device::new_cuda(index)
}

/// Whether this binary's kernels run on the device; where it is no NVIDIA GPU there is nothing to ask. The driver compiles them here, which takes
/// seconds the first time and is kept in its cache.
///
/// # Errors
/// Says which build or driver would do.
pub fn usable(device: &Device) -> Result<()> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => cuda::usable(device),
        _ => Ok(()),
    }
}

/// Runs a kernel on `device`.
fn launch(device: &Device, launch: &Launch<'_>) -> Result<()> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => cuda::launch(device, launch),
        #[cfg(test)]
        Device::Cpu => emulator::launch(launch),
        _ => candle_core::bail!("kernel {}: no such device in this binary", launch.kernel),
    }
}

/// A tensor whose elements a kernel is about to fill.
fn empty(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return cuda::empty(shape.into(), dtype, device);
    }
    // As little as a GPU's, so that tests see what a kernel leaves out.
    Tensor::full(f32::NAN, shape, device)?.to_dtype(dtype)
}

/// `name_f32` or `name_bf16`.
fn typed(name: &str, like: &Tensor) -> Result<String> {
    match like.dtype() {
        DType::F32 => Ok(format!("{name}_f32")),
        DType::BF16 => Ok(format!("{name}_bf16")),
        other => candle_core::bail!("kernel {name}: no form for {other:?}"),
    }
}

/// Dropout's four arguments; nothing is dropped where `keys` is null.
fn drop_args<'a>(dropped: Option<Dropout<'_>>, keys: Option<&'a Tensor>) -> [Arg<'a>; 4] {
    match (dropped.filter(|d| d.rate > 0.0), keys) {
        (Some(d), Some(keys)) => {
            [Arg::Read(keys), Arg::U64(d.key), Arg::U32(d.threshold()), Arg::F32(d.scale())]
        }
        _ => [Arg::Null, Arg::U64(0), Arg::U32(0), Arg::F32(1.0)],
    }
}

/// The keys on the device of `like`, where anything is dropped.
fn drop_keys(dropped: Option<Dropout<'_>>, like: &Tensor) -> Result<Option<Tensor>> {
    match dropped.filter(|d| d.rate > 0.0) {
        Some(at) => Ok(Some(at.tokens.on(like.device())?.keys)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod testing {
    //! Kernels are compared with the host form: closely in f32, within bf16's rounding in bf16.

    use candle_core::{DType, Tensor};

    use crate::ops::testing::flat;

    /// Types to test, and the largest difference allowed, as a share of the largest value.
    pub const TYPES: [(DType, f32); 2] = [(DType::F32, 2e-6), (DType::BF16, 1.2e-2)];

    /// The tensor as the kernel gets it, and the same values in f32 for the host.
    pub fn both(x: &Tensor, dtype: DType) -> (Tensor, Tensor) {
        let typed = x.to_dtype(dtype).expect("type");
        let wide = typed.to_dtype(DType::F32).expect("f32");
        (typed, wide)
    }

    /// The same matrix as a view that begins so many elements behind its storage's first.
    pub fn shifted(x: &Tensor, by: usize) -> Tensor {
        let flat = x.flatten_all().expect("flat");
        let all = Tensor::cat(&[&flat.narrow(0, 0, by).expect("head"), &flat], 0).expect("longer");
        all.narrow(0, by, flat.elem_count()).and_then(|part| part.reshape(x.shape())).expect("view")
    }

    pub fn close(what: &str, kernel: &Tensor, host: &Tensor, allowed: f32) {
        let kernel = flat(&kernel.to_dtype(DType::F32).expect("f32"));
        let host = flat(&host.to_dtype(DType::F32).expect("f32"));
        assert_eq!(kernel.len(), host.len(), "{what}");
        let largest = host.iter().fold(0f32, |a, x| a.max(x.abs())).max(1e-3);
        for (index, (a, b)) in kernel.iter().zip(&host).enumerate() {
            assert!((a - b).abs() <= allowed * largest, "{what} at {index}: kernel {a}, host {b}");
        }
    }
}
