//! Relations and their wordings: `What is the capital of {s:gen}?`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;

use super::LANGUAGES;
use super::table::Name;
use crate::files::toml_error;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    domain: String,
    relation: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    subject: String,
    object: String,
    question: BTreeMap<String, Vec<String>>,
    passage: BTreeMap<String, Vec<String>>,
}

/// What a relation's values are.
#[derive(Debug)]
pub enum Object {
    /// A number, printed with each language's decimal sign.
    Number,
    /// The same characters in every language.
    Text,
    /// An entity of this table.
    Entity(String),
}

/// A relation with its wordings.
#[derive(Debug)]
pub struct Relation {
    pub id: String,
    pub domain: String,
    pub subject: String,
    pub object: Object,
    /// By language.
    questions: Vec<Vec<String>>,
    passages: Vec<Vec<String>>,
}

/// Languages that write a decimal comma.
const COMMA: [&str; 7] = ["ar", "de", "el", "es", "ru", "tr", "vi"];

impl Relation {
    /// The relations of a file.
    pub fn parse(path: &str, text: &str) -> Result<Vec<Self>> {
        let file: File = toml::from_str(text).map_err(|e| toml_error(text, &e)).context(path.to_owned())?;
        let domain = file.domain;
        file.relation
            .into_iter()
            .map(|entry| {
                let at = format!("{path}, relation '{}'", entry.id);
                let wordings = |side: &str, by_language: &BTreeMap<String, Vec<String>>| {
                    if let Some(other) = by_language.keys().find(|l| !LANGUAGES.contains(&l.as_str())) {
                        bail!("{at}: {side}.{other}: not one of {}", LANGUAGES.join(", "));
                    }
                    LANGUAGES
                        .iter()
                        .map(|l| {
                            let list = by_language.get(*l).filter(|w| !w.is_empty()).cloned();
                            list.with_context(|| format!("{at}: {side}.{l} is missing"))
                        })
                        .collect::<Result<Vec<_>>>()
                };
                let questions = wordings("question", &entry.question)?;
                let passages = wordings("passage", &entry.passage)?;
                for wording in questions.iter().flatten() {
                    let marks = placeholders(wording).with_context(|| at.clone())?;
                    ensure!(
                        marks.contains(&'s') && !marks.contains(&'o'),
                        "{at}: the question '{wording}' must hold the subject {{s}} and not the object {{o}}"
                    );
                }
                for wording in passages.iter().flatten() {
                    let marks = placeholders(wording).with_context(|| at.clone())?;
                    ensure!(
                        marks.contains(&'s') && marks.contains(&'o'),
                        "{at}: the passage '{wording}' must hold subject {{s}} and object {{o}}"
                    );
                }
                let object = match entry.object.as_str() {
                    "number" => Object::Number,
                    "text" => Object::Text,
                    kind => Object::Entity(kind.to_owned()),
                };
                let domain = domain.clone();
                Ok(Self { id: entry.id, domain, subject: entry.subject, object, questions, passages })
            })
            .collect()
    }

    /// Question and passage in a language. `pick` chooses among a side's wordings.
    pub fn fill(
        &self,
        language: usize,
        subject: &[Name],
        object: Option<&[Name]>,
        value: &str,
        pick: impl Fn(&str, usize) -> usize,
    ) -> Result<(String, String)> {
        let side = |name: &str, wordings: &[String]| {
            let wording = &wordings[pick(name, wordings.len())];
            self.render(wording, language, subject, object, value)
        };
        Ok((side("question", &self.questions[language])?, side("passage", &self.passages[language])?))
    }

    /// What is wrong with a value that is no entity's id, and what to write instead.
    pub fn check(&self, value: &str) -> Result<()> {
        if matches!(self.object, Object::Number) {
            let digits = value.strip_prefix('-').unwrap_or(value);
            let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
            let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            ensure!(
                plain(whole) && plain(fraction),
                "'{value}' is no number; write plain digits with a decimal point, such as 1064.2"
            );
        }
        Ok(())
    }

    fn render(
        &self,
        wording: &str,
        language: usize,
        subject: &[Name],
        object: Option<&[Name]>,
        value: &str,
    ) -> Result<String> {
        let mut text = String::with_capacity(wording.len() + 32);
        for piece in pieces(wording) {
            match piece? {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Name { subject: whose, capital, form } => {
                    let name = match object {
                        _ if whose => subject[language].form(form).to_owned(),
                        Some(object) => object[language].form(form).to_owned(),
                        None => self.literal(value, language),
                    };
                    text.push_str(&if capital { capitalised(&name, LANGUAGES[language]) } else { name });
                }
            }
        }
        Ok(text)
    }

    /// A value that is no entity, as it is written in a language.
    fn literal(&self, value: &str, language: usize) -> String {
        if matches!(self.object, Object::Number) && COMMA.contains(&LANGUAGES[language]) {
            value.replace('.', ",")
        } else {
            value.to_owned()
        }
    }
}

/// A stretch of a wording.
enum Piece<'a> {
    Text(&'a str),
    Name {
        /// The subject's name, not the object's.
        subject: bool,
        capital: bool,
        form: &'a str,
    },
}

/// The stretches of a wording, in order.
fn pieces(wording: &str) -> impl Iterator<Item = Result<Piece<'_>>> {
    let mut rest = wording;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(inside) = rest.strip_prefix('{') else {
            let (text, after) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            rest = after;
            return Some(if text.contains('}') {
                Err(anyhow!("'{wording}': a closing brace without an opening one"))
            } else {
                Ok(Piece::Text(text))
            });
        };
        let Some((mark, after)) = inside.split_once('}') else {
            rest = "";
            return Some(Err(anyhow!("'{wording}': a brace is not closed")));
        };
        rest = after;
        let (what, form) = mark.split_once(':').unwrap_or((mark, ""));
        Some(match what {
            "s" | "S" | "o" | "O" => Ok(Piece::Name {
                subject: what.eq_ignore_ascii_case("s"),
                capital: what == "S" || what == "O",
                form,
            }),
            other => Err(anyhow!(
                "'{wording}': unknown placeholder '{{{other}}}'; there are {{s}}, {{S}}, {{o}}, {{O}}"
            )),
        })
    })
}

/// `s` and `o` for each name that a wording asks for.
fn placeholders(wording: &str) -> Result<Vec<char>> {
    let mut found = Vec::new();
    for piece in pieces(wording) {
        if let Piece::Name { subject, .. } = piece? {
            found.push(if subject { 's' } else { 'o' });
        }
    }
    Ok(found)
}

/// The first letter in upper case; Turkish i becomes İ.
fn capitalised(text: &str, language: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some('i') if language == "tr" => format!("İ{}", letters.as_str()),
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turkish_capitals_keep_their_dot() {
        assert_eq!(
            (capitalised("iyot", "tr"), capitalised("iodine", "en")),
            ("İyot".into(), "Iodine".into())
        );
    }

    #[test]
    fn numbers_take_each_language_s_decimal_sign() {
        let all = |text: &str| LANGUAGES.map(|l| format!("{l} = [\"{text}\"]")).join("\n");
        let text = format!(
            "domain = \"d\"\n[[relation]]\nid = \"r\"\nsubject = \"s\"\nobject = \"number\"\n\
             [relation.question]\n{}\n[relation.passage]\n{}\n",
            all("{s}?"),
            all("{S:gen} {o}.")
        );
        let relation = &Relation::parse("relations/x.toml", &text).expect("well-formed")[0];
        let header = format!("id\t{}", LANGUAGES.join("\t"));
        let rows = format!("{header}\nx\t{}", ["i|gen=is"; 11].join("\t"));
        let names = super::super::table::Entities::parse("entities/s.tsv", &rows).expect("well-formed");
        let passages: Vec<String> = (0..11)
            .map(|l| relation.fill(l, names.get("x").expect("x"), None, "-1.5", |_, _| 0).expect("text").1)
            .collect();
        assert_eq!(
            passages.join(" "),
            "Is -1,5. Is -1,5. Is -1,5. Is -1.5. Is -1,5. Is -1.5. Is -1,5. Is -1.5. İs -1,5. Is -1,5. Is -1.5."
        );
        assert!(relation.check("-1.5").is_ok() && relation.check("7").is_ok());
        for broken in ["1,5", "1.", "about 3", "1 000", "-"] {
            assert!(relation.check(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn broken_relations_name_what_is_wrong() {
        let error =
            |text: &str| format!("{:#}", Relation::parse("relations/x.toml", text).expect_err("broken"));
        assert!(error("domain = 1").contains("relations/x.toml"));
        let head = "domain = \"d\"\n[[relation]]\nid = \"r\"\nsubject = \"s\"\nobject = \"text\"\n";
        let sides = |passage: &str| {
            let all = |text: &str| LANGUAGES.map(|l| format!("{l} = [\"{text}\"]")).join("\n");
            format!("{head}[relation.question]\n{}\n[relation.passage]\n{}\n", all("{s}?"), all(passage))
        };
        assert!(error(&sides("{s} is.")).contains("must hold subject"));
        assert!(error(&sides("{s} {x} {o}")).contains("unknown placeholder '{x}'"));
        assert!(error(&sides("{s} {o")).contains("not closed"));
        assert!(error(&sides("{s} o} {o}")).contains("without an opening"));
        assert!(error(&sides("{s} {o}").replacen("{s}?", "{o}?", 1)).contains("the question '{o}?'"));
        let sound = sides("{s} {o}");
        assert!(Relation::parse("relations/x.toml", &sound).is_ok());
        assert!(error(&sound.replacen("el = ", "xx = ", 1)).contains("question.xx: not one of ar, de, el"));
        assert!(error(&sound.replacen("el = [\"{s}?\"]", "", 1)).contains("question.el is missing"));
    }
}
