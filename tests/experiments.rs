//! The commands that only evaluate: align, robustness, domains, scripts; and BEIR folders. Driven as a user would.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;

use std::path::Path;

use common::Program;
use serde_json::Value;

/// A program with the small model and a made dataset in three languages.
fn program() -> (Program, String, String) {
    let program = Program::new();
    let model = program.dir.path().join("model");
    common::copy_dir(common::tiny_model().path(), &model);
    common::write_xquadr(&program.dir.path().join("data"), &["de", "el", "zh"], 20);
    let data = format!("xquad-r={}", program.dir.path().join("data").display());
    (program, model.display().to_string(), data)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("no {key} in {row}"))
}

#[test]
fn align_compares_layers_sides_and_languages_and_writes_what_it_prints() {
    let (program, model, data) = program();
    let out = program.dir.path().join("out");
    let args = ["align", "--model", &model, "--data", &data, "--device", "cpu", "--layers", "--json"];
    let found = json(&program.ok(&[&args[..], &["--out", &out.display().to_string()]].concat()));
    assert_eq!((found["v"].as_u64(), found["command"].as_str()), (Some(1), Some("align")));
    let summary = found["tables"]["summary"].as_array().unwrap();
    let layers: Vec<&str> = summary.iter().map(|r| r["layer"].as_str().unwrap()).collect();
    let half = layers.len() / 2;
    assert!(half >= 2 && layers[0] == "embeddings" && layers[..half] == layers[half..], "{layers:?}");
    for row in summary {
        assert_eq!(row["pairs"], 3);
        assert!((0.0..=1.0).contains(&number(row, "probe_accuracy")), "{row}");
        assert!(number(row, "cka") <= 1.0 + 1e-9 && number(row, "xsim") <= 1.0, "{row}");
        assert!(number(row, "cka_unbiased_null").abs() < number(row, "cka_null"), "{row}");
    }
    let languages = found["tables"]["languages"].as_array().unwrap();
    let greek = languages.iter().find(|r| r["language"] == "el").unwrap();
    assert_eq!((greek["script"].as_str(), greek["low_resource"].as_bool()), (Some("Greek"), Some(true)));
    for table in ["summary", "languages", "scripts", "pairs"] {
        for extension in ["csv", "parquet"] {
            assert!(out.join(format!("{table}.{extension}")).is_file(), "{table}.{extension}");
        }
    }
    let about = json(&std::fs::read_to_string(out.join("about.json")).unwrap());
    assert_eq!(about["seed"], 42);
    // Without layers the last one's numbers; and the table for the eye.
    let plain = json(&program.ok(&[&args[..7], &["--json"]].concat()));
    let own = &plain["tables"]["summary"][0];
    assert_eq!(own["layer"], "output");
    assert!((number(own, "cka") - number(&summary[half - 1], "cka")).abs() < 1e-6);
    let page = program.ok(&[&args[..7], &["--pairs", "--side", "questions"]].concat());
    for part in ["cka_unbiased_null", "probe_majority", "low", "Greek", "language_b"] {
        assert!(page.contains(part), "no {part} in {page}");
    }
    program
        .fails(&[&args[..], &["--out", &out.display().to_string()]].concat(), &["exists already", "--out"]);
}

#[test]
fn robustness_says_what_each_change_costs_in_each_language() {
    let (program, model, data) = program();
    let lexicon = program.dir.path().join("de-el.tsv");
    std::fs::write(&lexicon, "river\tποτάμι\nhouse\tσπίτι\n").unwrap();
    let lexicon = format!("de-el={}", lexicon.display());
    let out = program.dir.path().join("out");
    let args = ["robustness", "--model", &model, "--data", &data, "--device", "cpu", "--variants", "2"];
    let all = [&args[..], &["--lexicon", &lexicon, "--json", "--out", out.to_str().unwrap()]].concat();
    let found = json(&program.ok(&all));
    let rows = found["tables"]["robustness"].as_array().unwrap();
    let find = |change: &str, setting: &str, language: &str| {
        rows.iter()
            .find(|r| r["change"] == change && r["setting"] == setting && r["language"] == language)
            .unwrap_or_else(|| panic!("{change} {setting} {language}"))
    };
    for change in ["substitution", "deletion", "lower", "upper", "word-swap", "code-switch", "all"] {
        for setting in ["mono", "cross", "multi"] {
            let row = find(change, setting, "*");
            let (before, after, worst) = (number(row, "before"), number(row, "after"), number(row, "worst"));
            assert!((number(row, "drop") - (before - after)).abs() < 1e-12);
            assert!((number(row, "relative_drop") - (before - after) / before).abs() < 1e-12);
            assert!(worst <= before && worst <= after, "{row}");
        }
    }
    // Lower case already: nothing changes, and it is said so.
    let lower = find("lower", "mono", "de");
    assert_eq!(
        (number(lower, "drop"), &lower["unchanged"], &lower["variants"]),
        (0.0, &lower["n"], &1.into())
    );
    assert_eq!(
        find("code-switch", "mono", "el")["unchanged"],
        2 * find("code-switch", "mono", "el")["n"].as_u64().unwrap()
    );
    assert!(find("code-switch", "mono", "de")["unchanged"].as_u64() < Some(80));
    assert_eq!(find("all", "mono", "de")["n"], 40);
    assert_eq!(find("all", "cross", "de")["n"], 80);
    assert!(out.join("robustness.csv").is_file() && out.join("scripts.parquet").is_file());
    let again = json(&program.ok(&[&args[..], &["--lexicon", &lexicon, "--json"]].concat()));
    assert_eq!(found["tables"], again["tables"], "the same seed gives the same numbers");
    let other = json(&program.ok(&[&args[..], &["--lexicon", &lexicon, "--json", "--seed", "1"]].concat()));
    assert_ne!(found["tables"], other["tables"]);
    let page =
        program
            .ok(&[&args[..], &["--samples", "--changes", "upper,homoglyph", "--limit-questions", "4"]]
                .concat());
    assert!(page.contains("attack_success") && page.contains("RIVER"), "{page}");
    program
        .fails(&[&args[..], &["--changes", "code-switch"]].concat(), &["lexicon", "--lexicon FROM-TO=FILE"]);
    program.fails(&[&args[..], &["--metric", "maps"]].concat(), &["'maps'", "ndcg@10"]);
    program.fails(&[&args[..], &["--typing-rate", "2"]].concat(), &["--typing-rate 2", "0 to 1"]);
    program.fails(&[&args[..], &["--languages", "fr"]].concat(), &["'fr'", "de, el, zh"]);
    program.fails(&[&args[..], &["--formats", "trec"]].concat(), &["--formats trec"]);
}

#[test]
fn domains_sum_up_to_the_whole_and_differences_to_the_second_model() {
    let (program, model, data) = program();
    let common = ["domains", "--model", &model, "--model", "demo", "--device", "cpu", "--json", "--data"];
    let found = json(&program.ok(&[&common[..], &["demo[validation]", "--languages", "de,en,zh"]].concat()));
    let rows = found["tables"]["domains"].as_array().unwrap();
    let of = |model: &str, domain: &str| {
        rows.iter().find(|r| r["model"] == model && r["domain"] == domain).unwrap()
    };
    let own: Vec<&Value> = rows.iter().filter(|r| r["model"] == *model && r["domain"] != "*").collect();
    assert!(own.len() > 8, "{} domains", own.len());
    let ids: u64 = own.iter().map(|r| r["ids"].as_u64().unwrap()).sum();
    assert_eq!(Some(ids), of(&model, "*")["ids"].as_u64());
    // Every id has a question in every language, so that the mean over domains by ids is the whole.
    for measure in ["mono_map", "cross_map", "multi_map", "question_alignment"] {
        let sum: f64 = own.iter().map(|r| number(r, measure) * number(r, "ids")).sum();
        let whole = number(of(&model, "*"), measure);
        assert!((sum / ids as f64 - whole).abs() < 1e-3, "{measure}: {} {whole}", sum / ids as f64);
    }
    let difference = &found["tables"]["differences"].as_array().unwrap()[own.len()];
    assert_eq!(difference["domain"], "*");
    let expected = number(of("demo", "*"), "multi_map") - number(of(&model, "*"), "multi_map");
    assert!((number(difference, "multi_map") - expected).abs() < 1e-12);
    let half = |part: &str| data.replace("xquad-r=", &format!("xquad-r[{part}]="));
    let two = [half("0..10"), half("10..20")];
    let page = program.ok(&[&common[..7], &["--data", &two[0], "--data", &two[1]]].concat());
    assert!(page.contains("xquad-r[10..20]") && page.contains("difference to the first model"), "{page}");
    assert_eq!(page.matches("xquad-r[0..10]").count(), 3, "{page}");
}

#[test]
fn scripts_group_an_evaluation_and_the_mark_can_be_moved() {
    let (program, model, data) = program();
    let table = program.ok(&["scripts"]);
    assert!(table.contains("Devanagari") && table.contains("one language uses it"), "{table}");
    program.ok(&["evaluate", "--model", &model, "--data", &data, "--device", "cpu", "--out", "e"]);
    let found = json(&program.ok(&["scripts", "e", "--format", "json"]));
    let rows = found["rows"].as_array().unwrap();
    let find = |setting: &str, query: &str, passage: &str| {
        rows.iter()
            .find(|r| r["setting"] == setting && r["query_script"] == query && r["passage_script"] == passage)
            .unwrap()
    };
    assert_eq!(rows.len(), 3 + 6 + 3 + 3, "mono, cross, multi and multi_strict");
    assert_eq!(find("mono", "Latin", "Latin")["low_resource"], false);
    assert_eq!(find("cross", "Latin", "Greek")["low_resource"], true);
    let pairs = json(&program.ok(&["export", "e", "--table", "pairs", "--format", "json"]));
    let cell = pairs["rows"].as_array().unwrap().iter().find(|r| {
        r["setting"] == "cross"
            && r["metric"] == "map"
            && r["query_language"] == "zh"
            && r["passage_language"] == "el"
    });
    assert_eq!(find("cross", "Han", "Greek")["macro"], cell.unwrap()["value"]);
    let moved = program.ok(&["scripts", "e", "--low-resource", "Han", "--metric", "success@1"]);
    assert!(
        moved.contains("success@1") && moved.lines().any(|l| l.contains("Han") && l.contains("low")),
        "{moved}"
    );
    program.fails(&["scripts", "e", "--low-resource", "Elvish"], &["'Elvish'", "Thai"]);
    program.fails(&["scripts", "e", "--metric", "x"], &["'x'", "was not measured", "map"]);
}

fn beir(dir: &Path, corpus: &str, queries: &str, qrels: &str) -> String {
    std::fs::create_dir_all(dir.join("qrels")).unwrap();
    std::fs::write(dir.join("corpus.jsonl"), corpus).unwrap();
    std::fs::write(dir.join("queries.jsonl"), queries).unwrap();
    std::fs::write(dir.join("qrels/test.tsv"), qrels).unwrap();
    format!("beir={}", dir.display())
}

const CORPUS: &str = "{\"_id\":\"d1\",\"title\":\"River\",\"text\":\"the water of night\"}\n\
    {\"_id\":\"d2\",\"title\":\"\",\"text\":\"a stone house\"}\n{\"_id\":3,\"text\":\"bird light\"}\n";
const QUERIES: &str = "{\"_id\":\"q1\",\"text\":\"river water night\"}\n{\"_id\":\"q2\",\"text\":\"Stone house\"}\n\
    {\"_id\":\"q3\",\"text\":\"bird\"}\n{\"_id\":\"q4\",\"text\":\"unjudged\"}\n";
const QRELS: &str = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td2\t1\nq2\t3\t1\nq3\t3\t1\n";

#[test]
fn a_beir_folder_is_evaluated_by_its_own_metric() {
    let (program, model, _) = program();
    let data =
        beir(&program.dir.path().join("b"), CORPUS, QUERIES, QRELS).replace("beir=", "beir[language=en]=");
    let output =
        program.run(&["robustness", "--model", &model, "--data", &data, "--device", "cpu", "--json"]);
    assert!(output.err.contains("1 questions have no relevant document"), "{output:?}");
    let found = json(&output.out);
    let rows = found["tables"]["robustness"].as_array().unwrap();
    assert!(rows.iter().all(|r| r["metric"] == "ndcg@10" && r["setting"] == "mono" && r["language"] == "en"));
    assert!(rows.iter().all(|r| r["n"] == 3) && rows.iter().any(|r| r["change"] == "homoglyph"));
    let german = data.replace("beir[language=en]", "beir[test,language=de]");
    let page = program.ok(&[
        "robustness",
        "--model",
        &model,
        "--data",
        &german,
        "--device",
        "cpu",
        "--changes",
        "upper",
    ]);
    assert!(page.contains("ndcg@10") && page.contains("upper"), "{page}");
    program.fails(&["align", "--model", &model, "--data", &data, "--device", "cpu"], &["one language"]);
}

#[test]
fn a_broken_beir_folder_is_told_by_file_line_and_field() {
    let program = Program::new();
    let dir = program.dir.path().join("b");
    let inspect = |corpus: &str, queries: &str, qrels: &str, part: &str, parts: &[&str]| {
        let data = beir(&dir, corpus, queries, qrels).replace("beir=", &format!("beir[{part}language=en]="));
        program.fails(&["robustness", "--model", "demo", "--device", "cpu", "--data", &data], parts);
    };
    inspect(CORPUS, QUERIES, QRELS, "dev,", &["'dev'", "there are test.tsv", "beir[PART]"]);
    inspect("{\"_id\":\"d1\"\n", QUERIES, QRELS, "", &["corpus.jsonl, line 1", "not a JSON object"]);
    inspect(
        &(CORPUS.to_owned() + "{\"_id\":\"d1\",\"text\":\"x\"}\n"),
        QUERIES,
        QRELS,
        "",
        &["line 4", "'d1'", "comes twice"],
    );
    inspect(CORPUS, "{\"text\":\"x\"}\n", QRELS, "", &["queries.jsonl, line 1", "'_id'"]);
    inspect(CORPUS, "{\"_id\":\"q1\"}\n", QRELS, "", &["queries.jsonl, line 1", "'text'"]);
    inspect(CORPUS, QUERIES, "query-id\tcorpus-id\tscore\nq1\td1\n", "", &["test.tsv, line 2", "2 columns"]);
    inspect(CORPUS, QUERIES, "query-id\tcorpus-id\tscore\nq1\td1\tyes\n", "", &["test.tsv, line 2", "'yes'"]);
    inspect(
        CORPUS,
        QUERIES,
        "query-id\tcorpus-id\tscore\nq1\td9\t1\n",
        "",
        &["test.tsv, line 2", "'d9'", "corpus.jsonl"],
    );
    std::fs::remove_file(dir.join("corpus.jsonl")).unwrap();
    let data = format!("beir={}", dir.display());
    program.fails(
        &["robustness", "--model", "demo", "--data", &data],
        &["corpus.jsonl", "a BEIR directory has corpus.jsonl"],
    );
}
