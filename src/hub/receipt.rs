//! What an archive was unpacked to, so that it is not downloaded again while all of that is there and unchanged.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::checksum::Checksum;
use super::download::length;
use super::fetch::{FetchedFile, Wanted};
use crate::files;

/// The record of one archive, hidden in the folder that it was unpacked to.
pub(super) struct Receipt {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Record {
    v: u32,
    files: Vec<Unpacked>,
}

#[derive(Serialize, Deserialize)]
struct Unpacked {
    path: String,
    size: u64,
    sha256: String,
}

impl Receipt {
    /// Of an archive at this address with this checksum, and of the files that were wanted of it. What names it is a hash, as
    /// addresses may carry passwords.
    pub fn of(folder: &Path, url: &str, sum: Option<&Checksum>, wanted: Wanted<'_>) -> Self {
        let mut hash = Sha256::new();
        let patterns = wanted.required.iter().chain(wanted.optional).map(String::as_str);
        for part in [url, sum.map_or("", Checksum::hex), wanted.under].into_iter().chain(patterns) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let name =
            hash.finalize().iter().take(8).fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        Self { path: folder.join(format!(".{name}.unpacked")) }
    }

    /// Where the archive itself lies until it is unpacked: two addresses that end alike have two places.
    pub fn archive(&self, name: &str) -> PathBuf {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        self.path.with_file_name(format!("{stem}.{name}"))
    }

    /// The files, where every one is there and as it was unpacked.
    pub fn read(&self) -> Option<Vec<FetchedFile>> {
        let folder = self.path.parent()?;
        let record: Record = serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()?;
        let is_same = |file: &Unpacked| {
            let path = folder.join(&file.path);
            length(&path) == file.size && Checksum::Sha256(file.sha256.clone()).check(&path).is_ok()
        };
        if record.v != 1 || record.files.is_empty() || !record.files.iter().all(is_same) {
            return None;
        }
        let fetched = |f: Unpacked| FetchedFile {
            path: f.path,
            size: f.size,
            checksum: Some(Checksum::Sha256(f.sha256)),
            is_published: false,
        };
        Some(record.files.into_iter().map(fetched).collect())
    }

    /// Writes down what was unpacked.
    pub fn write(&self, unpacked: &[FetchedFile]) -> Result<()> {
        let files = unpacked
            .iter()
            .filter_map(|f| {
                Some(Unpacked {
                    path: f.path.clone(),
                    size: f.size,
                    sha256: f.checksum.as_ref()?.hex().to_owned(),
                })
            })
            .collect();
        files::replace(&self.path, &serde_json::to_vec_pretty(&Record { v: 1, files })?)
    }
}
