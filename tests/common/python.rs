//! The Python that some tests hold the program against.
#![allow(dead_code, clippy::print_stderr)]

use std::path::PathBuf;
use std::process::Command;

/// Python with `module`, which the package `package` brings: `POLYMIX_PYTHON`, or the one in the cache. `None`, and a loud
/// line that names the test, where it has not got it.
pub fn python(test: &str, module: &str, package: &str) -> Option<PathBuf> {
    let python = std::env::var_os("POLYMIX_PYTHON").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/polymix/py/bin/python"),
        PathBuf::from,
    );
    let probe = format!("import importlib.util as u; exit(u.find_spec('{module}') is None)");
    if Command::new(&python).args(["-c", &probe]).output().is_ok_and(|o| o.status.success()) {
        return Some(python);
    }
    eprintln!(
        "SKIPPED {test}: {} has no {module}; set POLYMIX_PYTHON to a python with it (pip install {package})",
        python.display()
    );
    None
}
