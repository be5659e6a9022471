//! Results by script: how do languages of one script fare with each other, and with those of another?

use std::collections::BTreeMap;

use anyhow::Result;
use polars::prelude::DataFrame;

use super::Source;
use super::grid::Grid;
use super::grid::Kind::{Flag, Real, Text, Whole};
use crate::corpus::language;
use crate::evaluate::script::{LowResource, SCRIPTS};
use crate::evaluate::{Grouping, group_means, read};

/// Items in groups, by key.
pub(super) fn grouped<T, K: Ord>(items: &[T], key: impl Fn(&T) -> K) -> BTreeMap<K, Vec<&T>> {
    let mut groups: BTreeMap<K, Vec<&T>> = BTreeMap::new();
    for item in items {
        groups.entry(key(item)).or_default().push(item);
    }
    groups
}

/// A row a setting, metric and pair of scripts of the last evaluations of a source: macro and micro mean over its
/// language pairs; the passage script `*` is the pool of all languages.
/// `metric` keeps one.
///
/// # Errors
/// Where there is no evaluation, a file is broken, or the metric was not measured (names those that were).
pub fn script_frame(source: &Source, metric: Option<&str>, low: &LowResource) -> Result<DataFrame> {
    let columns = [
        ("run", Text),
        ("step", Whole),
        ("dataset", Text),
        ("setting", Text),
        ("metric", Text),
        ("query_script", Text),
        ("passage_script", Text),
        ("low_resource", Flag),
        ("query_languages", Text),
        ("cells", Whole),
        ("n", Whole),
        ("macro", Real),
        ("micro", Real),
    ];
    let mut grid = Grid::new(columns.map(|(name, kind)| (name.to_owned(), kind)));
    source.measured()?;
    let mut measured_metrics: Vec<String> = Vec::new();
    let mut rows = 0;
    for measured in source.last() {
        let evaluation = read(&measured.dir)?;
        for mean in group_means(&evaluation, Grouping::Script) {
            if metric.is_some_and(|m| m != mean.metric) {
                measured_metrics.push(mean.metric);
                continue;
            }
            let (query, passage) = (mean.query_group, mean.passage_group);
            let codes = evaluation.languages.iter().map(String::as_str);
            let languages: Vec<&str> = codes.filter(|code| language::script(code) == query).collect();
            rows += 1;
            grid.push([
                source.run_name().into(),
                measured.step.into(),
                measured.dataset.as_str().into(),
                mean.setting.name().into(),
                mean.metric.into(),
                query.into(),
                passage.into(),
                (low.has(query) || low.has(passage)).into(),
                languages.join(" ").into(),
                mean.cells.into(),
                mean.n.into(),
                mean.macro_mean.into(),
                mean.micro_mean.into(),
            ]);
        }
    }
    measured_metrics.sort_unstable();
    measured_metrics.dedup();
    anyhow::ensure!(
        rows > 0,
        "'{}': metric '{}' was not measured; there are {}",
        source.name,
        metric.unwrap_or_default(),
        measured_metrics.join(", ")
    );
    grid.frame()
}

/// The table of scripts itself: which are marked, and why.
///
/// # Errors
/// Where polars refuses the frame.
pub fn script_table(low: &LowResource) -> Result<DataFrame> {
    let columns = [("script", Text), ("low_resource", Flag), ("default", Flag), ("why", Text)];
    let mut grid = Grid::new(columns.map(|(name, kind)| (name.to_owned(), kind)));
    for script in SCRIPTS {
        grid.push([
            script.name.into(),
            low.has(script.name).into(),
            script.is_low_resource.into(),
            script.why.into(),
        ]);
    }
    grid.frame()
}
