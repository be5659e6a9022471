//! What of an entry is on disk.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::entry::{At, Entry, Form, Source};
use super::record::Record;
use crate::hub::cache::{Place, files_below};
use crate::hub::{Settings, Shelf, matches};

/// What is on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Languages whose files are all there; empty where files do not differ by language.
    pub languages: Vec<String>,
    /// True where nothing is missing.
    pub is_whole: bool,
    /// True where enough is there to be read: all of it, or all of some languages.
    pub is_usable: bool,
    /// True where a download was begun, or some files are missing.
    pub has_parts: bool,
    /// What else a user should know.
    pub trouble: Option<Trouble>,
}

/// What keeps files that are there from being all that they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// They are of this source, and the entry names another.
    OtherSource(String),
    /// Links into the hub's cache lead nowhere.
    LinksCut,
    /// Another program brought them, and nothing tells whether all that belong to the entry are there.
    Unsure,
}

impl Held {
    /// Some words for a list.
    #[must_use]
    pub fn word(&self) -> String {
        let unsure = if self.is_unsure() { "?" } else { "" };
        match (&self.trouble, self.has_parts) {
            _ if self.is_whole => format!("on disk{unsure}"),
            _ if self.is_usable => format!("on disk{unsure}: {}", self.languages.join(" ")),
            (Some(Trouble::OtherSource(_)), _) => "other source".into(),
            (Some(Trouble::LinksCut), _) => "links cut".into(),
            (_, true) => "begun".into(),
            _ => "-".into(),
        }
    }

    /// True where nothing tells whether all files are there.
    #[must_use]
    pub fn is_unsure(&self) -> bool {
        self.trouble == Some(Trouble::Unsure)
    }

    /// What keeps it from being used, and the remedy.
    #[must_use]
    pub fn lack(&self, entry: &Entry) -> String {
        let command = entry.command();
        match &self.trouble {
            Some(Trouble::OtherSource(other)) => {
                return format!(
                    "what is on this machine is of another source than the entry names ({other}); fetch it with \
                     `{command}`, which replaces it"
                );
            }
            Some(Trouble::LinksCut) => {
                return format!(
                    "its links into the hub's cache lead nowhere on this machine (was one of the two folders moved?); \
                     fetch it with `{command}`, which makes them anew, without a network too (HF_HUB_OFFLINE=1)"
                );
            }
            _ => {}
        }
        let state = if self.has_parts { "not complete" } else { "not" };
        format!("{state} on this machine; fetch it with `{command}`")
    }

    /// What is not known of files that another program brought, and the remedy.
    #[must_use]
    pub fn doubt(&self, entry: &Entry) -> Option<String> {
        let belongs = match entry.form {
            Form::Model => "pooling, dense layers, prompts",
            Form::Data => "further files that its wildcards mean",
        };
        self.is_unsure().then(|| {
            format!(
                "{}: another program brought its files; whether all that belong to it are there ({belongs}) is not known; \
                 `{}` looks, and brings what is missing",
                entry.name,
                entry.command()
            )
        })
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
pub(super) fn sole_repo<'a>(entry: &'a Entry, settings: &Settings) -> Option<(Place, &'a Source)> {
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

/// What the disk has to say of an entry.
pub(super) enum Contents<'a> {
    /// A repository of the hub, in its cache; `None` where it was never there.
    Cache { source: &'a Source, shelf: Option<Shelf>, has_parts: bool },
    /// A folder of ours.
    Folder { folder: PathBuf, there: Vec<String>, record: Option<Record> },
}

impl<'a> Contents<'a> {
    pub fn of(entry: &'a Entry, settings: &Settings) -> Result<Self> {
        if let Some((place, source)) = sole_repo(entry, settings) {
            return Ok(Self::Cache { source, shelf: Shelf::of(&place), has_parts: place.has_parts() });
        }
        let folder = folder(entry, settings)?;
        Ok(Self::Folder { there: files_below(&folder), record: Record::read(&folder), folder })
    }

    /// What is missing of the files for a language, or of those that differ by none.
    fn missing(&self, entry: &Entry, language: Option<&str>) -> Vec<String> {
        match self {
            Self::Cache { source, shelf, .. } => {
                let wanted = entry.wanted(source, language);
                let Some(shelf) = shelf else { return wanted };
                let optional = if language.is_none() { source.whole(&source.optional) } else { Vec::new() };
                let mut missing = shelf.missing(&source.whole(&wanted), &optional);
                if !source.under.is_empty() {
                    let root = format!("{}/", source.under);
                    let below = |f: String| f.strip_prefix(&root).map_or_else(|| f.clone(), str::to_owned);
                    missing = missing.into_iter().map(below).collect();
                }
                missing
            }
            Self::Folder { .. } => {
                let of = |s: &Source| -> Vec<String> {
                    let wanted = entry.wanted(s, language).into_iter();
                    wanted.filter(|w| !self.has(s, w)).collect()
                };
                entry.sources.iter().flat_map(of).collect()
            }
        }
    }

    /// Whether all is there that a pattern, or the name of an archive, stands for.
    fn has(&self, source: &Source, wanted: &str) -> bool {
        let Self::Folder { folder, there, record } = self else { return false };
        let fits = |file: &String| wanted.split('|').any(|p| matches(p, file));
        let is_archive = matches!(source.at, At::Url(..)) && source.files.is_empty();
        // One file is there or not; what else is meant, only the record of the fetch knows.
        if !is_archive && !wanted.contains('*') {
            return there.iter().any(fits);
        }
        let is_recorded_there =
            |r: &Record| r.files.keys().filter(|f| is_archive || fits(f)).all(|f| there.contains(f));
        match record.as_ref().and_then(|r| Some((r, r.is_done(source, wanted)?))) {
            Some((record, is_done)) => is_done && is_recorded_there(record),
            None if is_archive => record.as_ref().is_some_and(is_recorded_there),
            None => there.iter().any(fits) && !has_begun(folder),
        }
    }

    /// Files that are missing of what is there otherwise: of languages of which something is there.
    pub fn absent(&self, entry: &Entry) -> Vec<String> {
        let mut absent = self.missing(entry, None);
        for language in entry.languages.iter().filter(|_| entry.is_by_language()) {
            let missing = self.missing(entry, Some(language));
            let wanted = entry.sources.iter().map(|s| entry.wanted(s, Some(language)).len()).sum::<usize>();
            let is_begun = match self {
                Self::Cache { source, shelf, .. } => {
                    let wanted = source.whole(&entry.wanted(source, Some(language)));
                    shelf.as_ref().is_some_and(|s| s.holds_some(&wanted))
                }
                Self::Folder { .. } => missing.len() < wanted,
            };
            absent.extend(missing.into_iter().filter(|_| is_begun));
        }
        // The record's own files are looked at one by one.
        if let Self::Folder { record: Some(record), .. } = self {
            absent.retain(|name| !record.files.contains_key(name));
        }
        absent
    }
}

/// Looks at the disk, and at nothing else.
///
/// # Errors
/// As [`folder`].
pub fn held(entry: &Entry, settings: &Settings) -> Result<Held> {
    let contents = Contents::of(entry, settings)?;
    let by_language = entry.is_by_language();
    let mut held = Held::default();
    let plain = contents.missing(entry, None);
    if by_language {
        let is_whole = |l: &&String| contents.missing(entry, Some(l)).is_empty();
        held.languages = entry.languages.iter().filter(is_whole).cloned().collect();
    }
    held.is_whole = plain.is_empty() && (!by_language || held.languages.len() == entry.languages.len());
    held.is_usable = plain.is_empty() && (!by_language || !held.languages.is_empty());
    match &contents {
        Contents::Cache { source, shelf, has_parts } => {
            let wanted = source.whole(&entry.wanted_in(source, &entry.languages));
            held.has_parts = *has_parts || shelf.as_ref().is_some_and(|s| s.holds_some(&wanted));
            let is_sure = |shelf: &Shelf| shelf.is_sure(&wanted, &source.whole(&source.optional));
            let is_unsure = entry.layout.is_none() && !shelf.as_ref().is_some_and(is_sure);
            held.trouble = Some(Trouble::Unsure).filter(|_| held.is_usable && is_unsure);
        }
        Contents::Folder { folder, there, record } => {
            held.has_parts = has_begun(folder) || record.is_some() && !there.is_empty();
            let record = record.as_ref();
            let is_cut = || record.is_some_and(|r| r.is_cut_off(folder)).then_some(Trouble::LinksCut);
            held.trouble = record.and_then(|r| r.foreign(entry)).map(Trouble::OtherSource).or_else(is_cut);
        }
    }
    if matches!(held.trouble, Some(Trouble::OtherSource(_))) {
        (held.is_whole, held.is_usable) = (false, false);
        held.languages.clear();
    }
    Ok(held)
}

/// True where a part of a download lies in the folder.
fn has_begun(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|e| e.file_name().to_string_lossy().ends_with(".incomplete"))
}
