//! Who looks on while something is fetched, and may ask for a pause.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

/// Who looks on, and may ask for a stop.
pub struct Watch<'a> {
    /// Raised by whoever wants the download to pause; what is on disk stays.
    pub stop: &'a AtomicBool,
    /// Hears the file, the bytes done and the bytes in all.
    pub tell: &'a mut dyn FnMut(&str, u64, u64),
    /// Hears why it takes longer.
    pub remark: &'a mut dyn FnMut(&str),
    /// Bytes of the files before this one, and of all.
    pub before: u64,
    pub total: u64,
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("before", &self.before)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

/// The error of a download that was asked to pause.
#[derive(Clone, Copy, Debug)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("paused; what was downloaded is kept, and the same command goes on from there")
    }
}

impl std::error::Error for Stopped {}

impl Watch<'_> {
    /// Says why it takes longer, or what else a user should know.
    pub fn note(&mut self, text: &str) {
        (self.remark)(text);
    }

    /// An error where a stop was asked for.
    pub(super) fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Stopped.into()) } else { Ok(()) }
    }

    /// Waits, unless a stop is asked for meanwhile.
    pub(super) fn sleep(&self, time: Duration) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < time {
            self.check()?;
            std::thread::sleep(time.saturating_sub(begin.elapsed()).min(Duration::from_millis(50)));
        }
        self.check()
    }
}
