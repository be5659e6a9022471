//! `polymix data`: which datasets there are, fetching them, and what is in them.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::fetch::{self, FetchArgs, VerifyArgs};
use super::progress::Progress;
use super::table::{plain, thousands};
use super::{clean, print, print_json};
use crate::corpus::catalogue::{Entries, Form};
use crate::corpus::{self, Catalogue};
use crate::encoder::Encoder;
use crate::hub::{Settings, bytes};
use crate::spec::{Candidate, DatasetRef, Dtype, ModelSpec};
use crate::tokens::{self, Wanted};
use crate::train::{Event, Stage, Tokens};

/// Arguments of `polymix data`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Datasets of the catalogue and what of them is on disk, and the loaders for data of your own
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Bring datasets of the catalogue to this machine; the same command goes on after a pause or a cut
    Fetch(FetchArgs),
    /// Hold what is on disk to its checksums
    Verify(VerifyArgs),
    /// Source, licence, counts, languages and examples of a dataset
    Inspect {
        /// NAME, NAME[PART], NAME=PATH or NAME[PART]=PATH
        dataset: String,
        /// Example questions, each with its relevant passages
        #[arg(long, default_value_t = 2, value_name = "N")]
        examples: usize,
        /// Tokenise with this model (demo, or a directory) and say what the length limits cut
        #[arg(long, value_name = "MODEL")]
        model: Option<String>,
        /// Longest question, in tokens, with --model
        #[arg(long, value_name = "N", default_value_t = 64, value_parser = super::encoder::tokens())]
        max_query_tokens: u64,
        /// Longest passage, in tokens, with --model
        #[arg(long, value_name = "N", default_value_t = 192, value_parser = super::encoder::tokens())]
        max_passage_tokens: u64,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Tokenise a dataset into the cache ahead of training; memory does not grow with its texts
    Prepare {
        /// NAME=PATH or NAME[PART]=PATH, as in data.train
        dataset: String,
        /// The spec that will train on it: its model, prefixes, length limits and candidates count
        #[arg(long, value_name = "FILE")]
        spec: Option<std::path::PathBuf>,
        /// Override a key of the spec
        #[arg(long = "set", value_name = "KEY=VALUE")]
        sets: Vec<String>,
        /// Folder of the caches, as `POLYMIX_CACHE` names it; `train` finds them where that variable names the same folder
        /// [default: what `POLYMIX_CACHE` says, else the user's cache directory]
        #[arg(long, value_name = "DIR")]
        cache: Option<std::path::PathBuf>,
        /// Read every file again, though its size and times are those of the last reading
        #[arg(long)]
        verify: bool,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::List { json } => list(*json),
        Command::Fetch(args) => fetch::fetch(Form::Data, args),
        Command::Verify(args) => fetch::verify(Form::Data, args),
        Command::Inspect { dataset, examples, model, max_query_tokens, max_passage_tokens, json } => {
            let limits = ModelSpec {
                base: model.clone().unwrap_or_default(),
                max_query_tokens: *max_query_tokens as usize,
                max_passage_tokens: *max_passage_tokens as usize,
                ..ModelSpec::default()
            };
            inspect(dataset, *examples, model.is_some().then_some(&limits), *json)
        }
        Command::Prepare { dataset, spec, sets, cache, verify, json } => {
            prepare(dataset, spec.as_deref(), sets, cache.as_deref(), *verify, *json)
        }
    }
}

fn encoder(model: &ModelSpec) -> Result<Encoder> {
    crate::run::open_model(model, 0, &candle_core::Device::Cpu, Dtype::F32)
}

fn prepare(
    name: &str,
    spec: Option<&Path>,
    sets: &[String],
    cache: Option<&Path>,
    verify: bool,
    as_json: bool,
) -> Result<()> {
    let reference: DatasetRef = name.parse().map_err(|e| anyhow::anyhow!("{e}"))?;
    let spec = match spec {
        Some(path) => crate::spec::load(path, sets)?,
        None => crate::spec::parse("", sets)?,
    };
    let encoder = encoder(&spec.model)?;
    let dir = match cache {
        Some(dir) => tokens::below(dir),
        None => tokens::default_dir()?,
    };
    let mut progress = Progress::new();
    let wanted = Wanted::new(&reference, spec.evaluate.candidate, &encoder, &spec.model);
    if verify {
        tokens::verify(&wanted, &dir)?;
    }
    let start = std::time::Instant::now();
    let prepared = tokens::prepare(wanted, &dir, &mut |done, total| {
        progress.event(&Event::Progress { stage: Stage::Tokenising, done, total });
        Ok(())
    })?;
    let (seconds, store) = (start.elapsed().as_secs_f64(), prepared.store);
    let meta = &store.meta;
    if as_json {
        return print_json(&json!({"v": 1, "built": prepared.built, "seconds": seconds, "path": store.path,
            "cache": meta}));
    }
    let rows: Vec<Vec<String>> = meta
        .languages
        .iter()
        .zip(&meta.by_language)
        .map(|(l, (q, p))| vec![l.clone(), q.to_string(), p.to_string()])
        .collect();
    let mut text = format!(
        "{}: {} question ids, {} questions ({} tokens), {} passages ({} tokens)\n{} {} in {seconds:.1} s\n\n{}",
        meta.name,
        thousands(meta.groups as usize),
        thousands(meta.questions as usize),
        thousands(meta.question_tokens as usize),
        thousands(meta.passages as usize),
        thousands(meta.passage_tokens as usize),
        if prepared.built { "written to" } else { "found in" },
        store.path.display(),
        plain(&["language", "questions", "passages"], &rows)
    );
    for note in &meta.notes {
        text += &format!("\nnote: {note}");
    }
    let cuts = (meta.truncated_questions as usize, meta.truncated_passages as usize);
    text += &format!("\n{}", cut_line(cuts, meta.lost_answers as usize, meta.answers as usize));
    print(&text)
}

/// Domains that `inspect` names.
const DOMAINS: usize = 20;

/// What the length limits cut, in words.
fn cut_line((questions, passages): (usize, usize), lost: usize, answers: usize) -> String {
    let lost = if answers == 0 {
        "the data do not say where answers stand".into()
    } else {
        format!("{} of {} answers lie behind the cut", thousands(lost), thousands(answers))
    };
    format!(
        "cut to the length limit: {} questions, {} passages; {lost}",
        thousands(questions),
        thousands(passages)
    )
}

fn list(json: bool) -> Result<()> {
    let entries = fetch::entries(Form::Data)?;
    if json {
        for (entry, held) in &entries {
            print_json(&fetch::described(entry, held)?)?;
        }
        for entry in Catalogue::all() {
            print_json(&json!({"v": 1, "name": entry.name, "description": entry.description,
                "languages": entry.languages, "licence": entry.licence, "parts": entry.parts,
                "needs_path": entry.needs_path}))?;
        }
        return Ok(());
    }
    let fetched: Vec<Vec<String>> = entries
        .iter()
        .map(|(entry, held)| {
            let codes = &entry.languages;
            let languages = if codes.len() > 7 { codes.len().to_string() } else { codes.join(" ") };
            let roles: Vec<String> = entry.roles.iter().map(ToString::to_string).collect();
            vec![
                entry.name.clone(),
                held.word(),
                entry.expected(&[]).map_or("-".into(), bytes),
                languages,
                roles.join(" "),
                entry.loader.clone().unwrap_or_default(),
                entry.licence.clone(),
                entry.description.clone(),
            ]
        })
        .collect();
    let headings = ["entry", "state", "size", "languages", "role", "loader", "licence", "description"];
    print(&plain(&headings, &fetched))?;
    fetch::doubts(&entries);
    print("")?;
    let rows: Vec<Vec<String>> = Catalogue::all()
        .iter()
        .map(|entry| {
            vec![
                entry.name.into(),
                if entry.needs_path { "yours: NAME=PATH" } else { "bundled" }.into(),
                entry.languages.join(" "),
                entry.licence.into(),
                entry.parts.into(),
                entry.description.into(),
            ]
        })
        .collect();
    print(&plain(&["loader", "where", "languages", "licence", "parts", "description"], &rows))
}

fn inspect(name: &str, examples: usize, model: Option<&ModelSpec>, as_json: bool) -> Result<()> {
    let reference: DatasetRef = name.parse().map_err(|e| anyhow::anyhow!("{e}"))?;
    // An entry of the catalogue says where it comes from, on disk or not.
    let known = match &reference.path {
        Some(_) => None,
        None => Entries::load()?.find(Form::Data, &reference.name).cloned(),
    };
    let mut described = serde_json::Value::Null;
    if let Some(entry) = known {
        let held = corpus::catalogue::held(&entry, &Settings::from_env())?;
        let has_loader = Catalogue::all().iter().any(|c| Some(c.name) == entry.loader.as_deref());
        let is_readable = held.is_usable && has_loader;
        if as_json {
            described = fetch::described(&entry, &held)?;
            if !is_readable {
                return print_json(&json!({"v": 1, "name": reference.label(), "entry": described}));
            }
        } else {
            print(&fetch::lines(&entry, &held)?)?;
            if !is_readable {
                return Ok(());
            }
            print("")?;
        }
    }
    let data = corpus::open(&reference, Candidate::Sentence)?;
    let by_language: Vec<(usize, usize)> = (0..data.languages.len() as u16)
        .map(|l| (data.questions_in(l).count(), data.passages_in(l).count()))
        .collect();
    let tokens = match model {
        Some(model) => {
            let mut progress = Progress::new();
            let tokens = Tokens::new(&data, &encoder(model)?, model, &mut |done, total| {
                progress.event(&Event::Progress { stage: Stage::Tokenising, done, total });
                Ok(())
            })?;
            Some(tokens)
        }
        None => None,
    };
    let hard_negatives: usize = data.negatives.iter().map(Vec::len).sum();
    if as_json {
        let cuts = tokens.as_ref().map(|t| {
            json!({"questions": t.truncated_questions, "passages": t.truncated_passages,
                "lost_answers": t.lost_answers, "answers": data.answers.len()})
        });
        let languages: serde_json::Map<_, _> = data
            .languages
            .iter()
            .zip(&by_language)
            .map(|(l, (q, p))| (l.clone(), json!({"questions": q, "passages": p})))
            .collect();
        return print_json(&json!({"v": 1, "name": data.name, "question_ids": data.groups.len(),
            "questions": data.questions.len(), "passages": data.passages.len(), "languages": languages,
            "domains": data.domains, "sha256": data.hash, "notes": data.notes,
            "hard_negatives": hard_negatives, "inputs": data.inputs, "cut": cuts, "entry": described}));
    }
    let mut text = format!(
        "{}: {} question ids, {} questions, {} passages\nsha256 {}\n",
        data.name,
        thousands(data.groups.len()),
        thousands(data.questions.len()),
        thousands(data.passages.len()),
        data.hash
    );
    let domains: Vec<String> = data
        .domains
        .iter()
        .enumerate()
        .map(|(i, d)| format!("{d} {}", data.groups.iter().filter(|g| usize::from(g.domain) == i).count()))
        .take(DOMAINS)
        .collect();
    let more = data.domains.len() - domains.len();
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    text += &format!("domains: {}{more}\n\n", domains.join(", "));
    let rows: Vec<Vec<String>> = data
        .languages
        .iter()
        .zip(&by_language)
        .map(|(l, (q, p))| vec![l.clone(), q.to_string(), p.to_string()])
        .collect();
    text += &plain(&["language", "questions", "passages"], &rows);
    if hard_negatives > 0 {
        text += &format!("\n{} hard negatives", thousands(hard_negatives));
    }
    if let Some(tokens) = &tokens {
        let cuts = (tokens.truncated_questions, tokens.truncated_passages);
        text += &format!("\n{}", cut_line(cuts, tokens.lost_answers, data.answers.len()));
    }
    for note in &data.notes {
        text += &format!("\nnote: {}", clean(note));
    }
    let stride = (data.groups.len() / examples.max(1)).max(1);
    for group in data.groups.iter().step_by(stride).take(examples) {
        text += &format!("\n\n{} ({})", clean(&group.id), clean(&data.domains[usize::from(group.domain)]));
        for (language, question) in data.languages.iter().zip(&group.questions) {
            let Some(question) = question else { continue };
            text += &format!("\n  {language}  Q  {}", clean(&data.questions[*question as usize].text));
            for &passage in &group.relevant {
                let passage = &data.passages[passage as usize];
                if data.languages[usize::from(passage.language)] == *language {
                    text += &format!("\n      P  {}", clean(&passage.text));
                }
            }
        }
    }
    print(&text)
}
