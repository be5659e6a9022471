//! The worker: a child process of the same binary that trains in a run directory.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Phase, RunDir, State, now, shown};

/// True where a process with this id runs on this machine.
pub(super) fn alive(pid: u32) -> bool {
    use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
    let pid = Pid::from_u32(pid);
    let Ok(mut system) = System::new() else { return true };
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, ProcessRefreshKind::nothing());
    system.process(pid).is_some_and(|p| p.status() != sysinfo::ProcessStatus::Zombie)
}

/// Starts (or resumes) the worker of a run as a child process that outlives this one.
///
/// # Errors
/// Where a worker is at it already, or the process cannot be started.
pub fn start(run: &RunDir) -> Result<std::process::Child> {
    let state = run.state_or_lost()?;
    ensure!(
        state.as_ref().is_none_or(|s| !s.phase_now().is_active()),
        "run '{}' is already running (process {} on {})",
        run.id(),
        state.as_ref().map_or(0, |s| s.pid),
        state.as_ref().map_or("", |s| &s.host)
    );
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(run.log_file())
        .with_context(|| format!("{}: cannot open the log", shown(&run.log_file())))?;
    let mut command = Command::new(program);
    command.arg("train").arg("--run-dir").arg(&run.path).arg("--resume");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    // Where memory runs out, the standard library would print a backtrace, need memory for it, and wait for itself for ever:
    // a worker that hangs looks alive.
    command.env_remove("RUST_BACKTRACE");
    #[cfg(unix)]
    {
        // A process group of its own: Ctrl-C and the terminal's hang-up reach the workbench only.
        use std::os::unix::process::CommandExt;
        command.process_group(0);
    }
    command.spawn().with_context(|| format!("run '{}': cannot start the worker", run.id()))
}

/// Asks the worker of a run to save a checkpoint and stop.
///
/// # Errors
/// Where no worker is at it.
pub fn stop(run: &RunDir) -> Result<()> {
    let mut state = run.state()?;
    let phase = state.phase_now();
    if phase == Phase::Queued {
        state.phase = Phase::Stopped;
        return state.write(&run.path);
    }
    ensure!(phase.is_active(), "run '{}' is {}: nothing to stop", run.id(), phase.word());
    crate::files::replace(&run.stop_file(), b"stop\n")
}

/// Tries to take the run's lock for a second: a look at it ([`crate::files::is_locked`]) holds it for an instant, and for
/// longer where a busy machine interrupts the look. Not where another worker says that it has the lock.
fn take_lock(run: &RunDir) -> Result<Option<std::fs::File>> {
    // A state in this process's name is of one that had its number before.
    let (path, own) = (run.path.join("lock"), std::process::id());
    for _ in 0..200 {
        match crate::files::try_lock(&path) {
            Ok(None) if run.state().is_ok_and(|s| s.pid != own && s.phase_now().is_active()) => {
                return Ok(None);
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            other => return other,
        }
    }
    Ok(None)
}

/// Keeps `state.json` fresh from a thread of its own while a worker runs.
#[derive(Debug)]
pub struct Heartbeat {
    shared: Arc<Mutex<State>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    run: RunDir,
    /// Held as long as this worker lives, so that there is never a second one.
    _lock: Option<std::fs::File>,
}

impl Heartbeat {
    /// Marks the run as running by this process and begins to beat every two seconds.
    ///
    /// # Errors
    /// Where another worker is at it, or the state cannot be written.
    pub fn begin(run: &RunDir, steps: usize) -> Result<Self> {
        // Without locks (some cluster file systems) the heartbeat alone keeps a second worker away.
        let lock = take_lock(run);
        let mut state = run.state_or_lost()?.unwrap_or_else(|| State::queued(steps));
        if matches!(lock, Ok(Some(_))) {
            // It is this worker's own now, and says nothing of another one.
            state.lock = std::path::PathBuf::new();
        }
        // In a container that was restarted, the process before this one had this one's number.
        let is_own = state.pid == std::process::id() && state.host == super::state::host();
        // Whoever has the lock knows that nobody else is at it, whatever the clocks say.
        let is_mine = matches!(lock, Ok(Some(_))) && state.host == super::state::host();
        ensure!(
            !state.phase_now().is_active() || is_own || is_mine,
            "run '{}' is already {} (process {} on {}); stop it first, or choose another --run-dir",
            run.id(),
            state.phase.word(),
            state.pid,
            state.host
        );
        ensure!(
            !matches!(lock, Ok(None)),
            "run '{}': another worker has just begun with it; `polymix runs list` shows it",
            run.id()
        );
        let _ = std::fs::remove_file(run.stop_file());
        // Where it goes on from: the state of a killed worker lags behind, and one that fails soon says no other.
        state.step = super::checkpoints(run).last().map_or(0, |(step, _)| *step);
        state.phase = Phase::Running;
        state.pid = std::process::id();
        state.host = super::state::host();
        state.heartbeat = now();
        state.steps = steps;
        state.message = None;
        state.write(&run.path)?;
        let shared = Arc::new(Mutex::new(state));
        let ended = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().spawn({
            let (shared, ended, path) = (Arc::clone(&shared), Arc::clone(&ended), run.path.clone());
            move || {
                while !ended.load(Ordering::Acquire) {
                    std::thread::park_timeout(Duration::from_secs(2));
                    let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    if !ended.load(Ordering::Acquire) {
                        state.heartbeat = now();
                        // A full disk must not end training here; the event log reports it.
                        let _ = state.write(&path);
                    }
                }
            }
        });
        let thread = thread.with_context(|| {
            format!(
                "run '{}': the system has no thread to spare; raise the limit (ulimit -u, ulimit -v, the container's)",
                run.id()
            )
        })?;
        Ok(Self { shared, ended, thread: Some(thread), run: run.clone(), _lock: lock.ok().flatten() })
    }

    /// Notes the step; written with the next beat.
    pub fn step(&self, step: usize) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).step = step;
    }

    /// True once somebody asked for a stop, or took the run's directory away: nothing could be kept any more then. The
    /// state says `stopping`.
    #[must_use]
    pub fn stop_requested(&self) -> bool {
        let asked = self.run.stop_file().exists() || !self.run.path.is_dir();
        if asked {
            self.shared.lock().unwrap_or_else(PoisonError::into_inner).phase = Phase::Stopping;
        }
        asked
    }

    /// Ends the beat and writes the last state.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn end(mut self, phase: Phase, message: Option<String>) -> Result<()> {
        self.halt();
        let mut state = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        state.phase = phase;
        state.failures += usize::from(phase == Phase::Failed);
        state.message = message;
        state.heartbeat = now();
        let _ = std::fs::remove_file(self.run.stop_file());
        state.write(&self.run.path)
    }

    fn halt(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.halt();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_at_the_lock_that_takes_its_time_keeps_no_worker_away() {
        let dir = tempfile::tempdir().expect("dir");
        let run = RunDir::new(dir.path().to_owned());
        State::queued(3).write(dir.path()).expect("written");
        let look = crate::files::lock(&dir.path().join("lock")).expect("locked");
        let looking = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(250));
            drop(look);
        });
        let worker = Heartbeat::begin(&run, 3).expect("the look is over");
        looking.join().expect("joined");
        assert_eq!(run.state().expect("state").phase, Phase::Running);
        // A worker that has it keeps others away at once.
        assert!(matches!(take_lock(&run), Ok(None)));
        drop(worker);
        assert!(matches!(take_lock(&run), Ok(Some(_))));
    }
}
