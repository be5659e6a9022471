//! One dataset of a plan: which kinds of batch it can give, and which pairs.

use anyhow::{Result, bail, ensure};

use super::fitting::Fitting;
use super::kind::Kind;
use super::layout::{Layout, NONE};
use super::plan::Pair;
use crate::corpus::LanguageId;
use crate::mapped::Numbers;
use crate::spec::Weights;
use crate::stream::Stream;

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
    /// Groups with a pair in the plan's languages, of a kind that is asked for; where all languages are the plan's, all groups.
    pub groups: usize,
    /// By kind that is asked for, in the order of [`Kind::ALL`]: how many of its pairs fit one batch, a batch at most.
    most: [usize; 4],
    /// By kind that is asked for, which groups have a pair of it; of X-X-mono, by plan language.
    fitting: [Vec<Fitting>; 4],
}

impl Source {
    /// A dataset without a share (`has_share`) may be too small for a batch. Where the spec leaves out languages of the data
    /// (`is_narrowed`), groups are counted; else all count.
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
        let own = layout.columns(languages);
        let mut source = Self {
            groups: layout.groups,
            layout,
            columns,
            mono: Vec::new(),
            weight: 0.0,
            most: [0; 4],
            fitting: Default::default(),
        };
        if is_narrowed {
            let wanted: Vec<_> = asked(weights).map(|kind| (kind, own.as_slice())).collect();
            source.groups = source.layout.count(&wanted);
        }
        let layout = &source.layout;
        let clusters = &layout.clusters;
        for kind in asked(weights) {
            let (fitting, most): (Vec<Fitting>, Vec<usize>) = if kind == Kind::Mono {
                let of_language = |column: &Option<usize>| {
                    let column = column.map(|column| [column]);
                    let fits = |group: u32| column.is_some_and(|column| layout.has(group, &column, kind));
                    let fitting = Fitting::of(layout.groups, fits);
                    let most = fitting.distinct(batch, clusters, fits);
                    (fitting, most)
                };
                source.columns.iter().map(of_language).unzip()
            } else {
                let fits = |group: u32| layout.has(group, &own, kind);
                let fitting = Fitting::of(layout.groups, fits);
                let most = fitting.distinct(batch, clusters, fits);
                (vec![fitting], vec![most])
            };
            if kind == Kind::Mono {
                let languages = (0..).zip(&most);
                source.mono = languages.filter(|(_, most)| **most == batch).map(|(l, _)| l).collect();
            }
            source.most[kind as usize] = most.into_iter().max().unwrap_or(0);
            source.fitting[kind as usize] = fitting;
        }
        Ok(source)
    }

    /// Which groups have a pair of this kind, which is asked for; of X-X-mono in this language.
    pub fn fitting(&self, kind: Kind, language: Option<LanguageId>) -> &Fitting {
        &self.fitting[kind as usize][language.map_or(0, usize::from)]
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

    /// Question and passage language of a pair of this kind that a group has: each of them is as likely. `None` where it has none.
    pub fn choose(&self, group: u32, kind: Kind, draw: &mut Stream) -> Option<(LanguageId, LanguageId)> {
        let there = |columns: &[Numbers], column: Option<usize>| {
            column.is_some_and(|column| columns[column][group as usize] != NONE)
        };
        let (mut asks, mut answers, mut both) = (Vec::new(), Vec::new(), Vec::new());
        for (language, column) in self.columns.iter().enumerate() {
            let (question, passage) =
                (there(&self.layout.questions, *column), there(&self.layout.passages, *column));
            let language = language as LanguageId;
            asks.extend(question.then_some(language));
            answers.extend(passage.then_some(language));
            both.extend((question && passage).then_some(language));
        }
        let all = asks.len() * answers.len();
        let total = match kind {
            Kind::Mono | Kind::Same => both.len(),
            Kind::Cross => all - both.len(),
            Kind::Multi => all,
        };
        if total == 0 {
            return None;
        }
        let mut index = draw.below(total);
        match kind {
            Kind::Mono | Kind::Same => Some((both[index], both[index])),
            Kind::Multi => Some((asks[index / answers.len()], answers[index % answers.len()])),
            Kind::Cross => asks.into_iter().find_map(|question| {
                let mut others = answers.iter().filter(|passage| **passage != question);
                let count = others.clone().count();
                if index < count {
                    return others.nth(index).map(|passage| (question, *passage));
                }
                index -= count;
                None
            }),
        }
    }

    /// Kinds of the plan's that it is drawn for; none without a share.
    fn kinds(&self, weights: Weights, batch: usize) -> impl Iterator<Item = Kind> {
        asked(weights).filter(move |kind| self.weight > 0.0 && self.most(*kind) == batch)
    }

    /// Plan languages that batches of these kinds are drawn in.
    pub fn drawn(&self, weights: Weights, batch: usize) -> Vec<LanguageId> {
        let kinds: Vec<Kind> = self.kinds(weights, batch).collect();
        let is_drawn = |language: &LanguageId| {
            let has_column = self.columns[usize::from(*language)].is_some();
            kinds.iter().any(|k| if *k == Kind::Mono { self.mono.contains(language) } else { has_column })
        };
        (0..self.columns.len() as LanguageId).filter(is_drawn).collect()
    }

    /// How many groups have a pair that batches of these kinds may hold.
    pub fn drawn_groups(&self, weights: Weights, batch: usize) -> usize {
        let mono: Vec<usize> = self.mono.iter().filter_map(|l| self.columns[usize::from(*l)]).collect();
        let all: Vec<usize> = self.columns.iter().flatten().copied().collect();
        let columns = |kind| if kind == Kind::Mono { mono.as_slice() } else { all.as_slice() };
        let wanted: Vec<_> = self.kinds(weights, batch).map(|kind| (kind, columns(kind))).collect();
        self.layout.count(&wanted)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What stood here before looked at every pair of languages; runs go on with the batches that it gave.
    #[test]
    fn languages_are_chosen_as_from_a_list_of_all_pairs() {
        let mut gaps = Stream::new(1, "gaps", 0);
        let mut column =
            || (0..60u32).map(|g| if gaps.below(2) == 0 { NONE } else { g }).collect::<Vec<_>>().into();
        let names: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let layout = Layout {
            languages: names[1..].to_vec(),
            groups: 60,
            questions: (0..3).map(|_| column()).collect(),
            passages: (0..3).map(|_| column()).collect(),
            clusters: (0..60).collect::<Vec<u32>>().into(),
            distinct: 60,
            ..Layout::default()
        };
        let weights = Weights { mono: 0.0, cross: 0.5, same: 0.25, multi: 0.25 };
        let source = Source::new(layout, (&names, false), 2, weights, true).expect("source");
        for kind in asked(weights) {
            for group in 0..60 {
                let is_kind = |a: LanguageId, b: LanguageId| match kind {
                    Kind::Cross => a != b,
                    Kind::Multi => true,
                    _ => a == b,
                };
                let all: Vec<_> = (0..4)
                    .flat_map(|a| (0..4).map(move |b| (a, b)))
                    .filter(|(a, b)| is_kind(*a, *b) && source.pair(group, *a, *b).is_some())
                    .collect();
                let (mut one, mut other) = (Stream::new(2, "draw", 0), Stream::new(2, "draw", 0));
                let wanted = (!all.is_empty()).then(|| all[one.below(all.len())]);
                assert_eq!(source.choose(group, kind, &mut other), wanted, "{kind} {group}");
                assert_eq!(one.next_u64(), other.next_u64(), "as many draws");
            }
        }
    }
}
