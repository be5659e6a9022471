//! `update`: the only place where the model changes. It does no work that takes time; that is what effects are for.

mod act;
mod choose;
mod export;
mod overlay;
mod results;
mod setup;
mod shelf;

use crossterm::event::{KeyEvent, KeyEventKind, MouseButton, MouseEvent, MouseEventKind};

use super::history::History;
use super::keys::{self, Action, Press};
use super::marks;
use super::message::{Effect, Message};
use super::model::{Choice, Confirm, Live, Model, Overlay, Screen};
use super::view::Hit;
use crate::run::RunDir;

/// Takes a message in and says what is to be done.
pub fn update(model: &mut Model, message: Message) -> Vec<Effect> {
    let mut effects = take(model, message);
    let compared: Vec<_> = if model.screen == Screen::Runs {
        model.runs.compared().iter().map(|r| r.summary.run.path.clone()).collect()
    } else {
        model.runs.marked.clone()
    };
    if compared != model.runs.asked {
        model.runs.asked.clone_from(&compared);
        effects.push(Effect::Compare(compared));
    }
    effects.extend(marks::ask(model));
    effects
}

fn take(model: &mut Model, message: Message) -> Vec<Effect> {
    match message {
        Message::Key(key) if key.kind != KeyEventKind::Release => key_pressed(model, key),
        Message::Key(_) => Vec::new(),
        Message::Mouse(mouse) => clicked(model, mouse),
        Message::Paste(text) => overlay::paste(model, &text),
        Message::Resize(columns, rows) => {
            model.size = (columns, rows);
            Vec::new()
        }
        Message::Tick(now) => {
            model.now = now;
            Vec::new()
        }
        Message::Runs(now, rows) => {
            model.now = now;
            let under = model.runs.under_cursor().map(|r| r.summary.run.clone());
            model.runs.rows = rows;
            model.runs.is_loaded = true;
            let visible = model.runs.visible().0;
            let kept = under.and_then(|run| visible.iter().position(|r| r.summary.run == run));
            model.runs.cursor = kept.unwrap_or(model.runs.cursor).min(visible.len().saturating_sub(1));
            match (&model.active, model.runs.rows.first()) {
                (None, Some(first)) => {
                    let run = first.summary.run.clone();
                    open(model, run)
                }
                _ => results::follow_newest(model),
            }
        }
        Message::Sweeps(sweeps) => {
            model.runs.sweeps = sweeps;
            if model.runs.chosen_sweep().is_none() {
                model.runs.sweep = None;
            }
            Vec::new()
        }
        Message::Presets(presets) => setup::presets_arrived(model, presets),
        Message::Records { run, reset, records, state, log } => {
            if model.active.as_ref().is_none_or(|a| a.path != run) {
                return Vec::new();
            }
            if reset {
                model.live.history = History::new(model.live.smoothing);
            }
            for record in records {
                model.live.history.add(record);
            }
            if let Some(state) = state {
                model.live.message = state.message;
            }
            if !log.is_empty() {
                model.live.worker_log = log;
            }
            Vec::new()
        }
        Message::Preview { generation, result } => {
            if generation == model.setup.generation {
                model.setup.preview = Some(result);
                model.setup.scroll = 0;
            }
            Vec::new()
        }
        Message::Planning { generation, done, total } => {
            if generation == model.setup.generation {
                model.setup.reading = Some((done, total));
            }
            Vec::new()
        }
        Message::Scores { dir, result } => {
            results::scores_arrived(model, &dir, result);
            Vec::new()
        }
        Message::Testing { pair, metric, done, total } => {
            model.results.tests.goes_on(&pair, metric, done, total);
            Vec::new()
        }
        Message::Tested { pair, metric, result } => {
            model.results.tests.arrived(pair, metric, result);
            Vec::new()
        }
        Message::Questions { dir, result } => {
            results::questions_arrived(model, &dir, result);
            Vec::new()
        }
        Message::Shelf(rows) => {
            shelf::arrived(model, rows);
            Vec::new()
        }
        Message::Fetching { file, done, total, note } => {
            shelf::progress(model, file, done, total, note);
            Vec::new()
        }
        Message::FetchEnded(result) => shelf::ended(model, result),
        Message::Begun(run) => {
            model.own.push(run.path.clone());
            model.say(format!("{} started; it goes on when the workbench is closed", run.id()));
            model.screen = Screen::Live;
            let mut effects = open(model, run);
            effects.push(Effect::Refresh);
            effects
        }
        Message::WorkerEnded(run) => {
            model.own.retain(|own| *own != run);
            vec![Effect::Refresh]
        }
        Message::Done(text) => {
            model.say(text);
            vec![Effect::Refresh]
        }
        Message::Failed(text) => {
            model.complain(text);
            vec![Effect::Refresh]
        }
        Message::Exists { path, document } => {
            let effects = vec![Effect::Write { path: path.clone(), document, overwrite: true }];
            model.overlay = Some(Overlay::Confirm(Confirm {
                title: "The file exists",
                text: format!("Replace {}?", path.display()),
                choices: vec![Choice { key: 'y', label: "replace it", effects }],
            }));
            Vec::new()
        }
        Message::Terminate => vec![Effect::Quit],
    }
}

/// Makes a run the one that screens 2 to 5 show.
fn open(model: &mut Model, run: RunDir) -> Vec<Effect> {
    let mut effects = Vec::new();
    if model.active.as_ref() != Some(&run) {
        let old = std::mem::take(&mut model.live);
        model.live = Live {
            history: History::new(old.smoothing),
            is_log_scale: old.is_log_scale,
            x_axis: old.x_axis,
            is_zoomed: old.is_zoomed,
            smoothing: old.smoothing,
            ..Live::default()
        };
        model.results.is_pinned = false;
        model.results.questions.is_open = false;
        model.active = Some(run.clone());
        effects.push(Effect::Follow(Some(run)));
    }
    effects.extend(results::follow_newest(model));
    effects
}

fn key_pressed(model: &mut Model, key: KeyEvent) -> Vec<Effect> {
    let Some(press) = Press::of(key) else { return Vec::new() };
    model.status = None;
    let Some(context) = model.context() else { return overlay::answered(model, press) };
    if let Press::Char(c) = press
        && model.overlay.is_none()
    {
        let first = model.pending.take();
        if keys::lookup(context, Press::Twice(c)).is_some() {
            if first != Some(c) {
                model.pending = Some(c);
                return Vec::new();
            }
            return keys::lookup(context, Press::Twice(c)).map_or_else(Vec::new, |a| act::act(model, a));
        }
    } else {
        model.pending = None;
    }
    match keys::lookup(context, press) {
        Some(action) if model.overlay.is_some() => overlay::act(model, action),
        Some(action) => act::act(model, action),
        None => overlay::typed(model, press),
    }
}

/// The wheel scrolls; a click chooses, a click on what is chosen opens.
fn clicked(model: &mut Model, mouse: MouseEvent) -> Vec<Effect> {
    let action = match mouse.kind {
        MouseEventKind::ScrollUp => Action::Up,
        MouseEventKind::ScrollDown => Action::Down,
        MouseEventKind::Down(MouseButton::Left) if model.overlay.is_none() => {
            let opens = match super::view::hit(model, mouse.column, mouse.row) {
                Some(Hit::Tab(screen)) => return act::act(model, Action::Show(screen)),
                Some(Hit::Field(row)) => std::mem::replace(&mut model.setup.row, row) == row,
                Some(Hit::Cell(row, column)) => {
                    std::mem::replace(&mut model.results.cursor, (row, column)) == (row, column)
                }
                Some(Hit::Run(row)) => std::mem::replace(&mut model.runs.cursor, row) == row,
                None => false,
            };
            return if opens { act::act(model, Action::Open) } else { Vec::new() };
        }
        _ => return Vec::new(),
    };
    if model.overlay.is_some() { overlay::act(model, action) } else { act::act(model, action) }
}
