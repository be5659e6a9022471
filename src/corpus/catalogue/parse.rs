//! How entries are written in TOML, and what is wrong with those that are not: file, line, entry, field.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use serde::Deserialize;
use toml::Spanned;

use super::entry::{At, Entries, Entry, Form, Layout, Prefixes, Role, Source};
use crate::corpus::{Catalogue, Options};
use crate::files::toml_error;
use crate::hub::archive::is_inside;
use crate::hub::{Address, Host, Kind, Repo, file_name, is_archive, matches};
use crate::spec::DatasetRef;

/// A model of sentence-transformers also says of which modules it consists: without them its vectors are others.
const MODULES: &str = "modules.json";
/// What a model's repository must hold; of alternatives the first that is there.
const MODEL_FILES: [&str; 3] = [
    "config.json",
    "model.safetensors|model.safetensors.index.json|pytorch_model.bin|pytorch_model.bin.index.json",
    "tokenizer.json|sentencepiece.bpe.model",
];
/// What is taken too, where it is there; of alternatives the first.
const MODEL_EXTRAS: [&str; 9] = [
    "model.safetensors|model-*-of-*.safetensors|pytorch_model.bin|pytorch_model-*-of-*.bin",
    "tokenizer_config.json",
    "special_tokens_map.json",
    MODULES,
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "*/config.json",
    "*_Dense/model.safetensors|*_Dense/pytorch_model.bin",
    "README.md",
];

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
    #[serde(default)]
    options: String,
    layout: Option<Layout>,
    query_prefix: Option<String>,
    passage_prefix: Option<String>,
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

/// Where the files of a model of the hub are.
fn model_source(repo: Repo, layout: Option<Layout>) -> Source {
    let (files, optional) = model_files(layout);
    Source { at: At::Hub(repo), under: String::new(), files, optional }
}

/// The same of a repository of which nothing else is known.
pub(super) fn any_model(repo: Repo) -> Source {
    model_source(repo, None)
}

/// Reads entries; errors begin with the line.
pub(super) fn parse(text: &str, is_own: bool) -> Result<Vec<Entry>> {
    let file: RawFile = toml::from_str(text).map_err(|e| toml_error(text, &e))?;
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
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(is_plain);
    let is_name = match form {
        Form::Data => is_part(&name),
        Form::Model => name.split('/').count() <= 2 && name.split('/').all(is_part),
    };
    if !is_name {
        return Err(("name", "must be letters, digits, '-', '_' or '.' (models: owner/name too)".into()));
    }
    if is_own && form == Form::Data && Catalogue::all().iter().any(|c| c.name == name) {
        // An entry of our own may be replaced, by one that is read alike.
        let is_entry =
            Entries::built_in().is_ok_and(|all| all.iter().any(|e| e.name == name && e.form == form));
        if !is_entry {
            let what = if name == "demo" { "the bundled data" } else { "a loader" };
            return Err(("name", format!("'{name}' is {what}; choose another name, such as 'my-{name}'")));
        }
        if raw.loader.as_deref().is_some_and(|loader| loader != name) {
            return Err((
                "loader",
                format!("'{name}' is a loader too; name it here, or choose another name"),
            ));
        }
    }
    if form == Form::Data && raw.loader.as_deref().is_none_or(str::is_empty) {
        return Err(("loader", "data need the name of a loader; `polymix data list` shows them".into()));
    }
    if let Some(loader) = raw.loader.as_deref().filter(|l| Catalogue::all().iter().all(|c| c.name != *l)) {
        let known: Vec<&str> = Catalogue::all().iter().map(|c| c.name).collect();
        return Err(("loader", format!("'{loader}' is none of the loaders: {}", known.join(", "))));
    }
    if raw.licence.trim().is_empty() {
        return Err(("licence", "must not be empty; where it is not known, say so".into()));
    }
    if form == Form::Data && raw.role.is_empty() {
        return Err(("role", "data need some of train, validation and evaluation".into()));
    }
    if form == Form::Data && raw.layout.is_some() {
        return Err(("layout", "only models have one".into()));
    }
    for (field, prefix) in [("query_prefix", &raw.query_prefix), ("passage_prefix", &raw.passage_prefix)] {
        if form == Form::Data && prefix.is_some() {
            return Err((field, "only models have one".into()));
        }
    }
    if let Some(loader) = &raw.loader {
        let read = DatasetRef { name: loader.clone(), part: Some(raw.options.clone()), path: None };
        Options::parse(&read).map_err(|e| ("options", format!("{e:#}")))?;
    }
    for (at, language) in raw.languages.iter().enumerate() {
        if language.is_empty() || raw.languages[..at].contains(language) {
            return Err(("languages", format!("'{language}' is empty or stands twice")));
        }
    }
    for language in raw.names.keys().chain(raw.sizes.keys()) {
        if !raw.languages.contains(language) {
            return Err(("languages", format!("'{language}' is in names or sizes, but not here")));
        }
    }
    let mut sources = Vec::new();
    for source in raw.source {
        sources.push(source_of(form, raw.layout, source)?);
    }
    if sources.is_empty() {
        match Repo::parse(Kind::Model, &name) {
            Ok(repo) if form == Form::Model => sources.push(model_source(repo, raw.layout)),
            _ => return Err(("source", "add [[data.source]] with hub, git or url".into())),
        }
    }
    let addresses = sources.iter().filter_map(|s| if let At::Url(url, _) = &s.at { Some(url) } else { None });
    let is_sole = |s: &Source| matches!(&s.at, At::Url(url, Some(_)) if url.contains("{language}"));
    if raw.languages.len() > 1 && sources.iter().any(is_sole) {
        let why = "the files of several languages cannot all have this one checksum; leave it out, or write one source a \
                   language";
        return Err(("sha256", why.into()));
    }
    let has_languages =
        sources.iter().flat_map(|s| s.files.iter()).chain(addresses).any(|f| f.contains("{language}"));
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
        options: raw.options,
        size: raw.size,
        sizes: raw.sizes,
        layout: raw.layout,
        prefixes: Prefixes { query: raw.query_prefix, passage: raw.passage_prefix },
        is_own,
    })
}

fn source_of(form: Form, layout: Option<Layout>, raw: RawSource) -> Result<Source, Wrong> {
    let kind = if form == Form::Data { Kind::Dataset } else { Kind::Model };
    let at = match (raw.hub, raw.git, raw.url) {
        (Some(hub), None, None) => {
            let named = raw.revision.map_or_else(|| hub.clone(), |revision| format!("{hub}@{revision}"));
            At::Hub(Repo::parse(kind, &named).map_err(|e| ("hub", format!("{e:#}")))?)
        }
        (None, Some(git), None) => {
            Host::parse(&git).map_err(|e| ("git", format!("{e:#}")))?;
            At::Git(git, raw.revision.unwrap_or_else(|| "HEAD".into()))
        }
        (None, None, Some(url)) => {
            if let Err(why) = Address::new(url.as_str()).parsed() {
                return Err(("url", format!("{why}; it must begin with https:// and name a host")));
            }
            let name = file_name(&url);
            if !is_inside(name) || name.starts_with('.') {
                return Err(("url", "must end in the name of a file".into()));
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
    let under = Some(("under", &raw.under)).filter(|(_, under)| !under.is_empty());
    let paths = raw.files.iter().map(|f| ("files", f)).chain(raw.optional.iter().map(|f| ("optional", f)));
    let mut paths = paths.chain(under).flat_map(|(field, f)| f.split('|').map(move |f| (field, f)));
    if let Some((field, file)) = paths.find(|(_, f)| !is_inside(f)) {
        return Err((field, format!("'{file}' is no path below the source")));
    }
    let is_model = form == Form::Model && raw.files.is_empty();
    if raw.files.is_empty() && !is_model && !matches!(at, At::Url(..)) {
        return Err(("files", "name the files, for example [\"{language}.json\"]".into()));
    }
    let (mut files, optional) = if is_model { model_files(layout) } else { (raw.files, raw.optional) };
    let address = if let At::Url(url, _) = &at { Some(url.as_str()) } else { None };
    let texts = files.iter().chain(Some(&raw.under)).map(|f| ("files", f.as_str()));
    let texts =
        texts.chain(address.map(|url| ("url", url))).chain(optional.iter().map(|f| ("optional", f.as_str())));
    for (field, text) in texts {
        let rest = if field == "optional" { text.to_owned() } else { text.replace("{language}", "") };
        if rest.contains(['{', '}']) {
            let more =
                if field == "optional" { "is the same for all languages" } else { "may hold {language}" };
            return Err((field, format!("'{text}': {more}, and no other braces")));
        }
    }
    if raw.under.contains("{language}") {
        return Err(("under", "is one folder for all languages; name the rest in files".into()));
    }
    // What is no archive is one file, whose name is known.
    if let Some(name) = address.map(file_name).filter(|name| !is_archive(name)) {
        if address.is_some_and(|url| url.contains("{language}") != name.contains("{language}")) {
            return Err(("url", format!("'{name}': the files of all languages would have this one name")));
        }
        if let Some(file) = files.iter().find(|f| !f.split('|').any(|p| p == name || matches(p, name))) {
            return Err(("files", format!("'{file}' is not what the address ends in, '{name}'")));
        }
        files = vec![name.to_owned()];
    }
    Ok(Source { at, under: raw.under, files, optional })
}

/// The files that a model consists of, and those that are taken where they are there.
fn model_files(layout: Option<Layout>) -> (Vec<String>, Vec<String>) {
    let modules = Some(MODULES).filter(|_| layout == Some(Layout::SentenceTransformers));
    let extras = MODEL_EXTRAS.into_iter().filter(|f| Some(*f) != modules);
    (MODEL_FILES.into_iter().chain(modules).map(str::to_owned).collect(), extras.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::language::{find, normalise};
    use crate::corpus::{Catalogue, Options};
    use crate::spec::DatasetRef;

    const BUILT_IN: &str = include_str!("../../../assets/catalogue.toml");

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
        for entry in entries.iter().filter(|e| e.form == Form::Data) {
            let loader = entry.loader.as_deref().expect("a loader");
            assert!(
                Catalogue::all().iter().any(|c| c.name == loader),
                "{}: no loader '{loader}'",
                entry.name
            );
            let read = DatasetRef { name: loader.into(), part: Some(entry.options.clone()), path: None };
            Options::parse(&read).expect("options");
            for code in &entry.languages {
                assert_eq!(&normalise(code), code, "{}", entry.name);
            }
        }
        for entry in &entries {
            assert!(!entry.licence.is_empty() && !entry.description.is_empty(), "{}", entry.name);
            assert!(entry.form == Form::Model || !entry.roles.is_empty(), "{}", entry.name);
        }
        // Models are the same ones tomorrow.
        for entry in entries.iter().filter(|e| e.form == Form::Model) {
            let is_pinned = |s: &Source| matches!(&s.at, At::Hub(repo) if repo.revision.len() == 40 && repo.revision.bytes().all(|b| b.is_ascii_hexdigit()));
            assert!(entry.sources.iter().all(is_pinned), "{}: no commit", entry.name);
            assert!(entry.size.is_some() && entry.citation.contains("20"), "{}", entry.name);
            let nameless = entry.languages.iter().find(|code| find(code).is_none());
            assert_eq!(nameless, None, "{}: no name, script and family of this language", entry.name);
        }
        let miracl = entries.iter().find(|e| e.name == "miracl").expect("miracl");
        assert_eq!(
            miracl.wanted(&miracl.sources[0], Some("sw"))[0],
            "miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-dev.tsv"
        );
        let mmarco = entries.iter().find(|e| e.name == "mmarco").expect("mmarco");
        assert!(mmarco.wanted(&mmarco.sources[0], Some("zh")).iter().any(|f| f.contains("chinese")));
    }

    const GOOD: &str = "[[data]]\nname = \"mine\"\ndescription = \"d\"\nlicence = \"MIT\"\nrole = [\"train\"]\n\
                        loader = \"xquad-r\"\nlanguages = [\"de\"]\n[[data.source]]\nhub = \"me/mine\"\n\
                        files = [\"{language}.json\"]\n";

    #[test]
    fn own_entries_have_the_same_fields() {
        let entry = &parse(GOOD, true).expect("good")[0];
        assert_eq!((entry.name.as_str(), entry.is_own), ("mine", true));
        assert_eq!(entry.wanted(&entry.sources[0], Some("de")), ["de.json"]);
        assert!(entry.chosen(&["fr".into()]).is_err());
        let mirror = &parse(&GOOD.replace("\"mine\"", "\"xquad-r\""), true).expect("a mirror")[0];
        assert_eq!(mirror.loader.as_deref(), Some("xquad-r"));
    }

    #[test]
    fn wrong_entries_name_line_and_field() {
        for (from, to, parts) in [
            ("loader = \"xquad-r\"\n", "", &["line 2", "'mine'", "loader"][..]),
            ("\"xquad-r\"", "\"pears\"", &["line 6", "'mine'", "'pears'", "xquad-r"]),
            ("hub = \"me/mine\"", "hub = \"mine\"", &["line 9", "'mine'", "hub", "owner/name"]),
            ("hub = \"me/mine\"", "url = \"file:///x\"", &["line 9", "url", "https://"]),
            ("hub = \"me/mine\"", "url = \"http://\"", &["line 9", "url", "https://"]),
            ("hub = \"me/mine\"", "url = \"http://x/\"", &["line 9", "url", "name of a file"]),
            ("hub = \"me/mine\"", "git = \"https://github.com/x\"", &["line 9", "git", "OWNER/NAME"]),
            ("{language}.json", "{lang}.json", &["line 10", "files", "{language}", "'{lang}.json'"]),
            (
                "hub = \"me/mine\"",
                "url = \"http://x/{language}/a.json\"",
                &["line 9", "url", "'a.json'", "all languages"],
            ),
            (
                "hub = \"me/mine\"",
                "url = \"http://x/of-{language}.json\"",
                &["line 10", "files", "'of-{language}.json'"],
            ),
            ("[\"de\"]", "[\"de\", \"de\"]", &["line 7", "languages", "'de'", "twice"]),
            ("role = [\"train\"]\n", "", &["line 2", "role"]),
            ("\"MIT\"", "\" \"", &["line 4", "licence"]),
            (
                "role = [\"train\"]",
                "role = [\"train\"]\noptions = \"a=\"",
                &["line 6", "options", "KEY=VALUE"],
            ),
            ("role = [\"train\"]", "role = [\"train\"]\nlayout = \"transformers\"", &["line 6", "layout"]),
            (
                "role = [\"train\"]",
                "role = [\"train\"]\npassage_prefix = \"p: \"",
                &["line 6", "passage_prefix", "only models"],
            ),
            ("[[data.source]]", "[[data.source]]\nunder = \"{language}\"", &["line 9", "under"]),
            ("[[data.source]]", "[[data.source]]\noptional = [\"{language}\"]", &["line 9", "optional"]),
            ("hub = \"me/mine\"", "hub = \"me/mine\"\nurl = \"http://x/y\"", &["source", "exactly one"]),
            ("{language}.json", "../{language}.json", &["line 10", "files"]),
            (
                "[[data.source]]",
                "[[data.source]]\nunder = \"../x\"",
                &["line 9", "under", "'../x'", "no path below"],
            ),
            ("[[data.source]]", "[[data.source]]\noptional = [\"/x\"]", &["line 9", "optional", "'/x'"]),
            ("languages = [\"de\"]", "languages = []", &["line 7", "languages"]),
            ("role = [\"train\"]", "role = [\"tset\"]", &["line 5", "tset"]),
            ("licence", "license", &["line 4", "license"]),
            ("name = \"mine\"", "name = \"a b\"", &["line 2", "name"]),
            (
                "name = \"mine\"",
                "name = \"demo\"",
                &["line 2", "name", "'demo' is the bundled data", "'my-demo'"],
            ),
            ("name = \"mine\"", "name = \"pairs\"", &["line 2", "name", "'pairs' is a loader"]),
            ("name = \"mine\"", "name = \"squad\"", &["line 6", "loader", "'squad' is a loader too"]),
            ("hub = \"me/mine\"", "hub = 3", &["line 9", "hub"]),
        ] {
            let error = format!("{:#}", parse(&GOOD.replace(from, to), true).expect_err(to));
            for part in parts {
                assert!(error.contains(part), "{to}: no '{part}' in {error}");
            }
        }
        for name in ["/abs/path", "a/../b", "a/b/c", ".a/b", ""] {
            let text = format!(
                "[[model]]\nname = \"{name}\"\ndescription = \"d\"\nlicence = \"MIT\"\n[[model.source]]\nurl = \
                 \"http://x/y.zip\"\n"
            );
            let error = format!("{:#}", parse(&text, true).expect_err(name));
            assert!(error.contains("line 2") && error.contains("name: must be"), "{name}: {error}");
        }
        let sum = "0".repeat(64);
        let summed = format!("url = \"http://x/{{language}}.json\"\nsha256 = \"{sum}\"");
        let one = GOOD.replace("hub = \"me/mine\"", &summed);
        assert!(parse(&one, true).is_ok(), "one language has one file");
        let two = one.replace("[\"de\"]", "[\"de\", \"fr\"]");
        let error = format!("{:#}", parse(&two, true).expect_err("two languages"));
        assert!(
            error.contains("line 10, entry 'mine', sha256") && error.contains("several languages"),
            "{error}"
        );
        let twice = format!("{:#}", parse(&GOOD.repeat(2), true).expect_err("twice"));
        assert!(twice.contains("line 12") && twice.contains("twice"), "{twice}");
    }
}
