//! Room on the disk, and what to do where it cannot be written.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Result;

/// The disk has not the room that is needed.
#[derive(Debug)]
struct NoRoom(String);

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoRoom {}

/// Refuses to begin what cannot fit.
///
/// # Errors
/// Says how much is needed and how much there is, and what to set.
pub fn space(path: &Path, needed: u64) -> Result<()> {
    let folder = path.ancestors().skip(1).find(|p| p.is_dir()).unwrap_or(Path::new("."));
    #[cfg(unix)]
    if let Ok(found) = rustix::fs::statvfs(folder) {
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        if free < needed {
            return Err(NoRoom(format!(
                "{}: the disk has {} left, {} are needed; free some, or set HF_HOME or POLYMIX_DATA to a larger disk",
                folder.display(),
                bytes(free),
                bytes(needed)
            ))
            .into());
        }
    }
    let _ = (folder, needed);
    Ok(())
}

/// A write that failed, with what to do about it.
pub(super) fn unwritable(path: &Path, error: std::io::Error) -> anyhow::Error {
    let remedy = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "the disk is full; free some, or set HF_HOME or POLYMIX_DATA to a larger disk"
        }
        ErrorKind::FileTooLarge => "the shell limits the size of files; raise it with `ulimit -f unlimited`",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "the directory may not be written; change that, or set HF_HOME or POLYMIX_DATA to another"
        }
        _ => "is the disk full, or the directory read-only?",
    };
    anyhow::Error::new(error).context(format!("{}: cannot write ({remedy})", path.display()))
}

/// True where the disk is at fault, and not what was written to it.
pub(super) fn is_at_fault(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        cause.is::<NoRoom>()
            || matches!(
                kind,
                Some(
                    ErrorKind::StorageFull
                        | ErrorKind::QuotaExceeded
                        | ErrorKind::FileTooLarge
                        | ErrorKind::PermissionDenied
                        | ErrorKind::ReadOnlyFilesystem
                )
            )
    })
}

/// `1.2 GB`, in powers of 1000 as hubs state sizes.
#[must_use]
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_seen_before_the_download() {
        let dir = tempfile::tempdir().expect("dir");
        space(&dir.path().join("x"), 1).expect("a byte fits");
        #[cfg(unix)]
        {
            let error = space(&dir.path().join("a/b"), u64::MAX).expect_err("too much").context("more");
            let text = format!("{error:#}");
            assert!(text.contains("are needed") && text.contains("HF_HOME"), "{text}");
            assert!(is_at_fault(&error), "the disk is, not the archive");
        }
    }

    #[test]
    fn a_failed_write_names_the_cause() {
        let text = |kind: ErrorKind| format!("{:#}", unwritable(Path::new("/x"), kind.into()));
        assert!(text(ErrorKind::FileTooLarge).contains("ulimit -f"));
        assert!(text(ErrorKind::StorageFull).contains("the disk is full"));
        assert!(text(ErrorKind::PermissionDenied).contains("may not be written"));
    }

    #[test]
    fn sizes_read_as_hubs_state_them() {
        assert_eq!(
            (bytes(999), bytes(1_120_000_000), bytes(1500)),
            ("999 B".into(), "1.1 GB".into(), "1.5 kB".into())
        );
    }
}
