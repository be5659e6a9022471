//! `polymix runs`: list, show, stop, resume, remove.

use anyhow::{Result, ensure};
use serde_json::json;

use super::progress::Progress;
use super::table::{clock, plain};
use super::{print, print_json};
use crate::machine::{GpuState, bytes};
use crate::run::{self, RunDir, RunSummary, Store, last_scores};
use crate::train::{Event, Record, Score};

/// Arguments of `polymix runs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// All runs, newest first
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Spec, state and results of a run
    Show {
        /// Id, unique beginning of an id, directory, or `last`
        run: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Ask a running run to save a checkpoint and stop
    Stop {
        /// Id, unique beginning of an id, directory, or `last`
        run: String,
    },
    /// Go on with a stopped, failed or stale run
    Resume {
        /// Id, unique beginning of an id, directory, or `last`
        run: String,
        /// Start it in the background and return
        #[arg(long)]
        detach: bool,
        /// Change what no result depends on, for example --set train.chunk=16 (repeatable)
        #[arg(long = "set", value_name = "KEY=VALUE")]
        sets: Vec<String>,
    },
    /// Remove a run and all it holds
    Remove {
        /// Id, unique beginning of an id, or directory
        run: String,
        /// Do not ask
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

/// Runs the command.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    match &args.command {
        Command::List { json } => list(store, *json),
        Command::Show { run, json } => show(&store.find(run)?, *json),
        Command::Stop { run } => {
            let run = store.find(run)?;
            run::stop(&run)?;
            print(&format!("{}: asked to stop; it saves a checkpoint after its current step", run.id()))
        }
        Command::Resume { run, detach, sets } => {
            let run = store.find(run)?;
            run.change(sets)?;
            resume(&run, *detach)
        }
        Command::Remove { run, yes } => remove(store, &store.find(run)?, *yes),
    }
}

fn score(scores: &[Score], setting: &str, metric: &str) -> Option<f64> {
    scores.iter().find(|s| s.setting == setting && s.metric == metric).map(|s| s.value)
}

fn sampling(summary: &RunSummary) -> (String, String) {
    let weights = summary.spec.as_ref().and_then(|s| s.sampling.weights().ok());
    let alpha = weights.and_then(|w| w.alpha()).map_or(String::new(), |a| format!("{a:.2}"));
    (weights.map_or(String::new(), |w| w.label().to_owned()), alpha)
}

fn list(store: &Store, json: bool) -> Result<()> {
    let runs = store.list();
    if json {
        let mut remarks = Vec::new();
        for summary in &runs {
            print_json(&object(summary, &mut remarks))?;
        }
        remark(&remarks);
        return Ok(());
    }
    if runs.is_empty() {
        return print(&format!(
            "no runs yet in {}; start one with: polymix train demo",
            store.root.display()
        ));
    }
    let mut remarks = Vec::new();
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|summary| {
            let (label, alpha) = sampling(summary);
            let all = last_scores(history(summary, &mut remarks));
            let map = |setting| {
                let value = all.first().and_then(|(_, _, s)| score(s, setting, "map"));
                value.map_or(String::new(), |v| format!("{v:.4}"))
            };
            vec![
                summary.id.clone(),
                summary.phase.word().into(),
                format!("{}/{}", summary.step, summary.steps),
                label,
                alpha,
                summary.spec.as_ref().map_or(String::new(), |s| s.model.base.clone()),
                map("mono"),
                map("cross"),
                map("multi"),
            ]
        })
        .collect();
    let headings =
        ["run", "state", "step", "sampling", "alpha", "model", "mono mAP", "cross mAP", "multi mAP"];
    print(&plain(&headings, &rows))?;
    remark(&remarks);
    Ok(())
}

/// The events of a run; what is wrong with its files is added to `remarks`.
fn history(summary: &RunSummary, remarks: &mut Vec<String>) -> Vec<Record> {
    remarks.extend(summary.problem.clone());
    match summary.run.history() {
        Ok((records, remark)) => {
            remarks.extend(remark);
            records
        }
        Err(error) => {
            remarks.push(format!("{error:#}"));
            Vec::new()
        }
    }
}

fn remark(remarks: &[String]) {
    for remark in remarks {
        eprintln!("note: {remark}");
    }
}

fn object(summary: &RunSummary, remarks: &mut Vec<String>) -> serde_json::Value {
    let (label, _) = sampling(summary);
    let results: Vec<_> = last_scores(history(summary, remarks))
        .into_iter()
        .map(|(step, dataset, scores)| json!({"step": step, "dataset": dataset, "scores": scores}))
        .collect();
    json!({
        "v": 1, "run": summary.id, "path": summary.run.path, "state": summary.phase.word(), "step": summary.step,
        "steps": summary.steps, "created": summary.created, "message": summary.message, "sampling": label,
        "spec": summary.spec, "evaluations": results, "problem": summary.problem,
    })
}

fn show(run: &RunDir, json: bool) -> Result<()> {
    let summary = RunSummary::read(run);
    if json {
        let mut remarks = Vec::new();
        print_json(&object(&summary, &mut remarks))?;
        remark(&remarks);
        return Ok(());
    }
    let mut remarks = Vec::new();
    let records = history(&summary, &mut remarks);
    remark(&remarks);
    let mut text = format!("run       {}\ndirectory {}\n", summary.id, run.path.display());
    text += &format!("state     {}, step {} of {}\n", summary.phase.word(), summary.step, summary.steps);
    if let Some(message) = &summary.message {
        text += &format!("message   {message}\n");
    }
    for line in last_sample(&records) {
        text += &format!("{line}\n");
    }
    for (step, dataset, scores) in last_scores(records) {
        text += &format!("\n{dataset} after step {step}\n{}\n", super::measured::score_table(&scores));
    }
    text +=
        &format!("\nspec\n{}", summary.spec.map_or("unreadable".into(), |s| s.to_toml().unwrap_or_default()));
    print(text.trim_end())
}

/// Speed, memory and GPU at the last sample.
fn last_sample(records: &[Record]) -> Vec<String> {
    let mut events = records.iter().rev();
    let Some(sample) = events.find_map(|r| if let Event::Sample(s) = &r.event { Some(s) } else { None })
    else {
        return Vec::new();
    };
    let bytes = |m: Option<u64>| m.map_or("n/a".into(), bytes);
    // An evaluation may take more than any step, and a run that went on did so in another process.
    let told = || records.iter().filter_map(|r| r.event.memory());
    let (held, most) = (told().next_back().and_then(|m| m.0), told().filter_map(|m| m.1).max());
    let speed = format!(
        "speed     {:.1} pairs/s, {:.0} real tokens/s, {:.1} model GFLOP/s; {:.0}% padding avoided",
        sample.pairs_per_second,
        sample.tokens_per_second,
        sample.flops_per_second / 1e9,
        100.0 * sample.padding_avoided
    );
    let used = format!("memory    {}, at most {}", bytes(held), bytes(most));
    vec![speed, used, format!("GPU       {}", sample.gpu.as_ref().map_or("n/a".into(), GpuState::line))]
}

fn resume(run: &RunDir, detach: bool) -> Result<()> {
    if detach {
        let child = run::start(run)?;
        return print(&format!("{}: goes on in process {}", run.id(), child.id()));
    }
    let training = super::interrupt::Training::watched()?;
    let mut progress = Progress::new();
    let began = std::time::Instant::now();
    let outcome = training.execute(run, &mut |event| progress.event(event))?;
    progress.line(&format!("{} after {}", run.id(), clock(began.elapsed().as_secs_f64())));
    if outcome == run::Outcome::Done { print(&super::evaluate::headline(run)?) } else { Ok(()) }
}

fn remove(store: &Store, run: &RunDir, yes: bool) -> Result<()> {
    use std::io::{IsTerminal, Write};
    if !yes {
        ensure!(
            std::io::stdin().is_terminal(),
            "removing '{}' cannot be undone; say --yes to do it without being asked",
            run.id()
        );
        eprint!("remove {} and all it holds? [y/N] ", run.path.display());
        std::io::stderr().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !answer.trim().eq_ignore_ascii_case("y") {
            return print("nothing was removed");
        }
    }
    store.remove(run)?;
    print(&format!("{}: removed", run.id()))
}
