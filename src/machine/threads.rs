//! The threads that compute.

use std::error::Error;

use anyhow::{Result, bail};
use rayon::ThreadPoolBuilder;

/// Names how many threads compute: rayon's own variable.
const VARIABLE: &str = "RAYON_NUM_THREADS";
/// Threads a core, and in all on a machine with few of them, beyond which they only wait for each other.
const MOST: (usize, usize) = (4, 64);

/// Starts the threads that compute: one a core, or as many as `RAYON_NUM_THREADS` says. Where they are started by the first
/// computation instead, a system without room for them ends the program in the middle of its work.
///
/// # Errors
/// As [`check_threads`]; where the system refuses a thread. Says what to raise or to lower.
pub fn start_threads() -> Result<()> {
    check_threads()?;
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

/// Refuses a variable that asks for no number of threads, which rayon would pass over, or for far too many.
///
/// # Errors
/// Says what to set.
pub fn check_threads() -> Result<()> {
    let asked = std::env::var_os(VARIABLE);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    asked_for(asked.as_ref().map(|a| a.to_string_lossy()).as_deref(), cores).map(|_| ())
}

/// How many threads the variable's text asks for; 0: one a core.
fn asked_for(text: Option<&str>, cores: usize) -> Result<usize> {
    let Some(text) = text.map(str::trim).filter(|t| !t.is_empty()) else { return Ok(0) };
    let Ok(threads) = text.parse::<usize>() else {
        bail!(
            "{VARIABLE} = '{text}': no number of threads; set it to 1 or more, or unset it for one thread a core"
        );
    };
    let most = MOST.1.max(MOST.0 * cores);
    if threads > most {
        bail!(
            "{VARIABLE} = {threads}: at most {most} threads on this machine, which has {cores} cores; unset it for one \
             thread a core"
        );
    }
    Ok(threads)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rayon takes what is no number for no wish, and 5,000 threads on two cores never get to an end.
    #[test]
    fn a_number_of_threads_is_one_that_the_machine_can_use() {
        for (text, cores, threads) in [(None, 2, 0), (Some(""), 2, 0), (Some("0"), 2, 0), (Some(" 3 "), 2, 3)]
        {
            assert_eq!(asked_for(text, cores).expect("threads"), threads, "{text:?}");
        }
        assert_eq!(asked_for(Some("64"), 2).expect("few cores"), 64);
        assert_eq!(asked_for(Some("512"), 128).expect("many cores"), 512);
        for (text, part) in
            [("two", "no number of threads"), ("-1", "no number"), ("5000", "at most 64 threads")]
        {
            let error = asked_for(Some(text), 2).expect_err(text).to_string();
            assert!(error.contains(part) && error.contains(text) && error.contains("unset"), "{error}");
        }
    }

    #[test]
    fn threads_that_run_already_are_no_error() {
        start_threads().expect("threads");
        start_threads().expect("the same");
    }
}
