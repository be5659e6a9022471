//! `polymix report`: one page about a run or a sweep.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::print;
use crate::report::page;
use crate::run::Store;
use crate::run::sweep::Sweep;

/// Arguments of `polymix report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run or sweep: its id, the unique beginning of one, `last` (a run), or its directory
    #[arg(value_name = "RUN|SWEEP")]
    of: String,
    /// File to write: .html holds everything; .md has its figures as SVG in a folder beside it, as viewers of Markdown
    /// refuse figures inside [default: the id with .html]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

/// Runs the command. The path goes to standard output.
///
/// # Errors
/// Where neither a run nor a sweep is found, one of its files is damaged, or the file exists or cannot be written.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    if let Some(out) = &args.out {
        page::check(out, args.force)?;
    }
    let (id, page) = match store.find(&args.of) {
        Ok(run) => (run.id(), page::of_run(&run)?),
        Err(no_run) => match Sweep::find(&args.of, store) {
            Ok(sweep) => (sweep.id.clone(), page::of_sweep(&sweep)?),
            Err(no_sweep) => return Err(no_sweep).with_context(|| format!("{no_run:#}")),
        },
    };
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{id}.html")));
    page::write(&page, &out, args.force)?;
    print(&out.display().to_string())
}
