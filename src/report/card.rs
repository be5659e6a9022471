//! The model card: `README.md` of an exported model, with the front matter that model hubs read.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::compare::config;
use super::source::Source;
use crate::corpus::Catalogue;
use crate::corpus::catalogue::{Entries, Form};
use crate::encoder::Description;
use crate::evaluate::{Evaluation, read};
use crate::run::{RunDir, hub_id};
use crate::spec::{DatasetRef, ExperimentSpec};

/// What a card is written about.
#[derive(Debug)]
pub struct Card<'a> {
    /// What the model is called.
    pub name: &'a str,
    pub model: &'a Description,
    /// The run that trained it; `None` for a model that was only converted.
    pub run: Option<&'a RunDir>,
    /// A licence's id, as hubs know it.
    pub licence: Option<&'a str>,
    /// Most tokens of a text that the written model takes.
    pub longest: usize,
    /// For a model that had language adapters: the language whose own were merged into the weights, or `none`.
    pub adapter: Option<&'a str>,
}

/// Settings that say where something lies on one machine; the datasets have a table of their own.
const LOCAL: [&str; 6] =
    ["data.train", "data.validation", "data.evaluation", "data.cache", "train.device", "model.base"];

impl Card<'_> {
    /// The card as Markdown.
    ///
    /// # Errors
    /// Where the run's spec or one of its evaluations cannot be read.
    pub fn markdown(&self) -> Result<String> {
        // What is damaged is told once; below it counts as absent.
        self.run.map(crate::run::environment).transpose()?;
        let source = self.run.map(|run| Source::of_run(run.clone())).transpose()?;
        let spec = source.as_ref().and_then(|s| s.spec.as_ref());
        let mut evaluations = Vec::new();
        for measured in source.iter().flat_map(Source::last) {
            evaluations.push((measured.step.unwrap_or(0), read(&measured.dir)?));
        }
        let mut out = self.front_matter(&evaluations)?;
        self.introduction(&mut out, spec)?;
        self.usage(&mut out)?;
        if let (Some(source), Some(spec), Some(run)) = (&source, spec, self.run) {
            results(&mut out, &evaluations)?;
            data(&mut out, run, spec)?;
            settings(&mut out, source)?;
        }
        self.licence(&mut out)?;
        Ok(out)
    }

    fn front_matter(&self, evaluations: &[(usize, Evaluation)]) -> Result<String> {
        let mut out = String::from(
            "---\nlibrary_name: sentence-transformers\npipeline_tag: sentence-similarity\ntags:\n",
        );
        for tag in
            ["sentence-transformers", "feature-extraction", "sentence-similarity", "multilingual", "polymix"]
        {
            writeln!(out, "- {tag}")?;
        }
        let languages = self.run.map(languages).unwrap_or_default();
        if !languages.is_empty() {
            writeln!(out, "language:")?;
            for language in languages {
                writeln!(out, "- {}", quoted(&language))?;
            }
        }
        if let Some(licence) = self.licence {
            writeln!(out, "license: {}", quoted(licence))?;
        }
        if let Some(base) = self.run.and_then(|run| hub_id(&environment(run))) {
            writeln!(out, "base_model: {}", quoted(&base))?;
        }
        if !evaluations.is_empty() {
            writeln!(out, "model-index:\n- name: {}\n  results:", quoted(self.name))?;
            for (_, evaluation) in evaluations {
                let dataset = quoted(&evaluation.protocol.dataset);
                writeln!(
                    out,
                    "  - task:\n      type: information-retrieval\n      name: Information Retrieval"
                )?;
                writeln!(out, "    dataset:\n      name: {dataset}\n      type: {dataset}\n    metrics:")?;
                for (title, value) in headline(evaluation) {
                    if let Some(value) = value {
                        let kind = title.to_lowercase().replace([' ', ','], "_");
                        writeln!(out, "    - type: {kind}\n      value: {value:.6}\n      name: {title}")?;
                    }
                }
            }
        }
        out += "---\n\n";
        Ok(out)
    }

    fn introduction(&self, out: &mut String, spec: Option<&ExperimentSpec>) -> Result<()> {
        let model = self.model;
        writeln!(out, "# {}\n", self.name)?;
        writeln!(
            out,
            "A multilingual text encoder for dense retrieval: {} with {} layers and {} parameters; a text becomes a vector \
             of {} numbers and unit length (pooling: {}{}).",
            model.architecture,
            model.layers,
            model.parameters,
            model.width,
            model.pooling,
            if model.dense.is_empty() { "" } else { ", then dense" }
        )?;
        if let Some(spec) = spec {
            if !spec.description.is_empty() {
                writeln!(out, "\n{}", spec.description)?;
            }
            let hub = self.run.and_then(|run| hub_id(&environment(run)));
            let base = hub.as_deref().unwrap_or_else(|| directory_name(&spec.model.base));
            writeln!(
                out,
                "\nTrained with polymix {} from `{base}`, {} steps of {} pairs.",
                crate::VERSION,
                spec.train.steps,
                spec.train.batch
            )?;
        } else {
            writeln!(out, "\nWritten by polymix {}; the weights were not trained by it.", crate::VERSION)?;
        }
        if let (Some(adapter), Some(adapters)) = (self.adapter, &model.adapters) {
            let (kind, languages) = (adapters.spec.kind.name(), adapters.languages.join(", "));
            let what = match adapter {
                "none" => "They are left out here: this is the base alone, and the results below are not this model's.".into(),
                language => format!(
                    "Those of `{language}` are merged into the weights here: texts in other languages get other vectors than \
                     they had, and the results below, where each text went through its own language's, are not this model's."
                ),
            };
            writeln!(out, "\nIt was trained with {kind} adapters for {languages}. {what}")?;
        }
        Ok(())
    }

    fn usage(&self, out: &mut String) -> Result<()> {
        let prompt = |prefix: &Option<String>, name: &str| match prefix {
            Some(text) if !text.is_empty() => format!(", prompt_name=\"{name}\""),
            _ => String::new(),
        };
        let query = prompt(&self.model.query_prefix, "query");
        let passage = prompt(&self.model.passage_prefix, "passage");
        writeln!(
            out,
            "\n## Use\n\n```python\nfrom sentence_transformers import SentenceTransformer\n\n\
             model = SentenceTransformer(\"path/to/this/directory\")\n\
             questions = model.encode([\"...\"]{query})\npassages = model.encode([\"...\"]{passage})\n\
             scores = questions @ passages.T  # cosine: the vectors have unit length\n```\n"
        )?;
        let (query, passage) = (&self.model.query_prefix, &self.model.passage_prefix);
        if let (Some(query), Some(passage)) = (query, passage)
            && !(query.is_empty() && passage.is_empty())
        {
            writeln!(
                out,
                "Questions begin with `{query}`, passages with `{passage}`; the prompts above put them there. Without them \
                 the vectors are others."
            )?;
        }
        writeln!(out, "Texts are cut after {} tokens.", self.longest)?;
        Ok(())
    }

    fn licence(&self, out: &mut String) -> Result<()> {
        writeln!(out, "\n## Licence\n")?;
        match self.licence {
            Some(licence) => writeln!(out, "{licence}")?,
            None => writeln!(
                out,
                "Not stated. The terms of the base model and of the training data apply; state them here before you \
                 pass the model on."
            )?,
        }
        Ok(())
    }
}

/// The figures at the head: mAP in each setting, and the rank distance.
fn headline(evaluation: &Evaluation) -> [(&'static str, Option<f64>); 4] {
    let scores = evaluation.summary();
    let score = |setting: &str, metric: &str| {
        scores.iter().find(|s| s.setting == setting && s.metric == metric).map(|s| s.value)
    };
    [
        ("mAP mono", score("mono", "map")),
        ("mAP cross", score("cross", "map")),
        ("mAP multi", score("multi", "map")),
        ("Rank distance", score("multi", "rank_distance")),
    ]
}

fn results(out: &mut String, evaluations: &[(usize, Evaluation)]) -> Result<()> {
    writeln!(out, "\n## Results\n")?;
    if evaluations.is_empty() {
        writeln!(out, "Not evaluated.")?;
        return Ok(());
    }
    writeln!(
        out,
        "| dataset | step | mAP mono | mAP cross | mAP multi | rank distance | questions | passages |"
    )?;
    writeln!(out, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
    for (step, evaluation) in evaluations {
        let [mono, cross, multi, distance] = headline(evaluation).map(|(_, value)| value);
        let share = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.4}"));
        writeln!(
            out,
            "| {} | {step} | {} | {} | {} | {} | {} | {} |",
            cell(&evaluation.protocol.dataset),
            share(mono),
            share(cross),
            share(multi),
            distance.map_or(String::new(), |v| format!("{v:.1}")),
            evaluation.protocol.questions,
            evaluation.protocol.passages
        )?;
    }
    writeln!(
        out,
        "\nMacro means over languages (mono, multi) and ordered language pairs (cross), full ranking. Rank distance: mean \
         distance between the best and the worst placed of a question's relevant passages in the pool of all languages; \
         lower is less biased towards languages. Candidate: {}; questions cut after {} tokens, passages after {}.",
        evaluations[0].1.protocol.candidate,
        evaluations[0].1.protocol.max_query_tokens,
        evaluations[0].1.protocol.max_passage_tokens
    )?;
    Ok(())
}

fn data(out: &mut String, run: &RunDir, spec: &ExperimentSpec) -> Result<()> {
    writeln!(out, "\n## Data\n\n| use | dataset | licence | languages | question ids | SHA-256 |")?;
    writeln!(out, "| --- | --- | --- | --- | ---: | --- |")?;
    let known = environment(run);
    let uses = [
        ("training", &spec.data.train),
        ("validation", &spec.data.validation),
        ("evaluation", &spec.data.evaluation),
    ];
    for (use_, datasets) in uses {
        for dataset in datasets {
            let label = dataset.label();
            let facts = crate::run::facts(&known, &label, use_);
            let text = |key: &str| facts.and_then(|f| f.get(key));
            let all = text("languages").map_or(Vec::new(), strings);
            let trained = crate::run::trained(&known, &label).filter(|_| use_ == "training");
            if trained.is_some_and(|trained| trained["question_ids"] == 0) {
                // Its weight in the mixture is 0.
                continue;
            }
            let (languages, question_ids) = match trained {
                Some(trained) => (strings(&trained["languages"]), trained.get("question_ids")),
                // Records of earlier versions, and of validation, do not say it; what the spec leaves out was not drawn.
                None if use_ != "evaluation" && !spec.languages.is_empty() => {
                    let own: Vec<_> = all.iter().filter(|l| spec.languages.contains(l)).cloned().collect();
                    let is_whole = own == all;
                    (own, text("question_ids").filter(|_| is_whole))
                }
                None => (all, text("question_ids")),
            };
            writeln!(
                out,
                "| {use_} | {} | {} | {} | {} | {} |",
                cell(&label),
                cell(&licence_of(dataset)),
                languages.join(" "),
                question_ids.map_or(String::new(), ToString::to_string),
                text("sha256").and_then(Value::as_str).unwrap_or_default()
            )?;
        }
    }
    Ok(())
}

fn settings(out: &mut String, source: &Source) -> Result<()> {
    writeln!(out, "\n## Settings\n\n| key | value |\n| --- | --- |")?;
    for (key, value) in config(source)? {
        if !LOCAL.iter().any(|local| key.starts_with(local)) && key != "name" && key != "description" {
            writeln!(out, "| {key} | {} |", cell(&value))?;
        }
    }
    Ok(())
}

/// The licence that the catalogue gives: of the entry, or of what the loader of this name reads.
fn licence_of(dataset: &DatasetRef) -> String {
    let entries = Entries::load().ok();
    let entry = entries.as_ref().and_then(|e| e.find(Form::Data, &dataset.name)).map(|e| e.licence.clone());
    let loader = || Catalogue::all().iter().find(|c| c.name == dataset.name).map(|c| c.licence.to_owned());
    entry.or_else(loader).unwrap_or_else(|| "not known".into())
}

/// `environment.json` of a run; null where there is none.
fn environment(run: &RunDir) -> Value {
    crate::run::environment(run).unwrap_or_default()
}

/// Languages of the training data, sorted.
fn languages(run: &RunDir) -> Vec<String> {
    let Ok(spec) = run.spec() else { return Vec::new() };
    let known = environment(run);
    let of_data = |is_trained: bool| -> Vec<String> {
        let of_one = |dataset: &DatasetRef| {
            let label = dataset.label();
            let facts = if is_trained {
                crate::run::trained(&known, &label)
            } else {
                crate::run::facts(&known, &label, "training")
            };
            facts?.get("languages").map(strings)
        };
        let all: BTreeSet<String> = spec.data.train.iter().filter_map(of_one).flatten().collect();
        all.into_iter().collect()
    };
    let trained = of_data(true);
    if !trained.is_empty() {
        return trained;
    }
    // Records of earlier versions do not say what was trained.
    if spec.languages.is_empty() { of_data(false) } else { spec.languages }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A model's directory without those that it lies in.
fn directory_name(base: &str) -> &str {
    Path::new(base).file_name().and_then(|n| n.to_str()).unwrap_or(base)
}

/// A YAML string; JSON's are.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn cell(text: &str) -> String {
    super::text::markdown_cell(text)
}
