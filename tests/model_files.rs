//! Model directories in every layout that is about: one model, written in all of them, gives the same vectors.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;
#[path = "common/torch.rs"]
mod torch;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use common::encoder;
use polymix::encoder::{Description, ModelFiles, write_tensors};
use polymix::spec::Pooling;
use serde_json::{Value, json};

const TEXTS: [&str; 4] = ["the river", "stone of the house", "bird", "night light water tree of"];

type Tensors = HashMap<String, Tensor>;

/// A file, what is done to it, and what the error must hold.
type Case = (&'static str, fn(&mut Value), &'static [&'static str]);

fn fixture(name: &str) -> PathBuf {
    common::root().join("tests/golden").join(name)
}

fn load(path: &Path) -> Tensors {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

/// The LaBSE-shaped fixture in a directory of its own.
fn labse() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    common::copy_dir(&fixture("tiny-labse"), &model);
    (dir, model)
}

fn vectors(dir: &Path) -> Vec<f32> {
    let encoder = encoder(dir, Pooling::Auto);
    let ids = encoder.tokenizer.encode("", &TEXTS, 30).unwrap().ids;
    encoder.encode(&ids, 100, &mut |_| Ok(())).unwrap()
}

fn error(dir: &Path) -> String {
    let read = format!("{:#}", ModelFiles::read(dir, Pooling::Auto).map(|_| ()).unwrap_err());
    let described = format!("{:#}", Description::read(dir).map(|_| ()).unwrap_err());
    assert_eq!(read, described, "inspecting says what reading says");
    read
}

fn assert_error(dir: &Path, parts: &[&str]) {
    let error = error(dir);
    for part in parts {
        assert!(error.contains(part), "no '{part}' in: {error}");
    }
}

/// Changes a JSON file in place.
fn change(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    edit(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

fn sorted(tensors: Tensors) -> Vec<(String, Tensor)> {
    let mut all: Vec<_> = tensors.into_iter().collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Puts the model's weights into `PyTorch` files.
fn to_bin(model: &Path) {
    for dir in [model.to_owned(), model.join("2_Dense")] {
        let path = dir.join("model.safetensors");
        torch::save(&dir.join("pytorch_model.bin"), &sorted(load(&path)));
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn pytorch_files_give_what_safetensors_give_also_with_a_dense_layer() {
    let (_dir, model) = labse();
    let expected = vectors(&model);
    to_bin(&model);
    assert_eq!(vectors(&model), expected);
    // Safetensors come first where both are there.
    std::fs::write(model.join("model.safetensors"), b"no").unwrap();
    assert_error(&model, &["model.safetensors", "not a readable"]);
}

#[test]
fn sharded_weights_are_one_model_in_both_formats() {
    for extension in ["safetensors", "bin"] {
        let (_dir, model) = labse();
        let expected = vectors(&model);
        let tensors = sorted(load(&model.join("model.safetensors")));
        std::fs::remove_file(model.join("model.safetensors")).unwrap();
        let stem = if extension == "bin" { "pytorch_model" } else { "model" };
        let mut map = serde_json::Map::new();
        for (number, part) in tensors.chunks(tensors.len().div_ceil(3)).enumerate() {
            let name = format!("{stem}-{:05}-of-00003.{extension}", number + 1);
            if extension == "bin" {
                torch::save(&model.join(&name), part);
            } else {
                write_tensors(&model.join(&name), &part.iter().cloned().collect()).unwrap();
            }
            map.extend(part.iter().map(|(tensor, _)| (tensor.clone(), json!(name))));
        }
        let index = model.join(format!("{stem}.{extension}.index.json"));
        std::fs::write(&index, json!({"metadata": {}, "weight_map": map}).to_string()).unwrap();
        assert_eq!(vectors(&model), expected, "{extension}");
        let description = Description::read(&model).unwrap();
        assert_eq!(description.files.len(), 4, "three shards and the dense layer");

        let second = model.join(format!("{stem}-00002-of-00003.{extension}"));
        let hidden = model.join("hidden");
        std::fs::rename(&second, &hidden).unwrap();
        assert_error(&model, &["00002-of-00003", "missing", "download"]);
        std::fs::copy(model.join(format!("{stem}-00001-of-00003.{extension}")), &second).unwrap();
        assert_error(&model, &["00002-of-00003", "tensor 'e", "different models"]);
        for outside in ["../x.bin", "/etc/passwd", "..", ""] {
            let first = map.keys().next().unwrap().clone();
            change(&index, |v| v["weight_map"][&first] = json!(outside));
            assert_error(&model, &["index.json", "no file of this directory"]);
        }
        std::fs::write(&index, "{}").unwrap();
        assert_error(&model, &["index.json", "weight_map"]);
    }
}

#[test]
fn every_prefix_of_tensor_names_is_found() {
    for (name, prefixes) in [
        ("tiny-labse", vec!["bert.", "model."]),
        ("tiny-xlm-roberta", vec!["roberta.", "xlm_roberta.", "model."]),
    ] {
        for prefix in prefixes {
            let dir = tempfile::tempdir().unwrap();
            let model = dir.path().join("model");
            common::copy_dir(&fixture(name), &model);
            std::fs::copy(fixture("tiny-labse/tokenizer.json"), model.join("tokenizer.json")).unwrap();
            let expected = vectors(&model);
            let path = model.join("model.safetensors");
            let mut renamed: Tensors =
                load(&path).into_iter().map(|(n, t)| (format!("{prefix}{n}"), t)).collect();
            // What language models carry beside the encoder is left alone.
            let ids = Tensor::arange(0i64, 40, &Device::Cpu).unwrap().reshape((1, 40)).unwrap();
            let square = Tensor::zeros((32, 32), DType::F32, &Device::Cpu).unwrap();
            renamed.insert(format!("{prefix}embeddings.position_ids"), ids);
            renamed.insert(format!("{prefix}pooler.dense.weight"), square.clone());
            renamed.insert("lm_head.dense.weight".into(), square);
            candle_core::safetensors::save(&renamed, &path).unwrap();
            assert_eq!(vectors(&model), expected, "{name} {prefix}");
            let unused = Description::read(&model).unwrap().unused;
            assert!(unused.iter().any(|n| n == "lm_head.dense.weight") && unused.len() >= 3, "{unused:?}");
        }
    }
}

#[test]
fn half_precision_weights_are_read_as_the_numbers_they_are() {
    for dtype in [DType::F16, DType::BF16, DType::F64] {
        for bin in [false, true] {
            let (_dir, model) = labse();
            let mut rounded = None;
            for dir in [model.clone(), model.join("2_Dense")] {
                let path = dir.join("model.safetensors");
                let half: Tensors =
                    load(&path).into_iter().map(|(n, t)| (n, t.to_dtype(dtype).unwrap())).collect();
                candle_core::safetensors::save(&half, &path).unwrap();
            }
            if !bin {
                // What the model would be had somebody rounded it before storing f32.
                let (_other, twin) = labse();
                for part in ["model.safetensors", "2_Dense/model.safetensors"] {
                    let whole: Tensors = load(&model.join(part))
                        .into_iter()
                        .map(|(n, t)| (n, t.to_dtype(DType::F32).unwrap()))
                        .collect();
                    candle_core::safetensors::save(&whole, twin.join(part)).unwrap();
                }
                rounded = Some(vectors(&twin));
            }
            let before = vectors(&model);
            if bin {
                to_bin(&model);
            }
            let description = Description::read(&model).unwrap();
            assert_eq!(description.dtypes, [dtype.as_str()]);
            assert_eq!(vectors(&model), rounded.unwrap_or(before), "{dtype:?}");
        }
    }
}

#[test]
fn transposed_storage_and_old_layer_norm_names_are_understood() {
    let (_dir, model) = labse();
    let expected = vectors(&model);
    let path = model.join("model.safetensors");
    let old: Vec<(String, Tensor)> = sorted(load(&path))
        .into_iter()
        .map(|(name, tensor)| {
            let name = name
                .replace("LayerNorm.weight", "LayerNorm.gamma")
                .replace("LayerNorm.bias", "LayerNorm.beta");
            // As a checkpoint that came from TensorFlow: the same matrix, columns first.
            let is_matrix = tensor.rank() == 2;
            let tensor =
                if is_matrix { tensor.t().unwrap().contiguous().unwrap().t().unwrap() } else { tensor };
            (name, tensor)
        })
        .collect();
    torch::save(&model.join("pytorch_model.bin"), &old);
    std::fs::remove_file(path).unwrap();
    assert_eq!(vectors(&model), expected);
}

#[test]
fn both_dialects_of_the_sentence_transformers_layout_mean_the_same() {
    let (_dir, model) = labse();
    let expected = vectors(&model);
    let pooling = model.join("1_Pooling/config.json");
    std::fs::write(&pooling, r#"{"embedding_dimension": 32, "pooling_mode": "cls", "include_prompt": true}"#)
        .unwrap();
    change(&model.join("modules.json"), |modules| {
        let kinds = [
            "sentence_transformers.base.modules.transformer.Transformer",
            "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
            "sentence_transformers.base.modules.dense.Dense",
            "sentence_transformers.base.modules.normalize.Normalize",
        ];
        for (module, kind) in modules.as_array_mut().unwrap().iter_mut().zip(kinds) {
            module["type"] = json!(kind);
        }
    });
    change(&model.join("2_Dense/config.json"), |dense| {
        dense["module_input_name"] = json!("sentence_embedding");
        dense["module_output_name"] = json!("sentence_embedding");
    });
    assert_eq!(vectors(&model), expected);
    std::fs::write(&pooling, r#"{"embedding_dimension": 32, "pooling_mode": ["cls"]}"#).unwrap();
    assert_eq!(vectors(&model), expected);
    std::fs::write(&pooling, r#"{"embedding_dimension": 32, "pooling_mode": "mean"}"#).unwrap();
    assert_ne!(vectors(&model), expected);

    for (text, part) in [
        (r#"{"pooling_mode": ["cls", "mean"]}"#, "'cls+mean'"),
        (r#"{"pooling_mode": "lasttoken"}"#, "'lasttoken'"),
        (r#"{"embedding_dimension": 32}"#, "no pooling is on"),
        (r#"{"pooling_mode": "mean", "include_prompt": false}"#, "include_prompt"),
        (r#"{"pooling_mode": "mean", "embedding_dimension": 768}"#, "768"),
        ("[", "not JSON"),
    ] {
        std::fs::write(&pooling, text).unwrap();
        assert_error(&model, &["1_Pooling", part]);
    }
}

#[test]
fn the_length_limit_is_found_where_either_dialect_writes_it() {
    let (_dir, model) = labse();
    let limit = || polymix::encoder::Description::read(&model).unwrap().max_length;
    let own = model.join("sentence_bert_config.json");
    std::fs::write(&own, r#"{"max_seq_length": 40, "do_lower_case": false}"#).unwrap();
    std::fs::write(model.join("tokenizer_config.json"), r#"{"model_max_length": 24}"#).unwrap();
    assert_eq!(limit(), Some(40));
    // sentence-transformers 6 leaves it to the tokenizer.
    std::fs::write(&own, r#"{"do_lower_case": false}"#).unwrap();
    assert_eq!(limit(), Some(24));
    std::fs::write(model.join("tokenizer_config.json"), r#"{"model_max_length": 1e30}"#).unwrap();
    assert_eq!(limit(), None, "a tokenizer without a limit");
}

#[test]
fn a_tokenizer_that_is_cut_off_anywhere_is_an_error() {
    let (_dir, model) = labse();
    let path = model.join("tokenizer.json");
    let whole = std::fs::read(&path).unwrap();
    for share in 1..60 {
        std::fs::write(&path, &whole[..whole.len() * share / 60]).unwrap();
        assert_error(&model, &["tokenizer.json", "again"]);
    }
    // Within the decoder the library itself panics.
    let text = r#"{"version":"1.0","decoder":{"type":"Sequence","decoders":[{"type":"Meta"#;
    std::fs::write(&path, text).unwrap();
    assert_error(&model, &["tokenizer.json", "again"]);
}

#[test]
fn modules_that_would_change_the_vectors_are_refused() {
    let cases: [Case; 6] = [
        ("modules.json", |m| m[1]["type"] = json!("x.WeightedLayerPooling"), &["WeightedLayerPooling"]),
        ("modules.json", |m| m[1]["path"] = json!("../1_Pooling"), &["leads out"]),
        ("modules.json", |m| m[1]["path"] = json!("/etc"), &["leads out"]),
        ("modules.json", |m| m.as_array_mut().unwrap().swap(1, 2), &["in this order"]),
        ("2_Dense/config.json", |d| d["use_residual"] = json!(true), &["use_residual"]),
        (
            "2_Dense/config.json",
            |d| d["activation_function"] = json!("torch.nn.modules.activation.GELU"),
            &["GELU", "Tanh"],
        ),
    ];
    for (file, edit, parts) in cases {
        let (_dir, model) = labse();
        change(&model.join(file), edit);
        assert_error(&model, &[&[file], parts].concat());
    }
}

#[test]
fn weights_and_configuration_that_do_not_belong_together_name_the_tensor() {
    let (_dir, model) = labse();
    let path = model.join("model.safetensors");
    let whole = load(&path);
    let with = |edit: &dyn Fn(&mut Tensors)| {
        let mut tensors = whole.clone();
        edit(&mut tensors);
        candle_core::safetensors::save(&tensors, &path).unwrap();
    };
    let key = "encoder.layer.1.output.dense.bias";
    with(&|t| drop(t.remove(key)));
    assert_error(&model, &["model.safetensors", key, "missing"]);
    with(&|t| drop(t.insert(key.into(), Tensor::zeros(31, DType::F32, &Device::Cpu).unwrap())));
    assert_error(&model, &[key, "[31]", "[32]"]);
    with(&|t| drop(t.insert(key.into(), Tensor::zeros(32, DType::U8, &Device::Cpu).unwrap())));
    assert_error(&model, &[key, "U8", "quantised"]);
    with(&|t| {
        let more = t["encoder.layer.1.output.dense.bias"].clone();
        t.insert("encoder.layer.2.output.dense.bias".into(), more);
    });
    assert_error(&model, &["encoder.layer.2.output.dense.bias", "no place", "2 layers"]);
    with(&|t| drop(t.insert("encoder.rel_pos.weight".into(), t[key].clone())));
    assert_error(&model, &["encoder.rel_pos.weight", "no place"]);
    with(&|t| {
        let nan = Tensor::full(f32::NAN, 32, &Device::Cpu).unwrap();
        t.insert(key.into(), nan);
    });
    let error = format!("{:#}", ModelFiles::read(&model, Pooling::Auto).map(|_| ()).unwrap_err());
    assert!(error.contains(key) && error.contains("not finite"), "{error}");
    // Cut off, or longer than its header says.
    with(&|_| ());
    let bytes = std::fs::read(&path).unwrap();
    for cut in [0, 4, 8, 100, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        assert_error(&model, &["model.safetensors", "not a readable", "download"]);
    }
    std::fs::write(&path, [&u64::MAX.to_le_bytes()[..], b"{}"].concat()).unwrap();
    assert_error(&model, &["model.safetensors", "not a readable"]);
}

#[test]
fn directories_without_weights_or_tokenizer_say_what_to_do() {
    let (_dir, model) = labse();
    std::fs::remove_file(model.join("model.safetensors")).unwrap();
    assert_error(&model, &["model.safetensors", "missing", "pytorch_model.bin", "download"]);
    for (name, part) in
        [("tf_model.h5", "TensorFlow"), ("model.onnx", "ONNX"), ("adapter_model.safetensors", "merge")]
    {
        std::fs::write(model.join(name), b"").unwrap();
        assert_error(&model, &["missing", name, part]);
        std::fs::remove_file(model.join(name)).unwrap();
    }

    let (_dir, model) = labse();
    let tokenizer = std::fs::read_to_string(model.join("tokenizer.json")).unwrap();
    std::fs::remove_file(model.join("tokenizer.json")).unwrap();
    for name in ["sentencepiece.bpe.model", "vocab.txt"] {
        std::fs::write(model.join(name), b"").unwrap();
        assert_error(&model, &["tokenizer.json", "missing", name, "AutoTokenizer", "save_pretrained"]);
        std::fs::remove_file(model.join(name)).unwrap();
    }
    let mut broken: Value = serde_json::from_str(&tokenizer).unwrap();
    broken["post_processor"] = Value::Null;
    std::fs::write(model.join("tokenizer.json"), broken.to_string()).unwrap();
    assert_error(&model, &["tokenizer.json", "post_processor", "AutoTokenizer"]);
    broken.as_object_mut().unwrap().remove("model");
    std::fs::write(model.join("tokenizer.json"), broken.to_string()).unwrap();
    assert_error(&model, &["tokenizer.json", "model"]);
    std::fs::write(model.join("tokenizer.json"), tokenizer).unwrap();
    change(&model.join("config.json"), |c| c["vocab_size"] = json!(60));
    assert_error(&model, &["tokenizer.json", "120", "60", "do not belong together"]);
}

#[test]
fn lower_casing_happens_only_where_the_directory_asks_for_it() {
    let (_dir, model) = labse();
    let ids =
        |model: &Path| encoder(model, Pooling::Auto).tokenizer.encode("", &["The RIVER"], 30).unwrap().ids;
    let lower = encoder(&model, Pooling::Auto).tokenizer.encode("", &["the river"], 30).unwrap().ids;
    let (lowers, keeps) = (|c: &mut Value| c["do_lower_case"] = json!(true), ids(&model));
    change(&model.join("sentence_bert_config.json"), lowers);
    assert_eq!(ids(&model), lower);
    assert!(Description::read(&model).unwrap().notes.iter().any(|n| n.contains("lower case")));
    // The fixture's tokenizer may lower-case by itself; then nothing can differ.
    let own = std::fs::read_to_string(model.join("tokenizer.json")).unwrap().contains("\"lowercase\":true");
    assert!(own || keeps != lower);
}

#[test]
fn a_module_whose_configuration_is_missing_is_named() {
    for file in ["1_Pooling/config.json", "2_Dense/config.json"] {
        let (_dir, model) = labse();
        std::fs::remove_file(model.join(file)).unwrap();
        assert_error(
            &model,
            &[file, "missing", "modules.json names its module", "is the download complete?"],
        );
    }
}
