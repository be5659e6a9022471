//! What an evaluation says of every single question, read back from its directory.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use polars::prelude::{DataFrame, ParquetReader, SerReader, Series};

use super::Place;
use crate::evaluate::metrics::{METRICS, of_graded};
use crate::evaluate::record::{Cell, Evaluation, MULTI_POOL, PoolRanks, Protocol, Setting};
use crate::spec::Missing;

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
    /// Reads an evaluation directory: `metric` in every setting, and the rank distance. Directories of version 2 keep no
    /// ranks of single questions in the strict pool, which is left out then.
    ///
    /// Values are computed from the ranks of each question and held against the directory's own cells, so that no test
    /// is made on other numbers than the table shows.
    ///
    /// # Errors
    /// Where a file is missing or broken, the metric was not measured, or ranks of single questions do not give the
    /// cells, as in directories of version 2 where a question has several relevant passages in one language.
    pub fn read(dir: &Path, metric: &str) -> Result<Self> {
        let evaluation = crate::evaluate::read(dir)?;
        crate::evaluate::check_file(dir, "queries.parquet")?;
        let path = dir.join("queries.parquet");
        let table = columns(&path, &evaluation.languages)?;
        Self::collect(&evaluation, &table, metric).with_context(|| path.display().to_string())
    }

    fn collect(evaluation: &Evaluation, table: &DataFrame, metric: &str) -> Result<Self> {
        let codes = &evaluation.languages;
        let ranks = Ranks::read(table, codes)?;
        let wanted = |c: &&Cell| {
            (c.setting != Setting::Strict || ranks.strict.is_some())
                && (c.metric == metric || c.metric == "rank_distance")
        };
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
        let (ids, languages, asked) = (texts("question_id")?, texts("language")?, texts("text")?);
        let distance = reals("rank_distance")?;
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|i| (&ids[*i], &languages[*i], &asked[*i]));

        let missing = evaluation.protocol.missing;
        let mut values = Vec::with_capacity(ids.len());
        let mut sums = vec![(0.0, 0usize); cells.len()];
        // Cells of each question language.
        let of_language: Vec<Vec<usize>> = (0..codes.len())
            .map(|l| (0..cells.len()).filter(|i| cells[*i].query_language == l).collect())
            .collect();
        for &i in &order {
            let language = codes.iter().position(|c| *c == languages[i]);
            let language = language.with_context(|| format!("language '{}'", languages[i]))?;
            let mut row = Vec::with_capacity(of_language[language].len());
            for &cell in &of_language[language] {
                let value = if cells[cell].metric == "rank_distance" {
                    Some(distance[i]).filter(|v| v.is_finite())
                } else {
                    let (pool, grades) = match (cells[cell].setting, cells[cell].passage_language) {
                        (_, Some(passage)) => (Some(&ranks.own[passage]), ranks.own_grades.get(passage)),
                        (Setting::Strict, None) => (ranks.strict.as_ref(), ranks.strict_grades.as_ref()),
                        (_, None) => (Some(&ranks.multi), ranks.multi_grades.as_ref()),
                    };
                    let ranks = pool.and_then(|pool| pool[i].as_deref());
                    let grades = grades.and_then(|grades| grades[i].as_deref()).unwrap_or_default();
                    ranks.and_then(|ranks| match of_graded(ranks, grades) {
                        Some(values) => at.map(|at| values[at]),
                        None => (missing == Missing::Zero).then_some(0.0),
                    })
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
                "{}: the single questions give {mean} over {n}, the table says {} over {}; directories \
                 from before version 3 keep one rank a language, so this cannot be tested where several passages of a \
                 language are relevant: evaluate again",
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

    pub(super) fn has_strict(&self) -> bool {
        self.places.iter().any(|place| place.setting == Setting::Strict)
    }

    /// The same without the strict pool, whose cells are the last.
    pub(super) fn without_strict(&self) -> Self {
        let kept = self.places.partition_point(|place| place.setting != Setting::Strict);
        let mut rest = self.clone();
        rest.places.truncate(kept);
        rest.values.iter_mut().for_each(|row| row.retain(|(cell, _)| *cell < kept));
        rest
    }

    /// The macro means that a results table shows: the metric in each setting, and the rank distance. Each with its
    /// cells.
    pub(super) fn means(&self) -> Vec<(Place, Vec<usize>)> {
        let wanted = Setting::ALL
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

/// The ranks of all questions, by pool.
struct Ranks {
    own: Vec<Vec<PoolRanks>>,
    multi: Vec<PoolRanks>,
    strict: Option<Vec<PoolRanks>>,
    /// Grades in the order of the ranks; none where all are 1.
    own_grades: Vec<Vec<PoolRanks>>,
    multi_grades: Option<Vec<PoolRanks>>,
    strict_grades: Option<Vec<PoolRanks>>,
}

impl Ranks {
    fn read(table: &DataFrame, codes: &[String]) -> Result<Self> {
        if table.column("multi_ranks").is_err() {
            return Self::best(table, codes);
        }
        let lists = |name: &str| -> Result<Vec<PoolRanks>> {
            let numbers = |series: &Series| Ok(series.u32()?.iter().flatten().collect());
            table
                .column(name)?
                .list()?
                .amortized_iter()
                .map(|l| l.map(|l| numbers(l.as_ref())).transpose())
                .collect()
        };
        let own = |what: &str| -> Result<Vec<Vec<PoolRanks>>> {
            codes.iter().map(|code| lists(&format!("{what}_{code}"))).collect()
        };
        let has_grades = table.column("multi_grades").is_ok();
        let grades = |name: &str| has_grades.then(|| lists(name)).transpose();
        Ok(Self {
            own: own("ranks")?,
            multi: lists("multi_ranks")?,
            strict: Some(lists("strict_ranks")?),
            own_grades: if has_grades { own("grades")? } else { Vec::new() },
            multi_grades: grades("multi_grades")?,
            strict_grades: grades("strict_grades")?,
        })
    }

    /// Of directories before version 3: the best rank in each language's pool, and in that of all.
    fn best(table: &DataFrame, codes: &[String]) -> Result<Self> {
        let ranks = |prefix: &str| -> Result<Vec<Vec<u32>>> {
            let column = |code: &String| {
                let column = table.column(&format!("{prefix}_{code}"))?;
                Ok(column.u32()?.iter().map(|v| v.unwrap_or(0)).collect())
            };
            codes.iter().map(column).collect()
        };
        let known = |ranks: Vec<u32>| (!ranks.is_empty()).then_some(ranks);
        let (own, pool) = (ranks("rank")?, ranks("pool_rank")?);
        let multi = |i: usize| {
            let mut all: Vec<u32> = pool.iter().map(|column| column[i]).filter(|r| *r > 0).collect();
            all.sort_unstable();
            known(all)
        };
        let one = |rank: u32| (rank > 0).then(|| vec![rank]);
        Ok(Self {
            own: own.into_iter().map(|column| column.into_iter().map(one).collect()).collect(),
            multi: (0..table.height()).map(multi).collect(),
            strict: None,
            own_grades: Vec::new(),
            multi_grades: None,
            strict_grades: None,
        })
    }
}

/// The columns that are needed; the first passages with their texts, most of the file, are left out.
fn columns(path: &Path, languages: &[String]) -> Result<DataFrame> {
    let file = File::open(path)
        .with_context(|| format!("{}: cannot read (the evaluation is incomplete)", path.display()))?;
    let mut reader = ParquetReader::new(file);
    let is_wanted = |name: &str| {
        let of_language =
            |prefix: &str| name.strip_prefix(prefix).is_some_and(|l| languages.iter().any(|c| c == l));
        ["question_id", "language", "text", "rank_distance", "multi_ranks", "strict_ranks"].contains(&name)
            || ["multi_grades", "strict_grades"].contains(&name)
            || ["rank_", "pool_rank_", "ranks_", "grades_"].into_iter().any(of_language)
    };
    let schema = reader.schema().with_context(|| format!("{}: not a Parquet table", path.display()))?;
    let names = schema.iter_names().filter(|name| is_wanted(name)).map(ToString::to_string).collect();
    let table = reader.with_columns(Some(names)).finish();
    table.with_context(|| format!("{}: not a table of questions", path.display()))
}
