//! `polymix compare RUN paper`: a run beside the published numbers.

use anyhow::{Result, ensure};
use serde_json::json;

use super::table::plain;
use super::{print, print_json};
use crate::evaluate::read;
use crate::report::Source;
use crate::report::paper::{Beside, Column, MEAN, Page, beside};
use crate::run::Store;

/// Prints the last evaluation of each source beside the paper; `names` holds `paper`, `paper:MODEL` or
/// `paper:MODEL:SAMPLING` once.
///
/// # Errors
/// Where a source is not found or has no evaluation, and where the paper is not named exactly once.
pub fn run(names: &[String], dataset: Option<&str>, as_json: bool, store: &Store) -> Result<()> {
    let columns = names.iter().filter_map(|n| Column::parse(n)).collect::<Result<Vec<_>>>()?;
    ensure!(
        columns.len() == 1 && names.len() > 1,
        "give one or more runs and the paper once, for example: polymix compare last paper:XLM-R:hybrid"
    );
    for name in names.iter().filter(|n| Column::parse(n).is_none()) {
        let source = Source::find(name, store)?.only(None, dataset)?;
        source.measured()?;
        for measured in source.last() {
            let evaluation = read(&measured.dir)?;
            let page = beside(&measured.dataset, &evaluation, source.spec.as_ref(), &columns[0]);
            if as_json {
                let protocol = evaluation.protocol.stated();
                print_json(&json!({
                    "v": 1, "source": source.name, "dataset": measured.dataset, "protocol": protocol, "paper": page
                }))?;
            } else {
                print(&text(&source.name, &measured.label(), &page))?;
            }
        }
    }
    Ok(())
}

/// One evaluation beside the paper: a row a language, three columns a setting and metric.
pub fn text(source: &str, label: &str, page: &Page) -> String {
    let mut out = format!("{source} on {label} beside the paper ({}, {})\n", page.model, page.sampling);
    let mut kinds: Vec<(&str, &str, u8)> = Vec::new();
    let mut languages: Vec<&str> = Vec::new();
    for row in &page.rows {
        let kind = (row.setting, row.metric, row.table);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
        if row.language != MEAN && !languages.contains(&row.language) {
            languages.push(row.language);
        }
    }
    languages.push(MEAN);
    for (setting, metric, table) in kinds {
        let own = |language: &str| -> Option<&Beside> {
            page.rows.iter().find(|r| (r.setting, r.metric, r.language) == (setting, metric, language))
        };
        let decimals = if metric == "rank_distance" { 1 } else { 4 };
        let rows: Vec<Vec<String>> = languages
            .iter()
            .filter_map(|language| {
                let row = own(language)?;
                Some(vec![
                    (*language).to_owned(),
                    row.n.to_string(),
                    format!("{:.decimals$}", row.value),
                    format!("{:.decimals$}", row.published),
                    format!("{:+.decimals$}", row.difference),
                ])
            })
            .collect();
        let headings = ["language", "n", "here", "paper", "difference"];
        out += &format!("\n{setting} {metric} (table {table})\n{}\n", plain(&headings, &rows));
    }
    out += "\nnot the same, or not known\n";
    for line in &page.differs {
        out += &format!("- {line}\n");
    }
    out.trim_end().to_owned()
}
