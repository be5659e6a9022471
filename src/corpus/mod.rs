//! Datasets: questions, passages, and which passages answer which question in which language.
//!
//! One type, [`Dataset`], serves training, validation and evaluation. A *group* is one question id with its
//! parallel questions (one a language at most) and its relevant passages in every language. Identity is by
//! id, never by text: two passages with the same text are two candidates.

mod open;

pub use open::{Catalogue, open};

/// Index of a language in [`Dataset::languages`].
pub type LanguageId = u16;

/// A question in one language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Index into [`Dataset::groups`].
    pub group: u32,
    pub language: LanguageId,
    pub text: String,
}

/// A candidate passage in one language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Unique within the dataset, for example `en_17_3`.
    pub id: String,
    pub language: LanguageId,
    pub text: String,
}

/// One question id: its parallel questions and their relevant passages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The question id that all languages share.
    pub id: String,
    /// Index into [`Dataset::domains`].
    pub domain: u16,
    /// Index into [`Dataset::questions`], by language.
    pub questions: Vec<Option<u32>>,
    /// Indices into [`Dataset::passages`]: every relevant passage, of all languages.
    pub relevant: Vec<u32>,
}

/// A parallel question-passage collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// What results are filed under, for example `xquad-r` or `demo[evaluation]`.
    pub name: String,
    /// Language codes in the order that every table uses.
    pub languages: Vec<String>,
    /// Tags such as `chemistry`; at least one.
    pub domains: Vec<String>,
    pub groups: Vec<Group>,
    pub questions: Vec<Question>,
    pub passages: Vec<Passage>,
    /// SHA-256 over everything above, in hexadecimal: what a result was measured on.
    pub hash: String,
    /// Remarks of the loader that a user should see, for example dropped questions.
    pub notes: Vec<String>,
}

impl Dataset {
    /// The language with this code.
    #[must_use]
    pub fn language(&self, code: &str) -> Option<LanguageId> {
        self.languages.iter().position(|l| l == code).and_then(|i| LanguageId::try_from(i).ok())
    }

    /// Questions of one language, as indices into [`Dataset::questions`].
    pub fn questions_in(&self, language: LanguageId) -> impl Iterator<Item = usize> + '_ {
        self.questions.iter().enumerate().filter(move |(_, q)| q.language == language).map(|(i, _)| i)
    }

    /// Passages of one language, as indices into [`Dataset::passages`].
    pub fn passages_in(&self, language: LanguageId) -> impl Iterator<Item = usize> + '_ {
        self.passages.iter().enumerate().filter(move |(_, p)| p.language == language).map(|(i, _)| i)
    }
}
