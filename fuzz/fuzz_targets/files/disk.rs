//! What the program itself keeps on disk, damaged: token caches, embeddings and their index.

use std::path::Path;

use polymix_fuzz::batch::NONE;
use polymix_fuzz::evaluate::search::half::widen;
use polymix_fuzz::evaluate::search::index::Index;
use polymix_fuzz::evaluate::search::shard::{BLOCK, Shard};
use polymix_fuzz::tokens::store::{Meta, Store};

use super::{form, parts, put, told};

/// `meta.json`, then what the files of numbers are filled with, over and over.
pub fn tokens(data: &[u8], dir: &Path) {
    let [text, numbers] = parts::<2>(data);
    let cache = dir.join("cache");
    let _ = std::fs::remove_dir_all(&cache);
    std::fs::create_dir_all(&cache).expect("/dev/shm");
    put(&cache.join("meta.json"), text);
    if let Ok(meta) = serde_json::from_slice::<Meta>(text) {
        let mut from = numbers.iter().copied().chain([0]).cycle();
        let mut fill = |name: &str, count: u64, size: u64| {
            let length = count.wrapping_mul(size).min(4096);
            let contents: Vec<u8> = from.by_ref().take(length as usize).collect();
            put(&cache.join(name), &contents);
        };
        for (side, texts, tokens) in [
            ("questions", meta.questions, meta.question_tokens),
            ("passages", meta.passages, meta.passage_tokens),
        ] {
            fill(&format!("{side}.offsets"), texts.wrapping_add(1), 8);
            fill(&format!("{side}.ids"), tokens, 4);
            for language in 0..meta.languages.len().min(8) {
                fill(&format!("{side}.{language}.column"), meta.groups, 4);
            }
        }
        fill("clusters", meta.groups, 4);
        fill("negatives.offsets", meta.groups.wrapping_add(1), 4);
        fill("negatives", meta.negatives, 4);
        fill("passages.languages", meta.passages, 4);
        fill("passages.clusters", meta.passages, 4);
        fill("groups.hashes", meta.groups, 8);
    }
    let Some(store) = told(Store::open(&cache)) else { return };
    assert!(store.layout.groups <= 1024 && store.layout.distinct <= store.layout.groups);
    for index in (0..store.meta.questions.min(2000) as u32).chain([NONE]) {
        let _ = store.questions.get(index).len();
    }
    for index in (0..store.meta.passages.min(2000) as u32).chain([NONE]) {
        let _ = store.passages.get(index).len();
    }
    for language in 0..store.layout.languages.len() as u32 {
        for group in 0..store.layout.groups as u32 {
            let _ = store.layout.negatives_of(group, language).count();
        }
    }
}

/// A shard: as it is, or (`h` first) the fields of a header and the bytes of offsets, ids and checksums, around which the
/// rest is put as it must be; bytes that lack are zeros.
pub fn shard(data: &[u8], dir: &Path) {
    let (kind, rest) = form(data);
    let file = dir.join("00000.shard");
    let whole = if kind == b'h' { whole_shard(rest) } else { None };
    put(&file, whole.as_deref().unwrap_or(rest));
    let identity = std::array::from_fn(|i| rest.get(48 + i).copied().unwrap_or_default());
    let Some(shard) = told(Shard::open(&file, identity)) else { return };
    for row in 0..shard.rows {
        let _ = shard.id(row).chars().count();
    }
    for row in (0..shard.rows).step_by(BLOCK) {
        shard.hint(row..row + 1);
    }
    if told(shard.verify()).is_some() && shard.rows > 0 {
        let window = shard.window(0..1).expect("verified");
        let mut numbers = vec![0.0; window.rows.len() * shard.width];
        assert_eq!(window.bytes().len(), numbers.len() * shard.dtype.size());
        widen(shard.dtype, window.bytes(), &mut numbers);
    }
}

/// `None` where the sizes of the header are not small.
fn whole_shard(data: &[u8]) -> Option<Vec<u8>> {
    let mut out = data.get(..64)?.to_vec();
    out[..8].copy_from_slice(b"POLYMIXE");
    let word = |at: usize| u32::from_le_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]) as usize;
    let (width, rows, ids) = (word(16), word(24), word(40));
    let is_small = width <= 64 && rows <= 64 && ids <= 256 && word(28) == 0 && word(44) == 0;
    let size = if word(12) == 1 { 2 } else { 4 };
    is_small.then(|| {
        let meta = 4 * (rows + 1) + ids + 4 * rows.div_ceil(BLOCK);
        let vectors: Vec<u8> =
            data.iter().rev().copied().chain(std::iter::repeat(0)).take(rows * width * size).collect();
        out.extend(data[64..].iter().copied().chain(std::iter::repeat(0)).take(meta));
        if rows > 0 && data.len() % 8 > 0 {
            let at = out.len() - 4;
            out[at..].copy_from_slice(&crc32fast::hash(&vectors).to_le_bytes());
        }
        out.extend(crc32fast::hash(&out).to_le_bytes());
        out.resize(out.len().next_multiple_of(4096), 0);
        out.extend(vectors);
        out
    })
}

/// The manifest of an index of embeddings.
pub fn index(data: &[u8], dir: &Path) {
    put(&dir.join("index.json"), data);
    let Some(index) = told(Index::open(dir)) else { return };
    let shards = index.shards();
    let mut rows = 0;
    for shard in (0..shards).take(8).chain(shards.checked_sub(1)) {
        let own = index.rows_of(shard);
        assert!(own.start < own.end && own.len() <= index.manifest.shard_rows);
        rows = own.end;
        let _ = index.state(shard);
    }
    assert_eq!(rows as u64, index.manifest.rows);
    let _ = told(index.check_complete());
}
