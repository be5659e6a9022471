//! What of a repository must be on disk: as its listing said when it was fetched, else as far as the files themselves
//! tell.
//!
//! The listing of each commit that was fetched is kept beside `snapshots`, in `.polymix/COMMIT.json`: it goes where the
//! repository's folder is copied to, and Python's client passes it by.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cache::{Place, files_below};
use super::checksum::Checksum;
use super::pattern::matches;
use super::repo::{Kind, Remote};
use crate::files;

#[derive(Serialize, Deserialize)]
struct Record {
    v: u32,
    files: Vec<Listed>,
}

#[derive(Serialize, Deserialize)]
struct Listed {
    path: String,
    size: Option<u64>,
    checksum: Option<String>,
}

/// Writes down what the repository holds at a commit.
///
/// # Errors
/// Where the cache cannot be written.
pub(super) fn keep_listing(place: &Place, commit: &str, files: &[Remote]) -> Result<()> {
    let listed = |file: &Remote| Listed {
        path: file.path.clone(),
        size: file.size,
        checksum: file.checksum.as_ref().map(|c| c.hex().to_owned()),
    };
    let record = Record { v: 1, files: files.iter().map(listed).collect() };
    let path = place.listing_file(commit);
    let text = serde_json::to_vec(&record)?;
    if std::fs::read(&path).is_ok_and(|known| known == text) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        files::create_dir(folder)?;
    }
    files::replace(&path, &text)
}

fn read_listing(place: &Place, commit: &str) -> Option<Vec<Remote>> {
    let record: Record = serde_json::from_slice(&std::fs::read(place.listing_file(commit)).ok()?).ok()?;
    let remote = |file: Listed| Remote {
        checksum: file.checksum.as_deref().and_then(Checksum::parse),
        path: file.path,
        size: file.size,
    };
    (record.v == 1).then(|| record.files.into_iter().map(remote).collect())
}

/// A repository in the cache, at one commit.
#[derive(Clone, Debug)]
pub struct Shelf {
    /// Files that are there, links to blobs that are gone left out.
    there: Vec<String>,
    /// What the repository holds, where a fetch of ours saw it.
    listing: Option<Vec<Remote>>,
    /// What files that are there say belongs to them, and is not there.
    gaps: Vec<String>,
}

impl Shelf {
    /// What lies at a place; `None` where its revision was never fetched.
    #[must_use]
    pub fn of(place: &Place) -> Option<Self> {
        let folder = place.snapshot()?;
        let there = files_below(&folder);
        let listing = place.commit().and_then(|commit| read_listing(place, &commit));
        let gaps = if place.kind == Kind::Model { gaps(&folder, &there) } else { Vec::new() };
        Some(Self { there, listing, gaps })
    }

    /// True where nothing is left open by the patterns: a listing was kept, or they name every file, or (for a model of
    /// sentence-transformers) `modules.json` does.
    #[must_use]
    pub fn is_sure(&self, required: &[String], optional: &[String]) -> bool {
        let is_open = || !optional.is_empty() || required.iter().any(|p| p.contains('*'));
        self.listing.is_some() || !is_open() || self.there.iter().any(|f| f == "modules.json")
    }

    /// The files that are wanted and not there; where no listing tells, patterns that nothing fits.
    #[must_use]
    pub fn missing(&self, required: &[String], optional: &[String]) -> Vec<String> {
        let is_there = |path: &String| self.there.contains(path);
        let fits_any = |files: &[String], pattern: &str| files.iter().any(|f| matches(pattern, f));
        let mut missing = Vec::new();
        if let Some(listing) = &self.listing {
            let listed: Vec<String> = listing.iter().map(|f| f.path.clone()).collect();
            for (pattern, is_required) in
                required.iter().map(|p| (p, true)).chain(optional.iter().map(|p| (p, false)))
            {
                match pattern.split('|').find(|p| fits_any(&listed, p)) {
                    Some(fitting) => {
                        missing
                            .extend(listed.iter().filter(|f| matches(fitting, f) && !is_there(f)).cloned());
                    }
                    None if is_required => missing.push(pattern.replace('|', " or ")),
                    None => {}
                }
            }
        } else {
            let is_absent = |pattern: &&String| !pattern.split('|').any(|p| fits_any(&self.there, p));
            missing.extend(required.iter().filter(is_absent).map(|p| p.replace('|', " or ")));
            missing.extend(self.gaps.iter().cloned());
        }
        missing.sort();
        missing.dedup();
        missing
    }

    /// True where a file is there that fits a pattern.
    #[must_use]
    pub fn holds_some(&self, patterns: &[String]) -> bool {
        patterns.iter().flat_map(|p| p.split('|')).any(|p| self.there.iter().any(|f| matches(p, f)))
    }
}

/// Weights that come in several files, and the folders of sentence-transformers' modules: what is named and missing.
fn gaps(folder: &Path, there: &[String]) -> Vec<String> {
    let has = |path: &str| there.iter().any(|f| f == path);
    let read = |path: &str| -> Option<Value> {
        serde_json::from_slice(&std::fs::read(folder.join(path)).ok()?).ok()
    };
    let mut gaps = Vec::new();
    for whole in ["model.safetensors", "pytorch_model.bin"] {
        if has(whole) {
            break;
        }
        let Some(index) = read(&format!("{whole}.index.json")) else { continue };
        let shards = index.get("weight_map").and_then(Value::as_object);
        let names = shards.into_iter().flat_map(|map| map.values()).filter_map(Value::as_str);
        gaps.extend(names.filter(|name| !has(name)).map(str::to_owned));
        break;
    }
    for module in read("modules.json").as_ref().and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| module.get(key).and_then(Value::as_str).unwrap_or_default();
        let (path, kind) = (text("path"), text("type").rsplit('.').next().unwrap_or_default());
        if path.is_empty() || !matches!(kind, "Transformer" | "Pooling" | "Dense") {
            continue;
        }
        gaps.extend(Some(format!("{path}/config.json")).filter(|f| !has(f)));
        let weights = ["model.safetensors", "pytorch_model.bin"].map(|f| format!("{path}/{f}"));
        if kind == "Dense" && !weights.iter().any(|f| has(f)) {
            gaps.push(weights.join(" or "));
        }
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Repo;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn place(dir: &Path, files: &[(&str, &str)]) -> Place {
        let repo = Repo::parse(Kind::Model, &format!("a/b@{COMMIT}")).expect("a name");
        let place = Place::new(dir, &repo);
        for (name, text) in files {
            let path = place.root.join("snapshots").join(COMMIT).join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("written");
        }
        place
    }

    fn missing(place: &Place, required: &[&str], optional: &[&str]) -> (Vec<String>, bool) {
        let owned = |all: &[&str]| all.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        let shelf = Shelf::of(place).expect("there");
        let (required, optional) = (owned(required), owned(optional));
        (shelf.missing(&required, &optional), shelf.is_sure(&required, &optional))
    }

    #[test]
    fn shards_and_modules_that_are_named_must_be_there() {
        let dir = tempfile::tempdir().expect("dir");
        let index = r#"{"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}"#;
        let modules = r#"[{"path": "", "type": "sentence_transformers.models.Transformer"},
            {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"path": "2_Dense", "type": "sentence_transformers.models.Dense"},
            {"path": "3_Normalize", "type": "sentence_transformers.models.Normalize"}]"#;
        let place = place(
            dir.path(),
            &[
                ("config.json", "{}"),
                ("model.safetensors.index.json", index),
                ("model-1-of-2.safetensors", ""),
                ("modules.json", modules),
                ("1_Pooling/config.json", "{}"),
            ],
        );
        let (found, is_sure) = missing(&place, &["config.json"], &["README.md"]);
        assert_eq!(
            found,
            [
                "2_Dense/config.json",
                "2_Dense/model.safetensors or 2_Dense/pytorch_model.bin",
                "model-2-of-2.safetensors"
            ]
        );
        assert!(is_sure, "modules.json tells what belongs there");
    }

    #[test]
    fn the_listing_of_a_fetch_tells_what_wildcards_and_optional_files_mean() {
        let dir = tempfile::tempdir().expect("dir");
        let place = place(dir.path(), &[("config.json", "{}"), ("part-1", ""), ("b.bin", "")]);
        let patterns = (["config.json", "part-*", "a.bin|b.bin"], ["1_Pooling/config.json", "none"]);
        let (found, is_sure) = missing(&place, &patterns.0, &patterns.1);
        assert!(found.is_empty() && !is_sure, "without a listing nobody knows: {found:?}");
        let remote = |path: &str| Remote { path: path.into(), size: Some(1), checksum: None };
        let listed =
            ["config.json", "part-1", "part-2", "b.bin", "1_Pooling/config.json", "other"].map(remote);
        keep_listing(&place, COMMIT, &listed).expect("kept");
        let (found, is_sure) = missing(&place, &patterns.0, &patterns.1);
        assert_eq!((found, is_sure), (vec!["1_Pooling/config.json".to_owned(), "part-2".to_owned()], true));
    }
}
