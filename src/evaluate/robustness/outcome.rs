//! Rankings before and after.

use crate::corpus::Dataset;
use crate::evaluate::{METRICS, Ranks, Setting, of_graded};

/// One question in one pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    /// Index into the dataset's questions.
    pub question: u32,
    pub setting: Setting,
    /// The metric's value.
    pub value: f64,
    /// Whether the first passage is relevant.
    pub is_first: bool,
}

/// What one kind of change does to the questions of one language, or to all languages in the mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub setting: Setting,
    /// Index into the dataset's languages; `None`: the mean over languages.
    pub language: Option<usize>,
    /// Cases: questions, in the cross setting questions times pools.
    pub n: usize,
    /// Rewritings that could not be made, of `n` times the variants: the question stayed as it was.
    pub unchanged: usize,
    pub variants: usize,
    /// Mean of the metric for the questions as they were.
    pub before: f64,
    /// Mean over questions and variants.
    pub after: f64,
    /// `before - after`, and that over `before`.
    pub drop: f64,
    pub relative: f64,
    /// The drop over those rewritings alone that could be made. NaN without such.
    pub drop_changed: f64,
    /// Mean of the lowest value among a question's variants and the question as it was.
    pub worst: f64,
    /// Cases whose first passage was relevant.
    pub first: usize,
    /// Share of these whose first passage is so no more, mean over variants. NaN without such cases.
    pub attack_success: f64,
}

/// Every question with a relevant passage, in every pool that has one: its own language's, each other language's, and, where
/// there are several languages, all of them. The order depends on the dataset alone. `metric` is one of [`METRICS`].
#[must_use]
pub fn cases(dataset: &Dataset, ranks: &Ranks, metric: usize) -> Vec<Case> {
    debug_assert!(metric < METRICS.len());
    let mut cases = Vec::new();
    let mut push = |question: usize, setting: Setting, ranks: &[u32], grades: &[u32]| {
        if let Some(values) = of_graded(ranks, grades) {
            let (value, is_first) = (values[metric], ranks[0] == 1);
            cases.push(Case { question: question as u32, setting, value, is_first });
        }
    };
    for (index, question) in dataset.questions.iter().enumerate() {
        let grades = ranks.grades.get(index);
        for (language, ranks) in ranks.own[index].iter().enumerate() {
            let is_own = language == usize::from(question.language);
            let setting = if is_own { Setting::Mono } else { Setting::Cross };
            push(index, setting, ranks, grades.map_or(&[], |g| g.own(language)));
        }
        if dataset.languages.len() > 1 {
            push(index, Setting::Multi, &ranks.pool[index], grades.map_or(&[], |g| &g.multi));
        }
    }
    cases
}

/// Compares; every list of `variants` has the cases of `before`, in the same order. `is_changed` says for each variant and
/// question whether it was rewritten. A row a setting and language, then one for the mean over languages.
#[must_use]
pub fn changes(
    dataset: &Dataset,
    before: &[Case],
    variants: &[Vec<Case>],
    is_changed: &[Vec<bool>],
) -> Vec<Change> {
    let mut rows = Vec::new();
    for setting in [Setting::Mono, Setting::Cross, Setting::Multi] {
        let mut own = Vec::new();
        for language in 0..dataset.languages.len() {
            let places: Vec<usize> = (0..before.len())
                .filter(|i| {
                    let question = before[*i].question as usize;
                    before[*i].setting == setting
                        && usize::from(dataset.questions[question].language) == language
                })
                .collect();
            if !places.is_empty() {
                own.push(one(setting, language, &places, before, variants, is_changed));
            }
        }
        if own.len() > 1 {
            let mean = Change::mean(setting, &own);
            own.push(mean);
        }
        rows.extend(own);
    }
    rows
}

fn one(
    setting: Setting,
    language: usize,
    places: &[usize],
    before: &[Case],
    variants: &[Vec<Case>],
    is_changed: &[Vec<bool>],
) -> Change {
    let n = places.len();
    let mean = |of: &dyn Fn(usize) -> f64| places.iter().map(|i| of(*i)).sum::<f64>() / n as f64;
    let count = variants.len() as f64;
    let was = mean(&|i| before[i].value);
    let after = mean(&|i| variants.iter().map(|v| v[i].value).sum::<f64>() / count);
    let first = places.iter().filter(|i| before[**i].is_first).count();
    let lost: usize = variants
        .iter()
        .map(|v| places.iter().filter(|i| before[**i].is_first && !v[**i].is_first).count())
        .sum();
    let (mut unchanged, mut lost_by_change) = (0, 0.0);
    for (variant, changed) in variants.iter().zip(is_changed) {
        for i in places {
            if changed[before[*i].question as usize] {
                lost_by_change += before[*i].value - variant[*i].value;
            } else {
                unchanged += 1;
            }
        }
    }
    Change {
        setting,
        language: Some(language),
        n,
        unchanged,
        variants: variants.len(),
        before: was,
        after,
        drop: was - after,
        relative: (was - after) / was,
        drop_changed: lost_by_change / (n * variants.len() - unchanged) as f64,
        worst: mean(&|i| variants.iter().map(|v| v[i].value).fold(before[i].value, f64::min)),
        first,
        attack_success: lost as f64 / (first as f64 * count),
    }
}

impl Change {
    /// The mean over languages; counts are sums. What is undefined in a language is left out.
    #[must_use]
    pub fn mean(setting: Setting, rows: &[Self]) -> Self {
        let over = |of: &dyn Fn(&Self) -> f64| {
            let values: Vec<f64> = rows.iter().map(of).filter(|v| v.is_finite()).collect();
            values.iter().sum::<f64>() / values.len() as f64
        };
        let (before, after) = (over(&|r| r.before), over(&|r| r.after));
        Self {
            setting,
            language: None,
            n: rows.iter().map(|r| r.n).sum(),
            unchanged: rows.iter().map(|r| r.unchanged).sum(),
            variants: rows.first().map_or(0, |r| r.variants),
            before,
            after,
            drop: before - after,
            relative: (before - after) / before,
            drop_changed: over(&|r| r.drop_changed),
            worst: over(&|r| r.worst),
            first: rows.iter().map(|r| r.first).sum(),
            attack_success: over(&|r| r.attack_success),
        }
    }
}
