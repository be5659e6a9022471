//! XLM-R's `sentencepiece.bpe.model` against the tokenizer.json of the pretrained model, and against sentencepiece itself.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;
#[path = "common/python.rs"]
mod python;

use base64::Engine;
use polymix::corpus::open;
use polymix::encoder::{TextTokenizer, tokenizer_json};
use polymix::spec::{Candidate, DatasetRef};
use serde_json::Value;

fn number(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn field(tag: usize, bytes: &[u8], out: &mut Vec<u8>) {
    number(tag << 3 | 2, out);
    number(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// The sentencepiece model that an XLM-R tokenizer.json was made from.
fn model_of(json: &Value) -> Vec<u8> {
    let vocabulary = json["model"]["vocab"].as_array().unwrap();
    let mut out = Vec::new();
    let mut piece = |text: &str, score: f64, kind: u8| {
        let mut own = Vec::new();
        field(1, text.as_bytes(), &mut own);
        own.push(2 << 3 | 5);
        own.extend_from_slice(&(score as f32).to_le_bytes());
        own.extend_from_slice(&[3 << 3, kind]);
        field(1, &own, &mut out);
    };
    for (text, kind) in [("<unk>", 2), ("<s>", 3), ("</s>", 3)] {
        piece(text, 0.0, kind);
    }
    for entry in &vocabulary[4..vocabulary.len() - 1] {
        piece(entry[0].as_str().unwrap(), entry[1].as_f64().unwrap(), 1);
    }
    let map = json["normalizer"]["normalizers"][0]["precompiled_charsmap"].as_str().unwrap();
    let mut normaliser = Vec::new();
    field(1, b"nmt_nfkc", &mut normaliser);
    field(2, &base64::engine::general_purpose::STANDARD.decode(map).unwrap(), &mut normaliser);
    field(2, &[3 << 3, 1], &mut out);
    field(3, &normaliser, &mut out);
    out
}

#[test]
fn every_xquadr_text_has_the_ids_of_the_pretrained_tokenizer() {
    const TEST: &str = "every_xquadr_text_has_the_ids_of_the_pretrained_tokenizer";
    let Some(data) = common::xquadr(TEST) else { return };
    let Some(model) = common::pretrained("xlm-roberta", TEST) else { return };
    let bytes = std::fs::read(model.join("tokenizer.json")).unwrap();
    let json: Value = serde_json::from_slice(&bytes).unwrap();
    let theirs = TextTokenizer::from_bytes(&bytes).unwrap();
    let ours = TextTokenizer::from_bytes(&tokenizer_json(&model_of(&json)).unwrap()).unwrap();
    assert_eq!(ours.vocabulary(), theirs.vocabulary());
    let name = DatasetRef { name: "xquad-r".into(), part: None, path: Some(data) };
    let data = open(&name, Candidate::Sentence).unwrap();
    let questions = data.questions.iter().map(|q| q.text.trim());
    let texts: Vec<&str> = questions.chain(data.passages.iter().map(|p| p.text.trim())).collect();
    let (ours, theirs) =
        (ours.encode("", &texts, usize::MAX).unwrap(), theirs.encode("", &texts, usize::MAX).unwrap());
    for ((text, ours), theirs) in texts.iter().zip(&ours.ids).zip(&theirs.ids) {
        assert_eq!(ours, theirs, "{text:?}");
    }
    assert_eq!(texts.len(), 13_090 + 13_014);
}

#[test]
fn a_model_that_sentencepiece_trained_cuts_texts_as_sentencepiece_does() {
    const TEST: &str = "a_model_that_sentencepiece_trained_cuts_texts_as_sentencepiece_does";
    let Some(python) = python::python(TEST, "sentencepiece", "sentencepiece") else { return };
    let demo = open(&"demo".parse().unwrap(), Candidate::Sentence).unwrap();
    let mut texts: Vec<&str> = demo.questions.iter().step_by(7).map(|q| q.text.as_str()).collect();
    texts.extend(demo.passages.iter().step_by(7).map(|p| p.text.as_str()));
    texts.extend([
        "",
        " ",
        "  two  spaces, and at the ends  ",
        "tab\tand\u{a0}no-break\u{3000}ideographic",
        "ｆｕｌｌ ｗｉｄｔｈ １２３ ﬁ ½ ① ㎏",
        "e\u{301} e\u{308} \u{200b}zero width\u{feff}",
        "never seen: 🦦 ꙮ ᚠᚢᚦ",
        "less < than, <unk and s>",
    ]);
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    std::fs::write(file("texts.json"), serde_json::to_vec(&texts).unwrap()).unwrap();
    let out = std::process::Command::new(python)
        .arg(common::root().join("scripts/check-sentencepiece.py"))
        .args([file("texts.json"), file("own"), file("ids.json")])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let wanted: Value = serde_json::from_slice(&std::fs::read(file("ids.json")).unwrap()).unwrap();
    let json = tokenizer_json(&std::fs::read(file("own.model")).unwrap()).unwrap();
    let tokenizer = TextTokenizer::from_bytes(&json).unwrap();
    assert_eq!(tokenizer.vocabulary() as u64, wanted["pieces"].as_u64().unwrap() + 2);
    let found = tokenizer.encode("", &texts, usize::MAX).unwrap();
    let mut other = Vec::new();
    for ((text, ids), wanted) in texts.iter().zip(&found.ids).zip(wanted["ids"].as_array().unwrap()) {
        let wanted: Vec<u32> =
            wanted.as_array().unwrap().iter().map(|i| i.as_u64().unwrap() as u32).collect();
        if *ids != wanted {
            other.push(format!("{text:?}: {ids:?}, not {wanted:?}"));
        }
    }
    assert!(other.is_empty(), "{} of {} texts differ: {}", other.len(), texts.len(), other.join("\n"));
}
