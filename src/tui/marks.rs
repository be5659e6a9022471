//! Marks of significance where another run is subtracted: what was asked for, what is under way, what was found.
//!
//! A test belongs to a pair of evaluation directories and a metric, and is made once; the effect runner makes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::message::Effect;
use super::model::{Model, Results};
use crate::evaluate::MULTI_POOL;
use crate::evaluate::significance::{Significance, Test, Tested};

/// Tables that are kept: those of the last pairs.
const KEPT: usize = 64;

/// The tests of differences.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tests {
    /// What was asked for last: the subtracted evaluation and the shown one.
    pub asked: Option<Pair>,
    /// Of what is under way: metric, and (done, total) resamples.
    pub progress: Option<(String, usize, usize)>,
    found: Vec<(Pair, String, Outcome)>,
}

/// The subtracted evaluation and the shown one.
pub type Pair = (PathBuf, PathBuf);

/// A table of tests, or why there is none.
pub type Outcome = Result<Arc<Significance>, String>;

impl Tests {
    fn find(&self, pair: &Pair, metric: &str) -> Option<&Outcome> {
        self.found.iter().find(|(p, m, _)| p == pair && m == metric).map(|(_, _, outcome)| outcome)
    }

    /// Progress of the pair that was asked for; of another one it is no longer of interest.
    pub fn goes_on(&mut self, pair: &Pair, metric: String, done: usize, total: usize) {
        if self.asked.as_ref() == Some(pair) {
            self.progress = Some((metric, done, total));
        }
    }

    /// Keeps a table.
    pub fn arrived(&mut self, pair: Pair, metric: String, outcome: Outcome) {
        if self.asked.as_ref() == Some(&pair) {
            self.progress = None;
        }
        self.found.retain(|(p, m, _)| *p != pair || *m != metric);
        if self.found.len() >= KEPT {
            drop(self.found.remove(0));
        }
        self.found.push((pair, metric, outcome));
    }
}

/// Asks for the tests of what is subtracted now, the shown metric first, unless they are there or asked for already.
pub fn ask(model: &mut Model) -> Option<Effect> {
    let results = &mut model.results;
    let pair = results.pair();
    if pair == results.tests.asked {
        return None;
    }
    results.tests.asked.clone_from(&pair);
    results.tests.progress = None;
    let pair = pair?;
    let metrics = results.scores.as_ref()?.metrics();
    let shown = results.metric();
    let wanted: Vec<String> = std::iter::once(shown)
        .chain(metrics.into_iter().filter(|m| *m != shown))
        .filter(|m| results.tests.find(&pair, m).is_none())
        .map(str::to_owned)
        .collect();
    (!wanted.is_empty()).then_some(Effect::Test { pair, metrics: wanted })
}

impl Results {
    /// The two evaluations whose difference is shown, where both lie on disk.
    fn pair(&self) -> Option<Pair> {
        self.other.as_ref()?;
        self.scores.as_ref()?;
        Some((self.other_path.clone()?, self.dir.clone()?))
    }

    fn outcome(&self, metric: &str) -> Option<&Outcome> {
        self.tests.find(&self.pair()?, metric)
    }

    /// The table of tests of a metric, where it was made.
    #[must_use]
    pub fn tested(&self, metric: &str) -> Option<&Significance> {
        self.outcome(metric)?.as_deref().ok()
    }

    /// The test of a cell, by language index (as passage the number of languages is the multilingual pool).
    #[must_use]
    pub fn tested_cell(&self, metric: &str, query: usize, passage: usize) -> Option<&Tested> {
        let codes = &self.scores.as_ref()?.languages;
        let setting = match passage {
            p if p == query => "mono",
            p if p < codes.len() => "cross",
            _ => "multi",
        };
        let passage = codes.get(passage).map_or(MULTI_POOL, String::as_str);
        self.tested(metric)?.find(setting, metric, Some((codes.get(query)?, passage)))
    }

    /// The test of a macro mean.
    #[must_use]
    pub fn tested_mean(&self, metric: &str, setting: &str) -> Option<&Tested> {
        self.tested(metric)?.find(setting, metric, None)
    }

    /// What a reader must know of the marks of a metric, or how far they are; `None` without a difference.
    #[must_use]
    pub fn test_line(&self, metric: &str) -> Option<String> {
        self.other.as_ref()?;
        let significance = match self.outcome(metric) {
            Some(Ok(found)) => found,
            Some(Err(error)) => return Some(format!("not tested: {error}")),
            None => {
                return Some(match &self.tests.progress {
                    Some((of, done, total)) if *total > 0 => {
                        let word = if of == metric { String::new() } else { format!("{of} first, ") };
                        format!("testing: {word}{} %, by question id", 100 * done / total)
                    }
                    _ if self.pair().is_some() => "testing by question id ...".into(),
                    _ => return None,
                });
            }
        };
        let (name, detail) = match significance.test {
            Test::SignFlips { assignments, is_exact, .. } => (
                "Paired sign-flip test",
                format!("; {assignments} {} flips", if is_exact { "exact" } else { "random" }),
            ),
            Test::SeedsAndClusters { .. } => ("T-test over seeds and questions", String::new()),
        };
        let none = if significance.least_cell() >= 0.05 { "; too few flips to mark a cell" } else { "" };
        Some(format!(
            "* p<.05, Holm over {} cells, {} means; dim: not{none}. {name}, {} question ids{detail}",
            significance.family_cells, significance.family_means, significance.clusters
        ))
    }
}

/// `p 0.0031, Holm 0.0412, 95% +0.01 to +0.03`.
#[must_use]
pub fn in_words(tested: &Tested, signed: impl Fn(f64) -> String) -> String {
    let ends = tested.low.zip(tested.high);
    let ends = ends.map_or_else(String::new, |(l, h)| format!(", 95% {} to {}", signed(l), signed(h)));
    format!("p {:.4}, Holm {:.4}{ends}", tested.p, tested.p_holm)
}

/// Tests the second of a pair against the first; `progress` hears (done, total) and can end the work.
///
/// # Errors
/// Where the two were not measured alike, a file is broken, or the work was ended.
pub fn test(
    pair: &(impl AsRef<Path>, impl AsRef<Path>),
    metric: &str,
    progress: &mut dyn FnMut(usize, usize) -> anyhow::Result<()>,
) -> anyhow::Result<Significance> {
    use crate::evaluate::significance::{Outcomes, compare};
    let (first, second) =
        (Outcomes::read(pair.0.as_ref(), metric)?, Outcomes::read(pair.1.as_ref(), metric)?);
    compare(&first, &second, &crate::statistics::Options::default(), progress)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::message::Message;
    use crate::tui::testing::{full, keys, press, scores, tested};
    use crate::tui::update::update;
    use crossterm::event::KeyCode;

    /// A workbench that subtracts another run, and the tests it asked for.
    fn subtracting() -> (Model, Vec<Effect>) {
        let mut model = full(3);
        keys(&mut model, "3d");
        let effects = press(&mut model, KeyCode::Enter);
        let [Effect::LoadScores(dir)] = &effects[..] else { panic!("{effects:?}") };
        let result = Ok(Arc::new(scores(3, 0.3)));
        let effects = update(&mut model, Message::Scores { dir: dir.clone(), result });
        (model, effects)
    }

    #[test]
    fn a_pair_is_tested_once_for_every_metric() {
        let (mut model, effects) = subtracting();
        let [Effect::Test { pair, metrics }] = &effects[..] else { panic!("{effects:?}") };
        assert_eq!(metrics, &["map", "recall@1", "recall@10", "rank_distance"]);
        assert!(pair.0 != pair.1 && Some(&pair.1) == model.results.dir.as_ref());
        assert!(model.results.test_line("map").is_some_and(|l| l.starts_with("testing")));
        assert!(keys(&mut model, "mm").is_empty(), "another metric asks for nothing new");
        for metric in metrics {
            let (metric, result) = (metric.clone(), Ok(Arc::new(tested(3))));
            update(&mut model, Message::Tested { pair: pair.clone(), metric, result });
        }
        keys(&mut model, "d");
        assert_eq!((model.results.tests.asked.as_ref(), model.results.tested("map")), (None, None));
        keys(&mut model, "d");
        let effects = press(&mut model, KeyCode::Enter);
        let [Effect::LoadScores(dir)] = &effects[..] else { panic!("{effects:?}") };
        let result = Ok(Arc::new(scores(3, 0.3)));
        let effects = update(&mut model, Message::Scores { dir: dir.clone(), result });
        assert!(effects.is_empty(), "the pair is known: {effects:?}");
        assert!(model.results.tested("map").is_some());
    }

    #[test]
    fn progress_and_results_of_another_pair_do_not_show() {
        let (mut model, effects) = subtracting();
        let [Effect::Test { pair, .. }] = &effects[..] else { panic!("{effects:?}") };
        let other = (PathBuf::from("/elsewhere"), pair.1.clone());
        let going = |pair: &Pair| Message::Testing {
            pair: pair.clone(),
            metric: "map".into(),
            done: 500,
            total: 2000,
        };
        update(&mut model, going(&other));
        assert_eq!(model.results.tests.progress, None);
        update(&mut model, going(pair));
        assert!(model.results.test_line("map").is_some_and(|l| l.contains("25 %")));
        let result = Ok(Arc::new(tested(3)));
        update(&mut model, Message::Tested { pair: other, metric: "map".into(), result });
        assert_eq!(model.results.tested("map"), None);
        let result = Err("not measured alike: data a and b".to_owned());
        update(&mut model, Message::Tested { pair: pair.clone(), metric: "map".into(), result });
        let line = model.results.test_line("map").expect("a line");
        assert_eq!(line, "not tested: not measured alike: data a and b");
    }

    #[test]
    fn old_pairs_are_forgotten() {
        let mut tests = Tests::default();
        for i in 0..KEPT + 5 {
            let pair = (PathBuf::from(i.to_string()), PathBuf::new());
            tests.arrived(pair, "map".into(), Err(String::new()));
        }
        assert_eq!(tests.found.len(), KEPT);
        assert!(tests.find(&(PathBuf::from("0"), PathBuf::new()), "map").is_none());
    }
}
