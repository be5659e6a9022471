//! Fetching published models and data: Hugging Face's hub, GitHub repositories, plain addresses and archives.
//!
//! Hub repositories land in the layout of Hugging Face's own cache ([`cache`]), so that files are shared with Python's
//! `huggingface_hub`, locks included. A file is downloaded beside its place, can be continued after a cut, is held to
//! its checksum, and is renamed into place last ([`download`]). Everything blocks; callers that must not wait use a
//! thread and a [`Watch`]. A token is sent to the host it belongs to and to no other, and never written anywhere.

mod address;
pub mod archive;
pub mod cache;
pub mod checksum;
mod disk;
mod download;
mod fault;
mod fetch;
mod git;
mod http;
mod page;
mod pattern;
mod proxy;
mod receipt;
mod repo;
mod settings;
mod shelf;
mod watch;
mod wire;

pub use address::{Address, redact};
pub use archive::is_archive;
pub use disk::bytes;
pub use fault::is_refusal;
pub use fetch::{Fetched, FetchedFile, Trust, Wanted, fetch_git, fetch_repo, fetch_url, file_name};
pub use git::Host;
pub use http::Client;
pub use pattern::{matches, nearest};
pub use repo::{Kind, Remote, Repo, is_commit};
pub use settings::Settings;
pub use shelf::Shelf;
pub use watch::{Stopped, Watch};
