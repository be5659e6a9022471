//! What stands between a loader and its sink: only the languages of `languages=a+b`, and no blank texts. It also sees which
//! questions end up without a relevant passage.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use anyhow::{Result, ensure};

use super::select::NONE;
use super::{Answer, LanguageId, Options, Sink, language_in};

/// Hands on what is wanted and has a text. Language numbers are its own: an unwanted language never reaches the sink.
pub struct Filtering<'a> {
    to: &'a mut dyn Sink,
    options: &'a Options,
    /// Texts in other languages than those of `languages=` are left out.
    by_row: bool,
    codes: Vec<String>,
    is_wanted: Vec<bool>,
    /// By language: its number in the sink, once it has a text there.
    numbers: Vec<Option<LanguageId>>,
    /// Hashes of the ids of passages that were left out, so that judgements of them are not taken for mistakes.
    left_out: HashSet<u64>,
    blank_questions: usize,
    blank_passages: usize,
    asked: usize,
    /// Groups that asked and have no relevant passage yet, with their ids. Most loaders name a question's passages with it,
    /// so that there are few at a time.
    unanswered: HashMap<u32, Box<str>>,
    /// By group: whether it has a relevant passage.
    is_answered: Vec<bool>,
    /// Unwanted languages that ask.
    others: BTreeSet<String>,
}

impl<'a> Filtering<'a> {
    pub fn new(options: &'a Options, by_row: bool, to: &'a mut dyn Sink) -> Self {
        Self {
            to,
            options,
            by_row,
            codes: Vec::new(),
            is_wanted: Vec::new(),
            numbers: Vec::new(),
            left_out: HashSet::new(),
            blank_questions: 0,
            blank_passages: 0,
            asked: 0,
            unanswered: HashMap::new(),
            is_answered: Vec::new(),
            others: BTreeSet::new(),
        }
    }

    /// After the last text: says what was left out.
    ///
    /// # Errors
    /// A wanted language that the data do not have, or no question in the wanted ones; names those that there are.
    pub fn finish(self) -> Result<()> {
        self.options.check_languages()?;
        let others: Vec<&str> = self.others.iter().map(String::as_str).collect();
        ensure!(
            self.asked > 0 || others.is_empty(),
            "languages: no question is in one of these; there are questions in {}",
            others.join(", ")
        );
        ensure!(
            self.asked > 0 || self.blank_questions == 0,
            "no question has a text: all {} are blank",
            self.blank_questions
        );
        if let Some((_, first)) = self.unanswered.iter().min_by_key(|(group, _)| **group) {
            self.to.note(format!(
                "{} question ids have no relevant passage, the first is '{first}'; in an evaluation they count 0, or are left \
                 out (evaluate.missing)",
                self.unanswered.len()
            ));
        }
        for (count, what) in [(self.blank_questions, "questions"), (self.blank_passages, "passages")] {
            if count > 0 {
                self.to.note(format!("{count} {what} without a text were left out"));
            }
        }
        Ok(())
    }

    /// The sink's number of a language that has a text.
    fn number(&mut self, language: LanguageId) -> Result<LanguageId> {
        let language = usize::from(language);
        if let Some(number) = self.numbers[language] {
            return Ok(number);
        }
        let number = self.to.language(&self.codes[language])?;
        self.numbers[language] = Some(number);
        Ok(number)
    }

    /// The sink's number of the language of a passage that is kept.
    fn kept(&mut self, language: LanguageId, text: &str) -> Result<Option<LanguageId>> {
        if !self.is_wanted[usize::from(language)] {
            return Ok(None);
        }
        if text.trim().is_empty() {
            self.blank_passages += 1;
            return Ok(None);
        }
        self.number(language).map(Some)
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

impl Sink for Filtering<'_> {
    fn language(&mut self, code: &str) -> Result<LanguageId> {
        let number = language_in(&mut self.codes, code)?;
        if usize::from(number) == self.numbers.len() {
            self.is_wanted.push(!self.by_row || self.options.wants(code));
            self.numbers.push(None);
        }
        Ok(number)
    }

    fn group(&mut self, id: &str, domain: &str) -> Result<u32> {
        self.to.group(id, domain)
    }

    fn find_group(&self, id: &str) -> Option<u32> {
        self.to.find_group(id)
    }

    fn question(&mut self, group: u32, language: LanguageId, text: &str) -> Result<u32> {
        if !self.is_wanted[usize::from(language)] {
            return Ok(NONE);
        }
        let number = self.number(language)?;
        self.to.question(group, number, text)
    }

    fn ask(
        &mut self,
        id: &str,
        domain: &str,
        language: LanguageId,
        text: &str,
    ) -> Result<Option<(u32, u32)>> {
        if !self.is_wanted[usize::from(language)] {
            let code = &self.codes[usize::from(language)];
            if !self.others.contains(code) {
                self.others.insert(code.clone());
            }
            return Ok(None);
        }
        if text.trim().is_empty() {
            self.blank_questions += 1;
            return Ok(None);
        }
        self.asked += 1;
        let number = self.number(language)?;
        let asked = self.to.ask(id, domain, number, text)?;
        if let Some((group, _)) = asked.filter(|(group, question)| *group != NONE && *question != NONE) {
            let is_answered = self.is_answered.get(group as usize) == Some(&true);
            if !is_answered && !self.unanswered.contains_key(&group) {
                self.unanswered.insert(group, id.into());
            }
        }
        Ok(asked)
    }

    fn passage(&mut self, id: &str, language: LanguageId, text: &str) -> Result<u32> {
        let Some(number) = self.kept(language, text)? else {
            self.left_out.insert(hash(id));
            return Ok(NONE);
        };
        self.to.passage(id, number, text)
    }

    fn new_passage(&mut self, id: &dyn Fn() -> String, language: LanguageId, text: &str) -> Result<u32> {
        match self.kept(language, text)? {
            Some(number) => self.to.new_passage(id, number, text),
            None => Ok(NONE),
        }
    }

    fn find_passage(&self, id: &str) -> Option<u32> {
        let left_out = || self.left_out.contains(&hash(id)).then_some(NONE);
        self.to.find_passage(id).or_else(left_out)
    }

    fn relevant(&mut self, group: u32, passage: u32) {
        self.graded(group, passage, 1);
    }

    fn graded(&mut self, group: u32, passage: u32, grade: u32) {
        if passage == NONE {
            return;
        }
        self.to.graded(group, passage, grade);
        let at = group as usize;
        if group != NONE && self.is_answered.get(at) != Some(&true) {
            if self.is_answered.len() <= at {
                self.is_answered.resize(at + 1, false);
            }
            self.is_answered[at] = true;
            self.unanswered.remove(&group);
        }
    }

    fn itself(&mut self, group: u32, passage: u32) {
        if passage != NONE {
            self.to.itself(group, passage);
        }
    }

    fn negative(&mut self, group: u32, passage: u32) {
        if passage != NONE {
            self.to.negative(group, passage);
        }
    }

    fn answer(&mut self, answer: Answer) {
        if answer.passage != NONE {
            self.to.answer(answer);
        }
    }

    fn note(&mut self, note: String) {
        self.to.note(note);
    }

    fn input(&mut self, path: &Path) -> Result<()> {
        self.to.input(path)
    }
}
