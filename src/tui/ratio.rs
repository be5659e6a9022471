//! What the runs of the list say about the sampling ratio: a curve over alpha, or a triangle of three kinds of batch.

use super::message::RunRow;
use super::model::Runs;
use super::table::csv_line;
use crate::batch::Kind;
use crate::report::simplex::{Simplex, kinds};
use crate::report::{Estimate, estimate};
use crate::spec::{ExperimentSpec, TrainSpec, Weights};

const SETTINGS: [&str; 3] = ["mono", "cross", "multi"];
/// The metric that exists in the pool of all languages only.
pub const DISTANCE: &str = "rank_distance";

/// The mean of a setting and metric by alpha, rising.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    pub setting: &'static str,
    pub metric: String,
    pub points: Vec<(f64, Estimate)>,
}

/// Ratio view of the compared runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Ratio {
    /// Nothing to show, and why.
    Nothing(String),
    /// One metric by setting, and the rank distance last.
    Curves(Vec<Curve>),
    /// One setting and metric over the mixes.
    Triangle { setting: &'static str, metric: String, simplex: Simplex },
}

impl Runs {
    /// The marked runs or, without marks, all in the list.
    #[must_use]
    pub fn ratio_rows(&self) -> Vec<&RunRow> {
        if self.marked.is_empty() { self.visible().0 } else { self.compared() }
    }

    /// What can be chosen in the ratio view: settings and metrics that were measured, mAP over the pool first, then
    /// the other settings' and the rank distance. A curve
    /// shows all settings of a metric, so there each metric stands once, as `multi`.
    #[must_use]
    pub fn measures(&self) -> Vec<(&'static str, String)> {
        let rows = self.ratio_rows();
        let is_triangle = kinds(rows.iter().filter_map(|row| mix(row))).is_ok();
        let mut metrics: Vec<&str> = vec!["map"];
        let known = || rows.iter().flat_map(|row| &row.scores).map(|score| score.metric.as_str());
        // The headline numbers first.
        let distance = known().find(|metric| is_triangle && *metric == DISTANCE);
        for metric in distance.into_iter().chain(known().filter(|metric| *metric != DISTANCE)) {
            if !metrics.contains(&metric) {
                metrics.push(metric);
            }
        }
        let settings: &[&'static str] = if is_triangle { &["multi", "mono", "cross"] } else { &["multi"] };
        let all = metrics.into_iter().flat_map(|metric| {
            let settings = settings.iter().filter(move |s| metric != DISTANCE || **s == "multi");
            settings.map(move |setting| (*setting, metric.to_owned()))
        });
        all.collect()
    }

    /// The ratio view in the chosen measure.
    #[must_use]
    pub fn ratio(&self) -> Ratio {
        let rows = self.ratio_rows();
        let measures = self.measures();
        let (setting, metric) = measures[self.measure % measures.len()].clone();
        if rows.iter().filter_map(|row| mix(row)).any(|w| w.same > 0.0 || w.multi > 0.0) {
            let values = rows.iter().filter_map(|row| Some((mix(row)?, row.score(setting, &metric)?)));
            return match Simplex::new(&values.collect::<Vec<_>>()) {
                Ok(simplex) => Ratio::Triangle { setting, metric, simplex },
                Err(error) => Ratio::Nothing(format!("No triangle: {error:#}.")),
            };
        }
        let pairs = SETTINGS.map(|s| (s, metric.clone())).into_iter().chain([("multi", DISTANCE.to_owned())]);
        let curves: Vec<Curve> = pairs.map(|(setting, metric)| curve(&rows, setting, metric)).collect();
        if curves.iter().all(|c| c.points.is_empty()) {
            return Ratio::Nothing("No run with an alpha has been evaluated yet.".into());
        }
        Ratio::Curves(curves)
    }

    /// Parts of the specs in which the view's runs differ beside the sampling, the seed and the name: what a mean over them mixes.
    #[must_use]
    pub fn ratio_mixed(&self) -> Vec<&'static str> {
        let rows = self.ratio_rows();
        let drawn = rows.iter().filter(|row| !row.scores.is_empty() && mix(row).is_some());
        let mut specs = drawn.filter_map(|row| row.summary.spec.as_ref());
        let Some(first) = specs.next() else { return Vec::new() };
        let plain = |spec: &ExperimentSpec| {
            // What does not change what is learned.
            let (device, train) = (String::new(), TrainSpec::default());
            TrainSpec {
                device,
                chunk: train.chunk,
                checkpoint_every: train.checkpoint_every,
                keep_checkpoints: train.keep_checkpoints,
                tensorboard: train.tensorboard,
                ..spec.train.clone()
            }
        };
        let (train, mut differs) = (plain(first), [false; 6]);
        for spec in specs {
            let parts = [
                spec.model != first.model,
                spec.adapters != first.adapters,
                spec.languages != first.languages,
                spec.data != first.data,
                plain(spec) != train,
                spec.robust != first.robust,
            ];
            differs.iter_mut().zip(parts).for_each(|(all, one)| *all |= one);
        }
        let names = ["model", "adapters", "languages", "data", "train", "robust"];
        names.into_iter().zip(differs).filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }

    /// What the ratio view shows as CSV: the means with the ends of their 95% intervals.
    #[must_use]
    pub fn ratio_csv(&self) -> Option<String> {
        let tail = |setting: &str, metric: &str, e: &Estimate| {
            let number = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
            let interval = e.interval();
            let numbers = [Some(e.mean), e.sd, interval.map(|i| i.0), interval.map(|i| i.1)].map(number);
            let text = [setting.to_owned(), metric.to_owned(), e.n.to_string()];
            text.into_iter().chain(numbers).collect::<Vec<String>>()
        };
        let heads = ["setting", "metric", "n", "mean", "sd", "low", "high"];
        let line = |cells: Vec<String>| csv_line(cells.iter().map(String::as_str));
        match self.ratio() {
            Ratio::Nothing(_) => None,
            Ratio::Curves(curves) => {
                let mut text = csv_line(["alpha"].into_iter().chain(heads));
                for curve in &curves {
                    for (alpha, e) in &curve.points {
                        let cells = tail(curve.setting, &curve.metric, e);
                        text += &line([alpha.to_string()].into_iter().chain(cells).collect());
                    }
                }
                Some(text)
            }
            Ratio::Triangle { setting, metric, simplex } => {
                let mut text = csv_line(simplex.kinds.map(Kind::label).into_iter().chain(heads));
                for point in &simplex.points {
                    let cells = tail(setting, &metric, &point.estimate);
                    text += &line(point.shares.iter().map(f64::to_string).chain(cells).collect());
                }
                Some(text)
            }
        }
    }
}

/// The shares of the kinds of batch.
fn mix(row: &RunRow) -> Option<Weights> {
    row.summary.spec.as_ref()?.sampling.weights().ok()
}

fn curve(rows: &[&RunRow], setting: &'static str, metric: String) -> Curve {
    let alpha = |row: &RunRow| mix(row)?.alpha();
    let mut found: Vec<(f64, f64)> =
        rows.iter().filter_map(|r| Some((alpha(r)?, r.score(setting, &metric)?))).collect();
    found.retain(|p| p.1.is_finite());
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let points = found
        .chunk_by(|a, b| (a.0 - b.0).abs() < 1e-9)
        .filter_map(|same| Some((same[0].0, estimate(&same.iter().map(|p| p.1).collect::<Vec<_>>())?)))
        .collect();
    Curve { setting, metric, points }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::SamplingSpec;
    use crate::tui::testing::row;

    fn runs(alphas: &[(f64, f64)]) -> Runs {
        let rows = alphas.iter().enumerate().map(|(index, (alpha, value))| {
            let mut row = row(&format!("r-{index}"), None, *alpha);
            row.scores.iter_mut().for_each(|s| s.value = *value);
            row
        });
        Runs { rows: rows.collect(), is_loaded: true, ..Runs::default() }
    }

    #[test]
    fn what_a_mean_mixes_is_told() {
        let mut runs = runs(&[(1.0, 0.5), (0.0, 0.4), (1.0, 0.1)]);
        let spec = |runs: &mut Runs, row: usize, change: fn(&mut ExperimentSpec)| {
            let mut spec = runs.rows[row].summary.spec.clone().expect("a spec");
            change(&mut spec);
            runs.rows[row].summary.spec = Some(spec);
        };
        spec(&mut runs, 1, |s| (s.seed, s.train.device, s.train.chunk) = (9, "cuda".into(), 7));
        assert!(runs.ratio_mixed().is_empty(), "seeds and devices are no other experiment");
        spec(&mut runs, 2, |s| s.train.batch += 1);
        spec(&mut runs, 2, |s| s.model.base = "other".into());
        assert_eq!(runs.ratio_mixed(), ["model", "train"]);
        runs.rows[2].scores.clear();
        assert!(runs.ratio_mixed().is_empty(), "it is not in the means");
    }

    #[test]
    fn runs_of_one_alpha_are_averaged() {
        let runs = runs(&[(1.0, 0.5), (0.0, 0.4), (1.0, 0.1)]);
        let Ratio::Curves(curves) = runs.ratio() else { panic!("curves") };
        assert_eq!(
            (curves[2].setting, curves[2].metric.as_str(), curves[3].metric.as_str()),
            ("multi", "map", DISTANCE)
        );
        let points = &curves[2].points;
        assert_eq!((points.len(), points[0].1.mean, points[0].1.half), (2, 0.4, None));
        assert!((points[1].1.mean - 0.3).abs() < 1e-12);
        // Two values 0.4 apart: 12.7062 times their standard error of 0.2.
        assert!((points[1].1.half.expect("an interval") - 2.541_24).abs() < 1e-4);
        assert!(runs.measures().iter().all(|(_, metric)| metric != DISTANCE), "it has a panel of its own");
        let csv = runs.ratio_csv().expect("rows");
        assert!(csv.starts_with("alpha,setting,metric,n,mean,sd,low,high\n0,mono,map,1,0.4,,,\n"), "{csv}");
    }

    #[test]
    fn a_third_kind_makes_a_triangle_of_any_measure() {
        let mut runs = runs(&[(1.0, 0.2), (0.0, 0.3), (0.5, 0.9)]);
        let spec = runs.rows[2].summary.spec.as_mut().expect("a spec");
        spec.sampling = SamplingSpec { multi: Some(1.0), ..SamplingSpec::default() };
        assert_eq!(runs.measures()[..2], [("multi", "map".to_owned()), ("mono", "map".to_owned())]);
        let at = runs.measures().iter().position(|m| m.1 == DISTANCE).expect("rank distance");
        runs.measure = at;
        let Ratio::Triangle { setting, metric, simplex } = runs.ratio() else { panic!("a triangle") };
        assert_eq!((setting, metric.as_str(), simplex.points.len()), ("multi", DISTANCE, 3));
        assert_eq!(simplex.best(true).expect("one").shares, [1.0, 0.0, 0.0]);
        let csv = runs.ratio_csv().expect("rows");
        assert!(
            csv.starts_with("X-X-mono,X-Y,multi,setting")
                && csv.contains("\n0,0,1,multi,rank_distance,1,0.9,"),
            "{csv}"
        );
    }

    #[test]
    fn without_mixes_or_results_it_says_so() {
        let mut runs = runs(&[(1.0, 0.2), (0.0, 0.3)]);
        let spec = runs.rows[1].summary.spec.as_mut().expect("a spec");
        spec.sampling = SamplingSpec { multi: Some(1.0), ..SamplingSpec::default() };
        runs.rows.iter_mut().for_each(|row| row.scores.clear());
        assert!(matches!(runs.ratio(), Ratio::Nothing(text) if text.contains("nothing was measured yet")));
        assert!(
            matches!(Runs::default().ratio(), Ratio::Nothing(text) if text.contains("No run with an alpha"))
        );
    }
}
