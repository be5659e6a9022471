//! Exported tables and comparisons, from runs and evaluation directories as they lie on disk.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

#[path = "common/made.rs"]
mod made;
#[path = "common/python.rs"]
mod python;

use std::path::{Path, PathBuf};

use polars::prelude::{AnyValue, DataFrame, ParquetReader, SerReader};
use polymix::corpus::Dataset;
use polymix::evaluate::{self, Evaluation};
use polymix::report::{self, Format, Side, Source, Table};
use polymix::run::{EventLog, RunDir, Store};
use polymix::spec::ExperimentSpec;
use polymix::train::Event;

fn evaluation(rank: usize) -> (Dataset, Evaluation) {
    let dataset = made::parallel(&["aa", "bb", "cc"], 4);
    let evaluation = made::evaluate("a model", &dataset, &made::scores(&dataset, rank));
    (dataset, evaluation)
}

/// A run with two evaluations on one dataset, and some history.
fn run(store: &Store, name: &str, alpha: f64, rank: usize) -> RunDir {
    let mut spec = ExperimentSpec { name: name.into(), ..ExperimentSpec::default() };
    spec.sampling.alpha = Some(alpha);
    let run = store.create(&spec).unwrap();
    let mut log = EventLog::append(&run.events_file()).unwrap();
    for step in 1..=3 {
        let (kind, language) = if step == 2 { ("X-Y", None) } else { ("X-X-mono", Some("aa".to_owned())) };
        let event = Event::Step {
            step,
            kind: kind.into(),
            language,
            loss: (step != 3).then_some(2.0 / step as f64),
            learning_rate: 3e-5,
            grad_norm: Some(1.5),
            pairs: 4,
            tokens: 99,
            seconds: 0.25,
        };
        log.write(event).unwrap();
    }
    log.write(Event::Validation { step: 3, loss: Some(0.5), best: true }).unwrap();
    log.write(Event::Note { message: "hello".into() }).unwrap();
    for (step, rank) in [(1, 4), (3, rank)] {
        let (dataset, evaluation) = evaluation(rank);
        evaluate::write(&run.evaluation_dir(step, "made"), &dataset, &evaluation, 5).unwrap();
    }
    run
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Some(&dir.path().join("runs"))).unwrap();
    (dir, store)
}

fn csv(source: &Source, table: Table) -> Vec<String> {
    let bytes = report::render(source, table, Format::Csv).unwrap();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

fn real(frame: &DataFrame, column: &str, row: usize) -> f64 {
    match frame.column(column).unwrap().get(row).unwrap() {
        AnyValue::Float64(x) => x,
        other => panic!("{column}: {other:?}"),
    }
}

#[test]
fn pairs_have_the_promised_columns_and_values() {
    let (_dir, store) = store();
    run(&store, "small", 0.25, 2);
    let source = Source::find("small", &store).unwrap();
    let lines = csv(&source, Table::Pairs);
    assert_eq!(
        lines[0],
        "run,step,model,dataset,protocol,sampling,alpha,setting,metric,query_language,passage_language,n,value"
    );
    // 9 pairs and 3 strict pools of 22 metrics, 3 pools of 23 (rank distance).
    let cells = 9 * 22 + 3 * 23 + 3 * 22;
    assert_eq!(lines.len(), 1 + 2 * cells, "two steps");
    let id = evaluation(2).1.protocol.id();
    assert_eq!(id.len(), 12);
    let has = |line: &str| {
        let line = line.replace("ID", &id);
        assert!(lines.contains(&line), "{line}\n{}", lines.join("\n"));
    };
    has("small-001,3,demo,made,ID,hybrid,0.25,mono,map,aa,aa,4,1.0");
    has("small-001,3,demo,made,ID,hybrid,0.25,cross,map,aa,bb,4,0.5");
    has("small-001,1,demo,made,ID,hybrid,0.25,cross,map,aa,bb,4,0.25");
    has("small-001,3,demo,made,ID,hybrid,0.25,multi,success@1,cc,*,4,1.0");
    let last = source.clone().only(Some(3), None).unwrap();
    has("small-001,3,demo,made,ID,hybrid,0.25,multi_strict,success@1,cc,*,4,0.0");
    assert_eq!(csv(&last, Table::Pairs).len(), 1 + cells);
    let message = format!("{:#}", source.only(Some(2), None).unwrap_err());
    assert!(message.contains("made after step 1; made after step 3"), "{message}");
}

#[test]
fn summary_languages_and_history_say_what_the_run_says() {
    let (_dir, store) = store();
    run(&store, "small", 1.0, 2);
    let source = Source::find("last", &store).unwrap();
    let summary = csv(&source, Table::Summary);
    assert!(summary[0].ends_with("setting,metric,cells,n,macro,micro"));
    let id = evaluation(2).1.protocol.id();
    assert!(summary.contains(&format!("small-001,3,demo,made,{id},X-X-mono,1.0,cross,map,6,24,0.5,0.5")));

    let languages = report::frame(&source.clone().only(Some(3), None).unwrap(), Table::Languages).unwrap();
    assert_eq!(languages.height(), 3);
    assert_eq!(real(&languages, "cross_map_as_query", 0), 0.5);
    assert_eq!(real(&languages, "cross_map_as_passage", 2), 0.5);
    assert_eq!(real(&languages, "mono_map", 1), 1.0);
    assert!((real(&languages, "pool_share", 0) - 1.0 / 3.0).abs() < 1e-12);

    let history = csv(&source, Table::History);
    assert_eq!(history.len(), 5, "three steps, one validation, no notes");
    assert!(history[0].starts_with("run,event,step,time,kind,language,loss,"));
    let fields: Vec<&str> = history[3].split(',').collect();
    assert_eq!(
        (fields[1], fields[2], fields[4], fields[6]),
        ("step", "3", "X-X-mono", ""),
        "no loss, no value"
    );
    assert!(history[4].contains("validation,3,") && history[4].ends_with(",true"), "{}", history[4]);

    let config = csv(&source, Table::Config);
    assert!(config.contains(&"small-001,sampling.alpha,1.0".to_owned()), "{config:?}");
    assert!(config.contains(&"small-001,train.batch,100".to_owned()));
}

#[test]
fn questions_survive_every_format() {
    let (_dir, store) = store();
    run(&store, "small", 0.5, 3);
    let source = Source::find("small", &store).unwrap();
    let frame = report::frame(&source, Table::Queries).unwrap();
    assert_eq!(frame.height(), 12, "the last evaluation only");
    let parquet = report::render(&source, Table::Queries, Format::Parquet).unwrap();
    let again = ParquetReader::new(std::io::Cursor::new(parquet)).finish().unwrap();
    assert!(again.equals_missing(&frame));
    let json: serde_json::Value =
        serde_json::from_slice(&report::render(&source, Table::Queries, Format::Json).unwrap()).unwrap();
    assert_eq!((json["v"].as_u64(), json["table"].as_str()), (Some(1), Some("queries")));
    let row = &json["rows"][0];
    assert_eq!((row["question_id"].as_str(), row["rank_bb"].as_u64()), (Some("q0"), Some(3)));
    assert_eq!((row["top1_relevant"].as_bool(), row["top1_id"].as_str()), (Some(true), Some("aa_0")));
    assert_eq!(row["top1_text"].as_str(), Some("passage 0, \"aa\"\n& 100% | done"));
    let markdown =
        String::from_utf8(report::render(&source, Table::Queries, Format::Markdown).unwrap()).unwrap();
    assert_eq!(
        markdown.lines().filter(|l| l.starts_with('|')).count(),
        14,
        "a row a line whatever the texts hold"
    );
    let latex = String::from_utf8(report::render(&source, Table::Queries, Format::Latex).unwrap()).unwrap();
    assert!(latex.contains("\\& 100\\% \\textbar{} done") && latex.contains("question\\_id"));
    let trec = String::from_utf8(report::render(&source, Table::Pairs, Format::Trec).unwrap()).unwrap();
    assert_eq!(trec.lines().count(), 12 * 5);
    assert_eq!(trec.lines().next().unwrap(), "aa:q0 Q0 aa_0 1 100 polymix");
}

#[test]
fn files_are_not_replaced_unasked() {
    let (dir, store) = store();
    run(&store, "small", 0.5, 2);
    let source = Source::find("small", &store).unwrap();
    let out = dir.path().join("pairs.csv");
    std::fs::write(&out, "precious").unwrap();
    let error = report::export(&source, Table::Pairs, Format::Csv, &out, false).unwrap_err().to_string();
    assert!(error.contains("--force") && error.contains("pairs.csv"), "{error}");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "precious");
    report::export(&source, Table::Pairs, Format::Csv, &out, true).unwrap();
    assert!(std::fs::read_to_string(&out).unwrap().starts_with("run,step"));
    let packed = dir.path().join("run.trec.gz");
    report::export(&source, Table::Pairs, Format::Trec, &packed, false).unwrap();
    let stored = source.last()[0].dir.join("run.trec.gz");
    assert!(std::fs::read(packed).unwrap() == std::fs::read(stored).unwrap());
}

#[test]
fn evaluation_directories_are_sources_too() {
    let (dir, store) = store();
    let (dataset, evaluation) = evaluation(2);
    let out: PathBuf = dir.path().join("out");
    evaluate::write(&out.join("made"), &dataset, &evaluation, 0).unwrap();
    for place in [out.clone(), out.join("made")] {
        let source = Source::find(place.to_str().unwrap(), &store).unwrap();
        let lines = csv(&source, Table::Pairs);
        let id = evaluation.protocol.id();
        let line = format!(",,a model,made,{id},,,cross,map,aa,bb,4,0.5");
        assert!(lines.contains(&line), "{}", lines[1]);
        let config = csv(&source, Table::Config);
        assert!(config.iter().any(|l| l.ends_with(",candidate,sentence")), "{config:?}");
        let error = |table, format| format!("{:#}", report::render(&source, table, format).unwrap_err());
        assert!(error(Table::History, Format::Csv).contains("only a run has a history"));
        assert!(error(Table::Pairs, Format::Trec).contains("trec_depth"));
    }
    // An evaluation inside a run knows its run.
    let run = run(&store, "small", 0.5, 2);
    let inside = Source::find(run.evaluation_dir(3, "made").to_str().unwrap(), &store).unwrap();
    assert!(
        csv(&inside, Table::Pairs)[1]
            .starts_with(&format!("small-001,3,demo,made,{},hybrid,0.5,mono", evaluation.protocol.id()))
    );
    let error = format!("{:#}", Source::find(dir.path().join("runs").to_str().unwrap(), &store).unwrap_err());
    assert!(error.contains("neither a run nor an evaluation"), "{error}");
    assert!(format!("{:#}", Source::find("nothing", &store).unwrap_err()).contains("no such run"));
}

#[test]
fn a_run_without_evaluation_and_a_damaged_one_say_so() {
    let (_dir, store) = store();
    let run = run(&store, "small", 0.5, 2);
    std::fs::write(run.evaluation_dir(3, "made").join("pairs.parquet"), b"garbage").unwrap();
    let source = Source::find("small", &store).unwrap();
    let error = format!("{:#}", report::frame(&source, Table::Pairs).unwrap_err());
    assert!(error.contains("pairs.parquet"), "{error}");
    std::fs::remove_dir_all(run.path.join("evaluation")).unwrap();
    let source = Source::find("small", &store).unwrap();
    for table in [Table::Summary, Table::Pairs, Table::Languages, Table::Queries] {
        let error = format!("{:#}", report::frame(&source, table).unwrap_err());
        assert!(error.contains("'small-001' has no evaluation yet"), "{error}");
    }
    assert_eq!(csv(&source, Table::History).len(), 5);
}

#[test]
fn comparing_shows_scores_pairs_and_settings() {
    let (_dir, store) = store();
    run(&store, "one", 0.25, 2);
    run(&store, "two", 0.75, 1);
    let find = |name: &str| Side::from(Source::find(name, &store).unwrap());
    let found = report::compare(&[find("one"), find("two")], "map").unwrap();
    assert_eq!(found.sources, ["one-001", "two-001"]);
    let row = |setting: &str, metric: &str| {
        let row = found.scores.iter().find(|r| r.setting == setting && r.metric == metric);
        row.unwrap_or_else(|| panic!("{setting} {metric}")).values.clone()
    };
    assert_eq!(row("mono", "map"), [Some(1.0), Some(1.0)]);
    assert_eq!(row("cross", "map"), [Some(0.5), Some(1.0)]);
    assert!(row("multi", "rank_distance")[0] > row("multi", "rank_distance")[1]);
    assert_eq!(found.differences.len(), 15, "9 pairs, 3 pools, 3 without the own language");
    let (columns, rows) = found.matrix("made", "two-001");
    assert_eq!(columns, ["aa", "bb", "cc", "*"]);
    assert_eq!((rows[1].0.as_str(), &rows[1].1[..3]), ("bb", &[Some(0.5), Some(0.0), Some(0.5)][..]));
    let keys: Vec<&str> = found.config.iter().map(|r| r.key.as_str()).collect();
    assert_eq!(keys, ["name", "sampling.alpha"]);
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);

    let error = |sources: &[Side], metric| format!("{:#}", report::compare(sources, metric).unwrap_err());
    assert!(error(&[find("one")], "map").contains("two runs"));
    assert!(error(&[find("one"), find("two")], "mapp").contains("rank_distance"));
}

#[test]
fn comparing_what_was_measured_differently_warns() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name).join("made");
    let (dataset, evaluation) = evaluation(2);
    evaluate::write(&place("a"), &dataset, &evaluation, 0).unwrap();
    let mut other = evaluation.clone();
    other.protocol.candidate = "sentence+context".into();
    other.protocol.dataset_hash = "b".repeat(64);
    other.protocol.query_prefix = "query: ".into();
    evaluate::write(&place("b"), &dataset, &other, 0).unwrap();
    let source = |path: &Path| Side::from(Source::of_dir(path).unwrap());
    let found = report::compare(&[source(&place("a")), source(&place("b"))], "recall@10").unwrap();
    let [warning] = found.warnings.as_slice() else { panic!("{:?}", found.warnings) };
    for part in ["made", "candidate sentence and sentence+context", "aaaaaaaaaaaa and bbbbbbbbbbbb"] {
        assert!(warning.contains(part), "{warning}");
    }
    assert!(!warning.contains("query"), "a prefix belongs to the model: {warning}");
}

/// Every format that a table can have says under which protocol it was measured.
#[test]
fn every_exported_file_names_its_protocol() {
    let (dir, store) = store();
    run(&store, "small", 0.5, 2);
    let source = Source::find("small", &store).unwrap();
    let protocol = evaluation(2).1.protocol;
    let parts = [protocol.id(), protocol.dataset_hash.clone(), "Query: ".into(), "trec_eval".into()];
    for (name, format) in [
        ("a.csv", Format::Csv),
        ("a.json", Format::Json),
        ("a.tex", Format::Latex),
        ("a.md", Format::Markdown),
        ("a.parquet", Format::Parquet),
        ("a.trec", Format::Trec),
        ("a.qrels", Format::Qrels),
        ("a.mteb.json", Format::Mteb),
    ] {
        let out = dir.path().join(name);
        report::export(&source, Table::Queries, format, &out, false).unwrap();
        let sidecar = dir.path().join(format!("{name}.protocol.json"));
        assert_eq!(sidecar.exists(), format.needs_sidecar(), "{name}");
        let bytes = std::fs::read(if sidecar.exists() { sidecar } else { out }).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for part in &parts {
            assert!(text.contains(part.as_str()), "{name}: {part}");
        }
    }
    let qrels = std::fs::read_to_string(dir.path().join("a.qrels")).unwrap();
    assert_eq!((qrels.lines().count(), qrels.lines().next()), (12 * 3, Some("aa:q0 0 aa_0 1")));
    let packed = dir.path().join("q.gz");
    report::export(&source, Table::Pairs, Format::Qrels, &packed, false).unwrap();
    assert!(std::fs::read(packed).unwrap().starts_with(&[0x1f, 0x8b]));
}

/// The exported run and labels give the evaluation's own numbers when they are scored as files.
#[test]
fn exported_runs_score_as_the_evaluation_says() {
    use polymix::evaluate::{METRICS, Setting, trec};
    let dir = tempfile::tempdir().unwrap();
    let (dataset, evaluation) = evaluation(3);
    let out = dir.path().join("e");
    evaluate::write(&out, &dataset, &evaluation, 100).unwrap();
    let run = trec::read_run(&out.join("run.trec.gz")).unwrap();
    let qrels = trec::read_qrels(&out.join("qrels.trec.gz")).unwrap();
    let scored = trec::score(&run, &qrels, polymix::spec::Missing::Zero);
    assert_eq!(scored.queries.len(), 12);
    for (metric, value) in METRICS.into_iter().zip(scored.means) {
        let cells = evaluation.cells.iter().filter(|c| c.setting == Setting::Multi && c.metric == metric);
        let values: Vec<f64> = cells.map(|c| c.value).collect();
        assert!((values.iter().sum::<f64>() / 3.0 - value).abs() < 1e-12, "{metric}: {values:?} {value}");
    }
}

#[test]
fn questions_are_worst_first() {
    let (_dir, store) = store();
    let run = run(&store, "small", 0.5, 2);
    let dataset = made::parallel(&["aa", "bb", "cc"], 4);
    let mut scores = made::scores(&dataset, 2);
    // Question 5 (q1 in bb) has all its answers at the very end.
    (0..12).for_each(|p| scores[5][p] = if p % 4 == 1 { -1.0 } else { 1.0 });
    let evaluation = made::evaluate("a model", &dataset, &scores);
    evaluate::write(&run.evaluation_dir(9, "made"), &dataset, &evaluation, 5).unwrap();
    let source = Source::find("small", &store).unwrap();
    let frame = report::frame(&source, Table::Queries).unwrap();
    let text = |column: &str, row| frame.column(column).unwrap().get(row).unwrap().str_value().into_owned();
    assert_eq!((text("question_id", 0), text("language", 0)), ("q1".into(), "bb".into()));
    assert_eq!(text("top1_relevant", 0), "false");
    let values: Vec<f64> = (0..12).map(|row| real(&frame, "multi_map", row)).collect();
    assert!(values.is_sorted() && values[0] < values[1], "{values:?}");
    assert!(real(&frame, "strict_map", 0) > 0.0 && real(&frame, "top1_score", 0) == 1.0);
}

#[test]
fn bias_tables_hold_what_was_measured() {
    let (_dir, store) = store();
    run(&store, "small", 0.5, 2);
    let source = Source::find("small", &store).unwrap().only(Some(3), None).unwrap();
    let groups = csv(&source, Table::Groups);
    // Unknown languages are one group: mono, cross within it, two pools; all three languages.
    let id = evaluation(2).1.protocol.id();
    let line = |tail: &str| format!("small-001,3,demo,made,{id},hybrid,0.5,{tail}");
    assert!(groups.contains(&line("script,cross,map,unknown,unknown,6,24,0.5,0.5")), "{}", groups[1]);
    assert!(groups.contains(&line("family,mono,map,unknown,unknown,3,12,1.0,1.0")));
    let histogram = csv(&source, Table::Histogram);
    assert!(histogram.contains(&line("1,aa,aa,4,1.0,0.3333333333333333")), "{histogram:?}");
    let tests = csv(&source, Table::Fairness);
    assert_eq!(
        tests.len(),
        1 + 1 + 4 + 4,
        "a stratum, Friedman over ids and by language, PEER twice in two forms"
    );
    assert!(tests.iter().any(|l| l.contains("friedman,*,,,4,")), "{tests:?}");
    assert!(
        tests.iter().any(|l| l.contains("peer_reranked,*,,100,0,,") && l.contains("two relevant passages"))
    );
    let error = format!("{:#}", report::frame(&source, Table::Paper).unwrap_err());
    assert!(error.contains("no evaluation on a dataset of the paper") && error.contains("MLQA-R"), "{error}");
}

/// An evaluation filed under a dataset of the paper, in two of its languages.
#[test]
fn the_paper_stands_beside_the_same_language_setting_and_sampling() {
    use polymix::report::paper::{Column, beside};
    let dataset = made::parallel(&["ar", "de"], 4);
    let found = made::evaluate("models/xlm-roberta-base", &dataset, &made::scores(&dataset, 2));
    let mut spec = ExperimentSpec::default();
    spec.model.base = "models/xlm-roberta-base".into();
    spec.sampling.alpha = Some(1.0);
    let page = beside("xquad-r", &found, Some(&spec), &Column::default());
    assert_eq!((page.model, page.sampling), ("XLM-R", "X-X-mono"), "what the run is closest to");
    let row = |setting: &str, metric: &str, language: &str| {
        let row = page.rows.iter().find(|r| (r.setting, r.metric, r.language) == (setting, metric, language));
        row.unwrap_or_else(|| panic!("{setting} {metric} {language}")).clone()
    };
    let ar = row("mono", "map", "ar");
    assert_eq!((ar.value, ar.published, ar.n, ar.table), (1.0, 0.7581, 4, 3));
    assert!((ar.difference - 0.2419).abs() < 1e-12);
    assert_eq!((row("cross", "map", "de").value, row("cross", "map", "mean").n), (0.5, 8));
    assert_eq!(row("multi", "rank_distance", "mean").table, 7);
    assert!(!page.rows.iter().any(|r| r.language == "en"), "only languages that were measured");
    let said = page.differs.join("\n");
    for part in
        ["8 questions and 8 passages here", "candidate text", "metric cut", "training data", "temperature"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    let other = Column { model: Some("LaBSE"), sampling: Some("X-Y") };
    let page = beside("mlqa-r", &found, Some(&spec), &other);
    assert!(page.rows.iter().all(|r| r.table == 6 || r.table == 8));
    assert!(page.differs.iter().any(|d| d.starts_with("sampling: X-X-mono here, X-Y")), "{:?}", page.differs);
    let none = beside("demo", &found, None, &Column::default());
    assert!(none.rows.is_empty() && none.differs[0].contains("there are: XQuAD-R"), "{:?}", none.differs);
}

/// As version 1 wrote it: no strict cells, no histogram, no fairness, fewer columns, no word on missing answers.
#[test]
fn evaluations_of_version_1_still_open() {
    use polars::prelude::ParquetWriter;
    let (dir, store) = store();
    let (dataset, evaluation) = evaluation(2);
    let out = dir.path().join("old");
    evaluate::write(&out, &dataset, &evaluation, 5).unwrap();
    std::fs::remove_file(out.join("histogram.parquet")).unwrap();
    let edit = |name: &str, change: &dyn Fn(DataFrame) -> DataFrame| {
        let file = std::fs::File::open(out.join(name)).unwrap();
        let mut frame = change(ParquetReader::new(file).finish().unwrap());
        ParquetWriter::new(std::fs::File::create(out.join(name)).unwrap()).finish(&mut frame).unwrap();
    };
    let without = |names: &'static [&'static str]| {
        move |frame: DataFrame| names.iter().fold(frame, |frame, name| frame.drop(name).unwrap())
    };
    edit(
        "languages.parquet",
        &without(&[
            "questions",
            "rank_distance_excess",
            "rank_distance_share",
            "rank_difference",
            "wrong_top1",
            "own_preference",
        ]),
    );
    edit("queries.parquet", &without(&["strict_ap"]));
    let path = out.join("summary.json");
    let mut summary: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    summary["v"] = 1.into();
    for key in ["protocol_id", "fairness", "files", "crc32"] {
        summary.as_object_mut().unwrap().remove(key);
    }
    summary["protocol"].as_object_mut().unwrap().remove("missing");
    std::fs::write(&path, summary.to_string()).unwrap();
    let old = evaluate::read(&out).unwrap();
    assert_eq!(old.protocol.missing, polymix::spec::Missing::Skip, "what version 1 did");
    assert!(old.histogram.is_empty() && old.fairness.friedman.is_empty());
    assert!(old.bias[0].rank_distance.is_finite() && old.bias[0].own_preference.is_nan());
    assert!(evaluate::read_queries(&out).unwrap()[0].strict_ap.is_nan());
    let source = Source::find(out.to_str().unwrap(), &store).unwrap();
    for table in [Table::Summary, Table::Pairs, Table::Languages, Table::Queries, Table::Histogram] {
        report::frame(&source, table).unwrap();
    }
}

#[test]
fn an_mteb_result_has_a_subset_a_pool() {
    let (_dir, store) = store();
    run(&store, "small", 0.5, 2);
    let source = Source::find("small", &store).unwrap();
    let bytes = report::render(&source, Table::Pairs, Format::Mteb).unwrap();
    let result: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        (result["task_name"].as_str(), result["mteb_version"].is_null()),
        (Some("Polymix-made"), true)
    );
    let subsets = result["scores"]["test"].as_array().unwrap();
    assert_eq!(subsets.len(), 9 + 3 + 3);
    let subset = |name: &str| subsets.iter().find(|s| s["hf_subset"] == name).unwrap();
    let pair = subset("aa-bb");
    assert_eq!((pair["main_score"].as_f64(), pair["n_queries"].as_u64()), (Some(0.5), Some(4)));
    assert_eq!(pair["languages"], serde_json::json!(["aa", "bb"]));
    assert_eq!(subset("aa-multi_strict")["languages"], serde_json::json!(["aa", "bb", "cc"]));
    assert_eq!(subset("aa-aa")["map_at_10"], subset("aa-aa")["map_norm_at_10"]);
    assert!(subset("cc-multi")["rank_distance"].is_number() && subset("cc-multi")["ndcg_at_10"].is_number());
}

/// What the package makes of the file, not what we believe that it does.
#[test]
fn mteb_reads_its_result() {
    let Some(python) = python::python("mteb_reads_its_result", "mteb", "mteb") else { return };
    let (dir, store) = store();
    run(&store, "small", 0.5, 2);
    let file = dir.path().join("result.json");
    report::export(&Source::find("small", &store).unwrap(), Table::Pairs, Format::Mteb, &file, false)
        .unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/check-mteb.py");
    let output = std::process::Command::new(python).arg(script).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("Polymix-made, 15 subsets"), "{output:?}");
}
