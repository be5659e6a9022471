//! `polymix scripts`: results by script.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use polars::prelude::DataFrame;

use super::align::low_resource;
use super::encoding::block;
use super::models::of_sweep;
use super::progress::Progress;
use super::{print, print_bytes};
use crate::files::replace;
use crate::report::{self, Format, Source};
use crate::run::Store;
use crate::run::sweep::Sweep;

/// Arguments of `polymix scripts`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run (id, beginning of an id, `last`, directory) or evaluation directory; several are set side by side. Without any:
    /// which scripts are marked, and why
    #[arg(value_name = "RUN|DIR")]
    sources: Vec<String>,
    /// The finished runs of a sweep instead, side by side, as means over its seeds: id, directory, or `last`
    #[arg(long, value_name = "ID|DIR", conflicts_with = "sources")]
    sweep: Option<String>,
    /// Metric, or (of one run) `all`
    #[arg(long, default_value = "map", value_name = "METRIC")]
    metric: String,
    /// Scripts to mark as low-resource instead, or `none`
    #[arg(long, value_delimiter = ',', value_name = "SCRIPT")]
    low_resource: Vec<String>,
    /// Only the evaluations after this training step
    #[arg(long, value_name = "N")]
    step: Option<usize>,
    /// Only the evaluations on this dataset
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// File format [default: a table for the eye]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// File to write, in --format [default: standard output]
    #[arg(long, value_name = "FILE", requires = "format")]
    out: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    let low = low_resource(&args.low_resource)?;
    let sources = found(args, store)?;
    let (frame, shown) = match sources.as_slice() {
        [] => {
            let frame = report::script_table(&low)?;
            let columns = ["script", "low_resource", "why"];
            let shown = block("scripts", &frame, &columns, &|_, _| true)?;
            (frame, shown)
        }
        [(_, source)] => {
            let metric = (args.metric != "all").then_some(args.metric.as_str());
            let frame = report::script_frame(source, metric, &low)?;
            let shown = block("means over language pairs", &frame, &RESULTS, &|_, _| true)?;
            (frame, shown)
        }
        several => {
            ensure!(args.metric != "all", "--metric all: of several runs name one metric, such as map");
            let (pairs, means) = report::script_comparison(several, &args.metric, &low)?;
            let all = |title: &str, frame: &DataFrame| {
                let columns: Vec<&str> = frame.get_column_names().iter().map(|c| c.as_str()).collect();
                block(title, frame, &columns, &|_, _| true)
            };
            let title =
                format!("{}: language pairs with a low-resource script (low), and the others", args.metric);
            let shown = format!("{}\n\n{}", all(&title, &means)?, all("by script", &pairs)?);
            (pairs, shown)
        }
    };
    let Some(format) = args.format else { return print(&shown) };
    let bytes = report::frame_bytes(frame, "scripts", format)?;
    let Some(out) = &args.out else {
        ensure!(
            format != Format::Parquet || !std::io::stdout().is_terminal(),
            "Parquet is not for a terminal; write it to a file with --out FILE"
        );
        return print_bytes(&bytes);
    };
    ensure!(args.force || !out.exists(), "{}: exists already; --force replaces it", out.display());
    replace(out, &bytes)?;
    print(&out.display().to_string())
}

/// What is meant, with the label of its column.
fn found(args: &Args, store: &Store) -> Result<Vec<(String, Source)>> {
    for (index, name) in args.sources.iter().enumerate() {
        ensure!(!args.sources[..index].contains(name), "{name}: given twice; leave one out");
    }
    let chosen = match &args.sweep {
        None => args.sources.iter().map(|name| (None, name.clone())).collect::<Vec<_>>(),
        Some(sweep) => {
            let chosen = of_sweep(&Sweep::find(sweep, store)?, &mut Progress::new())?;
            chosen.models.into_iter().map(|m| (Some(m.label), m.model)).collect()
        }
    };
    chosen
        .into_iter()
        .map(|(label, name)| {
            let source = Source::find(&name, store)?.only(args.step, args.dataset.as_deref())?;
            Ok((label.unwrap_or_else(|| source.name.clone()), source))
        })
        .collect()
}

const RESULTS: [&str; 11] = [
    "dataset",
    "setting",
    "metric",
    "query_script",
    "passage_script",
    "low_resource",
    "query_languages",
    "cells",
    "n",
    "macro",
    "micro",
];
