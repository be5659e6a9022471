//! How fast steps go on this device, from some of them: what an estimate of time is made of.

mod rehearsal;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};

use super::lengths::TextLengths;
use crate::encoder::{EncoderConfig, Route};
use crate::spec::AdapterSpec;

pub use rehearsal::Rehearsal;

/// Speeds, measured on a model with the same layers but fewer of them ([`Encoder::rehearsal`]).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Seconds of a model operation ([`super::training_flops`]) of going forward and back.
    pub training: f64,
    /// Seconds of a model operation ([`EncoderConfig::forward_flops`]) of encoding.
    pub encoding: f64,
    /// Seconds that a number that is trained takes besides: beginning its gradient, its part of the norm, its update.
    pub number: f64,
    /// Seconds that adding a further gradient of a number takes.
    pub sum: f64,
    /// Seconds of an operation of a product of f32 matrices in main memory, as in ranking.
    pub product: f64,
}

/// The steps whose pace is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Steps<'a> {
    pub config: &'a EncoderConfig,
    /// Batches that stand for all of the plan's, each for as many as any other; at least one.
    pub batches: &'a [Typical<'a>],
    /// Pairs a pass; 0: all.
    pub chunk: usize,
    /// Instead of the model's own.
    pub dropout: Option<f64>,
    pub adapters: &'a AdapterSpec,
    /// How many languages have adapters.
    pub languages: usize,
}

/// A batch of a plan.
#[derive(Clone, Debug)]
pub struct Typical<'a> {
    /// Tokens of its texts.
    pub lengths: &'a TextLengths,
    /// Adapters of question and passage of each of its pairs; empty: the base alone.
    pub routes: Vec<(Route, Route)>,
}

/// Where steps are taken to measure them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this process.
    Here,
    /// In a process of its own, so that a program that goes on for hours does not keep the memory of some steps.
    Child,
}

/// The subcommand that a child process is started with.
pub const SUBCOMMAND: &str = "pace-of-steps";

/// How long what was measured is taken to hold.
const FRESH: Duration = Duration::from_secs(300);

/// A pace, what it is of, and when it was measured.
type Known = (String, Instant, Pace);
static KNOWN: Mutex<Vec<Known>> = Mutex::new(Vec::new());

impl Pace {
    /// Of such steps. What was measured in the last minutes for passes of about this size is not measured again.
    ///
    /// # Errors
    /// Where the device fails or is out of memory.
    pub fn of(steps: Steps<'_>, (device, dtype): (&Device, DType), place: Place) -> Result<Self> {
        let rehearsal = Rehearsal::new(&steps, device, dtype);
        let key = rehearsal.key(steps.config);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, when, _)| when.elapsed() < FRESH);
        if let Some((.., pace)) = known.iter().find(|(k, ..)| *k == key) {
            return Ok(*pace);
        }
        let in_child = match place {
            Place::Here => None,
            Place::Child => rehearsal.in_child()?,
        };
        let pace = match in_child {
            Some(pace) => pace,
            None => rehearsal.on(device, dtype)?,
        };
        known.push((key, Instant::now(), pace));
        Ok(pace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn model() -> EncoderConfig {
        with_vocabulary(100)
    }

    fn with_vocabulary(size: usize) -> EncoderConfig {
        EncoderConfig::parse(&format!(
            r#"{{"model_type": "bert", "vocab_size": {size}, "hidden_size": 8, "num_hidden_layers": 5,
            "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 300}}"#
        ))
        .expect("model")
    }

    #[test]
    fn a_pace_is_measured_once_for_passes_of_one_size() {
        let none = AdapterSpec::default();
        let lora = crate::spec::parse("[adapters]\nkind = \"lora\"\nrank = 4", &[]).expect("spec").adapters;
        let routes: Vec<(Route, Route)> = (0..20).map(|n| (Some(n % 2), Some(1))).collect();
        let paced = |config: &EncoderConfig, pairs: usize, adapters: &AdapterSpec| {
            let lengths = TextLengths { pairs: vec![(30, 100); pairs], negatives: vec![] };
            let routes = if adapters.is_on() { routes.clone() } else { Vec::new() };
            let steps = Steps {
                config,
                batches: &[Typical { lengths: &lengths, routes }],
                chunk: 0,
                dropout: Some(0.1),
                adapters,
                languages: 2,
            };
            Pace::of(steps, (&Device::Cpu, DType::F32), Place::Here).expect("pace")
        };
        let of = |pairs: usize| paced(&model(), pairs, &none);
        let first = of(20);
        for speed in [first.training, first.encoding, first.number, first.sum, first.product] {
            assert!(speed > 0.0 && speed < 1e-3, "{first:?}");
        }
        assert!(first.number >= first.sum, "an update comes on top");
        assert_eq!(of(20), first);
        assert_ne!(of(80), first);
        // What is measured on the word embeddings, or with adapters, does not hold without.
        assert_ne!(paced(&with_vocabulary(1000), 20, &none), first);
        let adapted = paced(&model(), 20, &lora);
        assert!(adapted != first && adapted.training > 0.0 && adapted.number > 0.0, "{adapted:?}");
    }
}
