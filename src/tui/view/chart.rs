//! A line chart that takes empty, single, huge and broken data.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, LegendPosition, Paragraph, Wrap};

use super::super::model::XAxis as StepAxis;
use super::super::text::{compact, duration, left, small, width};

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Series {
    /// For the legend; empty: none.
    pub name: String,
    /// What is not finite is a gap.
    pub points: Vec<(f64, f64)>,
    pub style: Style,
    /// Points instead of a line.
    pub is_scatter: bool,
}

/// What the x axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XAxis {
    Steps,
    Epochs,
    Seconds,
    /// Alpha.
    Share,
}

impl From<StepAxis> for XAxis {
    fn from(axis: StepAxis) -> Self {
        match axis {
            StepAxis::Steps => Self::Steps,
            StepAxis::Epochs => Self::Epochs,
            StepAxis::Seconds => Self::Seconds,
        }
    }
}

/// How to draw.
#[derive(Debug)]
pub struct Look<'a> {
    pub block: Block<'a>,
    /// Logarithmic y axis; what is not positive is a gap.
    pub is_log: bool,
    pub x_axis: XAxis,
    pub axis: Style,
    /// Shown while there is nothing to draw.
    pub empty: &'a str,
}

/// Draws the series.
pub fn draw(frame: &mut Frame, area: Rect, series: &[Series], look: Look<'_>) {
    let inner = look.block.inner(area);
    let columns = usize::from(inner.width);
    let lines: Vec<(usize, Vec<(f64, f64)>)> = series
        .iter()
        .enumerate()
        .flat_map(|(index, s)| {
            segments(&s.points, look.is_log, s.is_scatter).map(move |points| (index, points))
        })
        .map(|(index, points)| (index, thin(&points, columns)))
        .collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let is_small = inner.width < 16 || inner.height < 4;
    if is_small || all().next().is_none() {
        let text = if all().next().is_none() { look.empty.to_owned() } else { in_words(series, &look) };
        let text = Paragraph::new(text).style(look.axis).wrap(Wrap { trim: true }).block(look.block);
        frame.render_widget(text, area);
        return;
    }
    let range = |get: fn(&(f64, f64)) -> f64, room: f64| {
        let (low, high) =
            all().map(get).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let room = if high > low { room * (high - low) } else { (0.05 * high.abs()).max(1e-6) };
        // What is never negative is not given a negative end.
        [if low >= 0.0 && !look.is_log { (low - room).max(0.0) } else { low - room }, high + room]
    };
    let (x, y) = (range(|p| p.0, 0.0), range(|p| p.1, 0.04));
    let y_label = |v: f64| value(if look.is_log { 10f64.powf(v) } else { v });
    let x_label = |v: f64| match look.x_axis {
        XAxis::Steps => format!("{:.0}", v.max(0.0)),
        XAxis::Epochs => format!("{v:.2} epochs"),
        XAxis::Seconds => duration(v),
        XAxis::Share => format!("{v:.2}"),
    };
    let labels = |bounds: [f64; 2], text: &dyn Fn(f64) -> String| -> Vec<Line<'static>> {
        [bounds[0], f64::midpoint(bounds[0], bounds[1]), bounds[1]]
            .into_iter()
            .map(|v| Line::from(Span::styled(text(v), look.axis)))
            .collect()
    };
    let mut named = vec![false; series.len()];
    // The legend empties no more than it writes: a short name would let the lines through behind it.
    let longest = series.iter().map(|s| width(&s.name)).max().unwrap_or(0);
    let datasets = lines
        .iter()
        .map(|(index, points)| {
            let s = &series[*index];
            let graph = if s.is_scatter || points.len() < 2 { GraphType::Scatter } else { GraphType::Line };
            let set =
                Dataset::default().marker(Marker::Braille).graph_type(graph).style(s.style).data(points);
            if s.name.is_empty() || std::mem::replace(&mut named[*index], true) {
                return set;
            }
            set.name(Line::styled(left(&s.name, longest, false), s.style))
        })
        .collect();
    let chart = Chart::new(datasets)
        .block(look.block)
        .legend_position(Some(LegendPosition::TopRight))
        .hidden_legend_constraints((Constraint::Percentage(60), Constraint::Percentage(60)))
        .x_axis(Axis::default().style(look.axis).bounds(x).labels(labels(x, &x_label)))
        .y_axis(Axis::default().style(look.axis).bounds(y).labels(labels(y, &y_label)));
    frame.render_widget(chart, area);
}

fn value(v: f64) -> String {
    if v.abs() >= 10_000.0 {
        compact(v)
    } else if v.abs() >= 0.1 || v == 0.0 {
        format!("{v:.2}")
    } else {
        small(v)
    }
}

/// What is said where there is no room for a chart: the legend, or the newest value.
fn in_words(series: &[Series], look: &Look<'_>) -> String {
    let names: Vec<&str> = series.iter().map(|s| s.name.as_str()).filter(|name| !name.is_empty()).collect();
    if !names.is_empty() {
        return names.join(", ");
    }
    // Along alpha no point is the newest.
    let newest = series.iter().rev().find_map(|s| s.points.iter().rev().find(|p| p.1.is_finite()));
    newest
        .filter(|_| look.x_axis != XAxis::Share)
        .map_or_else(String::new, |p| format!("last {}", value(p.1)))
}

/// The runs of finite points; scattered points need no gaps.
fn segments(points: &[(f64, f64)], is_log: bool, is_scatter: bool) -> impl Iterator<Item = Vec<(f64, f64)>> {
    let usable = |p: &(f64, f64)| p.0.is_finite() && p.1.is_finite() && (!is_log || p.1 > 0.0);
    let scale = |p: &(f64, f64)| (p.0, if is_log { p.1.log10() } else { p.1 });
    let found: Vec<Vec<(f64, f64)>> = if is_scatter {
        vec![points.iter().filter(|p| usable(p)).map(scale).collect()]
    } else {
        points.split(|p| !usable(p)).map(|part| part.iter().map(scale).collect()).collect()
    };
    found.into_iter().filter(|part| !part.is_empty())
}

/// At most about `2 * buckets` points: the lowest and the highest of each bucket, so that no peak is lost.
#[must_use]
pub fn thin(points: &[(f64, f64)], buckets: usize) -> Vec<(f64, f64)> {
    if buckets == 0 || points.len() <= 2 * buckets {
        return points.to_vec();
    }
    points
        .chunks(points.len().div_ceil(buckets))
        .flat_map(|chunk| {
            let low = chunk.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1));
            let high = chunk.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
            let mut both: Vec<(f64, f64)> = low.into_iter().chain(high).collect();
            both.sort_by(|a, b| a.0.total_cmp(&b.0));
            both.dedup();
            both
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_peaks_and_order() {
        let mut points: Vec<(f64, f64)> = (0..10_000).map(|i| (f64::from(i), f64::from(i % 7))).collect();
        points[5003].1 = 99.0;
        points[7001].1 = -99.0;
        let thin = thin(&points, 100);
        assert!(thin.len() <= 200 && thin.windows(2).all(|w| w[0].0 <= w[1].0));
        assert!(thin.iter().any(|p| p.1 == 99.0) && thin.iter().any(|p| p.1 == -99.0));
    }

    #[test]
    fn what_is_not_finite_parts_the_line() {
        let points = [(0.0, 1.0), (1.0, f64::NAN), (2.0, 3.0), (3.0, -1.0)];
        let parts = |log| segments(&points, log, false).map(|p| p.len()).collect::<Vec<_>>();
        assert_eq!(parts(false), [1, 2]);
        assert_eq!(parts(true), [1, 1]);
        assert_eq!(segments(&points, false, true).map(|p| p.len()).collect::<Vec<_>>(), [3]);
    }
}
