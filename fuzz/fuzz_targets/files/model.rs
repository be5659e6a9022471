//! Files of models, all but their numbers and `tokenizer.json`.

use std::path::Path;

use polymix_fuzz::encoder::config::EncoderConfig;
use polymix_fuzz::encoder::entry::Entry;
use polymix_fuzz::encoder::sentence::{SentenceLayout, check_widths, files};
use polymix_fuzz::encoder::{
    charsmap, pickle as pickled, safetensors_file, sentencepiece as pieces, torch_file,
};

use super::{form, parts, put, told};

/// A `config.json`.
pub fn config(data: &[u8], _: &Path) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(config) = told(EncoderConfig::parse(text)) else { return };
    assert_eq!(config.hidden_size % config.heads, 0);
    assert!(config.longest() > 2 && config.first_position() < config.positions);
    assert!(config.layer_norm_eps > 0.0 && config.hidden_dropout < 1.0 && config.attention_dropout < 1.0);
}

/// The files of sentence-transformers around a model; a byte says which are there.
pub fn sentence(data: &[u8], dir: &Path) {
    const FILES: [&str; 6] = [
        "modules.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
        "tokenizer_config.json",
    ];
    let (there, rest) = form(data);
    let model = dir.join("model");
    for (number, (name, contents)) in FILES.iter().zip(parts::<6>(rest)).enumerate() {
        let path = model.join(name);
        if there >> number & 1 == 0 {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("/dev/shm");
            put(&path, contents);
        } else {
            let _ = std::fs::remove_file(path);
        }
    }
    let Some(layout) = told(SentenceLayout::read(&model)) else { return };
    assert!(layout.transformer.starts_with(&model));
    assert!(layout.dense_dirs.iter().all(|d| d.starts_with(&model)));
    let hidden = layout.head.dense.first().map_or(8, |d| d.input);
    let _ = told(check_widths(&layout, hidden));
    let longest = layout.max_length.unwrap_or(512);
    // What is written of it says the same when it is read again.
    let again = dir.join("again");
    let _ = std::fs::remove_dir_all(&again);
    for (path, text) in files(&layout, hidden, longest, &layout.prompts).expect("can be written") {
        let path = again.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("/dev/shm");
        put(&path, text.as_bytes());
    }
    let read = SentenceLayout::read(&again).expect("read again");
    assert_eq!((&read.head, &read.prompts), (&layout.head, &layout.prompts));
    assert_eq!((read.lower_case, read.max_length), (layout.lower_case, Some(longest)));
}

/// A `sentencepiece.bpe.model`.
pub fn sentencepiece(data: &[u8], _: &Path) {
    let Some(json) = told(pieces::tokenizer_json(data)) else { return };
    assert!(json.len() <= 64 * data.len() + 4096, "{} bytes of {}", json.len(), data.len());
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert!(json["model"]["vocab"].as_array().is_some_and(|v| v.len() > 4));
}

/// A map of characters, behind a text and a zero: what is not refused must not end the library that follows it.
pub fn charsmap(data: &[u8], _: &Path) {
    let mut parts = data.splitn(2, |b| *b == 0);
    let (text, map) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if told(charsmap::check(map)).is_none() {
        return;
    }
    let library = spm_precompiled::Precompiled::from(map).expect("whole");
    let _ = library.normalize_string(&String::from_utf8_lossy(text));
}

/// The description of tensors in a `.bin` file, alone.
pub fn pickle(data: &[u8], _: &Path) {
    let Some(found) = told(pickled::state_dict(data)) else { return };
    assert!(found.keys().map(String::len).sum::<usize>() <= data.len());
    assert!(found.values().all(|s| s.shape.len() == s.strides.len()));
}

/// A `.bin` file: as it is, or (`p` first) a description that is put into an archive with two storages.
pub fn torch(data: &[u8], dir: &Path) {
    let (kind, rest) = form(data);
    let file = dir.join("pytorch_model.bin");
    if kind == b'p' {
        put(
            &file,
            &zipped(&[
                ("archive/data.pkl", rest),
                ("archive/byteorder", b"little"),
                ("archive/data/0", &[0; 256]),
                ("archive/data/1", &[0; 64]),
            ]),
        );
    } else {
        put(&file, rest);
    }
    inside(&file, told(torch_file::entries(&file)));
}

/// A safetensors file: as it is, or (`h` first) a header whose length is put before it, with 64 bytes of numbers.
pub fn safetensors(data: &[u8], dir: &Path) {
    let (kind, rest) = form(data);
    let file = dir.join("model.safetensors");
    if kind == b'h' {
        put(&file, &[&(rest.len() as u64).to_le_bytes()[..], rest, &[0; 64]].concat());
    } else {
        put(&file, rest);
    }
    inside(&file, told(safetensors_file::entries(&file)));
}

/// Every tensor that can be read must lie within its file.
fn inside(file: &Path, found: Option<impl IntoIterator<Item = (String, Entry)>>) {
    let length = std::fs::metadata(file).expect("a file").len();
    for (name, entry) in found.into_iter().flatten() {
        let Ok(kind) = entry.kind else { continue };
        let Some(count) = entry.shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64)) else {
            continue;
        };
        if count == 0 {
            continue;
        }
        let is_plain = entry.is_plain();
        let last = match &entry.strides {
            Some(strides) => entry.shape.iter().zip(strides).map(|(&d, &s)| (d as u64 - 1) * s as u64).sum(),
            None => count - 1,
        };
        assert!(!is_plain || last == count - 1, "{name}: {:?} {:?}", entry.shape, entry.strides);
        assert!(
            entry.start + (last + 1) * kind.size_in_bytes() as u64 <= length,
            "{name} ends behind the file's end"
        );
        // What is unfolded into memory is no more than the file holds.
        assert!(count * kind.size_in_bytes() as u64 <= length, "{name} is larger than its file");
    }
}

/// A zip of stored files.
fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, contents) in files {
        let at = out.len() as u32;
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 33, 0];
        common.extend(crc32fast::hash(contents).to_le_bytes());
        common.extend((contents.len() as u32).to_le_bytes());
        common.extend((contents.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(name.as_bytes());
        out.extend(*contents);
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, count) = (out.len() as u32, files.len() as u16);
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}
