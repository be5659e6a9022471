//! Means over the languages of one script, or of one family.

use super::record::{Evaluation, MULTI_POOL, Setting};
use crate::corpus::language;

/// By what languages are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    Script,
    Family,
}

impl Grouping {
    /// `script` or `family`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Script => "script",
            Self::Family => "family",
        }
    }

    /// The group of a language; one that the table does not know is in the group `unknown`.
    #[must_use]
    pub fn of(self, code: &str) -> &'static str {
        match self {
            Self::Script => language::script(code),
            Self::Family => language::family(code),
        }
    }
}

/// The mean of a metric over the cells between two groups of languages.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupMean {
    pub setting: Setting,
    pub metric: String,
    /// Script or family of the question languages.
    pub query_group: &'static str,
    /// Script or family of the passage languages; `*` is the multilingual pool.
    pub passage_group: &'static str,
    /// Languages or language pairs.
    pub cells: usize,
    /// Questions over all cells.
    pub n: usize,
    /// Every cell counts the same.
    pub macro_mean: f64,
    /// Every question counts the same.
    pub micro_mean: f64,
}

/// The means of every metric, by setting, question group and passage group; groups in alphabetical order. A
/// cross-lingual pair within one script or family stands where both groups are the same.
#[must_use]
pub fn group_means(evaluation: &Evaluation, grouping: Grouping) -> Vec<GroupMean> {
    let group = |l: usize| grouping.of(&evaluation.languages[l]);
    let mut metrics: Vec<&str> = Vec::new();
    let mut sums = std::collections::BTreeMap::new();
    for cell in evaluation.cells.iter().filter(|c| c.n > 0) {
        let metric = metrics.iter().position(|m| *m == cell.metric).unwrap_or_else(|| {
            metrics.push(&cell.metric);
            metrics.len() - 1
        });
        let passage = cell.passage_language.map_or(MULTI_POOL, group);
        let key = (cell.setting, metric, group(cell.query_language), passage);
        let (cells, n, plain, weighted) = sums.entry(key).or_insert((0usize, 0usize, 0.0, 0.0));
        *cells += 1;
        *n += cell.n;
        *plain += cell.value;
        *weighted += cell.value * cell.n as f64;
    }
    sums.into_iter()
        .map(|((setting, metric, query_group, passage_group), (cells, n, plain, weighted))| GroupMean {
            setting,
            metric: metrics[metric].to_owned(),
            query_group,
            passage_group,
            cells,
            n,
            macro_mean: plain / cells as f64,
            micro_mean: weighted / n as f64,
        })
        .collect()
}
