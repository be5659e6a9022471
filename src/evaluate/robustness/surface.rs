//! The same words in other characters: case, diacritics, letters that look alike.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::{draw_some, graphemes, is_whole};
use crate::corpus::language;
use crate::stream::Stream;

/// Turkish and Azerbaijani pair i with İ and ı with I.
fn has_dotless_i(code: &str) -> bool {
    language::find(code).is_some_and(|l| l.code == "tr" || l.code == "az")
}

/// In lower case, as the language writes it.
pub fn lower(text: &str, code: &str) -> String {
    if has_dotless_i(code) {
        text.replace('İ', "i").replace('I', "ı").to_lowercase()
    } else {
        text.to_lowercase()
    }
}

/// In upper case, as the language writes it.
pub fn upper(text: &str, code: &str) -> String {
    if has_dotless_i(code) { text.replace('i', "İ").to_uppercase() } else { text.to_uppercase() }
}

/// Letters whose stroke or hook Unicode does not take apart.
const PLAIN: [(char, char); 14] = [
    ('đ', 'd'),
    ('Đ', 'D'),
    ('ð', 'd'),
    ('ħ', 'h'),
    ('ı', 'i'),
    ('ł', 'l'),
    ('Ł', 'L'),
    ('ø', 'o'),
    ('Ø', 'O'),
    ('ŧ', 't'),
    ('أ', 'ا'),
    ('إ', 'ا'),
    ('آ', 'ا'),
    ('ـ', '\0'),
];

/// Without accents, the points and hamzas of Arabic, the points of Hebrew, and the nukta of Devanagari: what people leave out
/// when they type in haste. Vowel signs of Indic scripts and the marks of Thai are letters of their own and stay, and so
/// does й, which is no accented и.
pub fn without_diacritics(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.nfc() {
        if let Some((_, plain)) = PLAIN.iter().find(|(from, _)| *from == c) {
            out.extend((*plain != '\0').then_some(*plain));
        } else if matches!(c, 'й' | 'Й') {
            out.push(c);
        } else {
            out.extend(std::iter::once(c).nfd().filter(|c| !is_omitted(*c)));
        }
    }
    out.nfc().collect()
}

fn is_omitted(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{5b0}'..='\u{5c7}' | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{93c}')
        && is_combining_mark(c)
}

/// Groups of letters that look alike in most typefaces: Latin, Cyrillic, Greek; and Arabic with Persian.
const ALIKE: [&str; 32] = [
    "aа", "cс", "eе", "iі", "jј", "oоο", "pрρ", "sѕ", "vν", "xх", "yу", "hһ", "uυ", "AАΑ", "BВΒ", "CС",
    "EЕΕ", "HНΗ", "IІΙ", "JЈ", "KКΚ", "MМΜ", "NΝ", "OОΟ", "PРΡ", "SЅ", "TТΤ", "XХΧ", "YΥ", "ZΖ", "يی", "كک",
];

/// With look-alikes in place of `share` of the letters that have some, at least one; `None` where no letter has.
pub fn homoglyphs(text: &str, share: f64, draw: &mut Stream) -> Option<String> {
    let mut parts = graphemes(text);
    let others = |part: &str| -> Vec<char> {
        let mut letters = part.chars();
        let (Some(letter), None) = (letters.next(), letters.next()) else { return Vec::new() };
        let group = ALIKE.iter().find(|g| g.contains(letter));
        group.map_or_else(Vec::new, |g| g.chars().filter(|c| *c != letter).collect())
    };
    let places: Vec<usize> = (0..parts.len()).filter(|i| !others(&parts[*i]).is_empty()).collect();
    if places.is_empty() {
        return None;
    }
    let (order, wanted) = draw_some(&places, share, draw);
    for at in order.into_iter().take(wanted) {
        let choice = others(&parts[at]);
        parts[at] = choice[draw.below(choice.len())].to_string();
    }
    is_whole(&parts).then(|| parts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_letter_looks_like_two_different_ones() {
        for (index, group) in ALIKE.iter().enumerate() {
            for letter in group.chars() {
                assert_eq!(group.chars().filter(|c| *c == letter).count(), 1, "{letter} twice in {group}");
                assert!(ALIKE[index + 1..].iter().all(|g| !g.contains(letter)), "{letter} of {group}");
            }
        }
    }
}
