//! What is known of files that were read before: (path, size, times, inode) to their hash, so that a file that did not
//! change is not read again to find its token cache.
//!
//! One small record a file lies in `.digests` in the cache folder, replaced whole; two processes that write the same one
//! write the same. A record counts only while everything that the system says of the file is as it was: size,
//! modification time, the time of the last change of any kind (which no program can set back), inode and device. A file
//! that changed within [`SETTLED`] before it was read gets no record, as a second change in the same tick of the clock
//! would not show.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::corpus::Input;
use crate::corpus::read::hex;
use crate::files;

/// The coarsest clock of a file system (FAT's).
const SETTLED: Duration = Duration::from_secs(2);

/// What the system says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    size: u64,
    /// Nanoseconds since 1970.
    modified: u64,
    changed: u64,
    inode: u64,
    device: u64,
}

impl Stamp {
    /// Of the file at a path, links followed.
    ///
    /// # Errors
    /// Where there is none.
    pub fn of(path: &Path) -> Result<Self> {
        let found = std::fs::metadata(path).with_context(|| format!("{}: cannot open", path.display()))?;
        let modified = found.modified().map_or(0, nanoseconds);
        let (changed, inode, device) = system(&found).unwrap_or((modified, 0, 0));
        Ok(Self { size: found.len(), modified, changed, inode, device })
    }

    /// The last change of any kind.
    fn last(&self) -> u64 {
        self.modified.max(self.changed)
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

/// Time of the last change of any kind in nanoseconds, inode and device.
#[cfg(unix)]
#[allow(clippy::unnecessary_wraps)]
fn system(found: &Metadata) -> Option<(u64, u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let seconds = u64::try_from(found.ctime()).unwrap_or(0);
    let rest = u64::try_from(found.ctime_nsec()).unwrap_or(0);
    Some((seconds.saturating_mul(1_000_000_000).saturating_add(rest), found.ino(), found.dev()))
}

#[cfg(not(unix))]
const fn system(_: &Metadata) -> Option<(u64, u64, u64)> {
    None
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    v: u32,
    path: String,
    stamp: Stamp,
    sha256: String,
}

/// The records of a cache folder.
#[derive(Clone, Debug)]
pub struct Digests {
    dir: PathBuf,
    settled: Duration,
}

impl Digests {
    /// Those of the cache folder `cache`, which need not exist.
    #[must_use]
    pub fn of(cache: &Path) -> Self {
        Self { dir: cache.join(".digests"), settled: SETTLED }
    }

    fn place(&self, path: &Path) -> (PathBuf, String) {
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let name = whole.display().to_string();
        (self.dir.join(format!("{}.json", &hex(&Sha256::digest(name.as_bytes()))[..40])), name)
    }

    /// A file's size and hash, where the record of it still holds.
    #[must_use]
    pub fn known(&self, path: &Path) -> Option<Input> {
        let (place, name) = self.place(path);
        let record: Record = serde_json::from_slice(&std::fs::read(place).ok()?).ok()?;
        let stamp = Stamp::of(path).ok()?;
        let holds =
            record.v == 1 && record.path == name && record.stamp == stamp && is_sha256(&record.sha256);
        holds.then(|| Input { path: path.display().to_string(), bytes: stamp.size, sha256: record.sha256 })
    }

    /// The same from the record or, without one, by reading the file.
    ///
    /// # Errors
    /// Where the file cannot be read, or changes while it is.
    pub fn input(&self, path: &Path) -> Result<Input> {
        self.known(path).map_or_else(|| self.renew(path), Ok)
    }

    /// Reads the file whatever the record says, and records it anew. A folder that cannot be written has no records, and
    /// files are read each time.
    ///
    /// # Errors
    /// As [`Digests::input`].
    pub fn renew(&self, path: &Path) -> Result<Input> {
        let (before, now) = (Stamp::of(path), nanoseconds(SystemTime::now()));
        // Its own error says more than that of its metadata.
        let input = Input::of(path)?;
        let (before, after) = (before?, Stamp::of(path)?);
        ensure!(
            before == after && input.bytes == after.size,
            "{}: changed while it was read; start again when nothing writes to it",
            path.display()
        );
        let (place, name) = self.place(path);
        let settled = u64::try_from(self.settled.as_nanos()).unwrap_or(u64::MAX);
        if after.last().saturating_add(settled) <= now {
            let record = Record { v: 1, path: name, stamp: after, sha256: input.sha256.clone() };
            let _ = files::create_dir(&self.dir)
                .and_then(|()| files::replace(&place, &serde_json::to_vec(&record)?));
        } else {
            let _ = std::fs::remove_file(place);
        }
        Ok(input)
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str) -> (tempfile::TempDir, Digests, PathBuf) {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("a.tsv");
        std::fs::write(&path, text).expect("write");
        let digests = Digests { settled: Duration::ZERO, ..Digests::of(dir.path()) };
        (dir, digests, path)
    }

    fn set_modified(path: &Path, seconds: u64) {
        let file = std::fs::File::options().write(true).open(path).expect("open");
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).expect("time");
    }

    #[test]
    fn an_unchanged_file_is_not_read_again() {
        let (_dir, digests, path) = made("one");
        assert!(digests.known(&path).is_none());
        let read = digests.input(&path).expect("read");
        assert_eq!(read, Input::of(&path).expect("read"));
        // A record with another hash shows that it is the record that is asked.
        let (place, _) = digests.place(&path);
        let record = std::fs::read_to_string(&place).expect("record").replace(&read.sha256, &"0".repeat(64));
        std::fs::write(&place, record).expect("write");
        assert_eq!(digests.input(&path).expect("known").sha256, "0".repeat(64));
        assert_eq!(digests.renew(&path).expect("read").sha256, read.sha256, "read whatever the record says");
        assert_eq!(digests.known(&path), Some(read));
    }

    #[test]
    fn any_change_has_the_file_read_again() {
        let (dir, digests, path) = made("one");
        let hash = |path: &Path| digests.input(path).expect("read").sha256;
        let first = hash(&path);
        set_modified(&path, 1_000_000);
        assert!(digests.known(&path).is_none(), "touched");
        assert_eq!(hash(&path), first);
        // The same size in place, and the time set back to what it was; a tick later, as the system's clock of files goes on in
        // steps of some milliseconds.
        std::thread::sleep(Duration::from_millis(50));
        std::fs::write(&path, "two").expect("write");
        set_modified(&path, 1_000_000);
        if cfg!(unix) {
            assert!(digests.known(&path).is_none(), "same size, same modification time");
        }
        let second = digests.renew(&path).expect("read").sha256;
        assert_ne!(second, first);
        // Another file of the same size and an older time takes its place.
        let other = dir.path().join("b.tsv");
        std::fs::write(&other, "one").expect("write");
        set_modified(&other, 900_000);
        std::fs::rename(&other, &path).expect("rename");
        assert!(digests.known(&path).is_none(), "replaced by an older file");
        assert_eq!(hash(&path), first);
        std::fs::write(&path, "longer").expect("write");
        assert!(digests.known(&path).is_none(), "longer");
        std::fs::remove_file(&path).expect("remove");
        assert!(digests.known(&path).is_none());
        assert!(digests.input(&path).expect_err("gone").to_string().contains("no such file"));
    }

    #[test]
    fn a_file_that_changed_just_now_gets_no_record() {
        let (dir, _, path) = made("one");
        let digests = Digests::of(dir.path());
        assert!(digests.settled >= Duration::from_secs(1), "longer than any file system's tick");
        // However long this test is held up.
        let digests = Digests { settled: Duration::from_secs(3600), ..digests };
        digests.input(&path).expect("read");
        assert!(digests.known(&path).is_none(), "the next change could fall into the same tick");
    }

    #[test]
    fn damaged_and_foreign_records_do_not_count() {
        let (_dir, digests, path) = made("one");
        let read = digests.input(&path).expect("read");
        let (place, _) = digests.place(&path);
        let record = std::fs::read_to_string(&place).expect("record");
        for wrong in [
            String::new(),
            record[..record.len() / 2].to_owned(),
            record.replace(&read.sha256, "x"),
            record.replace("a.tsv", "b.tsv"),
            record.replace("\"v\":1", "\"v\":2"),
        ] {
            std::fs::write(&place, &wrong).expect("write");
            assert!(digests.known(&path).is_none(), "{wrong}");
            assert_eq!(digests.input(&path).expect("read"), read, "{wrong}");
        }
        let nowhere = Digests { dir: path.join("folder"), ..digests };
        assert_eq!(nowhere.input(&path).expect("read"), read, "a folder that cannot be");
    }
}
