//! Reading and writing model directories in Hugging Face and sentence-transformers layout.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::{DType, Device, Tensor};

use super::adapters::{self, Adapters};
use super::config::EncoderConfig;
use super::layout::{self, Parameters, Slot};
use super::prefix::{self, Prefix};
use super::sentence::{self, SentenceLayout};
use super::sentencepiece;
use super::tokenizer::TextTokenizer;
use super::weight_files::{Weights, other_shape};
use super::write::Parts;
use crate::corpus::catalogue::Prefixes;
use crate::corpus::read::check_file;
use crate::ops::Pool;
use crate::spec::Pooling;

/// A model directory, read but not yet on a device.
#[derive(Debug)]
pub struct ModelFiles {
    pub config: EncoderConfig,
    pub(super) layout: SentenceLayout,
    pub(super) parameters: Parameters,
    pub(super) tokenizer: TextTokenizer,
    /// Contents of `tokenizer.json`, written back unchanged.
    pub(super) tokenizer_bytes: Vec<u8>,
    /// Other files that belong to the model: name and contents.
    pub(super) extra: Vec<(String, Vec<u8>)>,
    /// The type that holds all numbers of the files.
    pub(super) stored: DType,
    pub(super) adapters: Option<Adapters>,
}

/// Files that are carried along.
const CARRIED: [&str; 3] = ["tokenizer_config.json", "special_tokens_map.json", "sentencepiece.bpe.model"];

/// How a model directory is written anew.
#[derive(Clone, Debug, Default)]
pub struct Conversion {
    /// Type of the numbers on disk; absent: the one that holds all numbers that were read.
    pub dtype: Option<DType>,
    /// Most tokens of a text; absent: as the directory states.
    pub longest: Option<usize>,
    /// Prefixes of the model's entry in the catalogue, for where the directory states none.
    pub prefixes: Prefixes,
    /// Contents of `README.md`, the model card.
    pub card: String,
}

impl ModelFiles {
    /// Reads a model directory.
    ///
    /// # Errors
    /// Names the file, and the key or tensor, that is missing, of another shape, or does not belong to the rest.
    pub fn read(dir: &Path, pooling: Pooling) -> Result<Self> {
        check_dir(dir)?;
        let (layout, config) = read_layout(dir, pooling)?;
        let inner = layout.transformer.clone();
        let (tokenizer, tokenizer_bytes) = read_tokenizer(&[&inner, dir], &config, &layout)?;
        let own = adapters::stored(dir)?;
        let (mut parameters, stored) = match own.as_ref().and_then(|o| o.base.as_ref()) {
            Some(origin) => (origin.parameters(&config)?, DType::F32),
            None => read_parameters(&config, &layout)?,
        };
        let adapters = match &own {
            Some(own) => {
                let first = layout::adapters(&config, &layout.head);
                let (adapters, weights) = adapters::read(dir, own, &config, first)?;
                parameters.append(adapters.slots(&config).map(|(_, slot)| slot.decayed).zip(weights));
                Some(adapters)
            }
            None => None,
        };
        let extra = carried(&[&inner, dir]);
        Ok(Self { config, layout, parameters, tokenizer, tokenizer_bytes, extra, stored, adapters })
    }

    /// With what the catalogue says of prefixes, for where the directory states none.
    #[must_use]
    pub fn with_prefixes(mut self, catalogued: Prefixes) -> Self {
        self.layout.catalogued = catalogued;
        self
    }

    /// The languages that have adapters, where there are some.
    #[must_use]
    pub fn adapters(&self) -> Option<&[String]> {
        self.adapters.as_ref().map(|a| a.languages.as_slice())
    }

    /// The model without adapters: with those of `language` merged into its weights, or, for `None`, left out.
    ///
    /// # Errors
    /// Where the language has no adapter, or its adapter cannot be merged.
    pub fn without_adapters(mut self, language: Option<&str>) -> Result<Self> {
        if let Some(adapters) = self.adapters.take() {
            let tensors = match language {
                Some(language) => adapters::merge(&adapters, &self.parameters.tensors, language)?,
                None => self.parameters.tensors[..adapters.first].to_vec(),
            };
            self.parameters.decayed.truncate(tensors.len());
            self.parameters = Parameters::trained(tensors, self.parameters.decayed);
        }
        Ok(self)
    }

    /// Writes the model as a directory that sentence-transformers loads: one safetensors file, only the tensors that
    /// the encoder uses, the prompts as they were read. The directory must not exist.
    ///
    /// # Errors
    /// Where it has adapters, which no other program would apply; where the directory exists, the disk is full, or a weight
    /// does not fit the type; nothing is left behind then.
    pub fn write(&self, dir: &Path, conversion: &Conversion) -> Result<()> {
        if let Some(adapters) = &self.adapters {
            let languages = adapters.languages.join(", ");
            let can = match adapters.spec.kind {
                crate::spec::AdapterKind::Lora => {
                    "merge those of one language exactly with --adapter CODE, or write"
                }
                _ => "bottlenecks cannot be merged into the weights; write",
            };
            bail!(
                "the model has language adapters ({languages}), which sentence-transformers would leave out without a word: \
                 {can} the base alone with --adapter none"
            );
        }
        let parts = Parts {
            config: &self.config,
            layout: &self.layout,
            tensors: &self.parameters.tensors,
            tokenizer: &self.tokenizer,
            tokenizer_bytes: &self.tokenizer_bytes,
            extra: &self.extra,
            prompts: self.layout.all_prompts(),
            longest: conversion.longest,
            dtype: conversion.dtype.unwrap_or(self.stored),
            has_weights: true,
        };
        crate::files::whole_dir(dir, |dir| {
            parts.write(dir)?;
            crate::files::replace(&dir.join("README.md"), conversion.card.as_bytes())
        })
    }

    /// All of a model directory but its weights.
    ///
    /// # Errors
    /// As [`ModelFiles::read`].
    pub(super) fn without_weights(dir: &Path, pooling: Pooling, catalogued: Prefixes) -> Result<Unweighted> {
        check_dir(dir)?;
        let (mut layout, config) = read_layout(dir, pooling)?;
        layout.catalogued = catalogued;
        let (tokenizer, bytes) = read_tokenizer(&[&layout.transformer, dir], &config, &layout)?;
        Ok(Unweighted {
            parameters: count(&config, &layout.head),
            config,
            tokenizer,
            tokenizer_bytes: bytes.len(),
            prefixes: prefix::prefixes(&layout, [None, None]),
        })
    }

    /// Trainable parameters of a model directory, from its configuration alone.
    ///
    /// # Errors
    /// As [`ModelFiles::read`], as far as configuration and pooling go.
    pub fn parameter_count(dir: &Path, pooling: Pooling) -> Result<usize> {
        check_dir(dir)?;
        let (layout, config) = read_layout(dir, pooling)?;
        Ok(count(&config, &layout.head))
    }
}

/// What [`ModelFiles::without_weights`] reads.
pub(super) struct Unweighted {
    pub config: EncoderConfig,
    pub parameters: usize,
    pub tokenizer: TextTokenizer,
    pub tokenizer_bytes: usize,
    /// Of questions and passages.
    pub prefixes: [Prefix; 2],
}

/// Name and contents of the files that are carried along.
pub(super) fn carried(dirs: &[&Path]) -> Vec<(String, Vec<u8>)> {
    let read = |name: &str| dirs.iter().find_map(|d| std::fs::read(d.join(name)).ok());
    CARRIED.iter().filter_map(|name| Some(((*name).to_owned(), read(name)?))).collect()
}

pub(super) fn check_dir(dir: &Path) -> Result<()> {
    ensure!(dir.exists(), "{}: no such model directory (model.base is 'demo' or a directory)", dir.display());
    ensure!(
        dir.is_dir(),
        "{}: a model is a directory with config.json, weights (model.safetensors or pytorch_model.bin) and tokenizer.json",
        dir.display()
    );
    Ok(())
}

/// Where the parts of a model directory lie, and its configuration.
pub(super) fn read_layout(dir: &Path, pooling: Pooling) -> Result<(SentenceLayout, EncoderConfig)> {
    let mut layout = SentenceLayout::read(dir)?;
    match pooling {
        Pooling::Auto => {}
        Pooling::Mean => layout.head.pool = Pool::Mean,
        Pooling::Cls => layout.head.pool = Pool::First,
    }
    let config_file = layout.transformer.join("config.json");
    check_file(&config_file)?;
    let text = std::fs::read_to_string(&config_file)
        .with_context(|| format!("{}: cannot read the model's configuration", config_file.display()))?;
    let config = EncoderConfig::parse(&text).with_context(|| config_file.display().to_string())?;
    sentence::check_widths(&layout, config.hidden_size)?;
    Ok((layout, config))
}

pub(super) fn count(config: &EncoderConfig, head: &sentence::Head) -> usize {
    super::layout::slots(config, head).iter().map(|s| s.shape.iter().product::<usize>()).sum()
}

pub(super) fn read_tokenizer(
    dirs: &[&Path],
    config: &EncoderConfig,
    layout: &SentenceLayout,
) -> Result<(TextTokenizer, Vec<u8>)> {
    let find = |name: &str| dirs.iter().map(|d| d.join(name)).find(|p| p.is_file());
    let read = |path: &Path| {
        check_file(path)?;
        std::fs::read(path).with_context(|| format!("{}: cannot read", path.display()))
    };
    let is_xlm_roberta = config.source.get("model_type").is_some_and(|t| t == "xlm-roberta");
    let (shown, bytes) = match (find("tokenizer.json"), find(PIECES).filter(|_| is_xlm_roberta)) {
        (Some(path), _) => (path.display().to_string(), read(&path)?),
        (None, Some(path)) => {
            let shown = path.display().to_string();
            let json = sentencepiece::tokenizer_json(&read(&path)?)
                .map_err(|error| anyhow!("{shown}: {error:#}. {}", remedy(dirs[0])))?;
            (shown, json)
        }
        (None, None) => {
            let there = SLOW.iter().find(|name| find(name).is_some());
            let there = there.map_or(String::new(), |name| format!("; {name} alone is not read"));
            let missing = dirs[0].join("tokenizer.json");
            bail!("{}: missing{there}. {}", missing.display(), remedy(dirs[0]))
        }
    };
    let tokenizer = TextTokenizer::from_bytes(&bytes).with_context(|| shown.clone())?;
    check_vocabulary(&tokenizer, config).context(shown)?;
    Ok((tokenizer.lower_cased(layout.lower_case), bytes))
}

fn remedy(dir: &Path) -> String {
    format!(
        "Write tokenizer.json with: python -c \"from transformers import AutoTokenizer; \
         AutoTokenizer.from_pretrained('{dir}').save_pretrained('{dir}')\"",
        dir = dir.display()
    )
}

/// XLM-R's tokenizer in its older form.
const PIECES: &str = "sentencepiece.bpe.model";

/// Tokenizers in older forms.
const SLOW: [&str; 5] = [PIECES, "spiece.model", "sentencepiece.model", "vocab.txt", "vocab.json"];

pub(super) fn check_vocabulary(tokenizer: &TextTokenizer, config: &EncoderConfig) -> Result<()> {
    let vocabulary = tokenizer.vocabulary();
    ensure!(
        vocabulary <= config.vocab_size,
        "the vocabulary has {vocabulary} entries but the model only {} embeddings (vocab_size): tokenizer and model do \
         not belong together",
        config.vocab_size
    );
    Ok(())
}

/// Reads a safetensors file into main memory.
///
/// # Errors
/// Where it is missing or damaged.
pub fn read_tensors(path: &Path) -> Result<HashMap<String, Tensor>> {
    candle_core::safetensors::load(path, &Device::Cpu).with_context(|| {
        format!("{}: not a readable safetensors file (is the download complete?)", path.display())
    })
}

/// The weights of a model and what belongs to none of its parts: the transformer's and each dense layer's files.
pub(super) struct Opened {
    pub transformer: Weights,
    pub prefix: &'static str,
    pub dense: Vec<Weights>,
}

impl Opened {
    /// The type of the tensors that are used, where they have one; else f32, which holds all of them. f64 counts as f32.
    pub(super) fn stored(&self, slots: &[Slot]) -> DType {
        let names = slots.iter().flat_map(|s| &s.names).map(|name| format!("{}{name}", self.prefix));
        let own = names.map(|name| self.transformer.entry(&name));
        let dense = self.dense.iter().flat_map(|w| [DENSE_WEIGHT, DENSE_BIAS].map(|name| w.entry(name)));
        let kinds = own.chain(dense).flatten().filter_map(|e| e.kind.clone().ok());
        let mut kinds: Vec<DType> = kinds.filter(DType::is_float).collect();
        kinds.dedup();
        match kinds[..] {
            [DType::F16] => DType::F16,
            [DType::BF16] => DType::BF16,
            _ => DType::F32,
        }
    }
}

/// Opens the weight files and checks that every tensor is there in its shape, and that none is left over that the
/// model would need to be what it was.
pub(super) fn open_weights(config: &EncoderConfig, layout: &SentenceLayout) -> Result<Opened> {
    let transformer = Weights::open(&layout.transformer)?;
    let word = "embeddings.word_embeddings.weight";
    let prefixes = config.architecture.prefixes();
    let Some(prefix) = prefixes.iter().find(|p| transformer.entry(&format!("{p}{word}")).is_some()) else {
        bail!(
            "{}: tensor '{word}' is missing (also under {}): this is no {} checkpoint",
            transformer.shown.display(),
            prefixes.iter().filter(|p| !p.is_empty()).copied().collect::<Vec<_>>().join(", "),
            config.architecture.name()
        );
    };
    let slots = layout::slots(config, &layout.head);
    let mut known = HashSet::new();
    for slot in &slots {
        let shape = part_shape(slot);
        for name in &slot.names {
            let name = format!("{prefix}{name}");
            transformer.check(&name, &shape)?;
            known.insert(name);
        }
    }
    for part in ["embeddings.", "encoder."] {
        let own = format!("{prefix}{part}");
        let left = transformer.names().find(|name| {
            name.starts_with(&own) && !known.contains(*name) && !BUFFERS.iter().any(|b| name.ends_with(b))
        });
        if let Some(name) = left {
            bail!(
                "{}: tensor '{name}' has no place in the {} model of {} layers that config.json describes: weights and \
                 configuration are of different models, or the model has parts that polymix does not know",
                transformer.shown.display(),
                config.architecture.name(),
                config.layers
            );
        }
    }
    let mut dense = Vec::new();
    for (shape, dir) in layout.head.dense.iter().zip(&layout.dense_dirs) {
        let weights = Weights::open(dir)?;
        dense_parts(shape).iter().try_for_each(|(name, shape)| weights.check(name, shape))?;
        dense.push(weights);
    }
    Ok(Opened { transformer, prefix, dense })
}

const DENSE_WEIGHT: &str = "linear.weight";
const DENSE_BIAS: &str = "linear.bias";

/// Names and shapes of a dense layer's tensors.
pub(super) fn dense_parts(dense: &sentence::Dense) -> Vec<(&'static str, Vec<usize>)> {
    let mut parts = vec![(DENSE_WEIGHT, vec![dense.output, dense.input])];
    if dense.bias {
        parts.push((DENSE_BIAS, vec![dense.output]));
    }
    parts
}

/// Tensors that some versions store but that are no weights.
const BUFFERS: [&str; 2] = ["position_ids", "token_type_ids"];

/// Shape of each of a slot's tensors in the checkpoint.
pub(super) fn part_shape(slot: &Slot) -> Vec<usize> {
    let mut shape = slot.shape.clone();
    shape[0] /= slot.names.len().max(1);
    shape
}

pub(super) fn read_parameters(
    config: &EncoderConfig,
    layout: &SentenceLayout,
) -> Result<(Parameters, DType)> {
    let opened = open_weights(config, layout)?;
    let slots = layout::slots(config, &layout.head);
    let mut loaded = Vec::with_capacity(slots.len());
    for slot in slots.iter().filter(|s| !s.names.is_empty()) {
        let shape = part_shape(slot);
        let parts = slot
            .names
            .iter()
            .map(|name| opened.transformer.read(&format!("{}{name}", opened.prefix), &shape))
            .collect::<Result<Vec<_>>>()?;
        loaded.push(if parts.len() == 1 { parts[0].clone() } else { Tensor::cat(&parts, 0)? });
    }
    for (dense, weights) in layout.head.dense.iter().zip(&opened.dense) {
        loaded.push(weights.read(DENSE_WEIGHT, &[dense.output, dense.input])?);
        loaded.push(if dense.bias {
            weights.read(DENSE_BIAS, &[dense.output])?
        } else {
            Tensor::zeros(dense.output, DType::F32, &Device::Cpu)?
        });
    }
    let stored = opened.stored(&slots);
    Ok((Parameters::trained(loaded, slots.into_iter().map(|s| s.decayed).collect()), stored))
}

/// SHA-256 of weights, in hexadecimal.
pub(super) fn weights_hash(tensors: &[Tensor]) -> Result<String> {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash_weights(tensors, &mut |bytes| hash.update(bytes))?;
    Ok(crate::corpus::read::hex(&hash.finalize()))
}

/// Hands out the weights' bytes, in order.
pub(super) fn hash_weights(tensors: &[Tensor], update: &mut dyn FnMut(&[u8])) -> Result<()> {
    let mut bytes = Vec::new();
    for tensor in tensors {
        crate::ops::read(&tensor.to_device(&Device::Cpu)?.contiguous()?, |numbers| {
            for numbers in numbers.chunks(1 << 16) {
                bytes.clear();
                bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
                update(&bytes);
            }
        })?;
    }
    Ok(())
}

/// Refuses a tensor with a value that is not finite.
pub(super) fn check_finite(tensor: &Tensor, name: &str) -> Result<()> {
    let sum = tensor.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?;
    ensure!(sum.is_finite(), "tensor '{name}' holds values that are not finite: the file is damaged");
    Ok(())
}

/// One tensor, as f32.
pub(super) fn one(tensors: &HashMap<String, Tensor>, name: &str, shape: &[usize]) -> Result<Tensor> {
    let tensor = tensors.get(name).with_context(|| format!("tensor '{name}' is missing"))?;
    ensure!(tensor.dims() == shape, "{}", other_shape(name, tensor.dims(), shape));
    let tensor = tensor.to_dtype(DType::F32)?.contiguous()?;
    check_finite(&tensor, name)?;
    Ok(tensor)
}

/// A slot's tensors, stacked.
pub(super) fn stacked(tensors: &HashMap<String, Tensor>, prefix: &str, slot: &Slot) -> Result<Tensor> {
    let shape = part_shape(slot);
    let parts = slot
        .names
        .iter()
        .map(|name| one(tensors, &format!("{prefix}{name}"), &shape))
        .collect::<Result<Vec<_>>>()?;
    Ok(if parts.len() == 1 { parts[0].clone() } else { Tensor::cat(&parts, 0)? })
}

/// The parameters under their checkpoint names, in main memory.
///
/// # Errors
/// Where the device fails.
pub fn named(
    config: &EncoderConfig,
    layout: &SentenceLayout,
    tensors: &[Tensor],
) -> Result<HashMap<String, Tensor>> {
    let mut named = HashMap::new();
    for (slot, tensor) in layout::slots(config, &layout.head).iter().zip(tensors) {
        let tensor = tensor.to_device(&Device::Cpu)?;
        let parts = slot.names.len();
        for (index, name) in slot.names.iter().enumerate() {
            let rows = slot.shape[0] / parts;
            named.insert(name.clone(), tensor.narrow(0, index * rows, rows)?.contiguous()?);
        }
    }
    Ok(named)
}
