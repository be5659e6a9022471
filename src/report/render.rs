//! A table in a file format.

use anyhow::{Context, Result};
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
        }
    }
}

/// A table of a source in a format.
///
/// # Errors
/// As [`frame`].
pub fn render(source: &Source, table: Table, format: Format) -> Result<Vec<u8>> {
    if format == Format::Trec {
        return source.trec();
    }
    frame_bytes(frame(source, table)?, table.name(), format)
}

/// A frame in a format; [`Format::Trec`] holds no frame.
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
        Format::Json => bytes = json(&frame, name)?.into_bytes(),
        Format::Markdown => bytes = text::markdown(&frame)?.into_bytes(),
        Format::Latex => bytes = text::latex(&frame, name)?.into_bytes(),
        Format::Trec => anyhow::bail!("the table '{name}' is no TREC run"),
    }
    Ok(bytes)
}

/// `{"v": 1, "table": ..., "rows": [{...}, ...]}` with a row a line and the columns in their order.
fn json(frame: &DataFrame, name: &str) -> Result<String> {
    let keys: Vec<String> =
        frame.columns().iter().map(|c| serde_json::to_string(c.name().as_str())).collect::<Result<_, _>>()?;
    let mut out = format!("{{\"v\":1,\"table\":{},\"rows\":[", serde_json::to_string(name)?);
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
