//! What stands in the brackets of `NAME[...]`: a part's name, and `key=value` settings, separated by commas.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::read::Found;
use crate::spec::DatasetRef;

/// The brackets, taken apart. Every loader asks for what it knows; [`Options::finish`] refuses what nobody asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    words: Vec<String>,
    settings: Vec<(String, String)>,
    /// Keys that were asked for.
    known: RefCell<BTreeSet<String>>,
    /// The value of `languages`, normalised.
    languages: Option<Vec<String>>,
    /// Languages that the data have, as far as they were read.
    offered: RefCell<BTreeSet<String>>,
}

/// Refuses `languages=en,de`: a comma ends a setting, so that `de` would be a part of its own.
///
/// # Errors
/// Where languages follow `languages=` or `scarce=` as words; says how they are written.
pub fn check_commas(dataset: &DatasetRef) -> Result<()> {
    let mut list: Option<(&str, Vec<&str>)> = None;
    for item in dataset.part.as_deref().unwrap_or_default().split(',').map(str::trim) {
        match (item.split_once('='), &mut list) {
            (Some((key, value)), _) => {
                list = matches!(key.trim(), "languages" | "scarce").then(|| (key.trim(), vec![value.trim()]));
            }
            (None, Some((key, codes))) if super::language::find(item).is_some() => {
                codes.push(item);
                bail!("{key}={}: a comma ends the setting; write {key}={}", codes.join(","), codes.join("+"));
            }
            (None, _) => list = None,
        }
    }
    Ok(())
}

impl Options {
    /// Takes the brackets of a reference apart.
    ///
    /// # Errors
    /// An empty key or value, or a key or a language that comes twice.
    pub fn parse(dataset: &DatasetRef) -> Result<Self> {
        check_commas(dataset)?;
        let mut options = Self::default();
        for item in dataset.part.as_deref().unwrap_or_default().split(',').map(str::trim) {
            match item.split_once('=') {
                Some((key, value)) => {
                    let (key, value) = (key.trim(), value.trim());
                    ensure!(
                        !key.is_empty() && !value.is_empty(),
                        "'{item}': write settings as KEY=VALUE, for example {}[language=en]",
                        dataset.name
                    );
                    ensure!(options.settings.iter().all(|(k, _)| k != key), "'{item}': '{key}' is set twice");
                    options.settings.push((key.to_owned(), value.to_owned()));
                }
                None if item.is_empty() => {}
                None => options.words.push(item.to_owned()),
            }
        }
        let list = options.settings.iter().find(|(k, _)| k == "languages").map(|(_, v)| v.split('+'));
        let list: Option<Vec<String>> =
            list.map(|l| l.map(|l| super::language::normalise(l.trim())).collect());
        for (at, code) in list.iter().flatten().enumerate() {
            ensure!(
                !list.iter().flatten().take(at).any(|c| c == code),
                "languages: '{code}' is listed twice"
            );
        }
        options.languages = list;
        Ok(options)
    }

    /// The value of a setting.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.known.borrow_mut().insert(key.to_owned());
        self.settings.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The part's name, or `default`.
    ///
    /// # Errors
    /// Two parts, or one that is not allowed; `allowed` empty: any.
    pub fn part<'a>(&'a self, default: &'a str, allowed: &[&str]) -> Result<&'a str> {
        let part = match self.words.as_slice() {
            [] => return Ok(default),
            [one] => one.as_str(),
            _ => bail!("name one part, not '{}'", self.words.join("', '")),
        };
        ensure!(
            allowed.is_empty() || allowed.contains(&part),
            "part '{part}': unknown; there are {}",
            allowed.join(", ")
        );
        Ok(part)
    }

    /// The part's name, or `default`: a word in the names of the files of a directory. For a single file it must be one in
    /// that file's name.
    ///
    /// # Errors
    /// Two parts; a file whose name does not say the part that is named.
    pub fn word_in<'a>(&'a self, default: &'a str, path: &Path, found: &[Found]) -> Result<&'a str> {
        let part = self.part(default, &[])?;
        let is_said = self.words.is_empty() || path.is_dir() || found.iter().any(|f| f.says(part));
        ensure!(
            is_said,
            "part '{part}': {} does not say '{part}' in its name, and a file has no parts; leave '{part}' out",
            path.display()
        );
        Ok(part)
    }

    /// The folder that one of the words names, and the part that the other does, or `default`.
    ///
    /// # Errors
    /// Two parts, or two folders.
    pub fn part_and_folder<'a>(
        &'a self,
        default: &'a str,
        folders: &BTreeSet<String>,
    ) -> Result<(Option<String>, &'a str)> {
        let is_folder = |word: &&String| folders.contains(&word.to_lowercase());
        let (named, parts): (Vec<&String>, Vec<&String>) = self.words.iter().partition(is_folder);
        ensure!(named.len() < 2 && parts.len() < 2, "name one part, not '{}'", self.words.join("', '"));
        let part = parts.first().map_or(default, |p| p.as_str());
        Ok((named.first().map(|f| f.to_lowercase()), part))
    }

    /// The part with the settings as they stand, in which `part` takes the place of what was named: as a remedy shows it.
    #[must_use]
    pub fn with_part(&self, part: &str) -> String {
        let settings = self.items().split_off(self.words.len());
        std::iter::once(part.to_owned()).chain(settings).collect::<Vec<_>>().join(",")
    }

    /// What stands in the brackets: words, then settings.
    #[must_use]
    pub fn items(&self) -> Vec<String> {
        let settings = self.settings.iter().map(|(key, value)| format!("{key}={value}"));
        self.words.iter().cloned().chain(settings).collect()
    }

    /// One of some values, the first being the default.
    ///
    /// # Errors
    /// Any other value.
    pub fn choice<'a>(&'a self, key: &str, allowed: &[&'a str]) -> Result<&'a str> {
        let Some(value) = self.get(key) else { return Ok(allowed[0]) };
        ensure!(allowed.contains(&value), "{key}={value}: must be one of {}", allowed.join(", "));
        Ok(value)
    }

    /// A number.
    ///
    /// # Errors
    /// Where it is none.
    pub fn number(&self, key: &str, default: usize) -> Result<usize> {
        let Some(value) = self.get(key) else { return Ok(default) };
        match value.parse() {
            Ok(number) => Ok(number),
            Err(_) => bail!("{key}={value}: must be a whole number"),
        }
    }

    /// Languages of `languages=en+de`, normalised; `None`: all.
    #[must_use]
    pub fn languages(&self) -> Option<&[String]> {
        self.known.borrow_mut().insert("languages".into());
        self.languages.as_deref()
    }

    /// True where this language, which the data have, is wanted.
    #[must_use]
    pub fn wants(&self, language: &str) -> bool {
        let Some(wanted) = &self.languages else { return true };
        if !self.offered.borrow().contains(language) {
            self.offered.borrow_mut().insert(language.to_owned());
        }
        wanted.iter().any(|l| l == language)
    }

    /// Keeps the files whose paths say a wanted language, or none.
    ///
    /// # Errors
    /// Where there is no file of a wanted language: names those that there are.
    pub fn of_wanted(&self, files: &mut Vec<&Found>) -> Result<()> {
        files.retain(|f| f.language.as_ref().is_none_or(|l| self.wants(l)));
        if files.is_empty() { self.check_languages() } else { Ok(()) }
    }

    /// Refuses a wanted language that [`Options::wants`] was never asked about. To be called once all languages are
    /// known; where none is, the loader has something better to say.
    ///
    /// # Errors
    /// Names the language, and those that there are.
    pub fn check_languages(&self) -> Result<()> {
        let offered = self.offered.borrow();
        let missing = self.languages.iter().flatten().find(|l| !offered.contains(*l));
        let Some(missing) = missing.filter(|_| !offered.is_empty()) else { return Ok(()) };
        let there: Vec<&str> = offered.iter().map(String::as_str).collect();
        bail!("languages: there is no '{missing}'; there are {}", there.join(", "))
    }

    /// Refuses settings and parts that the loader does not have.
    ///
    /// # Errors
    /// Names the first, and those that exist.
    pub fn finish(&self, has_parts: bool) -> Result<()> {
        let known = self.known.borrow();
        for (key, value) in &self.settings {
            ensure!(
                known.contains(key),
                "'{key}={value}': this dataset has no such setting; it has {}",
                if known.is_empty() {
                    "none".into()
                } else {
                    known.iter().cloned().collect::<Vec<_>>().join(", ")
                }
            );
        }
        ensure!(
            has_parts || self.words.is_empty(),
            "part '{}': this dataset has no parts",
            self.words.join(", ")
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_with_commas_between_are_refused_with_the_right_way_to_write_them() {
        let check = |text: &str| check_commas(&text.parse().expect(text)).map_err(|e| e.to_string());
        for (text, remedy) in [
            ("pairs[languages=en,de]=x", "languages=en,de: a comma ends the setting; write languages=en+de"),
            ("miracl[train,languages=sw, te]=x", "write languages=sw+te"),
            ("demo[scarce=el,th,share=0.1]", "write scarce=el+th"),
            ("mmarco[languages=en+de,cmn]=x", "write languages=en+de+cmn"),
        ] {
            let error = check(text).expect_err(text);
            assert!(error.contains(remedy), "{error}");
        }
        for text in
            ["mmarco[languages=en,dev.small]=x", "squad[de,languages=en]=x", "squad[languages=en,train]=x"]
        {
            check(text).expect(text);
        }
    }

    #[test]
    fn parts_and_settings_are_told_apart_and_unknown_ones_refused() {
        let options = |text: &str| Options::parse(&text.parse().expect(text)).expect(text);
        let both = options("miracl[train, languages=sw+cmn]=x");
        assert_eq!(both.part("dev", &["dev", "train"]).expect("part"), "train");
        assert_eq!(both.languages(), Some(&["sw".to_owned(), "zh".to_owned()][..]));
        both.check_languages().expect("nothing is known of the data");
        assert!(both.wants("zh") && !both.wants("en"));
        let error = both.check_languages().expect_err("no sw").to_string();
        assert!(error.contains("no 'sw'; there are en, zh"), "{error}");
        both.finish(true).expect("known");
        assert!(both.part("dev", &["dev"]).expect_err("unknown").to_string().contains("'train'"));
        let wrong = options("pairs[langage=en]=x");
        let _ = wrong.get("language");
        let error = wrong.finish(false).expect_err("unknown").to_string();
        assert!(error.contains("langage=en") && error.contains("it has language"), "{error}");
        assert!(Options::parse(&"a[x=1,x=2]".parse().expect("name")).is_err());
        assert!(Options::parse(&"a[x=]".parse().expect("name")).is_err());
        let twice = Options::parse(&"a[languages=zh+en+cmn]".parse().expect("name")).expect_err("twice");
        assert_eq!(twice.to_string(), "languages: 'zh' is listed twice");
    }
}
