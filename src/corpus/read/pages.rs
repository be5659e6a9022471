//! The page headers of a Parquet file, looked at before polars reads the pages: it takes the number of values that a header
//! states for granted, and one below 0 asks for more memory than there can be, which ends the process.
//!
//! Headers are structs in Thrift's compact protocol, <https://github.com/apache/parquet-format>; of each only the sizes and
//! counts are kept.

use std::io::{Read, Seek, SeekFrom};

use anyhow::{Context, Result, bail, ensure};

/// The longest header that is read: statistics hold two values, which may be long texts.
const LONGEST: u64 = 1 << 20;
/// Structs within structs; real headers have three.
const DEEPEST: usize = 8;

/// Checks the headers of the pages between two places of a file: sizes within the file, counts at most `most`.
///
/// # Errors
/// Where one is damaged, and where the file cannot be read.
pub fn check(file: &mut (impl Read + Seek), (start, end): (u64, u64), most: u64) -> Result<()> {
    let mut at = start;
    let mut bytes = Vec::new();
    while at < end {
        // Most headers are short; a longer one is read whole in a second go.
        let mut taken = 512.min(end - at);
        let (header, length) = loop {
            file.seek(SeekFrom::Start(at))?;
            bytes.resize(taken as usize, 0);
            file.read_exact(&mut bytes)?;
            let mut cursor = Cursor { bytes: &bytes, at: 0 };
            match Header::read(&mut cursor) {
                Ok(header) => break (header, cursor.at as u64),
                Err(error) if taken == LONGEST.min(end - at) => return Err(error),
                Err(_) => taken = LONGEST.min(end - at),
            }
        };
        let fits = |n: i64| u64::try_from(n).is_ok_and(|n| n <= most);
        ensure!(header.counts.iter().all(|n| fits(*n)), "a page states {:?} values", header.counts);
        let size = u64::try_from(header.size).ok().context("a page's size is below 0")?;
        at = at
            .checked_add(length + size)
            .filter(|next| *next <= end)
            .context("a page ends behind its column")?;
    }
    Ok(())
}

/// What a page header says.
#[derive(Debug, Default)]
struct Header {
    /// Bytes behind the header.
    size: i64,
    /// Uncompressed size and every count.
    counts: Vec<i64>,
}

impl Header {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self> {
        let mut found = Self::default();
        cursor.fields(0, &mut |path, value| match path {
            [3] => found.size = value,
            // Uncompressed size; values of a page or a dictionary; values, nulls, rows and lengths of a page of version 2.
            [2] | [5 | 7, 1] | [8, 1 | 2 | 3 | 5 | 6] => found.counts.push(value),
            _ => {}
        })?;
        Ok(found)
    }
}

/// Thrift's compact protocol, read for its whole numbers.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn byte(&mut self) -> Result<u8> {
        let byte = *self.bytes.get(self.at).context("a page header breaks off")?;
        self.at += 1;
        Ok(byte)
    }

    fn skip(&mut self, count: u64) -> Result<()> {
        let at = usize::try_from(count).ok().and_then(|n| self.at.checked_add(n));
        self.at = at.filter(|at| *at <= self.bytes.len()).context("a page header breaks off")?;
        Ok(())
    }

    fn unsigned(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        bail!("a number in a page header has no end")
    }

    fn signed(&mut self) -> Result<i64> {
        let value = self.unsigned()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// The fields of a struct, told with the path of their numbers.
    fn fields(&mut self, depth: usize, tell: &mut dyn FnMut(&[i64], i64)) -> Result<()> {
        ensure!(depth < DEEPEST, "a page header has structs without end");
        let mut last = 0_i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            let step = i64::from(head >> 4);
            let number = if step == 0 { self.signed()? } else { last + step };
            last = number;
            self.value(head & 15, depth, &mut |path, value| {
                let mut whole = vec![number];
                whole.extend(path);
                tell(&whole, value);
            })?;
        }
    }

    fn value(&mut self, kind: u8, depth: usize, tell: &mut dyn FnMut(&[i64], i64)) -> Result<()> {
        match kind {
            1 | 2 => {}
            3 => self.skip(1)?,
            4..=6 => tell(&[], self.signed()?),
            7 => self.skip(8)?,
            8 => {
                let length = self.unsigned()?;
                self.skip(length)?;
            }
            12 => self.fields(depth + 1, tell)?,
            // Page headers have neither lists nor maps.
            _ => bail!("a page header holds what none can hold"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with these numbers: type 0, sizes, and a page of so many values in plain encodings.
    fn header(uncompressed: i32, compressed: i32, values: i32) -> Vec<u8> {
        let number = |n: i32| {
            let mut left = ((n << 1) ^ (n >> 31)) as u32;
            let mut bytes = Vec::new();
            while left >= 0x80 {
                bytes.push((left as u8 & 0x7f) | 0x80);
                left >>= 7;
            }
            bytes.push(left as u8);
            bytes
        };
        let mut bytes = vec![0x15, 0];
        for size in [uncompressed, compressed] {
            bytes.push(0x15);
            bytes.extend(number(size));
        }
        // Field 5, a struct: number of values, three encodings, the statistics with a text.
        bytes.extend([0x2c, 0x15]);
        bytes.extend(number(values));
        bytes.extend([0x15, 0, 0x15, 6, 0x15, 6, 0x1c, 0x18, 2, b'a', b'b', 0, 0, 0]);
        bytes
    }

    fn checked(bytes: &[u8], most: u64) -> Result<()> {
        check(&mut std::io::Cursor::new(bytes), (0, bytes.len() as u64), most)
    }

    #[test]
    fn whole_pages_pass_and_damaged_headers_do_not() {
        let page = |uncompressed, values| [header(uncompressed, 3, values), vec![7; 3]].concat();
        let two = [page(3, 5), page(600, 6)].concat();
        checked(&two, 1000).unwrap();
        let error = |bytes: &[u8]| format!("{:#}", checked(bytes, 1000).expect_err("refused"));
        assert!(error(&page(3, -5)).contains("[3, -5] values"));
        assert!(error(&page(3, 1001)).contains("1001"));
        assert!(error(&page(2_000_000, 5)).contains("2000000"));
        assert!(error(&[header(3, -1, 5), vec![7; 3]].concat()).contains("below 0"));
        assert!(error(&two[..two.len() - 1]).contains("ends behind"));
        assert!(error(&two[..9]).contains("breaks off"));
        // A list, structs without end, a number without end.
        assert!(error(&[0x19, 0x15]).contains("none can hold"));
        assert!(error(&[0x1c; 100]).contains("without end"));
        assert!(error(&[&[0x15][..], &[0xff; 20]].concat()).contains("has no end"));
    }
}
