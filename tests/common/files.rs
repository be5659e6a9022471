//! Made data files, loaded.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;

use polymix::corpus::{Dataset, may_read, open};
use polymix::spec::{Candidate, DatasetRef};

/// A directory with these files; names that end in `.gz` or `.zst` are compressed.
pub fn made(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes = match path.extension().and_then(|e| e.to_str()) {
            Some("gz") => {
                let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gz.write_all(text.as_bytes()).unwrap();
                gz.finish().unwrap()
            }
            Some("zst") => zstd::encode_all(text.as_bytes(), 1).unwrap(),
            _ => text.as_bytes().to_vec(),
        };
        std::fs::write(path, bytes).unwrap();
    }
    dir
}

pub fn load(name: &str, path: &Path) -> anyhow::Result<Dataset> {
    let mut dataset: DatasetRef = name.parse().unwrap();
    dataset.path = Some(path.to_owned());
    let data = open(&dataset, Candidate::Sentence)?;
    // A token cache is found by the files that a loader may read: what it reads must be among them.
    let found = polymix::corpus::read::find(path)?;
    for input in data.inputs.iter().filter(|_| path.is_dir()) {
        let is_known = found.iter().any(|f| f.path == Path::new(&input.path) && may_read(&dataset.name, f));
        assert!(is_known, "{name}: {} is no file that its loader may read", input.path);
    }
    Ok(data)
}

pub fn read(name: &str, files: &[(&str, &str)]) -> Dataset {
    let dir = made(files);
    load(name, dir.path()).unwrap_or_else(|e| panic!("{e:#}"))
}

pub fn error(name: &str, files: &[(&str, &str)]) -> String {
    let dir = made(files);
    format!("{:#}", load(name, dir.path()).map(|d| format!("{d:?}")).expect_err("must be refused"))
}

/// Asserts that a message says all of this.
pub fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "'{part}' is not in: {message}");
    }
}
