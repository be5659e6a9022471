//! How a spec and a command line name a dataset: `NAME`, `NAME[PART]`, `NAME=PATH`, `NAME[PART]=PATH`.
//!
//! Settings of a dataset stand in the brackets too, separated by commas: `miracl[train,languages=sw+te]=DIR`,
//! `pairs[question=title,passage=body,language=en]=FILE`. `as=NAME` among them is what it is called in results.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// A dataset by name, with the part of it that is meant and where it lies.
///
/// `demo[train]` is the bundled corpus' training part; `xquad-r[0..24]=data/xquad-r` the first 24 articles of
/// XQuAD-R in that directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatasetRef {
    pub name: String,
    /// What of it: a split's name or a range of articles, as the dataset defines.
    pub part: Option<String>,
    /// Directory or file; absent for what is bundled.
    pub path: Option<PathBuf>,
}

impl FromStr for DatasetRef {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        // A '=' within brackets belongs to a setting.
        let plain = text.find('=').unwrap_or(text.len());
        let behind = match text.find('[') {
            Some(open) if open < plain => text.find(']').map_or(text.len(), |close| close + 1),
            _ => 0,
        };
        let (head, path) = match text[behind..].split_once('=') {
            Some((_, "")) => {
                return Err(format!("dataset '{text}': the path after '=' is empty; write NAME=PATH"));
            }
            Some((head, path)) => (&text[..behind + head.len()], Some(PathBuf::from(path))),
            None => (text, None),
        };
        let (name, part) = match head.split_once('[') {
            Some((name, rest)) => match rest.strip_suffix(']') {
                // A part names directories too.
                Some(part) if part.contains(['/', '\\', '\0', '\n', '[', ']']) => {
                    return Err(format!("dataset '{text}': a part must not contain '/', '\\' or brackets"));
                }
                Some(part) if !part.is_empty() => (name, Some(part.to_owned())),
                _ => return Err(format!("dataset '{text}': write the part as NAME[PART]")),
            },
            None => (head, None),
        };
        let words: Vec<&str> = name.split('/').collect();
        if words.len() > 2 || !words.iter().all(|w| is_word(w) && (words.len() == 1 || !w.starts_with('.'))) {
            return Err(format!(
                "dataset '{text}': the name must be letters, digits, '-', '_' or '.' (or owner/name of the hub)"
            ));
        }
        if part.iter().flat_map(|p| p.split(',')).filter_map(called).count() > 1 {
            return Err(format!("dataset '{text}': 'as' is set twice"));
        }
        let dataset = Self { name: name.to_owned(), part, path };
        match dataset.called() {
            Some(called) if !is_word(called) || called.starts_with('.') => Err(format!(
                "dataset '{text}': as={called}: must be ASCII letters, digits, '-', '_' or '.', and no '.' at the start (it names \
                 a directory)"
            )),
            _ => Ok(dataset),
        }
    }
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// The name in `as=NAME`, where this setting is one.
fn called(setting: &str) -> Option<&str> {
    let (key, value) = setting.split_once('=')?;
    (key.trim() == "as").then(|| value.trim())
}

impl fmt::Display for DatasetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(part) = &self.part {
            write!(f, "[{part}]")?;
        }
        match &self.path {
            Some(path) => write!(f, "={}", path.display()),
            None => Ok(()),
        }
    }
}

impl DatasetRef {
    /// What results are filed under: the name in `as=NAME`, else name and part without the path. It names directories, so that the
    /// '/' of a repository becomes '--'.
    #[must_use]
    pub fn label(&self) -> String {
        if let Some(called) = self.called() {
            return called.to_owned();
        }
        let name = self.name.replace('/', "--");
        match &self.part {
            Some(part) => format!("{name}[{part}]"),
            None => name,
        }
    }

    /// The name that it was given in its brackets.
    fn called(&self) -> Option<&str> {
        self.part.as_deref()?.split(',').find_map(called)
    }

    /// The same without a name of its own: what the data are.
    #[must_use]
    pub fn unnamed(&self) -> Self {
        let settings = self.part.as_deref().unwrap_or_default().split(',');
        let left: Vec<&str> = settings.filter(|s| called(s).is_none()).collect();
        let part = left.join(",");
        Self { part: (!part.trim().is_empty()).then_some(part), ..self.clone() }
    }

    /// Refuses two datasets of one list that would be filed under one name.
    ///
    /// # Errors
    /// Names `key`, the second of them, and how it is given a name.
    pub fn check_labels(key: &str, list: &[Self]) -> Result<()> {
        for (index, dataset) in list.iter().enumerate() {
            let label = dataset.label();
            ensure!(
                list[..index].iter().all(|before| before.label() != label),
                "{key}: two datasets are called '{label}', and the results of one would take the other's place; give \
                 '{dataset}' a name in its brackets: {}",
                dataset.named("NAME")
            );
        }
        Ok(())
    }

    fn named(&self, name: &str) -> Self {
        let Self { part, .. } = self.unnamed();
        let part = part.map_or(String::new(), |part| part + ",") + "as=" + name;
        Self { part: Some(part), ..self.clone() }
    }
}

impl TryFrom<String> for DatasetRef {
    type Error = String;
    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl From<DatasetRef> for String {
    fn from(dataset: DatasetRef) -> Self {
        dataset.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for text in [
            "demo",
            "demo[train]",
            "pairs[question=q, passage=p]=a=b[c]",
            "mmarco[languages=en+de]",
            "xquad-r=a b/c=d",
            "xquad-r[0..24]=../data",
            "owner/name[x]",
        ] {
            let dataset: DatasetRef = text.parse().expect(text);
            assert_eq!(dataset.to_string(), text);
        }
        for text in [
            "a[b=c",
            "a[x/y]",
            "a[b]c=d",
            "",
            "=x",
            "demo[",
            "demo[]",
            "a b",
            "demo=",
            "a/b/c",
            "../a",
            "a/..",
            "a[as=]=x",
            "a[as=b c]=x",
            "a[as=.b]=x",
            "a[as=b, as=c]=x",
        ] {
            assert!(text.parse::<DatasetRef>().is_err(), "{text}");
        }
    }

    #[test]
    fn datasets_that_would_be_filed_under_one_name_are_told_apart() {
        let list = |names: &[&str]| names.iter().map(|n| n.parse().expect(n)).collect::<Vec<DatasetRef>>();
        let check = |names: &[&str]| DatasetRef::check_labels("data.evaluation", &list(names));
        check(&["pairs[as=ours]=a", "pairs=b", "pairs[language=en, as=more]=c"]).expect("three names");
        let error =
            check(&["pairs[language=en]=a", "pairs[language=en]=b"]).expect_err("one name").to_string();
        assert!(
            error.starts_with("data.evaluation: two datasets are called 'pairs[language=en]'"),
            "{error}"
        );
        assert!(error.ends_with("pairs[language=en,as=NAME]=b"), "{error}");
        assert!(check(&["pairs[as=x]=a", "demo[as=x]"]).is_err());
        let named = &list(&["pairs[language=en,as=ours]=a"])[0];
        assert_eq!(
            (named.label(), named.unnamed().to_string()),
            ("ours".into(), "pairs[language=en]=a".into())
        );
        assert_eq!(list(&["demo[as=x]"])[0].unnamed(), list(&["demo"])[0]);
    }
}
