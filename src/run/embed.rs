//! Texts to vectors outside of an evaluation, with progress.

use anyhow::Result;

use super::evaluation::Progressing;
use crate::encoder::{Encoder, Route};
use crate::evaluate::Embeddings;
use crate::evaluate::alignment::Side;
use crate::spec::ExperimentSpec;
use crate::train::{Event, Stage};

/// An encoder with the settings under which it embeds.
#[derive(Clone, Copy)]
pub struct Embedder<'a> {
    pub encoder: &'a Encoder,
    pub spec: &'a ExperimentSpec,
}

impl Embedder<'_> {
    /// Token ids of prefixed texts, cut at the side's length; a note says how many were cut.
    fn tokens(
        &self,
        side: Side,
        texts: &[&str],
        tell: &mut dyn FnMut(Event) -> Result<()>,
    ) -> Result<Vec<Vec<u32>>> {
        let model = &self.spec.model;
        let (prefix, longest) = match side {
            Side::Questions => (&self.encoder.query_prefix, model.max_query_tokens),
            Side::Passages => (&self.encoder.passage_prefix, model.max_passage_tokens),
        };
        let longest = longest.min(self.encoder.config.longest());
        let tokens = self.encoder.tokenizer.encode(prefix, texts, longest)?;
        if tokens.truncated > 0 {
            let message =
                format!("{} of {} {} cut to {longest} tokens", tokens.truncated, texts.len(), side.name());
            tell(Event::Note { message })?;
        }
        Ok(tokens.ids)
    }

    fn routes(&self, languages: &[&str]) -> Vec<Route> {
        languages.iter().map(|l| self.encoder.route(l)).collect()
    }

    /// Unit vectors of texts, in their order; `languages` has one a text, or is empty where they are not known (adapters are then
    /// left out). `tell` hears the progress.
    ///
    /// # Errors
    /// Where a text cannot be embedded, or what `tell` returns.
    pub fn embed(
        &self,
        side: Side,
        texts: &[&str],
        languages: &[&str],
        tell: &mut dyn FnMut(Event) -> Result<()>,
    ) -> Result<Embeddings> {
        let tokens = self.tokens(side, texts, &mut *tell)?;
        let mut progress = Progressing::new(stage(side), tell);
        let (routes, batch) = (self.routes(languages), self.spec.evaluate.batch_tokens);
        let mut at = |done| progress.at(done, texts.len());
        let data = self.encoder.encode_routed(&tokens, &routes, batch, &mut at)?;
        Ok(Embeddings { width: self.encoder.width(), data })
    }

    /// The same after every layer, with the layers' names.
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub fn embed_layers(
        &self,
        side: Side,
        texts: &[&str],
        languages: &[&str],
        tell: &mut dyn FnMut(Event) -> Result<()>,
    ) -> Result<Vec<(String, Embeddings)>> {
        let tokens = self.tokens(side, texts, &mut *tell)?;
        let mut progress = Progressing::new(stage(side), tell);
        let (routes, batch) = (self.routes(languages), self.spec.evaluate.batch_tokens);
        let mut at = |done| progress.at(done, texts.len());
        let layers = self.encoder.encode_layers(&tokens, &routes, batch, &mut at)?;
        let names = self.encoder.layer_names(layers.len());
        let width = |data: &Vec<f32>| data.len() / texts.len().max(1);
        Ok(names
            .into_iter()
            .zip(layers.into_iter().map(|data| Embeddings { width: width(&data), data }))
            .collect())
    }
}

/// What to say where some of these languages have no adapter and others do; nothing where the model has none at all.
#[must_use]
pub fn adapter_note(encoder: &Encoder, languages: &[String]) -> Option<String> {
    let own = encoder.adapters.as_ref()?;
    let without: Vec<&str> =
        languages.iter().filter(|l| own.route(l).is_none()).map(String::as_str).collect();
    (!without.is_empty()).then(|| {
        format!(
            "no adapter for {}: texts in {} go through the base alone (adapters: {})",
            without.join(", "),
            if without.len() == 1 { "this language" } else { "these languages" },
            own.languages.join(", ")
        )
    })
}

fn stage(side: Side) -> Stage {
    match side {
        Side::Questions => Stage::EncodingQuestions,
        Side::Passages => Stage::EncodingPassages,
    }
}
