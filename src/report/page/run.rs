//! The report of a run.

use anyhow::Result;
use serde_json::Value;

use super::{Page, Table};
use crate::evaluate::{Evaluation, read};
use crate::report::figure::{self, Kind};
use crate::report::paper::{self, Column};
use crate::report::{self, Measured, Source, Table as What};
use crate::run::{RunDir, environment};
use crate::train::{Event, Score};

/// Metrics of the first table.
const SHOWN: [&str; 7] = ["map", "mrr", "ndcg@10", "recall@1", "recall@10", "success@1", "rank_distance"];

/// Puts the report of a run together.
///
/// # Errors
/// Where its spec, environment, log or one of its last evaluations is missing, damaged or of a later version.
pub fn of_run(run: &RunDir) -> Result<Page> {
    let source = Source::of_run(run.clone())?;
    let (spec, known) = (run.spec()?, environment(run)?);
    let mut page = Page::new(format!("Run {}", run.id()));
    let sampling = spec.sampling.weights().map_or_else(
        |_| String::new(),
        |w| w.alpha().map_or(w.label().to_owned(), |a| format!("{} (alpha {a:.2})", w.label())),
    );
    if !spec.description.is_empty() {
        page.text(&spec.description);
    }
    match run.state() {
        Err(error) => page.warn(format!("{error:#}")),
        Ok(state) => {
            page.text(format!(
                "{} after step {} of {}. Model {}, batches {sampling}, seed {}, on {}.",
                state.phase_now().word(),
                state.step,
                state.steps,
                spec.model.base,
                spec.seed,
                known["device"].as_str().unwrap_or("a device not known")
            ));
            if let Some(message) = &state.message {
                page.text(message);
            }
        }
    }
    let (records, lost) = run.history()?;
    if let Some(remark) = lost {
        page.warn(remark);
    }
    let evaluations: Vec<(&Measured, Evaluation)> =
        source.last().into_iter().map(|m| Ok((m, read(&m.dir)?))).collect::<Result<_>>()?;
    if evaluations.is_empty() {
        page.warn("No evaluation yet: the report holds training and settings only.");
    }
    for (measured, evaluation) in &evaluations {
        page.heading(format!("Results: {}", measured.label()));
        page.text("Macro means over languages (mono, multi) or ordered language pairs (cross).");
        page.table(means(&evaluation.summary()));
        for note in &evaluation.notes {
            page.warn(note);
        }
    }
    page.heading("Training");
    let steps = records.iter().filter(|r| matches!(r.event, Event::Step { .. })).count();
    if steps > 0 {
        page.figure("curves", "Training loss by kind of batch, and validation loss, over steps", {
            figure::draw(Kind::Curves, std::slice::from_ref(&source), "map")
        });
    }
    let validations = records.iter().filter_map(|r| match r.event {
        Event::Validation { step, loss: Some(loss), best } => {
            Some((step.to_string(), format!("{loss:.4}{}", if best { " (best so far)" } else { "" })))
        }
        _ => None,
    });
    page.table(Table::pairs(["step", "validation loss"], validations));
    for (index, (measured, evaluation)) in evaluations.iter().enumerate() {
        let one = Source { evaluations: vec![(*measured).clone()], ..source.clone() };
        dataset(&mut page, &one, measured, evaluation, index)?;
    }
    page.heading("Settings");
    page.table(Table::pairs(["key", "value"], report::config(&source)?));
    again(&mut page, run, &known)?;
    Ok(page)
}

/// One row a metric, one column a setting.
fn means(scores: &[Score]) -> Table {
    let mut settings: Vec<&str> = Vec::new();
    for score in scores {
        if !settings.contains(&score.setting.as_str()) {
            settings.push(&score.setting);
        }
    }
    let columns = std::iter::once(("metric".to_owned(), false))
        .chain(settings.iter().map(|s| ((*s).to_owned(), true)))
        .collect();
    let value = |setting: &str, metric: &str| {
        let found = scores.iter().find(|s| s.setting == setting && s.metric == metric);
        found.map_or(String::new(), |s| {
            if metric == "rank_distance" { format!("{:.1}", s.value) } else { format!("{:.4}", s.value) }
        })
    };
    let rows = SHOWN
        .iter()
        .map(|metric| {
            std::iter::once((*metric).to_owned()).chain(settings.iter().map(|s| value(s, metric))).collect()
        })
        .collect();
    Table { columns, rows }
}

/// Heatmap, bias, statistics and the paper's values of one dataset; `one` is the run with this evaluation only.
fn dataset(
    page: &mut Page,
    one: &Source,
    measured: &Measured,
    evaluation: &Evaluation,
    index: usize,
) -> Result<()> {
    let name = &measured.dataset;
    let origin = ["run", "step", "model", "dataset", "protocol", "sampling", "alpha"];
    let sources = std::slice::from_ref(one);
    page.heading(format!("Language pairs: {name}"));
    page.figure(
        &format!("heatmap-{}", index + 1),
        "mAP by question language (rows) and passage language (columns)",
        figure::draw(Kind::Heatmap, sources, "map"),
    );
    page.heading(format!("Language bias: {name}"));
    page.figure(
        &format!("bias-{}", index + 1),
        "Rank distance by language, and the share of the first ten passages against that of the pool",
        figure::draw(Kind::Bias, sources, "map"),
    );
    page.table(bias(evaluation));
    page.heading(format!("Statistics: {name}"));
    let protocol = &evaluation.protocol;
    page.text(format!(
        "{} questions, {} passages. {}. Tests that compare runs: `polymix compare`.",
        protocol.questions, protocol.passages, protocol.tie_rule
    ));
    page.table(Table::of(&report::frame(one, What::Fairness)?)?.without(&origin));
    let beside = paper::beside(name, evaluation, one.spec.as_ref(), &Column::default());
    if !beside.rows.is_empty() {
        page.heading(format!("The paper's values: {name}"));
        page.text(format!(
            "Published for {} trained with {} batches (arXiv 2408.10536).",
            beside.model, beside.sampling
        ));
        for difference in &beside.differs {
            page.warn(difference);
        }
        let columns = [
            ("setting", false),
            ("metric", false),
            ("language", false),
            ("ours", true),
            ("paper", true),
            ("difference", true),
            ("table", true),
        ];
        page.table(Table {
            columns: columns.iter().map(|(name, is_number)| ((*name).to_owned(), *is_number)).collect(),
            rows: beside
                .rows
                .iter()
                .map(|row| {
                    let number = |x: f64| {
                        if row.metric == "rank_distance" { format!("{x:.1}") } else { format!("{x:.4}") }
                    };
                    vec![
                        row.setting.to_owned(),
                        row.metric.to_owned(),
                        row.language.to_owned(),
                        number(row.value),
                        number(row.published),
                        number(row.difference),
                        row.table.to_string(),
                    ]
                })
                .collect(),
        });
    }
    Ok(())
}

fn bias(evaluation: &Evaluation) -> Table {
    let columns = [
        "language",
        "rank distance",
        "median",
        "mean rank of its passages",
        "share of top 10",
        "share of pool",
    ];
    Table {
        columns: columns.iter().enumerate().map(|(i, name)| ((*name).to_owned(), i > 0)).collect(),
        rows: evaluation
            .bias
            .iter()
            .map(|row| {
                vec![
                    evaluation.languages[row.language].clone(),
                    format!("{:.1}", row.rank_distance),
                    format!("{:.1}", row.rank_distance_median),
                    format!("{:.1}", row.passage_rank),
                    format!("{:.4}", row.top10_share),
                    format!("{:.4}", row.pool_share),
                ]
            })
            .collect(),
    }
}

/// Command, versions, machine, hashes of the data, and the spec.
fn again(page: &mut Page, run: &RunDir, known: &Value) -> Result<()> {
    page.heading("How to repeat it");
    let name = format!("{}.toml", run.id());
    page.text(format!("Save the spec below as {name}; the seed and every default stand in it."));
    page.code(format!("polymix train {}", shell(&name)));
    let text = |key: &str| match &known[key] {
        Value::Null => "not known".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let commit = known["model"]["commit"].as_str().map_or(String::new(), |c| format!(", commit {c}"));
    let base = known["model"]["base"].as_str().unwrap_or("not known");
    page.table(Table::pairs(
        ["made with", ""],
        [
            ("polymix".to_owned(), text("polymix")),
            ("system".to_owned(), text("system")),
            ("device".to_owned(), text("device")),
            ("threads".to_owned(), text("threads")),
            ("model".to_owned(), format!("{base}{commit}")),
        ],
    ));
    let mut data = Vec::new();
    for (name, dataset) in known["datasets"].as_object().into_iter().flatten() {
        data.push((name.clone(), dataset["sha256"].as_str().unwrap_or("not known").to_owned()));
        for input in dataset["inputs"].as_array().into_iter().flatten() {
            let path = input["path"].as_str().unwrap_or_default();
            data.push((format!("    {path}"), input["sha256"].as_str().unwrap_or("not known").to_owned()));
        }
    }
    page.table(Table::pairs(["data", "SHA-256"], data));
    page.code(run.spec()?.to_toml()?);
    Ok(())
}

/// A word as a shell takes it.
pub(super) fn shell(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
