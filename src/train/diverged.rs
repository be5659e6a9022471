//! Numbers that are not finite: after which batches they came, and what can be done about them.

use std::fmt;

use super::trainer::Trainer;
use crate::batch::Batch;

/// What can be done: a run that goes on keeps what made it diverge.
const REMEDY: &str = "A run that goes on keeps its settings and comes to the same: lower train.learning_rate or raise \
                      train.temperature in a new run";
/// Batches that a message names.
const NAMED: usize = 3;

/// Training came to numbers that are not finite; the text says where, and ends with what can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diverged(String);

impl fmt::Display for Diverged {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}. {REMEDY}", self.0)
    }
}

impl std::error::Error for Diverged {}

impl Diverged {
    /// `what` says where, without a full stop.
    pub(super) fn new(what: String) -> Self {
        Self(what)
    }

    /// The same, with what became of the checkpoints (without a full stop).
    #[must_use]
    pub fn with(self, more: &str) -> Self {
        Self(format!("{}; {more}", self.0))
    }
}

impl Trainer {
    /// An error for what was found not finite between two steps (`what`): it names the step and its batches.
    #[must_use]
    pub fn diverged(&self, what: &str) -> anyhow::Error {
        if self.step == 0 {
            return anyhow::anyhow!(
                "before the first step: {what}; the weights of model.base are broken, or train.temperature is too small"
            );
        }
        let count = self.spec.train.accumulate.max(1);
        let batches = ((self.step - 1) * count..self.step * count).filter_map(|i| self.plan.batch(i).ok());
        let named = self.described_all(&batches.collect::<Vec<_>>().iter().collect::<Vec<_>>());
        Diverged::new(format!("step {}, which trained on {named}: {what}", self.step)).into()
    }

    /// The batches of a step, for messages.
    pub(super) fn described_all(&self, batches: &[&Batch]) -> String {
        let mut named: Vec<String> = batches.iter().take(NAMED).map(|b| self.described(b)).collect();
        if batches.len() > NAMED {
            named.push(format!("{} more", batches.len() - NAMED));
        }
        named.join("; ")
    }

    /// A batch for messages: its place in the plan, its kind and language, and its first question.
    pub(super) fn described(&self, batch: &Batch) -> String {
        let language =
            batch.language.map_or(String::new(), |l| format!(", {}", self.plan.languages[usize::from(l)]));
        let first = batch.pairs.first().map_or(String::new(), |pair| {
            match self.sets[batch.source].group_id(pair.group) {
                Some(id) => format!(", first question '{id}'"),
                // A token cache holds no ids.
                None => format!(", first question number {} of the token cache", pair.question + 1),
            }
        });
        format!("plan batch {} ({}{language}{first})", batch.step + 1, batch.kind)
    }
}
