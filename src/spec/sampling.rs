//! The sampling ratio: how often each kind of batch is drawn.

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// The hybrid's share of X-X-mono batches where nothing is given.
const ALPHA: f64 = 0.5;

/// Weights over the kinds of batch. Either `alpha` alone (the hybrid of the paper: X-X-mono with probability
/// alpha, X-Y with 1 - alpha) or the weights themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingSpec {
    /// Share of X-X-mono batches; the rest are X-Y. Not together with the weights below. Nothing given: 0.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// X-X-mono: one language a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mono: Option<f64>,
    /// X-Y: each pair has its question and its passage in different languages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cross: Option<f64>,
    /// X-X: mixed languages in a batch, each pair in one language.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same: Option<f64>,
    /// Multi: X-X and X-Y pairs in one batch, both languages drawn freely.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi: Option<f64>,
    pub schedule: PlanSchedule,
}

/// How the kinds are laid out over the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlanSchedule {
    /// Error diffusion: after n steps each kind was drawn its share of n times, off by less than one.
    Exact,
    /// Independent draws.
    Bernoulli,
}

/// Normalised weights over the four kinds; they sum to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    pub mono: f64,
    pub cross: f64,
    pub same: f64,
    pub multi: f64,
}

impl Default for SamplingSpec {
    fn default() -> Self {
        Self { alpha: None, mono: None, cross: None, same: None, multi: None, schedule: PlanSchedule::Exact }
    }
}

impl SamplingSpec {
    /// The hybrid at this alpha.
    #[must_use]
    pub fn hybrid(alpha: f64) -> Self {
        Self { alpha: Some(alpha), ..Self::default() }
    }

    /// The same with the mix that counts where nothing is given, so that a record of it says so.
    #[must_use]
    pub fn written_out(mut self) -> Self {
        if [self.alpha, self.mono, self.cross, self.same, self.multi].iter().all(Option::is_none) {
            self.alpha = Some(ALPHA);
        }
        self
    }

    /// The normalised weights.
    ///
    /// # Errors
    /// Names the key that is out of range, negative or contradicts another.
    pub fn weights(&self) -> Result<Weights> {
        let given = [("mono", self.mono), ("cross", self.cross), ("same", self.same), ("multi", self.multi)];
        if given.iter().all(|(_, w)| w.is_none()) {
            let alpha = self.alpha.unwrap_or(ALPHA);
            ensure!(
                (0.0..=1.0).contains(&alpha),
                "sampling.alpha = {alpha}: must lie between 0 (all X-Y) and 1 (all X-X-mono)"
            );
            return Ok(Weights { mono: alpha, cross: 1.0 - alpha, same: 0.0, multi: 0.0 });
        }
        if let Some(alpha) = self.alpha {
            bail!(
                "sampling.alpha = {alpha}: give either alpha or the weights mono, cross, same, multi, not both"
            );
        }
        for (key, weight) in given {
            if let Some(weight) = weight {
                ensure!(
                    weight.is_finite() && weight >= 0.0,
                    "sampling.{key} = {weight}: a weight must be a number of at least 0"
                );
            }
        }
        let [mono, cross, same, multi] = given.map(|(_, w)| w.unwrap_or(0.0));
        let total = mono + cross + same + multi;
        ensure!(
            total > 0.0,
            "sampling: mono, cross, same and multi are all 0; at least one must be positive"
        );
        Ok(Weights { mono: mono / total, cross: cross / total, same: same / total, multi: multi / total })
    }
}

impl Weights {
    /// The field's name for this mix: `X-X-mono`, `X-Y`, `X-X`, `multi`, `hybrid` or `mix`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        let on = [self.mono > 0.0, self.cross > 0.0, self.same > 0.0, self.multi > 0.0];
        match on {
            [true, false, false, false] => "X-X-mono",
            [false, true, false, false] => "X-Y",
            [false, false, true, false] => "X-X",
            [false, false, false, true] => "multi",
            [true, true, false, false] => "hybrid",
            _ => "mix",
        }
    }

    /// The hybrid's alpha, where only X-X-mono and X-Y are drawn.
    #[must_use]
    pub fn alpha(&self) -> Option<f64> {
        (self.same == 0.0 && self.multi == 0.0).then_some(self.mono)
    }

    /// In the order mono, cross, same, multi.
    #[must_use]
    pub fn to_array(self) -> [f64; 4] {
        [self.mono, self.cross, self.same, self.multi]
    }
}
