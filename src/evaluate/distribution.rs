//! The chi-square distribution's upper tail, for the tests of language fairness.

/// Natural logarithm of the gamma function for x > 0 (Lanczos' approximation, g = 7, nine terms).
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        let pi = std::f64::consts::PI;
        return (pi / (pi * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let t = x + 7.5;
    let sum =
        TERMS[1..].iter().enumerate().fold(TERMS[0], |sum, (i, term)| sum + term / (x + i as f64 + 1.0));
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// Probability that a chi-square variable with `freedom` degrees is above `x`; NaN for NaN.
///
/// The regularised upper incomplete gamma function Q(freedom / 2, x / 2): its series below the mean, Lentz's continued
/// fraction above (Press et al., Numerical Recipes, 6.2). Relative error about 1e-12; below 1e-308 it is 0.
#[must_use]
pub fn chi_square_above(x: f64, freedom: usize) -> f64 {
    if x.is_nan() || freedom == 0 {
        return f64::NAN;
    }
    if x <= 0.0 {
        return 1.0;
    }
    let (a, x) = (freedom as f64 / 2.0, x / 2.0);
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
        while term.abs() > sum.abs() * 1e-16 {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        return 1.0 - front * sum;
    }
    let tiny = 1e-300;
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1.0 / tiny, 1.0 / b);
    let mut h = d;
    for i in 1..10_000 {
        let i = f64::from(i);
        let step = -i * (i - a);
        b += 2.0;
        d = step * d + b;
        d = 1.0 / if d.abs() < tiny { tiny } else { d };
        c = b + step / c;
        c = if c.abs() < tiny { tiny } else { c };
        h *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front * h
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two degrees of freedom: exp(-x / 2), exactly; ten: a sum of five terms.
    #[test]
    fn even_degrees_have_closed_forms() {
        for x in [0.01, 0.5, 2.0, 10.0, 60.0, 1400.0] {
            let two = (-x / 2.0f64).exp();
            assert!((chi_square_above(x, 2) / two - 1.0).abs() < 1e-11, "{x}");
            let h = x / 2.0;
            let ten = two * (1.0 + h + h * h / 2.0 + h.powi(3) / 6.0 + h.powi(4) / 24.0);
            assert!((chi_square_above(x, 10) / ten - 1.0).abs() < 1e-11, "{x}");
        }
        // The constant that PEER would give for one passage a language in eleven languages.
        assert!((chi_square_above(10.0, 10) - 0.440_493_285_065_212_3).abs() < 1e-12);
        assert_eq!((chi_square_above(0.0, 3), chi_square_above(1e6, 3)), (1.0, 0.0));
        assert!(chi_square_above(f64::NAN, 3).is_nan());
    }
}
