//! Quality and rank distance against the share of monolingual batches; runs of equal share are averaged.

use anyhow::{Context, Result, ensure};

use super::COLUMN;
use super::axis::{Panel, Scale, margin, range, widen};
use super::canvas::{Canvas, Ink};
use super::colour::BLACK;
use super::key::{self, Look, Sample, look, mark};
use super::pick::{Picked, metric_name};
use crate::report::estimate;

const SETTINGS: [&str; 3] = ["mono", "cross", "multi"];
/// A rank distance that grows by more than this is drawn on a logarithmic axis.
const WIDE: f64 = 20.0;

/// One point: alpha, the mean, half its 95% interval, and the runs behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    alpha: f64,
    mean: f64,
    half: Option<f64>,
}

impl Point {
    fn ends(&self) -> [f64; 2] {
        let half = self.half.unwrap_or(0.0);
        [self.mean - half, self.mean + half]
    }
}

/// Means by alpha, rising.
fn points(picked: &[(f64, &Picked)], setting: &str, metric: &str) -> Vec<Point> {
    let mut alphas: Vec<f64> = picked.iter().map(|p| p.0).collect();
    alphas.sort_by(f64::total_cmp);
    alphas.dedup_by(|a, b| (*a - *b).abs() < 1e-9);
    let point = |alpha: f64| {
        let own = picked.iter().filter(|p| (p.0 - alpha).abs() < 1e-9);
        let values: Vec<f64> =
            own.filter_map(|p| p.1.mean(setting, metric)).filter(|v| v.is_finite()).collect();
        estimate(&values).map(|e| Point { alpha, mean: e.mean, half: e.half })
    };
    alphas.into_iter().filter_map(point).collect()
}

/// The panel of a metric over that of the rank distance.
///
/// # Errors
/// Where a source is no run of X-X-mono and X-Y batches, all ratios are equal, or the metric was not measured.
pub fn draw(picked: &[Picked], metric: &str) -> Result<Canvas> {
    let with_alpha: Vec<(f64, &Picked)> = picked
        .iter()
        .map(|p| {
            let alpha = p.weights.and_then(|w| w.alpha()).with_context(|| {
                format!("'{}': no alpha; the ratio needs runs of X-X-mono and X-Y batches only; --kind ternary shows three kinds", p.name)
            })?;
            Ok((alpha, p))
        })
        .collect::<Result<_>>()?;
    ensure!(
        metric != "rank_distance",
        "metric 'rank_distance': it has its own panel already; choose map, mrr, recall@10, ..."
    );
    let (low, high) = range(with_alpha.iter().map(|p| p.0)).context("no run was given")?;
    ensure!(
        high - low > 1e-9,
        "all runs have alpha {low}; the ratio needs runs of at least two, for example 0, 0.5 and 1"
    );
    for one in picked {
        one.knows(metric)?;
    }
    let lines: Vec<(Look, Vec<Point>)> = SETTINGS
        .iter()
        .enumerate()
        .map(|(index, setting)| (look(index), points(&with_alpha, setting, metric)))
        .collect();
    let distances = (look(3), points(&with_alpha, "multi", "rank_distance"));

    let title = format!("{} and rank distance against the share of X-X-mono batches", metric_name(metric));
    let mut canvas = Canvas::new(COLUMN, title);
    let mut entries: Vec<(Sample, String)> =
        SETTINGS.iter().zip(&lines).map(|(s, (look, _))| (Sample::Line(*look), (*s).to_owned())).collect();
    if lines.iter().flat_map(|l| &l.1).any(|p| p.half.is_some()) {
        entries.push((Sample::Stroke(Ink::new(BLACK, 0.8)), "95% interval".to_owned()));
    }
    // Both panels begin where the wider labels leave room; without rank distances the lower one is left out.
    let values = |lines: &[&Vec<Point>]| range(lines.iter().flat_map(|l| l.iter()).flat_map(Point::ends));
    let all: Vec<&Vec<Point>> = lines.iter().map(|l| &l.1).collect();
    let upper = quality(values(&all).context("nothing was measured")?);
    let lower = values(&[&distances.1]).map(|ends| distance(&distances.1, ends));
    let left = margin([&upper].into_iter().chain(&lower));
    let top = key::draw(&mut canvas, &entries, left, COLUMN - 2.0, 1.0) + 4.0;
    let panel = Panel { left, top, width: COLUMN - left - 8.0, height: 96.0 };
    // Room at both ends, so that no mark stands on an axis.
    let room = 0.04 * (high - low);
    let x = Scale::linear((low - room, high + room), panel.left, panel.right());
    let below = "α, share of X-X-mono batches";
    let y = upper.between(panel.bottom(), panel.top);
    panel.draw(&mut canvas, &x, &y, lower.is_none().then_some(below), &metric_name(metric));
    for (look, points) in &lines {
        line(&mut canvas, points, *look, &x, &y);
    }
    let mut bottom = panel.bottom();
    if let Some(scale) = lower {
        let panel = Panel { top: bottom + 9.0, height: 60.0, ..panel };
        let y = scale.between(panel.bottom(), panel.top);
        panel.draw(&mut canvas, &x, &y, Some(below), "rank distance");
        line(&mut canvas, &distances.1, distances.0, &x, &y);
        bottom = panel.bottom();
    }
    canvas.height = bottom + 23.0;
    Ok(canvas)
}

/// The scale of the upper panel: from 0 to 1 where the values spread, else around them.
fn quality((least, most): (f64, f64)) -> Scale {
    let (least, most) = (least.max(0.0), most.min(1.0));
    let range = if most - least > 0.4 { (0.0, 1.0) } else { widen((least, most), 5) };
    Scale::linear((range.0.max(0.0), range.1.min(1.0)), 0.0, 1.0)
}

/// The scale of the rank distance.
fn distance(points: &[Point], (least, most): (f64, f64)) -> Scale {
    let means = range(points.iter().map(|p| p.mean)).unwrap_or((least, most));
    if means.0 > 0.0 && means.1 / means.0 > WIDE {
        let least = if least > 0.0 { least } else { means.0 };
        Scale::log((least / 1.6, most * 1.6), 0.0, 1.0)
    } else {
        Scale::linear(widen((0.0, most), 4), 0.0, 1.0)
    }
}

fn line(canvas: &mut Canvas, points: &[Point], look: Look, x: &Scale, y: &Scale) {
    canvas.line(points.iter().map(|p| (x.place(p.alpha), y.place(p.mean))).collect(), look.ink);
    for point in points {
        let at = x.place(point.alpha);
        if point.half.is_some() {
            let ink = Ink::new(look.ink.colour, 0.8);
            let ends = point.ends();
            canvas.line(ends.iter().map(|v| (at, y.place(*v))).collect(), ink);
            // An interval that leaves the panel has no end there.
            for end in ends.into_iter().filter(|v| y.holds(*v)) {
                canvas.line(vec![(at - 2.5, y.place(end)), (at + 2.5, y.place(end))], ink);
            }
        }
        mark(canvas, (at, y.place(point.mean)), look.mark, 2.6, look.ink.colour);
    }
}
