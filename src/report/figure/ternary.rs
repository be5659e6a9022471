//! A metric over the mixes of three kinds of batch: a triangle, each part of it in the colour of the nearest measured mix.

use anyhow::{Context, Result, ensure};

use super::canvas::{Anchor, Canvas, Ink, Shape, TEXT, drop};
use super::colour::{self, BLACK, WHITE, mix};
use super::pick::{Picked, metric_name};
use super::shades::Shades;
use super::{COLUMN, Measure, font};
use crate::batch::Kind;
use crate::report::simplex::{HEIGHT, Mix, Place, Simplex, centre};
use crate::spec::Weights;

/// Sizes of the numbers, from the best to the least that can be read.
const SIZES: [f64; 4] = [8.0, 7.0, 6.0, 5.0];
/// Side of the triangle.
const SIDE: f64 = 196.0;

/// The triangle with a number at each mix; the best has a dark edge.
///
/// # Errors
/// Where a source is no run, the runs draw too few or too many kinds, or the metric was not measured in this setting.
pub fn draw(picked: &[Picked], measure: &Measure) -> Result<Canvas> {
    let Measure { metric, setting } = measure;
    let is_distance = metric == "rank_distance";
    ensure!(
        !is_distance || setting == "multi",
        "metric 'rank_distance': it exists only in the pool of all languages; leave --setting {setting} out"
    );
    let mut runs: Vec<(Weights, f64)> = Vec::new();
    for one in picked {
        one.knows(metric)?;
        let weights = one.weights.with_context(|| {
            format!("'{}': no run, so the mix of its batches is not known; give runs or a sweep", one.name)
        })?;
        runs.extend(one.mean(setting, metric).map(|value| (weights, value)));
    }
    ensure!(
        !runs.is_empty(),
        "setting '{setting}': no run was measured in it; there are mono, cross and multi"
    );
    let simplex = Simplex::new(&runs)?;
    let name = if is_distance { metric_name(metric) } else { format!("{setting} {}", metric_name(metric)) };
    drawn(&simplex, &name, is_distance, &picked[0].label)
}

fn drawn(simplex: &Simplex, name: &str, is_less_better: bool, label: &str) -> Result<Canvas> {
    let shades = Shades::new(simplex.points.iter().map(|p| p.estimate.mean), false).context("no value")?;
    // Mixes differ by thousandths: three decimals where they can be read.
    let shades = shades.with_places(3);
    let shades = if fits(simplex, &shades, SIZES[1]) { shades } else { shades.with_places(2) };
    let title = format!("{name} over the mixes of {}. {label}", simplex.kinds.map(Kind::label).join(", "));
    let mut canvas = Canvas::new(COLUMN, title);
    let (left, top) = ((COLUMN - SIDE) / 2.0, 12.0);
    let base = top + SIDE * HEIGHT;
    let at = |(x, y): Place| (left + SIDE * x, base - SIDE * y);
    let [first, second, third] = simplex.kinds.map(Kind::label);
    canvas.text(COLUMN / 2.0, top - 4.0, third, TEXT, Anchor::Middle);
    canvas.text(left, base + 10.0, first, TEXT, Anchor::Middle);
    canvas.text(left + SIDE, base + 10.0, second, TEXT, Anchor::Middle);
    for point in &simplex.points {
        let points = point.area.iter().map(|p| at(*p)).collect();
        canvas.shapes.push(Shape::Area { points, fill: shades.colour(point.estimate.mean) });
    }
    // Edges after all areas, so that none is half covered; that of the best last.
    let best = simplex.best(is_less_better);
    for point in &simplex.points {
        edge(&mut canvas, point, at, Ink::new(WHITE, 0.6));
    }
    let size = SIZES.into_iter().find(|size| fits(simplex, &shades, *size)).unwrap_or(SIZES[3]);
    for point in &simplex.points {
        let fill = shades.colour(point.estimate.mean);
        let ink = colour::on(fill);
        let (x, y) = at(centre(&point.area));
        let half = point.estimate.half.map(|half| format!("±{}", shades.text(half)));
        let half =
            half.filter(|text| 2.4 * size < room(point).1 && font::width(text, size - 1.0) < room(point).0);
        let up = if half.is_some() { 0.55 * size } else { 0.0 };
        canvas.ink_text(x, y + drop(size) - up, &shades.text(point.estimate.mean), size, Anchor::Middle, ink);
        if let Some(text) = half {
            let y = y + drop(size) + up;
            canvas.ink_text(x, y, &text, size - 1.0, Anchor::Middle, mix(fill, ink, 0.8));
        }
    }
    if let Some(best) = best {
        edge(&mut canvas, best, at, Ink::new(BLACK, 1.4));
    }
    shades.bar(&mut canvas, name, (4.0, COLUMN - 4.0), base + 18.0);
    Ok(canvas)
}

fn edge(canvas: &mut Canvas, point: &Mix, at: impl Fn(Place) -> Place, ink: Ink) {
    canvas.line(point.area.iter().chain(point.area.first()).map(|p| at(*p)).collect(), ink);
}

/// Width and height of a mix's area in points.
fn room(point: &Mix) -> (f64, f64) {
    let span = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        SIDE * (high - low)
    };
    (span(&mut point.area.iter().map(|p| p.0)), span(&mut point.area.iter().map(|p| p.1)))
}

/// True where every number is narrower than its area.
fn fits(simplex: &Simplex, shades: &Shades, size: f64) -> bool {
    simplex.points.iter().all(|p| {
        let (width, height) = room(p);
        // A corner's area is half as wide at its number as at its widest.
        let part = if p.shares.contains(&1.0) { 0.6 } else { 0.9 };
        font::width(&shades.text(p.estimate.mean), size) < part * width && 0.7 * size < height
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simplex(parts: usize) -> Simplex {
        let n = parts as f64;
        let mixes = (0..=parts).flat_map(|a| (0..=parts - a).map(move |b| (a as f64 / n, b as f64 / n)));
        let weights =
            mixes.map(|(mono, cross)| Weights { mono, cross, same: 0.0, multi: 1.0 - mono - cross });
        Simplex::new(&weights.map(|w| (w, 0.3 + 0.5 * w.multi)).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn every_mix_has_its_number_within_the_triangle_and_the_best_an_edge() {
        for parts in [1, 3, 6] {
            let simplex = simplex(parts);
            let canvas = drawn(&simplex, "multi mAP", false, "demo").unwrap();
            let areas = canvas.shapes.iter().filter(|s| matches!(s, Shape::Area { .. })).count();
            assert_eq!(areas, simplex.points.len());
            let numbers: Vec<&(f64, f64)> = canvas
                .shapes
                .iter()
                .filter_map(|s| match s {
                    Shape::Text { at, text, .. } if text.starts_with('.') => Some(at),
                    _ => None,
                })
                .collect();
            assert_eq!(numbers.len(), simplex.points.len());
            let inside = |at: &(f64, f64)| at.0 > 20.0 && at.0 < 220.0 && at.1 > 12.0 && at.1 < 12.0 + SIDE;
            assert!(numbers.into_iter().all(inside));
            let dark = canvas.shapes.iter().filter_map(|s| match s {
                Shape::Line { points, ink } if ink.width > 1.0 => Some(points),
                _ => None,
            });
            // The best is the upper corner: its edge ends in the tip.
            let tips: Vec<bool> = dark.map(|p| p.iter().any(|at| (at.1 - 12.0).abs() < 1e-9)).collect();
            assert_eq!(tips, [true]);
        }
    }
}
