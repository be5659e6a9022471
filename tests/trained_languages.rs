//! `languages` of a spec: what is tokenised, counted and recorded is what is trained on, and nothing else changes.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Program, tiny_model, write_xquadr};
use polymix::corpus::open;
use polymix::run::RunDir;
use polymix::spec::{Candidate, DatasetRef, Pooling};
use polymix::train::{Event, Record, Stage, Tokens};
use serde_json::Value;

/// A spec that trains on `data` (with three parallel languages below `data/`) and cuts most passages.
fn write_spec(program: &Program, name: &str, languages: &str, data: &str, cache: &str) {
    let dir = program.dir.path();
    if !dir.join("data").exists() {
        common::copy_dir(tiny_model().path(), &dir.join("model"));
        write_xquadr(&dir.join("data"), &["de", "en", "zh"], 40);
    }
    let spec = format!(
        "name = \"{name}\"\nlanguages = [{languages}]\n[model]\nbase = \"model\"\nmax_query_tokens = 7\nmax_passage_tokens = 13\n\
         [data]\ntrain = [\"{data}\"]\nvalidation = []\nevaluation = []\ncache = \"{cache}\"\n\
         [train]\nsteps = 6\nbatch = 8\nlearning_rate = 1e-3\ndevice = \"cpu\"\n"
    );
    std::fs::write(dir.join(format!("{name}.toml")), spec).unwrap();
}

/// What a run drew and learnt, bit by bit; what it says of cuts; how many texts it tokenised.
fn trained(program: &Program, name: &str) -> (Vec<String>, Vec<String>, usize) {
    let mut command = program.command(&["train", &format!("{name}.toml"), "--run-dir", name, "--json"]);
    let output = command.env("POLYMIX_CACHE", program.dir.path().join("caches")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut history, mut cuts, mut tokenised) = (Vec::new(), Vec::new(), 0);
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        match serde_json::from_str::<Record>(line).unwrap().event {
            Event::Step { step, kind, language, loss, grad_norm, tokens, .. } => {
                let bits = (loss.map(f64::to_bits), grad_norm.map(f64::to_bits));
                history.push(format!("{step} {kind} {language:?} {bits:?} {tokens}"));
            }
            Event::Drawn(drawn) => history.push(format!("{drawn:?}")),
            Event::Note { message } if message.contains("cut") => cuts.push(message),
            Event::Progress { stage: Stage::Tokenising, total, .. } => tokenised = total,
            _ => {}
        }
    }
    (history, cuts, tokenised)
}

#[test]
fn a_specs_languages_narrow_what_is_tokenised_and_counted_as_brackets_do_and_change_no_number() {
    let program = Program::new();
    for cache in ["never", "always"] {
        let name = |what: &str| format!("{what}-{cache}");
        write_spec(&program, &name("spec"), "\"de\", \"en\"", "squad=data", cache);
        write_spec(&program, &name("brackets"), "", "squad[languages=de+en]=data", cache);
        write_spec(&program, &name("all"), "", "squad=data", cache);
        let (spec, brackets) = (trained(&program, &name("spec")), trained(&program, &name("brackets")));
        assert_eq!(spec.0, brackets.0, "{cache}");
        assert_eq!(spec.1, brackets.1, "{cache}");
        assert_eq!(spec.1.len(), 2, "questions and passages; answers: {:?}", spec.1);
        let all = trained(&program, &name("all"));
        assert_ne!(all.1, spec.1);
        if cache == "never" {
            assert_eq!((spec.2, brackets.2), (all.2 / 3 * 2, all.2 / 3 * 2), "{}", all.2);
        }
        let model = |what: &str| {
            let run = RunDir::new(program.dir.path().join(name(what)));
            std::fs::read(run.model_dir().join("model.safetensors")).unwrap()
        };
        assert!(model("spec") == model("brackets"), "{cache}: the models differ");
    }
}

#[test]
fn texts_in_other_languages_are_left_out_and_the_others_stay_where_they_were() {
    let program = Program::new();
    write_spec(&program, "one", "", "squad=data", "never");
    let dataset: DatasetRef = format!("squad={}", program.dir.path().join("data").display()).parse().unwrap();
    let data = open(&dataset, Candidate::Sentence).unwrap();
    let encoder = common::encoder(&program.dir.path().join("model"), Pooling::Auto);
    let mut model = polymix::spec::ModelSpec::default();
    (model.max_query_tokens, model.max_passage_tokens) = (7, 13);
    let all = Tokens::new(&data, &encoder, &model, &mut |_, _| Ok(())).unwrap();
    let mut heard = Vec::new();
    let mut hear = |done, total| {
        heard.push((done, total));
        Ok(())
    };
    let own = Tokens::in_languages(&data, &["zh".into()], &encoder, &model, &mut hear).unwrap();
    let zh = data.language("zh").unwrap();
    for (index, question) in data.questions.iter().enumerate() {
        let expected: &[u32] = if question.language == zh { &all.questions[index] } else { &[] };
        assert_eq!(own.questions[index], expected);
    }
    for (index, passage) in data.passages.iter().enumerate() {
        let expected: &[u32] = if passage.language == zh { &all.passages[index] } else { &[] };
        assert_eq!(own.passages[index], expected);
    }
    assert!(own.truncated_passages > 0 && own.truncated_passages < all.truncated_passages);
    assert!(own.lost_answers > 0 && own.lost_answers < all.lost_answers);
    let texts = (data.questions_in(zh).count(), data.passages_in(zh).count());
    assert_eq!(heard, [(texts.0, texts.0 + texts.1), (texts.0 + texts.1, texts.0 + texts.1)]);
}

#[test]
fn a_run_records_and_its_card_tells_the_languages_that_were_trained_and_the_mix() {
    let program = Program::new();
    write_spec(&program, "two", "\"de\", \"en\"", "squad=data", "never");
    // Two articles are not in German, and one is in Chinese alone.
    for (language, left) in [("de", 38), ("en", 39)] {
        let path = program.dir.path().join(format!("data/{language}.json"));
        let mut text: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        text["data"].as_array_mut().unwrap().truncate(left);
        std::fs::write(path, text.to_string()).unwrap();
    }
    trained(&program, "two");
    program.ok(&["model", "export", "two", "exported"]);
    let card = || std::fs::read_to_string(program.dir.path().join("exported/README.md")).unwrap();
    let has = |parts: &[&str]| {
        let card = card();
        parts.iter().for_each(|part| assert!(card.contains(part), "no '{part}' in {card}"));
    };
    has(&["| CC-BY-SA-4.0 | de en | 78 |", "| sampling.alpha | 0.5 |", "- \"de\"\n- \"en\"\n---"]);
    assert!(program.ok(&["runs", "show", "two"]).contains("alpha = 0.5"));
    // A record of an earlier version does not say how many question ids were trained on.
    let path = program.dir.path().join("two/environment.json");
    let record = std::fs::read_to_string(&path).unwrap();
    let mut record: Value = serde_json::from_str(&record).unwrap();
    let record = record.as_object_mut().unwrap();
    record.remove("trained").unwrap();
    record.remove("crc32");
    record.insert("v".into(), 1.into());
    std::fs::write(&path, serde_json::to_string(&record).unwrap()).unwrap();
    std::fs::remove_dir_all(program.dir.path().join("exported")).unwrap();
    program.ok(&["model", "export", "two", "exported"]);
    has(&["| CC-BY-SA-4.0 | de en |  |"]);
}
