//! Which side of a pair is in which language, and whether ids of several languages mean the same.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/files.rs"]
mod files;

use files::{error, load, made, read, says};
use serde_json::json;

#[test]
fn a_name_with_two_languages_does_not_say_which_side_is_which() {
    let texts = "a house\tein Haus\na tree\tein Baum\n";
    let columns = "question=1,passage=2";
    for name in ["TED2020-en-de-train.tsv", "en-de/train.tsv", "opus/en_de.tsv"] {
        let message = error(&format!("pairs[{columns}]"), &[(name, texts)]);
        says(
            &message,
            &["says two languages, 'en' and 'de'", "pairs[question_language=en,passage_language=de]"],
        );
        let stated = format!("pairs[{columns},question_language=en,passage_language=de]");
        let data = read(&stated, &[(name, texts)]);
        assert_eq!(data.languages, ["de", "en"], "{name}");
        assert_eq!(data.questions_in(1).count(), 2, "the questions are English: {name}");
    }
    // The dataset's own folder may say it too.
    let dir = made(&[("en-de/train.tsv", texts)]);
    let message = format!("{:#}", load(&format!("pairs[{columns}]"), &dir.path().join("en-de")).unwrap_err());
    says(&message, &["'en' and 'de'"]);
    // Where each line says its own, the name is of no weight.
    let line =
        json!({"question": "a house", "passage": "ein Haus", "question_language": "en", "language": "de"});
    assert_eq!(read("pairs", &[("en-de.jsonl", &line.to_string())]).languages, ["de", "en"]);
}

/// A line of a file, of an id and a text.
type Line<'a> = &'a dyn Fn(usize, &str) -> String;

#[test]
fn ids_of_several_languages_are_translations_unless_they_are_said_to_be_apart() {
    let tevatron = |n: usize, text: &str| {
        json!({"query_id": n, "query": text, "positive_passages": [{"docid": n, "text": format!("of {text}")}]})
            .to_string()
    };
    let flag = |n: usize, text: &str| {
        json!({"id": n, "query": text, "pos": [format!("of {text}")], "neg": []}).to_string()
    };
    let pair = |n: usize, text: &str| {
        json!({"id": n, "question": text, "passage": format!("of {text}")}).to_string()
    };
    let cases: [(&str, Line<'_>, bool); 3] =
        [("tevatron", &tevatron, true), ("flag", &flag, true), ("pairs", &pair, false)];
    for (name, line, is_told) in cases {
        let lines = |words: [&str; 2]| format!("{}\n{}\n", line(0, words[0]), line(1, words[1]));
        let (ar, sw) = (lines(["nahr", "bayt"]), lines(["mto", "mti"]));
        let files = [("train.ar.jsonl", ar.as_str()), ("train.sw.jsonl", sw.as_str())];
        let shared = read(name, &files);
        assert_eq!((shared.groups.len(), shared.questions.len()), (2, 4), "{name}");
        let notes = shared.notes.join("; ");
        if is_told {
            says(&notes, &["2 question ids stand in several languages", "translations", "ids=apart"]);
        }
        let apart = read(&format!("{name}[ids=apart]"), &files);
        assert_eq!((apart.groups.len(), apart.questions.len(), apart.passages.len()), (4, 4, 4), "{name}");
        assert!(!apart.notes.join("; ").contains("several languages"), "{name}");
        says(&error(&format!("{name}[ids=mixed]"), &files), &["ids=mixed", "shared, apart"]);
        let one = read(name, &files[..1]);
        assert!(!one.notes.join("; ").contains("several languages"), "{name}");
    }
}

#[test]
fn a_field_within_an_object_is_named_with_a_point() {
    let lines: Vec<String> = ["one", "two"]
        .map(|n| {
            json!({"translation": {"de": format!("Satz {n}"), "en": format!("sentence {n}")}}).to_string()
        })
        .to_vec();
    let settings = "question=translation.de,passage=translation.en,question_language=de,passage_language=en";
    let data = read(&format!("pairs[{settings}]"), &[("train.jsonl", &lines.join("\n"))]);
    assert_eq!((data.languages.len(), data.questions.len()), (2, 2));
    assert_eq!(data.questions[0].text, "Satz one");
    let message = error(
        "pairs[question=translation.fr,passage=translation.en,language=fr]",
        &[("train.jsonl", &lines.join("\n"))],
    );
    says(&message, &["'translation.fr'", "'translation.en'"]);
}

/// MLQA's file of one paragraph a question, with paragraphs in one language and questions in another.
fn mlqa(context: &str, question: &str, ids: &[usize]) -> String {
    let paragraph = |id: &usize| {
        let text = format!("{context} text {id}");
        json!({"context": text, "qas": [{"id": format!("q{id}"), "question": format!("{question} question {id}"),
               "answers": [{"text": context, "answer_start": 0}]}]})
    };
    let paragraphs: Vec<_> = ids.iter().map(paragraph).collect();
    json!({"version": 1.0, "data": [{"title": "t", "paragraphs": paragraphs}]}).to_string()
}

#[test]
fn mlqa_is_read_by_its_files_of_one_language() {
    let all: Vec<(String, String)> = [("de", "de"), ("de", "en"), ("en", "de"), ("en", "en")]
        .map(|(c, q)| (format!("test/test-context-{c}-question-{q}.json"), mlqa(c, q, &[1, 2])))
        .to_vec();
    let files: Vec<(&str, &str)> = all.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    let data = read("squad", &files);
    assert_eq!((data.languages.as_slice(), data.groups.len()), (&["de".to_owned(), "en".to_owned()][..], 2));
    assert_eq!((data.questions.len(), data.passages.len()), (4, 4), "each once, in its own language");
    says(&data.notes.join("; "), &["2 files whose questions are in another language", "left out"]);
    // German paragraphs with English questions are not English.
    let dir = made(&files);
    let mixed = dir.path().join(&all[1].0);
    let message = format!("{:#}", load("squad", &mixed).unwrap_err());
    says(&message, &["paragraphs in 'de' with questions in 'en'", "context-en-question-en.json"]);
    // Two parts side by side: a word that one of them has.
    let dev = mlqa("de", "de", &[3]);
    let parts = [files[0], ("dev/dev-context-de-question-de.json", dev.as_str())];
    let message = error("squad", &parts);
    says(&message, &["two files for the language 'de'", "squad[dev]"]);
    assert_eq!(read("squad[dev]", &parts).questions.len(), 1);
}

#[test]
fn squadshifts_is_english_and_tatoeba_says_what_its_files_are_called() {
    let files = [("nyt_v1.0.json", mlqa("en", "en", &[1]))];
    let data = read("squadshifts", &[(files[0].0, files[0].1.as_str())]);
    assert_eq!(data.languages, ["en"]);
    says(
        &error("tatoeba", &[("de-en.de", "ein Haus\n"), ("de-en.en", "a house\n")]),
        &["rename", "tatoeba.deu-eng.deu"],
    );
}

#[test]
fn a_tilde_is_the_shells() {
    let message = format!("{:#}", load("pairs", std::path::Path::new("~/data.tsv")).unwrap_err());
    says(&message, &["no such file or directory", "'~' is the shell's"]);
}
