//! Robust training: texts with words of other languages in them, and word embeddings that are moved a little.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// What is done to texts and word embeddings while training; nothing of it while validating or evaluating.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RobustSpec {
    /// Probability that a word which a lexicon has is replaced by a translation; 0: never.
    pub code_switch: f64,
    /// Which texts are switched.
    pub sides: SwitchedSides,
    /// `FROM-TO=FILE` (a line a translation, `word<TAB>translation`), or `demo` for those of the bundled corpus.
    pub lexicons: Vec<String>,
    /// How word embeddings are moved.
    pub perturbation: PerturbationKind,
    /// How far: the length of a text's perturbation over the length of its word embeddings, both taken over all of its
    /// tokens.
    pub radius: f64,
}

/// Texts that are code-switched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SwitchedSides {
    Questions,
    Passages,
    #[default]
    Both,
}

/// How word embeddings are moved within the ball.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PerturbationKind {
    /// Not at all.
    #[default]
    None,
    /// In a random direction.
    Random,
    /// In the direction in which the loss rises fastest; a second backward pass.
    Adversarial,
}

impl SwitchedSides {
    /// As in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Questions => "questions",
            Self::Passages => "passages",
            Self::Both => "both",
        }
    }

    /// True where questions are switched.
    #[must_use]
    pub const fn questions(self) -> bool {
        !matches!(self, Self::Passages)
    }

    /// True where passages are switched.
    #[must_use]
    pub const fn passages(self) -> bool {
        !matches!(self, Self::Questions)
    }
}

impl PerturbationKind {
    /// As in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Random => "random",
            Self::Adversarial => "adversarial",
        }
    }
}

impl Default for RobustSpec {
    fn default() -> Self {
        Self {
            code_switch: 0.0,
            sides: SwitchedSides::Both,
            lexicons: Vec::new(),
            perturbation: PerturbationKind::None,
            radius: 0.01,
        }
    }
}

impl RobustSpec {
    /// True where words are replaced.
    #[must_use]
    pub fn switches(&self) -> bool {
        self.code_switch > 0.0
    }

    /// Passes that go back, a batch: two where the loss's own gradient shows the direction first.
    #[must_use]
    pub const fn passes(&self) -> usize {
        if matches!(self.perturbation, PerturbationKind::Adversarial) { 2 } else { 1 }
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// Names the key, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        ensure!(
            (0.0..=1.0).contains(&self.code_switch),
            "robust.code_switch = {}: a probability lies between 0 (never) and 1 (every word that a lexicon has)",
            self.code_switch
        );
        ensure!(
            !self.switches() || !self.lexicons.is_empty(),
            "robust.code_switch = {}: needs robust.lexicons, for example [\"en-de=en-de.tsv\"], or [\"demo\"] for the \
             bundled corpus",
            self.code_switch
        );
        ensure!(
            self.radius > 0.0 && self.radius <= 1.0,
            "robust.radius = {}: must be above 0 and at most 1 (share of the word embeddings' own length); \
             robust.perturbation = \"none\" moves nothing",
            self.radius
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_values_name_their_key() {
        let refused = |change: &dyn Fn(&mut RobustSpec), part: &str| {
            let mut spec = RobustSpec::default();
            change(&mut spec);
            let error = format!("{:#}", spec.check().expect_err(part));
            assert!(error.contains(part), "{error}");
        };
        refused(&|s| s.code_switch = 1.5, "robust.code_switch = 1.5");
        refused(&|s| s.code_switch = f64::NAN, "robust.code_switch = NaN");
        refused(&|s| s.code_switch = 0.5, "robust.lexicons");
        refused(&|s| s.radius = 0.0, "robust.radius = 0");
        refused(&|s| s.radius = 2.0, "robust.radius = 2");
        assert_eq!(
            [
                RobustSpec::default().passes(),
                RobustSpec { perturbation: PerturbationKind::Adversarial, ..RobustSpec::default() }.passes()
            ],
            [1, 2]
        );
    }
}
