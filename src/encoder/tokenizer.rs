//! Texts to token ids, with prefixes, cut at a length.

use anyhow::{Result, anyhow, ensure};
use tokenizers::Tokenizer;

/// A model's tokenizer.
#[derive(Clone, Debug)]
pub struct TextTokenizer {
    inner: Tokenizer,
}

/// Token sequences of some texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokenised {
    /// One id sequence a text, special tokens included.
    pub ids: Vec<Vec<u32>>,
    /// How many were cut.
    pub truncated: usize,
}

impl TextTokenizer {
    /// From the contents of a `tokenizer.json`.
    ///
    /// # Errors
    /// Where it is no tokenizer.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut inner = Tokenizer::from_bytes(bytes).map_err(|e| anyhow!("not a tokenizer: {e}"))?;
        // Cutting and padding are ours: cuts are counted, and nothing is padded.
        inner.with_truncation(None).map_err(|e| anyhow!("{e}"))?;
        inner.with_padding(None);
        Ok(Self { inner })
    }

    /// One more than the highest id.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1)
    }

    /// Ids of `prefix + text` for each text, at most `longest` tokens with the special tokens. Uses all cores.
    ///
    /// # Errors
    /// Where a text cannot be tokenised.
    pub fn encode(&self, prefix: &str, texts: &[&str], longest: usize) -> Result<Tokenised> {
        ensure!(longest >= 2, "texts must be allowed at least two tokens");
        let prefixed: Vec<String> = texts.iter().map(|text| format!("{prefix}{text}")).collect();
        let encodings =
            self.inner.encode_batch_fast(prefixed, true).map_err(|e| anyhow!("tokenising failed: {e}"))?;
        let mut result = Tokenised::default();
        for encoding in encodings {
            let mut ids = encoding.get_ids().to_vec();
            if ids.len() > longest {
                // The closing special token stays last, as Hugging Face's truncation leaves it.
                let last = ids[ids.len() - 1];
                ids.truncate(longest - 1);
                ids.push(last);
                result.truncated += 1;
            }
            result.ids.push(ids);
        }
        Ok(result)
    }
}
