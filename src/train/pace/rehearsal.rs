//! The steps that are taken to measure them, in this process or in one of its own.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::super::bench::{Settings, Taken, TokenBatch, optimiser, take_step};
use super::super::device;
use super::super::lengths::TextLengths;
use super::super::trainer::pass_flops;
use super::{Pace, SUBCOMMAND, Steps, Typical};
use crate::encoder::{Encoder, EncoderConfig, Load, Route};
use crate::ops::global_norm;
use crate::spec::AdapterSpec;
use crate::stream::Stream;

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

/// What a child process is told, as JSON on its standard input; it answers with the [`Pace`] on its standard output.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rehearsal {
    /// The text of the model's `config.json`.
    config: String,
    batches: Vec<Rehearsed>,
    adapters: AdapterSpec,
    languages: usize,
    dropout: f64,
    device: String,
    is_half: bool,
}

/// A batch of made-up tokens.
#[derive(Debug, Serialize, Deserialize)]
struct Rehearsed {
    texts: TokenBatch,
    /// Adapters of the questions and of the passages; empty: the base alone.
    routes: (Vec<Route>, Vec<Route>),
}

impl Rehearsed {
    /// How many different adapters its texts go through.
    fn adapters(&self) -> usize {
        self.routes.0.iter().chain(&self.routes.1).collect::<BTreeSet<_>>().len()
    }
}

impl Rehearsal {
    /// Of such steps on `device`; half of `dtype` is bf16.
    pub(super) fn new(steps: &Steps<'_>, device: &Device, dtype: DType) -> Self {
        let Steps { config, adapters, .. } = steps;
        let most = if device.is_cpu() { MOST.0 } else { MOST.1 };
        let batch = |typical: &Typical<'_>| {
            let texts = sample(config, typical.lengths, steps.chunk, most);
            let routes = typical.routes.iter().cycle().take(texts.queries.len()).copied().unzip();
            Rehearsed { texts, routes }
        };
        Self {
            config: config.source.to_string(),
            batches: steps.batches.iter().map(batch).collect(),
            adapters: AdapterSpec { languages: Vec::new(), ..(*adapters).clone() },
            languages: if adapters.is_on() { steps.languages } else { 0 },
            dropout: steps.dropout.unwrap_or(config.hidden_dropout),
            device: device::name(device),
            is_half: dtype == DType::BF16,
        }
    }

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
    pub(super) fn in_child(&self) -> Result<Option<Pace>> {
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

    /// What the pace depends on.
    pub(super) fn key(&self, config: &EncoderConfig) -> String {
        let shape = (config.architecture.name(), config.hidden_size, config.intermediate_size, config.heads);
        // To a factor of the square root of two.
        let tokens: usize = self.batches.iter().map(|b| b.texts.lengths().load().tokens).sum();
        let tokens = (2.0 * (tokens as f64).log2()).round();
        let used: Vec<usize> = self.batches.iter().map(Rehearsed::adapters).collect();
        format!(
            "{shape:?} {} {} {tokens} {} {} {} {:?} {} {used:?}",
            config.layers.min(LAYERS),
            config.vocab_size,
            self.dropout > 0.0,
            self.device,
            self.is_half,
            self.adapters,
            self.languages,
        )
    }

    /// Takes the steps on `device`.
    pub(super) fn on(&self, device: &Device, dtype: DType) -> Result<Pace> {
        let config = EncoderConfig::parse(&self.config)?;
        let mut encoder = Encoder::rehearsal(&config, LAYERS, device, dtype)?;
        if self.languages > 0 {
            let names: Vec<String> = (0..self.languages).map(|n| format!("l{n}")).collect();
            encoder.add_adapters(&self.adapters, &names, ("demo", 0))?;
        }
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
        let mut number = 0;
        let mut round = || {
            let mut taken = [0.0; 2];
            for batch in &self.batches {
                let (questions, passages) = &batch.routes;
                let step = batch.texts.with(|pairs| {
                    let pairs = pairs.routed(questions, passages);
                    take_step(&mut encoder, &mut optimiser, pairs, &settings, number, true)
                });
                let Taken { gradient, update, .. } = step?.0;
                number += 1;
                taken = [taken[0] + gradient, taken[1] + update];
            }
            Ok::<_, anyhow::Error>(taken)
        };
        // The first round touches memory for the first time, and the second says how many are enough.
        round()?;
        let second = round()?.iter().sum::<f64>();
        let batches = self.batches.len() as f64;
        let rounds = (ENOUGH.0 / second.max(1e-9)).clamp(3.0 / batches, 100.0 / batches).ceil() as usize;
        let taken = (0..rounds).map(|_| round()).collect::<Result<Vec<_>>>()?;
        // The mean: what delays some of the steps delays some of a run's.
        let of = |part: usize| taken.iter().map(|t| t[part]).sum::<f64>() / (rounds as f64 * batches);
        let (gradient, update) = (of(0), of(1));
        let encoding = encoding(&encoder, &self.batches)?;
        let numbers = encoder.parameters.trainable_count();
        // Of a frozen base there is no gradient of the word embeddings.
        let table = if self.adapters.is_frozen() { numbers } else { config.vocab_size * config.hidden_size };
        let begun = begun(table.clamp(1, TABLE), device)?;
        let computed = gradient - begun * numbers as f64;
        let loads: Vec<Load> = self.batches.iter().map(|b| b.texts.lengths().load()).collect();
        let of_batch = |flops: &dyn Fn(Load) -> f64| loads.iter().map(|&l| flops(l)).sum::<f64>() / batches;
        Ok(Pace {
            // However it was measured, computing takes a part of the time.
            training: computed.max(0.01 * gradient)
                / of_batch(&|load| pass_flops(&encoder.config, load, &self.adapters)),
            encoding: encoding / of_batch(&|load| encoder.config.forward_flops(load)),
            number: update / numbers as f64 + begun,
            // As much memory goes to and fro as in beginning one.
            sum: begun,
            product: product(config.hidden_size)?,
        })
    }
}

/// Seconds of beginning the gradient of a number and of its part of the norm, in a table of so many.
fn begun(table: usize, device: &Device) -> Result<f64> {
    // The middle one: what the system interrupts would seem to take longer than the steps that it is a part of.
    let mut times = [0.0; 5];
    for time in &mut times {
        let start = Instant::now();
        global_norm([&Tensor::zeros(table, DType::F32, device)?])?;
        device.synchronize()?;
        *time = start.elapsed().as_secs_f64();
    }
    times.sort_by(f64::total_cmp);
    Ok(times[2] / table as f64)
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

/// Seconds of encoding a batch's texts.
fn encoding(encoder: &Encoder, batches: &[Rehearsed]) -> Result<f64> {
    let texts = |of: &Rehearsed| -> Vec<Vec<u32>> {
        of.texts.queries.iter().chain(&of.texts.passages).cloned().collect()
    };
    let batches: Vec<_> =
        batches.iter().map(|b| (texts(b), [b.routes.0.as_slice(), &b.routes.1].concat())).collect();
    let (start, mut rounds) = (Instant::now(), 0);
    while rounds < 2 || start.elapsed().as_secs_f64() < ENOUGH.1 {
        for (texts, routes) in &batches {
            encoder.encode_routed(texts, routes, 8192, &mut |_| Ok(()))?;
        }
        rounds += 1;
    }
    Ok(start.elapsed().as_secs_f64() / f64::from(rounds) / batches.len() as f64)
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
    use super::super::tests::model;
    use super::*;

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
}
