//! `polymix robustness`: what rewritten questions cost.

use anyhow::{Result, ensure};
use polars::prelude::DataFrame;
use serde_json::json;

use super::align::low_resource;
use super::encoding::{Encoding, Output, block, text_at};
use super::models::{Chosen, Models};
use super::progress::Progress;
use crate::corpus::Dataset;
use crate::evaluate::robustness::{Kind, Lexicons, Perturber, Rates};
use crate::report::{self, Attacked};
use crate::run::robustness::{Plan, robustness};
use crate::run::{Embedder, Store};

/// Arguments of `polymix robustness`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    models: Models,
    #[command(flatten)]
    encoding: Encoding,
    /// Kinds of change [default: all; code-switch where a lexicon is given]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND")]
    changes: Vec<Kind>,
    /// Metric to compare [default: map; ndcg@10 for beir]
    #[arg(long, value_name = "METRIC")]
    metric: Option<String>,
    /// Variants of each question that a random change makes
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    variants: u64,
    /// Seed of all changes
    #[arg(long, default_value_t = 42, value_name = "N")]
    seed: u64,
    /// Share of a question's letters with a typing error, one at least
    #[arg(long, default_value_t = Rates::default().typing, value_name = "SHARE")]
    typing_rate: f64,
    /// Share of a question's words that are dropped or swapped, one at least
    #[arg(long, default_value_t = Rates::default().words, value_name = "SHARE")]
    word_rate: f64,
    /// Share of the words known to the lexicon that are translated, one at least
    #[arg(long, default_value_t = Rates::default().switch, value_name = "SHARE")]
    switch_rate: f64,
    /// Share of the letters with a look-alike that are replaced, one at least
    #[arg(long, default_value_t = Rates::default().homoglyph, value_name = "SHARE")]
    homoglyph_rate: f64,
    /// Lexicon for code-switching, FROM-TO=FILE, a line a translation: word<TAB>translation (repeatable); or demo, for the
    /// names of the bundled corpus
    #[arg(long, value_name = "FROM-TO=FILE")]
    lexicon: Vec<String>,
    /// Scripts to mark as low-resource, or `none` [default: see polymix scripts]
    #[arg(long, value_delimiter = ',', value_name = "SCRIPT")]
    low_resource: Vec<String>,
    /// Print a question of each language before and after each change
    #[arg(long)]
    samples: bool,
    #[command(flatten)]
    output: Output,
}

/// Runs the command.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    args.output.check()?;
    let low = low_resource(&args.low_resource)?;
    for (name, rate) in [
        ("typing-rate", args.typing_rate),
        ("word-rate", args.word_rate),
        ("switch-rate", args.switch_rate),
        ("homoglyph-rate", args.homoglyph_rate),
    ] {
        ensure!((0.0..=1.0).contains(&rate), "--{name} {rate}: must be from 0 to 1");
    }
    let lexicons = Lexicons::named(&args.lexicon)?;
    let mut kinds = args.changes.clone();
    if kinds.is_empty() {
        kinds.extend(Kind::ALL.iter().filter(|k| **k != Kind::CodeSwitch || !lexicons.is_empty()));
    }
    kinds.sort_unstable();
    kinds.dedup();
    let mut progress = Progress::new();
    let chosen = args.models.find(store, &mut progress)?;
    let specs = chosen.specs(&args.encoding, store)?;
    let datasets = args.encoding.datasets(&specs[0], &mut progress)?;
    for pair in lexicons.names() {
        let from = pair.split('-').next().unwrap_or_default();
        if !datasets.iter().any(|d| d.language(from).is_some()) {
            progress.line(&format!("note: lexicon {pair}: no dataset has questions in '{from}'"));
        }
    }
    let rates = Rates {
        typing: args.typing_rate,
        words: args.word_rate,
        switch: args.switch_rate,
        homoglyph: args.homoglyph_rate,
    };
    let metrics: Vec<String> = args
        .encoding
        .loaders()?
        .iter()
        .map(|loader| {
            let is_beir = loader == "beir";
            args.metric.clone().unwrap_or_else(|| if is_beir { "ndcg@10" } else { "map" }.to_owned())
        })
        .collect();
    let (mut all, mut about_data, mut about_models) = (Vec::new(), Vec::new(), Vec::new());
    for (named, spec) in chosen.models.iter().zip(&specs) {
        let encoder = args.encoding.encoder(spec, &datasets, &mut progress)?;
        about_models.push(json!({"model": named.name, "query_prefix": encoder.query_prefix,
            "passage_prefix": encoder.passage_prefix}));
        for (dataset, metric) in datasets.iter().zip(&metrics) {
            let plan = Plan {
                kinds: kinds.clone(),
                perturber: Perturber { rates, lexicons: lexicons.clone(), seed: args.seed },
                variants: args.variants as usize,
                metric: metric.clone(),
            };
            let found = robustness(Embedder { encoder: &encoder, spec }, dataset, &plan, &mut |event| {
                progress.event(&event);
                Ok(())
            })?;
            let seconds = found.seconds;
            progress.line(&format!(
                "{}, {}: {} passages encoded once in {:.1} s, {} distinct texts of {} questions in {:.1} s, ranked in \
                 {:.1} s",
                named.name,
                dataset.name,
                dataset.passages.len(),
                seconds.passages,
                found.embedded,
                dataset.questions.len(),
                seconds.questions,
                seconds.ranking
            ));
            about_data.push(json!({"model": named.name, "name": dataset.name, "hash": dataset.hash,
                "metric": metric, "texts": found.embedded, "seconds": seconds}));
            all.push((named, dataset, metric, found));
        }
    }
    let (mut frames, mut scripts, mut shown) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (named, dataset, metric, found)) in all.iter().enumerate() {
        let frame = report::robustness_frame(&named.name, metric, dataset, found, &low)?;
        let by_script = report::robustness_scripts(&named.name, metric, dataset, found, &low)?;
        if chosen.models.len() == 1 {
            shown.extend(page(dataset, metric, &frame, &by_script)?);
        }
        // Every model gets the same questions.
        if args.samples && index < datasets.len() {
            let lines = found.samples.iter().map(|s| {
                let (name, language) = (s.kind.name(), &s.language);
                format!("{name:13} {language}  {}\n{:13} {language}  {}", s.before, "", s.after)
            });
            shown.push(lines.collect::<Vec<_>>().join("\n"));
        }
        frames.push(frame);
        scripts.push(by_script);
    }
    let mut tables = vec![("robustness", stack(frames)?), ("scripts", stack(scripts)?)];
    if chosen.models.len() > 1 {
        let models: Vec<Attacked> = all
            .iter()
            .map(|(named, dataset, metric, found)| Attacked { values: &named.values, dataset, metric, found })
            .collect();
        let frame = report::attack_frame(&chosen.axes, &models)?;
        shown.insert(0, comparison(&chosen, datasets.len(), &frame)?);
        tables.push(("comparison", frame));
    }
    let first = &about_models[0];
    let about = json!({"v": 1, "command": "robustness", "polymix": crate::VERSION, "model": first["model"],
        "models": about_models, "datasets": about_data, "query_prefix": first["query_prefix"],
        "passage_prefix": first["passage_prefix"],
        "changes": kinds.iter().map(|k| k.name()).collect::<Vec<_>>(), "variants": args.variants,
        "seed": args.seed, "lexicons": lexicons.names(), "low_resource": low.names(),
        "rates": {"typing": rates.typing, "words": rates.words, "switch": rates.switch,
            "homoglyph": rates.homoglyph}});
    args.output.finish(&tables, &about, &shown, &mut progress)
}

/// The tables of one model on one dataset.
fn page(dataset: &Dataset, metric: &str, frame: &DataFrame, by_script: &DataFrame) -> Result<Vec<String>> {
    // One language has one row, no mean.
    let is_single = dataset.languages.len() == 1;
    let is_mean = |f: &DataFrame, row: usize| is_single || text_at(f, "language", row) == "*";
    let title = format!("{}: {metric}, means over question languages", dataset.name);
    let mut shown = vec![block(&title, frame, &MEANS, &is_mean)?];
    if !is_single {
        let title = format!("{}: {metric}, mono, by script of the question", dataset.name);
        let is_mono = |f: &DataFrame, row: usize| text_at(f, "setting", row) == "mono";
        shown.push(block(&title, by_script, &SCRIPTS, &is_mono)?);
    }
    Ok(shown)
}

/// Several models under the same changes.
fn comparison(chosen: &Chosen, datasets: usize, frame: &DataFrame) -> Result<String> {
    let mut columns = vec!["setting", "change"];
    columns.extend(chosen.axes.iter().map(|axis| axis.key.as_str()));
    columns.extend(COMPARED);
    let mut title = "before and after each change, means over question languages".to_owned();
    if datasets > 1 {
        columns.splice(0..0, ["dataset", "metric"]);
    } else {
        title = format!("{}, {title}", text_at(frame, "metric", 0));
    }
    block(&title, frame, &columns, &|_, _| true)
}

/// Frames of the same columns, one under the other.
fn stack(frames: Vec<DataFrame>) -> Result<DataFrame> {
    let mut all = DataFrame::empty();
    for frame in frames {
        if all.height() == 0 { all = frame } else { all.vstack_mut(&frame).map(drop)? }
    }
    Ok(all)
}

const COMPARED: [&str; 10] = [
    "runs",
    "before",
    "before_sd",
    "after",
    "after_sd",
    "drop",
    "drop_sd",
    "relative_drop",
    "worst",
    "attack_success",
];
const MEANS: [&str; 13] = [
    "setting",
    "change",
    "n",
    "variants",
    "unchanged",
    "before",
    "after",
    "drop",
    "relative_drop",
    "drop_changed",
    "worst",
    "first_relevant",
    "attack_success",
];
const SCRIPTS: [&str; 9] = [
    "change",
    "script",
    "low_resource",
    "languages",
    "unchanged",
    "before",
    "after",
    "relative_drop",
    "attack_success",
];
