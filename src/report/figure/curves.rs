//! Training loss over steps: of several runs, or of one run by kind of batch with its validations.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::COLUMN;
use super::axis::{Panel, Scale, margin, range, widen};
use super::canvas::{Canvas, Ink};
use super::colour::{WHITE, mix};
use super::key::{self, Look, Sample, look, mark};
use super::pick::name;
use crate::report::Source;
use crate::train::Event;

/// Share of the steps that one point of the smoothed line averages.
const WINDOW: f64 = 1.0 / 25.0;
/// Points of a line; more could not be seen.
const POINTS: usize = 400;
/// Marks on a line.
const MARKS: usize = 6;

/// (step, loss), rising in step.
type Series = Vec<(f64, f64)>;

/// One line of the figure.
struct Curve {
    name: String,
    raw: Series,
    smooth: Series,
}

/// Loss and kind of batch by step.
type Steps = BTreeMap<usize, (String, f64)>;

/// What a run's log says about its loss: by kind of batch, and at validations.
fn losses(source: &Source) -> Result<(Steps, Series)> {
    let run = source.run.as_ref().with_context(|| {
        format!("'{}': only a run has loss curves; an evaluation directory has none", source.name)
    })?;
    let (mut steps, mut validations) = (BTreeMap::new(), BTreeMap::new());
    for record in run.events()? {
        match record.event {
            Event::Step { step, kind, loss: Some(loss), .. } if loss.is_finite() => {
                steps.insert(step, (kind, loss));
            }
            Event::Validation { step, loss: Some(loss), .. } if loss.is_finite() => {
                validations.insert(step, loss);
            }
            _ => {}
        }
    }
    ensure!(!steps.is_empty(), "'{}': no training step has been recorded yet", source.name);
    Ok((steps, validations.into_iter().map(|(step, loss)| (step as f64, loss)).collect()))
}

/// Centred moving mean, twice, so that the line neither lags nor steps. At the start, where a loss falls steeply, the
/// window stays centred and shrinks; at the end it is cut off, so that no single batch decides where the line ends.
fn smoothed(raw: &[(f64, f64)]) -> Series {
    let half = ((raw.len() as f64 * WINDOW / 2.0).round() as usize).max(1);
    let once = |series: &[(f64, f64)]| -> Series {
        let mut sums = vec![0.0];
        sums.extend(series.iter().scan(0.0, |sum, p| {
            *sum += p.1;
            Some(*sum)
        }));
        let mean = |i: usize| {
            let (begin, end) = (i - half.min(i), (i + half.min(i) + 1).min(series.len()));
            (sums[end] - sums[begin]) / (end - begin) as f64
        };
        series.iter().enumerate().map(|(i, p)| (p.0, mean(i))).collect()
    };
    once(&once(raw))
}

/// The lowest and highest of each of so many stretches: the look of the whole line in few points.
fn thinned(raw: &[(f64, f64)]) -> Series {
    if raw.len() <= POINTS {
        return raw.to_vec();
    }
    let each = raw.len().div_ceil(POINTS / 2);
    raw.chunks(each)
        .flat_map(|chunk| {
            let by_loss = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
            let (low, high) = (chunk.iter().min_by(by_loss), chunk.iter().max_by(by_loss));
            let mut both: Series = low.into_iter().chain(high).copied().collect();
            both.sort_by(|a, b| a.0.total_cmp(&b.0));
            both.dedup();
            both
        })
        .collect()
}

fn curve(name: String, raw: Series) -> Curve {
    Curve { smooth: smoothed(&raw), name, raw }
}

/// Raw losses pale, smoothed ones over them.
///
/// # Errors
/// Where a source is no run, or has no step yet.
pub fn draw(sources: &[Source]) -> Result<Canvas> {
    let mut curves = Vec::new();
    let mut validations = Series::new();
    for source in sources {
        let (steps, own) = losses(source)?;
        let all = || steps.iter().map(|(step, (kind, loss))| (kind.as_str(), (*step as f64, *loss)));
        if sources.len() > 1 {
            curves.push(curve(name(source), all().map(|s| s.1).collect()));
            continue;
        }
        validations = own;
        let mut kinds: Vec<&str> = all().map(|s| s.0).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            curves.push(curve(kind.to_owned(), all().filter(|s| s.0 == kind).map(|s| s.1).collect()));
        }
    }
    let names: Vec<String> = sources.iter().map(name).collect();
    let mut canvas = Canvas::new(COLUMN, format!("Loss over training steps: {}", names.join(", ")));
    let mut entries: Vec<(Sample, String)> =
        curves.iter().enumerate().map(|(i, c)| (Sample::Line(look(i)), c.name.clone())).collect();
    let validation = look(curves.len().max(3));
    if !validations.is_empty() {
        entries.push((Sample::Line(validation), "validation".to_owned()));
    }
    let range = bounds(&curves, &validations);
    let left = margin([&Scale::linear(range, 0.0, 1.0)]);
    let top = key::draw(&mut canvas, &entries, left, COLUMN - 2.0, 1.0) + 5.0;
    let panel = Panel { left, top, width: COLUMN - left - 8.0, height: 125.0 };

    let first = curves.iter().filter_map(|c| c.raw.first()).map(|p| p.0).fold(f64::INFINITY, f64::min);
    let last = curves.iter().filter_map(|c| c.raw.last()).map(|p| p.0).fold(first, f64::max);
    let x = Scale::linear((0.0, last.max(1.0)), panel.left, panel.right());
    let y = Scale::linear(range, panel.bottom(), panel.top);
    let beside = if validations.is_empty() { "training loss" } else { "loss" };
    panel.draw(&mut canvas, &x, &y, Some("step"), beside);

    let place = |series: &[(f64, f64)]| -> Vec<(f64, f64)> {
        series.iter().map(|(step, loss)| (x.place(*step), y.place(*loss))).collect()
    };
    for (index, curve) in curves.iter().enumerate() {
        let pale = mix(look(index).ink.colour, WHITE, 0.68);
        canvas.line(place(&thinned(&curve.raw)), Ink::new(pale, 0.5));
    }
    for (index, curve) in curves.iter().enumerate() {
        let Look { ink, mark: shape } = look(index);
        canvas.line(place(&thinned(&curve.smooth)), ink);
        // Marks of different lines stand at different steps.
        for part in 0..MARKS {
            let share = (part as f64 + (index as f64 + 0.5) / curves.len() as f64) / MARKS as f64;
            let at = (share * (curve.smooth.len() - 1) as f64).round() as usize;
            mark(&mut canvas, place(&curve.smooth[at..=at])[0], shape, 2.2, ink.colour);
        }
    }
    if !validations.is_empty() {
        canvas.line(place(&validations), validation.ink);
        for point in place(&validations) {
            mark(&mut canvas, point, validation.mark, 2.4, validation.ink.colour);
        }
    }
    canvas.height = panel.bottom() + 23.0;
    Ok(canvas)
}

/// All smoothed losses and validations, and all raw ones but the most extreme hundredth.
fn bounds(curves: &[Curve], validations: &[(f64, f64)]) -> (f64, f64) {
    let mut raw: Vec<f64> = curves.iter().flat_map(|c| c.raw.iter().map(|p| p.1)).collect();
    raw.sort_by(f64::total_cmp);
    let trim = raw.len() / 200;
    let core = raw[trim..raw.len() - trim].iter().copied();
    let smooth = curves.iter().flat_map(|c| c.smooth.iter().map(|p| p.1));
    let (low, high) = range(core.chain(smooth).chain(validations.iter().map(|p| p.1))).unwrap_or((0.0, 1.0));
    widen((if low < 0.3 * high { low.min(0.0) } else { low }, high), 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_keeps_a_constant_and_thinning_keeps_the_extremes() {
        let flat: Series = (1..=1000).map(|s| (f64::from(s), 2.0)).collect();
        assert!(smoothed(&flat).iter().all(|p| (p.1 - 2.0).abs() < 1e-12));
        let uneven: Series = (1..=1000).map(|s| (f64::from(s), f64::from(s % 2))).collect();
        assert!(
            smoothed(&uneven)[900..].iter().all(|p| (p.1 - 0.5).abs() < 0.05),
            "no batch decides the end"
        );
        assert_eq!(smoothed(&uneven[..1]), &uneven[..1]);
        let mut spiky = flat;
        spiky[777].1 = 9.0;
        spiky[123].1 = -1.0;
        let thin = thinned(&spiky);
        assert!(thin.len() <= POINTS && thin.contains(&(778.0, 9.0)) && thin.contains(&(124.0, -1.0)));
        assert!(thin.windows(2).all(|w| w[0].0 < w[1].0));
        assert_eq!(thinned(&spiky[..5]), &spiky[..5]);
    }
}
