//! Rewritten questions: what may happen to a text, what a change costs, and the command.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod common;
#[path = "common/made.rs"]
mod made;

use polymix::corpus;
use polymix::evaluate::robustness::{Case, Kind, Lexicons, Perturber, Rates, cases, changes};
use polymix::evaluate::{METRICS, RankOptions, Setting, rank};
use unicode_segmentation::UnicodeSegmentation;

const SEED: u64 = 5;

fn perturber() -> Perturber {
    Perturber { rates: Rates::default(), lexicons: Lexicons::default(), seed: SEED }
}

fn rewrite(kind: Kind, text: &str, language: &str) -> Option<String> {
    perturber().rewrite(kind, text, language, "q", 0)
}

fn count(text: &str) -> usize {
    text.graphemes(true).count()
}

/// Questions of eleven languages, from the bundled corpus.
fn questions() -> Vec<(String, String, String)> {
    let dataset =
        corpus::open(&"demo[validation]".parse().unwrap(), polymix::spec::Candidate::Sentence).unwrap();
    dataset
        .questions
        .iter()
        .map(|q| {
            let language = dataset.languages[usize::from(q.language)].clone();
            (language, dataset.groups[q.group as usize].id.clone(), q.text.clone())
        })
        .collect()
}

#[test]
fn graphemes_stay_whole_and_no_question_is_empty_in_any_language() {
    let all = perturber();
    let texts = questions();
    assert!(texts.len() > 1000);
    for kind in Kind::ALL.into_iter().filter(|k| *k != Kind::CodeSwitch) {
        let mut rewritten = std::collections::BTreeMap::<&str, usize>::new();
        for (language, id, text) in &texts {
            let Some(new) = all.rewrite(kind, text, language, id, 0) else { continue };
            *rewritten.entry(language).or_default() += 1;
            assert!(!new.trim().is_empty() && new != *text, "{kind:?} {language}: {text} / {new}");
            assert_eq!(
                all.rewrite(kind, text, language, id, 0),
                Some(new.clone()),
                "{kind:?} is not repeatable"
            );
            let (before, after) = (count(text), count(&new));
            let old: Vec<&str> = text.graphemes(true).collect();
            match kind {
                Kind::Substitution | Kind::Homoglyph => {
                    assert_eq!(before, after, "{kind:?} {language}: {text} / {new}");
                    let differ = old.iter().zip(new.graphemes(true)).filter(|(a, b)| *a != b).count();
                    assert!(differ * 3 <= before + 3, "{kind:?} {language}: {differ} of {before}");
                }
                Kind::Insertion => assert!(after > before, "{language}: {text} / {new}"),
                Kind::Deletion => {
                    assert!(after < before, "{language}: {text} / {new}");
                    let mut rest = old.iter();
                    assert!(new.graphemes(true).all(|g| rest.any(|o| *o == g)), "{language}: {text} / {new}");
                }
                Kind::Transposition => {
                    let (mut a, mut b) = (old.clone(), new.graphemes(true).collect::<Vec<_>>());
                    a.sort_unstable();
                    b.sort_unstable();
                    assert_eq!(a, b, "{language}: {text} / {new}");
                }
                Kind::WordDrop => {
                    assert!(after < before && !new.contains("  "), "{language}: {text} / {new}");
                }
                Kind::WordSwap => {
                    let sorted = |t: &str| -> Vec<char> {
                        let mut all: Vec<char> = t.chars().collect();
                        all.sort_unstable();
                        all
                    };
                    assert_eq!(sorted(text), sorted(&new), "{language}: {text} / {new}");
                }
                Kind::Lower | Kind::Upper | Kind::Diacritics | Kind::CodeSwitch => {}
            }
        }
        let reached: Vec<&str> = rewritten.keys().copied().collect();
        let expected: &[&str] = match kind {
            Kind::Lower | Kind::Upper => &["de", "el", "en", "es", "ru", "tr", "vi"],
            Kind::Homoglyph => &["ar", "de", "el", "en", "es", "ru", "tr", "vi"],
            Kind::Diacritics => &["ar", "de", "el", "es", "tr", "vi"],
            _ => &["ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"],
        };
        for language in expected {
            assert!(reached.contains(language), "{kind:?} never changes {language}: {reached:?}");
        }
    }
}

#[test]
fn another_seed_another_variant_and_another_question_draw_anew() {
    let text = "Who discovered the chemical element that is named after the moon?";
    let draw = |seed, id: &str, variant| {
        let other = Perturber { seed, ..perturber() };
        other.rewrite(Kind::Substitution, text, "en", id, variant).unwrap()
    };
    let all = [draw(1, "a", 0), draw(2, "a", 0), draw(1, "b", 0), draw(1, "a", 1)];
    for (index, one) in all.iter().enumerate() {
        assert!(all[index + 1..].iter().all(|other| one != other), "{all:?}");
    }
}

#[test]
fn a_wrong_key_lies_beside_the_right_one_in_its_case_with_its_marks() {
    // A single letter leaves only one place.
    for (text, language, among) in [
        ("Q", "en", "WA"),
        ("q", "fr", "aswz"),
        ("Z", "de", "TUHG"),
        ("é", "es", "wsrd"),
        ("й", "ru", "фц"),
        ("Щ", "ru", "ШЗДЛ"),
    ] {
        for variant in 0..20 {
            let new = perturber().rewrite(Kind::Substitution, text, language, "q", variant).unwrap();
            assert!(among.contains(&new), "{language}: {text} became {new}");
        }
    }
    let new = rewrite(Kind::Substitution, "की", "hi").unwrap();
    assert!(new.ends_with('ी') && !new.starts_with('क') && count(&new) == 1, "{new}");
    let new = rewrite(Kind::Substitution, "ที่", "th").unwrap();
    assert!(new.ends_with("ี่") && count(&new) == 1, "{new}");
    // Without keys of its own a script takes another letter of the question, or the same twice.
    for variant in 0..10 {
        let new = perturber().rewrite(Kind::Substitution, "谁发明了", "zh", "q", variant).unwrap();
        assert!(new.chars().all(|c| "谁发明了".contains(c)) && count(&new) == 4, "{new}");
    }
    assert_eq!(rewrite(Kind::Insertion, "谁", "zh").unwrap(), "谁谁");
    assert_eq!(rewrite(Kind::Substitution, "谁", "zh"), None);
    assert_eq!(rewrite(Kind::Deletion, "a", "en"), None, "the only letter must stay");
    assert_eq!(rewrite(Kind::Transposition, "aa", "en"), None);
    assert_eq!(rewrite(Kind::Transposition, "ab", "en").unwrap(), "ba");
    assert_eq!(rewrite(Kind::Deletion, "?! 12", "en"), None);
}

#[test]
fn case_and_diacritics_follow_the_language() {
    assert_eq!(rewrite(Kind::Upper, "iğne ılık", "tr").unwrap(), "İĞNE ILIK");
    assert_eq!(rewrite(Kind::Lower, "İĞNE ILIK", "tr").unwrap(), "iğne ılık");
    assert_eq!(rewrite(Kind::Upper, "iğne", "en").unwrap(), "IĞNE");
    assert_eq!(rewrite(Kind::Upper, "谁?", "zh"), None);
    for (text, language, plain) in [
        ("Où est né Łukasz?", "fr", "Ou est ne Lukasz?"),
        ("Đường đến Huế", "vi", "Duong den Hue"),
        ("Πού γεννήθηκε;", "el", "Που γεννηθηκε;"),
        ("ёлка и йод", "ru", "елка и йод"),
        ("مُحَمَّد", "ar", "محمد"),
        ("שָׁלוֹם", "he", "שלום"),
        ("क़लम", "hi", "कलम"),
    ] {
        assert_eq!(rewrite(Kind::Diacritics, text, language).unwrap(), plain);
    }
    for (text, language) in [("ที่ไหน", "th"), ("कितनी", "hi"), ("Where?", "en")] {
        assert_eq!(rewrite(Kind::Diacritics, text, language), None, "{text}");
    }
    let new = Perturber { rates: Rates { homoglyph: 1.0, ..Rates::default() }, ..perturber() };
    let new = new.rewrite(Kind::Homoglyph, "cope", "en", "q", 0).unwrap();
    assert!(count(&new) == 4 && new.chars().all(|c| !c.is_ascii()), "{new}");
}

#[test]
fn words_are_dropped_and_swapped_whole() {
    assert_eq!(rewrite(Kind::WordDrop, "word", "en"), None);
    assert_eq!(rewrite(Kind::WordSwap, "word word", "en"), None);
    assert_eq!(rewrite(Kind::WordSwap, "Wer fragt?", "de").unwrap(), "fragt Wer?");
    let new = rewrite(Kind::WordDrop, "Wer fragt?", "de").unwrap();
    assert!(["fragt?", "Wer?"].contains(&new.as_str()), "{new}");
    let all = Perturber { rates: Rates { words: 1.0, ..Rates::default() }, ..perturber() };
    let new = all.rewrite(Kind::WordDrop, "one two three four", "en", "q", 0).unwrap();
    assert_eq!(new.split_whitespace().count(), 1, "one word stays: {new}");
    // Two graphemes at a time where there are no spaces.
    let new = rewrite(Kind::WordDrop, "谁发明了电话", "zh").unwrap();
    assert!(["明了电话", "谁发电话", "谁发明了"].contains(&new.as_str()), "{new}");
}

#[test]
fn code_switching_takes_translations_from_the_lexicon_of_the_language() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("en-de.tsv");
    std::fs::write(&path, "\u{feff}who\twer\nmoon\tMond\n\nmoon\tErdtrabant\r\n").unwrap();
    let zh = dir.path().join("zh-en.tsv");
    std::fs::write(&zh, "电话\ttelephone\n电\telectricity\n").unwrap();
    let mut lexicons = Lexicons::default();
    lexicons.add(&format!("en-de={}", path.display())).unwrap();
    lexicons.add(&format!("zh-en={}", zh.display())).unwrap();
    assert_eq!(lexicons.names(), ["en-de", "zh-en"]);
    let rates = Rates { switch: 1.0, ..Rates::default() };
    let perturber = Perturber { rates, lexicons: lexicons.clone(), seed: SEED };
    let seen: std::collections::BTreeSet<String> = (0..20)
        .map(|v| perturber.rewrite(Kind::CodeSwitch, "Who saw the Moon?", "en", "q", v).unwrap())
        .collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["wer saw the Erdtrabant?", "wer saw the Mond?"]);
    assert_eq!(perturber.rewrite(Kind::CodeSwitch, "Who saw the Moon?", "fr", "q", 0), None);
    assert_eq!(perturber.rewrite(Kind::CodeSwitch, "No such thing", "en", "q", 0), None);
    assert_eq!(
        perturber.rewrite(Kind::CodeSwitch, "谁发明了电话?", "zh", "q", 0).unwrap(),
        "谁发明了telephone?"
    );
    for (text, parts) in [
        ("who\n", &["line 1", "1 columns", "word<TAB>translation"][..]),
        ("a\tb\nc\t\n", &["line 2", "empty column"]),
        ("\n\n", &["no words"]),
    ] {
        std::fs::write(&path, text).unwrap();
        let error =
            format!("{:#}", Lexicons::default().add(&format!("en-de={}", path.display())).unwrap_err());
        assert!(parts.iter().all(|p| error.contains(p)) && error.contains("en-de.tsv"), "{error}");
    }
    for text in ["en-de", "ende=x.tsv", "-de=x.tsv", "en-de=/nowhere/x.tsv"] {
        assert!(Lexicons::default().add(text).is_err(), "{text}");
    }
    let mut twice = lexicons;
    assert!(format!("{:#}", twice.add(&format!("zh-en={}", zh.display())).unwrap_err()).contains("twice"));
}

fn case(question: u32, value: f64, is_first: bool) -> Case {
    Case { question, setting: Setting::Mono, value, is_first }
}

#[test]
fn drops_worst_values_and_lost_first_places_by_hand() {
    let dataset = made::parallel(&["de", "en"], 2);
    // Questions 0 and 1 are German, 2 and 3 English.
    let before = [case(0, 1.0, true), case(1, 0.5, false), case(2, 1.0, true), case(3, 1.0, true)];
    let variants = [
        vec![case(0, 0.5, false), case(1, 1.0, true), case(2, 1.0, true), case(3, 0.2, false)],
        vec![case(0, 1.0, true), case(1, 0.1, false), case(2, 1.0, true), case(3, 0.6, true)],
    ];
    let changed = [vec![true, true, false, true], vec![false, true, false, true]];
    let rows = changes(&dataset, &before, &variants, &changed);
    assert_eq!(rows.len(), 3);
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b} in {rows:?}");
    let (de, en, mean) = (&rows[0], &rows[1], &rows[2]);
    assert_eq!((de.language, en.language, mean.language), (Some(0), Some(1), None));
    assert_eq!((de.n, de.unchanged, de.first, de.variants), (2, 1, 1, 2));
    close(de.before, 0.75);
    close(de.after, 0.65);
    close(de.drop, 0.1);
    close(de.relative, 0.1 / 0.75);
    close(de.drop_changed, (0.5 - 0.5 + 0.4) / 3.0);
    close(de.worst, 0.3);
    close(de.attack_success, 0.5);
    assert_eq!((en.n, en.unchanged, en.first), (2, 2, 2));
    close(en.worst, 0.6);
    close(en.attack_success, 0.25);
    assert_eq!((mean.n, mean.unchanged, mean.first), (4, 3, 3));
    close(mean.before, 0.875);
    close(mean.after, f64::midpoint(de.after, en.after));
    close(mean.attack_success, 0.375);
}

#[test]
fn cases_are_the_cells_of_the_evaluation() {
    let dataset = made::parallel(&["de", "en", "zh"], 5);
    let scores: Vec<Vec<f32>> =
        (0..15u32).map(|q| (0..15u32).map(|p| ((q * 7 + p * 13 + q * p) % 11) as f32).collect()).collect();
    let evaluation = made::evaluate("m", &dataset, &scores);
    let (questions, passages) = made::embeddings(&dataset, &scores);
    let ranks = rank(&dataset, &questions, &passages, &RankOptions::default(), &mut |_, _| Ok(())).unwrap();
    for (at, metric) in METRICS.iter().enumerate() {
        let cases = cases(&dataset, &ranks, at);
        assert_eq!(cases.len(), 15 * 4);
        let unchanged = vec![vec![false; 15]];
        for row in changes(&dataset, &cases, std::slice::from_ref(&cases), &unchanged) {
            assert_eq!((row.drop, row.unchanged), (0.0, row.n), "{metric}");
            let score = match row.language {
                None => {
                    evaluation
                        .summary()
                        .into_iter()
                        .find(|s| s.setting == row.setting.name() && s.metric == *metric)
                        .unwrap()
                        .value
                }
                Some(l) if row.setting == Setting::Mono => {
                    evaluation.cell(row.setting, metric, l, Some(l)).unwrap().value
                }
                Some(l) if row.setting == Setting::Multi => {
                    evaluation.cell(row.setting, metric, l, None).unwrap().value
                }
                Some(_) => continue,
            };
            assert!((row.before - score).abs() < 1e-12, "{metric} {row:?}: {score}");
        }
    }
}
