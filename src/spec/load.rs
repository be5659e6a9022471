//! Reading a spec: TOML text, then `--set key=value` overrides, then the checks.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use toml::{Table, Value};

use super::ExperimentSpec;
use crate::corpus::language;
use crate::corpus::lexicon::Lexicons;
use crate::files::toml_error;

/// Reads a spec file, applies the overrides in order, and checks the result.
///
/// # Errors
/// One error that names the file and the line, or the key, and what is allowed there.
pub fn load(path: &Path, overrides: &[String]) -> Result<ExperimentSpec> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{}: cannot read the experiment spec", path.display()))?;
    parse(&text, overrides).with_context(|| format!("{}", path.display()))
}

/// The same from text.
///
/// # Errors
/// As [`load`], without the file's name.
pub fn parse(text: &str, overrides: &[String]) -> Result<ExperimentSpec> {
    // A later version may hold keys that are unknown here: that is not what is wrong with it.
    let version = text.parse::<Table>().ok().and_then(|table| table.get("v")?.as_integer());
    if let Some(v) = version.filter(|v| *v > i64::from(super::VERSION)) {
        let v = u64::try_from(v).unwrap_or_default();
        return Err(crate::seal::newer("the spec", v, super::VERSION));
    }
    // The text alone first: its errors know the line.
    let plain: ExperimentSpec = toml::from_str(text).map_err(|e| toml_error(text, &e))?;
    let mut spec: ExperimentSpec = if overrides.is_empty() {
        plain
    } else {
        let mut table: Table = toml::from_str(text).map_err(|e| toml_error(text, &e))?;
        for text in overrides {
            apply(&mut table, text)?;
        }
        Value::Table(table).try_into().map_err(|e: toml::de::Error| {
            anyhow!("--set {}: {}", overrides.join(" --set "), one_line(&e.to_string()))
        })?
    };
    spec.take_codes_of_today();
    spec.check()?;
    spec.sampling = spec.sampling.written_out();
    Ok(spec)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Puts `a.b=value` into the table; the value is read as TOML, and as a string where that fails.
fn apply(table: &mut Table, text: &str) -> Result<()> {
    let Some((key, value)) = text.split_once('=') else {
        bail!("--set {text}: write --set key=value, for example --set sampling.alpha=0.5");
    };
    let value = match format!("x = {value}").parse::<Table>() {
        Ok(mut one) if one.len() == 1 => one.remove("x").unwrap_or_else(|| Value::String(value.to_owned())),
        _ => Value::String(value.to_owned()),
    };
    let mut parts: Vec<&str> = key.trim().split('.').collect();
    let last = parts.pop().filter(|k| !k.is_empty());
    let last = last.with_context(|| format!("--set {text}: the key is empty"))?;
    let mut inner = table;
    for part in parts {
        inner = inner
            .entry(part)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .with_context(|| format!("--set {text}: '{part}' is not a section"))?;
    }
    // Weights and alpha exclude each other: what is set last counts.
    if key.trim() == "sampling.alpha" {
        for weight in ["mono", "cross", "same", "multi"] {
            inner.remove(weight);
        }
    } else if ["sampling.mono", "sampling.cross", "sampling.same", "sampling.multi"].contains(&key.trim()) {
        inner.remove("alpha");
    }
    inner.insert(last.to_owned(), value);
    Ok(())
}

/// The keys of the overrides, for the record.
#[must_use]
pub fn override_keys(overrides: &[String]) -> Vec<&str> {
    overrides.iter().filter_map(|o| o.split_once('=')).map(|(k, _)| k.trim()).collect()
}

impl ExperimentSpec {
    /// The same with whole paths: what it names is found from any directory.
    ///
    /// # Errors
    /// Where the working directory is gone.
    pub fn placed(&self) -> Result<Self> {
        let mut spec = self.clone();
        let data = &mut spec.data;
        for dataset in data.train.iter_mut().chain(&mut data.validation).chain(&mut data.evaluation) {
            dataset.path = dataset.path.as_deref().map(std::path::absolute).transpose()?;
        }
        let base = Path::new(&self.model.base);
        if self.model.base != "demo" && base.is_dir() {
            spec.model.base = std::path::absolute(base)?.display().to_string();
        }
        for lexicon in &mut spec.robust.lexicons {
            if let Some((pair, path)) = lexicon.split_once('=') {
                *lexicon = format!("{pair}={}", std::path::absolute(path)?.display());
            }
        }
        Ok(spec)
    }

    /// Languages as the loaders name them, so that `cmn` and `iw` of an old spec are the data's `zh` and `he`.
    fn take_codes_of_today(&mut self) {
        for code in self.languages.iter_mut().chain(&mut self.adapters.languages) {
            *code = language::normalise(code);
        }
        for lexicon in &mut self.robust.lexicons {
            *lexicon = Lexicons::with_codes_of_today(lexicon);
        }
    }

    /// The spec as TOML, every default written out.
    ///
    /// # Errors
    /// Only where a path is not UTF-8.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).context("writing the spec as TOML")
    }
}

#[cfg(test)]
mod tests {
    use super::super::SamplingSpec;
    use super::*;

    fn error(text: &str, overrides: &[&str]) -> String {
        let overrides: Vec<String> = overrides.iter().map(|&s| s.to_owned()).collect();
        format!("{:#}", parse(text, &overrides).expect_err("must be refused"))
    }

    #[test]
    fn defaults_round_trip() {
        let spec = parse("", &[]).expect("empty spec");
        let sampling = SamplingSpec::hybrid(0.5);
        assert_eq!(spec, ExperimentSpec { sampling, ..ExperimentSpec::default() });
        assert_eq!(parse(&spec.to_toml().expect("toml"), &[]).expect("again"), spec);
    }

    #[test]
    fn the_mix_that_nothing_names_is_written_out() {
        let written = |sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(|&s| s.to_owned()).collect();
            parse("seed = 1", &sets).expect("spec").to_toml().expect("toml")
        };
        assert!(written(&[]).contains("alpha = 0.5"), "{}", written(&[]));
        assert!(written(&["sampling.schedule=bernoulli"]).contains("alpha = 0.5"));
        let weights = written(&["sampling.multi=1"]);
        assert!(weights.contains("multi = 1") && !weights.contains("alpha = 0.5"), "{weights}");
        // A run's own spec takes other weights still.
        assert!(parse(&written(&[]), &["sampling.cross=1".to_owned()]).is_ok());
    }

    #[test]
    fn overrides_reach_their_key() {
        let sets = ["train.steps=7", "sampling.alpha=0.25", "name=x y", "data.train=[\"demo[train]\"]"];
        let spec = parse("", &sets.map(str::to_owned)).expect("overrides");
        assert_eq!((spec.train.steps, spec.sampling.alpha, spec.name.as_str()), (7, Some(0.25), "x y"));
    }

    #[test]
    fn old_codes_of_languages_are_read_and_written_as_those_of_today() {
        let text = "languages = [\"en\", \"cmn\", \"iw\", \"DE\"]\n[adapters]\nlanguages = [\"iw\", \"zh_Hans\"]\n\
                    [robust]\nlexicons = [\"iw-EN=a-b=c.tsv\", \"en-cmn=x\", \"demo\", \"wrong\"]";
        let spec = parse(text, &[]).expect("codes");
        assert_eq!(spec.languages, ["en", "zh", "he", "de"]);
        assert_eq!(spec.adapters.languages, ["he", "zh"]);
        assert_eq!(spec.robust.lexicons, ["he-en=a-b=c.tsv", "en-zh=x", "demo", "wrong"]);
        let saved = spec.to_toml().expect("toml");
        assert!(!saved.contains("cmn") && !saved.contains("iw"), "{saved}");
        let set = parse("", &["languages=[\"fil\", \"en\"]".to_owned()]).expect("codes");
        assert_eq!(set.languages, ["tl", "en"]);
        assert!(error("languages = [\"zh\", \"en\", \"cmn\"]", &[]).contains("'zh' is listed twice"));
    }

    #[test]
    fn weights_set_after_alpha_replace_it() {
        let spec = parse("[sampling]\nalpha = 0.3", &["sampling.cross=1".to_owned()]).expect("weights");
        assert_eq!(spec.sampling.weights().expect("weights").label(), "X-Y");
    }

    #[test]
    fn unknown_keys_name_the_key_and_what_is_allowed() {
        let message = error("[train]\nsteps = 5\nbacth = 3", &[]);
        for part in ["line 3", "bacth", "batch", "learning_rate"] {
            assert!(message.contains(part), "{message}");
        }
        let message = error("", &["train.bacth=3"]);
        assert!(message.contains("bacth") && message.contains("learning_rate"), "{message}");
    }

    #[test]
    fn a_newer_spec_is_refused_for_its_version_not_for_its_keys() {
        let message = error("v = 2\nholograms = true", &[]);
        assert!(
            message.contains("newer polymix (format 2") && message.contains("update polymix"),
            "{message}"
        );
        assert!(error("", &["v=2"]).contains("v = 2: must be 1"));
        assert_eq!(parse("v = 1\nname = \"x\"", &[]).expect("this version").v, 1);
    }

    #[test]
    fn wrong_types_name_the_key() {
        let message = error("[train]\nsteps = \"many\"", &[]);
        assert!(message.contains("line 2") && message.contains("steps"), "{message}");
        let message = error("", &["train.steps=many"]);
        assert!(message.contains("train.steps") && message.contains("many"), "{message}");
    }
}
