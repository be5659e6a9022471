//! The threads that compute.

use std::error::Error;

use anyhow::{Result, bail};
use rayon::ThreadPoolBuilder;

/// Starts the threads that compute: one a core, or as many as `RAYON_NUM_THREADS` says. Where they are started by the first
/// computation instead, a system without room for them ends the program in the middle of its work.
///
/// # Errors
/// Where the system refuses a thread; says what to raise or to lower.
pub fn start_threads() -> Result<()> {
    let Err(error) = ThreadPoolBuilder::new().build_global() else { return Ok(()) };
    // Only a refusal has a cause; otherwise they run already.
    if let Some(cause) = error.source() {
        bail!(
            "the system refuses the threads to compute with ({cause}): raise the limit of the address space or of threads \
             (ulimit -v, ulimit -u, the container's), or start fewer of them (RAYON_NUM_THREADS=1)"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_run_already_are_no_error() {
        start_threads().expect("threads");
        start_threads().expect("the same");
    }
}
