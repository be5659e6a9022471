//! Text files of the user: catalogue, lexicon, runs and labels, passages; and the environment's settings.

use std::path::Path;

use polymix_fuzz::corpus::catalogue::{Entries, Form};
use polymix_fuzz::corpus::lexicon::{Lexicon, Lexicons, join, known_words, pieces, switched};
use polymix_fuzz::evaluate::search::texts::Texts;
use polymix_fuzz::evaluate::trec::{parse_qrels, parse_run, read_qrels, read_run, score};
use polymix_fuzz::hub::{Kind, Repo, Settings, matches, nearest, redact};
use polymix_fuzz::spec::Missing;
use polymix_fuzz::stream::Stream;

use super::{form, parts, put, told};

/// A catalogue of the user's own.
pub fn catalogue(data: &[u8], dir: &Path) {
    let file = dir.join("catalogue.toml");
    put(&file, data);
    let Some(all) = told(Entries::read_own(&file)) else { return };
    for entry in &all {
        assert!(entry.is_own && !entry.name.is_empty() && !entry.sources.is_empty());
        let chosen = entry.chosen(&[]).expect("no language means all");
        assert_eq!(chosen, entry.languages);
        let _ = (entry.expected(&chosen), entry.command(), entry.is_by_language());
        for source in &entry.sources {
            assert!(!source.at.to_string().is_empty());
            for language in &chosen {
                let _ = entry.wanted(source, Some(language));
            }
        }
    }
    let entries = Entries { all };
    for entry in &entries.all {
        assert_eq!(entries.get(entry.form, &entry.name).expect("found").name, entry.name);
    }
    let _ = (entries.get(Form::Data, "mine"), entries.get(Form::Model, "me/mine"));
}

/// A lexicon, and a text whose words it replaces.
pub fn lexicon(data: &[u8], dir: &Path) {
    let [words, text] = parts(data);
    let file = dir.join("en-de.tsv");
    put(&file, words);
    let lexicon = told(Lexicon::read(&file));
    let named = Lexicons::named(&[format!("en-de={}", file.display())]);
    assert_eq!(named.is_ok(), lexicon.is_some());
    let Ok(text) = std::str::from_utf8(text) else { return };
    assert_eq!(join(&pieces(text)), text);
    let lexicons: Vec<&Lexicon> = lexicon.iter().collect();
    assert_eq!(join(&known_words(text, &lexicons)), text);
    assert_eq!(switched(text, &lexicons, 0.0, &mut Stream::new(1, "fuzz", 0)), None);
    let _ = switched(text, &lexicons, 1.0, &mut Stream::new(1, "fuzz", 1));
    // As the command line has it.
    let _ = Lexicons::named(&[text.split('=').next().unwrap_or_default().to_owned()]);
}

/// A run and labels.
pub fn trec(data: &[u8], dir: &Path) {
    let (kind, rest) = form(data);
    if kind == b'z' {
        let file = dir.join("run.gz");
        put(&file, rest);
        let _ = (told(read_run(&file)), told(read_qrels(&file)));
        return;
    }
    let [run, qrels] = parts::<2>(rest).map(String::from_utf8_lossy);
    let (Some(run), Some(qrels)) = (told(parse_run(&run, "run")), told(parse_qrels(&qrels, "qrels"))) else {
        return;
    };
    for missing in [Missing::Zero, Missing::Skip] {
        let scored = score(&run, &qrels, missing);
        assert_eq!(scored.queries.is_empty(), scored.means[0].is_nan());
        for query in &scored.queries {
            assert!(query.values.iter().all(|v| (0.0..=1.0 + 1e-9).contains(v)), "{query:?}");
            let (best, map, worst) = (query.extremes.best, query.values[0], query.extremes.worst);
            assert!(worst <= map + 1e-9 && map <= best + 1e-9, "{query:?}");
        }
    }
}

/// Passages or questions, one a line.
pub fn passages(data: &[u8], dir: &Path) {
    let (kind, rest) = form(data);
    let file = dir.join(if kind == b'z' { "a.gz" } else { "a.tsv" });
    put(&file, rest);
    let Some(found) = told(Texts::summarise(&file)) else { return };
    let read = Texts::open(&file).expect("opened before").map(|t| t.expect("read before")).count();
    assert_eq!(found.rows, read as u64);
}

/// Lines `NAME=VALUE`: the environment; then names of repositories, patterns and addresses.
pub fn settings(data: &[u8], dir: &Path) {
    let [variables, text] = parts(data);
    let variables = String::from_utf8_lossy(variables);
    // What names a file stays in our folder: the system has files without an end.
    let is_file =
        |name: &str| matches!(name, "HF_TOKEN_PATH" | "HF_HOME" | "HOME" | "XDG_CACHE_HOME" | "USERPROFILE");
    let found = Settings::read(|name| {
        let value = variables.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('='))?;
        let inside = is_file(name) && !value.starts_with("~/");
        Some(if inside {
            format!("{}/{}", dir.display(), value.replace(['/', '\0'], "_"))
        } else {
            value.to_owned()
        })
    });
    if let Some(secret) = variables.lines().find_map(|l| l.strip_prefix("HF_TOKEN=")).map(str::trim) {
        // A token that the rest of the settings cannot hold by chance.
        if secret.len() > 7 && variables.matches(secret).count() == 1 {
            assert!(!format!("{found:?}").contains(secret) && found.hides(secret));
        }
    }
    let text = String::from_utf8_lossy(text);
    let [first, second] = text.split_once('\n').map_or([&*text, ""], |(a, b)| [a, b]);
    for kind in [Kind::Model, Kind::Dataset] {
        if let Some(repo) = told(Repo::parse(kind, first)) {
            assert_eq!(Repo::parse(kind, &repo.to_string()).ok().as_ref(), Some(&repo));
        }
    }
    assert!(!matches(first, second) || first.contains('*') || first == second);
    assert!(nearest(first, second.lines()).len() <= 3);
    let shown = redact(first);
    assert!(!shown.contains('?') || shown.ends_with("?..."), "{shown}");
}
