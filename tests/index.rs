//! `polymix encode`, `search` and `evaluate --shards` with the real program: interrupted, torn, and given wrong input.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{Program, copy_dir, in_time, tiny_model, wait_for, write_xquadr};

/// A model, and `n` passages one a line, in the program's directory.
fn prepare(n: usize) -> Program {
    let program = Program::new();
    copy_dir(tiny_model().path(), &program.dir.path().join("model"));
    let words = ["river", "house", "stone", "bird", "light", "tree", "water", "night", "the", "of"];
    let line = |i: usize| {
        format!(
            "d{i}\t{} {} {} the {}\n",
            words[i % 10],
            words[i / 10 % 10],
            words[i / 100 % 10],
            words[i / 1000 % 10]
        )
    };
    std::fs::write(program.dir.path().join("passages.tsv"), (0..n).map(line).collect::<String>()).unwrap();
    program
}

fn encode<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args =
        vec!["encode", "--model", "model", "--passages", "passages.tsv", "--device", "cpu", "--out", out];
    if !more.contains(&"--shard-size") {
        args.extend(["--shard-size", "100"]);
    }
    args.extend(more);
    args
}

fn shards(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let shards = files.filter(|path| path.extension().is_some_and(|e| e == "shard"));
    shards.map(|path| (path.file_name().unwrap().into(), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn encoding_goes_on_after_kill_9() {
    let program = prepare(20_050);
    let dir = program.dir.path().join("killed");
    let before = in_time("the kill", || {
        let _ = std::fs::remove_dir_all(&dir);
        let mut child =
            program.command(&encode("killed", &[])).stderr(std::process::Stdio::null()).spawn().unwrap();
        let mut is_over = false;
        wait_for("three shards", || {
            is_over = child.try_wait().unwrap().is_some();
            is_over || dir.join("00002.shard").exists()
        });
        child.kill().unwrap();
        assert!(!is_over || child.wait().unwrap().success(), "it failed by itself");
        child.wait().unwrap();
        let before = shards(&dir);
        assert!(before.len() > 2, "{} shards", before.len());
        (before.len() < 201).then_some(before)
    });
    program.fails(&["search", "--index", "killed", "--query", "river"], &["is missing", "polymix encode"]);

    let json = program.ok(&encode("killed", &["--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["found"].as_u64(), json["shards"].as_u64()), (Some(before.len() as u64), Some(201)));
    program.ok(&encode("at once", &[]));
    let (killed, at_once) = (shards(&dir), shards(&program.dir.path().join("at once")));
    assert_eq!(killed.len(), 201);
    assert!(killed == at_once, "the shards differ from those of an encoding that was not interrupted");
    let left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 201 + 2, "manifest and lock, nothing half-written: {left:?}");
}

#[test]
fn torn_and_altered_shards_are_found_and_written_again() {
    let program = prepare(450);
    program.ok(&encode("index", &[]));
    let dir = program.dir.path().join("index");
    let whole = shards(&dir);
    let path = dir.join("00002.shard");
    let bytes = whole[Path::new("00002.shard")].clone();
    let mut altered = bytes.clone();
    let last = altered.len() - 1;
    altered[last] ^= 1;
    for (broken, part) in [(bytes[..bytes.len() / 2].to_vec(), "cut off"), (altered, "checksum")] {
        std::fs::write(&path, broken).unwrap();
        program.fails(&["search", "--index", "index", "--query", "river"], &["00002.shard", part]);
        let again = program.run(&encode("index", &[]));
        assert_eq!(again.code, Some(0));
        assert!(again.err.contains("00002.shard") && again.err.contains(part), "{}", again.err);
        assert!(again.err.contains("(4 were there)"), "{}", again.err);
        assert!(shards(&dir) == whole);
    }
}

#[test]
fn an_index_of_another_model_or_other_settings_is_refused() {
    let program = prepare(120);
    program.ok(&encode("index", &[]));
    let refused =
        |more: &[&str], part: &str| program.fails(&encode("index", more), &["was made otherwise", part]);
    refused(&["--passage-prefix", "p: "], "passage prefix: \"Passage: \" there, \"p: \" now");
    refused(&["--max-passage-tokens", "9"], "longest passage in tokens");
    refused(&["--dtype", "f32"], "type of number: f16 there, f32 now");
    refused(&["--pooling", "cls"], "pooling: mean there, cls now");
    refused(&["--shard-size", "50"], "passages a shard: 100 there, 50 now");
    let passages = program.dir.path().join("passages.tsv");
    let text = std::fs::read_to_string(&passages).unwrap();
    std::fs::write(&passages, text.replacen("river", "stone", 1)).unwrap();
    refused(&[], "passages (hash)");
    std::fs::write(&passages, text).unwrap();
    // One number of the weights.
    let weights = program.dir.path().join("model/model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let at = bytes.len() - 2;
    bytes[at] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    refused(&[], "model (hash");
    program.fails(&["search", "--index", "index", "--query", "river"], &["another model than model"]);
}

/// Each passage asked for by its own text, without prefixes: it comes first, and ties come by id, descending.
#[test]
fn search_writes_a_trec_run() {
    let program = prepare(300);
    program.ok(&encode("index", &["--passage-prefix", "", "--dtype", "f32"]));
    std::fs::copy(program.dir.path().join("passages.tsv"), program.dir.path().join("queries.tsv")).unwrap();
    let search =
        ["search", "--index", "index", "--queries", "queries.tsv", "--query-prefix", "", "--device", "cpu"];
    let run = program.ok(&[&search[..], &["-k", "7"]].concat());
    let rows: Vec<Vec<&str>> = run.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(rows.len(), 7 * 300);
    for (question, rows) in rows.chunks(7).enumerate() {
        assert!(
            rows.iter().all(|row| row[0] == format!("d{question}") && row[1] == "Q0" && row[5] == "polymix")
        );
        let ranks: Vec<&str> = rows.iter().map(|row| row[3]).collect();
        assert_eq!(ranks, ["1", "2", "3", "4", "5", "6", "7"]);
        let scores: Vec<f32> = rows.iter().map(|row| row[4].parse().unwrap()).collect();
        assert!(scores.windows(2).all(|w| w[0] >= w[1]) && (scores[0] - 1.0).abs() < 1e-4, "{scores:?}");
        for (rows, scores) in rows.windows(2).zip(scores.windows(2)) {
            assert!(scores[0] > scores[1] || rows[0][2] > rows[1][2], "{rows:?}");
        }
        assert!(scores[0] > scores[1] && rows[0][2] == rows[0][0], "{:?}", rows[0]);
    }
    // One question, more passages than there are, into a packed file.
    let out =
        program.ok(&["search", "--index", "index", "--query", "river house", "-k", "999", "--out", "run.gz"]);
    assert_eq!(out.trim(), "run.gz");
    let mut text = String::new();
    let file = std::fs::File::open(program.dir.path().join("run.gz")).unwrap();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(file), &mut text).unwrap();
    assert_eq!(text.lines().count(), 300);
    assert!(text.starts_with("1 Q0 d"), "{text}");
}

#[test]
fn an_empty_corpus_is_an_index_without_hits() {
    let program = prepare(0);
    program.ok(&encode("index", &[]));
    assert_eq!(program.ok(&["search", "--index", "index", "--query", "river"]), "");
}

#[test]
fn wrong_input_is_named() {
    let program = prepare(20);
    let with = |text: &str, parts: &[&str]| {
        std::fs::write(program.dir.path().join("passages.tsv"), text).unwrap();
        program.fails(&encode("index", &[]), parts);
        assert!(
            !program.dir.path().join("index").exists(),
            "nothing is begun with passages that cannot be read"
        );
    };
    with("a\tx\nno tab\n", &["passages.tsv:2", "ID<TAB>TEXT"]);
    with("a\tx\na\ty\n", &["passages.tsv:2", "twice"]);
    with("{\"text\": 1}", &["passages.tsv:1", "'_id'"]);
    std::fs::write(program.dir.path().join("passages.tsv"), "a\tx\n").unwrap();
    program.fails(&encode("index", &["--shard-size", "0"]), &["at least one passage"]);
    program.fails(&encode("model", &[]), &["model", "no index and not empty"]);
    program.fails(&encode("index", &["--data", "demo"]), &["cannot be used with"]);
    program.fails(&["encode", "--model", "model", "--out", "x"], &["--data", "--passages"]);
    program
        .fails(&["encode", "--model", "nowhere", "--data", "demo", "--out", "x"], &["nowhere", "nor a run"]);
    program.fails(&["search", "--index", "nowhere", "--query", "x"], &["nowhere", "polymix encode"]);
    program.ok(&encode("index", &[]));
    program.fails(&["search", "--index", "index"], &["--queries", "--query"]);
    program.fails(&["search", "--index", "index", "--query", "x", "-k", "0"], &["at least 1"]);
    program
        .fails(&["search", "--index", "index", "--queries", "nowhere.tsv"], &["nowhere.tsv", "cannot open"]);
    std::fs::write(program.dir.path().join("empty.tsv"), "\n").unwrap();
    program.fails(&["search", "--index", "index", "--queries", "empty.tsv"], &["no question"]);
    std::fs::write(program.dir.path().join("index/index.json"), "{\"v\": 9}").unwrap();
    program.fails(&["search", "--index", "index", "--query", "x"], &["index.json", "newer polymix"]);
}

fn scores(json: &str) -> BTreeMap<String, f64> {
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    let scores = json["scores"].as_array().unwrap().iter();
    scores.map(|s| (format!("{} {}", s["setting"], s["metric"]), s["value"].as_f64().unwrap())).collect()
}

/// From f32 shards exactly the numbers of the path in memory, from f16 shards the same up to rounding; a second
/// evaluation takes the shards that are there; `encode` makes the very same index.
#[test]
fn evaluation_from_shards_gives_the_numbers_of_the_one_in_memory() {
    let program = prepare(0);
    write_xquadr(&program.dir.path().join("data"), &["de", "en", "zh"], 60);
    let base = ["evaluate", "--data", "xquad-r=data", "--device", "cpu", "--json", "--model"];
    for (model, data) in [("model", "xquad-r=data"), ("demo", "demo[validation]")] {
        let with = |more: &[&str]| {
            let mut args = base.to_vec();
            args[2] = data;
            args.push(model);
            args.extend(more);
            scores(&program.ok(&args))
        };
        let memory = with(&[]);
        let (exact, rounded) = (format!("{model}-f32"), format!("{model}-f16"));
        let shards_of = |dir: &str| {
            let dataset = data.split('=').next().unwrap();
            shards(&program.dir.path().join(dir).join(dataset))
        };
        assert_eq!(with(&["--shards", &exact, "--shard-dtype", "f32", "--shard-size", "50"]), memory);
        let first = shards_of(&exact);
        assert_eq!(with(&["--shards", &exact, "--shard-dtype", "f32", "--shard-size", "50"]), memory);
        assert!(shards_of(&exact) == first && first.len() > 2);
        let found = with(&["--shards", &rounded, "--shard-size", "1000"]);
        assert_eq!(found.len(), memory.len());
        for (name, value) in &memory {
            let allowed = if name.contains("rank_distance") { 1.0 } else { 5e-3 };
            assert!((found[name] - value).abs() < allowed, "{name}: {} and {value}", found[name]);
        }
        let encode = [
            "encode",
            "--model",
            model,
            "--data",
            data,
            "--shard-size",
            "50",
            "--dtype",
            "f32",
            "--out",
            "e",
        ];
        program.ok(&encode);
        let encoded = shards(&program.dir.path().join("e"));
        assert!(encoded == first, "encode and evaluate write different shards");
        std::fs::remove_dir_all(program.dir.path().join("e")).unwrap();
        let search = ["search", "--index", &rounded, "--data", data, "-k", "5"];
        let dir = format!("{rounded}/{}", data.split('=').next().unwrap());
        let mut search = search.to_vec();
        search[2] = &dir;
        assert!(program.ok(&search).lines().count() >= 5);
    }
    program.fails(
        &["evaluate", "--model", "model", "--data", "xquad-r=data", "--shard-dtype", "f32"],
        &["--shards"],
    );
    let other = [
        "evaluate",
        "--model",
        "model",
        "--data",
        "xquad-r=data",
        "--shards",
        "model-f32",
        "--shard-size",
        "50",
    ];
    program.fails(&other, &["was made otherwise", "type of number"]);
}
