//! The encoder against `PyTorch` at real size: the 12-layer pretrained model in both architectures.
//! `scripts/pretrained.sh` builds the model, `scripts/golden/` the fixtures.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;

use candle_core::Tensor;
use common::{encoder, loss_and_gradients};
use polymix::ops::{AdamW, global_norm};
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

/// The fixture's projections of a whole gradient: sums with the signs that the bits of splitmix64's outputs give.
fn projections(values: &[f32], start: u64) -> [f64; 16] {
    let mut sums = [0f64; 16];
    for (index, &value) in (start..).zip(values) {
        let mut z = (index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        for (k, sum) in sums.iter_mut().enumerate() {
            *sum += f64::from(value) * (((z >> k) & 1) as f64 * 2.0 - 1.0);
        }
    }
    sums
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

/// What is compared of one gradient, or one row of one: (relative error, cosine) over the whole, as far as sixteen
/// projections tell. Norm, sum and single values are held to `golden` here.
fn compare(name: &str, found: &[f32], sums: [f64; 16], golden: &Value) -> (f64, f64) {
    let (own, expected) = (norm(found), number(&golden["norm"]));
    assert!((own - expected).abs() < TOLERANCE * expected, "{name}: norm {own}, PyTorch {expected}");
    let sum: f64 = found.iter().map(|&g| f64::from(g)).sum();
    // Rounding of n elements that are off together may add up to the square root of n times their norm.
    let room = TOLERANCE * expected.max(number(&golden["sum"]).abs());
    let off = (sum - number(&golden["sum"])).abs();
    assert!(off < room, "{name}: sum {sum}, PyTorch {}, {:.1e} of the norm", golden["sum"], off / expected);
    let golden = numbers(&golden["projections"]);
    let square = sums.iter().zip(&golden).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / 16.0;
    ((square.sqrt()) / expected, (own * own + expected * expected - square) / (2.0 * own * expected))
}

const TOLERANCE: f64 = 1e-4;

/// Single values of `found`, in units of its root mean square where they are smaller than that.
fn compare_values(name: &str, found: &[f32], indices: &[usize], values: &Value) -> f64 {
    let scale = norm(found) / (found.len() as f64).sqrt();
    let errors = indices.iter().zip(numbers(values)).map(|(&index, value)| {
        let error = (f64::from(found[index]) - value).abs() / scale.max(value.abs());
        assert!(error < TOLERANCE, "{name}[{index}]: {}, PyTorch {value}", found[index]);
        error
    });
    errors.fold(0.0, f64::max)
}

#[test]
fn pretrained_gradients_equal_pytorch_in_both_architectures() {
    let fixture = fixture("pretrained-gradients.json");
    let side = |key: &str| -> Vec<Vec<u32>> {
        let pairs = fixture["pairs"].as_array().unwrap();
        pairs.iter().map(|p| serde_json::from_value(p[key].clone()).unwrap()).collect()
    };
    for layout in ["bert", "xlm-roberta"] {
        let Some(dir) =
            common::pretrained(layout, "pretrained_gradients_equal_pytorch_in_both_architectures")
        else {
            return;
        };
        let golden = &fixture["layouts"][layout];
        let encoder = encoder(&dir, Pooling::Auto);
        let (loss, gradients) =
            loss_and_gradients(&encoder, &side("query_ids"), &side("passage_ids"), number(&fixture["tau"]));
        let expected = number(&golden["loss"]);
        assert!((loss - expected).abs() < 1e-5 * expected, "{layout}: loss {loss}, PyTorch {expected}");
        let total = global_norm(gradients.tensors.iter().flatten()).unwrap();
        let expected = number(&golden["total_gradient_norm"]);
        assert!((total - expected).abs() < 1e-4 * expected, "{layout}: norm {total}, PyTorch {expected}");

        let named = encoder.named_gradients(&gradients).unwrap();
        let (mut furthest, mut single, mut compared) = ((0f64, 2f64, ""), 0f64, 0);
        for (name, golden) in golden["parameters"].as_object().unwrap() {
            let found = named.get(name).unwrap_or_else(|| panic!("{layout}: no gradient for {name}"));
            assert_eq!(found.dims(), serde_json::from_value::<Vec<usize>>(golden["shape"].clone()).unwrap());
            let found = values(found);
            compared += 1;
            if name.ends_with("key.bias") {
                assert!(found.iter().all(|g| g.abs() < 1e-6), "{layout}: {name}");
                continue;
            }
            let indices: Vec<usize> = serde_json::from_value(golden["indices"].clone()).unwrap();
            single = single.max(compare_values(name, &found, &indices, &golden["values"]));
            let (relative, cosine) = compare(name, &found, projections(&found, 0), golden);
            assert!(relative < TOLERANCE && cosine > 0.9999, "{layout}: {name}: {relative}, cosine {cosine}");
            if relative > furthest.0 {
                furthest = (relative, cosine, name);
            }
        }
        assert_eq!(compared + 1, named.len(), "every parameter has a gradient in PyTorch and here");

        // The word table: the batch's rows as PyTorch has them, the whole, and every other row zero.
        let (words, hidden) = (&golden["word_embeddings"], encoder.config.hidden_size);
        let found = values(&named["embeddings.word_embeddings.weight"]);
        let columns: Vec<usize> = serde_json::from_value(words["columns"].clone()).unwrap();
        let rows = words["rows"].as_object().unwrap();
        let mut sums = [0f64; 16];
        for (row, own) in found.chunks_exact(hidden).enumerate() {
            let Some(golden) = rows.get(&row.to_string()) else {
                assert!(
                    own.iter().all(|&g| g == 0.0),
                    "{layout}: row {row} is in no text, and has a gradient"
                );
                continue;
            };
            let name = format!("{layout}: word {row}");
            single = single.max(compare_values(&name, own, &columns, &golden["values"]));
            let (norm, expected) = (norm(own), number(&golden["norm"]));
            assert!((norm - expected).abs() < TOLERANCE * expected, "{name}: {norm}, PyTorch {expected}");
            let sum: f64 = own.iter().map(|&g| f64::from(g)).sum();
            assert!((sum - number(&golden["sum"])).abs() < TOLERANCE * expected, "{name}: sum {sum}");
            let part = projections(own, (row * hidden) as u64);
            sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        let (relative, cosine) = compare("words", &found, sums, words);
        assert!(relative < TOLERANCE && cosine > 0.9999, "{layout}: words: {relative}, cosine {cosine}");
        eprintln!(
            "{layout}: {} parameters; furthest {} with a relative error of {:.1e}, cosine 1 - {:.0e}; words {relative:.1e}; \
             single values {single:.1e}",
            compared + 1,
            furthest.2,
            furthest.0,
            1.0 - furthest.1,
        );
    }
}

/// Losses and gradient norms of fifty steps within a thousandth of `PyTorch`'s in f64.
#[test]
fn fifty_steps_of_adamw_follow_pytorch_at_real_size() {
    let fixture = fixture("pretrained-trajectory.json");
    let ids = |key: &str| -> Vec<Vec<u32>> { serde_json::from_value(fixture[key].clone()).unwrap() };
    let (questions, passages) = (ids("query_ids"), ids("passage_ids"));
    let value = |key: &str| number(&fixture[key]);
    for layout in ["bert", "xlm-roberta"] {
        let Some(dir) = common::pretrained(layout, "fifty_steps_of_adamw_follow_pytorch_at_real_size") else {
            return;
        };
        let mut encoder = encoder(&dir, Pooling::Auto);
        let betas: [f64; 2] = serde_json::from_value(fixture["betas"].clone()).unwrap();
        let mut optimiser =
            AdamW::new(&encoder.parameters.tensors, betas, value("eps"), value("weight_decay")).unwrap();
        let golden = &fixture["layouts"][layout];
        let (losses, norms) = (numbers(&golden["losses"]), numbers(&golden["gradient_norms"]));
        assert_eq!((losses.len(), norms.len()), (50, 50));
        assert!(losses[49] < 0.5 * losses[0], "it learns: {} to {}", losses[0], losses[49]);
        let mut furthest = [0f64; 2];
        for (step, (expected, expected_norm)) in losses.into_iter().zip(norms).enumerate() {
            let (loss, gradients) = loss_and_gradients(&encoder, &questions, &passages, value("tau"));
            let norm = global_norm(gradients.tensors.iter().flatten()).unwrap();
            let off = [(loss - expected).abs() / expected, (norm - expected_norm).abs() / expected_norm];
            assert!(off[0] < 1e-3, "{layout} step {step}: loss {loss}, PyTorch {expected}");
            assert!(off[1] < 1e-3, "{layout} step {step}: norm {norm}, PyTorch {expected_norm}");
            furthest = [furthest[0].max(off[0]), furthest[1].max(off[1])];
            let parameters = &mut encoder.parameters;
            let clip = (value("clip") / (norm + 1e-6)).min(1.0);
            optimiser
                .update(&mut parameters.tensors, &gradients.tensors, &parameters.decayed, value("lr"), clip)
                .unwrap();
        }
        eprintln!("{layout}: losses off by {:.1e} at most, norms by {:.1e}", furthest[0], furthest[1]);
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}
