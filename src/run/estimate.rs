//! What a run will take, before it is started: memory, and time.
//!
//! Memory is [`Footprint`]'s sum for the heaviest batch of the plan, with the tokenizer, the texts and the program itself;
//! time is the model's operations over the speed of a matrix product of its shape on the device, measured on the spot.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use serde::Serialize;

use crate::batch::{Batch, Layout, Pair, Plan};
use crate::corpus::{self, Dataset};
use crate::encoder::{Adapters, Load, Outline};
use crate::machine::{Headroom, bytes, headroom};
use crate::spec::{DatasetRef, Dtype, ExperimentSpec};
use crate::tokens::{self, Wanted};
use crate::train::{Footprint, SLICE, Switcher, TextLengths, TrainingSet, adapted, device, training_flops};

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
/// Tokens of a byte of text, where no text was tokenised to know it.
const TOKENS_A_BYTE: f64 = 0.25;
/// Bytes that an optimiser's update moves a second in main memory, and on a device.
const MOVED: (f64, f64) = (1.2e10, 1.5e12);

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
    /// Hard negatives of a mean batch: every question of it is told from them too.
    pub hard_negatives: f64,
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
    let open = |names: &[DatasetRef]| -> Result<Vec<Dataset>> {
        names.iter().map(|name| corpus::open(name, spec.evaluate.candidate)).collect()
    };
    let train: Vec<Source> =
        spec.data.train.iter().map(|name| Source::open(name, spec, &outline)).collect::<Result<_>>()?;
    let (validation, evaluation) = (open(&spec.data.validation)?, open(&spec.data.evaluation)?);
    let plan = Plan::from_layouts(spec, train.iter().map(Source::layout).collect())?;
    let adapted = adapted(spec, &plan.languages, outline.adapters.as_ref())?;
    // Finds what does not fit the model, and lexicons that cannot be read, before a run does.
    Adapters::new(&spec.adapters, &adapted, &outline.config, 0)?;
    Switcher::new(spec, &plan.languages)?;
    let size = Footprint::planned(&outline.config, outline.parameters, element, spec, adapted.len());
    let looked = batches.clamp(1, spec.train.steps * spec.train.accumulate);
    let batches = (0..looked).map(|step| plan.batch(step)).collect::<Result<Vec<_>>>()?;
    let drawn = lengths(spec, &outline, &train, &batches)?;
    let is_summed = spec.train.accumulate > 1;
    let of = |lengths: &TextLengths| size.step(lengths, spec.train.chunk, is_summed);
    let heaviest = drawn.iter().max_by_key(|l| of(l)).context("the plan has no batch")?;
    let flops = drawn.iter().map(|l| training_flops(&outline.config, l.load(), spec)).sum::<f64>();
    let step_flops = flops / drawn.len() as f64 * spec.train.accumulate as f64;
    let tokens_a_byte = tokens_a_byte(&train, &batches, &drawn);
    let encoded = encoded(spec, &evaluation, tokens_a_byte);

    // Token caches are mapped: the system takes their pages back where it needs them.
    let in_memory: Vec<&Dataset> =
        train.iter().filter_map(Source::texts).chain(&validation).chain(&evaluation).collect();
    let text: usize = in_memory.iter().map(|d| text_bytes(d)).sum();
    let count: usize = in_memory.iter().map(|d| d.questions.len() + d.passages.len()).sum();
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

    let rate = probe(&device, spec.train.dtype, heaviest.load().tokens, outline.config.hidden_size)? * STEP;
    let moved = if device.is_cpu() { MOVED.0 } else { MOVED.1 };
    let update = 28.0 * size.trainable as f64 / moved;
    // Chunks are embedded twice.
    let again = if spec.train.chunk > 0 && spec.train.chunk < spec.train.batch { 4.0 / 3.0 } else { 1.0 };
    let evaluation_flops = outline.config.forward_flops(encoded);
    let often = 1 + (spec.train.steps - 1).checked_div(spec.train.evaluate_every).unwrap_or(0);
    Ok(Estimate {
        weights: size.weights(),
        gradients: size.gradients(),
        optimiser: fixed - size.weights(),
        activations: step.saturating_sub(size.gradients()),
        program,
        peak,
        batches: looked,
        longest: heaviest.load().tokens,
        pairs: spec.train.pairs_a_step(),
        negatives: spec.train.negatives(),
        hard_negatives: drawn.iter().map(|l| l.negatives.len()).sum::<usize>() as f64 / drawn.len() as f64,
        step_flops,
        evaluation_flops,
        training_seconds: spec.train.steps as f64 * (step_flops * again / rate + update),
        evaluation_seconds: often as f64 * evaluation_flops / rate,
        problem: device.is_cpu().then(|| problem(&size, heaviest, program, peak)).flatten(),
    })
}

fn problem(size: &Footprint<'_>, lengths: &TextLengths, program: usize, peak: usize) -> Option<String> {
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
        Outline::read(&crate::corpus::model_dir(&model.base)?, model.pooling)
    }?;
    Ok(outline.with_prefixes(model.query_prefix.as_deref(), model.passage_prefix.as_deref()))
}

/// A training dataset: its texts, or its token cache.
enum Source {
    Texts(Dataset),
    Cache(TrainingSet),
}

impl Source {
    fn open(name: &DatasetRef, spec: &ExperimentSpec, outline: &Outline) -> Result<Self> {
        let candidate = spec.evaluate.candidate;
        if tokens::is_cached(name, spec.data.cache)? {
            let longest = outline.config.longest();
            let wanted = Wanted {
                dataset: name,
                candidate,
                tokenizer: &outline.tokenizer,
                query_prefix: &outline.query_prefix,
                passage_prefix: &outline.passage_prefix,
                longest: (
                    spec.model.max_query_tokens.min(longest),
                    spec.model.max_passage_tokens.min(longest),
                ),
            };
            if let Some(store) = tokens::find(&wanted, &tokens::default_dir()?)? {
                return Ok(Self::Cache(TrainingSet::cached(store)));
            }
            ensure!(
                !spec.robust.switches(),
                "robust.code_switch: the training data '{name}' go into a token cache, which holds token ids and no words to \
                 replace. Keep the texts in memory with data.cache = \"never\", or set robust.code_switch = 0"
            );
            ensure!(
                !tokens::is_large(name)?,
                "dataset '{name}': its token cache is not there yet, and without it nothing can be estimated; write it \
                 with `polymix data prepare '{name}' --spec SPEC` (a run does so itself)"
            );
        }
        Ok(Self::Texts(corpus::open(name, candidate)?))
    }

    fn layout(&self) -> Layout {
        match self {
            Self::Texts(dataset) => Layout::of(dataset),
            Self::Cache(set) => set.layout.clone(),
        }
    }

    const fn texts(&self) -> Option<&Dataset> {
        match self {
            Self::Texts(dataset) => Some(dataset),
            Self::Cache(_) => None,
        }
    }
}

/// Tokens of the batches' texts.
fn lengths(
    spec: &ExperimentSpec,
    outline: &Outline,
    sources: &[Source],
    drawn: &[Batch],
) -> Result<Vec<TextLengths>> {
    // Each text once, however often it is drawn.
    let mut sides = [BTreeMap::new(), BTreeMap::new()];
    for batch in drawn.iter().filter(|b| sources[b.source].texts().is_some()) {
        sides[0].extend(batch.pairs.iter().map(|p| ((batch.source, p.question), 0usize)));
        sides[1].extend(batch.passages().map(|p| ((batch.source, p), 0usize)));
    }
    let limits = [spec.model.max_query_tokens, spec.model.max_passage_tokens];
    for (side, (found, limit)) in sides.iter_mut().zip(limits).enumerate() {
        let prefix = if side == 0 { &outline.query_prefix } else { &outline.passage_prefix };
        let text = |&(source, index): &(usize, u32)| {
            let data = sources[source].texts()?;
            let index = index as usize;
            Some(if side == 0 {
                data.questions[index].text.as_str()
            } else {
                data.passages[index].text.as_str()
            })
        };
        let texts: Vec<&str> = found.keys().filter_map(text).collect();
        let tokenised = outline.tokenizer.encode(prefix, &texts, limit.min(outline.config.longest()))?;
        for (length, ids) in found.values_mut().zip(tokenised.ids) {
            *length = ids.len();
        }
    }
    let of = |batch: &Batch| match &sources[batch.source] {
        Source::Cache(set) => set.lengths(batch),
        Source::Texts(_) => {
            let passage = |p: u32| sides[1][&(batch.source, p)];
            let pair = |p: &Pair| (sides[0][&(batch.source, p.question)], passage(p.passage));
            TextLengths {
                pairs: batch.pairs.iter().map(pair).collect(),
                negatives: batch.negatives.iter().map(|p| passage(*p)).collect(),
            }
        }
    };
    Ok(drawn.iter().map(of).collect())
}

fn text_bytes(dataset: &Dataset) -> usize {
    let questions = dataset.questions.iter().map(|q| q.text.len());
    questions.chain(dataset.passages.iter().map(|p| p.text.len())).sum()
}

/// Tokens for a byte of text, from the batches whose texts are known; else what most scripts have.
fn tokens_a_byte(sources: &[Source], batches: &[Batch], drawn: &[TextLengths]) -> f64 {
    let datasets: Vec<&Dataset> = sources.iter().filter_map(Source::texts).collect();
    let texts: usize = datasets.iter().map(|d| d.questions.len() + d.passages.len()).sum();
    let mut load = Load::default();
    for (batch, lengths) in batches.iter().zip(drawn) {
        if sources[batch.source].texts().is_some() {
            load += lengths.load();
        }
    }
    if texts == 0 || load.texts == 0 {
        return TOKENS_A_BYTE;
    }
    let mean_bytes = datasets.iter().map(|d| text_bytes(d)).sum::<usize>() as f64 / texts as f64;
    load.tokens as f64 / load.texts as f64 / mean_bytes.max(1.0)
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
