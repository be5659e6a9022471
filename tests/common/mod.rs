//! Where tests find what is not in the repository, and what several of them share.
#![allow(dead_code, clippy::unwrap_used, clippy::print_stderr)]

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
    (contrast.loss.value().unwrap(), gradients)
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

/// Holds a gradient to another of the same batch: relative error and cosine over the whole tensor. Where the expected one
/// is nothing but rounding (key biases: a softmax does not see a shift of all keys), what was found must be no more.
pub fn assert_gradient(what: &str, found: &[f64], expected: &[f64]) {
    let largest = |g: &[f64]| g.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    assert!(found.iter().all(|x| x.is_finite()), "{what}");
    if largest(expected) < ROUNDING {
        assert!(largest(found) < ROUNDING, "{what}: {:.1e} where zero was expected", largest(found));
        return;
    }
    let (relative, cosine) = agreement(found, expected);
    assert!(relative < 1e-3 && cosine > 0.9999, "{what}: {relative}, {cosine}");
}

/// Above what f32 leaves of a gradient that is zero in truth, on the small models.
const ROUNDING: f64 = 1e-6;

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
        ..Dataset::default()
    }
}

/// Writes a made dataset in XQuAD-R's format: `n` articles of one paragraph with two sentences and two questions.
pub fn write_xquadr(dir: &Path, languages: &[&str], n: usize) {
    std::fs::create_dir_all(dir).unwrap();
    let words = ["river", "house", "stone", "bird", "light", "tree", "water", "night", "the", "of"];
    for (index, language) in languages.iter().enumerate() {
        let articles: Vec<serde_json::Value> = (0..n)
            .map(|g| {
                let (a, b, c) = (words[g % 10], words[g / 10 % 10], words[(g + index) % 7]);
                let sentences = [format!("{a} {b} the {c} {g}."), format!("{c} of {b} {a} night {g}.")];
                let split = sentences[0].chars().count();
                let context = sentences.join(" ");
                let end = context.chars().count();
                serde_json::json!({"title": format!("article {g}"), "paragraphs": [{
                "context": context,
                "sentence_breaks": [[0, split], [split + 1, end]],
                "qas": [
                    {"id": format!("q{g}-0"), "question": format!("{a} {b} {g}"),
                     "answers": [{"text": a, "answer_start": 0}]},
                    {"id": format!("q{g}-1"), "question": format!("{c} night {b} {g}"),
                     "answers": [{"text": c, "answer_start": split + 1}]},
                ]}]})
            })
            .collect();
        let text = serde_json::json!({"data": articles}).to_string();
        std::fs::write(dir.join(format!("{language}.json")), text).unwrap();
    }
}

/// A spec that trains the small model on the first half of a made dataset and evaluates on the other.
pub fn write_spec(dir: &Path, steps: usize) -> PathBuf {
    let model = dir.join("model");
    copy_dir(tiny_model().path(), &model);
    write_xquadr(&dir.join("data"), &["de", "en", "zh"], 40);
    let spec = format!(
        "name = \"small\"\nseed = 7\n[model]\nbase = '{}'\nmax_query_tokens = 20\nmax_passage_tokens = 30\n\
         [data]\ntrain = [{:?}]\nvalidation = [{:?}]\nevaluation = [{:?}]\n\
         [train]\nsteps = {steps}\nbatch = 8\nlearning_rate = 1e-3\ndevice = \"cpu\"\nvalidate_every = 10\n\
         checkpoint_every = 5\n",
        model.display(),
        format!("xquad-r[0..24]={}", dir.join("data").display()),
        format!("xquad-r[24..30]={}", dir.join("data").display()),
        format!("xquad-r[30..40]={}", dir.join("data").display()),
    );
    let path = dir.join("small.toml");
    std::fs::write(&path, spec).unwrap();
    path
}

/// The real binary with a store of its own.
pub struct Program {
    pub dir: tempfile::TempDir,
}

/// What a call of the program left.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Program {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn runs(&self) -> PathBuf {
        self.dir.path().join("runs")
    }

    pub fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_polymix"));
        command.args(args).env("POLYMIX_RUNS", self.runs()).current_dir(self.dir.path());
        command.stdin(std::process::Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().unwrap();
        Output {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs and expects success.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.code, Some(0), "{args:?}: {output:?}");
        output.out
    }

    /// Runs and expects one error line that holds these parts.
    pub fn fails(&self, args: &[&str], parts: &[&str]) {
        let output = self.run(args);
        assert!(matches!(output.code, Some(1 | 2)), "{args:?}: {output:?}");
        for part in parts {
            assert!(output.err.contains(part), "{args:?}: no '{part}' in {}", output.err);
        }
        assert!(!output.err.contains("panicked"), "{}", output.err);
    }
}

/// A program with the smallest model, its data and the spec `small.toml` in the directory it works in.
pub fn small_program() -> Program {
    let program = Program::new();
    let fixture = root().join("tests/golden/run-v1");
    for part in ["model", "data"] {
        copy_dir(&fixture.join(part), &program.dir.path().join(part));
    }
    std::fs::copy(fixture.join("small.toml"), program.dir.path().join("small.toml")).unwrap();
    program
}

/// Waits until something has happened; five minutes at most, for a machine that is busy.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed().as_secs() < 300, "waited too long for {what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// For what has to hit a process in the middle of its work: on a busy machine it may be done before it is hit, which says
/// nothing. An attempt that came too late is `None`, and another one is made.
pub fn in_time<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    (0..30).find_map(|_| attempt()).unwrap_or_else(|| panic!("{what} came too late thirty times"))
}

/// Sends a signal, as `-TERM`, through the shell's own `kill`: small machines have no other.
pub fn signal(name: &str, process: u32) {
    assert!(is_signalled(name, process), "kill {name} {process}");
}

/// The same; false where there is no such process any more.
pub fn is_signalled(name: &str, process: u32) -> bool {
    let line = format!("kill {name} {process}");
    std::process::Command::new("sh").args(["-c", &line]).status().unwrap().success()
}

/// The largest difference of two rows of numbers.
pub fn worst(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Twelve steps of ten short pairs, with dropout.
pub fn short_spec() -> polymix::spec::ExperimentSpec {
    let mut spec = polymix::spec::ExperimentSpec::default();
    spec.train.steps = 12;
    spec.train.batch = 10;
    spec.train.learning_rate = 2e-3;
    spec.model.dropout = Some(0.1);
    spec.model.max_query_tokens = 20;
    spec.model.max_passage_tokens = 30;
    spec
}

/// A small model of the fixtures in a directory of its own, with a tokenizer where the fixture has none.
pub fn golden_model(name: &str) -> (tempfile::TempDir, PathBuf) {
    let fixtures = root().join("tests/golden");
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    copy_dir(&fixtures.join(name), &model);
    if !model.join("tokenizer.json").exists() {
        std::fs::copy(fixtures.join("tiny-labse/tokenizer.json"), model.join("tokenizer.json")).unwrap();
    }
    (dir, model)
}
