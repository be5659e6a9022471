//! Two evaluations, or two groups of them, question by question.

use std::borrow::Cow;

use anyhow::{Result, bail, ensure};

use super::{Outcomes, Significance, Test, Tested, adjust};
use crate::evaluate::record::Protocol;
use crate::statistics::{Clustered, Method, Options, crossed, intervals, sign_flips};

/// What must be equal in two evaluations, and is not: data, candidates and their text, the rule for ties. In words.
#[must_use]
pub fn unequal(first: &Protocol, second: &Protocol) -> Vec<String> {
    let short = |hash: &str| hash.chars().take(12).collect::<String>();
    let of = |p: &Protocol| {
        [
            ("dataset", p.dataset.clone()),
            ("data", short(&p.dataset_hash)),
            ("questions", p.questions.to_string()),
            ("passages", p.passages.to_string()),
            ("candidate", p.candidate.clone()),
            ("ties:", p.tie_rule.clone()),
            ("missing answers:", p.missing.name().to_owned()),
            ("graded labels:", p.graded_labels.to_string()),
            ("questions not ranked against themselves:", p.without_itself.to_string()),
        ]
    };
    of(first)
        .into_iter()
        .zip(of(second))
        .filter(|(a, b)| a.1 != b.1)
        .map(|(a, b)| format!("{} {} and {}", a.0, a.1, b.1))
        .collect()
}

/// Tests the second against the first; `progress` hears (done, total) resamples and can end the work with an error.
///
/// # Errors
/// Where the two were not measured on the same questions, candidates and cells: the error names what differs.
pub fn compare(
    first: &Outcomes,
    second: &Outcomes,
    options: &Options,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Significance> {
    let sides = same_settings(&[first, second]);
    let (first, second) = (&*sides[0], &*sides[1]);
    alike(first, second)?;
    let [old, new] = [first, second].map(table);
    let differences = new.minus(&old);
    let method = options.method(differences.clusters());
    let (Method::Exact(assignments) | Method::Random(assignments)) = method;
    let total = assignments + options.resamples;
    let p = sign_flips(&differences, options, &mut |done, _| progress(done, total))?;
    let ends = intervals(&differences, options, &mut |done, _| progress(assignments + done, total))?;
    let values = differences.values();
    let rows = (0..differences.statistics())
        .map(|s| (values[s], ends[s].map(|e| e.0), ends[s].map(|e| e.1), p[s]))
        .collect();
    let is_exact = matches!(method, Method::Exact(_));
    let test = Test::SignFlips { assignments, is_exact, bootstrap: options.resamples, seed: options.seed };
    Ok(finish(first, &differences, &old.values(), &new.values(), rows, test))
}

/// Tests the second group of runs against the first, each a training seed, over seeds and question ids at once.
///
/// # Errors
/// As [`compare`], for every run against the first; below two runs in a group or two question ids.
pub fn compare_groups(first: &[Outcomes], second: &[Outcomes]) -> Result<Significance> {
    let all: Vec<&Outcomes> = first.iter().chain(second).collect();
    let all = same_settings(&all);
    let Some(shape) = all.first() else { bail!("a group of runs is empty") };
    for other in &all {
        alike(shape, other)?;
    }
    let (first, second) = all.split_at(first.len());
    let tables = [first, second].map(|group| group.iter().map(|run| table(run)).collect::<Vec<Clustered>>());
    let Some(found) = crossed(&tables[0], &tables[1]) else {
        bail!("a comparison over seeds needs at least two runs on each side, and two question ids");
    };
    let means = tables.each_ref().map(|group| {
        let values: Vec<Vec<f64>> = group.iter().map(Clustered::values).collect();
        let mean = |s: usize| values.iter().map(|v| v[s]).sum::<f64>() / values.len() as f64;
        (0..found.len()).map(mean).collect::<Vec<f64>>()
    });
    let rows = found.iter().map(|c| (c.difference, Some(c.low), Some(c.high), c.p)).collect();
    let test = Test::SeedsAndClusters { first_seeds: first.len(), second_seeds: second.len() };
    Ok(finish(shape, &tables[0][0], &means[0], &means[1], rows, test))
}

/// Leaves the strict pool out of all where one of them lacks it, as directories before version 3 do.
fn same_settings<'a>(all: &[&'a Outcomes]) -> Vec<Cow<'a, Outcomes>> {
    let is_lacking = all.iter().any(|outcomes| !outcomes.has_strict());
    let level = |outcomes: &&'a Outcomes| {
        if outcomes.has_strict() && is_lacking {
            Cow::Owned(outcomes.without_strict())
        } else {
            Cow::Borrowed(*outcomes)
        }
    };
    all.iter().map(level).collect()
}

/// Refuses what was not measured alike.
fn alike(first: &Outcomes, second: &Outcomes) -> Result<()> {
    let differing = unequal(&first.protocol, &second.protocol);
    ensure!(differing.is_empty(), "not measured alike: {}", differing.join("; "));
    let name = |q: &(String, String, String)| format!("{} in {}", q.0, q.1);
    let lacking = |a: &Outcomes, b: &Outcomes| -> (usize, Option<String>) {
        let mut own = a.questions.iter().filter(|q| b.questions.binary_search(q).is_err());
        let example = own.next().map(name);
        (own.count() + usize::from(example.is_some()), example)
    };
    for ((count, example), which) in [(lacking(first, second), "second"), (lacking(second, first), "first")] {
        if let Some(example) = example {
            bail!("not the same questions: the {which} lacks {count}, among them question {example}");
        }
    }
    ensure!(
        first.questions == second.questions,
        "not the same questions: {} and {}, some asked several times",
        first.questions.len(),
        second.questions.len()
    );
    for (a, b, which) in [(first, second, "second"), (second, first, "first")] {
        let mut missing = a.places.iter().filter(|p| !b.places.contains(p));
        if let Some(place) = missing.next() {
            bail!(
                "not the same cells: the {which} lacks {}, among them {}",
                missing.count() + 1,
                place.label()
            );
        }
    }
    for (question, (a, b)) in first.questions.iter().zip(first.values.iter().zip(&second.values)) {
        ensure!(
            a.iter().map(|v| v.0).eq(b.iter().map(|v| v.0)),
            "question {} has a relevant passage in one evaluation only",
            name(question)
        );
    }
    Ok(())
}

/// The values by cluster.
fn table(outcomes: &Outcomes) -> Clustered {
    let mut cluster = 0;
    let mut values = Vec::new();
    for (i, row) in outcomes.values.iter().enumerate() {
        // Questions are sorted by id.
        cluster += usize::from(i > 0 && outcomes.questions[i].0 != outcomes.questions[i - 1].0);
        values.extend(row.iter().map(|(cell, value)| (cluster, *cell, *value)));
    }
    let clusters = if outcomes.questions.is_empty() { 0 } else { cluster + 1 };
    let means = outcomes.means().into_iter().map(|(_, cells)| cells).collect();
    Clustered::new(clusters, outcomes.places.len(), values, means)
}

type Row = (f64, Option<f64>, Option<f64>, f64);

fn finish(
    shape: &Outcomes,
    table: &Clustered,
    first: &[f64],
    second: &[f64],
    found: Vec<Row>,
    test: Test,
) -> Significance {
    let means = shape.means();
    let cells = shape.places.len();
    let places = shape.places.iter().chain(means.iter().map(|(place, _)| place));
    let n = |s: usize| shape.values.iter().flatten().filter(|(cell, _)| *cell == s).count();
    let mut rows: Vec<Tested> = places
        .zip(found)
        .enumerate()
        .map(|(s, (place, (difference, low, high, p)))| Tested {
            place: place.clone(),
            n: if s < cells { n(s) } else { 0 },
            clusters: table.clusters_in(s),
            first: first[s],
            second: second[s],
            difference,
            low,
            high,
            p,
            p_holm: f64::NAN,
        })
        .collect();
    rows.rotate_left(cells);
    let mut whole = [Significance {
        dataset: shape.protocol.dataset.clone(),
        metric: shape.metric.clone(),
        test,
        clusters: table.clusters(),
        questions: shape.questions.len(),
        family_means: 0,
        family_cells: 0,
        rows,
    }];
    adjust(&mut whole);
    let [whole] = whole;
    whole
}
