//! polymix: how does the mix of monolingual and cross-lingual batches change a multilingual dense retriever?
//!
//! One folder is one step of the data's way; arrows go one way:
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`spec`] | `ExperimentSpec` (TOML): what to run; presets, validation, grids |
//! | [`machine`] | memory used and left, GPUs |
//! | [`hub`] | downloads: the Hugging Face hub and its cache, git hosts, archives |
//! | [`corpus`] | datasets: questions, passages, parallel groups; loaders; the bundled demo corpus |
//! | [`batch`] | the batch plan: a pure function of (spec, seed, step) |
//! | [`ops`] | operations with a forward and a hand-written backward pass |
//! | [`encoder`] | tokenizer, XLM-R and BERT encoders, pooling, reading and writing checkpoints |
//! | [`tokens`] | token caches on disk, mapped into memory |
//! | [`train`] | loss, optimiser, schedule, training loop, events |
//! | [`statistics`] | randomisation tests, bootstrap, corrections: numbers in clusters |
//! | [`evaluate`] | ranking, metrics, language bias, significance |
//! | [`run`] | the run directory: state, event log, checkpoints, workers; sweeps |
//! | [`report`] | polars tables and their export |
//! | [`cli`], [`tui`] | the two faces; nothing below knows them |

pub mod batch;
mod caught;
pub mod cli;
pub mod corpus;
pub mod encoder;
pub mod evaluate;
pub mod files;
pub mod hub;
pub mod machine;
pub mod mapped;
pub mod ops;
pub mod report;
pub mod run;
pub mod seal;
pub mod spec;
pub mod statistics;
pub mod stream;
pub mod tokens;
pub mod train;
pub mod tui;

/// The program's version, as written into every record.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
