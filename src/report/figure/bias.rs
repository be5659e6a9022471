//! Which languages the pool of all passages favours: rank distance, and the share of the first ten against the pool's.

use anyhow::{Result, ensure};

use super::COLUMN;
use super::axis::{Scale, plain, range, widen};
use super::canvas::{Anchor, Canvas, Ink, SMALL, TEXT, drop};
use super::colour::{AXIS, BLACK, GRID, of_line};
use super::font;
use super::key::{self, Sample};
use super::pick::Picked;
use crate::evaluate::LanguageBias;

/// Sources that can stand side by side in one row.
const MOST: usize = 4;

/// One of the two panels.
struct Side {
    title: &'static str,
    left: f64,
    right: f64,
    /// Highest value that gets a bar.
    most: f64,
    places: usize,
    /// Whether the pool's own share is marked here.
    has_prior: bool,
}

impl Side {
    /// The scale of the bars; the number of the longest one fits behind it.
    fn scale(&self, size: f64) -> Scale {
        let room = font::width(&plain(self.most, self.places), size) + 3.0;
        Scale::linear((0.0, self.most), self.left, self.right - room)
    }
}

/// Two panels of bars, a row a language.
///
/// # Errors
/// Where too many sources are given.
pub fn draw(picked: &[Picked]) -> Result<Canvas> {
    ensure!(
        picked.len() <= MOST,
        "a figure of language bias shows at most {MOST} runs; {} were given",
        picked.len()
    );
    let languages = &picked[0].evaluation.languages;
    let bias = |p: &'_ Picked, code: &str| -> Option<LanguageBias> {
        p.evaluation.bias.iter().find(|b| p.evaluation.languages[b.language] == code).cloned()
    };
    let rows: Vec<(&str, Vec<Option<LanguageBias>>)> = languages
        .iter()
        .map(|code| (code.as_str(), picked.iter().map(|p| bias(p, code)).collect()))
        .collect();
    let all = || rows.iter().flat_map(|(_, own)| own.iter().flatten());
    let distances = range(all().map(|b| b.rank_distance)).map_or(1.0, |r| r.1.max(1.0));
    let shares = range(all().flat_map(|b| [b.top10_share, b.pool_share])).map_or(1.0, |r| r.1);

    let codes = languages.iter().map(|c| font::width(c, TEXT)).fold(0.0, f64::max) + 7.0;
    let middle = codes + (COLUMN - codes) * 0.54;
    let size = if picked.len() > 2 { 6.0 } else { SMALL };
    let distance_places = usize::from(distances < 100.0);
    let left = Side {
        title: "rank distance",
        left: codes,
        right: middle - 6.0,
        most: distances,
        places: distance_places,
        has_prior: false,
    };
    let right = Side {
        title: "share of the top ten, %",
        left: middle,
        right: COLUMN - 2.0,
        most: widen((0.0, 100.0 * shares), 4).1.min(100.0),
        places: 1,
        has_prior: true,
    };
    // A bar is as high as its number needs.
    let bar = if picked.len() == 1 { 9.0 } else { size };
    let row = bar * picked.len() as f64 + if picked.len() == 1 { 3.0 } else { 4.0 };

    let names: Vec<&str> = picked.iter().map(|p| p.name.as_str()).collect();
    let title = format!("Language bias on {}: {}", picked[0].label, names.join(", "));
    let mut canvas = Canvas::new(COLUMN, title);
    let prior = Ink::new(BLACK, 1.2);
    let colour = |index: usize| if picked.len() == 1 { of_line(4) } else { of_line(index) };
    let mut entries: Vec<(Sample, String)> =
        picked.iter().enumerate().map(|(index, p)| (Sample::Bar(colour(index)), p.name.clone())).collect();
    entries.push((Sample::Stroke(prior), "share of the pool".to_owned()));
    let mut y = key::draw(&mut canvas, &entries, codes, COLUMN - 2.0, 1.0) + 12.0;
    for side in [&left, &right] {
        canvas.text(side.left, y - 2.0, side.title, TEXT, Anchor::Start);
    }
    y += 2.0;
    let top = y;
    let scales = [left.scale(size), right.scale(size)];
    for (index, (code, own)) in rows.iter().enumerate() {
        if index > 0 {
            canvas.line(vec![(0.0, y), (COLUMN - 2.0, y)], Ink::new(GRID, 0.4));
        }
        canvas.text(codes - 4.0, y + row / 2.0 + drop(TEXT), code, TEXT, Anchor::End);
        let first = y + (row - bar * own.len() as f64) / 2.0;
        for (index, bias) in own.iter().enumerate() {
            let at = first + bar * index as f64;
            let values = bias.as_ref().map_or([f64::NAN; 2], |b| [b.rank_distance, 100.0 * b.top10_share]);
            for ((side, scale), value) in [&left, &right].into_iter().zip(&scales).zip(values) {
                let known = if value.is_finite() { value } else { 0.0 };
                let end = scale.place(known);
                if end > side.left {
                    canvas.fill(side.left, at + 0.3, end - side.left, bar - 0.6, colour(index));
                }
                let text = if value.is_finite() { plain(value, side.places) } else { "–".to_owned() };
                // The number stands behind the bar, and behind the mark of the pool.
                let prior = bias.as_ref().map_or(f64::NAN, |b| 100.0 * b.pool_share);
                let has_prior = side.has_prior && prior.is_finite();
                let behind = if has_prior { end.max(scale.place(prior)) } else { end };
                canvas.text(behind + 2.5, at + bar / 2.0 + drop(size), &text, size, Anchor::Start);
            }
            if let Some(share) = bias.as_ref().map(|b| 100.0 * b.pool_share).filter(|s| s.is_finite()) {
                let x = scales[1].place(share);
                canvas.line(vec![(x, at), (x, at + bar)], prior);
            }
        }
        y += row;
    }
    for side in [&left, &right] {
        canvas.line(vec![(side.left, top), (side.left, y)], Ink::new(AXIS, 0.6));
    }
    canvas.height = y + 2.0;
    Ok(canvas)
}
