//! What a run takes and what it says of it: the driver's numbers, memory limits, losses that are not finite.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;

use std::path::{Path, PathBuf};

use common::{Program, wait_for, write_spec};
use polymix::run::{Phase, RunDir};
use polymix::train::Event;

/// A library with the driver's functions and made-up answers.
const FAKE_DRIVER: &str = r#"
#include <string.h>
typedef void *device;
typedef struct { unsigned int gpu, memory; } use;
typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } memory;
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { (void)code; return "fault"; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, device *d) { *d = (device)1; return index == 0 ? 0 : 2; }
int nvmlDeviceGetName(device d, char *name, unsigned int length) { strncpy(name, "Made H200", length); return 0; }
int nvmlDeviceGetUtilizationRates(device d, use *u) { u->gpu = 87; u->memory = 40; return 0; }
int nvmlDeviceGetMemoryInfo_v2(device d, memory *m) { m->total = 4294967296ull; m->used = 1073741824ull; m->free = 3221225472ull; return 0; }
int nvmlDeviceGetTemperature(device d, int sensor, unsigned int *t) { *t = 61; return 0; }
int nvmlDeviceGetPowerUsage(device d, unsigned int *milliwatts) { *milliwatts = 512500; return 0; }
"#;

/// Compiles the library; says loudly that `test` is skipped where there is no compiler.
fn fake_driver(dir: &Path, test: &str) -> Option<PathBuf> {
    let (source, library) = (dir.join("driver.c"), dir.join("libnvidia-ml.so"));
    std::fs::write(&source, FAKE_DRIVER).unwrap();
    let made = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-w", "-o"])
        .arg(&library)
        .arg(&source)
        .output();
    match made {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(library)
        }
        Err(error) => {
            eprintln!("SKIPPED {test}: no C compiler ({error}); install one as `cc`");
            None
        }
    }
}

/// A run of 20 steps as if it had been stopped after step 10.
fn stopped_at_10(program: &Program) -> RunDir {
    let spec = write_spec(program.dir.path(), 20);
    program.ok(&["train", spec.to_str().unwrap(), "--run-dir", "r", "--set", "train.keep_checkpoints=9"]);
    let run = RunDir::new(program.dir.path().join("r"));
    for (_, later) in polymix::run::checkpoints(&run).into_iter().filter(|(step, _)| *step > 10) {
        std::fs::remove_dir_all(later).unwrap();
    }
    std::fs::remove_dir_all(run.model_dir()).unwrap();
    let mut state = run.state().unwrap();
    (state.phase, state.step) = (Phase::Stopped, 10);
    state.write(&run.path).unwrap();
    run
}

/// What a run's log remarks.
fn notes(run: &RunDir) -> Vec<String> {
    let events = run.events().unwrap().into_iter();
    events.filter_map(|r| if let Event::Note { message } = r.event { Some(message) } else { None }).collect()
}

#[test]
fn the_drivers_numbers_reach_the_events_and_runs_show() {
    let program = Program::new();
    let Some(library) = fake_driver(program.dir.path(), "the_drivers_numbers_reach_the_events_and_runs_show")
    else {
        return;
    };
    let spec = write_spec(program.dir.path(), 6);
    let run = RunDir::new(program.dir.path().join("r"));
    let mut command = program.command(&["train", spec.to_str().unwrap(), "--run-dir", "r"]);
    command.env(polymix::machine::NVML, &library).env_remove("CUDA_VISIBLE_DEVICES");
    assert!(command.output().unwrap().status.success());
    let samples: Vec<_> = run
        .events()
        .unwrap()
        .into_iter()
        .filter_map(|r| if let Event::Sample(sample) = r.event { Some(sample) } else { None })
        .collect();
    let last = samples.last().expect("a sample");
    let gpu = last.gpu.as_ref().expect("the driver was asked");
    assert_eq!((gpu.name.as_str(), gpu.busy, gpu.temperature), ("Made H200", Some(0.87), Some(61)));
    assert_eq!((gpu.memory, gpu.power), (Some((1 << 30, 4 << 30)), Some(512.5)));
    assert_eq!(last.step, 6);
    assert!(last.pairs_per_second > 0.0 && last.tokens_per_second > last.pairs_per_second);
    assert!(last.padding_avoided > 0.0 && last.padding_avoided < 1.0, "{}", last.padding_avoided);
    assert!(last.peak_memory >= last.memory && last.memory.is_some());
    let shown = program.ok(&["runs", "show", "r"]);
    for part in ["Made H200: 87% busy, 1.00 of 4.00 GiB, 61 °C, 512 W", "real tokens/s", "padding avoided"] {
        assert!(shown.contains(part), "no '{part}' in {shown}");
    }
}

#[test]
fn without_a_driver_the_gpu_is_not_made_up() {
    let program = Program::new();
    let spec = write_spec(program.dir.path(), 4);
    let mut command = program.command(&["train", spec.to_str().unwrap(), "--run-dir", "r"]);
    assert!(
        command.env(polymix::machine::NVML, "/nowhere/libnvidia-ml.so").output().unwrap().status.success()
    );
    assert!(program.ok(&["runs", "show", "r"]).contains("GPU       n/a"));
}

#[test]
fn a_run_that_memory_cannot_hold_says_which_chunk_would_and_goes_on_with_it() {
    let program = Program::new();
    let run = RunDir::new(program.dir.path().join("r"));
    let big =
        ["train", "demo", "--set", "train.steps=3", "--set", "train.batch=400", "--set", "model.dropout=0"];
    let few = ["--set", "data.evaluation=[]", "--set", "data.validation=[]", "--device", "cpu"];
    let early = ["--set", "train.early_stopping.patience=0", "--run-dir"];
    let args = [&big[..], &few[..], &early[..], &["r"]].concat();
    let limited = |args: &[&str]| {
        let mut command = program.command(args);
        // Each thread takes some memory: as many wherever it runs.
        command.env("RAYON_NUM_THREADS", "2").env(polymix::machine::LIMIT, "250MiB").output().unwrap()
    };
    let output = limited(&args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("out of memory") && said.contains("250 MiB by POLYMIX_MEMORY"), "{said}");
    assert_eq!(run.state().unwrap().phase, Phase::Failed);
    let advice = said.split("--set train.chunk=").nth(1).unwrap();
    let chunk: String = advice.chars().take_while(char::is_ascii_digit).collect();
    assert!((1..400).contains(&chunk.parse::<usize>().unwrap()), "{said}");
    let chunk = format!("train.chunk={chunk}");
    let output = limited(&["train", "--run-dir", "r", "--resume", "--set", &chunk]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(run.state().unwrap().phase, Phase::Done);
    // The same losses as without any limit and in one piece, but for rounding.
    program.ok(&[&big[..], &few[..], &early[..], &["whole"]].concat());
    let losses = |run: &RunDir| -> Vec<f64> {
        let events = run.events().unwrap().into_iter();
        events.filter_map(|r| if let Event::Step { loss, .. } = r.event { loss } else { None }).collect()
    };
    let (a, b) = (losses(&run), losses(&RunDir::new(program.dir.path().join("whole"))));
    assert_eq!((a.len(), b.len()), (3, 3));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4 * b), "{a:?} {b:?}");
}

#[test]
fn a_run_that_goes_on_keeps_what_its_results_depend_on() {
    let program = Program::new();
    let spec = write_spec(program.dir.path(), 4);
    program.ok(&["train", spec.to_str().unwrap(), "--run-dir", "r"]);
    for set in ["train.batch=4", "seed=1", "train.accumulate=2", "train.learning_rate=1"] {
        program.fails(
            &["train", "--run-dir", "r", "--resume", "--set", set],
            &[set.split('=').next().unwrap(), "train.chunk"],
        );
    }
    // What is done stays as it was written, whatever is asked for.
    let run = RunDir::new(program.dir.path().join("r"));
    let spec = std::fs::read(run.spec_file()).unwrap();
    for set in ["train.chunk=4", "train.device=cuda:77", "train.keep_checkpoints=9"] {
        for command in [["train", "--resume", "--run-dir", "r"], ["runs", "resume", "r", "--detach"]] {
            program.fails(
                &[&command[..], &["--set", set]].concat(),
                &["run 'r' is done", "polymix train r/spec.toml"],
            );
            assert!(
                std::fs::read(run.spec_file()).unwrap() == spec,
                "{set}: the spec of a finished run was rewritten"
            );
        }
    }
}

#[test]
fn a_refused_resume_changes_nothing_and_the_next_one_goes_on() {
    let program = Program::new();
    let run = stopped_at_10(&program);
    let before = std::fs::read(run.spec_file()).unwrap();
    let state = run.state().unwrap();
    program.fails(&["runs", "resume", "r", "--set", "train.chunk=99"], &["train.chunk = 99", "at most"]);
    program.fails(
        &["train", "--resume", "--run-dir", "r", "--device", "cuda:77"],
        &["device 'cuda:77'", "run 'r' cannot go on so; nothing was changed"],
    );
    assert!(std::fs::read(run.spec_file()).unwrap() == before, "the spec was rewritten");
    assert_eq!(run.state().unwrap(), state);
    program.ok(&["train", "--resume", "--run-dir", "r", "--set", "train.chunk=4"]);
    assert_eq!((run.spec().unwrap().train.chunk, run.state().unwrap().phase), (4, Phase::Done));
    let of_chunk: Vec<String> = notes(&run).into_iter().filter(|n| n.contains("train.chunk")).collect();
    assert_eq!(of_chunk.len(), 1, "{of_chunk:?}");
    assert!(of_chunk[0].starts_with("train.chunk is 4 from step 11 on; before it was 0"), "{of_chunk:?}");
}

#[test]
fn a_resume_that_fails_at_once_forgets_no_steps_and_notes_no_chunk() {
    let program = Program::new();
    let run = stopped_at_10(&program);
    let file = program.dir.path().join("data/en.json");
    let whole = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, whole.replacen("\"question\":\"", "\"question\":\"x", 1)).unwrap();
    // As a killed worker leaves it, whose state is written only now and then.
    let mut state = run.state().unwrap();
    state.step = 0;
    state.write(&run.path).unwrap();
    program.fails(&["runs", "resume", "r"], &["put them back"]);
    let shown = program.ok(&["runs", "show", "r"]);
    assert!(shown.contains("failed, step 10 of 20"), "{shown}");
    assert!(run.events().unwrap().iter().any(|r| matches!(r.event, Event::Failed { step: 10, .. })));
    std::fs::write(&file, whole).unwrap();
    program.ok(&["runs", "resume", "r"]);
    assert!(notes(&run).iter().all(|n| !n.contains("train.chunk")));
}

/// The steps of a run's evaluations, in the order in which they were told.
fn evaluated(run: &RunDir) -> Vec<usize> {
    let events = run.events().unwrap().into_iter();
    events
        .filter_map(|r| if let Event::Evaluation { step, .. } = r.event { Some(step) } else { None })
        .collect()
}

#[test]
fn an_early_stop_tells_its_last_numbers_and_evaluates_no_step_twice() {
    let program = Program::new();
    let spec = write_spec(program.dir.path(), 300);
    for patience in [1, 2] {
        let dir = format!("p{patience}");
        let early = format!("train.early_stopping.patience={patience}");
        let mut args = vec!["train", spec.to_str().unwrap(), "--run-dir", &dir];
        for set in [
            early.as_str(),
            "train.early_stopping.min_delta=0.4",
            "train.learning_rate=0.01",
            "train.validate_every=7",
        ] {
            args.extend(["--set", set]);
        }
        program
            .ok(&[&args[..], &["--set", "train.evaluate_every=7", "--set", "train.warmup_ratio=0"]].concat());
        let run = RunDir::new(program.dir.path().join(&dir));
        let events = run.events().unwrap();
        let best = events.iter().rev().find_map(|r| match &r.event {
            Event::Finished { best, reason, .. } if reason.contains("early stopping") => *best,
            _ => None,
        });
        let best = best.expect("it stopped early").step;
        assert_eq!(best, 7, "the test needs a better step than the first, and none much better after it");
        let end = best + 7 * patience;
        // The last ones are the model's, computed when it was at that step: equal to the second.
        let steps: Vec<usize> = (1..best / 7 + patience).map(|n| 7 * n).collect();
        let told = evaluated(&run);
        if patience == 1 {
            assert_eq!(told, steps);
        } else {
            assert_eq!(told, [&steps[..], &[best]].concat());
            let of_best: Vec<&Event> = (events.iter().map(|r| &r.event))
                .filter(|e| matches!(e, Event::Evaluation { step, .. } if *step == best))
                .collect();
            assert_eq!(of_best[0], of_best[1], "not computed again: the same seconds too");
        }
        assert_eq!(run.scores()[0].0, best);
        let drawn =
            events.iter().rev().find_map(|r| if let Event::Drawn(d) = &r.event { Some(d) } else { None });
        let drawn = drawn.expect("pairs were drawn");
        assert_eq!((drawn.step, drawn.counts.iter().sum::<u64>()), (end, 8 * end as u64));
        let sample = events
            .iter()
            .rev()
            .find_map(|r| if let Event::Sample(s) = &r.event { Some(s.step) } else { None });
        assert_eq!(sample, Some(end));
    }
}

#[test]
fn numbers_that_are_not_finite_end_a_run_wherever_they_are_met() {
    let program = Program::new();
    let spec = write_spec(program.dir.path(), 30);
    let every = ["train.evaluate_every=1", "train.checkpoint_every=1", "train.warmup_ratio=0"];
    for (dir, sets, parts, kept) in [
        (
            "validated",
            &["train.learning_rate=1e20", "train.validate_every=1", "train.early_stopping.patience=3"][..],
            &["the validation loss is NaN", "what was saved before is kept"][..],
            &[0][..],
        ),
        (
            "evaluated",
            &["train.learning_rate=1e20", "data.validation=[]"],
            &["evaluation on xquad-r[30..40]", "the embedding of question 'q"],
            &[],
        ),
        (
            "saved",
            &["train.learning_rate=1e39", "data.validation=[]", "train.evaluate_every=0"],
            &["the weights are not finite any more"],
            &[],
        ),
    ] {
        let mut args = vec!["train", spec.to_str().unwrap(), "--run-dir", dir];
        for set in every.iter().chain(sets) {
            args.extend(["--set", set]);
        }
        let remedy = format!("in a new run: `polymix train {dir}/spec.toml --set train.learning_rate=...`");
        let place = ["step 1, which trained on plan batch 1 (", "first question 'q", &remedy];
        program.fails(&args, &[parts, &place[..]].concat());
        let run = RunDir::new(program.dir.path().join(dir));
        assert_eq!(run.state().unwrap().phase, Phase::Failed, "{dir}");
        let steps: Vec<usize> = polymix::run::checkpoints(&run).into_iter().map(|(step, _)| step).collect();
        assert_eq!(steps, kept, "{dir}");
    }
    // What the message says can be done.
    program.ok(&["train", "validated/spec.toml", "--run-dir", "anew", "--set", "train.learning_rate=1e-3"]);
}

#[test]
fn a_loss_that_is_not_finite_fails_the_run_and_keeps_its_last_good_checkpoint() {
    let program = Program::new();
    let spec = write_spec(program.dir.path(), 100_000);
    let mut child = program.command(&["train", spec.to_str().unwrap(), "--run-dir", "r"]).spawn().unwrap();
    let run = RunDir::new(program.dir.path().join("r"));
    wait_for("a step", || {
        run.events().unwrap_or_default().iter().any(|r| matches!(r.event, Event::Step { .. }))
    });
    program.ok(&["runs", "stop", "r"]);
    assert!(child.wait().unwrap().success());
    let good = run.state().unwrap().step;
    // Somebody edits the spec, and the weights explode.
    let text = std::fs::read_to_string(run.spec_file()).unwrap();
    let (_, text) = text.split_once('\n').unwrap();
    let text = text
        .replace("learning_rate = 0.001", "learning_rate = 1e38")
        .replace("clip_norm = 1.0", "clip_norm = 0.0");
    assert!(text.contains("1e38") && text.contains("clip_norm = 0.0"), "{text}");
    let seal = "# crc32 00000000 of the lines below; they belong to this run's results";
    std::fs::write(run.spec_file(), format!("{seal}\n{text}")).unwrap();
    program.fails(&["runs", "resume", "r"], &["spec.toml", "its checksum is wrong", "remove its first line"]);
    std::fs::write(run.spec_file(), text.replace("checkpoint_every = 5", "checkpoint_every = 1")).unwrap();
    let remedy = "in a new run: `polymix train r/spec.toml --set train.learning_rate=...`";
    program.fails(&["runs", "resume", "r"], &["step", "plan batch", remedy]);
    assert_eq!(run.state().unwrap().phase, Phase::Failed);
    assert_eq!(polymix::run::checkpoints(&run).last().map(|c| c.0), Some(good));
    for (_, dir) in polymix::run::checkpoints(&run) {
        let tensors = polymix::encoder::read_tensors(&dir.join("model.safetensors")).unwrap();
        let is_finite = |t: &candle_core::Tensor| common::flat(t).iter().all(|x| x.is_finite());
        assert!(tensors.values().all(is_finite), "{}", dir.display());
    }
    // Finite weights that only the last evaluation finds wanting: their checkpoint does not take the good one's place.
    let validation = text.lines().find(|l| l.starts_with("validation = ")).unwrap();
    let last = good + 1;
    let text = (text.replace("= 1e38", "= 1e17"))
        .replace(validation, "validation = []")
        .replace("steps = 100000", &format!("steps = {last}"))
        .replace("keep_checkpoints = 2", "keep_checkpoints = 1");
    assert!(text.contains(&format!("steps = {last}\n")) && text.contains("keep_checkpoints = 1\n"), "{text}");
    std::fs::write(run.spec_file(), text).unwrap();
    program.fails(&["runs", "resume", "r"], &["evaluation on", "plan batch", remedy]);
    let kept: Vec<usize> = polymix::run::checkpoints(&run).into_iter().map(|(step, _)| step).collect();
    assert_eq!(kept.last(), Some(&good), "{kept:?}");
    assert!(run.checkpoints_dir().join(format!("diverged-step-{last:06}")).is_dir());
}

#[test]
fn bench_train_measures_and_refuses_what_cannot_be() {
    let program = Program::new();
    let base = ["bench", "train", "--steps", "2", "--warmup", "1", "--batches", "2", "--batch", "4"];
    let with = |more: &[&'static str]| [&base[..], more].concat();
    let json: serde_json::Value =
        serde_json::from_str(&program.ok(&with(&["--json", "--lengths", "8/16", "--write-ids", "ids.json"])))
            .unwrap();
    let measured = &json["measured"];
    assert_eq!(measured["mean_real_tokens"], 24.0);
    assert_eq!(measured["padding_avoided"], 0.0, "nothing to pad in fixed lengths");
    assert_eq!(measured["losses"].as_array().unwrap().len(), 3);
    assert!(measured["real_tokens_per_s"].as_f64().unwrap() > 0.0 && json["mfu"].as_f64().unwrap() > 0.0);
    let again: serde_json::Value = serde_json::from_str(
        &program.ok(&[&base[..6], &["--json", "--ids", "ids.json", "--chunk", "2"]].concat()),
    )
    .unwrap();
    let loss = |json: &serde_json::Value| json["measured"]["first_loss"].as_f64().unwrap();
    assert!(
        (loss(&json) - loss(&again)).abs() < 1e-5,
        "the ids that were written are those that were trained on"
    );
    program.ok(&base);
    let table = program.ok(&with(&["--data", "demo[train]", "--alpha", "0.2"]));
    assert!(table.contains("real tokens/s") && table.contains("padding avoided"), "{table}");
    for (args, part) in [
        (with(&["--lengths", "8"]), "32/128"),
        ([&base[..6], &["--ids", "none.json"]].concat(), "none.json"),
        (with(&["--model", "nowhere"]), "xlm-roberta-base"),
        (with(&["--dtype", "f16"]), "f32 or bf16"),
        (with(&["--data", "nothing"]), "nothing"),
        (vec!["bench", "train", "--batch", "1"], "--batch 1"),
    ] {
        program.fails(&args, &[part]);
    }
    // They would say nothing about what runs.
    for (args, other) in [
        (&["--alpha", "0.2"][..], "--data"),
        (&["--ids", "ids.json", "--batch", "99"], "--ids"),
        (&["--ids", "ids.json", "--batches", "3"], "--ids"),
        (&["--ids", "ids.json", "--alpha", "0.2"], "--ids"),
    ] {
        program.fails(&[&["bench", "train"], args].concat(), &[other]);
    }
}
