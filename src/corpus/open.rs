//! From a dataset's name to its contents.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::filter::Filtering;
use super::read::{self, Found};
use super::select::{Selecting, Selection};
use super::{
    Builder, Dataset, Options, Sink, beir, captions, mewsli, mfaq, mmarco, pairs, sink, squad, tatoeba, trec,
    triples, xquadr,
};
use crate::spec::{Candidate, DatasetRef};

/// Raised whenever a loader makes other questions or passages of the same files: token caches of before are not taken.
pub const READING: u32 = 5;

/// What the catalogue knows of a dataset before it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    pub name: &'static str,
    /// One line for a list.
    pub description: &'static str,
    pub languages: &'static [&'static str],
    pub licence: &'static str,
    /// Parts that `NAME[PART]` accepts, in words.
    pub parts: &'static str,
    /// The part that is read where none is named, of loaders with parts of their own.
    pub default_part: &'static str,
    /// True where a path must be given.
    pub needs_path: bool,
}

const ELEVEN: &[&str] = &["ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"];
const MIRACL: &[&str] = &[
    "ar", "bn", "de", "en", "es", "fa", "fi", "fr", "hi", "id", "ja", "ko", "ru", "sw", "te", "th", "yo",
    "zh",
];
const MMARCO: &[&str] = &["ar", "de", "en", "es", "fr", "hi", "id", "it", "ja", "nl", "pt", "ru", "vi", "zh"];

/// An entry for data that the user has.
const fn yours(
    name: &'static str,
    description: &'static str,
    languages: &'static [&'static str],
    licence: &'static str,
    parts: &'static str,
) -> Catalogue {
    let default_part = match name.as_bytes() {
        b"mmarco" | b"mr-tydi" => "train",
        b"miracl" | b"mewsli-x" => "dev",
        b"beir" => "test",
        _ => "",
    };
    Catalogue { name, description, languages, licence, parts, default_part, needs_path: true }
}

const ALL: &[Catalogue] = &[
    Catalogue {
        name: "demo",
        description: "parallel questions and passages of facts, made for this program",
        languages: ELEVEN,
        licence: "CC0-1.0",
        parts: "train, validation, evaluation; languages=",
        default_part: "",
        needs_path: false,
    },
    yours(
        "xquad-r",
        "LAReQA's sentence retrieval over XQuAD (Roy et al. 2020); an evaluation set",
        ELEVEN,
        "CC-BY-SA-4.0",
        "a range of its 48 articles, such as 0..24; languages=",
    ),
    yours(
        "mlqa-r",
        "LAReQA's sentence retrieval over MLQA (Roy et al. 2020); an evaluation set",
        &["ar", "de", "en", "es", "hi", "vi", "zh"],
        "CC-BY-SA-3.0 (MLQA), CC-BY-NC-4.0 (breaks)",
        "a range of its articles, such as 0..24; languages=",
    ),
    yours(
        "squad",
        "SQuAD JSON, a file a language with shared ids: SQuAD, its translations, XQuAD, MLQA",
        &["any"],
        "CC-BY-SA-4.0",
        "a word in the file's name (train); candidates=paragraph|sentence, answer=first|majority, language=, languages=",
    ),
    yours(
        "squadshifts",
        "English questions in other domains (Miller et al. 2020); a validation set",
        &["en"],
        "CC-BY-4.0",
        "new_wiki, nyt, reddit, amazon; candidates=paragraph|sentence, answer=first|majority",
    ),
    yours(
        "mmarco",
        "MS MARCO translated, ids shared across languages (Bonifacio et al. 2021); for training and evaluation",
        MMARCO,
        "MS MARCO's terms",
        "train, dev, dev.small; google, helsinki: the folder; languages=en+de; train: negatives=4; dev: pool=all|judged",
    ),
    yours(
        "mr-tydi",
        "monolingual retrieval from Wikipedia (Zhang et al. 2021); for training and evaluation",
        &["ar", "bn", "en", "fi", "id", "ja", "ko", "ru", "sw", "te", "th"],
        "Apache-2.0",
        "train (the default), dev, test; languages=, language=",
    ),
    yours(
        "mfaq",
        "questions and answers of FAQ pages (De Bruyn et al. 2021); for training",
        &["21 languages"],
        "CC0-1.0",
        "train, valid; language=, languages=",
    ),
    yours(
        "tevatron",
        "Tevatron's training JSON lines, with texts or with document ids and a corpus",
        &["any"],
        "yours",
        "a word in the file's name (train); ids=shared|apart, language=, languages=",
    ),
    yours(
        "flag",
        "FlagEmbedding's training JSON lines: query, pos, neg",
        &["any"],
        "yours",
        "a word in the file's name; ids=shared|apart, language=, languages=",
    ),
    yours(
        "pairs",
        "any table of pairs: TSV, JSON lines, Parquet",
        &["any"],
        "yours",
        "question=, passage=, id=, ids=shared|apart, negative=, language=, language_column=, languages=, ...",
    ),
    yours(
        "miracl",
        "retrieval from Wikipedia in 18 languages (Zhang et al. 2023); for training and evaluation",
        MIRACL,
        "Apache-2.0",
        "dev, train, testA; languages=sw",
    ),
    yours(
        "beir",
        "any dataset in BEIR's format, in one language or a directory a language",
        &["any"],
        "the dataset's",
        "test, dev, train; language=, languages=, ids=shared|apart, self=drop|keep",
    ),
    yours(
        "tatoeba",
        "LASER's translated sentences (Artetxe and Schwenk 2019); bitext retrieval",
        &["112 languages"],
        "CC-BY-2.0",
        "one language, such as de",
    ),
    yours(
        "mewsli-x",
        "entities for mentions in news (Ruder et al. 2021); an evaluation set",
        &["ar", "de", "en", "es", "fa", "ja", "pl", "ro", "ta", "tr", "uk"],
        "CC-BY-SA-4.0",
        "dev, test; languages=",
    ),
    yours(
        "xm3600",
        "captions of one image in other languages (Thapliyal et al. 2022); an evaluation set",
        &["36 languages"],
        "CC-BY-4.0",
        "languages=",
    ),
];

impl Catalogue {
    /// Every dataset that [`open`] can read.
    #[must_use]
    pub const fn all() -> &'static [Self] {
        ALL
    }
}

/// What a loader is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The dataset's name in the catalogue.
    pub name: &'a str,
    pub path: &'a Path,
    pub options: &'a Options,
    /// As [`Catalogue::default_part`].
    pub default_part: &'a str,
    pub candidate: Candidate,
    /// Several files of one language are one dataset (`SQuADShifts`' domains).
    pub many_files: bool,
    /// Ids of one language mean nothing in another.
    pub by_language: bool,
}

impl Request<'_> {
    /// The language that `language=` gives to files whose names say none; `SQuADShifts` is in English.
    #[must_use]
    pub fn stated(&self) -> Option<String> {
        let given = self.options.get("language").or((self.name == "squadshifts").then_some("en"));
        given.map(super::language::normalise)
    }

    /// True where ids of one language mean nothing in another: by `ids=apart`, or as the dataset is.
    ///
    /// # Errors
    /// Another value of `ids`.
    pub fn is_apart(&self) -> Result<bool> {
        Ok(self.by_language || self.options.choice("ids", &["shared", "apart"])? == "apart")
    }

    /// The language of a file: what its name or its directories below the dataset's say, else `language=`.
    #[must_use]
    pub fn language_of(&self, file: &Found) -> Option<String> {
        file.language.clone().or_else(|| self.stated())
    }

    /// The dataset as it is to be written where nothing says a language: with the one that its own directory is called by.
    /// That one is not taken unasked, as token caches are found whatever the directory is called.
    #[must_use]
    pub fn with_language(&self) -> String {
        let around = super::language::of_folder(self.path);
        let items = self.options.items();
        let before = if items.is_empty() { String::new() } else { items.join(",") + "," };
        format!("{}[{before}language={}]", self.name, around.as_deref().unwrap_or("en"))
    }

    /// Refuses a `language=` that none of these files, which will be read, takes or has; of files and directories that are
    /// called by another it is noted.
    ///
    /// # Errors
    /// Names a file, what its name says, and the remedy.
    pub fn check_stated(&self, files: &[&Found], sink: &mut dyn Sink) -> Result<()> {
        let Some(stated) = self.stated() else { return Ok(()) };
        if files.iter().any(|f| f.language.is_none()) {
            if let Some(around) = super::language::of_folder(self.path).filter(|l| *l != stated) {
                sink.note(format!(
                    "language={stated} counts, though {} is called by '{around}'",
                    self.path.display()
                ));
            }
            let others = files.iter().filter(|f| f.language.as_ref().is_some_and(|l| *l != stated));
            for other in others {
                sink.note(format!(
                    "{}: read as '{}', as its name says; language={stated} is for files whose names say none",
                    other.path.display(),
                    other.language.as_deref().unwrap_or_default()
                ));
            }
            return Ok(());
        }
        let Some(other) =
            files.first().filter(|_| files.iter().all(|f| f.language.as_ref() != Some(&stated)))
        else {
            return Ok(());
        };
        bail!(
            "language={stated}: {} says '{}' in its name, and language= is for files whose names say none; leave it out, or \
             rename the file",
            other.path.display(),
            other.language.as_deref().unwrap_or_default()
        )
    }
}

/// What a loader reads, whatever the settings' order and whether a default part is named or not.
///
/// # Errors
/// As [`Options::parse`].
pub fn canonical(dataset: &DatasetRef) -> Result<String> {
    let default = ALL.iter().find(|e| e.name == dataset.name).map_or("", |e| e.default_part);
    let mut items = Options::parse(dataset)?.items();
    items.retain(|item| item != default);
    items.sort();
    Ok(format!("{}[{}]", dataset.name, items.join(",")))
}

/// Datasets that are read from start to end into a [`Sink`]: they can be larger than memory.
#[must_use]
pub fn is_streamed(dataset: &DatasetRef) -> bool {
    ALL.iter().any(|e| e.name == dataset.name)
        && !matches!(dataset.name.as_str(), "demo" | "xquad-r" | "mlqa-r")
}

/// Whether a loader may read a file of its directory: by its name, whatever the dataset's part and languages.
#[must_use]
pub fn may_read(loader: &str, file: &Found) -> bool {
    let endings: &[&str] = match loader {
        "xquad-r" | "mlqa-r" => return file.ends(&[".json"]) && !file.name.contains('/'),
        "tatoeba" => return file.is_tatoeba(),
        "squad" | "squadshifts" => &[".json"],
        "mmarco" => &[".tsv", ".txt"],
        "tevatron" | "flag" | "mfaq" => &[".jsonl", ".json"],
        "miracl" | "mr-tydi" => &[".jsonl", ".json", ".tsv", ".txt"],
        "beir" => &[".jsonl", ".tsv", ".txt"],
        "mewsli-x" | "xm3600" => &[".jsonl"],
        _ => &read::ENDINGS,
    };
    file.ends(endings)
}

fn entry(dataset: &DatasetRef) -> Result<&'static Catalogue> {
    let Some(entry) = ALL.iter().find(|e| e.name == dataset.name) else {
        let known: Vec<&str> = ALL.iter().map(|e| e.name).collect();
        bail!("dataset '{dataset}': unknown; polymix knows {}", known.join(", "));
    };
    ensure!(
        entry.needs_path || dataset.path.is_none(),
        "dataset '{dataset}': '{}' is bundled and takes no path",
        entry.name
    );
    Ok(entry)
}

fn path<'a>(dataset: &'a DatasetRef, entry: &Catalogue) -> Result<&'a Path> {
    dataset.path.as_deref().with_context(|| {
        let what = match entry.name {
            "xquad-r" | "mlqa-r" => "the directory with en.json and the others, as",
            _ => "the file or directory that it lies in, as",
        };
        format!("give {what} {}=DIR", dataset.label())
    })
}

/// Opens a dataset in memory.
///
/// # Errors
/// Unknown names list the known ones; a missing path, a missing or broken file, an unknown part each give one
/// error with the file, the field and the remedy.
pub fn open(dataset: &DatasetRef, candidate: Candidate) -> Result<Dataset> {
    let (own, selection) = Selection::split(dataset).with_context(|| format!("dataset '{dataset}'"))?;
    if let Some(selection) = selection {
        let whole = || format!("dataset '{dataset}'");
        let mut builder = Builder::default();
        select(&own, selection, candidate, &mut builder).with_context(whole)?;
        return builder.finish(dataset.label()).with_context(whole);
    }
    let entry = entry(dataset)?;
    match entry.name {
        "demo" => super::demo::open(dataset),
        "xquad-r" | "mlqa-r" => xquadr::open(path(dataset, entry)?, dataset, candidate),
        _ => {
            let mut builder = Builder::default();
            load(dataset, entry, candidate, &mut builder).and_then(|()| builder.finish(dataset.label()))
        }
    }
    .with_context(|| format!("dataset '{dataset}'"))
}

/// Reads a dataset into a sink, without holding its texts.
///
/// # Errors
/// As [`open`], and what the sink returns.
pub fn stream(dataset: &DatasetRef, candidate: Candidate, to: &mut dyn Sink) -> Result<()> {
    let (own, selection) = Selection::split(dataset).with_context(|| format!("dataset '{dataset}'"))?;
    if let Some(selection) = selection {
        return select(&own, selection, candidate, to).with_context(|| format!("dataset '{dataset}'"));
    }
    let entry = entry(dataset)?;
    if is_streamed(dataset) {
        return load(dataset, entry, candidate, to).with_context(|| format!("dataset '{dataset}'"));
    }
    sink::replay(&open(dataset, candidate)?, to)
}

/// Reads what a selection keeps of a dataset.
fn select(own: &DatasetRef, selection: Selection, candidate: Candidate, to: &mut dyn Sink) -> Result<()> {
    let mut selecting = Selecting::new(selection, to);
    stream(own, candidate, &mut selecting)?;
    selecting.finish()
}

fn load(dataset: &DatasetRef, entry: &Catalogue, candidate: Candidate, to: &mut dyn Sink) -> Result<()> {
    let options = Options::parse(dataset)?;
    let request = Request {
        name: entry.name,
        path: path(dataset, entry)?,
        options: &options,
        default_part: entry.default_part,
        candidate,
        many_files: entry.name == "squadshifts",
        by_language: entry.name == "mr-tydi",
    };
    // Their languages are chosen by question alone, or by pair: the candidates of others belong to them.
    let by_row = !matches!(entry.name, "mewsli-x" | "tatoeba");
    let mut filtering = Filtering::new(&options, by_row, to);
    let to = &mut filtering;
    match entry.name {
        "squad" | "squadshifts" => squad::read(&request, to),
        "mmarco" => mmarco::read(&request, to),
        "miracl" | "mr-tydi" => trec::read(&request, to),
        "mfaq" => mfaq::read(&request, to),
        "tevatron" => triples::tevatron(&request, to),
        "flag" => triples::flag(&request, to),
        "pairs" => pairs::read(&request, to),
        "beir" => beir::read(&request, to),
        "tatoeba" => tatoeba::read(&request, to),
        "mewsli-x" => mewsli::read(&request, to),
        "xm3600" => captions::read(&request, to),
        other => bail!("'{other}' has no loader"),
    }?;
    filtering.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_the_same_is_written_the_same() {
        let of = |text: &str| canonical(&text.parse().expect(text)).expect(text);
        for (one, other) in [
            ("mmarco=a", "mmarco[train]=b"),
            ("miracl[languages=sw+te]=a", "miracl[dev, languages=sw+te]=a"),
            ("pairs[question=q,passage=p]=a", "pairs[passage=p,question=q]=a"),
            ("beir[test]=a", "beir=a"),
        ] {
            assert_eq!(of(one), of(other));
        }
        for (one, other) in
            [("mmarco=a", "mmarco[dev]=a"), ("miracl=a", "miracl[train]=a"), ("squad=a", "squad[train]=a")]
        {
            assert_ne!(of(one), of(other));
        }
    }
}
