//! Measures of alignment: against numpy (`scripts/golden/alignment.py`), by hand, and by what must hold for any vectors.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;
#[path = "common/made.rs"]
mod made;

use std::collections::BTreeMap;

use polymix::corpus::{Dataset, Group, Passage, Question};
use polymix::encoder::Packed;
use polymix::evaluate::Embeddings;
use polymix::evaluate::alignment::cka::{Centred, similarity};
use polymix::evaluate::alignment::{
    Alignment, Margin, Options, Parallel, Side, geometry, margin, measure, probe,
};
use polymix::spec::Pooling;
use polymix::stream::Stream;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    width: usize,
    x: Vec<f32>,
    y: Vec<f32>,
    labels: Vec<usize>,
    biased: f64,
    unbiased: f64,
    alignment: f64,
    cosine: f64,
    geometry: Shape,
    ridge: f64,
    told: Vec<usize>,
    accuracy: BTreeMap<String, [f64; 2]>,
}

#[derive(Deserialize)]
struct Shape {
    uniformity: f64,
    cosine: f64,
    top_share: f64,
}

fn close(a: f64, b: f64, allowed: f64, what: &str) {
    assert!((a - b).abs() <= allowed, "{what}: {a}, expected {b}");
}

#[test]
fn every_measure_equals_numpy() {
    let golden: Golden = serde_json::from_str(include_str!("golden/alignment.json")).unwrap();
    assert_eq!(golden.cases.len(), 4);
    for (number, case) in golden.cases.iter().enumerate() {
        let at = |what: &str| format!("case {number}, {what}");
        let x = Embeddings { width: case.width, data: case.x.clone() };
        let y = Embeddings { width: case.width, data: case.y.clone() };
        let cka = similarity(&Centred::new(&x).unwrap(), &Centred::new(&y).unwrap()).unwrap();
        close(cka.biased, case.biased, 1e-9, &at("biased"));
        close(cka.unbiased, case.unbiased, 1e-9, &at("unbiased"));
        let (alignment, cosine) = geometry::of_translations(&x, &y);
        close(alignment, case.alignment, 1e-9, &at("alignment"));
        close(cosine, case.cosine, 1e-6, &at("cosine"));
        let shape = geometry::measure(&x).unwrap();
        close(shape.uniformity, case.geometry.uniformity, 2e-6, &at("uniformity"));
        close(shape.cosine, case.geometry.cosine, 1e-9, &at("anisotropy"));
        close(shape.top_share, case.geometry.top_share, 1e-6, &at("top share"));
        for (margin, name) in
            [(Margin::Ratio, "ratio"), (Margin::Distance, "distance"), (Margin::Absolute, "absolute")]
        {
            let found = margin::search(&x, &y, 4, margin).unwrap();
            assert_eq!(
                found.accuracy.map(|a| (a * 1e9).round()),
                case.accuracy[name].map(|a| (a * 1e9).round()),
                "{number} {name}"
            );
            assert_eq!(
                found.nearest.map(|a| (a * 1e9).round()),
                case.accuracy["absolute"].map(|a| (a * 1e9).round())
            );
        }
        let classifier = probe::Classifier::fit(&x, &case.labels, 3, case.ridge).unwrap();
        assert_eq!(classifier.predict(&x), case.told, "{}", at("probe"));
    }
}

/// Unit vectors around a common direction.
fn vectors(seed: u64, rows: usize, width: usize, shift: f32) -> Embeddings {
    let mut stream = Stream::new(seed, "vectors", 0);
    let mut data: Vec<f32> = (0..rows * width).map(|_| stream.normal() as f32 + shift).collect();
    for row in data.chunks_mut(width) {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        for x in row {
            *x /= length;
        }
    }
    Embeddings { width, data }
}

fn cka(x: &Embeddings, y: &Embeddings) -> polymix::evaluate::alignment::cka::Cka {
    similarity(&Centred::new(x).unwrap(), &Centred::new(y).unwrap()).unwrap()
}

#[test]
fn cka_does_not_see_rotation_scale_and_shift_but_sees_other_rows() {
    let x = vectors(1, 80, 6, 0.4);
    // Rotates the plane of each pair of coordinates, then scales and shifts.
    let mut y = x.clone();
    for row in y.data.chunks_mut(6) {
        for (plane, angle) in [(0, 0.3f32), (2, 1.1), (4, 2.5)] {
            let (a, b) = (row[plane], row[plane + 1]);
            (row[plane], row[plane + 1]) =
                (a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos());
        }
        for x in row {
            *x = 3.0 * *x + 0.5;
        }
    }
    let same = cka(&x, &y);
    close(same.biased, 1.0, 1e-5, "biased");
    close(same.unbiased, 1.0, 1e-5, "unbiased");
    // One coordinate stretched is not isotropic.
    y.data.chunks_mut(6).for_each(|row| row[0] *= 20.0);
    assert!(cka(&x, &y).biased < 0.9);
    let other = cka(&x, &vectors(2, 80, 6, 0.4));
    assert!(other.unbiased.abs() < 0.1 && other.biased > other.unbiased, "{other:?}");
}

#[test]
fn few_rows_in_a_wide_space_fool_the_biased_estimate_only() {
    let (x, y) = (vectors(3, 40, 200, 0.0), vectors(4, 40, 200, 0.0));
    let unrelated = cka(&x, &y);
    assert!(unrelated.biased > 0.7, "{unrelated:?}");
    assert!(unrelated.unbiased.abs() < 0.1, "{unrelated:?}");
    assert!(cka(&vectors(3, 3, 5, 0.0), &vectors(4, 3, 5, 0.0)).unbiased.is_nan());
}

#[test]
fn geometry_by_hand() {
    // Four vectors along the axes of a plane: cosines 0, 0, 0, 0, -1, -1; squared distances 2 and 4.
    let x = Embeddings { width: 2, data: vec![1.0, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, -1.0] };
    let shape = geometry::measure(&x).unwrap();
    close(shape.cosine, -2.0 / 6.0, 1e-12, "anisotropy");
    close(shape.uniformity, ((4.0 * (-4f64).exp() + 2.0 * (-8f64).exp()) / 6.0).ln(), 1e-5, "uniformity");
    close(shape.top_share, 0.5, 1e-9, "top share");
    let equal = Embeddings { width: 2, data: [0.6, 0.8].repeat(5) };
    let shape = geometry::measure(&equal).unwrap();
    close(shape.cosine, 1.0, 1e-6, "anisotropy of equal vectors");
    close(shape.uniformity, 0.0, 1e-5, "uniformity of equal vectors");
    assert!(shape.top_share.is_nan());
    let (alignment, cosine) = geometry::of_translations(
        &x,
        &Embeddings { width: 2, data: vec![1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0] },
    );
    close(alignment, (0.0 + 4.0 + 0.0 + 2.0) / 4.0, 1e-12, "alignment");
    close(cosine, (1.0 - 1.0 + 1.0 + 0.0) / 4.0, 1e-12, "cosine");
    // The blocks of the distance matrix must not count a pair twice or leave one out.
    let many = vectors(5, 1100, 4, 0.2);
    let mut sum = 0.0;
    for i in 0..1100 {
        for j in 0..i {
            let apart: f32 = many.row(i).iter().zip(many.row(j)).map(|(a, b)| (a - b) * (a - b)).sum();
            sum += f64::from((-2.0 * apart).exp());
        }
    }
    close(geometry::measure(&many).unwrap().uniformity, (sum / (1100.0 * 1099.0 / 2.0)).ln(), 1e-4, "blocks");
}

#[test]
fn a_hub_is_found_by_cosine_and_avoided_by_margin() {
    // Row 2 of y is close to everything; the translation of row 0 is a little farther, but close to nothing else.
    let unit = |v: [f32; 3]| {
        let length = v.iter().map(|x| x * x).sum::<f32>().sqrt();
        v.map(|x| x / length)
    };
    let x = [unit([1.0, 0.0, 0.0]), unit([0.0, 1.0, 0.0]), unit([0.9, 0.9, 0.5])];
    let y = [unit([1.0, -1.1, 0.0]), unit([-0.6, 1.0, 0.0]), unit([1.0, 1.0, 0.1])];
    let x = Embeddings { width: 3, data: x.concat() };
    let y = Embeddings { width: 3, data: y.concat() };
    let found = margin::search(&x, &y, 2, Margin::Ratio).unwrap();
    assert!(found.nearest[0] < 1.0 && found.accuracy[0] > found.nearest[0], "{found:?}");
    let identical = vectors(6, 300, 16, 0.5);
    for margin in [Margin::Ratio, Margin::Distance, Margin::Absolute] {
        let found = margin::search(&identical, &identical, 4, margin).unwrap();
        assert_eq!((found.accuracy, found.nearest), ([1.0; 2], [1.0; 2]), "xsim of identical sides is not 0");
    }
    // Fewer rows than neighbours.
    assert_eq!(margin::search(&x, &x, 4, Margin::Ratio).unwrap().accuracy, [1.0; 2]);
}

/// `groups` items in three languages; the vectors of a language are shifted by `offset` along an axis of its own.
fn shifted(groups: usize, offset: f32) -> (Parallel, Embeddings) {
    let dataset = made::parallel(&["de", "en", "zh"], groups);
    let parallel = Parallel::new(&dataset, Side::Questions);
    let meaning = vectors(7, groups, 12, 0.0);
    let mut data = Vec::new();
    for text in &parallel.texts {
        let mut row = [meaning.row(text.item as usize), &[0.0; 3][..]].concat();
        row[12 + usize::from(text.language)] = offset;
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        data.extend(row.iter().map(|x| x / length));
    }
    (parallel, Embeddings { width: 15, data })
}

fn run(parallel: &Parallel, vectors: &Embeddings, options: &Options) -> Alignment {
    measure(parallel, vectors, &parallel.all(), options, &mut |_, _| Ok(())).unwrap()
}

#[test]
fn the_probe_tells_languages_where_vectors_do_and_only_there() {
    let (parallel, vectors) = shifted(100, 0.5);
    let found = run(&parallel, &vectors, &Options::default());
    let told = found.probe.unwrap();
    assert_eq!((told.fitted, told.tested), (240, 60));
    assert_eq!((told.accuracy, &told.recall[..]), (1.0, &[1.0; 3][..]));
    close(told.majority, 1.0 / 3.0, 1e-12, "majority");
    // Translations are equal: nothing to tell, although the probe could learn every item by heart.
    let (parallel, vectors) = shifted(100, 0.0);
    let found = run(&parallel, &vectors, &Options::default());
    let blind = found.probe.unwrap();
    assert!(blind.accuracy <= 0.34, "{blind:?}");
    assert_eq!(found.pairs.len(), 3);
    for pair in &found.pairs {
        assert_eq!((pair.n, pair.accuracy, pair.nearest), (100, [1.0; 2], [1.0; 2]));
        close(pair.alignment, 0.0, 1e-12, "alignment");
        close(pair.cka.unbiased, 1.0, 1e-6, "cka");
        close(pair.null.unbiased, 0.0, 0.1, "null");
    }
    let again = run(&parallel, &vectors, &Options::default());
    assert_eq!(found.pairs, again.pairs, "the same seed gives the same null");
    let other = run(&parallel, &vectors, &Options { seed: 1, ..Options::default() });
    assert_ne!(found.pairs[0].null, other.pairs[0].null);
    assert!(run(&parallel, &vectors, &Options { held_out: 0.0, ..Options::default() }).probe.is_none());
}

#[test]
fn a_text_that_stands_twice_is_one_row_and_languages_share_what_both_have() {
    let mut dataset: Dataset = made::empty(&["de", "en"]);
    for (group, texts) in [["a", "b"], ["a", "c"], ["d", "e"], ["", "f"]].iter().enumerate() {
        let mut questions = vec![None, None];
        let mut relevant = Vec::new();
        for (language, text) in texts.iter().enumerate().filter(|(_, t)| !t.is_empty()) {
            questions[language] = Some(dataset.questions.len() as u32);
            let (text, language) = ((*text).to_owned(), language as u16);
            dataset.questions.push(Question { group: group as u32, language, text: text.clone() });
            relevant.push(dataset.passages.len() as u32);
            dataset.passages.push(Passage {
                id: format!("{group}{language}"),
                language,
                text: "same".into(),
            });
        }
        dataset.groups.push(Group { id: group.to_string(), domain: 0, questions, relevant });
    }
    let parallel = Parallel::new(&dataset, Side::Questions);
    assert_eq!(parallel.repeated, 1);
    let texts = |rows: Vec<u32>| -> Vec<&str> {
        rows.into_iter().map(|r| parallel.texts[r as usize].text.as_str()).collect()
    };
    let (de, en) = parallel.pair(0, 1, &parallel.all());
    assert_eq!((texts(de), texts(en)), (vec!["a", "d"], vec!["b", "e"]));
    assert_eq!(texts(parallel.rows(1, &parallel.all())), ["b", "c", "e", "f"]);
    let passages = Parallel::new(&dataset, Side::Passages);
    assert_eq!((passages.texts.len(), passages.repeated), (2, 5));
}

#[test]
fn a_vector_that_is_not_finite_is_named_by_its_text() {
    let (parallel, mut vectors) = shifted(12, 0.1);
    vectors.data[15 * 4 + 3] = f32::NAN;
    let error = measure(&parallel, &vectors, &parallel.all(), &Options::default(), &mut |_, _| Ok(()));
    let error = format!("{:#}", error.unwrap_err());
    assert!(error.contains(&parallel.texts[4].text) && error.contains("not finite"), "{error}");
}

#[test]
fn the_last_layer_is_the_models_own_vector_in_both_layouts() {
    let tiny = common::tiny_model();
    let labse = common::root().join("tests/golden/tiny-labse");
    for (name, dir, outputs) in [("tiny", tiny.path(), None), ("tiny-labse", labse.as_path(), Some("head"))] {
        let encoder = common::encoder(dir, Pooling::Auto);
        let texts: Vec<Vec<u32>> = vec![vec![5, 6, 7, 8], vec![9, 10], vec![11, 5, 6], vec![7; 9]];
        let own = encoder.encode(&texts, 8, &mut |_| Ok(())).unwrap();
        let mut heard = Vec::new();
        let layers = encoder
            .encode_layers(&texts, &[], 8, &mut |done| {
                heard.push(done);
                Ok(())
            })
            .unwrap();
        let names = encoder.layer_names(layers.len());
        assert_eq!(names[0], "embeddings");
        assert_eq!(names.last().unwrap(), outputs.unwrap_or(&encoder.config.layers.to_string()), "{name}");
        assert_eq!(heard.last(), Some(&4));
        let last = layers.last().unwrap();
        assert_eq!(last.len(), own.len());
        assert!(last.iter().zip(&own).all(|(a, b)| (a - b).abs() < 1e-6), "{name}");
        for (layer, data) in layers.iter().enumerate() {
            let width = data.len() / texts.len();
            for row in data.chunks(width) {
                let length = row.iter().map(|x| x * x).sum::<f32>();
                assert!((length - 1.0).abs() < 1e-4, "{name}, layer {layer}: length {length}");
            }
            assert!(layer == 0 || data != &layers[layer - 1], "{name}: layer {layer} changes nothing");
        }
        // A text's vector does not depend on its company.
        let alone = encoder.forward_layers(&Packed::new([(0, texts[2].as_slice())])).unwrap();
        let alone: Vec<f32> = alone[1].flatten_all().unwrap().to_vec1().unwrap();
        let width = alone.len();
        assert!(layers[1][2 * width..3 * width].iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
