//! The batch plan: which pairs stand in the batch of which training step.
//!
//! The plan is a pure function of (spec, data, seed, step). It keeps no iterator: resuming costs nothing and gives
//! the same batches bit for bit, the setup screen previews the very plan that will run, and tests compare plans.

mod clusters;
mod fitting;
mod kind;
mod layout;
mod permute;
mod plan;
mod source;

pub use clusters::{Clusters, Plain, text_hash};
pub use kind::Kind;
pub use layout::{Layout, NONE, Negatives, Owners, distinct};
pub use plan::{Batch, Pair, Plan};
