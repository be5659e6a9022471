//! Parquet files with hostile schemas and values, whole and damaged: each is read or refused, and nothing panics.
//!
//! Files are made at random from a number, without coverage feedback. `POLYMIX_FUZZ_RUNS` says how many, and
//! `POLYMIX_FUZZ_SECONDS` how long at most; `scripts/fuzz.sh parquet` sets both.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use polars::prelude::*;
use polymix::corpus::open;
use polymix::spec::{Candidate, DatasetRef};
use polymix::stream::Stream;

const NAMES: [&str; 9] =
    ["question", "passage", "id", "language", "negative", "question_language", "lang", "Question", "x\ty"];
const TEXTS: [&str; 10] =
    ["river", "", " ", "de", "en", "a\nb", "\u{0}", "\u{1f9a6}", "cmn", "the longest of all of these"];
const SETTINGS: [&str; 6] = [
    "",
    "[language=en]",
    "[question=x\ty,language=de]",
    "[id=id]",
    "[negative=passage]",
    "[language_column=lang]",
];

fn text(draw: &mut Stream) -> Option<&'static str> {
    (draw.below(8) > 0).then(|| TEXTS[draw.below(TEXTS.len())])
}

/// True for a file that could come from a user: texts where texts belong. The others may hold anything anywhere.
const fn is_calm(number: u64) -> bool {
    number.is_multiple_of(3)
}

/// A column of a calm file.
fn calm(name: &str, rows: usize, draw: &mut Stream) -> Column {
    let among: &[&str] = if name.contains("lang") { &["de", "en"] } else { &TEXTS };
    Column::new(name.into(), (0..rows).map(|_| among[draw.below(among.len())]).collect::<Vec<_>>())
}

fn column(name: &str, rows: usize, draw: &mut Stream) -> Column {
    let kind = if draw.below(3) > 0 { 0 } else { draw.below(10) };
    match kind {
        0 => Column::new(name.into(), (0..rows).map(|_| text(draw)).collect::<Vec<_>>()),
        1 => Column::new(
            name.into(),
            (0..rows).map(|_| (draw.below(5) > 0).then(|| draw.next_u64().cast_signed())).collect::<Vec<_>>(),
        ),
        2 => Column::new(name.into(), (0..rows).map(|_| draw.next_u64() as u32).collect::<Vec<_>>()),
        3 => Column::new(name.into(), (0..rows).map(|_| draw.normal()).collect::<Vec<_>>()),
        4 => Column::new(
            name.into(),
            (0..rows).map(|_| (draw.below(3) > 0).then(|| draw.below(2) == 0)).collect::<Vec<_>>(),
        ),
        5 => {
            let lists: Vec<Option<Series>> = (0..rows)
                .map(|_| {
                    (draw.below(4) > 0).then(|| {
                        Series::new("".into(), (0..draw.below(4)).map(|_| text(draw)).collect::<Vec<_>>())
                    })
                })
                .collect();
            typed(name, lists, &DataType::List(Box::new(DataType::String)))
        }
        6 => {
            let lists: Vec<Option<Series>> = (0..rows)
                .map(|_| {
                    Some(Series::new(
                        "".into(),
                        (0..draw.below(4)).map(|n| i32::try_from(n).unwrap()).collect::<Vec<_>>(),
                    ))
                })
                .collect();
            typed(name, lists, &DataType::List(Box::new(DataType::Int32)))
        }
        7 => {
            let bytes: Vec<&[u8]> =
                (0..rows).map(|_| [&b"\xff\xfe"[..], b"ok", b""][draw.below(3)]).collect();
            Column::new(name.into(), bytes)
        }
        8 => Column::new_scalar(name.into(), Scalar::null(DataType::Null), rows),
        _ => Column::new_scalar(name.into(), Scalar::null(DataType::String), rows),
    }
}

/// Lists of a type that does not hang on the first of them.
fn typed(name: &str, lists: Vec<Option<Series>>, kind: &DataType) -> Column {
    let column = Column::new(name.into(), lists);
    column.cast(kind).unwrap_or_else(|_| Column::full_null(name.into(), column.len(), kind))
}

/// The file of a number: its bytes.
fn made(number: u64) -> Vec<u8> {
    let mut draw = Stream::new(1, "parquet", number);
    let rows = if draw.below(20) == 0 { 0 } else { 1 + draw.below(12) };
    let mut columns: Vec<Column> = Vec::new();
    for name in NAMES {
        if is_calm(number) && ["question", "passage", "language", "negative"].contains(&name) {
            columns.push(calm(name, rows, &mut draw));
        } else if !is_calm(number) && draw.below(10) < 7 {
            columns.push(column(name, rows, &mut draw));
        }
    }
    let mut frame = DataFrame::new_infer_height(columns).unwrap();
    let mut bytes = Vec::new();
    let compression = [ParquetCompression::Uncompressed, ParquetCompression::Snappy][draw.below(2)];
    ParquetWriter::new(&mut bytes)
        .with_compression(compression)
        .with_row_group_size(Some(1 + draw.below(5)))
        .finish(&mut frame)
        .unwrap();
    match draw.below(4) {
        0 => {
            bytes.truncate(draw.below(bytes.len() + 1));
        }
        1 => {
            for _ in 0..=draw.below(4) {
                let at = draw.below(bytes.len());
                bytes[at] = draw.next_u64() as u8;
            }
        }
        _ => {}
    }
    bytes
}

fn read(path: &Path, number: u64) -> bool {
    let mut draw = Stream::new(1, "settings", number);
    let settings = if is_calm(number) { "" } else { SETTINGS[draw.below(SETTINGS.len())] };
    let dataset = DatasetRef {
        name: "pairs".into(),
        part: (!settings.is_empty()).then(|| settings[1..settings.len() - 1].to_owned()),
        path: Some(path.to_owned()),
    };
    match open(&dataset, Candidate::Sentence) {
        Ok(data) => {
            for group in &data.groups {
                assert_eq!(group.questions.len(), data.languages.len());
                assert!(group.relevant.iter().all(|p| (*p as usize) < data.passages.len()));
            }
            assert!(data.questions.iter().all(|q| !q.text.trim().is_empty()), "file {number}");
            true
        }
        Err(error) => {
            let error = format!("{error:#}");
            assert!(error.contains("a.parquet") || error.contains("no questions"), "file {number}: {error}");
            false
        }
    }
}

#[test]
fn no_parquet_file_ends_the_program() {
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (runs, seconds) = (number("POLYMIX_FUZZ_RUNS", 400), number("POLYMIX_FUZZ_SECONDS", 60));
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let path: PathBuf = dir.path().join("a.parquet");
    let (begin, mut whole, mut done) = (Instant::now(), 0, 0);
    for run in 0..runs {
        std::fs::write(&path, made(run)).unwrap();
        // What a file does must not depend on what was read before it: a number is enough to see it again.
        let is_read = std::panic::catch_unwind(|| read(&path, run));
        assert!(is_read.is_ok(), "file {run} made the reader panic");
        whole += u64::from(is_read.unwrap());
        done += 1;
        if begin.elapsed() > Duration::from_secs(seconds) {
            break;
        }
    }
    eprintln!("parquet: {done} executions, {whole} read whole, {} s", begin.elapsed().as_secs());
    assert!(whole * 20 > done, "hardly any file can be read: {whole} of {done}");
}
