//! Search and full ranks from shards on disk against an oracle that sorts everything, and against the path in memory.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;
#[path = "common/made.rs"]
mod made;

use std::path::Path;

use candle_core::Device;
use polymix::evaluate::search::{
    BLOCK, Hit, Index, Manifest, ShardDtype, top_k, top_k_on_device, top_k_without, widen,
};
use polymix::evaluate::{Cell, Embeddings, Evaluation, METRICS, RankOptions, Ranks, Setting, measure, rank};
use polymix::stream::Stream;

fn manifest(dtype: ShardDtype, width: usize, rows: usize, shard_rows: usize) -> Manifest {
    Manifest {
        v: Manifest::VERSION,
        polymix: polymix::VERSION.into(),
        model: "made".into(),
        model_hash: "a".repeat(64),
        pooling: "mean".into(),
        data: "made".into(),
        data_hash: "b".repeat(64),
        passage_prefix: "Passage: ".into(),
        max_passage_tokens: 128,
        dtype,
        width,
        rows: rows as u64,
        shard_rows,
    }
}

fn written(dir: &Path, dtype: ShardDtype, shard: usize, ids: &[String], vectors: &Embeddings) -> Index {
    let (index, lock) = Index::make(dir, manifest(dtype, vectors.width, ids.len(), shard)).unwrap();
    for shard in 0..index.shards() {
        let rows = index.rows_of(shard);
        let data = vectors.data[rows.start * vectors.width..rows.end * vectors.width].to_vec();
        index.write(&lock, shard, &ids[rows], &Embeddings { width: vectors.width, data }).unwrap();
    }
    index
}

/// Numbers from few levels, so that scores are exact and tie; `levels` 0: unit vectors.
fn random(stream: &mut Stream, rows: usize, width: usize, levels: usize) -> Embeddings {
    let mut data: Vec<f32> = (0..rows * width)
        .map(|_| if levels == 0 { stream.normal() as f32 } else { stream.below(levels) as f32 - 1.0 })
        .collect();
    if levels == 0 {
        for row in data.chunks_mut(width) {
            let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            for x in row {
                *x /= norm;
            }
        }
    }
    Embeddings { width, data }
}

/// Ids whose order is not that of the rows.
fn ids(stream: &mut Stream, rows: usize) -> Vec<String> {
    let mut numbers: Vec<usize> = (0..rows).collect();
    stream.shuffle(&mut numbers);
    numbers.into_iter().map(|n| format!("d{n}")).collect()
}

fn sorted(ids: &[String], passages: &Embeddings, question: &[f32], k: usize) -> Vec<Hit> {
    let score = |row: usize| passages.row(row).iter().zip(question).map(|(a, b)| a * b).sum::<f32>();
    let mut all: Vec<Hit> =
        ids.iter().enumerate().map(|(row, id)| Hit { id: id.clone(), score: score(row) }).collect();
    all.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap().then_with(|| b.id.cmp(&a.id)));
    all.truncate(k);
    all
}

fn quiet() -> impl FnMut(usize, usize) -> anyhow::Result<()> {
    |_, _| Ok(())
}

type Search = fn(
    &Index,
    &Embeddings,
    usize,
    &Device,
    &mut dyn FnMut(usize, usize) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Vec<Hit>>>;

fn by_device(index: &Index, questions: &Embeddings, k: usize) -> Vec<Vec<Hit>> {
    top_k_on_device(index, questions, k, &Device::Cpu, &mut quiet()).unwrap()
}

/// Few levels: thousands of ties, within shards and across them; k below, at and above the number of passages.
#[test]
fn search_equals_sorting_everything_ties_included() {
    let mut stream = Stream::new(8, "search", 0);
    for (rows, shard, dtype) in [
        (1, 5, ShardDtype::F16),
        (90, 7, ShardDtype::F32),
        (500, 500, ShardDtype::F16),
        (BLOCK + 77, 2000, ShardDtype::F16),
        (2 * BLOCK + 1, 3 * BLOCK, ShardDtype::F32),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (ids, passages) = (ids(&mut stream, rows), random(&mut stream, rows, 3, 3));
        let index = written(dir.path(), dtype, shard, &ids, &passages);
        for (questions, k) in [(1, 1), (3, 10), (5, rows), (2, rows + 9), (3, 0)] {
            let questions = random(&mut stream, questions, 3, 3);
            let found = top_k(&index, &questions, k, &Device::Cpu, &mut quiet()).unwrap();
            assert_eq!(found.len(), questions.rows());
            for (at, hits) in found.iter().enumerate() {
                assert_eq!(*hits, sorted(&ids, &passages, questions.row(at), k), "{rows} rows, k {k}");
            }
            assert_eq!(found, by_device(&index, &questions, k), "{rows} rows, k {k}");
        }
    }
}

/// More questions than one product takes, unit vectors, f16: the same numbers as from the widened vectors.
#[test]
fn passages_that_are_no_candidates_make_room_for_the_next() {
    let mut stream = Stream::new(8, "search", 7);
    let dir = tempfile::tempdir().unwrap();
    let (ids, passages) = (ids(&mut stream, 300), random(&mut stream, 300, 8, 3));
    let questions = random(&mut stream, 9, 8, 3);
    let index = written(dir.path(), ShardDtype::F32, 64, &ids, &passages);
    let of = |at: usize| (0..at % 4).map(|i| ids[(at * 31 + i * 7) % 300].clone()).collect();
    let without: Vec<Vec<String>> = (0..9).map(of).collect();
    let found = top_k_without(&index, &questions, &without, 20, &Device::Cpu, &mut quiet()).unwrap();
    for (at, (hits, without)) in found.iter().zip(&without).enumerate() {
        let mut all = sorted(&ids, &passages, questions.row(at), 300);
        all.retain(|hit| !without.contains(&hit.id));
        assert_eq!(hits[..], all[..20], "question {at}");
    }
}

#[test]
fn halves_score_as_their_exact_values_do_on_host_and_device() {
    let mut stream = Stream::new(8, "search", 1);
    let (rows, width) = (3 * BLOCK + 100, 48);
    let dir = tempfile::tempdir().unwrap();
    let (ids, passages) = (ids(&mut stream, rows), random(&mut stream, rows, width, 0));
    let index = written(dir.path(), ShardDtype::F16, BLOCK + 5, &ids, &passages);
    let mut rounded = Embeddings { width, data: vec![0.0; rows * width] };
    for shard in 0..index.shards() {
        let (rows, open) = (index.rows_of(shard), index.shard(shard).unwrap());
        let window = open.window(0..open.rows).unwrap();
        widen(ShardDtype::F16, window.bytes(), &mut rounded.data[rows.start * width..rows.end * width]);
    }
    let questions = random(&mut stream, 1100, width, 0);
    let host = top_k(&index, &questions, 20, &Device::Cpu, &mut quiet()).unwrap();
    let device = by_device(&index, &questions, 20);
    assert_eq!(host.len(), 1100);
    for at in 0..1100 {
        for (a, b) in host[at].iter().zip(&device[at]) {
            assert_eq!(a.id, b.id);
            assert!((a.score - b.score).abs() < 1e-6, "{a:?} {b:?}");
        }
        if at % 100 == 0 {
            let oracle = sorted(&ids, &rounded, questions.row(at), 20);
            for (a, b) in host[at].iter().zip(&oracle) {
                assert_eq!(a.id, b.id);
                assert!((a.score - b.score).abs() < 1e-6, "{a:?} {b:?}");
            }
        }
    }
}

#[test]
fn an_empty_index_finds_nothing_and_no_question_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let none = Embeddings { width: 4, data: Vec::new() };
    let index = written(dir.path(), ShardDtype::F16, 10, &[], &none);
    let one = Embeddings { width: 4, data: vec![0.5; 4] };
    assert_eq!(top_k(&index, &one, 5, &Device::Cpu, &mut quiet()).unwrap(), [vec![]]);
    assert_eq!(by_device(&index, &one, 5), [vec![]]);
    let nobody = top_k(&index, &none, 5, &Device::Cpu, &mut quiet()).unwrap();
    assert!(nobody.is_empty());
}

#[test]
fn questions_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let passages = Embeddings { width: 4, data: vec![0.5; 8] };
    let index = written(dir.path(), ShardDtype::F16, 10, &["a".into(), "b".into()], &passages);
    let search = |width: usize, number: f32| {
        let questions = Embeddings { width, data: vec![number; width] };
        top_k(&index, &questions, 1, &Device::Cpu, &mut quiet()).unwrap_err().to_string()
    };
    assert!(search(3, 0.5).contains("another model"));
    assert!(search(4, f32::NAN).contains("not finite"));
}

/// A failing consumer or a damaged shard ends the search with its own error, wherever the reading thread is.
#[test]
fn errors_come_through_the_reading_thread() {
    let mut stream = Stream::new(8, "search", 2);
    let dir = tempfile::tempdir().unwrap();
    let (ids, passages) = (ids(&mut stream, 1000), random(&mut stream, 1000, 3, 0));
    let index = written(dir.path(), ShardDtype::F16, 10, &ids, &passages);
    let question = Embeddings { width: 3, data: vec![0.5; 3] };
    let mut fails = |_: usize, _: usize| anyhow::bail!("enough");
    for search in [top_k, top_k_on_device] as [Search; 2] {
        let error = search(&index, &question, 1, &Device::Cpu, &mut fails).unwrap_err().to_string();
        assert_eq!(error, "enough");
    }
    let path = dir.path().join("00070.shard");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let search = || {
        let search =
            |by: Search| format!("{:#}", by(&index, &question, 1, &Device::Cpu, &mut quiet()).unwrap_err());
        let errors = [search(top_k), search(top_k_on_device)];
        assert_eq!(errors[0], errors[1]);
        errors[0].clone()
    };
    let error = search();
    assert!(error.contains("00070.shard") && error.contains("checksum"), "{error}");
    std::fs::remove_file(&path).unwrap();
    let error = search();
    assert!(error.contains("00070.shard") && error.contains("polymix encode"), "{error}");
    // A shard of the same shape in another's place.
    std::fs::copy(dir.path().join("00071.shard"), &path).unwrap();
    assert!(search().contains("other rows"));
}

#[test]
fn an_index_made_otherwise_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let base = manifest(ShardDtype::F16, 4, 100, 10);
    drop(Index::make(dir.path(), base.clone()).unwrap());
    drop(Index::make(dir.path(), Manifest { model: "elsewhere".into(), ..base.clone() }).unwrap());
    let cases = [
        (Manifest { model_hash: "c".repeat(64), ..base.clone() }, "model (hash"),
        (
            Manifest { data_hash: "c".repeat(64), ..base.clone() },
            "passages (hash): bbbbbbbbbbbb... there, cccccccccccc",
        ),
        (Manifest { pooling: "cls".into(), ..base.clone() }, "pooling: mean there, cls now"),
        (
            Manifest { passage_prefix: String::new(), ..base.clone() },
            "passage prefix: \"Passage: \" there, \"\" now",
        ),
        (Manifest { max_passage_tokens: 64, ..base.clone() }, "longest passage in tokens: 128 there, 64 now"),
        (Manifest { dtype: ShardDtype::F32, ..base.clone() }, "type of number: f16 there, f32 now"),
        (Manifest { shard_rows: 20, ..base.clone() }, "passages a shard: 10 there, 20 now"),
        (Manifest { rows: 99, ..base.clone() }, "number of passages: 100 there, 99 now"),
        (Manifest { width: 8, ..base.clone() }, "vector width: 4 there, 8 now"),
    ];
    for (other, part) in cases {
        let error = Index::make(dir.path(), other).unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
    let (_index, _lock) = Index::make(dir.path(), base.clone()).unwrap();
    let error = Index::make(dir.path(), base).unwrap_err().to_string();
    assert!(error.contains("another process is writing"), "{error}");
}

/// Questions, passages and relevance at random; parallel languages, duplicates and ties.
fn dataset(stream: &mut Stream) -> (polymix::corpus::Dataset, Embeddings, Embeddings) {
    let mut data = made::parallel(&["aa", "bb", "cc"], 150);
    for passage in &mut data.passages {
        passage.id = format!("{}-{}", stream.below(1000), passage.id);
    }
    // Languages mixed, so that a block of rows holds all of them.
    let mut order: Vec<usize> = (0..data.passages.len()).collect();
    stream.shuffle(&mut order);
    data.passages = order.iter().map(|&at| data.passages[at].clone()).collect();
    for group in &mut data.groups {
        for passage in &mut group.relevant {
            *passage = order.iter().position(|o| *o == *passage as usize).unwrap() as u32;
        }
    }
    let (q, mut p) =
        (random(stream, data.questions.len(), 40, 0), random(stream, data.passages.len(), 40, 0));
    // Some answers are missing in a language, some in all.
    for group in data.groups.iter_mut().step_by(7) {
        group.relevant.truncate(stream.below(3));
    }
    // Labels with grades, and passages that are the question itself.
    for (number, group) in (0u32..).zip(&data.groups) {
        for passage in &group.relevant {
            if stream.below(3) == 0 {
                data.grades.insert((number, *passage), 2 + stream.below(3) as u32);
            }
        }
        let itself: Vec<u32> =
            (0..stream.below(3)).map(|_| stream.below(data.passages.len()) as u32).collect();
        if !itself.is_empty() {
            data.itself.insert(number, itself);
        }
    }
    // Every third passage is the copy of another: exact ties between real numbers.
    for row in (3..data.passages.len()).step_by(3) {
        p.data.copy_within((row - 3) * 40..(row - 2) * 40, row * 40);
    }
    (data, q, p)
}

#[test]
fn full_ranks_from_f32_shards_are_exactly_those_from_memory() {
    let mut stream = Stream::new(8, "search", 3);
    for (block, shard) in [(256, 1000), (7, 64), (449, 1), (1, 200)] {
        let (data, q, p) = dataset(&mut stream);
        let options = RankOptions { top: 20, block };
        let protocol = || made::protocol("made", &data);
        let dir = tempfile::tempdir().unwrap();
        let ids: Vec<String> = data.passages.iter().map(|p| p.id.clone()).collect();
        let index = written(dir.path(), ShardDtype::F32, shard, &ids, &p);
        // As text, in which NaN equals NaN; all digits stand in it.
        let dense = rank(&data, &q, &p, &options, &mut quiet()).unwrap();
        let streamed = rank(&data, &q, &index, &options, &mut quiet()).unwrap();
        assert_eq!(streamed.rows.len(), data.questions.len());
        let texts = |ranks: &Ranks| {
            let Ranks { rows, own, pool, pool_languages, strict, grades, extremes, tie_band } = ranks;
            [
                format!("{rows:?}"),
                format!("{own:?}"),
                format!("{pool:?} {pool_languages:?}"),
                format!("{strict:?} {grades:?}"),
                format!("{extremes:?}"),
                format!("{tie_band:?}"),
            ]
        };
        for (streamed, dense) in texts(&streamed).iter().zip(&texts(&dense)) {
            assert!(streamed == dense, "block {block}, shard {shard}: {streamed:.300} and {dense:.300}");
        }
        let dense: Evaluation = measure(&data, &q, &p, protocol(), &options, &mut quiet()).unwrap();
        let streamed = measure(&data, &q, &index, protocol(), &options, &mut quiet()).unwrap();
        assert_eq!(streamed.cells, dense.cells, "block {block}, shard {shard}");
        for setting in Setting::ALL {
            for metric in METRICS.iter().chain(&["map_best", "map_worst"]) {
                let has = |cell: &Cell| cell.setting == setting && cell.metric == *metric;
                assert!(dense.cells.iter().any(has), "{setting:?} {metric} was not measured");
            }
        }
        assert_eq!(format!("{:?}", streamed.bias), format!("{:?}", dense.bias));
        assert_eq!(format!("{:?}", streamed.fairness), format!("{:?}", dense.fairness));
        assert_eq!(streamed.histogram, dense.histogram);
        assert_eq!(streamed.notes, dense.notes);
    }
}

#[test]
fn ranks_from_another_dataset_are_refused() {
    let mut stream = Stream::new(8, "search", 4);
    let (data, q, p) = dataset(&mut stream);
    let dir = tempfile::tempdir().unwrap();
    let mut ids: Vec<String> = data.passages.iter().map(|p| p.id.clone()).collect();
    ids[17] = "stranger".into();
    let index = written(dir.path(), ShardDtype::F32, 64, &ids, &p);
    let protocol = made::protocol("made", &data);
    let error = measure(&data, &q, &index, protocol, &RankOptions::default(), &mut quiet()).unwrap_err();
    assert!(error.to_string().contains("'stranger'"), "{error}");
}
