//! Several files at once: of a hub repository into the shared cache, of a git repository or an address into a folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::address::{Address, redact};
use super::archive;
use super::archive::{Packing, settle, unpack};
use super::cache::{Place, files_below};
use super::checksum::{Checksum, sha256};
use super::disk::{is_at_fault, space};
use super::download::{Job, download, length};
use super::fault::is_refusal;
use super::git::Host;
use super::http::Client;
use super::pattern::{matches, nearest};
use super::receipt::Receipt;
use super::repo::{Kind, Remote, Repo, head, listing};
use super::shelf::{Shelf, keep_listing};
use super::watch::{Stopped, Watch};
use crate::files;

/// What a fetch left on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The folder that holds the files under their own names.
    pub folder: PathBuf,
    /// The commit they are of; empty for a plain address.
    pub commit: String,
    pub files: Vec<FetchedFile>,
}

/// A file of a [`Fetched`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedFile {
    /// Below the folder.
    pub path: String,
    pub size: u64,
    /// As published, or of what came; `None` where neither was looked at.
    pub checksum: Option<Checksum>,
    /// True where the checksum is published, or that of the archive that the file came in.
    pub is_published: bool,
}

/// Refuses a list of files that lacks what is required.
fn check_required(required: &[String], paths: &[&str], whose: &str) -> Result<()> {
    let Some(pattern) = required.iter().find(|pattern| !is_met(pattern, paths.iter().copied())) else {
        return Ok(());
    };
    let first = pattern.split('|').next().unwrap_or(pattern);
    let near = nearest(first, paths.iter().copied());
    let near = if near.is_empty() { String::new() } else { format!("; is {} meant?", near.join(" or ")) };
    bail!("{whose}: no file '{}' among its {} files{near}", pattern.replace('|', "' or '"), paths.len())
}

/// True where some file fits the pattern, or an alternative of it.
fn is_met<'a>(pattern: &str, mut paths: impl Iterator<Item = &'a str>) -> bool {
    paths.any(|path| pattern.split('|').any(|p| matches(p, path)))
}

/// The files that the patterns name.
///
/// # Errors
/// Names a required pattern that nothing fits, with names that are spelt alike.
fn choose(files: Vec<Remote>, required: &[String], optional: &[String], whose: &str) -> Result<Vec<Remote>> {
    let paths: Vec<&str> = files.iter().map(|f| f.path.as_str()).collect();
    check_required(required, &paths, whose)?;
    // Of alternatives (`a|b`) the first that is there.
    let patterns: Vec<&str> = required
        .iter()
        .chain(optional)
        .filter_map(|all| all.split('|').find(|p| files.iter().any(|f| matches(p, &f.path))))
        .collect();
    Ok(files.into_iter().filter(|f| patterns.iter().any(|p| matches(p, &f.path))).collect())
}

/// Brings the files of a hub repository into the shared cache. What is there already is not asked for again; where nothing is
/// trusted it is held to its checksum first, and what is damaged is replaced once the new file is whole. Without a network, or
/// with `HF_HUB_OFFLINE`, the cache must hold them.
///
/// # Errors
/// What is missing and how to get it.
pub fn fetch_repo(
    client: &Client,
    repo: &Repo,
    (required, optional): (&[String], &[String]),
    trust: Trust,
    watch: &mut Watch<'_>,
) -> Result<Fetched> {
    let is_again = trust == Trust::Nothing;
    let place = Place::new(&client.settings.cache, repo);
    if client.settings.is_offline {
        return cached(&place, repo, required, optional, watch).with_context(|| {
            let command = if repo.kind == Kind::Dataset { "data fetch" } else { "model fetch" };
            format!(
                "HF_HUB_OFFLINE is set and {repo} is not complete in {}; fetch it where there is a network \
                 (polymix {command}) and copy {}",
                client.settings.cache.display(),
                place.root.display()
            )
        });
    }
    let (commit, listed) = match listing(client, repo, watch) {
        Ok(found) => found,
        Err(error) if is_again || error.is::<Stopped>() => return Err(error),
        Err(error) => {
            // A copy on disk serves as long as the hub cannot be asked.
            return match cached(&place, repo, required, optional, watch) {
                Ok(found) if !is_refusal(&error) => {
                    watch.note(&format!("{error:#}; the copy on disk is used"));
                    Ok(found)
                }
                _ => Err(error),
            };
        }
    };
    // First of all, so that a pause between two files leaves no doubt about what is missing.
    if let Err(error) = keep_listing(&place, &commit, &listed) {
        watch.note(&format!("{error:#}; whether all files are there is not known without it"));
    }
    let mut chosen = choose(listed, required, optional, &repo.to_string())?;
    for file in &mut chosen {
        if file.checksum.is_none() {
            let url = repo.address(&client.settings.endpoint, &commit, &file.path);
            let (size, checksum) = head(client, &url, &file.path, watch)?;
            file.checksum = Some(checksum);
            file.size = file.size.or(size);
        }
    }
    watch.total = total(chosen.iter().filter_map(|f| f.size));
    watch.before = 0;
    // All of it must fit, not only the first file.
    let missing = chosen.iter().filter_map(|f| {
        let hex = f.checksum.as_ref()?.hex();
        Some(f.size?.saturating_sub(length(&place.blob(hex)).max(length(&place.part(hex)))))
    });
    space(&place.blob("x"), total(missing))?;
    let mut done = Vec::new();
    for file in &chosen {
        let checksum = file.checksum.as_ref().context("a checksum was just asked for")?;
        fetch_blob(client, (repo, &commit), &place, (file, checksum), is_again, watch)?;
        let size = length(&place.blob(checksum.hex()));
        watch.before += size;
        (watch.tell)(&file.path, watch.before, watch.total);
        let checksum = Some(checksum.clone());
        done.push(FetchedFile { path: file.path.clone(), size, checksum, is_published: true });
    }
    place.remember(&commit)?;
    Ok(Fetched { folder: place.snapshot_of(&commit), commit, files: done })
}

/// One blob, by one process at a time.
fn fetch_blob(
    client: &Client,
    (repo, commit): (&Repo, &str),
    place: &Place,
    (file, checksum): (&Remote, &Checksum),
    is_again: bool,
    watch: &mut Watch<'_>,
) -> Result<()> {
    let (hex, blob) = (checksum.hex(), place.blob(checksum.hex()));
    let is_whole = || blob.metadata().is_ok_and(|m| file.size.is_none_or(|size| m.len() == size));
    let is_shown = place.snapshot_of(commit).join(&file.path).exists();
    if is_whole() && is_shown && !is_again {
        return Ok(());
    }
    let _lock = locked(&place.lock_file(hex)?, &file.path, watch)?;
    // A blob that is shown for the first time may have been damaged since it came.
    let is_sound = || is_whole() && checksum.check(&blob).is_ok();
    if !is_sound() {
        let url = repo.address(&client.settings.endpoint, commit, &file.path);
        let part = place.part(hex);
        let job = Job {
            name: &file.path,
            url: &url,
            target: &blob,
            part: &part,
            size: file.size,
            checksum: Some(checksum),
        };
        download(client, &job, watch)?;
    }
    place.show(hex, commit, &file.path)
}

/// The lock, after whoever holds it; a stop is heeded meanwhile.
fn locked(path: &Path, name: &str, watch: &mut Watch<'_>) -> Result<std::fs::File> {
    let mut is_told = false;
    loop {
        if let Some(lock) = files::try_lock(path)? {
            return Ok(lock);
        }
        if !is_told {
            watch.note(&format!("{name}: another process downloads it; waiting"));
            is_told = true;
        }
        watch.sleep(std::time::Duration::from_millis(100))?;
    }
}

/// What the cache holds of a repository, where that is enough.
fn cached(
    place: &Place,
    repo: &Repo,
    required: &[String],
    optional: &[String],
    watch: &mut Watch<'_>,
) -> Result<Fetched> {
    let commit = place.commit().with_context(|| format!("{repo}: not in the cache"))?;
    let shelf = Shelf::of(place).with_context(|| format!("{repo}: not in the cache"))?;
    let missing = shelf.missing(required, optional);
    ensure!(missing.is_empty(), "{repo}: not there: {}", missing.join(", "));
    if !shelf.is_sure(required, optional) {
        watch.note(&format!(
            "{repo}: another program brought these files; whether all are there is not known without a network"
        ));
    }
    let folder = place.snapshot_of(&commit);
    let there =
        files_below(&folder).into_iter().map(|path| Remote { path, size: None, checksum: None }).collect();
    let chosen = choose(there, required, optional, &repo.to_string())?;
    let files = chosen
        .into_iter()
        .map(|f| {
            let file = folder.join(&f.path);
            let size = length(&file);
            // A blob is named by what the hub states.
            let blob = file.canonicalize().ok();
            let name = blob.as_ref().and_then(|b| b.file_name()?.to_str());
            let checksum = name.and_then(Checksum::parse);
            FetchedFile { path: f.path, size, is_published: checksum.is_some(), checksum }
        })
        .collect();
    Ok(Fetched { folder, commit, files })
}

/// Brings files of a git repository at one commit into `folder`, without the leading `under/` of their paths.
///
/// # Errors
/// As [`fetch_repo`].
pub fn fetch_git(
    client: &Client,
    url: &str,
    revision: &str,
    (under, required): (&str, &[String]),
    folder: &Path,
    watch: &mut Watch<'_>,
) -> Result<Fetched> {
    let host = Host::parse(url)?;
    files::create_dir(folder)?;
    let _lock = locked(&folder.join(".lock"), &redact(url), watch)?;
    let (commit, listed) = host.listing(client, revision, watch)?;
    let below = listed.into_iter().filter_map(|f| {
        let path = if under.is_empty() { Some(f.path.as_str()) } else { below(&f.path, under) }?.to_owned();
        Some(Remote { path, ..f })
    });
    let chosen = choose(below.collect(), required, &[], &format!("{} at {revision}", redact(url)))?;
    watch.total = total(chosen.iter().filter_map(|f| f.size));
    watch.before = 0;
    let is_whole = |f: &Remote| {
        let target = folder.join(&f.path);
        f.checksum.as_ref().is_some_and(|c| target.is_file() && c.check(&target).is_ok())
    };
    let is_whole: Vec<bool> = chosen.iter().map(is_whole).collect();
    let chosen: Vec<(Remote, bool)> = chosen.into_iter().zip(is_whole).collect();
    let missing = chosen.iter().filter(|(_, is_whole)| !is_whole);
    let missing =
        missing.filter_map(|(f, _)| Some(f.size?.saturating_sub(length(&part_of(&folder.join(&f.path))))));
    space(&folder.join("x"), total(missing))?;
    let mut done = Vec::new();
    for (file, is_whole) in chosen {
        let target = folder.join(&file.path);
        if !is_whole {
            let full = if under.is_empty() { file.path.clone() } else { format!("{under}/{}", file.path) };
            let url = host.address(&commit, &full);
            let part = part_of(&target);
            let checksum = file.checksum.as_ref();
            let job =
                Job { name: &file.path, url: &url, target: &target, part: &part, size: file.size, checksum };
            download(client, &job, watch)?;
        }
        let size = length(&target);
        watch.before += size;
        (watch.tell)(&file.path, watch.before, watch.total);
        let is_published = file.checksum.is_some();
        done.push(FetchedFile { path: file.path, size, checksum: file.checksum, is_published });
    }
    Ok(Fetched { folder: folder.to_owned(), commit, files: done })
}

/// What may be taken for a file that is wanted, though nothing vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A file of its name that is there.
    Present,
    /// What an archive was unpacked to, as it was unpacked, or the archive itself.
    Unpacked,
    /// Nothing: it is asked for anew.
    Nothing,
}

/// What is wanted of an archive: the files below a folder, without that leading folder, that fit a pattern. No required
/// pattern: all of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    pub under: &'a str,
    pub required: &'a [String],
    pub optional: &'a [String],
}

/// Brings one file from an address into `folder`, and unpacks it there where it is an archive. A file of that name that is
/// there already is taken for it where it has the checksum or, without one, where it is trusted.
///
/// # Errors
/// As [`fetch_repo`], and those of [`unpack`].
pub fn fetch_url(
    client: &Client,
    url: &str,
    (sum, trust): (Option<&Checksum>, Trust),
    wanted: Wanted<'_>,
    folder: &Path,
    watch: &mut Watch<'_>,
) -> Result<Fetched> {
    let name = file_name(url).to_owned();
    ensure!(
        archive::is_inside(&name) && !name.starts_with('.'),
        "{}: the address ends in no file name",
        redact(url)
    );
    files::create_dir(folder)?;
    let _lock = locked(&folder.join(".lock"), &name, watch)?;
    let packing = Packing::of(&name);
    let receipt = Receipt::of(folder, url, sum, wanted);
    // What nobody published is not passed off as published.
    let published = |f: FetchedFile| FetchedFile { is_published: sum.is_some(), ..f };
    let whole = |files: Vec<FetchedFile>| Fetched {
        folder: folder.to_owned(),
        commit: String::new(),
        files: files.into_iter().map(published).collect(),
    };
    // What an archive with a checksum was unpacked to was held to its own when it was listed.
    let is_again = trust == Trust::Nothing && sum.is_none();
    if let Some(files) = packing.filter(|_| !is_again).and_then(|_| receipt.read()) {
        // Earlier versions let an archive pass that lacked what is wanted.
        if wanted.required.iter().all(|p| is_met(p, files.iter().map(|f| f.path.as_str()))) {
            return Ok(whole(files));
        }
    }
    let target = if packing.is_some() { receipt.archive(&name) } else { folder.join(&name) };
    let is_trusted = trust == Trust::Present || packing.is_some() && !is_again;
    let is_there = target.is_file() && sum.map_or(is_trusted, |sum| sum.check(&target).is_ok());
    if !is_there {
        let part = part_of(&target);
        watch.before = 0;
        watch.total = 0;
        let url = Address::new(url);
        let job = Job { name: &name, url: &url, target: &target, part: &part, size: None, checksum: sum };
        download(client, &job, watch)?;
    }
    let written = match packing {
        None => vec![name],
        Some(packing) => {
            watch.note(&format!("unpacking {name}"));
            let beside = folder.join(".unpacked");
            let written = match take_out((&target, &name), packing, &beside, wanted, watch) {
                Ok(written) => written,
                // An archive that nothing vouches for may be anything: it is not trusted a second time.
                Err(error) if sum.is_none() && !is_at_fault(&error) => {
                    std::fs::remove_file(&target)
                        .with_context(|| format!("{}: cannot remove", target.display()))?;
                    bail!(
                        "{}: {error:#}; it was removed, and the next fetch downloads it again",
                        redact(url)
                    );
                }
                Err(error) => return Err(error.context(redact(url))),
            };
            settle(&beside, folder, &written)?;
            std::fs::remove_file(&target).with_context(|| format!("{}: cannot remove", target.display()))?;
            written
        }
    };
    let mut done = Vec::new();
    for path in written {
        let file = folder.join(&path);
        let checksum = Some(Checksum::Sha256(sha256(&file)?));
        done.push(FetchedFile { size: length(&file), checksum, path, is_published: sum.is_some() });
    }
    if packing.is_some() {
        receipt.write(&done)?;
    }
    Ok(whole(done))
}

/// The name of the file at an address; empty where the address ends in none.
#[must_use]
pub fn file_name(url: &str) -> &str {
    let url = url.split(['?', '#']).next().unwrap_or(url);
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    path.rsplit_once('/').map_or("", |(_, name)| name)
}

/// Unpacks what is wanted of an archive into `beside`, and returns the paths there.
fn take_out(
    (archive, name): (&Path, &str),
    packing: Packing,
    beside: &Path,
    Wanted { under, required, optional }: Wanted<'_>,
    watch: &mut Watch<'_>,
) -> Result<Vec<String>> {
    let _ = std::fs::remove_dir_all(beside);
    let hidden = std::cell::Cell::new(0);
    let seen = std::cell::RefCell::new(Vec::new());
    let wanted = |member: &str| {
        let inner = if under.is_empty() { Some(member) } else { below(member, under) }?;
        // Hidden files here are records of ours, such as the one of what was fetched.
        if inner.split('/').any(|part| part.starts_with('.')) {
            hidden.set(hidden.get() + 1);
            return None;
        }
        seen.borrow_mut().push(inner.to_owned());
        let mut patterns = required.iter().chain(optional).flat_map(|p| p.split('|'));
        (required.is_empty() || patterns.any(|p| matches(p, inner))).then(|| inner.to_owned())
    };
    let written = unpack(archive, packing, beside, &wanted)?;
    if hidden.get() > 0 {
        watch.note(&format!("{} hidden files of the archive are left out", hidden.get()));
    }
    let seen = seen.into_inner();
    let paths: Vec<&str> = seen.iter().map(String::as_str).collect();
    let whose = if under.is_empty() { name.to_owned() } else { format!("{name}, folder '{under}'") };
    if let Err(error) = check_required(if seen.is_empty() { &[] } else { required }, &paths, &whose) {
        let _ = std::fs::remove_dir_all(beside);
        return Err(error);
    }
    if written.is_empty() {
        let _ = std::fs::remove_dir_all(beside);
        bail!("the archive holds no file below '{under}' that is wanted");
    }
    Ok(written)
}

/// A sum of sizes, which servers may state as they like.
fn total(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

/// The path without its leading folder, where it is below it.
fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    path.strip_prefix(folder)?.strip_prefix('/')
}

fn part_of(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{}.incomplete", name.trim_start_matches('.')))
}
