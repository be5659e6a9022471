//! Which texts of a dataset are translations of each other.

use std::collections::HashSet;

use crate::corpus::Dataset;
use crate::evaluate::Embeddings;

/// Questions or passages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The parallel questions of a question id.
    Questions,
    /// The first relevant passage of a question id in each language.
    Passages,
}

impl Side {
    /// `questions` or `passages`, as in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Questions => "questions",
            Self::Passages => "passages",
        }
    }
}

/// A text of [`Parallel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub text: String,
    /// Index into the dataset's questions or passages.
    pub source: u32,
    /// Index into [`Parallel::languages`].
    pub language: u16,
    /// Index into [`Parallel::items`].
    pub item: u32,
}

/// Items (question ids), each with at most one text a language. Within a language no text comes twice: a repeated one
/// could not be told from the first, and would count as an error of retrieval that no model can avoid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parallel {
    pub side: Side,
    pub languages: Vec<String>,
    pub texts: Vec<Text>,
    /// By item and language, index into [`Parallel::texts`].
    pub items: Vec<Vec<Option<u32>>>,
    /// By item, index into the dataset's domains.
    pub domains: Vec<u16>,
    /// Texts left out because they stand in their language already.
    pub repeated: usize,
}

impl Parallel {
    /// The translations of one side of a dataset; item `i` is its group `i`.
    #[must_use]
    pub fn new(dataset: &Dataset, side: Side) -> Self {
        let languages = dataset.languages.len();
        let mut seen: Vec<HashSet<&str>> = vec![HashSet::new(); languages];
        let mut parallel = Self {
            side,
            languages: dataset.languages.clone(),
            texts: Vec::new(),
            items: Vec::new(),
            domains: dataset.groups.iter().map(|g| g.domain).collect(),
            repeated: 0,
        };
        for (item, group) in dataset.groups.iter().enumerate() {
            let mut places = vec![None; languages];
            for (language, place) in places.iter_mut().enumerate() {
                let passage = |p: &&u32| usize::from(dataset.passages[**p as usize].language) == language;
                let source = match side {
                    Side::Questions => group.questions[language],
                    Side::Passages => group.relevant.iter().find(passage).copied(),
                };
                let Some(source) = source else { continue };
                let text = match side {
                    Side::Questions => dataset.questions[source as usize].text.as_str(),
                    Side::Passages => dataset.passages[source as usize].text.as_str(),
                };
                if !seen[language].insert(text) {
                    parallel.repeated += 1;
                    continue;
                }
                *place = Some(parallel.texts.len() as u32);
                let (text, language, item) = (text.to_owned(), language as u16, item as u32);
                parallel.texts.push(Text { text, source, language, item });
            }
            parallel.items.push(places);
        }
        parallel
    }

    /// The vectors of the texts, from those of all the dataset's questions or passages.
    #[must_use]
    pub fn pick(&self, vectors: &Embeddings) -> Embeddings {
        let data = self.texts.iter().flat_map(|t| vectors.row(t.source as usize)).copied().collect();
        Embeddings { width: vectors.width, data }
    }

    /// Every item.
    #[must_use]
    pub fn all(&self) -> Vec<usize> {
        (0..self.items.len()).collect()
    }

    /// The texts of languages `a` and `b` of those items that have both, in the items' order.
    #[must_use]
    pub fn pair(&self, a: usize, b: usize, items: &[usize]) -> (Vec<u32>, Vec<u32>) {
        items.iter().filter_map(|i| self.items[*i][a].zip(self.items[*i][b])).unzip()
    }

    /// The texts of a language.
    #[must_use]
    pub fn rows(&self, language: usize, items: &[usize]) -> Vec<u32> {
        items.iter().filter_map(|i| self.items[*i][language]).collect()
    }
}
