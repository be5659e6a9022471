//! The part of Python's pickle format that a `PyTorch` state dict is written in, and nothing more.
//!
//! A pickle is a program for a stack machine that may call any Python function. This machine knows the few operations
//! and the few names that `torch.save` writes for a dictionary of tensors; anything else ends the reading. Nothing is
//! executed, imported or unpacked. Objects lie in one flat list and refer to each other by index, so that neither
//! nesting nor repetition costs more memory than the file itself is long.
//!
//! candle's own reader is not used on files of others: it panics on short argument lists, allocates what a length
//! field says, and copies whatever is referred to again.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail, ensure};

/// Where one tensor's numbers lie, as the pickle says; nothing of it has been checked against the file yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Name of the storage inside the archive.
    pub storage: String,
    /// `torch`'s class of the storage, such as `FloatStorage`.
    pub class: String,
    /// Numbers in the storage.
    pub length: u64,
    /// Number at which the tensor begins.
    pub offset: u64,
    pub shape: Vec<u64>,
    /// Numbers from one index to the next, by dimension.
    pub strides: Vec<u64>,
}

type Index = usize;

#[derive(Clone, Debug)]
enum Object {
    /// The value of no interest: none, booleans, floats.
    Plain,
    Integer(i64),
    Text(String),
    Tuple(Vec<Index>),
    List(Vec<Index>),
    Dict(Vec<(Index, Index)>),
    /// A name that is known to be harmless: module and class or function.
    Global(&'static str, String),
    /// `BINPERSID`: the tuple that describes a storage.
    Storage(Index),
    Tensor(Box<Stored>),
}

/// What a state dict may name. A storage's class is any `torch.*Storage`.
const NAMES: [(&str, &str); 4] = [
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_parameter"),
];

/// Most dimensions of a tensor.
const RANK: usize = 8;

/// Most arguments of a call, and longest name in bytes: what is copied stays small, however often it is referred to.
const ARGUMENTS: usize = 8;
const NAME: usize = 64;

/// Most tensors, named or not; a 24-layer model has about 400. A call takes five bytes of the file and makes one of some
/// hundred bytes.
const TENSORS: usize = 1 << 16;

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    objects: Vec<Object>,
    stack: Vec<Index>,
    /// Heights of the stack at which marks were set.
    marks: Vec<usize>,
    memo: HashMap<u32, Index>,
    tensors: usize,
}

/// The tensors of a pickled state dict, by name.
///
/// # Errors
/// Where the pickle is cut off, damaged, or does anything but describe tensors; names the operation or the name.
pub fn state_dict(bytes: &[u8]) -> Result<BTreeMap<String, Stored>> {
    let mut machine = Machine {
        bytes,
        at: 0,
        objects: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        tensors: 0,
    };
    let top = machine.run()?;
    let Object::Dict(items) = &machine.objects[top] else {
        bail!("not a state dict: the file holds something other than a dictionary of tensors");
    };
    let found: BTreeMap<&str, &Stored> = items
        .iter()
        .filter_map(|(key, value)| match (&machine.objects[*key], &machine.objects[*value]) {
            (Object::Text(name), Object::Tensor(stored)) => Some((name.as_str(), &**stored)),
            _ => None,
        })
        .collect();
    ensure!(!found.is_empty(), "not a state dict: no tensor stands at the top of the dictionary");
    Ok(found.into_iter().map(|(name, stored)| (name.to_owned(), stored.clone())).collect())
}

impl<'a> Machine<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let end = end.with_context(|| format!("cut off at byte {}", self.at))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// An unsigned little-endian number of `count` bytes, at most 8.
    fn number(&mut self, count: usize) -> Result<u64> {
        Ok(self.take(count)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn text(&mut self, count: u64) -> Result<String> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        String::from_utf8(self.take(count)?.to_vec()).context("a text is not UTF-8")
    }

    fn line(&mut self) -> Result<String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&b| b == b'\n').context("cut off within a name")?;
        let line = self.text(length as u64)?;
        self.at += 1;
        Ok(line)
    }

    fn push(&mut self, object: Object) {
        self.stack.push(self.objects.len());
        self.objects.push(object);
    }

    /// The topmost object above the last mark, taken off.
    fn pop(&mut self) -> Result<Index> {
        let floor = self.marks.last().copied().unwrap_or(0);
        ensure!(self.stack.len() > floor, "damaged: an operation finds nothing to work on");
        self.stack.pop().context("damaged: the stack is empty")
    }

    fn top(&self) -> Result<Index> {
        self.stack.last().copied().context("damaged: the stack is empty")
    }

    /// Everything above the last mark.
    fn marked(&mut self) -> Result<Vec<Index>> {
        let mark = self.marks.pop().context("damaged: no mark")?;
        ensure!(mark <= self.stack.len(), "damaged: a mark lies above the stack");
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, count: usize) -> Result<()> {
        let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
        items.reverse();
        self.push(Object::Tuple(items));
        Ok(())
    }

    fn run(&mut self) -> Result<Index> {
        loop {
            let at = self.at;
            let code = self.take(1)?[0];
            match code {
                0x80 => {
                    let version = self.number(1)?;
                    ensure!((2..=5).contains(&version), "pickle protocol {version} is not known");
                }
                0x95 => drop(self.take(8)?),
                b'.' => return self.pop(),
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(&module, name)?;
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    match (self.objects[module].clone(), self.objects[name].clone()) {
                        (Object::Text(module), Object::Text(name)) => self.global(&module, name)?,
                        _ => bail!("damaged: a name is not text"),
                    }
                }
                b'q' | b'r' => {
                    let id = self.number(if code == b'q' { 1 } else { 4 })? as u32;
                    let top = self.top()?;
                    self.memo.insert(id, top);
                }
                0x94 => {
                    let (id, top) = (self.memo.len() as u32, self.top()?);
                    self.memo.insert(id, top);
                }
                b'h' | b'j' => {
                    let id = self.number(if code == b'h' { 1 } else { 4 })? as u32;
                    let index =
                        *self.memo.get(&id).with_context(|| format!("damaged: nothing is noted as {id}"))?;
                    self.stack.push(index);
                }
                b'(' => self.marks.push(self.stack.len()),
                b')' => self.push(Object::Tuple(Vec::new())),
                b't' => {
                    let items = self.marked()?;
                    self.push(Object::Tuple(items));
                }
                0x85..=0x87 => self.tuple(usize::from(code - 0x84))?,
                b']' => self.push(Object::List(Vec::new())),
                b'}' => self.push(Object::Dict(Vec::new())),
                b'a' => {
                    let item = self.pop()?;
                    self.extend(&[item])?;
                }
                b'e' => {
                    let items = self.marked()?;
                    self.extend(&items)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set(&[key, value])?;
                }
                b'u' => {
                    let items = self.marked()?;
                    self.set(&items)?;
                }
                b'N' | 0x88 | 0x89 => self.push(Object::Plain),
                b'G' => {
                    self.take(8)?;
                    self.push(Object::Plain);
                }
                b'J' => {
                    let value = self.number(4)? as u32;
                    self.push(Object::Integer(i64::from(value.cast_signed())));
                }
                b'K' | b'M' => {
                    let value = self.number(if code == b'K' { 1 } else { 2 })?;
                    self.push(Object::Integer(value.cast_signed()));
                }
                0x8a => {
                    let count = self.number(1)? as usize;
                    ensure!(count <= 8, "a whole number of {count} bytes is none that a state dict has");
                    let value = self.number(count)?.cast_signed();
                    // The highest bit that is there is the sign.
                    let spare = 64 - 8 * count as u32;
                    let value = if count == 0 { 0 } else { value << spare >> spare };
                    self.push(Object::Integer(value));
                }
                b'X' | 0x8c => {
                    let count = self.number(if code == b'X' { 4 } else { 1 })?;
                    let text = self.text(count)?;
                    self.push(Object::Text(text));
                }
                b'Q' => {
                    let id = self.pop()?;
                    self.push(Object::Storage(id));
                }
                b'R' => self.call()?,
                b'b' => {
                    // `OrderedDict` keeps its `_metadata` so; of no interest here.
                    self.pop()?;
                    let top = self.top()?;
                    ensure!(
                        matches!(self.objects[top], Object::Dict(_)),
                        "it restores an object's state, which a state dict never does; polymix reads tensors only"
                    );
                }
                other => bail!(
                    "operation 0x{other:02x} at byte {at} is none that a state dict needs; polymix reads tensors only"
                ),
            }
        }
    }

    fn global(&mut self, module: &str, name: String) -> Result<()> {
        let is_storage = module == "torch" && name.ends_with("Storage") && name.len() <= NAME;
        let known = if is_storage {
            Some("torch")
        } else {
            NAMES.iter().find(|(m, n)| *m == module && *n == name).map(|(m, _)| *m)
        };
        let Some(module) = known else {
            bail!(
                "it asks Python for '{module}.{name}', which a plain state dict never does: the file holds code or \
                 whole objects, and polymix runs neither"
            );
        };
        self.push(Object::Global(module, name));
        Ok(())
    }

    fn extend(&mut self, items: &[Index]) -> Result<()> {
        let top = self.top()?;
        let Object::List(list) = &mut self.objects[top] else { bail!("damaged: appends to no list") };
        list.extend_from_slice(items);
        Ok(())
    }

    fn set(&mut self, items: &[Index]) -> Result<()> {
        ensure!(items.len().is_multiple_of(2), "damaged: a key without a value");
        let top = self.top()?;
        let Object::Dict(dict) = &mut self.objects[top] else {
            bail!("damaged: sets an item of no dictionary")
        };
        dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        Ok(())
    }

    /// `REDUCE`: one of the four calls that stand for what they return.
    fn call(&mut self) -> Result<()> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let arguments = match &self.objects[arguments] {
            Object::Tuple(arguments) if arguments.len() <= ARGUMENTS => arguments.clone(),
            _ => bail!("damaged: a call without arguments, or with too many"),
        };
        let Object::Global(_, name) = self.objects[callable].clone() else {
            bail!("damaged: it calls what is no function");
        };
        let result = match name.as_str() {
            "OrderedDict" if arguments.is_empty() => Object::Dict(Vec::new()),
            "_rebuild_tensor_v2" | "_rebuild_tensor" => Object::Tensor(Box::new(self.tensor(&arguments)?)),
            "_rebuild_parameter" => match arguments.first().map(|&i| &self.objects[i]) {
                Some(Object::Tensor(stored)) => Object::Tensor(stored.clone()),
                _ => bail!("damaged: a parameter without a tensor"),
            },
            other => {
                bail!("it calls '{other}' in a way that a state dict never does; polymix reads tensors only")
            }
        };
        self.tensors += usize::from(matches!(result, Object::Tensor(_)));
        ensure!(self.tensors <= TENSORS, "more than {TENSORS} tensors, which no text encoder has");
        self.push(result);
        Ok(())
    }

    /// Storage, offset, shape, strides; what follows is of no interest.
    fn tensor(&self, arguments: &[Index]) -> Result<Stored> {
        let [storage, offset, shape, strides, ..] = *arguments else {
            bail!("damaged: a tensor with {} of its 4 parts", arguments.len());
        };
        let Object::Storage(id) = self.objects[storage] else { bail!("damaged: a tensor without a storage") };
        let parts = match &self.objects[id] {
            Object::Tuple(parts) => parts.iter().map(|&i| &self.objects[i]).collect::<Vec<_>>(),
            _ => Vec::new(),
        };
        let [Object::Text(_), Object::Global("torch", class), Object::Text(key), _, Object::Integer(length)] =
            parts.as_slice()
        else {
            bail!("damaged: a storage that is not described as torch.save does");
        };
        ensure!(key.len() <= NAME, "damaged: a storage with a name of {} bytes", key.len());
        let sizes = |index: Index| -> Result<Vec<u64>> {
            let Object::Tuple(items) = &self.objects[index] else { bail!("damaged: a shape is no tuple") };
            ensure!(items.len() <= RANK, "a tensor of {} dimensions is none of a text encoder", items.len());
            items.iter().map(|&i| self.size(i)).collect()
        };
        let (shape, strides) = (sizes(shape)?, sizes(strides)?);
        ensure!(shape.len() == strides.len(), "damaged: {} sizes but {} strides", shape.len(), strides.len());
        Ok(Stored {
            storage: key.clone(),
            class: class.clone(),
            length: u64::try_from(*length).context("damaged: a storage of negative length")?,
            offset: self.size(offset)?,
            shape,
            strides,
        })
    }

    fn size(&self, index: Index) -> Result<u64> {
        match self.objects[index] {
            Object::Integer(value) => u64::try_from(value).context("damaged: a negative size"),
            _ => bail!("damaged: a size is no whole number"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dictionary with one tensor, and `calls` more that are made of the same arguments and dropped.
    fn repeated(calls: usize) -> Vec<u8> {
        let mut out =
            b"\x80\x02}(X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\nq\0((X\x07\0\0\0storage".to_vec();
        out.extend(b"ctorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQK\0K\x04\x85K\x01\x85tq\x01R");
        // Each item has the name n, so that only the last counts.
        out.extend(b"X\x01\0\0\0nh\0h\x01R".repeat(calls));
        out.extend(b"u.");
        out
    }

    #[test]
    fn tensors_by_the_hundred_thousand_are_refused() {
        let found = state_dict(&repeated(TENSORS - 1)).expect("as many as there may be");
        assert_eq!((found.len(), found["w"].shape.as_slice()), (2, &[4][..]));
        let error = format!("{:#}", state_dict(&repeated(TENSORS)).expect_err("refused"));
        assert!(error.contains("65536 tensors"), "{error}");
    }
}
