//! Several runs side by side: means, differences from the first for each language pair, settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use serde::Serialize;

use super::{Estimate, Measured, Source, estimate};
use crate::evaluate::significance::{self, Significance};
use crate::evaluate::{Evaluation, MULTI_POOL, Protocol, Setting, read};
use crate::train::Score;

/// Sources side by side; every `values` has one entry a source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub sources: Vec<String>,
    pub metric: String,
    /// Macro means of the metric in each setting, and the rank distance, for each dataset.
    pub scores: Vec<ScoreRow>,
    /// Every other side against the first.
    pub differences: Vec<Difference>,
    /// Tests of every other side against the first, where they were asked for.
    pub significance: Vec<TestedSide>,
    /// Settings that are not equal everywhere.
    pub config: Vec<KeyRow>,
    /// Why some numbers may not be compared.
    pub warnings: Vec<String>,
}

/// The tests of one side against the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TestedSide {
    pub other: String,
    #[serde(flatten)]
    pub table: Significance,
}

/// One mean.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoreRow {
    pub dataset: String,
    pub setting: String,
    pub metric: String,
    /// Means over the runs of each side.
    pub values: Vec<Option<f64>>,
    /// What repeated runs say of those means; `None` for a single run.
    pub seeds: Vec<Option<Spread>>,
}

/// The spread of a macro mean over runs that differ in their seed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Runs.
    pub n: usize,
    pub sd: f64,
    /// Ends of the 95% t interval of the mean over seeds, on these questions.
    pub low: f64,
    pub high: f64,
}

impl From<Estimate> for Spread {
    fn from(estimate: Estimate) -> Self {
        let (low, high) = estimate.interval().unwrap_or((f64::NAN, f64::NAN));
        Self { n: estimate.n, sd: estimate.sd.unwrap_or(f64::NAN), low, high }
    }
}

/// One language pair of the first side and another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    pub dataset: String,
    /// The side that the first is subtracted from.
    pub other: String,
    pub setting: String,
    pub query_language: String,
    /// `*` is the multilingual pool.
    pub passage_language: String,
    pub n: usize,
    pub first: f64,
    pub second: f64,
    /// Second minus first.
    pub difference: f64,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeyRow {
    pub key: String,
    pub values: Vec<Option<String>>,
}

/// The settings of a source as dotted keys: its spec, or the protocol of its evaluations where there is no run.
///
/// # Errors
/// Where an evaluation cannot be read.
pub fn config(source: &Source) -> Result<BTreeMap<String, String>> {
    let mut flat = BTreeMap::new();
    if let Some(spec) = &source.spec {
        flatten("", &serde_json::to_value(spec)?, &mut flat);
    } else {
        for measured in source.measured()? {
            let protocol = read(&measured.dir)?.protocol;
            flatten("", &serde_json::to_value(protocol)?, &mut flat);
        }
    }
    Ok(flat)
}

fn flatten(prefix: &str, value: &serde_json::Value, flat: &mut BTreeMap<String, String>) {
    match value {
        serde_json::Value::Object(entries) => {
            for (key, value) in entries {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&key, value, flat);
            }
        }
        serde_json::Value::String(text) => {
            flat.insert(prefix.to_owned(), text.clone());
        }
        other => {
            flat.insert(prefix.to_owned(), other.to_string());
        }
    }
}

/// What is one column of a comparison: a run, or several that differ in their seed.
#[derive(Clone, Debug)]
pub struct Side {
    /// What it is called in tables.
    pub name: String,
    pub sources: Vec<Source>,
}

impl From<Source> for Side {
    fn from(source: Source) -> Self {
        Self { name: source.name.clone(), sources: vec![source] }
    }
}

impl Side {
    /// Runs of one spec with several seeds, as one.
    ///
    /// # Errors
    /// Where the runs differ in more than seed and name, or in less: the error names the settings.
    pub fn of_seeds(name: &str, sources: Vec<Source>) -> Result<Self> {
        if let [one] = sources.as_slice() {
            return Ok(Self { name: name.to_owned(), sources: vec![one.clone()] });
        }
        let mut seen: Vec<(std::path::PathBuf, &str)> = Vec::new();
        let mut seeds: Vec<(u64, &str)> = Vec::new();
        for source in &sources {
            for measured in source.last() {
                let dir = measured.dir.canonicalize().unwrap_or_else(|_| measured.dir.clone());
                ensure!(seen.iter().all(|(d, _)| *d != dir), "'{name}': '{}' is given twice", source.name);
                seen.push((dir, &source.name));
            }
            let Some(spec) = &source.spec else { continue };
            if let Some((seed, other)) = seeds.iter().find(|(seed, _)| *seed == spec.seed) {
                bail!(
                    "'{name}': '{other}' and '{}' have the same seed, {seed}; they are one run",
                    source.name
                );
            }
            seeds.push((spec.seed, &source.name));
        }
        let configs = sources.iter().map(config).collect::<Result<Vec<_>>>()?;
        let differing: Vec<String> = unequal(&configs)
            .into_iter()
            .map(|row| row.key)
            .filter(|key| !SEED_KEYS.contains(&key.as_str()))
            .collect();
        ensure!(
            differing.is_empty(),
            "'{name}': runs of a group may differ in their seed only; these differ in {}",
            differing.join(", ")
        );
        Ok(Self { name: name.to_owned(), sources })
    }

    /// The last evaluation on each dataset, by the dataset's own name, of each source.
    pub(super) fn directories(&self) -> Result<Vec<BTreeMap<String, PathBuf>>> {
        self.sources
            .iter()
            .map(|source| {
                source.measured()?;
                let dataset = |m: &&Measured| Ok((read(&m.dir)?.protocol.dataset, m.dir.clone()));
                source.last().iter().map(dataset).collect()
            })
            .collect()
    }
}

/// Settings in which the runs of one group may differ.
const SEED_KEYS: [&str; 5] = ["seed", "name", "description", "polymix", "model"];

/// Compares the last evaluations of the sides.
///
/// # Errors
/// Below two sides, where a source has no evaluation, and where none knows the metric.
pub fn compare(sides: &[Side], metric: &str) -> Result<Comparison> {
    ensure!(sides.len() > 1, "give at least two runs to compare");
    // For each side and dataset the evaluations of its sources.
    let mut read_all: Vec<BTreeMap<String, Vec<Evaluation>>> = Vec::new();
    let mut datasets: Vec<String> = Vec::new();
    for side in sides {
        let mut own: BTreeMap<String, Vec<Evaluation>> = BTreeMap::new();
        for (dataset, dir) in side.directories()?.into_iter().flatten() {
            if !datasets.contains(&dataset) {
                datasets.push(dataset.clone());
            }
            own.entry(dataset).or_default().push(read(&dir)?);
        }
        read_all.push(own);
    }
    let mut known: Vec<&str> = Vec::new();
    for cell in read_all.iter().flat_map(BTreeMap::values).flatten().flat_map(|e| &e.cells) {
        if !known.contains(&cell.metric.as_str()) {
            known.push(&cell.metric);
        }
    }
    ensure!(known.contains(&metric), "metric '{metric}': not measured; there are: {}", known.join(", "));

    let (mut scores, mut differences, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for dataset in &datasets {
        let groups: Vec<Option<&Vec<Evaluation>>> = read_all.iter().map(|own| own.get(dataset)).collect();
        scores.extend(score_rows(dataset, metric, &groups));
        let means: Vec<Option<Evaluation>> = groups.iter().map(|g| g.and_then(|g| mean(g))).collect();
        if let Some((Some(first), others)) = means.split_first() {
            for (other, side) in others.iter().zip(&sides[1..]) {
                if let Some(other) = other {
                    differences.extend(pair_differences(dataset, metric, &side.name, first, other));
                }
            }
        }
        let mut present: Vec<(&str, &Protocol)> = Vec::new();
        for (side, group) in sides.iter().zip(&groups) {
            match group {
                Some(group) => present.extend(group.iter().map(|e| (side.name.as_str(), &e.protocol))),
                None => warnings.push(format!("'{}' was not evaluated on {dataset}", side.name)),
            }
        }
        warnings.extend(mismatches(dataset, &present));
    }
    let mut configs = Vec::new();
    for side in sides {
        let mut own = side.sources.first().map_or_else(|| Ok(BTreeMap::new()), config)?;
        if side.sources.len() > 1 {
            // What the group itself varies is no setting of the group.
            own.retain(|key, _| !SEED_KEYS.contains(&key.as_str()));
        }
        configs.push(own);
    }
    Ok(Comparison {
        sources: sides.iter().map(|s| s.name.clone()).collect(),
        metric: metric.to_owned(),
        scores,
        differences,
        significance: Vec::new(),
        config: unequal(&configs),
        warnings,
    })
}

/// The evaluation whose cells are the means of the group's; of a group that has not the same cells nothing.
fn mean(group: &[Evaluation]) -> Option<Evaluation> {
    let mut mean = group.first()?.clone();
    for cell in &mut mean.cells {
        let code = |l: usize| group[0].languages[l].as_str();
        let mut sum = 0.0;
        for own in group {
            let place = |l: usize| own.languages.iter().position(|c| c == code(l));
            let passage = match cell.passage_language {
                None => None,
                Some(l) => Some(place(l)?),
            };
            sum += own.cell(cell.setting, &cell.metric, place(cell.query_language)?, passage)?.value;
        }
        cell.value = sum / group.len() as f64;
    }
    Some(mean)
}

fn score_rows(dataset: &str, metric: &str, groups: &[Option<&Vec<Evaluation>>]) -> Vec<ScoreRow> {
    let summaries: Vec<Vec<Vec<Score>>> = groups
        .iter()
        .map(|group| group.map_or_else(Vec::new, |g| g.iter().map(Evaluation::summary).collect()))
        .collect();
    let mut wanted: Vec<(&str, &str)> = Setting::ALL.iter().map(|s| (s.name(), metric)).collect();
    if metric != "rank_distance" {
        wanted.push(("multi", "rank_distance"));
    }
    let row = |(setting, metric): (&str, &str)| {
        let value = |scores: &Vec<Score>| {
            scores.iter().find(|s| s.setting == setting && s.metric == metric).map(|s| s.value)
        };
        let estimates: Vec<Option<Estimate>> = summaries
            .iter()
            .map(|group| estimate(&group.iter().filter_map(value).collect::<Vec<f64>>()))
            .collect();
        estimates.iter().any(Option::is_some).then(|| ScoreRow {
            dataset: dataset.to_owned(),
            setting: setting.to_owned(),
            metric: metric.to_owned(),
            values: estimates.iter().map(|e| e.map(|e| e.mean)).collect(),
            seeds: estimates.iter().map(|e| e.filter(|e| e.n > 1).map(Spread::from)).collect(),
        })
    };
    wanted.into_iter().filter_map(row).collect()
}

fn pair_differences(
    dataset: &str,
    metric: &str,
    name: &str,
    first: &Evaluation,
    second: &Evaluation,
) -> Vec<Difference> {
    let place = |code: &str| second.languages.iter().position(|l| l == code);
    first
        .cells
        .iter()
        .filter(|c| c.metric == metric)
        .filter_map(|cell| {
            let code = |l: usize| first.languages[l].as_str();
            let passage = match cell.passage_language {
                None => None,
                Some(l) => Some(place(code(l))?),
            };
            let other = second.cell(cell.setting, metric, place(code(cell.query_language))?, passage)?;
            Some(Difference {
                dataset: dataset.to_owned(),
                other: name.to_owned(),
                setting: cell.setting.name().to_owned(),
                query_language: code(cell.query_language).to_owned(),
                passage_language: cell.passage_language.map_or(MULTI_POOL, code).to_owned(),
                n: cell.n.min(other.n),
                first: cell.value,
                second: other.value,
                difference: other.value - cell.value,
            })
        })
        .collect()
}

/// What must be equal before two numbers may be compared, and is not. Prefixes, pooling and the model belong to what
/// is compared.
pub(super) fn mismatches(dataset: &str, protocols: &[(&str, &Protocol)]) -> Vec<String> {
    let Some(((first_name, first), others)) = protocols.split_first() else { return Vec::new() };
    let mut found = Vec::new();
    for (name, other) in others {
        let mut unequal = significance::unequal(first, other);
        let mut check = |what: &str, a: usize, b: usize| {
            if a != b {
                unequal.push(format!("{what} {a} and {b}"));
            }
        };
        check("question tokens at most", first.max_query_tokens, other.max_query_tokens);
        check("passage tokens at most", first.max_passage_tokens, other.max_passage_tokens);
        check("file version", first.version as usize, other.version as usize);
        if !unequal.is_empty() {
            let what = unequal.join("; ");
            found.push(format!("{dataset}: '{first_name}' and '{name}' were measured differently: {what}"));
        }
    }
    found
}

fn unequal(configs: &[BTreeMap<String, String>]) -> Vec<KeyRow> {
    let keys: std::collections::BTreeSet<&String> = configs.iter().flat_map(BTreeMap::keys).collect();
    keys.into_iter()
        .map(|key| KeyRow { key: key.clone(), values: configs.iter().map(|c| c.get(key).cloned()).collect() })
        .filter(|row| row.values.windows(2).any(|w| w[0] != w[1]))
        .collect()
}

/// A question language and its values by passage language.
pub type MatrixRow = (String, Vec<Option<f64>>);

impl Comparison {
    /// The differences of another side from the first on one dataset as a matrix: question languages, then for each the
    /// values by passage language.
    #[must_use]
    pub fn matrix(&self, dataset: &str, other: &str) -> (Vec<String>, Vec<MatrixRow>) {
        let own: Vec<&Difference> =
            self.differences.iter().filter(|d| d.dataset == dataset && d.other == other).collect();
        let (mut queries, mut passages): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        for difference in &own {
            if !queries.contains(&difference.query_language) {
                queries.push(difference.query_language.clone());
            }
        }
        // The same order for both sides; the pool of all languages last.
        let multi = |d: &&&Difference| d.passage_language == MULTI_POOL;
        for code in queries.iter().chain(own.iter().filter(|d| !multi(d)).map(|d| &d.passage_language)) {
            let exists = own.iter().any(|d| &d.passage_language == code);
            if exists && !passages.contains(code) {
                passages.push(code.clone());
            }
        }
        if own.iter().any(|d| multi(&d)) {
            passages.push(MULTI_POOL.to_owned());
        }
        let value = |query: &str, passage: &str| {
            let same = |d: &&&Difference| d.query_language == query && d.passage_language == passage;
            own.iter().find(same).map(|d| d.difference)
        };
        let rows =
            queries.iter().map(|q| (q.clone(), passages.iter().map(|p| value(q, p)).collect())).collect();
        (passages, rows)
    }
}
