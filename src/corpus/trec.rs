//! Topics, judgements and a corpus a language, as MIRACL and Mr. `TyDi` have them.
//!
//! Topics are `qid<TAB>question`, judgements TREC's four columns, the corpus JSON lines (`docid` or `id`; `title` and
//! `text`, or `contents`), in shards, plain or compressed. Ids of one language mean nothing in another. A passage is
//! title and text. A judged 0 is not relevant: it serves as a hard negative. Mr. `TyDi`'s stand in its `train.jsonl`, and
//! are taken from there where it lies beside the topics.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::Sink;
use super::open::Request;
use super::read::{self, Found, json_lines};
use super::triples::{self, Missing};

/// One line of a judgement file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub line: usize,
    pub question: String,
    pub document: String,
    pub grade: i64,
}

/// A judgement file.
#[derive(Clone, Debug, Default)]
pub struct Judgements {
    pub all: Vec<Judgement>,
    relevant: HashSet<String>,
}

impl Judgements {
    /// True where the question has a relevant document.
    pub fn relevant(&self, question: &str) -> bool {
        self.relevant.contains(question)
    }

    /// Tells the sink which passages answer which questions, and which do not though they were looked at.
    ///
    /// # Errors
    /// A relevant document that there is not.
    pub fn link(&self, sink: &mut dyn Sink, linking: &Linking<'_>) -> Result<()> {
        let mut missing = Missing::default();
        let (mut zero, mut unasked, mut absent) = (0, 0, 0);
        for Judgement { line, question, document, grade } in &self.all {
            let Some(group) = sink.find_group(&(linking.question)(question)) else {
                unasked += usize::from(*grade > 0 && !linking.left_out.contains(question));
                continue;
            };
            match sink.find_passage(&(linking.document)(document)) {
                Some(passage) if *grade > 0 => {
                    sink.graded(group, passage, u32::try_from(*grade).unwrap_or(u32::MAX));
                }
                Some(passage) => {
                    zero += 1;
                    sink.negative(group, passage);
                }
                None if *grade > 0 => missing.add(document, linking.path, *line),
                None => absent += 1,
            }
        }
        missing.refuse(linking.remedy)?;
        let Linking { at, questions, .. } = linking;
        for (count, what) in [
            (unasked, format!("judgements are for questions that {questions} does not have")),
            (zero, "documents are judged 0: not relevant; training may use them as hard negatives".into()),
            (absent, "documents that are judged 0 are not in the corpus, and were left out".into()),
        ] {
            if count > 0 {
                sink.note(format!("{at}{count} {what}"));
            }
        }
        Ok(())
    }
}

/// Refuses judgements of other questions than those that were asked.
///
/// # Errors
/// Where none of the questions has a relevant document.
pub fn check_asked(asked: usize, questions: &Path, judged: &Path) -> Result<()> {
    ensure!(
        asked > 0,
        "{}: none of its question ids has a judgement above 0 in {}; are these judgements of other questions?",
        questions.display(),
        judged.display()
    );
    Ok(())
}

/// What judgements are linked with.
pub struct Linking<'a> {
    /// The judgements' file.
    pub path: &'a Path,
    /// From an id in the file to that in the sink.
    pub question: &'a dyn Fn(&str) -> String,
    pub document: &'a dyn Fn(&str) -> String,
    /// Ids of questions that there are, but that were left out.
    pub left_out: &'a HashSet<String>,
    /// What notes begin with, such as `sw: `.
    pub at: &'a str,
    /// Name of the questions' file.
    pub questions: &'a str,
    /// What to add where a relevant document is missing.
    pub remedy: &'a str,
}

/// A grade: a whole number, also as pandas writes it (`2.0`).
pub fn grade(text: &str) -> Option<i64> {
    let whole = || text.parse::<f64>().ok().filter(|n| n.fract() == 0.0 && n.abs() < 1e15).map(|n| n as i64);
    text.parse().ok().or_else(whole)
}

/// Question, document and grade of a line of JSON, as MTEB writes judgements; `None` where the line is no JSON object, by
/// how it begins and ends.
///
/// # Errors
/// A field that is missing; a grade that is no whole number.
pub fn judgement(line: &str) -> Result<Option<(String, String, i64)>> {
    let line = line.trim();
    if !(line.starts_with('{') && line.ends_with('}')) {
        return Ok(None);
    }
    let record = read::object(line)?;
    let question = record.id(&["query-id", "query_id", "qid"])?;
    let document = record.id(&["corpus-id", "corpus_id", "docid", "doc_id"])?;
    let (name, value) =
        record.get(&["score", "grade", "relevance", "label"]).context("field 'score' is missing")?;
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let grade =
        grade(&text).with_context(|| format!("field '{name}': grade {text}: must be a whole number"))?;
    Ok(Some((question, document, grade)))
}

/// Reads judgements: three columns (question, document, grade) or TREC's four (question, iteration, document, grade),
/// by tabs or spaces, or JSON lines (`query-id`, `corpus-id`, `score`). The first line is a header where its last column is
/// no number.
///
/// # Errors
/// A line with another number of columns or a grade that is no whole number; a pair that is judged twice differently.
pub fn qrels(path: &Path) -> Result<Judgements> {
    let mut judgements = Judgements::default();
    let mut first = true;
    let mut seen: HashMap<(String, String), i64> = HashMap::new();
    read::lines(path, |line, text| {
        let header = std::mem::replace(&mut first, false);
        let Some((question, document, value)) = columns(text, header)? else { return Ok(()) };
        ensure!(!question.is_empty() && !document.is_empty(), "an id is empty");
        let pair = (question.clone(), document.clone());
        if let Some(other) = seen.insert(pair, value) {
            ensure!(
                other == value,
                "question '{question}', document '{document}': judged {other} and {value}"
            );
            return Ok(());
        }
        if value > 0 {
            judgements.relevant.insert(question.clone());
        }
        judgements.all.push(Judgement { line, question, document, grade: value });
        Ok(())
    })?;
    ensure!(!judgements.all.is_empty(), "{}: has a header, but no judgements", path.display());
    Ok(judgements)
}

/// Question, document and grade of a line of judgements; `None`: a header, which may stand in the `first` line.
fn columns(text: &str, first: bool) -> Result<Option<(String, String, i64)>> {
    if let Some(judgement) = judgement(text)? {
        return Ok(Some(judgement));
    }
    let cells: Vec<&str> = if text.contains('\t') {
        text.split('\t').map(str::trim).collect()
    } else {
        text.split_whitespace().collect()
    };
    let (question, document, text) = match cells.as_slice() {
        [q, d, g] | [q, _, d, g] => (*q, *d, *g),
        other => bail!("{} columns; judgements have 3 (question, document, grade) or 4", other.len()),
    };
    match grade(text) {
        Some(grade) => Ok(Some((question.to_owned(), document.to_owned(), grade))),
        None if first && text.parse::<f64>().is_err() => Ok(None),
        None => bail!("grade '{text}': must be a whole number"),
    }
}

/// Reads the languages' topics, judgements and corpora.
pub fn read(request: &Request<'_>, sink: &mut dyn Sink) -> Result<()> {
    let options = request.options;
    let part = options.part(request.default_part, &[])?;
    let _ = (options.languages(), options.get("language"));
    options.finish(true)?;
    ensure!(
        request.path.is_dir() || !request.path.exists(),
        "{}: is a file; give the directory with topics, qrels and corpus",
        request.path.display()
    );
    let found = read::find(request.path)?;
    let of = |f: &Found| request.language_of(f);
    let topics: Vec<&Found> =
        found.iter().filter(|f| f.says("topic") && f.says(part) && f.ends(&[".tsv", ".txt"])).collect();
    if topics.is_empty() && found.iter().any(|f| is_triples(request, f) && f.says(part)) {
        return triples::tevatron(request, sink);
    }
    let example = match request.name {
        "miracl" => format!("topics.miracl-v1.0-sw-{part}.tsv"),
        _ => format!("ir-format-data/topics.{part}.tsv, and no {part}.jsonl"),
    };
    let parts: BTreeSet<&str> = found
        .iter()
        .filter(|f| (f.says("topic") && f.ends(&[".tsv", ".txt"])) || is_triples(request, f))
        .map(Found::file_name)
        .collect();
    ensure!(
        !topics.is_empty(),
        "{}: no topics file of the part '{part}', such as {example}{}",
        request.path.display(),
        if parts.is_empty() {
            String::new()
        } else {
            let names: Vec<&str> = parts.into_iter().take(6).collect();
            format!("; there are {}: name the part, as {}[PART]", names.join(", "), request.name)
        }
    );
    request.check_stated(&topics, sink)?;
    let languages: BTreeSet<Option<String>> = topics.iter().map(|f| of(f)).collect();
    for file in found.iter().filter(|f| is_triples(request, f) && f.says(part) && !languages.contains(&of(f)))
    {
        sink.note(format!("{}: left out, as other languages have topics; open it by itself", file.name));
    }
    for code in languages {
        let Some(code) = code else {
            bail!(
                "{}: the name says no language; put the files into a directory named by it and give the one above, or write {}",
                topics[0].path.display(),
                request.with_language()
            )
        };
        if !options.wants(&code) {
            continue;
        }
        let own: Vec<Found> = found.iter().filter(|f| of(f).as_deref() == Some(&code)).cloned().collect();
        one(request, sink, &own, &code, part).with_context(|| format!("language '{code}'"))?;
    }
    Ok(())
}

/// True for Mr. `TyDi`'s other layout, `train.jsonl` and its like with the texts inside.
fn is_triples(request: &Request<'_>, file: &Found) -> bool {
    let says_part = ["train", "dev", "test"].iter().any(|p| file.says(p));
    request.name == "mr-tydi" && file.ends(&[".jsonl"]) && says_part && !triples::is_corpus(file)
}

/// What the hub's tools leave beside data.
const ABOUT: [&str; 6] = [
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "config.json",
    "metadata.json",
];

/// The files of the corpus: those that say so, where any does, else every file of JSON that holds nothing else; and those
/// that were left out because others say so.
fn shards<'a>(request: &Request<'_>, files: &'a [Found]) -> (Vec<&'a Found>, Vec<&'a Found>) {
    let (named, others): (Vec<&Found>, Vec<&Found>) = files
        .iter()
        .filter(|f| f.ends(&[".jsonl", ".json"]) && !f.says("topic") && !f.says("train"))
        .filter(|f| !is_triples(request, f) && !ABOUT.contains(&f.file_name()))
        .partition(|f| triples::is_corpus(f));
    if named.is_empty() { (others, Vec::new()) } else { (named, others) }
}

fn one(request: &Request<'_>, sink: &mut dyn Sink, files: &[Found], code: &str, part: &str) -> Result<()> {
    let text = [".tsv", ".txt"];
    let topics = read::one(files, request.path, "topics file", part, |f| {
        f.says("topic") && f.says(part) && f.ends(&text)
    })?;
    let judged = read::one(files, request.path, "qrels file", part, |f| {
        f.says("qrels") && f.says(part) && f.ends(&text)
    })?;
    let (shards, others) = shards(request, files);
    ensure!(
        !shards.is_empty(),
        "{}: no corpus for the language: add its .jsonl shards (docid, title, text), for example in {}",
        request.path.display(),
        match request.name {
            "miracl" => format!("miracl-corpus-v1.0-{code}/"),
            _ => "the directory of its topics, as corpus.jsonl.gz".into(),
        }
    );
    sink.input(&topics.path)?;
    sink.input(&judged.path)?;
    let judgements = qrels(&judged.path)?;
    let language = sink.language(code)?;
    let key = |id: &str| format!("{code}:{id}");
    let (mut asked, mut unjudged) = (0, 0);
    let mut left_out = HashSet::new();
    read::lines(&topics.path, |_, line| {
        let (id, question) =
            line.split_once('\t').context("topics are `id<TAB>question`; this line has no tab")?;
        if judgements.relevant(id.trim()) {
            asked += 1;
            if sink.ask(&key(id.trim()), "all", language, question.trim())?.is_none() {
                left_out.insert(id.trim().to_owned());
            }
        } else {
            unjudged += 1;
        }
        Ok(())
    })?;
    check_asked(asked, &topics.path, &judged.path)?;
    for shard in shards {
        sink.input(&shard.path)?;
        json_lines(&shard.path, |_, record| {
            sink.passage(&key(&record.id(&read::ID)?), language, &record.title_and_text()?)?;
            Ok(())
        })?;
    }
    let at = format!("{code}: ");
    if let Some(first) = others.first() {
        sink.note(format!(
            "{at}{} files that do not say docs or corpus in their names were left out, the first is {}",
            others.len(),
            first.name
        ));
    }
    if unjudged > 0 {
        sink.note(format!("{at}{unjudged} questions have no relevant document and were left out"));
    }
    judgements.link(
        sink,
        &Linking {
            path: &judged.path,
            question: &key,
            document: &key,
            left_out: &left_out,
            at: &at,
            questions: topics.file_name(),
            remedy: "the corpus shards that hold them",
        },
    )?;
    if request.name != "mr-tydi" || part != "train" {
        return Ok(());
    }
    let triples: Vec<&Found> = files.iter().filter(|f| is_triples(request, f) && f.says(part)).collect();
    if triples.is_empty() {
        sink.note(format!(
            "{at}no hard negatives: these stand in {part}.jsonl.gz, which belongs into the folder above ir-format-data/"
        ));
    }
    let (mut known, mut absent) = (0, 0);
    for file in triples {
        sink.input(&file.path)?;
        json_lines(&file.path, |_, record| {
            let question = record.id(&["query_id", "qid", "_id", "id"])?;
            let Some(group) = sink.find_group(&key(&question)) else { return Ok(()) };
            for document in triples::documents(&record, "negative_passages")? {
                match sink.find_passage(&key(&document.id(&read::ID)?)) {
                    Some(passage) => {
                        known += 1;
                        sink.negative(group, passage);
                    }
                    None => absent += 1,
                }
            }
            Ok(())
        })?;
        if known + absent == 0 {
            sink.note(format!(
                "{at}{} has no negatives for the questions of {}",
                file.name,
                topics.file_name()
            ));
        }
    }
    if absent > 0 {
        sink.note(format!("{at}{absent} negatives of {part}.jsonl are not in the corpus, and were left out"));
    }
    Ok(())
}
