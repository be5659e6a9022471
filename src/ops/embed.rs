//! Embedding look-up and its gradient, a scatter-add into a dense table.

use candle_core::{DType, Result, Tensor, bail};
use half::bf16;
use rayon::prelude::*;

use super::fresh::Fresh;
use super::linear::column_sum;
use super::simd::{Kernel, wide};
use super::{Number, change, device, is_half, is_host, read, read_as, rows_per_task};

/// Each token's word, position and type embedding, added up: `[T, H]` in `dtype`. The tables are f32; every token has the
/// type of `kind`'s first row. `ids` and `positions` have `T` numbers each.
///
/// # Errors
/// Where an id or a position lies outside its table, or there are not as many of both.
pub fn embed(
    word: &Tensor,
    position: &Tensor,
    kind: &Tensor,
    ids: &[u32],
    positions: &[u32],
    dtype: DType,
) -> Result<Tensor> {
    if ids.len() != positions.len() {
        bail!("{} token ids need as many positions, not {}", ids.len(), positions.len());
    }
    if device::fits(word) {
        return device::embed(word, position, kind, ids, positions, dtype);
    }
    match dtype {
        DType::F32 if is_host(word) => return host::<f32>(word, position, kind, ids, positions),
        DType::BF16 if is_host(word) => return host::<bf16>(word, position, kind, ids, positions),
        _ => (),
    }
    let sum = (gather(word, ids)? + gather(position, positions)?)?;
    sum.broadcast_add(&kind.narrow(0, 0, 1)?)?.to_dtype(dtype)
}

/// Rows to fill; then for each its row of the words' table and of the positions', and what is added to all.
type Sums<'a, E> = (&'a mut [E], (&'a [u32], &'a [u32]), (&'a [f32], &'a [f32]), &'a [f32]);

struct Embed;

impl<E: Number> Kernel<Sums<'_, E>> for Embed {
    type Out = ();

    #[inline(always)]
    fn run((out, (ids, positions), (word, position), kind): Sums<'_, E>) {
        let width = kind.len();
        for ((out, &id), &place) in out.chunks_exact_mut(width).zip(ids).zip(positions) {
            let (word, place) =
                (&word[id as usize * width..][..width], &position[place as usize * width..][..width]);
            for (((out, w), p), k) in out.iter_mut().zip(word).zip(place).zip(kind) {
                *out = E::near(w + p + k);
            }
        }
    }
}

fn host<E: Number>(
    word: &Tensor,
    position: &Tensor,
    kind: &Tensor,
    ids: &[u32],
    positions: &[u32],
) -> Result<Tensor> {
    check(word.dim(0)?, ids)?;
    let places = position.dim(0)?;
    if let Some(place) = positions.iter().find(|&&p| p as usize >= places) {
        bail!("position {place} lies outside the table of {places} positions");
    }
    let (tokens, width) = (ids.len(), word.dim(1)?);
    let kind = kind.narrow(0, 0, 1)?.flatten_all()?.to_vec1::<f32>()?;
    let mut out = Fresh::<E>::new(tokens * width);
    let task = rows_per_task(tokens);
    read(word, |word| {
        read(position, |position| {
            let rows = out.chunks(task * width).zip(ids.par_chunks(task)).zip(positions.par_chunks(task));
            rows.for_each(|((out, ids), positions)| {
                wide::<Embed, _>((out.zeros(), (ids, positions), (word, position), kind.as_slice()));
            });
        })
    })??;
    Tensor::from_vec(out.done(), (tokens, width), word.device())
}

/// Rows `ids` of `table` `[vocabulary, H]`, as `[T, H]`.
///
/// # Errors
/// Where an id lies outside the table.
pub fn gather(table: &Tensor, ids: &[u32]) -> Result<Tensor> {
    table.index_select(&Tensor::from_slice(ids, ids.len(), table.device())?, 0)
}

/// The gradient of a look-up with respect to the table: row `ids[t]` receives the sum of `dy[t]`.
/// `dy` is `[T, H]`; the result is f32 `[rows, H]`.
///
/// # Errors
/// Where an id lies outside the table.
pub fn scatter_add(rows: usize, ids: &[u32], dy: &Tensor) -> Result<Tensor> {
    check(rows, ids)?;
    scatter_add_to(Tensor::zeros((rows, dy.dim(1)?), DType::F32, dy.device())?, ids, dy)
}

/// Adds what [`scatter_add`] gives to `table`, f32: in place where it can, as a large vocabulary's table is by far the
/// largest thing that a pass would otherwise fill with zeros, add and throw away.
///
/// # Errors
/// As [`scatter_add`].
pub fn scatter_add_to(table: Tensor, ids: &[u32], dy: &Tensor) -> Result<Tensor> {
    check(table.dim(0)?, ids)?;
    if device::fits(dy) {
        device::scatter_rows(&table, ids, dy)?;
    } else if is_host(dy) {
        add_rows::<f32>(&table, ids, dy)?;
    } else if is_half(dy) {
        add_rows::<bf16>(&table, ids, dy)?;
    } else {
        let ids = Tensor::from_slice(ids, ids.len(), dy.device())?;
        return table.index_add(&ids, &dy.to_dtype(DType::F32)?, 0);
    }
    Ok(table)
}

fn check(rows: usize, ids: &[u32]) -> Result<()> {
    match ids.iter().find(|&&id| id as usize >= rows) {
        Some(id) => bail!("token id {id} lies outside the embedding table of {rows} rows"),
        None => Ok(()),
    }
}

/// Some rows of a table, and the number of the first; then the row that each token adds to, and what.
type PartOfTable<'a, E> = (&'a mut [f32], usize, &'a [u32], &'a [E], usize);

struct AddRows;

impl<E: Number> Kernel<PartOfTable<'_, E>> for AddRows {
    type Out = ();

    #[inline(always)]
    fn run((part, first, ids, dy, width): PartOfTable<'_, E>) {
        for (dy, &id) in dy.chunks_exact(width).zip(ids) {
            let Some(row) = (id as usize).checked_sub(first) else { continue };
            if let Some(slot) = part.get_mut(row * width..(row + 1) * width) {
                for (sum, dy) in slot.iter_mut().zip(dy) {
                    *sum += dy.wide();
                }
            }
        }
    }
}

/// Adds `dy[t]` to row `ids[t]` of a table in main memory.
fn add_rows<E: Number>(table: &Tensor, ids: &[u32], dy: &Tensor) -> Result<()> {
    let (rows, width) = table.dims2()?;
    // Each task owns a range of rows and walks all ids: no locks, and a fixed order of additions.
    let task = rows.div_ceil(rayon::current_num_threads()).max(1);
    read_as(dy, |dy: &[E]| {
        change(table, |table| {
            table.par_chunks_mut(task * width).enumerate().for_each(|(index, part)| {
                wide::<AddRows, _>((part, index * task, ids, dy, width));
            });
        })
    })?
}

/// The gradient of a table `[rows, H]` of which every token uses the first row; f32.
///
/// # Errors
/// Where the device fails.
pub fn first_row(rows: usize, dy: &Tensor) -> Result<Tensor> {
    let sum = column_sum(dy)?.to_dtype(DType::F32)?.unsqueeze(0)?;
    if rows == 1 {
        return Ok(sum);
    }
    let others = Tensor::zeros((rows - 1, dy.dim(1)?), DType::F32, dy.device())?;
    Tensor::cat(&[sum, others], 0)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::testing::{distance, finite_differences, random};
    use super::*;

    #[test]
    fn the_host_form_equals_the_portable_one() {
        let tables = [random("word", &[30, 12]), random("position", &[40, 12]), random("kind", &[2, 12])];
        let (ids, positions): (Vec<u32>, Vec<u32>) = (0..25u32).map(|t| (t * 7 % 30, t)).unzip();
        let host = embed(&tables[0], &tables[1], &tables[2], &ids, &positions, DType::F32).expect("host");
        // Doubles have no form of their own.
        let wide = tables.map(|t| t.to_dtype(DType::F64).expect("f64"));
        let portable = embed(&wide[0], &wide[1], &wide[2], &ids, &positions, DType::F32).expect("portable");
        assert!(distance(&host, &portable) < 1e-6);
        for (ids, positions) in [(vec![0, 30], [0, 1]), (vec![0, 29], [0, 40]), (vec![0], [0, 1])] {
            let [word, position, kind] = [(30, 12), (40, 12), (2, 12)]
                .map(|s| Tensor::zeros(s, DType::F32, &Device::Cpu).expect("table"));
            assert!(
                embed(&word, &position, &kind, &ids, &positions, DType::F32).is_err(),
                "{ids:?} {positions:?}"
            );
        }
    }

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
        assert!(scatter_add_to(table.narrow(0, 0, 3).expect("part"), &ids, &dy).is_err());
        let both = (&table + &gradient).expect("sum");
        let half = dy.to_dtype(DType::BF16).expect("bf16");
        let of_half = (&table + scatter_add(9, &ids, &half).expect("bf16")).expect("sum");
        assert!(
            distance(&of_half, &scatter_add_to(table.copy().expect("copy"), &ids, &half).expect("to")) < 1e-6
        );
        assert!(distance(&both, &scatter_add_to(table, &ids, &dy).expect("to")) < 1e-6);
        let first = first_row(3, &dy).expect("first row");
        assert!(distance(&first, &scatter_add(3, &[0; 6], &dy).expect("scatter")) < 1e-6);
    }
}
