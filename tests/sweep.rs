//! Sweeps, as a user makes them: a grid with seeds, killed, resumed, shared, with a cell that fails, with the real binary.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use common::{Output, Program, in_time, is_signalled, signal, wait_for, write_spec};
use polymix::run::{Phase, RunDir, State, Store};
use polymix::train::Event;

/// A program with a small spec of this many steps.
fn small(steps: usize) -> (Program, PathBuf) {
    let program = Program::new();
    let spec = write_spec(program.dir.path(), steps);
    (program, spec)
}

fn sweep(program: &Program, spec: &Path, more: &[&str]) -> Output {
    let mut args = vec!["sweep", spec.to_str().unwrap(), "--name", "s"];
    args.extend(more);
    program.run(&args)
}

/// Starts it in the background.
fn spawn(program: &Program, args: &[&str]) -> Child {
    program.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn finish(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    Output {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The runs of the store, in the order of their names.
fn runs(program: &Program) -> Vec<RunDir> {
    let mut found: Vec<RunDir> =
        Store { root: program.runs() }.list().into_iter().map(|summary| summary.run).collect();
    found.sort_by_key(RunDir::id);
    found
}

fn state(run: &RunDir) -> State {
    run.state().unwrap()
}

/// How often a worker has begun to train: a resumed run keeps the earlier records.
fn starts(run: &RunDir) -> usize {
    run.events().unwrap().iter().filter(|r| matches!(r.event, Event::Started { .. })).count()
}

fn resumed_from_a_checkpoint(run: &RunDir) -> bool {
    let note = |e: &Event| matches!(e, Event::Note { message } if message.starts_with("resumed from"));
    run.events().unwrap().iter().any(|r| note(&r.event))
}

fn mono_map(run: &RunDir) -> f64 {
    let scores = run.scores();
    let score = scores[0].2.iter().find(|s| s.setting == "mono" && s.metric == "map");
    score.unwrap().value
}

#[test]
fn a_grid_with_seeds_runs_to_the_end_and_its_table_is_right() {
    let (program, spec) = small(12);
    let done = sweep(
        &program,
        &spec,
        &["--grid", "sampling.alpha=0,0.5,1", "--seeds", "2", "--jobs", "2", "--devices", "cpu"],
    );
    assert_eq!(done.code, Some(0), "{done:?}");
    for part in ["6 cells: 3 combinations of sampling.alpha, 2 seeds", "[6/6 done] ", " on cpu", "left "] {
        assert!(done.err.contains(part), "no '{part}' in {}", done.err);
    }
    let runs = runs(&program);
    let ids: Vec<String> = runs.iter().map(RunDir::id).collect();
    assert_eq!(
        ids,
        [
            "s-01-alpha-0-seed-7",
            "s-02-alpha-0.5-seed-7",
            "s-03-alpha-1-seed-7",
            "s-04-alpha-0-seed-8",
            "s-05-alpha-0.5-seed-8",
            "s-06-alpha-1-seed-8"
        ]
    );
    for (run, (alpha, seed)) in runs.iter().zip([(0.0, 7), (0.5, 7), (1.0, 7), (0.0, 8), (0.5, 8), (1.0, 8)])
    {
        let spec = run.spec().unwrap();
        assert_eq!((spec.sampling.alpha, spec.seed), (Some(alpha), seed));
        assert_eq!((state(run).phase, starts(run)), (Phase::Done, 1));
    }

    // The second row by hand: two values; 12.7062 is Student's t for one degree of freedom.
    let (a, b) = (mono_map(&runs[1]), mono_map(&runs[4]));
    assert!(a != b, "two seeds, two results");
    let (mean, sd) = (f64::midpoint(a, b), (a - b).abs() / 2f64.sqrt());
    let half = 12.706_204_7 * sd / 2f64.sqrt();
    let csv = std::fs::read_to_string(program.dir.path().join("sweeps/s/results.csv")).unwrap();
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len(), 4, "{csv}");
    assert_eq!(
        lines[0][..8],
        [
            "sweep",
            "sampling.alpha",
            "dataset",
            "n",
            "mono_map_mean",
            "mono_map_sd",
            "mono_map_low",
            "mono_map_high"
        ]
    );
    assert_eq!(lines[0].len(), 4 + 4 * 4);
    assert_eq!(lines[2][..4], ["s", "0.5", "xquad-r[30..40]", "2"]);
    for (column, wanted) in [(4, mean), (5, sd), (6, mean - half), (7, mean + half)] {
        let found: f64 = lines[2][column].parse().unwrap();
        assert!((found - wanted).abs() < 1e-6, "{}: {found} {wanted}", lines[0][column]);
    }
    // Text, and the other formats of the same table.
    assert!(done.out.lines().next().unwrap().contains("mono mAP"), "{}", done.out);
    assert!(
        done.out.contains(&format!("{mean:.4}")) && done.out.contains(&format!("{half:.4}")),
        "{}",
        done.out
    );
    assert_eq!(program.ok(&["sweep", "show", "s", "--format", "csv"]), csv);
    let json: serde_json::Value =
        serde_json::from_str(&program.ok(&["sweep", "show", "sweeps/s", "--json"])).unwrap();
    assert_eq!((json["v"].as_u64(), json["cells"].as_array().unwrap().len()), (Some(1), 6));
    assert_eq!(json["cells"][4]["values"]["sampling.alpha"], "0.5");
    assert!((json["results"][1]["mono_map_mean"].as_f64().unwrap() - mean).abs() < 1e-9);
    assert!(program.ok(&["sweep", "show", "last", "--format", "latex"]).contains("\\toprule"));
    assert!(program.ok(&["sweep", "show", "last", "--format", "markdown"]).starts_with("| sweep |"));
    let parquet = program.command(&["sweep", "show", "s", "--format", "parquet"]).output().unwrap();
    assert!(parquet.stdout.starts_with(b"PAR1"));
    let page = program.ok(&["sweep", "show", "s"]);
    assert!(page.contains("s-06-alpha-1-seed-8") && page.contains("12/12"), "{page}");
    let list = program.ok(&["sweep", "list"]);
    assert!(list.contains("6/6") && list.contains("sampling.alpha=0,0.5,1"), "{list}");

    // Nothing is left to do: the same command may be given again.
    let again = program.run(&["sweep", "--resume", "--name", "s"]);
    assert_eq!((again.code, again.out.as_str()), (Some(0), done.out.as_str()));
    assert!(runs.iter().all(|run| starts(run) == 1));
}

#[test]
fn a_killed_sweep_goes_on_without_repeating_what_is_done() {
    let grid = ["--grid", "sampling.alpha=0,0.5,1", "--seeds", "2"];
    // Killed when a cell is done, another is at work, and others wait.
    let (program, spec, all, waiting) = in_time("the kill", || {
        let (program, spec) = small(150);
        let args = [&["sweep", spec.to_str().unwrap(), "--name", "s"][..], &grid].concat();
        let mut killed = spawn(&program, &args);
        let many = |all: &[RunDir], phase: Phase| all.iter().filter(|run| state(run).phase == phase).count();
        wait_for("the second cell to run", || {
            let all = runs(&program);
            let is_there =
                all.len() == 6 && many(&all[..1], Phase::Done) == 1 && many(&all, Phase::Running) == 1;
            is_there || killed.try_wait().unwrap().is_some()
        });
        killed.kill().unwrap();
        killed.wait().unwrap();
        let all = runs(&program);
        // Where none runs by now, the next may just begin.
        let is_in_time = many(&all, Phase::Running) == 1;
        let waiting = many(&all, Phase::Queued);
        (is_in_time && waiting > 0).then_some((program, spec, all, waiting))
    });
    let first = std::fs::read(all[0].events_file()).unwrap();

    // The spec and the grid may be given again; they must be the same.
    let other = ["--grid", "sampling.alpha=0,1", "--resume"];
    let refused = sweep(&program, &spec, &other);
    assert!(refused.code == Some(1) && refused.err.contains("--grid differs"), "{refused:?}");
    let resumed = sweep(&program, &spec, &[&grid[..], &["--resume"]].concat());
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    assert_eq!(std::fs::read(all[0].events_file()).unwrap(), first, "the cell that was done is as it was");
    assert!(all.iter().all(|run| state(run).phase == Phase::Done));
    // The worker had outlived the sweep: it was waited for, not started once more.
    assert_eq!(all.iter().map(starts).collect::<Vec<_>>(), [1; 6]);
    assert_eq!(resumed.err.matches(": started").count(), waiting, "{}", resumed.err);
}

#[test]
fn a_machine_that_went_down_costs_only_what_was_after_the_last_checkpoint() {
    let (program, all) = in_time("the kill", || {
        let (program, spec) = small(400);
        let args = ["sweep", spec.to_str().unwrap(), "--name", "s", "--grid", "sampling.alpha=0,1"];
        let mut killed = spawn(&program, &args);
        wait_for("a checkpoint of the first cell", || {
            runs(&program).first().is_some_and(|run| !polymix::run::checkpoints(run).is_empty())
        });
        killed.kill().unwrap();
        killed.wait().unwrap();
        let all = runs(&program);
        let is_killed = is_signalled("-KILL", state(&all[0]).pid);
        wait_for("the worker's end", || !state(&all[0]).phase_now().is_active());
        let is_in_time = is_killed && state(&all[0]).phase != Phase::Done;
        is_in_time.then_some((program, all))
    });
    assert_eq!(state(&all[0]).phase_now(), Phase::Stale);
    let resumed = program.run(&["sweep", "--resume", "--dir", "sweeps/s"]);
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    assert!(resumed_from_a_checkpoint(&all[0]) && !resumed_from_a_checkpoint(&all[1]));
    assert_eq!((starts(&all[0]), starts(&all[1])), (2, 1));
    assert_eq!(state(&all[0]).failures, 0, "going down with the machine is no failure of the cell");
}

#[test]
fn a_failing_cell_is_tried_twice_and_the_others_finish() {
    let (program, spec) = small(12);
    let good = format!("[\"xquad-r[0..24]={}\"]", program.dir.path().join("data").display());
    let missing = program.dir.path().join("missing");
    let bad = format!("[\"xquad-r[0..24]={}\"]", missing.display());
    let grid = format!("data.train={bad},{good}");
    let done = sweep(&program, &spec, &["--grid", &grid]);
    assert_eq!(done.code, Some(1), "{done:?}");
    let all = runs(&program);
    assert_eq!((state(&all[0]).phase, state(&all[0]).failures), (Phase::Failed, 2));
    assert_eq!((state(&all[1]).phase, state(&all[1]).failures), (Phase::Done, 0));
    let lines: Vec<&str> = done.err.lines().filter(|line| line.contains(": ")).collect();
    let place = |part: &str| {
        lines.iter().position(|l| l.contains(part)).unwrap_or_else(|| panic!("no '{part}': {lines:#?}"))
    };
    assert!(place("failed, will be tried again") < place("done in"), "the others come first: {lines:#?}");
    assert!(place("done in") < place("started again (try 2)"), "{lines:#?}");
    assert!(place("started again (try 2)") < place("failed for good"), "{lines:#?}");
    assert!(
        done.err.contains("1 of 2 cells failed twice") && done.err.contains("no such file or directory"),
        "{}",
        done.err
    );
    assert_eq!(done.out.lines().count(), 2, "the table has the cell that is done: {}", done.out);

    // The cause is gone: the failed cell is tried again, the other is left alone.
    common::copy_dir(&program.dir.path().join("data"), &missing);
    let resumed = program.run(&["sweep", "--resume", "--name", "s"]);
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    assert!(resumed.err.contains("[2/2 done]"), "{}", resumed.err);
    assert_eq!(starts(&all[1]), 1);
}

#[test]
fn a_worker_that_is_killed_counts_as_failed_and_goes_on_from_its_checkpoint() {
    let (_program, all, done) = in_time("the kill", || {
        let (program, spec) = small(400);
        let args = ["sweep", spec.to_str().unwrap(), "--name", "s", "--grid", "sampling.alpha=0.5"];
        let child = spawn(&program, &args);
        wait_for("a checkpoint", || {
            runs(&program).first().is_some_and(|run| !polymix::run::checkpoints(run).is_empty())
        });
        let all = runs(&program);
        let is_killed = is_signalled("-KILL", state(&all[0]).pid);
        let done = finish(child);
        let is_in_time = is_killed && !(starts(&all[0]) == 1 && state(&all[0]).phase == Phase::Done);
        is_in_time.then_some((program, all, done))
    });
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.err.contains("signal: 9") && done.err.contains("will be tried again"), "{}", done.err);
    assert!(resumed_from_a_checkpoint(&all[0]));
    assert_eq!((state(&all[0]).phase, state(&all[0]).failures), (Phase::Done, 1));
}

#[test]
fn two_processes_share_a_sweep_and_start_no_cell_twice() {
    let (program, spec) = small(60);
    let args =
        ["sweep", spec.to_str().unwrap(), "--name", "s", "--grid", "sampling.alpha=0,0.5,1", "--seeds", "3"];
    let first = spawn(&program, &args);
    wait_for("the sweep", || program.dir.path().join("sweeps/s/sweep.toml").exists());
    let others = [0, 1].map(|_| spawn(&program, &["sweep", "--resume", "--name", "s"]));
    let outputs: Vec<Output> = std::iter::once(first).chain(others).map(finish).collect();
    let all = runs(&program);
    assert_eq!(all.len(), 9);
    assert!(all.iter().all(|run| state(run).phase == Phase::Done));
    assert_eq!(all.iter().map(starts).collect::<Vec<_>>(), [1; 9]);
    for output in &outputs {
        assert_eq!((output.code, &output.out), (Some(0), &outputs[0].out), "{outputs:#?}");
    }
    let started: usize = outputs.iter().map(|o| o.err.matches(": started").count()).sum();
    assert_eq!(started, 9, "{outputs:#?}");
    assert!(
        outputs.iter().filter(|o| o.err.contains(": started")).count() > 1,
        "one did it all: {outputs:#?}"
    );
}

#[test]
fn of_many_workers_that_begin_at_once_only_one_trains() {
    let (program, spec) = small(400);
    let spec = polymix::spec::load(&spec, &[]).unwrap();
    let run = Store::create_at(&program.dir.path().join("r"), &spec).unwrap();
    let workers: Vec<Child> =
        (0..6).map(|_| spawn(&program, &["train", "--run-dir", "r", "--resume"])).collect();
    let outputs: Vec<Output> = workers.into_iter().map(finish).collect();
    let won = outputs.iter().filter(|o| o.code == Some(0)).count();
    assert_eq!((won, starts(&run), state(&run).phase), (1, 1, Phase::Done), "{outputs:#?}");
    for lost in outputs.iter().filter(|o| o.code != Some(0)) {
        let told = ["another worker has just begun", "already running", "is done"];
        assert!(told.iter().any(|part| lost.err.contains(part)), "{lost:?}");
    }
}

#[test]
fn ctrl_c_stops_every_worker_with_a_checkpoint_and_resume_goes_on() {
    let (program, spec) = small(1_000_000);
    let args =
        ["sweep", spec.to_str().unwrap(), "--name", "s", "--grid", "sampling.alpha=0,0.5,1", "--jobs", "2"];
    let child = spawn(&program, &args);
    let stepped =
        |run: &RunDir| run.events().unwrap_or_default().iter().any(|r| matches!(r.event, Event::Step { .. }));
    wait_for("two cells at work", || runs(&program).iter().filter(|run| stepped(run)).count() == 2);
    signal("-INT", child.id());
    let stopped = finish(child);
    assert_eq!(stopped.code, Some(1), "{stopped:?}");
    assert!(
        stopped.err.contains("0 of 3 cells are done") && stopped.err.contains("--resume"),
        "{}",
        stopped.err
    );
    let all = runs(&program);
    for run in &all[..2] {
        let (state, checkpoints) = (state(run), polymix::run::checkpoints(run));
        assert_eq!((state.phase, checkpoints.last().map(|c| c.0)), (Phase::Stopped, Some(state.step)));
    }
    assert_eq!(state(&all[2]).phase, Phase::Queued);

    // A second resume, stopped at once again, goes on from the checkpoints.
    let child = spawn(&program, &["sweep", "--resume", "--name", "s", "--jobs", "3"]);
    wait_for("all three at work", || all.iter().all(stepped) && starts(&all[0]) == 2 && starts(&all[1]) == 2);
    signal("-TERM", child.id());
    assert_eq!(finish(child).code, Some(1));
    assert!(all[..2].iter().all(resumed_from_a_checkpoint));
    assert!(all.iter().all(|run| state(run).phase == Phase::Stopped));
}

/// However soon the second Ctrl-C comes, the workers are asked before their leader ends.
#[test]
fn ctrl_c_twice_leaves_no_worker_behind() {
    let (program, spec) = small(1_000_000);
    let args =
        ["sweep", spec.to_str().unwrap(), "--name", "s", "--grid", "sampling.alpha=0,1", "--jobs", "2"];
    let child = spawn(&program, &args);
    let is_running = |run: &RunDir| run.state().is_ok_and(|s| s.phase == Phase::Running);
    wait_for("two cells at work", || runs(&program).iter().filter(|run| is_running(run)).count() == 2);
    for _ in 0..2 {
        signal("-INT", child.id());
    }
    let ended = finish(child);
    assert!(ended.err.contains("stopping every worker after its step"), "{ended:?}");
    let all = runs(&program);
    wait_for("the workers' ends", || !all.iter().any(|run| state(run).phase_now().is_active()));
    assert!(all.iter().all(|run| state(run).phase == Phase::Stopped), "{ended:?}");
}

#[test]
fn a_cell_that_the_user_stops_is_left_alone_until_resume() {
    // Stopped before its turn has come.
    let (program, done) = in_time("the stop", || {
        let (program, spec) = small(12);
        let spec = spec.to_str().unwrap();
        let child = spawn(&program, &["sweep", spec, "--name", "s", "--grid", "train.steps=400,12,13"]);
        wait_for("the queue", || runs(&program).len() == 3);
        let stop = program.run(&["runs", "stop", "s-03"]);
        let done = finish(child);
        let is_in_time = !runs(&program)[2].events_file().exists();
        assert!(!is_in_time || stop.code == Some(0), "{stop:?}");
        is_in_time.then_some((program, done))
    });
    assert!(done.code == Some(1) && done.err.contains("2 of 3 cells are done"), "{done:?}");
    let all = runs(&program);
    assert_eq!(state(&all[2]).phase, Phase::Stopped);
    assert_eq!(program.run(&["sweep", "--resume", "--name", "s"]).code, Some(0));
    assert_eq!(all.iter().map(starts).collect::<Vec<_>>(), [1; 3]);
}

#[test]
fn bad_sweeps_are_refused_before_anything_starts() {
    let (program, spec) = small(12);
    let spec = spec.to_str().unwrap();
    for (more, parts) in [
        (&["--grid", "sampling.alpha=0,2"][..], &["cell 2 of 2 (sampling.alpha=2)", "between 0"][..]),
        (&["--grid", "train.stepz=1"], &["cell 1 of 1", "stepz", "steps"]),
        (&["--grid", "sampling.alpha"], &["key=v1,v2"]),
        (&[], &["nothing to sweep"]),
        (&["--seeds", "2", "--grid", "seed=1,2"], &["--seeds 2"]),
        (&["--grid", "sampling.alpha=0,1", "--devices", "tpu"], &["--devices tpu", "must be auto, cpu"]),
        (&["--grid", "sampling.alpha=0,1", "--jobs", "0"], &["--jobs 0"]),
        (&["--grid", "sampling.alpha=0,1", "--name", "a/b"], &["--name a/b"]),
        (&["--grid", "train.batch=8,99"], &["cell-02-batch-99: ", "too few for train.batch = 99"]),
        (&["--grid", "sampling.alpha=0,1", "--format", "trec"], &["no TREC run"]),
        (&["--grid", "sampling.alpha=0,1", "--resume"], &["--name ID or --dir DIR"]),
    ] {
        let args: Vec<&str> = ["sweep", spec].iter().chain(more).copied().collect();
        program.fails(&args, parts);
    }
    program.fails(&["sweep", "--grid", "sampling.alpha=0,1"], &["name a spec"]);
    program.fails(&["sweep", "nowhere.toml", "--grid", "sampling.alpha=0,1"], &["no such file", "demo-grid"]);
    program.fails(&["sweep", "--resume", "--name", "x"], &["no such sweep", "sweep list"]);
    program.fails(&["sweep", "--resume", "--dir", "x"], &["sweep.toml"]);
    program.fails(&["sweep", "show", "x"], &["no such sweep"]);
    assert!(
        !program.runs().exists() && !program.dir.path().join("sweeps").exists(),
        "nothing is left behind"
    );
    assert!(program.ok(&["sweep", "list"]).contains("no sweeps yet"));
}

#[test]
fn a_simplex_of_three_kinds_ends_as_table_figure_and_report() {
    let (program, spec) = small(6);
    let spec = spec.to_str().unwrap();
    let done = program.run(&["sweep", spec, "--simplex", "1", "--name", "s"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let ids: Vec<String> = runs(&program).iter().map(RunDir::id).collect();
    let mixes = ["mono-1-cross-0-multi-0", "mono-0-cross-1-multi-0", "mono-0-cross-0-multi-1"];
    let wanted: Vec<String> =
        mixes.iter().enumerate().map(|(i, mix)| format!("s-0{}-{mix}", i + 1)).collect();
    assert_eq!(ids, wanted);
    // The base's alpha gave way; what was drawn is what the mix says.
    let weights = runs(&program)[2].spec().unwrap().sampling.weights().unwrap();
    assert_eq!((weights.multi, weights.alpha()), (1.0, None));

    let csv = program.ok(&["sweep", "show", "s", "--format", "csv", "--metrics", "mrr,rank_distance"]);
    let head = "sweep,sampling.mono,sampling.cross,sampling.multi,dataset,n,mono_mrr_mean";
    assert!(csv.starts_with(head) && csv.contains("rank_distance_high"), "{csv}");
    assert!(csv.lines().nth(2).unwrap().starts_with("s,0.0,1.0,0.0,xquad-r[30..40],1,0."), "{csv}");
    program.fails(&["sweep", "show", "s", "--metrics", "mapp"], &["'mapp'", "there are: ", "map"]);
    assert!(program.ok(&["sweep", "list"]).contains("simplex 1"));

    for (metric, setting) in [("map", "cross"), ("rank_distance", "multi")] {
        let args =
            ["figure", "s", "--kind", "ternary", "--metric", metric, "--setting", setting, "--out", "t.svg"];
        program.ok(&[&args[..], &["--force"]].concat());
        let svg = std::fs::read_to_string(program.dir.path().join("t.svg")).unwrap();
        for text in ["X-X-mono", "X-Y", "multi"] {
            assert!(svg.contains(&format!(">{text}<")), "{text} in {svg}");
        }
    }
    let figure = ["figure", "s", "--out", "u.svg", "--kind"];
    let with = |more: &[&'static str]| [&figure[..], more].concat();
    program.fails(&with(&["ternary", "--metric", "rank_distance", "--setting", "mono"]), &["--setting mono"]);
    program.fails(&with(&["ratio"]), &["no alpha", "--kind ternary"]);
    let alone = ["figure", &wanted[2], "--kind", "ternary", "--out", "u.svg"];
    program.fails(&alone, &["one mix"]);

    program.ok(&["report", "s", "--out", "s.html"]);
    let html = std::fs::read_to_string(program.dir.path().join("s.html")).unwrap();
    assert!(html.contains("Mixes of three kinds") && html.contains("--simplex 1 --seeds 1"), "{html}");

    program.fails(&["sweep", spec, "--simplex", "0"], &["--simplex 0", "1 to 100"]);
    let both = ["sweep", spec, "--simplex", "2", "--grid", "sampling.alpha=0,1"];
    program.fails(&both, &["sampling.alpha", "leave one of the two out"]);
}
