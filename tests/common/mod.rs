//! Where tests find what is not in the repository, and what several of them share.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use polymix::encoder::{Encoder, Gradients, ModelFiles, Packed};
use polymix::ops::info_nce;
use polymix::spec::Pooling;

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// XQuAD-R, if it is there; says loudly that `test` is skipped if not.
pub fn xquadr(test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("POLYMIX_XQUADR")
        .map_or_else(|| root().join("../shared/data/xquad-r"), PathBuf::from);
    found(path, test, "set POLYMIX_XQUADR to the directory with en.json")
}

/// The pretrained model in this layout (`bert`, `xlm-roberta`, `bert-xquadr`, ...), if it is there.
pub fn pretrained(layout: &str, test: &str) -> Option<PathBuf> {
    let base = std::env::var_os("POLYMIX_PRETRAINED").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/polymix/pretrained"),
        PathBuf::from,
    );
    found(base.join(layout), test, "scripts/pretrained.sh builds it")
}

fn found(path: PathBuf, test: &str, remedy: &str) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED {test}: {} is missing; {remedy}", path.display());
    None
}

/// The model in `dir` on the CPU.
pub fn encoder(dir: &Path, pooling: Pooling) -> Encoder {
    let files = ModelFiles::read(dir, pooling).unwrap_or_else(|e| panic!("{e:#}"));
    Encoder::new(files, &Device::Cpu, DType::F32, None, None).unwrap()
}

/// Loss and gradients of a batch of questions and passages, in one forward pass.
pub fn loss_and_gradients(
    encoder: &Encoder,
    questions: &[Vec<u32>],
    passages: &[Vec<u32>],
    temperature: f64,
) -> (f64, Gradients) {
    let texts = questions.iter().chain(passages).enumerate().map(|(i, ids)| (i as u64, ids.as_slice()));
    let packed = Packed::new(texts);
    let forward = encoder.forward(&packed, None, true).unwrap();
    let n = questions.len();
    let (q, p) = (forward.vectors.narrow(0, 0, n).unwrap(), forward.vectors.narrow(0, n, n).unwrap());
    let contrast = info_nce(&q, &p, temperature).unwrap();
    let dvectors = Tensor::cat(&[&contrast.questions, &contrast.passages], 0).unwrap();
    let mut gradients = Gradients::new(encoder.parameters.tensors.len());
    encoder.backward(&packed, None, forward, &dvectors, &mut gradients).unwrap();
    (contrast.loss, gradients)
}

pub fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// (relative error, cosine) of two vectors.
pub fn agreement(a: &[f64], b: &[f64]) -> (f64, f64) {
    assert_eq!(a.len(), b.len());
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let difference: Vec<f64> = a.iter().zip(b).map(|(x, y)| x - y).collect();
    let (na, nb) = (dot(a, a).sqrt(), dot(b, b).sqrt());
    (dot(&difference, &difference).sqrt() / nb.max(1e-12), dot(a, b) / (na * nb).max(1e-24))
}

/// Copies a directory of plain files and directories.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The small XLM-R fixture with a tokenizer, in a directory of its own.
pub fn tiny_model() -> tempfile::TempDir {
    let fixtures = root().join("tests/golden");
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixtures.join("tiny-xlm-roberta").join(file), dir.path().join(file)).unwrap();
    }
    std::fs::copy(fixtures.join("tiny-labse/tokenizer.json"), dir.path().join("tokenizer.json")).unwrap();
    dir
}

/// A made parallel dataset of `n` question ids in three languages, from words that the small tokenizer knows.
pub fn made_dataset(n: usize) -> polymix::corpus::Dataset {
    use polymix::corpus::{Dataset, Group, Passage, Question};
    let words = ["river", "house", "stone", "bird", "light", "tree", "water", "night", "the", "of"];
    let languages: Vec<String> = ["de", "en", "fr"].map(String::from).to_vec();
    let (mut groups, mut questions, mut passages) = (Vec::new(), Vec::new(), Vec::new());
    for g in 0..n {
        let (mut own, mut relevant) = (Vec::new(), Vec::new());
        let (a, b, c) = (words[g % 10], words[g / 10 % 10], words[g / 100 % 10]);
        for language in 0..3u16 {
            own.push(Some(questions.len() as u32));
            let mark = ["", "the ", "of "][usize::from(language)];
            questions.push(Question { group: g as u32, language, text: format!("{mark}{a} {b} {c}") });
            relevant.push(passages.len() as u32);
            let text = format!("{c} {mark}{b} the {a} {g}");
            passages.push(Passage { id: format!("p{g}_{language}"), language, text });
        }
        groups.push(Group { id: format!("g{g}"), domain: 0, questions: own, relevant });
    }
    Dataset {
        name: "made".into(),
        languages,
        domains: vec!["made".into()],
        groups,
        questions,
        passages,
        hash: String::new(),
        notes: Vec::new(),
    }
}
