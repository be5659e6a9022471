//! What evaluating takes beside a trained model, from samples of the texts: operations, seconds, and bytes at its height.
//!
//! The optimiser stays while a run evaluates, and what its steps took is free again: so a run's height is the larger of the
//! two. The constants were fitted on runs whose pages were watched; `benches/results/memory.md` holds the sums against others.

use std::time::Instant;

use anyhow::Result;

use super::source::{Source, sampled};
use crate::corpus::Dataset;
use crate::encoder::{Encoder, EncoderConfig, Form, Load, Outline, TextTokenizer};
use crate::evaluate::RankOptions;
use crate::spec::ExperimentSpec;
use crate::train::{Pace, SLICE};

/// Bytes of a token while it is tokenised, for as many texts as are tokenised at once: before training, and after it, where
/// less of what was freed before is of a size that serves.
pub(super) const TOKENISING: usize = 230;
const TOKENISING_LATER: usize = 270;
/// Texts of a side that are tokenised to know how long its texts are: the mean is then known to 2 or 3%.
const SAMPLE: usize = 512;
/// Bytes of a first passage that is kept for a question: its place and score, and its line in the files.
const KEPT: usize = 16;
/// Blocks of more bytes than this are given by the system itself, not out of what was freed (mimalloc).
const HUGE: usize = 16 << 20;
/// Bytes of an f32.
const F32: usize = 4;

/// Tokenising so many times as many texts takes so much longer, as a power: words come again, and are tokenised once.
const REPEATED: f64 = 0.87;
/// Seconds of a core: comparing a score with a relevant passage's, and keeping a first passage.
const COMPARED: f64 = 2.5e-10;
const RANKED: f64 = 1.5e-7;
/// Seconds of writing a first passage, and the numbers of a question.
const WRITTEN: f64 = 2.8e-7;
const QUESTION: f64 = 3.5e-5;

/// What reads the texts: a model's configuration, tokenizer and prefixes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    config: &'a EncoderConfig,
    tokenizer: &'a TextTokenizer,
    prefixes: [&'a str; 2],
}

impl<'a> Reader<'a> {
    pub fn outline(of: &'a Outline) -> Self {
        let prefixes = [of.query_prefix.as_str(), &of.passage_prefix];
        Self { config: &of.config, tokenizer: &of.tokenizer, prefixes }
    }

    pub fn encoder(of: &'a Encoder) -> Self {
        let prefixes = [of.query_prefix.as_str(), &of.passage_prefix];
        Self { config: &of.config, tokenizer: &of.tokenizer, prefixes }
    }
}

/// What is known of a dataset's texts.
#[derive(Clone, Debug)]
pub(super) struct Texts<'a> {
    /// Questions and passages: how many, and some of them.
    sides: [(usize, Vec<&'a str>); 2],
    /// Relevant passages of all questions together.
    relevant: usize,
    /// Whether places of answers are known: passages that are cut are then looked at once more.
    has_answers: bool,
}

impl<'a> Texts<'a> {
    pub fn of(data: &'a Dataset) -> Self {
        let relevant = data.questions.iter().map(|q| data.groups[q.group as usize].relevant.len()).sum();
        Self { sides: sampled(data, SAMPLE), relevant, has_answers: !data.answers.is_empty() }
    }

    pub fn of_source(source: &'a Source) -> Self {
        if let Source::Texts(data) = source {
            return Self::of(data);
        }
        let sides = source.sampled(SAMPLE);
        Self { relevant: sides[0].0, sides, has_answers: false }
    }
}

/// What the evaluation data take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evaluating {
    /// All of their texts.
    pub load: Load,
    /// Bytes at the height, on top of the model, the optimiser, the texts and the program.
    pub bytes: usize,
    /// Operations of the products of all questions with all passages.
    pub products: f64,
    /// Seconds of what is neither encoding nor these products: tokenising, counting and writing.
    pub besides: f64,
}

impl Evaluating {
    /// Of all datasets, one after another: with so many bytes a number in a pass, in this form.
    ///
    /// # Errors
    /// Where a text cannot be tokenised.
    pub fn of<'a>(
        spec: &ExperimentSpec,
        reader: Reader<'_>,
        data: impl IntoIterator<Item = Texts<'a>>,
        (element, form): (usize, Form),
    ) -> Result<Self> {
        let config = reader.config;
        let limits =
            [spec.model.max_query_tokens, spec.model.max_passage_tokens].map(|n| n.min(config.longest()));
        let mut all = Self::default();
        for Texts { sides, relevant, has_answers } in data {
            let (mut tokenising, mut passes, mut tokens) = (0, Passes::default(), 0);
            let counts = [sides[0].0, sides[1].0];
            for (side, (count, sample)) in sides.into_iter().enumerate() {
                let (prefix, limit) = (reader.prefixes[side], limits[side]);
                let (tokenised, seconds) = reader.tokenizer.encode_anew(prefix, &sample, limit)?;
                let share = count as f64 / sample.len().max(1) as f64;
                all.besides += seconds * share.powf(REPEATED);
                if side == 1 && has_answers && !tokenised.cut.is_empty() {
                    let cut: Vec<&str> = tokenised.cut.iter().map(|at| sample[*at]).collect();
                    let start = Instant::now();
                    reader.tokenizer.kept(prefix, &cut, limit)?;
                    all.besides += start.elapsed().as_secs_f64() * share;
                }
                let mut lengths: Vec<usize> = tokenised.ids.iter().map(Vec::len).collect();
                let seen = Load::of(lengths.iter().copied());
                let scaled = |n: usize| (n as f64 * share).round() as usize;
                let load = Load { texts: count, tokens: scaled(seen.tokens), squares: scaled(seen.squares) };
                all.load += load;
                let at_once = load.tokens as f64 * (SLICE.min(count) as f64 / count.max(1) as f64);
                tokenising = tokenising.max((TOKENISING_LATER as f64 * at_once) as usize);
                lengths.sort_unstable_by_key(|n| std::cmp::Reverse(*n));
                let longest = longest(&lengths, share, spec.evaluate.batch_tokens);
                passes = passes.max(Passes::of(config, longest, load.tokens, (element, form)));
                tokens += load.tokens;
            }
            let [questions, passages] = counts;
            let vectors = F32 * config.hidden_size * (questions + passages) + F32 * tokens;
            // A block of scores, the passages' vectors in the order of ranking, and what is kept of each question.
            let options = RankOptions::default();
            let kept = questions * spec.evaluate.trec_depth.max(10).min(passages);
            let ranking = F32 * passages * (options.block.min(questions) + config.hidden_size) + KEPT * kept;
            let host = vectors + passes.beside(tokenising, ranking);
            all.bytes = all.bytes.max(if form == Form::Host { host } else { passes.bytes });
            all.products += 2.0 * (questions * config.hidden_size) as f64 * passages as f64;
            let cores = rayon::current_num_threads() as f64;
            let counting = COMPARED * relevant as f64 * passages as f64 + RANKED * kept as f64;
            let written = questions * spec.evaluate.trec_depth.min(passages);
            all.besides += counting / cores + WRITTEN * written as f64 + QUESTION * questions as f64;
        }
        Ok(all)
    }

    /// Seconds of evaluating once.
    pub fn seconds(&self, config: &EncoderConfig, pace: &Pace) -> f64 {
        config.forward_flops(self.load) * pace.encoding + self.products * pace.product + self.besides
    }
}

/// The passes of the side of a dataset that takes most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Passes {
    /// Bytes of the heaviest, with what those before it have freed and it cannot use.
    bytes: usize,
    /// Bytes of its largest matrix.
    block: usize,
}

impl Passes {
    /// Of texts with so many `tokens` in all, of which `longest` go first.
    fn of(config: &EncoderConfig, longest: Load, tokens: usize, (element, form): (usize, Form)) -> Self {
        let bytes = config.forward_bytes(longest, element, form);
        // Each pass has another number of tokens, so that blocks which one has freed do not all serve the next: after five of
        // them a third is lost.
        let further = (tokens as f64 / longest.tokens.max(1) as f64 - 1.0).clamp(0.0, 4.0);
        let row = config.intermediate_size.max(3 * config.hidden_size);
        Self {
            bytes: bytes + (bytes as f64 * further / 12.0) as usize,
            block: element * row * longest.tokens,
        }
    }

    /// Bytes at the height in main memory, where so many are taken to tokenise before, and so many to rank after it. What
    /// tokenising has freed lies in small pieces: it serves passes that ask for no large ones, and of the others about half. A very
    /// large block that was given back is still there for some milliseconds, in which the next may be asked for.
    fn beside(self, tokenising: usize, ranking: usize) -> usize {
        let kept = if self.block > HUGE { tokenising / 2 } else { 0 };
        let lingering = if self.block > 4 * HUGE { self.block / 2 } else { 0 };
        tokenising.max(self.bytes + ranking + kept + lingering)
    }
}

/// The pass of an evaluation that takes most: texts go longest first, until there are `most` tokens. Each of the sorted
/// `lengths` stands for `share` texts.
fn longest(lengths: &[usize], share: f64, most: usize) -> Load {
    let (mut texts, mut tokens, mut squares) = (0.0, 0.0, 0.0);
    for &length in lengths {
        let length = length as f64;
        let room = (most as f64 - tokens) / length.max(1.0);
        let taken = if texts == 0.0 { share.min(room.max(1.0)) } else { share.min(room) };
        if taken <= 0.0 {
            break;
        }
        texts += taken;
        tokens += taken * length;
        squares += taken * length * length;
    }
    Load { texts: texts.ceil() as usize, tokens: tokens.ceil() as usize, squares: squares.ceil() as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_texts_make_the_heaviest_pass() {
        assert_eq!(longest(&[10, 5, 5], 2.0, 25), Load { texts: 3, tokens: 25, squares: 225 });
        assert_eq!(longest(&[10, 5], 1.0, 1000), Load::of([10, 5]), "no more than there is");
        assert_eq!(longest(&[300, 5], 1.0, 100), Load::of([300]), "one text at least");
        assert_eq!(longest(&[], 0.0, 100), Load::default());
    }

    #[test]
    fn an_evaluation_in_large_passes_takes_them_beside_what_tokenising_left() {
        let config = EncoderConfig::parse(crate::corpus::demo::CONFIG).expect("config");
        let passes = |tokens: usize, all: usize, element| {
            Passes::of(&config, Load::of(vec![64; tokens / 64]), all, (element, Form::Host))
        };
        let (small, large) = (passes(8192, 80_000, 4), passes(65_536, 800_000, 4));
        assert_eq!(small.beside(200 << 20, 1), 200 << 20, "one after the other");
        assert_eq!(large.beside(200 << 20, 1), large.bytes + (100 << 20) + large.block / 2 + 1);
        assert!(large.block > 4 * HUGE);
        assert!(passes(65_536, 65_536, 4).bytes < large.bytes, "there is no second pass");
        let half = passes(65_536, 800_000, 2);
        assert!(half.bytes > large.bytes / 2 && half.bytes < large.bytes / 4 * 3, "{half:?} {large:?}");
    }
}
