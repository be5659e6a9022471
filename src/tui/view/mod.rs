//! `view`: draws the model. It changes nothing, reads nothing, and takes any size.

mod bias;
mod chart;
mod heatmap;
mod live;
#[cfg(test)]
mod live_tests;
mod overlay;
mod questions;
mod ratio;
#[cfg(test)]
mod ratio_tests;
#[cfg(test)]
mod room_tests;
mod runs;
mod setup;
mod shelf;
mod tables;
#[cfg(test)]
mod tests;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph, Wrap};

pub use chart::thin;

use super::keys;
use super::model::{Model, Overlay, Screen};
use super::text::{fit, width};

/// Least size that the screens are laid out for.
pub const LEAST: (u16, u16) = (40, 12);
/// From here on panes stand side by side.
const WIDE: u16 = 96;

/// Draws everything.
pub fn view(model: &Model, frame: &mut Frame) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!(
            "polymix needs {}x{} cells; this terminal has {}x{}. Make it larger, or use the subcommands.",
            LEAST.0, LEAST.1, area.width, area.height
        );
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)]).areas(area);
    tabs(model, frame, top);
    match model.screen {
        Screen::Setup if model.shelf.is_open => shelf::draw(model, frame, middle),
        Screen::Setup => setup::draw(model, frame, middle),
        Screen::Live => live::draw(model, frame, middle),
        Screen::Heatmap if model.results.questions.is_open => questions::draw(model, frame, middle),
        Screen::Heatmap => heatmap::draw(model, frame, middle),
        Screen::Bias => bias::draw(model, frame, middle),
        Screen::Tables => tables::draw(model, frame, middle),
        Screen::Runs => runs::draw(model, frame, middle),
    }
    footer(model, frame, bottom);
    overlay::draw(model, frame, middle);
    if model.is_ascii {
        to_ascii(frame.buffer_mut());
    }
}

/// Borders, bars and markers in ASCII; texts in their own scripts stay.
fn to_ascii(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        let Some(c) = cell.symbol().chars().next() else { continue };
        let plain = match c {
            '─' | '━' | '╌' | '→' | '▃' | '▄' => '-',
            '│' | '┃' | '▏' => '|',
            '▁' | '▂' => '_',
            '▅' | '▆' => '=',
            '░' | '·' => '.',
            '▒' | '▓' => ':',
            '○' => 'o',
            '◆' | '▲' | '△' => '^',
            '▼' | '✓' => 'v',
            '◂' | '◀' => '<',
            '▸' | '▶' => '>',
            '✗' | '×' => 'x',
            '…' => '~',
            '\u{2500}'..='\u{257f}' => '+',
            '\u{2580}'..='\u{259f}' => '#',
            '\u{2800}' => ' ',
            '●' | '•' | '\u{2801}'..='\u{28ff}' => '*',
            _ => continue,
        };
        cell.set_char(plain);
    }
}

/// The labels of the tabs, as they are drawn at this width.
fn tab_labels(model: &Model, columns: u16) -> Vec<(Screen, String)> {
    let label = |(index, screen): (usize, Screen)| {
        let title = screen.title();
        let title = if columns >= 70 || screen == model.screen { title } else { &title[..2] };
        (screen, format!(" {} {title} ", index + 1))
    };
    Screen::ALL.into_iter().enumerate().map(label).collect()
}

/// Something that can be clicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    Tab(Screen),
    /// A row of the setup form.
    Field(usize),
    /// Row and column of the heatmap.
    Cell(usize, usize),
    /// A row of the list of runs.
    Run(usize),
}

/// What is drawn at this place.
#[must_use]
pub fn hit(model: &Model, column: u16, row: u16) -> Option<Hit> {
    if row == 0 {
        let mut start = 0;
        for (screen, label) in tab_labels(model, model.size.0) {
            let end = start + width(&label);
            if (start..end).contains(&usize::from(column)) {
                return Some(Hit::Tab(screen));
            }
            start = end;
        }
        return None;
    }
    let area = Rect::new(0, 1, model.size.0, model.size.1.saturating_sub(2));
    let at = Position::new(column, row);
    match model.screen {
        Screen::Setup if !model.shelf.is_open => setup::row_at(model, area, at).map(Hit::Field),
        Screen::Heatmap if !model.results.questions.is_open => {
            heatmap::cell_at(model, area, at).map(|(row, column)| Hit::Cell(row, column))
        }
        Screen::Runs => runs::row_at(model, area, at).map(Hit::Run),
        _ => None,
    }
}

fn tabs(model: &Model, frame: &mut Frame, area: Rect) {
    let theme = &model.theme;
    let mut spans = Vec::new();
    for (screen, label) in tab_labels(model, area.width) {
        let style = if screen == model.screen { theme.selected } else { theme.dim };
        spans.push(Span::styled(label, style));
    }
    let used: usize = spans.iter().map(Span::width).sum();
    let room = usize::from(area.width).saturating_sub(used + 1);
    if let (Some(run), true) = (&model.active, model.screen != Screen::Setup) {
        let phase = model.active_row().map_or("", |r| r.summary.phase.word());
        let text = fit(&format!("{} {phase}", run.id()), room, model.is_ascii);
        spans.push(Span::raw(" ".repeat(room.saturating_sub(width(&text)) + 1)));
        spans.push(Span::styled(text, theme.title));
    } else {
        let text = fit("polymix", room, model.is_ascii);
        spans.push(Span::raw(" ".repeat(room.saturating_sub(width(&text)) + 1)));
        spans.push(Span::styled(text, theme.title));
    }
    frame.render_widget(Line::from(spans), area);
}

fn footer(model: &Model, frame: &mut Frame, area: Rect) {
    let theme = &model.theme;
    let columns = usize::from(area.width);
    if let (Some(status), false) = (&model.status, matches!(model.overlay, Some(Overlay::Prompt(_)))) {
        let style = if status.is_error { theme.bad } else { theme.good };
        let mark = if status.is_error { "✗ " } else { "✓ " };
        frame.render_widget(
            Line::styled(fit(&format!("{mark}{}", status.text), columns, model.is_ascii), style),
            area,
        );
        return;
    }
    let Some(context) = model.context() else {
        frame.render_widget(Line::styled("Esc cancel", theme.dim), area);
        return;
    };
    let is_modal = model.overlay.is_some();
    let global = keys::of(keys::Context::Global).filter(|_| !is_modal);
    let mut spans = Vec::new();
    // Help and quit stand at the right, where they are always seen.
    let last: Vec<Span> = if is_modal {
        Vec::new()
    } else {
        vec![
            Span::styled("?", theme.key),
            Span::styled(" help  ", theme.dim),
            Span::styled("q", theme.key),
            Span::styled(" quit", theme.dim),
        ]
    };
    let reserved: usize = last.iter().map(Span::width).sum();
    let mut used = 0;
    for binding in keys::of(context).chain(global).filter(|b| !b.short.is_empty()) {
        let is_apart = match binding.action {
            keys::Action::Help | keys::Action::Quit => !is_modal,
            keys::Action::Toggle => !model.offers(binding.action),
            action => !is_modal && !model.offers(action),
        };
        if is_apart {
            continue;
        }
        let key = binding.presses[0].shown();
        let text = format!(" {}  ", binding.short);
        let wide = width(&key) + width(&text);
        if used + wide + reserved > columns {
            break;
        }
        used += wide;
        spans.push(Span::styled(key, theme.key));
        spans.push(Span::styled(text, theme.dim));
    }
    spans.push(Span::raw(" ".repeat(columns.saturating_sub(used + reserved))));
    spans.extend(last);
    frame.render_widget(Line::from(spans), area);
}

/// A titled box; the focused one stands out.
fn pane<'a>(model: &Model, title: &str, is_focused: bool) -> Block<'a> {
    let theme = &model.theme;
    let title = fit(title, usize::from(model.size.0).saturating_sub(3), model.is_ascii);
    let (border, kind) = if is_focused && model.screen.panes() > 1 {
        (theme.focus, BorderType::Thick)
    } else {
        (theme.border, BorderType::Rounded)
    };
    Block::bordered()
        .border_type(kind)
        .border_style(border)
        .title(Span::styled(format!(" {title} "), if is_focused { theme.title } else { theme.strong }))
}

/// The box with the part of its lines that is shown, where that is not all of them.
fn scrolled<'a>(model: &Model, block: Block<'a>, first: usize, height: usize, count: usize) -> Block<'a> {
    if count <= height {
        return block;
    }
    let text = format!(" {}-{} of {count} ", first + 1, (first + height).min(count));
    block.title_bottom(Line::styled(text, model.theme.dim).right_aligned())
}

/// Why screens 3 to 5 have nothing to show, and what to do about it.
fn without_scores(model: &Model) -> String {
    match (&model.results.error, &model.active, &model.results.dir) {
        (Some(error), ..) => error.clone(),
        (None, None, _) => "No run yet. Start one on screen 1, or choose one on screen 6.".into(),
        (None, _, Some(_)) => "Reading ...".into(),
        (None, Some(run), None) => {
            format!("{} has no evaluation yet; it is made when training ends.", run.id())
        }
    }
}

/// What a pane says while it has nothing to show.
fn empty(model: &Model, frame: &mut Frame, block: Block<'_>, area: Rect, text: &str) {
    let paragraph =
        Paragraph::new(text.to_owned()).style(model.theme.dim).wrap(Wrap { trim: true }).block(block);
    frame.render_widget(paragraph, area);
}

/// A horizontal bar of eighths for a share in 0..=1.
fn bar(share: f64, columns: usize) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    if !share.is_finite() || columns == 0 {
        return String::new();
    }
    let eighths = (share.clamp(0.0, 1.0) * columns as f64 * 8.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(EIGHTHS[eighths % 8]);
    }
    bar
}

/// A line of bars, one a value, over the last values that fit; gaps where a value is not finite.
fn spark(values: &[f64], columns: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    if columns == 0 || values.is_empty() {
        return String::new();
    }
    let per = values.len().div_ceil(columns);
    let means: Vec<f64> = values
        .chunks(per)
        .map(|c| {
            let finite: Vec<f64> = c.iter().copied().filter(|v| v.is_finite()).collect();
            finite.iter().sum::<f64>() / finite.len() as f64
        })
        .collect();
    let finite = || means.iter().copied().filter(|v| v.is_finite());
    let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let level = |v: f64| if high > low { ((v - low) / (high - low) * 7.0).round() as usize } else { 3 };
    means.iter().map(|v| if v.is_finite() { BARS[level(*v).min(7)] } else { ' ' }).collect()
}

/// Writes text at a place of the buffer, cut at the area's right end.
fn put(frame: &mut Frame, area: Rect, column: u16, row: u16, text: &str, style: Style) {
    if row >= area.height || column >= area.width {
        return;
    }
    let room = usize::from(area.width - column);
    frame.buffer_mut().set_stringn(area.x + column, area.y + row, text, room, style);
}
