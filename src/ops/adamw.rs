//! `AdamW` with decoupled weight decay (Loshchilov and Hutter 2019), and clipping by the global norm.

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

use super::contrast::Loss;
use super::simd::{Kernel, sum_by, wide};
use super::{change, device, is_host, read};

/// Moments of one parameter.
#[derive(Clone, Debug)]
enum Moments {
    Host(Vec<f32>, Vec<f32>),
    Device(Tensor, Tensor),
}

/// The optimiser's state over all parameters, in their order.
#[derive(Clone, Debug)]
pub struct AdamW {
    pub betas: [f64; 2],
    pub epsilon: f64,
    pub weight_decay: f64,
    /// Updates that each parameter had: one without a gradient is left alone, and its moments stay as young as they are.
    updates: Vec<u64>,
    moments: Vec<Moments>,
    /// What a GPU keeps of the last update's parameters and moments.
    tables: Option<device::Tables>,
}

const TASK: usize = 64 * 1024;

/// What one update multiplies with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub b1: f32,
    pub b2: f32,
    /// Learning rate over the first moment's bias correction.
    pub rate: f32,
    /// Square root of the second moment's bias correction.
    pub root: f32,
    /// What clipping multiplies gradients with.
    pub scale: f32,
    pub epsilon: f32,
}

/// Parameter, first and second moment, gradient; what decay leaves of the parameter.
type Chunk<'a> = (&'a mut [f32], &'a mut [f32], &'a mut [f32], &'a [f32], f32, Rates);

struct Update;

impl Kernel<Chunk<'_>> for Update {
    type Out = ();

    #[inline(always)]
    fn run((p, m, v, g, keep, r): Chunk<'_>) {
        for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let g = g * r.scale;
            *m = r.b1 * *m + (1.0 - r.b1) * g;
            *v = r.b2 * *v + (1.0 - r.b2) * g * g;
            *p = keep * *p - r.rate * *m / (v.sqrt() / r.root + r.epsilon);
        }
    }
}

struct SumOfSquares;

impl Kernel<&[f32]> for SumOfSquares {
    type Out = f64;

    #[inline(always)]
    fn run(x: &[f32]) -> f64 {
        f64::from(sum_by(x.len(), |i| x[i] * x[i]))
    }
}

/// The Euclidean norm over all tensors together; sums in f64.
///
/// # Errors
/// Where the device fails.
pub fn global_norm<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<f64> {
    let tensors: Vec<&Tensor> = tensors.into_iter().collect();
    if tensors.iter().all(|t| device::fits(t) && t.dtype() == DType::F32) {
        return device::global_norm(&tensors);
    }
    let mut total = 0f64;
    for tensor in tensors {
        total += if is_host(tensor) {
            read(tensor, |x| {
                let parts: Vec<f64> = x.par_chunks(TASK).map(wide::<SumOfSquares, _>).collect();
                parts.iter().sum::<f64>()
            })?
        } else {
            f64::from(tensor.to_dtype(DType::F32)?.sqr()?.sum_all()?.to_scalar::<f32>()?)
        };
    }
    Ok(total.sqrt())
}

impl AdamW {
    /// Fresh state for these parameters.
    ///
    /// # Errors
    /// Where the device is out of memory.
    pub fn new(parameters: &[Tensor], betas: [f64; 2], epsilon: f64, weight_decay: f64) -> Result<Self> {
        Self::partial(parameters, &vec![true; parameters.len()], betas, epsilon, weight_decay)
    }

    /// The same where only some parameters are trained; the others have no state and must have no gradients.
    ///
    /// # Errors
    /// Where the device is out of memory.
    pub fn partial(
        parameters: &[Tensor],
        trainable: &[bool],
        betas: [f64; 2],
        epsilon: f64,
        weight_decay: f64,
    ) -> Result<Self> {
        let moments = parameters
            .iter()
            .zip(trainable)
            .map(|(p, trained)| {
                Ok(if !trained {
                    Moments::Host(Vec::new(), Vec::new())
                } else if is_host(p) {
                    Moments::Host(vec![0.0; p.elem_count()], vec![0.0; p.elem_count()])
                } else {
                    Moments::Device(p.zeros_like()?, p.zeros_like()?)
                })
            })
            .collect::<Result<_>>()?;
        let updates = vec![0; parameters.len()];
        Ok(Self { betas, epsilon, weight_decay, updates, moments, tables: None })
    }

    /// Updates that each parameter had.
    #[must_use]
    pub fn updates(&self) -> &[u64] {
        &self.updates
    }

    /// What an update multiplies with, for a parameter that had `updates` of them with this one.
    fn rates(&self, updates: u64, learning_rate: f64, scale: f64) -> Rates {
        let [beta1, beta2] = self.betas;
        let exponent = updates as f64;
        let (correct1, correct2) = (1.0 - beta1.powf(exponent), 1.0 - beta2.powf(exponent));
        Rates {
            b1: beta1 as f32,
            b2: beta2 as f32,
            rate: (learning_rate / correct1) as f32,
            root: correct2.sqrt() as f32,
            scale: scale as f32,
            epsilon: self.epsilon as f32,
        }
    }

    /// One update. `decayed[i]` says whether parameter `i` is decayed; a parameter without a gradient is left
    /// alone; `scale` multiplies every gradient (clipping). Parameters outside main memory may be replaced by new tensors.
    ///
    /// # Errors
    /// Where shapes do not fit or the device fails.
    pub fn update(
        &mut self,
        parameters: &mut [Tensor],
        gradients: &[Option<Tensor>],
        decayed: &[bool],
        learning_rate: f64,
        scale: f64,
    ) -> Result<()> {
        self.count(gradients, true);
        let weight_decay = self.weight_decay;
        let keep = |index: usize| if decayed[index] { 1.0 - learning_rate * weight_decay } else { 1.0 };
        if parameters.iter().all(device::fits) {
            self.update_on_device(
                parameters,
                gradients,
                decayed,
                learning_rate,
                device::Step::Scaled(scale),
            )?;
            return Ok(());
        }
        for (index, parameter) in parameters.iter_mut().enumerate() {
            let Some(gradient) = &gradients[index] else { continue };
            let keep = keep(index);
            let rates = self.rates(self.updates[index], learning_rate, scale);
            match &mut self.moments[index] {
                Moments::Host(first, second) => {
                    read(gradient, |gradient| {
                        change(parameter, |parameter| {
                            parameter
                                .par_chunks_mut(TASK)
                                .zip(first.par_chunks_mut(TASK))
                                .zip(second.par_chunks_mut(TASK))
                                .zip(gradient.par_chunks(TASK))
                                .for_each(|(((p, m), v), g)| {
                                    wide::<Update, _>((p, m, v, g, keep as f32, rates));
                                });
                        })
                    })??;
                }
                Moments::Device(first, second) => {
                    let gradient = (gradient.to_dtype(DType::F32)? * scale)?;
                    let [beta1, beta2] = self.betas;
                    *first = ((&*first * beta1)? + (&gradient * (1.0 - beta1))?)?;
                    *second = ((&*second * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
                    let root = ((second.sqrt()? / f64::from(rates.root))? + self.epsilon)?;
                    let step = ((&*first / root)? * f64::from(rates.rate))?;
                    *parameter = ((&*parameter * keep)? - step)?;
                }
            }
        }
        Ok(())
    }

    /// One update, as [`AdamW::update`], with gradients that are clipped to a norm of `clip_norm` together (0: not at all); gives their norm
    /// before that. Where the norm or one of the losses that they come from is not finite, parameters and moments stay as they are, and
    /// so that it need not be known before the update begins, a GPU is waited for once, at the end.
    ///
    /// # Errors
    /// As [`AdamW::update`].
    pub fn clipped_update(
        &mut self,
        parameters: &mut [Tensor],
        gradients: &[Option<Tensor>],
        decayed: &[bool],
        learning_rate: f64,
        clip_norm: f64,
        losses: &[Loss],
    ) -> Result<f64> {
        let on_device = |t: &Tensor| device::fits(t) && t.dtype() == DType::F32;
        if !parameters.iter().chain(gradients.iter().flatten()).all(on_device) {
            let norm = global_norm(gradients.iter().flatten())?;
            let mut is_finite = norm.is_finite();
            for loss in losses {
                is_finite &= loss.value()?.is_finite();
            }
            if is_finite {
                let scale = if clip_norm > 0.0 { (clip_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
                self.update(parameters, gradients, decayed, learning_rate, scale)?;
            }
            return Ok(norm);
        }
        // A sum is finite where all its terms are.
        let mut total: Option<Tensor> = None;
        for loss in losses {
            let loss = match loss {
                Loss::Known(value) => Tensor::full(*value, (), parameters[0].device())?,
                Loss::Pending(loss) => loss.clone(),
            };
            total = Some(match total {
                Some(total) => (total + loss)?,
                None => loss,
            });
        }
        self.count(gradients, true);
        let step = device::Step::Clipped(clip_norm, total.as_ref());
        let control = self.update_on_device(parameters, gradients, decayed, learning_rate, step)?;
        let norm = match control {
            Some(control) => control.to_vec1::<f64>()?[0],
            None => 0.0,
        };
        if !norm.is_finite() {
            self.count(gradients, false);
        }
        Ok(norm)
    }

    /// Counts an update of the parameters with a gradient, or takes it back.
    fn count(&mut self, gradients: &[Option<Tensor>], is_more: bool) {
        for (updates, gradient) in self.updates.iter_mut().zip(gradients) {
            let one = u64::from(gradient.is_some());
            *updates = if is_more { *updates + one } else { *updates - one };
        }
    }

    /// All parameters with a gradient in one launch, in place; what [`device::adamw`] gives, or `None` where there are none.
    fn update_on_device(
        &mut self,
        parameters: &[Tensor],
        gradients: &[Option<Tensor>],
        decayed: &[bool],
        learning_rate: f64,
        step: device::Step<'_>,
    ) -> Result<Option<Tensor>> {
        let (mut slots, mut used) = ([Vec::new(), Vec::new(), Vec::new()], Vec::new());
        let (mut keeps, mut rates) = (Vec::new(), Vec::new());
        for (index, gradient) in gradients.iter().enumerate() {
            let (Some(gradient), Moments::Device(first, second)) = (gradient, &self.moments[index]) else {
                continue;
            };
            for (slot, tensor) in slots.iter_mut().zip([&parameters[index], first, second]) {
                slot.push(tensor);
            }
            used.push(gradient.clone());
            keeps.push(if decayed[index] { (1.0 - learning_rate * self.weight_decay) as f32 } else { 1.0 });
            rates.push(self.rates(self.updates[index], learning_rate, 1.0));
        }
        let tables = device::Tables::of(self.tables.take(), slots)?;
        self.tables = tables;
        let Some(tables) = &self.tables else { return Ok(None) };
        Ok(Some(device::adamw(tables, used, (&keeps, &rates), step)?))
    }

    /// The first or the second moment of parameter `index` as little-endian f32.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn moment_bytes(&self, index: usize, is_first: bool) -> Result<Vec<u8>> {
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Ok(match &self.moments[index] {
            Moments::Host(first, second) => bytes(if is_first { first } else { second }),
            Moments::Device(first, second) => {
                let moment = if is_first { first } else { second };
                bytes(&moment.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?)
            }
        })
    }

    /// Puts saved moments back, with the number of updates that made them.
    ///
    /// # Errors
    /// Where their size is another.
    pub fn restore(&mut self, index: usize, first: &Tensor, second: &Tensor, updates: u64) -> Result<()> {
        self.updates[index] = updates;
        match &mut self.moments[index] {
            Moments::Host(m, v) => {
                if first.elem_count() != m.len() || second.elem_count() != v.len() {
                    candle_core::bail!("the optimiser's state has another size");
                }
                *m = first.flatten_all()?.to_vec1()?;
                *v = second.flatten_all()?.to_vec1()?;
            }
            Moments::Device(m, v) => {
                (*m, *v) = (first.to_device(m.device())?, second.to_device(v.device())?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{distance, random};
    use super::*;

    #[test]
    fn host_form_equals_the_formula_written_out() {
        let start = random("p", &[33, 7]);
        let mut host = [start.copy().expect("copy")];
        let mut expected: Vec<f64> =
            super::super::testing::flat(&start).iter().map(|&x| f64::from(x)).collect();
        let (mut m, mut v) = (vec![0f64; 231], vec![0f64; 231]);
        let mut optimiser = AdamW::new(&host, [0.9, 0.999], 1e-8, 0.1).expect("state");
        for step in 1..=5 {
            let gradient = random(&format!("g{step}"), &[33, 7]);
            optimiser.update(&mut host, &[Some(gradient.clone())], &[true], 0.01, 0.5).expect("update");
            for (i, g) in super::super::testing::flat(&gradient).iter().enumerate() {
                let g = f64::from(*g) * 0.5;
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (mh, vh) = (m[i] / (1.0 - 0.9f64.powi(step)), v[i] / (1.0 - 0.999f64.powi(step)));
                expected[i] -= 0.01 * 0.1 * expected[i] + 0.01 * mh / (vh.sqrt() + 1e-8);
            }
        }
        let expected: Vec<f32> = expected.iter().map(|&x| x as f32).collect();
        let expected = Tensor::from_vec(expected, (33, 7), &Device::Cpu).expect("tensor");
        assert!(distance(&host[0], &expected) < 1e-6);
    }

    #[test]
    fn a_parameter_that_was_left_alone_begins_with_its_own_first_update() {
        let start = random("p", &[5, 3]);
        let (gradient, other) = (random("g", &[5, 3]), random("h", &[5, 3]));
        let alone = |p: &Tensor| {
            let mut p = [p.copy().expect("copy")];
            let mut optimiser = AdamW::new(&p, [0.9, 0.999], 1e-8, 0.1).expect("state");
            optimiser.update(&mut p, &[Some(gradient.clone())], &[true], 0.01, 1.0).expect("update");
            p[0].clone()
        };
        let mut both = [start.copy().expect("copy"), start.copy().expect("copy")];
        let mut optimiser = AdamW::partial(&both, &[true, true], [0.9, 0.999], 1e-8, 0.1).expect("state");
        for _ in 0..3 {
            optimiser.update(&mut both, &[Some(other.clone()), None], &[true; 2], 0.01, 1.0).expect("update");
        }
        assert_eq!(distance(&both[1], &start), 0.0);
        optimiser.update(&mut both, &[None, Some(gradient.clone())], &[true; 2], 0.01, 1.0).expect("update");
        assert_eq!(distance(&both[1], &alone(&start)), 0.0);
        assert_eq!(optimiser.updates(), [3, 1]);
    }

    #[test]
    fn what_is_not_finite_changes_nothing() {
        let start = random("p", &[5, 3]);
        let gradient = random("g", &[5, 3]);
        let mut p = [start.copy().expect("copy")];
        let mut optimiser = AdamW::new(&p, [0.9, 0.999], 1e-8, 0.1).expect("state");
        let mut update = |p: &mut [Tensor], g: &Tensor, clip, losses: &[Loss]| {
            optimiser.clipped_update(p, &[Some(g.clone())], &[true], 0.01, clip, losses).expect("update")
        };
        let infinite = (&gradient * f64::INFINITY).expect("infinite");
        assert!(!update(&mut p, &infinite, 1.0, &[]).is_finite());
        update(&mut p, &gradient, 1.0, &[Loss::Known(1.0), Loss::Known(f64::NAN)]);
        assert_eq!(distance(&p[0], &start), 0.0);
        // As if that had not been: the first update, clipped to half the norm.
        let norm = global_norm([&gradient]).expect("norm");
        assert_eq!(update(&mut p, &gradient, norm / 2.0, &[Loss::Known(1.0)]), norm);
        let mut other = [start];
        let mut optimiser = AdamW::new(&other, [0.9, 0.999], 1e-8, 0.1).expect("state");
        let scale = norm / 2.0 / (norm + 1e-6);
        optimiser.update(&mut other, &[Some(gradient)], &[true], 0.01, scale).expect("update");
        assert_eq!(distance(&p[0], &other[0]), 0.0);
    }

    #[test]
    fn norm_is_taken_over_all_tensors() {
        let tensors = [
            Tensor::full(3f32, 1, &Device::Cpu).expect("3"),
            Tensor::full(4f32, 1, &Device::Cpu).expect("4"),
        ];
        assert!((global_norm(&tensors).expect("norm") - 5.0).abs() < 1e-9);
    }
}
