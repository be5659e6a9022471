//! Where runs lie: names of all kinds, and what `runs remove` must never touch.

use crate::common::copy_dir;
use crate::small::{PLAIN, is_tidy, program, result, same, whole};
use polymix::run::{Phase, RunDir, State};

/// Arguments with another store than the program's own.
fn with<'a>(store: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    [&["--runs-dir", store], args].concat()
}

#[test]
fn a_store_whose_path_has_spaces_and_other_scripts() {
    let program = program();
    let wanted = result(&whole(&program, "whole", PLAIN));
    let store = program.dir.path().join("mes essais/läufe 実験 تجربة 'x' \"y\" [1]");
    let store = store.to_str().unwrap();
    let sets: Vec<&str> = PLAIN.iter().flat_map(|set| ["--set", set]).collect();
    program.ok(&[&with(store, &["train", "small.toml", "--set", "name=mañana 明日"])[..], &sets].concat());
    let list = program.ok(&with(store, &["runs", "list"]));
    assert!(list.contains("mañana-明日-001") && list.contains("done"), "{list}");
    let run = RunDir::new(std::path::Path::new(store).join("mañana-明日-001"));
    same(&result(&run), &wanted, "a run on such a path");
    program.ok(&with(store, &["export", "last", "--table", "pairs", "--out", "päirs 1.csv"]));
    program.ok(&with(store, &["figure", "last", "--kind", "curves", "--out", "kurven ä.svg"]));
    program.ok(&with(
        store,
        &["evaluate", "--model", "mañana", "--data", "xquad-r[15..20]=data", "--out", "aus wertung"],
    ));
    program.ok(&with(store, &["runs", "remove", "mañana", "--yes"]));
    assert!(!run.path.exists() && is_tidy(std::path::Path::new(store)));
}

#[test]
fn removing_touches_nothing_but_runs_of_the_store() {
    let program = program();
    let run = whole(&program, "runs/inside", &[]);
    let outside = program.dir.path().join("project");
    copy_dir(&run.path, &outside);
    std::fs::write(outside.join("thesis.tex"), "years").unwrap();
    let nested = program.runs().join("folder/nested");
    copy_dir(&run.path, &nested);
    for name in ["project", "./project", "runs/folder/nested", outside.to_str().unwrap()] {
        program.fails(&["runs", "remove", name, "--yes"], &["not in the directory of runs", "--runs-dir"]);
    }
    program.fails(&["runs", "remove", ".", "--yes"], &["no such run"]);
    program.fails(&["runs", "remove", "..", "--yes"], &["no such run"]);
    program.fails(&["runs", "remove", "", "--yes"], &["no such run"]);
    assert!(outside.join("thesis.tex").exists() && nested.join("spec.toml").exists());
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&outside, program.runs().join("link")).unwrap();
        program.fails(&["runs", "remove", "link", "--yes"], &["not in the directory of runs"]);
        assert!(outside.join("thesis.tex").exists());
    }
    program.ok(&["runs", "remove", "inside", "--yes"]);
    assert!(!run.path.exists());
    // A run beside the store goes where its own directory is named as the store.
    program.ok(&["--runs-dir", ".", "runs", "remove", "project", "--yes"]);
    assert!(!outside.exists());
}

#[test]
fn a_run_that_lost_its_spec_is_listed_and_can_be_removed() {
    let program = program();
    let run = whole(&program, "runs/lost", &[]);
    std::fs::remove_file(run.spec_file()).unwrap();
    let output = program.run(&["runs", "list"]);
    assert!(output.out.contains("lost") && output.err.contains("spec.toml"), "{output:?}");
    program.fails(&["runs", "resume", "lost"], &["spec.toml"]);
    program.ok(&["runs", "remove", "lost", "--yes"]);
    assert!(!run.path.exists());
}

#[test]
fn a_directory_that_was_made_before_its_run_can_be_taken() {
    let program = program();
    let wanted = result(&whole(&program, "whole", PLAIN));
    // Empty, as a cluster makes it; with what a creation leaves that was killed.
    for (dir, left) in [("empty", None), ("begun", Some("state.json"))] {
        std::fs::create_dir(program.dir.path().join(dir)).unwrap();
        if let Some(left) = left {
            let state = program.dir.path().join("whole").join(left);
            std::fs::copy(state, program.dir.path().join(dir).join(left)).unwrap();
        }
        same(&result(&whole(&program, dir, PLAIN)), &wanted, dir);
    }
    program.fails(&["train", "small.toml", "--run-dir", "whole"], &["not empty"]);
}

#[test]
fn what_a_killed_worker_left_half_written_is_taken_away() {
    let program = program();
    let run = whole(&program, "run", PLAIN);
    for left in ["checkpoints/.step-000003.77.part", "evaluation/step-000005/.x.77.part", ".model.77.gone"] {
        std::fs::create_dir_all(run.path.join(left)).unwrap();
        std::fs::write(run.path.join(left).join("model.safetensors"), "half").unwrap();
    }
    let mut state = run.state().unwrap();
    state.phase = Phase::Stopped;
    state.write(&run.path).unwrap();
    assert_eq!(State::read(&run.path).unwrap().phase, Phase::Stopped);
    program.ok(&["train", "--run-dir", "run", "--resume"]);
    assert!(is_tidy(&run.path));
}

#[test]
fn checkpoints_are_kept_as_the_spec_says() {
    let program = program();
    let steps = |dir: &str, sets: &[&str]| -> Vec<usize> {
        let run = whole(&program, dir, sets);
        polymix::run::checkpoints(&run).into_iter().map(|(step, _)| step).collect()
    };
    assert_eq!(steps("all", &["train.keep_checkpoints=10"]), [3, 6, 9, 12]);
    assert_eq!(steps("two", &["train.keep_checkpoints=2"]), [9, 12]);
    // A learning rate that only harms: the best is the model before the first step.
    let harm = ["train.learning_rate=0.5", "train.clip_norm=0", "train.keep_checkpoints=1"];
    assert_eq!(steps("no best", &[&harm[..], &["train.keep_best=false"]].concat()), [12]);
    // Without early stopping no checkpoint is written for being the best: there is none of step 0 to keep.
    assert_eq!(steps("apart", &harm), [12]);
    let early = [&harm[..], &["train.early_stopping.patience=2"]].concat();
    let kept = steps("best", &early);
    let history = crate::small::history(&RunDir::new(program.dir.path().join("best")));
    assert_eq!(kept, [0, 8], "{history:?}");
    assert!(history.iter().any(|line| line.contains("the model is that of step 0")), "{history:?}");
}
