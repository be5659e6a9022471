//! A Hugging Face `config.json`, as far as the encoder needs it.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{bert, xlm_roberta};

/// Which published architecture the weights belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    XlmRoberta,
    Bert,
}

/// Shape and rates of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    pub architecture: Architecture,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub layers: usize,
    pub heads: usize,
    pub intermediate_size: usize,
    /// Rows of the position table.
    pub positions: usize,
    pub types: usize,
    pub pad_token_id: usize,
    pub layer_norm_eps: f64,
    pub hidden_dropout: f64,
    pub attention_dropout: f64,
    pub initializer_range: f64,
    /// The file itself, written back unchanged with a trained model.
    pub source: Value,
}

impl Architecture {
    /// What a checkpoint's tensor names may start with.
    #[must_use]
    pub const fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::XlmRoberta => &xlm_roberta::PREFIXES,
            Self::Bert => &bert::PREFIXES,
        }
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::XlmRoberta => "XLM-R",
            Self::Bert => "BERT",
        }
    }
}

impl EncoderConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// Names the key that is missing, of another type, or describes a model that this encoder cannot be.
    pub fn parse(text: &str) -> Result<Self> {
        let source: Value = serde_json::from_str(text).context("not JSON")?;
        let model_type = source
            .get("model_type")
            .and_then(Value::as_str)
            .context("key 'model_type' is missing; this is not a Hugging Face model configuration")?;
        let architecture = if xlm_roberta::MODEL_TYPES.contains(&model_type) {
            Architecture::XlmRoberta
        } else if bert::MODEL_TYPES.contains(&model_type) {
            Architecture::Bert
        } else {
            bail!(
                "model_type '{model_type}' is not supported; polymix trains {}",
                [&xlm_roberta::MODEL_TYPES[..], &bert::MODEL_TYPES[..]].concat().join(", ")
            );
        };
        let size = |key: &str| -> Result<usize> {
            let value = source.get(key).with_context(|| format!("key '{key}' is missing"))?;
            value
                .as_u64()
                .map(|v| v as usize)
                .with_context(|| format!("key '{key}' = {value}: must be a whole number"))
        };
        let number = |key: &str, default: f64| -> Result<f64> {
            let Some(value) = source.get(key).filter(|v| !v.is_null()) else { return Ok(default) };
            let wanted = || format!("key '{key}' = {value}: must be a number that is not negative");
            value.as_f64().filter(|n| *n >= 0.0).with_context(wanted)
        };
        let text = |key: &str, default: &'static str| -> String {
            source.get(key).and_then(Value::as_str).unwrap_or(default).to_owned()
        };
        let activation = text("hidden_act", "gelu");
        ensure!(activation == "gelu", "hidden_act '{activation}' is not supported; only 'gelu' is");
        let position = text("position_embedding_type", "absolute");
        ensure!(
            position == "absolute",
            "position_embedding_type '{position}' is not supported; only 'absolute' is"
        );
        let config = Self {
            architecture,
            vocab_size: size("vocab_size")?,
            hidden_size: size("hidden_size")?,
            layers: size("num_hidden_layers")?,
            heads: size("num_attention_heads")?,
            intermediate_size: size("intermediate_size")?,
            positions: size("max_position_embeddings")?,
            types: size("type_vocab_size").unwrap_or(1),
            pad_token_id: size("pad_token_id")
                .unwrap_or(usize::from(architecture == Architecture::XlmRoberta)),
            layer_norm_eps: number("layer_norm_eps", 1e-12)?,
            hidden_dropout: number("hidden_dropout_prob", 0.1)?,
            attention_dropout: number("attention_probs_dropout_prob", 0.1)?,
            initializer_range: number("initializer_range", 0.02)?,
            source,
        };
        // Far above every model there is, and far below what memory could not hold a list of.
        for (key, value, most) in [
            ("vocab_size", config.vocab_size, 1 << 26),
            ("hidden_size", config.hidden_size, 1 << 17),
            ("num_hidden_layers", config.layers, 1 << 10),
            ("num_attention_heads", config.heads, 1 << 12),
            ("intermediate_size", config.intermediate_size, 1 << 19),
            ("max_position_embeddings", config.positions, 1 << 20),
            ("type_vocab_size", config.types, 1 << 16),
        ] {
            ensure!(value > 0, "key '{key}' is 0");
            ensure!(
                value <= most,
                "key '{key}' = {value}: must be at most {most}; fetch or copy the file again"
            );
        }
        ensure!(
            config.pad_token_id < config.vocab_size,
            "key 'pad_token_id' = {}: must be below vocab_size, {}",
            config.pad_token_id,
            config.vocab_size
        );
        ensure!(config.layer_norm_eps > 0.0, "key 'layer_norm_eps' is 0: vectors would not be numbers");
        ensure!(
            config.hidden_size.is_multiple_of(config.heads),
            "hidden_size {} is not a multiple of num_attention_heads {}",
            config.hidden_size,
            config.heads
        );
        ensure!(
            config.positions > config.first_position() + 2,
            "max_position_embeddings {} leaves no room for a text",
            config.positions
        );
        for (key, rate) in [
            ("hidden_dropout_prob", config.hidden_dropout),
            ("attention_probs_dropout_prob", config.attention_dropout),
        ] {
            ensure!((0.0..1.0).contains(&rate), "{key} = {rate}: must be at least 0 and below 1");
        }
        Ok(config)
    }

    /// Row of the position table that a text's first token takes.
    #[must_use]
    pub const fn first_position(&self) -> usize {
        match self.architecture {
            Architecture::XlmRoberta => xlm_roberta::first_position(self),
            Architecture::Bert => bert::FIRST_POSITION,
        }
    }

    /// Longest text in tokens, special tokens included.
    #[must_use]
    pub const fn longest(&self) -> usize {
        self.positions - self.first_position()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BERT: &str = r#"{"model_type": "bert", "vocab_size": 10, "hidden_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 40, "type_vocab_size": 2}"#;

    #[test]
    fn positions_start_where_the_architecture_says() {
        let bert = EncoderConfig::parse(BERT).expect("bert");
        assert_eq!((bert.first_position(), bert.longest()), (0, 40));
        let xlmr = EncoderConfig::parse(&BERT.replace("\"bert\"", "\"xlm-roberta\"")).expect("xlm-r");
        assert_eq!((xlmr.first_position(), xlmr.longest()), (2, 38));
    }

    #[test]
    fn unfit_configurations_name_the_key() {
        for (from, to, part) in [
            ("\"bert\"", "\"t5\"", "'t5'"),
            ("\"hidden_size\": 8", "\"hidden_size\": \"8\"", "hidden_size"),
            ("\"hidden_size\": 8", "\"hidden_size\": 9", "multiple"),
            ("\"vocab_size\": 10,", "", "vocab_size"),
            ("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 0", "num_hidden_layers"),
            ("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 18446744073709551615", "at most 1024"),
            ("\"vocab_size\": 10", "\"vocab_size\": 10000000000", "vocab_size"),
            (
                "\"vocab_size\": 10",
                "\"pad_token_id\": 18446744073709551615, \"vocab_size\": 10",
                "pad_token_id",
            ),
            ("\"vocab_size\": 10", "\"layer_norm_eps\": -1, \"vocab_size\": 10", "layer_norm_eps"),
            ("\"vocab_size\": 10", "\"layer_norm_eps\": \"x\", \"vocab_size\": 10", "layer_norm_eps"),
        ] {
            let error = format!("{:#}", EncoderConfig::parse(&BERT.replace(from, to)).expect_err(to));
            assert!(error.contains(part), "{error}");
        }
    }
}
