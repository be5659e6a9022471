//! `SQuAD` JSON: `SQuAD`, its translations, `XQuAD`, MLQA, `SQuADShifts`.
//!
//! One file a language, ids shared across languages: the same question in two languages is one group, so X-Y pairs
//! come for free. `language=en` is for files whose names say none: the original beside its translations. A candidate is a paragraph (default) or a sentence of our own splitter
//! (`[candidates=sentence]`). For paragraphs it does not matter which answer counts, or whether a translated span was
//! lost; for sentences the start of one answer decides: the first listed (default), or with `[answer=majority]` the
//! sentence that most answers start in (the earliest of equals).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::open::Request;
use super::read::{self, Found};
use super::sentences::sentences;
use super::{Answer, LanguageId, Sink};
use crate::spec::Candidate;

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
    #[serde(default)]
    qas: Vec<Qa>,
}

#[derive(Deserialize)]
struct Qa {
    id: Value,
    question: String,
    #[serde(default)]
    answers: Vec<Span>,
    #[serde(default)]
    is_impossible: bool,
}

#[derive(Deserialize)]
struct Span {
    #[serde(default)]
    text: String,
    /// In code points; translated files have -1, or a place where the text is not.
    #[serde(default = "nowhere")]
    answer_start: i64,
}

const fn nowhere() -> i64 {
    -1
}

#[derive(Default)]
struct Counts {
    impossible: usize,
    /// Questions whose paragraph has no text.
    blank: usize,
    lost: usize,
    several: usize,
    split: usize,
}

/// Reads every language's file.
pub fn read(request: &Request<'_>, sink: &mut dyn Sink) -> Result<()> {
    let options = request.options;
    let by_sentence = options.choice("candidates", &["paragraph", "sentence"])? == "sentence";
    let majority = options.choice("answer", &["first", "majority"])? == "majority";
    let part = options.part("", &[])?;
    let _ = (options.languages(), options.get("language"));
    options.finish(true)?;
    ensure!(
        by_sentence || request.candidate == Candidate::Sentence,
        "evaluate.candidate = \"sentence+context\": the candidates are paragraphs; write {}[candidates=sentence]",
        request.name
    );
    let found = read::find(request.path)?;
    let mut files: Vec<&Found> =
        found.iter().filter(|f| f.ends(&[".json"]) && (part.is_empty() || f.says(part))).collect();
    ensure!(!files.is_empty(), "{}: no SQuAD JSON file{}", request.path.display(), read::fitting(part));
    of_one_language(&mut files, sink)?;
    request.check_stated(&files, sink)?;
    options.of_wanted(&mut files)?;
    let mut counts = Counts::default();
    let mut last: BTreeMap<String, &Found> = BTreeMap::new();
    for file in files {
        let stem = file.file_name().trim_end_matches(".json");
        let code = request.language_of(file).with_context(|| {
            format!(
                "{}: the name says no language; add it to the name ({stem}.en.json) or write {}, which holds for the files \
                 whose names say none",
                file.path.display(),
                request.with_language()
            )
        })?;
        if let Some(other) = last.insert(code.clone(), file).filter(|_| !request.many_files) {
            bail!(
                "{} and {}: two files for the language '{code}'; name a word that one of the names has{}, or remove one",
                other.path.display(),
                file.path.display(),
                own_word(other, file).map_or(String::new(), |word| {
                    format!(", as {}[{}]", request.name, options.with_part(word))
                })
            );
        }
        sink.input(&file.path)?;
        let language = sink.language(&code)?;
        let parsed: File = read::json(&file.path, "SQuAD JSON")?;
        let prefix = if request.many_files { format!("{code}_{stem}") } else { code.clone() };
        let mut reader = Reader { sink, language, prefix, by_sentence, majority, counts: &mut counts };
        let mut number = 0;
        for (index, article) in parsed.data.iter().enumerate() {
            let domain = if request.many_files {
                stem.trim_end_matches("_v1.0").replace('_', " ")
            } else if article.title.is_empty() {
                format!("article {index}")
            } else {
                article.title.replace('_', " ")
            };
            for paragraph in &article.paragraphs {
                number += 1;
                reader.paragraph(number, &domain, paragraph, request.candidate).with_context(|| {
                    format!("{}: article {index}, paragraph {number}", file.path.display())
                })?;
            }
        }
    }
    if counts.impossible > 0 {
        sink.note(format!("{} questions without an answer were left out", counts.impossible));
    }
    if counts.blank > 0 {
        sink.note(format!("{} questions of paragraphs without a text were left out", counts.blank));
    }
    if counts.lost > 0 {
        sink.note(format!(
            "{} questions were dropped: their answer does not stand where answer_start says",
            counts.lost
        ));
    }
    if counts.several > 0 {
        let rule = match (by_sentence, majority) {
            (false, _) => "all lie in the one paragraph that is relevant".to_owned(),
            (true, false) => format!(
                "the first one's sentence is relevant; for {} questions another answer starts in another sentence",
                counts.split
            ),
            (true, true) => format!(
                "the sentence that most start in is relevant; for {} questions they start in several",
                counts.split
            ),
        };
        sink.note(format!("{} questions have several answers: {rule}", counts.several));
    }
    Ok(())
}

/// A word of one file's name that the other's has not: `train` where it is one.
fn own_word<'a>(one: &'a Found, other: &'a Found) -> Option<&'a str> {
    let words = |of: &'a Found, other: &'a Found| {
        let all = of.file_name().split(['.', '-', '_']).filter(|w| !w.is_empty());
        all.filter(|word| word.parse::<usize>().is_err() && !other.says(word))
    };
    let all = || words(one, other).chain(words(other, one));
    all().find(|word| *word == "train").or_else(|| all().next())
}

/// MLQA's names, `test-context-de-question-en.json`: languages of paragraphs and questions.
fn sides(file: &Found) -> Option<(&str, &str)> {
    let stem = file.file_name().strip_suffix(".json")?;
    let (context, question) = stem.split_once("context-")?.1.split_once("-question-")?;
    Some((context, question))
}

/// Leaves out MLQA's files whose questions are in another language than their paragraphs: by the ids that all share, the
/// files of one language give the same pairs.
fn of_one_language(files: &mut Vec<&Found>, sink: &mut dyn Sink) -> Result<()> {
    let is_mixed = |f: &Found| sides(f).is_some_and(|(context, question)| context != question);
    let Some(mixed) = files.iter().copied().find(|f| is_mixed(f)) else { return Ok(()) };
    let (context, question) = sides(mixed).unwrap_or_default();
    let is_whole = [context, question].iter().all(|l| files.iter().any(|f| sides(f) == Some((l, l))));
    ensure!(
        is_whole,
        "{}: paragraphs in '{context}' with questions in '{question}'; give the folder that also has its siblings \
         ...-context-{context}-question-{context}.json and ...-context-{question}-question-{question}.json: they share ids, which \
         makes the same pairs",
        mixed.path.display()
    );
    let before = files.len();
    files.retain(|f| !is_mixed(f));
    sink.note(format!(
        "{} files whose questions are in another language than their paragraphs are left out: the shared ids of the other {} \
         give the same pairs",
        before - files.len(),
        files.len()
    ));
    Ok(())
}

struct Reader<'a> {
    sink: &'a mut dyn Sink,
    language: LanguageId,
    prefix: String,
    by_sentence: bool,
    majority: bool,
    counts: &'a mut Counts,
}

impl Reader<'_> {
    fn paragraph(
        &mut self,
        number: usize,
        domain: &str,
        paragraph: &Paragraph,
        candidate: Candidate,
    ) -> Result<()> {
        let context = paragraph.context.as_str();
        let ranges =
            if self.by_sentence { sentences(context) } else { std::iter::once(0..context.len()).collect() };
        if context.trim().is_empty() {
            self.counts.blank += paragraph.qas.len();
            return Ok(());
        }
        let mut questions = Vec::new();
        for qa in &paragraph.qas {
            let id = read::id_of("id", &qa.id)?;
            if qa.is_impossible || qa.answers.is_empty() {
                self.counts.impossible += 1;
                continue;
            }
            let spans: Vec<Option<std::ops::Range<usize>>> =
                qa.answers.iter().map(|a| locate(context, a)).collect();
            self.counts.several += usize::from(qa.answers.len() > 1);
            let places: Vec<usize> = spans
                .iter()
                .flatten()
                .filter_map(|s| ranges.iter().position(|r| r.contains(&s.start)))
                .collect();
            let place = if self.by_sentence {
                let chosen = if self.majority {
                    let count = |p: usize| places.iter().filter(|q| **q == p).count();
                    places.iter().copied().max_by_key(|p| (count(*p), std::cmp::Reverse(*p)))
                } else {
                    let first = spans[0].as_ref();
                    first.and_then(|s| ranges.iter().position(|r| r.contains(&s.start)))
                };
                let Some(chosen) = chosen else {
                    self.counts.lost += 1;
                    continue;
                };
                self.counts.split += usize::from(places.iter().any(|p| *p != chosen));
                chosen
            } else {
                0
            };
            let range = ranges[place].clone();
            let inside = |s: &&std::ops::Range<usize>| range.contains(&s.start);
            let end = spans.iter().flatten().find(inside).map(|s| s.end.min(range.end) - range.start);
            questions.push((id, qa.question.as_str(), place, end));
        }
        if questions.is_empty() {
            return Ok(());
        }
        let mut passages = Vec::with_capacity(ranges.len());
        for (position, range) in ranges.iter().enumerate() {
            let prefix = &self.prefix;
            let by_sentence = self.by_sentence;
            let id = || {
                if by_sentence {
                    format!("{prefix}_{number}_{position}")
                } else {
                    format!("{prefix}_{number}")
                }
            };
            let text = &context[range.clone()];
            let passage = match candidate {
                Candidate::SentenceContext if by_sentence => {
                    self.sink.new_passage(&id, self.language, &format!("{text} {context}"))?
                }
                _ => self.sink.new_passage(&id, self.language, text)?,
            };
            passages.push(passage);
        }
        for (id, text, place, end) in questions {
            let asked = self.sink.ask(&id, domain, self.language, text)?;
            let Some((group, question)) = asked else { continue };
            self.sink.relevant(group, passages[place]);
            if let Some(end) = end.and_then(|e| u32::try_from(e).ok()) {
                self.sink.answer(Answer { question, passage: passages[place], end });
            }
        }
        Ok(())
    }
}

/// Where an answer stands, in bytes: at `answer_start` code points, if its text is there.
fn locate(context: &str, span: &Span) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(span.answer_start).ok()?;
    let start = context.char_indices().map(|(at, _)| at).chain([context.len()]).nth(start)?;
    let rest = &context[start..];
    (rest.starts_with(&span.text) && !rest.is_empty()).then(|| start..start + span.text.len())
}
