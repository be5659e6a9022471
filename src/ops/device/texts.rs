//! Launches of `kernels/texts.cuh`.

use candle_core::{DType, Result, Tensor};

use super::super::pool::Pool;
use super::super::segments::Segments;
use super::{Arg, Launch, WARP, empty, launch, typed};

/// Threads of a block that walks over the features of one row.
const THREADS: usize = 128;

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

/// Tokens by row: the tokens sorted by their row, where each row's begin, and the rows.
fn by_row(ids: &[u32]) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    order.sort_by_key(|&token| (ids[token as usize], token));
    let (mut starts, mut rows) = (Vec::new(), Vec::new());
    for (place, &token) in order.iter().enumerate() {
        let row = ids[token as usize];
        if rows.last() != Some(&row) {
            rows.push(row);
            starts.push(place as u32);
        }
    }
    starts.push(order.len() as u32);
    (order, starts, rows)
}

/// Adds `dy[t]` to row `ids[t]` of `table`, f32, in place.
pub fn scatter_rows(table: &Tensor, ids: &[u32], dy: &Tensor) -> Result<()> {
    let dy = &dy.contiguous()?;
    let (_, width) = dy.dims2()?;
    let device = dy.device();
    let (order, starts, used) = by_row(ids);
    let grid = (used.len(), 1);
    let array = |data: Vec<u32>| {
        let length = data.len();
        Tensor::from_vec(data, length, device)
    };
    let (order, starts, used) = (array(order)?, array(starts)?, array(used)?);
    let args = [
        Arg::Read(dy),
        Arg::Read(&order),
        Arg::Read(&starts),
        Arg::Read(&used),
        Arg::Write(table),
        Arg::count(width),
    ];
    launch(
        device,
        &Launch { kernel: &typed("scatter_rows", dy)?, grid, threads: THREADS, shared: 0, args: &args },
    )
}

pub fn pool(kind: Pool, x: &Tensor, segments: &Segments) -> Result<Tensor> {
    let (_, width) = x.dims2()?;
    let (texts, device) = (segments.texts(), x.device());
    let out = empty((texts, width), DType::F32, device)?;
    let offsets = segments.on(device)?.offsets;
    let first = Arg::U32(u32::from(kind == Pool::First));
    let args = [Arg::Read(x), Arg::Read(&offsets), Arg::Write(&out), Arg::count(width), first];
    let kernel = typed("pool", x)?;
    launch(device, &Launch { kernel: &kernel, grid: (texts, 1), threads: THREADS, shared: 0, args: &args })?;
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
    let kernel = typed("pool_backward", &out)?;
    launch(device, &Launch { kernel: &kernel, grid: (texts, 1), threads: THREADS, shared: 0, args: &args })?;
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
    use super::super::testing::{TYPES, both, close};
    use super::*;
    use crate::ops;
    use crate::ops::testing::random;

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
            for kind in [Pool::Mean, Pool::First] {
                let kernel = pool(kind, &x, &segments).expect("kernel");
                close("pool", &kernel, &ops::pool(kind, &xw, &segments).expect("host"), 2e-6);
                let kernel = pool_backward(kind, &dy, &segments, dtype).expect("kernel");
                let host = ops::pool_backward(kind, &dy, &segments, DType::F32).expect("host");
                close("pool backward", &kernel, &host, allowed);
            }
        }
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
        assert!((f64::from(loss) - host.loss).abs() < 1e-5 * host.loss, "{loss} {}", host.loss);
        close("questions", &gradient.matmul(&passages).expect("product"), &host.questions, 1e-5);
    }
}
