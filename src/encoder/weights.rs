//! The weight files of a model directory: safetensors or `PyTorch`, one file or several.
//!
//! Opening reads the descriptions only; a tensor's numbers are read when it is asked for, so that no more than the
//! model itself is ever in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use super::entry::Entry;
use super::{safetensors_file, torch_file};

/// The tensors of a directory, not yet read.
#[derive(Clone, Debug)]
pub struct Weights {
    /// What messages name: the one file, or the index of several.
    pub shown: PathBuf,
    /// The weight files.
    pub files: Vec<PathBuf>,
    /// By name: the file's place in `files`, and where in it.
    entries: BTreeMap<String, (usize, Entry)>,
}

/// Names that are looked for, best first; an index lists the files that hold the tensors.
const NAMES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Files that are no weights of a text encoder: beginning or end of the name, what it is, and the remedy.
const FOREIGN: [(&str, &str, &str); 6] = [
    ("tf_model", "TensorFlow weights", "fetch the model's model.safetensors or pytorch_model.bin"),
    ("flax_model", "Flax weights", "fetch the model's model.safetensors or pytorch_model.bin"),
    (".onnx", "an ONNX program, which cannot be trained", "fetch the model's model.safetensors"),
    (".gguf", "quantised weights, which cannot be trained", "fetch the model's model.safetensors"),
    (".pt", "not in Hugging Face layout", "save the model with save_pretrained"),
    (
        "adapter_model",
        "an adapter, not a whole model",
        "merge it into its base model first (peft: merge_and_unload, then save_pretrained)",
    ),
];

impl Weights {
    /// Finds and opens the weights of a directory.
    ///
    /// # Errors
    /// Names the file that is missing, cut off, damaged, or holds more than tensors, and the remedy.
    pub fn open(dir: &Path) -> Result<Self> {
        let Some(shown) = NAMES.iter().map(|n| dir.join(n)).find(|p| p.is_file()) else {
            bail!(none(dir));
        };
        if shown.extension().is_some_and(|e| e == "json") {
            return Self::sharded(shown, dir);
        }
        let entries = open_file(&shown)?.into_iter().map(|(name, entry)| (name, (0, entry))).collect();
        Ok(Self { files: vec![shown.clone()], shown, entries })
    }

    fn sharded(shown: PathBuf, dir: &Path) -> Result<Self> {
        let index = super::sentence::read_json(&shown)?;
        let map = index
            .get("weight_map")
            .and_then(Value::as_object)
            .with_context(|| format!("{}: key 'weight_map' is missing or no table", shown.display()))?;
        let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (tensor, file) in map {
            let file = file.as_str().unwrap_or_default();
            ensure!(
                !file.is_empty() && !file.contains(['/', '\\']) && file != "..",
                "{}: tensor '{tensor}' is said to lie in '{file}', which is no file of this directory",
                shown.display()
            );
            files.entry(file).or_default().push(tensor);
        }
        let mut weights = Self { shown, files: Vec::new(), entries: BTreeMap::new() };
        for (number, (file, tensors)) in files.into_iter().enumerate() {
            let path = dir.join(file);
            ensure!(
                path.is_file(),
                "{}: missing, although {} names it; is the download complete?",
                path.display(),
                weights.shown.display()
            );
            let mut held = open_file(&path)?;
            for tensor in tensors {
                let tensor = current_name(tensor);
                let entry = held.remove(&tensor).with_context(|| {
                    format!(
                        "{}: tensor '{tensor}' is missing, although {} says that it lies there; the files are of \
                         different models",
                        path.display(),
                        weights.shown.display()
                    )
                })?;
                weights.entries.insert(tensor, (number, entry));
            }
            weights.files.push(path);
        }
        Ok(weights)
    }

    /// Names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Shape and type of a tensor.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name).map(|(_, entry)| entry)
    }

    /// A tensor's place, if it is there with that shape and a type that weights have.
    ///
    /// # Errors
    /// Names the file, the tensor, and both shapes.
    pub fn check(&self, name: &str, shape: &[usize]) -> Result<()> {
        self.place(name, shape).map(|_| ())
    }

    fn place(&self, name: &str, shape: &[usize]) -> Result<(&Path, &Entry, DType)> {
        let (file, entry) = self
            .entries
            .get(name)
            .with_context(|| format!("{}: tensor '{name}' is missing", self.shown.display()))?;
        let path = self.files[*file].as_path();
        ensure!(entry.shape == shape, "{}: {}", path.display(), other_shape(name, &entry.shape, shape));
        let kind = entry.kind.clone().map_err(|kind| {
            anyhow::anyhow!(
                "{}: tensor '{name}' is stored as {kind}; polymix reads f32, f16, bf16 and f64 (quantised models cannot \
                 be trained: take the original)",
                path.display()
            )
        })?;
        Ok((path, entry, kind))
    }

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

/// What both readers say of a shape that does not fit.
pub fn other_shape(name: &str, found: &[usize], wanted: &[usize]) -> String {
    format!(
        "tensor '{name}' has shape {found:?}, but config.json asks for {wanted:?}: weights and configuration are of \
         different models"
    )
}

fn open_file(path: &Path) -> Result<BTreeMap<String, Entry>> {
    let entries = if path.extension().is_some_and(|e| e == "bin") {
        torch_file::entries(path)?
    } else {
        safetensors_file::entries(path)?
    };
    Ok(entries.into_iter().map(|(name, entry)| (current_name(&name), entry)).collect())
}

/// BERT's first checkpoints call `LayerNorm`'s parameters as TensorFlow does.
fn current_name(name: &str) -> String {
    for (old, new) in [("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")] {
        if let Some(stem) = name.strip_suffix(old) {
            return format!("{stem}{new}");
        }
    }
    name.to_owned()
}

/// What a directory without weights says.
fn none(dir: &Path) -> String {
    let text = format!("{}: missing (also {})", dir.join(NAMES[0]).display(), NAMES[1..].join(", "));
    for file in crate::files::children(dir) {
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let foreign = FOREIGN.iter().find(|(part, ..)| name.starts_with(part) || name.ends_with(part));
        if let Some((_, what, remedy)) = foreign {
            return format!("{text}; {name} is {what}: {remedy}");
        }
    }
    format!("{text}; polymix reads weights from safetensors or PyTorch files: is the download complete?")
}
