//! The mean of a few runs and how far to trust it.

/// Two-sided 95% quantiles of Student's t for 1 to 30 degrees of freedom.
const T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// The quantile for `freedom` degrees, above 30 by the first terms of its expansion around the normal's
/// (Abramowitz and Stegun 26.7.5).
fn quantile(freedom: usize) -> f64 {
    if let Some(t) = freedom.checked_sub(1).and_then(|i| T.get(i)) {
        return *t;
    }
    let (z, n) = (1.959_964_f64, freedom.max(1) as f64);
    z + (z.powi(3) + z) / (4.0 * n) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n * n)
}

/// Mean, and half the width of its 95% interval; `None` below two values.
pub fn mean(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return (mean, None);
    }
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, Some(quantile(values.len() - 1) * (variance / n).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_students() {
        assert_eq!(mean(&[0.5]), (0.5, None));
        let (at, half) = mean(&[1.0, 2.0, 3.0]);
        assert_eq!(at, 2.0);
        // t(2) = 4.303, standard error 1 / sqrt(3).
        assert!((half.expect("interval") - 2.4843).abs() < 1e-3);
        for (freedom, t) in [(31, 2.0395), (40, 2.0211), (120, 1.9799), (100_000, 1.96)] {
            assert!((quantile(freedom) - t).abs() < 1e-3, "{freedom}");
        }
    }
}
