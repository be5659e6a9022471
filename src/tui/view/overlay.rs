//! What lies over the screen: help, prompts, questions, lists.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};

use super::super::keys::{self, Context};
use super::super::model::{Confirm, Model, Overlay, Pick, Prompt};
use super::super::text::{fit, left, width, wrap};
use super::pane;

/// Draws the overlay, if there is one.
pub fn draw(model: &Model, frame: &mut Frame, area: Rect) {
    match &model.overlay {
        Some(Overlay::Help { scroll, line }) => help(model, *scroll, &line.text, frame, area),
        Some(Overlay::Prompt(prompt)) => prompted(model, prompt, frame, area),
        Some(Overlay::Confirm(confirm)) => confirmed(model, confirm, frame, area),
        Some(Overlay::Pick(pick)) => picked(model, pick, frame, area),
        None => {}
    }
}

/// A box in the middle, emptied first; its inside.
fn boxed(model: &Model, frame: &mut Frame, area: Rect, title: &str, columns: usize, rows: usize) -> Rect {
    let wide = (columns + 2).min(usize::from(area.width)) as u16;
    let high = (rows + 2).min(usize::from(area.height)) as u16;
    let place = Rect::new(area.x + (area.width - wide) / 2, area.y + (area.height - high) / 2, wide, high);
    frame.render_widget(Clear, place);
    let block = pane(model, title, true).border_style(model.theme.focus);
    let inner = block.inner(place);
    frame.render_widget(block, place);
    inner
}

fn help(model: &Model, scroll: usize, typed: &str, frame: &mut Frame, area: Rect) {
    let theme = &model.theme;
    let context = model.screen_context();
    let mut lines: Vec<Line> = Vec::new();
    let room = usize::from(area.width).saturating_sub(2 + 18).max(12);
    for (title, context) in [(model.screen.title(), context), ("Everywhere", Context::Global)] {
        lines.push(Line::styled(title, theme.strong));
        for binding in keys::of(context) {
            let keys: Vec<String> = binding.presses.iter().map(|p| p.shown()).collect();
            let text = format!("{} {}", keys.join(" "), binding.description).to_lowercase();
            if !typed.to_lowercase().split_whitespace().all(|word| text.contains(word)) {
                continue;
            }
            for (index, part) in wrap(binding.description, room).into_iter().enumerate() {
                let keys = if index == 0 { keys.join(" ") } else { String::new() };
                lines.push(Line::from(vec![
                    Span::styled(format!("  {}", left(&keys, 16, model.is_ascii)), theme.key),
                    Span::raw(part),
                ]));
            }
        }
        lines.push(Line::default());
    }
    // What was broken takes the whole width: a box one column narrower would have two borders.
    let is_broken = keys::of(context).chain(keys::of(Context::Global)).any(|b| width(b.description) > room);
    let columns = lines.iter().map(Line::width).max().unwrap_or(0).max(40);
    let columns = if is_broken { usize::from(area.width) } else { columns };
    let rows = lines.len();
    let title = if typed.is_empty() { "Help (type to narrow)".to_owned() } else { format!("Help: {typed}") };
    let inner = boxed(model, frame, area, &title, columns, rows);
    let scroll = scroll.min(rows.saturating_sub(usize::from(inner.height)));
    frame.render_widget(Paragraph::new(lines.into_iter().skip(scroll).collect::<Vec<_>>()), inner);
}

fn prompted(model: &Model, prompt: &Prompt, frame: &mut Frame, area: Rect) {
    let theme = &model.theme;
    let columns = usize::from(area.width).saturating_sub(4).min(100);
    let error = prompt.error.as_ref().map_or_else(Vec::new, |e| wrap(e, columns));
    let inner = boxed(model, frame, area, &prompt.title, columns, 1 + error.len().min(4));
    let room = usize::from(inner.width).saturating_sub(1);
    let (before, behind) = prompt.line.parts();
    // The end of a long line is where the typing happens.
    let mut start = before;
    while width(start) > room {
        let next = start.char_indices().nth(1).map_or(start.len(), |(i, _)| i);
        start = &start[next..];
    }
    let at_cursor: String = behind.chars().take(1).collect();
    let rest = behind.get(at_cursor.len()..).unwrap_or_default();
    let shown = if at_cursor.is_empty() { " ".to_owned() } else { at_cursor };
    let mut lines = vec![Line::from(vec![
        Span::raw(start.to_owned()),
        Span::styled(shown, theme.selected.add_modifier(ratatui::style::Modifier::REVERSED)),
        Span::raw(fit(rest, room.saturating_sub(width(start)), model.is_ascii)),
    ])];
    lines.extend(error.into_iter().take(4).map(|e| Line::styled(e, theme.bad)));
    frame.render_widget(Paragraph::new(lines), inner);
}

fn confirmed(model: &Model, confirm: &Confirm, frame: &mut Frame, area: Rect) {
    let theme = &model.theme;
    let columns = usize::from(area.width).saturating_sub(4).min(70);
    let mut lines: Vec<Line> = wrap(&confirm.text, columns).into_iter().map(Line::from).collect();
    lines.push(Line::default());
    let choices = confirm.choices.iter().map(|c| (c.key.to_string(), c.label));
    for (key, label) in choices.chain([("Esc".to_owned(), "cancel")]) {
        lines
            .push(Line::from(vec![Span::styled(left(&key, 5, model.is_ascii), theme.key), Span::raw(label)]));
    }
    let inner = boxed(model, frame, area, confirm.title, columns, lines.len());
    frame.render_widget(Paragraph::new(lines), inner);
}

fn picked(model: &Model, pick: &Pick, frame: &mut Frame, area: Rect) {
    let theme = &model.theme;
    let visible = pick.visible();
    let columns = pick.items.iter().map(|i| width(&i.label)).max().unwrap_or(0).clamp(36, 80) + 6;
    let inner = boxed(model, frame, area, pick.title, columns, (pick.items.len() + 1).min(20));
    let room = usize::from(inner.width);
    let mut lines = vec![Line::from(vec![
        Span::styled("type to narrow: ", theme.dim),
        Span::raw(pick.line.text.clone()),
        Span::styled(" ", theme.selected),
    ])];
    let height = usize::from(inner.height).saturating_sub(1).max(1);
    let first = (pick.cursor + 1).saturating_sub(height);
    for (index, item) in visible.iter().enumerate().skip(first).take(height) {
        let mark = match item.on {
            Some(true) => "[x] ",
            Some(false) => "[ ] ",
            None if index == pick.cursor => "▸ ",
            None => "  ",
        };
        let style = if index == pick.cursor { theme.selected } else { theme.text };
        lines.push(Line::styled(left(&format!("{mark}{}", item.label), room, model.is_ascii), style));
    }
    if visible.is_empty() {
        lines.push(Line::styled("nothing matches", theme.dim));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}
