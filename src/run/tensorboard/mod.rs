//! A run's numbers in the files that TensorBoard reads, beside the event log or exported from it.
//!
//! The event log stays the truth: [`bytes`] makes a whole file of it, and a run with `train.tensorboard = true` keeps such a
//! file up to date ([`Writer`]). When a run goes on, the file is made anew from what the log has kept, under a later name, so
//! that no step stands there twice.

mod proto;
mod record;

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::RunDir;
use crate::files;
use crate::train::{Event, Record};

/// A file of these records; `f64` is rounded to `f32`, as the format has it.
#[must_use]
pub fn bytes(records: &[Record]) -> Vec<u8> {
    let began = records.first().map_or(0.0, |r| r.time);
    let mut out = record::framed(&proto::version(began));
    let mut seen = Seen::new();
    for record in records {
        out.extend(framed(record, &mut seen));
    }
    out
}

/// Evaluations that were written: the final one may be of a step that was evaluated before, and says the same.
type Seen = HashSet<(String, usize)>;

/// A name that TensorBoard knows such files by; later ones come later in the alphabet.
#[must_use]
pub fn file_name(run: &RunDir, time: f64) -> String {
    format!("events.out.tfevents.{:014.3}.{}", time.max(0.0), run.id())
}

fn framed(record: &Record, seen: &mut Seen) -> Vec<u8> {
    if let Event::Evaluation { step, dataset, .. } = &record.event
        && !seen.insert((dataset.clone(), *step))
    {
        return Vec::new();
    }
    let (step, scalars) = scalars(&record.event);
    if scalars.is_empty() { Vec::new() } else { record::framed(&proto::event(record.time, step, &scalars)) }
}

/// What an event measures, by the names under which it is drawn.
fn scalars(event: &Event) -> (usize, Vec<(String, f64)>) {
    let mut found: Vec<(String, f64)> = Vec::new();
    let mut add = |tag: &str, value: f64| found.push((tag.to_owned(), value));
    let step = match event {
        Event::Step { step, kind, loss, learning_rate, grad_norm, .. } => {
            if let Some(loss) = loss {
                add("train/loss", *loss);
                add(&format!("train/loss of {kind}"), *loss);
            }
            add("train/learning_rate", *learning_rate);
            if let Some(norm) = grad_norm {
                add("train/grad_norm", *norm);
            }
            *step
        }
        Event::Validation { step, loss, .. } => {
            if let Some(loss) = loss {
                add("validation/loss", *loss);
            }
            *step
        }
        Event::Evaluation { step, dataset, scores, .. } => {
            for score in scores.iter().filter(|s| s.value.is_finite()) {
                add(&format!("{dataset}/{}/{}", score.setting, score.metric), score.value);
            }
            *step
        }
        Event::Sample(sample) => {
            add("speed/pairs_per_second", sample.pairs_per_second);
            add("speed/tokens_per_second", sample.tokens_per_second);
            sample.step
        }
        _ => 0,
    };
    (step, found)
}

/// Keeps the file of a run that trains.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
    seen: Seen,
}

impl Writer {
    /// Puts a file of what the event log holds in the place of earlier ones.
    ///
    /// # Errors
    /// Where the log cannot be read, or the disk is full.
    pub fn begin(run: &RunDir) -> Result<Self> {
        let dir = run.path.join("tensorboard");
        files::create_dir(&dir)?;
        let old = files::children(&dir);
        let mut time = super::now();
        // A clock that was set back must not put the new file before the old one.
        while old.last().is_some_and(|last| *last >= dir.join(file_name(run, time))) {
            time += 1000.0;
        }
        let path = dir.join(file_name(run, time));
        let records = run.events()?;
        files::replace(&path, &bytes(&records))?;
        let evaluation = |r: Record| match r.event {
            Event::Evaluation { step, dataset, .. } => Some((dataset, step)),
            _ => None,
        };
        let seen = records.into_iter().filter_map(evaluation).collect();
        for file in old {
            std::fs::remove_file(&file).with_context(|| format!("{}: cannot remove", file.display()))?;
        }
        let file = File::options().append(true).open(&path);
        let file = file.with_context(|| format!("{}: cannot open", path.display()))?;
        Ok(Self { path, file, seen })
    }

    /// Appends what an event measures.
    ///
    /// # Errors
    /// Where the disk is full.
    pub fn write(&mut self, event: &Event) -> Result<()> {
        self.file
            .write_all(&framed(&Record::now(event.clone()), &mut self.seen))
            .with_context(|| format!("{}: cannot append (is the disk full?)", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_made_anew_comes_later_even_where_the_clock_was_set_back() {
        let dir = tempfile::tempdir().expect("dir");
        let run = RunDir::new(dir.path().join("r"));
        let board = run.path.join("tensorboard");
        std::fs::create_dir_all(&board).expect("dir");
        let future = file_name(&run, super::super::now() + 5000.0);
        std::fs::write(board.join(&future), "old").expect("write");
        Writer::begin(&run)
            .expect("begin")
            .write(&Event::Validation { step: 1, loss: Some(2.0), best: true })
            .expect("write");
        let files = files::children(&board);
        assert_eq!(files.len(), 1);
        assert!(files[0] > board.join(future), "{files:?}");
    }
}
