//! A linear probe: how well does a vector give away the language of its text?
//!
//! A ridge classifier: least squares against one column a language (1 for the text's own, -1 for the others), features and
//! targets centred, solved exactly. The text goes to the language of the largest output. It has no steps and no seed but
//! that of the split.

use std::collections::BTreeMap;

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::{Options, Parallel, pick};
use crate::evaluate::Embeddings;
use crate::stream::key;

/// What the probe found on texts that it was not fitted to.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// Texts that it was fitted to, and tested on.
    pub fitted: usize,
    pub tested: usize,
    /// Share of the tested texts whose language was told.
    pub accuracy: f64,
    /// The same if every text were put down to the language that is most frequent among the fitted.
    pub majority: f64,
    /// By language: share of its tested texts that were told; NaN without such.
    pub recall: Vec<f64>,
}

/// A fitted classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Classifier {
    /// `[width, classes]`, row-major.
    weights: Vec<f64>,
    mean: Vec<f64>,
    /// Mean of the targets.
    bias: Vec<f64>,
}

/// Fits and tests on texts of the items. All translations of an item are on the same side of the split, so that the probe
/// cannot lean on what a text is about. `None` below two languages or ten items, or without a held-out share.
///
/// # Errors
/// Where memory is short.
pub fn of_items(
    parallel: &Parallel,
    vectors: &Embeddings,
    items: &[usize],
    options: &Options,
) -> Result<Option<Probe>> {
    let languages = parallel.languages.len();
    if languages < 2 || items.len() < 10 || options.held_out <= 0.0 {
        return Ok(None);
    }
    let mut order = items.to_vec();
    order.sort_by_key(|item| (key(options.seed, "held-out items", *item as u64), *item));
    let count = ((items.len() as f64 * options.held_out).round() as usize).clamp(1, items.len() - 1);
    let rows = |items: &[usize]| -> Vec<u32> {
        items.iter().flat_map(|i| parallel.items[*i].iter().copied().flatten()).collect()
    };
    let (test, fit) = (rows(&order[..count]), rows(&order[count..]));
    let labels = |rows: &[u32]| -> Vec<usize> {
        rows.iter().map(|r| usize::from(parallel.texts[*r as usize].language)).collect()
    };
    let (known, wanted) = (labels(&fit), labels(&test));
    if known.is_empty() || wanted.is_empty() {
        return Ok(None);
    }
    let classifier = Classifier::fit(&pick(vectors, &fit), &known, languages, options.ridge)?;
    let told = classifier.predict(&pick(vectors, &test));
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    for language in &known {
        *seen.entry(*language).or_default() += 1;
    }
    let frequent = (0..languages).max_by_key(|l| (seen.get(l), std::cmp::Reverse(*l))).unwrap_or(0);
    let share = |of: &dyn Fn(usize) -> bool, hit: &dyn Fn(usize) -> bool| {
        let all: Vec<usize> = (0..wanted.len()).filter(|i| of(*i)).collect();
        all.iter().filter(|i| hit(**i)).count() as f64 / all.len() as f64
    };
    let right = |i: usize| told[i] == wanted[i];
    Ok(Some(Probe {
        fitted: known.len(),
        tested: wanted.len(),
        accuracy: share(&|_| true, &right),
        majority: share(&|_| true, &|i| wanted[i] == frequent),
        recall: (0..languages).map(|l| share(&|i| wanted[i] == l, &right)).collect(),
    }))
}

impl Classifier {
    /// Solves `(X'X + lambda I) W = X'Y`; lambda is `ridge` times the mean of the diagonal of `X'X`.
    ///
    /// # Errors
    /// Where memory is short.
    pub fn fit(vectors: &Embeddings, labels: &[usize], classes: usize, ridge: f64) -> Result<Self> {
        let (n, width) = (vectors.rows(), vectors.width);
        let mut mean = vec![0f64; width];
        for row in 0..n {
            mean.iter_mut().zip(vectors.row(row)).for_each(|(m, x)| *m += f64::from(*x) / n as f64);
        }
        let mut bias = vec![-1f64; classes];
        for label in labels {
            bias[*label] += 2.0 / n as f64;
        }
        let x = Tensor::from_vec(super::cka::centred(vectors), (n, width), &Device::Cpu)?;
        let y: Vec<f64> = labels
            .iter()
            .flat_map(|l| (0..classes).map(move |c| if c == *l { 1.0 } else { -1.0 }))
            .zip(bias.iter().cycle())
            .map(|(y, b)| y - b)
            .collect();
        let y = Tensor::from_vec(y, (n, classes), &Device::Cpu)?;
        let mut square: Vec<f64> = x.t()?.matmul(&x)?.flatten_all()?.to_vec1()?;
        let mut weights: Vec<f64> = x.t()?.matmul(&y)?.flatten_all()?.to_vec1()?;
        let trace: f64 = (0..width).map(|i| square[i * width + i]).sum();
        // Never singular, even where all vectors are equal.
        let lambda = (ridge * trace / width as f64).max(1e-12);
        (0..width).for_each(|i| square[i * width + i] += lambda);
        solve(&mut square, &mut weights, width, classes);
        Ok(Self { weights, mean, bias })
    }

    /// The class of each row; of equal outputs the first.
    #[must_use]
    pub fn predict(&self, vectors: &Embeddings) -> Vec<usize> {
        (0..vectors.rows())
            .map(|row| {
                let mut outputs = self.bias.clone();
                for ((x, m), weights) in
                    vectors.row(row).iter().zip(&self.mean).zip(self.weights.chunks(self.bias.len()))
                {
                    let x = f64::from(*x) - m;
                    outputs.iter_mut().zip(weights).for_each(|(o, w)| *o += x * w);
                }
                let mut best = 0;
                for class in 1..outputs.len() {
                    if outputs[class] > outputs[best] {
                        best = class;
                    }
                }
                best
            })
            .collect()
    }
}

/// Solves `A W = B` in place by Cholesky: `a` is `[n, n]` and positive definite, `b` `[n, m]` becomes W.
fn solve(a: &mut [f64], b: &mut [f64], n: usize, m: usize) {
    for j in 0..n {
        let (above, rest) = a.split_at_mut(j * n);
        let row = &mut rest[..n];
        for i in 0..j {
            let other = &above[i * n..i * n + i];
            let dot: f64 = row[..i].iter().zip(other).map(|(x, y)| x * y).sum();
            row[i] = (row[i] - dot) / above[i * n + i];
        }
        let own: f64 = row[..j].iter().map(|x| x * x).sum();
        row[j] = (row[j] - own).max(f64::MIN_POSITIVE).sqrt();
    }
    for j in 0..n {
        let (done, rest) = b.split_at_mut(j * m);
        let row = &mut rest[..m];
        for (i, solved) in done.chunks(m).enumerate() {
            row.iter_mut().zip(solved).for_each(|(x, s)| *x -= a[j * n + i] * s);
        }
        for x in row {
            *x /= a[j * n + j];
        }
    }
    for j in (0..n).rev() {
        let (rest, done) = b.split_at_mut((j + 1) * m);
        let row = &mut rest[j * m..];
        for (i, solved) in done.chunks(m).enumerate() {
            row.iter_mut().zip(solved).for_each(|(x, s)| *x -= a[(j + 1 + i) * n + j] * s);
        }
        for x in row {
            *x /= a[j * n + j];
        }
    }
}
