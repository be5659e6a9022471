//! What the plan must know of a dataset: numbers only, in memory or mapped from a token cache.
//!
//! By language a column with each group's question and one with its relevant passage, and for each group its cluster:
//! groups of one cluster conflict and never stand in one batch. No text is held, so the plan over forty million pairs
//! costs what is looked at.

use std::collections::HashMap;

use super::clusters::{Clusters, text_hash};
use super::kind::Kind;
use crate::corpus::Dataset;
use crate::mapped::Numbers;

/// No question, no passage, no cluster.
pub const NONE: u32 = u32::MAX;

/// The hard negatives of all groups.
#[derive(Clone, Debug, Default)]
pub struct Negatives {
    /// Group `g` has `list[offsets[g]..offsets[g + 1]]`.
    pub offsets: Numbers,
    /// Passages.
    pub list: Numbers,
    /// By passage its language.
    pub languages: Numbers,
    /// By passage the cluster of the groups that it answers, by its text; [`NONE`] where it answers none.
    pub clusters: Numbers,
}

/// A dataset as the plan sees it.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    pub name: String,
    pub languages: Vec<String>,
    /// Question ids.
    pub groups: usize,
    /// By language, by group: its question or [`NONE`].
    pub questions: Vec<Numbers>,
    /// By language, by group: its first relevant passage or [`NONE`].
    pub passages: Vec<Numbers>,
    /// By group.
    pub clusters: Numbers,
    /// How many different clusters there are.
    pub distinct: usize,
    /// Absent where the data have none.
    pub negatives: Option<Negatives>,
}

impl Layout {
    /// The layout of a dataset in memory.
    #[must_use]
    pub fn of(dataset: &Dataset) -> Self {
        let (groups, languages) = (dataset.groups.len(), dataset.languages.len());
        let mut questions = vec![vec![NONE; groups]; languages];
        let mut passages = vec![vec![NONE; groups]; languages];
        let mut clusters = Clusters::default();
        for (index, group) in dataset.groups.iter().enumerate() {
            clusters.group();
            for (language, question) in group.questions.iter().enumerate() {
                questions[language][index] = question.unwrap_or(NONE);
            }
            for &passage in &group.relevant {
                let at = &dataset.passages[passage as usize];
                let slot = &mut passages[usize::from(at.language)][index];
                if *slot == NONE {
                    *slot = passage;
                }
                clusters.relevant(index as u32, text_hash(&at.text));
            }
        }
        let (of_groups, owners) = clusters.finish();
        let negatives = (!dataset.negatives.is_empty()).then(|| {
            let mut offsets = vec![0u32];
            let mut list = Vec::new();
            for own in &dataset.negatives {
                list.extend_from_slice(own);
                offsets.push(list.len() as u32);
            }
            let owner = |text: &str| owners.get(&text_hash(text)).map_or(NONE, |g| of_groups[*g as usize]);
            Negatives {
                offsets: offsets.into(),
                list: list.into(),
                languages: dataset.passages.iter().map(|p| u32::from(p.language)).collect::<Vec<_>>().into(),
                clusters: dataset.passages.iter().map(|p| owner(&p.text)).collect::<Vec<_>>().into(),
            }
        });
        Self {
            name: dataset.name.clone(),
            languages: dataset.languages.clone(),
            groups,
            questions: questions.into_iter().map(Into::into).collect(),
            passages: passages.into_iter().map(Into::into).collect(),
            distinct: distinct(&of_groups),
            clusters: of_groups.into(),
            negatives,
        }
    }

    /// The columns of those of these languages that the data have.
    #[must_use]
    pub fn columns(&self, languages: &[String]) -> Vec<usize> {
        languages.iter().filter_map(|l| self.languages.iter().position(|own| own == l)).collect()
    }

    /// True where a group has a question and an answer in these columns that make a pair of this kind.
    #[must_use]
    pub fn has(&self, group: u32, columns: &[usize], kind: Kind) -> bool {
        let asks = |column: &usize| self.questions[*column][group as usize] != NONE;
        let answers = |column: &usize| self.passages[*column][group as usize] != NONE;
        match kind {
            Kind::Mono | Kind::Same => columns.iter().any(|column| asks(column) && answers(column)),
            Kind::Multi => columns.iter().any(asks) && columns.iter().any(answers),
            Kind::Cross => {
                let (mut questions, mut passages, mut both) = (0, 0, 0);
                columns.iter().any(|column| {
                    let (question, passage) = (asks(column), answers(column));
                    questions += usize::from(question);
                    passages += usize::from(passage);
                    both += usize::from(question && passage);
                    // All but those whose question and passage have the same language.
                    questions * passages > both
                })
            }
        }
    }

    /// How many groups (question ids) have a pair of one of these kinds, each in its columns.
    #[must_use]
    pub fn count(&self, wanted: &[(Kind, &[usize])]) -> usize {
        let has = |group: &u32| wanted.iter().any(|(kind, columns)| self.has(*group, columns, *kind));
        (0..self.groups as u32).filter(has).count()
    }

    /// A group's hard negatives in a language (an index into [`Layout::languages`]).
    pub fn negatives_of(&self, group: u32, language: u32) -> impl Iterator<Item = u32> + '_ {
        self.negatives.iter().flat_map(move |n| {
            let (start, end) = (n.offsets[group as usize], n.offsets[group as usize + 1]);
            let own = &n.list[start as usize..end as usize];
            own.iter().copied().filter(move |p| n.languages.get(*p as usize) == Some(&language))
        })
    }
}

/// How many different clusters: a cluster's number is its first group's.
#[must_use]
pub fn distinct(clusters: &[u32]) -> usize {
    clusters.iter().enumerate().filter(|(index, cluster)| **cluster == *index as u32).count()
}

/// First group by hash of a relevant passage's text.
pub type Owners = HashMap<u64, u32, std::hash::BuildHasherDefault<super::clusters::Plain>>;
