//! What the tests of the screens are made of.

use std::path::PathBuf;
use std::sync::Arc;

use super::message::{EvaluationRef, RunRow};
use super::scores::Scores;
use crate::evaluate::{Cell, Evaluation, LanguageBias, Protocol, Setting};
use crate::run::{Phase, RunDir, RunSummary};
use crate::spec::{ExperimentSpec, SamplingSpec};
use crate::train::Score;

const CODES: [&str; 11] = ["ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"];

/// An evaluation over the first codes (`en` among them), with values `level + query / 100 + passage / 1000`.
pub fn scores(size: usize, level: f64) -> Scores {
    let mut codes: Vec<String> = CODES.iter().take(size).map(|c| (*c).to_owned()).collect();
    if size == 3 {
        codes[2] = "en".into();
    }
    let mut cells = Vec::new();
    for metric in ["map", "recall@1", "recall@10", "rank_distance"] {
        let scale = if metric == "rank_distance" { 1000.0 } else { 1.0 };
        for query in 0..size {
            for passage in 0..=size {
                let (setting, passage_language) = match passage {
                    p if p == query => (Setting::Mono, Some(p)),
                    p if p < size => (Setting::Cross, Some(p)),
                    _ => (Setting::Multi, None),
                };
                let value = scale * (level + query as f64 / 100.0 + passage as f64 / 1000.0);
                let metric = metric.to_owned();
                cells.push(Cell { setting, metric, query_language: query, passage_language, n: 40, value });
            }
        }
    }
    let bias = (0..size)
        .map(|language| LanguageBias {
            language,
            rank_distance: 10.0 * level + language as f64,
            rank_distance_median: language as f64,
            passage_rank: 5.0 + language as f64,
            top10_share: 1.0 / size as f64,
            pool_share: 1.0 / size as f64,
            wrong_top1_own: f64::NAN,
        })
        .collect();
    let protocol = Protocol {
        version: 1,
        polymix: "0".into(),
        model: "demo".into(),
        dataset: "made".into(),
        dataset_hash: "0".into(),
        questions: 40 * size,
        passages: 40 * size,
        candidate: "sentence".into(),
        pooling: "mean".into(),
        query_prefix: String::new(),
        passage_prefix: String::new(),
        max_query_tokens: 32,
        max_passage_tokens: 128,
        truncated_questions: 0,
        truncated_passages: 0,
        tie_rule: "none".into(),
    };
    Scores::new(Evaluation {
        protocol,
        languages: codes,
        cells,
        bias,
        queries: Vec::new(),
        notes: Vec::new(),
    })
}

/// A finished run.
pub fn row(id: &str, loss: Option<f64>, alpha: f64) -> RunRow {
    let run = RunDir::new(PathBuf::from("/runs").join(id));
    let spec = ExperimentSpec {
        name: id.to_owned(),
        sampling: SamplingSpec::hybrid(alpha),
        ..ExperimentSpec::default()
    };
    let score =
        |setting: &str, metric: &str, value| Score { setting: setting.into(), metric: metric.into(), value };
    RunRow {
        evaluations: vec![EvaluationRef {
            step: 100,
            dataset: "made".into(),
            dir: run.evaluation_dir(100, "made"),
        }],
        summary: RunSummary {
            id: id.to_owned(),
            phase: Phase::Done,
            step: 100,
            steps: 100,
            created: 1_000_000.0,
            message: None,
            spec: Some(spec),
            run,
        },
        loss,
        scores: vec![
            score("multi", "map", 0.5),
            score("mono", "map", 0.8),
            score("multi", "rank_distance", 12.0),
        ],
        curve: Arc::new((0..50).map(|i| (f64::from(i), 5.0 / f64::from(i + 1))).collect()),
    }
}
