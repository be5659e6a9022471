//! Robustness of several models side by side: what each loses to the same rewritten questions.

use anyhow::Result;
use polars::prelude::DataFrame;

use super::estimate;
use super::grid::{Grid, Kind, Value};
use super::robustness::name;
use crate::corpus::Dataset;
use crate::evaluate::Setting;
use crate::evaluate::robustness::{Change, Kind as Rewriting};
use crate::run::robustness::Robustness;
use crate::spec::Axis;

/// What was found of one model on one dataset.
#[derive(Clone, Copy, Debug)]
pub struct Attacked<'a> {
    /// One for each axis; models with the same values are seeds of one combination.
    pub values: &'a [String],
    pub dataset: &'a Dataset,
    pub metric: &'a str,
    pub found: &'a Robustness,
}

/// A column and where its value comes from.
type Measure = (&'static str, fn(&Change) -> f64);

/// The values that are averaged over seeds.
const MEASURES: [Measure; 6] = [
    ("before", |c| c.before),
    ("after", |c| c.after),
    ("drop", |c| c.drop),
    ("relative_drop", |c| c.relative),
    ("worst", |c| c.worst),
    ("attack_success", |c| c.attack_success),
];

/// A row a dataset, setting, kind of change and combination of the axes, so that what is to be compared stands one under the
/// other: mean over question languages, mean over the seeds (`runs` of them), and the standard deviations over the seeds of
/// `before`, `after` and `drop`.
///
/// # Errors
/// Where polars refuses the frame.
pub fn attack_frame(axes: &[Axis], models: &[Attacked]) -> Result<DataFrame> {
    let text = ["dataset", "metric", "setting", "change"].map(|n| (n.to_owned(), Kind::Text));
    let keys = axes.iter().map(|a| (a.key.clone(), if a.is_numeric() { Kind::Real } else { Kind::Text }));
    let measures = MEASURES.map(|(n, _)| (n.to_owned(), Kind::Real));
    let spread = MEASURES[..3].iter().map(|(n, _)| (format!("{n}_sd"), Kind::Real));
    let runs = [("runs".to_owned(), Kind::Whole)];
    let mut grid = Grid::new(text.into_iter().chain(keys).chain(runs).chain(measures).chain(spread));
    for ((dataset, metric, setting, change), group) in groups(models) {
        for (values, changes) in group {
            let mut row: Vec<Value> =
                vec![dataset.into(), metric.into(), setting.name().into(), name(change).into()];
            row.extend(axes.iter().zip(values).map(|(axis, value)| -> Value {
                if axis.is_numeric() { value.parse::<f64>().ok().into() } else { value.as_str().into() }
            }));
            row.push(changes.len().into());
            let found = MEASURES.map(|(_, of)| {
                let finite: Vec<f64> = changes.iter().map(|c| of(c)).filter(|v| v.is_finite()).collect();
                estimate(&finite)
            });
            row.extend(found.iter().map(|e| Value::from(e.map(|e| e.mean))));
            row.extend(found[..3].iter().map(|e| Value::from(e.and_then(|e| e.sd))));
            grid.push(row);
        }
    }
    grid.frame()
}

type Key<'a> = (&'a str, &'a str, Setting, Option<Rewriting>);
type Group<'a> = Vec<(&'a [String], Vec<&'a Change>)>;

/// The means over question languages in groups, in the order of the first model's rows.
fn groups<'a>(models: &[Attacked<'a>]) -> Vec<(Key<'a>, Group<'a>)> {
    let mut found: Vec<(Key<'a>, Group<'a>)> = Vec::new();
    for model in models {
        let is_single = model.dataset.languages.len() == 1;
        let means = model.found.rows.iter().filter(|(_, c)| is_single || c.language.is_none());
        for (kind, change) in means {
            let key: Key = (&model.dataset.name, model.metric, change.setting, *kind);
            let place = found.iter().position(|(k, _)| *k == key).unwrap_or_else(|| {
                found.push((key, Vec::new()));
                found.len() - 1
            });
            let group = &mut found[place].1;
            match group.iter_mut().find(|(values, _)| *values == model.values) {
                Some((_, changes)) => changes.push(change),
                None => group.push((model.values, vec![change])),
            }
        }
    }
    // All changes of a setting together.
    let order = |key: &Key| {
        let first = models.iter().position(|m| m.dataset.name == key.0);
        (first, key.2 as usize, key.3.map_or(usize::MAX, |k| k as usize))
    };
    found.sort_by_key(|(key, _)| order(key));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::robustness::Seconds;

    fn change(setting: Setting, language: Option<usize>, before: f64, after: f64) -> Change {
        let drop = before - after;
        Change {
            setting,
            language,
            n: 10,
            unchanged: 0,
            variants: 1,
            before,
            after,
            drop,
            relative: drop / before,
            drop_changed: drop,
            worst: after,
            first: 5,
            attack_success: f64::NAN,
        }
    }

    #[test]
    fn seeds_are_averaged_and_ratios_stand_under_each_other() {
        let dataset =
            Dataset { name: "made".into(), languages: vec!["de".into(), "en".into()], ..Dataset::default() };
        let found = |before: f64, after: f64| Robustness {
            rows: vec![
                (Some(Rewriting::Lower), change(Setting::Mono, Some(0), 0.1, 0.1)),
                (Some(Rewriting::Lower), change(Setting::Mono, None, before, after)),
                (None, change(Setting::Mono, None, before, after)),
            ],
            samples: Vec::new(),
            embedded: 1,
            seconds: Seconds::default(),
        };
        let axes = [Axis { key: "sampling.alpha".into(), values: vec!["0.5".into(), "1".into()] }];
        let all = [("0.5", found(0.8, 0.4)), ("0.5", found(0.6, 0.4)), ("1", found(0.9, 0.3))];
        let values: Vec<Vec<String>> = all.iter().map(|(v, _)| vec![(*v).to_owned()]).collect();
        let models: Vec<Attacked> = all
            .iter()
            .zip(&values)
            .map(|((_, found), values)| Attacked { values, dataset: &dataset, metric: "map", found })
            .collect();
        let frame = attack_frame(&axes, &models).expect("frame");
        assert_eq!(frame.height(), 4, "two changes, two ratios");
        let real = |name: &str, row: usize| frame.column(name).expect(name).f64().expect("real").get(row);
        assert_eq!((real("sampling.alpha", 0), real("sampling.alpha", 1)), (Some(0.5), Some(1.0)));
        // By hand: mean of 0.8 and 0.6; their standard deviation is 0.2 / sqrt(2); drops 0.4 and 0.2; 0.5 and 1/3.
        let near = |value: Option<f64>, expected: f64| {
            assert!((value.expect("a value") - expected).abs() < 1e-12, "{value:?} {expected}");
        };
        near(real("before", 0), 0.7);
        near(real("before_sd", 0), 0.2 / 2f64.sqrt());
        near(real("drop", 0), 0.3);
        near(real("relative_drop", 0), f64::midpoint(0.5, 1.0 / 3.0));
        near(real("drop", 1), 0.6);
        assert_eq!((real("before_sd", 1), real("attack_success", 0)), (None, None));
        let changes = frame.column("change").expect("change");
        let change = |row: usize| changes.str().expect("text").get(row);
        assert_eq!([change(0), change(1), change(2)], [Some("lower"), Some("lower"), Some("all")]);
    }
}
