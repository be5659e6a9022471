//! What loaders write into: a dataset in memory ([`Builder`]), or a token cache on disk.
//!
//! A loader reads its files once, in order, and says what it finds; it never holds the texts itself. So one loader
//! serves a thousand questions in memory and forty million on disk.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::{Answer, Dataset, Group, Input, LanguageId, Parts, Passage, Question};

/// Receives what a loader finds. Languages, groups and passages are known by the numbers that this hands out.
pub trait Sink {
    /// The language with this normalised code, new or known.
    ///
    /// # Errors
    /// Where there are too many.
    fn language(&mut self, code: &str) -> Result<LanguageId>;
    /// The group with this question id, new or known.
    ///
    /// # Errors
    /// Where there are too many.
    fn group(&mut self, id: &str, domain: &str) -> Result<u32>;
    /// The group with this id, if there is one.
    fn find_group(&self, id: &str) -> Option<u32>;
    /// A group's question in a language. The same text again is no second question.
    ///
    /// # Errors
    /// Where the group has another question in this language.
    fn question(&mut self, group: u32, language: LanguageId, text: &str) -> Result<u32>;
    /// The group with this id, and its question in a language; `None` where the question is not wanted: its row is to be
    /// left out.
    ///
    /// # Errors
    /// As [`Sink::group`] and [`Sink::question`].
    fn ask(
        &mut self,
        id: &str,
        domain: &str,
        language: LanguageId,
        text: &str,
    ) -> Result<Option<(u32, u32)>> {
        let group = self.group(id, domain)?;
        Ok(Some((group, self.question(group, language, text)?)))
    }
    /// The passage with this id, new or known.
    ///
    /// # Errors
    /// Where the id is known with another text.
    fn passage(&mut self, id: &str, language: LanguageId, text: &str) -> Result<u32>;
    /// A passage whose id is new by construction: nothing is looked up.
    ///
    /// # Errors
    /// Where there are too many.
    fn new_passage(&mut self, id: &dyn Fn() -> String, language: LanguageId, text: &str) -> Result<u32>;
    /// The passage with this id, if there is one.
    fn find_passage(&self, id: &str) -> Option<u32>;
    /// The passage answers the group's question.
    fn relevant(&mut self, group: u32, passage: u32);
    /// The passage answers the group's question, by a label of this grade, from 1. A sink without use for grades takes it as
    /// [`Sink::relevant`].
    fn graded(&mut self, group: u32, passage: u32, _grade: u32) {
        self.relevant(group, passage);
    }
    /// The passage is the group's question itself: where it is not relevant, it is no candidate for it.
    fn itself(&mut self, _group: u32, _passage: u32) {}
    /// The passage does not, though it looks as if.
    fn negative(&mut self, group: u32, passage: u32);
    /// Where an answer ends.
    fn answer(&mut self, answer: Answer);
    /// A remark for the user.
    fn note(&mut self, note: String);
    /// A file that was read.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn input(&mut self, path: &Path) -> Result<()>;
}

/// The error for a second question of a group in one language.
pub fn two_questions(id: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "question '{id}': the id comes twice in this language, with different texts; ids must be unique in a language"
    )
}

/// The error for a second passage with one id: in another language, or with another text.
#[must_use]
pub fn two_passages(id: &str, languages: [&str; 2]) -> anyhow::Error {
    let [first, second] = languages;
    if first == second {
        anyhow::anyhow!("passage '{id}': the id comes twice, with different texts; ids must be unique")
    } else {
        anyhow::anyhow!(
            "passage '{id}': the id comes twice, in '{first}' and in '{second}'; ids must be unique"
        )
    }
}

/// What is said of data without `what` (questions, or passages): the files, and what the loader noted of them.
#[must_use]
pub fn nothing(what: &str, inputs: &[Input], notes: &[String]) -> String {
    let files = match inputs {
        [] => String::new(),
        [one] => format!("{}: ", one.path),
        [first, more @ ..] => format!("{} and {} more: ", first.path, more.len()),
    };
    let why = if notes.is_empty() { "are these the files that are meant?".into() } else { notes.join("; ") };
    format!("{files}no {what}; {why}")
}

/// Puts a dataset together in memory.
#[derive(Debug, Default)]
pub struct Builder {
    parts: Parts,
    groups: HashMap<String, u32>,
    passages: HashMap<String, u32>,
}

impl Builder {
    /// The dataset, its languages sorted by code; groups without a question are left out.
    ///
    /// # Errors
    /// Where nothing was read: with what the loader noted of that.
    pub fn finish(self, name: String) -> Result<Dataset> {
        let Self { mut parts, .. } = self;
        let mut order: Vec<usize> = (0..parts.languages.len()).collect();
        order.sort_by(|a, b| parts.languages[*a].cmp(&parts.languages[*b]));
        let mut place = vec![0u16; order.len()];
        for (new, old) in order.iter().enumerate() {
            place[*old] = new as LanguageId;
        }
        parts.languages = order.iter().map(|l| parts.languages[*l].clone()).collect();
        for question in &mut parts.questions {
            question.language = place[usize::from(question.language)];
        }
        for passage in &mut parts.passages {
            passage.language = place[usize::from(passage.language)];
        }
        let languages = parts.languages.len();
        let has_negatives = parts.negatives.iter().any(|n| !n.is_empty());
        parts.negatives.resize(parts.groups.len(), Vec::new());
        let (grades, itself) = (std::mem::take(&mut parts.grades), std::mem::take(&mut parts.itself));
        let mut new_group = vec![None; parts.groups.len()];
        let (mut groups, mut negatives) = (Vec::new(), Vec::new());
        for (old, (mut group, mut own)) in
            parts.groups.drain(..).zip(std::mem::take(&mut parts.negatives)).enumerate()
        {
            if group.questions.iter().all(Option::is_none) {
                continue;
            }
            let mut questions = vec![None; languages];
            for (language, question) in group.questions.iter().enumerate() {
                questions[usize::from(place[language])] = *question;
            }
            group.questions = questions;
            dedup(&mut group.relevant);
            dedup(&mut own);
            own.retain(|p| !group.relevant.contains(p));
            let new = groups.len() as u32;
            new_group[old] = Some(new);
            if let Some(passages) = itself.get(&(old as u32)) {
                let mut passages: Vec<u32> =
                    passages.iter().copied().filter(|p| !group.relevant.contains(p)).collect();
                dedup(&mut passages);
                if !passages.is_empty() {
                    parts.itself.insert(new, passages);
                }
            }
            let own_grades = grades.range((old as u32, 0)..=(old as u32, u32::MAX));
            parts.grades.extend(own_grades.map(|((_, passage), grade)| ((new, *passage), *grade)));
            groups.push(group);
            negatives.push(own);
        }
        for question in &mut parts.questions {
            question.group = new_group[question.group as usize].context("a question without its group")?;
        }
        ensure!(!groups.is_empty(), nothing("questions", &parts.inputs, &parts.notes));
        ensure!(!parts.passages.is_empty(), nothing("passages", &parts.inputs, &parts.notes));
        parts.groups = groups;
        if has_negatives {
            parts.negatives = negatives;
        }
        if parts.domains.is_empty() {
            parts.domains.push("all".into());
        }
        Ok(Dataset::assemble(name, parts))
    }
}

/// Removes later repetitions, keeping the order.
fn dedup(list: &mut Vec<u32>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|p| seen.insert(*p));
}

impl Sink for Builder {
    fn language(&mut self, code: &str) -> Result<LanguageId> {
        language_in(&mut self.parts.languages, code)
    }

    fn group(&mut self, id: &str, domain: &str) -> Result<u32> {
        if let Some(group) = self.groups.get(id) {
            return Ok(*group);
        }
        let group = u32::try_from(self.parts.groups.len())?;
        let known = self.parts.domains.iter().position(|d| d == domain);
        let domain = known.unwrap_or_else(|| {
            self.parts.domains.push(domain.to_owned());
            self.parts.domains.len() - 1
        });
        let Ok(domain) = u16::try_from(domain) else { bail!("more than 65,536 domains") };
        self.groups.insert(id.to_owned(), group);
        let (questions, relevant) = (Vec::new(), Vec::new());
        self.parts.groups.push(Group { id: id.to_owned(), domain, questions, relevant });
        Ok(group)
    }

    fn find_group(&self, id: &str) -> Option<u32> {
        self.groups.get(id).copied()
    }

    fn question(&mut self, group: u32, language: LanguageId, text: &str) -> Result<u32> {
        let questions = &mut self.parts.groups[group as usize].questions;
        if questions.len() <= usize::from(language) {
            questions.resize(usize::from(language) + 1, None);
        }
        if let Some(known) = questions[usize::from(language)] {
            if self.parts.questions[known as usize].text == text {
                return Ok(known);
            }
            return Err(two_questions(&self.parts.groups[group as usize].id));
        }
        let index = u32::try_from(self.parts.questions.len())?;
        questions[usize::from(language)] = Some(index);
        self.parts.questions.push(Question { group, language, text: text.to_owned() });
        Ok(index)
    }

    fn passage(&mut self, id: &str, language: LanguageId, text: &str) -> Result<u32> {
        if let Some(&known) = self.passages.get(id) {
            let passage = &self.parts.passages[known as usize];
            return if passage.text == text && passage.language == language {
                Ok(known)
            } else {
                let code = |l: LanguageId| self.parts.languages[usize::from(l)].as_str();
                Err(two_passages(id, [code(passage.language), code(language)]))
            };
        }
        let index = self.new_passage(&|| id.to_owned(), language, text)?;
        self.passages.insert(id.to_owned(), index);
        Ok(index)
    }

    fn new_passage(&mut self, id: &dyn Fn() -> String, language: LanguageId, text: &str) -> Result<u32> {
        let index = u32::try_from(self.parts.passages.len())?;
        self.parts.passages.push(Passage { id: id(), language, text: text.to_owned() });
        Ok(index)
    }

    fn find_passage(&self, id: &str) -> Option<u32> {
        self.passages.get(id).copied()
    }

    fn relevant(&mut self, group: u32, passage: u32) {
        self.parts.groups[group as usize].relevant.push(passage);
    }

    fn graded(&mut self, group: u32, passage: u32, grade: u32) {
        self.relevant(group, passage);
        if grade != 1 {
            self.parts.grades.insert((group, passage), grade);
        }
    }

    fn itself(&mut self, group: u32, passage: u32) {
        self.parts.itself.entry(group).or_default().push(passage);
    }

    fn negative(&mut self, group: u32, passage: u32) {
        let negatives = &mut self.parts.negatives;
        if negatives.len() <= group as usize {
            negatives.resize(group as usize + 1, Vec::new());
        }
        negatives[group as usize].push(passage);
    }

    fn answer(&mut self, answer: Answer) {
        self.parts.answers.push(answer);
    }

    fn note(&mut self, note: String) {
        self.parts.notes.push(note);
    }

    fn input(&mut self, path: &Path) -> Result<()> {
        self.parts.inputs.push(Input::of(path)?);
        Ok(())
    }
}

/// The number of a language in a list that grows.
///
/// # Errors
/// A code that is empty or does not begin with a letter, or more than 1,000 languages: a column that holds something else.
pub fn language_in(languages: &mut Vec<String>, code: &str) -> Result<LanguageId> {
    if let Some(known) = languages.iter().position(|l| l == code) {
        return Ok(known as LanguageId);
    }
    ensure!(
        code.starts_with(char::is_alphabetic)
            && code.len() <= 24
            && !code.contains(|c: char| c.is_whitespace() || c.is_control()),
        "language {code:?}: is no language code; write codes such as en or zh"
    );
    ensure!(languages.len() < 1000, "language '{code}': more than 1,000 languages; is this the right field?");
    languages.push(code.to_owned());
    Ok((languages.len() - 1) as LanguageId)
}

/// Says everything that a dataset in memory holds to a sink.
///
/// # Errors
/// What the sink returns.
pub fn replay(dataset: &Dataset, sink: &mut dyn Sink) -> Result<()> {
    let languages =
        dataset.languages.iter().map(|l| sink.language(l)).collect::<Result<Vec<LanguageId>>>()?;
    let mut passages = Vec::with_capacity(dataset.passages.len());
    for passage in &dataset.passages {
        let language = languages[usize::from(passage.language)];
        passages.push(sink.new_passage(&|| passage.id.clone(), language, &passage.text)?);
    }
    let mut questions = vec![0; dataset.questions.len()];
    for (index, group) in dataset.groups.iter().enumerate() {
        let number = sink.group(&group.id, &dataset.domains[usize::from(group.domain)])?;
        for question in group.questions.iter().flatten() {
            let at = *question as usize;
            let question = &dataset.questions[at];
            questions[at] =
                sink.question(number, languages[usize::from(question.language)], &question.text)?;
        }
        for passage in &group.relevant {
            sink.graded(number, passages[*passage as usize], dataset.grade(index as u32, *passage));
        }
        let itself = dataset.itself.get(&(index as u32)).into_iter().flatten();
        itself.for_each(|p| sink.itself(number, passages[*p as usize]));
        let negatives = dataset.negatives.get(index).into_iter().flatten();
        negatives.for_each(|p| sink.negative(number, passages[*p as usize]));
    }
    for answer in &dataset.answers {
        let (question, passage) = (questions[answer.question as usize], passages[answer.passage as usize]);
        sink.answer(Answer { question, passage, ..*answer });
    }
    dataset.inputs.iter().try_for_each(|i| sink.input(Path::new(&i.path)))?;
    dataset.notes.iter().for_each(|n| sink.note(n.clone()));
    Ok(())
}
