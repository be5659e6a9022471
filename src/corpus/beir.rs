//! BEIR (Thakur et al. 2021): `corpus.jsonl`, `queries.jsonl`, `qrels/SPLIT.tsv`.
//!
//! One language in the directory itself, or a directory a language with ids shared across them. A passage is title
//! and text, joined by a space. Grades above 0 are relevant; a judged 0 is none. A row's own `language` counts before the
//! directory's; document ids are the directory's own, whatever the language of its rows. A question whose id is a document's
//! (`ArguAna`, Quora) is not ranked against it, as in BEIR's own evaluation, unless it is judged relevant.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::open::Request;
use super::read::{self, Found, json_lines};
use super::select::NONE;
use super::trec::{Linking, check_asked, qrels};
use super::{Sink, language};

/// Reads corpus, questions and judgements.
pub fn read(request: &Request<'_>, sink: &mut dyn Sink) -> Result<()> {
    let options = request.options;
    let part = options.part(request.default_part, &[])?;
    let _ = (options.languages(), options.get("language"));
    let (is_apart, states_ids) = (request.is_apart()?, options.get("ids").is_some());
    let keeps_itself = options.choice("self", &["drop", "keep"])? == "keep";
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
    let (mut known, mut read): (HashMap<String, PathBuf>, Vec<Read>) = (HashMap::new(), Vec::new());
    for (folder, corpus) in &folders {
        let own = request.language_of(corpus);
        if own.as_ref().is_some_and(|l| !options.wants(l)) {
            continue;
        }
        if let Some(code) = &own {
            check_alone(request, &mut known, code, folder)?;
        }
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let prefix = several.then(|| corpus.language.clone().unwrap_or_else(|| name.into_owned()));
        let here: Vec<Found> = found.iter().filter(|f| f.path.starts_with(folder)).cloned().collect();
        let reader = Folder {
            request,
            path: folder,
            files: &here,
            own: own.as_deref(),
            ids: Ids { prefix, is_apart },
        };
        read.push(reader.read(corpus, part, &mut known, sink)?);
    }
    if !keeps_itself {
        tell_itself(&read, is_apart, sink);
    }
    let mut languages: HashMap<&str, BTreeSet<(usize, &str)>> = HashMap::new();
    for (number, (id, language)) in
        read.iter().enumerate().flat_map(|(n, r)| r.asked.iter().map(move |asked| (n, asked)))
    {
        languages.entry(id).or_default().insert((number, language));
    }
    let shared = languages.values().filter(|l| l.len() > 1).count();
    let is_told = if is_apart { several } else { states_ids };
    if shared > 0 && !is_told {
        sink.note(format!(
            "{shared} question ids stand in several languages: they count as translations{}",
            if several { "; if they are not, write ids=apart" } else { ", as one qrels file judges them" }
        ));
    }
    Ok(())
}

/// Refuses a second directory in one language: two datasets, whose pools would be one.
fn check_alone(
    request: &Request<'_>,
    known: &mut HashMap<String, PathBuf>,
    code: &str,
    folder: &Path,
) -> Result<()> {
    let Some(other) = known.get(code) else {
        known.insert(code.to_owned(), folder.to_owned());
        return Ok(());
    };
    if other == folder {
        return Ok(());
    }
    let items = request.options.items();
    bail!(
        "{} and {}: two datasets in '{code}', which are evaluated one by one; write {}{}={}",
        other.display(),
        folder.display(),
        request.name,
        if items.is_empty() { String::new() } else { format!("[{}]", items.join(",")) },
        other.display()
    )
}

/// Tells which documents are questions: in whatever language, as ids are shared, or in their own.
fn tell_itself(read: &[Read], is_apart: bool, sink: &mut dyn Sink) {
    for (number, from) in read.iter().enumerate() {
        for (id, _) in &from.asked {
            let Some(group) = sink.find_group(&from.ids.question(id)) else { continue };
            for (_, folder) in read.iter().enumerate().filter(|(n, _)| !is_apart || *n == number) {
                let passage = sink.find_passage(&folder.ids.document(id)).filter(|p| *p != NONE);
                if let Some(passage) = passage.filter(|_| !folder.answers_itself.contains(id)) {
                    sink.itself(group, passage);
                }
            }
        }
    }
}

/// What ids of a directory are in the dataset.
#[derive(Clone)]
struct Ids {
    /// Stands before document ids where there are several directories.
    prefix: Option<String>,
    /// And before question ids.
    is_apart: bool,
}

impl Ids {
    fn document(&self, id: &str) -> String {
        self.prefix.as_ref().map_or_else(|| id.to_owned(), |p| format!("{p}:{id}"))
    }

    fn question(&self, id: &str) -> String {
        if self.is_apart { self.document(id) } else { id.to_owned() }
    }
}

/// What was read of a directory.
struct Read {
    ids: Ids,
    /// Ids and languages of its questions.
    asked: Vec<(String, String)>,
    /// Ids of questions that are judged to be relevant documents of themselves.
    answers_itself: HashSet<String>,
}

/// One directory with its own corpus.
struct Folder<'a> {
    request: &'a Request<'a>,
    path: &'a Path,
    files: &'a [Found],
    /// The language of rows that say none.
    own: Option<&'a str>,
    ids: Ids,
}

impl Folder<'_> {
    fn judged(&self, part: &str) -> Result<&Found> {
        let is_table = |f: &Found| f.name.contains("qrels") && f.ends(&[".tsv", ".txt"]);
        let has_texts = |f: &Found| ["corpus.jsonl", "queries.jsonl"].contains(&f.file_name());
        let is_lines = |f: &Found| f.name.contains("qrels") && f.ends(&[".jsonl"]) && !has_texts(f);
        // MTEB has both layouts.
        let has_table = self.files.iter().any(|f| is_table(f) && f.says(part));
        let is_judged = |f: &Found| is_table(f) || (!has_table && is_lines(f));
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

    /// `known`: by language the directory that has questions in it.
    fn read(
        &self,
        corpus: &Found,
        part: &str,
        known: &mut HashMap<String, PathBuf>,
        sink: &mut dyn Sink,
    ) -> Result<Read> {
        let queries =
            read::one(self.files, self.path, "queries.jsonl", "", |f| f.file_name() == "queries.jsonl")?;
        let judged = self.judged(part)?;
        for file in [corpus, queries, judged] {
            sink.input(&file.path)?;
        }
        let judgements = qrels(&judged.path)?;
        let itself = judgements.all.iter().filter(|j| j.grade > 0 && j.question == j.document);
        let mut done = Read {
            ids: self.ids.clone(),
            asked: Vec::new(),
            answers_itself: itself.map(|j| j.question.clone()).collect(),
        };
        let key = |id: &str| self.ids.document(id);
        let question = |id: &str| self.ids.question(id);
        json_lines(&corpus.path, |_, record| {
            let language = sink.language(&self.language_of(&record)?)?;
            sink.passage(&key(&record.id(&read::ID)?), language, &record.title_and_text()?)?;
            Ok(())
        })?;
        let (mut asked, mut unjudged) = (0, 0);
        let mut left_out = HashSet::new();
        json_lines(&queries.path, |_, record| {
            let code = self.language_of(&record)?;
            let language = sink.language(&code)?;
            let id = record.id(&read::ID)?;
            if judgements.relevant(&id) {
                if self.own.is_none() && self.request.options.wants(&code) {
                    check_alone(self.request, known, &code, self.path)?;
                }
                asked += 1;
                let text = record.text(&["text", "query", "question", "query_text"])?;
                if sink.ask(&question(&id), "all", language, text)?.is_none() {
                    left_out.insert(id);
                } else {
                    done.asked.push((id, code));
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
                question: &question,
                document: &key,
                left_out: &left_out,
                at: &at,
                questions: "queries.jsonl",
                remedy: "the missing documents to corpus.jsonl, or remove the lines",
            },
        )?;
        Ok(done)
    }
}
