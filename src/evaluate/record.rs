//! What an evaluation found, and under which protocol.

use serde::{Deserialize, Serialize};

/// Which pool a question is ranked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// Passages of the question's own language.
    Mono,
    /// Passages of one other language.
    Cross,
    /// Passages of all languages.
    Multi,
}

/// In tables, the passage "language" of the multilingual pool.
pub const MULTI_POOL: &str = "*";

/// One number: the mean of `metric` over `n` questions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    pub setting: Setting,
    /// `map`, `mrr`, `recall@1`, `recall@10`, `success@1`, `success@10`, `ndcg@10`, `rank_distance`, ...
    pub metric: String,
    /// Index into [`Evaluation::languages`].
    pub query_language: usize,
    /// Index into [`Evaluation::languages`]; `None` is the multilingual pool.
    pub passage_language: Option<usize>,
    /// Questions behind the mean.
    pub n: usize,
    pub value: f64,
}

/// One question's own results.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryRow {
    /// Index into the dataset's questions.
    pub question: u32,
    /// Rank (from 1) of the best relevant passage within each language's own passages; 0: none relevant.
    pub rank_by_language: Vec<u32>,
    /// Rank (from 1) of the relevant passage of each language in the multilingual pool; 0: none relevant.
    pub multi_rank_by_language: Vec<u32>,
    /// Average precision in the multilingual pool.
    pub multi_ap: f64,
    /// Highest minus lowest rank among the relevant passages in the multilingual pool; NaN below two.
    pub rank_distance: f64,
    /// The first passages of the multilingual ranking, as indices into the dataset's passages.
    pub top: Vec<u32>,
    /// Their scores.
    pub top_scores: Vec<f32>,
}

/// Everything that must be equal before two results may be compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// Version of the files.
    pub version: u32,
    pub polymix: String,
    pub model: String,
    pub dataset: String,
    pub dataset_hash: String,
    pub questions: usize,
    pub passages: usize,
    /// `sentence` or `sentence+context`.
    pub candidate: String,
    pub pooling: String,
    pub query_prefix: String,
    pub passage_prefix: String,
    pub max_query_tokens: usize,
    pub max_passage_tokens: usize,
    /// Questions and passages cut at those lengths.
    pub truncated_questions: usize,
    pub truncated_passages: usize,
    /// How equal scores are ordered.
    pub tie_rule: String,
}

/// The results of one model on one dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    pub protocol: Protocol,
    pub languages: Vec<String>,
    pub cells: Vec<Cell>,
    pub queries: Vec<QueryRow>,
    /// Remarks that a reader should see, for example a wide tie band.
    pub notes: Vec<String>,
}
