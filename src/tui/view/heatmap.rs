//! Screen 3: query language x passage language, with the multilingual pool as last column.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::language;
use super::super::marks::in_words;
use super::super::model::Model;
use super::super::text::{fit, right, score, signed, width};
use super::{empty, pane, put, without_scores};
use crate::report::metric_name;

/// Columns of the row labels.
const LABEL: u16 = 5;

pub fn draw(model: &Model, frame: &mut Frame, area: Rect) {
    let results = &model.results;
    let metric = results.metric();
    let shown = metric_name(metric);
    let mut title = format!("{shown}: question language by passage language");
    if let Some((name, _)) = &results.other {
        title = format!("{shown}: difference to {name} (this minus that)");
    }
    let is_paper = results.is_beside_paper();
    let block = pane(model, &title, true);
    let Some(scores) = &results.scores else {
        let text = without_scores(model);
        return empty(model, frame, block, area, &text);
    };
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [map, below] = parts(model, inner);
    let order = results.order();
    let size = order.len();
    let columns: Vec<usize> = order.iter().copied().chain([size]).collect();
    let range = results.range().unwrap_or((0.0, 1.0));

    let Grid { each, fitting, first, tall, rows, top } = grid(model, map, size);
    let has_mean = fitting > columns.len();
    let shown = &columns[first..(first + fitting).min(columns.len())];
    let has_foot = usize::from(map.height) >= size * tall + 2;

    let theme = &model.theme;
    let pool = if each < 6 { "all" } else { "multi" };
    let code = |i: usize| scores.languages.get(i).map_or(pool, String::as_str);
    for (x, passage) in shown.iter().enumerate() {
        let here = first + x == results.cursor.1;
        let style = if here { theme.selected } else { theme.dim };
        let text = right(code(*passage), usize::from(each) - 1, model.is_ascii);
        put(frame, map, LABEL + x as u16 * each, 0, &format!("{text} "), style);
    }
    if has_mean {
        let text = right(if is_paper { "cross" } else { "mean" }, usize::from(each) - 1, model.is_ascii);
        put(frame, map, LABEL + shown.len() as u16 * each, 0, &text, theme.dim);
    }
    for (y, query) in order.iter().enumerate().skip(top).take(rows) {
        let begin = ((y - top) * tall + 1) as u16;
        let line = begin + (tall / 2) as u16;
        let style = if y == results.cursor.0 { theme.selected } else { theme.dim };
        put(frame, map, 0, line, &format!("{:<4}", fit(code(*query), 4, model.is_ascii)), style);
        for (x, passage) in shown.iter().enumerate() {
            let here = (y, first + x) == results.cursor;
            let (text, style) = match results.cell(*query, *passage) {
                Some((value, _)) => {
                    let shade = results.shade(value, range);
                    let style =
                        if results.is_difference() { theme.diverging(shade) } else { theme.scale(shade) };
                    (number(model, value, each), style)
                }
                None => ("-".into(), theme.dim),
            };
            let style = if here { style.add_modifier(Modifier::REVERSED | Modifier::BOLD) } else { style };
            // A star behind what is significant; what is not goes dim.
            let (mark, style) = match results.tested_cell(metric, *query, *passage) {
                Some(tested) if tested.is_significant() => ("*", style),
                Some(_) if here => (" ", style),
                Some(_) => (" ", theme.dim),
                None => (" ", style),
            };
            let text = format!("{}{mark}", right(&text, usize::from(each) - 1, model.is_ascii));
            let blank = " ".repeat(usize::from(each));
            for at in begin..begin + tall as u16 {
                put(frame, map, LABEL + x as u16 * each, at, if at == line { &text } else { &blank }, style);
            }
        }
        if has_mean {
            let text =
                right(&number(model, results.row_mean(*query), each), usize::from(each) - 1, model.is_ascii);
            put(frame, map, LABEL + shown.len() as u16 * each, line, &text, theme.text);
        }
    }
    if has_foot {
        let line = (size * tall + 1) as u16;
        put(frame, map, 0, line, "mean", theme.dim);
        for (x, passage) in shown.iter().enumerate() {
            let values = order.iter().filter_map(|q| results.cell(*q, *passage)).map(|c| c.0);
            let text = right(&number(model, mean(values), each), usize::from(each) - 1, model.is_ascii);
            put(frame, map, LABEL + x as u16 * each, line, &text, theme.text);
        }
    }
    let mut lines = vec![legend(model, range, usize::from(below.width)), read_out(model), means(model)];
    if let Some(text) = results.test_line(metric) {
        lines.push(Line::styled(fit(&text, usize::from(below.width), model.is_ascii), theme.dim));
    }
    frame.render_widget(Paragraph::new(lines), below);
}

/// The cells, and the lines below them.
fn parts(model: &Model, inner: Rect) -> [Rect; 2] {
    let lines = 3 + u16::from(model.results.is_difference());
    Layout::vertical([Constraint::Min(3), Constraint::Length(lines)]).areas(inner)
}

/// How the cells lie: their width and height, how many columns and rows fit, and the first of them.
struct Grid {
    each: u16,
    fitting: usize,
    first: usize,
    tall: usize,
    rows: usize,
    top: usize,
}

fn grid(model: &Model, map: Rect, size: usize) -> Grid {
    let cursor = model.results.cursor;
    // As many decimals as fit; where not all columns fit, the window follows the cursor.
    let each = ((map.width.saturating_sub(LABEL)) / (size as u16 + 2)).clamp(5, 13);
    let fitting = usize::from((map.width.saturating_sub(LABEL)) / each).max(1);
    let first =
        if size < fitting { 0 } else { (cursor.1 + 1).saturating_sub(fitting).min(size + 1 - fitting) };
    // Where there is room, a cell is a block of up to three lines with its number in the middle.
    let tall = (usize::from(map.height.saturating_sub(2)) / size.max(1)).clamp(1, 3);
    let rows = usize::from(map.height.saturating_sub(1)) / tall;
    let top = if size <= rows { 0 } else { (cursor.0 + 1).saturating_sub(rows).min(size - rows) };
    Grid { each, fitting, first, tall, rows, top }
}

/// The cell at a place of the screen's area.
pub fn cell_at(model: &Model, area: Rect, at: Position) -> Option<(usize, usize)> {
    let size = model.results.scores.as_ref()?.languages.len();
    let [map, _] = parts(model, pane(model, "", true).inner(area));
    let Grid { each, fitting, first, tall, rows, top } = grid(model, map, size);
    let column = usize::from(at.x.checked_sub(map.x + LABEL)? / each);
    let row = usize::from(at.y.checked_sub(map.y + 1)?) / tall;
    let found = (top + row, first + column);
    (map.contains(at) && row < rows && column < fitting && found.0 < size && found.1 <= size).then_some(found)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(s, n), v| (s + v, n + 1));
    sum / count as f64
}

/// A cell's number in at most `columns - 1` characters.
fn number(model: &Model, value: f64, columns: u16) -> String {
    let results = &model.results;
    if !value.is_finite() {
        return "-".into();
    }
    let room = usize::from(columns) - 1;
    let metric = results.metric();
    let full = if results.is_difference() { signed(metric, value) } else { score(metric, value) };
    if full.chars().count() <= room {
        return full;
    }
    if metric == "rank_distance" {
        return if results.is_difference() { format!("{value:+.0}") } else { format!("{value:.0}") };
    }
    // ".80" says as much as "0.80".
    let places = room.saturating_sub(1 + usize::from(results.is_difference())).clamp(1, 4);
    let text =
        if results.is_difference() { format!("{value:+.places$}") } else { format!("{value:.places$}") };
    text.replacen("0.", ".", 1)
}

fn legend(model: &Model, (low, high): (f64, f64), columns: usize) -> Line<'static> {
    let results = &model.results;
    let metric = results.metric();
    let text = |v: f64| if results.is_difference() { signed(metric, v) } else { score(metric, v) };
    let mut spans = vec![Span::styled(format!("{} ", text(low)), model.theme.dim)];
    for step in 0..16 {
        let value = low + (high - low) * f64::from(step) / 15.0;
        let shade = results.shade(value, (low, high));
        let style =
            if results.is_difference() { model.theme.diverging(shade) } else { model.theme.scale(shade) };
        spans.push(Span::styled(" ", style));
    }
    let better = match (results.is_difference(), metric == "rank_distance") {
        (false, false) => "bright is better",
        (false, true) => "bright is better (a short distance)",
        (true, _) => "blue less, orange more",
    };
    let room = columns.saturating_sub(spans.iter().map(Span::width).sum());
    let order = results.order.word();
    let end = format!(" {}  by {order}; {better}", text(high));
    let whole = format!("{end}; diagonal: monolingual, last column: all languages");
    let end = if width(&whole) <= room { whole } else { fit(&end, room, model.is_ascii) };
    spans.push(Span::styled(end, model.theme.dim));
    Line::from(spans)
}

/// What is under the cursor, in words; right-to-left names stand last.
fn read_out(model: &Model) -> Line<'static> {
    let results = &model.results;
    let (Some(scores), Some((query, passage))) = (&results.scores, results.under_cursor()) else {
        return Line::default();
    };
    let metric = results.metric();
    let named = |i: usize| {
        let code = &scores.languages[i];
        format!("{code} ({})", language::english(code))
    };
    let to =
        if passage < scores.languages.len() { named(passage) } else { "passages in all languages".into() };
    let value = results.cell(query, passage).map_or_else(
        || if results.is_beside_paper() { "not published" } else { "not measured" }.to_owned(),
        |(v, n)| {
            let v = if results.is_difference() { signed(metric, v) } else { score(metric, v) };
            let tested = results.tested_cell(metric, query, passage);
            let more =
                tested.map_or_else(String::new, |t| format!("{}, ", in_words(t, |v| signed(metric, v))));
            format!("{} {v}, {more}{n} questions", metric_name(metric))
        },
    );
    let natives: Vec<&str> = [Some(query), (passage < scores.languages.len()).then_some(passage)]
        .into_iter()
        .flatten()
        .map(|i| language::native(&scores.languages[i]))
        .collect();
    Line::from(vec![
        Span::styled(format!("{} → {to}: ", named(query)), model.theme.strong),
        Span::raw(format!("{value}  ")),
        Span::styled(natives.join(" "), model.theme.dim),
    ])
}

fn means(model: &Model) -> Line<'static> {
    let results = &model.results;
    let Some(scores) = &results.scores else { return Line::default() };
    let metric = results.metric();
    // Two numbers a setting need the room.
    let word = if results.is_difference() { "means " } else { "macro means  " };
    let mut spans = vec![Span::styled(word, model.theme.dim)];
    for setting in ["mono", "cross", "multi"] {
        if let Some(own) = scores.mean(setting, metric) {
            let other = results.other.as_ref().and_then(|(_, o)| o.mean(setting, metric));
            let mark =
                results.tested_mean(metric, setting).filter(|t| t.is_significant()).map_or("", |_| "*");
            let more = other.map_or_else(String::new, |o| format!(" ({}{mark})", signed(metric, own - o)));
            spans.push(Span::styled(format!("{setting} "), model.theme.kind(setting)));
            spans.push(Span::raw(format!("{}{more}  ", score(metric, own))));
        }
    }
    if metric != "rank_distance"
        && let Some(distance) = scores.mean("multi", "rank_distance")
    {
        spans.push(Span::styled(
            format!("rank distance {}", score("rank_distance", distance)),
            model.theme.dim,
        ));
    }
    Line::from(spans)
}
