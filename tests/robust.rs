//! Robust training: code-switched texts, and word embeddings moved within a ball.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;

use candle_core::Tensor;
use common::{Program, agreement, encoder, flat, made_dataset, short_spec, tiny_model, write_spec};
use polymix::encoder::{DropoutRates, Encoder, Packed};
use polymix::ops::{info_nce, text_norms};
use polymix::spec::{AdapterKind, ExperimentSpec};
use polymix::spec::{PerturbationKind, Pooling, RobustSpec, SwitchedSides, parse};
use polymix::train::{
    BatchGradient, Objective, PairTokens, Perturbation, Progress, Switcher, Tokens, Trainer, add_gradient,
};

fn robust(perturbation: PerturbationKind, radius: f64) -> RobustSpec {
    RobustSpec { perturbation, radius, ..RobustSpec::default() }
}

fn small() -> Encoder {
    let dir = tiny_model();
    encoder(dir.path(), Pooling::Mean)
}

/// Token ids of twelve questions and their passages.
fn pairs(encoder: &Encoder) -> (Vec<Vec<u32>>, Vec<Vec<u32>>) {
    let data = made_dataset(12);
    let tokens = Tokens::new(&data, encoder, &short_spec().model, &mut |_, _| Ok(())).unwrap();
    (
        tokens.questions.into_iter().step_by(3).collect(),
        tokens.passages.into_iter().skip(1).step_by(3).collect(),
    )
}

fn gradient(
    encoder: &Encoder,
    robust: &RobustSpec,
    chunk: usize,
    dropout: Option<DropoutRates>,
) -> BatchGradient {
    let (questions, passages) = pairs(encoder);
    let (questions, passages): (Vec<&[u32]>, Vec<&[u32]>) =
        (questions.iter().map(Vec::as_slice).collect(), passages.iter().map(Vec::as_slice).collect());
    let mut gradients = encoder.parameters.gradients();
    let perturbation = Perturbation::new(robust, 9, 4);
    let objective = Objective { temperature: 0.2, chunk, dropout, perturbation };
    let pairs = PairTokens::new(&questions, &passages);
    let (loss, tokens) = add_gradient(encoder, pairs, &objective, 1.0, &mut gradients).unwrap();
    BatchGradient { loss, gradients, tokens }
}

#[test]
fn the_same_move_whatever_the_chunk() {
    let encoder = small();
    let dropout = Some(DropoutRates { hidden: 0.1, attention: 0.1, seed: 3, step: 7 });
    for kind in [PerturbationKind::Random, PerturbationKind::Adversarial] {
        let plain = gradient(&encoder, &RobustSpec::default(), 0, dropout);
        let whole = gradient(&encoder, &robust(kind, 0.2), 0, dropout);
        assert!((plain.loss - whole.loss).abs() > 1e-4, "{kind:?}: {} {}", plain.loss, whole.loss);
        for chunk in [1, 5, 11] {
            let parts = gradient(&encoder, &robust(kind, 0.2), chunk, dropout);
            assert!(
                (whole.loss - parts.loss).abs() < 1e-5,
                "{kind:?}, chunk {chunk}: {} {}",
                whole.loss,
                parts.loss
            );
            for (index, (a, b)) in whole.gradients.tensors.iter().zip(&parts.gradients.tensors).enumerate() {
                let (a, b) = (flat(a.as_ref().unwrap()), flat(b.as_ref().unwrap()));
                if a.iter().all(|x| x.abs() < 1e-5) {
                    continue;
                }
                let (relative, cosine) = agreement(&b, &a);
                assert!(
                    relative < 2e-3 && cosine > 0.9999,
                    "{kind:?}, chunk {chunk}, parameter {index}: {relative}"
                );
            }
        }
    }
}

/// The loss's rise along the move is, to first order, the sum over texts of radius times slope: what a step up the steepest
/// slope gives, and what no other direction of the same length does.
#[test]
fn an_adversarial_move_goes_up_the_steepest_slope_and_a_random_one_does_not() {
    let encoder = small();
    let (questions, passages) = pairs(&encoder);
    let texts = questions.iter().chain(&passages).enumerate();
    let n = questions.len();
    // The keys are those that training gives: places in the batch.
    let keyed = texts.map(|(i, t)| ((if i < n { 2 * i } else { 2 * (i - n) + 1 }) as u64, t.as_slice()));
    let packed = Packed::new(keyed);
    let forward = encoder.forward(&packed, None, true).unwrap();
    let (q, p) = (forward.vectors.narrow(0, 0, n).unwrap(), forward.vectors.narrow(0, n, n).unwrap());
    let contrast = info_nce(&q, &p, 0.2).unwrap();
    let dvectors = Tensor::cat(&[&contrast.questions, &contrast.passages], 0).unwrap();
    let mut gradients = encoder.parameters.gradients();
    let slope = encoder.backward(&packed, None, forward, &dvectors, &mut gradients).unwrap();
    let slopes = text_norms(&slope, &packed.segments).unwrap();
    let lengths = text_norms(&encoder.word_embeddings(&packed).unwrap(), &packed.segments).unwrap();
    let radius = 1e-3;
    let expected: f64 = slopes.iter().zip(&lengths).map(|(s, l)| radius * s * l).sum();
    let clean = contrast.loss.value().unwrap();
    // The objective is the mean of the loss without and with the move.
    let risen =
        2.0 * (gradient(&encoder, &robust(PerturbationKind::Adversarial, radius), 0, None).loss - clean);
    assert!((risen - expected).abs() < 0.1 * expected, "rose by {risen}, expected {expected}");
    let random = gradient(&encoder, &robust(PerturbationKind::Random, radius), 0, None).loss - clean;
    assert!(random.abs() < 0.5 * expected, "a random move rose by {random} of {expected}");
    // The move has the length that the spec says.
    let twice = 2.0
        * (gradient(&encoder, &robust(PerturbationKind::Adversarial, 2.0 * radius), 0, None).loss - clean);
    assert!((twice / risen - 2.0).abs() < 0.1, "{twice} {risen}");
}

#[test]
fn the_gradient_is_the_mean_of_both_passes() {
    let encoder = small();
    // So small a move changes nothing: both passes are the plain one.
    let plain = gradient(&encoder, &RobustSpec::default(), 0, None);
    let moved = gradient(&encoder, &robust(PerturbationKind::Adversarial, 1e-7), 0, None);
    assert!((plain.loss - moved.loss).abs() < 1e-5);
    for (a, b) in plain.gradients.tensors.iter().zip(&moved.gradients.tensors) {
        let (a, b) = (flat(a.as_ref().unwrap()), flat(b.as_ref().unwrap()));
        if a.iter().any(|x| x.abs() > 1e-4) {
            assert!(agreement(&b, &a).0 < 1e-3);
        }
    }
}

/// A spec with a lexicon out of `en`, whose words the small tokenizer knows.
fn switched(dir: &std::path::Path) -> ExperimentSpec {
    let path = dir.join("en-de.tsv");
    std::fs::write(&path, "river\tnight water\nhouse\ttree\nhouse\tbird\nstone\tlight\n").unwrap();
    let mut spec = short_spec();
    spec.robust.code_switch = 0.5;
    spec.robust.lexicons = vec![format!("en-de={}", path.display())];
    spec
}

#[test]
fn a_switched_text_depends_on_seed_step_and_text_only() {
    let dir = tempfile::tempdir().unwrap();
    let spec = switched(dir.path());
    let switcher = Switcher::new(&spec, &["de".into(), "en".into()]).unwrap().unwrap();
    let text = "the river house of stone house river";
    let at =
        |switcher: &Switcher, number: u32, step| switcher.rewrite(text, "en", ("question", number), step);
    let all: Vec<Option<String>> = (0..50).map(|step| at(&switcher, 3, step)).collect();
    assert_eq!(all, (0..50).map(|step| at(&switcher, 3, step)).collect::<Vec<_>>());
    let distinct: std::collections::HashSet<_> = all.iter().flatten().collect();
    assert!(distinct.len() > 10, "each time it is drawn it is switched anew: {}", distinct.len());
    assert!(distinct.iter().all(|t| t.starts_with("the ") && t.as_str() != text));
    let differs = |other: &Switcher, text: u32| (0..50).any(|step| at(other, text, step) != all[step]);
    assert!(differs(&switcher, 4), "another text");
    let other = Switcher::new(&ExperimentSpec { seed: 1, ..spec.clone() }, &["en".into()]).unwrap().unwrap();
    assert!(differs(&other, 3), "another seed");
    assert_eq!(switcher.rewrite(text, "de", ("question", 3), 0), None, "no lexicon out of de");
    assert_eq!(switcher.without_lexicon(&["de".into(), "en".into()]), ["de"]);
    let error = format!("{:#}", Switcher::new(&spec, &["fr".into()]).unwrap_err());
    assert!(error.contains("en-de") && error.contains("fr"), "{error}");
}

fn trainer(spec: &ExperimentSpec) -> Trainer {
    Trainer::new(spec, small(), &[made_dataset(120)], &mut |_, _| Ok(())).unwrap()
}

#[test]
fn a_resumed_robust_training_is_the_uninterrupted_one_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let plain = trainer(&short_spec()).step().unwrap().loss;
    for kind in [PerturbationKind::Adversarial, PerturbationKind::Random] {
        let mut spec = switched(dir.path());
        (spec.robust.perturbation, spec.train.chunk, spec.train.accumulate) = (kind, 4, 2);
        // With adapters, to see that both go together.
        (spec.adapters.kind, spec.adapters.reduction) = (AdapterKind::Bottleneck, 4);
        let mut whole = trainer(&spec);
        let losses: Vec<f64> = (0..12).map(|_| whole.step().unwrap().loss).collect();
        assert!((losses[0] - plain).abs() > 1e-6);
        let mut first = trainer(&spec);
        (0..7).for_each(|_| {
            first.step().unwrap();
        });
        let checkpoint = dir.path().join(format!("{kind:?}"));
        first.save(&checkpoint, &Progress::default()).unwrap();
        let mut second = trainer(&spec);
        second.restore(&checkpoint).unwrap();
        for loss in &losses[7..] {
            assert_eq!(second.step().unwrap().loss.to_bits(), loss.to_bits());
        }
        let weights = |t: &Trainer| t.encoder.parameters.tensors.iter().map(flat).collect::<Vec<_>>();
        assert_eq!(weights(&whole), weights(&second));
    }
}

#[test]
fn only_the_sides_that_are_named_are_switched() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = |sides: Option<SwitchedSides>| {
        let mut spec = switched(dir.path());
        spec.model.dropout = Some(0.0);
        match sides {
            Some(sides) => (spec.robust.sides, spec.robust.code_switch) = (sides, 1.0),
            None => spec.robust.code_switch = 0.0,
        }
        trainer(&spec).gradient().unwrap().load.tokens
    };
    let [none, questions, passages, both] = [
        tokens(None),
        tokens(Some(SwitchedSides::Questions)),
        tokens(Some(SwitchedSides::Passages)),
        tokens(Some(SwitchedSides::Both)),
    ];
    // A river becomes two words, so switched sides are longer.
    assert!(none < questions && none < passages, "{none} {questions} {passages}");
    assert_eq!(both + none, questions + passages);
}

#[test]
fn what_cannot_be_is_said_with_its_key_before_training() {
    let refused = |text: &str, part: &str| {
        let error = format!("{:#}", parse(text, &[]).unwrap_err());
        assert!(error.contains(part), "{error}");
    };
    refused("[robust]\ncode_switch = 1.5\nlexicons = [\"demo\"]", "robust.code_switch = 1.5");
    refused("[robust]\ncode_switch = 0.5", "robust.lexicons");
    refused("[robust]\nperturbation = \"adverserial\"", "adverserial");
    refused("[robust]\nradius = -1.0", "robust.radius = -1");

    let program = Program::new();
    let path = write_spec(program.dir.path(), 4);
    let spec = path.to_str().unwrap();
    let set = |more: &[&'static str]| -> Vec<String> {
        let mut args = vec!["train".to_owned(), spec.to_owned()];
        args.extend(more.iter().flat_map(|m| ["--set".to_owned(), (*m).to_owned()]));
        args
    };
    let fails = |more: &[&'static str], parts: &[&str]| {
        let args = set(more);
        program.fails(&args.iter().map(String::as_str).collect::<Vec<_>>(), parts);
    };
    fails(
        &["robust.code_switch=0.5", "robust.lexicons=[\"en-de=no-such.tsv\"]"],
        &["no-such.tsv", "robust.lexicons"],
    );
    fails(&["robust.code_switch=0.5", "robust.lexicons=[\"english\"]"], &["FROM-TO=FILE"]);
    fails(
        &["robust.code_switch=0.5", "robust.lexicons=[\"demo\"]", "data.cache=always"],
        &["token cache", "data.cache = \"never\"", "no words"],
    );
    program.ok(&set(&["robust.code_switch=0.5", "robust.lexicons=[\"demo\"]", "robust.perturbation=random"])
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>());
}

#[test]
fn the_robustness_suite_takes_the_bundled_lexicon() {
    let program = Program::new();
    let args = [
        "robustness",
        "--model",
        "demo",
        "--data",
        "demo[validation]",
        "--languages",
        "en,de",
        "--lexicon",
        "demo",
    ];
    let text =
        program
            .ok(&[&args[..], &["--changes", "code-switch", "--limit-questions", "40", "--samples"]].concat());
    assert!(text.contains("code-switch"), "{text}");
}
