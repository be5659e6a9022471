//! `state.json`: what a run is doing, readable by anyone at any moment.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::files::replace;
use crate::seal;

/// Version of `state.json`. 1 had no checksum; it is still read.
const VERSION: u32 = 2;

/// Seconds without a heartbeat after which a running worker is no longer taken at its word.
pub const STALE_AFTER: f64 = 60.0;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Created, no worker yet.
    Queued,
    Running,
    /// Asked to stop; the worker finishes its step and saves.
    Stopping,
    /// Stopped on request; can be resumed.
    Stopped,
    Done,
    Failed,
    /// Its worker vanished without a word; can be resumed. Never written, only concluded.
    Stale,
}

/// The contents of `state.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Version of the format.
    pub v: u32,
    pub phase: Phase,
    pub pid: u32,
    pub host: String,
    /// Seconds since 1970.
    pub created: f64,
    pub heartbeat: f64,
    /// Optimiser steps done, and wanted.
    pub step: usize,
    pub steps: usize,
    /// How often a worker has failed at it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: usize,
    /// Why it failed, or why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The lock that a living worker holds; empty where nobody is to ask for it.
    #[serde(skip)]
    pub(super) lock: PathBuf,
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

impl State {
    /// A run that waits for its worker.
    #[must_use]
    pub fn queued(steps: usize) -> Self {
        let created = now();
        Self {
            v: VERSION,
            phase: Phase::Queued,
            pid: 0,
            host: host(),
            created,
            heartbeat: created,
            step: 0,
            steps,
            failures: 0,
            message: None,
            lock: PathBuf::new(),
        }
    }

    /// Reads `state.json` of the run directory `run`.
    ///
    /// # Errors
    /// Where the file is missing, damaged, or of a later version.
    pub fn read(run: &Path) -> Result<Self> {
        let path = run.join("state.json");
        let state: Self = seal::read_file(&path, 2, VERSION).map_err(|error| {
            if seal::is_damage(&error) {
                error.context(format!(
                    "the state of run '{}' is lost; `polymix runs resume {0}` goes on from its newest checkpoint and \
                     writes it anew",
                    run.file_name().map(|n| n.to_string_lossy()).unwrap_or_default()
                ))
            } else {
                error
            }
        })?;
        Ok(Self { lock: run.join("lock"), ..state })
    }

    /// Replaces `state.json` of the run directory `run`.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, run: &Path) -> Result<()> {
        replace(&run.join("state.json"), &seal::pretty(&Self { v: VERSION, ..self.clone() })?)
    }

    /// The phase, with a silent or vanished worker seen as [`Phase::Stale`]. A heartbeat that lies far in the past or in
    /// the future says nothing where clocks jump or differ: the lock decides then. Before it says stale it reads the file again.
    #[must_use]
    pub fn phase_now(&self) -> Phase {
        let vanished = || self.host == host() && !super::worker::alive(self.pid);
        let silent = || (now() - self.heartbeat).abs() > STALE_AFTER;
        let is_held = || crate::files::is_locked(&self.lock) == Some(true);
        if self.phase.is_active() && (vanished() || silent() && !is_held()) {
            // It may have ended well, or a new one begun, since this was read: a worker's last words come before its end.
            let said = self.lock.parent().map(Self::read);
            let later = said.and_then(Result::ok).filter(|s| s.pid != self.pid || !s.phase.is_active());
            later.map_or(Phase::Stale, |state| state.phase)
        } else {
            self.phase
        }
    }
}

impl Phase {
    /// One word for tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Stale => "stale",
        }
    }

    /// True while a worker is at it.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Stopping)
    }
}

/// This machine's name.
#[must_use]
pub fn host() -> String {
    sysinfo::System::host_name().unwrap_or_else(|_| "unknown".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_ended_well_since_its_state_was_read_is_not_taken_for_dead() {
        let dir = tempfile::tempdir().expect("dir");
        // No process has this number.
        let mut state = State { phase: Phase::Running, pid: i32::MAX.cast_unsigned(), ..State::queued(3) };
        state.write(dir.path()).expect("written");
        let read = State::read(dir.path()).expect("read");
        assert_eq!(read.phase_now(), Phase::Stale);
        for phase in [Phase::Done, Phase::Stopped, Phase::Failed] {
            state.phase = phase;
            state.write(dir.path()).expect("written");
            assert_eq!((read.phase, read.phase_now()), (Phase::Running, phase));
        }
        // A new worker.
        let next = State { phase: Phase::Running, pid: std::process::id(), ..State::queued(3) };
        next.write(dir.path()).expect("written");
        assert_eq!(read.phase_now(), Phase::Running);
        std::fs::remove_file(dir.path().join("state.json")).expect("removed");
        assert_eq!(read.phase_now(), Phase::Stale);
    }
}
