//! The questions of a heatmap cell, worst first, each with the passages that came first.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::model::Model;
use super::super::text::{fit, left, wrap};
use super::{WIDE, empty, pane, scrolled};
use crate::evaluate::QueryView;

pub fn draw(model: &Model, frame: &mut Frame, area: Rect) {
    let results = &model.results;
    let code = |scores: &super::super::scores::Scores, i: usize| {
        scores.languages.get(i).cloned().unwrap_or_else(|| "all languages".into())
    };
    let cell = results.scores.as_ref().zip(results.under_cursor());
    let place = cell.map_or_else(String::new, |(s, (q, p))| format!("{} → {}", code(s, q), code(s, p)));
    let (found, error) = results.cell_questions();
    let order = if results.questions.is_best_first { "best first" } else { "worst first" };
    let mut title = format!("Questions {place}, {order}: {}", found.len());
    if !results.questions.filter.is_empty() {
        title += &format!(", filter {}", results.questions.filter);
    }
    let block = pane(model, &title, true);
    if results.questions.all.is_none() {
        return empty(model, frame, block, area, "Reading ...");
    }
    if found.is_empty() {
        let text = error.unwrap_or_else(|| "No question matches. Esc goes back.".into());
        return empty(model, frame, block, area, &text);
    }
    let inner = block.inner(area);
    let direction = if area.width >= WIDE { Layout::horizontal } else { Layout::vertical };
    let [list, detail] = direction([Constraint::Percentage(45), Constraint::Percentage(55)]).areas(inner);
    let cursor = results.questions.cursor.min(found.len() - 1);
    let height = usize::from(list.height).max(1);
    let first = (cursor + 1).saturating_sub(height).min(found.len().saturating_sub(height));
    frame.render_widget(scrolled(model, block, first, height, found.len()), area);
    let theme = &model.theme;
    let columns = usize::from(list.width).saturating_sub(1);
    let lines: Vec<Line> = found
        .iter()
        .enumerate()
        .skip(first)
        .take(height)
        .map(|(index, (rank, q))| {
            let head = format!("{rank:>6} {} ", q.language);
            let text = fit(&q.text, columns.saturating_sub(head.len()), model.is_ascii);
            let style = if index == cursor { theme.selected } else { theme.text };
            Line::from(vec![
                Span::styled(head, if index == cursor { style } else { theme.dim }),
                Span::styled(text, style),
            ])
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), list);
    let lines = details(model, found[cursor].0, found[cursor].1, usize::from(detail.width));
    frame.render_widget(Paragraph::new(lines), detail);
}

/// A question with its ranks and its first passages.
fn details(model: &Model, rank: u32, question: &QueryView, columns: usize) -> Vec<Line<'static>> {
    let theme = &model.theme;
    let mut lines = vec![Line::styled(
        fit(&format!("{} ({})", question.id, question.domain), columns, model.is_ascii),
        theme.dim,
    )];
    lines.extend(wrap(&question.text, columns).into_iter().map(|l| Line::styled(l, theme.strong)));
    let summary = format!(
        "rank here {rank}, average precision over all languages {:.4}, rank distance {:.0}",
        question.ap, question.rank_distance
    );
    lines.extend(wrap(&summary, columns).into_iter().map(Line::from));
    if let Some(scores) = &model.results.scores {
        let ranks: Vec<String> = scores
            .languages
            .iter()
            .zip(&question.pool_ranks)
            .filter(|(_, r)| **r > 0)
            .map(|(l, r)| format!("{l} {r}"))
            .collect();
        for line in wrap(&format!("ranks in the pool: {}", ranks.join("  ")), columns) {
            lines.push(Line::styled(line, theme.dim));
        }
    }
    lines.push(Line::default());
    for (place, passage) in question.top.iter().enumerate() {
        let (mark, style) = if passage.relevant { ("✓", theme.good) } else { (" ", theme.text) };
        let head = left(
            &format!("{:>3} {mark} {:.3} {} ", place + 1, passage.score, passage.language),
            15,
            model.is_ascii,
        );
        let room = columns.saturating_sub(15);
        for (at, part) in wrap(&passage.text, room).into_iter().take(3).enumerate() {
            let head = if at == 0 { head.clone() } else { " ".repeat(15) };
            lines.push(Line::from(vec![Span::styled(head, theme.dim), Span::styled(part, style)]));
        }
    }
    lines
}
