//! Screen 2: a run while it trains, or what it was like.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::curve::curves;
use super::super::filter::Filter;
use super::super::history::{History, KINDS, Level, Started};
use super::super::model::{Model, XAxis};
use super::super::text::{bytes, compact, duration, fit, left, right, score, small, width};
use super::chart::{self, Look, Series};
use super::{WIDE, bar, empty, pane, spark};
use crate::run::Phase;

/// Steps that the zoomed chart shows.
const WINDOW: usize = 200;
const TITLES: [&str; 5] = ["Loss", "Validation and mAP", "Rates", "Language pairs drawn", "Log"];

pub fn draw(model: &Model, frame: &mut Frame, area: Rect) {
    if model.active.is_none() {
        let block = pane(model, "Live", true);
        return empty(
            model,
            frame,
            block,
            area,
            "No run yet. Start one on screen 1, or choose one on screen 6.",
        );
    }
    let history = model.live.shown();
    let alarm = alarm(model, history);
    let heights = [Constraint::Length(2), Constraint::Length(u16::from(alarm.is_some())), Constraint::Min(1)];
    let [head, banner, body] = Layout::vertical(heights).areas(area);
    header(model, history, frame, head);
    if let Some(alarm) = alarm {
        let text = left(&format!(" {alarm}"), usize::from(banner.width), model.is_ascii);
        frame.render_widget(Line::styled(text, model.theme.alarm), banner);
    }
    if model.is_maximised || body.height < 12 {
        return one(model, history, model.focus(), frame, body);
    }
    if body.width >= WIDE && body.height >= 20 {
        let [a, b] = Layout::horizontal([Constraint::Percentage(58), Constraint::Percentage(42)]).areas(body);
        let [loss, log] = Layout::vertical([Constraint::Percentage(66), Constraint::Percentage(34)]).areas(a);
        let size = history.started.as_ref().map_or(11, |s| s.languages.len()) as u16 + 4;
        let drawn = size.min(body.height / 2);
        let [scores, rates, pairs] =
            Layout::vertical([Constraint::Min(6), Constraint::Length(8), Constraint::Length(drawn)]).areas(b);
        for (index, place) in [loss, scores, rates, pairs, log].into_iter().enumerate() {
            one(model, history, index, frame, place);
        }
        return;
    }
    // Where there is little room: the loss, and below it the focused pane.
    let below = if model.focus() == 0 { 4 } else { model.focus() };
    let [loss, rest] = Layout::vertical([Constraint::Percentage(60), Constraint::Percentage(40)]).areas(body);
    one(model, history, 0, frame, loss);
    one(model, history, below, frame, rest);
}

fn one(model: &Model, history: &History, index: usize, frame: &mut Frame, area: Rect) {
    match index {
        0 => loss(model, history, frame, area),
        1 => scores(model, history, frame, area),
        2 => rates(model, history, frame, area),
        3 => pairs(model, history, frame, area),
        _ => log(model, history, frame, area),
    }
}

/// What must not be overlooked.
fn alarm(model: &Model, history: &History) -> Option<String> {
    let phase = model.active_row().map(|r| r.summary.phase);
    if phase == Some(Phase::Failed) {
        let why =
            model.active_row().and_then(|r| r.summary.message.clone()).or_else(|| model.live.message.clone());
        return Some(format!("failed: {}", why.unwrap_or_else(|| "see the log".into())));
    }
    if phase == Some(Phase::Stale) {
        let why = model.active_row().and_then(|r| r.summary.message.clone());
        let why = why.unwrap_or_else(|| "the worker is gone without a word".into());
        return Some(format!("r resumes from the newest checkpoint: {why}"));
    }
    history.not_finite.map(|step| format!("loss or gradient was not finite at step {step}"))
}

fn header(model: &Model, history: &History, frame: &mut Frame, area: Rect) {
    let theme = &model.theme;
    let row = model.active_row();
    let phase = row.map(|r| r.summary.phase);
    let started = history.started.as_ref();
    let step = history.points.last().map_or_else(|| started.map_or(0, |s| s.step), |p| p.step);
    let steps = started.map(|s| s.steps).or_else(|| row.map(|r| r.summary.steps)).unwrap_or(0);
    let share = if steps > 0 { step as f64 / steps as f64 } else { 0.0 };
    let columns = usize::from(area.width);
    let mut spans = vec![
        Span::styled(format!(" step {step}/{steps} "), theme.strong),
        Span::styled(left(&bar(share, (columns / 5).min(30)), (columns / 5).min(30), false), theme.good),
        Span::raw(format!(" {:.0}%  {}", share * 100.0, duration(history.elapsed()))),
    ];
    let is_active = phase.is_some_and(Phase::is_active);
    if let (true, Some(pace), true) = (is_active, history.pace(), steps > step) {
        // The worker knows of evaluations ahead; since its last sample some steps have gone by.
        let left = match &history.sample {
            Some(s) => s.left - pace.seconds * step.saturating_sub(s.step) as f64,
            None => pace.seconds * (steps - step) as f64,
        };
        spans.push(Span::raw(format!(", about {} left", duration(left.max(0.0)))));
    }
    if model.live.frozen.is_some() {
        spans.push(Span::styled("  frozen", theme.warn));
    }
    let mut second = Vec::new();
    if let (Some((stage, done, total)), true) = (history.progress, is_active) {
        let what = match stage {
            crate::train::Stage::Loading => "loading",
            crate::train::Stage::Tokenising if total == 0 => {
                "waiting for a token cache that another process builds:"
            }
            crate::train::Stage::Tokenising => "tokenising",
            crate::train::Stage::EncodingQuestions => "encoding questions",
            crate::train::Stage::EncodingPassages => "encoding passages",
            crate::train::Stage::Ranking => "ranking",
        };
        second.push(Span::styled(format!(" {what} {done} of {total}"), theme.warn));
    } else if let Some(pace) = history.pace() {
        second.push(Span::raw(format!(
            " {} pairs/s, {} tokens/s",
            compact(pace.pairs),
            compact(pace.tokens)
        )));
    }
    if let Some(started) = started {
        let base = row.and_then(|r| r.summary.spec.as_ref()).map_or("model", |s| last_part(&s.model.base));
        let batch = batch(started, accumulate(model));
        let count = format!(", {} parameters", compact(started.parameters as f64));
        let mut text = format!("  {base} on {}, {batch}", started.device);
        let used: usize = second.iter().map(|span| width(&span.content)).sum();
        // Half a number would be a wrong one.
        if used + width(&text) + width(&count) <= columns {
            text += &count;
        }
        second.push(Span::styled(fit(&text, columns.saturating_sub(used), model.is_ascii), theme.dim));
    }
    frame.render_widget(Paragraph::new(vec![Line::from(spans), Line::from(second)]), area);
}

/// Batches of the plan that a step of the shown run takes.
fn accumulate(model: &Model) -> usize {
    model.active_row().and_then(|r| r.summary.spec.as_ref()).map_or(1, |s| s.train.accumulate.max(1))
}

/// A step's pairs and what a question is told from, as short as the head of a small terminal asks for.
fn batch(started: &Started, accumulate: usize) -> String {
    let size = started.batch;
    let count = if accumulate > 1 { format!("{accumulate} x ") } else { String::new() };
    let hard = match started.hard_negatives * size {
        0 => String::new(),
        hard => format!(" and up to {hard} hard ones"),
    };
    format!("batch {count}{size}, {} negatives{hard}", size.saturating_sub(1))
}

/// Where a step lies on the chosen x axis.
fn x_axis(model: &Model, history: &History) -> impl Fn(usize, f64) -> f64 + use<> {
    let axis = model.live.x_axis;
    let batches = accumulate(model);
    let epoch =
        history.started.as_ref().map_or(1.0, |s| s.groups.max(1) as f64 / (s.batch.max(1) * batches) as f64);
    move |step, elapsed| match axis {
        XAxis::Steps => step as f64,
        XAxis::Epochs => step as f64 / epoch,
        XAxis::Seconds => elapsed,
    }
}

/// The name of a model directory without the way to it.
fn last_part(base: &str) -> &str {
    base.trim_end_matches('/').rsplit('/').next().unwrap_or(base)
}

fn loss(model: &Model, history: &History, frame: &mut Frame, area: Rect) {
    let theme = &model.theme;
    let live = &model.live;
    let points = if live.is_zoomed {
        &history.points[history.points.len().saturating_sub(WINDOW)..]
    } else {
        &history.points[..]
    };
    let x = x_axis(model, history);
    let curves = curves(points, usize::from(area.width), &x);
    let raw = Series { name: String::new(), points: curves.raw, style: theme.dim, is_scatter: true };
    let mut series = vec![raw];
    for (kind, line) in curves.kinds.into_iter().enumerate() {
        if let Some(last) = line.iter().rev().find(|p| p.1.is_finite()) {
            let name = format!("{} {:.4}", KINDS[kind], last.1);
            series.push(Series { name, points: line, style: theme.kind(KINDS[kind]), is_scatter: false });
        }
    }
    let mut title = format!("Loss, smoothed {:.2}", live.smoothing);
    if let Some(p) = live.cursor.and_then(|at| history.points.get(at)) {
        title = format!("Step {}: {} loss {:.4}, smoothed {:.4}", p.step, KINDS[p.kind], p.loss, p.smooth);
        let place = x(p.step, p.elapsed);
        let values = series[0].points.iter().map(|p| p.1).filter(|l| l.is_finite());
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let mark = vec![(place, low), (place, high)];
        series.push(Series { name: String::new(), points: mark, style: theme.warn, is_scatter: false });
    }
    if live.is_log_scale {
        title += ", logarithmic";
    }
    if live.is_zoomed {
        title += ", latest steps";
    }
    let look = Look {
        block: pane(model, &title, model.focus() == 0),
        is_log: live.is_log_scale,
        x_axis: live.x_axis.into(),
        axis: theme.dim,
        empty: "No step yet.",
    };
    chart::draw(frame, area, &series, look);
}

fn scores(model: &Model, history: &History, frame: &mut Frame, area: Rect) {
    let theme = &model.theme;
    let block = pane(model, TITLES[1], model.focus() == 1);
    if history.validations.is_empty() && history.evaluations.is_empty() {
        return empty(model, frame, block, area, "No validation and no evaluation yet.");
    }
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let maps = history.maps();
    let is_curve = maps.values().any(|s| s.len() > 1);
    let bars: Vec<Line> = maps
        .iter()
        .filter_map(|((dataset, setting), series)| {
            let best = series.iter().map(|s| s.2).fold(f64::NEG_INFINITY, f64::max);
            let last = series.last()?;
            let is_best = if series.len() > 1 && last.2 >= best { " best" } else { "" };
            let name = if maps.keys().any(|k| k.0 != *dataset) {
                format!("{setting} {dataset}")
            } else {
                setting.clone()
            };
            let columns = usize::from(inner.width).saturating_sub(26).min(30);
            Some(Line::from(vec![
                Span::styled(left(&format!("mAP {name}"), 12, model.is_ascii), theme.kind(setting)),
                Span::raw(format!(" {} ", score("map", last.2))),
                Span::styled(bar(last.2, columns), theme.kind(setting)),
                Span::styled(is_best, theme.good),
            ]))
        })
        .collect();
    let count = (bars.len() as u16).min(inner.height);
    let [above, below] = Layout::vertical([Constraint::Min(0), Constraint::Length(count)]).areas(inner);
    frame.render_widget(Paragraph::new(bars), below);
    if above.height == 0 {
        return;
    }
    let x = x_axis(model, history);
    let mut series: Vec<Series> = Vec::new();
    let title = if is_curve {
        for ((_, setting), points) in &maps {
            let points = points.iter().map(|(s, e, v)| (x(*s, *e), *v)).collect();
            series.push(Series {
                name: String::new(),
                points,
                style: theme.kind(setting),
                is_scatter: false,
            });
        }
        "mAP".to_owned()
    } else {
        let points = history.validations.iter().map(|v| (x(v.step, v.elapsed), v.loss)).collect();
        series.push(Series { name: String::new(), points, style: theme.text, is_scatter: false });
        history
            .best_validation()
            .map_or_else(String::new, |b| format!("validation loss, best {:.4} at step {}", b.loss, b.step))
    };
    let [line, rest] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(above);
    frame.render_widget(Line::styled(fit(&title, usize::from(line.width), model.is_ascii), theme.dim), line);
    let look = Look {
        block: ratatui::widgets::Block::new(),
        is_log: false,
        x_axis: model.live.x_axis.into(),
        axis: theme.dim,
        empty: "No validation yet.",
    };
    chart::draw(frame, rest, &series, look);
}

fn rates(model: &Model, history: &History, frame: &mut Frame, area: Rect) {
    let theme = &model.theme;
    let block = pane(model, TITLES[2], model.focus() == 2);
    let inner = block.inner(area);
    let columns = usize::from(inner.width).saturating_sub(26);
    let Some(last) = history.points.last() else { return empty(model, frame, block, area, "No step yet.") };
    let row = |name: &str, value: String, values: Vec<f64>| {
        Line::from(vec![
            Span::styled(left(name, 15, model.is_ascii), theme.dim),
            Span::raw(format!("{value:>9}  ")),
            Span::styled(spark(&values, columns), theme.title),
        ])
    };
    let [learning_rates, norms, speeds] = curves(&history.points, columns, |step, _| step as f64).rates;
    let mut lines = vec![
        row("learning rate", small(last.learning_rate), learning_rates),
        row("gradient norm", small(last.grad_norm), norms),
        row("tokens/s", compact(last.tokens as f64 / last.seconds), speeds),
    ];
    let wide = usize::from(inner.width);
    let resources = resources(history).into_iter();
    lines.extend(resources.map(|text| Line::styled(fit(&text, wide, model.is_ascii), theme.dim)));
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// What the run takes, at its last sample.
fn resources(history: &History) -> Vec<String> {
    let Some(sample) = &history.sample else {
        return vec!["GPU            n/a (use, memory, temperature, power)".into()];
    };
    let bytes = |b: Option<u64>| b.map_or("n/a".into(), |b| bytes(b as f64));
    let device = history.started.as_ref().map_or("", |s| s.device.as_str());
    let gpu = match &sample.gpu {
        Some(gpu) => gpu.line(),
        None if device.starts_with("cpu") => "n/a (trains on the CPU)".into(),
        None => "n/a (use, memory, temperature, power)".into(),
    };
    vec![
        format!("GPU            {gpu}"),
        format!("memory         {}, most {}", bytes(sample.memory), bytes(sample.peak_memory)),
        format!(
            "computing      {:.1} GFLOP/s, {:.0}% padding avoided",
            sample.flops_per_second / 1e9,
            100.0 * sample.padding_avoided
        ),
    ]
}

fn pairs(model: &Model, history: &History, frame: &mut Frame, area: Rect) {
    let block = pane(model, TITLES[3], model.focus() == 3);
    let (Some(started), Some(drawn)) = (&history.started, &history.drawn) else {
        return empty(model, frame, block, area, "Counted as training goes on.");
    };
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let lines = drawn_lines(model, &started.languages, &drawn.counts, usize::from(inner.width));
    frame.render_widget(Paragraph::new(lines), inner);
}

/// Counts of language pairs as a small heatmap, or as a list where that does not fit.
pub fn drawn_lines(
    model: &Model,
    languages: &[String],
    counts: &[u64],
    columns: usize,
) -> Vec<Line<'static>> {
    let theme = &model.theme;
    let size = languages.len();
    if counts.len() != size * size || size == 0 {
        return Vec::new();
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    // Whole counts where they fit; three characters are enough for any: 999, 12k, 3M.
    let fits = |digits: usize| 4 + size * (digits + 1) <= columns + 1;
    let is_whole = fits(most.to_string().len().max(3));
    let text = |count: u64| match count {
        _ if is_whole => count.to_string(),
        0..=999 => count.to_string(),
        1000..=999_999 => format!("{}k", (count + 500) / 1000),
        _ => format!("{}M", (count + 500_000) / 1_000_000),
    };
    let digits = counts.iter().map(|c| width(&text(*c))).max().unwrap_or(1).max(3);
    if !fits(digits) {
        let mut order: Vec<usize> = (0..counts.len()).filter(|i| counts[*i] > 0).collect();
        order.sort_by_key(|i| std::cmp::Reverse(counts[*i]));
        let pair = |i: &usize| format!("{}→{} {}", languages[i / size], languages[i % size], counts[*i]);
        return order
            .chunks((columns / 14).max(1))
            .map(|c| Line::from(c.iter().map(pair).collect::<Vec<_>>().join("  ")))
            .collect();
    }
    let head: Vec<String> = languages.iter().map(|l| right(l, digits, model.is_ascii)).collect();
    let mut lines = vec![Line::styled(format!("     {}", head.join(" ")), theme.dim)];
    for (row, language) in languages.iter().enumerate() {
        let mut spans = vec![Span::styled(left(language, 4, model.is_ascii), theme.dim)];
        for count in &counts[row * size..(row + 1) * size] {
            let style = theme.scale((*count as f64 / most as f64).sqrt());
            spans.push(Span::styled(
                format!(" {}", right(&text(*count), digits, model.is_ascii)),
                if *count == 0 { theme.dim } else { style },
            ));
        }
        lines.push(Line::from(spans));
    }
    lines
}

fn log(model: &Model, history: &History, frame: &mut Frame, area: Rect) {
    let theme = &model.theme;
    let live = &model.live;
    let title =
        if live.log_filter.is_empty() { "Log".to_owned() } else { format!("Log: {}", live.log_filter) };
    let block = pane(model, &title, model.focus() == 4);
    let inner = block.inner(area);
    let filter = Filter::parse(&live.log_filter, &[]).unwrap_or_default();
    let told = history.log.iter().map(|l| (l.level, l.text.as_str()));
    // What the worker wrote itself says the same again, unless it could not say anything else any more.
    let is_broken =
        model.active_row().is_some_and(|r| matches!(r.summary.phase, Phase::Failed | Phase::Stale));
    let own = live.worker_log.iter().filter(|_| is_broken || history.log.is_empty());
    let own = own.map(|l| (Level::Plain, l.as_str()));
    let lines: Vec<(Level, &str)> = told.chain(own).filter(|(_, text)| filter.passes(&[*text])).collect();
    if lines.is_empty() {
        return empty(model, frame, block, area, "Nothing has been said yet.");
    }
    let height = usize::from(inner.height);
    let end = lines.len().saturating_sub(live.log_scroll).max(height.min(lines.len()));
    let shown: Vec<Line> = lines[end.saturating_sub(height)..end]
        .iter()
        .map(|(level, text)| {
            let style = match level {
                Level::Plain => theme.text,
                Level::Good => theme.good,
                Level::Warning => theme.warn,
                Level::Error => theme.bad,
            };
            Line::styled(fit(text, usize::from(inner.width), model.is_ascii), style)
        })
        .collect();
    frame.render_widget(Paragraph::new(shown).block(block), area);
}
