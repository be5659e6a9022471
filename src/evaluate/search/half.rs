//! Vectors as bytes: f16 (or f32), little-endian, and back to f32.

// Kernels must be inlined into the code that was compiled for wider vectors; see `ops::simd::wide`.
#![allow(clippy::inline_always)]

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::ops::{Kernel, wide};

/// How a shard holds its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ShardDtype {
    /// IEEE 754 binary16: 11 significant bits, so a cosine of unit vectors is right to about 5e-4, mostly far better.
    F16,
    /// As computed.
    F32,
}

impl ShardDtype {
    /// Bytes a number.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// `f16` or `f32`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }
}

/// Appends numbers in this form; f16 rounds to the nearest, ties to even.
///
/// # Errors
/// Gives the place of a number that is not finite or, in f16, is beyond 65504.
pub fn narrow(dtype: ShardDtype, numbers: &[f32], bytes: &mut Vec<u8>) -> Result<()> {
    for (at, &number) in numbers.iter().enumerate() {
        match dtype {
            ShardDtype::F32 if number.is_finite() => bytes.extend(number.to_le_bytes()),
            ShardDtype::F16 => {
                let half = half::f16::from_f32(number);
                if !half.is_finite() {
                    bail!("number {at} of the vector is {number}, which f16 cannot hold");
                }
                bytes.extend(half.to_le_bytes());
            }
            ShardDtype::F32 => bail!("number {at} of the vector is {number}"),
        }
    }
    Ok(())
}

/// The numbers of `bytes` as f32, exactly; `numbers` has room for all of them. Numbers must be finite.
pub fn widen(dtype: ShardDtype, bytes: &[u8], numbers: &mut [f32]) {
    debug_assert_eq!(bytes.len(), numbers.len() * dtype.size());
    match dtype {
        ShardDtype::F16 => wide::<WidenHalves, _>((bytes, numbers)),
        ShardDtype::F32 => {
            for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *number = f32::from_le_bytes(*bytes);
            }
        }
    }
}

struct WidenHalves;

impl Kernel<(&[u8], &mut [f32])> for WidenHalves {
    type Out = ();

    #[inline(always)]
    fn run((bytes, numbers): (&[u8], &mut [f32])) {
        for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *number = widen_half(*bytes);
        }
    }
}

/// One finite f16 as f32. Its exponent and fraction, put where f32 has them, are too small by the difference of the
/// exponents' biases: 2^112 (127 - 15). The product is exact, and right for subnormal numbers too.
#[inline(always)]
pub(super) fn widen_half(bytes: [u8; 2]) -> f32 {
    let half = u32::from(u16::from_le_bytes(bytes));
    let magnitude = f32::from_bits((half & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(magnitude.to_bits() | (half & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All 63,488 finite numbers that f16 has, signs of zero and subnormal numbers among them.
    #[test]
    fn every_finite_half_is_widened_exactly_and_comes_back() {
        let halves: Vec<u16> =
            (0..=u16::MAX).filter(|bits| half::f16::from_bits(*bits).is_finite()).collect();
        assert_eq!(halves.len(), 63_488);
        let bytes: Vec<u8> = halves.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        let mut numbers = vec![0f32; halves.len()];
        widen(ShardDtype::F16, &bytes, &mut numbers);
        for (bits, number) in halves.iter().zip(&numbers) {
            assert_eq!(number.to_bits(), half::f16::from_bits(*bits).to_f32().to_bits(), "{bits:#06x}");
        }
        let mut again = Vec::new();
        narrow(ShardDtype::F16, &numbers, &mut again).unwrap();
        assert_eq!(again, bytes);
    }

    #[test]
    fn rounding_is_to_nearest_even_and_f32_is_exact() {
        let mut bytes = Vec::new();
        // Between 1 and its neighbour 1 + 2^-10: the tie goes to the even one, anything above to the next.
        narrow(ShardDtype::F16, &[1.0 + 2f32.powi(-11), 1.0 + 1.5 * 2f32.powi(-11)], &mut bytes).unwrap();
        let mut numbers = [0f32; 2];
        widen(ShardDtype::F16, &bytes, &mut numbers);
        assert_eq!(numbers, [1.0, 1.0 + 2f32.powi(-10)]);
        let exact = [std::f32::consts::PI, -1e-40, 3e38];
        bytes.clear();
        narrow(ShardDtype::F32, &exact, &mut bytes).unwrap();
        let mut numbers = [0f32; 3];
        widen(ShardDtype::F32, &bytes, &mut numbers);
        assert_eq!(numbers, exact);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (dtype, number) in
            [(ShardDtype::F16, 70_000.0), (ShardDtype::F16, f32::NAN), (ShardDtype::F32, f32::INFINITY)]
        {
            let error = narrow(dtype, &[0.5, number], &mut Vec::new()).unwrap_err().to_string();
            assert!(error.contains("number 1"), "{error}");
        }
    }
}
