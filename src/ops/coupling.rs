//! An invertible map of two additive couplings (NICE, Dinh et al. 2015), as MAD-X puts after the embeddings
//! (Pfeiffer et al. 2020, section 3.3): `y1 = x1 + F(x2)`, `y2 = x2 + G(y1)` over the two halves of each row.

use candle_core::{Result, Tensor};

use super::bottleneck::{BottleneckWeights, SavedBottleneck, bottleneck, bottleneck_backward};

/// The two maps between the halves, each a bottleneck of `[H / 2]` to `[H / 2]`.
#[derive(Clone, Debug)]
pub struct Coupling {
    pub f: BottleneckWeights,
    pub g: BottleneckWeights,
}

/// What the backward pass needs.
#[derive(Clone, Debug)]
pub struct SavedCoupling {
    right: Tensor,
    left: Tensor,
    f: SavedBottleneck,
    g: SavedBottleneck,
}

/// Gradients of a coupling.
#[derive(Clone, Debug)]
pub struct CouplingGradients {
    /// `[n, H]`.
    pub x: Tensor,
    /// Of F: down, its bias, up, its bias.
    pub f: [Tensor; 4],
    /// Of G.
    pub g: [Tensor; 4],
}

fn halves(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let half = x.dim(1)? / 2;
    Ok((x.narrow(1, 0, half)?.contiguous()?, x.narrow(1, half, half)?.contiguous()?))
}

impl Coupling {
    /// `x` `[n, H]`, `H` even, to `[n, H]`.
    ///
    /// # Errors
    /// Where shapes, types or devices do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<(Tensor, SavedCoupling)> {
        let (left, right) = halves(x)?;
        let (move_left, f) = bottleneck(&right, &self.f)?;
        let left = (left + move_left)?;
        let (move_right, g) = bottleneck(&left, &self.g)?;
        let y = Tensor::cat(&[&left, &(&right + move_right)?], 1)?;
        Ok((y, SavedCoupling { right, left, f, g }))
    }

    /// Gradients from `dy` `[n, H]`.
    ///
    /// # Errors
    /// Where shapes, types or devices do not fit.
    pub fn backward(&self, saved: &SavedCoupling, dy: &Tensor) -> Result<CouplingGradients> {
        let (dleft, dright) = halves(dy)?;
        let g = bottleneck_backward(&saved.left, &self.g, &saved.g, &dright)?;
        let dleft = (dleft + g.x)?;
        let f = bottleneck_backward(&saved.right, &self.f, &saved.f, &dleft)?;
        let x = Tensor::cat(&[&dleft, &(dright + f.x)?], 1)?;
        Ok(CouplingGradients { x, f: f.weights, g: g.weights })
    }
}

#[cfg(test)]
mod tests {
    use super::super::bottleneck::tests::weights;
    use super::super::testing::{distance, finite_differences, random};
    use super::*;

    fn coupling() -> Coupling {
        Coupling { f: weights("f", 4, 2, 4), g: weights("g", 4, 2, 4) }
    }

    #[test]
    fn gradients_fit_finite_differences() {
        let (x, map, dy) = (random("x", &[5, 8]), coupling(), random("dy", &[5, 8]));
        let (_, saved) = map.forward(&x).expect("forward");
        let back = map.backward(&saved, &dy).expect("backward");
        finite_differences(&x, &back.x, &dy, |x| Ok(map.forward(x)?.0));
        let with_f = |down: &Tensor| {
            let f = BottleneckWeights { down: down.clone(), ..map.f.clone() };
            Ok(Coupling { f, ..map.clone() }.forward(&x)?.0)
        };
        finite_differences(&map.f.down, &back.f[0], &dy, with_f);
        let with_g = |up: &Tensor| {
            let g = BottleneckWeights { up: up.clone(), ..map.g.clone() };
            Ok(Coupling { g, ..map.clone() }.forward(&x)?.0)
        };
        finite_differences(&map.g.up, &back.g[2], &dy, with_g);
    }

    #[test]
    fn the_map_can_be_inverted() {
        let (x, map) = (random("x", &[5, 8]), coupling());
        let (left, right) = halves(&map.forward(&x).expect("forward").0).expect("halves");
        let right = (&right - bottleneck(&left, &map.g).expect("G").0).expect("x2");
        let left = (&left - bottleneck(&right, &map.f).expect("F").0).expect("x1");
        assert!(distance(&Tensor::cat(&[&left, &right], 1).expect("x"), &x) < 1e-5);
    }
}
