//! What the tests of the screens are made of.

use std::path::PathBuf;
use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::message::{Effect, EvaluationRef, Message, Plan, Preset, RunRow};
use super::model::Model;
use super::scores::Scores;
use super::theme::Name;
use super::update::update;
use super::view::view;
use crate::evaluate::significance::{Place, Significance, Test, Tested};
use crate::evaluate::{
    Cell, Evaluation, Fairness, LanguageBias, MULTI_POOL, Protocol, QueryView, Setting, TopPassage,
};
use crate::run::{Phase, Preview, PreviewBatch, RunDir, RunSummary};
use crate::spec::{ExperimentSpec, Missing, SamplingSpec};
use crate::train::{DrawnPairs, Event, Record, Score};

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
            rank_distance: 10.0 * level + language as f64,
            rank_distance_median: language as f64,
            passage_rank: 5.0 + language as f64,
            top10_share: 1.0 / size as f64,
            pool_share: 1.0 / size as f64,
            ..LanguageBias::unmeasured(language)
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
        lost_answers: 0,
        tie_rule: "none".into(),
        missing: Missing::Zero,
        graded_labels: 0,
        without_itself: 0,
    };
    Scores::new(Evaluation {
        protocol,
        languages: codes,
        cells,
        bias,
        fairness: Fairness::default(),
        histogram: Vec::new(),
        queries: Vec::new(),
        notes: Vec::new(),
    })
}

/// Tests of an evaluation over the first codes in `map`: whatever has its passage in the first language is significant,
/// and the macro mean of the multilingual pool.
pub fn tested(size: usize) -> Significance {
    let codes = scores(size, 0.0).languages;
    let row = |setting, query: Option<&String>, passage: Option<&str>, p_holm| Tested {
        place: Place {
            setting,
            metric: "map".into(),
            query_language: query.cloned(),
            passage_language: passage.map(str::to_owned),
        },
        n: 40,
        clusters: 40,
        first: 0.3,
        second: 0.4,
        difference: 0.1,
        low: Some(0.05),
        high: Some(0.15),
        p: p_holm / 10.0,
        p_holm,
    };
    let mut rows = vec![
        row(Setting::Mono, None, None, 0.5),
        row(Setting::Cross, None, None, 0.06),
        row(Setting::Multi, None, None, 0.01),
    ];
    for (q, query) in codes.iter().enumerate() {
        rows.extend(codes.iter().enumerate().map(|(p, passage)| {
            let setting = if p == q { Setting::Mono } else { Setting::Cross };
            row(setting, Some(query), Some(passage), if p == 0 { 0.01 } else { 0.5 })
        }));
        rows.push(row(Setting::Multi, Some(query), Some(MULTI_POOL), 0.5));
    }
    Significance {
        dataset: "made".into(),
        metric: "map".into(),
        test: Test::SignFlips { assignments: 10_000, is_exact: false, bootstrap: 10_000, seed: 42 },
        clusters: 40,
        questions: 40 * size,
        family_means: 3,
        family_cells: rows.len() - 3,
        rows,
    }
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
            problem: None,
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

pub fn text(model: &Model, size: (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).expect("a terminal");
    terminal.draw(|frame| view(model, frame)).expect("drawn");
    let buffer = terminal.backend().buffer().clone();
    let line = |cells: &[ratatui::buffer::Cell]| {
        let (mut line, mut column) = (String::new(), 0);
        while let Some(cell) = cells.get(column) {
            line += cell.symbol();
            // A wide grapheme covers the cells behind it.
            column += super::text::width(cell.symbol()).max(1);
        }
        line + "\n"
    };
    buffer.content.chunks(usize::from(size.0).max(1)).map(line).collect()
}

pub fn press(model: &mut Model, code: KeyCode) -> Vec<Effect> {
    update(model, Message::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

pub fn keys(model: &mut Model, text: &str) -> Vec<Effect> {
    text.chars().flat_map(|c| press(model, KeyCode::Char(c))).collect()
}

pub fn record(event: Event) -> Record {
    Record { v: 1, time: 1_000_000.0, event }
}

pub fn started(languages: &[String]) -> Record {
    record(Event::Started {
        step: 0,
        steps: 100,
        batch: 64,
        device: "cpu".into(),
        languages: languages.to_vec(),
        parameters: 1_234_567,
        groups: 400,
        undrawn: Vec::new(),
        hard_negatives: 0,
    })
}

pub fn step(step: usize, loss: Option<f64>) -> Record {
    let kind = if step.is_multiple_of(2) { "X-Y" } else { "X-X-mono" };
    record(Event::Step {
        step,
        kind: kind.into(),
        language: None,
        loss,
        learning_rate: 1e-3,
        grad_norm: loss,
        pairs: 64,
        tokens: 1000,
        seconds: 0.1,
    })
}

/// What the demo would take.
fn estimate() -> crate::run::Estimate {
    crate::run::Estimate {
        weights: 8_800_000,
        gradients: 8_800_000,
        optimiser: 17_600_000,
        activations: 120_000_000,
        program: 60_000_000,
        evaluating: 90_000_000,
        peak: 215_200_000,
        batches: 16,
        longest: 3210,
        pairs: 32,
        negatives: 31,
        hard_negatives: 0.0,
        step_flops: 1e10,
        evaluation_flops: 1e11,
        training_seconds: 70.0,
        validation_seconds: 0.5,
        evaluation_seconds: 12.0,
        notes: Vec::new(),
        problem: None,
    }
}

pub fn preview() -> Plan {
    let pairs = |one: u16, two: u16| vec![(one, two); 4];
    let batch = |step, kind: &str, pairs| PreviewBatch { step, kind: kind.into(), pairs };
    let batches = Preview {
        languages: ["ar", "de", "en"].map(str::to_owned).to_vec(),
        groups: 400,
        batches: vec![batch(0, "X-X-mono", pairs(1, 1)), batch(1, "X-Y", pairs(0, 2))],
        counts: vec![0, 5, 2, 1, 9, 0, 3, 3, 1200],
        drawn_over: 2,
        question_length: 40.0,
        unit: "characters",
        passage_length: 80.0,
    };
    Plan { batches, device: "cpu".into(), estimate: estimate() }
}

pub fn questions() -> Vec<QueryView> {
    let texts =
        ["ما العاصمة؟", "Was ist das, né? 👩‍🚀", "中文问题是什么？", "ภาษาไทยคืออะไร กี่ที่", "यह क्या है? क्षत्रिय"];
    (0..60)
        .map(|i| QueryView {
            strict_ap: 0.25,
            id: format!("q{i}"),
            language: ["ar", "de", "en"][i % 3].into(),
            domain: "d".into(),
            text: texts[i % 5].repeat(1 + i % 5),
            ap: 0.5,
            rank_distance: 3.0,
            ranks: vec![i as u32 + 1, 1, 2],
            pool_ranks: vec![i as u32 + 1, 0, 2],
            top: vec![TopPassage {
                id: "p".into(),
                language: "ar".into(),
                score: 0.5,
                relevant: i % 2 == 0,
                text: texts[(i + 1) % 5].repeat(20),
            }],
        })
        .collect()
}

/// A workbench with three runs, an evaluation, a training history with a hole, and a plan.
pub fn full(languages: usize) -> Model {
    let mut model = Model::new(Name::Dark, false, true);
    update(
        &mut model,
        Message::Presets(vec![
            Preset { name: "demo".into(), origin: "bundled".into(), spec: Ok(Box::default()) },
            Preset { name: "broken".into(), origin: "x.toml".into(), spec: Err("no".into()) },
        ]),
    );
    let generation = model.setup.generation;
    update(&mut model, Message::Preview { generation, result: Ok(Box::new(preview())) });
    let rows = vec![row("a-001", Some(0.5), 1.0), row("b-002", None, 0.0), row("c-003", Some(0.1), 0.5)];
    let effects = update(&mut model, Message::Runs(1_000_100.0, rows));
    let dir =
        effects.into_iter().find_map(|e| if let Effect::LoadScores(dir) = e { Some(dir) } else { None });
    let dir = dir.expect("the newest evaluation is read");
    let found = scores(languages, 0.4);
    let codes = found.languages.clone();
    update(&mut model, Message::Scores { dir: dir.clone(), result: Ok(Arc::new(found)) });
    update(&mut model, Message::Questions { dir, result: Ok(Arc::new(questions())) });
    let mut records = vec![started(&codes)];
    records.extend((1..=60).map(|s| step(s, (s != 30).then(|| 5.0 / f64::from(s as u32)))));
    records.push(record(Event::Drawn(DrawnPairs {
        step: 60,
        counts: (0..(languages * languages) as u64).collect(),
    })));
    records.push(record(Event::Validation { step: 50, loss: Some(1.0), best: true }));
    for step in [50, 100] {
        let score = |setting: &str| Score { setting: setting.into(), metric: "map".into(), value: 0.5 };
        let scores = ["mono", "cross", "multi"].map(score).to_vec();
        records.push(record(Event::Evaluation { step, dataset: "made".into(), scores, seconds: 1.0 }));
    }
    let run = model.active.clone().expect("the newest run is open").path;
    update(&mut model, Message::Records { run, reset: true, records, state: None, log: vec!["note".into()] });
    model
}
