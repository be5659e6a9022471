//! A drawing as a list of shapes, in points of 1/72 inch from the top left corner, before any file format.

use super::colour::{BLACK, Colour};
use super::font;

/// Size of labels in print, in points.
pub const TEXT: f64 = 8.0;
/// Size of numbers that stand close together.
pub const SMALL: f64 = 7.0;

/// Where a text stands to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// A stroke.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ink {
    pub colour: Colour,
    pub width: f64,
    /// Lengths of dashes and gaps in turn; empty: a whole line.
    pub dash: &'static [f64],
}

/// One thing to draw; later shapes cover earlier ones.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A filled box from its top left corner.
    Box { at: (f64, f64), size: (f64, f64), fill: Colour },
    /// A stroke through the points.
    Line { points: Vec<(f64, f64)>, ink: Ink },
    /// A filled polygon.
    Area { points: Vec<(f64, f64)>, fill: Colour },
    /// A filled circle.
    Disc { at: (f64, f64), radius: f64, fill: Colour },
    /// A line of text on its baseline; `turned` reads upwards.
    Text { at: (f64, f64), text: String, size: f64, anchor: Anchor, colour: Colour, turned: bool },
}

/// A drawing on white.
#[derive(Clone, Debug, PartialEq)]
pub struct Canvas {
    pub width: f64,
    pub height: f64,
    /// What it shows, for readers that cannot see it.
    pub title: String,
    pub shapes: Vec<Shape>,
}

impl Ink {
    pub const fn new(colour: Colour, width: f64) -> Self {
        Self { colour, width, dash: &[] }
    }
}

impl Canvas {
    pub fn new(width: f64, title: String) -> Self {
        Self { width, height: 0.0, title, shapes: Vec::new() }
    }

    pub fn fill(&mut self, x: f64, y: f64, width: f64, height: f64, fill: Colour) {
        self.shapes.push(Shape::Box { at: (x, y), size: (width, height), fill });
    }

    pub fn line(&mut self, points: Vec<(f64, f64)>, ink: Ink) {
        if points.len() > 1 {
            self.shapes.push(Shape::Line { points, ink });
        }
    }

    /// The outline of a box.
    pub fn outline(&mut self, x: f64, y: f64, width: f64, height: f64, ink: Ink) {
        let (right, bottom) = (x + width, y + height);
        self.line(vec![(x, y), (right, y), (right, bottom), (x, bottom), (x, y), (right, y)], ink);
    }

    /// Black text on the baseline `y`.
    pub fn text(&mut self, x: f64, y: f64, text: &str, size: f64, anchor: Anchor) {
        self.ink_text(x, y, text, size, anchor, BLACK);
    }

    pub fn ink_text(&mut self, x: f64, y: f64, text: &str, size: f64, anchor: Anchor, colour: Colour) {
        let text = text.to_owned();
        self.shapes.push(Shape::Text { at: (x, y), text, size, anchor, colour, turned: false });
    }

    /// Black text that reads upwards, with its baseline at `x`.
    pub fn turned(&mut self, x: f64, y: f64, text: &str, size: f64, anchor: Anchor) {
        let text = text.to_owned();
        self.shapes.push(Shape::Text { at: (x, y), text, size, anchor, colour: BLACK, turned: true });
    }
}

/// From the middle of a line of text down to its baseline: half the height of a capital.
pub fn drop(size: f64) -> f64 {
    0.35 * size
}

/// The text, cut to `room` points with an ellipsis in the middle: beginning and end of a run's name both matter.
pub fn fit(text: &str, size: f64, room: f64) -> String {
    if font::width(text, size) <= room {
        return text.to_owned();
    }
    let chars: Vec<char> = text.chars().collect();
    (0..chars.len())
        .rev()
        .map(|kept| {
            let end = kept / 2;
            let (head, tail) = (&chars[..kept - end], &chars[chars.len() - end..]);
            head.iter().chain(['…'].iter()).chain(tail).collect::<String>()
        })
        .find(|short| font::width(short, size) <= room)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(fit("short", TEXT, 100.0), "short");
        let cut = fit("a-very-long-name-of-a-run-with-a-number-001", TEXT, 60.0);
        assert!(cut.starts_with("a-ver") && cut.ends_with("001") && cut.contains('…'), "{cut}");
        assert!(font::width(&cut, TEXT) <= 60.0 && font::width(&cut, TEXT) > 50.0);
        assert_eq!(fit("none", TEXT, 0.0), "");
    }
}
