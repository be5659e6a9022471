//! What can be said of a worker that ended without a word: killed, or refused memory by the system.

use super::{RunDir, shown};
use crate::machine::NO_MEMORY;
use crate::spec::ExperimentSpec;

/// Lines at the end of the log that are looked at.
const LAST: usize = 4;

/// Why the worker of a run may have ended, and what to do; `step` is the last that it wrote down.
#[must_use]
pub fn silent_end(run: &RunDir, step: usize, spec: Option<&ExperimentSpec>) -> String {
    let log = std::fs::read_to_string(run.log_file()).unwrap_or_default();
    let mut last = log.lines().rev().filter(|line| !line.trim().is_empty()).take(LAST);
    let why = if last.any(|line| line.starts_with(NO_MEMORY)) {
        "no memory was left"
    } else {
        "it was killed, perhaps for lack of memory, or the machine went down"
    };
    let resume = format!("polymix train --run-dir {} --resume", shown(&run.path));
    // Half as many pairs a pass: no result depends on it.
    let pairs = spec.map(|s| if s.train.chunk == 0 { s.train.batch } else { s.train.chunk });
    let chunk = pairs.filter(|pairs| *pairs > 1).map(|pairs| pairs.div_ceil(2));
    let less = chunk.map_or(String::new(), |chunk| {
        format!("; with less memory: --set train.chunk={chunk}, which changes no result")
    });
    format!("the worker ended without a word after step {step}: {why}. Go on with {resume}{less}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_want_of_memory_from_a_kill_and_the_chunk_is_halved() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::new(dir.path().join("r"));
        std::fs::create_dir(&run.path).unwrap();
        let mut spec = ExperimentSpec::default();
        spec.train.batch = 100;
        let said = silent_end(&run, 7, Some(&spec));
        assert!(said.contains("after step 7: it was killed") && said.contains("train.chunk=50"), "{said}");
        let log = format!("training\n{NO_MEMORY}raise\nmemory allocation of 8 bytes failed\n");
        std::fs::write(run.log_file(), log).unwrap();
        spec.train.chunk = 9;
        let said = silent_end(&run, 7, Some(&spec));
        assert!(said.contains("no memory was left") && said.contains("train.chunk=5,"), "{said}");
        assert!(said.contains("--resume"), "{said}");
        spec.train.chunk = 1;
        assert!(!silent_end(&run, 7, Some(&spec)).contains("chunk"), "one pair cannot be halved");
    }
}
