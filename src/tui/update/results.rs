//! Screens 3 to 5: which evaluation is shown, what is subtracted, and the questions of a cell.

use std::path::Path;
use std::sync::Arc;

use super::super::line::Line;
use super::super::message::{Effect, EvaluationRef};
use super::super::model::{Item, Model, Overlay, Pick, PickKind};
use super::super::scores::Scores;
use crate::evaluate::QueryView;

/// Shows the newest evaluation of the active run, unless the user chose one.
pub fn follow_newest(model: &mut Model) -> Vec<Effect> {
    let Some(row) = model.active_row() else { return Vec::new() };
    let evaluations = &row.evaluations;
    let still = |dir: &Path| evaluations.iter().any(|e| e.dir == dir);
    let kept = model.results.dir.as_deref().filter(|d| model.results.is_pinned && still(d));
    let newest = evaluations.last().map(|e| e.dir.clone());
    let wanted = kept.map(Path::to_owned).or(newest);
    if wanted == model.results.dir {
        return Vec::new();
    }
    if let Some(dir) = wanted {
        choose(model, &dir)
    } else {
        model.results.dir = None;
        model.results.scores = None;
        model.results.error = None;
        Vec::new()
    }
}

/// Reads an evaluation to show it.
pub fn choose(model: &mut Model, dir: &Path) -> Vec<Effect> {
    let results = &mut model.results;
    results.dir = Some(dir.to_owned());
    results.error = None;
    results.questions.all = None;
    let mut effects = vec![Effect::LoadScores(dir.to_owned())];
    if results.questions.is_open {
        effects.push(Effect::LoadQuestions(dir.to_owned()));
    }
    effects
}

/// Scores were read: those to show, or those to subtract.
pub fn scores_arrived(model: &mut Model, dir: &Path, result: Result<Arc<Scores>, String>) {
    let results = &mut model.results;
    if results.dir.as_deref() == Some(dir) {
        match &result {
            Ok(scores) => {
                let size = scores.languages.len();
                results.cursor = (results.cursor.0.min(size.saturating_sub(1)), results.cursor.1.min(size));
                results.scores = Some(Arc::clone(scores));
                results.error = None;
            }
            Err(error) => {
                results.scores = None;
                results.error = Some(error.clone());
            }
        }
    }
    if let Some((name, _)) = results.other_dir.take_if(|(_, d)| d == dir) {
        match result {
            Ok(scores) => {
                results.other_path = Some(dir.to_owned());
                let warning = results.scores.as_ref().and_then(|own| own.differs_in_protocol(&scores));
                results.other = Some((name, scores));
                if let Some(warning) = warning {
                    model.complain(format!("the two are not comparable: {warning}"));
                }
            }
            Err(error) => model.complain(error),
        }
    }
}

/// The questions of the shown evaluation were read.
pub fn questions_arrived(model: &mut Model, dir: &Path, result: Result<Arc<Vec<QueryView>>, String>) {
    if model.results.dir.as_deref() != Some(dir) {
        return;
    }
    match result {
        Ok(questions) => model.results.questions.all = Some(questions),
        Err(error) => {
            model.results.questions.is_open = false;
            model.complain(error);
        }
    }
}

/// Opens the questions of the cell under the cursor.
pub fn open_cell(model: &mut Model) -> Vec<Effect> {
    let results = &mut model.results;
    let Some(dir) = results.dir.clone().filter(|_| results.scores.is_some()) else {
        model.complain("no evaluation to look into yet");
        return Vec::new();
    };
    results.questions.is_open = true;
    results.questions.cursor = 0;
    if results.questions.all.is_some() { Vec::new() } else { vec![Effect::LoadQuestions(dir)] }
}

/// Turns the difference off, or asks for the run to subtract.
pub fn difference(model: &mut Model) -> Vec<Effect> {
    if model.results.other.take().is_some() {
        model.results.other_dir = None;
        model.say("difference off");
        return Vec::new();
    }
    let active = model.active.clone();
    let items: Vec<Item> = model
        .runs
        .rows
        .iter()
        .enumerate()
        .filter(|(_, r)| Some(&r.summary.run) != active.as_ref() && !r.evaluations.is_empty())
        .map(|(index, r)| Item { label: r.summary.id.clone(), on: None, index })
        .collect();
    if items.is_empty() {
        model.complain("no other run has an evaluation");
        return Vec::new();
    }
    let title = "Subtract which run?";
    model.overlay = Some(Overlay::Pick(Pick {
        kind: PickKind::Difference,
        title,
        items,
        line: Line::default(),
        cursor: 0,
    }));
    Vec::new()
}

/// Subtracts the newest evaluation of a run on the same dataset.
pub fn subtract(model: &mut Model, run: usize) -> Vec<Effect> {
    let dataset = model.active_row().and_then(|row| {
        let dir = model.results.dir.as_ref()?;
        row.evaluations.iter().find(|e| e.dir == *dir).map(|e| e.dataset.clone())
    });
    let Some(row) = model.runs.rows.get(run) else { return Vec::new() };
    let same = |e: &&EvaluationRef| dataset.as_ref().is_none_or(|d| *d == e.dataset);
    if let Some(found) = row.evaluations.iter().rev().find(same) {
        let dir = found.dir.clone();
        model.results.other_dir = Some((row.summary.id.clone(), dir.clone()));
        vec![Effect::LoadScores(dir)]
    } else {
        let text = format!("{} was not evaluated on {}", row.summary.id, dataset.unwrap_or_default());
        model.complain(text);
        Vec::new()
    }
}
