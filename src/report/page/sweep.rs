//! The report of a sweep.

use anyhow::Result;

use super::run::shell;
use super::{Page, Table};
use crate::report::figure::{self, Kind, Measure};
use crate::report::{Source, USUAL, simplex, sweep_frame};
use crate::run::environment;
use crate::run::sweep::{Standing, Sweep};
use crate::spec::{Cell, SAMPLING};

/// Puts the report of a sweep together: its results over the seeds, its ratio curve, its cells.
///
/// # Errors
/// Where the spec, the environment or an evaluation of a run that is done is damaged or of a later version.
pub fn of_sweep(sweep: &Sweep) -> Result<Page> {
    let mut page = Page::new(format!("Sweep {}", sweep.id));
    let spec = &sweep.plan.spec;
    if !spec.description.is_empty() {
        page.text(&spec.description);
    }
    let axes: Vec<String> = sweep
        .plan
        .grid
        .iter()
        .map(|axis| match axis.option() {
            ("--grid", _) => format!("{} = {}", axis.key, axis.values.join(", ")),
            (_, value) => format!("{} mixes of three kinds of batch (--simplex {value})", axis.values.len()),
        })
        .collect();
    let coordinates = sweep.coordinates();
    let place = |cell: &Cell| {
        let values = sweep.place(cell, &coordinates);
        let parts = coordinates.iter().zip(values).map(|(axis, value)| format!("{} {value}", axis.key));
        parts.collect::<Vec<_>>().join(", ")
    };
    let done: Vec<_> =
        sweep.cells.iter().map(|c| sweep.run(c)).filter(|r| Standing::of_run(r) == Standing::Done).collect();
    page.text(format!(
        "{} of {} runs are done: {}; {} seeds each, from {}.",
        done.len(),
        sweep.cells.len(),
        if axes.is_empty() { "one combination".to_owned() } else { axes.join("; ") },
        sweep.plan.seeds,
        spec.seed
    ));
    if done.len() < sweep.cells.len() {
        page.warn("The sweep is not finished: means are over the seeds that are done (n).");
    }
    let sources: Vec<Source> = done.iter().cloned().map(Source::of_run).collect::<Result<_>>()?;
    for run in &done {
        if let Some(remark) = run.history()?.1 {
            page.warn(remark);
        }
    }
    page.heading("Results");
    page.text("Macro means over the seeds, with standard deviation and the ends of the 95% interval of the mean (Student's t).");
    page.table(Table::of(&sweep_frame(sweep, &USUAL.map(String::from))?)?.without(&["sweep"]));
    if !sources.is_empty() {
        if sweep.plan.grid.iter().any(|axis| axis.key == "sampling.alpha") {
            page.heading("Sampling ratio");
            let caption = "mAP and rank distance against alpha; runs of equal alpha as mean and 95% interval";
            page.figure("ratio", caption, figure::draw(Kind::Ratio, &sources, "map"));
        }
        let mixes = sources.iter().filter_map(|s| s.spec.as_ref()?.sampling.weights().ok());
        if sweep.plan.grid.iter().any(|axis| axis.key == SAMPLING) && simplex::kinds(mixes).is_ok() {
            page.heading("Mixes of three kinds of batch");
            for (setting, metric, what) in [
                ("mono", "map", "mAP within each language"),
                ("cross", "map", "mAP across languages"),
                ("multi", "map", "mAP over the pool of all languages"),
                ("multi", "rank_distance", "Rank distance in the pool of all languages (less is better)"),
            ] {
                let measure = Measure { metric: metric.into(), setting: setting.into() };
                let caption =
                    format!("{what}; each part of the triangle has the value of the mix nearest to it");
                page.figure(
                    &format!("ternary-{setting}-{metric}"),
                    &caption,
                    figure::draw(Kind::Ternary, &sources, measure),
                );
            }
        }
        page.heading("Training");
        page.figure(
            "curves",
            "Training loss of each run over steps",
            figure::draw(Kind::Curves, &sources, "map"),
        );
        page.heading("Language bias");
        page.text("Rank distance of the first run of each combination, by language; the table above has its mean over the seeds.");
        for (index, cell) in sweep.cells.iter().enumerate() {
            let is_first = sweep.cells.iter().position(|c| c.values == cell.values) == Some(index);
            let Some(source) = sources.iter().find(|s| is_first && s.name == cell.id) else { continue };
            let one = std::slice::from_ref(source);
            let values = place(cell);
            let number = index + 1;
            page.figure(
                &format!("bias-{number}"),
                &format!("Language bias: {values}"),
                figure::draw(Kind::Bias, one, "map"),
            );
            let caption = format!("mAP by question and passage language: {values}");
            page.figure(&format!("heatmap-{number}"), &caption, figure::draw(Kind::Heatmap, one, "map"));
        }
    }
    page.heading("Runs");
    let cells = sweep.cells.iter().map(|cell| {
        let values = if cell.values.is_empty() { String::new() } else { format!(" ({})", place(cell)) };
        (format!("{}{values}", cell.id), Standing::of_run(&sweep.run(cell)).word().to_owned())
    });
    page.table(Table::pairs(["run", "state"], cells));
    page.text("`polymix report RUN` writes the report of one of them.");
    page.heading("How to repeat it");
    let name = format!("{}.toml", spec.name);
    let mut command = format!("polymix sweep {}", shell(&name));
    for axis in &sweep.plan.grid {
        let (option, value) = axis.option();
        command += &format!(" {option} {}", shell(&value));
    }
    page.text(format!("Save the spec below as {name}."));
    page.code(format!("{command} --seeds {}", sweep.plan.seeds));
    if let Some(run) = done.first() {
        let known = environment(run)?;
        let text = |key: &str| (key.to_owned(), known[key].as_str().unwrap_or("not known").to_owned());
        page.table(Table::pairs(["made with", ""], ["polymix", "system", "device"].map(text)));
        let data = known["datasets"].as_object().into_iter().flatten();
        let data =
            data.map(|(name, d)| (name.clone(), d["sha256"].as_str().unwrap_or("not known").to_owned()));
        page.table(Table::pairs(["data", "SHA-256"], data));
    }
    page.code(spec.to_toml()?);
    Ok(page)
}
