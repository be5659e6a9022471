//! Every loader on small made files with the traps of its format: counts, identity, relevance, languages.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;
#[path = "common/files.rs"]
mod files;

use std::io::Write;

use files::{error, load, read, says};
use polars::prelude::{Column, DataFrame, ParquetWriter};
use polymix::corpus::Dataset;

/// Passage ids that are relevant to the group, or its negatives.
fn ids<'a>(data: &'a Dataset, list: &[u32]) -> Vec<&'a str> {
    list.iter().map(|p| data.passages[*p as usize].id.as_str()).collect()
}

fn texts<'a>(data: &'a Dataset, list: &[u32]) -> Vec<&'a str> {
    list.iter().map(|p| data.passages[*p as usize].text.as_str()).collect()
}

fn squad(paragraphs: &serde_json::Value) -> String {
    serde_json::json!({"version": "1.1", "data": [{"title": "A_title", "paragraphs": paragraphs}]})
        .to_string()
}

#[test]
fn squad_translations_share_ids_and_keep_misaligned_spans() {
    let english = squad(&serde_json::json!([
        {"context": "The moss grew. The fox slept.", "qas": [
            {"id": "a", "question": "What grew?", "answers": [{"text": "moss", "answer_start": 4}]},
            {"id": "b", "question": "Who slept?", "answers": [{"text": "fox", "answer_start": 19}]},
            {"id": "c", "question": "Who flew?", "answers": [], "is_impossible": true}]},
        {"context": "Nobody asks here.", "qas": []}]));
    // The translated span lies at another place, or is lost (-1).
    let german = squad(&serde_json::json!([
        {"context": "Das Moos wuchs. Der Fuchs schlief.", "qas": [
            {"id": "a", "question": "Was wuchs?", "answers": [{"text": "Moos", "answer_start": -1}]},
            {"id": "b", "question": "Wer schlief?", "answers": [{"text": "Fuchs", "answer_start": 2}]}]}]));
    let files = [("train-v1.1.en.json", english.as_str()), ("squad.translate.train.en-de.json", &german)];
    let data = read("squad", &files);
    assert_eq!(data.languages, ["de", "en"]);
    assert_eq!((data.groups.len(), data.questions.len(), data.passages.len()), (2, 4, 2));
    let mut relevant = ids(&data, &data.groups[0].relevant);
    relevant.sort_unstable();
    assert_eq!(relevant, ["de_1", "en_1"]);
    assert!(data.notes.iter().any(|n| n.starts_with("1 questions without an answer")), "{:?}", data.notes);
    let sentences = read("squad[candidates=sentence]", &files);
    assert_eq!(sentences.passages_in(sentences.language("en").unwrap()).count(), 2);
    let b = sentences.groups.iter().find(|g| g.id == "b").unwrap();
    assert_eq!(ids(&sentences, &b.relevant), ["en_1_1"]);
    assert!(
        sentences.notes.iter().any(|n| n.starts_with("2 questions were dropped")),
        "{:?}",
        sentences.notes
    );
    assert_eq!(data.inputs.len(), 2);
    assert_eq!(data.inputs[0].sha256.len(), 64);
}

#[test]
fn squadshifts_says_which_of_several_answers_counts() {
    let context = "Red kites circle. Some kites are blue. Blue ones sink.";
    let spans = |starts: &[usize]| {
        starts
            .iter()
            .map(|s| serde_json::json!({"text": context.chars().skip(*s).take(3).collect::<String>(), "answer_start": s}))
            .collect::<Vec<_>>()
    };
    let file = squad(&serde_json::json!([{"context": context, "qas": [
        {"id": 1, "question": "Which kites?", "answers": spans(&[0, 23, 23])},
        {"id": 2, "question": "Which sink?", "answers": spans(&[39, 39])}]}]));
    let files =
        [("new_wiki_v1.0.json", file.as_str()), ("reddit_v1.0.json", &file.replace("\"id\":", "\"id\":1"))];
    let whole = read("squadshifts[language=en]", &files);
    assert_eq!((whole.groups.len(), whole.passages.len()), (4, 2));
    assert_eq!(whole.domains, ["new wiki", "reddit"]);
    says(&whole.notes.join("; "), &["4 questions have several answers", "one paragraph"]);
    let first = read("squadshifts[language=en,candidates=sentence]", &files);
    assert_eq!((first.groups.len(), first.passages.len()), (4, 6));
    assert_eq!(texts(&first, &first.groups[0].relevant), ["Red kites circle."]);
    says(&first.notes.join("; "), &["the first one's sentence", "for 2 questions another answer"]);
    let most = read("squadshifts[new_wiki,language=en,candidates=sentence,answer=majority]", &files);
    assert_eq!(texts(&most, &most.groups[0].relevant), ["Some kites are blue."]);
    assert_eq!(most.domains, ["new wiki"]);
}

#[test]
fn mmarco_joins_languages_by_id_and_keeps_the_first_negatives() {
    let collection =
        |mark: &str| format!("7\t{mark} kelp\n10\t{mark} fern\n12\t{mark} reed\n99\t{mark} unused\n");
    let queries =
        |mark: &str| format!("1\t{mark} which alga\n2\t{mark} which plant\n3\t{mark} not in the triples\n");
    let files = [
        ("collections/english_collection.tsv", collection("en")),
        ("collections/chinese_collection.tsv", collection("zh")),
        ("collections/dutch_collection.tsv", collection("nl")),
        ("queries/train/english_queries.train.tsv", queries("en")),
        ("queries/train/chinese_queries.train.tsv", queries("zh")),
        ("queries/dev/english_queries.dev.tsv", queries("dev")),
        ("triples.train.ids.small.tsv", "1\t7\t10\n1\t7\t12\n2\t10\t7\n".to_owned()),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (*n, t.as_str())).collect();
    let data = read("mmarco[negatives=1]", &files);
    assert_eq!(data.languages, ["en", "zh"]);
    assert_eq!((data.groups.len(), data.questions.len(), data.passages.len()), (2, 4, 4));
    let one = data.groups.iter().position(|g| g.id == "1").unwrap();
    assert!(data.groups[one].questions.iter().all(Option::is_some));
    let mut relevant = ids(&data, &data.groups[one].relevant);
    relevant.sort_unstable();
    assert_eq!(relevant, ["en_7", "zh_7"]);
    let mut negatives = ids(&data, &data.negatives[one]);
    negatives.sort_unstable();
    assert_eq!(negatives, ["en_10", "zh_10"]);
    let notes = data.notes.join("; ");
    says(&notes, &["nl: has only a collection", "1 questions have more than 1 negatives"]);
    assert_eq!(read("mmarco[languages=zh]", &files).languages, ["zh"]);
    let cut: Vec<(&str, &str)> = files
        .iter()
        .map(|(n, t)| (*n, if n.contains("chinese_coll") { "10\tzh fern\n" } else { t }))
        .collect();
    says(&error("mmarco", &cut), &["chinese_collection.tsv", "'7'", "fetch the whole file"]);
    let words: Vec<(&str, &str)> =
        files.iter().map(|(n, t)| (*n, if n.contains("triples") { "1\t7\tx\n" } else { t })).collect();
    says(
        &error("mmarco", &words),
        &["triples.train.ids.small.tsv, line 1", "negative id 'x'", "whole number"],
    );
}

#[test]
fn mmarco_dev_is_judged_over_whole_collections() {
    let files = [
        ("english_collection.tsv", "7\ten kelp\n10\ten fern\n12\ten reed\n"),
        ("chinese_collection.tsv", "7\tzh kelp\n10\tzh fern\n12\tzh reed\n"),
        ("english_queries.dev.small.tsv", "1\twhich alga\n2\twhich plant\n3\tnot judged\n"),
        ("chinese_queries.dev.small.tsv", "1\tzh alga\n2\tzh plant\n"),
        ("qrels.dev.small.tsv", "1\t0\t7\t1\n2\t0\t10\t1\n2\t0\t7\t0\n9\t0\t99\t1\n"),
    ];
    let data = read("mmarco[dev]", &files);
    assert_eq!((data.groups.len(), data.questions.len(), data.passages.len()), (2, 4, 6));
    let two = data.groups.iter().position(|g| g.id == "2").unwrap();
    assert_eq!(ids(&data, &data.groups[two].relevant), ["en_10", "zh_10"]);
    assert_eq!(ids(&data, &data.negatives[two]), ["en_7", "zh_7"]);
    let judged = read("mmarco[dev.small,pool=judged,languages=en]", &files);
    assert_eq!(judged.passages.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(), ["en_7", "en_10"]);
    says(&judged.notes.join("; "), &["not comparable"]);
    let change = |name: &str, text: &'static str| -> Vec<(&str, &str)> {
        files.iter().map(|(n, t)| (*n, if *n == name { text } else { t })).collect()
    };
    let cut = change("chinese_collection.tsv", "7\tzh kelp\n");
    says(&error("mmarco[dev]", &cut), &["chinese_collection.tsv", "'10'", "fetch the whole file"]);
    let twice = change("english_collection.tsv", "7\ta\n7\tb\n10\tc\n");
    says(&error("mmarco[dev]", &twice), &["english_collection.tsv, line 2", "'7'", "comes twice"]);
    let other = change("qrels.dev.small.tsv", "5\t0\t7\t1\n");
    says(&error("mmarco[dev]", &other), &["none of its question ids", "qrels.dev.small.tsv"]);
    says(&error("mmarco[dev]", &files[..4]), &["no triples or qrels file of the part"]);
}

#[test]
fn mr_tydi_reads_both_of_its_layouts() {
    let tevatron = r#"{"query_id": "0", "query": "swali", "positive_passages": [{"docid": "5#1", "title": "Kichwa", "text": "Maandishi"}],
        "negative_passages": [{"docid": "6#0", "title": "", "text": "Mengine"}]}"#.replace('\n', " ");
    let data = read(
        "mr-tydi[train]",
        &[
            ("mrtydi-v1.1-swahili/train.jsonl.gz", &tevatron),
            ("mrtydi-v1.1-thai/train.jsonl", &tevatron.replace("swali", "คำถาม")),
        ],
    );
    assert_eq!(data.languages, ["sw", "th"]);
    // Question 0 of one language is not question 0 of another, nor is document 5#1.
    assert_eq!((data.groups.len(), data.questions.len(), data.passages.len()), (2, 2, 4));
    assert_eq!(texts(&data, &data.groups[0].relevant), ["Kichwa Maandishi"]);
    assert_eq!(data.negatives[0].len(), 1);
    let trec = read(
        "mr-tydi[test]",
        &[
            ("mrtydi-v1.1-korean/ir-format-data/topics.test.tsv", "0\t질문\n"),
            ("mrtydi-v1.1-korean/ir-format-data/qrels.test.txt", "0 Q0 9#2 1\n"),
            (
                "mrtydi-v1.1-korean/collection/docs.jsonl.gz",
                "{\"id\": \"9#2\", \"contents\": \"제목\\n\\n글\"}\n",
            ),
        ],
    );
    assert_eq!((trec.languages.as_slice(), trec.passages[0].id.as_str()), (&["ko".to_owned()][..], "ko:9#2"));
}

#[test]
fn mfaq_pages_hold_pairs_in_one_language() {
    let page = r#"{"id": 4, "language": "cmn", "domain": "x.example", "qa_pairs": [{"question": "Q1", "answer": "A1"}, {"question": "Q2", "answer": " "}]}"#;
    let data = read(
        "mfaq",
        &[
            ("de/train.jsonl", r#"{"qa_pairs": [{"question": "F", "answer": "N"}]}"#),
            ("zh/train.jsonl", page),
        ],
    );
    assert_eq!(data.languages, ["de", "zh"]);
    assert_eq!((data.groups.len(), data.passages.len()), (2, 2));
    says(&data.notes.join("; "), &["1 pairs with a blank"]);
}

#[test]
fn tevatron_reads_old_and_new_fields_and_names_a_missing_document() {
    let old = r#"{"query_id": 3, "query": "which?", "positive_passages": [{"docid": 8, "text": "this"}], "negative_passages": [{"docid": 9, "text": "that"}]}"#;
    let data = read("tevatron[language=en]", &[("train.jsonl", old)]);
    assert_eq!((data.groups[0].id.as_str(), ids(&data, &data.negatives[0])), ("3", vec!["9"]));
    let corpus = "{\"docid\": \"8\", \"document_text\": \"this\"}\n{\"docid\": 9, \"text\": \"that\"}\n";
    let new = r#"{"query_id": "3", "query_text": "which?", "positive_document_ids": [8], "negative_document_ids": ["9"], "language": "iw"}"#;
    let data = read("tevatron[language=en]", &[("train.jsonl", new), ("corpus.jsonl.zst", corpus)]);
    assert_eq!(
        (ids(&data, &data.groups[0].relevant), ids(&data, &data.negatives[0])),
        (vec!["8"], vec!["9"])
    );
    assert_eq!(data.languages, ["en", "he"], "a line's own language, in today's code");
    let lost = error(
        "tevatron[language=en]",
        &[("train.jsonl", new), ("corpus.jsonl", "{\"docid\": 9, \"text\": \"that\"}")],
    );
    says(&lost, &["train.jsonl, line 1", "document '8'", "corpus"]);
}

#[test]
fn flag_embedding_lines_are_their_own_questions() {
    let lines = "{\"query\": \"q\", \"pos\": [\"p1\", \"p2\"], \"neg\": [\"n\"], \"pos_scores\": [1.0]}\n{\"query\": \"q\", \"pos\": [\"p3\"], \"neg\": []}\n";
    let data = read("flag", &[("msmarco_en.jsonl", lines)]);
    assert_eq!((data.groups.len(), data.passages.len(), data.groups[0].relevant.len()), (2, 4, 2));
    assert_eq!((data.negatives[0].len(), data.negatives[1].len()), (1, 0));
    says(&error("flag", &[("x_en.jsonl", "{\"query\": \"q\"}")]), &["x_en.jsonl, line 1", "'pos'"]);
}

const PAIRS: &str =
    "id\tquestion\tpassage\tlanguage\nq1\twhat\tthis\ten\nq1\twas\tdies\tde\nq2\twho\tthey\ten\n";

#[test]
fn pairs_read_the_same_from_tsv_json_and_parquet() {
    let tsv = read("pairs", &[("a.tsv", PAIRS)]);
    assert_eq!(
        (tsv.languages.len(), tsv.groups.len(), tsv.questions.len(), tsv.passages.len()),
        (2, 2, 3, 3)
    );
    let json: String = PAIRS
        .lines()
        .skip(1)
        .map(|line| {
            let c: Vec<&str> = line.split('\t').collect();
            serde_json::json!({"id": c[0], "q": c[1], "p": c[2], "language": c[3], "negs": ["no", "never"]})
                .to_string()
                + "\n"
        })
        .collect();
    let mapped = "pairs[question=q,passage=p,negative=negs]";
    let data = read(mapped, &[("a.jsonl.zst", &json)]);
    assert_eq!(data.questions, tsv.questions);
    assert_eq!(texts(&data, &data.negatives[1]), ["no", "never"]);
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<Vec<&str>> = PAIRS.lines().skip(1).map(|l| l.split('\t').collect()).collect();
    let column =
        |name: &str, at: usize| Column::new(name.into(), rows.iter().map(|r| r[at]).collect::<Vec<_>>());
    let mut frame =
        DataFrame::new(3, vec![column("id", 0), column("q", 1), column("p", 2), column("language", 3)])
            .unwrap();
    let file = std::fs::File::create(dir.path().join("a.parquet")).unwrap();
    ParquetWriter::new(file).with_row_group_size(Some(2)).finish(&mut frame).unwrap();
    let parquet = load("pairs[question=q,passage=p]", dir.path()).unwrap();
    assert_eq!(parquet.questions, tsv.questions);
    let wrong = format!("{:#}", load("pairs[question=q,passage=text]", dir.path()).unwrap_err());
    says(&wrong, &["a.parquet", "'text'", "it has id, q, p, language"]);
}

#[test]
fn two_columns_without_a_header_are_parallel_text() {
    let data = read(
        "pairs[question=1,passage=2,question_language=eng,passage_language=deu]",
        &[("talks.tsv", "good day\tguten Tag\nthank you\tdanke\n")],
    );
    assert_eq!(data.languages, ["de", "en"]);
    assert_eq!((data.groups.len(), data.groups[0].questions.clone()), (2, vec![None, Some(0)]));
}

#[test]
fn mlqa_r_is_read_like_xquad_r() {
    let dir = tempfile::tempdir().unwrap();
    common::write_xquadr(dir.path(), &["ar", "vi", "zh"], 3);
    let data = load("mlqa-r[0..2]", dir.path()).unwrap();
    assert_eq!((data.name.as_str(), data.groups.len(), data.passages.len()), ("mlqa-r[0..2]", 4, 12));
    assert_eq!((data.answers.len(), data.inputs.len()), (12, 3));
}

const MIRACL: [(&str, &str); 5] = [
    ("miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-dev.tsv", "2\tswali moja\n3\tswali mbili\n4\thakuna\n"),
    (
        "miracl-v1.0-sw/qrels/qrels.miracl-v1.0-sw-dev.tsv",
        "2\tQ0\t5#0\t1\n2\tQ0\t5#1\t0\n3\tQ0\t6#0\t1\n4\tQ0\t5#1\t0\n",
    ),
    (
        "miracl-corpus-v1.0-sw/docs-0.jsonl.gz",
        "{\"docid\": \"5#0\", \"title\": \"Tembo\", \"text\": \"mkubwa\"}\n{\"docid\": \"5#1\", \"title\": \"Tembo\", \"text\": \"mdogo\"}\n",
    ),
    (
        "miracl-corpus-v1.0-sw/docs-1.jsonl.gz",
        "{\"docid\": \"6#0\", \"title\": \"Simba\", \"text\": \"mkali\"}\n",
    ),
    ("miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-train.tsv", "9\tnyingine\n"),
];

#[test]
fn miracl_encodes_titles_and_takes_judged_zero_for_no_answer() {
    let data = read("miracl[dev]", &MIRACL);
    assert_eq!((data.groups.len(), data.questions.len(), data.passages.len()), (2, 2, 3));
    assert_eq!(texts(&data, &data.groups[0].relevant), ["Tembo mkubwa"]);
    assert_eq!(ids(&data, &data.negatives[0]), ["sw:5#1"]);
    says(&data.notes.join("; "), &["1 questions have no relevant document", "1 documents are judged 0"]);
    let without: Vec<(&str, &str)> = MIRACL.into_iter().filter(|f| !f.0.contains("docs-1")).collect();
    says(&error("miracl", &without), &["qrels.miracl-v1.0-sw-dev.tsv, line 3", "'6#0'", "shards"]);
    says(&error("miracl[testA]", &MIRACL), &["testA", "topics"]);
    let hidden = MIRACL.map(|(name, text)| (name.replace("sw-dev", "sw-testA"), text));
    let hidden: Vec<(&str, &str)> = hidden.iter().map(|(n, t)| (n.as_str(), *t)).collect();
    assert_eq!(read("miracl[testA]", &hidden).groups, data.groups);
}

const BEIR: [(&str, &str); 4] = [
    (
        "corpus.jsonl",
        "{\"_id\": \"d1\", \"title\": \"Kelp\", \"text\": \"grows\"}\n{\"_id\": 2, \"title\": \"\", \"text\": \"sinks\"}\n",
    ),
    (
        "queries.jsonl",
        "{\"_id\": \"q1\", \"text\": \"what grows\"}\n{\"_id\": \"q2\", \"text\": \"of another split\"}\n",
    ),
    ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\t2\t0\n"),
    ("qrels/dev.tsv", "q2\td1\t1\n"),
];

#[test]
fn beir_sniffs_the_header_and_leaves_other_splits_out() {
    let data = read("beir[language=en]", &BEIR);
    assert_eq!((data.groups.len(), data.passages.len(), data.groups[0].relevant.len()), (1, 2, 1));
    assert_eq!((data.passages[0].text.as_str(), data.passages[1].text.as_str()), ("Kelp grows", "sinks"));
    let dev = read("beir[dev,language=en]", &BEIR);
    assert_eq!(dev.groups[0].id, "q2", "a first line that is no header counts");
    says(&error("beir", &BEIR), &["corpus.jsonl, line 1", "[language=en]"]);
    says(&error("beir[train,language=en]", &BEIR), &["'train'", "test.tsv"]);
    let mut lost = BEIR;
    lost[2].1 = "q1\td1\t1\nq1\td7\t1\n";
    says(&error("beir[language=en]", &lost), &["qrels/test.tsv, line 2", "'d7'", "not in the corpus"]);
    let mut twice = BEIR;
    twice[0].1 = "{\"_id\": \"d1\", \"text\": \"a\"}\n{\"_id\": \"d1\", \"text\": \"b\"}\n";
    says(&error("beir[language=en]", &twice), &["corpus.jsonl, line 2", "'d1'", "comes twice"]);
}

#[test]
fn beir_with_a_directory_a_language_is_parallel() {
    let files: Vec<(String, &str)> =
        ["de", "en"].iter().flat_map(|l| BEIR.iter().map(move |(n, t)| (format!("{l}/{n}"), *t))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (n.as_str(), *t)).collect();
    let data = read("beir", &files);
    assert_eq!((data.groups.len(), data.questions.len(), data.passages.len()), (1, 2, 4));
    assert_eq!(ids(&data, &data.groups[0].relevant), ["de:d1", "en:d1"]);
}

#[test]
fn tatoeba_lines_are_translations_and_must_be_as_many() {
    let files = [
        ("tatoeba.deu-eng.deu", "Guten Tag.\nDanke.\n"),
        ("tatoeba.deu-eng.eng", "Good day.\nThanks.\n"),
        ("tatoeba.swh-eng.swh", "Habari.\n"),
        ("tatoeba.swh-eng.eng", "Good day.\n"),
    ];
    let data = read("tatoeba", &files);
    assert_eq!(data.languages, ["de", "en", "sw"]);
    assert_eq!((data.groups.len(), data.passages.len()), (3, 6));
    assert_eq!(read("tatoeba[swh]", &files).groups.len(), 1);
    says(&error("tatoeba[fr]", &files), &["de, sw"]);
    let mut short = files;
    short[1].1 = "Good day.\n";
    says(&error("tatoeba[de]", &short), &["tatoeba.deu-eng.eng", "ends at line 1", "as many lines"]);
    says(&error("tatoeba", &files[..3]), &["swh-eng", "missing"]);
}

#[test]
fn mewsli_asks_with_mention_and_sentence() {
    let entities = "{\"entity_id\": \"Q1\", \"title\": \"Moos\", \"description\": \"eine Pflanze\", \"description_language\": \"de\", \"sentence_spans\": []}\n{\"entity_id\": \"Q2\", \"title\": \"Fox\", \"description\": \"an animal\", \"description_language\": \"en\"}\n";
    let mentions = serde_json::json!({"context": {"document_id": "x", "language": "es", "text": "𝒳 cayó. Creció el musgo.",
        "sentence_spans": [{"start": 0, "end": 7}, {"start": 8, "end": 24}]},
        "mentions": [{"example_id": "m1", "entity_id": "Q1", "mention_span": {"start": 18, "end": 23, "text": "musgo"}}]})
    .to_string();
    let files =
        [("candidate_set_entities.jsonl", entities), ("wikinews_mentions-dev.jsonl", mentions.as_str())];
    let data = read("mewsli-x", &files);
    assert_eq!(data.questions[0].text, "musgo: Creció el musgo.");
    assert_eq!((ids(&data, &data.groups[0].relevant), data.passages.len()), (vec!["Q1"], 2));
    let empty = mentions.replace("𝒳 cayó. Creció el musgo.", "");
    let message = error("mewsli-x", &[files[0], ("wikinews_mentions-dev.jsonl", &empty)]);
    says(&message, &["line 1", "context.text", "get-mewsli-x.sh"]);
    let lost = mentions.replace("Q1", "Q7");
    says(&error("mewsli-x", &[files[0], ("wikinews_mentions-dev.jsonl", &lost)]), &["'Q7'", "line 1"]);
}

#[test]
fn xm3600_goes_from_caption_to_other_captions() {
    let line = serde_json::json!({"image/key": "0f", "image/locale": "fil", "en": {"caption": ["a fox", "one fox", "fox"], "caption/tokenized": ["a", "b"]},
        "fil": {"caption": ["isang soro"]}, "quz": {"caption": ["atuq", "huk atuq"]}})
    .to_string();
    let data = read("xm3600", &[("captions.jsonl", &line)]);
    assert_eq!(data.languages, ["en", "qu", "tl"]);
    assert_eq!((data.questions.len(), data.passages.len(), data.groups[0].relevant.len()), (3, 3, 3));
    says(&data.notes.join("; "), &["1 captions are the only ones"]);
    assert_eq!(read("xm3600[languages=quz]", &[("captions.jsonl", &line)]).languages, ["qu"]);
}

#[test]
fn compressed_marked_and_dos_files_read_like_plain_ones() {
    let plain = read("pairs", &[("a.tsv", PAIRS)]);
    let dos = format!("\u{feff}{}", PAIRS.replace('\n', "\r\n"));
    for name in ["a.tsv", "a.tsv.gz", "a.tsv.zst"] {
        let data = read("pairs", &[(name, &dos)]);
        assert_eq!(data.hash, plain.hash, "{name}");
    }
}

#[test]
fn bad_input_names_file_line_field_and_remedy() {
    let bytes = |name: &str, bytes: &[u8], dataset: &str| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(name), bytes).unwrap();
        format!("{:#}", load(dataset, dir.path()).map(|d| d.name).expect_err("must be refused"))
    };
    let latin = b"id\tquestion\tpassage\tlanguage\nq\tca\xe9f\tx\ten\n";
    says(&bytes("a.tsv", latin, "pairs"), &["a.tsv, line 2", "byte 5 is not UTF-8", "iconv"]);
    let json = b"{\"query\": \"a\", \"pos\": [\"b\"]}\n\n{\"query\": \"\xff\"}\n";
    says(&bytes("a_en.jsonl", json, "flag"), &["a_en.jsonl, line 3", "not UTF-8"]);
    let squad = b"{\"data\":\n[\xe9]}";
    says(&bytes("en.json", squad, "squad"), &["en.json, line 2", "byte 2"]);
    says(&bytes("a.tsv", b"\xff\xfei\0d\0", "pairs"), &["UTF-16", "iconv"]);
    // Converting the whole of a file that is UTF-8 but for one line would spoil it.
    let mixed = b"question\tpassage\nh\xc3\xa9\tab\nh\xe9\tcd\n";
    let said = bytes("b_en.tsv", mixed, "pairs");
    says(&said, &["b_en.tsv, line 3", "what comes before is", "iconv -c"]);
    assert!(!said.contains("LATIN1"), "{said}");
    for empty in [&b""[..], b"\xef\xbb\xbf", b"\r\n\r\n"] {
        says(&bytes("a_en.jsonl", empty, "flag"), &["a_en.jsonl", "is empty"]);
    }
    says(&bytes("a.tsv", b"", "pairs"), &["a.tsv", "is empty"]);
    let gz = {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all("{\"query\": \"a\", \"pos\": [\"b\"]}\n".repeat(900).as_bytes()).unwrap();
        gz.finish().unwrap()
    };
    says(
        &bytes("a_en.jsonl.gz", &gz[..gz.len() - 9], "flag"),
        &["a_en.jsonl.gz", "cut off", "fetch it again"],
    );
    says(&bytes("a_en.parquet", b"PAR1nonsense", "pairs"), &["a_en.parquet", "not Parquet"]);
    says(
        &error("pairs", &[("a.tsv", "id\tquery\tpassage\tlanguage\n1\ta\tb\ten\n")]),
        &["no column 'question'", "pairs[question=COLUMN]", "id, query, passage, language"],
    );
    says(
        &error("pairs", &[("a.tsv", &PAIRS.replace("was\tdies", "was\tdies\tdas"))]),
        &["a.tsv, line 3", "5 columns", "have 4"],
    );
    says(
        &error("pairs", &[("a.tsv", &PAIRS.replace("was\tdies\tde", "which\tdies\ten"))]),
        &["a.tsv, line 3", "'q1'", "comes twice"],
    );
    says(&error("pairs", &[("a.tsv", &PAIRS.replace("\tde\n", "\ta b\n"))]), &["line 3", "no language code"]);
    says(&error("pairs[langage=en]", &[("a.tsv", PAIRS)]), &["langage=en", "no such setting", "language"]);
    says(
        &error("flag", &[("a_en.jsonl", "{\"query\": 3, \"pos\": [\"b\"]}")]),
        &["line 1", "'query'", "a number"],
    );
    says(&error("flag", &[("a_en.jsonl", "{\"query\": ")]), &["line 1", "not a JSON object"]);
    let deep = format!("{{\"query\": {}", "[".repeat(100_000));
    says(&error("flag", &[("a_en.jsonl", &deep)]), &["line 1", "recursion"]);
    says(
        &error("beir[language=en]", &[BEIR[0], BEIR[1], ("qrels/test.tsv", "q1\td1\n")]),
        &["test.tsv, line 1", "2 columns"],
    );
    let half = "q1\td1\t1\nq1\td1\tyes\n";
    says(&error("beir[language=en]", &[BEIR[0], BEIR[1], ("qrels/test.tsv", half)]), &["line 2", "'yes'"]);
}
