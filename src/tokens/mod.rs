//! Token caches: a dataset's texts as token ids in a directory of plain number files, mapped into memory.
//!
//! A cache is found by what is in it: the key is a hash of the input files, the dataset's name and settings, the
//! tokenizer, the length limits and the prefixes. It is built once, beside its place, under a lock, and renamed there
//! when it is whole; two processes that want the same one build it once, and one that was killed leaves nothing that
//! counts. Nothing in it is ever changed.
//!
//! What a file's hash was is remembered (`digests`), so that a file of 100 GB is read once and not at each start.
//!
//! Texts stay out of memory while it is built: what grows with the data are 64-bit hashes (of ids, and of passages,
//! to keep equal ones apart) and the columns that say which question and passage a group has in each language.

mod digests;
mod prepare;
mod sink;
mod store;
mod survey;
mod writer;

pub use prepare::{
    Preparation, Wanted, below, default_dir, find, find_known, is_cached, is_large, prepare, verify,
};
pub use store::{Meta, Store, Texts};
pub use survey::{Side, Survey, survey};
