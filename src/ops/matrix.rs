//! Matrices as they lie in memory, and products of f32 through `gemm`, which is what candle calls too: but candle first fills the
//! result with zeros, on one core.
#![allow(unsafe_code)]

use candle_core::Layout;
use gemm::{Parallelism, gemm};

/// A matrix in memory: element (row, column) lies at `row * down + column * right`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix<'a, E> {
    pub data: &'a [E],
    pub rows: usize,
    pub columns: usize,
    pub down: usize,
    pub right: usize,
}

impl<'a, E: Copy> Matrix<'a, E> {
    /// A tensor's matrix; `None` where it is none, or neither its rows nor its columns are contiguous.
    pub fn of(data: &'a [E], layout: &Layout) -> Option<Self> {
        let (&[rows, columns], &[down, right]) = (layout.dims(), layout.stride()) else { return None };
        let data = data.get(layout.start_offset()..)?;
        (down == 1 || right == 1).then_some(Self { data, rows, columns, down, right })
    }

    /// Rows of `columns` numbers, one after another.
    pub fn rows(data: &'a [E], columns: usize) -> Self {
        Self { data, rows: data.len() / columns, columns, down: columns, right: 1 }
    }

    #[must_use]
    pub fn t(self) -> Self {
        Self { rows: self.columns, columns: self.rows, down: self.right, right: self.down, ..self }
    }

    /// Whether all its elements lie within `data`.
    fn is_whole(&self) -> bool {
        let is_empty = self.rows == 0 || self.columns == 0;
        is_empty || (self.rows - 1) * self.down + (self.columns - 1) * self.right < self.data.len()
    }
}

/// `out = scale a b`, or `out += scale a b`, on the calling thread; `out` is row-major. The order of additions depends on nothing but
/// the shapes.
///
/// # Panics
/// Where the shapes do not fit.
pub(super) fn multiply(out: &mut [f32], a: Matrix<'_, f32>, b: Matrix<'_, f32>, scale: f32, is_added: bool) {
    assert_eq!(out.len(), a.rows * b.columns, "the result has room");
    // SAFETY: `out` has a number for each of the result's.
    unsafe { write(out.as_mut_ptr(), a, b, scale, is_added, Parallelism::None) };
}

/// `a b`, row-major, on all cores.
///
/// # Panics
/// Where the shapes do not fit.
pub(super) fn product(a: Matrix<'_, f32>, b: Matrix<'_, f32>) -> Vec<f32> {
    let length = a.rows * b.columns;
    if a.columns == 0 {
        return vec![0.0; length];
    }
    let mut out = Vec::with_capacity(length);
    // SAFETY: there is room for the result's numbers, each of which is written and none read before.
    unsafe {
        write(out.as_mut_ptr(), a, b, 1.0, false, Parallelism::Rayon(0));
        out.set_len(length);
    }
    out
}

/// # Safety
/// `out` is the first of `a.rows * b.columns` numbers that may be written, and read too where they are to be added to.
unsafe fn write(
    out: *mut f32,
    a: Matrix<'_, f32>,
    b: Matrix<'_, f32>,
    scale: f32,
    is_added: bool,
    threads: Parallelism,
) {
    assert!(a.is_whole() && b.is_whole() && b.rows == a.columns, "the matrices fit");
    let stride = |x: usize| x.cast_signed();
    let (to, lines) = ((1, stride(b.columns)), |m: &Matrix<'_, f32>| (stride(m.right), stride(m.down)));
    let (left, right) = (lines(&a), lines(&b));
    // SAFETY: all elements of `a` and `b` lie within their slices, and the caller vouches for `out`.
    unsafe {
        gemm(
            a.rows,
            b.columns,
            a.columns,
            out,
            to.0,
            to.1,
            is_added,
            a.data.as_ptr(),
            left.0,
            left.1,
            b.data.as_ptr(),
            right.0,
            right.1,
            1.0,
            scale,
            false,
            false,
            false,
            threads,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_equal_the_sums_written_out() {
        let (a, b): (Vec<f32>, Vec<f32>) =
            ((0..35).map(|x| x as f32 - 9.0).collect(), (0..21).map(|x| 3.0 - x as f32).collect());
        // [5, 7] times [7, 3], each as it is and transposed in memory.
        let (left, right) = (Matrix::rows(&a, 7), Matrix::rows(&b, 3));
        let (left_across, right_across) = (Matrix::rows(&a, 5).t(), Matrix::rows(&b, 7).t());
        for a in [left, left_across] {
            for b in [right, right_across] {
                let mut out = vec![1f32; 15];
                multiply(&mut out, a, b, 0.5, true);
                for i in 0..5 {
                    for j in 0..3 {
                        let at = |m: &Matrix<'_, f32>, r: usize, c: usize| m.data[r * m.down + c * m.right];
                        let sum: f32 = (0..7).map(|k| at(&a, i, k) * at(&b, k, j)).sum();
                        assert!((out[i * 3 + j] - (1.0 + 0.5 * sum)).abs() < 1e-3);
                    }
                }
            }
        }
        let whole = product(left, right);
        let again = product(left_across, right);
        assert!(whole.len() == 15 && again.len() == 15 && whole != again);
        let at = |i: usize, j: usize| (0..7).map(|k| a[i * 7 + k] * b[k * 3 + j]).sum::<f32>();
        assert!((0..15).all(|x| (whole[x] - at(x / 3, x % 3)).abs() < 1e-3));
        assert_eq!(product(Matrix::rows(&[], 1).t(), Matrix::rows(&[], 1)), [0.0; 1], "nothing to add up");
        let mut out = vec![f32::NAN; 4];
        multiply(&mut out, Matrix::rows(&a[..4], 2), Matrix::rows(&b[..4], 2), 1.0, false);
        assert!(out.iter().all(|x| x.is_finite()), "what was there is not read");
    }
}
