//! Folders as people have them: clones without their large files, originals beside translations, several translations, other
//! codes of a language; and settings as people write them.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/files.rs"]
mod files;

use files::{error, load, made, read, says};
use polymix::corpus::Dataset;
use serde_json::json;

/// What is said of a path that is refused.
fn refused(name: &str, path: &std::path::Path) -> String {
    format!("{:#}", load(name, path).map(|d| format!("{d:?}")).expect_err(name))
}

fn negatives(data: &Dataset) -> usize {
    data.negatives.iter().map(Vec::len).sum()
}

#[test]
fn old_codes_on_the_command_line_and_in_a_spec_are_those_of_today() {
    let program = common::small_program();
    let row = |language: &str, id: usize| {
        json!({"id": id, "language": language, "question": format!("river {language} {id}"),
               "passage": format!("house {id} {language}")})
    };
    let rows: String =
        (0..24).flat_map(|id| ["iw", "en", "fil"].map(|l| format!("{}\n", row(l, id)))).collect();
    std::fs::write(program.dir.path().join("rows.jsonl"), rows).unwrap();
    let base = ["evaluate", "--model", "model", "--data", "pairs=rows.jsonl", "--device", "cpu", "--json"];
    let languages = |codes: &str| {
        let out = program.ok(&[&base[..], &["--languages", codes]].concat());
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        value["languages"].clone()
    };
    assert_eq!(languages("iw,EN"), json!(["he", "en"]));
    assert_eq!(languages("fil,eng_Latn"), json!(["tl", "en"]));
    program.fails(&[&base[..], &["--languages", "en,"]].concat(), &["empty code"]);
    let spec = "name = \"old\"\nlanguages = [\"iw\", \"EN\"]\n[adapters]\nkind = \"lora\"\nlanguages = [\"iw\"]\n\
        [model]\nbase = \"model\"\nmax_query_tokens = 16\nmax_passage_tokens = 16\n[data]\ntrain = [\"pairs=rows.jsonl\"]\n\
        validation = []\nevaluation = []\n[train]\nsteps = 2\nbatch = 4\nvalidate_every = 0\ndevice = \"cpu\"\n\
        early_stopping = { patience = 0, min_delta = 0.0 }\n";
    std::fs::write(program.dir.path().join("old.toml"), spec).unwrap();
    program.ok(&["train", "old.toml", "--run-dir", "run"]);
    let saved = std::fs::read_to_string(program.dir.path().join("run/spec.toml")).unwrap();
    says(&saved, &["\"he\"", "\"en\""]);
    assert!(!saved.contains("\"iw\"") && !saved.contains("\"EN\""), "{saved}");
}

#[test]
fn languages_are_joined_by_plus_whatever_the_dataset() {
    let three = "question\tpassage\tlanguage\na\tb\ten\nc\td\tde\ne\tf\tzh\n";
    let file = made(&[("three.tsv", three)]);
    for name in ["pairs", "miracl", "squad", "flag", "tatoeba", "mmarco", "xquad-r"] {
        let message = refused(&format!("{name}[languages=en,de]"), file.path());
        says(&message, &["languages=en,de", "write languages=en+de"]);
    }
    let path = file.path().join("three.tsv");
    assert_eq!(load("pairs[languages=en+de]", &path).unwrap().languages, ["de", "en"]);
    let demo = |text: &str| polymix::corpus::open(&text.parse().unwrap(), polymix::spec::Candidate::Sentence);
    says(&format!("{:#}", demo("demo[train,languages=de,zh]").unwrap_err()), &["write languages=de+zh"]);
    // A file has no parts; those of a folder are words in its files' names.
    says(&refused("pairs[foo]", &path), &["part 'foo'", "does not say 'foo'", "leave 'foo' out"]);
    says(&refused("pairs[foo]", file.path()), &["no .tsv", "with 'foo' in its name"]);
    assert_eq!(load("pairs[three]", &path).unwrap().groups.len(), 3);
    assert_eq!(load("pairs[three]", file.path()).unwrap().groups.len(), 3);
}

#[test]
fn languages_choose_among_those_of_the_demo_and_of_xquad_r() {
    let demo = |text: &str| polymix::corpus::open(&text.parse().unwrap(), polymix::spec::Candidate::Sentence);
    let (all, two) =
        (demo("demo[validation]").unwrap(), demo("demo[validation,languages=zh_Hans+de]").unwrap());
    assert_eq!(two.languages, ["de", "zh"]);
    let kept = all.restrict(&["de".into(), "zh".into()]).unwrap();
    assert_eq!((&two.questions, &two.passages, &two.hash), (&kept.questions, &kept.passages, &kept.hash));
    says(&format!("{:#}", demo("demo[languages=sw]").unwrap_err()), &["there is no 'sw'", "ar, de, el"]);
    says(&format!("{:#}", demo("demo[train,x=1]").unwrap_err()), &["'x=1'", "no such setting"]);
    says(&format!("{:#}", demo("demo[none]").unwrap_err()), &["'none'", "train, validation and evaluation"]);
    let dir = tempfile::tempdir().unwrap();
    common::write_xquadr(dir.path(), &["de", "en", "zh"], 6);
    for name in ["xquad-r", "mlqa-r"] {
        let all = load(&format!("{name}[0..4]"), dir.path()).unwrap();
        let two = load(&format!("{name}[0..4,languages=en+cmn]"), dir.path()).unwrap();
        let kept = all.restrict(&["en".into(), "zh".into()]).unwrap();
        let relevant = |data: &Dataset| data.groups.iter().map(|g| g.relevant.clone()).collect::<Vec<_>>();
        let asked = |data: &Dataset| {
            let mut all: Vec<_> =
                (data.questions.iter()).map(|q| (q.group, q.language, q.text.clone())).collect();
            all.sort();
            all
        };
        assert_eq!((&two.languages, &two.passages), (&kept.languages, &kept.passages));
        assert_eq!((relevant(&two), asked(&two)), (relevant(&kept), asked(&kept)));
        assert_eq!((two.questions.len(), two.inputs.len()), (16, 2));
        let message = refused(&format!("{name}[languages=sw]"), dir.path());
        says(&message, &["there is no 'sw'", "there are de, en, zh"]);
        says(&refused(&format!("{name}[few]"), dir.path()), &["range of articles"]);
    }
}

/// `SQuAD` with these question ids.
fn squad(mark: &str, ids: &[usize]) -> String {
    let qas: Vec<_> = (ids.iter())
        .map(|id| json!({"id": format!("q{id}"), "question": format!("{mark} {id}?"), "answers": [{"text": mark, "answer_start": 0}]}))
        .collect();
    json!({"data": [{"title": "t", "paragraphs": [{"context": format!("{mark} text"), "qas": qas}]}]})
        .to_string()
}

#[test]
fn squad_beside_its_translations_shares_their_ids() {
    let dir = made(&[
        ("train-v1.1.json", &squad("en", &[1, 2])),
        ("squad.translate.train.en-ar.json", &squad("ar", &[1, 2])),
        ("squad.translate.train.en-de.json", &squad("de", &[1, 2])),
        ("squad.translate.train.en-zh.json", &squad("zh", &[2])),
    ]);
    let message = refused("squad", dir.path());
    says(&message, &["train-v1.1.json", "no language", "train-v1.1.en.json", "squad[language=en]"]);
    says(&refused("squad[train]", dir.path()), &["squad[train,language=en]"]);
    // Each remedy does what it says.
    let check = |name: &str| {
        let data = load(name, dir.path()).unwrap();
        assert_eq!(data.languages, ["ar", "de", "en", "zh"], "{name}");
        assert_eq!((data.groups.len(), data.questions.len(), data.passages.len()), (2, 7, 4), "{name}");
        for question in &data.questions {
            let code = &data.languages[usize::from(question.language)];
            assert!(question.text.starts_with(code.as_str()), "{name}: {} is not {code}", question.text);
        }
    };
    check("squad[language=en]");
    check("squad[train,language=en]");
    assert_eq!(load("squad[language=en,languages=de+en]", dir.path()).unwrap().languages, ["de", "en"]);
    std::fs::rename(dir.path().join("train-v1.1.json"), dir.path().join("train-v1.1.en.json")).unwrap();
    check("squad");
    check("squad[train]");
    std::fs::write(dir.path().join("dev-v1.1.json"), squad("en", &[3])).unwrap();
    says(
        &refused("squad[language=en]", dir.path()),
        &["two files for the language 'en'", "squad[train,language=en]"],
    );
    check("squad[train]");
}

#[test]
fn language_never_overrides_what_a_files_name_says() {
    let dir = made(&[("squad.translate.train.en-zh.json", &squad("zh", &[1]))]);
    let file = dir.path().join("squad.translate.train.en-zh.json");
    for path in [dir.path(), &file] {
        says(&refused("squad[language=de]", path), &["language=de", "en-zh.json says 'zh'", "leave it out"]);
    }
    assert_eq!(load("squad[language=zh]", &file).unwrap().languages, ["zh"]);
    let triple = json!({"query_id": "0", "query": "q", "positive_passages": [{"docid": "1", "text": "p"}]})
        .to_string();
    let arabic = made(&[("mrtydi-v1.1-arabic/train.jsonl", &triple)]);
    for name in ["mr-tydi", "tevatron", "flag"] {
        let message = refused(&format!("{name}[language=en]"), arabic.path());
        says(&message, &["language=en", "says 'ar'"]);
    }
    // The folder's own name is what a remedy proposes, and what a note says where it is contradicted.
    let folder = arabic.path().join("mrtydi-v1.1-arabic");
    for path in [&folder, &folder.join("train.jsonl")] {
        says(&refused("tevatron[train]", path), &["write tevatron[train,language=ar]"]);
        let data = load("tevatron[train,language=ar]", path).unwrap();
        assert_eq!((data.languages.as_slice(), data.notes.len()), (&["ar".to_owned()][..], 0));
        let stated = load("tevatron[language=fa]", path).unwrap();
        assert_eq!(stated.languages, ["fa"]);
        says(&stated.notes.join("; "), &["language=fa counts", "'ar'"]);
    }
    // Of several files those that say another language are named.
    let flag = json!({"query": "q", "pos": ["p"], "neg": []}).to_string();
    let two = made(&[("train.jsonl", &flag), ("train.de-dup.jsonl", &flag)]);
    let data = load("flag[language=en]", two.path()).unwrap();
    assert_eq!(data.languages, ["de", "en"]);
    says(&data.notes.join("; "), &["train.de-dup.jsonl: read as 'de'", "language=en is for files"]);
    says(&refused("mr-tydi", &folder), &["write mr-tydi[language=ar]"]);
    assert_eq!(load("mr-tydi[language=arabic]", &folder).unwrap().languages, ["ar"]);
}

#[test]
fn mr_tydis_hard_negatives_are_taken_though_topics_lie_beside_them() {
    let triples = [
        json!({"query_id": "1", "query": "a", "positive_passages": [{"docid": "1#0", "title": "", "text": "x"}],
            "negative_passages": [{"docid": "2#0", "title": "", "text": "y"}, {"docid": "9#9", "title": "", "text": "gone"}]}),
        json!({"query_id": "5", "query": "b", "positive_passages": [{"docid": "2#0", "title": "", "text": "y"}],
            "negative_passages": [{"docid": "1#0", "title": "", "text": "x"}]}),
    ];
    let triples = triples.map(|t| t.to_string()).join("\n");
    let corpus = "{\"docid\": \"1#0\", \"text\": \"x\"}\n{\"docid\": \"2#0\", \"text\": \"y\"}\n";
    let ir = [
        ("mrtydi-v1.1-swahili/ir-format-data/topics.train.tsv", "1\ta\n"),
        ("mrtydi-v1.1-swahili/ir-format-data/qrels.train.txt", "1 Q0 1#0 1\n"),
        ("mrtydi-v1.1-swahili/corpus.jsonl.gz", corpus),
    ];
    let train = ("mrtydi-v1.1-swahili/train.jsonl.gz", triples.as_str());
    let both = read("mr-tydi", &[&ir[..], &[train]].concat());
    assert_eq!((both.groups.len(), both.passages.len(), negatives(&both)), (1, 2, 1));
    assert_eq!(both.passages[both.negatives[0][0] as usize].id, "sw:2#0");
    says(&both.notes.join("; "), &["1 negatives of train.jsonl are not in the corpus"]);
    let alone = read("mr-tydi", &ir);
    assert_eq!(negatives(&alone), 0);
    says(&alone.notes.join("; "), &["sw: no hard negatives", "train.jsonl.gz"]);
}

#[test]
fn mmarco_with_two_translations_reads_the_one_that_is_named() {
    let mut files = vec![("triples.train.ids.small.tsv".to_owned(), "1\t7\t10\n".to_owned())];
    files.push(("qrels.dev.small.tsv".into(), "1\t0\t7\t1\n".into()));
    for by in ["google", "helsinki"] {
        for language in ["arabic", "german"] {
            let texts = format!("7\t{by} {language}\n10\t{by} other\n");
            files.push((format!("{by}/collections/{language}_collection.tsv"), texts));
            for part in ["train", "dev.small"] {
                let folder = &part[..part.find('.').unwrap_or(part.len())];
                files.push((
                    format!("{by}/queries/{folder}/{language}_queries.{part}.tsv"),
                    format!("1\t{by}\n"),
                ));
            }
        }
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    let dir = made(&files);
    says(&refused("mmarco", dir.path()), &["google and helsinki", "name one, as mmarco[google]"]);
    says(&refused("mmarco[dev.small]", dir.path()), &["name one, as mmarco[google,dev.small]"]);
    for by in ["google", "helsinki"] {
        let train = load(&format!("mmarco[{by}]"), dir.path()).unwrap();
        assert_eq!((train.languages.len(), negatives(&train)), (2, 2), "{by}");
        let dev = load(&format!("mmarco[dev.small,{by},languages=de]"), dir.path()).unwrap();
        assert_eq!((dev.languages.len(), dev.passages.len()), (1, 2), "{by}");
        assert!(train.passages.iter().chain(&dev.passages).all(|p| p.text.starts_with(by)), "{by}");
        // The folder alone lacks what stands above it.
        let own = dir.path().join(by);
        let message = refused("mmarco", &own);
        let whole = dir.path().canonicalize().unwrap();
        says(&message, &["no triples", "the folder above", &format!("mmarco[{by}]={}", whole.display())]);
        let message = refused("mmarco[dev.small,pool=judged]", &own);
        says(
            &message,
            &["qrels.dev.small.tsv", &format!("mmarco[{by},dev.small,pool=judged]={}", whole.display())],
        );
    }
    says(&refused("mmarco[google,helsinki]", dir.path()), &["name one part"]);
    // Collections that lie above a translation are those of none.
    let above: Vec<(String, &str)> = files
        .iter()
        .filter(|(n, _)| n.starts_with("google"))
        .map(|(n, _)| (n.trim_start_matches("google/").to_owned(), "7\tabove\n10\tabove\n"))
        .collect();
    let both: Vec<(&str, &str)> =
        files.iter().copied().chain(above.iter().map(|(n, t)| (n.as_str(), *t))).collect();
    let google = load("mmarco[google]", made(&both).path()).unwrap();
    assert!(google.passages.iter().all(|p| p.text.starts_with("google")), "{:?}", google.passages);
    // The hub's repository as it is cloned: everything in `data`.
    let cloned: Vec<(String, &str)> = files.iter().map(|(n, t)| (format!("data/{n}"), *t)).collect();
    let cloned = made(&cloned.iter().map(|(n, t)| (n.as_str(), *t)).collect::<Vec<_>>());
    says(&refused("mmarco", cloned.path()), &["google and helsinki", "mmarco[google]"]);
    let helsinki = load("mmarco[helsinki]", cloned.path()).unwrap();
    assert_eq!((helsinki.languages.len(), negatives(&helsinki)), (2, 2));
    assert!(helsinki.passages.iter().all(|p| p.text.starts_with("helsinki")));
    let bare: Vec<(&str, &str)> = files.iter().filter(|(n, _)| n.starts_with("google")).copied().collect();
    says(&error("mmarco", &bare), &["no triples", "beside the folders google and helsinki"]);
}

#[test]
fn a_pointer_of_git_lfs_and_a_web_page_are_named_as_what_they_are() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n";
    let page = "\u{feff}\n<!DOCTYPE html>\n<html><body>Sign in</body></html>\n";
    let cases = [
        ("squad", "train.en.json"),
        ("pairs", "a.en.tsv"),
        ("pairs", "a.en.jsonl.gz"),
        ("pairs", "a.en.parquet"),
        ("flag", "a.en.jsonl"),
        ("mfaq", "train.en.jsonl"),
        ("xm3600", "captions.jsonl"),
        ("xquad-r", "en.json"),
    ];
    for (name, file) in cases {
        says(&error(name, &[(file, pointer)]), &["is a Git LFS pointer", "git lfs pull"]);
        says(&error(name, &[(file, page)]), &["is a web page", "fetch the file again"]);
    }
    let tatoeba = [("tatoeba.deu-eng.deu", pointer), ("tatoeba.deu-eng.eng", pointer)];
    says(&error("tatoeba", &tatoeba), &["is a Git LFS pointer"]);
    let qrels = [
        ("corpus.jsonl", "{\"_id\": \"d\", \"text\": \"t\"}\n"),
        ("queries.jsonl", "{\"_id\": \"q\", \"text\": \"t\"}\n"),
        ("qrels/test.tsv", pointer),
    ];
    says(&error("beir[language=en]", &qrels), &["test.tsv: is a Git LFS pointer"]);
    // Of a model every file that is one.
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        let model = common::tiny_model();
        std::fs::write(model.path().join(file), pointer).unwrap();
        let error = polymix::encoder::ModelFiles::read(model.path(), polymix::spec::Pooling::Auto);
        says(&format!("{:#}", error.err().unwrap()), &[file, "is a Git LFS pointer", "git lfs pull"]);
    }
}

#[test]
fn codes_with_the_usual_script_are_the_language() {
    let row = |language: &str, id: usize| {
        format!(
            "{}\n",
            json!({"id": id, "question": "q", "passage": format!("{language} p"), "language": language})
        )
    };
    let rows = [
        row("eng_Latn", 1),
        row("en", 2),
        row("arb_Arab", 1),
        row("ar", 2),
        row("swh_Latn", 1),
        row("srp_Latn", 1),
    ];
    let data = read("pairs", &[("a.jsonl", &rows.concat())]);
    assert_eq!(data.languages, ["ar", "en", "sr-latn", "sw"]);
}

#[test]
fn what_is_left_of_nothing_says_why() {
    let flag = "{\"query\": \"q\", \"pos\": [\"p\"]}\n";
    let message = error("flag[language=en,without=all]", &[("a.jsonl", flag)]);
    says(&message, &["without=all: no question is left of 1", "domains are all"]);
    let parquet = [("corpus/corpus-0.parquet", "PAR1"), ("queries/queries-0.parquet", "PAR1")];
    let message = error("beir[language=en]", &parquet);
    says(&message, &["no corpus.jsonl, but Parquet", "corpus/corpus-0.parquet", "to_json"]);
    let quoted = "question\tpassage\n\"He said \"\"hi\"\"\"\tplain\nother\t\"so\"\n";
    let data = read("pairs[language=en]", &[("a.tsv", quoted)]);
    says(&data.notes.join("; "), &["2 texts begin and end with a quote mark", "QUOTE_NONE"]);
    assert_eq!(data.questions[0].text, "\"He said \"\"hi\"\"\"");
}
