//! The encoder as training and evaluation use it.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use sha2::{Digest, Sha256};

use super::adapters::{Adapters, Origin, Route};
use super::checkpoint::{ModelFiles, hash_weights, weights_hash};
use super::config::EncoderConfig;
use super::head::SavedHead;
use super::layout::{self, Gradients, Parameters};
use super::packed::{DropoutRates, Packed};
use super::prefix::{self, PrefixOrigin};
use super::sentence::{Head, SentenceLayout};
use super::tokenizer::TextTokenizer;
use super::transformer::{Saved, Transformer};
use super::write::{self, Parts};
use crate::spec::AdapterSpec;

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
    /// Who says so of the two prefixes.
    pub prefix_origins: [PrefixOrigin; 2],
    /// The adapters of languages, where there are some.
    pub adapters: Option<Adapters>,
    pub(super) layout: SentenceLayout,
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
    /// Puts a model on a device. Prefixes: the given ones, else the model's own, else the catalogue's, else `Query: ` and
    /// `Passage: `.
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
        let ModelFiles { config, layout, parameters, tokenizer, tokenizer_bytes, extra, adapters, .. } =
            files;
        let tensors = parameters
            .tensors
            .iter()
            .map(|t| t.to_device(device))
            .collect::<candle_core::Result<Vec<_>>>()
            .context("putting the model on the device")?;
        let [query, passage] = prefix::prefixes(&layout, [query_prefix, passage_prefix]);
        Ok(Self {
            prefix_origins: [query.origin, passage.origin],
            query_prefix: query.text,
            passage_prefix: passage.text,
            config,
            parameters: Parameters { tensors, ..parameters },
            adapters,
            tokenizer,
            device: device.clone(),
            dtype,
            layout,
            tokenizer_bytes,
            extra,
        })
    }

    /// What the model is besides its weights, as SHA-256 in hexadecimal: of its configuration, its tokenizer, and all that
    /// stands around it (pooling, dense layers, prompts, length, case).
    #[must_use]
    pub fn identity(&self) -> [(&'static str, String); 3] {
        let sha = |bytes: &[u8]| crate::corpus::read::hex(&Sha256::digest(bytes));
        let SentenceLayout { head, max_length, lower_case, .. } = &self.layout;
        let around =
            format!("{head:?} {max_length:?} {lower_case} {:?} {:?}", self.query_prefix, self.passage_prefix);
        [
            ("configuration", sha(self.config.source.to_string().as_bytes())),
            ("tokenizer", sha(&self.tokenizer_bytes)),
            ("pooling, prompts or length", sha(around.as_bytes())),
        ]
    }

    /// Both prefixes in one line, and who says so; nothing where both are empty.
    #[must_use]
    pub fn prefix_line(&self) -> Option<String> {
        prefix::line([&self.query_prefix, &self.passage_prefix], self.prefix_origins)
    }

    /// What sentence-transformers puts before a text of which nobody says whether it is a question or a passage; empty
    /// where the model has no default prompt.
    ///
    /// # Errors
    /// Where the default names no prompt.
    pub fn default_prefix(&self) -> Result<&str> {
        Ok(self.layout.default_prefix()?.unwrap_or_default())
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
        Transformer {
            config: &self.config,
            parameters: &self.parameters,
            dtype: self.dtype,
            dropout,
            adapters: self.adapters.as_ref(),
            moved: None,
        }
    }

    /// The adapter of texts in this language; `None`: the base alone.
    #[must_use]
    pub fn route(&self, language: &str) -> Route {
        self.adapters.as_ref()?.route(language)
    }

    /// Gives adapters of this shape to `languages`, and freezes the base where the spec says so. Those that the model has stay
    /// with their weights, also of languages that are not named; the others are fresh. `base` is where the base's weights come
    /// from: `demo` or a directory.
    ///
    /// # Errors
    /// Where the model has adapters of another shape, or is too narrow for this one.
    pub fn add_adapters(
        &mut self,
        spec: &AdapterSpec,
        languages: &[String],
        (base, seed): (&str, u64),
    ) -> Result<()> {
        let first = layout::adapters(&self.config, &self.layout.head);
        let languages = match &self.adapters {
            Some(held) => spec.continued(&held.spec, languages, base)?,
            None => languages.to_vec(),
        };
        let held = self.parameters.tensors.len() - first;
        let mut adapters = Adapters::new(spec, &languages, &self.config, first)?;
        if spec.is_frozen() {
            let origin = self.adapters.as_ref().and_then(|held| held.origin.clone());
            adapters.origin = Some(match origin {
                Some(origin) => origin,
                None => Origin {
                    base: base.to_owned(),
                    seed,
                    weights_sha256: weights_hash(&self.parameters.tensors[..first])?,
                },
            });
        }
        self.parameters.trainable[..first].fill(!spec.is_frozen());
        let fresh = adapters.initial(&self.config, seed)?;
        let fresh = fresh
            .iter()
            .skip(held)
            .map(|t| t.to_device(&self.device))
            .collect::<candle_core::Result<Vec<_>>>()?;
        let decayed: Vec<bool> =
            adapters.slots(&self.config).skip(held).map(|(_, slot)| slot.decayed).collect();
        self.parameters.append(decayed.into_iter().zip(fresh));
        self.adapters = Some(adapters);
        Ok(())
    }

    /// Unit vectors of packed texts, in the order in which they were given; `save` keeps what [`Encoder::backward`] needs.
    ///
    /// # Errors
    /// A text that is too long, a token outside the vocabulary, a failing device.
    pub fn forward(&self, packed: &Packed, dropout: Option<DropoutRates>, save: bool) -> Result<Forward> {
        self.forward_moved(packed, dropout, save, None)
    }

    /// The same with `moved` `[T, H]`, f32, added to the tokens' word embeddings.
    ///
    /// # Errors
    /// As [`Encoder::forward`].
    pub fn forward_moved(
        &self,
        packed: &Packed,
        dropout: Option<DropoutRates>,
        save: bool,
        moved: Option<&Tensor>,
    ) -> Result<Forward> {
        let transformer = Transformer { moved, ..self.transformer(dropout) };
        let (tokens, saved) = transformer.forward(packed, save)?;
        let first = layout::head(&self.config);
        let (vectors, head) = self.layout.head.forward(&self.parameters, first, &tokens, &packed.segments)?;
        let vectors = as_given(vectors, packed)?;
        Ok(Forward { vectors, saved: saved.map(|s| (s, head)) })
    }

    /// The tokens' word embeddings as they are looked up, f32 `[T, H]`.
    ///
    /// # Errors
    /// A token outside the vocabulary.
    pub fn word_embeddings(&self, packed: &Packed) -> Result<Tensor> {
        Ok(crate::ops::gather(&self.parameters.tensors[layout::WORD], &packed.ids)?)
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
            vectors.push(as_given(plain.forward(&self.parameters, first, x, &packed.segments)?.0, packed)?);
            Ok(())
        })?;
        if !self.layout.head.dense.is_empty() {
            let head = self.layout.head.forward(&self.parameters, first, &tokens, &packed.segments)?.0;
            vectors.push(as_given(head, packed)?);
        }
        Ok(vectors)
    }

    /// Adds the gradient of every parameter that is trained, given that of the vectors, and gives that of the tokens' word
    /// embeddings, `[T, H]`. `packed` and `dropout` as in the forward pass.
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
    ) -> Result<Tensor> {
        let (saved, head) = forward.saved.context("the forward pass was not saved")?;
        let first = layout::head(&self.config);
        let segments = &packed.segments;
        let dvectors = match &packed.order {
            Some(order) => &crate::ops::gather(dvectors, &order.given)?,
            None => dvectors,
        };
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
        self.encode_routed(texts, &[], batch_tokens, progress)
    }

    /// The same through adapters: `routes` has one a text, or is empty for the base alone.
    ///
    /// # Errors
    /// As [`Encoder::forward`], or what `progress` returns.
    pub fn encode_routed(
        &self,
        texts: &[Vec<u32>],
        routes: &[Route],
        batch_tokens: usize,
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Vec<f32>> {
        let route = |i: usize| routes.get(i).copied().flatten();
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
            let packed = Packed::routed(chunk.iter().map(|&i| (i as u64, texts[i].as_slice(), route(i))));
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
        let mut hash = Sha256::new();
        for bytes in [serde_json::to_vec(&self.config.source)?, self.tokenizer_bytes.clone()] {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(&bytes);
        }
        if let Some(adapters) = &self.adapters {
            hash.update(serde_json::to_vec(&adapters.spec)?);
        }
        hash_weights(&self.parameters.tensors, &mut |bytes| hash.update(bytes))?;
        Ok(crate::corpus::read::hex(&hash.finalize()))
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
            has_weights: self.adapters.as_ref().is_none_or(|a| a.origin.is_none()),
        };
        parts.write(dir)?;
        match &self.adapters {
            Some(adapters) => adapters.write(dir, &self.config, &self.parameters.tensors),
            None => Ok(()),
        }
    }
}

/// Vectors in the order in which the texts were given.
fn as_given(vectors: Tensor, packed: &Packed) -> Result<Tensor> {
    match &packed.order {
        Some(order) => Ok(crate::ops::gather(&vectors, &order.place)?),
        None => Ok(vectors),
    }
}
