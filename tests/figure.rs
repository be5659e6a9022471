//! Figures from made runs: what they show, that the files are sound, and what they say when they cannot be drawn.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;
#[path = "common/made.rs"]
mod made;

use std::io::Read;
use std::path::Path;

use common::Program;
use polymix::evaluate::{self, Evaluation, Setting};
use polymix::report::Source;
use polymix::report::figure::{self, Kind};
use polymix::run::{EventLog, RunDir, Store};
use polymix::spec::ExperimentSpec;
use polymix::train::Event;

const LANGUAGES: [&str; 3] = ["aa", "bb", "cc"];

/// An evaluation where the relevant passages of language `l` have about rank `rank + l` for questions of others.
fn evaluation(rank: usize) -> (polymix::corpus::Dataset, Evaluation) {
    let dataset = made::parallel(&LANGUAGES, 8);
    let groups = dataset.groups.len();
    let score = |question: &polymix::corpus::Question, index: usize| {
        let own = dataset.passages[index].language == question.language;
        let wrong = (index + groups - question.group as usize) % groups;
        match (own, wrong == 0) {
            (true, true) => 100.0,
            (false, true) => (groups - rank - usize::from(dataset.passages[index].language)) as f32 + 0.5,
            _ => wrong as f32,
        }
    };
    let rows = dataset.questions.iter().map(|q| (0..dataset.passages.len()).map(|p| score(q, p)).collect());
    let rows: Vec<Vec<f32>> = rows.collect();
    let evaluation = made::evaluate("a model", &dataset, &rows);
    (dataset, evaluation)
}

/// A run with a history, and an evaluation where a rank is given.
fn run(store: &Store, name: &str, alpha: f64, rank: Option<usize>) -> RunDir {
    let mut spec = ExperimentSpec { name: name.into(), ..ExperimentSpec::default() };
    spec.sampling.alpha = Some(alpha);
    let run = store.create(&spec).unwrap();
    let mut log = EventLog::append(&run.events_file()).unwrap();
    for step in 1..=40 {
        let event = Event::Step {
            step,
            kind: if (step as f64 * alpha).floor() > ((step - 1) as f64 * alpha).floor() {
                "X-X-mono".into()
            } else {
                "X-Y".into()
            },
            language: None,
            loss: (step != 7).then_some(3.0 / step as f64),
            learning_rate: 3e-5,
            grad_norm: Some(1.5),
            pairs: 4,
            tokens: 99,
            seconds: 0.25,
        };
        log.write(event).unwrap();
    }
    log.write(Event::Validation { step: 20, loss: Some(0.5), best: true }).unwrap();
    if let Some(rank) = rank {
        let (dataset, evaluation) = evaluation(rank);
        evaluate::write(&run.evaluation_dir(40, "made"), &dataset, &evaluation, 0).unwrap();
    }
    run
}

fn sources(store: &Store, names: &[&str]) -> Vec<Source> {
    names.iter().map(|name| Source::find(name, store).unwrap()).collect()
}

/// The texts of an SVG in their order.
fn texts(svg: &str) -> Vec<String> {
    let after = svg.split("<text ").skip(1);
    let plain = |t: &str| t.replace("&amp;", "&").replace("&quot;", "\"").replace("&lt;", "<");
    after.map(|t| plain(t.split_once('>').unwrap().1.split_once("</text>").unwrap().0)).collect()
}

fn draw(kind: Kind, sources: &[Source], metric: &str) -> (String, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("figure.svg");
    figure::write(kind, sources, metric, &out, false).unwrap_or_else(|e| panic!("{e:#}"));
    let svg = std::fs::read_to_string(out).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    let found = texts(&svg);
    (svg, found)
}

fn count(texts: &[String], text: &str) -> usize {
    texts.iter().filter(|t| *t == text).count()
}

/// Width, height, pixels a metre, and the colours of a PNG, checked as a reader would.
fn decode(path: &Path) -> (usize, usize, u32, Vec<[u8; 3]>) {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    let (mut at, mut data, mut size, mut density) = (8, Vec::new(), (0, 0), 0);
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    loop {
        let length = number(at) as usize;
        let (name, body) = (&bytes[at + 4..at + 8], &bytes[at + 8..at + 8 + length]);
        let mut sum = flate2::Crc::new();
        sum.update(&bytes[at + 4..at + 8 + length]);
        assert_eq!(sum.sum(), number(at + 8 + length), "checksum of {name:?}");
        match name {
            b"IHDR" => {
                size = (number(at + 8) as usize, number(at + 12) as usize);
                assert_eq!(&body[8..], [8, 2, 0, 0, 0], "8 bits, RGB");
            }
            b"pHYs" => density = number(at + 8),
            b"IDAT" => data.extend_from_slice(body),
            b"IEND" => break,
            other => panic!("chunk {other:?}"),
        }
        at += 12 + length;
    }
    assert_eq!(at + 12, bytes.len(), "nothing behind the end");
    let mut rows = Vec::new();
    flate2::read::ZlibDecoder::new(data.as_slice()).read_to_end(&mut rows).unwrap();
    assert_eq!(rows.len(), size.1 * (1 + 3 * size.0));
    let mut pixels = Vec::new();
    for row in rows.chunks(1 + 3 * size.0) {
        assert_eq!(row[0], 1, "each row is a difference to the left");
        let mut last = [0u8; 3];
        for pixel in row[1..].chunks(3) {
            last = std::array::from_fn(|i| last[i].wrapping_add(pixel[i]));
            pixels.push(last);
        }
    }
    (size.0, size.1, density, pixels)
}

#[test]
fn a_heatmap_holds_every_number_and_every_code() {
    let program = Program::new();
    let store = Store::open(Some(&program.runs())).unwrap();
    run(&store, "a&b", 0.5, Some(2));
    let (svg, texts) = draw(Kind::Heatmap, &sources(&store, &["a&b"]), "map");
    let (_, evaluation) = evaluation(2);
    let mut numbers: Vec<String> = Vec::new();
    for cell in evaluation.cells.iter().filter(|c| c.metric == "map" && c.setting != Setting::Strict) {
        numbers.push(format!("{:.2}", cell.value).trim_start_matches('0').to_owned());
    }
    assert_eq!(numbers.len(), 12, "nine pairs and three pools");
    for number in &numbers {
        let wanted = numbers.iter().filter(|n| *n == number).count();
        assert!(count(&texts, number) >= wanted, "{number} in {texts:?}");
    }
    for code in LANGUAGES {
        assert_eq!(count(&texts, code), 2, "{code}: a row and a column");
    }
    for text in ["pool", "question language", "passage language", "mAP", "a&b-001: made after step 40"] {
        assert_eq!(count(&texts, text), 1, "{text} in {texts:?}");
    }
    assert!(svg.contains("a&amp;b-001") && !svg.contains("a&b"));
    assert!(svg.contains("width=\"240pt\""), "one column");
}

#[test]
fn two_sources_show_their_difference_with_its_sign() {
    let program = Program::new();
    let store = Store::open(Some(&program.runs())).unwrap();
    run(&store, "first", 1.0, Some(4));
    run(&store, "second", 0.5, Some(1));
    let (_, texts) = draw(Kind::Heatmap, &sources(&store, &["first", "second"]), "map");
    let value = |rank: usize, query: usize, passage: Option<usize>| {
        let setting = if passage.is_some() { Setting::Cross } else { Setting::Multi };
        evaluation(rank).1.cell(setting, "map", query, passage).unwrap().value
    };
    for (query, passage) in [(0, Some(1)), (1, Some(0)), (2, None)] {
        let difference = value(1, query, passage) - value(4, query, passage);
        assert!(difference > 0.1, "{difference}");
        let text = format!("+{difference:.2}").replace("+0.", "+.");
        assert!(count(&texts, &text) > 0, "{text} in {texts:?}");
    }
    assert_eq!(count(&texts, ".00"), 3, "nothing changed within a language: {texts:?}");
    assert_eq!(count(&texts, "second-001 − first-001"), 1, "{texts:?}");
    let (_, texts) = draw(Kind::Heatmap, &sources(&store, &["second", "first"]), "map");
    assert!(texts.iter().any(|t| t.starts_with("−.")), "{texts:?}");
}

#[test]
fn a_png_has_the_asked_size_and_the_print_size() {
    let program = Program::new();
    let store = Store::open(Some(&program.runs())).unwrap();
    run(&store, "small", 0.5, Some(2));
    run(&store, "other", 1.0, Some(3));
    let both = sources(&store, &["small", "other"]);
    for kind in [Kind::Heatmap, Kind::Curves, Kind::Ratio, Kind::Bias] {
        let out = program.dir.path().join(format!("{kind:?}.png"));
        figure::write(kind, &both, "map", &out, false).unwrap();
        let (width, height, density, pixels) = decode(&out);
        assert_eq!((width, density), (1000, 11811), "{kind:?}: 240 points at 300 dots an inch");
        assert!((300..2000).contains(&height), "{kind:?}: {height}");
        let share = |wanted: &dyn Fn(&[u8; 3]) -> bool| {
            pixels.iter().filter(|p| wanted(p)).count() as f64 / pixels.len() as f64
        };
        assert!(share(&|p| *p == [255; 3]) > 0.2, "{kind:?}: white around");
        assert!(share(&|p| p.iter().all(|c| *c < 90)) > 0.005, "{kind:?}: text and axes");
        assert!(
            share(&|p| p.iter().max().unwrap() - p.iter().min().unwrap() > 40) > 0.002,
            "{kind:?}: colour"
        );
    }
    let out = program.dir.path().join("narrow.png");
    program.ok(&["figure", "small", "--kind", "heatmap", "--out", "narrow.png", "--width", "432"]);
    let (width, _, density, _) = decode(&out);
    assert_eq!((width, density), (432, 5102));
    program.ok(&["figure", "small", "--kind", "bias", "--out", "wide.svg", "--width", "480"]);
    let svg = std::fs::read_to_string(program.dir.path().join("wide.svg")).unwrap();
    assert!(svg.contains("width=\"480pt\"") && svg.contains("viewBox=\"0 0 240 "), "{svg}");
}

#[test]
fn curves_tell_kinds_and_runs_apart_without_colour() {
    let program = Program::new();
    let store = Store::open(Some(&program.runs())).unwrap();
    run(&store, "hybrid", 0.5, None);
    run(&store, "mono", 1.0, None);
    let (svg, texts) = draw(Kind::Curves, &sources(&store, &["hybrid"]), "map");
    for text in ["X-X-mono", "X-Y", "validation", "step", "loss", "0", "40"] {
        assert!(count(&texts, text) > 0, "{text} in {texts:?}");
    }
    assert!(svg.contains("<circle") && svg.contains("<polygon") && svg.contains("stroke-dasharray"));
    let (_, texts) = draw(Kind::Curves, &sources(&store, &["hybrid", "mono"]), "map");
    for text in ["hybrid-001", "mono-001", "training loss"] {
        assert_eq!(count(&texts, text), 1, "{text} in {texts:?}");
    }
    assert_eq!(count(&texts, "X-Y"), 0);
}

#[test]
fn runs_of_equal_alpha_become_a_mean_with_an_interval() {
    let program = Program::new();
    let store = Store::open(Some(&program.runs())).unwrap();
    for (name, alpha, rank) in [("a", 0.0, 1), ("b", 0.5, 2), ("c", 1.0, 4)] {
        run(&store, name, alpha, Some(rank));
    }
    let single = sources(&store, &["c", "a", "b"]);
    let (_, texts) = draw(Kind::Ratio, &single, "map");
    for text in ["mono", "cross", "multi", "mAP", "rank distance", "0.0", "0.5", "1.0"] {
        assert!(count(&texts, text) > 0, "{text} in {texts:?}");
    }
    assert_eq!(count(&texts, "95% interval"), 0);
    let whiskers = |svg: &str| svg.matches("stroke-width=\"0.8\"").count();
    run(&store, "b2", 0.5, Some(3));
    let (svg, texts) = draw(Kind::Ratio, &sources(&store, &["a", "b-", "c", "b2"]), "map");
    assert_eq!(count(&texts, "95% interval"), 1);
    assert!(
        whiskers(&svg) > 3,
        "a stem for each of three settings and the distance, and ends within the panel"
    );

    let error =
        |sources: &[Source], metric| format!("{:#}", figure::draw(Kind::Ratio, sources, metric).unwrap_err());
    let equal = error(&sources(&store, &["b-", "b2"]), "map");
    assert!(equal.contains("all runs have alpha 0.5") && equal.contains("at least two"), "{equal}");
    assert!(error(&single, "mapp").contains("there are: map, mrr"));
    // What else differs is said.
    let mut spec = ExperimentSpec { name: "odd".into(), ..ExperimentSpec::default() };
    (spec.sampling.alpha, spec.train.batch) = (Some(0.25), 7);
    let odd = store.create(&spec).unwrap();
    let (dataset, evaluation) = evaluation(2);
    evaluate::write(&odd.evaluation_dir(40, "made"), &dataset, &evaluation, 0).unwrap();
    let notes = figure::draw(Kind::Ratio, &sources(&store, &["a", "odd"]), "map").unwrap().notes;
    assert_eq!(notes, ["the runs differ in more than sampling and seed: train.batch"]);
}

#[test]
fn bias_shows_rank_distance_and_shares_by_language() {
    let program = Program::new();
    let store = Store::open(Some(&program.runs())).unwrap();
    run(&store, "small", 0.5, Some(2));
    let (_, texts) = draw(Kind::Bias, &sources(&store, &["small"]), "map");
    for bias in &evaluation(2).1.bias {
        for text in [format!("{:.1}", bias.rank_distance), format!("{:.1}", 100.0 * bias.top10_share)] {
            assert!(count(&texts, &text) > 0, "{text} in {texts:?}");
        }
    }
    for code in LANGUAGES {
        assert_eq!(count(&texts, code), 1);
    }
    for text in ["rank distance", "share of the top ten, %", "share of the pool", "small-001"] {
        assert_eq!(count(&texts, text), 1, "{text} in {texts:?}");
    }
}

#[test]
fn what_cannot_be_drawn_says_why_and_leaves_nothing() {
    let program = Program::new();
    let store = Store::open(Some(&program.runs())).unwrap();
    run(&store, "bare", 0.5, None);
    run(&store, "full", 0.5, Some(2));
    let (dataset, evaluation) = evaluation(2);
    evaluate::write(&program.dir.path().join("eval"), &dataset, &evaluation, 0).unwrap();
    std::fs::write(program.dir.path().join("old.svg"), "precious").unwrap();
    let listed = || polymix::files::children(program.dir.path());
    let before = listed();
    let fails = |args: &[&str], parts: &[&str]| {
        let all: Vec<&str> = ["figure"].into_iter().chain(args.iter().copied()).collect();
        program.fails(&all, parts);
        assert_eq!(program.run(&all).err.lines().count(), 1, "{args:?}: one line");
    };
    fails(&["full", "--kind", "heatmap", "--out", "x.pdf"], &["x.pdf", ".svg or .png"]);
    fails(&["full", "--kind", "heatmap", "--out", "x"], &[".svg or .png"]);
    fails(&["full", "--kind", "heatmap", "--out", "old.svg"], &["old.svg: exists already", "--force"]);
    fails(&["full", "--kind", "heatmap", "--out", "none/x.svg"], &["none/x.svg: cannot write"]);
    for kind in ["heatmap", "ratio", "bias"] {
        fails(&["bare", "--kind", kind, "--out", "x.png"], &["'bare-001' has no evaluation yet"]);
    }
    fails(&["eval", "--kind", "curves", "--out", "x.png"], &["only a run has loss curves"]);
    fails(&["eval", "--kind", "ratio", "--out", "x.png"], &["no alpha"]);
    fails(&["full", "full", "full", "--kind", "heatmap", "--out", "x.png"], &["difference of two"]);
    fails(&["full", "--kind", "heatmap", "--metric", "rank_distance", "--out", "x.png"], &["--kind bias"]);
    fails(&["full", "--kind", "heatmap", "--dataset", "other", "--out", "x.png"], &["there are: made"]);
    assert_eq!(listed(), before);
    assert_eq!(std::fs::read_to_string(program.dir.path().join("old.svg")).unwrap(), "precious");

    assert_eq!(
        program.ok(&["figure", "full", "--kind", "heatmap", "--out", "old.svg", "--force"]),
        "old.svg\n"
    );
    assert!(std::fs::read_to_string(program.dir.path().join("old.svg")).unwrap().starts_with("<svg"));
    // An evaluation directory is as good as a run.
    program.ok(&["figure", "eval", "full", "--kind", "heatmap", "--out", "x.png"]);
    assert_eq!(decode(&program.dir.path().join("x.png")).0, 1000);
}
