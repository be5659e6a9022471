//! The program's parsers, without what they do not need (candle, polars, tokenizers): a build takes seconds, and the
//! instrumentation counts their branches only. Parquet is left out: polars reads it.
#![allow(dead_code, unused_imports)]

// Files of weights say their numbers' type in candle's words; nothing else of candle is needed to read what they hold.
extern crate self as candle_core;

#[path = "../src/batch/mod.rs"]
pub mod batch;
#[path = "../src/corpus/mod.rs"]
pub mod corpus;
#[path = "../src/files.rs"]
pub mod files;
#[path = "../src/hub/mod.rs"]
pub mod hub;
#[path = "../src/mapped.rs"]
pub mod mapped;
#[path = "../src/seal.rs"]
pub mod seal;
#[path = "../src/spec/mod.rs"]
pub mod spec;
#[path = "../src/stream.rs"]
pub mod stream;

/// What describes a model, but neither its numbers nor its tokenizer.
#[path = "."]
pub mod encoder {
    /// What a model says of its adapters.
    #[path = "."]
    pub mod adapters {
        #[path = "../src/encoder/adapters/stored.rs"]
        pub mod stored;
    }
    #[path = "../src/encoder/bert.rs"]
    pub mod bert;
    #[path = "../src/encoder/charsmap.rs"]
    pub mod charsmap;
    #[path = "../src/encoder/config.rs"]
    pub mod config;
    #[path = "../src/encoder/entry.rs"]
    pub mod entry;
    #[path = "../src/encoder/pickle.rs"]
    pub mod pickle;
    #[path = "../src/encoder/safetensors_file.rs"]
    pub mod safetensors_file;
    #[path = "../src/encoder/sentence.rs"]
    pub mod sentence;
    #[path = "../src/encoder/sentencepiece.rs"]
    pub mod sentencepiece;
    #[path = "../src/encoder/torch_file.rs"]
    pub mod torch_file;
    #[path = "../src/encoder/weight_files.rs"]
    pub mod weight_files;
    #[path = "../src/encoder/xlm_roberta.rs"]
    pub mod xlm_roberta;
}

/// Files of runs and labels, and embeddings on disk; no ranking.
#[path = "."]
pub mod evaluate {
    #[path = "../src/evaluate/embeddings.rs"]
    pub mod embeddings;
    #[path = "../src/evaluate/metrics.rs"]
    pub mod metrics;
    #[path = "../src/evaluate/trec.rs"]
    pub mod trec;

    pub use embeddings::Embeddings;

    #[path = "."]
    pub mod search {
        #[path = "../src/evaluate/search/half.rs"]
        pub mod half;
        #[path = "../src/evaluate/search/index.rs"]
        pub mod index;
        #[path = "../src/evaluate/search/shard.rs"]
        pub mod shard;
        #[path = "../src/evaluate/search/texts.rs"]
        pub mod texts;
    }
}

/// Token caches, read only: writing them needs a tokenizer.
#[path = "."]
pub mod tokens {
    #[path = "../src/tokens/store.rs"]
    pub mod store;
}

/// Stand-ins for what parsers name of the arithmetic.
#[path = "."]
pub mod ops {
    #[path = "../src/ops/simd.rs"]
    mod simd;
    pub use simd::{Kernel, wide};

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Pool {
        Mean,
        First,
    }
}

/// candle's types of numbers, as far as weights have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    F32,
    F64,
    F16,
    BF16,
}

impl DType {
    /// Bytes a number.
    pub const fn size_in_bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

/// As in the program's own root.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
