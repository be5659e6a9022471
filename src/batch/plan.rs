//! From a step to its batch.

use std::hash::BuildHasherDefault;

use anyhow::{Result, bail, ensure};

use super::fitting::Taken;
use super::kind::Kind;
use super::layout::Layout;
use super::permute::{Permutation, permute, rounds};
use super::source::{self, Source};
use crate::corpus::{Dataset, LanguageId};
use crate::spec::{ExperimentSpec, PlanSchedule, Weights};
use crate::stream::{Stream, key};

/// Groups drawn at random, by tens, until all are looked at in turn.
const MOST_DRAWN: usize = 1_000_000;

/// One question with the passage that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Index into the source dataset's groups.
    pub group: u32,
    /// Index into the source dataset's questions.
    pub question: u32,
    /// Index into the source dataset's passages.
    pub passage: u32,
    /// Index into [`Plan::languages`].
    pub query_language: LanguageId,
    /// Index into [`Plan::languages`].
    pub passage_language: LanguageId,
}

/// The pairs of one training step. All come from one dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub step: usize,
    pub kind: Kind,
    /// Index into the datasets that the plan was made from.
    pub source: usize,
    /// The one language of an X-X-mono batch, an index into [`Plan::languages`].
    pub language: Option<LanguageId>,
    pub pairs: Vec<Pair>,
    /// Hard negatives, indices into the source's passages: further passages that answer no question of the batch.
    pub negatives: Vec<u32>,
}

impl Batch {
    /// All its passages: the answers in the questions' order, then the hard negatives.
    pub fn passages(&self) -> impl Iterator<Item = u32> + '_ {
        self.pairs.iter().map(|p| p.passage).chain(self.negatives.iter().copied())
    }
}

/// The batch plan of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Language codes that pairs are drawn from.
    pub languages: Vec<String>,
    weights: Weights,
    schedule: PlanSchedule,
    batch: usize,
    /// Most hard negatives a question.
    hard_negatives: usize,
    seed: u64,
    sources: Vec<Source>,
}

impl Plan {
    /// The plan for these training datasets.
    ///
    /// # Errors
    /// A language that no dataset has, or data too small for a batch without conflicts.
    pub fn new(spec: &ExperimentSpec, datasets: &[Dataset]) -> Result<Self> {
        Self::from_layouts(spec, datasets.iter().map(Layout::of).collect())
    }

    /// The same from what the plan must know of the data.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn from_layouts(spec: &ExperimentSpec, layouts: Vec<Layout>) -> Result<Self> {
        let weights = spec.sampling.weights()?;
        let languages = languages(spec, &layouts)?;
        ensure!(
            languages.len() > 1 || weights.cross == 0.0,
            "sampling: X-Y batches need at least two languages, but the training data have only {languages:?}"
        );
        let batch = spec.train.batch;
        let leaves_out = |layout: &Layout| layout.languages.iter().any(|l| !languages.contains(l));
        let drawn = (languages.as_slice(), layouts.iter().any(leaves_out));
        let has_share = |index: usize| spec.data.mixture.weights.get(index).is_none_or(|w| *w > 0.0);
        let mut sources: Vec<Source> = layouts
            .into_iter()
            .enumerate()
            .map(|(index, layout)| Source::new(layout, drawn, batch, weights, has_share(index)))
            .collect::<Result<_>>()?;
        let sizes: Vec<usize> = sources.iter().map(|s| s.groups.max(1)).collect();
        for (source, share) in sources.iter_mut().zip(spec.data.mixture.shares(&sizes)?) {
            source.weight = share;
        }
        source::check(&sources, weights, batch)?;
        Ok(Self {
            languages,
            weights,
            schedule: spec.sampling.schedule,
            batch,
            hard_negatives: spec.train.hard_negatives,
            seed: spec.seed,
            sources,
        })
    }

    /// Groups that have a pair to draw, of all sources that have a share.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.with_share().map(|s| s.groups).sum()
    }

    /// Sources that batches are drawn from.
    fn with_share(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|s| s.weight > 0.0)
    }

    /// True where batches are drawn from this source: its weight is not 0.
    #[must_use]
    pub fn is_drawn(&self, source: usize) -> bool {
        self.sources[source].weight > 0.0
    }

    /// What is trained on of a source: the languages that batches are drawn in, and how many of its question ids have a pair
    /// for one. Nothing of a source of weight 0. All groups are looked at.
    #[must_use]
    pub fn trained(&self, source: usize) -> (Vec<String>, usize) {
        let source = &self.sources[source];
        let languages = source.drawn(self.weights, self.batch);
        let codes = languages.iter().map(|l| self.languages[usize::from(*l)].clone()).collect();
        (codes, source.drawn_groups(self.weights, self.batch))
    }

    /// Languages of [`Plan::languages`] that no batch is drawn in: those of datasets of weight 0, and where all batches are
    /// X-X-mono those of [`Plan::without_mono`].
    #[must_use]
    pub fn undrawn(&self) -> Vec<String> {
        let drawn: Vec<LanguageId> =
            self.sources.iter().flat_map(|s| s.drawn(self.weights, self.batch)).collect();
        let all = (0..).zip(&self.languages);
        all.filter(|(l, _)| !drawn.contains(l)).map(|(_, code)| code.clone()).collect()
    }

    /// True where batches have hard negatives: the data have some and the spec takes them.
    #[must_use]
    pub fn has_negatives(&self) -> bool {
        self.hard_negatives > 0 && self.with_share().any(|s| s.layout.negatives.is_some())
    }

    /// Languages that never have an X-X-mono batch, because no dataset has a batch of pairs of theirs; empty where the spec asks
    /// for no such batches.
    #[must_use]
    pub fn without_mono(&self) -> Vec<&str> {
        let has = |l: usize| self.with_share().any(|s| s.mono.iter().any(|own| usize::from(*own) == l));
        let all = self.languages.iter().enumerate().filter(|_| self.weights.mono > 0.0);
        all.filter(|(l, _)| !has(*l)).map(|(_, code)| code.as_str()).collect()
    }

    /// What to say of datasets that give only some of the kinds of batch, and of languages without X-X-mono batches.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = source::notes(&self.sources, self.weights, self.batch);
        let few = self.without_mono();
        if !few.is_empty() {
            notes.push(format!(
                "no X-X-mono batches in {}: fewer than {} pairs that fit one batch (train.batch)",
                few.join(", "),
                self.batch
            ));
        }
        notes
    }

    /// The batch of a step (from 0). The same (spec, data, step) always gives the same batch.
    ///
    /// # Errors
    /// None that [`Plan::from_layouts`] does not find first.
    pub fn batch(&self, step: usize) -> Result<Batch> {
        let (kind, before) = Kind::at(self.weights, self.schedule, self.seed, step);
        let mut draw = Stream::new(self.seed, "plan", step as u64);
        let index = match self.sources.as_slice() {
            [_] => 0,
            many => {
                // Only datasets that have a batch of this kind.
                let weight = |s: &Source| if s.most(kind) == self.batch { s.weight } else { 0.0 };
                draw.weighted(&many.iter().map(weight).collect::<Vec<_>>()).unwrap_or(0)
            }
        };
        let source = &self.sources[index];
        let language = (kind == Kind::Mono).then(|| {
            // Languages in turn, in an order that changes each round: equal counts whatever the ratio.
            let n = source.mono.len();
            let round = key(self.seed, "mono language", (before / n) as u64);
            source.mono[permute(round, n, before % n)]
        });
        let (pairs, taken) = self.fill(source, kind, language, step, &mut draw)?;
        let negatives = self.negatives(source, &pairs, &taken, step);
        Ok(Batch { step, kind, source: index, language, pairs, negatives })
    }

    fn fill(
        &self,
        source: &Source,
        kind: Kind,
        language: Option<LanguageId>,
        step: usize,
        draw: &mut Stream,
    ) -> Result<(Vec<Pair>, Taken)> {
        let n = source.layout.groups;
        let mut pairs: Vec<Pair> = Vec::with_capacity(self.batch);
        let mut taken = Taken::with_capacity_and_hasher(2 * self.batch, BuildHasherDefault::default());
        let fitting = source.fitting(kind, language);
        // Where few fit, draws would be in vain: all of them come in turn at once.
        let (attempts, most) = match fitting.few() {
            Some(few) => (self.batch, few.len()),
            None => (50 * self.batch + 10 * n.min(MOST_DRAWN), n),
        };
        let (start, layout) = (step * self.batch, &source.layout);
        let order = rounds(start, self.batch, n, |round| key(self.seed, "epoch", round));
        // Far apart in a large file: asked for together, so that they come together.
        let of_order: Vec<u32> = order.iter().map(|group| layout.clusters[*group]).collect();
        let turns = self.turns(kind, start);
        let mut next = order.into_iter().zip(of_order);
        let all = Permutation::new(key(self.seed, "all", step as u64), most);
        let last = |place: usize| fitting.few().map_or(place, |few| few[place] as usize);
        for attempt in 0..attempts + most {
            // First the epoch's own order, so that every group has its turn; then, for what did not fit, any; at last all
            // of them, so that a batch is found where there is one.
            let (group, known) = next.next().map_or_else(
                || {
                    let is_drawn = attempt < attempts;
                    (if is_drawn { draw.below(n) } else { last(all.at(attempt - attempts)) }, None)
                },
                |(group, cluster)| (group, Some(cluster)),
            );
            if !fitting.may(group) {
                continue;
            }
            let cluster = known.unwrap_or_else(|| layout.clusters[group]);
            if taken.contains(&cluster) {
                continue;
            }
            let turn = turns.get(pairs.len()).copied().unwrap_or_default();
            if let Some(pair) = Self::pair(source, group as u32, kind, language, turn, draw) {
                taken.insert(cluster);
                pairs.push(pair);
                if pairs.len() == self.batch {
                    return Ok((pairs, taken));
                }
            }
        }
        bail!("step {}: only {} of {} pairs fit a {kind} batch", step + 1, pairs.len(), self.batch)
    }

    /// Hard negatives of the pairs, each in the language of the pair's passage. One that answers a question of the
    /// batch, or has the text of a passage that does, is none: it is left out.
    fn negatives(&self, source: &Source, pairs: &[Pair], taken: &Taken, step: usize) -> Vec<u32> {
        let mut found = Vec::new();
        let Some(negatives) = source.layout.negatives.as_ref().filter(|_| self.hard_negatives > 0) else {
            return found;
        };
        let mut draw = Stream::new(self.seed, "negatives", step as u64);
        let mut used = Taken::default();
        for pair in pairs {
            let Some(column) = source.columns[usize::from(pair.passage_language)] else { continue };
            let own: Vec<u32> = source.layout.negatives_of(pair.group, column as u32).collect();
            let start = draw.below(own.len());
            let fits = |p: &&u32| !taken.contains(&negatives.clusters[**p as usize]);
            let turned = own[start..].iter().chain(&own[..start]);
            let new = turned.filter(fits).filter(|p| used.insert(**p)).take(self.hard_negatives);
            found.extend(new);
        }
        found
    }

    /// How many combinations of languages a pair of this kind can have.
    const fn combinations(&self, kind: Kind) -> usize {
        let n = self.languages.len();
        match kind {
            Kind::Mono | Kind::Same => n,
            Kind::Cross => n * (n - 1),
            Kind::Multi => n * n,
        }
    }

    /// Question and passage language of a combination.
    const fn combined(&self, kind: Kind, index: usize) -> (LanguageId, LanguageId) {
        let n = self.languages.len();
        let (a, b) = match kind {
            Kind::Mono | Kind::Same => (index, index),
            Kind::Cross => {
                let (a, b) = (index / (n - 1), index % (n - 1));
                (a, if b >= a { b + 1 } else { b })
            }
            Kind::Multi => (index / n, index % n),
        };
        (a as LanguageId, b as LanguageId)
    }

    /// Whose turn it is at each place of a batch. Language pairs come in turn: after each round every pair was drawn
    /// equally often. An X-X-mono batch has one language, and no turns.
    fn turns(&self, kind: Kind, start: usize) -> Vec<(LanguageId, LanguageId)> {
        if kind == Kind::Mono {
            return Vec::new();
        }
        let turns =
            rounds(start, self.batch, self.combinations(kind), |round| key(self.seed, kind.label(), round));
        turns.into_iter().map(|index| self.combined(kind, index)).collect()
    }

    /// A pair of this group, in the languages whose turn it is if the group has them.
    fn pair(
        source: &Source,
        group: u32,
        kind: Kind,
        language: Option<LanguageId>,
        (a, b): (LanguageId, LanguageId),
        draw: &mut Stream,
    ) -> Option<Pair> {
        if let Some(language) = language {
            return source.pair(group, language, language);
        }
        source.pair(group, a, b).or_else(|| {
            let (a, b) = source.choose(group, kind, draw)?;
            source.pair(group, a, b)
        })
    }
}

/// The spec's languages, or all that the data have.
fn languages(spec: &ExperimentSpec, layouts: &[Layout]) -> Result<Vec<String>> {
    let mut found: Vec<String> = layouts.iter().flat_map(|l| l.languages.iter().cloned()).collect();
    found.sort();
    found.dedup();
    for language in &spec.languages {
        ensure!(
            found.contains(language),
            "languages: '{language}' is in none of the training datasets; they have {}",
            found.join(", ")
        );
    }
    Ok(if spec.languages.is_empty() { found } else { spec.languages.clone() })
}
