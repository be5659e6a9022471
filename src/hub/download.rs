//! One file: beside its place first, continued where it was cut, held to its size and checksum, renamed into place last.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::address::Address;
use super::checksum::Checksum;
use super::disk::{space, unwritable};
use super::fault::refusal;
use super::http::{Answer, Client, Head, Request, TRIES};
use super::page;
use super::watch::Watch;
use super::wire::Piece;

/// What is to be downloaded, and where to.
#[derive(Debug)]
pub struct Job<'a> {
    /// As a user knows the file.
    pub name: &'a str,
    pub url: &'a Address,
    pub target: &'a Path,
    /// The beginning of the file until it is whole.
    pub part: &'a Path,
    pub size: Option<u64>,
    pub checksum: Option<&'a Checksum>,
}

/// Downloads the file, or the rest of it.
///
/// # Errors
/// Names the file and the reason: no answer, a status with its remedy, a full disk, a wrong size or checksum, a pause.
pub fn download(client: &Client, job: &Job<'_>, watch: &mut Watch<'_>) -> Result<()> {
    crate::files::outlive_size_limit();
    if let Some(parent) = job.target.parent() {
        crate::files::create_dir(parent)?;
    }
    let mut fruitless = 0;
    let mut restarts = 0;
    let mut is_fresh = length(job.part) == 0;
    loop {
        watch.check()?;
        let before = length(job.part);
        let end = transfer(client, job, watch)?;
        match end {
            Ending::Whole => {
                let Some(checksum) = job.checksum else {
                    // What a failing server sends with status 200 would be kept for good.
                    if length(job.part) == 0 && job.size != Some(0) {
                        discard(job.part);
                        bail!(
                            "{}: {}: the server sends an empty file; try again later, or from another server",
                            job.name,
                            job.url
                        );
                    }
                    break;
                };
                match checksum.check(job.part) {
                    Ok(()) => break,
                    Err(error) => {
                        discard(job.part);
                        // A beginning from an earlier time may be at fault: once more from the first byte.
                        ensure!(
                            !is_fresh,
                            "{}: {error:#}. It was removed; try again, and if that does not help the server's file is \
                             not the published one",
                            job.name
                        );
                        watch.note("the continued file has a wrong checksum; once more from its first byte");
                        is_fresh = true;
                    }
                }
            }
            Ending::Wrong(text) => {
                // What failed is never continued.
                discard(job.part);
                bail!("{}: {}: {text}", job.name, job.url);
            }
            Ending::Anew(reason) => {
                discard(job.part);
                restarts += 1;
                ensure!(
                    restarts < TRIES,
                    "{}: {}: {reason}, again and again; the same command goes on later",
                    job.name,
                    job.url
                );
                watch.note(&format!("{reason}; once more from its first byte"));
            }
            Ending::Cut(reason) => {
                fruitless = if length(job.part) > before { 0 } else { fruitless + 1 };
                if fruitless >= TRIES {
                    bail!(
                        "{}: {}: the connection is cut again and again ({reason}); the same command goes on later",
                        job.name,
                        job.url
                    );
                }
                let wait = client.settings.backoff * 2u32.pow(fruitless);
                watch.note(&format!("{reason}; going on in {:.1} s", wait.as_secs_f64()));
                watch.sleep(wait)?;
            }
        }
    }
    let unwritten = |error| unwritable(job.target, error);
    File::open(job.part).and_then(|f| f.sync_all()).map_err(unwritten)?;
    std::fs::rename(job.part, job.target).map_err(unwritten)?;
    remove(&validator_file(job.part));
    Ok(())
}

enum Ending {
    Whole,
    /// More of it may be had.
    Cut(String),
    /// What is there cannot be continued.
    Anew(&'static str),
    /// It is not the file.
    Wrong(String),
}

/// One request and its body, as far as it comes.
fn transfer(client: &Client, job: &Job<'_>, watch: &mut Watch<'_>) -> Result<Ending> {
    let unwritten = |error| unwritable(job.part, error);
    let mut have = length(job.part);
    if job.size.is_some_and(|size| have > size) {
        remove(job.part);
        have = 0;
    }
    if job.size == Some(have) && job.checksum.is_some() {
        if have == 0 {
            File::create(job.part).map_err(unwritten)?;
        }
        return Ok(Ending::Whole);
    }
    let mut request = Request::get(job.url);
    let version = Version::read(job.part).filter(|_| job.checksum.is_none());
    if have > 0 {
        // Without a checksum only the server can tell whether the beginning still fits.
        if job.checksum.is_some() || version.is_some() {
            request.headers.push(("Range", format!("bytes={have}-")));
            if let Some(version) = &version {
                request.headers.push(("If-Range", version.validator.clone()));
            }
        } else {
            have = 0;
        }
    }
    let mut answer = client.send(&request, watch)?;
    let begin = match answer.status {
        206 if range(&answer).is_some_and(|(first, _)| first == Some(have)) => have,
        200 => 0,
        // The range is not to be had: from the first byte then.
        206 | 416 if have > 0 => {
            return Ok(Ending::Anew("the server cannot continue the file"));
        }
        _ => bail!("{}: {}", job.name, refusal(client, job.url, &answer.refused())),
    };
    let told = match answer.status {
        206 => range(&answer).and_then(|(_, total)| total),
        _ => answer.headers.get("content-length").and_then(|v| v.to_str().ok()?.parse().ok()),
    };
    // Some servers send a part whatever If-Range says.
    if answer.status == 206 && version.is_some_and(|version| !version.is_of(&answer, told)) {
        return Ok(Ending::Anew("the server's file is not the one that was begun"));
    }
    // Nothing is written before its beginning was looked at: what lies on disk may be a good half.
    let (head, mut last) = beginning(&mut answer, watch)?;
    let is_page = begin == 0 && page::is_page(&head, job.name);
    // A file with the stated size and a checksum may be called what the server likes.
    let is_held = job.checksum.is_some() && job.size.is_none_or(|size| told == Some(size));
    ensure!(
        !is_page && (is_held || !page::is_called_page(&answer, job.name)),
        "{}: {}: {}",
        job.name,
        answer.url,
        page::MEANING
    );
    let size = job.size.or(told);
    ensure!(
        job.size.is_none_or(|size| told.is_none_or(|told| told == size)),
        "{}: {}: the server sends {} bytes, but {} are expected: the file is not the published one; try again later, or \
         from another server",
        job.name,
        answer.url,
        told.unwrap_or_default(),
        job.size.unwrap_or_default()
    );
    if let Some(size) = size {
        space(job.part, size.saturating_sub(begin))?;
    }
    if job.checksum.is_none() && begin == 0 {
        Version::remember(&answer, told, job.part)?;
    }
    let mut file =
        OpenOptions::new().create(true).write(true).truncate(false).open(job.part).map_err(unwritten)?;
    file.set_len(begin).and_then(|()| file.seek(SeekFrom::Start(begin))).map_err(unwritten)?;
    let mut done = begin;
    let mut bytes = head;
    loop {
        file.write_all(&bytes).map_err(unwritten)?;
        done += bytes.len() as u64;
        if let Some(size) = size.filter(|size| done > *size) {
            return Ok(Ending::Wrong(format!(
                "the server sends more than the {size} bytes it should; try again"
            )));
        }
        (watch.tell)(job.name, watch.before + done, watch.total.max(watch.before + size.unwrap_or(done)));
        match last.take().map_or_else(|| answer.body.next(watch), Ok)? {
            Piece::Bytes(more) => bytes = more,
            Piece::Cut(reason) => return Ok(Ending::Cut(reason)),
            _ => break,
        }
    }
    Ok(match size {
        // With chunks, the server has said that this is the end.
        Some(size) if done < size && is_chunked(&answer) => Ending::Wrong(format!(
            "the server's file ends after {done} bytes, but {size} are expected: it is not the published one; try again \
             later, or from another server"
        )),
        Some(size) if done < size => {
            Ending::Cut(format!("the connection was cut after {done} of {size} bytes"))
        }
        _ => Ending::Whole,
    })
}

/// Enough of the body to know a web page by, and what came after it, where that is no more bytes.
fn beginning(answer: &mut Answer, watch: &mut Watch<'_>) -> Result<(Vec<u8>, Option<Piece>)> {
    let mut head = Vec::new();
    while head.len() < page::HEAD {
        match answer.body.next(watch)? {
            Piece::Bytes(bytes) => head.extend(bytes),
            last => return Ok((head, Some(last))),
        }
    }
    Ok((head, None))
}

fn is_chunked(head: &Head) -> bool {
    let coding = head.headers.get("transfer-encoding").and_then(|v| v.to_str().ok());
    coding.is_some_and(|c| c.to_ascii_lowercase().contains("chunked"))
}

/// First byte and length of the whole from `Content-Range: bytes 5-9/10`.
fn range(head: &Head) -> Option<(Option<u64>, Option<u64>)> {
    let text = head.headers.get("content-range")?.to_str().ok()?.strip_prefix("bytes ")?;
    let (span, total) = text.split_once('/')?;
    Some((span.split('-').next()?.parse().ok(), total.parse().ok()))
}

/// What tells whether the server's file is still the one that was begun.
struct Version {
    /// A strong `ETag`, or `Last-Modified` where there is none.
    validator: String,
    /// Bytes of the whole, where the server said so.
    total: Option<u64>,
}

impl Version {
    fn read(part: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(validator_file(part)).ok()?;
        let mut lines = text.lines();
        let validator = lines.next()?.to_owned();
        Some(Self { validator, total: lines.next().and_then(|l| l.parse().ok()) })
    }

    /// True where the answer shows that it is of this very version.
    fn is_of(&self, head: &Head, total: Option<u64>) -> bool {
        let is_as_long = self.total.zip(total).is_none_or(|(mine, its)| mine == its);
        is_as_long && validators(head).any(|its| its == self.validator)
    }

    /// Writes down the version of what is about to come; nothing where the server names none.
    fn remember(head: &Head, total: Option<u64>, part: &Path) -> Result<()> {
        let file = validator_file(part);
        let Some(validator) = validators(head).next() else {
            remove(&file);
            return Ok(());
        };
        let total = total.map_or(String::new(), |total| format!("\n{total}"));
        crate::files::replace(&file, format!("{validator}{total}").as_bytes())
            .context("cannot remember the file's version")
    }
}

/// What a server says of a file's version: its strong `ETag` first, then `Last-Modified`.
fn validators(head: &Head) -> impl Iterator<Item = &str> {
    let text = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok());
    text("etag").filter(|v| !v.starts_with("W/")).into_iter().chain(text("last-modified"))
}

fn validator_file(part: &Path) -> PathBuf {
    let mut name = part.file_name().unwrap_or_default().to_owned();
    name.push(".validator");
    part.with_file_name(name)
}

/// Bytes of a file; 0 where there is none.
pub(super) fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

/// Removes a part that will not be continued.
fn discard(part: &Path) {
    remove(part);
    remove(&validator_file(part));
}
