//! How far the sweeps of the store are, looked at again and again at little cost.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use super::message::SweepRow;
use super::text::duration;
use crate::run::Store;
use crate::run::sweep::{self, Board, Sweep};

impl SweepRow {
    /// `6 of 10 done, 1 running, 2:10 left`.
    #[must_use]
    pub fn standing(&self) -> String {
        let overall = &self.overall;
        let mut text = format!("{} of {} done", overall.done, overall.total);
        for (n, word) in
            [(overall.running, "running"), (overall.failed, "failed"), (overall.stopped, "stopped")]
        {
            if n > 0 {
                text += &format!(", {n} {word}");
            }
        }
        if let Some(left) = overall.left.filter(|left| *left > 0.0) {
            text += &format!(", {} left", duration(left));
        }
        text
    }
}

/// A sweep as it was read, and its cells when they were first looked at.
struct Known {
    stamp: Option<SystemTime>,
    sweep: Sweep,
    board: Board,
    begin: (Board, Instant),
}

/// The sweeps of a store. A sweep's own file is read once, and a run that is done is not looked at again.
#[derive(Default)]
pub struct Sweeps {
    known: HashMap<PathBuf, Known>,
}

impl Sweeps {
    /// All sweeps as they are now, newest first; what cannot be read is left out (`polymix sweep list` says why).
    pub fn look(&mut self, store: &Store) -> Vec<SweepRow> {
        let dirs = sweep::directories(store);
        self.known.retain(|dir, _| dirs.contains(dir));
        let mut found: Vec<(f64, SweepRow)> = dirs.iter().filter_map(|dir| self.row(dir, store)).collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        found.into_iter().map(|(_, row)| row).collect()
    }

    fn row(&mut self, dir: &Path, store: &Store) -> Option<(f64, SweepRow)> {
        let stamp = std::fs::metadata(dir.join("sweep.toml")).and_then(|m| m.modified()).ok();
        if self.known.get(dir).is_none_or(|known| known.stamp != stamp) {
            let sweep = Sweep::open(dir, store).ok()?;
            let board = Board::read(&sweep);
            let begin = (board.clone(), Instant::now());
            self.known.insert(dir.to_owned(), Known { stamp, sweep, board, begin });
        }
        let known = self.known.get_mut(dir)?;
        known.board.refresh(&known.sweep);
        let (begin, since) = &known.begin;
        let mut overall = known.board.overall(begin, since.elapsed().as_secs_f64());
        // Nothing comes nearer while nothing runs.
        overall.left = overall.left.filter(|_| overall.running > 0);
        let shares = &known.board.shares;
        let row = SweepRow {
            id: known.sweep.id.clone(),
            runs: known.sweep.cells.iter().map(|cell| known.sweep.run(cell).path).collect(),
            overall,
            share: shares.iter().sum::<f64>() / shares.len().max(1) as f64,
        };
        Some((known.sweep.created, row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::sweep::Plan;
    use crate::run::{Phase, State};
    use crate::spec::{Axis, ExperimentSpec};

    #[test]
    fn sweeps_are_followed_as_their_runs_go_on() {
        let dir = tempfile::tempdir().expect("dir");
        let store = Store { root: dir.path().join("runs") };
        let mut sweeps = Sweeps::default();
        assert_eq!(sweeps.look(&store), []);
        let grid = vec![Axis::parse("sampling.alpha=0,1").expect("an axis")];
        let plan = Plan { spec: ExperimentSpec::default(), grid, seeds: 1 };
        let sweep = Sweep::create(&store, plan, Some("s"), None).expect("a sweep");
        let rows = sweeps.look(&store);
        assert_eq!((rows[0].id.as_str(), rows[0].runs.len(), rows[0].share), ("s", 2, 0.0));
        assert_eq!(rows[0].standing(), "0 of 2 done");

        let run = store.create(&sweep.cells[0].spec).expect("a run");
        std::fs::rename(&run.path, &rows[0].runs[0]).expect("the cell's run");
        let run = sweep.run(&sweep.cells[0]);
        let mut state = State::queued(100);
        (state.phase, state.step, state.pid) = (Phase::Running, 50, std::process::id());
        state.write(&run.path).expect("written");
        let rows = sweeps.look(&store);
        assert!(rows[0].standing().starts_with("0 of 2 done, 1 running"), "{}", rows[0].standing());
        assert!((rows[0].share - 0.25).abs() < 1e-9);
        (state.phase, state.step) = (Phase::Done, 100);
        state.write(&run.path).expect("written");
        assert_eq!((sweeps.look(&store)[0].overall.done, sweeps.look(&store)[0].share), (1, 0.5));
        std::fs::remove_dir_all(&sweep.path).expect("removed");
        assert_eq!(sweeps.look(&store), []);
    }
}
