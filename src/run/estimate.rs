//! What a run will take, before it is started: memory, and time.
//!
//! Memory is [`Footprint`]'s sum for the heaviest batch of the plan, with the tokenizer, the texts and the program itself;
//! time is the model's operations and numbers by the [`Pace`] of some steps of its shape on the device, taken on the spot.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use candle_core::DType;
use serde::Serialize;

use super::heights::{Evaluating, Reader, TOKENISING, Texts};
use super::replacing::Replacing;
use super::source::{Source, Sources};
use crate::batch::{Batch, Pair, Plan};
use crate::encoder::{Adapters, EncoderConfig, Form, Outline, Route};
use crate::machine::{Headroom, bytes, headroom};
use crate::spec::{DatasetRef, Dtype, ExperimentSpec};
use crate::tokens;
use crate::train::{
    Footprint, Pace, Place, SLICE, Steps, Switcher, TextLengths, Typical, ValidationPlan, adapted, device,
    training_flops,
};

/// Bytes of the program without model and data: its own pages, those of its threads, and what the allocator keeps.
const PROGRAM: usize = 96 << 20;
/// Bytes in memory of a byte of `tokenizer.json`.
const TOKENIZER: usize = 9;
/// Bytes of a text with its id and its places in lists.
const TEXT: usize = 150;
/// Tokens of a byte of text, where no text was tokenised to know it.
const TOKENS_A_BYTE: f64 = 0.25;
/// Batches with adapters whose steps are timed: from those of one language to those of all.
const PARTS: usize = 4;

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
    /// What evaluating takes at its height, beside weights, optimiser, texts and program: the gradients and activations of
    /// the steps before are free again by then.
    pub evaluating: usize,
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
    /// Seconds of training, of all validations, and of all evaluations.
    pub training_seconds: f64,
    pub validation_seconds: f64,
    pub evaluation_seconds: f64,
    /// What to say of datasets and languages that only some kinds of batch are drawn from.
    pub notes: Vec<String>,
    /// Why it will not fit, and what would.
    pub problem: Option<String>,
}

impl Estimate {
    /// Two lines for people: memory, then time.
    #[must_use]
    pub fn lines(&self) -> [String; 2] {
        let b = |n: usize| bytes(n as u64);
        let (weights, optimiser, program) = (b(self.weights), b(self.optimiser), b(self.program));
        let step = format!(
            "gradients {}, activations {} (the heaviest of {} batches has {} tokens)",
            b(self.gradients),
            b(self.activations),
            self.batches,
            self.longest
        );
        let memory = if self.evaluating > self.gradients + self.activations {
            format!(
                "Memory about {}, at its height in evaluation: weights {weights}, optimiser {optimiser}, evaluation {}, texts \
                 and program {program}; a training step takes {} less: {step} instead of evaluation's.",
                b(self.peak),
                b(self.evaluating),
                b(self.evaluating - self.gradients - self.activations)
            )
        } else {
            format!(
                "Memory about {}: weights {weights}, optimiser {optimiser}, {step}, texts and program {program}.",
                b(self.peak)
            )
        };
        [
            memory,
            format!(
                "Time about {}: training {}, validation {}, evaluation {}.",
                span(self.training_seconds + self.validation_seconds + self.evaluation_seconds),
                span(self.training_seconds),
                span(self.validation_seconds),
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
    estimate_of(spec, &Sources::open(spec, &mut |_, _| Ok(()))?, batches, Place::Here)
}

/// The same for data that are open; steps are timed at `place`.
///
/// # Errors
/// As [`estimate`].
pub fn estimate_of(
    spec: &ExperimentSpec,
    sources: &Sources,
    batches: usize,
    place: Place,
) -> Result<Estimate> {
    let Sources { outline, train, validation, evaluation } = sources;
    let device = device::open(&spec.train.device)?;
    let element = if spec.train.dtype == Dtype::Bf16 { 2 } else { 4 };
    let plan = Plan::from_layouts(spec, train.iter().map(Source::layout).collect())?;
    let adapted = adapted(spec, &plan.languages, outline.adapters.as_ref())?;
    let validated = match validation.as_slice() {
        [] => None,
        some => {
            let layouts: Vec<_> = some.iter().map(Source::layout).collect();
            Some(ValidationPlan::from_layouts(spec, &plan.languages, &layouts)?)
        }
    };
    let left_out: Vec<String> = validated.iter().flat_map(ValidationPlan::notes).collect();
    // Pairs of all validations, in batches of training.
    let validated =
        validated.map_or(0.0, |plan| (plan.count(spec) * plan.pairs) as f64 / spec.train.batch as f64);
    // Finds what does not fit the model, and lexicons that cannot be read, before a run does.
    Adapters::new(&spec.adapters, &adapted, &outline.config, 0)?;
    let switcher = Switcher::new(spec, &plan.languages)?;
    let lexicons = switcher.as_ref().map_or(0, Switcher::bytes);
    let form = Form::of(&device);
    let size =
        Footprint::planned(&outline.config, outline.parameters, element, spec, adapted.len()).computed(form);
    let looked = batches.clamp(1, spec.train.steps * spec.train.accumulate);
    let batches = (0..looked).map(|step| plan.batch(step)).collect::<Result<Vec<_>>>()?;
    let (drawn, tokens_a_byte) = lengths(spec, outline, train, &batches)?;
    let is_summed = spec.train.accumulate > 1;
    let of = |lengths: &TextLengths| size.step(lengths, spec.train.chunk, is_summed);
    let heaviest = drawn.iter().max_by_key(|l| of(l)).context("the plan has no batch")?;
    let flops = drawn.iter().map(|l| training_flops(&outline.config, l.load(), spec)).sum::<f64>();
    let replacing = match &switcher {
        Some(switcher) => Replacing::of(switcher, (outline, &spec.model), train, (&batches, &drawn))?,
        None => Replacing { seconds: 0.0, operations: 1.0 },
    };
    let step_flops = replacing.operations * flops / drawn.len() as f64 * spec.train.accumulate as f64;
    // The loss: products of all questions with all passages, forward and back.
    let against = |l: &TextLengths| l.pairs.len() * (l.pairs.len() + l.negatives.len());
    let contrast = 6.0 * (drawn.iter().map(against).sum::<usize>() * outline.config.hidden_size) as f64
        / drawn.len() as f64
        * spec.train.accumulate as f64;
    let evaluating = Evaluating::of(
        spec,
        Reader::outline(outline),
        evaluation.iter().map(Texts::of_source),
        (element, form),
    )?;

    // Token caches, built or to be built, are mapped: the system takes their pages back where it needs them.
    let is_mapped = |name: &DatasetRef| tokens::is_cached(name, spec.data.cache);
    let cached = spec.data.train.iter().map(is_mapped).collect::<Result<Vec<bool>>>()?;
    let is_held = |s: &Source, cached: bool| !cached || matches!(s, Source::Texts(_));
    let own = train.iter().zip(&cached).filter(|(s, cached)| is_held(s, **cached)).map(|(s, _)| s);
    let held: Vec<&Source> = own.chain(validation).collect();
    let (mut text, mut count) = (0, 0);
    for bytes in held.iter().copied().chain(evaluation).flat_map(Source::bytes) {
        text += bytes.iter().sum::<usize>();
        count += bytes.len();
    }
    // All are read; of those that are not evaluated, only what is trained on is tokenised.
    let trained = held.iter().map(|s| s.tokenised(&plan.languages));
    let (bytes, texts) = trained.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
    let tokens = bytes as f64 * tokens_a_byte;
    let at_once = tokens * (SLICE.min(texts) as f64 / texts.max(1) as f64);
    // What is freed then is used again by optimiser, gradients and activations, but for pieces between what stays.
    let tokenising = (TOKENISING as f64 * at_once) as usize;
    let step = of(heaviest);
    let fixed = size.fixed();
    let program = PROGRAM
        + lexicons
        + TOKENIZER * outline.tokenizer_bytes
        + 2 * text
        + TEXT * count
        + (4.0 * tokens) as usize
        + tokenising.saturating_sub(fixed - size.weights() + step).max(tokenising / 4);
    let peak = fixed + step.max(evaluating.bytes) + if device.is_cpu() { program } else { 0 };

    let problem =
        device.is_cpu().then(|| problem(&size, heaviest, [program, evaluating.bytes], peak)).flatten();
    let typical = typical(&drawn, &outline.config, |at| routes(&batches[at], &plan.languages, &adapted));
    let dtype = if spec.train.dtype == Dtype::Bf16 { DType::BF16 } else { DType::F32 };
    let steps = Steps {
        config: &outline.config,
        batches: &typical,
        // What memory cannot hold is not rehearsed either.
        chunk: if problem.is_some() { 16 } else { spec.train.chunk },
        dropout: spec.model.dropout,
        adapters: &spec.adapters,
        languages: adapted.len(),
    };
    let pace = Pace::of(steps, (&device, dtype), place)?;
    // Chunks are embedded twice.
    let is_chunked = spec.train.chunk > 0 && spec.train.chunk < spec.train.batch;
    let forward =
        drawn.iter().map(|l| outline.config.forward_flops(l.load())).sum::<f64>() / drawn.len() as f64;
    let passes = (spec.train.accumulate * spec.robust.passes()) as f64;
    let again = if is_chunked { passes * replacing.operations * forward * pace.encoding } else { 0.0 };
    let sums = typical[0].lengths.passes(spec.train.chunk).len() * spec.train.accumulate - 1;
    let step_seconds = spec.train.accumulate as f64 * replacing.seconds
        + (step_flops + contrast) * pace.training
        + again
        + size.trainable as f64 * pace.number
        + (sums * (size.trainable - size.word_table())) as f64 * pace.sum;
    let evaluation_flops = outline.config.forward_flops(evaluating.load);
    let often = 1 + (spec.train.steps - 1).checked_div(spec.train.evaluate_every).unwrap_or(0);
    Ok(Estimate {
        weights: size.weights(),
        gradients: size.gradients(),
        optimiser: fixed - size.weights(),
        activations: step.saturating_sub(size.gradients()),
        program,
        evaluating: evaluating.bytes,
        peak,
        batches: looked,
        longest: heaviest.load().tokens,
        pairs: spec.train.pairs_a_step(),
        negatives: spec.train.negatives(),
        hard_negatives: drawn.iter().map(|l| l.negatives.len()).sum::<usize>() as f64 / drawn.len() as f64,
        step_flops,
        evaluation_flops,
        training_seconds: spec.train.steps as f64 * step_seconds,
        validation_seconds: validated * forward * pace.encoding,
        evaluation_seconds: often as f64 * evaluating.seconds(&outline.config, &pace),
        notes: plan.notes().into_iter().chain(left_out).collect(),
        problem,
    })
}

fn problem(
    size: &Footprint<'_>,
    lengths: &TextLengths,
    [program, evaluating]: [usize; 2],
    peak: usize,
) -> Option<String> {
    // A worker is a process of its own, or this one: what this one holds is no hindrance.
    let limit = headroom()?;
    let Headroom { total, ref bound, .. } = limit;
    let room = total as usize;
    (peak > room).then(|| {
        let held = size.fixed() + program;
        if held > room {
            return format!(
                "needs about {} of memory, {} of it for weights, texts and the program alone, and there are {} ({bound}); \
                 raise the limit, or choose a smaller model or less data",
                bytes(peak as u64),
                bytes(held as u64),
                bytes(total)
            );
        }
        if held + evaluating > room {
            return format!(
                "needs about {} of memory to evaluate, and there are {} ({bound}); raise the limit, evaluate on fewer texts \
                 (data.evaluation), or lower evaluate.batch_tokens",
                bytes((held + evaluating) as u64),
                bytes(total)
            );
        }
        let for_step = room - held;
        let remedy = size
            .fitting_chunk(lengths, limit.planned(for_step as u64) as usize)
            .map_or_else(|| size.without_chunk(lengths), |chunk| format!("train.chunk = {chunk} would fit"));
        format!(
            "needs about {} of memory, and there are {} ({bound}); {remedy}",
            bytes(peak as u64),
            bytes(total)
        )
    })
}

/// Tokens of the batches' texts, and of a byte of text.
fn lengths(
    spec: &ExperimentSpec,
    outline: &Outline,
    sources: &[Source],
    drawn: &[Batch],
) -> Result<(Vec<TextLengths>, f64)> {
    let most = outline.config.longest();
    let limits = [spec.model.max_query_tokens.min(most), spec.model.max_passage_tokens.min(most)];
    let count = |side: usize, texts: &[&str]| -> Result<Vec<usize>> {
        let prefix = if side == 0 { &outline.query_prefix } else { &outline.passage_prefix };
        let tokenised = outline.tokenizer.encode(prefix, texts, limits[side])?;
        Ok(tokenised.ids.iter().map(Vec::len).collect())
    };
    let mut seen = Seen::default();
    // Each text once, however often it is drawn.
    let mut sides = [BTreeMap::new(), BTreeMap::new()];
    for batch in drawn.iter().filter(|b| matches!(sources[b.source], Source::Texts(_))) {
        sides[0].extend(batch.pairs.iter().map(|p| ((batch.source, p.question), 0usize)));
        sides[1].extend(batch.passages().map(|p| ((batch.source, p), 0usize)));
    }
    for (side, found) in sides.iter_mut().enumerate() {
        let text = |&(source, index): &(usize, u32)| match &sources[source] {
            Source::Texts(data) if side == 0 => Some(data.questions[index as usize].text.as_str()),
            Source::Texts(data) => Some(data.passages[index as usize].text.as_str()),
            _ => None,
        };
        let texts: Vec<&str> = found.keys().filter_map(text).collect();
        let counts = count(side, &texts)?;
        seen.add(&texts, &counts);
        found.values_mut().zip(counts).for_each(|(length, tokens)| *length = tokens);
    }
    // Of a large dataset a sample was kept: it says how many tokens a byte has, on either side.
    let mut rates = BTreeMap::new();
    for (index, source) in sources.iter().enumerate() {
        let Source::Survey(survey) = source else { continue };
        for (side, of) in [&survey.questions, &survey.passages].into_iter().enumerate() {
            let texts: Vec<&str> = of.sample.iter().map(String::as_str).collect();
            let mut own = Seen::default();
            let counts = count(side, &texts)?;
            own.add(&texts, &counts);
            seen.add(&texts, &counts);
            rates.insert((index, side), own.rate());
        }
    }
    let guess = |source: usize, side: usize, bytes: usize| {
        let rate = rates.get(&(source, side)).copied().unwrap_or(TOKENS_A_BYTE);
        ((bytes as f64 * rate).round() as usize).clamp(2, limits[side])
    };
    let of = |batch: &Batch| {
        let length = |side: usize, index: u32| match &sources[batch.source] {
            Source::Texts(_) => sides[side][&(batch.source, index)],
            Source::Cache(set) if side == 0 => set.question(index).len(),
            Source::Cache(set) => set.passage(index).len(),
            Source::Survey(s) if side == 0 => guess(batch.source, 0, s.questions.bytes_of(index)),
            Source::Survey(s) => guess(batch.source, 1, s.passages.bytes_of(index)),
        };
        TextLengths {
            pairs: batch.pairs.iter().map(|p: &Pair| (length(0, p.question), length(1, p.passage))).collect(),
            negatives: batch.negatives.iter().map(|p| length(1, *p)).collect(),
        }
    };
    Ok((drawn.iter().map(of).collect(), seen.rate()))
}

/// Texts that were tokenised.
#[derive(Default)]
struct Seen {
    bytes: usize,
    tokens: usize,
}

impl Seen {
    fn add(&mut self, texts: &[&str], counts: &[usize]) {
        self.bytes += texts.iter().map(|t| t.len()).sum::<usize>();
        self.tokens += counts.iter().sum::<usize>();
    }

    /// Tokens for a byte of text; where none was seen, what most scripts have.
    fn rate(&self) -> f64 {
        if self.bytes == 0 { TOKENS_A_BYTE } else { self.tokens as f64 / self.bytes as f64 }
    }
}

/// Batches in the middle of equal parts of those drawn, in order of their texts' operations. Where there are adapters, a batch's
/// rows are told apart by them: what an operation costs then depends on how many it uses, which comes first in that order.
fn typical<'a>(
    drawn: &'a [TextLengths],
    config: &EncoderConfig,
    routes: impl Fn(usize) -> Vec<(Route, Route)>,
) -> Vec<Typical<'a>> {
    let mut order: Vec<_> = drawn
        .iter()
        .enumerate()
        .map(|(at, lengths)| {
            let routes = routes(at);
            let used = routes.iter().flat_map(|&(q, p)| [q, p]).collect::<BTreeSet<_>>().len();
            (used, config.training_flops(lengths.load()), Typical { lengths, routes })
        })
        .collect();
    order.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let parts = if order.iter().any(|o| o.0 > 0) { PARTS.min(order.len()) } else { 1 };
    (0..parts).map(|part| order[(2 * part + 1) * order.len() / (2 * parts)].2.clone()).collect()
}

/// Adapters of question and passage of each pair of a batch, by their languages' place among those that have some; nothing
/// where none has.
fn routes(batch: &Batch, languages: &[String], adapted: &[String]) -> Vec<(Route, Route)> {
    if adapted.is_empty() {
        return Vec::new();
    }
    let route = |language: u16| {
        let code = &languages[usize::from(language)];
        adapted.iter().position(|l| l == code).map(|at| at as u16)
    };
    batch.pairs.iter().map(|p| (route(p.query_language), route(p.passage_language))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::Load;
    use crate::{corpus, spec};

    /// Tokens of bytes of training texts, cut or not, once stood for those of the evaluation's.
    #[test]
    fn what_an_evaluation_encodes_is_known_by_its_own_texts() {
        let (_, text) = spec::presets().iter().find(|(name, _)| *name == "demo.toml").expect("preset");
        let mut spec = spec::parse(text, &["train.device=cpu".into()]).expect("spec");
        for limit in [16, 256] {
            spec.model.max_passage_tokens = limit;
            let found = estimate(&spec, 1).expect("estimate").evaluation_flops;
            let outline = Outline::fresh(corpus::demo::CONFIG, corpus::demo::TOKENIZER).expect("model");
            let data = corpus::open(&spec.data.evaluation[0], spec.evaluate.candidate).expect("data");
            let questions: Vec<&str> = data.questions.iter().map(|q| q.text.as_str()).collect();
            let passages: Vec<&str> = data.passages.iter().map(|p| p.text.as_str()).collect();
            let lengths = |prefix: &str, texts: &[&str], limit| -> Vec<usize> {
                let tokenised = outline.tokenizer.encode(prefix, texts, limit).expect("tokens");
                tokenised.ids.iter().map(Vec::len).collect()
            };
            let mut all = lengths(&outline.query_prefix, &questions, spec.model.max_query_tokens);
            all.extend(lengths(&outline.passage_prefix, &passages, limit));
            let true_flops = outline.config.forward_flops(Load::of(all));
            assert!((found / true_flops - 1.0).abs() < 0.05, "{limit}: {found:e}, encoded {true_flops:e}");
        }
    }

    /// Steps through adapters were timed on one batch: of one language or of all, whichever was in the middle.
    #[test]
    fn batches_of_few_adapters_and_of_many_are_timed_alike() {
        let config = EncoderConfig::parse(corpus::demo::CONFIG).expect("model");
        let drawn: Vec<TextLengths> =
            (0..40).map(|n| TextLengths { pairs: vec![(3, 5 + n * 7 % 40); 4], negatives: vec![] }).collect();
        // Three of four batches have one language.
        let routes = |at: usize| {
            let used = if at.is_multiple_of(4) { 4 } else { 1 };
            (0..4).map(|pair| (Some(pair % used), Some(pair % used))).collect()
        };
        let found = typical(&drawn, &config, routes);
        let last: Vec<u16> = found.iter().map(|t| t.routes[3].0.expect("an adapter")).collect();
        assert_eq!(last, [0, 0, 0, 3]);
        let tokens: Vec<usize> = found.iter().map(|t| t.lengths.load().tokens).collect();
        assert!(tokens[0] < tokens[1] && tokens[1] < tokens[2], "{tokens:?}");
        let [base] = &typical(&drawn, &config, |_| Vec::new())[..] else {
            panic!("one batch stands for all")
        };
        assert_eq!(base.lengths.pairs[0], (3, 25));
        assert_eq!(typical(&drawn[..2], &config, routes).len(), 2);
    }
}
