//! `polymix compare`: runs side by side.

use anyhow::Result;
use serde_json::json;

use super::table::plain;
use super::{print, print_json};
use crate::report::{self, Comparison, Source};
use crate::run::Store;

/// Arguments of `polymix compare`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Runs (id, beginning of an id, `last`, directory) or evaluation directories, at least two. `paper`,
    /// `paper:LaBSE` or `paper:XLM-R:X-Y` instead of a run sets the others beside the published numbers
    #[arg(value_name = "RUN|DIR", num_args = 2.., required = true)]
    sources: Vec<String>,
    /// Metric to compare: map, mrr, ndcg@10, recall@10, success@1, `rank_distance`, ...
    #[arg(long, default_value = "map", value_name = "METRIC")]
    metric: String,
    /// Only the evaluations on this dataset
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command: the last evaluations of each run; warnings go to standard error.
///
/// # Errors
/// Where a run is not found or has no evaluation, and where the metric was not measured.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    if args.sources.iter().any(|name| report::paper::Column::parse(name).is_some()) {
        return super::paper::run(&args.sources, args.dataset.as_deref(), args.json, store);
    }
    let find = |name: &String| Source::find(name, store)?.only(None, args.dataset.as_deref());
    let sources = args.sources.iter().map(find).collect::<Result<Vec<_>>>()?;
    let comparison = report::compare(&sources, &args.metric)?;
    for warning in &comparison.warnings {
        eprintln!("warning: {warning}");
    }
    if args.json {
        let mut object = serde_json::to_value(&comparison)?;
        object["v"] = json!(1);
        return print_json(&object);
    }
    print(&page(&comparison))
}

/// The comparison as text.
fn page(comparison: &Comparison) -> String {
    let names = comparison.sources.iter().map(String::as_str);
    let value = |v: &Option<f64>| v.map_or(String::new(), |v| format!("{v:.4}"));
    let headings: Vec<&str> = ["dataset", "setting", "metric"].into_iter().chain(names.clone()).collect();
    let rows: Vec<Vec<String>> = comparison
        .scores
        .iter()
        .map(|row| {
            let labels = [row.dataset.clone(), row.setting.clone(), row.metric.clone()];
            labels.into_iter().chain(row.values.iter().map(value)).collect()
        })
        .collect();
    let mut text = format!("macro means\n{}\n", plain(&headings, &rows));

    let mut datasets: Vec<&str> = comparison.differences.iter().map(|d| d.dataset.as_str()).collect();
    datasets.dedup();
    for dataset in datasets {
        let (passages, rows) = comparison.matrix(dataset);
        let rows: Vec<Vec<String>> = rows
            .into_iter()
            .map(|(query, values)| {
                let signed = |v: Option<f64>| v.map_or(String::new(), |v| format!("{v:+.4}"));
                std::iter::once(query).chain(values.into_iter().map(signed)).collect()
            })
            .collect();
        let headings: Vec<&str> =
            std::iter::once("question").chain(passages.iter().map(String::as_str)).collect();
        text += &format!(
            "\n{} on {dataset}: {} minus {}; columns are passage languages, * is the pool of all\n{}\n",
            comparison.metric,
            comparison.sources[1],
            comparison.sources[0],
            plain(&headings, &rows)
        );
    }
    if comparison.config.is_empty() {
        return text + "\nthe settings are equal";
    }
    let rows: Vec<Vec<String>> = comparison
        .config
        .iter()
        .map(|row| {
            let values = row.values.iter().map(|v| v.clone().unwrap_or_default());
            std::iter::once(row.key.clone()).chain(values).collect()
        })
        .collect();
    let headings: Vec<&str> = std::iter::once("setting").chain(names).collect();
    text += &format!("\nsettings that differ\n{}", plain(&headings, &rows));
    text
}
