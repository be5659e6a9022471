//! The header of a safetensors file: which tensors it holds, and where.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::DType;
use safetensors::tensor::Metadata;

use super::entry::Entry;
use crate::corpus::read::check_file;

/// Longest header of a safetensors file, as its own reader has it.
const LONGEST_HEADER: u64 = 100_000_000;

/// Every tensor of a safetensors file: its type, shape, and where its numbers lie in the file.
///
/// # Errors
/// Where the file is none, is cut off, or has more or fewer numbers than its header says.
pub fn entries(path: &Path) -> Result<BTreeMap<String, Entry>> {
    let shown = path.display();
    let unreadable = || format!("{shown}: not a readable safetensors file (is the download complete?)");
    check_file(path)?;
    let mut file = File::open(path).with_context(|| format!("{shown}: cannot open"))?;
    let length = file.metadata().with_context(|| format!("{shown}: cannot read"))?.len();
    let mut number = [0u8; 8];
    file.read_exact(&mut number).with_context(unreadable)?;
    let header = u64::from_le_bytes(number);
    ensure!(header <= LONGEST_HEADER && header + 8 <= length, "{}", unreadable());
    let mut text = vec![0u8; header as usize];
    file.read_exact(&mut text).with_context(unreadable)?;
    let metadata: Metadata = serde_json::from_slice(&text).with_context(unreadable)?;
    let expected = metadata.data_len() as u64;
    ensure!(
        length - 8 - header == expected,
        "{}: {} bytes of numbers instead of {expected}",
        unreadable(),
        length - 8 - header
    );
    let entries = metadata.tensors().into_iter().map(|(name, info)| {
        let kind = match info.dtype {
            safetensors::Dtype::F32 => Ok(DType::F32),
            safetensors::Dtype::F16 => Ok(DType::F16),
            safetensors::Dtype::BF16 => Ok(DType::BF16),
            safetensors::Dtype::F64 => Ok(DType::F64),
            other => Err(format!("{other:?}")),
        };
        let start = 8 + header + info.data_offsets.0 as u64;
        (name, Entry { kind, shape: info.shape.clone(), strides: None, start })
    });
    Ok(entries.collect())
}
