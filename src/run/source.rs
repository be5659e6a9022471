//! The data of a run, as far as they must be known before it starts: small ones as they are, large ones from their token
//! cache or, where there is none yet, from one reading that keeps no texts.

use std::sync::Arc;

use anyhow::{Result, ensure};

use super::overlap::{self, Trained};
use crate::batch::Layout;
use crate::corpus::{self, Dataset};
use crate::encoder::Outline;
use crate::spec::{DatasetRef, ExperimentSpec};
use crate::stream::Stream;
use crate::tokens::{self, Survey, Wanted, survey};
use crate::train::{TrainingSet, no_texts};

/// One dataset.
pub enum Source {
    Texts(Box<Dataset>),
    Cache(Box<TrainingSet>),
    Survey(Arc<Survey>),
}

/// The model and the data of a spec.
pub struct Sources {
    pub outline: Outline,
    pub train: Vec<Source>,
    pub validation: Vec<Source>,
    pub evaluation: Vec<Source>,
}

impl Sources {
    /// Opens them; `progress` hears (texts, of about how many) of each large dataset, and ends the reading with an error.
    ///
    /// # Errors
    /// Every reason why the run could not open them.
    pub fn open(spec: &ExperimentSpec, progress: &mut dyn FnMut(usize, usize) -> Result<()>) -> Result<Self> {
        spec.check()?;
        overlap::check_names(spec)?;
        let outline = outline(spec)?;
        let train = spec.data.train.iter().map(|name| train(name, spec, &outline, progress));
        let train = train.collect::<Result<_>>()?;
        let mut others = |names: &[DatasetRef]| -> Result<Vec<Source>> {
            names.iter().map(|name| other(name, spec, progress)).collect()
        };
        let (validation, evaluation) = (others(&spec.data.validation)?, others(&spec.data.evaluation)?);
        let sources = Self { outline, train, validation, evaluation };
        sources.check_overlap(spec)?;
        Ok(sources)
    }

    /// Refuses what a run would: to test on what is trained on, as far as ids or texts are at hand.
    fn check_overlap(&self, spec: &ExperimentSpec) -> Result<()> {
        let mut trained = Vec::new();
        for (name, source) in spec.data.train.iter().zip(&self.train) {
            match source {
                Source::Texts(data) => trained.push(Trained::of(name, data)?),
                Source::Cache(set) => trained.push(Trained::cached(name, set)?),
                Source::Survey(_) => {}
            }
        }
        let tested = [
            ("data.validation", &spec.data.validation, &self.validation),
            ("data.evaluation", &spec.data.evaluation, &self.evaluation),
        ];
        let tested = tested.into_iter().flat_map(|(key, names, sources)| {
            names.iter().zip(sources).filter_map(move |(name, source)| match source {
                Source::Texts(data) => Some((key, name, &**data)),
                _ => None,
            })
        });
        overlap::check(&trained, tested).map(|_| ())
    }
}

fn outline(spec: &ExperimentSpec) -> Result<Outline> {
    let model = &spec.model;
    let outline = if model.base == "demo" {
        Outline::fresh(corpus::demo::CONFIG, corpus::demo::TOKENIZER)
    } else {
        let prefixes = corpus::catalogue::model_prefixes(&model.base)?;
        Outline::read(&corpus::model_dir(&model.base)?, model.pooling, prefixes)
    }?;
    Ok(outline.with_prefixes(model.query_prefix.as_deref(), model.passage_prefix.as_deref()))
}

fn train(
    name: &DatasetRef,
    spec: &ExperimentSpec,
    outline: &Outline,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Source> {
    let candidate = spec.evaluate.candidate;
    if tokens::is_cached(name, spec.data.cache)? {
        ensure!(!spec.robust.switches(), no_texts(&name.label()));
        let most = outline.config.longest();
        let wanted = Wanted {
            dataset: name,
            candidate,
            tokenizer: &outline.tokenizer,
            query_prefix: &outline.query_prefix,
            passage_prefix: &outline.passage_prefix,
            longest: (spec.model.max_query_tokens.min(most), spec.model.max_passage_tokens.min(most)),
        };
        if let Some(store) = tokens::find_known(&wanted, &tokens::default_dir()?)? {
            return Ok(Source::Cache(Box::new(TrainingSet::cached(store))));
        }
    }
    other(name, spec, progress)
}

/// Data that are read as texts: the large ones are looked at without being kept.
fn other(
    name: &DatasetRef,
    spec: &ExperimentSpec,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Source> {
    let candidate = spec.evaluate.candidate;
    if tokens::is_large(name)? {
        return Ok(Source::Survey(survey(name, candidate, progress)?));
    }
    Ok(Source::Texts(Box::new(corpus::open(name, candidate)?)))
}

/// How many questions and how many passages there are, and up to `most` texts of each, from all over them.
pub(super) fn sampled(data: &Dataset, most: usize) -> [(usize, Vec<&str>); 2] {
    [
        (data.questions.len(), spread(&data.questions, most, |q| &q.text)),
        (data.passages.len(), spread(&data.passages, most, |p| &p.text)),
    ]
}

/// One of each of `most` stretches, at a place that is drawn: texts may lie language after language within every id, so that
/// equal steps would meet some languages only.
fn spread<'a, T>(all: &'a [T], most: usize, text: impl Fn(&'a T) -> &'a str) -> Vec<&'a str> {
    let count = all.len().min(most);
    let mut stream = Stream::new(0, "sample", 0);
    let mut place = |n: usize| {
        let (first, next) = (n * all.len() / count, (n + 1) * all.len() / count);
        first + stream.below(next - first)
    };
    (0..count).map(|n| text(&all[place(n)])).collect()
}

impl Source {
    /// What the plan must know.
    #[must_use]
    pub fn layout(&self) -> Layout {
        match self {
            Self::Texts(dataset) => Layout::of(dataset),
            Self::Cache(set) => set.layout.clone(),
            Self::Survey(survey) => survey.layout.clone(),
        }
    }

    /// Characters of a question and of a passage; `None` where only tokens are known.
    #[must_use]
    pub fn characters(&self, question: u32, passage: u32) -> Option<(usize, usize)> {
        match self {
            Self::Texts(data) => {
                let question = data.questions[question as usize].text.chars().count();
                Some((question, data.passages[passage as usize].text.chars().count()))
            }
            Self::Survey(survey) => {
                Some((survey.questions.characters_of(question), survey.passages.characters_of(passage)))
            }
            Self::Cache(_) => None,
        }
    }

    /// Tokens of a question and of a passage, where they are known.
    #[must_use]
    pub fn tokens(&self, question: u32, passage: u32) -> Option<(usize, usize)> {
        match self {
            Self::Cache(set) => Some((set.question(question).len(), set.passage(passage).len())),
            Self::Texts(_) | Self::Survey(_) => None,
        }
    }

    /// Bytes of each question and of each passage; nothing of a token cache.
    #[must_use]
    pub fn bytes(&self) -> [Vec<usize>; 2] {
        match self {
            Self::Texts(data) => [
                data.questions.iter().map(|q| q.text.len()).collect(),
                data.passages.iter().map(|p| p.text.len()).collect(),
            ],
            Self::Survey(survey) => [survey.questions.each().collect(), survey.passages.each().collect()],
            Self::Cache(_) => [Vec::new(), Vec::new()],
        }
    }

    /// As [`sampled`]; nothing of a token cache.
    #[must_use]
    pub fn sampled(&self, most: usize) -> [(usize, Vec<&str>); 2] {
        match self {
            Self::Texts(data) => sampled(data, most),
            Self::Survey(survey) => [&survey.questions, &survey.passages]
                .map(|side| (side.len(), spread(&side.sample, most, String::as_str))),
            Self::Cache(_) => [(0, Vec::new()), (0, Vec::new())],
        }
    }

    /// Bytes and number of its texts in these languages (none: in all), about; nothing of a token cache.
    #[must_use]
    pub fn tokenised(&self, languages: &[String]) -> (usize, usize) {
        let is_wanted = |code: &String| languages.is_empty() || languages.contains(code);
        match self {
            Self::Texts(data) => {
                let is_wanted: Vec<bool> = data.languages.iter().map(is_wanted).collect();
                let questions = data.questions.iter().map(|q| (q.language, q.text.len()));
                let passages = data.passages.iter().map(|p| (p.language, p.text.len()));
                let wanted = questions.chain(passages).filter(|(l, _)| is_wanted[usize::from(*l)]);
                wanted.fold((0, 0), |(bytes, texts), (_, length)| (bytes + length, texts + 1))
            }
            // Which text is in which language was not kept, only how many are.
            Self::Survey(survey) => {
                let of_each = survey.layout.languages.iter().zip(&survey.by_language);
                let wanted = of_each.filter(|(code, _)| is_wanted(code));
                let texts = wanted.map(|(_, (questions, passages))| questions + passages).sum::<u64>();
                let all = (survey.questions.len() + survey.passages.len()).max(1) as f64;
                let bytes = (survey.questions.bytes + survey.passages.bytes) as f64;
                ((bytes * (texts as f64 / all)) as usize, texts as usize)
            }
            Self::Cache(_) => (0, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_meets_all_languages_of_data_that_lie_language_after_language() {
        let all: Vec<String> = (0..11 * 1024).map(|n| (n % 11).to_string()).collect();
        let found = spread(&all, 512, |text| text.as_str());
        assert_eq!(found.len(), 512);
        // 22 texts a stretch: equal steps would take all of them from one language.
        for language in 0..11 {
            let count = found.iter().filter(|text| **text == language.to_string()).count();
            assert!((20..80).contains(&count), "{language}: {count}");
        }
        let few = spread(&all[..5], 512, |text| text.as_str());
        assert_eq!(few, ["0", "1", "2", "3", "4"], "all of them, once");
        assert!(spread(&all[..0], 512, |text| text.as_str()).is_empty());
    }
}
