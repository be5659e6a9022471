//! How a run ends: its last numbers, its evaluation and its model.

use std::time::Instant;

use anyhow::{Context, Result};

use super::evaluation::evaluate_dataset;
use super::execute::{DRAWN_EVERY, Data, Outcome, Worker, due};
use crate::evaluate::NotFinite;
use crate::files;
use crate::machine::memory;
use crate::spec::TrainSpec;
use crate::train::{DrawnPairs, Event, Progress, Record, Score, Trainer};

impl Worker<'_> {
    /// What was drawn and how fast it went up to `step`, where a run ends or stops between two tellings. It comes after the
    /// checkpoint, so that a run that goes on drops it and ends as if it had never stopped.
    pub(super) fn last_numbers(&mut self, step: usize, steps: usize, progress: &Progress) -> Result<()> {
        self.last_sample(step, steps)?;
        self.last_drawn(step, progress)
    }

    fn last_sample(&mut self, step: usize, steps: usize) -> Result<()> {
        let train = TrainSpec { steps, ..self.spec.train.clone() };
        if let Some(sample) = self.pulse.as_mut().and_then(|p| p.sample(step, &train, true)) {
            self.tell(sample)?;
        }
        Ok(())
    }

    /// What an evaluation, or all of the run, took at its height: samples are only taken after steps, and an evaluation may
    /// take more than any.
    fn tell_memory(&mut self) -> Result<()> {
        let Some(used) = memory() else { return Ok(()) };
        let step = self.step;
        self.tell(Event::Memory { step, memory: Some(used.resident), peak_memory: used.peak })
    }

    /// Where the run ends it comes after the evaluations, which stay where the run is stopped between them.
    pub(super) fn last_drawn(&mut self, step: usize, progress: &Progress) -> Result<()> {
        if step > 0 && !due(step, DRAWN_EVERY) && step != self.spec.train.steps {
            self.tell(Event::Drawn(DrawnPairs { step, counts: progress.drawn.clone() }))?;
        }
        Ok(())
    }

    /// Evaluates the model as it is; what `known` says of this step is not computed again, and told again only where other
    /// evaluations came after it: the last ones told are those of the model.
    pub(super) fn evaluate(&mut self, trainer: &Trainer, data: &Data, known: &[Record]) -> Result<()> {
        for dataset in &data.evaluation {
            let mut evaluated = known.iter().rev().filter(|r| is_evaluation(&r.event, &dataset.name, None));
            let newest = evaluated.clone().next();
            if let Some(found) =
                evaluated.find(|r| is_evaluation(&r.event, &dataset.name, Some(trainer.step)))
                && self.run.evaluation_dir(trainer.step, &dataset.name).join("summary.json").is_file()
            {
                if newest.is_some_and(|n| !is_evaluation(&n.event, &dataset.name, Some(trainer.step))) {
                    self.tell(found.event.clone())?;
                }
                continue;
            }
            let start = Instant::now();
            let (spec, step) = (self.spec.clone(), trainer.step);
            let evaluation =
                evaluate_dataset(&trainer.encoder, dataset, &spec.model.base, &spec, &mut |event| {
                    // Asked to stop in the middle: a run that goes on evaluates on this dataset again.
                    self.tell_and_go_on(event)
                })
                .map_err(|error| match error.downcast_ref::<NotFinite>() {
                    Some(found) => trainer.diverged(&format!("evaluation on {}: {found}", dataset.name)),
                    None => error,
                })?;
            let dir = self.run.evaluation_dir(step, &dataset.name);
            if dir.exists() {
                // Left by a worker that was killed before it could log it.
                files::remove_dir(&dir)?;
            }
            crate::evaluate::write(&dir, dataset, &evaluation, spec.evaluate.trec_depth)?;
            for note in &evaluation.notes {
                self.note(format!("{}: {note}", dataset.name))?;
            }
            let scores: Vec<Score> = evaluation.summary();
            let seconds = start.elapsed().as_secs_f64();
            if let Some(pulse) = &mut self.pulse {
                pulse.evaluated(&dataset.name, seconds);
            }
            self.tell_memory()?;
            self.tell(Event::Evaluation { step, dataset: dataset.name.clone(), scores, seconds })?;
        }
        Ok(())
    }

    /// Ends a run whose steps are done, or that stops early.
    pub(super) fn finish(
        &mut self,
        trainer: &mut Trainer,
        data: &Data,
        progress: &Progress,
        mut reason: String,
    ) -> Result<(Outcome, String)> {
        // The one before stays until the evaluation shows that this one's numbers are finite.
        self.save(trainer, progress)?;
        self.last_sample(self.step, self.step)?;
        if data.evaluation.is_empty() && self.good.is_none_or(|good| good < trainer.step) && trainer.step > 0
        {
            // Nothing else is to show that the model's numbers are finite.
            trainer.check_loss()?;
            self.is_good(trainer.step, progress)?;
        }
        let best = progress.best.filter(|_| self.spec.train.early_stopping.patience > 0);
        if let Some(best) = best.filter(|b| b.step != trainer.step) {
            let dir = self.run.checkpoints_dir().join(format!("step-{:06}", best.step));
            if dir.exists() {
                trainer.restore(&dir).with_context(|| {
                    format!(
                        "the checkpoint with the lowest validation loss, which was to be the model; remove {} and resume, \
                         and the model is that of the last step",
                        dir.display()
                    )
                })?;
                reason +=
                    &format!("; the model is that of step {}, with the lowest validation loss", best.step);
            } else {
                reason += &format!(
                    "; the model is that of the last step, as the checkpoint of step {} with the lowest validation loss \
                     is gone",
                    best.step
                );
            }
        }
        // A run that was stopped in the middle of this: what it had measured is known.
        let known = self.run.events()?;
        self.evaluate(trainer, data, &known)?;
        self.is_good_if_evaluated(trainer, data, progress)?;
        self.last_drawn(self.step, progress)?;
        self.prune(progress)?;
        let model = self.run.model_dir();
        if model.exists() {
            files::remove_dir(&model)?;
        }
        trainer.encoder.save(&model)?;
        self.run.seal_model()?;
        self.tell_memory()?;
        let seconds = self.began.elapsed().as_secs_f64();
        let event = Event::Finished { step: self.step, reason: reason.clone(), best: progress.best, seconds };
        self.tell(event)?;
        Ok((Outcome::Done, reason))
    }
}

/// A stop was asked for while data were read, texts tokenised or the model evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("stopped on request")
    }
}

impl std::error::Error for Interrupted {}

/// True for an evaluation on this dataset, after `step` where one is given.
fn is_evaluation(event: &Event, name: &str, step: Option<usize>) -> bool {
    matches!(event, Event::Evaluation { step: at, dataset, .. } if dataset == name && step.is_none_or(|s| s == *at))
}
