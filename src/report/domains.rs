//! Tables of domains: a row a model and domain, and the difference to the first model.

use anyhow::Result;
use polars::prelude::DataFrame;

use super::grid::Grid;
use super::grid::Kind::{Real, Text, Whole};
use super::grid::Value;
use crate::run::domains::{DomainRow, MEASURES};

/// What tables call a whole dataset.
const WHOLE: &str = "*";

/// The rows of each model on the same domains. With `differences` a row of the second, third, ... model holds its number minus
/// the first model's.
///
/// # Errors
/// Where polars refuses the frame.
pub fn domain_frame(models: &[(String, Vec<DomainRow>)], differences: bool) -> Result<DataFrame> {
    let columns =
        [("model", Text), ("dataset", Text), ("domain", Text), ("ids", Whole), ("questions", Whole)];
    let columns = columns.into_iter().chain(MEASURES.map(|name| (name, Real)));
    let mut grid = Grid::new(columns.map(|(name, kind)| (name.to_owned(), kind)));
    let Some((first_name, first)) = models.first() else { return grid.frame() };
    for index in 0..first.len() {
        for (name, rows) in models.iter().skip(usize::from(differences)) {
            let row = &rows[index];
            let name = if differences { format!("{name} - {first_name}") } else { name.clone() };
            let mut line: Vec<Value> = vec![
                name.into(),
                row.dataset.as_str().into(),
                row.domain.as_deref().unwrap_or(WHOLE).into(),
                row.ids.into(),
                row.questions.into(),
            ];
            let base = |at: usize| if differences { first[index].values[at] } else { 0.0 };
            line.extend(row.values.iter().enumerate().map(|(at, value)| Value::from(value - base(at))));
            grid.push(line);
        }
    }
    grid.frame()
}
