//! Training as a whole: chunks change nothing, a resumed run is the uninterrupted one, the loss falls.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;

use candle_core::DType;
use common::{agreement, assert_gradient, encoder, flat, made_dataset, tiny_model};
use polymix::encoder::{DropoutRates, Encoder};
use polymix::spec::{ExperimentSpec, Pooling};
use polymix::train::{PairTokens, Progress, Tokens, Trainer, Validation, batch_gradient, batch_loss};

fn spec(steps: usize) -> ExperimentSpec {
    let mut spec = ExperimentSpec::default();
    spec.train.steps = steps;
    spec.train.batch = 16;
    spec.train.learning_rate = 2e-3;
    spec.model.dropout = Some(0.1);
    spec.model.max_query_tokens = 20;
    spec.model.max_passage_tokens = 30;
    spec
}

fn trainer(spec: &ExperimentSpec, encoder: Encoder) -> Trainer {
    Trainer::new(spec, encoder, &[made_dataset(200)], &mut |_, _| Ok(())).unwrap()
}

fn weights(trainer: &Trainer) -> Vec<Vec<f64>> {
    trainer.encoder.parameters.tensors.iter().map(flat).collect()
}

#[test]
fn every_chunk_gives_the_loss_and_gradients_of_the_whole_batch() {
    let dir = tiny_model();
    let encoder = encoder(dir.path(), Pooling::Mean);
    for batch in [2, 3, 7, 12, 33] {
        let data = made_dataset(batch);
        let tokens = Tokens::new(&data, &encoder, &spec(1).model, &mut |_, _| Ok(())).unwrap();
        let questions: Vec<&[u32]> = tokens.questions.iter().step_by(3).map(Vec::as_slice).collect();
        let passages: Vec<&[u32]> = tokens.passages.iter().skip(1).step_by(3).map(Vec::as_slice).collect();
        assert_eq!((questions.len(), passages.len()), (batch, batch));
        // Once without, once with hard negatives behind the answers.
        let hard: Vec<&[u32]> = tokens.passages.iter().step_by(7).take(5).map(Vec::as_slice).collect();
        let with_hard: Vec<&[u32]> = passages.iter().chain(&hard).copied().collect();
        let pairs = PairTokens::new(&questions, &passages);
        let more = PairTokens::new(&questions, &with_hard);
        let loss = |pairs| batch_gradient(&encoder, pairs, 0.05, 0, None).unwrap().loss;
        assert!(loss(more) > loss(pairs), "every negative adds to the loss");
        let dropout = Some(DropoutRates { hidden: 0.1, attention: 0.1, seed: 3, step: 7 });
        for (pairs, dropout) in [(pairs, None), (pairs, dropout), (more, None), (more, dropout)] {
            let whole = batch_gradient(&encoder, pairs, 0.05, 0, dropout).unwrap();
            let chunks = [1, 2, 5, batch - 1, batch, batch + 1];
            for chunk in chunks.into_iter().filter(|&chunk| chunk <= batch + 1) {
                let parts = batch_gradient(&encoder, pairs, 0.05, chunk, dropout).unwrap();
                let what = format!("batch {batch}, chunk {chunk}, dropout {}", dropout.is_some());
                assert!((whole.loss - parts.loss).abs() < 1e-5, "{what}: {} {}", whole.loss, parts.loss);
                assert_eq!(whole.tokens, parts.tokens, "{what}");
                let both = whole.gradients.tensors.iter().zip(&parts.gradients.tensors);
                for (index, (whole, parts)) in both.enumerate() {
                    let (whole, parts) = (flat(whole.as_ref().unwrap()), flat(parts.as_ref().unwrap()));
                    assert_gradient(&format!("{what}, parameter {index}"), &parts, &whole);
                }
            }
            let other = dropout.map(|d| DropoutRates { step: 8, ..d });
            let next = batch_gradient(&encoder, pairs, 0.05, 0, other).unwrap();
            let differs = (next.loss - whole.loss).abs() > 1e-6;
            assert_eq!(dropout.is_some(), differs, "batch {batch}: dropout changes with the step");
        }
        let plain = batch_gradient(&encoder, pairs, 0.05, 0, None).unwrap().loss;
        assert!((batch_loss(&encoder, pairs, 0.05, 5).unwrap() - plain).abs() < 1e-5);
    }
}

#[test]
fn a_resumed_training_is_the_uninterrupted_one_bit_for_bit() {
    let dir = tiny_model();
    let spec = spec(40);
    let mut whole = trainer(&spec, encoder(dir.path(), Pooling::Mean));
    let losses: Vec<f64> = (0..40).map(|_| whole.step().unwrap().loss).collect();

    let mut first = trainer(&spec, encoder(dir.path(), Pooling::Mean));
    for loss in &losses[..17] {
        assert_eq!(first.step().unwrap().loss.to_bits(), loss.to_bits());
    }
    let place = tempfile::tempdir().unwrap();
    let checkpoint = place.path().join("step-000017");
    first.save(&checkpoint, &Progress { waited: 2, ..Progress::default() }).unwrap();
    drop(first);

    let mut second = trainer(&spec, encoder(dir.path(), Pooling::Mean));
    let progress = second.restore(&checkpoint).unwrap();
    assert_eq!((progress.step, progress.waited, second.step), (17, 2, 17));
    for loss in &losses[17..] {
        assert_eq!(second.step().unwrap().loss.to_bits(), loss.to_bits());
    }
    assert_eq!(weights(&whole), weights(&second));
}

/// What is too small for a batch is left out beside others, and refused alone, by its number, before a model is at hand.
#[test]
fn validation_data_that_are_too_small_are_left_out_or_refused() {
    use polymix::batch::Layout;
    use polymix::train::ValidationPlan;
    let named = |name: &str, n: usize| polymix::corpus::Dataset { name: name.into(), ..made_dataset(n) };
    // Two ids with one passage are one.
    let mut twins = named("twins", 2);
    let text = twins.passages[0].text.clone();
    twins.passages.iter_mut().for_each(|p| p.text.clone_from(&text));
    let languages = made_dataset(1).languages;
    let plan = |data: &[polymix::corpus::Dataset]| {
        let layouts: Vec<Layout> = data.iter().map(Layout::of).collect();
        ValidationPlan::from_layouts(&spec(30), &languages, &layouts)
    };
    let both = plan(&[named("one", 1), named("whole", 60), twins.clone()]).unwrap();
    assert_eq!(both.unused, ["one", "twins"]);
    let alone = plan(&[named("whole", 60)]).unwrap();
    assert_eq!((both.batches, both.pairs, both.count(&spec(30))), (3, 16, alone.count(&spec(30))));
    let error = plan(&[named("one", 1), twins]).unwrap_err().to_string();
    for part in
        ["data.validation: too few question ids", "'one' has 1, 'twins' has 1", "data.validation = []"]
    {
        assert!(error.contains(part), "{error}");
    }
}

/// A validation dataset in other languages than those of training is left out, by name; the loss is that of the others.
#[test]
fn validation_data_in_other_languages_are_left_out() {
    let dir = tiny_model();
    let trainer = trainer(&spec(1), encoder(dir.path(), Pooling::Mean));
    let languages = trainer.plan.languages.clone();
    let mut other = made_dataset(7);
    other.name = "other".into();
    other.languages = other.languages.iter().map(|code| format!("{code}-other")).collect();
    let loss = |datasets: &[polymix::corpus::Dataset]| {
        let made = Validation::new(&spec(1), &languages, &trainer.encoder, datasets, &mut |_, _| Ok(()));
        made.map(|v| (v.loss(&trainer.encoder).unwrap().to_bits(), v.unused))
    };
    let (alone, none) = loss(&[made_dataset(60)]).unwrap();
    assert!(none.is_empty());
    assert_eq!(loss(&[made_dataset(60), other.clone()]).unwrap(), (alone, vec!["other".to_owned()]));
    assert!(format!("{:#}", loss(&[other]).unwrap_err()).contains("none of the training languages"));
}

#[test]
fn training_lowers_the_loss_and_validation_sees_it() {
    let dir = tiny_model();
    let mut spec = spec(120);
    spec.model.dropout = Some(0.0);
    let mut trainer = trainer(&spec, encoder(dir.path(), Pooling::Mean));
    let languages = trainer.plan.languages.clone();
    let held_out = [made_dataset(60)];
    let validation =
        Validation::new(&spec, &languages, &trainer.encoder, &held_out, &mut |_, _| Ok(())).unwrap();
    let before = validation.loss(&trainer.encoder).unwrap();
    let first = trainer.step().unwrap().loss;
    let mut last = first;
    for _ in 1..120 {
        last = trainer.step().unwrap().loss;
    }
    let after = validation.loss(&trainer.encoder).unwrap();
    assert!(last < 0.6 * first, "loss {first} to {last}");
    assert!(after < 0.8 * before, "validation {before} to {after}");
}

#[test]
fn checkpoints_of_another_architecture_are_refused_by_name() {
    let dir = tiny_model();
    let spec = spec(4);
    let trained = trainer(&spec, encoder(dir.path(), Pooling::Mean));
    let place = tempfile::tempdir().unwrap();
    let checkpoint = place.path().join("step-000000");
    trained.save(&checkpoint, &Progress::default()).unwrap();
    assert!(
        trained.save(&checkpoint, &Progress::default()).unwrap_err().to_string().contains("exists already")
    );

    let labse = encoder(&common::root().join("tests/golden/tiny-labse"), Pooling::Auto);
    let mut other = trainer(&spec, labse);
    let error = format!("{:#}", other.restore(&checkpoint).unwrap_err());
    assert!(error.contains("another architecture") && error.contains("tensor"), "{error}");

    std::fs::write(checkpoint.join("optimizer.safetensors"), b"torn").unwrap();
    let mut same = trainer(&spec, encoder(dir.path(), Pooling::Mean));
    let error = format!("{:#}", same.restore(&checkpoint).unwrap_err());
    assert!(error.contains("optimizer.safetensors"), "{error}");
}

#[test]
fn a_loss_that_is_not_finite_stops_before_the_weights_change() {
    let dir = tiny_model();
    let mut spec = spec(4);
    spec.train.learning_rate = 1e30;
    spec.train.clip_norm = 0.0;
    spec.train.warmup_ratio = 0.0;
    let mut trainer = trainer(&spec, encoder(dir.path(), Pooling::Mean));
    let mut before = weights(&trainer);
    for _ in 0..4 {
        match trainer.step() {
            Ok(_) => before = weights(&trainer),
            Err(error) => {
                let error = format!("{error:#}");
                assert!(error.contains("step") && error.contains("learning_rate"), "{error}");
                let equal = weights(&trainer)
                    .iter()
                    .flatten()
                    .zip(before.iter().flatten())
                    .all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(equal, "the weights changed");
                return;
            }
        }
    }
    panic!("a learning rate of 1e30 must blow up");
}

/// The tolerance for bf16: loss within 5e-3 relative, cosine of every parameter's gradient above .99.
#[test]
fn bf16_agrees_with_f32() {
    let dir = tiny_model();
    let mut encoder = encoder(dir.path(), Pooling::Mean);
    let data = made_dataset(40);
    let tokens = Tokens::new(&data, &encoder, &spec(1).model, &mut |_, _| Ok(())).unwrap();
    let questions: Vec<&[u32]> = tokens.questions.iter().step_by(3).map(Vec::as_slice).collect();
    let passages: Vec<&[u32]> = tokens.passages.iter().skip(1).step_by(3).map(Vec::as_slice).collect();
    let pairs = PairTokens::new(&questions, &passages);
    for dropout in [None, Some(DropoutRates { hidden: 0.1, attention: 0.1, seed: 3, step: 7 })] {
        encoder.dtype = DType::F32;
        let full = batch_gradient(&encoder, pairs, 0.05, 0, dropout).unwrap();
        encoder.dtype = DType::BF16;
        let half = batch_gradient(&encoder, pairs, 0.05, 0, dropout).unwrap();
        assert!((full.loss - half.loss).abs() < 5e-3 * full.loss, "{} {}", full.loss, half.loss);
        assert!((full.loss - half.loss).abs() > 1e-7, "bf16 was not used");
        for (index, (a, b)) in full.gradients.tensors.iter().zip(&half.gradients.tensors).enumerate() {
            let (a, b) = (flat(a.as_ref().unwrap()), flat(b.as_ref().unwrap()));
            // A bias of keys has no true gradient, only rounding.
            let size = |x: &[f64]| x.iter().map(|v| v * v).sum::<f64>().sqrt();
            if size(&a) < 1e-5 {
                continue;
            }
            let (_, cosine) = agreement(&b, &a);
            assert!(cosine > 0.99, "parameter {index}: {cosine}");
        }
    }
}

#[test]
fn bf16_training_keeps_f32_weights_and_follows_the_f32_run() {
    let dir = tiny_model();
    let run = |dtype: DType| {
        let mut encoder = encoder(dir.path(), Pooling::Mean);
        encoder.dtype = dtype;
        let mut trainer = trainer(&spec(60), encoder);
        let losses: Vec<f64> = (0..60).map(|_| trainer.step().unwrap().loss).collect();
        assert!(trainer.encoder.parameters.tensors.iter().all(|t| t.dtype() == DType::F32));
        losses
    };
    let (full, half) = (run(DType::F32), run(DType::BF16));
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    assert!((full[0] - half[0]).abs() < 5e-3 * full[0], "{} {}", full[0], half[0]);
    let (a, b) = (mean(&full[50..]), mean(&half[50..]));
    assert!(a < 0.7 * full[0], "the run learns: {} to {a}", full[0]);
    assert!((a - b).abs() < 0.05 * full[0], "end of training: f32 {a}, bf16 {b}");
}
