//! Screen 5: the numbers as tables.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::model::Model;
use super::super::table::{Cell, KINDS, Table};
use super::super::text::{fit, left, right, width, wrap};
use super::{empty, pane, scrolled, without_scores};
use crate::report::paper;

pub fn draw(model: &Model, frame: &mut Frame, area: Rect) {
    let results = &model.results;
    let view = &results.table;
    let Some(scores) = &results.scores else {
        let text = without_scores(model);
        return empty(model, frame, pane(model, "Tables", true), area, &text);
    };
    let (table, error) = Table::shown(view, scores);
    let mut title = format!("{}: {} rows", KINDS[view.kind % KINDS.len()], table.rows.len());
    if !view.filter.is_empty() {
        title += &format!(", filter {}", view.filter);
    }
    if let Some(error) = error {
        title += &format!(" ({error})");
    }
    let block = pane(model, &title, true);
    let inner = block.inner(area);
    let theme = &model.theme;
    let mark = |column: usize| match view.sort {
        Some((c, true)) if c == column => "▼",
        Some((c, false)) if c == column => "▲",
        _ => "",
    };
    let headings: Vec<String> =
        table.headings.iter().enumerate().map(|(i, h)| format!("{h}{}", mark(i))).collect();
    // Differences from the subtracted run: a star, or a space in its place, behind every tested number.
    let texts: Vec<Vec<String>> = table
        .rows
        .iter()
        .map(|row| {
            let marked = |cell: &Cell| match results.table_mark(cell) {
                Some(mark) => format!("{}{mark:<1}", cell.text),
                None => cell.text.clone(),
            };
            row.iter().map(marked).collect()
        })
        .collect();
    let widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(i, h)| texts.iter().map(|r| width(&r[i])).max().unwrap_or(0).max(width(h)))
        .collect();
    let is_number: Vec<bool> =
        (0..headings.len()).map(|i| table.rows.iter().any(|r| r[i].number.is_some())).collect();

    // The window of columns follows the cursor.
    let room = usize::from(inner.width);
    let cursor = (
        view.cursor.0.min(table.rows.len().saturating_sub(1)),
        view.cursor.1.min(headings.len().saturating_sub(1)),
    );
    let mut first = 0;
    while first < cursor.1 && widths[first..=cursor.1].iter().map(|w| w + 2).sum::<usize>() > room {
        first += 1;
    }
    let line = |cells: &dyn Fn(usize) -> (String, ratatui::style::Style)| {
        let mut spans = Vec::new();
        for column in first..first + shown_columns(&widths[first..], room) {
            let columns = widths[column];
            let (text, style) = cells(column);
            let text = if is_number[column] {
                right(&text, columns, model.is_ascii)
            } else {
                left(&text, columns, model.is_ascii)
            };
            spans.push(Span::styled(text, style));
            spans.push(Span::raw("  "));
        }
        Line::from(spans)
    };
    let mut lines =
        vec![line(&|c| (headings[c].clone(), if c == cursor.1 { theme.selected } else { theme.strong }))];
    // The shown metric stands for the others: test and question ids are the same.
    let foot = results.other.as_ref().and_then(|(name, _)| {
        Some(format!("against {name}: {}", results.test_line(results.metric())?.replace("; dim: not", "")))
    });
    let height = usize::from(inner.height).saturating_sub(1 + usize::from(foot.is_some())).max(1);
    let top = (cursor.0 + 1).saturating_sub(height).min(table.rows.len().saturating_sub(height));
    let block = scrolled(model, block, top, height, table.rows.len());
    let last = shown_columns(&widths[first..], room) + first;
    let block = if first == 0 && last == headings.len() {
        block
    } else {
        let text = format!(" columns {}-{last} of {} ", first + 1, headings.len());
        block.title_bottom(Line::styled(text, theme.dim))
    };
    frame.render_widget(block, area);
    for (index, row) in table.rows.iter().enumerate().skip(top).take(height) {
        lines.push(line(&|c| {
            let style = match (index == cursor.0, c) {
                (true, _) => theme.selected,
                (false, 0) if view.kind == 0 => theme.kind(&row[0].text),
                _ => theme.text,
            };
            (texts[index][c].clone(), style)
        }));
    }
    if table.rows.is_empty() {
        let text = match (view.filter.is_empty(), view.kind) {
            (true, 6) => format!("No published number for this dataset. There are: {}.", paper::contents()),
            (true, _) => "Not in this evaluation: it was made by an earlier version. Evaluate again.".into(),
            (false, _) => "No row passes the filter. Esc clears it.".to_owned(),
        };
        lines.extend(wrap(&text, room).into_iter().map(|line| Line::styled(line, theme.dim)));
    }
    if let Some(foot) = foot {
        lines.resize(height + 1, Line::default());
        lines.push(Line::styled(fit(&foot, room, model.is_ascii), theme.dim));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

/// How many columns of these widths fit, two blanks behind each.
fn shown_columns(widths: &[usize], room: usize) -> usize {
    let ends = widths.iter().scan(0, |end, wide| {
        *end += wide + 2;
        Some(*end - 2)
    });
    ends.take_while(|end| *end <= room).count()
}
