//! Evaluation: ranks every question against every pool from one encode, and measures.
//!
//! Definitions: mono(a) ranks the questions of language a against the passages of a; cross(a, b) against those
//! of b; multi(a) against the union of all languages, where every parallel relevant passage counts; `multi_strict(a)`
//! against that union without language a.

pub mod alignment;
mod bias;
mod cells;
mod distribution;
mod embeddings;
mod fairness;
mod groups;
mod metrics;
mod rank;
mod record;
pub mod robustness;
pub mod script;
pub mod search;
pub mod significance;
mod store;
mod stream;
mod tally;
mod top;
pub mod trec;

pub use bias::TopShare;
pub use cells::measure;
pub use distribution::chi_square_above;
pub use embeddings::Embeddings;
pub use fairness::{Fairness, Friedman, FriedmanValues, Peer, Stratum, friedman, peer};
pub use groups::{GroupMean, Grouping, group_means};
pub use metrics::{Extremes, Judged, METRICS, Metric, REPORTED, average_precision, of_graded, of_ranks};
pub use rank::{NotFinite, Passages, QuestionExtremes, RankOptions, Ranks, rank};
pub use record::{
    Cell, Evaluation, LanguageBias, MULTI_POOL, Protocol, QueryRow, QuestionGrades, QuestionRanks, Setting,
};
pub use store::{QueryView, TopPassage, check_file, read, read_protocol, read_queries, write};
pub use top::TopK;
