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
    /// Which: indices into `ids`.
    pub cut: Vec<usize>,
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
                result.cut.push(result.ids.len());
            }
            result.ids.push(ids);
        }
        Ok(result)
    }

    /// For texts that [`TextTokenizer::encode`] cuts: where the part that is kept ends, in bytes of the text.
    ///
    /// # Errors
    /// As [`TextTokenizer::encode`].
    pub fn kept(&self, prefix: &str, texts: &[&str], longest: usize) -> Result<Vec<usize>> {
        let prefixed: Vec<String> = texts.iter().map(|text| format!("{prefix}{text}")).collect();
        let encodings =
            self.inner.encode_batch(prefixed, true).map_err(|e| anyhow!("tokenising failed: {e}"))?;
        Ok(encodings
            .iter()
            .map(|encoding| {
                // The last token kept is a special one; the one before it ends the text.
                let offsets = encoding.get_offsets();
                let last = offsets.get(longest.saturating_sub(2)).map_or(usize::MAX, |(_, end)| *end);
                if offsets.len() <= longest { usize::MAX } else { last.saturating_sub(prefix.len()) }
            })
            .collect())
    }

    /// SHA-256 of the tokenizer as it is used, in hexadecimal.
    ///
    /// # Errors
    /// Where it cannot be written as text.
    pub fn hash(&self) -> Result<String> {
        use sha2::{Digest, Sha256};
        let json = self.inner.to_string(false).map_err(|e| anyhow!("{e}"))?;
        Ok(crate::corpus::read::hex(&Sha256::digest(json.as_bytes())))
    }
}
