//! `polymix model`: which models there are, fetching them, and what is in them.

use anyhow::Result;
use candle_core::{DType, Device};
use serde_json::json;

use super::fetch::{self, FetchArgs, VerifyArgs};
use super::table::{plain, thousands};
use super::{print, print_json};
use crate::corpus::catalogue::Form;
use crate::corpus::model_dir;
use crate::encoder::{Encoder, ModelFiles};
use crate::hub::bytes;
use crate::spec::Pooling;

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
    /// Architecture, sizes, pooling and prefixes of a model
    Inspect {
        /// Directory in Hugging Face or sentence-transformers layout, or a model of the hub that is on disk
        #[arg(value_name = "DIR|NAME")]
        dir: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::List { json } => list(*json),
        Command::Fetch(args) => fetch::fetch(Form::Model, args),
        Command::Verify(args) => fetch::verify(Form::Model, args),
        Command::Inspect { dir, json } => inspect(dir, *json),
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
                entry.licence.clone(),
                entry.description.clone(),
            ]
        })
        .collect();
    print(&plain(&["model", "state", "size", "licence", "description"], &rows))
}

fn inspect(dir: &str, json: bool) -> Result<()> {
    let files = ModelFiles::read(&model_dir(dir)?, Pooling::Auto)?;
    let encoder = Encoder::new(files, &Device::Cpu, DType::F32, None, None)?;
    let config = &encoder.config;
    let parameters = encoder.parameters.count();
    if json {
        return print_json(
            &json!({"v": 1, "architecture": config.architecture.name(), "parameters": parameters,
            "layers": config.layers, "hidden": config.hidden_size, "heads": config.heads,
            "vocabulary": config.vocab_size, "longest": config.longest(), "width": encoder.width(),
            "pooling": encoder.pooling(), "query_prefix": encoder.query_prefix,
            "passage_prefix": encoder.passage_prefix}),
        );
    }
    print(&format!(
        "architecture    {}\nparameters      {}\nlayers          {}\nhidden          {}\nheads           {}\n\
         vocabulary      {}\nlongest text    {} tokens\nvector width    {}\npooling         {}\n\
         query prefix    {:?}\npassage prefix  {:?}",
        config.architecture.name(),
        thousands(parameters),
        config.layers,
        config.hidden_size,
        config.heads,
        thousands(config.vocab_size),
        config.longest(),
        encoder.width(),
        encoder.pooling(),
        encoder.query_prefix,
        encoder.passage_prefix
    ))
}
