//! Entries of the catalogue and how they are written in TOML.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use toml::Spanned;

use crate::hub::{Kind, Repo, nearest, redact};

const BUILT_IN: &str = include_str!("../../../assets/catalogue.toml");

/// What a model's repository must hold; of alternatives the first that is there.
const MODEL_FILES: [&str; 3] =
    ["config.json", "model.safetensors|model.safetensors.index.json|pytorch_model.bin", "tokenizer.json"];
/// What is taken too, where it is there.
const MODEL_EXTRAS: [&str; 9] = [
    "model-*-of-*.safetensors",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "*/config.json",
    "*_Dense/model.safetensors",
    "README.md",
];

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
    /// Bytes of all files, about; `None` where it is not known.
    pub size: Option<u64>,
    /// The same for each language, where they differ much.
    pub sizes: BTreeMap<String, u64>,
    /// True for an entry of the user's own file.
    pub is_own: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    data: Vec<RawEntry>,
    #[serde(default)]
    model: Vec<RawEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    name: Spanned<String>,
    description: String,
    #[serde(default)]
    languages: Vec<String>,
    #[serde(default)]
    names: BTreeMap<String, String>,
    licence: String,
    #[serde(default)]
    role: Vec<Role>,
    #[serde(default)]
    citation: String,
    loader: Option<String>,
    size: Option<u64>,
    #[serde(default)]
    sizes: BTreeMap<String, u64>,
    #[serde(default)]
    source: Vec<RawSource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    hub: Option<String>,
    git: Option<String>,
    url: Option<String>,
    revision: Option<String>,
    sha256: Option<String>,
    #[serde(default)]
    under: String,
    #[serde(default)]
    files: Vec<String>,
    #[serde(default)]
    optional: Vec<String>,
}

impl Entry {
    /// A model of the hub that no entry describes.
    #[must_use]
    pub fn of_hub(repo: Repo) -> Self {
        Self {
            form: Form::Model,
            name: repo.to_string(),
            description: "a model of the hub".into(),
            sources: vec![model_source(repo)],
            languages: Vec::new(),
            names: BTreeMap::new(),
            licence: "see its page on the hub".into(),
            roles: Vec::new(),
            citation: String::new(),
            loader: None,
            size: None,
            sizes: BTreeMap::new(),
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

    /// Patterns of a source for a language: those with `{language}` in them.
    #[must_use]
    pub fn files_of(&self, source: &Source, language: &str) -> Vec<String> {
        let name = self.names.get(language).map_or(language, String::as_str);
        let files = source.files.iter().filter(|f| f.contains("{language}"));
        files.map(|f| f.replace("{language}", name)).collect()
    }

    /// True where files differ by language.
    #[must_use]
    pub fn is_by_language(&self) -> bool {
        self.sources.iter().flat_map(|s| &s.files).any(|f| f.contains("{language}"))
    }

    /// The languages that are meant, in the entry's order.
    ///
    /// # Errors
    /// Names a language that the entry does not have, and those that it has.
    pub fn chosen(&self, languages: &[String]) -> Result<Vec<String>> {
        for language in languages {
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

fn model_source(repo: Repo) -> Source {
    Source {
        at: At::Hub(repo),
        under: String::new(),
        files: MODEL_FILES.map(str::to_owned).to_vec(),
        optional: MODEL_EXTRAS.map(str::to_owned).to_vec(),
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
        if let Some(path) = Self::own_file().filter(|p| p.exists()) {
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
            let near = nearest(name, self.of(form).map(|e| e.name.as_str()));
            let near =
                if near.is_empty() { String::new() } else { format!("; is {} meant?", near.join(" or ")) };
            let list = if form == Form::Data { "polymix data list" } else { "polymix model list" };
            anyhow!("'{name}': not in the catalogue{near} ({list} shows all)")
        })
    }
}

/// Reads entries; errors begin with the line.
fn parse(text: &str, is_own: bool) -> Result<Vec<Entry>> {
    let file: RawFile = toml::from_str(text).map_err(|e| anyhow!("{}", e.to_string().trim_end()))?;
    let forms = [(Form::Data, file.data), (Form::Model, file.model)];
    let mut all: Vec<Entry> = Vec::new();
    for (form, raw) in forms.into_iter().flat_map(|(form, all)| all.into_iter().map(move |e| (form, e))) {
        let at = raw.name.span().start;
        let name = raw.name.get_ref().clone();
        let entry = checked(form, raw, is_own).map_err(|(field, why)| {
            anyhow!("line {}, entry '{name}', {field}: {why}", line(text, at, field))
        })?;
        if all.iter().any(|e| e.name == entry.name && e.form == form) {
            bail!("line {}, entry '{name}', name: stands twice", line(text, at, "name"));
        }
        all.push(entry);
    }
    Ok(all)
}

/// The line of a field in the entry whose name stands at this byte; the name's own where the field is absent.
fn line(text: &str, at: usize, field: &str) -> usize {
    let of_name = text[..at].matches('\n').count();
    let lines: Vec<&str> = text.lines().collect();
    let is_start =
        |l: &str| l.trim_start().starts_with("[[data]]") || l.trim_start().starts_with("[[model]]");
    let first = (0..=of_name).rev().find(|i| is_start(lines[*i])).unwrap_or(of_name);
    let own = lines.iter().enumerate().skip(first).skip_while(|(i, _)| *i == first);
    let mut own = own.take_while(|(_, l)| !is_start(l));
    let holds = |l: &str| l.split_once('=').is_some_and(|(key, _)| key.trim() == field);
    own.find(|(_, l)| holds(l)).map_or(of_name, |(i, _)| i) + 1
}

type Wrong = (&'static str, String);

/// The entry, or the field that is wrong and why.
fn checked(form: Form, raw: RawEntry, is_own: bool) -> Result<Entry, Wrong> {
    let name = raw.name.into_inner();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = match form {
        Form::Data => !name.starts_with('.') && name.chars().all(is_plain),
        Form::Model => name.chars().all(|c| is_plain(c) || c == '/'),
    };
    if name.is_empty() || !is_name {
        return Err(("name", "must be letters, digits, '-', '_' or '.' (models: owner/name too)".into()));
    }
    if form == Form::Data && raw.loader.as_deref().is_none_or(str::is_empty) {
        return Err(("loader", "data need the name of a loader; `polymix data list` shows them".into()));
    }
    for language in raw.names.keys().chain(raw.sizes.keys()) {
        if !raw.languages.contains(language) {
            return Err(("languages", format!("'{language}' is in names or sizes, but not here")));
        }
    }
    let mut sources = Vec::new();
    for source in raw.source {
        sources.push(source_of(form, source)?);
    }
    if sources.is_empty() {
        match Repo::parse(Kind::Model, &name) {
            Ok(repo) if form == Form::Model => sources.push(model_source(repo)),
            _ => return Err(("source", "add [[data.source]] with hub, git or url".into())),
        }
    }
    let has_languages = sources.iter().flat_map(|s| s.files.iter()).any(|f| f.contains("{language}"));
    if has_languages && raw.languages.is_empty() {
        return Err(("languages", "files name {language}, but there is none".into()));
    }
    Ok(Entry {
        form,
        name,
        description: raw.description,
        sources,
        languages: raw.languages,
        names: raw.names,
        licence: raw.licence,
        roles: raw.role,
        citation: raw.citation,
        loader: raw.loader,
        size: raw.size,
        sizes: raw.sizes,
        is_own,
    })
}

fn source_of(form: Form, raw: RawSource) -> Result<Source, Wrong> {
    let kind = if form == Form::Data { Kind::Dataset } else { Kind::Model };
    let at = match (raw.hub, raw.git, raw.url) {
        (Some(hub), None, None) => {
            let named = raw.revision.map_or_else(|| hub.clone(), |revision| format!("{hub}@{revision}"));
            At::Hub(Repo::parse(kind, &named).map_err(|e| ("hub", format!("{e:#}")))?)
        }
        (None, Some(git), None) => {
            if !git.starts_with("https://") && !git.starts_with("http://") {
                return Err(("git", "must begin with https://".into()));
            }
            At::Git(git, raw.revision.unwrap_or_else(|| "HEAD".into()))
        }
        (None, None, Some(url)) => {
            if !url.starts_with("https://") && !url.starts_with("http://") {
                return Err(("url", "must begin with https://".into()));
            }
            if raw.revision.is_some() {
                return Err(("revision", "an address has none; state sha256 instead".into()));
            }
            let is_sum = |s: &str| s.len() == 64 && s.bytes().all(|b| b.is_ascii_hexdigit());
            if raw.sha256.as_deref().is_some_and(|s| !is_sum(s)) {
                return Err(("sha256", "must be 64 hexadecimal digits".into()));
            }
            At::Url(url, raw.sha256)
        }
        _ => return Err(("source", "needs exactly one of hub, git and url".into())),
    };
    if let Some(file) = raw
        .files
        .iter()
        .chain(&raw.optional)
        .chain(Some(&raw.under).filter(|u| !u.is_empty()))
        .flat_map(|f| f.split('|'))
        .find(|f| !crate::hub::archive::is_inside(f))
    {
        return Err(("files", format!("'{file}' is no path below the source")));
    }
    let is_model = form == Form::Model && raw.files.is_empty();
    if raw.files.is_empty() && !is_model && !matches!(at, At::Url(..)) {
        return Err(("files", "name the files, for example [\"{language}.json\"]".into()));
    }
    let (files, optional) = if is_model {
        (MODEL_FILES.map(str::to_owned).to_vec(), MODEL_EXTRAS.map(str::to_owned).to_vec())
    } else {
        (raw.files, raw.optional)
    };
    Ok(Source { at, under: raw.under, files, optional })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_entries_are_sound() {
        let entries = parse(BUILT_IN, false).expect("sound");
        let names: Vec<&str> = entries.iter().map(|e| e.name.as_str()).collect();
        for name in [
            "FacebookAI/xlm-roberta-base",
            "FacebookAI/xlm-roberta-large",
            "sentence-transformers/LaBSE",
            "intfloat/multilingual-e5-small",
            "intfloat/multilingual-e5-base",
            "intfloat/multilingual-e5-large",
            "xquad-r",
            "mlqa-r",
            "squad",
            "squad-translate-train",
            "squadshifts",
            "mmarco",
            "mr-tydi",
            "miracl",
            "tatoeba",
            "mewsli-x",
            "xm3600",
        ] {
            assert!(names.contains(&name), "{name}");
        }
        for entry in &entries {
            assert!(!entry.licence.is_empty() && !entry.description.is_empty(), "{}", entry.name);
            assert!(entry.form == Form::Model || !entry.roles.is_empty(), "{}", entry.name);
        }
        let miracl = entries.iter().find(|e| e.name == "miracl").expect("miracl");
        assert_eq!(
            miracl.files_of(&miracl.sources[0], "sw")[0],
            "miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-dev.tsv"
        );
        let mmarco = entries.iter().find(|e| e.name == "mmarco").expect("mmarco");
        assert!(mmarco.files_of(&mmarco.sources[0], "zh").iter().any(|f| f.contains("chinese")));
    }

    const GOOD: &str = "[[data]]\nname = \"mine\"\ndescription = \"d\"\nlicence = \"MIT\"\nrole = [\"train\"]\n\
                        loader = \"xquad-r\"\nlanguages = [\"de\"]\n[[data.source]]\nhub = \"me/mine\"\n\
                        files = [\"{language}.json\"]\n";

    #[test]
    fn own_entries_have_the_same_fields() {
        let entry = &parse(GOOD, true).expect("good")[0];
        assert_eq!((entry.name.as_str(), entry.is_own), ("mine", true));
        assert_eq!(entry.files_of(&entry.sources[0], "de"), ["de.json"]);
        assert!(entry.chosen(&["fr".into()]).is_err());
    }

    #[test]
    fn wrong_entries_name_line_and_field() {
        for (from, to, parts) in [
            ("loader = \"xquad-r\"\n", "", &["line 2", "'mine'", "loader"][..]),
            ("hub = \"me/mine\"", "hub = \"mine\"", &["line 9", "'mine'", "hub", "owner/name"]),
            ("hub = \"me/mine\"", "url = \"file:///x\"", &["line 9", "url", "https://"]),
            ("hub = \"me/mine\"", "hub = \"me/mine\"\nurl = \"http://x/y\"", &["source", "exactly one"]),
            ("{language}.json", "../{language}.json", &["line 10", "files"]),
            ("languages = [\"de\"]", "languages = []", &["line 7", "languages"]),
            ("role = [\"train\"]", "role = [\"tset\"]", &["line 5", "tset"]),
            ("licence", "license", &["line 4", "license"]),
            ("name = \"mine\"", "name = \"a b\"", &["line 2", "name"]),
            ("hub = \"me/mine\"", "hub = 3", &["line 9", "hub"]),
        ] {
            let error = format!("{:#}", parse(&GOOD.replace(from, to), true).expect_err(to));
            for part in parts {
                assert!(error.contains(part), "{to}: no '{part}' in {error}");
            }
        }
        let twice = format!("{:#}", parse(&GOOD.repeat(2), true).expect_err("twice"));
        assert!(twice.contains("line 12") && twice.contains("twice"), "{twice}");
    }
}
