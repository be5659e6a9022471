//! Which evaluation of each source a figure shows, and what may not be set side by side.

use anyhow::{Context, Result, bail, ensure};

use super::super::compare::{config, mismatches};
use super::super::{Measured, Source};
use crate::evaluate::{self, Evaluation};
use crate::spec::Weights;

/// One source with the evaluation that is shown.
pub struct Picked {
    pub name: String,
    /// Dataset and step.
    pub label: String,
    pub evaluation: Evaluation,
    /// Shares of the kinds of batch; `None` without a run.
    pub weights: Option<Weights>,
}

impl Picked {
    /// # Errors
    /// Where the metric was not measured; names what was.
    pub fn knows(&self, metric: &str) -> Result<()> {
        let mut known: Vec<&str> = Vec::new();
        for cell in &self.evaluation.cells {
            if !known.contains(&cell.metric.as_str()) {
                known.push(&cell.metric);
            }
        }
        ensure!(
            known.contains(&metric),
            "'{}': metric '{metric}' was not measured; there are: {}",
            self.name,
            known.join(", ")
        );
        Ok(())
    }

    /// The macro mean.
    pub fn mean(&self, setting: &str, metric: &str) -> Option<f64> {
        let scores = self.evaluation.summary();
        scores.iter().find(|s| s.setting == setting && s.metric == metric).map(|s| s.value)
    }
}

/// A run's id, or the last part of a directory's path.
pub fn name(source: &Source) -> String {
    let path = std::path::Path::new(&source.name);
    path.file_name().map_or_else(|| source.name.clone(), |n| n.to_string_lossy().into_owned())
}

/// A metric as papers write it.
#[must_use]
pub fn metric_name(metric: &str) -> String {
    match metric {
        "map" => "mAP".into(),
        "mrr" => "MRR".into(),
        "rank_distance" => "rank distance".into(),
        other => other.replace("ndcg@", "nDCG@").replace("recall@", "R@"),
    }
}

/// The last evaluation of each source on the one dataset that they share.
///
/// # Errors
/// Where a source has none, they share none or several, or a file is broken.
pub fn pick(sources: &[Source]) -> Result<Vec<Picked>> {
    let mut all: Vec<Vec<&Measured>> = Vec::new();
    for source in sources {
        source.measured()?;
        all.push(source.last());
    }
    // A directory outside a run may be called anything: one evaluation each is one dataset, whatever its label.
    if all.iter().any(|own| own.len() > 1) {
        let has = |own: &[&Measured], dataset: &str| own.iter().any(|m| m.dataset == dataset);
        let shared: Vec<String> = all[0]
            .iter()
            .map(|m| m.dataset.clone())
            .filter(|dataset| all.iter().all(|own| has(own, dataset)))
            .collect();
        match shared.as_slice() {
            [one] => all.iter_mut().for_each(|own| own.retain(|m| m.dataset == *one)),
            [] => {
                bail!("the runs share no evaluation dataset; give runs that were evaluated on the same one")
            }
            many => bail!(
                "'{}': a figure shows one dataset; choose one with --dataset: {}",
                sources[0].name,
                many.join(", ")
            ),
        }
    }
    sources
        .iter()
        .zip(all)
        .map(|(source, own)| {
            let measured = own.first().with_context(|| format!("'{}' has no evaluation yet", source.name))?;
            let weights = source.spec.as_ref().and_then(|spec| spec.sampling.weights().ok());
            Ok(Picked {
                name: name(source),
                label: measured.label(),
                evaluation: evaluate::read(&measured.dir)?,
                weights,
            })
        })
        .collect()
}

/// What a reader should know before comparing the evaluations.
pub fn measured_alike(picked: &[Picked]) -> Vec<String> {
    let protocols: Vec<_> = picked.iter().map(|p| (p.name.as_str(), &p.evaluation.protocol)).collect();
    picked.first().map_or_else(Vec::new, |first| mismatches(&first.label, &protocols))
}

/// A remark where the runs differ in more than the sampling and the seed.
pub fn set_alike(sources: &[Source]) -> Vec<String> {
    let configs: Vec<_> =
        sources.iter().filter(|s| s.spec.is_some()).filter_map(|s| config(s).ok()).collect();
    let Some((first, others)) = configs.split_first() else { return Vec::new() };
    let expected = |key: &str| {
        matches!(key, "name" | "description" | "seed" | "train.device") || key.starts_with("sampling.")
    };
    let mut keys: Vec<&str> = others
        .iter()
        .flat_map(|other| first.keys().chain(other.keys()).filter(|k| first.get(*k) != other.get(*k)))
        .map(String::as_str)
        .filter(|key| !expected(key))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    if keys.is_empty() {
        return Vec::new();
    }
    vec![format!("the runs differ in more than sampling and seed: {}", keys.join(", "))]
}
