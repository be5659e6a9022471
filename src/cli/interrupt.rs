//! Ctrl-C and a terminating signal: the first asks for a clean stop, a second Ctrl-C ends at once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

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
