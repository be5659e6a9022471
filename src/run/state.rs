//! `state.json`: what a run is doing, readable by anyone at any moment.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::files::replace;

/// Seconds without a heartbeat after which a running worker counts as stale.
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
            v: 1,
            phase: Phase::Queued,
            pid: 0,
            host: host(),
            created,
            heartbeat: created,
            step: 0,
            steps,
            failures: 0,
            message: None,
        }
    }

    /// Reads `state.json` of the run directory `run`.
    ///
    /// # Errors
    /// Where the file is missing or not a state.
    pub fn read(run: &Path) -> Result<Self> {
        let path = run.join("state.json");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("{}: cannot read", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{}: not a run state", path.display()))
    }

    /// Replaces `state.json` of the run directory `run`.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, run: &Path) -> Result<()> {
        replace(&run.join("state.json"), &serde_json::to_vec_pretty(self)?)
    }

    /// The phase, with a silent or vanished worker seen as [`Phase::Stale`].
    #[must_use]
    pub fn phase_now(&self) -> Phase {
        let active = matches!(self.phase, Phase::Running | Phase::Stopping);
        let silent = || now() - self.heartbeat > STALE_AFTER;
        let vanished = || self.host == host() && !super::worker::alive(self.pid);
        if active && (silent() || vanished()) { Phase::Stale } else { self.phase }
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
