//! From a device's name to the device.

use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail};
use candle_core::Device;

use crate::caught::caught;
use crate::machine::Gpu;
use crate::ops::{open_gpu, usable};

/// Hears why `auto` leaves a GPU unused.
static LISTENER: OnceLock<fn(&str)> = OnceLock::new();

/// Has `listener` told, each time that [`open`] takes the CPU for `auto` though there is a GPU, why the GPU cannot be used. The first that is named stays.
pub fn on_unused_gpu(listener: fn(&str)) {
    LISTENER.get_or_init(|| listener);
}

/// `auto` (CUDA, then Metal, then CPU), `cpu`, `cuda`, `cuda:N` or `metal`.
///
/// # Errors
/// Where the device is not there, this binary was built without it, or its kernels do not run on that GPU.
pub fn open(name: &str) -> Result<Device> {
    match name {
        "auto" if candle_core::utils::cuda_is_available() => {
            let (device, unused) = automatic(cuda(0), is_there);
            if let (Some(why), Some(listener)) = (unused, LISTENER.get()) {
                listener(&why);
            }
            Ok(device)
        }
        "auto" if candle_core::utils::metal_is_available() => {
            Ok(Device::new_metal(0).unwrap_or(Device::Cpu))
        }
        "auto" | "cpu" => Ok(Device::Cpu),
        "metal" => Device::new_metal(0).context(
            "device 'metal' cannot be used here (build with --features metal on a Mac, or choose --device cpu)",
        ),
        name => {
            let index = match name.strip_prefix("cuda") {
                Some("") => 0,
                Some(rest) => match rest.strip_prefix(':').and_then(|n| n.parse().ok()) {
                    Some(index) => index,
                    None => bail!("device '{name}': write cuda or cuda:N"),
                },
                None => bail!("device '{name}': must be auto, cpu, cuda, cuda:N or metal"),
            };
            demanded(name, cuda(index))
        }
    }
}

/// Why a GPU cannot be had.
#[derive(Debug)]
enum Refused {
    /// There is none, or what drives it is missing, too old or out of room.
    Absent(anyhow::Error),
    /// It is there, and this binary's kernels do not run on it; says the remedy.
    Unfit(anyhow::Error),
}

/// True where the system or its driver shows an NVIDIA GPU, whether it can be used or not.
fn is_there() -> bool {
    Path::new("/dev/nvidia0").exists() || Gpu::open(0).is_some()
}

/// What `auto` takes, and why not the GPU where there is one (`is_there`).
fn automatic(gpu: Result<Device, Refused>, is_there: impl Fn() -> bool) -> (Device, Option<String>) {
    match gpu {
        Ok(device) => (device, None),
        Err(Refused::Absent(_)) if !is_there() => (Device::Cpu, None),
        Err(Refused::Absent(error) | Refused::Unfit(error)) => {
            (Device::Cpu, Some(format!("the GPU is not used, the CPU is: {error:#}")))
        }
    }
}

/// The GPU that was asked for by name.
fn demanded(name: &str, gpu: Result<Device, Refused>) -> Result<Device> {
    gpu.map_err(|refused| match refused {
        Refused::Absent(error) => error.context(format!(
            "device '{name}' cannot be used here (build with --features cuda on a machine with an NVIDIA GPU, \
             or choose --device cpu)"
        )),
        Refused::Unfit(error) => error.context(format!("device '{name}' cannot be used")),
    })
}

/// Opens a GPU. A binary that opens CUDA's libraries at run time panics inside the binding where one is missing; that is
/// an ordinary error here.
fn cuda(index: usize) -> Result<Device, Refused> {
    // The binding goes on with a page of file names.
    let short = |text: String| anyhow!("{}", text.split(" - ").next().unwrap_or(&text));
    let device = match caught(|| open_gpu(index)) {
        Ok(device) => device.map_err(|error| Refused::Absent(error.into()))?,
        Err(text) => return Err(Refused::Absent(short(text))),
    };
    match caught(|| usable(&device)) {
        Ok(Ok(())) => Ok(device),
        Ok(Err(error)) => Err(Refused::Unfit(error.into())),
        Err(text) => Err(Refused::Unfit(short(text))),
    }
}

/// The device's name for records: `cpu`, `cuda:0`, `metal`.
#[must_use]
pub fn name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".into(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { .. } => "metal".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unfit() -> Result<Device, Refused> {
        Err(Refused::Unfit(anyhow!("compiled for 9.0 alone; build with CUDA_COMPUTE_CAP=80")))
    }

    #[test]
    fn auto_took_a_gpu_whose_kernels_do_not_load() {
        let (device, note) = automatic(unfit(), || false);
        assert!(device.is_cpu());
        let note = note.expect("a note");
        assert!(note.contains("the GPU is not used") && note.contains("CUDA_COMPUTE_CAP=80"), "{note}");
        let absent = || Err(Refused::Absent(anyhow!("no libcublas.so")));
        let (device, note) = automatic(absent(), || false);
        assert!(device.is_cpu() && note.is_none(), "no GPU is nothing to be told");
        let (_, note) = automatic(absent(), || true);
        assert!(note.expect("a note").contains("no libcublas.so"), "a GPU that cannot be opened is");
    }

    #[test]
    fn a_gpu_asked_for_by_name_is_refused_with_the_remedy_that_fits() {
        let text = |gpu| format!("{:#}", demanded("cuda:1", gpu).expect_err("refused"));
        let unfit = text(unfit());
        assert!(unfit.starts_with("device 'cuda:1'") && unfit.contains("CUDA_COMPUTE_CAP=80"), "{unfit}");
        assert!(!unfit.contains("--features cuda"), "it has CUDA: {unfit}");
        let absent = text(Err(Refused::Absent(anyhow!("no libcuda.so"))));
        assert!(absent.contains("--features cuda") && absent.contains("no libcuda.so"), "{absent}");
    }
}
