//! The watcher: tails the followed run and lists all runs now and then, on a thread of its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime};

use super::history::History;
use super::message::{Effect, EvaluationRef, Message, RunRow};
use super::sweeps::Sweeps;
use crate::run::{RunDir, Store, Tail, now};

/// Between two looks at the followed run.
const LOOK: Duration = Duration::from_millis(200);
/// Between two looks at the list of all runs; longer where a look takes long.
const LIST: Duration = Duration::from_secs(2);
/// A look may take one part in so many of the time.
const SHARE: u32 = 100;
/// Points of a run's curve.
const CURVE: usize = 400;
/// Weight of the past in the smoothed loss of lists.
const SMOOTHING: f64 = 0.9;
/// Weight of the past in the one line that lists and overlays draw over all kinds of batch: they take turns, and their
/// losses differ.
const OVERALL: f64 = 0.96;
/// Bytes of a worker's log that are shown.
const LOG: u64 = 16 * 1024;

/// Bytes at the end of an event log that hold the latest loss and evaluation.
const END: u64 = 256 * 1024;

/// What is expensive to know about a run, and the state of its event log when it was read.
struct Known {
    stamp: Option<Stamp>,
    /// The last step that was logged: a run's state names it only now and then.
    step: Option<usize>,
    loss: Option<f64>,
    scores: Vec<crate::train::Score>,
    evaluations: Vec<EvaluationRef>,
    curve: Option<Curve>,
}

/// Length and time of a file.
type Stamp = (u64, SystemTime);

/// A whole run's smoothed loss, with the log's state when it was read.
type Curve = (Option<Stamp>, Arc<Vec<(f64, f64)>>);

/// Watches until nobody listens any more.
pub fn run(store: &Store, jobs: &Receiver<Effect>, messages: &Sender<Message>) {
    let mut known: HashMap<PathBuf, Known> = HashMap::new();
    let mut followed: Option<(RunDir, Tail, u64)> = None;
    let mut compared: Vec<PathBuf> = Vec::new();
    let mut next = Instant::now();
    let mut last: Vec<RunRow> = Vec::new();
    let mut is_first = true;
    let (mut sweeps, mut last_sweeps) = (Sweeps::default(), Vec::new());
    loop {
        let mut is_reset = false;
        match jobs.recv_timeout(if is_first { Duration::ZERO } else { LOOK }) {
            Ok(Effect::Follow(run)) => {
                followed = run.map(|run| {
                    let tail = Tail::new(run.events_file());
                    (run, tail, u64::MAX)
                });
                is_reset = true;
            }
            Ok(Effect::Compare(runs)) => {
                compared = runs;
                next = Instant::now();
            }
            Ok(_) => next = Instant::now(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if let Some((run, tail, log_length)) = &mut followed {
            let records = tail.poll().unwrap_or_default();
            is_reset |= tail.is_anew;
            let length = std::fs::metadata(run.log_file()).map_or(0, |m| m.len());
            let log = if *log_length == length { Vec::new() } else { end_of(&run.log_file()) };
            *log_length = length;
            if is_reset || !records.is_empty() || !log.is_empty() {
                let state = run.state().ok();
                let message =
                    Message::Records { run: run.path.clone(), reset: is_reset, records, state, log };
                if messages.send(message).is_err() {
                    return;
                }
            }
        }
        if Instant::now() < next {
            continue;
        }
        let start = Instant::now();
        let summaries = store.list();
        if is_first {
            // The list itself is quick; what the events say follows.
            let rows = summaries.iter().map(|s| row(s.clone(), None)).collect();
            if messages.send(Message::Runs(now(), rows)).is_err() {
                return;
            }
        }
        known.retain(|path, _| summaries.iter().any(|s| s.run.path == *path));
        let rows: Vec<RunRow> = summaries
            .into_iter()
            .map(|summary| {
                let is_compared = compared.contains(&summary.run.path);
                let found = look(&summary.run, known.remove(&summary.run.path), is_compared);
                let row = row(summary, Some(&found));
                known.insert(row.summary.run.path.clone(), found);
                row
            })
            .collect();
        if is_first || rows != last {
            last.clone_from(&rows);
            if messages.send(Message::Runs(now(), rows)).is_err() {
                return;
            }
        }
        is_first = false;
        let found = sweeps.look(store);
        if found != last_sweeps {
            last_sweeps.clone_from(&found);
            if messages.send(Message::Sweeps(found)).is_err() {
                return;
            }
        }
        next = Instant::now() + LIST.max(start.elapsed() * SHARE);
    }
}

fn row(mut summary: crate::run::RunSummary, known: Option<&Known>) -> RunRow {
    if let (true, Some(step)) = (summary.phase.is_active(), known.and_then(|k| k.step)) {
        summary.step = summary.step.max(step);
    }
    RunRow {
        summary,
        loss: known.and_then(|k| k.loss),
        scores: known.map_or_else(Vec::new, |k| k.scores.clone()),
        curve: known.and_then(|k| k.curve.as_ref()).map_or_else(Arc::default, |c| Arc::clone(&c.1)),
        evaluations: known.map_or_else(Vec::new, |k| k.evaluations.clone()),
    }
}

/// Reads what has changed since: the end of the event log for the list, all of it only for a run that is compared.
fn look(run: &RunDir, old: Option<Known>, is_compared: bool) -> Known {
    let events = run.events_file();
    let stamp = std::fs::metadata(&events).ok().and_then(|m| Some((m.len(), m.modified().ok()?)));
    let mut known = match old {
        Some(old) if old.stamp == stamp => old,
        old => {
            let mut history = History::new(SMOOTHING);
            for line in bytes_at_end(&events, END).split(|b| *b == b'\n') {
                if let Ok(record) = serde_json::from_slice(line) {
                    history.add(record);
                }
            }
            let old_scores = old.as_ref().map_or_else(Vec::new, |o| o.scores.clone());
            let evaluations = run.evaluations().into_iter();
            Known {
                stamp,
                step: history.points.last().map(|p| p.step),
                loss: history.overall(OVERALL).last().map(|p| p.1),
                scores: history.evaluations.last().map_or(old_scores, |e| e.scores.clone()),
                evaluations: evaluations
                    .map(|(step, dataset, dir)| EvaluationRef { step, dataset, dir })
                    .collect(),
                curve: old.and_then(|o| o.curve),
            }
        }
    };
    if is_compared && known.curve.as_ref().is_none_or(|c| c.0 != stamp) {
        let mut history = History::new(SMOOTHING);
        for record in Tail::new(events).poll().unwrap_or_default() {
            history.add(record);
        }
        let curve = super::view::thin(&history.overall(OVERALL), CURVE / 2);
        known.curve = Some((stamp, Arc::new(curve)));
    }
    known
}

/// The end of a file; empty where it cannot be read.
fn bytes_at_end(path: &Path, count: u64) -> Vec<u8> {
    use std::io::{Read, Seek, SeekFrom};
    let mut bytes = Vec::new();
    if let Ok(mut file) = std::fs::File::open(path) {
        let length = file.metadata().map_or(0, |m| m.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(count)));
        let _ = file.read_to_end(&mut bytes);
    }
    bytes
}

/// The last lines of a file.
fn end_of(path: &Path) -> Vec<String> {
    let bytes = bytes_at_end(path, LOG);
    String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::run::EventLog;
    use crate::spec::ExperimentSpec;
    use crate::train::Event;

    #[test]
    fn runs_are_listed_and_the_followed_one_is_tailed() {
        let dir = tempfile::tempdir().expect("dir");
        let store = Store { root: dir.path().to_owned() };
        let run = store.create(&ExperimentSpec::default()).expect("a run");
        let (jobs, work) = channel();
        let (send, messages) = channel();
        let thread = std::thread::spawn(move || super::run(&store, &work, &send));
        let wait = || messages.recv_timeout(Duration::from_secs(120)).expect("a message");
        assert!(matches!(wait(), Message::Runs(_, rows) if rows.len() == 1));
        jobs.send(Effect::Follow(Some(run.clone()))).expect("send");
        while !matches!(wait(), Message::Records { reset: true, .. }) {}
        let mut log = EventLog::append(&run.events_file()).expect("log");
        log.write(Event::Note { message: "hello".into() }).expect("write");
        loop {
            if let Message::Records { records, .. } = wait()
                && !records.is_empty()
            {
                assert_eq!(records[0].event, Event::Note { message: "hello".into() });
                break;
            }
        }
        drop(jobs);
        thread.join().expect("the watcher ends");
    }

    /// A run's state names its step only every few seconds; its log names each.
    #[test]
    fn a_running_run_is_as_far_as_its_log() {
        let dir = tempfile::tempdir().expect("dir");
        let store = Store { root: dir.path().to_owned() };
        let run = store.create(&ExperimentSpec::default()).expect("a run");
        let line = r#"{"v":1,"time":1.0,"event":"step","step":7,"kind":"X-Y","loss":1.5,"learning_rate":0.001,"grad_norm":1.0,"pairs":100,"tokens":3000,"seconds":0.1}"#;
        std::fs::write(run.events_file(), format!("{line}\n")).expect("write");
        let mut summary = store.list().remove(0);
        let known = look(&run, None, false);
        summary.phase = crate::run::Phase::Running;
        assert_eq!(row(summary.clone(), Some(&known)).summary.step, 7);
        summary.phase = crate::run::Phase::Stopped;
        assert_eq!(row(summary, Some(&known)).summary.step, 0, "what is saved counts");
    }
}
