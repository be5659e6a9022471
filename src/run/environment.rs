//! `environment.json`: what a run was made with, beside its spec.

use anyhow::Result;
use candle_core::Device;
use serde_json::{Value, json};

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
pub fn read(run: &RunDir) -> Result<Value> {
    let path = run.path.join("environment.json");
    if path.exists() { crate::seal::read_file(&path, 2, VERSION) } else { Ok(Value::Null) }
}

/// What `environment.json` says of a dataset that is used for `training`, `validation` or `evaluation`.
#[must_use]
pub fn facts<'a>(environment: &'a Value, label: &str, used_for: &str) -> Option<&'a Value> {
    let datasets = environment.get("datasets")?;
    datasets.get(used(label, used_for)).or_else(|| datasets.get(label))
}

/// The name of a dataset where another one, used before it for something else, is called the same.
fn used(label: &str, used_for: &str) -> String {
    format!("{label} ({used_for})")
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
    datasets: impl Iterator<Item = (&'static str, Summary)>,
) -> Result<()> {
    let mut known = serde_json::Map::new();
    for (used_for, summary) in datasets {
        let facts = serde_json::to_value(&summary)?;
        let is_other = known.get(&summary.name).is_some_and(|before| *before != facts);
        known.insert(if is_other { used(&summary.name, used_for) } else { summary.name.clone() }, facts);
    }
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
        "datasets": known,
    });
    crate::files::replace(&run.path.join("environment.json"), &crate::seal::pretty(&record)?)
}
