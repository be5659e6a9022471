//! A JSON object whose fields have several names.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

/// One JSON object, for example a line of a `.jsonl` file.
#[derive(Clone, Debug)]
pub struct Record(pub Map<String, Value>);

/// What a document's text is called.
pub const TEXT: [&str; 6] = ["text", "contents", "document_text", "content", "passage", "answer"];
/// What an id is called.
pub const ID: [&str; 5] = ["_id", "docid", "id", "doc_id", "document_id"];

impl Record {
    /// The first field there is of these names that is not null.
    #[must_use]
    pub fn get(&self, names: &[&str]) -> Option<(&str, &Value)> {
        names
            .iter()
            .filter_map(|name| self.0.get_key_value(*name))
            .find(|(_, v)| !v.is_null())
            .map(|(k, v)| (k.as_str(), v))
    }

    /// A text field, if it is there.
    ///
    /// # Errors
    /// Where it is no text.
    pub fn text_if(&self, names: &[&str]) -> Result<Option<&str>> {
        match self.get(names) {
            None => Ok(None),
            Some((_, Value::String(text))) => Ok(Some(text)),
            Some((name, other)) => bail!("field '{name}': must be a text, not {}", kind(other)),
        }
    }

    /// A text field.
    ///
    /// # Errors
    /// Where it is missing (the fields that are there are listed) or no text.
    pub fn text(&self, names: &[&str]) -> Result<&str> {
        self.text_if(names)?.with_context(|| self.missing(names))
    }

    /// An id: a text or a whole number.
    ///
    /// # Errors
    /// As [`Record::text`].
    pub fn id(&self, names: &[&str]) -> Result<String> {
        self.id_if(names)?.with_context(|| self.missing(names))
    }

    /// An id, if it is there.
    ///
    /// # Errors
    /// Where it is neither text nor number.
    pub fn id_if(&self, names: &[&str]) -> Result<Option<String>> {
        self.get(names).map(|(name, value)| id_of(name, value)).transpose()
    }

    /// A list field; missing: empty. A single value counts as a list of one.
    #[must_use]
    pub fn list(&self, names: &[&str]) -> &[Value] {
        match self.get(names) {
            Some((_, Value::Array(list))) => list,
            Some((_, one)) => std::slice::from_ref(one),
            None => &[],
        }
    }

    /// Title and text, joined by a space as the peers do; the text alone where there is no title.
    ///
    /// # Errors
    /// Where there is no text.
    pub fn title_and_text(&self) -> Result<String> {
        let text = self.text(&TEXT)?;
        let title = self.text_if(&["title"])?.unwrap_or_default().trim();
        Ok(if title.is_empty() { text.to_owned() } else { format!("{title} {text}") })
    }

    fn missing(&self, names: &[&str]) -> String {
        let there: Vec<&str> = self.0.keys().map(String::as_str).take(12).collect();
        format!(
            "field '{}' is missing{}; the object has {}",
            names[0],
            if names.len() > 1 { format!(" (or {})", names[1..].join(", ")) } else { String::new() },
            if there.is_empty() { "no fields".into() } else { there.join(", ") }
        )
    }
}

/// An id that is a text or a whole number.
///
/// # Errors
/// Where it is something else, or empty.
pub fn id_of(name: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) if !text.is_empty() => Ok(text.clone()),
        Value::Number(number) if !number.is_f64() => Ok(number.to_string()),
        Value::String(_) => bail!("field '{name}': the id is empty"),
        other => bail!("field '{name}': must be a text or a whole number, not {}", kind(other)),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Calls `each` with every line of a `.jsonl` file.
///
/// # Errors
/// As [`super::lines`]; a line that is no JSON object, named.
pub fn json_lines(path: &Path, mut each: impl FnMut(usize, Record) -> Result<()>) -> Result<()> {
    super::lines(path, |number, line| each(number, object(line)?))
}

/// The object of a line.
///
/// # Errors
/// Where it is none.
pub fn object(line: &str) -> Result<Record> {
    serde_json::from_str(line).map(Record).map_err(|error| {
        let is_array = line.trim_start().starts_with('[');
        anyhow::anyhow!(
            "not a JSON object{}: {}{}",
            if error.column() > 0 { format!(" (column {})", error.column()) } else { String::new() },
            reason(&error),
            if is_array || error.is_eof() {
                "; write one object a line, without a list around them"
            } else {
                ""
            }
        )
    })
}

/// The parser's message without its own count of lines, which starts anew on each.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(reason, _)| reason.to_owned())
}
