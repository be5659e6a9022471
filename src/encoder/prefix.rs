//! What is put before questions and before passages, and who says so. A wrong prefix costs a model much of its quality
//! without a word, so both are printed wherever texts are embedded.

use super::sentence::SentenceLayout;

/// Who says what a prefix is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PrefixOrigin {
    /// The spec or an option.
    Given,
    /// The model's own files.
    Model,
    /// The catalogue's entry of the model.
    Catalogue,
    /// Nobody: it is the one that polymix trains with.
    Default,
}

impl PrefixOrigin {
    /// In words, behind a prefix.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Given => "as asked for",
            Self::Model => "as the model's files state",
            Self::Catalogue => "from the catalogue; the model's files state none",
            Self::Default => "polymix's own, as the model states none",
        }
    }
}

/// The text before questions or before passages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub text: String,
    pub origin: PrefixOrigin,
}

/// The prefixes of questions and passages: the given ones, else the model's own, else the catalogue's, else `Query: ` and
/// `Passage: `.
pub(super) fn prefixes(layout: &SentenceLayout, given: [Option<&str>; 2]) -> [Prefix; 2] {
    let [query, passage] = given;
    let choose = |given: Option<&str>, own: &Option<String>, catalogued: &Option<String>, default: &str| {
        let found = [
            (given, PrefixOrigin::Given),
            (own.as_deref(), PrefixOrigin::Model),
            (catalogued.as_deref(), PrefixOrigin::Catalogue),
        ];
        let found = found.into_iter().find_map(|(text, origin)| Some((text?, origin)));
        let (text, origin) = found.unwrap_or((default, PrefixOrigin::Default));
        Prefix { text: text.to_owned(), origin }
    };
    [
        choose(query, &layout.query_prefix, &layout.catalogued.query, DEFAULT[0]),
        choose(passage, &layout.passage_prefix, &layout.catalogued.passage, DEFAULT[1]),
    ]
}

/// Before questions and before passages, where nobody says anything else.
pub(super) const DEFAULT: [&str; 2] = ["Query: ", "Passage: "];

/// Both in one line; nothing where both are empty.
pub(super) fn line(texts: [&str; 2], origins: [PrefixOrigin; 2]) -> Option<String> {
    if texts.iter().all(|t| t.is_empty()) {
        return None;
    }
    let [query, passage] = texts;
    let [first, second] = origins.map(PrefixOrigin::words);
    Some(if first == second {
        format!("prefixes: {query:?} before questions, {passage:?} before passages ({first})")
    } else {
        format!("prefixes: {query:?} before questions ({first}), {passage:?} before passages ({second})")
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::corpus::catalogue::Prefixes;
    use crate::ops::Pool;

    #[test]
    fn the_nearest_word_on_a_prefix_counts_for_each_side_alone() {
        let mut layout = SentenceLayout::plain(Path::new(""), Pool::Mean);
        let found = |layout: &SentenceLayout, given| prefixes(layout, given).map(|p| (p.text, p.origin));
        let own = |text: &str, origin| (text.to_owned(), origin);
        assert_eq!(
            found(&layout, [None, None]),
            [own("Query: ", PrefixOrigin::Default), own("Passage: ", PrefixOrigin::Default)]
        );
        layout.catalogued = Prefixes { query: Some("query: ".into()), passage: Some("passage: ".into()) };
        layout.query_prefix = Some(String::new());
        assert_eq!(
            found(&layout, [None, None]),
            [own("", PrefixOrigin::Model), own("passage: ", PrefixOrigin::Catalogue)]
        );
        assert_eq!(found(&layout, [Some("q"), Some("")])[1], own("", PrefixOrigin::Given));
    }

    #[test]
    fn empty_prefixes_are_not_announced() {
        let [model, catalogue] = [PrefixOrigin::Model, PrefixOrigin::Catalogue];
        assert_eq!(line(["", ""], [model; 2]), None);
        let one = line(["query: ", ""], [catalogue, model]).expect("a line");
        assert!(one.contains("\"query: \" before questions (from the catalogue"), "{one}");
        assert!(one.contains("\"\" before passages (as the model's files state)"), "{one}");
    }
}
