//! What is said of memory and time before a run, beside what the run then takes.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use common::{Program, write_spec};
use polymix::run::RunDir;
use polymix::train::Event;

#[test]
fn a_dry_run_tells_memory_and_time_and_makes_no_run() {
    let program = Program::new();
    let spec = write_spec(program.dir.path(), 30);
    let args = ["train", spec.to_str().unwrap(), "--dry-run", "--set", "train.accumulate=3"];
    let told = program.ok(&args);
    for part in ["24 pairs a step, 7 negatives a question", "Memory about", "optimiser", "Time about"] {
        assert!(told.contains(part), "no '{part}' in {told}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&program.ok(&["train", spec.to_str().unwrap(), "--dry-run", "--json"])).unwrap();
    let estimate = &json["estimate"];
    let number = |key: &str| estimate[key].as_u64().unwrap();
    assert_eq!(number("optimiser"), 2 * number("weights"));
    assert!(number("peak") > number("weights") + number("optimiser") + number("gradients"));
    assert!(estimate["training_seconds"].as_f64().unwrap() > 0.0 && estimate["problem"].is_null());
    let mut tight = program.command(&args);
    let tight = tight.env(polymix::machine::LIMIT, "20MiB").output().unwrap();
    let said = String::from_utf8_lossy(&tight.stderr);
    assert_eq!(tight.status.code(), Some(1), "{said}");
    assert!(said.contains("there are 20 MiB") && said.contains("smaller model"), "{said}");
    let wrong = program.command(&args).env(polymix::machine::LIMIT, "much").output().unwrap();
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(said.contains("POLYMIX_MEMORY=much") && said.contains("8GiB"), "{said}");
    assert!(estimate["validation_seconds"].as_f64().unwrap() > 0.0, "the spec validates");
    assert!(!program.runs().exists(), "a dry run makes no run");
    program.fails(&["train", spec.to_str().unwrap(), "--dry-run", "--set", "train.batch=500"], &["at most"]);
}

/// What is said before a run is what it then takes, within a quarter: a part that is forgotten is more than that.
#[test]
fn the_memory_of_a_dry_run_is_that_of_the_run() {
    let program = Program::new();
    let plain = ["--set", "train.steps=3", "--set", "data.validation=[]", "--set", "data.evaluation=[]"];
    for more in [
        &[][..],
        &["--set", "train.chunk=10", "--set", "train.accumulate=2", "--set", "adapters.kind=bottleneck"],
    ] {
        let call = |last: &[&str]| {
            let args = [&["train", "demo"][..], &plain, more, last].concat();
            // As many threads wherever it runs.
            let output = program.command(&args).env("RAYON_NUM_THREADS", "2").output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let told: serde_json::Value = serde_json::from_str(&call(&["--dry-run", "--json"])).unwrap();
        let told = told["estimate"]["peak"].as_f64().unwrap();
        let dir = format!("run-{}", more.len());
        call(&["--run-dir", &dir]);
        let events = RunDir::new(program.dir.path().join(dir)).events().unwrap();
        let peak = events.iter().filter_map(|r| match &r.event {
            Event::Sample(sample) => sample.peak_memory,
            _ => None,
        });
        let Some(peak) = peak.max() else {
            eprintln!(
                "SKIPPED: the_memory_of_a_dry_run_is_that_of_the_run: this system keeps no peak of memory"
            );
            return;
        };
        let ratio = told / peak as f64;
        assert!((0.75..1.25).contains(&ratio), "{more:?}: {told} estimated, {peak} taken");
    }
}

#[test]
fn steps_are_timed_in_a_process_of_their_own_that_says_what_it_failed_of() {
    let config = std::fs::read_to_string(common::tiny_model().path().join("config.json")).unwrap();
    let program = Program::new();
    let ask = |device: &str, sets: &[String]| {
        let text = vec![vec![5u32; 9]; 4];
        let adapters = polymix::spec::parse("", sets).unwrap().adapters;
        let (count, languages) = if adapters.is_on() { (4, 2) } else { (0, 0) };
        let routes = (vec![0; count], vec![1; count]);
        let batch = serde_json::json!({"texts": {"queries": text, "passages": text}, "routes": routes});
        let asked = serde_json::json!({"config": config, "batches": [batch], "dropout": 0.1, "device": device,
            "is_half": false, "adapters": adapters, "languages": languages});
        let file = program.dir.path().join("asked.json");
        std::fs::write(&file, asked.to_string()).unwrap();
        let input = std::fs::File::open(file).unwrap();
        program.command(&["pace-of-steps"]).stdin(input).output().unwrap()
    };
    for sets in [vec![], vec!["adapters.kind=lora".to_owned(), "adapters.rank=4".to_owned()]] {
        let told = ask("cpu", &sets);
        let pace: polymix::train::Pace = serde_json::from_slice(&told.stdout).unwrap();
        assert!(pace.training > 0.0 && pace.encoding > 0.0 && pace.product > 0.0, "{pace:?}");
    }
    let failed = ask("tpu", &[]);
    assert!(failed.stderr.starts_with(b"polymix: device 'tpu'"), "{failed:?}");
}
