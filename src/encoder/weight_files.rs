//! What a model directory's weight files hold, safetensors or `PyTorch`, one file or several: names, shapes and places.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::DType;
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

    /// The file that holds a tensor, where in it, and its type.
    pub(super) fn place(&self, name: &str, shape: &[usize]) -> Result<(&Path, &Entry, DType)> {
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
