//! Results by script: how do languages of one script fare with each other, and with those of another?

use std::collections::BTreeMap;

use anyhow::Result;
use polars::prelude::DataFrame;

use super::Source;
use super::grid::Kind::{Flag, Real, Text, Whole};
use super::grid::{Grid, Kind, Value};
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

/// Several runs side by side: a column of macro means for each label; sources of one label are seeds, and averaged. The first
/// frame has a row a dataset, setting and pair of scripts; the second, by dataset and setting, the mean over the language
/// pairs with a low-resource script and over the others, `cells` of them.
///
/// # Errors
/// As [`script_frame`].
pub fn script_comparison(
    sources: &[(String, Source)],
    metric: &str,
    low: &LowResource,
) -> Result<(DataFrame, DataFrame)> {
    let mut labels: Vec<&str> = Vec::new();
    for (label, source) in sources {
        source.measured()?;
        if !labels.contains(&label.as_str()) {
            labels.push(label);
        }
    }
    // Key of a row; by label the values of its seeds, and the number of language pairs.
    let mut rows: Vec<(Key, Vec<Vec<f64>>, usize)> = Vec::new();
    for (label, source) in sources {
        let column = labels.iter().position(|l| l == label).unwrap_or_default();
        let mut found = false;
        for measured in source.last() {
            for mean in group_means(&read(&measured.dir)?, Grouping::Script) {
                if mean.metric != metric {
                    continue;
                }
                found = true;
                let key = [&measured.dataset, mean.setting.name(), mean.query_group, mean.passage_group]
                    .map(str::to_owned);
                let place = rows.iter().position(|(k, _, _)| *k == key).unwrap_or_else(|| {
                    rows.push((key, vec![Vec::new(); labels.len()], mean.cells));
                    rows.len() - 1
                });
                rows[place].1[column].push(mean.macro_mean);
            }
        }
        // The error names what was measured.
        if !found {
            script_frame(source, Some(metric), low)?;
        }
    }
    let text =
        |names: &[&str]| -> Vec<(String, Kind)> { names.iter().map(|n| ((*n).to_owned(), Text)).collect() };
    let counted = |kind: &str| vec![(kind.to_owned(), Flag), ("cells".to_owned(), Whole)];
    let values = || labels.iter().map(|l| ((*l).to_owned(), Real));
    let origin = text(&["dataset", "setting", "query_script", "passage_script"]);
    let mut pairs = Grid::new(origin.into_iter().chain(counted("low_resource")).chain(values()));
    let mut means =
        Grid::new(text(&["dataset", "setting"]).into_iter().chain(counted("low_resource")).chain(values()));
    let mut sums: Vec<Sums> = Vec::new();
    for ([dataset, setting, query, passage], by_label, cells) in rows {
        let is_low = low.has(&query) || low.has(&passage);
        let own: Vec<f64> = by_label.iter().map(|v| v.iter().sum::<f64>() / v.len() as f64).collect();
        let key = (dataset.clone(), setting.clone(), is_low);
        let place = sums.iter().position(|(k, _, _)| *k == key).unwrap_or_else(|| {
            sums.push((key, vec![0.0; labels.len()], 0));
            sums.len() - 1
        });
        sums[place].1.iter_mut().zip(&own).for_each(|(sum, value)| *sum += value * cells as f64);
        sums[place].2 += cells;
        let mut row: Vec<Value> =
            vec![dataset.into(), setting.into(), query.into(), passage.into(), is_low.into(), cells.into()];
        row.extend(own.into_iter().map(Value::from));
        pairs.push(row);
    }
    for ((dataset, setting, is_low), totals, cells) in sums {
        let mut row: Vec<Value> = vec![dataset.into(), setting.into(), is_low.into(), cells.into()];
        row.extend(totals.into_iter().map(|total| Value::from(total / cells as f64)));
        means.push(row);
    }
    Ok((pairs.frame()?, means.frame()?))
}

/// Dataset, setting, and the two scripts.
type Key = [String; 4];
/// Of a dataset, a setting, and low-resource or not: by label the sum over language pairs, and their number.
type Sums = ((String, String, bool), Vec<f64>, usize);

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
