//! `polymix score`: a TREC run file against labels, by the metrics of an evaluation.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::table::plain;
use super::{print, print_json};
use crate::evaluate::trec::{joined, read_qrels, read_run, score};
use crate::evaluate::{METRICS, Metric};
use crate::spec::Missing;

/// Arguments of `polymix score`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// TREC run: lines `query Q0 document rank score tag`, also gzipped. The rank is ignored: score descending, then
    /// document id descending
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Labels: lines `query 0 document grade`, or BEIR's three columns with a heading, or JSON lines
    /// (query-id, corpus-id, score), also gzipped
    #[arg(value_name = "QRELS")]
    qrels: PathBuf,
    /// What a judged query counts that the run does not rank, or that has no relevant document
    #[arg(long, value_enum, default_value = "zero")]
    missing: Missing,
    /// Only these metrics, for example --metrics map,ndcg@10 [default: all that are measured]
    #[arg(long, value_delimiter = ',', value_name = "METRIC")]
    metrics: Vec<String>,
    /// A row a query, before the means
    #[arg(long)]
    queries: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// Where a file cannot be read, a line is wrong, no query has labels, or a metric is unknown.
pub fn run(args: &Args) -> Result<()> {
    let chosen: Vec<usize> = if args.metrics.is_empty() {
        (0..METRICS.len()).collect()
    } else {
        let place = |name: &String| match METRICS.iter().position(|m| m == name) {
            Some(at) => Ok(at),
            None if Metric::parse(name).is_some() => {
                bail!("--metrics {name}: not among the cuts that are measured: {}", METRICS.join(", "))
            }
            None => bail!("--metrics {name}: unknown; there are: {}", METRICS.join(", ")),
        };
        args.metrics.iter().map(place).collect::<Result<_>>()?
    };
    let labels = read_qrels(&args.qrels)?;
    let (ranked, language) = joined(read_run(&args.run)?, &labels)
        .with_context(|| format!("{} and {}", args.run.display(), args.qrels.display()))?;
    let notes: Vec<String> = language
        .into_iter()
        .map(|code| format!("the run's ids are joined to the labels' by what stands behind '{code}:'"))
        .collect();
    for note in &notes {
        eprintln!("note: {note}");
    }
    let scored = score(&ranked, &labels, args.missing);
    if scored.queries.is_empty() {
        bail!(
            "{}: ranks no query that has a relevant document in {}; do the query ids agree?",
            args.run.display(),
            args.qrels.display()
        );
    }
    let band = scored.extremes.best - scored.extremes.worst;
    if band > 1e-4 {
        eprintln!(
            "warning: equal scores: map lies between {:.4} and {:.4}, depending on their order",
            scored.extremes.worst, scored.extremes.best
        );
    }
    if args.json {
        let values = |values: &[f64]| -> serde_json::Map<String, serde_json::Value> {
            chosen.iter().map(|i| (METRICS[*i].to_owned(), values[*i].into())).collect()
        };
        let queries: Vec<_> = scored
            .queries
            .iter()
            .filter(|_| args.queries)
            .map(|q| json!({"id": q.id, "relevant": q.relevant, "ranked": q.ranked, "values": values(&q.values)}))
            .collect();
        return print_json(&json!({
            "v": 1, "n": scored.queries.len(), "missing": args.missing, "unranked": scored.unranked,
            "without_relevant": scored.without_relevant, "unjudged": scored.unjudged,
            "tie_rule": "score descending (f32), then document id descending (trec_eval)",
            "means": values(&scored.means), "map_best": scored.extremes.best, "map_worst": scored.extremes.worst,
            "queries": queries, "notes": notes,
        }));
    }
    if args.queries {
        let headings: Vec<&str> =
            ["query", "relevant", "ranked"].into_iter().chain(chosen.iter().map(|i| METRICS[*i])).collect();
        let rows: Vec<Vec<String>> = scored
            .queries
            .iter()
            .map(|q| {
                let labels = [q.id.clone(), q.relevant.to_string(), q.ranked.to_string()];
                labels.into_iter().chain(chosen.iter().map(|i| format!("{:.4}", q.values[*i]))).collect()
            })
            .collect();
        print(&plain(&headings, &rows))?;
    }
    eprintln!(
        "{} queries count (missing = {}): {} judged but not ranked, {} without a relevant document, {} without labels",
        scored.queries.len(),
        args.missing.name(),
        scored.unranked,
        scored.without_relevant,
        scored.unjudged
    );
    let rows: Vec<Vec<String>> =
        chosen.iter().map(|i| vec![METRICS[*i].to_owned(), format!("{:.4}", scored.means[*i])]).collect();
    print(&plain(&["metric", "mean"], &rows))
}
