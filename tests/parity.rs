//! The encoder against `PyTorch` on small models: embeddings, loss, the gradient of every parameter, and a training
//! trajectory. `scripts/golden/tiny.py` makes the fixtures.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use common::{agreement, encoder, flat, loss_and_gradients};
use polymix::encoder::{Encoder, ModelFiles, Packed};
use polymix::ops::{AdamW, global_norm};
use polymix::spec::Pooling;
use serde_json::Value;

struct Golden {
    json: Value,
    tensors: HashMap<String, Tensor>,
    encoder: Encoder,
    _dir: tempfile::TempDir,
}

/// The fixture, in a directory that has a tokenizer too.
fn golden(name: &str, pooling: Pooling) -> Golden {
    let (dir, model) = common::golden_model(name);
    let json = std::fs::read_to_string(model.join("golden.json")).unwrap();
    Golden {
        json: serde_json::from_str(&json).unwrap(),
        tensors: candle_core::safetensors::load(model.join("golden.safetensors"), &Device::Cpu).unwrap(),
        encoder: encoder(&model, pooling),
        _dir: dir,
    }
}

fn sequences(value: &Value) -> Vec<Vec<u32>> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Compares embeddings, loss and every gradient; `key` is the fixture's name for the pooling.
fn compare(name: &str, pooling: Pooling, key: &str) {
    let golden = golden(name, pooling);
    let (questions, passages) = (sequences(&golden.json["queries"]), sequences(&golden.json["passages"]));
    for (side, texts) in [("queries", &questions), ("passages", &passages)] {
        let vectors = golden.encoder.encode(texts, 50, &mut |_| Ok(())).unwrap();
        let vectors: Vec<f64> = vectors.into_iter().map(f64::from).collect();
        let expected = flat(&golden.tensors[&format!("{key}.{side}")]);
        let worst = vectors.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-5, "{name} {key} {side}: {worst}");
    }
    let (loss, gradients) = loss_and_gradients(&golden.encoder, &questions, &passages, 0.05);
    let expected = golden.json["loss"][key].as_f64().unwrap();
    assert!((loss - expected).abs() < 1e-5 * expected, "{name} {key}: loss {loss}, PyTorch {expected}");
    let named = golden.encoder.named_gradients(&gradients).unwrap();
    let prefix = format!("grad.{key}.");
    let mut compared = 0;
    for (full, expected) in golden.tensors.iter().filter(|(n, _)| n.starts_with(&prefix)) {
        let parameter = full[prefix.len()..]
            .replace("dense.weight", "dense.0.weight")
            .replace("dense.bias", "dense.0.bias");
        let parameter =
            if full.contains("encoder.layer") { full[prefix.len()..].to_owned() } else { parameter };
        let found = named.get(&parameter).unwrap_or_else(|| panic!("{name}: no gradient for {parameter}"));
        let (found, expected) = (flat(found), flat(expected));
        compared += 1;
        if parameter.ends_with("key.bias") {
            // Softmax does not see a shift of all keys: the true gradient is zero, and what is left is rounding.
            assert!(found.iter().all(|g| g.abs() < 1e-5), "{name} {parameter}");
            continue;
        }
        let (relative, cosine) = agreement(&found, &expected);
        assert!(relative < 1e-3 && cosine > 0.9999, "{name} {key} {parameter}: {relative}, {cosine}");
    }
    assert_eq!(compared, named.len(), "{name} {key}: every parameter has a gradient in PyTorch and here");
}

#[test]
fn xlm_roberta_equals_pytorch() {
    compare("tiny-xlm-roberta", Pooling::Mean, "mean");
    compare("tiny-xlm-roberta", Pooling::Cls, "cls");
}

#[test]
fn bert_equals_pytorch() {
    compare("tiny-bert", Pooling::Mean, "mean");
    compare("tiny-bert", Pooling::Cls, "cls");
}

#[test]
fn labse_head_equals_sentence_transformers() {
    compare("tiny-labse", Pooling::Auto, "labse");
    let golden = golden("tiny-labse", Pooling::Auto);
    assert_eq!(golden.encoder.width(), 24);
    for text in golden.json["texts"].as_array().unwrap() {
        let ids = golden.encoder.tokenizer.encode("", &[text["text"].as_str().unwrap()], 40).unwrap().ids;
        assert_eq!(ids, vec![serde_json::from_value::<Vec<u32>>(text["ids"].clone()).unwrap()]);
        let vector = golden.encoder.encode(&ids, 100, &mut |_| Ok(())).unwrap();
        for (a, b) in vector.iter().zip(text["embedding"].as_array().unwrap()) {
            assert!((f64::from(*a) - b.as_f64().unwrap()).abs() < 1e-5);
        }
    }
}

/// bf16 training against `PyTorch`'s autocast, both off the f32 numbers by their own rounding: the loss within 5e-3, each
/// gradient's cosine above .99. Neither is further from f32 than that.
#[test]
fn bf16_agrees_with_pytorch_autocast() {
    for name in ["tiny-xlm-roberta", "tiny-bert"] {
        let mut golden = golden(name, Pooling::Mean);
        golden.encoder.dtype = DType::BF16;
        let (questions, passages) = (sequences(&golden.json["queries"]), sequences(&golden.json["passages"]));
        let (loss, gradients) = loss_and_gradients(&golden.encoder, &questions, &passages, 0.05);
        for key in ["bf16", "mean"] {
            let expected = golden.json["loss"][key].as_f64().unwrap();
            let off = (loss - expected).abs() / expected;
            assert!(off < 5e-3, "{name} {key}: loss {loss}, PyTorch {expected}");
            assert!(off > 1e-7, "{name}: bf16 was not used");
            let named = golden.encoder.named_gradients(&gradients).unwrap();
            assert!(named.len() > 30, "{name}: {}", named.len());
            for (parameter, found) in &named {
                let expected = flat(&golden.tensors[&format!("grad.{key}.{parameter}")]);
                if parameter.ends_with("key.bias") {
                    continue;
                }
                let (relative, cosine) = agreement(&flat(found), &expected);
                assert!(cosine > 0.99 && relative < 0.1, "{name} {key} {parameter}: {relative}, {cosine}");
            }
        }
    }
}

/// What f32 rounds a number near 1 by, at most.
const ROUNDING: f64 = 1.0 / (1u32 << 24) as f64;

/// Losses and gradient norms within a thousandth of `PyTorch`'s in f64, at every step. The last losses are near 2e-5, the
/// logarithm of a number that near to 1, which f32 rounds by up to 2^-24: by so much more may they be off.
#[test]
fn fifty_steps_of_adamw_follow_pytorch() {
    for name in ["tiny-xlm-roberta", "tiny-bert"] {
        let mut golden = golden(name, Pooling::Mean);
        let (questions, passages) = (sequences(&golden.json["queries"]), sequences(&golden.json["passages"]));
        let trajectory = golden.json["trajectory"].clone();
        let mut optimiser = AdamW::new(&golden.encoder.parameters.tensors, [0.9, 0.999], 1e-8, 0.01).unwrap();
        let reference = |key: &str| -> Vec<f64> { serde_json::from_value(trajectory[key].clone()).unwrap() };

        let (losses, norms) = (reference("losses_float64"), reference("gradient_norms_float64"));
        assert_eq!((losses.len(), norms.len()), (50, 50));
        for (step, (expected, expected_norm)) in losses.into_iter().zip(norms).enumerate() {
            let (loss, gradients) = loss_and_gradients(&golden.encoder, &questions, &passages, 0.05);
            let norm = global_norm(gradients.tensors.iter().flatten()).unwrap();
            let off = (loss - expected).abs();
            assert!(off < ROUNDING + 1e-3 * expected, "{name} step {step}: {loss}, PyTorch {expected}");
            let off = (norm - expected_norm).abs();
            assert!(off < 1e-3 * expected_norm, "{name} step {step}: {norm}, PyTorch {expected_norm}");
            let parameters = &mut golden.encoder.parameters;
            let clip = (1.0 / (norm + 1e-6)).min(1.0);
            optimiser
                .update(&mut parameters.tensors, &gradients.tensors, &parameters.decayed, 1e-3, clip)
                .unwrap();
        }
    }
}

#[test]
fn packing_changes_nothing() {
    let golden = golden("tiny-bert", Pooling::Mean);
    let texts = sequences(&golden.json["passages"]);
    let together = golden.encoder.encode(&texts, 10_000, &mut |_| Ok(())).unwrap();
    let alone = golden.encoder.encode(&texts, 1, &mut |_| Ok(())).unwrap();
    let worst = together.iter().zip(&alone).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5, "{worst}");
}

#[test]
fn saved_models_load_again_and_give_the_same_vectors() {
    for name in ["tiny-xlm-roberta", "tiny-bert", "tiny-labse"] {
        let golden = golden(name, Pooling::Auto);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("saved model");
        golden.encoder.save(&path).unwrap();
        let again = encoder(&path, Pooling::Auto);
        assert_eq!(again.query_prefix, golden.encoder.query_prefix);
        let texts = sequences(&golden.json["queries"]);
        let encode = |e: &Encoder| e.encode(&texts, 100, &mut |_| Ok(())).unwrap();
        assert_eq!(encode(&golden.encoder), encode(&again), "{name}");
        assert!(golden.encoder.save(&path).unwrap_err().to_string().contains("exists already"));
    }
}

#[test]
fn texts_and_tokens_that_do_not_fit_are_refused() {
    let golden = golden("tiny-xlm-roberta", Pooling::Mean);
    let forward = |ids: Vec<u32>| {
        golden
            .encoder
            .forward(&Packed::new([(0, ids.as_slice())]), None, false)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(forward(vec![5; 39]).contains("longer than the model's 38"));
    assert!(forward(vec![500]).contains("token id 500"));
}

/// What a broken or foreign model directory says.
#[test]
fn broken_model_directories_name_the_file_and_the_part() {
    let fixtures = common::root().join("tests/golden");
    let broken = |name: &str, change: &dyn Fn(&PathBuf)| -> String {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("model");
        common::copy_dir(&fixtures.join(name), &model);
        change(&model);
        format!("{:#}", ModelFiles::read(&model, Pooling::Auto).map(|_| ()).unwrap_err())
    };
    let replace = |file: &'static str, from: &'static str, to: &'static str| {
        move |dir: &PathBuf| {
            let text = std::fs::read_to_string(dir.join(file)).unwrap();
            assert!(text.contains(from), "{file} has no {from}");
            std::fs::write(dir.join(file), text.replace(from, to)).unwrap();
        }
    };
    let cases: Vec<(String, &[&str])> = vec![
        (
            broken("tiny-labse", &|d| std::fs::remove_file(d.join("config.json")).unwrap()),
            &["config.json", "cannot read"],
        ),
        (
            broken("tiny-labse", &|d| std::fs::remove_file(d.join("model.safetensors")).unwrap()),
            &["model.safetensors", "missing"],
        ),
        (
            broken("tiny-labse", &|d| std::fs::remove_file(d.join("tokenizer.json")).unwrap()),
            &["tokenizer.json", "missing"],
        ),
        (
            broken("tiny-labse", &|d| std::fs::write(d.join("tokenizer.json"), "{}").unwrap()),
            &["tokenizer.json", "not a whole tokenizer"],
        ),
        (
            broken("tiny-labse", &|d| std::fs::write(d.join("model.safetensors"), "no").unwrap()),
            &["model.safetensors", "not a readable"],
        ),
        (
            broken("tiny-labse", &replace("config.json", "\"vocab_size\": 120", "\"vocab_size\": 50")),
            &["tokenizer.json", "vocabulary"],
        ),
        (
            broken(
                "tiny-labse",
                &replace("config.json", "\"intermediate_size\": 64", "\"intermediate_size\": 60"),
            ),
            &["intermediate.dense.weight", "[64, 32]", "[60, 32]"],
        ),
        (
            broken(
                "tiny-labse",
                &replace("config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 4"),
            ),
            &["encoder.layer.2", "missing"],
        ),
        (
            broken("tiny-labse", &replace("config.json", "\"bert\"", "\"distilbert\"")),
            &["distilbert", "not supported"],
        ),
        (
            broken(
                "tiny-labse",
                &replace("2_Dense/config.json", "\"in_features\": 32", "\"in_features\": 16"),
            ),
            &["Dense", "16", "32"],
        ),
        (
            broken(
                "tiny-labse",
                &replace(
                    "1_Pooling/config.json",
                    "\"pooling_mode_max_tokens\": false",
                    "\"pooling_mode_max_tokens\": true",
                ),
            ),
            &["1_Pooling", "max_tokens"],
        ),
        (
            broken("tiny-labse", &|d| {
                std::fs::copy(d.join("2_Dense/model.safetensors"), d.join("model.safetensors"))
                    .map(|_| ())
                    .unwrap();
            }),
            &["word_embeddings", "no BERT checkpoint"],
        ),
    ];
    for (error, parts) in cases {
        assert!(parts.iter().all(|p| error.contains(p)), "{parts:?}: {error}");
    }
}
