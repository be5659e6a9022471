//! Questions rewritten, embedded and ranked against passages that are embedded once.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::embed::Embedder;
use super::evaluation::Progressing;
use crate::corpus::Dataset;
use crate::evaluate::alignment::Side;
use crate::evaluate::robustness::{Case, Change, Kind, Perturber, cases, changes};
use crate::evaluate::{Embeddings, METRICS, RankOptions, rank};
use crate::train::{Event, Stage};

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    pub kinds: Vec<Kind>,
    pub perturber: Perturber,
    /// Variants of each question a random kind makes.
    pub variants: usize,
    /// One of [`METRICS`].
    pub metric: String,
}

/// Seconds that the parts took.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Seconds {
    pub passages: f64,
    pub questions: f64,
    pub ranking: f64,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Robustness {
    /// A row a kind, setting and language. Kind `None`: all kinds together, with the worst over all.
    pub rows: Vec<(Option<Kind>, Change)>,
    /// For the eye: the first question that each kind changes in each language.
    pub samples: Vec<Sample>,
    /// Distinct question texts that were embedded, the unchanged ones included.
    pub embedded: usize,
    pub seconds: Seconds,
}

/// A question before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub kind: Kind,
    pub language: String,
    pub before: String,
    pub after: String,
}

/// One rewriting of all questions.
struct Variant {
    kind: Kind,
    /// By question: place of its text among the distinct ones.
    texts: Vec<u32>,
    is_changed: Vec<bool>,
}

/// Distinct texts in the order in which they first came. With language adapters the same text has one vector a language.
#[derive(Default)]
struct Distinct {
    texts: Vec<String>,
    /// By text, where languages matter.
    languages: Vec<String>,
    place: HashMap<(String, String), u32>,
}

impl Distinct {
    /// `language` is empty where it does not matter.
    fn place(&mut self, text: &str, language: &str) -> u32 {
        let key = (text.to_owned(), language.to_owned());
        if let Some(place) = self.place.get(&key) {
            return *place;
        }
        let place = self.texts.len() as u32;
        self.texts.push(key.0.clone());
        self.languages.push(key.1.clone());
        self.place.insert(key, place);
        place
    }
}

/// Rewrites, embeds, ranks and compares.
///
/// # Errors
/// An unknown metric, an empty dataset, code-switching without a lexicon, a text that cannot be embedded, or what `tell`
/// returns.
pub fn robustness(
    embedder: Embedder,
    dataset: &Dataset,
    plan: &Plan,
    tell: &mut dyn FnMut(Event) -> Result<()>,
) -> Result<Robustness> {
    let metric = METRICS
        .iter()
        .position(|m| *m == plan.metric)
        .with_context(|| format!("metric '{}': unknown; there are {}", plan.metric, METRICS.join(", ")))?;
    ensure!(plan.variants > 0, "at least one variant is needed");
    ensure!(
        !plan.kinds.contains(&Kind::CodeSwitch) || !plan.perturber.lexicons.is_empty(),
        "code-switch needs a lexicon: --lexicon FROM-TO=FILE, a line a translation, word<TAB>translation"
    );
    let mut distinct = Distinct::default();
    let routed = |l: u16| {
        let language = dataset.languages[usize::from(l)].as_str();
        if embedder.encoder.route(language).is_some() { language } else { "" }
    };
    let original: Vec<u32> =
        dataset.questions.iter().map(|q| distinct.place(&q.text, routed(q.language))).collect();
    let (variants, samples) = rewrite(dataset, plan, &routed, &mut distinct);

    let mut seconds = Seconds::default();
    let start = Instant::now();
    let texts: Vec<&str> = dataset.passages.iter().map(|p| p.text.as_str()).collect();
    let languages: Vec<&str> = dataset.passages.iter().map(|p| routed(p.language)).collect();
    let passages = embedder.embed(Side::Passages, &texts, &languages, tell)?;
    seconds.passages = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let texts: Vec<&str> = distinct.texts.iter().map(String::as_str).collect();
    let languages: Vec<&str> = distinct.languages.iter().map(String::as_str).collect();
    let vectors = embedder.embed(Side::Questions, &texts, &languages, tell)?;
    seconds.questions = start.elapsed().as_secs_f64();

    let start = Instant::now();
    let mut progress = Progressing::new(Stage::Ranking, tell);
    let total = (variants.len() + 1) * dataset.questions.len();
    let mut done = 0;
    let mut ranked = |texts: &[u32]| -> Result<Vec<Case>> {
        let data = texts.iter().flat_map(|t| vectors.row(*t as usize)).copied().collect();
        let questions = Embeddings { width: vectors.width, data };
        let options = RankOptions { top: 0, ..RankOptions::default() };
        let ranks =
            rank(dataset, &questions, &passages, &options, &mut |now, _| progress.at(done + now, total))?;
        done += texts.len();
        Ok(cases(dataset, &ranks, metric))
    };
    let before = ranked(&original)?;
    ensure!(!before.is_empty(), "dataset '{}': no question has a relevant passage", dataset.name);
    let (mut after, mut changed) = (Vec::new(), Vec::new());
    let mut rows = Vec::new();
    for kind in &plan.kinds {
        let first = after.len();
        for variant in variants.iter().filter(|v| v.kind == *kind) {
            after.push(ranked(&variant.texts)?);
            changed.push(variant.is_changed.clone());
        }
        let own = changes(dataset, &before, &after[first..], &changed[first..]);
        rows.extend(own.into_iter().map(|row| (Some(*kind), row)));
    }
    rows.extend(changes(dataset, &before, &after, &changed).into_iter().map(|row| (None, row)));
    seconds.ranking = start.elapsed().as_secs_f64();
    Ok(Robustness { rows, samples, embedded: distinct.texts.len(), seconds })
}

/// Every variant of every kind, and the first question that each kind changes in each language.
fn rewrite<'a>(
    dataset: &'a Dataset,
    plan: &Plan,
    routed: &dyn Fn(u16) -> &'a str,
    distinct: &mut Distinct,
) -> (Vec<Variant>, Vec<Sample>) {
    let (mut variants, mut samples) = (Vec::new(), Vec::new());
    for kind in &plan.kinds {
        let mut shown = vec![false; dataset.languages.len()];
        for number in 0..if kind.is_random() { plan.variants } else { 1 } {
            let mut variant = Variant { kind: *kind, texts: Vec::new(), is_changed: Vec::new() };
            for question in &dataset.questions {
                let language = &dataset.languages[usize::from(question.language)];
                let id = &dataset.groups[question.group as usize].id;
                let written = plan.perturber.rewrite(*kind, &question.text, language, id, number);
                if let (Some(written), false) = (&written, shown[usize::from(question.language)]) {
                    shown[usize::from(question.language)] = true;
                    let (before, after) = (question.text.clone(), written.clone());
                    samples.push(Sample { kind: *kind, language: language.clone(), before, after });
                }
                variant.is_changed.push(written.is_some());
                let text = written.as_deref().unwrap_or(&question.text);
                variant.texts.push(distinct.place(text, routed(question.language)));
            }
            variants.push(variant);
        }
    }
    (variants, samples)
}
