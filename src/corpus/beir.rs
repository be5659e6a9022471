//! A dataset in BEIR's layout: `corpus.jsonl` (`_id`, `title`, `text`), `queries.jsonl` (`_id`, `text`) and `qrels/<split>.tsv`
//! (a heading, then query id, passage id, grade). Thakur et al. 2021.
//!
//! One language, which the part may name: `beir[test:de]=DIR`; without it English. A passage is relevant where its grade is
//! above 0; title and text are encoded together.

use std::collections::HashMap;
use std::io::BufRead as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{Dataset, Group, Parts, Passage, Question};
use crate::files::children;
use crate::spec::DatasetRef;

/// Opens the split that the part names (`test` where it names none).
///
/// # Errors
/// A missing or broken file, with its line, the field and the remedy; a split that is not there, with those that are.
pub fn open(dir: &Path, name: &DatasetRef) -> Result<Dataset> {
    let (split, language) = match name.part.as_deref() {
        None => ("test", "en"),
        Some(part) => part.split_once(':').unwrap_or((part, "en")),
    };
    let qrels = dir.join("qrels").join(format!("{split}.tsv"));
    if !qrels.is_file() {
        let there = children(&dir.join("qrels"));
        let there: Vec<_> = there.iter().filter_map(|p| p.file_stem()).map(|s| s.to_string_lossy()).collect();
        let there = if there.is_empty() { "nothing".to_owned() } else { there.join(", ") };
        bail!("{}: missing; qrels/ holds {there}; name a split as beir[SPLIT]=DIR", qrels.display());
    }
    let mut parts =
        Parts { languages: vec![language.to_owned()], domains: vec![name.name.clone()], ..Parts::default() };
    let mut passages: HashMap<String, u32> = HashMap::new();
    records(&dir.join("corpus.jsonl"), &mut |id, record| {
        let field = |key: &str| record.get(key).and_then(Value::as_str).unwrap_or_default().trim();
        let text = format!("{} {}", field("title"), field("text")).trim().to_owned();
        ensure!(
            passages.insert(id.clone(), parts.passages.len() as u32).is_none(),
            "the id '{id}' comes twice"
        );
        parts.passages.push(Passage { id, language: 0, text });
        Ok(())
    })?;
    let mut relevant = judgements(&qrels, &passages)?;
    let mut unjudged = 0;
    records(&dir.join("queries.jsonl"), &mut |id, record| {
        let text = record.get("text").and_then(Value::as_str).context("no field 'text'")?.trim();
        let Some(relevant) = relevant.remove(&id) else {
            unjudged += 1;
            return Ok(());
        };
        ensure!(!text.is_empty(), "the question '{id}' is empty");
        let (group, question) = (parts.groups.len() as u32, parts.questions.len() as u32);
        parts.questions.push(Question { group, language: 0, text: text.to_owned() });
        parts.groups.push(Group { id, domain: 0, questions: vec![Some(question)], relevant });
        Ok(())
    })?;
    ensure!(!parts.questions.is_empty(), "{}: no question of queries.jsonl is judged here", qrels.display());
    if let Some(id) = relevant.keys().next() {
        bail!("{}: question '{id}' is judged but not in queries.jsonl", qrels.display());
    }
    if unjudged > 0 {
        parts.notes.push(format!("{unjudged} questions without a relevant passage in {split} were left out"));
    }
    Ok(Dataset::assemble(name.label(), parts))
}

/// Every record of a JSON-lines file with its `_id`.
fn records(path: &Path, take: &mut dyn FnMut(String, &Value) -> Result<()>) -> Result<()> {
    let file = std::fs::File::open(path)
        .with_context(|| format!("{}: cannot read; a BEIR folder needs it", path.display()))?;
    for (number, line) in std::io::BufReader::new(file).lines().enumerate() {
        (|| {
            let line = line?;
            let line = line.trim_start_matches('\u{feff}').trim();
            if line.is_empty() {
                return Ok(());
            }
            let record: Value = serde_json::from_str(line).context("not a JSON object")?;
            let id = match record.get("_id") {
                Some(Value::String(id)) => id.clone(),
                Some(Value::Number(id)) => id.to_string(),
                _ => bail!("no field '_id'"),
            };
            take(id, &record)
        })()
        .with_context(|| format!("{}, line {}", path.display(), number + 1))?;
    }
    Ok(())
}

/// The relevant passages of each question.
fn judgements(path: &Path, passages: &HashMap<String, u32>) -> Result<HashMap<String, Vec<u32>>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot read", path.display()))?;
    let mut relevant: HashMap<String, Vec<u32>> = HashMap::new();
    for (number, line) in text.lines().enumerate().skip(1).filter(|(_, l)| !l.trim().is_empty()) {
        let at = || format!("{}, line {}", path.display(), number + 1);
        let [query, passage, grade] = line.split('\t').map(str::trim).collect::<Vec<_>>()[..] else {
            bail!("{}: three columns with tabs between them are needed: query-id, corpus-id, score", at());
        };
        let grade: f64 = grade.parse().with_context(|| format!("{}: score '{grade}' is no number", at()))?;
        if grade > 0.0 {
            let passage = passages
                .get(passage)
                .with_context(|| format!("{}: passage '{passage}' is not in corpus.jsonl", at()))?;
            relevant.entry(query.to_owned()).or_default().push(*passage);
        }
    }
    Ok(relevant)
}
