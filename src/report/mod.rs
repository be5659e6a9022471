//! Results as tables that other programs read: what the files of a run say, flat, one fact a row.
//!
//! A [`Source`] is a run or an evaluation directory; [`frame`] makes one of its [`Table`]s a polars frame;
//! [`render`] and [`export`] turn that into a [`Format`]; [`compare`] sets several sources side by side, [`test`] says which
//! differences are more than chance.
//! [`figure`] draws them for a paper. Nothing is measured here.

mod alignment;
mod attacks;
mod card;
mod compare;
mod domains;
mod fairness;
pub mod figure;
mod frames;
mod grid;
mod mteb;
pub mod page;
pub mod paper;
mod render;
mod robustness;
mod scripts;
mod significance;
pub mod simplex;
mod source;
mod statistics;
mod sweep;
mod text;

use std::path::Path;

use anyhow::{Result, ensure};

pub use alignment::{
    AlignmentEntry, alignment_languages, alignment_pairs, alignment_scripts, alignment_summary,
};
pub use attacks::{Attacked, attack_frame};
pub use card::Card;
pub use compare::{Comparison, Difference, KeyRow, ScoreRow, Side, Spread, TestedSide, compare, config};
pub use domains::domain_frame;
pub use figure::metric_name;
pub use frames::frame;
pub use render::{Format, frame_bytes, render};
pub use robustness::{robustness_frame, robustness_scripts};
pub use scripts::{script_comparison, script_frame, script_table};
pub use significance::{significance_frame, test};
pub use source::{Measured, Source};
pub use statistics::{Estimate, estimate, probability, student_t};
pub use sweep::{Measure, SweepRow, SweepTable, USUAL, sweep_frame, sweep_table};

/// What can be asked of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Table {
    /// Macro and micro means by setting and metric
    Summary,
    /// Every metric for every pair of question and passage language
    Pairs,
    /// Metrics and language bias by language
    Languages,
    /// Every question with its ranks and first passages (last evaluation unless a step is chosen)
    Queries,
    /// Means by script and by family of question and passage language
    Groups,
    /// Languages of the first 1, 10 and 100 passages, by question language
    Histogram,
    /// Rank distance by number of answers, Friedman tests, PEER
    Fairness,
    /// The paper's published values beside the same measurements
    Paper,
    /// Training: a row a step and a row a validation
    History,
    /// The settings: a row a key
    Config,
}

impl Table {
    /// The name on the command line and in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Summary => "summary",
            Self::Pairs => "pairs",
            Self::Languages => "languages",
            Self::Queries => "queries",
            Self::Groups => "groups",
            Self::Histogram => "histogram",
            Self::Fairness => "fairness",
            Self::Paper => "paper",
            Self::History => "history",
            Self::Config => "config",
        }
    }
}

/// Writes a table of `source` to the file `out`.
///
/// # Errors
/// Where the file exists and `force` is not given, the source lacks what the table needs, or the disk is full; the
/// old file is then as it was.
pub fn export(source: &Source, table: Table, format: Format, out: &Path, force: bool) -> Result<()> {
    ensure!(
        force || !out.exists(),
        "{}: exists already; choose another file, or --force to replace it",
        out.display()
    );
    let packed = out.extension().is_some_and(|e| e == "gz");
    let bytes = match format {
        Format::Trec if packed => source.trec_file("run.trec.gz")?,
        Format::Qrels if packed => source.trec_file("qrels.trec.gz")?,
        _ => render(source, table, format)?,
    };
    crate::files::replace(out, &bytes)?;
    // CSV and unpacked TREC have no room for it.
    if format.needs_sidecar() && !packed {
        write_protocols(out, &source.evaluations)?;
    }
    Ok(())
}

/// Writes the protocols of the evaluations that a file's numbers come from beside it, as `FILE.protocol.json`; nothing
/// where there are none.
///
/// # Errors
/// Where the disk is full or the place read-only.
pub fn write_protocols(file: &Path, evaluations: &[Measured]) -> Result<()> {
    let Some(stated) = stated(evaluations) else { return Ok(()) };
    let mut name = file.as_os_str().to_owned();
    name.push(".protocol.json");
    crate::files::replace(Path::new(&name), stated.as_bytes())
}

/// The event file of a run for TensorBoard.
fn tensorboard(source: &Source) -> Result<Vec<u8>> {
    let Some(run) = &source.run else {
        anyhow::bail!("'{}' is no run: TensorBoard shows training", source.name);
    };
    Ok(crate::run::tensorboard::bytes(&run.events()?))
}

/// The protocols of evaluations as JSON: dataset and step with [`crate::evaluate::Protocol::stated`]; `None`
/// without an evaluation that can be read.
fn stated(evaluations: &[Measured]) -> Option<String> {
    let all: Vec<serde_json::Value> = evaluations
        .iter()
        .filter_map(|m| {
            let stated = crate::evaluate::read_protocol(&m.dir).ok()?.stated();
            Some(serde_json::json!({"dataset": m.dataset, "step": m.step, "protocol": stated}))
        })
        .collect();
    (!all.is_empty()).then(|| serde_json::json!({"v": 1, "evaluations": all}).to_string())
}
