//! Values that no experiment can have: each is refused with its key, its value and what is allowed.

use anyhow::{Result, bail, ensure};

use super::{DatasetRef, ExperimentSpec};

impl ExperimentSpec {
    /// Looks whether everything that the spec names on disk is there, before a run is made of it.
    ///
    /// # Errors
    /// Names the key and the path that is missing.
    pub fn check_paths(&self) -> Result<()> {
        crate::corpus::check_present(self)
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// The first impossible value: its key, the value, and what is allowed.
    pub fn check(&self) -> Result<()> {
        let (model, train) = (&self.model, &self.train);
        ensure!(self.v == super::VERSION, "v = {}: must be {}", self.v, super::VERSION);
        ensure!(!self.name.trim().is_empty(), "name: must not be empty");
        ensure!(
            self.name.len() <= 80
                && !self.name.contains(['/', '\\', '\0', '\n'])
                && !self.name.starts_with('.'),
            "name = {:?}: at most 80 bytes, no '/', '\\' or line break, and no '.' at the start (it names a directory)",
            self.name
        );
        for (index, language) in self.languages.iter().enumerate() {
            ensure!(!self.languages[..index].contains(language), "languages: '{language}' is listed twice");
        }
        ensure!(!model.base.is_empty(), "model.base: must be 'demo' or a model directory");
        between("model.max_query_tokens", model.max_query_tokens, 4, 8192)?;
        between("model.max_passage_tokens", model.max_passage_tokens, 4, 8192)?;
        if let Some(dropout) = model.dropout {
            ensure!(
                (0.0..1.0).contains(&dropout),
                "model.dropout = {dropout}: must be at least 0 and below 1"
            );
        }
        self.adapters.check(&self.languages)?;
        self.robust.check()?;
        let weights = self.sampling.weights()?;
        if weights.cross > 0.0 && self.languages.len() == 1 {
            bail!("sampling: X-Y batches need at least two languages, but languages = {:?}", self.languages);
        }
        ensure!(
            !self.data.train.is_empty(),
            "data.train: name at least one dataset, for example [\"demo[train]\"]"
        );
        for (key, list) in [
            ("data.train", &self.data.train),
            ("data.validation", &self.data.validation),
            ("data.evaluation", &self.data.evaluation),
        ] {
            DatasetRef::check_labels(key, list)?;
        }
        self.data.mixture.check(self.data.train.len())?;
        ensure!(
            train.hard_negatives <= 64,
            "train.hard_negatives = {}: must be at most 64",
            train.hard_negatives
        );
        between("train.steps", train.steps, 1, 100_000_000)?;
        between("train.batch", train.batch, 2, 1_000_000)?;
        ensure!(
            train.chunk <= train.batch,
            "train.chunk = {}: must be 0 (the whole batch) or at most train.batch = {}",
            train.chunk,
            train.batch
        );
        between("train.accumulate", train.accumulate, 1, 100_000)?;
        positive("train.learning_rate", train.learning_rate)?;
        between("train.validate_every", train.validate_every, 0, 100_000_000)?;
        between("train.evaluate_every", train.evaluate_every, 0, 100_000_000)?;
        between("train.checkpoint_every", train.checkpoint_every, 0, 100_000_000)?;
        between("train.keep_checkpoints", train.keep_checkpoints, 0, 100_000)?;
        ensure!(
            (0.0..=1.0).contains(&train.warmup_ratio),
            "train.warmup_ratio = {}: must lie between 0 and 1 (share of the steps)",
            train.warmup_ratio
        );
        not_negative("train.weight_decay", train.weight_decay)?;
        for beta in train.betas {
            ensure!((0.0..1.0).contains(&beta), "train.betas: {beta} must be at least 0 and below 1");
        }
        positive("train.epsilon", train.epsilon)?;
        not_negative("train.clip_norm", train.clip_norm)?;
        positive("train.temperature", train.temperature)?;
        not_negative("train.early_stopping.min_delta", train.early_stopping.min_delta)?;
        if train.early_stopping.patience > 0 {
            ensure!(
                train.validate_every > 0,
                "train.early_stopping.patience = {}: needs train.validate_every > 0, or nothing is ever compared",
                train.early_stopping.patience
            );
            ensure!(
                train.keep_best,
                "train.keep_best = false: early stopping (patience = {}) takes the best checkpoint in the end; leave it \
                 true, or set train.early_stopping.patience=0",
                train.early_stopping.patience
            );
            ensure!(
                !self.data.validation.is_empty(),
                "train.early_stopping.patience = {}: needs a dataset in data.validation",
                train.early_stopping.patience
            );
        }
        let device = train.device.as_str();
        let known = matches!(device, "auto" | "cpu" | "cuda" | "metal")
            || device.strip_prefix("cuda:").is_some_and(|n| n.parse::<usize>().is_ok());
        ensure!(known, "train.device = {device:?}: must be auto, cpu, cuda, cuda:N or metal");
        between("evaluate.batch_tokens", self.evaluate.batch_tokens, 64, 10_000_000)
    }
}

fn between(key: &str, value: usize, low: usize, high: usize) -> Result<()> {
    ensure!((low..=high).contains(&value), "{key} = {value}: must lie between {low} and {high}");
    Ok(())
}

fn positive(key: &str, value: f64) -> Result<()> {
    ensure!(value.is_finite() && value > 0.0, "{key} = {value}: must be a number above 0");
    Ok(())
}

fn not_negative(key: &str, value: f64) -> Result<()> {
    ensure!(value.is_finite() && value >= 0.0, "{key} = {value}: must be a number of at least 0");
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::spec::parse;

    #[test]
    fn impossible_values_name_their_key_and_the_range() {
        for (set, key) in [
            ("sampling.alpha=1.4", "sampling.alpha = 1.4"),
            ("sampling.alpha=-0.1", "sampling.alpha = -0.1"),
            ("sampling.alpha=nan", "sampling.alpha"),
            ("train.batch=1", "train.batch = 1"),
            ("train.steps=0", "train.steps = 0"),
            ("train.learning_rate=0", "train.learning_rate = 0"),
            ("train.temperature=-1", "train.temperature = -1"),
            ("train.warmup_ratio=2", "train.warmup_ratio = 2"),
            ("train.chunk=4096", "train.chunk = 4096"),
            ("train.accumulate=0", "train.accumulate = 0: must lie between 1"),
            ("train.accumulate=-2", "train.accumulate"),
            ("train.accumulate=1.5", "train.accumulate"),
            ("train.device=tpu", "train.device = \"tpu\""),
            ("model.dropout=1.0", "model.dropout = 1"),
            ("name=a/b", "name"),
            ("languages=[\"en\", \"en\"]", "'en' is listed twice"),
            ("languages=[\"en\"]", "X-Y batches need at least two languages"),
            ("train.early_stopping.patience=2", "train.validate_every"),
            ("data.train=[]", "data.train"),
            ("data.mixture.temperature=-1", "data.mixture.temperature = -1"),
            ("data.mixture.weights=[1, 2]", "data.mixture.weights"),
            ("train.keep_checkpoints=100001", "train.keep_checkpoints = 100001: must lie between 0"),
            ("train.keep_checkpoints=-1", "train.keep_checkpoints"),
            ("train.checkpoint_every=200000000", "train.checkpoint_every = 200000000"),
            ("train.hard_negatives=65", "train.hard_negatives = 65"),
            ("data.train=[\"a[\"]", "NAME[PART]"),
        ] {
            let message = format!("{:#}", parse("", &[set.to_owned()]).expect_err(set));
            assert!(message.contains(key), "{set}: {message}");
        }
    }
}
