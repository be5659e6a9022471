//! Several batches a step: the mean of their gradients, in chunks or not, the same after a resume.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;

use common::{assert_gradient, encoder, flat, made_dataset, tiny_model};
use polymix::corpus::Dataset;
use polymix::encoder::DropoutRates;
use polymix::spec::{ExperimentSpec, Pooling};
use polymix::train::{PairTokens, Progress, Tokens, Trainer, batch_gradient};

fn spec(accumulate: usize, chunk: usize) -> ExperimentSpec {
    let mut spec = ExperimentSpec::default();
    spec.train.steps = 12;
    spec.train.batch = 10;
    spec.train.chunk = chunk;
    spec.train.accumulate = accumulate;
    spec.train.learning_rate = 2e-3;
    spec.model.dropout = Some(0.1);
    spec.model.max_query_tokens = 20;
    spec.model.max_passage_tokens = 30;
    spec
}

/// With a hard negative a group where the spec takes any: the passages of the group seven further.
fn made(spec: &ExperimentSpec) -> Dataset {
    let mut data = made_dataset(200);
    if spec.train.hard_negatives > 0 {
        let n = data.groups.len();
        data.negatives = (0..n).map(|g| data.groups[(g + 7) % n].relevant.clone()).collect();
    }
    data
}

fn trainer(spec: &ExperimentSpec) -> Trainer {
    let dir = tiny_model();
    Trainer::new(spec, encoder(dir.path(), Pooling::Mean), &[made(spec)], &mut |_, _| Ok(())).unwrap()
}

/// Mean loss and mean gradients of plan batches `first..first + count`, each computed alone.
fn by_hand(trainer: &Trainer, spec: &ExperimentSpec, first: usize, count: usize) -> (f64, Vec<Vec<f64>>) {
    let data = made(spec);
    let tokens = Tokens::new(&data, &trainer.encoder, &spec.model, &mut |_, _| Ok(())).unwrap();
    let (mut loss, mut sums) = (0.0, Vec::new());
    for index in first..first + count {
        let batch = trainer.plan.batch(index).unwrap();
        let questions: Vec<&[u32]> =
            batch.pairs.iter().map(|p| tokens.questions[p.question as usize].as_slice()).collect();
        let passages: Vec<&[u32]> =
            batch.passages().map(|p| tokens.passages[p as usize].as_slice()).collect();
        let pairs = PairTokens::new(&questions, &passages);
        let dropout = DropoutRates { hidden: 0.1, attention: 0.1, seed: spec.seed, step: index as u64 };
        let one = batch_gradient(&trainer.encoder, pairs, spec.train.temperature, 0, Some(dropout)).unwrap();
        loss += one.loss / count as f64;
        let one: Vec<Vec<f64>> = one.gradients.tensors.iter().map(|g| flat(g.as_ref().unwrap())).collect();
        sums.resize_with(one.len(), Vec::new);
        for (sum, gradient) in sums.iter_mut().zip(one) {
            sum.resize(gradient.len(), 0.0);
            sum.iter_mut().zip(gradient).for_each(|(s, g)| *s += g / count as f64);
        }
    }
    (loss, sums)
}

#[test]
fn accumulated_gradients_are_the_mean_of_the_batches_with_and_without_chunks() {
    for (chunk, hard) in [(0, 0), (3, 0), (10, 0), (0, 1), (3, 1)] {
        let mut spec = spec(3, chunk);
        spec.train.hard_negatives = hard;
        let mut trainer = trainer(&spec);
        trainer.step = 2;
        let (loss, expected) = by_hand(&trainer, &spec, 6, 3);
        let found = trainer.gradient().unwrap();
        assert!((found.loss() - loss).abs() < 1e-6, "chunk {chunk}: {} {loss}", found.loss());
        let steps: Vec<usize> = found.batches.iter().map(|b| b.batch.step).collect();
        assert_eq!(steps, [6, 7, 8], "step 2 takes the third three batches of the plan");
        let negatives: usize = found.batches.iter().map(|b| b.batch.negatives.len()).sum();
        assert_eq!((negatives > 20, negatives > 0), (hard > 0, hard > 0), "{negatives}");
        assert_eq!(found.load.texts, 2 * 3 * 10 + negatives);
        assert!(found.padded > found.load.tokens);
        for (index, (gradient, expected)) in found.gradients.tensors.iter().zip(&expected).enumerate() {
            let gradient = flat(gradient.as_ref().unwrap());
            assert_gradient(&format!("chunk {chunk}, parameter {index}"), &gradient, expected);
        }
    }
}

#[test]
fn accumulation_adds_no_negatives() {
    for hard in [0, 1] {
        let mut spec = spec(3, 0);
        spec.train.hard_negatives = hard;
        assert_eq!((spec.train.negatives(), spec.train.pairs_a_step()), (9, 30));
        // Where all vectors are alike, a batch of ten costs the logarithm of its own passages, not that of all thirty.
        spec.train.temperature = 1e3;
        let step = trainer(&spec).step().unwrap();
        let own = |passages: usize| (passages as f64).ln();
        let expected: f64 = step.batches.iter().map(|b| own(b.batch.passages().count())).sum::<f64>() / 3.0;
        assert_eq!(hard > 0, expected > own(11), "{expected}");
        assert!((step.loss - expected).abs() < 1e-2, "{} {expected}", step.loss);
    }
}

#[test]
fn a_resumed_accumulating_run_is_the_uninterrupted_one_bit_for_bit() {
    let spec = spec(2, 4);
    let mut whole = trainer(&spec);
    let losses: Vec<u64> = (0..12).map(|_| whole.step().unwrap().loss.to_bits()).collect();
    let mut first = trainer(&spec);
    (0..5).for_each(|_| drop(first.step().unwrap()));
    let place = tempfile::tempdir().unwrap();
    let checkpoint = place.path().join("step-000005");
    first.save(&checkpoint, &Progress::default()).unwrap();
    let mut second = trainer(&spec);
    second.restore(&checkpoint).unwrap();
    let rest: Vec<u64> = (5..12).map(|_| second.step().unwrap().loss.to_bits()).collect();
    assert_eq!(rest, losses[5..]);
    let weights = |t: &Trainer| -> Vec<Vec<f64>> { t.encoder.parameters.tensors.iter().map(flat).collect() };
    assert_eq!(weights(&whole), weights(&second));
}

#[test]
fn one_batch_a_step_is_what_it_was_before_there_was_accumulation() {
    let spec = spec(1, 0);
    let trainer = trainer(&spec);
    let (loss, expected) = by_hand(&trainer, &spec, 0, 1);
    let found = trainer.gradient().unwrap();
    assert_eq!(found.loss().to_bits(), loss.to_bits());
    for (gradient, expected) in found.gradients.tensors.iter().zip(&expected) {
        assert_eq!(&flat(gradient.as_ref().unwrap()), expected);
    }
}

#[test]
fn poisoned_weights_stop_the_step_name_the_batch_and_make_no_checkpoint() {
    let spec = spec(2, 0);
    let mut trainer = trainer(&spec);
    let place = tempfile::tempdir().unwrap();
    let good = place.path().join("step-000001");
    trainer.step().unwrap();
    trainer.save(&good, &Progress::default()).unwrap();
    let last = trainer.encoder.parameters.tensors.len() - 1;
    let poison = (trainer.encoder.parameters.tensors[last].zeros_like().unwrap() + f64::NAN).unwrap();
    trainer.encoder.parameters.tensors[last] = poison;
    let error = format!("{:#}", trainer.step().unwrap_err());
    for part in ["step 2", "plan batch 3", "first question 'g", "NaN", "train.learning_rate", "not changed"] {
        assert!(error.contains(part), "no '{part}' in {error}");
    }
    let bad = place.path().join("step-000002");
    let error = format!("{:#}", trainer.save(&bad, &Progress::default()).unwrap_err());
    let parts = ["not finite", "no checkpoint of this step was written"];
    assert!(parts.iter().all(|part| error.contains(part)) && !bad.exists(), "{error}");
    assert!(
        error.contains("step 1, which trained on plan batch 1 (") && error.contains("; plan batch 2 ("),
        "{error}"
    );
    assert_eq!(trainer.restore(&good).unwrap().step, 1, "the good checkpoint is as it was");
    trainer.step().unwrap();
}

#[test]
fn a_gradient_that_is_not_finite_stops_the_step_though_the_loss_is() {
    // So small a temperature leaves the loss within f32's range, and squares of the gradient outside it.
    let mut spec = spec(1, 0);
    spec.train.temperature = 1e-30;
    let mut trainer = trainer(&spec);
    assert!(trainer.gradient().unwrap().loss().is_finite());
    let before: Vec<Vec<f64>> = trainer.encoder.parameters.tensors.iter().map(flat).collect();
    let error = format!("{:#}", trainer.step().unwrap_err());
    for part in ["step 1", "gradient's norm is", "plan batch 1"] {
        assert!(error.contains(part), "no '{part}' in {error}");
    }
    let after: Vec<Vec<f64>> = trainer.encoder.parameters.tensors.iter().map(flat).collect();
    assert_eq!(before, after);
}
