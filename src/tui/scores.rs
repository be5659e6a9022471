//! An evaluation laid out for the screens: one matrix a metric, built once when it is read.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::evaluate::{self, Evaluation, LanguageBias, Protocol, Setting};
use crate::train::Score;

/// Metrics that the screens offer, where the evaluation has them.
pub const SHOWN: [&str; 8] =
    ["map", "recall@1", "recall@10", "success@1", "success@10", "mrr", "ndcg@10", "rank_distance"];

/// `[query language, passage language]`, with the multilingual pool as last column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    size: usize,
    values: Vec<f64>,
    counts: Vec<usize>,
}

impl Matrix {
    fn new(size: usize) -> Self {
        let cells = size * (size + 1);
        Self { size, values: vec![f64::NAN; cells], counts: vec![0; cells] }
    }

    /// Value and number of questions; `None` where nothing was measured. Column `size` is the multilingual pool.
    #[must_use]
    pub fn get(&self, row: usize, column: usize) -> Option<(f64, usize)> {
        if row >= self.size || column > self.size {
            return None;
        }
        let at = row * (self.size + 1) + column;
        (self.counts[at] > 0 && self.values[at].is_finite()).then(|| (self.values[at], self.counts[at]))
    }

    /// Mean over the passage languages (not the pool) of a row.
    #[must_use]
    pub fn row_mean(&self, row: usize) -> f64 {
        mean((0..self.size).filter_map(|c| self.get(row, c)))
    }
}

fn mean(cells: impl Iterator<Item = (f64, usize)>) -> f64 {
    let (sum, count) = cells.fold((0.0, 0usize), |(sum, count), (value, _)| (sum + value, count + 1));
    sum / count as f64
}

/// One evaluation directory as the screens see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    pub languages: Vec<String>,
    pub protocol: Protocol,
    pub notes: Vec<String>,
    pub bias: Vec<LanguageBias>,
    /// Macro means.
    pub means: Vec<Score>,
    matrices: BTreeMap<String, Matrix>,
}

impl Scores {
    /// Reads an evaluation directory.
    ///
    /// # Errors
    /// Where a file is missing, broken, or of a newer version.
    pub fn read(dir: &Path) -> Result<Self> {
        Ok(Self::new(evaluate::read(dir)?))
    }

    /// From an evaluation in memory.
    #[must_use]
    pub fn new(evaluation: Evaluation) -> Self {
        let size = evaluation.languages.len();
        let mut matrices: BTreeMap<String, Matrix> = BTreeMap::new();
        for cell in &evaluation.cells {
            let matrix = matrices.entry(cell.metric.clone()).or_insert_with(|| Matrix::new(size));
            let column = match (cell.setting, cell.passage_language) {
                (Setting::Mono, _) => cell.query_language,
                (Setting::Cross, Some(passage)) => passage,
                (Setting::Cross, None) => continue,
                (Setting::Multi, _) => size,
                // It has a table of its own; the heatmap's last column is the whole pool.
                (Setting::Strict, _) => continue,
            };
            if cell.query_language < size && column <= size {
                let at = cell.query_language * (size + 1) + column;
                matrix.values[at] = cell.value;
                matrix.counts[at] = cell.n;
            }
        }
        Self {
            means: evaluation.summary(),
            languages: evaluation.languages,
            protocol: evaluation.protocol,
            notes: evaluation.notes,
            bias: evaluation.bias,
            matrices,
        }
    }

    /// The matrix of a metric.
    #[must_use]
    pub fn matrix(&self, metric: &str) -> Option<&Matrix> {
        self.matrices.get(metric)
    }

    /// The metrics that the screens offer here.
    #[must_use]
    pub fn metrics(&self) -> Vec<&'static str> {
        SHOWN.into_iter().filter(|m| self.matrices.contains_key(*m)).collect()
    }

    /// The macro mean of a setting and metric.
    #[must_use]
    pub fn mean(&self, setting: &str, metric: &str) -> Option<f64> {
        self.means.iter().find(|s| s.setting == setting && s.metric == metric).map(|s| s.value)
    }

    /// Why the other's numbers cannot be set against these; `None` where they can.
    #[must_use]
    pub fn differs_in_protocol(&self, other: &Self) -> Option<String> {
        let (a, b) = (&self.protocol, &other.protocol);
        let pairs = [
            ("dataset", a.dataset.as_str(), b.dataset.as_str()),
            ("dataset contents", a.dataset_hash.as_str(), b.dataset_hash.as_str()),
            ("candidate text", a.candidate.as_str(), b.candidate.as_str()),
            ("tie rule", a.tie_rule.as_str(), b.tie_rule.as_str()),
        ];
        let differing: Vec<&str> =
            pairs.iter().filter(|(_, x, y)| x != y).map(|(name, _, _)| *name).collect();
        (!differing.is_empty()).then(|| format!("not the same {}", differing.join(", ")))
    }
}
