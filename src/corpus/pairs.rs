//! Any table of questions and passages: TSV, JSON lines or Parquet, with a map of its columns.
//!
//! `pairs[question=COLUMN, passage=COLUMN, ...]=FILE`. Columns are named by the header (or field, or schema), or by
//! number from 1 in a TSV file without header. Settings, all optional where the column has the setting's own name:
//!
//! | setting | what |
//! | --- | --- |
//! | `question`, `passage` | the two texts; of parallel sentences, the two sides |
//! | `id` | question id: rows with one id, in different languages, are parallel; absent: every row is its own |
//! | `negative` | a hard negative, or (JSON, Parquet) a list of them |
//! | `language_column` | language of question and passage |
//! | `question_language_column`, `passage_language_column` | the same, apart |
//! | `language`, `question_language`, `passage_language` | one language for all rows |

use anyhow::{Context, Result, bail, ensure};

use super::open::Request;
use super::read::{self, Found, Rows, Value};
use super::{LanguageId, Sink, language};

/// Where a side's language comes from.
enum From {
    Column(usize),
    Fixed(String),
}

/// Reads every file of the path.
pub fn read(request: &Request<'_>, sink: &mut dyn Sink) -> Result<()> {
    let options = request.options;
    let part = options.part("", &[])?;
    for key in ["question", "passage", "id", "negative", "language", "language_column"] {
        let _ = options.get(key);
    }
    for side in ["question", "passage"] {
        let _ = (options.get(&format!("{side}_language")), options.get(&format!("{side}_language_column")));
    }
    let _ = options.languages();
    options.finish(true)?;
    let found = read::find(request.path)?;
    let table = [".tsv", ".txt", ".jsonl", ".json", ".ndjson", ".parquet"];
    let files: Vec<&Found> = if request.path.is_dir() {
        found.iter().filter(|f| f.ends(&table) && (part.is_empty() || f.says(part))).collect()
    } else {
        found.iter().collect()
    };
    ensure!(!files.is_empty(), "{}: no .tsv, .jsonl or .parquet file", request.path.display());
    let mut left = 0;
    for (index, file) in files.iter().enumerate() {
        sink.input(&file.path)?;
        one(request, sink, file, index, &mut left)?;
    }
    if left > 0 {
        sink.note(format!("{left} rows with a blank question or passage were left out"));
    }
    Ok(())
}

fn one(
    request: &Request<'_>,
    sink: &mut dyn Sink,
    file: &Found,
    index: usize,
    left: &mut usize,
) -> Result<()> {
    let options = request.options;
    let rows = Rows::of(&file.name, &file.path)?;
    let there = rows.columns(&file.path)?;
    let has = |column: &str| there.iter().any(|c| c == column);
    let mut columns: Vec<String> = Vec::new();
    let mut at = |column: &str| {
        columns.iter().position(|c| c == column).unwrap_or_else(|| {
            columns.push(column.to_owned());
            columns.len() - 1
        })
    };
    // A column that the user named, or one with the setting's own name.
    let mut column = |key: &str| match options.get(key) {
        Some(named) => Some(at(named)),
        None if has(key) => Some(at(key)),
        None => None,
    };
    let needed = |found: Option<usize>, key: &str| {
        found.with_context(|| {
            format!(
                "{}: no column '{key}'; say which it is, as {}[{key}=COLUMN]. The file has {}",
                file.path.display(),
                request.name,
                there.iter().take(20).cloned().collect::<Vec<_>>().join(", ")
            )
        })
    };
    let question = needed(column("question"), "question")?;
    let passage = needed(column("passage"), "passage")?;
    let (id, negative) = (column("id"), column("negative"));
    let mut source = |side: &str| -> Result<From> {
        let own = format!("{side}_language");
        let named = options.get(&format!("{own}_column")).or_else(|| options.get("language_column"));
        if let Some(fixed) = options.get(&own) {
            return Ok(From::Fixed(language::normalise(fixed)));
        }
        if let Some(named) = named {
            return Ok(From::Column(at(named)));
        }
        if let Some(fixed) = options.get("language") {
            return Ok(From::Fixed(language::normalise(fixed)));
        }
        for name in [own.as_str(), "language", "lang"] {
            if has(name) {
                return Ok(From::Column(at(name)));
            }
        }
        match &file.language {
            Some(code) => Ok(From::Fixed(code.clone())),
            None => bail!(
                "{}: no column 'language', and the name says none; write {}[language=en] or [language_column=COLUMN]",
                file.path.display(),
                request.name
            ),
        }
    };
    let (question_language, passage_language) = (source("question")?, source("passage")?);
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    rows.read(&file.path, &names, &mut |number, values| {
        let text = |at: usize| values[at].as_ref().map_or("", |v| v.text().trim());
        let (question, passage) = (text(question), text(passage));
        if question.is_empty() || passage.is_empty() {
            *left += 1;
            return Ok(());
        }
        let code = |from: &From, sink: &mut dyn Sink| -> Result<LanguageId> {
            match from {
                From::Fixed(code) => sink.language(code),
                From::Column(at) => {
                    let code = text(*at);
                    ensure!(!code.is_empty(), "column '{}': no language", names[*at]);
                    sink.language(&language::normalise(code))
                }
            }
        };
        let (asked, answered) = (code(&question_language, sink)?, code(&passage_language, sink)?);
        let own = match id {
            Some(at) => {
                let own = text(at);
                ensure!(!own.is_empty(), "column '{}': no id", names[at]);
                own.to_owned()
            }
            None => format!("{index}:{number}"),
        };
        let group = sink.group(&own, "all")?;
        sink.question(group, asked, question)?;
        let name = || format!("{index}:{number}");
        let relevant = sink.new_passage(&name, answered, passage)?;
        sink.relevant(group, relevant);
        if let Some(values) = negative.and_then(|at| values[at].as_ref()).map(Value::all) {
            for (position, negative) in values.iter().enumerate() {
                let name = || format!("{index}:{number}:negative{position}");
                let passage = sink.new_passage(&name, answered, negative)?;
                sink.negative(group, passage);
            }
        }
        Ok(())
    })
}
