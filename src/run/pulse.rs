//! How fast a run goes and what it takes, told now and then: the worker's side of the live numbers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use candle_core::Device;

use crate::machine::{Gpu, memory};
use crate::spec::TrainSpec;
use crate::train::{Event, Sample, StepReport};

/// Time between two samples.
const EVERY: Duration = Duration::from_secs(2);
/// Steps after a start that the pace leaves out.
const WARM: usize = 3;

/// Collects what steps and evaluations take.
#[derive(Debug)]
pub struct Pulse {
    gpu: Option<Gpu>,
    last: Option<Instant>,
    steps_seen: usize,
    /// Since the last sample.
    recent: Work,
    /// Since the start, without the first steps.
    all: Work,
    /// Seconds of the latest validation.
    validation: Option<f64>,
    /// Seconds of the latest evaluation of each dataset.
    evaluations: BTreeMap<String, f64>,
    /// Floating point operations of evaluating on all data once, and seconds of what is counted in none, until an evaluation
    /// has been timed.
    evaluation: (f64, f64),
}

#[derive(Clone, Copy, Debug, Default)]
struct Work {
    steps: usize,
    pairs: usize,
    tokens: usize,
    padded: usize,
    flops: f64,
    seconds: f64,
}

impl Pulse {
    /// Watches a run on this device, whose evaluation is thought to take so many operations, and so many seconds besides.
    #[must_use]
    pub fn new(device: &Device, operations: f64, seconds: f64) -> Self {
        let gpu = match device.location() {
            candle_core::DeviceLocation::Cuda { gpu_id } => Gpu::open(gpu_id),
            // Where a path is given, somebody wants to see it; the CPU's own runs have no GPU to watch.
            _ => std::env::var_os(crate::machine::NVML).and_then(|_| Gpu::open(0)),
        };
        Self {
            gpu,
            last: None,
            steps_seen: 0,
            recent: Work::default(),
            all: Work::default(),
            validation: None,
            evaluations: BTreeMap::new(),
            evaluation: (operations, seconds),
        }
    }

    /// Takes in a step; `flops` are those of its passes.
    pub fn step(&mut self, report: &StepReport, flops: f64, seconds: f64) {
        self.steps_seen += 1;
        let pairs = report.pairs();
        let (tokens, padded) = (report.load.tokens, report.padded);
        let one = Work { steps: 1, pairs, tokens, padded, flops, seconds };
        self.recent.add(one);
        if self.steps_seen == WARM + 1 {
            self.all = Work::default();
        }
        self.all.add(one);
    }

    /// Takes in how long a validation took.
    pub fn validated(&mut self, seconds: f64) {
        self.validation = Some(seconds);
    }

    /// Takes in how long the evaluation of a dataset took.
    pub fn evaluated(&mut self, dataset: &str, seconds: f64) {
        self.evaluations.insert(dataset.to_owned(), seconds);
    }

    /// A sample after `step`, if one is due (always where `now`).
    pub fn sample(&mut self, step: usize, train: &TrainSpec, now: bool) -> Option<Event> {
        if self.recent.steps == 0 || !(now || self.last.is_none_or(|l| l.elapsed() >= EVERY)) {
            return None;
        }
        self.last = Some(Instant::now());
        let recent = std::mem::take(&mut self.recent);
        let memory = memory();
        Some(Event::Sample(Sample {
            step,
            pairs_per_second: recent.pairs as f64 / recent.seconds.max(1e-9),
            tokens_per_second: recent.tokens as f64 / recent.seconds.max(1e-9),
            padding_avoided: 1.0 - self.all.tokens as f64 / self.all.padded.max(1) as f64,
            flops_per_second: recent.flops / recent.seconds.max(1e-9),
            memory: memory.map(|m| m.resident),
            peak_memory: memory.and_then(|m| m.peak),
            left: self.left(step, train),
            gpu: self.gpu.as_ref().and_then(Gpu::state),
        }))
    }

    /// Seconds until the run is done: its steps, validations and evaluations.
    fn left(&self, step: usize, train: &TrainSpec) -> f64 {
        let pace = self.all.seconds / self.all.steps.max(1) as f64;
        let evaluation = if self.evaluations.is_empty() {
            // As fast as training computes.
            self.evaluation.0 * self.all.seconds / self.all.flops.max(1.0) + self.evaluation.1
        } else {
            self.evaluations.values().sum()
        };
        let (validations, evaluations) =
            (ahead(step, train.steps, train.validate_every), ahead(step, train.steps, train.evaluate_every));
        (train.steps - step.min(train.steps)) as f64 * pace
            + validations as f64 * self.validation.unwrap_or(0.0)
            + evaluations as f64 * evaluation
    }
}

/// How often something comes after `step`: at every multiple, and at the end.
fn ahead(step: usize, steps: usize, every: usize) -> usize {
    let last = steps.saturating_sub(1);
    let multiples = |to: usize| to.checked_div(every).unwrap_or(0);
    1 + multiples(last).saturating_sub(multiples(step.min(last)))
}

impl Work {
    fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.pairs += other.pairs;
        self.tokens += other.tokens;
        self.padded += other.padded;
        self.flops += other.flops;
        self.seconds += other.seconds;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, Kind, Pair};
    use crate::encoder::Load;
    use crate::train::BatchReport;

    fn step(pulse: &mut Pulse, seconds: f64) {
        let load = Load { texts: 8, tokens: 100, squares: 0 };
        let pair = Pair { group: 0, question: 0, passage: 0, query_language: 0, passage_language: 0 };
        let batch = Batch {
            step: 0,
            kind: Kind::Cross,
            source: 0,
            language: None,
            pairs: vec![pair; 4],
            negatives: Vec::new(),
        };
        let report = StepReport {
            batches: vec![BatchReport { batch, loss: 1.0 }],
            loss: 1.0,
            learning_rate: 1.0,
            grad_norm: 1.0,
            load,
            padded: 125,
        };
        pulse.step(&report, 1e9, seconds);
    }

    fn sample(pulse: &mut Pulse, at: usize, train: &TrainSpec) -> Sample {
        match pulse.sample(at, train, true) {
            Some(Event::Sample(sample)) => sample,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn evaluations_ahead_are_counted_with_the_last_one() {
        assert_eq!(ahead(0, 100, 0), 1);
        assert_eq!(ahead(0, 100, 30), 4, "30, 60, 90, end");
        assert_eq!(ahead(30, 100, 30), 3);
        assert_eq!(ahead(0, 90, 30), 3, "30, 60, and the end instead of 90");
        assert_eq!(ahead(95, 100, 30), 1);
    }

    #[test]
    fn the_time_left_holds_steps_and_evaluations_and_forgets_the_warm_up() {
        let mut pulse = Pulse::new(&Device::Cpu, 5e9, 0.5);
        let train = TrainSpec { steps: 100, evaluate_every: 50, ..TrainSpec::default() };
        for seconds in [9.0, 9.0, 9.0, 0.5, 0.5] {
            step(&mut pulse, seconds);
        }
        // 95 steps of half a second; two evaluations of 5 GFLOP at 2 GFLOP/s and half a second besides.
        let first = sample(&mut pulse, 5, &train);
        assert!((first.left - (95.0 * 0.5 + 2.0 * 3.0)).abs() < 1e-9, "{}", first.left);
        assert!((first.padding_avoided - 0.2).abs() < 1e-9);
        pulse.evaluated("a", 7.0);
        pulse.validated(1.0);
        step(&mut pulse, 0.5);
        let later = sample(&mut pulse, 51, &train);
        assert!((later.left - (49.0 * 0.5 + 1.0 + 7.0)).abs() < 1e-9, "{}", later.left);
        assert_eq!((later.pairs_per_second, later.tokens_per_second), (8.0, 200.0));
        assert_eq!(pulse.sample(52, &train, true), None, "nothing new");
    }
}
