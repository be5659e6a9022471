//! Writing a model as a directory that sentence-transformers and Hugging Face's transformers load.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

use super::checkpoint::named;
use super::config::{Architecture, EncoderConfig};
use super::convert::converted;
use super::layout;
use super::sentence::{self, SentenceLayout};
use super::tokenizer::TextTokenizer;

/// What a model directory is made of.
pub struct Parts<'a> {
    pub config: &'a EncoderConfig,
    pub layout: &'a SentenceLayout,
    /// In the layout's order.
    pub tensors: &'a [Tensor],
    pub tokenizer: &'a TextTokenizer,
    pub tokenizer_bytes: &'a [u8],
    /// Further files: name and contents.
    pub extra: &'a [(String, Vec<u8>)],
    /// Prompts by name.
    pub prompts: BTreeMap<String, String>,
    /// Most tokens of a text; absent: what the layout states, else what the position table allows.
    pub longest: Option<usize>,
    /// Type of the numbers on disk.
    pub dtype: DType,
    /// False where the weights lie elsewhere and are not written.
    pub has_weights: bool,
}

/// Files that are made anew rather than carried along.
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

impl Parts<'_> {
    /// Writes the files into `dir`, which exists.
    ///
    /// # Errors
    /// Where the disk is full, or a number does not fit the type.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let put = |path: &Path, bytes: &[u8]| -> Result<()> {
            if let Some(parent) = path.parent() {
                crate::files::create_dir(parent)?;
            }
            crate::files::replace(path, bytes)
        };
        let put_json = |name: &str, value: &Value| -> Result<()> {
            put(&dir.join(name), (serde_json::to_string_pretty(value)? + "\n").as_bytes())
        };
        let longest =
            self.longest.or(self.layout.max_length).unwrap_or(usize::MAX).min(self.config.longest());
        put_json("config.json", &self.model_config())?;
        put(&dir.join("tokenizer.json"), self.tokenizer_bytes)?;
        put_json(TOKENIZER_CONFIG, &self.tokenizer_config(longest)?)?;
        for (name, bytes) in self.extra.iter().filter(|(name, _)| name != TOKENIZER_CONFIG) {
            put(&dir.join(name), bytes)?;
        }
        let hidden = self.config.hidden_size;
        for (path, text) in sentence::files(self.layout, hidden, longest, &self.prompts)? {
            put(&dir.join(path), text.as_bytes())?;
        }
        if !self.has_weights {
            return Ok(());
        }
        let transformer = named(self.config, self.layout, self.tensors)?;
        write_tensors(&dir.join("model.safetensors"), &self.converted(transformer)?)?;
        let first = layout::head(self.config);
        for (index, dense) in self.layout.head.dense.iter().enumerate() {
            let at = |offset: usize| self.tensors[first + 2 * index + offset].to_device(&Device::Cpu);
            let mut tensors = HashMap::from([("linear.weight".to_owned(), at(0)?)]);
            if dense.bias {
                tensors.insert("linear.bias".to_owned(), at(1)?);
            }
            let path = dir.join(format!("{}_Dense/model.safetensors", index + 2));
            write_tensors(&path, &self.converted(tensors)?)?;
        }
        Ok(())
    }

    fn converted(&self, tensors: HashMap<String, Tensor>) -> Result<HashMap<String, Tensor>> {
        let one =
            |(name, tensor): (String, Tensor)| Ok((name.clone(), converted(&tensor, self.dtype, &name)?));
        tensors.into_iter().map(one).collect()
    }

    /// The model's configuration with what is true of the files written: no head on top, and this type.
    fn model_config(&self) -> Value {
        let mut config = self.config.source.clone();
        if let Some(keys) = config.as_object_mut() {
            let base = match (self.config.architecture, keys.get("model_type").and_then(Value::as_str)) {
                (Architecture::Bert, _) => "BertModel",
                (_, Some("roberta")) => "RobertaModel",
                (_, Some("camembert")) => "CamembertModel",
                _ => "XLMRobertaModel",
            };
            let dtype = match self.dtype {
                DType::F16 => "float16",
                DType::BF16 => "bfloat16",
                _ => "float32",
            };
            keys.insert("architectures".into(), json!([base]));
            keys.remove("dtype");
            keys.insert("torch_dtype".into(), json!(dtype));
        }
        config
    }

    /// `tokenizer_config.json`. The class is the one that takes `tokenizer.json` as it is: transformers 5 builds the
    /// others anew from the vocabulary alone, which loses the normaliser.
    fn tokenizer_config(&self, longest: usize) -> Result<Value> {
        let carried = self.extra.iter().find(|(name, _)| name == TOKENIZER_CONFIG);
        let mut config = carried
            .and_then(|(_, bytes)| serde_json::from_slice::<Value>(bytes).ok())
            .filter(Value::is_object)
            .unwrap_or_else(|| json!({}));
        if let Some(keys) = config.as_object_mut() {
            for (name, token) in self.tokenizer.special_tokens(self.config.pad_token_id)? {
                keys.entry(name).or_insert_with(|| json!(token));
            }
            keys.remove("auto_map");
            keys.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
            keys.insert("model_max_length".into(), json!(longest));
            let inputs = match self.config.architecture {
                Architecture::Bert => json!(["input_ids", "token_type_ids", "attention_mask"]),
                Architecture::XlmRoberta => json!(["input_ids", "attention_mask"]),
            };
            keys.insert("model_input_names".into(), inputs);
        }
        Ok(config)
    }
}

/// A model's prompts with these two prefixes among them.
pub fn prompts(layout: &SentenceLayout, query: &str, passage: &str) -> BTreeMap<String, String> {
    let mut prompts = layout.prompts.clone();
    for (name, prompt) in [("query", query), ("passage", passage), ("document", passage)] {
        prompts.insert(name.to_owned(), prompt.to_owned());
    }
    prompts
}

/// Writes a safetensors file, whole or not at all.
///
/// # Errors
/// Where the disk is full or the directory cannot be written.
#[allow(clippy::implicit_hasher, reason = "every caller has the default hasher")]
pub fn write_tensors(path: &Path, tensors: &HashMap<String, Tensor>) -> Result<()> {
    let mut names: Vec<&String> = tensors.keys().collect();
    names.sort();
    let views: Vec<(&String, &Tensor)> = names.into_iter().map(|n| (n, &tensors[n])).collect();
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write_views(path, views, metadata)
}

/// The same from anything that has a type, a shape and bytes; each is asked for its bytes when its turn comes, so that
/// no second copy of everything is held.
///
/// # Errors
/// As [`write_tensors`].
#[allow(clippy::implicit_hasher, reason = "every caller has the default hasher")]
pub fn write_views<V: safetensors::View>(
    path: &Path,
    views: Vec<(&String, V)>,
    metadata: HashMap<String, String>,
) -> Result<()> {
    crate::files::replace_by(path, |beside| {
        safetensors::serialize_to_file(views, Some(metadata), beside).map_err(|error| match error {
            // Its own text repeats that of its source.
            safetensors::SafeTensorError::IoError(source) => source.into(),
            other => anyhow::Error::new(other).context("writing the tensors"),
        })
    })
}
