//! Language adapters: fresh ones change nothing, only their own language's texts go through them, and training with them is
//! exact in chunks, after a resume and on disk.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;

use candle_core::{DType, Tensor};
use common::{Program, agreement, copy_dir, encoder, flat, made_dataset, tiny_model, write_spec};
use polymix::encoder::{DropoutRates, Encoder, Packed, Route};
use polymix::spec::{AdapterKind, AdapterSpec, BaseWeights, ExperimentSpec, Pooling};
use polymix::stream::Stream;
use polymix::train::{BatchGradient, PairTokens, Progress, Tokens, Trainer, batch_gradient};
use serde_json::Value;

/// A bottleneck, one with an invertible map, and `LoRA`.
fn shapes() -> [AdapterSpec; 3] {
    let bottleneck = AdapterSpec { kind: AdapterKind::Bottleneck, reduction: 4, ..AdapterSpec::default() };
    let lora = AdapterSpec { kind: AdapterKind::Lora, rank: 3, ..AdapterSpec::default() };
    [bottleneck.clone(), AdapterSpec { invertible: true, ..bottleneck }, lora]
}

fn adapted(shape: &AdapterSpec) -> Encoder {
    let dir = tiny_model();
    let mut encoder = encoder(dir.path(), Pooling::Mean);
    let languages = ["de", "en"].map(String::from);
    encoder.add_adapters(shape, &languages, ("demo", 3)).unwrap();
    encoder
}

/// Random numbers instead of those that every adapter starts with, so that it is no longer the identity.
fn shake(encoder: &mut Encoder, only: Option<&str>) {
    let languages = encoder.adapters.as_ref().unwrap().languages.clone();
    let all = encoder.parameters.tensors.len();
    let first = base_count(encoder);
    let each = (all - first) / languages.len();
    for (place, language) in languages.iter().enumerate() {
        for index in
            (first + place * each..first + (place + 1) * each).filter(|_| only.is_none_or(|l| l == language))
        {
            let tensor = &encoder.parameters.tensors[index];
            let mut stream = Stream::new(5, "shake", index as u64);
            let data: Vec<f32> = (0..tensor.elem_count()).map(|_| 0.2 * stream.normal() as f32).collect();
            encoder.parameters.tensors[index] =
                Tensor::from_vec(data, tensor.dims(), tensor.device()).unwrap();
        }
    }
}

/// Parameters of the small model without adapters.
fn base_count(_: &Encoder) -> usize {
    let dir = tiny_model();
    encoder(dir.path(), Pooling::Mean).parameters.tensors.len()
}

/// Texts of all languages, those of `fr` without an adapter, not in order.
fn texts(encoder: &Encoder) -> (Vec<Vec<u32>>, Vec<Route>) {
    let data = made_dataset(6);
    let tokens = Tokens::new(&data, encoder, &spec().model, &mut |_, _| Ok(())).unwrap();
    let routes = data.passages.iter().map(|p| encoder.route(&data.languages[usize::from(p.language)]));
    (tokens.passages, routes.collect())
}

fn vectors(encoder: &Encoder, texts: &[Vec<u32>], routes: &[Route]) -> Vec<Vec<f64>> {
    let packed =
        Packed::routed(texts.iter().zip(routes).enumerate().map(|(i, (t, r))| (i as u64, t.as_slice(), *r)));
    let vectors = encoder.forward(&packed, None, false).unwrap().vectors;
    (0..texts.len()).map(|i| flat(&vectors.get(i).unwrap())).collect()
}

fn spec() -> ExperimentSpec {
    let mut spec = ExperimentSpec::default();
    spec.train.steps = 12;
    spec.train.batch = 10;
    spec.train.learning_rate = 2e-3;
    spec.model.dropout = Some(0.1);
    spec.model.max_query_tokens = 20;
    spec.model.max_passage_tokens = 30;
    spec
}

fn trainer(spec: &ExperimentSpec) -> Trainer {
    let dir = tiny_model();
    Trainer::new(spec, encoder(dir.path(), Pooling::Mean), &[made_dataset(120)], &mut |_, _| Ok(())).unwrap()
}

fn worst(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn fresh_adapters_are_the_identity_and_vectors_come_back_in_the_order_given() {
    for shape in shapes() {
        let encoder = adapted(&shape);
        let (texts, routes) = texts(&encoder);
        assert!(routes.contains(&None) && routes.contains(&Some(0)) && routes.contains(&Some(1)));
        let (base, through) =
            (vectors(&encoder, &texts, &vec![None; texts.len()]), vectors(&encoder, &texts, &routes));
        for (a, b) in base.iter().zip(&through) {
            assert!(worst(a, b) < 1e-6, "{:?}: {}", shape.kind, worst(a, b));
        }
        // However many texts share a pass.
        let width = encoder.width();
        let encoded = encoder.encode_routed(&texts, &routes, 16, &mut |_| Ok(())).unwrap();
        for (a, b) in through.iter().zip(encoded.chunks(width)) {
            assert!(worst(a, &b.iter().map(|x| f64::from(*x)).collect::<Vec<_>>()) < 1e-6);
        }
    }
}

#[test]
fn only_an_adapters_own_texts_are_changed_by_it() {
    for shape in shapes() {
        let mut encoder = adapted(&shape);
        let (texts, routes) = texts(&encoder);
        let before = vectors(&encoder, &texts, &routes);
        shake(&mut encoder, Some("en"));
        let after = vectors(&encoder, &texts, &routes);
        for ((a, b), route) in before.iter().zip(&after).zip(&routes) {
            // The same shapes, so the same order of additions: equal bits.
            assert_eq!(*route != Some(1), a == b, "{:?} {route:?}: {}", shape.kind, worst(a, b));
        }
    }
}

#[test]
fn training_on_keeps_the_adapters_that_are_there_and_adds_the_missing_ones() {
    for shape in shapes() {
        let mut encoder = adapted(&shape);
        shake(&mut encoder, None);
        let (texts, routes) = texts(&encoder);
        let before = vectors(&encoder, &texts, &routes);
        let (held, origin) = (encoder.parameters.tensors.len(), encoder.adapters.clone().unwrap().origin);
        encoder.add_adapters(&shape, &["fr", "en"].map(String::from), ("elsewhere", 4)).unwrap();
        let adapters = encoder.adapters.as_ref().unwrap();
        assert_eq!(adapters.languages, ["de", "en", "fr"]);
        assert_eq!((&adapters.spec.languages, &adapters.origin), (&adapters.languages, &origin));
        assert_eq!(encoder.parameters.tensors.len(), held + (held - base_count(&encoder)) / 2);
        let trainable = &encoder.parameters.trainable;
        assert_eq!(trainable.len(), encoder.parameters.tensors.len());
        let first = base_count(&encoder);
        assert!(trainable[..first].iter().all(|t| !t) && trainable[first..].iter().all(|t| *t));
        // Old ones are as they were; the fresh one is the identity.
        let after = vectors(&encoder, &texts, &routes);
        assert!(before == after, "{:?}", shape.kind);
        let french = vec![encoder.route("fr"); texts.len()];
        let (base, through) =
            (vectors(&encoder, &texts, &vec![None; texts.len()]), vectors(&encoder, &texts, &french));
        for (a, b) in base.iter().zip(&through) {
            assert!(worst(a, b) < 1e-6, "{:?}: {}", shape.kind, worst(a, b));
        }
        // With the base from now on.
        encoder
            .add_adapters(&AdapterSpec { base: BaseWeights::Trained, ..shape.clone() }, &[], ("elsewhere", 4))
            .unwrap();
        assert_eq!(encoder.adapters.as_ref().unwrap().origin, None);
        let other = AdapterSpec { reduction: 2, rank: 5, ..shape };
        let error = encoder.add_adapters(&other, &[], ("model", 4)).expect_err("another shape");
        assert!(format!("{error:#}").contains("--adapter none"), "{error:#}");
    }
}

/// Questions, passages and their adapters, of pairs in several languages.
fn with_pairs<R>(encoder: &Encoder, routes: &[Route], f: impl FnOnce(PairTokens<'_>) -> R) -> R {
    let data = made_dataset(12);
    let tokens = Tokens::new(&data, encoder, &spec().model, &mut |_, _| Ok(())).unwrap();
    let questions: Vec<&[u32]> = tokens.questions.iter().step_by(3).map(Vec::as_slice).collect();
    let passages: Vec<&[u32]> = tokens.passages.iter().skip(1).step_by(3).map(Vec::as_slice).collect();
    let of = |shift: usize| -> Vec<Route> { (0..12).map(|i| routes[(i + shift) % routes.len()]).collect() };
    let (of_questions, of_passages) = (of(0), of(1));
    f(PairTokens::new(&questions, &passages).routed(&of_questions, &of_passages))
}

fn gradient(
    encoder: &Encoder,
    routes: &[Route],
    chunk: usize,
    dropout: Option<DropoutRates>,
) -> BatchGradient {
    with_pairs(encoder, routes, |pairs| batch_gradient(encoder, pairs, 0.5, chunk, dropout).unwrap())
}

#[test]
fn gradients_of_adapters_and_base_fit_finite_differences_of_the_loss() {
    for shape in shapes() {
        let mut encoder = adapted(&AdapterSpec { base: BaseWeights::Trained, ..shape.clone() });
        shake(&mut encoder, None);
        let routes = [Some(0), None, Some(1), Some(1)];
        let whole = gradient(&encoder, &routes, 0, None);
        let first = base_count(&encoder);
        let mut checked = 0;
        // Every parameter of the adapters, and some of the base: word embeddings, attention, norms.
        for index in
            (0..encoder.parameters.tensors.len()).filter(|i| *i >= first || [0, 5, 7, 9, 13].contains(i))
        {
            let slope = flat(whole.gradients.tensors[index].as_ref().unwrap());
            // The element with the largest slope is the best to measure.
            let at = (0..slope.len()).max_by(|a, b| slope[*a].abs().total_cmp(&slope[*b].abs())).unwrap();
            let original = encoder.parameters.tensors[index].clone();
            let mut loss = |by: f64| {
                let mut data: Vec<f32> = flat(&original).iter().map(|x| *x as f32).collect();
                data[at] += by as f32;
                encoder.parameters.tensors[index] =
                    Tensor::from_vec(data, original.dims(), original.device()).unwrap();
                gradient(&encoder, &routes, 0, None).loss
            };
            let step = 4e-3;
            let measured = (loss(step) - loss(-step)) / (2.0 * step);
            encoder.parameters.tensors[index] = original;
            let allowed = 0.02 * slope[at].abs() + 2e-4;
            assert!(
                (measured - slope[at]).abs() < allowed,
                "{:?}, parameter {index}: measured {measured}, computed {}",
                shape.kind,
                slope[at]
            );
            checked += usize::from(slope[at].abs() > 1e-3);
        }
        assert!(checked > 12, "{:?}: only {checked} slopes could be told from rounding", shape.kind);
    }
}

#[test]
fn a_frozen_base_and_languages_that_are_not_in_the_batch_have_no_gradients() {
    for shape in shapes() {
        let encoder = adapted(&shape);
        let first = base_count(&encoder);
        let found = gradient(&encoder, &[Some(1), None], 0, None).gradients.tensors;
        let own = (found.len() - first) / 2;
        assert!(found[..first + own].iter().all(Option::is_none), "base, and de");
        assert!(found[first + own..].iter().all(Option::is_some), "en");
        let trained = adapted(&AdapterSpec { base: BaseWeights::Trained, ..shape });
        let found = gradient(&trained, &[Some(1), None], 0, None).gradients.tensors;
        assert!(
            found[..first].iter().all(Option::is_some)
                && found[first..first + own].iter().all(Option::is_none)
        );
    }
}

#[test]
fn every_chunk_gives_the_whole_batchs_gradients_through_adapters() {
    for shape in shapes() {
        let mut encoder = adapted(&AdapterSpec { base: BaseWeights::Trained, ..shape });
        shake(&mut encoder, None);
        let routes = [Some(1), None, Some(0), Some(1), Some(0)];
        let dropout = Some(DropoutRates { hidden: 0.1, attention: 0.1, seed: 3, step: 7 });
        let whole = gradient(&encoder, &routes, 0, dropout);
        for chunk in [1, 5, 12] {
            let parts = gradient(&encoder, &routes, chunk, dropout);
            assert!((whole.loss - parts.loss).abs() < 1e-5, "chunk {chunk}: {} {}", whole.loss, parts.loss);
            for (index, (a, b)) in whole.gradients.tensors.iter().zip(&parts.gradients.tensors).enumerate() {
                let (a, b) = (flat(a.as_ref().unwrap()), flat(b.as_ref().unwrap()));
                if a.iter().all(|x| x.abs() < 1e-5) {
                    continue;
                }
                let (relative, cosine) = agreement(&b, &a);
                assert!(relative < 1e-3 && cosine > 0.9999, "chunk {chunk}, parameter {index}: {relative}");
            }
        }
    }
}

#[test]
fn bf16_agrees_with_f32_through_adapters() {
    for shape in shapes() {
        let mut encoder = adapted(&shape);
        shake(&mut encoder, None);
        let full = gradient(&encoder, &[Some(0), None, Some(1)], 0, None);
        encoder.dtype = DType::BF16;
        let half = gradient(&encoder, &[Some(0), None, Some(1)], 0, None);
        assert!((full.loss - half.loss).abs() < 1e-2 * full.loss, "{} {}", full.loss, half.loss);
        assert!((full.loss - half.loss).abs() > 1e-7, "bf16 was not used");
        for (index, (a, b)) in full.gradients.tensors.iter().zip(&half.gradients.tensors).enumerate() {
            let (Some(a), Some(b)) = (a, b) else { continue };
            let (a, b) = (flat(a), flat(b));
            if a.iter().map(|x| x * x).sum::<f64>().sqrt() < 1e-4 {
                continue;
            }
            let (_, cosine) = agreement(&b, &a);
            assert!(cosine > 0.98, "{:?}, parameter {index}: {cosine}", shape.kind);
        }
    }
}

#[test]
fn a_resumed_training_with_adapters_is_the_uninterrupted_one_bit_for_bit() {
    for (index, shape) in shapes().into_iter().enumerate() {
        let base = if index == 1 { BaseWeights::Trained } else { BaseWeights::Frozen };
        let mut spec = spec();
        spec.adapters = AdapterSpec { base, ..shape };
        spec.train.accumulate = 1 + index % 2;
        spec.train.chunk = 4;
        // Monolingual batches: adapters are left alone for some steps, and must not grow older by them.
        spec.sampling.alpha = Some(0.75);
        let weights = |t: &Trainer| t.encoder.parameters.tensors.iter().map(flat).collect::<Vec<_>>();
        let mut whole = trainer(&spec);
        let start = weights(&whole);
        let losses: Vec<f64> = (0..12).map(|_| whole.step().unwrap().loss).collect();
        let mut first = trainer(&spec);
        (0..5).for_each(|_| {
            first.step().unwrap();
        });
        let place = tempfile::tempdir().unwrap();
        let checkpoint = place.path().join("step-5");
        first.save(&checkpoint, &Progress::default()).unwrap();
        let mut second = trainer(&spec);
        second.restore(&checkpoint).unwrap();
        for loss in &losses[5..] {
            assert_eq!(second.step().unwrap().loss.to_bits(), loss.to_bits());
        }
        let end = weights(&whole);
        assert_eq!(end, weights(&second));
        let first_adapter = base_count(&whole.encoder);
        let is_moved = |range: std::ops::Range<usize>| start[range.clone()] != end[range];
        assert_eq!(is_moved(0..first_adapter), base == BaseWeights::Trained);
        assert!(is_moved(first_adapter..end.len()));
        let size = |name: &str| std::fs::metadata(checkpoint.join(name)).unwrap().len();
        let trained: usize = whole.encoder.parameters.trainable_count();
        assert!(
            size("model.safetensors") < 4 * trained as u64 + 20_000,
            "a frozen base is not in the checkpoint"
        );
        assert!(size("optimizer.safetensors") < 8 * trained as u64 + 20_000);
    }
}

#[test]
fn a_checkpoint_of_a_frozen_base_is_not_taken_for_one_of_a_trained_base() {
    let mut spec = spec();
    spec.adapters = shapes()[0].clone();
    let place = tempfile::tempdir().unwrap();
    let checkpoint = place.path().join("step-0");
    trainer(&spec).save(&checkpoint, &Progress::default()).unwrap();
    spec.adapters.base = BaseWeights::Trained;
    let error = format!("{:#}", trainer(&spec).restore(&checkpoint).unwrap_err());
    assert!(error.contains("frozen base") && error.contains("is trained"), "{error}");
}

#[test]
fn training_adapters_lowers_the_loss_while_the_base_stays_as_it_is() {
    let mut spec = spec();
    (spec.train.steps, spec.train.learning_rate) = (80, 1e-2);
    spec.adapters = AdapterSpec { reduction: 2, ..shapes()[0].clone() };
    let mut trainer = trainer(&spec);
    let first = trainer.step().unwrap().loss;
    let last = (1..80).map(|_| trainer.step().unwrap().loss).skip(70).sum::<f64>() / 9.0;
    assert!(last < 0.8 * first, "{first} to {last}");
}

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
