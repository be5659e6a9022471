//! Data and models: what is on disk, what can be fetched, and how far the download is.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::super::model::Model;
use super::super::shelf::Row;
use super::super::text::{fit, left, wrap};
use super::{bar, empty, pane, scrolled};
use crate::corpus::catalogue::Form;
use crate::hub::{bytes, redact};

/// Columns of the kind, the size and the state.
const KIND: usize = 6;
const SIZE: usize = 9;

pub fn draw(model: &Model, frame: &mut Frame, area: Rect) {
    let block = pane(model, "Data and models", true);
    match &model.shelf.rows {
        None => return empty(model, frame, block, area, "looking at the disk ..."),
        Some(Err(error)) => return empty(model, frame, block, area, error),
        Some(Ok(_)) => {}
    }
    let inner = block.inner(area);
    let about = match inner.height {
        26.. => 11,
        18.. => 7,
        _ => 3,
    };
    let [list, below] = Layout::vertical([Constraint::Min(3), Constraint::Length(about)]).areas(inner);
    let theme = &model.theme;
    let columns = usize::from(list.width);
    // A narrow list says what is on disk rather than how large it is.
    let wide = if columns < 60 { 0 } else { SIZE };
    let name = columns.saturating_sub(2 + KIND + wide + 11).min(34);
    let state = columns.saturating_sub(2 + KIND + name + wide);
    let height = usize::from(list.height).max(1);
    let first = (model.shelf.cursor + 1).saturating_sub(height);
    frame.render_widget(scrolled(model, block, first, height, model.shelf.rows().len()), area);
    let mut lines = Vec::new();
    for (index, row) in model.shelf.rows().iter().enumerate().skip(first).take(height) {
        let is_here = index == model.shelf.cursor;
        let size = row.entry.expected(&[]).map_or("-".into(), bytes);
        let style = if row.held.is_usable { theme.good } else { theme.dim };
        lines.push(Line::from(vec![
            Span::styled(if is_here { "▸ " } else { "  " }, theme.key),
            Span::styled(left(row.kind(), KIND, model.is_ascii), theme.dim),
            Span::styled(
                left(&row.entry.name, name, model.is_ascii),
                if is_here { theme.selected } else { theme.text },
            ),
            Span::styled(if wide == 0 { String::new() } else { format!("{size:>8} ") }, theme.dim),
            Span::styled(fit(&told(model, row, state), state, model.is_ascii), style),
        ]));
    }
    frame.render_widget(Paragraph::new(lines), list);
    frame.render_widget(
        Paragraph::new(about_lines(model, usize::from(below.width))).wrap(Wrap { trim: true }),
        below,
    );
}

/// The state of a row in words, with a bar while it is fetched.
fn told(model: &Model, row: &Row, columns: usize) -> String {
    let shelf = &model.shelf;
    if let Some(transfer) = shelf.transfer.as_ref().filter(|_| shelf.is_fetching(row)) {
        let share = transfer.share();
        let word = if transfer.is_pausing { "pausing" } else { "fetching" };
        let text = format!("{word} {:.0}% ", 100.0 * share);
        return text + &bar(share, columns.saturating_sub(16).min(20));
    }
    match (row.held.is_usable, shelf.ended_of(row)) {
        (false, Some(ended)) => ended.state.clone(),
        (false, None) if row.held.has_parts && row.held.trouble.is_none() => "begun; Enter goes on".into(),
        _ => row.held.word(),
    }
}

fn about_lines(model: &Model, columns: usize) -> Vec<Line<'static>> {
    let theme = &model.theme;
    let mut lines = Vec::new();
    if let Some(transfer) = &model.shelf.transfer {
        let text = match &transfer.note {
            Some(note) => note.clone(),
            None => format!(
                "{}: {} of {}  {}",
                transfer.name,
                bytes(transfer.done),
                bytes(transfer.total),
                transfer.file
            ),
        };
        lines.push(Line::styled(fit(&text, columns, model.is_ascii), theme.strong));
    }
    let Some(row) = model.shelf.under_cursor() else { return lines };
    let failed = model.shelf.ended_of(row).filter(|e| !e.why.is_empty() && !row.held.is_usable);
    for text in failed.iter().flat_map(|e| wrap(&e.why, columns)) {
        lines.push(Line::styled(text, theme.bad));
    }
    let entry = &row.entry;
    let roles: Vec<String> = entry.roles.iter().map(ToString::to_string).collect();
    let sources: Vec<String> = entry.sources.iter().map(|s| redact(&s.at.to_string())).collect();
    let mut texts = vec![entry.description.clone(), format!("licence {}", entry.licence)];
    if !roles.is_empty() {
        texts.push(format!("for {}; languages {}", roles.join(", "), entry.languages.join(" ")));
    }
    if let Some(layout) = entry.layout {
        texts.push(format!("for {}; {} languages", layout.purpose(), entry.languages.len()));
    }
    texts.push(format!("from {}", sources.join(", ")));
    texts.extend(row.held.doubt(entry));
    if row.held.trouble.is_some() && !row.held.is_unsure() {
        texts.push(row.held.lack(entry));
    }
    if !entry.citation.is_empty() {
        texts.push(entry.citation.clone());
    }
    if entry.form == Form::Data {
        let files: Vec<&str> = entry.sources.iter().flat_map(|s| &s.files).map(String::as_str).collect();
        let files = if files.is_empty() { "an archive".to_owned() } else { files.join(", ") };
        texts.push(format!("files {files}"));
    }
    for text in texts {
        lines.extend(wrap(&text, columns).into_iter().map(|l| Line::styled(l, theme.dim)));
    }
    lines
}
