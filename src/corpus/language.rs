//! What is known of a language beyond its code: names, script and family.
//!
//! A code that is not in the table is allowed everywhere: it is shown as it is, and its script and family are
//! [`UNKNOWN`].

/// One language of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language {
    /// ISO 639-1.
    pub code: &'static str,
    /// ISO 639-3, as MTEB writes languages.
    pub iso3: &'static str,
    /// In its own script.
    pub native: &'static str,
    pub english: &'static str,
    pub script: &'static str,
    pub family: &'static str,
}

const fn l(
    code: &'static str,
    iso3: &'static str,
    native: &'static str,
    english: &'static str,
    script: &'static str,
    family: &'static str,
) -> Language {
    Language { code, iso3, native, english, script, family }
}

const TABLE: &[Language] = &[
    l("af", "afr", "Afrikaans", "Afrikaans", "Latin", "Germanic"),
    l("am", "amh", "አማርኛ", "Amharic", "Ethiopic", "Semitic"),
    l("ar", "ara", "العربية", "Arabic", "Arabic", "Semitic"),
    l("az", "aze", "azərbaycanca", "Azerbaijani", "Latin", "Turkic"),
    l("be", "bel", "беларуская", "Belarusian", "Cyrillic", "Slavic"),
    l("bg", "bul", "български", "Bulgarian", "Cyrillic", "Slavic"),
    l("bn", "ben", "বাংলা", "Bengali", "Bengali", "Indo-Aryan"),
    l("ca", "cat", "català", "Catalan", "Latin", "Romance"),
    l("cs", "ces", "čeština", "Czech", "Latin", "Slavic"),
    l("cy", "cym", "Cymraeg", "Welsh", "Latin", "Celtic"),
    l("da", "dan", "dansk", "Danish", "Latin", "Germanic"),
    l("de", "deu", "Deutsch", "German", "Latin", "Germanic"),
    l("el", "ell", "ελληνικά", "Greek", "Greek", "Hellenic"),
    l("en", "eng", "English", "English", "Latin", "Germanic"),
    l("es", "spa", "español", "Spanish", "Latin", "Romance"),
    l("et", "est", "eesti", "Estonian", "Latin", "Uralic"),
    l("eu", "eus", "euskara", "Basque", "Latin", "Basque"),
    l("fa", "fas", "فارسی", "Persian", "Arabic", "Iranian"),
    l("fi", "fin", "suomi", "Finnish", "Latin", "Uralic"),
    l("fil", "fil", "Filipino", "Filipino", "Latin", "Austronesian"),
    l("fr", "fra", "français", "French", "Latin", "Romance"),
    l("ga", "gle", "Gaeilge", "Irish", "Latin", "Celtic"),
    l("gl", "glg", "galego", "Galician", "Latin", "Romance"),
    l("gu", "guj", "ગુજરાતી", "Gujarati", "Gujarati", "Indo-Aryan"),
    l("ha", "hau", "Hausa", "Hausa", "Latin", "Chadic"),
    l("he", "heb", "עברית", "Hebrew", "Hebrew", "Semitic"),
    l("hi", "hin", "हिन्दी", "Hindi", "Devanagari", "Indo-Aryan"),
    l("hr", "hrv", "hrvatski", "Croatian", "Latin", "Slavic"),
    l("hu", "hun", "magyar", "Hungarian", "Latin", "Uralic"),
    l("hy", "hye", "հայերեն", "Armenian", "Armenian", "Armenian"),
    l("id", "ind", "Indonesia", "Indonesian", "Latin", "Austronesian"),
    l("is", "isl", "íslenska", "Icelandic", "Latin", "Germanic"),
    l("it", "ita", "italiano", "Italian", "Latin", "Romance"),
    l("ja", "jpn", "日本語", "Japanese", "Japanese", "Japonic"),
    l("ka", "kat", "ქართული", "Georgian", "Georgian", "Kartvelian"),
    l("kk", "kaz", "қазақша", "Kazakh", "Cyrillic", "Turkic"),
    l("km", "khm", "ខ្មែរ", "Khmer", "Khmer", "Austroasiatic"),
    l("kn", "kan", "ಕನ್ನಡ", "Kannada", "Kannada", "Dravidian"),
    l("ko", "kor", "한국어", "Korean", "Hangul", "Koreanic"),
    l("lo", "lao", "ລາວ", "Lao", "Lao", "Kra-Dai"),
    l("lt", "lit", "lietuvių", "Lithuanian", "Latin", "Baltic"),
    l("lv", "lav", "latviešu", "Latvian", "Latin", "Baltic"),
    l("mk", "mkd", "македонски", "Macedonian", "Cyrillic", "Slavic"),
    l("ml", "mal", "മലയാളം", "Malayalam", "Malayalam", "Dravidian"),
    l("mn", "mon", "монгол", "Mongolian", "Cyrillic", "Mongolic"),
    l("mr", "mar", "मराठी", "Marathi", "Devanagari", "Indo-Aryan"),
    l("ms", "msa", "Bahasa Melayu", "Malay", "Latin", "Austronesian"),
    l("my", "mya", "မြန်မာ", "Burmese", "Burmese", "Tibeto-Burman"),
    l("ne", "nep", "नेपाली", "Nepali", "Devanagari", "Indo-Aryan"),
    l("nl", "nld", "Nederlands", "Dutch", "Latin", "Germanic"),
    l("no", "nor", "norsk", "Norwegian", "Latin", "Germanic"),
    l("pa", "pan", "ਪੰਜਾਬੀ", "Punjabi", "Gurmukhi", "Indo-Aryan"),
    l("pl", "pol", "polski", "Polish", "Latin", "Slavic"),
    l("pt", "por", "português", "Portuguese", "Latin", "Romance"),
    l("ro", "ron", "română", "Romanian", "Latin", "Romance"),
    l("ru", "rus", "русский", "Russian", "Cyrillic", "Slavic"),
    l("si", "sin", "සිංහල", "Sinhala", "Sinhala", "Indo-Aryan"),
    l("sk", "slk", "slovenčina", "Slovak", "Latin", "Slavic"),
    l("sl", "slv", "slovenščina", "Slovenian", "Latin", "Slavic"),
    l("so", "som", "Soomaali", "Somali", "Latin", "Cushitic"),
    l("sq", "sqi", "shqip", "Albanian", "Latin", "Albanian"),
    l("sr", "srp", "српски", "Serbian", "Cyrillic", "Slavic"),
    l("sv", "swe", "svenska", "Swedish", "Latin", "Germanic"),
    l("sw", "swa", "Kiswahili", "Swahili", "Latin", "Bantu"),
    l("ta", "tam", "தமிழ்", "Tamil", "Tamil", "Dravidian"),
    l("te", "tel", "తెలుగు", "Telugu", "Telugu", "Dravidian"),
    l("th", "tha", "ไทย", "Thai", "Thai", "Kra-Dai"),
    l("tr", "tur", "Türkçe", "Turkish", "Latin", "Turkic"),
    l("uk", "ukr", "українська", "Ukrainian", "Cyrillic", "Slavic"),
    l("ur", "urd", "اردو", "Urdu", "Arabic", "Indo-Aryan"),
    l("uz", "uzb", "oʻzbekcha", "Uzbek", "Latin", "Turkic"),
    l("vi", "vie", "Tiếng Việt", "Vietnamese", "Latin", "Austroasiatic"),
    l("xh", "xho", "isiXhosa", "Xhosa", "Latin", "Bantu"),
    l("yo", "yor", "Yorùbá", "Yoruba", "Latin", "Volta-Niger"),
    l("zh", "zho", "中文", "Chinese", "Han", "Sinitic"),
    l("zu", "zul", "isiZulu", "Zulu", "Latin", "Bantu"),
];

/// Script and family of a language that the table does not know.
pub const UNKNOWN: &str = "unknown";

/// Codes that older data use, and ISO 639-3 codes of a macrolanguage's main member.
const ALIASES: [(&str, &str); 6] =
    [("cmn", "zh"), ("iw", "he"), ("in", "id"), ("pes", "fa"), ("swh", "sw"), ("tl", "fil")];

/// The language of this code (ISO 639-1, or 639-3); region suffixes (`zh-CN`) are ignored.
#[must_use]
pub fn find(code: &str) -> Option<&'static Language> {
    let stem = code.split(['-', '_']).next().unwrap_or(code);
    let stem = ALIASES.iter().find(|(alias, _)| *alias == stem).map_or(stem, |(_, code)| *code);
    TABLE.iter().find(|l| l.code == stem || l.iso3 == stem)
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

/// The script, or [`UNKNOWN`].
#[must_use]
pub fn script(code: &str) -> &'static str {
    find(code).map_or(UNKNOWN, |l| l.script)
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
    let script = match language.script {
        "Burmese" => "Mymr",
        "Devanagari" => "Deva",
        "Ethiopic" => "Ethi",
        "Greek" => "Grek",
        "Gurmukhi" => "Guru",
        "Han" if code.ends_with("Hant") || code.ends_with("TW") => "Hant",
        "Han" => "Hans",
        "Hangul" => "Hang",
        "Japanese" => "Jpan",
        "Khmer" => "Khmr",
        "Kannada" => "Knda",
        "Lao" => "Laoo",
        "Latin" => "Latn",
        "Malayalam" => "Mlym",
        "Georgian" => "Geor",
        "Armenian" => "Armn",
        "Cyrillic" => "Cyrl",
        "Gujarati" => "Gujr",
        "Hebrew" => "Hebr",
        "Sinhala" => "Sinh",
        "Tamil" => "Taml",
        "Telugu" => "Telu",
        "Bengali" => "Beng",
        "Arabic" => "Arab",
        other => other,
    };
    format!("{}-{script}", language.iso3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_regions_are_ignored() {
        for (index, language) in TABLE.iter().enumerate() {
            assert!(TABLE[index + 1..].iter().all(|o| o.code != language.code), "{}", language.code);
        }
        assert_eq!(english("zh-CN"), "Chinese");
        assert_eq!((english("xx"), script("xx"), iso("xx").as_str()), ("xx", UNKNOWN, "xx"));
        assert_eq!((family("swh"), iso("de"), iso("zh-TW")), ("Bantu", "deu-Latn".into(), "zho-Hant".into()));
        assert_eq!((english("cmn"), english("eng"), script("fa")), ("Chinese", "English", "Arabic"));
    }

    #[test]
    fn every_script_has_its_four_letters() {
        for language in TABLE {
            let iso = iso(language.code);
            let (code, script) = iso.split_once('-').expect("two parts");
            assert!(code.len() == 3 && script.len() == 4, "{iso}");
        }
    }
}
