//! Bilingual lexicons: one file a language pair, a line a translation, `word<TAB>translation`; and texts with some of their
//! words replaced by translations. Evaluation replaces a share of a question's words, training each word with a probability.

mod words;

pub use words::{Piece, join, known_words, pieces, switched};

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use unicode_segmentation::UnicodeSegmentation;

use super::language;

/// Graphemes of the longest word that a file may have. Looking words up takes the square of it for each word of a text, so
/// that one whole paragraph among the words would bring training to a halt.
const LONGEST: usize = 100;

/// Words of one language with their translations into another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lexicon {
    words: HashMap<String, Vec<String>>,
    longest: usize,
}

/// Lexicons by language pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lexicons {
    pairs: BTreeMap<(String, String), Lexicon>,
}

impl Lexicon {
    /// Reads a file. Words are compared in lower case; a word may have several lines; empty lines are skipped.
    ///
    /// # Errors
    /// Names file and line of what is no `word<TAB>translation`, or no word at all by its length; a file without words.
    pub fn read(path: &Path) -> Result<Self> {
        let text = super::read::text(path)?;
        let mut lexicon = Self::default();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let parts: Vec<&str> = line.split('\t').map(str::trim).collect();
            let [word, translation] = parts[..] else {
                anyhow::bail!(
                    "{}, line {}: {} columns; write word<TAB>translation",
                    path.display(),
                    number + 1,
                    parts.len()
                );
            };
            ensure!(
                !word.is_empty() && !translation.is_empty(),
                "{}, line {}: an empty column; write word<TAB>translation",
                path.display(),
                number + 1
            );
            ensure!(
                word.graphemes(true).nth(LONGEST).is_none(),
                "{}, line {}: a word of more than {LONGEST} letters; a lexicon holds words and short phrases",
                path.display(),
                number + 1
            );
            lexicon.insert(word, translation);
        }
        ensure!(!lexicon.words.is_empty(), "{}: no words", path.display());
        Ok(lexicon)
    }

    /// Adds a translation, unless it is there.
    pub fn insert(&mut self, word: &str, translation: &str) {
        let word = word.to_lowercase();
        self.longest = self.longest.max(word.graphemes(true).count());
        let known = self.words.entry(word).or_default();
        if !known.iter().any(|t| t == translation) {
            known.push(translation.to_owned());
        }
    }

    /// The translations of a word in lower case, in the file's order.
    #[must_use]
    pub fn translations(&self, word: &str) -> &[String] {
        self.words.get(word).map_or(&[], Vec::as_slice)
    }

    /// Graphemes of the longest word.
    #[must_use]
    pub const fn longest(&self) -> usize {
        self.longest
    }

    /// Number of words.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// True without words.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

impl Lexicons {
    /// Those that a spec or the command line names.
    ///
    /// # Errors
    /// As [`Lexicons::add`].
    pub fn named(texts: &[String]) -> Result<Self> {
        let mut lexicons = Self::default();
        texts.iter().try_for_each(|text| lexicons.add(text))?;
        Ok(lexicons)
    }

    /// Adds what the command line says: `en-de=FILE`, or `demo` for those of the bundled corpus, in all its languages.
    ///
    /// # Errors
    /// Another notation, a pair that comes twice, or a broken file.
    pub fn add(&mut self, text: &str) -> Result<()> {
        if text == "demo" {
            for (from, to, lexicon) in super::demo::lexicons()? {
                self.insert(text, (from.to_owned(), to.to_owned()), lexicon)?;
            }
            return Ok(());
        }
        let (pair, path) = text
            .split_once('=')
            .with_context(|| {
                format!("lexicon '{text}': write FROM-TO=FILE, for example en-de=en-de.tsv, or demo for the bundled ones")
            })?;
        let (from, to) = pair
            .split_once('-')
            .filter(|(from, to)| !from.is_empty() && !to.is_empty())
            .with_context(|| format!("lexicon '{text}': write the pair as FROM-TO, for example en-de"))?;
        let lexicon = Lexicon::read(Path::new(path))?;
        self.insert(text, (language::normalise(from), language::normalise(to)), lexicon)
    }

    /// The same with the codes of today, so that a spec holds them; what is no `FROM-TO=FILE` stays as it is.
    #[must_use]
    pub fn with_codes_of_today(text: &str) -> String {
        let parts = text.split_once('=').and_then(|(pair, path)| Some((pair.split_once('-')?, path)));
        match parts {
            Some(((from, to), path)) if !from.is_empty() && !to.is_empty() => {
                format!("{}-{}={path}", language::normalise(from), language::normalise(to))
            }
            _ => text.to_owned(),
        }
    }

    fn insert(&mut self, text: &str, pair: (String, String), lexicon: Lexicon) -> Result<()> {
        let name = format!("{}-{}", pair.0, pair.1);
        let old = self.pairs.insert(pair, lexicon);
        ensure!(old.is_none(), "lexicon '{text}': the pair {name} is given twice");
        Ok(())
    }

    /// The lexicons out of a language, by target.
    #[must_use]
    pub fn from(&self, language: &str) -> Vec<&Lexicon> {
        self.pairs.iter().filter(|((from, _), _)| from == language).map(|(_, lexicon)| lexicon).collect()
    }

    /// Bytes in memory, about: of each text its letters, its place in a list and what an allocation takes besides.
    #[must_use]
    pub fn bytes(&self) -> usize {
        const TEXT: usize = 64;
        // Tables are between half and seven eighths full.
        let word = |(word, translations): (&String, &Vec<String>)| {
            2 * TEXT + word.len() + translations.iter().map(|t| TEXT + t.len()).sum::<usize>()
        };
        self.pairs.values().flat_map(|lexicon| lexicon.words.iter()).map(word).sum()
    }

    /// `en-de`, ... as given.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.pairs.keys().map(|(from, to)| format!("{from}-{to}")).collect()
    }

    /// True without lexicons.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_is_no_word() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("en-de.tsv");
        let read = |letters: usize| {
            std::fs::write(&path, format!("river\tFluss\n{}\tx\n", "ก".repeat(letters))).expect("write");
            Lexicon::read(&path)
        };
        assert_eq!(read(LONGEST).expect("words").longest(), LONGEST);
        let error = format!("{:#}", read(LONGEST + 1).expect_err("refused"));
        assert!(error.contains("en-de.tsv, line 2") && error.contains("100 letters"), "{error}");
    }
}
