//! Data with judgements (BEIR, MIRACL, Mr. `TyDi`): their grades, questions that are documents, pools, and runs scored against
//! the datasets' own labels.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/files.rs"]
mod files;

use common::Program;
use files::{error, load, made, read, says};
use serde_json::{Value, json};

/// What is said of a path that is refused.
fn refused(name: &str, path: &std::path::Path) -> String {
    format!("{:#}", load(name, path).map(|d| format!("{d:?}")).expect_err(name))
}

/// BEIR's files in a directory: documents and questions by id, and judgements.
fn beir(dir: &str, documents: &[&str], questions: &[&str], qrels: (&str, &str)) -> Vec<(String, String)> {
    let lines = |ids: &[&str], what: &str| -> String {
        ids.iter()
            .map(|id| json!({"_id": id, "text": format!("{what} {id} {dir}")}).to_string() + "\n")
            .collect()
    };
    [
        ("corpus.jsonl", lines(documents, "document")),
        ("queries.jsonl", lines(questions, "question")),
        (qrels.0, qrels.1.to_owned()),
    ]
    .map(|(name, text)| (format!("{dir}{name}"), text))
    .into()
}

fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect()
}

#[test]
fn grades_of_labels_stay_with_their_questions() {
    let of = |qrels: &str| beir("", &["a", "b", "c"], &["q0", "q1"], ("qrels/test.tsv", qrels));
    let graded = of("query-id\tcorpus-id\tscore\nq0\tb\t1\nq1\ta\t2\nq1\tb\t1.0\nq1\tc\t0\nq0\tc\t3.0\n");
    let data = read("beir[language=en]", &borrowed(&graded));
    assert_eq!(data.grades, [((0, 2), 3), ((1, 0), 2)].into());
    assert_eq!((data.grade(1, 0), data.grade(1, 1), data.negatives[1].len()), (2, 1, 1));
    let plain = of("q0\tb\t1\nq1\ta\t1\nq1\tb\t1\nq1\tc\t0\nq0\tc\t1\n");
    let plain = read("beir[language=en]", &borrowed(&plain));
    assert_eq!((&plain.groups, &plain.passages), (&data.groups, &data.passages));
    assert!(plain.grades.is_empty() && plain.hash != data.hash, "grades are part of what was measured on");
    // Other numbers of the groups.
    for part in ["domains=all,language=en", "language=en,languages=en"] {
        assert_eq!(read(&format!("beir[{part}]"), &borrowed(&graded)).grades, data.grades, "{part}");
    }
    assert_eq!(data.restrict(&["en".into()]).unwrap(), data);
    assert_eq!(data.limit_questions(1).grades, [((0, 2), 3)].into());

    let half = of("q1\ta\t1.5\nq0\tb\t1\n");
    says(&error("beir[language=en]", &borrowed(&half)), &["test.tsv, line 1", "grade '1.5'", "whole number"]);

    let miracl = [
        ("sw/topics.miracl-v1.0-sw-dev.tsv", "1\tswali\n"),
        ("sw/qrels.miracl-v1.0-sw-dev.tsv", "1\tQ0\t5#0\t3\n"),
        ("sw/docs-0.jsonl", "{\"docid\": \"5#0\", \"title\": \"\", \"text\": \"x\"}\n"),
        ("sw/dataset_info.json", "{\n  \"features\": {}\n}\n"),
    ];
    let data = read("miracl[dev]", &miracl);
    assert_eq!((data.grades, data.passages.len()), ([((0, 0), 3)].into(), 1));
}

#[test]
fn what_does_not_say_docs_is_no_shard_of_a_corpus_where_others_do() {
    let line = |id: &str| json!({"docid": id, "title": "", "text": id}).to_string();
    let (one, two) = (line("5#0"), line("6#0"));
    let judged = [
        ("sw/topics.miracl-v1.0-sw-dev.tsv", "1\tswali\n"),
        ("sw/qrels.miracl-v1.0-sw-dev.tsv", "1\tQ0\t5#0\t1\n"),
        ("sw/dataset_infos.json", "{}"),
        ("sw/shard-7.jsonl", two.as_str()),
    ];
    let data = read("miracl[dev]", &[&judged[..], &[("sw/docs-0.jsonl.gz", one.as_str())]].concat());
    assert_eq!(data.passages.len(), 1);
    says(&data.notes.join("; "), &["1 files", "were left out", "sw/shard-7.jsonl"]);
    let data = read("miracl[dev]", &[&judged[..], &[("sw/shard-0.jsonl", one.as_str())]].concat());
    assert_eq!((data.passages.len(), data.notes.len()), (2, 0), "{:?}", data.notes);
}

#[test]
fn judgements_as_mteb_writes_them_are_read() {
    let table = beir("", &["a", "7"], &["q0"], ("qrels/test.tsv", "q0\ta\t2\nq0\t7\t1\n"));
    let lines = "{\"query-id\": \"q0\", \"corpus-id\": \"a\", \"score\": 2.0}\n\
                 {\"query-id\": \"q0\", \"corpus-id\": 7, \"score\": 1}\n";
    let json = beir("", &["a", "7"], &["q0"], ("qrels/test.jsonl", lines));
    let read = |files: &[(String, String)]| read("beir[language=en]", &borrowed(files));
    assert_eq!(read(&json).hash, read(&table).hash);
    let both = [&table[..], &[("qrels/test.jsonl".into(), "{}".into())]].concat();
    assert_eq!(read(&both).hash, read(&table).hash, "a table counts before");
    for (line, part) in [
        ("{\"query-id\": \"q0\", \"score\": 1}", "'corpus-id'"),
        ("{\"query-id\": \"q0\", \"corpus-id\": \"a\", \"score\": 0.5}", "0.5"),
    ] {
        let wrong = beir("", &["a"], &["q0"], ("qrels/test.jsonl", line));
        says(&error("beir[language=en]", &borrowed(&wrong)), &["test.jsonl, line 1", part]);
    }
}

#[test]
fn a_question_that_is_a_document_is_no_candidate_for_itself() {
    let of = |dir: &str| {
        let qrels = "a\tb\t1\nb\tb\t1\nb\tc\t1\nq\ta\t1\n";
        beir(dir, &["a", "b", "c"], &["a", "b", "q"], ("qrels/test.tsv", qrels))
    };
    let one = of("");
    let data = read("beir[language=en]", &borrowed(&one));
    assert_eq!(data.itself, [(0, vec![0])].into(), "b is judged to answer itself");
    assert_eq!(data.without_itself(), 1);
    let kept = read("beir[language=en,self=keep]", &borrowed(&one));
    assert!(kept.itself.is_empty() && kept.hash != data.hash);
    assert_eq!((&kept.groups, &kept.passages), (&data.groups, &data.passages));
    says(&error("beir[language=en,self=no]", &borrowed(&one)), &["self=no", "drop, keep"]);

    let two = [of("de/"), of("en/")].concat();
    let shared = read("beir", &borrowed(&two));
    assert_eq!((&shared.itself, shared.without_itself()), (&[(0, vec![0, 3])].into(), 2));
    assert_eq!(shared.restrict(&["en".into()]).unwrap().itself, [(0, vec![0])].into());
    assert_eq!(read("beir[languages=en]", &borrowed(&two)).itself, [(0, vec![0])].into());
    let apart = read("beir[ids=apart]", &borrowed(&two));
    assert_eq!(apart.itself, [(0, vec![0]), (3, vec![3])].into());
}

#[test]
fn ids_of_several_languages_are_translations_and_it_is_said() {
    let of = |dir: &str| beir(dir, &["x"], &["q0", "q1"], ("qrels/test.tsv", "q0\tx\t1\nq1\tx\t2\n"));
    let two = [of("de/"), of("en/")].concat();
    let shared = read("beir", &borrowed(&two));
    assert_eq!((shared.groups.len(), shared.groups[0].relevant.len()), (2, 2));
    says(
        &shared.notes.join("; "),
        &["2 question ids stand in several languages", "translations", "ids=apart"],
    );
    let stated = read("beir[ids=shared]", &borrowed(&two));
    assert_eq!((&stated.groups, stated.notes.len()), (&shared.groups, 0), "{:?}", stated.notes);
    let apart = read("beir[ids=apart]", &borrowed(&two));
    let ids: Vec<&str> = apart.groups.iter().map(|g| g.id.as_str()).collect();
    assert_eq!((ids, apart.notes.len()), (vec!["de:q0", "de:q1", "en:q0", "en:q1"], 0), "{:?}", apart.notes);
    assert!(apart.groups.iter().all(|g| g.relevant.len() == 1));
    assert_eq!(apart.grades, [((1, 0), 2), ((3, 1), 2)].into());
    assert_eq!(read("beir[languages=en]", &borrowed(&two)).notes.len(), 0);
}

#[test]
fn two_datasets_of_one_language_are_not_one_pool() {
    let of = |dir: &str| beir(dir, &["x"], &["q0"], ("qrels/test.tsv", "q0\tx\t1\n"));
    let two = [of("scifact/"), of("fiqa/")].concat();
    let dir = made(&borrowed(&two));
    let said = refused("beir[language=en]", dir.path());
    says(&said, &["fiqa and ", "scifact: two datasets in 'en'", "write beir[language=en]="]);
    let one = load("beir[language=en]", &dir.path().join("fiqa")).unwrap();
    assert_eq!(one.passages.len(), 1);
    // Their rows say the language.
    let rows: Vec<(String, String)> = two
        .into_iter()
        .map(|(name, text)| (name, text.replace("\"_id\"", "\"language\":\"en\",\"_id\"")))
        .collect();
    says(&error("beir", &borrowed(&rows)), &["two datasets in 'en'"]);
}

#[test]
fn evaluating_without_a_corpus_says_that_the_pool_is_a_small_one() {
    let line = "{\"query_id\": 1, \"query\": \"a\", \"positive_passages\": [{\"docid\": \"1#0\", \"text\": \"x\"}]}\n";
    let folder = |files: &[&str]| -> Vec<(String, String)> {
        files.iter().map(|f| (format!("mrtydi-v1.1-swahili/{f}"), line.to_owned())).collect()
    };
    let notes = |name: &str, files: &[(String, String)]| read(name, &borrowed(files)).notes.join("; ");
    let all = folder(&["train.jsonl.gz", "dev.jsonl.gz", "test.jsonl.gz"]);
    for part in ["dev", "test"] {
        let said = notes(&format!("mr-tydi[{part}]"), &all);
        says(&said, &["not comparable", "mr-tydi-corpus", &format!("{part}.jsonl")]);
    }
    assert_eq!(notes("mr-tydi", &all), "", "no pool is searched in training");
    let corpus =
        ("mrtydi-v1.1-swahili/corpus.jsonl".into(), "{\"docid\": \"1#0\", \"text\": \"x\"}\n".into());
    assert_eq!(notes("mr-tydi[test]", &[&all[..], &[corpus]].concat()), "");
    says(&notes("tevatron[dev]", &all), &["not comparable", "corpus.jsonl"]);
    assert_eq!(notes("tevatron", &all), "");
}

/// A program with a small model and a folder `data` in BEIR's layout, whose questions are documents too.
fn program() -> Program {
    let program = Program::new();
    common::copy_dir(common::tiny_model().path(), &program.dir.path().join("model"));
    let words = ["river", "house", "stone", "bird", "light", "tree", "water", "night"];
    let text = |id: &str, n: usize| json!({"_id": id, "text": format!("{} {} {}", words[n % 8], words[n * 3 % 8], words[n * 5 / 2 % 8])});
    let (mut corpus, mut queries, mut qrels) =
        (String::new(), String::new(), String::from("query-id\tcorpus-id\tscore\n"));
    for n in 0..24 {
        corpus += &format!("{}\n", text(&format!("d{n}"), n));
        if n % 3 == 0 {
            queries += &format!("{}\n", text(&format!("d{n}"), n));
            qrels += &format!(
                "d{n}\td{}\t2\nd{n}\td{}\t1\nd{n}\td{}\t3\n",
                (n + 5) % 24,
                (n + 7) % 24,
                (n + 13) % 24
            );
        }
    }
    for (name, text) in [("corpus.jsonl", corpus), ("queries.jsonl", queries), ("qrels/test.tsv", qrels)] {
        let path = program.dir.path().join("data").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    program
}

fn unpacked(program: &Program, path: &str) -> String {
    let file = std::fs::File::open(program.dir.path().join(path)).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(file), &mut text).unwrap();
    text
}

/// nDCG@10 of the monolingual setting, as `evaluate --json` prints it.
fn ndcg(out: &str) -> f64 {
    let found: Value = serde_json::from_str(out).unwrap();
    let is_it = |s: &&Value| s["setting"] == "mono" && s["metric"] == "ndcg@10";
    found["scores"].as_array().unwrap().iter().find(is_it).unwrap()["value"].as_f64().unwrap()
}

#[test]
fn an_evaluation_and_its_run_file_score_alike_against_the_datasets_labels() {
    let program = program();
    let evaluate = |data: &str, more: &[&str]| {
        let args = ["evaluate", "--model", "model", "--json", "--device", "cpu", "--data"];
        program.run(&[&args[..], &[data], more].concat())
    };
    let output = evaluate("beir[language=en]=data", &["--out", "out"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output.err.contains("8 questions are documents too and are not ranked against themselves"),
        "{output:?}"
    );
    assert!(
        output.err.contains("16 labels have a grade above 1") && output.err.contains("linear"),
        "{output:?}"
    );
    let value = ndcg(&output.out);
    let protocol = serde_json::from_str::<Value>(&output.out).unwrap()["protocol"].clone();
    assert_eq!((&protocol["graded_labels"], &protocol["without_itself"]), (&json!(16), &json!(8)));

    let (run, labels) = ("out/beir[language=en]/run.trec.gz", "out/beir[language=en]/qrels.trec.gz");
    let grades: Vec<String> =
        unpacked(&program, labels).lines().map(|l| l.rsplit(' ').next().unwrap().to_owned()).collect();
    assert_eq!(grades[..3], ["2", "1", "3"]);
    let ranked = unpacked(&program, run);
    assert_eq!(ranked.lines().count(), 8 * 23);
    let itself = |line: &str| {
        let columns: Vec<&str> = line.split(' ').collect();
        columns[0] == format!("en:{}", columns[2])
    };
    assert!(!ranked.lines().any(itself));
    for labels in [labels, "data/qrels/test.tsv"] {
        let output = program.run(&["score", run, labels, "--json"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        let scored: Value = serde_json::from_str(&output.out).unwrap();
        assert!(
            (scored["means"]["ndcg@10"].as_f64().unwrap() - value).abs() < 1e-12,
            "{labels}: {scored} {value}"
        );
        let is_joined = output.err.contains("what stands behind 'en:'");
        assert_eq!(is_joined, labels.starts_with("data"), "{output:?}");
    }
    // From shards on disk the same; with the questions themselves, which come first, another.
    let shards = evaluate("beir[language=en]=data", &["--shards", "shards", "--shard-dtype", "f32"]);
    assert!((ndcg(&shards.out) - value).abs() < 1e-9, "{shards:?}");
    let kept = evaluate("beir[language=en,self=keep]=data", &[]);
    assert!(ndcg(&kept.out) < value && !kept.err.contains("themselves"), "{kept:?}");
    let of_kept = serde_json::from_str::<Value>(&kept.out).unwrap()["protocol"].clone();
    assert!(of_kept["protocol"] != protocol["protocol"] && of_kept["without_itself"].is_null(), "{of_kept}");

    let of = [
        "encode",
        "--model",
        "model",
        "--data",
        "beir[language=en]=data",
        "--out",
        "index",
        "--dtype",
        "f32",
    ];
    program.ok(&[&of[..], &["--device", "cpu"]].concat());
    let search = |data: &str| {
        program.ok(&["search", "--index", "index", "--data", data, "-k", "24", "--device", "cpu"])
    };
    let found = search("beir[language=en]=data");
    assert_eq!((found.lines().count(), found.lines().any(itself)), (8 * 23, false));
    assert_eq!(search("beir[language=en,self=keep]=data").lines().filter(|l| itself(l)).count(), 8);
}

#[test]
fn a_run_of_other_questions_is_not_scored_as_nothing() {
    let program = Program::new();
    let put = |name: &str, text: &str| std::fs::write(program.dir.path().join(name), text).unwrap();
    put("qrels.tsv", "query-id\tcorpus-id\tscore\nq0\td1\t1.0\nq1\td2\t2\n");
    put("other", "x7 Q0 d1 1 0.5 t\n");
    program.fails(&["score", "other", "qrels.tsv"], &["other", "qrels.tsv", "'x7'", "'q0'", "has a label"]);
    put("two", "de:q0 Q0 d1 1 0.5 t\nen:q0 Q0 d1 1 0.5 t\n");
    program.fails(&["score", "two", "qrels.tsv"], &["'de:q0'", "'q0'", "language by language"]);
    put("word", "run:q0 Q0 d1 1 0.5 t\n");
    program.fails(&["score", "word", "qrels.tsv"], &["'run:q0'"]);
    // As of datasets whose ids mean nothing in another language: it stands before documents and twice before questions.
    put("apart", "sw:sw:q0 Q0 sw:d1 1 0.5 t\nsw:sw:q1 Q0 sw:d1 1 0.5 t\nsw:sw:q1 Q0 sw:d2 2 0.4 t\n");
    let map = |run: &str| {
        let out = program.ok(&["score", run, "qrels.tsv", "--metrics", "map", "--json"]);
        serde_json::from_str::<Value>(&out).unwrap()["means"]["map"].as_f64().unwrap()
    };
    assert_eq!(map("apart"), 0.75);
    // One language's lines of a run over several: its pool has documents of the others.
    put("lines", "sw:q0 Q0 en:d1 1 0.9 t\nsw:q0 Q0 sw:d1 2 0.5 t\nsw:q1 Q0 sw:d2 1 0.5 t\n");
    assert_eq!(map("lines"), 0.75);
    put("some", "q1 Q0 d2 1 0.5 t\nx Q0 d1 1 0.5 t\n");
    assert_eq!(map("some"), 0.5);
    put(
        "qrels.jsonl",
        "{\"query-id\": \"q0\", \"corpus-id\": \"d1\", \"score\": 1.0}\n{\"query-id\": \"q1\", \"corpus-id\": \"d2\", \"score\": 2}\n",
    );
    let json = |labels: &str| program.ok(&["score", "some", labels, "--json"]);
    assert_eq!(json("qrels.jsonl"), json("qrels.tsv"));
}
