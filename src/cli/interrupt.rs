//! Ctrl-C and a terminating signal: the first asks for a clean stop, a second Ctrl-C ends at once.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// What is said when training is asked to stop.
pub const STOPPING: &str = "stopping after this step, with a checkpoint; Ctrl-C again ends at once, and what came after the last \
                            checkpoint is lost";

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

/// Says at once, on standard error, that a signal was heard: what it stops may take a while to notice. The thread that waits
/// for it ends with the program.
pub fn answer(raised: &Arc<AtomicBool>, words: &'static str) {
    let raised = Arc::clone(raised);
    std::thread::spawn(move || {
        while !raised.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
        }
        // A line that is being rewritten stays as it is. Standard error may be gone; the work goes on.
        let _ = writeln!(std::io::stderr().lock(), "\n{words}");
    });
}
