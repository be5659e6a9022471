//! Code-switched training texts: words replaced by translations from lexicons (Litschko et al. 2023).
//!
//! Which words, and by which translation, is a function of (seed, batch of the plan, side, text, place of the word): a
//! resumed run draws what an uninterrupted one would, and the same text is switched differently the next time it is drawn.
//! Words are needed for it, so the texts themselves must be in memory: a token cache holds only numbers.

use anyhow::{Result, ensure};

use super::tokens::TrainingSet;
use crate::batch::Batch;
use crate::corpus::Dataset;
use crate::corpus::lexicon::{self, Lexicons};
use crate::encoder::{Encoder, TextTokenizer};
use crate::spec::{ExperimentSpec, ModelSpec, SwitchedSides};
use crate::stream::Stream;

/// Replaces words of training texts.
#[derive(Clone, Debug)]
pub struct Switcher {
    lexicons: Lexicons,
    probability: f64,
    sides: SwitchedSides,
    seed: u64,
}

/// Tokens of a batch's texts where they are not those of the training set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switched {
    /// By place among the questions.
    pub questions: Vec<Option<Vec<u32>>>,
    /// By place among the passages.
    pub passages: Vec<Option<Vec<u32>>>,
}

impl Switcher {
    /// What the spec asks for; `None` where it asks for nothing. `languages` are those that are trained on.
    ///
    /// # Errors
    /// A lexicon that cannot be read, or lexicons of which none is out of a training language.
    pub fn new(spec: &ExperimentSpec, languages: &[String]) -> Result<Option<Self>> {
        let robust = &spec.robust;
        if !robust.switches() {
            return Ok(None);
        }
        let lexicons = Lexicons::named(&robust.lexicons)?;
        ensure!(
            languages.iter().any(|l| !lexicons.from(l).is_empty()),
            "robust.lexicons: none of {} translates out of a training language ({}); a lexicon FROM-TO has words of FROM first",
            lexicons.names().join(", "),
            languages.join(", ")
        );
        Ok(Some(Self { lexicons, probability: robust.code_switch, sides: robust.sides, seed: spec.seed }))
    }

    /// Bytes of its lexicons in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lexicons.bytes()
    }

    /// Training languages out of which no lexicon translates.
    #[must_use]
    pub fn without_lexicon<'a>(&self, languages: &'a [String]) -> Vec<&'a str> {
        languages.iter().filter(|l| self.lexicons.from(l).is_empty()).map(String::as_str).collect()
    }

    /// The text of a side with words replaced, for the plan's batch `index`; `None` where it stays as it is.
    #[must_use]
    pub fn rewrite(
        &self,
        text: &str,
        language: &str,
        (side, number): (&str, u32),
        index: usize,
    ) -> Option<String> {
        let name = format!("code-switch {side} {number}");
        let draw = &mut Stream::new(self.seed, &name, index as u64);
        lexicon::switched(text, &self.lexicons.from(language), self.probability, draw)
    }

    /// The tokens of a batch's texts that are rewritten; `index` is its place in the plan.
    ///
    /// # Errors
    /// Where a text cannot be tokenised.
    pub fn switch(
        &self,
        reading: Reading<'_>,
        texts: &Dataset,
        batch: &Batch,
        index: usize,
    ) -> Result<Switched> {
        let language = |l: u16| texts.languages[usize::from(l)].as_str();
        let question = |number: u32| {
            let question = &texts.questions[number as usize];
            self.rewrite(&question.text, language(question.language), ("question", number), index)
        };
        let passage = |number: u32| {
            let passage = &texts.passages[number as usize];
            self.rewrite(&passage.text, language(passage.language), ("passage", number), index)
        };
        let mut switched = Switched::default();
        if self.sides.questions() {
            let written: Vec<_> = batch.pairs.iter().map(|p| question(p.question)).collect();
            switched.questions = reading.tokens(0, &written)?;
        }
        if self.sides.passages() {
            let written: Vec<_> = batch.passages().map(passage).collect();
            switched.passages = reading.tokens(1, &written)?;
        }
        Ok(switched)
    }
}

/// How a model reads questions and passages.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    pub tokenizer: &'a TextTokenizer,
    /// Before questions, before passages.
    pub prefixes: [&'a str; 2],
    /// Most tokens of a question, and of a passage.
    pub limits: [usize; 2],
}

impl<'a> Reading<'a> {
    /// As a spec cuts texts for this model.
    pub(super) fn of(encoder: &'a Encoder, model: &ModelSpec) -> Self {
        let longest = encoder.config.longest();
        Self {
            tokenizer: &encoder.tokenizer,
            prefixes: [&encoder.query_prefix, &encoder.passage_prefix],
            limits: [model.max_query_tokens, model.max_passage_tokens].map(|n| n.min(longest)),
        }
    }

    /// Tokens of those texts of a side that there are.
    fn tokens(self, side: usize, texts: &[Option<String>]) -> Result<Vec<Option<Vec<u32>>>> {
        let written: Vec<&str> = texts.iter().flatten().map(String::as_str).collect();
        let mut ids = if written.is_empty() {
            Vec::new()
        } else {
            self.tokenizer.encode(self.prefixes[side], &written, self.limits[side])?.ids
        }
        .into_iter();
        Ok(texts.iter().map(|text| text.as_ref().and_then(|_| ids.next())).collect())
    }
}

/// Why a training set in a token cache, or one that would go into one, cannot be switched.
#[must_use]
pub fn no_texts(name: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "robust.code_switch: the training data '{name}' go into a token cache, which holds token ids and no words to replace. \
         Keep the texts in memory with data.cache = \"never\", or set robust.code_switch = 0"
    )
}

impl TrainingSet {
    /// The same with its texts at hand, which code-switching needs.
    #[must_use]
    pub fn with_texts(mut self, dataset: Dataset) -> Self {
        self.texts = Some(Box::new(dataset));
        self
    }

    pub(super) fn texts(&self) -> Result<&Dataset> {
        self.texts.as_deref().ok_or_else(|| no_texts(&self.summary.name))
    }
}
