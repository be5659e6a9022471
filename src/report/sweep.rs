//! The table of a sweep: a row for each combination of the grid and each dataset, over the seeds.

use anyhow::Result;
use polars::prelude::DataFrame;

use super::grid::{Grid, Kind, Value};
use super::{Estimate, estimate};
use crate::run::sweep::{Standing, Sweep};

/// Column, setting and metric of what the table holds: macro means as in a run's summary.
pub const MEASURES: [(&str, &str, &str); 4] = [
    ("mono_map", "mono", "map"),
    ("cross_map", "cross", "map"),
    ("multi_map", "multi", "map"),
    ("rank_distance", "multi", "rank_distance"),
];

/// One combination of the grid on one dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepRow {
    /// One for each axis of the grid.
    pub values: Vec<String>,
    pub dataset: String,
    /// Seeds whose run is done.
    pub n: usize,
    /// In the order of [`MEASURES`]; `None` where it was not measured.
    pub estimates: [Option<Estimate>; 4],
}

/// The rows, from the final evaluations of the runs that are done, in the order of the grid.
#[must_use]
pub fn sweep_rows(sweep: &Sweep) -> Vec<SweepRow> {
    // Values of each measure, one for each seed that is done.
    let mut found: Vec<(SweepRow, [Vec<f64>; 4])> = Vec::new();
    for cell in &sweep.cells {
        let run = sweep.run(cell);
        if Standing::of_run(&run) != Standing::Done {
            continue;
        }
        for (_, dataset, scores) in run.scores() {
            let same = found.iter().position(|(r, _)| r.values == cell.values && r.dataset == dataset);
            let place = same.unwrap_or_else(|| {
                let row = SweepRow { values: cell.values.clone(), dataset, n: 0, estimates: [None; 4] };
                found.push((row, Default::default()));
                found.len() - 1
            });
            let (row, measured) = &mut found[place];
            row.n += 1;
            for ((_, setting, metric), values) in MEASURES.iter().zip(measured) {
                let score = scores.iter().find(|s| s.setting == *setting && s.metric == *metric);
                values.extend(score.map(|s| s.value));
            }
        }
    }
    // A first seed may still be missing where another is there: back to the order of the grid.
    found.sort_by_key(|(row, _)| sweep.cells.iter().position(|c| c.values == row.values));
    found
        .into_iter()
        .map(|(row, measured)| SweepRow { estimates: measured.map(|values| estimate(&values)), ..row })
        .collect()
}

/// The rows as a frame: `sweep`, a column for each key of the grid, `dataset`, `n` (seeds), then for each of
/// [`MEASURES`] the columns `_mean`, `_sd`, `_low` and `_high` (ends of the 95% interval).
///
/// # Errors
/// Where polars refuses the frame.
pub fn sweep_frame(sweep: &Sweep) -> Result<DataFrame> {
    let axes = &sweep.plan.grid;
    let mut columns = vec![("sweep".to_owned(), Kind::Text)];
    columns.extend(axes.iter().map(|axis| {
        let kind = if axis.is_numeric() { Kind::Real } else { Kind::Text };
        (axis.key.clone(), kind)
    }));
    columns.extend([("dataset".to_owned(), Kind::Text), ("n".to_owned(), Kind::Whole)]);
    for (name, _, _) in MEASURES {
        columns.extend(["mean", "sd", "low", "high"].map(|part| (format!("{name}_{part}"), Kind::Real)));
    }
    let mut grid = Grid::new(columns);
    for row in sweep_rows(sweep) {
        let mut cells: Vec<Value> = vec![sweep.id.as_str().into()];
        cells.extend(axes.iter().zip(row.values).map(|(axis, value)| -> Value {
            if axis.is_numeric() { value.parse::<f64>().ok().into() } else { value.into() }
        }));
        cells.extend([row.dataset.into(), row.n.into()]);
        for estimate in row.estimates {
            let interval = estimate.and_then(|e| e.interval());
            cells.extend([
                estimate.map(|e| e.mean).into(),
                estimate.and_then(|e| e.sd).into(),
                interval.map(|i| i.0).into(),
                interval.map(|i| i.1).into(),
            ]);
        }
        grid.push(cells);
    }
    grid.frame()
}
