//! The layout of Hugging Face's cache: `models--owner--name/{blobs,snapshots,refs}`.
//!
//! A blob is named by its checksum; a snapshot holds links to blobs under the files' own names; a ref holds the commit
//! that a branch stood for when it was last asked.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::repo::{Kind, Repo, is_commit};
use crate::files;

/// A repository's place in the cache.
#[derive(Clone, Debug)]
pub struct Place {
    pub root: PathBuf,
    pub(super) kind: Kind,
    locks: PathBuf,
    revision: String,
}

impl Place {
    /// Where this repository lies, whether it is there or not.
    #[must_use]
    pub fn new(cache: &Path, repo: &Repo) -> Self {
        let kind = match repo.kind {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
        };
        let name = format!("{kind}--{}", repo.id.replace('/', "--"));
        Self {
            root: cache.join(&name),
            kind: repo.kind,
            locks: cache.join(".locks").join(name),
            revision: repo.revision.clone(),
        }
    }

    /// The commit that the revision stood for when it was last fetched.
    #[must_use]
    pub fn commit(&self) -> Option<String> {
        if is_commit(&self.revision) {
            return Some(self.revision.clone());
        }
        let text = std::fs::read_to_string(self.root.join("refs").join(&self.revision)).ok()?;
        Some(text.trim().to_owned()).filter(|c| is_commit(c))
    }

    /// The folder with the files of that commit, where it is there.
    #[must_use]
    pub fn snapshot(&self) -> Option<PathBuf> {
        self.commit().map(|c| self.snapshot_of(&c)).filter(|p| p.is_dir())
    }

    pub(super) fn snapshot_of(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    pub(super) fn blob(&self, checksum: &str) -> PathBuf {
        self.root.join("blobs").join(checksum)
    }

    /// The record of what the repository holds at a commit.
    pub(super) fn listing_file(&self, commit: &str) -> PathBuf {
        self.root.join(".polymix").join(format!("{commit}.json"))
    }

    /// The beginning of a blob.
    pub(super) fn part(&self, checksum: &str) -> PathBuf {
        self.root.join("blobs").join(format!("{checksum}.incomplete"))
    }

    /// The lock of a blob: the file that Python's client locks too.
    pub(super) fn lock_file(&self, checksum: &str) -> Result<PathBuf> {
        files::create_dir(&self.locks)?;
        Ok(self.locks.join(format!("{checksum}.lock")))
    }

    /// True while a download is not finished.
    #[must_use]
    pub fn has_parts(&self) -> bool {
        let blobs = files::children(&self.root.join("blobs"));
        blobs.iter().any(|b| b.extension().is_some_and(|e| e == "incomplete"))
    }

    /// Bytes on disk.
    #[must_use]
    pub fn size(&self) -> u64 {
        let blobs = files::children(&self.root.join("blobs"));
        blobs.iter().filter_map(|b| b.metadata().ok()).map(|m| m.len()).sum()
    }

    /// Writes down what the revision stands for, unless that is known.
    pub(super) fn remember(&self, commit: &str) -> Result<()> {
        if is_commit(&self.revision) {
            return Ok(());
        }
        let path = self.root.join("refs").join(&self.revision);
        if let Some(parent) = path.parent() {
            files::create_dir(parent)?;
        }
        // A cache that many read and nobody may write is as good as its own.
        if std::fs::read(&path).is_ok_and(|known| known == commit.as_bytes()) {
            return Ok(());
        }
        files::replace(&path, commit.as_bytes())
    }

    /// Shows a blob under its own name: a relative link, or a second copy where the system has no links.
    pub(super) fn show(&self, checksum: &str, commit: &str, path: &str) -> Result<()> {
        let shown = self.snapshot_of(commit).join(path);
        let parent = shown.parent().context("a file has a folder")?;
        files::create_dir(parent)?;
        let up = "../".repeat(path.matches('/').count() + 2);
        let blob = self.blob(checksum);
        link(&PathBuf::from(format!("{up}blobs/{checksum}")), &blob, &shown)
    }
}

/// Links `shown` to `blob`, through `relative` where the system has symbolic links.
fn link(relative: &Path, blob: &Path, shown: &Path) -> Result<()> {
    let beside = shown.with_file_name(format!(
        ".{}.{}.part",
        shown.file_name().unwrap_or_default().to_string_lossy(),
        std::process::id()
    ));
    let _ = std::fs::remove_file(&beside);
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(relative, &beside);
    #[cfg(windows)]
    let linked = std::os::windows::fs::symlink_file(relative, &beside);
    let linked = linked
        .or_else(|_| std::fs::hard_link(blob, &beside))
        .or_else(|_| std::fs::copy(blob, &beside).map(|_| ()))
        .and_then(|()| std::fs::rename(&beside, shown));
    linked.with_context(|| format!("{}: cannot link", shown.display()))
}

/// Links `shown` to `file`, both anywhere.
///
/// # Errors
/// Where the folder cannot be written, or something else than a link or file lies there.
pub fn link_to(file: &Path, shown: &Path) -> Result<()> {
    if shown.is_dir() {
        bail!("{}: a folder lies where a file belongs; remove it", shown.display());
    }
    if let Some(parent) = shown.parent() {
        files::create_dir(parent)?;
    }
    let file = std::path::absolute(file).with_context(|| format!("{}: no such path", file.display()))?;
    link(&file, &file, shown)
}

/// Files below a folder, as paths with `/`, in order; hidden ones are left out.
#[must_use]
pub fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for child in files::children(folder) {
        let name = child.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if child.is_dir() {
            found.extend(files_below(&child).into_iter().map(|inner| format!("{name}/{inner}")));
        } else if child.is_file() {
            found.push(name);
        }
    }
    found
}
