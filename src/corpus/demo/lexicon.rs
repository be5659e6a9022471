//! Lexicons of the corpus: the names in its tables, in every pair of its languages.

use anyhow::Result;

use super::table::{Entities, Name};
use super::{LANGUAGES, files};
use crate::corpus::lexicon::Lexicon;

/// A lexicon for each ordered pair of languages: from, to, words. Every form of a name stands for the same form of its
/// translation, or for its default form.
///
/// # Errors
/// A broken table, with file, line and remedy.
pub fn lexicons() -> Result<Vec<(&'static str, &'static str, Lexicon)>> {
    let tables = files::FILES
        .iter()
        .filter(|(path, _)| path.starts_with("entities/"))
        .map(|(path, text)| Entities::parse(path, text))
        .collect::<Result<Vec<_>>>()?;
    let mut all = Vec::new();
    for (from, source) in LANGUAGES.iter().enumerate() {
        for (to, target) in LANGUAGES.iter().enumerate().filter(|(to, _)| *to != from) {
            let mut lexicon = Lexicon::default();
            for names in tables.iter().flat_map(Entities::sorted) {
                add(&mut lexicon, &names[from], &names[to]);
            }
            all.push((*source, *target, lexicon));
        }
    }
    Ok(all)
}

fn add(lexicon: &mut Lexicon, from: &Name, to: &Name) {
    for (form, text) in from.forms() {
        // The same word in both languages would replace nothing.
        if text != to.form(form) {
            lexicon.insert(text, to.form(form));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_forms_are_translated() {
        let all = lexicons().expect("lexicons");
        assert_eq!(all.len(), 110);
        let of = |from: &str, to: &str, word: &str| {
            let (.., lexicon) = all.iter().find(|(f, t, _)| (*f, *t) == (from, to)).expect("pair");
            lexicon.translations(word).to_vec()
        };
        assert_eq!(of("en", "de", "iron"), ["Eisen"]);
        // The default form has its article, where the language has one; the bare form stands for what has none.
        assert_eq!(of("en", "es", "iron"), ["el hierro"]);
        assert_eq!(of("es", "en", "del hierro"), ["iron"]);
        assert_eq!(of("es", "el", "hierro"), ["σίδηρος"]);
        assert!(all.iter().all(|(.., lexicon)| lexicon.len() > 500));
    }
}
