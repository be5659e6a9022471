//! What can be fetched and what is on disk, and the one download that goes on.

use crate::corpus::catalogue::{Entry, Form, Held};

/// A row of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub entry: Entry,
    pub held: Held,
}

impl Row {
    /// The kind in a word.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self.entry.form {
            Form::Model => "model",
            Form::Data => "data",
        }
    }
}

/// A download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub form: Form,
    pub name: String,
    pub file: String,
    pub done: u64,
    pub total: u64,
    /// Why it takes longer.
    pub note: Option<String>,
    /// A pause was asked for.
    pub is_pausing: bool,
}

impl Transfer {
    /// Share that is done, in 0..=1.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.done as f64 / self.total as f64 }
    }
}

/// A download that did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub form: Form,
    pub name: String,
    /// For the list.
    pub state: String,
    /// Why it failed; empty where it was paused.
    pub why: String,
}

/// State of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shelf {
    pub is_open: bool,
    /// `None` until the disk was looked at.
    pub rows: Option<Result<Vec<Row>, String>>,
    pub cursor: usize,
    pub transfer: Option<Transfer>,
    /// Downloads that were paused or failed.
    pub ended: Vec<Ended>,
}

impl Shelf {
    /// The rows that could be read.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        match &self.rows {
            Some(Ok(rows)) => rows,
            _ => &[],
        }
    }

    #[must_use]
    pub fn under_cursor(&self) -> Option<&Row> {
        self.rows().get(self.cursor)
    }

    /// How the download of a row ended, where it did not come to its end.
    #[must_use]
    pub fn ended_of(&self, row: &Row) -> Option<&Ended> {
        self.ended.iter().find(|e| e.form == row.entry.form && e.name == row.entry.name)
    }

    /// True where this row is the one that is being fetched.
    #[must_use]
    pub fn is_fetching(&self, row: &Row) -> bool {
        self.transfer.as_ref().is_some_and(|t| t.form == row.entry.form && t.name == row.entry.name)
    }
}
