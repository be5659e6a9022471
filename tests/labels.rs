//! What datasets are called in results: two never take each other's place, and the same name in two uses is told apart.
#![allow(clippy::unwrap_used)]

mod common;

use common::Program;
use serde_json::Value;

/// Parallel pairs in German and English, `count` of each, with words that begin at `from`.
fn pairs(program: &Program, file: &str, from: usize, count: usize) {
    const WORDS: [&str; 8] = ["river", "house", "stone", "bird", "light", "tree", "water", "night"];
    let mut text = String::new();
    for n in from..from + count {
        for language in ["de", "en"] {
            let row = serde_json::json!({"id": n, "language": language,
                "question": format!("{language} {} {n}", WORDS[n % 8]),
                "passage": format!("{} {} {n} {language}", WORDS[n / 8 % 8], WORDS[n % 8])});
            text += &format!("{row}\n");
        }
    }
    std::fs::write(program.dir.path().join(file), text).unwrap();
}

fn program() -> Program {
    let program = Program::new();
    common::copy_dir(common::tiny_model().path(), &program.dir.path().join("model"));
    pairs(&program, "train.jsonl", 0, 40);
    pairs(&program, "a.jsonl", 100, 7);
    pairs(&program, "b.jsonl", 200, 5);
    program
}

fn write_spec(program: &Program, evaluation: &str) {
    let spec = format!(
        "name = \"named\"\n[model]\nbase = \"model\"\nmax_query_tokens = 16\nmax_passage_tokens = 16\n[data]\n\
         train = [\"pairs=train.jsonl\"]\nvalidation = []\nevaluation = {evaluation}\nmixture = {{ temperature = 0.5 }}\n\
         [train]\nsteps = 2\nbatch = 4\nvalidate_every = 0\ndevice = \"cpu\"\n\
         early_stopping = {{ patience = 0, min_delta = 0.0 }}\n"
    );
    std::fs::write(program.dir.path().join("named.toml"), spec).unwrap();
}

#[test]
fn two_datasets_of_one_name_are_refused_before_anything_is_written() {
    let program = program();
    write_spec(&program, "[\"pairs=a.jsonl\", \"pairs=b.jsonl\"]");
    let parts = ["named.toml", "data.evaluation", "'pairs'", "pairs[as=NAME]=b.jsonl"];
    program.fails(&["train", "named.toml"], &parts);
    assert!(!program.runs().exists());
    let twice = ["evaluate", "--model", "model", "--data", "pairs=a.jsonl", "--data", "pairs=b.jsonl"];
    program.fails(&twice, &["--data", "pairs[as=NAME]=b.jsonl"]);
}

#[test]
fn named_datasets_keep_their_own_results_facts_and_settings() {
    let program = program();
    write_spec(&program, "[\"pairs=a.jsonl\", \"pairs[as=ours]=b.jsonl\"]");
    program.ok(&["train", "named.toml", "--run-dir", "runs/one"]);
    let run = program.runs().join("one");
    let read = |path: &str| -> Value {
        let text = std::fs::read_to_string(run.join(path)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let questions = |name: &str| {
        read(&format!("evaluation/step-000002/{name}/summary.json"))["protocol"]["questions"].clone()
    };
    assert_eq!((questions("pairs"), questions("ours")), (14.into(), 10.into()));
    let known = read("environment.json");
    let ids = |name: &str| known["datasets"][name]["question_ids"].as_u64();
    assert_eq!([ids("pairs"), ids("pairs (evaluation)"), ids("ours")], [Some(40), Some(7), Some(5)]);

    program.ok(&["model", "convert", "runs/one", "exported"]);
    let card = std::fs::read_to_string(program.dir.path().join("exported/README.md")).unwrap();
    let row = |begin: &str| {
        card.lines().find(|l| l.starts_with(begin)).unwrap_or_else(|| panic!("{begin}: {card}"))
    };
    assert!(row("| training | pairs |").contains("| 40 |"), "{card}");
    assert!(row("| evaluation | pairs |").contains("| 7 |"), "{card}");
    assert!(row("| evaluation | ours |").contains("| 5 |"), "{card}");
    assert!(row("| data.mixture.temperature |").contains("0.5"), "{card}");
    assert!(!card.contains("| data.train |"), "paths of this machine stay here: {card}");
}

#[test]
fn an_evaluation_says_how_many_answers_were_cut_off() {
    let program = program();
    let passage = "river house stone bird light tree water night";
    let question = |id: usize, start: usize, text: &str| {
        serde_json::json!({"id": format!("q{id}"), "question": format!("which {text} {id}"),
            "answers": [{"text": text, "answer_start": start}]})
    };
    let squad = serde_json::json!({"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": passage,
        "qas": [question(0, 0, "river"), question(1, passage.len() - 5, "night")]}]}]});
    std::fs::write(program.dir.path().join("squad.json"), squad.to_string()).unwrap();
    let args = ["evaluate", "--model", "model", "--data", "squad[language=en]=squad.json"];
    let output = program.run(&[&args[..], &["--max-passage-tokens", "6"]].concat());
    assert!(output.err.contains("1 of 2 answers lie behind the cut"), "{output:?}");
    let whole = program.run(&args);
    assert!(whole.code == Some(0) && !whole.err.contains("behind the cut"), "{whole:?}");
    program.fails(&[&args[..], &["--max-query-tokens", "0"]].concat(), &["--max-query-tokens", "4..=8192"]);
}
