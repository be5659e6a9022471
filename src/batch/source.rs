//! One dataset of a plan: which kinds of batch it can give, and which pairs.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use anyhow::{Result, bail, ensure};

use super::clusters::Plain;
use super::kind::Kind;
use super::layout::{Layout, NONE};
use super::plan::Pair;
use crate::corpus::LanguageId;
use crate::spec::Weights;

/// Clusters, or passages, of a batch.
pub type Taken = HashSet<u32, BuildHasherDefault<Plain>>;

/// A dataset that a plan draws from.
#[derive(Clone, Debug)]
pub struct Source {
    pub layout: Layout,
    /// By plan language its column in the layout.
    pub columns: Vec<Option<usize>>,
    /// Languages with at least a batch of pairs of their own, for X-X-mono.
    pub mono: Vec<LanguageId>,
    /// Share of the batches, not normalised.
    pub weight: f64,
    /// Groups with a pair in the plan's languages, of a kind that is asked for.
    pub groups: usize,
    /// By kind that is asked for, in the order of [`Kind::ALL`]: how many of its pairs fit one batch, a batch at most.
    most: [usize; 4],
}

impl Source {
    /// A dataset without a share (`has_share`) may be too small for a batch. Where the spec narrows the languages (`is_narrowed`), groups
    /// are counted; else all count.
    pub fn new(
        layout: Layout,
        (languages, is_narrowed): (&[String], bool),
        batch: usize,
        weights: Weights,
        has_share: bool,
    ) -> Result<Self> {
        let columns = languages.iter().map(|l| layout.languages.iter().position(|own| own == l)).collect();
        ensure!(
            !has_share || layout.distinct >= batch,
            "dataset '{}': {} question ids make {} groups that do not conflict, too few for train.batch = {batch}; {}",
            layout.name,
            layout.groups,
            layout.distinct,
            fewer(layout.distinct)
        );
        let groups = layout.groups;
        let mut source = Self { layout, columns, mono: Vec::new(), weight: 0.0, groups, most: [0; 4] };
        if is_narrowed {
            let all = 0..groups as u32;
            source.groups = all.filter(|group| asked(weights).any(|kind| source.has(*group, kind))).count();
        }
        for (index, (kind, weight)) in Kind::ALL.into_iter().zip(weights.to_array()).enumerate() {
            if weight == 0.0 {
                continue;
            }
            source.most[index] = match kind {
                Kind::Mono => {
                    let all = 0..languages.len() as LanguageId;
                    let found: Vec<(LanguageId, usize)> = all
                        .map(|l| (l, source.distinct(batch, |group| source.pair(group, l, l).is_some())))
                        .collect();
                    source.mono = found.iter().filter(|(_, most)| *most == batch).map(|(l, _)| *l).collect();
                    found.into_iter().map(|(_, most)| most).max().unwrap_or(0)
                }
                _ => source.distinct(batch, |group| source.has(group, kind)),
            };
        }
        Ok(source)
    }

    /// How many pairs of this kind, which is asked for, fit one batch of the plan; no more than a batch is counted.
    pub const fn most(&self, kind: Kind) -> usize {
        self.most[kind as usize]
    }

    /// The pair of a group in these languages, if it has one.
    pub fn pair(&self, group: u32, a: LanguageId, b: LanguageId) -> Option<Pair> {
        let question = self.layout.questions[self.columns[usize::from(a)]?][group as usize];
        let passage = self.layout.passages[self.columns[usize::from(b)]?][group as usize];
        let there = question != NONE && passage != NONE;
        there.then_some(Pair { group, question, passage, query_language: a, passage_language: b })
    }

    /// How many clusters have a group that fits; stops at `enough`.
    fn distinct(&self, enough: usize, fits: impl Fn(u32) -> bool) -> usize {
        let mut clusters = Taken::default();
        for group in 0..self.layout.groups as u32 {
            if clusters.len() >= enough {
                break;
            }
            if fits(group) {
                clusters.insert(self.layout.clusters[group as usize]);
            }
        }
        clusters.len()
    }

    /// True where a group has a pair of this kind in the plan's languages.
    fn has(&self, group: u32, kind: Kind) -> bool {
        let at = |columns: &[crate::mapped::Numbers], column: usize| columns[column][group as usize] != NONE;
        let (mut questions, mut passages, mut both) = (0, 0, 0);
        for column in self.columns.iter().flatten() {
            let (question, passage) =
                (at(&self.layout.questions, *column), at(&self.layout.passages, *column));
            questions += usize::from(question);
            passages += usize::from(passage);
            both += usize::from(question && passage);
        }
        match kind {
            Kind::Mono | Kind::Same => both > 0,
            // All but those whose question and passage have the same language.
            Kind::Cross => questions * passages > both,
            Kind::Multi => questions * passages > 0,
        }
    }
}

/// Refuses kinds that no dataset can give, and datasets that can give none of the kinds.
pub fn check(sources: &[Source], weights: Weights, batch: usize) -> Result<()> {
    let asked: Vec<Kind> = asked(weights).collect();
    for source in sources.iter().filter(|s| s.weight > 0.0) {
        if asked.iter().any(|kind| source.most(*kind) == batch) {
            continue;
        }
        let most = asked.iter().map(|kind| source.most(*kind)).max().unwrap_or(0);
        let kinds = asked.iter().map(|kind| described(*kind)).collect::<Vec<_>>().join(" or of ");
        bail!(
            "dataset '{}': no {batch} pairs of {kinds} for a batch; {}",
            source.layout.name,
            if most >= 2 {
                format!(
                    "at most {most} fit: set train.batch to at most {most}, or leave it out of data.train"
                )
            } else {
                other_kinds(&asked)
            }
        );
    }
    for kind in asked {
        let most = sources.iter().filter(|s| s.weight > 0.0).map(|s| s.most(kind)).max().unwrap_or(0);
        ensure!(
            most == batch,
            "sampling: no dataset of data.train has {batch} pairs of {} for a {kind} batch; {}",
            described(kind),
            if most >= 2 {
                fewer(most)
            } else {
                other_kinds(&[kind]).replace(", or leave it out of data.train", "")
            }
        );
    }
    Ok(())
}

/// What to say of datasets that give some of the kinds only.
pub fn notes(sources: &[Source], weights: Weights, batch: usize) -> Vec<String> {
    let mut notes = Vec::new();
    for source in sources.iter().filter(|s| s.weight > 0.0) {
        let (fills, lacks): (Vec<Kind>, Vec<Kind>) =
            asked(weights).partition(|kind| source.most(*kind) == batch);
        if lacks.is_empty() {
            continue;
        }
        let labels = |kinds: &[Kind]| kinds.iter().map(|k| k.label()).collect::<Vec<_>>().join(" and ");
        notes.push(format!(
            "dataset '{}' is drawn for {} batches only: it has no {batch} pairs of {}",
            source.layout.name,
            labels(&fills),
            lacks.iter().map(|kind| described(*kind)).collect::<Vec<_>>().join(", or of ")
        ));
    }
    notes
}

/// The kinds that a plan draws.
fn asked(weights: Weights) -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().zip(weights.to_array()).filter(|(_, weight)| *weight > 0.0).map(|(kind, _)| kind)
}

/// What pairs of a kind are, for messages.
const fn described(kind: Kind) -> &'static str {
    match kind {
        Kind::Mono => "one language",
        Kind::Cross => "two languages (translations that share a question id)",
        Kind::Same => "a language with itself",
        Kind::Multi => "question and passage",
    }
}

/// What to do where the data have no pairs of these kinds at all.
fn other_kinds(kinds: &[Kind]) -> String {
    let other = match kinds {
        [Kind::Cross] => "set sampling.alpha = 1 for X-X-mono batches alone",
        [Kind::Mono] => "set sampling.alpha = 0 for X-Y batches alone",
        _ => "draw another kind of batch (sampling)",
    };
    format!(
        "{other}, or leave it out of data.train, or choose data that have them (languages leaves some out)"
    )
}

/// What to do where only so many pairs fit a batch.
pub fn fewer(pairs: usize) -> String {
    match pairs {
        0 | 1 => "add data: a batch needs two pairs at least".into(),
        most => format!("set train.batch to at most {most}, or add data"),
    }
}
