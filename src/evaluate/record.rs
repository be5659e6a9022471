//! What an evaluation found, and under which protocol.

use serde::{Deserialize, Serialize};

use super::bias::TopShare;
use super::fairness::Fairness;
use crate::spec::Missing;
use crate::train::Score;

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
    /// Passages of all languages but the question's own, which are neither answers nor candidates: `multi_strict`. What
    /// monolingual retrieval contributes to [`Self::Multi`] is not in it.
    #[serde(rename = "multi_strict")]
    Strict,
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

/// Ranks (from 1, ascending) of a question's relevant passages in a pool; empty where there is nothing to find, `None`
/// where the question does not belong to the pool.
pub type PoolRanks = Option<Vec<u32>>;

/// A question's ranks in every pool: all that its metrics are made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuestionRanks {
    /// By language: among that language's passages.
    pub own: Vec<PoolRanks>,
    /// In the multilingual pool.
    pub multi: PoolRanks,
    /// In the pool without the question's own language.
    pub strict: PoolRanks,
    pub grades: QuestionGrades,
}

/// The grades of a question's relevant passages in each pool, in the order of their ranks; nothing where the dataset's
/// labels are all 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuestionGrades {
    /// By language: among that language's passages.
    pub own: Vec<Vec<u32>>,
    /// In the multilingual pool.
    pub multi: Vec<u32>,
    /// In the pool without the question's own language.
    pub strict: Vec<u32>,
}

impl QuestionGrades {
    /// Among the passages of a language.
    #[must_use]
    pub fn own(&self, language: usize) -> &[u32] {
        self.own.get(language).map_or(&[], Vec::as_slice)
    }
}

/// One question's own results.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryRow {
    /// Index into the dataset's questions.
    pub question: u32,
    pub ranks: QuestionRanks,
    /// Rank (from 1) of the best relevant passage within each language's own passages; 0: none relevant.
    pub rank_by_language: Vec<u32>,
    /// Rank (from 1) of the relevant passage of each language in the multilingual pool; 0: none relevant.
    pub multi_rank_by_language: Vec<u32>,
    /// Average precision in the multilingual pool.
    pub multi_ap: f64,
    /// Average precision in the pool without the question's own language; NaN without an answer there.
    pub strict_ap: f64,
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
    /// Answers, of the data that say where they stand, that lie behind the cut of their passage.
    #[serde(default)]
    pub lost_answers: usize,
    /// How equal scores are ordered.
    pub tie_rule: String,
    /// What a question without an answer in the pool counts. Records from before this was said left them out.
    #[serde(default = "left_out")]
    pub missing: Missing,
    /// Labels with a grade above 1, which nDCG goes by (linear gain). Records from before this was said took all for 1.
    #[serde(default, skip_serializing_if = "is_none")]
    pub graded_labels: usize,
    /// Questions that are passages too, and are not ranked against themselves. Records from before this was said ranked them.
    #[serde(default, skip_serializing_if = "is_none")]
    pub without_itself: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_none(count: &usize) -> bool {
    *count == 0
}

fn left_out() -> Missing {
    Missing::Skip
}

impl Protocol {
    /// Names what must be equal before numbers may be compared: data, candidate text, lengths, tie rule, missing
    /// answers, grades, questions that are not ranked against themselves. Model, prefixes and pooling belong to what is compared. Twelve hexadecimal digits of a SHA-256.
    #[must_use]
    pub fn id(&self) -> String {
        use sha2::{Digest, Sha256};
        let mut parts = vec![
            self.dataset_hash.clone(),
            self.questions.to_string(),
            self.passages.to_string(),
            self.candidate.clone(),
            self.max_query_tokens.to_string(),
            self.max_passage_tokens.to_string(),
            self.tie_rule.clone(),
            self.missing.name().to_owned(),
        ];
        // Only where there are some: all others keep their id.
        if self.graded_labels > 0 {
            parts.push(format!("graded {}", self.graded_labels));
        }
        if self.without_itself > 0 {
            parts.push(format!("without itself {}", self.without_itself));
        }
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.finalize().iter().take(6).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    /// The protocol as JSON with its [`id`](Self::id) as `protocol`: what every result file carries.
    #[must_use]
    pub fn stated(&self) -> serde_json::Value {
        let mut object = serde_json::Map::new();
        object.insert("protocol".into(), self.id().into());
        if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(self) {
            object.extend(fields);
        }
        serde_json::Value::Object(object)
    }
}

/// How the multilingual pool treats one language. What was not measured is NaN.
#[derive(Clone, Debug, PartialEq)]
pub struct LanguageBias {
    /// Index into [`Evaluation::languages`].
    pub language: usize,
    /// Mean and median rank distance over the questions of this language; NaN without parallel passages.
    pub rank_distance: f64,
    pub rank_distance_median: f64,
    /// Questions of this language with at least two relevant passages: those behind the rank distances.
    pub questions: usize,
    /// Mean of the rank distance minus its least value, R - 1.
    pub rank_distance_excess: f64,
    /// Mean of the rank distance over the largest possible, the size of the pool minus 1.
    pub rank_distance_share: f64,
    /// Mean difference between the ranks of two relevant passages of a question: not by the extremes alone.
    pub rank_difference: f64,
    /// Mean rank of the relevant passages of this language, over the questions of all languages.
    pub passage_rank: f64,
    /// Share of this language among the first ten passages of all questions.
    pub top10_share: f64,
    /// Share of this language in the pool: what the former would be without bias.
    pub pool_share: f64,
    /// Of this language's questions with a wrong first passage: the share whose first passage is in their own language.
    pub wrong_top1_own: f64,
    /// Questions of this language with a wrong first passage.
    pub wrong_top1: usize,
    /// That share over the language's share of the pool: 1 without a preference for the question's language.
    pub own_preference: f64,
}

impl LanguageBias {
    /// A language of which nothing was measured.
    #[must_use]
    pub const fn unmeasured(language: usize) -> Self {
        Self {
            language,
            rank_distance: f64::NAN,
            rank_distance_median: f64::NAN,
            questions: 0,
            rank_distance_excess: f64::NAN,
            rank_distance_share: f64::NAN,
            rank_difference: f64::NAN,
            passage_rank: f64::NAN,
            top10_share: f64::NAN,
            pool_share: f64::NAN,
            wrong_top1_own: f64::NAN,
            wrong_top1: 0,
            own_preference: f64::NAN,
        }
    }
}

/// The results of one model on one dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    pub protocol: Protocol,
    pub languages: Vec<String>,
    pub cells: Vec<Cell>,
    /// One row a language.
    pub bias: Vec<LanguageBias>,
    /// Tests of language fairness, and rank distance by the number of answers.
    pub fairness: Fairness,
    /// Languages of the first passages.
    pub histogram: Vec<TopShare>,
    pub queries: Vec<QueryRow>,
    /// Remarks that a reader should see, for example a wide tie band.
    pub notes: Vec<String>,
}

impl Setting {
    /// `mono`, `cross` or `multi`, as in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mono => "mono",
            Self::Cross => "cross",
            Self::Multi => "multi",
            Self::Strict => "multi_strict",
        }
    }

    /// All, in the order of tables.
    pub const ALL: [Self; 4] = [Self::Mono, Self::Cross, Self::Multi, Self::Strict];

    /// The setting of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
}

impl Evaluation {
    /// Macro means over languages (mono, multi) or ordered language pairs (cross), for every metric.
    #[must_use]
    pub fn summary(&self) -> Vec<Score> {
        self.means(|cells| cells.iter().map(|c| c.value).sum::<f64>() / cells.len() as f64)
    }

    /// Micro means: every question counts the same.
    #[must_use]
    pub fn micro(&self) -> Vec<Score> {
        self.means(|cells| {
            let n: usize = cells.iter().map(|c| c.n).sum();
            cells.iter().map(|c| c.value * c.n as f64).sum::<f64>() / n.max(1) as f64
        })
    }

    fn means(&self, mean: impl Fn(&[&Cell]) -> f64) -> Vec<Score> {
        let mut metrics: Vec<&str> = Vec::new();
        for cell in &self.cells {
            if !metrics.contains(&cell.metric.as_str()) {
                metrics.push(&cell.metric);
            }
        }
        let mut scores = Vec::new();
        for setting in Setting::ALL {
            for metric in &metrics {
                let cells: Vec<&Cell> = self
                    .cells
                    .iter()
                    .filter(|c| c.setting == setting && c.metric == *metric && c.n > 0)
                    .collect();
                if !cells.is_empty() {
                    let (setting, metric) = (setting.name().to_owned(), (*metric).to_owned());
                    scores.push(Score { setting, metric, value: mean(&cells) });
                }
            }
        }
        scores
    }

    /// The cell of a setting, metric and language pair; `None` as passage language is the multilingual pool.
    #[must_use]
    pub fn cell(
        &self,
        setting: Setting,
        metric: &str,
        query: usize,
        passage: Option<usize>,
    ) -> Option<&Cell> {
        self.cells.iter().find(|c| {
            c.setting == setting
                && c.metric == metric
                && c.query_language == query
                && c.passage_language == passage
        })
    }
}
