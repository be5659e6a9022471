//! Reading a token cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::batch::{Layout, Negatives, distinct};
use crate::corpus::Input;
use crate::mapped::{Numbers, Offsets};

/// Version of the directory's format.
pub const VERSION: u32 = 3;

/// `meta.json`: what the number files hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    pub v: u32,
    pub name: String,
    pub languages: Vec<String>,
    pub groups: u64,
    pub questions: u64,
    pub passages: u64,
    pub question_tokens: u64,
    pub passage_tokens: u64,
    /// Negatives over all groups; 0: the data have none.
    pub negatives: u64,
    pub truncated_questions: u64,
    pub truncated_passages: u64,
    /// Answers that lie behind the cut of their passage.
    pub lost_answers: u64,
    /// Answers whose end the data say.
    pub answers: u64,
    pub notes: Vec<String>,
    pub inputs: Vec<Input>,
    /// SHA-256 over ids, languages, texts and relevance, in order, in hexadecimal.
    pub sha256: String,
    /// Questions and passages by language, in the order of `languages`.
    pub by_language: Vec<(u64, u64)>,
    /// Cut questions, cut passages, and answers behind the cut, by language as above; they sum to the three counts of all.
    pub cut_by_language: Vec<[u64; 3]>,
    /// SHA-256 of every other file of the directory, in hexadecimal.
    pub files: BTreeMap<String, String>,
}

/// Token sequences one after another.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    offsets: Offsets,
    ids: Numbers,
}

impl Texts {
    /// The token ids of a text; empty where there is no such text.
    #[must_use]
    pub fn get(&self, index: u32) -> &[u32] {
        let at = index as usize;
        match (self.offsets.get(at), self.offsets.get(at + 1)) {
            (Some(start), Some(end)) => self.ids.get(*start as usize..*end as usize).unwrap_or(&[]),
            _ => &[],
        }
    }
}

/// An open token cache.
#[derive(Clone, Debug, Default)]
pub struct Store {
    pub path: PathBuf,
    pub meta: Meta,
    pub questions: Texts,
    pub passages: Texts,
    pub layout: Layout,
    /// Hashes of the question ids, sorted.
    pub ids: Offsets,
}

impl Store {
    /// Opens the cache in a directory.
    ///
    /// # Errors
    /// Where a file is missing or has another length than `meta.json` says.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("meta.json");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("{}: cannot read", path.display()))?;
        let meta: Meta =
            serde_json::from_str(&text).with_context(|| format!("{}: not a token cache", path.display()))?;
        ensure!(meta.v == VERSION, "{}: format {}; this polymix has {VERSION}", path.display(), meta.v);
        let numbers = |name: &str, count: u64| Numbers::open(&dir.join(name), count);
        let offsets = |name: &str, count: u64| Offsets::open(&dir.join(name), count);
        let texts = |side: &str, texts: u64, tokens: u64| -> Result<Texts> {
            Ok(Texts {
                offsets: offsets(&format!("{side}.offsets"), texts.saturating_add(1))?,
                ids: numbers(&format!("{side}.ids"), tokens)?,
            })
        };
        let questions = texts("questions", meta.questions, meta.question_tokens)?;
        let passages = texts("passages", meta.passages, meta.passage_tokens)?;
        let column = |side: &str| -> Result<Vec<Numbers>> {
            (0..meta.languages.len()).map(|l| numbers(&format!("{side}.{l}.column"), meta.groups)).collect()
        };
        let clusters = numbers("clusters", meta.groups)?;
        let negatives = (meta.negatives > 0)
            .then(|| -> Result<Negatives> {
                let list = numbers("negatives", meta.negatives)?;
                let offsets = numbers("negatives.offsets", meta.groups.saturating_add(1))?;
                // Where each group's begin is looked up unseen.
                let is_rising =
                    offsets.is_sorted() && offsets.last().is_some_and(|n| *n as usize == list.len());
                ensure!(is_rising, "{}: damaged", dir.join("negatives.offsets").display());
                Ok(Negatives {
                    offsets,
                    list,
                    languages: numbers("passages.languages", meta.passages)?,
                    clusters: numbers("passages.clusters", meta.passages)?,
                })
            })
            .transpose()?;
        let layout = Layout {
            name: meta.name.clone(),
            languages: meta.languages.clone(),
            groups: usize::try_from(meta.groups)?,
            questions: column("questions")?,
            passages: column("passages")?,
            distinct: distinct(&clusters),
            clusters,
            negatives,
        };
        let ids = offsets("groups.hashes", meta.groups)?;
        Ok(Self { path: dir.to_owned(), meta, questions, passages, layout, ids })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache of two groups in one language, with as many zeros as it must have.
    fn made(dir: &Path, change: impl FnOnce(&mut Meta)) -> Result<Store> {
        let mut meta = Meta {
            v: VERSION,
            languages: vec!["en".into()],
            groups: 2,
            questions: 2,
            passages: 2,
            question_tokens: 3,
            passage_tokens: 3,
            negatives: 2,
            ..Meta::default()
        };
        let zeros = [
            ("questions.offsets", 24),
            ("questions.ids", 12),
            ("questions.0.column", 8),
            ("passages.offsets", 24),
            ("passages.ids", 12),
            ("passages.0.column", 8),
            ("clusters", 8),
            ("negatives", 8),
            ("passages.languages", 8),
            ("passages.clusters", 8),
            ("groups.hashes", 16),
        ];
        for (name, bytes) in zeros {
            std::fs::write(dir.join(name), vec![0; bytes])?;
        }
        if !dir.join("negatives.offsets").exists() {
            std::fs::write(dir.join("negatives.offsets"), [0u32, 1, 2].map(u32::to_le_bytes).concat())?;
        }
        change(&mut meta);
        std::fs::write(dir.join("meta.json"), serde_json::to_vec(&meta)?)?;
        Store::open(dir)
    }

    #[test]
    fn offsets_of_negatives_that_fall_or_end_elsewhere_are_named() {
        let dir = tempfile::tempdir().expect("dir");
        let store = made(dir.path(), |_| {}).expect("whole");
        assert_eq!(store.layout.negatives_of(1, 0).collect::<Vec<_>>(), [0]);
        for wrong in [[0u32, 3, 2], [0, 1, 1], [0, 1, 1 << 27]] {
            std::fs::write(dir.path().join("negatives.offsets"), wrong.map(u32::to_le_bytes).concat())
                .expect("write");
            let error = format!("{:#}", made(dir.path(), |_| {}).expect_err("damaged"));
            assert!(error.contains("negatives.offsets: damaged"), "{error}");
        }
    }

    #[test]
    fn a_negative_that_is_no_passage_is_left_out() {
        let dir = tempfile::tempdir().expect("dir");
        let store = made(dir.path(), |_| {}).expect("whole");
        std::fs::remove_file(dir.path().join("negatives")).expect("removed");
        std::fs::write(dir.path().join("negatives"), [7u32, 1].map(u32::to_le_bytes).concat())
            .expect("write");
        let changed = Store::open(dir.path()).expect("the sizes are right");
        assert_eq!(store.layout.negatives_of(0, 0).collect::<Vec<_>>(), [0]);
        assert_eq!(changed.layout.negatives_of(0, 0).count(), 0);
        assert_eq!(changed.layout.negatives_of(1, 0).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn sizes_beyond_all_files_are_refused() {
        let dir = tempfile::tempdir().expect("dir");
        for change in [
            |meta: &mut Meta| meta.groups = u64::MAX,
            |meta: &mut Meta| meta.questions = u64::MAX,
            |meta: &mut Meta| meta.passage_tokens = 1 << 62,
        ] {
            let error = format!("{:#}", made(dir.path(), change).expect_err("damaged"));
            assert!(error.contains("damaged"), "{error}");
        }
    }
}
