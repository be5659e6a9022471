//! `polymix evaluate`: a model or a run on datasets, all settings from one encode.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::progress::Progress;
use super::table::plain;
use super::{measured, paper, print, print_json};
use crate::report::paper::{Column, Page};
use crate::run::{self, RunDir, Store};
use crate::spec::{Candidate, DatasetRef, Dtype, ExperimentSpec, Missing, Pooling};
use crate::train::{Event, Score, device};
use crate::{corpus, evaluate, report};

/// Arguments of `polymix evaluate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model directory, run (its final model), model of the hub on disk (owner/name), or `demo` (untrained)
    #[arg(long, value_name = "DIR|RUN|NAME")]
    model: String,
    /// Dataset: NAME, NAME[PART], NAME=PATH (repeatable), for example xquad-r=data/xquad-r; a NAME of the catalogue
    /// needs no path once it is fetched (polymix data list)
    #[arg(long, value_name = "NAME[=PATH]", required = true)]
    data: Vec<String>,
    /// Languages to keep, for example --languages en,de [default: all]
    #[arg(long, value_delimiter = ',', value_name = "CODE")]
    languages: Vec<String>,
    /// Directory for the results; one subdirectory a dataset. Without it they are printed only
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Text put before each question [default: the model's own, else "Query: "]
    #[arg(long, value_name = "TEXT")]
    query_prefix: Option<String>,
    /// Text put before each passage [default: the model's own, else "Passage: "]
    #[arg(long, value_name = "TEXT")]
    passage_prefix: Option<String>,
    /// auto (what the model says), mean or cls
    #[arg(long, default_value = "auto", value_name = "POOLING")]
    pooling: String,
    /// sentence or sentence+context
    #[arg(long, default_value = "sentence", value_name = "TEXT")]
    candidate: String,
    /// What a question counts that has no relevant passage in a pool it belongs to
    #[arg(long, value_enum, default_value = "zero")]
    missing: Missing,
    /// Print the results beside the paper's published numbers too
    #[arg(long)]
    paper: bool,
    /// Longest question in tokens
    #[arg(long, default_value_t = 128, value_name = "N")]
    max_query_tokens: usize,
    /// Longest passage in tokens
    #[arg(long, default_value_t = 512, value_name = "N")]
    max_passage_tokens: usize,
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: String,
    /// Print one JSON object a dataset
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    let datasets: Vec<DatasetRef> = args
        .data
        .iter()
        .map(|text| text.parse().map_err(|e| anyhow::anyhow!("--data {text}: {e}")))
        .collect::<Result<_>>()?;
    let mut spec = spec(&args.choice(), store)?;
    spec.evaluate.missing = args.missing;
    if let Some(out) = &args.out {
        for dataset in &datasets {
            let dir = out.join(dataset.label());
            ensure!(!dir.exists(), "{}: exists already; choose another --out", dir.display());
        }
    }
    let device = device::open(&args.device)?;
    // Data first: a wrong path should not cost the loading of a model.
    let datasets = datasets
        .iter()
        .map(|name| {
            let dataset = corpus::open(name, spec.evaluate.candidate)?;
            if args.languages.is_empty() { Ok(dataset) } else { dataset.restrict(&args.languages) }
        })
        .collect::<Result<Vec<_>>>()?;
    let mut progress = Progress::new();
    progress.event(&Event::Progress { stage: crate::train::Stage::Loading, done: 0, total: 1 });
    let encoder = run::open_model(&spec.model, spec.seed, &device, Dtype::F32)?;
    spec.model.max_query_tokens = spec.model.max_query_tokens.min(encoder.config.longest());
    spec.model.max_passage_tokens = spec.model.max_passage_tokens.min(encoder.config.longest());
    for dataset in &datasets {
        let start = Instant::now();
        let evaluation = run::evaluate_dataset(&encoder, dataset, &args.model, &spec, &mut |event| {
            progress.event(&event);
            Ok(())
        })?;
        let seconds = start.elapsed().as_secs_f64();
        for note in dataset.notes.iter().chain(&evaluation.notes) {
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

/// The arguments that decide how texts are embedded; other commands have them too.
pub(super) struct Choice {
    pub model: String,
    pub query_prefix: Option<String>,
    pub passage_prefix: Option<String>,
    pub pooling: String,
    pub candidate: String,
    pub max_query_tokens: usize,
    pub max_passage_tokens: usize,
    pub device: String,
}

impl Args {
    fn choice(&self) -> Choice {
        Choice {
            model: self.model.clone(),
            query_prefix: self.query_prefix.clone(),
            passage_prefix: self.passage_prefix.clone(),
            pooling: self.pooling.clone(),
            candidate: self.candidate.clone(),
            max_query_tokens: self.max_query_tokens,
            max_passage_tokens: self.max_passage_tokens,
            device: self.device.clone(),
        }
    }
}

/// The spec that the arguments describe. A run brings its own prefixes, pooling and lengths.
pub(super) fn spec(args: &Choice, store: &Store) -> Result<ExperimentSpec> {
    let mut spec = ExperimentSpec::default();
    let is_model_dir = ["config.json", "modules.json"]
        .iter()
        .any(|f| Path::new(&args.model).join(f).is_file())
        || (args.model.contains('/') && store.find(&args.model).is_err() && !Path::new(&args.model).exists());
    if args.model == "demo" || is_model_dir {
        spec.model.base.clone_from(&args.model);
        spec.model.max_query_tokens = args.max_query_tokens;
        spec.model.max_passage_tokens = args.max_passage_tokens;
    } else {
        let run = store.find(&args.model).with_context(|| {
            format!("--model {}: neither a model directory (with config.json) nor a run", args.model)
        })?;
        let model = run.model_dir();
        ensure!(model.is_dir(), "run '{}' has no final model yet; is it done?", run.id());
        spec = run.spec()?;
        spec.model.base = model.display().to_string();
    }
    spec.model.pooling = match args.pooling.as_str() {
        "auto" => spec.model.pooling,
        "mean" => Pooling::Mean,
        "cls" => Pooling::Cls,
        other => anyhow::bail!("--pooling {other}: must be auto, mean or cls"),
    };
    spec.evaluate.candidate = match args.candidate.as_str() {
        "sentence" => Candidate::Sentence,
        "sentence+context" => Candidate::SentenceContext,
        other => anyhow::bail!("--candidate {other}: must be sentence or sentence+context"),
    };
    if args.query_prefix.is_some() {
        spec.model.query_prefix.clone_from(&args.query_prefix);
    }
    if args.passage_prefix.is_some() {
        spec.model.passage_prefix.clone_from(&args.passage_prefix);
    }
    spec.train.device.clone_from(&args.device);
    spec.check()?;
    Ok(spec)
}

/// Settings by metrics.
pub fn score_table(scores: &[Score]) -> String {
    let mut metrics: Vec<&str> = Vec::new();
    let mut settings: Vec<&str> = Vec::new();
    for score in scores {
        if !metrics.contains(&score.metric.as_str()) {
            metrics.push(&score.metric);
        }
        if !settings.contains(&score.setting.as_str()) {
            settings.push(&score.setting);
        }
    }
    let rows: Vec<Vec<String>> = metrics
        .iter()
        .map(|metric| {
            let values = settings.iter().map(|setting| {
                let score = scores.iter().find(|s| s.setting == *setting && s.metric == *metric);
                score.map_or(String::new(), |s| format!("{:.4}", s.value))
            });
            std::iter::once((*metric).to_owned()).chain(values).collect()
        })
        .collect();
    let headings: Vec<&str> = std::iter::once("metric").chain(settings.iter().copied()).collect();
    plain(&headings, &rows)
}

/// The last scores of each dataset of a run, as printed when training ends.
pub fn headline(run: &RunDir) -> Result<String> {
    let mut blocks: Vec<(String, String)> = Vec::new();
    for record in run.events()? {
        if let Event::Evaluation { step, dataset, scores, .. } = record.event {
            blocks.retain(|(d, _)| *d != dataset);
            let text = format!("{dataset} after step {step}\n{}", score_table(&scores));
            blocks.push((dataset, text));
        }
    }
    Ok(blocks.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n\n"))
}
