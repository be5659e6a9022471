//! A table in a file format.

use anyhow::{Context, Result};
use polars::io::parquet::write::KeyValueMetadata;
use polars::prelude::{AnyValue, CsvWriter, DataFrame, ParquetWriter, SerWriter};

use super::{Source, Table, frame, text};

/// File formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Comma-separated, with a heading; a missing value is empty
    Csv,
    /// Parquet, with types
    Parquet,
    /// One object: version, table, rows
    Json,
    /// A LaTeX tabular with booktabs rules
    Latex,
    /// A pipe table
    Markdown,
    /// The TREC run of one evaluation, whatever the table
    Trec,
    /// The relevant passages of one evaluation as TREC labels, whatever the table
    Qrels,
    /// One evaluation as MTEB's `TaskResult`, whatever the table
    Mteb,
    /// The training history as an event file for TensorBoard, whatever the table; --out names its log directory
    Tensorboard,
}

impl Format {
    /// The usual file extension.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Json => "json",
            Self::Latex => "tex",
            Self::Markdown => "md",
            Self::Trec => "trec",
            Self::Qrels => "qrels",
            Self::Mteb => "mteb.json",
            Self::Tensorboard => "tfevents",
        }
    }
}

impl Format {
    /// True where the protocol has no room in the file and stands beside it.
    #[must_use]
    pub const fn needs_sidecar(self) -> bool {
        matches!(self, Self::Csv | Self::Trec | Self::Qrels)
    }
}

/// A table of a source in a format; it states the protocols where it has room.
///
/// # Errors
/// As [`frame`].
pub fn render(source: &Source, table: Table, format: Format) -> Result<Vec<u8>> {
    match format {
        Format::Trec => return source.trec("run.trec.gz"),
        Format::Qrels => return source.trec("qrels.trec.gz"),
        Format::Mteb => return super::mteb::task_result(source),
        Format::Tensorboard => return super::tensorboard(source),
        _ => {}
    }
    let frame = frame(source, table)?;
    let stated = super::stated(&source.evaluations);
    match (format, stated) {
        (Format::Parquet, Some(stated)) => parquet(frame, table.name(), &stated),
        (Format::Json, stated) => Ok(json(&frame, table.name(), stated.as_deref())?.into_bytes()),
        (Format::Latex, Some(stated)) => {
            let text = frame_bytes(frame, table.name(), format)?;
            Ok([format!("% {stated}\n").into_bytes(), text].concat())
        }
        (Format::Markdown, Some(stated)) => {
            let text = frame_bytes(frame, table.name(), format)?;
            Ok([text, format!("\n<!-- {} -->\n", stated.replace("--", "\\u002d-")).into_bytes()].concat())
        }
        _ => frame_bytes(frame, table.name(), format),
    }
}

/// Parquet with the protocols in the file's key-value metadata under `polymix`.
fn parquet(mut frame: DataFrame, name: &str, stated: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let note = KeyValueMetadata::from_static(vec![("polymix".to_owned(), stated.to_owned())]);
    ParquetWriter::new(&mut bytes)
        .with_key_value_metadata(Some(note))
        .finish(&mut frame)
        .with_context(|| format!("the table '{name}' as parquet"))?;
    Ok(bytes)
}

/// A frame in a format; [`Format::Trec`], [`Format::Qrels`], [`Format::Mteb`] and [`Format::Tensorboard`] hold no frame.
///
/// # Errors
/// Where polars refuses the frame.
pub fn frame_bytes(mut frame: DataFrame, name: &str, format: Format) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let context = || format!("the table '{name}' as {}", format.extension());
    match format {
        Format::Csv => CsvWriter::new(&mut bytes).finish(&mut frame).with_context(context)?,
        Format::Parquet => {
            ParquetWriter::new(&mut bytes).finish(&mut frame).with_context(context)?;
        }
        Format::Json => bytes = json(&frame, name, None)?.into_bytes(),
        Format::Markdown => bytes = text::markdown(&frame)?.into_bytes(),
        Format::Latex => bytes = text::latex(&frame, name)?.into_bytes(),
        Format::Trec | Format::Qrels | Format::Mteb | Format::Tensorboard => {
            anyhow::bail!("the table '{name}' is no {}", format.extension())
        }
    }
    Ok(bytes)
}

/// `{"v": 1, "table": ..., "protocols": {...}, "rows": [{...}, ...]}` with a row a line and the columns in their order.
fn json(frame: &DataFrame, name: &str, stated: Option<&str>) -> Result<String> {
    let keys: Vec<String> =
        frame.columns().iter().map(|c| serde_json::to_string(c.name().as_str())).collect::<Result<_, _>>()?;
    let stated = stated.map_or(String::new(), |stated| format!("\"protocols\":{stated},"));
    let mut out = format!("{{\"v\":1,\"table\":{},{stated}\"rows\":[", serde_json::to_string(name)?);
    for row in 0..frame.height() {
        out += if row == 0 { "\n{" } else { ",\n{" };
        for (index, (key, column)) in keys.iter().zip(frame.columns()).enumerate() {
            let value = match column.get(row)? {
                AnyValue::Null => serde_json::Value::Null,
                AnyValue::Boolean(flag) => flag.into(),
                AnyValue::UInt64(number) => number.into(),
                AnyValue::Float64(number) => number.into(),
                other => other.str_value().into(),
            };
            if index > 0 {
                out.push(',');
            }
            out += key;
            out.push(':');
            out += &serde_json::to_string(&value)?;
        }
        out.push('}');
    }
    out += "\n]}\n";
    Ok(out)
}
