//! mMARCO's evaluation set: questions with judgements, and a whole collection a language as the pool.
//!
//! `LANGUAGE_collection.tsv` (`pid<TAB>text`), `LANGUAGE_queries.dev.small.tsv` (`qid<TAB>text`) and `qrels.dev.small.tsv`
//! (TREC's four columns). Ids are shared, so a passage that answers a question does so in every language. `[pool=judged]`
//! keeps only passages that the judgements name: a much smaller pool, on which scores are much higher.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::mmarco::{cells, number};
use super::read::{self, Found, place};
use super::trec::{Judgement, check_asked, qrels};
use super::{LanguageId, Sink};

/// Reads questions of all languages, then the collections. `languages`: code, collection, queries.
pub fn read(
    sink: &mut dyn Sink,
    judged: &Found,
    languages: &BTreeMap<&str, (&Found, &Found)>,
    whole_pool: bool,
) -> Result<()> {
    sink.input(&judged.path)?;
    let judgements = Judged::read(&judged.path)?;
    let mut numbers = Vec::new();
    for (code, (_, queries)) in languages {
        sink.input(&queries.path)?;
        let language = sink.language(code)?;
        numbers.push(language);
        questions(sink, language, queries, &judgements, &judged.path)?;
    }
    for ((code, (collection, _)), language) in languages.iter().zip(numbers) {
        sink.input(&collection.path)?;
        passages(sink, (code, language), collection, &judgements.of_passage, whole_pool)?;
    }
    if !whole_pool {
        sink.note("the pool has only passages that the judgements name; scores are not comparable with the whole pool's".into());
    }
    Ok(())
}

/// Judgements of questions, and whether they call the passage relevant, by passage.
type OfPassage = HashMap<u64, Vec<(u64, bool)>>;

/// Judgements by number.
#[derive(Default)]
struct Judged {
    of_passage: OfPassage,
    /// Questions with a relevant passage.
    relevant: HashSet<u64>,
}

impl Judged {
    fn read(path: &Path) -> Result<Self> {
        let mut judged = Self::default();
        let mut known: HashMap<(u64, u64), bool> = HashMap::new();
        for Judgement { line, question, document, grade } in qrels(path)?.all {
            let id = |text: &str, what: &str| number(text, what).with_context(|| place(path, line));
            let (question, passage) = (id(&question, "question id")?, id(&document, "passage id")?);
            let is_relevant = grade > 0;
            if let Some(other) = known.insert((question, passage), is_relevant) {
                ensure!(
                    other == is_relevant,
                    "{}: question {question}, passage {passage}: judged relevant and not relevant; remove one of the lines",
                    place(path, line)
                );
                continue;
            }
            if is_relevant {
                judged.relevant.insert(question);
            }
            judged.of_passage.entry(passage).or_default().push((question, is_relevant));
        }
        Ok(judged)
    }
}

fn questions(
    sink: &mut dyn Sink,
    language: LanguageId,
    queries: &Found,
    judgements: &Judged,
    judged: &Path,
) -> Result<()> {
    let (mut asked, mut left) = (0, 0);
    read::lines(&queries.path, |at, line| {
        let Some((id, text)) = cells(at, line, "question")? else { return Ok(()) };
        if judgements.relevant.contains(&id) {
            sink.ask(&id.to_string(), "all", language, text)?;
            asked += 1;
        } else {
            left += 1;
        }
        Ok(())
    })?;
    check_asked(asked, &queries.path, judged)?;
    if left > 0 {
        sink.note(format!("{}: {left} questions have no relevant passage and were left out", queries.name));
    }
    Ok(())
}

fn passages(
    sink: &mut dyn Sink,
    (code, language): (&str, LanguageId),
    collection: &Found,
    of_passage: &OfPassage,
    whole_pool: bool,
) -> Result<()> {
    let mut known: HashSet<u64> = HashSet::new();
    read::lines(&collection.path, |at, line| {
        let Some((id, text)) = cells(at, line, "passage")? else { return Ok(()) };
        let named = of_passage.get(&id);
        if named.is_none() && !whole_pool {
            return Ok(());
        }
        let passage = sink.new_passage(&|| format!("{code}_{id}"), language, text)?;
        let Some(judged) = named else { return Ok(()) };
        ensure!(known.insert(id), "passage '{id}': the id comes twice; ids must be unique in a language");
        for (question, is_relevant) in judged {
            match sink.find_group(&question.to_string()) {
                Some(group) if *is_relevant => sink.relevant(group, passage),
                Some(group) => sink.negative(group, passage),
                None => {}
            }
        }
        Ok(())
    })?;
    let is_asked = |question: &u64| sink.find_group(&question.to_string()).is_some();
    let unknown = || of_passage.iter().filter(|(id, _)| !known.contains(id));
    let absent = unknown().flat_map(|(_, judged)| judged).filter(|(q, relevant)| !*relevant && is_asked(q));
    let absent = absent.count();
    let is_lost = |judged: &[(u64, bool)]| judged.iter().any(|(q, relevant)| *relevant && is_asked(q));
    let lost: Vec<u64> = unknown().filter(|(_, judged)| is_lost(judged)).map(|(id, _)| *id).collect();
    ensure!(
        lost.is_empty(),
        "{}: {} passages that the judgements call relevant are missing, one is '{}'; fetch the whole file",
        collection.path.display(),
        lost.len(),
        lost.iter().min().unwrap_or(&0)
    );
    if absent > 0 {
        sink.note(format!(
            "{code}: {absent} documents that are judged 0 are not in its collection, and were left out"
        ));
    }
    Ok(())
}
