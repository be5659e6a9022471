//! The sentence-transformers layout around a Hugging Face model: `modules.json`, pooling, dense layers, prompts.
//!
//! Two dialects of the pooling configuration exist (booleans up to version 5, one `pooling_mode` string from 6);
//! both are read, the older one is written, which every version understands.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::corpus::catalogue::Prefixes;
use crate::corpus::read::check_file;
use crate::ops::Pool;

/// A dense layer after pooling (`LaBSE`'s `2_Dense`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dense {
    pub input: usize,
    pub output: usize,
    /// tanh after it; else nothing.
    pub tanh: bool,
    /// Whether the checkpoint has a bias; without one it stays zero.
    pub bias: bool,
}

/// The head's shape. The result always has unit length: similarity is the cosine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub pool: Pool,
    pub dense: Vec<Dense>,
}

impl Head {
    /// Width of the text vectors.
    pub fn width(&self, hidden: usize) -> usize {
        self.dense.last().map_or(hidden, |d| d.output)
    }
}

/// What the directory says beside the transformer itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentenceLayout {
    pub head: Head,
    /// Directories of the dense layers, in the head's order.
    pub dense_dirs: Vec<PathBuf>,
    /// Directory of the transformer.
    pub transformer: PathBuf,
    pub query_prefix: Option<String>,
    pub passage_prefix: Option<String>,
    /// What the catalogue says of prefixes, for where the directory states none.
    pub catalogued: Prefixes,
    /// Every prompt by its name, the two stated prefixes among them.
    pub prompts: BTreeMap<String, String>,
    /// `default_prompt_name`: the prompt that sentence-transformers puts before a text of which nobody says what it is.
    pub default_prompt: Option<String>,
    /// Most tokens of a text, as `sentence_bert_config.json` states it.
    pub max_length: Option<usize>,
    /// Whether texts are put into lower case before the tokenizer sees them.
    pub lower_case: bool,
    /// Whether there is a modules.json at all, and whether it names pooling and normalising.
    pub stated: Stated,
    /// The pooling configuration and the width of token vectors that it states.
    pub pooled: Option<(PathBuf, usize)>,
    /// `similarity_fn_name`.
    pub similarity: Option<String>,
}

/// Which modules the directory names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stated {
    pub modules: bool,
    pub pooling: bool,
    pub normalise: bool,
}

/// Reads a JSON file of a model directory.
pub fn read_json(path: &Path) -> Result<Value> {
    check_file(path)?;
    let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot read", path.display()))?;
    serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .with_context(|| format!("{}: not JSON", path.display()))
}

impl SentenceLayout {
    /// A transformer in `dir` with this pooling and nothing after it.
    pub fn plain(dir: &Path, pool: Pool) -> Self {
        Self {
            head: Head { pool, dense: Vec::new() },
            dense_dirs: Vec::new(),
            transformer: dir.to_owned(),
            query_prefix: None,
            passage_prefix: None,
            catalogued: Prefixes::default(),
            prompts: BTreeMap::new(),
            default_prompt: None,
            max_length: None,
            lower_case: false,
            stated: Stated::default(),
            pooled: None,
            similarity: None,
        }
    }

    /// Reads what is there; a plain Hugging Face directory has mean pooling and no prompts.
    ///
    /// # Errors
    /// Names the file and what in it is not supported.
    pub fn read(dir: &Path) -> Result<Self> {
        let mut layout = Self::plain(dir, Pool::Mean);
        layout.read_prompts(&dir.join("config_sentence_transformers.json"))?;
        let modules_file = dir.join("modules.json");
        if modules_file.is_file() {
            layout.read_modules(dir, &modules_file)?;
        }
        let lengths = [&layout.transformer, dir].map(|d| d.join("sentence_bert_config.json"));
        if let Some(path) = lengths.iter().find(|p| p.is_file()) {
            let config = read_json(path)?;
            layout.max_length =
                config.get("max_seq_length").and_then(Value::as_u64).filter(|&n| n > 2).map(|n| n as usize);
            layout.lower_case = config.get("do_lower_case").and_then(Value::as_bool).unwrap_or(false);
        }
        // Where it says nothing the tokenizer's own limit counts; sentence-transformers 6 writes it there only.
        let stated = layout.transformer.join("tokenizer_config.json");
        if layout.max_length.is_none() && stated.is_file() {
            let most = read_json(&stated)?.get("model_max_length").and_then(Value::as_f64);
            // Tokenizers without a limit have one of 10^30.
            layout.max_length = most.filter(|&n| n > 2.0 && n < 1e6).map(|n| n as usize);
        }
        Ok(layout)
    }

    /// The prompts by name, with the catalogue's prefixes where the directory states none.
    pub fn all_prompts(&self) -> BTreeMap<String, String> {
        let mut prompts = self.prompts.clone();
        let Prefixes { query, passage } = &self.catalogued;
        let mut add = |own: &Option<String>, text: &Option<String>, names: &[&str]| {
            let Some(text) = text.as_ref().filter(|_| own.is_none()) else { return };
            prompts.extend(names.iter().map(|name| ((*name).to_owned(), text.clone())));
        };
        add(&self.query_prefix, query, &["query"]);
        add(&self.passage_prefix, passage, &["passage", "document"]);
        prompts
    }

    /// The text of the default prompt, where there is one.
    ///
    /// # Errors
    /// Where the default names no prompt, which sentence-transformers refuses too.
    pub fn default_prefix(&self) -> Result<Option<&str>> {
        let Some(name) = &self.default_prompt else { return Ok(None) };
        let text = self.prompts.get(name).with_context(|| {
            format!(
                "config_sentence_transformers.json: default_prompt_name '{name}' names no prompt (there are: {}); correct it, \
                 or set it to null",
                self.prompts.keys().cloned().collect::<Vec<_>>().join(", ")
            )
        })?;
        Ok(Some(text))
    }

    fn read_modules(&mut self, dir: &Path, file: &Path) -> Result<()> {
        let shown = file.display();
        let modules = read_json(file)?;
        let modules = modules.as_array().with_context(|| format!("{shown}: not a list"))?;
        self.stated.modules = true;
        let mut last = 0;
        for module in modules {
            let text = |key: &str| module.get(key).and_then(Value::as_str).unwrap_or_default();
            let below = Path::new(text("path"));
            ensure!(
                below.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)),
                "{shown}: module path '{}' leads out of the model's directory",
                below.display()
            );
            let path = dir.join(below);
            let kind = text("type").rsplit('.').next().unwrap_or_default();
            let place = match kind {
                "Transformer" => {
                    self.transformer = path;
                    0
                }
                "Pooling" => {
                    (self.head.pool, self.pooled) = read_pooling(&named_by(file, path.join("config.json"))?)?;
                    self.stated.pooling = true;
                    1
                }
                "Dense" => {
                    self.head.dense.push(read_dense(&named_by(file, path.join("config.json"))?)?);
                    self.dense_dirs.push(path);
                    2
                }
                "Normalize" => {
                    self.stated.normalise = true;
                    3
                }
                other => bail!(
                    "{shown}: module '{other}' is not supported; polymix reads Transformer, Pooling, Dense and Normalize"
                ),
            };
            ensure!(
                place >= last,
                "{shown}: module '{kind}' stands too late; polymix computes Transformer, Pooling, Dense, Normalize in \
                 this order"
            );
            last = place;
        }
        Ok(())
    }

    fn read_prompts(&mut self, path: &Path) -> Result<()> {
        if !path.is_file() {
            return Ok(());
        }
        let config = read_json(path)?;
        self.similarity = config.get("similarity_fn_name").and_then(Value::as_str).map(str::to_owned);
        if let Some(prompts) = config.get("prompts").and_then(Value::as_object) {
            self.prompts = prompts
                .iter()
                .filter_map(|(name, prompt)| Some((name.clone(), prompt.as_str()?.to_owned())))
                .collect();
        }
        let prompt = |names: &[&str]| names.iter().find_map(|n| self.prompts.get(*n)).cloned();
        self.default_prompt = config.get("default_prompt_name").and_then(Value::as_str).map(str::to_owned);
        self.query_prefix = prompt(&["query"]);
        self.passage_prefix = prompt(&["passage", "document"]);
        Ok(())
    }
}

/// The path of a file that must be there, as `modules.json` names its module.
fn named_by(modules: &Path, path: PathBuf) -> Result<PathBuf> {
    ensure!(
        path.exists(),
        "{}: missing, but {} names its module (is the download complete?)",
        path.display(),
        modules.display()
    );
    Ok(path)
}

/// The pooling, and the width that the file states with the file's path.
fn read_pooling(path: &Path) -> Result<(Pool, Option<(PathBuf, usize)>)> {
    let shown = path.display();
    let config = read_json(path)?;
    let on = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
    let mode = match config.get("pooling_mode") {
        Some(Value::String(mode)) => mode.clone(),
        Some(Value::Array(modes)) => {
            modes.iter().map(|m| m.as_str().unwrap_or_default()).collect::<Vec<_>>().join("+")
        }
        _ => [
            "cls_token",
            "mean_tokens",
            "max_tokens",
            "mean_sqrt_len_tokens",
            "weightedmean_tokens",
            "lasttoken",
        ]
        .into_iter()
        .filter(|mode| on(&format!("pooling_mode_{mode}")))
        .collect::<Vec<_>>()
        .join("+"),
    };
    ensure!(
        config.get("include_prompt").and_then(Value::as_bool).unwrap_or(true),
        "{shown}: include_prompt = false is not supported; polymix pools over a prompt's tokens too"
    );
    let pool = match mode.as_str() {
        "mean" | "mean_tokens" => Pool::Mean,
        "cls" | "cls_token" => Pool::First,
        "" => bail!(
            "{shown}: no pooling is on (key 'pooling_mode', or 'pooling_mode_mean_tokens' and its like)"
        ),
        other => bail!("{shown}: pooling '{other}' is not supported; polymix pools by mean or cls"),
    };
    let width =
        ["embedding_dimension", "word_embedding_dimension"].iter().find_map(|key| config.get(key)?.as_u64());
    Ok((pool, width.map(|w| (path.to_owned(), w as usize))))
}

fn read_dense(path: &Path) -> Result<Dense> {
    let shown = path.display();
    let config = read_json(path)?;
    let size = |key: &str| {
        let value = config.get(key).and_then(Value::as_u64).filter(|v| *v > 0);
        value.map(|v| v as usize).with_context(|| format!("{shown}: key '{key}' is missing or no size"))
    };
    let text = |key: &str| config.get(key).and_then(Value::as_str);
    let activation = text("activation_function").unwrap_or("torch.nn.modules.activation.Tanh");
    let tanh = match activation.rsplit('.').next().unwrap_or_default() {
        "Tanh" => true,
        "Identity" => false,
        other => bail!("{shown}: activation '{other}' is not supported; polymix has Tanh and Identity"),
    };
    for key in ["module_input_name", "module_output_name"] {
        let name = text(key).unwrap_or("sentence_embedding");
        ensure!(
            name == "sentence_embedding",
            "{shown}: {key} '{name}' is not supported; polymix's dense layers work on the text's vector"
        );
    }
    ensure!(
        !config.get("use_residual").and_then(Value::as_bool).unwrap_or(false),
        "{shown}: use_residual is not supported"
    );
    Ok(Dense {
        input: size("in_features")?,
        output: size("out_features")?,
        tanh,
        bias: config.get("bias").and_then(Value::as_bool).unwrap_or(true),
    })
}

/// The configuration files of a model directory, by relative path; weights and tokenizer are written elsewhere.
/// `longest`: most tokens of a text; `prompts` by name.
pub fn files(
    layout: &SentenceLayout,
    hidden: usize,
    longest: usize,
    prompts: &BTreeMap<String, String>,
) -> Result<Vec<(PathBuf, String)>> {
    let head = &layout.head;
    let mut modules = vec![(String::new(), "Transformer"), ("1_Pooling".to_owned(), "Pooling")];
    let mut files = Vec::new();
    let mut push = |path: &str, value: &Value| -> Result<()> {
        files.push((PathBuf::from(path), serde_json::to_string_pretty(value)? + "\n"));
        Ok(())
    };
    push(
        "1_Pooling/config.json",
        &json!({
            "word_embedding_dimension": hidden,
            "pooling_mode_cls_token": head.pool == Pool::First,
            "pooling_mode_mean_tokens": head.pool == Pool::Mean,
            "pooling_mode_max_tokens": false,
            "pooling_mode_mean_sqrt_len_tokens": false,
        }),
    )?;
    for (index, dense) in head.dense.iter().enumerate() {
        let dir = format!("{}_Dense", index + 2);
        let activation =
            if dense.tanh { "torch.nn.modules.activation.Tanh" } else { "torch.nn.modules.linear.Identity" };
        push(
            &format!("{dir}/config.json"),
            &json!({"in_features": dense.input, "out_features": dense.output, "bias": dense.bias,
                    "activation_function": activation}),
        )?;
        modules.push((dir, "Dense"));
    }
    modules.push((format!("{}_Normalize", modules.len()), "Normalize"));
    let modules: Vec<Value> = modules
        .iter()
        .enumerate()
        .map(|(index, (path, kind))| {
            json!({"idx": index, "name": index.to_string(), "path": path,
                   "type": format!("sentence_transformers.models.{kind}")})
        })
        .collect();
    push("modules.json", &Value::Array(modules))?;
    push(
        "sentence_bert_config.json",
        &json!({"max_seq_length": longest, "do_lower_case": layout.lower_case}),
    )?;
    // sentence-transformers refuses a default that is no prompt.
    let default = layout.default_prompt.as_ref().filter(|name| prompts.get(name.as_str()).is_some());
    push(
        "config_sentence_transformers.json",
        &json!({"prompts": prompts, "default_prompt_name": default, "similarity_fn_name": "cosine"}),
    )?;
    Ok(files)
}

/// Checks that pooling and dense layers fit the transformer and each other.
pub fn check_widths(layout: &SentenceLayout, hidden: usize) -> Result<()> {
    if let Some((path, stated)) = &layout.pooled {
        ensure!(
            *stated == hidden,
            "{}: it pools vectors of {stated} numbers, but the transformer's have {hidden}: it belongs to another model",
            path.display()
        );
    }
    let mut width = hidden;
    for (dense, dir) in layout.head.dense.iter().zip(&layout.dense_dirs) {
        ensure!(
            dense.input == width,
            "{}: the Dense module takes {} numbers but receives {width}: it belongs to another model",
            dir.join("config.json").display(),
            dense.input
        );
        width = dense.output;
    }
    Ok(())
}
