//! `polymix bench`: how fast this machine trains, measured so that other programs can be measured alike.

mod train;

use anyhow::Result;

use crate::run::Store;

/// Arguments of `polymix bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Time training steps on fixed batches of token ids
    Train(train::Args),
}

/// Runs the command.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    match &args.command {
        Command::Train(args) => train::run(args, store),
    }
}
