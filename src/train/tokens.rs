//! The training texts as token ids.

use anyhow::Result;

use crate::corpus::Dataset;
use crate::encoder::Encoder;
use crate::spec::ModelSpec;

/// Token ids of a dataset's questions and passages, prefixes and special tokens included.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub questions: Vec<Vec<u32>>,
    pub passages: Vec<Vec<u32>>,
    pub truncated_questions: usize,
    pub truncated_passages: usize,
}

/// Texts tokenised between two reports of progress.
pub const SLICE: usize = 16_384;

impl Tokens {
    /// Tokenises all texts; `progress` hears (done, total).
    ///
    /// # Errors
    /// Where a text cannot be tokenised, or what `progress` returns.
    pub fn new(
        dataset: &Dataset,
        encoder: &Encoder,
        model: &ModelSpec,
        progress: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<Self> {
        let total = dataset.questions.len() + dataset.passages.len();
        let mut done = 0;
        let mut side = |prefix: &str, texts: &mut dyn Iterator<Item = &str>, longest: usize| -> Result<_> {
            let texts: Vec<&str> = texts.collect();
            let longest = longest.min(encoder.config.longest());
            let (mut ids, mut truncated) = (Vec::with_capacity(texts.len()), 0);
            for slice in texts.chunks(SLICE) {
                let tokenised = encoder.tokenizer.encode(prefix, slice, longest)?;
                ids.extend(tokenised.ids);
                truncated += tokenised.truncated;
                done += slice.len();
                progress(done, total)?;
            }
            Ok((ids, truncated))
        };
        let mut questions = dataset.questions.iter().map(|q| q.text.as_str());
        let mut passages = dataset.passages.iter().map(|p| p.text.as_str());
        let (questions, truncated_questions) =
            side(&encoder.query_prefix, &mut questions, model.max_query_tokens)?;
        let (passages, truncated_passages) =
            side(&encoder.passage_prefix, &mut passages, model.max_passage_tokens)?;
        Ok(Self { questions, passages, truncated_questions, truncated_passages })
    }
}
