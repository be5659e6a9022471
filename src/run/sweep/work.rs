//! Working through a sweep: workers are started, watched, tried again, and stopped.

use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Sweep;
use super::board::{Board, Overall, Standing};
use super::queue::{Queue, Started};
use crate::files;
use crate::run::{State, stop};
use crate::spec::Cell;

/// Between two looks at this process's own workers.
const LOOK: Duration = Duration::from_millis(100);
/// Between two looks at all cells, which other processes may change.
const SURVEY: Duration = Duration::from_secs(1);

/// How many workers at once, and on which devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workers {
    pub jobs: usize,
    /// Job i runs on device i, i + n, ...; none: what the spec says.
    pub devices: Vec<String>,
}

/// Something that happened.
#[derive(Debug)]
pub struct Change<'a> {
    pub cell: &'a Cell,
    pub what: What,
    pub overall: Overall,
}

/// What happened to a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A worker was started on this device (`None`: the spec's own). The try counts from 1.
    Started {
        device: Option<String>,
        attempt: usize,
    },
    /// A worker that an earlier process of this sweep had started is still at it.
    Adopted,
    /// `step` of `steps` are done; told about once a second.
    Step {
        step: usize,
        steps: usize,
    },
    Done {
        seconds: f64,
    },
    /// It failed and is tried again.
    Again {
        message: String,
    },
    /// It failed as often as it may.
    Failed {
        message: String,
    },
    Stopped {
        step: usize,
    },
}

/// A worker that this process watches.
struct Watched {
    cell: usize,
    /// `None`: another process started it.
    child: Option<Child>,
    slot: usize,
    began: Instant,
    asked_to_stop: bool,
}

/// Works on the sweep until every cell is done, has failed twice or was stopped, or until `interrupted`; then the
/// workers are asked to save a checkpoint and stop, and `asked` is raised once all of them are. The first process of a sweep leads it: it puts stopped and failed
/// cells back into the queue and adopts workers that are still running. Others only take what waits.
///
/// # Errors
/// Where the sweep's directory or a run's cannot be read or written. Failed cells are no error here.
pub fn work(
    sweep: &Sweep,
    workers: &Workers,
    (interrupted, asked): (&AtomicBool, &AtomicBool),
    tell: &mut dyn FnMut(&Change),
) -> Result<Overall> {
    ensure!(workers.jobs > 0, "--jobs 0: must be at least 1");
    sweep.check_devices(&workers.devices)?;
    let leads = files::try_lock(&sweep.path.join("process.lock"))?;
    {
        let queue = Queue::lock(sweep)?;
        queue.fill()?;
        if leads.is_some() {
            queue.requeue()?;
        }
    }
    let board = Board::read(sweep);
    let mut process = Process {
        sweep,
        workers,
        begin: board.clone(),
        board,
        watched: Vec::new(),
        began: Instant::now(),
        surveyed: Instant::now(),
        tell,
    };
    if leads.is_some() {
        process.adopt();
    }
    let ended = process.run(interrupted, asked);
    if ended.is_err() {
        // Nobody would watch them any more.
        process.stop_all();
        asked.store(true, Ordering::Relaxed);
    }
    ended
}

struct Process<'a> {
    sweep: &'a Sweep,
    workers: &'a Workers,
    /// As it was when this process began.
    begin: Board,
    board: Board,
    watched: Vec<Watched>,
    began: Instant,
    surveyed: Instant,
    tell: &'a mut dyn FnMut(&Change),
}

impl Process<'_> {
    fn run(&mut self, interrupted: &AtomicBool, asked: &AtomicBool) -> Result<Overall> {
        // The first look is at once.
        let mut look_for_work = true;
        loop {
            look_for_work |= self.collect()?;
            if interrupted.load(Ordering::Relaxed) {
                self.stop_all();
                // One that is not yet asked has just ended, or is asked at the next look.
                if self.watched.iter().all(|w| w.asked_to_stop) {
                    asked.store(true, Ordering::Relaxed);
                }
                if self.watched.is_empty() {
                    break;
                }
            } else {
                if self.surveyed.elapsed() >= SURVEY {
                    self.survey();
                    look_for_work = true;
                }
                while look_for_work && self.watched.len() < self.workers.jobs {
                    look_for_work = self.start_one()? && !interrupted.load(Ordering::Relaxed);
                }
                look_for_work = false;
                if self.watched.is_empty() && self.board.is_settled() {
                    break;
                }
            }
            std::thread::sleep(LOOK);
        }
        self.board.refresh(self.sweep);
        Ok(self.overall())
    }

    fn overall(&self) -> Overall {
        self.board.overall(&self.begin, self.began.elapsed().as_secs_f64())
    }

    fn say(&mut self, cell: usize, what: What) {
        let change = Change { cell: &self.sweep.cells[cell], what, overall: self.overall() };
        (self.tell)(&change);
    }

    /// The first job that is free; beyond the jobs where more workers are adopted than there are jobs.
    fn free_slot(&self) -> usize {
        (0..self.watched.len())
            .find(|slot| self.watched.iter().all(|w| w.slot != *slot))
            .unwrap_or(self.watched.len())
    }

    fn watch(&mut self, cell: usize, child: Option<Child>) {
        let slot = self.free_slot();
        self.watched.push(Watched { cell, child, slot, began: Instant::now(), asked_to_stop: false });
    }

    /// Watches the workers that an earlier process has left.
    fn adopt(&mut self) {
        for cell in 0..self.sweep.cells.len() {
            if self.board.standings[cell] == Standing::Running {
                self.watch(cell, None);
                self.say(cell, What::Adopted);
            }
        }
    }

    /// Starts the next cell; false where nothing waits.
    fn start_one(&mut self) -> Result<bool> {
        let devices = &self.workers.devices;
        let device = match devices.len() {
            0 => None,
            n => Some(devices[self.free_slot() % n].clone()),
        };
        // Without a look at the lock where nothing waits: others may be busy with it.
        if self.board.next().is_none() {
            return Ok(false);
        }
        let started = Queue::lock(self.sweep)?.start_next(&mut self.board, device.as_deref())?;
        let Some(Started { cell, child, attempt }) = started else { return Ok(false) };
        self.watch(cell, Some(child));
        self.say(cell, What::Started { device, attempt });
        Ok(true)
    }

    /// Settles what has ended; true if something has.
    fn collect(&mut self) -> Result<bool> {
        let mut ended = Vec::new();
        for (index, watched) in self.watched.iter_mut().enumerate() {
            let run = self.sweep.run(&self.sweep.cells[watched.cell]);
            match &mut watched.child {
                Some(child) => {
                    let context = || format!("run '{}': cannot watch its worker", run.id());
                    if let Some(status) = child.try_wait().with_context(context)? {
                        ended.push((index, Some(status)));
                    }
                }
                None if Standing::of_run(&run) != Standing::Running => ended.push((index, None)),
                None => {}
            }
        }
        for (index, status) in ended.iter().rev() {
            let watched = self.watched.remove(*index);
            let cell = &self.sweep.cells[watched.cell];
            let (standing, state) = Queue::lock(self.sweep)?.settle(cell, *status)?;
            self.board.refresh(self.sweep);
            let seconds = watched.began.elapsed().as_secs_f64();
            if let Some(what) = outcome(standing, state, seconds) {
                self.say(watched.cell, what);
            }
        }
        Ok(!ended.is_empty())
    }

    /// Looks at all cells and tells how far this process's own are.
    fn survey(&mut self) {
        self.surveyed = Instant::now();
        self.board.refresh(self.sweep);
        let cells: Vec<usize> = self.watched.iter().map(|w| w.cell).collect();
        for cell in cells {
            if let Ok(State { step, steps, .. }) = self.sweep.run(&self.sweep.cells[cell]).state() {
                self.say(cell, What::Step { step, steps });
            }
        }
    }

    /// Asks every worker to save a checkpoint and stop, once.
    fn stop_all(&mut self) {
        for watched in self.watched.iter_mut().filter(|w| !w.asked_to_stop) {
            // One that has just ended has nothing to stop; one that has not begun is asked next time.
            watched.asked_to_stop = stop(&self.sweep.run(&self.sweep.cells[watched.cell])).is_ok();
        }
    }
}

/// What is told of a cell whose worker has ended; nothing where another process has it.
fn outcome(standing: Standing, state: State, seconds: f64) -> Option<What> {
    let message = state.message.unwrap_or_else(|| "no reason was written down".into());
    match standing {
        Standing::Done => Some(What::Done { seconds }),
        Standing::Stopped => Some(What::Stopped { step: state.step }),
        Standing::Again => Some(What::Again { message }),
        Standing::Failed => Some(What::Failed { message }),
        Standing::Running | Standing::Waiting => None,
    }
}
