//! Archives: nothing may be written outside the folder, and nothing may be left of what was refused.

use std::io::Write;
use std::path::{Path, PathBuf};

use polymix_fuzz::hub::archive::{Packing, settle, unpack};

use super::{form, put, told};

/// An archive behind a byte: `z` a zip, `t` a tar that is packed here first, else a tar.gz; in capitals only some of its
/// files are wanted.
pub fn archive(data: &[u8], dir: &Path) {
    let (kind, rest) = form(data);
    // Below some folders, so that a few `..` are seen too.
    let inner = dir.join("a/b/inner");
    let (file, out, settled) = (inner.join("archive"), inner.join("out"), inner.join("settled"));
    std::fs::create_dir_all(&inner).expect("/dev/shm");
    let packing = match kind.to_ascii_lowercase() {
        b'z' => {
            put(&file, rest);
            Packing::Zip
        }
        b't' => {
            put(&file, &packed(rest));
            Packing::TarGz
        }
        _ => {
            put(&file, rest);
            Packing::TarGz
        }
    };
    let wanted = |name: &str| {
        let is_wanted = kind.is_ascii_lowercase() || name.len().is_multiple_of(2);
        is_wanted.then(|| name.strip_prefix("d/").unwrap_or(name).to_owned())
    };
    let below = |folder: &str, names: &[String]| -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = names.iter().map(|n| inner.join(folder).join(n)).collect();
        all.push(file.clone());
        all.sort();
        all
    };
    let Some(names) = told(unpack(&file, packing, &out, &wanted)) else {
        assert_eq!(tree(dir), below("out", &[]), "something is left");
        assert!(!out.exists());
        return;
    };
    assert_eq!(tree(dir), below("out", &names));
    settle(&out, &settled, &names).expect("settled in an empty folder");
    assert_eq!(tree(dir), below("settled", &names));
    std::fs::remove_dir_all(&settled)
        .or_else(|e| if names.is_empty() { Ok(()) } else { Err(e) })
        .expect("removed");
}

fn packed(tar: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    out.write_all(tar).and_then(|()| out.finish()).expect("in memory")
}

/// Everything that is no folder, in order; links are told from files.
fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder").flatten() {
        let kind = entry.file_type().expect("a type");
        assert!(kind.is_dir() || kind.is_file(), "{}: neither file nor folder", entry.path().display());
        if kind.is_dir() {
            found.extend(tree(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}
