//! The sentence-transformers layout around a Hugging Face model: `modules.json`, pooling, dense layers, prompts.
//!
//! Two dialects of the pooling configuration exist (booleans up to version 5, one `pooling_mode` string from 6);
//! both are read, the older one is written, which every version understands.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::head::{Dense, Head};
use crate::ops::Pool;

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
}

fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot read", path.display()))?;
    serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .with_context(|| format!("{}: not JSON", path.display()))
}

impl SentenceLayout {
    /// Reads what is there; a plain Hugging Face directory has mean pooling and no prompts.
    ///
    /// # Errors
    /// Names the file and what in it is not supported.
    pub fn read(dir: &Path) -> Result<Self> {
        let mut layout = Self {
            head: Head { pool: Pool::Mean, dense: Vec::new() },
            dense_dirs: Vec::new(),
            transformer: dir.to_owned(),
            query_prefix: None,
            passage_prefix: None,
        };
        layout.read_prompts(&dir.join("config_sentence_transformers.json"))?;
        let modules_file = dir.join("modules.json");
        if !modules_file.is_file() {
            return Ok(layout);
        }
        let modules = read_json(&modules_file)?;
        let modules =
            modules.as_array().with_context(|| format!("{}: not a list", modules_file.display()))?;
        for module in modules {
            let text = |key: &str| module.get(key).and_then(Value::as_str).unwrap_or_default();
            let path = dir.join(text("path"));
            match text("type").rsplit('.').next().unwrap_or_default() {
                "Transformer" => layout.transformer = path,
                "Pooling" => layout.head.pool = read_pooling(&path.join("config.json"))?,
                "Dense" => {
                    layout.head.dense.push(read_dense(&path.join("config.json"))?);
                    layout.dense_dirs.push(path);
                }
                "Normalize" => {}
                other => bail!(
                    "{}: module '{other}' is not supported; polymix reads Transformer, Pooling, Dense and Normalize",
                    modules_file.display()
                ),
            }
        }
        Ok(layout)
    }

    fn read_prompts(&mut self, path: &Path) -> Result<()> {
        if !path.is_file() {
            return Ok(());
        }
        let config = read_json(path)?;
        let prompt = |names: &[&str]| {
            let prompts = config.get("prompts")?;
            names.iter().find_map(|n| prompts.get(n)).and_then(Value::as_str).map(str::to_owned)
        };
        self.query_prefix = prompt(&["query"]);
        self.passage_prefix = prompt(&["passage", "document"]);
        Ok(())
    }
}

fn read_pooling(path: &Path) -> Result<Pool> {
    let config = read_json(path)?;
    let on = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
    let mode = if let Some(Value::String(mode)) = config.get("pooling_mode") {
        mode.clone()
    } else {
        let modes: Vec<&str> = [
            "cls_token",
            "mean_tokens",
            "max_tokens",
            "mean_sqrt_len_tokens",
            "weightedmean_tokens",
            "lasttoken",
        ]
        .into_iter()
        .filter(|mode| on(&format!("pooling_mode_{mode}")))
        .collect();
        modes.join("+")
    };
    match mode.as_str() {
        "mean" | "mean_tokens" => Ok(Pool::Mean),
        "cls" | "cls_token" => Ok(Pool::First),
        other => {
            bail!("{}: pooling '{other}' is not supported; polymix pools by mean or cls", path.display())
        }
    }
}

fn read_dense(path: &Path) -> Result<Dense> {
    let config = read_json(path)?;
    let size = |key: &str| {
        let value = config.get(key).and_then(Value::as_u64).filter(|v| *v > 0);
        value
            .map(|v| v as usize)
            .with_context(|| format!("{}: key '{key}' is missing or no size", path.display()))
    };
    let activation = config
        .get("activation_function")
        .and_then(Value::as_str)
        .unwrap_or("torch.nn.modules.activation.Tanh");
    let tanh = match activation.rsplit('.').next().unwrap_or_default() {
        "Tanh" => true,
        "Identity" => false,
        other => {
            bail!("{}: activation '{other}' is not supported; polymix has Tanh and Identity", path.display())
        }
    };
    let dense = Dense {
        input: size("in_features")?,
        output: size("out_features")?,
        tanh,
        bias: config.get("bias").and_then(Value::as_bool).unwrap_or(true),
    };
    Ok(dense)
}

/// The configuration files of a model directory, by relative path; weights and tokenizer are written elsewhere.
pub fn files(
    head: &Head,
    hidden: usize,
    longest: usize,
    query: &str,
    passage: &str,
) -> Result<Vec<(PathBuf, String)>> {
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
    push("sentence_bert_config.json", &json!({"max_seq_length": longest, "do_lower_case": false}))?;
    push(
        "config_sentence_transformers.json",
        &json!({"prompts": {"query": query, "passage": passage, "document": passage},
                "default_prompt_name": null, "similarity_fn_name": "cosine"}),
    )?;
    Ok(files)
}

/// Checks that the dense layers fit the transformer and each other.
pub fn check_widths(head: &Head, hidden: usize) -> Result<()> {
    let mut width = hidden;
    for dense in &head.dense {
        ensure!(
            dense.input == width,
            "a Dense module takes {} numbers but receives {width}: it belongs to another model",
            dense.input
        );
        width = dense.output;
    }
    Ok(())
}
