//! The effect runner: the only part of the workbench that touches files and processes. It works on threads of its own
//! and answers with messages.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::marks;
use super::message::{Document, Effect, EvaluationRef, Message, Plan, Preset};
use super::scores::Scores;
use super::shelf::Row;
use super::watch;
use crate::corpus::catalogue::{self, Entries, Form};
use crate::hub::{Client, Settings, Watch};
use crate::report::{Format, Measured, Source, Table, figure, page};
use crate::run::{self, RunDir, Store};
use crate::spec::{self, ExperimentSpec};
use crate::train::Place;

/// Batches that the estimate of memory looks at.
const LOOKED: usize = 16;
/// Batches of a preview.
const PREVIEW: usize = 200;

/// Where effects go.
#[derive(Debug)]
pub struct Runner {
    work: Sender<Effect>,
    watch: Sender<Effect>,
    preview: Sender<Effect>,
    tests: Sender<Effect>,
    fetch: Sender<Effect>,
    /// Raised to pause the download.
    pause: Arc<AtomicBool>,
    worker: JoinHandle<()>,
}

impl Runner {
    /// Starts the threads; they end with [`Runner::finish`].
    #[must_use]
    pub fn start(store: &Store, specs: Option<PathBuf>, messages: &Sender<Message>) -> Self {
        let (work, jobs) = channel();
        let (watch, watched) = channel();
        let (preview, previewed) = channel();
        let (tests, tested) = channel();
        let (own, also, third, fourth) =
            (store.clone(), messages.clone(), messages.clone(), messages.clone());
        std::thread::spawn(move || {
            let watching = || watch::run(&own, &watched, &also);
            if let Err(fault) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(watching)) {
                let _ = also.send(Message::Failed(format!("runs are no longer watched: {}", told(&*fault))));
            }
        });
        std::thread::spawn(move || previewer(&previewed, &third));
        std::thread::spawn(move || tester(&tested, &fourth));
        let (fetch, fetched) = channel();
        let pause = Arc::new(AtomicBool::new(false));
        let (stop, fifth) = (Arc::clone(&pause), messages.clone());
        std::thread::spawn(move || fetcher(&fetched, &stop, &fifth));
        let (own, also) = (store.clone(), messages.clone());
        let worker = std::thread::spawn(move || worker(&own, specs.as_deref(), &jobs, &also));
        Self { work, watch, preview, tests, fetch, pause, worker }
    }

    /// Hands an effect to the thread that does it.
    pub fn run(&self, effect: Effect) {
        let to = match effect {
            Effect::Refresh | Effect::Follow(_) | Effect::Compare(_) => &self.watch,
            Effect::Preview { .. } => &self.preview,
            Effect::Test { .. } => &self.tests,
            Effect::PauseFetch => {
                self.pause.store(true, Ordering::Relaxed);
                return;
            }
            Effect::Fetch { .. } => {
                self.pause.store(false, Ordering::Relaxed);
                &self.fetch
            }
            _ => &self.work,
        };
        // A thread that is gone means that the program is ending.
        let _ = to.send(effect);
    }

    /// Waits until what was asked for is done.
    pub fn finish(self) {
        // What was downloaded stays, and the next fetch goes on from it.
        self.pause.store(true, Ordering::Relaxed);
        drop((self.work, self.watch, self.preview, self.tests, self.fetch));
        let _ = self.worker.join();
    }
}

/// Plans batches. While one plan is made, only the last of those asked for meanwhile is kept; where that one is of other
/// data, the reading of large ones is given up, as it would be in vain.
fn previewer(jobs: &Receiver<Effect>, messages: &Sender<Message>) {
    let mut next = jobs.recv().ok();
    while let Some(effect) = next.take() {
        let effect = jobs.try_iter().last().unwrap_or(effect);
        if let Effect::Preview { generation, spec } = effect {
            let mut told: Option<Instant> = None;
            let mut progress = |done, total| {
                next = jobs.try_iter().last().or_else(|| next.take());
                let is_other = matches!(&next, Some(Effect::Preview { spec: newer, .. })
                    if newer.data != spec.data || newer.evaluate.candidate != spec.evaluate.candidate);
                ensure!(!is_other, "given up");
                if told.is_none_or(|t| t.elapsed() >= Duration::from_millis(100)) {
                    told = Some(Instant::now());
                    ensure!(messages.send(Message::Planning { generation, done, total }).is_ok(), "given up");
                }
                Ok(())
            };
            let plan = || text(plan(&spec, &mut progress)).map(Box::new);
            let planned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(plan));
            let result = planned.unwrap_or_else(|fault| Err(self::told(&*fault)));
            if messages.send(Message::Preview { generation, result }).is_err() {
                return;
            }
        }
        if next.is_none() {
            next = jobs.recv().ok();
        }
    }
}

/// Tests differences, one metric after the other; what is asked for meanwhile takes the place of what is under way.
fn tester(jobs: &Receiver<Effect>, messages: &Sender<Message>) {
    let mut next = jobs.recv().ok();
    while let Some(effect) = next.take() {
        let Effect::Test { pair, metrics } = effect else {
            next = jobs.recv().ok();
            continue;
        };
        for metric in metrics {
            let mut newer = None;
            let mut progress = |done, total| {
                let message = Message::Testing { pair: pair.clone(), metric: metric.clone(), done, total };
                newer = newer.take().or_else(|| jobs.try_iter().last());
                ensure!(newer.is_none() && messages.send(message).is_ok(), "given up");
                Ok(())
            };
            let work = || marks::test(&pair, &metric, &mut progress);
            let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            let result = found.map_or_else(|fault| Err(told(&*fault)), |r| text(r.map(Arc::new)));
            if newer.is_some() {
                next = newer;
                break;
            }
            let message = Message::Tested { pair: pair.clone(), metric: metric.clone(), result };
            if messages.send(message).is_err() {
                return;
            }
        }
        if next.is_none() {
            next = jobs.recv().ok();
        }
    }
}

/// Fetches one entry after the other, and tells how far it is ten times a second.
fn fetcher(jobs: &Receiver<Effect>, pause: &AtomicBool, messages: &Sender<Message>) {
    while let Ok(effect) = jobs.recv() {
        let Effect::Fetch { form, name, languages } = effect else { continue };
        let fetch = || text(fetch(form, &name, &languages, pause, messages));
        let fetched = std::panic::catch_unwind(std::panic::AssertUnwindSafe(fetch));
        let result = fetched.unwrap_or_else(|fault| Err(told(&*fault)));
        if messages.send(Message::FetchEnded(result)).is_err() {
            return;
        }
    }
}

fn fetch(
    form: Form,
    name: &str,
    languages: &[String],
    pause: &AtomicBool,
    messages: &Sender<Message>,
) -> Result<String> {
    let client = Client::new(Settings::from_env())?;
    let entry = match form {
        Form::Model => catalogue::model_entry(name)?,
        Form::Data => Entries::load()?.get(form, name)?.clone(),
    };
    let mut last: Option<Instant> = None;
    let mut tell = |file: &str, done: u64, total: u64| {
        if last.is_none_or(|l| l.elapsed() >= Duration::from_millis(100)) || done == total {
            last = Some(Instant::now());
            let _ = messages.send(Message::Fetching { file: file.to_owned(), done, total, note: None });
        }
    };
    let mut remark = |text: &str| {
        let note = Some(text.to_owned());
        let _ = messages.send(Message::Fetching { file: String::new(), done: 0, total: 0, note });
    };
    let mut watch = Watch { stop: pause, tell: &mut tell, remark: &mut remark, before: 0, total: 0 };
    let received = catalogue::fetch(&client, &entry, languages, &mut watch)?;
    Ok(format!("{name} is on disk: {} files in {}", received.files, received.folder.display()))
}

/// Everything that can be fetched, with what is on disk.
fn shelf() -> Result<Vec<Row>> {
    let settings = Settings::from_env();
    let row = |entry: catalogue::Entry| Ok(Row { held: catalogue::held(&entry, &settings)?, entry });
    Entries::load()?.all.into_iter().map(row).collect()
}

/// The plan of a spec, if its device and its model are there.
fn plan(spec: &ExperimentSpec, progress: &mut dyn FnMut(usize, usize) -> Result<()>) -> Result<Plan> {
    spec.check_paths()?;
    let device = crate::train::device::open(&spec.train.device)?;
    let sources = run::Sources::open(spec, progress)?;
    let batches = run::preview(spec, &sources, PREVIEW)?;
    let estimate = run::estimate_of(spec, &sources, LOOKED, Place::Child)?;
    Ok(Plan { batches, device: crate::train::device::name(&device), estimate })
}

/// Does one thing after the other; collects ended children so that none stays behind as a zombie.
fn worker(store: &Store, specs: Option<&Path>, jobs: &Receiver<Effect>, messages: &Sender<Message>) {
    let mut children: Vec<(PathBuf, Child)> = Vec::new();
    loop {
        // Without children there is nothing to look after, and no reason to wake up.
        let job = if children.is_empty() {
            jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            jobs.recv_timeout(Duration::from_millis(500))
        };
        children.retain_mut(|(run, child)| {
            let is_running = matches!(child.try_wait(), Ok(None));
            if !is_running {
                let _ = messages.send(Message::WorkerEnded(run.clone()));
            }
            is_running
        });
        let effect = match job {
            Ok(effect) => effect,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        // A fault in one effect must not end the others.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            super::fault("worker");
            carry_out(effect, store, specs, &mut children)
        }));
        let message = done.unwrap_or_else(|fault| Some(Message::Failed(told(&*fault))));
        if let Some(message) = message {
            let _ = messages.send(message);
        }
    }
}

/// What a panic said.
fn told(fault: &(dyn std::any::Any + Send)) -> String {
    format!("internal fault, please report it: {}", crate::caught::told(fault))
}

fn carry_out(
    effect: Effect,
    store: &Store,
    specs: Option<&Path>,
    children: &mut Vec<(PathBuf, Child)>,
) -> Option<Message> {
    let said =
        |result: Result<String>| result.map_or_else(|e| Message::Failed(format!("{e:#}")), Message::Done);
    Some(match effect {
        Effect::LoadPresets => Message::Presets(presets(specs)),
        Effect::LoadShelf => Message::Shelf(text(shelf())),
        Effect::Start(spec) => match start(store, &spec) {
            Ok((run, child)) => {
                children.push((run.path.clone(), child));
                Message::Begun(run)
            }
            Err(error) => Message::Failed(format!("{error:#}")),
        },
        Effect::Resume(run) => said(run::start(&run).map(|child| {
            children.push((run.path.clone(), child));
            format!("{} goes on", run.id())
        })),
        Effect::Stop(run) => {
            said(run::stop(&run).map(|()| format!("{} saves a checkpoint and stops", run.id())))
        }
        Effect::Remove(run) => said(store.remove(&run).map(|()| format!("{} removed", run.id()))),
        Effect::LoadScores(dir) => {
            let result = text(Scores::read(&dir)).map(Arc::new);
            Message::Scores { dir, result }
        }
        Effect::LoadQuestions(dir) => {
            let result = text(crate::evaluate::read_queries(&dir)).map(Arc::new);
            Message::Questions { dir, result }
        }
        Effect::Write { path, document, overwrite: false } if path.exists() => {
            Message::Exists { path, document }
        }
        Effect::Write { path, document, .. } => {
            said(write(&path, &document).map(|()| format!("written to {}", path.display())))
        }
        Effect::Figure { kind, runs, measure, path } => said(figure(kind, runs, measure, &path)),
        Effect::Report { run, path } => said(report(&run, &path)),
        Effect::ExportAll { run, folder } => said(export_all(run, &folder)),
        Effect::Preview { .. }
        | Effect::Test { .. }
        | Effect::Fetch { .. }
        | Effect::PauseFetch
        | Effect::Follow(_)
        | Effect::Compare(_)
        | Effect::Refresh
        | Effect::Mouse(_)
        | Effect::Redraw
        | Effect::Suspend
        | Effect::Quit => return None,
    })
}

fn text<T>(result: Result<T>) -> Result<T, String> {
    result.map_err(|e| format!("{e:#}"))
}

fn start(store: &Store, spec: &ExperimentSpec) -> Result<(RunDir, Child)> {
    let run = store.create(spec)?;
    let child = run::start(&run)?;
    Ok((run, child))
}

fn write(path: &Path, document: &Document) -> Result<()> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        ensure!(parent.is_dir(), "{}: no such directory", parent.display());
    }
    crate::files::replace(path, document.text.as_bytes())?;
    let measured =
        |e: &EvaluationRef| Measured { step: Some(e.step), dataset: e.dataset.clone(), dir: e.dir.clone() };
    crate::report::write_protocols(path, &document.evaluations.iter().map(measured).collect::<Vec<_>>())
}

fn figure(kind: figure::Kind, runs: Vec<RunDir>, measure: figure::Measure, path: &Path) -> Result<String> {
    let sources = runs.into_iter().map(Source::of_run).collect::<Result<Vec<_>>>()?;
    figure::write(kind, &sources, measure, path, false)?;
    Ok(format!("drawn to {}", path.display()))
}

fn report(run: &RunDir, path: &Path) -> Result<String> {
    page::check(path, false)?;
    page::write(&page::of_run(run)?, path, false)?;
    Ok(format!("report written to {}", path.display()))
}

/// Every table that the run has, in a folder that is made where it is missing; files that exist stay.
fn export_all(run: RunDir, folder: &Path) -> Result<String> {
    let source = Source::of_run(run)?;
    let mut tables = vec![Table::History, Table::Config];
    if !source.evaluations.is_empty() {
        tables.extend([Table::Summary, Table::Pairs, Table::Languages, Table::Queries]);
        tables.extend([Table::Groups, Table::Histogram, Table::Fairness]);
        if source.evaluations.iter().any(|m| crate::report::paper::dataset(&m.dataset).is_some()) {
            tables.push(Table::Paper);
        }
    }
    let files: Vec<(Table, PathBuf)> =
        tables.into_iter().map(|t| (t, folder.join(format!("{}.csv", t.name())))).collect();
    if let Some((_, file)) = files.iter().find(|(_, f)| f.exists()) {
        bail!("{}: exists already; choose another folder", file.display());
    }
    std::fs::create_dir_all(folder)
        .with_context(|| format!("{}: cannot make the folder", folder.display()))?;
    for (table, file) in &files {
        crate::report::export(&source, *table, Format::Csv, file, false)?;
    }
    Ok(format!("{} tables written to {}", files.len(), folder.display()))
}

/// The bundled presets, then the specs of the directory; a file of the same name replaces a bundled one.
fn presets(specs: Option<&Path>) -> Vec<Preset> {
    let preset = |name: String, origin: &str, toml: Result<String>| Preset {
        name: name.trim_end_matches(".toml").to_owned(),
        origin: origin.to_owned(),
        spec: text(toml.and_then(|t| spec::parse(&t, &[]))).map(Box::new),
    };
    let mut found: Vec<Preset> = spec::presets()
        .iter()
        .map(|(name, toml)| preset((*name).to_owned(), "bundled", Ok((*toml).to_owned())))
        .collect();
    for path in specs.map(crate::files::children).unwrap_or_default() {
        if path.extension().is_none_or(|e| e != "toml") {
            continue;
        }
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let toml = std::fs::read_to_string(&path).with_context(|| format!("{}: cannot read", path.display()));
        let own = preset(name, &path.display().to_string(), toml);
        match found.iter_mut().find(|p| p.name == own.name) {
            Some(bundled) => *bundled = own,
            None => found.push(own),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_replace_bundled_presets_of_the_same_name() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::write(dir.path().join("demo.toml"), "seed = 77").expect("write");
        std::fs::write(dir.path().join("own.toml"), "sede = 1").expect("write");
        std::fs::write(dir.path().join("notes.txt"), "no spec").expect("write");
        let found = presets(Some(dir.path()));
        let demo = found.iter().find(|p| p.name == "demo").expect("demo");
        assert_eq!(demo.spec.as_ref().expect("a spec").seed, 77);
        let own = found.iter().find(|p| p.name == "own").expect("own");
        assert!(own.spec.as_ref().is_err_and(|e| e.contains("sede")), "{own:?}");
        assert_eq!(found.len(), spec::presets().len() + 1);
    }

    #[test]
    fn existing_files_are_asked_about() {
        let dir = tempfile::tempdir().expect("dir");
        let store = Store { root: dir.path().join("runs") };
        let path = dir.path().join("table.csv");
        let document = Document { text: "a\n".into(), evaluations: Vec::new() };
        let effect = |overwrite| Effect::Write { path: path.clone(), document: document.clone(), overwrite };
        let mut children = Vec::new();
        let mut run = |effect| carry_out(effect, &store, None, &mut children);
        assert!(matches!(run(effect(false)), Some(Message::Done(_))));
        assert!(matches!(run(effect(false)), Some(Message::Exists { .. })));
        assert!(matches!(run(effect(true)), Some(Message::Done(_))));
        let nowhere =
            Effect::Write { path: dir.path().join("no/x.csv"), document: document.clone(), overwrite: false };
        assert!(matches!(run(nowhere), Some(Message::Failed(text)) if text.contains("no such directory")));
    }
}
