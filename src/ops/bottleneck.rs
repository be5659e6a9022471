//! A bottleneck: down, GELU, up (Houlsby et al. 2019, section 2.1). Its residual is the caller's.

use candle_core::{Result, Tensor};

use super::gelu::{bias_gelu, gelu_backward};
use super::linear::{linear, linear_backward, matmul};

/// The weights of a bottleneck of width `b`: matrices in the type of the computation, biases f32.
#[derive(Clone, Debug)]
pub struct BottleneckWeights {
    /// `[b, in]`.
    pub down: Tensor,
    /// `[b]`.
    pub down_bias: Tensor,
    /// `[out, b]`.
    pub up: Tensor,
    /// `[out]`.
    pub up_bias: Tensor,
}

/// What the backward pass needs: the bottleneck before and after GELU, `[n, b]` each.
#[derive(Clone, Debug)]
pub struct SavedBottleneck {
    before: Tensor,
    after: Tensor,
}

/// Gradients of a bottleneck.
#[derive(Clone, Debug)]
pub struct BottleneckGradients {
    /// `[n, in]`.
    pub x: Tensor,
    /// Of down, its bias, up, its bias.
    pub weights: [Tensor; 4],
}

/// `GELU(x down^T + down_bias) up^T + up_bias`: `x` is `[n, in]`, the result `[n, out]`.
///
/// # Errors
/// Where shapes, types or devices do not fit.
pub fn bottleneck(x: &Tensor, weights: &BottleneckWeights) -> Result<(Tensor, SavedBottleneck)> {
    let (before, after) = bias_gelu(matmul(x, &weights.down.t()?)?, &weights.down_bias)?;
    let y = linear(&after, &weights.up, &weights.up_bias)?;
    Ok((y, SavedBottleneck { before, after }))
}

/// Gradients from `dy` `[n, out]`, contiguous.
///
/// # Errors
/// Where shapes, types or devices do not fit.
pub fn bottleneck_backward(
    x: &Tensor,
    weights: &BottleneckWeights,
    saved: &SavedBottleneck,
    dy: &Tensor,
) -> Result<BottleneckGradients> {
    let (dafter, up, up_bias) = linear_backward(&saved.after, &weights.up, dy)?;
    let dbefore = gelu_backward(&saved.before, &dafter)?;
    let (x, down, down_bias) = linear_backward(x, &weights.down, &dbefore)?;
    Ok(BottleneckGradients { x, weights: [down, down_bias, up, up_bias] })
}

#[cfg(test)]
pub(super) mod tests {
    use candle_core::DType;

    use super::super::testing::{distance, finite_differences, random};
    use super::*;

    pub fn weights(name: &str, input: usize, width: usize, output: usize) -> BottleneckWeights {
        let of = |part: &str, shape: &[usize]| random(&format!("{name} {part}"), shape);
        BottleneckWeights {
            down: of("down", &[width, input]),
            down_bias: of("down bias", &[width]),
            up: of("up", &[output, width]),
            up_bias: of("up bias", &[output]),
        }
    }

    #[test]
    fn gradients_fit_finite_differences() {
        let (x, w, dy) = (random("x", &[9, 6]), weights("w", 6, 3, 5), random("dy", &[9, 5]));
        let (_, saved) = bottleneck(&x, &w).expect("forward");
        let back = bottleneck_backward(&x, &w, &saved, &dy).expect("backward");
        let y = |x: &Tensor, w: &BottleneckWeights| Ok(bottleneck(x, w)?.0);
        finite_differences(&x, &back.x, &dy, |x| y(x, &w));
        let with = |index: usize, t: &Tensor| {
            let mut w = w.clone();
            *[&mut w.down, &mut w.down_bias, &mut w.up, &mut w.up_bias][index] = t.clone();
            y(&x, &w)
        };
        for (index, start) in [&w.down, &w.down_bias, &w.up, &w.up_bias].into_iter().enumerate() {
            finite_differences(start, &back.weights[index], &dy, |t| with(index, t));
        }
    }

    #[test]
    fn bf16_is_f32_within_its_rounding() {
        let half = |t: &Tensor| t.to_dtype(DType::BF16).expect("bf16");
        let wide = |t: &Tensor| t.to_dtype(DType::F32).expect("f32");
        let (x, dy) = (wide(&half(&random("x", &[9, 6]))), wide(&half(&random("dy", &[9, 5]))));
        let mut w = weights("w", 6, 3, 5);
        (w.down, w.up) = (wide(&half(&w.down)), wide(&half(&w.up)));
        let halved = BottleneckWeights { down: half(&w.down), up: half(&w.up), ..w.clone() };
        let (y, saved) = bottleneck(&x, &w).expect("f32");
        let (rounded, also) = bottleneck(&half(&x), &halved).expect("bf16");
        assert_eq!(rounded.dtype(), DType::BF16);
        assert!(distance(&wide(&rounded), &y) < 0.1);
        let back = bottleneck_backward(&x, &w, &saved, &dy).expect("f32");
        let rounded = bottleneck_backward(&half(&x), &halved, &also, &half(&dy)).expect("bf16");
        assert!(distance(&wide(&rounded.x), &back.x) < 0.3);
        assert!(distance(&wide(&rounded.weights[0]), &back.weights[0]) < 0.3);
    }
}
