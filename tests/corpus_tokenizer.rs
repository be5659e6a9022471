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
//! and not made by the build. Of the held-out parts it knows the characters (a name of an evaluated fact may hold one
//! that no trained name has), and no more.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

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
use tokenizers::{
    AddedToken, Normalizer, OffsetReferential, OffsetType, PreTokenizer, SplitDelimiterBehavior, Tokenizer,
    Trainer,
};

/// Pieces with the special tokens: enough that no language falls apart into single letters (below 12,000, Arabic and
/// Hindi do).
const VOCABULARY: u32 = 16_000;
/// XLM-R's special tokens in XLM-R's order; `<mask>` comes last of all.
const SPECIAL: [&str; 4] = ["<s>", "<pad>", "</s>", "<unk>"];
const MASK: &str = "<mask>";

/// Letters that a user's own text may hold although the corpus does not.
const ALPHABET: [std::ops::RangeInclusive<char>; 9] = [
    '!'..='~',
    'α'..='ω',
    'Α'..='Ω',
    'А'..='я',
    '\u{621}'..='\u{64a}',
    '\u{905}'..='\u{939}',
    '\u{93e}'..='\u{94d}',
    '\u{e01}'..='\u{e3a}',
    '\u{e40}'..='\u{e4e}',
];

fn part(name: &str) -> Dataset {
    open(&name.parse().unwrap(), Candidate::Sentence).unwrap_or_else(|e| panic!("{e:#}"))
}

fn texts(data: &Dataset) -> impl Iterator<Item = &str> {
    data.questions.iter().map(|q| q.text.as_str()).chain(data.passages.iter().map(|p| p.text.as_str()))
}

/// The tokenizer around a model: XLM-R's frame. As in `SentencePiece`, no piece mixes digits with letters; punctuation
/// stands alone too, so that the end of a question never becomes part of its last word ("gold?").
fn frame(model: Unigram) -> Tokenizer {
    let metaspace = Metaspace::new('▁', PrependScheme::Always, true);
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(Some(NFKC)).with_pre_tokenizer(Some(Sequence::new(vec![
        metaspace.clone().into(),
        Punctuation::new(SplitDelimiterBehavior::Isolated).into(),
        Digits::new(false).into(),
    ])));
    let template = TemplateProcessing::builder()
        .try_single("<s> $A </s>")
        .unwrap()
        .try_pair("<s> $A </s> </s> $B </s>")
        .unwrap()
        .special_tokens(vec![("<s>", 0), ("</s>", 2)])
        .build()
        .unwrap();
    tokenizer.with_post_processor(Some(template)).with_decoder(Some(metaspace));
    tokenizer
}

fn special(content: &str) -> AddedToken {
    AddedToken::from(content, true)
}

/// The trainer seeds its pieces with the substrings that it finds in two different words, followed by two different
/// characters, so that a whole word would hardly ever be a seed, however frequent. Each word is therefore fed a second
/// time, once, with this behind it; pieces with it never get frequent enough to stay.
const SECOND: char = '▁';

fn train(texts: &[&str], characters: &BTreeSet<char>) -> Tokenizer {
    let splitter = frame(Unigram::default());
    let words = |text: &str| -> Vec<String> {
        let mut text = tokenizers::NormalizedString::from(text);
        splitter.get_normalizer().unwrap().normalize(&mut text).unwrap();
        let mut text = tokenizers::PreTokenizedString::from(text);
        splitter.get_pre_tokenizer().unwrap().pre_tokenize(&mut text).unwrap();
        let splits = text.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
        splits.iter().map(|(word, ..)| (*word).to_owned()).collect()
    };
    let counted: BTreeSet<String> = texts.iter().flat_map(|text| words(text)).collect();
    let mut trainer = UnigramTrainer::builder()
        .show_progress(false)
        // The mask is added behind the trained pieces.
        .vocab_size(VOCABULARY - 1)
        .special_tokens(SPECIAL.map(special).to_vec())
        .unk_token(Some("<unk>".into()))
        .initial_alphabet(
            ALPHABET
                .into_iter()
                .flatten()
                .chain(characters.iter().copied())
                .filter(|c| normalised(&c.to_string()) == c.to_string())
                .collect(),
        )
        .build()
        .unwrap();
    let twice: Vec<String> = counted.iter().map(|word| format!("{word}{SECOND}")).collect();
    let twice = twice.iter().map(String::as_str);
    let all = texts.iter().copied().chain(twice);
    trainer
        .feed(all, |text| Ok(if text.ends_with(SECOND) { vec![text.to_owned()] } else { words(text) }))
        .unwrap();
    let mut model = Unigram::default();
    trainer.train(&mut model).unwrap();
    let mut pieces: Vec<(String, f64)> = model.iter().skip(SPECIAL.len()).cloned().collect();
    pieces.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let pieces = SPECIAL.map(|token| (token.to_owned(), 0.0)).into_iter().chain(pieces).collect();
    let mut tokenizer = frame(Unigram::from(pieces, Some(3), false).unwrap());
    tokenizer.add_special_tokens(&SPECIAL.map(special));
    tokenizer.add_special_tokens(&[special(MASK).lstrip(true)]);
    tokenizer
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
    let characters =
        texts(&part("demo")).flat_map(|text| normalised(text).chars().collect::<Vec<_>>()).collect();
    let tokenizer = train(&all, &characters);
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
    NFKC.normalize(&mut text).unwrap();
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
    assert!(most < 25.0 && most / least < 2.5, "{lengths:?}");
}
