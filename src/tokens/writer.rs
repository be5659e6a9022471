//! Writing number files, and the thread that tokenises while the next texts are read.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::corpus::read::hex;
use crate::encoder::TextTokenizer;

/// A file of little-endian numbers that grows.
pub struct Growing {
    file: BufWriter<File>,
    path: PathBuf,
    hash: Sha256,
    pub count: u64,
}

/// A file that was written: its name, and the SHA-256 of its bytes in hexadecimal.
pub type Sum = (String, String);

impl Growing {
    /// Creates the file.
    pub fn create(path: PathBuf) -> Result<Self> {
        let file = File::create(&path).with_context(|| format!("{}: cannot create", path.display()))?;
        Ok(Self { file: BufWriter::with_capacity(1 << 20, file), path, hash: Sha256::new(), count: 0 })
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.file.write_all(bytes).with_context(|| full(&self.path))
    }

    /// Appends 32-bit numbers.
    pub fn numbers(&mut self, numbers: &[u32]) -> Result<()> {
        self.count += numbers.len() as u64;
        self.bytes(bytemuck::cast_slice(numbers))
    }

    /// Appends a 64-bit number.
    pub fn number(&mut self, number: u64) -> Result<()> {
        self.count += 1;
        self.bytes(&number.to_le_bytes())
    }

    /// Everything reaches the disk.
    pub fn finish(self) -> Result<Sum> {
        let path = self.path;
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error);
        file.and_then(|f| f.sync_all()).with_context(|| full(&path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, hex(&self.hash.finalize())))
    }
}

fn full(path: &Path) -> String {
    format!(
        "{}: cannot write; is the disk full? Free some space, or set POLYMIX_CACHE to a directory with more",
        path.display()
    )
}

/// Writes a file of 32-bit numbers at once.
pub fn write_numbers(path: PathBuf, numbers: &[u32]) -> Result<Sum> {
    let mut file = Growing::create(path)?;
    file.numbers(numbers)?;
    file.finish()
}

/// Texts of one side, to be tokenised.
pub struct Slice {
    /// True for questions.
    pub questions: bool,
    pub texts: Vec<String>,
}

/// What tokenising needs to know of a side.
#[derive(Clone, Debug)]
pub struct Limit {
    pub prefix: String,
    pub longest: usize,
}

/// What became of a side.
#[derive(Debug, Default)]
pub struct Written {
    pub texts: u64,
    pub tokens: u64,
    pub truncated: u64,
    /// Of the texts that were cut: where the kept part ends, in bytes.
    pub kept: HashMap<u32, u32>,
    /// Its files.
    pub files: Vec<Sum>,
}

struct Side {
    limit: Limit,
    offsets: Growing,
    ids: Growing,
    written: Written,
}

impl Side {
    fn create(dir: &Path, name: &str, limit: &Limit) -> Result<Self> {
        let mut offsets = Growing::create(dir.join(format!("{name}.offsets")))?;
        offsets.number(0)?;
        let ids = Growing::create(dir.join(format!("{name}.ids")))?;
        Ok(Self { limit: limit.clone(), offsets, ids, written: Written::default() })
    }

    fn write(&mut self, tokenizer: &TextTokenizer, texts: &[String]) -> Result<()> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let Limit { prefix, longest } = &self.limit;
        let tokenised = tokenizer.encode(prefix, &texts, *longest)?;
        for ids in &tokenised.ids {
            self.ids.numbers(ids)?;
            self.offsets.number(self.ids.count)?;
        }
        if !tokenised.cut.is_empty() {
            let cut: Vec<&str> = tokenised.cut.iter().map(|at| texts[*at]).collect();
            for (at, end) in tokenised.cut.iter().zip(tokenizer.kept(prefix, &cut, *longest)?) {
                let index = u32::try_from(self.written.texts as usize + at)?;
                self.written.kept.insert(index, u32::try_from(end).unwrap_or(u32::MAX));
            }
        }
        self.written.texts += texts.len() as u64;
        self.written.truncated += tokenised.truncated as u64;
        Ok(())
    }

    fn finish(mut self) -> Result<Written> {
        self.written.tokens = self.ids.count;
        self.written.files = vec![self.ids.finish()?, self.offsets.finish()?];
        Ok(self.written)
    }
}

/// Tokenises and writes what comes, until nothing more does: (questions, passages).
pub fn tokenise(
    dir: &Path,
    tokenizer: &TextTokenizer,
    limits: &[Limit; 2],
    slices: &Receiver<Slice>,
) -> Result<(Written, Written)> {
    let mut questions = Side::create(dir, "questions", &limits[0])?;
    let mut passages = Side::create(dir, "passages", &limits[1])?;
    for Slice { questions: is_question, texts } in slices {
        let side = if is_question { &mut questions } else { &mut passages };
        side.write(tokenizer, &texts)?;
    }
    Ok((questions.finish()?, passages.finish()?))
}
