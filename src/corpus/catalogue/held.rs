//! What of an entry is on disk; fetching the rest; holding it to its checksums.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::entry::{At, Entry, Form, Source};
use crate::files;
use crate::hub::cache::{Place, files_below, link_to};
use crate::hub::checksum::{Checksum, sha256};
use crate::hub::{Client, Fetched, Settings, Watch, fetch_git, fetch_repo, fetch_url, matches};

/// The record of a fetch, in the entry's folder.
/// Hidden, so that no loader takes it for data.
const RECORD: &str = ".source.json";

/// What is on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Languages whose files are all there; empty where files do not differ by language.
    pub languages: Vec<String>,
    /// True where nothing is missing.
    pub is_whole: bool,
    /// True where enough is there to be read: all of it, or all of some languages.
    pub is_usable: bool,
    /// True where a download was begun.
    pub has_parts: bool,
}

impl Held {
    /// One or two words for a list.
    #[must_use]
    pub fn word(&self) -> String {
        match (self.is_whole, self.is_usable, self.has_parts) {
            (true, ..) => "on disk".into(),
            (_, true, _) => format!("on disk: {}", self.languages.join(" ")),
            (_, _, true) => "begun".into(),
            _ => "-".into(),
        }
    }
}

/// Where data outside the hub's cache lie: `POLYMIX_DATA`, else the user's data folder.
///
/// # Errors
/// Where the system names no such folder.
pub fn data_root() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("POLYMIX_DATA").filter(|v| !v.is_empty()) {
        return Ok(path.into());
    }
    let dirs = directories::ProjectDirs::from("", "", "polymix");
    Ok(dirs.context("this system names no data folder; set POLYMIX_DATA")?.data_dir().join("data"))
}

/// The one hub repository that an entry consists of.
fn sole_repo<'a>(entry: &'a Entry, settings: &Settings) -> Option<(Place, &'a Source)> {
    match &entry.sources[..] {
        [source] => match &source.at {
            At::Hub(repo) => Some((Place::new(&settings.cache, repo), source)),
            _ => None,
        },
        _ => None,
    }
}

/// The folder with an entry's files, as a loader is given it. It need not exist.
///
/// # Errors
/// Where the system names no data folder.
pub fn folder(entry: &Entry, settings: &Settings) -> Result<PathBuf> {
    match sole_repo(entry, settings) {
        Some((place, source)) => {
            let root = place.snapshot().unwrap_or_else(|| place.root.join("snapshots"));
            Ok(if source.under.is_empty() { root } else { root.join(&source.under) })
        }
        None => Ok(data_root()?.join(&entry.name)),
    }
}

/// Looks at the disk, and at nothing else.
///
/// # Errors
/// As [`folder`].
pub fn held(entry: &Entry, settings: &Settings) -> Result<Held> {
    let folder = folder(entry, settings)?;
    let sole = sole_repo(entry, settings);
    let is_there = sole.as_ref().is_none_or(|(place, _)| place.snapshot().is_some());
    let there = if is_there { files_below(&folder) } else { Vec::new() };
    let has = |pattern: &str| pattern.split('|').any(|p| there.iter().any(|f| matches(p, f)));
    let has_parts = match &sole {
        Some((place, _)) => place.has_parts(),
        None => has_begun(&folder),
    };
    // What an archive holds is known by the record of its unpacking.
    let is_archive = |s: &Source| matches!(s.at, At::Url(..)) && s.files.is_empty();
    let record = Record::read(&folder);
    let has_record = record.is_some_and(|r| r.files.keys().all(|f| there.contains(f)));
    let plain = entry.sources.iter().all(|s| {
        let mut files = s.files.iter().filter(|f| !f.contains("{language}"));
        if is_archive(s) { has_record } else { files.all(|f| has(f)) }
    });
    let languages: Vec<String> = if entry.is_by_language() {
        let is_whole =
            |l: &&String| entry.sources.iter().all(|s| entry.files_of(s, l).iter().all(|f| has(f)));
        entry.languages.iter().filter(is_whole).cloned().collect()
    } else {
        Vec::new()
    };
    let is_whole = plain && (!entry.is_by_language() || languages.len() == entry.languages.len());
    let is_usable = plain && (!entry.is_by_language() || !languages.is_empty());
    Ok(Held { languages, is_whole, is_usable, has_parts })
}

/// True where a part of a download lies in the folder.
fn has_begun(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|e| e.file_name().to_string_lossy().ends_with(".incomplete"))
}

/// What was fetched, in the folder of what was fetched.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    v: u32,
    name: String,
    /// Each source with the commit that its revision stood for.
    sources: Vec<Taken>,
    /// Size and SHA-256 (64 digits) or git's SHA-1 (40) of each file.
    files: BTreeMap<String, Sum>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Taken {
    source: String,
    commit: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sum {
    size: u64,
    checksum: String,
    /// False where it is only that of what came, as the publisher states none; records before that held no word on it.
    #[serde(default = "yes")]
    is_published: bool,
}

const fn yes() -> bool {
    true
}

impl Record {
    fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(RECORD)).ok()?).ok()
    }
}

/// What a fetch came to.
#[derive(Clone, Debug)]
pub struct Received {
    pub folder: PathBuf,
    /// The commit of each source, in order; empty for plain addresses.
    pub commits: Vec<String>,
    pub files: usize,
    pub bytes: u64,
}

/// Brings an entry to this machine, in some languages or (none named) in all. What is there already stays.
///
/// # Errors
/// What could not be had, and how to get it.
pub fn fetch(
    client: &Client,
    entry: &Entry,
    languages: &[String],
    watch: &mut Watch<'_>,
) -> Result<Received> {
    let chosen = entry.chosen(languages)?;
    let is_sole = sole_repo(entry, &client.settings).is_some();
    let mut all = Vec::new();
    for source in &entry.sources {
        let patterns: Vec<String> = source
            .files
            .iter()
            .filter(|f| !f.contains("{language}"))
            .cloned()
            .chain(chosen.iter().flat_map(|l| entry.files_of(source, l)))
            .collect();
        all.extend(fetch_source(client, entry, source, &patterns, &chosen, watch)?);
    }
    if !is_sole {
        gather(entry, &data_root()?.join(&entry.name), &all)?;
    }
    Ok(Received {
        folder: folder(entry, &client.settings)?,
        commits: all.iter().map(|f| f.commit.clone()).filter(|c| !c.is_empty()).collect(),
        files: all.iter().map(|f| f.files.len()).sum(),
        bytes: all.iter().flat_map(|f| &f.files).map(|f| f.size).sum(),
    })
}

fn fetch_source(
    client: &Client,
    entry: &Entry,
    source: &Source,
    patterns: &[String],
    languages: &[String],
    watch: &mut Watch<'_>,
) -> Result<Vec<Fetched>> {
    match &source.at {
        At::Hub(repo) => {
            let whole = |files: &[String]| -> Vec<String> {
                let under = |f: &String| {
                    if source.under.is_empty() { f.clone() } else { format!("{}/{f}", source.under) }
                };
                files.iter().map(under).collect()
            };
            let mut fetched = fetch_repo(client, repo, &whole(patterns), &whole(&source.optional), watch)?;
            if !source.under.is_empty() {
                fetched.folder.push(&source.under);
                for file in &mut fetched.files {
                    file.path = file.path[source.under.len() + 1..].to_owned();
                }
            }
            Ok(vec![fetched])
        }
        At::Git(url, revision) => {
            let folder = data_root()?.join(&entry.name);
            Ok(vec![fetch_git(client, url, revision, (&source.under, patterns), &folder, watch)?])
        }
        At::Url(url, sum) => {
            let folder = data_root()?.join(&entry.name);
            let sum = sum.as_deref().and_then(Checksum::parse);
            let urls: Vec<String> = if url.contains("{language}") {
                let name = |l: &String| entry.names.get(l).unwrap_or(l).clone();
                languages.iter().map(|l| url.replace("{language}", &name(l))).collect()
            } else {
                vec![url.clone()]
            };
            let is_kept = |url: &str| {
                let name = url.rsplit('/').next().unwrap_or_default();
                let record = Record::read(&folder).filter(|r| r.files.contains_key(name))?;
                folder.join(name).is_file().then_some(record)
            };
            urls.iter()
                // A file of an earlier fetch is not asked for again; `verify` looks whether it is still whole.
                .filter(|url| is_kept(url).is_none())
                .map(|url| fetch_url(client, url, sum.as_ref(), (&source.under, patterns), &folder, watch))
                .collect()
        }
    }
}

/// Shows all files in one folder and writes down what they are.
fn gather(entry: &Entry, folder: &Path, all: &[Fetched]) -> Result<()> {
    files::create_dir(folder)?;
    let mut record = Record::read(folder).unwrap_or_default();
    record.v = 1;
    record.name.clone_from(&entry.name);
    let commits = all.iter().map(|f| f.commit.clone()).chain(std::iter::repeat(String::new()));
    let taken = entry.sources.iter().zip(commits);
    record.sources = taken.map(|(s, commit)| Taken { source: s.at.to_string(), commit }).collect();
    for fetched in all {
        for file in &fetched.files {
            if fetched.folder != folder {
                link_to(&fetched.folder.join(&file.path), &folder.join(&file.path))?;
            }
            let checksum = match &file.checksum {
                Some(checksum) => checksum.hex().to_owned(),
                None => sha256(&folder.join(&file.path))?,
            };
            let is_published = file.checksum.is_some();
            record.files.insert(file.path.clone(), Sum { size: file.size, checksum, is_published });
        }
    }
    files::replace(&folder.join(RECORD), &serde_json::to_vec_pretty(&record)?)
}

/// A file that was held to its checksum.
#[derive(Clone, Debug)]
pub struct Checked {
    pub path: PathBuf,
    /// What is wrong with it; `None`: nothing.
    pub fault: Option<String>,
    /// True where the publisher states its checksum; else it was held to that of what came.
    pub is_published: bool,
}

/// Reads every file of an entry and holds it to its checksum.
///
/// # Errors
/// Where nothing of it is on disk.
pub fn verify(entry: &Entry, settings: &Settings) -> Result<Vec<Checked>> {
    let folder = folder(entry, settings)?;
    let record = Record::read(&folder);
    let mut names = files_below(&folder);
    names.retain(|n| n != RECORD);
    if sole_repo(entry, settings).is_some_and(|(place, _)| place.snapshot().is_none()) || !folder.is_dir() {
        bail!("{}: not on this machine; fetch it with `{}`", entry.name, entry.command());
    }
    if let Some(record) = &record {
        names.extend(record.files.keys().filter(|k| !folder.join(k).exists()).cloned().collect::<Vec<_>>());
    }
    if names.is_empty() {
        bail!("{}: no file on this machine; fetch it with `{}`", entry.name, entry.command());
    }
    Ok(names
        .into_iter()
        .filter_map(|name| {
            let path = folder.join(&name);
            let sum = record.as_ref().and_then(|r| r.files.get(&name));
            let recorded = sum.map(|s| s.checksum.clone());
            let blob = path.canonicalize().ok().and_then(|p| {
                let is_blob = p.parent()?.file_name()? == "blobs";
                is_blob.then(|| p.file_name().map(|n| n.to_string_lossy().into_owned()))?
            });
            // A blob of the hub is named by what the hub states.
            let is_published = blob.is_some() || sum.is_none_or(|s| s.is_published);
            let sum = blob.or(recorded).as_deref().and_then(Checksum::parse);
            // Files that came from elsewhere have nothing to be held to.
            let sum = match sum {
                Some(sum) => sum,
                None if record.is_some() || entry.form == Form::Model => return None,
                None => {
                    return Some(Checked {
                        path,
                        fault: Some("no record of its checksum; fetch it again".into()),
                        is_published,
                    });
                }
            };
            let fault = sum.check(&path).err().map(|e| format!("{e:#}"));
            Some(Checked { path, fault, is_published })
        })
        .collect())
}
