//! Words dropped, swapped, and replaced by a translation. What a word is, [`crate::corpus::lexicon`] says.

use super::{Lexicon, draw_some};
use crate::corpus::lexicon::{Piece, join, known_words, pieces};
use crate::stream::Stream;

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
