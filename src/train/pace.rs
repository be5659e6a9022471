//! How fast steps go on this device, from some of them: what an estimate of time is made of.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::bench::{Batches, Settings, TokenBatch, measure};
use super::device;
use super::lengths::TextLengths;
use crate::encoder::{Encoder, EncoderConfig};
use crate::ops::global_norm;
use crate::stream::Stream;

/// Speeds, measured on a model with the same layers but fewer of them ([`Encoder::rehearsal`]).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Seconds of a model operation ([`EncoderConfig::training_flops`]) of going forward and back.
    pub training: f64,
    /// Seconds of a model operation ([`EncoderConfig::forward_flops`]) of encoding.
    pub encoding: f64,
    /// Seconds that a number that is trained takes besides: beginning its gradient, its part of the norm, its update.
    pub number: f64,
    /// Seconds that adding a further gradient of a number takes.
    pub sum: f64,
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
    dropout: f64,
    device: String,
    is_half: bool,
}

impl Rehearsal {
    /// Takes the steps, in this process.
    ///
    /// # Errors
    /// Where the device fails or is out of memory.
    pub fn measured(self) -> Result<Pace> {
        let config = EncoderConfig::parse(&self.config)?;
        let dtype = if self.is_half { DType::BF16 } else { DType::F32 };
        Pace::measured(&config, self.batch, self.dropout, (&device::open(&self.device)?, dtype))
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
    /// Of steps with texts as long as these, `chunk` pairs a pass (0: all). What was measured in the last minutes for passes
    /// of about this size is not measured again.
    ///
    /// # Errors
    /// Where the device fails or is out of memory.
    pub fn of(
        config: &EncoderConfig,
        lengths: &TextLengths,
        chunk: usize,
        dropout: Option<f64>,
        (device, dtype): (&Device, DType),
        place: Place,
    ) -> Result<Self> {
        let dropout = dropout.unwrap_or(config.hidden_dropout);
        let most = if device.is_cpu() { MOST.0 } else { MOST.1 };
        let batch = sample(config, lengths, chunk, most);
        let shape = (config.architecture.name(), config.hidden_size, config.intermediate_size, config.heads);
        // To a factor of the square root of two.
        let tokens = (2.0 * (batch.lengths().load().tokens as f64).log2()).round();
        let key = format!(
            "{shape:?} {} {tokens} {} {:?} {dtype:?}",
            config.layers.min(LAYERS),
            dropout > 0.0,
            device.location()
        );
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, when, _)| when.elapsed() < FRESH);
        if let Some((.., pace)) = known.iter().find(|(k, ..)| *k == key) {
            return Ok(*pace);
        }
        let pace = match place {
            Place::Here => Self::measured(config, batch, dropout, (device, dtype))?,
            Place::Child => {
                let rehearsal = Rehearsal {
                    config: config.source.to_string(),
                    batch: batch.clone(),
                    dropout,
                    device: device::name(device),
                    is_half: dtype == DType::BF16,
                };
                match rehearsal.in_child()? {
                    Some(pace) => pace,
                    None => Self::measured(config, batch, dropout, (device, dtype))?,
                }
            }
        };
        known.push((key, Instant::now(), pace));
        Ok(pace)
    }

    fn measured(
        config: &EncoderConfig,
        batch: TokenBatch,
        dropout: f64,
        (device, dtype): (&Device, DType),
    ) -> Result<Self> {
        let mut encoder = Encoder::rehearsal(config, LAYERS, device, dtype)?;
        let load = batch.lengths().load();
        let mut settings = Settings {
            warmup: 0,
            steps: 1,
            chunk: 0,
            temperature: 0.05,
            learning_rate: 1e-6,
            weight_decay: 0.01,
            clip_norm: 1.0,
            dropout,
            seed: 0,
        };
        let batches = Batches { batches: vec![batch] };
        // The first step touches memory for the first time; it says how many are enough.
        let first = measure(&mut encoder, &batches, &settings, &mut |_, _| ())?;
        settings.steps = (1e3 * ENOUGH.0 / first.ms_per_step.p50).clamp(3.0, 100.0) as usize;
        let took = measure(&mut encoder, &batches, &settings, &mut |_, _| ())?;
        let encoding = encoding(&encoder, &batches.batches[0])?;
        let numbers = encoder.parameters.count() as f64;
        let table = TABLE.min(config.vocab_size * config.hidden_size);
        let start = Instant::now();
        let rounds = 3;
        for _ in 0..rounds {
            global_norm([&Tensor::zeros(table, DType::F32, device)?])?;
        }
        device.synchronize()?;
        let begun = start.elapsed().as_secs_f64() / f64::from(rounds) / table as f64;
        // The mean: what delays some of the steps delays some of a run's.
        let whole = load.texts as f64 / 2.0 / took.pairs_per_s;
        let step = whole - took.ms_update / 1e3 - begun * numbers;
        Ok(Self {
            training: step.max(0.0) / encoder.config.training_flops(load),
            encoding: encoding / encoder.config.forward_flops(load),
            number: took.ms_update / 1e3 / numbers + begun,
            // As much memory goes to and fro as in beginning one.
            sum: begun,
        })
    }
}

/// Seconds of encoding the batch's texts.
fn encoding(encoder: &Encoder, batch: &TokenBatch) -> Result<f64> {
    let texts: Vec<Vec<u32>> = batch.queries.iter().chain(&batch.passages).cloned().collect();
    let (start, mut rounds) = (Instant::now(), 0);
    while rounds < 2 || start.elapsed().as_secs_f64() < ENOUGH.1 {
        encoder.encode(&texts, 8192, &mut |_| Ok(()))?;
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
        EncoderConfig::parse(
            r#"{"model_type": "bert", "vocab_size": 100, "hidden_size": 8, "num_hidden_layers": 5,
            "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 300}"#,
        )
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
        let of = |pairs: usize| {
            let lengths = TextLengths { pairs: vec![(30, 100); pairs], negatives: vec![] };
            Pace::of(&model(), &lengths, 0, Some(0.1), (&Device::Cpu, DType::F32), Place::Here).expect("pace")
        };
        let first = of(20);
        for speed in [first.training, first.encoding, first.number, first.sum] {
            assert!(speed > 0.0 && speed < 1e-3, "{first:?}");
        }
        assert!(first.number >= first.sum, "an update comes on top");
        assert_eq!(of(20), first);
        assert_ne!(of(80), first);
    }
}
