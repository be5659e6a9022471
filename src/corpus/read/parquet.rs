//! Parquet files, one row group at a time.
//!
//! polars' reader panics on some damaged files; that is caught and told as what it is. What cannot be caught is a request for more memory than there is, so the lengths that the file states are
//! held against its own length first.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use polars::io::parquet::read::FileMetadata;
use polars::prelude::{AnyValue, ArrowDataType, ArrowSchema, Column, ParquetReader, SerReader};

use super::pages;
use super::table::{Each, Value};
use crate::caught::caught;

fn open(path: &Path) -> Result<ParquetReader<File>> {
    Ok(ParquetReader::new(super::open_plain(path)?))
}

/// Refuses what is not Parquet from its first bytes on.
fn check_start(path: &Path) -> Result<()> {
    let mut start = Vec::new();
    super::open_plain(path)?
        .take(512)
        .read_to_end(&mut start)
        .with_context(|| format!("{}: cannot read", path.display()))?;
    ensure!(!start.is_empty(), "{}: is empty; fetch it again", path.display());
    super::check_whole(path, &start)?;
    let unpack = if start.starts_with(&[0x1f, 0x8b]) {
        "gunzip"
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        "unzstd"
    } else {
        return Ok(());
    };
    bail!(
        "{}: is compressed as a whole, and Parquet is read from its end; unpack it with {unpack}",
        path.display()
    )
}

fn not_parquet(path: &Path) -> String {
    format!("{}: not Parquet, or damaged or cut off; fetch it again", path.display())
}

/// What polars makes of a file; a panic of its own is an error.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    caught(read).unwrap_or_else(|_| {
        bail!("{}: damaged, or of a kind that cannot be read; write it anew", path.display())
    })
}

/// Rows and bytes that a file of this length can hold, with room: text hardly ever packs better than this.
fn most(length: u64) -> u64 {
    length.saturating_mul(1024).saturating_add(1 << 20)
}

/// Refuses lengths that the file cannot have.
fn check_lengths(path: &Path, metadata: &FileMetadata) -> Result<()> {
    let length = std::fs::metadata(path).with_context(|| format!("{}: cannot read", path.display()))?.len();
    let most = most(length);
    let fits = |n: i64| u64::try_from(n).is_ok_and(|n| n <= most);
    let mut file = super::open_plain(path)?;
    let mut rows = 0_u64;
    for group in &metadata.row_groups {
        rows = rows.saturating_add(group.num_rows() as u64);
        for column in group.parquet_columns() {
            // A start below 0 or behind the end has no range.
            let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
            let end = start.checked_add(column.compressed_size());
            let lies_within =
                start >= 0 && column.compressed_size() >= 0 && end.is_some_and(|e| e as u64 <= length);
            ensure!(
                lies_within && fits(column.num_values()) && fits(column.uncompressed_size()),
                "{}: damaged: column '{}' does not fit the file; write it anew",
                path.display(),
                column.descriptor().path_in_schema.join(".")
            );
            let range = (start as u64, start as u64 + column.compressed_size() as u64);
            pages::check(&mut file, range, most).with_context(|| {
                let name = column.descriptor().path_in_schema.join(".");
                format!("{}: damaged in column '{name}'; write it anew", path.display())
            })?;
        }
    }
    ensure!(
        rows <= most && rows == metadata.num_rows as u64,
        "{}: damaged: it says {} rows, its parts {rows}; write it anew",
        path.display(),
        metadata.num_rows
    );
    Ok(())
}

fn schema(path: &Path) -> Result<std::sync::Arc<ArrowSchema>> {
    check_start(path)?;
    guarded(path, || open(path)?.schema().with_context(|| not_parquet(path)))
}

/// The names of the columns.
pub fn columns(path: &Path) -> Result<Vec<String>> {
    Ok(schema(path)?.iter_names().map(ToString::to_string).collect())
}

/// What a column has that is neither a text, a whole number nor a list of texts; polars, built without the kinds that
/// nobody needs here, would panic over some of them.
fn unfit(kind: &ArrowDataType) -> Option<&'static str> {
    use ArrowDataType as A;
    match kind {
        A::List(of) | A::LargeList(of) if is_text(of.dtype()) => None,
        A::List(of) | A::LargeList(of) => Some(match of.dtype() {
            A::Struct(_) => "lists of structs",
            A::List(_) | A::LargeList(_) => "lists of lists",
            A::Dictionary(..) => "lists of categories",
            _ => "lists of something other than texts",
        }),
        A::Dictionary(..) => Some("categories (a dictionary of texts)"),
        A::Struct(_) => Some("structs"),
        A::Map(..) => Some("maps"),
        // Where all are missing they do no harm; where one is not, it is named with its row.
        A::Boolean | A::Float16 | A::Float32 | A::Float64 | A::Binary | A::LargeBinary | A::BinaryView => {
            None
        }
        A::Timestamp(..) | A::Date32 | A::Date64 | A::Time32(_) | A::Time64(_) | A::Duration(_) => {
            Some("times")
        }
        other if is_text(other) || is_whole(other) => None,
        _ => Some("values of another kind"),
    }
}

fn is_text(kind: &ArrowDataType) -> bool {
    matches!(
        kind,
        ArrowDataType::Utf8 | ArrowDataType::LargeUtf8 | ArrowDataType::Utf8View | ArrowDataType::Null
    )
}

fn is_whole(kind: &ArrowDataType) -> bool {
    use ArrowDataType as A;
    matches!(kind, A::Int8 | A::Int16 | A::Int32 | A::Int64 | A::UInt8 | A::UInt16 | A::UInt32 | A::UInt64)
}

/// Calls `each` with the row's number, from 1, and its values.
pub fn read(path: &Path, names: &[&str], each: &mut Each<'_>) -> Result<()> {
    let there = schema(path)?;
    for name in names {
        let Some(field) = there.get(name) else {
            let outer = name.split_once('.').and_then(|(outer, _)| there.get(outer));
            ensure!(
                !outer.is_some_and(|f| matches!(f.dtype(), ArrowDataType::Struct(_))),
                "{}: '{name}' lies in a column of structs, which are read from JSON lines only; write it anew as such (in pandas \
                 to_json(orient=\"records\", lines=True)), or with its fields as columns",
                path.display()
            );
            let names: Vec<&str> = there.iter_names().map(polars::prelude::PlSmallStr::as_str).collect();
            bail!("{}: no column '{name}'; it has {}", path.display(), names.join(", "))
        };
        if let Some(kind) = unfit(field.dtype()) {
            bail!(
                "{}: column '{name}' has {kind}; write it anew as texts, whole numbers or lists of texts",
                path.display()
            );
        }
    }
    let metadata =
        guarded(path, || Ok(open(path)?.get_metadata().with_context(|| not_parquet(path))?.clone()))?;
    ensure!(metadata.num_rows > 0, "{}: is empty", path.display());
    check_lengths(path, &metadata)?;
    let mut values: Vec<Option<Value>> = vec![None; names.len()];
    let mut start = 0;
    for group in &metadata.row_groups {
        let size = group.num_rows();
        let rows = || format!("{}, rows {} to {}: damaged", path.display(), start + 1, start + size);
        let frame = guarded(path, || {
            let columns = Some(names.iter().map(|n| (*n).to_owned()).collect());
            let reader = open(path)?.with_columns(columns).with_slice(Some((start, size)));
            reader.finish().with_context(rows)
        })?;
        let columns: Vec<&Column> = names.iter().map(|n| frame.column(n)).collect::<Result<_, _>>()?;
        for row in 0..frame.height() {
            for ((value, column), name) in values.iter_mut().zip(&columns).zip(names) {
                let read = guarded(path, || cell(&column.get(row)?));
                *value = read.with_context(|| {
                    format!("{}, row {}: column '{name}'", path.display(), start + row + 1)
                })?;
            }
            let number = start + row + 1;
            each(number, &values).with_context(|| format!("{}, row {number}", path.display()))?;
        }
        start += size;
    }
    Ok(())
}

fn cell(value: &AnyValue<'_>) -> Result<Option<Value>> {
    Ok(match value {
        AnyValue::Null => None,
        AnyValue::String(text) => Some(Value::Text((*text).to_owned())),
        AnyValue::StringOwned(text) => Some(Value::Text(text.to_string())),
        AnyValue::List(list) => {
            let texts = list
                .iter()
                .map(|item| match item {
                    AnyValue::String(text) => Ok(text.to_owned()),
                    AnyValue::StringOwned(text) => Ok(text.to_string()),
                    _ => bail!("the list must hold texts only"),
                })
                .collect::<Result<Vec<_>>>()?;
            Some(Value::List(texts))
        }
        number if number.dtype().is_integer() => Some(Value::Text(number.to_string())),
        other => bail!("must be a text, a whole number or a list of texts, not {}", other.dtype()),
    })
}
