//! Passages and questions that are not a dataset: one a line, tab-separated or JSON, read as a stream.
//!
//! - `id<TAB>text`: a text may hold further tabs.
//! - A JSON object: the id under `_id`, `id`, `docid` or `query_id` (text or whole number), the text under `text`,
//!   `contents` or `query`; a `title` is put before it. A line that begins with `{` is taken for one.
//!
//! A name that ends in `.gz` is unpacked.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The lines of a file as (id, text); empty lines are skipped.
pub struct Texts {
    path: PathBuf,
    line: usize,
    input: Box<dyn BufRead>,
}

/// What a whole file comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextsSummary {
    /// Texts.
    pub rows: u64,
    /// SHA-256 over ids and texts, in hexadecimal.
    pub hash: String,
}

impl Texts {
    /// Opens a file.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("{shown}: cannot open"))?;
        ensure!(!path.is_dir(), "{shown}: is a directory; give a file with one text a line");
        let file: Box<dyn Read> = if path.extension().is_some_and(|e| e == "gz") {
            Box::new(MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        };
        Ok(Self { path: path.to_owned(), line: 0, input: Box::new(BufReader::with_capacity(1 << 20, file)) })
    }

    /// Reads a file to its end: how many texts, and what they are. Takes 16 bytes of memory a text, or some more.
    ///
    /// # Errors
    /// Names file and line of the first text that is not right, or whose id stood before.
    pub fn summarise(path: &Path) -> Result<TextsSummary> {
        let (mut hash, mut seen, mut rows) = (Sha256::new(), HashSet::new(), 0);
        let mut texts = Self::open(path)?;
        while let Some(next) = texts.next() {
            let (id, text) = next?;
            for part in [&id, &text] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part.as_bytes());
            }
            let mut mark = [0u8; 16];
            mark.copy_from_slice(&Sha256::digest(id.as_bytes())[..16]);
            ensure!(
                seen.insert(u128::from_le_bytes(mark)),
                "{}:{}: id '{id}' stands in the file twice; ids must be unique",
                path.display(),
                texts.line
            );
            rows += 1;
        }
        let hash = hash.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        Ok(TextsSummary { rows, hash })
    }

    fn read(&mut self) -> Result<Option<(String, String)>> {
        let mut line = String::new();
        loop {
            line.clear();
            self.line += 1;
            if self.input.read_line(&mut line).context("cannot read (is it UTF-8 text?)")? == 0 {
                return Ok(None);
            }
            let text = line.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']);
            if !text.trim().is_empty() {
                return parse(text).map(Some);
            }
        }
    }
}

fn parse(line: &str) -> Result<(String, String)> {
    let (id, text) = if line.starts_with('{') {
        let json: Value = serde_json::from_str(line).context("not a JSON object")?;
        let id = ["_id", "id", "docid", "query_id"].iter().find_map(|key| json.get(key));
        let id = match id.context("no field '_id', 'id', 'docid' or 'query_id'")? {
            Value::String(id) => id.clone(),
            Value::Number(id) if !id.is_f64() => id.to_string(),
            other => bail!("the id is {other}, but must be a text or a whole number"),
        };
        let text = ["text", "contents", "query"].iter().find_map(|key| json.get(key));
        let text = text.and_then(Value::as_str).context("no text under 'text', 'contents' or 'query'")?;
        let title = json.get("title").and_then(Value::as_str).unwrap_or_default();
        (id, [title, text].join(" ").trim().to_owned())
    } else {
        let (id, text) = line.split_once('\t').context("no tab: must be ID<TAB>TEXT or a JSON object")?;
        (id.to_owned(), text.to_owned())
    };
    ensure!(!id.is_empty(), "the id is empty");
    // A run file separates its columns by spaces.
    ensure!(!id.contains(char::is_whitespace), "the id '{id}' contains a space");
    Ok((id, text))
}

impl Iterator for Texts {
    type Item = Result<(String, String)>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.read().transpose();
        next.map(|text| text.with_context(|| format!("{}:{}", self.path.display(), self.line)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(name: &str, bytes: &[u8]) -> Result<Vec<(String, String)>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join(name);
        std::fs::write(&path, bytes)?;
        let summary = Texts::summarise(&path);
        let texts = Texts::open(&path)?.collect::<Result<Vec<_>>>()?;
        assert_eq!(summary?.rows, texts.len() as u64);
        Ok(texts)
    }

    #[test]
    fn both_forms_are_read_packed_or_not() {
        let plain =
            "\u{feff}a\tone\ttwo\r\n\n{\"_id\": 7, \"title\": \"T\", \"text\": \"x\\ny\"}\nb\t\n".as_bytes();
        let expected = [("a", "one\ttwo"), ("7", "T x\ny"), ("b", "")];
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(plain).unwrap();
        for found in [read("a.tsv", plain), read("a.tsv.gz", &packed.finish().unwrap())] {
            let found = found.unwrap();
            assert_eq!(found, expected.map(|(id, text)| (id.to_owned(), text.to_owned())));
        }
        assert_eq!(read("empty", b"\n").unwrap(), []);
    }

    #[test]
    fn errors_name_file_line_and_field() {
        for (bytes, parts) in [
            (b"a\tx\nb x\n".as_slice(), ["t:2", "no tab"]),
            (b"{\"text\": \"x\"}", ["t:1", "'_id'"]),
            (b"{\"id\": \"a\"}", ["t:1", "'contents'"]),
            (b"{\"id\": 1.5, \"text\": \"\"}", ["t:1", "1.5"]),
            (b"{\"id\": ", ["t:1", "JSON"]),
            (b"a b\tx", ["t:1", "contains a space"]),
            (b"\tx", ["t:1", "the id is empty"]),
            (b"a\tx\n\xff\tx", ["t:2", "UTF-8"]),
        ] {
            let error = format!("{:#}", read("t", bytes).unwrap_err());
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        std::fs::write(&path, "a\tx\nb\tx\na\ty\n").unwrap();
        let error = Texts::summarise(&path).unwrap_err().to_string();
        assert!(error.contains("t:3") && error.contains("twice"), "{error}");
    }
}
