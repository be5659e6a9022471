//! Where a tensor lies in a file of weights, whatever the file's format.

use candle_core::DType;

/// One tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its type; the name of the type where it is none that weights have.
    pub kind: std::result::Result<DType, String>,
    pub shape: Vec<usize>,
    /// Numbers from one index to the next, by dimension; `None`: one after another, last dimension fastest.
    pub strides: Option<Vec<usize>>,
    /// First byte in the file.
    pub start: u64,
}

impl Entry {
    /// True where the numbers lie one after another.
    pub fn is_plain(&self) -> bool {
        let Some(strides) = &self.strides else { return true };
        let next = |d: usize| self.shape[d + 1..].iter().product::<usize>();
        self.shape.iter().zip(strides).enumerate().all(|(d, (&size, &s))| size == 1 || s == next(d))
    }
}
