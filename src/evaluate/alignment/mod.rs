//! Do translations have the same vector? Measures over row-aligned embeddings: no ranking of passages is involved.
//!
//! [`Parallel`] says which texts of a dataset are translations of each other; [`measure`] compares their vectors by
//! language pair ([`cka`], distance, [`margin`]), by language (uniformity, anisotropy) and over all languages (the same,
//! and a [`probe`] that tells how much of the language a vector still gives away).

pub mod cka;
pub mod geometry;
pub mod margin;
mod parallel;
pub mod probe;

pub use margin::Margin;
pub use parallel::{Parallel, Side, Text};

use anyhow::{Result, ensure};

use super::Embeddings;
use crate::stream::Stream;
use cka::{Centred, Cka, similarity};
use geometry::Geometry;
use probe::Probe;

/// How to measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub margin: Margin,
    /// Nearest neighbours behind a margin (4 in LASER's `xsim`).
    pub neighbours: usize,
    /// Shuffles of the rows behind the null of CKA; 0: no null.
    pub shuffles: usize,
    pub seed: u64,
    /// Share of the items that the probe is tested on; 0: no probe.
    pub held_out: f64,
    /// Ridge of the probe, as a multiple of the features' mean variance.
    pub ridge: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { margin: Margin::Ratio, neighbours: 4, shuffles: 10, seed: 42, held_out: 0.2, ridge: 1e-3 }
    }
}

/// Two languages' translations. Where a number is undefined (too few rows, vectors that are all equal) it is NaN.
#[derive(Clone, Debug, PartialEq)]
pub struct PairAlignment {
    /// Indices into [`Parallel::languages`].
    pub a: usize,
    pub b: usize,
    /// Rows: texts that both languages have.
    pub n: usize,
    pub cka: Cka,
    /// The same with the rows of `b` in random order, mean over the shuffles.
    pub null: Cka,
    /// `E ||x - y||^2` over translations (Wang and Isola 2020): 0 is best.
    pub alignment: f64,
    /// Mean cosine of translations.
    pub cosine: f64,
    /// Share of the rows of `a` whose translation is found by cosine alone; and of `b`.
    pub nearest: [f64; 2],
    /// The same by margin. `xsim` is one minus it.
    pub accuracy: [f64; 2],
}

/// Everything about one set of vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Alignment {
    /// One a pair of languages `a < b` that share rows.
    pub pairs: Vec<PairAlignment>,
    /// One a language; the number of its rows, and how they lie.
    pub languages: Vec<(usize, Geometry)>,
    /// All languages together.
    pub all: (usize, Geometry),
    /// `None` where it was not asked for, or where there are too few items or languages.
    pub probe: Option<Probe>,
}

/// Measures these items of `parallel`; row i of `vectors` belongs to text i. `progress` hears (done, total) pairs.
///
/// # Errors
/// Where the number of vectors does not fit, one is not finite (names the text), or `progress` fails.
pub fn measure(
    parallel: &Parallel,
    vectors: &Embeddings,
    items: &[usize],
    options: &Options,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Alignment> {
    ensure!(
        vectors.rows() == parallel.texts.len(),
        "{} vectors for {} texts",
        vectors.rows(),
        parallel.texts.len()
    );
    if let Some(at) = vectors.data.iter().position(|x| !x.is_finite()) {
        let text = &parallel.texts[at / vectors.width];
        anyhow::bail!(
            "the embedding of '{}' ({}) is not finite: the model is broken, or the training diverged",
            text.text,
            parallel.languages[usize::from(text.language)]
        );
    }
    let languages = parallel.languages.len();
    let pairs: Vec<(usize, usize)> =
        (0..languages).flat_map(|a| (a + 1..languages).map(move |b| (a, b))).collect();
    let mut measured = Vec::new();
    for (done, (a, b)) in pairs.iter().enumerate() {
        let (x, y) = parallel.pair(*a, *b, items);
        if !x.is_empty() {
            measured.push(pair(*a, *b, &pick(vectors, &x), &pick(vectors, &y), options)?);
        }
        progress(done + 1, pairs.len())?;
    }
    let own: Vec<Vec<u32>> = (0..languages).map(|l| parallel.rows(l, items)).collect();
    let of = |rows: &[u32]| Ok((rows.len(), geometry::measure(&pick(vectors, rows))?));
    Ok(Alignment {
        pairs: measured,
        languages: own.iter().map(|rows| of(rows)).collect::<Result<_>>()?,
        all: of(&own.concat())?,
        probe: probe::of_items(parallel, vectors, items, options)?,
    })
}

/// These rows, in this order.
fn pick(vectors: &Embeddings, rows: &[u32]) -> Embeddings {
    let data = rows.iter().flat_map(|r| vectors.row(*r as usize)).copied().collect();
    Embeddings { width: vectors.width, data }
}

fn pair(a: usize, b: usize, x: &Embeddings, y: &Embeddings, options: &Options) -> Result<PairAlignment> {
    let n = x.rows();
    let (own, other) = (Centred::new(x)?, Centred::new(y)?);
    let mut stream = Stream::new(options.seed, "shuffled rows", ((a as u64) << 32) | b as u64);
    let mut order: Vec<u32> = (0..n as u32).collect();
    let mut null = Vec::new();
    for _ in 0..options.shuffles {
        stream.shuffle(&mut order);
        null.push(similarity(&own, &other.reordered(&order)?)?);
    }
    let mean = |of: fn(&Cka) -> f64| null.iter().map(of).sum::<f64>() / null.len() as f64;
    let (alignment, cosine) = geometry::of_translations(x, y);
    let found = margin::search(x, y, options.neighbours, options.margin)?;
    Ok(PairAlignment {
        a,
        b,
        n,
        cka: similarity(&own, &other)?,
        null: Cka { biased: mean(|c| c.biased), unbiased: mean(|c| c.unbiased) },
        alignment,
        cosine,
        nearest: found.nearest,
        accuracy: found.accuracy,
    })
}
