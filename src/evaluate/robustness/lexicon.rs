//! Bilingual lexicons: one file a language pair, a line a translation, `word<TAB>translation`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use unicode_segmentation::UnicodeSegmentation;

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
    /// Names file and line of what is no `word<TAB>translation`; a file without words.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{}: cannot read the lexicon", path.display()))?;
        let mut lexicon = Self::default();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
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
            let word = word.to_lowercase();
            lexicon.longest = lexicon.longest.max(word.graphemes(true).count());
            let known = lexicon.words.entry(word).or_default();
            if !known.iter().any(|t| t == translation) {
                known.push(translation.to_owned());
            }
        }
        ensure!(!lexicon.words.is_empty(), "{}: no words", path.display());
        Ok(lexicon)
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
    /// Adds what the command line says: `en-de=FILE`.
    ///
    /// # Errors
    /// Another notation, a pair that comes twice, or a broken file.
    pub fn add(&mut self, text: &str) -> Result<()> {
        let (pair, path) = text
            .split_once('=')
            .with_context(|| format!("lexicon '{text}': write FROM-TO=FILE, for example en-de=en-de.tsv"))?;
        let (from, to) = pair
            .split_once('-')
            .filter(|(from, to)| !from.is_empty() && !to.is_empty())
            .with_context(|| format!("lexicon '{text}': write the pair as FROM-TO, for example en-de"))?;
        let lexicon = Lexicon::read(Path::new(path))?;
        let old = self.pairs.insert((from.to_owned(), to.to_owned()), lexicon);
        ensure!(old.is_none(), "lexicon '{text}': the pair {pair} is given twice");
        Ok(())
    }

    /// The lexicons out of a language, by target.
    #[must_use]
    pub fn from(&self, language: &str) -> Vec<&Lexicon> {
        self.pairs.iter().filter(|((from, _), _)| from == language).map(|(_, lexicon)| lexicon).collect()
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
