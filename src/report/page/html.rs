//! A page as one HTML file: style and figures inside, readable on a phone, on a screen and in print.

use std::fmt::Write as _;

use super::{Block, Page, Table};

const STYLE: &str = "
:root { color-scheme: light; }
body { margin: 0; background: #fff; color: #1b1b1b; font: 16px/1.5 Arimo, 'Liberation Sans', Arial, Helvetica, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #ccc; }
p { overflow-wrap: anywhere; }
p.note { border-left: 4px solid #b45309; padding: .25rem .75rem; background: #fff7ed; }
.wide { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #888; white-space: nowrap; }
th.n, td.n { text-align: right; white-space: nowrap; }
td:not(.n) { overflow-wrap: anywhere; min-width: 7rem; }
figure { margin: 1rem 0; }
figure svg { display: block; width: 100%; height: auto; max-width: 34rem; }
figcaption { font-size: .875rem; color: #444; }
pre { background: #f5f5f5; padding: .75rem; overflow-x: auto; font-size: .8125rem; white-space: pre-wrap; overflow-wrap: anywhere; }
@media print {
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  .wide { overflow: visible; }
  table { font-size: 8pt; }
  thead { display: table-header-group; }
  tr, figure, p.note { break-inside: avoid; }
  h2 { break-after: avoid; }
}
";

/// The file.
pub fn render(page: &Page) -> String {
    let title = escape(&page.title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"generator\" content=\"polymix {}\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n",
        crate::VERSION
    );
    let mut is_open = false;
    for block in &page.blocks {
        match block {
            Block::Heading(text) => {
                out += if is_open { "</section>\n<section>\n" } else { "<section>\n" };
                is_open = true;
                out += &format!("<h2>{}</h2>\n", escape(text));
            }
            Block::Text(text) => out += &format!("<p>{}</p>\n", escape(text)),
            Block::Warning(text) => out += &format!("<p class=\"note\">{}</p>\n", escape(text)),
            Block::Table(found) => table(&mut out, found),
            Block::Figure { caption, svg, .. } => {
                let caption = escape(caption);
                out += &format!("<figure>\n{svg}<figcaption>{caption}</figcaption>\n</figure>\n");
            }
            Block::Code(text) => out += &format!("<pre>{}</pre>\n", escape(text)),
        }
    }
    out + if is_open { "</section>\n" } else { "" } + "</main>\n</body>\n</html>\n"
}

fn table(out: &mut String, table: &Table) {
    let class = |is_number: bool| if is_number { " class=\"n\"" } else { "" };
    *out += "<div class=\"wide\"><table>\n<thead><tr>";
    for (name, is_number) in &table.columns {
        let _ = write!(out, "<th{}>{}</th>", class(*is_number), escape(name));
    }
    *out += "</tr></thead>\n<tbody>\n";
    for row in &table.rows {
        *out += "<tr>";
        for (cell, (_, is_number)) in row.iter().zip(&table.columns) {
            let _ = write!(out, "<td{}>{}</td>", class(*is_number), escape(cell));
        }
        *out += "</tr>\n";
    }
    *out += "</tbody>\n</table></div>\n";
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            _ => out.push(c),
        }
    }
    out
}
