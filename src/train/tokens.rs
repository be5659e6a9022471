//! The training texts as token ids, in memory or in a token cache.

use anyhow::Result;

use super::lengths::TextLengths;
use crate::batch::{Batch, Layout, Pair, text_hash};
use crate::corpus::{Dataset, LanguageId, Summary};
use crate::encoder::Encoder;
use crate::mapped::Offsets;
use crate::spec::ModelSpec;
use crate::tokens::Store;

/// Token ids of a dataset's questions and passages, prefixes and special tokens included; those of a text in a language
/// that was not asked for are empty.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub questions: Vec<Vec<u32>>,
    pub passages: Vec<Vec<u32>>,
    pub truncated_questions: usize,
    pub truncated_passages: usize,
    /// Answers that lie behind the cut of their passage.
    pub lost_answers: usize,
}

/// A dataset to train on: what the plan must know, and the token ids.
#[derive(Debug)]
pub struct TrainingSet {
    pub summary: Summary,
    pub layout: Layout,
    pub notes: Vec<String>,
    /// Hashes of the question ids ([`text_hash`]), sorted.
    pub ids: Offsets,
    tokens: Held,
    /// The question ids, by group; a token cache has only their hashes.
    group_ids: Vec<String>,
    /// The texts themselves, where they are needed while training.
    pub(super) texts: Option<Box<Dataset>>,
}

#[derive(Debug)]
enum Held {
    Memory(Tokens),
    Cache(Box<Store>),
}

/// How many texts were cut at the length limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    pub questions: usize,
    pub passages: usize,
    /// Answers that lie behind the cut.
    pub answers: usize,
}

impl TrainingSet {
    /// A dataset in memory, with its tokens.
    #[must_use]
    pub fn in_memory(dataset: &Dataset, tokens: Tokens) -> Self {
        let mut ids: Vec<u64> = dataset.groups.iter().map(|g| text_hash(&g.id)).collect();
        ids.sort_unstable();
        Self {
            summary: dataset.summary(),
            layout: Layout::of(dataset),
            notes: dataset.notes.clone(),
            ids: ids.into(),
            tokens: Held::Memory(tokens),
            group_ids: dataset.groups.iter().map(|g| g.id.clone()).collect(),
            texts: None,
        }
    }

    /// A token cache.
    #[must_use]
    pub fn cached(store: Store) -> Self {
        let meta = &store.meta;
        Self {
            summary: Summary {
                name: meta.name.clone(),
                sha256: meta.sha256.clone(),
                questions: meta.questions as usize,
                passages: meta.passages as usize,
                question_ids: meta.groups as usize,
                languages: meta.languages.clone(),
                inputs: meta.inputs.clone(),
            },
            layout: store.layout.clone(),
            notes: meta.notes.clone(),
            ids: store.ids.clone(),
            tokens: Held::Cache(Box::new(store)),
            group_ids: Vec::new(),
            texts: None,
        }
    }

    /// True where its tokens are mapped from a token cache.
    #[must_use]
    pub const fn is_cached(&self) -> bool {
        matches!(self.tokens, Held::Cache(_))
    }

    /// The id that the questions of a group share; none where it is not at hand.
    #[must_use]
    pub fn group_id(&self, group: u32) -> Option<&str> {
        self.group_ids.get(group as usize).map(String::as_str)
    }

    /// The token ids of a question.
    #[must_use]
    pub fn question(&self, index: u32) -> &[u32] {
        match &self.tokens {
            Held::Memory(tokens) => &tokens.questions[index as usize],
            Held::Cache(store) => store.questions.get(index),
        }
    }

    /// The token ids of a passage.
    #[must_use]
    pub fn passage(&self, index: u32) -> &[u32] {
        match &self.tokens {
            Held::Memory(tokens) => &tokens.passages[index as usize],
            Held::Cache(store) => store.passages.get(index),
        }
    }

    /// Tokens of a batch's texts.
    #[must_use]
    pub fn lengths(&self, batch: &Batch) -> TextLengths {
        let length = |p: &Pair| (self.question(p.question).len(), self.passage(p.passage).len());
        TextLengths {
            pairs: batch.pairs.iter().map(length).collect(),
            negatives: batch.negatives.iter().map(|p| self.passage(*p).len()).collect(),
        }
    }

    /// What was cut of the texts in these languages. Of texts in memory only those are known that were tokenised.
    #[must_use]
    pub fn cuts(&self, languages: &[String]) -> Cuts {
        match &self.tokens {
            Held::Memory(t) => Cuts {
                questions: t.truncated_questions,
                passages: t.truncated_passages,
                answers: t.lost_answers,
            },
            Held::Cache(store) => {
                let of_each = store.meta.languages.iter().zip(&store.meta.cut_by_language);
                let trained = of_each.filter(|(language, _)| languages.contains(language));
                trained.fold(Cuts::default(), |sum, (_, of)| Cuts {
                    questions: sum.questions + of[0] as usize,
                    passages: sum.passages + of[1] as usize,
                    answers: sum.answers + of[2] as usize,
                })
            }
        }
    }
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
        Self::in_languages(dataset, &[], encoder, model, progress)
    }

    /// Tokenises the texts in these languages (none: in all); `progress` hears (done, total) of them.
    ///
    /// # Errors
    /// As [`Tokens::new`].
    pub fn in_languages(
        dataset: &Dataset,
        languages: &[String],
        encoder: &Encoder,
        model: &ModelSpec,
        progress: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<Self> {
        let is_wanted: Vec<bool> =
            dataset.languages.iter().map(|l| languages.is_empty() || languages.contains(l)).collect();
        let is_wanted = |language: LanguageId| is_wanted[usize::from(language)];
        let questions = dataset.questions.iter().map(|q| is_wanted(q.language).then_some(q.text.as_str()));
        let passages = dataset.passages.iter().map(|p| is_wanted(p.language).then_some(p.text.as_str()));
        let total = questions.clone().flatten().count() + passages.clone().flatten().count();
        let mut done = 0;
        let mut side =
            |prefix: &str, texts: &mut dyn Iterator<Item = Option<&str>>, longest: usize| -> Result<_> {
                let longest = longest.min(encoder.config.longest());
                let (mut ids, mut cut): (Vec<Vec<u32>>, Vec<usize>) = (Vec::new(), Vec::new());
                // Places and texts of those that are tokenised next.
                let (mut places, mut slice) = (Vec::with_capacity(SLICE), Vec::with_capacity(SLICE));
                let mut texts = texts.peekable();
                while let Some(text) = texts.next() {
                    if let Some(text) = text {
                        places.push(ids.len());
                        slice.push(text);
                    }
                    ids.push(Vec::new());
                    if slice.len() == SLICE || texts.peek().is_none() {
                        let tokenised = encoder.tokenizer.encode(prefix, &slice, longest)?;
                        cut.extend(tokenised.cut.iter().map(|at| places[*at]));
                        places.iter().zip(tokenised.ids).for_each(|(place, own)| ids[*place] = own);
                        done += slice.len();
                        places.clear();
                        slice.clear();
                        progress(done, total)?;
                    }
                }
                Ok((ids, cut))
            };
        let (questions, cut_questions) =
            side(&encoder.query_prefix, &mut { questions }, model.max_query_tokens)?;
        let (passages, cut_passages) =
            side(&encoder.passage_prefix, &mut { passages }, model.max_passage_tokens)?;
        Ok(Self {
            questions,
            passages,
            truncated_questions: cut_questions.len(),
            truncated_passages: cut_passages.len(),
            lost_answers: lost_answers(dataset, encoder, model, &cut_passages)?,
        })
    }
}

/// How many answers lie behind the cut of their passage; `cut` are the passages that were cut.
fn lost_answers(dataset: &Dataset, encoder: &Encoder, model: &ModelSpec, cut: &[usize]) -> Result<usize> {
    if cut.is_empty() || dataset.answers.is_empty() {
        return Ok(0);
    }
    let texts: Vec<&str> = cut.iter().map(|p| dataset.passages[*p].text.as_str()).collect();
    let longest = model.max_passage_tokens.min(encoder.config.longest());
    let kept = encoder.tokenizer.kept(&encoder.passage_prefix, &texts, longest)?;
    let kept: std::collections::HashMap<usize, usize> = cut.iter().copied().zip(kept).collect();
    let lost =
        |a: &&crate::corpus::Answer| kept.get(&(a.passage as usize)).is_some_and(|k| a.end as usize > *k);
    Ok(dataset.answers.iter().filter(lost).count())
}
