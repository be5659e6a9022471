//! One file of embeddings, written whole or not at all, read through memory maps.
//!
//! Little-endian:
//!
//! ```text
//!  0   8  "POLYMIXE"
//!  8   4  version, 1
//! 12   4  numbers: 1 is f16, 2 is f32
//! 16   4  width: numbers a vector
//! 20   4  rows a block, 4096
//! 24   8  rows
//! 32   8  number of the first row in the whole index
//! 40   8  bytes of all ids
//! 48  16  the index that the shard belongs to: first bytes of the SHA-256 of its manifest
//! 64      rows + 1 offsets of the ids (u32), the ids (UTF-8, one after another)
//!         CRC-32 of each block of vectors (u32), then CRC-32 of everything so far (u32)
//!         zeros up to a multiple of 4096
//!         vectors, row after row
//! ```
//!
//! A block's checksum is looked at whenever the block is read, while its bytes are in the cache.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use memmap2::{Mmap, MmapOptions};

use super::half::{ShardDtype, narrow};
use crate::evaluate::Embeddings;

const MAGIC: &[u8; 8] = b"POLYMIXE";
const VERSION: u32 = 1;
const HEADER: usize = 64;
const PAGE: u64 = 4096;
/// Rows that share a checksum, and that are widened and multiplied together.
pub const BLOCK: usize = 4096;

/// The first bytes of the SHA-256 of an index's manifest.
pub type Identity = [u8; 16];

/// An open shard.
#[derive(Debug)]
pub struct Shard {
    pub path: PathBuf,
    pub dtype: ShardDtype,
    /// Numbers a vector.
    pub width: usize,
    pub rows: usize,
    /// Number of the first row in the whole index.
    pub first: u64,
    offsets: Vec<u32>,
    ids: String,
    checksums: Vec<u32>,
    /// Where the vectors begin.
    start: u64,
    file: File,
}

/// Some whole blocks of a shard in memory.
#[derive(Debug)]
pub struct Window {
    /// Rows of the shard.
    pub rows: Range<usize>,
    bytes: Mmap,
}

impl Window {
    /// The rows' numbers, in the shard's form.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Writes a shard; the file appears when it is complete.
///
/// # Errors
/// Where a vector does not fit the type (names its id), ids and vectors differ in number, or the disk is full.
pub fn write_shard(
    path: &Path,
    identity: Identity,
    first: u64,
    dtype: ShardDtype,
    ids: &[String],
    vectors: &Embeddings,
) -> Result<()> {
    ensure!(vectors.rows() == ids.len(), "{} vectors for {} ids", vectors.rows(), ids.len());
    let length = |bytes: usize| u32::try_from(bytes).context("the ids of one shard exceed 4 GiB");
    let mut meta = Vec::with_capacity(HEADER + 20 * ids.len());
    meta.extend(MAGIC);
    let id_bytes: usize = ids.iter().map(String::len).sum();
    for number in [VERSION, tag(dtype), length(vectors.width)?, BLOCK as u32] {
        meta.extend(number.to_le_bytes());
    }
    for number in [ids.len() as u64, first, id_bytes as u64] {
        meta.extend(number.to_le_bytes());
    }
    meta.extend(identity);
    let mut offset = 0;
    meta.extend(0u32.to_le_bytes());
    for id in ids {
        offset += id.len();
        meta.extend(length(offset)?.to_le_bytes());
    }
    for id in ids {
        meta.extend(id.as_bytes());
    }
    let mut data = Vec::with_capacity(vectors.data.len() * dtype.size());
    for (row, id) in ids.iter().enumerate() {
        narrow(dtype, vectors.row(row), &mut data).with_context(|| {
            format!("the embedding of '{id}' cannot be kept: the model is broken, or the type too narrow (try f32)")
        })?;
    }
    let block = BLOCK * vectors.width * dtype.size();
    for bytes in data.chunks(block.max(1)) {
        meta.extend(crc32fast::hash(bytes).to_le_bytes());
    }
    meta.extend(crc32fast::hash(&meta).to_le_bytes());
    meta.resize((meta.len() as u64).next_multiple_of(PAGE) as usize, 0);
    crate::files::replace_with(path, |file| {
        file.write_all(&meta)?;
        file.write_all(&data)?;
        Ok(())
    })
}

const fn tag(dtype: ShardDtype) -> u32 {
    match dtype {
        ShardDtype::F16 => 1,
        ShardDtype::F32 => 2,
    }
}

impl Shard {
    /// Opens a shard and checks everything but the vectors.
    ///
    /// # Errors
    /// Names the file and what is wrong with it: no shard, of a newer version, cut off, altered, of another index.
    pub fn open(path: &Path, identity: Identity) -> Result<Self> {
        Self::read(path, identity).with_context(|| format!("{}", path.display()))
    }

    fn read(path: &Path, identity: Identity) -> Result<Self> {
        let file = File::open(path).context("cannot open the shard")?;
        let length = file.metadata()?.len();
        let mut input = BufReader::new(&file);
        let mut meta = vec![0u8; HEADER];
        input.read_exact(&mut meta).with_context(|| format!("cut off: {length} bytes are no shard"))?;
        let word = |at: usize| u32::from_le_bytes([meta[at], meta[at + 1], meta[at + 2], meta[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        ensure!(&meta[..8] == MAGIC, "not a shard of polymix (it does not begin with POLYMIXE)");
        ensure!(word(8) <= VERSION, "written by a newer polymix (format {}); update polymix", word(8));
        let dtype = match word(12) {
            1 => ShardDtype::F16,
            2 => ShardDtype::F32,
            other => bail!("damaged: unknown type of number {other}"),
        };
        let (width, block, rows, first) = (word(16) as usize, word(20), long(24), long(32));
        ensure!(block as usize == BLOCK, "damaged: blocks of {block} rows");
        let blocks = rows.div_ceil(BLOCK as u64);
        // Sizes come from the file: nothing is taken from memory before they fit the file's length.
        let size = |n: u64, each: u64| n.checked_mul(each);
        let rest = size(rows, 4).and_then(|offsets| {
            let sums = size(blocks, 4)?;
            offsets.checked_add(4)?.checked_add(long(40))?.checked_add(sums)?.checked_add(4)
        });
        let numbers = size(rows, width as u64).and_then(|n| size(n, dtype.size() as u64));
        let start = rest.and_then(|r| r.checked_add(HEADER as u64)?.checked_next_multiple_of(PAGE));
        let whole = start.and_then(|start| start.checked_add(numbers?)).unwrap_or(u64::MAX);
        ensure!(length == whole, "cut off or damaged: {length} bytes, but its header speaks of {whole}");
        let (rows, start, rest) = (rows as usize, start.unwrap_or(0), rest.unwrap_or(0) as usize);
        let id_bytes = long(40) as usize;
        let mut owner = Identity::default();
        owner.copy_from_slice(&meta[48..64]);
        meta.resize(HEADER + rest, 0);
        input.read_exact(&mut meta[HEADER..])?;
        let end = meta.len() - 4;
        let words = |range: Range<usize>| -> Vec<u32> {
            meta[range].as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
        };
        let stated = words(end..end + 4)[0];
        ensure!(crc32fast::hash(&meta[..end]) == stated, "damaged: the checksum of header and ids is wrong");
        ensure!(owner == identity, "belongs to another index (other model, data or settings)");
        let ids_at = HEADER + 4 * (rows + 1);
        let offsets = words(HEADER..ids_at);
        let checksums = words(ids_at + id_bytes..end);
        let ids = std::str::from_utf8(&meta[ids_at..ids_at + id_bytes]).context("damaged: ids")?.to_owned();
        let fits = offsets.windows(2).all(|w| ids.get(w[0] as usize..w[1] as usize).is_some());
        ensure!(fits && offsets[rows] as usize == ids.len(), "damaged: offsets of the ids");
        let path = path.to_owned();
        Ok(Self { path, dtype, width, rows, first, offsets, ids, checksums, start, file })
    }

    /// The id of a row.
    #[must_use]
    pub fn id(&self, row: usize) -> &str {
        &self.ids[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }

    /// Bytes of one vector.
    #[must_use]
    pub const fn row_bytes(&self) -> usize {
        self.width * self.dtype.size()
    }

    /// Reads these rows, from the beginning of a block, into memory and checks them. Of the last block all is read.
    ///
    /// # Errors
    /// Names the file and the rows where a checksum is wrong, or the file cannot be mapped.
    pub fn window(&self, rows: Range<usize>) -> Result<Window> {
        let window = self.unchecked_window(rows)?;
        for (block, bytes) in window.bytes().chunks((BLOCK * self.row_bytes()).max(1)).enumerate() {
            let mut checksum = Checksum::new(self, window.rows.start + block * BLOCK);
            checksum.add(bytes);
            checksum.check()?;
        }
        Ok(window)
    }

    /// The same for whoever checks each block with [`Checksum`] while it is used.
    ///
    /// # Errors
    /// Where the file cannot be mapped.
    pub fn unchecked_window(&self, rows: Range<usize>) -> Result<Window> {
        debug_assert!(rows.start.is_multiple_of(BLOCK));
        let rows = rows.start..rows.end.next_multiple_of(BLOCK).min(self.rows);
        let each = self.row_bytes();
        let offset = self.start + (rows.start * each) as u64;
        let bytes = map(&self.file, offset, rows.len() * each, true)
            .with_context(|| format!("{}: cannot map into memory", self.path.display()))?;
        Ok(Window { rows, bytes })
    }

    /// Asks the system to begin reading these rows from the disk, and does not wait. A hint only: nothing fails.
    pub fn hint(&self, rows: Range<usize>) {
        let each = self.row_bytes();
        let length = rows.len().min(self.rows.saturating_sub(rows.start)) * each;
        let map = map(&self.file, self.start + (rows.start * each) as u64, length, false);
        #[cfg(unix)]
        let _ = map.map(|map| map.advise(memmap2::Advice::WillNeed));
        #[cfg(not(unix))]
        drop(map);
    }

    /// Reads every vector and checks it.
    ///
    /// # Errors
    /// As [`Shard::window`].
    pub fn verify(&self) -> Result<()> {
        (0..self.rows).step_by(BLOCK).try_for_each(|row| self.window(row..row + 1).map(|_| ()))
    }
}

/// The checksum of one block, while its bytes pass.
#[derive(Debug)]
pub struct Checksum<'a> {
    shard: &'a Shard,
    /// First row of the block.
    start: usize,
    hasher: crc32fast::Hasher,
}

impl<'a> Checksum<'a> {
    /// Of the block that begins with row `start` of the shard.
    #[must_use]
    pub fn new(shard: &'a Shard, start: usize) -> Self {
        Self { shard, start, hasher: crc32fast::Hasher::new() }
    }

    /// Takes the next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// After the last byte of the block.
    ///
    /// # Errors
    /// Names the file and the rows where the checksum is wrong.
    pub fn check(self) -> Result<()> {
        ensure!(
            self.hasher.finalize() == self.shard.checksums[self.start / BLOCK],
            "{}: damaged: the checksum of rows {} to {} is wrong; remove the file and run `polymix encode` again, which \
             writes the missing shard",
            self.shard.path.display(),
            self.start,
            (self.start + BLOCK).min(self.shard.rows)
        );
        Ok(())
    }
}

/// Maps a part of a file for reading; `now`: reads it at once.
// A map is as fast as memory where the file is in the page cache, and its pages can be taken away again.
#[allow(unsafe_code)]
fn map(file: &File, offset: u64, length: usize, now: bool) -> std::io::Result<Mmap> {
    let mut options = MmapOptions::new();
    options.offset(offset).len(length);
    if now {
        options.populate();
    }
    // SAFETY: a map is unsound where the file changes under it. Shards appear by rename, complete, and are replaced by
    // rename only, which leaves the mapped file as it was; the length was compared with the header when it was opened.
    // Whoever writes into a shard by other means breaks its checksum; there is no way to guard against that here.
    unsafe { options.map(file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(rows: usize) -> (Vec<String>, Embeddings) {
        let data = (0..rows * 3).map(|i| (i % 1000) as f32 / 512.0).collect();
        ((0..rows).map(|i| format!("é{i}")).collect(), Embeddings { width: 3, data })
    }

    fn written(dir: &Path, rows: usize, dtype: ShardDtype) -> PathBuf {
        let path = dir.join("a.shard");
        let (ids, vectors) = made(rows);
        write_shard(&path, [7; 16], 40, dtype, &ids, &vectors).unwrap();
        path
    }

    #[test]
    fn shards_come_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        for dtype in [ShardDtype::F16, ShardDtype::F32] {
            for rows in [0, 1, BLOCK, BLOCK + 1, 3 * BLOCK - 5] {
                let shard = Shard::open(&written(dir.path(), rows, dtype), [7; 16]).unwrap();
                assert_eq!((shard.rows, shard.first, shard.width, shard.dtype), (rows, 40, 3, dtype));
                shard.verify().unwrap();
                let (ids, vectors) = made(rows);
                let mut numbers = Vec::new();
                for start in (0..rows).step_by(2 * BLOCK) {
                    let window = shard.window(start..start + 2 * BLOCK).unwrap();
                    let at = numbers.len();
                    numbers.resize(at + window.rows.len() * 3, 0.0);
                    super::super::half::widen(dtype, window.bytes(), &mut numbers[at..]);
                }
                assert_eq!(numbers.len(), rows * 3);
                assert!(numbers.iter().zip(&vectors.data).all(|(a, b)| (a - b).abs() < 1e-3));
                assert!(ids.iter().enumerate().all(|(row, id)| shard.id(row) == id));
            }
        }
    }

    #[test]
    fn every_damage_is_found_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path(), BLOCK + 9, ShardDtype::F16);
        let whole = std::fs::read(&path).unwrap();
        let error = |bytes: &[u8], identity| {
            std::fs::write(&path, bytes).unwrap();
            let result = Shard::open(&path, identity).and_then(|shard| shard.verify());
            let text = format!("{:#}", result.expect_err("must fail"));
            assert!(text.contains("a.shard"), "{text}");
            text
        };
        assert!(error(&whole, [8; 16]).contains("another index"));
        assert!(error(&[], [7; 16]).contains("cut off"));
        for length in [10, 64, 5000, whole.len() - 1] {
            assert!(error(&whole[..length], [7; 16]).contains("cut off"), "{length}");
        }
        let longer = [whole.as_slice(), b"x"].concat();
        assert!(error(&longer, [7; 16]).contains("cut off or damaged"));
        // One flipped bit anywhere that counts, the header's sizes included.
        let padding = whole.len() - (BLOCK + 9) * 6;
        for at in (0..HEADER).chain((HEADER..whole.len()).step_by(997)) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            let meta_end =
                HEADER + 4 * (BLOCK + 10) + (0..BLOCK + 9).map(|i| format!("é{i}").len()).sum::<usize>() + 12;
            if !(meta_end..padding).contains(&at) {
                error(&bytes, [7; 16]);
            }
        }
        let mut bytes = whole.clone();
        let last = bytes.len() - 1;
        bytes[last] ^= 64;
        let text = error(&bytes, [7; 16]);
        assert!(text.contains("rows 4096 to 4105") && text.contains("polymix encode"), "{text}");
    }

    #[test]
    fn a_vector_that_does_not_fit_is_named_and_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let (ids, mut vectors) = made(4);
        vectors.data[3 * 2] = 1e6;
        let path = dir.path().join("a.shard");
        let error = write_shard(&path, [7; 16], 0, ShardDtype::F16, &ids, &vectors).unwrap_err();
        assert!(format!("{error:#}").contains("'é2'"), "{error:#}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
