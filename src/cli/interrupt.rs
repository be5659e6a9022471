//! Ctrl-C and a terminating signal: the first asks for a clean stop, a second Ctrl-C ends at once.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::run::{self, Outcome, RunDir};
use crate::train::Event;

/// What is said where steps are done, or the model is evaluated.
const TRAINING: &str = "stopping after this step, or in the middle of an evaluation, with a checkpoint; Ctrl-C again ends at once, and \
                        what came after the last checkpoint is lost";
/// What is said before the first step.
const READING: &str = "stopping while model and data are read or tokenised: no step is done yet, so nothing is saved, and checkpoints \
                       of before stay; what is being read is read to its end first, Ctrl-C again ends at once";
/// What is said where workers do the training.
const SWEEP: &str = "stopping every worker after its step, with a checkpoint; once they are asked, Ctrl-C again ends this process \
                     alone, and the workers stop unwatched";

/// A flag that a signal raises.
pub fn flag() -> Result<Arc<AtomicBool>> {
    let raised = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Registered first, so that it sees the flag before this very signal raises it.
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&raised))
            .context("cannot watch signals")?;
        flag::register(signal, Arc::clone(&raised)).context("cannot watch signals")?;
    }
    Ok(raised)
}

/// Trains in this process, and answers a signal with what it interrupts.
pub struct Training {
    raised: Arc<AtomicBool>,
    /// Raised where the first step begins.
    has_begun: Arc<AtomicBool>,
}

impl Training {
    /// Hears signals from now on.
    pub fn watched() -> Result<Self> {
        let (raised, has_begun) = (flag()?, Arc::new(AtomicBool::new(false)));
        let begun = Arc::clone(&has_begun);
        answer(&raised, move || if begun.load(Ordering::Relaxed) { TRAINING } else { READING })?;
        Ok(Self { raised, has_begun })
    }

    /// [`run::execute`], until it ends or a signal stops it.
    pub fn execute(&self, run: &RunDir, tell: &mut dyn FnMut(&Event)) -> Result<Outcome> {
        run::execute(run, &self.raised, &mut |event| {
            if matches!(event, Event::Started { .. }) {
                self.has_begun.store(true, Ordering::Relaxed);
            }
            tell(event);
        })
    }
}

/// Flags of a sweep: a signal raises the first, and only where the second is raised too does a further one end the process.
/// Workers have process groups of their own: they must be asked to stop before nobody watches them.
pub fn of_sweep() -> Result<[Arc<AtomicBool>; 2]> {
    let [raised, asked] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&asked))
            .context("cannot watch signals")?;
        flag::register(signal, Arc::clone(&raised)).context("cannot watch signals")?;
    }
    answer(&raised, || SWEEP)?;
    Ok([raised, asked])
}

/// Says at once, on standard error, that a signal was heard: what it stops may take a while to notice. The thread that waits
/// for it ends with the program.
fn answer(raised: &Arc<AtomicBool>, words: impl Fn() -> &'static str + Send + 'static) -> Result<()> {
    let raised = Arc::clone(raised);
    let waiting = std::thread::Builder::new().spawn(move || {
        while !raised.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
        }
        // A line that is being rewritten stays as it is. Standard error may be gone; the work goes on.
        let _ = writeln!(std::io::stderr().lock(), "\n{}", words());
    });
    waiting.context(
        "the system refuses a thread to watch signals with; raise the limit (ulimit -v, ulimit -u)",
    )?;
    Ok(())
}
