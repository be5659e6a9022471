//! `AdamW` with decoupled weight decay (Loshchilov and Hutter 2019), and clipping by the global norm.

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

use super::simd::{sum_by, wide};
use super::{change, is_host, read};

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
    /// Updates done.
    pub updates: u64,
    moments: Vec<Moments>,
}

const TASK: usize = 64 * 1024;

/// What one update multiplies with.
#[derive(Clone, Copy)]
struct Rates {
    b1: f32,
    b2: f32,
    rate: f32,
    root: f32,
    keep: f32,
    scale: f32,
    epsilon: f32,
}

/// Parameter, first and second moment, gradient.
type Chunk<'a> = (&'a mut [f32], &'a mut [f32], &'a mut [f32], &'a [f32], Rates);

#[inline(always)]
fn update_chunk((p, m, v, g, r): Chunk<'_>) {
    for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
        let g = g * r.scale;
        *m = r.b1 * *m + (1.0 - r.b1) * g;
        *v = r.b2 * *v + (1.0 - r.b2) * g * g;
        *p = r.keep * *p - r.rate * *m / (v.sqrt() / r.root + r.epsilon);
    }
}

#[inline(always)]
fn squares(x: &[f32]) -> f64 {
    f64::from(sum_by(x.len(), |i| x[i] * x[i]))
}

/// The Euclidean norm over all tensors together; sums in f64.
///
/// # Errors
/// Where the device fails.
pub fn global_norm<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<f64> {
    let mut total = 0f64;
    for tensor in tensors {
        total += if is_host(tensor) {
            read(tensor, |x| {
                let parts: Vec<f64> = x.par_chunks(TASK).map(|x| wide(x, squares)).collect();
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
        let moments = parameters
            .iter()
            .map(|p| {
                Ok(if is_host(p) {
                    Moments::Host(vec![0.0; p.elem_count()], vec![0.0; p.elem_count()])
                } else {
                    Moments::Device(p.zeros_like()?, p.zeros_like()?)
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { betas, epsilon, weight_decay, updates: 0, moments })
    }

    /// One update. `decayed[i]` says whether parameter `i` is decayed; a parameter without a gradient is left
    /// alone; `scale` multiplies every gradient (clipping). Parameters outside main memory are replaced by new tensors.
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
        self.updates += 1;
        let [beta1, beta2] = self.betas;
        let exponent = self.updates as f64;
        let (correct1, correct2) = (1.0 - beta1.powf(exponent), 1.0 - beta2.powf(exponent));
        for (index, parameter) in parameters.iter_mut().enumerate() {
            let Some(gradient) = &gradients[index] else { continue };
            let keep = 1.0 - if decayed[index] { learning_rate * self.weight_decay } else { 0.0 };
            match &mut self.moments[index] {
                Moments::Host(first, second) => {
                    let (b1, b2) = (beta1 as f32, beta2 as f32);
                    let (rate, root) = ((learning_rate / correct1) as f32, correct2.sqrt() as f32);
                    let (keep, scale, epsilon) = (keep as f32, scale as f32, self.epsilon as f32);
                    let rates = Rates { b1, b2, rate, root, keep, scale, epsilon };
                    read(gradient, |gradient| {
                        change(parameter, |parameter| {
                            parameter
                                .par_chunks_mut(TASK)
                                .zip(first.par_chunks_mut(TASK))
                                .zip(second.par_chunks_mut(TASK))
                                .zip(gradient.par_chunks(TASK))
                                .for_each(|(((p, m), v), g)| {
                                    wide((p, m, v, g, rates), update_chunk);
                                });
                        })
                    })??;
                }
                Moments::Device(first, second) => {
                    let gradient = (gradient.to_dtype(DType::F32)? * scale)?;
                    *first = ((&*first * beta1)? + (&gradient * (1.0 - beta1))?)?;
                    *second = ((&*second * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
                    let root = ((&*second / correct2)?.sqrt()? + self.epsilon)?;
                    let step = ((&*first / root)? * (learning_rate / correct1))?;
                    *parameter = ((&*parameter * keep)? - step)?;
                }
            }
        }
        Ok(())
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

    /// Puts saved moments back.
    ///
    /// # Errors
    /// Where their size is another.
    pub fn restore(&mut self, index: usize, first: &Tensor, second: &Tensor) -> Result<()> {
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
    fn norm_is_taken_over_all_tensors() {
        let tensors = [
            Tensor::full(3f32, 1, &Device::Cpu).expect("3"),
            Tensor::full(4f32, 1, &Device::Cpu).expect("4"),
        ];
        assert!((global_norm(&tensors).expect("norm") - 5.0).abs() < 1e-9);
    }
}
