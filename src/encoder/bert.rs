//! BERT (Devlin et al. 2019), `LaBSE`'s architecture: positions are numbered from zero.

/// Values of `model_type` that are this architecture.
pub const MODEL_TYPES: [&str; 1] = ["bert"];

/// What a checkpoint's tensor names may start with.
pub const PREFIXES: [&str; 3] = ["", "bert.", "model."];

/// Row of the position table that a text's first token takes.
pub const FIRST_POSITION: usize = 0;
