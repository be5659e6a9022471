//! Questions that a run is trained on and tested on too.
//!
//! What counts is the question, not what datasets and files are called: the same id with the same text in the same
//! language. Where training and test data have no language in common, ids that both have say that one is the other's
//! translation, if the same loader read them and the ids are not ones that it made up from places in a file.

use std::collections::HashSet;

use anyhow::{Result, bail};

use crate::batch::text_hash;
use crate::corpus::{self, Dataset, Input, Question};
use crate::mapped::Offsets;
use crate::spec::{DatasetRef, ExperimentSpec};
use crate::train::TrainingSet;

/// What a training set asks.
pub(super) struct Trained {
    name: String,
    loader: String,
    languages: Vec<String>,
    files: HashSet<String>,
    ids: Ids,
}

enum Ids {
    /// Hashes of (id, language, text), of (language, text), and of ids.
    Texts { same: HashSet<u64>, texts: HashSet<u64>, ids: HashSet<u64> },
    /// Of a token cache only ids are known: their hashes, sorted.
    Cache(Offsets),
}

impl Ids {
    fn has(&self, id: &str) -> bool {
        match self {
            Self::Texts { ids, .. } => ids.contains(&text_hash(id)),
            Self::Cache(ids) => ids.binary_search(&text_hash(id)).is_ok(),
        }
    }
}

impl Trained {
    /// Of a dataset in memory.
    pub fn of(name: &DatasetRef, dataset: &Dataset) -> Result<Self> {
        let (mut same, mut texts) = (HashSet::new(), HashSet::new());
        for question in &dataset.questions {
            let (id, language) = keys(dataset, question);
            texts.insert(language);
            same.insert(id);
        }
        let ids = dataset.groups.iter().map(|g| text_hash(&g.id)).collect();
        let (languages, files) = (dataset.languages.clone(), hashes(&dataset.inputs));
        let ids = Ids::Texts { same, texts, ids };
        Ok(Self { name: name.label(), loader: corpus::locate(name)?.name, languages, files, ids })
    }

    /// Of a token cache.
    pub fn cached(name: &DatasetRef, set: &TrainingSet) -> Result<Self> {
        let (languages, files) = (set.layout.languages.clone(), hashes(&set.summary.inputs));
        let ids = Ids::Cache(set.ids.clone());
        Ok(Self { name: name.label(), loader: corpus::locate(name)?.name, languages, files, ids })
    }

    /// How many of a dataset's question ids are trained on, and how many more of its questions have another id but are
    /// trained on word for word.
    fn shared(&self, loader: &str, dataset: &Dataset) -> (usize, usize) {
        let is_parallel = self.loader == loader || !self.files.is_disjoint(&hashes(&dataset.inputs));
        let is_shared = |id: &str| is_parallel && self.ids.has(id);
        match &self.ids {
            Ids::Texts { same, texts, .. } => {
                let mut found = HashSet::new();
                let mut repeated = HashSet::new();
                for question in &dataset.questions {
                    let (id, text) = keys(dataset, question);
                    if same.contains(&id) {
                        found.insert(question.group);
                    } else if texts.contains(&text) {
                        repeated.insert(question.group);
                    }
                }
                if !dataset.languages.iter().any(|l| self.languages.contains(l)) {
                    let translated = |g: &&corpus::Group| !is_made_up(&g.id) && is_shared(&g.id);
                    return (dataset.groups.iter().filter(translated).count(), 0);
                }
                (found.len(), repeated.difference(&found).count())
            }
            Ids::Cache(_) => {
                let is_same = !self.files.is_disjoint(&hashes(&dataset.inputs));
                let shared = |g: &&corpus::Group| (is_same || !is_made_up(&g.id)) && is_shared(&g.id);
                (dataset.groups.iter().filter(shared).count(), 0)
            }
        }
    }
}

/// Refuses to test on what is trained on; tells of questions that only read alike. `tested`: key of the spec, name, data.
///
/// # Errors
/// Names both datasets and how many questions they share.
pub(super) fn check<'a>(
    trained: &[Trained],
    tested: impl IntoIterator<Item = (&'static str, &'a DatasetRef, &'a Dataset)>,
) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for (key, name, dataset) in tested {
        let loader = corpus::locate(name)?.name;
        for train in trained {
            let (shared, alike) = train.shared(&loader, dataset);
            if shared > 0 {
                bail!(
                    "{key}: {shared} question ids of '{}' are in the training data '{}' too; choose parts that do not overlap",
                    name.label(),
                    train.name
                );
            }
            if alike > 0 {
                notes.push(format!(
                    "{}: {alike} of {} question ids have a question that is in the training data '{}' word for word, under \
                     another id",
                    name.label(),
                    dataset.groups.len(),
                    train.name
                ));
            }
        }
    }
    Ok(notes)
}

/// Refuses to test on the very data that are trained on, before anything is read.
///
/// # Errors
/// Names the key and what both are called.
pub(super) fn check_names(spec: &ExperimentSpec) -> Result<()> {
    let (validation, evaluation) = (&spec.data.validation, &spec.data.evaluation);
    for (key, names) in [("data.validation", validation), ("data.evaluation", evaluation)] {
        for tested in names {
            let same = |name: &&DatasetRef| name.unnamed() == tested.unnamed();
            if let Some(train) = spec.data.train.iter().find(same) {
                bail!(
                    "{key}: '{}' is the training data '{}'; choose parts that do not overlap",
                    tested.label(),
                    train.label()
                );
            }
        }
    }
    Ok(())
}

/// Hashes of a question with its id, language and text, and without its id.
fn keys(dataset: &Dataset, question: &Question) -> (u64, u64) {
    let language = &dataset.languages[question.language as usize];
    let id = &dataset.groups[question.group as usize].id;
    let text = format!("{language}\0{}", question.text.trim());
    (text_hash(&format!("{id}\0{text}")), text_hash(&text))
}

fn hashes(inputs: &[Input]) -> HashSet<String> {
    inputs.iter().map(|i| i.sha256.clone()).collect()
}

/// True for ids as loaders make them up: a place in a file behind a colon.
fn is_made_up(id: &str) -> bool {
    id.rsplit_once(':')
        .is_some_and(|(_, place)| !place.is_empty() && place.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::spec::Candidate;

    /// Rows of (id or nothing, language, question), with a passage each.
    fn write(dir: &Path, file: &str, rows: &[(&str, &str, &str)]) {
        let line = |&(id, language, question): &(&str, &str, &str)| {
            let mut row = serde_json::json!({"question": question, "passage": format!("{language}: {question}!"),
                "language": language});
            if !id.is_empty() {
                row["id"] = id.into();
            }
            format!("{row}\n")
        };
        std::fs::write(dir.join(file), rows.iter().map(line).collect::<String>()).unwrap();
    }

    /// Trains on the first, tests on the second: the notes, or the error.
    fn checked(dir: &Path, train: &str, test: &str) -> std::result::Result<Vec<String>, String> {
        let name = |text: &str| -> DatasetRef {
            let (name, file) = text.rsplit_once('=').unwrap();
            format!("{name}={}", dir.join(file).display()).parse().unwrap()
        };
        let (train, test) = (name(train), name(test));
        let open = |name: &DatasetRef| corpus::open(name, Candidate::default()).unwrap();
        let trained = Trained::of(&train, &open(&train)).unwrap();
        check(&[trained], [("data.evaluation", &test, &open(&test))]).map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn what_is_trained_on_is_found_whatever_it_is_called() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(dir, "a.jsonl", &[("7", "en", "where?"), ("8", "en", "who?"), ("9", "en", "when?")]);
        write(dir, "part.jsonl", &[("1", "en", "which?"), ("8", "en", "who?")]);
        let error = checked(dir, "pairs[as=x]=a.jsonl", "pairs[as=t]=part.jsonl").unwrap_err();
        assert!(
            error.contains("data.evaluation: 1 question ids of 't'") && error.contains("data 'x'"),
            "{error}"
        );
        // Without ids of their own, the same file has the same ids.
        write(dir, "plain.jsonl", &[("", "en", "where?"), ("", "en", "who?")]);
        assert!(checked(dir, "pairs=plain.jsonl", "pairs[as=t]=plain.jsonl").is_err());
    }

    #[test]
    fn ids_that_are_places_in_two_files_are_no_overlap() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(dir, "a.jsonl", &[("", "en", "where?"), ("", "en", "who?")]);
        write(dir, "b.jsonl", &[("", "en", "what?"), ("", "en", "when?")]);
        assert_eq!(checked(dir, "pairs=a.jsonl", "pairs=b.jsonl"), Ok(vec![]));
        // Numbers that two collections count from one alike are none either, where the texts differ.
        write(dir, "c.jsonl", &[("1", "en", "where?"), ("2", "en", "who?")]);
        write(dir, "d.jsonl", &[("1", "en", "what?"), ("2", "en", "when?")]);
        assert_eq!(checked(dir, "pairs=c.jsonl", "pairs=d.jsonl"), Ok(vec![]));
        write(dir, "e.jsonl", &[("", "de", "was?"), ("", "de", "wann?")]);
        assert_eq!(checked(dir, "pairs=a.jsonl", "pairs=e.jsonl"), Ok(vec![]), "nor in another language");
    }

    #[test]
    fn translations_of_what_is_trained_on_are_found_by_their_ids() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(dir, "en.jsonl", &[("q7", "en", "where?"), ("q8", "en", "who?")]);
        write(dir, "de.jsonl", &[("q8", "de", "wer?"), ("q9", "de", "wann?")]);
        let error = checked(dir, "pairs[as=x]=en.jsonl", "pairs=de.jsonl").unwrap_err();
        assert!(error.contains("1 question ids of 'pairs'"), "{error}");
    }

    #[test]
    fn the_same_words_under_another_id_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(dir, "a.jsonl", &[("7", "en", "where?"), ("8", "en", "who?")]);
        write(dir, "b.jsonl", &[("1", "en", " who?"), ("2", "en", "when?"), ("3", "de", "who?")]);
        let notes = checked(dir, "pairs=a.jsonl", "pairs[as=t]=b.jsonl").unwrap();
        assert!(notes.len() == 1 && notes[0].starts_with("t: 1 of 3 question ids"), "{notes:?}");
    }
}
