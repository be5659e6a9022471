//! The tables, as polars frames. Column names are a contract: scripts and papers' build files rely on them.

use anyhow::{Context, Result};
use polars::prelude::DataFrame;

use super::compare::config;
use super::grid::Kind::{Flag, Real, Text, Whole};
use super::grid::{Grid, Kind, Value};
use super::{Measured, Source, Table};
use crate::corpus::language;
use crate::evaluate::{Evaluation, MULTI_POOL, Setting, read, read_queries};
use crate::train::{Event, Score};

/// First passages of a question in the table of questions.
const SHOWN: usize = 5;

/// The columns that say which evaluation a row belongs to.
const ORIGIN: [(&str, Kind); 7] = [
    ("run", Text),
    ("step", Whole),
    ("model", Text),
    ("dataset", Text),
    ("protocol", Text),
    ("sampling", Text),
    ("alpha", Real),
];

/// A grid whose first columns are [`ORIGIN`].
pub(super) fn with_origin(columns: &[(&str, Kind)]) -> Grid {
    grid(&ORIGIN, columns)
}

fn grid(origin: &[(&str, Kind)], columns: &[(&str, Kind)]) -> Grid {
    Grid::new(origin.iter().chain(columns).map(|(name, kind)| ((*name).to_owned(), *kind)))
}

/// The values of [`ORIGIN`].
pub(super) fn origin(source: &Source, measured: &Measured, evaluation: &Evaluation) -> Vec<Value> {
    let weights = source.spec.as_ref().and_then(|spec| spec.sampling.weights().ok());
    let base = source.spec.as_ref().map_or(&evaluation.protocol.model, |spec| &spec.model.base);
    vec![
        source.run_name().into(),
        measured.step.into(),
        base.as_str().into(),
        measured.dataset.as_str().into(),
        evaluation.protocol.id().into(),
        weights.map(|w| w.label()).into(),
        weights.and_then(|w| w.alpha()).into(),
    ]
}

/// A table of a source.
///
/// # Errors
/// Where the source has no evaluation or no run, but the table needs one; where a file is broken.
pub fn frame(source: &Source, table: Table) -> Result<DataFrame> {
    match table {
        Table::Summary => summary(source),
        Table::Pairs => pairs(source),
        Table::Languages => languages(source),
        Table::Queries => queries(source),
        Table::Groups => super::fairness::groups(source),
        Table::Histogram => super::fairness::histogram(source),
        Table::Fairness => super::fairness::tests(source),
        Table::Paper => super::paper::frame(source),
        Table::History => history(source),
        Table::Config => settings(source),
    }
}

fn summary(source: &Source) -> Result<DataFrame> {
    let mut grid = grid(
        &ORIGIN,
        &[
            ("setting", Text),
            ("metric", Text),
            ("cells", Whole),
            ("n", Whole),
            ("macro", Real),
            ("micro", Real),
        ],
    );
    for measured in source.measured()? {
        let evaluation = read(&measured.dir)?;
        let micro = evaluation.micro();
        for Score { setting, metric, value } in evaluation.summary() {
            let same = |c: &&crate::evaluate::Cell| c.setting.name() == setting && c.metric == metric;
            let cells: Vec<_> = evaluation.cells.iter().filter(same).collect();
            let n: usize = cells.iter().map(|c| c.n).sum();
            let mut row = origin(source, measured, &evaluation);
            let micro = micro.iter().find(|s| s.setting == setting && s.metric == metric).map(|s| s.value);
            row.extend([
                setting.into(),
                metric.into(),
                cells.len().into(),
                n.into(),
                value.into(),
                micro.into(),
            ]);
            grid.push(row);
        }
    }
    grid.frame()
}

fn pairs(source: &Source) -> Result<DataFrame> {
    let mut grid = grid(
        &ORIGIN,
        &[
            ("setting", Text),
            ("metric", Text),
            ("query_language", Text),
            ("passage_language", Text),
            ("n", Whole),
            ("value", Real),
        ],
    );
    for measured in source.measured()? {
        let evaluation = read(&measured.dir)?;
        let code = |language: usize| evaluation.languages[language].as_str();
        for cell in &evaluation.cells {
            let mut row = origin(source, measured, &evaluation);
            row.extend([
                cell.setting.name().into(),
                cell.metric.as_str().into(),
                code(cell.query_language).into(),
                cell.passage_language.map_or(MULTI_POOL, code).into(),
                cell.n.into(),
                cell.value.into(),
            ]);
            grid.push(row);
        }
    }
    grid.frame()
}

fn languages(source: &Source) -> Result<DataFrame> {
    let mut grid = grid(
        &ORIGIN,
        &[
            ("language", Text),
            ("script", Text),
            ("family", Text),
            ("n", Whole),
            ("mono_map", Real),
            ("cross_map_as_query", Real),
            ("cross_map_as_passage", Real),
            ("multi_map", Real),
            ("multi_recall@10", Real),
            ("multi_success@1", Real),
            ("strict_map", Real),
            ("rank_distance", Real),
            ("rank_distance_median", Real),
            ("rank_distance_n", Whole),
            ("rank_distance_excess", Real),
            ("rank_distance_share", Real),
            ("rank_difference", Real),
            ("passage_rank", Real),
            ("top10_share", Real),
            ("pool_share", Real),
            ("wrong_top1_own", Real),
            ("wrong_top1_n", Whole),
            ("own_preference", Real),
        ],
    );
    for measured in source.measured()? {
        let evaluation = read(&measured.dir)?;
        for (language, code) in evaluation.languages.iter().enumerate() {
            let cell = |setting, metric: &str, passage| -> Value {
                evaluation.cell(setting, metric, language, passage).map(|c| c.value).into()
            };
            let cross = |own: &dyn Fn(&crate::evaluate::Cell) -> bool| -> Value {
                let cells =
                    evaluation.cells.iter().filter(|c| c.setting == Setting::Cross && c.metric == "map");
                let values: Vec<f64> = cells.filter(|c| own(c)).map(|c| c.value).collect();
                (values.iter().sum::<f64>() / values.len() as f64).into()
            };
            let bias = evaluation.bias.iter().find(|b| b.language == language);
            let mut row = origin(source, measured, &evaluation);
            row.extend([
                code.as_str().into(),
                language::script(code).into(),
                language::family(code).into(),
                evaluation.cell(Setting::Multi, "map", language, None).map(|c| c.n).into(),
                cell(Setting::Mono, "map", Some(language)),
                cross(&|c| c.query_language == language),
                cross(&|c| c.passage_language == Some(language)),
                cell(Setting::Multi, "map", None),
                cell(Setting::Multi, "recall@10", None),
                cell(Setting::Multi, "success@1", None),
                cell(Setting::Strict, "map", None),
                bias.map(|b| b.rank_distance).into(),
                bias.map(|b| b.rank_distance_median).into(),
                bias.map(|b| b.questions).into(),
                bias.map(|b| b.rank_distance_excess).into(),
                bias.map(|b| b.rank_distance_share).into(),
                bias.map(|b| b.rank_difference).into(),
                bias.map(|b| b.passage_rank).into(),
                bias.map(|b| b.top10_share).into(),
                bias.map(|b| b.pool_share).into(),
                bias.map(|b| b.wrong_top1_own).into(),
                bias.map(|b| b.wrong_top1).into(),
                bias.map(|b| b.own_preference).into(),
            ]);
            grid.push(row);
        }
    }
    grid.frame()
}

/// The questions of the last evaluation of each dataset, worst first: by average precision in the pool of all
/// languages, then the longer rank distance, then id. All steps together would be many times the data.
fn queries(source: &Source) -> Result<DataFrame> {
    source.measured()?;
    let mut languages: Vec<String> = Vec::new();
    let mut evaluations = Vec::new();
    for measured in source.last() {
        let evaluation = read(&measured.dir)?;
        for code in &evaluation.languages {
            if !languages.contains(code) {
                languages.push(code.clone());
            }
        }
        evaluations.push((measured, evaluation));
    }
    let own = |columns: &[(&str, Kind)]| -> Vec<(String, Kind)> {
        columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect()
    };
    let mut columns = own(&ORIGIN);
    columns.extend(own(&[
        ("question_id", Text),
        ("language", Text),
        ("domain", Text),
        ("text", Text),
        ("multi_map", Real),
        ("strict_map", Real),
        ("rank_distance", Real),
    ]));
    columns.extend(languages.iter().map(|code| (format!("rank_{code}"), Whole)));
    columns.extend(languages.iter().map(|code| (format!("pool_rank_{code}"), Whole)));
    for place in 1..=SHOWN {
        let kinds = [("id", Text), ("language", Text), ("score", Real), ("relevant", Flag), ("text", Text)];
        columns.extend(kinds.map(|(name, kind)| (format!("top{place}_{name}"), kind)));
    }
    let mut grid = Grid::new(columns);
    for (measured, evaluation) in &evaluations {
        let place: Vec<Option<usize>> =
            languages.iter().map(|code| evaluation.languages.iter().position(|l| l == code)).collect();
        let rank = |ranks: &[u32], at: Option<usize>| -> Value {
            at.and_then(|l| ranks.get(l)).filter(|r| **r > 0).map(|r| *r as usize).into()
        };
        let mut views = read_queries(&measured.dir)?;
        views.sort_by(|a, b| {
            // A question without an answer (NaN) comes last: there is nothing to look into.
            let distance = b.rank_distance.total_cmp(&a.rank_distance);
            a.ap.total_cmp(&b.ap).then(distance).then_with(|| (&a.id, &a.language).cmp(&(&b.id, &b.language)))
        });
        for view in views {
            let mut row = origin(source, measured, evaluation);
            row.extend([
                view.id.into(),
                view.language.into(),
                view.domain.into(),
                view.text.into(),
                view.ap.into(),
                view.strict_ap.into(),
                view.rank_distance.into(),
            ]);
            row.extend(place.iter().map(|at| rank(&view.ranks, *at)));
            row.extend(place.iter().map(|at| rank(&view.pool_ranks, *at)));
            for passage in view.top.into_iter().take(SHOWN) {
                row.extend([
                    passage.id.into(),
                    passage.language.into(),
                    f64::from(passage.score).into(),
                    passage.relevant.into(),
                    passage.text.into(),
                ]);
            }
            grid.push(row);
        }
    }
    grid.frame()
}

fn history(source: &Source) -> Result<DataFrame> {
    let run = source.run.as_ref().with_context(|| {
        format!("'{}' is an evaluation: only a run has a history; name the run", source.name)
    })?;
    let mut grid = grid(
        &[],
        &[
            ("run", Text),
            ("event", Text),
            ("step", Whole),
            ("time", Real),
            ("kind", Text),
            ("language", Text),
            ("loss", Real),
            ("learning_rate", Real),
            ("grad_norm", Real),
            ("pairs", Whole),
            ("tokens", Whole),
            ("seconds", Real),
            ("best", Flag),
        ],
    );
    for record in run.events()? {
        let mut row: Vec<Value> = vec![source.name.as_str().into()];
        match record.event {
            Event::Step { step, kind, language, loss, learning_rate, grad_norm, pairs, tokens, seconds } => {
                row.extend([
                    "step".into(),
                    step.into(),
                    record.time.into(),
                    kind.into(),
                    language.into(),
                    loss.into(),
                    learning_rate.into(),
                    grad_norm.into(),
                    pairs.into(),
                    tokens.into(),
                    seconds.into(),
                ]);
            }
            Event::Validation { step, loss, best } => {
                row.extend(["validation".into(), step.into(), record.time.into()]);
                row.extend([Value::Absent, Value::Absent, loss.into()]);
                row.extend([const { Value::Absent }; 5]);
                row.push(best.into());
            }
            _ => continue,
        }
        grid.push(row);
    }
    grid.frame()
}

fn settings(source: &Source) -> Result<DataFrame> {
    let mut grid = grid(&[], &[("run", Text), ("key", Text), ("value", Text)]);
    for (key, value) in config(source)? {
        grid.push([source.name.as_str().into(), key.into(), value.into()]);
    }
    grid.frame()
}
