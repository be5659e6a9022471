//! Screens 3 to 5: which evaluation is shown, what is subtracted, and the questions of a cell.

use std::path::Path;
use std::sync::Arc;

use super::super::line::Line;
use super::super::message::{Effect, EvaluationRef};
use super::super::model::{Item, Model, Overlay, Pick, PickKind};
use super::super::scores::Scores;
use crate::evaluate::QueryView;
use crate::report::paper::contents;

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
    model.results.other_path = None;
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

/// What is subtracted next, in turn: the published numbers, one sampling after another, each other run that was
/// evaluated on this dataset, nothing.
pub fn baseline(model: &mut Model) -> Vec<Effect> {
    let Some(scores) = model.results.scores.clone() else { return Vec::new() };
    let mut names: Vec<String> = Vec::new();
    for row in &scores.paper {
        let name = format!("paper {} {}", row.model, row.sampling);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let published = names.len();
    let dataset = model.active_row().and_then(|row| {
        let dir = model.results.dir.as_ref()?;
        row.evaluations.iter().find(|e| e.dir == *dir).map(|e| e.dataset.clone())
    });
    let others = model.runs.rows.iter().filter(|r| {
        Some(&r.summary.run) != model.active.as_ref()
            && r.evaluations.iter().any(|e| dataset.as_ref().is_none_or(|d| *d == e.dataset))
    });
    names.extend(others.map(|r| r.summary.id.clone()));
    if names.is_empty() {
        model
            .complain(format!("no other run on this dataset, and it is none of the paper's: {}", contents()));
        return Vec::new();
    }
    let loading = model.results.other_dir.as_ref().map(|(name, _)| name);
    let now = loading.or(model.results.other.as_ref().map(|(name, _)| name));
    let next = now.map_or(0, |now| names.iter().position(|n| n == now).map_or(names.len(), |at| at + 1));
    model.results.other_dir = None;
    if next >= names.len() {
        (model.results.other, model.results.other_path) = (None, None);
        model.say("difference off");
        return Vec::new();
    }
    if next >= published {
        let run = model.runs.rows.iter().position(|r| r.summary.id == names[next]);
        return run.map_or_else(Vec::new, |run| subtract(model, run));
    }
    let sampling = names[next].rsplit(' ').next().unwrap_or_default();
    model.results.other = Some((names[next].clone(), Arc::new(scores.published(sampling))));
    model.results.other_path = None;
    model.say(
        "published: diagonal, last column, row means (cross); polymix compare RUN paper says what differs",
    );
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::paper::Beside;
    use crate::tui::testing::scores;
    use crate::tui::theme::Name;

    fn beside(
        setting: &'static str,
        language: &'static str,
        sampling: &'static str,
        published: f64,
    ) -> Beside {
        let (metric, model) = ("map", "XLM-R");
        Beside {
            setting,
            metric,
            language,
            table: 3,
            model,
            sampling,
            n: 40,
            value: 0.0,
            published,
            difference: 0.0,
        }
    }

    fn model() -> Model {
        let mut model = Model::new(Name::Dark, false, true);
        let mut shown = scores(3, 0.5);
        for sampling in ["X-Y", "hybrid"] {
            shown.paper.extend([
                beside("mono", "de", sampling, 0.4),
                beside("cross", "de", sampling, 0.3),
                beside("multi", "de", sampling, 0.2),
                beside("mono", "mean", sampling, 0.45),
            ]);
        }
        model.results.scores = Some(Arc::new(shown));
        model
    }

    #[test]
    fn the_baseline_goes_through_the_published_samplings_and_off() {
        let mut model = model();
        let mut seen = Vec::new();
        for _ in 0..3 {
            baseline(&mut model);
            seen.push(model.results.other.as_ref().map(|(name, _)| name.clone()));
        }
        let name = |sampling: &str| Some(format!("paper XLM-R {sampling}"));
        assert_eq!(seen, [name("X-Y"), name("hybrid"), None]);
    }

    /// The fixture's cell is 0.5 + query / 100 + passage / 1000; de is language 1.
    #[test]
    fn published_numbers_are_the_diagonal_the_pool_and_the_cross_lingual_row_mean() {
        let mut model = model();
        baseline(&mut model);
        let results = &model.results;
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(results.cell(1, 1).expect("mono").0, 0.511 - 0.4);
        close(results.cell(1, 3).expect("multi").0, 0.513 - 0.2);
        assert_eq!(
            (results.cell(1, 0), results.cell(0, 0)),
            (None, None),
            "no pairs, and only what is published"
        );
        close(results.row_mean(1), f64::midpoint(0.510, 0.512) - 0.3);
        assert!(results.row_mean(0).is_nan());
        let csv = results.heatmap_csv().expect("csv");
        assert!(csv.starts_with("query_language,ar,de,en,multi,cross_mean\n"), "{csv}");
    }

    #[test]
    fn without_a_published_number_the_key_says_what_there_is() {
        let mut model = model();
        model.results.scores = Some(Arc::new(scores(3, 0.5)));
        assert!(baseline(&mut model).is_empty() && model.results.other.is_none());
        assert!(model.status.expect("a message").text.contains("XQuAD-R (mono map"));
    }
}
