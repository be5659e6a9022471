//! A loader on files in memory (/dev/shm). `FUZZ_LOADER` names it; the input is its files, one after another, split at
//! the byte 0xff; further 0xff stay in the last file, so that broken UTF-8 is tried too.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use polymix_fuzz::corpus::open;
use polymix_fuzz::spec::{Candidate, DatasetRef};

/// Loader, brackets, files.
const LOADERS: &[(&str, &str, &[&str])] = &[
    ("xquad-r", "", &["en.json", "de.json"]),
    ("squad", "[candidates=sentence]", &["en.json", "de.json"]),
    ("squadshifts", "[language=en,answer=majority,candidates=sentence]", &["new_wiki_v1.0.json"]),
    ("mmarco", "", &["triples.train.tsv", "english_collection.tsv", "english_queries.train.tsv"]),
    (
        "mmarco-dev",
        "[dev]",
        &["qrels.dev.small.tsv", "english_collection.tsv", "english_queries.dev.small.tsv"],
    ),
    ("miracl", "", &["topics.sw-dev.tsv", "qrels.sw-dev.tsv", "docs-sw.jsonl"]),
    ("mfaq", "[language=en]", &["train.jsonl"]),
    ("tevatron", "[language=en]", &["train.jsonl", "corpus.jsonl"]),
    ("flag", "[language=en]", &["a.jsonl"]),
    ("pairs", "", &["a.tsv"]),
    ("pairs-json", "[question=q,passage=p]", &["a.jsonl"]),
    ("beir", "[language=en]", &["corpus.jsonl", "queries.jsonl", "qrels-test.tsv"]),
    ("tatoeba", "", &["tatoeba.deu-eng.deu", "tatoeba.deu-eng.eng"]),
    ("mewsli-x", "", &["candidate_set_entities.jsonl", "wikinews_mentions-dev.jsonl"]),
    ("xm3600", "", &["captions.jsonl"]),
];

struct Place {
    files: Vec<PathBuf>,
    dataset: DatasetRef,
}

fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let wanted = std::env::var("FUZZ_LOADER").expect("FUZZ_LOADER names a loader");
        let (name, brackets, files) = LOADERS.iter().find(|l| l.0 == wanted).expect("a loader of the list");
        let dir = PathBuf::from(format!("/dev/shm/polymix-fuzz-{wanted}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("/dev/shm");
        let name = name.strip_suffix("-json").or(name.strip_suffix("-dev")).unwrap_or(name);
        let dataset = format!("{name}{brackets}={}", dir.display()).parse().expect("a name");
        Place { files: files.iter().map(|f| dir.join(f)).collect(), dataset }
    })
}

fuzz_target!(|data: &[u8]| {
    let Place { files, dataset, .. } = place();
    for (file, contents) in
        files.iter().zip(data.splitn(files.len(), |b| *b == 0xff).chain(std::iter::repeat(&[][..])))
    {
        std::fs::write(file, contents).expect("/dev/shm");
    }
    match open(dataset, Candidate::Sentence) {
        Ok(data) => {
            // What was read must fit together.
            for group in &data.groups {
                assert_eq!(group.questions.len(), data.languages.len());
                assert!(group.relevant.iter().all(|p| (*p as usize) < data.passages.len()));
            }
            for question in &data.questions {
                assert!((question.group as usize) < data.groups.len());
            }
            for answer in &data.answers {
                assert!(answer.end as usize <= data.passages[answer.passage as usize].text.len());
            }
            assert!(data.negatives.is_empty() || data.negatives.len() == data.groups.len());
            let _ = data.restrict(&data.languages[..1]);
        }
        Err(error) => assert!(!format!("{error:#}").is_empty()),
    }
});
