//! Entries of the catalogue.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;

use super::parse::{any_model, parse};
use crate::corpus::{Catalogue, language};
use crate::hub::{Repo, file_name, nearest, redact};

const BUILT_IN: &str = include_str!("../../../assets/catalogue.toml");

/// Data or a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Data,
    Model,
}

/// What data may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Train,
    Validation,
    Evaluation,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Evaluation => "evaluation",
        })
    }
}

/// Whose layout a model's files have, and so what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Of transformers: an encoder without a way to make vectors of texts.
    Transformers,
    /// Of sentence-transformers: with `modules.json`, which says how vectors are made.
    SentenceTransformers,
}

impl Layout {
    /// What such a model is for.
    #[must_use]
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Transformers => "to be trained",
            Self::SentenceTransformers => "retrieval as it is, training",
        }
    }
}

/// What is put before questions and before passages, as far as somebody says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Prefixes {
    pub query: Option<String>,
    pub passage: Option<String>,
}

/// Where files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// A repository of the hub.
    Hub(Repo),
    /// A git repository on the web: address and revision (branch, tag, commit, or `HEAD`).
    Git(String, String),
    /// One file, unpacked where it is an archive; its SHA-256 where it is known.
    Url(String, Option<String>),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(repo) => write!(f, "hub {repo}"),
            Self::Git(url, revision) => write!(f, "{}@{revision}", redact(url)),
            Self::Url(url, _) => f.write_str(&redact(url)),
        }
    }
}

/// One source of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub at: At,
    /// Leading folder that is dropped from the files' paths.
    pub under: String,
    /// Patterns of files; `{language}` stands for each language, `*` for anything within a name.
    pub files: Vec<String>,
    /// Patterns of files that are taken where they are there.
    pub optional: Vec<String>,
}

/// Data or a model that can be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub form: Form,
    pub name: String,
    pub description: String,
    pub sources: Vec<Source>,
    pub languages: Vec<String>,
    /// What `{language}` becomes, where that is not the code.
    pub names: BTreeMap<String, String>,
    pub licence: String,
    pub roles: Vec<Role>,
    pub citation: String,
    /// For data: the name under which [`open`](crate::corpus::open) reads it.
    pub loader: Option<String>,
    /// For data: part and settings that the loader is given where the user says nothing else, as in brackets.
    pub options: String,
    /// Bytes of all files, about; `None` where it is not known.
    pub size: Option<u64>,
    /// The same for each language, where they differ much.
    pub sizes: BTreeMap<String, u64>,
    /// For models: whose layout their files have, where that is known.
    pub layout: Option<Layout>,
    /// For models: the prefixes that they were trained with; they count where the model's own files state none.
    pub prefixes: Prefixes,
    /// True for an entry of the user's own file.
    pub is_own: bool,
}

impl Source {
    /// Patterns below the source's folder as paths from its root.
    #[must_use]
    pub fn whole(&self, patterns: &[String]) -> Vec<String> {
        let under = |pattern: &str| {
            if self.under.is_empty() { pattern.to_owned() } else { format!("{}/{pattern}", self.under) }
        };
        // Each alternative has the folder.
        patterns.iter().map(|p| p.split('|').map(under).collect::<Vec<_>>().join("|")).collect()
    }

    /// The name of the archive that all comes from, where the source is one that is unpacked whole.
    fn archive(&self) -> Option<&str> {
        match &self.at {
            At::Url(url, _) if self.files.is_empty() => Some(url),
            _ => None,
        }
    }
}

impl Entry {
    /// A model of the hub that no entry describes.
    #[must_use]
    pub fn of_hub(repo: Repo) -> Self {
        Self {
            form: Form::Model,
            name: repo.to_string(),
            description: "a model of the hub".into(),
            sources: vec![any_model(repo)],
            languages: Vec::new(),
            names: BTreeMap::new(),
            licence: "see its page on the hub".into(),
            roles: Vec::new(),
            citation: String::new(),
            loader: None,
            options: String::new(),
            size: None,
            sizes: BTreeMap::new(),
            layout: None,
            prefixes: Prefixes::default(),
            is_own: false,
        }
    }

    /// The command that brings it here.
    #[must_use]
    pub fn command(&self) -> String {
        match self.form {
            Form::Data => format!("polymix data fetch {}", self.name),
            Form::Model => format!("polymix model fetch {}", self.name),
        }
    }

    /// Bytes to expect for some of the languages (empty: all), as far as the entry says.
    #[must_use]
    pub fn expected(&self, languages: &[String]) -> Option<u64> {
        if languages.is_empty() || self.sizes.is_empty() {
            return self.size.or_else(|| (!self.sizes.is_empty()).then(|| self.sizes.values().sum()));
        }
        languages.iter().map(|l| self.sizes.get(l)).sum()
    }

    /// A pattern or address with the language's name in it.
    #[must_use]
    pub fn named(&self, pattern: &str, language: &str) -> String {
        pattern.replace("{language}", self.names.get(language).map_or(language, String::as_str))
    }

    /// What is wanted of a source for a language, or (`None`) whatever the language: patterns of files, or the name of the
    /// archive that is unpacked whole.
    #[must_use]
    pub fn wanted(&self, source: &Source, language: Option<&str>) -> Vec<String> {
        let archive = source.archive().filter(|url| url.contains("{language}") == language.is_some());
        let files = source.files.iter().filter(|f| f.contains("{language}") == language.is_some());
        let named = |text: &str| language.map_or_else(|| text.to_owned(), |l| self.named(text, l));
        let archive = archive.map(|url| file_name(&named(url)).to_owned());
        files.map(|f| named(f)).chain(archive).collect()
    }

    /// What is wanted of a source in some languages, what differs by none included.
    #[must_use]
    pub fn wanted_in(&self, source: &Source, languages: &[String]) -> Vec<String> {
        let by_language = languages.iter().flat_map(|l| self.wanted(source, Some(l)));
        self.wanted(source, None).into_iter().chain(by_language).collect()
    }

    /// True where files differ by language.
    #[must_use]
    pub fn is_by_language(&self) -> bool {
        let of = |s: &Source| {
            s.files.iter().map(String::as_str).chain(s.archive()).any(|f| f.contains("{language}"))
        };
        self.sources.iter().any(of)
    }

    /// The languages that are meant, in the entry's order.
    ///
    /// # Errors
    /// Names a language that the entry does not have, and those that it has.
    pub fn chosen(&self, languages: &[String]) -> Result<Vec<String>> {
        ensure!(
            languages.is_empty() || self.form == Form::Data && !self.languages.is_empty(),
            "{}: its files do not differ by language; leave --languages out",
            self.name
        );
        let own = |l: &String| if self.languages.contains(l) { l.clone() } else { language::normalise(l) };
        let languages: Vec<String> = languages.iter().map(own).collect();
        for language in &languages {
            ensure!(
                self.languages.contains(language),
                "{}: no language '{language}'; it has {}",
                self.name,
                self.languages.join(", ")
            );
        }
        let is_meant = |l: &&String| languages.is_empty() || languages.contains(l);
        Ok(self.languages.iter().filter(is_meant).cloned().collect())
    }
}

/// All entries.
#[derive(Clone, Debug)]
pub struct Entries {
    pub all: Vec<Entry>,
}

impl Entries {
    /// The built-in entries and the user's own.
    ///
    /// # Errors
    /// Names the file, the line and the field of the first wrong entry.
    pub fn load() -> Result<Self> {
        let mut all = Self::built_in()?;
        let is_named = std::env::var_os("POLYMIX_CATALOGUE").is_some_and(|v| !v.is_empty());
        if let Some(path) = Self::own_file().filter(|p| is_named || p.exists()) {
            ensure!(
                path.is_file(),
                "{}: no file, but POLYMIX_CATALOGUE names it; correct the variable or unset it",
                path.display()
            );
            for own in Self::read_own(&path)? {
                match all.iter_mut().find(|e| e.name == own.name && e.form == own.form) {
                    Some(old) => *old = own,
                    None => all.push(own),
                }
            }
        }
        Ok(Self { all })
    }

    /// The entries that come with the program.
    ///
    /// # Errors
    /// As [`Entries::load`].
    pub fn built_in() -> Result<Vec<Entry>> {
        parse(BUILT_IN, false).context("the built-in catalogue")
    }

    /// The entries of a user's file.
    ///
    /// # Errors
    /// As [`Entries::load`].
    pub fn read_own(path: &Path) -> Result<Vec<Entry>> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{}: cannot read", path.display()))?;
        parse(&text, true).with_context(|| format!("{}", path.display()))
    }

    /// Where the user's own entries stand: `POLYMIX_CATALOGUE`, else `catalogue.toml` in the configuration folder.
    #[must_use]
    pub fn own_file() -> Option<PathBuf> {
        if let Some(path) = std::env::var_os("POLYMIX_CATALOGUE").filter(|v| !v.is_empty()) {
            return Some(path.into());
        }
        Some(directories::ProjectDirs::from("", "", "polymix")?.config_dir().join("catalogue.toml"))
    }

    /// Entries of a form, in order.
    pub fn of(&self, form: Form) -> impl Iterator<Item = &Entry> {
        self.all.iter().filter(move |e| e.form == form)
    }

    /// By name, or by the name of the hub repository where only one entry has it.
    #[must_use]
    pub fn find(&self, form: Form, name: &str) -> Option<&Entry> {
        let is_of = |e: &&Entry| {
            e.sources.iter().any(|s| matches!(&s.at, At::Hub(repo) if repo.id.eq_ignore_ascii_case(name)))
        };
        self.of(form).find(|e| e.name == name).or_else(|| {
            let mut found = self.of(form).filter(is_of);
            found.next().filter(|_| found.next().is_none())
        })
    }

    /// The same, or what there is instead.
    ///
    /// # Errors
    /// Names that are spelt alike.
    pub fn get(&self, form: Form, name: &str) -> Result<&Entry> {
        self.find(form, name).ok_or_else(|| {
            let loader = Catalogue::all().iter().find(|c| form == Form::Data && c.name == name);
            if loader.is_some_and(|l| !l.needs_path) {
                return anyhow!("'{name}': comes with the program; there is nothing to fetch and nothing to verify");
            }
            if loader.is_some() {
                return anyhow!("'{name}': reads files of your own, which it takes as {name}=PATH; there is nothing to fetch");
            }
            let near = nearest(name, self.of(form).map(|e| e.name.as_str()));
            let near =
                if near.is_empty() { String::new() } else { format!("; is {} meant?", near.join(" or ")) };
            let list = if form == Form::Data { "polymix data list" } else { "polymix model list" };
            anyhow!("'{name}': not in the catalogue{near} ({list} shows all)")
        })
    }
}
