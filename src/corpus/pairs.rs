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
//! | `ids` | `apart`: rows with one id in different languages are not parallel (`shared`, the default: they are) |
//! | `languages` | keep the rows whose languages are both among these, as `en+de` |
//!
//! A field of an object is named with a point, as `translation.de`. Of JSON lines each has its own fields: one may have a negative or a language of its own and the next none. Either all
//! of a file have an id, or none has. A row that says no language has that of the file's name. Where columns are given by
//! number, a first line with two names of columns is a header, and no pair.

use anyhow::{Context, Result, bail, ensure};

use super::open::Request;
use super::read::{self, Found, Rows, Value};
use super::{Options, Sink, language};

/// Where a side's language comes from: the first of these columns that says one, else the fixed one.
struct From {
    columns: Vec<usize>,
    fixed: Option<String>,
}

/// The places of a file's columns among those that are read.
struct Columns {
    names: Vec<String>,
    question: usize,
    passage: usize,
    id: Option<usize>,
    negative: Option<usize>,
    question_language: From,
    passage_language: From,
}

#[derive(Default)]
struct Counts {
    blank: usize,
    /// Texts of a TSV that begin and end with a quote mark.
    quoted: usize,
    kept: usize,
    /// Pairs of languages of which one is not wanted.
    others: std::collections::BTreeSet<(String, String)>,
}

/// Reads every file of the path.
pub fn read(request: &Request<'_>, sink: &mut dyn Sink) -> Result<()> {
    let options = request.options;
    for key in ["question", "passage", "id", "negative", "language", "language_column"] {
        let _ = options.get(key);
    }
    for side in ["question", "passage"] {
        let _ = (options.get(&format!("{side}_language")), options.get(&format!("{side}_language_column")));
    }
    let _ = (options.languages(), request.is_apart()?);
    options.finish(true)?;
    let found = read::find(request.path)?;
    let part = options.word_in("", request.path, &found)?;
    let files: Vec<&Found> = if request.path.is_dir() {
        found.iter().filter(|f| f.ends(&read::ENDINGS) && (part.is_empty() || f.says(part))).collect()
    } else {
        found.iter().collect()
    };
    ensure!(
        !files.is_empty(),
        "{}: no .tsv, .jsonl or .parquet file{}",
        request.path.display(),
        read::fitting(part)
    );
    let mut counts = Counts::default();
    for (index, file) in files.iter().enumerate() {
        sink.input(&file.path)?;
        one(request, sink, file, index, &mut counts)?;
    }
    options.check_languages()?;
    let others: Vec<String> = counts.others.iter().map(|(q, p)| format!("{q} and {p}")).take(20).collect();
    ensure!(
        counts.kept > 0 || others.is_empty(),
        "languages: no row has both its languages among these; question and passage are in {}",
        others.join(", ")
    );
    if counts.blank > 0 {
        sink.note(format!("{} rows with a blank or missing question or passage were left out", counts.blank));
    }
    if counts.quoted > 0 {
        sink.note(format!(
            "{} texts begin and end with a quote mark, which TSV takes as part of the text; if the program that wrote the file \
             put them there, write it without (in pandas quoting=csv.QUOTE_NONE), or as JSON lines",
            counts.quoted
        ));
    }
    Ok(())
}

impl Columns {
    fn of(request: &Request<'_>, file: &Found, rows: Rows) -> Result<Self> {
        let options = request.options;
        let there = rows.columns(&file.path)?;
        let has = |column: &str| there.iter().any(|c| c == column);
        // What one line of JSON lacks another may have.
        let may_have = |column: &str| rows == Rows::Json || has(column);
        let mut names: Vec<String> = Vec::new();
        let mut at = |column: &str| {
            names.iter().position(|c| c == column).unwrap_or_else(|| {
                names.push(column.to_owned());
                names.len() - 1
            })
        };
        let mut needed = |key: &str| match options.get(key) {
            Some(named) => Ok(at(named)),
            None if has(key) => Ok(at(key)),
            None => bail!(
                "{}: no column '{key}'; say which it is, as {}[{key}=COLUMN]. The file has {}",
                file.path.display(),
                request.name,
                there.iter().take(20).cloned().collect::<Vec<_>>().join(", ")
            ),
        };
        let (question, passage) = (needed("question")?, needed("passage")?);
        // A column that the user named, or one with the setting's own name.
        let mut column = |key: &str| options.get(key).or(may_have(key).then_some(key)).map(&mut at);
        let (id, negative) = (column("id"), column("negative"));
        let mut source = |side: &str| -> Result<From> {
            let own = format!("{side}_language");
            let fixed = |code: &str| From { columns: Vec::new(), fixed: Some(language::normalise(code)) };
            if let Some(code) = options.get(&own) {
                return Ok(fixed(code));
            }
            let named = options.get(&format!("{own}_column")).or_else(|| options.get("language_column"));
            if let Some(named) = named {
                return Ok(From { columns: vec![at(named)], fixed: None });
            }
            if let Some(code) = options.get("language") {
                return Ok(fixed(code));
            }
            let columns: Vec<&str> =
                [own.as_str(), "language", "lang"].into_iter().filter(|c| may_have(c)).collect();
            // JSON lines may say it, each for itself; where the first does not, the name is all there is.
            let is_said = columns.iter().any(|c| has(c));
            if let Some((a, b)) = language::pair_of_path(&file.path, request.path).filter(|_| !is_said) {
                bail!(
                    "{}: its name says two languages, '{a}' and '{b}'; say which side is which, as \
                     {}[question_language={a},passage_language={b}], or language={b} where both are in one",
                    file.path.display(),
                    request.name
                );
            }
            let columns = columns.into_iter().map(&mut at).collect();
            let from = From { columns, fixed: file.language.clone() };
            ensure!(
                !from.columns.is_empty() || from.fixed.is_some(),
                "{}: no column 'language', and the name says none; write {}, or [language_column=COLUMN]",
                file.path.display(),
                request.with_language()
            );
            Ok(from)
        };
        let (question_language, passage_language) = (source("question")?, source("passage")?);
        Ok(Self { names, question, passage, id, negative, question_language, passage_language })
    }

    /// The language of a side of a row.
    fn language(&self, from: &From, values: &[Option<Value>], request: &Request<'_>) -> Result<String> {
        for at in &from.columns {
            let code = self.text(*at, values)?;
            if !code.is_empty() {
                return Ok(language::normalise(code));
            }
        }
        from.fixed.clone().with_context(|| {
            let names: Vec<&str> = from.columns.iter().map(|at| self.names[*at].as_str()).collect();
            format!("column '{}': no language; or write {}[language=en]", names.join("' or '"), request.name)
        })
    }

    /// The text of a column, without the spaces around it; missing: empty.
    fn text<'v>(&self, at: usize, values: &'v [Option<Value>]) -> Result<&'v str> {
        match &values[at] {
            None => Ok(""),
            Some(Value::Text(text)) => Ok(text.trim()),
            Some(Value::List(list)) => match list.as_slice() {
                [] => Ok(""),
                [one] => Ok(one.trim()),
                many => bail!(
                    "column '{}': a list of {} texts; write one text a row (only negatives may be several)",
                    self.names[at],
                    many.len()
                ),
            },
        }
    }

    /// True for a row that holds the names of its columns, as the first line of a file whose columns are given by number.
    fn is_header(&self, question: &str, passage: &str) -> bool {
        const NAMES: [&str; 16] = [
            "question",
            "query",
            "passage",
            "text",
            "document",
            "doc",
            "answer",
            "context",
            "positive",
            "pos",
            "sentence1",
            "sentence2",
            "source",
            "target",
            "src",
            "tgt",
        ];
        let is_name = |text: &str| NAMES.contains(&text.to_lowercase().as_str());
        self.names.iter().all(|n| n.parse::<usize>().is_ok()) && is_name(question) && is_name(passage)
    }
}

/// True for a text as programs write one into a table whose format knows quotes.
fn is_quoted(text: &str) -> bool {
    text.len() > 1 && text.starts_with('"') && text.ends_with('"')
}

fn one(
    request: &Request<'_>,
    sink: &mut dyn Sink,
    file: &Found,
    index: usize,
    counts: &mut Counts,
) -> Result<()> {
    let rows = Rows::of(&file.name, &file.path)?;
    let columns = Columns::of(request, file, rows)?;
    let names: Vec<&str> = columns.names.iter().map(String::as_str).collect();
    let options: &Options = request.options;
    let is_apart = request.is_apart()?;
    // Rows of a table with this column; lines of JSON may do without, all of them.
    let needs_id = rows != Rows::Json || options.get("id").is_some();
    // The first row: its number, and whether it has an id.
    let mut first: Option<(usize, bool)> = None;
    let mut is_header = false;
    let (before, mut any) = (counts.blank, false);
    rows.read(&file.path, &names, &mut |number, values| {
        let (question, passage) =
            (columns.text(columns.question, values)?, columns.text(columns.passage, values)?);
        if number == 1 && rows == Rows::Tsv && columns.is_header(question, passage) {
            is_header = true;
            return Ok(());
        }
        if question.is_empty() || passage.is_empty() {
            counts.blank += 1;
            return Ok(());
        }
        any = true;
        if rows == Rows::Tsv {
            counts.quoted += [question, passage].into_iter().filter(|t| is_quoted(t)).count();
        }
        let asked = columns.language(&columns.question_language, values, request)?;
        let answered = columns.language(&columns.passage_language, values, request)?;
        let id = columns.id.map_or(Ok(""), |at| columns.text(at, values))?;
        if let Some(at) = columns.id {
            let has_id = !id.is_empty();
            ensure!(has_id || !needs_id, "column '{}': no id", names[at]);
            let (line, had_id) = *first.get_or_insert((number, has_id));
            let words = |has: bool, what: &'static str| if has { what } else { "none" };
            ensure!(
                has_id == had_id,
                "field '{}': {}, where line {line} has {}; give every line of the file an id, or none",
                names[at],
                words(has_id, "an id"),
                words(had_id, "one")
            );
        }
        // Both are asked about: what the data have is to be known.
        if [&asked, &answered].into_iter().filter(|l| !options.wants(l)).count() > 0 {
            counts.others.insert((asked, answered));
            return Ok(());
        }
        counts.kept += 1;
        let own = match id {
            "" => format!("{index}:{number}"),
            id if is_apart => format!("{asked}:{id}"),
            id => id.to_owned(),
        };
        let (asked, answered) = (sink.language(&asked)?, sink.language(&answered)?);
        let Some((group, _)) = sink.ask(&own, "all", asked, question)? else { return Ok(()) };
        let name = || format!("{index}:{number}");
        let relevant = sink.new_passage(&name, answered, passage)?;
        sink.relevant(group, relevant);
        if let Some(values) = columns.negative.and_then(|at| values[at].as_ref()).map(Value::all) {
            for (position, negative) in values.iter().enumerate() {
                let name = || format!("{index}:{number}:negative{position}");
                let passage = sink.new_passage(&name, answered, negative)?;
                sink.negative(group, passage);
            }
        }
        Ok(())
    })?;
    ensure!(
        any || counts.blank == before,
        "{}: no row has both a text in '{}' and one in '{}'; say which columns they are, as \
         {}[question=COLUMN,passage=COLUMN]",
        file.path.display(),
        names[columns.question],
        names[columns.passage],
        request.name
    );
    if is_header {
        sink.note(format!("{}: its first line was taken for a header and left out", file.path.display()));
    }
    Ok(())
}
