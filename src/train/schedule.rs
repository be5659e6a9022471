//! The learning rate over the steps.

use crate::spec::{Schedule, TrainSpec};

/// Learning rate of the update at `step` (from 0): a linear rise over the warm-up, then the schedule's fall to zero.
#[must_use]
pub fn learning_rate(train: &TrainSpec, step: usize) -> f64 {
    let (warmup, steps) = (train.warmup_steps(), train.steps);
    if step < warmup {
        return train.learning_rate * (step + 1) as f64 / warmup as f64;
    }
    let left = (steps - step.min(steps)) as f64 / (steps - warmup).max(1) as f64;
    train.learning_rate
        * match train.schedule {
            Schedule::Constant => 1.0,
            Schedule::Linear => left,
            Schedule::Cosine => 0.5 * (1.0 - (std::f64::consts::PI * left).cos()),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls_as_named() {
        let mut train =
            TrainSpec { steps: 100, warmup_ratio: 0.1, learning_rate: 1.0, ..TrainSpec::default() };
        let at = |train: &TrainSpec, step| (learning_rate(train, step) * 1e6).round() / 1e6;
        assert_eq!([at(&train, 0), at(&train, 9), at(&train, 10), at(&train, 55)], [0.1, 1.0, 1.0, 0.5]);
        assert!(at(&train, 99) > 0.0 && at(&train, 99) < 0.02);
        train.schedule = Schedule::Cosine;
        assert_eq!([at(&train, 10), at(&train, 55)], [1.0, 0.5]);
        train.schedule = Schedule::Constant;
        train.warmup_ratio = 0.0;
        assert_eq!([at(&train, 0), at(&train, 99)], [1.0, 1.0]);
    }
}
