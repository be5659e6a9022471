//! `polymix model`: inspecting, converting, embedding; and that sentence-transformers gives an exported model's texts
//! the vectors that polymix gives them.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;
#[path = "common/python.rs"]
mod python;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::Program;
use serde_json::Value;

fn labse() -> PathBuf {
    common::root().join("tests/golden/tiny-labse")
}

fn vectors(json_lines: &str) -> Vec<Vec<f64>> {
    let line = |l: &str| serde_json::from_str::<Value>(l).unwrap()["vector"].clone();
    json_lines.lines().map(|l| serde_json::from_value(line(l)).unwrap()).collect()
}

fn worst(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    assert_eq!((a.len(), a[0].len()), (b.len(), b[0].len()));
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// A run of the small model that is done.
fn trained(program: &Program) {
    let spec = common::write_spec(program.dir.path(), 6);
    program.ok(&["train", spec.to_str().unwrap()]);
}

#[test]
fn inspect_shows_what_a_directory_holds() {
    let program = Program::new();
    let model = labse();
    let model = model.to_str().unwrap();
    let text = program.ok(&["model", "inspect", model]);
    for part in [
        "BERT",
        "120 embeddings",
        "cls",
        "32 to 24, tanh",
        "normalise       yes",
        "f32",
        "2_Dense/model.safetensors",
    ] {
        assert!(text.contains(part), "no '{part}' in {text}");
    }
    let json: Value = serde_json::from_str(&program.ok(&["model", "inspect", model, "--json"])).unwrap();
    let sizes: u64 = ["model.safetensors", "2_Dense/model.safetensors"]
        .iter()
        .map(|f| std::fs::metadata(labse().join(f)).unwrap().len())
        .sum();
    assert_eq!(json["bytes"], sizes);
    assert_eq!(json["width"], 24);
    // 120 words, 40 positions, 2 types, two layers of 8,544 and the dense layer's 25 * 32 - 8.
    let layer = 4 * (32 * 32 + 32) + (64 * 32 + 64) + (32 * 64 + 32) + 4 * 32;
    assert_eq!(json["parameters"], (120 + 40 + 2 + 2) * 32 + 2 * layer + 24 * 32 + 24);
    program.fails(
        &["model", "inspect", "nothing-here"],
        &["nothing-here", "no run either", "no such model directory"],
    );
}

#[test]
fn converted_models_keep_their_vectors_as_far_as_the_type_goes() {
    let program = Program::new();
    let model = labse();
    let model = model.to_str().unwrap();
    let texts = ["--text", "the river", "--text", "stone of the house", "--device", "cpu"];
    let embed = |model: &str| vectors(&program.ok(&[&["model", "embed", model], &texts[..]].concat()));
    let before = embed(model);
    for (dtype, tolerance) in [("f32", 0.0), ("f16", 2e-3), ("bf16", 2e-2)] {
        let out = format!("out-{dtype}");
        program.ok(&["model", "convert", model, &out, "--dtype", dtype, "--license", "cc-by-4.0"]);
        let difference = worst(&before, &embed(&out));
        assert!(difference <= tolerance && (dtype == "f32" || difference > 0.0), "{dtype}: {difference}");
        let json: Value = serde_json::from_str(&program.ok(&["model", "inspect", &out, "--json"])).unwrap();
        assert_eq!(json["dtypes"], serde_json::json!([dtype]));
        let card = std::fs::read_to_string(program.dir.path().join(&out).join("README.md")).unwrap();
        assert!(card.starts_with("---\n") && card.contains("license: \"cc-by-4.0\""), "{card}");
        // No prompts were stated, so none are written.
        assert!(!card.contains("prompt_name") && json["prompts"] == serde_json::json!({}), "{json}");
        // The type is kept where none is asked for.
        let again = format!("again-{dtype}");
        program.ok(&["model", "convert", &out, &again]);
        let file = |dir: &str| std::fs::read(program.dir.path().join(dir).join("model.safetensors")).unwrap();
        assert!(file(&again) == file(&out), "{dtype}");
    }
    // Word embeddings in one type, the rest in a wider one: nothing is lost.
    let mixed = program.dir.path().join("mixed");
    common::copy_dir(&labse(), &mixed);
    let path = mixed.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &candle_core::Device::Cpu).unwrap();
    let word = tensors.get_mut("embeddings.word_embeddings.weight").unwrap();
    *word = word.to_dtype(candle_core::DType::F16).unwrap();
    candle_core::safetensors::save(&tensors, &path).unwrap();
    program.ok(&["model", "convert", "mixed", "out-mixed"]);
    assert_eq!(embed("mixed"), embed("out-mixed"));
    program.fails(&["model", "convert", model, "out-f32"], &["out-f32", "exists already"]);
    program.fails(&["model", "convert", model, "x", "--dtype", "int8"], &["int8", "f32, f16, bf16"]);
    program.fails(&["model", "embed", model], &["--file"]);

    // A weight beyond f16's largest number: refused, and nothing is left behind.
    let large = program.dir.path().join("large");
    common::copy_dir(&labse(), &large);
    let path = large.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &candle_core::Device::Cpu).unwrap();
    let key = "encoder.layer.0.output.dense.bias";
    tensors.insert(key.into(), candle_core::Tensor::full(1e5f32, 32, &candle_core::Device::Cpu).unwrap());
    candle_core::safetensors::save(&tensors, &path).unwrap();
    #[cfg(unix)]
    {
        let inner = program.command(&["model", "convert", model, "limited"]);
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -f 20; exec \"$@\"", "sh"])
            .arg(inner.get_program())
            .args(inner.get_args());
        let output = command.current_dir(program.dir.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("model.safetensors") && text.contains("ulimit -f unlimited"), "{text}");
        let names = std::fs::read_dir(program.dir.path()).unwrap().map(|e| e.unwrap().file_name());
        let left: Vec<_> = names.filter(|n| n.to_string_lossy().contains("limited")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    program.fails(&["model", "convert", "large", "half", "--dtype", "f16"], &[key, "bf16"]);
    assert!(!program.dir.path().join("half").exists());
    program.ok(&["model", "convert", "large", "half", "--dtype", "bf16"]);
}

#[test]
fn an_exported_runs_card_states_its_results_data_and_settings() {
    let program = Program::new();
    trained(&program);
    program.ok(&["model", "export", "last", "exported"]);
    let dir = program.dir.path().join("exported");
    let card = std::fs::read_to_string(dir.join("README.md")).unwrap();
    let run = polymix::run::RunDir::new(program.runs().join("small-001"));
    let (step, dataset, scores) = run.scores().pop().unwrap();
    let score = |setting: &str, metric: &str| {
        scores.iter().find(|s| s.setting == setting && s.metric == metric).unwrap().value
    };
    let row = format!(
        "| {} | {step} | {:.4} | {:.4} | {:.4} | {:.1} |",
        dataset.replace('[', "\\["),
        score("mono", "map"),
        score("cross", "map"),
        score("multi", "map"),
        score("multi", "rank_distance")
    );
    for part in [
        row.as_str(),
        "language:\n- \"de\"\n- \"en\"\n- \"zh\"\n",
        "| training | xquad-r\\[0..24] | CC-BY-SA-4.0 | de en zh | 48 |",
        "| train.learning_rate | 0.001 |",
        "prompt_name=\"query\"",
        "cut after 30 tokens",
        "Macro means",
    ] {
        assert!(card.contains(part), "no '{part}' in {card}");
    }
    // Nobody needs to know where things lay on this machine.
    assert!(!card.contains(program.dir.path().to_str().unwrap()), "{card}");
    let json = |file: &str| -> Value {
        serde_json::from_str(&std::fs::read_to_string(dir.join(file)).unwrap()).unwrap()
    };
    assert_eq!(json("config_sentence_transformers.json")["prompts"]["query"], "Query: ");
    assert_eq!(json("config_sentence_transformers.json")["prompts"]["document"], "Passage: ");
    assert_eq!(json("sentence_bert_config.json")["max_seq_length"], 30);
    assert_eq!(json("tokenizer_config.json")["tokenizer_class"], "PreTrainedTokenizerFast");
    program.fails(&["model", "export", "last", "exported"], &["exists already"]);
    // A run without a model.
    std::fs::remove_dir_all(run.model_dir()).unwrap();
    program.fails(&["model", "export", "last", "other"], &["small-001", "no final model"]);
}

/// `scripts/check-export.py` on a model that polymix wrote.
fn check(program: &Program, python: &Path, model: &str, side: Option<&str>, texts: &Path) {
    let file = texts.to_str().unwrap();
    let mut arguments = vec!["model", "embed", model, "--file", file, "--device", "cpu"];
    let mut prompt = Vec::new();
    if let Some(side) = side {
        arguments.extend(["--as", side]);
        prompt.extend(["--prompt", side]);
    }
    let vectors = program.dir.path().join("vectors.jsonl");
    std::fs::write(&vectors, program.ok(&arguments)).unwrap();
    let output = Command::new(python)
        .arg(common::root().join("scripts/check-export.py"))
        .arg(program.dir.path().join(model))
        .arg(&vectors)
        .args(prompt)
        .output()
        .unwrap();
    assert!(output.status.success(), "{model}: {output:?}");
    eprintln!("{model}: {}", String::from_utf8_lossy(&output.stdout).trim());
}

const TEXTS: &str = "What is the größte Stadt？ ﬁne ①\n中文 句子。这是一个问题吗？\n  a  b\tc\nสวัสดีชาวโลก\n\
    ما هي عاصمة فرنسا؟\nΠοια είναι η πρωτεύουσα της Ελλάδας;\nГде находится река?\nभारत की राजधानी क्या है?\nriver\n";

#[test]
fn sentence_transformers_gives_exported_models_the_same_vectors() {
    let Some(python) = python::python(
        "sentence_transformers_gives_exported_models_the_same_vectors",
        "sentence_transformers",
        "sentence-transformers",
    ) else {
        return;
    };
    let program = Program::new();
    let texts = program.dir.path().join("texts.txt");
    std::fs::write(&texts, format!("{TEXTS}{}\n", "river stone house ".repeat(60))).unwrap();
    // A run of the XLM-R-shaped demo model, and LaBSE's shape with its dense layer.
    let set = ["--set", "train.steps=1", "--set", "train.batch=4", "--set", "data.validation=[]"];
    program.ok(&[&["train", "demo", "--device", "cpu"], &set[..]].concat());
    program.ok(&["model", "export", "last", "demo-run"]);
    check(&program, &python, "demo-run", Some("passage"), &texts);
    program.ok(&["model", "convert", labse().to_str().unwrap(), "labse", "--dtype", "bf16"]);
    check(&program, &python, "labse", None, &texts);
    for layout in ["bert-xquadr", "xlm-roberta-xquadr"] {
        let test = "sentence_transformers_gives_exported_models_the_same_vectors";
        if let Some(dir) = common::pretrained(layout, test) {
            program.ok(&["model", "convert", dir.to_str().unwrap(), layout]);
            check(&program, &python, layout, None, &texts);
        }
    }
}

#[test]
fn files_of_the_real_pytorch_are_read() {
    let Some(python) = python::python(
        "files_of_the_real_pytorch_are_read",
        "sentence_transformers",
        "sentence-transformers",
    ) else {
        return;
    };
    let program = Program::new();
    let whole = program.dir.path().join("whole");
    common::copy_dir(&labse(), &whole);
    let script = "
import sys, torch, json, shutil, collections
from safetensors.torch import load_file
root = sys.argv[1]
def save(kind, edit, **options):
    out = f'{root}/{kind}'
    shutil.copytree(f'{root}/whole', out)
    for part in ['', '/2_Dense']:
        tensors = load_file(f'{out}{part}/model.safetensors')
        import os; os.remove(f'{out}{part}/model.safetensors')
        torch.save(edit(tensors), f'{out}{part}/pytorch_model.bin', **options)
save('plain', lambda t: t)
save('parameters', lambda t: collections.OrderedDict((k, torch.nn.Parameter(v)) for k, v in t.items()))
save('columns', lambda t: {k: v.t().contiguous().t() if v.dim() == 2 else v for k, v in t.items()})
save('protocol4', lambda t: t, pickle_protocol=4)
save('bf16', lambda t: {k: v.bfloat16() for k, v in t.items()})
def shared(t):
    whole = torch.cat([v.flatten() for v in t.values()])
    parts, at = {}, 0
    for k, v in t.items():
        parts[k] = whole[at:at + v.numel()].view(v.shape)
        at += v.numel()
    return parts
save('shared', shared)
save('old', lambda t: t, _use_new_zipfile_serialization=False)
class Model(torch.nn.Linear): pass
save('whole-module', lambda t: Model(2, 2))
";
    let output = Command::new(python).args(["-c", script]).arg(program.dir.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let embed = |model: &str| {
        vectors(&program.ok(&[
            "model",
            "embed",
            model,
            "--text",
            "the river",
            "--text",
            "stone",
            "--device",
            "cpu",
        ]))
    };
    let expected = embed("whole");
    for kind in ["plain", "parameters", "columns", "protocol4", "shared"] {
        assert_eq!(embed(kind), expected, "{kind}");
    }
    let difference = worst(&embed("bf16"), &expected);
    assert!(difference > 0.0 && difference < 2e-2, "{difference}");
    program.fails(&["model", "inspect", "old"], &["pytorch_model.bin", "before version 1.6", "torch.save"]);
    program.fails(&["model", "inspect", "whole-module"], &["pytorch_model.bin", "__main__.Model"]);
}

#[test]
fn a_default_prompt_is_kept_and_put_before_texts_that_nobody_calls_anything() {
    let program = Program::new();
    let model = program.dir.path().join("prompted");
    common::copy_dir(&labse(), &model);
    let file = model.join("config_sentence_transformers.json");
    let state = |name: &str| {
        let text = format!(
            "{{\"prompts\": {{\"query\": \"the river \", \"passage\": \"bird \"}}, \"default_prompt_name\": {name}}}"
        );
        std::fs::write(&file, text).unwrap();
    };
    let embed = |model: &str, more: &[&str]| {
        vectors(&program.ok(&[&["model", "embed", model, "--device", "cpu"], more].concat()))
    };
    state("null");
    let bare = embed("prompted", &["--text", "stone"]);
    let as_query = embed("prompted", &["--as", "query", "--text", "stone"]);
    assert!(worst(&bare, &as_query) > 1e-3);
    state("\"query\"");
    assert_eq!(embed("prompted", &["--text", "stone"]), as_query);
    assert_ne!(embed("prompted", &["--as", "passage", "--text", "stone"]), as_query);
    program.ok(&["model", "convert", "prompted", "again"]);
    let again =
        std::fs::read_to_string(program.dir.path().join("again/config_sentence_transformers.json")).unwrap();
    assert!(again.contains("\"default_prompt_name\": \"query\""), "{again}");
    assert_eq!(embed("again", &["--text", "stone"]), as_query);
    let text = program.ok(&["model", "inspect", "again"]);
    assert!(
        text.contains("default prompt  query") && text.contains("\"bird \" (as the model's files state)"),
        "{text}"
    );
    // A name that stands for nothing, which sentence-transformers refuses.
    state("\"ask\"");
    let parts = ["config_sentence_transformers.json", "'ask' names no prompt", "passage, query"];
    program.fails(&["model", "embed", "prompted", "--text", "stone"], &parts);
    assert!(program.ok(&["model", "inspect", "prompted"]).contains("'ask' names no prompt"));
    // It is not handed on.
    program.ok(&["model", "convert", "prompted", "mended"]);
    let mended = program.dir.path().join("mended/config_sentence_transformers.json");
    assert!(std::fs::read_to_string(mended).unwrap().contains("\"default_prompt_name\": null"));
}
