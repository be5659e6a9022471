//! One file: beside its place first, continued where it was cut, held to its size and checksum, renamed into place last.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::checksum::Checksum;
use super::http::{Answer, Client, Request, TRIES};
use super::redact;

/// Who looks on, and may ask for a stop.
pub struct Watch<'a> {
    /// Raised by whoever wants the download to pause; what is on disk stays.
    pub stop: &'a AtomicBool,
    /// Hears the file, the bytes done and the bytes in all.
    pub tell: &'a mut dyn FnMut(&str, u64, u64),
    /// Hears why it takes longer.
    pub remark: &'a mut dyn FnMut(&str),
    /// Bytes of the files before this one, and of all.
    pub before: u64,
    pub total: u64,
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("before", &self.before)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

/// The error of a download that was asked to pause.
#[derive(Clone, Copy, Debug)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("paused; what was downloaded is kept, and the same command goes on from there")
    }
}

impl std::error::Error for Stopped {}

impl Watch<'_> {
    pub(super) fn note(&mut self, text: &str) {
        (self.remark)(text);
    }

    fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Stopped.into()) } else { Ok(()) }
    }

    /// Waits, unless a stop is asked for meanwhile.
    pub(super) fn sleep(&self, time: Duration) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < time {
            self.check()?;
            std::thread::sleep(time.saturating_sub(begin.elapsed()).min(Duration::from_millis(50)));
        }
        self.check()
    }
}

/// What is to be downloaded, and where to.
#[derive(Debug)]
pub struct Job<'a> {
    /// As a user knows the file.
    pub name: &'a str,
    pub url: &'a str,
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
    if let Some(parent) = job.target.parent() {
        crate::files::create_dir(parent)?;
    }
    let mut fruitless = 0;
    let mut is_fresh = length(job.part) == 0;
    loop {
        watch.check()?;
        let before = length(job.part);
        let end = transfer(client, job, watch)?;
        match end {
            Ending::Whole => {
                let Some(checksum) = job.checksum else { break };
                match checksum.check(job.part) {
                    Ok(()) => break,
                    Err(error) => {
                        remove(job.part);
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
            Ending::Cut(reason) => {
                fruitless = if length(job.part) > before { 0 } else { fruitless + 1 };
                if fruitless >= TRIES {
                    bail!(
                        "{}: the connection is cut again and again ({reason}); the same command goes on later",
                        job.name
                    );
                }
                let wait = client.settings.backoff * 2u32.pow(fruitless);
                watch.note(&format!("{reason}; going on in {:.1} s", wait.as_secs_f64()));
                watch.sleep(wait)?;
            }
        }
    }
    File::open(job.part).and_then(|f| f.sync_all()).with_context(|| unwritable(job.part))?;
    std::fs::rename(job.part, job.target).with_context(|| unwritable(job.target))?;
    let _ = std::fs::remove_file(validator_file(job.part));
    Ok(())
}

enum Ending {
    Whole,
    Cut(String),
}

/// One request and its body, as far as it comes.
fn transfer(client: &Client, job: &Job<'_>, watch: &mut Watch<'_>) -> Result<Ending> {
    let mut have = length(job.part);
    if job.size.is_some_and(|size| have > size) {
        remove(job.part);
        have = 0;
    }
    if job.size == Some(have) && job.checksum.is_some() {
        if have == 0 {
            File::create(job.part).with_context(|| unwritable(job.part))?;
        }
        return Ok(Ending::Whole);
    }
    let mut headers = Vec::new();
    if have > 0 {
        // Without a checksum only the server can tell whether the beginning still fits.
        let validator = std::fs::read_to_string(validator_file(job.part)).ok();
        if job.checksum.is_some() || validator.is_some() {
            headers.push(("Range", format!("bytes={have}-")));
            if let (None, Some(validator)) = (job.checksum, validator) {
                headers.push(("If-Range", validator));
            }
        } else {
            have = 0;
        }
    }
    let mut answer = client.send(Request { url: job.url, is_head: false, headers: &headers }, watch)?;
    let begin = match answer.status {
        206 if range(&answer).is_some_and(|(first, _)| first == Some(have)) => have,
        200 => 0,
        // The range is not to be had: from the first byte then.
        206 | 416 if have > 0 => {
            remove(job.part);
            return Ok(Ending::Cut("the server cannot continue the file".into()));
        }
        status => bail!("{}: {}", job.name, refusal(client, job.url, status)),
    };
    let told = match answer.status {
        206 => range(&answer).and_then(|(_, total)| total),
        _ => answer.headers.get("content-length").and_then(|v| v.to_str().ok()?.parse().ok()),
    };
    let size = job.size.or(told);
    ensure!(
        job.size.is_none_or(|size| told.is_none_or(|told| told == size)),
        "{}: {}: the server sends {} bytes, but {} are expected: the file is not the published one",
        job.name,
        redact(job.url),
        told.unwrap_or_default(),
        job.size.unwrap_or_default()
    );
    if let Some(size) = size {
        space(job.part, size.saturating_sub(begin))?;
    }
    if job.checksum.is_none() {
        remember_validator(&answer, job.part)?;
    }
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(job.part)
        .with_context(|| unwritable(job.part))?;
    file.set_len(begin)
        .and_then(|()| file.seek(SeekFrom::Start(begin)))
        .with_context(|| unwritable(job.part))?;
    let mut reader = answer.body.with_config().limit(u64::MAX).reader();
    let mut buffer = vec![0u8; 1 << 17];
    let mut done = begin;
    loop {
        (watch.tell)(job.name, watch.before + done, watch.total.max(watch.before + size.unwrap_or(done)));
        watch.check()?;
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                file.write_all(&buffer[..count]).with_context(|| unwritable(job.part))?;
                done += count as u64;
                ensure!(
                    size.is_none_or(|size| done <= size),
                    "{}: the server sends more than the {} bytes it stated",
                    job.name,
                    size.unwrap_or_default()
                );
            }
            Err(error) => return Ok(Ending::Cut(format!("the connection was cut ({error})"))),
        }
    }
    match size {
        Some(size) if done < size => {
            Ok(Ending::Cut(format!("the connection was cut after {done} of {size} bytes")))
        }
        _ => Ok(Ending::Whole),
    }
}

/// First byte and length of the whole from `Content-Range: bytes 5-9/10`.
fn range(answer: &Answer) -> Option<(Option<u64>, Option<u64>)> {
    let text = answer.headers.get("content-range")?.to_str().ok()?.strip_prefix("bytes ")?;
    let (span, total) = text.split_once('/')?;
    Some((span.split('-').next()?.parse().ok(), total.parse().ok()))
}

/// What a status means to a user.
pub fn refusal(client: &Client, url: &str, status: u16) -> String {
    let shown = redact(url);
    let remedy = match status {
        401 | 403 if super::http::origin(url) != super::http::origin(&client.settings.endpoint) => {
            ": access is refused there".to_owned()
        }
        401 | 403 if client.settings.token.is_some() => format!(
            ": the token (from {}) has no access; accept the repository's terms on {} with that account, or use another token",
            client.settings.token_origin, client.settings.endpoint
        ),
        401 | 403 => format!(
            ": private or gated, or no such repository; accept its terms on {}, make a token there \
             (Settings, Access Tokens) and set HF_TOKEN, or write it to the file HF_HOME/token",
            client.settings.endpoint
        ),
        404 => ": there is no such file or repository".to_owned(),
        _ => String::new(),
    };
    format!("{shown}: the server answered {status}{remedy}")
}

/// Keeps what tells later whether the server's file is still the same.
fn remember_validator(answer: &Answer, part: &Path) -> Result<()> {
    let strong = answer.headers.get("etag").and_then(|v| v.to_str().ok()).filter(|v| !v.starts_with("W/"));
    let validator = strong.or_else(|| answer.headers.get("last-modified").and_then(|v| v.to_str().ok()));
    let file = validator_file(part);
    if let Some(validator) = validator {
        return crate::files::replace(&file, validator.as_bytes());
    }
    remove(&file);
    Ok(())
}

fn validator_file(part: &Path) -> PathBuf {
    let mut name = part.file_name().unwrap_or_default().to_owned();
    name.push(".validator");
    part.with_file_name(name)
}

/// Refuses to begin what cannot fit.
///
/// # Errors
/// Says how much is needed and how much there is, and what to set.
pub fn space(path: &Path, needed: u64) -> Result<()> {
    let folder = path.ancestors().skip(1).find(|p| p.is_dir()).unwrap_or(Path::new("."));
    #[cfg(unix)]
    if let Ok(found) = rustix::fs::statvfs(folder) {
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        ensure!(
            free >= needed,
            "{}: the disk has {} left, {} are needed; free some, or set HF_HOME or POLYMIX_DATA to a larger disk",
            folder.display(),
            bytes(free),
            bytes(needed)
        );
    }
    let _ = (folder, needed);
    Ok(())
}

/// `1.2 GB`, in powers of 1000 as hubs state sizes.
#[must_use]
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

fn unwritable(path: &Path) -> String {
    format!("{}: cannot write (is the disk full, or the directory read-only?)", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_seen_before_the_download() {
        let dir = tempfile::tempdir().expect("dir");
        space(&dir.path().join("x"), 1).expect("a byte fits");
        #[cfg(unix)]
        {
            let error = format!("{:#}", space(&dir.path().join("a/b"), u64::MAX).expect_err("too much"));
            assert!(error.contains("are needed") && error.contains("HF_HOME"), "{error}");
        }
    }

    #[test]
    fn sizes_read_as_hubs_state_them() {
        assert_eq!(
            (bytes(999), bytes(1_120_000_000), bytes(1500)),
            ("999 B".into(), "1.1 GB".into(), "1.5 kB".into())
        );
    }
}
