//! Asks where to write what the screens show: tables, specs, figures.

use super::super::line::Line;
use super::super::message::{Document, EvaluationRef};
use super::super::model::{Model, Overlay, Prompt, Purpose, Screen};
use super::super::ratio::Ratio;
use super::super::runs::VIEWS;
use super::super::table::{KINDS, Table};
use crate::report::figure::{Kind, Measure};
use crate::run::RunDir;

/// Asks where to write what the screen shows.
pub fn write(model: &mut Model) {
    let run = model.active.as_ref().map_or_else(String::new, RunDir::id);
    let results = &model.results;
    let found = match model.screen {
        Screen::Setup => {
            let line = Line::new(format!("{}.toml", model.setup.spec.name));
            let title = "save the spec as".into();
            model.overlay =
                Some(Overlay::Prompt(Prompt { purpose: Purpose::SaveSpec, title, line, error: None }));
            return;
        }
        Screen::Live => {
            let points = &model.live.history.points;
            (!points.is_empty()).then(|| (format!("{run}-loss.csv"), model.live.history.csv()))
        }
        Screen::Heatmap => results
            .heatmap_csv()
            .map(|csv| (format!("{run}-{}.csv", results.metric().replace('@', "-at-")), csv)),
        Screen::Bias => model.bias_csv().map(|csv| (format!("{run}-bias.csv"), csv)),
        Screen::Tables => results.scores.as_ref().map(|scores| {
            let (table, _) = Table::shown(&results.table, scores);
            (
                format!("{run}-{}.csv", KINDS[results.table.kind].replace(' ', "-")),
                table.csv(|cell| results.table_mark(cell)),
            )
        }),
        Screen::Runs if is_ratio(model) && model.focus() == 1 => {
            model.runs.ratio_csv().map(|csv| ("ratio.csv".to_owned(), csv))
        }
        Screen::Runs => Some(("runs.csv".to_owned(), model.runs.csv())),
    };
    match found {
        Some((name, text)) => {
            let document = Document { text, evaluations: evaluations(model) };
            let line = Line::new(name);
            let title = "export as CSV to".into();
            let purpose = Purpose::Export(document);
            model.overlay = Some(Overlay::Prompt(Prompt { purpose, title, line, error: None }));
        }
        None => model.complain("nothing to export yet"),
    }
}

/// True where the ratio of screen 6 is shown.
fn is_ratio(model: &Model) -> bool {
    VIEWS[model.runs.view % VIEWS.len()] == "ratio"
}

/// The evaluations that the numbers on the screen come from.
fn evaluations(model: &Model) -> Vec<EvaluationRef> {
    let results = &model.results;
    let shown = |e: &&EvaluationRef| [&results.dir, &results.other_path].contains(&&Some(e.dir.clone()));
    match model.screen {
        Screen::Setup => Vec::new(),
        Screen::Live => model.active_row().map_or_else(Vec::new, |row| row.evaluations.clone()),
        Screen::Heatmap | Screen::Bias | Screen::Tables => {
            model.runs.rows.iter().flat_map(|row| &row.evaluations).filter(shown).cloned().collect()
        }
        Screen::Runs => {
            let rows = if is_ratio(model) { model.runs.ratio_rows() } else { model.runs.visible().0 };
            rows.iter().filter_map(|row| row.evaluations.last().cloned()).collect()
        }
    }
}

/// Asks for the folder of all tables of a run.
pub fn all(model: &mut Model) {
    match model.target().map(|r| r.summary.run.clone()) {
        Some(run) => {
            let line = Line::new(format!("{}-tables", run.id()));
            let (purpose, title) =
                (Purpose::ExportAll(run), "export all tables as CSV into the folder".into());
            model.overlay = Some(Overlay::Prompt(Prompt { purpose, title, line, error: None }));
        }
        None => model.complain("no run to export"),
    }
}

/// Asks where to write the report of the run under the cursor.
pub fn report(model: &mut Model) {
    match model.runs.under_cursor().map(|r| r.summary.run.clone()) {
        Some(run) => {
            let line = Line::new(format!("{}.html", run.id()));
            let (purpose, title) = (Purpose::Report(run), "write the report to (.html or .md)".into());
            model.overlay = Some(Overlay::Prompt(Prompt { purpose, title, line, error: None }));
        }
        None => model.complain("no run to report on"),
    }
}

/// Asks where to draw what the screen shows.
pub fn figure(model: &mut Model) {
    let compared = |model: &Model| -> Vec<RunDir> {
        model.runs.compared().iter().map(|r| r.summary.run.clone()).collect()
    };
    let other = |model: &Model| {
        let name = model.results.other.as_ref().map(|(name, _)| name.clone())?;
        model.runs.rows.iter().find(|r| r.summary.id == name).map(|r| r.summary.run.clone())
    };
    let mut measure = Measure::from("map");
    let (kind, runs) = match model.screen {
        Screen::Live => (Kind::Curves, model.active.iter().cloned().collect()),
        // The figure shows the second minus the first.
        Screen::Heatmap => {
            measure = model.results.metric().into();
            (Kind::Heatmap, other(model).into_iter().chain(model.active.clone()).collect())
        }
        Screen::Bias => (Kind::Bias, model.active.iter().cloned().collect()),
        Screen::Runs if is_ratio(model) => {
            let evaluated = model.runs.ratio_rows().into_iter().filter(|r| !r.evaluations.is_empty());
            let runs: Vec<RunDir> = evaluated.map(|r| r.summary.run.clone()).collect();
            match model.runs.ratio() {
                Ratio::Triangle { setting, metric, .. } => {
                    measure = Measure { metric, setting: setting.to_owned() };
                    (Kind::Ternary, runs)
                }
                Ratio::Curves(curves) => {
                    measure = curves[0].metric.as_str().into();
                    (Kind::Ratio, runs)
                }
                Ratio::Nothing(why) => {
                    model.complain(why);
                    return;
                }
            }
        }
        Screen::Runs => (Kind::Curves, compared(model)),
        Screen::Setup | Screen::Tables => {
            model.complain(
                "figures are drawn from screens 2 (curves), 3 (heatmap), 4 (bias) and 6 (curves, ratio, ternary)",
            );
            return;
        }
    };
    if runs.is_empty() {
        model.complain("no run to draw");
        return;
    }
    let word = format!("{kind:?}").to_lowercase();
    let line = Line::new(format!("{}-{word}.svg", runs.last().map_or_else(String::new, RunDir::id)));
    let title = format!("draw the {word} to (.svg or .png)");
    let purpose = Purpose::Figure { kind, runs, measure };
    model.overlay = Some(Overlay::Prompt(Prompt { purpose, title, line, error: None }));
}
