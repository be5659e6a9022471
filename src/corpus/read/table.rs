//! Rows of a TSV, JSONL or Parquet file, with columns by name or by number.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::record::object;
use super::{Record, json_lines, lines, parquet};

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    List(Vec<String>),
}

impl Value {
    /// All texts.
    #[must_use]
    pub fn all(&self) -> &[String] {
        match self {
            Self::Text(text) => std::slice::from_ref(text),
            Self::List(list) => list,
        }
    }
}

/// Hears each row: its number (of a text file the line) and the values of the columns that were asked for.
pub type Each<'a> = dyn FnMut(usize, &[Option<Value>]) -> Result<()> + 'a;

/// A table whose rows are read one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    Tsv,
    Json,
    Parquet,
}

impl Rows {
    /// By the end of the file's name.
    ///
    /// # Errors
    /// Where it is another.
    pub fn of(name: &str, path: &Path) -> Result<Self> {
        match name.rsplit('.').next() {
            Some("tsv" | "txt") => Ok(Self::Tsv),
            Some("jsonl" | "json" | "ndjson") => Ok(Self::Json),
            Some("parquet") => Ok(Self::Parquet),
            _ => bail!("{}: must end in .tsv, .jsonl (also .gz or .zst) or .parquet", path.display()),
        }
    }

    /// Calls `each` with the number of every row (of a text file: its line) and the values of `columns`, in order.
    ///
    /// # Errors
    /// A column that the file does not have: its columns are listed. A broken row: file, line and field.
    pub fn read(self, path: &Path, columns: &[&str], each: &mut Each<'_>) -> Result<()> {
        match self {
            Self::Tsv => tsv(path, columns, each),
            Self::Json => json(path, columns, each),
            Self::Parquet => parquet::read(path, columns, each),
        }
    }

    /// The columns that the file says it has: the header, the first object's fields, the schema.
    ///
    /// # Errors
    /// Where the file cannot be read or is empty.
    pub fn columns(self, path: &Path) -> Result<Vec<String>> {
        if self == Self::Parquet {
            return parquet::columns(path);
        }
        let mut reader = super::Lines::open(path)?;
        loop {
            let number = reader.number() + 1;
            let Some(line) = reader.line()? else { bail!("{}: is empty", path.display()) };
            if line.trim().is_empty() {
                continue;
            }
            if self == Self::Tsv {
                return Ok(line.split('\t').map(|c| c.trim().to_owned()).collect());
            }
            let Record(fields) = object(line).with_context(|| super::place(path, number))?;
            return Ok(fields.keys().cloned().collect());
        }
    }
}

/// Columns by name where the first line is a header, by number (from 1) where all are numbers.
fn tsv(path: &Path, columns: &[&str], each: &mut Each<'_>) -> Result<()> {
    let numbers: Option<Vec<usize>> =
        columns.iter().map(|c| c.parse::<usize>().ok().and_then(|n| n.checked_sub(1))).collect();
    let mut places: Option<(Vec<usize>, usize)> = numbers.map(|n| (n, 0));
    let are_numbers = columns.iter().all(|c| c.parse::<usize>().is_ok());
    let mut values = vec![None; columns.len()];
    let mut any = false;
    lines(path, |number, line| {
        let cells: Vec<&str> = line.split('\t').collect();
        let Some((places, width)) = &mut places else {
            let found = columns
                .iter()
                .map(|column| {
                    cells.iter().position(|c| c.trim() == *column).with_context(|| {
                        // Of numbers the one that is none of a column is to blame.
                        let is_zero = |c: &&&str| c.parse() == Ok(0usize) && are_numbers;
                        let column = columns.iter().find(is_zero).unwrap_or(column);
                        format!(
                            "column '{column}' is not in the header; it has {}. Columns of a file without a header \
                             are given by number, from 1",
                            cells.join(", ")
                        )
                    })
                })
                .collect::<Result<Vec<usize>>>()?;
            places = Some((found, cells.len()));
            return Ok(());
        };
        ensure!(
            *width == 0 || cells.len() == *width,
            "{} columns where the lines before have {width}; is there a tab in a text?",
            cells.len()
        );
        *width = cells.len();
        for ((value, place), column) in values.iter_mut().zip(places.iter()).zip(columns) {
            let cell = cells
                .get(*place)
                .with_context(|| format!("column '{column}': the line has {} columns", cells.len()))?;
            *value = (!cell.is_empty()).then(|| Value::Text((*cell).to_owned()));
        }
        any = true;
        each(number, &values)
    })?;
    ensure!(any, "{}: has a header, but no rows; remove it, or write the rows again", path.display());
    Ok(())
}

/// The field of this name, or with points in it that of an object within, as `translation.de`.
fn taken(record: &mut serde_json::Map<String, serde_json::Value>, name: &str) -> Option<serde_json::Value> {
    if let Some(value) = record.remove(name) {
        return Some(value);
    }
    let (outer, inner) = name.split_once('.')?;
    taken(record.get_mut(outer)?.as_object_mut()?, inner)
}

fn json(path: &Path, columns: &[&str], each: &mut Each<'_>) -> Result<()> {
    let mut values = vec![None; columns.len()];
    json_lines(path, |number, Record(mut record)| {
        for (value, column) in values.iter_mut().zip(columns) {
            *value = match taken(&mut record, column) {
                None | Some(serde_json::Value::Null) => None,
                Some(serde_json::Value::String(text)) => Some(Value::Text(text)),
                // Of others some digits are gone already.
                Some(serde_json::Value::Number(n)) if !n.is_i64() && !n.is_u64() => bail!(
                    "field '{column}': {n}: a number that is no whole one, or too large for one; write it as a text, in quotes"
                ),
                Some(serde_json::Value::Number(n)) => Some(Value::Text(n.to_string())),
                Some(serde_json::Value::Array(list)) => {
                    let list = list
                        .into_iter()
                        .map(|item| match item {
                            serde_json::Value::String(text) => Ok(text),
                            _ => bail!("field '{column}': the list must hold texts only"),
                        })
                        .collect::<Result<Vec<_>>>()?;
                    Some(Value::List(list))
                }
                Some(_) => bail!("field '{column}': must be a text or a list of texts"),
            };
        }
        each(number, &values)
    })
}
