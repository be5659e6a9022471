//! Checkpoints of a run: saving them, keeping the newest and the best, and going on from the newest that is whole.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::execute::{Data, Outcome, Worker};
use super::{EventLog, RunDir, shown};
use crate::files;
use crate::seal;
use crate::train::{Diverged, Event, Progress, Record, Trainer};

impl Worker<'_> {
    /// Goes on from the newest checkpoint that is whole.
    pub(super) fn restore(&mut self, trainer: &mut Trainer) -> Result<Progress> {
        let mut damaged: Vec<(PathBuf, anyhow::Error)> = Vec::new();
        for (step, dir) in checkpoints(self.run).into_iter().rev() {
            let progress = match trainer.restore(&dir) {
                Ok(progress) => progress,
                Err(error) if seal::is_damage(&error) => {
                    damaged.push((dir, error));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let rewound = EventLog::rewind(&self.run.events_file(), Some(step))?;
            self.log = EventLog::append(&self.run.events_file())?;
            if let Some(remark) = rewound.remark() {
                self.note(remark)?;
            }
            for (dir, error) in damaged {
                // Out of the way: the run comes to this step again, and saves it again.
                let aside = out_of_the_way(&dir, "damaged")?;
                self.note(format!(
                    "{error}; left out, and kept as {aside}, which nothing reads and you may remove"
                ))?;
            }
            self.saved = Some(step);
            // The run could come here only over finite steps; of the last one's weights only a measurement tells.
            let is_measured = self.run.events()?.iter().any(|r| is_measured(&r.event, step));
            self.good = if is_measured { Some(step) } else { step.checked_sub(1) };
            if !rewound.has_checkpoint {
                // The worker was killed after it had saved it and before it could say so.
                let best = progress.best.is_some_and(|b| b.step == step);
                self.tell(Event::Checkpoint { step, best })?;
            }
            self.note(format!("resumed from the checkpoint after step {step}"))?;
            let chunk = self.spec.train.chunk;
            if let Some(before) = progress.chunk.filter(|before| *before != chunk) {
                self.note(format!(
                    "train.chunk is {chunk} from step {} on; before it was {before}. A repetition of spec.toml is \
                     equal but for rounding",
                    step + 1
                ))?;
            }
            return Ok(progress);
        }
        if let Some((_, error)) = damaged.into_iter().next() {
            return Err(error.context(format!(
                "run '{}' has no checkpoint that is whole; remove {} to begin again with its first step",
                self.run.id(),
                self.run.checkpoints_dir().display()
            )));
        }
        let is_step = |record: &Record| matches!(record.event, Event::Step { .. });
        let lost = self.run.events()?.iter().rev().find(|r| is_step(r)).cloned();
        let rewound = EventLog::rewind(&self.run.events_file(), None)?;
        self.log = EventLog::append(&self.run.events_file())?;
        if let Some(remark) = rewound.remark() {
            self.note(remark)?;
        }
        if let Some(Event::Step { step, .. }) = lost.map(|record| record.event) {
            self.note(format!(
                "no checkpoint was there: the run begins again with step 1, and the {step} steps that it had done are gone; \
                 train.checkpoint_every saves some on the way"
            ))?;
        }
        Ok(Progress::default())
    }

    /// Writes a checkpoint and removes those that are neither among the last nor the best.
    pub(super) fn checkpoint(&mut self, trainer: &Trainer, progress: &Progress) -> Result<()> {
        self.save(trainer, progress)?;
        self.prune(progress)
    }

    /// Writes a checkpoint, if there is none of this step.
    pub(super) fn save(&mut self, trainer: &Trainer, progress: &Progress) -> Result<()> {
        let dir = self.run.checkpoints_dir().join(format!("step-{:06}", trainer.step));
        if !dir.exists() {
            self.log.sync()?;
            trainer.save(&dir, progress)?;
        }
        if self.saved.replace(trainer.step) == Some(trainer.step) {
            return Ok(());
        }
        let best = progress.best.is_some_and(|b| b.step == trainer.step);
        self.tell(Event::Checkpoint { step: trainer.step, best })
    }

    /// Removes checkpoints that are neither among the last nor the best. Until one of those is known to be good, the newest
    /// one that is stays too.
    pub(super) fn prune(&mut self, progress: &Progress) -> Result<()> {
        let kept = progress.best.map(|b| b.step).filter(|_| self.spec.train.keep_best);
        let all = checkpoints(self.run);
        let good =
            all.iter().rev().map(|(step, _)| *step).find(|step| self.good.is_some_and(|good| *step <= good));
        let old = all.len().saturating_sub(self.spec.train.keep_checkpoints.max(1));
        self.has_spare = false;
        for (step, dir) in &all[..old] {
            if Some(*step) == kept {
                continue;
            }
            if Some(*step) == good {
                self.has_spare = true;
            } else {
                files::remove_dir(dir)?;
            }
        }
        Ok(())
    }

    /// The weights after `step` have given finite numbers: a checkpoint of them can stand in for an older one.
    pub(super) fn is_good(&mut self, step: usize, progress: &Progress) -> Result<()> {
        self.good = self.good.max(Some(step));
        if self.has_spare { self.prune(progress) } else { Ok(()) }
    }

    /// The same where the model was evaluated on something: an evaluation ends where an embedding is not finite.
    pub(super) fn is_good_if_evaluated(
        &mut self,
        trainer: &Trainer,
        data: &Data,
        progress: &Progress,
    ) -> Result<()> {
        if data.evaluation.is_empty() { Ok(()) } else { self.is_good(trainer.step, progress) }
    }

    /// The error with what became of the checkpoints, and with the command that does what it advises. Checkpoints that are
    /// not known to be good are set aside, so that a run that goes on does so from one that is.
    pub(super) fn diverged(&mut self, error: Diverged) -> anyhow::Error {
        let mut told = self.set_aside();
        told.extend(checkpoints(self.run).last().map(|(step, _)| {
            format!(
                "what was saved before is kept, and a resume goes on from the checkpoint after step {step}"
            )
        }));
        let told = told.join("; ");
        let error = if told.is_empty() { error } else { error.with(&told) };
        let spec = self.run.spec_file();
        anyhow::anyhow!("{error}: `polymix train {} --set train.learning_rate=...`", shown(&spec))
    }

    /// Sets aside the checkpoints that are not known to be good; says which, and which could not be.
    fn set_aside(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        for (step, dir) in checkpoints(self.run) {
            if self.good.is_none_or(|good| step > good) {
                told.push(match out_of_the_way(&dir, "diverged") {
                    Ok(aside) => format!(
                        "the checkpoint after step {step} is set aside as {aside}: its weights have given no finite number, \
                         nothing reads it, and you may remove it"
                    ),
                    Err(error) => format!(
                        "the checkpoint after step {step} has weights that have given no finite number, and cannot be set \
                         aside ({error:#}): remove it before you resume"
                    ),
                });
            }
        }
        if !told.is_empty() {
            // A log that cannot be written (a full disk) must not keep the news from who hears of the error.
            let _ = self.note(told.join("; "));
        }
        told
    }

    pub(super) fn stop(&mut self, trainer: &Trainer, progress: &Progress) -> Result<(Outcome, String)> {
        self.checkpoint(trainer, progress)?;
        self.last_numbers(trainer.step, self.spec.train.steps, progress)?;
        self.stopped(trainer.step)
    }

    /// Ends a run that is asked to stop; what is to be saved is saved.
    pub(super) fn stopped(&mut self, step: usize) -> Result<(Outcome, String)> {
        self.tell(Event::Stopped { step })?;
        let message = match step {
            0 => "stopped before the first step; resume begins with it".to_owned(),
            step => format!("stopped after step {step}; resume goes on from there"),
        };
        Ok((Outcome::Stopped, message))
    }
}

/// Checkpoints of a run as (step, directory), oldest first; only whole ones exist under these names.
#[must_use]
pub fn checkpoints(run: &RunDir) -> Vec<(usize, PathBuf)> {
    let mut found: Vec<(usize, PathBuf)> = files::children(&run.checkpoints_dir())
        .into_iter()
        .filter_map(|dir| {
            let step = dir.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()?;
            dir.join("trainer.json").is_file().then_some((step, dir))
        })
        .collect();
    found.sort();
    found
}

/// True where the event says that the weights after `step` gave finite numbers.
fn is_measured(event: &Event, step: usize) -> bool {
    match event {
        Event::Validation { step: at, loss, .. } => *at == step && loss.is_some(),
        Event::Evaluation { step: at, .. } => *at == step,
        _ => false,
    }
}

/// Renames a checkpoint so that it is none any more; its new name, which begins with `why`.
fn out_of_the_way(dir: &Path, why: &str) -> Result<String> {
    let aside = dir.with_file_name(format!("{why}-{}", file_name(dir)));
    let _ = std::fs::remove_dir_all(&aside);
    std::fs::rename(dir, &aside).with_context(|| format!("{}: cannot rename", dir.display()))?;
    Ok(file_name(&aside))
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}
