//! BEIR (Thakur et al. 2021): `corpus.jsonl`, `queries.jsonl`, `qrels/SPLIT.tsv`.
//!
//! One language in the directory itself, or a directory a language with ids shared across them. A passage is title
//! and text, joined by a space. Grades above 0 are relevant; a judged 0 is none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::open::Request;
use super::read::{self, Found, json_lines};
use super::trec::{Judgement, qrels};
use super::triples::Missing;
use super::{Sink, language};

/// Reads corpus, questions and judgements.
pub fn read(request: &Request<'_>, sink: &mut dyn Sink) -> Result<()> {
    let options = request.options;
    let part = options.part("test", &[])?;
    let fixed = options.get("language").map(language::normalise);
    let _ = options.languages();
    options.finish(true)?;
    ensure!(
        request.path.is_dir() || !request.path.exists(),
        "{}: is a file; give the directory with corpus.jsonl, queries.jsonl and qrels/",
        request.path.display()
    );
    let found = read::find(request.path)?;
    let mut folders: BTreeMap<PathBuf, &Found> = BTreeMap::new();
    for file in found.iter().filter(|f| f.name.rsplit('/').next() == Some("corpus.jsonl")) {
        folders.insert(file.path.parent().unwrap_or(Path::new(".")).to_owned(), file);
    }
    ensure!(
        !folders.is_empty(),
        "{}: no corpus.jsonl (also .gz or .zst); a BEIR directory has corpus.jsonl, queries.jsonl and qrels/",
        request.path.display()
    );
    let several = folders.len() > 1;
    for (folder, corpus) in folders {
        let own = fixed.clone().filter(|_| !several).or_else(|| corpus.language.clone());
        if own.as_ref().is_some_and(|l| !options.wants(l)) {
            continue;
        }
        folder_of_one(request, sink, &found, &folder, corpus, own.as_deref(), part, several)
            .with_context(|| folder.display().to_string())?;
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)]
fn folder_of_one(
    request: &Request<'_>,
    sink: &mut dyn Sink,
    found: &[Found],
    folder: &Path,
    corpus: &Found,
    own: Option<&str>,
    part: &str,
    several: bool,
) -> Result<()> {
    let here: Vec<Found> = found.iter().filter(|f| f.path.starts_with(folder)).cloned().collect();
    let named = |f: &Found, name: &str| f.name.rsplit('/').next() == Some(name);
    let queries = read::one(&here, folder, "queries.jsonl", |f| named(f, "queries.jsonl"))?;
    let judged: Vec<&Found> =
        here.iter().filter(|f| f.name.contains("qrels") && f.ends(&[".tsv", ".txt"])).collect();
    let splits: Vec<&str> = judged.iter().filter_map(|f| f.name.rsplit('/').next()).collect();
    let qrels_file = judged.iter().find(|f| f.says(part)).with_context(|| {
        format!(
            "no qrels for the part '{part}'; there are {}; write {}[PART]",
            splits.join(", "),
            request.name
        )
    })?;
    let language_of = |record: &read::Record| -> Result<String> {
        if let Some(code) = record.text_if(&["language", "lang"])? {
            return Ok(language::normalise(code));
        }
        own.map(str::to_owned).with_context(|| {
            format!(
                "neither a field 'language' nor the directory says the language; write {}[language=en]",
                request.name
            )
        })
    };
    for file in [corpus, queries, qrels_file] {
        sink.input(&file.path)?;
    }
    let judgements = qrels(&qrels_file.path)?;
    let key = |code: &str, id: &str| if several { format!("{code}:{id}") } else { id.to_owned() };
    let mut documents = String::new();
    json_lines(&corpus.path, |_, record| {
        let code = language_of(&record)?;
        let id = record.id(&read::ID)?;
        let language = sink.language(&code)?;
        documents.clone_from(&code);
        sink.passage(&key(&code, &id), language, &record.title_and_text()?)?;
        Ok(())
    })?;
    let mut asked = 0;
    let mut unjudged = 0;
    json_lines(&queries.path, |_, record| {
        let code = language_of(&record)?;
        let id = record.id(&read::ID)?;
        if judgements.relevant(&id) {
            let language = sink.language(&code)?;
            let group = sink.group(&id, "all")?;
            sink.question(group, language, record.text(&["text", "query", "question", "query_text"])?)?;
            asked += 1;
        } else {
            unjudged += 1;
        }
        Ok(())
    })?;
    ensure!(
        asked > 0,
        "{}: none of its question ids is in {}",
        queries.path.display(),
        qrels_file.path.display()
    );
    let mut missing = Missing::default();
    let (mut unasked, mut zero) = (0, 0);
    for Judgement { line, question, document, grade } in &judgements.all {
        let Some(group) = sink.find_group(question) else {
            unasked += usize::from(*grade > 0);
            continue;
        };
        match sink.find_passage(&key(&documents, document)) {
            Some(passage) if *grade > 0 => sink.relevant(group, passage),
            Some(passage) => {
                zero += 1;
                sink.negative(group, passage);
            }
            None if *grade > 0 => missing.add(document, &qrels_file.path, *line),
            None => {}
        }
    }
    missing.refuse("the missing documents to corpus.jsonl, or remove the lines")?;
    let at = own.map_or(String::new(), |l| format!("{l}: ")).clone();
    if unjudged > 0 {
        sink.note(format!(
            "{at}{unjudged} questions have no relevant document in '{part}' and were left out"
        ));
    }
    if unasked > 0 {
        sink.note(format!("{at}{unasked} judgements are for questions that queries.jsonl does not have"));
    }
    if zero > 0 {
        sink.note(format!(
            "{at}{zero} judgements of 0 are not relevant; training may use them as hard negatives"
        ));
    }
    Ok(())
}
