//! Sets up the allocator, parses the command line and calls one command.

use std::ffi::{c_int, c_void};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` in mimalloc's `mi_option_e`: milliseconds until freed pages go back to the system.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// What mimalloc reports where the system gives it no memory (`ENOMEM`).
const NO_MEMORY: c_int = 12;

fn main() -> ExitCode {
    tell_no_memory();
    polymix::cli::main(keep_pages)
}

/// Freed pages go back to the system after this many milliseconds. `MIMALLOC_PURGE_DELAY` wins.
#[allow(unsafe_code)]
fn keep_pages(milliseconds: u16) {
    // SAFETY: stores a number in the allocator's table of options, which it reads at each use; it may be called at any time.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, milliseconds.into()) }
}

/// Where memory runs out, the program ends at once, after a line that says only how many bytes were asked for: this one, before
/// it, says what to do.
#[allow(unsafe_code)]
fn tell_no_memory() {
    // SAFETY: the function lives as long as the program, takes no argument, and neither unwinds nor allocates.
    unsafe { libmimalloc_sys::mi_register_error(Some(no_memory), std::ptr::null_mut()) }
}

extern "C" fn no_memory(code: c_int, _: *mut c_void) {
    if code == NO_MEMORY {
        // Standard error has no buffer.
        polymix::machine::tell_no_memory(&mut std::io::stderr());
    }
}
