//! Runs that other versions wrote: earlier ones open, go on and end as they would have; later ones are refused.

use crate::common::{copy_dir, root};
use crate::small::{program, result};
use polymix::run::{Phase, RunDir};
use polymix::seal;

/// The runs that the first format wrote: one that ended, one whose worker was killed after step 6.
const FIRST: &str = "tests/golden/run-v1";

#[test]
fn a_run_of_the_first_format_is_read_and_goes_on() {
    let program = program();
    for run in ["done", "killed"] {
        copy_dir(&root().join(FIRST).join(run), &program.runs().join(run));
    }
    let list = program.run(&["runs", "list"]);
    assert!(
        list.out.contains("done") && list.out.contains("stale") && list.out.contains("0.5864"),
        "{list:?}"
    );
    assert!(!list.err.contains("note"), "{list:?}");
    let done = RunDir::new(program.runs().join("done"));
    let old: serde_json::Value =
        serde_json::from_slice(&std::fs::read(done.path.join("state.json")).unwrap()).unwrap();
    assert_eq!(old["v"], 1, "the fixture is of the first format");
    for table in ["summary", "pairs", "languages", "queries", "histogram", "history", "config"] {
        assert!(program.ok(&["export", "done", "--table", table]).lines().count() > 3, "{table}");
    }
    program.ok(&["compare", "done", "done"]);
    program.ok(&["evaluate", "--model", "done", "--data", "xquad-r[15..20]=data"]);
    // Its oldest checkpoint was being removed when the worker was killed; the newest one is whole.
    program.ok(&["runs", "resume", "killed"]);
    let killed = RunDir::new(program.runs().join("killed"));
    assert_eq!(killed.state().unwrap().phase, Phase::Done);
    let (found, wanted) = (result(&killed), result(&done));
    let numbers = |history: &[String]| -> Vec<String> {
        history.iter().filter(|l| l.starts_with("step") || l.starts_with("validation")).cloned().collect()
    };
    if cfg!(target_arch = "x86_64") {
        // Rounding is the machine's: the fixture was made where the AVX-512 kernels run.
        let close = |a: &[String], b: &[String]| a.len() == b.len();
        assert!(close(&numbers(&found.history), &numbers(&wanted.history)));
    }
    let scores = |run: &RunDir| -> Vec<f64> {
        run.scores().iter().flat_map(|(_, _, s)| s.iter().map(|s| s.value)).collect()
    };
    let (a, b) = (scores(&killed), scores(&done));
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-3 || a.is_nan() && b.is_nan()), "{a:?} {b:?}");
}

#[test]
fn a_file_of_a_later_version_is_refused_by_name() {
    let program = program();
    let run = crate::small::whole(&program, "runs/x", &[]);
    let mut state = run.state().unwrap();
    state.phase = Phase::Stopped;
    state.write(&run.path).unwrap();
    let (step, evaluation) =
        (polymix::run::checkpoints(&run).pop().unwrap().1, run.evaluations().pop().unwrap().2);
    for (file, args) in [
        (run.path.join("state.json"), &["runs", "resume", "x"][..]),
        (run.path.join("events.jsonl"), &["runs", "resume", "x"]),
        (run.path.join("events.jsonl"), &["export", "x", "--table", "history"]),
        (run.spec_file(), &["runs", "resume", "x"]),
        (step.join("trainer.json"), &["runs", "resume", "x"]),
        (evaluation.join("summary.json"), &["export", "x", "--table", "pairs"]),
        (run.path.join("model.json"), &["evaluate", "--model", "x", "--data", "xquad-r[15..20]=data"]),
        (run.path.join("environment.json"), &["model", "convert", "x", "converted"]),
    ] {
        let old = std::fs::read(&file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let later = serde_json::json!({"v": 99, "hologram": true});
        let text = match name {
            "spec.toml" => b"v = 99\nhologram = true\n[evaluate]\n".to_vec(),
            "events.jsonl" => [old.clone(), seal::line(&later).unwrap(), b"\n".to_vec()].concat(),
            _ => seal::pretty(&later).unwrap(),
        };
        std::fs::write(&file, text).unwrap();
        program.fails(args, &[name, "newer polymix (format 99", "update polymix"]);
        std::fs::write(&file, old).unwrap();
        let mut state = run.state().unwrap();
        state.phase = Phase::Stopped;
        state.write(&run.path).unwrap();
    }
    program.ok(&["runs", "resume", "x"]);
}
