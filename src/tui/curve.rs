//! A long history as few points: one pass, lowest and highest value of each bucket, so that no peak is lost.

use super::history::{KINDS, Point};

/// What the live screen draws of a history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curves {
    /// Every step's loss.
    pub raw: Vec<(f64, f64)>,
    /// Smoothed loss by kind of batch.
    pub kinds: [Vec<(f64, f64)>; KINDS.len()],
    /// Means of learning rate, gradient norm and tokens a second.
    pub rates: [Vec<f64>; 3],
}

/// Lowest and highest point of a bucket, and whether something in it was not finite.
#[derive(Clone, Copy)]
struct Bucket {
    low: (f64, f64),
    high: (f64, f64),
    is_broken: bool,
}

const EMPTY: Bucket = Bucket { low: (0.0, f64::INFINITY), high: (0.0, f64::NEG_INFINITY), is_broken: false };

impl Bucket {
    fn add(&mut self, x: f64, y: f64) {
        if !y.is_finite() {
            self.is_broken = true;
            return;
        }
        if y < self.low.1 {
            self.low = (x, y);
        }
        if y > self.high.1 {
            self.high = (x, y);
        }
    }

    /// Moves the bucket's points to a line; a gap where something was not finite.
    fn empty_into(&mut self, line: &mut Vec<(f64, f64)>) {
        if self.low.1.is_finite() {
            let (first, second) =
                if self.low.0 <= self.high.0 { (self.low, self.high) } else { (self.high, self.low) };
            line.push(first);
            if second != first {
                line.push(second);
            }
        }
        if self.is_broken {
            line.push((self.low.0, f64::NAN));
        }
        *self = EMPTY;
    }
}

/// The curves of these points in at most about `columns` buckets; `x` places a step on the axis.
pub fn curves(points: &[Point], columns: usize, x: impl Fn(usize, f64) -> f64) -> Curves {
    let mut curves = Curves::default();
    let per = points.len().div_ceil(columns.max(1)).max(1);
    for chunk in points.chunks(per) {
        let (mut raw, mut kinds) = (EMPTY, [EMPTY; KINDS.len()]);
        let mut sums = [(0.0, 0.0); 3];
        for p in chunk {
            let place = x(p.step, p.elapsed);
            raw.add(place, p.loss);
            kinds[p.kind].add(place, p.smooth);
            for (sum, value) in
                sums.iter_mut().zip([p.learning_rate, p.grad_norm, p.tokens as f64 / p.seconds])
            {
                if value.is_finite() {
                    *sum = (sum.0 + value, sum.1 + 1.0);
                }
            }
        }
        raw.empty_into(&mut curves.raw);
        for (kind, line) in kinds.iter_mut().zip(&mut curves.kinds) {
            kind.empty_into(line);
        }
        for ((sum, count), line) in sums.into_iter().zip(&mut curves.rates) {
            line.push(sum / count);
        }
    }
    curves
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(step: usize, loss: f64) -> Point {
        Point {
            step,
            elapsed: step as f64,
            loss,
            smooth: loss,
            kind: step % 2,
            learning_rate: 1.0,
            grad_norm: 2.0,
            pairs: 1,
            tokens: 10,
            seconds: 2.0,
        }
    }

    #[test]
    fn peaks_and_gaps_survive() {
        let mut points: Vec<Point> = (1..=10_000).map(|s| point(s, 1.0 + (s % 7) as f64)).collect();
        (points[5000].loss, points[7000].loss, points[3000].smooth) = (99.0, -99.0, f64::NAN);
        let curves = curves(&points, 100, |step, _| step as f64);
        assert!(curves.raw.len() <= 200 && curves.raw.windows(2).all(|w| w[0].0 <= w[1].0));
        assert!(curves.raw.contains(&(5001.0, 99.0)) && curves.raw.contains(&(7001.0, -99.0)));
        assert_eq!(curves.kinds[1].iter().filter(|p| p.1.is_nan()).count(), 1);
        assert!(curves.kinds[0].iter().all(|p| p.1.is_finite()) && curves.kinds[2].is_empty());
        assert_eq!(curves.rates[2], vec![5.0; 100]);
    }

    #[test]
    fn few_points_stay_as_they_are() {
        let points = [point(1, 3.0), point(2, f64::NAN), point(3, 1.0)];
        let curves = curves(&points, 100, |step, _| step as f64);
        assert_eq!((curves.raw[0], curves.raw[2]), ((1.0, 3.0), (3.0, 1.0)));
        assert!(curves.raw[1].1.is_nan());
        assert_eq!(super::curves(&[], 10, |s, _| s as f64), Curves::default());
    }
}
