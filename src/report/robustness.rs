//! Tables of robustness: every kind of change by setting and language, and by script.

use anyhow::Result;
use polars::prelude::DataFrame;

use super::grid::Kind::{Flag, Real, Text, Whole};
use super::grid::{Grid, Kind, Value};
use super::scripts::grouped;
use crate::corpus::{Dataset, language};
use crate::evaluate::MULTI_POOL;
use crate::evaluate::robustness::{Change, Kind as Rewriting};
use crate::evaluate::script::LowResource;
use crate::run::robustness::Robustness;

/// What tables call the row of all kinds together.
const ALL: &str = "all";

const MEASURES: [(&str, Kind); 12] = [
    ("n", Whole),
    ("variants", Whole),
    ("unchanged", Whole),
    ("before", Real),
    ("after", Real),
    ("drop", Real),
    ("relative_drop", Real),
    ("drop_changed", Real),
    ("worst", Real),
    ("worst_drop", Real),
    ("first_relevant", Whole),
    ("attack_success", Real),
];

/// The values of [`MEASURES`].
fn measures(change: &Change) -> [Value; MEASURES.len()] {
    [
        change.n.into(),
        change.variants.into(),
        change.unchanged.into(),
        change.before.into(),
        change.after.into(),
        change.drop.into(),
        change.relative.into(),
        change.drop_changed.into(),
        change.worst.into(),
        (change.before - change.worst).into(),
        change.first.into(),
        change.attack_success.into(),
    ]
}

fn grid(columns: &[(&str, Kind)]) -> Grid {
    let origin = [("model", Text), ("dataset", Text), ("metric", Text), ("setting", Text), ("change", Text)];
    Grid::new(origin.iter().chain(columns).chain(&MEASURES).map(|(name, kind)| ((*name).to_owned(), *kind)))
}

pub(super) fn name(kind: Option<Rewriting>) -> &'static str {
    kind.map_or(ALL, Rewriting::name)
}

/// A row a kind of change, setting and question language; the language `*` is the mean over languages, the change `all`
/// all kinds together.
///
/// # Errors
/// Where polars refuses the frame.
pub fn robustness_frame(
    model: &str,
    metric: &str,
    dataset: &Dataset,
    found: &Robustness,
    low: &LowResource,
) -> Result<DataFrame> {
    let mut grid = grid(&[("language", Text), ("script", Text), ("low_resource", Flag)]);
    for (kind, change) in &found.rows {
        let code = change.language.map(|l| dataset.languages[l].as_str());
        let script = code.map(language::script);
        let mut row: Vec<Value> = vec![
            model.into(),
            dataset.name.as_str().into(),
            metric.into(),
            change.setting.name().into(),
            name(*kind).into(),
            code.unwrap_or(MULTI_POOL).into(),
            script.into(),
            script.map(|s| low.has(s)).into(),
        ];
        row.extend(measures(change));
        grid.push(row);
    }
    grid.frame()
}

/// A row a kind of change, setting and script of the question: the mean over its languages.
///
/// # Errors
/// Where polars refuses the frame.
pub fn robustness_scripts(
    model: &str,
    metric: &str,
    dataset: &Dataset,
    found: &Robustness,
    low: &LowResource,
) -> Result<DataFrame> {
    let mut grid = grid(&[("script", Text), ("low_resource", Flag), ("languages", Whole)]);
    let rows: Vec<(usize, &Change, &str)> = found
        .rows
        .iter()
        .filter_map(|(kind, change)| {
            let place = kind.map_or(Rewriting::ALL.len(), |k| k as usize);
            Some((place, change, language::script(&dataset.languages[change.language?])))
        })
        .collect();
    for ((kind, setting, script), members) in grouped(&rows, |(kind, c, script)| (*kind, c.setting, *script))
    {
        let members: Vec<Change> = members.into_iter().map(|(_, c, _)| (*c).clone()).collect();
        let mut row: Vec<Value> = vec![
            model.into(),
            dataset.name.as_str().into(),
            metric.into(),
            setting.name().into(),
            name(Rewriting::ALL.get(kind).copied()).into(),
            script.into(),
            low.has(script).into(),
            members.len().into(),
        ];
        row.extend(measures(&Change::mean(setting, &members)));
        grid.push(row);
    }
    grid.frame()
}
