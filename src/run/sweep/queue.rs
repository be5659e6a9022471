//! Choosing cells and starting their workers, one process at a time.

use std::fs::File;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Board, Standing, Sweep, TRIES};
use crate::files;
use crate::run::{Phase, RunDir, State, silent_end, start};
use crate::spec::Cell;

/// How long a new worker may take until it says that it runs; after that others may try.
const PATIENCE: Duration = Duration::from_secs(60);

/// What this process has with `queue.lock`: nobody else starts a cell or judges one.
pub struct Queue<'a> {
    sweep: &'a Sweep,
    _lock: File,
}

/// A worker that was started.
pub struct Started {
    /// Place among the sweep's cells.
    pub cell: usize,
    pub child: Child,
    /// Which try it is, from 1.
    pub attempt: usize,
}

impl<'a> Queue<'a> {
    /// Waits for `queue.lock`.
    pub fn lock(sweep: &'a Sweep) -> Result<Self> {
        Ok(Self { sweep, _lock: files::lock(&sweep.path.join("queue.lock"))? })
    }

    /// Creates the runs that are not there yet, so that everybody sees the queue.
    pub fn fill(&self) -> Result<()> {
        files::create_dir(&self.sweep.runs.root)?;
        for cell in &self.sweep.cells {
            if !self.sweep.run(cell).exists() {
                self.sweep.runs.create_as(&cell.id, &cell.spec)?;
            }
        }
        Ok(())
    }

    /// Puts what was stopped or has failed too often back into the queue, for somebody who wants to go on.
    pub fn requeue(&self) -> Result<()> {
        for cell in &self.sweep.cells {
            let run = self.sweep.run(cell);
            let Ok(mut state) = run.state() else { continue };
            let standing = Standing::of(&state);
            if matches!(standing, Standing::Stopped | Standing::Failed) {
                state.phase = Phase::Queued;
                state.failures = if standing == Standing::Failed { 0 } else { state.failures };
                state.message = None;
                state.write(&run.path)?;
            }
        }
        Ok(())
    }

    /// Starts the next cell on this device (its spec's own where there is none), and waits until its worker says that
    /// it runs. `None` where there is nothing to start.
    pub fn start_next(&self, board: &mut Board, device: Option<&str>) -> Result<Option<Started>> {
        board.refresh(self.sweep);
        let Some(cell) = board.next() else { return Ok(None) };
        let run = self.sweep.run(&self.sweep.cells[cell]);
        if !run.exists() {
            // Removed by somebody since the sweep began.
            self.fill()?;
        }
        if let Some(device) = device {
            bind(&run, device)?;
        }
        let attempt = run.state()?.failures + 1;
        let mut child = start(&run)?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let ended = child.try_wait().with_context(|| format!("run '{}': cannot watch", run.id()))?;
            if ended.is_some() || run.state().is_ok_and(|s| s.pid == child.id() && s.phase != Phase::Queued) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        board.standings[cell] = Standing::Running;
        Ok(Some(Started { cell, child, attempt }))
    }

    /// What became of a cell whose worker has ended, with its last words. A worker that ended without any (it was
    /// killed, or could not even begin) counts as failed.
    pub fn settle(&self, cell: &Cell, status: Option<ExitStatus>) -> Result<(Standing, State)> {
        let run = self.sweep.run(cell);
        let mut state = match run.state() {
            Ok(state) => state,
            Err(error) => {
                let message = Some(format!("{error:#}"));
                return Ok((Standing::Failed, State { message, ..State::queued(cell.spec.train.steps) }));
            }
        };
        if Standing::of(&state) == Standing::Waiting {
            let how =
                status.map_or("its worker is gone".to_owned(), |s| format!("its worker ended with {s}"));
            let log = std::fs::read_to_string(run.log_file()).unwrap_or_default();
            let words = log.lines().rev().find(|line| !line.trim().is_empty());
            state.message = Some(match words.filter(|_| status.is_some_and(|s| s.code().is_some())) {
                Some(words) => format!("{how}: {words}"),
                None => format!("{how}; {}", silent_end(&run, state.step, Some(&cell.spec))),
            });
            state.phase = Phase::Failed;
            state.failures = (state.failures + 1).min(TRIES);
            state.write(&run.path)?;
        }
        Ok((Standing::of(&state), state))
    }
}

/// Writes the device into the run's spec, where it says another.
fn bind(run: &RunDir, device: &str) -> Result<()> {
    let mut spec = run.spec()?;
    if spec.train.device == device {
        return Ok(());
    }
    device.clone_into(&mut spec.train.device);
    run.write_spec(&spec)
}
