//! Linear centred kernel alignment (Kornblith et al. 2019): are two sets of vectors the same up to rotation and scale?

use anyhow::Result;
use candle_core::{Device, Tensor};

use crate::evaluate::Embeddings;

/// The two estimates. Both are 1 for equal geometries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cka {
    /// `||Y'X||^2 / (||X'X|| ||Y'Y||)` with centred columns: above 0 even for unrelated rows, the more so the fewer
    /// there are.
    pub biased: f64,
    /// From the unbiased `HSIC_1` (Song et al. 2012): about 0 for unrelated rows. Needs four rows.
    pub unbiased: f64,
}

/// Row vectors, `[n, width]` in f64, with column means taken off.
#[derive(Clone, Debug)]
pub struct Centred {
    rows: Tensor,
    /// Squared length of each row.
    squares: Vec<f64>,
    /// `||X'X||^2`.
    own: f64,
}

impl Centred {
    /// Takes the column means off.
    ///
    /// # Errors
    /// Where memory is short.
    pub fn new(vectors: &Embeddings) -> Result<Self> {
        let (n, width) = (vectors.rows(), vectors.width);
        let rows = centred(vectors);
        let squares = rows.chunks(width.max(1)).map(|row| row.iter().map(|x| x * x).sum()).collect();
        let rows = Tensor::from_vec(rows, (n, width), &Device::Cpu)?;
        let own = product(&rows, &rows)?;
        Ok(Self { rows, squares, own })
    }

    /// The same rows in another order.
    ///
    /// # Errors
    /// Where memory is short.
    pub fn reordered(&self, order: &[u32]) -> Result<Self> {
        let index = Tensor::from_slice(order, order.len(), &Device::Cpu)?;
        Ok(Self {
            rows: self.rows.index_select(&index, 0)?,
            squares: order.iter().map(|i| self.squares[*i as usize]).collect(),
            own: self.own,
        })
    }
}

/// The vectors in f64, column means taken off, row-major.
pub(super) fn centred(vectors: &Embeddings) -> Vec<f64> {
    let (n, width) = (vectors.rows(), vectors.width);
    let mut mean = vec![0f64; width];
    for row in 0..n {
        mean.iter_mut().zip(vectors.row(row)).for_each(|(m, x)| *m += f64::from(*x) / n as f64);
    }
    (0..n).flat_map(|r| vectors.row(r).iter().zip(&mean).map(|(x, m)| f64::from(*x) - m)).collect()
}

/// `||X'Y||^2`, the squared Frobenius norm.
fn product(x: &Tensor, y: &Tensor) -> Result<f64> {
    Ok(x.t()?.matmul(y)?.sqr()?.sum_all()?.to_scalar::<f64>()?)
}

/// CKA of two sets of as many rows.
///
/// # Errors
/// Where memory is short.
pub fn similarity(x: &Centred, y: &Centred) -> Result<Cka> {
    let cross = product(&x.rows, &y.rows)?;
    let unbiased = hsic(cross, x, y) / (hsic(x.own, x, x) * hsic(y.own, y, y)).sqrt();
    Ok(Cka { biased: cross / (x.own * y.own).sqrt(), unbiased })
}

/// `HSIC_1`: `(tr(KL) + 1'K1 1'L1 / ((n-1)(n-2)) - 2/(n-2) 1'KL1) / (n(n-3))`, K and L without their diagonals. It does not
/// change when columns are centred; of centred columns every row of K sums to minus its diagonal entry. NaN below
/// four rows.
fn hsic(cross: f64, x: &Centred, y: &Centred) -> f64 {
    let n = x.squares.len() as f64;
    if n < 4.0 {
        return f64::NAN;
    }
    let both: f64 = x.squares.iter().zip(&y.squares).map(|(a, b)| a * b).sum();
    let (sx, sy) = (x.squares.iter().sum::<f64>(), y.squares.iter().sum::<f64>());
    (cross - both + sx * sy / ((n - 1.0) * (n - 2.0)) - 2.0 / (n - 2.0) * both) / (n * (n - 3.0))
}
