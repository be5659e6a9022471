//! Results as tables that other programs read: what the files of a run say, flat, one fact a row.
//!
//! A [`Source`] is a run or an evaluation directory; [`frame`] makes one of its [`Table`]s a polars frame;
//! [`render`] and [`export`] turn that into a [`Format`]; [`compare`] sets several sources side by side.
//! [`figure`] draws them for a paper. Nothing is measured here.

mod card;
mod compare;
pub mod figure;
mod frames;
mod grid;
mod render;
mod source;
mod statistics;
mod sweep;
mod text;

use std::path::Path;

use anyhow::{Result, ensure};

pub use card::Card;
pub use compare::{Comparison, Difference, KeyRow, ScoreRow, compare, config};
pub use frames::frame;
pub use render::{Format, frame_bytes, render};
pub use source::{Measured, Source};
pub use statistics::{Estimate, estimate, student_t};
pub use sweep::{MEASURES, SweepRow, sweep_frame, sweep_rows};

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
        Format::Trec if packed => source.trec_file()?,
        _ => render(source, table, format)?,
    };
    crate::files::replace(out, &bytes)
}
