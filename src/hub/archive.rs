//! Unpacking zip and tar.gz archives: plain files only, and nothing outside the folder.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::{DeflateDecoder, GzDecoder};

use super::disk::{space, unwritable};
use crate::files;

/// How an archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Zip,
    TarGz,
}

impl Packing {
    /// By the file's name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let (stem, ending) = name.rsplit_once('.')?;
        match ending {
            "zip" => Some(Self::Zip),
            "tgz" => Some(Self::TarGz),
            "gz" => stem.strip_suffix(".tar").map(|_| Self::TarGz),
            _ => None,
        }
    }
}

/// True where a file of this name is unpacked.
#[must_use]
pub fn is_archive(name: &str) -> bool {
    Packing::of(name).is_some()
}

/// True for a relative path that stays below its folder on every system.
#[must_use]
pub fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\\', '\0', ':'])
        && !path.starts_with('/')
        && path.split('/').all(|part| part != ".." && part != "." && !part.is_empty())
        && Path::new(path).components().all(|c| matches!(c, Component::Normal(_)))
}

/// Unpacks the files that `wanted` names anew (`None`: leave out) into a folder that must not exist yet.
/// Returns their paths below the folder.
///
/// # Errors
/// Names the archive and the member: one that would leave the folder, a link or device, a broken or short member.
pub fn unpack(
    archive: &Path,
    packing: Packing,
    folder: &Path,
    wanted: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>> {
    let mut written = Vec::new();
    files::whole_dir(folder, |folder| {
        let mut write = |member: &str, size: u64, content: &mut dyn Read| -> Result<()> {
            let Some(name) = wanted(member) else { return Ok(()) };
            ensure!(is_inside(&name), "member '{member}' would be written outside the folder");
            write_member(&folder.join(&name), size, content).with_context(|| format!("member '{member}'"))?;
            written.push(name);
            Ok(())
        };
        match packing {
            Packing::Zip => unzip(archive, &mut write),
            Packing::TarGz => untar(archive, &mut write),
        }
        .with_context(|| format!("{}: cannot unpack", archive.display()))
    })?;
    Ok(written)
}

type Write1<'a> = dyn FnMut(&str, u64, &mut dyn Read) -> Result<()> + 'a;

fn write_member(path: &Path, size: u64, content: &mut dyn Read) -> Result<()> {
    if let Some(parent) = path.parent() {
        files::create_dir(parent)?;
    }
    space(path, size)?;
    let mut file =
        File::create_new(path).with_context(|| format!("{}: is it there twice?", path.display()))?;
    // One byte more than stated, so that a member that lies about its size is noticed.
    let mut content = content.take(size.saturating_add(1));
    let mut buffer = vec![0; 1 << 17];
    let mut count = 0;
    loop {
        let read = content.read(&mut buffer).context("damaged")?;
        if read == 0 {
            break;
        }
        file.write_all(&buffer[..read]).map_err(|error| unwritable(path, error))?;
        count += read as u64;
    }
    ensure!(count == size, "{count} bytes or more instead of the stated {size}");
    Ok(())
}

/// Refuses names that leave the folder, before anyone asks whether the member is wanted.
fn checked(name: &str) -> Result<&str> {
    let name = name.strip_prefix("./").unwrap_or(name);
    ensure!(
        is_inside(name),
        "member '{name}' would be written outside the folder; the archive is not what it claims to be"
    );
    Ok(name)
}

fn unzip(path: &Path, write: &mut Write1<'_>) -> Result<()> {
    let file = File::open(path).context("cannot read")?;
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).context("not a zip archive")?;
    refuse_twins(path, archive.central_directory_start())?;
    for index in 0..archive.len() {
        let mut member = archive.by_index_raw(index)?;
        let name = std::str::from_utf8(member.name_raw()).context("a member's name is not UTF-8")?.to_owned();
        if member.is_dir() {
            checked(name.trim_end_matches('/'))?;
            continue;
        }
        let name = checked(&name)?.to_owned();
        // The upper half holds the mode of Unix; a link is 0o12.
        let is_link = member.unix_mode().is_some_and(|m| m & 0o170_000 == 0o120_000);
        ensure!(!is_link, "member '{name}' is a symbolic link; such archives are not unpacked");
        ensure!(!member.encrypted(), "member '{name}' is encrypted");
        let (size, crc, method) = (member.size(), member.crc32(), member.compression());
        let mut summed = Summed { inner: &mut member, crc: flate2::Crc::new() };
        if method == zip::CompressionMethod::Stored {
            write(&name, size, &mut summed)?;
        } else if method == zip::CompressionMethod::DEFLATE {
            let mut inflated = Summed { inner: &mut DeflateDecoder::new(summed), crc: flate2::Crc::new() };
            write(&name, size, &mut inflated)?;
            let (found, count) = (inflated.crc.sum(), u64::from(inflated.crc.amount()));
            ensure!(
                count == 0 || found == crc,
                "member '{name}' is damaged (CRC {found:08x}, stated {crc:08x})"
            );
            continue;
        } else {
            bail!("member '{name}' is packed by a method that polymix does not read ({method})");
        }
        let (found, count) = (summed.crc.sum(), u64::from(summed.crc.amount()));
        ensure!(count == 0 || found == crc, "member '{name}' is damaged (CRC {found:08x}, stated {crc:08x})");
    }
    Ok(())
}

/// Refuses two members of one name, of which the library shows the last alone. Each entry of the directory at the archive's
/// end is 46 bytes (lengths of name, extra field and comment from the 28th on), and those three.
fn refuse_twins(path: &Path, start: u64) -> Result<()> {
    let mut file = BufReader::new(File::open(path).context("cannot read")?);
    file.seek(SeekFrom::Start(start)).context("cannot read")?;
    let mut names = std::collections::HashSet::new();
    let mut entry = [0; 46];
    while file.read_exact(&mut entry).is_ok() && entry.starts_with(b"PK\x01\x02") {
        let length = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
        let mut name = vec![0; usize::from(length(28))];
        file.read_exact(&mut name).context("its directory is cut")?;
        let shown = String::from_utf8_lossy(&name).into_owned();
        ensure!(names.insert(name), "member '{shown}' is there twice; such archives are not unpacked");
        file.seek_relative(i64::from(length(30)) + i64::from(length(32))).context("its directory is cut")?;
    }
    Ok(())
}

/// A reader that sums up what passes.
struct Summed<'a, R: Read + ?Sized> {
    inner: &'a mut R,
    crc: flate2::Crc,
}

impl<R: Read + ?Sized> Read for Summed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.crc.update(&buffer[..count]);
        Ok(count)
    }
}

fn untar(path: &Path, write: &mut Write1<'_>) -> Result<()> {
    let file = File::open(path).context("cannot read")?;
    let mut archive = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
    for member in archive.entries().context("not a tar.gz archive")? {
        let mut member = member.context("not a tar.gz archive, or a damaged one")?;
        let bytes = member.path_bytes().into_owned();
        let name = String::from_utf8(bytes).context("a member's name is not UTF-8")?;
        let kind = member.header().entry_type();
        if kind.is_pax_global_extensions() || matches!(name.as_str(), "." | "./") {
            continue;
        }
        let name = checked(name.trim_end_matches('/'))?.to_owned();
        if kind.is_dir() {
            continue;
        }
        ensure!(
            kind.is_file() || kind.is_contiguous(),
            "member '{name}' is a link or a device; such archives are not unpacked"
        );
        let size = member.size();
        write(&name, size, &mut member)?;
    }
    Ok(())
}

/// Moves the files below `from` to their places below `to`, replacing what is there.
///
/// # Errors
/// Where a file cannot be moved; those moved so far stay.
pub fn settle(from: &Path, to: &Path, names: &[String]) -> Result<()> {
    for name in names {
        let target: PathBuf = to.join(name);
        if let Some(parent) = target.parent() {
            files::create_dir(parent)?;
        }
        std::fs::rename(from.join(name), &target)
            .with_context(|| format!("{}: cannot move to it", target.display()))?;
    }
    std::fs::remove_dir_all(from).with_context(|| format!("{}: cannot remove", from.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 9] =
        ["../x", "a/../../x", "/etc/x", "..", "C:\\x", "a\\..\\x", "c:/x", "a//x", "a/\0x"];

    #[test]
    fn names_that_leave_the_folder() {
        for name in NAMES {
            assert!(!is_inside(name), "{name}");
        }
        for name in ["a", "a/b.json", "..a/b..", "ä ö/x"] {
            assert!(is_inside(name), "{name}");
        }
    }

    /// A stored or deflated zip of one member, written by hand so that any name and mode can be had.
    fn zipped(name: &str, mode: u32, text: &[u8], is_deflated: bool) -> Vec<u8> {
        let mut crc = flate2::Crc::new();
        crc.update(text);
        let packed = if is_deflated {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text).expect("packed");
            encoder.finish().expect("packed")
        } else {
            text.to_vec()
        };
        let method: u16 = if is_deflated { 8 } else { 0 };
        let common = |out: &mut Vec<u8>| {
            out.extend([20, 0, 0, 0]);
            out.extend(method.to_le_bytes());
            out.extend([0, 0, 33, 0]);
            out.extend(crc.sum().to_le_bytes());
            out.extend((packed.len() as u32).to_le_bytes());
            out.extend((text.len() as u32).to_le_bytes());
            out.extend((name.len() as u16).to_le_bytes());
            out.extend([0, 0]);
        };
        let mut out = b"PK\x03\x04".to_vec();
        common(&mut out);
        out.extend(name.as_bytes());
        out.extend(&packed);
        let start = out.len() as u32;
        out.extend(b"PK\x01\x02\x14\x03");
        common(&mut out);
        out.extend([0; 6]);
        out.extend((mode << 16).to_le_bytes());
        out.extend(0u32.to_le_bytes());
        out.extend(name.as_bytes());
        let length = out.len() as u32 - start;
        out.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
        out.extend(length.to_le_bytes());
        out.extend(start.to_le_bytes());
        out.extend([0, 0]);
        out
    }

    fn tarred(name: &str, kind: tar::EntryType, link: Option<&str>) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        // Written past the library's own checks.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        let content: &[u8] = if link.is_some() { b"" } else { b"hello" };
        if let Some(link) = link {
            header.set_link_name_literal(link).expect("a link");
        }
        header.set_size(content.len() as u64);
        header.set_cksum();
        let mut builder =
            tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        builder.append(&header, content).expect("appended");
        builder.into_inner().expect("tar").finish().expect("gz")
    }

    fn try_unpack(bytes: &[u8], packing: Packing) -> (tempfile::TempDir, Result<Vec<String>>) {
        let dir = tempfile::tempdir().expect("dir");
        let archive = dir.path().join("inner/archive");
        files::create_dir(archive.parent().expect("parent")).expect("dir");
        std::fs::write(&archive, bytes).expect("write");
        let result = unpack(&archive, packing, &dir.path().join("inner/out"), &|n| Some(n.to_owned()));
        (dir, result)
    }

    #[test]
    fn archives_cannot_write_outside_their_folder() {
        for name in ["../x", "a/../../x", "/tmp/polymix-absolute", "..\\x", "C:/x"] {
            let tar = (tarred(name, tar::EntryType::Regular, None), Packing::TarGz);
            let stored = (zipped(name, 0o100_644, b"hello", false), Packing::Zip);
            for (bytes, packing) in [tar, stored] {
                let (dir, result) = try_unpack(&bytes, packing);
                let error = format!("{:#}", result.expect_err(name));
                assert!(error.contains("outside the folder"), "{packing:?} {name}: {error}");
                assert!(!dir.path().join("x").exists() && !dir.path().join("inner/x").exists());
                assert!(!dir.path().join("inner/out").exists(), "nothing is left behind");
            }
        }
        assert!(!Path::new("/tmp/polymix-absolute").exists());
    }

    #[test]
    fn links_in_archives_are_refused() {
        let tars = [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Fifo]
            .map(|kind| (tarred("x", kind, Some("/etc/passwd")), Packing::TarGz));
        let zip = (zipped("x", 0o120_777, b"/etc/passwd", false), Packing::Zip);
        for (bytes, packing) in tars.into_iter().chain([zip]) {
            let (dir, result) = try_unpack(&bytes, packing);
            assert!(format!("{:#}", result.expect_err("a link")).contains("link"));
            assert!(!dir.path().join("inner/out").exists());
        }
    }

    #[test]
    fn honest_archives_are_unpacked_and_damaged_ones_are_not() {
        let long = b"hello hello hello hello hello".repeat(100);
        for (bytes, packing, content) in [
            (zipped("d/a.txt", 0o100_644, b"hello", false), Packing::Zip, b"hello".to_vec()),
            (zipped("d/a.txt", 0o100_644, &long, true), Packing::Zip, long.clone()),
            (tarred("d/a.txt", tar::EntryType::Regular, None), Packing::TarGz, b"hello".to_vec()),
        ] {
            let (dir, result) = try_unpack(&bytes, packing);
            assert_eq!(result.expect("unpacked"), ["d/a.txt"]);
            assert_eq!(std::fs::read(dir.path().join("inner/out/d/a.txt")).expect("read"), content);
        }
        let mut damaged = zipped("a", 0o100_644, b"hello", false);
        damaged[31] ^= 1;
        let error = format!("{:#}", try_unpack(&damaged, Packing::Zip).1.expect_err("damaged"));
        assert!(error.contains("damaged"), "{error}");
        for packing in [Packing::Zip, Packing::TarGz] {
            assert!(try_unpack(b"<html>not found</html>", packing).1.is_err());
        }
    }

    #[test]
    fn two_members_of_one_name_are_refused() {
        // Two archives of one member each, laid together: files, then directory, then its end (22 bytes).
        let one = zipped("a", 0o100_644, b"hello", false);
        let end = one.len() - 22;
        let start = one[end + 16..end + 20].iter().rev().fold(0, |all, b| all << 8 | usize::from(*b));
        let (local, central) = (&one[..start], &one[start..end]);
        let mut second = central.to_vec();
        second[42..46].copy_from_slice(&(start as u32).to_le_bytes());
        let mut last = one[end..].to_vec();
        (last[8], last[10]) = (2, 2);
        last[12..16].copy_from_slice(&(2 * central.len() as u32).to_le_bytes());
        last[16..20].copy_from_slice(&(2 * start as u32).to_le_bytes());
        let twins = [local, local, central, &second, &last].concat();
        let error = format!("{:#}", try_unpack(&twins, Packing::Zip).1.expect_err("twins"));
        assert!(error.contains("member 'a' is there twice"), "{error}");
    }
}
