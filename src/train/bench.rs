//! Timing the training step on fixed batches of token ids: what `polymix bench train` measures.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::gradient::start_gradient;
use super::{Objective, PairTokens, TextLengths, batch_loss};
use crate::encoder::{DropoutRates, Encoder, EncoderConfig, Gradients, Load};
use crate::machine::cpu_seconds;
use crate::ops::{AdamW, global_norm, matmul};
use crate::stream::Stream;

/// Batches of token ids, special tokens included; the file that other programs read too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batches {
    pub batches: Vec<TokenBatch>,
}

/// Question `i` belongs to passage `i`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBatch {
    pub queries: Vec<Vec<u32>>,
    pub passages: Vec<Vec<u32>>,
}

/// Token lengths of questions and passages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lengths {
    /// Every question and every passage as long as this.
    Fixed(usize, usize),
    /// Drawn from XQuAD-R's distribution over its eleven languages.
    XquadR,
}

/// Shares of the texts at which the tables below give lengths.
const SHARES: [f64; 22] = [
    0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9,
    0.95, 0.99, 1.0,
];
/// Lengths in XLM-R tokens, prefixes and special tokens included, of XQuAD-R's 13,090 questions (mean 21.0) and 13,014
/// sentences (mean 46.9), at those shares.
const QUESTIONS: [usize; 22] =
    [8, 13, 15, 15, 16, 17, 18, 18, 19, 20, 20, 21, 22, 22, 23, 24, 25, 27, 29, 32, 39, 84];
const PASSAGES: [usize; 22] =
    [6, 19, 23, 26, 28, 30, 33, 35, 37, 40, 42, 45, 47, 50, 53, 57, 62, 67, 75, 89, 136, 408];

impl Lengths {
    /// Reads `32/128`, `96/256`, or `xquad-r`.
    ///
    /// # Errors
    /// Where it is none of them.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "xquad-r" {
            return Ok(Self::XquadR);
        }
        let parts = text.split_once('/').and_then(|(q, p)| Some((q.parse().ok()?, p.parse().ok()?)));
        let (q, p) = parts.filter(|&(q, p): &(usize, usize)| q >= 2 && p >= 2).with_context(|| {
            format!("--lengths {text}: write QUESTION/PASSAGE in tokens, for example 32/128, or xquad-r")
        })?;
        Ok(Self::Fixed(q, p))
    }

    fn draw(self, stream: &mut Stream) -> (usize, usize) {
        let mut at = |table: &[usize; 22]| {
            let share = stream.unit();
            let above = SHARES.partition_point(|&s| s <= share).clamp(1, SHARES.len() - 1);
            let part = (share - SHARES[above - 1]) / (SHARES[above] - SHARES[above - 1]);
            (table[above - 1] as f64 * (1.0 - part) + table[above] as f64 * part).round() as usize
        };
        match self {
            Self::Fixed(q, p) => (q, p),
            Self::XquadR => (at(&QUESTIONS), at(&PASSAGES)),
        }
    }
}

impl Batches {
    /// Random tokens for this model in these lengths; those of the mix are cut at the model's longest. The same for the same
    /// seed.
    #[must_use]
    pub fn made(lengths: Lengths, batch: usize, count: usize, model: &EncoderConfig, seed: u64) -> Self {
        let (vocabulary, longest) = (model.vocab_size, model.longest());
        let mut stream = Stream::new(seed, "bench", 0);
        let text = |length: usize, stream: &mut Stream| -> Vec<u32> {
            // The first ids are special tokens everywhere.
            (0..length.min(longest))
                .map(|_| (5 + stream.below(vocabulary.saturating_sub(5).max(1))) as u32)
                .collect()
        };
        let batches = (0..count)
            .map(|_| {
                let mut made = TokenBatch::default();
                for _ in 0..batch {
                    let (q, p) = lengths.draw(&mut stream);
                    made.queries.push(text(q, &mut stream));
                    made.passages.push(text(p, &mut stream));
                }
                made
            })
            .collect();
        Self { batches }
    }

    /// Reads a JSON file of batches.
    ///
    /// # Errors
    /// Names the file, the batch, and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{shown}: cannot read the batches"))?;
        let read: Self = serde_json::from_str(&text).with_context(|| {
            format!("{shown}: not {{\"batches\": [{{\"queries\": [[ids]], \"passages\": [[ids]]}}]}}")
        })?;
        ensure!(!read.batches.is_empty(), "{shown}: no batches in it");
        for (index, batch) in read.batches.iter().enumerate() {
            let (q, p) = (batch.queries.len(), batch.passages.len());
            ensure!(
                q == p && q > 1,
                "{shown}: batch {index} has {q} queries and {p} passages; need as many, and 2 at least"
            );
            let is_empty = batch.queries.iter().chain(&batch.passages).any(Vec::is_empty);
            ensure!(!is_empty, "{shown}: batch {index} holds a text without tokens");
        }
        Ok(read)
    }

    /// Whether the model can read every text.
    ///
    /// # Errors
    /// Names the batch and the text that is longer than the model takes or holds a token outside its vocabulary.
    pub fn check(&self, model: &EncoderConfig) -> Result<()> {
        let (vocabulary, longest) = (model.vocab_size, model.longest());
        for (index, batch) in self.batches.iter().enumerate() {
            for (side, texts) in [("queries", &batch.queries), ("passages", &batch.passages)] {
                for (text, ids) in texts.iter().enumerate() {
                    let place = || format!("batch {index}, {side}[{text}]");
                    ensure!(
                        ids.len() <= longest,
                        "{}: {} tokens, and the model takes {longest} at most, special tokens included; cut the ids",
                        place(),
                        ids.len()
                    );
                    if let Some(id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
                        bail!(
                            "{}: token id {id} lies outside the model's vocabulary of {vocabulary}",
                            place()
                        );
                    }
                }
            }
        }
        Ok(())
    }
}

impl TokenBatch {
    /// Calls `f` with the batch as the trainer takes it.
    pub fn with<R>(&self, f: impl FnOnce(PairTokens<'_>) -> R) -> R {
        let questions: Vec<&[u32]> = self.queries.iter().map(Vec::as_slice).collect();
        let passages: Vec<&[u32]> = self.passages.iter().map(Vec::as_slice).collect();
        f(PairTokens::new(&questions, &passages))
    }

    /// Tokens of every text.
    #[must_use]
    pub fn lengths(&self) -> TextLengths {
        self.with(|pairs| pairs.lengths())
    }
}

/// How the steps are taken.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Steps before the clock starts, and those that count.
    pub warmup: usize,
    pub steps: usize,
    pub chunk: usize,
    pub temperature: f64,
    pub learning_rate: f64,
    pub weight_decay: f64,
    pub clip_norm: f64,
    /// Hidden and attention dropout.
    pub dropout: f64,
    pub seed: u64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    pub steps: usize,
    pub pairs_per_s: f64,
    /// Tokens that are not padding.
    pub real_tokens_per_s: f64,
    pub ms_per_step: Spread,
    /// Seconds of computing a step, on all cores together; absent where the system does not tell.
    pub cpu_seconds_per_step: Option<f64>,
    /// Median milliseconds of the update alone, and what it leaves of a median step.
    pub ms_gradient: f64,
    pub ms_update: f64,
    /// Real tokens of a pair, question and passage together.
    pub mean_real_tokens: f64,
    /// Share of the tokens of batches padded side by side that were not computed.
    pub padding_avoided: f64,
    /// Model operations a second, by [`crate::encoder::EncoderConfig::training_flops`].
    pub gflops: f64,
    /// Real tokens a second of encoding the batches' texts, without going back.
    pub encode_tokens_per_s: f64,
    /// Loss of the first batch before any step, without dropout: the gate before speeds are compared.
    pub first_loss: f64,
    /// Loss of each step, warm-up included.
    pub losses: Vec<f64>,
}

/// Median and 95th percentile.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub p50: f64,
    pub p95: f64,
}

impl Spread {
    /// Of at least one value; the 95th percentile is the smallest value that at least 95% do not exceed.
    fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let p50 =
            if n.is_multiple_of(2) { f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]) } else { sorted[n / 2] };
        Self { p50, p95: sorted[(95 * n).div_ceil(100) - 1] }
    }
}

/// Trains on the batches in turn and takes the time. The encoder is changed. `progress` hears of each step (done, all).
///
/// # Errors
/// A token outside the vocabulary, a text that is too long, a loss that is not finite, a failing device.
pub fn measure(
    encoder: &mut Encoder,
    batches: &Batches,
    settings: &Settings,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Measured> {
    let batches = &batches.batches;
    let first_loss = batches[0].with(|b| batch_loss(encoder, b, settings.temperature, settings.chunk))?;
    let texts: Vec<Vec<u32>> =
        batches.iter().flat_map(|b| b.queries.iter().chain(&b.passages)).cloned().collect();
    let start = Instant::now();
    encoder.encode(&texts, 8192, &mut |_| Ok(()))?;
    let encoded = texts.iter().map(Vec::len).sum::<usize>() as f64 / start.elapsed().as_secs_f64();
    let mut optimiser = optimiser(encoder, settings)?;
    let all = settings.warmup + settings.steps;
    let (mut losses, mut times, mut update_times) = (vec![], vec![], vec![]);
    let (mut pairs, mut load, mut padded) = (0, Load::default(), 0);
    let mut computed = None;
    // A GPU is not waited for between gradient and update.
    let is_split = encoder.device.is_cpu();
    for step in 0..all {
        if step == settings.warmup {
            computed = cpu_seconds();
        }
        let batch = &batches[step % batches.len()];
        let (taken, gradients) =
            batch.with(|pairs| take_step(encoder, &mut optimiser, pairs, settings, step, is_split))?;
        losses.push(taken.loss);
        if step >= settings.warmup {
            times.push(1e3 * (taken.gradient + taken.update));
            update_times.extend(is_split.then_some(1e3 * taken.update));
            let lengths = batch.lengths();
            pairs += lengths.pairs.len();
            load += lengths.load();
            padded += lengths.padded();
        }
        if step + 1 == all && !is_split {
            // Updates alone, after the last step.
            for _ in 0..3 {
                let (start, weights) = (Instant::now(), &mut encoder.parameters);
                let rate = settings.learning_rate;
                optimiser.update(&mut weights.tensors, &gradients.tensors, &weights.decayed, rate, 1.0)?;
                encoder.device.synchronize()?;
                update_times.push(1e3 * start.elapsed().as_secs_f64());
            }
        }
        progress(step + 1, all);
    }
    let computed = computed.zip(cpu_seconds()).map(|(from, to)| (to - from) / settings.steps as f64);
    let seconds = times.iter().sum::<f64>() / 1e3;
    let (ms_per_step, ms_update) = (Spread::of(&times), Spread::of(&update_times).p50);
    Ok(Measured {
        steps: times.len(),
        pairs_per_s: pairs as f64 / seconds,
        real_tokens_per_s: load.tokens as f64 / seconds,
        ms_per_step,
        cpu_seconds_per_step: computed,
        ms_gradient: ms_per_step.p50 - ms_update,
        ms_update,
        mean_real_tokens: load.tokens as f64 / pairs as f64,
        padding_avoided: 1.0 - load.tokens as f64 / padded as f64,
        gflops: encoder.config.training_flops(load) / seconds / 1e9,
        encode_tokens_per_s: encoded,
        first_loss,
        losses,
    })
}

/// The optimiser of an encoder that has taken no step yet.
///
/// # Errors
/// Where the device fails.
pub fn optimiser(encoder: &Encoder, settings: &Settings) -> Result<AdamW> {
    Ok(AdamW::new(&encoder.parameters.tensors, [0.9, 0.999], 1e-8, settings.weight_decay)?)
}

/// A step that was taken.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Before the step.
    pub loss: f64,
    /// Seconds of the loss with its gradient and norm, and of the update; where they are not told apart, all are the gradient's.
    pub gradient: f64,
    pub update: f64,
}

/// Takes the step number `step`, which its dropout goes by; gives its gradients too. To tell gradient and update apart (`is_split`) the
/// device is waited for in between.
///
/// # Errors
/// As [`measure`].
pub fn take_step(
    encoder: &mut Encoder,
    optimiser: &mut AdamW,
    pairs: PairTokens<'_>,
    settings: &Settings,
    step: usize,
    is_split: bool,
) -> Result<(Taken, Gradients)> {
    let rates = DropoutRates {
        hidden: settings.dropout,
        attention: settings.dropout,
        seed: settings.seed,
        step: step as u64,
    };
    let dropout = (settings.dropout > 0.0).then_some(rates);
    let start = Instant::now();
    let (temperature, chunk) = (settings.temperature, settings.chunk);
    let objective = Objective { temperature, chunk, dropout, perturbation: None };
    let mut gradients = encoder.parameters.gradients();
    let (loss, _) = start_gradient(encoder, pairs, &objective, 1.0, &mut gradients)?;
    let weights = &mut encoder.parameters;
    let (rate, clip, decayed) = (settings.learning_rate, settings.clip_norm, &weights.decayed);
    let mut gradient = None;
    let norm = if is_split {
        let norm = global_norm(gradients.tensors.iter().flatten())?;
        finite(step, loss.value()?, norm)?;
        gradient = Some(start.elapsed().as_secs_f64());
        let scale = if clip > 0.0 { (clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
        optimiser.update(&mut weights.tensors, &gradients.tensors, decayed, rate, scale)?;
        norm
    } else {
        let (losses, tensors) = (std::slice::from_ref(&loss), &mut weights.tensors);
        optimiser.clipped_update(tensors, &gradients.tensors, decayed, rate, clip, losses)?
    };
    let loss = loss.value()?;
    finite(step, loss, norm)?;
    encoder.device.synchronize()?;
    let seconds = start.elapsed().as_secs_f64();
    let gradient = gradient.unwrap_or(seconds);
    Ok((Taken { loss, gradient, update: seconds - gradient }, gradients))
}

/// Says which of a step's numbers is not finite.
fn finite(step: usize, loss: f64, norm: f64) -> Result<()> {
    ensure!(loss.is_finite(), "step {step}: the loss is {loss}");
    ensure!(norm.is_finite(), "step {step}: the gradient's norm is {norm}, the loss {loss}");
    Ok(())
}

/// The device's speed at matrix products in 10^9 operations a second: the best of a few products of 1024 x 1024 random numbers on a
/// CPU, of 8192 x 8192 on a GPU. A GPU multiplies ones, whose bits hardly change, at a higher clock than it holds with a model's numbers.
///
/// # Errors
/// Where the device fails.
pub fn peak_gflops(device: &Device, dtype: DType) -> Result<f64> {
    // As many operations as keep a CPU busy for some ten milliseconds, and a GPU for some microseconds each.
    let n = if device.is_cpu() { 1024 } else { 8192 };
    let mut stream = Stream::new(0, "peak", 0);
    let block: Vec<f32> = (0..1024 * 1024).map(|_| 2.0 * stream.unit() as f32 - 1.0).collect();
    let block = Tensor::from_vec(block, (1024, 1024), device)?.to_dtype(dtype)?;
    let a = block.repeat((n / 1024, n / 1024))?;
    let flops = 2.0 * (n as f64).powi(3);
    let mut best = 0f64;
    let began = Instant::now();
    let mut rounds = 0;
    while rounds < 3 || began.elapsed().as_secs_f64() < 0.3 {
        let start = Instant::now();
        let product = matmul(&a, &a)?;
        device.synchronize()?;
        best = best.max(flops / start.elapsed().as_secs_f64());
        drop(product);
        rounds += 1;
    }
    Ok(best / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(positions: usize) -> EncoderConfig {
        EncoderConfig::parse(&format!(
            r#"{{"model_type": "bert", "vocab_size": 100, "hidden_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": {positions}}}"#
        ))
        .expect("model")
    }

    #[test]
    fn made_batches_have_the_lengths_asked_for() {
        let model = model(300);
        let fixed = Batches::made(Lengths::parse("32/128").expect("fixed"), 4, 2, &model, 1);
        let is_fixed = |b: &TokenBatch| b.lengths().pairs == [(32, 128); 4];
        assert!(fixed.batches.len() == 2 && fixed.batches.iter().all(is_fixed));
        let is_inside = |ids: &Vec<u32>| ids.iter().all(|&id| (5..100).contains(&id));
        assert!(fixed.batches.iter().all(|b| b.queries.iter().chain(&b.passages).all(is_inside)));

        let mix = Batches::made(Lengths::parse("xquad-r").expect("mix"), 1000, 10, &model, 1);
        let lengths: Vec<(usize, usize)> = mix.batches.iter().flat_map(|b| b.lengths().pairs).collect();
        let mean = |side: fn(&(usize, usize)) -> usize| {
            lengths.iter().map(side).sum::<usize>() as f64 / lengths.len() as f64
        };
        let (questions, passages) = (mean(|l| l.0), mean(|l| l.1));
        assert!((questions - 21.0).abs() < 1.0 && (passages - 46.9).abs() < 2.0, "{questions} {passages}");
        assert_eq!(mix, Batches::made(Lengths::XquadR, 1000, 10, &model, 1), "the same for the same seed");
        assert!(lengths.iter().all(|l| l.1 <= 300), "cut at the model's longest");
        for wrong in ["32", "32/", "1/128", "a/b", "xquad"] {
            let error = format!("{:#}", Lengths::parse(wrong).expect_err(wrong));
            assert!(error.contains("--lengths") && error.contains("32/128"), "{error}");
        }
    }

    #[test]
    fn texts_that_the_model_cannot_read_are_named() {
        let model = model(30);
        let mut batches = Batches::made(Lengths::Fixed(20, 30), 3, 2, &model, 1);
        batches.check(&model).expect("as long as the model takes");
        batches.batches[1].passages[2].push(7);
        let error = batches.check(&model).expect_err("too long").to_string();
        assert!(error.contains("batch 1, passages[2]: 31 tokens") && error.contains("30 at most"), "{error}");
        batches.batches[0].queries[1][4] = 100;
        let error = batches.check(&model).expect_err("unknown token").to_string();
        assert!(error.contains("batch 0, queries[1]: token id 100") && error.contains("of 100"), "{error}");
    }

    #[test]
    fn broken_batch_files_name_what_is_wrong() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("ids.json");
        for (text, part) in [
            ("[]", "batches"),
            ("{\"batches\": []}", "no batches"),
            ("{\"batches\": [{\"queries\": [[1]], \"passages\": [[1]]}]}", "batch 0 has 1 queries"),
            ("{\"batches\": [{\"queries\": [[1], []], \"passages\": [[1], [2]]}]}", "without tokens"),
        ] {
            std::fs::write(&path, text).expect("write");
            let error = format!("{:#}", Batches::read(&path).expect_err(text));
            assert!(error.contains(part) && error.contains("ids.json"), "{error}");
        }
        let missing = format!("{:#}", Batches::read(&dir.path().join("no.json")).expect_err("missing"));
        assert!(missing.contains("no.json"));
    }

    #[test]
    fn a_gradient_that_is_not_finite_was_called_a_loss() {
        finite(0, 1.5, 2.0).expect("both are finite");
        let text = |loss, norm| finite(3, loss, norm).expect_err("refused").to_string();
        assert_eq!(text(1.5, f64::INFINITY), "step 3: the gradient's norm is inf, the loss 1.5");
        assert_eq!(text(f64::NAN, 1.0), "step 3: the loss is NaN");
        assert_eq!(text(f64::NAN, f64::NAN), "step 3: the loss is NaN");
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let spread = Spread::of(&values);
        assert_eq!((spread.p50, spread.p95), (50.5, 95.0));
        let one = Spread::of(&[3.0]);
        assert_eq!((one.p50, one.p95), (3.0, 3.0));
    }
}
