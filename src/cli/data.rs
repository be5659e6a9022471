//! `polymix data`: which datasets there are, fetching them, and what is in them.

use anyhow::Result;
use serde_json::json;

use super::fetch::{self, FetchArgs, VerifyArgs};
use super::table::{plain, thousands};
use super::{print, print_json};
use crate::corpus::catalogue::{Entries, Form};
use crate::corpus::{self, Catalogue};
use crate::hub::{Settings, bytes};
use crate::spec::{Candidate, DatasetRef};

/// Arguments of `polymix data`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Datasets of the catalogue and what of them is on disk, and the loaders for data of your own
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Bring datasets of the catalogue to this machine; the same command goes on after a pause or a cut
    Fetch(FetchArgs),
    /// Hold what is on disk to its checksums
    Verify(VerifyArgs),
    /// Source, licence, counts, languages and examples of a dataset
    Inspect {
        /// NAME, NAME[PART], NAME=PATH or NAME[PART]=PATH
        dataset: String,
        /// Example questions, each with its relevant passages
        #[arg(long, default_value_t = 2, value_name = "N")]
        examples: usize,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::List { json } => list(*json),
        Command::Fetch(args) => fetch::fetch(Form::Data, args),
        Command::Verify(args) => fetch::verify(Form::Data, args),
        Command::Inspect { dataset, examples, json } => inspect(dataset, *examples, *json),
    }
}

fn list(json: bool) -> Result<()> {
    let entries = fetch::entries(Form::Data)?;
    if json {
        for (entry, held) in &entries {
            print_json(&fetch::described(entry, held)?)?;
        }
        for entry in Catalogue::all() {
            print_json(&json!({"v": 1, "name": entry.name, "description": entry.description,
                "languages": entry.languages, "licence": entry.licence, "parts": entry.parts,
                "needs_path": entry.needs_path}))?;
        }
        return Ok(());
    }
    let fetched: Vec<Vec<String>> = entries
        .iter()
        .map(|(entry, held)| {
            let codes = &entry.languages;
            let languages = if codes.len() > 7 { codes.len().to_string() } else { codes.join(" ") };
            let roles: Vec<String> = entry.roles.iter().map(ToString::to_string).collect();
            vec![
                entry.name.clone(),
                held.word(),
                entry.expected(&[]).map_or("-".into(), bytes),
                languages,
                roles.join(" "),
                entry.loader.clone().unwrap_or_default(),
                entry.licence.clone(),
                entry.description.clone(),
            ]
        })
        .collect();
    let headings = ["entry", "state", "size", "languages", "role", "loader", "licence", "description"];
    print(&plain(&headings, &fetched))?;
    print("")?;
    let rows: Vec<Vec<String>> = Catalogue::all()
        .iter()
        .map(|entry| {
            vec![
                entry.name.into(),
                if entry.needs_path { "yours: NAME=PATH" } else { "bundled" }.into(),
                entry.languages.join(" "),
                entry.licence.into(),
                entry.parts.into(),
                entry.description.into(),
            ]
        })
        .collect();
    print(&plain(&["loader", "where", "languages", "licence", "parts", "description"], &rows))
}

fn inspect(name: &str, examples: usize, as_json: bool) -> Result<()> {
    let reference: DatasetRef = name.parse().map_err(|e| anyhow::anyhow!("{e}"))?;
    // An entry of the catalogue says where it comes from, on disk or not.
    let known =
        Entries::load()?.find(Form::Data, &reference.name).filter(|_| reference.path.is_none()).cloned();
    let mut described = serde_json::Value::Null;
    if let Some(entry) = known {
        let held = corpus::catalogue::held(&entry, &Settings::from_env())?;
        let has_loader = Catalogue::all().iter().any(|c| Some(c.name) == entry.loader.as_deref());
        let is_readable = held.is_usable && has_loader;
        if as_json {
            described = fetch::described(&entry, &held)?;
            if !is_readable {
                return print_json(&json!({"v": 1, "name": reference.label(), "entry": described}));
            }
        } else {
            print(&fetch::lines(&entry, &held)?)?;
            if !is_readable {
                return Ok(());
            }
            print("")?;
        }
    }
    let data = corpus::open(&reference, Candidate::Sentence)?;
    let by_language: Vec<(usize, usize)> = (0..data.languages.len() as u16)
        .map(|l| (data.questions_in(l).count(), data.passages_in(l).count()))
        .collect();
    if as_json {
        let languages: serde_json::Map<_, _> = data
            .languages
            .iter()
            .zip(&by_language)
            .map(|(l, (q, p))| (l.clone(), json!({"questions": q, "passages": p})))
            .collect();
        return print_json(&json!({"v": 1, "name": data.name, "question_ids": data.groups.len(),
            "questions": data.questions.len(), "passages": data.passages.len(), "languages": languages,
            "domains": data.domains, "sha256": data.hash, "notes": data.notes, "entry": described}));
    }
    let mut text = format!(
        "{}: {} question ids, {} questions, {} passages\nsha256 {}\n",
        data.name,
        thousands(data.groups.len()),
        thousands(data.questions.len()),
        thousands(data.passages.len()),
        data.hash
    );
    let domains: Vec<String> = data
        .domains
        .iter()
        .enumerate()
        .map(|(i, d)| format!("{d} {}", data.groups.iter().filter(|g| usize::from(g.domain) == i).count()))
        .take(20)
        .collect();
    text += &format!("domains: {}\n\n", domains.join(", "));
    let rows: Vec<Vec<String>> = data
        .languages
        .iter()
        .zip(&by_language)
        .map(|(l, (q, p))| vec![l.clone(), q.to_string(), p.to_string()])
        .collect();
    text += &plain(&["language", "questions", "passages"], &rows);
    for note in &data.notes {
        text += &format!("\nnote: {note}");
    }
    let stride = (data.groups.len() / examples.max(1)).max(1);
    for group in data.groups.iter().step_by(stride).take(examples) {
        text += &format!("\n\n{} ({})", group.id, data.domains[usize::from(group.domain)]);
        for (language, question) in data.languages.iter().zip(&group.questions) {
            let Some(question) = question else { continue };
            text += &format!("\n  {language}  Q  {}", data.questions[*question as usize].text);
            for &passage in &group.relevant {
                let passage = &data.passages[passage as usize];
                if data.languages[usize::from(passage.language)] == *language {
                    text += &format!("\n      P  {}", passage.text);
                }
            }
        }
    }
    print(&text)
}
