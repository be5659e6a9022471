//! Exported tables and comparisons, from runs and evaluation directories as they lie on disk.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

#[path = "common/made.rs"]
mod made;

use std::path::{Path, PathBuf};

use polars::prelude::{AnyValue, DataFrame, ParquetReader, SerReader};
use polymix::corpus::Dataset;
use polymix::evaluate::{self, Evaluation};
use polymix::report::{self, Format, Side, Source, Table};
use polymix::run::{EventLog, RunDir, Store};
use polymix::spec::ExperimentSpec;
use polymix::train::Event;

/// Scores where the relevant passage of the question's own language is first and that of language `l` has rank
/// `rank` of its own pool.
fn scores(dataset: &Dataset, rank: usize) -> Vec<Vec<f32>> {
    let groups = dataset.groups.len();
    dataset
        .questions
        .iter()
        .map(|question| {
            let mut row = vec![0.0; dataset.passages.len()];
            for (index, passage) in dataset.passages.iter().enumerate() {
                let own = passage.language == question.language;
                let relevant = index % groups == question.group as usize;
                // Wrong passages have scores 1, 2, ...; a relevant one stands half a point above the rank-th best.
                let wrong = (index + groups - question.group as usize) % groups;
                row[index] = match (own, relevant) {
                    (true, true) => 100.0,
                    (false, true) => (groups - rank) as f32 + 0.5,
                    _ => wrong as f32,
                };
            }
            row
        })
        .collect()
}

fn evaluation(rank: usize) -> (Dataset, Evaluation) {
    let dataset = made::parallel(&["aa", "bb", "cc"], 4);
    let evaluation = made::evaluate("a model", &dataset, &scores(&dataset, rank));
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
        let loss = (step != 3).then_some(2.0 / step as f64);
        let event = Event::Step {
            step,
            kind: kind.into(),
            language,
            loss,
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
        "run,step,model,dataset,sampling,alpha,setting,metric,query_language,passage_language,n,value"
    );
    // Two steps; 9 pairs of 12 metrics and 3 pools of 13.
    assert_eq!(lines.len(), 1 + 2 * (9 * 12 + 3 * 13));
    let has = |line: &str| assert!(lines.iter().any(|l| l == line), "{line}\n{}", lines.join("\n"));
    has("small-001,3,demo,made,hybrid,0.25,mono,map,aa,aa,4,1.0");
    has("small-001,3,demo,made,hybrid,0.25,cross,map,aa,bb,4,0.5");
    has("small-001,1,demo,made,hybrid,0.25,cross,map,aa,bb,4,0.25");
    has("small-001,3,demo,made,hybrid,0.25,multi,success@1,cc,*,4,1.0");
    let last = source.clone().only(Some(3), None).unwrap();
    assert_eq!(csv(&last, Table::Pairs).len(), 1 + 9 * 12 + 3 * 13);
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
    assert!(summary.contains(&"small-001,3,demo,made,X-X-mono,1.0,cross,map,6,24,0.5,0.5".to_owned()));

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
    assert_eq!(markdown.lines().count(), 14, "a row a line whatever the texts hold");
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
        assert!(lines.contains(&",,a model,made,,,cross,map,aa,bb,4,0.5".to_owned()), "{}", lines[1]);
        let config = csv(&source, Table::Config);
        assert!(config.iter().any(|l| l.ends_with(",candidate,sentence")), "{config:?}");
        let error = |table, format| format!("{:#}", report::render(&source, table, format).unwrap_err());
        assert!(error(Table::History, Format::Csv).contains("only a run has a history"));
        assert!(error(Table::Pairs, Format::Trec).contains("trec_depth"));
    }
    // An evaluation inside a run knows its run.
    let run = run(&store, "small", 0.5, 2);
    let inside = Source::find(run.evaluation_dir(3, "made").to_str().unwrap(), &store).unwrap();
    assert!(csv(&inside, Table::Pairs)[1].starts_with("small-001,3,demo,made,hybrid,0.5,mono"));
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
    assert_eq!(found.differences.len(), 12);
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
