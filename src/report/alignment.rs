//! Tables of alignment: pairs, languages, scripts, and one row for everything.

use anyhow::Result;
use polars::prelude::DataFrame;

use super::grid::Kind::{Flag, Real, Text, Whole};
use super::grid::{Grid, Kind, Value};
use super::scripts::grouped;
use crate::corpus::language;
use crate::evaluate::alignment::{Alignment, PairAlignment, Side};
use crate::evaluate::script::LowResource;

/// One measurement with what it was made on.
#[derive(Clone, Debug)]
pub struct AlignmentEntry {
    pub model: String,
    pub dataset: String,
    pub side: Side,
    /// `None`: the model's own vectors.
    pub layer: Option<String>,
    pub languages: Vec<String>,
    pub alignment: Alignment,
}

const ORIGIN: [(&str, Kind); 4] = [("model", Text), ("dataset", Text), ("side", Text), ("layer", Text)];

fn grid(columns: &[(&str, Kind)]) -> Grid {
    Grid::new(ORIGIN.iter().chain(columns).map(|(name, kind)| ((*name).to_owned(), *kind)))
}

impl AlignmentEntry {
    fn origin(&self) -> Vec<Value> {
        vec![
            self.model.as_str().into(),
            self.dataset.as_str().into(),
            self.side.name().into(),
            self.layer.as_deref().unwrap_or("output").into(),
        ]
    }

    /// Mean over pairs; NaN without a finite value.
    fn mean(&self, of: &dyn Fn(&PairAlignment) -> Option<f64>) -> f64 {
        let values: Vec<f64> = self.alignment.pairs.iter().filter_map(of).filter(|v| v.is_finite()).collect();
        values.iter().sum::<f64>() / values.len() as f64
    }
}

/// A number of a pair.
type Measure = fn(&PairAlignment) -> f64;

/// The measures of a pair, by name.
const PAIR: [(&str, Measure); 13] = [
    ("cka", |p| p.cka.biased),
    ("cka_null", |p| p.null.biased),
    ("cka_unbiased", |p| p.cka.unbiased),
    ("cka_unbiased_null", |p| p.null.unbiased),
    ("alignment", |p| p.alignment),
    ("cosine", |p| p.cosine),
    ("nearest_ab", |p| p.nearest[0]),
    ("nearest_ba", |p| p.nearest[1]),
    ("margin_ab", |p| p.accuracy[0]),
    ("margin_ba", |p| p.accuracy[1]),
    ("xsim_ab", |p| 1.0 - p.accuracy[0]),
    ("xsim_ba", |p| 1.0 - p.accuracy[1]),
    ("xsim", |p| 1.0 - f64::midpoint(p.accuracy[0], p.accuracy[1])),
];

/// A row a pair of languages.
///
/// # Errors
/// Where polars refuses the frame.
pub fn alignment_pairs(entries: &[AlignmentEntry]) -> Result<DataFrame> {
    let measures = PAIR.iter().map(|(name, _)| (*name, Real));
    let columns: Vec<(&str, Kind)> =
        [("language_a", Text), ("language_b", Text), ("n", Whole)].into_iter().chain(measures).collect();
    let mut grid = grid(&columns);
    for entry in entries {
        for pair in &entry.alignment.pairs {
            let mut row = entry.origin();
            let code = |l: usize| entry.languages[l].as_str();
            row.extend([code(pair.a).into(), code(pair.b).into(), pair.n.into()]);
            row.extend(PAIR.iter().map(|(_, of)| of(pair).into()));
            grid.push(row);
        }
    }
    grid.frame()
}

/// A row a language: how its vectors lie, and the means over the pairs that it is part of.
///
/// # Errors
/// Where polars refuses the frame.
pub fn alignment_languages(entries: &[AlignmentEntry], low: &LowResource) -> Result<DataFrame> {
    let mut grid = grid(&[
        ("language", Text),
        ("script", Text),
        ("low_resource", Flag),
        ("n", Whole),
        ("uniformity", Real),
        ("anisotropy", Real),
        ("top_share", Real),
        ("cka_unbiased", Real),
        ("alignment", Real),
        ("xsim_from", Real),
        ("xsim_to", Real),
        ("probe_recall", Real),
    ]);
    for entry in entries {
        for (l, (n, geometry)) in entry.alignment.languages.iter().enumerate() {
            let script = language::script(&entry.languages[l]);
            let of_language = |of: fn(&PairAlignment) -> f64| -> Value {
                entry.mean(&|p| (p.a == l || p.b == l).then(|| of(p))).into()
            };
            // Accuracy from this language to the others, and back.
            let found = |from: bool| -> Value {
                let accuracy = |p: &PairAlignment| match (p.a == l, p.b == l) {
                    (true, _) => Some(1.0 - p.accuracy[usize::from(!from)]),
                    (_, true) => Some(1.0 - p.accuracy[usize::from(from)]),
                    _ => None,
                };
                entry.mean(&accuracy).into()
            };
            let mut row = entry.origin();
            row.extend([
                entry.languages[l].as_str().into(),
                script.into(),
                low.has(script).into(),
                (*n).into(),
                geometry.uniformity.into(),
                geometry.cosine.into(),
                geometry.top_share.into(),
                of_language(|p| p.cka.unbiased),
                of_language(|p| p.alignment),
                found(true),
                found(false),
                entry.alignment.probe.as_ref().map(|p| p.recall[l]).into(),
            ]);
            grid.push(row);
        }
    }
    grid.frame()
}

/// A row a pair of scripts: means over the language pairs.
///
/// # Errors
/// Where polars refuses the frame.
pub fn alignment_scripts(entries: &[AlignmentEntry], low: &LowResource) -> Result<DataFrame> {
    let mut grid = grid(&[
        ("script_a", Text),
        ("script_b", Text),
        ("low_resource", Flag),
        ("pairs", Whole),
        ("cka_unbiased", Real),
        ("alignment", Real),
        ("cosine", Real),
        ("xsim", Real),
    ]);
    for entry in entries {
        let of = |p: &PairAlignment| {
            let mut both = [p.a, p.b].map(|l| language::script(&entry.languages[l]));
            both.sort_unstable();
            both
        };
        for (both, pairs) in grouped(&entry.alignment.pairs, of) {
            let mean = |of: fn(&PairAlignment) -> f64| -> Value {
                let values: Vec<f64> = pairs.iter().map(|p| of(p)).filter(|v| v.is_finite()).collect();
                (values.iter().sum::<f64>() / values.len() as f64).into()
            };
            let mut row = entry.origin();
            row.extend([
                both[0].into(),
                both[1].into(),
                both.iter().any(|s| low.has(s)).into(),
                pairs.len().into(),
                mean(|p| p.cka.unbiased),
                mean(|p| p.alignment),
                mean(|p| p.cosine),
                mean(|p| 1.0 - f64::midpoint(p.accuracy[0], p.accuracy[1])),
            ]);
            grid.push(row);
        }
    }
    grid.frame()
}

/// A row a measurement: macro means over pairs, all languages together, and the probe.
///
/// # Errors
/// Where polars refuses the frame.
pub fn alignment_summary(entries: &[AlignmentEntry]) -> Result<DataFrame> {
    const MEANS: [&str; 8] = [
        "cka",
        "cka_null",
        "cka_unbiased",
        "cka_unbiased_null",
        "alignment",
        "cosine",
        "xsim",
        "nearest_error",
    ];
    let columns: Vec<(&str, Kind)> = [("pairs", Whole), ("texts", Whole)]
        .into_iter()
        .chain(MEANS.map(|name| (name, Real)))
        .chain([
            ("uniformity", Real),
            ("anisotropy", Real),
            ("top_share", Real),
            ("probe_accuracy", Real),
            ("probe_majority", Real),
            ("probe_fitted", Whole),
            ("probe_tested", Whole),
        ])
        .collect();
    let mut grid = grid(&columns);
    for entry in entries {
        let (texts, all) = entry.alignment.all;
        let probe = entry.alignment.probe.as_ref();
        let mut row = entry.origin();
        row.extend([entry.alignment.pairs.len().into(), texts.into()]);
        row.extend(MEANS.iter().map(|name| {
            let own = PAIR.iter().find(|(own, _)| own == name).map(|(_, of)| *of);
            let of = own.unwrap_or(|p| 1.0 - f64::midpoint(p.nearest[0], p.nearest[1]));
            Value::from(entry.mean(&|p| Some(of(p))))
        }));
        row.extend([
            all.uniformity.into(),
            all.cosine.into(),
            all.top_share.into(),
            probe.map(|p| p.accuracy).into(),
            probe.map(|p| p.majority).into(),
            probe.map(|p| p.fitted).into(),
            probe.map(|p| p.tested).into(),
        ]);
        grid.push(row);
    }
    grid.frame()
}
