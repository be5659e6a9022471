//! From a name to files on this machine: catalogue entries, hub repositories, folders.

use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};

use super::entry::{Entries, Entry, Form, Prefixes};
use super::held::{folder, held};
use super::record::{Record, Sum};
use crate::corpus::{Catalogue, Dataset, Sink};
use crate::hub::{Kind, Repo, Settings};
use crate::spec::{Candidate, DatasetRef, ExperimentSpec};

/// Opens a dataset: one that is bundled, one in a folder (`NAME=PATH`), or an entry of the catalogue that is on disk.
///
/// # Errors
/// Those of the loader; for an entry that is not on disk, the command that fetches it.
pub fn open(dataset: &DatasetRef, candidate: Candidate) -> Result<Dataset> {
    let located = locate(dataset)?;
    let opened = crate::corpus::open::open(&located, candidate);
    let mut opened = opened.map_err(|error| with_remedy(dataset, error))?;
    // Results are filed under the name that the user knows.
    opened.name = dataset.label();
    Ok(opened)
}

/// Reads a dataset into a sink, without holding its texts; otherwise as [`open`].
///
/// # Errors
/// As [`open`], and what the sink returns.
pub fn stream(dataset: &DatasetRef, candidate: Candidate, to: &mut dyn Sink) -> Result<()> {
    let read = crate::corpus::open::stream(&locate(dataset)?, candidate, to);
    read.map_err(|error| with_remedy(dataset, error))
}

/// An error over a fetched file that nobody vouches for names the command that fetches it anew: a server may have sent an
/// error message in its place.
fn with_remedy(dataset: &DatasetRef, error: Error) -> Error {
    let entries = if dataset.path.is_none() { Entries::load().ok() } else { None };
    let found = entries.and_then(|all| all.find(Form::Data, &dataset.unnamed().name).cloned());
    let Some(entry) = found else { return error };
    let Ok(folder) = folder(&entry, &Settings::from_env()) else { return error };
    let record = Record::read(&folder).unwrap_or_default();
    let text = format!("{error:#}");
    let is_at_fault = |(path, sum): (&String, &Sum)| {
        !sum.is_published && text.contains(&folder.join(path).display().to_string())
    };
    if !record.files.iter().any(is_at_fault) {
        return error;
    }
    anyhow!("{text}; if that is not what the publisher offers, `{} --again` fetches it anew", entry.command())
}

/// The same dataset as its loader knows it: the loader's name, and the folder with the files.
///
/// # Errors
/// As [`open`], without looking into files.
pub fn locate(dataset: &DatasetRef) -> Result<DatasetRef> {
    // What it is called is no concern of its loader.
    let dataset = &dataset.unnamed();
    let loader = |name: &str| Catalogue::all().iter().find(|c| c.name == name);
    if loader(&dataset.name).is_some_and(|l| dataset.path.is_some() || !l.needs_path) {
        return Ok(dataset.clone());
    }
    let entries = Entries::load()?;
    let Some(entry) = entries.find(Form::Data, &dataset.name) else {
        // The loader's own error says what it wants; a name of the hub needs to know who reads it.
        if dataset.name.contains('/') {
            let own = Entries::own_file().unwrap_or_else(|| PathBuf::from("catalogue.toml"));
            bail!(
                "dataset '{dataset}': no entry of the catalogue says how it is read; describe it in {} \
                 (`polymix data list` shows the entries)",
                own.display()
            );
        }
        return Ok(dataset.clone());
    };
    let name = entry.loader.clone().context("data have a loader")?;
    if loader(&name).is_none() {
        let known: Vec<&str> = Catalogue::all().iter().map(|c| c.name).collect();
        bail!("dataset '{dataset}': this version has no loader '{name}' (it has {})", known.join(", "));
    }
    let path = if let Some(path) = &dataset.path {
        path.clone()
    } else {
        let settings = Settings::from_env();
        let held = held(entry, &settings)?;
        ensure!(
            held.is_usable,
            "dataset '{dataset}': {}, or name a folder as {}=DIR",
            held.lack(entry),
            dataset.label()
        );
        folder(entry, &settings)?
    };
    Ok(DatasetRef { name, part: with_options(dataset.part.as_deref(), &entry.options), path: Some(path) })
}

/// The user's brackets, with the entry's settings that they do not set, and its part where they name none.
fn with_options(own: Option<&str>, options: &str) -> Option<String> {
    let items = |text| str::split(text, ',').map(str::trim).filter(|i: &&str| !i.is_empty());
    let key = |item: &str| item.split_once('=').map(|(key, _)| key.trim().to_owned());
    let mut all: Vec<&str> = items(own.unwrap_or_default()).collect();
    let given: Vec<_> = all.iter().map(|item| key(item)).collect();
    all.extend(items(options).filter(|item| !given.contains(&key(item))));
    (!all.is_empty()).then(|| all.join(","))
}

/// The entry of a model: of the catalogue, or of any repository of the hub.
///
/// # Errors
/// Where the name is neither.
pub fn model_entry(name: &str) -> Result<Entry> {
    let entries = Entries::load()?;
    if let Some(entry) = entries.find(Form::Model, name) {
        return Ok(entry.clone());
    }
    if name.contains('/') {
        return Ok(Entry::of_hub(Repo::parse(Kind::Model, name)?));
    }
    entries.get(Form::Model, name).cloned()
}

/// The directory of a model: a directory as it is, or the cached snapshot of a catalogue entry or hub repository
/// (`owner/name`, `owner/name@revision`).
///
/// # Errors
/// For a repository that is not on disk, the command that fetches it.
pub fn model_dir(base: &str) -> Result<PathBuf> {
    let path = Path::new(base);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    let refused = || format!("{base}: no such model directory");
    ensure!(!path.is_absolute() && !base.starts_with('.'), refused());
    let entry = match model_entry(base) {
        Ok(entry) => entry,
        Err(error) if Entries::load().is_err() => return Err(error),
        Err(_) => bail!("{}, and no model of the catalogue (polymix model list)", refused()),
    };
    let settings = Settings::from_env();
    let held = held(&entry, &settings)?;
    ensure!(held.is_usable, "{base}: no such model directory; as a model of the hub: {}", held.lack(&entry));
    folder(&entry, &settings)
}

/// The prefixes that the catalogue states for a model, by the name of its entry or repository, of whatever revision, or by its
/// directory in the hub's cache; none for any other directory, which speaks for itself.
///
/// # Errors
/// Where the user's entries cannot be read: they may state them.
pub fn model_prefixes(base: &str) -> Result<Prefixes> {
    let name = match Path::new(base) {
        _ if base == "demo" => None,
        dir if dir.is_dir() => repository(&dir.canonicalize()?),
        _ => Some(base.split_once('@').map_or(base, |(name, _)| name).to_owned()),
    };
    let Some(name) = name else { return Ok(Prefixes::default()) };
    let entries = Entries::load()?;
    Ok(entries.find(Form::Model, &name).map(|entry| entry.prefixes.clone()).unwrap_or_default())
}

/// The repository, as `owner/name`, of a directory in the hub's cache: `models--owner--name/snapshots/COMMIT`.
fn repository(dir: &Path) -> Option<String> {
    let snapshots = dir.parent().filter(|p| p.file_name().is_some_and(|name| name == "snapshots"))?;
    let folder = snapshots.parent()?.file_name()?.to_str()?;
    let (owner, name) = folder.strip_prefix("models--")?.split_once("--")?;
    Some(format!("{owner}/{name}"))
}

/// What is not known of a model of the hub that another program brought; `None` for every other model.
#[must_use]
pub fn model_doubt(base: &str) -> Option<String> {
    if base == "demo" || Path::new(base).exists() {
        return None;
    }
    let entry = model_entry(base).ok()?;
    held(&entry, &Settings::from_env()).ok()?.doubt(&entry)
}

/// The commit of a model of the hub, as it lies in the cache; `None` for a model of another origin.
#[must_use]
pub fn model_commit(base: &str) -> Option<String> {
    let dir = model_dir(base).ok().filter(|_| !Path::new(base).is_dir())?;
    Some(dir.file_name()?.to_string_lossy().into_owned())
}

/// Looks whether everything that a spec names is on disk.
///
/// # Errors
/// Names the key and what is missing, and the command that fetches it.
pub fn check_present(spec: &ExperimentSpec) -> Result<()> {
    if spec.model.base != "demo" {
        model_dir(&spec.model.base).with_context(|| {
            format!(
                "model.base = {:?} ('demo', a directory, or a model of the hub such as FacebookAI/xlm-roberta-base)",
                spec.model.base
            )
        })?;
    }
    if spec.robust.switches() {
        crate::corpus::lexicon::Lexicons::named(&spec.robust.lexicons).context("robust.lexicons")?;
    }
    let parts = [
        ("train", &spec.data.train),
        ("validation", &spec.data.validation),
        ("evaluation", &spec.data.evaluation),
    ];
    for (key, datasets) in parts {
        for dataset in datasets {
            if let Some(path) = &dataset.path {
                let shell =
                    if path.starts_with("~") { "; '~' is the shell's, write the whole path" } else { "" };
                ensure!(
                    path.exists(),
                    "data.{key}: dataset '{dataset}': {}: no such directory{shell}",
                    path.display()
                );
            }
            locate(dataset).with_context(|| format!("data.{key}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::repository;
    use super::with_options;

    #[test]
    fn what_the_user_sets_comes_before_what_the_entry_sets() {
        let with = |own, options| with_options(own, options).unwrap_or_default();
        assert_eq!(with(None, "train,language=en"), "train,language=en");
        assert_eq!(with(Some("dev"), "train,language=en"), "dev,language=en");
        assert_eq!(with(Some("language=de"), "train,language=en"), "language=de,train");
        assert_eq!(with(Some("0..24"), ""), "0..24");
        assert_eq!(with_options(None, ""), None);
    }

    #[test]
    fn a_directory_of_the_hubs_cache_is_known_by_its_repository() {
        let of = |path: &str| repository(Path::new(path));
        let dir = "/c/hub/models--intfloat--multilingual-e5-small/snapshots/0123456789012345678901234567890123456789";
        assert_eq!(of(dir).as_deref(), Some("intfloat/multilingual-e5-small"));
        assert_eq!(of("models--a--b--c/snapshots/x").as_deref(), Some("a/b--c"));
        for other in ["m/mean", "/", "snapshots/x", "/c/datasets--a--b/snapshots/x", "/c/models--a--b/refs/x"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
