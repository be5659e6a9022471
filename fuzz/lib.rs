//! The program's parsers, without what they do not need (candle, polars, tokenizers): a build takes seconds, and the
//! instrumentation counts their branches only. Parquet is left out: polars reads it.
#![allow(dead_code, unused_imports)]

#[path = "../src/corpus/mod.rs"]
pub mod corpus;
#[path = "../src/files.rs"]
pub mod files;
#[path = "../src/hub/mod.rs"]
pub mod hub;
#[path = "../src/seal.rs"]
pub mod seal;
#[path = "../src/spec/mod.rs"]
pub mod spec;
#[path = "../src/stream.rs"]
pub mod stream;

/// As in the program's own root.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
