//! `PyTorch` files as `torch.save` writes them, and pickles that it never would.
#![allow(dead_code)]

use std::io::{Cursor, Write};
use std::path::Path;

use candle_core::{DType, Tensor};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A pickle under construction, protocol 2.
#[derive(Clone, Debug)]
pub struct Pickle(pub Vec<u8>);

/// One tensor as the pickle describes it.
#[derive(Clone, Debug)]
pub struct Described<'a> {
    pub name: &'a str,
    pub class: &'a str,
    pub storage: &'a str,
    pub length: i64,
    pub offset: i64,
    pub shape: &'a [i64],
    pub strides: &'a [i64],
}

impl Pickle {
    pub fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub fn op(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.op(format!("c{module}\n{name}\n").as_bytes())
    }

    pub fn text(self, text: &str) -> Self {
        self.op(b"X").op(&(text.len() as u32).to_le_bytes()).op(text.as_bytes())
    }

    /// `LONG1` of eight bytes.
    pub fn int(self, value: i64) -> Self {
        self.op(&[0x8a, 8]).op(&value.to_le_bytes())
    }

    pub fn ints(self, values: &[i64]) -> Self {
        let pickle = values.iter().fold(self.op(b"("), |p, &v| p.int(v));
        pickle.op(b"t")
    }

    /// An empty `OrderedDict` and the mark before its items.
    pub fn dict(self) -> Self {
        self.global("collections", "OrderedDict").op(b")R(")
    }

    /// Name and tensor, as an item of a dictionary.
    pub fn tensor(self, t: &Described) -> Self {
        self.text(t.name)
            .global("torch._utils", "_rebuild_tensor_v2")
            .op(b"((")
            .text("storage")
            .global("torch", t.class)
            .text(t.storage)
            .text("cpu")
            .int(t.length)
            .op(b"tQ")
            .int(t.offset)
            .ints(t.shape)
            .ints(t.strides)
            .op(b"\x89")
            .dict()
            .op(b"utR")
    }

    /// Ends a dictionary and the pickle.
    pub fn end(self) -> Vec<u8> {
        self.op(b"u.").0
    }
}

/// An archive of these files under `archive/`.
pub fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in files {
        zip.start_file(format!("archive/{name}"), stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    use safetensors::View;
    View::data(&tensor).into_owned()
}

/// Writes tensors as `torch.save(model.state_dict(), path)` does.
pub fn save(path: &Path, tensors: &[(String, Tensor)]) {
    let mut files = Vec::new();
    let mut pickle = Pickle::new().dict();
    let keys: Vec<(String, String)> =
        (0..tensors.len()).map(|i| (i.to_string(), format!("data/{i}"))).collect();
    for ((name, tensor), (key, file)) in tensors.iter().zip(&keys) {
        let shape: Vec<i64> = tensor.dims().iter().map(|d| d.cast_signed() as i64).collect();
        let strides: Vec<i64> = tensor.layout().stride().iter().map(|s| s.cast_signed() as i64).collect();
        let class = match tensor.dtype() {
            DType::F16 => "HalfStorage",
            DType::BF16 => "BFloat16Storage",
            DType::F64 => "DoubleStorage",
            DType::I64 => "LongStorage",
            _ => "FloatStorage",
        };
        // A transposed matrix keeps its storage as it was.
        let plain = if tensor.is_contiguous() { tensor.clone() } else { tensor.t().unwrap() };
        assert!(plain.is_contiguous());
        pickle = pickle.tensor(&Described {
            name,
            class,
            storage: key,
            length: tensor.elem_count().cast_signed() as i64,
            offset: 0,
            shape: &shape,
            strides: &strides,
        });
        files.push((file.as_str(), bytes_of(&plain)));
    }
    files.insert(0, ("data.pkl", pickle.end()));
    files.push(("byteorder", b"little".to_vec()));
    std::fs::write(path, archive(&files)).unwrap();
}
