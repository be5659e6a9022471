//! The whole gradient with dropout against finite differences of the loss itself, the norm with all that comes before it
//! against its own, and every parameter's part in it. `PyTorch` drops other elements, so no fixture can hold this.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use common::{encoder, flat, loss_and_gradients};
use polymix::encoder::{DropoutRates, Encoder, Gradients};
use polymix::ops::{Dropout, Segments, add_norm, add_norm_backward};
use polymix::spec::Pooling;
use polymix::stream::Stream;
use polymix::train::{PairTokens, batch_gradient};
use serde_json::Value;

/// A small model of the fixtures, and the ids of its questions and passages.
fn golden(name: &str) -> (Encoder, Vec<Vec<u32>>, Vec<Vec<u32>>) {
    let (_dir, model) = common::golden_model(name);
    let json = json(&model.join("golden.json"));
    let ids = |key: &str| serde_json::from_value(json[key].clone()).unwrap();
    (encoder(&model, Pooling::Auto), ids("queries"), ids("passages"))
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn random(name: &str, shape: &[usize]) -> Tensor {
    let mut stream = Stream::new(5, name, 0);
    let data: Vec<f32> = (0..shape.iter().product()).map(|_| stream.normal() as f32).collect();
    Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
}

fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    flat(a).iter().zip(flat(b)).map(|(a, b)| a * b).sum()
}

/// Slope of `value` at `x` along `direction`: central differences of the fourth order, which leave steps long enough that
/// the rounding of f32 does not count.
fn slope(x: &Tensor, direction: &Tensor, step: f64, value: &dyn Fn(Tensor) -> f64) -> f64 {
    let at = |by: f64| value((x + (direction * (by * step)).unwrap()).unwrap());
    (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * step)
}

/// Softmax does not see a shift of all keys: the true gradient is zero, and what is left is rounding.
fn is_zero_in_truth(name: &str) -> bool {
    name.ends_with("key.bias")
}

/// Directions a parameter is looked at along.
const DIRECTIONS: u64 = 6;
/// How far slopes may be off, as a share of their root mean square over the directions. Dropout that is not gone back
/// through, or at another place than forward, puts them off by a fifth and more.
const TOLERANCE: f64 = 0.02;

/// Holds `gradient` of `value` to slopes along random directions; the error as a share of the slopes.
fn deviation(name: &str, x: &Tensor, gradient: &Tensor, value: &dyn Fn(Tensor) -> f64) -> f64 {
    // Along a random direction the slope is about the gradient's norm: so far goes the loss in each step.
    let step = (0.005 / norm(flat(gradient)).max(1e-9)).min(0.02);
    let slopes: Vec<[f64; 2]> = (0..DIRECTIONS)
        .map(|k| {
            let direction = random(&format!("{name} {k}"), x.dims());
            [slope(x, &direction, step, value), dot(gradient, &direction)]
        })
        .collect();
    norm(slopes.iter().map(|[found, given]| found - given)) / norm(slopes.iter().map(|[found, _]| *found))
}

#[test]
fn every_gradient_with_dropout_is_the_slope_of_the_loss() {
    for name in ["tiny-xlm-roberta", "tiny-bert"] {
        let (encoder, questions, passages) = golden(name);
        let questions: Vec<&[u32]> = questions.iter().map(Vec::as_slice).collect();
        let passages: Vec<&[u32]> = passages.iter().map(Vec::as_slice).collect();
        let pairs = PairTokens::new(&questions, &passages);
        let dropout = Some(DropoutRates { hidden: 0.2, attention: 0.2, seed: 3, step: 7 });
        let state = encoder.state().unwrap();
        let batch = batch_gradient(&encoder, pairs, 0.3, 0, dropout).unwrap();
        let plain = batch_gradient(&encoder, pairs, 0.3, 0, None).unwrap();
        assert!((batch.loss - plain.loss).abs() > 1e-3, "{name}: nothing is dropped");
        let gradients = encoder.named_gradients(&batch.gradients).unwrap();
        let other = std::cell::RefCell::new(encoder);
        let mut wrong: Vec<String> = Vec::new();
        let mut worst = 0f64;
        let mut names: Vec<&String> = gradients.keys().collect();
        names.sort();
        for parameter in names.into_iter().filter(|n| !is_zero_in_truth(n)) {
            let moved = std::cell::RefCell::new(state.clone());
            let value = |tensor: Tensor| {
                moved.borrow_mut().insert(parameter.clone(), tensor);
                let mut encoder = other.borrow_mut();
                encoder.restore(&moved.borrow()).unwrap();
                batch_gradient(&encoder, pairs, 0.3, 0, dropout).unwrap().loss
            };
            let off = deviation(parameter, &state[parameter], &gradients[parameter], &value);
            worst = worst.max(off);
            if off.is_nan() || off >= TOLERANCE {
                wrong.push(format!("{parameter} by {off:.3}"));
            }
        }
        eprintln!("{name}: slopes and gradients of {} parameters differ by {worst:.1e}", gradients.len());
        assert!(wrong.is_empty(), "{name}: gradients off, as a share: {}", wrong.join(", "));
    }
}

#[test]
fn the_gradients_of_a_norm_fit_behind_bias_dropout_and_residual() {
    let (rows, width) = (21, 37);
    let segments = Segments::new(vec![0, 8, rows], (0..rows as u64).map(polymix::stream::mix).collect());
    let matrices = ["x", "residual", "dy"].map(|name| (name, random(name, &[rows, width])));
    let vectors = ["bias", "scale", "shift"].map(|name| (name, random(name, &[width])));
    let tensors: HashMap<&str, Tensor> = matrices.into_iter().chain(vectors).collect();
    for rate in [0.0, 0.3] {
        let dropped = Dropout { rate, key: 77, tokens: &segments };
        let forward = |t: &HashMap<&str, Tensor>| {
            // In place where it can: every pass has an x of its own.
            let x = t["x"].copy().unwrap();
            let norm = (&t["scale"], &t["shift"]);
            add_norm(x, Some(&t["bias"]), Some(dropped), Some(&t["residual"]), norm, 1e-5).unwrap()
        };
        let back =
            add_norm_backward(&forward(&tensors), &tensors["scale"], Some(dropped), &tensors["dy"], None)
                .unwrap();
        let bias = back.x.sum(0).unwrap();
        for (name, gradient) in [
            ("x", &back.x),
            ("bias", &bias),
            ("residual", &back.sum),
            ("scale", &back.scale),
            ("shift", &back.shift),
        ] {
            let value = |tensor: Tensor| {
                let mut moved = tensors.clone();
                moved.insert(name, tensor);
                dot(&forward(&moved).output, &tensors["dy"])
            };
            let off = deviation(name, &tensors[name], gradient, &value);
            assert!(off < TOLERANCE, "dropout {rate}: {name} is off by {off:.3}");
        }
    }
}

/// Parameters without a gradient, or with none but zeros.
fn without_gradient(encoder: &Encoder, gradients: &Gradients) -> Vec<String> {
    let gradients = encoder.named_gradients(gradients).unwrap();
    let mut missing: Vec<String> = encoder
        .state()
        .unwrap()
        .into_iter()
        .filter_map(|(name, tensor)| match gradients.get(&name) {
            None => Some(format!("{name} (none)")),
            Some(gradient) if gradient.dims() != tensor.dims() => {
                Some(format!("{name} ({:?} for {:?})", gradient.dims(), tensor.dims()))
            }
            Some(gradient) if !is_zero_in_truth(&name) && flat(gradient).iter().all(|g| *g == 0.0) => {
                Some(format!("{name} (zero)"))
            }
            Some(_) => None,
        })
        .collect();
    missing.sort();
    missing
}

#[test]
fn every_parameter_has_a_gradient() {
    let test = "every_parameter_has_a_gradient";
    let mut missing: Vec<String> = Vec::new();
    let mut look = |model: &str, encoder: &Encoder, questions: &[Vec<u32>], passages: &[Vec<u32>]| {
        let (_, mut gradients) = loss_and_gradients(encoder, questions, passages, 0.05);
        let names = without_gradient(encoder, &gradients);
        // The list is told whole where several are missing, and zeros count as none.
        gradients.tensors[0] = None;
        gradients.tensors[2] = gradients.tensors[2].as_ref().map(|g| g.zeros_like().unwrap());
        assert_eq!(without_gradient(encoder, &gradients).len(), names.len() + 2, "{model}");
        missing.extend(names.into_iter().map(|name| format!("{model}: {name}")));
    };
    for name in ["tiny-xlm-roberta", "tiny-bert", "tiny-labse"] {
        let (encoder, questions, passages) = golden(name);
        look(name, &encoder, &questions, &passages);
    }
    let pairs = json(&common::root().join("tests/golden/pretrained-gradients.json"))["pairs"].clone();
    let side = |key: &str| -> Vec<Vec<u32>> {
        let pairs = pairs.as_array().unwrap();
        pairs.iter().map(|p| serde_json::from_value(p[key].clone()).unwrap()).collect()
    };
    for layout in ["bert", "xlm-roberta"] {
        if let Some(dir) = common::pretrained(layout, test) {
            let encoder = encoder(&dir, Pooling::Auto);
            assert_eq!(encoder.config.layers, 12);
            look(layout, &encoder, &side("query_ids"), &side("passage_ids"));
        }
    }
    assert!(missing.is_empty(), "{} parameters have no gradient:\n{}", missing.len(), missing.join("\n"));
}
