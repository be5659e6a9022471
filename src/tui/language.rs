//! What a screen says about a language: its native name, script, family and writing direction.
//!
//! The code always stands beside the name, so an unknown code is shown as it is.

/// One language of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language {
    /// ISO 639-1.
    pub code: &'static str,
    /// In its own script.
    pub native: &'static str,
    pub english: &'static str,
    pub script: &'static str,
    pub family: &'static str,
}

const fn l(
    code: &'static str,
    native: &'static str,
    english: &'static str,
    script: &'static str,
    family: &'static str,
) -> Language {
    Language { code, native, english, script, family }
}

const TABLE: &[Language] = &[
    l("ar", "العربية", "Arabic", "Arabic", "Semitic"),
    l("bn", "বাংলা", "Bengali", "Bengali", "Indo-Aryan"),
    l("bg", "български", "Bulgarian", "Cyrillic", "Slavic"),
    l("ca", "català", "Catalan", "Latin", "Romance"),
    l("cs", "čeština", "Czech", "Latin", "Slavic"),
    l("da", "dansk", "Danish", "Latin", "Germanic"),
    l("de", "Deutsch", "German", "Latin", "Germanic"),
    l("el", "ελληνικά", "Greek", "Greek", "Hellenic"),
    l("en", "English", "English", "Latin", "Germanic"),
    l("es", "español", "Spanish", "Latin", "Romance"),
    l("et", "eesti", "Estonian", "Latin", "Uralic"),
    l("fa", "فارسی", "Persian", "Arabic", "Iranian"),
    l("fi", "suomi", "Finnish", "Latin", "Uralic"),
    l("fr", "français", "French", "Latin", "Romance"),
    l("he", "עברית", "Hebrew", "Hebrew", "Semitic"),
    l("hi", "हिन्दी", "Hindi", "Devanagari", "Indo-Aryan"),
    l("hu", "magyar", "Hungarian", "Latin", "Uralic"),
    l("id", "Indonesia", "Indonesian", "Latin", "Austronesian"),
    l("it", "italiano", "Italian", "Latin", "Romance"),
    l("ja", "日本語", "Japanese", "Japanese", "Japonic"),
    l("ko", "한국어", "Korean", "Hangul", "Koreanic"),
    l("nl", "Nederlands", "Dutch", "Latin", "Germanic"),
    l("no", "norsk", "Norwegian", "Latin", "Germanic"),
    l("pl", "polski", "Polish", "Latin", "Slavic"),
    l("pt", "português", "Portuguese", "Latin", "Romance"),
    l("ro", "română", "Romanian", "Latin", "Romance"),
    l("ru", "русский", "Russian", "Cyrillic", "Slavic"),
    l("sv", "svenska", "Swedish", "Latin", "Germanic"),
    l("sw", "Kiswahili", "Swahili", "Latin", "Bantu"),
    l("ta", "தமிழ்", "Tamil", "Tamil", "Dravidian"),
    l("te", "తెలుగు", "Telugu", "Telugu", "Dravidian"),
    l("th", "ไทย", "Thai", "Thai", "Kra-Dai"),
    l("tr", "Türkçe", "Turkish", "Latin", "Turkic"),
    l("uk", "українська", "Ukrainian", "Cyrillic", "Slavic"),
    l("ur", "اردو", "Urdu", "Arabic", "Indo-Aryan"),
    l("vi", "Tiếng Việt", "Vietnamese", "Latin", "Austroasiatic"),
    l("zh", "中文", "Chinese", "Han", "Sinitic"),
];

/// The language of this code; region suffixes (`zh-CN`) are ignored.
#[must_use]
pub fn find(code: &str) -> Option<&'static Language> {
    let stem = code.split(['-', '_']).next().unwrap_or(code);
    TABLE.iter().find(|l| l.code == stem)
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

/// Key to sort by script, then code.
#[must_use]
pub fn script(code: &str) -> &'static str {
    find(code).map_or("~", |l| l.script)
}

/// Key to sort by family, then code.
#[must_use]
pub fn family(code: &str) -> &'static str {
    find(code).map_or("~", |l| l.family)
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
        assert_eq!(english("xx"), "xx");
    }
}
