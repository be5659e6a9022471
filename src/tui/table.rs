//! The tables screen's contents: rows of text and numbers from an evaluation, filtered, sorted, with columns chosen.

use super::filter::Filter;
use super::model::{Results, TableView};
use super::scores::{SHOWN, Scores};
use super::text;
use crate::evaluate::MULTI_POOL;

/// The three tables.
pub const KINDS: [&str; 3] = ["language pairs", "languages", "macro means"];

/// A cell: what is shown, and the number behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub text: String,
    pub number: Option<f64>,
    /// Which number of the evaluation it is, where differences in it can be tested.
    pub at: Option<At>,
}

/// A number of the evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub metric: &'static str,
    /// Of a macro mean its setting, else the languages of question and passage.
    pub place: Result<(usize, usize), &'static str>,
}

impl Cell {
    fn word(text: &str) -> Self {
        Self { text: text.to_owned(), number: None, at: None }
    }

    fn count(n: usize) -> Self {
        Self { text: n.to_string(), number: Some(n as f64), at: None }
    }

    fn score(metric: &str, value: Option<f64>) -> Self {
        let value = value.filter(|v| v.is_finite());
        let text = value.map_or_else(|| "-".into(), |v| text::score(metric, v));
        Self { text, number: value, at: None }
    }

    fn fixed(value: f64, places: usize) -> Self {
        let number = Some(value).filter(|v| v.is_finite());
        Self { text: number.map_or_else(|| "-".into(), |v| format!("{v:.places$}")), number, at: None }
    }

    /// The same as a number whose differences can be tested.
    fn of(self, metric: &str, place: Result<(usize, usize), &'static str>) -> Self {
        let at = SHOWN.into_iter().find(|m| *m == metric).map(|metric| At { metric, place });
        Self { at, ..self }
    }

    fn before(&self, other: &Self) -> std::cmp::Ordering {
        match (self.number, other.number) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            // What was not measured comes last in either direction's first half.
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => self.text.cmp(&other.text),
        }
    }
}

/// A table with all its rows and columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    pub headings: Vec<String>,
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    fn of(kind: usize, scores: &Scores) -> Self {
        match kind % KINDS.len() {
            0 => pairs(scores),
            1 => languages(scores),
            _ => means(scores),
        }
    }

    /// The table that a view shows.
    ///
    /// # Errors
    /// What is wrong with the filter, in words; the table is then not filtered.
    #[must_use]
    pub fn shown(view: &TableView, scores: &Scores) -> (Self, Option<String>) {
        let mut table = Self::of(view.kind, scores);
        let names: Vec<&str> = table.headings.iter().map(String::as_str).collect();
        let error = match Filter::parse(&view.filter, &names) {
            Ok(filter) => {
                table
                    .rows
                    .retain(|row| filter.passes(&row.iter().map(|c| c.text.as_str()).collect::<Vec<_>>()));
                None
            }
            Err(error) => Some(error),
        };
        let hidden = |name: &String| view.hidden.iter().any(|(k, n)| *k == view.kind && n == name);
        let kept: Vec<usize> = (0..table.headings.len()).filter(|i| !hidden(&table.headings[*i])).collect();
        table.headings = kept.iter().map(|i| table.headings[*i].clone()).collect();
        for row in &mut table.rows {
            *row = kept.iter().map(|i| row[*i].clone()).collect();
        }
        if let Some((column, is_down)) = view.sort.filter(|(c, _)| *c < table.headings.len()) {
            table.rows.sort_by(|a, b| {
                let (x, y) = (&a[column], &b[column]);
                if is_down && x.number.is_some() && y.number.is_some() { y.before(x) } else { x.before(y) }
            });
            if is_down && table.rows.iter().all(|r| r[column].number.is_none()) {
                table.rows.reverse();
            }
        }
        (table, error)
    }

    /// The names of all columns of a kind.
    #[must_use]
    pub fn columns(kind: usize, scores: &Scores) -> Vec<String> {
        Self::of(kind, scores).headings
    }

    /// As CSV: what is shown, in its order; what was not measured is empty. Marks stand in a column of their own behind
    /// every column that has any, so that numbers stay numbers.
    #[must_use]
    pub fn csv(&self, mark: impl Fn(&Cell) -> Option<&'static str>) -> String {
        let is_marked = |i: &usize| self.rows.iter().any(|row| mark(&row[*i]).is_some());
        let marked: Vec<bool> = (0..self.headings.len()).map(|i| is_marked(&i)).collect();
        let mut lines = String::new();
        let mut add = |cells: &mut dyn Iterator<Item = (String, &'static str)>, head: &str| {
            let cells: Vec<String> = cells
                .zip(&marked)
                .flat_map(|((text, mark), is_marked)| {
                    let beside = if head.is_empty() { mark.to_owned() } else { format!("{text}{head}") };
                    std::iter::once(text).chain(is_marked.then_some(beside))
                })
                .collect();
            lines += &csv_line(cells.iter().map(String::as_str));
        };
        add(&mut self.headings.iter().map(|h| (h.clone(), "")), " mark");
        for row in &self.rows {
            let text = |c: &Cell| if c.text == "-" { String::new() } else { c.text.clone() };
            add(&mut row.iter().map(|c| (text(c), mark(c).unwrap_or(""))), "");
        }
        lines
    }
}

impl Results {
    /// The mark of a cell where another run is subtracted and its difference was tested: a star where it is significant.
    #[must_use]
    pub fn table_mark(&self, cell: &Cell) -> Option<&'static str> {
        let At { metric, place } = cell.at.filter(|_| cell.number.is_some())?;
        let tested = match place {
            Ok((query, passage)) => self.tested_cell(metric, query, passage)?,
            Err(setting) => self.tested_mean(metric, setting)?,
        };
        Some(if tested.is_significant() { "*" } else { "" })
    }
}

/// One line of a CSV file (RFC 4180).
#[must_use]
pub fn csv_line<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let quote = |cell: &str| {
        if cell.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.to_owned()
        }
    };
    cells.map(quote).collect::<Vec<_>>().join(",") + "\n"
}

fn pairs(scores: &Scores) -> Table {
    let metrics = scores.metrics();
    let size = scores.languages.len();
    let mut headings: Vec<String> = ["setting", "query", "passage", "n"].map(str::to_owned).to_vec();
    headings.extend(metrics.iter().map(|m| (*m).to_owned()));
    let mut rows = Vec::new();
    for (setting, word) in ["mono", "cross", "multi"].into_iter().enumerate() {
        for query in 0..size {
            let passages: Vec<usize> = match setting {
                0 => vec![query],
                1 => (0..size).filter(|p| *p != query).collect(),
                _ => vec![size],
            };
            for passage in passages {
                let cell = |metric: &str| scores.matrix(metric).and_then(|m| m.get(query, passage));
                let Some(n) = metrics.iter().find_map(|m| cell(m)).map(|c| c.1) else { continue };
                let name = scores.languages.get(passage).map_or(MULTI_POOL, String::as_str);
                let mut row = vec![
                    Cell::word(word),
                    Cell::word(&scores.languages[query]),
                    Cell::word(name),
                    Cell::count(n),
                ];
                let score =
                    |m: &&'static str| Cell::score(m, cell(m).map(|c| c.0)).of(m, Ok((query, passage)));
                row.extend(metrics.iter().map(score));
                rows.push(row);
            }
        }
    }
    Table { headings, rows }
}

fn languages(scores: &Scores) -> Table {
    let size = scores.languages.len();
    let mut headings = vec!["language".to_owned()];
    for metric in ["map", "recall@10"] {
        headings.extend(["mono", "as query", "as passage", "multi"].map(|s| format!("{metric} {s}")));
    }
    headings.extend(
        ["rank distance", "median", "passage rank", "top-10 share", "pool share", "wrong, own language"]
            .map(str::to_owned),
    );
    let rows = (0..size)
        .map(|l| {
            let mut row = vec![Cell::word(&scores.languages[l])];
            for metric in ["map", "recall@10"] {
                let get = |q: usize, p: usize| scores.matrix(metric).and_then(|m| m.get(q, p)).map(|c| c.0);
                let mean = |values: Vec<f64>| {
                    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
                };
                let others = || (0..size).filter(|o| *o != l);
                row.push(Cell::score(metric, get(l, l)).of(metric, Ok((l, l))));
                row.push(Cell::score(metric, mean(others().filter_map(|o| get(l, o)).collect())));
                row.push(Cell::score(metric, mean(others().filter_map(|o| get(o, l)).collect())));
                row.push(Cell::score(metric, get(l, size)).of(metric, Ok((l, size))));
            }
            let bias = scores.bias.iter().find(|b| b.language == l);
            row.extend(bias.map_or_else(
                || vec![Cell::word("-"); 6],
                |b| {
                    vec![
                        Cell::fixed(b.rank_distance, 1).of("rank_distance", Ok((l, size))),
                        Cell::fixed(b.rank_distance_median, 1),
                        Cell::fixed(b.passage_rank, 1),
                        Cell::fixed(b.top10_share, 4),
                        Cell::fixed(b.pool_share, 4),
                        Cell::fixed(b.wrong_top1_own, 4),
                    ]
                },
            ));
            row
        })
        .collect();
    Table { headings, rows }
}

fn means(scores: &Scores) -> Table {
    let mut metrics: Vec<&str> = Vec::new();
    for score in &scores.means {
        if !metrics.contains(&score.metric.as_str()) {
            metrics.push(&score.metric);
        }
    }
    let settings = ["mono", "cross", "multi"];
    let headings = std::iter::once("metric").chain(settings).map(str::to_owned).collect();
    let rows = metrics
        .into_iter()
        .map(|metric| {
            let mut row = vec![Cell::word(metric)];
            row.extend(settings.map(|s| Cell::score(metric, scores.mean(s, metric)).of(metric, Err(s))));
            row
        })
        .collect();
    Table { headings, rows }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::testing::scores;

    #[test]
    fn every_measured_cell_is_a_row() {
        let scores = scores(3, 0.5);
        let (table, error) = Table::shown(&TableView::default(), &scores);
        assert_eq!((table.rows.len(), error), (3 + 6 + 3, None));
        assert_eq!(table.headings[..4], ["setting", "query", "passage", "n"]);
    }

    #[test]
    fn filters_sorts_and_hides() {
        let scores = scores(3, 0.5);
        let mut view = TableView { filter: "cross q:en".into(), ..TableView::default() };
        view.hidden.push((0, "n".into()));
        let map = Table::columns(0, &scores).iter().position(|c| c == "map").expect("map") - 1;
        view.sort = Some((map, true));
        let (table, _) = Table::shown(&view, &scores);
        assert_eq!(table.rows.len(), 2);
        assert!(!table.headings.contains(&"n".to_owned()));
        assert!(table.rows[0][map].number >= table.rows[1][map].number);
        view.filter = "map>x".into();
        assert!(Table::shown(&view, &scores).1.is_some_and(|e| e.contains("number")));
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        assert_eq!(csv_line(["a", "b,c", "d\"e"].into_iter()), "a,\"b,c\",\"d\"\"e\"\n");
        let scores = scores(2, 0.5);
        let (table, _) = Table::shown(&TableView { kind: 1, ..TableView::default() }, &scores);
        assert!(table.headings.contains(&"wrong, own language".to_owned()));
        assert!(table.csv(|_| None).lines().next().is_some_and(|l| l.ends_with("\"wrong, own language\"")));
        assert_eq!(table.csv(|_| None).lines().count(), 3);
    }
}
