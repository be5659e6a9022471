//! Reading a token cache.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::batch::{Layout, Negatives, distinct};
use crate::corpus::Input;
use crate::mapped::{Numbers, Offsets};

/// Version of the directory's format.
pub const VERSION: u32 = 1;

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
                offsets: offsets(&format!("{side}.offsets"), texts + 1)?,
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
                Ok(Negatives {
                    offsets: numbers("negatives.offsets", meta.groups + 1)?,
                    list: numbers("negatives", meta.negatives)?,
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
