//! `PyTorch` files that were made to do harm, or that are merely broken: an error with the file's name, quickly, and
//! nothing else. A pickle is a program; none is ever run.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;
#[path = "common/torch.rs"]
mod torch;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use polymix::encoder::{Description, ModelFiles};
use polymix::spec::Pooling;
use torch::{Described, Pickle, archive};

/// A model whose weights are whatever a test puts there.
struct Victim {
    _dir: tempfile::TempDir,
    model: PathBuf,
}

impl Victim {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("model");
        common::copy_dir(&common::root().join("tests/golden/tiny-labse"), &model);
        std::fs::remove_file(model.join("model.safetensors")).unwrap();
        Self { _dir: dir, model }
    }

    /// The error, which names the file; it comes at once.
    fn says(&self, bytes: &[u8]) -> String {
        let start = Instant::now();
        std::fs::write(self.model.join("pytorch_model.bin"), bytes).unwrap();
        let error = format!("{:#}", ModelFiles::read(&self.model, Pooling::Auto).map(|_| ()).unwrap_err());
        assert!(error.contains("pytorch_model.bin"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}: {error}", start.elapsed());
        error
    }

    fn refuses(&self, bytes: &[u8], parts: &[&str]) {
        let error = self.says(bytes);
        for part in parts {
            assert!(error.contains(part), "no '{part}' in: {error}");
        }
    }

    fn refuses_pickle(&self, pickle: Vec<u8>, parts: &[&str]) {
        self.refuses(&archive(&[("data.pkl", pickle), ("data/0", vec![0; 64])]), parts);
    }
}

const GOOD: Described = Described {
    name: "w",
    class: "FloatStorage",
    storage: "0",
    length: 16,
    offset: 0,
    shape: &[4, 4],
    strides: &[4, 1],
};

fn one(tensor: &Described) -> Vec<u8> {
    Pickle::new().dict().tensor(tensor).end()
}

#[test]
fn code_in_a_pickle_is_refused_by_its_name_and_never_run() {
    let victim = Victim::new();
    let mark = victim.model.join("was-here");
    let command = format!("touch '{}'", mark.display());
    let call =
        |module: &str, name: &str| Pickle::new().global(module, name).op(b"(").text(&command).op(b"tR.").0;
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("subprocess", "Popen"),
        ("torch", "load"),
        ("torch.serialization", "load"),
        ("collections", "OrderedDict.__init__"),
        ("torch._utils", "_rebuild_device_tensor_from_numpy"),
    ] {
        victim.refuses_pickle(call(module, name), &[&format!("{module}.{name}"), "holds code"]);
    }
    // By the newer operations, as an object's class, and with a state to restore.
    let newer = Pickle::new().op(b"\x8c\x02os\x8c\x06system\x93").op(b"(").text(&command).op(b"tR.").0;
    victim.refuses_pickle(newer, &["os.system"]);
    for (tail, code) in
        [(&b"i__main__\nX\n."[..], "0x69"), (b"(o.", "0x6f"), (b")\x81.", "0x81"), (b"\x82\x01.", "0x82")]
    {
        let pickle = Pickle::new().global("torch", "FloatStorage").op(b"(").op(tail).0;
        let error = victim.says(&archive(&[("data.pkl", pickle)]));
        assert!(error.contains(code), "{code}: {error}");
    }
    victim.refuses_pickle(
        Pickle::new().op(b"}").global("torch", "FloatStorage").op(b"(tR.").0,
        &["FloatStorage"],
    );
    victim.refuses_pickle(Pickle::new().text("x").op(b"}b.").0, &["restores an object's state"]);
    assert!(!mark.exists());
}

#[test]
fn a_pickle_cut_off_anywhere_is_an_error() {
    let victim = Victim::new();
    let whole = one(&GOOD);
    for length in 0..whole.len() {
        victim.refuses_pickle(whole[..length].to_vec(), &["data.pkl"]);
    }
    // The whole one is a good file of another model.
    victim.refuses_pickle(whole, &["word_embeddings", "no BERT checkpoint"]);
}

#[test]
fn an_archive_cut_off_anywhere_is_an_error() {
    let victim = Victim::new();
    let whole = archive(&[("data.pkl", one(&GOOD)), ("data/0", vec![0; 64])]);
    for length in (0..whole.len()).step_by(7) {
        victim.refuses(&whole[..length], &["download complete"]);
    }
    // The central directory is whole, but the numbers it points to are not there.
    let start = whole.len() - 22;
    let mut moved = whole.clone();
    moved[start + 16..start + 20].copy_from_slice(&0x7fff_0000u32.to_le_bytes());
    victim.says(&moved);
}

#[test]
fn sizes_that_lie_reserve_no_memory() {
    let victim = Victim::new();
    let beyond = "reaches beyond its storage";
    let huge = i64::MAX;
    for (tensor, part) in [
        (Described { shape: &[1 << 40], strides: &[1], ..GOOD }, beyond),
        (Described { shape: &[1 << 40], strides: &[0], ..GOOD }, beyond),
        (Described { shape: &[huge, huge], strides: &[huge, huge], ..GOOD }, beyond),
        (Described { shape: &[2], strides: &[huge], ..GOOD }, beyond),
        (Described { shape: &[4], strides: &[5], ..GOOD }, ""),
        (Described { offset: 1, ..GOOD }, beyond),
        (Described { offset: huge, ..GOOD }, beyond),
        (Described { length: huge, ..GOOD }, beyond),
        (Described { length: 17, ..GOOD }, beyond),
        (Described { length: -1, ..GOOD }, "negative"),
        (Described { offset: -1, ..GOOD }, "negative"),
        (Described { shape: &[-4, 4], ..GOOD }, "negative"),
        (Described { shape: &[4], ..GOOD }, "strides"),
        (Described { shape: &[1; 9], strides: &[1; 9], ..GOOD }, "9 dimensions"),
        (Described { class: "DoubleStorage", ..GOOD }, beyond),
        (Described { storage: "1", ..GOOD }, "data/1"),
        (Described { storage: "../../../etc/passwd", ..GOOD }, "not in the archive"),
        (Described { storage: "/etc/passwd", ..GOOD }, "not in the archive"),
        (Described { storage: &"0".repeat(65), ..GOOD }, "name of 65 bytes"),
    ] {
        victim.refuses_pickle(one(&tensor), &[part]);
    }
    // Text and frames that claim more than there is.
    victim.refuses_pickle(Pickle::new().op(b"X\xff\xff\xff\xff").0, &["cut off"]);
    victim.refuses_pickle(Pickle::new().op(b"\x8a\xff").0, &["255 bytes"]);
    victim.refuses_pickle(vec![0x80, 2, b'c', b'x'], &["cut off"]);
    let long = vec![b'N'; 5 << 20];
    victim.refuses_pickle(long, &["data.pkl", "fewer than"]);
}

#[test]
fn nesting_and_repetition_cost_no_more_than_the_file_is_long() {
    let victim = Victim::new();
    // A million tuples, one in the other: recursion would end the program.
    let deep = Pickle::new().op(b"N").op(&vec![0x85; 1 << 20]).op(b".").0;
    victim.refuses_pickle(deep, &["not a state dict"]);
    // Each object holds the one before twice: copies would need 2^200.
    let mut doubled = Pickle::new().op(b"N");
    for _ in 0..200 {
        doubled = doubled.op(b"q\x00h\x00\x86");
    }
    victim.refuses_pickle(doubled.op(b".").0, &["not a state dict"]);
    // A dictionary in itself.
    victim.refuses_pickle(Pickle::new().op(b"}q\x00h\x00h\x00s.").0, &[]);
    // Many calls with many arguments.
    let mut calls =
        Pickle::new().global("torch._utils", "_rebuild_tensor_v2").op(b"q\x00(").op(&vec![b'N'; 1 << 20]);
    calls = calls.op(b"tq\x01");
    for _ in 0..100_000 {
        calls = calls.op(b"h\x00h\x01R");
    }
    victim.refuses_pickle(calls.op(b".").0, &["too many"]);
    // One tensor under the same long name, again and again.
    let mut names = Pickle::new().dict().text(&"n".repeat(1 << 20)).op(b"q\x07");
    names = names.tensor(&GOOD).op(b"q\x08");
    for _ in 0..200_000 {
        names = names.op(b"h\x07h\x08");
    }
    victim.refuses_pickle(names.op(b"0").end(), &[]);
    victim.refuses_pickle(b"\x80\x02t.".to_vec(), &["no mark"]);
    victim.refuses_pickle(b"\x80\x02(Nqq0.".to_vec(), &[]);
    victim.refuses_pickle(b"\x80\x02R.".to_vec(), &["nothing to work on"]);
    victim.refuses_pickle(b"\x80\x02N(0.".to_vec(), &[]);
}

#[test]
fn random_damage_never_does_more_than_fail() {
    let victim = Victim::new();
    let pickle = one(&GOOD);
    let whole = archive(&[("data.pkl", pickle.clone()), ("data/0", vec![0; 64])]);
    let mut state = 7u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for round in 0..1000 {
        // The description alone, or any byte of the archive.
        let mut bytes = if round % 2 == 0 { pickle.clone() } else { whole.clone() };
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            bytes[at] = random(256) as u8;
        }
        let bytes =
            if round % 2 == 0 { archive(&[("data.pkl", bytes), ("data/0", vec![0; 64])]) } else { bytes };
        std::fs::write(victim.model.join("pytorch_model.bin"), bytes).unwrap();
        assert!(Description::read(&victim.model).is_err());
    }
}

#[test]
fn other_files_of_pytorch_are_told_apart() {
    let victim = Victim::new();
    // What torch.save wrote before version 1.6.
    victim.refuses(
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
        &["before version 1.6", "torch.save(torch.load"],
    );
    victim.refuses(b"", &["download complete"]);
    victim.refuses(b"version https://git-lfs.github.com/spec/v1\n", &["git lfs pull"]);
    let script =
        archive(&[("data.pkl", one(&GOOD)), ("constants.pkl", vec![]), ("code/__torch__.py", vec![])]);
    victim.refuses(&script, &["TorchScript", "save_pretrained"]);
    let big = archive(&[("data.pkl", one(&GOOD)), ("data/0", vec![0; 64]), ("byteorder", b"big".to_vec())]);
    victim.refuses(&big, &["byte order"]);
    victim.refuses(&archive(&[("other.txt", vec![])]), &["no single data.pkl"]);
    victim
        .refuses(&archive(&[("data.pkl", one(&GOOD)), ("b/data.pkl", one(&GOOD))]), &["no single data.pkl"]);
    // A compressed entry, by its two headers.
    let mut squeezed = archive(&[("data.pkl", one(&GOOD)), ("data/0", vec![0; 64])]);
    for (mark, field) in [(b"PK\x01\x02", 10), (b"PK\x03\x04", 8)] {
        let starts: Vec<usize> =
            (0..squeezed.len() - 4).filter(|&at| &squeezed[at..at + 4] == mark.as_slice()).collect();
        squeezed[starts[1] + field] = 8;
    }
    victim.refuses(&squeezed, &["data/0", "compressed"]);
    // A dictionary of numbers, and a list.
    victim.refuses_pickle(Pickle::new().dict().text("epoch").int(3).end(), &["no tensor"]);
    victim.refuses_pickle(b"\x80\x02].".to_vec(), &["not a state dict"]);
}

/// A link to a device, or a directory, in place of the weights.
#[test]
fn weights_that_are_no_file_are_missing() {
    let victim = Victim::new();
    std::fs::create_dir(victim.model.join("pytorch_model.bin")).unwrap();
    let error = format!("{:#}", Description::read(Path::new(&victim.model)).unwrap_err());
    assert!(error.contains("missing"), "{error}");
}
