//! Which models a command compares: those of `--model`, or the finished runs of a sweep.

use std::collections::HashSet;

use anyhow::{Result, ensure};

use super::encoding::Encoding;
use super::progress::Progress;
use crate::run::Store;
use crate::run::sweep::{Standing, Sweep};
use crate::spec::{Axis, ExperimentSpec};

/// The options that name them; one of the two must be there.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Models {
    /// Model directory, run (its final model), model of the hub on disk (owner/name), or `demo` (untrained); repeatable:
    /// the models are compared
    #[arg(long, value_name = "DIR|RUN|NAME")]
    model: Vec<String>,
    /// The finished runs of a sweep instead, as means over its seeds: id, beginning of an id, directory, or `last`
    #[arg(long, value_name = "ID|DIR")]
    sweep: Option<String>,
}

/// One model.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// What it is called: as on the command line, or a run's id.
    pub name: String,
    /// Where it is.
    pub model: String,
    /// What tables call it: its name, or the values of the sweep's grid. The seeds of a combination share it.
    pub label: String,
    /// The label, one value for each key.
    pub values: Vec<String>,
}

/// The models, and by what they differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// The sweep's keys, or `model` with every name.
    pub axes: Vec<Axis>,
    pub models: Vec<Named>,
}

impl Models {
    /// Finds them; of a sweep, runs that are not done are left out, and said so.
    ///
    /// # Errors
    /// A model that is named twice; a sweep that is not there or has no finished run.
    pub fn find(&self, store: &Store, progress: &mut Progress) -> Result<Chosen> {
        if let Some(sweep) = &self.sweep {
            return of_sweep(&Sweep::find(sweep, store)?, progress);
        }
        let mut seen = HashSet::new();
        for model in &self.model {
            ensure!(seen.insert(model), "--model {model}: given twice; leave one out");
        }
        let named = |model: &String| Named {
            name: model.clone(),
            model: model.clone(),
            label: model.clone(),
            values: vec![model.clone()],
        };
        let axes = vec![Axis { key: "model".into(), values: self.model.clone() }];
        Ok(Chosen { axes, models: self.model.iter().map(named).collect() })
    }
}

impl Chosen {
    /// The settings under which each of them embeds.
    ///
    /// # Errors
    /// The first that is not there, or has no final model yet.
    pub fn specs(&self, encoding: &Encoding, store: &Store) -> Result<Vec<ExperimentSpec>> {
        self.models.iter().map(|named| encoding.spec(&named.model, store)).collect()
    }
}

/// The finished runs of a sweep, in the order of its grid, the seeds of a combination side by side.
///
/// # Errors
/// Where none is finished.
pub fn of_sweep(sweep: &Sweep, progress: &mut Progress) -> Result<Chosen> {
    let (done, open): (Vec<_>, Vec<_>) =
        sweep.cells.iter().partition(|cell| Standing::of_run(&sweep.run(cell)) == Standing::Done);
    let resume = format!("polymix sweep --resume --name {}", sweep.id);
    ensure!(!done.is_empty(), "sweep '{}': no run is done yet; go on with: {resume}", sweep.id);
    if !open.is_empty() {
        progress.line(&format!("note: sweep {}: {} runs are not done and left out", sweep.id, open.len()));
    }
    let axes = sweep.coordinates();
    let mut models: Vec<Named> = done
        .into_iter()
        .map(|cell| {
            let place = sweep.place(cell, &axes);
            let parts = axes.iter().zip(&place).map(|(axis, value)| format!("{}={value}", axis.key));
            let label = if axes.is_empty() { sweep.id.clone() } else { parts.collect::<Vec<_>>().join(" ") };
            let values = if axes.is_empty() { vec![sweep.id.clone()] } else { place };
            let model = sweep.run(cell).path.display().to_string();
            Named { name: cell.id.clone(), model, label, values }
        })
        .collect();
    let place = |label: &str, all: &[Named]| all.iter().position(|m| m.label == label);
    let before = models.clone();
    models.sort_by_key(|m| place(&m.label, &before));
    let axes = if axes.is_empty() {
        vec![Axis { key: "sweep".into(), values: vec![sweep.id.clone()] }]
    } else {
        axes
    };
    Ok(Chosen { axes, models })
}
