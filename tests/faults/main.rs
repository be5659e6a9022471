//! What a run survives, tried with the real program: each fault of `docs/reliability.md` is a test here.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code)]
#[path = "../common/terminal.rs"]
mod terminal;

mod clock;
mod damage;
mod disk;
mod kill;
mod place;
mod shim;
mod small;
mod table;
mod versions;
