//! The worker's loop: what happens between the steps of a run.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};

use super::environment;
use super::finish::Interrupted;
use super::heights::{Evaluating, Reader, Texts};
use super::pulse::Pulse;
use super::save::checkpoints;
use super::tensorboard;
use super::{EventLog, Heartbeat, Phase, RunDir};
use crate::corpus::{self, Dataset, Summary};
use crate::encoder::{Encoder, Form, ModelFiles};
use crate::files;
use crate::spec::{Dtype, ExperimentSpec, ModelSpec};
use crate::train::{
    Best, Cuts, Diverged, DrawnPairs, Event, Progress, Stage, StepReport, Trainer, Validation, device,
};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Stopped,
}

/// Batches of the plan that are looked at for the heaviest.
const LOOKED: usize = 1000;
/// Steps between two [`Event::Drawn`].
pub(super) const DRAWN_EVERY: usize = 10;

/// Reads the model that a spec starts from.
///
/// # Errors
/// As [`ModelFiles::read`].
pub fn open_model(
    model: &ModelSpec,
    seed: u64,
    device: &candle_core::Device,
    dtype: Dtype,
) -> Result<Encoder> {
    let files = if model.base == "demo" {
        ModelFiles::fresh(corpus::demo::CONFIG, corpus::demo::TOKENIZER, model.pooling, seed)
            .context("the bundled demo model")?
    } else {
        ModelFiles::read(&corpus::model_dir(&model.base)?, model.pooling)?
            .with_prefixes(corpus::catalogue::model_prefixes(&model.base)?)
    };
    let dtype = match dtype {
        Dtype::F32 => candle_core::DType::F32,
        Dtype::Bf16 => candle_core::DType::BF16,
    };
    Encoder::new(files, device, dtype, model.query_prefix.as_deref(), model.passage_prefix.as_deref())
}

/// Trains the run in its directory, from its newest checkpoint if it has one, until it is done, stopped or failed.
/// `echo` hears every event that is written down; `interrupted` asks for a stop (a signal does).
///
/// # Errors
/// What made the run fail; it is in `state.json` and the event log too.
pub fn execute(run: &RunDir, interrupted: &Arc<AtomicBool>, echo: &mut dyn FnMut(&Event)) -> Result<Outcome> {
    let spec = run.spec()?;
    run.check_not_done()?;
    let heartbeat = Heartbeat::begin(run, spec.train.steps)?;
    // Nobody else writes here now.
    files::remove_leftovers(&run.path);
    let log = match EventLog::append(&run.events_file()) {
        Ok(log) => log,
        Err(error) => {
            heartbeat.end(Phase::Failed, Some(format!("{error:#}")))?;
            return Err(error);
        }
    };
    let _logged = crate::machine::log_no_memory(run.log_file());
    let mut worker = Worker {
        run,
        spec,
        log,
        heartbeat,
        interrupted,
        echo,
        step: checkpoints(run).last().map_or(0, |(step, _)| *step),
        began: Instant::now(),
        pulse: None,
        saved: None,
        good: None,
        has_spare: false,
        tensorboard: None,
    };
    // A fault of the program, or of a library, is a reason too: a state that goes on to say `running` is read as a kill.
    let trained = match catch_unwind(AssertUnwindSafe(|| worker.train())) {
        Ok(trained) => trained,
        Err(panic) => {
            let message = format!("a fault in the program: {}", crate::caught::told(&*panic));
            let _ = worker.tell(Event::Failed { step: worker.step, message: message.clone() });
            let _ = worker.heartbeat.end(Phase::Failed, Some(message));
            resume_unwind(panic);
        }
    };
    let trained = match trained {
        // While data are read or texts tokenised: what checkpoints there are stay as they are.
        Err(error) if error.is::<Interrupted>() => worker.stopped(worker.step),
        other => other,
    };
    match trained {
        Ok(outcome) => {
            let (phase, message) = match outcome {
                (Outcome::Done, reason) => (Phase::Done, reason),
                (Outcome::Stopped, reason) => (Phase::Stopped, reason),
            };
            worker.heartbeat.end(phase, Some(message))?;
            Ok(outcome.0)
        }
        Err(error) => {
            let error = match error.downcast::<Diverged>() {
                Ok(diverged) => worker.diverged(diverged),
                Err(error) => error,
            };
            let message = format!("{error:#}");
            // The log itself may be what failed (a full disk): the state still says why.
            let _ = worker.tell(Event::Failed { step: worker.step, message: message.clone() });
            let _ = worker.heartbeat.end(Phase::Failed, Some(message));
            Err(error)
        }
    }
}

pub(super) struct Worker<'a> {
    pub(super) run: &'a RunDir,
    pub(super) spec: ExperimentSpec,
    pub(super) log: EventLog,
    pub(super) heartbeat: Heartbeat,
    interrupted: &'a Arc<AtomicBool>,
    echo: &'a mut dyn FnMut(&Event),
    pub(super) step: usize,
    pub(super) began: Instant,
    pub(super) pulse: Option<Pulse>,
    /// Step of the newest checkpoint that the event log knows.
    pub(super) saved: Option<usize>,
    /// The newest step whose weights are known to give finite numbers.
    pub(super) good: Option<usize>,
    /// True while a checkpoint is kept only because no newer one is known to be good.
    pub(super) has_spare: bool,
    tensorboard: Option<tensorboard::Writer>,
}

/// Opened datasets of a spec.
pub(super) struct Data {
    pub(super) validation: Vec<Dataset>,
    pub(super) evaluation: Vec<Dataset>,
}

impl Worker<'_> {
    pub(super) fn tell(&mut self, event: Event) -> Result<()> {
        (self.echo)(&event);
        if let Some(writer) = &mut self.tensorboard {
            writer.write(&event)?;
        }
        self.log.write(event)
    }

    pub(super) fn note(&mut self, message: impl Into<String>) -> Result<()> {
        self.tell(Event::Note { message: message.into() })
    }

    pub(super) fn stop_requested(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed) || self.heartbeat.stop_requested()
    }

    /// Ends what is being done where a stop was asked for.
    ///
    /// # Errors
    /// [`Interrupted`].
    pub(super) fn go_on(&self) -> Result<()> {
        if self.stop_requested() { Err(Interrupted.into()) } else { Ok(()) }
    }

    /// Tells how far something long is, and ends it where a stop was asked for.
    ///
    /// # Errors
    /// [`Interrupted`], or where the event cannot be written.
    pub(super) fn tell_and_go_on(&mut self, event: Event) -> Result<()> {
        self.tell(event)?;
        self.go_on()
    }

    fn open_data(&mut self) -> Result<Data> {
        let candidate = self.spec.evaluate.candidate;
        let open = |names: &[crate::spec::DatasetRef]| -> Result<Vec<Dataset>> {
            let one = |name| {
                self.go_on()?;
                corpus::open(name, candidate)
            };
            names.iter().map(one).collect()
        };
        let data = Data {
            validation: open(&self.spec.data.validation)?,
            evaluation: open(&self.spec.data.evaluation)?,
        };
        for dataset in data.validation.iter().chain(&data.evaluation) {
            for note in &dataset.notes {
                self.note(format!("{}: {note}", dataset.name))?;
            }
        }
        Ok(data)
    }

    fn train(&mut self) -> Result<(Outcome, String)> {
        self.tell(Event::Progress { stage: Stage::Loading, done: 0, total: 1 })?;
        let device = device::open(&self.spec.train.device)?;
        let data = self.open_data()?;
        self.go_on()?;
        let mut encoder = open_model(&self.spec.model, self.spec.seed, &device, self.spec.train.dtype)?;
        if !checkpoints(self.run).is_empty() && environment::restore_prefixes(self.run, &mut encoder) {
            self.note(format!(
                "prefixes: {:?} before questions, {:?} before passages (as the run began; other ones are stated since)",
                encoder.query_prefix, encoder.passage_prefix
            ))?;
        } else if let Some(line) = encoder.prefix_line() {
            self.note(line)?;
        }
        let spec = self.spec.clone();
        let sets = self.open_training(&encoder, &data)?;
        let mut trainer = Trainer::with_sets(&spec, encoder, sets)?;
        self.warn_of_cuts(&trainer)?;
        trainer.left_out().into_iter().try_for_each(|note| self.note(note))?;
        let validation = if data.validation.is_empty() {
            None
        } else {
            let languages = trainer.plan.languages.clone();
            let mut heard = |_, _| self.go_on();
            Some(Validation::new(&spec, &languages, &trainer.encoder, &data.validation, &mut heard)?)
        };
        for note in validation.iter().flat_map(|v| crate::train::left_out(&v.unused)) {
            self.note(note)?;
        }
        let summaries: Vec<(&str, Summary)> = (trainer.sets.iter().map(|s| ("training", s.summary.clone())))
            .chain(data.validation.iter().map(|d| ("validation", d.summary())))
            .chain(data.evaluation.iter().map(|d| ("evaluation", d.summary())))
            .collect();
        if !checkpoints(self.run).is_empty() {
            environment::check_unchanged(self.run, &trainer.encoder, &summaries)?;
            environment::check_lexicons(self.run, &spec)?;
        }
        let model = (spec.model.base.as_str(), &trainer.encoder);
        let trained = (&trainer.plan, trainer.sets.as_slice());
        environment::write(self.run, model, &device, &spec, &summaries, trained)?;
        let mut progress = self.restore(&mut trainer)?;
        if spec.train.tensorboard {
            self.tensorboard = Some(tensorboard::Writer::begin(self.run)?);
        }
        let languages = trainer.plan.languages.len();
        progress.drawn.resize(languages * languages, 0);
        self.step = trainer.step;
        self.heartbeat.step(trainer.step);
        // Before the first step rather than in the middle of the night: the heaviest batch there will be.
        trainer.check_memory(LOOKED)?;
        let pairs = if spec.train.chunk == 0 { spec.train.batch } else { spec.train.chunk };
        crate::machine::suggest_chunk(pairs);
        if spec.train.accumulate > 1 {
            self.note(format!(
                "{} batches of {} pairs a step: each question is told from {} negatives, those of its own batch{}",
                spec.train.accumulate,
                spec.train.batch,
                spec.train.negatives(),
                if trainer.plan.has_negatives() { ", and from that batch's hard negatives" } else { "" }
            ))?;
        }
        self.tell(Event::Started {
            step: trainer.step,
            steps: spec.train.steps,
            batch: spec.train.batch,
            device: device::name(&device),
            languages: trainer.plan.languages.clone(),
            parameters: trainer.encoder.parameters.trainable_count(),
            groups: trainer.plan.groups(),
            undrawn: trainer.plan.undrawn(),
            hard_negatives: if trainer.plan.has_negatives() { spec.train.hard_negatives } else { 0 },
        })?;
        let encoder = &trainer.encoder;
        let evaluating = Evaluating::of(
            &spec,
            Reader::encoder(encoder),
            data.evaluation.iter().map(Texts::of),
            (encoder.dtype.size_in_bytes(), Form::of(&device)),
        )?;
        let operations = encoder.config.forward_flops(evaluating.load) + evaluating.products;
        self.pulse = Some(Pulse::new(&device, operations, evaluating.besides));
        let patience = spec.train.early_stopping.patience;
        if let (Some(validation), 0, None) = (&validation, trainer.step, self.saved) {
            let best = self.validate(validation, &trainer, &mut progress)?;
            if best && patience > 0 {
                self.checkpoint(&trainer, &progress)?;
            }
        }
        let is_early = |progress: &Progress| patience > 0 && progress.waited >= patience;
        let is_within = trainer.step > 0 && trainer.step < spec.train.steps && !is_early(&progress);
        if is_within && due(trainer.step, spec.train.evaluate_every) {
            // A run that was stopped while it evaluated: what it had measured is known.
            match self.evaluate(&trainer, &data, &self.run.events()?) {
                Err(error) if error.is::<Interrupted>() => return self.stopped(trainer.step),
                other => other?,
            }
            self.is_good_if_evaluated(&trainer, &data, &progress)?;
        }
        let mut reason = "all steps done".to_owned();
        // A step ends with its checkpoint, so that a resumed run has nothing of it to catch up with.
        while trainer.step < spec.train.steps {
            if is_early(&progress) {
                reason = format!("early stopping: no better validation loss for {patience} validations");
                break;
            }
            if self.stop_requested() {
                return self.stop(&trainer, &progress);
            }
            self.one_step(&mut trainer, &mut progress)?;
            let (step, last) = (trainer.step, trainer.step == spec.train.steps);
            let mut best = false;
            if let Some(validation) =
                validation.as_ref().filter(|_| due(step, spec.train.validate_every) || last)
            {
                best = self.validate(validation, &trainer, &mut progress)?;
            }
            let ends = last || is_early(&progress);
            if due(step, spec.train.evaluate_every) && !ends {
                match self.evaluate(&trainer, &data, &[]) {
                    Err(error) if error.is::<Interrupted>() => return self.stop(&trainer, &progress),
                    other => other?,
                }
                self.is_good_if_evaluated(&trainer, &data, &progress)?;
            }
            if !ends && (due(step, spec.train.checkpoint_every) || best && patience > 0) {
                self.checkpoint(&trainer, &progress)?;
            }
        }
        match self.finish(&mut trainer, &data, &progress, reason) {
            Err(error) if error.is::<Interrupted>() => {
                self.last_drawn(self.step, &progress)?;
                self.stopped(self.step)
            }
            other => other,
        }
    }

    fn warn_of_cuts(&mut self, trainer: &Trainer) -> Result<()> {
        let Cuts { questions, passages, answers } = trainer.cuts();
        if questions + passages > 0 {
            self.note(format!(
                "cut to the length limit: {questions} questions and {passages} passages of the training data \
                 (model.max_query_tokens, model.max_passage_tokens)"
            ))?;
        }
        if answers > 0 {
            self.note(format!(
                "{answers} questions of the training data have their answer behind the cut of its passage: raise \
                 model.max_passage_tokens"
            ))?;
        }
        Ok(())
    }

    fn one_step(&mut self, trainer: &mut Trainer, progress: &mut Progress) -> Result<()> {
        let start = Instant::now();
        let report = trainer.step()?;
        // Its loss and gradient were those of the weights before it.
        self.is_good(trainer.step - 1, progress)?;
        self.step = trainer.step;
        self.heartbeat.step(trainer.step);
        let n = trainer.plan.languages.len();
        let seconds = start.elapsed().as_secs_f64();
        let flops = trainer.flops(report.load);
        if let Some(pulse) = &mut self.pulse {
            pulse.step(&report, flops, seconds);
        }
        for pair in report.batches.iter().flat_map(|b| &b.batch.pairs) {
            progress.drawn[usize::from(pair.query_language) * n + usize::from(pair.passage_language)] += 1;
        }
        let pairs = report.pairs();
        let StepReport { batches, loss, learning_rate, grad_norm, load, .. } = report;
        let first = &batches[0].batch;
        let kind =
            if batches.iter().all(|b| b.batch.kind == first.kind) { first.kind.label() } else { "mixed" };
        let language = first.language.filter(|l| batches.iter().all(|b| b.batch.language == Some(*l)));
        self.tell(Event::Step {
            step: trainer.step,
            kind: kind.to_owned(),
            language: language.map(|l| trainer.plan.languages[usize::from(l)].clone()),
            loss: Some(loss),
            learning_rate,
            grad_norm: Some(grad_norm),
            pairs,
            tokens: load.tokens,
            seconds,
        })?;
        let last = trainer.step == self.spec.train.steps;
        if let Some(sample) = self.pulse.as_mut().and_then(|p| p.sample(trainer.step, &self.spec.train, last))
        {
            self.tell(sample)?;
        }
        if due(trainer.step, DRAWN_EVERY) || trainer.step == self.spec.train.steps {
            self.tell(Event::Drawn(DrawnPairs { step: trainer.step, counts: progress.drawn.clone() }))?;
        }
        Ok(())
    }

    /// Measures the validation loss; true if it is the best so far. One that is not finite ends the run.
    fn validate(
        &mut self,
        validation: &Validation,
        trainer: &Trainer,
        progress: &mut Progress,
    ) -> Result<bool> {
        let start = Instant::now();
        let loss = validation.loss(&trainer.encoder)?;
        if let Some(pulse) = &mut self.pulse {
            pulse.validated(start.elapsed().as_secs_f64());
        }
        let limit =
            progress.best.map_or(f64::INFINITY, |b| b.loss - self.spec.train.early_stopping.min_delta);
        let best = loss < limit;
        if best {
            progress.best = Some(Best { step: trainer.step, loss });
            progress.waited = 0;
        } else {
            progress.waited += 1;
        }
        self.tell(Event::Validation { step: trainer.step, loss: loss.is_finite().then_some(loss), best })?;
        if !loss.is_finite() {
            return Err(trainer.diverged(&format!(
                "the validation loss is {loss}, so no checkpoint of this step was written"
            )));
        }
        self.is_good(trainer.step, progress)?;
        Ok(best)
    }
}

pub(super) fn due(step: usize, every: usize) -> bool {
    every > 0 && step.is_multiple_of(every)
}
