//! Datasets: questions, passages, and which passages answer which question in which language.
//!
//! One type, [`Dataset`], serves training, validation and evaluation. A *group* is one question id with its
//! parallel questions (one a language at most) and its relevant passages in every language. Identity is by
//! id, never by text: two passages with the same text are two candidates.

mod beir;
mod captions;
pub mod catalogue;
pub mod demo;
mod filter;
pub mod language;
pub mod lexicon;
mod limit;
mod mewsli;
mod mfaq;
mod mmarco;
mod mmarco_judged;
mod open;
mod options;
mod pairs;
pub mod read;
mod select;
mod sentences;
mod sink;
mod squad;
mod tatoeba;
mod trec;
mod triples;
mod xquadr;

pub use catalogue::{check_present, locate, model_dir, open, stream};
pub use open::{Catalogue, READING, canonical, may_read};
pub use options::Options;
pub use sink::{Builder, Sink, language_in, nothing, two_passages};
pub(crate) use trec::{grade, judgement};

use std::collections::BTreeMap;

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

/// Where the answer of a question ends in a passage: what is behind the cut at a length limit is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Index into [`Dataset::questions`].
    pub question: u32,
    /// Index into [`Dataset::passages`].
    pub passage: u32,
    /// End of the answer in the passage's text, in bytes.
    pub end: u32,
}

/// A file that a dataset was read from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Input {
    pub path: String,
    pub bytes: u64,
    /// SHA-256 of the file as it lies on disk, in hexadecimal.
    pub sha256: String,
}

/// A parallel question-passage collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// By group, hard negatives as indices into [`Dataset::passages`], all languages; empty where the data have none.
    pub negatives: Vec<Vec<u32>>,
    /// By group and relevant passage the label's grade, from 2: what is not here has grade 1.
    pub grades: BTreeMap<(u32, u32), u32>,
    /// By group, passages that are the question itself, as indices into [`Dataset::passages`]: they are no candidates for
    /// it, and none is relevant.
    pub itself: BTreeMap<u32, Vec<u32>>,
    /// Where answers end, for data that say it.
    pub answers: Vec<Answer>,
    /// The files that were read.
    pub inputs: Vec<Input>,
}

/// What a run's record says of a dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    #[serde(skip)]
    pub name: String,
    pub sha256: String,
    pub questions: usize,
    pub passages: usize,
    pub question_ids: usize,
    pub languages: Vec<String>,
    pub inputs: Vec<Input>,
}

impl Dataset {
    /// What a run's record says of it.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            name: self.name.clone(),
            sha256: self.hash.clone(),
            questions: self.questions.len(),
            passages: self.passages.len(),
            question_ids: self.groups.len(),
            languages: self.languages.clone(),
            inputs: self.inputs.clone(),
        }
    }

    /// The language with this code.
    #[must_use]
    pub fn language(&self, code: &str) -> Option<LanguageId> {
        self.languages.iter().position(|l| l == code).and_then(|i| LanguageId::try_from(i).ok())
    }

    /// Questions of one language, as indices into [`Dataset::questions`].
    pub fn questions_in(&self, language: LanguageId) -> impl Iterator<Item = usize> + '_ {
        self.questions.iter().enumerate().filter(move |(_, q)| q.language == language).map(|(i, _)| i)
    }

    /// The grade of a relevant passage.
    #[must_use]
    pub fn grade(&self, group: u32, passage: u32) -> u32 {
        self.grades.get(&(group, passage)).copied().unwrap_or(1)
    }

    /// How many questions are passages too, and are not ranked against themselves.
    #[must_use]
    pub fn without_itself(&self) -> usize {
        self.questions.iter().filter(|q| self.itself.contains_key(&q.group)).count()
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
    negatives: Vec<Vec<u32>>,
    grades: BTreeMap<(u32, u32), u32>,
    itself: BTreeMap<u32, Vec<u32>>,
    answers: Vec<Answer>,
    inputs: Vec<Input>,
}

impl Parts {
    /// Takes the grades of a group's relevant passages and the passages that are its question from another dataset, in
    /// which the group has the number `old`; `place` gives a passage's number here, if it is still there.
    fn take_labels(&mut self, from: &Dataset, old: u32, new: u32, place: impl Fn(u32) -> Option<u32>) {
        for ((_, passage), grade) in from.grades.range((old, 0)..=(old, u32::MAX)) {
            if let Some(passage) = place(*passage) {
                self.grades.insert((new, passage), *grade);
            }
        }
        let own: Vec<u32> = from.itself.get(&old).into_iter().flatten().filter_map(|p| place(*p)).collect();
        if !own.is_empty() {
            self.itself.insert(new, own);
        }
    }
}

impl Dataset {
    /// Puts a dataset together and hashes its contents.
    fn assemble(name: String, parts: Parts) -> Self {
        let Parts {
            languages,
            domains,
            groups,
            questions,
            passages,
            notes,
            negatives,
            grades,
            itself,
            answers,
            inputs,
        } = parts;
        let mut dataset = Self {
            name,
            languages,
            domains,
            groups,
            questions,
            passages,
            hash: String::new(),
            notes,
            negatives,
            grades,
            itself,
            answers,
            inputs,
        };
        dataset.hash = dataset.digest();
        dataset
    }

    /// SHA-256 over languages, domains, ids, texts, relevance and grades, in order. Every text stands behind its length and
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
        // Only where there are some: data without them keep the hash that older results were filed under.
        if !self.negatives.is_empty() {
            number(&mut hash, self.negatives.len());
            for negatives in &self.negatives {
                number(&mut hash, negatives.len());
                for passage in negatives {
                    number(&mut hash, *passage as usize);
                }
            }
        }
        if !self.grades.is_empty() {
            text(&mut hash, "grades");
            number(&mut hash, self.grades.len());
            for ((group, passage), grade) in &self.grades {
                for n in [group, passage, grade] {
                    number(&mut hash, *n as usize);
                }
            }
        }
        if !self.itself.is_empty() {
            text(&mut hash, "itself");
            number(&mut hash, self.itself.len());
            for (group, passages) in &self.itself {
                number(&mut hash, *group as usize);
                number(&mut hash, passages.len());
                for passage in passages {
                    number(&mut hash, *passage as usize);
                }
            }
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
            inputs: self.inputs.clone(),
            ..Parts::default()
        };
        let mut passage_at = vec![None; self.passages.len()];
        for (old, passage) in self.passages.iter().enumerate() {
            if let Some(language) = kept[usize::from(passage.language)] {
                passage_at[old] = Some(parts.passages.len() as u32);
                parts.passages.push(Passage { language, ..passage.clone() });
            }
        }
        let mut question_at = vec![None; self.questions.len()];
        for (number, group) in self.groups.iter().enumerate() {
            let index = parts.groups.len() as u32;
            let mut questions = vec![None; codes.len()];
            for (old, question) in group.questions.iter().enumerate() {
                if let (Some(language), Some(question)) = (kept[old], question) {
                    questions[usize::from(language)] = Some(parts.questions.len() as u32);
                    question_at[*question as usize] = Some(parts.questions.len() as u32);
                    let text = self.questions[*question as usize].text.clone();
                    parts.questions.push(Question { group: index, language, text });
                }
            }
            let relevant: Vec<u32> = group.relevant.iter().filter_map(|p| passage_at[*p as usize]).collect();
            if questions.iter().any(Option::is_some) {
                parts.groups.push(Group { id: group.id.clone(), domain: group.domain, questions, relevant });
                parts.take_labels(self, number as u32, index, |p| passage_at[p as usize]);
                if let Some(negatives) = self.negatives.get(number) {
                    parts.negatives.push(negatives.iter().filter_map(|p| passage_at[*p as usize]).collect());
                }
            }
        }
        parts.answers = (self.answers.iter())
            .filter_map(|a| {
                let (question, passage) =
                    (question_at[a.question as usize]?, passage_at[a.passage as usize]?);
                Some(Answer { question, passage, end: a.end })
            })
            .collect();
        Ok(Self::assemble(self.name.clone(), parts))
    }
}
