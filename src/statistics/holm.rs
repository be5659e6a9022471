//! Correction for many tests at once.

/// Adjusted p-values (Holm 1979): the i-th smallest of m is multiplied by m - i + 1, made monotone, and cut at 1. The
/// chance of one false positive or more in the whole family stays below the level, whatever the tests' dependence.
/// What is not a number stays out of the family.
#[must_use]
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).filter(|i| !p[*i].is_nan()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut adjusted = vec![f64::NAN; p.len()];
    let mut least = 0f64;
    for (place, index) in order.iter().enumerate() {
        least = least.max(p[*index] * (order.len() - place) as f64).min(1.0);
        adjusted[*index] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_computed_families() {
        let close = |a: &[f64], b: &[f64]| {
            assert_eq!(a.len(), b.len());
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12), "{a:?} {b:?}");
        };
        // 0.005 * 4, 0.01 * 3, max(0.03 * 2, ...), max(0.04, 0.06).
        close(&holm(&[0.01, 0.04, 0.03, 0.005]), &[0.03, 0.06, 0.06, 0.02]);
        // Equal values: 0.02 * 3 for the first of them holds for all.
        close(&holm(&[0.02, 0.02, 0.02]), &[0.06, 0.06, 0.06]);
        close(&holm(&[0.9, 0.5]), &[1.0, 1.0]);
        close(&holm(&[0.2]), &[0.2]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn what_was_not_tested_does_not_enlarge_the_family() {
        let adjusted = holm(&[0.01, f64::NAN, 0.02]);
        assert_eq!((adjusted[0], adjusted[2]), (0.02, 0.02));
        assert!(adjusted[1].is_nan());
    }
}
