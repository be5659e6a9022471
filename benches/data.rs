//! Preparing a large training set: pairs a second, peak memory, and how long the plan looks up a batch.
//!
//! `cargo bench --bench data -- [PAIRS] [MODEL_DIR|demo|words|plan|few]` (`words`: a tokenizer that only looks words up, which
//! shows what reading and writing cost; `plan`: the plan's look-up alone, over columns made in memory; `few`: the same where few
//! groups fit, PAIRS in one language beside 40 in another, and 400 parallel ones among 200,400 in 50 languages) writes PAIRS (default 10,000,000) made pairs in nine languages
//! to a temporary directory (`TMPDIR`; about 0.5 GB a million pairs with the cache), prepares them, and removes them.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device};
use polymix::batch::{Layout, NONE, Plan};
use polymix::corpus::{self, Dataset};
use polymix::encoder::{Encoder, ModelFiles, TextTokenizer};
use polymix::mapped::Numbers;
use polymix::spec::{Candidate, DatasetRef, ExperimentSpec, Pooling, SamplingSpec};
use polymix::stream::Stream;
use polymix::tokens::{Wanted, prepare};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LANGUAGES: [&str; 9] = ["ar", "de", "en", "es", "hi", "ru", "th", "tr", "zh"];

/// Batches that are looked up.
const LOOKUPS: usize = 5000;

/// Words of the bundled corpus by language.
fn words(demo: &Dataset) -> Vec<Vec<String>> {
    LANGUAGES
        .iter()
        .map(|code| {
            let language = demo.language(code).expect("language");
            let texts = demo.passages_in(language).map(|p| demo.passages[p].text.as_str());
            texts.flat_map(str::split_whitespace).take(20_000).map(str::to_owned).collect()
        })
        .collect()
}

fn write(path: &Path, pairs: usize, words: &[Vec<String>]) {
    let mut file = BufWriter::with_capacity(1 << 20, std::fs::File::create(path).expect("the file"));
    let mut draw = Stream::new(1, "bench", 0);
    for pair in 0..pairs {
        let (group, language) = (pair / 9, pair % 9);
        let own = &words[language];
        // Scripts without spaces have long words: fewer of them.
        let share = if matches!(LANGUAGES[language], "th" | "zh") { 3 } else { 1 };
        let mut text = |n: usize| {
            (0..n / share).map(|_| own[draw.below(own.len())].as_str()).collect::<Vec<_>>().join(" ")
        };
        let row = serde_json::json!({"id": group, "language": LANGUAGES[language], "question": text(9),
            "passage": format!("{} {pair}", text(24))});
        writeln!(file, "{row}").expect("space on the disk");
    }
    file.flush().expect("space on the disk");
}

/// Seconds of processor time that this process has used.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Highest resident memory so far, in MiB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0) / 1024
}

/// The `tokenizer.json` of a model and its prefixes, or one of a tokenizer that looks words up.
fn tokenizer(base: &str, made: &[Vec<String>]) -> (Vec<u8>, String, String) {
    if base == "words" {
        let mut vocabulary = serde_json::Map::new();
        for (id, token) in ["[UNK]", "[CLS]", "[SEP]"].into_iter().enumerate() {
            vocabulary.insert(token.into(), id.into());
        }
        let special = |token: &str| serde_json::json!({"SpecialToken": {"id": token, "type_id": 0}});
        let named = |token: &str, id: u32| serde_json::json!({"id": token, "ids": [id], "tokens": [token]});
        let around = serde_json::json!({"type": "TemplateProcessing", "pair": [],
            "single": [special("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, special("[SEP]")],
            "special_tokens": {"[CLS]": named("[CLS]", 1), "[SEP]": named("[SEP]", 2)}});
        for word in made.iter().flatten() {
            let next = vocabulary.len();
            vocabulary.entry(word.as_str()).or_insert_with(|| next.into());
        }
        let json = serde_json::json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": around, "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}});
        return (json.to_string().into_bytes(), String::new(), String::new());
    }
    let (files, bytes) = match base {
        "demo" => (
            ModelFiles::fresh(corpus::demo::CONFIG, corpus::demo::TOKENIZER, Pooling::Auto, 1),
            corpus::demo::TOKENIZER.to_vec(),
        ),
        dir => (
            ModelFiles::read(Path::new(dir), Pooling::Auto),
            std::fs::read(Path::new(dir).join("tokenizer.json")).expect("tokenizer.json"),
        ),
    };
    let encoder = Encoder::new(files.expect("model"), &Device::Cpu, DType::F32, None, None).expect("encoder");
    (bytes, encoder.query_prefix.clone(), encoder.passage_prefix.clone())
}

/// Microseconds that the plan takes for a batch of 100, at places far apart and in a row.
fn lookup(spec: &ExperimentSpec, layout: Layout) -> [f64; 2] {
    let plan = Plan::from_layouts(spec, vec![layout]).expect("plan");
    assert_eq!(spec.train.batch, 100);
    [7919, 1].map(|stride| {
        let start = Instant::now();
        for step in 0..LOOKUPS {
            std::hint::black_box(plan.batch(step * stride).expect("batch"));
        }
        start.elapsed().as_secs_f64() * 1e6 / LOOKUPS as f64
    })
}

/// The columns of as many pairs as [`write`] would write.
fn layout(pairs: usize) -> Layout {
    let groups = pairs / LANGUAGES.len();
    let column =
        |language: usize| (0..groups).map(|g| (g * LANGUAGES.len() + language) as u32).collect::<Vec<_>>();
    let columns: Vec<Numbers> = (0..LANGUAGES.len()).map(|l| column(l).into()).collect();
    Layout {
        name: "made".into(),
        languages: LANGUAGES.map(str::to_owned).to_vec(),
        groups,
        passages: columns.iter().map(|c| c.to_vec().into()).collect(),
        questions: columns,
        clusters: (0..groups as u32).collect::<Vec<_>>().into(),
        distinct: groups,
        negatives: None,
    }
}

/// A layout of as many groups; group g has question and passage in language l where `has` says so.
fn sparse(groups: usize, languages: usize, has: impl Fn(usize, usize) -> bool) -> Layout {
    let column = |l: usize| (0..groups).map(|g| if has(g, l) { g as u32 } else { NONE }).collect::<Vec<_>>();
    let columns = || (0..languages).map(|l| column(l).into()).collect::<Vec<Numbers>>();
    Layout {
        name: "sparse".into(),
        languages: (0..languages).map(|l| format!("l{l:02}")).collect(),
        groups,
        questions: columns(),
        passages: columns(),
        clusters: (0..groups as u32).collect::<Vec<_>>().into(),
        distinct: groups,
        negatives: None,
    }
}

/// Microseconds that the plan takes to be made, and for a batch, where few groups fit.
fn few(name: &str, layout: Layout, alpha: f64, batch: usize) {
    let mut spec = ExperimentSpec { sampling: SamplingSpec::hybrid(alpha), ..ExperimentSpec::default() };
    spec.train.batch = batch;
    let start = Instant::now();
    let plan = Plan::from_layouts(&spec, vec![layout]).expect("plan");
    let made = start.elapsed().as_secs_f64() * 1e6;
    let mut times: Vec<f64> = (0..400)
        .map(|step| {
            let start = Instant::now();
            std::hint::black_box(plan.batch(step * 7919).expect("batch"));
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let record = serde_json::json!({"what": name, "plan_made_micros": made, "batch": batch,
        "median_micros": times[200], "most_micros": times[395]});
    println!("{record}");
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let pairs: usize = args.first().map_or(10_000_000, |n| n.parse().expect("PAIRS is a number"));
    let base = args.get(1).map_or("demo", String::as_str);
    if base == "plan" {
        let [apart, in_a_row] = lookup(&ExperimentSpec::default(), layout(pairs));
        println!(
            "{}",
            serde_json::json!({"pairs": pairs, "plan_batch_of_100_micros": apart, "in_a_row": in_a_row})
        );
        return;
    }
    if base == "few" {
        let rare = pairs / 40;
        few("X-X-mono", sparse(pairs, 2, |g, l| (g % rare == 7) == (l == 1)), 1.0, 32);
        let parallel = |g: usize| g % 501 == 7;
        few("X-Y", sparse(200_400, 50, |g, l| parallel(g) || g % 50 == l), 0.0, 100);
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("pairs.jsonl");
    let made = {
        let demo = corpus::open(&"demo".parse().expect("name"), Candidate::Sentence).expect("demo");
        words(&demo)
    };
    let (bytes, query_prefix, passage_prefix) = tokenizer(base, &made);
    let tokenizer = TextTokenizer::from_bytes(&bytes).expect("tokenizer");
    write(&file, pairs, &made);
    let size = std::fs::metadata(&file).expect("the file").len();
    eprintln!("{pairs} pairs, {} MiB", size >> 20);
    let dataset: DatasetRef = format!("pairs={}", file.display()).parse().expect("name");
    let spec = ExperimentSpec::default();
    let wanted = Wanted {
        dataset: &dataset,
        candidate: Candidate::Sentence,
        tokenizer: &tokenizer,
        query_prefix: &query_prefix,
        passage_prefix: &passage_prefix,
        longest: (spec.model.max_query_tokens, spec.model.max_passage_tokens),
    };

    // The library's tokenizer alone, on the first pairs.
    let mut library = tokenizers::Tokenizer::from_bytes(&bytes).expect("tokenizer");
    library.with_truncation(None).expect("no truncation").with_padding(None);
    let sample = dir.path().join("sample.jsonl");
    write(&sample, pairs.min(100_000), &made);
    let reference: DatasetRef = format!("pairs={}", sample.display()).parse().expect("name");
    let data = corpus::open(&reference, Candidate::Sentence).expect("sample");
    let (start, before) = (Instant::now(), processor());
    for (prefix, texts) in [
        (&query_prefix, data.questions.iter().map(|q| q.text.as_str()).collect::<Vec<_>>()),
        (&passage_prefix, data.passages.iter().map(|p| p.text.as_str()).collect()),
    ] {
        for slice in texts.chunks(4096) {
            let texts: Vec<String> = slice.iter().map(|text| format!("{prefix}{text}")).collect();
            std::hint::black_box(library.encode_batch_fast(texts, true).expect("tokens"));
        }
    }
    let n = data.questions.len() as f64;
    let alone = (n / start.elapsed().as_secs_f64(), n / (processor() - before));
    drop((data, made, library));

    let (start, before) = (Instant::now(), processor());
    let store = prepare(wanted, &dir.path().join("cache"), &mut |_, _| Ok(())).expect("prepared").store;
    let (seconds, used) = (start.elapsed().as_secs_f64(), processor() - before);
    let (texts, tokens) =
        (store.meta.questions + store.meta.passages, store.meta.question_tokens + store.meta.passage_tokens);
    let peak_prepared = peak();

    let micros = lookup(&spec, store.layout.clone());
    let record = serde_json::json!({
        "model": base, "pairs": pairs, "languages": LANGUAGES.len(), "input_mib": size >> 20,
        "tokens_per_text": tokens as f64 / texts as f64,
        "prepare_seconds": seconds, "pairs_per_second": pairs as f64 / seconds,
        "pairs_per_processor_second": pairs as f64 / used,
        "tokenizer_pairs_per_second": alone.0, "tokenizer_pairs_per_processor_second": alone.1,
        "peak_mib_prepared": peak_prepared, "peak_mib": peak(),
        "plan_batch_of_100_micros": micros[0], "plan_batch_in_a_row_micros": micros[1],
    });
    println!("{}", serde_json::to_string_pretty(&record).expect("JSON"));
}
