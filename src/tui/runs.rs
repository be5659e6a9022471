//! The list of runs: its columns, filter and order.

use super::filter::Filter;
use super::message::{RunRow, SweepRow};
use super::model::Runs;
use super::table::csv_line;
use super::text;

/// Columns of the list; a filter names them.
pub const COLUMNS: [&str; 12] = [
    "run", "state", "step", "steps", "loss", "mono", "cross", "multi", "distance", "sampling", "alpha",
    "model",
];

/// Views beside the list.
pub const VIEWS: [&str; 4] = ["loss", "scores", "ratio", "configuration"];

/// The cells of a run in the order of [`COLUMNS`].
#[must_use]
pub fn cells(row: &RunRow) -> [String; 12] {
    let summary = &row.summary;
    let weights = summary.spec.as_ref().and_then(|s| s.sampling.weights().ok());
    let map = |setting: &str| row.score(setting, "map").map_or_else(|| "-".into(), |v| text::score("map", v));
    [
        summary.id.clone(),
        summary.phase.word().to_owned(),
        summary.step.to_string(),
        summary.steps.to_string(),
        row.loss.filter(|l| l.is_finite()).map_or_else(|| "-".into(), |l| format!("{l:.4}")),
        map("mono"),
        map("cross"),
        map("multi"),
        row.score("multi", "rank_distance").map_or_else(|| "-".into(), |v| text::score("rank_distance", v)),
        weights.map_or("-", |w| w.label()).to_owned(),
        weights.and_then(|w| w.alpha()).map_or_else(|| "-".into(), |a| format!("{a:.2}")),
        summary.spec.as_ref().map_or("-", |s| s.model.base.as_str()).to_owned(),
    ]
}

impl Runs {
    /// The runs, of the chosen sweep where there is one, that pass the filter, in the chosen order, and what is wrong with the filter.
    #[must_use]
    pub fn visible(&self) -> (Vec<&RunRow>, Option<String>) {
        let (filter, error) = match Filter::parse(&self.filter, &COLUMNS) {
            Ok(filter) => (filter, None),
            Err(error) => (Filter::default(), Some(error)),
        };
        let sweep = self.chosen_sweep();
        let is_in = |row: &&RunRow| sweep.is_none_or(|s| s.runs.contains(&row.summary.run.path));
        let mut rows: Vec<&RunRow> =
            self.rows.iter().filter(is_in).filter(|r| filter.passes(&cells(r))).collect();
        // Column 0 means: newest first, as they come.
        if self.sort > 0 {
            rows.sort_by(|a, b| {
                let (x, y) = (&cells(a)[self.sort], &cells(b)[self.sort]);
                match (x.parse::<f64>(), y.parse::<f64>()) {
                    (Ok(x), Ok(y)) => y.total_cmp(&x),
                    (Ok(_), Err(_)) => std::cmp::Ordering::Less,
                    (Err(_), Ok(_)) => std::cmp::Ordering::Greater,
                    _ => x.cmp(y),
                }
            });
        }
        if self.is_reversed {
            rows.reverse();
        }
        (rows, error)
    }

    /// The run under the cursor.
    #[must_use]
    pub fn under_cursor(&self) -> Option<&RunRow> {
        self.visible().0.get(self.cursor).copied()
    }

    /// The marked runs in the order of marking; without any, the one under the cursor.
    #[must_use]
    pub fn compared(&self) -> Vec<&RunRow> {
        let marked: Vec<&RunRow> =
            self.marked.iter().filter_map(|m| self.rows.iter().find(|r| r.summary.run.path == *m)).collect();
        if marked.is_empty() { self.under_cursor().into_iter().collect() } else { marked }
    }

    /// Whether the comparison is of lines: scores or configuration.
    #[must_use]
    pub fn is_scrolled(&self) -> bool {
        matches!(VIEWS[self.view % VIEWS.len()], "scores" | "configuration")
    }

    /// The sweep that the list shows alone.
    #[must_use]
    pub fn chosen_sweep(&self) -> Option<&SweepRow> {
        let id = self.sweep.as_ref()?;
        self.sweeps.iter().find(|s| s.id == *id)
    }

    /// The list as CSV.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut lines = csv_line(COLUMNS.into_iter());
        for row in self.visible().0 {
            let cells = cells(row);
            lines += &csv_line(cells.iter().map(|c| if c == "-" { "" } else { c.as_str() }));
        }
        lines
    }

    /// Keys of the specs that differ between the compared runs, with the value of each.
    #[must_use]
    pub fn config_differences(&self) -> Vec<(String, Vec<String>)> {
        let specs: Vec<Vec<(String, String)>> = self.compared().iter().map(|r| flat(r)).collect();
        let mut keys: Vec<&String> = specs.iter().flatten().map(|(k, _)| k).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter()
            .map(|key| {
                let value = |spec: &Vec<(String, String)>| {
                    spec.iter().find(|(k, _)| k == key).map_or_else(|| "-".into(), |(_, v)| v.clone())
                };
                (key.clone(), specs.iter().map(value).collect::<Vec<String>>())
            })
            .filter(|(_, values)| values.len() == 1 || values.iter().any(|v| *v != values[0]))
            .collect()
    }
}

fn flat(row: &RunRow) -> Vec<(String, String)> {
    fn walk(prefix: &str, value: &serde_json::Value, out: &mut Vec<(String, String)>) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, value) in map {
                    let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                    walk(&key, value, out);
                }
            }
            serde_json::Value::Null => {}
            serde_json::Value::String(text) => out.push((prefix.to_owned(), text.clone())),
            other => out.push((prefix.to_owned(), other.to_string())),
        }
    }
    let mut out = Vec::new();
    if let Some(value) = row.summary.spec.as_ref().and_then(|s| serde_json::to_value(s).ok()) {
        walk("", &value, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::testing::row;

    fn runs() -> Runs {
        let rows = vec![row("a-001", Some(0.5), 1.0), row("b-002", None, 0.0), row("c-003", Some(0.1), 0.5)];
        Runs { rows, is_loaded: true, ..Runs::default() }
    }

    #[test]
    fn lists_are_filtered_and_sorted_by_column() {
        let mut runs = runs();
        runs.filter = "alpha>=0.5".into();
        assert_eq!(
            runs.visible().0.iter().map(|r| r.summary.id.as_str()).collect::<Vec<_>>(),
            ["a-001", "c-003"]
        );
        runs.filter.clear();
        runs.sort = COLUMNS.iter().position(|c| *c == "loss").expect("loss");
        assert_eq!(
            runs.visible().0.iter().map(|r| r.summary.id.as_str()).collect::<Vec<_>>(),
            ["a-001", "c-003", "b-002"]
        );
        runs.filter = "oops:x".into();
        assert!(runs.visible().1.is_some());
        assert_eq!(runs.csv().lines().count(), 4);
    }

    #[test]
    fn only_differing_keys_are_compared() {
        let mut runs = runs();
        assert!(runs.config_differences().len() > 20, "one run shows its whole spec");
        runs.marked = runs.rows.iter().take(2).map(|r| r.summary.run.path.clone()).collect();
        let keys: Vec<String> = runs.config_differences().into_iter().map(|d| d.0).collect();
        assert_eq!(keys, ["name", "sampling.alpha"]);
    }
}
