//! What a model directory holds, from its descriptions alone: no weights are read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use super::adapters;
use super::checkpoint::{self, count, read_layout, read_tokenizer};
use super::config::Architecture;
use super::layout;
use super::prefix::{self, Prefix, PrefixOrigin};
use super::sentence::Dense;
use crate::corpus::catalogue::Prefixes;
use crate::ops::Pool;
use crate::spec::{AdapterKind, AdapterSpec, Pooling};

/// A model directory in words and numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// `XLM-R` or `BERT`.
    pub architecture: &'static str,
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    pub intermediate: usize,
    /// Trainable numbers.
    pub parameters: usize,
    /// Rows of the word embeddings.
    pub vocabulary: usize,
    /// Entries of the tokenizer.
    pub tokens: usize,
    /// Most tokens that the position table allows.
    pub longest: usize,
    /// Most tokens that sentence-transformers would take.
    pub max_length: Option<usize>,
    /// Width of the text vectors.
    pub width: usize,
    /// `mean` or `cls`.
    pub pooling: &'static str,
    /// Dense layers after pooling.
    pub dense: Vec<Dense>,
    /// Whether the directory itself asks for vectors of unit length.
    pub normalise: bool,
    /// By name.
    pub prompts: BTreeMap<String, String>,
    /// Before questions, as the directory states, else the catalogue; `None` where neither does.
    pub query_prefix: Option<String>,
    /// The same before passages.
    pub passage_prefix: Option<String>,
    /// Who says what is put before questions and before passages.
    pub prefix_origins: [PrefixOrigin; 2],
    /// The prompt that sentence-transformers uses where none is named.
    pub default_prompt: Option<String>,
    /// Types of the numbers on disk.
    pub dtypes: Vec<&'static str>,
    /// Weight files with their bytes.
    pub files: Vec<(PathBuf, u64)>,
    /// Tensors that the encoder has no use for, such as a language model's head.
    pub unused: Vec<String>,
    /// Language adapters, where there are some.
    pub adapters: Option<AdapterDescription>,
    /// What a user should know before training on it.
    pub notes: Vec<String>,
}

/// The adapters of a model in words and numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AdapterDescription {
    #[serde(flatten)]
    pub spec: AdapterSpec,
    pub languages: Vec<String>,
    /// Numbers of all languages.
    pub parameters: usize,
    /// Where the base's weights are, if they were frozen.
    pub base: Option<String>,
}

impl AdapterDescription {
    /// Kind and shape in words.
    #[must_use]
    pub fn shape(&self) -> String {
        let AdapterSpec { kind, reduction, rank, alpha, invertible, .. } = &self.spec;
        match kind {
            AdapterKind::Lora => format!("{}, rank {rank}, alpha {alpha}", kind.name()),
            _ if *invertible => format!("{}, reduction {reduction}, invertible embeddings", kind.name()),
            _ => format!("{}, reduction {reduction}", kind.name()),
        }
    }
}

impl Description {
    /// Reads configuration, tokenizer and the weights' descriptions.
    ///
    /// # Errors
    /// As [`super::ModelFiles::read`], but for values that are not finite.
    pub fn read(dir: &Path) -> Result<Self> {
        Self::catalogued(dir, Prefixes::default())
    }

    /// The same with what the catalogue says of the model's prefixes.
    ///
    /// # Errors
    /// As [`Description::read`].
    pub fn catalogued(dir: &Path, catalogued: Prefixes) -> Result<Self> {
        checkpoint::check_dir(dir)?;
        let (mut layout, config) = read_layout(dir, Pooling::Auto)?;
        layout.catalogued = catalogued;
        let inner = layout.transformer.clone();
        let (tokenizer, _) = read_tokenizer(&[&inner, dir], &config, &layout)?;
        let stored = adapters::stored(dir)?;
        // A frozen base lies elsewhere; the bundled one is no file at all.
        let opened = match stored.as_ref().and_then(|s| s.base.as_ref()) {
            None => Some(checkpoint::open_weights(&config, &layout)?),
            Some(origin) if origin.base == "demo" => None,
            Some(origin) => {
                let (layout, config) = origin.layout()?;
                Some(checkpoint::open_weights(&config, &layout)?)
            }
        };
        let used: BTreeSet<String> = opened.as_ref().map_or_else(BTreeSet::new, |opened| {
            let slots = layout::slots(&config, &layout.head);
            slots.iter().flat_map(|s| &s.names).map(|name| format!("{}{name}", opened.prefix)).collect()
        });
        let weights = opened.as_ref().map(|o| &o.transformer);
        let kinds = used.iter().filter_map(|n| weights?.entry(n)?.kind.clone().ok()).map(|d| d.as_str());
        let unused: Vec<String> = (weights.iter().flat_map(|w| w.names()))
            .filter(|n| !used.contains(*n))
            .map(str::to_owned)
            .collect();
        let mut notes = Vec::new();
        let pooler = unused.iter().any(|n| n.contains("pooler.dense"));
        if pooler && layout.head.dense.is_empty() && layout.head.pool == Pool::First {
            notes.push(
                "the weights have a pooler (dense layer and tanh over the first token) that no 2_Dense module names; \
                 it is not used"
                    .to_owned(),
            );
        }
        if !layout.stated.pooling {
            notes.push("no pooling is stated; mean is used (model.pooling = \"cls\" changes it)".to_owned());
        }
        if !layout.stated.normalise && layout.stated.modules {
            let similarity = layout.similarity.as_deref().unwrap_or("cosine");
            if similarity != "cosine" {
                notes.push(format!(
                    "made for '{similarity}' similarity; polymix compares by cosine and gives its vectors unit length"
                ));
            }
        }
        let [query, passage] = prefix::prefixes(&layout, [None, None]);
        let is_stated = |p: &Prefix| p.origin != PrefixOrigin::Default;
        if !is_stated(&query) || !is_stated(&passage) {
            notes.push(format!(
                "no prompts are stated; {:?} and {:?} are put before texts unless model.query_prefix and \
                 model.passage_prefix say otherwise",
                query.text, passage.text
            ));
        }
        if let Err(error) = layout.default_prefix() {
            notes.push(format!("{error:#}"));
        }
        let pads = tokenizer.pad();
        if let Some((token, id)) = pads.filter(|(_, id)| {
            config.architecture == Architecture::XlmRoberta && *id as usize != config.pad_token_id
        }) {
            notes.push(format!(
                "config.json pads with token {}, the tokenizer with '{token}', {id}: transformers numbers the positions of \
                 texts that hold token {} in another way; tokenizer and model may not belong together",
                config.pad_token_id, config.pad_token_id
            ));
        }
        if layout.lower_case {
            notes.push("texts are put into lower case (do_lower_case)".to_owned());
        }
        let all = opened.iter().flat_map(|o| std::iter::once(&o.transformer).chain(&o.dense));
        let mut files: Vec<PathBuf> = all.flat_map(|w| w.files.clone()).collect();
        let adapters = stored.map(|stored| {
            let languages = stored.adapters.languages.clone();
            files.extend(languages.iter().map(|l| adapters::weights_file(dir, l, stored.adapters.kind)));
            AdapterDescription {
                parameters: adapters::count(&config, &stored.adapters, languages.len()),
                spec: stored.adapters,
                languages,
                base: stored.base.map(|origin| origin.base),
            }
        });
        let files = files.iter().map(|f| (f.clone(), std::fs::metadata(f).map_or(0, |m| m.len()))).collect();
        Ok(Self {
            architecture: config.architecture.name(),
            layers: config.layers,
            hidden: config.hidden_size,
            heads: config.heads,
            intermediate: config.intermediate_size,
            parameters: count(&config, &layout.head),
            vocabulary: config.vocab_size,
            tokens: tokenizer.vocabulary(),
            longest: config.longest(),
            max_length: layout.max_length,
            width: layout.head.width(config.hidden_size),
            pooling: if layout.head.pool == Pool::First { "cls" } else { "mean" },
            dense: layout.head.dense.clone(),
            normalise: layout.stated.normalise,
            prompts: layout.prompts,
            prefix_origins: [query.origin, passage.origin],
            query_prefix: Some(query).filter(is_stated).map(|p| p.text),
            passage_prefix: Some(passage).filter(is_stated).map(|p| p.text),
            default_prompt: layout.default_prompt,
            dtypes: kinds.collect::<BTreeSet<_>>().into_iter().collect(),
            files,
            unused,
            adapters,
            notes,
        })
    }

    /// Bytes of all weight files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes).sum()
    }
}
