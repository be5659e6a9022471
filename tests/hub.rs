//! The real program against a real server on loopback: fetching, faults, the shared cache, secrets.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "common/case.rs"]
mod case;
mod common;
#[path = "common/hub.rs"]
mod hub;
#[path = "common/terminal.rs"]
#[allow(dead_code)]
mod terminal;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use case::{Case, TOKEN};
use common::{signal, wait_for, write_xquadr};
use hub::{COMMIT, Fault, git_blob, sha256};
use terminal::{Terminal, has_terminals};

const FETCH: [&str; 3] = ["model", "fetch", "me/tiny"];

#[test]
fn a_model_lands_in_the_layout_of_hugging_faces_cache() {
    let case = Case::new();
    let output = case.ok(&FETCH);
    let folder = case.repo().join("snapshots").join(COMMIT);
    assert_eq!(output.out.trim(), folder.display().to_string());
    assert_eq!(std::fs::read_to_string(case.repo().join("refs/main")).unwrap(), COMMIT);
    let weights = Case::published();
    assert_eq!(std::fs::read(case.weights()).unwrap(), weights);
    assert!(case.repo().join("blobs").join(sha256(&weights)).is_file(), "large files are named by sha256");
    let config = std::fs::read(folder.join("config.json")).unwrap();
    assert!(case.repo().join("blobs").join(git_blob(&config)).is_file(), "small ones as git names them");
    #[cfg(unix)]
    assert_eq!(
        std::fs::read_link(folder.join("config.json")).unwrap(),
        Path::new("../../blobs").join(git_blob(&config))
    );
    // Once more: only the listing is asked for.
    case.hub.forget();
    case.ok(&FETCH);
    assert_eq!(case.hub.count("/resolve/"), 0);
    let verified = case.ok(&["model", "verify", "me/tiny"]);
    assert!(verified.out.contains("3 of 3 files are as published"), "{}", verified.out);
    assert!(case.ok(&["model", "inspect", "me/tiny"]).out.contains("XLM-R"));
}

#[test]
fn a_cut_connection_is_continued_not_repeated() {
    let case = Case::new();
    let size = Case::published().len();
    // config.json goes well, then the weights are cut twice.
    case.hub.fault(Fault::Slow(0));
    case.hub.fault(Fault::Cut(size / 3));
    case.hub.fault(Fault::Cut(size / 3));
    let output = case.ok(&FETCH);
    assert!(output.err.contains("cut"), "{}", output.err);
    assert_eq!(std::fs::read(case.weights()).unwrap(), Case::published());
    let ranges: Vec<String> = case
        .hub
        .seen()
        .iter()
        .filter(|s| s.host == "cdn")
        .filter_map(|s| s.header("range").map(str::to_owned))
        .collect();
    assert_eq!(ranges, [format!("bytes={}-", size / 3), format!("bytes={}-", size / 3 * 2)]);
}

#[test]
fn a_server_without_ranges_sends_the_file_anew() {
    let case = Case::new();
    let size = Case::published().len();
    for fault in [Fault::Slow(0), Fault::Cut(size / 2), Fault::NoRange] {
        case.hub.fault(fault);
    }
    case.ok(&FETCH);
    assert_eq!(std::fs::read(case.weights()).unwrap(), Case::published());
}

#[test]
fn too_many_requests_waits_as_long_as_the_server_says() {
    let case = Case::new();
    case.hub.fault(Fault::Status(429, Some(1)));
    case.hub.fault(Fault::Status(503, None));
    let begin = Instant::now();
    let output = case.ok(&FETCH);
    assert!(begin.elapsed() >= Duration::from_millis(1400), "{:?}", begin.elapsed());
    assert!(output.err.contains("the server answered 429; again in 1.0 s"), "{}", output.err);
    case.hub.fault(Fault::Status(429, Some(86_400)));
    std::fs::remove_dir_all(case.dir().join("hf")).unwrap();
    case.fails(&FETCH, &[], &["429"]);
}

#[test]
fn a_gated_repository_says_how_to_set_a_token() {
    let case = Case::new();
    case.hub.gate(TOKEN);
    case.fails(&FETCH, &[], &["401", "HF_TOKEN", "terms"]);
    case.fails(&FETCH, &[("HF_TOKEN", "hf_other")], &["401", "the token (from HF_TOKEN) has no access"]);
    let output = case.run_with(&FETCH, &[("HF_TOKEN", TOKEN)]);
    assert_eq!(output.code, Some(0), "{output:?}");
    // The hub was told, the host behind the redirect was not.
    for seen in case.hub.seen() {
        if seen.host == "cdn" {
            assert_eq!(seen.header("authorization"), None, "{seen:?}");
        }
    }
    assert!(case.hub.seen().iter().any(|s| s.host == "cdn"));
}

#[test]
fn a_wrong_checksum_leaves_nothing_that_looks_whole() {
    let case = Case::new();
    case.hub.fault(Fault::Slow(0));
    case.hub.fault(Fault::Wrong);
    case.fails(&FETCH, &[], &["model.safetensors", "wrong checksum", "sha256"]);
    assert!(!case.weights().exists());
    assert!(!case.repo().join("blobs").join(sha256(&Case::published())).exists());
    assert!(!case.repo().join("refs/main").exists(), "offline mode must not find it");
    case.ok(&FETCH);
    // On disk: a changed byte is found by verify.
    let blob = case.repo().join("blobs").join(sha256(&Case::published()));
    let mut bytes = Case::published();
    bytes[100] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let output = case.run_with(&["model", "verify", "me/tiny"], &[]);
    assert_eq!(output.code, Some(1));
    assert!(output.out.contains("2 of 3") && output.out.contains("wrong checksum"), "{}", output.out);
}

#[test]
fn missing_files_and_repositories_name_what_is_near() {
    let case = Case::new();
    case.hub.put("models/me/odd", "config.json", b"{}");
    case.hub.put("models/me/odd", "model.safetensor", b"x");
    case.fails(
        &["model", "fetch", "me/odd"],
        &[],
        &["no file 'model.safetensors", "is model.safetensor meant?"],
    );
    case.fails(&["model", "fetch", "me/none"], &[], &["me/none", "no such model or revision"]);
    case.fails(&["data", "fetch", "xquad"], &[], &["'xquad': not in the catalogue", "or xquad-r meant?"]);
    case.fails(&["data", "fetch", "miracl"], &[], &["about 30.0 GB in 16 languages", "--languages"]);
    case.fails(&["data", "fetch", "xquad-r", "--languages", "xx"], &[], &["no language 'xx'", "ar, de"]);
}

#[test]
fn offline_works_from_the_cache_and_says_what_is_missing() {
    let case = Case::new();
    let offline = [("HF_HUB_OFFLINE", "1")];
    case.fails(&FETCH, &offline, &["HF_HUB_OFFLINE is set and me/tiny is not complete", "copy"]);
    assert!(case.hub.seen().is_empty(), "nothing may be asked of the network");
    case.ok(&FETCH);
    case.hub.forget();
    assert_eq!(case.run_with(&FETCH, &offline).code, Some(0));
    assert_eq!(case.run_with(&["model", "inspect", "me/tiny"], &offline).code, Some(0));
    assert!(case.hub.seen().is_empty());
    // The hub is gone: what is on disk serves.
    let gone = [("HF_ENDPOINT", "http://127.0.0.1:9")];
    let output = case.run_with(&FETCH, &gone);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.err.contains("the copy on disk is used"), "{}", output.err);
}

#[test]
fn two_processes_download_once() {
    let case = Case::new();
    case.hub.put("models/me/tiny", "model.safetensors", &vec![7u8; 2_000_000]);
    case.hub.fault(Fault::Slow(0));
    case.hub.fault(Fault::Slow(10));
    let first = case.command(&FETCH, &[]).spawn().unwrap();
    let second = case.command(&FETCH, &[]).spawn().unwrap();
    for child in [first, second] {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    let sum = sha256(&vec![7u8; 2_000_000]);
    assert_eq!(case.hub.count(&sum), 1, "{:?}", case.hub.seen());
    assert_eq!(std::fs::read(case.weights()).unwrap().len(), 2_000_000);
}

/// Waits until a part of the weights lies on disk.
fn begun(case: &Case, sum: &str) {
    let part = case.repo().join("blobs").join(format!("{sum}.incomplete"));
    wait_for("the download", || std::fs::metadata(&part).is_ok_and(|found| found.len() > 200_000));
}

#[cfg(unix)]
#[test]
fn a_killed_or_paused_download_goes_on_where_it_was() {
    for name in ["-KILL", "-INT"] {
        let case = Case::new();
        let content: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        case.hub.put("models/me/tiny", "model.safetensors", &content);
        case.hub.fault(Fault::Slow(0));
        case.hub.fault(Fault::Hold(500_000));
        let child = case.command(&FETCH, &[]).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let sum = sha256(&content);
        begun(&case, &sum);
        signal(name, child.id());
        let output = child.wait_with_output().unwrap();
        if name == "-INT" {
            assert_eq!(output.status.code(), Some(1));
            assert!(String::from_utf8_lossy(&output.stderr).contains("paused; what was downloaded is kept"));
        }
        assert!(!case.weights().exists(), "{name}");
        let part = case.repo().join("blobs").join(format!("{sum}.incomplete"));
        let have = std::fs::metadata(part).unwrap().len();
        case.hub.forget();
        case.ok(&FETCH);
        assert_eq!(std::fs::read(case.weights()).unwrap(), content);
        let range = case.hub.seen().iter().find_map(|s| s.header("range").map(str::to_owned));
        assert_eq!(range, Some(format!("bytes={have}-")), "{name}");
    }
}

/// Every file below a folder that holds this text.
fn holding(dir: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if std::fs::read(&path).is_ok_and(|b| b.windows(text.len()).any(|w| w == text.as_bytes())) {
            found.push(path);
        }
    }
    found
}

#[test]
fn secrets_are_in_no_output_and_no_file() {
    let case = Case::new();
    let with_password = case.hub.url.replace("http://", "http://me:passwordOfMine@");
    case.own(&format!(
        "[[data]]\nname = \"own\"\ndescription = \"d\"\nlicence = \"x\"\nrole = [\"evaluation\"]\nloader = \"xquad-r\"\n\
         [[data.source]]\nurl = \"{with_password}/plain/en.json?key=signatureOfMine\"\n"
    ));
    case.hub.put_plain("en.json", b"{\"data\": []}");
    let token = [("HF_TOKEN", TOKEN), ("HF_ENDPOINT", &with_password)];
    let mut outputs = Vec::new();
    let mut run = |args: &[&str]| outputs.push(case.run_with(args, &token));
    run(&["data", "fetch", "own"]);
    run(&["data", "list", "--json"]);
    run(&["data", "inspect", "own"]);
    run(&["data", "fetch", "own", "--json"]);
    run(&["model", "list"]);
    run(&["doctor"]);
    run(&["doctor", "--json"]);
    run(&["model", "fetch", "me/tiny", "--json"]);
    run(&["model", "fetch", "me/none"]);
    case.hub.gate("another");
    run(&["model", "fetch", "me/tiny"]);
    case.hub.fault(Fault::Status(403, None));
    std::fs::remove_dir_all(case.dir().join("data")).unwrap();
    run(&["data", "fetch", "own"]);
    run(&["train", "demo", "--set", "model.base=me/none"]);
    for secret in [TOKEN, "passwordOfMine", "signatureOfMine", "secret-signature"] {
        for output in &outputs {
            assert!(!output.out.contains(secret) && !output.err.contains(secret), "{secret}: {output:?}");
        }
        let mut files = holding(case.dir(), secret);
        files.retain(|f| !f.ends_with("catalogue.toml"));
        assert!(files.is_empty(), "{secret}: {files:?}");
    }
}

const OWN: &str = "[[data]]\nname = \"made\"\ndescription = \"a made dataset\"\nlicence = \"CC0\"\nrole = [\"evaluation\"]\n\
                   loader = \"xquad-r\"\nlanguages = [\"de\", \"en\", \"zh\"]\n[[data.source]]\n";

#[test]
fn names_of_the_catalogue_and_the_hub_work_in_evaluate_and_specs() {
    let case = Case::new();
    let made = case.dir().join("made-files");
    write_xquadr(&made, &["de", "en", "zh"], 12);
    case.hub.put_dir("datasets/me/made", "r/", &made);
    case.own(&format!("{OWN}hub = \"me/made\"\nunder = \"r\"\nfiles = [\"{{language}}.json\"]\n"));
    let evaluate = [
        "evaluate",
        "--model",
        "me/tiny",
        "--data",
        "made",
        "--device",
        "cpu",
        "--max-query-tokens",
        "20",
        "--max-passage-tokens",
        "30",
    ];
    case.fails(&evaluate, &[], &["dataset 'made'", "fetch it with `polymix data fetch made`"]);
    case.ok(&["data", "fetch", "made", "--languages", "en,de"]);
    let listed = case.ok(&["data", "list"]).out;
    assert!(listed.lines().any(|l| l.starts_with("made") && l.contains("on disk: de en")), "{listed}");
    case.ok(&["data", "fetch", "made"]);
    case.fails(&evaluate, &[], &["me/tiny", "`polymix model fetch me/tiny`"]);
    let train = ["train", "demo", "--device", "cpu", "--set", "model.base=me/tiny"];
    case.fails(&train, &[], &["model.base", "`polymix model fetch me/tiny`"]);
    case.ok(&FETCH);
    let output = case.ok(&evaluate);
    assert!(output.out.contains("mono") && output.err.contains("made: 72 questions"), "{output:?}");
    // By the hub's name, and with a path.
    let by_hub: Vec<&str> = evaluate.iter().map(|a| if *a == "made" { "me/made" } else { *a }).collect();
    assert!(case.ok(&by_hub).err.contains("me--made: 72 questions"));
    let path = format!("made={}", made.display());
    let by_path: Vec<&str> = evaluate.iter().map(|a| if *a == "made" { path.as_str() } else { *a }).collect();
    case.ok(&by_path);
    let spec = "name = \"s\"\n[model]\nbase = \"me/tiny\"\nmax_query_tokens = 20\nmax_passage_tokens = 30\n[data]\n\
                train = [\"made[0..8]\"]\nvalidation = []\nevaluation = [\"made[8..12]\"]\n[train]\nsteps = 2\nbatch = 4\n";
    std::fs::write(case.dir().join("s.toml"), spec).unwrap();
    case.ok(&["train", "s.toml", "--device", "cpu"]);
    let environment = std::fs::read_to_string(case.dir().join("runs/s-001/environment.json")).unwrap();
    assert!(environment.contains(COMMIT), "the commit of the model is recorded: {environment}");
    let inspected = case.ok(&["data", "inspect", "made", "--json"]).out;
    let value: serde_json::Value = serde_json::from_str(inspected.trim()).unwrap();
    assert_eq!((value["questions"].as_u64(), value["entry"]["licence"].as_str()), (Some(72), Some("CC0")));
    case.fails(&["evaluate", "--model", "demo", "--data", "a/b"], &[], &["no entry", "catalogue.toml"]);
}

#[test]
fn git_repositories_are_taken_at_one_commit_and_checked() {
    let case = Case::new();
    let made = case.dir().join("made-files");
    write_xquadr(&made, &["de", "en", "zh"], 12);
    case.hub.put_dir("git/me/made", "r/", &made);
    case.own(&format!(
        "{OWN}git = \"{}/me/made\"\nunder = \"r\"\nfiles = [\"{{language}}.json\"]\n",
        case.hub.url
    ));
    case.hub.fault(Fault::Wrong);
    case.fails(&["data", "fetch", "made"], &[], &["wrong checksum", "git blob sha1"]);
    let output = case.ok(&["data", "fetch", "made"]);
    assert!(output.err.contains(COMMIT), "{}", output.err);
    let record = std::fs::read_to_string(case.dir().join("data/made/.source.json")).unwrap();
    assert!(record.contains(COMMIT) && record.contains("de.json"), "{record}");
    let inspected = case.ok(&["data", "inspect", "made"]).out;
    assert!(inspected.contains("24 question ids"), "two to each of the 12 articles: {inspected}");
    assert!(case.ok(&["data", "verify", "made"]).out.contains("3 of 3"));
    std::fs::write(case.dir().join("data/made/en.json"), "{}").unwrap();
    assert_eq!(case.run_with(&["data", "verify", "made"], &[]).code, Some(1));
    std::fs::remove_file(case.dir().join("data/made/en.json")).unwrap();
    assert_eq!(case.run_with(&["data", "verify", "made"], &[]).code, Some(1));
    case.fails(&["evaluate", "--model", "demo", "--data", "made", "--languages", "en"], &[], &["en"]);
}

fn packed(dir: &Path) -> Vec<u8> {
    let mut builder =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    builder.append_dir_all("top", dir).unwrap();
    let mut encoder = builder.into_inner().unwrap();
    encoder.flush().unwrap();
    encoder.finish().unwrap()
}

#[test]
fn archives_are_unpacked_below_their_folder_and_a_changed_file_is_not_mixed() {
    let case = Case::new();
    let made = case.dir().join("made-files");
    write_xquadr(&made, &["de", "en", "zh"], 40);
    let archive = packed(&made);
    case.hub.put_plain("made.tar.gz", &archive);
    let entry = |sum: &str| {
        format!("{OWN}url = \"{}/plain/made.tar.gz\"\nsha256 = \"{sum}\"\nunder = \"top\"\n", case.hub.url)
    };
    case.own(&entry(&"0".repeat(64)));
    case.fails(&["data", "fetch", "made"], &[], &["wrong checksum"]);
    case.own(&entry(&sha256(&archive)));
    case.hub.fault(Fault::Cut(archive.len() / 2));
    case.ok(&["data", "fetch", "made"]);
    let folder = case.dir().join("data/made");
    assert_eq!(std::fs::read(folder.join("de.json")).unwrap(), std::fs::read(made.join("de.json")).unwrap());
    assert!(case.ok(&["data", "verify", "made"]).out.contains("3 of 3"));
    assert!(case.ok(&["data", "list"]).out.lines().any(|l| l.starts_with("made") && l.contains("on disk")));
    // Without a checksum: the file changes on the server between the two halves.
    let case = Case::new();
    case.own(&format!("{OWN}url = \"{}/plain/en.json\"\nfiles = [\"en.json\"]\n", case.hub.url));
    case.hub.put_plain("en.json", &b"old ".repeat(50_000));
    case.hub.fault(Fault::Cut(100_000));
    case.hub.fault(Fault::Status(403, None));
    case.fails(&["data", "fetch", "made"], &[], &["the server answered 403"]);
    assert_eq!(std::fs::metadata(case.dir().join("data/made/.en.json.incomplete")).unwrap().len(), 100_000);
    case.hub.put_plain("en.json", &b"new ".repeat(50_000));
    case.ok(&["data", "fetch", "made"]);
    let found = std::fs::read(case.dir().join("data/made/en.json")).unwrap();
    assert!(found == b"new ".repeat(50_000), "halves of two files");
}

#[test]
fn the_workbench_fetches_pauses_and_goes_on() {
    if !has_terminals("the_workbench_fetches_pauses_and_goes_on") {
        return;
    }
    let case = Case::new();
    let content: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    case.hub.put("datasets/me/made", "en.json", &content);
    case.own(&format!("{OWN}hub = \"me/made\"\nfiles = [\"en.json\"]\n"));
    let (home, data, own) =
        (case.dir().join("hf"), case.dir().join("data"), case.dir().join("catalogue.toml"));
    let variables = [
        ("HF_ENDPOINT", case.hub.url.as_str()),
        ("HF_HOME", home.to_str().unwrap()),
        ("POLYMIX_DATA", data.to_str().unwrap()),
        ("POLYMIX_CATALOGUE", own.to_str().unwrap()),
        ("HF_HUB_OFFLINE", "0"),
        ("HF_HUB_CACHE", ""),
    ];
    let mut terminal = Terminal::open_with(&case.program, (120, 40), &[], &variables);
    terminal.wait(&["ready to start"]);
    terminal.press("d");
    terminal.wait(&["Data and models", "FacebookAI/xlm-roberta-base"]);
    case.hub.fault(Fault::Hold(500_000));
    // The own entry stands last.
    terminal.press("G");
    terminal.wait(&["a made dataset"]);
    terminal.press("\r");
    terminal.wait(&["fetching", "of 3.0 MB"]);
    let part = home.join("hub/datasets--me--made/blobs").join(format!("{}.incomplete", sha256(&content)));
    wait_for("the download", || std::fs::metadata(&part).is_ok_and(|found| found.len() > 200_000));
    terminal.press("\r");
    terminal.wait(&["paused at"]);
    assert!(std::fs::metadata(&part).unwrap().len() < 3_000_000);
    terminal.press("\r");
    terminal.wait(&["made is on disk"]);
    assert!(case.hub.seen().iter().any(|s| s.header("range").is_some()), "it went on, not anew");
    terminal.press("u");
    terminal.wait(&["made is in the field evaluation"]);
    terminal.press("q");
    assert!(terminal.ended());
}

#[test]
fn a_broken_catalogue_names_file_line_and_field() {
    let case = Case::new();
    case.own("[[data]]\nname = \"x\"\ndescription = \"d\"\nlicence = \"l\"\n");
    case.fails(&["data", "list"], &[], &["catalogue.toml", "line 2", "'x'", "loader"]);
    let doctor = case.ok(&["doctor"]).out;
    assert!(doctor.contains("catalogue.toml") && doctor.contains("line 2"), "{doctor}");
}

/// Entries whose loader needs more than the folder: a part, a language.
#[test]
fn entries_of_the_catalogue_are_read_by_their_own_name() {
    let case = Case::new();
    let put = |path: &str, text: &str| {
        let path = case.dir().join("data").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let squad = |id: &str| {
        format!(
            "{{\"data\":[{{\"title\":\"T\",\"paragraphs\":[{{\"context\":\"A river runs. It ends.\",\"qas\":[{{\"id\":\"{id}\",\
             \"question\":\"What runs?\",\"answers\":[{{\"text\":\"river\",\"answer_start\":2}}]}}]}}]}}]}}"
        )
    };
    for file in ["squad/train-v1.1.json", "squad/dev-v1.1.json"] {
        put(file, &squad(file));
    }
    for domain in ["new_wiki", "nyt", "reddit", "amazon_reviews"] {
        put(&format!("squadshifts/{domain}_v1.0.json"), &squad(domain));
    }
    put("scifact/corpus.jsonl", "{\"_id\":\"d\",\"title\":\"t\",\"text\":\"x\"}\n");
    put("scifact/queries.jsonl", "{\"_id\":\"q\",\"text\":\"y\"}\n");
    put("scifact/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq\td\t1\n");
    put("scifact/.source.json", "{\"v\":1,\"name\":\"scifact\",\"sources\":[],\"files\":{}}");
    let inspected = |name: &str| -> serde_json::Value {
        serde_json::from_str(case.ok(&["data", "inspect", name, "--json"]).out.trim()).unwrap()
    };
    for (name, questions) in
        [("squad", 1), ("squad[dev]", 1), ("squadshifts", 4), ("squadshifts[nyt]", 1), ("scifact", 1)]
    {
        let found = inspected(name);
        assert_eq!((found["name"].as_str(), found["questions"].as_u64()), (Some(name), Some(questions)));
        assert!(found["languages"]["en"]["questions"].is_number(), "{found}");
    }
    let cache = case.dir().join("tokens");
    let prepared = ["data", "prepare", "squad[dev]", "--cache", cache.to_str().unwrap(), "--json"];
    let built: serde_json::Value = serde_json::from_str(case.ok(&prepared).out.trim()).unwrap();
    assert_eq!(built["cache"]["name"], "squad[dev]");
    let inputs = built["cache"]["inputs"].as_array().unwrap();
    assert_eq!(inputs.len(), 1, "the part that is named, and no other file: {inputs:?}");
    assert!(inputs[0]["path"].as_str().unwrap().ends_with("dev-v1.1.json"), "{inputs:?}");
    case.fails(&["data", "inspect", "squad[other]"], &[], &["no SQuAD JSON file", "other"]);
}
