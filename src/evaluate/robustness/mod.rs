//! What happens to a ranking when the question is written differently?
//!
//! [`Perturber`] rewrites questions: typing errors on the keyboard of the question's language ([`keyboard`], [`typing`]), words
//! dropped, swapped or replaced from a lexicon ([`words`]), case, diacritics and look-alike letters ([`surface`]).
//! [`outcome`] compares the rankings before and after. Passages are never changed.
//!
//! Every rewriting is a pure function of (seed, kind, question, variant). It keeps graphemes whole, never makes a question
//! empty, and returns nothing where it cannot apply: the question then stays as it is, and is counted.

pub mod keyboard;
mod outcome;
mod surface;
mod typing;
mod words;

pub use crate::corpus::lexicon::{Lexicon, Lexicons};
pub use outcome::{Case, Change, cases, changes};

use unicode_segmentation::UnicodeSegmentation;

use crate::stream::Stream;

/// A way to write a question differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// A neighbouring key is hit instead of the right one
    Substitution,
    /// A neighbouring key is hit as well
    Insertion,
    /// A letter is left out
    Deletion,
    /// Two neighbouring letters change places
    Transposition,
    /// Everything in lower case
    Lower,
    /// Everything in upper case
    Upper,
    /// Accents, vowel points and the like are left out
    Diacritics,
    /// Words are left out
    WordDrop,
    /// Neighbouring words change places
    WordSwap,
    /// Words are replaced by their translation from a lexicon
    CodeSwitch,
    /// Letters are replaced by letters of another script that look the same
    Homoglyph,
}

/// How much is changed: shares of a question's letters or words, at least one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Of the letters, by substitution, insertion, deletion and transposition.
    pub typing: f64,
    /// Of the words, by dropping and swapping.
    pub words: f64,
    /// Of the words that the lexicon has.
    pub switch: f64,
    /// Of the letters that have a look-alike.
    pub homoglyph: f64,
}

impl Default for Rates {
    fn default() -> Self {
        Self { typing: 0.1, words: 0.15, switch: 0.5, homoglyph: 0.3 }
    }
}

impl Kind {
    /// Every kind, in the order of tables.
    pub const ALL: [Self; 11] = [
        Self::Substitution,
        Self::Insertion,
        Self::Deletion,
        Self::Transposition,
        Self::Lower,
        Self::Upper,
        Self::Diacritics,
        Self::WordDrop,
        Self::WordSwap,
        Self::CodeSwitch,
        Self::Homoglyph,
    ];

    /// As on the command line and in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Substitution => "substitution",
            Self::Insertion => "insertion",
            Self::Deletion => "deletion",
            Self::Transposition => "transposition",
            Self::Lower => "lower",
            Self::Upper => "upper",
            Self::Diacritics => "diacritics",
            Self::WordDrop => "word-drop",
            Self::WordSwap => "word-swap",
            Self::CodeSwitch => "code-switch",
            Self::Homoglyph => "homoglyph",
        }
    }

    /// False where every variant would be the same.
    #[must_use]
    pub const fn is_random(self) -> bool {
        !matches!(self, Self::Lower | Self::Upper | Self::Diacritics)
    }
}

/// Rewrites questions.
#[derive(Clone, Debug, Default)]
pub struct Perturber {
    pub rates: Rates,
    pub lexicons: Lexicons,
    pub seed: u64,
}

impl Perturber {
    /// The `variant`-th rewriting of a question in this language; `id` is the question's own. `None`: it cannot be
    /// rewritten so.
    #[must_use]
    pub fn rewrite(
        &self,
        kind: Kind,
        text: &str,
        language: &str,
        id: &str,
        variant: usize,
    ) -> Option<String> {
        let name = format!("{} {language} {id}", kind.name());
        let draw = &mut Stream::new(self.seed, &name, variant as u64);
        let written = match kind {
            Kind::Substitution | Kind::Insertion | Kind::Deletion | Kind::Transposition => {
                typing::errors(kind, text, language, self.rates.typing, draw)
            }
            Kind::Lower => Some(surface::lower(text, language)),
            Kind::Upper => Some(surface::upper(text, language)),
            Kind::Diacritics => Some(surface::without_diacritics(text)),
            Kind::WordDrop => words::dropped(text, self.rates.words, draw),
            Kind::WordSwap => words::swapped(text, self.rates.words, draw),
            Kind::CodeSwitch => words::switched(text, &self.lexicons.from(language), self.rates.switch, draw),
            Kind::Homoglyph => surface::homoglyphs(text, self.rates.homoglyph, draw),
        };
        written.filter(|written| written != text && !written.trim().is_empty())
    }
}

/// The extended grapheme clusters of a text.
fn graphemes(text: &str) -> Vec<String> {
    text.graphemes(true).map(str::to_owned).collect()
}

/// True where the parts are still graphemes of their own when they stand side by side.
fn is_whole(parts: &[String]) -> bool {
    parts.concat().graphemes(true).eq(parts.iter().map(String::as_str))
}

/// `share` of `total`, at least one, as a number of draws without replacement in random order from the candidates.
fn draw_some(candidates: &[usize], share: f64, draw: &mut Stream) -> (Vec<usize>, usize) {
    let mut order = candidates.to_vec();
    draw.shuffle(&mut order);
    let wanted = ((candidates.len() as f64 * share).round() as usize).clamp(1, candidates.len().max(1));
    (order, wanted)
}
