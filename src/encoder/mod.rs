//! The trainable encoder: tokenizer, XLM-R and BERT transformer, pooling head, reading and writing checkpoints.
//!
//! candle's own XLM-R and BERT are for inference: fused operations without a backward pass, no dropout. This one is
//! built on [`crate::ops`], computes no padding, and calls its backward passes itself. Weights stay f32; the
//! computation may run in bf16.

mod adapters;
mod bert;
mod charsmap;
mod checkpoint;
mod config;
mod convert;
mod cost;
mod describe;
mod entry;
mod head;
mod initial;
mod layers;
mod layout;
mod model;
mod outline;
mod packed;
mod pickle;
mod prefix;
mod rehearsal;
mod safetensors_file;
mod sentence;
mod sentencepiece;
mod shapes;
mod state;
mod tokenizer;
mod torch_file;
mod transformer;
mod weight_files;
mod weights;
mod words;
mod write;
mod xlm_roberta;

pub use adapters::{
    Adapters, Origin, Route, count as adapter_count, flops as adapter_flops, kept as adapter_kept,
};
pub use checkpoint::{Conversion, ModelFiles, read_tensors};
pub use config::{Architecture, EncoderConfig};
pub use cost::{Form, Load};
pub use describe::{AdapterDescription, Description};
pub use layout::{Gradients, Parameters};
pub use model::{Encoder, Forward};
pub use outline::Outline;
pub use packed::{DropoutRates, Packed};
pub use prefix::{Prefix, PrefixOrigin};
pub use sentence::Dense;
pub use sentencepiece::tokenizer_json;
pub use shapes::{SHAPES, shape};
pub use tokenizer::{TextTokenizer, Tokenised};
pub use write::{write_tensors, write_views};
