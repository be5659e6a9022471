//! The ratio view of screen 6: quality and rank distance over alpha, or a triangle over the mixes of three kinds of batch.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};

use super::super::model::Model;
use super::super::ratio::{Curve, DISTANCE, Ratio};
use super::super::text::{fit, score};
use super::chart::{self, Look, Series, XAxis};
use super::{empty, put};
use crate::batch::Kind;
use crate::report::metric_name;
use crate::report::simplex::{HEIGHT, Mix, Simplex, centre, shares};
use crate::spec::KINDS;

/// Columns of the table of mixes.
const TABLE: u16 = 40;
/// Two columns are about as wide as a row is high.
const ASPECT: f64 = 2.0;

/// Draws the view into the pane.
pub fn draw(model: &Model, frame: &mut Frame, block: Block<'_>, area: Rect) {
    match model.runs.ratio() {
        Ratio::Nothing(text) => empty(model, frame, block, area, &text),
        Ratio::Curves(curves) => {
            let inner = block.inner(area);
            frame.render_widget(block, area);
            let inner = mixed(model, frame, inner);
            lines(model, frame, inner, &curves);
        }
        Ratio::Triangle { metric, simplex, .. } => {
            let inner = block.inner(area);
            frame.render_widget(block, area);
            let inner = mixed(model, frame, inner);
            let is_table = inner.width >= TABLE + 24;
            let width = if is_table { inner.width - TABLE } else { inner.width };
            let [left, right] =
                Layout::horizontal([Constraint::Length(width), Constraint::Min(0)]).areas(inner);
            triangle(model, frame, left, &simplex, &metric);
            if is_table {
                table(model, frame, right, &simplex, &metric);
            }
        }
    }
}

/// Says in the last line what the means mix beside seeds, if anything; gives the room above it.
fn mixed(model: &Model, frame: &mut Frame, area: Rect) -> Rect {
    let parts = model.runs.ratio_mixed();
    if parts.is_empty() || area.height < 4 {
        return area;
    }
    let [rest, line] = Layout::vertical([Constraint::Min(1), Constraint::Length(1)]).areas(area);
    let text = format!("Not alike in {}: means mix them; space marks those to keep.", parts.join(", "));
    frame.render_widget(
        Line::styled(fit(&text, usize::from(line.width), model.is_ascii), model.theme.warn),
        line,
    );
    rest
}

/// The metric against alpha, and the rank distance beside it.
fn lines(model: &Model, frame: &mut Frame, area: Rect, curves: &[Curve]) {
    let theme = &model.theme;
    let parts = Layout::horizontal([Constraint::Percentage(65), Constraint::Percentage(35)]);
    let [left, right] = parts.spacing(1).areas(area);
    let shown = curves.first().map_or("map", |c| c.metric.as_str());
    for (metric, place) in [(shown, left), (DISTANCE, right)] {
        let own = curves.iter().filter(|c| c.metric == metric && !c.points.is_empty());
        let series: Vec<Series> = own.flat_map(|curve| series(model, curve)).collect();
        let title = format!("{} against alpha", metric_name(metric));
        let look = Look {
            block: Block::new().title(Line::styled(title, theme.strong)),
            is_log: false,
            x_axis: XAxis::Share,
            axis: theme.dim,
            empty: "Not measured.",
        };
        chart::draw(frame, place, &series, look);
    }
}

/// The line of means, a mark at each, and upright the 95% interval of each that has one.
fn series(model: &Model, curve: &Curve) -> Vec<Series> {
    let style = model.theme.kind(curve.setting);
    let means: Vec<(f64, f64)> = curve.points.iter().map(|(alpha, e)| (*alpha, e.mean)).collect();
    let line = Series { name: curve.setting.to_owned(), points: means.clone(), style, is_scatter: false };
    let marks = Series { name: String::new(), points: means, style: model.theme.strong, is_scatter: true };
    let intervals = curve.points.iter().filter_map(|(alpha, e)| {
        let (low, high) = e.interval()?;
        // Of two runs it is 13 times as long as their error, and would reach beyond what the metric can be.
        let most = if curve.metric.starts_with(DISTANCE) { f64::INFINITY } else { 1.0 };
        let points = vec![(*alpha, low.max(0.0)), (*alpha, high.min(most))];
        Some(Series { name: String::new(), points, style, is_scatter: false })
    });
    [line].into_iter().chain(intervals).chain([marks]).collect()
}

/// The place of a value on the colour scale, where bright is better.
fn shade(simplex: &Simplex, metric: &str, value: f64) -> f64 {
    let (low, high) = simplex.range();
    // Rank distances grow a hundredfold from one mix to another.
    let of = |v: f64| if metric == DISTANCE { v.max(1e-3).ln() } else { v };
    let span = of(high) - of(low);
    let t = if span > 0.0 { (of(value) - of(low)) / span } else { 0.5 };
    if metric == DISTANCE { 1.0 - t } else { t }
}

fn triangle(model: &Model, frame: &mut Frame, area: Rect, simplex: &Simplex, metric: &str) {
    let theme = &model.theme;
    let [above, map, below, legend] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(area);
    // The largest triangle that fits.
    let rows = f64::from(map.height).min(f64::from(area.width.saturating_sub(4)) * HEIGHT / ASPECT);
    let columns = rows * ASPECT / HEIGHT;
    let left = (f64::from(area.width) - columns) / 2.0;
    let top = f64::from(map.height) - rows;
    let place = |x: u16, y: u16| {
        let along = (f64::from(x) + 0.5 - left) / columns;
        let up = (f64::from(map.height) - f64::from(y) - 0.5) / rows * HEIGHT;
        (along, up)
    };
    let best = simplex.best(metric == DISTANCE);
    let is_best = |mix: &Mix| best.is_some_and(|b| b.shares == mix.shares);
    for y in 0..map.height {
        for x in 0..area.width {
            let at = place(x, y);
            if shares(at).iter().any(|s| *s < -1e-9) {
                continue;
            }
            let Some(mix) = simplex.at(at) else { continue };
            // Without colours the areas are told apart by dots and the best by a grid.
            let style = theme.scale(shade(simplex, metric, mix.estimate.mean));
            let plain = if is_best(mix) { "+" } else { "." };
            let is_plain = style.bg.is_none();
            put(
                frame,
                map,
                x,
                y,
                if is_plain { plain } else { " " },
                if is_plain { theme.dim } else { style },
            );
        }
    }
    // Numbers of three digits where the areas are wide enough.
    let each = columns / (simplex.points.len() as f64 * 2.0).sqrt();
    let digits = if each >= 8.0 { 3 } else { 2 };
    for mix in &simplex.points {
        let (x, y) = centre(&mix.area);
        let mark = if is_best(mix) { "*" } else { "" };
        let text = format!("{}{mark}", number(metric, mix.estimate.mean, digits));
        let row = (f64::from(map.height) - y / HEIGHT * rows).floor().max(top) as u16;
        let column = (left + x * columns - text.len() as f64 / 2.0).round().max(0.0) as u16;
        let style = theme.scale(shade(simplex, metric, mix.estimate.mean));
        let style = if is_best(mix) { style.add_modifier(Modifier::BOLD) } else { style };
        put(frame, map, column, row.min(map.height.saturating_sub(1)), &text, style);
    }
    let [first, second, third] = simplex.kinds.map(Kind::label);
    let middle = |text: &str, at: f64| (at - text.len() as f64 / 2.0).round().max(0.0) as u16;
    let centre_of_top = left + columns / 2.0;
    // The third kind stands over the tip.
    let tip = top as u16;
    let (over, line) = if tip > 0 { (map, tip - 1) } else { (above, 0) };
    put(frame, over, middle(third, centre_of_top), line, third, theme.multi);
    put(frame, below, middle(first, left), 0, first, theme.mono);
    let right = middle(second, left + columns).min(area.width.saturating_sub(second.len() as u16));
    put(frame, below, right, 0, second, theme.cross);
    scale(model, frame, legend, simplex, metric);
}

/// The colours from the worst to the best value.
fn scale(model: &Model, frame: &mut Frame, area: Rect, simplex: &Simplex, metric: &str) {
    let (low, high) = simplex.range();
    let (low, high) = if metric == DISTANCE { (high, low) } else { (low, high) };
    let mut spans = vec![Span::raw(format!("{} ", score(metric, low)))];
    let steps = usize::from(area.width.saturating_sub(42)).min(24);
    spans.extend((0..steps).map(|i| {
        let style = model.theme.scale(i as f64 / steps.max(2).saturating_sub(1) as f64);
        Span::styled(if style.bg.is_none() { "." } else { " " }, style)
    }));
    spans.push(Span::raw(format!(" {}", score(metric, high))));
    let note = if area.width < 44 { "  * best" } else { "  bright is better, * best" };
    spans.push(Span::styled(note, model.theme.dim));
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

/// `.74` or `.742`; rank distances whole.
fn number(metric: &str, value: f64, digits: usize) -> String {
    if metric == DISTANCE {
        return format!("{value:.0}");
    }
    let text = format!("{value:.digits$}");
    text.strip_prefix('0').map(str::to_owned).unwrap_or(text)
}

/// The mixes, best first.
fn table(model: &Model, frame: &mut Frame, area: Rect, simplex: &Simplex, metric: &str) {
    let theme = &model.theme;
    let mut points: Vec<&Mix> = simplex.points.iter().collect();
    points.sort_by(|a, b| b.estimate.mean.total_cmp(&a.estimate.mean));
    if metric == DISTANCE {
        points.reverse();
    }
    let heads = simplex.kinds.map(|k| format!("{:>5}", KINDS[k as usize])).join(" ");
    let mut lines = vec![Line::styled(format!("{heads}   mean      ±95%   n"), theme.strong)];
    for (index, mix) in points.iter().enumerate() {
        let shares = mix.shares.map(|s| format!("{s:>5.2}")).join(" ");
        let half = mix.estimate.half.map_or_else(|| "-".to_owned(), |h| score(metric, h));
        let text =
            format!("{shares}  {:>8} {half:>8} {:>3}", score(metric, mix.estimate.mean), mix.estimate.n);
        lines.push(Line::styled(text, if index == 0 { theme.good } else { theme.text }));
    }
    frame.render_widget(Paragraph::new(lines), area);
}
