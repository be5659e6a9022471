//! How vectors lie in their space: close to their translations, spread over the sphere, or bundled around one direction.

use anyhow::Result;
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::cka::centred;
use crate::evaluate::Embeddings;

/// How one set of vectors lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    /// `log E exp(-2 ||x - x'||^2)` over all distinct pairs (Wang and Isola 2020): 0 where all are equal, about -4 where
    /// unit vectors are spread evenly over a wide sphere.
    pub uniformity: f64,
    /// Anisotropy: mean cosine over all distinct pairs, exactly; 0 where directions cancel out.
    pub cosine: f64,
    /// Share of the variance along the first principal component.
    pub top_share: f64,
}

/// Vectors of one block of the matrix of distances.
const BLOCK: usize = 512;
/// Steps of the power iteration at most.
const STEPS: usize = 2_000;

/// Uniformity, anisotropy and the first component's share. NaN below two rows.
///
/// # Errors
/// Where memory is short.
pub fn measure(vectors: &Embeddings) -> Result<Geometry> {
    if vectors.rows() < 2 {
        return Ok(Geometry { uniformity: f64::NAN, cosine: f64::NAN, top_share: f64::NAN });
    }
    Ok(Geometry {
        uniformity: uniformity(vectors)?,
        cosine: mean_cosine(vectors),
        top_share: top_share(vectors)?,
    })
}

/// Mean squared distance and mean cosine of row i of `x` and row i of `y`.
#[must_use]
pub fn of_translations(x: &Embeddings, y: &Embeddings) -> (f64, f64) {
    let (mut distance, mut cosine) = (0.0, 0.0);
    for row in 0..x.rows() {
        let (mut dot, mut xx, mut yy, mut apart) = (0.0, 0.0, 0.0, 0.0);
        for (a, b) in x.row(row).iter().zip(y.row(row)) {
            let (a, b) = (f64::from(*a), f64::from(*b));
            (dot, xx, yy, apart) = (dot + a * b, xx + a * a, yy + b * b, apart + (a - b) * (a - b));
        }
        distance += apart;
        cosine += dot / (xx * yy).sqrt().max(f64::MIN_POSITIVE);
    }
    (distance / x.rows() as f64, cosine / x.rows() as f64)
}

fn uniformity(vectors: &Embeddings) -> Result<f64> {
    let (n, width) = (vectors.rows(), vectors.width);
    let squares: Vec<f32> = (0..n).map(|r| vectors.row(r).iter().map(|x| x * x).sum()).collect();
    let blocks: Vec<Tensor> = vectors
        .data
        .chunks(BLOCK * width)
        .map(|b| Tensor::from_slice(b, (b.len() / width, width), &Device::Cpu))
        .collect::<candle_core::Result<_>>()?;
    let mut sum = 0f64;
    for (i, left) in blocks.iter().enumerate() {
        for (j, right) in blocks.iter().enumerate().skip(i) {
            let dots = left.matmul(&right.t()?)?;
            let columns = right.dim(0)?;
            // Of a block with itself the part above the diagonal; of two blocks everything.
            sum += crate::ops::read(&dots, |dots| {
                dots.par_chunks(columns)
                    .enumerate()
                    .map(|(row, dots)| {
                        let own = squares[i * BLOCK + row];
                        let first = if i == j { row + 1 } else { 0 };
                        let others = &squares[j * BLOCK..];
                        let near = |c: usize| {
                            let distance = (own + others[c] - 2.0 * dots[c]).max(0.0);
                            f64::from((-2.0 * distance).exp())
                        };
                        (first..columns).map(near).sum::<f64>()
                    })
                    .collect::<Vec<f64>>()
                    .iter()
                    .sum::<f64>()
            })?;
        }
    }
    Ok((sum / (n as f64 * (n as f64 - 1.0) / 2.0)).ln())
}

/// From the length of the sum of all directions: `(|sum|^2 - n) / (n (n - 1))`.
fn mean_cosine(vectors: &Embeddings) -> f64 {
    let n = vectors.rows() as f64;
    let mut sum = vec![0f64; vectors.width];
    for row in 0..vectors.rows() {
        let row = vectors.row(row);
        let length = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        sum.iter_mut().zip(row).for_each(|(s, x)| *s += f64::from(*x) / length.max(f64::MIN_POSITIVE));
    }
    (sum.iter().map(|s| s * s).sum::<f64>() - n) / (n * (n - 1.0))
}

/// Largest eigenvalue of the covariance by power iteration, over its trace. NaN where all rows are equal.
fn top_share(vectors: &Embeddings) -> Result<f64> {
    let width = vectors.width;
    let rows = Tensor::from_vec(centred(vectors), (vectors.rows(), width), &Device::Cpu)?;
    let covariance: Vec<f64> = rows.t()?.matmul(&rows)?.flatten_all()?.to_vec1()?;
    let trace: f64 = (0..width).map(|i| covariance[i * width + i]).sum();
    if trace <= 1e-12 * vectors.rows() as f64 {
        return Ok(f64::NAN);
    }
    let mut stream = crate::stream::Stream::new(0, "power iteration", 0);
    let mut vector: Vec<f64> = (0..width).map(|_| stream.normal()).collect();
    let mut value = 0.0;
    for _ in 0..STEPS {
        let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        for x in &mut vector {
            *x /= length;
        }
        let next: Vec<f64> = covariance
            .chunks(width)
            .map(|row| row.iter().zip(&vector).map(|(a, b)| a * b).sum::<f64>())
            .collect();
        let now: f64 = next.iter().zip(&vector).map(|(a, b)| a * b).sum();
        let settled = (now - value).abs() <= 1e-13 * now;
        (value, vector) = (now, next);
        if settled {
            break;
        }
    }
    Ok(value / trace)
}
