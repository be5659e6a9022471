//! Lists of numbers that lie in memory or in a file that is mapped, and are read alike.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use memmap2::Mmap;

/// Unsigned numbers of 32 bits.
pub type Numbers = List<u32>;
/// Unsigned numbers of 64 bits.
pub type Offsets = List<u64>;

/// A list that does not change. Clones share what they hold.
#[derive(Clone, Debug)]
pub enum List<T> {
    Owned(Arc<Vec<T>>),
    Mapped(Arc<Mmap>),
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self::Owned(Arc::default())
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(list: Vec<T>) -> Self {
        Self::Owned(Arc::new(list))
    }
}

impl<T: bytemuck::Pod> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Owned(list) => list,
            // A map starts at a page; its length was checked when it was opened.
            Self::Mapped(map) => bytemuck::try_cast_slice(map).unwrap_or(&[]),
        }
    }
}

impl<T: bytemuck::Pod> List<T> {
    /// Maps a file of little-endian numbers; `count` must be how many there are.
    ///
    /// # Errors
    /// Where the file is missing or has another length.
    pub fn open(path: &Path, count: u64) -> Result<Self> {
        ensure!(cfg!(target_endian = "little"), "token caches need a little-endian machine");
        let file = File::open(path).with_context(|| format!("{}: cannot open", path.display()))?;
        let length = file.metadata().with_context(|| format!("{}: cannot open", path.display()))?.len();
        // The count comes from another file, which may be damaged too.
        let wanted = count.checked_mul(size_of::<T>() as u64);
        ensure!(
            wanted == Some(length),
            "{}: has {length} bytes, not {count} numbers: damaged",
            path.display()
        );
        if length == 0 {
            return Ok(Self::default());
        }
        Ok(Self::Mapped(Arc::new(map(&file).with_context(|| format!("{}: cannot map", path.display()))?)))
    }
}

/// Maps a whole file for reading.
#[allow(unsafe_code)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: a map must not change while it is read. Only files of a token cache are mapped; they are written beside
    // their place, renamed there once, whole, and never written again (`crate::tokens`). Removing one leaves a map of
    // it intact. Every bit pattern is a number, so that even a foreign change could give wrong numbers only, which
    // are looked up with bounds checks; a foreign truncation would end the process, as it does for model weights.
    unsafe { Mmap::map(file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_are_no_length_of_a_file_are_refused() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("numbers");
        std::fs::write(&path, [0; 16]).expect("write");
        assert_eq!(Offsets::open(&path, 2).expect("whole").len(), 2);
        // Twice 8 bytes more than 64 bits can count: the product must not come out as 16.
        for count in [1, 3, (1 << 61) + 2, u64::MAX] {
            let error = format!("{:#}", Offsets::open(&path, count).expect_err("damaged"));
            assert!(error.contains("16 bytes") && error.contains("damaged"), "{error}");
        }
    }
}
