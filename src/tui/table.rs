//! The tables screen's contents: rows of text and numbers from an evaluation, filtered, sorted, with columns chosen.

use super::filter::Filter;
use super::model::{Results, TableView};
use super::scores::{SHOWN, Scores};
use super::text;
use crate::corpus::language;
use crate::evaluate::{LanguageBias, MULTI_POOL, Setting};
use crate::report::probability;

/// The tables.
pub const KINDS: [&str; 7] =
    ["language pairs", "languages", "means", "scripts and families", "first passages", "fairness", "paper"];

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
            2 => means(scores),
            3 => groups(scores),
            4 => first_passages(scores),
            5 => fairness(scores),
            _ => paper(scores),
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
    for query in 0..size {
        let own =
            |metric: &str| scores.strict.iter().find(|c| c.query_language == query && c.metric == metric);
        let Some(n) = metrics.iter().find_map(|m| own(m)).map(|c| c.n) else { continue };
        let mut row = ["multi_strict", &scores.languages[query], MULTI_POOL].map(Cell::word).to_vec();
        row.push(Cell::count(n));
        row.extend(metrics.iter().map(|m| Cell::score(m, own(m).map(|c| c.value))));
        rows.push(row);
    }
    Table { headings, rows }
}

fn languages(scores: &Scores) -> Table {
    let size = scores.languages.len();
    let mut headings = ["language", "script", "family", "n"].map(str::to_owned).to_vec();
    for metric in ["map", "recall@10"] {
        headings.extend(["mono", "as query", "as passage", "multi"].map(|s| format!("{metric} {s}")));
    }
    headings.extend(
        [
            "map strict",
            "rank distance",
            "median",
            "above least",
            "of the pool",
            "rank difference",
            "passage rank",
            "top-10 share",
            "pool share",
            "own preference",
            "wrong, own language",
        ]
        .map(str::to_owned),
    );
    let rows = (0..size)
        .map(|l| {
            let code = &scores.languages[l];
            let n = scores.matrix("map").and_then(|m| m.get(l, size)).map_or(0, |c| c.1);
            let mut row = [code, language::script(code), language::family(code)].map(Cell::word).to_vec();
            row.push(Cell::count(n));
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
            let strict = scores.strict.iter().find(|c| c.query_language == l && c.metric == "map");
            row.push(Cell::score("map", strict.map(|c| c.value)));
            let unmeasured = LanguageBias::unmeasured(l);
            let b = scores.bias.iter().find(|b| b.language == l).unwrap_or(&unmeasured);
            row.extend([
                Cell::fixed(b.rank_distance, 1).of("rank_distance", Ok((l, size))),
                Cell::fixed(b.rank_distance_median, 1),
                Cell::fixed(b.rank_distance_excess, 1),
                Cell::fixed(b.rank_distance_share, 4),
                Cell::fixed(b.rank_difference, 1),
                Cell::fixed(b.passage_rank, 1),
                Cell::fixed(b.top10_share, 4),
                Cell::fixed(b.pool_share, 4),
                Cell::fixed(b.own_preference, 2),
                Cell::fixed(b.wrong_top1_own, 4),
            ]);
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
    let settings = Setting::ALL.map(Setting::name);
    let columns = settings.iter().flat_map(|s| [format!("{s} macro"), format!("{s} micro")]);
    let headings = std::iter::once("metric".to_owned()).chain(columns).collect();
    let rows = metrics
        .into_iter()
        .map(|metric| {
            let mut row = vec![Cell::word(metric)];
            for setting in settings {
                let micro = scores.micro.iter().find(|s| s.setting == setting && s.metric == metric);
                row.push(Cell::score(metric, scores.mean(setting, metric)).of(metric, Err(setting)));
                row.push(Cell::score(metric, micro.map(|s| s.value)));
            }
            row
        })
        .collect();
    Table { headings, rows }
}

fn table(headings: &[&str], rows: Vec<Vec<Cell>>) -> Table {
    Table { headings: headings.iter().map(|h| (*h).to_owned()).collect(), rows }
}

fn groups(scores: &Scores) -> Table {
    let shown = scores.groups.iter().filter(|(_, m)| SHOWN.contains(&m.metric.as_str()));
    let rows = shown.map(|(grouping, mean)| {
        let metric = mean.metric.as_str();
        let mut row = [grouping.name(), mean.setting.name(), metric, mean.query_group, mean.passage_group]
            .map(Cell::word)
            .to_vec();
        row.extend([Cell::count(mean.cells), Cell::count(mean.n)]);
        row.extend([mean.macro_mean, mean.micro_mean].map(|v| Cell::score(metric, Some(v))));
        row
    });
    table(&["by", "setting", "metric", "query", "passage", "cells", "n", "macro", "micro"], rows.collect())
}

fn first_passages(scores: &Scores) -> Table {
    let rows = scores.histogram.iter().map(|part| {
        let prior = scores
            .bias
            .iter()
            .find(|b| b.language == part.passage_language)
            .map_or(f64::NAN, |b| b.pool_share);
        vec![
            Cell::count(part.k),
            Cell::word(&scores.languages[part.query_language]),
            Cell::word(&scores.languages[part.passage_language]),
            Cell::count(part.count),
            Cell::fixed(part.share, 4),
            Cell::fixed(prior, 4),
            Cell::fixed(part.share / prior, 2),
        ]
    });
    table(&["first", "query", "passage", "n", "share", "pool share", "ratio"], rows.collect())
}

fn fairness(scores: &Scores) -> Table {
    let found = &scores.fairness;
    let value = |v: Option<f64>, places| Cell::fixed(v.unwrap_or(f64::NAN), places);
    let mut rows = Vec::new();
    for s in &found.strata {
        let what = format!("rank distance, {} answers", s.relevant);
        let note =
            format!("median {:.1}, above the least {:.1}, of the pool {:.4}", s.median, s.excess, s.share);
        let value = Cell::fixed(s.mean, 1);
        rows.push(vec![
            Cell::word(&what),
            Cell::count(s.questions),
            value,
            Cell::word("-"),
            Cell::word("-"),
            Cell::word(&note),
        ]);
    }
    for test in &found.friedman {
        let what = format!("Friedman, {}", test.query_language.as_deref().unwrap_or("question ids"));
        let p = test.p.map_or_else(|| "-".to_owned(), probability);
        rows.push(vec![
            Cell::word(&what),
            Cell::count(test.blocks),
            value(test.chi_square, 1),
            Cell { number: test.p, text: p, at: None },
            value(test.kendall_w, 4),
            Cell::word(test.undefined.as_deref().unwrap_or("")),
        ]);
    }
    for peer in &found.peer {
        let what = peer.cutoff.map_or_else(|| peer.name.clone(), |k| format!("{}, first {k}", peer.name));
        rows.push(vec![
            Cell::word(&what),
            Cell::count(peer.questions),
            value(peer.value, 4),
            Cell::word("-"),
            Cell::word("-"),
            Cell::word(&peer.undefined.as_ref().map_or_else(String::new, |why| format!("undefined: {why}"))),
        ]);
    }
    table(&["measure", "n", "value", "p", "kendall w", "note"], rows)
}

fn paper(scores: &Scores) -> Table {
    let rows = scores.paper.iter().map(|row| {
        let mut cells =
            [row.model, row.sampling, row.setting, row.metric, row.language].map(Cell::word).to_vec();
        cells.push(Cell::count(row.n));
        cells.extend([row.value, row.published].map(|v| Cell::score(row.metric, Some(v))));
        let difference = text::signed(row.metric, row.difference);
        cells.push(Cell { text: difference, number: Some(row.difference), at: None });
        cells
    });
    let headings = ["model", "sampling", "setting", "metric", "language", "n", "here", "paper", "difference"];
    table(&headings, rows.collect())
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
