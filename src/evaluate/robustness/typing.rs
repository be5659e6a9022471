//! Typing errors.
//!
//! With a keyboard ([`super::keyboard`]) the wrong letter is one beside the right one, in the same case; marks that hang on a
//! letter stay (a wrong consonant keeps its vowel sign), a precomposed accent goes with the letter. Without one (Han, Japanese,
//! Hangul and scripts that have no table) a substitution takes another letter of the same question, and an insertion
//! doubles the letter. Deletion and transposition need no keyboard.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::keyboard::{self, Layout};
use super::{Kind, draw_some, graphemes, is_whole};
use crate::stream::Stream;

/// `text` with errors of one kind in `share` of its letters, at least one; `None` where none could be made.
pub fn errors(kind: Kind, text: &str, language: &str, share: f64, draw: &mut Stream) -> Option<String> {
    let layout = keyboard::of(language);
    let mut parts = graphemes(text);
    let letters: Vec<usize> = (0..parts.len()).filter(|i| is_letter(&parts[*i])).collect();
    let (order, wanted) = draw_some(&letters, share, draw);
    let mut made = 0;
    let mut touched = vec![false; parts.len()];
    for at in order {
        if made == wanted {
            break;
        }
        if touched[at] {
            continue;
        }
        let mut tried = parts.clone();
        // A grapheme may become empty or two on the way, so that places stay what they were.
        match kind {
            Kind::Substitution => match wrong(&parts, at, layout, draw) {
                Some(letter) => tried[at] = letter,
                None => continue,
            },
            Kind::Insertion => match beside(&parts[at], layout, draw) {
                Some(letter) if draw.below(2) == 0 => tried[at].insert_str(0, &letter),
                Some(letter) => tried[at].push_str(&letter),
                None => continue,
            },
            Kind::Deletion => tried[at].clear(),
            Kind::Transposition => {
                let next = at + 1;
                let fits = tried.get(next).is_some_and(|n| is_letter(n) && *n != parts[at]);
                if !fits || touched[next] {
                    continue;
                }
                tried.swap(at, next);
                touched[next] = true;
            }
            _ => return None,
        }
        // Whole graphemes only: what would melt into its neighbour is not done.
        let expected: Vec<String> = tried.iter().flat_map(|p| graphemes(p)).collect();
        if !is_whole(&expected) || expected.concat().trim().is_empty() {
            continue;
        }
        touched[at] = true;
        parts = tried;
        made += 1;
    }
    (made > 0).then(|| parts.concat())
}

fn is_letter(grapheme: &str) -> bool {
    grapheme.chars().next().is_some_and(char::is_alphabetic)
}

/// What is typed instead of the grapheme at `at`.
fn wrong(parts: &[String], at: usize, layout: Option<&Layout>, draw: &mut Stream) -> Option<String> {
    let own = &parts[at];
    if layout.is_none() {
        let others: Vec<&String> = parts.iter().filter(|p| is_letter(p) && *p != own).collect();
        return (!others.is_empty()).then(|| others[draw.below(others.len())].clone());
    }
    let marks: String = own.chars().skip(1).collect();
    Some(beside(own, layout, draw)? + &marks)
}

/// A letter beside the grapheme's first on the keyboard, in its case; without a keyboard the letter again.
fn beside(grapheme: &str, layout: Option<&Layout>, draw: &mut Stream) -> Option<String> {
    let Some(layout) = layout else { return Some(grapheme.to_owned()) };
    let first = grapheme.chars().next()?;
    let small = first.to_lowercase().next()?;
    let mut around = layout.neighbours(small);
    if around.is_empty() {
        // A precomposed letter: what its base letter has beside it.
        around = layout.neighbours(std::iter::once(small).nfd().next()?);
    }
    around.retain(|c| !is_combining_mark(*c) && c.is_alphabetic());
    if around.is_empty() {
        return None;
    }
    let letter = around[draw.below(around.len())];
    Some(if first.is_uppercase() { letter.to_uppercase().collect() } else { letter.to_string() })
}
