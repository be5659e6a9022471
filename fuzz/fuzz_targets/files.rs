//! Parsers of files that are no datasets: what describes models, what is fetched, what the program keeps.
//! `FUZZ_LOADER` names the parser; what the input is stands at each. Files lie in memory (/dev/shm).
#![no_main]

#[path = "files/disk.rs"]
mod disk;
#[path = "files/hub.rs"]
mod hub;
#[path = "files/memory.rs"]
mod memory;
#[path = "files/model.rs"]
mod model;
#[path = "files/text.rs"]
mod text;
#[path = "files/unpack.rs"]
mod unpack;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

/// Takes the input and a folder of its own, which lasts from one input to the next.
type Parser = fn(&[u8], &Path);

const PARSERS: &[(&str, Parser)] = &[
    ("catalogue", text::catalogue),
    ("lexicon", text::lexicon),
    ("trec", text::trec),
    ("passages", text::passages),
    ("settings", text::settings),
    ("archive", unpack::archive),
    ("hub", hub::hub),
    ("config", model::config),
    ("sentence", model::sentence),
    ("sentencepiece", model::sentencepiece),
    ("charsmap", model::charsmap),
    ("pickle", model::pickle),
    ("torch", model::torch),
    ("safetensors", model::safetensors),
    ("weights", model::weights),
    ("adapters", model::adapters),
    ("tokens", disk::tokens),
    ("shard", disk::shard),
    ("index", disk::index),
];

fn parser() -> &'static (Parser, PathBuf) {
    static CHOSEN: OnceLock<(Parser, PathBuf)> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let wanted = std::env::var("FUZZ_LOADER").expect("FUZZ_LOADER names a parser");
        let (name, parser) = PARSERS.iter().find(|p| p.0 == wanted).expect("a parser of the list");
        let dir = PathBuf::from(format!("/dev/shm/polymix-fuzz-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("/dev/shm");
        (*parser, dir)
    })
}

/// The first byte, which chooses among forms of the input, and the rest.
fn form(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}

/// Exactly `N` parts that 0xff separates; the last keeps further ones.
fn parts<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut parts = data.splitn(N, |b| *b == 0xff);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// Writes a file, replacing what is there.
fn put(path: &Path, contents: &[u8]) {
    std::fs::write(path, contents).expect("/dev/shm");
}

/// What was refused must say why.
fn told<T>(result: anyhow::Result<T>) -> Option<T> {
    result.inspect_err(|error| assert!(!format!("{error:#}").is_empty())).ok()
}

fuzz_target!(|data: &[u8]| {
    let (parse, dir) = parser();
    parse(data, dir);
});
