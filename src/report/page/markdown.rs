//! A page as Markdown, with its figures in a folder beside it.

use std::path::Path;

use super::{Block, Page, Table};
use crate::report::text::markdown_cell;

/// Name of the folder of the figures of the file `out`.
pub fn folder(out: &Path) -> String {
    format!("{}.figures", out.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned()))
}

/// File names and contents of the figures.
pub fn figures(page: &Page) -> Vec<(String, &str)> {
    let mut found = Vec::new();
    for block in &page.blocks {
        if let Block::Figure { name, svg, .. } = block {
            found.push((format!("{name}.svg"), svg.as_str()));
        }
    }
    found
}

/// The text; figures are looked for in `folder`.
pub fn render(page: &Page, folder: &str) -> String {
    let mut out = format!("# {}\n", markdown_cell(&page.title));
    for block in &page.blocks {
        out.push('\n');
        match block {
            Block::Heading(text) => out += &format!("## {}\n", markdown_cell(text)),
            Block::Text(text) => out += &format!("{}\n", markdown_cell(text)),
            Block::Warning(text) => out += &format!("> **Note:** {}\n", markdown_cell(text)),
            Block::Table(found) => table(&mut out, found),
            Block::Figure { name, caption, .. } => {
                out += &format!("![{}](<{folder}/{name}.svg>)\n", markdown_cell(caption));
            }
            Block::Code(text) => out += &format!("```\n{}\n```\n", text.trim_end()),
        }
    }
    out
}

fn table(out: &mut String, table: &Table) {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    *out += &line(table.columns.iter().map(|(name, _)| markdown_cell(name)).collect());
    let rule = |(_, is_number): &(String, bool)| if *is_number { "---:" } else { "---" }.to_owned();
    *out += &line(table.columns.iter().map(rule).collect());
    for row in &table.rows {
        *out += &line(row.iter().map(|cell| markdown_cell(cell)).collect());
    }
}
