//! The validation loss: what early stopping looks at.
//!
//! It is drawn the same way for every ratio (languages of question and passage both free), so that the losses of runs
//! with different ratios can be compared, and from a fixed plan, so that the losses of one run can.

use anyhow::{Context, Result, ensure};

use super::gradient::{PairTokens, batch_loss};
use super::tokens::Tokens;
use crate::batch::{Batch, Plan};
use crate::corpus::{Dataset, Group};
use crate::encoder::{Encoder, Route};
use crate::spec::{ExperimentSpec, Mixture, SamplingSpec};

/// Most validation batches.
const BATCHES: usize = 8;

/// Validation batches, drawn once.
#[derive(Debug)]
pub struct Validation {
    batches: Vec<Batch>,
    tokens: Vec<Tokens>,
    /// Datasets that have nothing in the training languages.
    pub unused: Vec<String>,
    /// What the batches' language numbers stand for.
    languages: Vec<String>,
    temperature: f64,
    chunk: usize,
}

impl Validation {
    /// Draws the batches from the validation datasets, in the training languages that they have; those that have none are
    /// left out.
    ///
    /// # Errors
    /// Where no training language is in them, or they are too small for a batch of two.
    pub fn new(
        spec: &ExperimentSpec,
        trained: &[String],
        encoder: &Encoder,
        datasets: &[Dataset],
        progress: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<Self> {
        let languages: Vec<String> =
            trained.iter().filter(|l| datasets.iter().any(|d| d.language(l).is_some())).cloned().collect();
        ensure!(
            !languages.is_empty(),
            "data.validation: none of the training languages ({}) is in the validation data",
            trained.join(", ")
        );
        let mut drawn = spec.clone();
        drawn.languages = languages;
        drawn.sampling = SamplingSpec { multi: Some(1.0), ..SamplingSpec::default() };
        drawn.seed = 0;
        let sizes: Vec<usize> = datasets.iter().map(|d| groups_in(d, &drawn.languages)).collect();
        drawn.data.mixture =
            Mixture { weights: sizes.iter().map(|n| *n as f64).collect(), temperature: None };
        drawn.train.hard_negatives = 0;
        let smallest = sizes.iter().copied().filter(|n| *n > 0).min().unwrap_or(0);
        let is_unused = |(_, size): &(&Dataset, &usize)| **size == 0;
        let unused = datasets.iter().zip(&sizes).filter(is_unused).map(|(d, _)| d.name.clone()).collect();
        let mut plan = None;
        // Groups in conflict can make the largest possible batch smaller than the number of groups.
        for batch in
            [spec.train.batch, smallest.min(spec.train.batch), smallest / 2, smallest / 4, smallest / 8, 2]
        {
            drawn.train.batch = batch.max(2);
            plan = Plan::new(&drawn, datasets).ok().filter(|p| p.batch(0).is_ok());
            if plan.is_some() {
                break;
            }
        }
        let plan = plan.context("data.validation: too few question ids for a validation batch")?;
        let count = (smallest / drawn.train.batch).clamp(1, BATCHES);
        let batches = (0..count).map(|step| plan.batch(step)).collect::<Result<Vec<_>>>()?;
        let tokens = datasets
            .iter()
            .map(|d| Tokens::in_languages(d, &plan.languages, encoder, &spec.model, progress))
            .collect::<Result<Vec<_>>>()?;
        let languages = plan.languages;
        Ok(Self {
            batches,
            tokens,
            unused,
            languages,
            temperature: spec.train.temperature,
            chunk: spec.train.chunk,
        })
    }

    /// How many batches all validations of a run look at, where `groups` are the sizes of the validation datasets.
    pub fn count(spec: &ExperimentSpec, groups: impl Iterator<Item = usize>) -> usize {
        let (train, Some(smallest)) = (&spec.train, groups.min()) else { return 0 };
        let often = 1 + train.steps.checked_div(train.validate_every).unwrap_or(0);
        (smallest / train.batch).clamp(1, BATCHES) * often
    }

    /// Mean loss over the batches, without dropout.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn loss(&self, encoder: &Encoder) -> Result<f64> {
        let mut total = 0.0;
        for batch in &self.batches {
            let tokens = &self.tokens[batch.source];
            let questions: Vec<&[u32]> =
                batch.pairs.iter().map(|p| tokens.questions[p.question as usize].as_slice()).collect();
            let passages: Vec<&[u32]> =
                batch.pairs.iter().map(|p| tokens.passages[p.passage as usize].as_slice()).collect();
            let route = |language: u16| encoder.route(&self.languages[usize::from(language)]);
            let of_questions: Vec<Route> = batch.pairs.iter().map(|p| route(p.query_language)).collect();
            let of_passages: Vec<Route> = batch.pairs.iter().map(|p| route(p.passage_language)).collect();
            let pairs = PairTokens::new(&questions, &passages).routed(&of_questions, &of_passages);
            total += batch_loss(encoder, pairs, self.temperature, self.chunk)?;
        }
        Ok(total / self.batches.len() as f64)
    }
}

/// How many question ids have a question and an answer in these languages.
fn groups_in(dataset: &Dataset, languages: &[String]) -> usize {
    let wanted: Vec<bool> = dataset.languages.iter().map(|l| languages.contains(l)).collect();
    let has = |group: &Group| {
        let asks =
            group.questions.iter().zip(&wanted).any(|(question, wanted)| question.is_some() && *wanted);
        let passage = |index: &u32| wanted[usize::from(dataset.passages[*index as usize].language)];
        asks && group.relevant.iter().any(passage)
    };
    dataset.groups.iter().filter(|group| has(group)).count()
}
