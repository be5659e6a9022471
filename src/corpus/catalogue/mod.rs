//! What there is to fetch: data and models with their sources, licences and roles, and what of it is on disk.
//!
//! The built-in entries stand in `assets/catalogue.toml`; a file of the user's own, of the same form, adds to them and
//! replaces entries of the same name. An entry of data names the loader that reads it, a name that
//! [`open`](super::open) knows; the catalogue itself reads no data.

mod entry;
mod fetch;
mod held;
mod locate;
mod parse;
mod record;
mod verify;

pub use entry::{At, Entries, Entry, Form, Layout, Prefixes, Role, Source};
pub use fetch::{Received, fetch, fetch_again};
pub use held::{Held, Trouble, data_root, folder, held};
pub use locate::{
    check_present, locate, model_commit, model_dir, model_doubt, model_entry, model_prefixes, open, stream,
};
pub use verify::{Checked, Fault, verify};
