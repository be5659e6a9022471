//! Embedding look-up and its gradient, a scatter-add into a dense table.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::simd::axpy;
use super::{is_host, read};

/// Rows `ids` of `table` `[vocabulary, H]`, as `[T, H]`.
///
/// # Errors
/// Where an id lies outside the table.
pub fn gather(table: &Tensor, ids: &[u32]) -> Result<Tensor> {
    table.index_select(&Tensor::from_slice(ids, ids.len(), table.device())?, 0)
}

/// The gradient of [`gather`] with respect to the table: row `ids[t]` receives the sum of `dy[t]`.
/// `dy` is `[T, H]`; the result is f32 `[rows, H]`.
///
/// # Errors
/// Where an id lies outside the table.
pub fn scatter_add(rows: usize, ids: &[u32], dy: &Tensor) -> Result<Tensor> {
    let width = dy.dim(1)?;
    if let Some(id) = ids.iter().find(|&&id| id as usize >= rows) {
        candle_core::bail!("token id {id} lies outside the embedding table of {rows} rows");
    }
    if !is_host(dy) {
        let table = Tensor::zeros((rows, width), DType::F32, dy.device())?;
        let ids = Tensor::from_slice(ids, ids.len(), dy.device())?;
        return table.index_add(&ids, &dy.to_dtype(DType::F32)?, 0);
    }
    let mut table = vec![0f32; rows * width];
    // Each task owns a range of rows and walks all ids: no locks, and a fixed order of additions.
    let task = rows.div_ceil(rayon::current_num_threads()).max(1);
    read(dy, |dy| {
        table.par_chunks_mut(task * width).enumerate().for_each(|(index, part)| {
            let first = index * task;
            for (token, &id) in ids.iter().enumerate() {
                let Some(row) = (id as usize).checked_sub(first).filter(|r| *r < task) else { continue };
                if let Some(slot) = part.get_mut(row * width..(row + 1) * width) {
                    axpy(1.0, &dy[token * width..(token + 1) * width], slot);
                }
            }
        });
    })?;
    Tensor::from_vec(table, (rows, width), dy.device())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{distance, finite_differences, random};
    use super::*;

    #[test]
    fn scatter_is_the_gradient_of_gather() {
        let table = random("table", &[9, 4]);
        let ids = [3u32, 0, 3, 8, 8, 8];
        let dy = random("dy", &[6, 4]);
        let gradient = scatter_add(9, &ids, &dy).expect("scatter");
        finite_differences(&table, &gradient, &dy, |t| gather(t, &ids));
        let wide = dy.to_dtype(DType::F64).expect("f64");
        assert!(distance(&gradient, &scatter_add(9, &ids, &wide).expect("portable")) < 1e-5);
        assert!(scatter_add(3, &ids, &dy).is_err());
    }
}
