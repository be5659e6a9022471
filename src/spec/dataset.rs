//! How a spec and a command line name a dataset: `NAME`, `NAME[PART]`, `NAME=PATH`, `NAME[PART]=PATH`.
//!
//! Settings of a dataset stand in the brackets too, separated by commas: `miracl[train,languages=sw+te]=DIR`,
//! `pairs[question=title,passage=body,language=en]=FILE`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

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

    fn from_str(text: &str) -> Result<Self, String> {
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
        let is_word = |word: &str| {
            !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let words: Vec<&str> = name.split('/').collect();
        if words.len() > 2 || !words.iter().all(|w| is_word(w) && (words.len() == 1 || !w.starts_with('.'))) {
            return Err(format!(
                "dataset '{text}': the name must be letters, digits, '-', '_' or '.' (or owner/name of the hub)"
            ));
        }
        Ok(Self { name: name.to_owned(), part, path })
    }
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
    /// Name and part, without the path: what results are filed under. It names directories, so that the '/' of a
    /// repository becomes '--'.
    #[must_use]
    pub fn label(&self) -> String {
        let name = self.name.replace('/', "--");
        match &self.part {
            Some(part) => format!("{name}[{part}]"),
            None => name,
        }
    }
}

impl TryFrom<String> for DatasetRef {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
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
            "a[b=c", "a[x/y]", "a[b]c=d", "", "=x", "demo[", "demo[]", "a b", "demo=", "a/b/c", "../a",
            "a/..",
        ] {
            assert!(text.parse::<DatasetRef>().is_err(), "{text}");
        }
    }
}
