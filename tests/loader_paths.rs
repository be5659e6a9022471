//! Paths that no loader can read, and what is said of them.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;
#[path = "common/files.rs"]
mod files;

use files::{load, made, says};
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
