//! Sums of gradients, in place where the tensors are in main memory.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::simd::{Kernel, axpy, wide};
use super::{change, halved, is_half, is_host, read, widened};

const TASK: usize = 64 * 1024;

struct Add;

impl Kernel<(&mut [f32], &[f32])> for Add {
    type Out = ();

    #[inline(always)]
    fn run((sum, x): (&mut [f32], &[f32])) {
        axpy(1.0, x, sum);
    }
}

/// `sum + x`, both of one shape and type. In main memory, of f32, `sum` itself is changed, and every view of it with it.
///
/// # Errors
/// Where shapes differ, or the device fails.
pub fn add_to(sum: Tensor, x: &Tensor) -> Result<Tensor> {
    if is_half(&sum) && is_half(x) {
        return halved(&add_to(widened(&sum)?, &widened(x)?)?);
    }
    let is_plain = |t: &Tensor| is_host(t) && t.is_contiguous();
    if !is_plain(&sum) || !is_plain(x) || sum.dims() != x.dims() {
        return sum + x;
    }
    read(x, |x| {
        change(&sum, |sum| {
            sum.par_chunks_mut(TASK).zip(x.par_chunks(TASK)).for_each(wide::<Add, _>);
        })
    })??;
    Ok(sum)
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
