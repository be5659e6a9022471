//! Lines that are typed, lists to choose from, questions, and the help.

use std::path::PathBuf;

use super::super::filter::Filter;
use super::super::keys::{self, Action, Press};
use super::super::message::{Document, Effect};
use super::super::model::{Model, Overlay, Pick, PickKind, Prompt, Purpose, Screen};
use super::super::runs::{COLUMNS, VIEWS};
use super::super::table::Table;
use super::{act, choose, open, results, setup};

/// A letter to a question; anything but its letters and Esc, n, q is no answer.
pub fn answered(model: &mut Model, press: Press) -> Vec<Effect> {
    let Some(Overlay::Confirm(confirm)) = &model.overlay else { return Vec::new() };
    let Press::Char(letter) = press else {
        if matches!(press, Press::Code(crossterm::event::KeyCode::Esc) | Press::Ctrl('c')) {
            model.overlay = None;
        }
        return Vec::new();
    };
    if let Some(choice) = confirm.choices.iter().find(|c| c.key == letter) {
        let effects = choice.effects.clone();
        model.overlay = None;
        for effect in &effects {
            if let Effect::Remove(run) = effect {
                model.runs.marked.retain(|m| *m != run.path);
                if model.active.as_ref() == Some(run) {
                    model.active = None;
                    model.live = super::super::model::Live::default();
                    model.results.dir = None;
                    model.results.scores = None;
                    return effects.into_iter().chain([Effect::Follow(None)]).collect();
                }
            }
        }
        return effects;
    }
    if matches!(letter, 'n' | 'q') {
        model.overlay = None;
    }
    Vec::new()
}

/// A character that is no command: text, where text is typed.
pub fn typed(model: &mut Model, press: Press) -> Vec<Effect> {
    if let Press::Char(c) = press { paste(model, &c.to_string()) } else { Vec::new() }
}

/// Text for the line that is being typed.
pub fn paste(model: &mut Model, text: &str) -> Vec<Effect> {
    match &mut model.overlay {
        Some(Overlay::Prompt(prompt)) => {
            prompt.line.insert(text);
            changed(model);
        }
        Some(Overlay::Pick(pick)) => {
            pick.line.insert(text);
            pick.cursor = 0;
        }
        Some(Overlay::Help { scroll, line }) => {
            line.insert(text);
            *scroll = 0;
        }
        _ => {}
    }
    Vec::new()
}

/// Checks the typed line, and lets a filter work while it is typed.
fn changed(model: &mut Model) {
    let Some(Overlay::Prompt(prompt)) = &model.overlay else { return };
    let text = prompt.line.text.clone();
    let error = match &prompt.purpose {
        Purpose::Filter => {
            let columns: Vec<String> = match model.screen {
                Screen::Runs => COLUMNS.map(str::to_owned).to_vec(),
                Screen::Tables => {
                    let kind = model.results.table.kind;
                    model.results.scores.as_ref().map_or_else(Vec::new, |s| Table::columns(kind, s))
                }
                Screen::Heatmap => ["id", "domain", "text"].map(str::to_owned).to_vec(),
                _ => Vec::new(),
            };
            let names: Vec<&str> = columns.iter().map(String::as_str).collect();
            let error = Filter::parse(&text, &names).err();
            if error.is_none()
                && let Some(filter) = act::filter_of(model)
            {
                *filter = text;
                model.runs.cursor = 0;
                model.results.table.cursor.0 = 0;
                model.results.questions.cursor = 0;
                model.live.log_scroll = 0;
            }
            error
        }
        Purpose::Field(row) => model.setup.with(*row, &text).err(),
        Purpose::SaveSpec
        | Purpose::Export(_)
        | Purpose::ExportAll(_)
        | Purpose::Report(_)
        | Purpose::Figure { .. } => text.trim().is_empty().then(|| "type a file name".to_owned()),
    };
    if let Some(Overlay::Prompt(prompt)) = &mut model.overlay {
        prompt.error = error;
    }
}

/// An action while something lies over the screen.
pub fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    match model.overlay.take() {
        Some(Overlay::Prompt(prompt)) => prompted(model, prompt, action),
        Some(Overlay::Pick(pick)) => picked(model, pick, action),
        Some(Overlay::Help { scroll, mut line }) => {
            let last = keys::of(model.screen_context()).count() + keys::of(keys::Context::Global).count() + 8;
            let scroll = match action {
                Action::Up => scroll.saturating_sub(1),
                Action::Down => scroll + 1,
                Action::PageUp => scroll.saturating_sub(10),
                Action::PageDown => scroll + 10,
                Action::Erase => {
                    line.edit(action);
                    0
                }
                _ => return Vec::new(),
            };
            model.overlay = Some(Overlay::Help { scroll: scroll.min(last), line });
            Vec::new()
        }
        other => {
            model.overlay = other;
            Vec::new()
        }
    }
}

fn prompted(model: &mut Model, mut prompt: Prompt, action: Action) -> Vec<Effect> {
    match action {
        Action::Cancel => {
            if prompt.purpose == Purpose::Filter
                && let Some(filter) = act::filter_of(model)
            {
                filter.clear();
            }
            return Vec::new();
        }
        Action::Accept => return accepted(model, prompt),
        edit => {
            let is_changed = prompt.line.edit(edit);
            model.overlay = Some(Overlay::Prompt(prompt));
            if is_changed {
                changed(model);
            }
        }
    }
    Vec::new()
}

fn accepted(model: &mut Model, mut prompt: Prompt) -> Vec<Effect> {
    let text = prompt.line.text.trim().to_owned();
    match &prompt.purpose {
        Purpose::Filter if prompt.error.is_none() => return Vec::new(),
        Purpose::Field(row) => match model.setup.with(*row, &text) {
            Ok(spec) => return setup::set(model, spec),
            Err(error) => prompt.error = Some(error),
        },
        Purpose::SaveSpec
        | Purpose::Export(_)
        | Purpose::ExportAll(_)
        | Purpose::Report(_)
        | Purpose::Figure { .. }
            if text.is_empty() =>
        {
            prompt.error = Some("type a file name".into());
        }
        Purpose::SaveSpec => match model.setup.spec.to_toml() {
            Ok(toml) => {
                return vec![Effect::Write {
                    path: PathBuf::from(text),
                    document: Document { text: toml, evaluations: Vec::new() },
                    overwrite: false,
                }];
            }
            Err(error) => prompt.error = Some(format!("{error:#}")),
        },
        Purpose::Export(document) => {
            let document = document.clone();
            return vec![Effect::Write { path: PathBuf::from(text), document, overwrite: false }];
        }
        Purpose::Figure { kind, runs, measure } => {
            let (kind, runs, measure) = (*kind, runs.clone(), measure.clone());
            return vec![Effect::Figure { kind, runs, measure, path: PathBuf::from(text) }];
        }
        Purpose::Report(run) => {
            return vec![Effect::Report { run: run.clone(), path: PathBuf::from(text) }];
        }
        Purpose::ExportAll(run) => {
            return vec![Effect::ExportAll { run: run.clone(), folder: PathBuf::from(text) }];
        }
        Purpose::Filter => {}
    }
    model.overlay = Some(Overlay::Prompt(prompt));
    Vec::new()
}

fn picked(model: &mut Model, mut pick: Pick, action: Action) -> Vec<Effect> {
    let visible: Vec<usize> = pick.visible().iter().map(|i| i.index).collect();
    let last = visible.len().saturating_sub(1);
    match action {
        Action::Cancel => return Vec::new(),
        Action::Up => pick.cursor = pick.cursor.saturating_sub(1),
        Action::Down => pick.cursor = (pick.cursor + 1).min(last),
        Action::PageUp => pick.cursor = pick.cursor.saturating_sub(10),
        Action::PageDown => pick.cursor = (pick.cursor + 10).min(last),
        Action::Toggle | Action::Accept if pick.kind == PickKind::Columns => {
            if action == Action::Accept {
                return Vec::new();
            }
            if let Some(&index) = visible.get(pick.cursor) {
                toggle_column(model, &mut pick, index);
            }
        }
        Action::Accept => {
            return visible.get(pick.cursor).map_or_else(Vec::new, |index| chosen(model, pick.kind, *index));
        }
        Action::Toggle => {}
        edit => {
            if pick.line.edit(edit) {
                pick.cursor = 0;
            }
        }
    }
    model.overlay = Some(Overlay::Pick(pick));
    Vec::new()
}

fn toggle_column(model: &mut Model, pick: &mut Pick, index: usize) {
    let table = &mut model.results.table;
    let count = pick.items.iter().filter(|i| i.on == Some(true)).count();
    let Some(item) = pick.items.iter_mut().find(|i| i.index == index) else { return };
    let key = (table.kind, item.label.clone());
    if item.on == Some(true) {
        // One column stays, or there would be nothing to look at.
        if count > 1 {
            item.on = Some(false);
            table.hidden.push(key);
        }
    } else {
        item.on = Some(true);
        table.hidden.retain(|h| *h != key);
    }
    table.sort = None;
    table.cursor.1 = 0;
}

fn chosen(model: &mut Model, kind: PickKind, index: usize) -> Vec<Effect> {
    match kind {
        PickKind::Preset => setup::load(model, index),
        PickKind::Run => match model.runs.rows.get(index).map(|r| r.summary.run.clone()) {
            Some(run) => open(model, run),
            None => Vec::new(),
        },
        PickKind::Difference => results::subtract(model, index),
        PickKind::Evaluation => {
            let found = model.active_row().and_then(|r| r.evaluations.get(index)).map(|e| e.dir.clone());
            model.results.is_pinned = true;
            found.map_or_else(Vec::new, |dir| results::choose(model, &dir))
        }
        PickKind::Sweep => {
            let sweep = index.checked_sub(1).and_then(|at| model.runs.sweeps.get(at));
            model.runs.sweep = sweep.map(|s| s.id.clone());
            model.runs.cursor = 0;
            // Marks are about runs that may be out of sight now.
            model.runs.marked.clear();
            if model.runs.sweep.is_some() {
                model.runs.view = VIEWS.iter().position(|v| *v == "ratio").unwrap_or(0);
            }
            Vec::new()
        }
        PickKind::Columns => Vec::new(),
        PickKind::Command => {
            let action = choose::commands(model.screen_context()).get(index).map(|b| b.action);
            action.map_or_else(Vec::new, |action| act::act(model, action))
        }
    }
}
