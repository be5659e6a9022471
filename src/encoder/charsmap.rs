//! sentencepiece's map of characters (`precompiled_charsmap` of a `tokenizer.json`), held to its own bounds before the
//! library follows it: that reserves what a length field says, and ends the program where the map points outside itself.
//!
//! Little-endian: the length of a trie in bytes (u32), the trie, texts that end with a zero. The trie is a double array of
//! units of 32 bits (Darts-clone): the node at `p` has a child for byte `c` at `p ^ c` where the unit there has that label;
//! the unit's offset leads on to the child's own place, which holds the start of a text where the unit says so.

use anyhow::{Context, Result, ensure};
use base64::Engine;
use serde::Deserialize;
use serde_json::Value;

/// Checks every map that a `tokenizer.json` has; a file that is not JSON is left to whoever reads it.
///
/// # Errors
/// Where a map is cut off or points outside itself.
pub fn check_tokenizer(json: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct File {
        normalizer: Option<Value>,
    }
    let Ok(File { normalizer: Some(normaliser) }) = serde_json::from_slice(json) else { return Ok(()) };
    check_in(&normaliser)
}

fn check_in(value: &Value) -> Result<()> {
    match value {
        Value::Array(all) => all.iter().try_for_each(check_in),
        Value::Object(all) => all.iter().try_for_each(|(key, value)| match value {
            Value::String(text) if key == "precompiled_charsmap" => {
                let map = base64::engine::general_purpose::STANDARD.decode(text);
                check(&map.context("the map of characters (precompiled_charsmap) is not base64")?)
            }
            _ => check_in(value),
        }),
        _ => Ok(()),
    }
}

/// Checks one map.
///
/// # Errors
/// Where it is cut off, or a node or text that can be reached lies outside it.
pub fn check(map: &[u8]) -> Result<()> {
    let damaged = "the map of characters (precompiled_charsmap) is damaged";
    let (length, rest) = map.split_first_chunk().context(damaged)?;
    let length = u32::from_le_bytes(*length) as usize / 4 * 4;
    let (trie, texts) = rest.split_at_checked(length).context(damaged)?;
    let texts = std::str::from_utf8(texts).context(damaged)?;
    let units: Vec<usize> = trie.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b) as usize).collect();
    let offset = |unit: usize| (unit >> 10) << ((unit >> 9 & 1) * 8);
    let root = units.first().context(damaged)?;
    let (mut open, mut seen) = (vec![offset(*root)], vec![false; units.len()]);
    while let Some(at) = open.pop() {
        // Any byte may be looked up, so that the whole block must be there.
        ensure!(at | 0xff < units.len(), damaged);
        if std::mem::replace(&mut seen[at], true) {
            continue;
        }
        for byte in 1..256 {
            let unit = units[at ^ byte];
            if unit & (1 << 31 | 0xff) != byte {
                continue;
            }
            let next = (at ^ byte) ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                let start = units.get(next).context(damaged)? & !(1 << 31);
                ensure!(texts.is_char_boundary(start), damaged);
            }
            open.push(next);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::TextTokenizer;
    use serde_json::json;

    /// The map that makes `a` of `b`, and nothing else; `change` works on the trie.
    fn map(change: impl FnOnce(&mut Vec<u32>)) -> Vec<u8> {
        let mut trie = vec![0; 256];
        trie[0] = 1 << 10;
        let child = 1 ^ u32::from(b'b');
        trie[child as usize] = u32::from(b'b') | 1 << 8 | (child ^ 0xc8) << 10;
        trie[0xc8] = 1 << 31;
        change(&mut trie);
        let mut map = (trie.len() as u32 * 4).to_le_bytes().to_vec();
        map.extend(trie.iter().flat_map(|unit| unit.to_le_bytes()));
        map.extend(b"a\0");
        map
    }

    fn tokenizer(map: &[u8]) -> Vec<u8> {
        let map = base64::engine::general_purpose::STANDARD.encode(map);
        let special = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
        json!({"version": "1.0", "added_tokens": [], "decoder": null, "pre_tokenizer": null,
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": map}]},
            "post_processor": {"type": "TemplateProcessing", "pair": [],
                "single": [special("<s>"), {"Sequence": {"id": "A", "type_id": 0}}, special("<s>")],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
            "model": {"type": "Unigram", "unk_id": 1, "vocab": [["<s>", 0.0], ["<unk>", 0.0], ["a", -1.0]]}})
        .to_string()
        .into_bytes()
    }

    #[test]
    fn a_whole_map_is_followed() {
        let read = TextTokenizer::from_bytes(&tokenizer(&map(|_| {}))).expect("a tokenizer");
        assert_eq!(read.encode("", &["ba"], 8).expect("tokens").ids, [[0, 2, 2, 0]]);
    }

    #[test]
    fn a_map_that_points_outside_itself_is_refused_before_it_is_followed() {
        let child = usize::from(1 ^ b'b');
        let outside: [Vec<u8>; 6] = [
            Vec::new(),
            // A length far beyond the file, for which the library would reserve 8 GiB.
            vec![0xff; 4],
            map(Vec::clear),
            // A root, a child and a text that are not there.
            map(|trie| trie[0] = 1 << 20),
            map(|trie| trie[child] = u32::from(b'b') | 1 << 8 | 1 << 20),
            map(|trie| trie[0xc8] = 1 << 31 | 3),
        ];
        for map in outside {
            assert!(check(&map).is_err());
            let error = format!("{:#}", TextTokenizer::from_bytes(&tokenizer(&map)).expect_err("refused"));
            assert!(error.contains("precompiled_charsmap"), "{error}");
        }
    }

    #[test]
    fn maps_that_lead_in_a_circle_end() {
        let child = usize::from(1 ^ b'b');
        check(&map(|trie| trie[child] = u32::from(b'b') | (child as u32 ^ 1) << 10)).expect("inside");
    }
}
