//! Relations and their wordings: `What is the capital of {s:gen}?`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;

use super::LANGUAGES;
use super::table::Name;

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
        let file: File = toml::from_str(text).map_err(|e| anyhow!("{path}: {e}"))?;
        let domain = file.domain;
        file.relation
            .into_iter()
            .map(|entry| {
                let at = format!("{path}: relation '{}'", entry.id);
                let wordings = |side: &str, by_language: &BTreeMap<String, Vec<String>>| {
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
                for wording in passages.iter().flatten() {
                    let holds = |marks: [&str; 4]| marks.iter().any(|m| wording.contains(m));
                    ensure!(
                        holds(["{s}", "{s:", "{S}", "{S:"]) && holds(["{o}", "{o:", "{O}", "{O:"]),
                        "{at}: the passage '{wording}' must hold subject and object"
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

    fn render(
        &self,
        wording: &str,
        language: usize,
        subject: &[Name],
        object: Option<&[Name]>,
        value: &str,
    ) -> Result<String> {
        let mut text = String::with_capacity(wording.len() + 32);
        let mut rest = wording;
        while let Some((before, after)) = rest.split_once('{') {
            text.push_str(before);
            let (inside, after) =
                after.split_once('}').with_context(|| format!("'{wording}': a brace is not closed"))?;
            let (what, form) = inside.split_once(':').unwrap_or((inside, ""));
            let name = match what {
                "s" | "S" => subject[language].form(form).to_owned(),
                "o" | "O" => match (object, &self.object) {
                    (Some(object), _) => object[language].form(form).to_owned(),
                    (None, Object::Number) if COMMA.contains(&LANGUAGES[language]) => value.replace('.', ","),
                    (None, _) => value.to_owned(),
                },
                other => bail!("'{wording}': unknown placeholder '{other}'"),
            };
            if what == "S" || what == "O" {
                text.push_str(&capitalised(&name, LANGUAGES[language]));
            } else {
                text.push_str(&name);
            }
            rest = after;
        }
        text.push_str(rest);
        Ok(text)
    }
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
    fn broken_relations_name_what_is_wrong() {
        let error =
            |text: &str| format!("{:#}", Relation::parse("relations/x.toml", text).expect_err("broken"));
        assert!(error("domain = 1").contains("relations/x.toml"));
        let head = "domain = \"d\"\n[[relation]]\nid = \"r\"\nsubject = \"s\"\nobject = \"text\"\n";
        let sides = |passage: &str| {
            let all = |text: &str| LANGUAGES.map(|l| format!("{l} = [\"{text}\"]")).join("\n");
            format!("{head}[relation.question]\n{}\n[relation.passage]\n{}\n", all("{s}?"), all(passage))
        };
        assert!(error(&sides("{s} is.")).contains("must hold subject and object"));
        assert!(error(&sides("{s} {o}").replacen("el = ", "xx = ", 1)).contains("question.el is missing"));
    }
}
