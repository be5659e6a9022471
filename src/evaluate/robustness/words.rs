//! Words dropped, swapped, and replaced by a translation.
//!
//! Words are those of Unicode's rules (UAX 29). Scripts that put no space between words are cut into runs of whole
//! graphemes instead, about as long as a word usually is: two for Han and kana, four for Thai, Lao, Khmer and Burmese.

use unicode_segmentation::UnicodeSegmentation;

use super::{Lexicon, draw_some};
use crate::stream::Stream;

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    text: String,
    is_word: bool,
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
fn pieces(text: &str) -> Vec<Piece> {
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

fn join(pieces: &[Piece]) -> String {
    pieces.iter().map(|p| p.text.as_str()).collect()
}

fn words(pieces: &[Piece]) -> Vec<usize> {
    (0..pieces.len()).filter(|i| pieces[*i].is_word).collect()
}

/// Without `share` of its words: at least one goes and one stays. `None` for a single word.
pub fn dropped(text: &str, share: f64, draw: &mut Stream) -> Option<String> {
    let mut pieces = pieces(text);
    let words = words(&pieces);
    if words.len() < 2 {
        return None;
    }
    let (order, wanted) = draw_some(&words, share, draw);
    for at in order.into_iter().take(wanted.min(words.len() - 1)) {
        pieces[at].text.clear();
        // One of the spaces around it goes too.
        let is_space =
            |i: &usize| pieces.get(*i).is_some_and(|p| !p.text.is_empty() && p.text.trim().is_empty());
        let space = [at.wrapping_sub(1), at + 1].into_iter().find(is_space);
        if let Some(space) = space {
            pieces[space].text.clear();
        }
    }
    Some(join(&pieces).trim().to_owned())
}

/// With `share` of its words changing places with the next one, at least one pair. `None` where all words are equal.
pub fn swapped(text: &str, share: f64, draw: &mut Stream) -> Option<String> {
    let mut pieces = pieces(text);
    let words = words(&pieces);
    let pairs: Vec<usize> =
        (1..words.len()).filter(|i| pieces[words[i - 1]].text != pieces[words[*i]].text).collect();
    if pairs.is_empty() {
        return None;
    }
    let (order, _) = draw_some(&pairs, 1.0, draw);
    let wanted = ((words.len() as f64 * share).round() as usize).max(1);
    let mut used = vec![false; words.len()];
    let mut made = 0;
    for right in order {
        if made < wanted && !used[right] && !used[right - 1] {
            (used[right], used[right - 1]) = (true, true);
            pieces.swap(words[right - 1], words[right]);
            made += 1;
        }
    }
    Some(join(&pieces))
}

/// With `share` of the words that a lexicon has in translation, at least one. Of several translations one is drawn.
/// `None` where no lexicon has any of the words.
pub fn switched(text: &str, lexicons: &[&Lexicon], share: f64, draw: &mut Stream) -> Option<String> {
    let mut pieces = known_words(text, lexicons);
    let found = |piece: &Piece| -> Vec<String> {
        let key = piece.text.to_lowercase();
        lexicons.iter().flat_map(|l| l.translations(&key)).filter(|t| **t != piece.text).cloned().collect()
    };
    let known: Vec<usize> = words(&pieces).into_iter().filter(|i| !found(&pieces[*i]).is_empty()).collect();
    if known.is_empty() {
        return None;
    }
    let (order, wanted) = draw_some(&known, share, draw);
    for at in order.into_iter().take(wanted) {
        let choice = found(&pieces[at]);
        pieces[at].text.clone_from(&choice[draw.below(choice.len())]);
    }
    Some(join(&pieces))
}

/// The pieces, but with the longest words of the lexicons where the script has no spaces.
fn known_words(text: &str, lexicons: &[&Lexicon]) -> Vec<Piece> {
    let longest = lexicons.iter().map(|l| l.longest()).max().unwrap_or(0);
    let mut result = Vec::new();
    for segment in text.split_word_bounds() {
        result.extend(segment.graphemes(true).map(|g| (g.to_owned(), unspaced(g).is_some(), segment)));
    }
    let mut pieces: Vec<Piece> = Vec::new();
    let mut at = 0;
    while at < result.len() {
        let (_, is_unspaced, segment) = &result[at];
        if *is_unspaced {
            let run = result[at..].iter().take(longest.max(1)).take_while(|(_, u, _)| *u).count();
            let word = |n: usize| result[at..at + n].iter().map(|(g, ..)| g.as_str()).collect::<String>();
            let is_known = |n: &usize| lexicons.iter().any(|l| !l.translations(&word(*n)).is_empty());
            let length = (1..=run).rev().find(is_known).unwrap_or(1);
            pieces.push(Piece { text: word(length), is_word: true });
            at += length;
        } else {
            let is_word = segment.chars().any(char::is_alphanumeric);
            pieces.push(Piece { text: (*segment).to_owned(), is_word });
            at += segment.graphemes(true).count();
        }
    }
    pieces
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
}
