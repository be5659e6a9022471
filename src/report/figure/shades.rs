//! Colours and texts of the values in a map of cells, and the bar that explains the colours.

use super::axis::{self, Scale, plain, range, widen};
use super::canvas::{Anchor, Canvas, Ink, SMALL, TEXT, drop};
use super::colour::{self, AXIS, Colour};
use super::font;

/// Positive values beyond 1 that grow by more than this have a logarithmic scale.
const WIDE: f64 = 20.0;

/// Colours and texts of values.
pub struct Shades {
    range: (f64, f64),
    is_log: bool,
    is_difference: bool,
    /// Small differences are written in hundredths.
    is_hundredths: bool,
    /// Decimals of values up to 10.
    places: usize,
}

impl Shades {
    /// For these values; `None` where none is finite.
    pub fn new(values: impl IntoIterator<Item = f64>, is_difference: bool) -> Option<Self> {
        let (low, high) = range(values)?;
        let most = low.abs().max(high.abs());
        let is_log = !is_difference && high > 1.0 && low > 0.0 && high / low > WIDE;
        let range = if is_difference {
            let most = widen((0.0, most.max(0.01)), 4).1;
            (-most, most)
        } else if is_log {
            (low, high)
        } else if low >= 0.0 && high <= 1.0 && high - low > 0.4 {
            (0.0, 1.0)
        } else {
            widen((low, high), 5)
        };
        Some(Self { range, is_log, is_difference, is_hundredths: is_difference && most < 0.0995, places: 2 })
    }

    /// The same with this many decimals in place of two.
    pub fn with_places(self, places: usize) -> Self {
        Self { places, ..self }
    }

    fn scale(&self, from: f64, to: f64) -> Scale {
        if self.is_log { Scale::log(self.range, from, to) } else { Scale::linear(self.range, from, to) }
    }

    pub fn colour(&self, value: f64) -> Colour {
        let t = self.scale(0.0, 1.0).place(value);
        if self.is_difference { colour::diverging(t) } else { colour::sequential(t) }
    }

    /// Two decimals (or as [`Self::with_places`] says) without the zero before them, hundredths with one; a difference with its sign; values far beyond 1
    /// whole.
    pub fn text(&self, value: f64) -> String {
        if self.is_hundredths {
            return signed(plain(100.0 * value, 1));
        }
        if self.range.1 > 10.0 {
            return plain(value, usize::from(value < 100.0));
        }
        let text = plain(value, self.places);
        let bare = text.strip_prefix("−0").map(|rest| format!("−{rest}"));
        let bare = bare.or_else(|| text.strip_prefix('0').map(str::to_owned)).unwrap_or(text);
        if self.is_difference { signed(bare) } else { bare }
    }

    /// Labels of the colour bar.
    fn ticks(&self) -> Vec<(f64, String)> {
        let (low, high) = self.range;
        if !self.is_difference {
            return self.scale(0.0, 1.0).ticks(5);
        }
        let shown = |value: f64| {
            let value = if self.is_hundredths { 100.0 * value } else { value };
            signed(format!("{}", (value * 1000.0).round() / 1000.0).replace('-', "−"))
        };
        [low, low / 2.0, 0.0, high / 2.0, high].map(|v| (v, shown(v))).to_vec()
    }

    /// Draws the colour bar with its name before it, and ends the drawing below it. The name is that of the values; of
    /// differences it says so.
    pub fn bar(&self, canvas: &mut Canvas, name: &str, (left, right): (f64, f64), top: f64) {
        const HEIGHT: f64 = 6.0;
        const STEPS: usize = 64;
        let name = match (self.is_difference, self.is_hundredths) {
            (true, true) => format!("100 × {name} difference"),
            (true, false) => format!("{name} difference"),
            _ => name.to_owned(),
        };
        canvas.text(left, top + HEIGHT / 2.0 + drop(TEXT), &name, TEXT, Anchor::Start);
        let left = left + font::width(&name, TEXT) + 8.0;
        let right = right - 6.0;
        let each = (right - left) / STEPS as f64;
        for index in 0..STEPS {
            let t = (index as f64 + 0.5) / STEPS as f64;
            let fill = if self.is_difference { colour::diverging(t) } else { colour::sequential(t) };
            canvas.fill(left + each * index as f64, top, each, HEIGHT, fill);
        }
        let axis = Ink::new(AXIS, 0.5);
        canvas.outline(left, top, right - left, HEIGHT, axis);
        let scale = self.scale(left, right);
        for (value, text) in self.ticks() {
            let at = scale.place(value);
            canvas.line(vec![(at, top + HEIGHT), (at, top + HEIGHT + 2.0)], axis);
            let baseline = top + HEIGHT + 3.5 + 2.0 * drop(SMALL);
            canvas.text(at, baseline, &text, SMALL, Anchor::Middle);
        }
        canvas.height = top + HEIGHT + 3.5 + axis::LABEL;
    }
}

/// A plus sign before what is above zero as it is written.
fn signed(text: String) -> String {
    let is_zero = !text.contains(|c: char| c.is_ascii_digit() && c != '0');
    if is_zero || text.starts_with('−') { text } else { format!("+{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_small_differences_are_in_hundredths() {
        let shades = |values: [f64; 2], is_difference| Shades::new(values, is_difference).unwrap();
        let plain = shades([0.0, 1.0], false);
        assert_eq!([0.974, 1.0, 0.0].map(|v| plain.text(v)), [".97", "1.00", ".00"]);
        let difference = shades([-0.5, 0.5], true);
        assert_eq!([0.25, -0.25, 0.001, -0.001].map(|v| difference.text(v)), ["+.25", "−.25", ".00", ".00"]);
        let small = shades([-0.06, 0.06], true);
        assert_eq!([0.034, -0.034, 0.0001].map(|v| small.text(v)), ["+3.4", "−3.4", "0.0"]);
        let labels: Vec<String> = small.ticks().into_iter().map(|t| t.1).collect();
        assert_eq!(labels, ["−6", "−3", "0", "+3", "+6"]);
    }

    #[test]
    fn ranks_that_grow_a_hundredfold_have_even_colours_by_decade() {
        let shades = Shades::new([50.0, 5000.0], false).unwrap();
        assert_eq!(shades.colour(500.0), colour::sequential(0.5));
        assert_eq!([81.93, 5379.6].map(|v| shades.text(v)), ["81.9", "5380"]);
        // Near values keep an even scale.
        assert!(!Shades::new([50.0, 300.0], false).unwrap().is_log);
        assert!(!Shades::new([0.01, 0.9], false).unwrap().is_log);
    }
}
