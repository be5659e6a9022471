//! Questions with positive and negative passages, one JSON object a line: Tevatron's files (the older ones with the
//! texts inside, the newer ones with document ids and a corpus beside them) and `FlagEmbedding`'s.
//!
//! A line's own language counts first, then the file's path, then the setting. Questions with one id are parallel, unless
//! `ids=apart` says that they are not. Where the paths of Tevatron's files say several languages, document ids are each
//! language's own.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::open::Request;
use super::read::{self, Found, Record, json_lines};
use super::{LanguageId, Sink, language};

/// Fields with a line's own language.
const LANGUAGE: [&str; 3] = ["language", "lang", "locale"];

/// Reads Tevatron's `query_id, query, positive_passages, negative_passages` or `query_id, query_text,
/// positive_document_ids, negative_document_ids` with a corpus of `docid, text`.
pub fn tevatron(request: &Request<'_>, sink: &mut dyn Sink) -> Result<()> {
    let options = request.options;
    let found = read::find(request.path)?;
    let part = options.word_in("train", request.path, &found)?;
    let _ = (options.languages(), options.get("language"));
    let is_apart = request.is_apart()?;
    options.finish(true)?;
    let lines = [".jsonl", ".json"];
    let corpora: Vec<&Found> = found.iter().filter(|f| f.ends(&lines) && is_corpus(f)).collect();
    let single = request.path.is_file();
    let mut queries: Vec<&Found> =
        found.iter().filter(|f| f.ends(&lines) && !is_corpus(f) && (single || f.says(part))).collect();
    ensure!(
        !queries.is_empty(),
        "{}: no .jsonl file with '{part}' in its name; name the part, as {}[dev]",
        request.path.display(),
        request.name
    );
    request.check_stated(&queries, sink)?;
    options.of_wanted(&mut queries)?;
    let mut missing = Missing::default();
    let paths: BTreeSet<&str> = found.iter().filter_map(|f| f.language.as_deref()).collect();
    // Ids of one language's files say nothing about another's.
    let key = |file: &Found, id: &str, apart: bool| match &file.language {
        Some(language) if apart => format!("{language}:{id}"),
        _ => id.to_owned(),
    };
    let apart = is_apart || paths.len() > 1;
    let mut shared = Shared::default();
    let is_trained_on =
        part.contains("train") && !(single && queries.iter().any(|f| f.says("dev") || f.says("test")));
    let has_corpus =
        |file: &Found| corpora.iter().any(|c| c.language.is_none() || c.language == file.language);
    if let Some(file) = queries.iter().find(|f| !is_trained_on && !has_corpus(f)) {
        sink.note(format!(
            "{}: no corpus lies beside it: the pool has only passages that its lines name; scores are not comparable with \
             the whole pool's{}",
            file.name,
            if request.name == "mr-tydi" {
                " (put corpus.jsonl.gz of mr-tydi-corpus into the language's folder)"
            } else {
                " (put corpus.jsonl, with docid and text, beside it)"
            }
        ));
    }
    for corpus in corpora {
        sink.input(&corpus.path)?;
        let own = request.language_of(corpus);
        json_lines(&corpus.path, |_, record| {
            let code = language_of(&record, own.as_deref(), request)?;
            let language = sink.language(&code)?;
            let id = key(corpus, &record.id(&read::ID)?, apart);
            sink.passage(&id, language, &record.title_and_text()?)?;
            Ok(())
        })?;
    }
    for file in queries {
        sink.input(&file.path)?;
        let own = request.language_of(file);
        json_lines(&file.path, |line, record| {
            let code = language_of(&record, own.as_deref(), request)?;
            let language = sink.language(&code)?;
            let id = record.id(&["query_id", "qid", "_id", "id"])?;
            let id = if is_apart { format!("{code}:{id}") } else { id };
            let text = record.text(&["query_text", "query", "question"])?;
            let Some((group, _)) = sink.ask(&id, "all", language, text)? else { return Ok(()) };
            shared.add(group, language);
            let sides = [
                ("positive_passages", "positive_document_ids", true),
                ("negative_passages", "negative_document_ids", false),
            ];
            for (texts, ids, positive) in sides {
                let mut any = false;
                let link = |sink: &mut dyn Sink, passage| {
                    if positive { sink.relevant(group, passage) } else { sink.negative(group, passage) }
                };
                for document in documents(&record, texts)? {
                    let id = key(file, &document.id(&read::ID)?, apart);
                    let text = document.title_and_text().with_context(|| format!("field '{texts}'"))?;
                    let passage =
                        sink.passage(&id, language, &text).with_context(|| format!("field '{texts}'"))?;
                    link(sink, passage);
                    any = true;
                }
                for document in record.list(&[ids]) {
                    let id = read::id_of(ids, document)?;
                    // One corpus may serve the files of every language.
                    let own = sink.find_passage(&key(file, &id, apart));
                    let Some(passage) = own.or_else(|| sink.find_passage(&id)) else {
                        missing.add(&id, &file.path, line);
                        continue;
                    };
                    link(sink, passage);
                    any = true;
                }
                ensure!(
                    any || !positive || missing.count > 0,
                    "question '{id}': has no positive passage; expected positive_passages or positive_document_ids"
                );
            }
            Ok(())
        })?;
    }
    missing.refuse("a corpus file (corpus.jsonl with docid and text) beside the questions")?;
    if options.get("ids").is_none() {
        shared.tell(sink);
    }
    Ok(())
}

/// Reads `FlagEmbedding`'s `query, pos[], neg[]`.
pub fn flag(request: &Request<'_>, sink: &mut dyn Sink) -> Result<()> {
    let options = request.options;
    let found = read::find(request.path)?;
    let part = options.word_in("", request.path, &found)?;
    let _ = (options.languages(), options.get("language"));
    let is_apart = request.is_apart()?;
    options.finish(true)?;
    let mut files: Vec<&Found> =
        found.iter().filter(|f| f.ends(&[".jsonl", ".json"]) && (part.is_empty() || f.says(part))).collect();
    ensure!(!files.is_empty(), "{}: no .jsonl file{}", request.path.display(), read::fitting(part));
    request.check_stated(&files, sink)?;
    options.of_wanted(&mut files)?;
    let mut shared = Shared::default();
    for file in files {
        sink.input(&file.path)?;
        let own = request.language_of(file);
        let stem = file.name.rsplit_once('.').map_or(file.name.as_str(), |(s, _)| s);
        json_lines(&file.path, |line, record| {
            let code = language_of(&record, own.as_deref(), request)?;
            let language = sink.language(&code)?;
            let query = record.text(&["query"])?;
            let id = record.id_if(&["id", "_id", "qid"])?.unwrap_or_else(|| format!("{stem}:{line}"));
            let id = if is_apart { format!("{code}:{id}") } else { id };
            let Some((group, _)) = sink.ask(&id, "all", language, query)? else { return Ok(()) };
            shared.add(group, language);
            for (side, positive) in [("pos", true), ("neg", false)] {
                let texts = record.list(&[side]);
                ensure!(!positive || !texts.is_empty(), "field 'pos': is missing or empty");
                for (position, text) in texts.iter().enumerate() {
                    let Some(text) = text.as_str() else { bail!("field '{side}': must be a list of texts") };
                    let name = || format!("{stem}:{line}:{side}{position}");
                    let passage = sink.new_passage(&name, language, text)?;
                    if positive { sink.relevant(group, passage) } else { sink.negative(group, passage) }
                }
            }
            Ok(())
        })?;
    }
    if options.get("ids").is_none() {
        shared.tell(sink);
    }
    Ok(())
}

/// Counts question ids that stand in several languages.
#[derive(Default)]
pub struct Shared {
    /// By group the first language that it was asked in, [`LanguageId::MAX`]: none yet.
    first: Vec<LanguageId>,
    several: BTreeSet<u32>,
}

impl Shared {
    /// A question of a group, in a language.
    pub fn add(&mut self, group: u32, language: LanguageId) {
        let at = group as usize;
        if self.first.len() <= at {
            self.first.resize(at + 1, LanguageId::MAX);
        }
        if self.first[at] == LanguageId::MAX {
            self.first[at] = language;
        } else if self.first[at] != language {
            self.several.insert(group);
        }
    }

    /// Says what they are taken for.
    pub fn tell(&self, sink: &mut dyn Sink) {
        let count = self.several.len();
        if count > 0 {
            sink.note(format!(
                "{count} question ids stand in several languages: they count as translations of each other; if they are not, \
                 write ids=apart"
            ));
        }
    }
}

/// The passages of a field.
///
/// # Errors
/// Where one is no object.
pub fn documents(record: &Record, field: &str) -> Result<Vec<Record>> {
    let of = |document: &Value| match document {
        Value::Object(document) => Ok(Record(document.clone())),
        _ => bail!("field '{field}': must be a list of objects with docid and text"),
    };
    record.list(&[field]).iter().map(of).collect()
}

/// True for a file that holds passages.
pub fn is_corpus(file: &Found) -> bool {
    file.says("corpus") || file.says("collection") || file.says("docs")
}

/// The language of a line: its own field, else the file's.
fn language_of(record: &Record, own: Option<&str>, request: &Request<'_>) -> Result<String> {
    if let Some(code) = record.text_if(&LANGUAGE)? {
        return Ok(language::normalise(code));
    }
    own.map(str::to_owned).with_context(|| {
        format!(
            "neither a field 'language' nor the file's name says the language; write {}",
            request.with_language()
        )
    })
}

/// Document ids that no corpus has.
#[derive(Default)]
pub struct Missing {
    pub count: usize,
    first: String,
}

impl Missing {
    /// One more.
    pub fn add(&mut self, id: &str, path: &std::path::Path, line: usize) {
        if self.count == 0 {
            self.first = format!("{}: document '{id}'", read::place(path, line));
        }
        self.count += 1;
    }

    /// The error, if there were any.
    pub fn refuse(&self, remedy: &str) -> Result<()> {
        ensure!(
            self.count == 0,
            "{} is not in the corpus ({} such documents in all); add {remedy}",
            self.first,
            self.count
        );
        Ok(())
    }
}
