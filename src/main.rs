//! Sets up the allocator, parses the command line and calls one command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` in mimalloc's `mi_option_e`: milliseconds until freed pages go back to the system.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

fn main() -> ExitCode {
    keep_pages();
    polymix::cli::main()
}

/// Activations come and go each training step, which takes seconds on a CPU: with the default delay, one second, their pages
/// were given back, and faulted in and zeroed again, at the cost of an eighth of the time. `MIMALLOC_PURGE_DELAY` wins.
#[allow(unsafe_code)]
fn keep_pages() {
    // SAFETY: stores a number in the allocator's table of options, which it reads at each use; it may be called at any time.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, 10_000) }
}
