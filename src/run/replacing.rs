//! What replacing words (`robust.code_switch`) adds to a run: found by replacing those of some batches of its plan.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::source::Source;
use crate::batch::Batch;
use crate::encoder::{EncoderConfig, Outline};
use crate::spec::ModelSpec;
use crate::train::{Reading, Switcher, TextLengths};

/// Time for it, and batches, that are enough.
const ENOUGH: (Duration, usize) = (Duration::from_millis(500), 50);

/// What replacing words takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Replacing {
    /// Seconds of a batch, for replacing words and tokenising what came out.
    pub seconds: f64,
    /// Model operations of the batches with words replaced over those without: translations have other lengths.
    pub operations: f64,
}

impl Replacing {
    /// Of the plan's first batches, whose texts have the lengths `drawn`; texts that are not in memory are left out.
    ///
    /// # Errors
    /// Where a text cannot be tokenised.
    pub fn of(
        switcher: &Switcher,
        (outline, model): (&Outline, &ModelSpec),
        sources: &[Source],
        (batches, drawn): (&[Batch], &[TextLengths]),
    ) -> Result<Self> {
        let longest = outline.config.longest();
        let reading = Reading {
            tokenizer: &outline.tokenizer,
            prefixes: [&outline.query_prefix, &outline.passage_prefix],
            limits: [model.max_query_tokens, model.max_passage_tokens].map(|n| n.min(longest)),
        };
        let (mut taken, mut count, mut plain, mut replaced) = (Duration::ZERO, 0, 0.0, 0.0);
        for (index, (batch, lengths)) in batches.iter().zip(drawn).enumerate() {
            let Source::Texts(data) = &sources[batch.source] else { continue };
            let start = Instant::now();
            let switched = switcher.switch(reading, data, batch, index)?;
            // The first one meets lexicons and words for the first time.
            if index > 0 || batches.len() == 1 {
                taken += start.elapsed();
                count += 1;
            }
            let [before, after] =
                [lengths, &lengths.replaced(&switched)].map(|l| operations(&outline.config, l));
            (plain, replaced) = (plain + before, replaced + after);
            if count >= ENOUGH.1 || taken >= ENOUGH.0 {
                break;
            }
        }
        let operations = if plain > 0.0 { replaced / plain } else { 1.0 };
        Ok(Self { seconds: taken.as_secs_f64() / f64::from(count.max(1) as u32), operations })
    }
}

fn operations(config: &EncoderConfig, lengths: &TextLengths) -> f64 {
    config.training_flops(lengths.load())
}

#[cfg(test)]
mod tests {
    use crate::run::estimate;
    use crate::spec;

    /// Replacing words and tokenising anew once took time that no estimate counted, up to half of a step.
    #[test]
    fn replaced_words_are_counted() {
        let (_, text) = spec::presets().iter().find(|(name, _)| *name == "demo.toml").expect("preset");
        let of = |more: &[&str]| {
            let sets = ["train.device=cpu", "data.evaluation=[]", "data.validation=[]", "train.steps=20"];
            let sets: Vec<String> = sets.iter().chain(more).map(|s| (*s).to_owned()).collect();
            estimate(&spec::parse(text, &sets).expect("spec"), 20).expect("estimate")
        };
        let plain = of(&[]);
        let switched = of(&["robust.lexicons=[\"demo\"]", "robust.code_switch=0.5"]);
        assert_ne!(switched.step_flops, plain.step_flops, "other words, other lengths");
        // The same pace, which is measured once: what is more is the replacing and the lengths.
        let lengths = switched.step_flops / plain.step_flops;
        let more = switched.training_seconds - plain.training_seconds * lengths.max(1.0);
        assert!(more > 0.05 * plain.training_seconds, "{plain:?} {switched:?}");
    }
}
