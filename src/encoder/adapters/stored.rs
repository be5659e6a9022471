//! `adapters/adapters.json`: which adapters a model directory has, and which base they belong to.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::spec::AdapterSpec;

/// Directory of the adapters within a model directory.
pub const ADAPTERS: &str = "adapters";
/// What belongs together.
pub const INDEX: &str = "adapters.json";
/// Version of the format.
pub const VERSION: u32 = 1;

/// Where the weights of a base that was not trained come from: they are not written again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// `demo`, or a model directory.
    pub base: String,
    /// What `demo` was made from.
    pub seed: u64,
    /// SHA-256 of the weights, in hexadecimal.
    pub weights_sha256: String,
}

/// `adapters.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// Version of the format.
    pub v: u32,
    /// Kind, shape, and languages in the order of their parameters.
    pub adapters: AdapterSpec,
    /// Absent where the base's weights lie beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Origin>,
}

/// What a model directory says of its adapters; `None` where it has none.
///
/// # Errors
/// Where the file is damaged or of a newer version.
pub fn stored(dir: &Path) -> Result<Option<Stored>> {
    let path = dir.join(ADAPTERS).join(INDEX);
    if !path.is_file() {
        return Ok(None);
    }
    let shown = path.display();
    let text = std::fs::read_to_string(&path).with_context(|| format!("{shown}: cannot read"))?;
    let stored: Stored =
        serde_json::from_str(&text).with_context(|| format!("{shown}: does not describe adapters"))?;
    ensure!(stored.v <= VERSION, "{shown}: written by a newer polymix (format {}); update polymix", stored.v);
    ensure!(stored.adapters.is_on(), "{shown}: adapters of kind 'none'");
    stored.adapters.check(&[]).with_context(|| shown.to_string())?;
    Ok(Some(stored))
}
