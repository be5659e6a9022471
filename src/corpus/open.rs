//! From a dataset's name to its contents.

use anyhow::{Context, Result, bail, ensure};

use super::{Dataset, beir, xquadr};
use crate::spec::{Candidate, DatasetRef};

/// What the catalogue knows of a dataset before it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    pub name: &'static str,
    /// One line for a list.
    pub description: &'static str,
    pub languages: &'static [&'static str],
    pub licence: &'static str,
    /// Parts that `NAME[PART]` accepts, in words.
    pub parts: &'static str,
    /// True where a path must be given.
    pub needs_path: bool,
}

const ELEVEN: &[&str] = &["ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"];

const ALL: &[Catalogue] = &[
    Catalogue {
        name: "demo",
        description: "parallel questions and passages of facts, made for this program",
        languages: ELEVEN,
        licence: "CC0-1.0",
        parts: "train, validation, evaluation",
        needs_path: false,
    },
    Catalogue {
        name: "xquad-r",
        description: "LAReQA's sentence retrieval over XQuAD (Roy et al. 2020); an evaluation set",
        languages: ELEVEN,
        licence: "CC-BY-SA-4.0",
        parts: "a range of its 48 articles, such as 0..24",
        needs_path: true,
    },
    Catalogue {
        name: "beir",
        description: "any folder in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/",
        languages: &["en"],
        licence: "the folder's own",
        parts: "a split of qrels/ and a language, such as test:de; test and en without it",
        needs_path: true,
    },
];

impl Catalogue {
    /// Every dataset that [`open`] can read.
    #[must_use]
    pub const fn all() -> &'static [Self] {
        ALL
    }
}

/// Opens a dataset.
///
/// # Errors
/// Unknown names list the known ones; a missing path, a missing or broken file, an unknown part each give one
/// error with the file, the field and the remedy.
pub fn open(dataset: &DatasetRef, candidate: Candidate) -> Result<Dataset> {
    let Some(entry) = ALL.iter().find(|e| e.name == dataset.name) else {
        let known: Vec<&str> = ALL.iter().map(|e| e.name).collect();
        bail!("dataset '{dataset}': unknown; polymix knows {}", known.join(", "));
    };
    ensure!(
        entry.needs_path || dataset.path.is_none(),
        "dataset '{dataset}': '{}' is bundled and takes no path",
        entry.name
    );
    match entry.name {
        "xquad-r" => {
            let path = dataset.path.as_deref().with_context(|| {
                format!("dataset '{dataset}': give the directory with en.json and the others, as xquad-r=DIR")
            })?;
            xquadr::open(path, dataset, candidate)
        }
        "beir" => {
            let path = dataset.path.as_deref().with_context(|| {
                format!("dataset '{dataset}': give the directory with corpus.jsonl, as beir=DIR")
            })?;
            beir::open(path, dataset)
        }
        _ => super::demo::open(dataset),
    }
    .with_context(|| format!("dataset '{dataset}'"))
}
