//! Runs over the mixes of three kinds of batch, as points of a triangle that each stand for the part of it nearest to them.

use anyhow::{Result, bail, ensure};

use super::{Estimate, estimate};
use crate::batch::Kind;
use crate::spec::Weights;

/// A place in the plane of the triangle, whose corners are (0, 0), (1, 0) and (1/2, [`HEIGHT`]).
pub type Place = (f64, f64);

/// The triangle's height over a side of 1.
pub const HEIGHT: f64 = 0.866_025_403_784_438_6;

/// Mixes that differ by less are one.
const SAME: f64 = 1e-6;

/// Results by mix.
#[derive(Clone, Debug, PartialEq)]
pub struct Simplex {
    /// The kinds at the left, the right and the upper corner.
    pub kinds: [Kind; 3],
    /// In the order in which their mixes first came.
    pub points: Vec<Mix>,
}

/// One mix with what the runs of it measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    /// Shares of [`Simplex::kinds`]; they sum to 1.
    pub shares: [f64; 3],
    pub estimate: Estimate,
    /// The part of the triangle that is nearer to this mix than to any other: a convex polygon.
    pub area: Vec<Place>,
}

/// The three kinds that these runs mix: X-X-mono, X-Y and the third one that any of them draws.
///
/// # Errors
/// Where all four kinds are drawn, or only X-X-mono and X-Y.
pub fn kinds(mixes: impl IntoIterator<Item = Weights>) -> Result<[Kind; 3]> {
    let mut drawn = [false; 4];
    for mix in mixes {
        for (drawn, weight) in drawn.iter_mut().zip(mix.to_array()) {
            *drawn |= weight > 0.0;
        }
    }
    Ok(match drawn {
        [_, _, false, true] => [Kind::Mono, Kind::Cross, Kind::Multi],
        [_, _, true, false] => [Kind::Mono, Kind::Cross, Kind::Same],
        [false, _, true, true] => [Kind::Same, Kind::Cross, Kind::Multi],
        [true, false, true, true] => [Kind::Mono, Kind::Same, Kind::Multi],
        [true, true, true, true] => {
            bail!("the runs draw four kinds of batch together; a triangle shows three: leave some runs out")
        }
        [_, _, false, false] => {
            bail!(
                "the runs draw X-X-mono and X-Y batches only: their mixes are a line, not a triangle: see the ratio over alpha"
            )
        }
    })
}

impl Simplex {
    /// Of the runs' mixes and values; runs of one mix are averaged.
    ///
    /// # Errors
    /// Where no value is finite, as [`kinds`], and where all are of one mix.
    pub fn new(runs: &[(Weights, f64)]) -> Result<Self> {
        ensure!(runs.iter().any(|r| r.1.is_finite()), "nothing was measured yet");
        let kinds = kinds(runs.iter().map(|r| r.0))?;
        let mut found: Vec<([f64; 3], Vec<f64>)> = Vec::new();
        for (weights, value) in runs.iter().filter(|r| r.1.is_finite()) {
            let all = weights.to_array();
            let shares = kinds.map(|kind| all[kind as usize]);
            let is_it = |known: &[f64; 3]| known.iter().zip(shares).all(|(a, b)| (a - b).abs() < SAME);
            match found.iter_mut().find(|(known, _)| is_it(known)) {
                Some((_, values)) => values.push(*value),
                None => found.push((shares, vec![*value])),
            }
        }
        ensure!(found.len() > 1, "all runs have one mix; a triangle needs several");
        let places: Vec<Place> = found.iter().map(|(shares, _)| place(*shares)).collect();
        let points = found.iter().enumerate().filter_map(|(index, (shares, values))| {
            Some(Mix { shares: *shares, estimate: estimate(values)?, area: nearest(index, &places) })
        });
        Ok(Self { kinds, points: points.collect() })
    }

    /// The mix with the highest mean, or with the lowest where less is better.
    #[must_use]
    pub fn best(&self, is_less_better: bool) -> Option<&Mix> {
        let mean = |mix: &&Mix| mix.estimate.mean;
        let order = |a: &&Mix, b: &&Mix| mean(a).total_cmp(&mean(b));
        if is_less_better { self.points.iter().min_by(order) } else { self.points.iter().max_by(order) }
    }

    /// Lowest and highest mean.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        let means = self.points.iter().map(|mix| mix.estimate.mean);
        means.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    }

    /// The mix nearest to a place.
    #[must_use]
    pub fn at(&self, at: Place) -> Option<&Mix> {
        let distance = |mix: &Mix| {
            let own = place(mix.shares);
            (own.0 - at.0).powi(2) + (own.1 - at.1).powi(2)
        };
        self.points.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))
    }
}

/// Where these shares stand.
#[must_use]
pub fn place([_, right, up]: [f64; 3]) -> Place {
    (right + up / 2.0, up * HEIGHT)
}

/// The shares at a place; one is below 0 outside of the triangle.
#[must_use]
pub fn shares((x, y): Place) -> [f64; 3] {
    let up = y / HEIGHT;
    let right = x - up / 2.0;
    [1.0 - right - up, right, up]
}

/// The triangle, cut at the middle between this place and each other.
fn nearest(index: usize, places: &[Place]) -> Vec<Place> {
    let own = places[index];
    let mut area = vec![(0.0, 0.0), (1.0, 0.0), (0.5, HEIGHT)];
    for (_, other) in places.iter().enumerate().filter(|(i, _)| *i != index) {
        let towards = (other.0 - own.0, other.1 - own.1);
        let middle = (f64::midpoint(own.0, other.0), f64::midpoint(own.1, other.1));
        // Above 0 where the other is nearer.
        let beyond = |p: Place| (p.0 - middle.0) * towards.0 + (p.1 - middle.1) * towards.1;
        let mut kept = Vec::with_capacity(area.len() + 1);
        for (at, &from) in area.iter().enumerate() {
            let to = area[(at + 1) % area.len()];
            let (a, b) = (beyond(from), beyond(to));
            if a <= 0.0 {
                kept.push(from);
            }
            if (a < 0.0 && b > 0.0) || (a > 0.0 && b < 0.0) {
                let part = a / (a - b);
                kept.push((from.0 + (to.0 - from.0) * part, from.1 + (to.1 - from.1) * part));
            }
        }
        area = kept;
    }
    area
}

/// The centre of gravity of a polygon's area.
#[must_use]
pub fn centre(area: &[Place]) -> Place {
    let (mut sum, mut x, mut y) = (0.0, 0.0, 0.0);
    for (index, a) in area.iter().enumerate() {
        let b = area[(index + 1) % area.len()];
        let cross = a.0 * b.1 - b.0 * a.1;
        sum += cross;
        x += (a.0 + b.0) * cross;
        y += (a.1 + b.1) * cross;
    }
    (x / (3.0 * sum), y / (3.0 * sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights([mono, cross, multi]: [f64; 3]) -> Weights {
        Weights { mono, cross, same: 0.0, multi }
    }

    fn lattice(parts: usize) -> Vec<(Weights, f64)> {
        let n = parts as f64;
        let mixes = (0..=parts).flat_map(|a| (0..=parts - a).map(move |b| (a as f64, b as f64)));
        mixes.map(|(a, b)| (weights([a / n, b / n, (n - a - b) / n]), a + 10.0 * b)).collect()
    }

    fn size(area: &[Place]) -> f64 {
        let next = |i: usize| area[(i + 1) % area.len()];
        area.iter().enumerate().map(|(i, a)| a.0 * next(i).1 - next(i).0 * a.1).sum::<f64>().abs() / 2.0
    }

    #[test]
    fn the_areas_of_a_lattice_fill_the_triangle_once() {
        for parts in [1, 2, 4, 7] {
            let simplex = Simplex::new(&lattice(parts)).unwrap();
            let sizes: Vec<f64> = simplex.points.iter().map(|p| size(&p.area)).collect();
            assert!((sizes.iter().sum::<f64>() - HEIGHT / 2.0).abs() < 1e-12, "{parts}");
            // A hexagon within, half of one at an edge, a sixth at a corner.
            let whole = HEIGHT / (parts * parts) as f64;
            for (mix, size) in simplex.points.iter().zip(sizes) {
                let zeros = mix.shares.iter().filter(|s| **s == 0.0).count();
                let part = [1.0, 0.5, 1.0 / 6.0][zeros];
                assert!((size - whole * part).abs() < 1e-12, "{parts} {:?}: {size}", mix.shares);
                assert!(std::ptr::eq(simplex.at(centre(&mix.area)).unwrap(), mix));
            }
        }
    }

    #[test]
    fn shares_and_places_are_one_to_one() {
        for (w, _) in lattice(5) {
            let own = [w.mono, w.cross, w.multi];
            assert!(shares(place(own)).iter().zip(own).all(|(a, b)| (a - b).abs() < 1e-12));
        }
        assert!(shares((-0.1, 0.1)).iter().any(|s| *s < 0.0));
    }

    #[test]
    fn runs_of_one_mix_are_averaged_and_the_best_is_found() {
        let mut runs = lattice(2);
        runs.push((weights([0.5, 0.5, 0.0]), 31.0));
        runs.push((weights([0.5, 0.5, 0.0]), f64::NAN));
        let simplex = Simplex::new(&runs).unwrap();
        assert_eq!((simplex.points.len(), simplex.kinds), (6, [Kind::Mono, Kind::Cross, Kind::Multi]));
        let best = simplex.best(false).unwrap();
        // Two values, 11 and 31, against 20 at the pure X-Y corner.
        assert_eq!((best.shares, best.estimate.mean, best.estimate.n), ([0.5, 0.5, 0.0], 21.0, 2));
        assert_eq!(simplex.best(true).unwrap().shares, [0.0, 0.0, 1.0]);
        assert_eq!(simplex.range(), (0.0, 21.0));
    }

    #[test]
    fn mixes_that_are_no_triangle_are_refused() {
        let message = |runs: &[(Weights, f64)]| format!("{:#}", Simplex::new(runs).expect_err("refused"));
        let line = [weights([1.0, 0.0, 0.0]), weights([0.0, 1.0, 0.0])].map(|w| (w, 1.0));
        assert!(message(&line).contains("X-X-mono and X-Y batches only"));
        let four = [(Weights { mono: 0.25, cross: 0.25, same: 0.25, multi: 0.25 }, 1.0)];
        assert!(message(&four).contains("four kinds"));
        assert!(message(&[(weights([0.0, 0.0, 1.0]), 1.0)]).contains("one mix"));
        assert!(message(&[(weights([0.0, 0.0, 1.0]), f64::NAN)]).contains("nothing was measured"));
        let same = Weights { mono: 0.0, cross: 0.5, same: 0.5, multi: 0.0 };
        assert_eq!(kinds([same]).unwrap(), [Kind::Mono, Kind::Cross, Kind::Same]);
    }
}
