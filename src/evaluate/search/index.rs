//! An index: a directory of shards with a manifest that says what made them.
//!
//! ```text
//! index.json     the manifest: model, data, prefix, lengths, type, sizes
//! 00000.shard    the first rows; see `shard` for the format
//! lock           locked while somebody writes
//! ```
//!
//! The manifest is written first. A shard that is missing or damaged is written again; nothing else has to be
//! remembered to go on after any interruption.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::half::ShardDtype;
use super::shard::{Identity, Shard, write_shard};
use crate::evaluate::Embeddings;
use crate::files;

/// Version of the directory.
const VERSION: u32 = 1;
const MANIFEST: &str = "index.json";

/// What made an index: two indices with equal manifests hold the same vectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the directory.
    pub v: u32,
    pub polymix: String,
    /// Where the model was read from.
    pub model: String,
    /// Hash of the model's configuration, tokenizer and weights.
    pub model_hash: String,
    pub pooling: String,
    /// Where the passages were read from.
    pub data: String,
    /// Hash of the passages.
    pub data_hash: String,
    pub passage_prefix: String,
    pub max_passage_tokens: usize,
    pub dtype: ShardDtype,
    /// Numbers a vector.
    pub width: usize,
    /// Passages.
    pub rows: u64,
    /// Passages a shard; the last may have fewer.
    pub shard_rows: usize,
}

impl Manifest {
    /// The directory's version.
    pub const VERSION: u32 = VERSION;

    /// What would make other vectors or other files, by name. Where model and data lie does not count, nor does the
    /// version of the program.
    fn essentials(&self) -> [(&'static str, String); 9] {
        [
            ("model (hash of configuration, tokenizer and weights)", self.model_hash.clone()),
            ("pooling", self.pooling.clone()),
            ("passages (hash)", self.data_hash.clone()),
            ("number of passages", self.rows.to_string()),
            ("passage prefix", format!("{:?}", self.passage_prefix)),
            ("longest passage in tokens", self.max_passage_tokens.to_string()),
            ("type of number", self.dtype.name().to_owned()),
            ("vector width", self.width.to_string()),
            ("passages a shard", self.shard_rows.to_string()),
        ]
    }

    fn identity(&self) -> Identity {
        let mut hash = Sha256::new();
        for (name, value) in self.essentials() {
            for text in [name, &value] {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
        }
        let mut identity = Identity::default();
        identity.copy_from_slice(&hash.finalize()[..16]);
        identity
    }
}

/// What is there of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardState {
    Whole,
    Missing,
    /// Why.
    Damaged(String),
}

/// A directory of shards.
#[derive(Clone, Debug)]
pub struct Index {
    pub dir: PathBuf,
    pub manifest: Manifest,
    identity: Identity,
}

/// The right to write shards, as long as it lives.
#[derive(Debug)]
pub struct IndexLock(#[allow(dead_code)] File);

impl Index {
    /// Makes the directory, or goes on with one that the same model, data and settings have made.
    ///
    /// # Errors
    /// Names what differs from the manifest that is there; where somebody else is writing, or the directory holds
    /// something else.
    pub fn make(dir: &Path, manifest: Manifest) -> Result<(Self, IndexLock)> {
        let shown = dir.display();
        ensure!(manifest.shard_rows > 0, "a shard must hold at least one passage");
        ensure!(u32::try_from(manifest.shard_rows).is_ok(), "a shard holds at most {} passages", u32::MAX);
        let is_ours = dir.join(MANIFEST).is_file();
        ensure!(
            is_ours || !dir.exists() || files::children(dir).iter().all(|p| p.ends_with("lock")),
            "{shown}: is no index and not empty; choose another directory"
        );
        files::create_dir(dir)?;
        let lock = files::try_lock(&dir.join("lock"))?
            .with_context(|| format!("{shown}: another process is writing this index; wait for it"))?;
        if is_ours {
            let there = read_manifest(dir)?;
            let differences: Vec<String> = there
                .essentials()
                .into_iter()
                .zip(manifest.essentials())
                .filter(|(old, new)| old != new)
                .map(|((name, old), (_, new))| format!("{name}: {} there, {} now", short(&old), short(&new)))
                .collect();
            ensure!(
                differences.is_empty(),
                "{shown}: was made otherwise ({}); choose another directory, or remove this one",
                differences.join("; ")
            );
        } else {
            files::replace(&dir.join(MANIFEST), &serde_json::to_vec_pretty(&manifest)?)?;
        }
        // What a killed process left behind; nobody else writes here now.
        for entry in std::fs::read_dir(dir)?.flatten() {
            let path = entry.path();
            let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
            if is_hidden && path.extension().is_some_and(|e| e == "part") {
                let _ = std::fs::remove_file(path);
            }
        }
        let identity = manifest.identity();
        Ok((Self { dir: dir.to_owned(), manifest, identity }, IndexLock(lock)))
    }

    /// Opens an index, complete or not.
    ///
    /// # Errors
    /// Where the directory holds no index, or one of a newer version.
    pub fn open(dir: &Path) -> Result<Self> {
        let manifest = read_manifest(dir)?;
        let identity = manifest.identity();
        Ok(Self { dir: dir.to_owned(), manifest, identity })
    }

    /// Number of shards.
    #[must_use]
    pub const fn shards(&self) -> usize {
        (self.manifest.rows as usize).div_ceil(self.manifest.shard_rows)
    }

    /// Rows of a shard, in the numbering of the whole index.
    #[must_use]
    pub fn rows_of(&self, shard: usize) -> std::ops::Range<usize> {
        let (size, rows) = (self.manifest.shard_rows, self.manifest.rows as usize);
        shard * size..((shard + 1) * size).min(rows)
    }

    fn path(&self, shard: usize) -> PathBuf {
        self.dir.join(format!("{shard:05}.shard"))
    }

    /// Opens a shard and checks that it is the one that belongs there.
    ///
    /// # Errors
    /// As [`Shard::open`]; a missing one says how to get it.
    pub fn shard(&self, shard: usize) -> Result<Shard> {
        let path = self.path(shard);
        ensure!(
            path.is_file(),
            "{}: is missing: the index is incomplete ({} shards belong to it); run the `polymix encode` that made it \
             again, it goes on where it stopped",
            path.display(),
            self.shards()
        );
        let open = Shard::open(&path, self.identity)?;
        let rows = self.rows_of(shard);
        ensure!(
            open.first == rows.start as u64 && open.rows == rows.len() && open.width == self.manifest.width,
            "{}: holds other rows than belong there; remove it and run `polymix encode` again",
            path.display()
        );
        Ok(open)
    }

    /// What is there of a shard; every byte is read.
    #[must_use]
    pub fn state(&self, shard: usize) -> ShardState {
        if !self.path(shard).exists() {
            return ShardState::Missing;
        }
        match self.shard(shard).and_then(|open| open.verify()) {
            Ok(()) => ShardState::Whole,
            Err(error) => ShardState::Damaged(format!("{error:#}")),
        }
    }

    /// Checks that no shard is missing.
    ///
    /// # Errors
    /// Names the first that is.
    pub fn check_complete(&self) -> Result<()> {
        (0..self.shards()).try_for_each(|shard| self.shard(shard).map(|_| ()))
    }

    /// Writes a shard, whole or not at all.
    ///
    /// # Errors
    /// As [`write_shard`]; where the number of rows is not the shard's.
    pub fn write(&self, _lock: &IndexLock, shard: usize, ids: &[String], vectors: &Embeddings) -> Result<()> {
        let rows = self.rows_of(shard);
        ensure!(ids.len() == rows.len(), "{} passages for a shard of {}", ids.len(), rows.len());
        let dtype = self.manifest.dtype;
        write_shard(&self.path(shard), self.identity, rows.start as u64, dtype, ids, vectors)
    }
}

fn read_manifest(dir: &Path) -> Result<Manifest> {
    let path = dir.join(MANIFEST);
    let shown = path.display();
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{shown}: cannot read; this is no index (`polymix encode` makes one)"))?;
    let json: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("{shown}: not JSON"))?;
    let version = json.get("v").and_then(serde_json::Value::as_u64).unwrap_or(0);
    ensure!(
        version <= u64::from(VERSION),
        "{shown}: written by a newer polymix (format {version}); update polymix"
    );
    let manifest: Manifest =
        serde_json::from_value(json).with_context(|| format!("{shown}: not an index's manifest"))?;
    ensure!(manifest.shard_rows > 0 && manifest.width > 0, "{shown}: not an index's manifest: a size is 0");
    let most = u64::from(u32::MAX);
    ensure!(
        manifest.shard_rows as u64 <= most
            && manifest.width as u64 <= most
            && manifest.rows <= most * most / 2,
        "{shown}: not an index's manifest: a size is beyond what shards hold"
    );
    Ok(manifest)
}

/// Hashes are long; their beginning tells them apart.
fn short(value: &str) -> String {
    let is_hash = value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hash { format!("{}...", &value[..12]) } else { value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_no_index_has_are_refused() {
        let dir = tempfile::tempdir().expect("dir");
        let open = |rows: u64, shard_rows: u64, width: u64| {
            let manifest = serde_json::json!({
                "v": 1, "polymix": "", "model": "", "model_hash": "", "pooling": "", "data": "", "data_hash": "",
                "passage_prefix": "", "max_passage_tokens": 1, "dtype": "f16",
                "width": width, "rows": rows, "shard_rows": shard_rows,
            });
            std::fs::write(dir.path().join(MANIFEST), manifest.to_string()).expect("write");
            Index::open(dir.path())
        };
        let index = open(10, 4, 3).expect("an index");
        assert_eq!((index.shards(), index.rows_of(2)), (3, 8..10));
        // The end of the last shard's rows would be beyond 64 bits.
        for (rows, shard_rows, width) in
            [(u64::MAX, 1 << 63, 3), (u64::MAX, 7, 3), (10, 4, u64::MAX), (10, 0, 3)]
        {
            let error = format!("{:#}", open(rows, shard_rows, width).expect_err("refused"));
            assert!(error.contains("index.json") && error.contains("size"), "{error}");
        }
    }
}
