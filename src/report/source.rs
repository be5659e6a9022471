//! Where results come from: a run, one evaluation directory, or a directory of several.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::files::children;
use crate::run::sweep::{Standing, Sweep};
use crate::run::{RunDir, Store};
use crate::spec::ExperimentSpec;

/// A run, or evaluations without one.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it is called in tables.
    pub name: String,
    pub run: Option<RunDir>,
    /// The run's settings; `None` for evaluations without a run.
    pub spec: Option<ExperimentSpec>,
    /// By step, then by dataset.
    pub evaluations: Vec<Measured>,
}

/// One evaluation directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Training steps before it; `None` outside a run.
    pub step: Option<usize>,
    pub dataset: String,
    pub dir: PathBuf,
}

fn is_evaluation(dir: &Path) -> bool {
    dir.join("summary.json").is_file()
}

impl Source {
    /// A run with all its evaluations.
    ///
    /// # Errors
    /// Where the run's `spec.toml` is missing or broken.
    pub fn of_run(run: RunDir) -> Result<Self> {
        let evaluations = run
            .evaluations()
            .into_iter()
            .map(|(step, dataset, dir)| Measured { step: Some(step), dataset, dir })
            .collect();
        let spec = Some(run.spec()?);
        Ok(Self { name: run.id(), run: Some(run), spec, evaluations })
    }

    /// An evaluation directory, or a directory of such (as `polymix evaluate --out` writes it).
    ///
    /// # Errors
    /// Where it is neither.
    pub fn of_dir(dir: &Path) -> Result<Self> {
        let dirs = if is_evaluation(dir) {
            vec![dir.to_owned()]
        } else {
            children(dir).into_iter().filter(|d| is_evaluation(d)).collect()
        };
        ensure!(!dirs.is_empty(), "{}: no evaluation directory (none holds summary.json)", dir.display());
        let label =
            |dir: &Path| dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        // `<run>/evaluation/step-N/<dataset>`: the run knows the rest.
        let whole = |dir: &Path| dir.canonicalize().ok();
        if let ([one], Some(Some(run))) =
            (dirs.as_slice(), whole(&dirs[0]).map(|d| d.ancestors().nth(3).map(RunDir::new)))
            && run.exists()
        {
            let mut source = Self::of_run(run)?;
            source.evaluations.retain(|m| whole(&m.dir) == whole(one));
            if !source.evaluations.is_empty() {
                return Ok(source);
            }
        }
        let evaluations =
            dirs.into_iter().map(|dir| Measured { step: None, dataset: label(&dir), dir }).collect();
        Ok(Self { name: dir.display().to_string(), run: None, spec: None, evaluations })
    }

    /// What a user calls it: a run's id (or the beginning of one, or `last`), or a directory.
    ///
    /// # Errors
    /// Where nothing or several fit.
    pub fn find(name: &str, store: &Store) -> Result<Self> {
        let dir = Path::new(name);
        if is_evaluation(dir) {
            return Self::of_dir(dir);
        }
        match store.find(name) {
            Ok(run) => Self::of_run(run),
            Err(_) if dir.is_dir() => {
                Self::of_dir(dir).with_context(|| format!("{name}: neither a run nor an evaluation"))
            }
            Err(error) => Err(error),
        }
    }

    /// As [`Self::find`], and the runs of a sweep that are done.
    ///
    /// # Errors
    /// As [`Self::find`], and where no run of the sweep is done.
    pub fn find_all(name: &str, store: &Store) -> Result<Vec<Self>> {
        let no_run = match Self::find(name, store) {
            Ok(source) => return Ok(vec![source]),
            Err(error) => error,
        };
        let Ok(sweep) = Sweep::find(name, store) else {
            return Err(no_run.context(format!("'{name}': neither a run nor a sweep")));
        };
        let done: Vec<Self> = sweep
            .cells
            .iter()
            .map(|cell| sweep.run(cell))
            .filter(|run| Standing::of_run(run) == Standing::Done)
            .map(Self::of_run)
            .collect::<Result<_>>()?;
        ensure!(
            !done.is_empty(),
            "sweep '{}': no run is done yet; see `polymix sweep show {}`",
            sweep.id,
            sweep.id
        );
        Ok(done)
    }

    /// Keeps the evaluations of one step, of one dataset, or both.
    ///
    /// # Errors
    /// Where none is left; names what there is.
    pub fn only(mut self, step: Option<usize>, dataset: Option<&str>) -> Result<Self> {
        if step.is_none() && dataset.is_none() {
            return Ok(self);
        }
        let there: Vec<String> = self.evaluations.iter().map(Measured::label).collect();
        self.evaluations.retain(|m| {
            step.is_none_or(|step| m.step == Some(step)) && dataset.is_none_or(|d| m.dataset == d)
        });
        if self.evaluations.is_empty() {
            let step = step.map_or(String::new(), |s| format!(" after step {s}"));
            let dataset = dataset.map_or(String::new(), |d| format!(" on {d}"));
            bail!("'{}': no evaluation{dataset}{step}; there are: {}", self.name, there.join("; "));
        }
        Ok(self)
    }

    /// The last evaluation of each dataset.
    #[must_use]
    pub fn last(&self) -> Vec<&Measured> {
        let later = |m: &Measured| {
            self.evaluations.iter().any(|other| other.dataset == m.dataset && other.step > m.step)
        };
        self.evaluations.iter().filter(|m| !later(m)).collect()
    }

    /// The evaluations, of which there must be some.
    ///
    /// # Errors
    /// Where there is none yet.
    pub fn measured(&self) -> Result<&[Measured]> {
        ensure!(!self.evaluations.is_empty(), "'{}' has no evaluation yet", self.name);
        Ok(&self.evaluations)
    }

    /// The run's name in tables; `None` without a run.
    #[must_use]
    pub fn run_name(&self) -> Option<&str> {
        self.run.is_some().then_some(self.name.as_str())
    }

    /// The last evaluation, which must be on one dataset; `what` is what the format holds of it.
    ///
    /// # Errors
    /// Where there is none, or there are several datasets.
    pub fn one_dataset(&self, what: &str) -> Result<&Measured> {
        self.measured()?;
        let last = self.last();
        let [one] = last.as_slice() else {
            let names: Vec<&str> = last.iter().map(|m| m.dataset.as_str()).collect();
            bail!(
                "'{}': {what} holds one dataset; choose one with --dataset: {}",
                self.name,
                names.join(", ")
            );
        };
        Ok(one)
    }

    /// `run.trec.gz` or `qrels.trec.gz` of the last evaluation.
    ///
    /// # Errors
    /// As [`Self::one_dataset`], and where no run file was written.
    pub fn trec_file(&self, name: &str) -> Result<Vec<u8>> {
        let dir = &self.one_dataset("a TREC file")?.dir;
        let path = dir.join(name);
        if path.exists() {
            crate::evaluate::check_file(dir, name)?;
        }
        std::fs::read(&path).with_context(|| {
            format!("{}: no TREC run; it is written where evaluate.trec_depth is above 0", path.display())
        })
    }

    /// The same, unpacked.
    ///
    /// # Errors
    /// As [`Self::trec_file`], and where the file is broken.
    pub fn trec(&self, name: &str) -> Result<Vec<u8>> {
        let packed = self.trec_file(name)?;
        let mut lines = Vec::new();
        flate2::read::MultiGzDecoder::new(packed.as_slice())
            .read_to_end(&mut lines)
            .with_context(|| format!("'{}': {name} is damaged; evaluate again", self.name))?;
        Ok(lines)
    }
}

impl Measured {
    /// Dataset and step, for messages.
    #[must_use]
    pub fn label(&self) -> String {
        let step = self.step.map_or(String::new(), |s| format!(" after step {s}"));
        format!("{}{step}", self.dataset)
    }
}
