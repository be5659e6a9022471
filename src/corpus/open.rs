//! From a dataset's name to its contents.

use anyhow::Result;

use super::Dataset;
use crate::spec::{Candidate, DatasetRef};

/// What the catalogue knows of a dataset before it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    pub name: &'static str,
    /// One line for a list.
    pub description: &'static str,
    pub languages: &'static [&'static str],
    pub licence: &'static str,
    /// Parts that `NAME[PART]` accepts, in words.
    pub parts: &'static str,
    /// True where a path must be given.
    pub needs_path: bool,
}

impl Catalogue {
    /// Every dataset that [`open`] can read.
    #[must_use]
    pub const fn all() -> &'static [Self] {
        &[]
    }
}

/// Opens a dataset.
///
/// # Errors
/// Unknown names list the known ones; a missing path, a missing or broken file, an unknown part each give one
/// error with the file, the field and the remedy.
pub fn open(dataset: &DatasetRef, candidate: Candidate) -> Result<Dataset> {
    let _ = candidate;
    anyhow::bail!("dataset '{dataset}': unknown")
}
