//! Files that are either old or new, never half-written: what every module writes goes through here.

use std::fs::{File, TryLockError};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};

/// Replaces a file's contents by writing beside it and renaming.
///
/// # Errors
/// Where the disk is full or the directory cannot be written; the old file is then as it was.
pub fn replace(path: &Path, contents: &[u8]) -> Result<()> {
    replace_with(path, |file| file.write_all(contents).map_err(Into::into))
}

/// The same with a writer, for what should not be held in memory.
///
/// # Errors
/// What `write` returns, and as [`replace`].
pub fn replace_with(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    replace_by(path, |beside| {
        let mut file = BufWriter::new(File::create(beside)?);
        write(&mut file)?;
        file.flush()?;
        Ok(())
    })
}

/// The same where something else writes the file: it is given the path to write to.
///
/// # Errors
/// As [`replace_with`].
pub fn replace_by(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let name = path.file_name().context("the path has no file name")?.to_string_lossy().into_owned();
    let beside = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    outlive_size_limit();
    let result = (|| -> Result<()> {
        write(&beside)?;
        File::open(&beside)?.sync_all()?;
        std::fs::rename(&beside, path)?;
        Ok(())
    })();
    if result.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    result.map_err(|error| {
        let is_limit = |cause: &(dyn std::error::Error + 'static)| {
            let io = cause.downcast_ref::<std::io::Error>();
            io.is_some_and(|e| e.kind() == std::io::ErrorKind::FileTooLarge)
        };
        let remedy = if error.chain().any(is_limit) {
            "the shell limits the size of files; raise it with `ulimit -f unlimited`"
        } else {
            "is the disk full, or the directory read-only?"
        };
        error.context(format!("{}: cannot write ({remedy}); nothing was changed", path.display()))
    })
}

/// Has a write past the limit of `ulimit -f` fail with an error; by default the system ends the process without a word.
pub fn outlive_size_limit() {
    #[cfg(unix)]
    {
        use signal_hook::consts::signal::SIGXFSZ;
        static ONCE: std::sync::Once = std::sync::Once::new();
        // A handler is enough; what it notes down is of no use to anyone. Where it cannot be had, all is as it was.
        ONCE.call_once(|| drop(signal_hook::flag::register(SIGXFSZ, std::sync::Arc::default())));
    }
}

/// Takes the lock that the file at `path` stands for, and waits while another process has it. It is given back when
/// the file is dropped, or when the process ends, however it ends.
///
/// # Errors
/// Where the file cannot be created, or the file system knows no locks.
pub fn lock(path: &Path) -> Result<File> {
    let file = lock_file(path)?;
    file.lock().with_context(|| no_locks(path))?;
    Ok(file)
}

/// The same without waiting: `None` while another process has the lock.
///
/// # Errors
/// As [`lock`].
pub fn try_lock(path: &Path) -> Result<Option<File>> {
    let file = lock_file(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| no_locks(path)),
    }
}

/// Whether some process has the lock; `None` where there is no such file or the file system knows no locks. Nothing is
/// created.
#[must_use]
pub fn is_locked(path: &Path) -> Option<bool> {
    match File::open(path).ok()?.try_lock_shared() {
        Ok(()) => Some(false),
        Err(TryLockError::WouldBlock) => Some(true),
        Err(TryLockError::Error(_)) => None,
    }
}

fn lock_file(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("{}: cannot create the lock file", path.display()))
}

fn no_locks(path: &Path) -> String {
    format!("{}: cannot lock; choose a directory on a file system that has locks", path.display())
}

/// Entries of a directory in name order, without hidden ones; empty where it cannot be read.
#[must_use]
pub fn children(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|e| !e.file_name().to_string_lossy().starts_with('.'))
        .map(|e| e.path())
        .collect();
    found.sort();
    found
}

/// Creates a directory with its parents.
///
/// # Errors
/// Where a parent is a file or read-only.
pub fn create_dir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("{}: cannot create the directory", path.display()))
}

/// Has the names in a directory survive a power failure, where the system can do that.
fn sync_dir(dir: &Path) {
    #[cfg(unix)]
    if let Ok(dir) = File::open(dir) {
        let _ = dir.sync_all();
    }
    #[cfg(not(unix))]
    let _ = dir;
}

/// Removes a directory and all it holds as one: it is renamed away first, so that nobody ever finds half of it. What a
/// killed process leaves of it, [`remove_leftovers`] takes away.
///
/// # Errors
/// Where it cannot be renamed (all is as it was then), or what is in it cannot be removed.
pub fn remove_dir(dir: &Path) -> Result<()> {
    let context = || format!("{}: cannot remove", dir.display());
    let name = dir.file_name().context("the directory has no name")?.to_string_lossy().into_owned();
    let beside = dir.with_file_name(format!(".{name}.{}.gone", std::process::id()));
    let _ = std::fs::remove_dir_all(&beside);
    std::fs::rename(dir, &beside).with_context(context)?;
    std::fs::remove_dir_all(&beside).with_context(context)
}

/// Removes what killed processes left half-written or half-removed below `dir`: only to be called by the one process that
/// writes there. What cannot be removed stays.
pub fn remove_leftovers(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
        let is_left = name.starts_with('.') && matches!(name.rsplit('.').next(), Some("part" | "gone"));
        match (is_left, is_dir) {
            (true, true) => drop(std::fs::remove_dir_all(&path)),
            (true, false) => drop(std::fs::remove_file(&path)),
            (false, true) => remove_leftovers(&path),
            (false, false) => {}
        }
    }
}

/// Builds a directory beside its place and renames it there, so that it is whole or absent.
///
/// # Errors
/// Where it exists already, or `fill` fails, or the disk is full; nothing is left behind then.
pub fn whole_dir(dir: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    ensure!(!dir.exists(), "{}: exists already; choose another place or remove it", dir.display());
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_dir(parent)?;
    let name = dir.file_name().context("the directory has no name")?.to_string_lossy().into_owned();
    let beside = parent.join(format!(".{name}.{}.part", std::process::id()));
    let _ = std::fs::remove_dir_all(&beside);
    let result = create_dir(&beside).and_then(|()| fill(&beside)).and_then(|()| {
        std::fs::rename(&beside, dir).with_context(|| format!("{}: cannot rename to it", dir.display()))
    });
    if result.is_ok() {
        sync_dir(parent);
    }
    if result.is_err() {
        let _ = std::fs::remove_dir_all(&beside);
    }
    result
}
/// What is wrong with a TOML text, on one line: where, and what was expected. The text itself is left out: it may hold
/// secrets.
#[must_use]
pub fn toml_error(text: &str, error: &toml::de::Error) -> anyhow::Error {
    let mut said = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
    for (kind, meant) in [("usize", "a whole number"), ("u64", "a whole number"), ("f64", "a number")] {
        if let Some(before) = said.strip_suffix(&format!("expected {kind}")) {
            said = format!("{before}expected {meant}");
        }
    }
    let Some(span) = error.span() else { return anyhow!("{said}") };
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    let is_key = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let key = line.split_once('=').map(|(key, _)| key.trim()).filter(|key| key.chars().all(is_key));
    let key = key.map_or(String::new(), |key| format!(", {key}"));
    let (number, column) = (before.matches('\n').count() + 1, line.chars().count() + 1);
    anyhow!("line {number}, column {column}{key}: {said}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toml_mistake_is_one_line_without_the_text() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Small {
            #[allow(dead_code)]
            steps: usize,
        }
        let said = |text: &str| {
            let error = toml::from_str::<Small>(text).expect_err(text);
            toml_error(text, &error).to_string()
        };
        assert_eq!(
            said("\nsteps = \"secret\""),
            "line 2, column 9, steps: invalid type: string \"secret\", expected a whole number"
        );
        assert!(said("steps = 1\nstep = 2").starts_with("line 2, column 1: unknown field `step`"));
        let cut = said("steps = 1\nurl = \"https://me:secret@host");
        assert!(cut.starts_with("line 2, column") && !cut.contains("secret") && !cut.contains('\n'), "{cut}");
    }
}
