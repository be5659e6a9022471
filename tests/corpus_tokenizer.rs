//! The demo encoder's tokenizer: what it must be, and how it is made.
//!
//! After a change of the demo corpus' tables, train it anew and commit both files:
//!
//! ```text
//! cargo test --release --test corpus_tokenizer -- --ignored write
//! ```
//!
//! That writes `assets/demo/tokenizer.json` and the vocabulary size in `assets/demo/config.json`. Training data are the
//! training part's texts only. Equal scores may fall in another order from one training to the next, so the file is kept
//! and not made by the build.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use polymix::corpus::{Dataset, demo, open};
use polymix::spec::Candidate;
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::normalizers::NFKC;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer, TokenizerBuilder};

/// Pieces with the special tokens; what the embedding matrix costs (8,000 x 128) is a third of the demo encoder.
const VOCABULARY: u32 = 8000;
/// XLM-R's special tokens in XLM-R's order; `<mask>` comes last of all.
const SPECIAL: [&str; 4] = ["<s>", "<pad>", "</s>", "<unk>"];
const MASK: &str = "<mask>";

/// Letters and signs that a user's own text may hold although the corpus does not.
const ALPHABET: [std::ops::RangeInclusive<char>; 9] = [
    '!'..='~',
    '\u{a1}'..='\u{ff}',
    '\u{100}'..='\u{17f}',
    '\u{386}'..='\u{3ce}',
    '\u{401}'..='\u{451}',
    '\u{621}'..='\u{652}',
    '\u{901}'..='\u{96f}',
    '\u{e01}'..='\u{e4e}',
    '\u{1ea0}'..='\u{1ef9}',
];

fn part(name: &str) -> Dataset {
    open(&name.parse().unwrap(), Candidate::Sentence).unwrap_or_else(|e| panic!("{e:#}"))
}

fn texts(data: &Dataset) -> impl Iterator<Item = &str> {
    data.questions.iter().map(|q| q.text.as_str()).chain(data.passages.iter().map(|p| p.text.as_str()))
}

fn train(texts: &[&str]) -> Tokenizer {
    let special = |content: &str| AddedToken::from(content, true);
    let mut trainer = UnigramTrainer::builder()
        .show_progress(false)
        // The mask is added behind the trained pieces.
        .vocab_size(VOCABULARY - 1)
        .special_tokens(SPECIAL.map(special).to_vec())
        .unk_token(Some("<unk>".into()))
        .initial_alphabet(
            ALPHABET.into_iter().flatten().filter(|c| c.is_alphanumeric() || c.is_ascii()).collect(),
        )
        .build()
        .unwrap();
    // As SentencePiece does, no piece mixes digits or punctuation with letters: "gold?" must not be a piece of its own.
    let splits = Sequence::new(vec![
        Metaspace::new('▁', PrependScheme::Always, true).into(),
        Punctuation::new(SplitDelimiterBehavior::Isolated).into(),
        Digits::new(false).into(),
    ]);
    let mut tokenizer = TokenizerBuilder::new()
        .with_model(Unigram::default())
        .with_normalizer(Some(NFKC))
        .with_pre_tokenizer(Some(splits))
        .with_post_processor(Some(
            TemplateProcessing::builder()
                .try_single("<s> $A </s>")
                .unwrap()
                .try_pair("<s> $A </s> </s> $B </s>")
                .unwrap()
                .special_tokens(vec![("<s>", 0), ("</s>", 2)])
                .build()
                .unwrap(),
        ))
        .with_decoder(Some(Metaspace::new('▁', PrependScheme::Always, true)))
        .build()
        .unwrap();
    tokenizer.train(&mut trainer, texts.iter()).unwrap();
    tokenizer.add_special_tokens(&[special(MASK).lstrip(true)]);
    Tokenizer::from_bytes(tokenizer.to_string(false).unwrap()).unwrap()
}

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo")
}

#[test]
#[ignore = "writes assets/demo/tokenizer.json and config.json"]
fn write() {
    let data = part("demo[train]");
    let mut all: Vec<&str> = texts(&data).collect();
    all.extend(["Query: ", "Passage: ", "query: ", "passage: "].repeat(200));
    let tokenizer = train(&all);
    let json = tokenizer.to_string(false).unwrap();
    polymix::files::replace(&assets().join("tokenizer.json"), format!("{json}\n").as_bytes()).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(demo::CONFIG).unwrap();
    config["vocab_size"] = tokenizer.get_vocab_size(true).into();
    let config = format!("{}\n", serde_json::to_string_pretty(&config).unwrap());
    polymix::files::replace(&assets().join("config.json"), config.as_bytes()).unwrap();
    for name in ["train", "evaluation"] {
        let data = part(&format!("demo[{name}]"));
        for (index, code) in data.languages.iter().enumerate() {
            let own: Vec<&str> =
                data.passages_in(index as u16).map(|i| data.passages[i].text.as_str()).collect();
            let tokens: usize = own.iter().map(|t| tokenizer.encode(*t, true).unwrap().len()).sum();
            eprintln!("{name} {code}: {:.1} tokens a passage", tokens as f64 / own.len() as f64);
        }
    }
}

#[test]
fn special_tokens_stand_where_xlm_r_has_them() {
    let tokenizer = Tokenizer::from_bytes(demo::TOKENIZER).unwrap();
    let size = tokenizer.get_vocab_size(true);
    for (id, token) in SPECIAL.into_iter().enumerate() {
        assert_eq!(tokenizer.token_to_id(token), Some(id as u32));
    }
    assert_eq!(tokenizer.token_to_id(MASK), Some(size as u32 - 1));
    let config: serde_json::Value = serde_json::from_str(demo::CONFIG).unwrap();
    assert_eq!(config["vocab_size"], size);
    let encoding = tokenizer.encode("Gold", true).unwrap();
    let ids = encoding.get_ids();
    assert!(ids.len() > 2 && ids[0] == 0 && ids[ids.len() - 1] == 2, "{ids:?}");
    assert!(demo::TOKENIZER.len() < 1_500_000, "{} bytes", demo::TOKENIZER.len());
}

fn normalised(text: &str) -> String {
    let mut text = tokenizers::NormalizedString::from(text);
    tokenizers::Normalizer::normalize(&NFKC, &mut text).unwrap();
    text.get().to_owned()
}

#[test]
fn texts_come_back_from_their_tokens() {
    let tokenizer = Tokenizer::from_bytes(demo::TOKENIZER).unwrap();
    let data = part("demo[evaluation]");
    for text in texts(&data) {
        let ids = tokenizer.encode(text, true).unwrap().get_ids().to_vec();
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), normalised(text), "{text}");
    }
}

#[test]
fn every_character_of_the_corpus_is_known() {
    let tokenizer = Tokenizer::from_bytes(demo::TOKENIZER).unwrap();
    let data = part("demo");
    let mut unknown = BTreeSet::new();
    for text in texts(&data) {
        let encoding = tokenizer.encode(text, false).unwrap();
        for (id, (from, to)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
            if *id == 3 {
                unknown.insert(text[*from..*to].to_owned());
            }
        }
    }
    assert!(unknown.is_empty(), "train the tokenizer anew (see the head of this file); unknown: {unknown:?}");
}

#[test]
fn no_language_pays_much_more_than_another() {
    let tokenizer = Tokenizer::from_bytes(demo::TOKENIZER).unwrap();
    let data = part("demo[evaluation]");
    let lengths: Vec<f64> = (0..data.languages.len())
        .map(|language| {
            let own: Vec<&str> =
                data.passages_in(language as u16).map(|i| data.passages[i].text.as_str()).collect();
            let tokens: usize = own.iter().map(|t| tokenizer.encode(*t, true).unwrap().len()).sum();
            tokens as f64 / own.len() as f64
        })
        .collect();
    let (least, most) = lengths.iter().fold((f64::MAX, 0f64), |(a, b), x| (a.min(*x), b.max(*x)));
    assert!(most < 30.0 && most / least < 2.0, "{lengths:?}");
}
