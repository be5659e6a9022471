//! MFAQ (De Bruyn et al. 2021): questions and answers of FAQ pages, a file a language; nothing is parallel.
//!
//! A line is a page with `qa_pairs` (question, answer), or one pair. Pairs of one page do not conflict: their answers
//! differ. A page without an id is known by its line, and where a language has several files by the file's name too.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::open::Request;
use super::read::{self, Found, Record, json_lines};
use super::{Sink, language};

/// Reads every language's pages.
pub fn read(request: &Request<'_>, sink: &mut dyn Sink) -> Result<()> {
    let options = request.options;
    let found = read::find(request.path)?;
    let part = options.word_in("train", request.path, &found)?;
    let _ = (options.languages(), options.get("language"));
    options.finish(true)?;
    let single = request.path.is_file();
    let mut files: Vec<&Found> =
        found.iter().filter(|f| f.ends(&[".jsonl", ".json"]) && (single || f.says(part))).collect();
    ensure!(
        !files.is_empty(),
        "{}: no .jsonl file with '{part}' in its name; name the part, as mfaq[valid]",
        request.path.display()
    );
    request.check_stated(&files, sink)?;
    options.of_wanted(&mut files)?;
    let mut blank = 0;
    let own_of = |file: &Found| request.language_of(file);
    for file in &files {
        let own = own_of(file);
        let is_shard = files.iter().filter(|f| own_of(f) == own).count() > 1;
        let stem = file.name.rsplit_once('.').map_or(file.name.as_str(), |(stem, _)| stem);
        sink.input(&file.path)?;
        json_lines(&file.path, |line, record| {
            let page_language = record.text_if(&["language", "lang"])?.map(language::normalise);
            let page = record.id_if(&["id", "page_id"])?;
            let pairs: Vec<Record> = match record.get(&["qa_pairs", "pairs"]) {
                Some((_, Value::Array(pairs))) => pairs
                    .iter()
                    .map(|pair| match pair {
                        Value::Object(pair) => Ok(Record(pair.clone())),
                        _ => bail!("field 'qa_pairs': must be a list of objects with question and answer"),
                    })
                    .collect::<Result<_>>()?,
                Some(_) => bail!("field 'qa_pairs': must be a list"),
                None => vec![record],
            };
            for (position, pair) in pairs.iter().enumerate() {
                let code = pair.text_if(&["language", "lang"])?.map(language::normalise);
                let code = code.or_else(|| page_language.clone()).or_else(|| own.clone());
                let code = code.with_context(|| {
                    format!(
                        "neither a field 'language' nor the file's name says the language; write {}",
                        request.with_language()
                    )
                })?;
                let (question, answer) = (pair.text(&["question"])?, pair.text(&["answer"])?);
                if question.trim().is_empty() || answer.trim().is_empty() {
                    blank += 1;
                    continue;
                }
                let language = sink.language(&code)?;
                // Two files may have pages in a language that is neither's own.
                let is_apart = is_shard || (files.len() > 1 && own.as_ref() != Some(&code));
                let id = match &page {
                    Some(page) => format!("{code}:{page}:{position}"),
                    None if is_apart => format!("{code}:{stem}:{line}:{position}"),
                    None => format!("{code}:{line}:{position}"),
                };
                let Some((group, _)) = sink.ask(&id, "all", language, question)? else { continue };
                let passage = sink.new_passage(&|| id.clone(), language, answer)?;
                sink.relevant(group, passage);
            }
            Ok(())
        })?;
    }
    if blank > 0 {
        sink.note(format!("{blank} pairs with a blank question or answer were left out"));
    }
    Ok(())
}
