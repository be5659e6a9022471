//! Datasets: questions, passages, and which passages answer which question in which language.
//!
//! One type, [`Dataset`], serves training, validation and evaluation. A *group* is one question id with its
//! parallel questions (one a language at most) and its relevant passages in every language. Identity is by
//! id, never by text: two passages with the same text are two candidates.

mod beir;
pub mod catalogue;
pub mod demo;
pub mod language;
mod limit;
mod open;
mod xquadr;

pub use catalogue::{check_present, model_dir, open};
pub use open::Catalogue;

use anyhow::{Result, bail, ensure};

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
    /// SHA-256 over all of the above but the name, in hexadecimal: what a result was measured on.
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

/// What makes a [`Dataset`], before its hash is known.
#[derive(Debug, Default)]
struct Parts {
    languages: Vec<String>,
    domains: Vec<String>,
    groups: Vec<Group>,
    questions: Vec<Question>,
    passages: Vec<Passage>,
    notes: Vec<String>,
}

impl Dataset {
    /// Puts a dataset together and hashes its contents.
    fn assemble(name: String, parts: Parts) -> Self {
        let Parts { languages, domains, groups, questions, passages, notes } = parts;
        let mut dataset =
            Self { name, languages, domains, groups, questions, passages, hash: String::new(), notes };
        dataset.hash = dataset.digest();
        dataset
    }

    /// SHA-256 over languages, domains, ids, texts and relevance, in order. Every text stands behind its length and
    /// every list behind its number of items, so that no two datasets are written alike.
    fn digest(&self) -> String {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        let text = |hash: &mut Sha256, text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        let number = |hash: &mut Sha256, number: usize| hash.update((number as u64).to_le_bytes());
        for list in [&self.languages, &self.domains] {
            number(&mut hash, list.len());
            for item in list {
                text(&mut hash, item);
            }
        }
        number(&mut hash, self.groups.len());
        for group in &self.groups {
            text(&mut hash, &group.id);
            number(&mut hash, usize::from(group.domain));
            number(&mut hash, group.relevant.len());
            group.relevant.iter().for_each(|p| number(&mut hash, *p as usize));
        }
        number(&mut hash, self.questions.len());
        for question in &self.questions {
            number(&mut hash, question.group as usize);
            number(&mut hash, usize::from(question.language));
            text(&mut hash, &question.text);
        }
        number(&mut hash, self.passages.len());
        for passage in &self.passages {
            text(&mut hash, &passage.id);
            number(&mut hash, usize::from(passage.language));
            text(&mut hash, &passage.text);
        }
        hash.finalize().iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"))
    }

    /// The same dataset with these languages only, in this order.
    ///
    /// # Errors
    /// Names a language that the dataset does not have, and those that it has.
    pub fn restrict(&self, codes: &[String]) -> Result<Self> {
        let mut kept = vec![None; self.languages.len()];
        for (new, code) in codes.iter().enumerate() {
            let Some(old) = self.language(code) else {
                bail!(
                    "dataset '{}' has no language '{code}'; it has {}",
                    self.name,
                    self.languages.join(", ")
                );
            };
            ensure!(kept[usize::from(old)].is_none(), "language '{code}' is listed twice");
            kept[usize::from(old)] = Some(new as LanguageId);
        }
        let mut parts = Parts {
            languages: codes.to_vec(),
            domains: self.domains.clone(),
            notes: self.notes.clone(),
            ..Parts::default()
        };
        let mut passage_at = vec![None; self.passages.len()];
        for (old, passage) in self.passages.iter().enumerate() {
            if let Some(language) = kept[usize::from(passage.language)] {
                passage_at[old] = Some(parts.passages.len() as u32);
                parts.passages.push(Passage { language, ..passage.clone() });
            }
        }
        for group in &self.groups {
            let index = parts.groups.len() as u32;
            let mut questions = vec![None; codes.len()];
            for (old, question) in group.questions.iter().enumerate() {
                if let (Some(language), Some(question)) = (kept[old], question) {
                    questions[usize::from(language)] = Some(parts.questions.len() as u32);
                    let text = self.questions[*question as usize].text.clone();
                    parts.questions.push(Question { group: index, language, text });
                }
            }
            let relevant: Vec<u32> = group.relevant.iter().filter_map(|p| passage_at[*p as usize]).collect();
            if questions.iter().any(Option::is_some) {
                parts.groups.push(Group { id: group.id.clone(), domain: group.domain, questions, relevant });
            }
        }
        Ok(Self::assemble(self.name.clone(), parts))
    }
}
