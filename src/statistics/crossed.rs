//! Two groups of systems, one system a training seed, on the same questions.

use super::distribution::{t_quantile, t_two_sided};
use super::table::Clustered;

/// The difference of two groups in one statistic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crossed {
    /// Mean of the second group minus mean of the first.
    pub difference: f64,
    /// 95% confidence interval.
    pub low: f64,
    pub high: f64,
    /// Two-sided.
    pub p: f64,
    /// Satterthwaite's degrees of freedom.
    pub df: f64,
}

/// Tests whether two groups of systems differ in the mean over all seeds and all questions, not only over these.
///
/// Seeds and clusters are crossed: every system answers every question. The variance of the difference has a part from
/// each group's seeds, `s^2 / n`, and one from the clusters: the variance over clusters of the difference of group
/// means, linearised, over their number. What is between seed and question stands in both parts, which errs on the safe
/// side (Owen 2007, section 3). t is the difference over the root of the sum, with the degrees of freedom of Welch and
/// Satterthwaite (1946). With two or three seeds a resampling of seeds would have 6 or 20 outcomes and could never reach
/// p < .05; this can, as it uses that means are about normal.
///
/// All tables have the same shape and counts. `None` below two systems in a group or two clusters.
#[must_use]
pub fn crossed(first: &[Clustered], second: &[Clustered]) -> Option<Vec<Crossed>> {
    let shape = first.first()?;
    if first.len() < 2 || second.len() < 2 || shape.clusters < 2 {
        return None;
    }
    let parts = [group(first), group(second)];
    let mut differences = shape.clone();
    let average = |group: &[Clustered], at: usize| {
        group.iter().map(|system| system.sums[at]).sum::<f64>() / group.len() as f64
    };
    for (at, sum) in differences.sums.iter_mut().enumerate() {
        *sum = average(second, at) - average(first, at);
    }
    let values = differences.values();
    let clusters = influence_variance(&differences, &values);
    let one = |s: usize| {
        let seeds = parts.each_ref().map(|(variances, n)| (variances[s] / n, n - 1.0));
        let terms = [seeds[0], seeds[1], (clusters[s], shape.clusters as f64 - 1.0)];
        let variance: f64 = terms.iter().map(|(v, _)| v).sum();
        let df = variance * variance / terms.iter().map(|(v, df)| v * v / df).sum::<f64>();
        let difference = values[s];
        if variance <= 0.0 {
            // No spread at all: only a difference of nothing is certain to be one.
            let p = if difference == 0.0 { 1.0 } else { f64::EPSILON };
            return Crossed { difference, low: difference, high: difference, p, df: f64::INFINITY };
        }
        let half = t_quantile(df) * variance.sqrt();
        let p = t_two_sided(difference / variance.sqrt(), df).max(f64::EPSILON);
        Crossed { difference, low: difference - half, high: difference + half, p, df }
    };
    Some((0..shape.statistics()).map(one).collect())
}

/// The variance over a group's systems of each statistic, and their number.
fn group(systems: &[Clustered]) -> (Vec<f64>, f64) {
    let values: Vec<Vec<f64>> = systems.iter().map(Clustered::values).collect();
    let n = values.len() as f64;
    let variance = |s: usize| {
        let mean = values.iter().map(|v| v[s]).sum::<f64>() / n;
        values.iter().map(|v| (v[s] - mean) * (v[s] - mean)).sum::<f64>() / (n - 1.0)
    };
    ((0..values[0].len()).map(variance).collect(), n)
}

/// The variance of each statistic through the choice of clusters, linearised: a column's influence of cluster c is
/// `(sum_c - value * count_c) / total`, a macro mean's the mean of its columns'.
fn influence_variance(table: &Clustered, values: &[f64]) -> Vec<f64> {
    let n = table.clusters as f64;
    let mut squares = vec![0.0; table.statistics()];
    for c in 0..table.clusters {
        let influence = |k: usize| {
            let at = c * table.columns + k;
            (table.sums[at] - values[k] * table.counts[at]) / table.totals[k]
        };
        let row = table.with_means(&(0..table.columns).map(influence).collect::<Vec<f64>>());
        squares.iter_mut().zip(row).for_each(|(square, value)| *square += value * value);
    }
    // Influences sum to 0, and each carries 1/n of the whole already.
    squares.into_iter().map(|square| square * n / (n - 1.0)).collect()
}
