//! An evaluation as a directory: Parquet tables, TREC files, and a summary that is written last.
//!
//! ```text
//! pairs.parquet      setting, metric, query_language, passage_language ("*" is the multilingual pool), n, value
//! languages.parquet  one row a language: how the multilingual pool treats it
//! histogram.parquet  languages of the first passages, by question language
//! queries.parquet    one row a question: ranks, average precision, rank distance, first passages; all ranks, in every
//!                    pool, as lists (null: the question does not belong to the pool); where labels have grades, these
//!                    too, in the order of the ranks
//! run.trec.gz        the first passages of the multilingual ranking; qrels.trec.gz the relevant ones
//! summary.json       protocol, macro and micro means, tests of fairness, notes
//! ```

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flate2::{Compression, GzBuilder};
use polars::io::parquet::write::KeyValueMetadata;
use polars::prelude::{
    Column, DataFrame, DataType, IntoSeries, ListBuilderTrait, ListPrimitiveChunkedBuilder,
    ParquetCompression, ParquetReader, ParquetWriter, SerReader, UInt32Type,
};
use serde::{Deserialize, Serialize};

use super::bias::TopShare;
use super::fairness::Fairness;
use super::record::{Cell, Evaluation, LanguageBias, MULTI_POOL, Protocol, Setting};
use crate::corpus::Dataset;
use crate::files::{replace, replace_with, whole_dir};
use crate::seal::{self, Sums};
use crate::train::Score;

/// Version of the directory. 1 had no strict setting, no fairness and no histogram, 2 no checksums and only the best rank in
/// each pool; both are still read.
const VERSION: u32 = 3;
/// First passages that `queries.parquet` keeps with their texts.
const SHOWN: usize = 10;

#[derive(Debug, Serialize, Deserialize)]
struct Summary {
    v: u32,
    /// [`Protocol::id`].
    #[serde(default)]
    protocol_id: String,
    protocol: Protocol,
    languages: Vec<String>,
    macro_mean: Vec<Score>,
    micro_mean: Vec<Score>,
    #[serde(default)]
    fairness: Fairness,
    notes: Vec<String>,
    /// The directory's other files.
    #[serde(default)]
    files: Sums,
}

/// A question as a screen or a table shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryView {
    pub id: String,
    pub language: String,
    pub domain: String,
    pub text: String,
    /// Average precision in the multilingual pool.
    pub ap: f64,
    /// The same without passages in the question's own language; NaN where it was not measured.
    pub strict_ap: f64,
    pub rank_distance: f64,
    /// By language: rank of the best relevant passage within that language; 0: none.
    pub ranks: Vec<u32>,
    /// By language: rank of the best relevant passage in the multilingual pool; 0: none.
    pub pool_ranks: Vec<u32>,
    /// First passages of the multilingual ranking.
    pub top: Vec<TopPassage>,
}

/// One of the first passages of a ranking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopPassage {
    pub id: String,
    pub language: String,
    pub score: f32,
    pub relevant: bool,
    pub text: String,
}

/// Writes an evaluation directory, whole or not at all. `depth` passages a question go into the TREC run; 0: no run.
///
/// # Errors
/// Where the directory exists, the disk is full, or the place is read-only.
pub fn write(dir: &Path, dataset: &Dataset, evaluation: &Evaluation, depth: usize) -> Result<()> {
    whole_dir(dir, |dir| {
        // Every file says under which protocol it came about, wherever it may be copied to.
        let protocol = serde_json::to_string(&evaluation.protocol.stated())?;
        parquet(&dir.join("pairs.parquet"), pairs(evaluation)?, &protocol)?;
        parquet(&dir.join("languages.parquet"), languages(evaluation)?, &protocol)?;
        parquet(&dir.join("histogram.parquet"), histogram(evaluation)?, &protocol)?;
        parquet(&dir.join("queries.parquet"), queries(dataset, evaluation)?, &protocol)?;
        if depth > 0 {
            trec(dir, dataset, evaluation, depth, &protocol)?;
        }
        let summary = Summary {
            v: VERSION,
            protocol_id: evaluation.protocol.id(),
            protocol: evaluation.protocol.clone(),
            languages: evaluation.languages.clone(),
            macro_mean: evaluation.summary(),
            micro_mean: evaluation.micro(),
            fairness: evaluation.fairness.clone(),
            notes: evaluation.notes.clone(),
            files: seal::sums(dir)?,
        };
        replace(&dir.join("summary.json"), &seal::pretty(&summary)?)
    })
}

/// Writes a frame; the protocol stands in the file's key-value metadata under `polymix`.
fn parquet(path: &Path, mut frame: DataFrame, protocol: &str) -> Result<()> {
    let note = KeyValueMetadata::from_static(vec![("polymix".to_owned(), protocol.to_owned())]);
    replace_with(path, |file| {
        ParquetWriter::new(file)
            .with_compression(ParquetCompression::Zstd(None))
            .with_key_value_metadata(Some(note))
            .finish(&mut frame)?;
        Ok(())
    })
}

fn frame(columns: Vec<Column>) -> Result<DataFrame> {
    Ok(DataFrame::new_infer_height(columns)?)
}

fn text<T: AsRef<str>>(name: &str, values: impl Iterator<Item = T>) -> Column {
    Column::new(name.into(), values.map(|v| v.as_ref().to_owned()).collect::<Vec<String>>())
}

fn pairs(evaluation: &Evaluation) -> Result<DataFrame> {
    let cells = &evaluation.cells;
    let code = |l: usize| evaluation.languages[l].as_str();
    frame(vec![
        text("setting", cells.iter().map(|c| c.setting.name())),
        text("metric", cells.iter().map(|c| &c.metric)),
        text("query_language", cells.iter().map(|c| code(c.query_language))),
        text("passage_language", cells.iter().map(|c| c.passage_language.map_or(MULTI_POOL, code))),
        Column::new("n".into(), cells.iter().map(|c| c.n as u32).collect::<Vec<_>>()),
        Column::new("value".into(), cells.iter().map(|c| c.value).collect::<Vec<_>>()),
    ])
}

fn languages(evaluation: &Evaluation) -> Result<DataFrame> {
    let rows = &evaluation.bias;
    let number = |name: &str, value: fn(&LanguageBias) -> f64| {
        Column::new(name.into(), rows.iter().map(value).collect::<Vec<_>>())
    };
    let count = |name: &str, value: fn(&LanguageBias) -> usize| {
        Column::new(name.into(), rows.iter().map(|r| value(r) as u32).collect::<Vec<_>>())
    };
    frame(vec![
        text("language", rows.iter().map(|r| &evaluation.languages[r.language])),
        number("rank_distance", |r| r.rank_distance),
        number("rank_distance_median", |r| r.rank_distance_median),
        number("passage_rank", |r| r.passage_rank),
        number("top10_share", |r| r.top10_share),
        number("pool_share", |r| r.pool_share),
        number("wrong_top1_own", |r| r.wrong_top1_own),
        count("questions", |r| r.questions),
        number("rank_distance_excess", |r| r.rank_distance_excess),
        number("rank_distance_share", |r| r.rank_distance_share),
        number("rank_difference", |r| r.rank_difference),
        count("wrong_top1", |r| r.wrong_top1),
        number("own_preference", |r| r.own_preference),
    ])
}

fn histogram(evaluation: &Evaluation) -> Result<DataFrame> {
    let rows = &evaluation.histogram;
    let code = |l: usize| evaluation.languages[l].as_str();
    frame(vec![
        Column::new("k".into(), rows.iter().map(|r| r.k as u32).collect::<Vec<_>>()),
        text("query_language", rows.iter().map(|r| code(r.query_language))),
        text("passage_language", rows.iter().map(|r| code(r.passage_language))),
        Column::new("count".into(), rows.iter().map(|r| r.count as u32).collect::<Vec<_>>()),
        Column::new("share".into(), rows.iter().map(|r| r.share).collect::<Vec<_>>()),
    ])
}

fn queries(dataset: &Dataset, evaluation: &Evaluation) -> Result<DataFrame> {
    let rows = &evaluation.queries;
    let question = |row: &super::QueryRow| &dataset.questions[row.question as usize];
    let group = |row: &super::QueryRow| &dataset.groups[question(row).group as usize];
    let code = |l: u16| &dataset.languages[usize::from(l)];
    let top: Vec<String> = rows
        .iter()
        .map(|row| {
            let relevant = &group(row).relevant;
            let shown = row.top.iter().zip(&row.top_scores).take(SHOWN).map(|(p, score)| {
                let passage = &dataset.passages[*p as usize];
                TopPassage {
                    id: passage.id.clone(),
                    language: code(passage.language).clone(),
                    score: *score,
                    relevant: relevant.contains(p),
                    text: passage.text.clone(),
                }
            });
            serde_json::to_string(&shown.collect::<Vec<_>>()).context("the first passages as JSON")
        })
        .collect::<Result<_>>()?;
    let mut columns = vec![
        text("question_id", rows.iter().map(|r| &group(r).id)),
        text("language", rows.iter().map(|r| code(question(r).language))),
        text("domain", rows.iter().map(|r| &dataset.domains[usize::from(group(r).domain)])),
        text("text", rows.iter().map(|r| &question(r).text)),
        Column::new("multi_ap".into(), rows.iter().map(|r| r.multi_ap).collect::<Vec<_>>()),
        Column::new("strict_ap".into(), rows.iter().map(|r| r.strict_ap).collect::<Vec<_>>()),
        Column::new("rank_distance".into(), rows.iter().map(|r| r.rank_distance).collect::<Vec<_>>()),
    ];
    for (l, language) in dataset.languages.iter().enumerate() {
        let own: Vec<u32> = rows.iter().map(|r| r.rank_by_language[l]).collect();
        columns.push(Column::new(format!("rank_{language}").into(), own));
    }
    for (l, language) in dataset.languages.iter().enumerate() {
        let pool: Vec<u32> = rows.iter().map(|r| r.multi_rank_by_language[l]).collect();
        columns.push(Column::new(format!("pool_rank_{language}").into(), pool));
    }
    for (l, language) in dataset.languages.iter().enumerate() {
        columns.push(lists(&format!("ranks_{language}"), rows.iter().map(|r| r.ranks.own[l].as_deref())));
    }
    columns.push(lists("multi_ranks", rows.iter().map(|r| r.ranks.multi.as_deref())));
    columns.push(lists("strict_ranks", rows.iter().map(|r| r.ranks.strict.as_deref())));
    if evaluation.protocol.graded_labels > 0 {
        for (l, language) in dataset.languages.iter().enumerate() {
            let grades = rows.iter().map(|r| r.ranks.own[l].as_ref().map(|_| r.ranks.grades.own(l)));
            columns.push(lists(&format!("grades_{language}"), grades));
        }
        let multi = rows.iter().map(|r| r.ranks.multi.as_ref().map(|_| r.ranks.grades.multi.as_slice()));
        columns.push(lists("multi_grades", multi));
        let strict = rows.iter().map(|r| r.ranks.strict.as_ref().map(|_| r.ranks.grades.strict.as_slice()));
        columns.push(lists("strict_grades", strict));
    }
    columns.push(Column::new("top".into(), top));
    frame(columns)
}

fn lists<'a>(name: &str, values: impl ExactSizeIterator<Item = Option<&'a [u32]>>) -> Column {
    let mut column = ListPrimitiveChunkedBuilder::<UInt32Type>::new(
        name.into(),
        values.len(),
        values.len(),
        DataType::UInt32,
    );
    for ranks in values {
        match ranks {
            Some(ranks) => column.append_slice(ranks),
            None => column.append_null(),
        }
    }
    column.finish().into_series().into()
}

/// `language:id` is unique over languages.
fn query_id(dataset: &Dataset, row: &super::QueryRow) -> String {
    let question = &dataset.questions[row.question as usize];
    let id = &dataset.groups[question.group as usize].id;
    format!("{}:{}", dataset.languages[usize::from(question.language)], id.replace(char::is_whitespace, "_"))
}

/// A TREC file has no room for a heading: the protocol stands in the comment of the gzip header.
fn trec(dir: &Path, dataset: &Dataset, evaluation: &Evaluation, depth: usize, protocol: &str) -> Result<()> {
    let gz = |name: &str, line: &dyn Fn(&super::QueryRow, &mut String)| {
        replace_with(&dir.join(name), |file| {
            let mut out = GzBuilder::new().comment(protocol).write(file, Compression::fast());
            let mut lines = String::new();
            for row in &evaluation.queries {
                lines.clear();
                line(row, &mut lines);
                out.write_all(lines.as_bytes())?;
            }
            out.finish()?;
            Ok(())
        })
    };
    gz("run.trec.gz", &|row, lines| {
        let id = query_id(dataset, row);
        for (rank, (passage, score)) in row.top.iter().zip(&row.top_scores).take(depth).enumerate() {
            let passage = &dataset.passages[*passage as usize].id;
            // Writing into a String cannot fail.
            let _ = writeln!(lines, "{id} Q0 {passage} {} {score} polymix", rank + 1);
        }
    })?;
    gz("qrels.trec.gz", &|row, lines| {
        let id = query_id(dataset, row);
        let question = &dataset.questions[row.question as usize];
        for passage in &dataset.groups[question.group as usize].relevant {
            let grade = dataset.grade(question.group, *passage);
            let _ = writeln!(lines, "{id} 0 {} {grade}", dataset.passages[*passage as usize].id);
        }
    })
}

fn read_frame(dir: &Path, name: &str, sums: &Sums) -> Result<DataFrame> {
    seal::check_file(dir, name, sums).map_err(remedy)?;
    let path = &dir.join(name);
    let file = std::fs::File::open(path)
        .with_context(|| format!("{}: cannot read (the evaluation is incomplete)", path.display()))?;
    ParquetReader::new(file).finish().with_context(|| format!("{}: not a Parquet table", path.display()))
}

fn strings(frame: &DataFrame, name: &str) -> Result<Vec<String>> {
    Ok(frame.column(name)?.str()?.iter().map(|v| v.unwrap_or_default().to_owned()).collect())
}

fn numbers(frame: &DataFrame, name: &str) -> Result<Vec<f64>> {
    Ok(frame.column(name)?.f64()?.iter().map(|v| v.unwrap_or(f64::NAN)).collect())
}

fn counts(frame: &DataFrame, name: &str) -> Result<Vec<u32>> {
    Ok(frame.column(name)?.u32()?.iter().map(|v| v.unwrap_or(0)).collect())
}

fn read_summary(dir: &Path) -> Result<Summary> {
    let path = dir.join("summary.json");
    ensure!(path.exists(), "{}: is not there; {} is no evaluation directory", path.display(), dir.display());
    seal::read_file(&path, 3, VERSION).map_err(remedy)
}

/// What to do about a damaged file.
fn remedy(error: anyhow::Error) -> anyhow::Error {
    if seal::is_damage(&error) {
        anyhow::anyhow!("{error}; evaluate again (polymix evaluate)")
    } else {
        error
    }
}

/// Makes sure that a file of an evaluation directory is as it was written; one without a checksum (of an earlier version)
/// counts as such.
///
/// # Errors
/// Where it is damaged or cannot be read.
pub fn check_file(dir: &Path, name: &str) -> Result<()> {
    seal::check_file(dir, name, &read_summary(dir)?.files).map_err(remedy)
}

/// Reads the protocol of an evaluation directory.
///
/// # Errors
/// As [`read`].
pub fn read_protocol(dir: &Path) -> Result<Protocol> {
    Ok(read_summary(dir)?.protocol)
}

/// Reads an evaluation directory, without the rows of the single questions.
///
/// # Errors
/// Where a file is missing, broken, or of a newer version.
pub fn read(dir: &Path) -> Result<Evaluation> {
    let summary = read_summary(dir)?;
    let index = |code: &str| summary.languages.iter().position(|l| l == code);
    let path = dir.join("pairs.parquet");
    let table = read_frame(dir, "pairs.parquet", &summary.files)?;
    let cells = (|| -> Result<Vec<Cell>> {
        let (settings, metrics) = (strings(&table, "setting")?, strings(&table, "metric")?);
        let (queries, passages) = (strings(&table, "query_language")?, strings(&table, "passage_language")?);
        let (n, values) = (counts(&table, "n")?, numbers(&table, "value")?);
        (0..table.height())
            .map(|i| {
                Ok(Cell {
                    setting: Setting::parse(&settings[i])
                        .with_context(|| format!("setting '{}'", settings[i]))?,
                    metric: metrics[i].clone(),
                    query_language: index(&queries[i])
                        .with_context(|| format!("language '{}'", queries[i]))?,
                    passage_language: index(&passages[i]),
                    n: n[i] as usize,
                    value: values[i],
                })
            })
            .collect()
    })()
    .with_context(|| format!("{}: not a table of language pairs", path.display()))?;
    let path = dir.join("languages.parquet");
    let table = read_frame(dir, "languages.parquet", &summary.files)?;
    let bias = (|| -> Result<Vec<LanguageBias>> {
        let languages = strings(&table, "language")?;
        let column = |name| numbers(&table, name);
        let (mean, median, rank) =
            (column("rank_distance")?, column("rank_distance_median")?, column("passage_rank")?);
        let (top, pool, wrong) = (column("top10_share")?, column("pool_share")?, column("wrong_top1_own")?);
        // Records of version 1 do not have these.
        let later = |name: &str| numbers(&table, name).unwrap_or_else(|_| vec![f64::NAN; table.height()]);
        let later_count = |name: &str| counts(&table, name).unwrap_or_else(|_| vec![0; table.height()]);
        let (questions, wrong_top1) = (later_count("questions"), later_count("wrong_top1"));
        let (excess, share) = (later("rank_distance_excess"), later("rank_distance_share"));
        let (difference, preference) = (later("rank_difference"), later("own_preference"));
        (0..table.height())
            .map(|i| {
                Ok(LanguageBias {
                    language: index(&languages[i]).with_context(|| format!("language '{}'", languages[i]))?,
                    rank_distance: mean[i],
                    rank_distance_median: median[i],
                    passage_rank: rank[i],
                    top10_share: top[i],
                    pool_share: pool[i],
                    wrong_top1_own: wrong[i],
                    questions: questions[i] as usize,
                    rank_distance_excess: excess[i],
                    rank_distance_share: share[i],
                    rank_difference: difference[i],
                    wrong_top1: wrong_top1[i] as usize,
                    own_preference: preference[i],
                })
            })
            .collect()
    })()
    .with_context(|| format!("{}: not a table of languages", path.display()))?;
    let histogram = if summary.v < 2 { Vec::new() } else { read_histogram(dir, &summary)? };
    Ok(Evaluation {
        protocol: summary.protocol,
        languages: summary.languages,
        cells,
        bias,
        fairness: summary.fairness,
        histogram,
        queries: Vec::new(),
        notes: summary.notes,
    })
}

fn read_histogram(dir: &Path, summary: &Summary) -> Result<Vec<TopShare>> {
    let languages = &summary.languages;
    let path = dir.join("histogram.parquet");
    let table = read_frame(dir, "histogram.parquet", &summary.files)?;
    let index =
        |code: &str| languages.iter().position(|l| l == code).with_context(|| format!("language '{code}'"));
    (|| -> Result<Vec<TopShare>> {
        let (k, count, share) = (counts(&table, "k")?, counts(&table, "count")?, numbers(&table, "share")?);
        let (queries, passages) = (strings(&table, "query_language")?, strings(&table, "passage_language")?);
        (0..table.height())
            .map(|i| {
                Ok(TopShare {
                    k: k[i] as usize,
                    query_language: index(&queries[i])?,
                    passage_language: index(&passages[i])?,
                    count: count[i] as usize,
                    share: share[i],
                })
            })
            .collect()
    })()
    .with_context(|| format!("{}: not a table of first passages", path.display()))
}

/// Reads the single questions of an evaluation directory.
///
/// # Errors
/// As [`read`].
pub fn read_queries(dir: &Path) -> Result<Vec<QueryView>> {
    let summary = read_summary(dir)?;
    let path = dir.join("queries.parquet");
    let table = read_frame(dir, "queries.parquet", &summary.files)?;
    (|| -> Result<Vec<QueryView>> {
        let (ids, languages) = (strings(&table, "question_id")?, strings(&table, "language")?);
        let (domains, texts, tops) =
            (strings(&table, "domain")?, strings(&table, "text")?, strings(&table, "top")?);
        let (ap, distance) = (numbers(&table, "multi_ap")?, numbers(&table, "rank_distance")?);
        let strict = numbers(&table, "strict_ap").unwrap_or_else(|_| vec![f64::NAN; table.height()]);
        let by_language = |prefix: &str| -> Result<Vec<Vec<u32>>> {
            summary.languages.iter().map(|l| counts(&table, &format!("{prefix}_{l}"))).collect()
        };
        let (own, pool) = (by_language("rank")?, by_language("pool_rank")?);
        (0..table.height())
            .map(|i| {
                Ok(QueryView {
                    id: ids[i].clone(),
                    language: languages[i].clone(),
                    domain: domains[i].clone(),
                    text: texts[i].clone(),
                    ap: ap[i],
                    strict_ap: strict[i],
                    rank_distance: distance[i],
                    ranks: own.iter().map(|column| column[i]).collect(),
                    pool_ranks: pool.iter().map(|column| column[i]).collect(),
                    top: serde_json::from_str(&tops[i])?,
                })
            })
            .collect()
    })()
    .with_context(|| format!("{}: not a table of questions", path.display()))
}
