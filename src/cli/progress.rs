//! Events as lines on standard error: one line rewritten in place on a terminal, a line now and then elsewhere.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::table::{clock, thousands};
use crate::train::{Event, Sample, Stage};

/// Prints what happens.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    last: Option<Instant>,
    /// True while the current line is a rewritten one.
    open: bool,
    steps: usize,
    /// Seconds of the last steps.
    recent: VecDeque<f64>,
    tokens: VecDeque<usize>,
    smooth: Option<f64>,
    /// The last sample: it knows of evaluations ahead.
    sample: Option<Sample>,
}

impl Progress {
    pub fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            last: None,
            open: false,
            steps: 0,
            recent: VecDeque::new(),
            tokens: VecDeque::new(),
            smooth: None,
            sample: None,
        }
    }

    /// A line that stays.
    pub fn line(&mut self, text: &str) {
        let mut out = std::io::stderr().lock();
        let clear = if self.open { "\r\x1b[K" } else { "" };
        self.open = false;
        // Standard error may be gone; the work goes on.
        let _ = writeln!(out, "{clear}{}", super::clean(text));
    }

    /// Takes a rewritten line away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.open) {
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "\r\x1b[K");
            let _ = out.flush();
        }
    }

    /// A line that the next one replaces; nothing elsewhere than on a terminal.
    pub fn live(&mut self, text: &str) {
        if self.terminal {
            self.passing(text, false);
        }
    }

    /// A line that the next one replaces; elsewhere than on a terminal, one every ten seconds.
    pub fn passing(&mut self, text: &str, last: bool) {
        let pause = Duration::from_millis(if self.terminal { 100 } else { 10_000 });
        if !last && self.last.is_some_and(|l| l.elapsed() < pause) {
            return;
        }
        self.last = Some(Instant::now());
        if self.terminal {
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "\r\x1b[K{text}");
            let _ = out.flush();
            self.open = true;
        } else {
            self.line(text);
        }
    }

    /// Prints an event.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::Started {
                step,
                steps,
                batch,
                device,
                languages,
                parameters,
                groups,
                undrawn,
                hard_negatives,
            } => {
                self.steps = *steps;
                self.line(&format!(
                    "training on {device}: {} parameters, {} question ids in {} languages, batches of {batch}{}, {}",
                    thousands(*parameters),
                    thousands(*groups),
                    languages.len().saturating_sub(undrawn.len()),
                    match hard_negatives {
                        0 => String::new(),
                        n => format!(" with up to {n} hard negatives a question"),
                    },
                    // A run that was stopped in its last evaluation has no step left.
                    if step < steps { format!("steps {} to {steps}", step + 1) } else { format!("all {steps} steps done") },
                ));
            }
            Event::Step { step, kind, language, loss, learning_rate, tokens, seconds, .. } => {
                {
                    let (queue, full) = (&mut self.recent, 50);
                    queue.push_back(*seconds);
                    if queue.len() > full {
                        queue.pop_front();
                    }
                }
                self.tokens.push_back(*tokens);
                if self.tokens.len() > 50 {
                    self.tokens.pop_front();
                }
                if let Some(loss) = loss {
                    self.smooth = Some(self.smooth.map_or(*loss, |s| 0.95 * s + 0.05 * loss));
                }
                let time: f64 = self.recent.iter().sum::<f64>() / self.recent.len() as f64;
                let rate =
                    self.tokens.iter().sum::<usize>() as f64 / self.recent.iter().sum::<f64>().max(1e-9);
                let left = match &self.sample {
                    Some(sample) => sample.left - (step - sample.step.min(*step)) as f64 * time,
                    None => self.steps.saturating_sub(*step) as f64 * time,
                };
                let kind = language.as_ref().map_or(kind.clone(), |l| format!("{kind} {l}"));
                let text = format!(
                    "step {step}/{}  loss {:.4}  {kind}  lr {learning_rate:.2e}  {} tokens/s  left {}",
                    self.steps,
                    self.smooth.unwrap_or(f64::NAN),
                    thousands(rate as usize),
                    clock(left),
                );
                self.passing(&text, *step == self.steps);
            }
            Event::Validation { step, loss, best } => {
                let loss = loss.map_or("not finite".to_owned(), |l| format!("{l:.4}"));
                self.line(&format!(
                    "step {step}: validation loss {loss}{}",
                    if *best { " (best)" } else { "" }
                ));
            }
            Event::Progress { stage, done, total } => {
                let what = match stage {
                    Stage::Loading => "loading model and data",
                    Stage::Tokenising if *total == 0 => {
                        "waiting for another process that builds the same token cache"
                    }
                    Stage::Tokenising => "tokenising",
                    Stage::EncodingQuestions => "encoding questions",
                    Stage::EncodingPassages => "encoding passages",
                    Stage::Ranking => "ranking",
                };
                let text = if *total > 1 {
                    format!("{what}: {} of {}", thousands(*done), thousands(*total))
                } else {
                    what.to_owned()
                };
                self.passing(&text, *total > 1 && done == total);
            }
            Event::Evaluation { step, dataset, scores, seconds } => {
                let map = |setting: &str| {
                    let score = scores.iter().find(|s| s.setting == setting && s.metric == "map");
                    score.map_or("n/a".to_owned(), |s| format!("{:.4}", s.value))
                };
                self.line(&format!(
                    "step {step}: {dataset}: mAP mono {} cross {} multi {} ({})",
                    map("mono"),
                    map("cross"),
                    map("multi"),
                    clock(*seconds)
                ));
            }
            Event::Note { message } => self.line(&format!("note: {message}")),
            Event::Finished { step, reason, seconds, .. } => {
                self.line(&format!("finished after step {step} in {}: {reason}", clock(*seconds)));
            }
            Event::Stopped { step } => {
                self.line(&stopped(*step));
            }
            Event::Sample(sample) => self.sample = Some(sample.clone()),
            Event::Drawn(_) | Event::Memory { .. } | Event::Checkpoint { .. } | Event::Failed { .. } => {}
        }
    }
}

/// How a run stopped.
pub fn stopped(step: usize) -> String {
    match step {
        0 => "stopped before the first step".to_owned(),
        step => format!("stopped after step {step}; a checkpoint was saved"),
    }
}
