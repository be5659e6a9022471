//! Rankings and labels from TREC files, and their scores by the same metrics.
//!
//! A run has lines `query Q0 document rank score tag`, of which the rank is ignored, as in `trec_eval`: documents stand
//! by score descending (as f32, as there), then by id descending. Labels are lines `query 0 document grade`, or BEIR's
//! three columns with a heading, or JSON lines as MTEB writes them. A grade of 0 or below is not relevant. Both may be compressed (`.gz`, `.zst`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::metrics::{Extremes, Judged, METRICS, REPORTED, extremes};
use crate::corpus::{grade, judgement, language};
use crate::spec::Missing;

/// Documents of each query with their scores, in the file's order.
pub type Run = BTreeMap<String, Vec<(String, f32)>>;
/// Grades of each query's judged documents; 0 is not relevant.
pub type Qrels = BTreeMap<String, HashMap<String, u32>>;

/// The metrics of one query.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredQuery {
    pub id: String,
    /// Relevant documents, ranked or not.
    pub relevant: usize,
    /// Documents that the run ranks.
    pub ranked: usize,
    /// Values of [`METRICS`]; all 0 without a ranking or without a relevant document.
    pub values: [f64; METRICS.len()],
    /// `map` under the friendliest and the unfriendliest order of equal scores.
    pub extremes: Extremes,
}

/// A run against labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The queries that count, by id.
    pub queries: Vec<ScoredQuery>,
    /// Means of [`METRICS`] over them.
    pub means: [f64; METRICS.len()],
    /// Mean of the [`Extremes`].
    pub extremes: Extremes,
    /// Judged queries that the run does not rank.
    pub unranked: usize,
    /// Judged queries without a relevant document.
    pub without_relevant: usize,
    /// Queries of the run without labels: they never count.
    pub unjudged: usize,
}

/// Reads a run file.
///
/// # Errors
/// Where it cannot be read, and as [`parse_run`].
pub fn read_run(path: &Path) -> Result<Run> {
    parse_run(&crate::corpus::read::text(path)?, &path.display().to_string())
}

/// Reads a file of labels.
///
/// # Errors
/// Where it cannot be read, and as [`parse_qrels`].
pub fn read_qrels(path: &Path) -> Result<Qrels> {
    parse_qrels(&crate::corpus::read::text(path)?, &path.display().to_string())
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines().enumerate().map(|(i, line)| (i + 1, line)).filter(|(_, line)| !line.trim().is_empty())
}

/// A run from its text; `name` stands in messages.
///
/// # Errors
/// Names the line with the wrong number of columns, a score that is no number, or a document that a query ranks twice.
pub fn parse_run(text: &str, name: &str) -> Result<Run> {
    let mut run = Run::new();
    let mut seen: HashMap<&str, HashSet<&str>> = HashMap::new();
    for (number, line) in lines(text) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [query, _, document, _, score, _] = columns.as_slice() else {
            anyhow::bail!(
                "{name}, line {number}: {} columns; a TREC run has six: query Q0 document rank score tag",
                columns.len()
            );
        };
        let score: f64 =
            score.parse().ok().filter(|s: &f64| !s.is_nan()).with_context(|| {
                format!("{name}, line {number}, column 5 (score): '{score}' is not a number")
            })?;
        ensure!(
            seen.entry(query).or_default().insert(document),
            "{name}, line {number}: query '{query}' ranks document '{document}' a second time; leave it in once"
        );
        // trec_eval holds scores as floats: those that differ by less are equal there.
        run.entry((*query).to_owned()).or_default().push(((*document).to_owned(), score as f32));
    }
    ensure!(!run.is_empty(), "{name}: no line; a TREC run has lines: query Q0 document rank score tag");
    Ok(run)
}

/// Labels from their text; `name` stands in messages.
///
/// # Errors
/// Names the line with the wrong number of columns, a grade that is no whole number, or a document that is judged twice.
pub fn parse_qrels(text: &str, name: &str) -> Result<Qrels> {
    let mut qrels = Qrels::new();
    let mut first = true;
    for (number, line) in lines(text) {
        let is_first = std::mem::replace(&mut first, false);
        let of_json = judgement(line).with_context(|| format!("{name}, line {number}"))?;
        let Some((query, document, grade)) = of_json.map_or_else(
            || columns(line, is_first).with_context(|| format!("{name}, line {number}")),
            |judgement| Ok(Some(judgement)),
        )?
        else {
            continue;
        };
        let grade = grade.clamp(0, i64::from(u32::MAX)) as u32;
        let before = qrels.entry(query.clone()).or_default().insert(document.clone(), grade);
        ensure!(
            before.is_none(),
            "{name}, line {number}: document '{document}' is judged a second time for query '{query}'"
        );
    }
    ensure!(!qrels.is_empty(), "{name}: no label");
    Ok(qrels)
}

/// Query, document and grade of a line; `None`: BEIR's heading (query-id corpus-id score), which may stand in the `first`.
fn columns(line: &str, first: bool) -> Result<Option<(String, String, i64)>> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let (query, document, text) = match columns.as_slice() {
        [query, _, document, grade] | [query, document, grade] => (*query, *document, *grade),
        other => anyhow::bail!(
            "{} columns; labels have four (query 0 document grade) or three (query document grade)",
            other.len()
        ),
    };
    if let Some(grade) = grade(text) {
        return Ok(Some((query.to_owned(), document.to_owned(), grade)));
    }
    let is_heading = first && columns.len() == 3 && text.parse::<f64>().is_err();
    ensure!(is_heading, "grade '{text}' is not a whole number");
    Ok(None)
}

/// A run whose ids are this program's, `LANGUAGE:ID`, with the ids that the labels have; and the language. Any other run
/// stays as it is. Documents lose the language too where all have it and no label does.
///
/// # Errors
/// Where none of the run's queries is in the labels: names an id of each.
pub fn joined(run: Run, qrels: &Qrels) -> Result<(Run, Option<String>)> {
    if run.keys().any(|id| qrels.contains_key(id)) {
        return Ok((run, None));
    }
    let shown = |id: Option<&String>| id.map_or_else(String::new, |id| format!("'{id}'"));
    let (own, theirs) = (shown(run.keys().next()), shown(qrels.keys().next()));
    let languages: BTreeSet<&str> =
        run.keys().map(|id| id.split_once(':').map_or("", |(language, _)| language)).collect();
    let is_language = |code: &str| language::find(code).is_some();
    let several = languages.len() > 1 && languages.iter().all(|l| is_language(l));
    let code = match languages.first() {
        Some(code) if languages.len() == 1 && is_language(code) => Some((*code).to_owned()),
        _ => None,
    };
    let stated = code.as_ref().map(|code| format!("{code}:"));
    // Where the ids of one language mean nothing in another, the dataset has put the language before them already.
    let strip = |id: &str| -> Option<String> {
        let prefix = stated.as_deref()?;
        let once = id.strip_prefix(prefix)?;
        let twice = once.strip_prefix(prefix).filter(|_| !qrels.contains_key(once));
        Some(twice.unwrap_or(once).to_owned())
    };
    let any = run.keys().filter_map(|id| strip(id)).any(|id| qrels.contains_key(&id));
    let Some(code) = code.filter(|_| any && !qrels.keys().any(|id| strip(id).is_some())) else {
        anyhow::bail!(
            "none of the run's {} query ids has a label: its ids are such as {own}, the labels' such as {theirs}{}",
            run.len(),
            if several {
                "; a run over several languages is scored language by language: take the lines of one"
            } else {
                "; are these the labels of these queries?"
            }
        );
    };
    let prefix = format!("{code}:");
    // A pool may have documents of other languages too: these stay as they are.
    let mut documents = run.values().flatten();
    let states_language =
        |document: &str| document.split_once(':').is_some_and(|(code, _)| is_language(code));
    let is_prefixed = documents.all(|(document, _)| states_language(document))
        && !qrels.values().flat_map(HashMap::keys).any(|document| document.starts_with(&prefix));
    let plain = |document: &str| {
        document.strip_prefix(&prefix).filter(|_| is_prefixed).unwrap_or(document).to_owned()
    };
    let mut joined = Run::new();
    for (id, ranking) in &run {
        let Some(id) = strip(id) else { continue };
        let ranking = ranking.iter();
        joined.insert(id, ranking.map(|(document, score)| (plain(document), *score)).collect());
    }
    Ok((joined, Some(code)))
}

/// Scores a run. Only judged queries count. One that the run does not rank, or that has no relevant document, is
/// `missing`: 0 in every metric (`trec_eval -c`), or left out.
#[must_use]
pub fn score(run: &Run, qrels: &Qrels, missing: Missing) -> Scored {
    let (mut unranked, mut without_relevant) = (0, 0);
    let mut queries: Vec<ScoredQuery> = Vec::new();
    for (id, labels) in qrels {
        let ranking = run.get(id);
        let mut grades: Vec<u32> = labels.values().copied().filter(|grade| *grade > 0).collect();
        grades.sort_unstable_by(|a, b| b.cmp(a));
        unranked += usize::from(ranking.is_none());
        without_relevant += usize::from(grades.is_empty());
        let is_missing = ranking.is_none() || grades.is_empty();
        if is_missing && missing == Missing::Skip {
            continue;
        }
        let (values, extremes) = match ranking {
            Some(ranking) if !is_missing => one(ranking, labels, &grades),
            _ => ([0.0; METRICS.len()], Extremes { best: 0.0, worst: 0.0 }),
        };
        let ranked = ranking.map_or(0, Vec::len);
        queries.push(ScoredQuery { id: id.clone(), relevant: grades.len(), ranked, values, extremes });
    }
    let count = queries.len() as f64;
    let mean = |value: &dyn Fn(&ScoredQuery) -> f64| queries.iter().map(value).sum::<f64>() / count;
    Scored {
        means: std::array::from_fn(|i| mean(&|q| q.values[i])),
        extremes: Extremes { best: mean(&|q| q.extremes.best), worst: mean(&|q| q.extremes.worst) },
        unranked,
        without_relevant,
        unjudged: run.keys().filter(|id| !qrels.contains_key(*id)).count(),
        queries,
    }
}

fn one(
    ranking: &[(String, f32)],
    labels: &HashMap<String, u32>,
    grades: &[u32],
) -> ([f64; METRICS.len()], Extremes) {
    let mut order: Vec<&(String, f32)> = ranking.iter().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| b.0.cmp(&a.0)));
    let (mut found, mut best, mut worst) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (document, score)) in order.iter().enumerate() {
        let Some(grade) = labels.get(document).filter(|grade| **grade > 0) else { continue };
        found.push((index as u32 + 1, *grade));
        best.push(order.partition_point(|(_, s)| s > score) as u32 + 1);
        worst.push(order.partition_point(|(_, s)| s >= score) as u32);
    }
    let values = REPORTED.map(|metric| metric.of(&Judged { found: &found, grades }));
    if found.is_empty() {
        return (values, Extremes { best: 0.0, worst: 0.0 });
    }
    // The extremes divide by what was found; the metric by what there is.
    let share = found.len() as f64 / grades.len() as f64;
    let Extremes { best, worst } = extremes(&mut best, &mut worst);
    (values, Extremes { best: best * share, worst: worst * share })
}

#[cfg(test)]
mod tests {
    use super::*;

    const QRELS: &str = "a 0 d1 1\na 0 d2 0\nb 0 d1 2\nb 0 d9 1\nc 0 d1 0\nd 0 d1 1\n";
    const RUN: &str = "a Q0 d1 1 0.5 t\na Q0 d2 2 0.5 t\na Q0 d3 3 0.5 t\nb Q0 d1 9 1 t\nx Q0 d1 1 1 t\n";

    fn value(scored: &Scored, metric: &str) -> f64 {
        scored.means[METRICS.iter().position(|m| *m == metric).expect(metric)]
    }

    /// a: three equal scores, so d1 is third; b: d1 first of two; c has nothing relevant; d is not ranked.
    #[test]
    fn missing_queries_count_nothing_or_are_left_out() {
        let run = parse_run(RUN, "run").expect("run");
        let qrels = parse_qrels(QRELS, "qrels").expect("qrels");
        let zero = score(&run, &qrels, Missing::Zero);
        assert_eq!((zero.queries.len(), zero.unranked, zero.without_relevant, zero.unjudged), (4, 2, 1, 1));
        assert!((value(&zero, "map") - (1.0 / 3.0 + 0.5) / 4.0).abs() < 1e-12);
        let skip = score(&run, &qrels, Missing::Skip);
        assert_eq!(skip.queries.len(), 2);
        assert!((value(&skip, "map") - f64::midpoint(1.0 / 3.0, 0.5)).abs() < 1e-12);
        assert!((value(&skip, "recall@10") - 0.75).abs() < 1e-12);
        assert!((skip.extremes.best - 0.75).abs() < 1e-12);
        assert!((skip.extremes.worst - value(&skip, "map")).abs() < 1e-12);
    }

    #[test]
    fn wrong_lines_are_named() {
        let run = |text: &str| format!("{:#}", parse_run(text, "f").expect_err("an error"));
        assert!(
            run("a Q0 d 1 0.5 t\na Q0 d 2 0.4 t")
                .contains("f, line 2: query 'a' ranks document 'd' a second")
        );
        assert!(run("\na d 1").contains("f, line 2: 3 columns"));
        assert!(run("a Q0 d 1 x t").contains("line 1, column 5 (score): 'x'"));
        assert!(run("a Q0 d 1 NaN t").contains("is not a number"));
        assert!(run("").contains("no line"));
        let qrels = |text: &str| format!("{:#}", parse_qrels(text, "f").expect_err("an error"));
        assert!(qrels("a 0 d 1\na 0 d 2").contains("line 2: document 'd' is judged a second time"));
        assert!(qrels("a 0 d one").contains("grade 'one'"));
        assert!(qrels("a d 1\na d one").contains("line 2"));
        assert!(qrels("a d 0.5").contains("grade '0.5'"), "a number is no heading");
        let beir = parse_qrels("query-id\tcorpus-id\tscore\nq\td\t2\n", "f").expect("labels");
        assert_eq!(beir["q"]["d"], 2);
    }
}
