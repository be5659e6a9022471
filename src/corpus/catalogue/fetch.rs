//! Bringing an entry to this machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::entry::{At, Entry, Source};
use super::held::{data_root, folder, held, sole_repo};
use super::record::{Brought, Record};
use crate::hub::checksum::Checksum;
use crate::hub::{
    Client, Fetched, Stopped, Trust, Wanted, Watch, fetch_git, fetch_repo, fetch_url, file_name, is_archive,
    is_commit, is_refusal,
};

/// What a fetch came to.
#[derive(Clone, Debug)]
pub struct Received {
    pub folder: PathBuf,
    /// The commit of each source, in order; none for plain addresses.
    pub commits: Vec<String>,
    pub files: usize,
    pub bytes: u64,
}

/// Brings an entry to this machine, in some languages or (none named) in all. What is there already stays, unless the
/// entry names another source or version than it is of: then what the record lists of the former goes.
///
/// # Errors
/// What could not be had, and how to get it.
pub fn fetch(
    client: &Client,
    entry: &Entry,
    languages: &[String],
    watch: &mut Watch<'_>,
) -> Result<Received> {
    fetch_as(client, entry, (languages, false), watch)
}

/// The same, but what nothing vouches for is asked for anew: files of addresses without a checksum, and files that are not
/// what their checksum says. Each is replaced only when the new one is whole.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_again(
    client: &Client,
    entry: &Entry,
    languages: &[String],
    watch: &mut Watch<'_>,
) -> Result<Received> {
    ensure!(
        !client.settings.is_offline,
        "{}: HF_HUB_OFFLINE is set; unset it to fetch anything anew",
        entry.name
    );
    fetch_as(client, entry, (languages, true), watch)
}

fn fetch_as(
    client: &Client,
    entry: &Entry,
    (languages, is_again): (&[String], bool),
    watch: &mut Watch<'_>,
) -> Result<Received> {
    let chosen = entry.chosen(languages)?;
    let is_sole = sole_repo(entry, &client.settings).is_some();
    let own = data_root()?.join(&entry.name);
    if client.settings.is_offline && !is_sole && is_put_here(client, entry, &own, &chosen)? {
        watch.note(&format!(
            "{}: files that were put into {}; nothing records what they are, and they are taken as they are",
            entry.name,
            own.display()
        ));
        return received(client, entry, &[]);
    }
    if !is_sole {
        Record::begin(&own, entry)?;
    }
    let mut all = Vec::new();
    for source in &entry.sources {
        let wanted = entry.wanted_in(source, &chosen);
        let fetched = fetch_source(client, (entry, is_again), source, (&wanted, &chosen), &own, watch)?;
        all.push(Brought { source, wanted, fetched });
    }
    if !is_sole {
        Record::gather(&own, entry, &all, watch)?;
    }
    let fetched: Vec<Fetched> = all.into_iter().flat_map(|one| one.fetched).collect();
    received(client, entry, &fetched)
}

fn received(client: &Client, entry: &Entry, all: &[Fetched]) -> Result<Received> {
    let mut commits: Vec<String> = all.iter().map(|f| f.commit.clone()).filter(|c| !c.is_empty()).collect();
    commits.dedup();
    Ok(Received {
        folder: folder(entry, &client.settings)?,
        commits,
        files: all.iter().map(|f| f.files.len()).sum(),
        bytes: all.iter().flat_map(|f| &f.files).map(|f| f.size).sum(),
    })
}

/// True where a user put all files that are wanted into the folder, without a fetch.
fn is_put_here(client: &Client, entry: &Entry, own: &Path, chosen: &[String]) -> Result<bool> {
    if Record::read(own).is_some() {
        return Ok(false);
    }
    let held = held(entry, &client.settings)?;
    Ok(held.is_whole || held.is_usable && chosen.iter().all(|l| held.languages.contains(l)))
}

fn fetch_source(
    client: &Client,
    (entry, is_again): (&Entry, bool),
    source: &Source,
    (wanted, languages): (&[String], &[String]),
    own: &Path,
    watch: &mut Watch<'_>,
) -> Result<Vec<Fetched>> {
    let record = Record::read(own).unwrap_or_default();
    match &source.at {
        At::Hub(repo) => {
            let optional = source.whole(&source.optional);
            let trust = if is_again { Trust::Nothing } else { Trust::Present };
            let mut fetched = fetch_repo(client, repo, (&source.whole(wanted), &optional), trust, watch)?;
            if !source.under.is_empty() {
                fetched.folder.push(&source.under);
                for file in &mut fetched.files {
                    file.path = file.path[source.under.len() + 1..].to_owned();
                }
            }
            Ok(vec![fetched])
        }
        At::Git(url, revision) => {
            let kept = record.kept(own, source, wanted);
            // A commit stays what it is.
            let is_fixed = client.settings.is_offline || is_commit(revision);
            if let Some(kept) = kept.clone().filter(|_| is_fixed && !is_again) {
                return Ok(vec![kept]);
            }
            match (fetch_git(client, url, revision, (&source.under, wanted), own, watch), kept) {
                (Ok(fetched), _) => Ok(vec![fetched]),
                (Err(error), _) if client.settings.is_offline => Err(error.context(format!(
                    "HF_HUB_OFFLINE is set and {} is not complete in {}; fetch it where there is a network ({}) and copy \
                     that folder",
                    entry.name,
                    own.display(),
                    entry.command()
                ))),
                (Err(error), Some(kept))
                    if !error.is::<Stopped>() && !is_refusal(&error) =>
                {
                    watch.note(&format!("{error:#}; the copy on disk is used"));
                    Ok(vec![kept])
                }
                (Err(error), _) => Err(error),
            }
        }
        At::Url(url, sum) => {
            let sum = sum.as_deref().and_then(Checksum::parse);
            let by_language = url.contains("{language}");
            let parts: Vec<(String, Vec<String>)> = if by_language {
                let of = |l: &String| (entry.named(url, l), entry.wanted_in(source, std::slice::from_ref(l)));
                languages.iter().map(of).collect()
            } else {
                vec![(url.clone(), wanted.to_vec())]
            };
            let mut all = Vec::new();
            for (url, wanted) in parts {
                let name = file_name(&url).to_owned();
                // What an archive was unpacked to, its receipt knows.
                let kept = record.kept(own, source, std::slice::from_ref(&name));
                // Earlier versions kept empty files.
                let is_good = |kept: &Fetched| !is_archive(&name) && kept.files.iter().all(|f| f.size > 0);
                if let Some(kept) = kept.filter(|kept| !is_again && is_good(kept)) {
                    all.push(kept);
                    continue;
                }
                // A file that a record knows and that is not as recorded, or of another source, is not what is wanted.
                let trust = match (is_again, record.files.contains_key(&name)) {
                    (true, _) => Trust::Nothing,
                    (false, true) => Trust::Unpacked,
                    (false, false) => Trust::Present,
                };
                // An archive without a list of files is taken whole.
                let is_whole = source.files.is_empty();
                let wanted = Wanted {
                    under: &source.under,
                    required: if is_whole { &[] } else { &wanted },
                    optional: if is_whole { &[] } else { &source.optional },
                };
                let fetched = fetch_url(client, &url, (sum.as_ref(), trust), wanted, own, watch);
                all.push(fetched.with_context(|| entry.name.clone())?);
            }
            Ok(all)
        }
    }
}
