//! What is printed of sweeps: the list, the cells of one, its results.

use std::io::IsTerminal;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::cli::table::plain;
use crate::cli::{print, print_bytes, print_json};
use crate::report::{self, Estimate, Format, Measure, SweepRow, SweepTable, metric_name};
use crate::run::Store;
use crate::run::sweep::{self, Board, Standing, Sweep};
use crate::spec::Axis;

/// How results are printed.
#[derive(Debug, clap::Args)]
pub struct Output {
    /// Print the results in this format [default: aligned text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// Metrics of the results: map, mrr, ndcg@10, recall@10, `rank_distance`, ...
    #[arg(long, value_name = "M1,M2,...", value_delimiter = ',', default_values_t = report::USUAL.map(String::from))]
    metrics: Vec<String>,
    /// Print one JSON object with cells and results
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// `6 cells: 3 combinations of sampling.alpha, 2 seeds`.
pub fn extent(sweep: &Sweep) -> String {
    let keys: Vec<&str> = sweep.plan.grid.iter().map(|axis| axis.key.as_str()).collect();
    let seeds = sweep.plan.seeds;
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    let of = if keys.is_empty() { String::new() } else { format!(" of {}", keys.join(", ")) };
    let combinations = sweep.cells.len() / seeds;
    format!(
        "{} cell{}: {combinations} combination{}{of}, {seeds} seed{}",
        sweep.cells.len(),
        plural(sweep.cells.len()),
        plural(combinations),
        plural(seeds)
    )
}

impl Output {
    /// Prints the cells and the results.
    pub fn show(&self, sweep: &Sweep) -> Result<()> {
        if self.format.is_none() && !self.json {
            print(&cells_page(sweep))?;
        }
        self.print(sweep)
    }

    /// Refuses what cannot be printed before any work is done.
    pub fn check(&self) -> Result<()> {
        ensure!(self.format != Some(Format::Trec), "--format trec: a sweep's results are no TREC run");
        ensure!(
            self.format != Some(Format::Parquet) || !std::io::stdout().is_terminal(),
            "Parquet is not for a terminal; send it to a file with > FILE"
        );
        Ok(())
    }

    /// Prints the results.
    pub fn print(&self, sweep: &Sweep) -> Result<()> {
        if self.json {
            return print_json(&self.object(sweep)?);
        }
        match self.format {
            Some(format) => print_bytes(&report::frame_bytes(
                report::sweep_frame(sweep, &self.metrics)?,
                "sweep",
                format,
            )?),
            None => print(&results_page(&report::sweep_table(sweep, &self.metrics)?)),
        }
    }

    /// Everything about a sweep as one object.
    fn object(&self, sweep: &Sweep) -> Result<serde_json::Value> {
        let rows = report::frame_bytes(report::sweep_frame(sweep, &self.metrics)?, "sweep", Format::Json)?;
        let rows: serde_json::Value = serde_json::from_slice(&rows)?;
        let cells: Vec<_> = sweep
            .cells
            .iter()
            .map(|cell| {
                let run = sweep.run(cell);
                let state = run.state().ok();
                let values: serde_json::Map<_, _> = sweep
                    .plan
                    .grid
                    .iter()
                    .zip(&cell.values)
                    .map(|(axis, value)| (axis.key.clone(), json!(value)))
                    .collect();
                json!({
                    "run": cell.id, "path": run.path, "values": values, "seed": cell.seed,
                    "state": Standing::of_run(&run).word(),
                    "step": state.as_ref().map(|s| s.step), "steps": cell.spec.train.steps,
                    "failures": state.as_ref().map(|s| s.failures), "message": state.and_then(|s| s.message),
                })
            })
            .collect();
        Ok(json!({
            "v": 1, "sweep": sweep.id, "path": sweep.path, "created": sweep.created, "grid": sweep.plan.grid,
            "seeds": sweep.plan.seeds, "cells": cells, "results": rows["rows"],
        }))
    }
}

/// The cells with their states.
fn cells_page(sweep: &Sweep) -> String {
    let rows: Vec<Vec<String>> = sweep
        .cells
        .iter()
        .map(|cell| {
            let run = sweep.run(cell);
            let state = run.state().ok();
            let step = state.as_ref().map_or(0, |s| s.step);
            let trouble = state.filter(|s| s.failures > 0).and_then(|s| s.message).unwrap_or_default();
            vec![
                cell.id.clone(),
                Standing::of_run(&run).word().into(),
                format!("{step}/{}", cell.spec.train.steps),
                trouble.lines().next().unwrap_or_default().to_owned(),
            ]
        })
        .collect();
    format!(
        "sweep {} in {}: {}\n\n{}\n",
        sweep.id,
        sweep.path.display(),
        extent(sweep),
        plain(&["run", "state", "step", "message"], &rows)
    )
}

/// The results as text: means, and with several seeds the standard deviation and half the 95% interval.
fn results_page(table: &SweepTable) -> String {
    if table.rows.is_empty() {
        return "no results yet: no cell is done".into();
    }
    let spread = table.rows.iter().any(|row| row.n > 1);
    let mut headings: Vec<String> = table.coordinates.iter().map(|axis| axis.key.clone()).collect();
    headings.extend(["dataset".into(), "n".into()]);
    for measure in &table.measures {
        headings.push(heading(measure));
        if spread {
            headings.extend(["sd".into(), "±95%".into()]);
        }
    }
    let row = |row: &SweepRow| {
        let mut cells = row.values.clone();
        cells.extend([row.dataset.clone(), row.n.to_string()]);
        for (measure, estimate) in table.measures.iter().zip(&row.estimates) {
            let digits = if measure.metric == "rank_distance" { 1 } else { 4 };
            let number = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.digits$}"));
            cells.push(number(estimate.map(|e: Estimate| e.mean)));
            if spread {
                cells.push(number(estimate.and_then(|e| e.sd)));
                cells.push(number(estimate.and_then(|e| e.half)));
            }
        }
        cells
    };
    let rows: Vec<Vec<String>> = table.rows.iter().map(row).collect();
    plain(&headings.iter().map(String::as_str).collect::<Vec<_>>(), &rows)
}

/// `mono mAP`, `rank distance`.
fn heading(measure: &Measure) -> String {
    match measure.metric.as_str() {
        distance @ "rank_distance" => metric_name(distance),
        metric => format!("{} {}", measure.setting, metric_name(metric)),
    }
}

/// Prints every sweep.
pub fn list(store: &Store, json: bool) -> Result<()> {
    let mut rows = Vec::new();
    for sweep in sweep::list(store) {
        let sweep = match sweep {
            Ok(sweep) => sweep,
            Err(error) => {
                eprintln!("warning: {error:#}");
                continue;
            }
        };
        let board = Board::read(&sweep);
        let overall = board.overall(&board, 0.0);
        if json {
            print_json(&json!({
                "v": 1, "sweep": sweep.id, "path": sweep.path, "created": sweep.created, "grid": sweep.plan.grid,
                "seeds": sweep.plan.seeds, "cells": overall.total, "done": overall.done,
                "running": overall.running, "failed": overall.failed, "stopped": overall.stopped,
            }))?;
            continue;
        }
        let grid: Vec<String> = sweep
            .plan
            .grid
            .iter()
            .map(Axis::option)
            .map(|(option, value)| match option {
                "--grid" => value,
                simplex => format!("{} {value}", simplex.trim_start_matches('-')),
            })
            .collect();
        rows.push(vec![
            sweep.id.clone(),
            format!("{}/{}", overall.done, overall.total),
            overall.running.to_string(),
            overall.failed.to_string(),
            sweep.plan.seeds.to_string(),
            grid.join(" "),
        ]);
    }
    if json {
        return Ok(());
    }
    if rows.is_empty() {
        let place = sweep::root(store);
        return print(&format!(
            "no sweeps yet in {}; start one with: polymix sweep demo-grid --grid sampling.alpha=0,0.5,1",
            place.display()
        ));
    }
    print(&plain(&["sweep", "done", "running", "failed", "seeds", "grid"], &rows))
}
