//! `polymix encode`: passages into an index on disk, shard by shard.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::json;

use super::encoder::{self, EncoderArgs, PassageArgs};
use super::evaluate::candidate;
use super::progress::Progress;
use super::table::thousands;
use super::{print, print_json};
use crate::corpus::{self, Dataset};
use crate::encoder::{Encoder, Route};
use crate::evaluate::Embeddings;
use crate::evaluate::search::{Filled, Index, ShardDtype, Texts, fill};
use crate::run::{self, Progressing, SHARD_ROWS, Shards, Store};
use crate::spec::{DatasetRef, Dtype};
use crate::train::{Event, Stage, device};

/// Arguments of `polymix encode`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("source").required(true))]
pub struct Args {
    /// Model directory, run (its final model), model of the hub on disk (owner/name), or `demo` (untrained)
    #[arg(long, value_name = "DIR|RUN|NAME")]
    model: String,
    /// Passages of a dataset: NAME, NAME[PART], NAME=PATH
    #[arg(long, value_name = "NAME[=PATH]", group = "source")]
    data: Option<String>,
    /// Passages one a line: ID<TAB>TEXT, or JSON with "_id", "text" and perhaps "title"; .gz is unpacked
    #[arg(long, value_name = "FILE", group = "source")]
    passages: Option<PathBuf>,
    /// Directory of the index: made, or gone on with where the same model, passages and settings have begun it
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Passages a shard: what is lost at most when interrupted
    #[arg(long, value_name = "N", default_value_t = SHARD_ROWS)]
    shard_size: usize,
    /// How shards hold numbers
    #[arg(long, value_enum, default_value = "f16")]
    dtype: ShardDtype,
    /// Language of the passages, for a model with language adapters [default: with --data each passage's own, else the base
    /// alone]
    #[arg(long, value_name = "CODE", value_parser = encoder::language)]
    language: Option<String>,
    #[command(flatten)]
    lengths: PassageArgs,
    #[command(flatten)]
    encoder: EncoderArgs,
    /// With --data: sentence or sentence+context
    #[arg(long, default_value = "sentence", value_name = "TEXT")]
    candidate: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Where the passages come from.
enum Source<'a> {
    Dataset(Box<Dataset>),
    File(&'a Path),
}

/// Runs the command. The index's directory goes to standard output.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    let start = Instant::now();
    let spec = encoder::spec(&args.model, &args.encoder, None, Some(&args.lengths), store)?;
    let device = device::open(&args.encoder.device)?;
    let mut progress = Progress::new();
    // Data first: a wrong path should not cost the loading of a model.
    let (source, name, hash, rows) = match (&args.data, &args.passages) {
        (Some(name), _) => {
            let name: DatasetRef = name.parse().map_err(|e| anyhow::anyhow!("--data {name}: {e}"))?;
            let dataset = corpus::open(&name, candidate(&args.candidate)?)?;
            let (name, hash, rows) = (dataset.name.clone(), dataset.hash.clone(), dataset.passages.len());
            (Source::Dataset(Box::new(dataset)), name, hash, rows as u64)
        }
        (None, Some(path)) => {
            progress.live("reading the passages once, for their hash");
            let summary = Texts::summarise(path)?;
            (Source::File(path), path.display().to_string(), summary.hash, summary.rows)
        }
        (None, None) => bail!("give --data or --passages"),
    };
    progress.event(&Event::Progress { stage: Stage::Loading, done: 0, total: 1 });
    let encoder = run::open_model(&spec.model, spec.seed, &device, Dtype::F32)?;
    encoder::tell_prefixes(&encoder, &mut progress);
    let stated = args.language.as_deref();
    let languages = match &source {
        Source::Dataset(dataset) if stated.is_none() => dataset.languages.clone(),
        _ => stated.map(str::to_owned).into_iter().collect(),
    };
    for note in encoder::adapter_notes(&encoder, &languages) {
        progress.line(&format!("note: {note}"));
    }
    let route = |passage: usize| match (&source, stated) {
        (_, Some(language)) => encoder.route(language),
        (Source::Dataset(dataset), None) => {
            encoder.route(&dataset.languages[usize::from(dataset.passages[passage].language)])
        }
        (Source::File(_), None) => None,
    };
    let longest = spec.model.max_passage_tokens.min(encoder.config.longest());
    let shards = Shards { dir: args.out.clone(), dtype: args.dtype, rows: args.shard_size };
    let manifest = shards.manifest(&encoder, &args.model, longest, (&name, &hash, rows))?;
    let (index, lock) = Index::make(&args.out, manifest)?;

    let (mut found, mut truncated) = (0, 0);
    let progress = std::cell::RefCell::new(progress);
    let tell = |filled: Filled| {
        let line = match filled {
            Filled::Found { shard } => {
                found += 1;
                progress.borrow_mut().live(&format!("shard {} of {} is there", shard + 1, index.shards()));
                return Ok(());
            }
            Filled::Damaged { shard, reason } => {
                format!("note: {reason}; writing shard {} of {} again", shard + 1, index.shards())
            }
            Filled::Wrote { shard } => {
                let done = thousands(index.rows_of(shard).end);
                let total = thousands(rows as usize);
                format!("wrote shard {} of {}: {done} of {total} passages", shard + 1, index.shards())
            }
        };
        progress.borrow_mut().line(&line);
        Ok(())
    };
    let embed = |shard: usize, texts: &[String]| {
        let first = index.rows_of(shard).start;
        let mut stage = Progressing::new(Stage::EncodingPassages, |event: Event| {
            progress.borrow_mut().event(&event);
            Ok(())
        });
        let routes: Vec<Route> = (first..first + texts.len()).map(route).collect();
        let texts = (texts, routes.as_slice());
        let (vectors, cut) = embed(&encoder, texts, longest, spec.evaluate.batch_tokens, &mut |done| {
            stage.at(first + done, rows as usize)
        })?;
        truncated += cut;
        Ok(vectors)
    };
    match &source {
        Source::Dataset(dataset) => {
            let passages = dataset.passages.iter().map(|p| Ok((p.id.clone(), p.text.clone())));
            fill(&index, &lock, passages, embed, tell)?;
        }
        Source::File(path) => fill(&index, &lock, Texts::open(path)?, embed, tell)?,
    }
    let seconds = start.elapsed().as_secs_f64();
    let mut progress = progress.into_inner();
    if truncated > 0 {
        progress.line(&format!("note: cut to {longest} tokens: {} passages", thousands(truncated)));
    }
    progress.line(&format!(
        "{} passages in {} shards ({found} were there), {seconds:.1} s",
        thousands(rows as usize),
        index.shards()
    ));
    if args.json {
        return print_json(
            &json!({"v": 1, "index": args.out, "manifest": index.manifest, "shards": index.shards(),
            "found": found, "truncated": truncated, "seconds": seconds}),
        );
    }
    print(&args.out.display().to_string())
}

/// Unit vectors of passages, and how many were cut.
fn embed(
    encoder: &Encoder,
    (texts, routes): (&[String], &[Route]),
    longest: usize,
    batch_tokens: usize,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<(Embeddings, usize)> {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let tokens = encoder.tokenizer.encode(&encoder.passage_prefix, &texts, longest)?;
    let data = encoder.encode_routed(&tokens.ids, routes, batch_tokens, progress)?;
    Ok((Embeddings { width: encoder.width(), data }, tokens.truncated))
}
