//! Rows of a text as one vector: its length, a vector of a given length in its direction, and random directions.
//!
//! A perturbation of a text's word embeddings is a matrix of their shape whose length (the root of the sum of all squares)
//! is bounded: it lies in a ball around them (Miyato et al. 2017, section 3).

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::segments::Segments;
use crate::stream::mix;

/// The length of each text's rows of `x` `[T, H]`; sums in f64.
///
/// # Errors
/// Where the device fails.
pub fn text_norms(x: &Tensor, segments: &Segments) -> Result<Vec<f64>> {
    let squares = x.to_dtype(DType::F32)?.sqr()?.sum(1)?.to_vec1::<f32>()?;
    let of =
        |bounds: &[usize]| squares[bounds[0]..bounds[1]].iter().map(|s| f64::from(*s)).sum::<f64>().sqrt();
    Ok(segments.offsets.windows(2).map(of).collect())
}

/// `direction` `[T, H]`, f32, with each text's rows brought to the length `radii[text]`; a text without a direction stays
/// zero.
///
/// # Errors
/// Where shapes do not fit or the device fails.
pub fn to_radius(direction: &Tensor, segments: &Segments, radii: &[f64]) -> Result<Tensor> {
    let direction = direction.to_dtype(DType::F32)?;
    let norms = text_norms(&direction, segments)?;
    let mut factors = vec![0f32; segments.tokens()];
    for ((bounds, norm), radius) in segments.offsets.windows(2).zip(norms).zip(radii) {
        // Not `norm > 0.0`: a direction that is not finite must not be hidden.
        let factor = if norm == 0.0 { 0.0 } else { radius / norm };
        factors[bounds[0]..bounds[1]].fill(factor as f32);
    }
    let factors = Tensor::from_vec(factors, (segments.tokens(), 1), direction.device())?;
    direction.broadcast_mul(&factors)
}

/// Normal deviates `[T, H]`, f32, each a function of (`key`, the token's own key, the feature): the same in whatever chunk
/// of a batch the text stands.
///
/// # Errors
/// Where the device is out of memory.
pub fn token_noise(key: u64, segments: &Segments, width: usize, like: &Tensor) -> Result<Tensor> {
    let mut data = vec![0f32; segments.tokens() * width];
    data.par_chunks_mut(width.max(1)).zip(&segments.keys).for_each(|(row, token)| {
        let row_key = mix(key ^ token);
        for (index, pair) in row.chunks_mut(2).enumerate() {
            let bits = mix(row_key.wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            // Box and Muller: two deviates from 32 bits each; the first is never 0.
            let radius = (-2.0 * (((bits >> 32) + 1) as f64 / 4_294_967_296.0).ln()).sqrt();
            let (sin, cos) =
                (std::f64::consts::TAU * (bits & 0xffff_ffff) as f64 / 4_294_967_296.0).sin_cos();
            for (x, part) in pair.iter_mut().zip([cos, sin]) {
                *x = (radius * part) as f32;
            }
        }
    });
    Tensor::from_vec(data, (segments.tokens(), width), like.device())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{distance, flat, random};
    use super::*;

    fn segments() -> Segments {
        Segments::new(vec![0, 2, 5, 6], (0..6).collect())
    }

    #[test]
    fn every_text_gets_its_length_and_keeps_its_direction() {
        let x = random("x", &[6, 4]);
        let scaled = to_radius(&x, &segments(), &[0.5, 2.0, 0.0]).expect("scaled");
        let norms = text_norms(&scaled, &segments()).expect("norms");
        for (norm, wanted) in norms.iter().zip([0.5, 2.0, 0.0]) {
            assert!((norm - wanted).abs() < 1e-6, "{norms:?}");
        }
        let (before, after) = (flat(&x), flat(&scaled));
        let factor = after[0] / before[0];
        assert!(before[..8].iter().zip(&after[..8]).all(|(b, a)| (b * factor - a).abs() < 1e-6));
        let zero = to_radius(&x.zeros_like().expect("zeros"), &segments(), &[1.0; 3]).expect("zero");
        assert_eq!(flat(&zero), vec![0.0; 24]);
    }

    #[test]
    fn noise_is_normal_and_belongs_to_the_token() {
        let many = Segments::new(vec![0, 500], (0..500).collect());
        let like = random("like", &[1]);
        let noise = token_noise(3, &many, 101, &like).expect("noise");
        let values = flat(&noise);
        let n = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let variance = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
        let tail = Segments::new(vec![0, 100], (400..500).collect());
        let alone = token_noise(3, &tail, 101, &like).expect("tail");
        assert_eq!(distance(&alone, &noise.narrow(0, 400, 100).expect("rows")), 0.0);
        assert!(distance(&token_noise(4, &tail, 101, &like).expect("other"), &alone) > 1.0);
    }
}
