//! mMARCO (Bonifacio et al. 2021): MS MARCO's passages and questions, translated; ids are shared across languages, so
//! X-Y pairs come for free.
//!
//! `LANGUAGE_collection.tsv` (`pid<TAB>text`), `LANGUAGE_queries.train.tsv` (`qid<TAB>text`), and triples of ids
//! `qid<TAB>positive<TAB>negative`. The triples are read first: only passages that they name are kept, and of a
//! question's negatives the first few (`[negatives=4]`). A part without triples but with judgements (`dev`) is an
//! evaluation set: see `mmarco_judged`. A word that is the name of a folder with collections, such as `google` or
//! `helsinki`, chooses that translation.
//!
//! Ids are numbers, in whatever way a file writes them: `007` is 7.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::open::Request;
use super::read::{self, Found};
use super::{Sink, mmarco_judged};

/// Reads triples, questions, collections.
pub fn read(request: &Request<'_>, sink: &mut dyn Sink) -> Result<()> {
    let options = request.options;
    let most = options.number("negatives", 4)?;
    let whole_pool = options.choice("pool", &["all", "judged"])? == "all";
    let _ = options.languages();
    options.finish(true)?;
    let root = request.path;
    ensure!(
        root.is_dir() || !root.exists(),
        "{}: is a file; give the directory with collections, queries and triples",
        root.display()
    );
    let table = [".tsv", ".txt"];
    let mut found = read::find(root)?;
    let translations = translations(&found);
    let folder_of = |f: &Found| {
        let is_in =
            |folder: &&String| f.name.strip_prefix(folder.as_str()).is_some_and(|r| r.starts_with('/'));
        translations.iter().rev().find(is_in).map(|folder| last(folder).to_owned())
    };
    let names: BTreeSet<String> = translations.iter().map(|t| last(t).to_owned()).collect();
    let (folder, part) = options.part_and_folder(request.default_part, &names)?;
    if folder.is_some() {
        // Triples and judgements stand above the translations, or in each.
        found.retain(|f| folder_of(f).is_none_or(|own| Some(own) == folder));
        let own = |f: &Found, what: &str| f.says(what) && folder_of(f) == folder;
        for what in ["triples", "qrels", "collection", "quer"] {
            if found.iter().any(|f| own(f, what)) {
                found.retain(|f| !f.says(what) || own(f, what));
            }
        }
    }
    let is_triples = |f: &Found| f.says("triples") && (f.says(part) || part == "train") && f.ends(&table);
    let is_judged = |f: &Found| f.says("qrels") && f.says(part) && f.ends(&table);
    let has_triples = part == "train" || found.iter().any(is_triples);
    let mut languages: BTreeMap<&str, [Option<&Found>; 2]> = BTreeMap::new();
    for file in found.iter().filter(|f| f.ends(&table) && !f.says("triples") && !f.says("qrels")) {
        let side = usize::from(file.says("quer"));
        let wanted = (side == 0 && file.says("collection")) || (side == 1 && file.says(part));
        let Some(code) = file.language.as_deref().filter(|l| wanted && options.wants(l)) else { continue };
        let slot = &mut languages.entry(code).or_default()[side];
        let Some(other) = slot.replace(file) else { continue };
        // Of `queries.dev.tsv` and `queries.dev.small.tsv` the part `dev` means the first.
        if other.is_of(part) && !file.is_of(part) {
            *slot = Some(other);
        } else if other.is_of(part) == file.is_of(part) {
            ensure!(
                folder_of(other) == folder_of(file),
                "{}: has several translations, in the folders {}; name one, as {}[{}]",
                root.display(),
                names.iter().cloned().collect::<Vec<_>>().join(" and "),
                request.name,
                options.with_part(&with_folder(names.first(), part))
            );
            bail!(
                "{} and {}: two {} of the language '{code}'; remove one, or name the part as its file does, such as \
                 {}[dev.small]",
                other.path.display(),
                file.path.display(),
                ["collections", "query files"][side],
                request.name
            );
        }
    }
    options.check_languages()?;
    let both = languages.values().any(|l| l.iter().all(Option::is_some));
    ensure!(
        both,
        "{}: no language has both a collection and queries, such as english_collection.tsv and \
         english_queries.{part}.tsv",
        root.display()
    );
    let has = |fits: &dyn Fn(&Found) -> bool| found.iter().any(fits);
    if !has(&is_triples) && !has(&is_judged) {
        let files = match part {
            "train" => "triples.train.ids.small.tsv".into(),
            _ => format!("qrels.{part}.tsv"),
        };
        bail!(
            "{}: no triples or qrels file of the part '{part}', such as {files}{}",
            root.display(),
            above(request, part)
        );
    }
    if !has_triples {
        let judged = read::one(&found, root, "triples or qrels file of the part", part, is_judged)?;
        let mut whole = BTreeMap::new();
        for (code, files) in languages {
            match files {
                [Some(collection), Some(queries)] => drop(whole.insert(code, (collection, queries))),
                _ => sink.note(format!("{code}: has only a collection or only queries, and was left out")),
            }
        }
        return mmarco_judged::read(sink, judged, &whole, whole_pool);
    }
    let triples = read::one(&found, root, "triples file", part, is_triples)?;
    sink.input(&triples.path)?;
    let mut links = Links::read(triples, most)?;
    for (code, files) in languages {
        let [Some(collection), Some(queries)] = files else {
            sink.note(format!("{code}: has only a collection or only queries, and was left out"));
            continue;
        };
        links.language(sink, code, collection, queries)?;
    }
    if links.more > 0 {
        sink.note(format!(
            "{} questions have more than {most} negatives: those beyond the first {most} were left out",
            links.more
        ));
    }
    Ok(())
}

/// Folders that hold a translation each, such as `google` or `data/helsinki`: those above `collections`, or those with the
/// collections in them.
fn translations(found: &[Found]) -> BTreeSet<String> {
    let collections = found.iter().filter(|f| f.says("collection"));
    let folders = collections.filter_map(|f| f.name.rsplit_once('/')).map(|(folder, _)| {
        let is_plain = |part: &&str| !part.contains("collection");
        folder.split('/').take_while(is_plain).collect::<Vec<_>>().join("/")
    });
    folders.filter(|folder| !folder.is_empty()).collect()
}

/// A folder's own name.
fn last(folder: &str) -> &str {
    folder.rsplit('/').next().unwrap_or(folder)
}

fn with_folder(folder: Option<&String>, part: &str) -> String {
    match folder {
        Some(folder) if part == "train" => folder.clone(),
        Some(folder) => format!("{folder},{part}"),
        None => part.to_owned(),
    }
}

/// What to do where triples or judgements are missing: the hub's repository has them above the folder of a translation.
fn above(request: &Request<'_>, part: &str) -> String {
    let whole = request.path.canonicalize().ok();
    let place = whole.as_deref().and_then(|w| Some((w.parent()?, w.file_name()?.to_str()?)));
    let names = |dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter_map(|e| e.file_name().into_string().ok()).map(|n| n.to_lowercase()).collect()
    };
    let is_wanted = |n: &String| match part {
        "train" => n.contains("triples"),
        _ => (n.contains("triples") || n.contains("qrels")) && n.contains(part),
    };
    match place {
        Some((dir, folder)) if names(dir).iter().any(is_wanted) => format!(
            "; the folder above has one: give that, as {}[{}]={}",
            request.name,
            request.options.with_part(&with_folder(Some(&folder.to_lowercase()), part)),
            dir.display()
        ),
        _ => ", in this folder or those in it; the hub's repository has it beside the folders google and helsinki".into(),
    }
}

/// Which question is linked to which passage.
#[derive(Default)]
struct Links {
    /// Question ids, by place of first mention.
    questions: Vec<u64>,
    place: HashMap<u64, u32>,
    /// (passage id, place of the question, positive), sorted.
    all: Vec<(u64, u32, bool)>,
    /// Questions with negatives that were left out.
    more: usize,
}

/// An id.
///
/// # Errors
/// Where it is no whole number.
pub fn number(text: &str, what: &str) -> Result<u64> {
    text.trim().parse().with_context(|| format!("{what} '{text}': must be a whole number"))
}

/// Id and text of a line; `None` for a header, a first line whose id is a word.
///
/// # Errors
/// A line without a tab; an id that is no whole number.
pub fn cells<'a>(line: usize, text: &'a str, what: &str) -> Result<Option<(u64, &'a str)>> {
    let (id, text) =
        text.split_once('\t').with_context(|| format!("no tab; the columns are id and {what}"))?;
    let id = id.trim();
    if line == 1 && !id.is_empty() && id.chars().all(|c| c.is_alphabetic() || c == '_' || c == '-') {
        return Ok(None);
    }
    Ok(Some((number(id, &format!("{what} id"))?, text)))
}

impl Links {
    fn read(file: &Found, most: usize) -> Result<Self> {
        let mut links = Self::default();
        // By question: negatives that are kept, and whether there are more.
        let mut negatives: Vec<(usize, bool)> = Vec::new();
        let (mut positives, mut kept) = (HashSet::new(), HashSet::new());
        read::lines(&file.path, |_, line| {
            let mut cells = line.split(['\t', ' ']).filter(|c| !c.is_empty());
            let mut next = |what: &str| {
                number(
                    cells
                        .next()
                        .with_context(|| format!("no {what}; triples are question, positive, negative id"))?,
                    what,
                )
            };
            let (question, positive, negative) =
                (next("question id")?, next("positive id")?, next("negative id")?);
            let new = links.questions.len() as u32;
            let place = *links.place.entry(question).or_insert(new);
            if place == new {
                links.questions.push(question);
                negatives.push((0, false));
            }
            if positives.insert((place, positive)) {
                links.all.push((positive, place, true));
            }
            let (count, has_more) = &mut negatives[place as usize];
            if *count < most {
                if kept.insert((place, negative)) {
                    *count += 1;
                    links.all.push((negative, place, false));
                }
            } else if !kept.contains(&(place, negative)) {
                *has_more = true;
            }
            Ok(())
        })?;
        links.more = negatives.iter().filter(|n| n.1).count();
        // What one triple calls relevant is no negative, though another says so.
        links.all.retain(|(passage, place, positive)| *positive || !positives.contains(&(*place, *passage)));
        links.all.sort_unstable();
        Ok(links)
    }

    fn language(
        &mut self,
        sink: &mut dyn Sink,
        code: &str,
        collection: &Found,
        queries: &Found,
    ) -> Result<()> {
        sink.input(&collection.path)?;
        sink.input(&queries.path)?;
        let language = sink.language(code)?;
        let mut asked = vec![false; self.questions.len()];
        let (mut found, mut blank) = (0, 0);
        read::lines(&queries.path, |at, line| {
            let Some((id, text)) = cells(at, line, "question")? else { return Ok(()) };
            let Some(&place) = self.place.get(&id) else { return Ok(()) };
            found += 1;
            match sink.ask(&id.to_string(), "all", language, text)? {
                Some(_) => asked[place as usize] = true,
                None => blank += 1,
            }
            Ok(())
        })?;
        ensure!(found > 0, "{}: none of its question ids is in the triples", queries.path.display());
        let mut known = vec![false; self.all.len()];
        read::lines(&collection.path, |at, line| {
            let Some((pid, text)) = cells(at, line, "passage")? else { return Ok(()) };
            let first = self.all.partition_point(|l| l.0 < pid);
            if self.all.get(first).is_none_or(|l| l.0 != pid) {
                return Ok(());
            }
            ensure!(!known[first], "passage '{pid}': the id comes twice; ids must be unique in a language");
            let passage = sink.new_passage(&|| format!("{code}_{pid}"), language, text)?;
            for (at, (_, place, positive)) in
                self.all.iter().enumerate().skip(first).take_while(|(_, l)| l.0 == pid)
            {
                known[at] = true;
                if asked[*place as usize] {
                    let group = sink.group(&self.questions[*place as usize].to_string(), "all")?;
                    if *positive { sink.relevant(group, passage) } else { sink.negative(group, passage) }
                }
            }
            Ok(())
        })?;
        let unknown = self.all.iter().zip(&known).filter(|((_, place, _), k)| !**k && asked[*place as usize]);
        let (lost, absent): (Vec<(u64, u32, bool)>, Vec<_>) = unknown.map(|(l, _)| *l).partition(|l| l.2);
        let (lost, first, absent) = (lost.len(), lost.first().map(|l| l.0), absent.len());
        ensure!(
            first.is_none(),
            "{}: {lost} passages that the triples call relevant are missing, the first is '{}'; fetch the whole file",
            collection.path.display(),
            first.unwrap_or_default()
        );
        let silent = asked.iter().filter(|a| !**a).count().saturating_sub(blank);
        for (count, what) in [
            (silent, "questions of the triples are not in its queries"),
            (absent, "negatives of the triples are not in its collection, and were left out"),
        ] {
            if count > 0 {
                sink.note(format!("{code}: {count} {what}"));
            }
        }
        Ok(())
    }
}
