//! Finding translations by margin (Artetxe and Schwenk 2019; CSLS of Conneau et al. 2018; LASER's `xsim`): a neighbour
//! that is close to everything (a hub) counts less.

use anyhow::Result;
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::evaluate::Embeddings;

/// How a cosine is set against the mean cosine of both sides to their nearest neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Margin {
    /// Cosine over that mean, LASER's default
    Ratio,
    /// Cosine minus that mean: CSLS
    Distance,
    /// The cosine alone
    Absolute,
}

impl Margin {
    /// `ratio`, `distance` or `absolute`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ratio => "ratio",
            Self::Distance => "distance",
            Self::Absolute => "absolute",
        }
    }

    fn score(self, cosine: f64, around: f64) -> f64 {
        match self {
            Self::Ratio => cosine / around,
            Self::Distance => cosine - around,
            Self::Absolute => cosine,
        }
    }
}

/// Shares of rows whose translation is found, from the first side to the second and back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// By cosine alone.
    pub nearest: [f64; 2],
    /// By margin.
    pub accuracy: [f64; 2],
}

/// The nearest vectors of each row.
struct Neighbours {
    /// `[n, k]`, nearest first; of equal ones the lower index first.
    index: Vec<u32>,
    cosine: Vec<f32>,
    /// Mean cosine of each row's neighbours.
    around: Vec<f64>,
    k: usize,
}

/// Rows of a block of cosines.
const BLOCK: usize = 256;

/// Row i of `x` (unit vectors) translates row i of `y`: how often is it found, both ways? Only the `k` nearest rows are
/// candidates, as in LASER; the first of equal scores wins.
///
/// # Errors
/// Where memory is short.
pub fn search(x: &Embeddings, y: &Embeddings, k: usize, margin: Margin) -> Result<Found> {
    let k = k.clamp(1, x.rows().max(1));
    let (there, back) = (neighbours(x, y, k)?, neighbours(y, x, k)?);
    let share =
        |of: &dyn Fn(usize) -> bool| (0..x.rows()).filter(|r| of(*r)).count() as f64 / x.rows() as f64;
    let nearest = |n: &Neighbours| share(&|row| n.index[row * k] as usize == row);
    let accuracy =
        |n: &Neighbours, other: &Neighbours| share(&|row| best(n, other, row, margin) as usize == row);
    Ok(Found {
        nearest: [nearest(&there), nearest(&back)],
        accuracy: [accuracy(&there, &back), accuracy(&back, &there)],
    })
}

/// The candidate of `row` with the highest margin.
fn best(own: &Neighbours, other: &Neighbours, row: usize, margin: Margin) -> u32 {
    let mut best = (f64::NEG_INFINITY, own.index[row * own.k]);
    for at in row * own.k..(row + 1) * own.k {
        let candidate = own.index[at];
        let around = f64::midpoint(own.around[row], other.around[candidate as usize]);
        let score = margin.score(f64::from(own.cosine[at]), around);
        if score > best.0 {
            best = (score, candidate);
        }
    }
    best.1
}

fn neighbours(x: &Embeddings, y: &Embeddings, k: usize) -> Result<Neighbours> {
    let (n, width) = (y.rows(), y.width);
    let matrix = Tensor::from_slice(&y.data, (n, width), &Device::Cpu)?.t()?;
    let mut found = Neighbours { index: Vec::new(), cosine: Vec::new(), around: Vec::new(), k };
    for block in x.data.chunks(BLOCK * width) {
        let block = Tensor::from_slice(block, (block.len() / width, width), &Device::Cpu)?;
        let cosines = block.matmul(&matrix)?;
        let first: Vec<Vec<(f32, u32)>> =
            crate::ops::read(&cosines, |c| c.par_chunks(n).map(|row| top(row, k)).collect())?;
        for row in first {
            found.around.push(row.iter().map(|(c, _)| f64::from(*c)).sum::<f64>() / k as f64);
            found.index.extend(row.iter().map(|(_, i)| *i));
            found.cosine.extend(row.iter().map(|(c, _)| *c));
        }
    }
    Ok(found)
}

/// The `k` largest values with their places; of equal ones the first.
fn top(row: &[f32], k: usize) -> Vec<(f32, u32)> {
    let mut best: Vec<(f32, u32)> = Vec::with_capacity(k + 1);
    for (index, value) in row.iter().enumerate() {
        if best.len() < k || *value > best[k - 1].0 {
            let at = best.partition_point(|(b, _)| b >= value);
            best.insert(at, (*value, index as u32));
            best.truncate(k);
        }
    }
    best
}
