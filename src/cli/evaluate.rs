//! `polymix evaluate`: a model or a run on datasets, all settings from one encode.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;

use super::encoding::Encoding;
use super::progress::Progress;
use super::{measured, paper, print, print_json};
use crate::evaluate::search::ShardDtype;
use crate::report::paper::{Column, Page};
use crate::run::{self, RunDir, Shards, Store};
use crate::spec::{Candidate, Missing};
use crate::train::Event;
use crate::{corpus, evaluate, report};

/// Arguments of `polymix evaluate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model directory, run (its final model), model of the hub on disk (owner/name), or `demo` (untrained)
    #[arg(long, value_name = "DIR|RUN|NAME")]
    model: String,
    #[command(flatten)]
    encoding: Encoding,
    /// Directory for the results; one subdirectory a dataset. Without it they are printed only
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Keep the passages' vectors in this directory, one index a dataset, and rank from there: for pools that do not fit
    /// memory. An interrupted run goes on with the first missing shard
    #[arg(long, value_name = "DIR")]
    shards: Option<PathBuf>,
    /// How shards hold numbers: f16, or f32 for exactly the numbers of a run without --shards
    #[arg(long, value_enum, default_value = "f16", requires = "shards")]
    shard_dtype: ShardDtype,
    /// Passages a shard
    #[arg(long, value_name = "N", default_value_t = run::SHARD_ROWS, requires = "shards")]
    shard_size: usize,
    /// What a question counts that has no relevant passage in a pool it belongs to
    #[arg(long, value_enum, default_value = "zero")]
    missing: Missing,
    /// Print the results beside the paper's published numbers too
    #[arg(long)]
    paper: bool,
    /// Print one JSON object a dataset
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    let mut spec = args.encoding.spec(&args.model, store)?;
    spec.evaluate.missing = args.missing;
    let mut progress = Progress::new();
    // Data first: a wrong path should not cost the loading of a model.
    let datasets = args.encoding.datasets(&spec, &mut progress)?;
    if let Some(out) = &args.out {
        for dataset in &datasets {
            let dir = out.join(&dataset.name);
            ensure!(!dir.exists(), "{}: exists already; choose another --out", dir.display());
        }
    }
    let encoder = args.encoding.open_model(&spec, &mut progress)?;
    spec.model.max_query_tokens = spec.model.max_query_tokens.min(encoder.config.longest());
    spec.model.max_passage_tokens = spec.model.max_passage_tokens.min(encoder.config.longest());
    for dataset in &datasets {
        let start = Instant::now();
        let shards = args.shards.as_ref().map(|dir| Shards {
            dir: dir.join(&dataset.name),
            dtype: args.shard_dtype,
            rows: args.shard_size,
        });
        if let (None, Some(note)) = (&shards, memory_note(dataset.passages.len(), encoder.width())) {
            progress.line(&note);
        }
        let mut tell = |event| {
            progress.event(&event);
            Ok(())
        };
        let evaluation =
            run::evaluate_with(&encoder, dataset, &args.model, &spec, shards.as_ref(), &mut tell)?;
        let seconds = start.elapsed().as_secs_f64();
        for note in &evaluation.notes {
            progress.line(&format!("note: {}: {note}", dataset.name));
        }
        let scores = evaluation.summary();
        if let Some(out) = &args.out {
            let dir = out.join(&dataset.name);
            evaluate::write(&dir, dataset, &evaluation, spec.evaluate.trec_depth)?;
            progress.line(&format!("written to {}", dir.display()));
        }
        progress.line(&format!(
            "{}: {} questions, {} passages, {seconds:.1} s",
            dataset.name,
            dataset.questions.len(),
            dataset.passages.len()
        ));
        if args.json {
            let mut object = json!({
                "v": 1, "protocol": evaluation.protocol.stated(), "scores": scores, "micro": evaluation.micro(),
                "languages": evaluation.languages, "cells": evaluation.cells, "fairness": evaluation.fairness,
                "notes": evaluation.notes, "seconds": seconds
            });
            if args.paper {
                object["paper"] = serde_json::to_value(beside(dataset, &evaluation))?;
            }
            print_json(&object)?;
        } else {
            print(&measured::page(&evaluation))?;
            if args.paper {
                let page = beside(dataset, &evaluation);
                print(&format!("\n{}", paper::text(&args.model, &dataset.name, &page)))?;
            }
        }
    }
    Ok(())
}

fn beside(dataset: &corpus::Dataset, evaluation: &evaluate::Evaluation) -> Page {
    report::paper::beside(&dataset.name, evaluation, None, &Column::default())
}

/// The candidate text of this name.
pub fn candidate(name: &str) -> Result<Candidate> {
    match name {
        "sentence" => Ok(Candidate::Sentence),
        "sentence+context" => Ok(Candidate::SentenceContext),
        other => anyhow::bail!("--candidate {other}: must be sentence or sentence+context"),
    }
}

/// A remark where the passages' vectors, which are kept twice, would take more than half of the free memory.
fn memory_note(passages: usize, width: usize) -> Option<String> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    let (needed, free) = (2 * 4 * passages as u64 * width as u64, system.available_memory());
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    (needed > free / 2).then(|| {
        format!(
            "note: the passages' vectors take {:.1} GiB of the {:.1} GiB that are free; --shards DIR keeps them on disk",
            gib(needed),
            gib(free)
        )
    })
}

/// The last scores of each dataset of a run, as printed when training ends.
pub fn headline(run: &RunDir) -> Result<String> {
    let mut blocks: Vec<(String, String)> = Vec::new();
    for record in run.events()? {
        if let Event::Evaluation { step, dataset, scores, .. } = record.event {
            blocks.retain(|(d, _)| *d != dataset);
            let text = format!("{dataset} after step {step}\n{}", measured::score_table(&scores));
            blocks.push((dataset, text));
        }
    }
    Ok(blocks.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n\n"))
}
