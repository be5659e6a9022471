//! `polymix align`: how close the vectors of translations are.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;

use super::encoding::{Encoding, Output, block};
use super::models::Models;
use super::progress::Progress;
use crate::evaluate::alignment::{Margin, Options, Parallel, Side, measure};
use crate::evaluate::script::LowResource;
use crate::report::{self, AlignmentEntry};
use crate::run::{Embedder, Store};

/// Arguments of `polymix align`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    models: Models,
    #[command(flatten)]
    encoding: Encoding,
    /// Which texts: parallel questions, their relevant passages, or both
    #[arg(long, value_enum, default_value = "both")]
    side: Sides,
    /// Also after the embeddings and after every layer
    #[arg(long)]
    layers: bool,
    /// How retrieval sets a cosine against its surroundings
    #[arg(long, value_enum, default_value = "ratio")]
    margin: Margin,
    /// Nearest neighbours behind the margin
    #[arg(long, default_value_t = 4, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    neighbours: u64,
    /// Random row orders behind the null of CKA
    #[arg(long, default_value_t = 10, value_name = "N")]
    shuffles: usize,
    /// Share of the question ids that the language probe is tested on; 0: no probe
    #[arg(long, default_value_t = 0.2, value_name = "SHARE")]
    held_out: f64,
    /// Ridge of the probe, as a multiple of the mean variance
    #[arg(long, default_value_t = 1e-3, value_name = "X")]
    ridge: f64,
    /// Seed of the shuffles and of the probe's split
    #[arg(long, default_value_t = 42, value_name = "N")]
    seed: u64,
    /// Scripts to mark as low-resource, or `none` [default: see polymix scripts]
    #[arg(long, value_delimiter = ',', value_name = "SCRIPT")]
    low_resource: Vec<String>,
    /// Print every language pair too; --out holds them in any case
    #[arg(long)]
    pairs: bool,
    #[command(flatten)]
    output: Output,
}

/// Which sides of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Sides {
    Questions,
    Passages,
    Both,
}

/// Runs the command.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    ensure!((0.0..1.0).contains(&args.held_out), "--held-out {}: must be from 0 to below 1", args.held_out);
    ensure!(args.ridge > 0.0 && args.ridge.is_finite(), "--ridge {}: must be above 0", args.ridge);
    args.output.check()?;
    let low = low_resource(&args.low_resource)?;
    let options = Options {
        margin: args.margin,
        neighbours: args.neighbours as usize,
        shuffles: args.shuffles,
        seed: args.seed,
        held_out: args.held_out,
        ridge: args.ridge,
    };
    let sides: &[Side] = match args.side {
        Sides::Questions => &[Side::Questions],
        Sides::Passages => &[Side::Passages],
        Sides::Both => &[Side::Questions, Side::Passages],
    };
    let mut progress = Progress::new();
    let chosen = args.models.find(store, &mut progress)?;
    let names: Vec<&str> = chosen.models.iter().map(|m| m.name.as_str()).collect();
    let specs = chosen.specs(&args.encoding, store)?;
    let datasets = args.encoding.datasets(&specs[0], &mut progress)?;
    for dataset in &datasets {
        ensure!(
            dataset.languages.len() > 1,
            "dataset '{}' has one language: there are no translations to compare",
            dataset.name
        );
    }
    let (mut entries, mut seconds) = (Vec::new(), Vec::new());
    for (model, spec) in names.iter().zip(&specs) {
        let encoder = args.encoding.encoder(spec, &datasets, &mut progress)?;
        let embedder = Embedder { encoder: &encoder, spec };
        for dataset in &datasets {
            for side in sides {
                let parallel = Parallel::new(dataset, *side);
                if parallel.repeated > 0 {
                    progress.line(&format!(
                        "note: {}: {} {} left out: the same text stands in their language already",
                        dataset.name,
                        parallel.repeated,
                        side.name()
                    ));
                }
                let texts: Vec<&str> = parallel.texts.iter().map(|t| t.text.as_str()).collect();
                let language = |l: u16| parallel.languages[usize::from(l)].as_str();
                let languages: Vec<&str> = parallel.texts.iter().map(|t| language(t.language)).collect();
                let start = Instant::now();
                let mut tell = |event| {
                    progress.event(&event);
                    Ok(())
                };
                let vectors = if args.layers {
                    let layers = embedder.embed_layers(*side, &texts, &languages, &mut tell)?;
                    layers.into_iter().map(|(name, v)| (Some(name), v)).collect()
                } else {
                    vec![(None, embedder.embed(*side, &texts, &languages, &mut tell)?)]
                };
                let encoding = start.elapsed().as_secs_f64();
                let start = Instant::now();
                for (layer, vectors) in vectors {
                    let at = layer.as_ref().map_or(String::new(), |l| format!(", layer {l}"));
                    let mut tell = |done, total| {
                        progress.live(&format!("{}{at}: pair {done} of {total}", side.name()));
                        Ok(())
                    };
                    let alignment = measure(&parallel, &vectors, &parallel.all(), &options, &mut tell)?;
                    entries.push(AlignmentEntry {
                        model: (*model).to_owned(),
                        dataset: dataset.name.clone(),
                        side: *side,
                        layer,
                        languages: dataset.languages.clone(),
                        alignment,
                    });
                }
                let measuring = start.elapsed().as_secs_f64();
                progress.line(&format!(
                    "{model}: {}: {} {}: encoded in {encoding:.1} s, measured in {measuring:.1} s",
                    dataset.name,
                    texts.len(),
                    side.name()
                ));
                seconds.push(json!({"model": model, "dataset": dataset.name, "side": side.name(),
                "texts": texts.len(), "encoding": encoding, "measuring": measuring,
                "prefix": match side {
                    Side::Questions => &encoder.query_prefix,
                    Side::Passages => &encoder.passage_prefix,
                }}));
            }
        }
    }
    let about = json!({"v": 1, "command": "align", "polymix": crate::VERSION, "models": names,
        "datasets": datasets.iter().map(|d| json!({"name": d.name, "hash": d.hash})).collect::<Vec<_>>(),
        "margin": args.margin.name(), "neighbours": args.neighbours, "shuffles": args.shuffles,
        "seed": args.seed, "held_out": args.held_out, "ridge": args.ridge,
        "low_resource": low.names(), "seconds": seconds});
    let tables = [
        ("summary", report::alignment_summary(&entries)?),
        ("languages", report::alignment_languages(&entries, &low)?),
        ("scripts", report::alignment_scripts(&entries, &low)?),
        ("pairs", report::alignment_pairs(&entries)?),
    ];
    let origin: &[&str] = match (names.len() > 1, datasets.len() > 1) {
        (true, true) => &["model", "dataset", "side"],
        (true, false) => &["model", "side"],
        (false, true) => &["dataset", "side"],
        (false, false) => &["side"],
    };
    let layer: &[&str] = if args.layers { &["layer"] } else { &[] };
    let with = |columns: &[&'static str]| -> Vec<&str> { [origin, layer, columns].concat() };
    let all: &dyn Fn(&polars::prelude::DataFrame, usize) -> bool = &|_, _| true;
    let mut shown = vec![
        block("means over language pairs", &tables[0].1, &with(&PAIR_MEANS), all)?,
        block("all languages together, and the language probe", &tables[0].1, &with(&TOGETHER), all)?,
    ];
    // Of several models or layers the means; the rest is in the files.
    if !args.layers && names.len() == 1 {
        shown.push(block("languages: means over their pairs", &tables[1].1, &with(&LANGUAGES), all)?);
        shown.push(block("scripts", &tables[2].1, &with(&SCRIPTS), all)?);
    }
    if args.pairs {
        shown.push(block("pairs", &tables[3].1, &with(&PAIRS), all)?);
    }
    args.output.finish(&tables, &about, &shown, &mut progress)
}

const PAIR_MEANS: [&str; 8] =
    ["pairs", "cka", "cka_null", "cka_unbiased", "cka_unbiased_null", "alignment", "xsim", "nearest_error"];
const TOGETHER: [&str; 8] = [
    "texts",
    "uniformity",
    "anisotropy",
    "top_share",
    "probe_accuracy",
    "probe_majority",
    "probe_fitted",
    "probe_tested",
];
const LANGUAGES: [&str; 12] = [
    "language",
    "script",
    "low_resource",
    "n",
    "cka_unbiased",
    "alignment",
    "xsim_from",
    "xsim_to",
    "uniformity",
    "anisotropy",
    "top_share",
    "probe_recall",
];
const SCRIPTS: [&str; 7] =
    ["script_a", "script_b", "low_resource", "pairs", "cka_unbiased", "alignment", "xsim"];
const PAIRS: [&str; 11] = [
    "language_a",
    "language_b",
    "n",
    "cka",
    "cka_null",
    "cka_unbiased",
    "cka_unbiased_null",
    "alignment",
    "xsim_ab",
    "xsim_ba",
    "nearest_ab",
];

/// The scripts to mark: those given, else the table's own.
pub(super) fn low_resource(names: &[String]) -> Result<LowResource> {
    if names.is_empty() { Ok(LowResource::default()) } else { LowResource::of(names) }
}
