//! Time of ranking and measuring in XQuAD-R's shape, and the inputs for the same numbers in Python.
//!
//! `cargo bench --bench ranking -- [OUT_DIR]`: 11 languages, 13,090 questions, 13,014 passages, 384 numbers a vector, full
//! ranks, every setting and metric. With `OUT_DIR` it writes `questions.f32`, `passages.f32` (row-major) and
//! `ranking.json` (ids, relevance, cells, seconds), which `scripts/compare-ranking.py` reads.
//!
//! Numbers are whole and small, so that every score is exact in f32 in whatever order it is summed up: both sides rank the
//! same scores. A vector is its question id's, plus its language's, plus its own.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::Path;
use std::time::Instant;

use polymix::corpus::{Dataset, Group, Passage, Question};
use polymix::evaluate::{Embeddings, Protocol, RankOptions, measure};
use polymix::stream::Stream;
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WIDTH: usize = 384;
const GROUPS: usize = 1190;
/// XQuAD-R's languages; their passages add up to its 13,014.
const LANGUAGES: [(&str, usize); 11] = [
    ("ar", 1222),
    ("de", 1276),
    ("el", 1234),
    ("en", 1180),
    ("es", 1215),
    ("hi", 1244),
    ("ru", 1219),
    ("th", 852),
    ("tr", 1167),
    ("vi", 1209),
    ("zh", 1196),
];

fn data() -> (Dataset, Embeddings, Embeddings) {
    let normal = |name: &str, index: usize| -> Vec<f64> {
        let mut stream = Stream::new(3, name, index as u64);
        (0..WIDTH).map(|_| stream.normal()).collect()
    };
    let languages: Vec<Vec<f64>> = (0..LANGUAGES.len()).map(|l| normal("language", l)).collect();
    let vector = |kind: &str, answer: usize, language: usize, own: usize| -> Vec<f32> {
        let (answer, noise) = (normal("answer", answer), normal(kind, own));
        let parts = answer.iter().zip(&languages[language]).zip(&noise);
        parts.map(|((a, l), n)| (12.0 * a + 9.0 * l + 16.0 * n).round().clamp(-100.0, 100.0) as f32).collect()
    };
    let mut passages = Vec::new();
    let mut p = Embeddings { width: WIDTH, data: Vec::new() };
    let mut starts = Vec::new();
    for (l, (code, rows)) in LANGUAGES.iter().enumerate() {
        starts.push(passages.len());
        for row in 0..*rows {
            passages.push(Passage { id: format!("{code}_{row}"), language: l as u16, text: String::new() });
            p.data.extend(vector("passage", row, l, l * 10_000 + row));
        }
    }
    // As in XQuAD-R, a passage answers several questions or none.
    let answers: Vec<usize> = (0..GROUPS).map(|g| g * 852 / GROUPS).collect();
    let mut questions = Vec::new();
    let mut q = Embeddings { width: WIDTH, data: Vec::new() };
    for l in 0..LANGUAGES.len() {
        for (g, answer) in answers.iter().enumerate() {
            questions.push(Question { group: g as u32, language: l as u16, text: String::new() });
            q.data.extend(vector("question", *answer, l, l * 10_000 + g));
        }
    }
    let groups = answers.iter().enumerate().map(|(g, answer)| Group {
        id: format!("q{g}"),
        domain: 0,
        questions: (0..LANGUAGES.len()).map(|l| Some((l * GROUPS + g) as u32)).collect(),
        relevant: starts.iter().map(|start| (start + answer) as u32).collect(),
    });
    let dataset = Dataset {
        name: "made".into(),
        languages: LANGUAGES.iter().map(|(code, _)| (*code).to_owned()).collect(),
        domains: vec!["made".into()],
        groups: groups.collect(),
        questions,
        passages,
        negatives: Vec::new(),
        answers: Vec::new(),
        hash: String::new(),
        inputs: Vec::new(),
        notes: Vec::new(),
        ..Dataset::default()
    };
    (dataset, q, p)
}

fn write(dir: &Path, name: &str, vectors: &Embeddings) {
    let bytes: Vec<u8> = vectors.data.iter().flat_map(|n| n.to_le_bytes()).collect();
    std::fs::write(dir.join(name), bytes).expect(name);
}

fn main() {
    let out = std::env::args().skip(1).find(|a| !a.starts_with("--"));
    let (dataset, questions, passages) = data();
    let protocol: Protocol = serde_json::from_value(json!({
        "version": 1, "polymix": polymix::VERSION, "model": "made", "dataset": "made", "dataset_hash": "",
        "questions": questions.rows(), "passages": passages.rows(), "candidate": "sentence", "pooling": "mean",
        "query_prefix": "", "passage_prefix": "", "max_query_tokens": 1, "max_passage_tokens": 1,
        "truncated_questions": 0, "truncated_passages": 0, "tie_rule": "trec_eval",
    }))
    .expect("protocol");
    let mut times = Vec::new();
    let mut cells = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let options = RankOptions::default();
        let found = measure(&dataset, &questions, &passages, protocol.clone(), &options, &mut |_, _| Ok(()))
            .expect("measured");
        times.push(start.elapsed().as_secs_f64());
        cells = found.cells;
    }
    times.sort_by(f64::total_cmp);
    println!(
        "{} questions, {} passages, {} cells: median {:.2} s, fastest {:.2}, slowest {:.2}",
        questions.rows(),
        passages.rows(),
        cells.len(),
        times[2],
        times[0],
        times[4]
    );
    let Some(out) = out else { return };
    let dir = Path::new(&out);
    std::fs::create_dir_all(dir).expect("output directory");
    write(dir, "questions.f32", &questions);
    write(dir, "passages.f32", &passages);
    let json = json!({
        "width": WIDTH, "seconds": times[2], "languages": dataset.languages, "cells": cells,
        "questions": dataset.questions.iter().map(|q| json!([q.language, q.group])).collect::<Vec<_>>(),
        "passages": dataset.passages.iter().map(|p| json!([p.language, p.id])).collect::<Vec<_>>(),
        "relevant": dataset.groups.iter().map(|g| g.relevant.clone()).collect::<Vec<_>>(),
    });
    std::fs::write(dir.join("ranking.json"), json.to_string()).expect("ranking.json");
    println!("written to {out}; now: python scripts/compare-ranking.py {out}");
}
