//! `polymix compare` as its users call it.
#![allow(clippy::unwrap_used)]

#[path = "common/made.rs"]
mod made;

use std::path::Path;
use std::process::{Command, Output};

use polymix::evaluate;
use polymix::run::Store;
use polymix::spec::ExperimentSpec;
use polymix::stream::Stream;

/// An evaluation of 40 questions in three languages whose relevant passages are lifted by this much above noise.
fn evaluated(place: &Path, lift: f32, noise: u64, candidate: &str) {
    let dataset = made::parallel(&["aa", "bb", "cc"], 40);
    let mut stream = Stream::new(noise, "scores", 0);
    let scores: Vec<Vec<f32>> = dataset
        .questions
        .iter()
        .map(|question| {
            let score = |p: usize| {
                stream.normal() as f32 + if p % 40 == question.group as usize { lift } else { 0.0 }
            };
            (0..dataset.passages.len()).map(score).collect()
        })
        .collect();
    let mut evaluation = made::evaluate("a model", &dataset, &scores);
    evaluation.protocol.candidate = candidate.into();
    evaluate::write(place, &dataset, &evaluation, 0).unwrap();
}

fn run(store: &Store, name: &str, alpha: f64, seed: u64, lift: f32) {
    let mut spec = ExperimentSpec { name: name.into(), seed, ..ExperimentSpec::default() };
    spec.sampling.alpha = Some(alpha);
    let run = store.create(&spec).unwrap();
    evaluated(&run.evaluation_dir(3, "made"), lift, 100 * seed + (10.0 * alpha) as u64, "sentence");
}

fn polymix(store: &Store, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_polymix"))
        .args(["--runs-dir", store.root.to_str().unwrap(), "compare"])
        .args(arguments)
        .output()
        .unwrap()
}

fn printed(store: &Store, arguments: &[&str]) -> String {
    let output = polymix(store, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(store: &Store, arguments: &[&str]) -> String {
    let output = polymix(store, arguments);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Some(&dir.path().join("runs"))).unwrap();
    for seed in 1..4 {
        run(&store, &format!("low{seed}"), 0.0, seed, 1.0);
        run(&store, &format!("high{seed}"), 0.5, seed, 2.5);
    }
    (dir, store)
}

#[test]
fn two_runs_are_tested_and_the_page_says_how() {
    let (_dir, store) = store();
    let page = printed(&store, &["low1", "high1"]);
    for part in [
        "* p < .05, ** p < .01, *** p < .001 after Holm's correction",
        "paired sign-flip test",
        "10000 random sign assignments",
        "Clusters: 40 question ids (120 questions)",
        "two families: 5 macro means; 18 languages and pairs",
        "high1-001 minus low1-001 on made",
        "languages and pairs that differ after correction: 1",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    let mono = page.lines().find(|l| l.starts_with("made") && l.contains("mono")).unwrap();
    assert!(mono.ends_with("***"), "{mono}");
    assert_eq!(page, printed(&store, &["low1", "high1"]), "the same twice");
    let few = printed(&store, &["low1", "high1", "--resamples", "100"]);
    assert!(few.contains("so that none can be marked: use more --resamples"), "{few}");
}

#[test]
fn every_format_holds_the_tests() {
    let (dir, store) = store();
    let csv = printed(&store, &["low1", "high1", "high2", "--format", "csv"]);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(
        lines[0],
        "dataset,first,second,setting,metric,query_language,passage_language,n,clusters,first_value,second_value,\
         difference,low,high,p,p_holm,mark"
    );
    assert_eq!(lines.len(), 1 + 2 * 23);
    assert!(lines[1].starts_with("made,low1-001,high1-001,mono,map,,,,40,"), "{}", lines[1]);
    assert!(printed(&store, &["low1", "high1", "--format", "latex"]).contains("\\toprule"));
    assert!(printed(&store, &["low1", "high1", "--format", "markdown"]).contains("| p\\_holm |"));
    let out = dir.path().join("table.csv");
    let to = ["low1", "high1", "--format", "csv", "--out", out.to_str().unwrap()];
    printed(&store, &to);
    assert!(refused(&store, &to).contains("--force"));
    let json: serde_json::Value =
        serde_json::from_str(&printed(&store, &["low1", "high1", "high2", "--json"])).unwrap();
    assert_eq!(json["v"], 1);
    let tables = json["significance"].as_array().unwrap();
    assert_eq!((tables.len(), tables[1]["other"].as_str()), (2, Some("high2-001")));
    assert_eq!(tables[0]["family_cells"], 36, "cells of both comparisons are one family");
    assert_eq!(tables[0]["test"]["name"], "sign_flips");
    let row = &tables[0]["rows"][0];
    assert_eq!((row["setting"].as_str(), row["clusters"].as_u64()), (Some("mono"), Some(40)));
    assert!(row["p_holm"].as_f64() >= row["p"].as_f64());
}

#[test]
fn groups_of_seeds_are_one_side_each() {
    let (_dir, store) = store();
    let page = printed(&store, &["low1,low2,low3", "high1,high2,high3"]);
    for part in [
        "low1-001 +2",
        "± standard deviation over seeds",
        "95% t interval over seeds",
        "Welch-Satterthwaite t-test",
        "3 and 3 seeds",
        "sampling.alpha",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(!page.lines().any(|l| l.starts_with("seed ")), "the seed is no setting of a group: {page}");
    for (arguments, part) in [
        (["low1,low2", "high1"], "'low1-001 +1' is 2 runs and 'high1-001' is one run"),
        (["low1,high2", "high1,high3"], "these differ in sampling.alpha"),
        (["low1,low1", "high1,high2"], "given twice"),
    ] {
        let text = refused(&store, &arguments);
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn what_cannot_be_compared_is_refused_and_can_be_printed_untested() {
    let (dir, store) = store();
    let place = dir.path().join("other/made");
    evaluated(&place, 1.0, 7, "sentence+context");
    let other = place.to_str().unwrap();
    let text = refused(&store, &["low1", other]);
    assert!(
        text.contains("candidate sentence and sentence+context") && text.contains("--untested"),
        "{text}"
    );
    let page = printed(&store, &["low1", other, "--untested"]);
    assert!(page.contains("macro means") && !page.contains("Holm"), "{page}");
    let alike = dir.path().join("alike");
    evaluated(&alike, 2.0, 7, "sentence");
    let page = printed(&store, &["low1", alike.to_str().unwrap()]);
    assert!(page.contains("sign-flip"), "an evaluation directory, whatever its name: {page}");
    assert!(refused(&store, &["low1", "high1", "--metric", "mapp"]).contains("there are: map"));
    let usage = polymix(&store, &["low1", "high1", "--resamples", "5"]);
    assert_eq!(usage.status.code(), Some(2));
}
