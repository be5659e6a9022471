//! What can be said of a worker that ended without a word: killed, or refused memory by the system.

use super::{RunDir, shown};
use crate::machine::{NO_MEMORY, smaller_chunk};
use crate::spec::ExperimentSpec;

/// Lines at the end of the log that are looked at.
const LAST: usize = 4;

/// Why the worker of a run may have ended, and what to do; `step` is the last that it wrote down.
#[must_use]
pub fn silent_end(run: &RunDir, step: usize, spec: Option<&ExperimentSpec>) -> String {
    // What was written before the worker's last sign of life is about another one.
    let beat = run.state().map_or(0.0, |state| state.heartbeat);
    let written = std::fs::metadata(run.log_file()).and_then(|file| file.modified()).ok();
    let written = written.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let is_its_own = written.is_some_and(|time| time.as_secs_f64() + 1.0 > beat);
    let log = std::fs::read_to_string(run.log_file()).ok().filter(|_| is_its_own).unwrap_or_default();
    let mut last = log.lines().rev().filter(|line| !line.trim().is_empty()).take(LAST);
    let told = last.find(|line| line.starts_with(NO_MEMORY));
    let why = if told.is_some() {
        "no memory was left"
    } else {
        "it was killed, perhaps for lack of memory, or the machine went down"
    };
    let resume = format!("polymix train --run-dir {} --resume", shown(&run.path));
    // Fewer pairs a pass: no result depends on it.
    let pairs = spec.map(|s| if s.train.chunk == 0 { s.train.batch } else { s.train.chunk });
    let chunk = pairs.map(smaller_chunk).filter(|chunk| *chunk > 0);
    // Refused before the first step: no chunk was named, as none helps.
    let chunk = chunk.filter(|_| told.is_none_or(|line| line.contains("chunk")));
    let less = chunk.map_or(String::new(), |chunk| {
        format!("; with less memory: --set train.chunk={chunk}, which changes no result")
    });
    format!("the worker ended without a word after step {step}: {why}. Go on with {resume}{less}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_want_of_memory_from_a_kill_and_a_smaller_chunk_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::new(dir.path().join("r"));
        std::fs::create_dir(&run.path).unwrap();
        let mut spec = ExperimentSpec::default();
        spec.train.batch = 100;
        let said = silent_end(&run, 7, Some(&spec));
        assert!(said.contains("after step 7: it was killed") && said.contains("train.chunk=25"), "{said}");
        let log = format!(
            "training\n{NO_MEMORY}raise, or --set train.chunk=3\nmemory allocation of 8 bytes failed\n"
        );
        std::fs::write(run.log_file(), log).unwrap();
        spec.train.chunk = 9;
        let said = silent_end(&run, 7, Some(&spec));
        assert!(said.contains("no memory was left") && said.contains("train.chunk=3,"), "{said}");
        assert!(said.contains("--resume"), "{said}");
        std::fs::write(run.log_file(), format!("{NO_MEMORY}raise the limit\n")).unwrap();
        assert!(!silent_end(&run, 0, Some(&spec)).contains("chunk"), "none was named");
        std::fs::write(run.log_file(), "").unwrap();
        spec.train.chunk = 1;
        assert!(!silent_end(&run, 7, Some(&spec)).contains("chunk"), "one pair cannot be divided");
    }
}
