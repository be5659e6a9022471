//! Tokenising by words: the ids of a word are asked for once, and looked up from then on.
//!
//! A tokenizer that splits at every space before its model sees anything (XLM-R's, BERT's, and most others that are not
//! byte-level) gives a text the ids of its words in a row. That takes the library microseconds a word, and natural
//! language repeats its words; a look-up takes a tenth of it. Which tokenizers are of this kind is told by their parts, of which only known
//! ones are accepted; and a word is only kept where the library gives it the same ids alone as between two others, which leaves out
//! what reaches over a space (a combining mark at its start, a form that is normalised to a space). A text with such a word, with two
//! spaces in a row or with a word that is too long to come again is left to the library, as is everything where the tokenizer is of
//! another kind.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use anyhow::{Result, anyhow};
use rayon::prelude::*;
use serde_json::Value;
use tokenizers::{AddedToken, EncodeInput, Tokenizer};

/// Longest word that is kept, in bytes.
const LONGEST: usize = 128;
/// Most words that are kept: some 25 MB. At that many all are forgotten, as the next texts bring the frequent ones back.
const MOST: usize = 1 << 18;
/// The word that is put around others to see whether they stand by themselves.
const ANCHOR: &str = "a";
/// Words that are looked at together.
const TOGETHER: usize = 32;

/// The ids of each text, special tokens included, by the library alone. Uses all cores.
///
/// # Errors
/// Where a text cannot be tokenised.
pub fn by_library<'a, T>(tokenizer: &Tokenizer, texts: Vec<T>) -> Result<Vec<Vec<u32>>>
where
    T: Into<EncodeInput<'a>> + Send,
{
    let encodings =
        tokenizer.encode_batch_fast(texts, true).map_err(|e| anyhow!("tokenising failed: {e}"))?;
    Ok(encodings.iter().map(|encoding| encoding.get_ids().to_vec()).collect())
}

/// The words of a tokenizer that have been seen.
#[derive(Debug)]
pub struct Words {
    /// Special tokens around a text, and the ids of [`ANCHOR`].
    first: u32,
    last: u32,
    anchor: Vec<u32>,
    /// Tokens that swallow spaces: no word stands by itself that has one in it.
    greedy: Vec<String>,
    most: usize,
    memory: RwLock<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// Where a word's ids lie: start and end; `None` for a word that does not stand by itself.
    places: HashMap<Box<str>, Option<(u32, u32)>>,
    ids: Vec<u32>,
}

/// What the memory has of a text.
enum Found<'a> {
    Ids(Vec<u32>),
    /// These words are not in it.
    Missing(Vec<&'a str>),
    /// Not to be tokenised by words.
    Not,
}

impl Words {
    /// For this tokenizer; `None` where a text's ids are not those of its words in a row.
    pub fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let part = |json: serde_json::Result<Value>| json.unwrap_or(Value::Bool(true));
        let is_known = splits_at_spaces(&part(serde_json::to_value(tokenizer.get_pre_tokenizer())))
            && normalises_within_words(&part(serde_json::to_value(tokenizer.get_normalizer())));
        let is_random =
            matches!(tokenizer.get_model(), tokenizers::ModelWrapper::BPE(bpe) if bpe.dropout.is_some());
        let added = tokenizer.get_added_tokens_decoder();
        // Some tokens swallow the white space beside them, however much there is.
        let (greedy, plain): (Vec<_>, Vec<_>) = added.values().partition(|t| t.lstrip || t.rstrip);
        let is_spaced = |token: &&AddedToken| token.content.contains(char::is_whitespace);
        if !is_known
            || is_random
            || greedy.iter().any(|t| t.normalized)
            || greedy.iter().chain(&plain).any(is_spaced)
        {
            return None;
        }
        let greedy = greedy.iter().map(|t| t.content.clone()).collect();
        let ids =
            |text: &str, special: bool| Some(tokenizer.encode_fast(text, special).ok()?.get_ids().to_vec());
        let (anchor, around) = (ids(ANCHOR, false)?, ids("", true)?);
        let [first, last] = around[..] else { return None };
        let twice = [&[first], &anchor[..], &anchor[..], &[last]].concat();
        (!anchor.is_empty() && ids(&format!("{ANCHOR} {ANCHOR}"), true)? == twice).then(|| Self {
            first,
            last,
            anchor,
            greedy,
            most: MOST,
            memory: RwLock::default(),
        })
    }

    /// The ids of each text, special tokens included, as the tokenizer itself gives them. Uses all cores.
    ///
    /// # Errors
    /// Where a text cannot be tokenised.
    pub fn encode(&self, tokenizer: &Tokenizer, texts: &[String]) -> Result<Vec<Vec<u32>>> {
        let mut found: Vec<Found<'_>> = {
            let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
            texts.par_iter().with_min_len(64).map(|text| self.find(&memory, text)).collect()
        };
        let missing: HashSet<&str> = found
            .iter()
            .filter_map(|f| if let Found::Missing(words) = f { Some(words) } else { None })
            .flatten()
            .copied()
            .collect();
        if !missing.is_empty() {
            self.learn(tokenizer, &missing.into_iter().collect::<Vec<_>>())?;
            let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
            for (found, text) in found.iter_mut().zip(texts).filter(|(f, _)| matches!(f, Found::Missing(_))) {
                *found = self.find(&memory, text);
            }
        }
        let left = || found.iter().zip(texts).filter(|(f, _)| !matches!(f, Found::Ids(_)));
        let left: Vec<&str> = left().map(|(_, text)| text.as_str()).collect();
        let mut rest = by_library(tokenizer, left)?.into_iter();
        let ids = found.into_iter().map(|found| match found {
            Found::Ids(ids) => ids,
            _ => rest.next().unwrap_or_default(),
        });
        Ok(ids.collect())
    }

    /// What is known of a text.
    fn find<'a>(&self, memory: &Memory, text: &'a str) -> Found<'a> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        let mut missing = Vec::new();
        ids.push(self.first);
        if !text.is_empty() {
            for word in text.split(' ') {
                if word.is_empty() || word.len() > LONGEST {
                    return Found::Not;
                }
                match memory.places.get(word) {
                    Some(Some((start, end))) => {
                        ids.extend_from_slice(&memory.ids[*start as usize..*end as usize]);
                    }
                    Some(None) => return Found::Not,
                    None => missing.push(word),
                }
            }
        }
        ids.push(self.last);
        if missing.is_empty() { Found::Ids(ids) } else { Found::Missing(missing) }
    }

    /// Asks the library for these words and keeps them.
    fn learn(&self, tokenizer: &Tokenizer, words: &[&str]) -> Result<()> {
        let ids = |text: &str| {
            let encoding =
                tokenizer.encode_fast(text, false).map_err(|e| anyhow!("tokenising failed: {e}"))?;
            Ok::<_, anyhow::Error>(encoding.get_ids().to_vec())
        };
        let alone = |word: &&str| ids(word);
        let learnt: Vec<Option<Vec<u32>>> = words
            .par_chunks(TOGETHER)
            .map(|words| {
                let alone = words.iter().map(alone).collect::<Result<Vec<_>>>()?;
                let stands = |words: &[&str], alone: &[Vec<u32>]| {
                    let (mut text, mut wanted) = (ANCHOR.to_owned(), self.anchor.clone());
                    for (word, ids) in words.iter().zip(alone) {
                        text.extend([" ", word, " ", ANCHOR]);
                        wanted.extend(ids.iter().chain(&self.anchor));
                    }
                    Ok::<_, anyhow::Error>(ids(&text)? == wanted)
                };
                let is_whole = |word: &str, ids: &[u32]| {
                    // What vanishes may leave its space behind.
                    !ids.is_empty() && !self.greedy.iter().any(|token| word.contains(token))
                };
                let is_plain = words.iter().zip(&alone).all(|(word, ids)| is_whole(word, ids));
                if is_plain && stands(words, &alone)? {
                    return Ok(alone.into_iter().map(Some).collect());
                }
                let one = |(word, ids): (&&str, Vec<u32>)| {
                    let is_kept = is_whole(word, &ids) && stands(&[word], std::slice::from_ref(&ids))?;
                    Ok(is_kept.then_some(ids))
                };
                words.iter().zip(alone).map(one).collect()
            })
            .collect::<Result<Vec<Vec<_>>>>()?
            .concat();
        let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        if memory.places.len() + words.len() > self.most {
            *memory = Memory::default();
        }
        for (word, ids) in words.iter().zip(learnt).take(self.most) {
            let start = memory.ids.len() as u32;
            memory.ids.extend(ids.iter().flatten());
            let place = ids.map(|_| (start, memory.ids.len() as u32));
            memory.places.insert((*word).into(), place);
        }
        Ok(())
    }
}

/// The steps of a part of a tokenizer, in order.
fn steps<'a>(part: &'a Value, inner: &str) -> Vec<&'a Value> {
    match part[inner].as_array() {
        Some(parts) => parts.iter().flat_map(|p| steps(p, inner)).collect(),
        None => vec![part],
    }
}

fn kind(step: &Value) -> &str {
    step["type"].as_str().unwrap_or_default()
}

/// True where every space ends a word, and what follows looks at one word at a time.
fn splits_at_spaces(part: &Value) -> bool {
    let splits = |step: &&Value| match kind(step) {
        "Metaspace" => step["prepend_scheme"] == "always" && step["split"] == true,
        "WhitespaceSplit" | "Whitespace" | "BertPreTokenizer" => true,
        _ => false,
    };
    let within = |step: &&Value| splits(step) || matches!(kind(step), "Punctuation" | "Digits");
    let steps = steps(part, "pretokenizers");
    steps.first().is_some_and(splits) && steps.iter().all(within)
}

/// True where a text is normalised character by character, or over more but not over the space between two words.
fn normalises_within_words(part: &Value) -> bool {
    let is_known = |step: &&Value| match kind(step) {
        "NFC" | "NFD" | "NFKC" | "NFKD" | "Lowercase" | "StripAccents" | "Nmt" | "Precompiled"
        | "BertNormalizer" => true,
        // XLM-R's: spaces in a row, which texts that are split here do not have.
        "Replace" => step["pattern"]["Regex"] == " {2,}" && step["content"] == " ",
        _ => false,
    };
    part.is_null() || steps(part, "normalizers").iter().all(is_known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> Value {
        serde_json::from_slice(crate::corpus::demo::TOKENIZER).unwrap()
    }

    fn of(json: &Value) -> (Tokenizer, Option<Words>) {
        let mut tokenizer = Tokenizer::from_bytes(json.to_string()).unwrap();
        tokenizer.with_padding(None);
        let words = Words::of(&tokenizer);
        (tokenizer, words)
    }

    #[test]
    fn only_tokenizers_that_split_at_every_space_are_taken() {
        assert!(of(&demo()).1.is_some());
        let changed = |path: &str, value: Value| {
            let mut json = demo();
            *json.pointer_mut(path).unwrap() = value;
            of(&json).1.is_some()
        };
        let metaspace = |scheme: &str, split: bool| serde_json::json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split});
        assert!(changed("/pre_tokenizer", metaspace("always", true)));
        assert!(changed("/pre_tokenizer", serde_json::json!({"type": "BertPreTokenizer"})));
        assert!(
            !changed("/pre_tokenizer", metaspace("first", true)),
            "the first word is another's equal no more"
        );
        assert!(!changed("/pre_tokenizer", metaspace("always", false)), "pieces may reach over spaces");
        let bytes = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        assert!(!changed("/pre_tokenizer", bytes), "a space belongs to the word after it");
        assert!(!changed("/pre_tokenizer", Value::Null));
        assert!(!changed("/normalizer", serde_json::json!({"type": "Prepend", "prepend": "x"})));
        let replace = serde_json::json!({"type": "Replace", "pattern": {"String": "a b"}, "content": "c"});
        assert!(!changed("/normalizer", replace), "reaches over a space");
        assert!(changed("/normalizer", Value::Null));
        let spaced = serde_json::json!({"id": 15999, "content": "a b", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true});
        assert!(!changed("/added_tokens/4", spaced), "a token with a space in it");
    }

    #[test]
    fn a_memory_that_is_full_forgets_and_stays_right() {
        let (tokenizer, words) = of(&demo());
        let words = Words { most: 5, ..words.unwrap() };
        let texts =
            ["the river", "the house", "a stone bird", "old light on a river of seven words", "the river"];
        for _ in 0..2 {
            for text in texts {
                let own = words.encode(&tokenizer, &[text.to_owned()]).unwrap();
                assert_eq!(own, by_library(&tokenizer, vec![text]).unwrap(), "{text}");
                assert!(words.memory.read().unwrap().places.len() <= 5);
            }
        }
    }

    #[test]
    fn words_that_do_not_stand_by_themselves_are_left_to_the_library() {
        let (tokenizer, words) = of(&demo());
        let words = words.unwrap();
        // A diaeresis is normalised to a space with a combining mark; a mark at a word's start joins the space before it;
        // a space of no width vanishes.
        for text in [
            "river \u{a8} bird",
            "river \u{308}x bird",
            "river \u{200b} bird",
            "\u{200b} bird",
            "bird \u{3000}",
        ] {
            let own = words.encode(&tokenizer, &[text.to_owned()]).unwrap();
            assert_eq!(own, by_library(&tokenizer, vec![text]).unwrap(), "{text:?}");
        }
        let memory = words.memory.read().unwrap();
        assert!(memory.places["river"].is_some() && memory.places["\u{a8}"].is_none());
    }
}
