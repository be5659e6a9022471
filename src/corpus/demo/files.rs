//! The corpus' tables, bundled.

/// Path below `assets/demo` and contents.
pub const FILES: &[(&str, &str)] = &[];
