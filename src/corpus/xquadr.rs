//! XQuAD-R and MLQA-R (Roy et al. 2020, LAReQA): `SQuAD` JSON a language, with `sentence_breaks`.
//!
//! A candidate is a sentence: the slice of `context` that a break gives, in Unicode code points. Its identity is
//! (paragraph, position), never its text. A question's relevant sentence is the one that holds `answer_start`; spans
//! that cross a boundary belong to the sentence where they start. Questions of one id are parallel.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::{Answer, Dataset, Group, Input, LanguageId, Options, Parts, Passage, Question};
use super::{nothing, read};
use crate::spec::{Candidate, DatasetRef};

#[derive(Deserialize)]
struct File {
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    #[serde(default)]
    title: String,
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    sentence_breaks: Vec<(usize, usize)>,
    qas: Vec<Qa>,
}

#[derive(Deserialize)]
struct Qa {
    id: Id,
    question: String,
    answers: Vec<Span>,
}

/// Ids are strings or numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(i64),
}

#[derive(Deserialize)]
struct Span {
    text: String,
    answer_start: usize,
}

/// Opens the files of a directory, all articles or a range of them.
pub fn open(dir: &Path, name: &DatasetRef, candidate: Candidate) -> Result<Dataset> {
    let options = Options::parse(name)?;
    let part = options.part("", &[])?;
    let _ = options.languages();
    options.finish(true)?;
    let range = (!part.is_empty()).then(|| parse_range(part)).transpose()?;
    let mut files = files(dir)?;
    files.retain(|(code, _)| options.wants(code));
    options.check_languages()?;
    let mut reader = Reader { candidate, range, ..Reader::default() };
    reader.parts.languages = files.iter().map(|(code, _)| code.clone()).collect();
    reader.count = files.len();
    for (index, (code, path)) in files.iter().enumerate() {
        reader.parts.inputs.push(Input::of(path)?);
        let file: File = read::json(path, "SQuAD JSON with sentence_breaks")?;
        reader.file(index as LanguageId, code, &file).with_context(|| path.display().to_string())?;
    }
    let Reader { mut parts, crossing, dropped, .. } = reader;
    if crossing > 0 {
        parts.notes.push(format!(
            "{crossing} answers cross a sentence boundary; the sentence where they start counts"
        ));
    }
    if dropped > 0 {
        parts.notes.push(format!("{dropped} questions were dropped: no sentence holds their answer's start"));
    }
    ensure!(
        !parts.groups.is_empty(),
        nothing(
            &format!(
                "questions{}",
                if part.is_empty() { String::new() } else { format!(" in articles {part}") }
            ),
            &parts.inputs,
            &parts.notes
        )
    );
    Ok(Dataset::assemble(name.label(), parts))
}

/// `0..24`: articles 0 to 23 of each file.
fn parse_range(part: &str) -> Result<std::ops::Range<usize>> {
    let range = part.split_once("..").and_then(|(a, b)| Some(a.trim().parse().ok()?..b.trim().parse().ok()?));
    match range {
        Some(range) if range.start < range.end => Ok(range),
        _ => bail!("part '{part}': write a range of articles such as 0..24"),
    }
}

/// `<language>.json` files, plain or compressed, by language.
fn files(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    ensure!(dir.exists(), "{}: no such directory", dir.display());
    ensure!(
        dir.is_dir(),
        "{}: is a file; give the directory that holds en.json and the others",
        dir.display()
    );
    let mut found: Vec<(String, PathBuf)> = read::find(dir)?
        .into_iter()
        .filter_map(|f| {
            // Only those of the directory itself. Both `en.json` and `xquad.en.json` are about.
            let stem = f.name.strip_suffix(".json").filter(|stem| !stem.contains('/'))?;
            let code = stem.rsplit('.').next()?;
            (2..=3).contains(&code.len()).then(|| (super::language::normalise(code), f.path.clone()))
        })
        .collect();
    ensure!(
        !found.is_empty(),
        "{}: no <language>.json files, such as en.json (also .gz or .zst)",
        dir.display()
    );
    found.sort();
    for pair in found.windows(2) {
        ensure!(
            pair[0].0 != pair[1].0,
            "{} and {}: two files for the language '{}'",
            pair[0].1.display(),
            pair[1].1.display(),
            pair[0].0
        );
    }
    Ok(found)
}

#[derive(Default)]
struct Reader {
    candidate: Candidate,
    range: Option<std::ops::Range<usize>>,
    parts: Parts,
    /// Languages.
    count: usize,
    groups: HashMap<String, u32>,
    crossing: usize,
    dropped: usize,
}

impl Reader {
    fn file(&mut self, language: LanguageId, code: &str, file: &File) -> Result<()> {
        if let Some(range) = &self.range {
            ensure!(
                range.end <= file.data.len(),
                "articles {}..{}: the file has {}; write a range within 0..{}",
                range.start,
                range.end,
                file.data.len(),
                file.data.len()
            );
        }
        let mut number = 0;
        for (index, article) in file.data.iter().enumerate() {
            let wanted = self.range.as_ref().is_none_or(|r| r.contains(&index));
            for paragraph in &article.paragraphs {
                number += 1;
                if wanted {
                    self.paragraph(language, code, number, &article.title, index, paragraph)
                        .with_context(|| format!("article {index}, paragraph {number}"))?;
                }
            }
        }
        Ok(())
    }

    fn paragraph(
        &mut self,
        language: LanguageId,
        code: &str,
        number: usize,
        title: &str,
        article: usize,
        paragraph: &Paragraph,
    ) -> Result<()> {
        let context = &paragraph.context;
        // Breaks count code points; slices need bytes.
        let mut bytes: Vec<usize> = context.char_indices().map(|(at, _)| at).collect();
        bytes.push(context.len());
        let (first, before_questions) = (self.parts.passages.len(), self.parts.questions.len());
        let mut before = 0;
        for (position, (start, end)) in paragraph.sentence_breaks.iter().enumerate() {
            ensure!(
                before <= *start && start < end && *end < bytes.len(),
                "sentence_breaks[{position}] = [{start}, {end}]: must rise and lie within the context's {} characters",
                bytes.len() - 1
            );
            before = *end;
            let sentence = &context[bytes[*start]..bytes[*end]];
            let text = match self.candidate {
                Candidate::Sentence => sentence.to_owned(),
                Candidate::SentenceContext => format!("{sentence} {context}"),
            };
            self.parts.passages.push(Passage { id: format!("{code}_{number}_{position}"), language, text });
        }
        for qa in &paragraph.qas {
            let id = match &qa.id {
                Id::Text(text) => text.clone(),
                Id::Number(number) => number.to_string(),
            };
            let answer = qa.answers.first().with_context(|| format!("question '{id}': has no answers"))?;
            ensure!(
                answer.answer_start < bytes.len(),
                "question '{id}': answer_start {} lies outside the context's {} characters",
                answer.answer_start,
                bytes.len() - 1
            );
            let inside = |(start, end): &(usize, usize)| (*start..*end).contains(&answer.answer_start);
            let Some(position) = paragraph.sentence_breaks.iter().position(inside) else {
                self.dropped += 1;
                continue;
            };
            let (start, stop) = paragraph.sentence_breaks[position];
            let end = answer.answer_start + answer.text.chars().count();
            self.crossing += usize::from(end > stop);
            let (question, passage) = (self.parts.questions.len() as u32, (first + position) as u32);
            let end = (bytes[end.min(stop)] - bytes[start]) as u32;
            self.parts.answers.push(Answer { question, passage, end });
            self.question(language, &id, title, article, qa, passage)?;
        }
        if self.parts.questions.len() == before_questions {
            // LAReQA's pool holds the sentences of paragraphs with a usable question only.
            self.parts.passages.truncate(first);
        }
        Ok(())
    }

    fn question(
        &mut self,
        language: LanguageId,
        id: &str,
        title: &str,
        article: usize,
        qa: &Qa,
        passage: u32,
    ) -> Result<()> {
        let group = if let Some(group) = self.groups.get(id) {
            *group
        } else {
            let group = self.parts.groups.len() as u32;
            let domain = self.domain(title, article);
            self.groups.insert(id.to_owned(), group);
            let questions = vec![None; self.count];
            self.parts.groups.push(Group { id: id.to_owned(), domain, questions, relevant: Vec::new() });
            group
        };
        let place = &mut self.parts.groups[group as usize];
        let slot = &mut place.questions[usize::from(language)];
        ensure!(slot.is_none(), "question '{id}': the id comes twice in this file");
        *slot = Some(self.parts.questions.len() as u32);
        place.relevant.push(passage);
        self.parts.questions.push(Question { group, language, text: qa.question.clone() });
        Ok(())
    }

    /// The article as a domain, named as in the first language read.
    fn domain(&mut self, title: &str, article: usize) -> u16 {
        let name = if title.is_empty() { format!("article {article}") } else { title.replace('_', " ") };
        let known = self.parts.domains.iter().position(|d| *d == name);
        known.unwrap_or_else(|| {
            self.parts.domains.push(name);
            self.parts.domains.len() - 1
        }) as u16
    }
}
