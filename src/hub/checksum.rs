//! Two ways to name a file's contents: SHA-256 (large files of the hub) and git's SHA-1 of a blob (small ones).

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// What a file's bytes must come to, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checksum {
    Sha256(String),
    /// SHA-1 over `blob LENGTH\0` and the bytes.
    GitBlob(String),
}

impl Checksum {
    /// By its length: 64 digits are SHA-256, 40 are git's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.bytes().all(|b| b.is_ascii_hexdigit());
        let text = text.to_ascii_lowercase();
        match text.len() {
            64 if is_hex => Some(Self::Sha256(text)),
            40 if is_hex => Some(Self::GitBlob(text)),
            _ => None,
        }
    }

    /// The digits.
    #[must_use]
    pub fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitBlob(hex) => hex,
        }
    }

    const fn word(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::GitBlob(_) => "git blob sha1",
        }
    }

    /// Holds a file to the checksum.
    ///
    /// # Errors
    /// Names the file with both checksums where they differ, or says why it cannot be read.
    pub fn check(&self, path: &Path) -> Result<()> {
        let found = match self {
            Self::Sha256(_) => sha256(path)?,
            Self::GitBlob(_) => git_blob(path)?,
        };
        // A link is as good as the file that it leads to: that is the damaged one.
        let link = path.is_symlink().then(|| path.canonicalize().ok()).flatten();
        let damaged =
            link.map(|file| format!("; the damaged file is {}", file.display())).unwrap_or_default();
        ensure!(
            found == self.hex(),
            "{}: wrong checksum: {} is {found}, expected {}{damaged}",
            path.display(),
            self.word(),
            self.hex()
        );
        Ok(())
    }
}

/// SHA-256 of a file.
///
/// # Errors
/// Where it cannot be read.
pub fn sha256(path: &Path) -> Result<String> {
    digest(path, Sha256::new())
}

fn git_blob(path: &Path) -> Result<String> {
    let length = std::fs::metadata(path).with_context(|| format!("{}: cannot read", path.display()))?.len();
    digest(path, Sha1::new_with_prefix(format!("blob {length}\0")))
}

fn digest<D: Digest>(path: &Path, mut hash: D) -> Result<String> {
    let unreadable = || format!("{}: cannot read", path.display());
    let mut file = std::fs::File::open(path).with_context(unreadable)?;
    let mut buffer = vec![0u8; 1 << 18];
    loop {
        match file.read(&mut buffer).with_context(unreadable)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(hash.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_checksums_are_the_published_ones() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("x");
        std::fs::write(&path, "hello\n").expect("write");
        // `printf 'hello\n' | git hash-object --stdin` and `sha256sum`.
        let git = Checksum::parse("ce013625030ba8dba906f756967f9e9ca394464a").expect("git");
        let sha =
            Checksum::parse("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03").expect("sha");
        git.check(&path).expect("git");
        sha.check(&path).expect("sha");
        std::fs::write(&path, "hallo\n").expect("write");
        for sum in [git, sha] {
            let error = format!("{:#}", sum.check(&path).expect_err("changed"));
            assert!(error.contains("wrong checksum") && error.contains(sum.hex()), "{error}");
        }
        assert_eq!(Checksum::parse("abc"), None);
    }
}
