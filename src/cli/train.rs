//! `polymix train`: creates a run (or goes on with one) and trains in its directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::interrupt;
use super::progress::Progress;
use super::table::thousands;
use super::{print, print_json};
use crate::machine::{Doing, doing};
use crate::run::{self, Outcome, RunDir, Store};
use crate::spec::{self, ExperimentSpec};
use crate::train::{Place, Record, Rehearsal};

/// Arguments of `polymix train`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Experiment spec: a TOML file, or the name of a bundled preset such as demo
    #[arg(value_name = "SPEC", required_unless_present = "resume")]
    spec: Option<PathBuf>,
    /// Override a key of the spec, for example --set sampling.alpha=0.25 (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Directory of this run [default: a new one among the runs]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Go on with the run in --run-dir from its newest checkpoint; --set may then change what no result depends on,
    /// such as train.chunk
    #[arg(long, requires = "run_dir", conflicts_with = "spec")]
    resume: bool,
    /// Say what the run would take (memory, time, negatives a question) and whether it fits; make no run
    #[arg(long, conflicts_with_all = ["resume", "run_dir"])]
    dry_run: bool,
    /// Print every event as a JSON line on standard output
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    if args.dry_run {
        return dry_run(args);
    }
    let run = if args.resume { resumed(args)? } else { created(args, store)? };
    let training = interrupt::Training::watched()?;
    let mut progress = Progress::new();
    if !args.json {
        progress.line(&format!("run {} in {}", run.id(), run.path.display()));
        run.spec().iter().for_each(|spec| super::encoder::tell_doubt(&spec.model.base));
    }
    let outcome = training.execute(&run, &mut |event| {
        if args.json {
            // A reader that went away must not end the training.
            let _ = print_json(&Record::now(event.clone()));
        } else {
            progress.event(event);
        }
    })?;
    if args.json {
        return Ok(());
    }
    match outcome {
        Outcome::Done => print(&super::evaluate::headline(&run)?),
        Outcome::Stopped => {
            // A run beside the store is found by its path only.
            let name = match store.find(&run.id()) {
                Ok(found) if found == run => run.id(),
                _ => run.path.display().to_string(),
            };
            progress.line(&format!("resume with: polymix runs resume {name}"));
            Ok(())
        }
    }
}

fn resumed(args: &Args) -> Result<RunDir> {
    let path = args.run_dir.as_deref().context("--resume needs --run-dir DIR")?;
    let run = RunDir::new(path);
    ensure!(run.exists(), "{}: not a run directory (no spec.toml in it); nothing to resume", path.display());
    run.change(&all_sets(args))?;
    Ok(run)
}

/// Takes the steps that the workbench asks for: JSON in, JSON out.
pub fn pace() -> Result<()> {
    doing(Doing::Estimate);
    let asked: Rehearsal = serde_json::from_reader(std::io::stdin().lock())
        .context("this command is the workbench's own: it reads what to measure as JSON")?;
    print_json(&asked.measured()?)
}

/// `--set` and what other options set.
fn all_sets(args: &Args) -> Vec<String> {
    let device = args.device.iter().map(|device| format!("train.device={device}"));
    args.sets.iter().cloned().chain(device).collect()
}

/// Batches of the plan that an estimate looks at.
const LOOKED: usize = 500;

fn dry_run(args: &Args) -> Result<()> {
    doing(Doing::Estimate);
    let path = args.spec.as_deref().context("name a spec: a TOML file or a preset such as demo")?;
    let spec = load(path, &all_sets(args))?;
    spec.check_paths()?;
    let mut progress = Progress::new();
    let sources = run::Sources::open(&spec, &mut |done, total| {
        progress.passing(&format!("reading: {} of about {} texts", thousands(done), thousands(total)), false);
        Ok(())
    })?;
    progress.clear();
    let estimate = run::estimate_of(&spec, &sources, LOOKED, Place::Here)?;
    if args.json {
        print_json(&serde_json::json!({"v": 1, "estimate": estimate}))?;
    } else {
        let [memory, time] = estimate.lines();
        print(&format!(
            "{} pairs a step, {} negatives a question{}\n{memory}\n{time}",
            estimate.pairs,
            estimate.negatives,
            match estimate.hard_negatives {
                0.0 => String::new(),
                hard => format!(" and {hard:.1} hard ones that a batch shares"),
            }
        ))?;
        estimate.notes.iter().try_for_each(|note| print(&format!("note: {note}")))?;
    }
    match &estimate.problem {
        Some(problem) => anyhow::bail!("{}: {problem}", path.display()),
        None => Ok(()),
    }
}

fn created(args: &Args, store: &Store) -> Result<RunDir> {
    let path = args.spec.as_deref().context("name a spec: a TOML file or a preset such as demo")?;
    let spec = load(path, &all_sets(args))?;
    spec.check_paths()?;
    match &args.run_dir {
        Some(dir) => Store::create_at(dir, &spec),
        None => store.create(&spec),
    }
}

/// A spec file, or a bundled preset of that name where no such file exists.
pub fn load(path: &Path, sets: &[String]) -> Result<ExperimentSpec> {
    if !path.exists() {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = name.strip_suffix(".toml").unwrap_or(&name);
        if let Some((_, text)) = spec::presets().iter().find(|(n, _)| n.strip_suffix(".toml") == Some(stem)) {
            return spec::parse(text, sets).with_context(|| format!("preset {stem}"));
        }
        let known: Vec<&str> = spec::presets().iter().map(|(n, _)| *n).collect();
        anyhow::bail!(
            "{}: no such file, and no preset of this name (presets: {})",
            path.display(),
            known.join(", ")
        );
    }
    spec::load(path, sets)
}
