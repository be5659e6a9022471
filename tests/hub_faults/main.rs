//! The real program against servers, storage hosts, proxies and archives that misbehave.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "../common/case.rs"]
#[allow(dead_code)]
mod case;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/hub.rs"]
mod hub;
mod partial;
mod requests;
mod script;
mod versions;

use std::path::PathBuf;

use case::Case;
use common::Output;
use hub::sha256;
use script::{Reply, Script, answer, chunked, file};

const FETCH: [&str; 3] = ["data", "fetch", "made"];
const ENTRY: &str = "[[data]]\nname = \"made\"\ndescription = \"a made dataset\"\nlicence = \"CC0\"\nrole = [\"evaluation\"]\n\
                     loader = \"xquad-r\"\nlanguages = [\"en\"]\n[[data.source]]\n";
const PAGE: &[u8] = b"<!DOCTYPE html><html><body>Please log in</body></html>";

/// A case whose entry is me/made of the hub.
fn hub_case() -> Case {
    let case = Case::new();
    case.own(&format!("{ENTRY}hub = \"me/made\"\nfiles = [\"*.json\"]\n"));
    case
}

/// A case whose entry is a plain address at its own hub.
fn plain_case(name: &str) -> Case {
    let case = Case::new();
    let files = if name.contains(".json") { format!("files = [\"{name}\"]\n") } else { String::new() };
    case.own(&format!("{ENTRY}url = \"{}/plain/{name}\"\n{files}", case.hub.url));
    case
}

/// The program stops with one line that holds these parts; a hopeless case is not tried for seconds.
fn refuses(case: &Case, more: &[(&str, &str)], parts: &[&str]) -> Output {
    let output = case.fails(&FETCH, more, parts);
    let errors = output.err.lines().filter(|l| l.starts_with("polymix: ")).count();
    assert_eq!(errors, 1, "{}", output.err);
    assert!(output.err.trim_end().lines().last().unwrap().starts_with("polymix: "), "{}", output.err);
    output
}

fn blobs(case: &Case) -> PathBuf {
    case.dir().join("hf/hub/datasets--me--made/blobs")
}

fn part(case: &Case, content: &[u8]) -> PathBuf {
    blobs(case).join(format!("{}.incomplete", sha256(content)))
}

fn content() -> Vec<u8> {
    (0..300_000u32).map(|i| (i % 251) as u8).collect()
}

fn packed(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

#[test]
fn a_bad_archive_does_not_block_its_entry() {
    let case = plain_case("made.tar.gz");
    case.hub.put_plain("made.tar.gz", b"out of order for an hour");
    refuses(&case, &[], &["made.tar.gz", "cannot unpack", "removed", "the next fetch downloads it again"]);
    let own = b"{}".as_slice();
    let archive = packed(&[("en.json", b"{\"data\": []}"), (".source.json", own), ("a/.lock/x", own)]);
    case.hub.put_plain("made.tar.gz", &archive);
    let output = case.ok(&FETCH);
    assert!(output.err.contains("2 hidden files of the archive are left out"), "{}", output.err);
    let folder = case.dir().join("data/made");
    assert_eq!(std::fs::read(folder.join("en.json")).unwrap(), b"{\"data\": []}");
    let record = std::fs::read_to_string(folder.join(".source.json")).unwrap();
    assert!(record.contains("en.json") && !record.contains("\".source.json\""), "{record}");
    // What is complete is not downloaded again; what has changed since is.
    case.hub.forget();
    case.ok(&FETCH);
    assert_eq!(case.hub.count("/plain/"), 0, "{:?}", case.hub.seen());
    std::fs::write(folder.join("en.json"), b"{\"DATA\": []}").unwrap();
    case.ok(&FETCH);
    assert_eq!(std::fs::read(folder.join("en.json")).unwrap(), b"{\"data\": []}");
    assert_eq!(case.hub.count("/plain/"), 1);
}

#[test]
fn a_web_page_is_not_taken_for_data() {
    let case = plain_case("en.json");
    case.hub.put_plain("en.json", PAGE);
    refuses(&case, &[], &["en.json", "a web page instead of the file", "log"]);
    assert!(!case.ok(&["data", "list"]).out.lines().any(|l| l.starts_with("made") && l.contains("on disk")));
    case.hub.put_plain("en.json", b"{\"data\": []}");
    case.ok(&FETCH);
    assert_eq!(std::fs::read(case.dir().join("data/made/en.json")).unwrap(), b"{\"data\": []}");
    let verified = case.ok(&["data", "verify", "made"]).out;
    assert!(verified.contains("0 of 1 files are as published, 1 have no published hash"), "{verified}");
    // By its type alone; and a page that is wanted.
    let server = Script::start(|_| {
        Reply::Bytes(answer(200, "Content-Type: Text/HTML; charset=utf-8\r\n", b"please log in"))
    });
    case.own(&format!("{ENTRY}url = \"{}/de.json\"\nfiles = [\"de.json\"]\n", server.url));
    refuses(&case, &[], &["de.json", "a web page instead of the file"]);
    assert!(!case.dir().join("data/made/.de.json.incomplete").exists());
    case.own(&format!("{ENTRY}url = \"{}/de.html\"\nfiles = [\"de.html\"]\n", server.url));
    case.ok(&FETCH);
}

#[test]
fn a_login_page_of_the_network_is_named_and_never_continued() {
    let whole = content();
    for (bad, word) in [
        (answer(200, "Content-Type: text/html\r\n", PAGE), "a web page instead of the file"),
        (chunked("Content-Type: text/html\r\n", PAGE), "a web page instead of the file"),
        (chunked("", PAGE), "a web page instead of the file"),
        (chunked("", b"half a file"), "ends after 11 bytes, but 300000 are expected"),
        (answer(200, "", b"half a file"), "sends 11 bytes, but 300000 are expected"),
    ] {
        let (case, sent) = (hub_case(), whole.clone());
        let is_bad = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let flag = std::sync::Arc::clone(&is_bad);
        let server = Script::hub(&[("en.json", &whole)], move |head| {
            let is_bad = flag.load(std::sync::atomic::Ordering::Relaxed);
            Reply::Bytes(if is_bad { bad.clone() } else { file(head, &sent) })
        });
        let endpoint = [("HF_ENDPOINT", server.url.as_str())];
        refuses(&case, &endpoint, &["en.json", word]);
        assert_eq!(server.count("/resolve/"), 1, "it is no cut connection");
        assert!(!part(&case, &whole).exists(), "what failed is not kept");
        is_bad.store(false, std::sync::atomic::Ordering::Relaxed);
        server.forget();
        assert_eq!(case.run_with(&FETCH, &endpoint).code, Some(0));
        assert_eq!((server.count("/resolve/"), server.count("range:")), (1, 0));
    }
}

#[test]
fn a_login_page_does_not_cost_the_good_half() {
    let (case, whole) = (hub_case(), content());
    let sent = whole.clone();
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let server = Script::hub(&[("en.json", &whole)], move |head| {
        let all = file(head, &sent);
        Reply::Bytes(match turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => all[..all.len() - 100_000].to_vec(),
            1 => answer(200, "", PAGE),
            _ => all,
        })
    });
    let endpoint = [("HF_ENDPOINT", server.url.as_str())];
    refuses(&case, &endpoint, &["a web page instead of the file"]);
    assert_eq!(std::fs::metadata(part(&case, &whole)).unwrap().len(), 200_000);
    assert_eq!(case.run_with(&FETCH, &endpoint).code, Some(0));
    assert!(server.seen().last().unwrap().contains("range: bytes=200000-"), "{:?}", server.seen());
}

#[test]
fn all_files_must_fit_before_the_first_is_asked_for() {
    let case = hub_case();
    let listing = serde_json::json!({"sha": hub::COMMIT, "siblings": [
        {"rfilename": "a.json", "size": 3, "lfs": {"sha256": sha256(b"abc"), "size": 3}},
        {"rfilename": "b.json", "size": 1u64 << 60, "lfs": {"sha256": sha256(b"b"), "size": 1u64 << 60}},
    ]})
    .to_string();
    let server = Script::start(move |head| {
        Reply::Bytes(answer(200, "", if head.contains("/api/") { listing.as_bytes() } else { b"abc" }))
    });
    refuses(
        &case,
        &[("HF_ENDPOINT", &server.url)],
        &["the disk has", "are needed; free some, or set HF_HOME"],
    );
    assert_eq!(server.count("/resolve/"), 0);
}

/// The same command below a limit of 100 blocks on the size of files.
#[cfg(unix)]
#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_no_sudden_end() {
    let (case, whole) = (hub_case(), content());
    case.hub.put("datasets/me/made", "en.json", &whole);
    let inner = case.command(&FETCH, &[]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -f 100; exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.current_dir(case.dir()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("cannot write") && text.contains("ulimit -f"), "{text}");
    case.ok(&FETCH);
}

#[test]
fn a_file_that_was_damaged_on_disk_can_be_named_and_repaired() {
    let (case, whole) = (hub_case(), content());
    case.hub.put("datasets/me/made", "en.json", &whole);
    case.ok(&FETCH);
    let blob = blobs(&case).join(sha256(&whole));
    let shown = blobs(&case).with_file_name("snapshots").join(hub::COMMIT).join("en.json");
    for gone in [&blob, &shown] {
        let mut damaged = whole.clone();
        damaged[100] ^= 1;
        std::fs::write(&blob, damaged).unwrap();
        let output = case.run_with(&["data", "verify", "made"], &[]);
        assert_eq!(output.code, Some(1));
        let real = blob.canonicalize().unwrap();
        assert!(output.out.contains(&format!("the damaged file is {}", real.display())), "{}", output.out);
        // Whichever of the two is removed, the next fetch brings the file.
        std::fs::remove_file(gone).unwrap();
        case.ok(&FETCH);
        assert_eq!(std::fs::read(&shown).unwrap(), whole, "{}", gone.display());
        case.ok(&["data", "verify", "made"]);
    }
    // One command does both.
    std::fs::write(&blob, vec![0; whole.len()]).unwrap();
    let told = "1 file not what they were or should be; `polymix data fetch made --again` replaces them";
    case.fails(&["data", "verify", "made"], &[], &[told]);
    let again = ["data", "fetch", "made", "--again"];
    case.fails(&again, &[("HF_HUB_OFFLINE", "1")], &["HF_HUB_OFFLINE is set", "unset it"]);
    let closed = [("HF_ENDPOINT", "http://127.0.0.1:9")];
    case.fails(&again, &closed, &["made"]);
    assert!(shown.exists() && blob.exists(), "nothing is removed where nothing can be fetched");
    case.ok(&again);
    assert_eq!(std::fs::read(&shown).unwrap(), whole);
}

#[test]
fn again_replaces_what_is_damaged_of_what_is_asked_for() {
    let case = Case::new();
    let entry = ENTRY.replace("[\"en\"]", "[\"de\", \"en\"]");
    case.own(&format!("{entry}hub = \"me/made\"\nfiles = [\"{{language}}.json\"]\n"));
    let (de, en) = (content(), content()[1..].to_vec());
    case.hub.put("datasets/me/made", "de.json", &de);
    case.hub.put("datasets/me/made", "en.json", &en);
    case.ok(&FETCH);
    let damage = |whole: &[u8]| {
        let blob = blobs(&case).join(sha256(whole));
        std::fs::write(&blob, vec![0; whole.len()]).unwrap();
        blob
    };
    let (de_blob, en_blob) = (damage(&de), damage(&en));
    case.ok(&["data", "fetch", "made", "--again", "--languages", "de"]);
    assert_eq!(std::fs::read(de_blob).unwrap(), de);
    assert_eq!(std::fs::read(&en_blob).unwrap(), vec![0; en.len()], "nobody asked for it");
    case.ok(&["data", "fetch", "made", "--again"]);
    assert_eq!(std::fs::read(en_blob).unwrap(), en);
    // Of what is here in some languages, the advice names these.
    let case = Case::new();
    case.own(&format!("{entry}hub = \"me/made\"\nfiles = [\"{{language}}.json\"]\n"));
    case.hub.put("datasets/me/made", "de.json", &de);
    case.hub.put("datasets/me/made", "en.json", &en);
    case.ok(&["data", "fetch", "made", "--languages", "de"]);
    std::fs::write(blobs(&case).join(sha256(&de)), vec![0; de.len()]).unwrap();
    case.fails(
        &["data", "verify", "made"],
        &[],
        &["`polymix data fetch made --languages de --again` replaces"],
    );
    // An archive with a published checksum whose files are as they were is vouched for.
    let zip = packed(&[("en.json", b"{}")]);
    let case = Case::new();
    let sum = format!("sha256 = \"{}\"", sha256(&zip));
    case.own(&format!("{ENTRY}url = \"{}/plain/made.tar.gz\"\n{sum}\nfiles = [\"en.json\"]\n", case.hub.url));
    case.hub.put_plain("made.tar.gz", &zip);
    case.ok(&FETCH);
    case.hub.forget();
    case.ok(&["data", "fetch", "made", "--again"]);
    assert_eq!(case.hub.count("/plain/"), 0, "{:?}", case.hub.seen());
}

#[test]
fn a_cache_that_nobody_may_write_serves_what_it_holds() {
    let case = Case::new();
    case.hub.put_dir("models/me/tiny", "", common::tiny_model().path());
    let fetch = ["model", "fetch", "me/tiny"];
    case.ok(&fetch);
    let root = case.dir().join("hf/hub");
    let files: Vec<_> =
        ["models--me--tiny/refs/main", "models--me--tiny/.polymix"].map(|n| root.join(n)).to_vec();
    let times = || files.iter().map(|f| f.metadata().unwrap().modified().unwrap()).collect::<Vec<_>>();
    let before = times();
    // Root may write whatever the permissions say: what is not written at all needs none.
    case.ok(&fetch);
    assert_eq!(times(), before, "what is known is not written again");
}

#[test]
fn an_archive_without_a_wanted_file_is_refused() {
    let case = plain_case("made.tar.gz");
    let members = [("en.json", b"{\"data\": []}".as_slice()), ("b/en.json", b"{}"), ("README.md", b"made")];
    let whole = packed(&members);
    let url = format!("url = \"{}/plain/made.tar.gz\"\n", case.hub.url);
    let own = |more: &str| case.own(&format!("{ENTRY}{url}{more}"));
    case.hub.put_plain("made.tar.gz", &whole);
    for (more, parts) in [
        (
            "files = [\"{language}.json\", \"qrels/dev.tsv\"]\n",
            ["made.tar.gz: no file 'qrels/dev.tsv' among its 3 files", "removed"],
        ),
        ("files = [\"a.tsv|a.txt\"]\n", ["no file 'a.tsv' or 'a.txt' among its 3 files", "removed"]),
        (
            "files = [\"en.tsv\"]\noptional = [\"en.json\"]\n",
            ["no file 'en.tsv' among its 3 files", "removed"],
        ),
        (
            "files = [\"de.json\"]\nunder = \"b\"\n",
            ["folder 'b': no file 'de.json' among its 1 files", "removed"],
        ),
        ("under = \"c\"\n", ["no file below 'c' that is wanted", "removed"]),
    ] {
        own(more);
        refuses(&case, &[], &parts);
        refuses(&case, &[], &parts);
        assert!(!case.dir().join("data/made/en.json").exists(), "{more}");
    }
    let sum = sha256(&whole);
    own(&format!("sha256 = \"{sum}\"\nfiles = [\"{{language}}.json\", \"dev.tsv\"]\n"));
    refuses(&case, &[], &["made.tar.gz: no file 'dev.tsv' among its 3 files"]);
    // What is only optional may be absent.
    own("files = [\"{language}.json\"]\noptional = [\"dev.tsv\", \"*.md\"]\n");
    case.ok(&FETCH);
    assert!(case.dir().join("data/made/README.md").exists());
    assert!(case.ok(&["data", "list"]).out.lines().any(|l| l.starts_with("made") && l.contains("on disk")));

    // A model packed with a folder around it.
    case.hub.put_plain("st.tar.gz", &packed(&[("st/config.json", b"{}"), ("st/model.safetensors", b"x")]));
    let entry = "[[model]]\nname = \"st\"\ndescription = \"d\"\nlicence = \"CC0\"\n[[model.source]]\n";
    case.own(&format!("{entry}url = \"{}/plain/st.tar.gz\"\n", case.hub.url));
    let parts = ["st.tar.gz: no file 'config.json' among its 2 files", "removed"];
    case.fails(&["model", "fetch", "st"], &[], &parts);
}

#[test]
fn an_empty_or_wrong_answer_is_not_kept_for_good() {
    let case = plain_case("en.json");
    let list = || case.ok(&["data", "list"]).out.lines().find(|l| l.starts_with("made")).unwrap().to_owned();
    case.hub.put_plain("en.json", b"");
    refuses(&case, &[], &["en.json", "the server sends an empty file", "try again later"]);
    assert!(!case.dir().join("data/made/en.json").exists() && !list().contains("on disk"), "{}", list());
    // Before, such a file was kept, with a record: it is asked for again.
    case.hub.put_plain("en.json", b"{\"error\": \"quota\"}");
    case.ok(&FETCH);
    let folder = case.dir().join("data/made");
    let record = folder.join(".source.json");
    let mut old: serde_json::Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    let wrong = std::fs::read(&record).unwrap();
    old["files"]["en.json"]["size"] = 0.into();
    old["files"]["en.json"]["modified"] = serde_json::Value::Null;
    old["files"]["en.json"]["checksum"] = sha256(b"").into();
    std::fs::write(folder.join("en.json"), b"").unwrap();
    std::fs::write(&record, old.to_string()).unwrap();
    case.hub.forget();
    case.ok(&FETCH);
    assert_eq!((case.hub.count("/plain/en.json"), std::fs::read(&record).unwrap().len()), (1, wrong.len()));

    // What is no data, though not empty: the error says how to fetch anew, and that works.
    let inspect = ["data", "inspect", "made"];
    let parts = ["en.json", "`polymix data fetch made --again` fetches it anew"];
    case.fails(&inspect, &[], &parts);
    let dir = case.dir().join("other");
    common::write_xquadr(&dir, &["en"], 4);
    case.hub.put_plain("en.json", &std::fs::read(dir.join("en.json")).unwrap());
    case.hub.forget();
    case.ok(&FETCH);
    assert_eq!(case.hub.count("/plain/"), 0, "what is there stays, unless it is asked for again");
    case.fails(&inspect, &[], &parts);
    // The old file stays until the new one is whole.
    case.hub.fault(hub::Fault::Status(404, None));
    case.fails(&["data", "fetch", "made", "--again"], &[], &["answered 404"]);
    assert!(folder.join("en.json").exists());
    case.ok(&["data", "fetch", "made", "--again"]);
    case.ok(&inspect);
    // An archive is unpacked anew too.
    case.hub.put_plain("made.tar.gz", &packed(&[("en.json", b"old")]));
    case.own(&format!("{ENTRY}url = \"{}/plain/made.tar.gz\"\nfiles = [\"en.json\"]\n", case.hub.url));
    case.ok(&FETCH);
    case.hub.put_plain("made.tar.gz", &packed(&[("en.json", b"new")]));
    case.ok(&FETCH);
    assert_eq!(std::fs::read(folder.join("en.json")).unwrap(), b"old");
    case.ok(&["data", "fetch", "made", "--again"]);
    assert_eq!(std::fs::read(folder.join("en.json")).unwrap(), b"new");
}
