//! How far every cell of a sweep is, as its run says.

use super::Sweep;
use crate::run::{Phase, RunDir, State};

/// How often a cell is tried before the sweep goes on without it.
pub const TRIES: usize = 2;

/// Where a cell stands in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not started, or its worker is gone without a word.
    Waiting,
    /// Failed, and due another try.
    Again,
    /// A worker is at it.
    Running,
    Done,
    /// Failed as often as it may.
    Failed,
    /// Stopped on request.
    Stopped,
}

impl Standing {
    /// Of a run in this state.
    #[must_use]
    pub fn of(state: &State) -> Self {
        match state.phase_now() {
            Phase::Queued | Phase::Stale => Self::Waiting,
            Phase::Running | Phase::Stopping => Self::Running,
            Phase::Stopped => Self::Stopped,
            Phase::Done => Self::Done,
            Phase::Failed if state.failures < TRIES => Self::Again,
            Phase::Failed => Self::Failed,
        }
    }

    /// Of a run; one that cannot be read has failed.
    #[must_use]
    pub fn of_run(run: &RunDir) -> Self {
        if run.exists() { run.state().map_or(Self::Failed, |s| Self::of(&s)) } else { Self::Waiting }
    }

    /// True where a worker may be started.
    #[must_use]
    pub const fn is_startable(self) -> bool {
        matches!(self, Self::Waiting | Self::Again)
    }

    /// True where nothing more happens by itself.
    #[must_use]
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Stopped)
    }

    /// One word for tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "queued",
            Self::Again => "to retry",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// All cells at a glance.
#[derive(Clone, Debug, PartialEq)]
pub struct Board {
    pub standings: Vec<Standing>,
    /// Steps done of each cell's steps, from 0 to 1.
    pub shares: Vec<f64>,
}

/// How far a sweep is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overall {
    pub total: usize,
    pub done: usize,
    pub running: usize,
    pub failed: usize,
    pub stopped: usize,
    /// Seconds to go, as far as can be told.
    pub left: Option<f64>,
}

impl Board {
    /// Reads every run's state.
    #[must_use]
    pub fn read(sweep: &Sweep) -> Self {
        let n = sweep.cells.len();
        let mut board = Self { standings: vec![Standing::Waiting; n], shares: vec![0.0; n] };
        board.refresh(sweep);
        board
    }

    /// Reads again what may have changed; a run that is done stays done.
    pub fn refresh(&mut self, sweep: &Sweep) {
        for (index, cell) in sweep.cells.iter().enumerate() {
            if self.standings[index] == Standing::Done {
                continue;
            }
            let run = sweep.run(cell);
            self.standings[index] = Standing::of_run(&run);
            self.shares[index] = match (self.standings[index], run.state()) {
                (Standing::Done, _) => 1.0,
                (_, Ok(state)) if state.steps > 0 => (state.step as f64 / state.steps as f64).min(1.0),
                _ => 0.0,
            };
        }
    }

    /// The first cell to start: what waits comes before what is tried again.
    #[must_use]
    pub fn next(&self) -> Option<usize> {
        let place = |wanted| self.standings.iter().position(|s| *s == wanted);
        place(Standing::Waiting).or_else(|| place(Standing::Again))
    }

    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.standings.iter().all(|s| s.is_settled())
    }

    /// Counts; the time left follows from what `seconds` brought since `begin`.
    #[must_use]
    pub fn overall(&self, begin: &Self, seconds: f64) -> Overall {
        let count = |wanted| self.standings.iter().filter(|s| **s == wanted).count();
        let gained: f64 =
            self.shares.iter().zip(&begin.shares).map(|(now, then)| (now - then).max(0.0)).sum();
        let open = self.standings.iter().zip(&self.shares).filter(|(s, _)| !s.is_settled());
        let remaining: f64 = open.map(|(_, share)| 1.0 - share).sum();
        let left =
            if remaining <= 0.0 { Some(0.0) } else { (gained > 0.01).then(|| seconds * remaining / gained) };
        Overall {
            total: self.standings.len(),
            done: count(Standing::Done),
            running: count(Standing::Running),
            failed: count(Standing::Failed),
            stopped: count(Standing::Stopped),
            left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_tried_twice_and_a_vanished_worker_leaves_it_waiting() {
        let mut state = State::queued(10);
        assert_eq!(Standing::of(&state), Standing::Waiting);
        (state.phase, state.failures) = (Phase::Failed, 1);
        assert_eq!(Standing::of(&state), Standing::Again);
        state.failures = 2;
        assert_eq!(Standing::of(&state), Standing::Failed);
        (state.phase, state.pid) = (Phase::Running, std::process::id());
        assert_eq!(Standing::of(&state), Standing::Running);
        state.heartbeat -= 3600.0;
        assert_eq!(Standing::of(&state), Standing::Waiting);
        state.phase = Phase::Stopped;
        assert!(!Standing::of(&state).is_startable());
    }

    #[test]
    fn what_waits_comes_before_what_is_tried_again() {
        use Standing::{Again, Done, Failed, Running, Waiting};
        let board = |standings: &[Standing]| Board {
            standings: standings.to_vec(),
            shares: vec![0.0; standings.len()],
        };
        assert_eq!(board(&[Done, Again, Running, Waiting]).next(), Some(3));
        assert_eq!(board(&[Done, Again, Running]).next(), Some(1));
        assert_eq!(board(&[Done, Failed, Running]).next(), None);
        assert!(!board(&[Done, Running]).is_settled() && board(&[Done, Failed]).is_settled());
    }

    #[test]
    fn the_time_left_follows_from_the_share_that_was_done() {
        use Standing::{Done, Failed, Running, Waiting};
        let begin =
            Board { standings: vec![Done, Waiting, Waiting, Failed], shares: vec![1.0, 0.0, 0.0, 0.0] };
        let mut now = begin.clone();
        assert_eq!(now.overall(&begin, 5.0).left, None, "nothing done yet: nothing to tell from");
        (now.standings[1], now.shares[1]) = (Running, 0.5);
        // Half a cell in 30 seconds; one and a half are left.
        let overall = now.overall(&begin, 30.0);
        assert_eq!((overall.total, overall.done, overall.running, overall.failed), (4, 1, 1, 1));
        assert!((overall.left.unwrap() - 90.0).abs() < 1e-9);
    }
}
