//! Saving and restoring a model in training: weights, optimiser state, and where it stands.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::Best;
use super::trainer::Trainer;
use crate::encoder::{read_tensors, write_tensors};
use crate::files::{replace, whole_dir};

/// Version of `trainer.json`.
const VERSION: u32 = 1;

/// Where training stands, beside the weights and the optimiser's moments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Version of the format.
    pub v: u32,
    /// Steps done.
    pub step: usize,
    /// Best validation so far.
    pub best: Option<Best>,
    /// Validations since the best one.
    pub waited: usize,
    /// Pairs drawn by `[question language, passage language]`.
    pub drawn: Vec<u64>,
}

impl Trainer {
    /// Writes a checkpoint directory, whole or not at all.
    ///
    /// # Errors
    /// Where the disk is full or the place is read-only.
    pub fn save(&self, dir: &Path, progress: &Progress) -> Result<()> {
        let progress = Progress { v: VERSION, step: self.step, ..progress.clone() };
        whole_dir(dir, |dir| {
            write_tensors(&dir.join("model.safetensors"), &self.encoder.state()?)?;
            let mut moments = HashMap::new();
            for (index, parameter) in self.encoder.parameters.tensors.iter().enumerate() {
                let (first, second) = self.optimiser.moments(index, parameter.dims())?;
                moments.insert(format!("first.{index}"), first);
                moments.insert(format!("second.{index}"), second);
            }
            write_tensors(&dir.join("optimizer.safetensors"), &moments)?;
            replace(&dir.join("trainer.json"), &serde_json::to_vec_pretty(&progress)?)
        })
    }

    /// Goes on from a checkpoint.
    ///
    /// # Errors
    /// Names the file, and the tensor, that is missing, damaged, or of another architecture.
    pub fn restore(&mut self, dir: &Path) -> Result<Progress> {
        let path = dir.join("trainer.json");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("{}: cannot read", path.display()))?;
        let progress: Progress =
            serde_json::from_str(&text).with_context(|| format!("{}: not a checkpoint", path.display()))?;
        ensure!(
            progress.v <= VERSION,
            "{}: written by a newer polymix (format {}); update polymix",
            path.display(),
            progress.v
        );
        let path = dir.join("model.safetensors");
        self.encoder
            .restore(&read_tensors(&path)?)
            .with_context(|| format!("{}: a checkpoint of another architecture", path.display()))?;
        let path = dir.join("optimizer.safetensors");
        let moments = read_tensors(&path)?;
        for index in 0..self.encoder.parameters.tensors.len() {
            let get = |name: &str| {
                let key = format!("{name}.{index}");
                moments.get(&key).with_context(|| format!("{}: tensor '{key}' is missing", path.display()))
            };
            self.optimiser
                .restore(index, get("first")?, get("second")?)
                .with_context(|| format!("{}: tensor {index}", path.display()))?;
        }
        self.optimiser.updates = progress.step as u64;
        self.step = progress.step;
        Ok(progress)
    }
}
