//! Setup: presets, fields, the preview, the start.

use super::super::line::Line;
use super::super::message::{Effect, Preset};
use super::super::model::{Item, Model, Overlay, Pick, PickKind, Prompt, Purpose, Screen};
use super::super::setup::{FIELDS, PRESET, START};
use crate::spec::ExperimentSpec;

/// Presets were read: the first that can be used fills the form, unless the user was faster.
pub fn presets_arrived(model: &mut Model, presets: Vec<Preset>) -> Vec<Effect> {
    let is_first =
        model.setup.presets.is_empty() && model.setup.preset.is_none() && model.setup.generation == 0;
    model.setup.presets = presets;
    if !is_first {
        return Vec::new();
    }
    match model.setup.presets.iter().position(|p| p.spec.is_ok()) {
        Some(index) => load(model, index),
        None => vec![preview(model)],
    }
}

/// Loads a preset into the form.
pub fn load(model: &mut Model, index: usize) -> Vec<Effect> {
    let Some(preset) = model.setup.presets.get(index) else { return Vec::new() };
    match preset.spec.clone() {
        Ok(spec) => {
            model.setup.preset = Some(index);
            model.setup.spec = *spec;
            vec![preview(model)]
        }
        Err(error) => {
            let text = format!("{}: {error}", preset.name);
            model.complain(text);
            Vec::new()
        }
    }
}

/// The plan of the form once more, as what it names may be there now.
pub fn again(model: &mut Model) -> Effect {
    preview(model)
}

/// Another spec than the form's; the preset is no longer what is shown.
pub fn set(model: &mut Model, spec: ExperimentSpec) -> Vec<Effect> {
    model.setup.spec = spec;
    vec![preview(model)]
}

fn preview(model: &mut Model) -> Effect {
    model.setup.generation += 1;
    model.setup.preview = None;
    model.setup.reading = None;
    Effect::Preview { generation: model.setup.generation, spec: Box::new(model.setup.spec.clone()) }
}

/// Enter on a row.
pub fn enter(model: &mut Model) -> Vec<Effect> {
    match model.setup.row {
        PRESET => {
            let items = model.setup.presets.iter().enumerate();
            let items = items
                .map(|(index, p)| Item { label: format!("{}  {}", p.name, p.origin), on: None, index })
                .collect();
            let cursor = model.setup.preset.unwrap_or(0);
            let line = Line::default();
            model.overlay =
                Some(Overlay::Pick(Pick { kind: PickKind::Preset, title: "Presets", items, line, cursor }));
            Vec::new()
        }
        START => start(model),
        row => {
            model.overlay = Some(Overlay::Prompt(Prompt {
                purpose: Purpose::Field(row),
                title: FIELDS[row].label.to_owned(),
                line: Line::new(model.setup.value(row)),
                error: None,
            }));
            Vec::new()
        }
    }
}

/// Left and right on a row.
pub fn nudge(model: &mut Model, is_up: bool) -> Vec<Effect> {
    let row = model.setup.row;
    if row == PRESET {
        let count = model.setup.presets.len();
        if count == 0 {
            return Vec::new();
        }
        let at = model.setup.preset.map_or(0, |p| (p + if is_up { 1 } else { count - 1 }) % count);
        return load(model, at);
    }
    match model.setup.nudged(row, is_up) {
        Some(Ok(spec)) => set(model, spec),
        Some(Err(error)) => {
            model.complain(error);
            Vec::new()
        }
        None => Vec::new(),
    }
}

/// Starts training, or says why not.
pub fn start(model: &mut Model) -> Vec<Effect> {
    if let Some(problem) = model.setup.problem() {
        model.complain(format!("cannot start: {problem}"));
        return Vec::new();
    }
    if let Some(Err(error)) = &model.setup.preview {
        let text = format!("cannot start: {error}");
        model.complain(text);
        return Vec::new();
    }
    model.say("starting ...");
    vec![Effect::Start(Box::new(model.setup.spec.clone()))]
}

/// The spec of a run into the form.
pub fn repeat(model: &mut Model, spec: ExperimentSpec) -> Vec<Effect> {
    model.screen = Screen::Setup;
    model.setup.preset = None;
    model.say("the run's spec is in the form; change it or start it again");
    set(model, spec)
}
