//! The directory that holds all runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::{Phase, RunDir, State, now, shown, silent_end};
use crate::files::{self, create_dir};
use crate::spec::ExperimentSpec;

/// All runs of one user, or of one project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    pub root: PathBuf,
}

/// What a list of runs shows.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    pub run: RunDir,
    pub id: String,
    pub phase: Phase,
    pub step: usize,
    pub steps: usize,
    /// Seconds since 1970.
    pub created: f64,
    pub message: Option<String>,
    /// `None` where `spec.toml` cannot be read.
    pub spec: Option<ExperimentSpec>,
    /// What is wrong with the run's files, if anything is.
    pub problem: Option<String>,
}

impl Store {
    /// `--runs-dir`, else `POLYMIX_RUNS`, else the user's data directory.
    ///
    /// # Errors
    /// Where the system names no data directory.
    pub fn open(chosen: Option<&Path>) -> Result<Self> {
        let root = match (chosen, std::env::var_os("POLYMIX_RUNS").filter(|v| !v.is_empty())) {
            (Some(path), _) => path.to_owned(),
            (None, Some(path)) => PathBuf::from(path),
            (None, None) => directories::ProjectDirs::from("", "", "polymix")
                .context("this system names no data directory; set --runs-dir or POLYMIX_RUNS")?
                .data_dir()
                .join("runs"),
        };
        Ok(Self { root })
    }

    /// Every run, newest first.
    #[must_use]
    pub fn list(&self) -> Vec<RunSummary> {
        let mut runs: Vec<RunSummary> = files::children(&self.root)
            .into_iter()
            .map(RunDir::new)
            .filter(RunDir::exists)
            .map(|run| RunSummary::read(&run))
            .collect();
        runs.sort_by(|a, b| b.created.total_cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        runs
    }

    /// A run by id, by a unique beginning of its id, by path, or `last`.
    ///
    /// # Errors
    /// Where none or several fit.
    pub fn find(&self, name: &str) -> Result<RunDir> {
        let as_path = RunDir::new(name);
        if as_path.exists() {
            return Ok(as_path);
        }
        let runs = self.list();
        if let Some(run) = runs.iter().find(|r| r.id == name) {
            return Ok(run.run.clone());
        }
        if let ("last", Some(run)) = (name, runs.first()) {
            return Ok(run.run.clone());
        }
        let fits: Vec<&RunSummary> =
            runs.iter().filter(|r| !name.is_empty() && r.id.starts_with(name)).collect();
        match fits.as_slice() {
            [one] => Ok(one.run.clone()),
            [] => bail!("run '{name}': no such run in {}; `polymix runs list` shows them", shown(&self.root)),
            many => bail!(
                "run '{name}': {} runs begin so ({}, ...); write more of the id",
                many.len(),
                many[0].id
            ),
        }
    }

    /// Creates a run directory with the spec and the state `queued`. The id is the spec's name and a number.
    ///
    /// # Errors
    /// Where the directory cannot be written; nothing is left behind then.
    pub fn create(&self, spec: &ExperimentSpec) -> Result<RunDir> {
        create_dir(&self.root)?;
        let stem: String = spec
            .name
            .chars()
            .map(|c| if c.is_whitespace() || "[]:*?\"<>|=".contains(c) { '-' } else { c })
            .collect();
        for number in 1..100_000 {
            let run = RunDir::new(self.root.join(format!("{stem}-{number:03}")));
            if run.path.symlink_metadata().is_ok() {
                continue;
            }
            match files::whole_dir(&run.path, |dir| Self::fill(&RunDir::new(dir), spec)) {
                Ok(()) => return Ok(run),
                // Somebody else was quicker.
                Err(_) if run.exists() => {}
                Err(error) => return Err(error),
            }
        }
        bail!("{}: 100,000 runs are called '{stem}'; give the spec another name", shown(&self.root))
    }

    /// Creates a run in a directory of the user's choice, which must be empty or absent.
    ///
    /// # Errors
    /// Where the directory holds something or cannot be written.
    pub fn create_at(path: &Path, spec: &ExperimentSpec) -> Result<RunDir> {
        let run = RunDir::new(path);
        if !path.exists() {
            files::whole_dir(path, |dir| Self::fill(&RunDir::new(dir), spec))?;
            return Ok(run);
        }
        // It may be the root of a file system, so that nothing can be renamed to it. The state alone is what a creation leaves
        // that was killed before it could write the spec.
        let is_free = files::children(path).iter().all(|file| file.ends_with("state.json"));
        ensure!(
            is_free,
            "{}: the run directory is not empty; choose another, or --resume to go on with it",
            shown(path)
        );
        Self::fill(&run, spec)?;
        Ok(run)
    }

    /// Creates a run under exactly this id, whole or not at all.
    ///
    /// # Errors
    /// Where the id is taken or the directory cannot be written.
    pub fn create_as(&self, id: &str, spec: &ExperimentSpec) -> Result<RunDir> {
        let run = RunDir::new(self.root.join(id));
        files::whole_dir(&run.path, |dir| Self::fill(&RunDir::new(dir), spec))?;
        Ok(run)
    }

    fn fill(run: &RunDir, spec: &ExperimentSpec) -> Result<()> {
        State::queued(spec.train.steps).write(&run.path)?;
        // It is resumed from wherever the user is then.
        run.write_spec(&spec.placed()?)
    }

    /// Removes a run of this store and all it holds, as one: nobody finds half of it, whatever happens meanwhile.
    ///
    /// # Errors
    /// Where it is not directly in this store, a worker is at it, or it cannot be removed.
    pub fn remove(&self, run: &RunDir) -> Result<()> {
        ensure!(run.exists(), "{}: not a run directory; nothing was removed", shown(&run.path));
        if let Ok(state) = run.state() {
            ensure!(
                !state.phase_now().is_active(),
                "run '{}' is {}: stop it first (polymix runs stop {})",
                run.id(),
                state.phase.word(),
                run.id()
            );
        }
        let whole =
            |path: &Path| path.canonicalize().with_context(|| format!("{}: cannot find", shown(path)));
        let place = whole(&run.path)?;
        let parent = place.parent().unwrap_or(Path::new("/"));
        ensure!(
            self.root.exists() && parent == whole(&self.root)?,
            "{}: not in the directory of runs {}, so it was not removed; `--runs-dir {}` says that it holds runs",
            shown(&place),
            shown(&self.root),
            shown(parent)
        );
        // Held while the directory goes, so that no worker begins with it. Without locks the state alone says.
        let lock = files::try_lock(&place.join("lock"));
        ensure!(
            !matches!(lock, Ok(None)),
            "run '{}': a worker has it (lock); stop it first (polymix runs stop {0})",
            run.id()
        );
        self.remove_remains();
        files::remove_dir(&place)
    }

    /// Takes away what killed processes left of runs that were being removed.
    fn remove_remains(&self) {
        for entry in std::fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') && name.rsplit('.').next() == Some("gone") {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}

impl RunSummary {
    /// Reads state and spec; what is broken shows as failed.
    #[must_use]
    pub fn read(run: &RunDir) -> Self {
        let (spec, mut problem) = match run.spec() {
            Ok(spec) => (Some(spec), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let state = run.state();
        let (phase, step, steps, created, message) = match state {
            Ok(s) => (s.phase_now(), s.step, s.steps, s.created, s.message),
            Err(e) => {
                let message = format!("{e:#}");
                problem.get_or_insert_with(|| message.clone());
                (Phase::Failed, 0, 0, now(), Some(message))
            }
        };
        let silent = || (phase == Phase::Stale).then(|| silent_end(run, step, spec.as_ref()));
        let message = message.or_else(|| problem.clone()).or_else(silent);
        Self { run: run.clone(), id: run.id(), phase, step, steps, created, message, spec, problem }
    }
}
