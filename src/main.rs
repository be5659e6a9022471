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
    one_arena();
    tell_no_memory();
    polymix::cli::main(keep_pages)
}

/// The C library's own allocator, which C and C++ libraries use, would set 64 MiB of address space aside for threads, or not,
/// as it comes: under `ulimit -v` those would count as used. `MALLOC_ARENA_MAX` wins.
#[allow(unsafe_code)]
fn one_arena() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        // SAFETY: sets a number in the allocator's table of options, before there is a second thread.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
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
