//! What a run will take, before it is started: memory, and time.
//!
//! Memory is [`Footprint`]'s sum for the heaviest batch of the plan, with the tokenizer, the texts and the program itself;
//! time is the model's operations over the speed of a matrix product of its shape on the device, measured on the spot.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use serde::Serialize;

use crate::batch::Plan;
use crate::corpus::{self, Dataset};
use crate::encoder::{Load, Outline};
use crate::machine::{Headroom, bytes, headroom};
use crate::spec::{Dtype, ExperimentSpec};
use crate::train::{Footprint, SLICE, device};

/// Bytes of the program without model and data.
const PROGRAM: usize = 80 << 20;
/// Bytes in memory of a byte of `tokenizer.json`.
const TOKENIZER: usize = 9;
/// Bytes of a token while it is tokenised, for as many texts as are tokenised at once; what is freed then is used again
/// by optimiser and gradients. Bytes of a text with its id and its places in lists.
const TOKENISING: usize = 230;
const TEXT: usize = 150;
/// Share of a matrix product's speed that a whole training step reaches.
const STEP: f64 = 0.75;
/// Bytes that an optimiser's update moves a second in main memory, and on a device.
const MOVED: (f64, f64) = (1.2e10, 1.5e12);

/// Tokens of question and passage of each pair of a batch.
type Lengths = Vec<(usize, usize)>;

/// What a run will take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Bytes by part: weights, gradients, optimiser, activations and texts at the height of the heaviest step.
    pub weights: usize,
    pub gradients: usize,
    pub optimiser: usize,
    pub activations: usize,
    /// Texts, their tokens, the tokenizer, and the program itself; always in main memory.
    pub program: usize,
    /// The most at any time, on the device and in main memory together where the device is the CPU.
    pub peak: usize,
    /// Batches of the plan that were looked at, and the tokens of the heaviest.
    pub batches: usize,
    pub longest: usize,
    /// Pairs a step, and negatives a question.
    pub pairs: usize,
    pub negatives: usize,
    /// Model operations of a mean step, and of encoding the evaluation data once.
    pub step_flops: f64,
    pub evaluation_flops: f64,
    /// Seconds of training, and of all evaluations.
    pub training_seconds: f64,
    pub evaluation_seconds: f64,
    /// Why it will not fit, and what would.
    pub problem: Option<String>,
}

impl Estimate {
    /// Two lines for people: memory, then time.
    #[must_use]
    pub fn lines(&self) -> [String; 2] {
        let b = |n: usize| bytes(n as u64);
        [
            format!(
                "Memory about {}: weights {}, gradients {}, optimiser {}, activations {} (the heaviest of {} batches \
                 has {} tokens), texts and program {}.",
                b(self.peak),
                b(self.weights),
                b(self.gradients),
                b(self.optimiser),
                b(self.activations),
                self.batches,
                self.longest,
                b(self.program)
            ),
            format!(
                "Time about {}: training {}, evaluation {}.",
                span(self.training_seconds + self.evaluation_seconds),
                span(self.training_seconds),
                span(self.evaluation_seconds)
            ),
        ]
    }
}

/// `40 s`, `12 min`, `3.5 h`.
fn span(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 6000.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Estimates a run, looking at up to `batches` batches of its plan.
///
/// # Errors
/// Every reason why the run could not start, except a lack of memory: that is [`Estimate::problem`].
pub fn estimate(spec: &ExperimentSpec, batches: usize) -> Result<Estimate> {
    let device = device::open(&spec.train.device)?;
    let outline = outline(spec)?;
    let element = if spec.train.dtype == Dtype::Bf16 { 2 } else { 4 };
    let size = Footprint { config: &outline.config, parameters: outline.parameters, element };
    let open = |names: &[crate::spec::DatasetRef]| -> Result<Vec<Dataset>> {
        names.iter().map(|name| corpus::open(name, spec.evaluate.candidate)).collect()
    };
    let train = open(&spec.data.train)?;
    let (validation, evaluation) = (open(&spec.data.validation)?, open(&spec.data.evaluation)?);
    let plan = Plan::new(spec, &train)?;
    let looked = batches.clamp(1, spec.train.steps * spec.train.accumulate);
    let drawn = lengths(spec, &outline, &train, &plan, looked)?;
    let is_summed = spec.train.accumulate > 1;
    let of = |lengths: &Lengths| size.step(lengths, spec.train.chunk, is_summed);
    let heaviest = drawn.iter().max_by_key(|l| of(l)).context("the plan has no batch")?;
    let load = |l: &Lengths| Load::of(l.iter().flat_map(|&(q, p)| [q, p]));
    let mean = |f: &dyn Fn(&Lengths) -> f64| drawn.iter().map(f).sum::<f64>() / drawn.len() as f64;
    let step_flops = mean(&|l| outline.config.training_flops(load(l))) * spec.train.accumulate as f64;
    let tokens_a_byte = tokens_a_byte(&train, &drawn);
    let encoded = encoded(spec, &evaluation, tokens_a_byte);

    let text: usize = train.iter().chain(&validation).chain(&evaluation).map(text_bytes).sum();
    let texts = |d: &Dataset| d.questions.len() + d.passages.len();
    let count: usize = train.iter().chain(&validation).chain(&evaluation).map(texts).sum();
    let tokens = text as f64 * tokens_a_byte;
    let at_once = tokens * (SLICE.min(count) as f64 / count.max(1) as f64);
    let tokenising = (TOKENISING as f64 * at_once) as usize;
    let program = PROGRAM
        + TOKENIZER * outline.tokenizer_bytes
        + 2 * text
        + TEXT * count
        + (4.0 * tokens) as usize
        + tokenising.saturating_sub(3 * size.gradients());
    let step = of(heaviest);
    let pass = Load::of(std::iter::repeat_n(spec.evaluate.batch_tokens / 128 + 1, 128));
    let vectors = 4 * outline.config.hidden_size * encoded.texts;
    let evaluating =
        if evaluation.is_empty() { 0 } else { outline.config.forward_bytes(pass, element) + vectors };
    let fixed = size.fixed();
    let peak = fixed + step.max(evaluating) + if device.is_cpu() { program } else { 0 };

    let rate = probe(&device, spec.train.dtype, load(heaviest).tokens, outline.config.hidden_size)? * STEP;
    let moved = if device.is_cpu() { MOVED.0 } else { MOVED.1 };
    let update = 28.0 * outline.parameters as f64 / moved;
    // Chunks are embedded twice.
    let again = if spec.train.chunk > 0 && spec.train.chunk < spec.train.batch { 4.0 / 3.0 } else { 1.0 };
    let evaluation_flops = outline.config.forward_flops(encoded);
    let often = 1 + (spec.train.steps - 1).checked_div(spec.train.evaluate_every).unwrap_or(0);
    Ok(Estimate {
        weights: fixed / 3,
        gradients: size.gradients(),
        optimiser: fixed / 3 * 2,
        activations: step.saturating_sub(size.gradients()),
        program,
        peak,
        batches: looked,
        longest: load(heaviest).tokens,
        pairs: spec.train.pairs_a_step(),
        negatives: spec.train.negatives(),
        step_flops,
        evaluation_flops,
        training_seconds: spec.train.steps as f64 * (step_flops * again / rate + update),
        evaluation_seconds: often as f64 * evaluation_flops / rate,
        problem: device.is_cpu().then(|| problem(&size, heaviest, program, peak)).flatten(),
    })
}

fn problem(size: &Footprint<'_>, lengths: &[(usize, usize)], program: usize, peak: usize) -> Option<String> {
    // A worker is a process of its own, or this one: what this one holds is no hindrance.
    let Headroom { total, bound, .. } = headroom()?;
    let room = total as usize;
    (peak > room).then(|| {
        let for_step = room.saturating_sub(size.fixed() + program);
        let remedy = size.fitting_chunk(lengths, for_step / 10 * 9).map_or_else(
            || "choose a smaller model, or shorter texts (model.max_passage_tokens)".into(),
            |chunk| format!("train.chunk = {chunk} would fit"),
        );
        format!(
            "needs about {} of memory, and there are {} ({bound}); {remedy}",
            bytes(peak as u64),
            bytes(total)
        )
    })
}

fn outline(spec: &ExperimentSpec) -> Result<Outline> {
    let model = &spec.model;
    let outline = if model.base == "demo" {
        Outline::fresh(corpus::demo::CONFIG, corpus::demo::TOKENIZER)
    } else {
        Outline::read(std::path::Path::new(&model.base), model.pooling)
    }?;
    Ok(outline.with_prefixes(model.query_prefix.as_deref(), model.passage_prefix.as_deref()))
}

/// Tokens of question and passage of each pair in the first batches.
fn lengths(
    spec: &ExperimentSpec,
    outline: &Outline,
    datasets: &[Dataset],
    plan: &Plan,
    batches: usize,
) -> Result<Vec<Lengths>> {
    let drawn = (0..batches).map(|step| plan.batch(step)).collect::<Result<Vec<_>>>()?;
    // Each text once, however often it is drawn.
    let mut sides = [BTreeMap::new(), BTreeMap::new()];
    for batch in &drawn {
        for pair in &batch.pairs {
            sides[0].insert((batch.source, pair.question), 0usize);
            sides[1].insert((batch.source, pair.passage), 0usize);
        }
    }
    let limits = [spec.model.max_query_tokens, spec.model.max_passage_tokens];
    for (side, (found, limit)) in sides.iter_mut().zip(limits).enumerate() {
        let prefix = if side == 0 { &outline.query_prefix } else { &outline.passage_prefix };
        let text = |&(source, index): &(usize, u32)| {
            let data: &Dataset = &datasets[source];
            if side == 0 {
                data.questions[index as usize].text.as_str()
            } else {
                data.passages[index as usize].text.as_str()
            }
        };
        let texts: Vec<&str> = found.keys().map(text).collect();
        let tokenised = outline.tokenizer.encode(prefix, &texts, limit.min(outline.config.longest()))?;
        for (length, ids) in found.values_mut().zip(tokenised.ids) {
            *length = ids.len();
        }
    }
    let pair =
        |source, p: &crate::batch::Pair| (sides[0][&(source, p.question)], sides[1][&(source, p.passage)]);
    Ok(drawn.iter().map(|b| b.pairs.iter().map(|p| pair(b.source, p)).collect()).collect())
}

fn text_bytes(dataset: &Dataset) -> usize {
    let questions = dataset.questions.iter().map(|q| q.text.len());
    questions.chain(dataset.passages.iter().map(|p| p.text.len())).sum()
}

/// Tokens for a byte of text, from the batches that were tokenised.
fn tokens_a_byte(datasets: &[Dataset], drawn: &[Lengths]) -> f64 {
    let texts: usize = datasets.iter().map(|d| d.questions.len() + d.passages.len()).sum();
    let mean_bytes = datasets.iter().map(text_bytes).sum::<usize>() as f64 / texts.max(1) as f64;
    let (pairs, tokens) = drawn.iter().flatten().fold((0usize, 0usize), |(n, t), &(q, p)| (n + 1, t + q + p));
    tokens as f64 / (2 * pairs).max(1) as f64 / mean_bytes.max(1.0)
}

fn encoded(spec: &ExperimentSpec, datasets: &[Dataset], tokens_a_byte: f64) -> Load {
    let tokens = |bytes: usize, limit: usize| ((bytes as f64 * tokens_a_byte) as usize).clamp(2, limit);
    Load::of(datasets.iter().flat_map(|d| {
        let questions = d.questions.iter().map(|q| tokens(q.text.len(), spec.model.max_query_tokens));
        questions.chain(d.passages.iter().map(|p| tokens(p.text.len(), spec.model.max_passage_tokens)))
    }))
}

/// Operations a second of a product `[tokens, H] x [H, 4H]`, the best of some.
fn probe(device: &Device, dtype: Dtype, tokens: usize, hidden: usize) -> Result<f64> {
    let dtype = if dtype == Dtype::Bf16 && !device.is_cpu() { DType::BF16 } else { DType::F32 };
    let rows = tokens.clamp(64, 4096);
    let x = Tensor::ones((rows, hidden), DType::F32, device)?.to_dtype(dtype)?;
    let w = Tensor::ones((hidden, 4 * hidden), DType::F32, device)?.to_dtype(dtype)?;
    let (began, mut best, mut rounds) = (std::time::Instant::now(), 0f64, 0);
    while rounds < 3 || began.elapsed().as_secs_f64() < 0.05 {
        let start = std::time::Instant::now();
        x.matmul(&w)?;
        device.synchronize()?;
        best = best.max(8.0 * (rows * hidden * hidden) as f64 / start.elapsed().as_secs_f64());
        rounds += 1;
    }
    Ok(best)
}
