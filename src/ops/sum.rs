//! Sums of gradients, in place where the tensors are in main memory.

use candle_core::{Result, Tensor};
use half::bf16;
use rayon::prelude::*;

use super::simd::{Kernel, wide};
use super::{Number, change_as, is_half, is_host, read_as};

const TASK: usize = 64 * 1024;

struct Add;

impl<E: Number> Kernel<(&mut [E], &[E])> for Add {
    type Out = ();

    #[inline(always)]
    fn run((sum, x): (&mut [E], &[E])) {
        for (sum, x) in sum.iter_mut().zip(x) {
            *sum = E::near(sum.wide() + x.wide());
        }
    }
}

/// `sum + x`, both of one shape and type. In main memory `sum` itself is changed, and every view of it with it; where `x` is one, the
/// sum is a new tensor.
///
/// # Errors
/// Where shapes differ, or the device fails.
pub fn add_to(sum: Tensor, x: &Tensor) -> Result<Tensor> {
    let is_plain = sum.dims() == x.dims() && sum.is_contiguous() && x.is_contiguous() && !is_shared(&sum, x);
    if is_plain && is_host(&sum) && is_host(x) {
        add::<f32>(&sum, x)?;
    } else if is_plain && is_half(&sum) && is_half(x) {
        add::<bf16>(&sum, x)?;
    } else {
        return sum + x;
    }
    Ok(sum)
}

/// Whether both lie in the same memory, which cannot be read while it is changed.
fn is_shared(a: &Tensor, b: &Tensor) -> bool {
    std::ptr::eq(&raw const *a.storage_and_layout().0, &raw const *b.storage_and_layout().0)
}

fn add<E: Number>(sum: &Tensor, x: &Tensor) -> Result<()> {
    read_as(x, |x: &[E]| {
        change_as(sum, |sum: &mut [E]| {
            sum.par_chunks_mut(TASK).zip(x.par_chunks(TASK)).for_each(wide::<Add, _>);
        })
    })?
}

#[cfg(test)]
mod tests {
    use super::super::testing::{distance, random};
    use super::*;

    #[test]
    fn the_sum_is_in_the_first_tensor() {
        let (a, b) = (random("a", &[300, 301]), random("b", &[300, 301]));
        let wanted = (&a + &b).expect("sum");
        let place = a.clone();
        assert_eq!(distance(&add_to(a, &b).expect("in place"), &wanted), 0.0);
        assert_eq!(distance(&place, &wanted), 0.0, "a view of it sees the change");
        // What lies transposed is added all the same, without a change.
        let across = random("c", &[301, 300]).t().expect("view");
        let wanted = (&across + &b).expect("sum");
        assert_eq!(distance(&add_to(across, &b).expect("apart"), &wanted), 0.0);
        // So is what lies in the same memory.
        let whole = random("f", &[2, 300]);
        let (first, second) = (whole.narrow(0, 0, 1).expect("row"), whole.narrow(0, 1, 1).expect("row"));
        let wanted = (&first + &second).expect("sum");
        assert_eq!(distance(&add_to(first, &second).expect("apart"), &wanted), 0.0);
        let half = b.to_dtype(candle_core::DType::BF16).expect("bf16");
        let wanted = (&half + &half).expect("sum").to_dtype(candle_core::DType::F32).expect("f32");
        let sum = add_to(half.copy().expect("copy"), &half).expect("in place");
        assert_eq!(distance(&sum.to_dtype(candle_core::DType::F32).expect("f32"), &wanted), 0.0);
        assert!(add_to(random("d", &[2, 3]), &random("e", &[3, 2])).is_err());
    }
}
