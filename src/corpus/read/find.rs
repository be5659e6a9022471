//! Finding a dataset's files below its directory.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::COMPRESSED;

/// A file and its language, as its path says it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Below the dataset's directory, in lower case, without `.gz` or `.zst`.
    pub name: String,
    pub path: PathBuf,
    pub language: Option<String>,
}

impl Found {
    /// True for the names of Tatoeba's files, whose ends are languages.
    #[must_use]
    pub fn is_tatoeba(&self) -> bool {
        self.file_name().starts_with("tatoeba.")
    }

    /// True where the name ends so.
    #[must_use]
    pub fn ends(&self, endings: &[&str]) -> bool {
        endings.iter().any(|e| self.name.ends_with(e))
    }

    /// The file's own name, in lower case, without `.gz` or `.zst`.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// True where the file's own name (not its directories') contains this, in whatever case.
    #[must_use]
    pub fn says(&self, word: &str) -> bool {
        self.file_name().contains(&word.to_lowercase())
    }

    /// True where the file's own name ends in this, before its last ending: `english_queries.dev.tsv` is of the part
    /// `dev`, and `english_queries.dev.small.tsv` is of `dev.small`.
    #[must_use]
    pub fn is_of(&self, part: &str) -> bool {
        let stem = self.file_name().rsplit_once('.').map_or(self.file_name(), |(stem, _)| stem);
        let before = stem.strip_suffix(&part.to_lowercase());
        before.is_some_and(|b| b.is_empty() || b.ends_with(['.', '-', '_']))
    }
}

/// Ends of the names of files of data, Tatoeba's apart.
pub const ENDINGS: [&str; 6] = [".tsv", ".txt", ".jsonl", ".json", ".ndjson", ".parquet"];

/// Directories below the dataset's that are looked into.
const DEPTH: usize = 5;

/// All files below a directory, in name order; or the file itself, where the path is one. Hidden files are left out.
///
/// # Errors
/// Where there is nothing, a directory may not be read, or a file of data lies there twice, plain and compressed.
pub fn find(root: &Path) -> Result<Vec<Found>> {
    let kind = match std::fs::metadata(root) {
        Ok(kind) => kind,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let shell = if root.starts_with("~") { "; '~' is the shell's, write the whole path" } else { "" };
            bail!("{}: no such file or directory{shell}", root.display())
        }
        Err(error) => return Err(error).with_context(|| format!("{}: cannot open", root.display())),
    };
    ensure!(
        kind.is_dir() || kind.is_file(),
        "{}: neither a file nor a directory; write what it gives into a file first",
        root.display()
    );
    let mut found = Vec::new();
    if kind.is_dir() {
        let any = walk(root, root, &mut Vec::new(), &mut found)?;
        ensure!(any, "{}: the directory is empty", root.display());
        ensure!(
            !found.is_empty(),
            "{}: there are only folders and no file in them, {DEPTH} deep; give the folder with the files",
            root.display()
        );
    } else {
        found.push(of(root, root));
    }
    found.sort();
    refuse_twins(&found)?;
    Ok(found)
}

/// Refuses `a.tsv` beside `a.tsv.gz`: whoever read both would take each text twice.
fn refuse_twins(found: &[Found]) -> Result<()> {
    let plain = |f: &Found| {
        let path = f.path.to_string_lossy();
        let stem = COMPRESSED.iter().find_map(|ending| path.strip_suffix(ending));
        stem.map_or_else(|| path.clone().into_owned(), str::to_owned)
    };
    let mut first: HashMap<String, &Found> = HashMap::new();
    for file in found.iter().filter(|f| f.ends(&ENDINGS) || f.is_tatoeba()) {
        if let Some(other) = first.insert(plain(file), file) {
            bail!(
                "{} and {}: one file of data, plain and compressed or compressed twice; remove one of the two",
                other.path.display(),
                file.path.display()
            );
        }
    }
    Ok(())
}

/// `above`: the directories that lead here, so that a link to one of them is not followed in circles. True where there is
/// anything in the directory.
fn walk(dir: &Path, root: &Path, above: &mut Vec<PathBuf>, found: &mut Vec<Found>) -> Result<bool> {
    let unreadable = || format!("{}: the directory may not be read", dir.display());
    let own = dir.canonicalize().with_context(unreadable)?;
    if above.contains(&own) {
        return Ok(false);
    }
    above.push(own);
    let mut any = false;
    for entry in std::fs::read_dir(dir).with_context(unreadable)? {
        let entry = entry.with_context(|| dir.display().to_string())?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        any = true;
        if path.is_dir() {
            if above.len() <= DEPTH {
                walk(&path, root, above, found)?;
            }
        } else {
            found.push(of(&path, root));
        }
    }
    above.pop();
    Ok(any)
}

fn of(path: &Path, root: &Path) -> Found {
    let below = match path.strip_prefix(root) {
        Ok(below) if !below.as_os_str().is_empty() => below,
        _ => path.file_name().map_or(path, Path::new),
    };
    let mut name = below.to_string_lossy().to_lowercase().replace('\\', "/");
    for ending in COMPRESSED {
        if name.ends_with(ending) {
            name.truncate(name.len() - ending.len());
        }
    }
    Found { name, path: path.to_owned(), language: crate::corpus::language::of_path(path, root) }
}

/// What an error adds to the kind of file that there is none of, where a part was named.
#[must_use]
pub fn fitting(part: &str) -> String {
    if part.is_empty() {
        String::new()
    } else {
        format!(" with '{part}' in its name; a part is a word in the files' names")
    }
}

/// The one file among those found that fits; of several that do, the one whose name ends in the part.
///
/// # Errors
/// Where none fits, or several: then they are named.
pub fn one<'a>(
    found: &'a [Found],
    root: &Path,
    what: &str,
    part: &str,
    fits: impl Fn(&Found) -> bool,
) -> Result<&'a Found> {
    let all: Vec<&Found> = found.iter().filter(|f| fits(f)).collect();
    let own: Vec<&Found> = all.iter().copied().filter(|f| !part.is_empty() && f.is_of(part)).collect();
    match if own.len() == 1 { own } else { all }.as_slice() {
        [one] => Ok(one),
        [] => bail!("{}: no {what}", root.display()),
        many => bail!(
            "{}: {} files could be the {what}: {}; {}",
            root.display(),
            many.len(),
            many.iter().take(4).map(|f| f.name.as_str()).collect::<Vec<_>>().join(", "),
            if part.is_empty() {
                "give a directory with one"
            } else {
                "name the part as the file's name ends, or give a directory with one"
            }
        ),
    }
}
