//! Every metric against NIST's `trec_eval` on random runs full of ties (`scripts/golden/trec_eval.py`).
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

#[path = "common/made.rs"]
mod made;
#[path = "common/python.rs"]
mod python;

use std::collections::BTreeMap;

use polymix::corpus::{Group, Passage, Question};
use polymix::evaluate::trec::{parse_qrels, parse_run, score};
use polymix::evaluate::{METRICS, Protocol, RankOptions, Setting, measure};
use polymix::spec::Missing;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
    /// The names of the values in `runs`.
    metrics: Vec<String>,
    runs: Vec<RunFile>,
}

/// A TREC run file and its labels.
#[derive(Deserialize)]
struct RunFile {
    run: String,
    qrels: String,
    /// The line that repeats a document.
    repeated: Option<usize>,
    /// By query that is judged and ranked: the values of `metrics`.
    queries: BTreeMap<String, Vec<f64>>,
    /// Judged queries.
    judged: usize,
    /// By judged query: relevant documents.
    relevant: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
struct Case {
    passages: Vec<Document>,
    questions: Vec<Topic>,
}

#[derive(Deserialize)]
struct Document {
    language: String,
    id: String,
}

#[derive(Deserialize)]
struct Topic {
    language: String,
    /// Scores times 8.
    eighths: Vec<u16>,
    relevant: Vec<u32>,
    /// By pool (a language, or `*`), then by metric.
    expected: BTreeMap<String, BTreeMap<String, f64>>,
}

/// 200 run files with ties, scores that differ beyond f32, graded and negative labels, queries that are missing on
/// either side, and repeated documents.
#[test]
fn two_hundred_run_files_score_as_trec_eval_says() {
    let golden: Golden = serde_json::from_str(include_str!("golden/trec_eval.json")).unwrap();
    assert_eq!(golden.runs.len(), 200);
    let (mut repeated, mut missing, mut empty, mut graded, mut values) = (0, 0, 0, 0, 0);
    for (number, case) in golden.runs.iter().enumerate() {
        let mut text = case.run.clone();
        if let Some(line) = case.repeated {
            let error = format!("{:#}", parse_run(&text, "a run").unwrap_err());
            assert!(
                error.contains(&format!("a run, line {line}: ")) && error.contains("a second time"),
                "{error}"
            );
            text = text.lines().take(line - 1).collect::<Vec<_>>().join("\n");
            repeated += 1;
        }
        let (run, qrels) = (parse_run(&text, "run").unwrap(), parse_qrels(&case.qrels, "qrels").unwrap());
        graded += usize::from(qrels.values().flat_map(|q| q.values()).any(|grade| *grade > 1));
        let zero = score(&run, &qrels, Missing::Zero);
        let skip = score(&run, &qrels, Missing::Skip);
        assert_eq!(zero.queries.len(), case.judged, "every judged query counts");
        let full: Vec<&String> = case.queries.keys().filter(|q| case.relevant[*q] > 0).collect();
        assert_eq!(skip.queries.iter().map(|q| &q.id).collect::<Vec<_>>(), full, "run {number}");
        missing += zero.unranked;
        empty += zero.without_relevant;
        for (index, name) in golden.metrics.iter().enumerate() {
            let at = METRICS.iter().position(|m| m == name).unwrap();
            let expected = |id: &str| case.queries.get(id).map_or(0.0, |v| v[index]);
            for query in &zero.queries {
                assert!(
                    (query.values[at] - expected(&query.id)).abs() < 1e-9,
                    "run {number}, {name}: {query:?}"
                );
                values += 1;
            }
            let sum: f64 = case.queries.values().map(|v| v[index]).sum();
            assert!(
                (zero.means[at] - sum / case.judged as f64).abs() < 1e-9,
                "trec_eval -c: run {number}, {name}"
            );
            let sum: f64 = full.iter().map(|q| case.queries[*q][index]).sum();
            assert!(full.is_empty() || (skip.means[at] - sum / full.len() as f64).abs() < 1e-9);
        }
        assert!(zero.extremes.worst <= zero.means[0] + 1e-12 && zero.means[0] <= zero.extremes.best + 1e-12);
    }
    assert_eq!(golden.metrics.len(), METRICS.len(), "every metric is held against trec_eval");
    assert_eq!(repeated, 40);
    assert!(
        missing > 40 && empty > 40 && graded > 100 && values > 10_000,
        "{missing} {empty} {graded} {values}"
    );
}

/// The committed numbers are what the script prints: it is run again where Python has what it needs.
#[test]
fn the_scripts_give_the_committed_numbers() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = tempfile::tempdir().unwrap();
    let scripts = [("trec_eval", "pytrec_eval", "pytrec-eval-terrier"), ("fairness", "scipy", "scipy")];
    for (name, module, package) in scripts {
        let test = "the_scripts_give_the_committed_numbers";
        let Some(python) = python::python(test, module, package) else { continue };
        let out = place.path().join("again.json");
        let script = root.join(format!("scripts/golden/{name}.py"));
        let status = std::process::Command::new(&python).arg(script).arg(&out).status().unwrap();
        assert!(status.success(), "{name}.py: {status}");
        let read = |path: &std::path::Path| -> serde_json::Value {
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
        };
        let (again, committed) = (read(&out), read(&root.join(format!("tests/golden/{name}.json"))));
        alike(&again, &committed, name);
    }
}

/// Equal but for the last digits of numbers and the version of a library.
fn alike(a: &serde_json::Value, b: &serde_json::Value, at: &str) {
    use serde_json::Value::{Array, Number, Object};
    match (a, b) {
        (Number(x), Number(y)) => {
            let (x, y) = (x.as_f64().unwrap(), y.as_f64().unwrap());
            assert!((x - y).abs() <= 1e-10 + 1e-9 * y.abs(), "{at}: {x} {y}");
        }
        (Array(x), Array(y)) => {
            assert_eq!(x.len(), y.len(), "{at}");
            x.iter().zip(y).enumerate().for_each(|(i, (x, y))| alike(x, y, &format!("{at}[{i}]")));
        }
        (Object(x), Object(y)) => {
            assert!(x.keys().eq(y.keys()), "{at}");
            x.iter()
                .filter(|(key, _)| *key != "source")
                .for_each(|(key, x)| alike(x, &y[key], &format!("{at}.{key}")));
        }
        _ => assert_eq!(a, b, "{at}"),
    }
}

#[test]
fn every_metric_equals_trec_eval() {
    let text = include_str!("golden/trec_eval.json");
    let golden: Golden = serde_json::from_str(text).unwrap();
    assert_eq!(golden.cases.len(), 4);
    let mut compared = 0;
    for (number, case) in golden.cases.iter().enumerate() {
        let mut dataset = made::empty(&["aa", "bb", "cc"]);
        for document in &case.passages {
            let language = dataset.language(&document.language).unwrap();
            dataset.passages.push(Passage { id: document.id.clone(), language, text: String::new() });
        }
        // (setting, question language, pool, metric) -> values of trec_eval.
        let mut expected: BTreeMap<(Setting, usize, Option<usize>, &str), Vec<f64>> = BTreeMap::new();
        for (index, topic) in case.questions.iter().enumerate() {
            let language = dataset.language(&topic.language).unwrap();
            dataset.questions.push(Question { group: index as u32, language, text: String::new() });
            let mut questions = vec![None; 3];
            questions[usize::from(language)] = Some(index as u32);
            let relevant = topic.relevant.clone();
            dataset.groups.push(Group { id: format!("q{index}"), domain: 0, questions, relevant });
            for (pool, metrics) in &topic.expected {
                let passage = dataset.language(pool).map(usize::from);
                let setting = match passage {
                    None => Setting::Multi,
                    Some(l) if l == usize::from(language) => Setting::Mono,
                    Some(_) => Setting::Cross,
                };
                for (metric, value) in metrics {
                    let key = (setting, usize::from(language), passage, metric.as_str());
                    expected.entry(key).or_default().push(*value);
                }
            }
        }
        let scores: Vec<Vec<f32>> =
            case.questions.iter().map(|t| t.eighths.iter().map(|&s| f32::from(s) / 8.0).collect()).collect();
        // trec_eval has no value for a pool without a relevant passage.
        let protocol = Protocol { missing: Missing::Skip, ..made::protocol("golden", &dataset) };
        let (questions, passages) = made::embeddings(&dataset, &scores);
        let options = RankOptions::default();
        let found = measure(&dataset, &questions, &passages, protocol, &options, &mut |_, _| Ok(())).unwrap();
        for ((setting, query, passage, metric), values) in expected {
            let cell = found.cell(setting, metric, query, passage).unwrap();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            assert_eq!(cell.n, values.len(), "case {number}: {cell:?}");
            assert!((cell.value - mean).abs() < 1e-9, "case {number}: {cell:?}, trec_eval says {mean}");
            compared += 1;
        }
        for (row, topic) in found.queries.iter().zip(&case.questions) {
            assert!((row.multi_ap - topic.expected["*"]["map"]).abs() < 1e-9, "case {number}: {row:?}");
        }
    }
    assert!(compared > 400, "{compared}");
}
