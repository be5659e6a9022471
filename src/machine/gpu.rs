//! What the NVIDIA driver says of a GPU, by NVML. The library is opened when it is first asked for: the same program
//! runs where there is none, and says nothing then.

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use serde::{Deserialize, Serialize};

/// Environment variable with the path of the NVML library, where it is not the system's `libnvidia-ml.so.1`.
pub const NVML: &str = "POLYMIX_NVML";

/// A GPU that is watched.
#[derive(Debug)]
pub struct Gpu {
    nvml: Nvml,
    index: u32,
}

/// A GPU at one moment. What the driver does not tell is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GpuState {
    pub name: String,
    /// Share of the last moments in which it computed, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy: Option<f64>,
    /// Bytes in use by everybody, and all there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<(u64, u64)>,
    /// Degrees Celsius.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<u32>,
    /// Watts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<f64>,
}

impl Gpu {
    /// The GPU that CUDA calls `index`; `None` without a driver, or where it has no such GPU.
    #[must_use]
    pub fn open(index: usize) -> Option<Self> {
        let path = std::env::var_os(NVML).filter(|p| !p.is_empty());
        // The driver installs the name with the version; the one without comes with the development files.
        let names = path
            .map_or_else(|| vec!["libnvidia-ml.so.1".into(), "libnvidia-ml.so".into()], |path| vec![path]);
        let nvml = names.iter().find_map(|name| Nvml::builder().lib_path(name).init().ok())?;
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        let index = match visible.as_deref().map(|v| chosen(v, index)) {
            None => u32::try_from(index).ok()?,
            Some(Visible::Index(index)) => index,
            Some(Visible::Uuid(uuid)) => nvml.device_by_uuid(uuid).ok()?.index().ok()?,
            Some(Visible::Hidden) => return None,
        };
        nvml.device_by_index(index).ok()?;
        Some(Self { nvml, index })
    }

    /// Its state now; `None` where the driver no longer answers.
    #[must_use]
    pub fn state(&self) -> Option<GpuState> {
        let device = self.nvml.device_by_index(self.index).ok()?;
        Some(GpuState {
            name: device.name().unwrap_or_else(|_| "GPU".into()),
            busy: device.utilization_rates().ok().map(|u| f64::from(u.gpu) / 100.0),
            memory: device.memory_info().ok().map(|m| (m.used, m.total)),
            temperature: device.temperature(TemperatureSensor::Gpu).ok(),
            power: device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1000.0),
        })
    }
}

/// What `CUDA_VISIBLE_DEVICES` makes of CUDA's `index`.
#[derive(Debug, PartialEq, Eq)]
enum Visible<'a> {
    Index(u32),
    Uuid(&'a str),
    Hidden,
}

fn chosen(visible: &str, index: usize) -> Visible<'_> {
    match visible.split(',').map(str::trim).nth(index) {
        None | Some("" | "-1") => Visible::Hidden,
        Some(entry) => entry.parse().map_or(Visible::Uuid(entry), Visible::Index),
    }
}

impl GpuState {
    /// One line: `NVIDIA H200: 93% busy, 41.20 of 139.80 GiB, 61 °C, 512 W`; `n/a` for what is not told.
    #[must_use]
    pub fn line(&self) -> String {
        let or = |value: Option<String>| value.unwrap_or_else(|| "n/a".into());
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        format!(
            "{}: {} busy, {}, {}, {}",
            self.name,
            or(self.busy.map(|b| format!("{:.0}%", 100.0 * b))),
            or(self.memory.map(|(used, total)| format!("{:.2} of {:.2} GiB", gib(used), gib(total)))),
            or(self.temperature.map(|t| format!("{t} °C"))),
            or(self.power.map(|p| format!("{p:.0} W"))),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuda_numbers_are_the_visible_ones() {
        assert_eq!(chosen("3,1", 0), Visible::Index(3));
        assert_eq!(chosen("3, 1", 1), Visible::Index(1));
        assert_eq!(chosen("GPU-8932f937", 0), Visible::Uuid("GPU-8932f937"));
        assert_eq!(
            (chosen("3,1", 2), chosen("", 0), chosen("-1", 0)),
            (Visible::Hidden, Visible::Hidden, Visible::Hidden)
        );
    }

    #[test]
    fn what_the_driver_does_not_tell_is_not_made_up() {
        let state = GpuState { name: "X".into(), busy: Some(0.5), ..GpuState::default() };
        assert_eq!(state.line(), "X: 50% busy, n/a, n/a, n/a");
    }
}
