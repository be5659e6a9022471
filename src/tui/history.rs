//! A run's events as series that a chart can draw, kept up to date as records arrive.

use std::collections::BTreeMap;

use crate::train::{DrawnPairs, Event, Record, Sample, Score, Stage};

/// Steps after a (re)start that no estimate of the remaining time looks at.
const WARM: usize = 5;
/// Steps that the pace is averaged over.
const PACE: usize = 50;
/// Lines of the log that are kept.
const LOG_LINES: usize = 5000;

/// One optimiser step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub step: usize,
    /// Seconds of training up to this step.
    pub elapsed: f64,
    /// NaN where it was not finite.
    pub loss: f64,
    /// Exponential mean over the batches of the same kind, corrected for its start.
    pub smooth: f64,
    /// Index into [`KINDS`].
    pub kind: usize,
    pub learning_rate: f64,
    pub grad_norm: f64,
    pub pairs: usize,
    pub tokens: usize,
    pub seconds: f64,
}

/// Batch kinds in the order that [`Point::kind`] uses.
/// The last one: a step whose batches are of several kinds.
pub const KINDS: [&str; 5] = ["X-X-mono", "X-Y", "X-X", "multi", "mixed"];

/// A line of the log pane.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    pub level: Level,
    pub text: String,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Plain,
    Good,
    Warning,
    Error,
}

/// A validation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    pub step: usize,
    pub elapsed: f64,
    pub loss: f64,
    pub best: bool,
}

/// The headline numbers of one evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    pub step: usize,
    pub elapsed: f64,
    pub dataset: String,
    pub scores: Vec<Score>,
}

/// What `Started` said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Started {
    pub step: usize,
    pub steps: usize,
    pub batch: usize,
    pub device: String,
    pub languages: Vec<String>,
    pub parameters: usize,
    pub groups: usize,
    pub hard_negatives: usize,
}

/// Everything a run has told so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    pub started: Option<Started>,
    pub points: Vec<Point>,
    pub validations: Vec<Validation>,
    pub evaluations: Vec<Evaluated>,
    pub drawn: Option<DrawnPairs>,
    /// Speed and resources at the last sample.
    pub sample: Option<Sample>,
    pub log: Vec<LogLine>,
    pub progress: Option<(Stage, usize, usize)>,
    /// The last step whose loss or gradient was not finite.
    pub not_finite: Option<usize>,
    /// Wall clock of the first and the last record.
    pub span: Option<(f64, f64)>,
    smoothing: f64,
    ema: [(f64, f64); KINDS.len()],
}

impl History {
    /// An empty history with a smoothing factor in `0..1`.
    #[must_use]
    pub fn new(smoothing: f64) -> Self {
        Self { smoothing, ..Self::default() }
    }

    /// Takes in a record.
    pub fn add(&mut self, record: Record) {
        let time = record.time;
        self.span = Some((self.span.map_or(time, |s| s.0), time));
        let long = matches!(record.event, Event::Progress { .. } | Event::Note { .. });
        if !long {
            self.progress = None;
        }
        match record.event {
            Event::Started {
                step,
                steps,
                batch,
                device,
                languages,
                parameters,
                groups,
                hard_negatives,
                ..
            } => {
                self.rewind(step);
                let verb = if step > 0 { "resumed" } else { "started" };
                self.note(Level::Good, format!("{verb} at step {step} of {steps} on {device}"));
                self.started = Some(Started {
                    step,
                    steps,
                    batch,
                    device,
                    languages,
                    parameters,
                    groups,
                    hard_negatives,
                });
            }
            Event::Step { step, kind, loss, learning_rate, grad_norm, pairs, tokens, seconds, .. } => {
                self.rewind(step.saturating_sub(1));
                let loss = loss.unwrap_or(f64::NAN);
                let grad_norm = grad_norm.unwrap_or(f64::NAN);
                if !loss.is_finite() || !grad_norm.is_finite() {
                    self.not_finite = Some(step);
                }
                let kind = KINDS.iter().position(|k| *k == kind).unwrap_or(3);
                let elapsed = self.elapsed() + if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
                let smooth = self.smooth(kind, loss);
                self.points.push(Point {
                    step,
                    elapsed,
                    loss,
                    smooth,
                    kind,
                    learning_rate,
                    grad_norm,
                    pairs,
                    tokens,
                    seconds,
                });
            }
            Event::Sample(mut sample) => {
                // A run that went on in another process keeps the most of all.
                sample.peak_memory = sample.peak_memory.max(self.sample.as_ref().and_then(|s| s.peak_memory));
                self.sample = Some(sample);
            }
            Event::Memory { memory, peak_memory, .. } => {
                if let Some(sample) = &mut self.sample {
                    sample.memory = memory;
                    sample.peak_memory = sample.peak_memory.max(peak_memory);
                }
            }
            Event::Drawn(drawn) => self.drawn = Some(drawn),
            Event::Validation { step, loss, best } => {
                let loss = loss.unwrap_or(f64::NAN);
                let mark = if best { " (best so far)" } else { "" };
                self.note(Level::Plain, format!("validation loss {loss:.4} at step {step}{mark}"));
                self.validations.push(Validation { step, elapsed: self.elapsed(), loss, best });
            }
            Event::Progress { stage, done, total } => {
                self.progress = (done < total).then_some((stage, done, total));
            }
            Event::Evaluation { step, dataset, scores, seconds } => {
                let level = Level::Good;
                self.note(level, format!("evaluated {dataset} after step {step} in {seconds:.1}s"));
                self.evaluations.push(Evaluated { step, elapsed: self.elapsed(), dataset, scores });
            }
            Event::Checkpoint { step, best } => {
                let best = if best { " (best so far)" } else { "" };
                self.note(Level::Plain, format!("checkpoint at step {step}{best}"));
            }
            Event::Note { message } => self.note(Level::Plain, message),
            Event::Finished { step, reason, best, seconds } => {
                let best = best.map_or(String::new(), |b| {
                    format!("; best validation loss {:.4} at step {}", b.loss, b.step)
                });
                let took = super::text::duration(seconds);
                self.note(Level::Good, format!("finished at step {step} after {took}: {reason}{best}"));
            }
            Event::Stopped { step: 0 } => self.note(Level::Warning, "stopped before the first step"),
            Event::Stopped { step } => self.note(Level::Warning, format!("stopped at step {step}; saved")),
            Event::Failed { step, message } => {
                self.note(Level::Error, format!("failed at step {step}: {message}"));
            }
        }
    }

    /// Drops what a resumed run says again.
    fn rewind(&mut self, step: usize) {
        if self.points.last().is_some_and(|p| p.step > step) {
            self.points.retain(|p| p.step <= step);
            self.resmooth(self.smoothing);
        }
        self.validations.retain(|v| v.step <= step);
        self.evaluations.retain(|e| e.step <= step);
        if self.not_finite.is_some_and(|s| s > step) {
            self.not_finite = None;
        }
    }

    /// Adds a line to the log.
    pub fn note(&mut self, level: Level, text: impl Into<String>) {
        self.log.push(LogLine { level, text: text.into() });
        if self.log.len() > LOG_LINES {
            self.log.drain(..LOG_LINES / 10);
        }
    }

    /// Seconds of training so far.
    #[must_use]
    pub fn elapsed(&self) -> f64 {
        self.points.last().map_or(0.0, |p| p.elapsed)
    }

    fn smooth(&mut self, kind: usize, loss: f64) -> f64 {
        if !loss.is_finite() {
            return f64::NAN;
        }
        let (mean, weight) = &mut self.ema[kind];
        *mean = self.smoothing * *mean + (1.0 - self.smoothing) * loss;
        *weight = self.smoothing * *weight + (1.0 - self.smoothing);
        *mean / *weight
    }

    /// Smooths the whole history anew with another factor in `0..1`.
    pub fn resmooth(&mut self, smoothing: f64) {
        self.smoothing = smoothing;
        self.ema = Default::default();
        for index in 0..self.points.len() {
            let Point { kind, loss, .. } = self.points[index];
            self.points[index].smooth = self.smooth(kind, loss);
        }
    }

    /// One smoothed line over all kinds of batch: step and loss.
    #[must_use]
    pub fn overall(&self, smoothing: f64) -> Vec<(f64, f64)> {
        let (mut mean, mut weight) = (0.0, 0.0);
        let finite = self.points.iter().filter(|p| p.loss.is_finite());
        finite
            .map(|p| {
                mean = smoothing * mean + (1.0 - smoothing) * p.loss;
                weight = smoothing * weight + (1.0 - smoothing);
                (p.step as f64, mean / weight)
            })
            .collect()
    }

    /// Every step as CSV.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut lines =
            String::from("step,kind,loss,smoothed,learning_rate,grad_norm,pairs,tokens,seconds\n");
        let number = |v: f64| if v.is_finite() { v.to_string() } else { String::new() };
        for p in &self.points {
            lines += &format!(
                "{},{},{},{},{},{},{},{},{}\n",
                p.step,
                KINDS[p.kind],
                number(p.loss),
                number(p.smooth),
                p.learning_rate,
                number(p.grad_norm),
                p.pairs,
                p.tokens,
                p.seconds
            );
        }
        lines
    }

    /// Seconds a step, pairs a second and tokens a second over the latest steps.
    #[must_use]
    pub fn pace(&self) -> Option<Pace> {
        let first = self.started.as_ref().map_or(0, |s| s.step) + WARM;
        let warm = self.points.iter().rev().take(PACE).take_while(|p| p.step > first).count();
        // A short run is all warm-up: then what there is must do.
        let count = if warm == 0 { self.points.len().min(PACE) } else { warm };
        let recent = &self.points[self.points.len() - count..];
        let seconds: f64 = recent.iter().map(|p| p.seconds).filter(|s| s.is_finite()).sum();
        (seconds > 0.0).then(|| Pace {
            seconds: seconds / count as f64,
            pairs: recent.iter().map(|p| p.pairs).sum::<usize>() as f64 / seconds,
            tokens: recent.iter().map(|p| p.tokens).sum::<usize>() as f64 / seconds,
        })
    }

    /// The lowest validation loss.
    #[must_use]
    pub fn best_validation(&self) -> Option<Validation> {
        self.validations
            .iter()
            .filter(|v| v.loss.is_finite())
            .min_by(|a, b| a.loss.total_cmp(&b.loss))
            .copied()
    }

    /// Macro mAP over steps by (dataset, setting).
    #[must_use]
    pub fn maps(&self) -> BTreeMap<(String, String), Vec<StepValue>> {
        let mut series: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for evaluated in &self.evaluations {
            for score in evaluated.scores.iter().filter(|s| s.metric == "map") {
                let key = (evaluated.dataset.clone(), score.setting.clone());
                series.entry(key).or_default().push((evaluated.step, evaluated.elapsed, score.value));
            }
        }
        series
    }
}

/// A step, the seconds of training up to it, and a value.
pub type StepValue = (usize, f64, f64);

/// How fast a run goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Seconds a step.
    pub seconds: f64,
    pub pairs: f64,
    pub tokens: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn step(step: usize, loss: Option<f64>) -> Record {
        let kind = if step.is_multiple_of(2) { "X-Y" } else { "X-X-mono" };
        Record {
            v: 1,
            time: step as f64,
            event: Event::Step {
                step,
                kind: kind.into(),
                language: None,
                loss,
                learning_rate: 1e-3,
                grad_norm: Some(1.0),
                pairs: 10,
                tokens: 100,
                seconds: 0.5,
            },
        }
    }

    #[test]
    fn a_resumed_run_overwrites_what_came_after_its_checkpoint() {
        let mut history = History::new(0.9);
        (1..=10).for_each(|s| history.add(step(s, Some(2.0))));
        (6..=8).for_each(|s| history.add(step(s, Some(1.0))));
        let steps: Vec<usize> = history.points.iter().map(|p| p.step).collect();
        assert_eq!(steps, (1..=8).collect::<Vec<_>>());
        assert!((history.elapsed() - 4.0).abs() < 1e-9);
    }

    #[test]
    fn smoothing_follows_each_kind_and_skips_what_is_not_finite() {
        let mut history = History::new(0.5);
        for (at, loss) in [(1, Some(4.0)), (2, Some(1.0)), (3, None), (4, Some(1.0)), (5, Some(2.0))] {
            history.add(step(at, loss));
        }
        assert_eq!(history.points[0].smooth, 4.0);
        assert_eq!(history.points[1].smooth, 1.0);
        assert!(history.points[2].smooth.is_nan());
        assert_eq!(history.not_finite, Some(3));
        assert!((history.points[4].smooth - (0.5 * 0.5 * 4.0 + 0.5 * 2.0) / 0.75).abs() < 1e-12);
        history.resmooth(0.0);
        assert_eq!(history.points[4].smooth, 2.0);
    }

    #[test]
    fn the_overall_line_does_not_jump_between_kinds() {
        let mut history = History::new(0.9);
        (1..=200).for_each(|s| history.add(step(s, Some(if s % 2 == 0 { 4.0 } else { 1.0 }))));
        let line = history.overall(0.96);
        assert!(line[60..].windows(2).all(|w| (w[0].1 - w[1].1).abs() < 0.2), "{line:?}");
        assert!((line[199].1 - 2.5).abs() < 0.2);
        assert_eq!(line[0], (1.0, 1.0));
    }

    #[test]
    fn pace_counts_pairs_and_tokens_by_the_second() {
        let mut history = History::new(0.9);
        assert_eq!(history.pace(), None);
        (1..=20).for_each(|s| history.add(step(s, Some(1.0))));
        let pace = history.pace().expect("pace");
        assert_eq!((pace.seconds, pace.pairs, pace.tokens), (0.5, 20.0, 200.0));
    }
}
