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

/// `sum + x`, both of one shape and type. In main memory `sum` itself is changed, and every view of it with it.
///
/// # Errors
/// Where shapes differ, or the device fails.
pub fn add_to(sum: Tensor, x: &Tensor) -> Result<Tensor> {
    let is_plain = sum.dims() == x.dims() && sum.is_contiguous() && x.is_contiguous();
    if is_plain && is_host(&sum) && is_host(x) {
        add::<f32>(&sum, x)?;
    } else if is_plain && is_half(&sum) && is_half(x) {
        add::<bf16>(&sum, x)?;
    } else {
        return sum + x;
    }
    Ok(sum)
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
        assert!(add_to(random("d", &[2, 3]), &random("e", &[3, 2])).is_err());
    }
}
