//! Every metric against NIST's `trec_eval` on random runs full of ties (`scripts/golden/trec_eval.py`).
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

#[path = "common/made.rs"]
mod made;

use std::collections::BTreeMap;

use polymix::corpus::{Group, Passage, Question};
use polymix::evaluate::Setting;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
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
        let found = made::evaluate("golden", &dataset, &scores);
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
