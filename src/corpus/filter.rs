//! What stands between a loader and its sink: only the languages of `languages=a+b`, and no blank texts.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use anyhow::{Result, ensure};

use super::select::NONE;
use super::{Answer, LanguageId, Options, Sink, language_in};
use crate::batch::text_hash;

/// Hands on what is wanted and has a text. Language numbers are its own: an unwanted language never reaches the sink.
pub struct Filtering<'a> {
    to: &'a mut dyn Sink,
    options: &'a Options,
    /// Texts in other languages than those of `languages=` are left out.
    by_row: bool,
    codes: Vec<String>,
    /// By language: its number in the sink, if it is wanted.
    numbers: Vec<Option<LanguageId>>,
    /// Hashes of the ids of passages that were left out, so that judgements of them are not taken for mistakes.
    left_out: HashSet<u64>,
    blank_questions: usize,
    blank_passages: usize,
    asked: usize,
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
            numbers: Vec::new(),
            left_out: HashSet::new(),
            blank_questions: 0,
            blank_passages: 0,
            asked: 0,
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
        for (count, what) in [(self.blank_questions, "questions"), (self.blank_passages, "passages")] {
            if count > 0 {
                self.to.note(format!("{count} {what} without a text were left out"));
            }
        }
        Ok(())
    }

    /// The sink's number of the language of a passage that is kept.
    fn kept(&mut self, language: LanguageId, text: &str) -> Option<LanguageId> {
        let number = self.numbers[usize::from(language)]?;
        let is_blank = text.trim().is_empty();
        self.blank_passages += usize::from(is_blank);
        (!is_blank).then_some(number)
    }
}

impl Sink for Filtering<'_> {
    fn language(&mut self, code: &str) -> Result<LanguageId> {
        let number = language_in(&mut self.codes, code)?;
        if usize::from(number) == self.numbers.len() {
            let is_wanted = !self.by_row || self.options.wants(code);
            self.numbers.push(if is_wanted { Some(self.to.language(code)?) } else { None });
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
        match self.numbers[usize::from(language)] {
            Some(number) => self.to.question(group, number, text),
            None => Ok(NONE),
        }
    }

    fn ask(
        &mut self,
        id: &str,
        domain: &str,
        language: LanguageId,
        text: &str,
    ) -> Result<Option<(u32, u32)>> {
        let Some(number) = self.numbers[usize::from(language)] else {
            let code = &self.codes[usize::from(language)];
            if !self.others.contains(code) {
                self.others.insert(code.clone());
            }
            return Ok(None);
        };
        if text.trim().is_empty() {
            self.blank_questions += 1;
            return Ok(None);
        }
        self.asked += 1;
        self.to.ask(id, domain, number, text)
    }

    fn passage(&mut self, id: &str, language: LanguageId, text: &str) -> Result<u32> {
        match self.kept(language, text) {
            Some(number) => self.to.passage(id, number, text),
            None => {
                self.left_out.insert(text_hash(id));
                Ok(NONE)
            }
        }
    }

    fn new_passage(&mut self, id: &dyn Fn() -> String, language: LanguageId, text: &str) -> Result<u32> {
        match self.kept(language, text) {
            Some(number) => self.to.new_passage(id, number, text),
            None => Ok(NONE),
        }
    }

    fn find_passage(&self, id: &str) -> Option<u32> {
        let left_out = || self.left_out.contains(&text_hash(id)).then_some(NONE);
        self.to.find_passage(id).or_else(left_out)
    }

    fn relevant(&mut self, group: u32, passage: u32) {
        if passage != NONE {
            self.to.relevant(group, passage);
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
