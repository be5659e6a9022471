//! Paths and files that no loader can read, files that none should, and what is said of them.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;
#[path = "common/files.rs"]
mod files;

use std::io::Write;

use files::{error, load, made, read, says};
use polymix::corpus::open;
use polymix::spec::Candidate;

#[test]
fn paths_of_the_wrong_kind_say_so() {
    let dir = made(&[("corpus.jsonl/x.txt", "a"), ("file.jsonl", "{}")]);
    let at = |name: &str, below: &str| {
        format!("{:#}", load(name, &dir.path().join(below)).map(|d| d.name).expect_err("must be refused"))
    };
    says(&at("beir", "none"), &["none", "no such file or directory"]);
    says(&at("beir", "file.jsonl"), &["is a file", "give the directory"]);
    says(&at("pairs", "corpus.jsonl"), &["x.txt"]);
    std::fs::create_dir(dir.path().join("hollow")).unwrap();
    says(&at("flag", "hollow"), &["the directory is empty"]);
    std::fs::create_dir_all(dir.path().join("nest/de/old")).unwrap();
    says(&at("flag", "nest"), &["nest: there are only folders", "give the folder with the files"]);
    assert!(
        format!("{:#}", open(&"beir".parse().unwrap(), Candidate::Sentence).unwrap_err())
            .contains("beir=DIR")
    );
}

#[cfg(unix)]
#[test]
fn a_link_to_a_directory_above_is_not_followed_in_circles() {
    let dir = made(&[("en/a.tsv", "question\tpassage\nwhat\tthis\n")]);
    std::os::unix::fs::symlink(dir.path(), dir.path().join("en/back")).unwrap();
    std::os::unix::fs::symlink(".", dir.path().join("en/here")).unwrap();
    let data = load("pairs[language=en]", dir.path()).unwrap();
    assert_eq!((data.questions.len(), data.passages.len()), (1, 1));
    assert!(data.notes.is_empty(), "{:?}", data.notes);
}

#[cfg(unix)]
#[test]
fn a_device_or_a_pipe_is_refused_at_once() {
    let error = |path: &str| {
        format!(
            "{:#}",
            load("pairs[language=en]", std::path::Path::new(path)).map(|d| d.name).expect_err(path)
        )
    };
    says(&error("/dev/zero"), &["/dev/zero", "neither a file nor a directory", "into a file"]);
}

/// What the program says of a file that it may not read. Root may read everything: there it runs as nobody.
#[cfg(unix)]
#[test]
fn a_file_without_permission_says_so() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let allow = |path: &std::path::Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let dir = made(&[("data/a_en.jsonl", "{}")]);
    let path = dir.path().join("data/a_en.jsonl");
    allow(dir.path(), 0o755);
    allow(&path, 0o000);
    let built = std::path::Path::new(env!("CARGO_BIN_EXE_polymix"));
    let mut command = if std::fs::File::open(&path).is_ok() {
        // Its own place may be closed to others.
        let program = dir.path().join("polymix");
        std::fs::copy(built, &program).unwrap();
        let mut command = std::process::Command::new(program);
        command.uid(65534).gid(65534);
        command
    } else {
        std::process::Command::new(built)
    };
    let dataset = format!("flag={}", dir.path().join("data").display());
    let output = command.args(["data", "inspect", &dataset]).current_dir(dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    says(&said, &["a_en.jsonl", "may not be read", "chmod"]);
}

#[test]
fn a_file_of_the_working_directory_is_inspected() {
    let program = common::Program::new();
    std::fs::write(program.dir.path().join("talks.tsv"), "good day\tguten Tag\n").unwrap();
    let name = "pairs[question=1,passage=2,question_language=eng,passage_language=deu]=talks.tsv";
    let shown = program.run(&["data", "inspect", name, "--json", "--model", "demo"]);
    let shown: serde_json::Value =
        serde_json::from_str(&shown.out).unwrap_or_else(|e| panic!("{e}: {shown:?}"));
    assert_eq!(shown["languages"]["de"], serde_json::json!({"questions": 0, "passages": 1}));
    assert_eq!(shown["languages"]["en"], serde_json::json!({"questions": 1, "passages": 0}));
    assert_eq!((&shown["cut"]["passages"], &shown["inputs"][0]["bytes"]), (&0.into(), &19.into()));
}

#[test]
fn inspect_says_how_many_domains_it_leaves_out_and_names_the_dataset_once() {
    let program = common::Program::new();
    let article = |n: usize| {
        serde_json::json!({"title": format!("t{n}"), "paragraphs": [{"context": "c", "qas": [
            {"id": n, "question": "q", "answers": [{"text": "c", "answer_start": 0}]}]}]})
    };
    let file = serde_json::json!({"data": (0..23).map(article).collect::<Vec<_>>()}).to_string();
    std::fs::write(program.dir.path().join("squad.en.json"), file).unwrap();
    let shown = program.ok(&["data", "inspect", "squad=squad.en.json"]);
    says(&shown, &["t19 1, and 3 more\n"]);
    // The other mention of the first is in the remedy, flag=DIR.
    for (name, times) in [("flag", 2), ("mfaq[dev,train]=.", 1)] {
        let output = program.run(&["data", "inspect", name]);
        assert_eq!(output.err.matches(name.split('=').next().unwrap()).count(), times, "{output:?}");
    }
}

const PAIRS: &str = "id\tquestion\tpassage\tlanguage\n1\twhat\tthis\ten\n2\twho\tthey\ten\n";
type Files<'a> = [(&'a str, &'a str)];
const LINE: &str = "{\"query\": \"what\", \"pos\": [\"this\"], \"language\": \"en\"}\n";

#[test]
fn a_file_beside_its_compressed_form_is_refused_and_not_read_twice() {
    let (squad, corpus) = ("{\"data\": []}", "{\"_id\": 1, \"text\": \"t\"}");
    for (name, first, second, text) in [
        ("pairs", "a.tsv", "a.tsv.gz", PAIRS),
        ("flag", "en/a.jsonl", "en/a.jsonl.zst", LINE),
        ("mfaq", "train.jsonl.gz", "train.jsonl.zst", LINE),
        ("tevatron", "train.jsonl", "train.jsonl.gz", LINE),
        ("beir", "corpus.jsonl", "corpus.jsonl.gz", corpus),
        ("squad", "squad.en.json", "squad.en.json.gz", squad),
        ("xquad-r", "en.json", "en.json.zst", squad),
        ("tatoeba", "tatoeba.deu-eng.deu", "tatoeba.deu-eng.deu.gz", "a\n"),
        ("miracl", "topics.dev.tsv", "topics.dev.tsv.gz", "1\ta\n"),
        ("xm3600", "captions.jsonl", "captions.jsonl.gz", "{}"),
    ] {
        says(&error(name, &[(first, text), (second, text)]), &[first, second, "remove one of the two"]);
    }
    // What no loader reads may lie there as it likes.
    let data = read("pairs", &[("a.tsv", PAIRS), ("LICENSE", "free"), ("LICENSE.gz", "free")]);
    assert_eq!(data.questions.len(), 2);
}

#[test]
fn xquad_r_is_read_compressed() {
    let dir = tempfile::tempdir().unwrap();
    common::write_xquadr(dir.path(), &["de", "en"], 2);
    let plain = load("xquad-r", dir.path()).unwrap();
    let text = |code: &str| std::fs::read_to_string(dir.path().join(format!("{code}.json"))).unwrap();
    let (de, en) = (text("de"), text("en"));
    let packed = read("xquad-r", &[("xquad.de.json.zst", &de), ("en.json.gz", &en), ("below/fr.json", "{}")]);
    assert_eq!(packed.hash, plain.hash);
    for wrong in ["", " \n"] {
        says(&error("xquad-r", &[("en.json", wrong)]), &["en.json: is empty"]);
    }
    for (wrong, said) in [(&en[..90], "cut off"), ("[]", "not SQuAD JSON with sentence_breaks")] {
        let message = error("xquad-r", &[("en.json", wrong)]);
        says(&message, &["en.json", said]);
        assert_eq!(message.matches("/en.json").count(), 1, "{message}");
    }
}

fn bytes(dataset: &str, name: &str, bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), bytes).unwrap();
    format!("{:#}", load(dataset, dir.path()).map(|d| format!("{d:?}")).expect_err("must be refused"))
}

#[test]
fn other_encodings_and_line_ends_are_told_with_what_converts_them() {
    let little = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let big = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let four =
        |text: &str, of: fn(u32) -> [u8; 4]| text.chars().flat_map(|c| of(c as u32)).collect::<Vec<u8>>();
    let thai =
        PAIRS.replace("what", "\u{e04}\u{e33}\u{e16}\u{e32}\u{e21}").replace("this", "\u{e19}\u{e35}\u{e48}");
    let marked = format!("\u{feff}{PAIRS}");
    for (text, said) in [
        (little(&thai), "UTF-16LE"),
        (big(&thai), "UTF-16BE"),
        (little(LINE), "UTF-16LE"),
        (little(&marked), "iconv -f UTF-16 "),
        (big(&marked), "iconv -f UTF-16 "),
        (four(&marked, u32::to_le_bytes), "iconv -f UTF-32 "),
        (four(&marked, u32::to_be_bytes), "iconv -f UTF-32 "),
        (four(&thai, u32::to_le_bytes), "UTF-32LE"),
        (four(&thai, u32::to_be_bytes), "UTF-32BE"),
    ] {
        for (dataset, name) in [("pairs", "a.tsv"), ("flag", "a.jsonl"), ("squad", "squad.en.json")] {
            says(&bytes(dataset, name, &text), &[name, "is UTF-", "polymix reads UTF-8", said]);
        }
    }
    let old = PAIRS.replace('\n', "\r");
    says(&error("pairs", &[("a.tsv", &old)]), &["a.tsv", "end in CR alone", r"tr '\r' '\n'"]);
    // Zeros in a text of UTF-8 are not taken for half of a letter.
    assert_eq!(read("pairs", &[("a.tsv", &PAIRS.replace("who", "w\0\0o"))]).questions.len(), 2);
}

#[test]
fn a_byte_order_mark_in_the_middle_belongs_to_no_text() {
    let plain = read("pairs", &[("a.tsv", PAIRS)]);
    let joined = format!("\u{feff}{}", PAIRS.replace("2\twho", "\u{feff}2\twho"));
    for name in ["a.tsv", "a.tsv.zst"] {
        assert_eq!(read("pairs", &[(name, &joined)]).hash, plain.hash, "{name}");
    }
    let parts: Vec<u8> =
        [&joined[..joined.rfind('\u{feff}').unwrap()], &joined[joined.rfind('\u{feff}').unwrap()..]]
            .iter()
            .flat_map(|part| {
                let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gz.write_all(part.as_bytes()).unwrap();
                gz.finish().unwrap()
            })
            .collect();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.tsv.gz"), parts).unwrap();
    assert_eq!(load("pairs", dir.path()).unwrap().hash, plain.hash, "two parts, packed apart");
    let lines = format!("\u{feff}{LINE}\u{feff}{LINE}");
    assert_eq!(read("flag", &[("a.jsonl", &lines)]).questions.len(), 2);
    // The place of what is wrong is counted in the file's own bytes.
    let wrong = [b"{}\n\xef\xbb\xbf{\xff}\n".as_slice()].concat();
    says(&bytes("flag", "a.jsonl", &wrong[3..]), &["line 1: byte 2 is not UTF-8"]);
}

#[test]
fn parquet_says_whether_it_is_empty_cut_off_or_packed() {
    let cut = b"PAR1 and no end";
    says(
        &bytes("pairs", "a.parquet", cut),
        &["a.parquet: not Parquet, or damaged or cut off; fetch it again"],
    );
    says(&bytes("pairs", "a.parquet", b""), &["a.parquet: is empty; fetch it again"]);
    says(&error("pairs", &[("a.parquet.gz", "PAR1")]), &["a.parquet.gz", "unpack it with gunzip"]);
    says(&error("pairs", &[("a.parquet.zst", "PAR1")]), &["a.parquet.zst", "unpack it with unzstd"]);
}

#[test]
fn nothing_to_ask_or_to_find_is_told_with_file_and_reason() {
    says(&error("pairs", &[("a.tsv", PAIRS.lines().next().unwrap())]), &["a.tsv: has a header, but no rows"]);
    let numbers = "pairs[question=1,passage=2,language=en]";
    says(
        &error(numbers, &[("a.tsv", "question\tanswer\n"), ("b.tsv", "question\tanswer\n")]),
        &["a.tsv and 1 more: no questions", "first line was taken for a header"],
    );
    says(
        &error("pairs[question=1,passage=0,language=en]", &[("a.tsv", "a\tb\n")]),
        &["column '0'", "from 1"],
    );
    let squad = |answers: &str| {
        format!(
            "{{\"data\": [{{\"paragraphs\": [{{\"context\": \"A fox. A bee.\", \"qas\": [{{\"id\": 1, \"question\": \"q\", \"answers\": [{answers}]}}]}}]}}]}}"
        )
    };
    let (none, elsewhere) = (squad(""), squad("{\"text\": \"bee\", \"answer_start\": 1}"));
    says(
        &error("squad", &[("squad.en.json", &none)]),
        &["squad.en.json: no questions", "1 questions without an answer"],
    );
    says(
        &error("squad[candidates=sentence]", &[("squad.en.json", &elsewhere)]),
        &["squad.en.json: no questions", "1 questions were dropped", "answer_start"],
    );
    says(&error("squad", &[("squad.en.json", "")]), &["squad.en.json: is empty"]);
    let blank =
        "{\"query_id\": 1, \"query\": \"q\", \"positive_passages\": [{\"docid\": 1, \"text\": \" \"}]}";
    says(
        &error("tevatron", &[("train.en.jsonl", blank)]),
        &["train.en.jsonl: no passages", "1 passages without a text"],
    );
    let alone = "{\"image/key\": \"k\", \"qu\": {\"caption\": [\"atuq\"]}}";
    says(
        &error("xm3600", &[("captions.jsonl", alone)]),
        &["captions.jsonl: no passages", "1 captions are the only"],
    );
}

#[test]
fn questions_that_end_up_without_a_passage_are_noted_by_every_loader() {
    let flag = "{\"query\": \"q\", \"pos\": [\"p\"]}\n{\"query\": \"r\", \"pos\": [\" \"]}\n{\"query\": \"s\", \"pos\": [\"\"]}\n";
    let beir = [
        ("corpus.jsonl", "{\"_id\": 1, \"text\": \" \"}\n{\"_id\": 2, \"text\": \"two\"}\n"),
        ("queries.jsonl", "{\"_id\": \"a\", \"text\": \"one\"}\n{\"_id\": \"b\", \"text\": \"two\"}\n"),
        ("qrels/test.tsv", "a\t1\t1\nb\t2\t1\n"),
    ];
    let mmarco = [
        ("english_collection.tsv", "1\t \n2\tb\n"),
        ("english_queries.train.tsv", "1\twhat\n2\twho\n"),
        ("triples.train.tsv", "1\t1\t2\n2\t2\t1\n"),
    ];
    let cases: [(&str, &Files<'_>, &str); 4] = [
        ("flag", &[("a.en.jsonl", flag)], "2 question ids have no relevant passage, the first is 'a.en:2'"),
        ("beir[language=en]", &beir, "1 question ids have no relevant passage, the first is 'a'"),
        ("mmarco", &mmarco, "1 question ids have no relevant passage, the first is '1'"),
        ("pairs", &[("a.tsv", PAIRS)], ""),
    ];
    for (name, files, note) in cases {
        let notes = read(name, files).notes.join("; ");
        assert!(if note.is_empty() { notes.is_empty() } else { notes.contains(note) }, "{name}: {notes}");
    }
}

#[test]
fn mfaq_shards_without_ids_do_not_collide_and_single_files_keep_their_ids() {
    let page =
        |word: &str| format!("{{\"qa_pairs\": [{{\"question\": \"{word}\", \"answer\": \"a {word}\"}}]}}\n");
    let (one, two) = (page("one"), page("two"));
    let ids =
        |files: &[(&str, &str)]| read("mfaq", files).groups.into_iter().map(|g| g.id).collect::<Vec<_>>();
    let shards = [("en/train-0.jsonl", one.as_str()), ("en/train-1.jsonl", &two), ("de/train.jsonl", &one)];
    assert_eq!(ids(&shards), ["de:1:0", "en:en/train-0:1:0", "en:en/train-1:1:0"]);
    assert_eq!(ids(&shards[1..]), ["de:1:0", "en:1:0"]);
    let french = one.replace("{\"qa_pairs\"", "{\"language\": \"fr\", \"qa_pairs\"");
    let strangers = [("de/train.jsonl", french.as_str()), ("en/train.jsonl", &french)];
    assert_eq!(ids(&strangers), ["fr:de/train:1:0", "fr:en/train:1:0"]);
}

#[test]
fn a_blank_line_of_tatoeba_is_left_out_only_where_both_sides_have_it() {
    let sides = |de: &str, en: &str| made(&[("tatoeba.deu-eng.deu", de), ("tatoeba.deu-eng.eng", en)]);
    let data = load("tatoeba", sides("a\nb\n\n", "c\nd\n\n").path()).unwrap();
    assert_eq!((data.groups.len(), data.notes.len()), (2, 1), "{:?}", data.notes);
    let data = load("tatoeba", sides("a\n \nb\n", "c\n\nd\n").path()).unwrap();
    assert_eq!(data.groups.iter().map(|g| g.id.as_str()).collect::<Vec<_>>(), ["deu-eng:1", "deu-eng:3"]);
    says(&data.notes.join("; "), &["deu-eng: 1 lines that are blank on both sides"]);
    let refused = |de: &str, en: &str| {
        format!("{:#}", load("tatoeba", sides(de, en).path()).map(|d| d.name).expect_err("must be refused"))
    };
    let both = ["tatoeba.deu-eng.deu", "tatoeba.deu-eng.eng"];
    says(&refused("a\n\n", "c\nd\n"), &[both[0], both[1], "deu, line 2: blank, where", "fetch both again"]);
    says(&refused("a\nb\n", "c\n"), &[both[0], both[1], "as many lines", "fetch both again"]);
    says(&refused("\n\n", "\n\n"), &["is empty"]);
}

#[test]
fn settings_that_come_twice_and_codes_that_are_none_are_refused() {
    says(&error("pairs[languages=en+eng]", &[("a.tsv", PAIRS)]), &["languages: 'en' is listed twice"]);
    let number = PAIRS.replace("this\ten", "this\t5");
    says(&error("pairs", &[("a.tsv", &number)]), &["a.tsv, line 2", "\"5\"", "no language code"]);
    says(
        &error("flag[language=5]", &[("a.jsonl", "{\"query\": \"q\", \"pos\": [\"p\"]}")]),
        &["no language code"],
    );
}

/// Where the token cache of `pairs=dl` lies, and whether it was built now.
#[cfg(unix)]
fn prepared(program: &common::Program) -> (String, bool) {
    let out = program.ok(&[
        "data",
        "prepare",
        "pairs=dl",
        "--set",
        "model.base=demo",
        "--cache",
        "tokens",
        "--json",
    ]);
    let said: serde_json::Value = serde_json::from_str(&out).unwrap();
    (said["path"].to_string(), said["built"].as_bool().unwrap())
}

#[cfg(unix)]
#[test]
fn files_that_no_loader_reads_do_not_touch_the_token_cache() {
    let program = common::Program::new();
    let dl = program.dir.path().join("dl");
    std::fs::create_dir(&dl).unwrap();
    std::fs::write(dl.join("a.tsv"), PAIRS).unwrap();
    let link = |name: &str| std::os::unix::fs::symlink("nowhere", dl.join(name)).unwrap();
    link("LICENSE");
    let (place, built) = prepared(&program);
    assert!(built);
    std::fs::write(dl.join("notes.log"), "today").unwrap();
    let pipe = |name: &str| {
        assert!(std::process::Command::new("mkfifo").arg(dl.join(name)).status().unwrap().success());
    };
    pipe("pipe");
    assert_eq!(prepared(&program), (place.clone(), false));
    // What is called like a file of data is missed: the cache of the others does not hide it.
    let prepare = ["data", "prepare", "pairs=dl", "--set", "model.base=demo", "--cache", "tokens"];
    link("b.tsv");
    for command in [&prepare[..], &["data", "inspect", "pairs=dl"]] {
        program.fails(command, &["dl/b.tsv", "a link to a file that is not there", "remove the link"]);
    }
    std::fs::remove_file(dl.join("b.tsv")).unwrap();
    pipe("b.tsv");
    for command in [&prepare[..], &["data", "inspect", "pairs=dl"]] {
        program.fails(command, &["dl/b.tsv", "neither a file nor a directory"]);
    }
    // Another part's is not.
    let other = ["data", "inspect", "pairs[a]=dl"];
    program.ok(&other);
    program.ok(&["data", "prepare", "pairs[a]=dl", "--set", "model.base=demo", "--cache", "tokens"]);
    std::fs::remove_file(dl.join("b.tsv")).unwrap();
    assert_eq!(prepared(&program), (place, false));
    std::fs::write(program.dir.path().join("file"), "").unwrap();
    program.fails(
        &["data", "prepare", "pairs=dl", "--set", "model.base=demo", "--cache", "file"],
        &["POLYMIX_CACHE", "cannot create the directory"],
    );
}
