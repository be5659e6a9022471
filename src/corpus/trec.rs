//! Topics, judgements and a corpus a language, as MIRACL and Mr. `TyDi` have them.
//!
//! Topics are `qid<TAB>question`, judgements TREC's four columns, the corpus JSON lines (`docid` or `id`; `title` and
//! `text`, or `contents`), in shards, plain or compressed. Ids of one language mean nothing in another. A passage is
//! title and text. A judged 0 is not relevant: it serves as a hard negative.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::open::Request;
use super::read::{self, Found, json_lines};
use super::triples::{self, Missing};
use super::{Sink, language};

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
}

/// Reads judgements: three columns (question, document, grade) or TREC's four (question, iteration, document, grade),
/// by tabs or spaces. The first line is a header where its last column is no number.
///
/// # Errors
/// A line with another number of columns or a grade that is no whole number; a pair that is judged twice differently.
pub fn qrels(path: &Path) -> Result<Judgements> {
    let mut judgements = Judgements::default();
    let mut first = true;
    let mut seen: HashMap<(String, String), i64> = HashMap::new();
    read::lines(path, |line, text| {
        let cells: Vec<&str> = if text.contains('\t') {
            text.split('\t').map(str::trim).collect()
        } else {
            text.split_whitespace().collect()
        };
        let header = std::mem::replace(&mut first, false);
        let (question, document, grade) = match cells.as_slice() {
            [q, d, g] | [q, _, d, g] => (*q, *d, *g),
            other => bail!("{} columns; judgements have 3 (question, document, grade) or 4", other.len()),
        };
        let Ok(value) = grade.parse::<i64>() else {
            if header {
                return Ok(());
            }
            bail!("grade '{grade}': must be a whole number");
        };
        ensure!(!question.is_empty() && !document.is_empty(), "an id is empty");
        let pair = (question.to_owned(), document.to_owned());
        if let Some(other) = seen.insert(pair, value) {
            ensure!(
                other == value,
                "question '{question}', document '{document}': judged {other} and {value}"
            );
            return Ok(());
        }
        if value > 0 {
            judgements.relevant.insert(question.to_owned());
        }
        judgements.all.push(Judgement {
            line,
            question: question.to_owned(),
            document: document.to_owned(),
            grade: value,
        });
        Ok(())
    })?;
    ensure!(!judgements.all.is_empty(), "{}: has a header, but no judgements", path.display());
    Ok(judgements)
}

/// Reads the languages' topics, judgements and corpora.
pub fn read(request: &Request<'_>, sink: &mut dyn Sink) -> Result<()> {
    let options = request.options;
    let part = options.part(if request.name == "miracl" { "dev" } else { "test" }, &[])?;
    let _ = (options.languages(), options.get("language"));
    options.finish(true)?;
    ensure!(
        request.path.is_dir() || !request.path.exists(),
        "{}: is a file; give the directory with topics, qrels and corpus",
        request.path.display()
    );
    let found = read::find(request.path)?;
    let is = |f: &&Found, word: &str| f.name.contains(word);
    let tevatron = found.iter().any(|f| f.ends(&[".jsonl"]) && f.says("train") && !is(&f, "corpus"));
    if request.name == "mr-tydi" && tevatron && !found.iter().any(|f| f.says("topic")) {
        return triples::tevatron(request, sink);
    }
    let fixed = options.get("language").map(language::normalise);
    let of = |f: &Found| f.language.clone().or_else(|| fixed.clone());
    let topics: Vec<&Found> =
        found.iter().filter(|f| f.says("topic") && f.says(part) && f.ends(&[".tsv", ".txt"])).collect();
    ensure!(
        !topics.is_empty(),
        "{}: no topics file of the part '{part}', such as topics.miracl-v1.0-sw-{part}.tsv",
        request.path.display()
    );
    let languages: BTreeSet<Option<String>> = topics.iter().map(|f| of(f)).collect();
    for code in languages {
        let Some(code) = code else {
            bail!(
                "{}: the name says no language; put the files into a directory named by it, or write {}[language=sw]",
                topics[0].path.display(),
                request.name
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

fn one(request: &Request<'_>, sink: &mut dyn Sink, files: &[Found], code: &str, part: &str) -> Result<()> {
    let text = [".tsv", ".txt"];
    let topics =
        read::one(files, request.path, "topics file", |f| f.says("topic") && f.says(part) && f.ends(&text))?;
    let judged =
        read::one(files, request.path, "qrels file", |f| f.says("qrels") && f.says(part) && f.ends(&text))?;
    let shards: Vec<&Found> = files
        .iter()
        .filter(|f| f.ends(&[".jsonl", ".json"]) && !f.says("topic") && !f.says("train"))
        .collect();
    ensure!(
        !shards.is_empty(),
        "{}: no corpus for the language: add its .jsonl shards (docid, title, text), for example in miracl-corpus-v1.0-{code}/",
        request.path.display()
    );
    sink.input(&topics.path)?;
    sink.input(&judged.path)?;
    let judgements = qrels(&judged.path)?;
    let language = sink.language(code)?;
    let (mut asked, mut unjudged) = (0, 0);
    read::lines(&topics.path, |_, line| {
        let (id, question) =
            line.split_once('\t').context("topics are `id<TAB>question`; this line has no tab")?;
        if judgements.relevant(id.trim()) {
            let group = sink.group(&format!("{code}:{}", id.trim()), "all")?;
            sink.question(group, language, question.trim())?;
            asked += 1;
        } else {
            unjudged += 1;
        }
        Ok(())
    })?;
    ensure!(asked > 0, "{}: none of its question ids is in {}", topics.path.display(), judged.path.display());
    for shard in shards {
        sink.input(&shard.path)?;
        json_lines(&shard.path, |_, record| {
            let id = record.id(&read::ID)?;
            sink.passage(&format!("{code}:{id}"), language, &record.title_and_text()?)?;
            Ok(())
        })?;
    }
    let mut missing = Missing::default();
    let (mut zero, mut unasked) = (0, 0);
    for judgement in &judgements.all {
        let Some(group) = sink.find_group(&format!("{code}:{}", judgement.question)) else {
            unasked += 1;
            continue;
        };
        match sink.find_passage(&format!("{code}:{}", judgement.document)) {
            Some(passage) if judgement.grade > 0 => sink.relevant(group, passage),
            Some(passage) => {
                zero += 1;
                sink.negative(group, passage);
            }
            None if judgement.grade > 0 => missing.add(&judgement.document, &judged.path, judgement.line),
            None => {}
        }
    }
    missing.refuse("the corpus shards that hold them")?;
    if unjudged > 0 {
        sink.note(format!("{code}: {unjudged} questions have no relevant document and were left out"));
    }
    if unasked > 0 {
        sink.note(format!("{code}: {unasked} judgements are for questions that the topics do not have"));
    }
    if zero > 0 {
        sink.note(format!(
            "{code}: {zero} documents are judged 0: not relevant; training may use them as hard negatives"
        ));
    }
    Ok(())
}
