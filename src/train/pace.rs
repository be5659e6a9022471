//! How fast steps go on this device, from some of them: what an estimate of time is made of.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::bench::{Settings, Taken, TokenBatch, optimiser, take_step};
use super::device;
use super::lengths::TextLengths;
use super::trainer::pass_flops;
use crate::encoder::{Encoder, EncoderConfig, Route};
use crate::ops::global_norm;
use crate::spec::AdapterSpec;
use crate::stream::Stream;

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
    /// Texts of a batch.
    pub lengths: &'a TextLengths,
    /// Pairs a pass; 0: all.
    pub chunk: usize,
    /// Instead of the model's own.
    pub dropout: Option<f64>,
    pub adapters: &'a AdapterSpec,
    /// How many languages have adapters.
    pub languages: usize,
    /// Adapters of question and passage of each pair of `lengths`; empty: the base alone.
    pub routes: &'a [(Route, Route)],
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

/// What a child process is told, as JSON on its standard input; it answers with the [`Pace`] on its standard output.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rehearsal {
    /// The text of the model's `config.json`.
    config: String,
    batch: TokenBatch,
    /// Adapters of question and passage of each pair.
    routes: Vec<(Route, Route)>,
    adapters: AdapterSpec,
    languages: usize,
    dropout: f64,
    device: String,
    is_half: bool,
}

impl Rehearsal {
    /// Takes the steps, in this process.
    ///
    /// # Errors
    /// Where the device fails or is out of memory.
    pub fn measured(&self) -> Result<Pace> {
        let dtype = if self.is_half { DType::BF16 } else { DType::F32 };
        self.on(&device::open(&self.device)?, dtype)
    }

    /// Lets a child process of this program take the steps; `None` where none can be started, or it is of a program that does
    /// not know the subcommand, such as a test's.
    ///
    /// # Errors
    /// What the child says that it failed of, memory above all.
    fn in_child(&self) -> Result<Option<Pace>> {
        let Ok(program) = std::env::current_exe() else { return Ok(None) };
        let mut command = Command::new(program);
        command.arg(SUBCOMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_remove("RUST_BACKTRACE");
        let Ok(mut child) = command.spawn() else { return Ok(None) };
        // It reads all of it before it writes anything.
        if let Some(mut input) = child.stdin.take() {
            let _ = input.write_all(&serde_json::to_vec(self)?);
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let why = text.lines().next().unwrap_or("").trim_start_matches("polymix: ").to_owned();
            bail!("steps cannot be timed: {}", if why.is_empty() { output.status.to_string() } else { why });
        }
        Ok(serde_json::from_slice(&output.stdout).ok())
    }
}

/// Layers that are enough.
const LAYERS: usize = 2;
/// Model operations of a step that is measured, at most: a third of a second on two cores, or a moment on a GPU.
const MOST: (f64, f64) = (4e10, 4e12);
/// Seconds of steps, and of encoding, that are enough to know how long they take: with two shared cores, equal steps take up
/// to a quarter more or less from one to the next, and 20 of them together 8%.
const ENOUGH: (f64, f64) = (1.5, 0.3);
/// Numbers of a table whose beginning and norm are measured, at most: so large that the system gives its memory anew each time,
/// as it does for the word embeddings of large models.
const TABLE: usize = 1 << 25;
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
        let Steps { config, adapters, .. } = steps;
        let most = if device.is_cpu() { MOST.0 } else { MOST.1 };
        let batch = sample(config, steps.lengths, steps.chunk, most);
        let routes: Vec<_> = steps.routes.iter().cycle().take(batch.queries.len()).copied().collect();
        let rehearsal = Rehearsal {
            config: config.source.to_string(),
            routes,
            adapters: AdapterSpec { languages: Vec::new(), ..adapters.clone() },
            languages: if adapters.is_on() { steps.languages } else { 0 },
            dropout: steps.dropout.unwrap_or(config.hidden_dropout),
            device: device::name(device),
            is_half: dtype == DType::BF16,
            batch,
        };
        let key = rehearsal.key(config);
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

impl Rehearsal {
    /// What the pace depends on.
    fn key(&self, config: &EncoderConfig) -> String {
        let shape = (config.architecture.name(), config.hidden_size, config.intermediate_size, config.heads);
        // To a factor of the square root of two.
        let tokens = (2.0 * (self.batch.lengths().load().tokens as f64).log2()).round();
        let used: BTreeSet<Route> = self.routes.iter().flat_map(|&(q, p)| [q, p]).collect();
        format!(
            "{shape:?} {} {} {tokens} {} {} {} {:?} {} {}",
            config.layers.min(LAYERS),
            config.vocab_size,
            self.dropout > 0.0,
            self.device,
            self.is_half,
            self.adapters,
            self.languages,
            used.len()
        )
    }

    fn on(&self, device: &Device, dtype: DType) -> Result<Pace> {
        let config = EncoderConfig::parse(&self.config)?;
        let mut encoder = Encoder::rehearsal(&config, LAYERS, device, dtype)?;
        if self.languages > 0 {
            let names: Vec<String> = (0..self.languages).map(|n| format!("l{n}")).collect();
            encoder.add_adapters(&self.adapters, &names, ("demo", 0))?;
        }
        let (load, routes) = (self.batch.lengths().load(), self.routes.iter().copied().unzip());
        let (questions, passages): (Vec<Route>, Vec<Route>) = routes;
        let settings = Settings {
            warmup: 0,
            steps: 0,
            chunk: 0,
            temperature: 0.05,
            learning_rate: 1e-6,
            weight_decay: 0.01,
            clip_norm: 1.0,
            dropout: self.dropout,
            seed: 0,
        };
        let mut optimiser = optimiser(&encoder, &settings)?;
        let mut step = |number: usize| {
            self.batch.with(|pairs| {
                let pairs = pairs.routed(&questions, &passages);
                Ok::<_, anyhow::Error>(
                    take_step(&mut encoder, &mut optimiser, pairs, &settings, number, true)?.0,
                )
            })
        };
        // The first step touches memory for the first time, and the second says how many are enough.
        step(0)?;
        let second = step(1)?;
        let count = (ENOUGH.0 / (second.gradient + second.update).max(1e-9)).clamp(3.0, 100.0) as usize;
        let taken = (0..count).map(|n| step(n + 2)).collect::<Result<Vec<_>>>()?;
        // The mean: what delays some of the steps delays some of a run's.
        let mean = |part: fn(&Taken) -> f64| taken.iter().map(part).sum::<f64>() / count as f64;
        let (gradient, update) = (mean(|t| t.gradient), mean(|t| t.update));
        let encoding = encoding(&encoder, &self.batch, &[questions, passages].concat())?;
        let numbers = encoder.parameters.trainable_count();
        // Of a frozen base there is no gradient of the word embeddings.
        let table = if self.adapters.is_frozen() { numbers } else { config.vocab_size * config.hidden_size };
        let begun = begun(table.clamp(1, TABLE), device)?;
        let computed = gradient - begun * numbers as f64;
        Ok(Pace {
            training: computed.max(0.0) / pass_flops(&encoder.config, load, &self.adapters),
            encoding: encoding / encoder.config.forward_flops(load),
            number: update / numbers as f64 + begun,
            // As much memory goes to and fro as in beginning one.
            sum: begun,
            product: product(config.hidden_size)?,
        })
    }
}

/// Seconds of beginning the gradient of a number and of its part of the norm, in a table of so many.
fn begun(table: usize, device: &Device) -> Result<f64> {
    let (start, rounds) = (Instant::now(), 3);
    for _ in 0..rounds {
        global_norm([&Tensor::zeros(table, DType::F32, device)?])?;
    }
    device.synchronize()?;
    Ok(start.elapsed().as_secs_f64() / f64::from(rounds) / table as f64)
}

/// Seconds of an operation of a product of questions' and passages' vectors of this width, in main memory.
fn product(width: usize) -> Result<f64> {
    let (rows, columns) = (256, 4096);
    let [questions, passages] = [rows, columns].map(|n| Tensor::full(0.5f32, (n, width), &Device::Cpu));
    let (questions, passages) = (questions?, passages?.t()?);
    questions.matmul(&passages)?;
    let (start, mut rounds) = (Instant::now(), 0);
    while rounds < 3 || start.elapsed().as_secs_f64() < ENOUGH.1 / 10.0 {
        questions.matmul(&passages)?;
        rounds += 1;
    }
    let operations = 2.0 * (rows * columns * width) as f64 * f64::from(rounds);
    Ok(start.elapsed().as_secs_f64() / operations)
}

/// Seconds of encoding the batch's texts.
fn encoding(encoder: &Encoder, batch: &TokenBatch, routes: &[Route]) -> Result<f64> {
    let texts: Vec<Vec<u32>> = batch.queries.iter().chain(&batch.passages).cloned().collect();
    let (start, mut rounds) = (Instant::now(), 0);
    while rounds < 2 || start.elapsed().as_secs_f64() < ENOUGH.1 {
        encoder.encode_routed(&texts, routes, 8192, &mut |_| Ok(()))?;
        rounds += 1;
    }
    Ok(start.elapsed().as_secs_f64() / f64::from(rounds))
}

/// Made-up tokens for pairs as long as the first ones of a pass of `chunk` pairs: at least two, and no more than take `most`
/// operations a step.
fn sample(config: &EncoderConfig, lengths: &TextLengths, chunk: usize, most: f64) -> TokenBatch {
    let rehearsed = EncoderConfig { layers: config.layers.min(LAYERS), ..config.clone() };
    let pass = if chunk == 0 { lengths.pairs.len() } else { chunk.min(lengths.pairs.len()) }.max(2);
    let mut batch = TokenBatch::default();
    // From all over the table, so that about as many of its rows get a gradient as a batch of real texts has words.
    let rows = config.vocab_size.min(Encoder::REHEARSED_ROWS);
    let mut stream = Stream::new(0, "pace", 0);
    let mut text =
        |length: usize| -> Vec<u32> { (0..length.max(1)).map(|_| stream.below(rows) as u32).collect() };
    for &(question, passage) in lengths.pairs.iter().cycle().take(pass) {
        batch.queries.push(text(question));
        batch.passages.push(text(passage));
        if batch.queries.len() > 1 && rehearsed.training_flops(batch.lengths().load()) >= most {
            break;
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> EncoderConfig {
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
    fn a_sample_is_a_pass_of_the_plan_and_no_more_than_asked_for() {
        let (config, lengths) =
            (model(), TextLengths { pairs: vec![(3, 10), (5, 20), (4, 200)], negatives: vec![7] });
        let pairs = |chunk, most| sample(&config, &lengths, chunk, most).lengths().pairs;
        assert_eq!(pairs(0, 1e12), lengths.pairs, "a whole batch in one pass");
        assert_eq!(pairs(2, 1e12), lengths.pairs[..2]);
        assert_eq!(pairs(1, 1e12), lengths.pairs[..2], "a loss needs two");
        assert_eq!(pairs(0, 1.0), lengths.pairs[..2]);
        assert_eq!(pairs(7, 1e12), lengths.pairs, "a chunk larger than the batch");
    }

    #[test]
    fn a_pace_is_measured_once_for_passes_of_one_size() {
        let none = AdapterSpec::default();
        let lora = crate::spec::parse("[adapters]\nkind = \"lora\"\nrank = 4", &[]).expect("spec").adapters;
        let routes: Vec<(Route, Route)> = (0..20).map(|n| (Some(n % 2), Some(1))).collect();
        let paced = |config: &EncoderConfig, pairs: usize, adapters: &AdapterSpec| {
            let lengths = TextLengths { pairs: vec![(30, 100); pairs], negatives: vec![] };
            let routes = if adapters.is_on() { routes.as_slice() } else { &[] };
            let steps = Steps {
                config,
                lengths: &lengths,
                chunk: 0,
                dropout: Some(0.1),
                adapters,
                languages: 2,
                routes,
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
