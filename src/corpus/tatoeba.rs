//! Tatoeba as LASER has it (Artetxe and Schwenk 2019): `tatoeba.xxx-eng.xxx` and `.eng`, line by line translations.
//!
//! A line is a group: in both languages the sentence is question and passage. Only the cross-lingual cells mean
//! something: success@1 of `en -> xx` is LASER's accuracy. A monolingual cell compares a sentence with itself. Open one
//! language (`tatoeba[de]`) for the published pools: with several, the English sentences of all share one pool.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

use super::open::Request;
use super::read::{self, Found, Lines};
use super::{Sink, language};

/// Reads both sides of every pair of languages.
pub fn read(request: &Request<'_>, sink: &mut dyn Sink) -> Result<()> {
    let options = request.options;
    let part = language::normalise(options.part("", &[])?);
    let _ = options.languages();
    options.finish(true)?;
    let found = read::find(request.path)?;
    // By pair, as in the name: the file of each side.
    let mut pairs: BTreeMap<(String, String), [Option<&Found>; 2]> = BTreeMap::new();
    for file in &found {
        let name = file.name.rsplit('/').next().unwrap_or_default();
        let Some((pair, side)) = name.strip_prefix("tatoeba.").and_then(|rest| rest.rsplit_once('.')) else {
            continue;
        };
        let Some((a, b)) = pair.split_once('-') else { continue };
        let place = if side == a {
            0
        } else if side == b {
            1
        } else {
            continue;
        };
        pairs.entry((a.to_owned(), b.to_owned())).or_default()[place] = Some(file);
    }
    let known: Vec<String> = pairs.keys().map(|(a, _)| language::normalise(a)).collect();
    ensure!(
        !pairs.is_empty(),
        "{}: no files called as LASER's, tatoeba.deu-eng.deu and tatoeba.deu-eng.eng; rename others so",
        request.path.display()
    );
    pairs.retain(|(a, _), _| {
        let code = language::normalise(a);
        options.wants(&code) && (part.is_empty() || part == code)
    });
    options.check_languages()?;
    ensure!(!pairs.is_empty(), "no such language; there are {}", known.join(", "));
    for ((a, b), sides) in &pairs {
        let [Some(left), Some(right)] = sides else {
            bail!(
                "{}: of tatoeba.{a}-{b} one side is missing; there must be .{a} and .{b}",
                request.path.display()
            )
        };
        sink.input(&left.path)?;
        sink.input(&right.path)?;
        let codes = [language::normalise(a), language::normalise(b)];
        ensure!(codes[0] != codes[1], "tatoeba.{a}-{b}: both sides are the language '{}'", codes[0]);
        let languages = [sink.language(&codes[0])?, sink.language(&codes[1])?];
        let mut readers = [Lines::open(&left.path)?, Lines::open(&right.path)?];
        let [first, second] = &mut readers;
        // Lines that are blank on both sides: those that others follow, and those that none did yet.
        let (mut blank, mut last) = (0, 0);
        loop {
            let number = first.number() + 1;
            let (one, other) = (first.line()?, second.line()?);
            let (one, other) = match (one, other) {
                (Some(one), Some(other)) => (one, other),
                (None, None) => break,
                (one, _) => bail!(
                    "{}: ends at line {}, but {} goes on: the two must have as many lines; fetch both again",
                    if one.is_none() { left.path.display() } else { right.path.display() },
                    number - 1,
                    if one.is_none() { right.path.display() } else { left.path.display() }
                ),
            };
            let (one, other) = (one.trim(), other.trim());
            if one.is_empty() && other.is_empty() {
                last += 1;
                continue;
            }
            blank += std::mem::take(&mut last);
            if one.is_empty() || other.is_empty() {
                let [without, with] = if one.is_empty() { [left, right] } else { [right, left] };
                bail!(
                    "{}: blank, where {} has a sentence; fetch both again, or remove the line from both",
                    read::place(&without.path, number),
                    with.path.display()
                );
            }
            let id = format!("{a}-{b}:{number}");
            let group = sink.group(&id, &format!("{a}-{b}"))?;
            for (side, text) in [one, other].into_iter().enumerate() {
                sink.question(group, languages[side], text)?;
                let passage = sink.new_passage(&|| format!("{}_{id}", codes[side]), languages[side], text)?;
                sink.relevant(group, passage);
            }
        }
        ensure!(first.number() > last, "{}: is empty", left.path.display());
        if blank > 0 {
            sink.note(format!("{a}-{b}: {blank} lines that are blank on both sides were left out"));
        }
    }
    if pairs.len() > 1 {
        sink.note(format!(
            "{} pairs of languages share one pool of English sentences; open one, as tatoeba[de], for the published \
             pools",
            pairs.len()
        ));
    }
    sink.note("a monolingual cell compares each sentence with itself".into());
    Ok(())
}
