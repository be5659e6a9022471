//! What each action does on the screens.

use std::path::PathBuf;

use super::super::history::History;
use super::super::keys::Action;
use super::super::line::Line;
use super::super::message::Effect;
use super::super::model::{Choice, Confirm, Model, Overlay, Prompt, Purpose, Screen};
use super::super::runs::{COLUMNS, VIEWS};
use super::super::setup::FIELDS;
use super::super::table::{KINDS, Table};
use super::super::theme::Theme;
use super::{choose, export, open, results, setup, shelf};
use crate::corpus::catalogue::Form;
use crate::run::{Phase, RunDir};

/// Most runs that may be marked: there are as many colours.
const MARKS: usize = 8;

/// Does what a key means.
pub fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    match action {
        Action::Help => model.overlay = Some(Overlay::Help { scroll: 0, line: Line::default() }),
        Action::Palette => choose::command(model),
        Action::Back => back(model),
        Action::Quit => return quit(model),
        Action::Show(screen) => {
            model.screen = screen;
            model.is_maximised = false;
        }
        Action::NextPane => turn_pane(model, 1),
        Action::PreviousPane => turn_pane(model, model.screen.panes() - 1),
        Action::Maximise => model.is_maximised = !model.is_maximised && model.screen.panes() > 1,
        Action::Theme => {
            model.theme = Theme::of(model.theme.name.next());
            model.say(format!("theme: {}", model.theme.name.word()));
        }
        Action::Mouse => {
            model.has_mouse = !model.has_mouse;
            let on = if model.has_mouse { "on" } else { "off: the terminal selects text" };
            model.say(format!("mouse {on}"));
            return vec![Effect::Mouse(model.has_mouse)];
        }
        Action::Redraw => return vec![Effect::Redraw],
        Action::Suspend => return vec![Effect::Suspend],
        Action::Up | Action::Down | Action::PageUp | Action::PageDown | Action::Top | Action::Bottom => {
            go(model, action);
        }
        Action::Left | Action::Right => return sideways(model, action == Action::Right),
        Action::Open => return enter(model),
        Action::OpenLive | Action::OpenHeatmap => {
            if let Some(run) = model.runs.under_cursor().map(|r| r.summary.run.clone()) {
                model.screen = if action == Action::OpenLive { Screen::Live } else { Screen::Heatmap };
                return open(model, run);
            }
        }
        Action::PreviousRun | Action::NextRun => return neighbour(model, action == Action::NextRun),
        Action::ChooseRun => choose::run(model),
        Action::ChooseEvaluation => choose::evaluation(model),
        Action::ChooseSweep => choose::sweep(model),
        Action::Filter => ask_filter(model),
        Action::Write => export::write(model),
        Action::Figure => export::figure(model),
        Action::ExportAll => export::all(model),
        Action::Report => export::report(model),
        Action::Start => return setup::start(model),
        Action::Shelf => return shelf::open(model),
        Action::Fetch => return shelf::fetch(model),
        Action::Take => return shelf::take(model),
        Action::Mark => mark(model),
        Action::Stop => stop(model),
        Action::Resume => return resume(model),
        Action::Remove => remove(model),
        Action::Repeat => {
            if let Some(spec) = model.target().and_then(|r| r.summary.spec.clone()) {
                return setup::repeat(model, spec);
            }
            model.complain("no run whose spec can be read");
        }
        Action::Sort => sort(model),
        Action::Reverse => match model.screen {
            Screen::Runs => model.runs.is_reversed = !model.runs.is_reversed,
            _ => model.results.questions.is_best_first = !model.results.questions.is_best_first,
        },
        Action::Columns => choose::columns(model),
        Action::View => match model.screen {
            Screen::Runs => {
                model.runs.view = (model.runs.view + 1) % VIEWS.len();
                model.runs.scroll = 0;
            }
            Screen::Bias => model.results.bias = (model.results.bias + 1) % super::super::results::BIAS.len(),
            _ => {
                let table = &mut model.results.table;
                table.kind = (table.kind + 1) % KINDS.len();
                table.cursor = (0, 0);
                table.sort = None;
                table.filter.clear();
            }
        },
        Action::Metric | Action::PreviousMetric => {
            let count = model.results.scores.as_ref().map_or(0, |s| s.metrics().len());
            if count > 0 {
                let by = if action == Action::Metric { 1 } else { count - 1 };
                model.results.metric = (model.results.metric + by) % count;
            }
        }
        Action::Difference => return results::difference(model),
        Action::Baseline => return results::baseline(model),
        Action::LogScale => {
            let is_positive = model.live.shown().points.iter().any(|p| p.loss > 0.0);
            if is_positive || model.live.is_log_scale {
                model.live.is_log_scale = !model.live.is_log_scale;
            } else {
                model.complain("no logarithmic axis: there is no positive loss yet");
            }
        }
        Action::XAxis => model.live.x_axis = model.live.x_axis.next(),
        Action::Zoom => model.live.is_zoomed = !model.live.is_zoomed,
        Action::Freeze => {
            let frozen = model.live.frozen.take();
            if frozen.is_none() {
                model.live.frozen = Some(Box::new(model.live.history.clone()));
            }
        }
        Action::Smoother | Action::Rougher => {
            let by = if action == Action::Smoother { 0.05 } else { -0.05 };
            let smoothing = ((model.live.smoothing + by) * 100.0).round() / 100.0;
            model.live.smoothing = smoothing.clamp(0.0, 0.95);
            let smoothing = model.live.smoothing;
            model.live.history.resmooth(smoothing);
            if let Some(frozen) = &mut model.live.frozen {
                History::resmooth(frozen, smoothing);
            }
            model.say(format!("smoothing {smoothing:.2}"));
        }
        // These belong to lines and lists over the screen.
        Action::Accept
        | Action::Cancel
        | Action::Erase
        | Action::EraseWord
        | Action::EraseLine
        | Action::Delete
        | Action::LineStart
        | Action::LineEnd
        | Action::CursorLeft
        | Action::CursorRight
        | Action::Toggle => {}
    }
    Vec::new()
}

fn turn_pane(model: &mut Model, by: usize) {
    let pane = &mut model.pane[model.screen as usize];
    *pane = (*pane + by) % model.screen.panes();
}

fn back(model: &mut Model) {
    if model.screen == Screen::Setup && model.shelf.is_open {
        model.shelf.is_open = false;
    } else if model.screen == Screen::Heatmap && model.results.questions.is_open {
        model.results.questions.is_open = false;
    } else if model.is_maximised {
        model.is_maximised = false;
    } else if let Some(filter) = filter_of(model).filter(|f| !f.is_empty()) {
        filter.clear();
    } else if model.screen == Screen::Runs && model.runs.sweep.is_some() {
        model.runs.sweep = None;
    } else if model.live.frozen.is_some() && model.screen == Screen::Live {
        model.live.frozen = None;
    }
}

/// The filter of the present screen.
pub fn filter_of(model: &mut Model) -> Option<&mut String> {
    match model.screen {
        Screen::Runs => Some(&mut model.runs.filter),
        Screen::Tables => Some(&mut model.results.table.filter),
        Screen::Live => Some(&mut model.live.log_filter),
        Screen::Heatmap if model.results.questions.is_open => Some(&mut model.results.questions.filter),
        _ => None,
    }
}

fn ask_filter(model: &mut Model) {
    let Some(text) = filter_of(model).cloned() else { return };
    let line = Line::new(text);
    model.overlay =
        Some(Overlay::Prompt(Prompt { purpose: Purpose::Filter, title: "filter".into(), line, error: None }));
}

fn quit(model: &mut Model) -> Vec<Effect> {
    // A run whose worker is only starting may not be in the list yet.
    let is_over = |path: &PathBuf| {
        let row = model.runs.rows.iter().find(|r| r.summary.run.path == *path);
        row.is_some_and(|r| !r.is_active() && r.summary.phase != Phase::Queued)
    };
    let running: Vec<RunDir> =
        model.own.iter().filter(|path| !is_over(path)).map(|path| RunDir::new(path.clone())).collect();
    if running.is_empty() {
        let Some(transfer) = &model.shelf.transfer else { return vec![Effect::Quit] };
        let command = if transfer.form == Form::Model { "polymix model fetch" } else { "polymix data fetch" };
        model.overlay = Some(Overlay::Confirm(Confirm {
            title: "A download goes on",
            text: format!(
                "{} is at {:.0}%. Leaving pauses it: what came stays, and {command} {}, or Enter in the list of data and \
                 models, goes on from there.",
                transfer.name,
                100.0 * transfer.share(),
                transfer.name
            ),
            choices: vec![Choice {
                key: 'y',
                label: "pause it and quit",
                effects: vec![Effect::PauseFetch, Effect::Quit],
            }],
        }));
        return Vec::new();
    }
    let names: Vec<String> = running.iter().map(RunDir::id).collect();
    let download = model.shelf.transfer.as_ref().map_or(String::new(), |transfer| {
        format!(" The download of {} is paused; it goes on later from where it is.", transfer.name)
    });
    let mut stop: Vec<Effect> = running.into_iter().map(Effect::Stop).collect();
    stop.push(Effect::Quit);
    model.overlay = Some(Overlay::Confirm(Confirm {
        title: "Training goes on",
        text: format!("{} was started here and is still running.{download}", names.join(", ")),
        choices: vec![
            Choice { key: 'l', label: "leave it running and quit", effects: vec![Effect::Quit] },
            Choice { key: 's', label: "save a checkpoint, stop it, and quit", effects: stop },
        ],
    }));
    Vec::new()
}

fn stop(model: &mut Model) {
    match model.target().map(|r| (r.summary.clone(), r.is_active())) {
        Some((summary, true)) => {
            model.overlay = Some(Overlay::Confirm(Confirm {
                title: "Stop the run",
                text: format!("Save a checkpoint of {} and stop it? It can be resumed.", summary.id),
                choices: vec![Choice { key: 'y', label: "stop", effects: vec![Effect::Stop(summary.run)] }],
            }));
        }
        Some((summary, false)) => {
            model.complain(format!("{} is {}, not running", summary.id, summary.phase.word()));
        }
        None => model.complain("no run to stop"),
    }
}

fn resume(model: &mut Model) -> Vec<Effect> {
    match model.target().map(|r| (r.summary.clone(), r.can_resume())) {
        Some((summary, true)) => {
            model.own.push(summary.run.path.clone());
            vec![Effect::Resume(summary.run)]
        }
        Some((summary, false)) => {
            model.complain(format!("{} is {}: nothing to resume", summary.id, summary.phase.word()));
            Vec::new()
        }
        None => {
            model.complain("no run to resume");
            Vec::new()
        }
    }
}

fn remove(model: &mut Model) {
    match model.target().map(|r| (r.summary.clone(), r.is_active())) {
        Some((summary, false)) => {
            model.overlay = Some(Overlay::Confirm(Confirm {
                title: "Remove the run",
                text: format!("Remove {} with its model and all results? This cannot be undone.", summary.id),
                choices: vec![Choice {
                    key: 'y',
                    label: "remove",
                    effects: vec![Effect::Remove(summary.run)],
                }],
            }));
        }
        Some((summary, true)) => model.complain(format!("{} is running; stop it first", summary.id)),
        None => model.complain("no run to remove"),
    }
}

fn mark(model: &mut Model) {
    let Some(path) = model.runs.under_cursor().map(|r| r.summary.run.path.clone()) else { return };
    if let Some(at) = model.runs.marked.iter().position(|m| *m == path) {
        model.runs.marked.remove(at);
    } else if model.runs.marked.len() < MARKS {
        model.runs.marked.push(path);
    } else {
        model.complain(format!("{MARKS} runs are marked already"));
    }
}

fn sort(model: &mut Model) {
    match model.screen {
        Screen::Runs => {
            model.runs.sort = (model.runs.sort + 1) % COLUMNS.len();
            let by = if model.runs.sort == 0 { "newest first" } else { COLUMNS[model.runs.sort] };
            model.say(format!("sorted by {by}"));
        }
        Screen::Bias => model.results.is_bias_by_value = !model.results.is_bias_by_value,
        Screen::Tables => {
            let table = &mut model.results.table;
            let column = table.cursor.1;
            table.sort = match table.sort {
                Some((c, true)) if c == column => Some((c, false)),
                Some((c, false)) if c == column => None,
                _ => Some((column, true)),
            };
        }
        _ => {
            model.results.order = model.results.order.next();
            model.say(format!("languages by {}", model.results.order.word()));
        }
    }
}

/// Moves a position within `0..count`.
fn moved(at: usize, count: usize, action: Action) -> usize {
    let last = count.saturating_sub(1);
    let to = match action {
        Action::Up => at.saturating_sub(1),
        Action::Down => at.saturating_add(1),
        Action::PageUp => at.saturating_sub(10),
        Action::PageDown => at.saturating_add(10),
        Action::Top => 0,
        Action::Bottom => last,
        _ => at,
    };
    to.min(last)
}

fn go(model: &mut Model, action: Action) {
    let results = &mut model.results;
    match model.screen {
        Screen::Setup if model.shelf.is_open => {
            model.shelf.cursor = moved(model.shelf.cursor, model.shelf.rows().len(), action);
        }
        Screen::Setup if model.pane[Screen::Setup as usize] == 1 => {
            let lines = match &model.setup.preview {
                Some(Ok(plan)) => plan.batches.languages.len() + 40,
                _ => 0,
            };
            model.setup.scroll = moved(model.setup.scroll, lines, action);
        }
        Screen::Setup => model.setup.row = moved(model.setup.row, FIELDS.len(), action),
        Screen::Live => {
            // The log counts from its end.
            let lines = model.live.history.log.len() + model.live.worker_log.len();
            let turned = match action {
                Action::Up => Action::Down,
                Action::Down => Action::Up,
                Action::PageUp => Action::PageDown,
                Action::PageDown => Action::PageUp,
                Action::Top => Action::Bottom,
                _ => Action::Top,
            };
            model.live.log_scroll = moved(model.live.log_scroll, lines, turned);
        }
        Screen::Heatmap if results.questions.is_open => {
            let count = results.cell_questions().0.len();
            results.questions.cursor = moved(results.questions.cursor, count, action);
        }
        Screen::Heatmap => {
            let count = results.scores.as_ref().map_or(0, |s| s.languages.len());
            results.cursor.0 = moved(results.cursor.0, count, action);
        }
        Screen::Bias => {
            let count = results.scores.as_ref().map_or(0, |s| s.languages.len());
            results.cursor.0 = moved(results.cursor.0, count, action);
        }
        Screen::Tables => {
            let count = results.scores.as_ref().map_or(0, |s| Table::shown(&results.table, s).0.rows.len());
            results.table.cursor.0 = moved(results.table.cursor.0, count, action);
        }
        Screen::Runs if model.pane[Screen::Runs as usize] == 1 && model.runs.is_scrolled() => {
            model.runs.scroll =
                moved(model.runs.scroll, model.runs.config_differences().len().max(18), action);
        }
        Screen::Runs => {
            let count = model.runs.visible().0.len();
            model.runs.cursor = moved(model.runs.cursor, count, action);
        }
    }
}

fn sideways(model: &mut Model, is_right: bool) -> Vec<Effect> {
    let action = if is_right { Action::Down } else { Action::Up };
    let results = &mut model.results;
    match model.screen {
        Screen::Setup if model.shelf.is_open => {}
        Screen::Setup => return setup::nudge(model, is_right),
        Screen::Heatmap if !results.questions.is_open => {
            let count = results.scores.as_ref().map_or(0, |s| s.languages.len() + 1);
            results.cursor.1 = moved(results.cursor.1, count, action);
        }
        Screen::Tables => {
            let count =
                results.scores.as_ref().map_or(0, |s| Table::shown(&results.table, s).0.headings.len());
            results.table.cursor.1 = moved(results.table.cursor.1, count, action);
        }
        Screen::Runs if VIEWS[model.runs.view] == "ratio" => {
            let count = model.runs.measures().len();
            let by = if is_right { 1 } else { count - 1 };
            model.runs.measure = (model.runs.measure + by) % count;
        }
        _ => {}
    }
    Vec::new()
}

fn enter(model: &mut Model) -> Vec<Effect> {
    match model.screen {
        Screen::Setup if model.shelf.is_open => shelf::fetch(model),
        Screen::Setup => setup::enter(model),
        Screen::Heatmap => results::open_cell(model),
        Screen::Runs => {
            let Some(row) = model.runs.under_cursor() else { return Vec::new() };
            let (run, is_done) = (row.summary.run.clone(), !row.is_active() && !row.evaluations.is_empty());
            model.screen = if is_done { Screen::Heatmap } else { Screen::Live };
            open(model, run)
        }
        Screen::Live | Screen::Bias | Screen::Tables => Vec::new(),
    }
}

fn neighbour(model: &mut Model, is_next: bool) -> Vec<Effect> {
    let rows = &model.runs.rows;
    if rows.is_empty() {
        return Vec::new();
    }
    let at = model.active.as_ref().and_then(|a| rows.iter().position(|r| r.summary.run == *a));
    let at = at.map_or(0, |at| (at + if is_next { 1 } else { rows.len() - 1 }) % rows.len());
    let run = rows[at].summary.run.clone();
    open(model, run)
}
