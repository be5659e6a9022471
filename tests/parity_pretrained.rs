//! The encoder against `PyTorch` at real size: the 12-layer pretrained model in both architectures.
//! `scripts/pretrained.sh` builds the model, `scripts/golden/` the fixtures.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;

use common::{encoder, flat, loss_and_gradients};
use polymix::spec::Pooling;
use serde_json::Value;

fn fixture(name: &str) -> Value {
    let text = std::fs::read_to_string(common::root().join("tests/golden").join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn pretrained_embeddings_equal_pytorch_in_both_architectures() {
    let fixture = fixture("pretrained.json");
    let sentences = fixture["sentences"].as_array().unwrap();
    let mut all: Vec<Vec<f32>> = Vec::new();
    for layout in ["bert", "xlm-roberta"] {
        let Some(dir) =
            common::pretrained(layout, "pretrained_embeddings_equal_pytorch_in_both_architectures")
        else {
            return;
        };
        let encoder = encoder(&dir, Pooling::Auto);
        let texts: Vec<&str> = sentences.iter().map(|s| s["text"].as_str().unwrap()).collect();
        let tokenised = encoder.tokenizer.encode("", &texts, 512).unwrap();
        for (ids, sentence) in tokenised.ids.iter().zip(sentences) {
            assert_eq!(ids, &serde_json::from_value::<Vec<u32>>(sentence["ids"].clone()).unwrap());
        }
        let vectors = encoder.encode(&tokenised.ids, 4096, &mut |_| Ok(())).unwrap();
        let expected: Vec<f64> = sentences
            .iter()
            .flat_map(|s| s["embedding"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()))
            .collect();
        let worst = vectors.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        eprintln!("{layout}: largest difference to PyTorch {worst:.2e}");
        assert!(worst < 1e-4, "{layout}: {worst}");
        all.push(vectors);
    }
    let worst = all[0].iter().zip(&all[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5, "the two architectures differ by {worst}");
}

#[test]
fn pretrained_gradients_equal_pytorch() {
    let Some(dir) = common::pretrained("bert", "pretrained_gradients_equal_pytorch") else { return };
    let fixture = fixture("pretrained-gradients.json");
    let encoder = encoder(&dir, Pooling::Auto);
    let side = |key: &str| -> Vec<Vec<u32>> {
        let pairs = fixture["pairs"].as_array().unwrap();
        pairs.iter().map(|p| serde_json::from_value(p[key].clone()).unwrap()).collect()
    };
    let (loss, gradients) = loss_and_gradients(
        &encoder,
        &side("query_ids"),
        &side("passage_ids"),
        fixture["tau"].as_f64().unwrap(),
    );
    let expected = fixture["loss_float64"].as_f64().unwrap();
    assert!((loss - expected).abs() < 1e-5 * expected, "loss {loss}, PyTorch {expected}");
    let named = encoder.named_gradients(&gradients).unwrap();
    let (mut worst, mut compared) = (0f64, 0);
    for (name, golden) in fixture["parameters"].as_object().unwrap() {
        let found = flat(named.get(name).unwrap_or_else(|| panic!("no gradient for {name}")));
        let norm = golden["norm"].as_f64().unwrap();
        compared += 1;
        if name.ends_with("key.bias") {
            assert!(found.iter().all(|g| g.abs() < 1e-6), "{name}");
            continue;
        }
        let own = found.iter().map(|g| g * g).sum::<f64>().sqrt();
        let scale = norm / (found.len() as f64).sqrt();
        let relative = (own - norm).abs() / norm;
        for (index, value) in
            golden["indices"].as_array().unwrap().iter().zip(golden["values"].as_array().unwrap())
        {
            let (own, value) = (found[index.as_u64().unwrap() as usize], value.as_f64().unwrap());
            let error = (own - value).abs() / scale.max(value.abs());
            worst = worst.max(error);
            assert!(error < 1e-3, "{name}[{index}]: {own}, PyTorch {value}");
        }
        assert!(relative < 1e-3, "{name}: norm {own}, PyTorch {norm}");
    }
    let words = &fixture["word_embeddings"];
    let found = &named["embeddings.word_embeddings.weight"];
    for (row, golden) in words["rows"].as_object().unwrap() {
        let own = flat(&found.get(row.parse::<usize>().unwrap()).unwrap());
        let norm = own.iter().map(|g| g * g).sum::<f64>().sqrt();
        let expected = golden["norm"].as_f64().unwrap();
        assert!((norm - expected).abs() < 1e-3 * expected, "row {row}: {norm}, PyTorch {expected}");
    }
    assert_eq!(compared + 1, named.len(), "every parameter has a gradient in PyTorch and here");
    eprintln!("{compared} parameters, largest relative difference {worst:.2e}");
}
