//! Exact search over an index that is larger than what it may take of memory, beside what bounds it: reading the same
//! files through memory maps, and f32 matrix products of the same shape.
//!
//! `cargo bench --bench search -- [ROWS] [WIDTH] [QUESTIONS,...] [DIR]` (5000000 384 1,100,1000 and the directory for
//! temporary files). It writes ROWS * WIDTH * 2 bytes of made vectors into DIR and removes them.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use polymix::evaluate::Embeddings;
use polymix::evaluate::search::{Index, Manifest, ShardDtype, top_k, widen};
use polymix::stream::mix;
use rayon::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const K: usize = 100;
const SHARD: usize = 32_768;

/// Vectors of about unit length with independent, evenly distributed numbers.
fn made(first: usize, rows: usize, width: usize) -> Embeddings {
    let scale = (3.0 / width as f32).sqrt();
    let mut data = vec![0f32; rows * width];
    data.par_chunks_mut(width).enumerate().for_each(|(row, numbers)| {
        for (at, four) in numbers.chunks_mut(4).enumerate() {
            let bits = mix(((first + row) as u64) << 16 | at as u64);
            for (lane, number) in four.iter_mut().enumerate() {
                *number = (f32::from((bits >> (16 * lane)) as u16) / 32768.0 - 1.0) * scale;
            }
        }
    });
    Embeddings { width, data }
}

fn write(dir: &Path, rows: usize, width: usize) -> Index {
    let text = || "made".to_owned();
    let (index, lock) = Index::make(
        dir,
        Manifest {
            v: Manifest::VERSION,
            polymix: text(),
            model: text(),
            model_hash: text(),
            pooling: text(),
            data: text(),
            data_hash: text(),
            passage_prefix: text(),
            max_passage_tokens: 1,
            dtype: ShardDtype::F16,
            width,
            rows: rows as u64,
            shard_rows: SHARD,
        },
    )
    .expect("index");
    for shard in 0..index.shards() {
        let rows = index.rows_of(shard);
        let ids: Vec<String> = rows.clone().map(|row| format!("p{row}")).collect();
        index.write(&lock, shard, &ids, &made(rows.start, rows.len(), width)).expect("shard");
    }
    index
}

/// Seconds to touch every byte of the files through maps, on all cores.
#[allow(unsafe_code)]
fn read_bound(index: &Index) -> f64 {
    let start = Instant::now();
    let total: u64 = (0..index.shards())
        .into_par_iter()
        .map(|shard| {
            let file = std::fs::File::open(index.dir.join(format!("{shard:05}.shard"))).expect("shard");
            // SAFETY: nobody writes to the files of this benchmark while it reads them.
            let map = unsafe { memmap2::Mmap::map(&file) }.expect("map");
            let words = map.as_chunks::<8>().0;
            words.iter().fold(0, |sum: u64, word| sum.wrapping_add(u64::from_le_bytes(*word)))
        })
        .sum();
    std::hint::black_box(total);
    start.elapsed().as_secs_f64()
}

/// Seconds that the products of all rows would take at the throughput of the best of some shapes.
fn product_bound(questions: usize, width: usize, rows: usize) -> f64 {
    let random =
        |n: usize| Tensor::from_vec(made(0, n, width).data, (n, width), &Device::Cpu).expect("tensor");
    let mut best = f64::INFINITY;
    for (chunk, tile) in [(questions, 4096), (questions, 16_384), (questions.min(512), 4096)] {
        let (q, p) = (random(chunk), random(tile).t().expect("transposed"));
        let (start, mut done) = (Instant::now(), 0);
        while done < 3 || start.elapsed().as_secs_f64() < 1.0 {
            std::hint::black_box(q.matmul(&p).expect("product"));
            done += 1;
        }
        let each = start.elapsed().as_secs_f64() / f64::from(done);
        best = best.min(each * (rows as f64 / tile as f64) * (questions as f64 / chunk as f64));
    }
    best
}

/// Empties the page cache; false where that is not allowed.
fn forget() -> bool {
    let _ = std::process::Command::new("sync").status();
    std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// Peak of the resident memory so far in MiB, mapped files included.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<f64>().ok())
        .map_or(f64::NAN, |kib| kib / 1024.0)
}

/// Ways from f16 to f32 on a block that lies in the cache.
fn conversions(width: usize) {
    let numbers = made(0, 1024, width).data;
    let halves: Vec<half::f16> = numbers.iter().map(|n| half::f16::from_f32(*n)).collect();
    let bytes: Vec<u8> = halves.iter().flat_map(|h| h.to_le_bytes()).collect();
    let mut out = vec![0f32; numbers.len()];
    let mut time = |name: &str, convert: &mut dyn FnMut(&mut [f32])| {
        let start = Instant::now();
        for _ in 0..500 {
            convert(std::hint::black_box(&mut out));
        }
        let rate = 500.0 * numbers.len() as f64 / start.elapsed().as_secs_f64() / 1e9;
        println!("f16 to f32, one core, {name}: {rate:.2} billion numbers/s");
    };
    time("ours, wide vectors", &mut |out| widen(ShardDtype::F16, &bytes, out));
    time("half's slices", &mut |out| half::slice::HalfFloatSliceExt::convert_to_f32_slice(&*halves, out));
    time("half, one by one", &mut |out| {
        out.iter_mut().zip(&halves).for_each(|(number, half)| *number = half.to_f32());
    });
    let matrix = |rows: usize, dtype| {
        let data = made(0, rows, width).data;
        Tensor::from_vec(data, (rows, width), &Device::Cpu).and_then(|t| t.to_dtype(dtype)).expect("tensor")
    };
    for dtype in [DType::F32, DType::F16] {
        let (q, p) = (matrix(512, dtype), matrix(4096, dtype).t().expect("transposed"));
        let start = Instant::now();
        for _ in 0..10 {
            std::hint::black_box(q.matmul(&p).expect("product"));
        }
        let rate = 10.0 * 2.0 * 512.0 * 4096.0 * width as f64 / start.elapsed().as_secs_f64() / 1e9;
        println!("product of 512 questions and 4096 rows as {dtype:?}: {rate:.0} GFLOP/s");
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let number = |at: usize, default: usize| args.get(at).map_or(default, |a| a.parse().expect("a number"));
    let (rows, width) = (number(0, 5_000_000), number(1, 384));
    let sizes = args.get(2).map_or("1,100,1000", String::as_str);
    let sizes: Vec<usize> = sizes.split(',').map(|n| n.parse().expect("numbers of questions")).collect();
    let place = args.get(3).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = place.join(format!("polymix-search-{}", std::process::id()));
    conversions(width);

    let start = Instant::now();
    let index = write(&dir, rows, width);
    let bytes = (rows * width * 2) as f64;
    println!("wrote {rows} x {width} f16, {:.2} GB, in {:.1} s", bytes / 1e9, start.elapsed().as_secs_f64());
    let read = |cold: bool| -> Option<f64> { (!cold || forget()).then(|| read_bound(&index)) };
    let cold_read = read(true);
    read(false);
    let warm_read = read(false).expect("warm");
    let rate = |seconds: f64| format!("{seconds:.2} s, {:.2} GB/s", bytes / seconds / 1e9);
    println!("reading through maps, warm: {}", rate(warm_read));
    println!("reading through maps, cold: {}", cold_read.map_or("not measured (needs root)".into(), rate));
    for questions in sizes {
        let product = product_bound(questions, width, rows);
        let flops = 2.0 * (questions * rows * width) as f64;
        println!(
            "{questions} questions: products alone {product:.2} s, {:.0} GFLOP/s",
            flops / product / 1e9
        );
        let vectors = made(rows, questions, width);
        let search = |name: &str, read: f64| {
            let start = Instant::now();
            let hits = top_k(&index, &vectors, K, &Device::Cpu, &mut |_, _| Ok(())).expect("search");
            let seconds = start.elapsed().as_secs_f64();
            assert!(hits.iter().all(|h| h.len() == K.min(rows)), "{K} hits a question");
            let bound = product.max(read);
            println!(
                "{questions} questions, {name}: {seconds:.2} s, {:.2} times the larger bound ({bound:.2} s); peak {:.0} MiB",
                seconds / bound,
                peak()
            );
        };
        search("warm", warm_read);
        if let Some(read) = cold_read
            && forget()
        {
            search("cold", read);
        }
    }
    std::fs::remove_dir_all(&dir).expect("removing the index");
}
