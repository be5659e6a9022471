//! Entries of the built-in catalogue: what `data fetch` brings from a hub on loopback, in the layout of the real
//! repositories, can be read, evaluated and trained on.
#![allow(clippy::unwrap_used)]

#[path = "common/case.rs"]
#[allow(dead_code)]
mod case;
mod common;
#[path = "common/hub.rs"]
mod hub;

use std::io::Write;

use case::Case;
use serde_json::Value;

const WORDS: [&str; 12] =
    ["river", "house", "stone", "bird", "light", "tree", "water", "night", "field", "road", "wind", "fire"];

fn gzip(text: &str) -> Vec<u8> {
    let mut file = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    file.write_all(text.as_bytes()).unwrap();
    file.finish().unwrap()
}

fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(|n| line(n) + "\n").collect()
}

fn inspected(case: &Case, name: &str) -> Value {
    serde_json::from_str(case.ok(&["data", "inspect", name, "--json"]).out.trim()).unwrap()
}

/// Trains three steps on `name`, without evaluating.
fn train(case: &Case, name: &str) {
    let spec = format!(
        "name = \"one\"\n[model]\nbase = \"me/tiny\"\nmax_query_tokens = 16\nmax_passage_tokens = 24\n[data]\ntrain = \
         [\"{name}\"]\nvalidation = []\nevaluation = []\n[train]\nsteps = 3\nbatch = 4\ndevice = \"cpu\"\n[sampling]\nalpha = 1.0\n"
    );
    let file = case.dir().join("one.toml");
    std::fs::write(&file, spec).unwrap();
    let run = case.dir().join(format!("run-{name}"));
    case.ok(&["train", file.to_str().unwrap(), "--run-dir", run.to_str().unwrap()]);
}

fn evaluate(case: &Case, name: &str) -> Value {
    let limits = ["--max-query-tokens", "16", "--max-passage-tokens", "24"];
    let mut args = vec!["evaluate", "--model", "me/tiny", "--data", name, "--device", "cpu", "--json"];
    args.extend(limits);
    serde_json::from_str(case.ok(&args).out.lines().last().unwrap()).unwrap()
}

/// `unicamp-dl/mmarco` as it is published: one repository for both entries.
fn put_mmarco(case: &Case) {
    let put = |path: &str, text: String| {
        case.hub.put("datasets/unicamp-dl/mmarco", &format!("data/{path}"), text.as_bytes());
    };
    for name in ["english", "german", "dutch"] {
        let text = |n: usize| format!("{name} {} {}", WORDS[n % 12], WORDS[(n + n / 12) % 12]);
        put(
            &format!("google/collections/{name}_collection.tsv"),
            lines(40, |n| format!("{n}\t{} passage", text(n))),
        );
        put(
            &format!("google/queries/train/{name}_queries.train.tsv"),
            lines(12, |n| format!("{}\twhich {}", 1000 + n, text(n))),
        );
        put(
            &format!("google/queries/dev/{name}_queries.dev.small.tsv"),
            lines(9, |n| format!("{}\twhat is {}", 2000 + n, text(n + 20))),
        );
        put(
            &format!("google/queries/dev/{name}_queries.dev.tsv"),
            lines(20, |n| format!("{n}\tall of them")),
        );
    }
    put("triples.train.ids.small.tsv", lines(12, |n| format!("{}\t{n}\t{}", 1000 + n, (n + 13) % 40)));
    // The last question has no judgement.
    put("qrels.dev.small.tsv", lines(8, |n| format!("{}\t0\t{}\t1", 2000 + n, n + 20)));
}

#[test]
fn mmarco_as_fetched_is_evaluated_against_whole_collections_and_trained_on() {
    let case = Case::new();
    put_mmarco(&case);
    case.ok(&["model", "fetch", "me/tiny"]);
    case.ok(&["data", "fetch", "mmarco", "--languages", "en,de"]);
    let dev = inspected(&case, "mmarco");
    for (key, count) in [("question_ids", 8), ("questions", 16), ("passages", 80), ("hard_negatives", 0)] {
        assert_eq!(dev[key].as_u64(), Some(count), "{key}: {dev}");
    }
    assert!(dev["notes"].to_string().contains("1 questions have no relevant passage"), "{dev}");
    let judged = inspected(&case, "mmarco[pool=judged]");
    assert_eq!(judged["passages"].as_u64(), Some(16));
    assert!(judged["notes"].to_string().contains("not comparable"), "{judged}");
    let scores = evaluate(&case, "mmarco");
    assert!(scores.to_string().contains("recall"), "{scores}");
    // The training entry adds to the same folder; neither disturbs the other.
    case.ok(&["data", "fetch", "mmarco-train", "--languages", "en,de"]);
    assert_eq!(inspected(&case, "mmarco")["sha256"], dev["sha256"]);
    let train_set = inspected(&case, "mmarco-train");
    for (key, count) in [("question_ids", 12), ("questions", 24), ("hard_negatives", 24)] {
        assert_eq!(train_set[key].as_u64(), Some(count), "{key}: {train_set}");
    }
    train(&case, "mmarco-train");
    case.fails(&["data", "inspect", "mmarco[dev.large]"], &[], &["no language has both", "dev.large"]);
}

#[test]
fn miracl_as_fetched_is_evaluated_and_trained_on() {
    let case = Case::new();
    for part in ["dev", "train"] {
        let put = |kind: &str, text: String| {
            let path = format!("miracl-v1.0-sw/{kind}/{kind}.miracl-v1.0-sw-{part}.tsv");
            case.hub.put("datasets/miracl/miracl", &path, text.as_bytes());
        };
        put("topics", lines(6, |n| format!("{n}\twhich {} {part}", WORDS[n])));
        put("qrels", lines(12, |n| format!("{}\tQ0\t{}#0\t{}", n % 6, n, i32::from(n < 6))));
    }
    for shard in 0..2 {
        let text = lines(10, |n| {
            let id = 10 * shard + n;
            format!("{{\"docid\":\"{id}#0\",\"title\":\"{}\",\"text\":\"{} {id}\"}}", WORDS[n], WORDS[n + 1])
        });
        let path = format!("miracl-corpus-v1.0-sw/docs-{shard}.jsonl.gz");
        case.hub.put("datasets/miracl/miracl-corpus", &path, &gzip(&text));
    }
    case.ok(&["model", "fetch", "me/tiny"]);
    case.ok(&["data", "fetch", "miracl", "miracl-train", "--languages", "sw"]);
    let dev = inspected(&case, "miracl");
    for (key, count) in [("question_ids", 6), ("questions", 6), ("passages", 20), ("hard_negatives", 6)] {
        assert_eq!(dev[key].as_u64(), Some(count), "{key}: {dev}");
    }
    assert!(evaluate(&case, "miracl").to_string().contains("recall"));
    train(&case, "miracl-train");
}

#[test]
fn mr_tydi_as_fetched_is_read() {
    let case = Case::new();
    for part in ["train", "dev", "test"] {
        let put = |kind: &str, text: String| {
            let path = format!("mrtydi-v1.1-swahili/ir-format-data/{kind}.{part}.txt");
            case.hub.put("datasets/castorini/mr-tydi", &path, text.as_bytes());
        };
        put("topics", lines(4, |n| format!("{n}\twhich {}", WORDS[n])));
        put("qrels", lines(4, |n| format!("{n} Q0 {n}#1 1")));
    }
    let corpus = lines(8, |n| format!("{{\"docid\":\"{n}#1\",\"title\":\"t\",\"text\":\"{}\"}}", WORDS[n]));
    case.hub.put("datasets/castorini/mr-tydi-corpus", "mrtydi-v1.1-swahili/corpus.jsonl.gz", &gzip(&corpus));
    case.ok(&["data", "fetch", "mr-tydi", "--languages", "sw"]);
    for name in ["mr-tydi", "mr-tydi[train]", "mr-tydi[dev]"] {
        let found = inspected(&case, name);
        assert_eq!((found["questions"].as_u64(), found["passages"].as_u64()), (Some(4), Some(8)), "{name}");
    }
}

#[test]
fn models_are_fetched_in_every_form_that_is_read() {
    let case = Case::new();
    let put = |repo: &str, path: &str| case.hub.put(&format!("models/{repo}"), path, path.as_bytes());
    let sharded = [
        "pytorch_model.bin.index.json",
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin",
    ];
    for path in ["config.json", "sentencepiece.bpe.model", "2_Dense/config.json", "2_Dense/pytorch_model.bin"]
    {
        put("me/old", path);
        put("me/new", path);
    }
    for path in sharded {
        put("me/old", path);
        put("me/new", path);
    }
    put("me/new", "model.safetensors");
    put("me/new", "2_Dense/model.safetensors");
    let fetched = |repo: &str| -> Vec<String> {
        let folder = std::path::PathBuf::from(case.ok(&["model", "fetch", repo]).out.trim());
        let all = [
            "config.json",
            "sentencepiece.bpe.model",
            "model.safetensors",
            "2_Dense/model.safetensors",
            "2_Dense/pytorch_model.bin",
        ];
        all.iter().chain(&sharded).filter(|f| folder.join(f).exists()).map(|f| (*f).to_owned()).collect()
    };
    let old = ["config.json", "sentencepiece.bpe.model", "2_Dense/pytorch_model.bin"];
    assert_eq!(fetched("me/old"), [&old[..], &sharded[..]].concat());
    // Of the same weights in two forms only one comes.
    let new = ["config.json", "sentencepiece.bpe.model", "model.safetensors", "2_Dense/model.safetensors"];
    assert_eq!(fetched("me/new"), new);
}

#[test]
fn an_entry_tells_where_it_comes_from_before_it_is_here() {
    let case = Case::new();
    let text = case.ok(&["model", "inspect", "FacebookAI/xlm-roberta-base"]).out;
    for part in
        ["MIT", "Conneau", "arXiv:1911.02116", "polymix model fetch FacebookAI/xlm-roberta-base", "@e73636d4"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json: Value =
        serde_json::from_str(&case.ok(&["model", "inspect", "sentence-transformers/LaBSE", "--json"]).out)
            .unwrap();
    assert_eq!(json["entry"]["licence"], "Apache-2.0");
    assert!(case.ok(&["data", "inspect", "squad"]).out.contains("train-v1.1.json, dev-v1.1.json"));
    case.fails(&["data", "fetch", "mfaq"], &[], &["mfaq=PATH"]);
    for command in ["fetch", "verify"] {
        case.fails(&["data", command, "demo"], &[], &["'demo': comes with the program", "nothing to fetch"]);
    }
    common::copy_dir(common::tiny_model().path(), &case.dir().join("m/mean"));
    let parts = ["'m/mean': a directory, for which nobody publishes checksums"];
    case.fails(&["model", "verify", "m/mean"], &[], &parts);
    let only = ["model", "fetch", "sentence-transformers/LaBSE", "--languages", "de"];
    case.fails(&only, &[], &["do not differ by language", "leave --languages out"]);
    let missing = [("POLYMIX_CATALOGUE", "nowhere.toml")];
    case.fails(&["data", "list"], &missing, &["nowhere.toml", "POLYMIX_CATALOGUE", "unset"]);
}

#[test]
fn e5_gets_its_own_prefixes_and_every_command_says_which() {
    let case = Case::new();
    let name = "intfloat/multilingual-e5-small";
    let repo = format!("models/{name}");
    case.hub.put_dir(&repo, "", common::tiny_model().path());
    let module = |n: usize, path: &str, kind: &str| {
        format!(
            "{{\"idx\": {n}, \"name\": \"{n}\", \"path\": \"{path}\", \"type\": \"sentence_transformers.models.{kind}\"}}"
        )
    };
    // As the real repository: modules, and no prompts.
    let modules = format!("[{}, {}]", module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling"));
    case.hub.put(&repo, "modules.json", modules.as_bytes());
    case.hub.put(&repo, "1_Pooling/config.json", b"{\"pooling_mode_mean_tokens\": true}");
    case.ok(&["model", "fetch", name]);
    common::write_xquadr(&case.dir().join("x"), &["de", "en"], 4);
    let limits = ["--max-query-tokens", "16", "--max-passage-tokens", "24", "--device", "cpu", "--json"];
    let evaluate = |model: &str, more: &[&str]| {
        let args = ["evaluate", "--model", model, "--data", "xquad-r=x"];
        let output = case.ok(&[&args[..], &limits, more].concat());
        let found: Value = serde_json::from_str(output.out.lines().last().unwrap()).unwrap();
        let prefix = |side: &str| found["protocol"][format!("{side}_prefix")].as_str().unwrap().to_owned();
        ([prefix("query"), prefix("passage")], output.err)
    };
    let (prefixes, told) = evaluate(name, &[]);
    assert_eq!(prefixes, ["query: ", "passage: "], "{told}");
    let line = "prefixes: \"query: \" before questions, \"passage: \" before passages (from the catalogue";
    assert!(told.contains(line), "{told}");
    let (prefixes, told) = evaluate(name, &["--query-prefix", ""]);
    assert_eq!(prefixes, ["", "passage: "]);
    assert!(told.contains("\"\" before questions (as asked for)"), "{told}");
    case.ok(&["model", "fetch", "me/tiny"]);
    let (prefixes, told) = evaluate("me/tiny", &[]);
    assert_eq!(prefixes, ["Query: ", "Passage: "]);
    assert!(told.contains("(polymix's own, as the model states none)"), "{told}");

    let text = case.ok(&["model", "inspect", name]).out;
    assert!(text.contains("\"query: \" (from the catalogue; the model's files state none)"), "{text}");
    let embedded = |model: &str, more: &[&str]| {
        let args = ["model", "embed", model, "--device", "cpu"];
        case.ok(&[&args[..], more].concat()).out.split("\"vector\"").nth(1).unwrap().to_owned()
    };
    let as_query = embedded(name, &["--as", "query", "--text", "the river"]);
    assert_eq!(as_query, embedded(name, &["--text", "query: the river"]));
    // So is the directory in the hub's cache, by whatever way it is come to.
    let fetched = case.ok(&["model", "fetch", name]).out;
    let snapshot = std::path::PathBuf::from(fetched.trim());
    let link = case.dir().join("link");
    std::os::unix::fs::symlink(&snapshot, &link).unwrap();
    for dir in [&snapshot, &link] {
        let dir = dir.to_str().unwrap();
        assert_eq!(as_query, embedded(dir, &["--as", "query", "--text", "the river"]), "{dir}");
        assert_eq!(evaluate(dir, &[]).0, ["query: ", "passage: "], "{dir}");
    }
    // An entry that cannot be read may state them: not to be passed over. What lies elsewhere needs no catalogue.
    case.own("garbage [");
    let ask = ["model", "embed", snapshot.to_str().unwrap(), "--text", "x"];
    case.fails(&ask, &[], &["catalogue.toml", "line 1"]);
    let elsewhere = case.dir().join("elsewhere");
    common::copy_dir(common::tiny_model().path(), &elsewhere);
    case.ok(&["model", "inspect", "elsewhere"]);
    case.ok(&["data", "inspect", "xquad-r=x"]);
    case.own("");
    // The directory that is written of it states them itself.
    case.ok(&["model", "convert", name, "written"]);
    assert_eq!(evaluate("written", &[]).0, ["query: ", "passage: "]);
    let card = std::fs::read_to_string(case.dir().join("written/README.md")).unwrap();
    assert!(card.contains("prompt_name=\"query\"") && card.contains("`query: `"), "{card}");
    assert_eq!(as_query, embedded("written", &["--as", "query", "--text", "the river"]));

    // A run says it in its notes, and keeps them with its model.
    let spec = "name = \"one\"\n[model]\nbase = \"intfloat/multilingual-e5-small\"\nmax_query_tokens = 16\n\
                max_passage_tokens = 24\n[data]\ntrain = [\"xquad-r=x\"]\nvalidation = []\nevaluation = []\n\
                [train]\nsteps = 1\nbatch = 2\ndevice = \"cpu\"\n";
    std::fs::write(case.dir().join("one.toml"), spec).unwrap();
    let told = case.ok(&["train", "one.toml", "--run-dir", "run"]).err;
    assert!(told.contains(line), "{told}");
    let kept =
        std::fs::read_to_string(case.dir().join("run/model/config_sentence_transformers.json")).unwrap();
    assert!(kept.contains("\"query: \"") && kept.contains("\"passage: \""), "{kept}");
}
