//! Small modules in the encoder that belong to one language each.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// Language adapters: every text goes through those of its own language, in whatever batch it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdapterSpec {
    pub kind: AdapterKind,
    /// What happens to the weights that all languages share.
    pub base: BaseWeights,
    /// Languages that get an adapter; empty: all that are trained on. Texts of others go through the base alone.
    pub languages: Vec<String>,
    /// Bottleneck: hidden width over the bottleneck's width.
    pub reduction: usize,
    /// Bottleneck: also an invertible map after the embeddings.
    pub invertible: bool,
    /// `LoRA`: rank of the change of each of attention's four projections.
    pub rank: usize,
    /// `LoRA`: the change is multiplied by `alpha / rank`.
    pub alpha: f64,
}

/// What an adapter is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// No adapters.
    #[default]
    None,
    /// Down, GELU, up and a residual after every layer (MAD-X, Pfeiffer et al. 2020).
    Bottleneck,
    /// Low-rank changes of attention's projections (Hu et al. 2021).
    Lora,
}

/// Whether the weights that all languages share are trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BaseWeights {
    /// They stay as they are; only adapters learn.
    #[default]
    Frozen,
    /// They learn together with the adapters.
    Trained,
}

impl AdapterKind {
    /// As in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bottleneck => "bottleneck",
            Self::Lora => "lora",
        }
    }
}

impl BaseWeights {
    /// As in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frozen => "frozen",
            Self::Trained => "trained",
        }
    }
}

/// True for what can name a language's directory and tensors.
#[must_use]
pub fn is_code(language: &str) -> bool {
    !language.is_empty() && language.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

impl Default for AdapterSpec {
    fn default() -> Self {
        Self {
            kind: AdapterKind::None,
            base: BaseWeights::Frozen,
            languages: Vec::new(),
            reduction: 16,
            invertible: false,
            rank: 8,
            alpha: 16.0,
        }
    }
}

impl AdapterSpec {
    /// True where the spec asks for adapters.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.kind != AdapterKind::None
    }

    /// True where the weights that all languages share stay as they are.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.is_on() && self.base == BaseWeights::Frozen
    }

    /// Kind and shape in the words of a spec.
    fn shape(&self) -> String {
        let kind = self.kind.name();
        match self.kind {
            AdapterKind::None => format!("kind = \"{kind}\""),
            AdapterKind::Bottleneck => {
                format!("kind = \"{kind}\", reduction = {}, invertible = {}", self.reduction, self.invertible)
            }
            AdapterKind::Lora => format!("kind = \"{kind}\", rank = {}, alpha = {}", self.rank, self.alpha),
        }
    }

    /// Whose adapters there are once training goes on with a model that has `held` already: all of the model's own, then fresh
    /// ones for the other `languages`.
    ///
    /// # Errors
    /// Where the model's adapters are of another kind or shape than these.
    pub fn continued(&self, held: &Self, languages: &[String], base: &str) -> Result<Vec<String>> {
        ensure!(
            self.shape() == held.shape(),
            "model.base = {base:?} has language adapters ({}), but [adapters] says {}: say the same to go on with them, or start \
             from their base, which `polymix model convert {base} OUT --adapter none` writes",
            held.shape(),
            self.shape()
        );
        let new = languages.iter().filter(|l| !held.languages.contains(l));
        Ok(held.languages.iter().chain(new).cloned().collect())
    }

    /// Refuses impossible values. `trained`: the spec's `languages`.
    ///
    /// # Errors
    /// Names the key, its value and what is allowed.
    pub fn check(&self, trained: &[String]) -> Result<()> {
        ensure!(
            (1..=1024).contains(&self.reduction),
            "adapters.reduction = {}: must be between 1 and 1024",
            self.reduction
        );
        ensure!((1..=1024).contains(&self.rank), "adapters.rank = {}: must be between 1 and 1024", self.rank);
        ensure!(
            self.alpha.is_finite() && self.alpha > 0.0,
            "adapters.alpha = {}: must be a number above 0",
            self.alpha
        );
        ensure!(
            !self.invertible || self.kind != AdapterKind::Lora,
            "adapters.invertible = true: belongs to adapters.kind = \"bottleneck\", not to \"lora\""
        );
        for (index, language) in self.languages.iter().enumerate() {
            ensure!(
                !self.languages[..index].contains(language),
                "adapters.languages: '{language}' is listed twice"
            );
            // It names a directory, and tensors.
            ensure!(
                is_code(language),
                "adapters.languages: '{language}': a language's code has letters, digits, '-' and '_' only"
            );
            ensure!(
                !self.is_on() || trained.is_empty() || trained.contains(language),
                "adapters.languages: '{language}' is not among the languages that are trained on ({}); its adapter would \
                 learn nothing",
                trained.join(", ")
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_values_name_their_key() {
        let refused = |change: &dyn Fn(&mut AdapterSpec), part: &str| {
            let mut spec = AdapterSpec { kind: AdapterKind::Bottleneck, ..AdapterSpec::default() };
            change(&mut spec);
            let error = format!("{:#}", spec.check(&["de".into(), "en".into()]).expect_err(part));
            assert!(error.contains(part), "{error}");
        };
        refused(&|s| s.reduction = 0, "adapters.reduction = 0");
        refused(&|s| s.rank = 0, "adapters.rank = 0");
        refused(&|s| s.alpha = f64::NAN, "adapters.alpha");
        refused(&|s| s.languages = vec!["de".into(), "de".into()], "listed twice");
        refused(&|s| s.languages = vec!["fr".into()], "'fr' is not among");
        refused(&|s| s.languages = vec!["../x".into()], "'../x'");
        refused(&|s| (s.kind, s.invertible) = (AdapterKind::Lora, true), "adapters.invertible");
    }
}
