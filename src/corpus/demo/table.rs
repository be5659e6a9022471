//! The tables: names of entities in every language, and the facts about them.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, ensure};

use super::LANGUAGES;

/// A name in one language: its default form, and named ones such as `gen`.
#[derive(Clone, Debug)]
pub struct Name {
    default: String,
    forms: Vec<(String, String)>,
}

impl Name {
    fn parse(cell: &str) -> Option<Self> {
        let mut parts = cell.split('|');
        let default = parts.next().map(str::trim).filter(|d| !d.is_empty())?.to_owned();
        let forms = parts
            .map(|part| {
                part.split_once('=').map(|(name, form)| (name.trim().to_owned(), form.trim().to_owned()))
            })
            .collect::<Option<Vec<_>>>()?;
        let valid = |(name, form): &(String, String)| {
            !form.is_empty() && !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        };
        forms.iter().all(valid).then_some(Self { default, forms })
    }

    /// Every form with its name; the default form's is empty.
    pub fn forms(&self) -> impl Iterator<Item = (&str, &str)> {
        let named = self.forms.iter().map(|(name, form)| (name.as_str(), form.as_str()));
        std::iter::once(("", self.default.as_str())).chain(named)
    }

    /// The form of this name, or the default form where it does not differ.
    pub fn form(&self, form: &str) -> &str {
        self.forms.iter().find(|(name, _)| name == form).map_or(&self.default, |(_, text)| text)
    }
}

/// A table of entities: id, then one name a language.
#[derive(Debug)]
pub struct Entities {
    rows: HashMap<String, Vec<Name>>,
}

impl Entities {
    pub fn parse(path: &str, text: &str) -> Result<Self> {
        let mut lines = text.lines().enumerate();
        let header = lines.next().map(|(_, l)| l.trim_end()).unwrap_or_default();
        let wanted = format!("id\t{}", LANGUAGES.join("\t"));
        ensure!(header == wanted, "{path}, line 1: the header must be '{}'", wanted.replace('\t', " "));
        let mut rows = HashMap::new();
        for (index, line) in lines {
            let at = format!("{path}, line {}", index + 1);
            let cells: Vec<&str> = line.split('\t').collect();
            ensure!(
                !cells[0].is_empty()
                    && cells[0].chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'),
                "{at}, column id: '{}' must be lower-case letters, digits and '_'",
                cells[0]
            );
            ensure!(cells.len() == 12, "{at}: {} cells instead of 12 (id and eleven languages)", cells.len());
            let names = LANGUAGES
                .iter()
                .zip(&cells[1..])
                .map(|(language, cell)| {
                    Name::parse(cell)
                        .with_context(|| format!("{at}, column {language}: '{cell}' is no name|form=name"))
                })
                .collect::<Result<Vec<_>>>()?;
            ensure!(rows.insert(cells[0].to_owned(), names).is_none(), "{at}: id '{}' comes twice", cells[0]);
        }
        Ok(Self { rows })
    }

    /// The names of every entity, in the order of the ids.
    pub fn sorted(&self) -> impl Iterator<Item = &[Name]> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|(id, _)| id.as_str());
        rows.into_iter().map(|(_, names)| names.as_slice())
    }

    pub fn get(&self, id: &str) -> Option<&[Name]> {
        self.rows.get(id).map(Vec::as_slice)
    }
}

/// A table of facts: subject id, then one column a relation.
#[derive(Debug)]
pub struct Facts {
    columns: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    subject: String,
    /// Line in the file, from 1.
    line: usize,
    values: Vec<String>,
}

/// One filled cell of a table of facts.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'a> {
    pub subject: &'a str,
    pub value: &'a str,
    /// Line in the file, from 1.
    pub line: usize,
}

impl Facts {
    pub fn parse(path: &str, text: &str) -> Result<Self> {
        let mut lines = text.lines().enumerate();
        let header: Vec<&str> = lines.next().map(|(_, l)| l.split('\t').collect()).unwrap_or_default();
        ensure!(
            header.first() == Some(&"id") && header.len() > 1,
            "{path}, line 1: the header must be id and relations, with tabs between them"
        );
        let columns: Vec<String> = header[1..].iter().map(|c| c.trim().to_owned()).collect();
        for (index, column) in columns.iter().enumerate() {
            ensure!(!columns[..index].contains(column), "{path}, line 1: column '{column}' comes twice");
        }
        let mut rows: Vec<Row> = Vec::new();
        let mut seen = HashSet::new();
        for (index, text) in lines {
            let line = index + 1;
            let cells: Vec<&str> = text.split('\t').collect();
            ensure!(
                cells.len() == header.len(),
                "{path}, line {line}: {} cells instead of {} (id and relations; an unknown fact is an empty cell)",
                cells.len(),
                header.len()
            );
            ensure!(seen.insert(cells[0]), "{path}, line {line}: subject '{}' comes twice", cells[0]);
            let values = cells[1..].iter().map(|c| c.trim().to_owned()).collect();
            rows.push(Row { subject: cells[0].to_owned(), line, values });
        }
        Ok(Self { columns, rows })
    }

    /// Names of the relations.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Every fact of a relation; empty cells are no facts.
    pub fn column(&self, relation: &str) -> Option<impl Iterator<Item = Cell<'_>>> {
        let column = self.columns.iter().position(|c| c == relation)?;
        Some(
            self.rows
                .iter()
                .map(move |row| Cell { subject: &row.subject, value: &row.values[column], line: row.line })
                .filter(|cell| !cell.value.is_empty()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_tables_name_file_line_and_column() {
        let header = format!("id\t{}", LANGUAGES.join("\t"));
        let row = |cells: &[&str]| format!("{header}\n{}", cells.join("\t"));
        let error =
            |text: &str| format!("{:#}", Entities::parse("entities/x.tsv", text).expect_err("broken"));
        assert!(error("id\tar").contains("line 1"));
        assert!(error(&row(&["a", "b"])).contains("line 2: 2 cells"));
        let mut cells = vec!["x"; 12];
        cells[3] = "y|gen";
        assert!(error(&row(&cells)).contains("column el"));
        assert!(error(&row(&["A b"; 12])).contains("line 2, column id: 'A b'"));
        assert!(error(&format!("{}\n{}", row(&["x"; 12]), ["x"; 12].join("\t"))).contains("line 3: id 'x'"));
        let error = |text: &str| format!("{:#}", Facts::parse("facts/x.tsv", text).expect_err("broken"));
        assert!(error("id\tr\na\t1\t2").contains("line 2: 3 cells instead of 2"));
        assert!(error("id\tr\na\t1\na\t2").contains("line 3: subject 'a' comes twice"));
        assert!(error("id\tr\tr\na\t1\t2").contains("line 1: column 'r'"));
    }

    #[test]
    fn forms_fall_back_to_the_default() {
        let name = Name::parse("die Schweiz|gen=der Schweiz").expect("name");
        assert_eq!(
            (name.form(""), name.form("gen"), name.form("dat")),
            ("die Schweiz", "der Schweiz", "die Schweiz")
        );
    }
}
