//! The sign-flip randomisation test and the bootstrap over clusters.
//!
//! Every resample has a number, and its random bits are a hash of (seed, name, number): the result is the same whatever
//! the number of threads, and clusters must only come in a fixed order.

use anyhow::Result;
use rayon::prelude::*;

use super::CONFIDENCE;
use super::distribution::{normal_below, normal_quantile};
use super::table::Clustered;
use crate::ops::simd::{Kernel, wide};
use crate::stream::Stream;

/// Resamples that share one pass over the table.
const BLOCK: usize = 8;
/// Resamples between two words of progress.
const PASS: usize = 1000;

/// How much is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Random sign assignments, and bootstrap draws.
    pub resamples: usize,
    /// Seed of both random streams, `sign flips` and `bootstrap`.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { resamples: 10_000, seed: 42 }
    }
}

/// How the sign assignments were chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// All `2^clusters` of them: the p-value is exact.
    Exact(usize),
    /// This many at random: the p-value is `(b + 1) / (m + 1)`, never 0 (Phipson and Smyth 2010).
    Random(usize),
}

impl Options {
    /// All sign assignments where there are no more of them than resamples.
    #[must_use]
    pub fn method(&self, clusters: usize) -> Method {
        match 1usize.checked_shl(clusters as u32).filter(|all| clusters < 40 && *all <= self.resamples) {
            Some(all) => Method::Exact(all),
            None => Method::Random(self.resamples),
        }
    }
}

impl Method {
    /// The least p-value that can come out.
    #[must_use]
    pub fn least(self) -> f64 {
        match self {
            // The observed signs and their opposite.
            Self::Exact(all) => 2.0 / all.max(2) as f64,
            Self::Random(m) => 1.0 / (m + 1) as f64,
        }
    }
}

/// Two-sided p-values of the paired sign-flip randomisation test, one a statistic (Fisher 1935; Smucker, Allan and
/// Carterette 2007 for retrieval).
///
/// `differences` holds second minus first. If the two systems are exchangeable, swapping them for all questions of a
/// cluster at once changes nothing: it flips the sign of the cluster's sum. p is the share of sign assignments whose
/// statistic lies as far from 0 as the observed one. `progress` hears (done, total) and can end the work with an error.
///
/// # Errors
/// What `progress` answers.
pub fn sign_flips(
    differences: &Clustered,
    options: &Options,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<f64>> {
    let (clusters, columns) = (differences.clusters, differences.columns);
    let method = options.method(clusters);
    let (Method::Exact(total) | Method::Random(total)) = method;
    let observed: Vec<f64> = differences.values().into_iter().map(f64::abs).collect();
    // Sums in another order differ in their last digits: what ties with the observed value must count.
    let mut sizes = vec![0.0; columns];
    for row in differences.sums.chunks_exact(columns.max(1)) {
        sizes.iter_mut().zip(row).for_each(|(size, value)| *size += value.abs());
    }
    let sizes: Vec<f64> = sizes.iter().zip(&differences.totals).map(|(s, n)| s / n).collect();
    let bound: Vec<f64> =
        observed.iter().zip(differences.with_means(&sizes)).map(|(o, size)| o - 1e-12 * size).collect();

    let words = clusters.div_ceil(64);
    let block = |first: usize, mut counts: Vec<u64>| {
        let many = BLOCK.min(total - first);
        let mut signs = vec![0u64; many * words];
        for (at, own) in signs.chunks_mut(words.max(1)).enumerate() {
            match method {
                Method::Exact(_) => own[0] = (first + at) as u64,
                Method::Random(_) => {
                    let mut stream = Stream::new(options.seed, "sign flips", (first + at) as u64);
                    own.fill_with(|| stream.next_u64());
                }
            }
        }
        let mut weights = vec![0.0; clusters * many];
        for (cluster, row) in weights.chunks_mut(many).enumerate() {
            for (at, weight) in row.iter_mut().enumerate() {
                let bit = signs[at * words + cluster / 64] >> (cluster % 64) & 1;
                *weight = 1.0 - 2.0 * bit as f64;
            }
        }
        let mut sums = vec![0.0; many * columns];
        wide::<Weigh, _>((weights.as_slice(), differences.sums.as_slice(), columns, sums.as_mut_slice()));
        for own in sums.chunks(columns.max(1)) {
            let values: Vec<f64> = own.iter().zip(&differences.totals).map(|(s, n)| s / n).collect();
            let values = differences.with_means(&values);
            for ((count, value), bound) in counts.iter_mut().zip(values).zip(&bound) {
                *count += u64::from(value.abs() >= *bound);
            }
        }
        counts
    };
    let mut counts = vec![0u64; differences.statistics()];
    let zeros = || vec![0u64; differences.statistics()];
    let add = |a: Vec<u64>, b: Vec<u64>| a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<u64>>();
    if clusters > 0 && columns > 0 {
        for begin in (0..total).step_by(PASS) {
            progress(begin, total)?;
            let end = (begin + PASS).min(total);
            let firsts: Vec<usize> = (begin..end).step_by(BLOCK).collect();
            let own = firsts
                .into_par_iter()
                .with_min_len(8)
                .fold(zeros, |counts, first| block(first, counts))
                .reduce(zeros, add);
            counts = add(counts, own);
        }
    }
    progress(total, total)?;
    let p = |(count, observed): (u64, &f64)| match method {
        _ if observed.is_nan() => f64::NAN,
        Method::Exact(all) => count as f64 / all as f64,
        Method::Random(m) => (count + 1) as f64 / (m + 1) as f64,
    };
    Ok(counts.into_iter().zip(&observed).map(p).collect())
}

/// `sums[r] += weights[c][r] * table[c]` for all clusters c and all resamples r of a block.
struct Weigh;

impl Kernel<(&[f64], &[f64], usize, &mut [f64])> for Weigh {
    type Out = ();

    #[allow(clippy::inline_always)] // only what is inlined is compiled for the wider vectors
    #[inline(always)]
    fn run((weights, table, columns, sums): (&[f64], &[f64], usize, &mut [f64])) {
        let many = sums.len() / columns.max(1);
        for (weights, row) in weights.chunks_exact(many).zip(table.chunks_exact(columns)) {
            for (weight, own) in weights.iter().zip(sums.chunks_exact_mut(columns)) {
                if *weight != 0.0 {
                    own.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
                }
            }
        }
    }
}

/// 95% confidence intervals from clusters drawn with replacement, one a statistic: bias-corrected and accelerated
/// (Efron 1987).
///
/// `BCa` instead of percentiles because differences of reciprocal ranks and of rank distances are skewed, where percentile
/// intervals miss on one side; for a mean over clusters the acceleration costs one pass (leave one cluster out). `None`
/// below two clusters; where all draws agree, that value; where the correction is undefined, percentiles.
///
/// # Errors
/// What `progress` answers.
pub fn intervals(
    table: &Clustered,
    options: &Options,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<Option<(f64, f64)>>> {
    let (clusters, columns, size) = (table.clusters, table.columns, table.statistics());
    if clusters < 2 || options.resamples == 0 {
        return Ok(vec![None; size]);
    }
    let is_balanced = table.is_balanced();
    let mut draws = vec![0.0; options.resamples * size];
    let block = |first: usize, out: &mut [f64]| {
        let many = out.len() / size;
        let mut weights = vec![0.0; clusters * many];
        for at in 0..many {
            let mut stream = Stream::new(options.seed, "bootstrap", (first + at) as u64);
            (0..clusters).for_each(|_| weights[stream.below(clusters) * many + at] += 1.0);
        }
        let sum = |table: &[f64]| {
            let mut sums = vec![0.0; many * columns];
            wide::<Weigh, _>((weights.as_slice(), table, columns, sums.as_mut_slice()));
            sums
        };
        let mut values = sum(&table.sums);
        if is_balanced {
            let rows = values.chunks_mut(columns);
            rows.for_each(|row| row.iter_mut().zip(&table.totals).for_each(|(v, n)| *v /= n));
        } else {
            values.iter_mut().zip(sum(&table.counts)).for_each(|(v, n)| *v /= n);
        }
        for (own, out) in values.chunks(columns).zip(out.chunks_mut(size)) {
            out.copy_from_slice(&table.with_means(own));
        }
    };
    for (pass, out) in draws.chunks_mut(PASS * size).enumerate() {
        progress(pass * PASS, options.resamples)?;
        let blocks = out.par_chunks_mut(BLOCK * size).enumerate().with_min_len(8);
        blocks.for_each(|(at, out)| block(pass * PASS + at * BLOCK, out));
    }
    progress(options.resamples, options.resamples)?;
    let observed = table.values();
    let accelerations = accelerations(table);
    let one = |statistic: usize| {
        let own = draws.iter().skip(statistic).step_by(size).copied();
        bca(own.filter(|v| v.is_finite()).collect(), observed[statistic], accelerations[statistic])
    };
    Ok((0..size).into_par_iter().map(one).collect())
}

/// Skewness of each statistic's values with one cluster left out, over 6: the acceleration of `BCa`. 0 where it is
/// undefined.
fn accelerations(table: &Clustered) -> Vec<f64> {
    let mut sums = vec![0.0; table.columns];
    for row in table.sums.chunks_exact(table.columns) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    let without: Vec<Vec<f64>> = (0..table.clusters)
        .map(|c| {
            let place = c * table.columns;
            let value =
                |k: usize| (sums[k] - table.sums[place + k]) / (table.totals[k] - table.counts[place + k]);
            table.with_means(&(0..table.columns).map(value).collect::<Vec<f64>>())
        })
        .collect();
    (0..table.statistics())
        .map(|s| {
            let mean = without.iter().map(|row| row[s]).sum::<f64>() / table.clusters as f64;
            let (mut squares, mut cubes) = (0.0, 0.0);
            for row in &without {
                let far = mean - row[s];
                squares += far * far;
                cubes += far * far * far;
            }
            let acceleration: f64 = cubes / (6.0 * squares * squares.sqrt());
            if acceleration.is_finite() { acceleration } else { 0.0 }
        })
        .collect()
}

fn bca(mut draws: Vec<f64>, observed: f64, acceleration: f64) -> Option<(f64, f64)> {
    draws.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (draws.first(), draws.last()) else { return None };
    if observed.is_nan() {
        return None;
    }
    if first == last {
        return Some((*first, *last));
    }
    let below = draws.partition_point(|v| *v < observed);
    let upto = draws.partition_point(|v| *v <= observed);
    let share = (below + upto) as f64 / (2 * draws.len()) as f64;
    let tail = f64::midpoint(1.0, -CONFIDENCE);
    let end = |p: f64| {
        if share <= 0.0 || share >= 1.0 {
            return p;
        }
        let (bias, z) = (normal_quantile(share), normal_quantile(p));
        let moved = normal_below(bias + (bias + z) / (1.0 - acceleration * (bias + z)));
        if moved.is_finite() { moved } else { p }
    };
    Some((percentile(&draws, end(tail)), percentile(&draws, end(1.0 - tail))))
}

/// The value at a share of sorted values, between neighbours on a straight line.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = share.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let low = at.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}
