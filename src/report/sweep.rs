//! The table of a sweep: a row for each combination of the grid and each dataset, over the seeds.

use anyhow::{Result, ensure};
use polars::prelude::DataFrame;

use super::grid::{Grid, Kind, Value};
use super::{Estimate, estimate};
use crate::run::sweep::{Standing, Sweep};
use crate::spec::{Axis, Cell};

/// What the table holds where nothing else is asked for.
pub const USUAL: [&str; 2] = ["map", DISTANCE];
/// The metric that exists only in the pool of all languages; the lower, the better.
const DISTANCE: &str = "rank_distance";

/// One combination of the grid on one dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepRow {
    /// One for each of the table's coordinates.
    pub values: Vec<String>,
    pub dataset: String,
    /// Seeds whose run is done.
    pub n: usize,
    /// One for each of the table's measures; `None` where it was not measured.
    pub estimates: Vec<Option<Estimate>>,
}

/// Macro means as in a run's summary: a setting and a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measure {
    pub setting: &'static str,
    pub metric: String,
}

/// The results of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepTable {
    /// What tells the combinations apart: see [`Sweep::coordinates`].
    pub coordinates: Vec<Axis>,
    pub measures: Vec<Measure>,
    pub rows: Vec<SweepRow>,
}

impl Measure {
    /// `mono_map`, `multi_ndcg@10`, `rank_distance`.
    #[must_use]
    pub fn column(&self) -> String {
        if self.metric == DISTANCE {
            DISTANCE.to_owned()
        } else {
            format!("{}_{}", self.setting, self.metric)
        }
    }

    /// The three settings of each metric; rank distance only in the pool.
    fn of(metrics: &[String]) -> Vec<Self> {
        let settings =
            |metric: &str| if metric == DISTANCE { &["multi"][..] } else { &["mono", "cross", "multi"] };
        let all = |metric: &String| {
            let measure = |setting: &&'static str| Self { setting: *setting, metric: metric.clone() };
            settings(metric).iter().map(measure).collect::<Vec<_>>()
        };
        metrics.iter().flat_map(all).collect()
    }
}

/// The results in these metrics, from the final evaluations of the runs that are done, in the order of the grid.
///
/// # Errors
/// Where no run that is done has measured one of the metrics; names what was measured.
pub fn sweep_table(sweep: &Sweep, metrics: &[String]) -> Result<SweepTable> {
    let (coordinates, measures) = (sweep.coordinates(), Measure::of(metrics));
    // Values of each measure, one for each seed that is done.
    let mut found: Vec<(&Cell, SweepRow, Vec<Vec<f64>>)> = Vec::new();
    let mut known: Vec<String> = Vec::new();
    for cell in &sweep.cells {
        let run = sweep.run(cell);
        if Standing::of_run(&run) != Standing::Done {
            continue;
        }
        for (_, dataset, scores) in run.scores() {
            let same = found.iter().position(|(c, r, _)| c.values == cell.values && r.dataset == dataset);
            let place = same.unwrap_or_else(|| {
                let row = SweepRow {
                    values: sweep.place(cell, &coordinates),
                    dataset,
                    n: 0,
                    estimates: Vec::new(),
                };
                found.push((cell, row, vec![Vec::new(); measures.len()]));
                found.len() - 1
            });
            let (_, row, measured) = &mut found[place];
            row.n += 1;
            for (measure, values) in measures.iter().zip(measured) {
                let is_it =
                    |s: &&crate::train::Score| s.setting == measure.setting && s.metric == measure.metric;
                values.extend(scores.iter().find(is_it).map(|s| s.value));
            }
            known.extend(scores.into_iter().map(|s| s.metric));
        }
    }
    known.sort();
    known.dedup();
    for metric in metrics {
        // Rank distance needs parallel passages; a table without it is still a table.
        ensure!(
            known.is_empty() || metric == DISTANCE || known.contains(metric),
            "metric '{metric}': not among the means of sweep '{}'; there are: {}",
            sweep.id,
            known.join(", ")
        );
    }
    // A first seed may still be missing where another is there: back to the order of the grid.
    found.sort_by_key(|(cell, ..)| sweep.cells.iter().position(|c| c.values == cell.values));
    let rows = found.into_iter().map(|(_, row, measured)| SweepRow {
        estimates: measured.iter().map(|values| estimate(values)).collect(),
        ..row
    });
    let rows = rows.collect();
    Ok(SweepTable { coordinates, measures, rows })
}

/// The table as a frame: `sweep`, its coordinates, `dataset`, `n` (seeds), then for each measure the columns `_mean`,
/// `_sd`, `_low` and `_high` (ends of the 95% interval).
///
/// # Errors
/// As [`sweep_table`], and where polars refuses the frame.
pub fn sweep_frame(sweep: &Sweep, metrics: &[String]) -> Result<DataFrame> {
    let table = sweep_table(sweep, metrics)?;
    let mut columns = vec![("sweep".to_owned(), Kind::Text)];
    let kind = |axis: &Axis| if axis.is_numeric() { Kind::Real } else { Kind::Text };
    columns.extend(table.coordinates.iter().map(|axis| (axis.key.clone(), kind(axis))));
    columns.extend([("dataset".to_owned(), Kind::Text), ("n".to_owned(), Kind::Whole)]);
    for measure in &table.measures {
        let name = measure.column();
        columns.extend(["mean", "sd", "low", "high"].map(|part| (format!("{name}_{part}"), Kind::Real)));
    }
    let mut grid = Grid::new(columns);
    for row in table.rows {
        let mut cells: Vec<Value> = vec![sweep.id.as_str().into()];
        cells.extend(table.coordinates.iter().zip(row.values).map(|(axis, value)| -> Value {
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
