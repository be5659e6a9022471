//! Holding what is on disk to its checksums.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Result, bail};

use super::entry::{Entry, Form};
use super::held::{Contents, folder, sole_repo};
use super::record::{RECORD, Record};
use crate::hub::Settings;
use crate::hub::cache::files_below;
use crate::hub::checksum::Checksum;
use crate::hub::matches;

/// What can be wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not what its checksum says.
    Damaged,
    Missing,
    /// Nothing is known that it could be held to.
    Unrecorded,
}

/// A file that was held to its checksum.
#[derive(Clone, Debug)]
pub struct Checked {
    pub path: PathBuf,
    /// What is wrong with it; `None`: nothing.
    pub fault: Option<(Fault, String)>,
    /// True where the publisher states its checksum; else it was held to that of what came.
    pub is_published: bool,
}

/// Reads every file of an entry and holds it to its checksum; files that belong to what was begun and are not there count
/// as faults.
///
/// # Errors
/// Where nothing of it is on disk, or what is there is of another source than the entry names.
pub fn verify(entry: &Entry, settings: &Settings) -> Result<Vec<Checked>> {
    let folder = folder(entry, settings)?;
    let sole = sole_repo(entry, settings);
    // The cache is shared: only a folder of ours has a record.
    let record = Record::read(&folder).filter(|_| sole.is_none());
    if let Some(other) = record.as_ref().and_then(|r| r.foreign(entry)) {
        bail!(
            "{}: what is on disk is of {other}, which the entry does not name; fetch anew with `{}`",
            entry.name,
            entry.command()
        );
    }
    if sole.as_ref().is_some_and(|(place, _)| place.snapshot().is_none()) || !folder.is_dir() {
        bail!("{}: not on this machine; fetch it with `{}`", entry.name, entry.command());
    }
    let mut names: BTreeSet<String> = files_below(&folder).into_iter().filter(|n| n != RECORD).collect();
    names.extend(record.iter().flat_map(|r| r.files.keys().cloned()));
    if names.is_empty() {
        bail!("{}: no file on this machine; fetch it with `{}`", entry.name, entry.command());
    }
    let wanted: Vec<String> = entry
        .sources
        .iter()
        .flat_map(|s| entry.wanted_in(s, &entry.languages).into_iter().chain(s.optional.clone()))
        .collect();
    let mut checked: Vec<Checked> = names
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
            let Some(sum) = blob.or(recorded).as_deref().and_then(Checksum::parse) else {
                // Files that came from elsewhere have nothing to be held to.
                let is_meant = wanted.iter().flat_map(|p| p.split('|')).any(|p| matches(p, &name));
                let is_faulty = record.is_none() && entry.form == Form::Data && is_meant;
                return is_faulty.then(|| Checked {
                    fault: Some((
                        Fault::Unrecorded,
                        format!(
                            "{}: no record of its checksum, as no fetch brought it; `{}` looks whether it is the published one",
                            path.display(),
                            entry.command()
                        ),
                    )),
                    path,
                    is_published: false,
                });
            };
            let fault = sum.check(&path).err().map(|e| (Fault::Damaged, format!("{e:#}")));
            Some(Checked { path, fault, is_published })
        })
        .collect();
    let absent = Contents::of(entry, settings)?.absent(entry);
    checked.extend(absent.into_iter().map(|name| {
        let path = folder.join(&name);
        let fault = format!("{}: missing; `{}` brings it", path.display(), entry.command());
        Checked { path, fault: Some((Fault::Missing, fault)), is_published: true }
    }));
    Ok(checked)
}
