//! The validation loss: what early stopping looks at.
//!
//! It is drawn the same way for every ratio (languages of question and passage both free), so that the losses of runs
//! with different ratios can be compared, and from a fixed plan, so that the losses of one run can.

use std::collections::HashSet;

use anyhow::{Context, Result, bail, ensure};

use super::gradient::{PairTokens, batch_loss};
use super::tokens::Tokens;
use crate::batch::{Batch, Kind, Layout, Plan};
use crate::corpus::Dataset;
use crate::encoder::{Encoder, Route};
use crate::spec::{ExperimentSpec, Mixture, SamplingSpec};

/// Most validation batches.
const BATCHES: usize = 8;

/// Which validation batches are drawn. It knows no text, so that what is wrong with the data is told before anything is
/// tokenised.
#[derive(Debug)]
pub struct ValidationPlan {
    plan: Plan,
    /// Batches of one validation.
    pub batches: usize,
    /// Pairs of a batch.
    pub pairs: usize,
    /// Datasets with fewer than two question ids for a batch in the training languages: they are left out.
    pub unused: Vec<String>,
}

impl ValidationPlan {
    /// The plan over validation datasets, in the training languages that they have.
    ///
    /// # Errors
    /// Where no training language is in them, or none of them has two question ids for a batch; names them and their numbers.
    pub fn from_layouts(spec: &ExperimentSpec, trained: &[String], layouts: &[Layout]) -> Result<Self> {
        let is_there = |l: &&String| layouts.iter().any(|layout| layout.languages.contains(l));
        let languages: Vec<String> = trained.iter().filter(is_there).cloned().collect();
        ensure!(
            !languages.is_empty(),
            "data.validation: none of the training languages ({}) is in the validation data",
            trained.join(", ")
        );
        let columns: Vec<Vec<usize>> = layouts.iter().map(|l| l.columns(&languages)).collect();
        // What shares a passage cannot stand in one batch.
        let apart = |(layout, columns): (&Layout, &Vec<usize>)| {
            let groups = (0..layout.groups as u32).filter(|g| layout.has(*g, columns, Kind::Multi));
            groups.map(|group| layout.clusters[group as usize]).collect::<HashSet<u32>>().len()
        };
        let apart: Vec<usize> = layouts.iter().zip(&columns).map(apart).collect();
        if apart.iter().all(|count| *count < 2) {
            let of = |(layout, count): (&Layout, &usize)| format!("'{}' has {count}", layout.name);
            bail!(
                "data.validation: too few question ids with a question and an answer in the training languages ({}): {}; a \
                 batch takes two at least that share no passage: take more of the data, or none (data.validation = [])",
                languages.join(", "),
                layouts.iter().zip(&apart).map(of).collect::<Vec<_>>().join(", ")
            );
        }
        let size = |(layout, columns): (&Layout, &Vec<usize>)| layout.count(&[(Kind::Multi, columns)]);
        let sizes = layouts.iter().zip(&columns).map(size);
        let sizes: Vec<usize> =
            sizes.zip(&apart).map(|(size, apart)| if *apart < 2 { 0 } else { size }).collect();
        let unused = layouts.iter().zip(&sizes).filter(|(_, size)| **size == 0);
        let unused = unused.map(|(layout, _)| layout.name.clone()).collect();
        let mut drawn = spec.clone();
        drawn.languages = languages;
        drawn.sampling = SamplingSpec { multi: Some(1.0), ..SamplingSpec::default() };
        drawn.seed = 0;
        drawn.data.mixture =
            Mixture { weights: sizes.iter().map(|n| *n as f64).collect(), temperature: None };
        drawn.train.hard_negatives = 0;
        let smallest = sizes.iter().copied().filter(|n| *n > 0).min().unwrap_or(0);
        let mut plan = None;
        // Groups in conflict can make the largest possible batch smaller than the number of groups.
        for batch in
            [spec.train.batch, smallest.min(spec.train.batch), smallest / 2, smallest / 4, smallest / 8, 2]
        {
            drawn.train.batch = batch.max(2);
            plan = Plan::from_layouts(&drawn, layouts.to_vec()).ok().filter(|p| p.batch(0).is_ok());
            if plan.is_some() {
                break;
            }
        }
        let plan = plan.context("data.validation: no validation batch can be drawn")?;
        let pairs = drawn.train.batch;
        Ok(Self { plan, batches: (smallest / pairs).clamp(1, BATCHES), pairs, unused })
    }

    /// What to say of datasets that are left out.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        left_out(&self.unused)
    }

    /// How many batches all validations of a run look at.
    #[must_use]
    pub fn count(&self, spec: &ExperimentSpec) -> usize {
        self.batches * (1 + spec.train.steps.checked_div(spec.train.validate_every).unwrap_or(0))
    }
}

/// Validation batches, drawn once.
#[derive(Debug)]
pub struct Validation {
    batches: Vec<Batch>,
    tokens: Vec<Tokens>,
    /// Datasets that are left out, as in [`ValidationPlan`].
    pub unused: Vec<String>,
    /// What the batches' language numbers stand for.
    languages: Vec<String>,
    temperature: f64,
    chunk: usize,
}

impl Validation {
    /// Draws the batches of a [`ValidationPlan`] and tokenises the datasets that it takes.
    ///
    /// # Errors
    /// As [`ValidationPlan::from_layouts`]; what `progress` returns.
    pub fn new(
        spec: &ExperimentSpec,
        trained: &[String],
        encoder: &Encoder,
        datasets: &[Dataset],
        progress: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<Self> {
        let layouts: Vec<Layout> = datasets.iter().map(Layout::of).collect();
        let ValidationPlan { plan, batches, unused, .. } =
            ValidationPlan::from_layouts(spec, trained, &layouts)?;
        let batches = (0..batches).map(|step| plan.batch(step)).collect::<Result<Vec<_>>>()?;
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

/// What to say of validation data that are left out.
#[must_use]
pub fn left_out(unused: &[String]) -> Vec<String> {
    let of = |name: &String| {
        format!(
            "data.validation: '{name}' has fewer than two question ids for a batch in the training languages, and is left out"
        )
    };
    unused.iter().map(of).collect()
}
