//! What the commands have in common that embed a dataset and measure: which model, which data, where the tables go.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use polars::prelude::{AnyValue, Column, DataFrame};
use serde_json::{Map, Value};

use super::encoder::{self, EncoderArgs, PassageArgs, QuestionArgs};
use super::evaluate::candidate;
use super::progress::Progress;
use super::table::plain;
use super::{print, print_json};
use crate::corpus::{self, Dataset};
use crate::encoder::Encoder;
use crate::files::{replace, whole_dir};
use crate::report::{Format, frame_bytes};
use crate::run::{self, Store};
use crate::spec::{DatasetRef, Dtype, ExperimentSpec};
use crate::train::{Event, Stage, device};

/// Which data, and how texts are embedded.
#[derive(Debug, clap::Args)]
pub struct Encoding {
    /// Dataset: NAME, NAME[PART], NAME=PATH (repeatable), for example xquad-r=data/xquad-r
    #[arg(long, value_name = "NAME[=PATH]", required = true)]
    data: Vec<String>,
    /// Languages to keep, for example --languages en,de [default: all]
    #[arg(long, value_delimiter = ',', value_name = "CODE", value_parser = encoder::language)]
    languages: Vec<String>,
    /// Question ids to keep, evenly spread over the dataset, for a trial; the passages stay [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit_questions: Option<u64>,
    #[command(flatten)]
    questions: QuestionArgs,
    #[command(flatten)]
    passages: PassageArgs,
    #[command(flatten)]
    encoder: EncoderArgs,
    /// sentence or sentence+context
    #[arg(long, default_value = "sentence", value_name = "TEXT")]
    candidate: String,
}

/// Where the tables go.
#[derive(Debug, clap::Args)]
pub struct Output {
    /// Directory for all tables, which must not exist yet
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Formats of the files in --out
    #[arg(long, value_enum, value_delimiter = ',', default_value = "csv,parquet", value_name = "FORMAT")]
    formats: Vec<Format>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Encoding {
    /// The settings under which `model` embeds.
    pub fn spec(&self, model: &str, store: &Store) -> Result<ExperimentSpec> {
        let mut spec =
            encoder::spec(model, &self.encoder, Some(&self.questions), Some(&self.passages), store)?;
        spec.evaluate.candidate = candidate(&self.candidate)?;
        Ok(spec)
    }

    fn names(&self) -> Result<Vec<DatasetRef>> {
        let name = |text: &String| text.parse().map_err(|e| anyhow::anyhow!("--data {text}: {e}"));
        self.data.iter().map(name).collect()
    }

    /// What reads each dataset, whatever it is called.
    pub fn loaders(&self) -> Result<Vec<String>> {
        self.names()?.iter().map(|name| Ok(corpus::catalogue::locate(name)?.name)).collect()
    }

    /// The datasets, with the languages and questions that are asked for; their remarks go to `progress`.
    pub fn datasets(&self, spec: &ExperimentSpec, progress: &mut Progress) -> Result<Vec<Dataset>> {
        let names = self.names()?;
        DatasetRef::check_labels("--data", &names)?;
        let mut opened = Vec::new();
        for name in &names {
            let mut dataset = corpus::open(name, spec.evaluate.candidate)?;
            if !self.languages.is_empty() {
                dataset = dataset.restrict(&self.languages)?;
            }
            if let Some(count) = self.limit_questions {
                dataset = dataset.limit_questions(count as usize);
            }
            for note in &dataset.notes {
                progress.line(&format!("note: {}: {note}", dataset.name));
            }
            opened.push(dataset);
        }
        Ok(opened)
    }

    /// The model on its device.
    pub fn open_model(&self, spec: &ExperimentSpec, progress: &mut Progress) -> Result<Encoder> {
        progress.event(&Event::Progress { stage: Stage::Loading, done: 0, total: 1 });
        let device = device::open(&self.encoder.device)?;
        let encoder = run::open_model(&spec.model, spec.seed, &device, Dtype::F32)?;
        encoder::tell_prefixes(&encoder, progress);
        Ok(encoder)
    }

    /// The same; languages of the data that its adapters lack are named.
    pub fn encoder(
        &self,
        spec: &ExperimentSpec,
        datasets: &[Dataset],
        progress: &mut Progress,
    ) -> Result<Encoder> {
        let encoder = self.open_model(spec, progress)?;
        for dataset in datasets {
            if let Some(note) = run::adapter_note(&encoder, &dataset.languages) {
                progress.line(&format!("note: {}: {note}", dataset.name));
            }
        }
        Ok(encoder)
    }
}

impl Output {
    /// Before anything long begins: may the tables be written where they should?
    pub fn check(&self) -> Result<()> {
        if let Some(out) = &self.out {
            ensure!(!out.exists(), "{}: exists already; choose another --out", out.display());
        }
        ensure!(
            !self.formats.contains(&Format::Trec),
            "--formats trec: these tables are no TREC run; choose csv, parquet, json, markdown or latex"
        );
        Ok(())
    }

    /// Writes all tables, with `about` as `about.json`, and prints: one JSON object, or the blocks `shown`.
    pub fn finish(
        &self,
        tables: &[(&str, DataFrame)],
        about: &Value,
        shown: &[String],
        progress: &mut Progress,
    ) -> Result<()> {
        if let Some(out) = &self.out {
            whole_dir(out, |dir| self.write(dir, tables, about))?;
            progress.line(&format!("written to {}", out.display()));
        }
        if !self.json {
            return print(&shown.join("\n\n"));
        }
        let mut all = Map::new();
        for (name, frame) in tables {
            let bytes = frame_bytes(frame.clone(), name, Format::Json)?;
            let table: Value = serde_json::from_slice(&bytes).context("the table as JSON")?;
            all.insert((*name).to_owned(), table["rows"].clone());
        }
        let mut object = about.clone();
        object["tables"] = Value::Object(all);
        print_json(&object)
    }

    fn write(&self, dir: &Path, tables: &[(&str, DataFrame)], about: &Value) -> Result<()> {
        for (name, frame) in tables {
            for format in &self.formats {
                let bytes = frame_bytes(frame.clone(), name, *format)?;
                replace(&dir.join(format!("{name}.{}", format.extension())), &bytes)?;
            }
        }
        replace(&dir.join("about.json"), &serde_json::to_vec_pretty(about)?)
    }
}

/// Some columns of a frame as a text table, under a title; columns in which nothing stands are left out, and so are rows that
/// `keep` refuses (it gets the frame and the row).
pub fn block(
    title: &str,
    frame: &DataFrame,
    columns: &[&str],
    keep: &dyn Fn(&DataFrame, usize) -> bool,
) -> Result<String> {
    let rows: Vec<usize> = (0..frame.height()).filter(|r| keep(frame, *r)).collect();
    let columns: Vec<&Column> = columns.iter().map(|name| frame.column(name)).collect::<Result<_, _>>()?;
    let mut cells: Vec<(&str, Vec<String>)> = Vec::new();
    for column in columns {
        let values: Vec<String> = rows.iter().map(|r| Ok(shown(&column.get(*r)?))).collect::<Result<_>>()?;
        if values.iter().any(|v| !v.is_empty()) {
            cells.push((column.name().as_str(), values));
        }
    }
    let headings: Vec<&str> = cells.iter().map(|(name, _)| *name).collect();
    let lines: Vec<Vec<String>> =
        (0..rows.len()).map(|row| cells.iter().map(|(_, values)| values[row].clone()).collect()).collect();
    Ok(format!("{title}\n{}", plain(&headings, &lines)))
}

/// The text at a row of a column; empty where there is none.
pub fn text_at(frame: &DataFrame, column: &str, row: usize) -> String {
    frame.column(column).ok().and_then(|c| c.get(row).ok().map(|v| shown(&v))).unwrap_or_default()
}

fn shown(value: &AnyValue) -> String {
    match value {
        AnyValue::Null => String::new(),
        AnyValue::Float64(x) => format!("{x:.4}"),
        AnyValue::Boolean(flag) => if *flag { "low" } else { "-" }.to_owned(),
        other => other.str_value().into_owned(),
    }
}
