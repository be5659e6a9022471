//! `polymix bench train`: pairs and real tokens a second, milliseconds a step, utilisation, memory.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use candle_core::DType;
use serde_json::json;

use super::super::model::find;
use super::super::progress::Progress;
use super::super::table::{plain, thousands};
use super::super::{print, print_json};
use crate::batch::Plan;
use crate::corpus;
use crate::encoder::{Encoder, Load, ModelFiles, SHAPES, shape, write_tensors};
use crate::machine::{Doing, Gpu, bytes, doing, headroom, memory, suggest_chunk};
use crate::run::Store;
use crate::spec::{DatasetRef, ExperimentSpec, Pooling};
use crate::train::bench::{Batches, Lengths, Measured, Settings, TokenBatch, measure, peak_gflops};
use crate::train::{Asker, Besides, Footprint, Tokens, batch_gradient, device};

/// Arguments of `polymix bench train`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Model operations are counted as 3 x the forward pass's matrix products (two operations a \
    multiply-add), over real tokens only; utilisation is their rate over the device's peak. The first loss is that of \
    the first batch before any step, without dropout: compare it with another program's before its speed."
)]
pub struct Args {
    /// Model directory, run, model of the catalogue on disk, `demo`, or a published shape with random weights:
    /// xlm-roberta-base, xlm-roberta-large, bert-base-multilingual-cased, multilingual-minilm
    #[arg(long, value_name = "MODEL", default_value = "demo")]
    model: String,
    /// Token ids: {"batches": [{"queries": [[ids]], "passages": [[ids]]}]}, special tokens included
    #[arg(long, value_name = "FILE", group = "source")]
    ids: Option<PathBuf>,
    /// Draw the batches from a dataset, as training would: NAME[PART]=PATH
    #[arg(long, value_name = "DATASET", group = "source")]
    data: Option<String>,
    /// Random tokens in these lengths: QUESTION/PASSAGE such as 32/128, or xquad-r for its mix of lengths (6 to 408 tokens,
    /// cut at the model's longest)
    #[arg(long, value_name = "LENGTHS", group = "source", default_value = "xquad-r")]
    lengths: String,
    /// Write the batches as token ids, for other programs to read
    #[arg(long, value_name = "FILE")]
    write_ids: Option<PathBuf>,
    /// Write the gradient of every parameter on the first batch, before any step and without dropout (safetensors)
    #[arg(long, value_name = "FILE")]
    write_gradients: Option<PathBuf>,
    /// Pairs a batch (a file of ids has its own)
    #[arg(long, default_value_t = 32, conflicts_with = "ids")]
    batch: usize,
    /// Different batches that the steps take in turn (a file of ids has its own)
    #[arg(long, default_value_t = 8, value_name = "N", conflicts_with = "ids")]
    batches: usize,
    /// Pairs a forward-backward pass; 0: the whole batch
    #[arg(long, default_value_t = 0)]
    chunk: usize,
    /// Share of X-X-mono batches where they are drawn from a dataset
    #[arg(long, default_value_t = 0.5, requires = "data", conflicts_with = "ids")]
    alpha: f64,
    /// Steps that are timed
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// Steps before the clock starts
    #[arg(long, default_value_t = 3)]
    warmup: usize,
    /// Hidden and attention dropout
    #[arg(long, default_value_t = 0.1)]
    dropout: f64,
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "auto")]
    device: String,
    /// Type of the computation: f32 or bf16
    #[arg(long, default_value = "f32")]
    dtype: String,
    /// The device's peak in 10^12 operations a second [default: measured by a matrix product]
    #[arg(long, value_name = "TFLOPS")]
    peak: Option<f64>,
    /// Seed of weights, tokens and dropout
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Of the loss.
const TEMPERATURE: f64 = 0.05;

/// Runs the command.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    doing(Doing::Bench);
    ensure!(args.steps > 0, "--steps 0: nothing to time");
    ensure!(args.batch > 1, "--batch {}: InfoNCE needs two pairs at least", args.batch);
    ensure!(
        args.ids.is_some() || args.chunk <= args.batch,
        "--chunk {}: must be 0 (the whole batch) or at most --batch {}",
        args.chunk,
        args.batch
    );
    ensure!(args.batches > 0, "--batches 0: nothing to train on");
    ensure!((0.0..1.0).contains(&args.dropout), "--dropout {}: must be at least 0 and below 1", args.dropout);
    ensure!(args.peak.is_none_or(|p| p > 0.0), "--peak: must be above 0");
    for (option, path) in [("--write-ids", &args.write_ids), ("--write-gradients", &args.write_gradients)] {
        let parent = path.as_deref().and_then(Path::parent).filter(|p| !p.as_os_str().is_empty());
        if let Some(parent) = parent {
            ensure!(parent.is_dir(), "{option}: there is no directory {}; make it first", parent.display());
        }
    }
    let device = device::open(&args.device)?;
    let dtype = match args.dtype.as_str() {
        "f32" => DType::F32,
        "bf16" => DType::BF16,
        other => anyhow::bail!("--dtype {other}: must be f32 or bf16"),
    };
    let mut encoder = Encoder::new(model(args, store)?, &device, dtype, None, None)?;
    let batches = batches(args, &encoder)?;
    check_memory(args, &encoder, &batches)?;
    if let Some(path) = &args.write_ids {
        crate::files::replace(path, &serde_json::to_vec(&batches)?)?;
    }
    if let Some(path) = &args.write_gradients {
        let gradients = batches.batches[0]
            .with(|pairs| batch_gradient(&encoder, pairs, TEMPERATURE, args.chunk, None))?
            .gradients;
        write_tensors(path, &encoder.named_gradients(&gradients)?)?;
    }
    let peak = match args.peak {
        Some(tflops) => 1e3 * tflops,
        None => peak_gflops(&device, dtype)?,
    };
    let settings = Settings {
        warmup: args.warmup,
        steps: args.steps,
        chunk: args.chunk,
        temperature: TEMPERATURE,
        learning_rate: 3e-5,
        weight_decay: 0.01,
        clip_norm: 1.0,
        dropout: args.dropout,
        seed: args.seed,
    };
    let gpu = match device.location() {
        candle_core::DeviceLocation::Cuda { gpu_id } => Gpu::open(gpu_id),
        _ => None,
    };
    let mut progress = Progress::new();
    let mut most = 0;
    let measured = measure(&mut encoder, &batches, &settings, &mut |done, all| {
        most =
            gpu.as_ref().and_then(Gpu::state).and_then(|s| s.memory).map_or(most, |(used, _)| most.max(used));
        progress.live(&format!("step {done} of {all}"));
    })?;
    progress.clear();
    let used = memory().unwrap_or_default();
    let report = Report {
        args,
        device: device::name(&device),
        parameters: encoder.parameters.count(),
        batch: batches.batches[0].queries.len(),
        peak,
        measured,
        host: used.peak.unwrap_or(used.resident),
        on_device: gpu.is_some().then_some(most),
    };
    if args.json { print_json(&report.json()) } else { print(&report.table()) }
}

fn model(args: &Args, store: &Store) -> Result<ModelFiles> {
    if args.model == "demo" {
        return ModelFiles::fresh(corpus::demo::CONFIG, corpus::demo::TOKENIZER, Pooling::Auto, args.seed);
    }
    if let Some(config) = shape(&args.model) {
        // Any tokenizer will do that is no larger than the vocabulary: the ids are made or read, not tokenised.
        ensure!(
            args.data.is_none(),
            "--model {}: a shape has no tokenizer for --data; use --ids, --lengths, or a model directory",
            args.model
        );
        return ModelFiles::fresh(&config, corpus::demo::TOKENIZER, Pooling::Auto, args.seed);
    }
    let read = || ModelFiles::read(&find(&args.model, store)?.dir, Pooling::Auto);
    read().with_context(|| format!("--model {} (published shapes: {})", args.model, SHAPES.join(", ")))
}

fn batches(args: &Args, encoder: &Encoder) -> Result<Batches> {
    if let Some(path) = &args.ids {
        let read = Batches::read(path)?;
        read.check(&encoder.config).with_context(|| path.display().to_string())?;
        let largest = read.batches.iter().map(|b| b.queries.len()).max().unwrap_or(0);
        ensure!(
            args.chunk <= largest,
            "--chunk {}: must be 0 (the whole batch) or at most {largest}, the largest batch of {}",
            args.chunk,
            path.display()
        );
        return Ok(read);
    }
    let Some(data) = &args.data else {
        let lengths = Lengths::parse(&args.lengths)?;
        if let Lengths::Fixed(q, p) = lengths {
            let longest = encoder.config.longest();
            ensure!(
                q.max(p) <= longest,
                "--lengths {}: --model {} takes {longest} tokens a text at most, special tokens included",
                args.lengths,
                args.model
            );
        }
        check_made(args, encoder)?;
        return Ok(Batches::made(lengths, args.batch, args.batches, &encoder.config, args.seed));
    };
    let mut spec = ExperimentSpec { seed: args.seed, ..ExperimentSpec::default() };
    spec.train.batch = args.batch;
    spec.sampling.alpha = Some(args.alpha);
    let dataset: DatasetRef = data.parse().map_err(|error| anyhow::anyhow!("--data {data}: {error}"))?;
    spec.data.train = vec![dataset.clone()];
    spec.check()?;
    let dataset = corpus::open(&dataset, spec.evaluate.candidate)?;
    let datasets = [dataset];
    let plan = Plan::new(&spec, &datasets)?;
    let tokens = Tokens::new(&datasets[0], encoder, &spec.model, &mut |_, _| Ok(()))?;
    let drawn = |step| -> Result<TokenBatch> {
        let batch = plan.batch(step)?;
        Ok(TokenBatch {
            queries: batch.pairs.iter().map(|p| tokens.questions[p.question as usize].clone()).collect(),
            passages: batch.pairs.iter().map(|p| tokens.passages[p.passage as usize].clone()).collect(),
        })
    };
    Ok(Batches { batches: (0..args.batches).map(drawn).collect::<Result<_>>()? })
}

/// Refuses batches whose ids, or the loss of one, main memory cannot hold, before they are made.
fn check_made(args: &Args, encoder: &Encoder) -> Result<()> {
    let Some(room) = headroom() else { return Ok(()) };
    let loss = if encoder.device.is_cpu() { Footprint::of(encoder).loss_of(args.batch, 0) } else { 0 };
    // Two texts a pair, of two tokens at least, and their places.
    let ids = args.batch.saturating_mul(args.batches).saturating_mul(2 * (size_of::<Vec<u32>>() + 8));
    let (what, needed, option) = if loss > ids {
        ("their loss alone", loss, "--batch")
    } else {
        ("their ids alone", ids, "--batch or --batches")
    };
    ensure!(
        needed as u64 <= room.bytes,
        "out of memory: {} of {} pairs would take about {} for {what}, and {} are left ({}). Lower {option}",
        if args.batches == 1 { "a batch".to_owned() } else { format!("{} batches", args.batches) },
        args.batch,
        bytes(needed as u64),
        bytes(room.bytes),
        room.bound
    );
    Ok(())
}

/// Refuses steps that main memory cannot hold, as a run does before its first one.
fn check_memory(args: &Args, encoder: &Encoder, batches: &Batches) -> Result<()> {
    let largest = batches.batches.iter().map(|b| b.queries.len()).max().unwrap_or(0);
    suggest_chunk(if args.chunk == 0 { largest } else { args.chunk });
    if !encoder.device.is_cpu() {
        return Ok(());
    }
    let size = Footprint::of(encoder);
    let all: Vec<_> = batches.batches.iter().map(TokenBatch::lengths).collect();
    let Some(heaviest) = all.iter().max_by_key(|l| size.step(l, args.chunk, false)) else { return Ok(()) };
    // The optimiser comes with the first step. All texts are encoded at once to time it: their ids are copied, and there is a
    // place in the order and a vector of each.
    let mut texts = Load::default();
    for lengths in &all {
        texts += lengths.load();
    }
    let text = size_of::<Vec<u32>>() + size_of::<usize>() + size_of::<f32>() * encoder.width();
    let besides = Besides {
        optimiser: size.fixed() - size.weights(),
        batches: all.len(),
        encoded: size_of::<u32>() * texts.tokens + text * texts.texts,
    };
    size.check_with(heaviest, args.chunk, false, besides, Asker::Bench)
}

struct Report<'a> {
    args: &'a Args,
    device: String,
    parameters: usize,
    batch: usize,
    /// 10^9 operations a second.
    peak: f64,
    measured: Measured,
    /// Bytes of main memory at the height.
    host: u64,
    /// Bytes in use on the GPU by everybody after a step, at most.
    on_device: Option<u64>,
}

impl Report<'_> {
    fn utilisation(&self) -> f64 {
        self.measured.gflops / self.peak
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "v": 1, "bench": "train", "polymix": crate::VERSION, "model": self.args.model,
            "parameters": self.parameters, "device": self.device, "dtype": self.args.dtype,
            "threads": rayon::current_num_threads(), "batch": self.batch, "chunk": self.args.chunk,
            "dropout": self.args.dropout, "warmup": self.args.warmup, "measured": self.measured,
            "peak_gflops": self.peak, "peak_given": self.args.peak.is_some(), "mfu": self.utilisation(),
            "host_bytes": self.host, "device_bytes": self.on_device,
        })
    }

    fn table(&self) -> String {
        let m = &self.measured;
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        let rows = [
            row("model", format!("{}, {} parameters", self.args.model, thousands(self.parameters))),
            row(
                "device",
                format!("{}, {}, {} threads", self.device, self.args.dtype, rayon::current_num_threads()),
            ),
            row("batch", format!("{} pairs, chunk {}", self.batch, self.args.chunk)),
            row("pairs/s", format!("{:.2}", m.pairs_per_s)),
            row("real tokens/s", thousands(m.real_tokens_per_s as usize)),
            row("encoding tokens/s", thousands(m.encode_tokens_per_s as usize)),
            row("ms a step", format!("{:.1} (p50), {:.1} (p95)", m.ms_per_step.p50, m.ms_per_step.p95)),
            row("of it", format!("{:.1} loss and gradient, {:.1} update", m.ms_gradient, m.ms_update)),
            row(
                "CPU s a step",
                m.cpu_seconds_per_step.map_or("n/a".into(), |s| format!("{s:.3} on all cores")),
            ),
            row("real tokens a pair", format!("{:.1}", m.mean_real_tokens)),
            row("padding avoided", format!("{:.0}%", 100.0 * m.padding_avoided)),
            row(
                "model GFLOP/s",
                format!("{:.0} of {:.0} ({:.0}%)", m.gflops, self.peak, 100.0 * self.utilisation()),
            ),
            row("memory", bytes(self.host)),
            row("device memory", self.on_device.map_or("n/a".into(), bytes)),
            row("first loss", format!("{:.7}", m.first_loss)),
        ];
        plain(&["", "value"], &rows)
    }
}
