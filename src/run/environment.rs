//! `environment.json`: what a run was made with, beside its spec.

use anyhow::Result;
use candle_core::Device;
use serde_json::json;

use super::RunDir;
use crate::corpus::Summary;
use crate::spec::TrainSpec;
use crate::train::device;

/// Version of `environment.json`. 1 had no checksum; it is still read.
const VERSION: u32 = 2;

/// Reads it; null where there is none.
///
/// # Errors
/// Where it is damaged or of a later version.
pub fn read(run: &RunDir) -> Result<serde_json::Value> {
    let path = run.path.join("environment.json");
    if path.exists() { crate::seal::read_file(&path, 2, VERSION) } else { Ok(serde_json::Value::Null) }
}

/// Writes versions, machine, the commit of a model of the hub, what a step looks at, and of every dataset its hash, its
/// sizes and its files with theirs.
///
/// # Errors
/// Where the file cannot be written.
pub fn write(
    run: &RunDir,
    base: &str,
    on: &Device,
    train: &TrainSpec,
    datasets: impl Iterator<Item = Summary>,
) -> Result<()> {
    let datasets: serde_json::Map<String, serde_json::Value> =
        datasets.map(|d| Ok((d.name.clone(), serde_json::to_value(&d)?))).collect::<Result<_>>()?;
    let record = json!({
        "v": VERSION,
        "polymix": crate::VERSION,
        "system": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        "host": super::state::host(),
        "device": device::name(on),
        "threads": rayon::current_num_threads(),
        "pairs_a_step": train.pairs_a_step(),
        "negatives_a_question": train.negatives(),
        "model": {"base": base, "commit": crate::corpus::catalogue::model_commit(base)},
        "datasets": datasets,
    });
    crate::files::replace(&run.path.join("environment.json"), &crate::seal::pretty(&record)?)
}
