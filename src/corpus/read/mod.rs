//! Reading files as they come: plain, gzip or Zstandard, with or without a byte order mark, with either line ending.
//!
//! Everything is read once and in order; a line is the most that is held. Errors name file, line and field.

mod find;
#[cfg(not(fuzzing))]
mod pages;
// polars reads Parquet; the fuzz targets do without it.
#[cfg(not(fuzzing))]
mod parquet;
#[cfg(fuzzing)]
#[path = "no_parquet.rs"]
mod parquet;
mod record;
mod table;

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

pub use find::{ENDINGS, Found, find, fitting, one};
pub use record::{ID, Record, id_of, json_lines, object};
pub use table::{Rows, Value};

use super::Input;

/// Longest line: what is longer is no line of text.
const LONGEST: usize = 256 << 20;

/// How the pointers of Git LFS begin.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Names of compressed files end so; they are told by their first bytes all the same.
pub const COMPRESSED: [&str; 3] = [".gz", ".zst", ".zstd"];

impl Input {
    /// Size and hash of a file.
    ///
    /// # Errors
    /// Where it cannot be read, or is a pipe or a device, which would be waited for and be empty the next time.
    pub fn of(path: &Path) -> Result<Self> {
        if let Ok(kind) = std::fs::metadata(path) {
            ensure!(
                kind.is_file() || kind.is_dir(),
                "{}: neither a file nor a directory; write what it gives into a file first",
                path.display()
            );
        }
        let mut file = open_plain(path)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0u8; 1 << 20];
        let mut bytes = 0u64;
        loop {
            let read = file.read(&mut buffer).with_context(|| format!("{}: cannot read", path.display()))?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            bytes += read as u64;
        }
        Ok(Self { path: path.display().to_string(), bytes, sha256: hex(&hash.finalize()) })
    }
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |text, byte| text + &format!("{byte:02x}"))
}

/// Opens a file, with an error that says what is wrong with it.
fn open_plain(path: &Path) -> Result<File> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound && path.is_symlink() => {
            bail!(
                "{}: a link to a file that is not there; fetch the file again, or remove the link",
                path.display()
            )
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("{}: no such file", path.display())
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            bail!("{}: may not be read; give yourself permission (chmod u+r)", path.display())
        }
        Err(error) => return Err(error).with_context(|| format!("{}: cannot open", path.display())),
    };
    let kind = file.metadata().with_context(|| format!("{}: cannot open", path.display()))?;
    ensure!(!kind.is_dir(), "{}: is a directory; give a file", path.display());
    Ok(file)
}

/// The decompressed bytes of a file, behind the byte order mark.
///
/// # Errors
/// Where the file is missing, a directory, may not be read, or is UTF-16 or UTF-32.
pub fn bytes(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let mut plain = BufReader::with_capacity(1 << 18, open_plain(path)?);
    let start = plain.fill_buf().with_context(|| format!("{}: cannot read", path.display()))?;
    let mut reader: Box<dyn BufRead + Send> = if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::with_capacity(1 << 18, flate2::bufread::MultiGzDecoder::new(plain)))
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let decoder = zstd::stream::read::Decoder::with_buffer(plain)
            .with_context(|| format!("{}: not Zstandard", path.display()))?;
        Box::new(BufReader::with_capacity(1 << 18, decoder))
    } else {
        Box::new(plain)
    };
    let start = reader.fill_buf().map_err(|error| broken(path, error))?;
    check_whole(path, start)?;
    if start.starts_with(&[0xef, 0xbb, 0xbf]) {
        reader.consume(3);
    } else if let Some((name, iconv)) = wide(start) {
        bail!(
            "{}: is {name}; polymix reads UTF-8 (convert it with `iconv -f {iconv} -t UTF-8`)",
            path.display()
        );
    }
    Ok(reader)
}

/// Refuses what stands in a file's place: the pointer that a clone without Git LFS has, or a web page that was saved
/// instead of the file. `start`: the file's first bytes, some hundred or all.
///
/// # Errors
/// Names the file and how to get the real one.
pub fn check_whole(path: &Path, start: &[u8]) -> Result<()> {
    let shown = path.display();
    ensure!(
        !start.starts_with(LFS),
        "{shown}: is a Git LFS pointer, not the file itself; run `git lfs pull` in its folder"
    );
    let text = start.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(start).trim_ascii_start();
    let is_page = ["<!doctype html", "<html"]
        .iter()
        .any(|tag| text.get(..tag.len()).is_some_and(|t| t.eq_ignore_ascii_case(tag.as_bytes())));
    ensure!(
        !is_page,
        "{shown}: is a web page (HTML), not the file itself; fetch the file again by its download link"
    );
    Ok(())
}

/// As [`check_whole`], for files that others read: as far as it can be opened.
///
/// # Errors
/// As [`check_whole`].
pub fn check_file(path: &Path) -> Result<()> {
    let mut start = Vec::new();
    let is_read = File::open(path).and_then(|file| file.take(512).read_to_end(&mut start)).is_ok();
    if is_read { check_whole(path, &start) } else { Ok(()) }
}

/// UTF-16 or UTF-32, told by the mark at the start or, without one, by the zeros beside the letters: what it is, and its
/// name for iconv.
fn wide(start: &[u8]) -> Option<(&'static str, &'static str)> {
    match start {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Some(("UTF-32", "UTF-32")),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Some(("UTF-16", "UTF-16")),
        _ => {}
    }
    let start = &start[..start.len().min(400)];
    // Of so many bytes a quarter: texts in other scripts have tabs, quotes and spaces too.
    let many = |found: usize, of: usize| of > 0 && 4 * found >= of;
    let fours: Vec<&[u8]> = start.chunks_exact(4).collect();
    let of_fours = |is: &dyn Fn(&[u8]) -> bool| many(fours.iter().filter(|c| is(c)).count(), fours.len());
    if of_fours(&|c| c[0] != 0 && c[1..] == [0, 0, 0]) {
        return Some(("UTF-32 without a byte order mark", "UTF-32LE"));
    }
    if of_fours(&|c| c[3] != 0 && c[..3] == [0, 0, 0]) {
        return Some(("UTF-32 without a byte order mark", "UTF-32BE"));
    }
    let twos: Vec<&[u8]> = start.chunks_exact(2).collect();
    let of_twos =
        |zero: usize| many(twos.iter().filter(|c| c[zero] == 0 && c[1 - zero] != 0).count(), twos.len());
    match (of_twos(1), of_twos(0)) {
        (true, false) => Some(("UTF-16 without a byte order mark", "UTF-16LE")),
        (false, true) => Some(("UTF-16 without a byte order mark", "UTF-16BE")),
        _ => None,
    }
}

fn broken(path: &Path, error: std::io::Error) -> anyhow::Error {
    let remedy = match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::Other => {
            ": damaged or cut off; fetch it again"
        }
        _ => ": cannot read",
    };
    anyhow::Error::new(error).context(format!("{}{remedy}", path.display()))
}

/// A whole file as text.
///
/// # Errors
/// As [`bytes`]; where it is not UTF-8 the line is named.
pub fn text(path: &Path) -> Result<String> {
    let mut all = Vec::new();
    bytes(path)?.read_to_end(&mut all).map_err(|error| broken(path, error))?;
    String::from_utf8(all).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..at];
        let line = before.split(|b| *b == b'\n').count();
        let byte = at - before.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
        not_utf8(path, line, byte, !before.is_ascii())
    })
}

/// A whole file as JSON; `what` it should be.
///
/// # Errors
/// As [`text`]; where it is empty, cut off, or something else. All name the file.
pub fn json<T: serde::de::DeserializeOwned>(path: &Path, what: &str) -> Result<T> {
    let text = text(path)?;
    ensure!(!text.trim().is_empty(), "{}: is empty", path.display());
    serde_json::from_str(&text).map_err(|error| {
        let remedy = if error.is_eof() { ", or cut off (then fetch it again)" } else { "" };
        anyhow::Error::new(error).context(format!("{}: not {what}{remedy}", path.display()))
    })
}

/// `is_mixed`: UTF-8 came before, which converting the whole file would spoil.
fn not_utf8(path: &Path, line: usize, byte: usize, is_mixed: bool) -> anyhow::Error {
    let remedy = if is_mixed {
        "what comes before is; convert this line alone, or leave such bytes out with `iconv -c -f UTF-8 -t UTF-8`"
    } else {
        "convert the file, for example with `iconv -f LATIN1 -t UTF-8`"
    };
    anyhow::anyhow!("{}, line {line}: byte {} is not UTF-8; {remedy}", path.display(), byte + 1)
}

/// The lines of a file, one at a time.
pub struct Lines {
    reader: Box<dyn BufRead + Send>,
    path: PathBuf,
    number: usize,
    buffer: Vec<u8>,
    /// Whether letters beyond ASCII came.
    is_wide: bool,
}

impl Lines {
    /// Opens a file.
    ///
    /// # Errors
    /// As [`bytes`].
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            reader: bytes(path)?,
            path: path.to_owned(),
            number: 0,
            buffer: Vec::new(),
            is_wide: false,
        })
    }

    /// The next line without its ending, and without byte order marks before it (files that were put together have some in
    /// the middle); `None` at the end of the file.
    ///
    /// # Errors
    /// Where the line is not UTF-8 or longer than 256 MiB, the file is damaged, or all its lines end in CR alone.
    pub fn line(&mut self) -> Result<Option<&str>> {
        self.buffer.clear();
        let read = (&mut self.reader)
            .take(LONGEST as u64 + 1)
            .read_until(b'\n', &mut self.buffer)
            .map_err(|error| broken(&self.path, error))
            .with_context(|| format!("behind line {}", self.number))?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        ensure!(
            read <= LONGEST,
            "{}: longer than 256 MiB; is this a text file with lines?",
            place(&self.path, self.number)
        );
        let is_whole = self.number == 1 && self.buffer.last() != Some(&b'\n');
        while self.buffer.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
            self.buffer.pop();
        }
        ensure!(
            !is_whole || !self.buffer.contains(&b'\r'),
            "{}: its lines end in CR alone; convert them with `tr '\\r' '\\n' < OLD > NEW`",
            self.path.display()
        );
        match std::str::from_utf8(&self.buffer) {
            Ok(line) => {
                let line = line.trim_start_matches('\u{feff}');
                self.is_wide |= !line.is_ascii();
                Ok(Some(line))
            }
            Err(error) => Err(not_utf8(&self.path, self.number, error.valid_up_to(), self.is_wide)),
        }
    }

    /// Number of the line that was read last, from 1.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }
}

/// `FILE, line N`.
#[must_use]
pub fn place(path: &Path, line: usize) -> String {
    format!("{}, line {line}", path.display())
}

/// Calls `each` with the number and the text of every line that is not blank.
///
/// # Errors
/// As [`Lines`]; a file without such a line; what `each` returns, with the place.
pub fn lines(path: &Path, mut each: impl FnMut(usize, &str) -> Result<()>) -> Result<()> {
    let mut lines = Lines::open(path)?;
    let mut any = false;
    loop {
        let number = lines.number() + 1;
        let Some(line) = lines.line()? else { break };
        if !line.trim().is_empty() {
            any = true;
            each(number, line).with_context(|| place(path, number))?;
        }
    }
    ensure!(any, "{}: is empty", path.display());
    Ok(())
}
