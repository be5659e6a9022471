//! Texts in words, and words replaced by translations.
//!
//! Words are those of Unicode's rules (UAX 29). Scripts that put no space between words are cut into runs of whole
//! graphemes instead, about as long as a word usually is: two for Han and kana, four for Thai, Lao, Khmer and Burmese.

use unicode_segmentation::UnicodeSegmentation;

use super::Lexicon;
use crate::stream::Stream;

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub text: String,
    pub is_word: bool,
}

/// Graphemes of a word where the script has no spaces.
fn unspaced(text: &str) -> Option<usize> {
    match text.chars().next()? {
        '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' => Some(2),
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' => Some(4),
        _ => None,
    }
}

/// The text in pieces that give it back when put together.
#[must_use]
pub fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    // Graphemes that the last piece may still take.
    let mut room = 0;
    for segment in text.split_word_bounds() {
        let is_word = segment.chars().any(char::is_alphanumeric);
        if !is_word || unspaced(segment).is_none() {
            pieces.push(Piece { text: segment.to_owned(), is_word });
            room = 0;
            continue;
        }
        for grapheme in segment.graphemes(true) {
            if let (Some(last), true) = (pieces.last_mut(), room > 0) {
                last.text += grapheme;
                room -= 1;
            } else {
                pieces.push(Piece { text: grapheme.to_owned(), is_word });
                room = unspaced(grapheme).unwrap_or(1) - 1;
            }
        }
    }
    pieces
}

/// The pieces put together.
#[must_use]
pub fn join(pieces: &[Piece]) -> String {
    pieces.iter().map(|p| p.text.as_str()).collect()
}

/// The pieces, but with the longest words of the lexicons where the script has no spaces, and with the lexicons' entries of
/// several words in one piece.
#[must_use]
pub fn known_words(text: &str, lexicons: &[&Lexicon]) -> Vec<Piece> {
    let longest = lexicons.iter().map(|l| l.longest()).max().unwrap_or(0).max(1);
    let is_known = |word: &str| {
        let word = word.to_lowercase();
        lexicons.iter().any(|l| !l.translations(&word).is_empty())
    };
    let mut pieces: Vec<Piece> = Vec::new();
    let mut rest = text;
    while let Some(segment) = rest.split_word_bounds().next() {
        let is_unspaced = |g: &str| unspaced(g).is_some();
        let is_word = segment.chars().any(char::is_alphanumeric);
        let length = if segment.graphemes(true).next().is_some_and(is_unspaced) {
            // Every run of graphemes from here may be a word.
            let mut ends = Vec::new();
            for grapheme in rest.graphemes(true).take(longest).take_while(|g| is_unspaced(g)) {
                ends.push(ends.last().copied().unwrap_or(0) + grapheme.len());
            }
            ends.iter().rev().find(|end| is_known(&rest[..**end])).or(ends.first()).copied()
        } else if is_word {
            let mut end = 0;
            let mut ends = Vec::new();
            for segment in rest.split_word_bounds() {
                end += segment.len();
                // Lower case may have other lengths: this only bounds the search.
                if ends.len() > 8 || rest[..end].graphemes(true).count() > longest {
                    break;
                }
                if segment.chars().any(char::is_alphanumeric) {
                    ends.push(end);
                }
            }
            ends.into_iter().rev().find(|end| is_known(&rest[..*end]))
        } else {
            None
        };
        let length = length.unwrap_or(segment.len());
        pieces.push(Piece { text: rest[..length].to_owned(), is_word });
        rest = &rest[length..];
    }
    pieces
}

/// With each word that a lexicon has replaced by a translation with this probability; of several translations one is drawn.
/// `None` where no word was replaced. The draws go to the words in their order, whether they are replaced or not.
pub fn switched(text: &str, lexicons: &[&Lexicon], probability: f64, draw: &mut Stream) -> Option<String> {
    let mut pieces = known_words(text, lexicons);
    let mut is_changed = false;
    for piece in pieces.iter_mut().filter(|p| p.is_word) {
        let key = piece.text.to_lowercase();
        let found: Vec<&String> =
            lexicons.iter().flat_map(|l| l.translations(&key)).filter(|t| **t != piece.text).collect();
        if found.is_empty() {
            continue;
        }
        let (chance, choice) = (draw.unit(), draw.below(found.len()));
        if chance < probability {
            found[choice].clone_into(&mut piece.text);
            is_changed = true;
        }
    }
    is_changed.then(|| join(&pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_give_the_text_back_and_unspaced_scripts_are_cut_into_runs() {
        let parts = |text: &str| -> Vec<String> {
            assert_eq!(join(&pieces(text)), text);
            pieces(text).into_iter().filter(|p| p.is_word).map(|p| p.text).collect()
        };
        assert_eq!(parts("Who's in, 3.5 km?"), ["Who's", "in", "3.5", "km"]);
        assert_eq!(parts("谁在IBM工作?"), ["谁在", "IBM", "工作"]);
        assert_eq!(parts("ใครเป็นคน"), ["ใครเ", "ป็นคน"]);
        assert_eq!(parts(""), Vec::<String>::new());
    }

    #[test]
    fn entries_of_several_words_are_one_piece() {
        let mut lexicon = Lexicon::default();
        lexicon.insert("Golden Gate", "Puerta Dorada");
        lexicon.insert("golden", "dorado");
        lexicon.insert("南非", "South Africa");
        let parts = |text: &str| -> Vec<String> {
            let pieces = known_words(text, &[&lexicon]);
            assert_eq!(join(&pieces), text);
            pieces.into_iter().filter(|p| p.is_word).map(|p| p.text).collect()
        };
        assert_eq!(parts("the golden gate, a golden one"), ["the", "golden gate", "a", "golden", "one"]);
        assert_eq!(parts("在南非的IBM"), ["在", "南非", "的", "IBM"]);
        assert_eq!(parts("golden"), ["golden"]);
    }

    #[test]
    fn every_known_word_is_replaced_with_its_probability() {
        let mut lexicon = Lexicon::default();
        lexicon.insert("river", "Fluss");
        lexicon.insert("long", "lang");
        lexicon.insert("long", "larga");
        let text = "How LONG is the river, the long river?";
        let at = |probability, step| {
            switched(text, &[&lexicon], probability, &mut Stream::new(1, "code-switch", step))
        };
        assert_eq!(at(0.0, 0), None);
        assert_eq!(at(0.5, 3), at(0.5, 3));
        let (mut changed, mut all) = (0, Vec::new());
        for step in 0..1000 {
            let whole = at(1.0, step).expect("every word");
            assert!(!whole.to_lowercase().contains("long") && !whole.contains("river"), "{whole}");
            changed += at(0.3, step).map_or(0, |t| t.matches("Fluss").count());
            all.push(whole);
        }
        // Two rivers in each of a thousand texts; a binomial deviation of about 20.
        assert!((520..680).contains(&changed), "{changed}");
        assert!(all.contains(&"How lang is the Fluss, the larga Fluss?".to_owned()));
    }
}
