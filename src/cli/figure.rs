//! `polymix figure`: runs or evaluations as a picture for a paper.

use std::path::PathBuf;

use anyhow::Result;

use super::print;
use crate::report::{Source, figure};
use crate::run::Store;

/// Arguments of `polymix figure`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Runs (id, beginning of an id, `last`, directory), evaluation directories, or sweeps for all their runs that are done
    #[arg(value_name = "RUN|SWEEP|DIR", required = true)]
    sources: Vec<String>,
    /// What to show
    #[arg(long, value_enum)]
    kind: figure::Kind,
    /// File to write: .svg or .png
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Metric of a heatmap, ratio or ternary: map, mrr, ndcg@10, recall@10, success@1, ...
    #[arg(long, default_value = "map", value_name = "METRIC")]
    metric: String,
    /// Setting of a ternary: mono, cross or multi
    #[arg(long, default_value = "multi", value_name = "SETTING", value_parser = ["mono", "cross", "multi"])]
    setting: String,
    /// Only the evaluations after this training step
    #[arg(long, value_name = "N")]
    step: Option<usize>,
    /// Only the evaluations on this dataset
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Width in pixels (PNG) or points (SVG) [default: one column, 240 points at 300 dots an inch]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(50..=20_000))]
    width: Option<u32>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

/// Runs the command. The path goes to standard output, warnings to standard error.
///
/// # Errors
/// Where a source is not found or lacks what the figure needs, or the file exists or cannot be written.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    figure::check(&args.out, args.force)?;
    let only = |source: Source| {
        // Loss curves need no evaluation.
        if args.kind == figure::Kind::Curves {
            super::remark_on(&source);
            return Ok(source);
        }
        source.only(args.step, args.dataset.as_deref())
    };
    let found = args.sources.iter().map(|name| Source::find_all(name, store)).collect::<Result<Vec<_>>>()?;
    let sources = found.into_iter().flatten().map(only).collect::<Result<Vec<_>>>()?;
    let measure = figure::Measure { metric: args.metric.clone(), setting: args.setting.clone() };
    let figure = figure::draw(args.kind, &sources, measure)?;
    for note in &figure.notes {
        eprintln!("warning: {note}");
    }
    figure.save(&args.out, args.force, args.width)?;
    print(&args.out.display().to_string())
}
