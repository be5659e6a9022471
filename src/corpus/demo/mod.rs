//! The bundled demo corpus: facts times hand-written templates, in the eleven languages of XQuAD-R.
//!
//! One question id is one fact: (subject, relation). Its question and passage are the relation's templates filled with
//! the names of subject and object in each language; which of the wordings is used is a hash of (id, language, side).
//! Single facts are held out for evaluation and validation, such that their subject is trained through other relations
//! and their relation through other subjects: a model must combine what it learnt, not repeat it.

mod files;
mod lexicon;
mod split;
mod table;
mod template;

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, ensure};

use super::{Dataset, Group, LanguageId, Options, Parts, Passage, Question};
use crate::spec::DatasetRef;
use crate::stream::key;
pub use lexicon::lexicons;
use split::Part;
use table::{Cell, Entities, Facts};
use template::{Object, Relation};

/// Languages of the corpus, in the order of every table.
pub const LANGUAGES: [&str; 11] = ["ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"];

/// `config.json` of the demo encoder, XLM-R-shaped.
pub const CONFIG: &str = include_str!("../../../assets/demo/config.json");
/// `tokenizer.json` of the demo encoder, a Unigram model trained on the corpus.
pub const TOKENIZER: &[u8] = include_bytes!("../../../assets/demo/tokenizer.json");

/// One fact with its texts.
struct Fact {
    id: String,
    domain: String,
    subject: String,
    relation: String,
    /// Question and passage in each language.
    texts: Vec<(String, String)>,
}

/// Opens a part of the corpus: `train`, `validation`, `evaluation`, or all of it.
///
/// # Errors
/// An unknown part; a broken table, with file, line and remedy.
pub fn open(name: &DatasetRef) -> Result<Dataset> {
    let options = Options::parse(name)?;
    let part = options.part("", &[])?;
    let part = (!part.is_empty()).then(|| Part::parse(part)).transpose()?;
    let _ = options.languages();
    options.finish(true)?;
    // By their place among all.
    let kept: Vec<usize> = (0..LANGUAGES.len()).filter(|l| options.wants(LANGUAGES[*l])).collect();
    options.check_languages()?;
    let facts = facts(files::FILES)?;
    let split =
        split::split(&facts.iter().map(|f| (f.subject.as_str(), f.relation.as_str())).collect::<Vec<_>>());
    let languages = kept.iter().map(|l| LANGUAGES[*l].to_owned()).collect();
    let mut parts = Parts { languages, ..Parts::default() };
    for (fact, own) in facts.into_iter().zip(split) {
        if part.is_none_or(|p| p == own) {
            push(&mut parts, fact, &kept);
        }
    }
    Ok(Dataset::assemble(name.label(), parts))
}

fn push(parts: &mut Parts, mut fact: Fact, kept: &[usize]) {
    let known = parts.domains.iter().position(|d| *d == fact.domain);
    let domain = known.unwrap_or_else(|| {
        parts.domains.push(fact.domain.clone());
        parts.domains.len() - 1
    }) as u16;
    let group = parts.groups.len() as u32;
    let (mut questions, mut relevant) = (Vec::new(), Vec::new());
    for (number, index) in kept.iter().enumerate() {
        let language = number as LanguageId;
        let (question, passage) = std::mem::take(&mut fact.texts[*index]);
        questions.push(Some(parts.questions.len() as u32));
        parts.questions.push(Question { group, language, text: question });
        relevant.push(parts.passages.len() as u32);
        let id = format!("{}/{}", fact.id, LANGUAGES[*index]);
        parts.passages.push(Passage { id, language, text: passage });
    }
    parts.groups.push(Group { id: fact.id, domain, questions, relevant });
}

/// Every fact, in the order of the files.
fn facts(files: &[(&str, &str)]) -> Result<Vec<Fact>> {
    let mut entities: HashMap<&str, Entities> = HashMap::new();
    let mut tables: HashMap<&str, Facts> = HashMap::new();
    let mut relations: Vec<(&str, Relation)> = Vec::new();
    for (path, text) in files {
        let (folder, file) = path.split_once('/').with_context(|| format!("{path}: no folder"))?;
        let stem = file.rsplit_once('.').map_or(file, |(s, _)| s);
        match folder {
            "entities" => {
                entities.insert(stem, Entities::parse(path, text)?);
            }
            "facts" => {
                tables.insert(stem, Facts::parse(path, text)?);
            }
            _ => relations.extend(Relation::parse(path, text)?.into_iter().map(|r| (*path, r))),
        }
    }
    let mut all = Vec::new();
    let mut known: HashSet<(&str, &str)> = HashSet::new();
    for (path, relation) in &relations {
        let at = || format!("{path}, relation '{}'", relation.id);
        let (kind, id) = (relation.subject.as_str(), relation.id.as_str());
        ensure!(known.insert((kind, id)), "{}: {kind} already have a relation of this name", at());
        let subjects =
            entities.get(kind).with_context(|| format!("{}: no table entities/{kind}.tsv", at()))?;
        let table = tables.get(kind).with_context(|| format!("{}: no table facts/{kind}.tsv", at()))?;
        let column = table
            .column(id)
            .with_context(|| format!("{}: facts/{kind}.tsv has no column of this name", at()))?;
        let objects = match &relation.object {
            Object::Entity(kind) => Some((
                kind,
                entities
                    .get(kind.as_str())
                    .with_context(|| format!("{}: no table entities/{kind}.tsv", at()))?,
            )),
            Object::Number | Object::Text => None,
        };
        for Cell { subject, value, line } in column {
            let at = |column: &str| format!("facts/{kind}.tsv, line {line}, column {column}");
            let names = subjects
                .get(subject)
                .with_context(|| format!("{}: add '{subject}' to entities/{kind}.tsv", at("id")))?;
            let object = objects
                .map(|(kind, table)| {
                    let names = table.get(value);
                    names.with_context(|| format!("{}: add '{value}' to entities/{kind}.tsv", at(id)))
                })
                .transpose()?;
            relation.check(value).with_context(|| at(id))?;
            let fact = format!("{kind}/{subject}/{id}");
            let texts = (0..LANGUAGES.len())
                .map(|language| {
                    let pick = |side: &str, n: usize| {
                        key(0, &format!("{fact} {side}"), language as u64) as usize % n
                    };
                    relation.fill(language, names, object, value, pick)
                })
                .collect::<Result<Vec<_>>>()
                .with_context(|| at(id))?;
            all.push(Fact {
                domain: relation.domain.clone(),
                subject: format!("{kind}/{subject}"),
                relation: format!("{kind}/{id}"),
                id: fact,
                texts,
            });
        }
    }
    for (kind, table) in &tables {
        for column in table.columns() {
            ensure!(
                known.contains(&(kind, column.as_str())),
                "facts/{kind}.tsv, line 1: no relation '{column}' of {kind}; write it into a file of relations/"
            );
        }
    }
    ensure!(!all.is_empty(), "the demo corpus has no facts");
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    fn part(name: &str) -> Dataset {
        open(&format!("demo[{name}]").parse().expect("name")).unwrap_or_else(|e| panic!("{e:#}"))
    }

    #[test]
    fn the_corpus_is_large_complete_and_has_no_equal_passages() {
        let all = open(&"demo".parse().expect("name")).unwrap_or_else(|e| panic!("{e:#}"));
        assert!(all.groups.len() >= 3000, "{} question ids", all.groups.len());
        assert!(all.domains.len() >= 8, "{:?}", all.domains);
        assert_eq!(all.questions.len(), 11 * all.groups.len());
        let mut seen: HashMap<(u16, &str), &str> = HashMap::new();
        for passage in &all.passages {
            if let Some(other) = seen.insert((passage.language, &passage.text), &passage.id) {
                panic!("{} and {other} have the same text: {}", passage.id, passage.text);
            }
        }
        for text in all.questions.iter().map(|q| &q.text).chain(all.passages.iter().map(|p| &p.text)) {
            assert!(!text.contains(['{', '}', '|']) && !text.contains("  ") && text.trim() == text, "{text}");
        }
        assert_eq!(all.hash, open(&"demo".parse().expect("name")).expect("again").hash);
    }

    #[test]
    fn held_out_facts_are_never_trained_but_their_parts_are() {
        let [train, validation, evaluation] = ["train", "validation", "evaluation"].map(part);
        let ids = |d: &Dataset| d.groups.iter().map(|g| g.id.clone()).collect::<HashSet<_>>();
        let (trained, held) = (ids(&train), [ids(&validation), ids(&evaluation)]);
        assert!(held[0].is_disjoint(&held[1]));
        let parts = |id: &str| {
            let (subject, relation) = id.rsplit_once('/').expect("id");
            let kind = subject.split('/').next().expect("kind");
            (subject.to_owned(), format!("{kind}/{relation}"))
        };
        let subjects: HashSet<String> = trained.iter().map(|id| parts(id).0).collect();
        let relations: HashSet<String> = trained.iter().map(|id| parts(id).1).collect();
        for id in held.iter().flatten() {
            assert!(!trained.contains(id));
            assert!(subjects.contains(&parts(id).0), "{id}: its subject is never trained");
            assert!(relations.contains(&parts(id).1), "{id}: its relation is never trained");
        }
        let all = train.groups.len() + validation.groups.len() + evaluation.groups.len();
        let share = |d: &Dataset| d.groups.len() as f64 / all as f64;
        assert!((0.08..0.15).contains(&share(&evaluation)), "{}", share(&evaluation));
        assert!((0.02..0.07).contains(&share(&validation)), "{}", share(&validation));
    }

    #[test]
    fn an_unknown_part_lists_the_parts() {
        let error = format!("{:#}", open(&"demo[test]".parse().expect("name")).expect_err("unknown"));
        assert!(error.contains("'test'") && error.contains("evaluation"), "{error}");
    }

    #[test]
    fn tokenizer_and_configuration_belong_together() {
        use crate::encoder::ModelFiles;
        let files = ModelFiles::fresh(CONFIG, TOKENIZER, crate::spec::Pooling::Auto, 1).expect("demo model");
        let tokenizer = crate::encoder::TextTokenizer::from_bytes(TOKENIZER).expect("tokenizer");
        assert_eq!(files.config.vocab_size, tokenizer.vocabulary());
        let evaluation = part("evaluation");
        let texts: Vec<&str> = evaluation.passages.iter().map(|p| p.text.as_str()).collect();
        let tokens = tokenizer.encode("Passage: ", &texts, 128).expect("tokens");
        let unknown = tokens.ids.iter().flatten().filter(|id| **id == 3).count();
        let total: usize = tokens.ids.iter().map(Vec::len).sum();
        assert!(unknown * 1000 < total, "{unknown} of {total} tokens are unknown");
        assert!(total / texts.len() < 40, "{} tokens a passage", total / texts.len());
    }
}
