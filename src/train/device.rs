//! From a device's name to the device.

use anyhow::{Context, Result, bail};
use candle_core::Device;

use crate::caught::caught;

/// `auto` (CUDA, then Metal, then CPU), `cpu`, `cuda`, `cuda:N` or `metal`.
///
/// # Errors
/// Where the device is not there or this binary was built without it.
pub fn open(name: &str) -> Result<Device> {
    match name {
        "auto" if candle_core::utils::cuda_is_available() => Ok(cuda(0).unwrap_or(Device::Cpu)),
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
            cuda(index).with_context(|| {
                format!(
                    "device '{name}' cannot be used here (build with --features cuda on a machine with an NVIDIA GPU, \
                     or choose --device cpu)"
                )
            })
        }
    }
}

/// Opens a GPU. A binary that opens CUDA's libraries at run time panics inside the binding where one is missing; that is
/// an ordinary error here.
fn cuda(index: usize) -> Result<Device> {
    match caught(|| Device::new_cuda(index)) {
        Ok(device) => Ok(device?),
        Err(text) => {
            // The binding goes on with a page of file names.
            bail!("{}", text.split(" - ").next().unwrap_or(&text))
        }
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
