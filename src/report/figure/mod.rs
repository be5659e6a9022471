//! Figures for a paper: one column wide, 8 points in print, readable in grey and for colour-blind eyes.
//!
//! Each kind draws on a [`canvas::Canvas`], a list of shapes; `svg` and `png` write that list. Nothing is measured
//! here, and no font or library of the machine is needed.

mod axis;
mod bias;
mod canvas;
mod colour;
mod curves;
mod font;
mod heatmap;
mod key;
mod pick;
mod png;
mod ratio;
mod shades;
mod svg;
mod ternary;

pub use pick::metric_name;

use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::Source;

/// Width of a column in print, in points of 1/72 inch.
const COLUMN: f64 = 240.0;

/// What a figure shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// A metric by question and passage language; of two runs, the second minus the first
    Heatmap,
    /// Loss over steps; of one run, by kind of batch
    Curves,
    /// A metric and rank distance against alpha; runs of equal alpha as mean and 95% interval
    Ratio,
    /// Rank distance by language, and the share of the top ten against that of the pool
    Bias,
    /// A metric over the mixes of three kinds of batch; runs of equal mix as mean and 95% interval
    Ternary,
}

/// What is drawn of an evaluation: a metric and, where a kind shows one only, a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measure {
    /// `map`, `ndcg@10`, `rank_distance`, ...
    pub metric: String,
    /// `mono`, `cross` or `multi`; matters to [`Kind::Ternary`].
    pub setting: String,
}

impl From<&str> for Measure {
    /// A metric, in the pool of all languages where a setting matters.
    fn from(metric: &str) -> Self {
        Self { metric: metric.to_owned(), setting: "multi".to_owned() }
    }
}

/// File formats, by the file's extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Svg,
    Png,
}

/// A figure before it is written.
#[derive(Clone, Debug)]
pub struct Figure {
    canvas: canvas::Canvas,
    /// What a reader should know before comparing what is shown.
    pub notes: Vec<String>,
}

/// Draws a figure of the last evaluations (or the whole history) of `sources` and writes it to `out`, an `.svg` or
/// `.png`, in its usual size. `measure` matters to [`Kind::Heatmap`], [`Kind::Ratio`] and [`Kind::Ternary`].
///
/// # Errors
/// As [`check`], [`draw`] and [`Figure::save`].
pub fn write(
    kind: Kind,
    sources: &[Source],
    measure: impl Into<Measure>,
    out: &Path,
    force: bool,
) -> Result<()> {
    check(out, force)?;
    draw(kind, sources, measure)?.save(out, force, None)
}

/// Makes sure that a figure can be written to `out`, before any work.
///
/// # Errors
/// Where `out` has another extension than `.svg` or `.png`, or exists and `force` is not given.
pub fn check(out: &Path, force: bool) -> Result<()> {
    Format::of(out)?;
    ensure!(
        force || !out.exists(),
        "{}: exists already; choose another file, or --force to replace it",
        out.display()
    );
    Ok(())
}

/// Draws a figure.
///
/// # Errors
/// Where a source lacks what the kind needs, sources cannot be set side by side, or the metric was not measured.
pub fn draw(kind: Kind, sources: &[Source], measure: impl Into<Measure>) -> Result<Figure> {
    let measure = measure.into();
    ensure!(!sources.is_empty(), "give at least one run or evaluation directory");
    let mut notes = Vec::new();
    if matches!(kind, Kind::Curves | Kind::Ratio | Kind::Ternary) {
        notes.extend(pick::set_alike(sources));
    }
    if kind == Kind::Curves {
        return Ok(Figure { canvas: curves::draw(sources)?, notes });
    }
    let picked = pick::pick(sources)?;
    notes.extend(pick::measured_alike(&picked));
    let canvas = match kind {
        Kind::Heatmap => heatmap::draw(&picked, &measure.metric)?,
        Kind::Ratio => ratio::draw(&picked, &measure.metric)?,
        Kind::Ternary => ternary::draw(&picked, &measure)?,
        Kind::Bias | Kind::Curves => bias::draw(&picked)?,
    };
    Ok(Figure { canvas, notes })
}

impl Format {
    fn of(out: &Path) -> Result<Self> {
        match out.extension().map(|e| e.to_string_lossy().to_lowercase()).as_deref() {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => bail!("{}: a figure is SVG or PNG; end the file's name in .svg or .png", out.display()),
        }
    }
}

impl Figure {
    /// The figure as SVG, one column wide.
    #[must_use]
    pub fn svg(&self) -> String {
        svg::write(&self.canvas, None)
    }

    /// Writes the file, `width` pixels (PNG) or points (SVG) wide: by default one column in print, 240 points, at 300
    /// dots an inch.
    ///
    /// # Errors
    /// As [`check`], and where the disk is full or the picture too large; an old file is then as it was.
    pub fn save(&self, out: &Path, force: bool, width: Option<u32>) -> Result<()> {
        check(out, force)?;
        let bytes = match Format::of(out)? {
            Format::Svg => svg::write(&self.canvas, width).into_bytes(),
            Format::Png => png::write(&self.canvas, width)?,
        };
        crate::files::replace(out, &bytes)
    }
}
