//! Training, one step at a time. What to do between steps is the run's business ([`crate::run`]).

use anyhow::{Context, Result, ensure};

use super::accumulate::{BatchReport, StartedGradient};
use super::diverged::Diverged;
use super::schedule::learning_rate;
use super::switch::{Switcher, no_texts};
use super::tokens::{Cuts, Tokens, TrainingSet};
use crate::batch::{Batch, Plan};
use crate::corpus::Dataset;
use crate::encoder::{DropoutRates, Encoder, EncoderConfig, Load, Parameters, Route, adapter_flops};
use crate::ops::AdamW;
use crate::spec::{AdapterSpec, ExperimentSpec};

/// A model in training.
#[derive(Debug)]
pub struct Trainer {
    pub encoder: Encoder,
    pub plan: Plan,
    pub(super) optimiser: AdamW,
    /// Steps done.
    pub step: usize,
    pub(super) spec: ExperimentSpec,
    pub sets: Vec<TrainingSet>,
    /// Where words are replaced while training.
    pub switcher: Option<Switcher>,
}

/// What one step gave.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Its batches of the plan, `train.accumulate` of them.
    pub batches: Vec<BatchReport>,
    /// Mean of their losses.
    pub loss: f64,
    pub learning_rate: f64,
    /// Norm of the whole gradient before clipping.
    pub grad_norm: f64,
    /// Real tokens and texts.
    pub load: Load,
    /// Tokens with padding; see [`super::StepGradient::padded`].
    pub padded: usize,
}

impl StepReport {
    /// Pairs of all its batches.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.batches.iter().map(|b| b.batch.pairs.len()).sum()
    }
}

impl Trainer {
    /// Prepares training; `progress` hears of tokenised texts (done, total).
    ///
    /// # Errors
    /// Where the plan cannot be made from the data, or a text cannot be tokenised.
    pub fn new(
        spec: &ExperimentSpec,
        encoder: Encoder,
        datasets: &[Dataset],
        progress: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<Self> {
        let sets = datasets
            .iter()
            .map(|d| {
                let tokens = Tokens::in_languages(d, &spec.languages, &encoder, &spec.model, progress)?;
                let set = TrainingSet::in_memory(d, tokens);
                Ok(if spec.robust.switches() { set.with_texts(d.clone()) } else { set })
            })
            .collect::<Result<Vec<_>>>()?;
        Self::with_sets(spec, encoder, sets)
    }

    /// Prepares training on what is tokenised already. The encoder gets the adapters that the spec asks for.
    ///
    /// # Errors
    /// Where the plan cannot be made from the data, adapters or lexicons do not fit them, or the model has adapters
    /// of another kind.
    pub fn with_sets(spec: &ExperimentSpec, mut encoder: Encoder, sets: Vec<TrainingSet>) -> Result<Self> {
        let plan = Plan::from_layouts(spec, sets.iter().map(|s| s.layout.clone()).collect())?;
        adapt(spec, &mut encoder, &plan.languages)?;
        let switcher = Switcher::new(spec, &plan.languages)?;
        if let (Some(_), Some(set)) = (&switcher, sets.iter().find(|s| s.texts.is_none())) {
            return Err(no_texts(&set.summary.name));
        }
        let train = &spec.train;
        let Parameters { tensors, trainable, .. } = &encoder.parameters;
        let optimiser = AdamW::partial(tensors, trainable, train.betas, train.epsilon, train.weight_decay)?;
        Ok(Self { encoder, plan, optimiser, step: 0, spec: spec.clone(), sets, switcher })
    }

    /// What to say of training languages that adapters, lexicons or X-X-mono batches leave out.
    #[must_use]
    pub fn left_out(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let languages = &self.plan.languages;
        let is_base_alone = |l: &&String| self.encoder.adapters.is_some() && self.encoder.route(l).is_none();
        let left: Vec<&str> = languages.iter().filter(is_base_alone).map(String::as_str).collect();
        if !left.is_empty() {
            notes.push(format!(
                "no adapter for {}: their texts go through the base alone{} (adapters.languages)",
                left.join(", "),
                if self.spec.adapters.is_frozen() {
                    ", which is frozen and learns nothing from them"
                } else {
                    ""
                }
            ));
        }
        notes.extend(self.plan.notes());
        let without = self.switcher.as_ref().map(|s| s.without_lexicon(languages)).unwrap_or_default();
        if !without.is_empty() {
            notes.push(format!(
                "no lexicon out of {}: their texts are not code-switched (robust.lexicons)",
                without.join(", ")
            ));
        }
        notes
    }

    /// What was cut at the length limits, of the texts in the languages that are trained on, in the sets that have a share.
    #[must_use]
    pub fn cuts(&self) -> Cuts {
        let drawn = self.sets.iter().enumerate().filter(|(index, _)| self.plan.is_drawn(*index));
        drawn.map(|(_, set)| set.cuts(&self.plan.languages)).fold(Cuts::default(), |a, b| Cuts {
            questions: a.questions + b.questions,
            passages: a.passages + b.passages,
            answers: a.answers + b.answers,
        })
    }

    /// Dropout of the plan's batch `index`, if the model or the spec has any.
    pub(super) fn dropout(&self, index: usize) -> Option<DropoutRates> {
        let config = &self.encoder.config;
        let rates = DropoutRates {
            hidden: self.spec.model.dropout.unwrap_or(config.hidden_dropout),
            attention: self.spec.model.dropout.unwrap_or(config.attention_dropout),
            seed: self.spec.seed,
            step: index as u64,
        };
        (rates.hidden > 0.0 || rates.attention > 0.0).then_some(rates)
    }

    /// Floating point operations of a step with this load.
    #[must_use]
    pub fn flops(&self, load: Load) -> f64 {
        training_flops(&self.encoder.config, load, &self.spec)
    }

    /// Adapters of a batch's questions and of its passages; empty where there are none.
    pub(super) fn routes(&self, batch: &Batch) -> (Vec<Route>, Vec<Route>) {
        if self.encoder.adapters.is_none() {
            return (Vec::new(), Vec::new());
        }
        let route = |language: u16| self.encoder.route(&self.plan.languages[usize::from(language)]);
        let layout = &self.sets[batch.source].layout;
        let negative = |passage: &u32| {
            let language = layout.negatives.as_ref()?.languages[*passage as usize];
            self.encoder.route(&layout.languages[language as usize])
        };
        let questions = batch.pairs.iter().map(|p| route(p.query_language)).collect();
        let answers = batch.pairs.iter().map(|p| route(p.passage_language));
        (questions, answers.chain(batch.negatives.iter().map(negative)).collect())
    }

    /// One optimiser step.
    ///
    /// # Errors
    /// A loss or gradient that is not finite (the weights are then as before the step), or a failing device.
    pub fn step(&mut self) -> Result<StepReport> {
        let StartedGradient { batches, losses, gradients, load, padded } = self.start_gradient()?;
        let (train, rate) = (&self.spec.train, learning_rate(&self.spec.train, self.step));
        let parameters = &mut self.encoder.parameters;
        let grad_norm = self.optimiser.clipped_update(
            &mut parameters.tensors,
            &gradients.tensors,
            &parameters.decayed,
            rate,
            train.clip_norm,
            &losses,
        )?;
        let batches = self.reports(batches, &losses)?;
        let loss = batches.iter().map(|b| b.loss).sum::<f64>() / batches.len() as f64;
        ensure!(
            grad_norm.is_finite(),
            Diverged::new(format!(
                "step {}: the gradient's norm is {grad_norm} with a loss of {loss} ({}); the weights were not changed",
                self.step + 1,
                self.described_all(&batches.iter().map(|b| &b.batch).collect::<Vec<_>>())
            ))
        );
        self.step += 1;
        Ok(StepReport { batches, loss, learning_rate: rate, grad_norm, load, padded })
    }
}

/// Floating point operations of the forward and backward passes that a spec asks for. A frozen base is gone back through
/// without gradients of its weights, which is half of a backward pass; an adversarial perturbation takes all of it twice.
#[must_use]
pub fn training_flops(config: &EncoderConfig, load: Load, spec: &ExperimentSpec) -> f64 {
    spec.robust.passes() as f64 * pass_flops(config, load, &spec.adapters)
}

/// The same of one pass forward and back.
#[must_use]
pub(super) fn pass_flops(config: &EncoderConfig, load: Load, adapters: &AdapterSpec) -> f64 {
    let passes = if adapters.is_frozen() { 2.0 } else { 3.0 };
    passes * config.forward_flops(load) + 3.0 * adapter_flops(config, adapters, load.tokens)
}

/// The languages that have adapters when training begins: of those that are trained on (`trained`), and those whose adapters
/// (`held`) the model brings. Empty where there are none.
///
/// # Errors
/// A language that is not trained on; adapters of the model that the spec does not ask for.
pub fn adapted(spec: &ExperimentSpec, trained: &[String], held: Option<&AdapterSpec>) -> Result<Vec<String>> {
    let adapters = &spec.adapters;
    if let Some(held) = held {
        let wanted = if adapters.is_on() { own_languages(adapters, trained)? } else { &[] };
        return adapters.continued(held, wanted, &spec.model.base);
    }
    Ok(if adapters.is_on() { own_languages(adapters, trained)?.to_vec() } else { Vec::new() })
}

/// The languages that a spec asks for.
fn own_languages<'a>(adapters: &'a AdapterSpec, trained: &'a [String]) -> Result<&'a [String]> {
    for language in &adapters.languages {
        ensure!(
            trained.contains(language),
            "adapters.languages: '{language}' is not among the languages that are trained on ({}); its adapter would learn \
             nothing",
            trained.join(", ")
        );
    }
    Ok(if adapters.languages.is_empty() { trained } else { &adapters.languages })
}

/// Gives the encoder the adapters that the spec asks for; those that the model has already go on.
fn adapt(spec: &ExperimentSpec, encoder: &mut Encoder, trained: &[String]) -> Result<()> {
    let languages = adapted(spec, trained, encoder.adapters.as_ref().map(|a| &a.spec))?;
    if !spec.adapters.is_on() {
        return Ok(());
    }
    let base = &spec.model.base;
    let place = if base == "demo" { base.clone() } else { place_of(base)? };
    encoder.add_adapters(&spec.adapters, &languages, (&place, spec.seed))
}

/// Where a model directory lies, whatever the working directory is.
fn place_of(base: &str) -> Result<String> {
    let dir = crate::corpus::model_dir(base)?;
    let dir = dir.canonicalize().with_context(|| dir.display().to_string())?;
    Ok(dir.display().to_string())
}
