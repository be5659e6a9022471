//! Building a token cache, or finding the one that is there.

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use anyhow::{Context, Result, anyhow, ensure};
use sha2::{Digest, Sha256};

use super::digests::{Digests, Stamp};
use super::sink::CacheSink;
use super::store::{Store, VERSION};
use super::writer::{Limit, tokenise};
use crate::corpus::{self, Input, read};
use crate::encoder::{Encoder, TextTokenizer};
use crate::files;
use crate::spec::{CachePolicy, Candidate, DatasetRef, ModelSpec};

/// Slices that wait for the tokenising thread.
pub(super) const WAITING: usize = 2;

/// What a cache is wanted of, and for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub dataset: &'a DatasetRef,
    pub candidate: Candidate,
    pub tokenizer: &'a TextTokenizer,
    pub query_prefix: &'a str,
    pub passage_prefix: &'a str,
    /// Longest question and passage, in tokens.
    pub longest: (usize, usize),
}

impl<'a> Wanted<'a> {
    /// For training this encoder as the spec says.
    #[must_use]
    pub fn new(
        dataset: &'a DatasetRef,
        candidate: Candidate,
        encoder: &'a Encoder,
        model: &ModelSpec,
    ) -> Self {
        let most = encoder.config.longest();
        Self {
            dataset,
            candidate,
            tokenizer: &encoder.tokenizer,
            query_prefix: &encoder.query_prefix,
            passage_prefix: &encoder.passage_prefix,
            longest: (model.max_query_tokens.min(most), model.max_passage_tokens.min(most)),
        }
    }
}

/// A cache, and how it came about.
#[derive(Debug)]
pub struct Preparation {
    pub store: Store,
    /// True where it was built now; false where it was there.
    pub built: bool,
}

/// Where caches lie: `tokens` in `POLYMIX_CACHE`, else in the user's cache directory.
///
/// # Errors
/// Where the system knows no cache directory.
pub fn default_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("POLYMIX_CACHE").filter(|d| !d.is_empty()) {
        return Ok(below(Path::new(&dir)));
    }
    let dirs = directories::ProjectDirs::from("", "", "polymix")
        .context("no cache directory on this system; set POLYMIX_CACHE to one")?;
    Ok(dirs.cache_dir().join("tokens"))
}

/// Where token caches lie in the folder that `POLYMIX_CACHE` or `data prepare --cache` names.
#[must_use]
pub fn below(cache: &Path) -> PathBuf {
    cache.join("tokens")
}

/// Finds or builds the cache below `dir`; `progress` hears (texts, of about how many). Another process that builds the
/// same one is waited for: `progress` hears (0, 0) meanwhile, and may end the waiting with an error.
///
/// # Errors
/// What is wrong with the data; a full disk or a directory that cannot be written. Nothing is left behind then.
pub fn prepare(
    wanted: Wanted<'_>,
    dir: &Path,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Preparation> {
    let (inputs, stamps, key) = identity(&wanted, dir)?;
    let place = dir.join(&key);
    let found = || open_whole(&place, dir).map(|store| as_asked(store, &wanted, &inputs));
    if let Ok(store) = found() {
        return Ok(Preparation { store, built: false });
    }
    let remedy = "no place for token caches; set POLYMIX_CACHE (or --cache) to a folder that can be written";
    files::create_dir(dir).context(remedy)?;
    let lock_path = dir.join(format!("{key}.lock"));
    let lock = loop {
        if let Some(lock) = files::try_lock(&lock_path).context(remedy)? {
            break lock;
        }
        progress(0, 0)?;
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    // Another process may have built it while this one waited.
    if let Ok(store) = found() {
        return Ok(Preparation { store, built: false });
    }
    if place.exists() {
        // Damaged, and nobody else has the lock.
        ensure!(
            place.is_dir(),
            "{}: a file stands where the token cache goes; move or remove it",
            place.display()
        );
        std::fs::remove_dir_all(&place).with_context(|| {
            format!("{}: this token cache is damaged and cannot be removed; remove it", place.display())
        })?;
    }
    remove_leftovers(dir, &key)?;
    files::whole_dir(&place, |beside| {
        build(&wanted, &inputs, beside, progress)?;
        unchanged(&inputs, &stamps)
    })?;
    drop(lock);
    Ok(Preparation { store: as_asked(Store::open(&place)?, &wanted, &inputs), built: true })
}

/// The cache below `dir`, if it is there and whole.
///
/// # Errors
/// Where the dataset's files cannot be read.
pub fn find(wanted: &Wanted<'_>, dir: &Path) -> Result<Option<Store>> {
    let (inputs, _, key) = identity(wanted, dir)?;
    Ok(open_whole(&dir.join(key), dir).ok().map(|store| as_asked(store, wanted, &inputs)))
}

/// A cache is found by what the data are: their name and place are those that they have here.
fn as_asked(mut store: Store, wanted: &Wanted<'_>, inputs: &[Input]) -> Store {
    let name = wanted.dataset.label();
    store.layout.name.clone_from(&name);
    store.meta.name = name;
    for read in &mut store.meta.inputs {
        let file = |path: &str| Path::new(path).file_name().map(std::ffi::OsStr::to_owned);
        let is_same = |i: &&Input| i.sha256 == read.sha256 && file(&i.path) == file(&read.path);
        if let Some(here) = inputs.iter().find(is_same) {
            read.path.clone_from(&here.path);
        }
    }
    store
}

/// Opens a cache whose files are as they were written; those that did not change since they were last read are not read
/// again.
fn open_whole(place: &Path, dir: &Path) -> Result<Store> {
    let store = Store::open(place)?;
    let digests = Digests::of(dir);
    for (name, sum) in &store.meta.files {
        let path = place.join(name);
        ensure!(digests.input(&path)?.sha256 == *sum, "{}: damaged", path.display());
    }
    Ok(store)
}

/// Removes what killed processes left beside the places of caches: those of `key`, whose lock this process has, and of all
/// that nobody writes now.
fn remove_leftovers(dir: &Path, key: &str) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(part) = name.strip_prefix('.').and_then(|n| n.strip_suffix(".part")) else { continue };
        let own = part.split('.').next().unwrap_or_default();
        let lock = if own == key { None } else { files::try_lock(&dir.join(format!("{own}.lock")))? };
        if own == key || lock.is_some() {
            std::fs::remove_dir_all(entry.path())
                .with_context(|| format!("{}: cannot remove", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Files of more than this are tokenised into a cache.
const LARGE: u64 = 64 << 20;
/// What a byte of a compressed file is counted as: texts shrink to about a fifth.
const UNPACKED: u64 = 5;

/// True where a dataset's files are so large that it is not read into memory to train on it.
///
/// # Errors
/// Where they cannot be found.
pub fn is_large(dataset: &DatasetRef) -> Result<bool> {
    let Some(path) = corpus::locate(dataset)?.path else { return Ok(false) };
    let found = read::find(&path).with_context(|| format!("dataset '{dataset}'"))?;
    let size = |path: &Path| {
        let bytes = std::fs::metadata(path).map_or(0, |m| m.len());
        let is_packed = path.extension().is_some_and(|e| ["gz", "zst", "parquet"].iter().any(|p| e == *p));
        if is_packed { bytes * UNPACKED } else { bytes }
    };
    Ok(found.iter().map(|f| size(&f.path)).sum::<u64>() > LARGE)
}

/// True where a dataset is to be tokenised into a cache on disk.
///
/// # Errors
/// As [`is_large`].
pub fn is_cached(dataset: &DatasetRef, policy: CachePolicy) -> Result<bool> {
    match policy {
        CachePolicy::Never => Ok(false),
        CachePolicy::Always => Ok(corpus::locate(dataset)?.path.is_some()),
        CachePolicy::Auto => is_large(dataset),
    }
}

/// The same, where it can be told without reading files larger than [`LARGE`]: by the records of earlier readings.
///
/// # Errors
/// As [`find`].
pub fn find_known(wanted: &Wanted<'_>, dir: &Path) -> Result<Option<Store>> {
    let located = corpus::locate(wanted.dataset)?;
    let digests = Digests::of(dir);
    let is_known = paths(&located)?.iter().all(|p| digests.known(p).is_some());
    if is_known || !is_large(wanted.dataset)? { find(wanted, dir) } else { Ok(None) }
}

/// Reads every file of a dataset and of its cache whatever the records of earlier readings say, and renews them: what changed
/// unseen is found by what comes next.
///
/// # Errors
/// Where the dataset's files cannot be read, or change while they are.
pub fn verify(wanted: &Wanted<'_>, dir: &Path) -> Result<()> {
    let located = corpus::locate(wanted.dataset)?;
    let digests = Digests::of(dir);
    for path in paths(&located)? {
        digests.renew(&path).with_context(|| format!("dataset '{}'", wanted.dataset))?;
    }
    let place = dir.join(identity(wanted, dir)?.2);
    for name in Store::open(&place).iter().flat_map(|store| store.meta.files.keys()) {
        digests.renew(&place.join(name))?;
    }
    Ok(())
}

/// A dataset's files with their hashes and what the system says of them, and what its cache is found by.
fn identity(wanted: &Wanted<'_>, dir: &Path) -> Result<(Vec<Input>, Vec<Stamp>, String)> {
    let located = corpus::locate(wanted.dataset)?;
    let digests = Digests::of(dir);
    let read = |path: &PathBuf| Ok((digests.input(path)?, Stamp::of(path)?));
    let inputs: Result<Vec<(Input, Stamp)>> = paths(&located)?.iter().map(read).collect();
    let (inputs, stamps): (Vec<Input>, Vec<Stamp>) =
        inputs.with_context(|| format!("dataset '{located}'"))?.into_iter().unzip();
    let key = key(wanted, &located, &inputs)?;
    Ok((inputs, stamps, key))
}

/// Refuses a cache whose files changed between hashing and the end of reading: it would be found by the wrong key.
fn unchanged(inputs: &[Input], stamps: &[Stamp]) -> Result<()> {
    for (input, stamp) in inputs.iter().zip(stamps) {
        ensure!(
            Stamp::of(Path::new(&input.path))? == *stamp,
            "{}: changed while it was read; start again when nothing writes to it",
            input.path
        );
    }
    Ok(())
}

fn build(
    wanted: &Wanted<'_>,
    inputs: &[Input],
    dir: &Path,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<()> {
    let size: u64 = inputs.iter().map(|i| i.bytes).sum();
    let mut report = |texts: u64, bytes: u64| {
        // Of plain files the texts are most of the bytes; the estimate grows true as they are read.
        let total = (texts as f64 * size as f64 / bytes.max(1) as f64) as u64;
        progress(texts as usize, total.max(texts + 1) as usize)
    };
    let limits = [
        Limit { prefix: wanted.query_prefix.to_owned(), longest: wanted.longest.0 },
        Limit { prefix: wanted.passage_prefix.to_owned(), longest: wanted.longest.1 },
    ];
    let (sender, receiver) = sync_channel(WAITING);
    let (numbers, written) = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let receiver = receiver;
            tokenise(dir, wanted.tokenizer, &limits, &receiver)
        });
        let mut sink = CacheSink::new(sender, inputs, &mut report);
        let read = corpus::stream(wanted.dataset, wanted.candidate, &mut sink);
        let numbers = match read {
            Ok(()) => {
                sink.finish(&wanted.dataset.label()).with_context(|| format!("dataset '{}'", wanted.dataset))
            }
            Err(error) => {
                drop(sink);
                Err(error)
            }
        };
        let written = worker.join().map_err(|_| anyhow!("the tokenising thread ended early"))?;
        // Where writing failed, reading did too, but only because of it.
        let written = written?;
        Ok::<_, anyhow::Error>((numbers?, written))
    })?;
    let texts = (written.0.texts + written.1.texts) as usize;
    progress(texts, texts)?;
    numbers.write(dir, &written.0, &written.1)
}

/// Every file of the dataset's path that its loader may read.
pub(super) fn paths(dataset: &DatasetRef) -> Result<Vec<PathBuf>> {
    Ok(files_and_others(dataset)?.0)
}

/// The files of the dataset's path that its loader may read, and what is called as they are but is none: links to nothing,
/// pipes, devices. The loader refuses such a one where it reads it.
fn files_and_others(dataset: &DatasetRef) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let Some(path) = &dataset.path else { return Ok((Vec::new(), Vec::new())) };
    let found = read::find(path).with_context(|| format!("dataset '{dataset}'"))?;
    let whole = path.is_file();
    let may_read = |f: &read::Found| whole || corpus::may_read(&dataset.name, f);
    Ok(found.into_iter().filter(may_read).map(|f| f.path).partition(|p| p.is_file()))
}

/// What a cache is found by.
fn key(wanted: &Wanted<'_>, located: &DatasetRef, inputs: &[Input]) -> Result<String> {
    let mut hash = Sha256::new();
    let root = located.path.as_deref().unwrap_or(Path::new(""));
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    add(&format!("{VERSION} {}", crate::VERSION));
    // Of an entry of the catalogue, the loader and the settings that it stands for.
    add(&corpus::canonical(located)?);
    for input in inputs {
        // The same data at another place are the same data; but a file's name can say its language.
        let path = Path::new(&input.path);
        let below = path.strip_prefix(root).ok().filter(|p| !p.as_os_str().is_empty());
        add(&below.unwrap_or(path.file_name().map_or(path, Path::new)).to_string_lossy());
        add(&input.sha256);
    }
    // A cache of the files without it must not hide that one is gone.
    for other in files_and_others(located)?.1 {
        add(&other.strip_prefix(root).unwrap_or(&other).to_string_lossy());
    }
    add(&wanted.tokenizer.hash()?);
    add(wanted.query_prefix);
    add(wanted.passage_prefix);
    add(&format!("{:?} {:?}", wanted.longest, wanted.candidate));
    add(&format!("reading {}", corpus::READING));
    Ok(read::hex(&hash.finalize())[..40].to_owned())
}
