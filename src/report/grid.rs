//! Rows of mixed values on their way into a polars frame.

use anyhow::Result;
use polars::prelude::{Column, DataFrame};

/// One value; the column's kind decides how it is stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Whole(u64),
    Real(f64),
    Flag(bool),
    Absent,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Whole,
    Real,
    Flag,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl From<f64> for Value {
    /// What is not finite is absent: no format but Parquet has a common notation for it.
    fn from(number: f64) -> Self {
        if number.is_finite() { Self::Real(number) } else { Self::Absent }
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Into::into)
    }
}

/// Columns with their kinds, and rows as wide.
#[derive(Debug)]
pub struct Grid {
    columns: Vec<(String, Kind, Vec<Value>)>,
}

impl Grid {
    pub fn new(columns: impl IntoIterator<Item = (String, Kind)>) -> Self {
        Self { columns: columns.into_iter().map(|(name, kind)| (name, kind, Vec::new())).collect() }
    }

    /// Adds a row; missing values at its end are absent.
    pub fn push(&mut self, row: impl IntoIterator<Item = Value>) {
        let mut row = row.into_iter();
        for (_, _, values) in &mut self.columns {
            values.push(row.next().unwrap_or(Value::Absent));
        }
        debug_assert!(row.next().is_none(), "a row wider than its grid");
    }

    /// The frame; a value that is not of its column's kind becomes null.
    pub fn frame(self) -> Result<DataFrame> {
        let columns = self.columns.into_iter().map(|(name, kind, values)| {
            let (name, values) = (name.as_str().into(), values.iter());
            match kind {
                Kind::Text => Column::new(name, values.map(text).collect::<Vec<Option<String>>>()),
                Kind::Whole => Column::new(name, values.map(whole).collect::<Vec<Option<u64>>>()),
                Kind::Real => Column::new(name, values.map(real).collect::<Vec<Option<f64>>>()),
                Kind::Flag => Column::new(name, values.map(flag).collect::<Vec<Option<bool>>>()),
            }
        });
        Ok(DataFrame::new_infer_height(columns.collect())?)
    }
}

fn text(value: &Value) -> Option<String> {
    if let Value::Text(text) = value { Some(text.clone()) } else { None }
}

fn whole(value: &Value) -> Option<u64> {
    if let Value::Whole(number) = value { Some(*number) } else { None }
}

fn real(value: &Value) -> Option<f64> {
    if let Value::Real(number) = value { Some(*number) } else { None }
}

fn flag(value: &Value) -> Option<bool> {
    if let Value::Flag(flag) = value { Some(*flag) } else { None }
}
