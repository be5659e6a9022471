//! The command line: one file a subcommand. Results go to standard output, progress and notes to standard error.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod align;
mod bench;
pub mod compare;
mod data;
mod doctor;
mod domains;
mod encode;
mod encoder;
mod encoding;
mod evaluate;
pub mod export;
mod fetch;
mod figure;
mod interrupt;
mod measured;
mod model;
mod models;
mod paper;
mod progress;
mod report;
mod robustness;
mod runs;
mod score;
mod scripts;
mod search;
mod sweep;
mod table;
mod train;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

use crate::run::Store;
use crate::train::SUBCOMMAND;

/// Terminal workbench for mixing monolingual and cross-lingual batches when training multilingual dense retrievers.
///
/// Without a subcommand it opens the workbench.
#[derive(Debug, Parser)]
#[command(name = "polymix", version, max_term_width = 110)]
struct Cli {
    /// Directory of all runs [default: the user's data directory]
    #[arg(long, global = true, value_name = "DIR", env = "POLYMIX_RUNS")]
    runs_dir: Option<PathBuf>,
    #[command(flatten)]
    screen: Screen,
    #[command(subcommand)]
    command: Option<Command>,
}

/// How the workbench draws.
#[derive(Debug, clap::Args)]
struct Screen {
    /// Borders, bars and markers in ASCII
    #[arg(long)]
    ascii: bool,
    /// dark, light, colour-blind or mono
    #[arg(long, value_name = "NAME")]
    theme: Option<String>,
    /// Leave the mouse to the terminal
    #[arg(long)]
    no_mouse: bool,
    /// Directory whose *.toml files the setup screen offers
    #[arg(long, value_name = "DIR", default_value = "experiments")]
    specs: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a model as a spec says
    Train(train::Args),
    /// Train at every point of a grid, with several seeds; list and show sweeps
    Sweep(sweep::Args),
    /// Evaluate a model or a run on datasets
    Evaluate(evaluate::Args),
    /// Embed passages into shards on disk; goes on where it was interrupted
    Encode(encode::Args),
    /// Find the first passages of an index for questions, as a TREC run
    Search(search::Args),
    /// Export a table of a run or an evaluation
    Export(export::Args),
    /// Draw a figure for a paper, as SVG or PNG
    Figure(figure::Args),
    /// One page about a run or a sweep: results, figures, settings, how to repeat it (HTML or Markdown)
    Report(report::Args),
    /// Runs side by side, or a run beside the paper's published numbers
    Compare(compare::Args),
    /// Score a TREC run file against labels
    Score(score::Args),
    /// Do translations have the same vector? CKA, distance, retrieval by margin, a language probe
    Align(align::Args),
    /// What rewritten questions (typing errors, case, word order, ...) cost
    Robustness(robustness::Args),
    /// Models over domains: mAP and alignment, and the difference between models
    Domains(domains::Args),
    /// Results by script, with low-resource scripts marked
    Scripts(scripts::Args),
    /// List, show, stop, resume and remove runs
    Runs(runs::Args),
    /// Datasets: list, fetch, verify and inspect them
    Data(data::Args),
    /// Models: list, fetch, inspect and convert them; vectors of texts
    Model(model::Args),
    /// Measure how fast this machine trains
    Bench(bench::Args),
    /// Devices, memory, directories and terminal: what is there and what is missing
    Doctor(doctor::Args),
    /// Time some steps, for the workbench's estimate
    #[command(name = SUBCOMMAND, hide = true)]
    Pace,
    /// Print a completion script for a shell
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
}

/// Milliseconds until freed pages go back to the system, of a command: activations come and go each training step, which takes
/// seconds on a CPU, and with the allocator's second their pages were faulted in and zeroed again, for an eighth of the time.
const COMMAND_KEEPS: u16 = 10_000;
/// The same of the workbench, which lives for hours and computes nothing: what a plan took would stay until the next one.
const WORKBENCH_KEEPS: u16 = 0;

/// Parses the arguments and runs the command. Exit status: 0 done, 1 failed, 2 wrong usage.
///
/// `keep_pages` tells the allocator after how many milliseconds freed pages go back to the system.
#[must_use]
pub fn main(keep_pages: fn(u16)) -> ExitCode {
    let cli = Cli::parse();
    keep_pages(if cli.command.is_some() { COMMAND_KEEPS } else { WORKBENCH_KEEPS });
    if cli.command.is_some() {
        crate::train::device::on_unused_gpu(|why| eprintln!("note: {}", clean(why)));
    }
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("polymix: {}", clean(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// True where the reader of our output went away, which is no error of ours.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
    })
}

fn run(cli: Cli) -> Result<()> {
    crate::machine::check_limit()?;
    crate::machine::check_threads()?;
    if !matches!(cli.command, Some(Command::Runs(_) | Command::Completions { .. } | Command::Doctor(_))) {
        // Before there is a run, a file or a screen that is left behind.
        crate::machine::start_threads()?;
    }
    let store = Store::open(cli.runs_dir.as_deref())?;
    match cli.command {
        None => workbench(store, cli.screen),
        Some(Command::Train(args)) => train::run(&args, &store),
        Some(Command::Sweep(args)) => sweep::run(&args, &store),
        Some(Command::Evaluate(args)) => evaluate::run(&args, &store),
        Some(Command::Encode(args)) => encode::run(&args, &store),
        Some(Command::Search(args)) => search::run(&args, &store),
        Some(Command::Export(args)) => export::run(&args, &store),
        Some(Command::Figure(args)) => figure::run(&args, &store),
        Some(Command::Report(args)) => report::run(&args, &store),
        Some(Command::Compare(args)) => compare::run(&args, &store),
        Some(Command::Score(args)) => score::run(&args),
        Some(Command::Align(args)) => align::run(&args, &store),
        Some(Command::Robustness(args)) => robustness::run(&args, &store),
        Some(Command::Domains(args)) => domains::run(&args, &store),
        Some(Command::Scripts(args)) => scripts::run(&args, &store),
        Some(Command::Runs(args)) => runs::run(&args, &store),
        Some(Command::Data(args)) => data::run(&args),
        Some(Command::Bench(args)) => bench::run(&args, &store),
        Some(Command::Model(args)) => model::run(&args, &store),
        Some(Command::Pace) => train::pace(),
        Some(Command::Doctor(args)) => doctor::run(&args, &store),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "polymix", &mut script);
            print_bytes(&script)
        }
    }
}

fn workbench(store: Store, screen: Screen) -> Result<()> {
    crate::tui::run(&crate::tui::Options {
        store,
        specs: Some(screen.specs),
        is_ascii: screen.ascii,
        theme: screen.theme,
        has_mouse: !screen.no_mouse,
    })
}

/// Writes results to standard output; a broken pipe comes back as an error that [`main`] forgives.
fn print_bytes(bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// Says on standard error where a source has lost some of its training history.
fn remark_on(source: &crate::report::Source) {
    if let Some(Ok((_, Some(remark)))) = source.run.as_ref().map(crate::run::RunDir::history) {
        eprintln!("note: {remark}");
    }
}

/// One line, or several, of results.
fn print(text: &str) -> Result<()> {
    print_bytes(text.as_bytes())?;
    print_bytes(b"\n")
}

/// What a line of an error or a remark may be long, in characters.
const LINE: usize = 4000;

/// Words of others as one line for a terminal: line breaks and escape sequences are spelt out, and of very long ones the middle is
/// left out.
fn clean(text: &str) -> String {
    let spelt =
        |c: char| -> String { if c.is_control() { c.escape_default().collect() } else { c.to_string() } };
    let text: String = text.chars().map(spelt).collect();
    let count = text.chars().count();
    if count <= LINE {
        return text;
    }
    let begin: String = text.chars().take(LINE / 2).collect();
    let end: String = text.chars().skip(count - LINE / 2).collect();
    format!("{begin} [... {} characters ...] {end}", count - LINE / 2 * 2)
}

/// One JSON value on one line.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(&serde_json::to_string(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_others_cannot_break_a_line_or_move_the_cursor() {
        assert_eq!(clean("id 'a\nb\u{1b}[31mé'"), "id 'a\\nb\\u{1b}[31mé'");
        let long = clean(&format!("begin{}end", "x".repeat(3_000_000)));
        assert!(
            long.len() < LINE + 60 && long.starts_with("beginx") && long.ends_with("xend"),
            "{}",
            long.len()
        );
        assert!(long.contains("[... 2996008 characters ...]"), "{long}");
    }
}
