//! The one table of keys. Dispatch, the footer, `?` help and the command palette all read it.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::Screen;

/// A key as the table names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Press {
    Char(char),
    Ctrl(char),
    Code(KeyCode),
    /// The same letter twice.
    Twice(char),
}

/// Where a binding holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Context {
    /// On every screen, where no text is typed.
    Global,
    Setup,
    /// The list of data and models over the setup screen.
    Shelf,
    Live,
    Heatmap,
    Questions,
    Bias,
    Tables,
    Runs,
    /// While a line of text is typed.
    Prompt,
    /// While a list to choose from is open.
    Pick,
    /// While the help is open.
    Help,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Help,
    Palette,
    Back,
    Quit,
    Show(Screen),
    NextPane,
    PreviousPane,
    Maximise,
    Theme,
    Mouse,
    Redraw,
    Suspend,
    Up,
    Down,
    Left,
    Right,
    Top,
    Bottom,
    PageUp,
    PageDown,
    Open,
    OpenLive,
    OpenHeatmap,
    Filter,
    Mark,
    PreviousRun,
    NextRun,
    ChooseRun,
    ChooseEvaluation,
    ChooseSweep,
    Write,
    ExportAll,
    Figure,
    Report,
    Start,
    Stop,
    Resume,
    Remove,
    Repeat,
    Sort,
    Reverse,
    Columns,
    View,
    Metric,
    PreviousMetric,
    Difference,
    Baseline,
    LogScale,
    XAxis,
    Zoom,
    Freeze,
    Smoother,
    Rougher,
    Accept,
    Cancel,
    Erase,
    EraseWord,
    EraseLine,
    Delete,
    LineStart,
    LineEnd,
    CursorLeft,
    CursorRight,
    Toggle,
    Shelf,
    Fetch,
    Take,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    pub presses: &'static [Press],
    pub action: Action,
    pub context: Context,
    /// One line for the help; never empty.
    pub description: &'static str,
    /// A word or two for the footer; empty: not in the footer.
    pub short: &'static str,
}

use Context as C;
use KeyCode as K;
use Press::{Char, Code, Ctrl, Twice};

const fn b(
    context: Context,
    presses: &'static [Press],
    action: Action,
    short: &'static str,
    description: &'static str,
) -> Binding {
    Binding { presses, action, context, description, short }
}

/// Every key.
pub const BINDINGS: &[Binding] = &[
    b(
        C::Setup,
        &[Code(K::Enter)],
        Action::Open,
        "edit",
        "Edit the field; load the preset; start on the last row",
    ),
    b(C::Setup, &[Char('s')], Action::Start, "start", "Start training with this spec"),
    b(C::Setup, &[Char('w')], Action::Write, "save", "Save the spec as TOML"),
    b(C::Setup, &[Char('d')], Action::Shelf, "data", "Data and models: what is on disk, and fetching them"),
    b(
        C::Shelf,
        &[Code(K::Enter), Char('f')],
        Action::Fetch,
        "fetch, pause",
        "Fetch the entry; pause it; go on with it",
    ),
    b(C::Shelf, &[Char('u')], Action::Take, "use", "Take the entry into the form"),
    b(C::Shelf, &[Char('d')], Action::Back, "close", "Close the list; a download goes on"),
    b(C::Live, &[Char('x')], Action::Stop, "stop", "Save a checkpoint and stop (asks first)"),
    b(C::Live, &[Char('r')], Action::Resume, "resume", "Go on from the newest checkpoint"),
    b(C::Live, &[Char('o')], Action::ChooseRun, "run", "Choose the run to watch"),
    b(C::Live, &[Char('+'), Char('=')], Action::Smoother, "smooth", "Smooth the bright line more"),
    b(C::Live, &[Char('-')], Action::Rougher, "", "Smooth the bright line less"),
    b(C::Live, &[Char('y')], Action::LogScale, "log", "Logarithmic or linear y axis"),
    b(C::Live, &[Char('t')], Action::XAxis, "x axis", "x axis: steps, epochs or training time"),
    b(C::Live, &[Char('z')], Action::Zoom, "zoom", "Whole history or a recent window"),
    b(C::Live, &[Char('f')], Action::Freeze, "freeze", "Pause drawing; training goes on"),
    b(C::Live, &[Char('/')], Action::Filter, "", "Filter the log"),
    b(C::Live, &[Char('w')], Action::Write, "export", "Export every step of the run as CSV"),
    b(C::Heatmap, &[Code(K::Enter)], Action::Open, "questions", "Questions of this cell, worst first"),
    b(C::Heatmap, &[Char('m')], Action::Metric, "metric", "Next metric"),
    b(C::Heatmap, &[Char('p')], Action::PreviousMetric, "", "Previous metric"),
    b(C::Heatmap, &[Char('s')], Action::Sort, "sort", "Order by code, mean, script or family"),
    b(C::Heatmap, &[Char('d')], Action::Difference, "difference", "Difference to another run (again: off)"),
    b(
        C::Heatmap,
        &[Char('b')],
        Action::Baseline,
        "baseline",
        "Next difference: the paper's numbers by sampling, each other run, off",
    ),
    b(C::Heatmap, &[Char('e')], Action::ChooseEvaluation, "evaluation", "Choose step and dataset"),
    b(C::Heatmap, &[Char('o')], Action::ChooseRun, "run", "Choose the run"),
    b(C::Heatmap, &[Char('w')], Action::Write, "export", "Export exactly what is shown as CSV"),
    b(C::Questions, &[Char('/')], Action::Filter, "filter", "Filter the questions"),
    b(C::Questions, &[Char('s')], Action::Reverse, "order", "Worst first or best first"),
    b(C::Bias, &[Char('v')], Action::View, "view", "Next measure of language bias"),
    b(C::Bias, &[Char('s')], Action::Sort, "sort", "Order by code or by value"),
    b(C::Bias, &[Char('e')], Action::ChooseEvaluation, "evaluation", "Choose step and dataset"),
    b(C::Bias, &[Char('o')], Action::ChooseRun, "run", "Choose the run"),
    b(C::Bias, &[Char('w')], Action::Write, "export", "Export exactly what is shown as CSV"),
    b(
        C::Tables,
        &[Char('v')],
        Action::View,
        "view",
        "Pairs, languages, means, scripts and families, first passages, fairness, paper",
    ),
    b(C::Tables, &[Char('s'), Code(K::Enter)], Action::Sort, "sort", "Sort by this column (again: reverse)"),
    b(
        C::Tables,
        &[Char('/')],
        Action::Filter,
        "filter",
        "Filter: words, !word, ~regex, column:text, column>0.5",
    ),
    b(C::Tables, &[Char('c')], Action::Columns, "columns", "Choose columns"),
    b(C::Tables, &[Char('w')], Action::Write, "export", "Export exactly what is shown as CSV"),
    b(C::Tables, &[Char('e')], Action::ChooseEvaluation, "evaluation", "Choose step and dataset"),
    b(C::Tables, &[Char('o')], Action::ChooseRun, "run", "Choose the run"),
    b(C::Runs, &[Code(K::Enter)], Action::Open, "open", "Open: live if it trains, else its heatmap"),
    b(C::Runs, &[Char('o')], Action::OpenLive, "", "Open the run in Live"),
    b(C::Runs, &[Char('m')], Action::OpenHeatmap, "", "Open the run in Heatmap"),
    b(C::Runs, &[Char(' ')], Action::Mark, "mark", "Mark for overlay and comparison"),
    b(
        C::Runs,
        &[Char('/')],
        Action::Filter,
        "filter",
        "Filter: words, !word, ~regex, column:text, column>0.5",
    ),
    b(
        C::Runs,
        &[Char('e')],
        Action::ChooseSweep,
        "sweep",
        "Choose a sweep: only its runs, and how far it is",
    ),
    b(C::Runs, &[Char('s')], Action::Sort, "sort", "Sort by the next column"),
    b(C::Runs, &[Char('S')], Action::Reverse, "", "Reverse the order"),
    b(
        C::Runs,
        &[Char('v')],
        Action::View,
        "compare",
        "Loss overlay, macro means, ratio (left, right: measure) or configuration",
    ),
    b(C::Runs, &[Char('x')], Action::Stop, "stop", "Save a checkpoint and stop (asks first)"),
    b(C::Runs, &[Char('r')], Action::Resume, "resume", "Go on from the newest checkpoint"),
    b(C::Runs, &[Char('R')], Action::Repeat, "repeat", "Load the run's spec into Setup"),
    b(C::Runs, &[Char('D')], Action::Remove, "remove", "Remove the run and all it holds (asks first)"),
    b(C::Runs, &[Char('p')], Action::Report, "report", "Write a report of the run (HTML or Markdown)"),
    b(C::Runs, &[Char('w')], Action::Write, "export", "Export exactly what is shown as CSV"),
    b(
        C::Global,
        &[Char('?'), Code(K::F(1))],
        Action::Help,
        "help",
        "Help for this screen; type to narrow it",
    ),
    b(C::Global, &[Char(':'), Ctrl('p')], Action::Palette, "", "All commands, searchable"),
    b(C::Global, &[Char('q')], Action::Quit, "quit", "Quit; asks where training started here goes on"),
    b(
        C::Global,
        &[Code(K::Esc), Code(K::Backspace)],
        Action::Back,
        "",
        "Back: close what is open, clear the filter",
    ),
    b(C::Global, &[Char('1')], Action::Show(Screen::Setup), "", "Setup"),
    b(C::Global, &[Char('2')], Action::Show(Screen::Live), "", "Live"),
    b(C::Global, &[Char('3')], Action::Show(Screen::Heatmap), "", "Heatmap"),
    b(C::Global, &[Char('4')], Action::Show(Screen::Bias), "", "Language bias"),
    b(C::Global, &[Char('5')], Action::Show(Screen::Tables), "", "Tables"),
    b(C::Global, &[Char('6')], Action::Show(Screen::Runs), "", "Runs and comparison"),
    b(C::Global, &[Code(K::Tab)], Action::NextPane, "pane", "Next pane"),
    b(C::Global, &[Code(K::BackTab)], Action::PreviousPane, "", "Previous pane"),
    b(C::Global, &[Char('Z')], Action::Maximise, "", "The focused pane alone, or all panes"),
    b(C::Global, &[Char('k'), Code(K::Up), Char('N')], Action::Up, "", "Up; the match before"),
    b(C::Global, &[Char('j'), Code(K::Down), Char('n')], Action::Down, "", "Down; the next match"),
    b(C::Global, &[Char('h'), Code(K::Left)], Action::Left, "", "Left, less"),
    b(C::Global, &[Char('l'), Code(K::Right)], Action::Right, "", "Right, more"),
    b(C::Global, &[Twice('g'), Code(K::Home)], Action::Top, "", "To the beginning"),
    b(C::Global, &[Char('G'), Code(K::End)], Action::Bottom, "", "To the end"),
    b(C::Global, &[Code(K::PageUp), Ctrl('u')], Action::PageUp, "", "A page up"),
    b(C::Global, &[Code(K::PageDown), Ctrl('d')], Action::PageDown, "", "A page down"),
    b(C::Global, &[Char('[')], Action::PreviousRun, "", "The run before this one"),
    b(C::Global, &[Char(']')], Action::NextRun, "", "The run after this one"),
    b(C::Global, &[Char('E')], Action::ExportAll, "", "Export all tables of the run as CSV into a folder"),
    b(
        C::Global,
        &[Char('F')],
        Action::Figure,
        "",
        "Draw what the screen shows as a figure for a paper (SVG or PNG)",
    ),
    b(C::Global, &[Char('T')], Action::Theme, "", "Theme: dark, light, colour-blind, mono"),
    b(C::Global, &[Char('M')], Action::Mouse, "", "Mouse on or off (off: the terminal selects text)"),
    b(C::Global, &[Ctrl('l')], Action::Redraw, "", "Draw everything anew"),
    b(C::Global, &[Ctrl('z')], Action::Suspend, "", "Suspend; fg comes back"),
    b(C::Global, &[Ctrl('c')], Action::Quit, "", "Quit"),
    b(C::Prompt, &[Code(K::Enter)], Action::Accept, "accept", "Accept"),
    b(C::Prompt, &[Code(K::Esc), Ctrl('c')], Action::Cancel, "cancel", "Cancel"),
    b(C::Prompt, &[Code(K::Backspace), Ctrl('h')], Action::Erase, "", "Erase the character before"),
    b(C::Prompt, &[Code(K::Delete)], Action::Delete, "", "Erase the character under the cursor"),
    b(C::Prompt, &[Ctrl('w')], Action::EraseWord, "", "Erase the word before"),
    b(C::Prompt, &[Ctrl('u')], Action::EraseLine, "clear", "Erase the line"),
    b(C::Prompt, &[Code(K::Left)], Action::CursorLeft, "", "Left"),
    b(C::Prompt, &[Code(K::Right)], Action::CursorRight, "", "Right"),
    b(C::Prompt, &[Code(K::Home), Ctrl('a')], Action::LineStart, "", "To the beginning"),
    b(C::Prompt, &[Code(K::End), Ctrl('e')], Action::LineEnd, "", "To the end"),
    b(C::Pick, &[Code(K::Enter)], Action::Accept, "choose", "Choose"),
    b(C::Pick, &[Code(K::Esc), Ctrl('c')], Action::Cancel, "close", "Close"),
    b(C::Pick, &[Code(K::Up), Ctrl('k')], Action::Up, "", "Up"),
    b(C::Pick, &[Code(K::Down), Ctrl('j'), Ctrl('n')], Action::Down, "", "Down"),
    b(C::Pick, &[Code(K::PageUp)], Action::PageUp, "", "A page up"),
    b(C::Pick, &[Code(K::PageDown)], Action::PageDown, "", "A page down"),
    b(C::Pick, &[Code(K::Tab)], Action::Toggle, "on/off", "Switch on or off"),
    b(C::Pick, &[Code(K::Backspace)], Action::Erase, "", "Erase"),
    b(C::Help, &[Code(K::Esc), Code(K::Enter), Code(K::F(1)), Ctrl('c')], Action::Cancel, "close", "Close"),
    b(C::Help, &[Code(K::Up), Ctrl('k')], Action::Up, "", "Up"),
    b(C::Help, &[Code(K::Down), Ctrl('j'), Ctrl('n')], Action::Down, "scroll", "Down"),
    b(C::Help, &[Code(K::PageUp)], Action::PageUp, "", "A page up"),
    b(C::Help, &[Code(K::PageDown)], Action::PageDown, "", "A page down"),
    b(C::Help, &[Code(K::Backspace)], Action::Erase, "", "Erase"),
];

impl Press {
    /// The press of a terminal's key event; `None` for what the table cannot name.
    #[must_use]
    pub fn of(event: KeyEvent) -> Option<Self> {
        match event.code {
            K::Char(c) if event.modifiers.contains(KeyModifiers::CONTROL) => {
                Some(Ctrl(c.to_ascii_lowercase()))
            }
            K::Char(c) if !event.modifiers.intersects(KeyModifiers::ALT | KeyModifiers::SUPER) => {
                Some(Char(c))
            }
            K::Char(_) | K::Null => None,
            code => Some(Code(code)),
        }
    }

    /// As help and footer show it.
    #[must_use]
    pub fn shown(self) -> String {
        match self {
            Char(' ') => "space".into(),
            Char(c) => c.to_string(),
            Ctrl(c) => format!("^{}", c.to_ascii_uppercase()),
            Twice(c) => format!("{c}{c}"),
            Code(code) => match code {
                K::Enter => "Enter".into(),
                K::Esc => "Esc".into(),
                K::BackTab => "Shift-Tab".into(),
                K::PageUp => "PgUp".into(),
                K::PageDown => "PgDn".into(),
                K::Delete => "Del".into(),
                K::F(n) => format!("F{n}"),
                other => format!("{other:?}"),
            },
        }
    }
}

/// The bindings of a context in the table's order.
pub fn of(context: Context) -> impl Iterator<Item = &'static Binding> {
    BINDINGS.iter().filter(move |b| b.context == context)
}

/// What a press does in a context; screens fall back on the global keys.
#[must_use]
pub fn lookup(context: Context, press: Press) -> Option<Action> {
    let modal = matches!(context, C::Prompt | C::Pick | C::Help);
    let find = |context| of(context).find(|b| b.presses.contains(&press)).map(|b| b.action);
    find(context).or_else(|| if modal { None } else { find(C::Global) })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fmt::Write;
    use std::path::Path;

    use super::*;

    const SCREENS: [Context; 8] =
        [C::Setup, C::Shelf, C::Live, C::Heatmap, C::Questions, C::Bias, C::Tables, C::Runs];

    #[test]
    fn no_two_bindings_clash() {
        for context in SCREENS.into_iter().chain([C::Prompt, C::Pick, C::Help]) {
            let mut seen = HashSet::new();
            let global = SCREENS.contains(&context).then_some(C::Global);
            for binding in of(context).chain(global.into_iter().flat_map(of)) {
                for press in binding.presses {
                    assert!(seen.insert(*press), "{context:?}: {press:?} is bound twice");
                    if let Twice(c) = press {
                        assert!(seen.insert(Char(*c)), "{context:?}: {c} alone hides {c}{c}");
                    }
                }
            }
        }
    }

    /// The README's table of keys.
    fn table() -> String {
        let mut table = String::from("| where | key | what it does |\n| --- | --- | --- |\n");
        let contexts = [(C::Global, "everywhere")].into_iter().chain(SCREENS.map(|c| (c, "")));
        for (context, name) in contexts {
            let name = if name.is_empty() { format!("{context:?}") } else { name.to_owned() };
            for binding in of(context) {
                let keys: Vec<String> = binding.presses.iter().map(|p| format!("`{}`", p.shown())).collect();
                writeln!(table, "| {name} | {} | {} |", keys.join(" "), binding.description)
                    .expect("a string");
            }
        }
        table
    }

    const BEGIN: &str = "<!-- keys: cargo test --release --lib keys -- --ignored write -->\n";
    const END: &str = "<!-- end of keys -->";

    fn readme() -> (std::path::PathBuf, String) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let text = std::fs::read_to_string(&path).expect("README.md");
        (path, text)
    }

    #[test]
    fn the_readme_lists_every_key() {
        let (_, text) = readme();
        let listed = text.split(BEGIN).nth(1).and_then(|t| t.split(END).next()).expect("the markers");
        assert_eq!(listed, table(), "run: cargo test --release --lib keys -- --ignored write");
    }

    #[test]
    #[ignore = "writes the README's table"]
    fn write() {
        let (path, text) = readme();
        let (before, rest) = text.split_once(BEGIN).expect("the first marker");
        let (_, after) = rest.split_once(END).expect("the second marker");
        crate::files::replace(&path, format!("{before}{BEGIN}{}{END}{after}", table()).as_bytes())
            .expect("written");
    }

    #[test]
    fn every_binding_has_a_key_and_a_description() {
        for binding in BINDINGS {
            assert!(!binding.description.is_empty() && !binding.presses.is_empty(), "{binding:?}");
            assert!(binding.presses.iter().all(|p| !p.shown().is_empty()));
        }
    }

    #[test]
    fn typing_never_reaches_the_screens() {
        assert_eq!(lookup(C::Prompt, Char('q')), None);
        assert_eq!(lookup(C::Live, Char('q')), Some(Action::Quit));
        assert_eq!(lookup(C::Live, Char('x')), Some(Action::Stop));
        assert_eq!(lookup(C::Setup, Char('x')), None);
    }
}
