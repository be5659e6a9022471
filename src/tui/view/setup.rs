//! Screen 1: the form, and the plan that would run.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use ratatui::widgets::canvas::{self, Canvas};

use super::super::message::Plan;
use super::super::model::Model;
use super::super::setup::{ALPHA, FIELDS, START};
use super::super::text::{compact, fit, left, wrap};
use super::{WIDE, bar, empty, pane, scrolled};
use crate::spec::{Dtype, Weights};

/// Rows of the form's area that have room for the welcome; what then lies below the end is scrolled to.
const WELCOMED: usize = 33;
/// Columns of the labels.
const LABEL: usize = 16;

pub fn draw(model: &Model, frame: &mut Frame, area: Rect) {
    if model.is_maximised || area.width < WIDE {
        if model.focus() == 1 {
            plan(model, frame, area);
        } else {
            form(model, frame, area);
        }
        return;
    }
    let [one, two] = halves(area);
    form(model, frame, one);
    plan(model, frame, two);
}

/// Whether it can start, in words: on a narrow screen the plan with its own words is hidden.
fn verdict(model: &Model) -> (String, Style) {
    let theme = &model.theme;
    match (model.setup.problem(), &model.setup.preview) {
        (Some(problem), _) => (format!("✗ cannot start: {problem}"), theme.bad),
        (None, Some(Err(error))) => (format!("✗ cannot start: {error}"), theme.bad),
        (None, None) => (model.setup.planning(), theme.dim),
        (None, Some(Ok(plan))) => match &plan.estimate.problem {
            Some(problem) => (format!("! will not fit: {problem}"), theme.warn),
            None => (format!("✓ ready to start on {}", plan.device), theme.good),
        },
    }
}

/// The welcome, the rows and the lines below, and the first row that is shown.
fn form_parts(model: &Model, inner: Rect, welcome: usize) -> ([Rect; 3], usize) {
    let lines = 1 + wrap(&verdict(model).0, usize::from(inner.width)).len();
    let below = lines.clamp(3, usize::from(inner.height / 2).max(3));
    let heights = [Constraint::Length(welcome as u16), Constraint::Min(3), Constraint::Length(below as u16)];
    let parts: [Rect; 3] = Layout::vertical(heights).areas(inner);
    let height = usize::from(parts[1].height);
    let first =
        model.setup.row.saturating_sub(height.saturating_sub(1)).min(FIELDS.len().saturating_sub(height));
    (parts, first)
}

/// The area of the form, where it is shown.
fn form_area(model: &Model, area: Rect) -> Option<Rect> {
    if model.is_maximised || area.width < WIDE {
        return (model.focus() == 0).then_some(area);
    }
    let [one, _] = halves(area);
    Some(one)
}

fn halves(area: Rect) -> [Rect; 2] {
    Layout::horizontal([Constraint::Percentage(52), Constraint::Percentage(48)]).areas(area)
}

/// The row of the form at a place of the screen's area.
pub fn row_at(model: &Model, area: Rect, at: Position) -> Option<usize> {
    let inner = pane(model, "", true).inner(form_area(model, area)?);
    let ([_, rows, _], first) = form_parts(model, inner, welcome(model, inner).len());
    let row = first + usize::from(at.y.checked_sub(rows.y)?);
    (rows.contains(at) && row < FIELDS.len()).then_some(row)
}

fn form(model: &Model, frame: &mut Frame, area: Rect) {
    let theme = &model.theme;
    let title = match &model.shelf.transfer {
        Some(transfer) => format!("Experiment; fetching {} {:.0}%", transfer.name, 100.0 * transfer.share()),
        None => "Experiment".into(),
    };
    let block = pane(model, &title, model.focus() == 0);
    let inner = block.inner(area);
    let welcome = welcome(model, inner);
    let ([above, rows, below], first) = form_parts(model, inner, welcome.len());
    let height = usize::from(rows.height);
    frame.render_widget(scrolled(model, block, first, height, FIELDS.len()), area);
    frame.render_widget(Paragraph::new(welcome), above);
    let room = usize::from(rows.width).saturating_sub(LABEL + 2);
    let mut lines = Vec::new();
    for (index, field) in FIELDS.iter().enumerate().skip(first).take(height) {
        let is_here = index == model.setup.row;
        let mark = if is_here { "▸ " } else { "  " };
        let label = if is_here { theme.strong } else { theme.dim };
        let mut spans = vec![
            Span::styled(mark, theme.key),
            Span::styled(left(field.label, LABEL, model.is_ascii), label),
        ];
        let style = if is_here { theme.selected } else { theme.text };
        if index == START {
            spans.truncate(1);
            let style = if is_here { theme.selected } else { theme.good };
            spans.push(Span::styled("[ start training ]", style));
        } else if let (ALPHA, Some(alpha)) = (index, model.setup.alpha()) {
            let columns = room.saturating_sub(12).min(24);
            let filled = (alpha * columns as f64).round() as usize;
            spans.push(Span::styled(
                format!("{} ", left(&model.setup.value(index), 5, model.is_ascii)),
                style,
            ));
            spans.push(Span::styled("█".repeat(filled), theme.mono));
            spans.push(Span::styled("▒".repeat(columns.saturating_sub(filled)), theme.cross));
        } else {
            let value = model.setup.value(index);
            let value = if value.is_empty() { "-".to_owned() } else { value };
            spans.push(Span::styled(fit(&value, room, model.is_ascii), style));
        }
        lines.push(Line::from(spans));
    }
    frame.render_widget(Paragraph::new(lines), rows);

    let hint = FIELDS[model.setup.row].hint;
    let (verdict, style) = verdict(model);
    let columns = usize::from(below.width);
    let mut lines = vec![Line::styled(fit(hint, columns, model.is_ascii), theme.dim)];
    lines.extend(wrap(&verdict, columns).into_iter().map(|line| Line::styled(line, style)));
    frame.render_widget(Paragraph::new(lines), below);
}

/// What to do first, until there is a run.
fn welcome(model: &Model, area: Rect) -> Vec<Line<'static>> {
    let runs = &model.runs;
    if !runs.is_loaded || !runs.rows.is_empty() || usize::from(area.height) < WELCOMED {
        return Vec::new();
    }
    let theme = &model.theme;
    let key = |key: &'static str, text: &'static str| {
        Line::from(vec![Span::styled(format!("  {key}  "), theme.key), Span::raw(text)])
    };
    vec![
        Line::styled("New here? The bundled demo takes about a minute:", theme.strong),
        key("s", "train it with the batches on the right"),
        key("2", "watch the loss of both kinds of batch"),
        key("3", "see mAP for each pair of languages"),
        key("1", "move alpha, train again, compare on screen 6"),
        Line::default(),
    ]
}

/// The shares of X-X-mono, X-Y and multi as a point in a triangle.
fn ternary(model: &Model, weights: Weights, frame: &mut Frame, area: Rect) {
    let theme = &model.theme;
    let total = weights.mono + weights.cross + weights.multi;
    let height = 3f64.sqrt() / 2.0;
    let corner = |cross: f64, multi: f64| (cross + multi / 2.0, multi * height);
    let color = |style: ratatui::style::Style| style.fg.unwrap_or(ratatui::style::Color::Reset);
    let canvas = Canvas::default().x_bounds([-0.25, 1.25]).y_bounds([-0.16, 1.0]).paint(|context| {
        for (a, b) in [
            (corner(0.0, 0.0), corner(1.0, 0.0)),
            (corner(1.0, 0.0), corner(0.0, 1.0)),
            (corner(0.0, 1.0), corner(0.0, 0.0)),
        ] {
            context.draw(&canvas::Line { x1: a.0, y1: a.1, x2: b.0, y2: b.1, color: color(theme.border) });
        }
        context.print(-0.24, -0.13, Line::styled("X-X-mono", theme.mono));
        context.print(1.02, -0.13, Line::styled("X-Y", theme.cross));
        context.print(0.44, 0.96, Line::styled("multi", theme.multi));
        if total > 0.0 {
            let (x, y) = corner(weights.cross / total, weights.multi / total);
            context.print(x, y, Line::styled("●", theme.strong));
        }
    });
    frame.render_widget(canvas, area);
}

fn plan(model: &Model, frame: &mut Frame, area: Rect) {
    let block = pane(model, "Plan: the batches that will run", model.focus() == 1);
    let plan = match &model.setup.preview {
        Some(Ok(plan)) => plan,
        Some(Err(error)) => return empty(model, frame, block, area, error),
        None => return empty(model, frame, block, area, &model.setup.planning()),
    };
    let mut inner = block.inner(area);
    if let (None, Ok(weights), true) =
        (model.setup.alpha(), model.setup.spec.sampling.weights(), inner.height >= 20)
    {
        let [triangle, rest] = Layout::vertical([Constraint::Length(9), Constraint::Min(1)]).areas(inner);
        ternary(model, weights, frame, triangle);
        inner = rest;
    }
    let lines = plan_lines(model, plan, usize::from(inner.width));
    let height = usize::from(inner.height);
    let scroll = model.setup.scroll.min(lines.len().saturating_sub(height));
    frame.render_widget(scrolled(model, block, scroll, height, lines.len()), area);
    let shown: Vec<Line> = lines.into_iter().skip(scroll).take(height).collect();
    frame.render_widget(Paragraph::new(shown), inner);
}

fn plan_lines(model: &Model, plan: &Plan, columns: usize) -> Vec<Line<'static>> {
    let theme = &model.theme;
    let preview = &plan.batches;
    let spec = &model.setup.spec;
    let (steps, batch) = (spec.train.steps, spec.train.batch);
    let mut lines = Vec::new();
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for drawn in &preview.batches {
        match counts.iter_mut().find(|(kind, _)| *kind == drawn.kind) {
            Some((_, count)) => *count += 1,
            None => counts.push((&drawn.kind, 1)),
        }
    }
    let total = preview.batches.len().max(1);
    for (kind, count) in &counts {
        let share = *count as f64 / total as f64;
        lines.push(Line::from(vec![
            Span::styled(left(kind, 10, model.is_ascii), theme.kind(kind)),
            Span::raw(format!("{:>4.0}% ", share * 100.0)),
            Span::styled(bar(share, columns.saturating_sub(18).min(40)), theme.kind(kind)),
        ]));
    }
    let seen = steps as f64 * spec.train.pairs_a_step() as f64 / preview.groups.max(1) as f64;
    for text in [
        format!(
            "Of the first {total} batches; {batch} pairs each, so {} negatives a question{}{}.",
            spec.train.negatives(),
            match plan.estimate.hard_negatives {
                0.0 => String::new(),
                hard => format!(" and {hard:.1} hard ones that a batch shares"),
            },
            match spec.train.accumulate {
                1 => String::new(),
                k => format!("; {k} batches a step, which adds none"),
            }
        ),
        format!(
            "{} question ids in {} languages; {} pairs in {steps} steps: each id {seen:.1} times.",
            preview.groups,
            preview.languages.len(),
            compact(steps as f64 * spec.train.pairs_a_step() as f64),
        ),
        format!(
            "A question has {:.0} {} on average, a passage {:.0}.",
            preview.question_length, preview.unit, preview.passage_length
        ),
        format!(
            "Trains on {} in {}; {} parameters.",
            plan.device,
            match spec.train.dtype {
                Dtype::F32 => "f32",
                Dtype::Bf16 => "bf16",
            },
            compact(plan.estimate.weights as f64 / 4.0),
        ),
        plan.estimate.lines().join(" "),
    ] {
        lines.extend(wrap(&text, columns).into_iter().map(|l| Line::styled(l, theme.dim)));
    }
    for note in &plan.estimate.notes {
        lines.extend(wrap(note, columns).into_iter().map(|l| Line::styled(l, theme.warn)));
    }
    lines.push(Line::default());
    lines.push(Line::styled("First batches (question language→passage language)", theme.strong));
    for drawn in preview.batches.iter().take(8) {
        let code = |l: u16| preview.languages.get(usize::from(l)).map_or("?", String::as_str);
        let is_one = drawn.pairs.iter().all(|p| *p == drawn.pairs[0] && p.0 == p.1);
        let pairs = match drawn.pairs.first() {
            Some(pair) if is_one => format!("all {}", code(pair.0)),
            _ => drawn
                .pairs
                .iter()
                .map(|p| format!("{}→{}", code(p.0), code(p.1)))
                .collect::<Vec<_>>()
                .join(" "),
        };
        let head = format!("{:>4} ", drawn.step);
        let room = columns.saturating_sub(head.len() + 10);
        lines.push(Line::from(vec![
            Span::styled(head, theme.dim),
            Span::styled(left(&drawn.kind, 10, model.is_ascii), theme.kind(&drawn.kind)),
            Span::raw(fit(&pairs, room, model.is_ascii)),
        ]));
    }
    lines.push(Line::default());
    lines.push(Line::styled(
        format!("Pairs drawn in {} batches (rows: question)", preview.drawn_over),
        theme.strong,
    ));
    lines.extend(super::live::drawn_lines(model, &preview.languages, &preview.counts, columns));
    lines
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{full, keys, text};

    #[test]
    fn why_it_cannot_start_is_told_to_the_end_where_the_plan_is_hidden() {
        let mut model = full(3);
        keys(&mut model, "1");
        let why = "dataset 'pairs=/data/some/long/folder/with/the/questions.jsonl': /data/some/long/folder/with/the/\
                   questions.jsonl: line 200123: not a JSON object (column 23): a quote is missing; write one object \
                   a line, as in the README's section on data, THE END";
        model.setup.preview = Some(Err(why.into()));
        let shown = text(&model, (80, 24));
        assert!(shown.contains("cannot start") && shown.contains("THE END"), "{shown}");
        assert!(shown.contains("▸ preset"), "the form is still there: {shown}");
    }
}
