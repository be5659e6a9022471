//! Whether two evaluations differ by more than chance, for every cell of the results table and their macro means.
//!
//! Pairs are questions; clusters are question ids, as translations of one question are not independent (on XQuAD-R 1,190
//! clusters, not 13,090 questions). Two single runs are compared by a sign-flip test and bootstrap intervals over
//! clusters; two groups of runs that differ in their seed by a test over seeds and clusters. P-values are adjusted by
//! Holm's method within two families: the macro means, and all languages and pairs.

mod outcomes;
mod pair;

use serde::Serialize;

pub use outcomes::Outcomes;
pub use pair::{compare, compare_groups, unequal};

use super::record::Setting;
use crate::statistics::holm;

/// One number of a results table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Place {
    pub setting: Setting,
    pub metric: String,
    /// `None` for a macro mean.
    pub query_language: Option<String>,
    /// `*` for the multilingual pool; `None` for a macro mean.
    pub passage_language: Option<String>,
}

impl Place {
    /// True for a mean over languages or ordered pairs.
    #[must_use]
    pub fn is_mean(&self) -> bool {
        self.query_language.is_none()
    }

    /// `cross map en → de`, for messages.
    #[must_use]
    pub fn label(&self) -> String {
        let languages: Vec<&str> = [&self.query_language, &self.passage_language]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        let languages = if languages.is_empty() { "macro mean".to_owned() } else { languages.join(" to ") };
        format!("{} {} {languages}", self.setting.name(), self.metric)
    }
}

/// One number of the first against the same of the second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tested {
    #[serde(flatten)]
    pub place: Place,
    /// Questions; 0 for a macro mean.
    pub n: usize,
    /// Question ids behind it.
    pub clusters: usize,
    pub first: f64,
    pub second: f64,
    /// Second minus first.
    pub difference: f64,
    /// Ends of the 95% confidence interval of the difference, for this number alone; `None` below two clusters.
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub p: f64,
    /// Adjusted by Holm's method within the family.
    pub p_holm: f64,
}

impl Tested {
    /// `***` below .001, `**` below .01, `*` below .05, by the adjusted p-value; else nothing.
    #[must_use]
    pub fn mark(&self) -> &'static str {
        match self.p_holm {
            p if p < 0.001 => "***",
            p if p < 0.01 => "**",
            p if p < 0.05 => "*",
            _ => "",
        }
    }

    /// True where the adjusted p-value is below .05.
    #[must_use]
    pub fn is_significant(&self) -> bool {
        self.p_holm < 0.05
    }
}

/// What was done to get the p-values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Test {
    /// Sign flips of clusters, and bootstrap intervals (`BCa`) over clusters.
    SignFlips { assignments: usize, is_exact: bool, bootstrap: usize, seed: u64 },
    /// Welch and Satterthwaite's t over seeds and clusters.
    SeedsAndClusters { first_seeds: usize, second_seeds: usize },
}

/// A whole table of the first against the second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Significance {
    pub dataset: String,
    /// Beside it rows of `rank_distance`.
    pub metric: String,
    pub test: Test,
    /// Question ids.
    pub clusters: usize,
    pub questions: usize,
    /// Sizes of the two families that Holm's correction is made in.
    pub family_means: usize,
    pub family_cells: usize,
    /// Macro means, then languages and pairs.
    pub rows: Vec<Tested>,
}

impl Significance {
    /// The row of a place.
    #[must_use]
    pub fn find(&self, setting: &str, metric: &str, languages: Option<(&str, &str)>) -> Option<&Tested> {
        self.rows.iter().find(|row| {
            let place = &row.place;
            let own = place.query_language.as_deref().zip(place.passage_language.as_deref());
            place.setting.name() == setting && place.metric == metric && own == languages
        })
    }

    /// The test in words: what is tested, how, and over what it is corrected.
    #[must_use]
    pub fn explanation(&self) -> String {
        let test = match self.test {
            Test::SignFlips { assignments, is_exact, bootstrap, seed } => {
                let how = if is_exact { "all" } else { "random" };
                format!(
                    "paired sign-flip test, two-sided: would swapping the two for whole question ids change nothing? \
                     {assignments} {how} sign assignments; intervals: 95%, BCa bootstrap of {bootstrap} draws, not \
                     adjusted; seed {seed}"
                )
            }
            Test::SeedsAndClusters { first_seeds, second_seeds } => format!(
                "Welch-Satterthwaite t-test, two-sided: is the expected difference over training seeds and questions 0? \
                 {first_seeds} and {second_seeds} seeds, crossed with the question ids; intervals: 95%, t, not adjusted"
            ),
        };
        format!(
            "{test}.\nClusters: {} question ids ({} questions). Holm's correction in two families: {} macro means; {} \
             languages and pairs.",
            self.clusters, self.questions, self.family_means, self.family_cells
        )
    }

    /// The least adjusted p-value that a cell can reach; above .05 no cell can be marked.
    #[must_use]
    pub fn least_cell(&self) -> f64 {
        let least = match self.test {
            Test::SignFlips { assignments, is_exact: true, .. } => 2.0 / assignments.max(2) as f64,
            Test::SignFlips { assignments, .. } => 1.0 / (assignments + 1) as f64,
            Test::SeedsAndClusters { .. } => 0.0,
        };
        (least * self.family_cells as f64).min(1.0)
    }
}

/// Adjusts the p-values of tables that are shown together: their macro means are one family, their cells another.
pub fn adjust(tables: &mut [Significance]) {
    let family = |tables: &mut [Significance], is_mean: bool| {
        let own = |row: &&mut Tested| row.place.is_mean() == is_mean;
        let rows: Vec<&mut Tested> = tables.iter_mut().flat_map(|t| &mut t.rows).filter(own).collect();
        let size = rows.len();
        let adjusted = holm(&rows.iter().map(|row| row.p).collect::<Vec<f64>>());
        rows.into_iter().zip(adjusted).for_each(|(row, p)| row.p_holm = p);
        size
    };
    let (means, cells) = (family(tables, true), family(tables, false));
    for table in tables {
        (table.family_means, table.family_cells) = (means, cells);
    }
}
