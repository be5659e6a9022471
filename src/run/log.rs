//! The event log: append-only JSON lines, safe to read while it is written.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::lost::{Lost, missing_steps};
use crate::seal;
use crate::train::{EVENTS_VERSION, Event, Record};

/// Writes records; each is one `write` of one whole line that ends with its checksum.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    file: File,
}

impl EventLog {
    /// Opens the log for appending. A torn last line of a killed worker goes, so that it spoils no other; the log is a new
    /// file then, for who follows it has read the torn line.
    ///
    /// # Errors
    /// Where the file cannot be opened.
    pub fn append(path: &Path) -> Result<Self> {
        let context = || format!("{}: cannot open the event log", path.display());
        let open =
            || OpenOptions::new().create(true).append(true).read(true).open(path).with_context(context);
        let mut file = open()?;
        let length = file.metadata().with_context(context)?.len();
        if length > 0 {
            let mut last = [0];
            file.seek(SeekFrom::Start(length - 1)).with_context(context)?;
            file.read_exact(&mut last).with_context(context)?;
            if last != *b"\n" {
                let mut text = std::fs::read(path).with_context(context)?;
                text.truncate(text.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1));
                crate::files::replace(path, &text)?;
                file = open()?;
            }
        }
        Ok(Self { path: path.to_owned(), file })
    }

    /// Appends one event, whole or not at all.
    ///
    /// # Errors
    /// Where the disk is full.
    pub fn write(&mut self, event: Event) -> Result<()> {
        let mut line = seal::line(&Record::now(event))?;
        line.push(b'\n');
        let length = self.file.metadata().map(|m| m.len());
        self.file.write_all(&line).with_context(|| {
            if let Ok(length) = length {
                // Half a line would spoil the next one.
                let _ = self.file.set_len(length);
            }
            format!("{}: cannot append to the event log (is the disk full?)", self.path.display())
        })
    }

    /// Has everything that was written survive a power failure: a checkpoint must not know more than the log.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().with_context(|| format!("{}: cannot be kept", self.path.display()))
    }

    /// Drops the records that a run writes again, equal, when it goes on from the checkpoint after `step` (`None`: from
    /// its beginning). Evaluations that followed the checkpoint before any further step stay. Damaged lines go; those
    /// that are not behind the checkpoint are counted, and what is said of them is the caller's business.
    ///
    /// # Errors
    /// Where the log cannot be read or replaced, or is of a later version.
    pub fn rewind(path: &Path, step: Option<usize>) -> Result<Rewound> {
        let text = match std::fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            read => read.with_context(|| format!("{}: cannot read", path.display()))?,
        };
        let (mut has_checkpoint, mut went_on) = (false, false);
        // Damaged lines, and those of them that may stand behind all that stays: what they told is told again.
        let (mut damaged, mut behind, mut records) = (0, 0, Vec::new());
        let mut kept = Vec::with_capacity(text.len());
        for line in text.split_inclusive(|&b| b == b'\n') {
            let record = match parse(path, line) {
                Ok(Some(record)) => record,
                Err(error) if seal::is_newer(&error) => return Err(error),
                Ok(None) => continue,
                Err(_) => {
                    behind += 1;
                    continue;
                }
            };
            let is_remark = matches!(record.event, Event::Started { .. } | Event::Note { .. });
            let is_before = step.is_some_and(|step| !is_after(&record.event, step));
            if is_before && !has_checkpoint {
                damaged += std::mem::take(&mut behind);
            }
            // A run whose steps are done evaluates after its last checkpoint: what it has measured of it stays.
            went_on |= has_checkpoint && is_step(&record.event) && !is_before;
            let is_measured = !went_on && matches!(record.event, Event::Evaluation { .. });
            if is_remark || is_before && (!has_checkpoint || is_measured) {
                kept.extend_from_slice(line.trim_ascii_end());
                kept.push(b'\n');
            }
            has_checkpoint |= matches!(record.event, Event::Checkpoint { step: at, .. } if Some(at) == step);
            if is_remark || is_before {
                records.push(record);
            }
        }
        crate::files::replace(path, &kept)?;
        let lost = Lost { damaged, missing: missing_steps(&records, step.unwrap_or(0)) };
        Ok(Rewound { has_checkpoint, lost, notes: notes(records) })
    }
}

/// What [`EventLog::rewind`] left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewound {
    /// True where the record of the checkpoint that the run goes on from is there.
    pub has_checkpoint: bool,
    pub lost: Lost,
    /// The notes that stay.
    notes: Vec<String>,
}

impl Rewound {
    /// What is to be noted of the lines that are lost. A gap that a note tells of already is not told at every resume.
    #[must_use]
    pub fn remark(&self) -> Option<String> {
        let gap = self.lost.gap();
        let is_told = gap.as_ref().is_none_or(|gap| self.notes.iter().any(|note| note.ends_with(gap)));
        if self.lost.damaged == 0 && is_told {
            return None;
        }
        let parts: Vec<String> = self.lost.damaged_lines("left out").into_iter().chain(gap).collect();
        Some(format!("the event log (events.jsonl) is not whole: {}", parts.join("; ")))
    }
}

fn notes(records: Vec<Record>) -> Vec<String> {
    let of = |record: Record| match record.event {
        Event::Note { message } => Some(message),
        _ => None,
    };
    records.into_iter().filter_map(of).collect()
}

/// A line's record; `None` for an empty line.
fn parse(path: &Path, line: &[u8]) -> Result<Option<Record>> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Ok(None);
    }
    seal::read(&path.display().to_string(), line, 2, EVENTS_VERSION).map(Some)
}

/// True where the event says that the run went on.
const fn is_step(event: &Event) -> bool {
    matches!(event, Event::Step { .. } | Event::Validation { .. } | Event::Checkpoint { .. })
}

/// True where the event belongs to a step after `step`, or ends the run.
fn is_after(event: &Event, step: usize) -> bool {
    match event {
        Event::Step { step: at, .. }
        | Event::Validation { step: at, .. }
        | Event::Evaluation { step: at, .. }
        | Event::Memory { step: at, .. }
        | Event::Checkpoint { step: at, .. } => *at > step,
        Event::Drawn(drawn) => drawn.step > step,
        Event::Sample(sample) => sample.step > step,
        Event::Finished { .. } | Event::Failed { .. } | Event::Stopped { .. } | Event::Progress { .. } => {
            true
        }
        Event::Started { .. } | Event::Note { .. } => false,
    }
}

/// Reads what was appended since the last look.
#[derive(Clone, Debug)]
pub struct Tail {
    path: PathBuf,
    position: u64,
    rest: Vec<u8>,
    /// Which file it was: a resumed run puts a new one in its place.
    identity: u64,
    /// Lines so far that were damaged and skipped.
    pub damaged: usize,
    /// True where the last call read another, or a shorter, file from its beginning: what was read before is void.
    pub is_anew: bool,
}

impl Tail {
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, position: 0, rest: Vec::new(), identity: 0, damaged: 0, is_anew: false }
    }

    /// The records since the last call; starts over where the file has shrunk or was replaced. A line that is not yet
    /// whole waits; a whole line that is no record is skipped and counted.
    ///
    /// # Errors
    /// Where the file exists and cannot be read, or a later version of the program wrote it.
    pub fn poll(&mut self) -> Result<Vec<Record>> {
        self.is_anew = false;
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).with_context(|| format!("{}: cannot read", self.path.display())),
        };
        let context = || format!("{}: cannot read", self.path.display());
        let found = file.metadata().with_context(context)?;
        if self.position > 0 && (found.len() < self.position || identity(&found) != self.identity) {
            *self = Self { is_anew: true, ..Self::new(std::mem::take(&mut self.path)) };
        }
        self.identity = identity(&found);
        let context = || format!("{}: cannot read", self.path.display());
        file.seek(SeekFrom::Start(self.position)).with_context(context)?;
        let read = file.read_to_end(&mut self.rest).with_context(context)?;
        self.position += read as u64;
        let end = self.rest.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
        let mut records = Vec::new();
        for line in self.rest[..end].split(|&b| b == b'\n') {
            match parse(&self.path, line) {
                Ok(record) => records.extend(record),
                Err(error) if seal::is_newer(&error) => return Err(error),
                Err(_) => self.damaged += 1,
            }
        }
        self.rest.drain(..end);
        Ok(records)
    }

    /// True where the file ends within a line.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        !self.rest.is_empty()
    }
}

#[cfg(unix)]
fn identity(file: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(file)
}

#[cfg(not(unix))]
fn identity(_: &std::fs::Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Event {
        Event::Note { message: text.into() }
    }

    #[test]
    fn a_torn_line_waits_and_spoils_no_other() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("events.jsonl");
        let mut tail = Tail::new(path.clone());
        assert!(tail.poll().expect("no file yet").is_empty());
        EventLog::append(&path).expect("open").write(note("one")).expect("write");
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .expect("open")
            .write_all(b"{\"v\":1,\"ti")
            .expect("torn");
        assert_eq!(tail.poll().expect("poll").len(), 1);
        assert!(tail.poll().expect("poll").is_empty());
        EventLog::append(&path).expect("open").write(note("two")).expect("write");
        let records = tail.poll().expect("poll");
        assert!(tail.is_anew && tail.damaged == 0);
        let events: Vec<Event> = records.into_iter().map(|r| r.event).collect();
        assert_eq!(events, [note("one"), note("two")]);
    }

    /// A log with these events, rewound; what is left of it.
    fn rewound(events: Vec<Event>, step: Option<usize>) -> (bool, Vec<Event>) {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("events.jsonl");
        let mut log = EventLog::append(&path).expect("open");
        for event in events {
            log.write(event).expect("write");
        }
        let has_checkpoint = EventLog::rewind(&path, step).expect("rewind").has_checkpoint;
        let kept = Tail::new(path).poll().expect("poll");
        (has_checkpoint, kept.into_iter().map(|r| r.event).collect())
    }

    fn validation(step: usize) -> Event {
        Event::Validation { step, loss: Some(1.0), best: false }
    }

    fn checkpoint(step: usize) -> Event {
        Event::Checkpoint { step, best: false }
    }

    #[test]
    fn rewind_keeps_what_the_checkpoint_knew() {
        let all = || (1..=4).map(validation).chain([Event::Stopped { step: 4 }]).collect();
        assert_eq!(rewound(all(), Some(2)), (false, vec![validation(1), validation(2)]));
    }

    #[test]
    fn what_was_evaluated_after_the_checkpoint_stays_until_a_further_step() {
        let evaluation =
            |step| Event::Evaluation { step, dataset: "d".into(), scores: Vec::new(), seconds: 1.0 };
        // Of the last step, and of the best one, which is to be the model.
        let kept = vec![validation(1), checkpoint(2), evaluation(2), evaluation(1), note("kept")];
        let all = [kept.clone(), vec![Event::Stopped { step: 2 }]].concat();
        assert_eq!(rewound(all, Some(2)), (true, kept.clone()));
        // The checkpoint of a later step is gone: what was measured after it is measured again.
        let later = vec![validation(3), checkpoint(4), evaluation(4), evaluation(1)];
        assert_eq!(rewound([kept.clone(), later].concat(), Some(2)), (true, kept));
    }

    #[test]
    fn a_run_that_begins_again_has_its_first_validation_once() {
        assert_eq!(rewound(vec![note("kept"), validation(0)], None), (false, vec![note("kept")]));
    }

    #[test]
    fn a_damaged_line_is_skipped_and_counted_and_a_newer_one_is_refused() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("events.jsonl");
        let mut log = EventLog::append(&path).expect("open");
        for step in 1..=3 {
            log.write(validation(step)).expect("write");
        }
        let text = std::fs::read_to_string(&path).expect("text");
        // One digit of one number.
        let changed = text.replacen("\"step\":2", "\"step\":7", 1);
        assert_ne!(text, changed);
        std::fs::write(&path, &changed).expect("write");
        let mut tail = Tail::new(path.clone());
        let left: Vec<Event> = tail.poll().expect("poll").into_iter().map(|r| r.event).collect();
        assert_eq!((left, tail.damaged), (vec![validation(1), validation(3)], 1));
        let newer = serde_json::json!({"v": 99, "time": 0, "event": "hologram"});
        std::fs::write(&path, [seal::line(&newer).expect("line"), b"\n".to_vec()].concat()).expect("write");
        let error = Tail::new(path).poll().expect_err("newer").to_string();
        assert!(error.contains("events.jsonl: written by a newer polymix (format 99"), "{error}");
    }

    #[test]
    fn a_log_that_was_replaced_by_a_longer_one_is_read_from_its_beginning() {
        let dir = tempfile::tempdir().expect("dir");
        let (path, other) = (dir.path().join("events.jsonl"), dir.path().join("other"));
        EventLog::append(&path).expect("open").write(validation(1)).expect("write");
        let mut tail = Tail::new(path.clone());
        assert_eq!(tail.poll().expect("poll").len(), 1);
        let mut log = EventLog::append(&other).expect("open");
        for step in 1..=3 {
            log.write(validation(step)).expect("write");
        }
        std::fs::rename(other, path).expect("rename");
        assert_eq!((tail.poll().expect("poll").len(), tail.is_anew), (3, true));
    }

    #[test]
    fn a_damaged_line_behind_the_checkpoint_is_no_loss() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("events.jsonl");
        let damaged = |events: &[(Event, bool)], step| {
            let _ = std::fs::remove_file(&path);
            let mut log = EventLog::append(&path).expect("open");
            for (event, is_whole) in events {
                log.write(event.clone()).expect("write");
                if !is_whole {
                    let text = std::fs::read_to_string(&path).expect("text");
                    let at = text.trim_end().rfind("\"time\"").expect("a record");
                    std::fs::write(&path, format!("{}\"tame\"{}", &text[..at], &text[at + 6..]))
                        .expect("damage");
                }
            }
            EventLog::rewind(&path, step).expect("rewind").lost.damaged
        };
        let (one, saved, later) = (validation(1), checkpoint(2), validation(3));
        let all = |a, b, c| [(one.clone(), a), (saved.clone(), b), (later.clone(), c)];
        assert_eq!(damaged(&all(true, true, false), Some(2)), 0, "step 3 is done again");
        assert_eq!(damaged(&all(false, true, false), Some(2)), 1);
        assert_eq!(damaged(&all(true, false, true), Some(2)), 0, "the checkpoint is told again");
        assert_eq!(damaged(&all(false, false, false), None), 0, "everything is done again");
    }
}
