//! Whole tiles of a matrix, through AVX-512.

use std::arch::x86_64::{
    __m512i, _mm256_loadu_si256, _mm512_cvtepu16_epi32, _mm512_loadu_si512, _mm512_or_si512,
    _mm512_shuffle_i32x4, _mm512_slli_epi32, _mm512_storeu_si512, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use half::bf16;

use super::super::matrix::Matrix;
use super::{DEPTH, SIDE, TILE};

/// 16 rows of 16 words of two numbers.
type Words = [__m512i; SIDE];

/// Fills a tile with the 16 rows of 32 numbers that begin with `from`, rows or columns of which are contiguous.
///
/// # Panics
/// Where `from` ends before them.
#[target_feature(enable = "avx512f")]
pub(super) fn fill<const PAIRS: bool>(m: Matrix<'_, bf16>, from: &[bf16], tile: &mut [bf16; TILE]) {
    let words = match (PAIRS, m.right == 1) {
        (false, true) => rows(from, m.down),
        (true, true) => transposed(&rows(from, m.down)),
        (false, false) => transposed(&pairs(from, m.right)),
        (true, false) => pairs(from, m.right),
    };
    let (lines, _) = tile.as_chunks_mut::<DEPTH>();
    for (line, word) in lines.iter_mut().zip(words) {
        // SAFETY: a line has 64 bytes, and the store asks for no alignment.
        unsafe { _mm512_storeu_si512(line.as_mut_ptr().cast(), word) };
    }
}

/// Rows that are contiguous, `down` apart.
#[inline]
#[target_feature(enable = "avx512f")]
fn rows(from: &[bf16], down: usize) -> Words {
    std::array::from_fn(|row| {
        let line: &[bf16; DEPTH] = from[row * down..].first_chunk().expect("a row of the matrix");
        // SAFETY: a line has 64 bytes, and the load asks for no alignment.
        unsafe { _mm512_loadu_si512(line.as_ptr().cast()) }
    })
}

/// Columns that are contiguous, `right` apart, two by two: word (c, r) has numbers (r, 2 c) and (r, 2 c + 1).
#[inline]
#[target_feature(enable = "avx512f")]
fn pairs(from: &[bf16], right: usize) -> Words {
    std::array::from_fn(|pair| {
        let [first, second] = [2 * pair, 2 * pair + 1].map(|column| {
            let line: &[bf16; SIDE] = from[column * right..].first_chunk().expect("a column of the matrix");
            // SAFETY: a line has 32 bytes, and the load asks for no alignment.
            _mm512_cvtepu16_epi32(unsafe { _mm256_loadu_si256(line.as_ptr().cast()) })
        });
        _mm512_or_si512(first, _mm512_slli_epi32::<16>(second))
    })
}

/// Word (c, r) where word (r, c) was.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(rows: &Words) -> Words {
    let mut twos = *rows;
    for i in (0..SIDE).step_by(2) {
        twos[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        twos[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    // Four rows' words of one column in each quarter: of column `4 q + c` in quarter `q` of `fours[4 g + c]`, from rows `4 g` on.
    let mut fours = twos;
    for i in (0..SIDE).step_by(4) {
        for k in 0..2 {
            fours[i + 2 * k] = _mm512_unpacklo_epi64(twos[i + k], twos[i + k + 2]);
            fours[i + 2 * k + 1] = _mm512_unpackhi_epi64(twos[i + k], twos[i + k + 2]);
        }
    }
    let mut out = fours;
    for c in 0..4 {
        let even = |a: __m512i, b: __m512i| _mm512_shuffle_i32x4::<0x88>(a, b);
        let odd = |a: __m512i, b: __m512i| _mm512_shuffle_i32x4::<0xdd>(a, b);
        let [a, b, d, e] = [fours[c], fours[4 + c], fours[8 + c], fours[12 + c]];
        out[c] = even(even(a, b), even(d, e));
        out[4 + c] = even(odd(a, b), odd(d, e));
        out[8 + c] = odd(even(a, b), even(d, e));
        out[12 + c] = odd(odd(a, b), odd(d, e));
    }
    out
}
