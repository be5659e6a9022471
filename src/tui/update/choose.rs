//! Lists to choose from: runs, evaluations, columns, commands.

use std::path::PathBuf;

use super::super::keys::{self, Action, Context};
use super::super::line::Line;
use super::super::model::{Item, Model, Overlay, Pick, PickKind};
use super::super::table::Table;

fn pick(model: &mut Model, kind: PickKind, title: &'static str, items: Vec<Item>, cursor: usize) {
    model.overlay = Some(Overlay::Pick(Pick { kind, title, items, line: Line::default(), cursor }));
}

pub fn run(model: &mut Model) {
    let rows = model.runs.rows.iter().enumerate();
    let items: Vec<Item> = rows
        .map(|(index, r)| Item {
            label: format!("{}  {}", r.summary.id, r.summary.phase.word()),
            on: None,
            index,
        })
        .collect();
    if items.is_empty() {
        model.complain("no runs yet: start one on screen 1");
        return;
    }
    let at = model.runs.rows.iter().position(|r| Some(&r.summary.run) == model.active.as_ref());
    pick(model, PickKind::Run, "Runs", items, at.unwrap_or(0));
}

/// All runs, or those of one sweep.
pub fn sweep(model: &mut Model) {
    let all = Item { label: "all runs".into(), on: None, index: 0 };
    let sweeps = model.runs.sweeps.iter().enumerate().map(|(index, s)| Item {
        label: format!("{}  {}", s.id, s.standing()),
        on: None,
        index: index + 1,
    });
    let items: Vec<Item> = [all].into_iter().chain(sweeps).collect();
    if items.len() == 1 {
        model.complain("no sweeps yet: polymix sweep demo-grid --grid sampling.alpha=0,0.5,1 makes one");
        return;
    }
    let at = model.runs.sweeps.iter().position(|s| Some(&s.id) == model.runs.sweep.as_ref());
    pick(model, PickKind::Sweep, "Sweeps", items, at.map_or(0, |at| at + 1));
}

pub fn evaluation(model: &mut Model) {
    let Some(row) = model.active_row() else {
        model.complain("no run to choose from");
        return;
    };
    let items: Vec<Item> = row
        .evaluations
        .iter()
        .enumerate()
        .map(|(index, e)| Item { label: format!("step {}  {}", e.step, e.dataset), on: None, index })
        .collect();
    if items.is_empty() {
        model.complain("this run has no evaluation yet");
        return;
    }
    let dir: Option<&PathBuf> = model.results.dir.as_ref();
    let at = row.evaluations.iter().position(|e| Some(&e.dir) == dir).unwrap_or(0);
    pick(model, PickKind::Evaluation, "Evaluations", items, at);
}

pub fn columns(model: &mut Model) {
    let Some(scores) = &model.results.scores else { return };
    let table = &model.results.table;
    let items = Table::columns(table.kind, scores)
        .into_iter()
        .enumerate()
        .map(|(index, label)| {
            let on = !table.hidden.iter().any(|(k, n)| *k == table.kind && *n == label);
            Item { label, on: Some(on), index }
        })
        .collect();
    pick(model, PickKind::Columns, "Columns", items, 0);
}

/// The commands that the palette offers, in the order of their items.
pub fn commands(context: Context) -> Vec<&'static keys::Binding> {
    keys::of(context).chain(keys::of(Context::Global)).filter(|b| b.action != Action::Palette).collect()
}

pub fn command(model: &mut Model) {
    let items = commands(model.screen_context())
        .into_iter()
        .enumerate()
        .map(|(index, b)| Item {
            label: format!("{}  {}", b.presses[0].shown(), b.description),
            on: None,
            index,
        })
        .collect();
    pick(model, PickKind::Command, "Commands", items, 0);
}
