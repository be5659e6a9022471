//! The normal and Student's distribution.

use super::CONFIDENCE;

/// The probability that a normal deviate lies below `x`.
#[must_use]
pub fn normal_below(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// The point below which a normal deviate lies with probability `p`, above 0 and below 1.
#[must_use]
pub fn normal_quantile(p: f64) -> f64 {
    if p > 0.5 {
        // Small probabilities are exact, large ones are not: mirror.
        return -normal_quantile(1.0 - p);
    }
    inverse(|x| normal_below(x) - p, -40.0, 0.0)
}

/// The probability that Student's t with `df` degrees of freedom (any positive number) lies at least as far from 0 as
/// `t`: the regularised incomplete beta function `I_x(df/2, 1/2)` at `x = df / (df + t^2)`.
#[must_use]
pub fn t_two_sided(t: f64, df: f64) -> f64 {
    if t.is_nan() || df.is_nan() {
        return f64::NAN;
    }
    if t.is_infinite() {
        return 0.0;
    }
    beta(df / (df + t * t), df / 2.0, 0.5)
}

/// The t that a variable with `df` degrees of freedom passes, in absolute value, with probability `1 - CONFIDENCE`.
#[must_use]
pub fn t_quantile(df: f64) -> f64 {
    let mut high = 2.0;
    while t_two_sided(high, df) > 1.0 - CONFIDENCE && high < 1e12 {
        high *= 2.0;
    }
    inverse(|t| 1.0 - CONFIDENCE - t_two_sided(t, df), 0.0, high)
}

/// Where a growing function is 0, by bisection to the last digit.
fn inverse(f: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if f(middle) < 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// The regularised incomplete beta function, by Lentz's continued fraction (Press et al., Numerical Recipes, 6.4).
fn beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta(1.0 - x, b, a);
    }
    let front =
        (libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * x.ln() + b * (-x).ln_1p()).exp() / a;
    let floor = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let (mut c, mut d) = (1.0, 1.0 / floor(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut step = 1.0;
        for term in [even, odd] {
            d = 1.0 / floor(1.0 + term * d);
            c = floor(1.0 + term / c);
            step = c * d;
            fraction *= step;
        }
        if (step - 1.0).abs() < 1e-16 {
            break;
        }
    }
    front * fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `scipy.stats.norm` and `scipy.stats.t`, printed with 16 digits.
    #[test]
    fn values_agree_with_scipy() {
        let close = |a: f64, b: f64| assert!((a - b).abs() <= 1e-12 * b.abs().max(1e-3), "{a} {b}");
        close(normal_below(-1.959_963_984_540_054), 0.025);
        close(normal_below(1.0), 0.841_344_746_068_542_9);
        close(normal_below(-8.0), 6.220_960_574_271_74e-16);
        close(normal_quantile(0.025), -1.959_963_984_540_054);
        close(normal_quantile(0.975), 1.959_963_984_540_054);
        close(normal_quantile(1e-6), -4.753_424_308_822_899);
        assert!(normal_quantile(0.5).abs() < 1e-12);
        // t with one degree of freedom is Cauchy's: 1 - 2/pi atan(t).
        close(t_two_sided(1.0, 1.0), 0.5);
        close(t_two_sided(2.0, 2.0), 0.183_503_419_072_274);
        close(t_quantile(4.0), 2.776_445_105_197_793_4);
        close(t_two_sided(2.5, 17.9), 0.022_368_538_976_105_138);
        close(t_quantile(2.5), 3.574_654_842_003_681_7);
        close(t_quantile(1000.0), 1.962_339_080_826_407_8);
        assert_eq!((t_two_sided(0.0, 3.5), t_two_sided(f64::INFINITY, 3.5)), (1.0, 0.0));
    }

    #[test]
    fn quantile_and_tail_are_inverse_for_broken_degrees_of_freedom() {
        for df in [0.7, 1.3, 2.5, 17.9, 1189.2] {
            let t = t_quantile(df);
            assert!((t_two_sided(t, df) - 0.05).abs() < 1e-12, "{df}");
        }
    }
}
