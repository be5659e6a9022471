//! Several sources side by side: means, the difference of the first two for each language pair, settings.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::Source;
use crate::evaluate::{Evaluation, MULTI_POOL, Protocol, Setting, read};

/// Sources side by side; every `values` has one entry a source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub sources: Vec<String>,
    pub metric: String,
    /// Macro means of the metric in each setting, and the rank distance, for each dataset.
    pub scores: Vec<ScoreRow>,
    /// The second source against the first.
    pub differences: Vec<Difference>,
    /// Settings that are not equal everywhere.
    pub config: Vec<KeyRow>,
    /// Why some numbers may not be compared.
    pub warnings: Vec<String>,
}

/// One mean.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoreRow {
    pub dataset: String,
    pub setting: String,
    pub metric: String,
    pub values: Vec<Option<f64>>,
}

/// One language pair of the first two sources.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    pub dataset: String,
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

/// Compares the last evaluations of the sources.
///
/// # Errors
/// Below two sources, where a source has no evaluation, and where none knows the metric.
pub fn compare(sources: &[Source], metric: &str) -> Result<Comparison> {
    ensure!(sources.len() > 1, "give at least two runs to compare");
    let mut read_all: Vec<BTreeMap<String, Evaluation>> = Vec::new();
    let mut datasets: Vec<String> = Vec::new();
    for source in sources {
        source.measured()?;
        let mut own = BTreeMap::new();
        for measured in source.last() {
            if !datasets.contains(&measured.dataset) {
                datasets.push(measured.dataset.clone());
            }
            own.insert(measured.dataset.clone(), read(&measured.dir)?);
        }
        read_all.push(own);
    }
    let mut known: Vec<&str> = Vec::new();
    for cell in read_all.iter().flat_map(BTreeMap::values).flat_map(|e| &e.cells) {
        if !known.contains(&cell.metric.as_str()) {
            known.push(&cell.metric);
        }
    }
    ensure!(known.contains(&metric), "metric '{metric}': not measured; there are: {}", known.join(", "));

    let (mut scores, mut differences, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for dataset in &datasets {
        let evaluations: Vec<Option<&Evaluation>> = read_all.iter().map(|own| own.get(dataset)).collect();
        scores.extend(score_rows(dataset, metric, &evaluations));
        if let [Some(first), Some(second), ..] = evaluations.as_slice() {
            differences.extend(pair_differences(dataset, metric, first, second));
        }
        let present: Vec<(&str, &Protocol)> = sources
            .iter()
            .zip(&evaluations)
            .filter_map(|(s, e)| e.map(|e| (s.name.as_str(), &e.protocol)))
            .collect();
        warnings.extend(mismatches(dataset, &present));
    }
    let sources_config = sources.iter().map(config).collect::<Result<Vec<_>>>()?;
    Ok(Comparison {
        sources: sources.iter().map(|s| s.name.clone()).collect(),
        metric: metric.to_owned(),
        scores,
        differences,
        config: unequal(&sources_config),
        warnings,
    })
}

fn score_rows(dataset: &str, metric: &str, evaluations: &[Option<&Evaluation>]) -> Vec<ScoreRow> {
    let summaries: Vec<_> = evaluations.iter().map(|e| e.map(Evaluation::summary)).collect();
    let mut wanted: Vec<(&str, &str)> = Setting::ALL.iter().map(|s| (s.name(), metric)).collect();
    if metric != "rank_distance" {
        wanted.push(("multi", "rank_distance"));
    }
    let row = |(setting, metric): (&str, &str)| {
        let value = |scores: &Vec<crate::train::Score>| {
            scores.iter().find(|s| s.setting == setting && s.metric == metric).map(|s| s.value)
        };
        let values: Vec<Option<f64>> = summaries.iter().map(|s| s.as_ref().and_then(value)).collect();
        values.iter().any(Option::is_some).then(|| ScoreRow {
            dataset: dataset.to_owned(),
            setting: setting.to_owned(),
            metric: metric.to_owned(),
            values,
        })
    };
    wanted.into_iter().filter_map(row).collect()
}

fn pair_differences(dataset: &str, metric: &str, first: &Evaluation, second: &Evaluation) -> Vec<Difference> {
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
        let mut unequal = Vec::new();
        let mut check = |what: &str, a: &dyn std::fmt::Display, b: &dyn std::fmt::Display| {
            let (a, b) = (a.to_string(), b.to_string());
            if a != b {
                unequal.push(format!("{what} {a} and {b}"));
            }
        };
        let short = |hash: &str| hash.chars().take(12).collect::<String>();
        check("data", &short(&first.dataset_hash), &short(&other.dataset_hash));
        check("questions", &first.questions, &other.questions);
        check("passages", &first.passages, &other.passages);
        check("candidate", &first.candidate, &other.candidate);
        check("question tokens at most", &first.max_query_tokens, &other.max_query_tokens);
        check("passage tokens at most", &first.max_passage_tokens, &other.max_passage_tokens);
        check("ties:", &first.tie_rule, &other.tie_rule);
        check("file version", &first.version, &other.version);
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
    /// The differences of one dataset as a matrix: question languages, then for each the values by passage language.
    #[must_use]
    pub fn matrix(&self, dataset: &str) -> (Vec<String>, Vec<MatrixRow>) {
        let own: Vec<&Difference> = self.differences.iter().filter(|d| d.dataset == dataset).collect();
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
