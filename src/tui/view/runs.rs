//! Screen 6: the list of runs, and the marked ones side by side.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};

use super::super::message::RunRow;
use super::super::model::Model;
use super::super::runs::{COLUMNS, VIEWS, cells};
use super::super::text::{ago, fit, left, right, score, width};
use super::chart::{self, Look, Series, XAxis};
use super::{bar, empty, pane, ratio, scrolled};
use crate::report::metric_name;
use crate::run::Phase;

/// Markers of marked runs, so that colours are not alone.
const MARKS: [&str; 8] = ["●", "◆", "▲", "○", "×", "▼", "▶", "◀"];

/// Columns of the names of scores, and of settings.
const SETTING: usize = 22;
const KEY: usize = 28;

pub fn draw(model: &Model, frame: &mut Frame, area: Rect) {
    if model.is_maximised {
        if model.focus() == 1 {
            compare(model, frame, area);
        } else {
            list(model, frame, area);
        }
        return;
    }
    let [above, below] = halves(model, area);
    list(model, frame, above);
    if below.height > 0 {
        compare(model, frame, below);
    }
}

/// The list, and the comparison below it where there is room.
fn halves(model: &Model, area: Rect) -> [Rect; 2] {
    let share = if area.height < 20 && model.focus() == 0 { 100 } else { 50 };
    Layout::vertical([Constraint::Percentage(share), Constraint::Percentage(100 - share)]).areas(area)
}

/// Rows that fit below the heading, and the first of them.
fn window(model: &Model, inner: Rect, rows: usize) -> (usize, usize) {
    let height = usize::from(inner.height).saturating_sub(1).max(1);
    (height, (model.runs.cursor + 1).saturating_sub(height).min(rows.saturating_sub(height)))
}

/// The row of the list at a place of the screen's area.
pub fn row_at(model: &Model, area: Rect, at: Position) -> Option<usize> {
    let list = match (model.is_maximised, model.focus()) {
        (true, 1) => return None,
        (true, _) => area,
        (false, _) => halves(model, area)[0],
    };
    let mut inner = pane(model, "", true).inner(list);
    if has_progress(model, inner) {
        inner = below_progress(inner);
    }
    let rows = model.runs.visible().0.len();
    let (height, top) = window(model, inner, rows);
    let line = usize::from(at.y.checked_sub(inner.y + 1)?);
    (inner.contains(at) && line < height && top + line < rows).then_some(top + line)
}

/// Whether a line of the pane shows how far the chosen sweep is.
fn has_progress(model: &Model, inner: Rect) -> bool {
    model.runs.chosen_sweep().is_some() && inner.height >= 5
}

fn below_progress(inner: Rect) -> Rect {
    Rect { y: inner.y + 1, height: inner.height - 1, ..inner }
}

fn list(model: &Model, frame: &mut Frame, area: Rect) {
    let runs = &model.runs;
    let theme = &model.theme;
    let (rows, error) = runs.visible();
    let mut title = format!("Runs: {}", rows.len());
    if !runs.filter.is_empty() {
        title += &format!(" of {}, filter {}", runs.rows.len(), runs.filter);
    }
    if let Some(error) = error {
        title += &format!(" ({error})");
    }
    if let Some(sweep) = runs.chosen_sweep() {
        title += &format!(" of sweep {}: {}", sweep.id, sweep.standing());
    } else if let Some(sweep) = runs.sweeps.iter().find(|s| s.overall.running > 0) {
        title += &format!(", sweep {} {} (e)", sweep.id, sweep.standing());
    }
    let block = pane(model, &title, model.focus() == 0);
    if !runs.is_loaded {
        return empty(model, frame, block, area, "Looking for runs ...");
    }
    if rows.is_empty() {
        let text = if runs.rows.is_empty() {
            "No runs yet. Start one on screen 1, or with polymix train."
        } else {
            "No run passes the filter. Esc clears it."
        };
        return empty(model, frame, block, area, text);
    }
    let mut inner = block.inner(area);
    if let Some(sweep) = runs.chosen_sweep().filter(|_| has_progress(model, inner)) {
        let text = bar(sweep.share, usize::from(inner.width).saturating_sub(6));
        let line = Line::from(vec![
            Span::raw(format!("{:>4.0}% ", 100.0 * sweep.share)),
            Span::styled(text, model.theme.good),
        ]);
        frame.render_widget(Paragraph::new(line), Rect { height: 1, ..inner });
        inner = below_progress(inner);
    }
    // Columns from the most to the least important, as many as fit.
    let room = usize::from(inner.width).saturating_sub(2);
    let table: Vec<[String; 12]> = rows.iter().map(|r| cells(r)).collect();
    let widths: Vec<usize> = COLUMNS
        .iter()
        .enumerate()
        .map(|(i, c)| table.iter().map(|r| width(&r[i])).max().unwrap_or(0).max(width(c)).min(32))
        .collect();
    let mut used = 0;
    let mut shown: Vec<usize> = Vec::new();
    for column in [0, 1, 2, 3, 4, 7, 5, 6, 8, 10, 9, 11] {
        if used + widths[column] + 2 <= room {
            used += widths[column] + 2;
            shown.push(column);
        }
    }
    shown.sort_unstable();
    let has_age = used + 12 <= room;
    let cell = |column: usize, text: &str| {
        if (2..=8).contains(&column) || column == 10 {
            right(text, widths[column], model.is_ascii)
        } else {
            left(text, widths[column], model.is_ascii)
        }
    };
    let mut head = vec![Span::raw("  ")];
    for column in &shown {
        let style = if *column == runs.sort && runs.sort > 0 { theme.title } else { theme.strong };
        head.push(Span::styled(format!("{}  ", cell(*column, COLUMNS[*column])), style));
    }
    if has_age {
        head.push(Span::styled("created", theme.strong));
    }
    let mut lines = vec![Line::from(head)];
    let (height, top) = window(model, inner, rows.len());
    frame.render_widget(scrolled(model, block, top, height, rows.len()), area);
    for (index, row) in rows.iter().enumerate().skip(top).take(height) {
        let is_here = index == runs.cursor;
        let mut spans = vec![match runs.marked.iter().position(|m| *m == row.summary.run.path) {
            Some(at) => {
                Span::styled(format!("{} ", MARKS[at % MARKS.len()]), theme.series[at % theme.series.len()])
            }
            None => Span::raw("  "),
        }];
        for column in &shown {
            let style = match (is_here, *column) {
                (true, _) => theme.selected,
                (false, 1) => state(model, row),
                _ => theme.text,
            };
            spans.push(Span::styled(format!("{}  ", cell(*column, &table[index][*column])), style));
        }
        if has_age {
            spans.push(Span::styled(ago(model.now - row.summary.created), theme.dim));
        }
        lines.push(Line::from(spans));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

fn state(model: &Model, row: &RunRow) -> ratatui::style::Style {
    let theme = &model.theme;
    match row.summary.phase {
        Phase::Done => theme.good,
        Phase::Failed | Phase::Stale => theme.bad,
        Phase::Stopped | Phase::Queued => theme.warn,
        _ => theme.title,
    }
}

fn compare(model: &Model, frame: &mut Frame, area: Rect) {
    let runs = &model.runs;
    let compared = runs.compared();
    let is_ratio = runs.view % VIEWS.len() == 2;
    let which = if runs.marked.is_empty() && is_ratio {
        "all listed; space marks some".to_owned()
    } else if runs.marked.is_empty() {
        "this run; space marks several".to_owned()
    } else {
        format!("{} marked", compared.len())
    };
    let view = VIEWS[runs.view % VIEWS.len()];
    let title = if is_ratio {
        let measures = runs.measures();
        let at = runs.measure % measures.len();
        let (setting, metric) = &measures[at];
        let turn = match measures.len() {
            1 => String::new(),
            n => format!(" {}/{n} (left, right)", at + 1),
        };
        format!("{view}: {setting} {}{turn}, {which}; v: next", metric_name(metric))
    } else {
        format!("{view} ({which}; v: next)")
    };
    let block = pane(model, &title, model.focus() == 1);
    if compared.is_empty() && !is_ratio {
        return empty(model, frame, block, area, "");
    }
    match runs.view % VIEWS.len() {
        0 => {
            let series: Vec<Series> = compared
                .iter()
                .enumerate()
                .map(|(at, row)| Series {
                    name: format!("{} {}", MARKS[at % MARKS.len()], fit(&row.summary.id, 24, model.is_ascii)),
                    points: row.curve.to_vec(),
                    style: model.theme.series[at % model.theme.series.len()],
                    is_scatter: false,
                })
                .collect();
            let look = Look {
                block,
                is_log: false,
                x_axis: XAxis::Steps,
                axis: model.theme.dim,
                empty: "No step yet.",
            };
            chart::draw(frame, area, &series, look);
        }
        1 => {
            let mut lines = Vec::new();
            let wide = column(area, SETTING, &compared).clamp(10, 18);
            let metrics = ["map", "mrr", "ndcg@10", "recall@10", "success@1", "rank_distance"];
            lines.push(header(model, &compared, SETTING, wide));
            for setting in ["mono", "cross", "multi"] {
                for metric in metrics {
                    let values: Vec<Option<f64>> =
                        compared.iter().map(|r| r.score(setting, metric)).collect();
                    if values.iter().all(Option::is_none) {
                        continue;
                    }
                    let best = best(&values, metric == "rank_distance");
                    let mut spans = vec![Span::styled(
                        left(&format!("{setting} {}", metric_name(metric)), SETTING, model.is_ascii),
                        model.theme.kind(setting),
                    )];
                    for value in &values {
                        let text = value.map_or_else(|| "-".into(), |v| score(metric, v));
                        let is_best = compared.len() > 1 && *value == best && value.is_some();
                        let style = if is_best { model.theme.good } else { model.theme.text };
                        let text = format!("{text}{}", if is_best { "*" } else { " " });
                        spans.push(Span::styled(right(&text, wide, model.is_ascii), style));
                    }
                    lines.push(Line::from(spans));
                }
            }
            if lines.len() == 1 {
                lines.push(Line::styled("No evaluation yet.", model.theme.dim));
            }
            below_header(model, frame, block, area, lines);
        }
        2 => ratio::draw(model, frame, block, area),
        _ => {
            let wide = column(area, KEY, &compared).clamp(12, 60);
            let mut lines = vec![header(model, &compared, KEY, wide)];
            let differences = runs.config_differences();
            if differences.is_empty() {
                lines.push(Line::styled("The specs are equal.", model.theme.dim));
            }
            for (key, values) in differences {
                let mut spans = vec![Span::styled(left(&key, KEY, model.is_ascii), model.theme.dim)];
                spans.extend(values.iter().map(|v| Span::raw(cell(v, KEY, wide, model.is_ascii))));
                lines.push(Line::from(spans));
            }
            below_header(model, frame, block, area, lines);
        }
    }
}

/// Columns of each compared run beside names of so many.
fn column(area: Rect, names: usize, compared: &[&RunRow]) -> usize {
    usize::from(area.width).saturating_sub(2 + names) / compared.len().max(1)
}

/// A run's cell: numbers stand to the right, settings to the left with a blank behind them.
fn cell(text: &str, names: usize, wide: usize, is_ascii: bool) -> String {
    if names == SETTING { right(text, wide, is_ascii) } else { left(text, wide - 1, is_ascii) + " " }
}

fn header(model: &Model, compared: &[&RunRow], names: usize, wide: usize) -> Line<'static> {
    let mut spans = vec![Span::raw(" ".repeat(names))];
    for (at, row) in compared.iter().enumerate() {
        let text = format!("{} {}", MARKS[at % MARKS.len()], row.summary.id);
        let style = model.theme.series[at % model.theme.series.len()];
        spans.push(Span::styled(cell(&text, names, wide, model.is_ascii), style));
    }
    Line::from(spans)
}

/// The heading, and as many of the lines below it as fit from where they are scrolled to.
fn below_header(model: &Model, frame: &mut Frame, block: Block<'_>, area: Rect, mut lines: Vec<Line<'_>>) {
    let height = usize::from(block.inner(area).height).saturating_sub(1);
    let count = lines.len() - 1;
    let first = model.runs.scroll.min(count.saturating_sub(height));
    lines.drain(1..=first);
    let block = scrolled(model, block, first, height, count);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// The best of the values: the largest, or the smallest where less is better.
fn best(values: &[Option<f64>], is_less_better: bool) -> Option<f64> {
    let finite = values.iter().flatten().copied().filter(|v| v.is_finite());
    if is_less_better { finite.min_by(f64::total_cmp) } else { finite.max_by(f64::total_cmp) }
}
