//! The XQuAD-R loader: on the real files where they are, and on made ones.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;

use std::path::Path;

use polymix::corpus::{Dataset, open};
use polymix::spec::{Candidate, DatasetRef};

fn at(dir: &Path, part: Option<&str>) -> anyhow::Result<Dataset> {
    let name =
        DatasetRef { name: "xquad-r".into(), part: part.map(str::to_owned), path: Some(dir.to_owned()) };
    open(&name, Candidate::Sentence)
}

#[test]
fn real_files_have_the_published_counts() {
    let Some(dir) = common::xquadr("real_files_have_the_published_counts") else { return };
    let data = at(&dir, None).unwrap();
    assert_eq!(data.languages, ["ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"]);
    assert_eq!((data.questions.len(), data.passages.len(), data.groups.len()), (13_090, 13_014, 1_190));
    let expected = [1222, 1276, 1234, 1180, 1215, 1244, 1219, 852, 1167, 1209, 1196];
    for (language, expected) in expected.into_iter().enumerate() {
        assert_eq!(data.questions_in(language as u16).count(), 1190);
        assert_eq!(data.passages_in(language as u16).count(), expected, "{}", data.languages[language]);
    }
    for group in &data.groups {
        assert!(group.questions.iter().all(Option::is_some));
        let mut languages: Vec<u16> =
            group.relevant.iter().map(|p| data.passages[*p as usize].language).collect();
        languages.sort_unstable();
        assert_eq!(languages, (0..11).collect::<Vec<u16>>(), "exactly one relevant sentence a language");
    }
    assert_eq!(data.domains.len(), 48);
    assert_eq!(data.notes, ["112 answers cross a sentence boundary; the sentence where they start counts"]);
    let unique: std::collections::HashSet<&str> = data.passages.iter().map(|p| p.text.as_str()).collect();
    assert_eq!(unique.len(), 13_000, "identity is the position, never the text");
}

#[test]
fn real_articles_split_without_overlap() {
    let Some(dir) = common::xquadr("real_articles_split_without_overlap") else { return };
    let (first, second) = (at(&dir, Some("0..24")).unwrap(), at(&dir, Some("24..48")).unwrap());
    assert_eq!(first.groups.len() + second.groups.len(), 1190);
    assert_eq!(first.passages.len() + second.passages.len(), 13_014);
    let ids: std::collections::HashSet<&str> = first.groups.iter().map(|g| g.id.as_str()).collect();
    assert!(second.groups.iter().all(|g| !ids.contains(g.id.as_str())));
    let beyond = format!("{:#}", at(&dir, Some("40..60")).unwrap_err());
    assert!(beyond.contains("articles 40..60") && beyond.contains("within 0..48"), "{beyond}");
    assert!(format!("{:#}", at(&dir, Some("first")).unwrap_err()).contains("0..24"));
}

#[test]
fn context_candidates_hold_the_sentence_first() {
    let Some(dir) = common::xquadr("context_candidates_hold_the_sentence_first") else { return };
    let name = DatasetRef { name: "xquad-r".into(), part: None, path: Some(dir.clone()) };
    let (short, long) = (at(&dir, None).unwrap(), open(&name, Candidate::SentenceContext).unwrap());
    assert_ne!(short.hash, long.hash);
    for (a, b) in short.passages.iter().zip(&long.passages) {
        assert!(a.id == b.id && b.text.starts_with(&a.text) && b.text.len() > a.text.len());
    }
}

/// A file whose offsets differ in bytes, UTF-16 units and code points; with a repeated sentence and a span that
/// crosses a boundary. `𝒳` lies outside the basic plane.
const MADE: &str = r#"{"data": [{"title": "T", "paragraphs": [{"context": "𝒳é one. Same. Same. Two.",
    "sentence_breaks": [[0, 7], [8, 13], [14, 19], [20, 24]],
    "qas": [{"id": "a", "question": "Which?", "answers": [{"text": "one", "answer_start": 3}]},
            {"id": 7, "question": "Second same?", "answers": [{"text": "Same. T", "answer_start": 14}]},
            {"id": "gap", "question": "A space?", "answers": [{"text": " ", "answer_start": 7}]}]}]}]}"#;

fn made(files: &[(&str, &str)]) -> (tempfile::TempDir, anyhow::Result<Dataset>) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let data = at(dir.path(), None);
    (dir, data)
}

#[test]
fn offsets_are_code_points_and_the_start_decides() {
    let with_bom = format!("\u{feff}{MADE}");
    let (_dir, data) = made(&[("en.json", MADE), ("xquad.de.json", &with_bom)]);
    let data = data.unwrap();
    assert_eq!(data.languages, ["de", "en"]);
    let english: Vec<(&str, &str)> =
        data.passages_in(1).map(|i| (data.passages[i].id.as_str(), data.passages[i].text.as_str())).collect();
    assert_eq!(
        english,
        [("en_1_0", "𝒳é one."), ("en_1_1", "Same."), ("en_1_2", "Same."), ("en_1_3", "Two.")]
    );
    assert_eq!(data.groups.iter().map(|g| g.id.as_str()).collect::<Vec<_>>(), ["a", "7"]);
    let relevant: Vec<&str> =
        data.groups[1].relevant.iter().map(|p| data.passages[*p as usize].id.as_str()).collect();
    assert_eq!(relevant, ["de_1_2", "en_1_2"], "the second of two equal sentences");
    assert_eq!(data.notes.len(), 2, "{:?}", data.notes);
    assert!(
        data.notes[0].starts_with("2 answers cross") && data.notes[1].starts_with("2 questions were dropped")
    );
}

#[test]
fn sentences_of_a_paragraph_without_a_usable_question_are_no_candidates() {
    let lone = r#"{"context": "Alone.", "sentence_breaks": [[0, 6]], "qas": []}, "#;
    let text = MADE.replacen(r#"{"context""#, &format!(r#"{lone}{{"context""#), 1);
    let (_dir, data) = made(&[("en.json", &text)]);
    let data = data.unwrap();
    let ids: Vec<&str> = data.passages.iter().map(|p| p.id.as_str()).collect();
    assert_eq!(ids, ["en_2_0", "en_2_1", "en_2_2", "en_2_3"], "numbers count every paragraph of the file");
}

#[test]
fn the_hash_follows_the_contents_and_not_the_name() {
    let hash = |text: &str| made(&[("en.json", text)]).1.unwrap().hash;
    let all = hash(MADE);
    assert_eq!(all, hash(MADE));
    for (from, to) in [("Which?", "Who?"), ("one.", "two."), ("\"T\"", "\"U\""), ("\"id\": 7", "\"id\": 8")] {
        assert_ne!(all, hash(&MADE.replacen(from, to, 1)), "{from}");
    }
    let (dir, data) = made(&[("en.json", MADE)]);
    assert_eq!(data.unwrap().hash, at(dir.path(), Some("0..1")).unwrap().hash);
}

#[test]
fn restricting_keeps_order_and_names_what_is_absent() {
    let (_dir, data) = made(&[("en.json", MADE), ("de.json", MADE), ("fr.json", MADE)]);
    let data = data.unwrap().restrict(&["fr".into(), "de".into()]).unwrap();
    assert_eq!((data.languages.as_slice(), data.passages.len()), (&["fr".to_owned(), "de".into()][..], 8));
    let question = data.groups[0].questions[0].unwrap();
    assert_eq!(data.questions[question as usize].language, 0);
    let error = data.restrict(&["xx".into()]).unwrap_err().to_string();
    assert!(error.contains("'xx'") && error.contains("fr, de"), "{error}");
}

#[test]
fn broken_files_name_file_place_and_field() {
    let error = |text: String| format!("{:#}", made(&[("en.json", &text)]).1.unwrap_err());
    let cases = [
        (error("{".into()), vec!["en.json", "line 1"]),
        (error(MADE.replace("\"sentence_breaks\"", "\"breaks\"")), vec!["en.json", "sentence_breaks"]),
        (
            error(MADE.replace("[20, 24]", "[20, 99]")),
            vec!["en.json", "paragraph 1", "sentence_breaks[3]", "24 characters"],
        ),
        (error(MADE.replace("[8, 13]", "[3, 13]")), vec!["sentence_breaks[1]"]),
        (
            error(MADE.replace("\"answer_start\": 3", "\"answer_start\": 300")),
            vec!["question 'a'", "answer_start 300"],
        ),
        (error(MADE.replace("\"id\": 7", "\"id\": \"a\"")), vec!["question 'a'", "twice"]),
    ];
    for (error, parts) in cases {
        assert!(parts.iter().all(|p| error.contains(p)), "{parts:?}: {error}");
    }
    let missing = format!("{:#}", at(Path::new("/nowhere/at/all"), None).unwrap_err());
    assert!(missing.contains("/nowhere/at/all") && missing.contains("no such directory"), "{missing}");
    let (dir, _) = made(&[("en.json", MADE)]);
    let file = format!("{:#}", at(&dir.path().join("en.json"), None).unwrap_err());
    assert!(file.contains("is a file"), "{file}");
    let empty = tempfile::tempdir().unwrap();
    assert!(format!("{:#}", at(empty.path(), None).unwrap_err()).contains("the directory is empty"));
    std::fs::write(empty.path().join("all.languages.json"), MADE).unwrap();
    assert!(format!("{:#}", at(empty.path(), None).unwrap_err()).contains("no <language>.json"));
    let unknown: DatasetRef = "mlqa".parse().unwrap();
    assert!(open(&unknown, Candidate::Sentence).unwrap_err().to_string().contains("demo, xquad-r"));
}
