//! Disks that are full or fail, while a run logs, saves, evaluates, and while results are exported.

use std::path::Path;
use std::process::Command;

use crate::common::Program;
use crate::shim::{Random, compiled, faulty, operations};
use crate::small::{PLAIN, is_tidy, program, result, same, train, whole};
use polymix::run::{Phase, RunDir};

/// Numbers of errors as the system has them.
const IO_ERROR: &str = "5";
const NO_SPACE: &str = "28";
const READ_ONLY: &str = "30";

/// Lets operations fail one after another, and resumes each time with a disk that is well again.
fn fail_and_resume(test: &str, ops: &str, lasting: &str, code: &str, seed: u64) {
    let program = program();
    let Some(library) = compiled(program.dir.path(), test) else { return };
    let wanted = result(&whole(&program, "whole", PLAIN));
    let all = operations(&program, &library, "counted", ops, &train("counted", PLAIN));
    let mut random = Random(seed);
    let (mut failed, mut survived) = (0, 0);
    for try_ in 0..14 {
        let dir = format!("run {try_}");
        let run = RunDir::new(program.dir.path().join(&dir));
        let at = (1 + random.below(all)).to_string();
        let variables = [("UNDER", dir.as_str()), ("OPS", ops), ("DO", code), ("AT", &at), ("FOR", lasting)];
        let output = faulty(&program, &library, &variables, &train(&dir, PLAIN));
        let what = format!("operation {at} of {all}: {output:?}");
        assert!(!output.err.contains("panicked"), "{what}");
        if output.code == Some(0) {
            // A heartbeat or a sample that cannot be written ends no run.
            survived += 1;
        } else {
            failed += 1;
            assert_eq!(output.code, Some(1), "{what}");
            assert!(output.err.contains(&dir), "no file is named: {what}");
            if run.exists() {
                assert_ne!(run.state().unwrap().phase_now(), Phase::Done, "{what}");
                program.ok(&["train", "--run-dir", &dir, "--resume"]);
            } else {
                program.ok(&train(&dir, PLAIN));
            }
        }
        same(&result(&run), &wanted, &what);
        assert!(is_tidy(&run.path), "{what}");
    }
    assert!(failed > 5, "{failed} failed, {survived} survived");
}

#[test]
fn a_disk_that_is_full_from_some_moment_on() {
    fail_and_resume("a_disk_that_is_full_from_some_moment_on", "write", "-1", NO_SPACE, 11);
}

#[test]
fn a_write_that_fails_once() {
    fail_and_resume("a_write_that_fails_once", "write", "1", IO_ERROR, 12);
}

#[test]
fn a_read_that_fails_while_a_run_is_resumed() {
    let test = "a_read_that_fails_while_a_run_is_resumed";
    let program = program();
    let Some(library) = compiled(program.dir.path(), test) else { return };
    let wanted = result(&whole(&program, "whole", PLAIN));
    let all = {
        killed_late(&program, &library, "counted");
        operations(&program, &library, "counted", "read", &["train", "--run-dir", "counted", "--resume"])
    };
    for at in (1..=all).step_by(all / 10 + 1) {
        let dir = format!("run {at}");
        let run = killed_late(&program, &library, &dir);
        let at = at.to_string();
        let variables =
            [("UNDER", dir.as_str()), ("OPS", "read"), ("DO", IO_ERROR), ("AT", &at), ("FOR", "1")];
        let output = faulty(&program, &library, &variables, &["train", "--run-dir", &dir, "--resume"]);
        assert!(!output.err.contains("panicked"), "{output:?}");
        if output.code != Some(0) {
            assert!(output.err.contains(&dir), "{output:?}");
            // What failed may be the reading of its results, after it had ended.
            if run.state().map_or(true, |s| s.phase != Phase::Done) {
                program.ok(&["train", "--run-dir", &dir, "--resume"]);
            }
        }
        same(&result(&run), &wanted, &format!("reading {at} of {all}"));
    }
}

/// A run whose worker was killed in the middle of its last evaluation.
pub fn killed_late(program: &Program, library: &Path, dir: &str) -> RunDir {
    let under = format!("{dir}/evaluation/step-000012");
    let variables = [("UNDER", under.as_str()), ("DO", "kill"), ("AT", "1")];
    let output = faulty(program, library, &variables, &train(dir, PLAIN));
    assert_eq!(output.code, None, "{output:?}");
    RunDir::new(program.dir.path().join(dir))
}

#[test]
fn a_small_file_system_that_fills_up() {
    let test = "a_small_file_system_that_fills_up";
    let program = program();
    let wanted = result(&whole(&program, "whole", PLAIN));
    let small = program.dir.path().join("small disk");
    std::fs::create_dir(&small).unwrap();
    let mount = |options: &str| {
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&small)
            .output()
            .is_ok_and(|o| o.status.success())
    };
    if !mount("size=160k") {
        eprintln!("SKIPPED {test}: cannot mount a tmpfs here; the right to mount one is needed (root)");
        return;
    }
    let outcome = std::panic::catch_unwind(|| {
        let run = RunDir::new(small.join("run"));
        let output = program.run(&train("small disk/run", PLAIN));
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.err.contains("disk full") && !output.err.contains("panicked"), "{}", output.err);
        assert!(run.exists() && is_tidy(&run.path), "half-written files");
        program.fails(&["train", "--run-dir", "small disk/run", "--resume"], &["disk"]);
        let grown = Command::new("mount").args(["-o", "remount,size=4m"]).arg(&small).status().unwrap();
        assert!(grown.success());
        program.ok(&["train", "--run-dir", "small disk/run", "--resume"]);
        same(&result(&run), &wanted, "a run on a disk that was full");
    });
    assert!(Command::new("umount").arg(&small).status().unwrap().success());
    outcome.unwrap();
}

#[test]
fn an_export_to_a_failing_disk_leaves_the_old_file() {
    let test = "an_export_to_a_failing_disk_leaves_the_old_file";
    let program = program();
    let Some(library) = compiled(program.dir.path(), test) else { return };
    whole(&program, "run", PLAIN);
    for (args, file) in [
        (vec!["export", "run", "--table", "pairs", "--format", "csv"], "out/pairs.csv"),
        (vec!["export", "run", "--table", "pairs", "--format", "parquet"], "out/pairs.parquet"),
        (vec!["figure", "run", "--kind", "heatmap"], "out/map.svg"),
        (vec!["model", "convert", "run"], "out/model"),
    ] {
        let is_dir = file == "out/model";
        let args = if is_dir { [args, vec![file]].concat() } else { [args, vec!["--out", file]].concat() };
        let forced = if is_dir { args.clone() } else { [args.clone(), vec!["--force"]].concat() };
        let path = program.dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let all = operations(&program, &library, "out/", "write", &args);
        assert!(all > 2, "{all} operations for {file}");
        let before = if is_dir {
            std::fs::remove_dir_all(&path).unwrap();
            None
        } else {
            Some(std::fs::read(&path).unwrap())
        };
        for code in [NO_SPACE, IO_ERROR, READ_ONLY] {
            for at in (1..=all).step_by(all / 4 + 1) {
                let at = at.to_string();
                let variables = [("UNDER", "out/"), ("DO", code), ("AT", &at)];
                let output = faulty(&program, &library, &variables, &forced);
                if output.code == Some(0) {
                    // Only what makes a file last through a power failure did not work.
                    let _ = std::fs::remove_dir_all(&path);
                    continue;
                }
                assert_eq!(output.code, Some(1), "{output:?}");
                assert!(output.err.contains("out") && !output.err.contains("panicked"), "{output:?}");
                match &before {
                    Some(before) => assert!(std::fs::read(&path).unwrap() == *before, "{file} was changed"),
                    None => assert!(!path.exists(), "half a model: {output:?}"),
                }
            }
        }
    }
}

#[test]
fn a_read_only_store_shows_its_runs_and_changes_nothing() {
    let test = "a_read_only_store_shows_its_runs_and_changes_nothing";
    let program = program();
    let Some(library) = compiled(program.dir.path(), test) else { return };
    whole(&program, "runs/whole", PLAIN);
    killed_late(&program, &library, "runs/killed");
    let read_only = |args: &[&str]| {
        faulty(&program, &library, &[("UNDER", "/runs"), ("DO", READ_ONLY), ("AT", "1")], args)
    };
    for args in [
        &["runs", "list"][..],
        &["runs", "show", "whole"],
        &["export", "whole", "--table", "pairs"],
        &["compare", "whole", "whole"],
        &["evaluate", "--model", "whole", "--data", "xquad-r[15..20]=data"],
    ] {
        let (here, well) = (read_only(args), program.run(args));
        assert_eq!((here.code, &here.out), (Some(0), &well.out), "{args:?}: {here:?}");
    }
    let list = program.ok(&["runs", "list"]);
    for args in [
        &["train", "small.toml"][..],
        &["runs", "resume", "killed"],
        &["runs", "resume", "killed", "--detach"],
        &["runs", "resume", "killed", "--set", "train.chunk=2"],
        &["runs", "remove", "whole", "--yes"],
    ] {
        let output = read_only(args);
        assert_eq!(output.code, Some(1), "{args:?}: {output:?}");
        assert!(output.err.contains("runs") && !output.err.contains("panicked"), "{args:?}: {output:?}");
    }
    assert_eq!(program.ok(&["runs", "list"]), list);
}
