//! One evaluation in the shape of MTEB's `TaskResult` JSON, so that its tools read it.
//!
//! The task is ours: the name says so, and each subset is one pool. A pool of one question and one passage language is
//! the subset `en-de`; `en-multi` and `en-multi_strict` are the pools of all languages.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::Source;
use crate::corpus::language;
use crate::evaluate::{Metric, Setting, read};

/// The file, for the last evaluation on one dataset.
///
/// # Errors
/// Where there is none, there are several datasets, or a file is broken.
pub fn task_result(source: &Source) -> Result<Vec<u8>> {
    let measured = source.one_dataset("an MTEB result")?;
    let evaluation = read(&measured.dir)?;
    let code = |l: usize| evaluation.languages[l].as_str();
    let mut subsets: Vec<Value> = Vec::new();
    let mut last = None;
    for cell in &evaluation.cells {
        let key = (cell.setting, cell.query_language, cell.passage_language);
        if last != Some(key) {
            last = Some(key);
            let subset = match cell.setting {
                Setting::Mono | Setting::Cross => {
                    let passage = cell.passage_language.context("a pair without a passage language")?;
                    format!("{}-{}", code(cell.query_language), code(passage))
                }
                pool => format!("{}-{}", code(cell.query_language), pool.name()),
            };
            let mut languages = vec![language::iso(code(cell.query_language))];
            let passages: Vec<usize> = match (cell.setting, cell.passage_language) {
                (_, Some(passage)) => vec![passage],
                (Setting::Strict, None) => {
                    (0..evaluation.languages.len()).filter(|l| *l != cell.query_language).collect()
                }
                _ => (0..evaluation.languages.len()).collect(),
            };
            for iso in passages.into_iter().map(|l| language::iso(code(l))) {
                if !languages.contains(&iso) {
                    languages.push(iso);
                }
            }
            subsets.push(json!({"hf_subset": subset, "languages": languages, "n_queries": cell.n}));
        }
        let Some(Value::Object(subset)) = subsets.last_mut() else { continue };
        insert(subset, &cell.metric, cell.value);
    }
    let object = json!({
        "dataset_revision": evaluation.protocol.dataset_hash,
        "task_name": format!("Polymix-{}", measured.dataset),
        "mteb_version": null,
        "scores": {"test": subsets},
        "evaluation_time": null,
        "kg_co2_emissions": null,
        "polymix": evaluation.protocol.stated(),
    });
    let mut bytes = serde_json::to_vec_pretty(&object)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// A value under MTEB's name; `map` over the full ranking is the main score.
fn insert(subset: &mut Map<String, Value>, metric: &str, value: f64) {
    if metric == "map" {
        subset.insert("main_score".into(), value.into());
    }
    let name = match Metric::parse(metric) {
        Some(Metric::Map) => "map".to_owned(),
        Some(Metric::Mrr) => "mrr".to_owned(),
        // MTEB's map_at_k divides by R, as trec_eval's.
        Some(Metric::MapCut(k)) => format!("map_at_{k}"),
        Some(Metric::MapNorm(k)) => format!("map_norm_at_{k}"),
        Some(Metric::Ndcg(k)) => format!("ndcg_at_{k}"),
        Some(Metric::Recall(k)) => format!("recall_at_{k}"),
        Some(Metric::Success(k)) => format!("success_at_{k}"),
        None => metric.to_owned(),
    };
    subset.insert(name, value.into());
}
