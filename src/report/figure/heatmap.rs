//! Question language by passage language, a number in each cell; of two sources, the difference.

use anyhow::{Result, ensure};

use super::canvas::{Anchor, Canvas, SMALL, TEXT, drop, fit};
use super::colour::{self, GRID};
use super::pick::{Picked, metric_name};
use super::shades::Shades;
use super::{COLUMN, font};
use crate::evaluate::{Evaluation, Setting};

/// What the pool of all languages is called.
const POOL: &str = "pool";
/// Between the last language and the pool.
const GAP: f64 = 3.0;
/// Margin at the right.
const EDGE: f64 = 2.0;
/// Sizes of the numbers, from the best to the least that can be read.
const SIZES: [f64; 5] = [8.0, 7.5, 7.0, 6.5, 6.0];

/// One value by question language and passage language; the last column is the pool.
struct Matrix {
    languages: Vec<String>,
    rows: Vec<Vec<Option<f64>>>,
}

impl Matrix {
    fn new(evaluation: &Evaluation, metric: &str) -> Self {
        let languages = evaluation.languages.len();
        let value = |q: usize, p: Option<usize>| {
            let setting = match p {
                None => Setting::Multi,
                Some(p) if p == q => Setting::Mono,
                Some(_) => Setting::Cross,
            };
            evaluation.cell(setting, metric, q, p).map(|c| c.value).filter(|v| v.is_finite())
        };
        let row = |q| (0..languages).map(Some).chain([None]).map(|p| value(q, p)).collect();
        Self { languages: evaluation.languages.clone(), rows: (0..languages).map(row).collect() }
    }

    /// This minus another, over the languages of both.
    fn minus(&self, other: &Self) -> Self {
        let both: Vec<(usize, usize)> = (0..self.languages.len())
            .filter_map(|l| Some((l, other.languages.iter().position(|o| *o == self.languages[l])?)))
            .collect();
        let pool = (self.languages.len(), other.languages.len());
        let difference =
            |q: (usize, usize), p: (usize, usize)| Some(self.rows[q.0][p.0]? - other.rows[q.1][p.1]?);
        let row = |q: &(usize, usize)| both.iter().chain([&pool]).map(|p| difference(*q, *p)).collect();
        Self {
            languages: both.iter().map(|(l, _)| self.languages[*l].clone()).collect(),
            rows: both.iter().map(row).collect(),
        }
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.rows.iter().flatten().filter_map(|v| *v)
    }
}

/// The heatmap of one source, or of the second minus the first.
///
/// # Errors
/// Where the metric was not measured for pairs of languages.
pub fn draw(picked: &[Picked], metric: &str) -> Result<Canvas> {
    ensure!(
        picked.len() <= 2,
        "a heatmap shows one run, or the difference of two; {} were given",
        picked.len()
    );
    ensure!(
        metric != "rank_distance",
        "metric 'rank_distance': it exists only in the pool of all languages; see --kind bias, or choose map, mrr, ..."
    );
    for one in picked {
        one.knows(metric)?;
    }
    let first = Matrix::new(&picked[0].evaluation, metric);
    let (matrix, heads) = match picked.get(1) {
        None => (first, vec![format!("{}: {}", picked[0].name, picked[0].label)]),
        Some(second) => (
            Matrix::new(&second.evaluation, metric).minus(&first),
            vec![format!("{} − {}", second.name, picked[0].name), picked[0].label.clone()],
        ),
    };
    let shades = Shades::new(matrix.values(), picked.len() == 2).ok_or_else(|| {
        let names: Vec<&str> = picked.iter().map(|p| p.name.as_str()).collect();
        anyhow::anyhow!("{}: no two evaluations of a common language to show", names.join(", "))
    })?;
    Ok(drawn(&matrix, &shades, metric, &heads))
}

fn drawn(matrix: &Matrix, shades: &Shades, metric: &str, heads: &[String]) -> Canvas {
    let count = matrix.languages.len();
    let widest = |texts: &mut dyn Iterator<Item = String>, size: f64| {
        texts.map(|t| font::width(&t, size)).fold(0.0, f64::max)
    };
    let codes = widest(&mut matrix.languages.iter().cloned(), TEXT);
    let numbers = |size: f64| widest(&mut matrix.values().map(|v| shades.text(v)), size);
    let left = 13.0 + codes + 3.0;

    // The largest number that fits its cell in one column; else a wider figure.
    let each = (COLUMN - left - GAP - EDGE) / (count + 1) as f64;
    let size = SIZES.into_iter().find(|s| numbers(*s) + 3.0 <= each).unwrap_or(SIZES[4]);
    let cell = each.clamp(numbers(size) + 3.0, 40.0);
    let high = cell.clamp(11.0, 15.0);
    let whole = left + cell * (count + 1) as f64 + GAP + EDGE;
    let width = whole.max(COLUMN);
    let left = left + (width - whole) / 2.0;

    let mut canvas = Canvas::new(
        width,
        format!("{}, question language by passage language. {}", metric_name(metric), heads.join(", ")),
    );
    let mut y = 0.0;
    for head in heads {
        y += 10.0;
        canvas.text(width / 2.0, y, &fit(head, TEXT, width - 4.0), TEXT, Anchor::Middle);
    }
    y += 12.0;
    canvas.text(left + cell * count as f64 / 2.0, y, "passage language", TEXT, Anchor::Middle);
    let column = |p: usize| left + cell * p as f64 + if p == count { GAP } else { 0.0 };
    let is_turned = codes + 2.0 > cell;
    y += if is_turned { codes + 5.0 } else { 11.0 };
    for (p, code) in matrix.languages.iter().map(String::as_str).chain([POOL]).enumerate() {
        let middle = column(p) + cell / 2.0;
        if is_turned {
            canvas.turned(middle + drop(TEXT), y - 1.0, code, TEXT, Anchor::Start);
        } else {
            let size = if font::width(code, TEXT) > cell { SMALL } else { TEXT };
            canvas.text(middle, y - 1.0, code, size, Anchor::Middle);
        }
    }
    y += 2.0;
    let top = y;
    for (code, row) in matrix.languages.iter().zip(&matrix.rows) {
        let base = y + high / 2.0;
        canvas.text(left - 3.0, base + drop(TEXT), code, TEXT, Anchor::End);
        for (p, value) in row.iter().enumerate() {
            let middle = column(p) + cell / 2.0;
            let (fill, text) = value.map_or((GRID, "–".to_owned()), |v| (shades.colour(v), shades.text(v)));
            canvas.fill(column(p), y, cell, high, fill);
            canvas.ink_text(middle, base + drop(size), &text, size, Anchor::Middle, colour::on(fill));
        }
        y += high;
    }
    let x = left - codes - 3.0 - 4.0;
    canvas.turned(x, f64::midpoint(top, y), "question language", TEXT, Anchor::Middle);
    shades.bar(&mut canvas, &metric_name(metric), (left, column(count) + cell), y + 8.0);
    canvas
}

#[cfg(test)]
mod tests {
    use super::super::canvas::Shape;
    use super::*;

    #[test]
    fn many_languages_widen_the_figure_and_keep_numbers_in_their_cells() {
        for count in [2, 11, 40] {
            let languages: Vec<String> = (0..count).map(|l| format!("l{l}")).collect();
            let row = |q: usize| (0..=count).map(|p| (p != q).then_some(-0.3 + 0.01 * p as f64)).collect();
            let matrix = Matrix { languages, rows: (0..count).map(row).collect() };
            let shades = Shades::new(matrix.values(), true).expect("values");
            let canvas = drawn(&matrix, &shades, "map", &["a − b".to_owned()]);
            assert_eq!(canvas.width > COLUMN, count == 40, "{count}: {}", canvas.width);
            let mut cell = (0.0, 0.0);
            for shape in &canvas.shapes {
                match shape {
                    Shape::Box { at, size, .. } => cell = (at.0, size.0),
                    Shape::Text { at, text, size, turned: false, .. } if text.contains('.') => {
                        let half = font::width(text, *size) / 2.0;
                        let is_cell = (at.0 - cell.0 - cell.1 / 2.0).abs() < 1e-6;
                        assert!(!is_cell || (half <= cell.1 / 2.0 && *size >= 6.0), "{count}: {text}");
                    }
                    _ => {}
                }
            }
            let dashes =
                canvas.shapes.iter().filter(|s| matches!(s, Shape::Text { text, .. } if text == "–"));
            assert_eq!(dashes.count(), count, "what was not measured is a dash");
        }
    }
}
