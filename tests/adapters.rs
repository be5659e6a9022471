//! Language adapters: fresh ones change nothing, only their own language's texts go through them, and training with them is
//! exact in chunks, after a resume and on disk.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;

use candle_core::{DType, Tensor};
use common::{agreement, encoder, flat, made_dataset, short_spec, tiny_model, worst};
use polymix::encoder::{DropoutRates, Encoder, Packed, Route};
use polymix::spec::{AdapterKind, AdapterSpec, BaseWeights, ExperimentSpec, Pooling};
use polymix::stream::Stream;
use polymix::train::{BatchGradient, PairTokens, Progress, Tokens, Trainer, batch_gradient};

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
    let tokens = Tokens::new(&data, encoder, &short_spec().model, &mut |_, _| Ok(())).unwrap();
    let routes = data.passages.iter().map(|p| encoder.route(&data.languages[usize::from(p.language)]));
    (tokens.passages, routes.collect())
}

fn vectors(encoder: &Encoder, texts: &[Vec<u32>], routes: &[Route]) -> Vec<Vec<f64>> {
    let packed =
        Packed::routed(texts.iter().zip(routes).enumerate().map(|(i, (t, r))| (i as u64, t.as_slice(), *r)));
    let vectors = encoder.forward(&packed, None, false).unwrap().vectors;
    (0..texts.len()).map(|i| flat(&vectors.get(i).unwrap())).collect()
}

fn trainer(spec: &ExperimentSpec) -> Trainer {
    let dir = tiny_model();
    Trainer::new(spec, encoder(dir.path(), Pooling::Mean), &[made_dataset(120)], &mut |_, _| Ok(())).unwrap()
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
    let tokens = Tokens::new(&data, encoder, &short_spec().model, &mut |_, _| Ok(())).unwrap();
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
        let mut spec = short_spec();
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
    let mut spec = short_spec();
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
    let mut spec = short_spec();
    (spec.train.steps, spec.train.learning_rate) = (80, 1e-2);
    spec.adapters = AdapterSpec { reduction: 2, ..shapes()[0].clone() };
    let mut trainer = trainer(&spec);
    let first = trainer.step().unwrap().loss;
    let last = (1..80).map(|_| trainer.step().unwrap().loss).skip(70).sum::<f64>() / 9.0;
    assert!(last < 0.8 * first, "{first} to {last}");
}
