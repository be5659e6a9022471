//! What `polymix data` and `polymix model` share: lists of entries, fetching with progress, verifying.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::progress::Progress;
use super::{interrupt, print, print_json};
use crate::corpus::catalogue::{self, Entries, Entry, Fault, Form, Held, Layout, Trouble};
use crate::hub::{Client, Settings, Watch, bytes};

/// From here on a fetch of all languages must be asked for.
const LARGE: u64 = 5_000_000_000;

/// What to fetch.
#[derive(Debug, clap::Args)]
pub struct FetchArgs {
    /// Names of entries; for models also owner/name or owner/name@revision of the hub
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Only these languages, for example --languages sw,te [default: all]
    #[arg(long, value_delimiter = ',', value_name = "CODE")]
    languages: Vec<String>,
    /// All languages, even where that is more than 5 GB
    #[arg(long, conflicts_with = "languages")]
    all: bool,
    /// Ask anew for what is here already but nothing vouches for: files whose publisher states no checksum, and damaged ones
    #[arg(long)]
    again: bool,
    /// Progress and results as JSON lines
    #[arg(long)]
    json: bool,
}

/// What to verify.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Names of entries
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// One JSON object a name
    #[arg(long)]
    json: bool,
}

/// The entry of a name.
pub fn entry(form: Form, name: &str) -> Result<Entry> {
    match form {
        Form::Model => catalogue::model_entry(name),
        Form::Data => Ok(Entries::load()?.get(form, name)?.clone()),
    }
}

/// Fetches entries one after the other. Ctrl-C pauses: what came stays, and the same command goes on.
pub fn fetch(form: Form, args: &FetchArgs) -> Result<()> {
    let client = Client::new(Settings::from_env())?;
    let stop = interrupt::flag()?;
    let entries = args.names.iter().map(|n| entry(form, n)).collect::<Result<Vec<_>>>()?;
    for entry in &entries {
        let asked = (!args.languages.is_empty()).then(|| entry.chosen(&args.languages)).transpose()?;
        let size = entry.expected(asked.as_deref().unwrap_or_default());
        let is_large = size.is_some_and(|s| s > LARGE);
        ensure!(
            !is_large || args.all || !args.languages.is_empty() || !entry.is_by_language(),
            "{}: about {} in {} languages; name some with --languages {},{} or take all with --all",
            entry.name,
            bytes(size.unwrap_or_default()),
            entry.languages.len(),
            entry.languages[0],
            entry.languages[entry.languages.len() - 1]
        );
    }
    for entry in &entries {
        let progress = std::cell::RefCell::new(Progress::new());
        let mut told: Option<Instant> = None;
        let begin = Instant::now();
        let mut tell = |file: &str, done: u64, total: u64| {
            if args.json {
                if told.is_none_or(|t| t.elapsed() >= Duration::from_secs(1)) {
                    told = Some(Instant::now());
                    let _ =
                        print_json(&json!({"v": 1, "event": "progress", "name": entry.name, "file": file,
                        "done": done, "total": total}));
                }
                return;
            }
            let text = format!("{}: {} of {}  {file}", entry.name, bytes(done), bytes(total));
            progress.borrow_mut().passing(&text, false);
        };
        let mut remark = |text: &str| progress.borrow_mut().line(&format!("note: {text}"));
        let mut watch = Watch { stop: &stop, tell: &mut tell, remark: &mut remark, before: 0, total: 0 };
        let fetch = if args.again { catalogue::fetch_again } else { catalogue::fetch };
        let result = fetch(&client, entry, &args.languages, &mut watch);
        // The line that was rewritten ends here.
        progress.borrow_mut().live("");
        let received = match result {
            Ok(received) => received,
            Err(error) => {
                let is_named = format!("{error:#}").starts_with(&format!("{}:", entry.name));
                let error = if is_named { error } else { error.context(entry.name.clone()) };
                let again = if args.again { " --again" } else { "" };
                ensure!(!stop.load(Ordering::Relaxed), "{error:#} ({}{again})", entry.command());
                return Err(error);
            }
        };
        if args.json {
            print_json(&json!({"v": 1, "event": "fetched", "name": entry.name, "folder": received.folder,
                "commits": received.commits, "files": received.files, "bytes": received.bytes,
                "licence": entry.licence}))?;
        } else {
            progress.borrow_mut().line(&format!(
                "{}: {} files, {} in {:.1} s; licence: {}",
                entry.name,
                received.files,
                bytes(received.bytes),
                begin.elapsed().as_secs_f64(),
                entry.licence
            ));
            for commit in &received.commits {
                progress.borrow_mut().line(&format!("{}: commit {commit}", entry.name));
            }
            print(&received.folder.display().to_string())?;
        }
    }
    Ok(())
}

/// Holds every file of the entries to its checksum; a fault is exit status 1.
pub fn verify(form: Form, args: &VerifyArgs) -> Result<()> {
    let settings = Settings::from_env();
    // What is wrong, and of which entries.
    let mut faults: Vec<(Fault, String)> = Vec::new();
    for name in &args.names {
        ensure!(
            form != Form::Model || !Path::new(name).is_dir(),
            "'{name}': a directory, for which nobody publishes checksums; `polymix model inspect {name}` reads what it holds"
        );
        let entry = entry(form, name)?;
        let checked = catalogue::verify(&entry, &settings)?;
        let held = catalogue::held(&entry, &settings)?;
        if let Some(doubt) = held.doubt(&entry) {
            Progress::new().line(&format!("note: {doubt}"));
        }
        // Of large entries those languages are named that are here.
        let is_part = !held.is_whole && !held.languages.is_empty() && args.names.len() == 1;
        let languages =
            if is_part { format!(" --languages {}", held.languages.join(",")) } else { String::new() };
        let whose = format!("{}{languages}", entry.name);
        let wrong: Vec<&str> = checked.iter().filter_map(|c| Some(c.fault.as_ref()?.1.as_str())).collect();
        faults.extend(checked.iter().filter_map(|c| Some((c.fault.as_ref()?.0, whose.clone()))));
        if args.json {
            print_json(&json!({"v": 1, "name": entry.name, "files": checked.len(), "faults": wrong,
                "without_published_hash": checked.iter().filter(|c| !c.is_published).count()}))?;
        } else {
            let good = checked.iter().filter(|c| c.is_published && c.fault.is_none()).count();
            let unknown = checked.iter().filter(|c| !c.is_published).count();
            let rest =
                if unknown == 0 { String::new() } else { format!(", {unknown} have no published hash") };
            print(&format!("{}: {good} of {} files are as published{rest}", entry.name, checked.len()))?;
            for fault in wrong {
                print(&format!("  {fault}"))?;
            }
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    let command = if form == Form::Data { "polymix data fetch" } else { "polymix model fetch" };
    let parts = [
        (Fault::Damaged, "not what they were or should be", " --again` replaces them"),
        (Fault::Missing, "missing", "` brings them"),
        (Fault::Unrecorded, "without a record of a checksum", "` looks whether they are the published ones"),
    ];
    let mut told = Vec::new();
    for (kind, what, remedy) in parts {
        let mut names: Vec<&str> =
            faults.iter().filter(|(fault, _)| *fault == kind).map(|(_, name)| name.as_str()).collect();
        let count = names.len();
        names.dedup();
        if count > 0 {
            let files = if count == 1 { "file" } else { "files" };
            told.push(format!("{count} {files} {what}; `{command} {}{remedy}", names.join(" ")));
        }
    }
    bail!("{}", told.join(". "))
}

/// The entries of a form, with what is on disk.
pub fn entries(form: Form) -> Result<Vec<(Entry, Held)>> {
    let settings = Settings::from_env();
    let all = Entries::load()?;
    all.of(form).map(|e| Ok((e.clone(), catalogue::held(e, &settings)?))).collect()
}

/// Says of which entries it is not known whether all their files are there.
pub fn doubts(entries: &[(Entry, Held)]) {
    for doubt in entries.iter().filter_map(|(entry, held)| held.doubt(entry)) {
        Progress::new().line(&format!("note: {doubt}"));
    }
}

/// An entry for `--json`.
pub fn described(entry: &Entry, held: &Held) -> Result<Value> {
    let sources: Vec<Value> = entry
        .sources
        .iter()
        .map(|s| json!({"at": s.at.to_string(), "under": s.under, "files": s.files, "optional": s.optional}))
        .collect();
    let other = if let Some(Trouble::OtherSource(other)) = &held.trouble { Some(other) } else { None };
    Ok(json!({"v": 1, "name": entry.name, "description": entry.description, "languages": entry.languages,
        "licence": entry.licence, "roles": entry.roles, "citation": entry.citation, "loader": entry.loader, "options": entry.options,
        "size": entry.expected(&[]), "sources": sources, "own": entry.is_own, "on_disk": held.is_whole,
        "usable": held.is_usable, "unsure": held.is_unsure(), "other_source": other,
        "links_cut": held.trouble == Some(Trouble::LinksCut), "layout": entry.layout, "languages_on_disk": held.languages, "begun": held.has_parts,
        "folder": catalogue::folder(entry, &Settings::from_env())?}))
}

/// An entry as lines.
pub fn lines(entry: &Entry, held: &Held) -> Result<String> {
    let roles: Vec<String> = entry.roles.iter().map(ToString::to_string).collect();
    let sources: Vec<String> = entry.sources.iter().map(|s| s.at.to_string()).collect();
    let files: Vec<&str> = entry.sources.iter().flat_map(|s| &s.files).map(String::as_str).collect();
    let state = if held.is_whole {
        format!("on disk, {}", catalogue::folder(entry, &Settings::from_env())?.display())
    } else if held.is_usable {
        format!(
            "on disk in {}, {}; the rest: {}",
            held.languages.join(" "),
            catalogue::folder(entry, &Settings::from_env())?.display(),
            entry.command()
        )
    } else {
        held.lack(entry)
    };
    let state = held.doubt(entry).map_or(state.clone(), |doubt| format!("{state}\n{:12} {doubt}", "note"));
    let size = entry.expected(&[]).map_or("not known".into(), |s| format!("about {}", bytes(s)));
    let mut rows = vec![
        ("entry", entry.name.clone()),
        ("description", entry.description.clone()),
        ("source", sources.join(", ")),
        ("files", files.join(", ")),
        ("size", size),
        ("languages", entry.languages.join(" ")),
        ("licence", entry.licence.clone()),
        ("role", roles.join(", ")),
        ("for", entry.layout.map_or("", Layout::purpose).to_owned()),
        ("loader", entry.loader.clone().unwrap_or_default()),
        ("citation", entry.citation.clone()),
        ("state", state),
    ];
    rows.retain(|(_, value)| !value.is_empty());
    Ok(rows.iter().map(|(key, value)| format!("{key:12} {value}")).collect::<Vec<_>>().join("\n"))
}
