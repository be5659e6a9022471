//! What every loader does with rows alike: languages, blank texts, ids, parts, and what is missing.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;
#[path = "common/files.rs"]
mod files;

use files::{error, load, read, says};
use polymix::corpus::Dataset;

type Files<'a> = [(&'a str, &'a str)];

/// Texts of the passages, in order.
fn passages(data: &Dataset) -> Vec<&str> {
    data.passages.iter().map(|p| p.text.as_str()).collect()
}

fn questions(data: &Dataset) -> Vec<&str> {
    data.questions.iter().map(|q| q.text.as_str()).collect()
}

const PAIRS: &str =
    "id\tquestion\tpassage\tlanguage\nq1\twhat\tthis\ten\nq1\twas\tdies\tde\nq2\twho\tthey\ten\n";
const FLAG: &str = "{\"query\": \"what\", \"pos\": [\"this\"], \"neg\": [\"no\"], \"language\": \"en\"}\n{\"query\": \"was\", \"pos\": [\"dies\"], \"lang\": \"de\"}\n";
const TEVATRON: &str = "{\"query_id\": 1, \"query\": \"what\", \"positive_passages\": [{\"docid\": 1, \"text\": \"this\"}], \"language\": \"en\"}\n{\"query_id\": 1, \"query\": \"was\", \"positive_passages\": [{\"docid\": 2, \"text\": \"dies\"}], \"language\": \"de\"}\n";
const BEIR: [(&str, &str); 3] = [
    (
        "corpus.jsonl",
        "{\"_id\": \"d1\", \"text\": \"this\", \"language\": \"en\"}\n{\"_id\": \"d2\", \"text\": \"dies\", \"language\": \"de\"}\n",
    ),
    (
        "queries.jsonl",
        "{\"_id\": \"q1\", \"text\": \"what\", \"language\": \"en\"}\n{\"_id\": \"q2\", \"text\": \"was\", \"language\": \"de\"}\n",
    ),
    ("qrels/test.tsv", "q1\td1\t1\nq2\td2\t1\nq2\td1\t1\n"),
];
const MFAQ: &str = "{\"question\": \"what\", \"answer\": \"this\", \"language\": \"en\"}\n{\"question\": \"was\", \"answer\": \"dies\", \"language\": \"de\"}\n";

#[test]
fn languages_keeps_the_rows_of_these_and_refuses_what_is_not_there() {
    let cases: [(&str, &Files<'_>); 6] = [
        ("pairs", &[("a.tsv", PAIRS)]),
        ("flag", &[("a.jsonl", FLAG)]),
        ("tevatron", &[("train.jsonl", TEVATRON)]),
        ("mfaq", &[("train.jsonl", MFAQ)]),
        ("beir", &BEIR),
        ("flag", &[("a.en.jsonl", FLAG), ("b.de.jsonl", "{\"query\": \"wer\", \"pos\": [\"sie\"]}")]),
    ];
    for (name, files) in cases {
        assert_eq!(read(name, files).languages, ["de", "en"], "{name}");
        let one = read(&format!("{name}[languages=eng]"), files);
        assert_eq!(one.languages, ["en"], "{name}");
        assert!(questions(&one).contains(&"what") && !questions(&one).contains(&"was"), "{name}");
        assert!(passages(&one).contains(&"this") && !passages(&one).contains(&"dies"), "{name}");
        assert!(one.groups.iter().all(|g| g.questions != [None]), "{name}");
        assert_eq!(read(&format!("{name}[languages=de+en]"), files).languages, ["de", "en"], "{name}");
        for wanted in ["xx", "en+xx"] {
            let message = error(&format!("{name}[languages={wanted}]"), files);
            says(&message, &["no 'xx'", "there are de, en"]);
        }
    }
    // The other side's language is not wanted: its judgement is no mistake of the file.
    let german = read("beir[languages=de]", &BEIR);
    assert_eq!((passages(&german), german.groups[0].relevant.len()), (vec!["dies"], 1));
    assert_eq!(german.notes, [""; 0]);
}

#[test]
fn languages_of_files_and_fields_are_named_where_one_is_missing() {
    let squad = r#"{"data": [{"paragraphs": [{"context": "c", "qas": [{"id": 1, "question": "q", "answers": [{"text": "c", "answer_start": 0}]}]}]}]}"#;
    let entity = r#"{"entity_id": "Q1", "title": "t", "description": "d", "description_language": "de"}"#;
    let mention = r#"{"context": {"language": "es", "text": "abc"}, "mentions": [{"example_id": "m", "entity_id": "Q1", "mention_span": [0, 3]}]}"#;
    let cases: [(&str, &Files<'_>, &str); 5] = [
        ("squad[languages=de]", &[("squad.en.json", squad), ("squad.fr.json", squad)], "there are en, fr"),
        (
            "miracl[languages=te]",
            &[("topics.miracl-v1.0-sw-dev.tsv", "1\tq\n"), ("qrels.miracl-v1.0-sw-dev.tsv", "1\tQ0\td\t1\n")],
            "there are sw",
        ),
        (
            "mewsli-x[languages=de]",
            &[("candidate_set_entities.jsonl", entity), ("wikinews_mentions-dev.jsonl", mention)],
            "there are es",
        ),
        (
            "xm3600[languages=zz]",
            &[("captions.jsonl", r#"{"image/key": 1, "en": {"caption": ["a", "b"]}}"#)],
            "there are en",
        ),
        (
            "mmarco[languages=fr]",
            &[
                ("english_collection.tsv", "1\ta\n"),
                ("english_queries.train.tsv", "1\tq\n"),
                ("triples.train.ids.tsv", "1\t1\t2\n"),
            ],
            "there are en",
        ),
    ];
    for (name, files, there) in cases {
        let message = error(name, files);
        says(&message, &["languages: there is no '", there]);
        assert_eq!(message.matches("languages: ").count(), 1, "{message}");
    }
    let talks = [("talks.tsv", "good day\tguten Tag\n")];
    let name = "pairs[question=1,passage=2,question_language=en,passage_language=de,languages=en]";
    says(&error(name, &talks), &["no row has both its languages among these", "in en and de"]);
    let crossed = [
        ("queries.jsonl", BEIR[1].1),
        ("corpus.jsonl", "{\"_id\": \"d1\", \"text\": \"this\", \"lang\": \"fr\"}"),
        ("qrels/test.tsv", "q1\td1\t1\n"),
    ];
    says(&error("beir[languages=fr]", &crossed), &["no question is in one of these", "questions in en"]);
}

#[test]
fn lines_of_json_have_their_own_fields() {
    let lines = "{\"question\": \"what\", \"passage\": \"this\"}\n{\"question\": \"was\", \"passage\": \"dies\", \"negative\": [\"nein\", \"nie\"], \"language\": \"de\"}\n";
    let data = read("pairs", &[("a.en.jsonl", lines)]);
    assert_eq!((data.languages.len(), data.negatives[1].len()), (2, 2));
    assert_eq!(data.questions[1].language, data.language("de").unwrap());
    says(&error("pairs", &[("a.jsonl", lines)]), &["a.jsonl, line 1", "'language'", "[language=en]"]);
    let late = lines.replace("{\"question\": \"was\"", "{\"id\": 7, \"question\": \"was\"");
    says(&error("pairs", &[("a.en.jsonl", &late)]), &["a.en.jsonl, line 2", "an id, where line 1 has none"]);
    let early = lines.replacen("{\"question\"", "{\"id\": 7, \"question\"", 1);
    says(&error("pairs", &[("a.en.jsonl", &early)]), &["line 2", "none, where line 1 has one", "every line"]);
    // Rows with the same id are parallel, also where the first line of another file has none.
    let parallel = "{\"id\": 7, \"question\": \"what\", \"passage\": \"this\", \"language\": \"en\"}\n{\"id\": 7, \"question\": \"was\", \"passage\": \"dies\", \"language\": \"de\"}\n";
    assert_eq!(read("pairs", &[("a.en.jsonl", lines), ("b.jsonl", parallel)]).groups.len(), 3);
    let both = "{\"question\": [\"a\", \"b\"], \"passage\": \"this\"}";
    says(&error("pairs", &[("a.en.jsonl", both)]), &["line 1", "'question'", "list of 2 texts", "one text"]);
    let array = "[{\"question\": \"a\", \"passage\": \"b\"}]";
    says(&error("pairs", &[("a.en.json", array)]), &["line 1: not a JSON object", "write one object a line"]);
    says(
        &error("pairs[passage=body]", &[("a.en.jsonl", lines)]),
        &["a.en.jsonl: no row has both", "'question'", "'body'", "[question=COLUMN,passage=COLUMN]"],
    );
}

#[test]
fn numbers_that_lost_digits_are_no_ids() {
    let row = |id: &str| {
        format!(
            "{{\"id\": {id}, \"question\": \"what {id}\", \"passage\": \"this\", \"language\": \"en\"}}\n"
        )
    };
    // As numbers of 64 bits with a fraction these two are the same.
    let large = row("12345678901234567890123") + &row("12345678901234567890124");
    says(&error("pairs", &[("a.jsonl", &large)]), &["a.jsonl, line 1", "'id'", "in quotes"]);
    says(&error("pairs", &[("a.jsonl", &(row("7") + &row("1.5")))]), &["line 2", "'id'", "1.5"]);
    let whole = row("18446744073709551615") + &row("-3");
    assert_eq!(read("pairs", &[("a.jsonl", &whole)]).groups[0].id, "18446744073709551615");
}

#[test]
fn a_header_is_no_pair_and_no_passage() {
    let name = "pairs[question=1,passage=2,language=en]";
    let data = read(name, &[("a.tsv", "Question\tanswer\nwhat\tthis\n")]);
    assert_eq!((questions(&data), data.notes.len()), (vec!["what"], 1));
    says(&data.notes[0], &["a.tsv", "first line", "header"]);
    assert_eq!(questions(&read(name, &[("a.tsv", "what\tthis\n")])), ["what"]);
    let files = [
        ("english_collection.tsv", "pid\ttext\n7\tkelp\n8\t \n"),
        ("english_queries.dev.small.tsv", "qid\tquery\n1\twhich\n"),
        ("qrels.dev.small.tsv", "1\t0\t7\t1\n1\t0\t9\t0\n"),
    ];
    let data = read("mmarco[dev.small]", &files);
    assert_eq!((passages(&data), questions(&data)), (vec!["kelp"], vec!["which"]));
    says(
        &data.notes.join("; "),
        &["1 passages without a text", "1 documents that are judged 0 are not in its collection"],
    );
    let mut word = files;
    word[0].1 = "7\tkelp\npid\ttext\n";
    says(&error("mmarco[dev.small]", &word), &["english_collection.tsv, line 2", "'pid'", "whole number"]);
}

#[test]
fn blank_texts_are_left_out_and_counted() {
    let beir = [
        ("corpus.jsonl", "{\"_id\": 1, \"text\": \" \"}\n{\"_id\": 2, \"text\": \"two\"}\n"),
        ("queries.jsonl", "{\"_id\": 1, \"text\": \"one\"}\n{\"_id\": 2, \"text\": \"\"}\n"),
        ("qrels/test.tsv", "1\t1\t1\n1\t2\t1\n2\t2\t1\n"),
    ];
    let squad = |question: &str, context: &str| {
        let qa = |id: u8, question: &str| serde_json::json!({"id": id, "question": question, "answers": [{"text": "c", "answer_start": 0}]});
        serde_json::json!({"data": [{"paragraphs": [{"context": "c", "qas": [qa(1, question), qa(2, "what")]},
            {"context": context, "qas": [qa(3, "who")]}]}]})
        .to_string()
    };
    let blank = squad(" ", "");
    let flag = "{\"query\": \"\", \"pos\": [\"x\"]}\n{\"query\": \"q\", \"pos\": [\"p\", \"\"], \"neg\": [\"\\t\"]}\n";
    let tevatron = "{\"query_id\": 1, \"query\": \" \", \"positive_passages\": [{\"docid\": 1, \"text\": \"x\"}]}\n{\"query_id\": 2, \"query\": \"q\", \"positive_passages\": [{\"docid\": 2, \"text\": \"\"}, {\"docid\": 3, \"text\": \"p\"}]}\n";
    let captions = r#"{"image/key": 1, "en": {"caption": ["", "a", " ", "b"]}, "de": {"caption": [""]}}"#;
    let cases: [(&str, &Files<'_>, &str); 5] = [
        ("beir[language=en]", &beir, "two"),
        ("squad", &[("squad.en.json", &blank)], "c"),
        ("flag[language=en]", &[("a.jsonl", flag)], "p"),
        ("tevatron[language=en]", &[("train.jsonl", tevatron)], "p"),
        ("xm3600", &[("captions.jsonl", captions)], "b"),
    ];
    for (name, files, text) in cases {
        let data = read(name, files);
        assert_eq!((data.questions.len(), passages(&data)), (1, vec![text]), "{name}");
        assert_eq!(
            (data.groups.len(), data.languages.len()),
            (1, 1),
            "{name}: nothing is left of the others"
        );
        let notes = data.notes.join("; ");
        says(&notes, &["questions without a text were left out"]);
        assert!(
            name == "squad" || notes.contains("passages without a text were left out"),
            "{name}: {notes}"
        );
    }
    says(
        &read("squad", &[("squad.en.json", &blank)]).notes.join("; "),
        &["1 questions of paragraphs without a text"],
    );
    let nothing = "{\"query\": \"\", \"pos\": [\"x\"]}\n";
    says(&error("flag[language=en]", &[("a.jsonl", nothing)]), &["no question has a text: all 1 are blank"]);
}

#[test]
fn a_null_field_gives_way_to_the_next_name() {
    let corpus =
        "{\"_id\": null, \"docid\": \"d1\", \"text\": null, \"contents\": \"this\", \"lang\": \"en\"}\n";
    let data = read(
        "beir[language=en]",
        &[
            ("corpus.jsonl", corpus),
            ("queries.jsonl", "{\"_id\": \"q1\", \"text\": \"what\"}\n"),
            ("qrels/test.tsv", "q1\td1\t1\n"),
        ],
    );
    assert_eq!((data.passages[0].id.as_str(), data.passages[0].text.as_str()), ("d1", "this"));
}

#[test]
fn beir_takes_the_split_of_exactly_this_name() {
    let texts = [
        ("corpus.jsonl", "{\"_id\": 1, \"text\": \"one\"}\n{\"_id\": 2, \"text\": \"two\"}\n"),
        ("queries.jsonl", "{\"_id\": 1, \"text\": \"first\"}\n{\"_id\": 2, \"text\": \"second\"}\n"),
    ];
    let with = |qrels: &[(&'static str, &'static str)]| [texts.to_vec(), qrels.to_vec()].concat();
    let both = with(&[("qrels/test-old.tsv", "2\t2\t1\n"), ("qrels/test.tsv", "1\t1\t1\n")]);
    assert_eq!(questions(&read("beir[language=en]", &both)), ["first"]);
    let unclear = with(&[("qrels/test-old.tsv", "2\t2\t1\n"), ("qrels/test2.tsv", "1\t1\t1\n")]);
    says(
        &error("beir[language=en]", &unclear),
        &["2 files could be the qrels", "test-old.tsv", "name the part"],
    );
    assert_eq!(questions(&read("beir[test-old,language=en]", &unclear)), ["second"]);
    says(&error("beir[language=en]", &with(&[])), &["no judgements", "qrels/test.tsv"]);
    let zero = error("beir[language=en]", &with(&[("qrels/test.tsv", "1\t1\t0\n")]));
    says(&zero, &["queries.jsonl", "judgement above 0", "qrels/test.tsv"]);
}

#[test]
fn a_row_of_another_language_stays_in_its_directory() {
    let folder = |name: &str, texts: [&str; 2]| {
        let [one, two] = texts;
        [
            (format!("{name}/corpus.jsonl"), format!("{one}\n{two}\n")),
            (
                format!("{name}/queries.jsonl"),
                "{\"_id\": 1, \"text\": \"first\"}\n{\"_id\": 2, \"text\": \"second\"}\n".into(),
            ),
            (format!("{name}/qrels/test.tsv"), "1\t1\t1\n2\t2\t1\n".into()),
        ]
    };
    let files: Vec<(String, String)> = [
        folder("de", ["{\"_id\": 1, \"text\": \"eins\"}", "{\"_id\": 2, \"text\": \"zwei\"}"]),
        folder(
            "en",
            ["{\"_id\": 1, \"text\": \"one\"}", "{\"_id\": 2, \"text\": \"zwei\", \"language\": \"de\"}"],
        ),
    ]
    .concat();
    let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    let data = read("beir", &files);
    let ids: Vec<&str> = data.passages.iter().map(|p| p.id.as_str()).collect();
    assert_eq!(ids, ["de:1", "de:2", "en:1", "en:2"]);
    assert_eq!(data.passages[3].language, data.language("de").unwrap());
    assert!(data.groups.iter().all(|g| g.relevant.len() == 2), "{:?}", data.groups);
}

#[test]
fn mr_tydi_trains_by_default_in_either_layout() {
    let line = |text: &str| {
        format!(
            "{{\"query_id\": 1, \"query\": \"{text}\", \"positive_passages\": [{{\"docid\": \"1#0\", \"text\": \"t\"}}]}}"
        )
    };
    let (train, dev, test) = (line("train"), line("dev"), line("test"));
    let folder = "mrtydi-v1.1-korean";
    let lines: Vec<(String, &str)> = [("train", &train), ("dev", &dev), ("test", &test)]
        .map(|(n, t)| (format!("{folder}/{n}.jsonl.gz"), t.as_str()))
        .into();
    let corpus = (format!("{folder}/corpus.jsonl.gz"), "{\"docid\": \"1#0\", \"text\": \"t\"}");
    let topics = |part: &'static str| {
        [
            (format!("{folder}/ir-format-data/topics.{part}.tsv"), part),
            (format!("{folder}/ir-format-data/qrels.{part}.txt"), "1 Q0 1#0 1\n"),
        ]
    };
    let asked = |name: &str, files: &[(String, &str)]| {
        let files: Vec<(String, String)> = files
            .iter()
            .map(|(n, t)| {
                (n.clone(), if n.contains("topics") { format!("1\t{t}\n") } else { (*t).to_owned() })
            })
            .collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
        let dir = files::made(&files);
        load(name, dir.path()).map(|d| d.questions[0].text.clone()).map_err(|e| format!("{e:#}"))
    };
    let trec = [topics("train").to_vec(), topics("test").to_vec(), vec![corpus.clone()]].concat();
    for (name, text) in [("mr-tydi", "train"), ("mr-tydi[test]", "test")] {
        assert_eq!(asked(name, &lines).unwrap(), text);
        assert_eq!(asked(name, &trec).unwrap(), text);
    }
    // A part that only one of the layouts has is read from there, and the other's files are no passages.
    let mixed = [topics("test").to_vec(), lines.clone(), vec![corpus.clone()]].concat();
    assert_eq!(asked("mr-tydi[test]", &mixed).unwrap(), "test");
    assert_eq!(asked("mr-tydi[dev]", &mixed).unwrap(), "dev");
    let only = [topics("test").to_vec(), vec![corpus]].concat();
    let message = asked("mr-tydi", &only).unwrap_err();
    says(&message, &["no topics file of the part 'train'", "topics.train.tsv", "there are topics.test.tsv"]);
    assert!(!message.contains("miracl"), "{message}");
}

#[test]
fn topics_that_are_judged_zero_are_not_missing() {
    let files = [
        ("topics.miracl-v1.0-sw-dev.tsv", "1\tone\n2\ttwo\n"),
        ("qrels.miracl-v1.0-sw-dev.tsv", "1\tQ0\td\t1\n1\tQ0\tgone\t0\n2\tQ0\td\t0\n"),
        ("corpus-sw.jsonl", "{\"docid\": \"d\", \"text\": \"t\"}\n"),
    ];
    let notes = read("miracl", &files).notes;
    assert_eq!(
        notes,
        [
            "sw: 1 questions have no relevant document and were left out",
            "sw: 1 documents that are judged 0 are not in the corpus, and were left out"
        ]
    );
}

#[test]
fn parts_are_told_by_the_whole_of_their_name_in_any_case() {
    let files = [
        ("english_collection.tsv", "7\tkelp\n"),
        ("english_queries.dev.tsv", "1\tlarge\n"),
        ("english_queries.dev.small.tsv", "1\tsmall\n"),
        ("qrels.dev.tsv", "1\t0\t7\t1\n"),
        ("qrels.dev.small.tsv", "1\t0\t7\t1\n"),
    ];
    assert_eq!(questions(&read("mmarco[dev]", &files)), ["large"]);
    assert_eq!(questions(&read("mmarco[dev.small]", &files)), ["small"]);
    assert_eq!(read("tevatron[Train]", &[("train.jsonl", TEVATRON)]).questions.len(), 2);
}

#[test]
fn tevatron_files_of_several_languages_have_their_own_documents() {
    let line = |query: &str| {
        format!(
            "{{\"query_id\": 0, \"query\": \"{query}\", \"positive_passages\": [{{\"docid\": 0, \"text\": \"same\"}}]}}"
        )
    };
    let (de, en) = (line("frage"), line("question"));
    let data = read("tevatron", &[("de/train.jsonl", &de), ("en/train.jsonl", &en)]);
    let ids: Vec<&str> = data.passages.iter().map(|p| p.id.as_str()).collect();
    assert_eq!((ids, data.groups[0].relevant.len()), (vec!["de:0", "en:0"], 2));
    let by_id = "{\"query_id\": 0, \"query_text\": \"q\", \"positive_document_ids\": [0]}";
    let corpus = "{\"docid\": 0, \"text\": \"same\", \"language\": \"en\"}";
    let data =
        read("tevatron", &[("de/train.jsonl", by_id), ("en/train.jsonl", by_id), ("corpus.jsonl", corpus)]);
    assert_eq!((data.passages.len(), data.questions.len()), (1, 2), "one corpus serves both");
    let mixed = TEVATRON.replace("\"docid\": 2, \"text\": \"dies\"", "\"docid\": 1, \"text\": \"this\"");
    says(
        &error("tevatron", &[("train.jsonl", &mixed)]),
        &["train.jsonl, line 2", "'1'", "in 'en' and in 'de'"],
    );
}

#[test]
fn what_contradicts_itself_is_refused_or_counted() {
    let image = "{\"image/key\": \"k0\", \"en\": {\"caption\": [\"a\", \"b\"]}}\n";
    says(&error("xm3600", &[("captions.jsonl", &image.repeat(2))]), &["line 2", "'k0'", "comes twice"]);
    let entity =
        "{\"entity_id\": \"Q1\", \"title\": \"t\", \"description\": \"d\", \"description_language\": \"de\"}";
    let mention = |said: &str| {
        format!(
            "{{\"context\": {{\"language\": \"es\", \"text\": \"abc def\"}}, \"mentions\": [{{\"example_id\": \"{said}\", \"entity_id\": \"Q1\", \"mention_span\": {{\"start\": 4, \"end\": 7, \"text\": \"{said}\"}}}}]}}\n"
        )
    };
    let files = |text: &str| {
        let dir =
            files::made(&[("candidate_set_entities.jsonl", entity), ("wikinews_mentions-dev.jsonl", text)]);
        load("mewsli-x", dir.path()).map_err(|e| format!("{e:#}"))
    };
    let data = files(&(mention("def") + &mention("xyz"))).unwrap();
    assert_eq!(questions(&data), ["def: abc def"]);
    says(&data.notes.join("; "), &["1 mentions were left out", "get-mewsli-x.sh"]);
    says(
        &files(&mention("xyz")).unwrap_err(),
        &["wikinews_mentions-dev.jsonl: 1 mentions", "get-mewsli-x.sh"],
    );
    let triples = [
        ("english_collection.tsv", "7\tkelp\n"),
        ("english_queries.train.tsv", "1\twhich\n"),
        ("triples.train.ids.tsv", "1\t7\t8\n"),
    ];
    says(
        &read("mmarco", &triples).notes.join("; "),
        &["en: 1 negatives of the triples are not in its collection"],
    );
}

#[test]
fn columns_that_hold_no_texts_are_named_without_a_panic() {
    let program = common::Program::new();
    for (file, column, kind) in [
        ("categories.parquet", "'language'", "categories"),
        ("structs.parquet", "'negative'", "lists of structs"),
    ] {
        let path = common::root().join("tests/golden").join(file);
        let name = format!("pairs={}", path.display());
        program.fails(&["data", "inspect", &name], &[file, column, kind, "write it anew as texts"]);
    }
    let path = common::root().join("tests/golden/structs.parquet");
    let data = load("pairs[negative=language]", &path).unwrap();
    assert_eq!(questions(&data), ["what", "who"], "a column that nobody asks for does no harm");
}

#[test]
fn mmarco_ids_are_numbers_however_a_file_writes_them() {
    let files = [
        ("german_collection.tsv", "1\teins\n2\tzwei\n"),
        ("english_collection.tsv", "01\tone\n02\ttwo\n"),
        ("german_queries.train.tsv", "1\twas\n"),
        ("english_queries.train.tsv", "001\twhat\n"),
        ("triples.train.tsv", "1\t1\t2\n"),
    ];
    let data = read("mmarco", &files);
    assert_eq!((data.groups.len(), data.groups[0].id.as_str(), data.groups[0].relevant.len()), (1, "1", 2));
    assert!(data.notes.is_empty(), "{:?}", data.notes);
    let qrels = ("qrels.dev.tsv", "0001\t0\t1\t1\n1\t0\t002\t0\n");
    let dev = files.map(|f| if f.0.contains("triples") { qrels } else { f });
    let dev = dev.map(|(n, t)| (n.replace("train", "dev"), t));
    let dev: Vec<(&str, &str)> = dev.iter().map(|(n, t)| (n.as_str(), *t)).collect();
    let judged = read("mmarco[dev]", &dev);
    assert_eq!((judged.groups.len(), judged.groups[0].relevant.len(), judged.negatives[0].len()), (1, 2, 2));
    assert_eq!(judged.passages[2].id, "en_1");
    let with = |text: &'static str| -> Vec<(&str, &str)> {
        dev.iter().map(|(n, t)| (*n, if n.contains("qrels") { text } else { t })).collect()
    };
    says(
        &error("mmarco[dev]", &with("1\t0\tx\t1\n")),
        &["qrels.dev.tsv, line 1", "passage id 'x'", "whole number"],
    );
    let both = error("mmarco[dev]", &with("1\t0\t1\t1\n01\t0\t1\t0\n"));
    says(&both, &["qrels.dev.tsv, line 2", "judged relevant and not relevant"]);
}

#[test]
fn mmarco_counts_no_negative_twice_and_loses_no_positive() {
    let triples = |text: &'static str| {
        [
            ("english_collection.tsv", "1\ta\n2\tb\n3\tc\n4\td\n"),
            ("english_queries.train.tsv", "1\twhat\n"),
            ("triples.train.tsv", text),
        ]
    };
    let repeated = read("mmarco[negatives=1]", &triples("1\t1\t3\n1\t1\t3\n1\t2\t3\n"));
    assert_eq!(repeated.notes, [""; 0]);
    let more = read("mmarco[negatives=1]", &triples("1\t1\t3\n1\t1\t4\n1\t2\t3\n1\t2\t4\n"));
    says(&more.notes.join("; "), &["1 questions have more than 1 negatives"]);
    let both = read("mmarco", &triples("1\t1\t2\n1\t2\t3\n"));
    assert_eq!(both.groups[0].relevant.len(), 2, "what is a negative first may be a positive later");
    assert_eq!(both.negatives[0].iter().map(|n| passages(&both)[*n as usize]).collect::<Vec<_>>(), ["c"]);
}
