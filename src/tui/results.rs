//! What screens 3 and 4 compute from the chosen evaluation: order of languages, cells, differences, questions.

use super::filter::Filter;
use super::language;
use super::model::{Model, Order, Results};
use super::scores::Scores;
use super::table::csv_line;
use crate::evaluate::{LanguageBias, QueryView};

impl Results {
    /// The metric of the heatmap, if the evaluation has any.
    #[must_use]
    pub fn metric(&self) -> &'static str {
        let metrics = self.scores.as_ref().map_or_else(Vec::new, |s| s.metrics());
        metrics.get(self.metric % metrics.len().max(1)).copied().unwrap_or("map")
    }

    /// Indices of the languages in the chosen order.
    #[must_use]
    pub fn order(&self) -> Vec<usize> {
        let Some(scores) = &self.scores else { return Vec::new() };
        let mut order: Vec<usize> = (0..scores.languages.len()).collect();
        let code = |i: &usize| scores.languages[*i].clone();
        match self.order {
            Order::Code => order.sort_by_key(code),
            Order::Script => order.sort_by_key(|i| (language::script(&scores.languages[*i]), code(i))),
            Order::Family => order.sort_by_key(|i| (language::family(&scores.languages[*i]), code(i))),
            Order::Mean => {
                if let Some(matrix) = scores.matrix(self.metric()) {
                    let mean = |i: &usize| {
                        let mean = matrix.row_mean(*i);
                        if mean.is_finite() { mean } else { f64::NEG_INFINITY }
                    };
                    order.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
                }
            }
        }
        order
    }

    /// True while differences are shown.
    #[must_use]
    pub fn is_difference(&self) -> bool {
        self.other.is_some()
    }

    /// Value and number of questions by language index; as passage `languages.len()` is the multilingual pool. Where
    /// another run is subtracted, its languages are found by code.
    #[must_use]
    pub fn cell(&self, query: usize, passage: usize) -> Option<(f64, usize)> {
        let scores = self.scores.as_ref()?;
        let metric = self.metric();
        let (own, n) = scores.matrix(metric)?.get(query, passage)?;
        let Some((_, other)) = &self.other else { return Some((own, n)) };
        let (theirs, _) =
            other.matrix(metric)?.get(same(scores, other, query)?, same(scores, other, passage)?)?;
        Some((own - theirs, n))
    }

    /// The mean of a row's shown cells; where published numbers are subtracted, of its cross-lingual cells, whose mean
    /// alone is published.
    #[must_use]
    pub fn row_mean(&self, query: usize) -> f64 {
        let metric = self.metric();
        if let (Some(scores), Some((_, other))) = (&self.scores, &self.other)
            && !other.cross_rows.is_empty()
        {
            let own = scores.matrix(metric).map_or(f64::NAN, |m| m.cross_mean(query));
            let theirs =
                same(scores, other, query).and_then(|q| other.cross_rows.get(metric)?.get(q).copied());
            return own - theirs.unwrap_or(f64::NAN);
        }
        let cells = self.order().into_iter().filter_map(|p| self.cell(query, p));
        let (sum, count) = cells.fold((0.0, 0usize), |(sum, n), (value, _)| (sum + value, n + 1));
        sum / count as f64
    }

    /// True while published numbers are subtracted.
    #[must_use]
    pub fn is_beside_paper(&self) -> bool {
        self.other.as_ref().is_some_and(|(_, other)| !other.cross_rows.is_empty())
    }

    /// Smallest and largest value of what is shown; for differences symmetric about 0.
    #[must_use]
    pub fn range(&self) -> Option<(f64, f64)> {
        let size = self.scores.as_ref()?.languages.len();
        let cells = (0..size).flat_map(|q| (0..=size).map(move |p| (q, p)));
        let values = cells.filter_map(|(q, p)| self.cell(q, p)).map(|c| c.0).filter(|v| v.is_finite());
        let (low, high) = values.fold(None, |range: Option<(f64, f64)>, v| {
            Some(range.map_or((v, v), |(l, h)| (l.min(v), h.max(v))))
        })?;
        let far = low.abs().max(high.abs());
        Some(if self.is_difference() { (-far, far) } else { (low, high) })
    }

    /// Position of a value on the colour scale: 0..1, or -1..1 for differences.
    #[must_use]
    pub fn shade(&self, value: f64, (low, high): (f64, f64)) -> f64 {
        if self.is_difference() {
            return if high > 0.0 { value / high } else { 0.0 };
        }
        let t = if high > low { (value - low) / (high - low) } else { 0.5 };
        // A long rank distance is bad: the bright end is always the good one.
        if self.metric() == "rank_distance" { 1.0 - t } else { t }
    }

    /// Query and passage language under the cursor; passage `languages.len()` is the pool.
    #[must_use]
    pub fn under_cursor(&self) -> Option<(usize, usize)> {
        let order = self.order();
        let query = *order.get(self.cursor.0)?;
        Some((query, order.get(self.cursor.1).copied().unwrap_or(order.len())))
    }

    /// The heatmap as CSV, in the order of the screen.
    #[must_use]
    pub fn heatmap_csv(&self) -> Option<String> {
        let scores = self.scores.as_ref()?;
        let order = self.order();
        let columns: Vec<usize> = order.iter().copied().chain([order.len()]).collect();
        let code = |i: &usize| scores.languages.get(*i).map_or("multi", String::as_str);
        let cross = self.is_beside_paper().then_some("cross_mean");
        let mut lines =
            csv_line(std::iter::once("query_language").chain(columns.iter().map(code)).chain(cross));
        for query in &order {
            let values: Vec<String> = columns
                .iter()
                .map(|p| self.cell(*query, *p).map_or_else(String::new, |(v, _)| v.to_string()))
                .chain(cross.map(|_| self.row_mean(*query).to_string()))
                .collect();
            lines += &csv_line(std::iter::once(code(query)).chain(values.iter().map(String::as_str)));
        }
        Some(lines)
    }

    /// Questions of the cell under the cursor with the rank that counts there (the last relevant passage's, in the
    /// pool), worst first unless turned round; and what is wrong with the filter.
    #[must_use]
    pub fn cell_questions(&self) -> (Vec<(u32, &QueryView)>, Option<String>) {
        let found = || {
            let (scores, all) = (self.scores.as_ref()?, self.questions.all.as_ref()?);
            let (query, passage) = self.under_cursor()?;
            let rank = |q: &QueryView| match passage {
                p if p < scores.languages.len() => q.ranks.get(p).copied(),
                _ => q.pool_ranks.iter().copied().max(),
            };
            let own = all.iter().filter(|q| q.language == scores.languages[query]);
            let mut found: Vec<(u32, &QueryView)> =
                own.filter_map(|q| Some((rank(q).filter(|r| *r > 0)?, q))).collect();
            found.sort_by(|a, b| {
                b.0.cmp(&a.0).then_with(|| a.1.ap.total_cmp(&b.1.ap)).then_with(|| a.1.id.cmp(&b.1.id))
            });
            if self.questions.is_best_first {
                found.reverse();
            }
            Some(found)
        };
        let mut found = found().unwrap_or_default();
        match Filter::parse(&self.questions.filter, &["id", "domain", "text"]) {
            Ok(filter) => {
                found.retain(|(_, q)| filter.passes(&[q.id.as_str(), q.domain.as_str(), q.text.as_str()]));
                (found, None)
            }
            Err(error) => (found, Some(error)),
        }
    }

    /// The bias measure shown: name, unit, whether the pool's share is drawn beside it, and its value of a language.
    #[must_use]
    pub fn bias_measure(&self) -> &'static BiasMeasure {
        &BIAS[self.bias % BIAS.len()]
    }

    /// Rows of the bias screen: language index and value.
    #[must_use]
    pub fn bias_rows(&self) -> Vec<(usize, f64)> {
        let Some(scores) = &self.scores else { return Vec::new() };
        let measure = self.bias_measure();
        let of = |l: usize| scores.bias.iter().find(|b| b.language == l).map_or(f64::NAN, measure.value);
        let mut rows: Vec<(usize, f64)> = self.order().into_iter().map(|l| (l, of(l))).collect();
        if self.is_bias_by_value {
            rows.sort_by(|a, b| b.1.total_cmp(&a.1));
        }
        rows
    }
}

/// Index of a language in another evaluation; the pool is the pool.
fn same(scores: &Scores, other: &Scores, index: usize) -> Option<usize> {
    match scores.languages.get(index) {
        Some(code) => other.languages.iter().position(|l| l == code),
        None => Some(other.languages.len()),
    }
}

/// A measure of language bias.
#[derive(Debug)]
pub struct BiasMeasure {
    /// Column of the exported table.
    pub key: &'static str,
    pub title: &'static str,
    /// One line of explanation.
    pub note: &'static str,
    pub is_share: bool,
    pub value: fn(&LanguageBias) -> f64,
}

/// The measures of the bias screen.
pub const BIAS: [BiasMeasure; 9] = [
    BiasMeasure {
        key: "rank_distance",
        title: "rank distance",
        note: "places between a question's best and worst of R relevant passages, mean over its questions; least: R - 1",
        is_share: false,
        value: |b| b.rank_distance,
    },
    BiasMeasure {
        key: "rank_distance_median",
        title: "rank distance, median",
        note: "the same, median over the questions",
        is_share: false,
        value: |b| b.rank_distance_median,
    },
    BiasMeasure {
        key: "rank_distance_excess",
        title: "rank distance above the least",
        note: "rank distance minus R - 1, mean over the questions; 0: no bias",
        is_share: false,
        value: |b| b.rank_distance_excess,
    },
    BiasMeasure {
        key: "rank_distance_share",
        title: "rank distance of the pool",
        note: "rank distance over the largest possible, the size of the pool minus 1: compares pools of any size",
        is_share: true,
        value: |b| b.rank_distance_share,
    },
    BiasMeasure {
        key: "rank_difference",
        title: "mean difference of ranks",
        note: "between any two relevant passages of a question: not by the best and the worst alone",
        is_share: false,
        value: |b| b.rank_difference,
    },
    BiasMeasure {
        key: "passage_rank",
        title: "mean rank of passages",
        note: "where the relevant passages in this language stand in the pool; alike for all languages: no bias",
        is_share: false,
        value: |b| b.passage_rank,
    },
    BiasMeasure {
        key: "top10_share",
        title: "share of the top ten",
        note: "passages in this language among the first ten; without bias it is the pool's share (marked)",
        is_share: true,
        value: |b| b.top10_share,
    },
    BiasMeasure {
        key: "wrong_top1_own",
        title: "wrong answers in the own language",
        note: "of questions with a wrong first passage: the share whose first passage is in the question's language",
        is_share: true,
        value: |b| b.wrong_top1_own,
    },
    BiasMeasure {
        key: "own_preference",
        title: "preference for the own language",
        note: "that share over the language's share of the pool; 1: no preference",
        is_share: false,
        value: |b| b.own_preference,
    },
];

impl Model {
    /// The bias screen as CSV: every measure, in the order of the screen.
    #[must_use]
    pub fn bias_csv(&self) -> Option<String> {
        let scores = self.results.scores.as_ref()?;
        let keys = BIAS.iter().map(|m| m.key);
        let mut lines = csv_line(std::iter::once("language").chain(keys).chain(["pool_share"]));
        for (language, _) in self.results.bias_rows() {
            let Some(bias) = scores.bias.iter().find(|b| b.language == language) else { continue };
            let numbers: Vec<String> = BIAS
                .iter()
                .map(|m| (m.value)(bias))
                .chain([bias.pool_share])
                .map(|v| v.to_string())
                .collect();
            lines += &csv_line(
                std::iter::once(scores.languages[language].as_str())
                    .chain(numbers.iter().map(String::as_str)),
            );
        }
        Some(lines)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tui::testing::scores;

    fn results(size: usize, level: f64) -> Results {
        Results { scores: Some(Arc::new(scores(size, level))), ..Results::default() }
    }

    #[test]
    fn differences_find_languages_by_code() {
        let mut results = results(3, 0.5);
        let mut other = scores(3, 0.3);
        other.languages.reverse();
        results.other = Some(("other".into(), Arc::new(other)));
        // The fixture's cell is level + query/100 + passage/1000; the reversed one has the indices turned round.
        let (value, _) = results.cell(0, 1).expect("a cell");
        assert!((value - (0.5 + 0.001 - (0.3 + 0.02 + 0.001))).abs() < 1e-12, "{value}");
        let (low, high) = results.range().expect("a range");
        assert_eq!(low, -high);
    }

    #[test]
    fn orders_are_permutations() {
        let mut results = results(5, 0.5);
        for _ in 0..4 {
            let mut order = results.order();
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3, 4]);
            results.order = results.order.next();
        }
    }

    #[test]
    fn the_bright_end_is_the_good_one() {
        let mut results = results(3, 0.5);
        assert_eq!(results.shade(1.0, (0.0, 1.0)), 1.0);
        let metrics = results.scores.as_ref().expect("scores").metrics();
        results.metric = metrics.iter().position(|m| *m == "rank_distance").expect("rank distance");
        assert_eq!(results.shade(1.0, (0.0, 1.0)), 0.0);
        assert_eq!(results.shade(3.0, (3.0, 3.0)), 0.5);
    }

    #[test]
    fn csv_holds_the_heatmap() {
        let results = results(2, 0.25);
        let csv = results.heatmap_csv().expect("csv");
        assert_eq!(csv.lines().next(), Some("query_language,ar,de,multi"));
        assert_eq!(csv.lines().count(), 3);
    }
}
