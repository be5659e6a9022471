//! Vectorised arithmetic that the compiler can see through: plain loops over slices, run inside `pulp`'s dispatch
//! so that they use the widest vectors the processor has.

use std::marker::PhantomData;
use std::sync::OnceLock;

/// A loop over slices that is to be compiled for wide vectors.
///
/// A type and not a function: a function that is handed on as a value is called through a shim, and where the compiler
/// does not inline that shim the loop runs with the vectors of the oldest processor (SSE2), several times slower.
pub trait Kernel<A> {
    type Out;

    /// Must be `#[inline(always)]`, and so must everything large that it calls: only what is inlined is compiled for
    /// wider vectors.
    fn run(args: A) -> Self::Out;
}

/// Runs a kernel compiled for the widest vectors of this processor.
#[inline]
pub fn wide<K: Kernel<A>, A>(args: A) -> K::Out {
    struct Run<K, A>(A, PhantomData<K>);
    impl<K: Kernel<A>, A> pulp::NullaryFnOnce for Run<K, A> {
        type Output = K::Out;
        #[inline(always)]
        fn call(self) -> K::Out {
            K::run(self.0)
        }
    }
    static ARCH: OnceLock<pulp::Arch> = OnceLock::new();
    ARCH.get_or_init(pulp::Arch::new).dispatch(Run::<K, A>(args, PhantomData))
}

const LANES: usize = 16;

/// Sum with 16 partial sums, so that it vectorises; the order is fixed, so the result is too.
#[inline(always)]
pub fn sum_by(n: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut partial = [0f32; LANES];
    let whole = n / LANES * LANES;
    let mut start = 0;
    while start < whole {
        for (lane, p) in partial.iter_mut().enumerate() {
            *p += term(start + lane);
        }
        start += LANES;
    }
    let mut total = 0.0;
    for index in whole..n {
        total += term(index);
    }
    partial.iter().sum::<f32>() + total
}

/// `e^x` to about one unit in the last place for `x <= 88`; 0 below -87.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Cephes' expf: x = n ln 2 + r, a polynomial in r, and 2^n through the exponent's bits.
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer in the low bits
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = clamped - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let value = p * r * r + r + 1.0;
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.0 { 0.0 } else { value * scale }
}

/// The error function to 1.5e-7 (Abramowitz and Stegun 7.1.26), with `e^(-x^2)` handed out for derivatives.
#[inline(always)]
pub fn erf_and_gauss(x: f32) -> (f32, f32) {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let mut p = 1.061_405_4;
    p = p * t - 1.453_152_1;
    p = p * t + 1.421_413_8;
    p = p * t - 0.284_496_72;
    p = p * t + 0.254_829_6;
    let gauss = exp(-a * a);
    let erf = 1.0 - p * t * gauss;
    (erf.copysign(x), gauss)
}

/// `y += a x`.
#[inline(always)]
pub fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_erf_are_close_to_the_exact_functions() {
        for i in -8700..880 {
            let x = i as f32 / 100.0;
            let exact = f64::from(x).exp();
            let relative = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(relative < 3e-7, "exp({x}): {relative}");
        }
        assert_eq!(exp(-1e9), 0.0);
        // Values of erf from Abramowitz and Stegun, table 7.1.
        for (x, value) in [(0.0, 0.0), (0.5, 0.520_499_9), (1.0, 0.842_700_8), (2.0, 0.995_322_3)] {
            assert!((erf_and_gauss(x).0 - value).abs() < 3e-7, "erf({x})");
            assert!((erf_and_gauss(-x).0 + value).abs() < 3e-7, "erf(-{x})");
        }
    }

    #[test]
    fn sums_cover_every_term() {
        for n in [0, 1, 15, 16, 17, 100] {
            assert_eq!(sum_by(n, |i| i as f32), (0..n).sum::<usize>() as f32);
        }
    }
}
