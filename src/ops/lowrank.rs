//! Low-rank changes of a linear map: `LoRA` (Hu et al. 2021, section 4.1).
//!
//! Several maps of the same input, such as query, key and value, are `blocks` of one: their `A` stand one below the other,
//! and so do their `B`.

use candle_core::{Result, Tensor};

use super::linear::matmul;

/// The weights, in the type of the computation.
#[derive(Clone, Debug)]
pub struct LowRank {
    /// `[blocks * rank, in]`.
    pub a: Tensor,
    /// `[blocks * out, rank]`.
    pub b: Tensor,
    /// `alpha / rank`.
    pub scale: f64,
}

/// Gradients of a low-rank map.
#[derive(Clone, Debug)]
pub struct LowRankGradients {
    /// `[n, in]`.
    pub x: Tensor,
    pub a: Tensor,
    pub b: Tensor,
}

impl LowRank {
    fn rank(&self) -> Result<usize> {
        self.b.dim(1)
    }

    fn blocks(&self) -> Result<usize> {
        Ok(self.a.dim(0)? / self.rank()?)
    }

    /// `scale * x A^T B^T`, block by block, and `x A^T`, which the backward pass needs: `x` is `[n, in]`, the result
    /// `[n, blocks * out]`.
    ///
    /// # Errors
    /// Where shapes, types or devices do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (rank, blocks) = (self.rank()?, self.blocks()?);
        let out = self.b.dim(0)? / blocks;
        let inner = matmul(x, &self.a.t()?)?;
        let parts = (0..blocks)
            .map(|block| {
                let inner = inner.narrow(1, block * rank, rank)?.contiguous()?;
                matmul(&inner, &self.b.narrow(0, block * out, out)?.t()?)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(((joined(&parts, 1)? * self.scale)?, inner))
    }

    /// Gradients from `dy` `[n, blocks * out]`; `inner` as the forward pass gave it.
    ///
    /// # Errors
    /// Where shapes, types or devices do not fit.
    pub fn backward(&self, x: &Tensor, inner: &Tensor, dy: &Tensor) -> Result<LowRankGradients> {
        let (rank, blocks) = (self.rank()?, self.blocks()?);
        let out = self.b.dim(0)? / blocks;
        let dy = (dy * self.scale)?;
        let (mut dinner, mut db) = (Vec::new(), Vec::new());
        for block in 0..blocks {
            let dy = dy.narrow(1, block * out, out)?.contiguous()?;
            let inner = inner.narrow(1, block * rank, rank)?.contiguous()?;
            dinner.push(matmul(&dy, &self.b.narrow(0, block * out, out)?)?);
            db.push(matmul(&dy.t()?, &inner)?);
        }
        let dinner = joined(&dinner, 1)?;
        Ok(LowRankGradients { x: matmul(&dinner, &self.a)?, a: matmul(&dinner.t()?, x)?, b: joined(&db, 0)? })
    }

    /// The change of the map's weights, `[blocks * out, in]`: what merging adds to them.
    ///
    /// # Errors
    /// Where shapes, types or devices do not fit.
    pub fn change(&self) -> Result<Tensor> {
        let (rank, blocks) = (self.rank()?, self.blocks()?);
        let out = self.b.dim(0)? / blocks;
        let parts = (0..blocks)
            .map(|block| {
                let a = self.a.narrow(0, block * rank, rank)?;
                matmul(&self.b.narrow(0, block * out, out)?, &a)
            })
            .collect::<Result<Vec<_>>>()?;
        joined(&parts, 0)? * self.scale
    }
}

fn joined(parts: &[Tensor], dim: usize) -> Result<Tensor> {
    match parts {
        [one] => Ok(one.clone()),
        many => Tensor::cat(many, dim),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::testing::{distance, finite_differences, random};
    use super::*;

    fn map() -> LowRank {
        LowRank { a: random("a", &[3 * 2, 6]), b: random("b", &[3 * 4, 2]), scale: 0.5 }
    }

    #[test]
    fn gradients_fit_finite_differences() {
        let (x, map, dy) = (random("x", &[7, 6]), map(), random("dy", &[7, 12]));
        let (_, inner) = map.forward(&x).expect("forward");
        let back = map.backward(&x, &inner, &dy).expect("backward");
        finite_differences(&x, &back.x, &dy, |x| Ok(map.forward(x)?.0));
        let with_a = |a: &Tensor| Ok(LowRank { a: a.clone(), ..map.clone() }.forward(&x)?.0);
        finite_differences(&map.a, &back.a, &dy, with_a);
        let with_b = |b: &Tensor| Ok(LowRank { b: b.clone(), ..map.clone() }.forward(&x)?.0);
        finite_differences(&map.b, &back.b, &dy, with_b);
    }

    #[test]
    fn each_block_has_its_own_a_and_b_and_the_change_is_the_map() {
        let (x, map) = (random("x", &[7, 6]), map());
        let (y, _) = map.forward(&x).expect("forward");
        for block in 0..3 {
            let a = map.a.narrow(0, 2 * block, 2).expect("a");
            let b = map.b.narrow(0, 4 * block, 4).expect("b");
            let own = (x.matmul(&a.t().expect("t")).expect("xA").matmul(&b.t().expect("t")).expect("xAB")
                * 0.5)
                .expect("scaled");
            assert!(distance(&own, &y.narrow(1, 4 * block, 4).expect("columns")) < 1e-5);
        }
        let change = map.change().expect("change");
        assert!(distance(&x.matmul(&change.t().expect("t")).expect("product"), &y) < 1e-5);
    }

    #[test]
    fn bf16_is_f32_within_its_rounding() {
        let half = |t: &Tensor| t.to_dtype(DType::BF16).expect("bf16");
        let wide = |t: &Tensor| t.to_dtype(DType::F32).expect("f32");
        let [x, a, b, dy] = [("x", [7, 6]), ("a", [6, 6]), ("b", [12, 2]), ("dy", [7, 12])]
            .map(|(n, s)| wide(&half(&random(n, &s))));
        let map = LowRank { a: a.clone(), b: b.clone(), scale: 0.5 };
        let rounded = LowRank { a: half(&a), b: half(&b), scale: 0.5 };
        let ((y, inner), (also, rough)) =
            (map.forward(&x).expect("f32"), rounded.forward(&half(&x)).expect("bf16"));
        assert_eq!(also.dtype(), DType::BF16);
        assert!(distance(&wide(&also), &y) < 0.1);
        let back = map.backward(&x, &inner, &dy).expect("f32");
        let rough = rounded.backward(&half(&x), &rough, &half(&dy)).expect("bf16");
        assert!(distance(&wide(&rough.x), &back.x) < 0.3 && distance(&wide(&rough.a), &back.a) < 0.3);
    }
}
