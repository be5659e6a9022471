//! `PyTorch`'s `.bin` files: a zip archive with a pickled description and one file of raw numbers a storage.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::DType;
use zip::{CompressionMethod, ZipArchive};

use super::entry::Entry;
use super::pickle::{self, Stored};
use crate::corpus::read::check_file;

/// Longest description that is read; that of a 24-layer model has about 60 thousand bytes.
const LONGEST: u64 = 4 << 20;

/// Every tensor of a `.bin` file: its type, shape, and where its numbers lie in the file itself.
///
/// # Errors
/// Where the file is no archive of `torch.save`, is cut off, holds more than tensors, or points outside itself.
pub fn entries(path: &Path) -> Result<BTreeMap<String, Entry>> {
    let shown = path.display();
    check_file(path)?;
    let mut file = File::open(path).with_context(|| format!("{shown}: cannot open"))?;
    let mut start = [0u8; 4];
    let is_old = file.read_exact(&mut start).is_ok() && start[0] == 0x80;
    ensure!(
        !is_old,
        "{shown}: written by PyTorch before version 1.6 (no zip archive), which polymix does not read. Write it anew: \
         python -c \"import torch; f = '{shown}'; torch.save(torch.load(f, weights_only=True), f)\""
    );
    let length = file.metadata().with_context(|| format!("{shown}: cannot read"))?.len();
    let mut archive = ZipArchive::new(BufReader::new(file))
        .with_context(|| format!("{shown}: not a readable PyTorch file (is the download complete?)"))?;
    read(&mut archive, length).with_context(|| shown.to_string())
}

type Archive = ZipArchive<BufReader<File>>;

fn read(archive: &mut Archive, length: u64) -> Result<BTreeMap<String, Entry>> {
    let names: Vec<String> =
        archive.file_names_raw().map(|n| String::from_utf8_lossy(n).into_owned()).collect();
    if names.iter().any(|n| n.ends_with("/constants.pkl") || n.contains("/code/")) {
        bail!("a TorchScript program, not a state dict; save the model with save_pretrained instead");
    }
    let mut descriptions = names.iter().filter(|n| n.ends_with("/data.pkl"));
    let (Some(description), None) = (descriptions.next(), descriptions.next()) else {
        bail!("not written by torch.save: no single data.pkl in the archive");
    };
    let root = description.trim_end_matches("data.pkl").to_owned();
    if names.contains(&format!("{root}byteorder")) {
        let order = contents(archive, &format!("{root}byteorder"), length, 16)?;
        ensure!(
            order == b"little",
            "written on a machine with another byte order; save it anew as safetensors"
        );
    }
    let description = contents(archive, description, length, LONGEST)?;
    let tensors = pickle::state_dict(&description).context("the description of the tensors (data.pkl)")?;
    let mut places = BTreeMap::new();
    let mut found = BTreeMap::new();
    for (name, stored) in tensors {
        let place = if let Some(place) = places.get(&stored.storage) {
            *place
        } else {
            let place = place(archive, &format!("{root}data/{}", stored.storage), length)
                .with_context(|| format!("tensor '{name}'"))?;
            places.insert(stored.storage.clone(), place);
            place
        };
        let entry = entry(&stored, place).with_context(|| format!("tensor '{name}'"))?;
        found.insert(name, entry);
    }
    Ok(found)
}

/// First byte and number of bytes of a file that is stored as it is.
fn place(archive: &mut Archive, name: &str, length: u64) -> Result<(u64, u64)> {
    let index = archive.index_for_name(name).with_context(|| format!("'{name}' is not in the archive"))?;
    let file =
        archive.by_index_raw(index).with_context(|| format!("'{name}' cannot be found in the archive"))?;
    ensure!(
        file.compression() == CompressionMethod::Stored && file.size() == file.compressed_size(),
        "'{name}' is compressed, which torch.save never does; save the model anew"
    );
    let start = file.data_start().with_context(|| format!("'{name}' cannot be found in the archive"))?;
    ensure!(
        start.checked_add(file.size()).is_some_and(|end| end <= length),
        "'{name}' ends after the file's end: the file is cut off"
    );
    Ok((start, file.size()))
}

/// A small file of the archive.
fn contents(archive: &mut Archive, name: &str, length: u64, most: u64) -> Result<Vec<u8>> {
    let (_, size) = place(archive, name, length)?;
    ensure!(size <= most, "'{name}' has {size} bytes; a state dict's has fewer than {most}");
    let mut bytes = Vec::with_capacity(size as usize);
    let mut file = archive.by_name(name).with_context(|| format!("'{name}' cannot be read"))?;
    file.read_to_end(&mut bytes).with_context(|| format!("'{name}' is damaged"))?;
    Ok(bytes)
}

/// Checks that a tensor lies within its storage.
fn entry(stored: &Stored, (start, bytes): (u64, u64)) -> Result<Entry> {
    let (kind, size) = match stored.class.as_str() {
        "FloatStorage" => (Ok(DType::F32), 4),
        "DoubleStorage" => (Ok(DType::F64), 8),
        "HalfStorage" => (Ok(DType::F16), 2),
        "BFloat16Storage" => (Ok(DType::BF16), 2),
        // Position ids and the like: listed, never read.
        other => (Err(other.trim_end_matches("Storage").to_owned()), 1),
    };
    let damaged = "damaged: the tensor reaches beyond its storage";
    ensure!(stored.length.checked_mul(size).is_some_and(|b| b <= bytes), "{damaged}");
    let count = stored.shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d)).context(damaged)?;
    // A stride of zero would make a large tensor of a small file.
    ensure!(count <= stored.length, "{damaged}");
    let last = stored
        .shape
        .iter()
        .zip(&stored.strides)
        .try_fold(stored.offset, |at, (&d, &s)| at.checked_add(d.saturating_sub(1).checked_mul(s)?));
    ensure!(count == 0 || last.is_some_and(|last| last < stored.length), "{damaged}");
    let whole = |sizes: &[u64]| sizes.iter().map(|&s| s as usize).collect::<Vec<_>>();
    let (shape, strides) = (whole(&stored.shape), whole(&stored.strides));
    Ok(Entry { kind, start: start + stored.offset * size, shape, strides: Some(strides) })
}
