//! `polymix compare`: runs side by side, and whether they differ by more than chance.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::json;

use super::progress::Progress;
use super::table::{plain, thousands};
use super::{print, print_bytes, print_json};
use crate::evaluate::significance::Tested;
use crate::report::{self, Comparison, Format, Side, Source, TestedSide, frame_bytes};
use crate::run::Store;
use crate::statistics::Options;

/// Arguments of `polymix compare`.
///
/// The first is the baseline; every other is tested against it, question by question, for each language and pair of
/// languages and for their macro means. Translations of a question are not independent, so whole question ids are flipped
/// and drawn. Two single runs: a paired sign-flip randomisation test with bootstrap intervals, which asks whether the
/// two differ on questions like these. Two groups of seeds, `a-1,a-2,a-3 b-1,b-2,b-3`: a t-test over seeds and question
/// ids, which asks whether the two specs differ whatever the seed. Marks stand for p-values adjusted by Holm's method:
/// * below .05, ** below .01, *** below .001.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Runs (id, beginning of an id, `last`, directory) or evaluation directories, at least two; commas join the runs
    /// of one spec with several seeds. `paper`, `paper:LaBSE` or `paper:XLM-R:X-Y` instead of a run sets the others beside
    /// the published numbers
    #[arg(value_name = "RUN|DIR", num_args = 2.., required = true)]
    sources: Vec<String>,
    /// Metric to compare: map, mrr, ndcg@10, recall@10, success@1, `rank_distance`, ...
    #[arg(long, default_value = "map", value_name = "METRIC")]
    metric: String,
    /// Only the evaluations on this dataset
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Random sign assignments, and bootstrap draws
    #[arg(long, value_name = "N", default_value_t = Options::default().resamples,
        value_parser = resamples)]
    resamples: usize,
    /// Seed of both
    #[arg(long, value_name = "N", default_value_t = Options::default().seed)]
    seed: u64,
    /// Print the numbers without a test, also where the runs were not measured alike
    #[arg(long)]
    untested: bool,
    /// Print the tests as a table in this format [default: aligned text]
    #[arg(long, value_enum, value_name = "FORMAT", conflicts_with = "untested")]
    format: Option<Format>,
    /// File to write the table to [default: standard output]
    #[arg(long, value_name = "FILE", requires = "format")]
    out: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long, requires = "out")]
    force: bool,
    /// Print one JSON object
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

fn resamples(text: &str) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|_| "must be a whole number".to_owned())?;
    if (100..=10_000_000).contains(&number) { Ok(number) } else { Err("must be 100 to 10,000,000".into()) }
}

/// Runs the command: the last evaluations of each run; warnings go to standard error.
///
/// # Errors
/// Where a run is not found or has no evaluation, the metric was not measured, or the runs were not measured alike.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    if args.sources.iter().any(|name| report::paper::Column::parse(name).is_some()) {
        return super::paper::run(&args.sources, args.dataset.as_deref(), args.json, store);
    }
    ensure!(args.format != Some(Format::Trec), "--format trec: a comparison is no TREC run");
    ensure!(
        args.format != Some(Format::Parquet) || args.out.is_some() || !std::io::stdout().is_terminal(),
        "Parquet is not for a terminal; write it to a file with --out FILE"
    );
    if let Some(out) = args.out.as_ref().filter(|out| !args.force && out.exists()) {
        anyhow::bail!("{}: exists already; choose another file, or --force to replace it", out.display());
    }
    let sides = sides(args, store)?;
    let mut comparison = report::compare(&sides, &args.metric)?;
    for warning in &comparison.warnings {
        eprintln!("warning: {warning}");
    }
    if !args.untested {
        let options = Options { resamples: args.resamples, seed: args.seed };
        let mut shown = Progress::new();
        let mut progress = |what: &str, done: usize, total: usize| {
            shown.live(&format!("{what}: {} of {} resamples", thousands(done), thousands(total)));
            Ok(())
        };
        let tested = report::test(&sides, &args.metric, &options, &mut progress);
        shown.clear();
        comparison.significance = tested.map_err(|error| {
            anyhow::anyhow!("{error:#}; --untested prints the numbers side by side without a test")
        })?;
    }
    if let Some(format) = args.format {
        let frame = report::significance_frame(&comparison.sources[0], &comparison.significance)?;
        let bytes = frame_bytes(frame, "comparison", format)?;
        for text in explanations(&comparison) {
            eprintln!("{text}");
        }
        let Some(out) = &args.out else { return print_bytes(&bytes) };
        crate::files::replace(out, &bytes)?;
        return print(&out.display().to_string());
    }
    if args.json {
        let mut object = serde_json::to_value(&comparison)?;
        object["v"] = json!(1);
        return print_json(&object);
    }
    print(&page(&comparison))
}

/// The arguments as sides of the comparison.
fn sides(args: &Args, store: &Store) -> Result<Vec<Side>> {
    let find = |name: &str| Source::find(name, store)?.only(None, args.dataset.as_deref());
    let mut sides = args
        .sources
        .iter()
        .map(|text| {
            let names: Vec<&str> = if Path::new(text).exists() {
                vec![text]
            } else {
                text.split(',').map(str::trim).filter(|n| !n.is_empty()).collect()
            };
            ensure!(!names.is_empty(), "'{text}': no run");
            let sources = names.iter().map(|name| find(name)).collect::<Result<Vec<_>>>()?;
            let name = match sources.as_slice() {
                [one] => one.name.clone(),
                [first, others @ ..] => format!("{} +{}", first.name, others.len()),
                [] => String::new(),
            };
            Side::of_seeds(&name, sources)
        })
        .collect::<Result<Vec<_>>>()?;
    // Two evaluations of one run have its name: then what was typed tells them apart.
    let names: Vec<String> = sides.iter().map(|s| s.name.clone()).collect();
    for (side, text) in sides.iter_mut().zip(&args.sources) {
        if names.iter().filter(|n| **n == side.name).count() > 1 {
            side.name.clone_from(text);
        }
    }
    Ok(sides)
}

fn signed(metric: &str, value: f64) -> String {
    if metric == "rank_distance" { format!("{value:+.2}") } else { format!("{value:+.4}") }
}

/// A mark padded, so that numbers before marks stay in line.
fn marked(number: &str, mark: &str) -> String {
    format!("{number}{mark:<3}")
}

fn p_value(p: f64) -> String {
    if p < 0.00005 { format!("{p:.0e}") } else { format!("{p:.4}") }
}

/// Each dataset's test in words, once.
fn explanations(comparison: &Comparison) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for side in &comparison.significance {
        let dataset = side.table.dataset.as_str();
        let mut text = format!(
            "{dataset}: * p < .05, ** p < .01, *** p < .001 after Holm's correction.\n{}",
            side.table.explanation()
        );
        let least = side.table.least_cell();
        if least >= 0.001 {
            text += &format!(
                "\nThe least adjusted p-value that a language or pair can reach with these resamples is {least:.4}\
                 {}.",
                if least >= 0.05 { ", so that none can be marked: use more --resamples" } else { "" }
            );
        }
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

/// The comparison as text.
fn page(comparison: &Comparison) -> String {
    let names = comparison.sources.iter().map(String::as_str);
    let find = |dataset: &str, other: &str| {
        comparison.significance.iter().find(|s| s.table.dataset == dataset && s.other == other)
    };
    let headings: Vec<&str> = ["dataset", "setting", "metric"].into_iter().chain(names.clone()).collect();
    let rows: Vec<Vec<String>> = comparison
        .scores
        .iter()
        .map(|row| {
            let labels = [row.dataset.clone(), row.setting.clone(), row.metric.clone()];
            let cell = |(side, value): (usize, &Option<f64>)| {
                let Some(value) = value else { return String::new() };
                let name = comparison.sources[side].as_str();
                let tested = find(&row.dataset, name).filter(|_| side > 0);
                let mark = tested.and_then(|t| t.table.find(&row.setting, &row.metric, None));
                let spread = row.seeds[side].map_or(String::new(), |s| format!(" ± {:.4}", s.sd));
                let number = format!("{value:.4}{spread}");
                if comparison.significance.is_empty() || side == 0 {
                    number
                } else {
                    marked(&number, mark.map_or("", Tested::mark))
                }
            };
            labels.into_iter().chain(row.values.iter().enumerate().map(cell)).collect()
        })
        .collect();
    let is_grouped = comparison.scores.iter().any(|r| r.seeds.iter().any(Option::is_some));
    let note = if is_grouped { " (± standard deviation over seeds)" } else { "" };
    let mut text = format!("macro means{note}\n{}\n", plain(&headings, &rows));
    if is_grouped {
        text += &format!("\n{}\n", seeds(comparison));
    }
    for side in &comparison.significance {
        text += &format!("\n{}\n", tests(comparison, side));
    }

    let mut shown: Vec<(&str, &str)> =
        comparison.differences.iter().map(|d| (d.dataset.as_str(), d.other.as_str())).collect();
    shown.dedup();
    for (dataset, other) in shown {
        let tested = find(dataset, other);
        let (passages, rows) = comparison.matrix(dataset, other);
        let rows: Vec<Vec<String>> = rows
            .into_iter()
            .map(|(query, values)| {
                let cells = values.into_iter().zip(&passages).map(|(value, passage)| {
                    let Some(value) = value else { return String::new() };
                    let number = signed(&comparison.metric, value);
                    let Some(tested) = tested else { return number };
                    let setting = match passage.as_str() {
                        crate::evaluate::MULTI_POOL => "multi",
                        p if p == query => "mono",
                        _ => "cross",
                    };
                    let row = tested.table.find(setting, &comparison.metric, Some((&query, passage)));
                    marked(&number, row.map_or("", Tested::mark))
                });
                let cells: Vec<String> = cells.collect();
                std::iter::once(query.clone()).chain(cells).collect()
            })
            .collect();
        let headings: Vec<&str> =
            std::iter::once("question").chain(passages.iter().map(String::as_str)).collect();
        text += &format!(
            "\n{} on {dataset}: {other} minus {}; columns are passage languages, * is the pool of all\n{}\n",
            comparison.metric,
            comparison.sources[0],
            plain(&headings, &rows)
        );
    }
    for explanation in explanations(comparison) {
        text += &format!("\n{explanation}\n");
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

/// What repeated runs say of each macro mean.
fn seeds(comparison: &Comparison) -> String {
    let mut rows = Vec::new();
    for row in &comparison.scores {
        for (side, spread) in row.seeds.iter().enumerate() {
            let (Some(spread), Some(mean)) = (spread, row.values[side]) else { continue };
            rows.push(vec![
                comparison.sources[side].clone(),
                row.dataset.clone(),
                row.setting.clone(),
                row.metric.clone(),
                spread.n.to_string(),
                format!("{mean:.4}"),
                format!("{:.4}", spread.sd),
                format!("{:.4} to {:.4}", spread.low, spread.high),
            ]);
        }
    }
    let headings =
        ["runs", "dataset", "setting", "metric", "seeds", "mean", "sd", "95% t interval over seeds"];
    plain(&headings, &rows)
}

/// The macro means of one side against the first, with intervals and p-values.
fn tests(comparison: &Comparison, side: &TestedSide) -> String {
    let rows: Vec<Vec<String>> = side
        .table
        .rows
        .iter()
        .filter(|row| row.place.is_mean())
        .map(|row| {
            let metric = &row.place.metric;
            let ends = row.low.zip(row.high);
            vec![
                row.place.setting.name().to_owned(),
                metric.clone(),
                marked(&signed(metric, row.difference), row.mark()),
                ends.map_or_else(String::new, |(l, h)| {
                    format!("{} to {}", signed(metric, l), signed(metric, h))
                }),
                p_value(row.p),
                p_value(row.p_holm),
            ]
        })
        .collect();
    let cells: Vec<&Tested> = side.table.rows.iter().filter(|r| !r.place.is_mean()).collect();
    format!(
        "{} minus {} on {}\n{}\nlanguages and pairs that differ after correction: {} of {}",
        side.other,
        comparison.sources[0],
        side.table.dataset,
        plain(&["setting", "metric", "difference", "95% interval", "p", "p (Holm)"], &rows),
        cells.iter().filter(|r| r.is_significant()).count(),
        cells.len()
    )
}
