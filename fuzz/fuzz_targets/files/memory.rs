//! Ends the program where a few bytes of input ask for much memory at once: a length field that was believed.

use std::alloc::{GlobalAlloc, Layout, System};

/// Far above what any of these parsers needs for an input of 2 kB.
const MOST: usize = 32 << 20;

struct Bounded;

fn check(size: usize) {
    if size > MOST {
        // The message itself must not need memory of this kind.
        use std::io::Write as _;
        let _ = std::io::stderr().write_all(b"one allocation of more than 32 MiB\n");
        std::process::abort();
    }
}

// SAFETY: everything is handed on to the system's allocator as it comes.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check(size);
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;
