//! `polymix robustness`: what rewritten questions cost.

use anyhow::{Result, ensure};
use polars::prelude::DataFrame;
use serde_json::json;

use super::align::low_resource;
use super::encoding::{Encoding, Output, block, text_at};
use super::progress::Progress;
use crate::evaluate::robustness::{Kind, Lexicons, Perturber, Rates};
use crate::report;
use crate::run::robustness::{Plan, robustness};
use crate::run::{Embedder, Store};

/// Arguments of `polymix robustness`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model directory, run (its final model), model of the hub on disk (owner/name), or `demo` (untrained)
    #[arg(long, value_name = "DIR|RUN|NAME")]
    model: String,
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
    let spec = args.encoding.spec(&args.model, store)?;
    let datasets = args.encoding.datasets(&spec, &mut progress)?;
    for pair in lexicons.names() {
        let from = pair.split('-').next().unwrap_or_default();
        if !datasets.iter().any(|d| d.language(from).is_some()) {
            progress.line(&format!("note: lexicon {pair}: no dataset has questions in '{from}'"));
        }
    }
    let encoder = args.encoding.encoder(&spec, &datasets, &mut progress)?;
    let rates = Rates {
        typing: args.typing_rate,
        words: args.word_rate,
        switch: args.switch_rate,
        homoglyph: args.homoglyph_rate,
    };
    let mut frames: Vec<DataFrame> = Vec::new();
    let (mut shown, mut scripts, mut about_data) = (Vec::new(), Vec::new(), Vec::new());
    for dataset in &datasets {
        let is_beir = dataset.name == "beir" || dataset.name.starts_with("beir[");
        let metric =
            args.metric.clone().unwrap_or_else(|| if is_beir { "ndcg@10" } else { "map" }.to_owned());
        let plan = Plan {
            kinds: kinds.clone(),
            perturber: Perturber { rates, lexicons: lexicons.clone(), seed: args.seed },
            variants: args.variants as usize,
            metric: metric.clone(),
        };
        let found = robustness(Embedder { encoder: &encoder, spec: &spec }, dataset, &plan, &mut |event| {
            progress.event(&event);
            Ok(())
        })?;
        let seconds = found.seconds;
        progress.line(&format!(
            "{}: {} passages encoded once in {:.1} s, {} distinct texts of {} questions in {:.1} s, ranked in {:.1} s",
            dataset.name,
            dataset.passages.len(),
            seconds.passages,
            found.embedded,
            dataset.questions.len(),
            seconds.questions,
            seconds.ranking
        ));
        let frame = report::robustness_frame(&args.model, &metric, dataset, &found, &low)?;
        let by_script = report::robustness_scripts(&args.model, &metric, dataset, &found, &low)?;
        // One language has one row, no mean.
        let is_single = dataset.languages.len() == 1;
        let is_mean = |f: &DataFrame, row: usize| is_single || text_at(f, "language", row) == "*";
        let title = format!("{}: {metric}, means over question languages", dataset.name);
        shown.push(block(&title, &frame, &MEANS, &is_mean)?);
        if !is_single {
            let title = format!("{}: {metric}, mono, by script of the question", dataset.name);
            let is_mono = |f: &DataFrame, row: usize| text_at(f, "setting", row) == "mono";
            shown.push(block(&title, &by_script, &SCRIPTS, &is_mono)?);
        }
        if args.samples {
            let lines = found.samples.iter().map(|s| {
                let (name, language) = (s.kind.name(), &s.language);
                format!("{name:13} {language}  {}\n{:13} {language}  {}", s.before, "", s.after)
            });
            shown.push(lines.collect::<Vec<_>>().join("\n"));
        }
        about_data.push(json!({"name": dataset.name, "hash": dataset.hash, "metric": metric,
            "texts": found.embedded, "seconds": seconds}));
        frames.push(frame);
        scripts.push(by_script);
    }
    let about = json!({"v": 1, "command": "robustness", "polymix": crate::VERSION, "model": args.model,
        "datasets": about_data, "query_prefix": encoder.query_prefix, "passage_prefix": encoder.passage_prefix,
        "changes": kinds.iter().map(|k| k.name()).collect::<Vec<_>>(), "variants": args.variants,
        "seed": args.seed, "lexicons": lexicons.names(), "low_resource": low.names(),
        "rates": {"typing": rates.typing, "words": rates.words, "switch": rates.switch,
            "homoglyph": rates.homoglyph}});
    let tables = [("robustness", stack(frames)?), ("scripts", stack(scripts)?)];
    args.output.finish(&tables, &about, &shown, &mut progress)
}

/// Frames of the same columns, one under the other.
fn stack(frames: Vec<DataFrame>) -> Result<DataFrame> {
    let mut all = DataFrame::empty();
    for frame in frames {
        if all.height() == 0 { all = frame } else { all.vstack_mut(&frame).map(drop)? }
    }
    Ok(all)
}

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
