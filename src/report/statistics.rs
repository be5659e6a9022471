//! Mean, standard deviation and confidence interval of a few values, as repeated runs give them.

/// What a sample says about its mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Size of the sample.
    pub n: usize,
    pub mean: f64,
    /// Standard deviation with `n - 1` in the denominator; `None` for a single value.
    pub sd: Option<f64>,
    /// Half the width of the 95% confidence interval around the mean, `t(0.975, n - 1) * sd / sqrt(n)`; `None` for a
    /// single value.
    pub half: Option<f64>,
}

impl Estimate {
    /// The 95% confidence interval.
    #[must_use]
    pub fn interval(&self) -> Option<(f64, f64)> {
        self.half.map(|half| (self.mean - half, self.mean + half))
    }
}

/// Of these values; `None` where there are none.
#[must_use]
pub fn estimate(values: &[f64]) -> Option<Estimate> {
    let n = values.len();
    if n == 0 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n as f64;
    let sd = (n > 1).then(|| {
        let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
        (squares / (n - 1) as f64).sqrt()
    });
    let half = sd.map(|sd| student_t(0.95, n - 1) * sd / (n as f64).sqrt());
    Some(Estimate { n, mean, sd, half })
}

/// The t for which a variable with Student's distribution and `df` degrees of freedom lies within plus and minus t
/// with this probability (above 0, below 1).
#[must_use]
pub fn student_t(probability: f64, df: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while within(high, df) < probability && high < 1e12 {
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if within(middle, df) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// The probability to lie between -t and t: a finite sum for whole degrees of freedom (Abramowitz and Stegun 1964,
/// 26.7.3 and 26.7.4).
fn within(t: f64, df: usize) -> f64 {
    let angle = (t / (df as f64).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let odd = df % 2 == 1;
    // Odd: cos + 2/3 cos^3 + 2/3 4/5 cos^5 ...; even: 1 + 1/2 cos^2 + 1/2 3/4 cos^4 ...; up to cos^(df - 2).
    let (mut term, mut power) = if odd { (cosine, 1) } else { (1.0, 0) };
    let mut sum = 0.0;
    while power + 2 <= df {
        sum += term;
        term *= cosine * cosine * (power + 1) as f64 / (power + 2) as f64;
        power += 2;
    }
    if odd { (angle + sine * sum) * std::f64::consts::FRAC_2_PI } else { sine * sum }
}

/// A p-value in words: of one that is too small for a number, only that.
#[must_use]
pub fn probability(p: f64) -> String {
    if p == 0.0 { "below 1e-300".into() } else { format!("{p:.2e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The usual printed table, two-sided 95%.
    #[test]
    fn t_agrees_with_the_printed_table() {
        for (df, wanted) in [
            (1, 12.706),
            (2, 4.303),
            (3, 3.182),
            (4, 2.776),
            (5, 2.571),
            (9, 2.262),
            (10, 2.228),
            (29, 2.045),
            (30, 2.042),
            (120, 1.980),
            (10_000, 1.960),
        ] {
            assert!((student_t(0.95, df) - wanted).abs() < 6e-4, "{df}: {}", student_t(0.95, df));
        }
        assert!((student_t(0.99, 4) - 4.604).abs() < 6e-4);
        assert!((student_t(0.50, 1) - 1.0).abs() < 1e-9, "the quartile of the Cauchy distribution");
    }

    #[test]
    fn hand_computed_samples() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-4, "{a} {b}");
        // Mean 2.5, squares 2.25 + 0.25 + 0.25 + 2.25 = 5, sd sqrt(5/3); 3.18245 * 1.29099 / 2.
        let four = estimate(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        close(four.mean, 2.5);
        close(four.sd.unwrap(), 1.290_99);
        close(four.half.unwrap(), 2.054_26);
        close(four.interval().unwrap().0, 0.445_74);
        // Two values: sd is their distance over sqrt(2); 12.70620 * 0.2 / 2.
        let two = estimate(&[0.5, 0.7]).unwrap();
        close(two.sd.unwrap(), 0.141_42);
        close(two.half.unwrap(), 1.270_62);
        assert_eq!(estimate(&[3.0; 5]).unwrap().half, Some(0.0));
    }

    #[test]
    fn one_value_has_no_spread_and_none_no_mean() {
        assert_eq!(estimate(&[0.3]), Some(Estimate { n: 1, mean: 0.3, sd: None, half: None }));
        assert_eq!(estimate(&[]), None);
    }
}
