//! Scripts, and which of them count as low-resource.
//!
//! There is no measurement behind this: it is a convention that tables need in order to mark rows, stated here so that it can
//! be read, and replaced from the command line. A script counts as low-resource unless it is one of the six in which most of
//! the text that multilingual encoders are trained on is written. Languages are not judged: Swahili is written in Latin
//! letters, and gains from every other language that is.

use anyhow::{Result, ensure};

use crate::corpus::language;

/// A script and whether it is counted as low-resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    pub name: &'static str,
    pub is_low_resource: bool,
    /// The plain fact behind it.
    pub why: &'static str,
}

const fn much(name: &'static str, why: &'static str) -> Script {
    Script { name, is_low_resource: false, why }
}

const fn little(name: &'static str, why: &'static str) -> Script {
    Script { name, is_low_resource: true, why }
}

/// Every script of the language table.
pub const SCRIPTS: [Script; 25] = [
    much("Latin", "most languages of any multilingual corpus use it"),
    much("Cyrillic", "Russian and a dozen others use it"),
    much("Arabic", "Arabic, Persian and Urdu use it"),
    much("Han", "Chinese uses it, and Japanese in part"),
    much("Japanese", "one language with much text, part of it in Han"),
    much("Hangul", "one language with much text"),
    little("Armenian", "one language uses it"),
    little("Bengali", "two languages use it; far less text than speakers"),
    little("Burmese", "one language with little text, without spaces between words"),
    little("Devanagari", "Hindi, Marathi and Nepali use it; far less text than speakers"),
    little("Ethiopic", "few languages use it, all with little text"),
    little("Georgian", "one language uses it"),
    little("Greek", "one language uses it"),
    little("Gujarati", "one language uses it"),
    little("Gurmukhi", "one language uses it"),
    little("Hebrew", "one language of size uses it"),
    little("Kannada", "one language uses it"),
    little("Khmer", "one language with little text, without spaces between words"),
    little("Lao", "one language with little text, without spaces between words"),
    little("Malayalam", "one language uses it"),
    little("Sinhala", "one language uses it"),
    little("Tamil", "one language uses it"),
    little("Telugu", "one language uses it"),
    little("Thai", "one language uses it, without spaces between words"),
    much(language::UNKNOWN, "nothing is known of the language, so nothing is marked"),
];

/// Which scripts tables mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LowResource {
    names: Vec<String>,
}

impl Default for LowResource {
    /// As [`SCRIPTS`] says.
    fn default() -> Self {
        let names = SCRIPTS.iter().filter(|s| s.is_low_resource).map(|s| s.name.to_owned()).collect();
        Self { names }
    }
}

impl LowResource {
    /// These scripts instead; `none` alone marks nothing.
    ///
    /// # Errors
    /// Names a script that the table does not know, and those that it knows.
    pub fn of(names: &[String]) -> Result<Self> {
        if names == ["none"] {
            return Ok(Self { names: Vec::new() });
        }
        for name in names {
            let known: Vec<&str> = SCRIPTS.iter().map(|s| s.name).collect();
            ensure!(
                known.contains(&name.as_str()),
                "script '{name}': unknown; there are {}",
                known.join(", ")
            );
        }
        Ok(Self { names: names.to_vec() })
    }

    /// Whether a script is marked.
    #[must_use]
    pub fn has(&self, script: &str) -> bool {
        self.names.iter().any(|n| n == script)
    }

    /// Those that are marked.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_of_a_language_has_its_line_and_only_one() {
        for code in [
            "am", "ar", "bn", "el", "en", "gu", "he", "hi", "hy", "ja", "ka", "km", "kn", "ko", "lo", "ml",
            "my", "pa", "ru", "si", "ta", "te", "th", "zh", "xx",
        ] {
            let script = language::script(code);
            assert_eq!(SCRIPTS.iter().filter(|s| s.name == script).count(), 1, "{code}: {script}");
        }
        assert!(LowResource::default().has("Thai") && !LowResource::default().has("Latin"));
    }

    #[test]
    fn the_marked_scripts_can_be_replaced() {
        let own = LowResource::of(&["Latin".into()]).expect("known");
        assert!(own.has("Latin") && !own.has("Thai"));
        assert!(LowResource::of(&["none".into()]).expect("none").names().is_empty());
        let error = format!("{:#}", LowResource::of(&["Klingon".into()]).expect_err("unknown"));
        assert!(error.contains("'Klingon'") && error.contains("Devanagari"), "{error}");
    }
}
