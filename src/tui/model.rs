//! What the workbench knows. Changed by `update` only, drawn by `view` only.

use std::path::PathBuf;
use std::sync::Arc;

use super::history::History;
use super::keys::{Action, Context};
use super::line::Line;
use super::marks::Tests;
use super::message::{Document, Effect, RunRow, SweepRow};
use super::scores::Scores;
use super::setup::Setup;
use super::shelf::Shelf;
use super::theme::{Name, Theme};
use crate::evaluate::QueryView;
use crate::report::figure::{Kind, Measure};
use crate::run::RunDir;

/// The six screens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Screen {
    Setup,
    Live,
    Heatmap,
    Bias,
    Tables,
    Runs,
}

impl Screen {
    pub const ALL: [Self; 6] = [Self::Setup, Self::Live, Self::Heatmap, Self::Bias, Self::Tables, Self::Runs];

    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Setup => "Setup",
            Self::Live => "Live",
            Self::Heatmap => "Heatmap",
            Self::Bias => "Bias",
            Self::Tables => "Tables",
            Self::Runs => "Runs",
        }
    }

    /// Panes that Tab walks through.
    #[must_use]
    pub const fn panes(self) -> usize {
        match self {
            Self::Setup | Self::Runs => 2,
            Self::Live => 5,
            Self::Heatmap | Self::Bias | Self::Tables => 1,
        }
    }
}

/// What lies over the screen.
#[derive(Clone, Debug, PartialEq)]
pub enum Overlay {
    Help { scroll: usize, line: Line },
    Prompt(Prompt),
    Confirm(Confirm),
    Pick(Pick),
}

/// A line that is being typed.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    pub purpose: Purpose,
    pub title: String,
    pub line: Line,
    /// What is wrong with it so far.
    pub error: Option<String>,
}

/// What a typed line is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Purpose {
    /// The filter of the present list.
    Filter,
    /// A field of the setup form.
    Field(usize),
    SaveSpec,
    /// Write this text to the typed path.
    Export(Document),
    /// Draw this figure of these runs to the typed path.
    Figure {
        kind: Kind,
        runs: Vec<RunDir>,
        measure: Measure,
    },
    /// Write all tables of this run into the typed folder.
    ExportAll(RunDir),
    /// Write the report of this run to the typed path.
    Report(RunDir),
}

/// A question with letters as answers; Esc is always no.
#[derive(Clone, Debug, PartialEq)]
pub struct Confirm {
    pub title: &'static str,
    pub text: String,
    pub choices: Vec<Choice>,
}

impl Confirm {
    /// True where the question is only whether a download may be left.
    #[must_use]
    pub fn is_about_download(&self) -> bool {
        self.choices.iter().any(|c| c.effects == [Effect::PauseFetch, Effect::Quit])
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    pub key: char,
    pub label: &'static str,
    pub effects: Vec<Effect>,
}

/// A list to choose from, narrowed by typing.
#[derive(Clone, Debug, PartialEq)]
pub struct Pick {
    pub kind: PickKind,
    pub title: &'static str,
    pub items: Vec<Item>,
    pub line: Line,
    pub cursor: usize,
}

/// What is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PickKind {
    Preset,
    Run,
    Difference,
    Evaluation,
    Sweep,
    Columns,
    Command,
}

/// A row of a [`Pick`].
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub label: String,
    /// Where several may be on.
    pub on: Option<bool>,
    /// Index in the list that the items were made of.
    pub index: usize,
}

impl Pick {
    /// The items that hold every typed word.
    #[must_use]
    pub fn visible(&self) -> Vec<&Item> {
        let typed = self.line.text.to_lowercase();
        let fits = |item: &&Item| {
            let label = item.label.to_lowercase();
            typed.split_whitespace().all(|word| label.contains(word))
        };
        self.items.iter().filter(fits).collect()
    }
}

/// The line below the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub text: String,
    pub is_error: bool,
}

/// Screen 6.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runs {
    pub rows: Vec<RunRow>,
    pub is_loaded: bool,
    pub cursor: usize,
    pub filter: String,
    pub sort: usize,
    pub is_reversed: bool,
    /// In the order of marking, which gives each its colour.
    pub marked: Vec<PathBuf>,
    /// Loss, scores, ratio or configuration.
    pub view: usize,
    /// Setting and metric of the ratio.
    pub measure: usize,
    /// Lines of scores or configuration above those that are shown.
    pub scroll: usize,
    /// Newest first.
    pub sweeps: Vec<SweepRow>,
    /// Id of the sweep that the list shows alone.
    pub sweep: Option<String>,
    /// The runs whose curves were asked for last.
    pub asked: Vec<PathBuf>,
}

/// What the x axis of screen 2 counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XAxis {
    #[default]
    Steps,
    /// Pairs drawn for each question id.
    Epochs,
    Seconds,
}

impl XAxis {
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Steps => Self::Epochs,
            Self::Epochs => Self::Seconds,
            Self::Seconds => Self::Steps,
        }
    }
}

/// Screen 2.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    pub history: History,
    /// What is drawn while frozen.
    pub frozen: Option<Box<History>>,
    pub is_log_scale: bool,
    pub x_axis: XAxis,
    /// Index of the step that is read out.
    pub cursor: Option<usize>,
    pub is_zoomed: bool,
    pub smoothing: f64,
    /// Lines from the end.
    pub log_scroll: usize,
    pub log_filter: String,
    /// End of the worker's own log.
    pub worker_log: Vec<String>,
    pub message: Option<String>,
}

impl Default for Live {
    fn default() -> Self {
        let smoothing = 0.9;
        Self {
            history: History::new(smoothing),
            frozen: None,
            is_log_scale: false,
            x_axis: XAxis::default(),
            cursor: None,
            is_zoomed: false,
            smoothing,
            log_scroll: 0,
            log_filter: String::new(),
            worker_log: Vec::new(),
            message: None,
        }
    }
}

impl Live {
    /// What is drawn.
    #[must_use]
    pub fn shown(&self) -> &History {
        self.frozen.as_deref().unwrap_or(&self.history)
    }
}

/// Order of the languages on the heatmap and the bias screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Code,
    Mean,
    Script,
    Family,
}

impl Order {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Mean => "mean",
            Self::Script => "script",
            Self::Family => "family",
        }
    }

    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Code => Self::Mean,
            Self::Mean => Self::Script,
            Self::Script => Self::Family,
            Self::Family => Self::Code,
        }
    }
}

/// The questions of a heatmap cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Questions {
    pub is_open: bool,
    pub all: Option<Arc<Vec<QueryView>>>,
    pub cursor: usize,
    pub is_best_first: bool,
    pub filter: String,
}

/// Screens 3 to 5: the chosen evaluation of the active run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Results {
    /// Directory of the chosen evaluation.
    pub dir: Option<PathBuf>,
    /// True where the user chose it; else the newest is followed.
    pub is_pinned: bool,
    pub scores: Option<Arc<Scores>>,
    pub error: Option<String>,
    /// Name and scores of the run to subtract; the directory while it is being read.
    pub other: Option<(String, Arc<Scores>)>,
    pub other_dir: Option<(String, PathBuf)>,
    /// Where the subtracted scores were read from; `None` for published numbers.
    pub other_path: Option<PathBuf>,
    pub tests: Tests,
    pub metric: usize,
    pub order: Order,
    /// Row and column on the heatmap.
    pub cursor: (usize, usize),
    pub questions: Questions,
    /// Measure on the bias screen.
    pub bias: usize,
    pub is_bias_by_value: bool,
    pub table: TableView,
}

/// Screen 5.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableView {
    /// Pairs, languages or macro means.
    pub kind: usize,
    pub cursor: (usize, usize),
    /// Column and direction.
    pub sort: Option<(usize, bool)>,
    pub filter: String,
    /// Hidden columns by kind and name.
    pub hidden: Vec<(usize, String)>,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct Model {
    pub screen: Screen,
    pub size: (u16, u16),
    /// Seconds since 1970, as last told.
    pub now: f64,
    pub theme: Theme,
    pub is_ascii: bool,
    pub has_mouse: bool,
    pub overlay: Option<Overlay>,
    pub status: Option<Status>,
    /// First of a double press.
    pub pending: Option<char>,
    pub pane: [usize; 6],
    pub is_maximised: bool,
    pub runs: Runs,
    /// The run that screens 2 to 5 show.
    pub active: Option<RunDir>,
    /// Started from this workbench.
    pub own: Vec<PathBuf>,
    pub setup: Setup,
    pub shelf: Shelf,
    pub live: Live,
    pub results: Results,
}

impl Model {
    #[must_use]
    pub fn new(theme: Name, is_ascii: bool, has_mouse: bool) -> Self {
        Self {
            screen: Screen::Setup,
            size: (80, 24),
            now: 0.0,
            theme: Theme::of(theme),
            is_ascii,
            has_mouse,
            overlay: None,
            status: None,
            pending: None,
            pane: [0; 6],
            is_maximised: false,
            runs: Runs::default(),
            active: None,
            own: Vec::new(),
            setup: Setup::default(),
            shelf: Shelf::default(),
            live: Live::default(),
            results: Results::default(),
        }
    }

    /// The focused pane of the present screen.
    #[must_use]
    pub fn focus(&self) -> usize {
        self.pane[self.screen as usize]
    }

    /// Where a key is looked up; `None` while a question waits for a letter.
    #[must_use]
    pub fn context(&self) -> Option<Context> {
        Some(match &self.overlay {
            Some(Overlay::Help { .. }) => Context::Help,
            Some(Overlay::Prompt(_)) => Context::Prompt,
            Some(Overlay::Pick(_)) => Context::Pick,
            Some(Overlay::Confirm(_)) => return None,
            None => self.screen_context(),
        })
    }

    /// The context without regard to what lies over the screen.
    #[must_use]
    pub fn screen_context(&self) -> Context {
        match self.screen {
            Screen::Setup if self.shelf.is_open => Context::Shelf,
            Screen::Setup => Context::Setup,
            Screen::Live => Context::Live,
            Screen::Heatmap if self.results.questions.is_open => Context::Questions,
            Screen::Heatmap => Context::Heatmap,
            Screen::Bias => Context::Bias,
            Screen::Tables => Context::Tables,
            Screen::Runs => Context::Runs,
        }
    }

    /// The row of the active run.
    #[must_use]
    pub fn active_row(&self) -> Option<&RunRow> {
        let active = self.active.as_ref()?;
        self.runs.rows.iter().find(|r| r.summary.run == *active)
    }

    /// The run that a key is about: under the cursor in the list, else the active one.
    #[must_use]
    pub fn target(&self) -> Option<&RunRow> {
        if self.screen == Screen::Runs { self.runs.under_cursor() } else { self.active_row() }
    }

    /// True where an action would do something now; the footer shows no other.
    #[must_use]
    pub fn offers(&self, action: Action) -> bool {
        let in_list = self.screen == Screen::Runs;
        let target = self.target();
        let has_scores = self.results.scores.is_some();
        match action {
            Action::NextPane => self.screen.panes() > 1,
            Action::Fetch | Action::Take => self.shelf.under_cursor().is_some(),
            Action::Stop => target.is_some_and(RunRow::is_active),
            Action::Resume => target.is_some_and(RunRow::can_resume),
            Action::Remove => target.is_some_and(|r| !r.is_active()),
            Action::Repeat | Action::Mark | Action::ChooseRun | Action::Report => target.is_some(),
            Action::Open if in_list => target.is_some(),
            Action::Open | Action::Write if self.screen == Screen::Setup => true,
            Action::Write if self.screen == Screen::Live => !self.live.history.points.is_empty(),
            Action::Write | Action::Sort | Action::View | Action::Filter if in_list => {
                !self.runs.rows.is_empty()
            }
            Action::Toggle => {
                matches!(&self.overlay, Some(Overlay::Pick(p)) if p.items.iter().any(|i| i.on.is_some()))
            }
            Action::Open | Action::Write | Action::Metric | Action::Columns | Action::ChooseEvaluation => {
                has_scores
            }
            Action::Smoother | Action::LogScale | Action::XAxis | Action::Zoom | Action::Freeze => {
                !self.live.history.points.is_empty()
            }
            Action::ChooseSweep => !self.runs.sweeps.is_empty(),
            Action::Sort | Action::View | Action::Baseline => has_scores,
            Action::Filter => has_scores || self.screen == Screen::Live,
            Action::Difference => has_scores && self.runs.rows.len() > 1,
            _ => true,
        }
    }

    pub fn say(&mut self, text: impl Into<String>) {
        self.status = Some(Status { text: text.into(), is_error: false });
    }

    pub fn complain(&mut self, text: impl Into<String>) {
        self.status = Some(Status { text: text.into(), is_error: true });
    }
}
