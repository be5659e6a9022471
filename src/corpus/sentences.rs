//! Our own sentence splitter, for paragraphs that come without sentence breaks.
//!
//! Sentence boundaries of Unicode's annex 29, then two repairs: a piece that ends in a known short form or a single
//! initial (`Mr.`, `U.S.`, `J.`) goes on, and a piece that starts in lower case (`"Why?" she asked`) or has no letter or
//! digit belongs to the one before it.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// Short forms after which a sentence goes on, in the languages that have been seen to break there.
const SHORT: [&str; 22] = [
    "mr.", "mrs.", "ms.", "dr.", "prof.", "st.", "no.", "vs.", "jr.", "sr.", "inc.", "ltd.", "co.", "gen.",
    "col.", "lt.", "gov.", "sen.", "rep.", "e.g.", "i.e.", "z.b.",
];

/// Byte ranges of the sentences, without the spaces around them; in order, not overlapping.
pub fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let (mut open, mut line_ended) = (false, false);
    for (start, piece) in text.split_sentence_bound_indices() {
        let trimmed = piece.trim();
        if trimmed.is_empty() {
            continue;
        }
        let start = start + (piece.len() - piece.trim_start().len());
        let end = start + trimmed.len();
        let goes_on = open
            || !trimmed.contains(char::is_alphanumeric)
            || (!line_ended && trimmed.starts_with(char::is_lowercase));
        match found.last_mut() {
            Some(last) if goes_on => last.end = end,
            _ => found.push(start..end),
        }
        let word = trimmed.rsplit(char::is_whitespace).next().unwrap_or(trimmed);
        let word = word.trim_start_matches(|c: char| !c.is_alphanumeric());
        let initial =
            word.chars().count() == 2 && word.ends_with('.') && word.starts_with(char::is_uppercase);
        line_ended = piece.ends_with('\n');
        open = !line_ended && (initial || SHORT.contains(&word.to_lowercase().as_str()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        sentences(text).into_iter().map(|r| &text[r]).collect()
    }

    #[test]
    fn short_forms_and_initials_do_not_end_a_sentence() {
        assert_eq!(
            split("Dr. Ada B. Moss left.  Rain fell! \"Why?\" she asked. 3.5 km on, it stopped."),
            ["Dr. Ada B. Moss left.", "Rain fell!", "\"Why?\" she asked.", "3.5 km on, it stopped."]
        );
        assert_eq!(split("雨が降った。犬が走った。"), ["雨が降った。", "犬が走った。"]);
        assert_eq!(split(" \n "), Vec::<&str>::new());
        assert_eq!(split("One.\n\n***\n"), ["One.\n\n***"]);
    }
}
