//! The report of a run or a sweep: one page that says what was done, what came of it, and how to do it again.
//!
//! [`of_run`] and [`of_sweep`] put a [`Page`] together from what lies in the directories; [`write`] makes a file of it. HTML
//! holds its figures, and needs no network and no script. Markdown has them in a folder beside it: what shows Markdown
//! commonly refuses SVG in data URIs, and a text with hundreds of kilobytes in one line is no longer one that people edit.

mod html;
mod markdown;
mod run;
mod sweep;

use std::path::Path;

use anyhow::{Result, bail, ensure};
use polars::prelude::DataFrame;

pub use run::of_run;
pub use sweep::of_sweep;

use super::figure::Figure;
use super::text::{is_number, shown};

/// A report before it is written.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub title: String,
    blocks: Vec<Block>,
}

#[derive(Clone, Debug)]
enum Block {
    Heading(String),
    Text(String),
    /// What a reader should know before believing the rest.
    Warning(String),
    Table(Table),
    Figure {
        name: String,
        caption: String,
        svg: String,
    },
    Code(String),
}

#[derive(Clone, Debug, Default)]
struct Table {
    /// Heading, and whether the column holds numbers.
    columns: Vec<(String, bool)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn of(frame: &DataFrame) -> Result<Self> {
        let columns = frame.columns().iter().map(|c| (c.name().to_string(), is_number(c.dtype()))).collect();
        let rows = (0..frame.height())
            .map(|row| frame.columns().iter().map(|c| Ok(shown(&c.get(row)?))).collect())
            .collect::<Result<_>>()?;
        Ok(Self { columns, rows })
    }

    /// Two columns of text.
    fn pairs(names: [&str; 2], rows: impl IntoIterator<Item = (String, String)>) -> Self {
        let columns = names.iter().map(|name| ((*name).to_owned(), false)).collect();
        Self { columns, rows: rows.into_iter().map(|(a, b)| vec![a, b]).collect() }
    }

    /// Without these columns, and without those that are empty in every row.
    fn without(mut self, names: &[&str]) -> Self {
        let is_empty = |c: usize| !self.rows.is_empty() && self.rows.iter().all(|row| row[c].is_empty());
        let keep: Vec<bool> = (0..self.columns.len())
            .map(|c| !names.contains(&self.columns[c].0.as_str()) && !is_empty(c))
            .collect();
        let mut kept = keep.iter();
        self.columns.retain(|_| *kept.next().unwrap_or(&true));
        for row in &mut self.rows {
            let mut kept = keep.iter();
            row.retain(|_| *kept.next().unwrap_or(&true));
        }
        self
    }
}

impl Page {
    fn new(title: String) -> Self {
        Self { title, blocks: Vec::new() }
    }

    fn heading(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Heading(text.into()));
    }

    fn text(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Text(text.into()));
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Warning(text.into()));
    }

    fn table(&mut self, table: Table) {
        if !table.rows.is_empty() {
            self.blocks.push(Block::Table(table));
        }
    }

    fn code(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Code(text.into()));
    }

    /// A figure; where it cannot be drawn, why not.
    fn figure(&mut self, name: &str, caption: &str, figure: Result<Figure>) {
        match figure {
            Ok(figure) => {
                let (name, caption, svg) = (name.to_owned(), caption.to_owned(), figure.svg());
                self.blocks.push(Block::Figure { name, caption, svg });
                for note in figure.notes {
                    self.warn(note);
                }
            }
            Err(error) => self.warn(format!("{caption}: {error:#}")),
        }
    }
}

/// Makes sure that a report can be written to `out`, before any work.
///
/// # Errors
/// Where `out` has another extension than `.html` or `.md`, or exists and `force` is not given.
pub fn check(out: &Path, force: bool) -> Result<()> {
    is_html(out)?;
    ensure!(
        force || !out.exists(),
        "{}: exists already; choose another file, or --force to replace it",
        out.display()
    );
    Ok(())
}

fn is_html(out: &Path) -> Result<bool> {
    match out.extension().map(|e| e.to_string_lossy().to_lowercase()).as_deref() {
        Some("html" | "htm") => Ok(true),
        Some("md" | "markdown") => Ok(false),
        _ => bail!("{}: a report is HTML or Markdown; end the file's name in .html or .md", out.display()),
    }
}

/// Writes the file; Markdown's figures go into a folder of its name beside it.
///
/// # Errors
/// As [`check`], and where the disk is full or read-only; an old file is then as it was.
pub fn write(page: &Page, out: &Path, force: bool) -> Result<()> {
    check(out, force)?;
    if is_html(out)? {
        return crate::files::replace(out, html::render(page).as_bytes());
    }
    let folder = markdown::folder(out);
    let text = markdown::render(page, &folder);
    let beside = out.with_file_name(&folder);
    let figures = markdown::figures(page);
    if !figures.is_empty() {
        crate::files::create_dir(&beside)?;
    }
    for (name, svg) in figures {
        crate::files::replace(&beside.join(name), svg.as_bytes())?;
    }
    crate::files::replace(out, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let mut page = Page::new("a <b> & \"c\" | d".into());
        page.heading("Results");
        page.text("x < y");
        page.warn("careful");
        page.table(Table {
            columns: vec![("name|x".into(), false), ("value".into(), true)],
            rows: vec![vec!["<script>".into(), "0.5".into()], vec!["b".into(), String::new()]],
        });
        page.blocks.push(Block::Figure {
            name: "map".into(),
            caption: "a map".into(),
            svg: "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"240pt\" height=\"9pt\" viewBox=\"0 0 240 9\"></svg>\n".into(),
        });
        page.code("polymix train 'x' <spec>");
        page
    }

    #[test]
    fn html_is_one_file_without_scripts_and_with_nothing_to_fetch() {
        let html = html::render(&page());
        for part in [
            "<title>a &lt;b&gt; &amp; &quot;c&quot; | d</title>",
            "<meta name=\"viewport\"",
            "<th class=\"n\">value</th>",
            "<td>&lt;script&gt;</td><td class=\"n\">0.5</td>",
            "<figcaption>a map</figcaption>",
            "<svg ",
            "@media print",
            "polymix train &#39;x&#39; &lt;spec&gt;",
        ] {
            assert!(html.contains(part), "no {part} in {html}");
        }
        for part in ["<script", "src=", "href=", "@import", "url("] {
            assert!(!html.contains(part), "{part}");
        }
        for tag in ["table", "figure", "section", "main", "pre", "div"] {
            let count = |text: &str| html.matches(text).count();
            assert_eq!(count(&format!("<{tag}")), count(&format!("</{tag}>")), "{tag}");
        }
    }

    #[test]
    fn markdown_has_its_figures_beside_it() {
        let dir = tempfile::tempdir().expect("dir");
        let out = dir.path().join("my report.md");
        write(&page(), &out, false).expect("written");
        let text = std::fs::read_to_string(&out).expect("text");
        for part in [
            "# a \\<b> & \"c\" \\| d",
            "| name\\|x | value |\n| --- | ---: |\n| \\<script> | 0.5 |",
            "![a map](<my report.figures/map.svg>)",
            "> **Note:** careful",
            "```\npolymix train 'x' <spec>\n```",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        assert!(dir.path().join("my report.figures/map.svg").is_file());
        assert!(write(&page(), &out, false).expect_err("exists").to_string().contains("--force"));
        write(&page(), &out, true).expect("replaced");
        let error = write(&page(), &dir.path().join("x.pdf"), false).expect_err("pdf").to_string();
        assert!(error.contains(".html or .md"), "{error}");
    }
}
