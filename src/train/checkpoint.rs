//! Saving and restoring a model in training: weights, optimiser state, and where it stands.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::Best;
use super::trainer::Trainer;
use crate::encoder::{read_tensors, write_tensors, write_views};
use crate::files::{replace, whole_dir};
use crate::ops::{AdamW, global_norm};
use crate::seal::{self, Sums};

/// Version of `trainer.json`. 1 had no checksums; it is still read.
const VERSION: u32 = 2;

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
    /// The checkpoint's other files.
    #[serde(default)]
    pub files: Sums,
    /// Updates that each parameter had; empty: as many as steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub updates: Vec<u64>,
    /// `train.chunk` of the step before it; absent in checkpoints of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<usize>,
    /// SHA-256 of the base's weights, where they are frozen and not in the checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}

/// A moment of one parameter, copied only while it is written.
struct Moment<'a> {
    optimiser: &'a AdamW,
    index: usize,
    is_first: bool,
    shape: &'a [usize],
    /// The trait knows no errors: what fails is told here, and looked at before the file counts.
    failed: &'a RefCell<Option<candle_core::Error>>,
}

impl safetensors::View for Moment<'_> {
    fn dtype(&self) -> safetensors::Dtype {
        safetensors::Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.optimiser.moment_bytes(self.index, self.is_first).unwrap_or_else(|error| {
            self.failed.replace(Some(error));
            vec![0; self.data_len()]
        }))
    }

    fn data_len(&self) -> usize {
        4 * self.shape.iter().product::<usize>()
    }
}

impl Trainer {
    /// Writes a checkpoint directory, whole or not at all.
    ///
    /// # Errors
    /// Where the disk is full or the place is read-only.
    pub fn save(&self, dir: &Path, progress: &Progress) -> Result<()> {
        self.check_finite()?;
        let is_even = self.optimiser.updates().iter().all(|u| *u == self.step as u64);
        let updates = if is_even { Vec::new() } else { self.optimiser.updates().to_vec() };
        let progress = Progress {
            v: VERSION,
            step: self.step,
            updates,
            chunk: Some(self.spec.train.chunk),
            base: self.frozen_base(),
            ..progress.clone()
        };
        whole_dir(dir, |dir| {
            write_tensors(&dir.join("model.safetensors"), &self.encoder.state()?)?;
            self.save_moments(&dir.join("optimizer.safetensors"))?;
            let files = seal::sums(dir)?;
            let progress = Progress { files, ..progress };
            replace(&dir.join("trainer.json"), &seal::pretty(&progress)?)
        })
    }

    /// SHA-256 of the base's weights, where they are not trained.
    fn frozen_base(&self) -> Option<String> {
        let origin = self.encoder.adapters.as_ref()?.origin.as_ref()?;
        Some(origin.weights_sha256.clone())
    }

    /// Writes the optimiser's state, one tensor at a time: all of it at once would be the most memory of a whole run.
    fn save_moments(&self, path: &Path) -> Result<()> {
        let mut names: Vec<(String, usize, bool)> = (0..self.encoder.parameters.tensors.len())
            .filter(|i| self.encoder.parameters.trainable[*i])
            .flat_map(|i| [(format!("first.{i}"), i, true), (format!("second.{i}"), i, false)])
            .collect();
        names.sort();
        let failed = RefCell::new(None);
        let views = names.iter().map(|(name, index, is_first)| {
            let shape = self.encoder.parameters.tensors[*index].dims();
            (
                name,
                Moment {
                    optimiser: &self.optimiser,
                    index: *index,
                    is_first: *is_first,
                    shape,
                    failed: &failed,
                },
            )
        });
        write_views(path, views.collect(), HashMap::from([("format".to_owned(), "pt".to_owned())]))?;
        failed.into_inner().map_or(Ok(()), |error| Err(error).context("reading the optimiser's state"))
    }

    /// Refuses weights that are not finite: a checkpoint of them would take the place of a good one.
    fn check_finite(&self) -> Result<()> {
        let norm = global_norm(&self.encoder.parameters.tensors)?;
        if norm.is_finite() {
            return Ok(());
        }
        Err(self.diverged("the weights are not finite any more, so no checkpoint of this step was written"))
    }

    /// Goes on from a checkpoint.
    ///
    /// # Errors
    /// Names the file, and the tensor, that is missing, damaged (see [`seal::is_damage`]), or of another architecture.
    pub fn restore(&mut self, dir: &Path) -> Result<Progress> {
        let trainer = dir.join("trainer.json");
        let progress: Progress = seal::read_file(&trainer, 2, VERSION)?;
        seal::check(dir, &progress.files)?;
        let tensors = |path: &Path| {
            // Version 1 has no checksums, but a file that is cut off or overwritten is no safetensors file.
            read_tensors(path).map_err(|e| seal::damaged(&path.display().to_string(), &format!("{e:#}")))
        };
        let own = self.frozen_base();
        ensure!(
            progress.base == own,
            "{}: the checkpoint was written with {}, and the spec now has {}",
            trainer.display(),
            described(progress.base.as_deref()),
            described(own.as_deref())
        );
        let path = dir.join("model.safetensors");
        self.encoder
            .restore(&tensors(&path)?)
            .with_context(|| format!("{}: a checkpoint of another architecture", path.display()))?;
        let path = dir.join("optimizer.safetensors");
        let moments = tensors(&path)?;
        let trainable = &self.encoder.parameters.trainable;
        for index in (0..trainable.len()).filter(|i| trainable[*i]) {
            let updates = progress.updates.get(index).copied().unwrap_or(progress.step as u64);
            let get = |name: &str| {
                let key = format!("{name}.{index}");
                moments.get(&key).with_context(|| format!("{}: tensor '{key}' is missing", path.display()))
            };
            self.optimiser
                .restore(index, get("first")?, get("second")?, updates)
                .with_context(|| format!("{}: tensor {index}", path.display()))?;
        }
        self.step = progress.step;
        Ok(progress)
    }
}

/// What a checkpoint's base is, for messages.
fn described(base: Option<&str>) -> String {
    match base {
        Some(hash) => format!("a frozen base (weights {hash:.12}...)"),
        None => "a base that is trained".to_owned(),
    }
}
