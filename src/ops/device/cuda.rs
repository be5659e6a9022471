//! Launching on a real GPU. Unsafe: a kernel's arguments are raw addresses.
#![allow(unsafe_code)]

use candle_core::cuda_backend::CudaStorageSlice;
use candle_core::cuda_backend::cudarc::driver::sys::{CUfunction_attribute, CUmemPool_attribute};
use candle_core::cuda_backend::cudarc::driver::{
    CudaStream, DevicePtr, LaunchConfig, PushKernelArg, SyncOnDrop, result,
};
use candle_core::{CudaDevice, DType, Device, Layout, Result, Shape, Storage, Tensor, bail};

use super::{Arg, Launch, target};

const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// Shared memory that a block may use without asking.
const PLAIN_SHARED: usize = 48 * 1024;

/// A tensor of unspecified elements.
pub fn empty(shape: Shape, dtype: DType, device: &Device) -> Result<Tensor> {
    // SAFETY: every caller hands the tensor to a kernel that writes all of its elements before anything reads them.
    unsafe { Tensor::empty(shape, dtype, device) }
}

/// Address of a contiguous tensor's first element, and what marks the use when dropped.
fn address<'a>(
    storage: &'a Storage,
    layout: &Layout,
    stream: &'a CudaStream,
) -> Result<(u64, SyncOnDrop<'a>)> {
    let Storage::Cuda(storage) = storage else { bail!("a kernel's argument is not on the GPU") };
    let Some((start, _)) = layout.contiguous_offsets() else {
        bail!("a kernel's argument is not contiguous")
    };
    let ((address, guard), size) = match &storage.slice {
        CudaStorageSlice::F32(s) => (s.device_ptr(stream), 4),
        CudaStorageSlice::BF16(s) => (s.device_ptr(stream), 2),
        CudaStorageSlice::U32(s) => (s.device_ptr(stream), 4),
        CudaStorageSlice::I64(s) => (s.device_ptr(stream), 8),
        CudaStorageSlice::F64(s) => (s.device_ptr(stream), 8),
        _ => bail!("no kernel takes this type of tensor"),
    };
    Ok((address + (start * size) as u64, guard))
}

/// The addresses of contiguous tensors, on the GPU. They hold as long as the tensors do: what changes a tensor in place leaves it where it is.
pub fn addresses(tensors: &[Tensor], device: &Device) -> Result<Tensor> {
    let Device::Cuda(gpu) = device else { bail!("not a GPU") };
    let stream = gpu.cuda_stream();
    let addresses = tensors.iter().map(|tensor| {
        let (storage, layout) = tensor.storage_and_layout();
        Ok(address(&storage, layout, &stream)?.0.cast_signed())
    });
    let addresses: Vec<i64> = addresses.collect::<Result<_>>()?;
    Tensor::from_vec(addresses, tensors.len(), device)
}

/// Opens a GPU with one stream for all threads, the kernels included, whose freed memory stays at hand.
pub fn open(index: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(index)?;
    let Device::Cuda(gpu) = &device else { bail!("not a GPU") };
    // SAFETY: all work goes to the device's one stream, which keeps it in order; events, two for every tensor, would order the
    // work of several.
    unsafe { gpu.disable_event_tracking() };
    let stream = gpu.cuda_stream();
    let context = stream.context();
    if context.has_async_alloc() {
        let mut all = u64::MAX;
        // SAFETY: the device is the open context's, the pool its own, and the attribute's value a u64 (CUDA's documentation).
        unsafe {
            let pool = result::device::get_default_mem_pool(context.cu_device())
                .map_err(candle_core::Error::wrap)?;
            // By default whatever is free goes back to the system at each synchronisation, to be mapped anew in the next step.
            let keep = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            result::mem_pool::set_attribute(pool, keep, std::ptr::from_mut(&mut all).cast())
                .map_err(candle_core::Error::wrap)?;
        }
    }
    Ok(device)
}

/// Whether the kernels run on this GPU: by its compute capability, and then by loading them.
pub fn usable(device: &CudaDevice) -> Result<()> {
    let stream = device.cuda_stream();
    let gpu = stream.context();
    let (major, minor) = gpu.compute_capability().map_err(candle_core::Error::wrap)?;
    let name = gpu.name().map_err(candle_core::Error::wrap)?;
    target::fits(PTX, &name, (major as u32, minor as u32))?;
    match device.get_or_load_custom_func("dropout_f32", "polymix", PTX) {
        Ok(_) => Ok(()),
        Err(error) => candle_core::bail!("{}", target::not_loaded(PTX, &error.to_string())),
    }
}

/// Enqueues a kernel on the device's stream.
pub fn launch(device: &CudaDevice, launch: &Launch<'_>) -> Result<()> {
    let function = device.get_or_load_custom_func(launch.kernel, "polymix", PTX)?;
    let stream = device.cuda_stream();
    if launch.shared > PLAIN_SHARED {
        function
            .set_attribute(
                CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                launch.shared as i32,
            )
            .map_err(candle_core::Error::wrap)?;
    }
    let tensors = launch.args.iter().filter_map(|arg| match arg {
        Arg::Read(t) | Arg::Write(t) => Some(Ok(*t)),
        Arg::Pointers(list) | Arg::WritePointers(list) => Some(list.table.as_ref().ok_or(list)),
        _ => None,
    });
    let tensors: Vec<&Tensor> = tensors
        .collect::<std::result::Result<_, _>>()
        .map_err(|_| candle_core::Error::Msg("a kernel's arguments are not on the GPU".into()))?;
    let held: Vec<_> = tensors.iter().map(|t| t.storage_and_layout()).collect();
    let mut addresses = Vec::with_capacity(held.len());
    // What the builder points to must stay where it is until the launch.
    let mut guards = Vec::with_capacity(held.len());
    for (storage, layout) in &held {
        let (address, guard) = address(storage, layout, &stream)?;
        addresses.push(address);
        guards.push(guard);
    }
    let mut next = 0;
    let null = 0u64;
    let mut builder = function.builder();
    for arg in launch.args {
        match arg {
            Arg::Read(_) | Arg::Write(_) | Arg::Pointers(_) | Arg::WritePointers(_) => {
                builder.arg(&addresses[next]);
                next += 1;
            }
            Arg::Null => {
                builder.arg(&null);
            }
            Arg::U32(number) => {
                builder.arg(number);
            }
            Arg::U64(number) => {
                builder.arg(number);
            }
            Arg::F32(number) => {
                builder.arg(number);
            }
        }
    }
    let config = LaunchConfig {
        grid_dim: (launch.grid.0 as u32, launch.grid.1 as u32, 1),
        block_dim: (launch.threads as u32, 1, 1),
        shared_mem_bytes: launch.shared as u32,
    };
    // SAFETY: the arguments are those of the kernel in number, order and type (the emulator's tests run the same
    // requests and check all three, and that nothing beyond a tensor is touched), the tensors are held until the launch is enqueued, and later work goes to the same stream.
    unsafe { builder.launch(config) }.map_err(candle_core::Error::wrap)?;
    Ok(())
}
