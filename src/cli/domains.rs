//! `polymix domains`: models over domains.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use super::encoding::{Encoding, Output, block};
use super::models::Models;
use super::progress::Progress;
use crate::evaluate::alignment::{Margin, Options};
use crate::report::domain_frame;
use crate::run::domains::{DomainRow, MEASURES, domains};
use crate::run::{Embedder, Store};

/// Arguments of `polymix domains`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    models: Models,
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
    let chosen = args.models.find(store, &mut progress)?;
    let specs = chosen.specs(&args.encoding, store)?;
    let datasets = args.encoding.datasets(&specs[0], &mut progress)?;
    let by_tag = args.by.map_or(datasets.len() == 1, |by| by == By::Tags);
    let options = Options { margin: args.margin, ..Options::default() };
    let mut found: Vec<(String, Vec<DomainRow>)> = Vec::new();
    let mut seconds = Vec::new();
    for (named, spec) in chosen.models.iter().zip(&specs) {
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
        progress.line(&format!("{}: {} domains, {taken:.1} s", named.name, rows.len()));
        seconds.push(json!({"model": named.name, "seconds": taken}));
        found.push((named.label.clone(), rows));
    }
    let models = over_seeds(found);
    let about = json!({"v": 1, "command": "domains", "polymix": crate::VERSION,
        "models": chosen.models.iter().map(|m| &m.name).collect::<Vec<_>>(),
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

/// The seeds of one combination as one model: the mean of each number.
fn over_seeds(found: Vec<(String, Vec<DomainRow>)>) -> Vec<(String, Vec<DomainRow>)> {
    let mut models: Vec<(String, Vec<DomainRow>, f64)> = Vec::new();
    for (label, rows) in found {
        match models.iter_mut().find(|(known, _, _)| *known == label) {
            Some((_, sums, n)) => {
                for (sum, row) in sums.iter_mut().zip(&rows) {
                    sum.values.iter_mut().zip(row.values).for_each(|(sum, value)| *sum += value);
                }
                *n += 1.0;
            }
            None => models.push((label, rows, 1.0)),
        }
    }
    let mean = |(label, mut rows, n): (String, Vec<DomainRow>, f64)| {
        rows.iter_mut().flat_map(|row| &mut row.values).for_each(|value| *value /= n);
        (label, rows)
    };
    models.into_iter().map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_of_one_combination_become_their_mean() {
        let rows = |value: f64| {
            let values = [value; MEASURES.len()];
            vec![DomainRow { dataset: "d".into(), domain: None, ids: 1, questions: 1, values }]
        };
        let found = [("a", 0.2), ("b", 0.5), ("a", 0.6)].map(|(label, v)| (label.to_owned(), rows(v)));
        let models = over_seeds(found.into_iter().collect());
        assert_eq!(models.iter().map(|m| m.0.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!((models[0].1[0].values[3] - 0.4).abs() < 1e-12, "{models:?}");
        assert!((models[1].1[0].values[0] - 0.5).abs() < 1e-12, "{models:?}");
    }
}
