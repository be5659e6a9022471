//! Language codes: one code a language, whatever a file calls it.
//!
//! Files say `zh`, `zho`, `cmn`, `zh-CN` or `chinese`; the same language must not become two. Codes of ISO 639-1 are
//! used where a language has one, codes of ISO 639-3 otherwise; an unknown code stays as it is, in lower case.

use std::path::Path;

/// Code, then what else it is called: ISO 639-2 and 639-3, codes that were withdrawn, the macrolanguage's usual member,
/// and the English name, as files and directories have it.
const NAMES: &[&[&str]] = &[
    &["af", "afr", "afrikaans"],
    &["am", "amh", "amharic"],
    &["ar", "ara", "arb", "arabic"],
    &["az", "aze", "azj", "azerbaijani"],
    &["be", "bel", "belarusian"],
    &["bg", "bul", "bulgarian"],
    &["bn", "ben", "bengali"],
    &["br", "bre", "breton"],
    &["bs", "bos", "bosnian"],
    &["ca", "cat", "catalan"],
    &["cs", "ces", "cze", "czech"],
    &["cy", "cym", "wel", "welsh"],
    &["da", "dan", "danish"],
    &["de", "deu", "ger", "german"],
    &["el", "ell", "gre", "greek"],
    &["en", "eng", "english"],
    &["eo", "epo", "esperanto"],
    &["es", "spa", "spanish"],
    &["et", "est", "ekk", "estonian"],
    &["eu", "eus", "baq", "basque"],
    &["fa", "fas", "per", "pes", "persian", "farsi"],
    &["fi", "fin", "finnish"],
    &["fo", "fao", "faroese"],
    &["fr", "fra", "fre", "french"],
    &["fy", "fry", "frisian"],
    &["ga", "gle", "irish"],
    &["gd", "gla", "gaelic"],
    &["gl", "glg", "galician"],
    &["gu", "guj", "gujarati"],
    &["ha", "hau", "hausa"],
    &["he", "heb", "iw", "hebrew"],
    &["hi", "hin", "hindi"],
    &["hr", "hrv", "croatian"],
    &["hu", "hun", "hungarian"],
    &["hy", "hye", "arm", "armenian"],
    &["ia", "ina", "interlingua"],
    &["id", "ind", "in", "indonesian"],
    &["ie", "ile", "interlingue"],
    &["ig", "ibo", "igbo"],
    &["io", "ido"],
    &["is", "isl", "ice", "icelandic"],
    &["it", "ita", "italian"],
    &["ja", "jpn", "japanese"],
    &["jv", "jav", "javanese"],
    &["ka", "kat", "geo", "georgian"],
    &["kk", "kaz", "kazakh"],
    &["km", "khm", "khmer"],
    &["kn", "kan", "kannada"],
    &["ko", "kor", "korean"],
    &["ku", "kur", "kmr", "kurdish"],
    &["kw", "cor", "cornish"],
    &["ky", "kir", "kyrgyz"],
    &["la", "lat", "latin"],
    &["lo", "lao"],
    &["lt", "lit", "lithuanian"],
    &["lv", "lav", "lvs", "latvian"],
    &["mi", "mri", "mao", "maori"],
    &["mk", "mkd", "mac", "macedonian"],
    &["ml", "mal", "malayalam"],
    &["mn", "mon", "khk", "mongolian"],
    &["mr", "mar", "marathi"],
    &["ms", "msa", "may", "zsm", "malay"],
    &["mt", "mlt", "maltese"],
    &["my", "mya", "bur", "burmese"],
    &["nb", "nob"],
    &["ne", "nep", "npi", "nepali"],
    &["nl", "nld", "dut", "dutch"],
    &["nn", "nno"],
    &["no", "nor", "norwegian"],
    &["oc", "oci", "occitan"],
    &["pa", "pan", "punjabi"],
    &["pl", "pol", "polish"],
    &["ps", "pus", "pbt", "pashto"],
    &["pt", "por", "portuguese"],
    &["qu", "que", "quz", "quechua"],
    &["ro", "ron", "rum", "mo", "romanian"],
    &["ru", "rus", "russian"],
    &["si", "sin", "sinhala"],
    &["sk", "slk", "slo", "slovak"],
    &["sl", "slv", "slovenian"],
    &["so", "som", "somali"],
    &["sq", "sqi", "alb", "als", "albanian"],
    &["sr", "srp", "serbian"],
    &["sv", "swe", "swedish"],
    &["sw", "swa", "swh", "swahili"],
    &["ta", "tam", "tamil"],
    &["te", "tel", "telugu"],
    &["tg", "tgk", "tajik"],
    &["th", "tha", "thai"],
    &["tk", "tuk", "turkmen"],
    &["tl", "tgl", "fil", "tagalog", "filipino"],
    &["tr", "tur", "turkish"],
    &["tt", "tat", "tatar"],
    &["ug", "uig", "uyghur"],
    &["uk", "ukr", "ukrainian"],
    &["ur", "urd", "urdu"],
    &["uz", "uzb", "uzn", "uzbek"],
    &["vi", "vie", "vietnamese"],
    &["xh", "xho", "xhosa"],
    &["yi", "yid", "ydd", "ji", "yiddish"],
    &["yo", "yor", "yoruba"],
    &["yue", "cantonese"],
    &["zh", "zho", "chi", "cmn", "chinese"],
    &["zu", "zul", "zulu"],
];

/// The one code of a language: lower case, `_` as `-`, aliases resolved, a country dropped.
///
/// A script stays where it tells languages apart in practice (`sr-latn`); `zh-hans`, `zh-tw` and the like become `zh`.
#[must_use]
pub fn normalise(code: &str) -> String {
    let code = code.trim().to_lowercase().replace('_', "-");
    let (base, rest) = code.split_once('-').map_or((code.as_str(), None), |(b, r)| (b, Some(r)));
    let known = known(base);
    match (known, rest) {
        (Some(known), None) => known.to_owned(),
        (Some("zh"), Some(_)) => "zh".into(),
        (Some(known), Some(rest)) => match rest.split('-').find(|part| part.len() == 4) {
            Some(script) => format!("{known}-{script}"),
            None => known.to_owned(),
        },
        (None, _) => code,
    }
}

fn known(name: &str) -> Option<&'static str> {
    NAMES.iter().find(|names| names.contains(&name)).map(|names| names[0])
}

/// The language that a file's name, or else its directories' names, say: the last part of a name that is a known code
/// or an English name.
///
/// `en.json`, `xquad.en.json`, `miracl-v1.0-en/...`, `english_collection.tsv`, `squad.translate.train.en-de.json` (de).
#[must_use]
pub fn of_path(path: &Path, root: &Path) -> Option<String> {
    let below = path.strip_prefix(root).ok().filter(|p| !p.as_os_str().is_empty());
    let below = below.map_or_else(|| path.file_name().map(Path::new), Some)?;
    let names: Vec<String> =
        below.components().map(|c| c.as_os_str().to_string_lossy().to_lowercase()).collect();
    let (file, folders) = names.split_last()?;
    let mut file = file.as_str();
    for ending in [".gz", ".zst", ".zstd", ".json", ".jsonl", ".ndjson", ".tsv", ".txt", ".parquet"] {
        file = file.strip_suffix(ending).unwrap_or(file);
    }
    of_name(file).or_else(|| folders.iter().rev().find_map(|name| of_name(name)))
}

/// Words that are codes too, but stand in file names with another meaning.
const OTHER: [&str; 8] = ["id", "ids", "no", "is", "in", "or", "my", "so"];

fn of_name(name: &str) -> Option<String> {
    // The whole name first: `id.json` and `no.jsonl.gz` are languages, the `ids` of `triples.ids.tsv` are not.
    known(name)
        .or_else(|| name.split(['.', '_', '-']).rev().filter(|part| !OTHER.contains(part)).find_map(known))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_codes_and_names_are_one_language() {
        for (given, code) in [
            ("cmn", "zh"),
            ("zh-CN", "zh"),
            ("zh_Hant", "zh"),
            ("fil", "tl"),
            ("iw", "he"),
            ("pes", "fa"),
            ("swh", "sw"),
            ("Swahili", "sw"),
            ("EN", "en"),
            ("pt-BR", "pt"),
            ("sr-Latn", "sr-latn"),
            ("quz", "qu"),
            ("ceb", "ceb"),
        ] {
            assert_eq!(normalise(given), code, "{given}");
        }
    }

    #[test]
    fn no_name_belongs_to_two_languages() {
        let mut seen = std::collections::HashSet::new();
        for name in NAMES.iter().flat_map(|n| n.iter()) {
            assert!(seen.insert(name), "{name}");
        }
    }

    #[test]
    fn paths_say_their_language() {
        for (path, code) in [
            ("en.json", Some("en")),
            ("id.json", Some("id")),
            ("xquad.de.json", Some("de")),
            ("miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-dev.tsv", Some("sw")),
            ("miracl-corpus-v1.0-sw/docs-0.jsonl.gz", Some("sw")),
            ("collections/english_collection.tsv", Some("en")),
            ("squad.translate.train.en-de.json", Some("de")),
            ("mrtydi-v1.1-arabic/train.jsonl.gz", Some("ar")),
            ("triples.train.ids.small.tsv", None),
            ("corpus.jsonl", None),
        ] {
            let found = of_path(&Path::new("/data").join(path), Path::new("/data"));
            assert_eq!(found.as_deref(), code, "{path}");
        }
    }
}
