//! Sources that change between two fetches: their files, addresses, revisions and checksums.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::case::Case;
use crate::hub::{Fault, sha256};
use crate::script::{Reply, Script, answer};
use crate::{ENTRY, FETCH, packed};

const VERIFY: [&str; 3] = ["data", "verify", "made"];

fn folder(case: &Case) -> PathBuf {
    case.dir().join("data/made")
}

fn read(case: &Case, name: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(folder(case).join(name)).unwrap()).into_owned()
}

fn state(case: &Case) -> String {
    let out = case.ok(&["data", "list"]).out;
    out.lines().find(|l| l.starts_with("made")).unwrap().to_owned()
}

/// Servers that send the rest of whatever they have now, with or without a word on which version it is.
#[test]
fn halves_of_two_versions_are_never_joined() {
    let (old, new) = (b"old ".repeat(50_000), b"new ".repeat(50_000));
    for (first, second) in [
        ("ETag: \"a\"\r\n", "ETag: \"b\"\r\n"),
        (
            "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n",
            "Last-Modified: Tue, 02 Jan 2024 00:00:00 GMT\r\n",
        ),
        ("ETag: \"a\"\r\n", ""),
    ] {
        let case = Case::new();
        let (old, sent, turn) = (old.clone(), new.clone(), AtomicUsize::new(0));
        let server = Script::start(move |head| {
            if turn.fetch_add(1, Ordering::Relaxed) == 0 {
                let all = answer(200, first, &old);
                return Reply::Bytes(all[..all.len() - 100_000].to_vec());
            }
            if head.contains("range: bytes=100000-") {
                let range = format!("{second}Content-Range: bytes 100000-199999/200000\r\n");
                return Reply::Bytes(answer(206, &range, &sent[100_000..]));
            }
            Reply::Bytes(answer(200, second, &sent))
        });
        case.own(&format!("{ENTRY}url = \"{}/en.json\"\nfiles = [\"en.json\"]\n", server.url));
        let output = case.ok(&FETCH);
        assert!(output.err.contains("not the one that was begun"), "{}", output.err);
        assert!(read(&case, "en.json").as_bytes() == new, "halves of two files: {first:?} {second:?}");
    }
}

#[test]
fn a_changed_address_or_checksum_is_not_passed_over() {
    let case = Case::new();
    for version in ["v1", "v2"] {
        case.hub
            .put_plain(&format!("{version}/en.json"), format!("{{\"data\": [\"{version}\"]}}").as_bytes());
    }
    let entry = |version: &str, more: &str| {
        case.own(&format!("{ENTRY}url = \"{}/plain/{version}/en.json\"\n{more}", case.hub.url));
    };
    entry("v1", "");
    case.ok(&FETCH);
    // As it was: nothing is asked, and the files are counted.
    case.hub.forget();
    assert!(case.ok(&FETCH).err.contains("made: 1 files, 16 B"));
    assert!(case.hub.seen().is_empty());
    // Changed on disk, of the same size.
    std::fs::write(folder(&case).join("en.json"), "{\"data\": [\"v9\"]}").unwrap();
    case.ok(&FETCH);
    assert!(read(&case, "en.json").contains("v1"));
    // Another address.
    entry("v2", "");
    assert!(state(&case).contains("other source"));
    case.fails(&VERIFY, &[], &["is of", "/plain/v1/en.json", "polymix data fetch made"]);
    case.fails(&["data", "prepare", "made"], &[], &["another source", "/plain/v1/en.json"]);
    case.ok(&FETCH);
    assert!(read(&case, "en.json").contains("v2") && state(&case).contains("on disk "));
    let record = read(&case, ".source.json");
    assert!(record.contains("/v2/") && !record.contains("/v1/"), "{record}");
    // A checksum that it has not, and the one that it has.
    let sum = sha256(read(&case, "en.json").as_bytes());
    entry("v2", &format!("sha256 = \"{}\"\n", "0".repeat(64)));
    case.fails(&VERIFY, &[], &["described before"]);
    case.fails(&FETCH, &[], &["wrong checksum"]);
    assert!(read(&case, "en.json").contains("v2"), "the former file stays until there is a better one");
    assert!(!state(&case).contains("on disk"));
    entry("v2", &format!("sha256 = \"{sum}\"\n"));
    case.hub.forget();
    case.ok(&FETCH);
    assert_eq!(case.hub.count("/plain/"), 0, "the file is the one that is meant");
    assert!(case.ok(&VERIFY).out.contains("1 of 1 files are as published"));
}

#[test]
fn what_a_former_source_left_is_removed_and_what_the_user_put_there_stays() {
    let case = Case::new();
    case.hub.put_plain("v1/made.tar.gz", &packed(&[("en.json", b"{\"data\": [1]}"), ("sub/x.json", b"{}")]));
    case.hub.put_plain("v2/made.tar.gz", &packed(&[("en.json", b"{\"data\": [2]}")]));
    for version in ["v1", "v2"] {
        case.own(&format!("{ENTRY}url = \"{}/plain/{version}/made.tar.gz\"\n", case.hub.url));
        let output = case.ok(&FETCH);
        assert_eq!(
            output.err.contains("1 files of the source as it was before were removed"),
            version == "v2"
        );
        std::fs::write(folder(&case).join("own.json"), "{}").unwrap();
    }
    assert!(read(&case, "en.json").contains('2') && folder(&case).join("own.json").exists());
    assert!(!folder(&case).join("sub").exists(), "a file of the former archive");
    // A record that names a file elsewhere is no way to remove it.
    let outside = case.dir().join("precious.json");
    std::fs::write(&outside, "{}").unwrap();
    let record = read(&case, ".source.json").replace("\"en.json\": {", "\"../../precious.json\": {");
    std::fs::write(folder(&case).join(".source.json"), record).unwrap();
    case.own(&format!("{ENTRY}url = \"{}/plain/v1/made.tar.gz\"\n", case.hub.url));
    case.ok(&FETCH);
    assert!(outside.exists());
}

#[test]
fn another_revision_of_two_hub_sources_is_not_passed_over() {
    let case = Case::new();
    let entry = |revision: &str| {
        let source = |repo: &str| {
            format!("hub = \"me/{repo}\"\nrevision = \"{revision}\"\nfiles = [\"{repo}.json\"]\n")
        };
        case.own(&format!("{ENTRY}{}[[data.source]]\n{}", source("one"), source("two")));
    };
    for repo in ["one", "two"] {
        case.hub.put(&format!("datasets/me/{repo}"), &format!("{repo}.json"), b"{\"data\": []}");
    }
    let (first, second) = ("1".repeat(40), "2".repeat(40));
    entry(&first);
    case.ok(&FETCH);
    let record = read(&case, ".source.json");
    assert_eq!(record.matches(&format!("\"commit\": \"{first}\"")).count(), 2, "{record}");
    entry(&second);
    assert!(state(&case).contains("other source"));
    let inspected = case.ok(&["data", "inspect", "made"]).out;
    assert!(inspected.contains(&format!("me/one@{first}")), "{inspected}");
    case.ok(&FETCH);
    assert!(state(&case).contains("on disk "));
    let record = read(&case, ".source.json");
    assert!(record.contains(&second) && !record.contains(&first), "{record}");
}

#[test]
fn a_record_of_the_first_version_keeps_what_it_lists() {
    let case = Case::new();
    let entry = ENTRY.replace("[\"en\"]", "[\"de\", \"en\"]");
    case.own(&format!("{entry}url = \"{}/plain/{{language}}.json\"\n", case.hub.url));
    case.hub.put_plain("en.json", b"{\"data\": []}");
    std::fs::create_dir_all(folder(&case)).unwrap();
    std::fs::write(folder(&case).join("de.json"), b"{\"data\": []}").unwrap();
    let record = serde_json::json!({"v": 1, "name": "made",
        "sources": [{"source": format!("{}/plain/{{language}}.json", case.hub.url), "commit": ""}],
        "files": {"de.json": {"size": 12, "checksum": sha256(b"{\"data\": []}"), "is_published": false}}});
    std::fs::write(folder(&case).join(".source.json"), record.to_string()).unwrap();
    assert!(state(&case).contains("on disk: de"));
    case.ok(&["data", "fetch", "made", "--languages", "en"]);
    assert!(state(&case).contains("on disk ") && folder(&case).join("de.json").exists());
    assert!(case.ok(&VERIFY).out.contains("0 of 2 files are as published, 2 have no published hash"));
    case.hub.forget();
    case.ok(&FETCH);
    assert!(case.hub.seen().is_empty(), "{:?}", case.hub.seen());
}

#[test]
fn two_processes_that_fetch_two_languages_record_both() {
    let case = Case::new();
    let entry = ENTRY.replace("[\"en\"]", "[\"de\", \"en\"]");
    case.own(&format!("{entry}url = \"{}/plain/{{language}}.json\"\n", case.hub.url));
    for language in ["de", "en"] {
        case.hub.put_plain(&format!("{language}.json"), &b"[\"word\"]".repeat(20_000));
        case.hub.fault(Fault::Slow(10));
    }
    let children = ["de", "en"]
        .map(|l| case.command(&["data", "fetch", "made", "--languages", l], &[]).spawn().unwrap());
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    let record = read(&case, ".source.json");
    assert!(record.contains("\"de.json\": {") && record.contains("\"en.json\": {"), "{record}");
    assert!(case.ok(&VERIFY).out.contains("2 have no published hash"));
}
