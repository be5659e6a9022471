//! The encoder as training and evaluation use it.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};

use super::checkpoint::{ModelFiles, named, one, stacked};
use super::config::EncoderConfig;
use super::head::{Head, SavedHead};
use super::layout::{self, Gradients, Parameters};
use super::packed::{DropoutRates, Packed};
use super::sentence::SentenceLayout;
use super::tokenizer::TextTokenizer;
use super::transformer::{Saved, Transformer};
use super::write::{self, Parts};

/// A dual encoder with shared weights: text to unit vector.
#[derive(Debug)]
pub struct Encoder {
    pub config: EncoderConfig,
    pub parameters: Parameters,
    pub tokenizer: TextTokenizer,
    pub device: Device,
    /// Type of the computation; the parameters are always f32.
    pub dtype: DType,
    /// Put before each question.
    pub query_prefix: String,
    /// Put before each passage.
    pub passage_prefix: String,
    layout: SentenceLayout,
    tokenizer_bytes: Vec<u8>,
    extra: Vec<(String, Vec<u8>)>,
}

/// A forward pass that can be gone back.
pub struct Forward {
    /// Unit vectors, f32 `[N, width]`.
    pub vectors: Tensor,
    saved: Option<(Saved, SavedHead)>,
}

impl Encoder {
    /// Puts a model on a device. Prefixes: the given ones, else the model's own, else `Query: ` and `Passage: `.
    ///
    /// # Errors
    /// Where the device is out of memory.
    pub fn new(
        files: ModelFiles,
        device: &Device,
        dtype: DType,
        query_prefix: Option<&str>,
        passage_prefix: Option<&str>,
    ) -> Result<Self> {
        let ModelFiles { config, layout, parameters, tokenizer, tokenizer_bytes, extra, .. } = files;
        let tensors = parameters
            .tensors
            .iter()
            .map(|t| t.to_device(device))
            .collect::<candle_core::Result<Vec<_>>>()
            .context("putting the model on the device")?;
        let choose = |given: Option<&str>, own: &Option<String>, default: &str| {
            given.map(str::to_owned).or_else(|| own.clone()).unwrap_or_else(|| default.to_owned())
        };
        Ok(Self {
            query_prefix: choose(query_prefix, &layout.query_prefix, "Query: "),
            passage_prefix: choose(passage_prefix, &layout.passage_prefix, "Passage: "),
            config,
            parameters: Parameters { tensors, decayed: parameters.decayed },
            tokenizer,
            device: device.clone(),
            dtype,
            layout,
            tokenizer_bytes,
            extra,
        })
    }

    /// Width of the text vectors.
    #[must_use]
    pub fn width(&self) -> usize {
        self.layout.head.width(self.config.hidden_size)
    }

    /// `mean` or `cls`.
    #[must_use]
    pub fn pooling(&self) -> &'static str {
        match self.layout.head.pool {
            crate::ops::Pool::Mean => "mean",
            crate::ops::Pool::First => "cls",
        }
    }

    fn transformer(&self, dropout: Option<DropoutRates>) -> Transformer<'_> {
        Transformer { config: &self.config, parameters: &self.parameters, dtype: self.dtype, dropout }
    }

    /// Unit vectors of packed texts; `save` keeps what [`Encoder::backward`] needs.
    ///
    /// # Errors
    /// A text that is too long, a token outside the vocabulary, a failing device.
    pub fn forward(&self, packed: &Packed, dropout: Option<DropoutRates>, save: bool) -> Result<Forward> {
        let (tokens, saved) = self.transformer(dropout).forward(packed, save)?;
        let first = layout::head(&self.config);
        let (vectors, head) = self.layout.head.forward(&self.parameters, first, &tokens, &packed.segments)?;
        Ok(Forward { vectors, saved: saved.map(|s| (s, head)) })
    }

    /// Unit vectors of packed texts after every layer, f32 `[N, hidden]` each: the embeddings, the layers, and last
    /// what [`Encoder::forward`] gives (which a dense layer may have made wider or narrower).
    ///
    /// # Errors
    /// As [`Encoder::forward`].
    pub fn forward_layers(&self, packed: &Packed) -> Result<Vec<Tensor>> {
        let plain = Head { pool: self.layout.head.pool, dense: Vec::new() };
        let first = layout::head(&self.config);
        let mut vectors = Vec::new();
        let (tokens, _) = self.transformer(None).forward_seen(packed, false, &mut |x| {
            vectors.push(plain.forward(&self.parameters, first, x, &packed.segments)?.0);
            Ok(())
        })?;
        if !self.layout.head.dense.is_empty() {
            vectors.push(self.layout.head.forward(&self.parameters, first, &tokens, &packed.segments)?.0);
        }
        Ok(vectors)
    }

    /// Adds every parameter's gradient, given that of the vectors. `packed` and `dropout` as in the forward pass.
    ///
    /// # Errors
    /// Where the forward pass was not saved, or the device fails.
    pub fn backward(
        &self,
        packed: &Packed,
        dropout: Option<DropoutRates>,
        forward: Forward,
        dvectors: &Tensor,
        gradients: &mut Gradients,
    ) -> Result<()> {
        let (saved, head) = forward.saved.context("the forward pass was not saved")?;
        let first = layout::head(&self.config);
        let segments = &packed.segments;
        let dx = self.layout.head.backward(&self.parameters, first, head, segments, dvectors, gradients)?;
        self.transformer(dropout).backward(packed, saved, dx, gradients)
    }

    /// Vectors of many token sequences, row-major `[texts, width]`, in the order given. Texts of similar length share
    /// a pass of at most `batch_tokens` tokens; `progress` hears how many are done.
    ///
    /// # Errors
    /// As [`Encoder::forward`], or what `progress` returns.
    pub fn encode(
        &self,
        texts: &[Vec<u32>],
        batch_tokens: usize,
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Vec<f32>> {
        let width = self.width();
        let mut vectors = vec![0f32; texts.len() * width];
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(texts[i].len()));
        let (mut start, mut done) = (0, 0);
        while start < order.len() {
            let (mut end, mut tokens) = (start, 0);
            while end < order.len() && (end == start || tokens + texts[order[end]].len() <= batch_tokens) {
                tokens += texts[order[end]].len();
                end += 1;
            }
            let chunk = &order[start..end];
            let packed = Packed::new(chunk.iter().map(|&i| (i as u64, texts[i].as_slice())));
            let rows =
                self.forward(&packed, None, false)?.vectors.to_device(&Device::Cpu)?.to_vec2::<f32>()?;
            for (&index, row) in chunk.iter().zip(rows) {
                vectors[index * width..(index + 1) * width].copy_from_slice(&row);
            }
            done += chunk.len();
            start = end;
            progress(done)?;
        }
        Ok(vectors)
    }

    /// SHA-256 over configuration, tokenizer and weights, in hexadecimal: what vectors were made by. Pooling and prefixes
    /// are not part of it.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn fingerprint(&self) -> Result<String> {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        for bytes in [serde_json::to_vec(&self.config.source)?, self.tokenizer_bytes.clone()] {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(&bytes);
        }
        let mut bytes = Vec::new();
        for tensor in &self.parameters.tensors {
            crate::ops::read(&tensor.to_device(&Device::Cpu)?.contiguous()?, |numbers| {
                for numbers in numbers.chunks(1 << 16) {
                    bytes.clear();
                    bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
                    hash.update(&bytes);
                }
            })?;
        }
        Ok(hash.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
    }

    /// Every parameter under its checkpoint name (the head's as `dense.N.weight`), in main memory: what
    /// [`Encoder::restore`] takes.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn state(&self) -> Result<HashMap<String, Tensor>> {
        let mut all = self.named()?;
        let first = layout::head(&self.config);
        for (index, tensor) in self.parameters.tensors[first..].iter().enumerate() {
            all.insert(dense_name(index), tensor.to_device(&Device::Cpu)?);
        }
        Ok(all)
    }

    /// Replaces every parameter.
    ///
    /// # Errors
    /// Names the tensor that is missing or has another shape: the state is of another architecture.
    pub fn restore(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        let slots = layout::slots(&self.config, &self.layout.head);
        let first = layout::head(&self.config);
        let mut tensors = Vec::with_capacity(slots.len());
        for (index, slot) in slots.iter().enumerate() {
            let tensor = if slot.names.is_empty() {
                one(state, &dense_name(index - first), &slot.shape)?
            } else {
                stacked(state, "", slot)?
            };
            tensors.push(tensor.to_device(&self.device)?);
        }
        self.parameters.tensors = tensors;
        Ok(())
    }

    /// The transformer's parameters under their checkpoint names, in main memory.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn named(&self) -> Result<HashMap<String, Tensor>> {
        named(&self.config, &self.layout, &self.parameters.tensors)
    }

    /// The same for gradients; a parameter without one is left out.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn named_gradients(&self, gradients: &Gradients) -> Result<HashMap<String, Tensor>> {
        let mut all = HashMap::new();
        let slots = layout::slots(&self.config, &self.layout.head);
        for (slot, gradient) in slots.iter().zip(&gradients.tensors) {
            let Some(gradient) = gradient else { continue };
            let rows = slot.shape[0] / slot.names.len().max(1);
            for (index, name) in slot.names.iter().enumerate() {
                all.insert(name.clone(), gradient.narrow(0, index * rows, rows)?.contiguous()?);
            }
        }
        let first = layout::head(&self.config);
        for (index, gradient) in gradients.tensors[first..].iter().enumerate() {
            if let Some(gradient) = gradient {
                all.insert(dense_name(index), gradient.clone());
            }
        }
        Ok(all)
    }

    /// Writes the model as a directory that sentence-transformers and Hugging Face load. The directory must not exist.
    ///
    /// # Errors
    /// Where it exists, the disk is full, or the place is read-only; nothing is left behind then.
    pub fn save(&self, dir: &Path) -> Result<()> {
        crate::files::whole_dir(dir, |beside| self.save_into(beside))
    }

    fn save_into(&self, dir: &Path) -> Result<()> {
        let parts = Parts {
            config: &self.config,
            layout: &self.layout,
            tensors: &self.parameters.tensors,
            tokenizer: &self.tokenizer,
            tokenizer_bytes: &self.tokenizer_bytes,
            extra: &self.extra,
            prompts: write::prompts(&self.layout, &self.query_prefix, &self.passage_prefix),
            longest: None,
            dtype: DType::F32,
        };
        parts.write(dir)
    }
}

/// Name of the head's `index`-th parameter in a state.
fn dense_name(index: usize) -> String {
    format!("dense.{}.{}", index / 2, if index.is_multiple_of(2) { "weight" } else { "bias" })
}
