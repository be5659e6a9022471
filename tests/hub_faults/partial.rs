//! What is only partly on disk, and who can tell.

use std::path::Path;

use crate::case::Case;
use crate::common::root;
use crate::hub::{COMMIT, Fault};
use crate::script::{Reply, Script, answer};
use crate::{ENTRY, FETCH};

const OFFLINE: [(&str, &str); 1] = [("HF_HUB_OFFLINE", "1")];
const MODEL: [&str; 3] = ["model", "fetch", "me/labse"];

/// The state of an entry in the list.
fn listed(case: &Case, form: &str, name: &str) -> String {
    let out = case.ok(&[form, "list"]).out;
    out.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("{name}: {out}")).to_owned()
}

fn labse_case() -> (Case, std::path::PathBuf) {
    let case = Case::new();
    case.hub.put_dir("models/me/labse", "", &root().join("tests/golden/tiny-labse"));
    case.ok(&MODEL);
    let repo = case.dir().join("hf/hub/models--me--labse");
    (case, repo)
}

fn described(layout: &str) -> String {
    format!(
        "[[model]]\nname = \"me/labse\"\ndescription = \"d\"\nlicence = \"x\"\n{layout}[[model.source]]\nhub = \
         \"me/labse\"\n"
    )
}

#[test]
fn a_model_without_its_dense_layer_is_not_on_disk() {
    let (case, repo) = labse_case();
    let dense = repo.join("snapshots").join(COMMIT).join("2_Dense/model.safetensors");
    case.own(&described(""));
    assert!(listed(&case, "model", "me/labse").contains("on disk "), "all is there");
    std::fs::remove_file(&dense).unwrap();
    assert!(listed(&case, "model", "me/labse").contains("begun"));
    let verified = case.run_with(&["model", "verify", "me/labse"], &[]);
    assert_eq!(verified.code, Some(1));
    assert!(verified.out.contains("2_Dense/model.safetensors: missing"), "{}", verified.out);
    case.fails(&MODEL, &OFFLINE, &["me/labse is not complete", "2_Dense/model.safetensors"]);
    case.fails(&["model", "embed", "me/labse", "--text", "x"], &[], &["not complete", "polymix model fetch"]);
    case.ok(&MODEL);
    assert!(dense.exists() && listed(&case, "model", "me/labse").contains("on disk "));
    assert_eq!(case.run_with(&MODEL, &OFFLINE).code, Some(0));
}

/// What Python's `AutoModel.from_pretrained` leaves of a model of sentence-transformers.
#[test]
fn a_model_that_another_program_brought_in_part_is_not_taken_for_whole() {
    let (case, repo) = labse_case();
    let snapshot = repo.join("snapshots").join(COMMIT);
    std::fs::remove_dir_all(repo.join(".polymix")).unwrap();
    for gone in ["2_Dense", "1_Pooling"] {
        std::fs::remove_dir_all(snapshot.join(gone)).unwrap();
    }
    // modules.json names what is missing.
    case.own(&described(""));
    assert!(listed(&case, "model", "me/labse").contains("begun"));
    case.fails(&MODEL, &OFFLINE, &["1_Pooling/config.json", "2_Dense/config.json"]);
    std::fs::remove_file(snapshot.join("modules.json")).unwrap();
    // Now nothing tells, and that is said wherever the model is looked at or used.
    for own in [described(""), String::new()] {
        case.own(&own);
        for args in [
            &["model", "inspect", "me/labse"][..],
            &["model", "embed", "me/labse", "--text", "x", "--device", "cpu"],
            &["model", "verify", "me/labse"],
            &["evaluate", "--model", "me/labse", "--data", "xquad-r", "--device", "cpu"],
        ] {
            let said = case.run_with(args, &[]);
            let said = said.out + &said.err;
            assert!(
                said.contains("another program brought its files")
                    && said.contains("`polymix model fetch me/labse` looks"),
                "{args:?}: {said}"
            );
        }
        assert!(case.run_with(&MODEL, &OFFLINE).err.contains("another program brought"));
    }
    case.own(&described(""));
    assert!(listed(&case, "model", "me/labse").contains("on disk?"));
    // An entry that states the layout knows better.
    case.own(&described("layout = \"sentence-transformers\"\n"));
    assert!(listed(&case, "model", "me/labse").contains("begun"));
    case.fails(&MODEL, &OFFLINE, &["me/labse is not complete", "modules.json"]);
    case.ok(&MODEL);
    assert!(case.ok(&["model", "inspect", "me/labse"]).out.contains("32 to 24, tanh"));
    assert!(listed(&case, "model", "me/labse").contains("on disk "));
}

#[test]
fn a_wildcard_is_whole_when_all_that_it_means_is_there() {
    for source in ["hub = \"me/made\"\nrevision = \"COMMIT\"", "git = \"URL/me/made\"\nrevision = \"COMMIT\""]
    {
        let case = Case::new();
        let source = source.replace("COMMIT", COMMIT).replace("URL", &case.hub.url);
        case.own(&format!("{ENTRY}{source}\nfiles = [\"part-*.json\"]\n"));
        for part in 1..=4 {
            for repo in ["datasets/me/made", "git/me/made"] {
                case.hub.put(
                    repo,
                    &format!("part-{part}.json"),
                    format!("{{\"data\": [{part}]}}").as_bytes(),
                );
            }
        }
        case.hub.fault(Fault::Slow(0));
        case.hub.fault(Fault::Status(403, None));
        case.fails(&FETCH, &[], &["403"]);
        assert!(listed(&case, "data", "made").contains("begun"), "{source}");
        case.fails(&FETCH, &OFFLINE, &["HF_HUB_OFFLINE", "not complete"]);
        assert_eq!(case.run_with(&["data", "verify", "made"], &[]).code, Some(1), "{source}");
        case.fails(
            &["data", "prepare", "made"],
            &[],
            &["not complete on this machine", "polymix data fetch made"],
        );
        case.ok(&FETCH);
        assert!(listed(&case, "data", "made").contains("on disk "), "{source}");
        assert!(case.ok(&["data", "verify", "made"]).out.contains("4 of 4"));
        case.hub.forget();
        assert_eq!(case.run_with(&FETCH, &OFFLINE).code, Some(0), "{source}");
        assert!(case.hub.seen().is_empty());
    }
}

fn move_dir(case: &Case, from: &str, to: &str) {
    std::fs::rename(case.dir().join(from), case.dir().join(to)).unwrap();
}

#[cfg(unix)]
#[test]
fn links_into_a_cache_that_moved_are_made_anew_without_a_network() {
    let case = Case::new();
    case.own(&format!(
        "{ENTRY}hub = \"me/one\"\nfiles = [\"en.json\"]\n[[data.source]]\nhub = \"me/two\"\nfiles = [\"two.json\"]\n"
    ));
    case.hub.put("datasets/me/one", "en.json", b"{\"data\": []}");
    case.hub.put("datasets/me/two", "two.json", b"{}");
    case.ok(&FETCH);
    assert!(listed(&case, "data", "made").contains("on disk "));
    move_dir(&case, "hf", "moved");
    let home = case.dir().join("moved").display().to_string();
    let more = [("HF_HOME", home.as_str()), ("HF_HUB_OFFLINE", "1")];
    let list = case.run_with(&["data", "list"], &more).out;
    assert!(list.lines().any(|l| l.starts_with("made") && l.contains("links cut")), "{list}");
    case.fails(
        &["data", "prepare", "made"],
        &more,
        &["links", "HF_HUB_OFFLINE=1", "polymix data fetch made"],
    );
    assert_eq!(case.run_with(&FETCH, &more).code, Some(0));
    let list = case.run_with(&["data", "list"], &more).out;
    assert!(list.lines().any(|l| l.starts_with("made") && l.contains("on disk ")), "{list}");
    assert!(case.hub.count("/resolve/") == 2, "each file came once");
}

#[test]
fn a_git_entry_that_is_here_needs_no_network() {
    let case = Case::new();
    let git = format!("git = \"{}/me/made\"\nrevision = \"{COMMIT}\"\n", case.hub.url);
    case.own(&format!("{ENTRY}{git}files = [\"{{language}}.json\"]\n"));
    case.hub.put("git/me/made", "en.json", b"{\"data\": []}");
    case.fails(&FETCH, &OFFLINE, &["HF_HUB_OFFLINE is set and made is not complete", "copy that folder"]);
    case.ok(&FETCH);
    case.hub.forget();
    for more in [&OFFLINE[..], &[]] {
        assert_eq!(case.run_with(&FETCH, more).code, Some(0), "a commit stays what it is");
    }
    assert!(case.hub.seen().is_empty(), "{:?}", case.hub.seen());
    // A branch is asked for, but the copy serves where nobody answers.
    let folder = case.dir().join("data/made");
    std::fs::remove_dir_all(&folder).unwrap();
    let closed = git.replace(COMMIT, "main");
    case.own(&format!("{ENTRY}{closed}files = [\"{{language}}.json\"]\n"));
    case.ok(&FETCH);
    case.hub.forget();
    case.ok(&FETCH);
    assert!(case.hub.count("/git/trees/") == 1, "{:?}", case.hub.seen());
    assert_eq!(case.run_with(&FETCH, &OFFLINE).code, Some(0));
    // Files that the user put there have no record: they serve, and what is not known of them is said by name.
    std::fs::remove_file(folder.join(".source.json")).unwrap();
    std::fs::write(folder.join("NOTES.txt"), "mine").unwrap();
    let output = case.run_with(&FETCH, &OFFLINE);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.err.contains("nothing records what they are"), "{}", output.err);
    let verified = case.run_with(&["data", "verify", "made"], &[]);
    assert_eq!(verified.code, Some(1));
    assert!(verified.out.contains("en.json: no record of its checksum"), "{}", verified.out);
    assert!(!verified.out.contains("NOTES"), "{}", verified.out);
    assert!(verified.err.contains("1 file without a record of a checksum"), "{}", verified.err);
    assert!(!verified.err.contains("damaged") && !verified.err.contains("remove"), "{}", verified.err);
}

#[test]
fn a_hub_that_answers_with_another_commit_is_refused() {
    let case = Case::new();
    let other = "1".repeat(40);
    case.own(&format!("{ENTRY}hub = \"me/made\"\nrevision = \"{other}\"\nfiles = [\"en.json\"]\n"));
    let listing =
        serde_json::json!({"sha": COMMIT, "siblings": [{"rfilename": "en.json", "size": 2}]}).to_string();
    let server = Script::start(move |_| Reply::Bytes(answer(200, "", listing.as_bytes())));
    case.fails(&FETCH, &[("HF_ENDPOINT", &server.url)], &[&other, COMMIT, "not the one that was asked for"]);
    assert!(!Path::new(&case.dir().join("hf/hub/datasets--me--made/snapshots")).exists());
}
