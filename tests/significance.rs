//! Tests and intervals over clusters: against scipy, under the null, and as a reader of two evaluations meets them.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "common/made.rs"]
mod made;

use std::path::Path;

use polymix::corpus::Dataset;
use polymix::evaluate::significance::{self, Outcomes, Significance};
use polymix::evaluate::{self, Evaluation};
use polymix::statistics::{Clustered, Crossed, Method, Options, crossed, intervals, sign_flips};
use polymix::stream::Stream;

#[allow(clippy::unnecessary_wraps)] // what progress may answer
fn quiet(_: usize, _: usize) -> anyhow::Result<()> {
    Ok(())
}

fn golden() -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/significance.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn number(value: &serde_json::Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key}"))
}

/// One column of [cluster, first, second], as second minus first.
fn differences(rows: &serde_json::Value) -> Clustered {
    let rows: Vec<[f64; 3]> = serde_json::from_value(rows.clone()).unwrap();
    let clusters = rows.iter().map(|r| r[0] as usize + 1).max().unwrap();
    Clustered::new(clusters, 1, rows.iter().map(|r| (r[0] as usize, 0, r[2] - r[1])), vec![vec![0]])
}

#[test]
fn p_values_and_intervals_agree_with_scipy() {
    let golden = golden();
    for (name, case) in golden["cases"].as_object().unwrap() {
        let table = differences(&case["questions"]);
        let options = Options { resamples: 100_000, seed: 1 };
        assert!((table.values()[0] - number(case, "difference")).abs() < 1e-12, "{name}");
        let p = sign_flips(&table, &options, &mut quiet).unwrap()[0];
        let wanted = number(case, "p_both_tails");
        if case["is_exact"].as_bool().unwrap() {
            assert_eq!(options.method(table.clusters()), Method::Exact(1 << table.clusters()), "{name}");
            assert!(
                (p - wanted).abs() < 1e-12 && (p - number(case, "p")).abs() < 1e-12,
                "{name}: {p} {wanted}"
            );
        } else {
            // Four standard errors of both Monte Carlo shares.
            let error = (wanted * (1.0 - wanted) * (1.0 / 1e5 + 1.0 / 4e5)).sqrt();
            assert!((p - wanted).abs() < 4.0 * error + 1e-5, "{name}: {p} {wanted}");
            assert!(p > 0.0);
        }
        let (low, high) = intervals(&table, &options, &mut quiet).unwrap()[0].unwrap();
        // An end of the interval has a Monte Carlo error of about a hundredth of the standard error.
        let near = 0.03 * number(case, "standard_error");
        assert!((low - number(case, "low")).abs() < near, "{name}: {low} {}", case["low"]);
        assert!((high - number(case, "high")).abs() < near, "{name}: {high} {}", case["high"]);
        let both = intervals(&table, &options, &mut quiet).unwrap();
        assert_eq!(both[0], both[1], "{name}: the macro mean of one column is the column");
    }
}

/// Without a spread over clusters the test over seeds and clusters is Welch's, without one over seeds the paired t-test.
#[test]
fn groups_of_seeds_agree_with_scipy_where_one_part_is_missing() {
    let golden = golden();
    let reals = |value: &serde_json::Value| -> Vec<f64> { serde_json::from_value(value.clone()).unwrap() };
    let check = |found: Crossed, wanted: &serde_json::Value| {
        for (own, key) in [(found.p, "p"), (found.low, "low"), (found.high, "high")] {
            assert!((own - number(wanted, key)).abs() < 1e-9, "{key}: {own} {}", wanted[key]);
        }
    };
    let welch = &golden["welch"];
    let group = |key: &str| -> Vec<Clustered> {
        let level = |v: f64| Clustered::new(50, 1, (0..50).map(|c| (c, 0, v)), vec![]);
        reals(&welch[key]).into_iter().map(level).collect()
    };
    let found = crossed(&group("first"), &group("second")).unwrap()[0];
    assert!((found.df - number(welch, "df")).abs() < 1e-6, "{}", found.df);
    check(found, welch);

    let paired = &golden["paired_t"];
    let own = reals(&paired["differences"]);
    let system = |scale: f64| {
        Clustered::new(own.len(), 1, own.iter().enumerate().map(|(c, v)| (c, 0, scale * v)), vec![])
    };
    let found = crossed(&[system(0.0), system(0.0)], &[system(1.0), system(1.0), system(1.0)]).unwrap()[0];
    check(found, paired);
}

/// `questions` questions in each of `clusters` clusters without a difference in the mean: those of a cluster share most of
/// theirs.
fn null(seed: u64, clusters: usize, questions: usize) -> Vec<(usize, f64)> {
    let mut stream = Stream::new(seed, "null", 0);
    (0..clusters)
        .flat_map(|cluster| {
            let shared = stream.normal();
            (0..questions).map(|_| (cluster, shared + 0.5 * stream.normal())).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn translations_of_a_question_are_not_independent() {
    let options = Options { resamples: 499, seed: 3 };
    let (mut clustered, mut alone, mut covered) = (0, 0, 0);
    let rounds = 400;
    for round in 0..rounds {
        let values = null(round, 40, 11);
        let table = Clustered::new(40, 1, values.iter().map(|(c, v)| (*c, 0, *v)), vec![]);
        clustered += usize::from(sign_flips(&table, &options, &mut quiet).unwrap()[0] < 0.05);
        let (low, high) = intervals(&table, &options, &mut quiet).unwrap()[0].unwrap();
        covered += usize::from(low <= 0.0 && 0.0 <= high);
        let each = values.iter().enumerate().map(|(i, (_, v))| (i, 0, *v));
        let unclustered = Clustered::new(values.len(), 1, each, vec![]);
        alone += usize::from(sign_flips(&unclustered, &options, &mut quiet).unwrap()[0] < 0.05);
    }
    let share = |n: usize| n as f64 / rounds as f64;
    eprintln!(
        "false positives at .05: {:.3} by cluster, {:.3} by question; interval covers {:.3}",
        share(clustered),
        share(alone),
        share(covered)
    );
    // 5% with a standard error of 1.1 points.
    assert!((0.02..0.085).contains(&share(clustered)), "{}", share(clustered));
    assert!(share(alone) > 0.3, "the unclustered test must be wrong here: {}", share(alone));
    assert!(share(covered) > 0.91, "{}", share(covered));
}

#[test]
fn a_test_of_seed_means_alone_takes_seeds_for_an_effect() {
    let rounds = 400;
    let options = Options { resamples: 499, seed: 4 };
    let (mut both, mut questions_only) = (0, 0);
    for round in 0..rounds {
        let mut stream = Stream::new(round, "seeds", 0);
        let clusters = 60;
        let hard: Vec<f64> = (0..clusters).map(|_| stream.normal()).collect();
        let mut system = || {
            let level = 0.15 * stream.normal();
            let value = |c: usize| hard[c] + level + 0.5 * stream.normal();
            Clustered::new(clusters, 1, (0..clusters).map(value).enumerate().map(|(c, v)| (c, 0, v)), vec![])
        };
        let groups = [0, 1].map(|_| [0, 1, 2].map(|_| system()));
        both += usize::from(crossed(&groups[0], &groups[1]).unwrap()[0].p < 0.05);
        let one = groups[1][0].minus(&groups[0][0]);
        questions_only += usize::from(sign_flips(&one, &options, &mut quiet).unwrap()[0] < 0.05);
    }
    let share = |n: usize| n as f64 / rounds as f64;
    eprintln!(
        "false positives at .05: {:.3} over seeds, {:.3} with one seed each",
        share(both),
        share(questions_only)
    );
    assert!((0.005..0.085).contains(&share(both)), "{}", share(both));
    assert!(share(questions_only) > 0.25, "{}", share(questions_only));
}

#[test]
fn results_depend_neither_on_threads_nor_on_the_number_of_columns() {
    let values = null(9, 70, 3);
    let column = |columns: usize| {
        let all =
            (0..columns).flat_map(|k| values.iter().map(move |(c, v)| (*c, k, v + 0.1 + k as f64 / 10.0)));
        Clustered::new(70, columns, all.collect::<Vec<_>>(), vec![(0..columns).collect()])
    };
    let options = Options { resamples: 2001, seed: 5 };
    let run = |table: &Clustered, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            (
                sign_flips(table, &options, &mut quiet).unwrap(),
                intervals(table, &options, &mut quiet).unwrap(),
            )
        })
    };
    let (one, four) = (run(&column(5), 1), run(&column(5), 4));
    assert_eq!(one, four);
    let alone = run(&column(1), 2);
    assert_eq!((alone.0[0], alone.1[0]), (one.0[0], one.1[0]));
    let other = Options { seed: 6, ..options };
    assert_ne!(
        sign_flips(&column(1), &other, &mut quiet).unwrap()[0],
        alone.0[0],
        "another seed, other flips"
    );
}

#[test]
fn few_clusters_are_counted_out_and_p_is_never_zero() {
    // Three clusters that all gain: 2 of 8 sign assignments lie as far out.
    let table = Clustered::new(3, 1, [(0, 0, 0.5), (1, 0, 0.25), (2, 0, 1.0)], vec![]);
    assert_eq!(sign_flips(&table, &Options::default(), &mut quiet).unwrap(), [0.25]);
    // 100 clusters that all gain the same: no random assignment comes near.
    let table = Clustered::new(100, 1, (0..100).map(|c| (c, 0, 1.0)), vec![]);
    let options = Options { resamples: 999, seed: 1 };
    assert_eq!(sign_flips(&table, &options, &mut quiet).unwrap(), [0.001]);
    assert_eq!(intervals(&table, &options, &mut quiet).unwrap(), [Some((1.0, 1.0))]);
    // No difference at all.
    let table = Clustered::new(100, 1, (0..100).map(|c| (c, 0, 0.0)), vec![]);
    assert_eq!(sign_flips(&table, &options, &mut quiet).unwrap(), [1.0]);
    // One cluster: nothing can be said, and nothing is.
    let table = Clustered::new(1, 1, [(0, 0, 0.3)], vec![]);
    assert_eq!(sign_flips(&table, &options, &mut quiet).unwrap(), [1.0]);
    assert_eq!(intervals(&table, &options, &mut quiet).unwrap(), [None]);
    assert!(sign_flips(&Clustered::new(0, 0, [], vec![]), &options, &mut quiet).unwrap().is_empty());
}

#[test]
fn work_can_be_given_up() {
    let table = Clustered::new(100, 1, (0..100).map(|c| (c, 0, 1.0)), vec![]);
    let mut stop = |done: usize, _: usize| {
        anyhow::ensure!(done < 2000, "enough");
        Ok(())
    };
    assert!(sign_flips(&table, &Options::default(), &mut stop).is_err());
    assert!(intervals(&table, &Options::default(), &mut stop).is_err());
}

// --- Evaluations as they lie on disk ---

/// Random scores around a lift of the relevant passage, the same noise for every seed of a question.
fn scores(dataset: &Dataset, lift: f32, seed: u64) -> Vec<Vec<f32>> {
    let groups = dataset.groups.len();
    let mut stream = Stream::new(seed, "scores", 0);
    dataset
        .questions
        .iter()
        .map(|question| {
            (0..dataset.passages.len())
                .map(|p| {
                    let noise = stream.normal() as f32;
                    noise + if p % groups == question.group as usize { lift } else { 0.0 }
                })
                .collect()
        })
        .collect()
}

fn evaluation(lift: f32, seed: u64) -> (Dataset, Evaluation) {
    let dataset = made::parallel(&["aa", "bb", "cc"], 30);
    let evaluation = made::evaluate("a model", &dataset, &scores(&dataset, lift, seed));
    (dataset, evaluation)
}

fn written(place: &Path, lift: f32, seed: u64, change: impl Fn(&mut Evaluation)) -> Outcomes {
    let (dataset, mut evaluation) = evaluation(lift, seed);
    change(&mut evaluation);
    evaluate::write(place, &dataset, &evaluation, 0).unwrap();
    Outcomes::read(place, "map").unwrap()
}

fn compared(first: &Outcomes, second: &Outcomes) -> Significance {
    let options = Options { resamples: 999, seed: 1 };
    significance::compare(first, second, &options, &mut quiet).unwrap()
}

#[test]
fn every_cell_of_the_table_is_tested_against_its_own_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let first = written(&dir.path().join("a"), 1.0, 1, |_| {});
    let second = written(&dir.path().join("b"), 3.0, 2, |_| {});
    let found = compared(&first, &second);
    // 3 + 6 + 3 + 3 cells and 3 rank distances; four macro means and the rank distance's.
    assert_eq!((found.rows.len(), found.family_means, found.family_cells), (5 + 18, 5, 18));
    assert_eq!((found.clusters, found.questions), (30, 90));
    let (old, new) = (evaluation(1.0, 1).1, evaluation(3.0, 2).1);
    for row in &found.rows {
        let place = &row.place;
        let of = |e: &Evaluation| match &place.query_language {
            None => {
                let same = |s: &&polymix::train::Score| {
                    s.setting == place.setting.name() && s.metric == place.metric
                };
                e.summary().iter().find(same).unwrap().value
            }
            Some(query) => {
                let at = |code: &String| e.languages.iter().position(|l| l == code);
                let passage = place.passage_language.as_ref().and_then(at);
                e.cell(place.setting, &place.metric, at(query).unwrap(), passage).unwrap().value
            }
        };
        assert!((row.first - of(&old)).abs() < 1e-12 && (row.second - of(&new)).abs() < 1e-12, "{row:?}");
        assert!((row.difference - (row.second - row.first)).abs() < 1e-9);
        assert_eq!(row.clusters, 30);
        assert!(row.p_holm >= row.p && row.low.unwrap() <= row.difference, "{row:?}");
    }
    let mono = found.find("mono", "map", None).unwrap();
    assert!(mono.is_significant() && mono.difference > 0.2 && mono.low.unwrap() > 0.0, "{mono:?}");
    let text = found.explanation();
    for part in ["sign-flip", "30 question ids (90 questions)", "Holm", "999 random", "5 macro means; 18"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let same = compared(&first, &first);
    assert!(same.rows.iter().all(|r| r.p == 1.0 && r.mark().is_empty()), "a system against itself");
}

#[test]
fn the_order_of_questions_and_languages_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let first = written(&dir.path().join("a"), 1.0, 1, |_| {});
    let second = written(&dir.path().join("b"), 1.3, 2, |_| {});
    let turned = written(&dir.path().join("c"), 1.3, 2, |e| {
        Stream::new(1, "order", 0).shuffle(&mut e.queries);
        e.cells.reverse();
    });
    assert_eq!(compared(&first, &second), compared(&first, &turned));
    assert_eq!(compared(&turned, &first).rows[0].p, compared(&first, &second).rows[0].p);
}

#[test]
fn what_was_not_measured_alike_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name);
    let first = written(&place("a"), 1.0, 1, |_| {});
    let refused = |second: &Outcomes| {
        format!("{:#}", significance::compare(&first, second, &Options::default(), &mut quiet).unwrap_err())
    };
    let other = written(&place("b"), 1.0, 1, |e| {
        e.protocol.candidate = "sentence+context".into();
        e.protocol.dataset_hash = "b".repeat(64);
    });
    let text = refused(&other);
    assert!(text.contains("candidate sentence and sentence+context") && text.contains("data aaaa"), "{text}");

    // One question less, and the cells that its language's means then have.
    let (mut dataset, mut fewer) = evaluation(1.0, 1);
    dataset.questions.truncate(89);
    let shorter = made::evaluate("a model", &dataset, &scores(&dataset, 1.0, 1)[..89]);
    (fewer.cells, fewer.queries) = (shorter.cells, shorter.queries);
    evaluate::write(&place("c"), &dataset, &fewer, 0).unwrap();
    let text = refused(&Outcomes::read(&place("c"), "map").unwrap());
    assert!(text.contains("the second lacks 1, among them question q29 in cc"), "{text}");

    let missing = written(&place("d"), 1.0, 1, |e| {
        e.cells.retain(|c| !(c.query_language == 0 && c.passage_language == Some(1)));
    });
    let text = refused(&missing);
    assert!(text.contains("the second lacks 1, among them cross map aa to bb"), "{text}");
}

#[test]
fn cells_that_the_questions_do_not_give_are_not_tested() {
    let dir = tempfile::tempdir().unwrap();
    let (dataset, mut evaluation) = evaluation(1.0, 1);
    evaluation.cells.iter_mut().find(|c| c.metric == "map").unwrap().value += 0.01;
    evaluate::write(dir.path().join("a").as_path(), &dataset, &evaluation, 0).unwrap();
    let read = |metric: &str| Outcomes::read(&dir.path().join("a"), metric);
    let text = format!("{:#}", read("map").unwrap_err());
    assert!(text.contains("queries.parquet") && text.contains("mono map aa to aa"), "{text}");
    assert!(read("recall@1").is_ok());
    let text = format!("{:#}", read("mapp").unwrap_err());
    assert!(text.contains("there are:") && text.contains("rank_distance"), "{text}");
    std::fs::remove_file(dir.path().join("a/queries.parquet")).unwrap();
    assert!(format!("{:#}", read("recall@1").unwrap_err()).contains("queries.parquet"));
}

/// Two relevant passages in one language, and questions that find nothing in another, which count 0.
#[test]
fn several_answers_and_missing_ones_are_tested_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut dataset = made::parallel(&["aa", "bb", "cc"], 12);
    for group in 0..6 {
        // The passage of the next id answers in "aa" too; nothing answers in "cc".
        let next = dataset.groups[group + 1].relevant[0];
        dataset.groups[group].relevant.push(next);
        dataset.groups[group].relevant.retain(|p| dataset.passages[*p as usize].language != 2);
    }
    let outcomes = |name: &str, lift, seed| {
        let evaluation = made::evaluate("a model", &dataset, &scores(&dataset, lift, seed));
        assert!(evaluation.notes.iter().any(|n| n.contains("missing = zero")), "{:?}", evaluation.notes);
        evaluate::write(&dir.path().join(name), &dataset, &evaluation, 0).unwrap();
        (Outcomes::read(&dir.path().join(name), "map").unwrap(), evaluation)
    };
    let ((first, _), (second, evaluation)) = (outcomes("a", 0.5, 1), outcomes("b", 2.5, 2));
    let found = compared(&first, &second);
    let row = found.find("cross", "map", Some(("bb", "cc"))).unwrap();
    let cell = evaluation.cell(polymix::evaluate::Setting::Cross, "map", 1, Some(2)).unwrap();
    assert_eq!((row.n, cell.n), (12, 12), "those that find nothing are counted");
    assert!((row.second - cell.value).abs() < 1e-12);
    assert!(found.find("multi_strict", "map", Some(("bb", "*"))).is_some());
}

/// A directory of version 2 holds the best rank of each language only: it is compared without the strict pool.
#[test]
fn evaluations_of_version_2_are_compared_without_the_strict_pool() {
    use polars::prelude::{ParquetReader, ParquetWriter, SerReader};

    let dir = tempfile::tempdir().unwrap();
    let new = written(&dir.path().join("new"), 3.0, 2, |_| {});
    written(&dir.path().join("old"), 1.0, 1, |_| {});
    let path = dir.path().join("old/queries.parquet");
    let table = ParquetReader::new(std::fs::File::open(&path).unwrap()).finish().unwrap();
    let names = ["ranks_aa", "ranks_bb", "ranks_cc", "multi_ranks", "strict_ranks"];
    let mut table = table.drop_many(names);
    ParquetWriter::new(std::fs::File::create(&path).unwrap()).finish(&mut table).unwrap();
    let damaged = format!("{:#}", Outcomes::read(&dir.path().join("old"), "map").unwrap_err());
    assert!(damaged.contains("queries.parquet: damaged"), "{damaged}");
    let path = dir.path().join("old/summary.json");
    let mut summary: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    summary["v"] = 2.into();
    summary.as_object_mut().unwrap().retain(|key, _| key != "crc32" && key != "files");
    std::fs::write(&path, summary.to_string()).unwrap();
    let old = Outcomes::read(&dir.path().join("old"), "map").unwrap();
    for found in [compared(&old, &new), compared(&new, &old)] {
        assert_eq!((found.family_means, found.family_cells), (4, 15));
        assert!(found.rows.iter().all(|row| row.place.setting.name() != "multi_strict"));
    }
    assert_eq!(compared(&new, &new).family_cells, 18);
}

#[test]
fn groups_of_seeds_are_compared_over_seeds_and_questions() {
    let dir = tempfile::tempdir().unwrap();
    let group = |lift: f32, seeds: std::ops::Range<u64>| -> Vec<Outcomes> {
        seeds.map(|seed| written(&dir.path().join(format!("{seed}")), lift, seed, |_| {})).collect()
    };
    let (low, high) = (group(1.0, 1..4), group(2.5, 11..14));
    let found = significance::compare_groups(&low, &high).unwrap();
    let mono = found.find("mono", "map", None).unwrap();
    assert!(mono.is_significant() && mono.difference > 0.1, "{mono:?}");
    let mean = |group: &[Outcomes]| {
        let one = |o: &Outcomes| compared(o, o).rows[0].first;
        group.iter().map(one).sum::<f64>() / group.len() as f64
    };
    assert!((mono.first - mean(&low)).abs() < 1e-12 && (mono.second - mean(&high)).abs() < 1e-12);
    assert!(found.explanation().contains("3 and 3 seeds"), "{}", found.explanation());
    let text = format!("{:#}", significance::compare_groups(&low[..1], &high).unwrap_err());
    assert!(text.contains("at least two runs on each side"), "{text}");
}

/// Prints seconds for a table as large as XQuAD-R's: 1,190 question ids, 154 cells, 5 macro means; see
/// `benches/results/significance.md`.
#[test]
#[ignore = "a measurement: --ignored --nocapture"]
fn seconds_of_a_whole_table() {
    let mut stream = Stream::new(1, "size", 0);
    let mut values = Vec::new();
    for cluster in 0..1190 {
        let shared = stream.normal();
        values.extend((0..143).map(|column| (cluster, column, shared + stream.normal())));
    }
    let means = vec![(0..11).collect(), (11..121).collect(), (121..132).collect(), (132..143).collect()];
    let table = Clustered::new(1190, 143, values, means);
    for _ in 0..5 {
        let start = std::time::Instant::now();
        sign_flips(&table, &Options::default(), &mut quiet).unwrap();
        let flips = start.elapsed().as_secs_f64();
        intervals(&table, &Options::default(), &mut quiet).unwrap();
        let whole = start.elapsed().as_secs_f64();
        eprintln!("sign flips {flips:.3} s, bootstrap {:.3} s, together {whole:.3} s", whole - flips);
    }
}
