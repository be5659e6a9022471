//! Launches of `kernels/optimiser.cuh`: all parameters in one.

use candle_core::{DType, Device, Result, Tensor, TensorId};

use super::super::adamw::Rates;
use super::{Addresses, Arg, Launch, empty, launch};

/// Numbers a block works on, as in the kernels.
const CHUNK: usize = 16384;

const THREADS: usize = 256;

/// How parameters of these sizes are cut for the kernels.
#[derive(Clone, Debug)]
struct Chunks {
    /// (parameter, chunk) of each block, u32 `[blocks, 2]`.
    table: Tensor,
    /// Numbers of each parameter, u32.
    counts: Tensor,
    blocks: usize,
}

impl Chunks {
    fn new(counts: &[usize], device: &Device) -> Result<Self> {
        let chunks: Vec<u32> = counts
            .iter()
            .enumerate()
            .flat_map(|(slot, &n)| (0..n.div_ceil(CHUNK)).flat_map(move |chunk| [slot as u32, chunk as u32]))
            .collect();
        let blocks = chunks.len() / 2;
        let counts: Vec<u32> = counts.iter().map(|&n| n as u32).collect();
        Ok(Self {
            table: Tensor::from_vec(chunks, (blocks, 2), device)?,
            counts: Tensor::from_slice(&counts, counts.len(), device)?,
            blocks,
        })
    }
}

/// The blocks' sums of squares, f64, of tensors that are cut so.
fn squares(tensors: &Addresses, chunks: &Chunks) -> Result<Tensor> {
    let device = chunks.table.device();
    let partial = empty(chunks.blocks, DType::F64, device)?;
    let args =
        [Arg::Pointers(tensors), Arg::Read(&chunks.table), Arg::Read(&chunks.counts), Arg::Write(&partial)];
    let (grid, shared) = ((chunks.blocks, 1), THREADS * 8);
    launch(device, &Launch { kernel: "squares", grid, threads: THREADS, shared, args: &args })?;
    Ok(partial)
}

/// Euclidean norm over all tensors (f32, contiguous, on one device); the blocks' sums are added in f64.
pub fn global_norm(tensors: &[&Tensor]) -> Result<f64> {
    let Some(first) = tensors.first() else { return Ok(0.0) };
    let counts: Vec<usize> = tensors.iter().map(|t| t.elem_count()).collect();
    let chunks = Chunks::new(&counts, first.device())?;
    let tensors = Addresses::new(tensors.iter().copied().cloned().collect())?;
    Ok(squares(&tensors, &chunks)?.to_vec1::<f64>()?.iter().sum::<f64>().sqrt())
}

/// What stays the same from step to step: how parameters are cut, and where they and their moments lie.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Parameters, first and second moments.
    slots: [Addresses; 3],
    chunks: Chunks,
}

impl Tables {
    /// `old` where it is of these very tensors, else new ones.
    pub fn of(old: Option<Self>, slots: [Vec<&Tensor>; 3]) -> Result<Option<Self>> {
        let ids = |list: &[&Tensor]| -> Vec<TensorId> { list.iter().map(|t| t.id()).collect() };
        let is_same = |old: &Self| {
            let same =
                |(old, new): (&Addresses, &Vec<&Tensor>)| old.tensors.iter().map(Tensor::id).eq(ids(new));
            old.slots.iter().zip(&slots).all(same)
        };
        if old.as_ref().is_some_and(is_same) {
            return Ok(old);
        }
        let Some(first) = slots[0].first() else { return Ok(None) };
        let counts: Vec<usize> = slots[0].iter().map(|t| t.elem_count()).collect();
        let chunks = Chunks::new(&counts, first.device())?;
        let [parameters, firsts, seconds] =
            slots.map(|list| Addresses::new(list.into_iter().cloned().collect()));
        Ok(Some(Self { slots: [parameters?, firsts?, seconds?], chunks }))
    }
}

/// What the gradients of a step are multiplied with.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    Scaled(f64),
    /// Clipped to this norm together (0: not at all), and not used where it or this loss, an f64, is not finite.
    Clipped(f64, Option<&'a Tensor>),
}

/// One update of parameters and moments, in place; `rates[i]` and `keeps[i]`, 1 - learning rate * decay, are those of parameter `i`. Gives,
/// on the device, the gradients' norm and what they were multiplied with, f64; nothing was changed where the norm is not finite.
pub fn adamw(
    tables: &Tables,
    gradients: Vec<Tensor>,
    (keeps, rates): (&[f32], &[Rates]),
    step: Step<'_>,
) -> Result<Tensor> {
    let Tables { slots: [parameters, firsts, seconds], chunks } = tables;
    let device = chunks.table.device();
    let gradients = Addresses::new(gradients)?;
    let control = match step {
        Step::Scaled(scale) => Tensor::from_vec(vec![0.0, scale], 2, device)?,
        Step::Clipped(limit, loss) => {
            let partial = squares(&gradients, chunks)?;
            let control = empty(2, DType::F64, device)?;
            let args = [
                Arg::Read(&partial),
                Arg::or_null(loss),
                Arg::Write(&control),
                Arg::count(chunks.blocks),
                Arg::F32(limit as f32),
            ];
            let shared = THREADS * 8;
            launch(device, &Launch { kernel: "clip", grid: (1, 1), threads: THREADS, shared, args: &args })?;
            control
        }
    };
    let own: Vec<f32> = keeps.iter().zip(rates).flat_map(|(&keep, r)| [keep, r.rate, r.root]).collect();
    let own = Tensor::from_vec(own, (keeps.len(), 3), device)?;
    let Some(Rates { b1, b2, epsilon, .. }) = rates.first().copied() else { return Ok(control) };
    let args = [
        Arg::WritePointers(parameters),
        Arg::WritePointers(firsts),
        Arg::WritePointers(seconds),
        Arg::Pointers(&gradients),
        Arg::Read(&chunks.table),
        Arg::Read(&chunks.counts),
        Arg::Read(&own),
        Arg::Read(&control),
        Arg::F32(b1),
        Arg::F32(b2),
        Arg::F32(epsilon),
    ];
    let grid = (chunks.blocks, 1);
    launch(device, &Launch { kernel: "adamw", grid, threads: THREADS, shared: 0, args: &args })?;
    Ok(control)
}

#[cfg(test)]
mod tests {
    use super::super::emulator::skipped;
    use super::super::testing::close;
    use super::*;
    use crate::ops::testing::{flat, random};
    use crate::ops::{AdamW, global_norm as host_norm};

    #[test]
    fn optimiser_kernels_equal_the_host_form() {
        if skipped("optimiser_kernels_equal_the_host_form") {
            return;
        }
        // The first parameter takes two chunks.
        let shapes: [&[usize]; 3] = [&[CHUNK + 5], &[7, 9], &[3]];
        let make = |name: &str| shapes.map(|shape| random(&format!("{name}{shape:?}"), shape));
        let mut host = make("p");
        let parameters = make("p");
        let zeros = || shapes.map(|shape| Tensor::zeros(shape, DType::F32, &Device::Cpu).expect("zeros"));
        let (firsts, seconds) = (zeros(), zeros());
        let mut tables = None;
        let mut optimiser = AdamW::new(&host, [0.9, 0.98], 1e-8, 0.1).expect("state");
        for step in 1..=3 {
            let gradients = make(&format!("g{step}"));
            let list: Vec<&Tensor> = gradients.iter().collect();
            let norm = global_norm(&list).expect("kernel");
            assert!((norm - host_norm(list.clone()).expect("host")).abs() < 1e-3, "{norm}");
            let options: Vec<_> = gradients.iter().cloned().map(Some).collect();
            optimiser.update(&mut host, &options, &[true, true, false], 0.01, 0.5).expect("host");
            let correct = |beta: f64| 1.0 - beta.powi(step);
            let rates = Rates {
                b1: 0.9,
                b2: 0.98,
                rate: (0.01 / correct(0.9)) as f32,
                root: correct(0.98).sqrt() as f32,
                scale: 1.0,
                epsilon: 1e-8,
            };
            let slots = [&parameters, &firsts, &seconds].map(|list| list.iter().collect());
            tables = Tables::of(tables, slots).expect("tables");
            let tables = tables.as_ref().expect("parameters");
            let (keeps, rates) = ([1.0 - 0.001, 1.0 - 0.001, 1.0], [rates; 3]);
            let run = |step: Step<'_>| {
                adamw(tables, gradients.to_vec(), (&keeps, &rates), step)
                    .and_then(|control| control.to_vec1::<f64>())
                    .expect("kernel")
            };
            // Nothing is changed by gradients or losses that are not finite.
            let before = parameters.each_ref().map(flat);
            let number = |x: f64| Tensor::full(x, (), &Device::Cpu).expect("number");
            assert!(run(Step::Clipped(0.5, Some(&number(f64::NAN))))[0].is_nan());
            assert!(run(Step::Clipped(0.5, Some(&number(f64::INFINITY))))[0].is_nan());
            assert_eq!(parameters.each_ref().map(flat), before);
            if step == 2 {
                // Known beforehand.
                assert_eq!(run(Step::Scaled(0.5)), [0.0, 0.5]);
            } else {
                // Clipping to half the norm is the same.
                let control = run(Step::Clipped(norm / 2.0, (step == 1).then(|| number(3.0)).as_ref()));
                assert!((control[0] - norm).abs() < 1e-9 && (control[1] - 0.5).abs() < 1e-6, "{control:?}");
            }
            for (kernel, host) in parameters.iter().zip(&host) {
                close("parameter", kernel, host, 1e-6);
            }
        }
    }

    #[test]
    fn gradients_that_are_not_finite_change_nothing() {
        if skipped("gradients_that_are_not_finite_change_nothing") {
            return;
        }
        let p = random("p", &[50]);
        let zeros = [p.zeros_like().expect("m"), p.zeros_like().expect("v")];
        let before = flat(&p);
        let tables = Tables::of(None, [vec![&p], vec![&zeros[0]], vec![&zeros[1]]]).expect("tables");
        let tables = tables.expect("one");
        let rates = Rates { b1: 0.9, b2: 0.98, rate: 0.1, root: 0.1, scale: 1.0, epsilon: 1e-8 };
        let update = |g: &Tensor, limit| {
            let control = adamw(&tables, vec![g.clone()], (&[0.9], &[rates]), Step::Clipped(limit, None));
            control.and_then(|c| c.to_vec1::<f64>()).expect("kernel")
        };
        for wrong in [f32::NAN, f32::INFINITY] {
            let mut gradient = vec![1f32; 50];
            gradient[33] = wrong;
            let gradient = Tensor::from_vec(gradient, 50, &Device::Cpu).expect("gradient");
            assert!(!update(&gradient, 1.0)[0].is_finite());
            assert_eq!(flat(&p), before);
            assert_eq!(flat(&zeros[0]), [0.0; 50]);
        }
        let ones = Tensor::ones(50, DType::F32, &Device::Cpu).expect("ones");
        // No limit, and one that is not reached.
        for limit in [0.0, 100.0] {
            let control = update(&ones, limit);
            assert!((control[0] - 50f64.sqrt()).abs() < 1e-9 && control[1] == 1.0, "{control:?}");
        }
        assert!(flat(&p).iter().zip(&before).all(|(a, b)| a != b));
        // The tables of other tensors are new.
        let other = random("q", &[50]);
        let same = |slots| {
            Tables::of(Some(tables.clone()), slots).expect("tables").expect("one").slots[0].tensors[0].id()
        };
        assert_eq!(same([vec![&p], vec![&zeros[0]], vec![&zeros[1]]]), p.id());
        assert_eq!(same([vec![&other], vec![&zeros[0]], vec![&zeros[1]]]), other.id());
    }
}
