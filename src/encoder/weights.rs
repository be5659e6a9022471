//! The numbers in the weight files of a model directory.
//!
//! Opening reads the descriptions only; a tensor's numbers are read when it is asked for, so that no more than the
//! model itself is ever in memory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};

use super::entry::Entry;
use super::weight_files::Weights;

impl Weights {
    /// Reads a tensor as f32 into main memory.
    ///
    /// # Errors
    /// As [`Weights::check`], and where the file cannot be read or holds a value that is not finite.
    pub fn read(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let (path, entry, kind) = self.place(name, shape)?;
        let shown = || format!("{}: tensor '{name}'", path.display());
        let tensor = entry.read(path, kind).with_context(shown)?.to_dtype(DType::F32)?;
        super::checkpoint::check_finite(&tensor, name).with_context(|| path.display().to_string())?;
        Ok(tensor)
    }

    /// Hands out a tensor's numbers in order as f32, some megabytes at a time; one that lies transposed in its file as a
    /// whole.
    ///
    /// # Errors
    /// As [`Weights::read`], and what `each` returns.
    pub fn blocks(
        &self,
        name: &str,
        shape: &[usize],
        each: &mut dyn FnMut(Tensor) -> Result<()>,
    ) -> Result<()> {
        let (path, entry, kind) = self.place(name, shape)?;
        let shown = || format!("{}: tensor '{name}'", path.display());
        if !entry.is_plain() {
            return each(self.read(name, shape)?.flatten_all()?);
        }
        let mut file = File::open(path).with_context(shown)?;
        file.seek(SeekFrom::Start(entry.start)).with_context(shown)?;
        let mut left: usize = shape.iter().product();
        let mut bytes = Vec::new();
        while left > 0 {
            let count = left.min(BLOCK);
            bytes.resize(count * kind.size_in_bytes(), 0);
            file.read_exact(&mut bytes).context("the file is cut off").with_context(shown)?;
            let block =
                Tensor::from_raw_buffer(&bytes, kind, &[count], &Device::Cpu)?.to_dtype(DType::F32)?;
            super::checkpoint::check_finite(&block, name).with_context(|| path.display().to_string())?;
            each(block)?;
            left -= count;
        }
        Ok(())
    }
}

/// Numbers of a block.
const BLOCK: usize = 1 << 20;

impl Entry {
    fn read(&self, path: &Path, kind: DType) -> Result<Tensor> {
        let size = kind.size_in_bytes();
        let count: usize = self.shape.iter().product();
        let contiguous: Vec<usize> =
            (0..self.shape.len()).map(|d| self.shape[d + 1..].iter().product()).collect();
        let strides = self.strides.as_ref().unwrap_or(&contiguous);
        let span: usize = if count == 0 {
            0
        } else {
            1 + self.shape.iter().zip(strides).map(|(d, s)| (d - 1) * s).sum::<usize>()
        };
        let mut bytes = vec![0u8; span * size];
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.start))?;
        file.read_exact(&mut bytes).context("the file is cut off")?;
        if !self.is_plain() {
            // Transposed, as weights that came from TensorFlow often are.
            bytes = (0..count)
                .flat_map(|number| {
                    let at: usize = (0..self.shape.len())
                        .map(|d| number / contiguous[d] % self.shape[d] * strides[d])
                        .sum();
                    bytes[at * size..(at + 1) * size].iter().copied()
                })
                .collect();
        }
        Ok(Tensor::from_raw_buffer(&bytes, kind, &self.shape, &Device::Cpu)?)
    }
}
