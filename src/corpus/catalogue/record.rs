//! The record of what was fetched, in the folder with the files: of which source and commit, and each file's checksum.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::entry::{At, Entry, Source};
use crate::files;
use crate::hub::archive::is_inside;
use crate::hub::cache::link_to;
use crate::hub::checksum::{Checksum, sha256};
use crate::hub::{Fetched, FetchedFile, Watch, matches};

/// Its name: hidden, so that no loader takes it for data.
pub(super) const RECORD: &str = ".source.json";
const LOCK: &str = ".source.lock";
/// Key of a source that a record of version 1 names and the entry does not.
const FORMER: &str = "former";

/// What was fetched, in the folder of what was fetched.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    v: u32,
    name: String,
    /// The sources that were begun or taken.
    sources: Vec<Taken>,
    /// By path below the folder.
    pub files: BTreeMap<String, Sum>,
}

/// A source.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Taken {
    /// As it is shown.
    source: String,
    /// [`key`] of the source; empty in records of version 1.
    #[serde(default)]
    key: String,
    /// The commit that its revision stood for; empty for plain addresses and where nothing is whole yet.
    commit: String,
    /// What was asked for and came whole: patterns without `{language}`, names of archives.
    #[serde(default)]
    done: BTreeSet<String>,
}

/// A file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sum {
    size: u64,
    /// SHA-256 (64 digits) or git's SHA-1 (40).
    pub checksum: String,
    /// False where it is only that of what came, as the publisher states none; records before that held no word on it.
    #[serde(default = "yes")]
    pub is_published: bool,
    /// Key of its source; empty in records of version 1.
    #[serde(default)]
    key: String,
    /// Nanoseconds since 1970; absent for links into the hub's cache.
    #[serde(default)]
    modified: Option<u64>,
}

const fn yes() -> bool {
    true
}

/// What of a source was brought: what was asked for, and what came of it.
pub(super) struct Brought<'a> {
    pub source: &'a Source,
    pub wanted: Vec<String>,
    pub fetched: Vec<Fetched>,
}

/// What makes a source this one and no other: address, revision, checksum and folder. A hash, as addresses may carry
/// passwords.
fn key(source: &Source) -> String {
    let parts: [&str; 4] = match &source.at {
        At::Hub(repo) => ["hub", &repo.id, &repo.revision, &source.under],
        At::Git(url, revision) => ["git", url, revision, &source.under],
        At::Url(url, sum) => ["url", url, sum.as_deref().unwrap_or_default(), &source.under],
    };
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

impl Taken {
    fn is_of(&self, source: &Source) -> bool {
        if self.key.is_empty() { self.source == source.at.to_string() } else { self.key == key(source) }
    }
}

impl Record {
    pub fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(RECORD)).ok()?).ok()
    }

    /// Reads, changes and writes the record of a folder, which may have none yet, by one process at a time.
    fn change(folder: &Path, entry: &Entry, change: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        files::create_dir(folder)?;
        let _lock = files::lock(&folder.join(LOCK))?;
        let mut record = Self::read(folder).unwrap_or_default();
        record.upgrade(entry);
        change(&mut record)?;
        record.v = 2;
        record.name.clone_from(&entry.name);
        files::replace(&folder.join(RECORD), &serde_json::to_vec_pretty(&record)?)
    }

    /// Brings a record of version 1, which was written when all of a fetch had come, to the present form.
    fn upgrade(&mut self, entry: &Entry) {
        if self.v >= 2 {
            return;
        }
        for taken in &mut self.sources {
            let Some(source) = entry.sources.iter().find(|s| taken.is_of(s)) else {
                FORMER.clone_into(&mut taken.key);
                continue;
            };
            taken.key = key(source);
            let all = entry.wanted_in(source, &entry.languages).into_iter();
            let came = |p: &String| p.split('|').any(|p| self.files.keys().any(|f| matches(p, f)));
            taken.done = if source.files.is_empty() { all.collect() } else { all.filter(came).collect() };
        }
        // Of several sources nobody knows which one a file came from: it stays.
        if let [taken] = &self.sources[..] {
            self.files.values_mut().for_each(|sum| sum.key.clone_from(&taken.key));
        }
    }

    /// Writes down that the entry's sources are being fetched: until they are gathered, what a wildcard finds in the folder
    /// is not all of it.
    pub fn begin(folder: &Path, entry: &Entry) -> Result<()> {
        Self::change(folder, entry, |record| {
            for source in &entry.sources {
                if record.taken(source).is_none() {
                    record.sources.push(Taken {
                        source: source.at.to_string(),
                        key: key(source),
                        ..Taken::default()
                    });
                }
            }
            Ok(())
        })
    }

    /// Shows all files in one folder, writes down what they are, and removes what sources left there that the entry no
    /// longer names, or names in another version: only files that the record lists.
    pub fn gather(folder: &Path, entry: &Entry, all: &[Brought<'_>], watch: &mut Watch<'_>) -> Result<()> {
        let mut gone = 0;
        Self::change(folder, entry, |record| {
            let former = record.files.clone();
            for one in all {
                record.take(folder, one)?;
            }
            record.sources.retain(|taken| entry.sources.iter().any(|s| taken.is_of(s)));
            let is_kept = |sum: &Sum| sum.key.is_empty() || record.sources.iter().any(|t| t.key == sum.key);
            let stale: Vec<String> =
                record.files.iter().filter(|(_, sum)| !is_kept(sum)).map(|(path, _)| path.clone()).collect();
            for path in &stale {
                record.files.remove(path);
            }
            for path in former.keys().filter(|path| !record.files.contains_key(*path) && is_inside(path)) {
                gone += usize::from(std::fs::remove_file(folder.join(path)).is_ok());
                // Folders that are empty now; others stay.
                let above = Path::new(path).ancestors().skip(1).filter(|p| !p.as_os_str().is_empty());
                above.for_each(|p| drop(std::fs::remove_dir(folder.join(p))));
            }
            Ok(())
        })?;
        if gone > 0 {
            watch.note(&format!("{gone} files of the source as it was before were removed"));
        }
        Ok(())
    }

    /// Takes what a source brought into the record.
    fn take(&mut self, folder: &Path, one: &Brought<'_>) -> Result<()> {
        let key = key(one.source);
        let commit =
            one.fetched.iter().map(|f| f.commit.as_str()).find(|c| !c.is_empty()).unwrap_or_default();
        // Files that this source brought before and that it has no more.
        let came: BTreeSet<&str> =
            one.fetched.iter().flat_map(|f| &f.files).map(|f| f.path.as_str()).collect();
        let is_asked = |path: &str| {
            let mut patterns = one.wanted.iter().flat_map(|p| p.split('|'));
            !one.source.files.is_empty() && patterns.any(|p| matches(p, path))
        };
        self.files.retain(|path, sum| sum.key != key || came.contains(path.as_str()) || !is_asked(path));
        for fetched in &one.fetched {
            for file in &fetched.files {
                let shown = folder.join(&file.path);
                let is_elsewhere = fetched.folder != folder;
                if is_elsewhere {
                    link_to(&fetched.folder.join(&file.path), &shown)?;
                }
                let checksum = match &file.checksum {
                    Some(checksum) => checksum.hex().to_owned(),
                    None => sha256(&shown)?,
                };
                let sum = Sum {
                    size: file.size,
                    checksum,
                    is_published: file.is_published,
                    key: key.clone(),
                    modified: if is_elsewhere { None } else { modified(&shown) },
                };
                self.files.insert(file.path.clone(), sum);
            }
        }
        let mut taken = Taken {
            source: one.source.at.to_string(),
            commit: commit.to_owned(),
            done: one.wanted.iter().cloned().collect(),
            key,
        };
        if let Some(old) = self.sources.iter_mut().find(|t| t.is_of(one.source)) {
            taken.done.append(&mut old.done);
            *old = taken;
        } else {
            self.sources.push(taken);
        }
        Ok(())
    }

    fn taken(&self, source: &Source) -> Option<&Taken> {
        self.sources.iter().find(|t| t.is_of(source))
    }

    /// The first source of the record that the entry does not name.
    pub fn foreign(&self, entry: &Entry) -> Option<String> {
        let taken = self.sources.iter().find(|t| !entry.sources.iter().any(|s| t.is_of(s)))?;
        // The very text of the entry's would leave the reader without a clue: checksum, folder or the hidden part of the
        // address differ.
        let is_alike = entry.sources.iter().any(|s| s.at.to_string() == taken.source);
        let more =
            if is_alike { " as it was described before (checksum, folder or address differ)" } else { "" };
        let commit = Some(&taken.commit).filter(|c| !c.is_empty() && !taken.source.ends_with(c.as_str()));
        Some(format!("{}{}{more}", taken.source, commit.map_or(String::new(), |c| format!(", commit {c}"))))
    }

    /// True where the record shows that all of what was asked for came; records of version 1 do not say.
    pub fn is_done(&self, source: &Source, wanted: &str) -> Option<bool> {
        (self.v >= 2).then(|| self.taken(source).is_some_and(|t| t.done.contains(wanted)))
    }

    /// A file, where it is of this source.
    fn file(&self, source: &Source, path: &str) -> Option<&Sum> {
        let taken = self.taken(source)?;
        self.files.get(path).filter(|sum| sum.key.is_empty() || sum.key == taken.key)
    }

    /// Files of a source that fit a pattern.
    fn fitting<'a>(
        &'a self,
        source: &'a Source,
        pattern: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Sum)> {
        let files = self.files.iter().filter(move |(p, _)| pattern.split('|').any(|one| matches(one, p)));
        files.filter(move |(p, _)| self.file(source, p).is_some()).map(|(p, s)| (p.as_str(), s))
    }

    /// What the folder holds of a source, where all that is wanted of it came and is as it came.
    pub fn kept(&self, folder: &Path, source: &Source, wanted: &[String]) -> Option<Fetched> {
        let mut files = BTreeMap::new();
        for pattern in wanted {
            let found: Vec<(&str, &Sum)> = self.fitting(source, pattern).collect();
            let is_done = !pattern.contains('*') || self.is_done(source, pattern) == Some(true);
            if found.is_empty() || !is_done {
                return None;
            }
            files.extend(found);
        }
        files.iter().all(|(path, sum)| sum.is_as_it_came(&folder.join(path))).then(|| Fetched {
            folder: folder.to_owned(),
            commit: self.taken(source).map_or(String::new(), |t| t.commit.clone()),
            files: files.into_iter().map(|(path, sum)| sum.fetched(path)).collect(),
        })
    }

    /// True where a link of the folder leads nowhere.
    pub fn is_cut_off(&self, folder: &Path) -> bool {
        let is_broken = |path: &PathBuf| path.is_symlink() && !path.exists();
        self.files.keys().map(|name| folder.join(name)).any(|path| is_broken(&path))
    }
}

impl Sum {
    /// By size and time of change; where the time is another, by checksum.
    fn is_as_it_came(&self, path: &Path) -> bool {
        let is_same = || Checksum::parse(&self.checksum).is_some_and(|sum| sum.check(path).is_ok());
        match std::fs::metadata(path) {
            Ok(found) if found.len() != self.size => false,
            Ok(_) => (self.modified.is_some() && self.modified == modified(path)) || is_same(),
            Err(_) => false,
        }
    }

    fn fetched(&self, path: &str) -> FetchedFile {
        FetchedFile {
            path: path.to_owned(),
            size: self.size,
            checksum: Checksum::parse(&self.checksum),
            is_published: self.is_published,
        }
    }
}

/// Nanoseconds since 1970 of a file's last change.
fn modified(path: &Path) -> Option<u64> {
    let time = std::fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(time.as_nanos()).ok()
}
