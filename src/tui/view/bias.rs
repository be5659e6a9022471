//! Screen 4: which languages the multilingual pool favours.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::super::language;
use super::super::model::Model;
use super::super::results::BIAS;
use super::super::scores::Scores;
use super::super::text::{fit, left, wrap};
use super::{bar, empty, pane, without_scores};
use crate::report::probability;

pub fn draw(model: &Model, frame: &mut Frame, area: Rect) {
    let results = &model.results;
    let measure = results.bias_measure();
    let title =
        format!("Language bias: {} ({} of {})", measure.title, results.bias % BIAS.len() + 1, BIAS.len());
    let block = pane(model, &title, true);
    let Some(scores) = &results.scores else {
        let text = without_scores(model);
        return empty(model, frame, block, area, &text);
    };
    let rows = results.bias_rows();
    if rows.iter().all(|(_, v)| !v.is_finite()) {
        let text = "Not measured: the dataset has no parallel passages, or no question went wrong.";
        return empty(model, frame, block, area, text);
    }
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let theme = &model.theme;
    // Whole where the bars of all languages stay in sight, else a line each.
    let (tests, columns) = (tests(scores), usize::from(inner.width));
    let whole: Vec<String> = tests.iter().flat_map(|t| wrap(t, columns)).collect();
    let cut = || tests.iter().map(|t| fit(t, columns, model.is_ascii)).collect();
    let has_room = usize::from(inner.height) >= 3 + rows.len() + whole.len();
    let tests: Vec<String> = if has_room { whole } else { cut() };
    let foot = 1 + tests.len() as u16;
    let [note, bars, mean] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(1), Constraint::Length(foot)]).areas(inner);
    frame.render_widget(Paragraph::new(measure.note).style(theme.dim).wrap(Wrap { trim: true }), note);

    let prior = |l: usize| scores.bias.iter().find(|b| b.language == l).map(|b| b.pool_share);
    let finite = || rows.iter().map(|r| r.1).filter(|v| v.is_finite());
    let has_prior = measure.title == "share of the top ten";
    let priors = rows.iter().filter_map(|(l, _)| prior(*l)).filter(|_| has_prior);
    let most = finite().chain(priors).fold(0.0, f64::max);
    let columns = usize::from(bars.width).saturating_sub(32).max(4);
    let height = usize::from(bars.height).max(1);
    let cursor = results.cursor.0.min(rows.len().saturating_sub(1));
    let first = (cursor + 1).saturating_sub(height);
    let lines: Vec<Line> = rows
        .iter()
        .enumerate()
        .skip(first)
        .take(height)
        .map(|(index, (l, value))| {
            let code = &scores.languages[*l];
            let shown = match (value.is_finite(), measure.is_share) {
                (false, _) => "-".to_owned(),
                (true, true) => format!("{:.1}%", value * 100.0),
                (true, false) => format!("{value:.1}"),
            };
            let mut line = left(&bar(value / most, columns), columns, false);
            if let (true, Some(prior)) = (has_prior && most > 0.0, prior(*l)) {
                let at = ((prior / most) * columns as f64).round() as usize;
                line = line
                    .chars()
                    .enumerate()
                    .map(|(i, c)| if i == at.min(columns - 1) { '│' } else { c })
                    .collect();
            }
            let style = if index == cursor { theme.selected } else { theme.text };
            Line::from(vec![
                Span::styled(
                    format!(
                        "{} {} ",
                        left(code, 3, model.is_ascii),
                        left(language::english(code), 14, model.is_ascii)
                    ),
                    style,
                ),
                Span::raw(format!("{shown:>9} ")),
                Span::styled(line, theme.multi),
            ])
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), bars);
    let values: Vec<f64> = finite().collect();
    let average = values.iter().sum::<f64>() / values.len() as f64;
    let (low, high) =
        values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    let text = if measure.is_share {
        format!("mean {:.1}%, from {:.1}% to {:.1}%", average * 100.0, low * 100.0, high * 100.0)
    } else {
        format!("mean {average:.1}, from {low:.1} to {high:.1}")
    };
    let tests = tests.into_iter().map(|t| Line::styled(t, theme.dim));
    let lines: Vec<Line> = std::iter::once(Line::styled(text, theme.strong)).chain(tests).collect();
    frame.render_widget(Paragraph::new(lines), mean);
}

/// The tests over all languages at once, a line each; more stands in the tables.
fn tests(scores: &Scores) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(test) = scores.fairness.friedman.iter().find(|t| t.query_language.is_none()) {
        lines.push(match (&test.undefined, test.chi_square, test.p, test.kendall_w) {
            (None, Some(chi), Some(p), Some(w)) => format!(
                "Friedman over {} question ids: chi2 {chi:.1}, p {}, Kendall's W {w:.4} (0: no order of languages)",
                test.blocks,
                probability(p)
            ),
            (why, ..) => format!("Friedman: undefined: {}", why.as_deref().unwrap_or("")),
        });
    }
    if let Some(peer) = scores.fairness.peer.iter().find(|p| p.name == "peer_reranked") {
        lines.push(match (peer.value, &peer.undefined) {
            (Some(value), _) => format!("PEER {value:.4} over {} questions (1: alike)", peer.questions),
            (None, why) => format!("PEER: undefined: {}", why.as_deref().unwrap_or("")),
        });
    }
    lines
}
