//! `InfoNCE` over in-batch negatives (van den Oord et al. 2018), with its gradients.
//!
//! `L = mean_i -log( exp(s_ii / tau) / sum_j exp(s_ij / tau) )`, with `s_ij` the cosine of question `i` and passage
//! `j`. Nothing is masked here: the batch plan never puts two pairs of one parallel group, or two equal passages,
//! into a batch, so every off-diagonal passage is a true negative.

use candle_core::{D, DType, Result, Tensor, bail};
use rayon::prelude::*;

use super::simd::{Kernel, exp, sum_by, wide};
use super::{change, device, is_host, rows_per_task};

/// A loss that the device may still be computing; whoever asks for its value waits.
#[derive(Clone, Debug)]
pub enum Loss {
    Known(f64),
    /// f64, of no dimension.
    Pending(Tensor),
}

impl Loss {
    /// # Errors
    /// Where the device fails.
    pub fn value(&self) -> Result<f64> {
        match self {
            Self::Known(value) => Ok(*value),
            Self::Pending(value) => value.to_scalar(),
        }
    }

    /// The mean of two.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn midpoint(&self, other: &Self) -> Result<Self> {
        match (self, other) {
            (Self::Pending(a), Self::Pending(b)) => Ok(Self::Pending(((a + b)? / 2.0)?)),
            _ => Ok(Self::Known(f64::midpoint(self.value()?, other.value()?))),
        }
    }
}

/// Loss and gradients of a batch.
#[derive(Debug)]
pub struct Contrast {
    /// Mean over the questions, in nats.
    pub loss: Loss,
    /// Gradient with respect to the question vectors, `[N, H]`.
    pub questions: Tensor,
    /// Gradient with respect to the passage vectors, `[M, H]`.
    pub passages: Tensor,
}

/// The loss of unit vectors `questions` `[N, H]` against `passages` `[M, H]`, `M >= N`; passage `i` answers
/// question `i`, and all others are negatives.
///
/// # Errors
/// Where there are no questions, or fewer passages than questions, or the device fails.
pub fn info_nce(questions: &Tensor, passages: &Tensor, temperature: f64) -> Result<Contrast> {
    let (n, m) = (questions.dim(0)?, passages.dim(0)?);
    if n == 0 || m < n {
        bail!("a batch needs a question, and a passage for each: {n} questions and {m} passages");
    }
    let cosines = questions.matmul(&passages.t()?)?;
    if device::fits(&cosines) {
        let (losses, gradient) = device::cross_entropy(&cosines, temperature)?;
        let loss = losses.to_dtype(DType::F64)?.mean_all()?;
        return gradients(Loss::Pending(loss), &gradient, questions, passages);
    }
    if is_host(&cosines) {
        return host(&cosines, questions, passages, temperature);
    }
    portable(&cosines, questions, passages, temperature)
}

/// A question's cosines, its place, what the temperature multiplies them with, and the number of questions.
type Row<'a> = (&'a mut [f32], usize, f32, usize);

struct CrossEntropy;

impl Kernel<Row<'_>> for CrossEntropy {
    type Out = f64;

    /// The question's loss; its cosines become their gradient.
    #[inline(always)]
    fn run((z, target, inverse, questions): Row<'_>) -> f64 {
        let highest = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let at_target = f64::from((z[target] - highest) * inverse);
        for z in z.iter_mut() {
            *z = exp((*z - highest) * inverse);
        }
        let sum = sum_by(z.len(), |j| z[j]);
        let (scale, whole) = (inverse / questions as f32 / sum, inverse / questions as f32);
        for z in z.iter_mut() {
            *z *= scale;
        }
        z[target] -= whole;
        f64::from(sum).ln() - at_target
    }
}

fn host(cosines: &Tensor, questions: &Tensor, passages: &Tensor, temperature: f64) -> Result<Contrast> {
    let (n, m) = cosines.dims2()?;
    let inverse = (1.0 / temperature) as f32;
    let mut losses = vec![0f64; n];
    let task = rows_per_task(n);
    change(cosines, |z| {
        let rows = z.par_chunks_mut(task * m).zip(losses.par_chunks_mut(task)).enumerate();
        rows.for_each(|(first, (z, losses))| {
            for (row, (z, loss)) in z.chunks_mut(m).zip(losses).enumerate() {
                *loss = wide::<CrossEntropy, _>((z, first * task + row, inverse, n));
            }
        });
    })?;
    gradients(Loss::Known(losses.iter().sum::<f64>() / n as f64), cosines, questions, passages)
}

/// Through candle's operations, for devices without a form of their own.
fn portable(cosines: &Tensor, questions: &Tensor, passages: &Tensor, temperature: f64) -> Result<Contrast> {
    let (n, m) = cosines.dims2()?;
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
    let loss = (sums.log()? - at_target)?.to_dtype(DType::F64)?.mean_all()?;
    let gradient = ((exponentials.broadcast_div(&sums)? - target)? / (n as f64 * temperature))?;
    gradients(Loss::Pending(loss), &gradient, questions, passages)
}

/// From the gradient of the cosines, `[N, M]`, to those of the vectors.
fn gradients(loss: Loss, gradient: &Tensor, questions: &Tensor, passages: &Tensor) -> Result<Contrast> {
    Ok(Contrast { loss, questions: gradient.matmul(passages)?, passages: gradient.t()?.matmul(questions)? })
}

#[cfg(test)]
mod tests {
    use super::super::normalise;
    use super::super::testing::{distance, finite_differences, flat, random};
    use super::*;

    fn value(contrast: &Contrast) -> f64 {
        contrast.loss.value().expect("value")
    }

    #[test]
    fn gradients_fit_finite_differences() {
        let (q, _) = normalise(&random("q", &[6, 8])).expect("q");
        let (p, _) = normalise(&random("p", &[9, 8])).expect("p");
        let contrast = info_nce(&q, &p, 0.3).expect("loss");
        let one = Tensor::ones(1, DType::F32, q.device()).expect("one");
        let loss = |q: &Tensor, p: &Tensor| {
            Tensor::from_vec(vec![info_nce(q, p, 0.3)?.loss.value()? as f32], 1, q.device())
        };
        finite_differences(&q, &contrast.questions, &one, |q| loss(q, &p));
        finite_differences(&p, &contrast.passages, &one, |p| loss(&q, p));
    }

    #[test]
    fn the_host_form_equals_the_portable_one() {
        let (n, m) = (35, 51);
        let (q, _) = normalise(&random("q", &[n, 24])).expect("q");
        let (p, _) = normalise(&random("p", &[m, 24])).expect("p");
        for temperature in [0.01, 0.05, 1.0] {
            let cosines = q.matmul(&p.t().expect("t")).expect("cosines");
            let portable = portable(&cosines, &q, &p, temperature).expect("portable");
            let host = info_nce(&q, &p, temperature).expect("host");
            let [ours, theirs] = [&host, &portable].map(|c| c.loss.value().expect("value"));
            let off = (ours - theirs).abs();
            assert!(off < 1e-6 * theirs.abs().max(1.0), "{temperature}: {off:e}");
            for (own, other) in [(&host.questions, &portable.questions), (&host.passages, &portable.passages)]
            {
                let largest = flat(other).iter().fold(0f32, |a, x| a.max(x.abs()));
                assert!(distance(own, other) < 3e-6 * largest, "{temperature}");
            }
        }
    }

    #[test]
    fn a_loss_that_is_not_a_number_stays_one() {
        let wrong = Tensor::full(f32::NAN, (3, 4), &candle_core::Device::Cpu).expect("NaN");
        assert!(value(&info_nce(&wrong, &wrong, 0.05).expect("loss")).is_nan());
    }

    #[test]
    fn the_mean_of_two_losses_waits_only_where_one_is_known() {
        let pending = |x: f64| Loss::Pending(Tensor::full(x, (), &candle_core::Device::Cpu).expect("number"));
        let both = pending(3.0).midpoint(&pending(5.0)).expect("mean");
        assert!(matches!(both, Loss::Pending(_)) && both.value().expect("value") == 4.0);
        assert_eq!(Loss::Known(1.0).midpoint(&both).and_then(|l| l.value()).expect("value"), 2.5);
    }

    #[test]
    fn equal_vectors_cost_the_logarithm_of_the_batch() {
        let same = Tensor::ones((5, 4), DType::F32, &candle_core::Device::Cpu).expect("ones");
        let loss = value(&info_nce(&same, &same, 0.05).expect("loss"));
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
        assert!((value(&contrast) - (sum.ln() - 2.0)).abs() < 1e-6, "{contrast:?}");
        // The negative's gradient: each question pulls with its probability over (2 questions x temperature).
        let pull = 2f64.sqrt().exp() / sum;
        let gradient = contrast.passages.to_vec2::<f32>().expect("gradient");
        for value in &gradient[2] {
            assert!((f64::from(*value) - pull).abs() < 1e-6, "{value} {pull}");
        }
        let alone = value(&info_nce(&questions, &passages.narrow(0, 0, 2).expect("two"), 0.5).expect("loss"));
        assert!((alone - ((2f64.exp() + 1.0).ln() - 2.0)).abs() < 1e-6 && alone < value(&contrast));
    }
}
