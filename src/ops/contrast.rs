//! `InfoNCE` over in-batch negatives (van den Oord et al. 2018), with its gradients.
//!
//! `L = mean_i -log( exp(s_ii / tau) / sum_j exp(s_ij / tau) )`, with `s_ij` the cosine of question `i` and passage
//! `j`. Nothing is masked here: the batch plan never puts two pairs of one parallel group, or two equal passages,
//! into a batch, so every off-diagonal passage is a true negative.

use candle_core::{D, DType, Result, Tensor};

use super::device;

/// Loss and gradients of a batch.
#[derive(Debug)]
pub struct Contrast {
    /// Mean over the questions, in nats.
    pub loss: f64,
    /// Gradient with respect to the question vectors, `[N, H]`.
    pub questions: Tensor,
    /// Gradient with respect to the passage vectors, `[M, H]`.
    pub passages: Tensor,
}

/// The loss of unit vectors `questions` `[N, H]` against `passages` `[M, H]`, `M >= N`; passage `i` answers
/// question `i`, and all others are negatives.
///
/// # Errors
/// Where the device fails.
pub fn info_nce(questions: &Tensor, passages: &Tensor, temperature: f64) -> Result<Contrast> {
    let n = questions.dim(0)?;
    let m = passages.dim(0)?;
    let cosines = questions.matmul(&passages.t()?)?;
    if device::fits(&cosines) {
        let (losses, gradient) = device::cross_entropy(&cosines, temperature)?;
        let loss = losses.to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()?;
        return gradients(loss, &gradient, questions, passages);
    }
    let logits = (cosines / temperature)?;
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
    let exponentials = shifted.exp()?;
    let sums = exponentials.sum_keepdim(D::Minus1)?;
    let mut target = vec![0f32; n * m];
    for row in 0..n {
        target[row * m + row] = 1.0;
    }
    let target = Tensor::from_vec(target, (n, m), questions.device())?.to_dtype(logits.dtype())?;
    let at_target = (&shifted * &target)?.sum_keepdim(D::Minus1)?;
    let loss = (sums.log()? - at_target)?.to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()?;
    let gradient = ((exponentials.broadcast_div(&sums)? - target)? / (n as f64 * temperature))?;
    gradients(loss, &gradient, questions, passages)
}

/// From the gradient of the cosines, `[N, M]`, to those of the vectors.
fn gradients(loss: f64, gradient: &Tensor, questions: &Tensor, passages: &Tensor) -> Result<Contrast> {
    Ok(Contrast { loss, questions: gradient.matmul(passages)?, passages: gradient.t()?.matmul(questions)? })
}

#[cfg(test)]
mod tests {
    use super::super::normalise;
    use super::super::testing::{finite_differences, random};
    use super::*;

    #[test]
    fn gradients_fit_finite_differences() {
        let (q, _) = normalise(&random("q", &[6, 8])).expect("q");
        let (p, _) = normalise(&random("p", &[9, 8])).expect("p");
        let contrast = info_nce(&q, &p, 0.3).expect("loss");
        let one = Tensor::ones(1, DType::F32, q.device()).expect("one");
        let loss =
            |q: &Tensor, p: &Tensor| Tensor::from_vec(vec![info_nce(q, p, 0.3)?.loss as f32], 1, q.device());
        finite_differences(&q, &contrast.questions, &one, |q| loss(q, &p));
        finite_differences(&p, &contrast.passages, &one, |p| loss(&q, p));
    }

    #[test]
    fn equal_vectors_cost_the_logarithm_of_the_batch() {
        let same = Tensor::ones((5, 4), DType::F32, &candle_core::Device::Cpu).expect("ones");
        let loss = info_nce(&same, &same, 0.05).expect("loss").loss;
        assert!((loss - 5f64.ln()).abs() < 1e-6, "{loss}");
    }

    #[test]
    fn a_hard_negative_is_one_more_column_for_every_question() {
        let device = &candle_core::Device::Cpu;
        // Two questions along the axes; passages: the two answers, then a hard negative at 45 degrees.
        let half = 0.5f32.sqrt();
        let questions = Tensor::new(&[[1f32, 0.0], [0.0, 1.0]], device).expect("questions");
        let passages = Tensor::new(&[[1f32, 0.0], [0.0, 1.0], [half, half]], device).expect("passages");
        let contrast = info_nce(&questions, &passages, 0.5).expect("loss");
        // Scores over the temperature: 2, 0 and sqrt(2).
        let sum = 2f64.exp() + 1.0 + 2f64.sqrt().exp();
        assert!((contrast.loss - (sum.ln() - 2.0)).abs() < 1e-6, "{}", contrast.loss);
        // The negative's gradient: each question pulls with its probability over (2 questions x temperature).
        let pull = 2f64.sqrt().exp() / sum;
        let gradient = contrast.passages.to_vec2::<f32>().expect("gradient");
        for value in &gradient[2] {
            assert!((f64::from(*value) - pull).abs() < 1e-6, "{value} {pull}");
        }
        let alone = info_nce(&questions, &passages.narrow(0, 0, 2).expect("two"), 0.5).expect("loss").loss;
        assert!((alone - ((2f64.exp() + 1.0).ln() - 2.0)).abs() < 1e-6 && alone < contrast.loss);
    }
}
