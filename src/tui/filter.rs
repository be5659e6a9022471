//! The filter of lists and tables: words that must occur, `!word` that must not, `~pattern` (a regular expression),
//! `column:text`, `column:~pattern`, `column>0.5`.

use regex::{Regex, RegexBuilder};

/// A parsed filter; all its terms must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
enum Term {
    Word(String),
    Not(String),
    Pattern(Pattern),
    Text(usize, String),
    PatternIn(usize, Pattern),
    Number(usize, Compare, f64),
}

/// A regular expression, whatever the case of its letters.
#[derive(Clone, Debug)]
struct Pattern(Regex);

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("'~': write a pattern after it, as ~^en|de$".into());
        }
        let built = RegexBuilder::new(text).case_insensitive(true).size_limit(1 << 20).build();
        // The message is several lines with a picture; its last says what is wrong.
        let reason = |error: regex::Error| {
            let text = error.to_string();
            text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        };
        built.map(Self).map_err(|error| format!("'~{text}': {}", reason(error)))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

impl Filter {
    /// Parses a filter over these columns. A column may be shortened to a unique beginning.
    ///
    /// # Errors
    /// In words, which term is wrong and what it may say.
    pub fn parse(text: &str, columns: &[&str]) -> Result<Self, String> {
        let column = |name: &str| {
            let name = name.to_lowercase();
            let exact = columns.iter().position(|c| c.to_lowercase() == name);
            let begins = || columns.iter().position(|c| c.to_lowercase().starts_with(&name));
            let all = || format!("no column '{name}' (there are {})", columns.join(", "));
            exact.or_else(begins).filter(|_| !name.is_empty()).ok_or_else(all)
        };
        let mut terms = Vec::new();
        for word in text.split_whitespace() {
            let operator = word.find(['<', '>', ':']).filter(|_| !columns.is_empty());
            if let Some(pattern) = word.strip_prefix('~') {
                terms.push(Term::Pattern(Pattern::parse(pattern)?));
            } else if let Some(at) = operator {
                let index = column(&word[..at])?;
                let (sign, rest) = (&word[at..=at], &word[at + 1..]);
                if let (":", Some(pattern)) = (sign, rest.strip_prefix('~')) {
                    terms.push(Term::PatternIn(index, Pattern::parse(pattern)?));
                    continue;
                }
                if sign == ":" {
                    terms.push(Term::Text(index, rest.to_lowercase()));
                    continue;
                }
                let (equal, rest) = rest.strip_prefix('=').map_or((false, rest), |r| (true, r));
                let number =
                    rest.parse().map_err(|_| format!("'{word}': write a number after {sign}, as map>0.5"))?;
                let compare = match (sign, equal) {
                    ("<", false) => Compare::Less,
                    ("<", true) => Compare::LessOrEqual,
                    (_, false) => Compare::More,
                    (_, true) => Compare::MoreOrEqual,
                };
                terms.push(Term::Number(index, compare, number));
            } else if let Some(word) = word.strip_prefix('!') {
                if word.is_empty() {
                    return Err("'!': write a word after it, as !failed".into());
                }
                terms.push(Term::Not(word.to_lowercase()));
            } else {
                terms.push(Term::Word(word.to_lowercase()));
            }
        }
        Ok(Self { terms })
    }

    /// True where a row of cells passes.
    #[must_use]
    pub fn passes<T: AsRef<str>>(&self, row: &[T]) -> bool {
        let any = |word: &str| row.iter().any(|cell| cell.as_ref().to_lowercase().contains(word));
        self.terms.iter().all(|term| match term {
            Term::Word(word) => any(word),
            Term::Not(word) => !any(word),
            Term::Pattern(pattern) => row.iter().any(|cell| pattern.0.is_match(cell.as_ref())),
            Term::PatternIn(index, pattern) => {
                row.get(*index).is_some_and(|cell| pattern.0.is_match(cell.as_ref()))
            }
            Term::Text(index, text) => {
                row.get(*index).is_some_and(|c| c.as_ref().to_lowercase().contains(text))
            }
            Term::Number(index, compare, bound) => {
                let value = row.get(*index).and_then(|c| c.as_ref().trim().parse::<f64>().ok());
                value.is_some_and(|v| match compare {
                    Compare::Less => v < *bound,
                    Compare::LessOrEqual => v <= *bound,
                    Compare::More => v > *bound,
                    Compare::MoreOrEqual => v >= *bound,
                })
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_joined_by_and() {
        let columns = ["setting", "query", "map"];
        let rows = [["mono", "en", "0.8"], ["cross", "en", "0.4"], ["cross", "ar", "-"]];
        let kept = |text: &str| {
            let filter = Filter::parse(text, &columns).expect(text);
            rows.iter().map(|r| filter.passes(r)).collect::<Vec<_>>()
        };
        assert_eq!(kept(""), [true, true, true]);
        assert_eq!(kept("CROSS"), [false, true, true]);
        assert_eq!(kept("!cross"), [true, false, false]);
        assert_eq!(kept("cross map<=0.4"), [false, true, false]);
        assert_eq!(kept("q:ar"), [false, false, true]);
        assert_eq!(kept("map>0.5"), [true, false, false]);
        assert_eq!(kept("~^C.*s$"), [false, true, true]);
        assert_eq!(kept("query:~^(en|de)$ ~0[.]8"), [true, false, false]);
    }

    #[test]
    fn mistakes_are_told_in_words() {
        for (text, part) in [
            ("foo:1", "no column 'foo'"),
            ("map>x", "number"),
            ("!", "word"),
            (":x", "no column"),
            ("~(a", "unclosed group"),
            ("map:~[", "unclosed character class"),
            ("~", "pattern"),
        ] {
            let message = Filter::parse(text, &["map"]).expect_err(text);
            assert!(message.contains(part), "{text}: {message}");
        }
        assert!(Filter::parse("a:b", &[]).is_ok());
    }
}
