//! What a run that goes on accepts: the data and the model that it began with, wherever they lie now.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use common::{Program, wait_for, write_spec};
use polymix::run::{Phase, RunDir};

#[test]
fn a_run_does_not_go_on_with_other_data_or_another_model() {
    let program = Program::new();
    let spec = write_spec(program.dir.path(), 100_000);
    let mut child = program.command(&["train", spec.to_str().unwrap(), "--run-dir", "r"]).spawn().unwrap();
    let run = RunDir::new(program.dir.path().join("r"));
    wait_for("a checkpoint", || !polymix::run::checkpoints(&run).is_empty());
    program.ok(&["runs", "stop", "r"]);
    child.wait().unwrap();
    let before = std::fs::read(run.path.join("environment.json")).unwrap();
    let checkpoints = polymix::run::checkpoints(&run);
    let file = program.dir.path().join("data/en.json");
    let whole = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, whole.replacen("\"question\":\"", "\"question\":\"x", 1)).unwrap();
    assert_ne!(std::fs::read_to_string(&file).unwrap(), whole);
    let parts =
        ["training data 'xquad-r[0..24]'", "SHA-256", "data/en.json)", "put them back", "r/spec.toml"];
    program.fails(&["train", "--resume", "--run-dir", "r"], &parts);
    assert_eq!(std::fs::read(run.path.join("environment.json")).unwrap(), before, "the record is kept");
    assert_eq!(polymix::run::checkpoints(&run), checkpoints);
    std::fs::write(&file, whole).unwrap();
    // Nor with another model, though the weights come from the checkpoint.
    let file = program.dir.path().join("model/config.json");
    let whole = std::fs::read_to_string(&file).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&whole).unwrap();
    config["hidden_dropout_prob"] = 0.4.into();
    std::fs::write(&file, config.to_string()).unwrap();
    let parts = ["is not the one that the run began with", "its configuration changed", "r/spec.toml"];
    program.fails(&["train", "--resume", "--run-dir", "r"], &parts);
    std::fs::write(&file, whole).unwrap();
    let mut child = program.command(&["train", "--resume", "--run-dir", "r"]).spawn().unwrap();
    wait_for("a further checkpoint", || polymix::run::checkpoints(&run) != checkpoints);
    program.ok(&["runs", "stop", "r"]);
    child.wait().unwrap();
}

#[test]
fn another_vocabulary_or_a_damaged_checkpoint_is_named() {
    let program = Program::new();
    let spec = write_spec(program.dir.path(), 100_000);
    let spec = spec.to_str().unwrap();
    let model = program.dir.path().join("model");
    let config = std::fs::read_to_string(model.join("config.json")).unwrap();
    std::fs::write(model.join("config.json"), config.replace("\"vocab_size\": 120", "\"vocab_size\": 60"))
        .unwrap();
    program.fails(&["train", spec], &["tokenizer.json", "vocabulary"]);
    std::fs::write(model.join("config.json"), config).unwrap();

    let mut child = program.command(&["train", spec, "--run-dir", "r"]).spawn().unwrap();
    let run = RunDir::new(program.dir.path().join("r"));
    wait_for("a checkpoint", || !polymix::run::checkpoints(&run).is_empty());
    program.ok(&["runs", "stop", "r"]);
    child.wait().unwrap();
    let (_, newest) = polymix::run::checkpoints(&run).pop().unwrap();
    for (_, dir) in polymix::run::checkpoints(&run) {
        std::fs::write(dir.join("model.safetensors"), b"damaged").unwrap();
    }
    let newest = format!("{}/model.safetensors", newest.file_name().unwrap().to_str().unwrap());
    program.fails(
        &["runs", "resume", "r"],
        &["no checkpoint that is whole", "remove", "to begin again", &newest, "7 bytes instead of"],
    );
    assert_eq!(run.state().unwrap().phase, Phase::Failed);
}

#[test]
fn a_run_goes_on_from_another_directory_and_with_data_that_moved() {
    let program = Program::new();
    let dir = program.dir.path();
    let spec = write_spec(dir, 2000);
    let text = std::fs::read_to_string(&spec).unwrap();
    let relative = text.replace(&format!("{}/", dir.display()), "");
    assert!(relative.contains("=data\"") && relative.contains("base = 'model'"), "{relative}");
    std::fs::write(&spec, relative).unwrap();
    let mut child = program.command(&["train", "small.toml", "--run-dir", "r"]).spawn().unwrap();
    let run = RunDir::new(dir.join("r"));
    wait_for("a checkpoint", || !polymix::run::checkpoints(&run).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::rename(dir.join("data"), dir.join("moved")).unwrap();
    let resume = |sets: &[String]| {
        let mut command = program.command(&["train", "--resume", "--run-dir", run.path.to_str().unwrap()]);
        let output =
            command.args(sets.iter().flat_map(|set| ["--set", set])).current_dir("/").output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = resume(&[]);
    assert!(told.contains(&format!("{}: no such", dir.join("data").display())), "the whole path: {told}");
    let moved = |key: &str, range: &str| format!("data.{key}=[\"xquad-r[{range}]={}/moved\"]", dir.display());
    let told = resume(&[moved("validation", "24..29")]);
    assert!(told.contains("--set data.validation: ") && told.contains("the place in data.train"), "{told}");
    // What lies there is held to what the run began with.
    let all = [moved("train", "0..24"), moved("validation", "24..30"), moved("evaluation", "30..40")];
    let languages = ["de", "en", "zh"];
    std::fs::remove_file(dir.join("moved/zh.json")).unwrap();
    let told = resume(&all);
    assert!(told.contains("are others than those that the run began with"), "{told}");
    common::write_xquadr(&dir.join("moved"), &languages, 40);
    let told = resume(&[]);
    assert_eq!(run.state().unwrap().phase, Phase::Done, "{told}");
}

#[test]
fn a_run_does_not_go_on_with_another_lexicon() {
    let program = Program::new();
    let dir = program.dir.path();
    let spec = write_spec(dir, 100_000);
    let lexicon = dir.join("en-de.tsv");
    std::fs::write(&lexicon, "the\tdie\nriver\tFluss\nhouse\tHaus\n").unwrap();
    let text = std::fs::read_to_string(&spec).unwrap();
    let robust = "[robust]\ncode_switch = 0.5\nlexicons = ['en-de=en-de.tsv']\n";
    std::fs::write(&spec, format!("{text}{robust}")).unwrap();
    let mut child = program.command(&["train", "small.toml", "--run-dir", "r"]).spawn().unwrap();
    let run = RunDir::new(dir.join("r"));
    wait_for("a checkpoint", || !polymix::run::checkpoints(&run).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::rename(&lexicon, dir.join("moved.tsv")).unwrap();
    std::fs::write(&lexicon, "the\tdie\nriver\tStrom\n").unwrap();
    let parts = ["the lexicon 'en-de=", "en-de.tsv' is another than", "r/spec.toml"];
    program.fails(&["train", "--resume", "--run-dir", "r"], &parts);
    let checkpoints = polymix::run::checkpoints(&run);
    let moved = ["--set", "robust.lexicons=[\"en-de=moved.tsv\"]"];
    let mut child =
        program.command(&[&["train", "--resume", "--run-dir", "r"], &moved[..]].concat()).spawn().unwrap();
    wait_for("a further checkpoint", || polymix::run::checkpoints(&run) != checkpoints);
    child.kill().unwrap();
    child.wait().unwrap();
    let other = ["train", "--resume", "--run-dir", "r", "--set", "robust.lexicons=[\"de-en=moved.tsv\"]"];
    program.fails(&other, &["--set robust.lexicons: ", "the place in data.train"]);
}

/// Lets a run in `dir` go on until it has saved a further checkpoint, and kills it; what it said.
fn goes_on(program: &Program, args: &[&str], dir: &str) -> String {
    let run = RunDir::new(program.dir.path().join(dir));
    let before = polymix::run::checkpoints(&run).last().map_or(0, |c| c.0);
    let said = program.dir.path().join("said");
    let out = std::fs::File::create(&said).unwrap();
    let mut child = (program.command(args).stdout(out.try_clone().unwrap()).stderr(out)).spawn().unwrap();
    wait_for("a further checkpoint", || {
        polymix::run::checkpoints(&run).last().is_some_and(|c| c.0 > before + 10)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::read_to_string(said).unwrap()
}

#[test]
fn what_the_log_of_a_killed_run_lost_is_noted_when_it_goes_on() {
    let program = common::small_program();
    let begin = ["train", "small.toml", "--run-dir", "r", "--set", "train.steps=1000000"];
    goes_on(&program, &begin, "r");
    let log = std::fs::read_to_string(program.dir.path().join("r/events.jsonl")).unwrap();
    let digit = log.replacen("\"event\":\"step\",\"step\":5,", "\"event\":\"step\",\"step\":4,", 1);
    assert_ne!(log, digit);
    let before: Vec<&str> = log.lines().take_while(|l| !l.contains("\"step\":3,")).collect();
    let half = before.join("\n") + "\n";
    for (dir, text, note, gap) in [
        ("digit", Some(&*digit), "1 damaged line was left out; step 5 is missing", "step 5 is missing"),
        ("half", Some(&half), "is not whole: steps 3 to ", "steps 3 to "),
        ("empty", Some(""), "is not whole: steps 1 to ", "steps 1 to "),
        ("gone", None, "is not whole: steps 1 to ", "steps 1 to "),
        ("whole", Some(&log), "", ""),
    ] {
        let run = RunDir::new(program.dir.path().join(dir));
        common::copy_dir(&program.dir.path().join("r"), &run.path);
        match text {
            Some(text) => std::fs::write(run.events_file(), text).unwrap(),
            None => std::fs::remove_file(run.events_file()).unwrap(),
        }
        // The second time there is nothing new to say.
        for round in 1..=2 {
            let said = goes_on(&program, &["train", "--resume", "--run-dir", dir], dir);
            let is_said = round == 1 && !note.is_empty();
            assert_eq!(
                said.contains("note: the event log (events.jsonl) is not whole"),
                is_said,
                "{dir}: {said}"
            );
            let (records, lost) = run.history().unwrap();
            let notes: Vec<String> = (records.into_iter())
                .filter_map(|r| match r.event {
                    polymix::train::Event::Note { message } if message.contains("event log") => Some(message),
                    _ => None,
                })
                .collect();
            assert_eq!(notes.len(), usize::from(!note.is_empty()), "{dir}, {round}: {notes:?}");
            assert!(notes.iter().all(|n| n.contains(note)), "{dir}: {notes:?}");
            assert_eq!(lost.is_some(), !gap.is_empty(), "{dir}: {lost:?}");
            assert!(lost.is_none_or(|lost| lost.contains(gap)), "{dir}");
        }
    }
}
