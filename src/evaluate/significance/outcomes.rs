//! What an evaluation says of every single question, read back from its directory.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use polars::prelude::{DataFrame, ParquetReader, SerReader};

use super::Place;
use crate::evaluate::metrics::{METRICS, of_ranks};
use crate::evaluate::record::{Cell, Evaluation, MULTI_POOL, Protocol, Setting};

/// Largest distance of a cell from the mean of its questions.
const EXACT: f64 = 1e-9;

/// The values of one metric, and of the rank distance, question by question.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcomes {
    pub protocol: Protocol,
    pub metric: String,
    /// Question id, language, text; ascending.
    pub(super) questions: Vec<(String, String, String)>,
    /// Cells by setting, metric and languages.
    pub(super) places: Vec<Place>,
    /// Cell (ascending) and value of each question, in the order of `questions`.
    pub(super) values: Vec<Vec<(usize, f64)>>,
}

impl Outcomes {
    /// Reads an evaluation directory: `metric` in every setting but the strict one, in whose pool single questions keep no
    /// ranks, and the rank distance.
    ///
    /// Values are computed from the ranks of each question and held against the directory's own cells, so that no test
    /// is made on other numbers than the table shows.
    ///
    /// # Errors
    /// Where a file is missing or broken, the metric was not measured, or ranks of single questions do not give the
    /// cells, as where a question has several relevant passages in one language.
    pub fn read(dir: &Path, metric: &str) -> Result<Self> {
        let evaluation = crate::evaluate::read(dir)?;
        let path = dir.join("queries.parquet");
        let table = columns(&path, &evaluation.languages)?;
        Self::collect(&evaluation, &table, metric).with_context(|| path.display().to_string())
    }

    fn collect(evaluation: &Evaluation, table: &DataFrame, metric: &str) -> Result<Self> {
        let codes = &evaluation.languages;
        let wanted =
            |c: &&Cell| c.setting != Setting::Strict && (c.metric == metric || c.metric == "rank_distance");
        let mut cells: Vec<_> = evaluation.cells.iter().filter(wanted).collect();
        // One order, whatever the order of languages.
        let code = |language: usize| codes[language].as_str();
        cells.sort_by_key(|c| {
            (c.setting, c.metric.as_str(), code(c.query_language), c.passage_language.map(code))
        });
        if !cells.iter().any(|c| c.metric == metric) {
            let mut known: Vec<&str> = evaluation.cells.iter().map(|c| c.metric.as_str()).collect();
            known.sort_unstable();
            known.dedup();
            bail!("metric '{metric}': not measured; there are: {}", known.join(", "));
        }
        let at = METRICS.iter().position(|m| *m == metric);
        ensure!(
            at.is_some() || metric == "rank_distance",
            "metric '{metric}': not a metric of single questions, so there is nothing to test"
        );
        let texts = |name: &str| -> Result<Vec<String>> {
            Ok(table.column(name)?.str()?.iter().map(|v| v.unwrap_or_default().to_owned()).collect())
        };
        let reals = |name: &str| -> Result<Vec<f64>> {
            Ok(table.column(name)?.f64()?.iter().map(|v| v.unwrap_or(f64::NAN)).collect())
        };
        let ranks = |prefix: &str| -> Result<Vec<Vec<u32>>> {
            let column = |code: &String| {
                let column = table.column(&format!("{prefix}_{code}"))?;
                Ok(column.u32()?.iter().map(|v| v.unwrap_or(0)).collect())
            };
            codes.iter().map(column).collect()
        };
        let (ids, languages, asked) = (texts("question_id")?, texts("language")?, texts("text")?);
        let (precision, distance) = (reals("multi_ap")?, reals("rank_distance")?);
        let (own, pool) = (ranks("rank")?, ranks("pool_rank")?);
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|i| (&ids[*i], &languages[*i], &asked[*i]));

        let mut values = Vec::with_capacity(ids.len());
        let mut sums = vec![(0.0, 0usize); cells.len()];
        // Cells of each question language.
        let of_language: Vec<Vec<usize>> = (0..codes.len())
            .map(|l| (0..cells.len()).filter(|i| cells[*i].query_language == l).collect())
            .collect();
        for &i in &order {
            let language = codes.iter().position(|c| *c == languages[i]);
            let language = language.with_context(|| format!("language '{}'", languages[i]))?;
            let mut all: Vec<u32> = pool.iter().map(|column| column[i]).filter(|r| *r > 0).collect();
            all.sort_unstable();
            let of_pool = of_ranks(&all).zip(at).map(|(v, at)| v[at]);
            let mut row = Vec::with_capacity(of_language[language].len());
            for &cell in &of_language[language] {
                let value = match (cells[cell].metric.as_str(), cells[cell].passage_language) {
                    ("rank_distance", _) => Some(distance[i]).filter(|v| v.is_finite()),
                    (_, Some(passage)) => {
                        let rank = Some(own[passage][i]).filter(|r| *r > 0);
                        rank.and_then(|r| of_ranks(&[r])).zip(at).map(|(v, at)| v[at])
                    }
                    ("map", None) => of_pool.map(|_| precision[i]),
                    (_, None) => of_pool,
                };
                if let Some(value) = value {
                    row.push((cell, value));
                    sums[cell].0 += value;
                    sums[cell].1 += 1;
                }
            }
            values.push(row);
        }
        let places: Vec<Place> = cells
            .iter()
            .map(|cell| Place {
                setting: cell.setting,
                metric: cell.metric.clone(),
                query_language: Some(codes[cell.query_language].clone()),
                passage_language: Some(cell.passage_language.map_or(MULTI_POOL, |l| &codes[l]).to_owned()),
            })
            .collect();
        for ((cell, place), (sum, n)) in cells.iter().zip(&places).zip(sums) {
            let mean = sum / n as f64;
            ensure!(
                n == cell.n && (mean - cell.value).abs() <= EXACT * cell.value.abs().max(1.0),
                "{}: the single questions give {mean} over {n}, the table says {} over {}; single questions keep one \
                 rank a language, so this cannot be tested where several passages of a language are relevant",
                place.label(),
                cell.value,
                cell.n
            );
        }
        let questions =
            order.iter().map(|i| (ids[*i].clone(), languages[*i].clone(), asked[*i].clone())).collect();
        let protocol = evaluation.protocol.clone();
        Ok(Self { protocol, metric: metric.to_owned(), questions, places, values })
    }

    /// The macro means that a results table shows: the metric in each setting, and the rank distance. Each with its
    /// cells.
    pub(super) fn means(&self) -> Vec<(Place, Vec<usize>)> {
        let wanted = [Setting::Mono, Setting::Cross, Setting::Multi]
            .into_iter()
            .map(|setting| (setting, self.metric.as_str()))
            .chain((self.metric != "rank_distance").then_some((Setting::Multi, "rank_distance")));
        wanted
            .filter_map(|(setting, metric)| {
                let same = |p: &Place| p.setting == setting && p.metric == metric;
                let own: Vec<usize> = (0..self.places.len()).filter(|i| same(&self.places[*i])).collect();
                let metric = metric.to_owned();
                let place = Place { setting, metric, query_language: None, passage_language: None };
                (!own.is_empty()).then_some((place, own))
            })
            .collect()
    }
}

/// The columns that are needed; the first passages with their texts, most of the file, are left out.
fn columns(path: &Path, languages: &[String]) -> Result<DataFrame> {
    let file = File::open(path)
        .with_context(|| format!("{}: cannot read (the evaluation is incomplete)", path.display()))?;
    let mut names: Vec<String> =
        ["question_id", "language", "text", "multi_ap", "rank_distance"].map(str::to_owned).to_vec();
    for prefix in ["rank", "pool_rank"] {
        names.extend(languages.iter().map(|code| format!("{prefix}_{code}")));
    }
    let table = ParquetReader::new(file).with_columns(Some(names)).finish();
    table.with_context(|| format!("{}: not a table of questions", path.display()))
}
