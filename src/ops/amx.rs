//! Products of bf16 matrices on the tile units (AMX) that Intel's server processors have since 2023.
//!
//! Both factors are copied into tiles: 16 rows of 32 numbers of the left one, and of the right one 16 rows of 16 pairs, two
//! numbers that follow each other down a column. A block of 32 by 32 results stays in four tiles while the factors'
//! tiles pass. Sums are f32, in a fixed order. The units take numbers below the normal ones (smaller than 1.2e-38) as zero, so
//! that a run that goes on where there are no tiles may differ in its last bits.
#![allow(unsafe_code)]

mod tile;

use std::arch::asm;
use std::sync::OnceLock;

use half::bf16;
use rayon::prelude::*;

use super::fresh::Fresh;
use super::matrix::Matrix;
use super::number::Number;
use super::simd::{Kernel, wide};

/// Rows or columns of a tile, and numbers of a tile along the common dimension.
const SIDE: usize = 16;
const DEPTH: usize = 32;
/// Numbers of a tile.
const TILE: usize = SIDE * DEPTH;
/// Side of the block of results that a turn computes.
const BLOCK: usize = 2 * SIDE;

/// Whether this processor has tile units for bf16 and the system lets this process use them.
pub fn is_here() -> bool {
    static HERE: OnceLock<bool> = OnceLock::new();
    *HERE.get_or_init(|| has_tiles() && is_x86_feature_detected!("avx512f") && is_allowed())
}

fn has_tiles() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    if __cpuid(0).eax < 7 {
        return false;
    }
    let features = __cpuid_count(7, 0).edx;
    // AMX-BF16 and AMX-TILE.
    features >> 22 & 1 == 1 && features >> 24 & 1 == 1
}

/// Asks Linux for the tiles' state, which is 8 KiB a thread; older kernels and some sandboxes refuse.
fn is_allowed() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: the call takes two numbers and touches no memory of ours; rcx and r11 are what `syscall` overwrites.
    unsafe {
        asm!("syscall", inlateout("rax") result, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result == 0
}

/// `left` times `right`, row-major, rounded to bf16. Only where [`is_here`].
pub fn product(left: Matrix<'_, bf16>, right: Matrix<'_, bf16>) -> Vec<bf16> {
    assert!(is_here() && left.columns == right.rows, "the processor has tiles, and the matrices fit");
    if left.rows * right.columns == 0 || left.columns == 0 {
        return vec![bf16::ZERO; left.rows * right.columns];
    }
    let mut out = Fresh::new(left.rows * right.columns);
    let (rows, columns, steps) = (left.rows, right.columns, left.columns.div_ceil(DEPTH));
    let a = panels::<false>(left, steps);
    let b = panels::<true>(right.t(), steps);
    let panel = steps * TILE;
    // Bands of rows, whose left tiles stay in the cache of a core while all right tiles pass.
    let bands = rows.div_ceil(BLOCK).div_ceil(2 * rayon::current_num_threads()).clamp(1, 8);
    out.chunks(bands * BLOCK * columns).enumerate().for_each(|(band, out)| {
        let out = out.zeros();
        let tiles = Tiles::begin();
        let mut block = [0f32; BLOCK * BLOCK];
        let first = band * bands * BLOCK;
        for column in (0..columns).step_by(BLOCK) {
            let at = column / SIDE * panel;
            let right = [&b[at..at + panel], &b[at + panel..at + 2 * panel]];
            for (index, out) in out.chunks_mut(BLOCK * columns).enumerate() {
                let at = (first + index * BLOCK) / SIDE * panel;
                Tiles::block(&tiles, [&a[at..at + panel], &a[at + panel..at + 2 * panel]], right, &mut block);
                wide::<Round, _>((out, columns, column, &block));
            }
        }
    });
    out.done()
}

struct Round;

impl Kernel<(&mut [bf16], usize, usize, &[f32; BLOCK * BLOCK])> for Round {
    type Out = ();

    /// Stores a block of results in rows of `columns` numbers, from `first` on, as far as they go.
    #[inline(always)]
    fn run((rows, columns, first, block): (&mut [bf16], usize, usize, &[f32; BLOCK * BLOCK])) {
        let (lines, _) = block.as_chunks::<BLOCK>();
        for (row, line) in rows.chunks_exact_mut(columns).zip(lines) {
            for (to, from) in row[first..].iter_mut().zip(line) {
                *to = bf16::near(*from);
            }
        }
    }
}

/// All tiles of a matrix, a panel for each 16 rows: an even number of panels, filled up with zeros.
fn panels<const PAIRS: bool>(matrix: Matrix<'_, bf16>, steps: usize) -> Vec<bf16> {
    let count = matrix.rows.div_ceil(BLOCK) * 2;
    let mut tiles = Fresh::new(count * steps * TILE);
    tiles.chunks(2 * steps * TILE).enumerate().for_each(|(pair, tiles)| {
        let (tiles, _) = tiles.zeros().as_chunks_mut();
        let (upper, lower) = tiles.split_at_mut(steps);
        // Of columns that lie one after another, a line of the cache has those of both panels.
        for (step, (upper, lower)) in upper.iter_mut().zip(lower).enumerate() {
            for (half, tile) in [upper, lower].into_iter().enumerate() {
                let first = pair * BLOCK + half * SIDE;
                if first < matrix.rows {
                    pack::<PAIRS>(matrix, first, step * DEPTH, tile);
                }
            }
        }
    });
    tiles.done()
}

/// Where number (row, column) of a tile stands: of the left factor, and of the right one as it lies transposed.
const fn in_rows(row: usize, column: usize) -> usize {
    row * DEPTH + column
}

const fn in_pairs(row: usize, column: usize) -> usize {
    column / 2 * 2 * SIDE + 2 * row + column % 2
}

/// Fills a tile with 16 rows of 32 numbers from (row, column) on, as far as the matrix goes.
fn pack<const PAIRS: bool>(m: Matrix<'_, bf16>, row: usize, column: usize, tile: &mut [bf16; TILE]) {
    let (rows, columns) = (SIDE.min(m.rows - row), DEPTH.min(m.columns - column));
    let from = &m.data[row * m.down + column * m.right..];
    if rows == SIDE && columns == DEPTH {
        // SAFETY: `is_here` asked for AVX-512 too.
        return unsafe { tile::fill::<PAIRS>(m, from, tile) };
    }
    let place = if PAIRS { in_pairs } else { in_rows };
    for r in 0..rows {
        for c in 0..columns {
            tile[place(r, c)] = from[r * m.down + c * m.right];
        }
    }
}

/// This thread's tiles, all 16 rows of 64 bytes.
struct Tiles;

#[repr(C, align(64))]
struct Config([u8; 64]);

impl Tiles {
    fn begin() -> Self {
        let mut config = Config([0; 64]);
        config.0[0] = 1;
        for tile in 0..8 {
            config.0[16 + 2 * tile] = 64;
            config.0[48 + tile] = 16;
        }
        // SAFETY: the caller asked `is_here`; the configuration is of the documented form (palette 1).
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly)) };
        Self
    }

    /// 32 by 32 results of two panels of rows and two of pairs, all equally long. Takes the tiles to know that they are configured.
    fn block(_: &Self, left: [&[bf16]; 2], right: [&[bf16]; 2], out: &mut [f32; BLOCK * BLOCK]) {
        let length = left[0].len();
        assert!(
            length > 0
                && length.is_multiple_of(TILE)
                && [left[1], right[0], right[1]].iter().all(|p| p.len() == length)
        );
        // SAFETY: each of the `length / TILE` turns reads one tile, 1,024 bytes, of every panel; the stores fill `out`, 32 rows of
        // 128 bytes. The tiles were configured by `begin` on this thread.
        unsafe {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{a0} + {row}]",
                "tileloadd tmm6, [{b0} + {row}]",
                "tileloadd tmm5, [{a1} + {row}]",
                "tileloadd tmm7, [{b1} + {row}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a0}, 1024", "add {a1}, 1024", "add {b0}, 1024", "add {b1}, 1024",
                "dec {turns}",
                "jnz 2b",
                "tilestored [{out} + {wide}], tmm0",
                "tilestored [{out} + {wide} + 64], tmm1",
                "tilestored [{out} + {wide} + 2048], tmm2",
                "tilestored [{out} + {wide} + 2112], tmm3",
                a0 = inout(reg) left[0].as_ptr() => _,
                a1 = inout(reg) left[1].as_ptr() => _,
                b0 = inout(reg) right[0].as_ptr() => _,
                b1 = inout(reg) right[1].as_ptr() => _,
                turns = inout(reg) length / TILE => _,
                row = in(reg) 64usize,
                wide = in(reg) 128usize,
                out = in(reg) out.as_mut_ptr(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            );
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: gives the tiles' state back; nothing reads it later.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Tensor};

    use super::super::testing::{flat, random};
    use super::*;

    /// Says so, and returns true, where the processor has no tiles.
    fn skipped(test: &str) -> bool {
        if !is_here() {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "SKIPPED {test}: this processor has no AMX for bf16");
        }
        !is_here()
    }

    #[test]
    fn tiles_give_the_product_in_f32_rounded_once() {
        if skipped("tiles_give_the_product_in_f32_rounded_once") {
            return;
        }
        // Whole tiles and parts of them, one row, one column, a common dimension of one; plain and transposed in memory.
        for (m, k, n) in [(64, 64, 64), (33, 65, 17), (1, 100, 50), (70, 1, 1), (300, 384, 96), (16, 31, 32)]
        {
            for (is_left_across, is_right_across) in
                [(false, false), (true, false), (false, true), (true, true)]
            {
                let make = |name: &str, rows: usize, columns: usize, is_across: bool| {
                    let x = if is_across {
                        random(name, &[columns, rows]).t().expect("view")
                    } else {
                        random(name, &[rows, columns])
                    };
                    x.to_dtype(DType::BF16).expect("bf16")
                };
                let (a, b) = (make("a", m, k, is_left_across), make("b", k, n, is_right_across));
                let wide = |x: &Tensor| x.contiguous().expect("whole").to_dtype(DType::F32).expect("f32");
                let exact = flat(&wide(&a).matmul(&wide(&b)).expect("product"));
                let found = super::super::matmul(&a, &b).expect("tiles");
                assert_eq!(found.dims(), [m, n]);
                let room = (k as f32).sqrt() * 1e-5;
                for (found, exact) in flat(&found.to_dtype(DType::F32).expect("f32")).iter().zip(&exact) {
                    // Half a unit in the last place of bf16, and the order of adding.
                    let allowed = exact.abs() / 255.0 + room;
                    assert!((found - exact).abs() <= allowed, "{m} {k} {n}: {found}, {exact}");
                }
            }
        }
        let nan = Tensor::full(f32::NAN, (20, 40), &candle_core::Device::Cpu)
            .expect("NaN")
            .to_dtype(DType::BF16)
            .expect("bf16");
        let product = super::super::matmul(&nan, &nan.t().expect("view")).expect("tiles");
        assert!(flat(&product.to_dtype(DType::F32).expect("f32")).iter().all(|x| x.is_nan()));
    }
}
