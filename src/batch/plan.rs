//! From a step to its batch.

use std::collections::HashSet;

use anyhow::{Result, bail, ensure};

use super::clusters::clusters;
use super::kind::Kind;
use super::permute::permute;
use crate::corpus::{Dataset, LanguageId};
use crate::spec::{ExperimentSpec, PlanSchedule, Weights};
use crate::stream::{Stream, key};

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
}

/// A group as the plan sees it: by plan language, its question and its passages.
#[derive(Clone, Debug)]
struct Member {
    questions: Vec<Option<u32>>,
    passages: Vec<Option<u32>>,
}

impl Member {
    fn pair(&self, group: u32, a: LanguageId, b: LanguageId) -> Option<Pair> {
        let question = self.questions[usize::from(a)]?;
        let passage = self.passages[usize::from(b)]?;
        Some(Pair { group, question, passage, query_language: a, passage_language: b })
    }
}

#[derive(Clone, Debug)]
struct Source {
    members: Vec<Member>,
    clusters: Vec<u32>,
    /// Languages with at least a batch of pairs of their own, for X-X-mono.
    mono: Vec<LanguageId>,
}

/// The batch plan of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Language codes that pairs are drawn from.
    pub languages: Vec<String>,
    weights: Weights,
    schedule: PlanSchedule,
    batch: usize,
    seed: u64,
    sources: Vec<Source>,
}

impl Plan {
    /// The plan for these training datasets.
    ///
    /// # Errors
    /// A language that no dataset has, or data too small for a batch without conflicts.
    pub fn new(spec: &ExperimentSpec, datasets: &[Dataset]) -> Result<Self> {
        let weights = spec.sampling.weights()?;
        let languages = languages(spec, datasets)?;
        ensure!(
            languages.len() > 1 || weights.cross == 0.0,
            "sampling: X-Y batches need at least two languages, but the training data have only {languages:?}"
        );
        let batch = spec.train.batch;
        let sources: Vec<Source> =
            datasets.iter().map(|d| Source::new(d, &languages, batch, weights)).collect::<Result<_>>()?;
        Ok(Self { languages, weights, schedule: spec.sampling.schedule, batch, seed: spec.seed, sources })
    }

    /// Groups of all sources.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.sources.iter().map(|s| s.members.len()).sum()
    }

    /// The batch of a step (from 0). The same (spec, data, step) always gives the same batch.
    ///
    /// # Errors
    /// Where so many groups conflict that a batch cannot be filled.
    pub fn batch(&self, step: usize) -> Result<Batch> {
        let (kind, before) = Kind::at(self.weights, self.schedule, self.seed, step);
        let mut draw = Stream::new(self.seed, "plan", step as u64);
        let sizes: Vec<f64> = self.sources.iter().map(|s| s.members.len() as f64).collect();
        let index = if sizes.len() == 1 { 0 } else { draw.weighted(&sizes).unwrap_or(0) };
        let source = &self.sources[index];
        let language = (kind == Kind::Mono).then(|| {
            // Languages in turn, in an order that changes each round: equal counts whatever the ratio.
            let n = source.mono.len();
            let round = key(self.seed, "mono language", (before / n) as u64);
            source.mono[permute(round, n, before % n)]
        });
        let pairs = self.fill(source, kind, language, step, &mut draw)?;
        Ok(Batch { step, kind, source: index, language, pairs })
    }

    fn fill(
        &self,
        source: &Source,
        kind: Kind,
        language: Option<LanguageId>,
        step: usize,
        draw: &mut Stream,
    ) -> Result<Vec<Pair>> {
        let n = source.members.len();
        let mut pairs: Vec<Pair> = Vec::with_capacity(self.batch);
        let mut taken: HashSet<u32> = HashSet::with_capacity(2 * self.batch);
        let attempts = 50 * self.batch + 10 * n;
        for attempt in 0..attempts {
            // First the epoch's own order, so that every group has its turn; then, for what did not fit, any.
            let group = if attempt < self.batch {
                let place = step * self.batch + attempt;
                permute(key(self.seed, "epoch", (place / n) as u64), n, place % n)
            } else {
                draw.below(n)
            };
            if taken.contains(&source.clusters[group]) {
                continue;
            }
            let slot = step * self.batch + pairs.len();
            if let Some(pair) = self.pair(&source.members[group], group as u32, kind, language, slot, draw) {
                taken.insert(source.clusters[group]);
                pairs.push(pair);
                if pairs.len() == self.batch {
                    return Ok(pairs);
                }
            }
        }
        bail!(
            "step {}: only {} of {} pairs fit a {kind} batch without conflicts (questions that share a passage never \
             stand in one batch); set train.batch to at most {}",
            step + 1,
            pairs.len(),
            self.batch,
            pairs.len()
        )
    }

    /// A pair of this group for the slot, if the group has the languages.
    fn pair(
        &self,
        member: &Member,
        group: u32,
        kind: Kind,
        language: Option<LanguageId>,
        slot: usize,
        draw: &mut Stream,
    ) -> Option<Pair> {
        if let Some(language) = language {
            return member.pair(group, language, language);
        }
        let n = self.languages.len();
        let combinations = match kind {
            Kind::Mono | Kind::Same => n,
            Kind::Cross => n * (n - 1),
            Kind::Multi => n * n,
        };
        let languages = |index: usize| -> (LanguageId, LanguageId) {
            let (a, b) = match kind {
                Kind::Mono | Kind::Same => (index, index),
                Kind::Cross => {
                    let (a, b) = (index / (n - 1), index % (n - 1));
                    (a, if b >= a { b + 1 } else { b })
                }
                Kind::Multi => (index / n, index % n),
            };
            (a as LanguageId, b as LanguageId)
        };
        // Language pairs in turn: after each round every pair was drawn equally often.
        let round = key(self.seed, kind.label(), (slot / combinations) as u64);
        let (a, b) = languages(permute(round, combinations, slot % combinations));
        member.pair(group, a, b).or_else(|| {
            let all: Vec<Pair> = (0..combinations)
                .filter_map(|index| {
                    let (a, b) = languages(index);
                    member.pair(group, a, b)
                })
                .collect();
            (!all.is_empty()).then(|| all[draw.below(all.len())])
        })
    }
}

/// The spec's languages, or all that the data have.
fn languages(spec: &ExperimentSpec, datasets: &[Dataset]) -> Result<Vec<String>> {
    let mut found: Vec<String> = datasets.iter().flat_map(|d| d.languages.iter().cloned()).collect();
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

impl Source {
    fn new(dataset: &Dataset, languages: &[String], batch: usize, weights: Weights) -> Result<Self> {
        let ids: Vec<Option<LanguageId>> = languages.iter().map(|l| dataset.language(l)).collect();
        let all_clusters = clusters(dataset);
        let members: Vec<Member> = dataset
            .groups
            .iter()
            .map(|group| {
                let questions = ids.iter().map(|id| group.questions[usize::from((*id)?)]).collect();
                let passage = |language: LanguageId| {
                    group
                        .relevant
                        .iter()
                        .copied()
                        .find(|&p| dataset.passages[p as usize].language == language)
                };
                Member { questions, passages: ids.iter().map(|id| passage((*id)?)).collect() }
            })
            .collect();
        let distinct: HashSet<u32> = all_clusters.iter().copied().collect();
        ensure!(
            distinct.len() >= batch,
            "dataset '{}': {} question ids make {} groups that do not conflict, too few for train.batch = {batch}; \
             set train.batch to at most {}",
            dataset.name,
            dataset.groups.len(),
            distinct.len(),
            distinct.len()
        );
        let mono: Vec<LanguageId> = (0..languages.len() as LanguageId)
            .filter(|&language| {
                let clusters: HashSet<u32> = members
                    .iter()
                    .zip(&all_clusters)
                    .filter(|(m, _)| m.pair(0, language, language).is_some())
                    .map(|(_, c)| *c)
                    .collect();
                clusters.len() >= batch
            })
            .collect();
        ensure!(
            weights.mono == 0.0 || !mono.is_empty(),
            "dataset '{}': no language has {batch} pairs of its own for an X-X-mono batch; lower train.batch",
            dataset.name
        );
        Ok(Self { members, clusters: all_clusters, mono })
    }
}
