//! The published numbers beside the same measurements.
//!
//! Source: Elmahdy, Lin and Ahmad, "Synergistic Approach for Simultaneous Optimization of Monolingual, Cross-lingual, and
//! Multilingual Information Retrieval" (arXiv 2408.10536), tables 3 to 8, 12 and 13. The columns called recall of the
//! multilingual setting are left out: they are not the recall of this program. The tables give one number a language and
//! setting, no language pairs; for the cross-lingual setting they do not say on which side that language stands, and here
//! it is taken as the question's, with the mean over the passage languages.

use std::sync::OnceLock;

use anyhow::{Result, ensure};
use polars::prelude::DataFrame;
use serde::Serialize;

use super::frames::{origin, with_origin};
use super::grid::Kind::{Real, Text, Whole};
use super::{Measured, Source};
use crate::evaluate::{Evaluation, Setting, read};
use crate::spec::ExperimentSpec;

/// In the tables and here, the "language" of a mean over languages.
pub const MEAN: &str = "mean";

/// One published number.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Published {
    pub table: u8,
    pub model: &'static str,
    pub dataset: &'static str,
    /// As here: `mono`, `cross`, `multi`.
    pub setting: &'static str,
    /// As here: `map`, `rank_distance`, `ndcg@10`, `recall@100`.
    pub metric: &'static str,
    /// A code, or [`MEAN`].
    pub language: &'static str,
    /// `hybrid`, `X-X-mono` or `X-Y`.
    pub sampling: &'static str,
    pub value: f64,
}

/// All published numbers.
#[must_use]
pub fn published() -> &'static [Published] {
    static ALL: OnceLock<Vec<Published>> = OnceLock::new();
    ALL.get_or_init(|| {
        let text: &'static str = include_str!("../../assets/paper/results.csv");
        text.lines().skip(1).filter_map(parse).collect()
    })
}

fn parse(line: &'static str) -> Option<Published> {
    let columns: Vec<&'static str> = line.split(',').collect();
    let [table, model, dataset, setting, metric, language, sampling, value] = columns.as_slice() else {
        return None;
    };
    let setting = match *setting {
        "monolingual" => "mono",
        "cross-lingual" => "cross",
        "multilingual" => "multi",
        _ => return None,
    };
    let metric = match *metric {
        "mAP" => "map",
        "rank_distance" => "rank_distance",
        "nDCG@10" => "ndcg@10",
        "Recall@100" => "recall@100",
        _ => return None,
    };
    let (table, value) = (table.parse().ok()?, value.parse().ok()?);
    Some(Published { table, model, dataset, setting, metric, language, sampling, value })
}

/// Which published column to stand beside; what is `None` is guessed from the run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// `XLM-R` or `LaBSE`.
    pub model: Option<&'static str>,
    /// `hybrid`, `X-X-mono` or `X-Y`.
    pub sampling: Option<&'static str>,
}

impl Column {
    /// From `paper`, `paper:MODEL` or `paper:MODEL:SAMPLING`, in any case; `None` where the text begins otherwise.
    ///
    /// # Errors
    /// Names an unknown model or sampling, and those that there are.
    #[must_use]
    pub fn parse(text: &str) -> Option<Result<Self>> {
        let mut parts = text.split(':');
        if parts.next() != Some("paper") {
            return None;
        }
        let rest: Vec<&str> = parts.collect();
        Some((|| {
            ensure!(rest.len() < 3, "{text}: must be paper, paper:MODEL or paper:MODEL:SAMPLING");
            let pick = |what: &str, text: Option<&&str>, all: Vec<&'static str>| {
                let Some(text) = text else { return Ok(None) };
                let found = all.iter().find(|known| known.eq_ignore_ascii_case(text)).copied();
                ensure!(
                    found.is_some(),
                    "paper: {what} '{text}' is not published; there are: {}",
                    all.join(", ")
                );
                Ok(found)
            };
            Ok(Self {
                model: pick("model", rest.first(), distinct(|p| p.model))?,
                sampling: pick("sampling", rest.get(1), distinct(|p| p.sampling))?,
            })
        })())
    }
}

/// The values that a column of the published numbers takes, in order of appearance.
fn distinct(of: impl Fn(&Published) -> &'static str) -> Vec<&'static str> {
    let mut all = Vec::new();
    for value in published().iter().map(of) {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

/// One number beside the published one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Beside {
    pub setting: &'static str,
    pub metric: &'static str,
    pub language: &'static str,
    pub table: u8,
    pub model: &'static str,
    pub sampling: &'static str,
    /// Questions behind our value; over all language pairs where it is a mean over them.
    pub n: usize,
    pub value: f64,
    pub published: f64,
    /// Ours minus the published one.
    pub difference: f64,
}

/// An evaluation beside one column of the paper.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page {
    /// The paper's name of the dataset; `None` where it has none.
    pub dataset: Option<&'static str>,
    pub model: &'static str,
    pub sampling: &'static str,
    pub rows: Vec<Beside>,
    /// What is not the same as in the paper, or not known of it.
    pub differs: Vec<String>,
}

/// The paper's name of a dataset, by ours: `xquad-r`, `xquad-r[part]`, `mlqa-r`, `miracl`, ...
#[must_use]
pub fn dataset(name: &str) -> Option<&'static str> {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    [("xquadr", "XQuAD-R"), ("mlqar", "MLQA-R"), ("miracl", "MIRACL-dev")]
        .into_iter()
        .find(|(begin, _)| plain.starts_with(begin))
        .map(|(_, published)| published)
}

/// What is published, for a reader whose dataset or metric is not.
#[must_use]
pub fn contents() -> String {
    let sets = distinct(|p| p.dataset).into_iter().map(|dataset| {
        let mut kinds: Vec<String> = Vec::new();
        for p in published().iter().filter(|p| p.dataset == dataset) {
            let kind = format!("{} {}", p.setting, p.metric);
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        format!("{dataset} ({})", kinds.join(", "))
    });
    format!(
        "{}; for {}, with {}",
        sets.collect::<Vec<_>>().join("; "),
        distinct(|p| p.model).join(" and "),
        distinct(|p| p.sampling).join(", ")
    )
}

/// The published model that ours is closest to, by its name.
fn model_like(name: &str) -> &'static str {
    if name.to_ascii_lowercase().contains("labse") { "LaBSE" } else { "XLM-R" }
}

/// Our value for a published one, with its number of questions.
fn ours(evaluation: &Evaluation, published: &Published) -> Option<(f64, usize)> {
    let setting = Setting::parse(published.setting)?;
    let language = match published.language {
        MEAN => None,
        code => Some(evaluation.languages.iter().position(|l| l == code)?),
    };
    let cells: Vec<_> = evaluation
        .cells
        .iter()
        .filter(|c| c.setting == setting && c.metric == published.metric)
        .filter(|c| language.is_none_or(|l| c.query_language == l))
        .collect();
    let mean = cells.iter().map(|c| c.value).sum::<f64>() / cells.len() as f64;
    (!cells.is_empty()).then(|| (mean, cells.iter().map(|c| c.n).sum()))
}

/// An evaluation beside the paper. `name` is the dataset's, `base` the model's.
#[must_use]
pub fn beside(name: &str, evaluation: &Evaluation, spec: Option<&ExperimentSpec>, column: &Column) -> Page {
    let base = spec.map_or(evaluation.protocol.model.as_str(), |spec| spec.model.base.as_str());
    let like = model_like(base);
    let model = column.model.unwrap_or(like);
    let label = spec.and_then(|s| s.sampling.weights().ok()).map(|w| w.label());
    let matched = label.as_ref().and_then(|own| distinct(|p| p.sampling).into_iter().find(|s| s == own));
    let sampling = column.sampling.or(matched).unwrap_or("hybrid");
    let dataset = dataset(name);
    let chosen = |p: &&Published| Some(p.dataset) == dataset && p.model == model && p.sampling == sampling;
    let rows: Vec<Beside> = published()
        .iter()
        .filter(chosen)
        .filter_map(|p| {
            let (value, n) = ours(evaluation, p)?;
            Some(Beside {
                setting: p.setting,
                metric: p.metric,
                language: p.language,
                table: p.table,
                model,
                sampling,
                n,
                value,
                published: p.value,
                difference: value - p.value,
            })
        })
        .collect();
    let mut page = Page { dataset, model, sampling, rows, differs: Vec::new() };
    if page.rows.is_empty() {
        page.differs.push(format!("no published value for dataset '{name}'; there are: {}", contents()));
        return page;
    }
    page.differs
        .push(format!("model: {base} here; {model} in the paper, whose tables do not state its size"));
    page.differs.extend(differences(evaluation, spec, dataset, label, sampling));
    page
}

/// What is not the same as in the paper, or not known of it.
fn differences(
    evaluation: &Evaluation,
    spec: Option<&ExperimentSpec>,
    dataset: Option<&'static str>,
    label: Option<&str>,
    sampling: &str,
) -> Vec<String> {
    let protocol = &evaluation.protocol;
    let mut found = Vec::new();
    let size = match dataset {
        Some("XQuAD-R") => Some((13_090, 13_014)),
        Some("MLQA-R") => Some((4_199, 20_534)),
        _ => None,
    };
    match size {
        Some(size) if size == (protocol.questions, protocol.passages) => {}
        Some((questions, passages)) => found.push(format!(
            "data: {} questions and {} passages here, {questions} and {passages} in the whole set: the means are not \
             over the same languages or questions",
            protocol.questions, protocol.passages
        )),
        None => found.push(format!("data: {} passages here; the pool must be the same", protocol.passages)),
    }
    found.push(format!(
        "candidate text: '{}' here; the tables do not state theirs (LAReQA's own is the sentence with its paragraph)",
        protocol.candidate
    ));
    found.push(
        "metric cut: map here is over the full ranking; the tables say mAP without a cut (XTREME-R means mAP@20)".into(),
    );
    found.push(
        "cross-lingual rows: the tables do not say on which side the language stands; here it is the question's".into(),
    );
    let Some(spec) = spec else {
        found.push(format!(
            "training: an evaluation without a run: the model was not trained here; the column is {sampling}"
        ));
        return found;
    };
    let data: Vec<String> = spec.data.train.iter().map(ToString::to_string).collect();
    found.push(format!(
        "training data: {} here; the paper's are mMARCO, six translated question answering sets, Mr. TyDi and MFAQ",
        data.join(", ")
    ));
    if label.is_some_and(|own| own != sampling) {
        found.push(format!("sampling: {} here, {sampling} in the column", label.unwrap_or_default()));
    }
    let alpha = spec.sampling.weights().ok().and_then(|w| w.alpha());
    if let (Some(alpha), "hybrid") = (alpha, sampling)
        && (alpha - 0.5).abs() > 1e-9
    {
        found.push(format!("share of X-X-mono batches: {alpha} here, 0.5 in the paper"));
    }
    if spec.train.batch != 100 || (spec.train.learning_rate - 3e-5).abs() > 1e-12 {
        found.push(format!(
            "optimisation: batch {}, learning rate {:e} here; 100 and 3e-5 in the paper",
            spec.train.batch, spec.train.learning_rate
        ));
    }
    found.push(format!("temperature: {} here; the paper gives none", spec.train.temperature));
    found
}

/// Every evaluation of a source beside the paper: all three samplings of the model that is closest, so that a table can
/// be cut from it.
///
/// # Errors
/// Where there is no evaluation, a file is broken, or none is on a dataset of the paper (says what there is).
pub fn frame(source: &Source) -> Result<DataFrame> {
    let mut grid = with_origin(&[
        ("setting", Text),
        ("metric", Text),
        ("language", Text),
        ("n", Whole),
        ("value", Real),
        ("published", Real),
        ("difference", Real),
        ("paper_model", Text),
        ("paper_sampling", Text),
        ("paper_table", Whole),
    ]);
    let mut is_empty = true;
    for measured in source.measured()? {
        let evaluation = read(&measured.dir)?;
        for row in all_samplings(source, measured, &evaluation) {
            is_empty = false;
            let mut cells = origin(source, measured, &evaluation);
            cells.extend([
                row.setting.into(),
                row.metric.into(),
                row.language.into(),
                row.n.into(),
                row.value.into(),
                row.published.into(),
                row.difference.into(),
                row.model.into(),
                row.sampling.into(),
                usize::from(row.table).into(),
            ]);
            grid.push(cells);
        }
    }
    ensure!(
        !is_empty,
        "'{}': no evaluation on a dataset of the paper; published are: {}",
        source.name,
        contents()
    );
    grid.frame()
}

/// One evaluation beside each sampling of the model that is closest.
#[must_use]
pub fn all_samplings(source: &Source, measured: &Measured, evaluation: &Evaluation) -> Vec<Beside> {
    let column = |sampling| Column { model: None, sampling: Some(sampling) };
    distinct(|p| p.sampling)
        .into_iter()
        .flat_map(|s| beside(&measured.dataset, evaluation, source.spec.as_ref(), &column(s)).rows)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_tables_is_read() {
        let lines = include_str!("../../assets/paper/results.csv").lines().count();
        assert_eq!((published().len(), lines), (672, 673));
        assert_eq!(distinct(|p| p.sampling), ["X-X-mono", "X-Y", "hybrid"]);
        let one = published().iter().find(|p| p.table == 3 && p.language == "ar" && p.sampling == "hybrid");
        assert_eq!(one.map(|p| (p.setting, p.metric, p.value)), Some(("mono", "map", 0.7619)));
        assert!(
            contents().starts_with("XQuAD-R (mono map, cross map, multi map, multi rank_distance); MLQA-R")
        );
    }

    /// The printed means are those of the languages printed: none is left out.
    #[test]
    fn printed_means_are_means_of_the_printed_languages() {
        for mean in published().iter().filter(|p| p.language == MEAN) {
            let same = |p: &&Published| {
                (p.table, p.model, p.setting, p.metric, p.sampling)
                    == (mean.table, mean.model, mean.setting, mean.metric, mean.sampling)
                    && p.language != MEAN
            };
            let values: Vec<f64> = published().iter().filter(same).map(|p| p.value).collect();
            let own = values.iter().sum::<f64>() / values.len() as f64;
            // One is printed 0.2% off: LaBSE, XQuAD-R, monolingual, hybrid.
            assert!((own / mean.value - 1.0).abs() < 0.0025, "{mean:?}: {own}");
        }
    }

    #[test]
    fn columns_are_chosen_by_name() {
        assert!(Column::parse("some-run").is_none());
        let column = |text: &str| Column::parse(text).expect("paper").map_err(|e| e.to_string());
        assert_eq!(column("paper"), Ok(Column::default()));
        assert_eq!(column("paper:labse:x-y"), Ok(Column { model: Some("LaBSE"), sampling: Some("X-Y") }));
        assert!(column("paper:bert").is_err_and(|e| e.contains("'bert'") && e.contains("XLM-R, LaBSE")));
        assert!(column("paper:labse:mix").is_err_and(|e| e.contains("X-X-mono, X-Y, hybrid")));
        assert_eq!((dataset("xquad-r[half]"), dataset("demo")), (Some("XQuAD-R"), None));
    }
}
