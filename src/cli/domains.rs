//! `polymix domains`: models over domains.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use super::encoding::{Encoding, Output, block};
use super::progress::Progress;
use crate::evaluate::alignment::{Margin, Options};
use crate::report::domain_frame;
use crate::run::domains::{DomainRow, MEASURES, domains};
use crate::run::{Embedder, Store};

/// Arguments of `polymix domains`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model directory, run (its final model), model of the hub on disk (owner/name), or `demo` (untrained); repeatable:
    /// differences are taken to the first
    #[arg(long, value_name = "DIR|RUN|NAME", required = true)]
    model: Vec<String>,
    #[command(flatten)]
    encoding: Encoding,
    /// What a domain is: the tags of a dataset, or whole datasets [default: tags of one dataset, else datasets]
    #[arg(long, value_enum)]
    by: Option<By>,
    /// How retrieval of translations sets a cosine against its surroundings
    #[arg(long, value_enum, default_value = "ratio")]
    margin: Margin,
    #[command(flatten)]
    output: Output,
}

/// What a domain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum By {
    Tags,
    Datasets,
}

/// Runs the command.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    args.output.check()?;
    let mut progress = Progress::new();
    let specs = args
        .model
        .iter()
        .map(|model| Ok((model.clone(), args.encoding.spec(model, store)?)))
        .collect::<Result<Vec<_>>>()?;
    let datasets = args.encoding.datasets(&specs[0].1, &mut progress)?;
    let by_tag = args.by.map_or(datasets.len() == 1, |by| by == By::Tags);
    let options = Options { margin: args.margin, ..Options::default() };
    let mut models: Vec<(String, Vec<DomainRow>)> = Vec::new();
    let mut seconds = Vec::new();
    for (model, spec) in &specs {
        let start = Instant::now();
        let encoder = args.encoding.encoder(spec, &datasets, &mut progress)?;
        let mut rows = Vec::new();
        for dataset in &datasets {
            let embedder = Embedder { encoder: &encoder, spec };
            rows.extend(domains(embedder, dataset, by_tag, &options, &mut |event| {
                progress.event(&event);
                Ok(())
            })?);
        }
        let taken = start.elapsed().as_secs_f64();
        progress.line(&format!("{model}: {} domains, {taken:.1} s", rows.len()));
        seconds.push(json!({"model": model, "seconds": taken}));
        models.push((model.clone(), rows));
    }
    let about = json!({"v": 1, "command": "domains", "polymix": crate::VERSION, "models": args.model,
        "datasets": datasets.iter().map(|d| json!({"name": d.name, "hash": d.hash})).collect::<Vec<_>>(),
        "by": if by_tag { "tags" } else { "datasets" }, "margin": args.margin.name(), "seconds": seconds});
    let mut tables = vec![("domains", domain_frame(&models, false)?)];
    if models.len() > 1 {
        tables.push(("differences", domain_frame(&models, true)?));
    }
    let mut columns = vec!["domain", "ids"];
    if datasets.len() > 1 {
        columns.insert(0, "dataset");
    }
    if models.len() > 1 {
        columns.push("model");
    }
    columns.extend(MEASURES);
    let titles = ["domains; * is the whole dataset", "difference to the first model"];
    let shown = tables
        .iter()
        .zip(titles)
        .map(|((_, frame), title)| block(title, frame, &columns, &|_, _| true))
        .collect::<Result<Vec<_>>>()?;
    args.output.finish(&tables, &about, &shown, &mut progress)
}
