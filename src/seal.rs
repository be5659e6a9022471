//! Checksums in the files of a run, so that a damaged file is told and never read as a number.
//!
//! A JSON file or line ends with the member `crc32`: the CRC-32 of all text before it, without the comma and the white
//! space between. Files that are no JSON (weights, Parquet) have their size and checksum in the JSON file beside them that
//! is written last. Records of versions that had no checksums are read as they are.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{ErrorKind, Read};
use std::path::Path;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The last member of a sealed JSON object.
const KEY: &str = "\"crc32\"";

/// Why a file of a run is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is not as it was written: cut off, overwritten, or missing beside files that name it.
    Damaged(String),
    /// Its version is later than this program knows.
    Newer(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(what) | Self::Newer(what) => out.write_str(what),
        }
    }
}

impl std::error::Error for Refused {}

/// True where the error says that a file is damaged, not that it could not be read.
#[must_use]
pub fn is_damage(error: &anyhow::Error) -> bool {
    error.chain().any(|c| matches!(c.downcast_ref(), Some(Refused::Damaged(_))))
}

/// True where the error says that a later version of the program wrote the file.
#[must_use]
pub fn is_newer(error: &anyhow::Error) -> bool {
    error.chain().any(|c| matches!(c.downcast_ref(), Some(Refused::Newer(_))))
}

/// An error that says that the file `shown` was written by a later version.
#[must_use]
pub fn newer(shown: &str, version: u64, known: u32) -> anyhow::Error {
    Refused::Newer(format!(
        "{shown}: written by a newer polymix (format {version}, this one reads up to {known}); update polymix"
    ))
    .into()
}

/// An error that says that the file `shown` is damaged.
#[must_use]
pub fn damaged(shown: &str, how: &str) -> anyhow::Error {
    Refused::Damaged(format!("{shown}: damaged ({how})")).into()
}

/// `value`, an object, as JSON on several lines with its checksum.
///
/// # Errors
/// Where the value cannot be JSON.
pub fn pretty(value: &impl Serialize) -> Result<Vec<u8>> {
    let text = serde_json::to_vec_pretty(value)?;
    Ok(sealed(text, "\n}", ",\n  \"crc32\": ", "\n}"))
}

/// `value`, an object, as one line of JSON with its checksum, without a line break.
///
/// # Errors
/// Where the value cannot be JSON.
pub fn line(value: &impl Serialize) -> Result<Vec<u8>> {
    Ok(sealed(serde_json::to_vec(value)?, "}", ",\"crc32\":", "}"))
}

fn sealed(mut text: Vec<u8>, end: &str, key: &str, close: &str) -> Vec<u8> {
    debug_assert!(text.ends_with(end.as_bytes()), "only objects with members are sealed");
    text.truncate(text.len() - end.len());
    let sum = crc32fast::hash(&text);
    text.extend(format!("{key}\"{sum:08x}\"{close}").into_bytes());
    text
}

/// Reads a sealed object; `since` is the first version that has checksums, `known` the last that can be read. `shown` is
/// what messages call the file.
///
/// # Errors
/// [`Refused`] where it is damaged or of a later version.
pub fn read<T: DeserializeOwned>(shown: &str, text: &[u8], since: u32, known: u32) -> Result<T> {
    #[derive(Deserialize)]
    struct Version {
        v: u64,
    }
    let sum = sum_of(text);
    if let Some(false) = sum {
        return Err(damaged(shown, "its checksum is wrong"));
    }
    let Ok(Version { v }) = serde_json::from_slice(text) else {
        return Err(damaged(shown, "no JSON with a version"));
    };
    if v > u64::from(known) {
        return Err(newer(shown, v, known));
    }
    if v >= u64::from(since) && sum.is_none() {
        return Err(damaged(shown, "its checksum is missing"));
    }
    serde_json::from_slice(text).map_err(|e| damaged(shown, &e.to_string()))
}

/// The same from a file.
///
/// # Errors
/// As [`read`], and where the file cannot be read.
pub fn read_file<T: DeserializeOwned>(path: &Path, since: u32, known: u32) -> Result<T> {
    let shown = path.display().to_string();
    let text = std::fs::read(path).with_context(|| format!("{shown}: cannot read"))?;
    read(&shown, &text, since, known)
}

/// Whether the checksum is right; `None` where there is none.
fn sum_of(text: &[u8]) -> Option<bool> {
    let at = text.windows(KEY.len()).rposition(|w| w == KEY.as_bytes())?;
    let body = text[..at].trim_ascii_end();
    let body = body.strip_suffix(b",")?;
    let rest: String = text[at + KEY.len()..].iter().map(|b| char::from(*b)).collect();
    let stated = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let (stated, end) = stated.split_once('"')?;
    // Inside a string of another member the key is no key.
    (end.trim() == "}").then(|| stated == format!("{:08x}", crc32fast::hash(body)))
}

/// Begins the first line of a sealed TOML file.
const HEAD: &str = "# crc32 ";

/// TOML below a first line with its checksum; `remark` says there what the checksum is for.
#[must_use]
pub fn headed(text: &str, remark: &str) -> String {
    format!("{HEAD}{:08x} {remark}\n{text}", crc32fast::hash(text.as_bytes()))
}

/// Whether the checksum in the first line is that of the lines below; `None` where the first line holds none.
#[must_use]
pub fn is_whole(text: &str) -> Option<bool> {
    let (head, below) = text.strip_prefix(HEAD)?.split_once('\n')?;
    Some(head.split(' ').next() == Some(format!("{:08x}", crc32fast::hash(below.as_bytes())).as_str()))
}

/// Size and checksum of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub bytes: u64,
    pub crc32: String,
}

/// Files of a directory by name, with `/` between the parts.
pub type Sums = BTreeMap<String, Sum>;

/// Sums of all files below a directory, but for hidden ones.
///
/// # Errors
/// Where a file cannot be read.
pub fn sums(dir: &Path) -> Result<Sums> {
    let mut found = Sums::new();
    for path in crate::files::children(dir) {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            found.extend(sums(&path)?.into_iter().map(|(inner, sum)| (format!("{name}/{inner}"), sum)));
        } else {
            found.insert(name, of_file(&path)?);
        }
    }
    Ok(found)
}

fn of_file(path: &Path) -> Result<Sum> {
    let read = || -> std::io::Result<Sum> {
        let (mut file, mut hasher, mut bytes) =
            (std::fs::File::open(path)?, crc32fast::Hasher::new(), vec![0; 1 << 20]);
        let mut size = 0;
        loop {
            match file.read(&mut bytes)? {
                0 => return Ok(Sum { bytes: size, crc32: format!("{:08x}", hasher.finalize()) }),
                n => {
                    hasher.update(&bytes[..n]);
                    size += n as u64;
                }
            }
        }
    };
    read().with_context(|| format!("{}: cannot read", path.display()))
}

/// Compares every file with its sum.
///
/// # Errors
/// [`Refused::Damaged`] names the first that differs or is missing; other errors where one cannot be read.
pub fn check(dir: &Path, sums: &Sums) -> Result<()> {
    sums.keys().try_for_each(|name| check_file(dir, name, sums))
}

/// Compares one file with its sum; a file without one (of an earlier version) is taken as it is.
///
/// # Errors
/// As [`check`].
pub fn check_file(dir: &Path, name: &str, sums: &Sums) -> Result<()> {
    let Some(stated) = sums.get(name) else { return Ok(()) };
    let path = dir.join(name);
    let shown = path.display().to_string();
    let found = match of_file(&path) {
        Ok(found) => found,
        Err(error) => {
            let missing = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            return Err(if missing == Some(ErrorKind::NotFound) {
                damaged(&shown, "it is missing")
            } else {
                error
            });
        }
    };
    if found.bytes != stated.bytes {
        let how = format!("{} bytes instead of {}", found.bytes, stated.bytes);
        return Err(damaged(&shown, &how));
    }
    if found != *stated {
        return Err(damaged(&shown, "its checksum is wrong"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_checksum_is_that_of_zip_and_gzip() {
        // The check value of CRC-32 (ISO-HDLC) for "123456789".
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
        let text = String::from_utf8(line(&json!({"v": 2})).expect("json")).expect("text");
        assert_eq!(text, format!("{{\"v\":2,\"crc32\":\"{:08x}\"}}", crc32fast::hash(b"{\"v\":2")));
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_seen() {
        let value = json!({"v": 2, "step": 17, "note": "a \"crc32\": \"00000000\" b"});
        for text in [line(&value).expect("line"), pretty(&value).expect("pretty")] {
            let back: Value = read("x", &text, 2, 2).expect("whole");
            assert_eq!(back["step"], 17);
            for cut in 0..text.len() {
                assert!(is_damage(&read::<Value>("x", &text[..cut], 2, 2).expect_err("cut")), "cut at {cut}");
            }
            for at in 0..text.len() {
                let mut changed = text.clone();
                changed[at] ^= 1;
                let read = read::<Value>("x", &changed, 2, 2);
                // White space may become other white space; nothing that is read may change.
                if let Ok(found) = read {
                    assert_eq!(found["step"], back["step"], "byte {at}");
                    assert_eq!(found["note"], back["note"], "byte {at}");
                }
            }
        }
    }

    #[test]
    fn toml_is_sealed_by_its_first_line() {
        let text = headed("v = 1\nid = \"a\"\n", "of the lines below");
        assert_eq!(text.parse::<toml::Table>().expect("toml")["v"].as_integer(), Some(1));
        assert_eq!((is_whole(&text), is_whole("v = 1\n")), (Some(true), None));
        for at in "# crc32 ".len()..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1;
            let changed = String::from_utf8(changed).expect("text");
            // The remark may change, but not where it ends.
            let is_remark = (17..text.find('\n').expect("line")).contains(&at);
            assert!(is_remark || is_whole(&changed) != Some(true), "byte {at}: {changed}");
        }
        for cut in 0..text.len() {
            assert_ne!(is_whole(&text[..cut]), Some(true), "cut at {cut}");
        }
    }

    #[test]
    fn versions_without_checksums_are_read_and_later_ones_are_not() {
        assert!(read::<Value>("x", br#"{"v":1,"step":3}"#, 2, 2).is_ok());
        let error = read::<Value>("x.json", br#"{"v":3,"step":3}"#, 2, 2).expect_err("later");
        assert!(
            is_newer(&error) && error.to_string().contains("x.json: written by a newer polymix (format 3")
        );
        assert!(is_damage(&read::<Value>("x", br#"{"v":2,"step":3}"#, 2, 2).expect_err("no sum")));
        assert!(is_damage(&read::<Value>("x", b"\0\0\0", 2, 2).expect_err("zeros")));
    }

    #[test]
    fn a_file_that_is_cut_changed_or_gone_is_named() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::create_dir(dir.path().join("inner")).expect("dir");
        let file = dir.path().join("inner/weights");
        std::fs::write(&file, b"0123456789").expect("write");
        let sums = sums(dir.path()).expect("sums");
        assert_eq!(sums["inner/weights"].bytes, 10);
        check(dir.path(), &sums).expect("whole");
        for (bytes, part) in [(&b"012345678"[..], "9 bytes instead of 10"), (b"0123456780", "checksum")] {
            std::fs::write(&file, bytes).expect("write");
            let error = check(dir.path(), &sums).expect_err("damaged");
            assert!(is_damage(&error) && error.to_string().contains(part), "{error}");
            assert!(error.to_string().contains("weights"), "{error}");
        }
        std::fs::remove_file(&file).expect("remove");
        assert!(check(dir.path(), &sums).expect_err("gone").to_string().contains("missing"));
    }
}
