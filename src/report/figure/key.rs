//! What tells one line from another besides its colour, and the key above a panel.

use super::canvas::{Anchor, Canvas, Ink, Shape, TEXT, drop, fit};
use super::colour::{Colour, of_line};
use super::font;

/// Dashes and gaps, in points.
const DASHES: [&[f64]; 5] = [&[], &[5.0, 2.0], &[1.5, 1.5], &[6.0, 1.5, 1.5, 1.5], &[3.0, 1.2]];

/// Shape of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Disc,
    Square,
    Triangle,
    Diamond,
    Down,
    Cross,
}

const MARKS: [Mark; 6] = [Mark::Disc, Mark::Square, Mark::Triangle, Mark::Diamond, Mark::Down, Mark::Cross];

/// How one line looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    pub ink: Ink,
    pub mark: Mark,
}

/// The look of the `index`-th line.
pub fn look(index: usize) -> Look {
    let dash = DASHES[index % DASHES.len()];
    Look { ink: Ink { colour: of_line(index), width: 1.2, dash }, mark: MARKS[index % MARKS.len()] }
}

/// A point's mark, about `2 * radius` wide.
pub fn mark(canvas: &mut Canvas, (x, y): (f64, f64), mark: Mark, radius: f64, fill: Colour) {
    let place =
        |corners: &[(f64, f64)]| corners.iter().map(|(a, b)| (x + a * radius, y + b * radius)).collect();
    let points = match mark {
        Mark::Disc => return canvas.shapes.push(Shape::Disc { at: (x, y), radius, fill }),
        Mark::Square => place(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
        Mark::Triangle => place(&[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)]),
        Mark::Diamond => place(&[(0.0, -1.3), (1.1, 0.0), (0.0, 1.3), (-1.1, 0.0)]),
        Mark::Down => place(&[(0.0, 1.2), (1.1, -0.8), (-1.1, -0.8)]),
        Mark::Cross => {
            for ends in [[(-1.0, -1.0), (1.0, 1.0)], [(-1.0, 1.0), (1.0, -1.0)]] {
                canvas.line(place(&ends), Ink::new(fill, 0.5 * radius));
            }
            return;
        }
    };
    canvas.shapes.push(Shape::Area { points, fill });
}

/// What stands before a name in the key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample {
    /// A line with its mark.
    Line(Look),
    /// A bar's colour.
    Bar(Colour),
    /// A short upright stroke.
    Stroke(Ink),
}

/// Draws the key down from `top`, in one row or else in columns; returns where it ends.
pub fn draw(canvas: &mut Canvas, entries: &[(Sample, String)], left: f64, right: f64, top: f64) -> f64 {
    const ROW: f64 = 10.5;
    const SPACE: f64 = 9.0;
    let sample_width = |sample: &Sample| match sample {
        Sample::Line(_) => 18.0,
        Sample::Bar(_) => 8.0,
        Sample::Stroke(_) => 3.0,
    };
    let widths: Vec<f64> =
        entries.iter().map(|(sample, name)| sample_width(sample) + 3.0 + font::width(name, TEXT)).collect();
    let is_one_row = left + widths.iter().sum::<f64>() + SPACE * (widths.len() as f64 - 1.0) <= right;
    let widest = widths.iter().copied().fold(1.0, f64::max);
    let columns = ((right - left + SPACE) / (widest + SPACE)).floor().max(1.0) as usize;
    let (mut x, mut y) = (left, top);
    for (index, (sample, name)) in entries.iter().enumerate() {
        if !is_one_row && index > 0 && index % columns == 0 {
            (x, y) = (left, y + ROW);
        }
        let own = sample_width(sample) + 3.0;
        let name = fit(name, TEXT, right - left - own);
        let middle = y + ROW / 2.0;
        match sample {
            Sample::Line(look) => {
                canvas.line(vec![(x, middle), (x + 18.0, middle)], look.ink);
                mark(canvas, (x + 9.0, middle), look.mark, 2.2, look.ink.colour);
            }
            Sample::Bar(fill) => canvas.fill(x, middle - 3.0, 8.0, 6.0, *fill),
            Sample::Stroke(ink) => canvas.line(vec![(x + 1.5, middle - 4.0), (x + 1.5, middle + 4.0)], *ink),
        }
        canvas.text(x + own, middle + drop(TEXT), &name, TEXT, Anchor::Start);
        x += SPACE + if is_one_row { widths[index] } else { widest };
    }
    y + ROW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_lines_look_alike() {
        let looks: Vec<Look> = (0..30).map(look).collect();
        for (i, a) in looks.iter().enumerate() {
            assert!(looks[i + 1..].iter().all(|b| a != b), "{i}");
        }
    }

    #[test]
    fn a_long_key_takes_more_rows() {
        let mut canvas = Canvas::new(100.0, String::new());
        let entry = |name: &str| (Sample::Bar(of_line(0)), name.to_owned());
        assert_eq!(draw(&mut canvas, &[entry("one"), entry("two")], 0.0, 100.0, 0.0), 10.5);
        assert_eq!(draw(&mut canvas, &[entry("a long name"), entry("another one")], 0.0, 100.0, 0.0), 21.0);
    }
}
