//! `polymix model`: what is in a model directory.

use std::path::PathBuf;

use anyhow::Result;
use candle_core::{DType, Device};
use serde_json::json;

use super::table::thousands;
use super::{print, print_json};
use crate::encoder::{Encoder, ModelFiles};
use crate::spec::Pooling;

/// Arguments of `polymix model`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Architecture, sizes, pooling and prefixes of a model directory
    Inspect {
        /// Directory in Hugging Face or sentence-transformers layout
        dir: PathBuf,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let Command::Inspect { dir, json } = &args.command;
    let files = ModelFiles::read(dir, Pooling::Auto)?;
    let encoder = Encoder::new(files, &Device::Cpu, DType::F32, None, None)?;
    let config = &encoder.config;
    let parameters = encoder.parameters.count();
    if *json {
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
