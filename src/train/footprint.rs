//! The memory that training takes: weights, optimiser, gradients, activations.
//!
//! Weights and the two moments are f32 and stay; a step comes on top. It is highest either when a pass has gone forward
//! and begins to go back (all activations; with several passes a step, the gradients so far too), or when it ends (all
//! gradients, beside what the pass has freed and the allocator still holds). `benches/results/memory.md` holds it against what the system measured.

use anyhow::{Result, anyhow, bail};

use super::lengths::TextLengths;
use crate::encoder::{Encoder, EncoderConfig, Form, Load, adapter_count, adapter_kept};
use crate::machine::{Headroom, bytes, headroom};
use crate::spec::{ExperimentSpec, PerturbationKind};

/// Bytes of an f32.
const F32: usize = 4;

/// What a model's memory is computed from.
#[derive(Clone, Copy, Debug)]
pub struct Footprint<'a> {
    pub config: &'a EncoderConfig,
    /// Numbers of the model, adapters included.
    pub parameters: usize,
    /// Those that are trained.
    pub trainable: usize,
    /// Bytes of a number in activations: 4, or 2 for bf16.
    pub element: usize,
    /// Numbers that a token's adapters keep, a layer.
    pub adapter: usize,
    /// Whether word embeddings are moved.
    pub is_moved: bool,
    /// How passes and loss are computed.
    pub form: Form,
}

impl<'a> Footprint<'a> {
    /// Of a model that is loaded.
    #[must_use]
    pub fn of(encoder: &'a Encoder) -> Self {
        Self {
            config: &encoder.config,
            parameters: encoder.parameters.count(),
            trainable: encoder.parameters.trainable_count(),
            element: encoder.dtype.size_in_bytes(),
            adapter: encoder.adapters.as_ref().map_or(0, |a| adapter_kept(&encoder.config, &a.spec)),
            is_moved: false,
            form: Form::of(&encoder.device),
        }
    }

    /// Of a base with so many numbers, and the adapters for so many languages that a spec asks for.
    #[must_use]
    pub fn planned(
        config: &'a EncoderConfig,
        base: usize,
        element: usize,
        spec: &ExperimentSpec,
        languages: usize,
    ) -> Self {
        let adapters = adapter_count(config, &spec.adapters, languages);
        let trainable = if spec.adapters.is_frozen() { 0 } else { base } + adapters;
        let adapter = adapter_kept(config, &spec.adapters);
        let size = Self {
            config,
            parameters: base + adapters,
            trainable,
            element,
            adapter,
            is_moved: false,
            form: Form::Host,
        };
        size.perturbed(spec.robust.perturbation)
    }

    /// The same computed in this form.
    #[must_use]
    pub const fn computed(self, form: Form) -> Self {
        Self { form, ..self }
    }

    /// The same where word embeddings are moved in this way.
    #[must_use]
    pub fn perturbed(self, kind: PerturbationKind) -> Self {
        Self { is_moved: kind != PerturbationKind::None, ..self }
    }

    /// Bytes of the weights and the optimiser's two moments.
    #[must_use]
    pub const fn fixed(&self) -> usize {
        F32 * (self.parameters + 2 * self.trainable)
    }

    /// Bytes of the weights.
    #[must_use]
    pub const fn weights(&self) -> usize {
        F32 * self.parameters
    }

    /// Bytes of one gradient a parameter that is trained.
    #[must_use]
    pub const fn gradients(&self) -> usize {
        F32 * self.trainable
    }

    /// Numbers of the word embeddings that are trained: sums of their gradients change only the rows that a pass has.
    #[must_use]
    pub fn word_table(&self) -> usize {
        (self.config.vocab_size * self.config.hidden_size).min(self.trainable)
    }

    /// Bytes at the height of a pass that is gone back.
    fn activations(&self, pass: Load) -> usize {
        let adapters = self.element * self.config.layers * self.adapter * pass.tokens;
        self.config.activation_bytes(pass, self.element, self.form) + adapters
    }

    /// Bytes of the loss, whatever the chunk: vectors, their gradients, and matrices of the questions against all passages, of
    /// which the host form needs one, which becomes its own gradient.
    fn loss(&self, lengths: &TextLengths) -> usize {
        let (n, m) = (lengths.pairs.len(), lengths.negatives.len());
        self.loss_of(n, m)
    }

    /// The same for so many pairs and hard negatives; a number that is too large is the largest there is.
    #[must_use]
    pub const fn loss_of(&self, pairs: usize, negatives: usize) -> usize {
        let passages = pairs.saturating_add(negatives);
        let vectors = passages.saturating_add(pairs).saturating_mul(3 * self.config.hidden_size);
        let matrices = match self.form {
            Form::Host => 1,
            Form::Kernels => 2,
            Form::Portable => 8,
        };
        let scores = passages.saturating_mul(pairs).saturating_mul(matrices);
        vectors.saturating_add(scores).saturating_mul(F32)
    }

    /// Bytes at the height of a step on top of [`Footprint::fixed`]: `summed` where the gradients of batches before are there already.
    #[must_use]
    pub fn step(&self, lengths: &TextLengths, chunk: usize, summed: bool) -> usize {
        let passes = lengths.passes(chunk);
        let is_summed = summed || passes.len() > 1;
        let activations = passes.iter().map(|&p| self.activations(p)).max().unwrap_or(0);
        let tokens = passes.iter().map(|p| p.tokens).max().unwrap_or(0);
        // Freed blocks are not all used again at once: not by the same pass, and hardly by gradients, which are of other sizes.
        let begin = activations / 5 * 6 + if is_summed { self.gradients() } else { 0 };
        let end = self.gradients() + activations;
        // The moves of all passes, and the word embeddings and the slope of one.
        let moves = passes.iter().map(|p| p.tokens).sum::<usize>() + 2 * tokens;
        let moved = if self.is_moved { F32 * self.config.hidden_size * moves } else { 0 };
        begin.max(end) + self.loss(lengths) + moved
    }

    /// The largest chunk of these pairs whose step takes at most `room` bytes; `None` where not even one pair does.
    #[must_use]
    pub fn fitting_chunk(&self, lengths: &TextLengths, room: usize) -> Option<usize> {
        let halves = std::iter::successors(Some(lengths.pairs.len()), |&c| (c > 1).then_some(c / 2));
        let mut chunks = halves.filter(|&c| self.step(lengths, c, true) <= room);
        chunks.next()
    }

    /// Refuses a step that this machine's memory cannot hold, before anything of it is allocated; weights and optimiser
    /// are there already.
    ///
    /// # Errors
    /// Says what is needed, what is left and why, and the chunk that would fit.
    pub fn check(&self, lengths: &TextLengths, chunk: usize, summed: bool) -> Result<()> {
        self.check_with(lengths, chunk, summed, Besides::default(), Asker::Run)
    }

    /// The same with what is taken besides it, in the words of who asks.
    ///
    /// # Errors
    /// As [`Footprint::check`]; where it is the batches that are encoded together, how many of them would fit.
    pub fn check_with(
        &self,
        lengths: &TextLengths,
        chunk: usize,
        summed: bool,
        besides: Besides,
        asker: Asker,
    ) -> Result<()> {
        match headroom() {
            Some(room) => self.check_within(&room, (lengths, chunk, summed), besides, asker),
            None => Ok(()),
        }
    }

    fn check_within(
        &self,
        room: &Headroom,
        (lengths, chunk, summed): (&TextLengths, usize, bool),
        besides: Besides,
        asker: Asker,
    ) -> Result<()> {
        let Besides { optimiser, batches, encoded } = besides;
        let step = self.step(lengths, chunk, summed).saturating_add(optimiser);
        let grows = step.saturating_add(encoded);
        if grows as u64 <= room.bytes {
            return Ok(());
        }
        let left = format!("{} are left ({})", bytes(room.bytes), room.bound);
        let planned = room.planned(room.bytes) as usize;
        if step as u64 <= room.bytes && batches > 1 {
            let fitting = planned.saturating_sub(step) / (encoded / batches).max(1);
            bail!(
                "out of memory: the {batches} batches, which are encoded together once, take about {} beside a step of about \
                 {}, and {left}. Lower --batches: {} would fit",
                bytes(encoded as u64),
                bytes(step as u64),
                fitting.max(1)
            );
        }
        bail!(
            "out of memory: a batch of {} pairs needs about {} more in chunks of {}, and {left}. {}",
            lengths.pairs.len(),
            bytes(grows as u64),
            if chunk == 0 { lengths.pairs.len() } else { chunk },
            self.advice(lengths, [planned, room.bytes as usize], besides, asker)
        )
    }

    /// What to do where so many bytes can be planned with, and so many are left in all.
    fn advice(&self, lengths: &TextLengths, rooms: [usize; 2], besides: Besides, asker: Asker) -> String {
        let [planned, left] = rooms.map(|room| room.saturating_sub(besides.optimiser));
        let fitting = |room: usize| self.fitting_chunk(lengths, room.saturating_sub(besides.encoded));
        let sure = fitting(planned).map(|chunk| (chunk, "would fit"));
        // Estimates are not exact, but what can run is not to be called too large: a quarter of what would fill all that is left.
        match sure.or_else(|| fitting(left).map(|chunk| ((chunk / 4).max(1), "may just fit"))) {
            Some((chunk, fits)) => {
                let option = match asker {
                    Asker::Run => format!("resume with --set train.chunk={chunk}"),
                    Asker::Bench => format!("--chunk {chunk}"),
                };
                format!("A chunk of {chunk} {fits} and gives the same gradients: {option}")
            }
            None => match self.fitting_chunk(lengths, left).filter(|_| besides.batches > 1) {
                Some(chunk) => format!(
                    "About {} of it are for all {} batches, which are encoded together once: lower --batches; with a few of \
                     them a chunk of {chunk} would fit (--chunk {chunk})",
                    bytes(besides.encoded as u64),
                    besides.batches
                ),
                None => format!("Not even one pair at a time would fit: {}", self.remedy(lengths, asker)),
            },
        }
    }

    /// What a run is told where no chunk fits.
    #[must_use]
    pub fn without_chunk(&self, lengths: &TextLengths) -> String {
        self.remedy(lengths, Asker::Run)
    }

    fn remedy(&self, lengths: &TextLengths, asker: Asker) -> String {
        let (batch, shorter) = match asker {
            Asker::Run => ("train.batch", "model.max_passage_tokens"),
            Asker::Bench => ("--batch", "--lengths"),
        };
        if 2 * self.loss(lengths) > self.step(lengths, 1, true) {
            return format!(
                "the loss of {} pairs alone takes about {}; lower {batch}",
                lengths.pairs.len(),
                bytes(self.loss(lengths) as u64)
            );
        }
        format!("raise the limit, or choose a smaller model or shorter texts ({shorter})")
    }
}

/// What is taken beside a step and what is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Besides {
    /// Bytes of the optimiser, where it comes with the first step.
    pub optimiser: usize,
    /// Batches that are encoded together, and bytes of their ids and vectors.
    pub batches: usize,
    pub encoded: usize,
}

/// Who is told what would fit, in the words of its own options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A training run: keys of its spec.
    Run,
    /// `polymix bench train`.
    Bench,
}

/// Adds to a device's complaint that it is out of memory the chunk that would fit; other errors stay as they are.
pub fn explain(
    error: anyhow::Error,
    size: &Footprint<'_>,
    lengths: &TextLengths,
    chunk: usize,
) -> anyhow::Error {
    let text = format!("{error:#}").to_lowercase().replace('_', " ");
    if !text.contains("out of memory") {
        return error;
    }
    // What did fit is not known: half of what was tried is the next thing to try.
    let tried = size.step(lengths, chunk, true);
    let advice = size.advice(lengths, [tried / 2; 2], Besides::default(), Asker::Run);
    anyhow!("out of memory on the device ({error:#}). {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> EncoderConfig {
        EncoderConfig::parse(crate::corpus::demo::CONFIG).expect("config")
    }

    fn lengths() -> TextLengths {
        TextLengths { pairs: vec![(20, 60); 256], negatives: Vec::new() }
    }

    fn size(config: &EncoderConfig) -> Footprint<'_> {
        Footprint::planned(config, 2_000_000, 4, &ExperimentSpec::default(), 0)
    }

    #[test]
    fn a_frozen_base_has_no_gradients_and_no_moments() {
        let config = config();
        let spec = crate::spec::parse("[adapters]\nkind = \"lora\"\nrank = 8", &[]).expect("spec");
        let frozen = Footprint::planned(&config, 2_000_000, 4, &spec, 11);
        let adapters = 11 * 4 * 2 * 8 * 128;
        assert_eq!((frozen.parameters, frozen.trainable), (2_000_000 + adapters, adapters));
        assert_eq!(frozen.gradients(), 4 * adapters);
        assert_eq!(frozen.fixed(), 4 * (2_000_000 + 3 * adapters));
        assert!(frozen.step(&lengths(), 8, true) < size(&config).step(&lengths(), 8, true));
        let moved = frozen.perturbed(PerturbationKind::Adversarial);
        assert!(moved.step(&lengths(), 8, true) > frozen.step(&lengths(), 8, true));
    }

    #[test]
    fn hard_negatives_take_memory() {
        let config = config();
        let size = size(&config);
        let hard = |count| TextLengths { negatives: vec![60; count], ..lengths() };
        let steps: Vec<usize> = [0, 64, 256].iter().map(|&n| size.step(&hard(n), 0, true)).collect();
        assert!(steps.windows(2).all(|w| w[0] < w[1]), "{steps:?}");
        // In pieces of one pair, the 256 negatives come one to a piece.
        let (plain, more) =
            (config.activation_bytes(Load::of([20, 60]), 4, Form::Host), Load::of([20, 60, 60]));
        assert_eq!(hard(256).passes(1), [more; 256]);
        assert!(config.activation_bytes(more, 4, Form::Host) > plain);
    }

    #[test]
    fn memory_falls_with_the_chunk_and_the_advice_fits() {
        let config = config();
        let size = size(&config);
        let lengths = lengths();
        let steps: Vec<usize> = [0, 128, 64, 8].iter().map(|&c| size.step(&lengths, c, true)).collect();
        assert!(steps.windows(2).all(|w| w[0] > w[1]), "{steps:?}");
        assert_eq!(size.step(&lengths, 0, true), size.step(&lengths, 256, true));
        let chunk = size.fitting_chunk(&lengths, steps[2]).expect("a chunk");
        assert_eq!(chunk, 64);
        assert_eq!(size.fitting_chunk(&lengths, 1000), None);
        assert!(size.without_chunk(&lengths).contains("smaller model"));
        let many = TextLengths { pairs: vec![(20, 60); 9000], negatives: Vec::new() };
        let told = size.without_chunk(&many);
        assert!(told.contains("loss of 9000 pairs") && told.contains("lower train.batch"), "{told}");
    }

    #[test]
    fn bf16_takes_copies_in_main_memory_only_and_primitives_keep_probabilities() {
        let config = config();
        let half = Footprint { element: 2, ..size(&config) };
        let step = |size: Footprint<'_>| size.step(&lengths(), 0, false);
        assert!(step(half.computed(Form::Host)) > step(half.computed(Form::Kernels)));
        assert!(step(half.computed(Form::Host)) < step(size(&config)));
        let whole = size(&config);
        assert!(step(whole.computed(Form::Portable)) > step(whole) + config.heads * 4 * 256 * 60 * 60);
    }

    /// 9,000 texts of four tokens: the scores were once counted eight times, and the step refused with plenty of memory left.
    #[test]
    fn the_scores_of_many_short_texts_are_counted_once() {
        let config = config();
        let size = size(&config);
        let short = TextLengths { pairs: vec![(4, 4); 9000], negatives: Vec::new() };
        let step = size.step(&short, 64, false);
        let scores = 4 * 9000 * 9000;
        assert!(step > scores && step < scores / 2 * 3, "{step} for {scores} bytes of scores");
        let doubled = size.computed(Form::Kernels).step(&short, 64, false);
        assert_eq!(doubled - step, scores);
    }

    #[test]
    fn where_many_batches_are_what_does_not_fit_their_number_is_named() {
        let config = config();
        let size = size(&config);
        let lengths = lengths();
        let step = size.step(&lengths, 8, false);
        let said = |room: usize, encoded: usize| {
            let room = Headroom { bytes: room as u64, total: 0, bound: "a bound".into(), spare: 0 };
            let besides = Besides { optimiser: 0, batches: 1000, encoded };
            size.check_within(&room, (&lengths, 8, false), besides, Asker::Bench).map_err(|e| e.to_string())
        };
        assert_eq!(said(step + 1000, 1000), Ok(()));
        let told = said(2 * step, 3 * step).expect_err("too many");
        assert!(told.contains("the 1000 batches") && !told.contains("chunk"), "{told}");
        let fitting =
            told.split("Lower --batches: ").nth(1).and_then(|n| n.split(' ').next()).expect("a number");
        let fitting: usize = fitting.parse().expect("a number");
        assert!((200..334).contains(&fitting) && said(2 * step, 3 * step * fitting / 1000).is_ok(), "{told}");
        // Neither the step nor they fit.
        let told = said(step / 10 * 9, 3 * step).expect_err("too large");
        assert!(told.contains("lower --batches; with a few of them a chunk of"), "{told}");
    }

    #[test]
    fn what_may_just_fit_is_not_called_too_large() {
        let config = config();
        let (size, lengths) = (size(&config), lengths());
        let one = size.step(&lengths, 1, true);
        let said = |room: usize| {
            let room = Headroom { bytes: room as u64, total: 0, bound: "a bound".into(), spare: 64 << 20 };
            let all = (&lengths, 0, false);
            size.check_within(&room, all, Besides::default(), Asker::Run).expect_err("too large").to_string()
        };
        let told = said(one + 1000);
        assert!(told.contains("A chunk of 1 may just fit") && told.ends_with("train.chunk=1"), "{told}");
        assert!(said(one - 1).contains("Not even one pair at a time"), "{}", said(one - 1));
    }

    #[test]
    fn only_a_lack_of_memory_is_explained() {
        let config = config();
        let size = size(&config);
        let lengths = lengths();
        let cuda = anyhow!("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")");
        let told = format!("{:#}", explain(cuda, &size, &lengths, 0));
        let chunk = told.rsplit_once("train.chunk=").expect("advice").1.parse::<usize>().expect("number");
        assert!((32..256).contains(&chunk), "{told}");
        let other = explain(anyhow!("shape mismatch"), &size, &lengths, 0);
        assert_eq!(format!("{other:#}"), "shape mismatch");
    }
}
