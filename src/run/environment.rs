//! `environment.json`: what a run was made with, beside its spec.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use candle_core::Device;
use serde_json::{Value, json};

use super::RunDir;
use crate::batch::Plan;
use crate::corpus::catalogue::{self, At, Source};
use crate::corpus::{Input, Summary};
use crate::encoder::Encoder;
use crate::hub::{self, Kind, Repo};
use crate::spec::ExperimentSpec;
use crate::train::{TrainingSet, device};

/// Version of `environment.json`. 1 had no checksum; it is still read.
const VERSION: u32 = 2;
/// The part of [`Encoder::identity`] that holds the prefixes.
const AROUND: &str = "pooling, prompts or length";
/// Before questions and passages, where neither spec nor model nor catalogue states anything.
const UNSTATED: [&str; 2] = ["Query: ", "Passage: "];

/// Reads it; null where there is none.
///
/// # Errors
/// Where it is damaged or of a later version.
pub fn read(run: &RunDir) -> Result<Value> {
    let path = run.path.join("environment.json");
    if path.exists() { crate::seal::read_file(&path, 2, VERSION) } else { Ok(Value::Null) }
}

/// What `environment.json` says of a dataset that is used for `training`, `validation` or `evaluation`.
#[must_use]
pub fn facts<'a>(environment: &'a Value, label: &str, used_for: &str) -> Option<&'a Value> {
    let datasets = environment.get("datasets")?;
    datasets.get(used(label, used_for)).or_else(|| datasets.get(label))
}

/// The name of a dataset where another one, used before it for something else, is called the same.
fn used(label: &str, used_for: &str) -> String {
    format!("{label} ({used_for})")
}

/// Refuses to go on with another model or other data than the run began with: its batches would be others, its scores not comparable.
///
/// # Errors
/// Names what of the model changed; the dataset, both hashes, the files that changed; and the remedy.
pub fn check_unchanged(run: &RunDir, encoder: &Encoder, datasets: &[(&str, Summary)]) -> Result<()> {
    // A record that is gone or damaged says nothing; it is written anew.
    let before = read(run).unwrap_or_default();
    let model = &before["model"];
    for (part, hash) in encoder.identity() {
        // Records of earlier versions have none.
        ensure!(
            model["sha256"][part].as_str().is_none_or(|before| before == hash),
            "the model '{}' is not the one that the run began with: its {part} changed since; put it back as it was, or start a \
             run of its own with `polymix train {}`",
            model["base"].as_str().unwrap_or_default(),
            run.spec_file().display()
        );
    }
    for (used_for, summary) in datasets {
        let Some(facts) = facts(&before, &summary.name, used_for) else { continue };
        let Some(hash) = facts["sha256"].as_str().filter(|h| *h != summary.sha256) else { continue };
        let known: Vec<&Value> = facts["inputs"].as_array().into_iter().flatten().collect();
        let is_new = |i: &&Input| !known.iter().any(|k| k["path"] == *i.path && k["sha256"] == *i.sha256);
        let mut changed: Vec<&str> = summary.inputs.iter().filter(is_new).map(|i| i.path.as_str()).collect();
        let is_gone = |path: &&str| !summary.inputs.iter().any(|i| i.path == *path);
        changed.extend(known.iter().filter_map(|k| k["path"].as_str()).filter(is_gone));
        bail!(
            "the {used_for} data '{}' are others than those that the run began with (SHA-256 {:.12}... instead of {hash:.12}...{}); \
             put them back as they were, or start a run of its own with `polymix train {}`",
            summary.name,
            summary.sha256,
            match changed.as_slice() {
                [] => String::new(),
                [first, rest @ ..] if rest.len() > 2 =>
                    format!("; changed: {first} and {} more files", rest.len()),
                some => format!("; changed: {}", some.join(", ")),
            },
            run.spec_file().display()
        );
    }
    Ok(())
}

/// Gives a model the prefixes that the run began with, where it has others now: the catalogue's entry may have gained some since.
/// True where they were others.
pub fn restore_prefixes(run: &RunDir, encoder: &mut Encoder) -> bool {
    let before = read(run).unwrap_or_default();
    let model = &before["model"];
    let Some(around) = model["sha256"][AROUND].as_str() else { return false };
    let recorded = ["query_prefix", "passage_prefix"].map(|key| model[key].as_str());
    let found = [&encoder.query_prefix, &encoder.passage_prefix].map(String::clone);
    // Records of earlier versions do not say them; then they were these, if no others were stated anywhere.
    let candidates = |side: usize| match recorded[side] {
        Some(text) => vec![text.to_owned()],
        None => vec![found[side].clone(), UNSTATED[side].to_owned()],
    };
    for query in candidates(0) {
        for passage in candidates(1) {
            encoder.query_prefix.clone_from(&query);
            encoder.passage_prefix.clone_from(&passage);
            if encoder.identity().iter().any(|(part, hash)| *part == AROUND && hash == around) {
                return [query, passage] != found;
            }
        }
    }
    // Something else is different: it is refused, and named.
    let [query, passage] = found;
    (encoder.query_prefix, encoder.passage_prefix) = (query, passage);
    false
}

/// The files of lexicons that texts are switched with, by their languages.
fn lexicons(spec: &ExperimentSpec) -> Result<BTreeMap<String, Input>> {
    let named = spec.robust.lexicons.iter().filter(|_| spec.robust.switches());
    let files = named.filter_map(|text| text.split_once('='));
    files.map(|(pair, path)| Ok((pair.to_owned(), Input::of(Path::new(path))?))).collect()
}

/// As [`check_unchanged`], for the lexicons.
///
/// # Errors
/// Names the file that is another, and the remedy.
pub fn check_lexicons(run: &RunDir, spec: &ExperimentSpec) -> Result<()> {
    let before = read(run).unwrap_or_default();
    for (pair, file) in lexicons(spec)? {
        // Records of earlier versions have none.
        ensure!(
            before["lexicons"][&pair]["sha256"].as_str().is_none_or(|hash| hash == file.sha256),
            "the lexicon '{pair}={}' is another than the one that the run began with; put it back as it was, or start a run of \
             its own with `polymix train {}`",
            file.path,
            run.spec_file().display()
        );
    }
    Ok(())
}

/// What a run trains on of a training dataset: the languages, and the question ids with a pair in them; nothing of one of
/// weight 0.
#[must_use]
pub fn trained<'a>(environment: &'a Value, label: &str) -> Option<&'a Value> {
    environment.get("trained")?.get(label)
}

/// The repository of the hub that the run's model came from, as `owner/name`; `None` for a directory, and where the record
/// does not say. What a name meant when the run began cannot be told later: directories come and go.
#[must_use]
pub fn hub_id(environment: &Value) -> Option<String> {
    let model = &environment["model"];
    if let Some(id) = model.get("hub") {
        return id.as_str().map(str::to_owned);
    }
    // Records of earlier versions say it by the commit, which only models of the hub have.
    let is_of_hub = model["commit"].as_str().is_some_and(hub::is_commit);
    let base = model["base"].as_str().filter(|_| is_of_hub)?;
    Some(Repo::parse(Kind::Model, base).ok()?.id)
}

/// The repository that a name of a model means now.
fn hub_repo(base: &str) -> Option<String> {
    if base == "demo" || Path::new(base).is_dir() {
        return None;
    }
    match &catalogue::model_entry(base).ok()?.sources[..] {
        [Source { at: At::Hub(repo), .. }] => Some(repo.id.clone()),
        _ => None,
    }
}

/// Writes versions, machine, the model's prefixes, its repository and commit where it is of the hub, what a step looks at, of every dataset its hash,
/// its sizes and its files with theirs, and of each training set what of it the plan draws.
///
/// # Errors
/// Where the file cannot be written.
pub fn write(
    run: &RunDir,
    (base, encoder): (&str, &Encoder),
    on: &Device,
    spec: &ExperimentSpec,
    datasets: &[(&str, Summary)],
    (plan, sets): (&Plan, &[TrainingSet]),
) -> Result<()> {
    let of_set = |(index, set): (usize, &TrainingSet)| {
        let (languages, question_ids) = plan.trained(index);
        (set.summary.name.clone(), json!({"languages": languages, "question_ids": question_ids}))
    };
    let trained: serde_json::Map<String, Value> = sets.iter().enumerate().map(of_set).collect();
    let mut known = serde_json::Map::new();
    for (used_for, summary) in datasets {
        let facts = serde_json::to_value(summary)?;
        let is_other = known.get(&summary.name).is_some_and(|before| *before != facts);
        known.insert(if is_other { used(&summary.name, used_for) } else { summary.name.clone() }, facts);
    }
    let record = json!({
        "v": VERSION,
        "polymix": crate::VERSION,
        "system": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        "host": super::state::host(),
        "device": device::name(on),
        "threads": rayon::current_num_threads(),
        "pairs_a_step": spec.train.pairs_a_step(),
        "negatives_a_question": spec.train.negatives(),
        "model": {
            "base": base,
            "hub": hub_repo(base),
            "commit": catalogue::model_commit(base),
            "sha256": BTreeMap::from(encoder.identity()),
            "query_prefix": encoder.query_prefix,
            "passage_prefix": encoder.passage_prefix,
        },
        "datasets": known,
        "lexicons": lexicons(spec)?,
        "trained": trained,
    });
    crate::files::replace(&run.path.join("environment.json"), &crate::seal::pretty(&record)?)
}
