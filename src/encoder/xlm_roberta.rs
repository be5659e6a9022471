//! XLM-R (Conneau et al. 2020): BERT's layers; positions are numbered from the padding token's id plus one.

use super::config::EncoderConfig;

/// Values of `model_type` that are this architecture.
pub const MODEL_TYPES: [&str; 3] = ["xlm-roberta", "roberta", "camembert"];

/// What a checkpoint's tensor names may start with.
pub const PREFIXES: [&str; 4] = ["", "roberta.", "xlm_roberta.", "model."];

/// Row of the position table that a text's first token takes.
pub const fn first_position(config: &EncoderConfig) -> usize {
    config.pad_token_id + 1
}
