//! `polymix model`: which models there are, fetching them, what is in one, writing it anew, and the vectors it gives.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::DType;
use serde_json::{Value, json};

use super::encoder;
use super::fetch::{self, FetchArgs, VerifyArgs};
use super::progress::Progress;
use super::table::{plain, thousands};
use super::{print, print_bytes, print_json};
use crate::corpus::catalogue::{self, Entries, Form, Layout, Prefixes};
use crate::corpus::model_dir;
use crate::encoder::{Conversion, Description, Encoder, ModelFiles};
use crate::hub::{Settings, bytes};
use crate::report::Card;
use crate::run::{RunDir, Store};
use crate::spec::Pooling;
use crate::train::device;

/// Arguments of `polymix model`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Models of the catalogue and what of them is on disk
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Bring models to this machine, into the cache that Hugging Face's Python libraries share
    Fetch(FetchArgs),
    /// Hold what is on disk to its checksums
    Verify(VerifyArgs),
    /// Architecture, sizes, pooling, prompts and files of a model
    Inspect {
        /// Model directory (Hugging Face or sentence-transformers layout), a model of the hub that is on disk, or a run
        #[arg(value_name = "DIR|NAME|RUN")]
        model: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Write a model, or a run's model, as a directory that sentence-transformers loads
    ///
    /// One safetensors file, pooling, dense layers, prompts, and a model card (README.md). A run's card has its
    /// settings, its results and its data. OUT must not exist.
    #[command(visible_alias = "export")]
    Convert(Convert),
    /// Vectors of texts, one JSON object a line
    Embed(Embed),
}

#[derive(Debug, clap::Args)]
struct Convert {
    /// Model directory, or a run
    #[arg(value_name = "DIR|RUN")]
    model: String,
    /// Directory to write
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Type of the numbers on disk [default: the type they have; f32 where they have several]
    #[arg(long, value_enum)]
    dtype: Option<OnDisk>,
    /// File format of the weights
    #[arg(long, value_enum, default_value = "safetensors")]
    to: Format,
    /// For a model with language adapters, which no other program would apply: merge the `LoRA` of this language into the weights
    /// (exact, up to rounding), or none: the base alone
    #[arg(long, value_name = "CODE|none", value_parser = encoder::language)]
    adapter: Option<String>,
    /// Licence id for the model card, such as mit or cc-by-sa-4.0
    #[arg(long, value_name = "ID")]
    license: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Embed {
    /// Model directory, or a run
    #[arg(value_name = "DIR|RUN")]
    model: String,
    /// A text (repeatable)
    #[arg(long, value_name = "TEXT")]
    text: Vec<String>,
    /// File with one text a line
    #[arg(long, value_name = "FILE", required_unless_present = "text")]
    file: Option<PathBuf>,
    /// Put the prefix of questions or of passages before each text: the model's own, else the catalogue's, else "Query: " or
    /// "Passage: " [default: the model's default prompt, which few have]
    #[arg(long = "as", value_enum)]
    side: Option<Side>,
    /// Longest text in tokens [default: the model's own]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Language of the texts, for a model with language adapters [default: the base alone]
    #[arg(long, value_name = "CODE", value_parser = encoder::language)]
    language: Option<String>,
    /// auto (what the model says), mean or cls
    #[arg(long, value_enum, default_value = "auto")]
    pooling: Pool,
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: String,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum OnDisk {
    F32,
    F16,
    Bf16,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Safetensors,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Side {
    Query,
    Passage,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Pool {
    Auto,
    Mean,
    Cls,
}

/// Runs the command.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    match &args.command {
        Command::List { json } => list(*json),
        Command::Fetch(args) => fetch::fetch(Form::Model, args),
        Command::Verify(args) => fetch::verify(Form::Model, args),
        Command::Inspect { model, json } => inspect(model, store, *json),
        Command::Convert(args) => convert(args, store),
        Command::Embed(args) => embed(args, store),
    }
}

fn list(json: bool) -> Result<()> {
    let entries = fetch::entries(Form::Model)?;
    if json {
        return entries.iter().try_for_each(|(entry, held)| print_json(&fetch::described(entry, held)?));
    }
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|(entry, held)| {
            vec![
                entry.name.clone(),
                held.word(),
                entry.expected(&[]).map_or("-".into(), bytes),
                if entry.languages.is_empty() { "-".into() } else { entry.languages.len().to_string() },
                entry.layout.map_or("-", Layout::purpose).into(),
                entry.licence.clone(),
                entry.description.clone(),
            ]
        })
        .collect();
    print(&plain(&["model", "state", "size", "languages", "for", "licence", "description"], &rows))?;
    fetch::doubts(&entries);
    Ok(())
}

/// A model on disk.
pub(super) struct Found {
    pub(super) dir: PathBuf,
    run: Option<RunDir>,
    /// What the catalogue says of the model's prefixes.
    pub(super) prefixes: Prefixes,
}

/// A model directory, or a run by id, by the beginning of its id, or by path.
pub(super) fn find(name: &str, store: &Store) -> Result<Found> {
    let dir = Path::new(name);
    let is_run = RunDir::new(dir).exists();
    if dir.exists() && !is_run {
        return Ok(Found { dir: dir.to_owned(), run: None, prefixes: catalogue::model_prefixes(name)? });
    }
    let Ok(run) = store.find(name) else {
        encoder::tell_doubt(name);
        return Ok(Found {
            dir: model_dir(name).with_context(|| format!("'{name}' is no run either"))?,
            run: None,
            prefixes: catalogue::model_prefixes(name)?,
        });
    };
    let dir = run.final_model()?;
    Ok(Found { dir, run: Some(run), prefixes: Prefixes::default() })
}

fn inspect(name: &str, store: &Store, json: bool) -> Result<()> {
    // An entry of the catalogue says where it comes from, on disk or not.
    let is_entry = !Path::new(name).exists() && store.find(name).is_err();
    let mut entry = Value::Null;
    let known = if is_entry { Entries::load()?.find(Form::Model, name).cloned() } else { None };
    if let Some(known) = &known {
        let held = catalogue::held(known, &Settings::from_env())?;
        if json {
            entry = fetch::described(known, &held)?;
            if !held.is_usable {
                return print_json(&json!({"v": 1, "name": name, "entry": entry}));
            }
        } else {
            print(&fetch::lines(known, &held)?)?;
            if !held.is_usable {
                return Ok(());
            }
            print("")?;
        }
    }
    let Found { dir, prefixes, .. } = &find(name, store)?;
    let model = Description::catalogued(dir, prefixes.clone())?;
    let size = |path: &Path| path.strip_prefix(dir).unwrap_or(path).display().to_string();
    if json {
        let dense: Vec<_> = model
            .dense
            .iter()
            .map(
                |d| json!({"in": d.input, "out": d.output, "activation": activation(d.tanh), "bias": d.bias}),
            )
            .collect();
        let files: Vec<_> =
            model.files.iter().map(|(path, bytes)| json!({"file": size(path), "bytes": bytes})).collect();
        return print_json(
            &json!({"v": 1, "architecture": model.architecture, "parameters": model.parameters,
            "layers": model.layers, "hidden": model.hidden, "heads": model.heads,
            "intermediate": model.intermediate, "vocabulary": model.vocabulary, "tokens": model.tokens,
            "longest": model.longest, "max_length": model.max_length, "width": model.width,
            "pooling": model.pooling, "dense": dense, "normalise": model.normalise, "prompts": model.prompts,
            "query_prefix": model.query_prefix, "passage_prefix": model.passage_prefix,
            "prefixes_from": model.prefix_origins, "default_prompt_name": model.default_prompt,
            "dtypes": model.dtypes, "files": files, "bytes": model.bytes(), "unused": model.unused,
            "adapters": model.adapters, "notes": model.notes, "entry": entry}),
        );
    }
    let mut rows: Vec<(&str, String)> = vec![
        ("architecture", model.architecture.into()),
        ("parameters", thousands(model.parameters)),
        ("layers", model.layers.to_string()),
        ("hidden", model.hidden.to_string()),
        ("heads", model.heads.to_string()),
        ("intermediate", thousands(model.intermediate)),
        (
            "vocabulary",
            format!("{} embeddings, {} tokens", thousands(model.vocabulary), thousands(model.tokens)),
        ),
        ("longest text", format!("{} tokens", model.longest)),
    ];
    if let Some(length) = model.max_length {
        rows.push(("max_seq_length", format!("{length} tokens")));
    }
    rows.push(("pooling", model.pooling.into()));
    for dense in &model.dense {
        let bias = if dense.bias { "" } else { ", no bias" };
        let text = format!("{} to {}, {}{bias}", dense.input, dense.output, activation(dense.tanh));
        rows.push(("dense", text));
    }
    rows.push(("normalise", if model.normalise { "yes" } else { "not stated (polymix does)" }.into()));
    rows.push(("vector width", model.width.to_string()));
    rows.extend(model.prompts.iter().map(|(name, prompt)| ("prompt", format!("{name}: {prompt:?}"))));
    for (side, (text, origin)) in ["query prefix", "passage prefix"]
        .into_iter()
        .zip([&model.query_prefix, &model.passage_prefix].into_iter().zip(model.prefix_origins))
    {
        rows.extend(text.as_ref().map(|text| (side, format!("{text:?} ({})", origin.words()))));
    }
    if let Some(name) = &model.default_prompt {
        rows.push(("default prompt", format!("{name} (before texts of which nobody says what they are)")));
    }
    if let Some(adapters) = &model.adapters {
        rows.push(("adapters", adapters.shape()));
        rows.push(("", format!("for {}", adapters.languages.join(", "))));
        rows.push((
            "",
            format!(
                "{} parameters, {} a language",
                thousands(adapters.parameters),
                thousands(adapters.parameters / adapters.languages.len().max(1))
            ),
        ));
        if let Some(base) = &adapters.base {
            rows.push(("base", format!("{base}, frozen; its weights are not written again")));
        }
    }
    rows.push(("weights", model.dtypes.join(", ")));
    for (path, bytes) in &model.files {
        rows.push(("file", format!("{}, {:.1} MB", size(path), *bytes as f64 / 1e6)));
    }
    if let [first, ..] = model.unused.as_slice() {
        rows.push((
            "unused tensors",
            format!("{} ({first}{})", model.unused.len(), if model.unused.len() > 1 { ", ..." } else { "" }),
        ));
    }
    rows.extend(model.notes.iter().map(|note| ("note", note.clone())));
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:<15} {value}")).collect();
    print(&lines.join("\n"))
}

const fn activation(tanh: bool) -> &'static str {
    if tanh { "tanh" } else { "identity" }
}

fn convert(args: &Convert, store: &Store) -> Result<()> {
    let Format::Safetensors = args.to;
    ensure!(!args.out.exists(), "{}: exists already; choose another place or remove it", args.out.display());
    let found = find(&args.model, store)?;
    let model = Description::catalogued(&found.dir, found.prefixes.clone())?;
    let dtype = args.dtype.map(|dtype| match dtype {
        OnDisk::F32 => DType::F32,
        OnDisk::F16 => DType::F16,
        OnDisk::Bf16 => DType::BF16,
    });
    // A run's model is used as it was evaluated: no text longer than its passages were.
    let spec = found.run.as_ref().map(RunDir::spec).transpose()?;
    let trained = spec.map(|s| s.model.max_passage_tokens.max(s.model.max_query_tokens));
    let longest = trained.or(model.max_length).unwrap_or(usize::MAX).min(model.longest);
    let name = match &found.run {
        Some(run) => run.id(),
        None => args.out.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    let licence = args.license.as_deref();
    let run = found.run.as_ref();
    let adapter = args.adapter.as_deref();
    let card = Card { name: &name, model: &model, run, licence, longest, adapter }.markdown()?;
    let prefixes = found.prefixes.clone();
    let conversion = Conversion { dtype, longest: Some(longest), prefixes, card };
    if model.adapters.is_none() {
        if let Some(adapter) = &args.adapter {
            bail!("--adapter {adapter}: '{}' has no language adapters; leave it out", args.model);
        }
        ModelFiles::convert(&found.dir, &args.out, &conversion)?;
    } else {
        let mut files = ModelFiles::read(&found.dir, Pooling::Auto)?.with_prefixes(found.prefixes);
        if let Some(adapter) = &args.adapter {
            files = files.without_adapters((adapter != "none").then_some(adapter))?;
        }
        files.write(&args.out, &conversion)?;
    }
    print(&args.out.display().to_string())
}

/// Texts that share a forward pass.
const BATCH_TOKENS: usize = 4096;

fn embed(args: &Embed, store: &Store) -> Result<()> {
    let mut texts = args.text.clone();
    if let Some(file) = &args.file {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("{}: cannot read", file.display()))?;
        texts.extend(text.lines().map(str::to_owned));
    }
    ensure!(!texts.is_empty(), "no texts: the file is empty");
    let found = find(&args.model, store)?;
    let pooling = match args.pooling {
        Pool::Auto => Pooling::Auto,
        Pool::Mean => Pooling::Mean,
        Pool::Cls => Pooling::Cls,
    };
    // A run's model is used as it was evaluated.
    let trained = found.run.as_ref().map(RunDir::spec).transpose()?.map(|s| match args.side {
        Some(Side::Query) => s.model.max_query_tokens,
        Some(Side::Passage) => s.model.max_passage_tokens,
        None => s.model.max_passage_tokens.max(s.model.max_query_tokens),
    });
    let stated = trained.or(Description::read(&found.dir)?.max_length);
    let device = device::open(&args.device)?;
    let files = ModelFiles::read(&found.dir, pooling)?.with_prefixes(found.prefixes);
    let encoder = Encoder::new(files, &device, DType::F32, None, None)?;
    let longest = args.max_tokens.or(stated).unwrap_or(usize::MAX).min(encoder.config.longest());
    let prefix = match args.side {
        None => encoder.default_prefix()?,
        Some(Side::Query) => &encoder.query_prefix,
        Some(Side::Passage) => &encoder.passage_prefix,
    };
    if !prefix.is_empty() {
        Progress::new().line(&format!("note: {prefix:?} is put before each text"));
    }
    let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
    let tokenised = encoder.tokenizer.encode(prefix, &borrowed, longest)?;
    for note in encoder::adapter_notes(&encoder, args.language.as_slice()) {
        Progress::new().line(&format!("note: {note}"));
    }
    let routes = vec![args.language.as_ref().and_then(|l| encoder.route(l)); texts.len()];
    let vectors = encoder.encode_routed(&tokenised.ids, &routes, BATCH_TOKENS, &mut |_| Ok(()))?;
    let mut out = String::new();
    for ((text, ids), vector) in texts.iter().zip(&tokenised.ids).zip(vectors.chunks(encoder.width())) {
        out += &json!({"v": 1, "text": text, "tokens": ids.len(), "vector": vector}).to_string();
        out.push('\n');
    }
    print_bytes(out.as_bytes())
}
