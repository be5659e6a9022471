//! mMARCO's evaluation set: questions with judgements, and a whole collection a language as the pool.
//!
//! `LANGUAGE_collection.tsv` (`pid<TAB>text`), `LANGUAGE_queries.dev.small.tsv` (`qid<TAB>text`) and `qrels.dev.small.tsv`
//! (TREC's four columns). Ids are shared, so a passage that answers a question does so in every language. `[pool=judged]`
//! keeps only passages that the judgements name: a much smaller pool, on which scores are much higher.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use anyhow::{Result, ensure};

use super::mmarco::cells;
use super::read::{self, Found};
use super::trec::{Judgements, check_asked, qrels};
use super::{LanguageId, Sink};

/// Reads questions of all languages, then the collections. `languages`: code, collection, queries.
pub fn read(
    sink: &mut dyn Sink,
    judged: &Found,
    languages: &BTreeMap<&str, (&Found, &Found)>,
    whole_pool: bool,
) -> Result<()> {
    sink.input(&judged.path)?;
    let judgements = qrels(&judged.path)?;
    let mut of_passage: HashMap<&str, Vec<(&str, bool)>> = HashMap::new();
    for j in &judgements.all {
        of_passage.entry(&j.document).or_default().push((&j.question, j.grade > 0));
    }
    let mut numbers = Vec::new();
    for (code, (_, queries)) in languages {
        sink.input(&queries.path)?;
        let language = sink.language(code)?;
        numbers.push(language);
        questions(sink, language, queries, &judgements, &judged.path)?;
    }
    for ((code, (collection, _)), language) in languages.iter().zip(numbers) {
        sink.input(&collection.path)?;
        passages(sink, (code, language), collection, &of_passage, whole_pool)?;
    }
    if !whole_pool {
        sink.note("the pool has only passages that the judgements name; scores are not comparable with the whole pool's".into());
    }
    Ok(())
}

fn questions(
    sink: &mut dyn Sink,
    language: LanguageId,
    queries: &Found,
    judgements: &Judgements,
    judged: &Path,
) -> Result<()> {
    let (mut asked, mut left) = (0, 0);
    read::lines(&queries.path, |at, line| {
        let Some((id, text)) = cells(at, line, "question")? else { return Ok(()) };
        if judgements.relevant(id) {
            sink.ask(id, "all", language, text)?;
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
    of_passage: &HashMap<&str, Vec<(&str, bool)>>,
    whole_pool: bool,
) -> Result<()> {
    let mut known: HashSet<&str> = HashSet::new();
    read::lines(&collection.path, |at, line| {
        let Some((id, text)) = cells(at, line, "passage")? else { return Ok(()) };
        let named = of_passage.get_key_value(id);
        if named.is_none() && !whole_pool {
            return Ok(());
        }
        let passage = sink.new_passage(&|| format!("{code}_{id}"), language, text)?;
        let Some((id, judged)) = named else { return Ok(()) };
        ensure!(known.insert(*id), "passage '{id}': the id comes twice; ids must be unique in a language");
        for (question, is_relevant) in judged {
            match sink.find_group(question) {
                Some(group) if *is_relevant => sink.relevant(group, passage),
                Some(group) => sink.negative(group, passage),
                None => {}
            }
        }
        Ok(())
    })?;
    let is_lost = |(id, judged): &(&&str, &Vec<(&str, bool)>)| {
        let is_needed = judged.iter().any(|(q, relevant)| *relevant && sink.find_group(q).is_some());
        is_needed && !known.contains(**id)
    };
    let absent = of_passage.iter().filter(|(id, _)| !known.contains(**id)).flat_map(|(_, judged)| judged);
    let absent = absent.filter(|(q, relevant)| !*relevant && sink.find_group(q).is_some()).count();
    let lost: Vec<&&str> = of_passage.iter().filter(is_lost).map(|(id, _)| id).collect();
    ensure!(
        lost.is_empty(),
        "{}: {} passages that the judgements call relevant are missing, one is '{}'; fetch the whole file",
        collection.path.display(),
        lost.len(),
        lost.iter().min().map_or("", |id| **id)
    );
    if absent > 0 {
        sink.note(format!(
            "{code}: {absent} documents that are judged 0 are not in its collection, and were left out"
        ));
    }
    Ok(())
}
