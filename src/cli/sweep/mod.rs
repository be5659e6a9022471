//! `polymix sweep`: a grid of runs, worked through by a few workers at a time; `list` and `show`.

mod show;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use super::interrupt;
use super::progress::{Progress, stopped};
use super::table::clock;
use crate::report::{self, Format};
use crate::run::Store;
use crate::run::sweep::{self, Change, Overall, Plan, Standing, Sweep, What, Workers};
use crate::spec::{Axis, SAMPLING};
use show::Output;

/// Arguments of `polymix sweep`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    start: Start,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// All sweeps, newest first
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// The cells of a sweep and its results so far
    Show {
        /// Id, unique beginning of an id, directory, or `last`
        #[arg(value_name = "ID|DIR")]
        sweep: String,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, clap::Args)]
struct Start {
    /// Experiment spec: a TOML file, or the name of a bundled preset such as demo-grid
    #[arg(value_name = "SPEC")]
    spec: Option<PathBuf>,
    /// A key and its values, for example --grid sampling.alpha=0,0.5,1 (repeatable: every combination is a cell)
    #[arg(long = "grid", value_name = "KEY=V1,V2,...")]
    grid: Vec<String>,
    /// All mixes of three kinds of batch in parts of 1/N: (N + 1)(N + 2) / 2 combinations. Other kinds than mono, cross
    /// and multi: mono,cross,same=N
    #[arg(long, value_name = "[K1,K2,K3=]N")]
    simplex: Option<String>,
    /// Override a key of the spec for all cells (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Run each combination with this many seeds: the spec's, the next, ... [default: 1]
    #[arg(long, value_name = "N")]
    seeds: Option<usize>,
    /// Workers at once [default: one for each of --devices]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Devices, one for each worker in turn, for example cuda:0,cuda:1 [default: the spec's]
    #[arg(long, value_name = "D1,D2,...", value_delimiter = ',')]
    devices: Vec<String>,
    /// Id of the sweep [default: the spec's name and a number]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Directory of the sweep [default: `sweeps`, beside the directory of all runs]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Go on with the sweep that --name or --dir says, or help another process with it
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    output: Output,
}

/// Runs the command.
///
/// # Errors
/// Where the sweep is not found or is no valid one, where it was interrupted, and where a cell failed twice.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    match &args.command {
        Some(_) if args.start.spec.is_some() => bail!("list and show go with neither a spec nor its options"),
        Some(Command::List { json }) => show::list(store, *json),
        Some(Command::Show { sweep, output }) => {
            output.check()?;
            output.show(&Sweep::find(sweep, store)?)
        }
        None => start(&args.start, store),
    }
}

fn start(args: &Start, store: &Store) -> Result<()> {
    args.output.check()?;
    let jobs = args.jobs.unwrap_or(args.devices.len().max(1));
    ensure!(jobs > 0, "--jobs 0: must be at least 1");
    let workers = Workers { jobs, devices: args.devices.clone() };
    let sweep = if args.resume { resumed(args, store)? } else { created(args, store, &workers)? };
    let [interrupted, asked] = interrupt::of_sweep()?;
    let mut progress = Progress::new();
    progress.line(&format!("sweep {} in {}: {}", sweep.id, sweep.path.display(), show::extent(&sweep)));
    let signals = (&*interrupted, &*asked);
    let overall = sweep::work(&sweep, &workers, signals, &mut |change| tell(&mut progress, change))?;
    let csv = report::frame_bytes(
        report::sweep_frame(&sweep, &report::USUAL.map(String::from))?,
        "sweep",
        Format::Csv,
    )?;
    crate::files::replace(&sweep.path.join("results.csv"), &csv)?;
    args.output.print(&sweep)?;
    ended(&sweep, &overall)
}

fn plan(args: &Start) -> Result<Plan> {
    let path = args.spec.as_deref().context("name a spec: a TOML file or a preset such as demo-grid")?;
    let spec = super::train::load(path, &args.sets)?;
    let mut grid = args.grid.iter().map(|text| Axis::parse(text)).collect::<Result<Vec<_>>>()?;
    if let Some(text) = &args.simplex {
        let clash = grid.iter().find(|axis| axis.key == SAMPLING || axis.key.starts_with("sampling."));
        if let Some(axis) = clash {
            bail!("--grid {}: --simplex chooses the sampling; leave one of the two out", axis.key);
        }
        grid.insert(0, Axis::simplex(text, spec.sampling.schedule)?);
    }
    Ok(Plan { spec, grid, seeds: args.seeds.unwrap_or(1) })
}

fn created(args: &Start, store: &Store, workers: &Workers) -> Result<Sweep> {
    let plan = plan(args)?;
    // Everything that can be wrong is looked for before anything is written.
    plan.check(&workers.devices)?;
    Sweep::create(store, plan, args.name.as_deref(), args.dir.as_deref())
}

/// The sweep that --dir or --name says; a spec and a grid beside them must be the sweep's own.
fn resumed(args: &Start, store: &Store) -> Result<Sweep> {
    let sweep = match (&args.dir, &args.name) {
        (Some(dir), _) => Sweep::open(dir, store)?,
        (None, Some(name)) => Sweep::find(name, store)?,
        (None, None) => bail!("--resume: say which sweep with --name ID or --dir DIR (`polymix sweep list`)"),
    };
    if args.spec.is_some() {
        let (given, own) = (plan(args)?, &sweep.plan);
        let same = |what: &str, same: bool| {
            ensure!(same, "--resume: {what} differs from that of sweep '{}'; leave it out", sweep.id);
            Ok(())
        };
        same("the spec", given.spec == own.spec)?;
        same("--grid", given.grid == own.grid)?;
        same("--seeds", given.seeds == own.seeds)?;
    } else {
        let given = !args.grid.is_empty() || args.simplex.is_some() || !args.sets.is_empty();
        let given = given || args.seeds.is_some();
        ensure!(!given, "--resume: --grid, --simplex, --set and --seeds are the sweep's own; leave them out");
    }
    Ok(sweep)
}

/// `[2/6 done, 1 failed, 1 running, left 1:05]`.
fn standing(overall: &Overall) -> String {
    let mut text = format!("[{}/{} done", overall.done, overall.total);
    for (n, word) in [(overall.failed, "failed"), (overall.stopped, "stopped"), (overall.running, "running")]
    {
        if n > 0 {
            text += &format!(", {n} {word}");
        }
    }
    if let Some(left) = overall.left.filter(|left| *left > 0.0) {
        text += &format!(", left {}", clock(left));
    }
    text + "]"
}

/// One line for each change; on a terminal also one that shows how far the workers are.
fn tell(progress: &mut Progress, change: &Change) {
    let (id, standing) = (&change.cell.id, standing(&change.overall));
    let what = match &change.what {
        What::Step { step, steps } => {
            progress.live(&format!("{standing} {id}: step {step}/{steps}"));
            return;
        }
        What::Started { device, attempt } => {
            let on = device.as_ref().map_or(String::new(), |d| format!(" on {d}"));
            let again = if *attempt > 1 { format!(" again (try {attempt})") } else { String::new() };
            format!("started{again}{on}")
        }
        What::Adopted => "still running; its worker had outlived the sweep".to_owned(),
        What::Done { seconds } => format!("done in {}", clock(*seconds)),
        What::Again { message } => format!("failed, will be tried again: {message}"),
        What::Failed { message } => format!("failed for good: {message}"),
        What::Stopped { step } => stopped(*step),
    };
    progress.line(&format!("{standing} {id}: {what}"));
}

/// An error where something is left: what failed and why, and how to go on.
fn ended(sweep: &Sweep, overall: &Overall) -> Result<()> {
    if overall.done == overall.total {
        return Ok(());
    }
    let resume = format!("polymix sweep --resume --dir {}", sweep.path.display());
    if overall.failed == 0 {
        bail!("{} of {} cells are done; go on with: {resume}", overall.done, overall.total);
    }
    let mut text = format!(
        "{} of {} cells failed twice ({} done); when the cause is gone: {resume}",
        overall.failed, overall.total, overall.done
    );
    for cell in &sweep.cells {
        let run = sweep.run(cell);
        if Standing::of_run(&run) == Standing::Failed {
            let why = run.state().map_or_else(|e| format!("{e:#}"), |s| s.message.unwrap_or_default());
            text += &format!("; {}: {why}", cell.id);
        }
    }
    bail!(text)
}
