//! Launches of `kernels/texts.cuh`.

use candle_core::{DType, Result, Tensor};

use super::super::pool::Pool;
use super::super::segments::Segments;
use super::{Arg, Launch, WARP, empty, launch, typed};

/// Threads of a block that walks over the features of one row.
const THREADS: usize = 128;

/// Tokens of a row that a warp adds up in `scatter_rows`; more are cut into parts.
const PART: usize = 32;

/// What is added to a part's slot, to tell it from a row, as in the kernel.
const SLOT: u32 = 1 << 31;

/// Blocks across a row of `width` numbers of this type, sixteen bytes a lane of a warp.
fn across(width: usize, dtype: DType) -> usize {
    width.div_ceil(WARP * 16 / dtype.size_in_bytes())
}

pub fn embed(
    word: &Tensor,
    position: &Tensor,
    kind: &Tensor,
    ids: &[u32],
    positions: &[u32],
    dtype: DType,
) -> Result<Tensor> {
    let (_, width) = word.dims2()?;
    let (tokens, device) = (ids.len(), word.device());
    let out = empty((tokens, width), dtype, device)?;
    let ids = Tensor::from_slice(ids, tokens, device)?;
    let positions = Tensor::from_slice(positions, tokens, device)?;
    let args = [
        Arg::Read(word),
        Arg::Read(position),
        Arg::Read(kind),
        Arg::Read(&ids),
        Arg::Read(&positions),
        Arg::Write(&out),
        Arg::count(width),
    ];
    let kernel = typed("embed", &out)?;
    launch(device, &Launch { kernel: &kernel, grid: (tokens, 1), threads: THREADS, shared: 0, args: &args })?;
    Ok(out)
}

/// The tokens sorted by their row, and how they are cut for `scatter_rows`.
struct ByRow {
    order: Vec<u32>,
    /// Where each part begins in `order`, and the last one's end.
    starts: Vec<u32>,
    /// Each part's row, or its slot and [`SLOT`] where the row has several.
    targets: Vec<u32>,
    /// Row, first and last slot of each row of several parts.
    rows: Vec<u32>,
    slots: u32,
}

impl ByRow {
    fn new(ids: &[u32]) -> Self {
        let mut order: Vec<u32> = (0..ids.len() as u32).collect();
        order.sort_unstable_by_key(|&token| (ids[token as usize], token));
        let (mut starts, mut targets, mut rows, mut slots) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let mut first = 0;
        for tokens in order.chunk_by(|&a, &b| ids[a as usize] == ids[b as usize]) {
            let (row, end) = (ids[tokens[0] as usize], first + tokens.len());
            starts.extend((first..end).step_by(PART).map(|start| start as u32));
            if tokens.len() > PART {
                let last = slots + tokens.len().div_ceil(PART) as u32;
                targets.extend((slots..last).map(|slot| SLOT + slot));
                rows.extend([row, slots, last]);
                slots = last;
            } else {
                targets.push(row);
            }
            first = end;
        }
        starts.push(first as u32);
        Self { order, starts, targets, rows, slots }
    }
}

/// Adds `dy[t]` to row `ids[t]` of `table`, f32, in place.
pub fn scatter_rows(table: &Tensor, ids: &[u32], dy: &Tensor) -> Result<()> {
    let dy = &dy.contiguous()?;
    let (_, width) = dy.dims2()?;
    let device = dy.device();
    if ids.is_empty() {
        return Ok(());
    }
    let ByRow { order, starts, targets, rows, slots } = ByRow::new(ids);
    let (count, cut) = (targets.len(), rows.len() / 3);
    // One by one: CUDA may wait for copies of more than 64 KiB.
    let array = |data: Vec<u32>| {
        let length = data.len();
        Tensor::from_vec(data, length, device)
    };
    let (order, starts, targets) = (array(order)?, array(starts)?, array(targets)?);
    let partial = if cut > 0 { Some(empty((slots as usize, width), DType::F32, device)?) } else { None };
    let args = [
        Arg::Read(dy),
        Arg::Read(&order),
        Arg::Read(&starts),
        Arg::Read(&targets),
        Arg::Write(table),
        partial.as_ref().map_or(Arg::Null, Arg::Write),
        Arg::count(count),
        Arg::count(width),
    ];
    let grid = (count.div_ceil(THREADS / WARP), across(width, dy.dtype()));
    launch(
        device,
        &Launch { kernel: &typed("scatter_rows", dy)?, grid, threads: THREADS, shared: 0, args: &args },
    )?;
    let Some(partial) = partial else { return Ok(()) };
    let rows = array(rows)?;
    let args = [Arg::Read(&rows), Arg::Read(&partial), Arg::Write(table), Arg::count(width)];
    let grid = (cut, width.div_ceil(THREADS));
    launch(device, &Launch { kernel: "scatter_parts", grid, threads: THREADS, shared: 0, args: &args })
}

pub fn pool(kind: Pool, x: &Tensor, segments: &Segments) -> Result<Tensor> {
    let (_, width) = x.dims2()?;
    let (texts, device) = (segments.texts(), x.device());
    let out = empty((texts, width), DType::F32, device)?;
    let offsets = segments.on(device)?.offsets;
    let first = Arg::U32(u32::from(kind == Pool::First));
    let args = [Arg::Read(x), Arg::Read(&offsets), Arg::Write(&out), Arg::count(width), first];
    let (kernel, grid) = (typed("pool", x)?, (texts, across(width, x.dtype())));
    let shared = 8 * WARP * (16 / x.dtype().size_in_bytes()) * 4;
    launch(device, &Launch { kernel: &kernel, grid, threads: 8 * WARP, shared, args: &args })?;
    Ok(out)
}

pub fn pool_backward(kind: Pool, dy: &Tensor, segments: &Segments, dtype: DType) -> Result<Tensor> {
    let dy = &dy.contiguous()?;
    let (texts, width) = dy.dims2()?;
    let device = dy.device();
    let out = empty((segments.tokens(), width), dtype, device)?;
    let offsets = segments.on(device)?.offsets;
    let first = Arg::U32(u32::from(kind == Pool::First));
    let args = [Arg::Read(dy), Arg::Read(&offsets), Arg::Write(&out), Arg::count(width), first];
    let (kernel, grid) = (typed("pool_backward", &out)?, (texts, across(width, dtype)));
    launch(device, &Launch { kernel: &kernel, grid, threads: 8 * WARP, shared: 0, args: &args })?;
    Ok(out)
}

/// From cosines f32 `[n, m]`: each question's loss `[n]`, and the gradient of the mean loss, `[n, m]`.
pub fn cross_entropy(cosines: &Tensor, temperature: f64) -> Result<(Tensor, Tensor)> {
    let (n, m) = cosines.dims2()?;
    let device = cosines.device();
    let loss = empty(n, DType::F32, device)?;
    let gradient = empty((n, m), DType::F32, device)?;
    let args = [
        Arg::Read(cosines),
        Arg::Write(&loss),
        Arg::Write(&gradient),
        Arg::count(n),
        Arg::count(m),
        Arg::F32((1.0 / temperature) as f32),
    ];
    let grid = (n.div_ceil(8), 1);
    launch(device, &Launch { kernel: "cross_entropy", grid, threads: 8 * WARP, shared: 0, args: &args })?;
    Ok((loss, gradient))
}

#[cfg(test)]
mod tests {
    use super::super::emulator::skipped;
    use super::super::testing::{TYPES, both, close, shifted};
    use super::*;
    use crate::ops;
    use crate::ops::testing::random;

    /// Pools `x`, of which `xw` is the f32 form, and goes back from the vectors' gradient `dy`.
    fn pooled_equally((x, xw): (&Tensor, &Tensor), dy: &Tensor, segments: &Segments, allowed: f32) {
        for kind in [Pool::Mean, Pool::First] {
            let kernel = pool(kind, x, segments).expect("kernel");
            close("pool", &kernel, &ops::pool(kind, xw, segments).expect("host"), 2e-6);
            let kernel = pool_backward(kind, dy, segments, x.dtype()).expect("kernel");
            let host = ops::pool_backward(kind, dy, segments, DType::F32).expect("host");
            close("pool backward", &kernel, &host, allowed);
        }
    }

    #[test]
    fn text_kernels_equal_the_host_form() {
        if skipped("text_kernels_equal_the_host_form") {
            return;
        }
        let segments = Segments::new(vec![0, 3, 4, 9], vec![]);
        let (ids, positions) = ([5u32, 0, 5, 11, 5, 5, 2, 11, 0], [0u32, 1, 2, 0, 0, 1, 2, 3, 4]);
        let tables =
            [("word", 12), ("position", 6), ("kind", 2)].map(|(name, rows)| random(name, &[rows, 40]));
        let [word, position, kind] = &tables;
        for (dtype, allowed) in TYPES {
            let kernel = embed(word, position, kind, &ids, &positions, dtype).expect("kernel");
            let host = ops::embed(word, position, kind, &ids, &positions, DType::F32).expect("host");
            close("embed", &kernel, &host, allowed);
            let (x, xw) = both(&random("x", &[9, 40]), dtype);
            let kernel = random("sum", &[12, 40]);
            let host = ops::scatter_add_to(kernel.copy().expect("copy"), &ids, &xw).expect("host");
            scatter_rows(&kernel, &ids, &x).expect("kernel");
            close("scatter", &kernel, &host, 2e-6);
            let dy = random("dy", &[3, 40]);
            pooled_equally((&x, &xw), &dy, &segments, allowed);
        }
    }

    #[test]
    fn rows_of_any_width_and_number_of_tokens_are_added_up() {
        if skipped("rows_of_any_width_and_number_of_tokens_are_added_up") {
            return;
        }
        // One token in every second place, one just as often as a part takes, one once more, and some that are there once.
        let ids: Vec<u32> = (0..260)
            .map(|t| match t {
                t if t % 2 == 0 => 7,
                t if t < 2 * PART as u32 => 3,
                t if t < 4 * PART as u32 + 2 => 1,
                t => 8 + t % 5,
            })
            .collect();
        let times = |id| ids.iter().filter(|&&i| i == id).count();
        assert_eq!((times(7), times(3), times(1)), (130, PART, PART + 1));
        let segments = Segments::new(vec![0, 1, 9, 50, 260], vec![]);
        // Packed over more than one block; not packed; packed rows that begin elsewhere.
        for (width, shift) in [(264, 0), (35, 0), (40, 1)] {
            for (dtype, allowed) in TYPES {
                let (x, xw) = both(&random("x", &[260, width]), dtype);
                let x = shifted(&x, shift);
                let table = shifted(&random("table", &[14, width]), shift);
                let host = ops::scatter_add_to(table.copy().expect("copy"), &ids, &xw).expect("host");
                scatter_rows(&table, &ids, &x).expect("kernel");
                close("scatter", &table, &host, 2e-6);
                let dy = shifted(&random("dy", &[4, width]), shift);
                pooled_equally((&x, &xw), &dy, &segments, allowed);
            }
        }
        let table = random("table", &[2, 40]);
        scatter_rows(&table, &[], &random("x", &[1, 40]).narrow(0, 0, 0).expect("nothing")).expect("nothing");
    }

    #[test]
    fn loss_kernel_equals_the_host_form() {
        if skipped("loss_kernel_equals_the_host_form") {
            return;
        }
        // More passages than questions (hard negatives), and more of both than a warp has lanes.
        let (questions, _) = ops::normalise(&random("q", &[37, 8])).expect("unit");
        let (passages, _) = ops::normalise(&random("p", &[70, 8])).expect("unit");
        let host = ops::info_nce(&questions, &passages, 0.05).expect("host");
        let cosines = questions.matmul(&passages.t().expect("t")).expect("cosines");
        let (losses, gradient) = cross_entropy(&cosines, 0.05).expect("kernel");
        let loss = losses.mean_all().expect("mean").to_scalar::<f32>().expect("number");
        let other = host.loss.value().expect("value");
        assert!((f64::from(loss) - other).abs() < 1e-5 * other, "{loss} {other}");
        close("questions", &gradient.matmul(&passages).expect("product"), &host.questions, 1e-5);
    }
}
