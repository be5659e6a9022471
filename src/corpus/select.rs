//! Settings that every dataset understands, whatever its loader: some of its domains only, and some languages with fewer
//! question ids than the others have.
//!
//! `domains=a+b` keeps the question ids of these domains, `without=a+b` those of all others. `scarce=el+th,share=0.1` keeps a tenth of the question ids in
//! Greek and Thai: the others have neither questions nor relevant passages there. Passages stay where they are, so that the
//! pools of an evaluation are as they were.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::options::check_commas;
use super::{Answer, LanguageId, Sink, language};
use crate::spec::DatasetRef;
use crate::stream::key;

/// Stands for a group or a question that was left out.
pub const NONE: u32 = u32::MAX;

/// What the settings say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Domains to keep; empty: all.
    domains: Vec<String>,
    /// Domains to leave out.
    without: Vec<String>,
    /// Languages that have few question ids.
    scarce: Vec<String>,
    /// Share of the question ids that these have, above 0 and at most 1.
    share: f64,
}

impl Selection {
    /// Takes these settings out of the brackets; what is left is the loader's.
    ///
    /// # Errors
    /// A setting that comes twice, is empty, or has an impossible value.
    pub fn split(dataset: &DatasetRef) -> Result<(DatasetRef, Option<Self>)> {
        check_commas(dataset)?;
        let (mut domains, mut without, mut scarce, mut share) = (None, None, None, None);
        let mut left: Vec<&str> = Vec::new();
        for item in dataset.part.as_deref().unwrap_or_default().split(',') {
            let setting = item.split_once('=').map(|(k, v)| (k.trim(), v.trim()));
            let (slot, value) = match setting {
                Some(("domains", value)) => (&mut domains, value),
                Some(("without", value)) => (&mut without, value),
                Some(("scarce", value)) => (&mut scarce, value),
                Some(("share", value)) => (&mut share, value),
                _ => {
                    left.push(item);
                    continue;
                }
            };
            let item = item.trim();
            ensure!(!value.is_empty(), "'{item}': the value is empty");
            ensure!(slot.replace(value).is_none(), "'{item}': set twice");
        }
        if [domains, without, scarce, share].iter().all(Option::is_none) {
            return Ok((dataset.clone(), None));
        }
        let list = |text: Option<&str>| -> Vec<String> {
            text.map_or(Vec::new(), |t| t.split('+').map(|w| w.trim().to_owned()).collect())
        };
        let selection = Self {
            domains: list(domains),
            without: list(without),
            scarce: list(scarce).iter().map(|code| language::normalise(code)).collect(),
            share: match (scarce, share) {
                (Some(_), Some(text)) => share_of(text)?,
                (None, None) => 1.0,
                (Some(codes), None) => bail!(
                    "scarce={codes}: say which share of the question ids these languages have, such as share=0.1"
                ),
                (None, Some(text)) => {
                    bail!("share={text}: say which languages have so few, such as scarce=el+th")
                }
            },
        };
        for names in [&selection.domains, &selection.without, &selection.scarce] {
            let mut seen = HashSet::new();
            for name in names {
                ensure!(!name.is_empty(), "domains, without and scarce: an empty name; write A+B");
                ensure!(seen.insert(name), "'{name}' is listed twice");
            }
        }
        let part = left.join(",");
        let part = (!part.trim().is_empty()).then_some(part);
        Ok((DatasetRef { part, ..dataset.clone() }, Some(selection)))
    }
}

fn share_of(text: &str) -> Result<f64> {
    let share: Option<f64> = text.parse().ok().filter(|s| *s > 0.0 && *s <= 1.0);
    share.with_context(|| format!("share={text}: must be a number above 0 and at most 1"))
}

/// Hands on what a selection keeps.
pub struct Selecting<'a> {
    to: &'a mut dyn Sink,
    selection: Selection,
    /// Every domain that came.
    domains: BTreeSet<String>,
    /// Every language that came.
    languages: BTreeSet<String>,
    /// By language: has it few question ids?
    is_scarce: Vec<bool>,
    /// By group: is it one that the scarce languages have?
    is_full: Vec<bool>,
    /// By passage: is it in a scarce language?
    is_rare: Vec<bool>,
    /// Ids of groups that were left out.
    left_out: HashSet<String>,
}

impl<'a> Selecting<'a> {
    pub fn new(selection: Selection, to: &'a mut dyn Sink) -> Self {
        Self {
            to,
            selection,
            domains: BTreeSet::new(),
            languages: BTreeSet::new(),
            is_scarce: Vec::new(),
            is_full: Vec::new(),
            is_rare: Vec::new(),
            left_out: HashSet::new(),
        }
    }

    /// After the last text: says what was kept.
    ///
    /// # Errors
    /// A domain or a language that never came; names those that did.
    pub fn finish(self) -> Result<()> {
        let check = |key: &str, wanted: &[String], there: &BTreeSet<String>| {
            let Some(missing) = wanted.iter().find(|w| !there.contains(*w)) else { return Ok(()) };
            let there: Vec<&str> = there.iter().map(String::as_str).collect();
            bail!("{key}: the dataset has no '{missing}'; it has {}", there.join(", "))
        };
        check("domains", &self.selection.domains, &self.domains)?;
        check("without", &self.selection.without, &self.domains)?;
        check("scarce", &self.selection.scarce, &self.languages)?;
        if self.is_full.is_empty() && !self.left_out.is_empty() {
            let there: Vec<&str> = self.domains.iter().map(String::as_str).collect();
            bail!(
                "{}no question is left of {}; the dataset's domains are {}",
                if self.selection.without.is_empty() {
                    String::new()
                } else {
                    format!("without={}: ", self.selection.without.join("+"))
                },
                self.left_out.len(),
                there.join(", ")
            );
        }
        if !self.selection.scarce.is_empty() {
            let full = self.is_full.iter().filter(|f| **f).count();
            self.to.note(format!(
                "{} of {} question ids in {}",
                full,
                self.is_full.len(),
                self.selection.scarce.join(", ")
            ));
        }
        Ok(())
    }

    /// Has the group a text in this language?
    fn has(&self, group: u32, scarce: bool) -> bool {
        group != NONE && (!scarce || self.is_full.get(group as usize) == Some(&true))
    }

    fn note_passage(&mut self, passage: u32, language: LanguageId) {
        let at = passage as usize;
        if self.is_rare.len() <= at {
            self.is_rare.resize(at + 1, false);
        }
        self.is_rare[at] = self.is_scarce.get(usize::from(language)) == Some(&true);
    }

    fn is_kept(&self, group: u32, passage: u32) -> bool {
        self.has(group, self.is_rare.get(passage as usize) == Some(&true))
    }
}

impl Sink for Selecting<'_> {
    fn language(&mut self, code: &str) -> Result<LanguageId> {
        let number = self.to.language(code)?;
        let at = usize::from(number);
        if self.is_scarce.len() <= at {
            self.is_scarce.resize(at + 1, false);
        }
        self.is_scarce[at] = self.selection.scarce.iter().any(|l| l == code);
        if !self.languages.contains(code) {
            self.languages.insert(code.to_owned());
        }
        Ok(number)
    }

    fn group(&mut self, id: &str, domain: &str) -> Result<u32> {
        let Selection { domains, without, .. } = &self.selection;
        if !self.domains.contains(domain) {
            self.domains.insert(domain.to_owned());
        }
        let has = |list: &[String]| list.iter().any(|d| d == domain);
        let wanted = (domains.is_empty() || has(domains)) && !has(without);
        if !wanted && self.to.find_group(id).is_none() {
            self.left_out.insert(id.to_owned());
            return Ok(NONE);
        }
        let group = self.to.group(id, domain)?;
        let at = group as usize;
        if self.is_full.len() <= at {
            self.is_full.resize(at + 1, false);
        }
        // The same ids in every scarce language, and a larger share holds all ids of a smaller one.
        let draw = key(0, id, 0) as f64 / 2f64.powi(64);
        self.is_full[at] = draw < self.selection.share;
        Ok(group)
    }

    fn find_group(&self, id: &str) -> Option<u32> {
        self.to.find_group(id).or_else(|| self.left_out.contains(id).then_some(NONE))
    }

    fn question(&mut self, group: u32, language: LanguageId, text: &str) -> Result<u32> {
        if self.has(group, self.is_scarce.get(usize::from(language)) == Some(&true)) {
            self.to.question(group, language, text)
        } else {
            Ok(NONE)
        }
    }

    fn passage(&mut self, id: &str, language: LanguageId, text: &str) -> Result<u32> {
        let passage = self.to.passage(id, language, text)?;
        self.note_passage(passage, language);
        Ok(passage)
    }

    fn new_passage(&mut self, id: &dyn Fn() -> String, language: LanguageId, text: &str) -> Result<u32> {
        let passage = self.to.new_passage(id, language, text)?;
        self.note_passage(passage, language);
        Ok(passage)
    }

    fn find_passage(&self, id: &str) -> Option<u32> {
        self.to.find_passage(id)
    }

    fn relevant(&mut self, group: u32, passage: u32) {
        self.graded(group, passage, 1);
    }

    fn graded(&mut self, group: u32, passage: u32, grade: u32) {
        if self.is_kept(group, passage) {
            self.to.graded(group, passage, grade);
        }
    }

    /// Whatever is scarce: the pools are as they were.
    fn itself(&mut self, group: u32, passage: u32) {
        if group != NONE {
            self.to.itself(group, passage);
        }
    }

    fn negative(&mut self, group: u32, passage: u32) {
        if self.is_kept(group, passage) {
            self.to.negative(group, passage);
        }
    }

    fn answer(&mut self, answer: Answer) {
        if answer.question != NONE {
            self.to.answer(answer);
        }
    }

    fn note(&mut self, note: String) {
        self.to.note(note);
    }

    fn input(&mut self, path: &Path) -> Result<()> {
        self.to.input(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{Dataset, open};
    use crate::spec::Candidate;

    fn opened(text: &str) -> Result<Dataset> {
        open(&text.parse().expect(text), Candidate::Sentence)
    }

    #[test]
    fn a_scarce_language_has_its_share_of_the_ids_on_both_sides_and_the_others_have_all() {
        let whole = opened("demo[train]").expect("demo");
        let few = opened("demo[train,scarce=th+el,share=0.1]").expect("few");
        let smaller = opened("demo[train,share=0.05,scarce=th]").expect("smaller");
        assert_eq!((few.groups.len(), few.passages.len()), (whole.groups.len(), whole.passages.len()));
        let ids = |data: &Dataset, code: &str| -> BTreeSet<String> {
            let l = data.language(code).expect(code);
            data.questions_in(l).map(|q| data.groups[data.questions[q].group as usize].id.clone()).collect()
        };
        let (thai, greek) = (ids(&few, "th"), ids(&few, "el"));
        assert_eq!(thai, greek);
        assert_eq!(ids(&few, "en").len(), whole.groups.len());
        let share = thai.len() as f64 / whole.groups.len() as f64;
        assert!((0.08..0.12).contains(&share), "{share}");
        assert!(ids(&smaller, "th").is_subset(&thai) && ids(&smaller, "th").len() < thai.len());
        for group in &few.groups {
            let l = few.language("th").expect("th");
            let answers = group.relevant.iter().filter(|p| few.passages[**p as usize].language == l).count();
            assert_eq!(answers, usize::from(thai.contains(&group.id)), "{}", group.id);
        }
        assert!(few.notes.iter().any(|n| n.contains(&format!("{} of {}", thai.len(), whole.groups.len()))));
        assert_ne!(few.hash, whole.hash);
        // Some 200 and 390 ids against a batch of 300.
        let mut spec = crate::spec::ExperimentSpec::default();
        spec.train.batch = 300;
        let plan = |spec: &crate::spec::ExperimentSpec, data: &Dataset| {
            let plan = crate::batch::Plan::new(spec, std::slice::from_ref(data)).expect("plan");
            plan.without_mono().iter().map(|l| (*l).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!((plan(&spec, &smaller), plan(&spec, &whole)), (vec!["th".to_owned()], Vec::new()));
        spec.sampling.alpha = Some(0.0);
        assert!(plan(&spec, &smaller).is_empty(), "nobody asked for X-X-mono");
        assert_eq!(few.languages, whole.languages);
    }

    #[test]
    fn domains_keep_their_questions_and_the_whole_pool() {
        let whole = opened("demo[evaluation]").expect("demo");
        let some = opened("demo[evaluation, domains=music + lakes and islands]").expect("some");
        let tags: BTreeSet<&str> =
            some.groups.iter().map(|g| some.domains[usize::from(g.domain)].as_str()).collect();
        assert_eq!(tags.into_iter().collect::<Vec<_>>(), ["lakes and islands", "music"]);
        let count = |data: &Dataset, tag: &str| {
            data.groups.iter().filter(|g| data.domains[usize::from(g.domain)] == tag).count()
        };
        for tag in ["lakes and islands", "music"] {
            assert_eq!(count(&some, tag), count(&whole, tag), "{tag}");
        }
        let others = opened("demo[evaluation,without=music+lakes and islands]").expect("others");
        assert_eq!(some.groups.len() + others.groups.len(), whole.groups.len());
        assert!(others.groups.iter().all(|g| others.domains[usize::from(g.domain)] != "music"));
        assert_eq!(some.passages.len(), whole.passages.len(), "the pool stays");
        assert_eq!(some.questions.len(), 11 * some.groups.len());
    }

    #[test]
    fn what_a_dataset_does_not_have_is_refused_with_what_it_has() {
        for (text, part) in [
            ("demo[train,domains=musik]", "no 'musik'; it has animals, astronomy"),
            ("demo[train,scarce=fr,share=0.1]", "no 'fr'; it has ar, de"),
            ("demo[train,scarce=th]", "share=0.1"),
            ("demo[train,share=0.1]", "scarce=el+th"),
            ("demo[train,scarce=th,share=0]", "above 0"),
            ("demo[train,scarce=th,share=nan]", "above 0"),
            ("demo[train,scarce=th,share=2]", "at most 1"),
            ("demo[train,scarce=th,share=0.1,scarce=el]", "set twice"),
            ("demo[train,scarce=th+th,share=0.1]", "'th' is listed twice"),
            ("demo[train,domains=]", "empty"),
            ("demo[train,without=musik]", "no 'musik'"),
            ("demo[tran,domains=music]", "'tran'"),
        ] {
            let error = format!("{:#}", opened(text).expect_err(text));
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_streamed_dataset_is_thinned_too_with_its_negatives() {
        let dir = tempfile::tempdir().expect("dir");
        let mut text = String::new();
        for n in 0..200 {
            for code in ["de", "th"] {
                text += &format!(
                    "{{\"id\":\"{n}\",\"language\":\"{code}\",\"query\":\"q {n} {code}\",\"passage\":\"p {n} {code}\"}}\n"
                );
            }
        }
        let file = dir.path().join("made.jsonl");
        std::fs::write(&file, text).expect("write");
        let place = |settings: &str| {
            format!(
                "pairs[id=id,question=query,passage=passage,language_column=language{settings}]={}",
                file.display()
            )
        };
        let whole = opened(&place("")).expect("whole");
        let few = opened(&place(",scarce=th,share=0.2")).expect("few");
        let questions =
            |data: &Dataset, code: &str| data.questions_in(data.language(code).expect(code)).count();
        assert_eq!((questions(&whole, "th"), questions(&few, "de")), (200, 200));
        assert!((15..70).contains(&questions(&few, "th")), "{}", questions(&few, "th"));
        let answers: usize = few.groups.iter().map(|g| g.relevant.len()).sum();
        assert_eq!(answers, 200 + questions(&few, "th"));
    }
}
