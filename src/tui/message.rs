//! Everything that can happen to the workbench, and everything it can ask for.

use std::path::PathBuf;
use std::sync::Arc;

use crossterm::event::{KeyEvent, MouseEvent};

use super::marks::{Outcome, Pair};
use super::scores::Scores;
use super::shelf::Row;
use crate::corpus::catalogue::Form;
use crate::evaluate::QueryView;
use crate::report::figure::{Kind, Measure};
use crate::run::sweep::Overall;
use crate::run::{Estimate, Phase, Preview, RunDir, RunSummary, State};
use crate::spec::ExperimentSpec;
use crate::train::{Record, Score};

/// An evaluation of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvaluationRef {
    pub step: usize,
    pub dataset: String,
    pub dir: PathBuf,
}

/// What a screen writes into a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    pub text: String,
    /// Where its numbers come from; their protocols are written beside the file.
    pub evaluations: Vec<EvaluationRef>,
}

/// A run as the lists show it.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRow {
    pub summary: RunSummary,
    /// Smoothed loss of the last step.
    pub loss: Option<f64>,
    /// Headline scores of the newest evaluation.
    pub scores: Vec<Score>,
    /// Smoothed loss by step, thinned.
    pub curve: Arc<Vec<(f64, f64)>>,
    pub evaluations: Vec<EvaluationRef>,
}

impl RunRow {
    /// A macro mean of the newest evaluation.
    #[must_use]
    pub fn score(&self, setting: &str, metric: &str) -> Option<f64> {
        self.scores.iter().find(|s| s.setting == setting && s.metric == metric).map(|s| s.value)
    }

    /// True while a worker is at it.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.summary.phase.is_active()
    }

    /// True where `run::start` would go on with it.
    #[must_use]
    pub fn can_resume(&self) -> bool {
        matches!(self.summary.phase, Phase::Queued | Phase::Stopped | Phase::Failed | Phase::Stale)
    }
}

/// A sweep as the list of runs shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepRow {
    pub id: String,
    /// The runs of its cells, made or not.
    pub runs: Vec<PathBuf>,
    /// How many of them are done, running, failed and stopped, and the seconds to go.
    pub overall: Overall,
    /// Steps done of all steps, from 0 to 1.
    pub share: f64,
}

/// A spec that the setup screen offers.
#[derive(Clone, Debug, PartialEq)]
pub struct Preset {
    pub name: String,
    pub origin: String,
    /// The spec, or why it cannot be read.
    pub spec: Result<Box<ExperimentSpec>, String>,
}

/// What the setup screen knows about a spec that can start.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub batches: Preview,
    /// What `auto` came to.
    pub device: String,
    /// Memory and time.
    pub estimate: Estimate,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Message {
    Key(KeyEvent),
    Mouse(MouseEvent),
    Paste(String),
    Resize(u16, u16),
    /// A second has passed (sent only while something on the screen moves with time).
    Tick(f64),
    /// All runs, newest first, at this moment.
    Runs(f64, Vec<RunRow>),
    /// All sweeps, newest first.
    Sweeps(Vec<SweepRow>),
    Presets(Vec<Preset>),
    /// New records of the followed run; `reset` where they begin anew.
    Records {
        run: PathBuf,
        reset: bool,
        records: Vec<Record>,
        state: Option<State>,
        log: Vec<String>,
    },
    Preview {
        generation: u64,
        result: Result<Box<Plan>, String>,
    },
    /// Large data are read for a preview: texts so far, of about how many.
    Planning {
        generation: u64,
        done: usize,
        total: usize,
    },
    Scores {
        dir: PathBuf,
        result: Result<Arc<Scores>, String>,
    },
    /// A test of a pair of evaluations goes on.
    Testing {
        pair: Pair,
        metric: String,
        done: usize,
        total: usize,
    },
    Tested {
        pair: Pair,
        metric: String,
        result: Outcome,
    },
    Questions {
        dir: PathBuf,
        result: Result<Arc<Vec<QueryView>>, String>,
    },
    /// Data and models with what is on disk.
    Shelf(Result<Vec<Row>, String>),
    /// How far the download is, or why it takes longer.
    Fetching {
        file: String,
        done: u64,
        total: u64,
        note: Option<String>,
    },
    /// The download is done, or was paused, or failed.
    FetchEnded(Result<String, String>),
    /// A run was created and its worker started.
    Begun(RunDir),
    /// A worker that was started here ended.
    WorkerEnded(PathBuf),
    /// Something went well; for the status line.
    Done(String),
    /// Something failed; for the status line.
    Failed(String),
    /// The file to write exists.
    Exists {
        path: PathBuf,
        document: Document,
    },
    /// SIGTERM or SIGHUP: go without asking.
    Terminate,
}

/// What the workbench asks for; only the effect runner carries it out.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Preview {
        generation: u64,
        spec: Box<ExperimentSpec>,
    },
    /// Follow this run's events.
    Follow(Option<RunDir>),
    /// Read the whole loss curves of these runs.
    Compare(Vec<PathBuf>),
    /// Look at the runs now.
    Refresh,
    LoadPresets,
    /// Look at what of the catalogue is on disk.
    LoadShelf,
    /// Fetch an entry, in some languages or (none) all.
    Fetch {
        form: Form,
        name: String,
        languages: Vec<String>,
    },
    /// Pause the download.
    PauseFetch,
    Start(Box<ExperimentSpec>),
    Resume(RunDir),
    Stop(RunDir),
    Remove(RunDir),
    LoadScores(PathBuf),
    LoadQuestions(PathBuf),
    /// Test the differences of these evaluations in these metrics; whatever was being tested is given up.
    Test {
        pair: Pair,
        metrics: Vec<String>,
    },
    Write {
        path: PathBuf,
        document: Document,
        overwrite: bool,
    },
    /// A figure of these runs.
    Figure {
        kind: Kind,
        runs: Vec<RunDir>,
        measure: Measure,
        path: PathBuf,
    },
    /// The report of a run, in a file that is not there yet.
    Report {
        run: RunDir,
        path: PathBuf,
    },
    /// All tables of a run as CSV files in a folder.
    ExportAll {
        run: RunDir,
        folder: PathBuf,
    },
    Mouse(bool),
    Redraw,
    Suspend,
    Quit,
}
