//! Tokens a second when encoding and when training, on a model directory and token ids of real texts.
//!
//! `cargo bench --bench encode -- MODEL_DIR BATCHES.json`, where the file holds
//! `{"batches": [{"queries": [[ids], ...], "passages": [[ids], ...]}, ...]}` as `benches/pytorch/train.py` reads it.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;
use std::time::Instant;

use candle_core::{DType, Device};
use polymix::encoder::{DropoutRates, Encoder, ModelFiles};
use polymix::ops::{AdamW, global_norm};
use polymix::spec::Pooling;
use polymix::train::{PairTokens, batch_gradient};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Texts = Vec<Vec<u32>>;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let [model, batches] = args.as_slice() else {
        eprintln!("usage: cargo bench --bench encode -- MODEL_DIR BATCHES.json");
        return;
    };
    let text = std::fs::read_to_string(batches).expect("the batches file");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let side = |batch: &serde_json::Value, key: &str| -> Texts {
        serde_json::from_value(batch[key].clone()).expect("token ids")
    };
    let batches: Vec<(Texts, Texts)> = json["batches"]
        .as_array()
        .expect("batches")
        .iter()
        .map(|b| (side(b, "queries"), side(b, "passages")))
        .collect();
    let files = ModelFiles::read(&PathBuf::from(model), Pooling::Auto).expect("model");
    let mut encoder = Encoder::new(files, &Device::Cpu, DType::F32, None, None).expect("encoder");

    let texts: Texts = batches.iter().flat_map(|(q, p)| q.iter().chain(p).cloned()).collect();
    let tokens: usize = texts.iter().map(Vec::len).sum();
    let start = Instant::now();
    encoder.encode(&texts, 8192, &mut |_| Ok(())).expect("encode");
    let seconds = start.elapsed().as_secs_f64();
    println!("{{\"encode_tokens_per_s\": {:.0}, \"tokens\": {tokens}}}", tokens as f64 / seconds);

    let parameters = encoder.parameters.tensors.clone();
    let mut optimiser = AdamW::new(&parameters, [0.9, 0.999], 1e-8, 0.01).expect("optimiser");
    let mut times = Vec::new();
    for (step, (questions, passages)) in batches.iter().enumerate() {
        let start = Instant::now();
        let refs = |texts: &'_ Texts| -> Vec<Vec<u32>> { texts.clone() };
        let (q, p) = (refs(questions), refs(passages));
        let (q, p): (Vec<&[u32]>, Vec<&[u32]>) =
            (q.iter().map(Vec::as_slice).collect(), p.iter().map(Vec::as_slice).collect());
        let dropout = DropoutRates { hidden: 0.1, attention: 0.1, seed: 1, step: step as u64 };
        let pairs = PairTokens { questions: &q, passages: &p };
        let result = batch_gradient(&encoder, pairs, 0.05, 0, Some(dropout)).expect("gradient");
        let gradient = start.elapsed().as_secs_f64();
        let norm = global_norm(result.gradients.tensors.iter().flatten()).expect("norm");
        let weights = &mut encoder.parameters;
        let scale = (1.0 / (norm + 1e-6)).min(1.0);
        optimiser
            .update(&mut weights.tensors, &result.gradients.tensors, &weights.decayed, 1e-5, scale)
            .expect("update");
        let seconds = start.elapsed().as_secs_f64();
        eprintln!("step {step}: loss {:.4}, gradient {gradient:.3} s, step {seconds:.3} s", result.loss);
        times.push((result.tokens as f64 / seconds, seconds));
    }
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((rate, seconds)) = times.get(times.len() / 2) {
        println!("{{\"train_tokens_per_s_p50\": {rate:.0}, \"ms_per_step_p50\": {:.0}}}", seconds * 1e3);
    }
}
