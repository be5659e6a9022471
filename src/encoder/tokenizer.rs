//! Texts to token ids, with prefixes, cut at a length.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use tokenizers::Tokenizer;

use super::charsmap;
use super::words::Words;
use crate::caught::caught;

/// A model's tokenizer.
#[derive(Clone, Debug)]
pub struct TextTokenizer {
    inner: Tokenizer,
    /// Whether texts are put into lower case first.
    lower_case: bool,
    /// What is known of words, where it tokenises by words.
    words: Option<Arc<Words>>,
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
        let again = "fetch or copy tokenizer.json again";
        charsmap::check_tokenizer(bytes).map_err(|e| anyhow!("not a whole tokenizer ({e:#}); {again}"))?;
        // The library panics on some files that are cut off.
        let read = caught(|| Tokenizer::from_bytes(bytes).map_err(|e| e.to_string()));
        let mut inner = read.flatten().map_err(|e| anyhow!("not a whole tokenizer ({e}); {again}"))?;
        // Cutting and padding are ours: cuts are counted, and nothing is padded.
        inner.with_truncation(None).map_err(|e| anyhow!("{e}"))?;
        inner.with_padding(None);
        let words = Words::of(&inner).map(Arc::new);
        let tokenizer = Self { inner, lower_case: false, words };
        ensure!(
            tokenizer.ends()?.is_some(),
            "the tokenizer puts no special tokens around a text (its 'post_processor' is missing), but the model was \
             trained with them; save the model's own tokenizer again (AutoTokenizer.from_pretrained(...).save_pretrained)"
        );
        Ok(tokenizer)
    }

    /// The same, with texts put into lower case first where `lower_case` is true.
    #[must_use]
    pub fn lower_cased(self, lower_case: bool) -> Self {
        Self { lower_case, ..self }
    }

    /// Ids of the first and last special token around a text; `None` where there are none.
    fn ends(&self) -> Result<Option<(u32, u32)>> {
        let around = self.inner.encode("", true).map_err(|e| anyhow!("tokenising failed: {e}"))?;
        Ok(match *around.get_ids() {
            [first, .., last] => Some((first, last)),
            _ => None,
        })
    }

    /// The padding token and its id, where it has one of the two usual names.
    #[must_use]
    pub fn pad(&self) -> Option<(String, u32)> {
        ["<pad>", "[PAD]"].iter().find_map(|t| Some(((*t).to_owned(), self.inner.token_to_id(t)?)))
    }

    /// The special tokens by their names in a `tokenizer_config.json`. `pad`: the id that the model pads with.
    ///
    /// # Errors
    /// Where the tokenizer fails.
    pub fn special_tokens(&self, pad: usize) -> Result<Vec<(&'static str, String)>> {
        let known = |names: &[&str]| {
            names.iter().find(|n| self.inner.token_to_id(n).is_some()).map(|n| (*n).to_owned())
        };
        let token = |id: Option<u32>| id.and_then(|id| self.inner.id_to_token(id));
        let (first, last) = self.ends()?.unzip();
        let named = [
            ("cls_token", token(first)),
            ("bos_token", token(first)),
            ("sep_token", token(last)),
            ("eos_token", token(last)),
            ("pad_token", self.pad().map(|(t, _)| t).or_else(|| token(u32::try_from(pad).ok()))),
            ("unk_token", known(&["<unk>", "[UNK]"])),
            ("mask_token", known(&["<mask>", "[MASK]"])),
        ];
        Ok(named.into_iter().filter_map(|(name, token)| Some((name, token?))).collect())
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
        self.encode_with(self.words.as_deref(), prefix, texts, longest)
    }

    /// The same, and the seconds that it takes where no word has been seen before.
    ///
    /// # Errors
    /// As [`TextTokenizer::encode`].
    pub fn encode_anew(&self, prefix: &str, texts: &[&str], longest: usize) -> Result<(Tokenised, f64)> {
        let words = self.words.as_ref().and_then(|_| Words::of(&self.inner));
        let start = Instant::now();
        let tokenised = self.encode_with(words.as_ref(), prefix, texts, longest)?;
        Ok((tokenised, start.elapsed().as_secs_f64()))
    }

    fn encode_with(
        &self,
        words: Option<&Words>,
        prefix: &str,
        texts: &[&str],
        longest: usize,
    ) -> Result<Tokenised> {
        ensure!(longest >= 2, "texts must be allowed at least two tokens");
        let prefixed: Vec<String> = texts
            .iter()
            .map(|text| {
                let text = format!("{prefix}{text}");
                if self.lower_case { text.to_lowercase() } else { text }
            })
            .collect();
        let whole = match words {
            Some(words) => words.encode(&self.inner, &prefixed)?,
            None => super::words::by_library(&self.inner, prefixed)?,
        };
        let mut result = Tokenised::default();
        for mut ids in whole {
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
