//! What is known of a language: its one code, its names, script and family.
//!
//! Files say `zh`, `zho`, `cmn`, `zh-CN` or `chinese`; the same language must not become two. Codes of ISO 639-1 are
//! used where a language has one, codes of ISO 639-3 otherwise. A code that is not in the table is allowed everywhere:
//! it is shown as it is, and its script and family are [`UNKNOWN`].

use std::path::Path;

/// One language of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language {
    /// ISO 639-1 where there is one, else ISO 639-3.
    pub code: &'static str,
    /// ISO 639-3, as MTEB writes languages.
    pub iso3: &'static str,
    /// In its own script.
    pub native: &'static str,
    pub english: &'static str,
    pub script: &'static str,
    pub family: &'static str,
    /// What else it is called in files, in lower case, with spaces between: ISO 639-2, codes that were withdrawn, the
    /// macrolanguage's usual member, other English names.
    also: &'static str,
}

impl Language {
    /// True for its codes and English names, in lower case.
    fn is_called(&self, name: &str) -> bool {
        self.code == name
            || self.iso3 == name
            || self.english.eq_ignore_ascii_case(name)
            || self.also.split(' ').any(|other| !other.is_empty() && other == name)
    }
}

const fn l(
    code: &'static str,
    iso3: &'static str,
    native: &'static str,
    english: &'static str,
    script: &'static str,
    family: &'static str,
    also: &'static str,
) -> Language {
    Language { code, iso3, native, english, script, family, also }
}

const TABLE: &[Language] = &[
    l("af", "afr", "Afrikaans", "Afrikaans", "Latin", "Germanic", ""),
    l("am", "amh", "አማርኛ", "Amharic", "Ethiopic", "Semitic", ""),
    l("ar", "ara", "العربية", "Arabic", "Arabic", "Semitic", "arb"),
    l("as", "asm", "অসমীয়া", "Assamese", "Bengali", "Indo-Aryan", ""),
    l("az", "aze", "azərbaycanca", "Azerbaijani", "Latin", "Turkic", "azj"),
    l("be", "bel", "беларуская", "Belarusian", "Cyrillic", "Slavic", ""),
    l("bg", "bul", "български", "Bulgarian", "Cyrillic", "Slavic", ""),
    l("bn", "ben", "বাংলা", "Bengali", "Bengali", "Indo-Aryan", ""),
    l("bo", "bod", "བོད་ཡིག", "Tibetan", "Tibetan", "Tibeto-Burman", "tib"),
    l("br", "bre", "brezhoneg", "Breton", "Latin", "Celtic", ""),
    l("bs", "bos", "bosanski", "Bosnian", "Latin", "Slavic", ""),
    l("ca", "cat", "català", "Catalan", "Latin", "Romance", ""),
    l("ceb", "ceb", "Binisaya", "Cebuano", "Latin", "Austronesian", ""),
    l("co", "cos", "corsu", "Corsican", "Latin", "Romance", ""),
    l("cs", "ces", "čeština", "Czech", "Latin", "Slavic", "cze"),
    l("cy", "cym", "Cymraeg", "Welsh", "Latin", "Celtic", "wel"),
    l("da", "dan", "dansk", "Danish", "Latin", "Germanic", ""),
    l("de", "deu", "Deutsch", "German", "Latin", "Germanic", "ger"),
    l("el", "ell", "ελληνικά", "Greek", "Greek", "Hellenic", "gre"),
    l("en", "eng", "English", "English", "Latin", "Germanic", ""),
    l("eo", "epo", "Esperanto", "Esperanto", "Latin", "constructed", ""),
    l("es", "spa", "español", "Spanish", "Latin", "Romance", ""),
    l("et", "est", "eesti", "Estonian", "Latin", "Uralic", "ekk"),
    l("eu", "eus", "euskara", "Basque", "Latin", "Basque", "baq"),
    l("fa", "fas", "فارسی", "Persian", "Arabic", "Iranian", "per pes farsi"),
    l("fi", "fin", "suomi", "Finnish", "Latin", "Uralic", ""),
    l("fo", "fao", "føroyskt", "Faroese", "Latin", "Germanic", ""),
    l("fr", "fra", "français", "French", "Latin", "Romance", "fre"),
    l("fy", "fry", "Frysk", "Frisian", "Latin", "Germanic", ""),
    l("ga", "gle", "Gaeilge", "Irish", "Latin", "Celtic", ""),
    l("gd", "gla", "Gàidhlig", "Scottish Gaelic", "Latin", "Celtic", "gaelic"),
    l("gl", "glg", "galego", "Galician", "Latin", "Romance", ""),
    l("gu", "guj", "ગુજરાતી", "Gujarati", "Gujarati", "Indo-Aryan", ""),
    l("ha", "hau", "Hausa", "Hausa", "Latin", "Chadic", ""),
    l("haw", "haw", "ʻŌlelo Hawaiʻi", "Hawaiian", "Latin", "Austronesian", ""),
    l("he", "heb", "עברית", "Hebrew", "Hebrew", "Semitic", "iw"),
    l("hi", "hin", "हिन्दी", "Hindi", "Devanagari", "Indo-Aryan", ""),
    l("hmn", "hmn", "Hmoob", "Hmong", "Latin", "Hmong-Mien", ""),
    l("hr", "hrv", "hrvatski", "Croatian", "Latin", "Slavic", ""),
    l("ht", "hat", "kreyòl ayisyen", "Haitian Creole", "Latin", "creole", ""),
    l("hu", "hun", "magyar", "Hungarian", "Latin", "Uralic", ""),
    l("hy", "hye", "հայերեն", "Armenian", "Armenian", "Armenian", "arm"),
    l("ia", "ina", "interlingua", "Interlingua", "Latin", "constructed", ""),
    l("id", "ind", "Indonesia", "Indonesian", "Latin", "Austronesian", "in"),
    l("ie", "ile", "Interlingue", "Interlingue", "Latin", "constructed", ""),
    l("ig", "ibo", "Igbo", "Igbo", "Latin", "Volta-Niger", ""),
    l("io", "ido", "Ido", "Ido", "Latin", "constructed", ""),
    l("is", "isl", "íslenska", "Icelandic", "Latin", "Germanic", "ice"),
    l("it", "ita", "italiano", "Italian", "Latin", "Romance", ""),
    l("ja", "jpn", "日本語", "Japanese", "Japanese", "Japonic", ""),
    l("jv", "jav", "Jawa", "Javanese", "Latin", "Austronesian", ""),
    l("ka", "kat", "ქართული", "Georgian", "Georgian", "Kartvelian", "geo"),
    l("kk", "kaz", "қазақша", "Kazakh", "Cyrillic", "Turkic", ""),
    l("km", "khm", "ខ្មែរ", "Khmer", "Khmer", "Austroasiatic", ""),
    l("kn", "kan", "ಕನ್ನಡ", "Kannada", "Kannada", "Dravidian", ""),
    l("ko", "kor", "한국어", "Korean", "Hangul", "Koreanic", ""),
    l("ku", "kur", "kurdî", "Kurdish", "Latin", "Iranian", "kmr"),
    l("kw", "cor", "kernewek", "Cornish", "Latin", "Celtic", ""),
    l("ky", "kir", "кыргызча", "Kyrgyz", "Cyrillic", "Turkic", ""),
    l("la", "lat", "Latina", "Latin", "Latin", "Italic", ""),
    l("lb", "ltz", "Lëtzebuergesch", "Luxembourgish", "Latin", "Germanic", ""),
    l("lo", "lao", "ລາວ", "Lao", "Lao", "Kra-Dai", ""),
    l("lt", "lit", "lietuvių", "Lithuanian", "Latin", "Baltic", ""),
    l("lv", "lav", "latviešu", "Latvian", "Latin", "Baltic", "lvs"),
    l("mg", "mlg", "Malagasy", "Malagasy", "Latin", "Austronesian", "plt"),
    l("mi", "mri", "Māori", "Maori", "Latin", "Austronesian", "mao"),
    l("mk", "mkd", "македонски", "Macedonian", "Cyrillic", "Slavic", "mac"),
    l("ml", "mal", "മലയാളം", "Malayalam", "Malayalam", "Dravidian", ""),
    l("mn", "mon", "монгол", "Mongolian", "Cyrillic", "Mongolic", "khk"),
    l("mr", "mar", "मराठी", "Marathi", "Devanagari", "Indo-Aryan", ""),
    l("ms", "msa", "Bahasa Melayu", "Malay", "Latin", "Austronesian", "may zsm"),
    l("mt", "mlt", "Malti", "Maltese", "Latin", "Semitic", ""),
    l("my", "mya", "မြန်မာ", "Burmese", "Burmese", "Tibeto-Burman", "bur"),
    l("nb", "nob", "bokmål", "Norwegian Bokmål", "Latin", "Germanic", ""),
    l("ne", "nep", "नेपाली", "Nepali", "Devanagari", "Indo-Aryan", "npi"),
    l("nl", "nld", "Nederlands", "Dutch", "Latin", "Germanic", "dut"),
    l("nn", "nno", "nynorsk", "Norwegian Nynorsk", "Latin", "Germanic", ""),
    l("no", "nor", "norsk", "Norwegian", "Latin", "Germanic", ""),
    l("ny", "nya", "Chichewa", "Nyanja", "Latin", "Bantu", "chichewa"),
    l("oc", "oci", "occitan", "Occitan", "Latin", "Romance", ""),
    l("om", "orm", "Oromoo", "Oromo", "Latin", "Cushitic", "gaz"),
    l("or", "ori", "ଓଡ଼ିଆ", "Odia", "Odia", "Indo-Aryan", "ory oriya"),
    l("pa", "pan", "ਪੰਜਾਬੀ", "Punjabi", "Gurmukhi", "Indo-Aryan", ""),
    l("pl", "pol", "polski", "Polish", "Latin", "Slavic", ""),
    l("ps", "pus", "پښتو", "Pashto", "Arabic", "Iranian", "pbt"),
    l("pt", "por", "português", "Portuguese", "Latin", "Romance", ""),
    l("qu", "que", "Runasimi", "Quechua", "Latin", "Quechuan", "quz"),
    l("ro", "ron", "română", "Romanian", "Latin", "Romance", "rum mo"),
    l("ru", "rus", "русский", "Russian", "Cyrillic", "Slavic", ""),
    l("rw", "kin", "Kinyarwanda", "Kinyarwanda", "Latin", "Bantu", ""),
    l("sa", "san", "संस्कृतम्", "Sanskrit", "Devanagari", "Indo-Aryan", ""),
    l("sd", "snd", "سنڌي", "Sindhi", "Arabic", "Indo-Aryan", ""),
    l("si", "sin", "සිංහල", "Sinhala", "Sinhala", "Indo-Aryan", ""),
    l("sk", "slk", "slovenčina", "Slovak", "Latin", "Slavic", "slo"),
    l("sl", "slv", "slovenščina", "Slovenian", "Latin", "Slavic", ""),
    l("sm", "smo", "Gagana Sāmoa", "Samoan", "Latin", "Austronesian", ""),
    l("sn", "sna", "chiShona", "Shona", "Latin", "Bantu", ""),
    l("so", "som", "Soomaali", "Somali", "Latin", "Cushitic", ""),
    l("sq", "sqi", "shqip", "Albanian", "Latin", "Albanian", "alb als"),
    l("sr", "srp", "српски", "Serbian", "Cyrillic", "Slavic", ""),
    l("st", "sot", "Sesotho", "Southern Sotho", "Latin", "Bantu", "sesotho"),
    l("su", "sun", "Basa Sunda", "Sundanese", "Latin", "Austronesian", ""),
    l("sv", "swe", "svenska", "Swedish", "Latin", "Germanic", ""),
    l("sw", "swa", "Kiswahili", "Swahili", "Latin", "Bantu", "swh"),
    l("ta", "tam", "தமிழ்", "Tamil", "Tamil", "Dravidian", ""),
    l("te", "tel", "తెలుగు", "Telugu", "Telugu", "Dravidian", ""),
    l("tg", "tgk", "тоҷикӣ", "Tajik", "Cyrillic", "Iranian", ""),
    l("th", "tha", "ไทย", "Thai", "Thai", "Kra-Dai", ""),
    l("tk", "tuk", "türkmençe", "Turkmen", "Latin", "Turkic", ""),
    l("tl", "tgl", "Filipino", "Filipino", "Latin", "Austronesian", "fil tagalog"),
    l("tr", "tur", "Türkçe", "Turkish", "Latin", "Turkic", ""),
    l("tt", "tat", "татарча", "Tatar", "Cyrillic", "Turkic", ""),
    l("ug", "uig", "ئۇيغۇرچە", "Uyghur", "Arabic", "Turkic", ""),
    l("uk", "ukr", "українська", "Ukrainian", "Cyrillic", "Slavic", ""),
    l("ur", "urd", "اردو", "Urdu", "Arabic", "Indo-Aryan", ""),
    l("uz", "uzb", "oʻzbekcha", "Uzbek", "Latin", "Turkic", "uzn"),
    l("vi", "vie", "Tiếng Việt", "Vietnamese", "Latin", "Austroasiatic", ""),
    l("wo", "wol", "Wolof", "Wolof", "Latin", "Atlantic", ""),
    l("xh", "xho", "isiXhosa", "Xhosa", "Latin", "Bantu", ""),
    l("yi", "yid", "ייִדיש", "Yiddish", "Hebrew", "Germanic", "ydd ji"),
    l("yo", "yor", "Yorùbá", "Yoruba", "Latin", "Volta-Niger", ""),
    l("yue", "yue", "粵語", "Cantonese", "Han", "Sinitic", ""),
    l("zh", "zho", "中文", "Chinese", "Han", "Sinitic", "chi cmn"),
    l("zu", "zul", "isiZulu", "Zulu", "Latin", "Bantu", ""),
];

/// Script and family of a language that the table does not know.
pub const UNKNOWN: &str = "unknown";

/// Scripts with their codes of ISO 15924. Han stands for both its forms.
const SCRIPTS: &[(&str, &str)] = &[
    ("Arabic", "Arab"),
    ("Armenian", "Armn"),
    ("Bengali", "Beng"),
    ("Burmese", "Mymr"),
    ("Cyrillic", "Cyrl"),
    ("Devanagari", "Deva"),
    ("Ethiopic", "Ethi"),
    ("Georgian", "Geor"),
    ("Greek", "Grek"),
    ("Gujarati", "Gujr"),
    ("Gurmukhi", "Guru"),
    ("Han", "Hans"),
    ("Han", "Hant"),
    ("Hangul", "Hang"),
    ("Hangul", "Kore"),
    ("Hebrew", "Hebr"),
    ("Japanese", "Jpan"),
    ("Kannada", "Knda"),
    ("Khmer", "Khmr"),
    ("Lao", "Laoo"),
    ("Latin", "Latn"),
    ("Malayalam", "Mlym"),
    ("Odia", "Orya"),
    ("Sinhala", "Sinh"),
    ("Tamil", "Taml"),
    ("Telugu", "Telu"),
    ("Thai", "Thai"),
    ("Tibetan", "Tibt"),
];

fn known(name: &str) -> Option<&'static Language> {
    TABLE.iter().find(|l| l.is_called(name))
}

/// The language of this code or English name; what follows the code (`zh-CN`, `sr-latn`) is ignored.
#[must_use]
pub fn find(code: &str) -> Option<&'static Language> {
    let code = code.trim().to_lowercase();
    known(code.split(['-', '_']).next().unwrap_or(&code))
}

/// English name, or the code where it is unknown.
#[must_use]
pub fn english(code: &str) -> &str {
    find(code).map_or(code, |l| l.english)
}

/// Native name, or nothing where it is unknown.
#[must_use]
pub fn native(code: &str) -> &'static str {
    find(code).map_or("", |l| l.native)
}

/// The script that a code names itself (`sr-latn`): name and code of ISO 15924.
fn own_script(code: &str) -> Option<(&'static str, &'static str)> {
    let mut parts = code.split(['-', '_']).skip(1);
    parts.find_map(|part| SCRIPTS.iter().copied().find(|(_, iso)| iso.eq_ignore_ascii_case(part)))
}

/// The script, or [`UNKNOWN`].
#[must_use]
pub fn script(code: &str) -> &'static str {
    own_script(code).map(|(name, _)| name).or_else(|| find(code).map(|l| l.script)).unwrap_or(UNKNOWN)
}

/// The family (the branch, for Indo-European), or [`UNKNOWN`].
#[must_use]
pub fn family(code: &str) -> &'static str {
    find(code).map_or(UNKNOWN, |l| l.family)
}

/// As MTEB writes a language, `eng-Latn`: ISO 639-3 and ISO 15924; the code itself where it is unknown.
#[must_use]
pub fn iso(code: &str) -> String {
    let Some(language) = find(code) else { return code.to_owned() };
    let usual = SCRIPTS.iter().find(|(name, _)| *name == language.script).map_or(UNKNOWN, |(_, iso)| iso);
    let script = match own_script(code) {
        Some((_, own)) => own,
        None if language.script == "Han" && code.to_lowercase().ends_with("tw") => "Hant",
        None => usual,
    };
    format!("{}-{script}", language.iso3)
}

/// True for what has the form of a code of ISO 15924.
fn is_script(part: &str) -> bool {
    part.len() == 4 && part.bytes().all(|b| b.is_ascii_alphabetic())
}

/// True where the language of this code is usually written so.
fn is_usual(code: &str, script: &str) -> bool {
    let usual = known(code).map(|l| l.script);
    SCRIPTS.iter().any(|(name, iso)| Some(*name) == usual && iso.eq_ignore_ascii_case(script))
}

/// The one code of a language: lower case, `_` as `-`, aliases resolved, a country dropped.
///
/// A script stays where it tells languages apart in practice (`sr-latn`); the usual one goes, so that `eng_Latn` is `en` and
/// `arb_Arab` is `ar`. `zh-hans`, `zh-tw` and the like become `zh`.
#[must_use]
pub fn normalise(code: &str) -> String {
    let code = code.trim().to_lowercase().replace('_', "-");
    let (base, rest) = code.split_once('-').map_or((code.as_str(), None), |(b, r)| (b, Some(r)));
    match (known(base).map(|l| l.code), rest) {
        (Some(known), None) => known.to_owned(),
        (Some("zh"), Some(_)) => "zh".into(),
        (Some(known), Some(rest)) => match rest.split('-').find(|part| is_script(part)) {
            Some(script) if !is_usual(known, script) => format!("{known}-{script}"),
            _ => known.to_owned(),
        },
        (None, _) => code,
    }
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

/// The language that a directory, or the one that a file lies in, is called by: `mrtydi-v1.1-arabic`, `de`. For what lies in
/// it and says none.
#[must_use]
pub fn of_folder(path: &Path) -> Option<String> {
    let whole = path.canonicalize().ok()?;
    let folder = if whole.is_dir() { &whole } else { whole.parent()? };
    let name = folder.file_name()?.to_string_lossy().to_lowercase();
    // `my` and `in` are what people call directories.
    if OTHER.contains(&name.as_str()) { None } else { of_name(&name) }
}

/// The two languages that the nearest name which says any says as `en-de`: a file's, its directories', its dataset's own.
#[must_use]
pub fn pair_of_path(path: &Path, root: &Path) -> Option<(String, String)> {
    let (below, whole) = (path.strip_prefix(root).ok(), root.canonicalize().ok());
    let below = below.filter(|p| !p.as_os_str().is_empty());
    let around = whole.iter().filter_map(|p| if p.is_dir() { Some(p.as_path()) } else { p.parent() });
    let own = path.file_name().map(Path::new);
    let names = around.filter_map(Path::file_name).chain(below.or(own)?.iter());
    let names: Vec<String> = names.map(|n| n.to_string_lossy().to_lowercase()).collect();
    let speaking = names.iter().rev().find(|n| of_name(n).is_some())?;
    // Scripts say nothing of the language: `deu_Latn-eng_Latn`.
    let is_script = |part: &str| SCRIPTS.iter().any(|(_, iso)| iso.eq_ignore_ascii_case(part));
    let is_word = |part: &&str| !part.is_empty() && !is_script(part);
    let parts: Vec<&str> = speaking.split(['.', '_', '-']).filter(is_word).collect();
    let code = |part: &str| known(part).filter(|l| part.len() < 4 && l.english != part).map(|l| l.code);
    // `pt-br` is one language and its country, not Breton.
    let is_country = |at: usize| parts[at] == "br" && at > 0 && parts[at - 1] == "pt";
    let parts: Vec<&str> = (0..parts.len()).filter(|at| !is_country(*at)).map(|at| parts[at]).collect();
    let mut pairs = parts.windows(2).filter(|two| two.iter().all(|part| !OTHER.contains(part)));
    pairs.find_map(|two| {
        let (a, b) = (code(two[0])?, code(two[1])?);
        (a != b).then(|| (a.to_owned(), b.to_owned()))
    })
}

/// Words that are codes too, but stand in file names with another meaning.
const OTHER: [&str; 14] =
    ["id", "ids", "no", "is", "in", "or", "my", "so", "as", "co", "ny", "sd", "sm", "st"];

fn of_name(name: &str) -> Option<String> {
    // The whole name first: `id.json` and `no.jsonl.gz` are languages, the `ids` of `triples.ids.tsv` are not.
    let name = &name.replace("pt-br", "pt").replace("pt_br", "pt");
    known(name)
        .or_else(|| name.split(['.', '_', '-']).rev().filter(|part| !OTHER.contains(part)).find_map(known))
        .map(|language| language.code.to_owned())
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
            ("ceb_Latn", "ceb"),
            ("ory_Orya", "or"),
            ("bod-Tibt", "bo"),
            ("xx_Latn", "xx-latn"),
            ("eng_Latn", "en"),
            ("deu_Latn", "de"),
            ("arb_Arab", "ar"),
            ("arb_Latn", "ar-latn"),
            ("swh_Latn", "sw"),
            ("heb_Hebr", "he"),
            ("yue_Hant", "yue"),
            ("kor_Hang", "ko"),
            ("ko-Kore", "ko"),
            ("jpn_Jpan", "ja"),
            ("hin_Deva", "hi"),
            ("srp_Cyrl", "sr"),
            ("sr-Latn-RS", "sr-latn"),
            ("de-1996", "de"),
        ] {
            assert_eq!(normalise(given), code, "{given}");
        }
    }

    #[test]
    fn no_name_belongs_to_two_languages() {
        for language in TABLE {
            let english = language.english.to_lowercase();
            let also = language.also.split(' ').filter(|n| !n.is_empty());
            for name in [language.code, language.iso3, &english].into_iter().chain(also) {
                let all: Vec<_> = TABLE.iter().filter(|l| l.is_called(name)).map(|l| l.code).collect();
                assert_eq!(all, [language.code], "{name}");
            }
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
            ("as.tsv", Some("as")),
            ("train.pt-BR.tsv", Some("pt")),
            ("distil-sm.train.jsonl", None),
        ] {
            let found = of_path(&Path::new("/data").join(path), Path::new("/data"));
            assert_eq!(found.as_deref(), code, "{path}");
        }
    }

    #[test]
    fn two_codes_side_by_side_are_parallel_texts() {
        let root = Path::new("/nowhere");
        for (path, pair) in [
            ("TED2020-en-de-train.tsv.gz", Some(("en", "de"))),
            ("en-de/train.jsonl", Some(("en", "de"))),
            ("en-de/train.fr.jsonl", None),
            ("train.en.tsv", None),
            ("en/de/train.tsv", None),
            ("zh-zho.tsv", None),
            ("deu_Latn-eng_Latn.tsv", Some(("de", "en"))),
            ("flores-sr_Cyrl-en.tsv", Some(("sr", "en"))),
            ("en--de.tsv", Some(("en", "de"))),
            ("mydata-pt-br.tsv", None),
            ("pt_BR-en.tsv", Some(("pt", "en"))),
        ] {
            let found = pair_of_path(&root.join(path), root);
            assert_eq!(found.as_ref().map(|(a, b)| (a.as_str(), b.as_str())), pair, "{path}");
        }
    }

    #[test]
    fn folders_say_their_language_unless_their_name_is_a_common_word() {
        let dir = tempfile::tempdir().expect("dir");
        for (folder, code) in [
            ("mrtydi-v1.1-arabic", Some("ar")),
            ("de", Some("de")),
            ("my", None),
            ("in", None),
            ("plain", None),
        ] {
            let folder = dir.path().join(folder);
            std::fs::create_dir(&folder).expect("folder");
            std::fs::write(folder.join("train.jsonl"), "").expect("file");
            assert_eq!(of_folder(&folder).as_deref(), code, "{}", folder.display());
            assert_eq!(of_folder(&folder.join("train.jsonl")).as_deref(), code, "{}", folder.display());
        }
        assert_eq!(of_folder(&dir.path().join("none")), None);
    }

    #[test]
    fn what_is_known_of_a_language_is_found_by_any_of_its_names() {
        assert_eq!((english("zh-CN"), english("Chinese"), english("cmn")), ("Chinese", "Chinese", "Chinese"));
        assert_eq!((english("xx"), script("xx"), iso("xx").as_str()), ("xx", UNKNOWN, "xx"));
        assert_eq!((family("swh"), iso("de"), iso("zh-TW")), ("Bantu", "deu-Latn".into(), "zho-Hant".into()));
        assert_eq!((english("eng"), script("fa"), native("fil")), ("English", "Arabic", native("tl")));
        assert_eq!(
            (script("sr"), script("sr-latn"), iso("sr_Latn")),
            ("Cyrillic", "Latin", "srp-Latn".into())
        );
        assert_eq!(iso("zh-hant"), "zho-Hant");
    }

    #[test]
    fn every_script_has_its_four_letters() {
        for language in TABLE {
            let iso = iso(language.code);
            let (code, script) = iso.split_once('-').expect("two parts");
            assert!(code.len() == 3 && script.len() == 4, "{iso}");
            assert_eq!(super::script(language.code), language.script);
        }
    }
}
