//! `polymix export`: a table of a run or an evaluation, in a file format.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::{print, print_bytes};
use crate::report::{self, Format, Source, Table};
use crate::run::{self, Store};

/// Arguments of `polymix export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run (id, beginning of an id, `last`, directory) or evaluation directory
    #[arg(value_name = "RUN|DIR")]
    source: String,
    /// What to export
    #[arg(long, value_enum, default_value = "pairs")]
    table: Table,
    /// File format
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// Only the evaluations after this training step
    #[arg(long, value_name = "N")]
    step: Option<usize>,
    /// Only the evaluations on this dataset
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// File to write; of TensorBoard, the log directory [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

/// Runs the command. The path goes to standard output, or without `--out` the table itself.
///
/// # Errors
/// Where the source is not found or lacks the table, or the file exists.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    let source = Source::find(&args.source, store)?.only(args.step, args.dataset.as_deref())?;
    let is_board = args.format == Format::Tensorboard;
    if args.table == Table::History || is_board {
        super::remark_on(&source);
    }
    let Some(out) = &args.out else {
        ensure!(
            !(is_board || args.format == Format::Parquet) || !std::io::stdout().is_terminal(),
            "binary files are not for a terminal; write it to a file with --out FILE"
        );
        return print_bytes(&report::render(&source, args.table, args.format)?);
    };
    let out = match &source.run {
        // TensorBoard finds its files by their names.
        Some(run) if is_board => {
            crate::files::create_dir(out)?;
            let began = run.state().map_or(0.0, |s| s.created);
            out.join(run::tensorboard::file_name(run, began))
        }
        _ => out.clone(),
    };
    report::export(&source, args.table, args.format, &out, args.force)?;
    print(&out.display().to_string())
}
