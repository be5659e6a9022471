//! The setup form: the fields of a spec, checked as they are typed, and the plan that would run.

use super::message::{Plan, Preset};
use crate::spec::{DatasetRef, ExperimentSpec, PlanSchedule, SamplingSpec, parse};

/// A row of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub label: &'static str,
    /// Key of the spec, as `--set` takes it; empty for the two rows that are not fields.
    pub key: &'static str,
    pub hint: &'static str,
}

const fn field(label: &'static str, key: &'static str, hint: &'static str) -> Field {
    Field { label, key, hint }
}

/// The form. The first row chooses a preset, the last one starts.
pub const FIELDS: [Field; 36] = [
    field("preset", "", "Enter lists the presets; left and right walk through them"),
    field("alpha", "sampling.alpha", "share of X-X-mono batches, the rest is X-Y; left and right move it"),
    field(
        "mix",
        "sampling",
        "three or four kinds instead of alpha: mono 2 cross 1 multi 1; empty: alpha decides",
    ),
    field("schedule", "sampling.schedule", "exact or bernoulli"),
    field("model", "model.base", "demo, or a directory with config.json and model.safetensors"),
    field("train", "data.train", "NAME[PART]=PATH, several with commas; demo[train] is bundled"),
    field("validation", "data.validation", "its loss decides on early stopping; may be empty"),
    field("evaluation", "data.evaluation", "NAME[PART]=PATH, several with commas"),
    field("languages", "languages", "codes with commas; empty: all that the data have"),
    field("steps", "train.steps", "optimiser steps"),
    field("batch", "train.batch", "pairs in a batch; each question has one negative less"),
    field("chunk", "train.chunk", "pairs in memory at once, 0: all; changes memory, not results"),
    field("accumulate", "train.accumulate", "batches whose gradients make one step; adds no negatives"),
    field("learning rate", "train.learning_rate", "the highest, after the warm-up"),
    field("warm-up", "train.warmup_ratio", "share of the steps, 0 to 1"),
    field("temperature", "train.temperature", "of InfoNCE; similarities are divided by it"),
    field("query tokens", "model.max_query_tokens", "longer questions are cut"),
    field("passage tokens", "model.max_passage_tokens", "longer passages are cut"),
    field("validate", "train.validate_every", "every so many steps; 0: at the end"),
    field("evaluate", "train.evaluate_every", "every so many steps; 0: at the end"),
    field("seed", "seed", "of every random stream"),
    field("device", "train.device", "auto, cpu, cuda, cuda:N or metal"),
    field("adapters", "adapters.kind", "none, bottleneck or lora; one for each language"),
    field("adapter base", "adapters.base", "frozen: only adapters learn; trained: the base too"),
    field("adapters for", "adapters.languages", "codes with commas; empty: all that are trained on"),
    field("reduction", "adapters.reduction", "bottleneck: hidden width over its width"),
    field("invertible", "adapters.invertible", "bottleneck: also a map after the embeddings, true or false"),
    field("rank", "adapters.rank", "lora: of the change of each projection"),
    field("LoRA alpha", "adapters.alpha", "lora: the change is multiplied by alpha / rank"),
    field("code-switch", "robust.code_switch", "probability that a known word is translated, 0 to 1"),
    field("switched", "robust.sides", "questions, passages or both"),
    field("lexicons", "robust.lexicons", "FROM-TO=FILE, several with commas; demo is bundled"),
    field("perturbation", "robust.perturbation", "of word embeddings: none, random or adversarial"),
    field("radius", "robust.radius", "its length over that of the text's word embeddings, 0 to 1"),
    field("name", "name", "the run is called after it"),
    field("start", "", "Enter starts training with this spec"),
];

/// Keys whose values are lists of texts, and texts.
const LISTS: [&str; 3] = ["languages", "adapters.languages", "robust.lexicons"];
const TEXTS: [&str; 8] = [
    "name",
    "model.base",
    "train.device",
    "sampling.schedule",
    "adapters.kind",
    "adapters.base",
    "robust.sides",
    "robust.perturbation",
];

/// Keys that can be walked through, with their values.
const CHOICES: [(&str, &[&str]); 6] = [
    ("train.device", &["auto", "cpu", "cuda"]),
    ("adapters.kind", &["none", "bottleneck", "lora"]),
    ("adapters.base", &["frozen", "trained"]),
    ("adapters.invertible", &["false", "true"]),
    ("robust.sides", &["both", "questions", "passages"]),
    ("robust.perturbation", &["none", "random", "adversarial"]),
];

/// Rows of [`FIELDS`] that screens treat on their own.
pub const PRESET: usize = 0;
pub const ALPHA: usize = 1;
pub const START: usize = FIELDS.len() - 1;

/// State of the setup screen.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    pub presets: Vec<Preset>,
    /// Which of them the spec came from.
    pub preset: Option<usize>,
    pub spec: ExperimentSpec,
    pub row: usize,
    pub preview: Option<Result<Box<Plan>, String>>,
    /// Texts of a large dataset that were read for the preview so far, of about how many.
    pub reading: Option<(usize, usize)>,
    /// Number of the preview that was asked for last.
    pub generation: u64,
    /// Rows that the plan is scrolled down.
    pub scroll: usize,
}

impl Setup {
    /// Why the spec cannot start, as far as it can be told without reading anything.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.spec.check().err().map(|e| format!("{e:#}"))
    }

    /// Alpha, where only X-X-mono and X-Y are drawn.
    #[must_use]
    pub fn alpha(&self) -> Option<f64> {
        self.spec.sampling.weights().ok()?.alpha()
    }

    /// What is done while there is no preview yet.
    #[must_use]
    pub fn planning(&self) -> String {
        match self.reading {
            Some((done, total)) => format!(
                "planning ... {:.0}% of about {} million texts read",
                100.0 * done as f64 / total.max(1) as f64,
                (total as f64 / 1e5).round() / 10.0
            ),
            None => "planning ...".into(),
        }
    }

    /// What a row shows.
    #[must_use]
    pub fn value(&self, row: usize) -> String {
        let spec = &self.spec;
        let list =
            |names: &[DatasetRef]| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match FIELDS[row].key {
            "sampling.alpha" => self.alpha().map_or_else(
                || "the mix decides".into(),
                |alpha| format!("{alpha:.4}").trim_end_matches('0').trim_end_matches('.').to_owned(),
            ),
            "sampling" => {
                let s = &spec.sampling;
                let given = [("mono", s.mono), ("cross", s.cross), ("same", s.same), ("multi", s.multi)];
                let words: Vec<String> =
                    given.iter().filter_map(|(name, w)| Some(format!("{name} {}", (*w)?))).collect();
                words.join(" ")
            }
            "sampling.schedule" => match spec.sampling.schedule {
                PlanSchedule::Exact => "exact".into(),
                PlanSchedule::Bernoulli => "bernoulli".into(),
            },
            "model.base" => spec.model.base.clone(),
            "data.train" => list(&spec.data.train),
            "data.validation" => list(&spec.data.validation),
            "data.evaluation" => list(&spec.data.evaluation),
            "languages" => spec.languages.join(", "),
            "train.steps" => spec.train.steps.to_string(),
            "train.batch" => spec.train.batch.to_string(),
            "train.chunk" => spec.train.chunk.to_string(),
            "train.accumulate" => spec.train.accumulate.to_string(),
            "train.learning_rate" => super::text::small(spec.train.learning_rate),
            "train.warmup_ratio" => spec.train.warmup_ratio.to_string(),
            "train.temperature" => spec.train.temperature.to_string(),
            "model.max_query_tokens" => spec.model.max_query_tokens.to_string(),
            "model.max_passage_tokens" => spec.model.max_passage_tokens.to_string(),
            "train.validate_every" => spec.train.validate_every.to_string(),
            "train.evaluate_every" => spec.train.evaluate_every.to_string(),
            "seed" => spec.seed.to_string(),
            "train.device" => spec.train.device.clone(),
            "adapters.kind" => spec.adapters.kind.name().into(),
            "adapters.base" => spec.adapters.base.name().into(),
            "adapters.languages" => spec.adapters.languages.join(", "),
            "adapters.reduction" => spec.adapters.reduction.to_string(),
            "adapters.invertible" => spec.adapters.invertible.to_string(),
            "adapters.rank" => spec.adapters.rank.to_string(),
            "adapters.alpha" => spec.adapters.alpha.to_string(),
            "robust.code_switch" => spec.robust.code_switch.to_string(),
            "robust.sides" => spec.robust.sides.name().into(),
            "robust.lexicons" => spec.robust.lexicons.join(", "),
            "robust.perturbation" => spec.robust.perturbation.name().into(),
            "robust.radius" => spec.robust.radius.to_string(),
            "name" => spec.name.clone(),
            _ if row == PRESET => self
                .preset
                .and_then(|p| self.presets.get(p))
                .map_or_else(|| "none; this spec is your own".into(), |p| p.name.clone()),
            _ => String::new(),
        }
    }

    /// The spec with a field set from text.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn with(&self, row: usize, text: &str) -> Result<ExperimentSpec, String> {
        let key = FIELDS[row].key;
        let text = text.trim();
        if key == "sampling" {
            return self.with_mix(text);
        }
        let value = if key.starts_with("data.") || LISTS.contains(&key) {
            let items: Vec<String> =
                text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(|t| format!("{t:?}")).collect();
            format!("[{}]", items.join(", "))
        } else if TEXTS.contains(&key) {
            format!("{text:?}")
        } else {
            text.to_owned()
        };
        let spec = self.spec.to_toml().and_then(|toml| parse(&toml, &[format!("{key}={value}")]));
        spec.map_err(|e| format!("{e:#}"))
    }

    /// The spec with other weights: words and numbers in turn, or nothing.
    fn with_mix(&self, text: &str) -> Result<ExperimentSpec, String> {
        let words: Vec<&str> = text.split([' ', ',', '=']).filter(|w| !w.is_empty()).collect();
        if words.is_empty() {
            let alpha = self.alpha().unwrap_or(0.5);
            return self.with(ALPHA, &format!("{alpha:?}"));
        }
        let mut weights = Vec::new();
        for pair in words.chunks(2) {
            match pair {
                [name @ ("mono" | "cross" | "same" | "multi"), weight] => {
                    weights.push(format!("sampling.{name}={weight}"));
                }
                _ => {
                    return Err(format!(
                        "'{}': write mono, cross, same or multi and a weight, as mono 2 cross 1",
                        pair.join(" ")
                    ));
                }
            }
        }
        // From a clean slate, so that a weight that is no longer named is gone.
        let spec = ExperimentSpec {
            sampling: SamplingSpec { schedule: self.spec.sampling.schedule, ..SamplingSpec::default() },
            ..self.spec.clone()
        };
        spec.to_toml().and_then(|toml| parse(&toml, &weights)).map_err(|e| format!("{e:#}"))
    }

    /// The spec with a field moved a notch; `None` where it has no notches.
    #[must_use]
    pub fn nudged(&self, row: usize, is_up: bool) -> Option<Result<ExperimentSpec, String>> {
        let double = |n: usize| if is_up { n.saturating_mul(2).max(1) } else { n / 2 };
        let text = match FIELDS[row].key {
            "sampling.alpha" => {
                let by = if is_up { 0.05 } else { -0.05 };
                let moved = (self.alpha().unwrap_or(0.5) + by).clamp(0.0, 1.0);
                format!("{:?}", (moved * 100.0).round() / 100.0)
            }
            "sampling.schedule" => match self.spec.sampling.schedule {
                PlanSchedule::Exact => "bernoulli".into(),
                PlanSchedule::Bernoulli => "exact".into(),
            },
            "train.steps" => double(self.spec.train.steps).max(1).to_string(),
            "train.batch" => double(self.spec.train.batch).max(2).to_string(),
            "train.chunk" => double(self.spec.train.chunk).to_string(),
            "train.accumulate" => double(self.spec.train.accumulate).to_string(),
            "seed" if is_up => self.spec.seed.saturating_add(1).to_string(),
            "seed" => self.spec.seed.saturating_sub(1).to_string(),
            "adapters.reduction" => double(self.spec.adapters.reduction).max(1).to_string(),
            "adapters.rank" => double(self.spec.adapters.rank).max(1).to_string(),
            "robust.code_switch" => {
                let moved = self.spec.robust.code_switch + if is_up { 0.05 } else { -0.05 };
                format!("{:?}", (moved.clamp(0.0, 1.0) * 100.0).round() / 100.0)
            }
            key => {
                let (_, names) = CHOICES.iter().find(|(k, _)| *k == key)?;
                let own = self.value(row);
                let at = names.iter().position(|n| *n == own).unwrap_or(0);
                names[(at + if is_up { 1 } else { names.len() - 1 }) % names.len()].to_owned()
            }
        };
        Some(self.with(row, &text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str) -> usize {
        FIELDS.iter().position(|f| f.key == key).unwrap_or_else(|| panic!("{key}"))
    }

    #[test]
    fn every_field_takes_back_what_it_shows() {
        let setup = Setup::default();
        for (index, field) in FIELDS.iter().enumerate().filter(|(_, f)| !f.key.is_empty()) {
            let shown = setup.value(index);
            let spec = setup.with(index, &shown).unwrap_or_else(|e| panic!("{}: {e}", field.key));
            assert_eq!(Setup { spec, ..Setup::default() }.value(index), shown, "{}", field.key);
        }
    }

    #[test]
    fn mistakes_name_the_key() {
        let setup = Setup::default();
        for (key, text) in [("train.steps", "many"), ("sampling.alpha", "1.5"), ("train.temperature", "0")] {
            let message = setup.with(row(key), text).expect_err(key);
            assert!(message.contains(key.rsplit('.').next().unwrap_or(key)), "{key}: {message}");
        }
    }

    #[test]
    fn the_slider_stays_between_its_ends() {
        let mut setup = Setup::default();
        for _ in 0..30 {
            setup.spec = setup.nudged(ALPHA, true).expect("a slider").expect("a spec");
        }
        assert_eq!(setup.alpha(), Some(1.0));
        for _ in 0..15 {
            setup.spec = setup.nudged(ALPHA, false).expect("a slider").expect("a spec");
        }
        assert_eq!(setup.alpha(), Some(0.25));
        assert!(setup.nudged(row("model.base"), true).is_none());
    }

    #[test]
    fn choices_are_walked_through_in_a_circle() {
        let mut setup = Setup::default();
        for (key, names) in CHOICES {
            let at = row(key);
            let start = setup.value(at);
            let mut seen = Vec::new();
            for _ in 0..names.len() {
                setup.spec = setup.nudged(at, true).expect(key).unwrap_or_else(|e| panic!("{key}: {e}"));
                seen.push(setup.value(at));
            }
            seen.sort();
            let mut all: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            all.sort();
            assert_eq!((seen, setup.value(at)), (all, start), "{key}");
        }
        setup.spec = setup.with(row("robust.lexicons"), "demo, en-de=x.tsv").expect("lexicons");
        assert_eq!(setup.spec.robust.lexicons, ["demo", "en-de=x.tsv"]);
        setup.spec = setup.nudged(row("robust.code_switch"), true).expect("a notch").expect("a spec");
        assert_eq!(setup.value(row("robust.code_switch")), "0.05");
    }

    #[test]
    fn a_mix_is_words_and_weights() {
        let mut setup = Setup::default();
        let mix = row("sampling");
        setup.spec = setup.with(mix, "mono 2 cross=1, multi 1").expect("a mix");
        let weights = setup.spec.sampling.weights().expect("weights");
        assert_eq!((weights.mono, weights.cross, weights.same, weights.multi), (0.5, 0.25, 0.0, 0.25));
        assert_eq!((setup.value(mix), setup.alpha()), ("mono 2 cross 1 multi 1".into(), None));
        setup.spec = setup.with(mix, "same 1").expect("another mix");
        assert_eq!(setup.spec.sampling.weights().expect("weights").same, 1.0);
        setup.spec = setup.with(mix, "").expect("none");
        assert_eq!(setup.alpha(), Some(0.5));
        for wrong in ["mono", "mono x", "oops 1", "mono -1", "mono 0"] {
            assert!(setup.with(mix, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn alpha_replaces_weights() {
        let mut setup = Setup::default();
        setup.spec.sampling = SamplingSpec { same: Some(1.0), ..SamplingSpec::default() };
        assert_eq!(setup.with(ALPHA, "0.3").expect("a spec").sampling.weights().expect("weights").mono, 0.3);
    }
}
