//! Keyboards: which letters lie beside which.
//!
//! A layout is its rows of keys from the top, each with the place of its first key in key widths; rows are shifted against
//! each other as on a usual keyboard. Two keys are neighbours when their centres are less than 1.3 key widths apart. A second
//! level (what Shift gives, where that is another letter) has keys in the same places.

use crate::corpus::language;

/// Rows of one level: (place of the first key, its letters). A space is a key without a letter.
type Level = &'static [(f32, &'static str)];

/// A keyboard.
#[derive(Debug, PartialEq)]
pub struct Layout {
    pub name: &'static str,
    levels: &'static [Level],
}

/// Centres closer than this are neighbours.
const NEAR: f32 = 1.3;

const QWERTY: Layout =
    Layout { name: "qwerty", levels: &[&[(0.0, "qwertyuiop"), (0.25, "asdfghjkl"), (0.75, "zxcvbnm")]] };
const QWERTZ: Layout = Layout {
    name: "qwertz",
    levels: &[&[(0.0, "qwertzuiopü"), (0.25, "asdfghjklöä"), (0.75, "yxcvbnm")]],
};
const AZERTY: Layout =
    Layout { name: "azerty", levels: &[&[(0.0, "azertyuiop"), (0.25, "qsdfghjklm"), (0.75, "wxcvbn")]] };
const SPANISH: Layout =
    Layout { name: "qwerty-es", levels: &[&[(0.0, "qwertyuiop"), (0.25, "asdfghjklñ"), (0.75, "zxcvbnm")]] };
const TURKISH: Layout = Layout {
    name: "qwerty-tr",
    levels: &[&[(0.0, "qwertyuıopğü"), (0.25, "asdfghjklşi"), (0.75, "zxcvbnmöç")]],
};
const RUSSIAN: Layout = Layout {
    name: "йцукен",
    levels: &[&[(0.0, "йцукенгшщзхъ"), (0.25, "фывапролджэ"), (0.75, "ячсмитьбю")]],
};
const UKRAINIAN: Layout = Layout {
    name: "йцукен-uk",
    levels: &[&[(0.0, "йцукенгшщзхї"), (0.25, "фівапролджє"), (0.75, "ячсмитьбю")]],
};
const GREEK: Layout = Layout {
    name: "greek",
    levels: &[&[(1.0, "ςερτυθιοπ"), (0.25, "ασδφγηξκλ"), (0.75, "ζχψωβνμ")]],
};
const ARABIC: Layout = Layout {
    name: "arabic-101",
    levels: &[&[(0.0, "ضصثقفغعهخحجد"), (0.25, "شسيبلاتنمكط"), (0.75, "ئءؤر ىةوزظ")]],
};
const PERSIAN: Layout = Layout {
    name: "persian",
    levels: &[&[(0.0, "ضصثقفغعهخحجچ"), (0.25, "شسیبلاتنمکگ"), (0.75, "ظطزرذدپو")]],
};
const HEBREW: Layout = Layout {
    name: "hebrew",
    levels: &[&[(2.0, "קראטוןםפ"), (0.25, "שדגכעיחלךף"), (0.75, "זסבהנמצתץ")]],
};
const THAI: Layout = Layout {
    name: "kedmanee",
    levels: &[
        &[(2.5, "ภถ  คตจขช"), (0.0, "ๆไำพะ  รนยบล"), (0.25, "ฟหกดเ  าสวง"), (0.75, "ผปแอ  ทมใฝ")],
        &[(0.0, "  ฎฑธ  ณฯญฐ"), (0.25, "ฤฆฏโฌ  ษศซ"), (0.75, "  ฉฮ  ฒฬฦ")],
    ],
};
const INSCRIPT: Layout = Layout {
    name: "inscript",
    levels: &[
        &[(0.0, "     बहगदजड"), (0.25, "     परकतचट"), (0.75, "  मनवलस  य")],
        &[(0.0, "औऐआईऊभङघधझढ"), (0.25, "ओएअइउफऱखथछठ"), (0.75, "  ण  ळशष")],
    ],
};

/// Languages with a keyboard other than their script's.
const BY_LANGUAGE: [(&str, &Layout); 13] = [
    ("cs", &QWERTZ),
    ("de", &QWERTZ),
    ("es", &SPANISH),
    ("fa", &PERSIAN),
    ("fr", &AZERTY),
    ("hr", &QWERTZ),
    ("hu", &QWERTZ),
    ("sk", &QWERTZ),
    ("sl", &QWERTZ),
    ("tr", &TURKISH),
    ("az", &TURKISH),
    ("uk", &UKRAINIAN),
    ("ur", &PERSIAN),
];

const BY_SCRIPT: [(&str, &Layout); 7] = [
    ("Latin", &QWERTY),
    ("Cyrillic", &RUSSIAN),
    ("Greek", &GREEK),
    ("Arabic", &ARABIC),
    ("Hebrew", &HEBREW),
    ("Thai", &THAI),
    ("Devanagari", &INSCRIPT),
];

/// The usual keyboard of a language, by its code, else by its script. `None` for scripts that are typed through an input
/// method or whose keys hold parts of letters (Han, Japanese, Hangul), and for those without a table here.
#[must_use]
pub fn of(code: &str) -> Option<&'static Layout> {
    let known = language::find(code)?;
    let own = BY_LANGUAGE.iter().find(|(l, _)| *l == known.code);
    own.map(|(_, layout)| *layout)
        .or_else(|| BY_SCRIPT.iter().find(|(s, _)| *s == known.script).map(|(_, layout)| *layout))
}

impl Layout {
    /// Every letter with its place.
    fn keys(&self) -> impl Iterator<Item = (usize, char, f32, f32)> + '_ {
        self.levels
            .iter()
            .enumerate()
            .flat_map(|(level, rows)| {
                // The lowest row is the same in all levels, however many rows lie above it.
                rows.iter().rev().enumerate().flat_map(move |(row, (first, letters))| {
                    letters.chars().enumerate().map(move |(at, c)| (level, c, first + at as f32, row as f32))
                })
            })
            .filter(|(_, c, _, _)| *c != ' ')
    }

    /// The letters beside a letter (in lower case), on its own level. Empty where the keyboard does not have it.
    #[must_use]
    pub fn neighbours(&self, letter: char) -> Vec<char> {
        let Some((level, _, x, y)) = self.keys().find(|(_, c, _, _)| *c == letter) else {
            return Vec::new();
        };
        self.keys()
            .filter(|(l, c, a, b)| *l == level && *c != letter && (a - x).hypot(b - y) < NEAR)
            .map(|(_, c, _, _)| c)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use unicode_segmentation::UnicodeSegmentation;

    use super::*;

    fn beside(code: &str, letter: char) -> String {
        let mut found = of(code).expect(code).neighbours(letter);
        found.sort_unstable();
        found.into_iter().collect()
    }

    #[test]
    fn neighbours_as_on_a_real_keyboard() {
        assert_eq!(
            beside("en", 'g'),
            "bftyhv".chars().collect::<std::collections::BTreeSet<_>>().iter().collect::<String>()
        );
        assert_eq!((beside("en", 'q'), beside("en", 'p')), ("aw".into(), "lo".into()));
        assert_eq!((beside("de", 'z').contains('t'), beside("en", 'z').contains('t')), (true, false));
        assert!(beside("fr", 'q').contains('a') && beside("fr", 'm').contains('l'));
        assert_eq!(beside("ru", 'й'), "фц");
        assert_eq!(beside("el", 'ω'), "βγφψ");
        assert_eq!(beside("he", 'ש'), "דז");
        assert!(beside("hi", 'क').contains('त') && beside("hi", 'क').contains('र'));
        assert!(beside("th", 'ก').contains('ห') && beside("th", 'ก').contains('ด'));
        assert!(beside("ar", 'ل').contains('ا') && beside("ar", 'ل').contains('ب'));
    }

    #[test]
    fn being_beside_is_mutual_and_every_letter_is_a_grapheme_of_its_own() {
        for layout in BY_SCRIPT.iter().chain(&BY_LANGUAGE).map(|(_, l)| *l) {
            for (level, letter, ..) in layout.keys() {
                let around = layout.neighbours(letter);
                assert!(!around.is_empty(), "{}: nothing beside {letter}", layout.name);
                for other in around {
                    assert!(layout.neighbours(other).contains(&letter), "{} {letter} {other}", layout.name);
                }
                let text = format!("a{letter}");
                // Sara am joins the letter before it; it may stand on a key but is never typed alone.
                assert!(
                    text.graphemes(true).count() == 2 || letter == 'ำ',
                    "{} {level} {letter}",
                    layout.name
                );
                assert_eq!(layout.keys().filter(|k| k.1 == letter).count(), 1, "{} {letter}", layout.name);
            }
        }
    }

    #[test]
    fn scripts_without_keys_of_their_own_have_no_layout() {
        for code in ["zh", "ja", "ko", "ta", "xx"] {
            assert_eq!(of(code), None, "{code}");
        }
        assert_eq!((of("vi").map(|l| l.name), of("mr").map(|l| l.name)), (Some("qwerty"), Some("inscript")));
    }
}
