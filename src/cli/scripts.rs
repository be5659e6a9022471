//! `polymix scripts`: results by script.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::align::low_resource;
use super::encoding::block;
use super::{print, print_bytes};
use crate::files::replace;
use crate::report::{self, Format, Source};
use crate::run::Store;

/// Arguments of `polymix scripts`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run (id, beginning of an id, `last`, directory) or evaluation directory. Without it: which scripts are marked, and why
    #[arg(value_name = "RUN|DIR")]
    source: Option<String>,
    /// Metric, or `all`
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
    let (frame, columns): (_, &[&str]) = match &args.source {
        None => (report::script_table(&low)?, &["script", "low_resource", "why"]),
        Some(source) => {
            let source = Source::find(source, store)?.only(args.step, args.dataset.as_deref())?;
            let metric = (args.metric != "all").then_some(args.metric.as_str());
            (report::script_frame(&source, metric, &low)?, &RESULTS)
        }
    };
    let Some(format) = args.format else {
        let title = if args.source.is_some() { "means over language pairs" } else { "scripts" };
        return print(&block(title, &frame, columns, &|_, _| true)?);
    };
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
