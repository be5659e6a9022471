//! Token ids of every XQuAD-R text against Hugging Face's own, by hash.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use polymix::corpus::open;
use polymix::encoder::TextTokenizer;
use polymix::spec::{Candidate, DatasetRef};
use sha2::{Digest, Sha256};

#[test]
fn every_xquadr_text_has_hugging_faces_ids() {
    const TEST: &str = "every_xquadr_text_has_hugging_faces_ids";
    let Some(data) = common::xquadr(TEST) else { return };
    let file = common::root().join("tests/golden/xquadr-token-ids.json");
    let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let Some(model) = common::pretrained(golden["layout"].as_str().unwrap(), TEST) else { return };
    let tokenizer = TextTokenizer::from_bytes(&std::fs::read(model.join("tokenizer.json")).unwrap()).unwrap();
    let name = DatasetRef { name: "xquad-r".into(), part: None, path: Some(data) };
    let data = open(&name, Candidate::Sentence).unwrap();
    let mut texts = 0;
    for (language, code) in data.languages.iter().enumerate() {
        let language = language as u16;
        let questions: Vec<&str> =
            data.questions_in(language).map(|i| data.questions[i].text.as_str()).collect();
        let sentences: Vec<&str> =
            data.passages_in(language).map(|i| data.passages[i].text.as_str()).collect();
        for (side, own) in [("questions", questions), ("sentences", sentences)] {
            let tokenised = tokenizer.encode("", &own, usize::MAX).unwrap();
            assert_eq!(tokenised.truncated, 0);
            let mut hash = Sha256::new();
            let mut tokens = 0;
            for ids in &tokenised.ids {
                hash.update((ids.len() as u32).to_le_bytes());
                for id in ids {
                    hash.update(id.to_le_bytes());
                }
                tokens += ids.len();
            }
            let wanted = &golden["languages"][code][side];
            assert_eq!(
                (own.len() as u64, tokens as u64),
                (wanted["texts"].as_u64().unwrap(), wanted["tokens"].as_u64().unwrap()),
                "{code} {side}"
            );
            assert_eq!(
                polymix::corpus::read::hex(&hash.finalize()),
                wanted["sha256"].as_str().unwrap(),
                "{code} {side}"
            );
            texts += own.len();
        }
    }
    assert_eq!(texts, 13_090 + 13_014);
}

#[test]
fn what_is_kept_of_a_cut_text_ends_where_its_last_token_does() {
    let model = common::tiny_model();
    let tokenizer =
        TextTokenizer::from_bytes(&std::fs::read(model.path().join("tokenizer.json")).unwrap()).unwrap();
    let text = "river house stone bird light";
    let whole = tokenizer.encode("", &[text], 100).unwrap();
    assert_eq!(whole.cut, Vec::<usize>::new());
    let longest = whole.ids[0].len() - 2;
    let cut = tokenizer.encode("", &["river", text], longest).unwrap();
    assert_eq!((cut.truncated, cut.cut), (1, vec![1]));
    let kept = tokenizer.kept("", &[text], longest).unwrap()[0];
    assert!((5..text.len()).contains(&kept), "{kept}");
    let rest = tokenizer.encode("", &[&text[..kept]], longest).unwrap();
    assert_eq!(
        (rest.truncated, &rest.ids[0]),
        (0, &cut.ids[1]),
        "the kept part has the tokens that were kept"
    );
    assert_eq!(tokenizer.kept("", &["river"], longest).unwrap()[0], usize::MAX);
    assert_eq!(tokenizer.kept("the ", &[text], longest + 1).unwrap()[0], kept, "the prefix is not counted");
}

/// Texts that are hard to take apart, drawn from pieces.
fn hostile(texts: usize) -> Vec<String> {
    const PIECES: [&str; 48] = [
        " ",
        " ",
        " ",
        " ",
        " ",
        "  ",
        "\t",
        "\n",
        "\u{a0}",
        "\u{3000}",
        "\u{200b}",
        "\u{200d}",
        "\u{feff}",
        "\u{ad}",
        "\u{308}",
        "\u{a8}",
        "\u{37a}",
        "\u{600}",
        "\u{fe70}",
        "\u{94d}",
        "\u{93f}",
        "<mask>",
        "<s>",
        "[MASK]",
        "</s>",
        "▁",
        "river",
        "House",
        "STONE",
        "naïve",
        "e\u{301}",
        "Straße",
        "ﬃ",
        "Ⅻ",
        "½",
        "2,5",
        "1234567890",
        "'s",
        "—",
        "...",
        "中文",
        "漢字",
        "ภาษา",
        "हिन्दी",
        "العربية",
        "Ελλάς",
        "İstanbul",
        "👩‍👩‍👧",
    ];
    let mut draw = polymix::stream::Stream::new(7, "hostile", 0);
    (0..texts)
        .map(|_| {
            let pieces = 1 + draw.below(12);
            (0..pieces).map(|_| PIECES[draw.below(PIECES.len())]).collect()
        })
        .collect()
}

/// Every text twice: first words are new, then they are known.
fn same_as_the_library(name: &str, json: &[u8]) {
    let ours = TextTokenizer::from_bytes(json).unwrap();
    let mut library = tokenizers::Tokenizer::from_bytes(json).unwrap();
    library.with_truncation(None).unwrap();
    library.with_padding(None);
    let texts = hostile(20_000);
    for prefix in ["", "query: ", "¨"] {
        for slice in texts.chunks(500).chain(texts.chunks(7)) {
            let slice: Vec<&str> = slice.iter().map(String::as_str).collect();
            let found = ours.encode(prefix, &slice, usize::MAX).unwrap();
            for (text, ids) in slice.iter().zip(found.ids) {
                let wanted = library.encode_fast(format!("{prefix}{text}"), true).unwrap();
                assert_eq!(ids, wanted.get_ids(), "{name}: {prefix:?} {text:?}");
            }
        }
    }
}

#[test]
fn hostile_texts_have_the_librarys_ids() {
    same_as_the_library("demo", polymix::corpus::demo::TOKENIZER);
    let bert = common::root().join("tests/golden/tiny-labse/tokenizer.json");
    same_as_the_library("BERT", &std::fs::read(bert).unwrap());
}

#[test]
fn hostile_texts_have_the_librarys_ids_under_xlm_robertas_normalizer() {
    const TEST: &str = "hostile_texts_have_the_librarys_ids_under_xlm_robertas_normalizer";
    let Some(model) = common::pretrained("xlm-roberta", TEST) else { return };
    same_as_the_library("XLM-R", &std::fs::read(model.join("tokenizer.json")).unwrap());
}
