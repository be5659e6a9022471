//! An evaluation laid out for the screens: one matrix a metric, built once when it is read.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::evaluate::{
    self, Cell, Evaluation, Fairness, GroupMean, Grouping, LanguageBias, Protocol, Setting, TopShare,
    group_means,
};
use crate::report::Source;
use crate::report::paper::{self, Beside};
use crate::train::Score;

/// Metrics that the screens offer, where the evaluation has them.
pub const SHOWN: [&str; 12] = [
    "map",
    "recall@1",
    "recall@10",
    "success@1",
    "success@10",
    "mrr",
    "ndcg@10",
    "map_cut_10",
    "map_norm_10",
    "map_cut_20",
    "map_norm_20",
    "rank_distance",
];

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

    /// Mean over the passage languages of a row but its own.
    #[must_use]
    pub fn cross_mean(&self, row: usize) -> f64 {
        mean((0..self.size).filter(|c| *c != row).filter_map(|c| self.get(row, c)))
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
    /// Micro means.
    pub micro: Vec<Score>,
    /// Cells of the pool without the question's own language.
    pub strict: Vec<Cell>,
    /// Means by script, then by family.
    pub groups: Vec<(Grouping, GroupMean)>,
    pub fairness: Fairness,
    pub histogram: Vec<TopShare>,
    /// Beside the published numbers: every sampling of the closest model; empty on other datasets.
    pub paper: Vec<Beside>,
    /// Of published numbers: by metric and language, the mean over the other passage languages.
    pub cross_rows: BTreeMap<String, Vec<f64>>,
    matrices: BTreeMap<String, Matrix>,
}

impl Scores {
    /// Reads an evaluation directory.
    ///
    /// # Errors
    /// Where a file is missing, broken, or of a newer version.
    pub fn read(dir: &Path) -> Result<Self> {
        let evaluation = evaluate::read(dir)?;
        let source = Source::of_dir(dir)?;
        let paper = source
            .evaluations
            .first()
            .map(|m| paper::all_samplings(&source, m, &evaluation))
            .unwrap_or_default();
        Ok(Self { paper, ..Self::new(evaluation) })
    }

    /// The published numbers of one sampling that stand beside these, as an evaluation to subtract: only the diagonal
    /// and the multilingual column have values, and the cross-lingual row means stand in [`Self::cross_rows`].
    #[must_use]
    pub fn published(&self, sampling: &str) -> Self {
        let size = self.languages.len();
        let (mut matrices, mut cross_rows) = (BTreeMap::new(), BTreeMap::new());
        let mut means = Vec::new();
        for row in self.paper.iter().filter(|row| row.sampling == sampling) {
            let (setting, metric) = (row.setting.to_owned(), row.metric.to_owned());
            let Some(query) = self.languages.iter().position(|l| l == row.language) else {
                means.push(Score { setting, metric, value: row.published });
                continue;
            };
            if row.setting == "cross" {
                let rows = cross_rows.entry(metric).or_insert_with(|| vec![f64::NAN; size]);
                rows[query] = row.published;
                continue;
            }
            let matrix: &mut Matrix = matrices.entry(metric).or_insert_with(|| Matrix::new(size));
            let at = query * (size + 1) + if row.setting == "mono" { query } else { size };
            matrix.values[at] = row.published;
            matrix.counts[at] = row.n;
        }
        Self {
            languages: self.languages.clone(),
            protocol: self.protocol.clone(),
            notes: Vec::new(),
            bias: Vec::new(),
            means,
            micro: Vec::new(),
            strict: Vec::new(),
            groups: Vec::new(),
            fairness: Fairness::default(),
            histogram: Vec::new(),
            paper: Vec::new(),
            cross_rows,
            matrices,
        }
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
                (Setting::Multi, _) => size,
                // It has a table of its own; the heatmap's last column is the whole pool.
                (Setting::Strict, _) | (Setting::Cross, None) => continue,
            };
            if cell.query_language < size && column <= size {
                let at = cell.query_language * (size + 1) + column;
                matrix.values[at] = cell.value;
                matrix.counts[at] = cell.n;
            }
        }
        let of = |grouping| group_means(&evaluation, grouping).into_iter().map(move |mean| (grouping, mean));
        Self {
            groups: of(Grouping::Script).chain(of(Grouping::Family)).collect(),
            means: evaluation.summary(),
            micro: evaluation.micro(),
            strict: evaluation.cells.iter().filter(|c| c.setting == Setting::Strict).cloned().collect(),
            fairness: evaluation.fairness,
            histogram: evaluation.histogram,
            paper: Vec::new(),
            cross_rows: BTreeMap::new(),
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
