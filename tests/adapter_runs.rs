//! Language adapters in runs of the real program: what is written, exported, evaluated, trained on, and estimated.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Program, copy_dir, worst, write_spec};
use serde_json::Value;

/// The small spec with these lines of `[adapters]`.
fn with_adapters(program: &Program, name: &str, lines: &str) -> String {
    let path = write_spec(program.dir.path(), 12);
    let text = std::fs::read_to_string(&path).unwrap().replace("small", name) + "[adapters]\n" + lines;
    let path = path.with_file_name(format!("{name}.toml"));
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn evaluation(program: &Program) -> String {
    format!("xquad-r[30..40]={}", program.dir.path().join("data").display())
}

fn map(program: &Program, model: &str) -> Value {
    let line = program.ok(&["evaluate", "--model", model, "--data", &evaluation(program), "--json"]);
    let found: Value = serde_json::from_str(&line).unwrap();
    found["scores"].clone()
}

#[test]
fn a_frozen_runs_model_is_adapters_beside_a_reference_and_evaluates_as_the_run_did() {
    let program = Program::new();
    let spec = with_adapters(
        &program,
        "mad",
        "kind = \"bottleneck\"\nreduction = 4\ninvertible = true\nlanguages = [\"de\", \"en\"]\n",
    );
    let said = program.run(&["train", &spec]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("no adapter for zh"), "{}", said.err);
    let model = program.runs().join("mad-001/model");
    assert!(!model.join("model.safetensors").exists(), "a frozen base is not written again");
    let config: Value =
        serde_json::from_slice(&std::fs::read(model.join("adapters/de/adapter_config.json")).unwrap())
            .unwrap();
    assert_eq!(config["config"]["reduction_factor"], 4);
    assert_eq!(config["config"]["inv_adapter"], "nice");
    let tensors = polymix::encoder::read_tensors(&model.join("adapters/de/adapter.safetensors")).unwrap();
    assert_eq!(tensors["encoder.layer.1.output.adapters.de.adapter_down.0.weight"].dims(), [8, 32]);
    assert_eq!(tensors["invertible_adapters.de.G.2.weight"].dims(), [16, 8]);

    let during: Value =
        serde_json::from_str(&program.ok(&["export", "mad-001", "--table", "summary", "--format", "json"]))
            .unwrap();
    let scores = map(&program, "mad-001");
    let run = scores.as_array().unwrap();
    for row in during["rows"].as_array().unwrap() {
        let same = run.iter().find(|s| s["setting"] == row["setting"] && s["metric"] == row["metric"]);
        let Some(same) = same else { continue };
        let (a, b) = (same["value"].as_f64().unwrap(), row["macro"].as_f64().unwrap());
        assert!((a - b).abs() < 1e-9, "{row}: {a}");
    }
    assert_ne!(
        scores,
        map(&program, program.dir.path().join("model").to_str().unwrap()),
        "the base ranks in another way"
    );
    let shown = program.ok(&["model", "inspect", "mad-001"]);
    for part in ["bottleneck, reduction 4, invertible", "de, en", "frozen", "adapters/de/adapter.safetensors"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let said = program.run(&["evaluate", "--model", "mad-001", "--data", &evaluation(&program)]);
    assert_eq!(said.err.matches("no adapter for zh").count(), 1, "{}", said.err);
    program.fails(
        &["model", "export", "mad-001", "out"],
        &["de, en", "--adapter none", "bottlenecks cannot be merged"],
    );
    program.fails(&["model", "export", "mad-001", "out", "--adapter", "de"], &["GELU", "--adapter none"]);
    program.ok(&["model", "export", "mad-001", "out", "--adapter", "none"]);
    let base = program.dir.path().join("model").display().to_string();
    let embed = |model: &str, more: &[&str]| {
        let common = ["model", "embed", model, "--text", "the river of stone", "--text", "a bird"];
        program.ok(&[&common[..], more].concat())
    };
    assert_eq!(embed("out", &[]), embed(&base, &[]));
    assert_eq!(embed("mad-001", &[]), embed(&base, &[]), "without a language, the base alone");
    assert_ne!(embed("mad-001", &["--language", "de"]), embed("mad-001", &["--language", "en"]));

    // Training goes on with them: the base is still the first one, and zh gets one too.
    let next = std::fs::read_to_string(&spec).unwrap().replace(&base, &model.display().to_string());
    let with = |from: &str, to: &str| {
        assert!(next.contains(from), "{next}");
        std::fs::write(program.dir.path().join("next.toml"), next.replace(from, to)).unwrap();
    };
    with("languages = [\"de\", \"en\"]", "languages = [\"zh\"]");
    program.ok(&["train", "next.toml", "--dry-run"]);
    program.ok(&["train", "next.toml"]);
    let second = program.runs().join("mad-002/model");
    let index = |dir: &std::path::Path| -> Value {
        serde_json::from_slice(&std::fs::read(dir.join("adapters/adapters.json")).unwrap()).unwrap()
    };
    assert_eq!(index(&second)["base"], index(&model)["base"]);
    assert_eq!(index(&second)["adapters"]["languages"], serde_json::json!(["de", "en", "zh"]));
    let german = |dir: &std::path::Path| std::fs::read(dir.join("adapters/de/adapter.safetensors")).unwrap();
    assert_ne!(german(&second), german(&model), "the adapter that was there learns on");
    map(&program, "mad-002");
    with("reduction = 4", "reduction = 8");
    for args in [&["train", "next.toml", "--dry-run"][..], &["train", "next.toml"]] {
        program.fails(args, &["model.base", "reduction = 4", "reduction = 8", "--adapter none"]);
    }
    program.fails(
        &["train", "next.toml", "--set", "adapters.kind=none"],
        &["has language adapters", "kind = \"none\"", "--adapter none"],
    );
    std::fs::rename(program.dir.path().join("model"), program.dir.path().join("moved")).unwrap();
    program.fails(
        &["evaluate", "--model", "mad-001", "--data", &evaluation(&program)],
        &["is not there any more", "adapters.json"],
    );
    copy_dir(&common::root().join("tests/golden/tiny-labse"), &program.dir.path().join("model"));
    program.fails(
        &["evaluate", "--model", "mad-001", "--data", &evaluation(&program)],
        &["SHA-256", "put the model back"],
    );
}

#[test]
fn lora_of_one_language_merges_into_the_weights() {
    let program = Program::new();
    let spec = with_adapters(&program, "low", "kind = \"lora\"\nrank = 4\nbase = \"trained\"\n");
    program.ok(&["train", &spec]);
    let model = program.runs().join("low-001/model");
    assert!(model.join("model.safetensors").is_file(), "a trained base is the run's own");
    let config: Value =
        serde_json::from_slice(&std::fs::read(model.join("adapters/zh/adapter_config.json")).unwrap())
            .unwrap();
    assert_eq!(
        (&config["peft_type"], &config["r"], &config["lora_alpha"]),
        (&"LORA".into(), &4.into(), &16.0.into())
    );
    let tensors =
        polymix::encoder::read_tensors(&model.join("adapters/zh/adapter_model.safetensors")).unwrap();
    let query = "base_model.model.encoder.layer.0.attention.self.query.lora_A.weight";
    assert_eq!(tensors[query].dims(), [4, 32]);
    assert_eq!(tensors.len(), 2 * 2 * 4);
    program.fails(&["model", "export", "low-001", "de"], &["--adapter CODE"]);
    program.fails(&["model", "export", "low-001", "fr", "--adapter", "fr"], &["'fr'", "de, en, zh"]);
    program.ok(&["model", "export", "low-001", "merged", "--adapter", "de"]);
    assert!(!program.dir.path().join("merged/adapters").exists());
    let card = std::fs::read_to_string(program.dir.path().join("merged/README.md")).unwrap();
    assert!(
        card.contains("Those of `de` are merged") && card.contains("lora adapters for de, en, zh"),
        "{card}"
    );
    let embed = |model: &str, more: &[&str]| -> Vec<f64> {
        let args = [&["model", "embed", model, "--text", "the river of stone"][..], more].concat();
        let line: Value = serde_json::from_str(&program.ok(&args)).unwrap();
        serde_json::from_value(line["vector"].clone()).unwrap()
    };
    let through = embed("low-001", &["--language", "de"]);
    assert!(worst(&embed("merged", &[]), &through) < 1e-5);
    assert!(worst(&embed("low-001", &["--language", "en"]), &through) > 1e-4, "languages differ");
}

#[test]
fn the_estimate_counts_adapters_and_what_a_frozen_base_saves() {
    let program = Program::new();
    let path = with_adapters(&program, "lean", "kind = \"lora\"\nrank = 4\n");
    let estimate = |more: &str| {
        let spec = polymix::spec::load(path.as_ref(), &[more.to_owned()]).unwrap();
        polymix::run::estimate(&spec, 5).unwrap()
    };
    let (frozen, trained) = (estimate("adapters.base=frozen"), estimate("adapters.base=trained"));
    // Three languages, two layers, four projections of 32 by 32 in rank 4.
    let adapters = 3 * 2 * 4 * 2 * 4 * 32;
    let none = estimate("adapters.kind=none");
    assert_eq!(frozen.weights, none.weights + 4 * adapters);
    assert_eq!((frozen.optimiser, frozen.gradients), (8 * adapters, 4 * adapters));
    assert_eq!(trained.optimiser, none.optimiser + 8 * adapters);
    assert!(frozen.step_flops < none.step_flops && none.step_flops < trained.step_flops);
    let moved = estimate("robust.perturbation=adversarial");
    assert!(
        moved.activations > frozen.activations && (moved.step_flops / frozen.step_flops - 2.0).abs() < 1e-9
    );
    program.fails(
        &["train", &path, "--dry-run", "--set", "adapters.languages=[\"fr\"]"],
        &["'fr' is not among", "de, en, zh"],
    );
}
