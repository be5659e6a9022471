//! BEIR (Thakur et al. 2021): `corpus.jsonl`, `queries.jsonl`, `qrels/SPLIT.tsv`.
//!
//! One language in the directory itself, or a directory a language with ids shared across them. A passage is title
//! and text, joined by a space. Grades above 0 are relevant; a judged 0 is none. A row's own `language` counts before the
//! directory's; document ids are the directory's own, whatever the language of its rows.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::open::Request;
use super::read::{self, Found, json_lines};
use super::trec::{Linking, check_asked, qrels};
use super::{Sink, language};

/// Reads corpus, questions and judgements.
pub fn read(request: &Request<'_>, sink: &mut dyn Sink) -> Result<()> {
    let options = request.options;
    let part = options.part(request.default_part, &[])?;
    let _ = (options.languages(), options.get("language"));
    options.finish(true)?;
    ensure!(
        request.path.is_dir() || !request.path.exists(),
        "{}: is a file; give the directory with corpus.jsonl, queries.jsonl and qrels/",
        request.path.display()
    );
    let found = read::find(request.path)?;
    let mut folders: BTreeMap<PathBuf, &Found> = BTreeMap::new();
    for file in found.iter().filter(|f| f.name.rsplit('/').next() == Some("corpus.jsonl")) {
        folders.insert(file.path.parent().unwrap_or(Path::new(".")).to_owned(), file);
    }
    let parquet = found.iter().find(|f| f.ends(&[".parquet"]));
    if let Some(parquet) = parquet.filter(|_| folders.is_empty()) {
        bail!(
            "{}: no corpus.jsonl, but Parquet ({}); BEIR is read as corpus.jsonl, queries.jsonl and qrels/{part}.tsv: write \
             them with pandas, as read_parquet(FILE).to_json(\"corpus.jsonl\", orient=\"records\", lines=True)",
            request.path.display(),
            parquet.name
        );
    }
    ensure!(
        !folders.is_empty(),
        "{}: no corpus.jsonl (also .gz or .zst); a BEIR directory has corpus.jsonl, queries.jsonl and qrels/",
        request.path.display()
    );
    let several = folders.len() > 1;
    request.check_stated(&folders.values().copied().collect::<Vec<_>>(), sink)?;
    for (folder, corpus) in folders {
        let own = request.language_of(corpus);
        if own.as_ref().is_some_and(|l| !options.wants(l)) {
            continue;
        }
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let prefix = several.then(|| corpus.language.clone().unwrap_or_else(|| name.into_owned()));
        let here: Vec<Found> = found.iter().filter(|f| f.path.starts_with(&folder)).cloned().collect();
        let folder = Folder { request, path: &folder, files: &here, own: own.as_deref(), prefix };
        folder.read(corpus, part, sink)?;
    }
    Ok(())
}

/// One directory with its own corpus.
struct Folder<'a> {
    request: &'a Request<'a>,
    path: &'a Path,
    files: &'a [Found],
    /// The language of rows that say none.
    own: Option<&'a str>,
    /// Stands before document ids where there are several directories.
    prefix: Option<String>,
}

impl Folder<'_> {
    fn judged(&self, part: &str) -> Result<&Found> {
        let is_judged = |f: &Found| f.name.contains("qrels") && f.ends(&[".tsv", ".txt"]);
        let splits: Vec<&str> = self.files.iter().filter(|f| is_judged(f)).map(Found::file_name).collect();
        if splits.is_empty() {
            bail!(
                "{}: no judgements; add them as qrels/{part}.tsv (query-id, corpus-id, score, by tabs)",
                self.path.display()
            )
        }
        ensure!(
            self.files.iter().any(|f| is_judged(f) && f.says(part)),
            "{}: no qrels for the part '{part}'; there are {}; write {}[PART]",
            self.path.display(),
            splits.join(", "),
            self.request.name
        );
        read::one(self.files, self.path, "qrels file of the part", part, |f| is_judged(f) && f.says(part))
    }

    fn language_of(&self, record: &read::Record) -> Result<String> {
        if let Some(code) = record.text_if(&["language", "lang"])? {
            return Ok(language::normalise(code));
        }
        self.own.map(str::to_owned).with_context(|| {
            format!(
                "neither a field 'language' nor the directory says the language; write {}",
                self.request.with_language()
            )
        })
    }

    fn read(&self, corpus: &Found, part: &str, sink: &mut dyn Sink) -> Result<()> {
        let queries =
            read::one(self.files, self.path, "queries.jsonl", "", |f| f.file_name() == "queries.jsonl")?;
        let judged = self.judged(part)?;
        for file in [corpus, queries, judged] {
            sink.input(&file.path)?;
        }
        let judgements = qrels(&judged.path)?;
        let key = |id: &str| self.prefix.as_ref().map_or_else(|| id.to_owned(), |p| format!("{p}:{id}"));
        json_lines(&corpus.path, |_, record| {
            let language = sink.language(&self.language_of(&record)?)?;
            sink.passage(&key(&record.id(&read::ID)?), language, &record.title_and_text()?)?;
            Ok(())
        })?;
        let (mut asked, mut unjudged) = (0, 0);
        let mut left_out = HashSet::new();
        json_lines(&queries.path, |_, record| {
            let language = sink.language(&self.language_of(&record)?)?;
            let id = record.id(&read::ID)?;
            if judgements.relevant(&id) {
                asked += 1;
                let text = record.text(&["text", "query", "question", "query_text"])?;
                if sink.ask(&id, "all", language, text)?.is_none() {
                    left_out.insert(id);
                }
            } else {
                unjudged += 1;
            }
            Ok(())
        })?;
        check_asked(asked, &queries.path, &judged.path)?;
        let at = self.own.map_or(String::new(), |l| format!("{l}: "));
        if unjudged > 0 {
            sink.note(format!(
                "{at}{unjudged} questions have no relevant document in '{part}' and were left out"
            ));
        }
        judgements.link(
            sink,
            &Linking {
                path: &judged.path,
                question: &str::to_owned,
                document: &key,
                left_out: &left_out,
                at: &at,
                questions: "queries.jsonl",
                remedy: "the missing documents to corpus.jsonl, or remove the lines",
            },
        )
    }
}
