//! The training data of a run: opened, refused where they cannot be trained on, and tokenised.
//!
//! Hours may lie between opening large data and having them tokenised, so that what is known before is refused before.

use anyhow::{Result, ensure};

use super::evaluation::Progressing;
use super::execute::{Data, Worker};
use super::overlap::{self, Trained};
use crate::batch::Layout;
use crate::corpus::{self, Dataset};
use crate::encoder::Encoder;
use crate::spec::{DatasetRef, ExperimentSpec};
use crate::tokens::{self, Wanted};
use crate::train::{Stage, Switcher, Tokens, TrainingSet, ValidationPlan, adapted, no_texts};

impl Worker<'_> {
    /// The training data, tokenised: large ones in a cache on disk, the others in memory.
    ///
    /// # Errors
    /// What is wrong with them, with the test data beside them, or with what the spec asks of them.
    pub(super) fn open_training(&mut self, encoder: &Encoder, data: &Data) -> Result<Vec<TrainingSet>> {
        let spec = self.spec.clone();
        check_known(&spec, encoder)?;
        if !spec.languages.is_empty() {
            check_validation(&spec, &[], data)?;
        }
        let candidate = spec.evaluate.candidate;
        let (mut opened, mut trained) = (Vec::new(), Vec::new());
        for name in &spec.data.train {
            let cached = tokens::is_cached(name, spec.data.cache)?;
            ensure!(!cached || !spec.robust.switches(), no_texts(&name.label()));
            self.go_on()?;
            let dataset = if cached { None } else { Some(corpus::open(name, candidate)?) };
            if let Some(dataset) = &dataset {
                trained.push(Trained::of(name, dataset)?);
            }
            opened.push(dataset);
        }
        if spec.languages.is_empty() {
            check_validation(&spec, &opened, data)?;
        }
        for note in overlap::check(&trained, tested(&spec, data))? {
            self.note(note)?;
        }
        let mut sets = Vec::new();
        for (name, dataset) in spec.data.train.iter().zip(opened) {
            self.go_on()?;
            let set = self.tokenised(name, dataset, encoder)?;
            if set.is_cached() {
                // Its ids are known only now.
                for note in overlap::check(&[Trained::cached(name, &set)?], tested(&spec, data))? {
                    self.note(note)?;
                }
            }
            for note in &set.notes {
                self.note(format!("{}: {note}", set.summary.name))?;
            }
            sets.push(set);
        }
        Ok(sets)
    }

    /// One of them; `dataset` are its texts, `None` where it goes into a cache.
    fn tokenised(
        &mut self,
        name: &DatasetRef,
        dataset: Option<Dataset>,
        encoder: &Encoder,
    ) -> Result<TrainingSet> {
        let spec = self.spec.clone();
        let mut progress = Progressing::new(Stage::Tokenising, |event| self.tell_and_go_on(event));
        let mut tell = |done, total| progress.at(done, total);
        if let Some(dataset) = dataset {
            let tokens = Tokens::in_languages(&dataset, &spec.languages, encoder, &spec.model, &mut tell)?;
            let set = TrainingSet::in_memory(&dataset, tokens);
            Ok(if spec.robust.switches() { set.with_texts(dataset) } else { set })
        } else {
            let wanted = Wanted::new(name, spec.evaluate.candidate, encoder, &spec.model);
            let prepared = tokens::prepare(wanted, &tokens::default_dir()?, &mut tell)?;
            let (how, place) = (prepared.built, prepared.store.path.display().to_string());
            self.note(format!(
                "{}: token cache {} {place}",
                name.label(),
                if how { "written to" } else { "found in" }
            ))?;
            Ok(TrainingSet::cached(prepared.store))
        }
    }
}

/// What is tested on: key of the spec, name, data.
fn tested<'a>(
    spec: &'a ExperimentSpec,
    data: &'a Data,
) -> impl Iterator<Item = (&'static str, &'a DatasetRef, &'a Dataset)> {
    let of = |key, names: &'a [DatasetRef], data: &'a [Dataset]| {
        names.iter().zip(data).map(move |(name, dataset)| (key, name, dataset))
    };
    let validation = of("data.validation", &spec.data.validation, &data.validation);
    validation.chain(of("data.evaluation", &spec.data.evaluation, &data.evaluation))
}

/// Refuses what spec and model say without the data.
fn check_known(spec: &ExperimentSpec, encoder: &Encoder) -> Result<()> {
    overlap::check_names(spec)?;
    let held = encoder.adapters.as_ref().map(|a| &a.spec);
    if let Some(held) = held {
        spec.adapters.continued(held, &[], &spec.model.base)?;
    }
    let languages = &spec.languages;
    if languages.is_empty() {
        // All that the data have: known once they are read.
        return Ok(());
    }
    adapted(spec, languages, held)?;
    Switcher::new(spec, languages)?;
    Ok(())
}

/// Refuses validation data that no batch can be drawn from, in the training languages as far as they are known: `opened` are
/// the training data, `None` what goes into a cache.
fn check_validation(spec: &ExperimentSpec, opened: &[Option<Dataset>], data: &Data) -> Result<()> {
    if data.validation.is_empty() {
        return Ok(());
    }
    let layouts: Vec<Layout> = data.validation.iter().map(Layout::of).collect();
    let known = opened.iter().map(|d| d.as_ref().map(|d| d.languages.clone()));
    let languages = match known.collect::<Option<Vec<_>>>() {
        _ if !spec.languages.is_empty() => spec.languages.clone(),
        Some(own) => sorted(own.concat()),
        // Known once the cache is there: in all that the validation data have there must be a batch in any case.
        None => sorted(layouts.iter().flat_map(|l| l.languages.clone()).collect()),
    };
    ValidationPlan::from_layouts(spec, &languages, &layouts).map(|_| ())
}

fn sorted(mut languages: Vec<String>) -> Vec<String> {
    languages.sort();
    languages.dedup();
    languages
}
