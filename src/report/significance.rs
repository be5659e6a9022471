//! Tests of every side of a comparison against the first, and their table.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use polars::prelude::DataFrame;

use super::compare::{Side, TestedSide};
use super::grid::Grid;
use super::grid::Kind::{Real, Text, Whole};
use crate::evaluate::significance::{Outcomes, adjust, compare, compare_groups};
use crate::statistics::Options;

/// Tests every other side against the first on each dataset that all share: single runs by sign flips, groups of seeds
/// over seeds and question ids. P-values of one dataset are adjusted together, whatever the number of sides.
/// `progress` hears what is tested and (done, total) resamples.
///
/// # Errors
/// Where the sides share no dataset, were not measured alike, or single runs meet groups; where a file is broken.
pub fn test(
    sides: &[Side],
    metric: &str,
    options: &Options,
    progress: &mut dyn FnMut(&str, usize, usize) -> Result<()>,
) -> Result<Vec<TestedSide>> {
    let Some((first, others)) = sides.split_first() else { return Ok(Vec::new()) };
    let directories = sides.iter().map(Side::directories).collect::<Result<Vec<_>>>()?;
    let has_all = |dataset: &&String| directories.iter().flatten().all(|own| own.contains_key(*dataset));
    let shared: Vec<&String> = directories[0][0].keys().filter(has_all).collect();
    if shared.is_empty() {
        let names = |own: &Vec<BTreeMap<String, PathBuf>>| {
            let mut names: Vec<&str> = own.iter().flat_map(BTreeMap::keys).map(String::as_str).collect();
            names.dedup();
            names.join(", ")
        };
        let which: Vec<String> = sides
            .iter()
            .zip(&directories)
            .map(|(s, own)| format!("'{}' on {}", s.name, names(own)))
            .collect();
        bail!("the runs share no dataset: {}", which.join("; "));
    }
    for other in others {
        ensure!(
            (first.sources.len() > 1) == (other.sources.len() > 1),
            "'{}' is {} and '{}' is {}: one run says nothing of the spread over seeds; give several seeds on each side, \
             or one run on each",
            first.name,
            runs(first),
            other.name,
            runs(other)
        );
    }
    let mut tested = Vec::new();
    for dataset in shared {
        let read = |side: usize| -> Result<Vec<Outcomes>> {
            let own = directories[side].iter().filter_map(|own| own.get(dataset));
            own.map(|dir| Outcomes::read(dir, metric)).collect()
        };
        let mut tables = Vec::new();
        let old = read(0)?;
        for (at, other) in others.iter().enumerate() {
            let new = read(at + 1)?;
            let label = format!("testing {} on {dataset}", other.name);
            let found = match (old.as_slice(), new.as_slice()) {
                ([old], [new]) => compare(old, new, options, &mut |d, t| progress(&label, d, t)),
                _ => compare_groups(&old, &new),
            };
            let context = || format!("'{}' and '{}' cannot be compared on {dataset}", first.name, other.name);
            tables.push(found.with_context(context)?);
        }
        adjust(&mut tables);
        let sides = others.iter().map(|o| o.name.clone()).zip(tables);
        tested.extend(sides.map(|(other, table)| TestedSide { other, table }));
    }
    Ok(tested)
}

fn runs(side: &Side) -> String {
    if side.sources.len() == 1 { "one run".into() } else { format!("{} runs", side.sources.len()) }
}

/// A row a tested number. Macro means have no languages and no `n`.
///
/// # Errors
/// Where polars refuses the frame.
pub fn significance_frame(first: &str, tested: &[TestedSide]) -> Result<DataFrame> {
    let columns = [
        ("dataset", Text),
        ("first", Text),
        ("second", Text),
        ("setting", Text),
        ("metric", Text),
        ("query_language", Text),
        ("passage_language", Text),
        ("n", Whole),
        ("clusters", Whole),
        ("first_value", Real),
        ("second_value", Real),
        ("difference", Real),
        ("low", Real),
        ("high", Real),
        ("p", Real),
        ("p_holm", Real),
        ("mark", Text),
    ];
    let mut grid = Grid::new(columns.map(|(name, kind)| (name.to_owned(), kind)));
    for side in tested {
        for row in &side.table.rows {
            let place = &row.place;
            grid.push([
                side.table.dataset.as_str().into(),
                first.into(),
                side.other.as_str().into(),
                place.setting.name().into(),
                place.metric.as_str().into(),
                place.query_language.as_deref().into(),
                place.passage_language.as_deref().into(),
                (!place.is_mean()).then_some(row.n).into(),
                row.clusters.into(),
                row.first.into(),
                row.second.into(),
                row.difference.into(),
                row.low.into(),
                row.high.into(),
                row.p.into(),
                row.p_holm.into(),
                row.mark().into(),
            ]);
        }
    }
    grid.frame()
}
