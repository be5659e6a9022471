//! What a loader writes into when a token cache is built: texts go on to the tokenising thread, numbers stay.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::path::Path;
use std::sync::mpsc::SyncSender;

use anyhow::{Result, anyhow, ensure};
use sha2::{Digest, Sha256};

use super::store::{Meta, VERSION};
use super::writer::{Growing, Slice, Sum, Written, write_numbers};
use crate::batch::{Clusters, Layout, NONE, Negatives, Plain, distinct, text_hash};
use crate::corpus::{self, Answer, Input, LanguageId, Sink, two_passages};
use crate::mapped::Numbers;

/// Texts and bytes of a slice.
const TEXTS: usize = 4096;
const BYTES: usize = 2 << 20;

type Known = HashMap<u64, u32, BuildHasherDefault<Plain>>;

/// A column for each language, by group.
#[derive(Default)]
struct Columns(Vec<Vec<u32>>);

impl Columns {
    fn slot(&mut self, language: LanguageId, group: u32) -> &mut u32 {
        let (language, group) = (usize::from(language), group as usize);
        if self.0.len() <= language {
            self.0.resize_with(language + 1, Vec::new);
        }
        let column = &mut self.0[language];
        if column.len() <= group {
            column.resize(group + 1, NONE);
        }
        &mut column[group]
    }

    /// A column for each language, as long as there are groups.
    fn finish(mut self, languages: usize, groups: usize) -> Vec<Numbers> {
        self.0.resize_with(languages, Vec::new);
        let whole = |mut column: Vec<u32>| {
            column.resize(groups, NONE);
            column.into()
        };
        self.0.into_iter().map(whole).collect()
    }
}

/// Receives a dataset and keeps its numbers.
pub struct CacheSink<'a> {
    slices: SyncSender<Slice>,
    /// Hears (texts so far, their bytes).
    progress: &'a mut dyn FnMut(u64, u64) -> Result<()>,
    languages: Vec<String>,
    groups: Known,
    hashes: Vec<u64>,
    questions: Columns,
    /// Half a hash of each question, to tell a repetition from a contradiction.
    question_texts: Vec<u32>,
    passages: Columns,
    passage_ids: Known,
    passage_languages: Vec<u16>,
    passage_texts: Vec<u64>,
    clusters: Clusters,
    negatives: Vec<(u32, u32)>,
    answers: Vec<Answer>,
    pending: [(Vec<String>, usize); 2],
    seen: (u64, u64),
    notes: Vec<String>,
    inputs: Vec<Input>,
    known_inputs: &'a [Input],
    by_language: Vec<(u64, u64)>,
    hash: Sha256,
}

impl<'a> CacheSink<'a> {
    pub fn new(
        slices: SyncSender<Slice>,
        known_inputs: &'a [Input],
        progress: &'a mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Self {
        Self {
            slices,
            progress,
            languages: Vec::new(),
            groups: Known::default(),
            hashes: Vec::new(),
            questions: Columns::default(),
            question_texts: Vec::new(),
            passages: Columns::default(),
            passage_ids: Known::default(),
            passage_languages: Vec::new(),
            passage_texts: Vec::new(),
            clusters: Clusters::default(),
            negatives: Vec::new(),
            answers: Vec::new(),
            pending: Default::default(),
            seen: (0, 0),
            notes: Vec::new(),
            inputs: Vec::new(),
            known_inputs,
            by_language: Vec::new(),
            hash: Sha256::new(),
        }
    }

    fn push(&mut self, questions: bool, text: &str) -> Result<()> {
        let (texts, bytes) = &mut self.pending[usize::from(questions)];
        texts.push(text.to_owned());
        *bytes += text.len();
        self.seen = (self.seen.0 + 1, self.seen.1 + text.len() as u64);
        if texts.len() >= TEXTS || *bytes >= BYTES {
            self.flush(questions)?;
            (self.progress)(self.seen.0, self.seen.1)?;
        }
        Ok(())
    }

    fn flush(&mut self, questions: bool) -> Result<()> {
        let (texts, _) = std::mem::take(&mut self.pending[usize::from(questions)]);
        if texts.is_empty() {
            return Ok(());
        }
        // The thread is gone only where it failed; its own error is the one that is told.
        self.slices.send(Slice { questions, texts }).map_err(|_| anyhow!("tokenising ended early"))
    }

    fn count(&mut self, language: LanguageId) -> &mut (u64, u64) {
        let language = usize::from(language);
        if self.by_language.len() <= language {
            self.by_language.resize(language + 1, (0, 0));
        }
        &mut self.by_language[language]
    }

    /// Sends what is left; after this nothing more comes.
    pub fn finish(mut self, name: &str) -> Result<Kept> {
        self.flush(true)?;
        self.flush(false)?;
        let of = |what| corpus::nothing(what, &self.inputs, &self.notes);
        ensure!(!self.question_texts.is_empty(), of("questions"));
        ensure!(!self.passage_texts.is_empty(), of("passages"));
        let (groups, languages) = (self.hashes.len(), self.languages.len());
        // What only reading needed makes room for what is made now.
        drop((self.groups, self.passage_ids, self.question_texts));
        let (clusters, owners) = self.clusters.finish();
        let negatives = (!self.negatives.is_empty()).then(|| {
            let owner = |text: &u64| owners.get(text).map_or(NONE, |g| clusters[*g as usize]);
            let of_passages: Vec<u32> = self.passage_texts.iter().map(owner).collect();
            let languages: Vec<u32> = self.passage_languages.iter().map(|l| u32::from(*l)).collect();
            negatives(self.negatives, groups, languages, of_passages)
        });
        drop((owners, self.passage_texts));
        let layout = Layout {
            name: name.to_owned(),
            languages: self.languages,
            groups,
            questions: self.questions.finish(languages, groups),
            passages: self.passages.finish(languages, groups),
            distinct: distinct(&clusters),
            clusters: clusters.into(),
            negatives,
        };
        Ok(Kept {
            layout,
            hashes: self.hashes,
            answers: self.answers,
            notes: self.notes,
            inputs: self.inputs,
            by_language: self.by_language,
            passage_languages: self.passage_languages,
            sha256: crate::corpus::read::hex(&self.hash.finalize()),
        })
    }
}

/// The hard negatives in the groups' order.
fn negatives(mut all: Vec<(u32, u32)>, groups: usize, languages: Vec<u32>, clusters: Vec<u32>) -> Negatives {
    all.sort_by_key(|n| n.0);
    let mut offsets = vec![0u32; groups + 1];
    for (group, _) in &all {
        offsets[*group as usize + 1] += 1;
    }
    for group in 0..groups {
        offsets[group + 1] += offsets[group];
    }
    Negatives {
        offsets: offsets.into(),
        list: all.iter().map(|n| n.1).collect::<Vec<u32>>().into(),
        languages: languages.into(),
        clusters: clusters.into(),
    }
}

/// What a sink kept.
pub struct Kept {
    pub layout: Layout,
    /// Hashes of the question ids.
    pub hashes: Vec<u64>,
    pub answers: Vec<Answer>,
    pub notes: Vec<String>,
    pub inputs: Vec<Input>,
    /// Questions and passages by language.
    pub by_language: Vec<(u64, u64)>,
    /// By passage its language.
    pub passage_languages: Vec<u16>,
    pub sha256: String,
}

impl Kept {
    /// Writes the number files beside the tokens, and `meta.json` last.
    pub fn write(self, dir: &Path, questions: &Written, passages: &Written) -> Result<()> {
        let layout = self.layout;
        let mut files: Vec<Sum> = [&questions.files[..], &passages.files].concat();
        for (side, columns) in [("questions", &layout.questions), ("passages", &layout.passages)] {
            for (language, column) in columns.iter().enumerate() {
                files.push(write_numbers(dir.join(format!("{side}.{language}.column")), column)?);
            }
        }
        files.push(write_numbers(dir.join("clusters"), &layout.clusters)?);
        if let Some(negatives) = &layout.negatives {
            files.push(write_numbers(dir.join("negatives.offsets"), &negatives.offsets)?);
            files.push(write_numbers(dir.join("negatives"), &negatives.list)?);
            files.push(write_numbers(dir.join("passages.languages"), &negatives.languages)?);
            files.push(write_numbers(dir.join("passages.clusters"), &negatives.clusters)?);
        }
        let mut hashes = self.hashes;
        hashes.sort_unstable();
        let mut file = Growing::create(dir.join("groups.hashes"))?;
        hashes.iter().try_for_each(|h| file.number(*h))?;
        files.push(file.finish()?);
        let mut cut_by_language = vec![[0; 3]; layout.languages.len()];
        for (own, column) in cut_by_language.iter_mut().zip(&layout.questions) {
            own[0] = column.iter().filter(|question| questions.kept.contains_key(question)).count() as u64;
        }
        let language_of = |passage: u32| usize::from(self.passage_languages[passage as usize]);
        passages.kept.keys().for_each(|passage| cut_by_language[language_of(*passage)][1] += 1);
        let lost = |a: &&Answer| passages.kept.get(&a.passage).is_some_and(|kept| a.end > *kept);
        self.answers.iter().filter(lost).for_each(|a| cut_by_language[language_of(a.passage)][2] += 1);
        let meta = Meta {
            v: VERSION,
            name: layout.name,
            languages: layout.languages,
            groups: layout.groups as u64,
            questions: questions.texts,
            passages: passages.texts,
            question_tokens: questions.tokens,
            passage_tokens: passages.tokens,
            negatives: layout.negatives.map_or(0, |n| n.list.len() as u64),
            truncated_questions: questions.truncated,
            truncated_passages: passages.truncated,
            lost_answers: cut_by_language.iter().map(|of| of[2]).sum(),
            answers: self.answers.len() as u64,
            notes: self.notes,
            inputs: self.inputs,
            sha256: self.sha256,
            by_language: self.by_language,
            cut_by_language,
            files: files.into_iter().collect(),
        };
        crate::files::replace(&dir.join("meta.json"), &serde_json::to_vec_pretty(&meta)?)
    }
}

impl Sink for CacheSink<'_> {
    fn language(&mut self, code: &str) -> Result<LanguageId> {
        let known = self.languages.len();
        let language = crate::corpus::language_in(&mut self.languages, code)?;
        if self.languages.len() > known {
            self.hash.update(code.as_bytes());
            self.count(language);
        }
        Ok(language)
    }

    fn group(&mut self, id: &str, _: &str) -> Result<u32> {
        let hash = text_hash(id);
        let new = u32::try_from(self.hashes.len())?;
        let group = *self.groups.entry(hash).or_insert(new);
        if group == new {
            self.hash.update(hash.to_le_bytes());
            self.hashes.push(hash);
            self.clusters.group();
        }
        Ok(group)
    }

    fn find_group(&self, id: &str) -> Option<u32> {
        self.groups.get(&text_hash(id)).copied()
    }

    fn question(&mut self, group: u32, language: LanguageId, text: &str) -> Result<u32> {
        let hash = text_hash(text);
        let new = u32::try_from(self.question_texts.len())?;
        let slot = self.questions.slot(language, group);
        if *slot != NONE {
            let same = self.question_texts[*slot as usize] == hash as u32;
            ensure!(
                same,
                "the question's id comes twice in language '{}', with different texts; ids must be unique in a language",
                self.languages[usize::from(language)]
            );
            return Ok(*slot);
        }
        *slot = new;
        self.question_texts.push(hash as u32);
        self.hash.update([group.to_le_bytes(), u32::from(language).to_le_bytes()].concat());
        self.hash.update(hash.to_le_bytes());
        self.count(language).0 += 1;
        self.push(true, text)?;
        Ok(new)
    }

    fn passage(&mut self, id: &str, language: LanguageId, text: &str) -> Result<u32> {
        let id_hash = text_hash(id);
        if let Some(&known) = self.passage_ids.get(&id_hash) {
            let same = self.passage_texts[known as usize] == text_hash(text)
                && self.passage_languages[known as usize] == language;
            if !same {
                let code = |l: LanguageId| self.languages[usize::from(l)].as_str();
                return Err(two_passages(id, [code(self.passage_languages[known as usize]), code(language)]));
            }
            return Ok(known);
        }
        let index = self.new_passage(&String::new, language, text)?;
        self.passage_ids.insert(id_hash, index);
        Ok(index)
    }

    fn new_passage(&mut self, _: &dyn Fn() -> String, language: LanguageId, text: &str) -> Result<u32> {
        let hash = text_hash(text);
        let index = u32::try_from(self.passage_texts.len())?;
        self.passage_texts.push(hash);
        self.passage_languages.push(language);
        self.hash.update(u32::from(language).to_le_bytes());
        self.hash.update(hash.to_le_bytes());
        self.count(language).1 += 1;
        self.push(false, text)?;
        Ok(index)
    }

    fn find_passage(&self, id: &str) -> Option<u32> {
        self.passage_ids.get(&text_hash(id)).copied()
    }

    fn relevant(&mut self, group: u32, passage: u32) {
        let language = self.passage_languages[passage as usize];
        let slot = self.passages.slot(language, group);
        if *slot == NONE {
            *slot = passage;
        }
        self.hash.update([group.to_le_bytes(), passage.to_le_bytes()].concat());
        self.clusters.relevant(group, self.passage_texts[passage as usize]);
    }

    fn negative(&mut self, group: u32, passage: u32) {
        self.hash.update([passage.to_le_bytes(), group.to_le_bytes()].concat());
        self.negatives.push((group, passage));
    }

    fn answer(&mut self, answer: Answer) {
        self.answers.push(answer);
    }

    fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    fn input(&mut self, path: &Path) -> Result<()> {
        let shown = path.display().to_string();
        let input = match self.known_inputs.iter().find(|i| i.path == shown) {
            Some(known) => known.clone(),
            None => Input::of(path)?,
        };
        self.inputs.push(input);
        Ok(())
    }
}
