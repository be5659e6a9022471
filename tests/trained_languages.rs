//! `languages` of a spec: what is tokenised, counted and recorded is what is trained on, and nothing else changes.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Program, tiny_model, write_xquadr};
use polymix::corpus::open;
use polymix::run::{RunDir, Source};
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
fn an_estimate_counts_only_texts_that_are_trained_on_as_tokenised() {
    let program = Program::new();
    write_spec(&program, "one", "", "squad=data", "never");
    let dataset: DatasetRef = format!("squad={}", program.dir.path().join("data").display()).parse().unwrap();
    let data = open(&dataset, Candidate::Sentence).unwrap();
    let zh = data.language("zh").unwrap();
    let texts = data.questions_in(zh).count() + data.passages_in(zh).count();
    let survey = polymix::tokens::survey(&dataset, Candidate::Sentence, &mut |_, _| Ok(())).unwrap();
    let (held, surveyed) = (Source::Texts(Box::new(data)), Source::Survey(survey));
    let all: usize = held.bytes().iter().flatten().sum();
    for source in [&held, &surveyed] {
        let (bytes, count) = source.tokenised(&["zh".into()]);
        assert_eq!(count, texts);
        // The three languages are about as long.
        assert!(bytes > all / 4 && bytes < all / 2, "{bytes} of {all}");
        assert_eq!(source.tokenised(&[]), (all, 3 * texts));
    }
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
        for part in parts {
            assert!(card.contains(part), "no '{part}' in {card}");
        }
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

#[test]
fn a_card_names_a_base_of_a_hub_only_where_the_run_took_it_from_there() {
    let program = Program::new();
    write_spec(&program, "here", "", "squad=data", "never");
    let dir = program.dir.path();
    std::fs::create_dir_all(dir.join("models")).unwrap();
    std::fs::rename(dir.join("model"), dir.join("models/tiny")).unwrap();
    let spec =
        std::fs::read_to_string(dir.join("here.toml")).unwrap().replace("\"model\"", "\"models/tiny\"");
    std::fs::write(dir.join("here.toml"), &spec).unwrap();
    trained(&program, "here");
    // From elsewhere, `models/tiny` looks like a repository.
    std::fs::create_dir(dir.join("elsewhere")).unwrap();
    let export = |run: &str, to: &str| {
        let mut command = program.command(&["model", "export", &format!("../{run}"), to]);
        let output = command.current_dir(dir.join("elsewhere")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read_to_string(dir.join("elsewhere").join(to).join("README.md")).unwrap()
    };
    let card = export("here", "a");
    assert!(!card.contains("base_model") && !card.contains("models/tiny"), "{card}");
    assert!(card.contains("from `tiny`"), "{card}");
    // One of the hub, at a revision: the link is to the repository.
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let repo = dir.join("hf/hub/models--me--tiny");
    common::copy_dir(&dir.join("models/tiny"), &repo.join("snapshots").join(commit));
    std::fs::create_dir(repo.join("refs")).unwrap();
    std::fs::write(repo.join("refs/v1"), commit).unwrap();
    std::fs::write(dir.join("hub.toml"), spec.replace("models/tiny", "me/tiny@v1")).unwrap();
    let mut command = program.command(&["train", "hub.toml", "--run-dir", "hub"]);
    let output = command.env("HF_HOME", dir.join("hf")).env_remove("HF_HUB_CACHE").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // What lies there now under that name does not count.
    common::copy_dir(&dir.join("models/tiny"), &dir.join("elsewhere/me/tiny@v1"));
    let card = export("hub", "b");
    assert!(card.contains("base_model: \"me/tiny\"\n") && card.contains("from `me/tiny`"), "{card}");
}

#[test]
fn what_is_known_before_is_refused_before_anything_is_tokenised() {
    let program = Program::new();
    write_spec(&program, "late", "", "squad=data", "always");
    let refused = |sets: &[&str], parts: &[&str]| {
        let mut args = vec!["train", "late.toml", "--run-dir", "late"];
        for set in sets {
            args.extend(["--set", set]);
        }
        let mut command = program.command(&args);
        let output = command.env("POLYMIX_CACHE", program.dir.path().join("caches")).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{sets:?}: {err}");
        for part in parts {
            assert!(err.contains(part), "{sets:?}: no '{part}' in {err}");
        }
        assert!(!program.dir.path().join("caches").exists(), "{sets:?}: tokenised first");
        let _ = std::fs::remove_dir_all(program.dir.path().join("late"));
    };
    let lexicons = "robust.lexicons=[\"demo\"]";
    refused(
        &["robust.code_switch=0.5", lexicons],
        &["robust.code_switch", "'squad'", "data.cache = \"never\""],
    );
    refused(&["data.evaluation=[\"squad[as=test]=data\"]"], &["data.evaluation", "'test'", "overlap"]);
    let languages = "languages=[\"de\", \"en\"]";
    let validation = "data.validation=[\"squad[languages=zh]=data\"]";
    refused(&[languages, validation], &["data.validation", "none of the training languages (de, en)"]);
    let line = |n| serde_json::json!({"question": format!("q{n}"), "passage": "p", "language": "de"});
    let lines = format!("{}\n{}\n", line(0), line(1));
    std::fs::write(program.dir.path().join("other.jsonl"), lines.replace("\"de\"", "\"zh\"")).unwrap();
    std::fs::write(program.dir.path().join("two.jsonl"), lines).unwrap();
    let small = "data.validation=[\"pairs[as=two]=two.jsonl\"]";
    let parts = ["data.validation: too few question ids", "'two' has 1", "data.validation = []"];
    for narrowed in [languages, "languages=[]"] {
        refused(&[narrowed, small], &parts);
    }
    let training = "data.train=[\"squad[languages=de+en]=data\"]";
    refused(&[training, validation, "data.cache=\"never\""], &["none of the training languages (de, en)"]);
    // And before a run is made.
    let other = "data.validation=[\"pairs[as=other]=other.jsonl\"]";
    for (sets, part) in
        [([languages, other], "none of the training languages"), ([languages, small], parts[1])]
    {
        program.fails(&["train", "late.toml", "--dry-run", "--set", sets[0], "--set", sets[1]], &[part]);
    }
}

#[test]
fn a_dataset_of_weight_0_is_not_told_as_trained_on() {
    let program = Program::new();
    write_spec(&program, "mixed", "", "squad[languages=de+en]=data", "never");
    let path = program.dir.path().join("mixed.toml");
    let spec = std::fs::read_to_string(&path).unwrap();
    let both = "train = [\"squad[languages=de+en]=data\", \"squad[languages=zh,as=idle]=data\"]\nmixture.weights = [1, 0]\n";
    let spec = spec.replace("train = [\"squad[languages=de+en]=data\"]\n", both);
    assert!(spec.contains("idle"));
    std::fs::write(&path, spec).unwrap();
    let output = program.run(&["train", "mixed.toml", "--run-dir", "mixed"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.err.contains("80 question ids in 2 languages"), "{}", output.err);
    let record = std::fs::read_to_string(program.dir.path().join("mixed/environment.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    let trained = serde_json::json!({"squad[languages=de+en]": {"languages": ["de", "en"], "question_ids": 80},
        "idle": {"languages": [], "question_ids": 0}});
    assert_eq!(record["trained"], trained);
    program.ok(&["model", "export", "mixed", "exported"]);
    let card = std::fs::read_to_string(program.dir.path().join("exported/README.md")).unwrap();
    assert!(card.contains("- \"de\"\n- \"en\"\n---"), "{card}");
    assert!(!card.contains("| training | idle") && card.contains("| training | squad"), "{card}");
}

/// The catalogue's entry of a run's model gains prefixes while the run is stopped.
#[test]
fn a_run_goes_on_with_the_prefixes_that_it_began_with() {
    let program = Program::new();
    write_spec(&program, "prefixed", "", "squad=data", "never");
    let dir = program.dir.path();
    let base = "hub/models--me--tiny/snapshots/0123456789abcdef0123456789abcdef01234567";
    common::copy_dir(&dir.join("model"), &dir.join(base));
    let spec = std::fs::read_to_string(dir.join("prefixed.toml")).unwrap();
    let spec = spec
        .replace("base = \"model\"", &format!("base = \"{base}\""))
        .replace("steps = 6\n", "steps = 6\ncheckpoint_every = 2\nkeep_checkpoints = 9\n");
    std::fs::write(dir.join("prefixed.toml"), spec).unwrap();
    program.ok(&["train", "prefixed.toml", "--run-dir", "whole"]);
    let entry = "[[model]]\nname = \"me/tiny\"\ndescription = \"small\"\nlicence = \"MIT\"\nquery_prefix = \"q: \"\n\
                 passage_prefix = \"p: \"\n[[model.source]]\nhub = \"me/tiny\"\n";
    std::fs::write(dir.join("own.toml"), entry).unwrap();
    let weights = |name: &str| std::fs::read(dir.join(name).join("model/model.safetensors")).unwrap();
    // Once with the record as it is, once with one of before, which does not say the prefixes.
    for (name, is_old) in [("new", false), ("old", true)] {
        common::copy_dir(&dir.join("whole"), &dir.join(name));
        let run = RunDir::new(dir.join(name));
        for (_, later) in polymix::run::checkpoints(&run).into_iter().filter(|(step, _)| *step > 2) {
            std::fs::remove_dir_all(later).unwrap();
        }
        std::fs::remove_dir_all(run.model_dir()).unwrap();
        let mut state = run.state().unwrap();
        (state.phase, state.step) = (polymix::run::Phase::Stopped, 2);
        state.write(&run.path).unwrap();
        if is_old {
            let path = run.path.join("environment.json");
            let mut record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            record["model"].as_object_mut().unwrap().retain(|key, _| !key.ends_with("_prefix"));
            record.as_object_mut().unwrap().remove("crc32").unwrap();
            record["v"] = 1.into();
            std::fs::write(&path, record.to_string()).unwrap();
        }
        let mut command = program.command(&["train", "--resume", "--run-dir", name]);
        let output = command.env("POLYMIX_CATALOGUE", dir.join("own.toml")).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {err}");
        assert!(
            err.contains("\"Query: \" before questions") && err.contains("as the run began"),
            "{name}: {err}"
        );
        assert!(weights(name) == weights("whole"), "{name}: another model");
    }
    // A run of its own takes what the catalogue says.
    let mut command = program.command(&["train", "prefixed.toml", "--run-dir", "anew"]);
    assert!(command.env("POLYMIX_CATALOGUE", dir.join("own.toml")).output().unwrap().status.success());
    assert!(weights("anew") != weights("whole"));
}

#[test]
fn training_finds_what_was_prepared_in_the_folder_of_the_same_name() {
    let program = Program::new();
    write_spec(&program, "found", "", "squad=data", "always");
    let prepare = ["data", "prepare", "squad=data", "--cache", "caches", "--spec", "found.toml"];
    assert!(program.ok(&prepare).contains("written to caches/tokens/"));
    assert!(program.ok(&prepare).contains("found in caches/tokens/"));
    let mut command = program.command(&["train", "found.toml", "--run-dir", "found"]);
    let output = command.env("POLYMIX_CACHE", "caches").output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && err.contains("token cache found in"), "{err}");
    // A plain file in its place.
    let place = polymix::files::children(&program.dir.path().join("caches/tokens"));
    let place = place.into_iter().find(|p| p.is_dir()).unwrap();
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::write(&place, "mine").unwrap();
    program.fails(&prepare, &["a file stands where the token cache goes", "move or remove it"]);
}

#[test]
fn a_dry_run_says_which_validation_data_are_left_out() {
    let program = Program::new();
    std::fs::write(program.dir.path().join("one.tsv"), "id\tquestion\tpassage\n1\ta\tb\n").unwrap();
    let set = "data.validation=[\"demo[validation]\",\"pairs[language=en]=one.tsv\"]";
    let output = program.run(&["train", "demo", "--device", "cpu", "--dry-run", "--set", set]);
    let told = format!("{}{}", output.out, output.err);
    assert!(told.contains("'pairs[language=en]' has fewer than two question ids"), "{told}");
}
