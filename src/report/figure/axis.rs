//! Axes: where a value stands, which values get a label, and the frame of a panel.

use super::canvas::{Anchor, Canvas, Ink, SMALL, TEXT, drop};
use super::colour::{AXIS, GRID};
use super::font;

/// Height of a line of tick labels with room below.
pub const LABEL: f64 = 7.0;

/// From values to points of the drawing.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
    /// Where `low` and `high` stand.
    from: f64,
    to: f64,
}

impl Scale {
    /// A linear scale.
    pub fn linear((low, high): (f64, f64), from: f64, to: f64) -> Self {
        Self { low, high, is_log: false, from, to }
    }

    /// A logarithmic scale over positive values.
    pub fn log((low, high): (f64, f64), from: f64, to: f64) -> Self {
        Self { low, high, is_log: true, from, to }
    }

    /// The same values between other places.
    pub fn between(&self, from: f64, to: f64) -> Self {
        Self { from, to, ..self.clone() }
    }

    /// Where a value stands; beyond the ends, at the end.
    pub fn place(&self, value: f64) -> f64 {
        let part = if self.is_log {
            (value.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + (self.to - self.from) * part.clamp(0.0, 1.0)
    }

    /// True where the value lies on the scale.
    pub fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Labelled values, `about` so many.
    pub fn ticks(&self, about: usize) -> Vec<(f64, String)> {
        if !self.is_log {
            return ticks(self.low, self.high, about);
        }
        let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let all = |factors: &[f64]| -> Vec<f64> {
            let products = decades.clone().flat_map(|d| factors.iter().map(move |f| f * 10f64.powi(d)));
            products.filter(|v| self.holds(*v)).collect()
        };
        let sets = [all(&[1.0]), all(&[1.0, 3.0]), all(&[1.0, 2.0, 5.0])];
        let found = sets.iter().find(|s| s.len() >= 3).unwrap_or(&sets[2]);
        found.iter().map(|v| (*v, plain(*v, if *v < 1.0 { 2 } else { 0 }))).collect()
    }
}

/// The step of 1, 2 or 5 times a power of ten that divides the range into about so many parts.
fn step(low: f64, high: f64, about: usize) -> f64 {
    let raw = (high - low) / about.max(1) as f64;
    let power = 10f64.powf(raw.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|f| f * power).find(|s| *s >= raw * 0.999).unwrap_or(power)
}

fn ticks(low: f64, high: f64, about: usize) -> Vec<(f64, String)> {
    let step = step(low, high, about);
    let places = (-step.log10().floor()).max(0.0) as usize;
    let (first, last) = ((low / step - 1e-6).ceil() as i64, (high / step + 1e-6).floor() as i64);
    (first..=last).map(|i| i as f64 * step).map(|v| (v, plain(v, places))).collect()
}

/// The range widened to whole steps; a single value gets room around it.
pub fn widen((low, high): (f64, f64), about: usize) -> (f64, f64) {
    let (low, high) = if high - low > 1e-9 * high.abs().max(low.abs()).max(1e-9) {
        (low, high)
    } else {
        let room = (0.1 * low.abs()).max(0.01);
        (low - room, high + room)
    };
    let step = step(low, high, about);
    ((low / step + 1e-6).floor() * step, (high / step - 1e-6).ceil() * step)
}

/// A number with a true minus sign, and none before zero.
pub fn plain(value: f64, places: usize) -> String {
    let text = format!("{value:.places$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| matches!(c, '0' | '.')) => rest.to_owned(),
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

/// Lowest and highest of the finite values.
pub fn range(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    values.into_iter().filter(|v| v.is_finite()).fold(None, |found, v| {
        let (low, high) = found.unwrap_or((v, v));
        Some((f64::min(low, v), f64::max(high, v)))
    })
}

/// The frame that a panel's lines are drawn in.
#[derive(Clone, Debug)]
pub struct Panel {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// Left margin of panels with these axes: title, tick labels and ticks.
pub fn margin<'a>(scales: impl IntoIterator<Item = &'a Scale>) -> f64 {
    let labels = scales.into_iter().flat_map(|s| s.ticks(5)).map(|t| font::width(&t.1, SMALL));
    labels.fold(0.0, f64::max) + 2.0 * drop(TEXT) + 11.0
}

impl Panel {
    pub fn bottom(&self) -> f64 {
        self.top + self.height
    }

    pub fn right(&self) -> f64 {
        self.left + self.width
    }

    /// Grid, axes, tick labels and titles; no `below` where another panel below has the labels.
    pub fn draw(&self, canvas: &mut Canvas, x: &Scale, y: &Scale, below: Option<&str>, beside: &str) {
        let axis = Ink::new(AXIS, 0.6);
        for (value, text) in y.ticks(5) {
            let at = y.place(value);
            canvas.line(vec![(self.left, at), (self.right(), at)], Ink::new(GRID, 0.5));
            canvas.line(vec![(self.left - 2.5, at), (self.left, at)], axis);
            canvas.text(self.left - 4.0, at + drop(SMALL), &text, SMALL, Anchor::End);
        }
        for (value, text) in x.ticks(5) {
            let at = x.place(value);
            canvas.line(vec![(at, self.bottom()), (at, self.bottom() + 2.5)], axis);
            if below.is_some() {
                canvas.text(at, self.bottom() + 4.0 + 2.0 * drop(SMALL), &text, SMALL, Anchor::Middle);
            }
        }
        let corner = vec![(self.left, self.top), (self.left, self.bottom()), (self.right(), self.bottom())];
        canvas.line(corner, axis);
        if let Some(title) = below {
            let middle = self.left + self.width / 2.0;
            canvas.text(middle, self.bottom() + 20.0, title, TEXT, Anchor::Middle);
        }
        canvas.turned(2.0 * drop(TEXT) + 1.5, self.top + self.height / 2.0, beside, TEXT, Anchor::Middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_round_and_within_the_range() {
        let texts = |scale: &Scale| scale.ticks(5).into_iter().map(|t| t.1).collect::<Vec<_>>();
        assert_eq!(texts(&Scale::linear((0.0, 1.0), 0.0, 1.0)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(texts(&Scale::linear((0.0, 900.0), 0.0, 1.0)), ["0", "200", "400", "600", "800"]);
        assert_eq!(texts(&Scale::linear((-0.1, 0.1), 0.0, 1.0)), ["−0.10", "−0.05", "0.00", "0.05", "0.10"]);
        assert_eq!(texts(&Scale::log((10.0, 10_000.0), 0.0, 1.0)), ["10", "100", "1000", "10000"]);
        assert_eq!(texts(&Scale::log((50.0, 600.0), 0.0, 1.0)), ["50", "100", "200", "500"]);
        assert_eq!(widen((0.12, 0.83), 5), (0.0, 1.0));
        let (low, high) = widen((0.5, 0.5), 5);
        assert!(low < 0.5 && high > 0.5);
    }

    #[test]
    fn values_beyond_the_ends_stand_at_the_end() {
        let scale = Scale::log((10.0, 1000.0), 100.0, 0.0);
        assert_eq!((scale.place(100.0), scale.place(1e6), scale.place(-1.0)), (50.0, 0.0, 100.0));
        assert!(!scale.holds(1e6) && scale.holds(10.0));
    }
}
